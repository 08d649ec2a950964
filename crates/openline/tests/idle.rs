//! Connections that wait: they answer, they see the peer go, their deadlines pass, and they wake, however many they are.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::{REQUEST, frame, read_head};
use openline::{Acceptor, CloseCode, Config, Error, Kind, Server, WebSocket, corked};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

const PONG: u8 = 0x8a;

/// A server's connection that has said nothing yet, and its raw client.
async fn pair(config: Config) -> (WebSocket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let accepted = Acceptor::default().config(config).accept(stream).await;
    read_head(&mut client).await;
    (accepted.unwrap(), client)
}

fn no_pings() -> Config {
    Config::default().ping_interval(None)
}

/// Waits until the connection has nothing to do but to wait.
async fn rest(ws: &mut WebSocket) {
    let mut cx = Context::from_waker(Waker::noop());
    while pin!(ws.next()).poll(&mut cx).is_ready() {}
    tokio::task::yield_now().await;
}

async fn read(client: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn it_answers_a_ping_and_a_message() {
    let (mut ws, mut client) = pair(no_pings()).await;
    rest(&mut ws).await;
    let echo = tokio::spawn(async move {
        while let Some(Ok(message)) = ws.next().await {
            ws.send(message).await.unwrap();
        }
    });
    for _ in 0..3 {
        client.write_all(&frame(true, 0x89, b"?")).await.unwrap();
        assert_eq!(read(&mut client, 3).await, [PONG, 1, b'?']);
        client.write_all(&frame(true, 0x82, b"!")).await.unwrap();
        assert_eq!(read(&mut client, 3).await, [0x82, 1, b'!']);
    }
    drop(client);
    echo.await.unwrap();
}

#[tokio::test]
async fn it_sees_the_peers_close_its_end_and_its_reset() {
    let (mut ws, mut client) = pair(no_pings()).await;
    rest(&mut ws).await;
    let close = async {
        client
            .write_all(&frame(true, 0x88, &1000u16.to_be_bytes()))
            .await
            .unwrap();
        read(&mut client, 4).await
    };
    let (next, answer) = tokio::join!(ws.next(), close);
    assert!(next.is_none());
    assert_eq!(answer, [0x88, 2, 0x03, 0xe8]);
    assert!(ws.closed().unwrap().clean);

    let (mut ws, client) = pair(no_pings()).await;
    rest(&mut ws).await;
    let (next, ()) = tokio::join!(ws.next(), async { drop(client) });
    assert!(matches!(next, Some(Err(Error::Disconnected))), "{next:?}");

    // The last message and the end come as one.
    let (mut ws, mut client) = pair(no_pings()).await;
    rest(&mut ws).await;
    client.write_all(&frame(true, 0x82, b"!")).await.unwrap();
    drop(client);
    assert_eq!(ws.next().await.unwrap().unwrap().as_bytes()[..], b"!"[..]);
    let next = ws.next().await;
    assert!(matches!(next, Some(Err(Error::Disconnected))), "{next:?}");

    let (mut ws, client) = pair(no_pings()).await;
    rest(&mut ws).await;
    client.set_zero_linger().unwrap();
    let (next, ()) = tokio::join!(ws.next(), async { drop(client) });
    assert!(matches!(next, Some(Err(Error::Io(_)))), "{next:?}");
}

#[tokio::test]
async fn keepalive_pings_it() {
    let config = Config::default().ping_interval(Some(Duration::from_millis(20)));
    let (mut ws, mut client) = pair(config).await;
    rest(&mut ws).await;
    let echo = tokio::spawn(async move { ws.next().await.is_none() });
    for _ in 0..3 {
        assert_eq!(read(&mut client, 2).await, [0x89, 0]);
        client.write_all(&frame(true, PONG, b"")).await.unwrap();
    }
    client
        .write_all(&frame(true, 0x88, &1000u16.to_be_bytes()))
        .await
        .unwrap();
    assert!(echo.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_deadlines_of_many_pass_one_after_the_other_each_in_time() {
    const PONG_TIMEOUT: Duration = Duration::from_secs(20);
    const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
    let begun = Instant::now();
    let mut connections = JoinSet::new();
    let mut clients = JoinSet::new();
    for millis in [1, 1999, 2001, 2002, 30_000, 30_000, 31_000, 3_600_000] {
        let interval = Duration::from_millis(millis);
        // Each wait begins when the one before it is over, which may be told a little too late.
        let in_time = move |due: Duration, waits: u32| {
            let passed = begun.elapsed();
            let latest = due + Duration::from_millis(102) * waits;
            assert!((due..=latest).contains(&passed), "{passed:?} for {due:?}");
        };
        let config = Config::default()
            .ping_interval(Some(interval))
            .pong_timeout(PONG_TIMEOUT)
            .close_timeout(CLOSE_TIMEOUT);
        let (mut client, there) = tokio::io::duplex(64);
        let mut ws = WebSocket::server(there, Arc::new(config));
        clients.spawn(async move {
            let mut ping = [0; 2];
            client.read_exact(&mut ping).await.unwrap();
            assert_eq!(ping, [0x89, 0]);
            in_time(interval, 1);
            client
        });
        connections.spawn(async move {
            let next = ws.next().await;
            assert!(matches!(next, Some(Err(Error::Timeout(_)))), "{next:?}");
            in_time(interval + PONG_TIMEOUT + CLOSE_TIMEOUT, 3);
        });
    }
    let _clients = clients.join_all().await;
    connections.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_not_answered_ends_at_its_deadline() {
    let limit = Duration::from_secs(7);
    let (mut ws, _client) = pair(no_pings().close_timeout(limit)).await;
    rest(&mut ws).await;
    let begun = Instant::now();
    let closed = ws.close(CloseCode::NORMAL, "").await.unwrap();
    assert!(!closed.clean);
    let late = begun.elapsed().saturating_sub(limit);
    assert!(late < Duration::from_millis(200), "{late:?}");
}

async fn all_wake() {
    const COUNT: usize = 700;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(Server::default().run(
        listener,
        async { drop(stopped.await) },
        async |mut ws, _| {
            while let Some(message) = ws.next().await {
                ws.send(message?).await?;
            }
            Ok::<_, Error>(())
        },
    ));
    let mut clients = Vec::new();
    for _ in 0..COUNT {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        read_head(&mut client).await;
        clients.push(client);
    }
    for round in 0..3 {
        for client in &mut clients {
            client
                .write_all(&frame(true, 0x82, &[round]))
                .await
                .unwrap();
        }
        for client in &mut clients {
            assert_eq!(read(client, 3).await, [0x82, 1, round]);
        }
    }
    // All at once hear the goodbye, too.
    stop.send(()).unwrap();
    for client in &mut clients {
        assert_eq!(read(client, 4).await, [0x88, 2, 0x03, 0xe9]);
        client
            .write_all(&frame(true, 0x88, &1001u16.to_be_bytes()))
            .await
            .unwrap();
    }
    assert_eq!(server.await.unwrap(), 0, "none had to be cut");
}

/// The poller of a runtime with one thread takes one that spoke alone for the next to speak: that holds nobody up.
#[tokio::test]
async fn one_that_spoke_alone_for_long_holds_nobody_up() {
    async fn talk(client: &mut TcpStream, times: usize) {
        for _ in 0..times {
            client
                .write_all(&frame(true, 0x82, b"hello"))
                .await
                .unwrap();
            assert_eq!(read(client, 7).await, frame(false, 0x82, b"hello"));
        }
    }
    let echo = |mut ws: WebSocket| async move {
        while let Some(Ok(message)) = ws.next().await {
            ws.send(message).await.unwrap();
        }
    };
    let (one, mut first) = pair(no_pings()).await;
    let (other, mut second) = pair(no_pings()).await;
    let (one, other) = (tokio::spawn(echo(one)), tokio::spawn(echo(other)));
    talk(&mut first, 100).await;
    talk(&mut second, 1).await;
    talk(&mut first, 100).await;
    let both = [frame(true, 0x82, b"a"), frame(true, 0x82, b"b")].concat();
    first.write_all(&both).await.unwrap();
    second.write_all(&both).await.unwrap();
    let (a, b) = tokio::join!(read(&mut first, 6), read(&mut second, 6));
    assert_eq!(a, b);
    talk(&mut second, 100).await;
    // It leaves while it is the one to be expected; another one gets its number.
    drop(second);
    other.await.unwrap();
    let (other, mut second) = pair(no_pings()).await;
    let other = tokio::spawn(echo(other));
    talk(&mut first, 1).await;
    talk(&mut second, 100).await;
    drop((first, second));
    one.await.unwrap();
    other.await.unwrap();
}

#[tokio::test]
async fn hundreds_that_wake_at_once_are_all_answered() {
    all_wake().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn hundreds_that_wake_at_once_are_all_answered_by_several_threads() {
    all_wake().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_in_another_task_fills_the_socket_and_all_arrives_in_order() {
    const SIZE: usize = 100_000;
    let config = no_pings().max_outbox(64 << 20);
    let (ws, mut client) = pair(config).await;
    let (sender, mut receiver) = ws.split();
    let receiving = tokio::spawn(async move { receiver.next().await.is_none() });
    // What the socket does not take is left to the receiver, which waits for the peer.
    let mut sent = 0;
    while sender.send_now([&[sent; SIZE]]).unwrap() {
        sent += 1;
    }
    sent += 1;
    for number in 0..sent {
        let received = read(&mut client, 10 + SIZE).await;
        assert!(received[10..].iter().all(|byte| *byte == number));
    }
    client
        .write_all(&frame(true, 0x88, &1000u16.to_be_bytes()))
        .await
        .unwrap();
    assert!(receiving.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_that_talk_at_once_in_messages_of_all_sizes_lose_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let never = std::future::pending();
    tokio::spawn(Server::default().run(listener, never, async |mut ws, _| {
        while let Some(message) = ws.next().await {
            ws.send(message?).await?;
        }
        Ok::<_, Error>(())
    }));
    let mut clients = JoinSet::new();
    for _ in 0..16 {
        let ws = openline::connect(&url).await.unwrap();
        clients.spawn(async move {
            let size = |number: usize| 1 << (number % 18);
            let (mut sender, mut receiver) = ws.split();
            let sending = tokio::spawn(async move {
                for number in 0..180 {
                    sender.send(vec![number as u8; size(number)]).await.unwrap();
                }
                sender
            });
            for number in 0..180 {
                let message = receiver.next().await.unwrap().unwrap();
                let bytes = message.as_bytes();
                assert_eq!((bytes[0], bytes.len()), (number as u8, size(number)));
            }
            drop(sending.await.unwrap());
        });
    }
    clients.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_who_send_corked_and_in_pieces_all_come_through_in_their_order() {
    const SENDERS: u8 = 6;
    const MESSAGES: u8 = 200;
    const SIZE: usize = 3000;
    for _ in 0..20 {
        let (ws, client) = pair(no_pings().max_outbox(8 * SIZE)).await;
        let (sender, mut receiver) = ws.split();
        let receiving = tokio::spawn(async move { receiver.next().await.is_none() });
        let mut senders = JoinSet::new();
        for name in 0..SENDERS {
            let mut sender = sender.clone();
            let sending = async move {
                for number in 0..MESSAGES {
                    let bytes = [[name, number].as_slice(), &[0; SIZE]].concat();
                    if number % 3 < 2 {
                        sender.send(bytes).await.unwrap();
                    } else {
                        let mut writer = sender.writer(Kind::Binary).await.unwrap();
                        writer.write(&bytes[..10]).await.unwrap();
                        writer.write(&bytes[10..]).await.unwrap();
                        writer.finish().await.unwrap();
                    }
                }
            };
            match name % 2 {
                0 => senders.spawn(corked(sending)),
                _ => senders.spawn(sending),
            };
        }
        let mut client = WebSocket::client(client, Arc::new(no_pings()));
        let mut next = [0; SENDERS as usize];
        for count in 0..usize::from(SENDERS) * usize::from(MESSAGES) {
            if count % 20 == 0 {
                client.feed_ping(&[7]).unwrap();
            }
            let message = client.next().await.unwrap().unwrap();
            let bytes = message.as_bytes();
            assert_eq!(bytes.len(), SIZE + 2);
            assert_eq!(bytes[1], next[usize::from(bytes[0])]);
            next[usize::from(bytes[0])] += 1;
        }
        senders.join_all().await;
        client.close(CloseCode::NORMAL, "").await.unwrap();
        assert!(receiving.await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_end_right_behind_a_message_is_always_seen() {
    for _ in 0..300 {
        let (mut ws, mut client) = pair(no_pings()).await;
        let server = tokio::spawn(async move {
            let first = ws.next().await.unwrap().unwrap();
            (first, ws.next().await)
        });
        client.write_all(&frame(true, 0x82, b"!")).await.unwrap();
        drop(client);
        let (first, then) = server.await.unwrap();
        assert_eq!(first.as_bytes()[..], b"!"[..]);
        assert!(matches!(then, Some(Err(Error::Disconnected))), "{then:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_end_that_is_there_before_the_connection_is_always_seen() {
    let mut connections = JoinSet::new();
    for _ in 0..64 {
        connections.spawn(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            for _ in 0..200 {
                let mut client = TcpStream::connect(address).await.unwrap();
                let (stream, _) = listener.accept().await.unwrap();
                // More than is read together with the request.
                let sent = [REQUEST.as_bytes(), &frame(true, 0x82, &[7; 30_000])].concat();
                client.write_all(&sent).await.unwrap();
                client.shutdown().await.unwrap();
                let mut ws = Acceptor::default()
                    .config(no_pings())
                    .accept(stream)
                    .await
                    .unwrap();
                let message = ws.next().await.unwrap().unwrap();
                assert_eq!(message.as_bytes()[..], [7; 30_000]);
                let next = ws.next().await;
                assert!(matches!(next, Some(Err(Error::Disconnected))), "{next:?}");
            }
        });
    }
    connections.join_all().await;
}

#[tokio::test]
async fn one_that_is_dropped_while_it_waits_is_closed() {
    let (mut ws, mut client) = pair(no_pings()).await;
    rest(&mut ws).await;
    drop(ws);
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
}

#[test]
fn one_whose_runtime_has_ended_tells_so() {
    let first = Builder::new_current_thread().enable_all().build().unwrap();
    let (mut ws, client) = first.block_on(async {
        let (mut ws, client) = pair(no_pings()).await;
        rest(&mut ws).await;
        (ws, client.into_std().unwrap())
    });
    drop(first);
    let second = Builder::new_current_thread().enable_all().build().unwrap();
    second.block_on(async {
        assert!(matches!(ws.next().await, Some(Err(Error::Io(_)))));
        assert!(ws.next().await.is_none());
    });
    drop(client);
}

#[test]
fn one_that_waits_while_its_runtime_ends_is_woken() {
    let first = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (mut ws, client) = first.block_on(async {
        let (ws, client) = pair(no_pings()).await;
        (ws, client.into_std().unwrap())
    });
    let second = Builder::new_current_thread().enable_all().build().unwrap();
    let mut waiting = pin!(async { ws.next().await });
    second.block_on(async {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        let end = tokio::task::spawn_blocking(move || drop(first));
        assert!(matches!(waiting.await, Some(Err(Error::Io(_)))));
        end.await.unwrap();
    });
    drop(client);
}

#[test]
fn a_deadline_outlives_the_runtime_in_which_it_was_first_waited_for() {
    let (_client, there) = tokio::io::duplex(64);
    let config = Config::default()
        .ping_interval(Some(Duration::from_secs(30)))
        .pong_timeout(Duration::from_secs(10));
    let first = Builder::new_current_thread().enable_all().build().unwrap();
    let mut ws = first.block_on(async {
        let mut ws = WebSocket::server(there, Arc::new(config));
        rest(&mut ws).await;
        ws
    });
    drop(first);
    let second = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let next = second.block_on(ws.next());
    assert!(matches!(next, Some(Err(Error::Timeout(_)))), "{next:?}");
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let (mut ws, mut client) = pair(no_pings()).await;
    for number in 0..20 {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(pin!(ws.next()).poll(&mut cx), Poll::Pending));
        client
            .write_all(&frame(true, 0x82, &[number]))
            .await
            .unwrap();
        assert_eq!(ws.next().await.unwrap().unwrap().as_bytes()[..], [number]);
    }
}

/// The streams are another runtime's, which waits for them; one of them comes after it is known that this one can't.
#[test]
fn a_runtime_without_an_io_driver_serves_the_streams_of_another() {
    let io = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let streams = io.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut streams = Vec::new();
        for _ in 0..2 {
            let client = TcpStream::connect(listener.local_addr().unwrap());
            let (client, accepted) = tokio::join!(client, listener.accept());
            streams.push((client.unwrap(), accepted.unwrap().0));
        }
        streams
    });
    let without = Builder::new_current_thread().enable_time().build().unwrap();
    without.block_on(async {
        for (mut client, stream) in streams {
            client.write_all(REQUEST.as_bytes()).await.unwrap();
            let mut ws = Acceptor::default().accept(stream).await.unwrap();
            read_head(&mut client).await;
            let talk = async {
                client.write_all(&frame(true, 0x82, b"!")).await.unwrap();
                assert_eq!(read(&mut client, 3).await, b"\x82\x01!");
            };
            let echo = async {
                let message = ws.next().await.unwrap().unwrap();
                ws.send(message).await.unwrap();
            };
            tokio::join!(talk, echo);
        }
    });
}
