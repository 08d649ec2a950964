//! What is queued on a connection, and how far its transport is.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use openline_proto::Outbound;
use tokio::io::AsyncWrite;

use crate::timer::now;

/// The outbound half, and what the transport was given of it.
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

    pub(crate) fn has_unsent(&self) -> bool {
        self.outbound.queued() > 0 || self.unflushed
    }

    /// Takes what there is; what stays behind sends nothing more.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            outbound: self.outbound.hand_over(now()),
            unflushed: mem::take(&mut self.unflushed),
            shut: self.shut,
        }
    }

    /// Writes all that waits, as many frames a system call as the transport takes. When that fails, nothing waits any more.
    pub(crate) fn poll_drain<T: AsyncWrite + Unpin>(
        &mut self,
        transport: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let written = self.poll_all(transport, cx);
        match &written {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                self.outbound.handle_write_error(now());
                self.unflushed = false;
            }
            Poll::Pending => self.outbound.handle_blocked(now()),
        }
        written
    }

    fn poll_all<T: AsyncWrite + Unpin>(
        &mut self,
        transport: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.outbound.queued() > 0 {
            let count = ready!(self.poll_some(transport, cx))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbound.written(count);
            self.unflushed = true;
        }
        if self.unflushed {
            // TLS keeps bytes of its own that the peer may not take.
            ready!(Pin::new(transport).poll_flush(cx))?;
            self.outbound.written(0);
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_some<T: AsyncWrite + Unpin>(
        &self,
        transport: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self.outbound.poll_slice() {
            Some(slice) => Pin::new(transport).poll_write(cx, slice),
            None => self.poll_slices(transport, cx),
        }
    }

    fn poll_slices<T: AsyncWrite + Unpin>(
        &self,
        transport: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        /// Linux copies the first 8 slices to its stack and allocates for more; past 64 a call gains nothing.
        const MAX_SLICES: usize = 64;
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let filled = self.outbound.poll_slices(&mut slices);
        Pin::new(transport).poll_write_vectored(cx, &slices[..filled])
    }

    /// Shuts the sending side down, once. That it fails on a dead connection is no news.
    pub(crate) fn poll_shutdown<T: AsyncWrite + Unpin>(
        &mut self,
        transport: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.shut {
            let _ = ready!(Pin::new(transport).poll_shutdown(cx));
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }
}
