//! The connections of a server: how many there are, and how to tell all of them at once to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use openline_proto::CloseCode;
use tokio::sync::Notify;

use crate::slots::Slots;

/// All connections of a server, up to a limit.
#[derive(Debug)]
pub(crate) struct Guests {
    places: Mutex<Places>,
    limit: usize,
    goodbye: OnceLock<(CloseCode, String)>,
    cut: AtomicBool,
    /// The last one has left.
    empty: Notify,
}

#[derive(Debug, Default)]
struct Places {
    /// The connections' tasks.
    wakers: Slots<Option<Waker>>,
    /// Of those, the ones that do not count.
    spared: usize,
}

impl Places {
    fn count(&self) -> usize {
        self.wakers.count() - self.spared
    }
}

/// One of the connections, until it is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    guests: Arc<Guests>,
    number: u32,
    listens: bool,
}

impl Guests {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Mutex::default(),
            limit,
            goodbye: OnceLock::new(),
            cut: AtomicBool::new(false),
            empty: Notify::new(),
        })
    }

    /// Lets one in, if the limit is not reached.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Guest> {
        let mut places = self.lock();
        if places.count() >= self.limit {
            return None;
        }
        Some(Guest {
            guests: Arc::clone(self),
            number: places.wakers.insert(None),
            listens: false,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().count()
    }

    /// Leaves one of them out of the count: a connection whose streams count.
    #[cfg(feature = "http2")]
    pub(crate) fn spare(self: &Arc<Self>) -> Spared {
        self.lock().spared += 1;
        Spared(Arc::clone(self))
    }

    /// How all are to close, if they are to.
    pub(crate) fn goodbye(&self) -> Option<(CloseCode, &str)> {
        let said = self.goodbye.get();
        said.map(|(code, reason)| (*code, reason.as_str()))
    }

    /// Tells all of them how to close.
    pub(crate) fn say_goodbye(&self, code: CloseCode, reason: &str) {
        let _ = self.goodbye.set((code, reason.to_owned()));
        self.wake();
    }

    /// Has all of them end at once.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.wake();
    }

    /// Waits until none is left. Cancel-safe.
    pub(crate) async fn left(&self) {
        loop {
            let empty = self.empty.notified();
            if self.lock().wakers.is_empty() {
                return;
            }
            empty.await;
        }
    }

    fn wake(&self) {
        let places = self.lock();
        let wakers: Vec<Waker> = places.wakers.iter().flatten().cloned().collect();
        drop(places);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// To be called by the task that is to be woken, before it asks what was said.
    pub(crate) fn listen(&mut self, waker: &Waker) {
        // A task's waker stays the same.
        if !self.listens {
            let waker = Some(waker.clone());
            self.guests.lock().wakers.set(self.number, waker);
            self.listens = true;
        }
    }

    /// How all are to close, if they are to.
    pub(crate) fn goodbye(&self) -> Option<(CloseCode, &str)> {
        self.guests.goodbye()
    }

    #[cfg(feature = "http2")]
    pub(crate) const fn all(&self) -> &Arc<Guests> {
        &self.guests
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.guests.cut.load(Ordering::Acquire)
    }
}

/// While it lives, one of the guests does not count; that one must live longer.
#[cfg(feature = "http2")]
#[derive(Debug)]
pub(crate) struct Spared(Arc<Guests>);

#[cfg(feature = "http2")]
impl Drop for Spared {
    fn drop(&mut self) {
        self.0.lock().spared -= 1;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut places = self.guests.lock();
        places.wakers.remove(self.number);
        if places.wakers.is_empty() {
            drop(places);
            self.guests.empty.notify_waiters();
        }
    }
}
