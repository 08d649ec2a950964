//! Both ends of the library over real sockets: messages, halves, the close, and what goes wrong.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::frame;
use futures_util::{SinkExt, StreamExt};
use openline::{
    Acceptor, Client, CloseCode, Config, Error, Message, SendError, Timeout, WebSocket,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// Two ends of one TCP connection, after the opening handshake.
async fn pair(client: Config, server: Config) -> (WebSocket, WebSocket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        Acceptor::default()
            .config(server)
            .accept(stream)
            .await
            .unwrap()
    };
    let connect = async {
        Client::new(&url)
            .unwrap()
            .config(client)
            .connect()
            .await
            .unwrap()
            .0
    };
    tokio::join!(connect, accept)
}

async fn text(ws: &mut WebSocket) -> String {
    ws.next()
        .await
        .expect("open")
        .expect("a message")
        .as_text()
        .expect("text")
        .to_owned()
}

#[tokio::test]
async fn messages_of_all_sizes_come_back() {
    let big = Config::default().max_message(32 << 20);
    let (mut client, mut server) = pair(big.clone(), big).await;
    let echo = tokio::spawn(async move {
        while let Some(message) = server.next().await {
            server.send(message.unwrap()).await.unwrap();
        }
        server.closed().unwrap()
    });
    for size in [0, 1, 125, 126, 65_535, 65_536, 200_000, 20 << 20] {
        let message = Message::from(vec![b'x'; size]);
        client.send(message.clone()).await.unwrap();
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            message,
            "{size} bytes"
        );
    }
    client.send("Grüße").await.unwrap();
    assert_eq!(text(&mut client).await, "Grüße");

    let here = client.close(CloseCode(4001), "done").await.unwrap();
    let there = echo.await.unwrap();
    assert!(here.clean && !here.by_peer && there.clean && there.by_peer);
    assert_eq!(there.received.unwrap().to_string(), "4001 (done)");
    assert!(client.next().await.is_none());
    assert!(matches!(
        client.send("late").await,
        Err(Error::Send(SendError::Closing))
    ));
}

#[tokio::test]
async fn what_is_fed_leaves_with_the_next_flush_and_the_traffic_is_counted() {
    let (mut client, mut server) = pair(Config::default(), Config::default()).await;
    for number in 0..100 {
        server.feed(format!("{number:03}")).unwrap();
    }
    assert_eq!(server.traffic().sent, 0);
    server.flush().await.unwrap();
    for number in 0..100 {
        assert_eq!(text(&mut client).await, format!("{number:03}"));
    }
    assert_eq!(server.traffic().sent, 100 * (2 + 3));
    assert_eq!(client.traffic().received, 100 * (2 + 3));
    // Reading sends what was fed, too.
    server.feed("last").unwrap();
    client.feed("first").unwrap();
    assert_eq!(
        tokio::join!(text(&mut client), text(&mut server)),
        ("last".to_owned(), "first".to_owned())
    );
}

#[tokio::test]
async fn it_is_a_stream_and_a_sink() {
    let (client, server) = pair(Config::default(), Config::default()).await;
    let echo = tokio::spawn(async move {
        let (sink, stream) = StreamExt::split(server);
        stream.forward(sink).await
    });
    let (mut sink, stream) = StreamExt::split(client);
    for number in 0..3 {
        SinkExt::send(&mut sink, format!("{number}").into())
            .await
            .unwrap();
    }
    let echoes: Vec<_> = stream
        .take(3)
        .map(|m| m.unwrap().as_text().unwrap().to_owned())
        .collect()
        .await;
    assert_eq!(echoes, ["0", "1", "2"]);
    sink.close().await.unwrap();
    echo.await.unwrap().unwrap();
}

#[tokio::test]
async fn both_halves_work_at_once_and_pings_are_answered() {
    let (client, mut server) = pair(Config::default(), Config::default()).await;
    let (mut sender, mut receiver) = client.split();
    let mut second = sender.clone();
    let reader = tokio::spawn(async move {
        let mut bytes = 0;
        while let Some(message) = receiver.next().await {
            bytes += message.unwrap().as_bytes().len();
        }
        (bytes, receiver.closed().unwrap())
    });
    // Each side sends far more than the sockets hold, to a peer that sends as well: neither may wait for the other.
    let one = tokio::spawn(async move {
        for _ in 0..100 {
            sender.send(vec![1; 100_000]).await.unwrap();
        }
        sender
    });
    let two = tokio::spawn(async move {
        for _ in 0..100 {
            second.send(vec![2; 100_000]).await.unwrap();
        }
    });
    let mut counts = [0; 3];
    for number in 0..200 {
        server.send(vec![3; 100_000]).await.unwrap();
        let message = server.next().await.unwrap().unwrap();
        assert!(
            message
                .as_bytes()
                .iter()
                .all(|b| *b == message.as_bytes()[0]),
            "message {number} is torn"
        );
        counts[usize::from(message.as_bytes()[0])] += 1;
    }
    assert_eq!(counts, [0, 100, 100]);
    let mut sender = one.await.unwrap();
    two.await.unwrap();
    server.feed_ping(b"still there?").unwrap();
    sender.close(CloseCode::NORMAL, "").await.unwrap();
    assert!(server.next().await.is_none());
    let (bytes, closed) = reader.await.unwrap();
    assert_eq!(bytes, 200 * 100_000);
    assert!(closed.clean && !closed.by_peer);
}

#[tokio::test]
async fn a_sender_closes_a_connection_whose_receiver_only_waits() {
    let (client, mut server) = pair(Config::default(), Config::default()).await;
    let (mut sender, mut receiver) = client.split();
    let waiting = tokio::spawn(async move { receiver.next().await.is_none() });
    sender.close(CloseCode::GOING_AWAY, "").await.unwrap();
    assert!(server.next().await.is_none());
    assert!(waiting.await.unwrap());
    assert_eq!(server.closed().unwrap().code(), CloseCode::GOING_AWAY);
}

#[tokio::test]
async fn a_peer_that_drops_the_connection_is_no_clean_end() {
    let (mut client, server) = pair(Config::default(), Config::default()).await;
    drop(server);
    assert!(matches!(
        client.next().await,
        Some(Err(Error::Disconnected))
    ));
    assert!(client.next().await.is_none());
    assert_eq!(client.closed().unwrap().code(), CloseCode(1006));
}

#[tokio::test]
async fn a_message_over_the_limit_is_told_to_both() {
    let (mut client, mut server) = pair(Config::default(), Config::default().max_message(10)).await;
    client.send("0123456789").await.unwrap();
    client.send("0123456789a").await.unwrap();
    assert_eq!(text(&mut server).await, "0123456789");
    let refused = tokio::spawn(async move { server.next().await });
    assert!(
        client.next().await.is_none(),
        "the Close frame was answered"
    );
    assert_eq!(client.closed().unwrap().code(), CloseCode::TOO_BIG);
    let Some(Err(Error::Protocol(error))) = refused.await.unwrap() else {
        panic!("no error")
    };
    assert!(error.to_string().contains("10 bytes"), "{error}");
}

#[tokio::test]
async fn attack_03_a_slow_reader_bounds_the_queue_and_send_waits() {
    let (mut client, mut server) =
        pair(Config::default(), Config::default().max_outbox(50_000)).await;
    // Nobody reads: feeding must end with a refusal, soon.
    let mut fed = 0;
    let error = loop {
        match server.feed(vec![0; 1000]) {
            Ok(()) => fed += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, Error::Send(SendError::Full { limit: 50_000, .. })),
        "{error}"
    );
    assert!(fed <= 51);
    let total = 20_000;
    let sender = tokio::spawn(async move {
        for _ in fed..total {
            server.send(vec![0; 1000]).await.unwrap();
        }
        server.close(CloseCode::NORMAL, "").await.unwrap()
    });
    for _ in 0..total {
        assert_eq!(client.next().await.unwrap().unwrap().as_bytes().len(), 1000);
    }
    assert!(client.next().await.is_none());
    assert!(sender.await.unwrap().clean);
}

#[tokio::test(start_paused = true)]
async fn attack_30_a_peer_that_never_reads_is_given_up() {
    let (here, there) = tokio::io::duplex(1000);
    let mut ws = WebSocket::server(here, Config::default().into());
    let error = ws.send(vec![0; 100_000]).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(Timeout::Write)), "{error}");
    drop(there);
}

#[tokio::test(start_paused = true)]
async fn attack_30_a_silent_peer_is_pinged_and_then_given_up() {
    let (here, mut there) = tokio::io::duplex(1000);
    let mut ws = WebSocket::server(here, Config::default().into());
    let began = tokio::time::Instant::now();
    assert!(matches!(
        ws.next().await,
        Some(Err(Error::Timeout(Timeout::Pong)))
    ));
    assert!(began.elapsed() < Duration::from_secs(60));
    drop(ws);
    let mut said = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut there, &mut said)
        .await
        .unwrap();
    assert_eq!(said[..2], [0x89, 0], "a ping");
    assert_eq!(
        (said[2], &said[4..6]),
        (0x88, &1011u16.to_be_bytes()[..]),
        "and the end"
    );
}

#[tokio::test(start_paused = true)]
async fn attack_30_a_close_that_is_not_answered_ends_by_its_deadline() {
    let (here, _there) = tokio::io::duplex(1000);
    let mut ws = WebSocket::client(here, Config::default().into());
    let began = tokio::time::Instant::now();
    let closed = ws.close(CloseCode::NORMAL, "").await.unwrap();
    assert!(!closed.clean);
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = openline::connect(&format!("ws://{address}/"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Connect { authority, .. } if *authority == address.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn addresses_that_are_none() {
    for url in [
        "",
        "x",
        "http://localhost/",
        "ws://",
        "ws:///path",
        "ws://host/#part",
        "ws://ho st/",
    ] {
        assert!(
            matches!(openline::connect(url).await, Err(Error::Request(_))),
            "{url:?}"
        );
    }
}

#[tokio::test]
async fn early_frames_behind_the_request_are_not_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let mut bytes = common::REQUEST.as_bytes().to_vec();
    let frame = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    bytes.extend_from_slice(frame);
    bytes.extend_from_slice(&frame[..7]);
    stream.write_all(&bytes).await.unwrap();
    let mut ws = openline::accept(listener.accept().await.unwrap().0)
        .await
        .unwrap();
    assert_eq!(text(&mut ws).await, "Hello");
    stream.write_all(&frame[7..]).await.unwrap();
    assert_eq!(text(&mut ws).await, "Hello");
}

/// Of a message that does not fit into the transport, the rest can come only once somebody reads: the peer is not to blame.
#[tokio::test(start_paused = true)]
async fn a_program_that_is_away_fails_no_peer_for_it() {
    for server in [true, false] {
        let (here, mut there) = tokio::io::duplex(4096);
        let config = Arc::new(Config::default().ping_interval(None));
        let mut ws = match server {
            true => WebSocket::server(here, config),
            false => WebSocket::client(here, config),
        };
        let long = vec![7; 100_000];
        let sent = frame(server, 0x82, &long);
        let sending = tokio::spawn(async move {
            there.write_all(&sent).await.unwrap();
            there
        });
        let mut looks = 0;
        let heard = loop {
            // What is here is read, and then the program has something else to do.
            match tokio::time::timeout(Duration::ZERO, ws.next()).await {
                Ok(heard) => break heard,
                Err(_) => tokio::time::sleep(Duration::from_secs(600)).await,
            }
            looks += 1;
        };
        assert!(looks > 10, "{looks}");
        assert_eq!(heard.unwrap().unwrap().as_bytes()[..], long);
        sending.await.unwrap();
    }
}

/// To a task that has used up its share of the runtime no stream has anything. That must not pass for silence of the peer.
#[tokio::test(start_paused = true)]
async fn a_pong_that_is_there_counts_for_a_task_that_has_used_up_its_share() {
    use tokio::task::coop::{consume_budget, has_budget_remaining};
    let (here, mut there) = tokio::io::duplex(4096);
    let mut ws = WebSocket::server(here, Arc::default());
    // Until the ping of keepalive has left.
    let pinged = tokio::time::timeout(Duration::from_secs(31), ws.next()).await;
    assert!(pinged.is_err());
    there.write_all(&frame(true, 0x8a, b"")).await.unwrap();
    there.write_all(&frame(true, 0x81, b"here")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(25)).await;
    while has_budget_remaining() {
        consume_budget().await;
    }
    let heard = ws.next().await.unwrap().unwrap();
    assert_eq!(heard.as_text(), Some("here"));
}
