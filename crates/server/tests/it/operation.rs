//! What operators see and do: metrics and health.

use std::net::SocketAddr;

use openline::Client;
use openline_server::Config;
use tokio::net::TcpStream;

use crate::common::{Connection, Harness, Response, request, soon};

pub(crate) fn with_metrics(config: &mut Config) {
    config.metrics.listen = Some("127.0.0.1:0".parse().unwrap());
}

async fn ask(address: SocketAddr, method: &str, path: &str, host: &str) -> Response {
    let mut connection = Connection::open(address).await;
    connection
        .send(&request(method, path, &[("Host", host)], b""))
        .await;
    connection.response(method).await
}

/// The value of one line of the metrics.
pub(crate) async fn metric(server: &Harness, line: &str) -> f64 {
    let got = ask(server.metrics.unwrap(), "GET", "/metrics", "localhost").await;
    assert_eq!(got.status, 200);
    assert!(
        got.header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let text = got.text();
    assert!(text.ends_with("# EOF\n"));
    let value = text
        .lines()
        .find_map(|told| told.strip_prefix(line)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn metrics_tell_what_goes_on() {
    let server = Harness::with(|config| {
        with_metrics(config);
        config.max_connections = 2;
    })
    .await;
    let mut stream = server
        .stream("/channels/a", &[("Accept", "text/event-stream")])
        .await;
    let url = format!("ws://{}/channels/a", server.address);
    let (mut socket, _) = soon(Client::new(&url).unwrap().connect()).await.unwrap();
    for _ in 0..3 {
        server.publish("a", "1").await;
        soon(socket.next()).await.unwrap().unwrap();
    }
    stream.event().await.unwrap();
    for _ in 0..3 {
        stream.event().await.unwrap();
    }
    let refused = server.get("/channels/a", &[]).await;
    refused.problem(503, "busy");
    for (line, value) in [
        ("openline_connections", 2.0),
        ("openline_listeners{transport=\"sse\"}", 1.0),
        ("openline_listeners{transport=\"websocket\"}", 1.0),
        ("openline_deliveries_total{transport=\"sse\"}", 3.0),
        ("openline_deliveries_total{transport=\"websocket\"}", 3.0),
        ("openline_publish_seconds_count", 3.0),
        ("openline_publications_total", 3.0),
        ("openline_handshakes", 0.0),
        ("openline_queue_bytes", 0.0),
        ("openline_spans_exported_total", 0.0),
        ("openline_spans_dropped_total", 0.0),
        ("openline_refusals_total{reason=\"connections\"}", 1.0),
        ("openline_refusals_total{reason=\"memory\"}", 0.0),
        ("openline_answers_total{status=\"200\"}", 1.0),
        ("openline_answers_total{status=\"101\"}", 1.0),
        ("openline_draining", 0.0),
        ("openline_log_publications", 3.0),
        ("openline_log_channels", 1.0),
        ("openline_log_waiting", 0.0),
        ("openline_log_refuses", 0.0),
    ] {
        // The refused one's end may not be seen yet.
        while metric(&server, line).await != value {
            assert_eq!(line, "openline_connections");
        }
    }
    assert!(metric(&server, "openline_delivery_lag_seconds_count").await >= 2.0);
    drop((stream, socket));
    while metric(&server, "openline_listeners{transport=\"websocket\"}").await > 0.0 {}
}

#[tokio::test]
async fn metrics_tell_how_long_a_turn_of_writes_takes_once_a_turn() {
    let server = Harness::with(with_metrics).await;
    let url = format!("ws://{}/channels/a", server.address);
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let (socket, _) = soon(Client::new(&url).unwrap().connect()).await.unwrap();
        sockets.push(socket);
    }
    let count = "openline_fanout_seconds_count";
    let before = metric(&server, count).await;
    server.publish("a", "first").await;
    for socket in &mut sockets {
        soon(socket.next()).await.unwrap().unwrap();
    }
    // Those that have all are written to around their tasks, by at most one turn a processor.
    let turns = std::thread::available_parallelism().map_or(1, usize::from);
    loop {
        let before = metric(&server, count).await;
        server.publish("a", "next").await;
        for socket in &mut sockets {
            soon(socket.next()).await.unwrap().unwrap();
        }
        let told = metric(&server, count).await - before;
        assert!(told <= turns as f64);
        if told > 0.0 {
            break;
        }
    }
    assert!(metric(&server, count).await > before);
}

#[tokio::test]
async fn metrics_tell_what_waits_and_what_is_refused() {
    let server = Harness::with(|config| {
        with_metrics(config);
        config.max_publication = 100_000;
    })
    .await;
    let silent = TcpStream::connect(server.address).await.unwrap();
    while metric(&server, "openline_handshakes").await != 1.0 {}
    drop(silent);
    while metric(&server, "openline_handshakes").await != 0.0 {}

    let stalled = server
        .stream("/channels/a", &[("Accept", "text/event-stream")])
        .await;
    let body = "x".repeat(100_000);
    while metric(&server, "openline_queue_bytes").await < 100_000.0 {
        server.publish("a", &body).await;
    }
    drop(stalled);
    while metric(&server, "openline_queue_bytes").await > 0.0 {}

    let large = vec![b'x'; 100_001];
    assert_eq!(server.post("/channels/a", &[], &large).await.status, 413);
    assert_eq!(server.post("/channels/*", &[], b"1").await.status, 400);
    assert_eq!(server.get("/channels/*/b/**/c", &[]).await.status, 400);
    for (status, count) in [("413", 1.0), ("400", 1.0)] {
        let line = format!("openline_publications_refused_total{{status=\"{status}\"}}");
        assert_eq!(metric(&server, &line).await, count);
    }
}

#[tokio::test]
async fn metrics_are_not_on_the_port_that_clients_reach_and_channels_not_on_the_other() {
    let server = Harness::with(with_metrics).await;
    let metrics = server.metrics.unwrap();
    let got = ask(server.address, "GET", "/metrics", "localhost").await;
    got.problem(404, "not-found");
    let got = ask(metrics, "GET", "/channels/a", "localhost").await;
    got.problem(404, "not-found");
    let got = ask(metrics, "GET", "/metrics", "evil.example").await;
    got.problem(403, "foreign-host");
    let got = ask(metrics, "POST", "/metrics", "localhost").await;
    got.problem(405, "method");
}

#[tokio::test]
async fn readiness_ends_with_the_drain_and_health_with_the_process() {
    let mut server = Harness::with(with_metrics).await;
    let metrics = server.metrics.unwrap();
    for address in [server.address, metrics] {
        for path in ["/healthz", "/readyz"] {
            let got = ask(address, "GET", path, "localhost").await;
            assert_eq!((got.status, got.header("cache-control")), (200, "no-store"));
        }
    }
    // A body that has not come keeps the drain waiting.
    let mut held = server.connect().await;
    let body = request("POST", "/channels/a", &[("Expect", "100-continue")], b"1");
    held.send(&body[..body.len() - 1]).await;
    assert_eq!(held.head().await.0, 100);
    server.shut_down();
    loop {
        let got = ask(metrics, "GET", "/readyz", "localhost").await;
        if got.status == 503 {
            assert_eq!(got.text(), "draining\n");
            break;
        }
    }
    assert_eq!(
        ask(metrics, "GET", "/healthz", "localhost").await.status,
        200
    );
    held.send(b"1").await;
    assert_eq!(held.response("POST").await.status, 201);
    assert_eq!(server.ended().await.cut, 0);
}
