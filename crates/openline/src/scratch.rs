//! Read buffers, shared by all connections of a thread: one that waits for bytes owns none.

use std::cell::RefCell;
use std::time::Instant;

use crate::timer::now;

/// Enough for many small frames in one read, and little enough to stay in the cache. Somewhat more than a power of two: bursts often are
/// one, by their payloads, and have headers besides.
const SIZE: usize = 65 * 1024;

/// Buffers a thread keeps; connections with unread messages may hold further ones for a while.
const KEPT: usize = 4;

thread_local! {
    #[expect(clippy::vec_box, reason = "a connection keeps the box, not what is in it")]
    static POOL: RefCell<Vec<Box<Buffer>>> = const { RefCell::new(Vec::new()) };
}

/// A place for a read buffer, which goes back to the thread's pool when it is not needed any more.
#[derive(Debug, Default)]
pub(crate) struct Scratch(Option<Box<Buffer>>);

#[derive(Debug)]
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    read_at: Instant,
}

impl Scratch {
    pub(crate) fn take() -> Self {
        let pooled = POOL.with_borrow_mut(Vec::pop);
        Self(Some(pooled.unwrap_or_else(|| {
            Box::new(Buffer {
                bytes: vec![0; SIZE].into(),
                start: 0,
                end: 0,
                read_at: now(),
            })
        })))
    }

    /// Where to read into.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.0.as_mut().map_or(&mut [], |buffer| &mut buffer.bytes)
    }

    /// The first `count` bytes of the space were filled.
    pub(crate) fn filled(&mut self, count: usize) {
        if let Some(buffer) = &mut self.0 {
            (buffer.start, buffer.end) = (0, count);
            buffer.read_at = now();
        }
    }

    /// Whether there is a buffer.
    pub(crate) const fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// What was filled and not consumed, the place where that ends, and when it was read.
    pub(crate) fn unread(&mut self) -> (&mut [u8], usize, Instant) {
        match &mut self.0 {
            Some(buffer) => (
                &mut buffer.bytes[buffer.start..buffer.end],
                buffer.end,
                buffer.read_at,
            ),
            None => (&mut [], 0, now()),
        }
    }

    /// Has `take` take something out of what was filled and not consumed; it tells how much it left. That, and the place where what it
    /// consumed ends.
    #[inline(always)]
    pub(crate) fn consume<'a, T>(
        &'a mut self,
        take: impl FnOnce(&'a mut [u8], Instant) -> Option<(T, usize)>,
    ) -> Option<(T, usize)> {
        let buffer = self.0.as_mut()?;
        let (start, end) = (&mut buffer.start, buffer.end);
        let unread = buffer.bytes.get_mut(*start..end)?;
        let (taken, left) = take(unread, buffer.read_at)?;
        *start = end - left;
        Some((taken, end - left))
    }

    /// What was filled and not consumed, if there is any.
    pub(crate) fn peek(&self) -> Option<&[u8]> {
        let buffer = self.0.as_ref()?;
        buffer.bytes.get(buffer.start..buffer.end)
    }

    /// All but the last `left` bytes are consumed.
    pub(crate) fn keep_last(&mut self, left: usize) {
        if let Some(buffer) = &mut self.0 {
            buffer.start = buffer.end - left;
        }
    }

    /// The `length` bytes in front of a place, which were consumed.
    pub(crate) fn consumed(&self, place: usize, length: usize) -> &[u8] {
        let buffer = self.0.as_ref();
        buffer
            .and_then(|buffer| buffer.bytes.get(place.checked_sub(length)?..place))
            .unwrap_or_default()
    }

    /// Gives the buffer back.
    pub(crate) fn release(&mut self) {
        let Some(buffer) = self.0.take() else { return };
        // A thread that is ending has no pool any more.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < KEPT {
                pool.push(buffer);
            }
        });
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.release();
    }
}
