//! Driving the receiving half: read, take messages out, answer, keep time, until the connection is over.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use openline_proto::{CloseCode, Event, Inbound, Input, Message, SendError};
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
    /// The peer's stream has ended: reading it again would only say so again.
    ended: bool,
    over: bool,
}

/// Reads in one poll; then other tasks have their turn.
const FILLS: usize = 32;

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
            ended: false,
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
        for _ in 0..FILLS {
            if self.over {
                return Poll::Ready(None);
            }
            if let Some((code, reason)) = self.goodbye.as_ref().and_then(Listening::said) {
                say_goodbye(link, code, reason);
                self.goodbye = None;
            }
            if link.is_closing() {
                // The end of the close is not put off by a peer that keeps on talking.
                self.check_deadlines(link);
            }
            if let Some(message) = self.parse(link) {
                return Poll::Ready(Some(Ok(message)));
            }
            // What waits goes out before the task does: a pong, the Close, what was fed and not flushed. A peer that
            // reads nothing is no reason to stop reading.
            if link.has_unsent()
                && let Poll::Ready(Err(error)) = link.poll_drain(cx)
            {
                link.outbound(|o| o.handle_write_error(now()));
                self.error.get_or_insert(error.into());
            }
            if link.is_closing() {
                let (ends, done, dead) =
                    link.outbound(|o| (o.wants_shutdown(), o.is_done(), o.is_dead()));
                let flushed = !link.has_unsent();
                let over = dead || (done && flushed);
                if over || (ends && flushed) {
                    // One that has to wait is waited for along with the peer, until the deadline. At the end too: the peer may
                    // be waiting for the end of the stream, and the program may keep this value for long.
                    let _ = link.poll_shutdown(cx);
                }
                if over {
                    return Poll::Ready(self.finish(link).map(Err));
                }
            }
            if self.poll_fill(link, cx).is_ready() {
                continue;
            }
            if self.goodbye.as_mut().is_some_and(|g| g.poll(cx).is_ready()) {
                continue;
            }
            ready!(self.poll_deadline(link, cx));
        }
        // A peer that sends much and says little must not have the thread for itself, nor hold up the deadlines.
        self.check_deadlines(link);
        cx.waker().wake_by_ref();
        Poll::Pending
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
        if self.ended {
            return Poll::Pending;
        }
        let mut scratch = Scratch::take();
        let mut space = ReadBuf::new(scratch.space());
        match ready!(link.poll_read(cx, &mut space)) {
            Ok(()) if space.filled().is_empty() => self.end(link, None),
            Ok(()) => {
                let count = space.filled().len();
                scratch.filled(count);
                self.received += count as u64;
                self.unread = Some(scratch);
            }
            Err(error) => self.end(link, Some(error)),
        }
        Poll::Ready(())
    }

    /// The peer's stream has ended. Behind its Close frame, and behind a failure, that is how peers end a connection.
    fn end<L: Link>(&mut self, link: &mut L, error: Option<io::Error>) {
        self.ended = true;
        link.outbound(|o| o.handle_eof(now()));
        if let Some(error) = error {
            self.error.get_or_insert(error.into());
        }
    }

    /// Waits for the next deadline; ready when one has passed.
    fn poll_deadline<L: Link>(&mut self, link: &mut L, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline(link);
        // Asked of the clock too: a task that has used up its share finds every timer pending.
        if deadline.is_none_or(|at| at > now()) {
            ready!(self.timer.poll(deadline, cx));
        }
        self.check_deadlines(link);
        Poll::Ready(())
    }

    fn deadline<L: Link>(&self, link: &mut L) -> Option<Instant> {
        let sending = match link.is_closing() || link.has_unsent() {
            true => link.outbound(|o| o.poll_timeout()),
            false => None,
        };
        [self.inbound.poll_timeout(), sending]
            .into_iter()
            .flatten()
            .min()
    }

    /// Has the core do what is due by now.
    fn check_deadlines<L: Link>(&mut self, link: &mut L) {
        let now = now();
        if self.deadline(link).is_none_or(|at| at > now) {
            return;
        }
        let Self { inbound, .. } = self;
        let passed = link.outbound(|o| inbound.handle_timeout(now, o));
        if let Err(timeout) = passed {
            tracing::debug!(%timeout, "the connection fails");
            self.error.get_or_insert(timeout.into());
        }
    }

    /// The connection is over. Where the peer's Close came that is the end, and the record tells the rest; else the error
    /// does.
    fn finish<L: Link>(&mut self, link: &mut L) -> Option<Error> {
        self.over = true;
        self.unread = None;
        let told = link.outbound(|o| o.peer_has_closed());
        match self.error.take() {
            Some(Error::Io(_)) | None if told => None,
            None => Some(Error::Disconnected),
            error => error,
        }
    }
}

/// Begins to close; with 1001 if what was to be said can't be.
fn say_goodbye<L: Link>(link: &mut L, code: CloseCode, reason: &str) {
    link.outbound(|o| match o.close(now(), code, reason) {
        Ok(()) | Err(SendError::Closing) => {}
        Err(_) => drop(o.close(now(), CloseCode::GOING_AWAY, "")),
    });
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
