//! All who listen by one filter: those that take what waits for them, and those that are written to.

use std::mem;
use std::sync::Arc;

use super::Sink;
use super::fan::{Entered, Seat, Shard};
use super::outlet::Outlet;
use super::queue::{Place, Pushed, Queue};
use super::slots::Slots;
use crate::channel::Filter;
use crate::publication::Publication;

/// The subscribers of one filter. It changes only while the hub is taken.
#[derive(Debug)]
pub(super) struct Group {
    filter: Arc<Filter>,
    queued: Slots<Arc<Queue>>,
    /// Those that are written to, in parts that different tasks see to.
    sides: Vec<Side>,
}

#[derive(Debug)]
struct Side {
    shard: Arc<Shard>,
    seated: usize,
}

/// As many as are written to by one task before another one is to help.
const ENOUGH: usize = 64;

impl Group {
    pub(super) fn new(filter: &Filter) -> Self {
        Self {
            filter: Arc::new(filter.clone()),
            queued: Slots::default(),
            sides: Vec::new(),
        }
    }

    pub(super) fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.sides.iter().all(|side| side.seated == 0)
    }

    /// One more, with a queue.
    pub(super) fn insert(&mut self, queue: &Arc<Queue>) {
        let number = self.queued.insert(Arc::clone(queue));
        queue.set_place(Place::Queued(number));
    }

    pub(super) fn remove(&mut self, queue: &Arc<Queue>) {
        match queue.place() {
            Place::Queued(number) => {
                self.queued.remove(number);
            }
            Place::Seated { side, number } => {
                if let Some(side) = self.sides.get_mut(side as usize) {
                    side.shard.seats().remove(number);
                    side.seated -= 1;
                }
            }
        }
    }

    /// Has what is published from now on go to `outlet`, if the queue lets it; tells whether.
    pub(super) fn seat(&mut self, queue: &Arc<Queue>, outlet: Outlet, sink: &mut Sink<'_>) -> bool {
        let Place::Queued(place) = queue.place() else {
            return true;
        };
        if !queue.may_be_seated() {
            return false;
        }
        let least = self.sides.iter().enumerate();
        let least = least.min_by_key(|(_, side)| side.seated);
        let side = match least {
            Some((number, side))
                if side.seated < ENOUGH || self.sides.len() >= sink.fan.lists() =>
            {
                number
            }
            _ => {
                let before = self.sides.last().map(|side| &*side.shard);
                let shard = sink.fan.shard(&self.filter, before);
                self.sides.push(Side { shard, seated: 0 });
                self.sides.len() - 1
            }
        };
        let Side { shard, seated } = &mut self.sides[side];
        let mut seats = shard.seats();
        let number = seats.insert(Seat {
            next: shard.end(),
            queue: Arc::clone(queue),
            outlet,
        });
        *seated += 1;
        self.queued.remove(place);
        let side = side as u16;
        queue.seat(Place::Seated { side, number });
        true
    }

    /// What is published waits in that queue again, and what its outlet did not take. Not if it has left that place since.
    pub(super) fn unseat(
        &mut self,
        shard: &Arc<Shard>,
        number: u32,
        queue: &Arc<Queue>,
        sink: &mut Sink<'_>,
    ) {
        let side = self.sides.iter_mut();
        let Some(side) = side.into_iter().find(|s| Arc::ptr_eq(&s.shard, shard)) else {
            return;
        };
        let mut seats = shard.seats();
        let is_here = |seat: &Seat| Arc::ptr_eq(&seat.queue, queue);
        if !seats.get(number).is_some_and(is_here) {
            return;
        }
        let Some(seat) = seats.remove(number) else {
            return;
        };
        drop(seats);
        side.seated -= 1;
        let number = self.queued.insert(Arc::clone(queue));
        queue.set_place(Place::Queued(number));
        shard.each_since(seat.next, |publication| {
            sink.push(queue, publication, sink.is_thinned(publication));
        });
        queue.wake();
    }

    /// Hands a publication to all of them.
    pub(super) fn publish(&mut self, publication: &Arc<Publication>, sink: &mut Sink<'_>) {
        for side in &mut self.sides {
            if side.seated == 0 {
                continue;
            }
            match side.shard.push(publication, sink.bound) {
                Entered::Waits => {}
                Entered::Due => sink.fan.add(&side.shard),
                Entered::TooMuch => side.clear(&mut self.queued, sink),
            }
        }
        let is_thinned = sink.is_thinned(publication);
        for queue in self.queued.iter() {
            sink.push(queue, publication, is_thinned);
        }
    }

    /// Bytes that wait for them, each publication as often as it waits.
    pub(super) fn waiting(&self) -> usize {
        let queued: usize = self.queued.iter().map(|queue| queue.weight()).sum();
        let sides = self.sides.iter();
        let seated: usize = sides.map(|side| side.seated * side.shard.weight()).sum();
        queued + seated
    }

    /// The queues of those that take what waits for them themselves.
    pub(super) fn queues(&self) -> impl Iterator<Item = &Arc<Queue>> {
        self.queued.iter()
    }

    /// Has all of them look at what they wait for.
    pub(super) fn wake(&self) {
        self.queued.iter().for_each(|queue| queue.wake());
        for side in &self.sides {
            side.shard.seats().iter().for_each(|seat| seat.queue.wake());
        }
    }
}

impl Side {
    /// More waits for all of them than may: those that are sent everything are let go, for the others what is kept waits in
    /// their queues.
    fn clear(&mut self, queued: &mut Slots<Arc<Queue>>, sink: &mut Sink<'_>) {
        // Kept to the end: the task that may be writing would take what it has begun for written.
        let mut taken = self.shard.seats();
        let seats = mem::take(&mut *taken);
        self.seated = 0;
        for seat in seats.iter() {
            let number = queued.insert(Arc::clone(&seat.queue));
            seat.queue.set_place(Place::Queued(number));
            if seat.queue.is_whole() {
                seat.queue.lag();
                sink.count(Pushed::Lagged);
            } else {
                self.shard.each_since(seat.next, |publication| {
                    sink.push(&seat.queue, publication, sink.is_thinned(publication));
                });
            }
        }
        self.shard.clear();
        drop(taken);
    }
}
