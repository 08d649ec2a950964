//! What holds still on any machine: writes, allocations, bytes of heap, and who shares what.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use allocation_counter::measure;
use futures_util::StreamExt;
use openline::{Broadcast, Config, Error, WebSocket, corked};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A transport that gives the same bytes so many times, then nothing more, and takes all that is written.
struct Wire {
    input: Vec<u8>,
    times: usize,
    seen: Arc<Seen>,
}

/// What was written, counted.
#[derive(Default)]
struct Seen {
    writes: AtomicUsize,
    bytes: AtomicUsize,
    /// Where the last slice of the last write lay.
    place: AtomicUsize,
}

impl Seen {
    fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Wire {
    fn new(input: Vec<u8>, times: usize) -> (Self, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        let wire = Self {
            input,
            times,
            seen: Arc::clone(&seen),
        };
        (wire, seen)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.times > 0 {
            self.times -= 1;
            buf.put_slice(&self.input);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = slices.iter().map(|slice| slice.len()).sum();
        self.seen.writes.fetch_add(1, Ordering::Relaxed);
        self.seen.bytes.fetch_add(count, Ordering::Relaxed);
        let last = slices.last().map_or(0, |slice| slice.as_ptr().addr());
        self.seen.place.store(last, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Masked text frames of ten bytes, as a client sends them.
fn frames(count: usize) -> Vec<u8> {
    b"\x81\x8a\0\0\0\0ten bytes!".repeat(count)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let mut runtime = runtime;
    runtime.enable_all().build().unwrap().block_on(future)
}

async fn echo(mut ws: WebSocket) -> Result<(), Error> {
    while let Some(message) = ws.next().await {
        ws.send(message?).await?;
    }
    Ok(())
}

async fn echo_lent(mut ws: WebSocket) -> Result<(), Error> {
    let (sender, receiver) = ws.halves();
    while let Some(message) = receiver.next_lent().await {
        sender.send(message?).await?;
    }
    Ok(())
}

async fn echo_stream(mut ws: WebSocket) -> Result<(), Error> {
    while let Some(message) = StreamExt::next(&mut ws).await {
        ws.send(message?).await?;
    }
    Ok(())
}

#[test]
fn a_thousand_frames_in_one_read_are_answered_by_one_write() {
    run(async {
        let (wire, seen) = Wire::new(frames(1000), 1);
        let ended = corked(echo(WebSocket::server(wire, Arc::default()))).await;
        assert!(matches!(ended, Err(Error::Disconnected)));
        assert_eq!((seen.writes(), seen.bytes()), (1, 12_000));

        let (wire, seen) = Wire::new(frames(1000), 3);
        let _ = corked(echo_lent(WebSocket::server(wire, Arc::default()))).await;
        assert_eq!((seen.writes(), seen.bytes()), (3, 36_000));

        // Where nobody would flush, each `send` does.
        let (wire, seen) = Wire::new(frames(1000), 1);
        let _ = echo(WebSocket::server(wire, Arc::default())).await;
        assert_eq!((seen.writes(), seen.bytes()), (1000, 12_000));
    });
}

/// How often memory was asked for while so many reads of a hundred messages were echoed, beyond what one read costs.
fn allocations<F: Future<Output = Result<(), Error>>>(echo: impl Fn(WebSocket) -> F) -> u64 {
    run(async {
        let count = |reads| {
            let (wire, seen) = Wire::new(frames(100), reads);
            let mut echo = Box::pin(corked(echo(WebSocket::server(wire, Arc::default()))));
            let used = measure(|| {
                let mut cx = Context::from_waker(std::task::Waker::noop());
                while echo.as_mut().poll(&mut cx).is_pending() {}
            });
            assert_eq!(seen.bytes(), reads * 1200);
            used.count_total
        };
        // What the thread lends is made, and as large as it gets.
        count(10);
        count(100) - count(10)
    })
}

#[test]
fn a_small_message_that_is_lent_and_echoed_allocates_nothing() {
    assert_eq!(allocations(echo_lent), 0);
}

#[test]
fn a_small_message_that_is_owned_and_echoed_allocates_once() {
    let messages = 90 * 100;
    assert!(allocations(echo) <= messages);
    assert!(allocations(echo_stream) <= messages);
}

#[test]
fn an_idle_connection_owns_few_bytes_also_after_traffic() {
    run(async {
        let config = Arc::new(Config::default());
        let connection = |reads| {
            let (wire, _) = Wire::new(frames(100), reads);
            let mut ws = WebSocket::server(wire, Arc::clone(&config));
            let used = measure(|| {
                let mut cx = Context::from_waker(std::task::Waker::noop());
                for _ in 0..reads * 100 {
                    let next = std::pin::pin!(ws.next()).poll(&mut cx);
                    let Poll::Ready(Some(Ok(message))) = next else {
                        panic!("a message was to be there");
                    };
                    ws.feed(message).unwrap();
                }
                let flushed = std::pin::pin!(ws.flush()).poll(&mut cx);
                assert!(matches!(flushed, Poll::Ready(Ok(()))));
                if reads > 0 {
                    // The buffer goes back before the connection waits.
                    let (read, _) = ws.traffic().pair();
                    assert_eq!(read, reads as u64 * 1600);
                }
            });
            (ws, used.bytes_current)
        };
        connection(3);
        connection(3);
        let mut kept = Vec::new();
        let used = measure(|| {
            for _ in 0..100 {
                let (wire, _) = Wire::new(Vec::new(), 0);
                kept.push(WebSocket::server(wire, Arc::clone(&config)));
            }
        });
        let each = (used.bytes_current as usize - kept.capacity() * size_of::<WebSocket>()) / 100;
        // The wire's own 56 bytes and what it counts included.
        assert!(each <= 448, "{each} bytes");
        let (_ws, more) = connection(3);
        assert!(more <= 0, "{more} bytes more after traffic");
    });
}

#[test]
#[cfg(target_os = "linux")]
fn an_idle_connection_of_a_server_takes_few_bytes_of_heap_also_after_traffic() {
    const COUNT: usize = 200;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let server = openline::Server::default();
        let echo = |ws: WebSocket, _| async {
            let (mut sender, mut receiver) = ws.split();
            while let Some(message) = receiver.next_lent().await {
                sender.send(message?).await?;
            }
            Ok::<_, Error>(())
        };
        server.run(listener, std::future::pending(), echo).await;
    });
    // The clients are another thread's, so that theirs is not counted.
    let (order, ordered) = std::sync::mpsc::channel::<usize>();
    let (done, mut is_done) = tokio::sync::mpsc::unbounded_channel();
    let clients = std::thread::spawn(move || {
        let mut clients = Vec::new();
        for count in ordered {
            while clients.len() < count {
                clients.push(std::net::TcpStream::connect(address).unwrap());
                talk(clients.last_mut().unwrap());
            }
            done.send(()).unwrap();
        }
    });
    let mut open = |count| {
        order.send(count).unwrap();
        measure(|| runtime.block_on(async { is_done.recv().await.unwrap() })).bytes_current
    };
    // What the thread and the runtime need for the first ones.
    open(100);
    let each = open(100 + COUNT) as usize / COUNT;
    assert!(each <= 832, "{each} bytes");
    drop(order);
    clients.join().unwrap();
}

/// Opens a WebSocket, and has a burst of messages echoed.
fn talk(client: &mut std::net::TcpStream) {
    use std::io::{Read, Write};
    let request = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    client.write_all(&frames(100)).unwrap();
    client.read_exact(&mut [0; 1200]).unwrap();
}

/// Both numbers of a connection's traffic.
trait Numbers {
    fn pair(self) -> (u64, u64);
}

impl Numbers for openline::Traffic {
    fn pair(self) -> (u64, u64) {
        (self.received, self.sent)
    }
}

#[test]
fn receivers_of_a_broadcast_share_its_bytes() {
    run(async {
        let news = Broadcast::binary(&[7; 5000]);
        let mut places = Vec::new();
        for _ in 0..3 {
            let (wire, seen) = Wire::new(Vec::new(), 0);
            let mut ws = WebSocket::server(wire, Arc::default());
            ws.send(&news).await.unwrap();
            assert_eq!(seen.bytes(), 5004);
            places.push(seen.place.load(Ordering::Relaxed));
        }
        assert_eq!(places, [news.as_bytes().as_ptr().addr(); 3]);
    });
}

#[test]
fn who_took_all_that_was_read_keeps_no_buffer() {
    run(async {
        let mut kept = Vec::new();
        let used = measure(|| {
            for _ in 0..20 {
                let (wire, _) = Wire::new(frames(3), 1);
                let mut ws = WebSocket::server(wire, Arc::default());
                let mut cx = Context::from_waker(std::task::Waker::noop());
                for _ in 0..3 {
                    let next = std::pin::pin!(ws.next()).poll(&mut cx);
                    assert!(matches!(next, Poll::Ready(Some(Ok(_)))));
                }
                // It may be long until it asks for more.
                kept.push(ws);
            }
        });
        let most = 2 * 64 * 1024; // what the thread lends, and the connections themselves
        assert!(used.bytes_current < most, "{used:?}");
    });
}
