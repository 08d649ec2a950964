//! `?since=`: a piece of the stream in one answer.

use serde_json::{Value, json};

use crate::common::{Harness, Response, request};

fn bodies(page: &Value) -> Vec<&str> {
    let publications = page["publications"].as_array().unwrap();
    publications
        .iter()
        .map(|envelope| envelope["data"].as_str().unwrap())
        .collect()
}

async fn since(server: &Harness, channel: &str, cursor: &str) -> Response {
    server
        .get(&format!("/channels/{channel}?since={cursor}"), &[])
        .await
}

#[tokio::test]
async fn all_that_came_after_the_cursor_comes_in_order() {
    let server = Harness::start().await;
    let first = server.publish("a", "1").await;
    server.publish("b", "x").await;
    let second = server.publish("a", "2").await;
    let third = server.publish("a", "3").await;
    let got = since(&server, "a", &first).await;
    assert_eq!(got.header("cache-control"), "no-cache");
    assert_eq!(got.header("vary"), "Accept, Prefer");
    let page = got.json();
    assert_eq!(page["recovered"], true);
    assert_eq!(bodies(&page), ["2", "3"]);
    assert_eq!(page["publications"][0]["cursor"], second);
    assert_eq!(page["publications"][1]["cursor"], third);
    let next = since(&server, "a", page["cursor"].as_str().unwrap())
        .await
        .json();
    assert_eq!((bodies(&next).len(), &next["recovered"]), (0, &json!(true)));
}

#[tokio::test]
async fn an_empty_since_is_the_latest_and_a_cursor() {
    let server = Harness::start().await;
    let empty = since(&server, "a", "").await.json();
    assert_eq!(
        (bodies(&empty).len(), &empty["recovered"]),
        (0, &json!(true))
    );
    server.publish("a", "1").await;
    server.publish("a", "2").await;
    assert_eq!(bodies(&since(&server, "a", "").await.json()), ["2"]);
    let all = since(&server, "a", empty["cursor"].as_str().unwrap())
        .await
        .json();
    assert_eq!(
        (bodies(&all), &all["recovered"]),
        (vec!["1", "2"], &json!(true))
    );
}

#[tokio::test]
async fn envelopes_tell_what_was_published() {
    let server = Harness::start().await;
    let headers = [("Content-Type", "application/vnd.x+json")];
    let posted = server
        .post("/channels/a/b", &headers, b"{\n\"n\": [1]}")
        .await
        .json();
    server
        .post(
            "/channels/a/b",
            &[("Content-Type", "text/plain")],
            "é\r\n".as_bytes(),
        )
        .await;
    server
        .post("/channels/a/b", &[("Content-Type", "text/plain")], b"\xff")
        .await;
    server.post("/channels/a/b", &[], b"\x00\x01").await;
    let page = server.get("/channels/a/*?since=", &[]).await.json();
    assert_eq!(page["publications"][0]["base64"], "AAE=");
    assert_eq!(page["publications"][0]["data"], Value::Null);
    let cursor = posted["cursor"].as_str().unwrap();
    let page = since(&server, "a/b", cursor).await.json();
    assert_eq!(page["publications"][0]["data"], "é\r\n");
    assert_eq!(page["publications"][0]["type"], "text/plain");
    assert_eq!(page["publications"][1]["base64"], "/w==");
    assert_eq!(page["publications"][1]["type"], "text/plain");

    let server = Harness::start().await;
    let posted = server
        .post("/channels/a/b", &headers, b"{\n\"n\": [1]}")
        .await
        .json();
    let page = server.get("/channels/a/b?since=", &[]).await.json();
    assert_eq!(
        page["publications"][0],
        json!({
            "channel": "a/b",
            "cursor": posted["cursor"],
            "time": posted["time"],
            "type": "application/vnd.x+json",
            "data": {"n": [1]},
        })
    );
}

#[tokio::test]
async fn a_limit_cuts_and_skips_nothing() {
    let server = Harness::start().await;
    let mut cursor = since(&server, "a", "").await.json()["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    for number in 0..25 {
        server.publish("a", &number.to_string()).await;
    }
    let (mut got, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let path = format!("/channels/a?since={cursor}&limit=10");
        let page = server.get(&path, &[]).await.json();
        let bodies = bodies(&page);
        sizes.push(bodies.len());
        got.extend(bodies.iter().map(|body| body.parse::<usize>().unwrap()));
        cursor = page["cursor"].as_str().unwrap().to_owned();
        if sizes.last() == Some(&0) {
            break;
        }
    }
    assert_eq!(sizes, [10, 10, 5, 0]);
    assert!(got.into_iter().eq(0..25));
}

#[tokio::test]
async fn a_gap_is_said_and_the_latest_sent() {
    let server = Harness::with(|config| config.history.count = 2).await;
    let first = server.publish("a", "1").await;
    for body in ["2", "3", "4"] {
        server.publish("a", body).await;
    }
    for cursor in [first.as_str(), "zzzzzzzzzzzz:1", &format!("{first}99")] {
        let page = since(&server, "a", cursor).await.json();
        assert_eq!(
            (bodies(&page), &page["recovered"]),
            (vec!["4"], &json!(false)),
            "{cursor}"
        );
        let next = since(&server, "a", page["cursor"].as_str().unwrap())
            .await
            .json();
        assert_eq!((bodies(&next).len(), &next["recovered"]), (0, &json!(true)));
    }
    // A gap is said at once, not waited for.
    server.request("DELETE", "/channels/a", &[], b"").await;
    let path = format!("/channels/a?since={first}");
    let page = server.get(&path, &[("Prefer", "wait=60")]).await.json();
    assert_eq!(
        (bodies(&page).len(), &page["recovered"]),
        (0, &json!(false))
    );
}

#[tokio::test]
async fn a_wait_is_held_until_something_comes() {
    let server = Harness::start().await;
    let cursor = server.publish("a/x", "1").await;
    for path in [
        format!("/channels/a/x?since={cursor}"),
        format!("/channels/a/*?since={cursor}"),
    ] {
        let latest = server.get("/channels/a/x", &[]).await.text().to_owned();
        let path = match latest.as_str() {
            "1" => path,
            // What is there already is not waited for.
            _ => {
                let page = server.get(&path, &[("Prefer", "wait=30")]).await.json();
                assert_eq!(bodies(&page), [latest.as_str()]);
                format!("/channels/a/*?since={}", page["cursor"].as_str().unwrap())
            }
        };
        let mut held = server.connect().await;
        held.send(&request("GET", &path, &[("Prefer", "wait=30")], b""))
            .await;
        server.publish("b", "elsewhere").await;
        server.publish("a/x", &format!("{latest}+")).await;
        let got = held.response("GET").await;
        assert_eq!(got.header("preference-applied"), "wait=30");
        assert_eq!(bodies(&got.json()), [format!("{latest}+")]);
    }
}

#[tokio::test]
async fn a_wait_for_nothing_ends_with_an_empty_page() {
    let server = Harness::start().await;
    let cursor = server.publish("a", "1").await;
    let got = server
        .get(
            &format!("/channels/a?since={cursor}"),
            &[("Prefer", "wait=1")],
        )
        .await;
    assert_eq!(
        (got.status, got.header("preference-applied")),
        (200, "wait=1")
    );
    assert_eq!(bodies(&got.json()).len(), 0);
    // On a channel without a publication an empty cursor is waited on as well.
    let got = server
        .get("/channels/none?since=", &[("Prefer", "wait=1")])
        .await
        .json();
    assert_eq!((bodies(&got).len(), &got["recovered"]), (0, &json!(true)));
}

#[tokio::test]
async fn a_pattern_answers_as_since_does() {
    let server = Harness::start().await;
    for (channel, body) in [
        ("f/a", "a1"),
        ("f/b", "b1"),
        ("f/c/d", "d1"),
        ("g", "g1"),
        ("f/a", "a2"),
    ] {
        server.publish(channel, body).await;
    }
    let page = server.get("/channels/f/*", &[]).await.json();
    assert_eq!(
        (bodies(&page), &page["recovered"]),
        (vec!["b1", "a2"], &json!(true))
    );
    assert_eq!(page["publications"][1]["channel"], "f/a");
    let page = server.get("/channels/f/**", &[]).await.json();
    assert_eq!(bodies(&page), ["b1", "d1", "a2"]);
    let page = server.get("/channels/**?limit=1", &[]).await.json();
    assert_eq!(bodies(&page), ["b1"]);
    server.publish("f/a", "a3").await;
    let cursor = page["cursor"].as_str().unwrap();
    let page = server
        .get(&format!("/channels/**?since={cursor}"), &[])
        .await
        .json();
    assert_eq!(
        (bodies(&page), &page["recovered"]),
        (vec!["d1", "g1", "a2", "a3"], &json!(true))
    );
    let head = server.request("HEAD", "/channels/f/*", &[], b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_ne!(head.header("content-length"), "0");
}

#[tokio::test]
async fn a_malformed_query_is_refused_and_an_unknown_one_is_not() {
    let server = Harness::start().await;
    server.publish("a", "1").await;
    for (query, kind) in [
        ("since=what", "bad-cursor"),
        ("since=%FF", "bad-cursor"),
        ("since=&since=", "bad-request"),
        ("limit=0", "bad-request"),
        ("limit=1001", "bad-request"),
        ("limit=ten", "bad-request"),
        ("meter=a+b", "bad-request"),
    ] {
        server
            .get(&format!("/channels/a?{query}"), &[])
            .await
            .problem(400, kind);
    }
    // Where it does not count, nothing is wrong with it.
    let body = server.post("/channels/a?since=what", &[], b"1").await;
    assert_eq!(body.status, 201);
    let headers = [("Last-Event-ID", "zzzzzzzzzzzz:1")];
    let page = server.get("/channels/a?since=what", &headers).await.json();
    assert_eq!(page["recovered"], false);
    assert_eq!(
        server
            .get("/channels/a?colour=red&limit=1000", &[])
            .await
            .text(),
        "1"
    );
}
