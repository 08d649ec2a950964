//! What happens at the bounds.

use std::time::Duration;

use crate::common::{Connection, Harness, request};

#[tokio::test]
async fn connections_past_the_bound_are_told_so() {
    let server = Harness::with(|config| config.max_connections = 2).await;
    server.publish("a", "1").await;
    let mut first = server
        .stream("/channels/a", &[("Accept", "text/event-stream")])
        .await;
    let mut second = server.connect().await;
    second.send(&request("GET", "/channels/a", &[], b"")).await;
    assert_eq!(second.response("GET").await.status, 200);

    let got = server.get("/channels/a", &[]).await;
    assert!(got.problem(503, "busy").contains("come back later"));
    assert_eq!(got.header("connection"), "close");
    let after: u64 = got.header("retry-after").parse().unwrap();
    assert!((5..=10).contains(&after), "spread out: {after}");
    first.event().await.unwrap();

    drop(first);
    loop {
        let got = server.get("/channels/a", &[]).await;
        if got.status == 200 {
            break;
        }
        got.problem(503, "busy");
    }
}

#[tokio::test]
async fn attack_30_a_head_that_does_not_come_whole_is_given_up_server() {
    let server = Harness::with(|config| config.header_timeout = Duration::from_millis(50)).await;
    for begun in [
        &b""[..],
        b"GET /channels/a HT",
        b"GET /channels/a HTTP/1.1\r\nHost: localhost\r\n",
    ] {
        let mut connection = server.connect().await;
        connection.send(begun).await;
        assert!(connection.is_at_end().await);
    }
    // The second head on a connection too.
    let mut connection = server.connect().await;
    connection
        .send(&request("POST", "/channels/a", &[], b"1"))
        .await;
    assert_eq!(connection.response("POST").await.status, 201);
    connection.send(b"GET").await;
    assert!(connection.is_at_end().await);
}

#[tokio::test]
async fn the_head_timeout_is_not_for_answers() {
    let server = Harness::with(|config| config.header_timeout = Duration::from_millis(50)).await;
    let mut held = server.connect().await;
    held.send(&request("GET", "/channels/a", &[("Prefer", "wait=1")], b""))
        .await;
    held.response("GET").await.problem(404, "no-publication");
    let headers = [("Accept", "text/event-stream"), ("Prefer", "wait=1")];
    let mut stream = server.stream("/channels/a", &headers).await;
    stream.event().await.unwrap();
    let got = server.get("/channels/b", &[("Prefer", "wait=1")]).await;
    got.problem(404, "no-publication");
    server.publish("a", "1").await;
    assert_eq!(stream.event().await.unwrap().data, "1");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = Harness::with(|config| config.idle_timeout = Duration::from_millis(50)).await;
    let mut connection = server.connect().await;
    connection
        .send(&request("POST", "/channels/a", &[], b"1"))
        .await;
    assert_eq!(connection.response("POST").await.status, 201);
    assert!(connection.is_at_end().await);
}

#[tokio::test]
async fn attack_01_a_head_that_is_too_large_is_refused_server() {
    let server = Harness::start().await;
    let long = "x".repeat(100_000);
    let mut connection = server.connect().await;
    connection
        .send(&request("GET", "/channels/a", &[("X-Long", &long)], b""))
        .await;
    assert_eq!(connection.head().await.0, 431);
}

#[tokio::test]
async fn attack_07_a_head_with_too_many_fields_is_refused_server() {
    let server = Harness::start().await;
    let many: Vec<_> = (0..150).map(|number| format!("X-{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let mut connection = server.connect().await;
    connection
        .send(&request("GET", "/channels/a", &many, b""))
        .await;
    assert_eq!(connection.head().await.0, 431);
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let server = Harness::start().await;
    let mut connection = server.connect().await;
    connection.send(b"\x16\x03\x01 what?\r\n\r\n").await;
    assert_eq!(connection.head().await.0, 400);
}

#[tokio::test]
async fn attack_30_a_client_that_takes_nothing_loses_its_place_server() {
    let server = Harness::with(|config| {
        config.max_connections = 1;
        config.max_queue = 1 << 30;
        config.write_timeout = Duration::from_millis(100);
    })
    .await;
    let accept = [("Accept", "application/x-ndjson")];
    let _stalled: Connection = server.stream("/channels/a", &accept).await;
    let filler = "x".repeat(200_000);
    for _ in 0..100 {
        server.publish("a", &filler).await;
    }
    loop {
        let got = server.get("/channels/b", &[]).await;
        if got.status == 404 {
            break;
        }
        got.problem(503, "busy");
    }
}
