//! TCP sockets as tokio has them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::stream::{Duplex, Transport};
use crate::wakers::Slot;

pub(crate) fn take_over(stream: TcpStream) -> Result<Arc<Transport>, Box<dyn Duplex>> {
    let (read, write) = stream.into_split();
    Ok(Arc::new(Transport::Tcp(Socket {
        read: Mutex::new(read),
        write: Mutex::new(write),
        reader: Slot::default(),
    })))
}

/// A socket whose sides need no common lock; each one's is free, as there is one who reads, and one at a time who writes.
pub(crate) struct Socket {
    read: Mutex<OwnedReadHalf>,
    write: Mutex<OwnedWriteHalf>,
    reader: Slot,
}

impl Socket {
    /// Only a read tells.
    pub(crate) const fn poll_readable(&self, _: &Waker) -> Poll<()> {
        Poll::Ready(())
    }

    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reader.set(cx.waker());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *read).poll_read(cx, buf)
    }

    pub(crate) fn set_reader(&self, waker: &Waker) {
        self.reader.set(waker);
    }

    pub(crate) fn reader(&self) -> Option<Waker> {
        self.reader.get()
    }

    pub(crate) fn wake_reader(&self) {
        self.reader.wake();
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write(|write| write.poll_write(cx, buf))
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(|write| write.poll_write_vectored(cx, bufs))
    }

    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(|write| write.poll_flush(cx))
    }

    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(|write| write.poll_shutdown(cx))
    }

    fn write<T>(&self, act: impl FnOnce(Pin<&mut OwnedWriteHalf>) -> T) -> T {
        let mut write = self.write.lock().unwrap_or_else(PoisonError::into_inner);
        act(Pin::new(&mut *write))
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.read.fmt(f)
    }
}
