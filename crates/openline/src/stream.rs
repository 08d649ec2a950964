//! The one type of transport: TCP as it is, everything else behind a box.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::tcp;
use crate::wakers::Slot;

/// Anything that bytes go through in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What a WebSocket runs on: a TCP stream, or any other stream of bytes in both directions, as TLS or a pipe in memory.
///
/// A TCP stream is kept as it is, so that its halves need no lock; only Nagle's algorithm is switched off.
pub struct Stream(Kind);

enum Kind {
    Tcp(TcpStream),
    Other(Box<dyn Duplex>),
}

impl Stream {
    /// Any stream of bytes in both directions.
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Kind::Other(Box::new(stream)))
    }

    pub(crate) fn into_transport(self) -> Arc<Transport> {
        let stream = match self.0 {
            Kind::Tcp(stream) => match tcp::take_over(stream) {
                Ok(transport) => return transport,
                Err(stream) => stream,
            },
            Kind::Other(stream) => stream,
        };
        Arc::new(Transport::Other(Other {
            stream: Mutex::new(stream),
            reader: Slot::default(),
        }))
    }
}

/// Nagle's algorithm is switched off: whole messages are written, and it would only hold the small ones back.
impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        no_delay(&stream);
        Self(Kind::Tcp(stream))
    }
}

/// It fails only on a socket that is broken, and then the first read or write tells.
pub(crate) fn no_delay(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kind::Tcp(stream) => stream.fmt(f),
            Kind::Other(_) => f.write_str("Stream"),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Kind::Other(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Kind::Other(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Kind::Other(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Tcp(stream) => stream.is_write_vectored(),
            Kind::Other(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Kind::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// What a connection runs on, for who reads it and who writes it; closed with the last of them.
pub(crate) enum Transport {
    Tcp(tcp::Socket),
    Other(Other),
}

/// A stream that is read and written under a lock.
pub(crate) struct Other {
    stream: Mutex<Box<dyn Duplex>>,
    reader: Slot,
}

impl Other {
    fn poll<T>(&self, act: impl FnOnce(Pin<&mut Box<dyn Duplex>>) -> T) -> T {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        act(Pin::new(&mut *stream))
    }
}

impl Transport {
    /// Whether it is worth while to have a place for what is read; if not, it is as if a read had to wait.
    pub(crate) fn poll_readable(&self, waker: &Waker) -> Poll<()> {
        match self {
            Self::Tcp(socket) => socket.poll_readable(waker),
            Self::Other(_) => Poll::Ready(()),
        }
    }

    /// Who has to wait is the reader then, and can be [woken](Self::wake_reader).
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_read(cx, buf),
            Self::Other(other) => {
                other.reader.set(cx.waker());
                other.poll(|stream| stream.poll_read(cx, buf))
            }
        }
    }

    /// The task that waits to read, or for whatever else its reader is to be told of. To be called before that is looked at:
    /// who makes it true wakes the reader afterwards.
    pub(crate) fn set_reader(&self, waker: &Waker) {
        match self {
            Self::Tcp(socket) => socket.set_reader(waker),
            Self::Other(other) => other.reader.set(waker),
        }
    }

    /// The task that waits to read, which goes on waiting.
    pub(crate) fn reader(&self) -> Option<Waker> {
        match self {
            Self::Tcp(socket) => socket.reader(),
            Self::Other(other) => other.reader.get(),
        }
    }

    pub(crate) fn wake_reader(&self) {
        match self {
            Self::Tcp(socket) => socket.wake_reader(),
            Self::Other(other) => other.reader.wake(),
        }
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => socket.poll_write(cx, buf),
            Self::Other(other) => other.poll(|stream| stream.poll_write(cx, buf)),
        }
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => socket.poll_write_vectored(cx, bufs),
            Self::Other(other) => other.poll(|stream| stream.poll_write_vectored(cx, bufs)),
        }
    }

    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_flush(cx),
            Self::Other(other) => other.poll(|stream| stream.poll_flush(cx)),
        }
    }

    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_shutdown(cx),
            Self::Other(other) => other.poll(|stream| stream.poll_shutdown(cx)),
        }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(socket) => socket.fmt(f),
            Self::Other(_) => f.write_str("Stream"),
        }
    }
}
