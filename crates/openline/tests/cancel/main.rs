//! Futures that are dropped at every point where they wait: nothing is lost, doubled or torn.
//!
//! All of the crate's public futures but three are here; `Client::connect` and `Reconnecting::next` are dropped in
//! `tests/client`, and `Upgrade`, which is itself the future, in `tests/hyper.rs`.

#[path = "../common/mod.rs"]
mod common;

mod opening;
mod pieces;
mod serving;

use common::grudging::Grudging;
use common::{once, poll_times};
use openline::{CloseCode, Config, WebSocket};

fn pair() -> (WebSocket, WebSocket) {
    let (here, there) = tokio::io::duplex(1 << 16);
    let config = Config::default();
    (
        WebSocket::client(Grudging::new(here), config.clone().into()),
        WebSocket::server(Grudging::new(there), config.into()),
    )
}

/// Sends words with long characters and an empty one, a ping behind each; tells which.
async fn say_words(ws: &mut WebSocket) -> [&'static str; 4] {
    let words = ["a", "größer", "", "€€€"];
    for text in words {
        ws.send(text).await.unwrap();
        ws.feed_ping(b"p").unwrap();
    }
    ws.flush().await.unwrap();
    words
}

#[tokio::test]
async fn attack_29_next_is_dropped_at_every_wait() {
    let (mut client, mut server) = pair();
    // Fragments of a byte each, a ping in the middle, text with long characters: every state of the parser is left.
    let expected = say_words(&mut client).await;
    let mut got = Vec::new();
    let mut drops = 0;
    while got.len() < expected.len() {
        match once(server.next()).await {
            Some(message) => got.push(message.unwrap().unwrap().as_text().unwrap().to_owned()),
            None => drops += 1,
        }
    }
    assert_eq!(got, expected);
    assert!(drops > 40, "only {drops} futures were dropped");
}

#[tokio::test]
async fn attack_29_send_is_dropped_at_every_wait() {
    let (mut client, mut server) = pair();
    let expected: Vec<String> = (0..20).map(|n| format!("message {n}")).collect();
    for text in &expected {
        // Dropped after its first wait: the message is queued, once. The rest is done by whoever comes next.
        assert!(once(client.send(text.as_str())).await.is_none());
        for _ in 0..7 {
            let _ = once(client.flush()).await;
        }
    }
    client.flush().await.unwrap();
    for text in &expected {
        assert_eq!(
            server.next().await.unwrap().unwrap().as_text(),
            Some(text.as_str())
        );
    }
}

#[tokio::test]
async fn attack_29_close_is_dropped_at_every_wait() {
    let (mut client, mut server) = pair();
    client.feed("before").unwrap();
    let (mut closed, mut heard) = (None, Vec::new());
    let mut drops = 0;
    while closed.is_none() {
        closed = once(client.close(CloseCode::NORMAL, "bye")).await;
        drops += 1;
        if let Some(Some(message)) = once(server.next()).await {
            heard.push(message.unwrap().as_text().unwrap().to_owned());
        }
    }
    assert!(drops > 20, "only {drops} futures were dropped");
    assert_eq!(heard, ["before"]);
    assert!(closed.unwrap().unwrap().clean);
    assert!(server.next().await.is_none());
    assert!(server.closed().unwrap().clean);
}

#[tokio::test]
async fn attack_29_halves_are_dropped_at_every_wait() {
    let (client, server) = pair();
    let (mut sender, _keep) = client.split();
    let (_, mut receiver) = server.split();
    let expected: Vec<String> = (0..20).map(|n| format!("message {n}")).collect();
    let mut got = Vec::new();
    for text in &expected {
        let _ = once(sender.send(text.as_str())).await;
    }
    while got.len() < expected.len() {
        let _ = once(sender.flush()).await;
        if let Some(message) = once(receiver.next()).await {
            got.push(message.unwrap().unwrap().as_text().unwrap().to_owned());
        }
    }
    assert_eq!(got, expected);
}

#[tokio::test]
async fn attack_29_flush_is_dropped_at_every_wait() {
    let (mut client, mut server) = pair();
    let expected: Vec<String> = (0..20).map(|n| format!("message {n}")).collect();
    for text in &expected {
        client.feed(text.as_str()).unwrap();
    }
    let mut drops = 0;
    while once(client.flush()).await.is_none() {
        drops += 1;
    }
    assert!(drops > 100, "only {drops} futures were dropped");
    for text in &expected {
        let message = server.next().await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some(text.as_str()));
    }
}

/// A future that waited for room when it was dropped has queued nothing.
#[tokio::test]
async fn attack_29_a_send_that_waits_for_room_is_dropped() {
    for split in [false, true] {
        let (here, there) = tokio::io::duplex(1);
        let config = Config::default().max_outbox(1);
        let mut client = WebSocket::client(here, config.into());
        client.feed("first").unwrap();
        let mut server = WebSocket::server(there, Config::default().into());
        let told = async {
            let mut told = Vec::new();
            while let Some(Ok(message)) = server.next().await {
                told.push(message.as_text().unwrap().to_owned());
            }
            told
        };
        let talk = async {
            if split {
                let (mut sender, mut receiver) = client.split();
                for _ in 0..100 {
                    // Its one byte of room is taken, and nobody has read it.
                    let send = std::pin::pin!(sender.send("second"));
                    assert!(poll_times(send, 1).await.is_none());
                }
                sender.flush().await.unwrap();
                sender.close(CloseCode::NORMAL, "").await.unwrap();
                assert!(receiver.next().await.is_none());
            } else {
                for _ in 0..100 {
                    let send = std::pin::pin!(client.send("second"));
                    assert!(poll_times(send, 1).await.is_none());
                }
                client.flush().await.unwrap();
                client.close(CloseCode::NORMAL, "").await.unwrap();
            }
        };
        // `talk` begins, and lets nobody read before it flushes.
        let ((), told) = tokio::join!(talk, told);
        assert_eq!(told, ["first"], "split: {split}");
    }
}

/// Where bytes leave one by one, some futures are dropped before their message was queued and some behind: none is queued
/// twice, torn, or out of order.
#[tokio::test]
async fn attack_29_sends_that_are_dropped_come_once_or_not_at_all() {
    for split in [false, true] {
        let (here, there) = tokio::io::duplex(1 << 16);
        let config = Config::default().max_outbox(1);
        let mut client = WebSocket::client(Grudging::new(here), config.into());
        let mut server = WebSocket::server(there, Config::default().into());
        if split {
            let (mut sender, mut receiver) = client.split();
            for number in 0..1000 {
                let _ = once(sender.send(number.to_string())).await;
            }
            sender.send("last").await.unwrap();
            let close = async {
                sender.close(CloseCode::NORMAL, "").await.unwrap();
                receiver.next().await
            };
            let (closed, ()) = tokio::join!(close, numbers(&mut server));
            assert!(closed.is_none());
        } else {
            for number in 0..1000 {
                let _ = once(client.send(number.to_string())).await;
            }
            client.send("last").await.unwrap();
            let close = client.close(CloseCode::NORMAL, "");
            let (closed, ()) = tokio::join!(close, numbers(&mut server));
            assert!(closed.unwrap().clean);
        }
    }
}

/// The messages up to "last": numbers that rise, not all of them and not none.
async fn numbers(server: &mut WebSocket) {
    let mut told = Vec::new();
    let mut last = false;
    while let Some(message) = server.next().await {
        let message = message.unwrap();
        let text = message.as_text().unwrap();
        assert!(!last, "{text} came behind the last");
        last = text == "last";
        if !last {
            told.push(text.parse::<u32>().unwrap());
        }
    }
    assert!(last);
    assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "{told:?}");
    assert!((10..500).contains(&told.len()), "{} came", told.len());
}

#[tokio::test]
async fn attack_29_a_senders_close_is_dropped_at_every_wait() {
    let (client, mut server) = pair();
    let (mut sender, mut receiver) = client.split();
    sender.feed("before").unwrap();
    let mut drops = 0;
    // The first call begins the close, and the others are told that it has begun.
    assert!(once(sender.close(CloseCode(4000), "bye")).await.is_none());
    while once(sender.flush()).await.is_none() {
        drops += 1;
        assert!(matches!(
            once(sender.close(CloseCode(4001), "no")).await,
            Some(Ok(()))
        ));
    }
    assert!(drops > 5, "only {drops} futures were dropped");
    assert_eq!(
        server.next().await.unwrap().unwrap().as_text(),
        Some("before")
    );
    let (there, here) = tokio::join!(server.next(), receiver.next());
    assert!(there.is_none() && here.is_none());
    let closed = receiver.closed().unwrap();
    assert!(closed.clean && !closed.by_peer);
    assert_eq!(closed.sent.unwrap().to_string(), "4000 (bye)");
}

/// A read that was dropped in the middle of a header once made the next one take payload for a header: bytes of the
/// attacker's became frames of the peer's.
#[tokio::test]
async fn defect_3_a_read_dropped_in_the_middle_of_a_header_takes_no_payload_for_one() {
    // Headers of all three lengths, cut at each of their bytes; the payload looks like frames.
    let evil = b"\x88\x80\0\0\0\0";
    for server in [true, false] {
        for size in [6, 600, 66_000] {
            let payload = evil.repeat(size / evil.len());
            let bytes = common::frame(server, 0x82, &payload);
            let header = bytes.len() - payload.len();
            for cut in 1..header + 2 {
                let (here, mut there) = tokio::io::duplex(1 << 18);
                let mut ws = match server {
                    true => WebSocket::server(here, Config::default().into()),
                    false => WebSocket::client(here, Config::default().into()),
                };
                use tokio::io::AsyncWriteExt as _;
                there.write_all(&bytes[..cut]).await.unwrap();
                tokio::select! {
                    biased;
                    heard = ws.next() => panic!("{heard:?} of {cut} bytes"),
                    () = std::future::ready(()) => {}
                }
                there.write_all(&bytes[cut..]).await.unwrap();
                let heard = ws.next().await.unwrap().unwrap();
                assert_eq!(heard.as_bytes(), &payload, "cut at {cut}");
            }
        }
    }
}
