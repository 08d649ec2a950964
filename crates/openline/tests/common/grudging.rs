//! A transport that makes the caller wait before each byte.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Pending before each byte, in both directions, and woken at once.
pub(crate) struct Grudging<T> {
    inner: T,
    read_ready: bool,
    write_ready: bool,
}

impl<T> Grudging<T> {
    pub(crate) const fn new(inner: T) -> Self {
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
