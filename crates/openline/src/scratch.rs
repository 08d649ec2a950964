//! Read buffers, shared by all connections of a thread: one that waits for bytes owns none.

use std::cell::RefCell;

/// Enough for many small frames in one read, and little enough to stay in the cache.
const SIZE: usize = 64 * 1024;

/// Buffers a thread keeps; connections with unread messages may hold further ones for a while.
const KEPT: usize = 4;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A read buffer of 64 KiB, which goes back to the thread's pool when it is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Scratch {
    pub(crate) fn take() -> Self {
        let pooled = POOL.with_borrow_mut(Vec::pop);
        Self {
            bytes: pooled.unwrap_or_else(|| vec![0; SIZE].into()),
            start: 0,
            end: 0,
        }
    }

    /// Where to read into.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The first `count` bytes of the space were filled.
    pub(crate) fn filled(&mut self, count: usize) {
        (self.start, self.end) = (0, count);
    }

    /// What was filled and not consumed.
    pub(crate) fn unread(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// All but the last `left` bytes are consumed.
    pub(crate) fn keep_last(&mut self, left: usize) {
        self.start = self.end - left;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // A thread that is ending has no pool any more.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < KEPT {
                pool.push(bytes);
            }
        });
    }
}
