//! The way around the subscribers' tasks: who waits for nothing but what is published need not be woken for it. A few tasks
//! write to all such connections, each once for all that came in a turn.

mod shard;
mod turn;

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use jiff::Timestamp;
use prometheus_client::metrics::histogram::Histogram;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{JoinSet, unconstrained, yield_now};

use self::turn::Turn;
use super::Hub;
use crate::channel::Filter;
use crate::metrics;
use crate::sync::lock;

pub(super) use self::shard::{Entered, Seat, Shard};

/// Parts of groups that have something for their outlets, on a list for each task that sees to them.
#[derive(Debug)]
pub(super) struct Fan {
    lists: Box<[List]>,
    /// The list of the next group's first part.
    next: AtomicUsize,
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
    shards: Vec<Arc<Shard>>,
    /// When the first of them came.
    since: Option<Instant>,
}

/// The tasks that write; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Fanning {
    _tasks: JoinSet<()>,
}

/// Connections that a task writes to before another part has its turn.
const ROUND: u32 = 64;
/// Rounds before other tasks of the runtime have their turn, where there are other workers. Those take what comes meanwhile,
/// and giving way wakes one of them for nothing, which costs as much as writing to several connections.
const ROUNDS_BESIDE_OTHERS: u32 = 8;
/// Places for turns that a task keeps while it waits; the room of a larger burst is given back.
const KEPT_CAPACITY: usize = 1024;

impl Fan {
    /// With as many lists as this process has processors.
    pub(super) fn new() -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            lists: (0..count).map(|_| List::default()).collect(),
            next: AtomicUsize::new(0),
            times: metrics::times(),
        }
    }

    /// How many tasks there are.
    pub(super) fn lists(&self) -> usize {
        self.lists.len()
    }

    /// A part of a group, for another task than the part before.
    pub(super) fn shard(&self, filter: &Arc<Filter>, before: Option<&Shard>) -> Arc<Shard> {
        let list = match before {
            None => self.next.fetch_add(1, Ordering::Relaxed),
            Some(before) => before.list() + 1,
        };
        Arc::new(Shard::new(filter, list % self.lists.len()))
    }

    /// It has something for its outlets.
    pub(super) fn add(&self, shard: &Arc<Shard>) {
        let list = &self.lists[shard.list()];
        let mut due = list.lock();
        due.shards.push(Arc::clone(shard));
        due.since.get_or_insert_with(Instant::now);
        drop(due);
        list.wake.notify_one();
    }
}

impl Hub {
    /// Writes to subscribers' outlets, in tasks of the runtime that this is called in, as long as what is returned is kept.
    /// `delivered` is told how many publications were handed to connections, and when the newest of them was published.
    pub(crate) fn fan_out(
        &self,
        delivered: impl Fn(u64, Timestamp) + Clone + Send + Sync + 'static,
    ) -> Fanning {
        let rounds = match Handle::current().metrics().num_workers() {
            1 => 1,
            _ => ROUNDS_BESIDE_OTHERS,
        };
        let mut tasks = JoinSet::new();
        for number in 0..self.inner.fan.lists() {
            let (hub, delivered) = (self.clone(), delivered.clone());
            // It gives way by itself. Under the runtime's budget, connections would seem full that are not.
            tasks.spawn(unconstrained(async move {
                see_to(&hub, number, rounds, &delivered).await;
            }));
        }
        Fanning { _tasks: tasks }
    }
}

/// Writes what waits for those on one list, for ever. Each part of a group has its turn after the others have had theirs, so
/// that one with many subscribers holds nobody up. Other tasks of the runtime have theirs after so many rounds; at first after
/// one, so that another worker, if there is one, is woken to watch the sockets that this one no longer does.
async fn see_to(
    hub: &Hub,
    number: usize,
    rounds: u32,
    delivered: &(impl Fn(u64, Timestamp) + Sync),
) {
    let list = &hub.inner.fan.lists[number];
    let (mut due, mut begun) = (Due::default(), VecDeque::new());
    let (mut room, mut left) = (ROUND, 1);
    loop {
        mem::swap(&mut *list.lock(), &mut due);
        if let Some(since) = due.since.take() {
            let shards = due.shards.drain(..);
            begun.extend(shards.map(|shard| Turn::new(shard, since)));
        }
        let Some(mut turn) = begun.pop_front() else {
            begun.shrink_to(KEPT_CAPACITY);
            list.wake.notified().await;
            left = 1;
            continue;
        };
        if turn.go_on(hub, &mut room, delivered) {
            begun.push_back(turn);
        }
        if room == 0 {
            (room, left) = (ROUND, left - 1);
        }
        if left == 0 {
            left = rounds;
            yield_now().await;
        }
    }
}

impl List {
    fn lock(&self) -> MutexGuard<'_, Due> {
        lock(&self.due)
    }
}

#[cfg(test)]
mod tests;
