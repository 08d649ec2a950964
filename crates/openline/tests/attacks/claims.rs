//! Bytes that claim more than they bring.

use openline::{
    Client, Config, Error, HeadError, Message, ProtocolError, SendError, Stream, WebSocket,
};
use tokio::io::{AsyncWriteExt, duplex};

use crate::common::{REQUEST, frame, once, read_head};
use crate::{SCRATCH, memory, opened, runtime};

/// A header of a message of 16 MiB, in the form of its role.
fn claim(to_server: bool) -> Vec<u8> {
    let mut header = vec![0x82, 127, 0, 0, 0, 0, 1, 0, 0, 0];
    if to_server {
        header[1] |= 0x80;
        header.extend([0; 4]);
    }
    header
}

/// 8 GB were reserved by a peer for 500 headers of 14 bytes.
#[test]
fn defect_6_500_connections_that_claim_16_mib_cost_kilobytes() {
    let runtime = runtime();
    let config = Config::default().max_message(16 << 20);
    for server in [true, false] {
        let mut ends = Vec::new();
        for _ in 0..500 {
            ends.push(runtime.block_on(opened(server, config.clone())));
        }
        let ((), used) = memory(&runtime, async {
            for (ws, there) in &mut ends {
                there.write_all(&claim(server)).await.unwrap();
                assert!(once(ws.next()).await.is_none());
                there.write_all(b"x").await.unwrap();
                assert!(once(ws.next()).await.is_none());
            }
        });
        let allowed = 500 * 9 * 1024 + SCRATCH as u64;
        assert!(used.peak <= allowed, "server: {server}, {used:?}");
    }
}

#[test]
fn attack_02_a_message_takes_what_came_of_it_and_no_more() {
    let runtime = runtime();
    let config = Config::default().max_message(16 << 20);
    for server in [true, false] {
        let (mut ws, mut there) = runtime.block_on(opened(server, config.clone()));
        let came = vec![b'x'; 1 << 20];
        let ((), used) = memory(&runtime, async {
            there.write_all(&claim(server)).await.unwrap();
            let write = there.write_all(&came);
            let read = async { while once(ws.next()).await.is_none() {} };
            tokio::select! {
                written = write => written.unwrap(),
                () = read => panic!("there was no whole message"),
            }
        });
        // Twice for a moment, while it grows; what the transport in memory holds; and the buffer for reads.
        let allowed = 3 * came.len() + 3 * SCRATCH;
        assert!(used.peak <= allowed as u64, "server: {server}, {used:?}");
    }
}

/// A peer that reads nothing: the program is told when enough waits, whether it has the connection whole or in halves.
#[test]
fn attack_03_what_waits_to_be_sent_is_bounded() {
    let runtime = runtime();
    let limit = 256 * 1024;
    for server in [true, false] {
        for split in [false, true] {
            let config = Config::default().max_outbox(limit);
            let (mut ws, _there) = runtime.block_on(opened(server, config));
            let is_full = |fed| match fed {
                Ok(()) => false,
                Err(Error::Send(SendError::Full { .. })) => true,
                Err(other) => panic!("{other}"),
            };
            let (kept, used) = memory(&runtime, async move {
                let message = || Message::from(vec![b'x'; 1000]);
                // A send that is not done, and so many that nobody waited for.
                if split {
                    let (mut sender, receiver) = ws.split();
                    for _ in 0..10_000 {
                        let _ = once(sender.send(message())).await;
                    }
                    while !is_full(sender.feed(message())) {}
                    return (None, Some((sender, receiver)));
                }
                for _ in 0..10_000 {
                    let _ = once(ws.send(message())).await;
                }
                while !is_full(ws.feed(message())) {}
                (Some(ws), None)
            });
            // A buffer that doubles, what the transport in memory holds, and the halves.
            let allowed = 4 * limit + 2 * SCRATCH;
            assert!(
                used.peak <= allowed as u64,
                "server: {server}, split: {split}, {used:?}"
            );
            drop(kept);
        }
    }
}

/// 2 MiB in reads of 16 bytes: parsed anew at each, they would be a hundred thousand million bytes.
#[tokio::test]
async fn defect_4_a_head_of_megabytes_is_not_read_over_and_over() {
    let size = 2 << 20;
    let config = Config::default().max_head(size);
    let acceptor = openline::Acceptor::default().config(config.clone());
    let client = Client::new("ws://x/").unwrap().config(config);
    for server in [true, false] {
        let (here, mut there) = duplex(16);
        let here = Stream::new(here);
        let talk = async {
            let (begin, refusal) = match server {
                true => ("GET / HTTP/1.1\r\nX: ", Some("HTTP/1.1 431 ")),
                false => ("HTTP/1.1 101 X\r\nX: ", None),
            };
            if !server {
                read_head(&mut there).await;
            }
            there.write_all(begin.as_bytes()).await.unwrap();
            // It is refused before all of it is taken.
            let _ = there.write_all(&vec![b'x'; size]).await;
            if let Some(refusal) = refusal {
                let answer = read_head(&mut there).await;
                assert!(answer.starts_with(refusal), "{answer}");
            }
        };
        let read = async {
            match server {
                true => acceptor.accept(here).await.map(drop),
                false => client.clone().connect_over(here).await.map(drop),
            }
        };
        let (result, ()) = tokio::join!(read, talk);
        assert!(
            matches!(result, Err(Error::Head(HeadError::TooLong { .. }))),
            "{result:?}"
        );
    }
}

/// A message that is over the limit in pieces, each of which is not.
#[tokio::test(start_paused = true)]
async fn defect_1_fragments_count_together_against_the_limit() {
    for server in [true, false] {
        let (mut ws, mut there) = opened(server, Config::default().max_message(1024)).await;
        there
            .write_all(&frame(server, 0x02, &[b'x'; 600]))
            .await
            .unwrap();
        there
            .write_all(&frame(server, 0x00, &[b'x'; 600]))
            .await
            .unwrap();
        let heard = ws.next().await;
        let error = ProtocolError::MessageTooBig { limit: 1024 };
        assert!(
            matches!(heard, Some(Err(Error::Protocol(e))) if e == error),
            "{heard:?}"
        );
        assert!(ws.next().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn attack_13_frames_and_fragments_are_limited_by_default_client() {
    let big = frame(false, 0x82, &vec![0; (1 << 20) + 1]);
    let many = [
        frame(false, 0x02, b"x"),
        frame(false, 0x00, b"x").repeat(16_384),
    ]
    .concat();
    let too_big = ProtocolError::MessageTooBig { limit: 1 << 20 };
    let too_many = ProtocolError::TooManyFragments { limit: 16_384 };
    for (bytes, expected) in [(big, too_big), (many, too_many)] {
        let (mut ws, mut there): (WebSocket, _) = opened(false, Config::default()).await;
        let talk = async { drop(there.write_all(&bytes).await) };
        let (heard, ()) = tokio::join!(ws.next(), talk);
        assert!(
            matches!(heard, Some(Err(Error::Protocol(e))) if e == expected),
            "{heard:?}"
        );
    }
}

/// As many fields as fit the head's limit.
#[test]
fn attack_07_many_fields_take_no_more_than_their_bytes() {
    let runtime = runtime();
    let fields = "a:\r\n".repeat(4000);
    for server in [true, false] {
        let (here, mut there) = duplex(1 << 16);
        let here = Stream::new(here);
        let (result, used) = memory(&runtime, async {
            if server {
                let request = REQUEST.replace("\r\n\r\n", &format!("\r\n{fields}\r\n"));
                there.write_all(request.as_bytes()).await.unwrap();
                there.shutdown().await.unwrap();
                return openline::accept(here).await.map(drop);
            }
            let answer = format!("HTTP/1.1 101 X\r\n{fields}\r\n");
            there.write_all(answer.as_bytes()).await.unwrap();
            let client = Client::new("ws://x/").unwrap();
            client.connect_over(here).await.map(drop)
        });
        assert!(
            matches!(result, Err(Error::Head(HeadError::TooManyFields))),
            "{result:?}"
        );
        // The head here and in the transport, each in a buffer that doubles, and the request that is made of it.
        assert!(used.peak <= 10 * 16 * 1024, "server: {server}, {used:?}");
        assert!(used.kept <= 40 * 1024, "server: {server}, {used:?}");
    }
}
