//! The bytes that wait to be sent: small frames in one buffer, long payloads shared, one `writev` for all.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

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
    own: Vec<u8>,
    /// How many of the own bytes were sent.
    start: usize,
    /// Each with the place in `own` that it stands in front of, in order.
    shared: VecDeque<(usize, Bytes)>,
    length: usize,
}

impl Outbox {
    /// From this size on a payload is shared, not copied: below it a copy costs less than a slice more in the `writev`.
    pub(crate) const SHARE: usize = 4096;

    /// Lets `write` append bytes.
    #[inline(always)]
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let queue = self.queue.get_or_insert_with(Queue::lent);
        let before = queue.own.len();
        write(&mut queue.own);
        queue.length += queue.own.len() - before;
    }

    /// Appends bytes without copying them.
    pub(crate) fn share(&mut self, bytes: Bytes) {
        let queue = self.queue.get_or_insert_with(Queue::lent);
        queue.length += bytes.len();
        queue.shared.push_back((queue.own.len(), bytes));
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.length)
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
        whole.then(|| &queue.own[queue.start..])
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
        put(&queue.own[start..]);
        filled
    }

    /// Drops the first `count` bytes.
    pub(crate) fn advance(&mut self, count: usize) {
        let Some(queue) = &mut self.queue else { return };
        debug_assert!(count <= queue.length, "{count} of {} bytes", queue.length);
        let count = count.min(queue.length);
        self.sent += count as u64;
        queue.length -= count;
        if queue.length == 0 {
            self.clear();
        } else {
            queue.advance(count);
        }
    }

    /// What waits may wait for long: keep no more memory for it than it needs.
    pub(crate) fn settle(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        if queue.own.capacity() > 2 * (queue.own.len() - queue.start) + 1024 {
            let mut exact = Box::new(Queue {
                own: queue.own[queue.start..].to_vec(),
                length: queue.length,
                ..Queue::default()
            });
            let start = queue.start;
            let shared = queue.shared.drain(..);
            exact
                .shared
                .extend(shared.map(|(place, bytes)| (place - start, bytes)));
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
        self.own.clear();
        self.shared.clear();
        (self.start, self.length) = (0, 0);
        // A thread that is ending has no pool any more.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < KEPT {
                pool.push(self);
            }
        });
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let place = self.shared.front().map_or(self.own.len(), |(at, _)| *at);
            let own = count.min(place - self.start);
            self.start += own;
            count -= own;
            let Some((_, bytes)) = self.shared.front_mut() else {
                break;
            };
            if count >= bytes.len() {
                count -= bytes.len();
                self.shared.pop_front();
            } else {
                bytes::Buf::advance(bytes, count);
                break;
            }
        }
        // A queue that is never empty must not keep all that ever went through it.
        if self.start >= COMPACT.max(self.own.len() / 2) {
            self.own.drain(..self.start);
            for (place, _) in &mut self.shared {
                *place -= self.start;
            }
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
            outbox.push(|out| out.extend_from_slice(b"small"));
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
        outbox.push(|out| out.extend_from_slice(b"header"));
        outbox.share(payload.clone());
        let mut slices = [IoSlice::new(&[]); 64];
        assert_eq!(outbox.slices(&mut slices), 2);
        assert_eq!(slices[1].as_ptr(), payload.as_ptr());
    }

    #[test]
    fn what_waits_for_long_pins_no_lent_buffer() {
        let mut large = Outbox::default();
        large.push(|out| out.resize(60_000, 1));
        large.clear();
        let mut small = Outbox::default();
        small.push(|out| out.extend_from_slice(b"headhead"));
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
                if share { outbox.share(piece.into()) } else { outbox.push(|out| out.extend_from_slice(&piece)) }
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
