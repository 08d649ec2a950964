//! WebSockets out of hyper's and axum's connections.

mod common;

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use common::{REQUEST, once, read_head};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use openline::axum::WebSocketUpgrade;
use openline::{
    Acceptor, Client, CloseCode, Config, Deflate, Error, HandshakeError, ServerOptions, http,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn echo(mut request: Request) -> Response {
    let options = ServerOptions::default().subprotocol("chat");
    let (response, upgrade) = match openline::upgrade(&mut request, &options) {
        Ok(accepted) => accepted,
        Err(rejection) => return rejection.response().into_response(),
    };
    tokio::spawn(async move {
        let mut ws = upgrade.await?;
        // The bare TCP stream was regained, not hyper's box around it.
        let transport = format!("{ws:?}").contains("TcpStream");
        ws.send(format!("tcp: {transport}")).await?;
        while let Some(message) = ws.next().await {
            ws.send(message?).await?;
        }
        Ok::<_, Error>(())
    });
    response.map(|()| Body::empty())
}

async fn extracted(upgrade: WebSocketUpgrade) -> Response {
    upgrade.subprotocol("chat").on_upgrade(async |mut ws| {
        while let Some(message) = ws.next().await {
            ws.send(message?).await?;
        }
        Ok::<_, Error>(())
    })
}

fn compressed() -> Config {
    Config::default().deflate(Some(Deflate::default().threshold(0)))
}

async fn compressing(mut request: Request) -> Response {
    let acceptor = Acceptor::default().config(compressed());
    let (response, upgrade) = acceptor.upgrade(&mut request).unwrap();
    tokio::spawn(async move { upgrade.await?.send("hello, hello, hello, hello").await });
    response.map(|()| Body::empty())
}

async fn extracted_compressing(upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .config(compressed())
        .on_upgrade(async |mut ws| ws.send("hello, hello, hello, hello").await)
}

/// Three messages, each with how much had left before; and an end with neither a wait nor a close.
async fn failing(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut ws| {
        for message in ["one", "two", "three"] {
            ws.send(message).await?;
            let before = ws.traffic().sent;
            ws.send(format!("{before} bytes had left")).await?;
        }
        Err::<(), _>(Error::NotConnected)
    })
}

async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new()
        .route("/", any(echo))
        .route("/extracted", any(extracted))
        .route("/failing", any(failing))
        .route("/compressing", any(compressing))
        .route("/extracted/compressing", any(extracted_compressing));
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("ws://{address}/")
}

#[tokio::test]
async fn axum_hands_over_the_bare_tcp_stream() {
    let client = Client::new(&serve().await)
        .unwrap()
        .subprotocol("other")
        .subprotocol("chat");
    let (mut ws, response) = client.connect().await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(ws.subprotocol(), Some("chat"));
    assert_eq!(
        ws.next().await.unwrap().unwrap().as_text(),
        Some("tcp: true")
    );
    ws.send("hello").await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hello"));
    let closed = ws.close(openline::CloseCode::NORMAL, "bye").await.unwrap();
    assert!(closed.clean && !closed.by_peer);
}

#[tokio::test]
async fn both_ways_into_axum_compress_if_the_configuration_says_so() {
    let url = serve().await;
    for path in ["compressing", "extracted/compressing"] {
        let client = Client::new(&format!("{url}{path}")).unwrap();
        let (mut ws, response) = client.config(compressed()).connect().await.unwrap();
        assert_eq!(
            response.headers()["sec-websocket-extensions"],
            "permessage-deflate"
        );
        let message = ws.next().await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some("hello, hello, hello, hello"));
        assert!(ws.traffic().received < 20, "{:?}", ws.traffic());
    }
}

#[tokio::test]
async fn attack_23_a_foreign_page_is_refused_with_a_reason_server() {
    let client = Client::new(&serve().await).unwrap();
    let client = client.header(
        http::header::ORIGIN,
        http::HeaderValue::from_static("http://evil.example"),
    );
    let Err(Error::Handshake { error, response }) = client.connect().await else {
        panic!("accepted")
    };
    assert_eq!(error, HandshakeError::Status(http::StatusCode::FORBIDDEN));
    assert!(String::from_utf8_lossy(response.body()).contains("Origin"));
}

#[tokio::test]
async fn the_extractor_serves_good_requests_and_refuses_others() {
    let url = serve().await + "extracted";
    let (mut ws, _) = Client::new(&url)
        .unwrap()
        .subprotocol("chat")
        .connect()
        .await
        .unwrap();
    assert_eq!(ws.subprotocol(), Some("chat"));
    ws.send("hello").await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hello"));

    let foreign = http::HeaderValue::from_static("http://evil.example");
    let refused = Client::new(&url)
        .unwrap()
        .header(http::header::ORIGIN, foreign)
        .connect()
        .await;
    assert!(matches!(refused, Err(Error::Handshake { response, .. }) if response.status() == 403));

    let address = url
        .strip_prefix("ws://")
        .unwrap()
        .strip_suffix("/extracted")
        .unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain
        .write_all(b"GET /extracted HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_server_that_cannot_upgrade_does_not_answer_as_if_it_could() {
    // As of a server that serves connections without upgrades.
    let request = http::Request::get("/")
        .header("host", "x")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(())
        .unwrap();
    let (mut parts, ()) = request.into_parts();
    let refused = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let response = refused.unwrap_err().into_response();
    assert_eq!(response.status(), 500);
    let body = axum::body::to_bytes(response.into_body(), 1000).await;
    assert!(String::from_utf8_lossy(&body.unwrap()).contains("upgrade"));
}

/// A raw connection to a path, on which this was sent.
async fn sent(url: &str, bytes: &[u8]) -> TcpStream {
    let address = url
        .strip_prefix("ws://")
        .unwrap()
        .strip_suffix('/')
        .unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

#[tokio::test]
async fn attack_23_foreign_pages_are_refused_by_the_extractor_too_server() {
    let url = serve().await;
    for path in ["/", "/extracted"] {
        for origin in ["https://evil.example", "null", "http://x:81"] {
            let request = REQUEST
                .replace("/chat", path)
                .replace("\r\n\r\n", &format!("\r\nOrigin: {origin}\r\n\r\n"));
            let mut stream = sent(&url, request.as_bytes()).await;
            let answer = read_head(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{path}: {answer}");
        }
    }
}

/// A proxy that does not look at the answer takes the connection for a tunnel; what comes then must not be a request.
#[tokio::test]
async fn attack_24_what_follows_a_refused_upgrade_is_no_request_server() {
    let url = serve().await;
    for path in ["/", "/extracted"] {
        let good = REQUEST.replace("/chat", path);
        for wrong in [
            good.replace("Version: 13", "Version: 1337"),
            good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"),
            good.replace("\r\n\r\n", "\r\nOrigin: https://evil.example\r\n\r\n"),
            good.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n") + "0\r\n\r\n",
        ] {
            let mut stream = sent(&url, (wrong + &good).as_bytes()).await;
            let mut said = String::new();
            stream.read_to_string(&mut said).await.unwrap();
            let answers = said.lines().filter(|line| line.starts_with("HTTP/1.1 "));
            assert_eq!(answers.count(), 1, "{said}");
            assert!(!said.starts_with("HTTP/1.1 101"), "{said}");
        }
    }
}

/// An upgrade that is awaited in a `select!`, dropped or not, loses nothing; one that is given up ends its connection.
#[tokio::test]
async fn attack_29_an_upgrade_is_waited_for_again_or_given_up_server() {
    let (give, mut given) = tokio::sync::mpsc::unbounded_channel();
    let app = Router::new().route(
        "/{what}",
        any(async move |mut request: Request| {
            let (response, mut upgrade) =
                openline::upgrade(&mut request, &ServerOptions::default()).unwrap();
            // Nothing is there before the answer has been sent.
            assert!(once(&mut upgrade).await.is_none());
            give.send(upgrade).unwrap();
            response.map(|()| Body::empty())
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let hello = b"\x81\x85\0\0\0\0hello";

    let mut peer = sent(&url, &[REQUEST.as_bytes(), hello].concat()).await;
    let mut upgrade = given.recv().await.unwrap();
    let mut ws = loop {
        if let Some(ws) = once(&mut upgrade).await {
            break ws.unwrap();
        }
    };
    assert!(read_head(&mut peer).await.starts_with("HTTP/1.1 101 "));
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hello"));

    for waits in [0, 1] {
        let mut peer = sent(&url, REQUEST.as_bytes()).await;
        let mut upgrade = given.recv().await.unwrap();
        if waits == 1 {
            let _ = once(&mut upgrade).await;
        }
        drop(upgrade);
        let mut said = Vec::new();
        peer.read_to_end(&mut said).await.unwrap();
        assert!(said.starts_with(b"HTTP/1.1 101 "));
    }
}

#[tokio::test]
async fn a_connection_that_was_taken_from_hyper_becomes_a_websocket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let hello = b"\x81\x85\0\0\0\0hello";
    let mut peer = sent(&url, &[REQUEST.as_bytes(), hello].concat()).await;

    let (give, mut given) = tokio::sync::mpsc::unbounded_channel();
    let service = service_fn(|mut request: http::Request<Incoming>| {
        let options = ServerOptions::default();
        let (response, upgrade) = openline::upgrade(&mut request, &options).unwrap();
        give.send(upgrade).unwrap();
        std::future::ready(Ok::<_, Infallible>(response.map(|()| Body::empty())))
    });
    let (tcp, _) = listener.accept().await.unwrap();
    let connection = http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
    let parts = connection.without_shutdown().await.unwrap();
    let upgrade = given.recv().await.unwrap();
    let mut ws = upgrade.over(parts.io.into_inner(), parts.read_buf);

    assert!(read_head(&mut peer).await.starts_with("HTTP/1.1 101 "));
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hello"));
    ws.send("there").await.unwrap();
    let mut got = [0; 7];
    peer.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"\x81\x05there");
}

#[tokio::test]
async fn a_handler_of_the_extractor_runs_corked_and_has_its_connection_closed() {
    let url = serve().await + "failing";
    let mut ws = openline::connect(&url).await.unwrap();
    for expected in ["one", "two", "three"] {
        for expected in [expected, "0 bytes had left"] {
            let message = ws.next().await.unwrap().unwrap();
            assert_eq!(message.as_text(), Some(expected));
        }
    }
    assert!(ws.next().await.is_none());
    let closed = ws.closed().unwrap();
    assert!(closed.clean && closed.by_peer);
    assert_eq!(closed.code(), CloseCode::INTERNAL);
}
