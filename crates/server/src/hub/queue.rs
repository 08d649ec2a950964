//! The queue between the hub and one subscriber, bounded in bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::Publication;

/// Places that an emptied queue keeps; the room of a larger burst is given back.
const KEPT_CAPACITY: usize = 32;

/// What waits for one subscriber.
#[derive(Debug)]
pub(super) struct Queue {
    bound: usize,
    state: Mutex<State>,
    /// Keeps one permit when nobody waits, so no wake-up is lost between a look and a wait.
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Arc<Publication>>,
    weight: usize,
    lagged: bool,
}

/// The subscriber took too long: more than its queue's bound was waiting. What waited is dropped
/// and nothing more comes; it may subscribe again from the last cursor that it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the subscriber fell too far behind")]
pub struct Lagged;

impl Queue {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            bound,
            state: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Adds a publication; one always fits, however large. Past the bound the queue is emptied and
    /// takes no more: whether this push did that is the answer.
    pub(super) fn push(&self, publication: &Arc<Publication>) -> bool {
        let mut state = self.lock();
        if state.lagged {
            return false;
        }
        let weight = state.weight + publication.weight();
        if weight > self.bound && !state.items.is_empty() {
            *state = State {
                lagged: true,
                ..State::default()
            };
        } else {
            state.weight = weight;
            state.items.push_back(Arc::clone(publication));
        }
        let lagged = state.lagged;
        drop(state);
        self.wake.notify_one();
        lagged
    }

    pub(super) fn try_pop(&self) -> Result<Option<Arc<Publication>>, Lagged> {
        let mut state = self.lock();
        if state.lagged {
            return Err(Lagged);
        }
        let item = state.items.pop_front();
        if let Some(item) = &item {
            state.weight -= item.weight();
        }
        if state.items.is_empty() && state.items.capacity() > KEPT_CAPACITY {
            state.items = VecDeque::new();
        }
        Ok(item)
    }

    /// Whether the queue was given up.
    pub(super) fn check(&self) -> Result<(), Lagged> {
        if self.lock().lagged {
            Err(Lagged)
        } else {
            Ok(())
        }
    }

    /// Waits until something was pushed since the last look.
    pub(super) async fn pushed(&self) {
        self.wake.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
