//! WebSockets over HTTP/2 out of axum's and hyper's connections.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::serve::ListenerExt;
use openline::axum::WebSocketUpgrade;
use openline::{Config, Deflate, Error, Rejection, ServerOptions};
use tokio::net::TcpListener;

use crate::{client, echoes, peers};

fn config() -> Config {
    Config::default()
        .deflate(Some(Deflate::default().threshold(0)))
        .max_message(4 << 20)
        .max_outbox(4 << 20)
}

async fn extracted(upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.subprotocol("chat").config(config());
    upgrade.on_upgrade(async |mut ws| {
        while let Some(message) = ws.next().await {
            ws.send(message?).await?;
        }
        Ok::<_, Error>(())
    })
}

async fn upgraded(mut request: Request) -> Response {
    let (response, upgrade) = match openline::upgrade(&mut request, &ServerOptions::default()) {
        Ok(accepted) => accepted,
        Err(rejection) => return rejection.response().into_response(),
    };
    let version = request.version();
    tokio::spawn(async move {
        let mut ws = upgrade.await?;
        ws.send(format!("{version:?}")).await?;
        while let Some(message) = ws.next().await {
            ws.send(message?).await?;
        }
        Ok::<_, Error>(())
    });
    response.map(|()| Body::empty())
}

async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let app = Router::new()
        .route("/extracted", any(extracted))
        .route("/upgraded", any(upgraded));
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test]
async fn the_extractor_takes_both_versions() {
    let url = serve().await;
    let request = client(&url, "extracted")
        .subprotocol("chat")
        .config(config());
    let connection = client(&url, "").connect_http2().await.unwrap();
    let (mut two, response) = connection.open(request.clone()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(two.subprotocol(), Some("chat"));
    assert_eq!(
        response.headers()["sec-websocket-extensions"],
        "permessage-deflate"
    );
    echoes(&mut two, "hello").await;
    let (mut one, response) = request.connect().await.unwrap();
    assert_eq!(response.status(), 101);
    echoes(&mut one, "hello").await;
    let closed = two.close(openline::CloseCode::NORMAL, "bye").await.unwrap();
    assert!(closed.clean && !closed.by_peer);
}

#[tokio::test]
async fn upgrade_takes_many_on_one_connection_and_large_messages_go_through() {
    let url = serve().await;
    let connection = client(&url, "").connect_http2().await.unwrap();
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let (mut ws, _) = connection.open(client(&url, "upgraded")).await.unwrap();
        let version = ws.next().await.unwrap().unwrap();
        assert_eq!(version.as_text(), Some("HTTP/2.0"));
        sockets.push(ws);
    }
    for ws in &mut sockets {
        echoes(ws, &"x".repeat(300_000)).await;
    }
    let (mut ws, _) = connection
        .open(client(&url, "extracted").config(config().deflate(None)))
        .await
        .unwrap();
    echoes(&mut ws, &"y".repeat(3 << 20)).await;
}

#[tokio::test]
async fn what_asks_for_no_websocket_is_refused_by_what_http_2_has() {
    let url = serve().await;
    let address = url.trim_start_matches("ws://").trim_end_matches('/');
    let requests = peers::connect(address).await;
    for path in ["/extracted", "/upgraded"] {
        let other = peers::request(address, path, Some("connect-udp"));
        let (response, _) = peers::ask(&requests, other).await;
        assert_eq!(response.status(), 501);
        let mut get = peers::request(address, path, Some("x"));
        *get.method_mut() = http::Method::GET;
        get.extensions_mut().clear();
        let (response, _) = peers::ask(&requests, get).await;
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "CONNECT");
    }
    let shouted = peers::request(address, "/extracted", Some("WebSocket"));
    let (response, _) = peers::ask(&requests, shouted).await;
    assert_eq!(response.status(), 200);
}

#[test]
fn a_request_without_a_connection_is_refused_before_it_is_answered() {
    for version in [http::Version::HTTP_11, http::Version::HTTP_2] {
        let mut request = peers::request("localhost", "/", Some("websocket"));
        if version == http::Version::HTTP_11 {
            request = http::Request::get("/")
                .header("host", "x")
                .header("upgrade", "websocket")
                .header("connection", "upgrade")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
                .body(())
                .unwrap();
        } else {
            // As hyper has it.
            let protocol = hyper::ext::Protocol::from_static("websocket");
            request.extensions_mut().insert(protocol);
        }
        let rejection = openline::upgrade(&mut request, &ServerOptions::default()).unwrap_err();
        assert_eq!(rejection, Rejection::NoUpgrade);
        assert_eq!(rejection.response().status(), 500);
    }
}
