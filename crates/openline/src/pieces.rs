//! Messages without buffering (RFC 6455 §5.4): read and written in pieces, of any length, in memory that does not grow.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use openline_proto::{CloseCode, Kind, Outbound, SendError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::error::Error;
use crate::lent::Found;
use crate::receive::{Pieces, Receive};
use crate::shared::Queued;
use crate::split::Sender;

/// The longest fragment that is made of what is written, in bytes.
const FRAGMENT: usize = 64 * 1024;

/// A message that is received in pieces, as they come: an [`AsyncRead`], and a [`Stream`] of chunks.
///
/// See [`WebSocket::next_reader`](crate::WebSocket::next_reader). All its chunks together are the message; a character of
/// text may be cut between two. What is left of it when it is dropped is discarded by the next call for a message, and has to end within
/// [`Config::message_timeout`](crate::Config::message_timeout) then.
///
/// Pings are answered and keepalive is kept while it is read, and a peer that sends faster than it is read has to wait.
#[derive(Debug)]
pub struct MessageReader<'a> {
    receive: &'a mut Receive,
    piece: Found,
    failed: bool,
}

impl<'a> MessageReader<'a> {
    pub(crate) async fn next(receive: &'a mut Receive) -> Option<Result<Self, Error>> {
        // Nobody wants the rest of the last one.
        receive.discard();
        let piece = std::future::poll_fn(|cx| receive.poll_next::<Pieces>(cx)).await?;
        Some(piece.map(|piece| Self {
            receive,
            piece,
            failed: false,
        }))
    }

    /// Text or binary.
    pub const fn kind(&self) -> Kind {
        self.piece.kind
    }

    /// The next bytes of the message, as many as there are; `None` at its end. Cancel-safe.
    ///
    /// They are at most 65 KiB. Only where a [`next`](crate::WebSocket::next) was dropped in the middle of the message, the first
    /// chunk has all that it had put together.
    ///
    /// # Errors
    /// As [`WebSocket::next`](crate::WebSocket::next), and [`Error::Unfinished`] if the peer closed the connection within
    /// the message.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// Ready when the piece has bytes that were not taken, with `false` at the message's end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        loop {
            if !self.piece.bytes(self.receive.scratch()).is_empty() {
                return Poll::Ready(Ok(true));
            }
            if self.failed {
                return Poll::Ready(Err(Error::Unfinished));
            }
            if self.piece.last {
                return Poll::Ready(Ok(false));
            }
            match ready!(self.receive.poll_next::<Pieces>(cx)) {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => {
                    self.failed = true;
                    return Poll::Ready(Err(error));
                }
                None => self.failed = true,
            }
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        let more = ready!(self.poll_piece(cx))?;
        Poll::Ready(Ok(more.then(|| self.piece.take(self.receive.scratch()))))
    }
}

impl AsyncRead for MessageReader<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if ready!(this.poll_piece(cx)).map_err(io_error)? {
            let bytes = this.piece.bytes(this.receive.scratch());
            let count = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..count]);
            this.piece.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl Stream for MessageReader<'_> {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        self.poll_chunk(cx).map(Result::transpose)
    }
}

/// A message that is sent in pieces, as they are written: an [`AsyncWrite`].
///
/// See [`WebSocket::writer`](crate::WebSocket::writer). Each write makes a fragment of at most 64 KiB, so put a
/// [`BufWriter`](tokio::io::BufWriter) around it for many small ones. The message ends with [`finish`](Self::finish), or
/// `shutdown` of the `AsyncWrite`. A message can't be taken back: one that is dropped before its end closes the connection,
/// with 1011.
#[derive(Debug)]
#[must_use = "a message that is not finished closes the connection"]
pub struct MessageWriter<'a> {
    sender: &'a mut Sender,
    /// A flush of what is queued is due.
    unflushed: bool,
    finished: bool,
}

impl<'a> MessageWriter<'a> {
    pub(crate) async fn begin(
        sender: &'a mut Sender,
        kind: Kind,
        compress: bool,
    ) -> Result<Self, Error> {
        std::future::poll_fn(|cx| {
            let begin = |outbound: &mut Outbound| outbound.begin(kind, compress);
            sender.shared.poll_act(&mut sender.timer, cx, begin)
        })
        .await?;
        Ok(Self {
            sender,
            unflushed: false,
            finished: false,
        })
    }

    /// Sends the next bytes of the message, whole. A future that is dropped may have sent a part of them.
    ///
    /// # Errors
    /// As [`WebSocket::send`](crate::WebSocket::send), and [`SendError::NotUtf8`](crate::SendError::NotUtf8) for a text that
    /// is none.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let count = std::future::poll_fn(|cx| self.poll_piece(bytes, cx)).await?;
            bytes = &bytes[count..];
        }
        std::future::poll_fn(|cx| self.poll_flushed(cx)).await
    }

    /// Sends all that a reader gives, until its end; returns how many bytes that was. A future that is dropped may have
    /// taken bytes from the reader that it did not send.
    ///
    /// # Errors
    /// As [`write`](Self::write), and [`Error::Io`] if the reader fails.
    pub async fn write_from(&mut self, mut reader: impl AsyncRead + Unpin) -> Result<u64, Error> {
        let mut buffer = vec![0; FRAGMENT];
        let mut total = 0;
        loop {
            let count = reader.read(&mut buffer).await?;
            if count == 0 {
                return Ok(total);
            }
            self.write(&buffer[..count]).await?;
            total += count as u64;
        }
    }

    /// Sends all that a stream gives, until its end; returns how many bytes that was. A future that is dropped may have
    /// taken bytes from the stream that it did not send.
    ///
    /// # Errors
    /// As [`write`](Self::write), and the stream's own as [`Error::Io`].
    pub async fn write_all_of<E>(
        &mut self,
        stream: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<u64, Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut stream = std::pin::pin!(stream);
        let mut total = 0;
        while let Some(chunk) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            let chunk = chunk.map_err(io::Error::other)?;
            self.write(&chunk).await?;
            total += chunk.len() as u64;
        }
        Ok(total)
    }

    /// Ends the message. A future that is dropped while the queue is full has not ended it, and closes the connection as a
    /// writer that is dropped does.
    ///
    /// # Errors
    /// As [`write`](Self::write); a text must not end within a character.
    pub async fn finish(mut self) -> Result<(), Error> {
        std::future::poll_fn(|cx| self.poll_finish(cx)).await
    }

    /// Queues a fragment; ready with how much of `bytes` it took.
    fn poll_piece(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<Result<usize, Error>> {
        if self.finished {
            // The message that is under way now, if there is one, is somebody else's.
            return Poll::Ready(Err(SendError::NotBegun.into()));
        }
        let piece = &bytes[..bytes.len().min(FRAGMENT)];
        let sender = &mut *self.sender;
        let queued = ready!(sender.shared.poll_act(&mut sender.timer, cx, |outbound| {
            outbound.send_piece(piece, false)
        }))?;
        self.unflushed |= queued == Queued::Flush;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if !self.finished {
            let sender = &mut *self.sender;
            let queued = ready!(sender.shared.poll_act(&mut sender.timer, cx, |outbound| {
                outbound.send_piece(b"", true)
            }))?;
            self.unflushed |= queued == Queued::Flush;
            self.finished = true;
            self.sender.shared.wake_waiting();
        }
        self.poll_flushed(cx)
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.unflushed {
            let sender = &mut *self.sender;
            ready!(sender.shared.poll_flush(&mut sender.timer, cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MessageWriter<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let count = ready!(this.poll_piece(buf, cx)).map_err(io_error)?;
        // On its way at once; whether it has left is seen before the next one.
        if let Poll::Ready(Err(error)) = this.poll_flushed(cx) {
            return Poll::Ready(Err(io_error(error)));
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flushed(cx).map_err(io_error)
    }

    /// Ends the message.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_finish(cx).map_err(io_error)
    }
}

impl Drop for MessageWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let abandoned = "a message was not finished";
            self.sender
                .shared
                .say_goodbye(CloseCode::INTERNAL, abandoned);
            self.sender.shared.wake_waiting();
            self.sender.shared.flush_now();
        }
    }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::other(error),
    }
}
