//! Messages in pieces, and lent ones, whose futures are dropped at every point where they wait.

use openline::{CloseCode, Config, Kind, WebSocket};
use tokio::io::AsyncWriteExt;

use crate::common::{frame, once};
use crate::{pair, say_words};

#[tokio::test]
async fn attack_29_reading_in_pieces_is_dropped_at_every_wait() {
    let (here, mut there) = tokio::io::duplex(1 << 16);
    let here = crate::common::grudging::Grudging::new(here);
    let mut ws = WebSocket::server(here, Config::default().into());
    let mut bytes = Vec::new();
    let expected = ["in fragments", "größer", ""];
    for text in expected {
        let (start, end) = text.as_bytes().split_at(text.len() / 2);
        bytes.extend(frame(true, 0x01, start));
        bytes.extend(frame(true, 0x89, b"p"));
        bytes.extend(frame(true, 0x80, end));
    }
    there.write_all(&bytes).await.unwrap();
    let mut drops = 0;
    for text in expected {
        let mut got = Vec::new();
        // The reader borrows the connection: a future that is dropped has begun none.
        loop {
            tokio::task::yield_now().await;
            let mut next = std::pin::pin!(ws.next_reader());
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let polled = next.as_mut().poll(&mut cx);
            let std::task::Poll::Ready(reader) = polled else {
                drops += 1;
                continue;
            };
            let mut reader = reader.unwrap().unwrap();
            assert_eq!(reader.kind(), Kind::Text);
            loop {
                match once(reader.chunk()).await {
                    Some(Ok(Some(chunk))) => got.extend(chunk),
                    Some(Ok(None)) => break,
                    Some(Err(error)) => panic!("{error}"),
                    None => drops += 1,
                }
            }
            break;
        }
        assert_eq!(String::from_utf8(got).unwrap(), text);
    }
    assert!(drops > 30, "only {drops} futures were dropped");
}

#[tokio::test]
async fn attack_29_reading_what_is_lent_is_dropped_at_every_wait() {
    let (mut client, mut server) = pair();
    let expected = say_words(&mut client).await;
    let (_, receiver) = server.halves();
    let (mut got, mut drops) = (Vec::new(), 0);
    while got.len() < expected.len() {
        match once(async {
            receiver
                .next_lent()
                .await
                .map(|m| m.unwrap().as_text().unwrap().to_owned())
        })
        .await
        {
            Some(text) => got.push(text.unwrap()),
            None => drops += 1,
        }
    }
    assert_eq!(got, expected);
    assert!(drops > 40, "only {drops} futures were dropped");
}

/// A write that was dropped has sent a part of its bytes, from the first on and none twice; the message goes on behind it.
#[tokio::test]
async fn attack_29_writing_in_pieces_is_dropped_at_every_wait() {
    let (mut client, mut server) = pair();
    let mut drops = 0;
    let mut writer = client.writer(Kind::Binary).await.unwrap();
    for number in 0..20_u8 {
        drops += usize::from(once(writer.write(&[number; 10])).await.is_none());
    }
    writer.finish().await.unwrap();
    client.send("behind it").await.unwrap();
    let message = server.next().await.unwrap().unwrap();
    assert_eq!(
        message.as_bytes(),
        &(0..20).flat_map(|n| [n; 10]).collect::<Vec<u8>>()
    );
    let behind = server.next().await.unwrap().unwrap();
    assert_eq!(behind.as_text(), Some("behind it"));
    assert!(drops > 10, "only {drops} futures were dropped");
}

/// The end of a message is queued or it is not: dropped before, the message can't be whole, and the peer is told so.
#[tokio::test]
async fn attack_29_the_end_of_a_message_in_pieces_is_dropped_at_every_wait() {
    let (mut client, mut server) = pair();
    for number in 0..10_u8 {
        let mut writer = client.writer(Kind::Binary).await.unwrap();
        writer.write(&[number; 10]).await.unwrap();
        // Its frame is queued at the first poll, and left to whoever comes next.
        assert!(once(writer.finish()).await.is_none());
    }
    client.flush().await.unwrap();
    for number in 0..10_u8 {
        let message = server.next().await.unwrap().unwrap();
        assert_eq!(message.as_bytes()[..], [number; 10]);
    }
    let mut writer = client.writer(Kind::Binary).await.unwrap();
    writer.write(b"a part").await.unwrap();
    drop(writer);
    let (here, there) = tokio::join!(client.next(), server.next());
    assert!(here.is_none() && there.is_none(), "{here:?} {there:?}");
    let closed = server.closed().unwrap();
    assert_eq!(closed.received.unwrap().code, CloseCode::INTERNAL);
}
