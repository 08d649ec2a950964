//! What holds still on any machine: bytes of heap.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::common::{Harness, request};

/// Heap bytes that an idle subscriber by WebSocket may keep, the library's for its connection included.
const KEPT: i64 = 896;

/// So many WebSockets, opened by a thread of their own, when nothing is left to do for them.
fn open(runtime: &Runtime, server: SocketAddr, count: usize) -> Vec<TcpStream> {
    let (opened, done) = oneshot::channel();
    std::thread::spawn(move || {
        let asked = request(
            "GET",
            "/channels/a",
            &[
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("Sec-WebSocket-Version", "13"),
            ],
            b"",
        );
        let open = |_| {
            let mut socket = TcpStream::connect(server).unwrap();
            socket.write_all(&asked).unwrap();
            let mut answer = [0; 1024];
            let count = socket.read(&mut answer).unwrap();
            assert!(answer[..count].starts_with(b"HTTP/1.1 101"));
            socket
        };
        opened.send((0..count).map(open).collect()).unwrap();
    });
    runtime.block_on(async {
        let sockets = done.await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        sockets
    })
}

#[test]
fn an_idle_websocket_keeps_little() {
    const COUNT: usize = 200;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Harness::start());
    let mut sockets = open(&runtime, server.address, 50);
    let used = allocation_counter::measure(|| {
        sockets.extend(open(&runtime, server.address, COUNT));
    });
    let each = used.bytes_current / COUNT as i64;
    assert!(each <= KEPT, "{each} bytes");
    // They are there: each hears what is published.
    runtime.block_on(server.publish("a", "x"));
    runtime.block_on(async {
        for socket in sockets {
            socket.set_nonblocking(true).unwrap();
            let socket = tokio::net::TcpStream::from_std(socket).unwrap();
            socket.readable().await.unwrap();
            let mut frame = [0; 8];
            assert_eq!(socket.try_read(&mut frame).unwrap(), 3);
            assert_eq!(frame[..3], [0x81, 1, b'x']);
        }
    });
}
