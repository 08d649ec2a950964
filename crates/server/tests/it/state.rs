//! The state of a channel: its latest publication, by polling and long polling.

use crate::common::{Harness, json, request, soon};

fn quoted(cursor: &str) -> String {
    format!("\"{cursor}\"")
}

#[tokio::test]
async fn the_latest_comes_as_it_was_published() {
    let server = Harness::start().await;
    server.publish("a/b", "old").await;
    let body = b"{\r\n \"x\": 1 }";
    let posted = server
        .post(
            "/channels/a/b",
            &[("Content-Type", "application/json; v=1")],
            body,
        )
        .await;

    let got = server.get("/channels/a/b", &[]).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.body, body);
    assert_eq!(got.header("content-type"), "application/json; v=1");
    assert_eq!(got.header("etag"), posted.header("etag"));
    assert_eq!(got.header("cache-control"), "no-cache");
    assert_eq!(got.header("vary"), "Accept, Prefer");
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    assert_eq!(
        got.header("content-security-policy"),
        "default-src 'none'; sandbox"
    );

    let head = server.request("HEAD", "/channels/a/b", &[], b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), body.len().to_string());
    assert_eq!(head.header("etag"), posted.header("etag"));
}

#[tokio::test]
async fn an_empty_channel_is_not_found() {
    let server = Harness::start().await;
    let got = server.get("/channels/none", &[]).await;
    assert!(got.problem(404, "no-publication").contains("none"));
    assert_eq!(got.header("cache-control"), "no-cache");
    assert_eq!(got.header("vary"), "Accept, Prefer");
    // There is nothing that the client's copy could be compared with (RFC 9110 §13.2.1).
    server
        .get("/channels/none", &[("If-None-Match", "*")])
        .await
        .problem(404, "no-publication");
}

#[tokio::test]
async fn binary_comes_unharmed() {
    let server = Harness::start().await;
    let every: Vec<u8> = (0..=255).collect();
    server
        .post("/channels/a", &[("Content-Type", "image/png")], &every)
        .await;
    assert_eq!(server.get("/channels/a", &[]).await.body, every);
    server.post("/channels/a", &[], &every).await;
    let got = server.get("/channels/a", &[]).await;
    assert_eq!(
        (got.body, got.headers["content-type"].as_str()),
        (every, "application/octet-stream")
    );
}

#[tokio::test]
async fn polling_answers_304_until_there_is_news() {
    let server = Harness::start().await;
    let first = quoted(&server.publish("a", "1").await);
    let elsewhere = quoted(&server.publish("b", "x").await);
    for known in [
        first.as_str(),
        &format!("W/{first}"),
        &format!("\"what?\", {first}"),
        &elsewhere,
        "*",
    ] {
        let got = server.get("/channels/a", &[("If-None-Match", known)]).await;
        assert_eq!(got.status, 304, "{known}");
        assert_eq!(got.header("etag"), first);
        assert_eq!(got.header("cache-control"), "no-cache");
        assert_eq!(got.header("vary"), "Accept, Prefer");
    }
    let second = quoted(&server.publish("a", "2").await);
    for known in [
        first.as_str(),
        &elsewhere,
        "\"what?\"",
        "W/\"zzzzzzzzzzzz:9\"",
        "x",
    ] {
        let got = server.get("/channels/a", &[("If-None-Match", known)]).await;
        assert_eq!(
            (got.status, got.text(), got.header("etag")),
            (200, "2", second.as_str())
        );
    }
    let head = server
        .request("HEAD", "/channels/a", &[("If-None-Match", &second)], b"")
        .await;
    assert_eq!(head.status, 304);
}

#[tokio::test]
async fn a_cursor_beyond_the_logs_end_is_no_copy_of_the_latest() {
    let server = Harness::start().await;
    let latest = quoted(&server.publish("a", "1").await);
    let beyond = latest.replace(":1", ":999");
    for wait in ["wait=0", "wait=30"] {
        let headers = [("If-None-Match", beyond.as_str()), ("Prefer", wait)];
        let got = server.get("/channels/a", &headers).await;
        assert_eq!(
            (got.status, got.text(), got.header("etag")),
            (200, "1", latest.as_str())
        );
    }
    // Nor does it hide a first publication that comes while it waits.
    let mut held = server.connect().await;
    let headers = [("If-None-Match", beyond.as_str()), ("Prefer", "wait=30")];
    held.send(&request("GET", "/channels/b", &headers, b""))
        .await;
    server.publish("b", "first").await;
    let got = held.response("GET").await;
    assert_eq!((got.status, got.text()), (200, "first"));
    // With a good one beside it there is nothing newer.
    let both = format!("{beyond}, {latest}");
    let got = server.get("/channels/a", &[("If-None-Match", &both)]).await;
    assert_eq!(got.status, 304);
}

#[tokio::test]
async fn long_polling_is_held_until_there_is_news() {
    let server = Harness::start().await;
    let first = quoted(&server.publish("a", "1").await);
    for known in [first.as_str(), "*"] {
        let mut held = server.connect().await;
        let headers = [("If-None-Match", known), ("Prefer", "wait=30")];
        held.send(&request("GET", "/channels/a", &headers, b""))
            .await;
        let latest = server.get("/channels/a", &[]).await.text().to_owned();
        // News of another channel are no news.
        server.publish("b", "x").await;
        let next = format!("{latest}+");
        server.publish("a", &next).await;
        let got = held.response("GET").await;
        assert_eq!((got.status, got.text()), (200, next.as_str()));
        assert_eq!(got.header("preference-applied"), "wait=30");
    }
    // What is news already is not waited for.
    let headers = [("If-None-Match", first.as_str()), ("Prefer", "wait=30")];
    assert_eq!(server.get("/channels/a", &headers).await.text(), "1++");
    assert_eq!(
        server
            .get("/channels/a", &[("Prefer", "wait=30")])
            .await
            .text(),
        "1++"
    );
}

#[tokio::test]
async fn a_wait_without_news_ends_with_304() {
    let server = Harness::start().await;
    let known = quoted(&server.publish("a", "1").await);
    let headers = [
        ("If-None-Match", known.as_str()),
        ("Prefer", "wait=1, respond-async"),
    ];
    let got = server.get("/channels/a", &headers).await;
    assert_eq!(
        (got.status, got.header("preference-applied")),
        (304, "wait=1")
    );
}

#[tokio::test]
async fn a_wait_on_an_empty_channel_is_for_its_first_publication() {
    let server = Harness::start().await;
    let mut held = server.connect().await;
    held.send(&request(
        "GET",
        "/channels/a",
        &[("Prefer", "wait=300")],
        b"",
    ))
    .await;
    let got = server.get("/channels/a", &[("Prefer", "wait=1")]).await;
    got.problem(404, "no-publication");
    assert_eq!(got.header("preference-applied"), "wait=1");
    server.publish("a", "first").await;
    let got = held.response("GET").await;
    assert_eq!((got.status, got.text()), (200, "first"));
    assert_eq!(
        got.header("preference-applied"),
        "wait=60",
        "a minute at most"
    );
}

#[tokio::test]
async fn a_wait_that_was_given_up_harms_nobody() {
    let server = Harness::start().await;
    for _ in 0..10 {
        let mut held = server.connect().await;
        held.send(&request(
            "GET",
            "/channels/a",
            &[("Prefer", "wait=60")],
            b"",
        ))
        .await;
    }
    server.publish("a", "1").await;
    assert_eq!(server.get("/channels/a", &[]).await.text(), "1");
}

#[tokio::test]
async fn deleting_forgets_the_channel() {
    let server = Harness::start().await;
    let known = quoted(&server.publish("a", "1").await);
    let deleted = server.request("DELETE", "/channels/a", &[], b"").await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    server
        .get("/channels/a", &[])
        .await
        .problem(404, "no-publication");
    server
        .get("/channels/a", &[("If-None-Match", &known)])
        .await
        .problem(404, "no-publication");
    assert_eq!(
        server
            .request("DELETE", "/channels/never", &[], b"")
            .await
            .status,
        204
    );
    server
        .request("DELETE", "/channels/a/*", &[], b"")
        .await
        .problem(400, "pattern");
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = Harness::start().await;
    let mut connection = server.connect().await;
    for number in 0..5 {
        let body = format!("{number}");
        connection
            .send(&request("POST", "/channels/a", &[], body.as_bytes()))
            .await;
        assert_eq!(connection.response("POST").await.status, 201);
        connection
            .send(&request("GET", "/channels/a", &[], b""))
            .await;
        assert_eq!(connection.response("GET").await.text(), body);
    }
}

#[tokio::test]
async fn what_no_url_or_method_has_is_a_problem_too() {
    let server = Harness::start().await;
    for path in [
        "/nothing",
        "/channels",
        "/channels/",
        "/meters",
        "/assets/app.js",
        "/CHANNELS/a",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let got = server.request(method, path, &[], b"").await;
            got.problem(404, "not-found");
        }
    }
    for method in ["PUT", "PATCH", "BREW"] {
        let got = server.request(method, "/channels/a", &[], b"").await;
        got.problem(405, "method");
        assert_eq!(got.header("allow"), "GET, HEAD, POST, DELETE, OPTIONS");
    }
    server
        .request("POST", "/", &[], b"")
        .await
        .problem(405, "method");
    let options = server.request("OPTIONS", "/channels/a", &[], b"").await;
    assert_eq!(
        (options.status, options.header("allow")),
        (204, "GET, HEAD, POST, DELETE, OPTIONS")
    );
    let options = server.request("OPTIONS", "/channels/a/*", &[], b"").await;
    assert_eq!(options.header("allow"), "GET, HEAD, OPTIONS");
}

#[tokio::test]
async fn a_name_that_is_no_channel_is_refused_on_every_method() {
    let server = Harness::start().await;
    for path in [
        "a//b", "a/", "a%2Fb", "a%252Fb", "%zz", "a%20b", "%2e%2e", "a*", "**/a", "%C3%A9",
    ] {
        for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS"] {
            let got = server
                .request(method, &format!("/channels/{path}"), &[], b"")
                .await;
            assert_eq!(got.status, 400, "{method} {path}");
            if method != "HEAD" {
                got.problem(400, "bad-channel");
            }
        }
    }
    let long = format!("/channels/{}", ["x"; 17].join("/"));
    assert!(
        server
            .get(&long, &[])
            .await
            .problem(400, "bad-channel")
            .contains("16 segments")
    );
    // A name is decoded, once.
    server.publish("a-b", "1").await;
    assert_eq!(server.get("/channels/%61%2Db", &[]).await.text(), "1");
}

#[tokio::test]
async fn every_answer_of_a_problem_is_json() {
    let server = Harness::start().await;
    let got = server.get("/channels/a?limit=0", &[]).await;
    assert!(got.text().starts_with("{\"type\":"), "as RFC 9457 has it");
    let problem = json(&got.body);
    let keys: Vec<&str> = problem
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, ["detail", "status", "title", "type"]);
}

#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let server = Harness::start().await;
    let config = openline_server::Config {
        listen: server.address,
        ..Default::default()
    };
    let error = soon(openline_server::Server::bind(config))
        .await
        .unwrap_err();
    assert!(matches!(error, openline_server::BindError::InUse { .. }));
    assert!(error.to_string().contains("is in use"));
}
