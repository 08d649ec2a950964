//! Listeners that are too slow for everything, by the policy of their namespace.

use openline::Client;
use openline_server::{Config, Namespace, SlowPolicy};
use serde_json::{Value, json};

use crate::common::{Connection, Harness, soon};

/// Far more than the system keeps for a connection.
const FLOOD: u64 = 300;
const FILLER: usize = 100_000;

fn thinned(config: &mut Config, policy: SlowPolicy, rate: usize) {
    let mut namespace = Namespace::default();
    namespace.slow.policy = Some(policy);
    namespace.slow.rate = Some(rate);
    config.namespaces.insert("feed".to_owned(), namespace);
    config.max_queue = 256 * 1024;
    config.history.total_bytes = Some(1 << 20);
}

async fn flood(server: &Harness, channel: &str) {
    let filler = "x".repeat(FILLER);
    for number in 0..FLOOD {
        server.publish(channel, &format!("{number} {filler}")).await;
    }
    server.publish(channel, "last").await;
}

/// The number that a publication bears, and its cursor.
fn told(envelope: &Value) -> (String, String) {
    let data = envelope["data"].as_str().unwrap();
    let number = data.split(' ').next().unwrap().to_owned();
    (number, envelope["cursor"].as_str().unwrap().to_owned())
}

/// What a listener got after it had stalled: in order, with holes, and the newest at the end.
async fn check(server: &Harness, got: Vec<Value>) {
    let mut before = None;
    for envelope in &got[..got.len() - 1] {
        let number: u64 = told(envelope).0.parse().unwrap();
        assert!(before.is_none_or(|before| before < number));
        before = Some(number);
    }
    assert!((got.len() as u64) < FLOOD, "{}", got.len());
    let (last, cursor) = told(got.last().unwrap());
    assert_eq!(last, "last");
    // It is up to date.
    let page = server
        .get(&format!("/channels/feed/*?since={cursor}"), &[])
        .await;
    let page = page.json();
    assert_eq!(
        (&page["recovered"], &page["publications"]),
        (&json!(true), &json!([]))
    );
}

async fn stream(server: &Harness, accept: &str) -> Connection {
    server
        .stream("/channels/feed/*", &[("Accept", accept)])
        .await
}

#[tokio::test]
async fn where_the_latest_is_enough_one_that_stalls_stays_and_gets_the_newest() {
    stalled(|config| thinned(config, SlowPolicy::Latest, 1)).await;
}

#[tokio::test]
async fn a_log_on_disk_is_thinned_as_one_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    stalled(|config| {
        thinned(config, SlowPolicy::Latest, 1);
        config.data_dir = Some(dir.path().join("data"));
    })
    .await;
}

async fn stalled(change: impl FnOnce(&mut Config)) {
    let server = Harness::with(change).await;
    let mut lines = stream(&server, "application/x-ndjson").await;
    let mut events = stream(&server, "text/event-stream").await;
    let url = format!("ws://{}/channels/feed/*", server.address);
    let client = Client::new(&url).unwrap();
    let (mut socket, _) = soon(client.connect()).await.unwrap();
    flood(&server, "feed/a").await;

    lines.object().await.unwrap();
    events.event().await.unwrap();
    soon(socket.next()).await.unwrap().unwrap();
    let (mut of_lines, mut of_events, mut of_socket) = (Vec::new(), Vec::new(), Vec::new());
    while of_lines.last().is_none_or(|last| told(last).0 != "last") {
        of_lines.push(lines.object().await.unwrap());
    }
    while of_events.last().is_none_or(|last| told(last).0 != "last") {
        let event = events.event().await.unwrap();
        of_events.push(serde_json::from_str(&event.data).unwrap());
    }
    while of_socket.last().is_none_or(|last| told(last).0 != "last") {
        let message = soon(socket.next()).await.unwrap().unwrap();
        of_socket.push(serde_json::from_str(message.as_text().unwrap()).unwrap());
    }
    for got in [of_lines, of_events, of_socket] {
        check(&server, got).await;
    }
}

#[tokio::test]
async fn elsewhere_one_that_stalls_is_let_go_and_comes_back_for_the_rest() {
    let server = Harness::with(|config| thinned(config, SlowPolicy::Latest, 1)).await;
    let mut lines = server
        .stream("/channels/other", &[("Accept", "application/x-ndjson")])
        .await;
    flood(&server, "other").await;
    let mut got = 0;
    while lines.object().await.is_some() {
        got += 1;
    }
    assert!(got < FLOOD, "{got}");
}

#[tokio::test]
async fn where_there_is_a_rate_the_newest_of_each_channel_wins() {
    let server = Harness::with(|config| thinned(config, SlowPolicy::Rate, 4)).await;
    let mut lines = stream(&server, "application/x-ndjson").await;
    lines.object().await.unwrap();
    let url = format!("ws://{}/channels/feed/a", server.address);
    let client = Client::new(&url).unwrap();
    let (mut socket, _) = soon(client.connect()).await.unwrap();
    for number in 0..=100 {
        for channel in ["feed/a", "feed/b"] {
            server.publish(channel, &number.to_string()).await;
        }
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    while a.last().is_none_or(|last| last != "100") || b.last().is_none_or(|last| last != "100") {
        let envelope = lines.object().await.unwrap();
        let of = if envelope["channel"] == "feed/a" {
            &mut a
        } else {
            &mut b
        };
        of.push(told(&envelope).0);
    }
    let mut bare = Vec::new();
    while bare.last().is_none_or(|last| last != "100") {
        let message = soon(socket.next()).await.unwrap().unwrap();
        bare.push(message.as_text().unwrap().to_owned());
    }
    for got in [a, b, bare] {
        assert!(got.len() < 50, "{got:?}");
        assert!(got.is_sorted_by_key(|number| number.parse::<u64>().unwrap()));
    }
}

#[tokio::test]
async fn a_listener_that_is_thinned_is_let_go_when_even_the_newest_are_too_many() {
    let server = Harness::with(|config| thinned(config, SlowPolicy::Latest, 1)).await;
    let mut lines = stream(&server, "application/x-ndjson").await;
    let filler = "x".repeat(FILLER);
    for number in 0..FLOOD {
        server.publish(&format!("feed/{number}"), &filler).await;
    }
    let mut got = 0;
    while lines.object().await.is_some() {
        got += 1;
    }
    assert!(got < FLOOD, "{got}");
}
