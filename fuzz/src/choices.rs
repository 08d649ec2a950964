//! The fuzzer's choices, read from the front of its input.

/// What is left of an input. When it is used up, every choice is 0.
#[derive(Clone, Debug)]
pub struct Choices<'d>(&'d [u8]);

impl<'d> Choices<'d> {
    /// All choices that `data` makes.
    pub const fn new(data: &'d [u8]) -> Self {
        Self(data)
    }

    /// Whether all is used up.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    /// A size: mostly small, at times one beside a limit of the protocol or of the library.
    pub fn size(&mut self) -> usize {
        const EDGES: [usize; 14] = [
            250, 400, 999, 1000, 1001, 4095, 4096, 4097, 10_000, 32_768, 65_535, 65_536, 65_537,
            70_000,
        ];
        match self.byte() {
            small @ 0..=199 => small.into(),
            edge => EDGES[usize::from(edge - 200) % EDGES.len()],
        }
    }

    /// So many bytes, or what is left.
    pub fn bytes(&mut self, count: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A payload: some bytes as they stand, or a few repeated, so that short inputs make long messages.
    pub fn payload(&mut self) -> Vec<u8> {
        let shape = self.byte();
        if shape < 0xc0 {
            return self.bytes(shape.into()).to_vec();
        }
        let pattern = self.bytes(usize::from(shape & 7) + 1);
        let size = self.size();
        let mut payload = pattern.repeat(size / pattern.len().max(1) + 1);
        payload.truncate(size);
        payload
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'d [u8] {
        std::mem::take(&mut self.0)
    }

    /// How to cut a stream of bytes into pieces.
    pub fn cuts(&mut self) -> Cuts {
        let count = self.byte() % 8;
        Cuts {
            sizes: (0..count).map(|_| self.size().max(1)).collect(),
            at: 0,
        }
    }
}

const MAX_PIECES: usize = 300;

/// Sizes of pieces, over and over; without any, all is one piece, and so is what is left after 300: a long stream in single
/// bytes would be slow, and tell nothing more.
#[derive(Clone, Debug)]
pub struct Cuts {
    sizes: Vec<usize>,
    at: usize,
}

impl Cuts {
    /// Does not cut.
    pub const NONE: Self = Self {
        sizes: Vec::new(),
        at: 0,
    };

    /// The size of the next piece of what is left: at least 1, if there is anything.
    pub fn next(&mut self, left: usize) -> usize {
        if self.sizes.is_empty() || self.at == MAX_PIECES {
            return left;
        }
        let size = self.sizes[self.at % self.sizes.len()];
        self.at += 1;
        left.min(size)
    }

    /// The pieces of `bytes`.
    pub fn pieces(mut self, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (piece, later) = rest.split_at(self.next(rest.len()));
            rest = later;
            Some(piece)
        })
    }
}
