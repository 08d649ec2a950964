//! The way around the subscribers' tasks: who waits for nothing but what is published need not be woken for it. A few tasks
//! write to all such connections, each once for all that came in a turn.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::queue::Queue;
use crate::publication::Publication;

/// Where publications go at once, as a connection's socket.
pub(crate) trait Outlet: fmt::Debug + Send + Sync {
    /// Takes what `next` gives, as much as goes out now, and waits for nothing. False if the outlet should be let go: it
    /// is over, or has not got rid of everything.
    fn deliver(&self, next: &mut dyn FnMut() -> Option<Arc<Publication>>) -> bool;
}

/// Subscribers that have something for their outlets, on a list for each task that sees to them.
#[derive(Debug)]
pub(super) struct Fan {
    lists: Box<[List]>,
}

#[derive(Debug, Default)]
struct List {
    due: Mutex<Vec<Arc<Queue>>>,
    /// Keeps one permit, so no wake-up is lost between a look and a wait.
    wake: Notify,
}

/// The lists, taken by one who publishes.
pub(super) struct FanGuard<'a> {
    fan: &'a Fan,
    taken: Vec<MutexGuard<'a, Vec<Arc<Queue>>>>,
}

/// The tasks that write; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Fanning {
    _tasks: JoinSet<()>,
}

/// Connections that a task writes to before others have their turn.
const TURN: usize = 64;

impl Fan {
    /// With as many lists as this process has processors.
    pub(super) fn new() -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            lists: (0..count).map(|_| List::default()).collect(),
        }
    }

    /// Begins to write, in tasks of the runtime that this is called in.
    pub(super) fn run(self: &Arc<Self>) -> Fanning {
        let mut tasks = JoinSet::new();
        for number in 0..self.lists.len() {
            let fan = Arc::clone(self);
            tasks.spawn(async move { fan.lists[number].see_to().await });
        }
        Fanning { _tasks: tasks }
    }

    pub(super) fn lock(&self) -> FanGuard<'_> {
        FanGuard {
            fan: self,
            taken: self.lists.iter().map(List::lock).collect(),
        }
    }
}

impl FanGuard<'_> {
    /// The subscriber of that number has something for its outlet.
    pub(super) fn add(&mut self, id: u64, queue: &Arc<Queue>) {
        let list = (id % self.taken.len() as u64) as usize;
        self.taken[list].push(Arc::clone(queue));
    }

    /// Lets go of the lists, and has those seen to that are not empty.
    pub(super) fn release(self) {
        for (due, list) in self.taken.into_iter().zip(&self.fan.lists) {
            let is_due = !due.is_empty();
            drop(due);
            if is_due {
                list.wake.notify_one();
            }
        }
    }
}

impl List {
    async fn see_to(&self) {
        let mut due = Vec::new();
        loop {
            mem::swap(&mut *self.lock(), &mut due);
            if due.is_empty() {
                self.wake.notified().await;
                continue;
            }
            for (number, queue) in due.drain(..).enumerate() {
                queue.deliver();
                if number % TURN == TURN - 1 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
