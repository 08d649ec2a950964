//! The one type of transport: TCP as it is, everything else behind a box.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::tcp;

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

    pub(crate) fn split(self) -> (ReadSide, WriteSide) {
        let stream = match self.0 {
            Kind::Tcp(stream) => match tcp::split(stream) {
                Ok((read, write)) => return (ReadSide::Tcp(read), WriteSide::Tcp(write)),
                Err(stream) => stream,
            },
            Kind::Other(stream) => stream,
        };
        let (read, write) = tokio::io::split(stream);
        (ReadSide::Other(read), WriteSide::Other(write))
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

/// The side of a stream that is read.
pub(crate) enum ReadSide {
    Tcp(tcp::ReadHalf),
    Other(ReadHalf<Box<dyn Duplex>>),
}

impl AsyncRead for ReadSide {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(half) => Pin::new(half).poll_read(cx, buf),
            Self::Other(half) => Pin::new(half).poll_read(cx, buf),
        }
    }
}

/// The side that is written.
pub(crate) enum WriteSide {
    Tcp(tcp::WriteHalf),
    Other(WriteHalf<Box<dyn Duplex>>),
    /// Somebody else has it now: a task that ends the connection, if that is known.
    Gone(Option<JoinHandle<()>>),
}

impl std::fmt::Debug for WriteSide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(half) => half.fmt(f),
            Self::Other(_) => f.write_str("Stream"),
            Self::Gone(_) => f.write_str("gone"),
        }
    }
}

impl AsyncWrite for WriteSide {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(half) => Pin::new(half).poll_write(cx, buf),
            Self::Other(half) => Pin::new(half).poll_write(cx, buf),
            Self::Gone(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(half) => Pin::new(half).poll_write_vectored(cx, bufs),
            Self::Other(half) => Pin::new(half).poll_write_vectored(cx, bufs),
            Self::Gone(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(half) => half.is_write_vectored(),
            Self::Other(half) => half.is_write_vectored(),
            Self::Gone(_) => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(half) => Pin::new(half).poll_flush(cx),
            Self::Other(half) => Pin::new(half).poll_flush(cx),
            Self::Gone(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(half) => Pin::new(half).poll_shutdown(cx),
            Self::Other(half) => Pin::new(half).poll_shutdown(cx),
            Self::Gone(_) => Poll::Ready(Ok(())),
        }
    }
}
