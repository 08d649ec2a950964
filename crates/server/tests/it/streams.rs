//! Server-Sent Events and lines of JSON.

use std::time::Duration;

use serde_json::json;

use crate::common::http::Event;
use crate::common::{Connection, Harness, Issuer, request, seconds_from_now, soon};

const SSE: (&str, &str) = ("Accept", "text/event-stream");
const NDJSON: (&str, &str) = ("Accept", "application/x-ndjson");

async fn next(stream: &mut Connection) -> Event {
    stream.event().await.unwrap()
}

/// The first event, checked: its name; where the stream stands.
async fn standing(stream: &mut Connection) -> (String, String) {
    let event = next(stream).await;
    let object: serde_json::Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!(
        object,
        json!({"cursor": event.id, "recovered": event.name == "ready"})
    );
    (event.name, event.id)
}

#[tokio::test]
async fn an_event_stream_is_the_latest_then_what_comes() {
    let server = Harness::start().await;
    server.publish("a", "old").await;
    let latest = server.publish("a", "1\n 2").await;
    let mut stream = server.connect().await;
    stream
        .send(&crate::common::request("GET", "/channels/a", &[SSE], b""))
        .await;
    let (status, headers) = stream.head().await;
    assert_eq!(
        (status, headers["content-type"].as_str()),
        (200, "text/event-stream")
    );
    assert_eq!(headers["cache-control"], "no-cache");
    assert_eq!(headers["vary"], "Accept, Prefer");
    assert_eq!(headers["x-accel-buffering"], "no");

    assert_eq!(standing(&mut stream).await.0, "ready");
    let event = next(&mut stream).await;
    assert_eq!(
        event,
        Event {
            name: String::new(),
            id: latest,
            data: "1\n 2".into()
        }
    );
    server.publish("b", "elsewhere").await;
    let cursor = server.publish("a", "3").await;
    let event = next(&mut stream).await;
    assert_eq!((event.id, event.data.as_str()), (cursor, "3"));
}

#[tokio::test]
async fn an_event_stream_resumes_by_its_last_id() {
    let server = Harness::start().await;
    let first = server.publish("a", "1").await;
    let second = server.publish("a", "2").await;
    server.publish("a", "3").await;
    let since = format!("/channels/a?since={first}");
    for (path, headers) in [
        (since.as_str(), vec![SSE]),
        ("/channels/a", vec![SSE, ("Last-Event-ID", first.as_str())]),
        (
            "/channels/a?since=zzzzzzzzzzzz:1",
            vec![SSE, ("Last-Event-ID", first.as_str())],
        ),
    ] {
        let mut stream = server.stream(path, &headers).await;
        assert_eq!(standing(&mut stream).await, ("ready".into(), first.clone()));
        assert_eq!(next(&mut stream).await.data, "2");
        assert_eq!(next(&mut stream).await.data, "3");
    }
    let mut stream = server
        .stream(&since, &[SSE, ("Last-Event-ID", &second)])
        .await;
    assert_eq!(standing(&mut stream).await.1, second);
    assert_eq!(next(&mut stream).await.data, "3");
}

#[tokio::test]
async fn where_an_event_stream_begins_loses_nothing() {
    let server = Harness::start().await;
    for history in [&["1", "2"][..], &[]] {
        let mut stream = server.stream("/channels/a", &[SSE]).await;
        let (_, cursor) = standing(&mut stream).await;
        drop(stream);
        server.publish("a", "after").await;
        let mut stream = server
            .stream("/channels/a", &[SSE, ("Last-Event-ID", &cursor)])
            .await;
        assert_eq!(standing(&mut stream).await, ("ready".into(), cursor));
        // The latest that was cut off after the first event comes too.
        let wanted = if history.is_empty() {
            &["2", "after"][..]
        } else {
            &["after"]
        };
        for body in wanted {
            assert_eq!(next(&mut stream).await.data, *body);
        }
        for body in history {
            server.publish("a", body).await;
        }
    }
}

#[tokio::test]
async fn a_gap_is_an_event() {
    let server = Harness::with(|config| config.history.count = 1).await;
    let first = server.publish("a", "1").await;
    server.publish("a", "2").await;
    let latest = server.publish("a", "3").await;
    for lost in [first.as_str(), "zzzzzzzzzzzz:9", "what?"] {
        let mut stream = server
            .stream("/channels/a", &[SSE, ("Last-Event-ID", lost)])
            .await;
        assert_eq!(standing(&mut stream).await.0, "gap", "{lost}");
        let event = next(&mut stream).await;
        assert_eq!(
            (event.id.as_str(), event.data.as_str()),
            (latest.as_str(), "3")
        );
    }
    // In the URL a malformed cursor is the caller's mistake.
    server
        .get("/channels/a?since=what?", &[SSE])
        .await
        .problem(400, "bad-cursor");
}

#[tokio::test]
async fn an_event_stream_tells_what_is_base64() {
    let server = Harness::start().await;
    let mut stream = server.stream("/channels/a", &[SSE]).await;
    standing(&mut stream).await;
    for (content_type, body, name, data) in [
        ("image/png", &b"\x00\xff"[..], "binary", "AP8="),
        ("text/plain", b"a\r\nb", "binary", "YQ0KYg=="),
        ("text/plain", b"\xff", "binary", "/w=="),
        ("application/json", b"{\n}", "", "{\n}"),
        ("text/plain", b"", "", ""),
        ("text/plain", b"\n", "", "\n"),
    ] {
        server
            .post("/channels/a", &[("Content-Type", content_type)], body)
            .await;
        let event = next(&mut stream).await;
        assert_eq!((event.name.as_str(), event.data.as_str()), (name, data));
    }
}

#[tokio::test]
async fn an_event_stream_of_a_pattern_has_envelopes() {
    let server = Harness::start().await;
    server.publish("f/b", "b").await;
    server.publish("f/a", "a").await;
    let mut stream = server.stream("/channels/f/*", &[SSE]).await;
    standing(&mut stream).await;
    for (channel, body) in [("f/b", "b"), ("f/a", "a"), ("f/new", "n")] {
        if body == "n" {
            server.publish(channel, body).await;
        }
        let event = next(&mut stream).await;
        let envelope: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(
            (&envelope["channel"], &envelope["data"]),
            (&json!(channel), &json!(body))
        );
        assert_eq!(envelope["cursor"], event.id);
    }
}

#[tokio::test]
async fn lines_are_envelopes_after_the_first() {
    let server = Harness::start().await;
    let first = server.publish("a", "1").await;
    let mut stream = server.connect().await;
    stream
        .send(&crate::common::request(
            "GET",
            "/channels/a",
            &[NDJSON],
            b"",
        ))
        .await;
    let (status, headers) = stream.head().await;
    assert_eq!(
        (status, headers["content-type"].as_str()),
        (200, "application/x-ndjson")
    );
    assert_eq!(headers["x-accel-buffering"], "no");
    let standing = stream.object().await.unwrap();
    assert_eq!(standing["recovered"], true);
    let envelope = stream.object().await.unwrap();
    assert_eq!(
        (&envelope["data"], &envelope["cursor"]),
        (&json!("1"), &json!(first))
    );
    let headers = [("Content-Type", "application/json")];
    server
        .post("/channels/a", &headers, b"{\r\n\"x\":\n1}")
        .await;
    assert_eq!(stream.object().await.unwrap()["data"], json!({"x": 1}));
    server.post("/channels/a", &[], b"\x00").await;
    assert_eq!(stream.object().await.unwrap()["base64"], "AA==");

    let mut stream = server
        .stream(&format!("/channels/a?since={first}"), &[NDJSON])
        .await;
    assert_eq!(
        stream.object().await.unwrap(),
        json!({"cursor": first, "recovered": true})
    );
    assert_eq!(stream.object().await.unwrap()["data"], json!({"x": 1}));
    let mut stream = server
        .stream("/channels/*?since=zzzzzzzzzzzz:1", &[NDJSON])
        .await;
    assert_eq!(stream.object().await.unwrap()["recovered"], false);
    assert_eq!(stream.object().await.unwrap()["base64"], "AA==");
}

#[tokio::test]
async fn quiet_streams_show_that_they_live() {
    let server = Harness::with(|config| config.heartbeat = Duration::from_millis(10)).await;
    let mut stream = server.stream("/channels/a", &[SSE]).await;
    standing(&mut stream).await;
    for _ in 0..3 {
        assert_eq!(stream.until("\n\n").await.as_deref(), Some(":"));
    }
    let mut stream = server.stream("/channels/a", &[NDJSON]).await;
    stream.object().await.unwrap();
    for _ in 0..3 {
        assert_eq!(stream.until("\n").await.as_deref(), Some(""));
    }
}

#[tokio::test]
async fn the_form_is_chosen_by_weight() {
    let server = Harness::start().await;
    server.publish("a", "1").await;
    for (accept, content_type) in [
        ("*/*", "text/plain"),
        ("text/html, */*;q=0.8", "text/plain"),
        ("text/event-stream;q=0.2, */*;q=0.5", "text/plain"),
        ("text/event-stream;q=0.5, */*;q=0.2", "text/event-stream"),
        (
            "application/x-ndjson, text/event-stream;q=0.9",
            "application/x-ndjson",
        ),
        ("text/event-stream;q=0", "text/plain"),
    ] {
        let headers = [("Accept", accept)];
        let head = server.request("HEAD", "/channels/a", &headers, b"").await;
        assert_eq!(
            (head.status, head.header("content-type")),
            (200, content_type),
            "{accept}"
        );
    }
}

#[tokio::test]
async fn attack_03_a_stalled_stream_ends_and_costs_the_others_nothing_server() {
    const COUNT: usize = 100;
    let server = Harness::with(|config| {
        config.max_queue = 1 << 20;
        config.history.bytes = 4 << 20;
    })
    .await;
    let mut stalled = server.stream("/channels/a", &[SSE]).await;
    let mut quick = server.stream("/channels/a", &[NDJSON]).await;
    standing(&mut stalled).await;
    quick.object().await.unwrap();
    let filler = "x".repeat(200_000);
    for number in 0..COUNT {
        server.publish("a", &format!("{number} {filler}")).await;
        let got = quick.object().await.unwrap();
        assert!(
            got["data"]
                .as_str()
                .unwrap()
                .starts_with(&format!("{number} "))
        );
    }
    // What was on the way comes, in order, and then the end of the connection: the client is to come back.
    let rest = String::from_utf8(stalled.rest().await).unwrap();
    let whole = rest.rsplit_once("\n\n").unwrap().0;
    let events: Vec<_> = whole.split("\n\n").collect();
    for (seen, event) in events.iter().enumerate() {
        assert!(event.contains(&format!("\ndata: {seen} ")), "{seen}");
    }
    assert!(
        events.len() < COUNT,
        "20 MB do not fit in the queue and the sockets"
    );
    let last = events.last().unwrap().lines().next().unwrap();
    let last = last.strip_prefix("id: ").unwrap().to_owned();
    let mut resumed = server
        .stream("/channels/a", &[SSE, ("Last-Event-ID", &last)])
        .await;
    assert_eq!(standing(&mut resumed).await.0, "gap");
    assert!(
        next(&mut resumed)
            .await
            .data
            .starts_with(&format!("{} ", COUNT - 1))
    );
}

/// Its place is free again though it has read nothing, and long before it would be given up for that.
async fn loses_its_place(first: usize, then: usize) {
    let server = Harness::with(|config| {
        config.max_connections = 1;
        config.max_queue = 1 << 20;
        config.history.bytes = 1 << 30;
        config.write_timeout = Duration::from_secs(3600);
    })
    .await;
    let filler = "x".repeat(200_000);
    let begin = server.publish("a", "begin").await;
    for _ in 0..first {
        server.publish("a", &filler).await;
    }
    let path = format!("/channels/a?since={begin}");
    let _stalled = server.stream(&path, &[SSE]).await;
    for _ in 0..then {
        server.publish("a", &filler).await;
        tokio::task::yield_now().await;
    }
    soon(async {
        loop {
            let got = server.get("/channels/b", &[]).await;
            if got.status == 404 {
                break;
            }
            got.problem(503, "busy");
        }
    })
    .await;
}

#[tokio::test]
async fn a_listener_that_stalls_loses_its_connection_when_it_lags() {
    loses_its_place(0, 100).await;
}

#[tokio::test]
async fn one_that_stalls_on_what_it_missed_does_too() {
    loses_its_place(100, 20).await;
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_a_stream_without_chunks() {
    let server = Harness::start().await;
    server.publish("a", "1").await;
    let mut connection = server.connect().await;
    connection
        .send(b"GET /channels/a HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        .await;
    let (status, headers) = connection.head().await;
    assert_eq!((status, headers.get("transfer-encoding")), (200, None));
    let begin = b"event: ready\n";
    assert_eq!(connection.bytes(begin.len()).await, begin);
}

#[tokio::test]
async fn after_a_stream_the_connection_is_asked_again() {
    let issuer = Issuer::secret();
    let server = Harness::with(|config| config.token.secret = Some(issuer.shared())).await;
    let claims = |seconds| json!({"exp": seconds_from_now(seconds), "sub": "u", "openline": {"subscribe": ["a"]}});
    let bearer = |seconds| format!("Bearer {}", issuer.token(claims(seconds)));
    let short = bearer(1);
    let mut connection = server
        .stream("/channels/a", &[SSE, ("Authorization", &short)])
        .await;
    let mut names = Vec::new();
    while let Some(event) = connection.event().await {
        names.push(event.name);
    }
    assert_eq!(names, ["ready", "expired"]);
    let long = bearer(60);
    let again = request("GET", "/channels/a", &[("Authorization", &long)], b"");
    connection.send(&again).await;
    connection
        .response("GET")
        .await
        .problem(404, "no-publication");
}
