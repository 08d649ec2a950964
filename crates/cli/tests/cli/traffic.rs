//! Publishers and listeners that go on while servers come and go, and what all of them must have seen in the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};

use crate::post::post;
use crate::support::{Running, Server, json};

/// Publishers, and channels of each: many, so that no history is too short for a listener that waits to come back.
const PUBLISHERS: usize = 4;
const CHANNELS: usize = 25;

/// Every way to listen that goes by events; `poll` asks now and then, by the same requests as `long-poll`.
const WAYS: [&str; 4] = ["ws", "sse", "stream", "long-poll"];

/// What the publishers have had acknowledged: by channel, the cursors in the order of publishing.
type Acknowledged = BTreeMap<String, Vec<String>>;

/// How a publisher asks: the address, the channel, the key and the body. It goes on until it has the cursor.
pub(crate) type Publish = dyn FnMut(&str, &str, &str, &str) -> String + Send;

pub(crate) struct Traffic {
    address: String,
    listeners: Vec<Running>,
    publishers: Vec<JoinHandle<Acknowledged>>,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
}

impl Traffic {
    /// Begins to listen and to publish, each publisher in a way of its own.
    pub(crate) fn begin(server: &Server, way: impl Fn(usize) -> Box<Publish>) -> Self {
        let listeners = WAYS.iter();
        let listeners =
            listeners.map(|way| server.listen(&["traffic/*", "--via", way, "--since", ""]));
        let listeners = listeners.collect();
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let begin = Arc::new(Barrier::new(PUBLISHERS));
        let publishers = (0..PUBLISHERS).map(|publisher| {
            let (stop, count, begin) = (Arc::clone(&stop), Arc::clone(&count), Arc::clone(&begin));
            let address = server.address().to_owned();
            let mut ask = way(publisher);
            thread::spawn(move || {
                begin.wait();
                publish(&address, publisher, &stop, &count, &mut *ask)
            })
        });
        Self {
            address: server.address().to_owned(),
            listeners,
            publishers: publishers.collect(),
            stop,
            count,
        }
    }

    /// Waits until so many more are acknowledged.
    pub(crate) fn go_on(&self, more: u64) {
        let until = self.count.load(Ordering::Relaxed) + more;
        while self.count.load(Ordering::Relaxed) < until {
            let has_ended = |publisher: &JoinHandle<_>| publisher.is_finished();
            assert!(!self.publishers.iter().any(has_ended), "a publisher failed");
            thread::yield_now();
        }
    }

    /// Ends it: all listeners have seen what was acknowledged, all of it, each once, in one order, and were told of no gap.
    pub(crate) fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut acknowledged = Acknowledged::new();
        for publisher in self.publishers {
            acknowledged.extend(publisher.join().unwrap());
        }
        assert!(acknowledged.len() > PUBLISHERS);
        let end = post(&self.address, "traffic/end", "", "end").unwrap();
        assert_eq!(end.status, 201);

        let mut orders = Vec::new();
        for (listener, way) in self.listeners.iter_mut().zip(WAYS) {
            let mut seen = Acknowledged::new();
            let mut order = Vec::new();
            loop {
                let envelope = json(&listener.line());
                let channel = envelope["channel"].as_str().unwrap().to_owned();
                if channel == "traffic/end" {
                    break;
                }
                let cursors = seen.entry(channel.clone()).or_default();
                let number = cursors.len().to_string();
                assert_eq!(
                    envelope["data"], number,
                    "{way} {channel}: lost, doubled or out of order"
                );
                let cursor = envelope["cursor"].as_str().unwrap().to_owned();
                cursors.push(cursor.clone());
                order.push(cursor);
            }
            // Also the cursors: a retry was given that of the publication that was kept.
            assert_eq!(seen, acknowledged, "{way}");
            orders.push(order);
        }
        assert!(
            orders.iter().all(|order| *order == orders[0]),
            "all see one order"
        );

        for listener in &self.listeners {
            listener.signal("TERM");
        }
        for listener in self.listeners {
            let (_, talk) = listener.end_with_log();
            assert!(!talk.iter().any(|line| line.contains("GAP")), "{talk:?}");
        }
    }
}

/// Publishes numbers on its channels, in turn, each until it is acknowledged.
fn publish(
    address: &str,
    publisher: usize,
    stop: &AtomicBool,
    acknowledged: &AtomicU64,
    ask: &mut Publish,
) -> Acknowledged {
    let mut all = Acknowledged::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let channel = format!("traffic/{publisher}-{}", number % CHANNELS);
        let cursors = all.entry(channel.clone()).or_default();
        let (key, body) = (format!("{publisher}.{number}"), cursors.len().to_string());
        cursors.push(ask(address, &channel, &key, &body));
        acknowledged.fetch_add(1, Ordering::Relaxed);
        number += 1;
    }
    all
}
