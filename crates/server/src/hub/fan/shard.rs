//! A part of a group: who is written to side by side, and what waits for all of them.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::channel::Filter;
use crate::hub::outlet::Outlet;
use crate::hub::queue::Queue;
use crate::hub::slots::Slots;
use crate::publication::Publication;
use crate::sync::lock;

/// Subscribers of one filter that one task writes to. What waits, waits once for all of them; each has its place in it.
#[derive(Debug)]
pub(in crate::hub) struct Shard {
    filter: Arc<Filter>,
    list: usize,
    /// Never taken before the seats, nor by one who writes.
    log: Mutex<Log>,
    /// Taken while some are written to.
    pub(super) seats: Mutex<Slots<Seat>>,
}

#[derive(Debug, Default)]
struct Log {
    items: VecDeque<Arc<Publication>>,
    /// The position of the first item.
    first: u64,
    /// What the items weigh that nobody has begun to write.
    weight: usize,
    /// It is on a list, or being written.
    is_due: bool,
    /// When the first of those came that wait behind what is being written.
    since: Option<Instant>,
}

/// One that is written to.
#[derive(Debug)]
pub(in crate::hub) struct Seat {
    /// The position of what it is to get next.
    pub(in crate::hub) next: u64,
    pub(in crate::hub) queue: Arc<Queue>,
    pub(in crate::hub) outlet: Outlet,
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Entered {
    /// It waits along with others.
    Waits,
    /// It waits, and somebody must see to it.
    Due,
    /// It does not: more would wait than may.
    TooMuch,
}

impl Shard {
    /// A part that the task of that list sees to.
    pub(super) fn new(filter: &Arc<Filter>, list: usize) -> Self {
        Self {
            filter: Arc::clone(filter),
            list,
            log: Mutex::default(),
            seats: Mutex::default(),
        }
    }

    /// The list of the task.
    pub(super) fn list(&self) -> usize {
        self.list
    }

    pub(in crate::hub) fn filter(&self) -> &Filter {
        &self.filter
    }

    pub(in crate::hub) fn seats(&self) -> MutexGuard<'_, Slots<Seat>> {
        lock(&self.seats)
    }

    /// The position of what will be published next.
    pub(in crate::hub) fn end(&self) -> u64 {
        let log = self.log();
        log.first + log.items.len() as u64
    }

    /// Adds what was published; one always fits, however large.
    pub(in crate::hub) fn push(&self, publication: &Arc<Publication>, bound: usize) -> Entered {
        let mut log = self.log();
        let weight = log.weight + publication.weight();
        if weight > bound && log.weight > 0 {
            return Entered::TooMuch;
        }
        if log.weight == 0 && log.is_due {
            log.since = Some(Instant::now());
        }
        log.weight = weight;
        log.items.push_back(Arc::clone(publication));
        match mem::replace(&mut log.is_due, true) {
            false => Entered::Due,
            true => Entered::Waits,
        }
    }

    /// The weight of what waits.
    pub(in crate::hub) fn weight(&self) -> usize {
        self.log().weight
    }

    /// Calls `found` for what waits from a position on.
    pub(in crate::hub) fn each_since(&self, next: u64, found: impl FnMut(&Arc<Publication>)) {
        let log = self.log();
        let skipped = next.saturating_sub(log.first) as usize;
        log.items.iter().skip(skipped).for_each(found);
    }

    /// Drops what waits.
    pub(in crate::hub) fn clear(&self) {
        let mut log = self.log();
        log.first += log.items.len() as u64;
        log.items = VecDeque::new();
        log.weight = 0;
    }

    /// What is to be written now, and the position of the first of it. It stays until it is [written](Self::written), so
    /// that who does not get all of it finds the rest.
    pub(super) fn begin(&self) -> (u64, Vec<Arc<Publication>>) {
        let mut log = self.log();
        log.weight = 0;
        log.since = None;
        (log.first, log.items.iter().map(Arc::clone).collect())
    }

    /// Writes to some of them, for each of which a little of the room is used, and tells who has not got it all; how many
    /// publications were handed over, or `None` behind the last of the seats.
    pub(super) fn write(
        &self,
        some: Range<u32>,
        first: u64,
        items: &[Arc<Publication>],
        stuck: &mut Vec<(u32, Arc<Queue>)>,
        room: &mut u32,
    ) -> Option<u64> {
        let mut seats = self.seats();
        if some.start >= seats.end() {
            return None;
        }
        let mut count = 0;
        for (number, seat) in seats.range(some) {
            let place = seat.next.checked_sub(first);
            let waiting = place.and_then(|place| items.get(place as usize..));
            // One that came later has nothing to get.
            let Some(waiting) = waiting.filter(|waiting| !waiting.is_empty()) else {
                continue;
            };
            *room = room.saturating_sub(1);
            let (taken, left) = seat.outlet.deliver(waiting);
            seat.next += taken as u64;
            count += taken as u64;
            if !left || taken < waiting.len() {
                stuck.push((number, Arc::clone(&seat.queue)));
            }
        }
        Some(count)
    }

    /// All have got what is in front of that position. When what waits behind it came, which is to be written next.
    pub(super) fn written(&self, end: u64) -> Option<Instant> {
        let mut log = self.log();
        let count = end.saturating_sub(log.first) as usize;
        let count = count.min(log.items.len());
        log.items.drain(..count);
        log.first += count as u64;
        if log.items.is_empty() {
            log.items = VecDeque::new();
            log.is_due = false;
            return None;
        }
        Some(log.since.unwrap_or_else(Instant::now))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }
}
