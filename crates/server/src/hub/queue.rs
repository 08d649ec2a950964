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
    place: Place,
    waker: Option<Waker>,
}

/// What waits: everything, or what is kept of it. In boxes, since of most nothing does.
#[derive(Debug)]
enum Items {
    Nothing,
    Whole(Box<Whole>),
    Thinned(Box<Kept>),
    /// The subscriber was let go.
    Lagged,
}

#[derive(Debug, Default)]
struct Whole {
    items: VecDeque<Arc<Publication>>,
    weight: usize,
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
        let (pushed, count) = match &mut state.items {
            Items::Lagged => return Pushed::Gone,
            Items::Nothing => {
                let mut whole = Box::<Whole>::default();
                whole.push(publication);
                state.items = Items::Whole(whole);
                (Pushed::Kept, 1)
            }
            Items::Whole(whole) => {
                whole.push(publication);
                (Pushed::Kept, whole.items.len())
            }
            Items::Thinned(kept) => match kept.push(publication, is_thinned) {
                true => (Pushed::Replaced, kept.len()),
                false => (Pushed::Kept, kept.len()),
            },
        };
        let is_too_much = state.items.weight() > bound && count > 1;
        if is_too_much {
            state.items = Items::Lagged;
        }
        wake(state);
        match is_too_much {
            true => Pushed::Lagged,
            false => pushed,
        }
    }

    /// Lets the subscriber go.
    pub(super) fn lag(&self) {
        let mut state = self.lock();
        state.items = Items::Lagged;
        wake(state);
    }

    /// Lets the subscriber go if it has not taken what was published up to that offset; tells whether.
    pub(super) fn lag_behind(&self, behind: u64) -> bool {
        let mut state = self.lock();
        let is_behind = state.items.oldest().is_some_and(|oldest| oldest <= behind);
        if is_behind {
            state.items = Items::Lagged;
            wake(state);
        }
        is_behind
    }

    /// Has the subscriber look again at what it waits for.
    pub(super) fn wake(&self) {
        wake(self.lock());
    }

    /// What waits weighs so much.
    pub(super) fn weight(&self) -> usize {
        self.lock().items.weight()
    }

    /// Offset of the oldest that waits, and the weight of all; `None` where nothing does.
    pub(super) fn waiting(&self) -> Option<(u64, usize)> {
        let state = self.lock();
        let oldest = state.items.oldest()?;
        Some((oldest, state.items.weight()))
    }

    pub(super) fn try_pop(&self) -> Result<Option<Arc<Publication>>, Lagged> {
        self.lock().items.pop()
    }

    /// What may be taken, or when.
    pub(super) fn poll_pop(&self, cx: &Context<'_>) -> Poll<Result<Popped, Lagged>> {
        self.poll(cx, |state| {
            match state.items.pop() {
                Err(lagged) => return Some(Err(lagged)),
                Ok(Some(publication)) => return Some(Ok(Popped::Publication(publication))),
                Ok(None) => {}
            }
            match &state.items {
                Items::Thinned(kept) => kept.due().map(Popped::NotBefore).map(Ok),
                _ => None,
            }
        })
    }

    /// Ready where what is published does not go to an outlet.
    pub(super) fn poll_returned(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, |state| (!state.is_seated()).then_some(()))
    }

    /// Ready once the subscriber was let go.
    pub(super) fn poll_lagged(&self, cx: &Context<'_>) -> Poll<Lagged> {
        self.poll(cx, |state| match state.items {
            Items::Lagged => Some(Lagged),
            _ => None,
        })
    }

    /// Whether what is published goes to an outlet.
    pub(super) fn is_seated(&self) -> bool {
        self.lock().is_seated()
    }

    /// Whether what is published may go to an outlet: not if something waits, which the subscriber has to take first, nor if
    /// it is to be sent in a rhythm.
    pub(super) fn may_be_seated(&self) -> bool {
        match &self.lock().items {
            Items::Nothing => true,
            Items::Whole(whole) => whole.items.is_empty(),
            Items::Thinned(kept) => kept.len() == 0 && kept.is_free(),
            Items::Lagged => false,
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

impl Whole {
    fn push(&mut self, publication: &Arc<Publication>) {
        self.items.push_back(Arc::clone(publication));
        self.weight += publication.weight();
    }
}

impl Items {
    fn weight(&self) -> usize {
        match self {
            Self::Nothing | Self::Lagged => 0,
            Self::Whole(whole) => whole.weight,
            Self::Thinned(kept) => kept.weight(),
        }
    }

    /// Offset of the oldest.
    fn oldest(&self) -> Option<u64> {
        match self {
            Self::Nothing | Self::Lagged => None,
            Self::Whole(whole) => whole.items.front().map(|oldest| oldest.offset()),
            Self::Thinned(kept) => kept.oldest(),
        }
    }

    fn pop(&mut self) -> Result<Option<Arc<Publication>>, Lagged> {
        match self {
            Self::Nothing => Ok(None),
            Self::Whole(whole) => {
                let item = whole.items.pop_front();
                whole.weight -= item.as_ref().map_or(0, |item| item.weight());
                if whole.items.is_empty() && whole.items.capacity() > KEPT_CAPACITY {
                    *self = Self::Nothing;
                }
                Ok(item)
            }
            Self::Thinned(kept) => Ok(kept.pop(Instant::now())),
            Self::Lagged => Err(Lagged),
        }
    }
}

impl State {
    fn is_seated(&self) -> bool {
        matches!(self.place, Place::Seated { .. })
    }
}
