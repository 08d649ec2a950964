//! How WebSockets on one connection end, each by itself and all together.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Response;
use openline::http2::Settings;
use openline::{CloseCode, Error, Server};

use crate::raw::{self, Raw};
use crate::{client, echoes, http2, peers, start};

#[tokio::test]
async fn a_websocket_that_is_dropped_resets_its_stream_and_no_other() {
    let server = start(http2().max_connections(2)).await;
    let connection = server.connect().await;
    let (mut stays, _) = connection.open(server.client("")).await.unwrap();
    for _ in 0..5 {
        let (mut ws, _) = connection.open(server.client("")).await.unwrap();
        echoes(&mut ws, "hello").await;
        drop(ws);
        // Its handler ended: else its place would not come back.
        let again = loop {
            match connection.open(server.client("")).await {
                Ok((ws, _)) => break ws,
                Err(error) => assert_eq!(error.response().unwrap().status(), 503),
            }
        };
        drop(again);
        while connection.open(server.client("")).await.is_err() {}
        echoes(&mut stays, "still here").await;
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_handler_that_just_returns_has_its_websocket_closed_behind_it() {
    let server = start(http2()).await;
    let connection = server.connect().await;
    let (mut ws, _) = connection.open(server.client("gone")).await.unwrap();
    assert!(ws.next().await.is_none());
    let closed = ws.closed().unwrap();
    assert!(closed.clean && closed.by_peer, "{closed:?}");
    let (mut ws, _) = connection.open(server.client("")).await.unwrap();
    echoes(&mut ws, "hello").await;
}

#[tokio::test]
async fn the_end_of_a_stream_is_the_end_of_a_tcp_connection_and_a_reset_is_its_reset() {
    let url = peers::answering(|request, mut respond| async move {
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        match request.uri().path() {
            "/end" => send
                .send_data(Bytes::from_static(b"\x81\x02hi"), true)
                .unwrap(),
            "/closed" => {
                // A Close frame, the end, and the reset of a server that wants nothing more (RFC 9113 §8.1).
                let close = Bytes::from_static(b"\x81\x02hi\x88\x02\x03\xe8");
                send.send_data(close, true).unwrap();
                return;
            }
            _ => {
                send.send_data(Bytes::from_static(b"\x81\x02hi"), false)
                    .unwrap();
                let mut body = request.into_body();
                // The client's answer: what was sent before is there.
                body.data().await.unwrap().unwrap();
                return send.send_reset(Reason::CANCEL);
            }
        }
        std::future::pending::<()>().await;
    })
    .await;
    let connection = client(&url, "").connect_http2().await.unwrap();
    let open = async |path| {
        let (mut ws, _) = connection.open(client(&url, path)).await.unwrap();
        assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hi"));
        ws
    };
    let mut ended = open("end").await;
    assert!(matches!(ended.next().await, Some(Err(Error::Disconnected))));

    let mut closed = open("closed").await;
    assert!(closed.next().await.is_none());
    assert_eq!(closed.closed().unwrap().code(), CloseCode::NORMAL);

    let mut reset = open("reset").await;
    reset.send("go on").await.unwrap();
    let Some(Err(Error::Io(error))) = reset.next().await else {
        panic!("not reset")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(reset.send("more").await.is_err());
}

#[tokio::test]
async fn the_servers_goodbye_closes_every_websocket_of_a_connection_cleanly() {
    let server = start(http2().goodbye(CloseCode::RESTART, "back soon")).await;
    let connection = server.connect().await;
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let (mut ws, _) = connection.open(server.client("")).await.unwrap();
        echoes(&mut ws, "hello").await;
        sockets.push(ws);
    }
    server.stop.send(()).unwrap();
    for mut ws in sockets {
        assert!(ws.next().await.is_none());
        let closed = ws.closed().unwrap();
        assert!(closed.clean && closed.by_peer, "{closed:?}");
        assert_eq!(closed.received.unwrap().to_string(), "1012 (back soon)");
    }
    assert_eq!(server.task.await.unwrap(), 0, "none had to be cut");
    let url = server.url;
    let error = connection.open(client(&url, "")).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn handlers_that_do_not_end_are_cut_and_each_is_counted() {
    let server = start(http2().grace(Duration::from_millis(50))).await;
    let connection = server.connect().await;
    let mut deaf = Vec::new();
    for _ in 0..3 {
        deaf.push(connection.open(server.client("deaf")).await.unwrap().0);
    }
    server.stop.send(()).unwrap();
    assert_eq!(server.task.await.unwrap(), 3);
    for mut ws in deaf {
        assert!(ws.next().await.is_none());
        assert_eq!(ws.closed().unwrap().code(), CloseCode::GOING_AWAY);
    }
}

#[tokio::test]
async fn an_idle_connection_is_ended_and_one_with_a_websocket_is_not() {
    let settings = Settings::default().idle_timeout(Duration::from_millis(50));
    let server = start(Server::default().http2(settings)).await;
    let busy = server.connect().await;
    let (mut ws, _) = busy.open(server.client("")).await.unwrap();
    let mut idle = Raw::connect(server.address()).await;
    let goaway = idle.find(raw::GOAWAY).await.unwrap();
    assert_eq!(goaway.code(), 0);
    while idle.next().await.is_some() {}
    echoes(&mut ws, "still here").await;
}

#[tokio::test]
async fn when_the_connection_breaks_every_websocket_on_it_learns_it() {
    let server = start(http2()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let address = server.address().to_owned();
    let proxy = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(address).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    let connection = client(&url, "").connect_http2().await.unwrap();
    let (mut one, _) = connection.open(client(&url, "")).await.unwrap();
    let (mut two, _) = connection.open(client(&url, "")).await.unwrap();
    echoes(&mut one, "hello").await;
    proxy.abort();
    for ws in [&mut one, &mut two] {
        assert!(ws.next().await.unwrap().is_err());
        assert!(ws.next().await.is_none());
    }
    let error = connection.open(client(&url, "")).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}
