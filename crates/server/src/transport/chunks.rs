//! A stream on its way to a client without hyper: chunks (RFC 9112 §7.1), after a head that is sent.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite as _;

use super::pieces::Pieces;
use crate::sync::lock;
use crate::wire::Wire;

/// Chunks that go out in one write at most.
const MAX_CHUNKS: usize = 16;
/// Bytes after which no more chunks are put to those that wait.
const MAX_BYTES: usize = 64 * 1024;
/// Bytes of a chunk's size, in hexadecimal digits and with its line's end, at most.
const MAX_SIZE: usize = 2 * size_of::<usize>() + 2;

/// Sends `pieces` to their end, and the end.
///
/// # Errors
/// The client is gone, takes nothing, or lags while it takes nothing: what is not sent is of no use to it.
pub(crate) async fn send(wire: &mut Wire, pieces: &Mutex<Pieces>) -> io::Result<()> {
    let mut sending = Sending::default();
    poll_fn(|cx| sending.poll(wire, &mut lock(pieces), cx)).await
}

#[derive(Default)]
struct Sending {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first that were sent.
    sent: usize,
    /// The last chunk is among them, or sent.
    is_over: bool,
    /// What was written may not have left.
    is_unflushed: bool,
}

impl Sending {
    fn poll(
        &mut self,
        wire: &mut Wire,
        pieces: &mut Pieces,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            self.fill(pieces, cx);
            if self.chunks.is_empty() {
                break;
            }
            match self.poll_write(wire, cx)? {
                Poll::Ready(()) => {}
                Poll::Pending if pieces.poll_lagged(cx).is_ready() => {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Pending => break,
            }
        }
        if self.is_unflushed && Pin::new(&mut *wire).poll_flush(cx)?.is_ready() {
            self.is_unflushed = false;
        }
        if self.is_over && self.chunks.is_empty() && !self.is_unflushed {
            return Poll::Ready(Ok(()));
        }
        // What the client says is not heard before the end, which may never come; that it leaves is, unless it said something.
        match wire.poll_received(cx)? {
            Poll::Ready(false) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(true) | Poll::Pending => Poll::Pending,
        }
    }

    /// Takes what there is, as much as goes out together.
    fn fill(&mut self, pieces: &mut Pieces, cx: &mut Context<'_>) {
        let mut bytes: usize = self.chunks.iter().map(|chunk| chunk.body.len()).sum();
        while !self.is_over && self.chunks.len() < MAX_CHUNKS && bytes < MAX_BYTES {
            let Poll::Ready(piece) = pieces.poll_next(cx) else {
                return;
            };
            self.is_over = piece.is_none();
            // The last chunk is the one that is empty.
            let piece = piece.unwrap_or_default();
            bytes += piece.len();
            self.chunks.push_back(Chunk::new(piece));
        }
    }

    /// Writes once.
    fn poll_write(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slices = [IoSlice::new(&[]); 3 * MAX_CHUNKS];
        let (mut count, mut skipped) = (0, self.sent);
        for part in self.chunks.iter().flat_map(Chunk::parts) {
            let skip = skipped.min(part.len());
            skipped -= skip;
            if skip < part.len() {
                slices[count] = IoSlice::new(&part[skip..]);
                count += 1;
            }
        }
        self.is_unflushed = true;
        let written = ready!(Pin::new(wire).poll_write_vectored(cx, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.sent += written;
        while let Some(first) = self.chunks.front()
            && self.sent >= first.len()
        {
            self.sent -= first.len();
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            // One that waits owns no memory.
            self.chunks = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }
}

struct Chunk {
    size: [u8; MAX_SIZE],
    size_len: usize,
    body: Bytes,
}

impl Chunk {
    fn new(body: Bytes) -> Self {
        let mut size = [0; MAX_SIZE];
        let mut rest = &mut size[..];
        // It has room for the largest.
        let _ = io::Write::write_fmt(&mut rest, format_args!("{:x}\r\n", body.len()));
        let size_len = MAX_SIZE - rest.len();
        Self {
            size,
            size_len,
            body,
        }
    }

    fn parts(&self) -> [&[u8]; 3] {
        [&self.size[..self.size_len], &self.body, b"\r\n"]
    }

    fn len(&self) -> usize {
        self.size_len + self.body.len() + 2
    }
}
