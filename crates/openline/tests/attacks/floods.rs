//! Peers that send without end and read nothing.

use std::pin::Pin;
use std::task::{Context, Poll};

use openline::{Config, Error, ProtocolError, Timeout, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::common::frame;
use crate::{SCRATCH, memory, runtime};

/// As many as once made a peer grow by 61 MB.
const FLOOD: usize = 400_000;

/// A transport whose other end sends `first`, then `frame` so many times, then ends, and takes nothing.
struct Flood {
    first: Vec<u8>,
    frame: Vec<u8>,
    left: usize,
}

impl Flood {
    fn new(first: Vec<u8>, frame: Vec<u8>) -> Self {
        let left = FLOOD;
        Self { first, frame, left }
    }
}

impl AsyncRead for Flood {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let first = std::mem::take(&mut self.first);
        buf.put_slice(&first);
        while self.left > 0 && buf.remaining() >= self.frame.len() {
            buf.put_slice(&self.frame);
            self.left -= 1;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Pending
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Pending
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Pending
    }
}

fn end(server: bool, flood: Flood) -> WebSocket {
    let config = Config::default().into();
    match server {
        true => WebSocket::server(flood, config),
        false => WebSocket::client(flood, config),
    }
}

/// Reads it whole or in halves; how many messages came, and how it ended.
async fn read(ws: WebSocket, split: bool) -> (usize, Option<Error>) {
    let mut messages = 0;
    let mut count = |next| match next {
        Some(Ok(_)) => {
            messages += 1;
            None
        }
        Some(Err(error)) => Some(Some(error)),
        None => Some(None),
    };
    let ended = if split {
        let (_sender, mut receiver) = ws.split();
        loop {
            if let Some(ended) = count(receiver.next().await) {
                break ended;
            }
        }
    } else {
        let mut ws = ws;
        loop {
            if let Some(ended) = count(ws.next().await) {
                break ended;
            }
        }
    };
    (messages, ended)
}

/// Reads such a flood in both roles and both ways, within the memory that a connection may have.
fn flooded(
    first: u8,
    then: u8,
    payload: &[u8],
    messages: usize,
    ended: impl Fn(&Option<Error>) -> bool,
) {
    let runtime = runtime();
    for server in [true, false] {
        for split in [false, true] {
            let begin = if first == 0 {
                Vec::new()
            } else {
                frame(server, first, payload)
            };
            let ws = end(server, Flood::new(begin, frame(server, then, payload)));
            let ((came, end), used) = memory(&runtime, read(ws, split));
            let what = format!("server: {server}, split: {split}, {used:?}, {end:?}");
            assert_eq!(came, messages, "{what}");
            assert!(ended(&end), "{what}");
            // The buffer for reads, pongs that wait, a timer.
            assert!(used.peak <= (SCRATCH + 48 * 1024) as u64, "{what}");
        }
    }
}

fn disconnected(end: &Option<Error>) -> bool {
    matches!(end, Some(Error::Disconnected))
}

#[test]
fn attack_05_a_flood_of_pings_from_a_peer_that_never_reads_stays_bounded() {
    for size in [0, 125] {
        flooded(0, 0x89, &vec![b'p'; size], 0, disconnected);
    }
}

#[test]
fn defect_5_400_000_pings_from_a_peer_that_never_reads_leave_nothing() {
    let runtime = runtime();
    for server in [true, false] {
        let ws = end(
            server,
            Flood::new(Vec::new(), frame(server, 0x89, &[b'p'; 125])),
        );
        // Once, so that the thread has its buffer for reads.
        drop(runtime.block_on(read(ws, false)));
        let ws = end(
            server,
            Flood::new(Vec::new(), frame(server, 0x89, &[b'p'; 125])),
        );
        let (ended, used) = memory(&runtime, read(ws, false));
        assert!(disconnected(&ended.1));
        assert!(used.kept <= 256, "server: {server}, {used:?}");
    }
}

#[test]
fn attack_05_a_flood_of_pongs_leaves_nothing_behind() {
    flooded(0, 0x8a, &[b'p'; 125], 0, disconnected);
}

#[test]
fn attack_05_a_flood_of_closes_is_answered_once() {
    // A client hears the stream's end; a server's answer never leaves.
    flooded(0x88, 0x88, b"\x03\xe8", 0, |end| match end {
        None | Some(Error::Disconnected | Error::Timeout(Timeout::Close)) => true,
        Some(other) => panic!("{other}"),
    });
}

#[test]
fn attack_05_a_flood_of_empty_messages_is_the_programs_to_read() {
    flooded(0, 0x82, b"", FLOOD, disconnected);
}

#[test]
fn attack_04_a_flood_of_fragments_ends_the_connection() {
    for payload in [&b""[..], b"x"] {
        flooded(0x02, 0x00, payload, 0, |end| {
            let limit = ProtocolError::TooManyFragments { limit: 16_384 };
            matches!(end, Some(Error::Protocol(error)) if *error == limit)
        });
    }
}

/// On a stack that calls which pile up would fill at once.
#[test]
fn attack_19_floods_need_no_stack() {
    for (first, then) in [(0, 0x89), (0, 0x8a), (0, 0x82), (0x02, 0x00)] {
        let thread = std::thread::Builder::new().stack_size(512 * 1024);
        let flooded = move || {
            for server in [true, false] {
                let begin = if first == 0 {
                    Vec::new()
                } else {
                    frame(server, first, b"")
                };
                let mut flood = Flood::new(begin, frame(server, then, b""));
                flood.left = 100_000;
                let ws = end(server, flood);
                assert!(runtime().block_on(read(ws, false)).1.is_some());
            }
        };
        thread.spawn(flooded).unwrap().join().unwrap();
    }
}
