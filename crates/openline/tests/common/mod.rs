//! What raw peers say: good openings and frames, byte by byte, for tests of what comes behind them.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod grudging;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use openline::{Client, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request that opens a WebSocket, with RFC 6455's own key.
pub(crate) const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Reads to the end of a head, byte by byte so as to leave what follows; what there is of it if the stream ends.
pub(crate) async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// The answer that opens a WebSocket for a request, without the empty line at its end, so that fields can be added.
pub(crate) fn opening_answer(request: &str) -> String {
    let key = request
        .lines()
        .find_map(|line| line.strip_prefix("sec-websocket-key: "))
        .unwrap();
    let asked = http::Request::get("/")
        .header("host", "x")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", key)
        .body(())
        .unwrap();
    let accepted = openline::proto::handshake::accept(&asked, &Default::default()).unwrap();
    let mut answer = Vec::new();
    openline::proto::handshake::write_response(&accepted.response, &mut answer);
    let answer = String::from_utf8(answer).unwrap();
    answer.strip_suffix("\r\n").unwrap().to_owned()
}

/// A raw server's end of a TCP connection on which the opening handshake is done, and the client.
pub(crate) async fn raw_server() -> (TcpStream, WebSocket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let accept = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_head(&mut stream).await;
        let answer = opening_answer(&request) + "\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream
    };
    let client = Client::new(&url).unwrap().no_proxy();
    let (stream, connected) = tokio::join!(accept, client.connect());
    (stream, connected.unwrap().0)
}

/// A frame, as RFC 6455 §5.2 has it; `first` is FIN, RSV and opcode. To a server it is masked, by a key of zeros.
pub(crate) fn frame(to_server: bool, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mask = if to_server { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => bytes.push(mask | short as u8),
        medium @ 126..=0xffff => {
            bytes.push(mask | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(mask | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    if to_server {
        bytes.extend([0; 4]);
    }
    bytes.extend(payload);
    bytes
}

/// Polls a future once and drops it.
pub(crate) async fn once<T>(future: impl Future<Output = T>) -> Option<T> {
    // A task that never yields has used up its share some time, and tokio's streams hold still.
    tokio::task::yield_now().await;
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Polls a future each time it is woken, so many times at most, and drops it.
pub(crate) async fn poll_times<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if left == 1 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}
