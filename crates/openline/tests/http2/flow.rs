//! Flow control: nobody waits for somebody else's reader.

use std::future::poll_fn;
use std::time::Duration;

use openline::http2::Settings;
use openline::{Acceptor, Config, Error, Server, Timeout, WebSocket};

use crate::raw::{self, Raw};
use crate::{echoes, http2, peers, start};

#[tokio::test]
async fn a_websocket_that_nobody_reads_takes_its_window_and_stalls_alone() {
    let server = start(Server::default().http2(Settings::default().window(100_000))).await;
    let address = server.address();
    let requests = peers::connect(address).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let request = peers::request(address, "/deaf", Some("websocket"));
        let (_, mut send) = peers::ask(&requests, request).await;
        send.reserve_capacity(1 << 20);
        let mut taken = 0;
        while taken < 100_000 {
            // All of the window comes, whatever the others took.
            match poll_fn(|cx| send.poll_capacity(cx)).await {
                Some(Ok(count)) => {
                    send.send_data(vec![0; count].into(), false).unwrap();
                    taken += count;
                }
                ended => panic!("{ended:?}"),
            }
        }
        assert_eq!(taken, 100_000);
        stalled.push(send);
    }
    let request = peers::request(address, "/", Some("websocket"));
    let (response, mut send) = peers::ask(&requests, request).await;
    // An empty masked message, again and again: twice a window's worth would stall if it were not given back.
    let mut body = response.into_body();
    let frames = b"\x82\x80\0\0\0\0".repeat(5_000);
    let mut echoed = 0;
    for _ in 0..7 {
        send.send_data(frames.clone().into(), false).unwrap();
        let until = echoed + 10_000;
        while echoed < until {
            let data = body.data().await.unwrap().unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            echoed += data.len();
        }
    }
    for send in &mut stalled {
        send.reserve_capacity(1);
        assert_eq!(
            send.capacity(),
            0,
            "a window was given back that nobody had read"
        );
    }
}

#[tokio::test]
async fn half_a_million_messages_that_nobody_reads_neither_end_the_connection_nor_fill_it_up() {
    let server = start(http2()).await;
    let mut client = Raw::connect(server.address()).await;
    // An empty masked message in a frame of its own, as often as a window has room for it. h2 would count 256 bytes for each
    // that it keeps, and end the connection at 64 MiB.
    let small = |stream| raw::frame(raw::DATA, 0, stream, b"\x82\x80\0\0\0\0");
    for number in 0..50 {
        let stream = number * 2 + 1;
        client.send(&raw::connect(stream, "/deaf")).await;
        assert_eq!(client.find(raw::HEADERS).await.unwrap().stream, stream);
        client.send(&small(stream).repeat(10_000)).await;
    }
    client.send(&raw::connect(101, "/")).await;
    client.send(&small(101)).await;
    let echo = client.find(raw::DATA).await.unwrap();
    assert_eq!((echo.stream, &echo.payload[..]), (101, &b"\x82\0"[..]));
}

#[tokio::test]
async fn a_sender_waits_for_its_own_reader_only_and_nothing_is_lost() {
    let server = start(http2()).await;
    let connection = server.connect().await;
    let (mut flood, _) = connection.open(server.client("flood")).await.unwrap();
    let (mut ws, _) = connection.open(server.client("")).await.unwrap();
    for _ in 0..100 {
        echoes(&mut ws, &"x".repeat(10_000)).await;
    }
    for number in 0..10_000 {
        let message = flood.next().await.unwrap().unwrap();
        let text = message.as_text().unwrap().trim_start();
        assert_eq!(text.parse::<u32>().unwrap(), number);
    }
    echoes(&mut flood, "done").await;
}

#[tokio::test]
async fn a_peer_that_gives_no_window_back_runs_into_the_write_deadline() {
    let config = Config::default()
        .write_timeout(Duration::from_millis(50))
        .close_timeout(Duration::from_millis(50));
    let server = start(http2()).await;
    let connection = server.connect().await;
    let client = server.client("deaf").config(config);
    let (mut ws, _) = connection.open(client).await.unwrap();
    let failed = fill(&mut ws).await;
    assert!(
        matches!(failed, Error::Timeout(Timeout::Write)),
        "{failed:?}"
    );
    // The server's window, and here as much again and a frame.
    let sent = ws.traffic().sent;
    assert!((1..=65_536 * 2 + 16_384).contains(&sent), "{sent}");
    drop(ws);
    let (mut ws, _) = connection.open(server.client("")).await.unwrap();
    echoes(&mut ws, "hello").await;
}

/// Sends until that fails; fails itself if more than any buffer should hold is taken.
async fn fill(ws: &mut WebSocket) -> Error {
    for _ in 0..1_000 {
        if let Err(error) = ws.send(vec![0; 10_000]).await {
            return error;
        }
    }
    panic!("10 MB were taken, and nobody reads them")
}

#[tokio::test]
async fn a_connection_is_served_whatever_window_the_peer_has() {
    let config = Config::default().max_message(2 << 20).max_outbox(4 << 20);
    let server = start(http2().acceptor(Acceptor::default().config(config.clone()))).await;
    let narrow = server.client("").http2_window(0);
    let connection = narrow.connect_http2().await.unwrap();
    let client = server.client("").config(config);
    let (mut ws, _) = connection.open(client).await.unwrap();
    echoes(&mut ws, &"x".repeat(1 << 20)).await;
}
