//! What two peers say to each other.

use openline::{Acceptor, CloseCode, Config, Deflate, Message};

use crate::{echoes, http2, start};

#[tokio::test]
async fn many_websockets_talk_on_one_connection() {
    let server = start(http2()).await;
    let connection = server.connect().await;
    let mut sockets = Vec::new();
    for number in 0..100 {
        let (mut ws, response) = connection.open(server.client("")).await.unwrap();
        assert_eq!(response.status(), 200);
        ws.send(format!("hello from {number}")).await.unwrap();
        sockets.push(ws);
    }
    for (number, ws) in sockets.iter_mut().enumerate() {
        let message = ws.next().await.unwrap().unwrap();
        assert_eq!(message, Message::from(format!("hello from {number}")));
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn both_versions_are_served_on_one_port() {
    let server = start(http2()).await;
    let (mut one, response) = server.client("request").connect().await.unwrap();
    assert_eq!(response.status(), 101);
    let shown = one.next().await.unwrap().unwrap();
    assert_eq!(shown.as_text(), Some("GET /request HTTP/1.1"));

    let (mut two, _) = (server.connect().await)
        .open(server.client("request"))
        .await
        .unwrap();
    let shown = two.next().await.unwrap().unwrap();
    let url = server.url.replace("ws:", "http:");
    let expected = format!("CONNECT {url}request HTTP/2.0");
    assert_eq!(shown.as_text(), Some(expected.as_str()));
}

#[tokio::test]
async fn a_server_without_the_option_speaks_http_1_1_only() {
    let server = start(openline::Server::default()).await;
    let failed = server.client("").connect_http2().await;
    assert!(failed.is_err(), "{failed:?}");
    let (mut ws, _) = server.client("").connect().await.unwrap();
    echoes(&mut ws, "hello").await;
}

#[tokio::test]
async fn subprotocols_compression_and_credentials_are_agreed_on_as_ever() {
    let config = Config::default().deflate(Some(Deflate::default().threshold(0)));
    let acceptor = Acceptor::default()
        .subprotocol("chat")
        .config(config.clone());
    let server = start(http2().acceptor(acceptor)).await;
    let client = server
        .client("authorization")
        .subprotocol("other")
        .subprotocol("chat")
        .bearer("mF_9.B5f-4.1JqM")
        .unwrap()
        .config(config);
    let (mut ws, response) = server.connect().await.open(client).await.unwrap();
    assert_eq!(ws.subprotocol(), Some("chat"));
    assert_eq!(
        response.headers()["sec-websocket-extensions"],
        "permessage-deflate"
    );
    let shown = ws.next().await.unwrap().unwrap();
    assert_eq!(shown.as_text(), Some("Bearer mF_9.B5f-4.1JqM"));
    let before = ws.traffic();
    let text = "again and ".repeat(1000);
    echoes(&mut ws, &text).await;
    let traffic = ws.traffic();
    assert!(traffic.received - before.received < 200, "{traffic:?}");
}

#[tokio::test]
async fn messages_larger_than_every_window_come_through_in_both_directions() {
    let config = Config::default().max_message(8 << 20).max_outbox(8 << 20);
    let server = start(http2().acceptor(Acceptor::default().config(config.clone()))).await;
    let client = server.client("").config(config);
    let (ws, _) = server.connect().await.open(client).await.unwrap();
    let (mut sender, mut receiver) = ws.split();
    let large: Vec<u8> = (0..4 << 20).map(|n: u32| (n % 251) as u8).collect();
    let sent = large.clone();
    let sending = tokio::spawn(async move {
        sender.send(sent).await.unwrap();
        sender
    });
    let message = receiver.next().await.unwrap().unwrap();
    assert!(message == Message::from(large));
    sending.await.unwrap();
}

#[tokio::test]
async fn the_close_of_one_leaves_the_others_alone() {
    let server = start(http2()).await;
    let connection = server.connect().await;
    let (one, _) = connection.open(server.client("")).await.unwrap();
    let (mut two, _) = connection.open(server.client("")).await.unwrap();
    let mut one = one;
    let closed = one.close(CloseCode::NORMAL, "bye").await.unwrap();
    assert!(closed.clean && !closed.by_peer, "{closed:?}");
    echoes(&mut two, "still here").await;
    drop(one);
    echoes(&mut two, "still here").await;
}

#[tokio::test]
async fn a_connection_lives_as_long_as_its_websockets_do() {
    let server = start(http2()).await;
    let connection = server.connect().await;
    let (mut ws, _) = connection.clone().open(server.client("")).await.unwrap();
    drop(connection);
    echoes(&mut ws, "hello").await;
    let closed = ws.close(CloseCode::NORMAL, "").await.unwrap();
    assert!(closed.clean);
}
