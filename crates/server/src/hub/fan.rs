//! The way around the subscribers' tasks: who waits for nothing but what is published need not be woken for it. A few tasks
//! write to all such connections, each once for all that came in a turn.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use jiff::Timestamp;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Notify;
use tokio::task::{JoinSet, unconstrained, yield_now};

use super::Hub;
use super::outlet::Outlet;
use super::queue::Queue;
use super::slots::Slots;
use crate::channel::Filter;
use crate::metrics;
use crate::publication::Publication;
use crate::sync::lock;

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

/// Subscribers of one filter that one task writes to. What waits, waits once for all of them; each has its place in it.
#[derive(Debug)]
pub(super) struct Shard {
    filter: Arc<Filter>,
    /// The list of the task.
    list: usize,
    /// Never taken before the seats, nor by one who writes.
    log: Mutex<Log>,
    /// Taken while some are written to.
    seats: Mutex<Slots<Seat>>,
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
pub(super) struct Seat {
    /// The position of what it is to get next.
    pub(super) next: u64,
    pub(super) queue: Arc<Queue>,
    pub(super) outlet: Outlet,
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    /// It waits along with others.
    Waits,
    /// It waits, and somebody must see to it.
    Due,
    /// It does not: more would wait than may.
    TooMuch,
}

/// The tasks that write; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Fanning {
    _tasks: JoinSet<()>,
}

/// Connections that a task writes to before other tasks have their turn, and before it lets go of the seats.
const TURN: u32 = 64;
const AT_ONCE: u32 = 16;
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
            Some(before) => before.list + 1,
        };
        Arc::new(Shard {
            filter: Arc::clone(filter),
            list: list % self.lists.len(),
            log: Mutex::default(),
            seats: Mutex::default(),
        })
    }

    /// It has something for its outlets.
    pub(super) fn add(&self, shard: &Arc<Shard>) {
        let list = &self.lists[shard.list];
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
        let mut tasks = JoinSet::new();
        for number in 0..self.inner.fan.lists() {
            let (hub, delivered) = (self.clone(), delivered.clone());
            // It gives way by itself. Under the runtime's budget, connections would seem full that are not.
            tasks.spawn(unconstrained(async move {
                see_to(&hub, number, &delivered).await;
            }));
        }
        Fanning { _tasks: tasks }
    }
}

/// Writes what waits for those on one list, for ever. Each part of a group has its turn after the others have had theirs, so
/// that one with many subscribers holds nobody up.
async fn see_to(hub: &Hub, number: usize, delivered: &(impl Fn(u64, Timestamp) + Sync)) {
    let list = &hub.inner.fan.lists[number];
    let (mut due, mut begun) = (Due::default(), VecDeque::new());
    let mut room = TURN;
    loop {
        mem::swap(&mut *list.lock(), &mut due);
        if let Some(since) = due.since.take() {
            let shards = due.shards.drain(..);
            begun.extend(shards.map(|shard| Turn::new(shard, since)));
        }
        let Some(mut turn) = begun.pop_front() else {
            begun.shrink_to(KEPT_CAPACITY);
            list.wake.notified().await;
            continue;
        };
        if turn.go_on(hub, &mut room, delivered) {
            begun.push_back(turn);
        }
        if room == 0 {
            room = TURN;
            yield_now().await;
        }
    }
}

/// What is being written to the subscribers of a shard.
struct Turn {
    shard: Arc<Shard>,
    since: Instant,
    /// The position of the first of the items, which are looked for when the turn has come.
    items: Option<(u64, Vec<Arc<Publication>>)>,
    /// The number of the next seat.
    from: u32,
}

impl Turn {
    fn new(shard: Arc<Shard>, since: Instant) -> Self {
        Self {
            shard,
            since,
            items: None,
            from: 0,
        }
    }

    /// Writes to as many as there is room for; tells whether there is more to do. One whose connection does not take it all
    /// has to see to the rest itself.
    fn go_on(&mut self, hub: &Hub, room: &mut u32, delivered: &impl Fn(u64, Timestamp)) -> bool {
        let shard = &self.shard;
        let (first, items) = self.items.get_or_insert_with(|| shard.begin());
        if let Some(newest) = items.last() {
            let (mut count, mut stuck) = (0, Vec::new());
            while *room > 0 {
                let some = self.from..self.from + AT_ONCE.min(*room);
                self.from = some.end;
                let Some(handed) = shard.write(some, *first, items, &mut stuck, room) else {
                    break;
                };
                count += handed;
                if !stuck.is_empty() {
                    hub.unseat(shard, &mut stuck);
                }
            }
            if count > 0 {
                delivered(count, newest.time());
            }
            if self.from < shard.seats().end() {
                return true;
            }
        }
        let waits = shard.written(*first + items.len() as u64);
        hub.inner
            .fan
            .times
            .observe(self.since.elapsed().as_secs_f64());
        let Some(since) = waits else {
            return false;
        };
        (self.since, self.items, self.from) = (since, None, 0);
        true
    }
}

impl Shard {
    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    pub(super) fn seats(&self) -> MutexGuard<'_, Slots<Seat>> {
        lock(&self.seats)
    }

    /// The position of what will be published next.
    pub(super) fn end(&self) -> u64 {
        let log = self.log();
        log.first + log.items.len() as u64
    }

    /// Adds what was published; one always fits, however large.
    pub(super) fn push(&self, publication: &Arc<Publication>, bound: usize) -> Entered {
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
    pub(super) fn weight(&self) -> usize {
        self.log().weight
    }

    /// Calls `found` for what waits from a position on.
    pub(super) fn each_since(&self, next: u64, found: impl FnMut(&Arc<Publication>)) {
        let log = self.log();
        let skipped = next.saturating_sub(log.first) as usize;
        log.items.iter().skip(skipped).for_each(found);
    }

    /// Drops what waits.
    pub(super) fn clear(&self) {
        let mut log = self.log();
        log.first += log.items.len() as u64;
        log.items = VecDeque::new();
        log.weight = 0;
    }

    /// What is to be written now, and the position of the first of it. It stays until it is [written](Self::written), so
    /// that who does not get all of it finds the rest.
    fn begin(&self) -> (u64, Vec<Arc<Publication>>) {
        let mut log = self.log();
        log.weight = 0;
        log.since = None;
        (log.first, log.items.iter().map(Arc::clone).collect())
    }

    /// Writes to some of them, for each of which a little of the room is used, and tells who has not got it all; how many
    /// publications were handed over, or `None` behind the last of the seats.
    fn write(
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
    fn written(&self, end: u64) -> Option<Instant> {
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

impl List {
    fn lock(&self) -> MutexGuard<'_, Due> {
        lock(&self.due)
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::Duration;

    use bytes::Bytes;
    use openline::WebSocket;
    use tokio::sync::mpsc;

    use super::*;
    use crate::channel::Channel;
    use crate::cursor::{Cursor, Epoch};
    use crate::hub::{Lagged, Live, Rhythm, Thinning};
    use crate::publication::Content;

    fn of(channel: &str, offset: u64, size: usize) -> Arc<Publication> {
        let mut body = offset.to_string();
        body.push_str(&" ".repeat(size));
        let content = Content::new("text/plain", Bytes::from(body)).unwrap();
        let cursor = Cursor::after(Epoch::random(), offset);
        let channel = channel.parse().unwrap();
        let time = Timestamp::UNIX_EPOCH;
        Arc::new(Publication::new(channel, cursor, time, content))
    }

    fn publish(hub: &Hub, offset: u64, size: usize) {
        hub.lock().publish(&of("a", offset, size));
    }

    /// A subscriber and its client, attached.
    fn attached(hub: &Hub, filter: &str) -> (Live, WebSocket, openline::Receiver) {
        let (client, server) = WebSocket::pair();
        let (sender, receiver) = server.split();
        let mut live = hub.lock().subscribe(&filter.parse().unwrap());
        let form = Publication::frame;
        assert!(live.attach(Outlet { sender, form }));
        (live, client, receiver)
    }

    async fn told(client: &mut WebSocket) -> u64 {
        let message = client.next().await.unwrap().unwrap();
        message.as_text().unwrap().trim_end().parse().unwrap()
    }

    fn is_returned(live: &mut Live) -> bool {
        live.poll_returned(&Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[tokio::test]
    async fn what_comes_in_a_turn_goes_to_each_in_order_and_is_counted_once() {
        let hub = Hub::new(1 << 20);
        let (counted, mut counts) = mpsc::unbounded_channel();
        let _fanning = hub.fan_out(move |count, _| counted.send(count).unwrap());
        let mut all: Vec<_> = ["a", "a", "*", "a"]
            .map(|filter| attached(&hub, filter))
            .into();
        for offset in 1..=3 {
            publish(&hub, offset, 10);
        }
        for (_, client, _) in &mut all {
            for offset in 1..=3 {
                assert_eq!(told(client).await, offset);
            }
        }
        let mut count = [counts.recv().await.unwrap(), counts.recv().await.unwrap()];
        count.sort_unstable();
        assert_eq!(count, [3, 9], "one for each filter");

        let (live, mut client, _receiver) = attached(&hub, "a");
        publish(&hub, 4, 10);
        drop(live);
        publish(&hub, 5, 10);
        for (_, client, _) in &mut all {
            assert_eq!((told(client).await, told(client).await), (4, 5));
        }
        drop(all);
        assert!(hub.lock().registry.index.is_empty());
        // It left before anything was written.
        let heard = tokio::time::timeout(Duration::ZERO, client.next()).await;
        assert!(heard.is_err());
    }

    #[tokio::test]
    async fn one_whose_connection_is_full_gets_the_rest_in_its_queue_and_the_others_all() {
        const COUNT: u64 = 40;
        let hub = Hub::new(1 << 20);
        let _fanning = hub.fan_out(|_, _| {});
        let (mut stuck, mut slow, mut receiver) = attached(&hub, "a");
        let (_quick, mut client, _others_receiver) = attached(&hub, "a");
        for offset in 0..COUNT {
            publish(&hub, offset, 10_000);
            assert_eq!(told(&mut client).await, offset);
        }
        assert!(is_returned(&mut stuck));
        let waiting: Vec<u64> = std::iter::from_fn(|| stuck.try_next().unwrap())
            .map(|publication| publication.offset())
            .collect();
        assert!(!waiting.is_empty());
        assert_eq!(waiting, (waiting[0]..COUNT).collect::<Vec<_>>());
        tokio::spawn(async move { receiver.next().await });
        for offset in 0..waiting[0] {
            assert_eq!(told(&mut slow).await, offset);
        }
        let (client, server) = WebSocket::pair();
        let (sender, _receiver) = server.split();
        let form = Publication::frame;
        assert!(stuck.attach(Outlet { sender, form }), "all was taken");
        drop(client);
    }

    #[tokio::test]
    async fn many_channels_at_once_seem_no_full_connections() {
        let hub = Hub::new(1 << 20);
        let _fanning = hub.fan_out(|_, _| {});
        let names: Vec<String> = (0..1000).map(|number| format!("a/{number}")).collect();
        let mut all: Vec<_> = names.iter().map(|name| attached(&hub, name)).collect();
        for (offset, name) in (1..).zip(&names) {
            hub.lock().publish(&of(name, offset, 1));
        }
        for (offset, (live, client, _)) in (1..).zip(&mut all) {
            assert_eq!(told(client).await, offset);
            assert!(!is_returned(live), "{offset}");
        }
    }

    #[tokio::test]
    async fn one_with_many_subscribers_does_not_hold_up_the_others() {
        const MANY: u32 = 1000;
        let hub = Hub::new(1 << 20);
        let lists = hub.inner.fan.lists() as u32;
        let many: Vec<_> = (0..MANY * lists).map(|_| attached(&hub, "a")).collect();
        // Each list has one of the others behind the part of the many.
        let others: Vec<_> = (0..lists).map(|number| format!("b/{number}")).collect();
        let mut lives: Vec<_> = others.iter().map(|name| attached(&hub, name)).collect();
        hub.lock().publish(&of("a", 1, 1));
        for name in &others {
            hub.lock().publish(&of(name, 2, 1));
        }
        let (counted, mut counts) = mpsc::unbounded_channel();
        let _fanning = hub.fan_out(move |count, _| counted.send(count).unwrap());
        for (_, client, _) in &mut lives {
            assert_eq!(told(client).await, 2);
        }
        let mut before = 0;
        while let Ok(count) = counts.try_recv() {
            before += count;
        }
        assert!(before < u64::from(MANY), "{before}");
        while before < u64::from(MANY * lists + lists) {
            before += counts.recv().await.unwrap();
        }
        drop(many);
    }

    /// Of every channel the newest is enough.
    #[derive(Debug)]
    struct Newest;

    impl Thinning for Newest {
        fn of(&self, filter: &Filter) -> Option<Rhythm> {
            filter.to_string().starts_with('a').then_some(Rhythm::Free)
        }

        fn is_thinned(&self, _: &Channel) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn where_nobody_writes_in_time_whole_queues_lag_and_others_keep_the_newest() {
        let hub = Hub::new(4 * 1024);
        hub.set_thinning(Some(Arc::new(Newest)));
        let (mut thinned, _client, _receiver) = attached(&hub, "a");
        let (mut whole, _other, _other_receiver) = attached(&hub, "*");
        for offset in 1..=20 {
            publish(&hub, offset, 100);
        }
        assert!(is_returned(&mut thinned) && is_returned(&mut whole));
        assert_eq!(whole.try_next().unwrap_err(), Lagged);
        assert_eq!(thinned.try_next().unwrap().unwrap().offset(), 20);
        assert!(thinned.try_next().unwrap().is_none());
        assert!(hub.replaced() > 10);
    }

    /// Does what a task that is writing does next, as soon as somebody is woken.
    struct Writing(Arc<Shard>);

    impl Wake for Writing {
        fn wake(self: Arc<Self>) {
            // While others have the seats it waits.
            if let Ok(seats) = self.0.seats.try_lock() {
                assert!(seats.is_empty());
                drop(seats);
                self.0.written(1);
            }
        }
    }

    #[tokio::test]
    async fn who_is_taken_from_one_that_writes_loses_nothing_of_it() {
        let hub = Hub::new(4 * 1024);
        let (mut whole, _client, _receiver) = attached(&hub, "a/*");
        hub.set_thinning(Some(Arc::new(Newest)));
        let (mut thinned, _other, _other_receiver) = attached(&hub, "a/*");
        hub.lock().publish(&of("a/b", 1, 1));
        let shard = Arc::clone(&hub.inner.fan.lists[0].lock().shards[0]);
        assert_eq!(shard.begin().1.len(), 1);
        let writing = Waker::from(Arc::new(Writing(shard)));
        assert!(
            whole
                .poll_returned(&Context::from_waker(&writing))
                .is_pending()
        );
        for offset in 2..=20 {
            hub.lock().publish(&of("a/a", offset, 100));
        }
        let offset = |live: &mut Live| live.try_next().map(|next| next.map(|next| next.offset()));
        assert_eq!(offset(&mut whole), Err(Lagged));
        assert_eq!(offset(&mut thinned), Ok(Some(1)));
        assert_eq!(offset(&mut thinned), Ok(Some(20)));
    }

    #[test]
    fn what_is_written_needs_no_room_and_one_always_fits() {
        let fan = Fan::new();
        let filter = Arc::new("a".parse().unwrap());
        let shard = fan.shard(&filter, None);
        let content = Content::new("text/plain", Bytes::from_static(b"x")).unwrap();
        let cursor = Cursor::after(Epoch::random(), 1);
        let channel = "a".parse().unwrap();
        let one = Publication::new(channel, cursor, Timestamp::UNIX_EPOCH, content);
        let one = Arc::new(one);
        assert_eq!(shard.push(&one, 1), Entered::Due);
        assert_eq!(shard.push(&one, 1), Entered::TooMuch);
        let (first, items) = shard.begin();
        assert_eq!((first, items.len()), (0, 1));
        assert_eq!(shard.push(&one, 1), Entered::Waits);
        assert!(shard.written(1).is_some());
        let mut left = 0;
        shard.each_since(0, |_| left += 1);
        assert_eq!((left, shard.end()), (1, 2));
    }
}
