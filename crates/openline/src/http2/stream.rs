//! A stream of HTTP/2 as a stream of bytes.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::{FlowControl, Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::AbortHandle;

use super::into_io;
use crate::gather::TakesPieces;

/// The bytes of a stream, in both directions.
///
/// What arrives is taken out of h2 at once, by a task of the stream's own, and kept here in one piece until it is read; only
/// then does the peer get its window back. Left in h2, each small frame would cost a few hundred bytes, and enough of them
/// in streams that nobody reads would end the whole connection.
pub(crate) struct Http2Stream {
    send: SendStream<Bytes>,
    window: FlowControl,
    arrived: Arc<Mutex<Arrived>>,
    taking: AbortHandle,
}

/// What the peer sent and nobody has read; the stream's window bounds it.
#[derive(Default)]
struct Arrived {
    bytes: BytesMut,
    end: Option<Result<(), h2::Error>>,
    reader: Option<Waker>,
}

impl Http2Stream {
    pub(crate) fn new(send: SendStream<Bytes>, mut receive: RecvStream) -> Self {
        let arrived = Arc::new(Mutex::new(Arrived::default()));
        Self {
            send,
            window: receive.flow_control().clone(),
            taking: tokio::spawn(take(receive, Arc::clone(&arrived))).abort_handle(),
            arrived,
        }
    }
}

/// A stream that did not end is reset, once the task has let go of it, too.
impl Drop for Http2Stream {
    fn drop(&mut self) {
        self.taking.abort();
    }
}

async fn take(mut receive: RecvStream, arrived: Arc<Mutex<Arrived>>) {
    loop {
        let data = std::future::poll_fn(|cx| receive.poll_data(cx)).await;
        let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
        match data {
            Some(Ok(data)) => arrived.bytes.extend_from_slice(&data),
            None => arrived.end = Some(Ok(())),
            // A server whose answer is complete may say so by a reset (RFC 9113 §8.1).
            Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => {
                arrived.end = Some(Ok(()));
            }
            Some(Err(error)) => arrived.end = Some(Err(error)),
        }
        let (reader, ended) = (arrived.reader.take(), arrived.end.is_some());
        drop(arrived);
        if let Some(reader) = reader {
            reader.wake();
        }
        if ended {
            return;
        }
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut arrived = this.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let count = arrived.bytes.len().min(buf.remaining());
        if count > 0 {
            buf.put_slice(&arrived.bytes[..count]);
            arrived.bytes.advance(count);
            if arrived.bytes.is_empty() {
                // An idle stream owns no memory.
                arrived.bytes = BytesMut::new();
            }
            drop(arrived);
            // It fails on a stream that is over, whose window nobody wants.
            let _ = this.window.release_capacity(count);
            return Poll::Ready(Ok(()));
        }
        match &mut arrived.end {
            Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).map_err(into_io)),
            None => {
                arrived.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl TakesPieces for Http2Stream {
    /// No more than one byte is reserved: what a stream reserves and does not use is taken from all others.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.send.capacity() == 0 {
            self.send.reserve_capacity(1);
            if self.send.capacity() > 0 {
                break;
            }
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_take(&mut self, _: &mut Context<'_>, piece: Vec<u8>) -> Poll<io::Result<usize>> {
        let count = piece.len();
        let sent = self.send.send_data(piece.into(), false);
        Poll::Ready(sent.map(|()| count).map_err(into_io))
    }

    /// The connection's task writes by itself.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(into_io))
    }
}
