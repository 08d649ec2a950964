//! Messages that are read in pieces, to which the limits of whole ones do not apply: what is bounded all the same.

use std::time::Duration;

use openline::{Config, Deflate, Error, ProtocolError, Timeout};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use crate::bombs::bomb;
use crate::common::{frame, once};
use crate::{SCRATCH, memory, opened, runtime};

/// A quarter of a gigabyte out of a quarter of a megabyte, each piece given away as it comes.
#[test]
fn attack_09_a_bomb_in_pieces_takes_no_more_than_a_piece() {
    let runtime = runtime();
    let endless = [&runtime.block_on(bomb())[..], b"\x00\x00\xff\xff"]
        .concat()
        .repeat(256);
    for server in [true, false] {
        let config = Config::default().deflate(Some(Deflate::default()));
        let (mut ws, mut there) = runtime.block_on(opened(server, config));
        let bytes = frame(server, 0xc2, &endless);
        let (total, used) = memory(&runtime, async {
            let talk = there.write_all(&bytes);
            let hear = async {
                let mut reader = ws.next_reader().await.unwrap().unwrap();
                let (mut total, mut longest) = (0, 0);
                while let Some(chunk) = reader.chunk().await.unwrap() {
                    total += chunk.len();
                    longest = longest.max(chunk.len());
                }
                assert!(longest <= SCRATCH, "{longest} bytes in one piece");
                total
            };
            tokio::join!(hear, talk).0
        });
        assert_eq!(total, 256 << 20);
        // zlib's window, the transport in memory, and the buffer for reads.
        assert!(
            used.peak <= (128 * 1024 + 4 * SCRATCH) as u64,
            "server: {server}, {used:?}"
        );
    }
}

/// What nobody reads any more still has to be inflated, since what follows may refer to it: but not all at once.
#[tokio::test]
async fn attack_09_a_bomb_that_nobody_reads_does_not_have_the_thread_for_itself() {
    const MEGABYTES: usize = 32;
    let endless = [&bomb().await[..], b"\x00\x00\xff\xff"]
        .concat()
        .repeat(MEGABYTES);
    for server in [true, false] {
        for in_pieces in [true, false] {
            let config = Config::default().deflate(Some(Deflate::default()));
            let (mut ws, mut there) = opened(server, config).await;
            let bytes = [
                frame(server, 0xc2, &endless),
                frame(server, 0x81, b"behind it"),
            ];
            there.write_all(&bytes.concat()).await.unwrap();
            drop(ws.next_reader().await.unwrap().unwrap());
            let mut turns = 0;
            loop {
                turns += 1;
                let heard = match in_pieces {
                    true => once(async { ws.next_reader().await?.ok()?.chunk().await.ok()? }).await,
                    false => once(async { Some(ws.next().await?.ok()?.into_bytes()) }).await,
                };
                if let Some(heard) = heard {
                    assert_eq!(heard.unwrap(), "behind it");
                    break;
                }
            }
            assert!(turns >= MEGABYTES, "{turns} turns for {MEGABYTES} MiB");
        }
    }
}

/// Claims, fragments and all: nothing is kept of what was given away.
#[test]
fn attack_04_fragments_in_pieces_take_no_memory() {
    let runtime = runtime();
    for server in [true, false] {
        for payload in [&b""[..], b"x"] {
            let (mut ws, mut there) = runtime.block_on(opened(server, Config::default()));
            let mut bytes = frame(server, 0x02, payload);
            bytes.extend(frame(server, 0x00, payload).repeat(200_000));
            bytes.extend(frame(server, 0x80, payload));
            let (total, used) = memory(&runtime, async {
                let talk = there.write_all(&bytes);
                let hear = async {
                    let mut reader = ws.next_reader().await.unwrap().unwrap();
                    let mut total = 0;
                    while let Some(chunk) = reader.chunk().await.unwrap() {
                        total += chunk.len();
                    }
                    total
                };
                tokio::join!(hear, talk).0
            });
            assert_eq!(total, 200_002 * payload.len());
            assert!(
                used.peak <= 4 * SCRATCH as u64,
                "server: {server}, {used:?}"
            );
        }
    }
}

/// The check of text does not wait for the end of a message that may have none.
#[tokio::test]
async fn attack_20_text_in_pieces_is_checked_as_it_comes() {
    for server in [true, false] {
        let (mut ws, mut there) = opened(server, Config::default()).await;
        let bytes = [
            frame(server, 0x01, b"good \xce"),
            frame(server, 0x00, b"\xff"),
        ]
        .concat();
        there.write_all(&bytes).await.unwrap();
        drop(there);
        let mut reader = ws.next_reader().await.unwrap().unwrap();
        let error = loop {
            match reader.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it was taken for text"),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, Error::Protocol(ProtocolError::InvalidUtf8)),
            "{error:?}"
        );
    }
}

/// How long a message may take is its reader's choice. What nobody reads any more is not: the peer must not hold up what the
/// program waits for by a message that never ends.
#[tokio::test(start_paused = true)]
async fn attack_30_what_is_left_of_a_message_that_nobody_reads_has_a_deadline() {
    for server in [true, false] {
        let (mut ws, mut there) = opened(server, Config::default()).await;
        there.write_all(&frame(server, 0x02, b"x")).await.unwrap();
        drop(ws.next_reader().await.unwrap().unwrap());
        let began = Instant::now();
        let drip = async {
            while there.write_all(&frame(server, 0x00, b"x")).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
                assert!(
                    began.elapsed() < Duration::from_secs(3600),
                    "it goes on for ever"
                );
            }
        };
        let hear = async {
            let heard = ws.next().await;
            drop(ws);
            heard
        };
        let (heard, ()) = tokio::join!(hear, drip);
        assert!(
            matches!(heard, Some(Err(Error::Timeout(Timeout::Message)))),
            "{heard:?}"
        );
    }
}
