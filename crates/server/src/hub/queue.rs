//! What waits for one subscriber that takes it itself, bounded in bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use super::kept::{Kept, Rhythm};
use crate::Publication;
use crate::sync::lock;

/// Places that an emptied queue keeps; the room of a larger burst is given back.
const KEPT_CAPACITY: usize = 32;

/// What waits for one subscriber, and how to wake it.
#[derive(Debug)]
pub(super) struct Queue(Mutex<State>);

#[derive(Debug)]
struct State {
    items: Items,
    weight: usize,
    lagged: bool,
    place: Place,
    waker: Option<Waker>,
}

/// What waits: everything, or what is kept of it. In boxes, since of most nothing does.
#[derive(Debug)]
enum Items {
    Nothing,
    #[expect(clippy::box_collection, reason = "an empty one is to be small")]
    Whole(Box<VecDeque<Arc<Publication>>>),
    Thinned(Box<Kept>),
}

/// Where in its group a subscriber is. It changes only while the hub is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// What is published waits in its queue: its number among those.
    Queued(u32),
    /// What is published goes to its outlet: which side of the group, and its number there.
    Seated { side: u16, number: u32 },
}

/// What became of a publication that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits.
    Kept,
    /// It waits in place of an older one.
    Replaced,
    /// It was too much: the subscriber was let go by it.
    Lagged,
    /// The subscriber was let go before.
    Gone,
}

/// What a subscriber may take.
#[derive(Debug)]
pub(super) enum Popped {
    Publication(Arc<Publication>),
    /// Something waits, but for its time too.
    NotBefore(Instant),
}

/// The subscriber took too long: more than its queue's bound was waiting. What waited is dropped
/// and nothing more comes; it may subscribe again from the last cursor that it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the subscriber fell too far behind")]
pub struct Lagged;

impl Queue {
    /// A queue of everything, or of what is kept in that rhythm. Its place is to be [set](Self::set_place).
    pub(super) fn new(rhythm: Option<Rhythm>) -> Self {
        Self(Mutex::new(State {
            items: match rhythm {
                None => Items::Nothing,
                Some(rhythm) => Items::Thinned(Box::new(Kept::new(rhythm))),
            },
            weight: 0,
            lagged: false,
            place: Place::Queued(u32::MAX),
            waker: None,
        }))
    }

    pub(super) fn place(&self) -> Place {
        self.lock().place
    }

    pub(super) fn set_place(&self, place: Place) {
        self.lock().place = place;
    }

    /// Adds a publication; one always fits, however large. Of a thinned channel only the newest is
    /// kept, if the queue keeps not everything. Past the bound the queue is emptied and takes no more.
    pub(super) fn push(
        &self,
        publication: &Arc<Publication>,
        is_thinned: bool,
        bound: usize,
    ) -> Pushed {
        let mut state = self.lock();
        if state.lagged {
            return Pushed::Gone;
        }
        let mut weight = state.weight + publication.weight();
        let (is_first, replaced) = match &mut state.items {
            Items::Nothing => (true, None),
            Items::Whole(items) => (items.is_empty(), None),
            Items::Thinned(kept) => {
                let replaced = kept.push(publication, is_thinned);
                (kept.len() == 1, replaced)
            }
        };
        weight -= replaced.as_ref().map_or(0, |replaced| replaced.weight());
        let pushed = if weight > bound && !is_first {
            state.lag();
            Pushed::Lagged
        } else {
            state.weight = weight;
            match &mut state.items {
                Items::Nothing => {
                    let one = VecDeque::from([Arc::clone(publication)]);
                    state.items = Items::Whole(Box::new(one));
                }
                Items::Whole(items) => items.push_back(Arc::clone(publication)),
                Items::Thinned(_) => {}
            }
            match replaced {
                Some(_) => Pushed::Replaced,
                None => Pushed::Kept,
            }
        };
        wake(state);
        pushed
    }

    /// Lets the subscriber go.
    pub(super) fn lag(&self) {
        let mut state = self.lock();
        state.lag();
        wake(state);
    }

    /// Has the subscriber look again at what it waits for.
    pub(super) fn wake(&self) {
        wake(self.lock());
    }

    /// What waits weighs so much.
    pub(super) fn weight(&self) -> usize {
        self.lock().weight
    }

    /// Offset of the oldest that waits, and the weight of all; `None` where nothing does.
    pub(super) fn waiting(&self) -> Option<(u64, usize)> {
        let state = self.lock();
        let oldest = match &state.items {
            Items::Nothing => None,
            Items::Whole(items) => items.front().map(|oldest| oldest.offset()),
            Items::Thinned(kept) => kept.oldest(),
        };
        oldest.map(|oldest| (oldest, state.weight))
    }

    pub(super) fn try_pop(&self) -> Result<Option<Arc<Publication>>, Lagged> {
        let mut state = self.lock();
        if state.lagged {
            return Err(Lagged);
        }
        Ok(state.pop())
    }

    /// What may be taken, or when.
    pub(super) fn poll_pop(&self, cx: &Context<'_>) -> Poll<Result<Popped, Lagged>> {
        self.poll(cx, |state| {
            if state.lagged {
                return Some(Err(Lagged));
            }
            if let Some(publication) = state.pop() {
                return Some(Ok(Popped::Publication(publication)));
            }
            match &state.items {
                Items::Nothing | Items::Whole(_) => None,
                Items::Thinned(kept) => kept.due().map(Popped::NotBefore).map(Ok),
            }
        })
    }

    /// Ready where what is published does not go to an outlet.
    pub(super) fn poll_returned(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, |state| (!state.is_seated()).then_some(()))
    }

    /// Ready once the subscriber was let go.
    pub(super) fn poll_lagged(&self, cx: &Context<'_>) -> Poll<Lagged> {
        self.poll(cx, |state| state.lagged.then_some(Lagged))
    }

    /// Whether what is published goes to an outlet.
    pub(super) fn is_seated(&self) -> bool {
        self.lock().is_seated()
    }

    /// Whether what is published may go to an outlet: not if something waits, which the subscriber has to take first, nor if
    /// it is to be sent in a rhythm.
    pub(super) fn may_be_seated(&self) -> bool {
        let state = self.lock();
        !state.lagged
            && match &state.items {
                Items::Nothing => true,
                Items::Whole(items) => items.is_empty(),
                Items::Thinned(kept) => kept.len() == 0 && kept.is_free(),
            }
    }

    /// Whether everything is kept until there is too much.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self.lock().items, Items::Thinned(_))
    }

    /// What is published goes to an outlet now: an empty queue needs no room.
    pub(super) fn seat(&self, place: Place) {
        let mut state = self.lock();
        if let Items::Whole(_) = &state.items {
            state.items = Items::Nothing;
        }
        state.place = place;
    }

    /// Looks, and has the task woken that looks if it has to wait. Only the last one that looked is.
    fn poll<T>(&self, cx: &Context<'_>, look: impl FnOnce(&mut State) -> Option<T>) -> Poll<T> {
        let mut state = self.lock();
        if let Some(seen) = look(&mut state) {
            return Poll::Ready(seen);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

/// Wakes who waits, once others can take the queue.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    fn pop(&mut self) -> Option<Arc<Publication>> {
        let item = match &mut self.items {
            Items::Nothing => None,
            Items::Whole(items) => items.pop_front(),
            Items::Thinned(kept) => kept.pop(Instant::now()),
        };
        if let Some(item) = &item {
            self.weight -= item.weight();
        }
        if let Items::Whole(items) = &self.items
            && items.is_empty()
            && items.capacity() > KEPT_CAPACITY
        {
            self.items = Items::Nothing;
        }
        item
    }

    fn lag(&mut self) {
        self.items = Items::Nothing;
        self.weight = 0;
        self.lagged = true;
    }

    fn is_seated(&self) -> bool {
        matches!(self.place, Place::Seated { .. })
    }
}
