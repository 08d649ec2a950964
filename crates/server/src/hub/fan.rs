//! The way around the subscribers' tasks: who waits for nothing but what is published need not be woken for it. A few tasks
//! write to all such connections, each once for all that came in a turn.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::queue::Queue;
use crate::metrics;
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
    /// From the first publication of a turn to the turn's last write.
    pub(super) times: Histogram,
}

#[derive(Debug, Default)]
struct List {
    due: Mutex<Due>,
    /// Keeps one permit, so no wake-up is lost between a look and a wait.
    wake: Notify,
}

#[derive(Debug, Default)]
struct Due {
    queues: Vec<Arc<Queue>>,
    /// When the first of them came.
    since: Option<Instant>,
}

/// The lists, taken by one who publishes.
pub(super) struct FanGuard<'a> {
    fan: &'a Fan,
    taken: Vec<MutexGuard<'a, Due>>,
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
            times: metrics::times(),
        }
    }

    /// Begins to write, in tasks of the runtime that this is called in.
    pub(super) fn run(self: &Arc<Self>) -> Fanning {
        let mut tasks = JoinSet::new();
        for number in 0..self.lists.len() {
            let fan = Arc::clone(self);
            tasks.spawn(async move { fan.lists[number].see_to(&fan.times).await });
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
        self.taken[list].queues.push(Arc::clone(queue));
    }

    /// Lets go of the lists, and has those seen to that are not empty.
    pub(super) fn release(self) {
        for (mut due, list) in self.taken.into_iter().zip(&self.fan.lists) {
            let is_due = !due.queues.is_empty();
            if is_due && due.since.is_none() {
                due.since = Some(Instant::now());
            }
            drop(due);
            if is_due {
                list.wake.notify_one();
            }
        }
    }
}

impl List {
    async fn see_to(&self, times: &Histogram) {
        let mut due = Due::default();
        loop {
            mem::swap(&mut *self.lock(), &mut due);
            if due.queues.is_empty() {
                self.wake.notified().await;
                continue;
            }
            for (number, queue) in due.queues.drain(..).enumerate() {
                queue.deliver();
                if number % TURN == TURN - 1 {
                    tokio::task::yield_now().await;
                }
            }
            if let Some(since) = due.since.take() {
                times.observe(since.elapsed().as_secs_f64());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
