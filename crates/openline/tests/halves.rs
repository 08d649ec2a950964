//! Many who share one connection: nothing is lost, nobody hangs, whoever gives up leaves what is due to others.

mod common;

use std::time::Duration;

use common::{frame, once};
use futures_util::{SinkExt, StreamExt, stream};
use openline::{
    Acceptor, Client, CloseCode, Config, Error, Kind, Message, SendError, Sender, Timeout,
    WebSocket, corked,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

/// What no test may take; only one that hangs does.
const HANGS: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_sender_that_gives_up_leaves_the_write_deadline_to_the_receiver() {
    let config = Config::default().ping_interval(None);
    let (here, _there) = duplex(1000);
    let (mut sender, mut receiver) = WebSocket::server(here, config.into()).split();
    let receiving = tokio::spawn(async move { receiver.next().await });
    tokio::task::yield_now().await;
    // Queued, and waiting for the peer, when it is dropped.
    assert!(once(sender.send(vec![7; 5000])).await.is_none());
    let heard = timeout(HANGS, receiving).await;
    let heard = heard.expect("it hangs").unwrap();
    assert!(
        matches!(heard, Some(Err(Error::Timeout(Timeout::Write)))),
        "{heard:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_end_of_a_message_learns_of_the_close_at_once() {
    let (here, _there) = duplex(1000);
    let (mut sender, _receiver) = WebSocket::server(here, Default::default()).split();
    let (mut waiting, mut closing) = (sender.clone(), sender.clone());
    let mut writer = sender.writer(Kind::Binary).await.unwrap();
    assert!(once(writer.write(&[7; 5000])).await.is_none());
    let waits = tokio::spawn(async move { waiting.send("behind it").await });
    tokio::task::yield_now().await;
    // The peer takes nothing, so the Close frame does not leave.
    assert!(once(closing.close(CloseCode::NORMAL, "")).await.is_none());
    let told = timeout(Duration::from_secs(1), waits).await;
    let told = told.expect("it waits on").unwrap();
    assert!(
        matches!(told, Err(Error::Send(SendError::Closing))),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_is_not_forgotten_for_one_that_does_not_wait() {
    let (here, mut there) = duplex(1000);
    let (mut sender, receiver) = WebSocket::server(here, Default::default()).split();
    drop(receiver);
    let other = sender.clone();
    let waits = tokio::spawn(async move { sender.send(vec![7; 5000]).await });
    tokio::task::yield_now().await;
    assert!(!other.send_now(["behind it"]).unwrap());
    let mut bytes = vec![0; 5004 + 11];
    // Sooner than by the deadline that it keeps.
    let taken = timeout(Duration::from_secs(1), there.read_exact(&mut bytes)).await;
    taken.expect("nobody writes on").unwrap();
    waits.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_close_that_others_have_seen_through_is_no_error() {
    let (here, there) = duplex(100);
    let (mut sender, mut receiver) = WebSocket::client(here, Default::default()).split();
    // The peer takes nothing for now.
    sender.feed(vec![7; 1000]).unwrap();
    let mut close = std::pin::pin!(sender.close(CloseCode::NORMAL, ""));
    assert!(once(close.as_mut()).await.is_none());
    let peer = tokio::spawn(async move {
        let mut server = WebSocket::server(there, Default::default());
        while server.next().await.is_some() {}
    });
    assert!(receiver.next().await.is_none());
    assert!(receiver.closed().unwrap().clean);
    close.await.unwrap();
    peer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_had_queued_what_was_lost_is_told() {
    let (here, there) = duplex(100);
    let (mut sender, mut receiver) = WebSocket::client(here, Default::default()).split();
    let (mut other, third) = (sender.clone(), sender.clone());
    let mut one = std::pin::pin!(sender.send(vec![7; 1000]));
    let mut two = std::pin::pin!(other.send("more"));
    assert!(once(one.as_mut()).await.is_none());
    assert!(once(two.as_mut()).await.is_none());
    drop(there);
    assert!(third.send_now(["late"]).is_err());
    assert!(one.await.is_err());
    assert!(two.await.is_err());
    assert!(receiver.next().await.is_some_and(|end| end.is_err()));
}

#[tokio::test]
async fn sinks_of_one_connection_wait_for_each_other() {
    const EACH: usize = 500;
    let config = Config::default().max_outbox(100);
    let (here, there) = duplex(64);
    let (mut sender, receiver) = WebSocket::server(here, config.into()).split();
    let mut tasks = Vec::new();
    let mut in_pieces = sender.clone();
    tasks.push(tokio::spawn(async move {
        for _ in 0..50 {
            let mut writer = in_pieces.writer(Kind::Text).await?;
            for _ in 0..3 {
                writer.write(b"piece ").await?;
                tokio::task::yield_now().await;
            }
            writer.finish().await?;
        }
        Ok(())
    }));
    for name in ["one", "two", "three"] {
        let mut sender = sender.clone();
        tasks.push(tokio::spawn(async move {
            let messages = (0..EACH).map(move |i| Ok(Message::from(format!("{name} {i:0>40}"))));
            sender.send_all(&mut stream::iter(messages)).await
        }));
    }
    let reading = tokio::spawn(async move {
        let mut client = WebSocket::client(there, Default::default());
        let (mut seen, mut in_pieces) = ([0; 3], 0);
        while let Some(message) = client.next().await {
            let message = message.unwrap();
            let text = message.as_text().unwrap();
            let (name, number) = text.split_once(' ').unwrap();
            match ["one", "two", "three"].iter().position(|n| *n == name) {
                Some(place) => {
                    assert_eq!(number.parse::<usize>().unwrap(), seen[place], "{name}");
                    seen[place] += 1;
                }
                None => {
                    assert_eq!(text, "piece piece piece ");
                    in_pieces += 1;
                }
            }
        }
        (seen, in_pieces)
    });
    // It answers the close at the end.
    let receiving = tokio::spawn(receiver.collect::<Vec<_>>());
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    SinkExt::close(&mut sender).await.unwrap();
    assert_eq!(reading.await.unwrap(), ([EACH; 3], 50));
    assert!(receiving.await.unwrap().is_empty());
}

/// Sends numbers in order, in all the ways that there are, some by futures that it drops; tells how many.
async fn count(mut sender: Sender, name: usize, until: usize) -> Result<usize, Error> {
    for i in 0..until {
        let message = format!("{name} {i}");
        match i % 5 {
            0 => {
                sender.flush().await?;
                // Another one may have taken the room meanwhile.
                while let Err(Error::Send(SendError::Full { .. } | SendError::Unfinished)) =
                    sender.send_now([&message])
                {
                    tokio::task::yield_now().await;
                    sender.flush().await?;
                }
            }
            1 => {
                // Dropped, queued or not: so it is sent again.
                if let Some(sent) = once(sender.send(&message)).await {
                    sent?;
                } else {
                    sender.send(format!("{message} again")).await?;
                }
            }
            2 => {
                let mut writer = sender.writer(Kind::Text).await?;
                writer.write(message.as_bytes()).await?;
                writer.finish().await?;
            }
            _ => sender.send(message).await?,
        }
    }
    sender.flush().await?;
    Ok(until)
}

/// Real sockets, threads, and all ways to send at once: every message comes, in the order of its sender.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads_nothing_is_lost_and_nobody_hangs() {
    const ROUNDS: usize = 20;
    const SENDERS: usize = 4;
    const EACH: usize = 300;
    for round in 0..ROUNDS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        // So little room that senders wait for each other.
        let config = Config::default().max_outbox(200);
        let acceptor = Acceptor::default().config(config);
        let accepting = async { acceptor.accept(listener.accept().await.unwrap().0).await };
        let client = Client::new(&url).unwrap().no_proxy();
        let (connected, server) = tokio::join!(client.connect(), accepting);
        let (mut sender, mut receiver) = server.unwrap().split();
        let mut tasks = Vec::new();
        for name in 0..SENDERS {
            let counting = count(sender.clone(), name, EACH);
            tasks.push(match (name + round) % 2 {
                0 => tokio::spawn(corked(counting)),
                _ => tokio::spawn(counting),
            });
        }
        let receiving = tokio::spawn(async move {
            while let Some(message) = receiver.next().await {
                message.unwrap();
            }
        });
        let reading = tokio::spawn(async move {
            let (mut client, _) = connected.unwrap();
            let mut seen = [0; SENDERS];
            while let Some(message) = client.next().await {
                let message = message.unwrap();
                let mut words = message.as_text().unwrap().split(' ');
                let mut number = || words.next().unwrap().parse::<usize>().unwrap();
                let (name, number) = (number(), number());
                let again = words.next().is_some() && number + 1 == seen[name];
                assert!(again || number == seen[name], "{name}: {number}, {seen:?}");
                seen[name] = number + 1;
                if number % 50 == 0 {
                    client.send("heard").await.unwrap();
                }
            }
            seen
        });
        for task in tasks {
            let sent = timeout(Duration::from_secs(50), task).await;
            sent.expect("a sender hangs").unwrap().unwrap();
        }
        sender.close(CloseCode::NORMAL, "").await.unwrap();
        assert_eq!(reading.await.unwrap(), [EACH; SENDERS]);
        receiving.await.unwrap();
    }
}

/// A peer that takes a byte now and then, and nobody who holds the connection: it goes by its deadlines, however it was left.
#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_holds_is_gone_by_its_deadlines() {
    for left in 0..5 {
        let (here, mut there) = duplex(1000);
        let mut ws = WebSocket::server(here, Default::default());
        let long = vec![7; 5000];
        match left {
            0 => ws.feed(long).unwrap(),
            1 => assert!(once(ws.send(long)).await.is_none()),
            2 => {
                let mut writer = ws.writer(Kind::Binary).await.unwrap();
                assert!(once(writer.write(&long)).await.is_none());
            }
            3 => {
                ws.feed(long).unwrap();
                assert!(once(ws.close(CloseCode::NORMAL, "")).await.is_none());
            }
            _ => {
                let sending = async {
                    ws.send(long).await.unwrap();
                    std::future::pending::<()>().await;
                };
                assert!(once(corked(sending)).await.is_none());
            }
        }
        drop(ws);
        let mut bytes = 0;
        let drip = async {
            while there.read_u8().await.is_ok() {
                bytes += 1;
                // What was taken before the end can be read on.
                if bytes > 100 {
                    let mut rest = Vec::new();
                    there.read_to_end(&mut rest).await.unwrap();
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                let _ = there.write_all(b"\x8a\x80\0\0\0\0").await;
            }
        };
        let gone = timeout(HANGS, drip).await;
        gone.unwrap_or_else(|_| panic!("the connection left in way {left} stays"));
    }
}

/// Nobody receives any more, and a sender is kept: the close has its end all the same, whichever of both came first.
#[tokio::test(start_paused = true)]
async fn a_close_without_a_receiver_has_an_end_though_a_sender_is_kept() {
    for server in [true, false] {
        for close_first in [true, false] {
            for answers in [true, false] {
                let (here, mut there) = duplex(100);
                let ws = match server {
                    true => WebSocket::server(here, Default::default()),
                    false => WebSocket::client(here, Default::default()),
                };
                let (mut sender, receiver) = ws.split();
                let kept = sender.clone();
                // More than the transport takes at once.
                sender.feed(vec![7; 1000]).unwrap();
                let began = Instant::now();
                let peer = async {
                    let mut came = vec![0; 1000];
                    there.read_exact(&mut came).await.unwrap();
                    if answers {
                        let goodbye = frame(server, 0x88, &1000u16.to_be_bytes());
                        there.write_all(&goodbye).await.unwrap();
                        there.shutdown().await.unwrap();
                    }
                    there.read_to_end(&mut came).await.unwrap();
                    assert!(came.ends_with(&[0x03, 0xe8]) || !server, "no Close frame");
                    // Gone, not only silent.
                    while there.write_all(b"\x8a\x80\0\0\0\0").await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                };
                let close = async {
                    if close_first {
                        assert!(once(sender.close(CloseCode::NORMAL, "")).await.is_none());
                    }
                    drop(receiver);
                    sender.close(CloseCode::NORMAL, "").await.unwrap();
                };
                let ended = timeout(HANGS, async { tokio::join!(peer, close) }).await;
                ended.expect("the connection stays");
                let took = began.elapsed();
                match answers {
                    true => assert!(took < Duration::from_secs(1), "{took:?}"),
                    false => assert!(took < Duration::from_secs(6), "{took:?}"),
                }
                assert!(kept.feed("late").is_err());
                assert_eq!(kept.queued(), 0);
            }
        }
    }
}
