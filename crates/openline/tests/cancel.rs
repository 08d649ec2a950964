//! Futures that are dropped at every point where they wait: nothing is lost, doubled or torn.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use openline::{CloseCode, Config, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A transport that makes the caller wait before each byte, in both directions.
struct Grudging<T> {
    inner: T,
    read_ready: bool,
    write_ready: bool,
}

impl<T> Grudging<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            read_ready: false,
            write_ready: false,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Grudging<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.read_ready = !self.read_ready;
        if self.read_ready {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut one = [0];
        let mut byte = ReadBuf::new(&mut one);
        let polled = Pin::new(&mut self.inner).poll_read(cx, &mut byte);
        buf.put_slice(byte.filled());
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Grudging<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.write_ready = !self.write_ready;
        if self.write_ready {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_write(cx, &buf[..1])
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Polls a future once and drops it.
async fn once<T>(future: impl Future<Output = T>) -> Option<T> {
    // A task that never yields has used up its share some time, and tokio's streams hold still.
    tokio::task::yield_now().await;
    let mut future = pin!(future);
    std::future::poll_fn(|_| {
        match future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Poll::Ready(None),
        }
    })
    .await
}

fn pair() -> (WebSocket, WebSocket) {
    let (here, there) = tokio::io::duplex(1 << 16);
    let config = Config::default();
    (
        WebSocket::client(Grudging::new(here), config.clone().into()),
        WebSocket::server(Grudging::new(there), config.into()),
    )
}

#[tokio::test]
async fn next_is_dropped_at_every_wait() {
    let (mut client, mut server) = pair();
    // Fragments of a byte each, a ping in the middle, text with long characters: every state of the parser is left.
    let expected = ["a", "größer", "", "€€€"];
    for text in expected {
        client.send(text).await.unwrap();
        client.feed_ping(b"p").unwrap();
    }
    client.flush().await.unwrap();
    let mut got = Vec::new();
    let mut drops = 0;
    while got.len() < expected.len() {
        match once(server.next()).await {
            Some(message) => got.push(message.unwrap().unwrap().as_text().unwrap().to_owned()),
            None => drops += 1,
        }
    }
    assert_eq!(got, expected);
    assert!(drops > 40, "only {drops} futures were dropped");
}

#[tokio::test]
async fn send_is_dropped_at_every_wait() {
    let (mut client, mut server) = pair();
    let expected: Vec<String> = (0..20).map(|n| format!("message {n}")).collect();
    for text in &expected {
        // Dropped after its first wait: the message is queued, once. The rest is done by whoever comes next.
        assert!(once(client.send(text.as_str())).await.is_none());
        for _ in 0..7 {
            let _ = once(client.flush()).await;
        }
    }
    client.flush().await.unwrap();
    for text in &expected {
        assert_eq!(
            server.next().await.unwrap().unwrap().as_text(),
            Some(text.as_str())
        );
    }
}

#[tokio::test]
async fn close_is_dropped_at_every_wait() {
    let (mut client, mut server) = pair();
    client.feed("before").unwrap();
    let (mut closed, mut heard) = (None, Vec::new());
    let mut drops = 0;
    while closed.is_none() {
        closed = once(client.close(CloseCode::NORMAL, "bye")).await;
        drops += 1;
        if let Some(Some(message)) = once(server.next()).await {
            heard.push(message.unwrap().as_text().unwrap().to_owned());
        }
    }
    assert!(drops > 20, "only {drops} futures were dropped");
    assert_eq!(heard, ["before"]);
    assert!(closed.unwrap().unwrap().clean);
    assert!(server.next().await.is_none());
    assert!(server.closed().unwrap().clean);
}

#[tokio::test]
async fn halves_are_dropped_at_every_wait() {
    let (client, server) = pair();
    let (mut sender, _keep) = client.split();
    let (_, mut receiver) = server.split();
    let expected: Vec<String> = (0..20).map(|n| format!("message {n}")).collect();
    let mut got = Vec::new();
    for text in &expected {
        let _ = once(sender.send(text.as_str())).await;
    }
    while got.len() < expected.len() {
        let _ = once(sender.flush()).await;
        if let Some(message) = once(receiver.next()).await {
            got.push(message.unwrap().unwrap().as_text().unwrap().to_owned());
        }
    }
    assert_eq!(got, expected);
}
