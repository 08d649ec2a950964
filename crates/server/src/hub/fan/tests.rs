use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use openline::WebSocket;
use tokio::sync::mpsc;

use super::*;
use crate::channel::Channel;
use crate::cursor::{Cursor, Epoch};
use crate::hub::outlet::Outlet;
use crate::hub::{Lagged, Live, Rhythm, Thinning};
use crate::publication::Content;
use crate::publication::Publication;

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

/// A subscriber, its client, and what keeps its connection.
type Attached = (Live, WebSocket, openline::Receiver);

/// One that is attached.
fn attached(hub: &Hub, filter: &str) -> Attached {
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

/// On each list the part of a large group, and behind it one with a single subscriber, all with something to be told.
fn many_and_others(hub: &Hub, many: u32) -> (Vec<Attached>, Vec<Attached>) {
    let lists = hub.inner.fan.lists() as u32;
    let many = (0..many * lists).map(|_| attached(hub, "a")).collect();
    let names: Vec<_> = (0..lists).map(|number| format!("b/{number}")).collect();
    let others = names.iter().map(|name| attached(hub, name)).collect();
    hub.lock().publish(&of("a", 1, 1));
    for name in &names {
        hub.lock().publish(&of(name, 2, 1));
    }
    (many, others)
}

#[tokio::test]
async fn one_with_many_subscribers_does_not_hold_up_the_others() {
    const MANY: u32 = 1000;
    let hub = Hub::new(1 << 20);
    let lists = hub.inner.fan.lists() as u32;
    let (many, mut others) = many_and_others(&hub, MANY);
    let (counted, mut counts) = mpsc::unbounded_channel();
    let _fanning = hub.fan_out(move |count, _| counted.send(count).unwrap());
    for (_, client, _) in &mut others {
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

#[tokio::test]
async fn beside_other_workers_a_task_gives_way_less_often_and_small_parts_wait_no_longer() {
    let hub = Hub::new(1 << 20);
    let _all = many_and_others(&hub, 1000);
    let counts = Mutex::<Vec<u64>>::default();
    let delivered = |count, _| lock(&counts).push(count);
    let mut seeing = pin!(unconstrained(see_to(&hub, 0, 4, &delivered)));
    let mut until_it_gives_way = || {
        let polled = seeing
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        mem::take(&mut *lock(&counts))
    };
    assert_eq!(until_it_gives_way(), [64]);
    assert_eq!(until_it_gives_way(), [1, 63, 64, 64, 64]);
    assert_eq!(until_it_gives_way(), [64; 4]);
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
