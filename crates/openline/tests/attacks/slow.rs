//! Peers that take their time, on a clock that is held still.

use std::time::Duration;

use openline::{Client, CloseCode, Config, Error, Stream, Timeout};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::{Instant, sleep};

use crate::common::{frame, read_head};
use crate::opened;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn attack_30_a_message_that_trickles_in_is_cut_off() {
    for server in [true, false] {
        for fragments in [true, false] {
            let (mut ws, mut there) = opened(server, Config::default()).await;
            let began = Instant::now();
            let drip = async {
                let begin = match fragments {
                    true => frame(server, 0x02, b"x"),
                    // A frame of 125 bytes, without its payload.
                    false => frame(server, 0x82, &[0; 125])[..if server { 6 } else { 2 }].to_vec(),
                };
                there.write_all(&begin).await.unwrap();
                loop {
                    sleep(SECOND).await;
                    let more = match fragments {
                        true => [frame(server, 0x89, b""), frame(server, 0x00, b"x")].concat(),
                        false => vec![b'x'],
                    };
                    if there.write_all(&more).await.is_err() {
                        break;
                    }
                }
            };
            let hear = async {
                let heard = ws.next().await;
                let after = began.elapsed().as_secs();
                drop(ws);
                (heard, after)
            };
            let ((heard, after), ()) = tokio::join!(hear, drip);
            assert!(
                matches!(heard, Some(Err(Error::Timeout(Timeout::Message)))),
                "{heard:?}"
            );
            // At 60 s it fails, and the peer has 5 s more to read why and to leave.
            assert!(
                (60..=65).contains(&after),
                "{after} s, server: {server}, fragments: {fragments}"
            );
        }
    }
}

/// Whether it is read meanwhile or not, and whoever closes.
#[tokio::test(start_paused = true)]
async fn attack_30_a_peer_that_answers_no_close_and_goes_on_talking_is_left() {
    for server in [true, false] {
        let (mut ws, mut there) = opened(server, Config::default()).await;
        let began = Instant::now();
        let talk = async {
            while there.write_all(&frame(server, 0x82, b"more")).await.is_ok() {
                sleep(SECOND / 10).await;
            }
        };
        let close = async {
            let closed = ws.close(CloseCode::NORMAL, "").await.unwrap();
            let after = began.elapsed().as_secs();
            drop(ws);
            (closed, after)
        };
        let ((closed, after), ()) = tokio::join!(close, talk);
        assert!(!closed.clean);
        assert_eq!(after, 5, "server: {server}");
    }
}

/// A server whose Close was answered is done at once; a client waits for its server to end the stream, but not for ever.
#[tokio::test(start_paused = true)]
async fn attack_30_a_stream_that_is_not_ended_after_the_close_is_left() {
    for server in [true, false] {
        let (mut ws, mut there) = opened(server, Config::default()).await;
        there
            .write_all(&frame(server, 0x88, b"\x03\xe8"))
            .await
            .unwrap();
        let began = Instant::now();
        assert!(ws.next().await.is_none());
        assert!(ws.closed().unwrap().clean);
        assert_eq!(began.elapsed().as_secs(), if server { 0 } else { 5 });
        drop(ws);
        there.read_to_end(&mut Vec::new()).await.unwrap();
    }
}

/// Each byte in time, and the whole never: the refusal is told all the same, with what came of it.
#[tokio::test(start_paused = true)]
async fn attack_30_a_refusal_that_drips_ends_by_the_deadline_client() {
    for head in [
        "",
        "Content-Length: 60000\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let (here, mut there) = duplex(4096);
        let began = Instant::now();
        let drip = async {
            read_head(&mut there).await;
            let head = format!("HTTP/1.1 503 X\r\n{head}\r\n");
            there.write_all(head.as_bytes()).await.unwrap();
            while there.write_all(b"1\r\nx\r\n").await.is_ok() {
                sleep(SECOND).await;
            }
        };
        let connect = async {
            let client = Client::new("ws://x/").unwrap();
            let result = client.connect_over(Stream::new(here)).await;
            (result, began.elapsed().as_secs())
        };
        let ((result, after), ()) = tokio::join!(connect, drip);
        let Err(Error::Handshake { response, .. }) = result else {
            panic!("{result:?}")
        };
        assert_eq!(response.status(), 503);
        assert!(!response.body().is_empty());
        assert_eq!(after, 10, "{head}");
    }
}
