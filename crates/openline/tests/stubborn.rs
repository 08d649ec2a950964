//! Peers and transports that hold everything up: nothing hangs, and nothing is lost that could be told.

mod common;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use common::raw_server;
use futures_util::{SinkExt, StreamExt};
use openline::{CloseCode, Config, Error, SendError, Timeout, WebSocket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream, ReadBuf, duplex};
use tokio::time::{Instant, sleep, timeout};

const HOUR: Duration = Duration::from_secs(3600);

fn no_pings() -> Arc<Config> {
    Arc::new(Config::default().ping_interval(None))
}

#[tokio::test(start_paused = true)]
async fn bytes_that_a_buffering_transport_cannot_get_rid_of_run_into_the_write_deadline() {
    // The outbox is empty, and the transport's own buffer is not: as with TLS and a peer that reads nothing.
    let (here, _there) = duplex(64);
    let mut ws = WebSocket::server(BufStream::with_capacity(8192, 8192, here), no_pings());
    let sent = timeout(HOUR, ws.send(vec![0; 1000]))
        .await
        .expect("send hangs");
    assert!(
        matches!(sent, Err(Error::Timeout(Timeout::Write))),
        "{sent:?}"
    );

    let (here, _there) = duplex(64);
    let ws = WebSocket::server(BufStream::with_capacity(8192, 8192, here), no_pings());
    let (mut sender, mut receiver) = ws.split();
    let sent = timeout(HOUR, sender.send(vec![0; 1000]))
        .await
        .expect("send hangs");
    assert!(
        matches!(sent, Err(Error::Timeout(Timeout::Write))),
        "{sent:?}"
    );
    // Whoever receives is told the same, and not that the peer has gone.
    let next = receiver.next().await;
    assert!(
        matches!(next, Some(Err(Error::Timeout(Timeout::Write)))),
        "{next:?}"
    );
    assert!(receiver.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_end_that_a_buffering_transport_cannot_tell_runs_into_the_close_deadline() {
    for said in [&b"\x81\x01x"[..], b"\x88\x82\x00\x00\x00\x00\x03\xe8"] {
        let (here, mut there) = duplex(64);
        let mut ws = WebSocket::server(BufStream::with_capacity(8192, 8192, here), no_pings());
        ws.feed(vec![0; 1000]).unwrap();
        there.write_all(said).await.unwrap();
        let began = Instant::now();
        let end = async { while ws.next().await.is_some() {} };
        timeout(HOUR, end).await.expect("next hangs");
        assert!(
            began.elapsed() <= Duration::from_secs(6),
            "{:?}",
            began.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_connection_refuses_at_once() {
    let (here, _there) = duplex(64);
    let mut ws = WebSocket::server(here, no_pings());
    assert!(matches!(
        ws.send(vec![0; 2 << 20]).await,
        Err(Error::Timeout(Timeout::Write))
    ));
    for _ in 0..2 {
        let sent = timeout(HOUR, ws.send("x")).await.expect("send hangs");
        assert!(
            matches!(sent, Err(Error::Send(SendError::Closing))),
            "{sent:?}"
        );
        let flushed = timeout(HOUR, ws.flush()).await.expect("flush hangs");
        assert!(
            matches!(flushed, Err(Error::Send(SendError::Closing))),
            "{flushed:?}"
        );
    }

    let (here, _there) = duplex(64);
    let (mut one, receiver) = WebSocket::server(here, no_pings()).split();
    let mut two = one.clone();
    drop(receiver);
    let both = async { tokio::join!(one.send(vec![0; 2 << 20]), two.send(vec![0; 2 << 20])) };
    let (one, two) = timeout(HOUR, both).await.expect("a clone hangs");
    assert!(one.is_err() && two.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_stream_and_a_sink_in_two_tasks_wake_each_other() {
    let (here, mut there) = duplex(1000);
    let (mut sink, mut stream) = WebSocket::server(here, no_pings()).split_as_futures();
    let reading = tokio::spawn(async move { while let Some(Ok(_)) = stream.next().await {} });
    let began = Instant::now();
    let writing =
        tokio::spawn(async move { SinkExt::send(&mut sink, vec![0; 100_000].into()).await });
    sleep(Duration::from_secs(2)).await;
    // The reading task is woken, and finds that it can write.
    there.write_all(b"\x82\x80\x00\x00\x00\x00").await.unwrap();
    let mut bytes = vec![0; 100_010];
    there.read_exact(&mut bytes).await.unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(
        began.elapsed().as_secs(),
        2,
        "the sink was woken by the bytes that left"
    );
    drop(there);
    reading.await.unwrap();
}

/// `futures`' own way to part a stream from a sink.
trait SplitAsFutures: Sized {
    fn split_as_futures(
        self,
    ) -> (
        futures_util::stream::SplitSink<WebSocket, openline::Message>,
        futures_util::stream::SplitStream<WebSocket>,
    );
}
impl SplitAsFutures for WebSocket {
    fn split_as_futures(
        self,
    ) -> (
        futures_util::stream::SplitSink<WebSocket, openline::Message>,
        futures_util::stream::SplitStream<WebSocket>,
    ) {
        StreamExt::split(self)
    }
}

/// A peer that talks without end, and takes everything.
struct Flood {
    frame: &'static [u8],
}

impl AsyncRead for Flood {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while buf.remaining() >= self.frame.len() {
            buf.put_slice(self.frame);
        }
        Poll::Ready(Ok(()))
    }
}
impl AsyncWrite for Flood {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn attack_30_a_peer_that_never_stops_talking_cannot_put_off_the_close() {
    // An empty message, a ping, a pong: each as fast as it can be read.
    for frame in [
        b"\x82\x80\x00\x00\x00\x00",
        b"\x89\x80\x00\x00\x00\x00",
        b"\x8a\x80\x00\x00\x00\x00",
    ] {
        let config = Config::default().close_timeout(Duration::from_millis(50));
        let mut ws = WebSocket::server(Flood { frame }, config.into());
        let closed = ws.close(CloseCode::NORMAL, "").await.unwrap();
        assert!(!closed.clean);
    }
}

#[tokio::test]
async fn attack_27_a_flood_of_control_frames_leaves_the_thread_to_others() {
    let mut ws = WebSocket::server(
        Flood {
            frame: b"\x8a\x80\x00\x00\x00\x00",
        },
        Arc::default(),
    );
    let mut next = pin!(ws.next());
    let polled = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await;
    assert!(polled, "the poll came back");
}

#[tokio::test]
async fn what_the_peer_said_before_it_left_is_heard_though_nothing_can_be_sent_any_more() {
    let (mut server, mut client) = raw_server().await;
    server
        .write_all(b"\x81\x03bye\x88\x0c\x03\xf0too greedy")
        .await
        .unwrap();
    drop(server);
    // The first write is answered by a reset, and a later one fails.
    while client.send("more").await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.next().await.unwrap().unwrap().as_text(), Some("bye"));
    assert!(client.next().await.is_none());
    let closed = client.closed().unwrap();
    assert_eq!(closed.received.unwrap().to_string(), "1008 (too greedy)");
    assert!(!closed.clean, "our Close never left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clones_that_send_at_once_wait_and_are_not_refused() {
    let (here, there) = duplex(64);
    let config = Config::default().max_outbox(1);
    let (sender, _receiver) = WebSocket::server(here, config.into()).split();
    let mut peer = WebSocket::client(there, Arc::default());
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let mut sender = sender.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..500 {
                sender.send("one of many").await?;
            }
            Ok::<_, Error>(())
        }));
    }
    for _ in 0..8 * 500 {
        peer.next().await.unwrap().unwrap();
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_sender_left_behind_is_sent_by_the_receiver() {
    let (here, there) = duplex(1000);
    let (sender, mut receiver) = WebSocket::server(here, no_pings()).split();
    let waiting = tokio::spawn(async move { receiver.next().await.is_none() });
    tokio::task::yield_now().await;
    sender.feed("left behind").unwrap();
    drop(sender);
    let mut peer = WebSocket::client(there, no_pings());
    assert_eq!(
        peer.next().await.unwrap().unwrap().as_text(),
        Some("left behind")
    );
    peer.close(CloseCode::NORMAL, "").await.unwrap();
    assert!(waiting.await.unwrap());
}
