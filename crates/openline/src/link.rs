//! What the receiving half needs of the rest of a connection: bytes to read, and the sending half to answer through.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use openline_proto::Outbound;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Stream;
use crate::timer::now;
use crate::wakers::Wakers;

/// The way to the sending half: by a plain reference where one task has the whole connection ([`Whole`]), by a lock that
/// is taken for control frames and the close only where it was split.
pub(crate) trait Link {
    /// Reads from the transport.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>>;

    /// Lets `act` use the sending half.
    fn outbound<R>(&mut self, act: impl FnOnce(&mut Outbound) -> R) -> R;

    /// Writes what waits.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Shuts down the transport's sending side.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether anything waits to be written, or to be flushed.
    fn has_unsent(&self) -> bool;

    /// Whether the connection is closing.
    fn is_closing(&self) -> bool;
}

/// The sending half, and how far its transport is.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) outbound: Outbound,
    unflushed: bool,
    shut: bool,
}

impl Writer {
    pub(crate) const fn new(outbound: Outbound) -> Self {
        Self {
            outbound,
            unflushed: false,
            shut: false,
        }
    }

    pub(crate) const fn has_unsent(&self) -> bool {
        self.outbound.queued() > 0 || self.unflushed
    }

    /// Writes all that waits, as many frames a system call as the transport takes.
    pub(crate) fn poll_drain<T: AsyncWrite + Unpin>(
        &mut self,
        transport: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        /// Linux copies the first 8 slices to its stack and allocates for more; past 64 a call gains nothing.
        const MAX_SLICES: usize = 64;
        while self.outbound.queued() > 0 {
            let written = {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let filled = self.outbound.poll_slices(&mut slices);
                Pin::new(&mut *transport).poll_write_vectored(cx, &slices[..filled])
            };
            match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.outbound.written(count);
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.outbound.handle_blocked(now());
                    return Poll::Pending;
                }
            }
        }
        if self.unflushed {
            // TLS keeps bytes of its own that the peer may not take.
            if Pin::new(transport).poll_flush(cx)?.is_pending() {
                self.outbound.handle_blocked(now());
                return Poll::Pending;
            }
            self.outbound.written(0);
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Shuts the sending side down, once. That it fails on a dead connection is no news.
    pub(crate) fn poll_shutdown<T: AsyncWrite + Unpin>(
        &mut self,
        transport: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if !self.shut {
            let _ = ready!(Pin::new(transport).poll_shutdown(cx));
            self.shut = true;
        }
        Poll::Ready(())
    }
}

/// A connection in one piece.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) stream: Stream,
    pub(crate) writer: Writer,
    /// Tasks that wait for room in the transport: there are two where the connection is used as a stream and a sink that
    /// `futures` has split. Made when the first one waits.
    waiting: Option<Arc<Wakers>>,
}

impl Whole {
    pub(crate) const fn new(stream: Stream, writer: Writer) -> Self {
        Self {
            stream,
            writer,
            waiting: None,
        }
    }
}

impl Link for Whole {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }

    fn outbound<R>(&mut self, act: impl FnOnce(&mut Outbound) -> R) -> R {
        act(&mut self.writer.outbound)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            stream,
            writer,
            waiting,
        } = self;
        Wakers::poll_lazily(waiting, cx, |cx| writer.poll_drain(stream, cx))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            stream,
            writer,
            waiting,
        } = self;
        Wakers::poll_lazily(waiting, cx, |cx| writer.poll_shutdown(stream, cx))
    }

    fn has_unsent(&self) -> bool {
        self.writer.has_unsent()
    }

    fn is_closing(&self) -> bool {
        self.writer.outbound.is_closing()
    }
}
