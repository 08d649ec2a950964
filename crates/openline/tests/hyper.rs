//! WebSockets out of hyper's and axum's connections.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use openline::{Client, Error, HandshakeError, ServerOptions};
use tokio::net::TcpListener;

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

async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/", any(echo));
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
async fn a_foreign_page_is_refused_with_a_reason() {
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
