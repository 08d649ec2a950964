//! The transport under hyper: TCP with deadlines, a count of bytes, and a gentle end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;

use crate::limits::Late;
use crate::line::Line;
use crate::tls::HTTP_2;

/// How long the end of a connection waits for the client's. Closed at once with bytes of the
/// client's unread, TCP would take back from it an answer that it has not read yet.
const LINGER: Duration = Duration::from_secs(1);

/// What is below HTTP.
#[derive(Debug)]
pub(crate) enum Io {
    Tcp(TcpStream),
    /// In a box, since few parts of the server move so much.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    /// Whether HTTP/2 was agreed on.
    pub(crate) fn is_http2(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(HTTP_2),
        }
    }
}

/// Does the same with either.
macro_rules! either {
    ($io:expr, $stream:ident => $done:expr) => {
        match $io {
            Io::Tcp($stream) => $done,
            Io::Tls($stream) => $done,
        }
    };
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Wire {
    io: Io,
    /// What comes before all that is still to be received.
    before: Bytes,
    line: Arc<Line>,
    header_timeout: Duration,
    write_timeout: Duration,
    /// Runs while a request's head is being received.
    head: Deadline,
    /// Runs while the client takes nothing of what is to be sent.
    stall: Deadline,
    /// Runs once the sending side is shut down.
    linger: Deadline,
}

impl Wire {
    /// The first head is expected at once.
    pub(crate) fn new(
        io: Io,
        line: Arc<Line>,
        header_timeout: Duration,
        write_timeout: Duration,
    ) -> Self {
        let mut head = Deadline::default();
        head.start(header_timeout);
        Self {
            io,
            before: Bytes::new(),
            line,
            header_timeout,
            write_timeout,
            head,
            stall: Deadline::default(),
            linger: Deadline::default(),
        }
    }

    /// The bare connection, and what comes before all that is still to be received.
    pub(crate) fn into_parts(self) -> (Io, Bytes) {
        (self.io, self.before)
    }

    /// Puts `bytes` before all that is still to be received.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            // A copy, since it would keep the whole buffer that it is of.
            self.before = [bytes, &self.before].concat().into();
        }
    }

    /// Waits until something is received, and keeps it to be read. No at the end.
    pub(crate) fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.before.is_empty() {
            let mut bytes = [0; 1024];
            let mut bytes = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut *self).poll_read(cx, &mut bytes))?;
            self.before = Bytes::copy_from_slice(bytes.filled());
        }
        Poll::Ready(Ok(!self.before.is_empty()))
    }

    /// Books the outcome of a write, or gives a client up that takes nothing.
    fn written(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(result) => {
                self.stall.stop();
                if let Ok(count) = result {
                    self.line.sent(count);
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                self.stall.start(self.write_timeout);
                ready!(self.stall.poll(cx));
                self.line.place.limits.late(Late::Write);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.before.is_empty() {
            let count = this.before.len().min(buf.remaining());
            buf.put_slice(&this.before.split_to(count));
            if this.before.is_empty() {
                this.before = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let answering = this.line.is_answering();
        if answering {
            this.head.stop();
        }
        let before = buf.filled().len();
        match either!(&mut this.io, stream => Pin::new(stream).poll_read(cx, buf)) {
            Poll::Ready(result) => {
                let count = buf.filled().len() - before;
                this.line.received(count);
                if !answering && count > 0 {
                    this.head.start(this.header_timeout);
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                ready!(this.head.poll(cx));
                this.line.place.limits.late(Late::Header);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.line.set_flushed(false);
        let written = either!(&mut this.io, stream => Pin::new(stream).poll_write(cx, bytes));
        this.written(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.line.set_flushed(false);
        let written =
            either!(&mut this.io, stream => Pin::new(stream).poll_write_vectored(cx, slices));
        this.written(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        either!(&self.io, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(either!(&mut this.io, stream => Pin::new(stream).poll_flush(cx)))?;
        this.line.set_flushed(true);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.linger.start(LINGER);
        if either!(&mut this.io, stream => Pin::new(stream).poll_shutdown(cx))?.is_pending() {
            return this.linger.poll(cx).map(Ok);
        }
        let mut scrap = [0; 4096];
        while this.linger.poll(cx).is_pending() {
            let mut scrap = ReadBuf::new(&mut scrap);
            let read =
                ready!(either!(&mut this.io, stream => Pin::new(stream).poll_read(cx, &mut scrap)));
            if read.is_err() || scrap.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A moment after which something is given up, kept for as long as the connection.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Deadline {
    /// Starts it, unless it runs.
    pub(crate) fn start(&mut self, time: Duration) {
        if self.running {
            return;
        }
        self.running = true;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(Instant::now() + time),
            None => self.sleep = Some(Box::pin(sleep(time))),
        }
    }

    pub(crate) fn stop(&mut self) {
        self.running = false;
    }

    /// Ready once it has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            Some(sleep) if self.running => sleep.as_mut().poll(cx),
            _ => Poll::Pending,
        }
    }
}
