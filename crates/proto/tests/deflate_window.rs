//! How far back compressed messages refer: never past the window that was agreed on. Measured by an inflater of its own, which
//! writes down distances.

mod pair;

use openline_proto::{Config, Deflate, Takeover};
use pair::{Pair, payload};

/// Inflates raw DEFLATE (RFC 1951) without checks of any kind.
struct Inflater<'d> {
    data: &'d [u8],
    bit: usize,
    out: Vec<u8>,
    farthest: usize,
}

/// How many codes have each length, and the symbols in the codes' order (RFC 1951 §3.2.2).
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[u32]) -> Self {
        let mut counts = [0; 16];
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|s| lengths[*s] > 0).collect();
        for symbol in &symbols {
            counts[lengths[*symbol] as usize] += 1;
        }
        symbols.sort_by_key(|s| lengths[*s]);
        Self { counts, symbols }
    }
}

const LENGTH: [(usize, u32); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

impl Inflater<'_> {
    fn bits(&mut self, count: u32) -> usize {
        let bit = |at: usize| usize::from(self.data[at / 8] >> (at % 8) & 1);
        let value = (0..count as usize).map(|i| bit(self.bit + i) << i).sum();
        self.bit += count as usize;
        value
    }

    /// Reads a symbol.
    fn symbol(&mut self, code: &Code) -> usize {
        let (mut value, mut first, mut index) = (0, 0, 0);
        for count in &code.counts[1..] {
            value |= self.bits(1);
            if value < first + count {
                return code.symbols[index + value - first];
            }
            index += count;
            first = (first + count) << 1;
            value <<= 1;
        }
        panic!("no such code");
    }

    fn codes(&mut self) -> (Code, Code) {
        const ORDER: [usize; 19] = [
            16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
        ];
        let (literals, distances, codes) = (self.bits(5) + 257, self.bits(5) + 1, self.bits(4) + 4);
        let mut of_codes = [0; 19];
        for at in &ORDER[..codes] {
            of_codes[*at] = self.bits(3) as u32;
        }
        let of_codes = Code::new(&of_codes);
        let mut lengths: Vec<u32> = Vec::new();
        while lengths.len() < literals + distances {
            let (value, repeat) = match self.symbol(&of_codes) {
                16 => (*lengths.last().unwrap(), 3 + self.bits(2)),
                17 => (0, 3 + self.bits(3)),
                18 => (0, 11 + self.bits(7)),
                length => (length as u32, 1),
            };
            lengths.extend(vec![value; repeat]);
        }
        let of_distances = lengths.split_off(literals);
        (Code::new(&lengths), Code::new(&of_distances))
    }

    /// Inflates block after block until the data ends.
    fn run(&mut self) {
        while self.bit + 3 <= self.data.len() * 8 {
            let (last, kind) = (self.bits(1), self.bits(2));
            assert_eq!(last, 0);
            let (literals, distances) = match kind {
                0 => {
                    self.bit = self.bit.next_multiple_of(8);
                    let (length, _) = (self.bits(16), self.bits(16));
                    let start = self.bit / 8;
                    self.out
                        .extend_from_slice(&self.data[start..start + length]);
                    self.bit += length * 8;
                    continue;
                }
                1 => {
                    let fixed = [vec![8; 144], vec![9; 112], vec![7; 24], vec![8; 8]].concat();
                    (Code::new(&fixed), Code::new(&[5; 30]))
                }
                _ => self.codes(),
            };
            loop {
                match self.symbol(&literals) {
                    256 => break,
                    literal @ 0..256 => self.out.push(literal as u8),
                    length => {
                        let (base, extra) = LENGTH[length - 257];
                        let length = base + self.bits(extra);
                        let distance = match self.symbol(&distances) {
                            near @ 0..4 => near + 1,
                            far => {
                                let extra = far as u32 / 2 - 1;
                                ((2 + far % 2) << extra) + self.bits(extra) + 1
                            }
                        };
                        self.farthest = self.farthest.max(distance);
                        for _ in 0..length {
                            self.out.push(self.out[self.out.len() - distance]);
                        }
                    }
                }
            }
        }
    }
}

/// Text in which phrases come back at all distances.
fn content(length: usize) -> Vec<u8> {
    let mut state = 7u32;
    let mut phrases = Vec::new();
    let mut content = Vec::new();
    while content.len() < length {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        if phrases.is_empty() || state >> 16 & 3 == 0 {
            phrases.push(format!("{state:08x}-{:06}", state >> 13));
        }
        let phrase = &phrases[(state >> 18) as usize % phrases.len()];
        content.extend_from_slice(phrase.as_bytes());
    }
    content
}

/// The greatest distance in what a server sends with this window.
fn farthest(bits: u8, level: u8, takeover: Takeover) -> usize {
    let deflate = Deflate::default()
        .server_max_window_bits(bits)
        .level(level)
        .takeover(takeover);
    let config = Config::default().deflate(Some(deflate));
    let mut pair = Pair::new(config.clone(), config);
    let content = content(2 << bits.max(10));
    let mut data = Vec::new();
    // As one message, or as many that refer to those before them.
    let pieces = if takeover == Takeover::Never {
        content.len()
    } else {
        3000
    };
    for message in content.chunks(pieces) {
        pair.server.connection.send_binary(message).unwrap();
        let output = pair.server.take_output();
        assert_eq!(output[0], 0xc2);
        data.extend_from_slice(payload(&output));
        data.extend_from_slice(b"\x00\x00\xff\xff");
    }
    let mut inflater = Inflater {
        data: &data,
        bit: 0,
        out: Vec::new(),
        farthest: 0,
    };
    inflater.run();
    assert!(inflater.out == content);
    inflater.farthest
}

#[test]
fn no_message_refers_past_the_window_and_8_bits_are_served_by_zlibs_9() {
    for bits in 8..=15 {
        for (level, takeover) in [
            (1, Takeover::Always),
            (3, Takeover::Never),
            (6, Takeover::Always),
            (9, Takeover::Never),
        ] {
            let farthest = farthest(bits, level, takeover);
            let window = 1 << bits;
            assert!(
                farthest <= window,
                "{farthest} bytes back with {bits} bits at level {level}"
            );
            // The content has phrases at all distances, so what is found shows that the window is used.
            if bits >= 9 {
                assert!(
                    farthest > window / 3,
                    "{farthest} bytes back with {bits} bits at level {level}"
                );
            }
        }
    }
}
