//! The bytes that wait to be sent: small frames in one buffer, long payloads shared, one `writev` for all.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// A queue of bytes. Empty, it owns no heap memory.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// What comes before `tail`.
    front: VecDeque<Bytes>,
    /// Where small frames are written, one behind the other.
    tail: BytesMut,
    length: usize,
    /// How many bytes were sent since the beginning: marks in the stream are told by it.
    sent: u64,
}

impl Outbox {
    /// From this size on a payload is shared, not copied: below it a copy costs less than a slice more in the `writev`.
    pub(crate) const SHARE: usize = 4096;

    /// Lets `write` append bytes.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let before = self.tail.len();
        write(&mut self.tail);
        self.length += self.tail.len() - before;
    }

    /// Appends bytes without copying them.
    pub(crate) fn share(&mut self, bytes: Bytes) {
        if !self.tail.is_empty() {
            self.front.push_back(self.tail.split().freeze());
        }
        self.length += bytes.len();
        self.front.push_back(bytes);
    }

    pub(crate) const fn len(&self) -> usize {
        self.length
    }

    /// How many bytes were sent since the beginning.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// What [`sent`](Self::sent) will be once all that waits now has left.
    pub(crate) const fn end(&self) -> u64 {
        self.sent + self.length as u64
    }

    /// Drops what waits.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            sent: self.sent,
            ..Self::default()
        };
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let waiting = self
            .front
            .iter()
            .map(|bytes| &bytes[..])
            .chain([&self.tail[..]])
            .filter(|s| !s.is_empty());
        let mut filled = 0;
        for (slot, bytes) in slices.iter_mut().zip(waiting) {
            *slot = IoSlice::new(bytes);
            filled += 1;
        }
        filled
    }

    /// Drops the first `count` bytes.
    pub(crate) fn advance(&mut self, count: usize) {
        debug_assert!(
            count <= self.length,
            "{count} of {} bytes written",
            self.length
        );
        let mut count = count.min(self.length);
        self.length -= count;
        self.sent += count as u64;
        if self.length == 0 {
            self.clear();
            return;
        }
        while let Some(first) = self.front.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.front.pop_front();
        }
        self.tail.advance(count);
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
            outbox.push(|out| out.extend_from_slice(b"small"));
        }
        let mut slices = [IoSlice::new(&[]); 64];
        assert_eq!(outbox.slices(&mut slices), 1);
        assert_eq!(slices[0].len(), 5000);
        outbox.advance(5000);
        assert_eq!(outbox.tail.capacity(), 0);
        assert_eq!(outbox.front.capacity(), 0);
    }

    #[test]
    fn long_payloads_are_shared() {
        let payload = Bytes::from(vec![7; 10_000]);
        let mut outbox = Outbox::default();
        outbox.push(|out| out.extend_from_slice(b"header"));
        outbox.share(payload.clone());
        let mut slices = [IoSlice::new(&[]); 64];
        assert_eq!(outbox.slices(&mut slices), 2);
        assert_eq!(slices[1].as_ptr(), payload.as_ptr());
    }

    proptest! {
        #[test]
        fn any_partial_writes_give_the_same_stream(
            pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
            mut writes in proptest::collection::vec(1usize..60, 1..50),
            slots in 1usize..5,
        ) {
            let mut outbox = Outbox::default();
            let (mut expected, mut got) = (Vec::new(), Vec::new());
            for (share, piece) in pieces {
                expected.extend_from_slice(&piece);
                if share { outbox.share(piece.into()) } else { outbox.push(|out| out.extend_from_slice(&piece)) }
            }
            writes.push(1);
            for size in writes.iter().cycle() {
                if outbox.is_empty() { break }
                let mut slices = vec![IoSlice::new(&[]); slots];
                let filled = outbox.slices(&mut slices);
                prop_assert!(filled > 0);
                let offered: Vec<u8> = slices[..filled].iter().flat_map(|s| s.iter().copied()).collect();
                let taken = offered.len().min(*size);
                got.extend_from_slice(&offered[..taken]);
                outbox.advance(taken);
            }
            prop_assert_eq!(got, expected);
        }
    }
}
