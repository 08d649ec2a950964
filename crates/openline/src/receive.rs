//! Driving the receiving half: read, take messages out, answer, keep time, until the connection is over.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use openline_proto::{CloseCode, Due, Event, Inbound, Input, Message, SendError};
use tokio::io::ReadBuf;

use crate::error::Error;
use crate::goodbye::Listening;
use crate::link::Link;
use crate::scratch::Scratch;
use crate::timer::{Timer, now};

/// The receiving half and all that must outlive a poll: dropping a future that polls it loses nothing.
#[derive(Debug)]
pub(crate) struct Receive {
    inbound: Inbound,
    /// Bytes that came with the opening handshake, before anything was read.
    early: Bytes,
    /// Read, and not yet parsed.
    unread: Option<Scratch>,
    timer: Timer,
    received: u64,
    /// Somebody else may want the connection closed.
    pub(crate) goodbye: Option<Listening>,
    /// Why the connection fails; told once it is over.
    error: Option<Error>,
    over: bool,
}

impl Receive {
    pub(crate) fn new(inbound: Inbound, early: Bytes) -> Self {
        Self {
            inbound,
            early,
            unread: None,
            timer: Timer::default(),
            received: 0,
            goodbye: None,
            error: None,
            over: false,
        }
    }

    /// Bytes received since the opening handshake.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// The next message; `None` once the connection is over, after an error if it was not closed cleanly.
    pub(crate) fn poll_next<L: Link>(
        &mut self,
        link: &mut L,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, Error>>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            if let Some(message) = self.parse(link) {
                return Poll::Ready(Some(Ok(message)));
            }
            // What waits goes out before the task does: a pong, the Close, what was fed and not flushed. A peer that
            // reads nothing is no reason to stop reading.
            if link.has_unsent()
                && let Poll::Ready(Err(error)) = link.poll_drain(cx)
            {
                self.lost(link, error);
            }
            if link.is_closing() {
                if link.outbound(|o| o.wants_shutdown()) {
                    ready!(link.poll_shutdown(cx));
                }
                if link.outbound(|o| o.is_done()) {
                    // The peer may be waiting for the end of the stream, and the program may keep this value for long.
                    let _ = link.poll_shutdown(cx);
                    return Poll::Ready(self.finish(link).map(Err));
                }
            }
            if self.poll_fill(link, cx).is_ready() {
                continue;
            }
            if self.poll_goodbye(link, cx).is_ready() {
                continue;
            }
            ready!(self.poll_deadline(link, cx));
        }
    }

    /// Takes the next message out of what was read.
    fn parse<L: Link>(&mut self, link: &mut L) -> Option<Message> {
        if !self.early.is_empty() {
            self.read_early();
        }
        while let Some(scratch) = &mut self.unread {
            let now = now();
            let mut input = Input::new(scratch.unread());
            match self.inbound.handle_input(now, &mut input) {
                Ok(Some(event)) => {
                    if matches!(event, Event::Ping(_) | Event::Close(_)) {
                        link.outbound(|o| o.react(now, &event));
                    }
                    trace(&event);
                    let left = input.len();
                    let message = event.into_message();
                    scratch.keep_last(left);
                    if left == 0 {
                        self.unread = None;
                    }
                    if message.is_some() {
                        return message;
                    }
                }
                Ok(None) => self.unread = None,
                Err(error) => {
                    tracing::debug!(%error, "the peer broke the protocol");
                    link.outbound(|o| o.fail(now, &error));
                    self.unread = None;
                    self.error.get_or_insert(error.into());
                }
            }
        }
        None
    }

    /// Bytes that came behind the handshake's head take the same way as all others.
    fn read_early(&mut self) {
        if self.unread.is_none() {
            let mut scratch = Scratch::take();
            let space = scratch.space();
            let count = self.early.len().min(space.len());
            space[..count].copy_from_slice(&self.early.split_to(count));
            scratch.filled(count);
            self.received += count as u64;
            self.unread = Some(scratch);
        }
    }

    /// Reads what the transport has.
    fn poll_fill<L: Link>(&mut self, link: &mut L, cx: &mut Context<'_>) -> Poll<()> {
        if !self.early.is_empty() {
            return Poll::Ready(());
        }
        let mut scratch = Scratch::take();
        let mut space = ReadBuf::new(scratch.space());
        match ready!(link.poll_read(cx, &mut space)) {
            Ok(()) if space.filled().is_empty() => link.outbound(|o| o.handle_eof(now())),
            Ok(()) => {
                let count = space.filled().len();
                scratch.filled(count);
                self.received += count as u64;
                self.unread = Some(scratch);
            }
            Err(error) => self.lost(link, error),
        }
        Poll::Ready(())
    }

    /// Begins to close when the goodbye is said.
    fn poll_goodbye<L: Link>(&mut self, link: &mut L, cx: &mut Context<'_>) -> Poll<()> {
        let Some(listening) = &mut self.goodbye else {
            return Poll::Pending;
        };
        let (code, reason) = ready!(listening.poll(cx));
        link.outbound(|o| match o.close(now(), code, reason) {
            Ok(()) | Err(SendError::Closing) => {}
            Err(_) => drop(o.close(now(), CloseCode::GOING_AWAY, "")),
        });
        self.goodbye = None;
        Poll::Ready(())
    }

    /// Waits for the next deadline; ready when one has passed.
    fn poll_deadline<L: Link>(&mut self, link: &mut L, cx: &mut Context<'_>) -> Poll<()> {
        let sending = if link.is_closing() || link.has_unsent() {
            link.outbound(|o| o.poll_timeout())
        } else {
            None
        };
        let deadline = [self.inbound.poll_timeout(), sending]
            .into_iter()
            .flatten()
            .min();
        ready!(self.timer.poll(deadline, cx));
        let now = now();
        if sending.is_some()
            && let Err(timeout) = link.outbound(|o| o.handle_timeout(now))
        {
            self.error.get_or_insert(timeout.into());
        }
        if let Some(due) = self.inbound.handle_timeout(now) {
            link.outbound(|o| o.due(now, due));
            if let Due::Fail(timeout) = due {
                tracing::debug!(%timeout, "the connection fails");
                self.error.get_or_insert(timeout.into());
            }
        }
        Poll::Ready(())
    }

    /// The transport failed. After the close, or after an error, that is how peers end a connection.
    fn lost<L: Link>(&mut self, link: &mut L, error: io::Error) {
        let expected = link.outbound(|o| {
            let clean = o.closed().is_some_and(|c| c.clean);
            o.handle_eof(now());
            clean
        });
        if !expected {
            self.error.get_or_insert(error.into());
        }
    }

    fn finish<L: Link>(&mut self, link: &mut L) -> Option<Error> {
        self.over = true;
        self.unread = None;
        let clean = link.outbound(|o| o.closed().is_some_and(|c| c.clean));
        self.error
            .take()
            .or_else(|| (!clean).then_some(Error::Disconnected))
    }
}

/// Control frames are seen by nobody else.
fn trace(event: &Event<'_>) {
    match event {
        Event::Ping(payload) => tracing::trace!(bytes = payload.len(), "PING received"),
        Event::Pong(payload) => tracing::trace!(bytes = payload.len(), "PONG received"),
        Event::Close(Some(reason)) => tracing::trace!(%reason, "CLOSE received"),
        Event::Close(None) => tracing::trace!("CLOSE received"),
        _ => {}
    }
}
