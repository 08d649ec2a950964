//! Publishing by `POST`.

use crate::common::{Connection, Harness, Response, request};

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[tokio::test]
async fn the_answer_says_where_it_stands() {
    let server = Harness::start().await;
    let got = server.post("/channels/a/b", &[JSON], b"{}").await;
    assert_eq!(got.status, 201);
    let answer = got.json();
    assert_eq!(answer["channel"], "a/b");
    assert_eq!(
        got.header("etag"),
        format!("\"{}\"", answer["cursor"].as_str().unwrap())
    );
    let time = answer["time"].as_str().unwrap();
    assert_eq!(time.len(), "2026-11-22T10:51:00.123Z".len(), "{time}");
    assert!(time.parse::<jiff::Timestamp>().is_ok());
    assert_eq!(got.header("cache-control"), "no-cache");
    assert_eq!(
        server.get("/channels/a/b", &[]).await.header("etag"),
        got.header("etag")
    );
}

#[tokio::test]
async fn json_that_is_none_is_refused_with_its_place() {
    let server = Harness::start().await;
    for content_type in ["application/json", "Application/GEO+json; x=y"] {
        let headers = [("Content-Type", content_type)];
        let got = server
            .post("/channels/a", &headers, b"{\n  \"a\": 1,\n  oops}")
            .await;
        assert!(
            got.problem(400, "bad-json")
                .ends_with("at line 3, column 3")
        );
    }
    server
        .post("/channels/a", &[JSON], b"")
        .await
        .problem(400, "bad-json");
    server
        .post("/channels/a", &[JSON], b"\"\xff\"")
        .await
        .problem(400, "bad-json");
    server
        .post("/channels/a", &[JSON], &b"[".repeat(10_000))
        .await
        .problem(400, "bad-json");
    let deep = ["[".repeat(5000), "]".repeat(5000)].concat();
    let got = server.post("/channels/a", &[JSON], deep.as_bytes()).await;
    assert!(
        got.problem(400, "bad-json")
            .ends_with("over 100 deep at line 1, column 101")
    );
    server
        .get("/channels/a", &[])
        .await
        .problem(404, "no-publication");
}

#[tokio::test]
async fn attack_02_what_is_too_large_is_refused_before_it_is_sent_server() {
    let server = Harness::with(|config| config.max_publication = 1000).await;
    assert_eq!(
        server.post("/channels/a", &[], &[b'x'; 1000]).await.status,
        201
    );

    let mut connection = server.connect().await;
    let head = "POST /channels/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n";
    connection.send(head.as_bytes()).await;
    assert!(
        connection
            .response("POST")
            .await
            .problem(413, "too-large")
            .contains("1000 bytes")
    );
}

#[tokio::test]
async fn attack_02_what_becomes_too_large_on_the_way_is_refused_server() {
    let server = Harness::with(|config| config.max_publication = 1000).await;
    let head = "POST /channels/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut connection = server.connect().await;
    connection.send(head.as_bytes()).await;
    for _ in 0..2 {
        connection
            .send(format!("1f4\r\n{}\r\n", "x".repeat(500)).as_bytes())
            .await;
    }
    connection.send(b"0\r\n\r\n").await;
    assert_eq!(connection.response("POST").await.status, 201);

    // The end never comes, and is not waited for.
    let mut connection = server.connect().await;
    connection.send(head.as_bytes()).await;
    connection
        .send(format!("3e9\r\n{}\r\n", "x".repeat(1001)).as_bytes())
        .await;
    connection.response("POST").await.problem(413, "too-large");
}

#[tokio::test]
async fn a_large_body_is_refused_though_all_of_it_is_sent() {
    let server = Harness::start().await;
    let got = server
        .post("/channels/a", &[], &vec![b'x'; 16_000_000])
        .await;
    got.problem(413, "too-large");
}

#[tokio::test]
async fn attack_30_a_body_that_does_not_come_is_given_up_server() {
    let server = Harness::with(|config| {
        config.body_timeout = std::time::Duration::from_millis(50);
    })
    .await;
    let mut connection = server.connect().await;
    let head = "POST /channels/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nx";
    connection.send(head.as_bytes()).await;
    connection
        .response("POST")
        .await
        .problem(408, "body-timeout");
}

#[tokio::test]
async fn header_fields_that_cannot_be_kept_are_refused() {
    let server = Harness::start().await;
    for wrong in ["text", "text/", "a b/c", "text/plain/x;"] {
        let headers = [("Content-Type", wrong)];
        server
            .post("/channels/a", &headers, b"x")
            .await
            .problem(400, "bad-request");
    }
    let twice = [
        ("Content-Type", "text/plain"),
        ("Content-Type", "text/html"),
    ];
    server
        .post("/channels/a", &twice, b"x")
        .await
        .problem(400, "bad-request");
    let got = server
        .post("/channels/a", &[("Content-Encoding", "gzip")], b"x")
        .await;
    got.problem(415, "content-encoding");
    assert_eq!(got.header("accept-encoding"), "identity");
    server
        .post("/channels/a/*", &[], b"x")
        .await
        .problem(400, "pattern");
    server
        .post("/channels/**", &[], b"x")
        .await
        .problem(400, "pattern");
}

#[tokio::test]
async fn publishing_from_inside_is_checked_as_from_outside() {
    use openline_server::{ContentError, NameError, PublishError};

    let server = Harness::start().await;
    let publisher = &server.publisher;
    let published = publisher
        .publish("a", "application/json", "{}")
        .await
        .unwrap();
    let got = server.get("/channels/a", &[]).await;
    assert_eq!(got.header("etag"), format!("\"{}\"", published.cursor));

    let error = publisher
        .publish("a//b", "text/plain", "")
        .await
        .unwrap_err();
    assert_eq!(
        error,
        PublishError::Name(NameError::EmptySegment { segment: 2 })
    );
    let error = publisher
        .publish("a/*", "text/plain", "")
        .await
        .unwrap_err();
    assert_eq!(error, PublishError::Name(NameError::Pattern));
    let error = publisher
        .publish("a", "application/json", "{")
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        PublishError::Content(ContentError::Json { line: 1, .. })
    ));
    let error = publisher.publish("a", "text", "").await.unwrap_err();
    assert_eq!(error, PublishError::Content(ContentError::ContentType));
    let error = publisher
        .publish("a", "text/plain", vec![b'x'; 262_145])
        .await
        .unwrap_err();
    assert_eq!(error, PublishError::TooLarge { limit: 262_144 });
}

async fn keyed(server: &Harness, path: &str, key: &str, body: &str) -> Response {
    let headers = [("Idempotency-Key", key), ("Content-Type", "text/plain")];
    server.post(path, &headers, body.as_bytes()).await
}

async fn count(server: &Harness, channel: &str, start: &str) -> usize {
    let page = server
        .get(&format!("/channels/{channel}?since={start}"), &[])
        .await
        .json();
    page["publications"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_retry_with_the_same_key_gets_the_same_answer() {
    let server = Harness::start().await;
    let start = server.get("/channels/a?since=", &[]).await.json();
    let start = start["cursor"].as_str().unwrap();
    let first = keyed(&server, "/channels/a", "\"8e03978e\"", "x").await;
    server.publish("a", "between").await;
    let again = keyed(&server, "/channels/a", "\"8e03978e\"", "x").await;
    assert_eq!((again.status, again.json()), (201, first.json()));
    assert_eq!(again.header("etag"), first.header("etag"));
    assert_eq!(count(&server, "a", start).await, 2);

    keyed(&server, "/channels/a", "\"8e03978e\"", "y")
        .await
        .problem(422, "key-reused");
    let other_type = [
        ("Idempotency-Key", "\"8e03978e\""),
        ("Content-Type", "text/html"),
    ];
    server
        .post("/channels/a", &other_type, b"x")
        .await
        .problem(422, "key-reused");
    assert_eq!(count(&server, "a", start).await, 2);
    // Elsewhere it is another key.
    assert_eq!(
        keyed(&server, "/channels/b", "\"8e03978e\"", "y")
            .await
            .status,
        201
    );
}

/// A publication under the key `k`, the body of which has not come.
async fn under_way(server: &Harness) -> Connection {
    let headers = [("Content-Type", "text/plain"), ("Idempotency-Key", "k")];
    server.publication_under_way("/channels/a", &headers).await
}

#[tokio::test]
async fn a_key_is_taken_from_the_head_on() {
    let server = Harness::start().await;
    let mut first = under_way(&server).await;
    keyed(&server, "/channels/a", "k", "x")
        .await
        .problem(409, "key-in-use");
    assert_eq!(keyed(&server, "/channels/b", "k", "x").await.status, 201);
    first.send(b"x").await;
    let first = first.response("POST").await;
    assert_eq!(first.status, 201);
    assert_eq!(
        keyed(&server, "/channels/a", "k", "x").await.json(),
        first.json()
    );
}

#[tokio::test]
async fn a_key_is_free_again_when_its_request_is_dropped() {
    let server = Harness::start().await;
    drop(under_way(&server).await);
    loop {
        let got = keyed(&server, "/channels/a", "k", "other").await;
        if got.status == 201 {
            break;
        }
        got.problem(409, "key-in-use");
    }
}

#[tokio::test]
async fn keys_are_bounded() {
    let server = Harness::with(|config| config.max_idempotency_keys = 1).await;
    let first = keyed(&server, "/channels/a", "1", "x").await;
    let got = keyed(&server, "/channels/a", "2", "x").await;
    got.problem(503, "busy");
    let retry_after: u64 = got.header("retry-after").parse().unwrap();
    assert!((1..=300).contains(&retry_after));
    assert_eq!(
        keyed(&server, "/channels/a", "1", "x").await.json(),
        first.json()
    );
    assert_eq!(server.post("/channels/a", &[], b"x").await.status, 201);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let server = Harness::start().await;
    keyed(&server, "/channels/a", "", "x")
        .await
        .problem(400, "bad-request");
    keyed(&server, "/channels/a", &"k".repeat(256), "x")
        .await
        .problem(400, "bad-request");
    keyed(&server, "/channels/a", "é", "x")
        .await
        .problem(400, "bad-request");
    let twice = [("Idempotency-Key", "1"), ("Idempotency-Key", "2")];
    server
        .post("/channels/a", &twice, b"x")
        .await
        .problem(400, "bad-request");
}

#[tokio::test]
async fn a_refused_request_leaves_the_connection_usable_where_it_can() {
    let server = Harness::start().await;
    let mut connection = server.connect().await;
    connection
        .send(&request("POST", "/channels/a", &[JSON], b"{"))
        .await;
    connection.response("POST").await.problem(400, "bad-json");
    connection
        .send(&request("POST", "/channels/a", &[JSON], b"{}"))
        .await;
    assert_eq!(connection.response("POST").await.status, 201);
}
