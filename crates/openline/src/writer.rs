//! What is queued on a connection, and how far its transport is.

use std::io::{self, IoSlice};
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use openline_proto::Outbound;
use tokio::task::JoinHandle;

use crate::stream::Transport;
use crate::timer::now;
use crate::wakers::Wakers;

/// The outbound half, and what the transport was given of it.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) outbound: Outbound,
    link: Link,
    /// Tasks that wait for room in the transport, or for the end of a message in pieces. Made when the first one waits.
    pub(crate) waiting: Option<Arc<Wakers>>,
    unflushed: bool,
    shut: bool,
    /// A task that runs corked will flush.
    pub(crate) corked: bool,
    /// The receiver was dropped: what is left of the connection is nobody's to read.
    pub(crate) unread: bool,
}

/// Where it goes.
#[derive(Debug)]
enum Link {
    Here(Arc<Transport>),
    /// Somebody else has it now: a task that ends the connection, if that is known.
    Gone(Option<JoinHandle<()>>),
}

impl Writer {
    pub(crate) const fn new(outbound: Outbound, transport: Arc<Transport>) -> Self {
        Self {
            outbound,
            link: Link::Here(transport),
            waiting: None,
            unflushed: false,
            shut: false,
            corked: false,
            unread: false,
        }
    }

    /// Whether anything waits to be written, or to be flushed, or a corked task has yet to let go of the connection.
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        self.corked || self.unflushed || self.outbound.queued() > 0
    }

    /// Takes what there is; what stays behind sends nothing more.
    pub(crate) fn take(&mut self) -> Self {
        self.corked = false;
        Self {
            outbound: self.outbound.hand_over(now()),
            link: mem::replace(&mut self.link, Link::Gone(None)),
            waiting: None,
            unflushed: mem::take(&mut self.unflushed),
            shut: self.shut,
            corked: false,
            unread: mem::take(&mut self.unread),
        }
    }

    pub(crate) const fn transport(&self) -> Option<&Arc<Transport>> {
        match &self.link {
            Link::Here(transport) => Some(transport),
            Link::Gone(_) => None,
        }
    }

    /// What was taken is seen to its end by a task.
    pub(crate) fn ends_in(&mut self, task: JoinHandle<()>) {
        self.link = Link::Gone(Some(task));
    }

    /// The task that sees the connection to its end, if there is one, for who waits for it.
    pub(crate) const fn take_ending(&mut self) -> Option<JoinHandle<()>> {
        match &mut self.link {
            Link::Here(_) => None,
            Link::Gone(ending) => ending.take(),
        }
    }

    pub(crate) fn waiting(&mut self) -> &Arc<Wakers> {
        self.waiting.get_or_insert_default()
    }

    /// Writes all that waits, as many frames a system call as the transport takes. When that fails, nothing waits any more.
    ///
    /// A corked task that took the connection up lets it go: what is sent from now on needs someone else to flush, or that
    /// task anew.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.corked = false;
        let written = self.poll_all(cx);
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

    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Link::Here(transport) = &self.link else {
            return match self.outbound.queued() {
                0 => Poll::Ready(Ok(())),
                _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            };
        };
        while self.outbound.queued() > 0 {
            let count = ready!(poll_some(&self.outbound, transport, cx))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbound.written(count);
            self.unflushed = true;
        }
        if self.unflushed {
            // TLS keeps bytes of its own that the peer may not take.
            ready!(transport.poll_flush(cx))?;
            self.outbound.written(0);
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Shuts the sending side down, once. That it fails on a dead connection is no news.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Link::Here(transport) = &self.link
            && !self.shut
        {
            let _ = ready!(transport.poll_shutdown(cx));
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }
}

fn poll_some(
    outbound: &Outbound,
    transport: &Transport,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    match outbound.poll_slice() {
        Some(slice) => transport.poll_write(cx, slice),
        None => poll_slices(outbound, transport, cx),
    }
}

fn poll_slices(
    outbound: &Outbound,
    transport: &Transport,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    /// Linux copies the first 8 slices to its stack and allocates for more; past 64 a call gains nothing.
    const MAX_SLICES: usize = 64;
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let filled = outbound.poll_slices(&mut slices);
    transport.poll_write_vectored(cx, &slices[..filled])
}
