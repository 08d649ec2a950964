//! Opening handshakes that are given up: whoever drops one drops its stream, which the peer sees, and nothing else.

use std::future::Future;

use openline::{Acceptor, Client, Config, Error, Stream, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::common::grudging::Grudging;
use crate::common::{REQUEST, opening_answer, poll_times, read_head};

/// Opens a WebSocket over a stream that grudges each byte, and drops that at each of its waits, one after the other, until
/// it needs no more. At every drop the peer must see the end of the stream.
async fn dropped_at_every_wait<F, T, P>(
    peer: impl Fn(DuplexStream) -> P,
    open: impl Fn(Stream) -> F,
) -> T
where
    F: Future<Output = Result<T, Error>>,
    P: Future<Output = DuplexStream> + Send + 'static,
{
    for waits in 1.. {
        let (here, there) = duplex(1 << 16);
        let peer = tokio::spawn(peer(there));
        let opening = open(Stream::new(Grudging::new(here)));
        match poll_times(opening, waits).await {
            Some(opened) => {
                assert!(waits > 50, "only {waits} waits");
                peer.await.unwrap();
                return opened.unwrap();
            }
            None => {
                let mut there = peer.await.unwrap();
                there.read_to_end(&mut Vec::new()).await.unwrap();
            }
        }
    }
    unreachable!()
}

async fn asks(mut there: DuplexStream) -> DuplexStream {
    // That the server is gone by now is what the test is about.
    let _ = there.write_all(REQUEST.as_bytes()).await;
    there
}

async fn answers(mut there: DuplexStream) -> DuplexStream {
    let request = read_head(&mut there).await;
    if request.ends_with("\r\n\r\n") {
        let answer = opening_answer(&request) + "\r\n";
        // That the client is gone by now is what the test is about.
        let _ = there.write_all(answer.as_bytes()).await;
    }
    there
}

#[tokio::test]
async fn attack_29_accept_is_dropped_at_every_wait_server() {
    let _: WebSocket = dropped_at_every_wait(asks, openline::accept).await;
    let acceptor = Acceptor::default();
    let _: WebSocket = dropped_at_every_wait(asks, |stream| acceptor.accept(stream)).await;
}

#[tokio::test]
async fn attack_29_read_is_dropped_at_every_wait_server() {
    let acceptor = Acceptor::default();
    let opening = dropped_at_every_wait(asks, |stream| acceptor.read(stream)).await;
    assert_eq!(opening.request().uri(), "/chat");
}

/// An answer that was begun is never finished by another: the client gets the beginning of a `101`, and the end of the
/// stream.
#[tokio::test]
async fn attack_29_an_answer_is_dropped_at_every_wait_server() {
    for refuse in [false, true] {
        let mut lengths = Vec::new();
        for waits in 1.. {
            let (mut there, here) = duplex(1 << 16);
            there.write_all(REQUEST.as_bytes()).await.unwrap();
            // The client has said all: a refusal waits for it to leave.
            there.shutdown().await.unwrap();
            let stream = Stream::new(Grudging::new(here));
            let opening = Acceptor::default().read(stream).await.unwrap();
            let answered = match refuse {
                true => poll_times(opening.reject(http::Response::new("no")), waits).await,
                false => poll_times(opening.accept(), waits)
                    .await
                    .map(|opened| opened.map(drop)),
            };
            let mut answer = String::new();
            there.read_to_string(&mut answer).await.unwrap();
            let status = if refuse {
                "HTTP/1.1 200 OK\r\n"
            } else {
                "HTTP/1.1 101 Switching"
            };
            assert!(
                answer.starts_with(status) || status.starts_with(&answer),
                "{answer}"
            );
            lengths.push(answer.len());
            if let Some(answered) = answered {
                answered.unwrap();
                let end = if refuse { "\r\n\r\nno" } else { "\r\n\r\n" };
                assert!(answer.ends_with(end), "{answer}");
                break;
            }
        }
        assert!(lengths.len() > 50, "only {} waits", lengths.len());
        assert!(
            lengths.is_sorted(),
            "a byte was sent twice, or lost: {lengths:?}"
        );
    }
}

#[tokio::test]
async fn attack_29_connect_over_is_dropped_at_every_wait_client() {
    let client = Client::new("ws://x/").unwrap().config(Config::default());
    let (ws, response) =
        dropped_at_every_wait(answers, |stream| client.clone().connect_over(stream)).await;
    assert_eq!(response.status(), 101);
    drop(ws);
}

/// What follows the head in the same read is the WebSocket's, whichever future took it.
#[tokio::test]
async fn attack_29_frames_behind_a_head_outlive_the_reads_that_were_dropped_server() {
    let (mut there, here) = duplex(1 << 16);
    let hello = b"\x81\x85\0\0\0\0hello";
    let bytes = [REQUEST.as_bytes(), hello, &hello[..4]].concat();
    there.write_all(&bytes).await.unwrap();
    let mut ws = openline::accept(Stream::new(here)).await.unwrap();
    for _ in 0..3 {
        if let Some(message) = crate::common::once(ws.next()).await {
            assert_eq!(message.unwrap().unwrap().as_text(), Some("hello"));
        }
    }
    there.write_all(&hello[4..]).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hello"));
}
