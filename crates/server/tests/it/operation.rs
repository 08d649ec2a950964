//! What operators see and do: metrics, health, TLS and its renewal.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use openline::Client;
use openline_server::{BindError, Config};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

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

/// A certificate for `localhost`, in files of that name.
struct Pair {
    cert: PathBuf,
    key: PathBuf,
    der: CertificateDer<'static>,
}

impl Pair {
    fn write(name: &str) -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let path =
            |end: &str| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{end}"));
        let (cert, key) = (path("cert.pem"), path("key.pem"));
        std::fs::write(&cert, pair.cert.pem()).unwrap();
        std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        let der = pair.cert.der().clone();
        Self { cert, key, der }
    }

    fn set(&self, config: &mut Config) {
        config.tls.cert = Some(self.cert.clone());
        config.tls.key = Some(self.key.clone());
    }

    fn client(&self, protocols: &[&str]) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        config
    }

    async fn connect(&self, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        self.speak(address, &["http/1.1"]).await
    }

    async fn speak(
        &self,
        address: SocketAddr,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(address).await?;
        let connector = TlsConnector::from(Arc::new(self.client(protocols)));
        let name = ServerName::try_from("localhost").unwrap();
        soon(connector.connect(name, tcp)).await
    }
}

/// The status of an answer on a connection that stays.
async fn get(stream: &mut TlsStream<TcpStream>) -> String {
    stream
        .write_all(&request("HEAD", "/channels/a", &[], b""))
        .await
        .unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(soon(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(bytes[9..12].to_vec()).unwrap()
}

#[tokio::test]
async fn tls_is_spoken_and_renewed_without_a_dropped_connection() {
    let first = Pair::write("renewed");
    let mut config = Config::default();
    let server = Harness::with(|own| {
        first.set(own);
        config = own.clone();
    })
    .await;
    server.publish("a", "1").await;
    let mut old = first.connect(server.address).await.unwrap();
    assert_eq!(old.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(get(&mut old).await, "200");
    let url = format!("wss://localhost:{}/channels/a", server.address.port());
    let client = Client::new(&url).unwrap().tls(first.client(&[]));
    let (mut socket, _) = soon(client.connect()).await.unwrap();
    let said = soon(socket.next()).await.unwrap().unwrap();
    assert_eq!(said.as_text(), Some("1"));

    let second = Pair::write("renewed");
    server.reload.apply(config.clone()).unwrap();
    let mut new = second.connect(server.address).await.unwrap();
    assert_eq!(get(&mut new).await, "200");
    first.connect(server.address).await.unwrap_err();
    assert_eq!(get(&mut old).await, "200");
    server.publish("a", "2").await;
    let said = soon(socket.next()).await.unwrap().unwrap();
    assert_eq!(said.as_text(), Some("2"));

    // What cannot be used changes nothing.
    std::fs::write(&first.key, "nonsense").unwrap();
    let error = server.reload.apply(config).unwrap_err();
    assert!(matches!(error, BindError::Tls(_)), "{error}");
    second.connect(server.address).await.unwrap();
}

#[tokio::test]
async fn over_tls_http2_is_spoken_on_the_same_port() {
    let pair = Pair::write("http2");
    let mut server = Harness::with(|config| pair.set(config)).await;
    let stream = pair
        .speak(server.address, &["h2", "http/1.1"])
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut ask = |method: &str, accept: &str, body: &'static str| {
        let request = http::Request::builder()
            .method(method)
            .uri("https://localhost/channels/a")
            .header("accept", accept)
            .body(Full::<Bytes>::from(body))
            .unwrap();
        client.send_request(request)
    };
    // Two answers without an end, and others beside them on the same connection.
    let mut events = soon(ask("GET", "text/event-stream", "")).await.unwrap();
    let mut lines = soon(ask("GET", "application/x-ndjson", "")).await.unwrap();
    assert_eq!(events.version(), http::Version::HTTP_2);
    let published = soon(ask("POST", "*/*", "hello")).await.unwrap();
    assert_eq!(published.status(), 201);
    let latest = soon(ask("GET", "*/*", "")).await.unwrap();
    let latest = latest.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(latest, "hello");
    for stream in [&mut events, &mut lines] {
        let mut text = String::new();
        while !text.contains("aGVsbG8=") {
            let frame = soon(stream.frame()).await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }
    server.shut_down();
    for stream in [events, lines] {
        soon(stream.into_body().collect())
            .await
            .expect("it ends properly");
    }
    soon(connection).await.unwrap().unwrap();
    assert_eq!(server.ended().await.cut, 0);
}

#[tokio::test]
async fn over_http2_answers_are_held_beside_each_other() {
    let pair = Pair::write("http2-held");
    let server = Harness::with(|config| {
        pair.set(config);
        with_metrics(config);
    })
    .await;
    let stream = pair.speak(server.address, &["h2"]).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    let _connection = tokio::spawn(connection);
    let held = ["GET", "HEAD"].map(|method| {
        let request = http::Request::builder()
            .method(method)
            .uri("https://localhost/channels/a")
            .header("prefer", "wait=60")
            .body(Full::<Bytes>::default())
            .unwrap();
        tokio::spawn(client.send_request(request))
    });
    let gauge = "openline_listeners{transport=\"poll\"}";
    soon(async { while metric(&server, gauge).await < 2.0 {} }).await;
    server.publish("a", "news").await;
    for (held, body) in held.into_iter().zip(["news", ""]) {
        let got = soon(held).await.unwrap().unwrap();
        assert_eq!(got.status(), 200);
        assert_eq!(got.headers()["preference-applied"], "wait=60");
        assert_eq!(got.headers()["content-length"], "4");
        let got = got.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(got, body);
    }
}

#[tokio::test]
async fn many_websockets_share_a_connection_of_http2() {
    let pair = Pair::write("http2-websocket");
    let mut server = Harness::with(|config| {
        pair.set(config);
        config.idle_timeout = std::time::Duration::from_millis(300);
        config.heartbeat = std::time::Duration::from_millis(100);
    })
    .await;
    let url = format!("wss://localhost:{}/channels/", server.address.port());
    let client = |name: &str| {
        Client::new(&format!("{url}{name}"))
            .unwrap()
            .tls(pair.client(&[]))
    };
    let connection = soon(client("a").connect_http2()).await.unwrap();
    let mut sockets = Vec::new();
    for name in ["a", "b", "*"] {
        let open = connection.open(client(name).subprotocol("openline.v1"));
        let (mut socket, response) = soon(open).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(socket.subprotocol(), Some("openline.v1"));
        soon(socket.next()).await.unwrap().unwrap();
        sockets.push(socket);
    }
    // Heartbeats of the connection come and go for longer than an idle one may stay.
    let mut events = server_events(&pair, server.address).await;
    for _ in 0..80 {
        soon(events.read_u8()).await.unwrap();
    }
    server.publish("a", "1").await;
    server.publish("b", "2").await;
    for (index, expected) in [(0, "1"), (1, "2"), (2, "1"), (2, "2")] {
        let said = soon(sockets[index].next()).await.unwrap().unwrap();
        let envelope: serde_json::Value = serde_json::from_str(said.as_text().unwrap()).unwrap();
        assert_eq!(envelope["data"], expected);
    }
    server.shut_down();
    for mut socket in sockets {
        assert!(soon(socket.next()).await.is_none());
        let close = socket.closed().unwrap().received.unwrap();
        assert_eq!(close.code, openline::CloseCode::RESTART);
    }
    drop((connection, events));
    assert_eq!(server.ended().await.cut, 0);
}

/// An event stream whose first event was read, so that what follows are heartbeats.
async fn server_events(pair: &Pair, address: SocketAddr) -> TlsStream<TcpStream> {
    let mut stream = pair.connect(address).await.unwrap();
    let accept = [("Accept", "text/event-stream")];
    stream
        .write_all(&request("GET", "/channels/heartbeats", &accept, b""))
        .await
        .unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"}\n\n\r\n") {
        bytes.push(soon(stream.read_u8()).await.unwrap());
    }
    stream
}

#[tokio::test]
async fn what_is_not_tls_gets_nothing_on_a_tls_port_and_silence_has_an_end() {
    let pair = Pair::write("deadline");
    let server = Harness::with(|config| {
        pair.set(config);
        config.header_timeout = std::time::Duration::from_millis(200);
    })
    .await;
    for begun in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut connection = server.connect().await;
        connection.send(begun).await;
        assert!(connection.is_gone().await);
    }
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain
        .write_all(&request("GET", "/channels/a", &[], b""))
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = soon(plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // Others are served.
    let mut stream = pair.connect(server.address).await.unwrap();
    assert_eq!(get(&mut stream).await, "404");
}

#[tokio::test]
async fn half_a_pair_is_refused() {
    let pair = Pair::write("half");
    for (cert, key) in [
        (Some(pair.cert.clone()), None),
        (None, Some(pair.key.clone())),
        (Some(pair.key.clone()), Some(pair.key.clone())),
        (Some(pair.cert.clone()), Some(pair.cert.clone())),
        (
            Some(pair.cert.clone()),
            Some(PathBuf::from("there/is/none.pem")),
        ),
    ] {
        let mut config = Config::default();
        (config.tls.cert, config.tls.key) = (cert, key);
        let error = config.check().unwrap_err();
        assert!(matches!(error, BindError::Tls(_)), "{error}");
    }
}
