//! The bytes that wait to be sent: small frames in one buffer, long payloads shared, one `writev` for all.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use crate::frame::Header;
use crate::mask::mask;

/// Buffers that a thread keeps to lend, and the largest that it keeps.
const KEPT: usize = 4;
const MAX_KEPT: usize = 64 * 1024;

/// How many bytes that were sent stay in front of what waits, at least, before that is moved over them.
const COMPACT: usize = 4096;

thread_local! {
    #[expect(clippy::vec_box, reason = "a connection keeps the box, not what is in it")]
    static POOL: RefCell<Vec<Box<Queue>>> = const { RefCell::new(Vec::new()) };
}

/// A queue of bytes. Empty, it owns no heap memory: what it used goes to the next one that has something to send.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Option<Box<Queue>>,
    /// How many bytes were sent since the beginning: marks in the stream are told by it.
    sent: u64,
}

/// What waits: small frames one behind the other, and between them payloads that others have too.
#[derive(Debug, Default)]
struct Queue {
    /// Of these bytes, those from `start` to `end` wait. What is behind them is room that need only be looked at to be used, where
    /// a vector that grows would be asked for each part of a frame.
    own: Vec<u8>,
    start: usize,
    end: usize,
    /// Each with the place in `own` that it stands in front of, in order.
    shared: VecDeque<(usize, Bytes)>,
    /// How many bytes are shared.
    shared_length: usize,
}

impl Outbox {
    /// From this size on a payload is shared, not copied: below it a copy costs less than a slice more in the `writev`.
    pub(crate) const SHARE: usize = 4096;

    /// Appends a frame: a header, of a size that is known where this is called, and the payload, which is copied.
    #[inline(always)]
    pub(crate) fn push<const N: usize>(&mut self, header: [u8; N], payload: &[u8]) {
        let queue = self.queue.get_or_insert_with(Queue::lent);
        if let Some(room) = queue.own.get_mut(queue.end..)
            && let Some((front, room)) = room.split_first_chunk_mut()
            && let Some(place) = room.get_mut(..payload.len())
        {
            *front = header;
            place.copy_from_slice(payload);
            queue.end += N + payload.len();
        } else {
            queue.grow_by(&header, payload);
        }
    }

    /// The same with any header, which may ask for the payload to be masked.
    pub(crate) fn push_header(&mut self, header: &Header, payload: &[u8]) {
        let first = Header::first_byte(header.fin, header.compressed, header.opcode);
        match (header.mask, header.length) {
            (None, length @ 126..=0xffff) => {
                let [high, low] = (length as u16).to_be_bytes();
                self.push([first, 126, high, low], payload);
            }
            (Some([a, b, c, d]), short @ 0..=125) => {
                self.push([first, 0x80 | short as u8, a, b, c, d], payload);
            }
            _ => {
                let mut bytes = [0; Header::MAX_SIZE];
                let mut rest = &mut bytes[..];
                header.encode(&mut rest);
                let size = Header::MAX_SIZE - rest.len();
                self.push([], &bytes[..size]);
                self.push([], payload);
            }
        }
        if let (Some(key), Some(queue)) = (header.mask, &mut self.queue) {
            mask(&mut queue.own[queue.end - payload.len()..queue.end], key, 0);
        }
    }

    /// Appends bytes without copying them.
    pub(crate) fn share(&mut self, bytes: Bytes) {
        let queue = self.queue.get_or_insert_with(Queue::lent);
        queue.shared_length += bytes.len();
        queue.shared.push_back((queue.end, bytes));
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// How many bytes were sent since the beginning.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// What [`sent`](Self::sent) will be once all that waits now has left.
    pub(crate) fn end(&self) -> u64 {
        self.sent + self.len() as u64
    }

    /// Drops what waits.
    pub(crate) fn clear(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.give_back();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All that waits, if nothing of it is shared.
    pub(crate) fn slice(&self) -> Option<&[u8]> {
        let queue = self.queue.as_ref()?;
        let whole = queue.shared.is_empty();
        whole.then(|| &queue.own[queue.start..queue.end])
    }

    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let Some(queue) = &self.queue else { return 0 };
        let mut filled = 0;
        let mut put = |bytes: &'a [u8]| {
            if filled < slices.len() && !bytes.is_empty() {
                slices[filled] = IoSlice::new(bytes);
                filled += 1;
            }
            filled < slices.len()
        };
        let mut start = queue.start;
        for (place, bytes) in &queue.shared {
            if !put(&queue.own[start..*place]) || !put(bytes) {
                return filled;
            }
            start = *place;
        }
        put(&queue.own[start..queue.end]);
        filled
    }

    /// Drops the first `count` bytes.
    pub(crate) fn advance(&mut self, count: usize) {
        let Some(queue) = &mut self.queue else { return };
        let waiting = queue.len();
        debug_assert!(count <= waiting, "{count} of {waiting} bytes");
        self.sent += count.min(waiting) as u64;
        if count >= waiting {
            self.clear();
        } else {
            queue.advance(count);
        }
    }

    /// What waits may wait for long: keep no more memory for it than it needs.
    pub(crate) fn settle(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        let start = queue.start;
        if queue.own.capacity() > 2 * (queue.end - start) + 1024 {
            let own = queue.own[start..queue.end].to_vec();
            let shared = queue.shared.drain(..);
            let exact = Box::new(Queue {
                start: 0,
                end: own.len(),
                own,
                shared: shared
                    .map(|(place, bytes)| (place - start, bytes))
                    .collect(),
                shared_length: queue.shared_length,
            });
            std::mem::replace(queue, exact).give_back();
        }
    }
}

impl Queue {
    fn lent() -> Box<Self> {
        let pooled = POOL.try_with(|pool| pool.borrow_mut().pop());
        pooled.ok().flatten().unwrap_or_default()
    }

    fn give_back(mut self: Box<Self>) {
        if self.own.capacity() > MAX_KEPT {
            return;
        }
        self.shared.clear();
        (self.start, self.end, self.shared_length) = (0, 0, 0);
        // A thread that is ending has no pool any more.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < KEPT {
                pool.push(self);
            }
        });
    }

    #[inline]
    fn len(&self) -> usize {
        self.end - self.start + self.shared_length
    }

    /// Appends what there is no room for.
    #[cold]
    fn grow_by(&mut self, header: &[u8], payload: &[u8]) {
        self.own.truncate(self.end);
        self.own.reserve(header.len() + payload.len());
        self.own.extend_from_slice(header);
        self.own.extend_from_slice(payload);
        self.end = self.own.len();
        // A buffer that a thread keeps is made all room, once. One that it does not is filled only as far as it is used.
        if self.own.capacity() <= MAX_KEPT {
            self.own.resize(self.own.capacity(), 0);
        }
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let place = self.shared.front().map_or(self.end, |(at, _)| *at);
            let own = count.min(place - self.start);
            self.start += own;
            count -= own;
            let Some((_, bytes)) = self.shared.front_mut() else {
                break;
            };
            let shared = count.min(bytes.len());
            self.shared_length -= shared;
            count -= shared;
            if shared == bytes.len() {
                self.shared.pop_front();
            } else {
                bytes::Buf::advance(bytes, shared);
            }
        }
        // A queue that is never empty must not keep all that ever went through it.
        if self.start >= COMPACT.max(self.end / 2) {
            self.own.copy_within(self.start..self.end, 0);
            for (place, _) in &mut self.shared {
                *place -= self.start;
            }
            self.end -= self.start;
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_frames_make_one_slice_and_leave_nothing_behind() {
        let mut outbox = Outbox::default();
        for _ in 0..1000 {
            outbox.push(*b"sm", b"all");
        }
        let mut slices = [IoSlice::new(&[]); 64];
        assert_eq!(outbox.slices(&mut slices), 1);
        assert_eq!(slices[0].len(), 5000);
        outbox.advance(5000);
        assert!(outbox.queue.is_none());
    }

    #[test]
    fn long_payloads_are_shared() {
        let payload = Bytes::from(vec![7; 10_000]);
        let mut outbox = Outbox::default();
        outbox.push(*b"header", b"");
        outbox.share(payload.clone());
        let mut slices = [IoSlice::new(&[]); 64];
        assert_eq!(outbox.slices(&mut slices), 2);
        assert_eq!(slices[1].as_ptr(), payload.as_ptr());
    }

    #[test]
    fn what_waits_for_long_pins_no_lent_buffer() {
        let mut large = Outbox::default();
        large.push([], &[1; 60_000]);
        large.clear();
        let mut small = Outbox::default();
        small.push([], b"headhead");
        small.share(Bytes::from_static(b"shared"));
        assert!(small.queue.as_ref().unwrap().own.capacity() >= 60_000);
        small.advance(5);
        small.settle();
        assert_eq!(small.queue.as_ref().unwrap().own.capacity(), 3);
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(small.slices(&mut slices), 2);
        assert_eq!((&*slices[0], &*slices[1]), (&b"ead"[..], &b"shared"[..]));
    }

    proptest! {
        #[test]
        fn any_partial_writes_give_the_same_stream(
            pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
            mut writes in proptest::collection::vec((1usize..60, any::<bool>()), 1..50),
            slots in 1usize..5,
        ) {
            let mut outbox = Outbox::default();
            let (mut expected, mut got) = (Vec::new(), Vec::new());
            for (share, piece) in pieces {
                expected.extend_from_slice(&piece);
                if share { outbox.share(piece.into()) } else { outbox.push([], &piece) }
            }
            writes.push((1, true));
            for (size, blocked) in writes.iter().cycle() {
                if outbox.is_empty() { break }
                let mut slices = vec![IoSlice::new(&[]); slots];
                let filled = outbox.slices(&mut slices);
                prop_assert!(filled > 0);
                let offered: Vec<u8> = slices[..filled].iter().flat_map(|s| s.iter().copied()).collect();
                let taken = offered.len().min(*size);
                got.extend_from_slice(&offered[..taken]);
                outbox.advance(taken);
                if *blocked { outbox.settle() }
            }
            prop_assert_eq!(got, expected);
        }
    }
}
