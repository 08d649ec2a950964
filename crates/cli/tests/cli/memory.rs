//! A server that has less memory than its listeners could make it keep.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::post::post;
use crate::support::Server;

const LISTENERS: usize = 40;
const BODY: usize = 200_000;
const LIMIT: usize = 160 << 20;

/// A WebSocket on a channel of its own, of which nothing is read and little is taken by the system.
fn stalled(address: &str, channel: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let connected = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(address.parse().unwrap()).await.unwrap();
        stream.into_std().unwrap()
    });
    connected.set_nonblocking(false).unwrap();
    let mut stream = connected;
    write!(
        stream,
        "GET /channels/{channel} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
    )
    .unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    stream
}

/// The most memory that a process ever had.
fn peak(id: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.unwrap().trim().strip_suffix("kB").unwrap();
    kilobytes.trim().parse::<usize>().unwrap() << 10
}

/// Each listener is within its bound, and all together are not: 640 MB could wait for them.
#[test]
fn listeners_that_stall_together_are_let_go_before_there_is_no_memory() {
    let limit = LIMIT.to_string();
    #[rustfmt::skip]
    let server = Server::start_with(&[
        "serve", "--memory", "--listen", "127.0.0.1:0",
        "--limits-memory", &limit, "--limits-queue", "16MiB", "--timeouts-write", "1h",
        "--history-total-bytes", "1MiB",
        "--limits-publish-rate", "100000", "--limits-request-rate", "100000",
    ]);
    let address = server.address().to_owned();
    let channel = |number: usize| format!("m/{}", number % LISTENERS);
    let listeners: Vec<_> = (0..LISTENERS)
        .map(|number| stalled(&address, &channel(number)))
        .collect();
    let body = "x".repeat(BODY);
    let mut refused = 0;
    // When it is full it is asked again and again, until it has room, though none of them has taken anything.
    for number in 0.. {
        assert!(refused > 0 || number < LISTENERS * 500, "it is never full");
        let answer = post(&address, &channel(number), "", &body).unwrap();
        if answer.status != 201 {
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(answer.json()["detail"].as_str().unwrap().contains("memory"));
            refused += 1;
        } else if refused > 0 {
            break;
        }
    }
    server.running.says("the slowest listeners were let go");
    let peak = peak(server.running.id());
    assert!(peak < 2 * LIMIT, "{peak} bytes");
    drop(listeners);
}
