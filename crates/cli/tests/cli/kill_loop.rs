//! A server that is killed again and again while clients publish and listen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use crate::post::post;
use crate::support::{Running, Server, json};

/// Publishers, and channels of each: many, so that no history is too short for a listener that waits to come back.
const PUBLISHERS: usize = 4;
const CHANNELS: usize = 25;

/// Every way to listen that goes by events; `poll` asks now and then, by the same requests as `long-poll`.
const WAYS: [&str; 4] = ["ws", "sse", "stream", "long-poll"];

/// How often the server is killed: `ci/kill-loop.sh` says more.
fn kills() -> u64 {
    let kills = std::env::var("OPENLINE_KILLS").ok();
    kills.map_or(5, |kills| {
        kills.parse().expect("OPENLINE_KILLS is no number")
    })
}

/// What the publishers have had acknowledged: by channel, the cursors in the order of publishing.
type Acknowledged = BTreeMap<String, Vec<String>>;

/// Publishes numbers on its channels, in turn, each until it is acknowledged.
fn publish(
    address: &str,
    publisher: usize,
    stop: &AtomicBool,
    acknowledged: &AtomicU64,
) -> Acknowledged {
    let mut all = Acknowledged::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let channel = format!("kill/{publisher}-{}", number % CHANNELS);
        let cursors = all.entry(channel.clone()).or_default();
        let (key, body) = (format!("{publisher}.{number}"), cursors.len().to_string());
        loop {
            match post(address, &channel, &key, &body) {
                Ok(answer) if answer.status == 201 => {
                    let cursor = answer.json()["cursor"].as_str().unwrap().to_owned();
                    cursors.push(cursor);
                    break;
                }
                // The first try is still under way, or the server is going down.
                Ok(answer) => assert!([409, 503].contains(&answer.status), "{answer:?}"),
                // It is dead, or died in the midst of it: nobody knows whether it was taken. It is tried again until a
                // new one listens.
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
        number += 1;
    }
    all
}

fn serve(address: &str, dir: &str) -> Server {
    Server::start_with(&["serve", "--listen", address, "--data-dir", dir])
}

#[test]
fn nothing_that_was_acknowledged_is_lost_or_doubled_or_out_of_order_however_often_the_server_is_killed()
 {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let mut server = serve("127.0.0.1:0", dir);
    let address = server.address().to_owned();

    let mut listeners: Vec<Running> = WAYS
        .iter()
        .map(|way| server.listen(&["kill/*", "--via", way, "--since", ""]))
        .collect();

    let stop = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let begin = Arc::new(Barrier::new(PUBLISHERS + 1));
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let (stop, count, begin) = (Arc::clone(&stop), Arc::clone(&count), Arc::clone(&begin));
            let address = address.clone();
            thread::spawn(move || {
                begin.wait();
                publish(&address, publisher, &stop, &count)
            })
        })
        .collect();
    begin.wait();

    for kill in 0..kills() {
        // Each time at another moment: of a commit, of a checkpoint, of the start itself.
        let until = count.load(Ordering::Relaxed) + 20 + kill * 37 % 120;
        while count.load(Ordering::Relaxed) < until {
            thread::yield_now();
        }
        server.running.kill();
        if kill % 4 == 3 {
            Running::start(&["serve", "--listen", &address, "--data-dir", dir]).kill();
        }
        server = serve(&address, dir);
    }

    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Acknowledged::new();
    for publisher in publishers {
        acknowledged.extend(publisher.join().unwrap());
    }
    assert!(acknowledged.len() > PUBLISHERS);
    let end = post(&address, "kill/end", "", "end").unwrap();
    assert_eq!(end.status, 201);

    let mut orders = Vec::new();
    for (listener, way) in listeners.iter_mut().zip(WAYS) {
        let mut seen = Acknowledged::new();
        let mut order = Vec::new();
        loop {
            let envelope = json(&listener.line());
            let channel = envelope["channel"].as_str().unwrap().to_owned();
            if channel == "kill/end" {
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

    for listener in &listeners {
        listener.signal("TERM");
    }
    for listener in listeners {
        let (_, talk) = listener.end_with_log();
        assert!(!talk.iter().any(|line| line.contains("GAP")), "{talk:?}");
    }
    server.running.signal("TERM");
    assert_eq!(server.running.end().code(), Some(0));
}
