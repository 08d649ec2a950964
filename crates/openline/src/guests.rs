//! The connections of a server: how many there are, and how to tell all of them at once to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use openline_proto::CloseCode;
use tokio::sync::Notify;

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

/// Their tasks, by number; a place that is free names the next free one.
#[derive(Debug, Default)]
struct Places {
    wakers: Vec<Place>,
    free: Option<usize>,
    taken: usize,
    /// Of those, the ones that do not count.
    spared: usize,
}

#[derive(Debug)]
enum Place {
    Taken(Option<Waker>),
    Free(Option<usize>),
}

/// One of the connections, until it is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    guests: Arc<Guests>,
    number: usize,
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
        if places.taken - places.spared >= self.limit {
            return None;
        }
        places.taken += 1;
        let number = match places.free {
            Some(number) => {
                if let Place::Free(next) = places.wakers[number] {
                    places.free = next;
                }
                places.wakers[number] = Place::Taken(None);
                number
            }
            None => {
                places.wakers.push(Place::Taken(None));
                places.wakers.len() - 1
            }
        };
        Some(Guest {
            guests: Arc::clone(self),
            number,
        })
    }

    pub(crate) fn count(&self) -> usize {
        let places = self.lock();
        places.taken - places.spared
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
            if self.lock().taken == 0 {
                return;
            }
            empty.await;
        }
    }

    fn wake(&self) {
        let places = self.lock();
        let taken = places.wakers.iter().filter_map(|place| match place {
            Place::Taken(waker) => waker.clone(),
            Place::Free(_) => None,
        });
        let wakers: Vec<Waker> = taken.collect();
        drop(places);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// To be called by the task that is to be woken, before it asks what was said.
    pub(crate) fn listen(&self, waker: &Waker) {
        self.guests.lock().wakers[self.number] = Place::Taken(Some(waker.clone()));
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
        places.wakers[self.number] = Place::Free(places.free);
        places.free = Some(self.number);
        places.taken -= 1;
        if places.taken == 0 {
            // After a crowd, the place for it is given back.
            *places = Places::default();
            drop(places);
            self.guests.empty.notify_waiters();
        }
    }
}
