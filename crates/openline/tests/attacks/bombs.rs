//! What is small on the wire.

use openline::{Client, Config, Deflate, Error, HandshakeError, ProtocolError, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::common::{frame, opening_answer, read_head};
use crate::{SCRATCH, memory, opened, runtime};

/// A message of a megabyte of zeros, without its header: a kilobyte.
pub(crate) async fn bomb() -> Vec<u8> {
    let config = Config::default().deflate(Some(Deflate::default().level(9)));
    let (mut ws, mut there) = opened(true, config).await;
    ws.send(vec![0; 1 << 20]).await.unwrap();
    drop(ws);
    let mut bytes = Vec::new();
    there.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes[..2], [0xc2, 126]);
    bytes.split_off(4)
}

#[test]
fn attack_09_a_bomb_stops_at_the_limit() {
    let runtime = runtime();
    let limit = 100_000;
    // A gigabyte: the same blocks go on with the message.
    let endless = [&runtime.block_on(bomb())[..], b"\x00\x00\xff\xff"]
        .concat()
        .repeat(1024);
    for server in [true, false] {
        for (first, alone) in [(0xc1, false), (0xc1, true), (0xc2, false), (0xc2, true)] {
            let deflate = Deflate::default()
                .server_no_context_takeover(alone)
                .client_no_context_takeover(alone);
            let config = Config::default().max_message(limit).deflate(Some(deflate));
            let (mut ws, mut there) = runtime.block_on(opened(server, config));
            let bytes = frame(server, first, &endless);
            let (heard, used) = memory(&runtime, async {
                let talk = async { drop(there.write_all(&bytes).await) };
                let hear = async {
                    let heard = ws.next().await;
                    drop(ws);
                    heard
                };
                tokio::join!(hear, talk).0
            });
            let error = ProtocolError::MessageTooBig { limit };
            assert!(
                matches!(heard, Some(Err(Error::Protocol(e))) if e == error),
                "{heard:?}"
            );
            // The message, twice while it grows; zlib's window; the transport in memory, and the buffer for reads.
            let allowed = 2 * limit + 128 * 1024 + 3 * SCRATCH;
            assert!(
                used.peak <= allowed as u64,
                "server: {server}, {first:#x}, {used:?}"
            );
        }
    }
}

/// Refusals without end: a body that is, one in chunks, and one of a single chunk that is said to be endless.
#[test]
fn attack_13_a_refusals_body_is_bounded_client() {
    let runtime = runtime();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let endless = "x".repeat(0x10000);
    for (head, body) in [
        ("", &endless),
        ("Content-Length: 99999999999999999999\r\n", &endless),
        ("Transfer-Encoding: chunked\r\n", &chunk),
        (
            "Transfer-Encoding: chunked\r\n",
            &format!("ffffffffffffffff\r\n{endless}"),
        ),
    ] {
        let (here, mut there) = duplex(4096);
        let (result, used) = memory(&runtime, async {
            let talk = async {
                read_head(&mut there).await;
                let head = format!("HTTP/1.1 500 X\r\n{head}\r\n");
                there.write_all(head.as_bytes()).await.unwrap();
                let mut said = 0;
                while there.write_all(body.as_bytes()).await.is_ok() {
                    said += body.len();
                    assert!(said < 1 << 20, "it reads on and on");
                }
            };
            let client = Client::new("ws://x/").unwrap();
            tokio::join!(client.connect_over(Stream::new(here)), talk).0
        });
        let Err(Error::Handshake { response, .. }) = result else {
            panic!("{result:?}")
        };
        assert_eq!(response.body().len(), 64 * 1024, "{head}");
        // A buffer that doubles.
        assert!(used.peak <= 3 * 64 * 1024 + 32 * 1024, "{head}: {used:?}");
    }
}

/// What a server sends behind its `101` waits in the socket until it is read.
#[test]
fn attack_13_what_follows_a_101_is_not_hoarded_client() {
    let runtime = runtime();
    let (here, mut there) = duplex(4096);
    let (ws, used) = memory(&runtime, async {
        let talk = async {
            let request = read_head(&mut there).await;
            let answer = opening_answer(&request) + "\r\n";
            there.write_all(answer.as_bytes()).await.unwrap();
            let more = frame(false, 0x82, &[0; 1000]);
            loop {
                there.write_all(&more).await.unwrap();
            }
        };
        let client = Client::new("ws://x/").unwrap();
        tokio::select! {
            connected = client.connect_over(Stream::new(here)) => connected.unwrap().0,
            () = talk => unreachable!(),
        }
    });
    assert!(used.peak <= 64 * 1024, "{used:?}");
    drop(ws);
}

#[test]
fn attack_13_a_head_without_end_is_cut_off_client() {
    let runtime = runtime();
    let (here, mut there) = duplex(4096);
    let (result, used) = memory(&runtime, async {
        let talk = async {
            read_head(&mut there).await;
            there.write_all(b"HTTP/1.1 101 X\r\nX: ").await.unwrap();
            while there.write_all(&[b'x'; 100]).await.is_ok() {}
        };
        let client = Client::new("ws://x/").unwrap();
        tokio::join!(client.connect_over(Stream::new(here)), talk).0
    });
    let error = openline::HeadError::TooLong { limit: 16_384 };
    assert!(matches!(result, Err(Error::Head(e)) if e == error));
    assert!(used.peak <= 4 * 16 * 1024 + 16 * 1024, "{used:?}");
}

/// A number out of range once ended the whole process.
#[tokio::test]
async fn attack_10_window_bits_out_of_range_are_an_error_client() {
    for bits in ["7", "16", "255", "-8", "99999999999999999999"] {
        let (here, mut there) = duplex(4096);
        let talk = async {
            let request = read_head(&mut there).await;
            assert!(request.contains("permessage-deflate"), "{request}");
            let answer = opening_answer(&request);
            let said = format!(
                "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits={bits}\r\n\r\n"
            );
            there.write_all((answer + &said).as_bytes()).await.unwrap();
            there.shutdown().await.unwrap();
        };
        let config = Config::default().deflate(Some(Deflate::default()));
        let client = Client::new("ws://x/").unwrap().config(config);
        let (result, ()) = tokio::join!(client.connect_over(Stream::new(here)), talk);
        let Err(Error::Handshake { error, .. }) = result else {
            panic!("{result:?}")
        };
        assert!(matches!(error, HandshakeError::Deflate(_)), "{error:?}");
    }
}
