//! Clients that mean harm. What they do ends their stream or their connection, and nobody else's.

use std::time::Duration;

use http::HeaderValue;
use openline::http2::Settings;
use openline::{Acceptor, Config, Server};
use tokio::time::timeout;

use crate::raw::{self, Raw};
use crate::{Running, echoes, http2, peers, start};

const ENHANCE_YOUR_CALM: u32 = 11;
const REFUSED_STREAM: u32 = 7;

/// Others are still served.
async fn serves_others(server: &Running) {
    let connection = server.connect().await;
    let (mut ws, _) = connection.open(server.client("")).await.unwrap();
    echoes(&mut ws, "hello").await;
}

#[tokio::test]
async fn streams_reset_before_they_are_seen_send_the_client_away() {
    let server = start(http2()).await;
    let mut flood = Raw::connect(server.address()).await;
    let mut bytes = Vec::new();
    for stream in (1..2_000).step_by(2) {
        bytes.extend(raw::connect(stream, "/"));
        bytes.extend(raw::reset(stream));
    }
    flood.try_send(&bytes).await;
    let goaway = flood.find(raw::GOAWAY).await.unwrap();
    assert_eq!(goaway.code(), ENHANCE_YOUR_CALM);
    while flood.next().await.is_some() {}
    serves_others(&server).await;
}

#[tokio::test]
async fn streams_reset_after_they_are_open_gain_no_more_handlers_than_are_allowed() {
    let server = start(Server::default().http2(Settings::default().max_streams(4))).await;
    let mut flood = Raw::connect(server.address()).await;
    for number in 0..4 {
        let stream = number * 2 + 1;
        flood.send(&raw::connect(stream, "/deaf")).await;
        assert_eq!(flood.find(raw::HEADERS).await.unwrap().stream, stream);
        flood.send(&raw::reset(stream)).await;
    }
    // There are no open streams any more, but four handlers that have not ended.
    flood.send(&raw::connect(9, "/")).await;
    let refused = flood.find(raw::RST_STREAM).await.unwrap();
    assert_eq!((refused.stream, refused.code()), (9, REFUSED_STREAM));
    serves_others(&server).await;
}

#[tokio::test]
async fn streams_past_the_limit_are_refused() {
    let server = start(Server::default().http2(Settings::default().max_streams(4))).await;
    let mut flood = Raw::connect(server.address()).await;
    // Until the client has seen the settings it may not know better.
    assert!(flood.find(raw::SETTINGS).await.is_some());
    let opening: Vec<u8> = (0..5).flat_map(|n| raw::connect(n * 2 + 1, "/")).collect();
    flood.send(&opening).await;
    let refused = flood.find(raw::RST_STREAM).await.unwrap();
    assert_eq!((refused.stream, refused.code()), (9, REFUSED_STREAM));
    serves_others(&server).await;
}

#[tokio::test]
async fn a_head_is_bounded_as_over_http_1() {
    let config = Config::default().max_head(2_000);
    let server = start(http2().acceptor(Acceptor::default().config(config))).await;
    let requests = peers::connect(server.address()).await;
    let mut long = peers::request(server.address(), "/", Some("websocket"));
    let value = HeaderValue::from_str(&"x".repeat(3_000)).unwrap();
    long.headers_mut().insert("x", value);
    let (response, _) = peers::ask(&requests, long).await;
    assert_eq!(response.status(), 431);
    serves_others(&server).await;
}

#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    let server = start(http2()).await;
    let mut flood = Raw::connect(server.address()).await;
    flood
        .send(&raw::frame(raw::HEADERS, 0, 1, &raw::connect_block("/")))
        .await;
    let more = raw::fields(&[("x", &"x".repeat(1_000))]);
    let more = raw::frame(raw::CONTINUATION, 0, 1, &more);
    let mut sent = 0;
    while flood.try_send(&more).await {
        sent += 1;
        assert!(sent < 100_000, "a head of 100 MB was taken");
    }
    serves_others(&server).await;
}

#[tokio::test]
async fn pings_and_settings_are_answered_one_by_one_and_pile_up_nowhere() {
    let server = start(http2()).await;
    let mut flood = Raw::connect(server.address()).await;
    let pings = raw::frame(raw::PING, 0, 0, b"12345678").repeat(5_000);
    let settings = raw::frame(raw::SETTINGS, 0, 0, &[]).repeat(5_000);
    let bytes = [pings, settings].concat();
    // Nothing is read meanwhile: the server stops reading instead of storing its answers.
    let mut sent = 0;
    while let Ok(true) = timeout(Duration::from_secs(1), flood.try_send(&bytes)).await {
        sent += bytes.len();
        assert!(sent < 64 << 20, "{sent} bytes were taken");
    }
    serves_others(&server).await;
}

#[tokio::test]
async fn more_than_the_window_resets_that_stream_alone() {
    let server = start(http2()).await;
    let mut flood = Raw::connect(server.address()).await;
    flood.send(&raw::connect(1, "/")).await;
    flood.send(&raw::connect(3, "/deaf")).await;
    assert!(flood.find(raw::SETTINGS).await.is_some());
    for _ in 0..5 {
        flood.send(&raw::frame(raw::DATA, 0, 3, &[0; 16_384])).await;
    }
    const FLOW_CONTROL_ERROR: u32 = 3;
    let reset = flood.find(raw::RST_STREAM).await.unwrap();
    assert_eq!((reset.stream, reset.code()), (3, FLOW_CONTROL_ERROR));
    // An empty masked message, and its echo.
    flood
        .send(&raw::frame(raw::DATA, 0, 1, b"\x82\x80\0\0\0\0"))
        .await;
    let echo = flood.find(raw::DATA).await.unwrap();
    assert_eq!((echo.stream, &echo.payload[..]), (1, &b"\x82\0"[..]));
    // The end of the stream in mid-air ends the WebSocket, and the server's side of the stream.
    flood
        .send(&raw::frame(raw::DATA, raw::END_STREAM, 1, &[]))
        .await;
    let end = loop {
        let frame = flood.next().await.unwrap();
        if frame.stream == 1
            && (frame.kind == raw::RST_STREAM || frame.flags & raw::END_STREAM != 0)
        {
            break frame;
        }
    };
    assert_eq!(end.stream, 1);
    serves_others(&server).await;
}
