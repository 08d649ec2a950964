//! HTTP/2: many requests, streams and WebSockets on one connection.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openline::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use crate::common::{Harness, Pair, request, soon};
use crate::operation::{metric, with_metrics};

const SSE: (&str, &str) = ("accept", "text/event-stream");
const NDJSON: (&str, &str) = ("accept", "application/x-ndjson");
const ANY: (&str, &str) = ("accept", "*/*");
/// What each stream of a client may send before that is taken.
const WINDOW: u32 = 64 * 1024;

/// One connection, and the task that speaks on it.
struct Http2 {
    client: SendRequest<Full<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Http2 {
    async fn connect(pair: &Pair, server: &Harness) -> Self {
        let stream = pair.speak(server.address, &["h2", "http/1.1"]);
        let stream = stream.await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (client, connection) = Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(64 * WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        Self {
            client,
            connection: tokio::spawn(connection),
        }
    }

    fn send(
        &mut self,
        method: &str,
        (name, value): (&str, &str),
        body: &'static str,
    ) -> impl Future<Output = hyper::Result<http::Response<Incoming>>> + Send + use<> {
        let request = http::Request::builder()
            .method(method)
            .uri("https://localhost/channels/a")
            .header(name, value)
            .body(Full::from(body))
            .unwrap();
        self.client.send_request(request)
    }

    async fn ask(
        &mut self,
        method: &str,
        field: (&str, &str),
        body: &'static str,
    ) -> http::Response<Incoming> {
        soon(self.send(method, field, body)).await.unwrap()
    }
}

async fn whole(response: http::Response<Incoming>) -> Bytes {
    soon(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes()
}

#[tokio::test]
async fn over_tls_http2_is_spoken_on_the_same_port() {
    let pair = Pair::write("http2");
    let mut server = Harness::with(|config| pair.set(config)).await;
    let mut client = Http2::connect(&pair, &server).await;
    // Two answers without an end, and others beside them on the same connection.
    let mut events = client.ask("GET", SSE, "").await;
    let mut lines = client.ask("GET", NDJSON, "").await;
    assert_eq!(events.version(), http::Version::HTTP_2);
    let published = client.ask("POST", ANY, "hello").await;
    assert_eq!(published.status(), 201);
    assert_eq!(whole(client.ask("GET", ANY, "").await).await, "hello");
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
    soon(client.connection).await.unwrap().unwrap();
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
    let mut client = Http2::connect(&pair, &server).await;
    let held =
        ["GET", "HEAD"].map(|method| tokio::spawn(client.send(method, ("prefer", "wait=60"), "")));
    let gauge = "openline_listeners{transport=\"poll\"}";
    soon(async { while metric(&server, gauge).await < 2.0 {} }).await;
    server.publish("a", "news").await;
    for (held, body) in held.into_iter().zip(["news", ""]) {
        let got = soon(held).await.unwrap().unwrap();
        assert_eq!(got.status(), 200);
        assert_eq!(got.headers()["preference-applied"], "wait=60");
        assert_eq!(got.headers()["content-length"], "4");
        assert_eq!(whole(got).await, body);
    }
}

#[tokio::test]
async fn many_websockets_share_a_connection_of_http2() {
    let pair = Pair::write("http2-websocket");
    let mut server = Harness::with(|config| {
        pair.set(config);
        config.idle_timeout = Duration::from_millis(300);
        config.heartbeat = Duration::from_millis(100);
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
async fn what_is_large_comes_whole_on_a_stream() {
    let pair = Pair::write("http2-large");
    let secured = Harness::with(|config| pair.set(config)).await;
    let plain = Harness::start().await;
    let numbers: Vec<String> = (0..30_000).map(|number| number.to_string()).collect();
    let body = numbers.join(",");
    for server in [&plain, &secured] {
        server.publish("a", &body).await;
    }
    let mut stream = plain.stream("/channels/a", &[NDJSON]).await;
    let mut client = Http2::connect(&pair, &secured).await;
    let mut lines = client.ask("GET", NDJSON, "").await.into_body();
    // What it was opened with, and what it is told later.
    for standings in [1, 0] {
        for _ in 0..standings {
            soon(stream.object()).await.unwrap();
        }
        assert!(soon(stream.object()).await.unwrap()["data"] == body);
        let mut text = Vec::new();
        while text.split(|&byte| byte == b'\n').count() < standings + 2 {
            let frame = soon(lines.frame()).await.unwrap().unwrap();
            text.extend_from_slice(&frame.into_data().unwrap());
        }
        let text = String::from_utf8(text).unwrap();
        let line = text.lines().last().unwrap();
        let envelope: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(envelope["data"] == body);
        for server in [&plain, &secured] {
            server.publish("a", &body).await;
        }
    }
}

/// A server whose listeners may have little waiting for them.
async fn narrow(pair: &Pair) -> Harness {
    Harness::with(|config| {
        pair.set(config);
        with_metrics(config);
        config.max_queue = 256 * 1024;
        config.publish_rate = 1_000_000;
    })
    .await
}

/// Publishes until nobody listens in that way any more.
async fn flood(server: &Harness, transport: &str) {
    let filler = "x".repeat(50_000);
    let gauge = format!("openline_listeners{{transport=\"{transport}\"}}");
    assert_eq!(metric(server, &gauge).await, 1.0);
    soon(async {
        while metric(server, &gauge).await > 0.0 {
            server.publish("a", &filler).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_let_go_when_it_lags_and_its_connection_goes_on() {
    let pair = Pair::write("http2-lags");
    let server = narrow(&pair).await;
    let mut client = Http2::connect(&pair, &server).await;
    for (accept, transport) in [(SSE, "sse"), (NDJSON, "ndjson")] {
        let stalled = client.ask("GET", accept, "").await;
        flood(&server, transport).await;
        // What was on the way comes, and then it is reset.
        let mut body = stalled.into_body();
        let mut read = 0;
        let error = soon(async {
            loop {
                match body.frame().await.expect("it does not end properly") {
                    Ok(frame) => read += frame.into_data().unwrap().len(),
                    Err(error) => break error,
                }
            }
        })
        .await;
        assert!(format!("{error:?}").contains("CANCEL"), "{error:?}");
        assert!(read <= WINDOW as usize, "{read}");
        server.publish("a", "hello").await;
        assert_eq!(whole(client.ask("GET", ANY, "").await).await, "hello");
    }
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_let_go_when_its_time_is_over() {
    let pair = Pair::write("http2-late");
    let server = Harness::with(|config| {
        pair.set(config);
        with_metrics(config);
        config.write_timeout = Duration::from_millis(200);
    })
    .await;
    let mut client = Http2::connect(&pair, &server).await;
    let _stalled = client.ask("GET", SSE, "").await;
    // More than its window, and far less than may wait.
    for _ in 0..4 {
        server.publish("a", &"x".repeat(50_000)).await;
    }
    let late = "openline_timeouts_total{reason=\"write\"}";
    soon(async { while metric(&server, late).await < 1.0 {} }).await;
    assert_eq!(
        metric(&server, "openline_listeners{transport=\"sse\"}").await,
        0.0
    );
    // One that only has nothing to be told stays.
    let mut quiet = client.ask("GET", NDJSON, "").await;
    soon(quiet.frame()).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    server.publish("a", "hello").await;
    soon(quiet.frame()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_websocket_that_is_not_read_is_let_go_when_it_lags_and_its_connection_goes_on() {
    let pair = Pair::write("http2-websocket-lags");
    let server = narrow(&pair).await;
    let url = format!("wss://localhost:{}/channels/a", server.address.port());
    let client = || Client::new(&url).unwrap().tls(pair.client(&[]));
    let connection = soon(client().connect_http2()).await.unwrap();
    let (mut stalled, _) = soon(connection.open(client())).await.unwrap();
    flood(&server, "websocket").await;
    let (mut other, _) = soon(connection.open(client())).await.unwrap();
    server.publish("a", "hello").await;
    soon(async { while other.next().await.unwrap().unwrap().as_text() != Some("hello") {} }).await;
    // It ends, rather than hang.
    soon(async { while let Some(Ok(_)) = stalled.next().await {} }).await;
}

#[tokio::test]
async fn what_has_no_body_tells_no_length_of_none() {
    let pair = Pair::write("http2-lengths");
    let secured = Harness::with(|config| pair.set(config)).await;
    let plain = Harness::start().await;
    let mut client = Http2::connect(&pair, &secured).await;
    for method in ["GET", "HEAD"] {
        for (waits, length) in [(false, Some("5")), (true, None)] {
            // By the same cursor it is a 304, at once or after a wait.
            for field in [("prefer", "wait=0"), ("prefer", "wait=1")] {
                let mut fields = vec![field];
                let known = format!("\"{}\"", plain.publish("a", "hello").await);
                if waits {
                    fields.push(("if-none-match", known.as_str()));
                }
                let got = plain.request(method, "/channels/a", &fields, b"").await;
                assert_eq!(got.status, if waits { 304 } else { 200 });
                let told = got.headers.get("content-length").map(String::as_str);
                assert_eq!(told, length, "{method} {fields:?}");
            }
            secured.publish("a", "hello").await;
            let field = if waits { ("if-none-match", "*") } else { ANY };
            let got = client.ask(method, field, "").await;
            assert_eq!(got.status(), if waits { 304 } else { 200 });
            let told = got.headers().get("content-length");
            assert_eq!(told.map(|told| told.to_str().unwrap()), length, "{method}");
        }
    }
    for method in ["OPTIONS", "DELETE"] {
        let got = plain.request(method, "/channels/a", &[], b"").await;
        assert_eq!((got.status, got.headers.get("content-length")), (204, None));
        let got = client.ask(method, ANY, "").await;
        assert_eq!(got.status(), 204);
        assert_eq!(got.headers().get("content-length"), None);
    }
    // A stream has no length, and its head is all that is asked for.
    for accept in [SSE, NDJSON] {
        let got = plain.request("HEAD", "/channels/a", &[accept], b"").await;
        assert_eq!((got.status, got.headers.get("content-length")), (200, None));
        let got = client.ask("HEAD", accept, "").await;
        assert_eq!(got.headers().get("content-length"), None);
        assert_eq!(whole(got).await, "");
    }
}
