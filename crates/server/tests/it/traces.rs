//! Spans, as a collector gets them over OTLP.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use openline::Client;
use openline_server::{BindError, Config, Ratio, Server};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::common::{Connection, Harness, Issuer, json, request, seconds_from_now, soon};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// What a collector does with what it gets.
#[derive(Clone, Copy)]
enum Manner {
    Takes,
    /// Says so once, and takes it the next time.
    IsBusyAtFirst,
    Refuses,
    /// Takes connections, and says nothing.
    KeepsSilent,
}

/// A collector on a port of its own.
struct Collector {
    address: SocketAddr,
    requests: mpsc::UnboundedReceiver<(String, Value)>,
}

impl Collector {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut count = 0;
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = BufReader::new(stream);
                while let Some((head, body)) = read(&mut stream).await {
                    count += 1;
                    let status = match manner {
                        Manner::Takes => "200 OK",
                        Manner::IsBusyAtFirst if count > 1 => "200 OK",
                        Manner::IsBusyAtFirst => "503 Service Unavailable",
                        Manner::Refuses => "400 Bad Request",
                        Manner::KeepsSilent => "",
                    };
                    if !status.is_empty() {
                        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}");
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                    let _ = seen.send((head, body));
                }
            }
        });
        Self { address, requests }
    }

    fn set(&self, config: &mut Config) {
        config.traces.endpoint = Some(format!("http://{}/", self.address));
        config.traces.ratio = Ratio::ALL;
        config.metrics.listen = Some("127.0.0.1:0".parse().unwrap());
    }

    /// The spans of requests until there are `count`.
    async fn spans(&mut self, count: usize) -> Vec<Value> {
        let mut spans = Vec::new();
        while spans.len() < count {
            let (head, body) = soon(self.requests.recv()).await.unwrap();
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            assert!(
                head.contains("content-type: application/json\r\n"),
                "{head}"
            );
            let resource = &body["resourceSpans"][0]["resource"]["attributes"];
            assert!(resource.as_array().unwrap().contains(&serde_json::json!(
                {"key": "service.name", "value": {"stringValue": "openline"}}
            )));
            let told = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
            spans.extend(told.as_array().unwrap().iter().cloned());
        }
        assert_eq!(spans.len(), count, "{spans:?}");
        spans
    }
}

/// A request with a body; `None` at the end.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, json(&body)))
}

fn attribute<'a>(span: &'a Value, key: &str) -> Option<&'a str> {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes
        .iter()
        .find(|attribute| attribute["key"] == key)?;
    let value = &found["value"];
    value["stringValue"].as_str().or(value["intValue"].as_str())
}

fn named<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    let mut named = spans.iter().filter(|span| span["name"] == name);
    let found = named.next().unwrap_or_else(|| panic!("{name}: {spans:#?}"));
    assert!(named.next().is_none(), "{name}: {spans:#?}");
    found
}

async fn metric(server: &Harness, name: &str) -> f64 {
    let mut connection = Connection::open(server.metrics.unwrap()).await;
    connection.send(&request("GET", "/metrics", &[], b"")).await;
    let got = connection.response("GET").await;
    let line = got
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn a_publication_is_part_of_the_trace_that_its_request_is_part_of() {
    let mut collector = Collector::start(Manner::Takes).await;
    let server = Harness::with(|config| collector.set(config)).await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let fields = [("traceparent", &*parent), ("Content-Type", "text/plain")];
    let told = server.post("/channels/a/b", &fields, b"secret text").await;
    assert_eq!(told.status, 201);

    let spans = collector.spans(2).await;
    let asked = named(&spans, "POST /channels/{channel}");
    let published = named(&spans, "publish");
    assert_eq!(
        (&asked["traceId"], &published["traceId"]),
        (&TRACE.into(), &TRACE.into())
    );
    assert_eq!(asked["parentSpanId"], PARENT);
    assert_eq!(published["parentSpanId"], asked["spanId"]);
    assert_eq!(
        (asked["kind"].as_u64(), published["kind"].as_u64()),
        (Some(2), Some(4))
    );
    assert_eq!(
        (asked["flags"].as_u64(), published["flags"].as_u64()),
        (Some(0x301), Some(0x101))
    );
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/channels/{channel}"),
        ("url.path", "/channels/a/b"),
        ("http.response.status_code", "201"),
        ("network.protocol.version", "1.1"),
    ] {
        assert_eq!(attribute(asked, key), Some(value));
    }
    for (key, value) in [
        ("messaging.destination.name", "a/b"),
        ("messaging.message.body.size", "11"),
        (
            "messaging.message.id",
            told.json()["cursor"].as_str().unwrap(),
        ),
    ] {
        assert_eq!(attribute(published, key), Some(value));
    }
    assert!(asked.get("status").is_none() && published.get("status").is_none());
    let time = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u128>().unwrap();
    for span in [asked, published] {
        assert!(time(span, "startTimeUnixNano") <= time(span, "endTimeUnixNano"));
    }
    assert!(time(asked, "startTimeUnixNano") <= time(published, "startTimeUnixNano"));
    while metric(&server, "openline_spans_exported_total").await < 2.0 {}
    assert_eq!(metric(&server, "openline_spans_dropped_total").await, 0.0);
}

#[tokio::test]
async fn handshakes_and_what_the_process_itself_publishes_are_told() {
    let mut collector = Collector::start(Manner::Takes).await;
    let server = Harness::with(|config| collector.set(config)).await;
    let url = format!("ws://{}/channels/a", server.address);
    let (_socket, _) = soon(Client::new(&url).unwrap().connect()).await.unwrap();
    let stream = [("Accept", "text/event-stream")];
    let _stream = server.stream("/channels/a", &stream).await;
    server.get("/nowhere?token=hidden", &[]).await;
    server.publish("a", "1").await;
    let spans = collector.spans(4).await;
    let statuses: Vec<_> = spans
        .iter()
        .filter(|span| span["name"] == "GET /channels/{channel}")
        .map(|span| attribute(span, "http.response.status_code").unwrap())
        .collect();
    assert_eq!(statuses.len(), 2);
    assert!(statuses.contains(&"101") && statuses.contains(&"200"));
    let nowhere = named(&spans, "GET");
    assert_eq!(attribute(nowhere, "http.response.status_code"), Some("404"));
    let published = named(&spans, "publish");
    assert!(published.get("parentSpanId").is_none());
}

#[tokio::test]
async fn the_span_of_a_held_request_ends_with_its_answer() {
    let mut collector = Collector::start(Manner::Takes).await;
    let server = Harness::with(|config| collector.set(config)).await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let fields = [("traceparent", &*parent), ("Prefer", "wait=60")];
    let mut held = server.connect().await;
    held.send(&request("GET", "/channels/a?since=", &fields, b""))
        .await;
    while metric(&server, "openline_listeners{transport=\"poll\"}").await < 1.0 {}
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    server.publish("a", "1").await;
    assert_eq!(held.response("GET").await.status, 200);
    let spans = collector.spans(2).await;
    let asked = named(&spans, "GET /channels/{channel}");
    assert_eq!(asked["parentSpanId"], PARENT);
    assert_eq!(attribute(asked, "http.response.status_code"), Some("200"));
    let time = |key: &str| asked[key].as_str().unwrap().parse::<u128>().unwrap();
    assert!(time("startTimeUnixNano") < before.as_nanos());
    assert!(before.as_nanos() < time("endTimeUnixNano"));
}

#[tokio::test]
async fn the_caller_and_the_ratio_say_what_is_kept() {
    let mut collector = Collector::start(Manner::Takes).await;
    let mut server = Harness::with(|config| {
        collector.set(config);
        config.traces.ratio = Ratio::new(0.0).unwrap();
    })
    .await;
    for flags in ["00", "01"] {
        let parent = format!("00-{TRACE}-{PARENT}-{flags}");
        server
            .post("/channels/a", &[("traceparent", &parent)], b"1")
            .await;
    }
    server.post("/channels/a", &[], b"2").await;
    server.publish("a", "3").await;
    server.shut_down();
    server.ended().await;
    let spans = collector.spans(2).await;
    assert!(spans.iter().all(|span| span["traceId"] == TRACE));
    assert!(
        collector.requests.try_recv().is_err(),
        "those of the others are not kept"
    );
}

#[tokio::test]
async fn no_token_key_or_body_is_in_a_span() {
    let mut collector = Collector::start(Manner::Takes).await;
    let issuer = Issuer::secret();
    let server = Harness::with(|config| {
        collector.set(config);
        config.token.secret = Some(issuer.shared());
    })
    .await;
    let token = issuer.token(serde_json::json!({
        "exp": seconds_from_now(60),
        "openline": {"publish": ["**"], "subscribe": ["**"]},
    }));
    let bearer = format!("Bearer {token}");
    let json = ("Content-Type", "application/json");
    server
        .post(
            "/channels/a",
            &[("Authorization", &bearer), json],
            b"\"hush\"",
        )
        .await
        .json();
    let wrong = server
        .post("/channels/a", &[("Authorization", &bearer), json], b"{hush")
        .await;
    assert_eq!(wrong.status, 400);
    server.get(&format!("/channels/a?token={token}"), &[]).await;
    server
        .get("/channels/a", &[("X-API-Key", "olk_hush")])
        .await;
    let spans = collector.spans(6).await;
    let text = serde_json::to_string(&spans).unwrap();
    let signature = token.rsplit('.').next().unwrap();
    for secret in [signature, "hush", "olk_", "Bearer"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let failed = spans
        .iter()
        .find(|span| attribute(span, "error.type") == Some("content"));
    assert_eq!(failed.unwrap()["status"]["code"], 2);
}

#[tokio::test]
async fn what_waits_is_sent_when_the_server_ends() {
    let mut collector = Collector::start(Manner::Takes).await;
    let mut server = Harness::with(|config| collector.set(config)).await;
    for number in 0..1000 {
        server.publish("a", &number.to_string()).await;
    }
    server.shut_down();
    server.ended().await;
    // They were sent in batches, none of which is larger than 512.
    let mut spans = 0;
    while let Ok((_, body)) = collector.requests.try_recv() {
        let told = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
        let count = told.as_array().unwrap().len();
        assert!(count <= 512);
        spans += count;
    }
    assert_eq!(spans, 1000);
}

#[tokio::test]
async fn a_batch_that_a_busy_collector_refuses_is_sent_again() {
    let mut collector = Collector::start(Manner::IsBusyAtFirst).await;
    let server = Harness::with(|config| collector.set(config)).await;
    server.publish("a", "1").await;
    let first = collector.spans(1).await;
    assert_eq!(first, collector.spans(1).await);
    while metric(&server, "openline_spans_exported_total").await < 1.0 {}
    assert_eq!(metric(&server, "openline_spans_dropped_total").await, 0.0);
}

#[tokio::test]
async fn a_collector_that_keeps_silent_slows_nothing_and_what_it_misses_is_counted() {
    let mut collector = Collector::start(Manner::KeepsSilent).await;
    let server = Harness::with(|config| collector.set(config)).await;
    server.publish("a", "1").await;
    // It has the first batch, and is waited for.
    collector.spans(1).await;
    for number in 0..5000 {
        server.publish("a", &number.to_string()).await;
    }
    // At most 2048 wait.
    let dropped = metric(&server, "openline_spans_dropped_total").await;
    assert_eq!(dropped, 5000.0 - 2048.0);
    assert_eq!(metric(&server, "openline_publications_total").await, 5001.0);
}

#[tokio::test]
async fn spans_that_a_collector_does_not_take_are_dropped_and_counted() {
    let mut collector = Collector::start(Manner::Refuses).await;
    let server = Harness::with(|config| collector.set(config)).await;
    server.publish("a", "1").await;
    collector.spans(1).await;
    while metric(&server, "openline_spans_dropped_total").await < 1.0 {}
    assert_eq!(metric(&server, "openline_spans_exported_total").await, 0.0);
}

#[tokio::test]
async fn the_end_of_a_server_does_not_wait_long_for_its_collector() {
    let collector = Collector::start(Manner::KeepsSilent).await;
    let mut server = Harness::with(|config| collector.set(config)).await;
    server.publish("a", "1").await;
    server.shut_down();
    assert_eq!(server.ended().await.cut, 0);
}

#[tokio::test]
async fn an_endpoint_must_be_a_url() {
    for url in ["", "collector:4318", "ftp://collector/", "http://"] {
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..Config::default()
        };
        config.traces.endpoint = Some(url.to_owned());
        let refused = Server::bind(config).await;
        assert!(matches!(refused, Err(BindError::Traces(_))), "{url}");
    }
}
