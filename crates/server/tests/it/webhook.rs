//! A webhook that decides who may come, listen and publish.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openline_server::{Config, Decision, Secret};
use ring::hmac;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::common::{Harness, soon};

const SECRET: &str = "what the server and its back end share";

/// A back end that answers as `answer` says, each question on a connection of its own.
struct BackEnd {
    url: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl BackEnd {
    async fn start(answer: impl Fn(&Value) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/decide", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<Value>>>::default();
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                let (head, body) = loop {
                    let mut piece = [0; 4096];
                    let count = stream.read(&mut piece).await.unwrap();
                    bytes.extend_from_slice(&piece[..count]);
                    let text = String::from_utf8(bytes.clone()).unwrap();
                    if let Some((head, body)) = text.split_once("\r\n\r\n")
                        && !body.is_empty()
                        && serde_json::from_str::<Value>(body).is_ok()
                    {
                        break (head.to_ascii_lowercase(), body.to_owned());
                    }
                };
                assert!(head.starts_with("post /decide "), "{head}");
                check_signature(&head, &body);
                let question: Value = serde_json::from_str(&body).unwrap();
                let told = answer(&question);
                seen.lock().unwrap().push(question);
                if told.is_empty() {
                    // It keeps silent, for as long as it is listened to.
                    tokio::spawn(async move { stream.read(&mut [0]).await });
                    continue;
                }
                let _ = stream.write_all(told.as_bytes()).await;
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }
}

fn check_signature(head: &str, body: &str) {
    let field = head
        .lines()
        .find_map(|line| line.strip_prefix("openline-signature: "))
        .expect("it is signed");
    let (time, tag) = field
        .strip_prefix("t=")
        .unwrap()
        .split_once(",v1=")
        .unwrap();
    let bytes: Vec<_> = (0..tag.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&tag[at..at + 2], 16).unwrap())
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hmac::verify(&key, format!("{time}.{body}").as_bytes(), &bytes).unwrap();
}

fn ok(body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn asks(config: &mut Config, back_end: &BackEnd, decides: &[Decision]) {
    config.webhook.url = Some(back_end.url.clone());
    config.webhook.secret = Some(Secret::new(SECRET));
    config.webhook.decides = decides.to_vec();
}

#[tokio::test]
async fn it_says_who_a_client_is_that_brings_no_credential() {
    let back_end = BackEnd::start(|question| {
        let known = question["headers"]["cookie"] == "session=1";
        ok(&json!({"allow": known, "user": "u1", "openline": {"subscribe": ["own/*"]}}))
    })
    .await;
    let server = Harness::with(|config| asks(config, &back_end, &[Decision::Connect])).await;
    let cookie = ("Cookie", "session=1");
    assert_eq!(server.get("/channels/own/a", &[cookie]).await.status, 404);
    let got = server.get("/channels/other", &[cookie]).await;
    got.problem(403, "forbidden");
    let got = server
        .get("/channels/own/a", &[("Cookie", "session=2")])
        .await;
    got.problem(403, "forbidden");
    let first = &back_end.asked()[0];
    assert_eq!(
        first,
        &json!({"event": "connect", "address": "127.0.0.1", "headers": {"cookie": "session=1"}})
    );
}

#[tokio::test]
async fn it_decides_in_place_of_rights() {
    let back_end = BackEnd::start(|question| {
        let allow = question["event"] == "publish" || question["channel"] != "secret";
        ok(&json!({ "allow": allow }))
    })
    .await;
    let server = Harness::with(|config| {
        asks(config, &back_end, &[Decision::Subscribe, Decision::Publish]);
    })
    .await;
    assert_eq!(server.post("/channels/secret", &[], b"1").await.status, 201);
    for path in ["/channels/secret", "/channels/secret?since="] {
        server.get(path, &[]).await.problem(403, "forbidden");
    }
    assert_eq!(server.get("/channels/a/*?since=", &[]).await.status, 200);
    let asked = back_end.asked();
    assert_eq!(asked[0]["event"], "publish");
    assert_eq!(asked.last().unwrap()["channel"], "a/*");
}

#[tokio::test]
async fn where_it_fails_nobody_is_let_in() {
    for answer in [
        "",
        "nonsense",
        "HTTP/1.1 500 Oops\r\nContent-Length: 14\r\n\r\n{\"allow\":true}",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue",
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{\"allow\":true}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let back_end = BackEnd::start(move |_| answer.to_owned()).await;
        let server = Harness::with(|config| {
            asks(config, &back_end, &[Decision::Subscribe]);
            config.webhook.timeout = Duration::from_millis(300);
        })
        .await;
        let got = soon(server.get("/channels/a", &[])).await;
        got.problem(503, "busy");
        assert!(!got.header("retry-after").is_empty());
    }
    let long = " ".repeat(100_000);
    let back_end = BackEnd::start(move |_| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{{\"allow\":true{long}}}",
            14 + long.len()
        )
    })
    .await;
    let server = Harness::with(|config| asks(config, &back_end, &[Decision::Subscribe])).await;
    server.get("/channels/a", &[]).await.problem(503, "busy");
}

#[tokio::test]
async fn one_that_is_slow_holds_only_those_who_ask_it() {
    let back_end = BackEnd::start(|_| String::new()).await;
    let mut key = String::new();
    let server = Harness::with(|config| {
        asks(config, &back_end, &[Decision::Subscribe]);
        config.webhook.timeout = Duration::from_secs(60);
        config.webhook.concurrency = 1;
        let new = openline_server::NewKey::random();
        key = format!("Bearer {}", new.key);
        let own = openline_server::ApiKey {
            hash: Some(new.hash),
            ..Default::default()
        };
        config.keys.insert("backend".to_owned(), own);
    })
    .await;
    let mut held = server.connect().await;
    held.send(&crate::common::request("GET", "/channels/a", &[], b""))
        .await;
    while back_end.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    let got = server.get("/channels/a", &[]).await;
    assert!(got.problem(503, "busy").contains("under way"));
    let got = server.get("/channels/a", &[("Authorization", &key)]).await;
    assert_eq!(got.status, 404, "keys are not asked about");
}
