//! Requests that are held, and connections that ask nothing, while hyper has let go of them.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{Connection, Harness, request, soon};
use crate::operation::{metric, with_metrics};

const POLLS: &str = "openline_listeners{transport=\"poll\"}";
const WAIT: (&str, &str) = ("Prefer", "wait=60");

/// Waits until so many polls are held.
async fn held(server: &Harness, count: f64) {
    soon(async { while metric(server, POLLS).await != count {} }).await;
}

async fn hold(server: &Harness, method: &str, headers: &[(&str, &str)]) -> Connection {
    let mut connection = server.connect().await;
    connection
        .send(&request(method, "/channels/a", headers, b""))
        .await;
    held(server, 1.0).await;
    connection
}

#[tokio::test]
async fn what_is_asked_behind_a_held_request_is_answered_after_it() {
    let server = Harness::with(with_metrics).await;
    let poll = request("GET", "/channels/a", &[WAIT], b"");
    let health = request("GET", "/healthz", &[], b"");
    let post = request("POST", "/channels/b", &[], b"of b");
    // In one packet, while it is held, and in pieces, longer than what is kept of it.
    let long = format!("/channels/{}", "x/".repeat(700) + "y");
    let long = request("OPTIONS", &long, &[("X", &"x".repeat(2000))], b"");
    for (first, then) in [
        (
            [&poll[..], &health, &post[..10]].concat(),
            post[10..].to_vec(),
        ),
        (poll.clone(), [&health[..], &post].concat()),
    ] {
        let mut connection = server.connect().await;
        connection.send(&first).await;
        held(&server, 1.0).await;
        connection.send(&then).await;
        connection.send(&long).await;
        tokio::task::yield_now().await;
        server.publish("a", "news").await;
        assert_eq!(connection.response("GET").await.text(), "news");
        assert_eq!(connection.response("GET").await.text(), "ok\n");
        assert_eq!(connection.response("POST").await.status, 201);
        assert_eq!(connection.response("OPTIONS").await.status, 400);
        server.request("DELETE", "/channels/a", &[], b"").await;
        held(&server, 0.0).await;
    }
}

#[tokio::test]
async fn what_a_websocket_is_sent_behind_a_held_request_is_all_heard() {
    const PING: [u8; 6] = [0x89, 0x80 | 105, 0, 0, 0, 0];
    const TEXT: [u8; 8] = [0x81, 0x80 | 2, 0, 0, 0, 0, b'h', b'i'];
    let server = Harness::with(with_metrics).await;
    // So long that more is read behind it at once than of a new request.
    let long = "x".repeat(20_000);
    let poll = request("GET", "/channels/a", &[WAIT, ("X", &long)], b"");
    let opening = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let opening = request("GET", "/channels/b", &opening, b"");
    let pings = [&PING[..], &[b'x'; 105]].concat().repeat(400);
    let mut connection = server.connect().await;
    connection
        .send(&[&poll[..], &opening, &pings, &TEXT].concat())
        .await;
    held(&server, 1.0).await;
    server.publish("a", "news").await;
    assert_eq!(connection.response("GET").await.text(), "news");
    assert_eq!(connection.head().await.0, 101);
    loop {
        let head = connection.bytes(2).await;
        let payload = connection.bytes(usize::from(head[1])).await;
        if head[0] == 0x88 {
            // The text is one too much; nothing before it is wrong.
            assert_eq!(payload[..2], 1008_u16.to_be_bytes());
            return;
        }
        assert_eq!((head[0], head[1]), (0x8a, 105));
    }
}

#[tokio::test]
async fn an_answer_to_head_is_held_as_well_and_has_no_body() {
    let server = Harness::with(with_metrics).await;
    let mut connection = hold(&server, "HEAD", &[WAIT, ("Origin", "http://localhost")]).await;
    server.publish("a", "news").await;
    let got = connection.response("HEAD").await;
    assert_eq!((got.status, got.header("content-length")), (200, "4"));
    assert_eq!(got.header("vary"), "Accept, Prefer");
    assert_eq!(got.header("cache-control"), "no-cache");
    assert_eq!(got.header("preference-applied"), "wait=60");
    connection
        .send(&request("GET", "/channels/a", &[], b""))
        .await;
    assert_eq!(connection.response("GET").await.text(), "news");
}

#[tokio::test]
async fn a_page_of_another_origin_may_read_what_was_held() {
    let server = Harness::with(|config| {
        with_metrics(config);
        config.allow_origins = vec!["https://app.example".to_owned()];
    })
    .await;
    let mut connection = hold(&server, "GET", &[WAIT, ("Origin", "https://app.example")]).await;
    server.publish("a", "news").await;
    let got = connection.response("GET").await;
    assert_eq!(got.text(), "news");
    assert_eq!(
        got.header("access-control-allow-origin"),
        "https://app.example"
    );
    assert_eq!(got.header("vary"), "Accept, Prefer, Origin");
}

#[tokio::test]
async fn a_connection_that_is_to_end_ends_after_the_held_answer() {
    let server = Harness::with(with_metrics).await;
    let mut connection = hold(&server, "GET", &[WAIT, ("Connection", "x, Close")]).await;
    server.publish("a", "news").await;
    let got = connection.response("GET").await;
    assert_eq!((got.text(), got.header("connection")), ("news", "close"));
    assert!(connection.is_at_end().await);
}

#[tokio::test]
async fn a_body_that_a_held_request_has_is_no_request() {
    let server = Harness::with(with_metrics).await;
    let inner = request("DELETE", "/channels/a", &[], b"");
    let mut connection = server.connect().await;
    connection
        .send(&request("GET", "/channels/a", &[WAIT], &inner))
        .await;
    held(&server, 1.0).await;
    server.publish("a", "news").await;
    assert_eq!(connection.response("GET").await.text(), "news");
    connection
        .send(&request("GET", "/channels/a", &[], b""))
        .await;
    assert_eq!(connection.response("GET").await.text(), "news");
}

#[tokio::test]
async fn http_1_0_is_held_as_well() {
    let server = Harness::with(with_metrics).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let poll = "GET /channels/a HTTP/1.0\r\nHost: localhost\r\nPrefer: wait=60\r\n\r\n";
    stream.write_all(poll.as_bytes()).await.unwrap();
    held(&server, 1.0).await;
    server.publish("a", "news").await;
    let mut got = String::new();
    soon(stream.read_to_string(&mut got)).await.unwrap();
    assert!(got.starts_with("HTTP/1.0 200 OK\r\n"), "{got}");
    assert!(got.ends_with("\r\n\r\nnews"), "{got}");
}

#[tokio::test]
async fn a_client_that_leaves_is_held_no_longer() {
    let server = Harness::with(with_metrics).await;
    drop(hold(&server, "GET", &[WAIT]).await);
    held(&server, 0.0).await;
    let stream = server
        .stream("/channels/a", &[("Accept", "text/event-stream")])
        .await;
    drop(stream);
    let gauge = "openline_listeners{transport=\"sse\"}";
    soon(async { while metric(&server, gauge).await > 0.0 {} }).await;
}

#[tokio::test]
async fn a_connection_that_was_idle_for_long_is_asked_again() {
    let server = Harness::start().await;
    let health = request("GET", "/healthz", &[], b"");
    let mut connection = server.connect().await;
    for _ in 0..3 {
        // In pieces, the first of which comes before hyper is let go.
        connection.send(&health[..10]).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(2)).await;
        tokio::time::resume();
        connection.send(&health[10..]).await;
        assert_eq!(connection.response("GET").await.text(), "ok\n");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(2)).await;
        tokio::time::resume();
    }
}
