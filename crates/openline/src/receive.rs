//! Driving the receiving half: read, take messages out, answer, keep time, until the connection is over.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use openline_proto::{Event, Inbound, Input, Message, ProtocolError};
use tokio::io::ReadBuf;
use tokio::task::coop::has_budget_remaining;
use tracing::Span;

use crate::error::Error;
use crate::lent::{Found, Whole};
use crate::scratch::Scratch;
use crate::shared::Shared;
use crate::stream::Transport;
use crate::timer::{Alarm, now};

/// The receiving half and all that must outlive a poll: dropping a future that polls it loses nothing.
pub(crate) struct Receive {
    pub(crate) shared: Arc<Shared>,
    transport: Arc<Transport>,
    inbound: Inbound,
    /// Read, and not yet parsed, or lent.
    scratch: Scratch,
    timer: Alarm,
    received: u64,
    rare: Option<Box<Rare>>,
}

/// What most connections have not.
#[derive(Default)]
struct Rare {
    /// Bytes that came with the opening handshake, before anything was read.
    early: Bytes,
    subprotocol: Option<Box<str>>,
    /// Why the connection fails; told once it is over.
    error: Option<Error>,
    /// The peer's stream has ended: reading it again would only say so again.
    ended: bool,
    over: bool,
}

/// How messages are taken out of what was read.
pub(crate) trait Take {
    type Taken;
    /// Whether they are told in pieces.
    const IN_PIECES: bool;
    /// Whether what is taken may lie in the buffer that it was read into.
    const LENT: bool;
    /// Takes it, if it is a message; the payload of what is lent ends in front of `place`.
    fn take(event: Event<'_>, place: usize) -> Option<Self::Taken>;
}

/// Whole messages of their own.
pub(crate) enum Owned {}

/// Whole messages, left where they were read.
pub(crate) enum Lent {}

/// Pieces of messages, left where they were read.
pub(crate) enum Pieces {}

impl Take for Owned {
    type Taken = Message;
    const IN_PIECES: bool = false;
    const LENT: bool = false;
    fn take(event: Event<'_>, _: usize) -> Option<Message> {
        event.into_message()
    }
}

impl Take for Lent {
    type Taken = Found;
    const IN_PIECES: bool = false;
    const LENT: bool = true;
    fn take(event: Event<'_>, place: usize) -> Option<Found> {
        Found::new(event, place)
    }
}

impl Take for Pieces {
    type Taken = Found;
    const IN_PIECES: bool = true;
    const LENT: bool = true;
    fn take(event: Event<'_>, place: usize) -> Option<Found> {
        Found::new(event, place)
    }
}

/// Reads in one poll, and discarded pieces; then other tasks have their turn.
const FILLS: usize = 32;

impl Receive {
    pub(crate) fn new(
        shared: Arc<Shared>,
        transport: Arc<Transport>,
        inbound: Inbound,
        early: Bytes,
        subprotocol: Option<Box<str>>,
    ) -> Self {
        let has_any = subprotocol.is_some() || !early.is_empty();
        let rare = Rare {
            early,
            subprotocol,
            ..Rare::default()
        };
        Self {
            shared,
            transport,
            inbound,
            scratch: Scratch::default(),
            timer: Alarm::default(),
            received: 0,
            rare: has_any.then(|| Box::new(rare)),
        }
    }

    /// Bytes received since the opening handshake.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn subprotocol(&self) -> Option<&str> {
        self.rare.as_ref()?.subprotocol.as_deref()
    }

    /// Where what was lent lies.
    pub(crate) const fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The next message, as `T` takes it; `None` once the connection is over, after an error if it was not closed cleanly.
    pub(crate) fn poll_next<T: Take>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<T::Taken, Error>>> {
        let span = self.shared.span().cloned();
        let _entered = span.as_ref().map(Span::enter);
        if !T::IN_PIECES {
            self.discard();
        }
        for _ in 0..FILLS {
            if self.is_over() {
                return Poll::Ready(None);
            }
            if self.shared.is_closing() {
                // The end of the close is not put off by a peer that keeps on talking.
                self.check_deadlines();
            }
            if let Some(message) = self.parse::<T>() {
                return Poll::Ready(Some(Ok(message)));
            }
            // Either way the task can be woken before the state is looked at, so that no close is missed in between.
            if !self.is_quiet() {
                self.transport.set_reader(cx.waker());
            } else if self.poll_fill(cx).is_ready() {
                continue;
            }
            if self.is_quiet() {
                ready!(self.poll_deadline(cx));
                continue;
            }
            // What waits goes out before the task does: a pong, the Close, what was fed and not flushed. A peer that
            // reads nothing is no reason to stop reading.
            if self.shared.has_unsent()
                && let Poll::Ready(Err(error)) = self.shared.poll_drain(cx)
            {
                self.fails(error.into());
            }
            if self.shared.is_closing() {
                let (ends, done, dead) = self
                    .shared
                    .outbound(|o| (o.wants_shutdown(), o.is_done(), o.is_dead()));
                let flushed = !self.shared.has_unsent();
                let over = dead || (done && flushed);
                if over || (ends && flushed) {
                    // One that has to wait is waited for along with the peer, until the deadline. At the end too: the peer may
                    // be waiting for the end of the stream, and the program may keep this value for long.
                    let _ = self.shared.poll_shutdown(cx);
                }
                if over {
                    return Poll::Ready(self.finish().map(Err));
                }
            }
            if self.poll_fill(cx).is_ready() {
                continue;
            }
            ready!(self.poll_deadline(cx));
        }
        // A peer that sends much and says little must not have the thread for itself, nor hold up the deadlines.
        self.check_deadlines();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The same, to be lent.
    #[inline(never)]
    pub(crate) fn poll_lent(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Found, Box<Error>>>> {
        let found = self.poll_next::<Lent>(cx);
        found.map(|found| found.map(|found| found.map_err(Box::new)))
    }

    /// Whether there is nothing to do but to read.
    fn is_quiet(&self) -> bool {
        !self.shared.has_unsent() && !self.shared.is_closing()
    }

    /// Nobody wants what is left of a message that was taken in pieces.
    pub(crate) fn discard(&mut self) {
        if self.inbound.is_mid_message() {
            self.inbound.discard(now());
        }
    }

    /// Takes the next message out of what was read.
    fn parse<T: Take>(&mut self) -> Option<T::Taken> {
        self.read_early();
        while self.scratch.is_some() {
            let (unread, end, read_at) = self.scratch.unread();
            if unread.is_empty() && !self.inbound.is_mid_message() {
                // The last message was lent to its end.
                self.scratch.release();
                return None;
            }
            let mut input = Input::new(unread);
            let discarding = self.inbound.is_discarding();
            let event = match T::IN_PIECES || discarding {
                true => self.inbound.handle_input_in_pieces(read_at, &mut input),
                false => self.inbound.handle_input(read_at, &mut input),
            };
            match event {
                // One at a time: a few bytes may inflate to many, and what nobody wants must not take a thread's time.
                Ok(Some(Event::Piece(_))) if discarding => {
                    let left = input.len();
                    self.scratch.keep_last(left);
                    return None;
                }
                Ok(Some(event)) => {
                    if matches!(event, Event::Ping(_) | Event::Close(_)) {
                        self.shared.outbound(|o| o.react(now(), &event));
                    }
                    let left = input.len();
                    // The core consumed the event's bytes, and none behind them.
                    let taken = T::take(event, end - left);
                    self.consumed_but::<T>(left);
                    if taken.is_some() {
                        return taken;
                    }
                }
                Ok(None) => self.scratch.release(),
                Err(error) => self.violated(error),
            }
        }
        None
    }

    /// The next message, if it is what most are: whole in the read buffer, together with the one before it. Otherwise
    /// [`poll_next`](Self::poll_next) goes on.
    #[inline(never)]
    pub(crate) fn next_whole(&mut self) -> Option<Whole> {
        if self.shared.is_closing() || self.shared.span().is_some() {
            return None;
        }
        let inbound = &mut self.inbound;
        let found = self.scratch.consume(|unread, read_at| {
            let mut input = Input::new(unread);
            let found = inbound.handle_whole(read_at, &mut input)?;
            Some((found, input.len()))
        });
        match found? {
            (Ok((kind, payload)), place) => Some(Whole::new(kind, payload.len(), place)),
            (Err(error), _) => {
                self.violated(error);
                None
            }
        }
    }

    /// The same for a message of its own. Text is looked at a second time for that, so only short text takes this way.
    #[inline]
    pub(crate) fn next_own(&mut self) -> Option<Message> {
        if let Some([0x81, length, ..]) = self.scratch.peek()
            && length & 0x7f >= 126
        {
            return None;
        }
        let message = self.next_whole()?.lend(&self.scratch).into_message();
        if self.scratch.peek().is_some_and(<[u8]>::is_empty) {
            self.scratch.release();
        }
        Some(message)
    }

    /// All that was read is consumed but for the last `left` bytes.
    #[inline]
    fn consumed_but<T: Take>(&mut self, left: usize) {
        self.scratch.keep_last(left);
        if left == 0 && !T::LENT {
            self.scratch.release();
        }
    }

    /// Bytes that came behind the handshake's head take the same way as all others.
    fn read_early(&mut self) {
        if self.scratch.is_some() {
            return;
        }
        let Some(rare) = self.rare.as_mut().filter(|rare| !rare.early.is_empty()) else {
            return;
        };
        let mut scratch = Scratch::take();
        let space = scratch.space();
        let count = rare.early.len().min(space.len());
        space[..count].copy_from_slice(&rare.early.split_to(count));
        scratch.filled(count);
        self.received += count as u64;
        self.scratch = scratch;
        self.rare.take_if(|rare| rare.is_empty());
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn is_over(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.over)
    }

    /// Whether bytes of the opening handshake are left.
    fn has_early(&self) -> bool {
        let rare = self.rare.as_ref();
        rare.is_some_and(|rare| !rare.early.is_empty())
    }

    /// Reads what the transport has.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.scratch.is_some() || self.has_early() {
            return Poll::Ready(());
        }
        if self.rare.as_ref().is_some_and(|rare| rare.ended) {
            self.transport.set_reader(cx.waker());
            return Poll::Pending;
        }
        ready!(self.transport.poll_readable(cx.waker()));
        let mut scratch = Scratch::take();
        let mut space = ReadBuf::new(scratch.space());
        match ready!(self.transport.poll_read(cx, &mut space)) {
            Ok(()) if space.filled().is_empty() => self.end(None),
            Ok(()) => {
                let count = space.filled().len();
                scratch.filled(count);
                self.received += count as u64;
                self.scratch = scratch;
            }
            Err(error) => self.end(Some(error)),
        }
        Poll::Ready(())
    }

    /// The peer's stream has ended. Behind its Close frame, and behind a failure, that is how peers end a connection.
    fn end(&mut self, error: Option<io::Error>) {
        self.rare().ended = true;
        self.shared.outbound(|o| o.handle_eof(now()));
        if let Some(error) = error {
            self.fails(error.into());
        }
    }

    #[cold]
    fn violated(&mut self, error: ProtocolError) {
        tracing::debug!(%error, "the peer broke the protocol");
        self.shared.outbound(|o| o.fail(now(), &error));
        self.scratch.release();
        self.fails(error.into());
    }

    /// The first error is the one to tell.
    fn fails(&mut self, error: Error) {
        self.rare().error.get_or_insert(error);
    }

    /// Waits for the next deadline; ready when one has passed.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline();
        ready!(self.timer.poll(deadline, &self.transport, cx));
        if !has_budget_remaining() {
            return self.poll_sending_deadline(cx);
        }
        self.check_deadlines();
        Poll::Ready(())
    }

    /// For a task that has used up its share, to which every stream seems to have nothing: the peer may have answered in time,
    /// so only what it takes, or not, counts. The task has its next turn at once.
    fn poll_sending_deadline(&mut self, cx: &Context<'_>) -> Poll<()> {
        let passed = self.shared.outbound(|o| o.handle_timeout(now()));
        let Err(timeout) = passed else {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        self.inbound.stop();
        self.fails(timeout.into());
        Poll::Ready(())
    }

    fn deadline(&self) -> Option<Instant> {
        let sending = match self.shared.is_closing() || self.shared.has_unsent() {
            true => self.shared.outbound(|o| o.poll_timeout()),
            false => None,
        };
        [self.inbound.poll_timeout(), sending]
            .into_iter()
            .flatten()
            .min()
    }

    /// Has the core do what is due by now.
    fn check_deadlines(&mut self) {
        let now = now();
        if self.deadline().is_none_or(|at| at > now) {
            return;
        }
        let Self {
            inbound, shared, ..
        } = self;
        let passed = shared.outbound(|o| inbound.handle_timeout(now, o));
        if let Err(timeout) = passed {
            tracing::debug!(%timeout, "the connection fails");
            self.fails(timeout.into());
        }
    }

    /// The connection is over. Where the peer's Close came that is the end, and the record tells the rest; else the error
    /// does.
    fn finish(&mut self) -> Option<Error> {
        let rare = self.rare();
        rare.over = true;
        let error = rare.error.take();
        self.scratch.release();
        let (told, timeout) = self
            .shared
            .outbound(|o| (o.peer_has_closed(), o.timed_out()));
        match error {
            Some(Error::Io(_)) | None if told => None,
            // A sender may have kept the time.
            None => Some(timeout.map_or(Error::Disconnected, Error::Timeout)),
            error => error,
        }
    }
}

impl Rare {
    const fn is_empty(&self) -> bool {
        let ends = self.ended || self.over || self.error.is_some();
        !ends && self.early.is_empty() && self.subprotocol.is_none()
    }
}

impl Drop for Receive {
    /// What is left to send may have to be read for, at its end.
    fn drop(&mut self) {
        self.shared.leave();
    }
}

impl std::fmt::Debug for Receive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receive")
            .field("inbound", &self.inbound)
            .field("received", &self.received)
            .field("over", &self.is_over())
            .finish_non_exhaustive()
    }
}
