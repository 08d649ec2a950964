//! The queue between the hub and one subscriber, bounded in bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::fan::Outlet;
use super::kept::{Kept, Rhythm};
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

#[derive(Debug)]
struct State {
    items: Items,
    weight: usize,
    lagged: bool,
    /// Where what is pushed goes without the subscriber's task.
    outlet: Option<Arc<dyn Outlet>>,
    /// It is on a list of those that have something for their outlet.
    is_due: bool,
}

/// What waits: everything, or what is kept of it.
#[derive(Debug)]
enum Items {
    Whole(VecDeque<Arc<Publication>>),
    Thinned(Box<Kept>),
}

/// What became of a publication that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits.
    Kept,
    /// It waits in place of an older one.
    Replaced,
    /// It waits, and somebody must see to it that the outlet gets it.
    Due,
    /// It was too much: the subscriber was let go by it.
    Lagged,
    /// The subscriber was let go before.
    Gone,
}

/// The subscriber took too long: more than its queue's bound was waiting. What waited is dropped
/// and nothing more comes; it may subscribe again from the last cursor that it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the subscriber fell too far behind")]
pub struct Lagged;

impl Queue {
    /// A queue of everything.
    pub(super) fn new(bound: usize) -> Self {
        Self::of(bound, Items::Whole(VecDeque::new()))
    }

    /// A queue of what is kept, in that rhythm.
    pub(super) fn thinned(bound: usize, rhythm: Rhythm) -> Self {
        Self::of(bound, Items::Thinned(Box::new(Kept::new(rhythm))))
    }

    fn of(bound: usize, items: Items) -> Self {
        Self {
            bound,
            state: Mutex::new(State {
                items,
                weight: 0,
                lagged: false,
                outlet: None,
                is_due: false,
            }),
            wake: Notify::new(),
        }
    }

    /// Adds a publication; one always fits, however large. Of a thinned channel only the newest is
    /// kept, if the queue keeps not everything. Past the bound the queue is emptied and takes no more.
    pub(super) fn push(&self, publication: &Arc<Publication>, is_thinned: bool) -> Pushed {
        let mut state = self.lock();
        if state.lagged {
            return Pushed::Gone;
        }
        let mut weight = state.weight + publication.weight();
        let (is_first, replaced) = match &mut state.items {
            Items::Whole(items) => (items.is_empty(), None),
            Items::Thinned(kept) => {
                let replaced = kept.push(publication, is_thinned);
                (kept.len() == 1, replaced)
            }
        };
        weight -= replaced.as_ref().map_or(0, |replaced| replaced.weight());
        let pushed = if weight > self.bound && !is_first {
            *state = State {
                items: Items::Whole(VecDeque::new()),
                weight: 0,
                lagged: true,
                outlet: None,
                is_due: state.is_due,
            };
            Pushed::Lagged
        } else {
            state.weight = weight;
            if let Items::Whole(items) = &mut state.items {
                items.push_back(Arc::clone(publication));
            }
            match replaced {
                Some(_) => Pushed::Replaced,
                None if state.outlet.is_some() && !state.is_due => {
                    state.is_due = true;
                    Pushed::Due
                }
                None => Pushed::Kept,
            }
        };
        let waits = state.outlet.is_none();
        drop(state);
        if waits {
            self.wake.notify_one();
        }
        pushed
    }

    pub(super) fn try_pop(&self) -> Result<Option<Arc<Publication>>, Lagged> {
        let mut state = self.lock();
        if state.lagged {
            return Err(Lagged);
        }
        Ok(state.pop())
    }

    /// Has what is pushed from now on go to `outlet`. Not if something waits, which the subscriber has to take first, nor if
    /// it is to be sent in a rhythm; tells whether.
    pub(super) fn attach(&self, outlet: &Arc<dyn Outlet>) -> bool {
        let mut state = self.lock();
        let in_a_rhythm = matches!(&state.items, Items::Thinned(kept) if !kept.is_free());
        let may = !state.lagged && state.is_empty() && !in_a_rhythm;
        if may {
            state.outlet = Some(Arc::clone(outlet));
        }
        may
    }

    /// Whether what is pushed goes to an outlet.
    pub(super) fn is_attached(&self) -> bool {
        self.lock().outlet.is_some()
    }

    /// Hands what waits to the outlet. One that does not take it all is let go, and its subscriber has to see to the rest.
    pub(super) fn deliver(&self) {
        let mut state = self.lock();
        state.is_due = false;
        let Some(outlet) = state.outlet.clone() else {
            return;
        };
        if !outlet.deliver(&mut || state.pop()) || !state.is_empty() {
            state.outlet = None;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// The weight of what waits.
    pub(super) fn weight(&self) -> usize {
        self.lock().weight
    }

    /// When what waits may be taken, if it may not be yet.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.lock().items {
            Items::Whole(_) => None,
            Items::Thinned(kept) => kept.due(),
        }
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

impl State {
    fn pop(&mut self) -> Option<Arc<Publication>> {
        let item = match &mut self.items {
            Items::Whole(items) => items.pop_front(),
            Items::Thinned(kept) => kept.pop(Instant::now()),
        };
        if let Some(item) = &item {
            self.weight -= item.weight();
        }
        if let Items::Whole(items) = &mut self.items
            && items.is_empty()
            && items.capacity() > KEPT_CAPACITY
        {
            *items = VecDeque::new();
        }
        item
    }

    fn is_empty(&self) -> bool {
        match &self.items {
            Items::Whole(items) => items.is_empty(),
            Items::Thinned(kept) => kept.len() == 0,
        }
    }
}
