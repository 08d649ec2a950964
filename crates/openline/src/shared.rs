//! The sending half of a connection, for all who send on it: what is queued, and the transport that it goes to.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use openline_proto::{CloseCode, Closed, Outbound, SendError};
use tokio::io::AsyncWrite;
use tracing::Span;

use crate::error::Error;
use crate::finish;
use crate::outgoing::Outgoing;
use crate::stream::{ReadSide, WriteSide};
use crate::timer::{Timer, now};
use crate::wakers::{Slot, Wakers};

/// What the halves of a connection reach. The receiver takes the lock for control frames, the close, and what is to be
/// written before it waits: in the steady state the senders have it for themselves.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Something waits to be written; set under the lock.
    unsent: AtomicBool,
    /// The close has begun; set under the lock, never reset.
    closing: AtomicBool,
    /// Tasks that wait for room in the socket, or for the end of a message in pieces. Made when the first one waits.
    waiting: OnceLock<Arc<Wakers>>,
    /// The receiving task, to be told of a close and of what a sender leaves to it.
    pub(crate) receiver: Slot,
    /// Present if somebody is interested in it.
    span: Option<Box<Span>>,
}

pub(crate) struct State {
    pub(crate) writer: Writer,
    pub(crate) write: WriteSide,
    /// Where the receiver leaves its side of the transport when it is dropped first.
    pub(crate) read: Option<Box<ReadSide>>,
    /// A task that runs corked will flush.
    corked: bool,
}

/// Whether a task that sent must see to it that it leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queued {
    /// By a flush of its own.
    Flush,
    /// Not now: its task runs corked, and flushes before it waits.
    Corked,
}

impl Shared {
    pub(crate) fn new(write: WriteSide, outbound: Outbound, span: Span) -> Arc<Self> {
        Arc::new(Self {
            unsent: AtomicBool::new(outbound.queued() > 0),
            closing: AtomicBool::new(outbound.is_closing()),
            state: Mutex::new(State {
                writer: Writer::new(outbound),
                write,
                read: None,
                corked: false,
            }),
            waiting: OnceLock::new(),
            receiver: Slot::default(),
            span: (!span.is_disabled()).then(|| Box::new(span)),
        })
    }

    /// The connection's span.
    pub(crate) fn span(&self) -> Option<&Span> {
        self.span.as_deref()
    }

    /// The state, once `act` is done with it, is told to whoever looks without the lock.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let mut state: MutexGuard<'_, State> =
            self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match self.span() {
            Some(span) => span.in_scope(|| act(&mut state)),
            None => act(&mut state),
        };
        self.unsent
            .store(state.writer.has_unsent(), Ordering::Release);
        if state.writer.outbound.is_closing() && !self.closing.swap(true, Ordering::AcqRel) {
            drop(state);
            self.receiver.wake();
            self.wake_waiting();
        }
        result
    }

    pub(crate) fn outbound<R>(&self, act: impl FnOnce(&mut Outbound) -> R) -> R {
        self.with(|state| act(&mut state.writer.outbound))
    }

    /// Whether anything waits to be written, or to be flushed.
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent.load(Ordering::Acquire)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn closed(&self) -> Option<Closed> {
        self.outbound(|outbound| outbound.closed().cloned())
    }

    /// Begins to close, if the close has not begun; with 1001 if what was to be said can't be.
    pub(crate) fn say_goodbye(&self, code: CloseCode, reason: &str) {
        self.outbound(|o| match o.close(now(), code, reason) {
            Ok(()) | Err(SendError::Closing) => {}
            Err(_) => drop(o.close(now(), CloseCode::GOING_AWAY, "")),
        });
    }

    /// Queues what is sent once there is room: both under one lock, or another sender might take the room in between.
    pub(crate) fn poll_queue<M: Outgoing>(
        self: &Arc<Self>,
        message: &mut Option<M>,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Queued, Error>> {
        self.poll_act(timer, cx, |outbound| {
            if outbound.is_mid_message() {
                return Err(Wait::ForMessage);
            }
            Ok(message.take().map_or(Ok(()), |m| m.queue(outbound)))
        })
    }

    /// Does what queues bytes, once there is room for them and `act` need not wait for anything else.
    pub(crate) fn poll_act(
        self: &Arc<Self>,
        timer: &mut Timer,
        cx: &mut Context<'_>,
        mut act: impl FnMut(&mut Outbound) -> Result<Result<(), SendError>, Wait>,
    ) -> Poll<Result<Queued, Error>> {
        /// A corked task flushes at its end, but no later than with so much to send: the peer may begin to read.
        const ENOUGH: usize = 64 * 1024;
        self.poll_turn(timer, cx, |state| {
            let queued = act(&mut state.writer.outbound)?;
            let waits = state.writer.outbound.queued();
            Ok(queued.map(|()| match waits {
                ..ENOUGH if state.cork(self) => Queued::Corked,
                _ => Queued::Flush,
            }))
        })
    }

    /// Ready when a message may be queued.
    pub(crate) fn poll_room(
        self: &Arc<Self>,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        self.poll_turn(timer, cx, |state| {
            match state.writer.outbound.is_mid_message() {
                true => Err(Wait::ForMessage),
                false => Ok(Ok(())),
            }
        })
    }

    /// Does what needs room, under the lock, once there is some and `act` need not wait for anything else.
    fn poll_turn<T>(
        self: &Arc<Self>,
        timer: &mut Timer,
        cx: &mut Context<'_>,
        mut act: impl FnMut(&mut State) -> Result<Result<T, SendError>, Wait>,
    ) -> Poll<Result<T, Error>> {
        loop {
            let done = self.with(|state| {
                if state.writer.outbound.is_closing() {
                    return Ok(Err(SendError::Closing));
                }
                if state.writer.outbound.is_full() {
                    return Err(Wait::ForRoom);
                }
                let done = act(state);
                if let Err(Wait::ForMessage) = done {
                    // Under the lock, so that its end is not missed.
                    self.waiting().add(cx.waker());
                }
                done
            });
            match done {
                Ok(done) => return Poll::Ready(done.map_err(Error::from)),
                Err(Wait::ForRoom) => ready!(self.poll_flush(timer, cx))?,
                Err(Wait::ForMessage) => return Poll::Pending,
            }
        }
    }

    /// Hands all that is queued to the transport, and keeps the time of the wait for it.
    pub(crate) fn poll_flush(
        self: &Arc<Self>,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        // What others have written, up to a clean end, has left.
        if self.outbound(|outbound| outbound.has_lost()) {
            return Poll::Ready(Err(SendError::Closing.into()));
        }
        match self.poll_drain(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => {
                self.outbound(|outbound| outbound.handle_write_error(now()));
                return Poll::Ready(Err(error.into()));
            }
            Poll::Pending => {}
        }
        ready!(self.poll_deadline(timer, cx))?;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits for the deadline of what is queued; ready when one has passed, with an error if it ends the connection.
    pub(crate) fn poll_deadline(
        &self,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        ready!(timer.poll(self.outbound(|outbound| outbound.poll_timeout()), cx));
        let passed = self.outbound(|outbound| outbound.handle_timeout(now()));
        // Others wait for the same bytes, which will never leave now.
        self.wake_waiting();
        Poll::Ready(passed.map_err(Error::from))
    }

    /// Writes what waits; whoever waits for it is woken.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write(cx, |state, cx| {
            state.writer.poll_drain(&mut state.write, cx)
        })
    }

    /// Shuts down the transport's sending side.
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_write(cx, |state, cx| {
            state.writer.poll_shutdown(&mut state.write, cx)
        })
    }

    /// Has `act` queue something, and hands to the transport what it takes at once; the rest is left to the receiver.
    /// Tells whether nothing is left.
    pub(crate) fn send_now<T>(
        &self,
        act: impl FnOnce(&mut Outbound) -> T,
    ) -> (T, io::Result<bool>) {
        let mut noop = Context::from_waker(Waker::noop());
        let (done, written) = self.with(|state| {
            let done = act(&mut state.writer.outbound);
            (done, state.writer.poll_drain(&mut state.write, &mut noop))
        });
        // The transport remembers only who asked last, and others may be waiting for it.
        let written = match written {
            Poll::Pending => self.poll_drain(&mut noop),
            ready => ready,
        };
        let written = match written {
            Poll::Ready(Ok(())) => {
                self.wake_waiting();
                return (done, Ok(true));
            }
            Poll::Ready(Err(error)) => {
                self.outbound(|outbound| outbound.handle_write_error(now()));
                Err(error)
            }
            Poll::Pending => Ok(false),
        };
        self.receiver.wake();
        (done, written)
    }

    /// Hands to the transport what it takes at once; the rest is left to the receiver.
    pub(crate) fn flush_now(&self) {
        let _ = self.send_now(|_| ());
    }

    /// A message in pieces ended, or nothing more can be written.
    pub(crate) fn wake_waiting(&self) {
        if let Some(waiting) = self.waiting.get() {
            waiting.wake_all();
        }
    }

    /// A corked task takes it up: what is sent from now on needs someone else to flush.
    pub(crate) fn uncork(&self) {
        self.with(|state| state.corked = false);
    }

    fn poll_write<T>(
        &self,
        cx: &Context<'_>,
        mut write: impl FnMut(&mut State, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // Mostly the transport takes all at once, and nobody need be remembered.
        let mut noop = Context::from_waker(Waker::noop());
        let deadline = |state: &State| state.writer.outbound.poll_timeout();
        let (written, begun) = self.with(|state| {
            let before = deadline(state);
            let written = write(state, &mut noop);
            (written, before.is_none() && deadline(state).is_some())
        });
        if written.is_ready() {
            self.wake_waiting();
            return written;
        }
        if begun {
            // Whoever sends may give up, and the wait has a deadline that somebody must keep.
            self.receiver.wake();
        }
        // A sender that gives up leaves its bytes to the receiver, which keeps the time as well.
        let receiver = self.receiver.get();
        self.waiting().poll(cx, |cx| {
            let written = self.with(|state| write(state, cx));
            if written.is_pending()
                && let Some(receiver) = &receiver
            {
                self.waiting().add(receiver);
            }
            written
        })
    }

    fn waiting(&self) -> &Arc<Wakers> {
        self.waiting.get_or_init(Arc::default)
    }
}

/// What somebody who wants to send waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    ForRoom,
    /// Another message is sent in pieces.
    ForMessage,
}

impl State {
    /// Whether the task that sends runs corked, and will flush.
    fn cork(&mut self, shared: &Arc<Shared>) -> bool {
        self.corked = self.corked || crate::cork::take_up(shared);
        self.corked
    }
}

impl Drop for Shared {
    /// Nobody is left who could send what waits: it gets one write at once, and what the transport does not take is
    /// written by a task, which has the close deadline for it.
    fn drop(&mut self) {
        if !self.has_unsent() {
            return;
        }
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut noop = Context::from_waker(Waker::noop());
        if !state.writer.outbound.is_dead()
            && state
                .writer
                .poll_drain(&mut state.write, &mut noop)
                .is_pending()
        {
            finish::in_a_task(state);
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Shared");
        if let Ok(state) = self.state.try_lock() {
            shown.field("transport", &state.write);
        }
        shown.field("closing", &self.closing);
        shown.finish_non_exhaustive()
    }
}

/// What is queued, and how far its transport is.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) outbound: Outbound,
    unflushed: bool,
    shut: bool,
}

impl Writer {
    const fn new(outbound: Outbound) -> Self {
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
            unflushed: std::mem::take(&mut self.unflushed),
            shut: self.shut,
        }
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
                match self.outbound.poll_slices(&mut slices) {
                    1 => Pin::new(&mut *transport).poll_write(cx, &slices[0]),
                    filled => Pin::new(&mut *transport).poll_write_vectored(cx, &slices[..filled]),
                }
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
