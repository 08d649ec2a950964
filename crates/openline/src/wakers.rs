//! Several tasks that wait for one event: a socket itself remembers only the last one that asked.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The tasks that wait for room in a transport.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    waiting: Mutex<Vec<Waker>>,
    any: AtomicBool,
}

impl Wakers {
    pub(crate) fn add(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|w| w.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        self.any.swap(true, Ordering::AcqRel);
    }

    pub(crate) fn wake_all(&self) {
        if self.any.swap(false, Ordering::AcqRel) {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let woken = mem::take(&mut *waiting);
            drop(waiting);
            woken.into_iter().for_each(Waker::wake);
        }
    }

    /// Polls `write` so that all who wait are woken when it can go on, and when it is done.
    pub(crate) fn poll<T>(
        self: &Arc<Self>,
        cx: &Context<'_>,
        mut write: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.add(cx.waker());
        let all = Waker::from(Arc::clone(self));
        let written = write(&mut Context::from_waker(&all));
        if written.is_ready() {
            self.wake_all();
        }
        written
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }
}

/// One task that waits, whichever asked last.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<Option<Waker>>);

impl Slot {
    /// To be called before what is waited for is looked at: who makes it true wakes this slot afterwards.
    pub(crate) fn set(&self, waker: &Waker) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *slot {
            Some(old) => old.clone_from(waker),
            None => *slot = Some(waker.clone()),
        }
    }

    pub(crate) fn wake(&self) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The task, which goes on waiting.
    pub(crate) fn get(&self) -> Option<Waker> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
