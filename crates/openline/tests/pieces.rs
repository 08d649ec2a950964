//! Messages without buffering, over the whole library: readers, writers, halves, compression, ends in the middle.

use std::io;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use openline::{
    Acceptor, Client, CloseCode, Config, Deflate, Error, Kind, Message, SendError, WebSocket,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, duplex};
use tokio::net::TcpListener;

fn deflate() -> Config {
    Config::default().deflate(Some(Deflate::default().threshold(0)))
}

/// Two ends of one TCP connection.
async fn pair(config: Config) -> (WebSocket, WebSocket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let acceptor = Acceptor::default().config(config.clone());
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.unwrap()
    };
    let client = Client::new(&url).unwrap().config(config);
    let (connected, server) = tokio::join!(client.connect(), accept);
    (connected.unwrap().0, server)
}

/// Bytes that compress, and are told apart by where they stand.
fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i / 1000 % 251) as u8).collect()
}

#[tokio::test]
async fn a_long_message_goes_through_in_pieces_from_a_reader_to_a_reader() {
    const SIZE: usize = 8 << 20; // far over the limit of whole messages
    for config in [Config::default(), deflate()] {
        let (client, mut server) = pair(config).await;
        let (mut sender, mut receiver) = client.split();
        let sending = tokio::spawn(async move {
            let mut writer = sender.writer(Kind::Binary).await?;
            let sent = writer.write_from(&bytes(SIZE)[..]).await?;
            writer.finish().await?;
            sender.send("behind it").await?;
            Ok::<_, Error>(sent)
        });
        let pinged = tokio::spawn(async move { receiver.next().await });
        // A ping while the message comes is answered: the answer is the first thing that the client reads.
        server.feed_ping(b"still there?").unwrap();
        let mut reader = server.next_reader().await.unwrap().unwrap();
        assert_eq!(reader.kind(), Kind::Binary);
        let mut got = Vec::new();
        reader.read_to_end(&mut got).await.unwrap();
        assert!(got == bytes(SIZE), "{} bytes", got.len());
        let next = server.next().await.unwrap().unwrap();
        assert_eq!(next, Message::from("behind it"));
        assert_eq!(sending.await.unwrap().unwrap(), SIZE as u64);
        server.close(CloseCode::NORMAL, "").await.unwrap();
        assert!(pinged.await.unwrap().is_none());
    }
}

#[tokio::test]
async fn memory_does_not_grow_with_the_message() {
    const CHUNK: usize = 32 << 10;
    for (config, most) in [(Config::default(), 600_000), (deflate(), 1_200_000)] {
        let (client, mut server) = pair(config).await;
        let (mut sender, _receiver) = client.split();
        let chunk = bytes::Bytes::from(bytes(CHUNK));
        let run = async |chunks: usize, sender: &mut openline::Sender, server: &mut WebSocket| {
            let chunk = || Ok::<_, io::Error>(chunk.clone());
            let chunks = stream::iter(std::iter::repeat_with(chunk).take(chunks));
            let send = async {
                let mut writer = sender.writer(Kind::Binary).await.unwrap();
                let sent = writer.write_all_of(chunks).await.unwrap();
                writer.finish().await.unwrap();
                sent
            };
            let receive = async {
                let mut reader = server.next_reader().await.unwrap().unwrap();
                let mut got = 0;
                while let Some(chunk) = reader.chunk().await.unwrap() {
                    got += chunk.len() as u64;
                }
                got
            };
            let (sent, got) = tokio::join!(send, receive);
            assert_eq!(sent, got);
            got
        };
        run(10, &mut sender, &mut server).await;
        // The runtime of this test has one thread, and the counter counts that thread's.
        let (used, got) = {
            let mut future = Box::pin(run(2048, &mut sender, &mut server));
            let mut most = 0;
            let got = std::future::poll_fn(|cx| {
                let mut polled = std::task::Poll::Pending;
                let used = allocation_counter::measure(|| polled = future.as_mut().poll(cx));
                most = most.max(used.bytes_max);
                polled
            })
            .await;
            (most, got)
        };
        assert_eq!(got, 2048 * CHUNK as u64);
        assert!(used < most, "{used} bytes for {got}");
    }
}

#[tokio::test]
async fn a_reader_is_a_stream_of_chunks_and_its_text_is_whole() {
    let (mut client, mut server) = pair(deflate()).await;
    let text = "Grüße, 世界! ".repeat(5000);
    let sending = tokio::spawn(async move {
        let mut writer = client.writer(Kind::Text).await?;
        for piece in "Grüße, 世界! ".repeat(5000).as_bytes().chunks(1001) {
            writer.write(piece).await?;
        }
        writer.finish().await?;
        Ok::<_, Error>(client)
    });
    let reader = server.next_reader().await.unwrap().unwrap();
    assert_eq!(reader.kind(), Kind::Text);
    let chunks: Vec<_> = reader.map(|chunk| chunk.unwrap()).collect().await;
    assert!(chunks.len() > 1);
    assert_eq!(String::from_utf8(chunks.concat()).unwrap(), text);
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_a_reader_leaves_is_discarded() {
    for config in [Config::default(), deflate()] {
        let (client, mut server) = pair(config).await;
        let (mut sender, _receiver) = client.split();
        let sending = tokio::spawn(async move {
            for number in 0..3 {
                let mut writer = sender.writer(Kind::Binary).await?;
                writer.write_from(&bytes(3 << 20)[..]).await?;
                writer.finish().await?;
                sender.send(format!("{number}")).await?;
            }
            Ok::<_, Error>(sender)
        });
        // Nothing of it read, a part of it, and in pieces what comes behind.
        drop(server.next_reader().await.unwrap().unwrap());
        assert_eq!(server.next().await.unwrap().unwrap(), Message::from("0"));
        let mut reader = server.next_reader().await.unwrap().unwrap();
        reader.read_exact(&mut [0; 100_000]).await.unwrap();
        assert_eq!(server.next().await.unwrap().unwrap(), Message::from("1"));
        let mut reader = server.next_reader().await.unwrap().unwrap();
        reader.read_u8().await.unwrap();
        let mut reader = server.next_reader().await.unwrap().unwrap();
        assert_eq!(reader.kind(), Kind::Text);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "2");
        sending.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_message_that_breaks_off_is_never_taken_for_whole() {
    // By a close within it, by the end of the stream, by text that is none.
    for (end, told) in [
        (&b"\x88\x02\x03\xe8"[..], "before it finished"),
        (b"", "without closing"),
        (b"\x80\x01\xff", "UTF-8"),
    ] {
        let (here, mut there) = duplex(1000);
        let mut ws = WebSocket::client(here, Default::default());
        there.write_all(b"\x01\x03abc").await.unwrap();
        let mut reader = ws.next_reader().await.unwrap().unwrap();
        assert_eq!(reader.chunk().await.unwrap().unwrap(), "abc");
        there.write_all(end).await.unwrap();
        if end.is_empty() {
            drop(there);
        }
        let error = reader.chunk().await.unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        // Asked again, it is still no end.
        assert!(matches!(reader.chunk().await, Err(Error::Unfinished)));
        assert!(reader.read(&mut [0; 10]).await.is_err());
        assert!(ws.next().await.is_none());
    }
}

#[tokio::test]
async fn a_writer_that_is_dropped_closes_the_connection() {
    let (mut client, mut server) = pair(Config::default()).await;
    let mut writer = client.writer(Kind::Binary).await.unwrap();
    writer.write(b"half a message").await.unwrap();
    drop(writer);
    assert!(server.next().await.is_none());
    let reason = server.closed().unwrap().received.unwrap();
    assert_eq!(reason.to_string(), "1011 (a message was not finished)");
    let sent = client.send("more").await;
    assert!(matches!(sent, Err(Error::Send(SendError::Closing))));
}

#[tokio::test]
async fn other_senders_wait_for_the_end_of_a_message_in_pieces() {
    let (client, mut server) = pair(Config::default()).await;
    let (mut one, _receiver) = client.split();
    let mut two = one.clone();
    let mut writer = one.writer(Kind::Text).await.unwrap();
    writer.write(b"in ").await.unwrap();
    let other = tokio::spawn(async move {
        two.send("after").await?;
        let mut writer = two.writer(Kind::Text).await?;
        writer.write(b"last").await?;
        writer.finish().await
    });
    tokio::task::yield_now().await;
    writer.write(b"pieces").await.unwrap();
    assert!(!other.is_finished());
    writer.finish().await.unwrap();
    for expected in ["in pieces", "after", "last"] {
        assert_eq!(
            server.next().await.unwrap().unwrap(),
            Message::from(expected)
        );
    }
    other.await.unwrap().unwrap();
    // One that gives up lets the others know.
    let mut two = one.clone();
    let writer = one.writer(Kind::Text).await.unwrap();
    let other = tokio::spawn(async move { two.send("never").await });
    tokio::task::yield_now().await;
    drop(writer);
    let sent = other.await.unwrap();
    assert!(matches!(sent, Err(Error::Send(SendError::Closing))));
}

#[tokio::test]
async fn it_is_an_async_write() {
    let (mut client, mut server) = pair(deflate()).await;
    let sending = tokio::spawn(async move {
        let mut writer = BufWriter::new(client.writer(Kind::Text).await.unwrap());
        for number in 0..1000 {
            writer.write_all(format!("{number:04}").as_bytes()).await?;
        }
        writer.shutdown().await?;
        drop(writer);
        client.send("next").await.map_err(io::Error::other)
    });
    let message = server.next().await.unwrap().unwrap();
    assert_eq!(message.as_bytes().len(), 4000);
    assert_eq!(server.next().await.unwrap().unwrap(), Message::from("next"));
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reader_that_fails_is_told_and_the_text_must_be_utf_8() {
    let (mut client, _server) = pair(Config::default()).await;
    let mut writer = client.writer(Kind::Text).await.unwrap();
    let refused = writer.write(b"\xff").await;
    assert!(matches!(refused, Err(Error::Send(SendError::NotUtf8))));
    writer.write(b"fine").await.unwrap();
    let failing = a_little_then_failing();
    let failed = writer.write_from(failing).await;
    assert!(matches!(failed, Err(Error::Io(error)) if error.to_string() == "the disk is gone"));
}

/// A reader that gives a little, and then fails.
fn a_little_then_failing() -> impl tokio::io::AsyncRead + Unpin {
    let (mut ours, theirs) = duplex(10);
    tokio::spawn(async move { ours.write_all(b"a little").await });
    theirs.chain(Failing)
}

struct Failing;

impl tokio::io::AsyncRead for Failing {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Err(io::Error::other("the disk is gone")))
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_stream_is_not_a_slow_message() {
    // The deadline for whole messages is a minute; a piece a minute for an hour is the reader's own choice.
    let (here, mut there) = duplex(1000);
    let config = Config::default().ping_interval(None);
    let mut ws = WebSocket::client(here, config.into());
    let writing = tokio::spawn(async move {
        there.write_all(b"\x02\x01x").await.unwrap();
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(61)).await;
            there.write_all(b"\x00\x01x").await.unwrap();
        }
        there.write_all(b"\x80\x00").await.unwrap();
        there
    });
    let mut reader = ws.next_reader().await.unwrap().unwrap();
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), 61);
    writing.await.unwrap();
}

#[tokio::test]
async fn a_message_that_was_ended_takes_no_more_even_while_another_is_sent() {
    let (mut client, server) = WebSocket::pair();
    let (mut sender, _receiver) = server.split();
    let mut other = sender.clone();
    let mut ended = sender.writer(Kind::Text).await.unwrap();
    ended.write(b"first").await.unwrap();
    ended.shutdown().await.unwrap();
    let mut writer = other.writer(Kind::Text).await.unwrap();
    writer.write(b"sec").await.unwrap();
    let late = ended.write(b"late").await;
    assert!(
        matches!(late, Err(Error::Send(SendError::NotBegun))),
        "{late:?}"
    );
    writer.write(b"ond").await.unwrap();
    writer.finish().await.unwrap();
    for expected in ["first", "second"] {
        assert_eq!(
            client.next().await.unwrap().unwrap().as_text(),
            Some(expected)
        );
    }
}
