//! The sending half of a connection, for all who send on it: what is queued, and the transport that it goes to.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use openline_proto::{CloseCode, Closed, Outbound, SendError};
use tracing::Span;

use crate::error::Error;
use crate::finish;
use crate::outgoing::Outgoing;
use crate::stream::{ReadSide, WriteSide};
use crate::timer::{Timer, now};
use crate::wakers::{Slot, Wakers};
use crate::writer::Writer;

/// What the halves of a connection reach. The receiver takes the lock for control frames, the close, and what is to be
/// written before it waits: in the steady state the senders have it for themselves.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Something waits to be written, or a corked task has taken the connection up; set under the lock.
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
    #[inline]
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let mut state: MutexGuard<'_, State> =
            self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let entered = self.span().map(Span::enter);
        let result = act(&mut state);
        drop(entered);
        let unsent = state.corked || state.writer.has_unsent();
        self.unsent.store(unsent, Ordering::Release);
        if state.writer.outbound.is_closing() {
            self.tell_closing(state);
        }
        result
    }

    #[cold]
    fn tell_closing(&self, mut state: MutexGuard<'_, State>) {
        let mut over = None;
        if state.read.is_some() {
            over = finish::without_receiver(&mut state);
            state.corked = false;
            self.unsent
                .store(state.writer.has_unsent(), Ordering::Release);
        }
        let begins = !self.closing.swap(true, Ordering::AcqRel);
        drop(state);
        drop(over);
        if begins {
            self.receiver.wake();
            self.wake_waiting();
        }
    }

    /// The receiver leaves its side of the transport to those who still send. Without any, the connection goes with it.
    pub(crate) fn leave(self: &Arc<Self>, read: Option<Box<ReadSide>>) {
        if Arc::strong_count(self) > 1 {
            self.with(|state| state.read = read);
            self.wake_waiting();
        } else {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.read = read;
        }
    }

    pub(crate) fn outbound<R>(&self, act: impl FnOnce(&mut Outbound) -> R) -> R {
        self.with(|state| act(&mut state.writer.outbound))
    }

    /// Whether anything waits to be written, or to be flushed, or a corked task has yet to let go of the connection.
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
        self.outbound(|outbound| say_goodbye(outbound, code, reason));
    }

    /// Queues what is sent once there is room: both under one lock, or another sender might take the room in between.
    #[inline]
    pub(crate) fn poll_queue<M: Outgoing>(
        self: &Arc<Self>,
        message: &mut Option<M>,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Queued, Error>> {
        self.poll_act(timer, cx, |outbound| {
            outbound.check_message()?;
            message.take().map_or(Ok(()), |m| m.queue(outbound))
        })
    }

    /// Ready when a message may be queued.
    pub(crate) fn poll_room(
        self: &Arc<Self>,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            let room = self.outbound(|outbound| {
                let room = outbound.check_message();
                room.inspect_err(|refused| self.note_refused(refused, cx))
            });
            match room {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(refused) => ready!(self.poll_refused(refused, timer, cx))?,
            }
        }
    }

    /// Does what queues bytes; where that finds no room, or a message under way, it is done again once that has changed.
    #[inline]
    pub(crate) fn poll_act(
        self: &Arc<Self>,
        timer: &mut Timer,
        cx: &mut Context<'_>,
        mut act: impl FnMut(&mut Outbound) -> Result<(), SendError>,
    ) -> Poll<Result<Queued, Error>> {
        /// A corked task flushes at its end, but no later than with so much to send: the peer may begin to read.
        const ENOUGH: usize = 64 * 1024;
        loop {
            // Kept aside, so that what mostly happens carries no error through all its results.
            let mut refused = None;
            let queued = self.with(|state| {
                if let Err(error) = act(&mut state.writer.outbound) {
                    refused = Some(error);
                    self.note_refused(&error, cx);
                    return Queued::Flush;
                }
                match state.writer.outbound.queued() {
                    ..ENOUGH if state.cork(self) => Queued::Corked,
                    _ => Queued::Flush,
                }
            });
            match refused {
                None => return Poll::Ready(Ok(queued)),
                Some(refused) => ready!(self.poll_refused(refused, timer, cx))?,
            }
        }
    }

    /// To be called under the lock, so that the end of a message that is under way is not missed.
    #[cold]
    fn note_refused(&self, refused: &SendError, cx: &Context<'_>) {
        if *refused == SendError::Unfinished {
            self.waiting().add(cx.waker());
        }
    }

    /// Waits for what is in the way of a message that was refused; ready when it may be tried again.
    #[cold]
    fn poll_refused(
        self: &Arc<Self>,
        refused: SendError,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        match refused {
            SendError::Full { .. } => self.poll_flush(timer, cx),
            SendError::Unfinished => Poll::Pending,
            refused => Poll::Ready(Err(refused.into())),
        }
    }

    /// Hands all that is queued to the transport, and keeps the time of the wait for it.
    pub(crate) fn poll_flush(
        self: &Arc<Self>,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let written = self.poll_write(cx, |state, cx| {
            // What others have written, up to a clean end, has left.
            if state.writer.outbound.has_lost() {
                return Poll::Ready(Err(SendError::Closing.into()));
            }
            state.poll_drain(cx).map_err(Error::from)
        });
        if written.is_ready() {
            return written;
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
        self.poll_write(cx, State::poll_drain)
    }

    /// Shuts down the transport's sending side.
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
            (done, state.poll_drain(&mut noop))
        });
        // The transport remembers only who asked last, and others may be waiting for it.
        let written = match written {
            Poll::Pending => self.poll_drain(&mut noop),
            ready => ready,
        };
        let left = match written {
            Poll::Ready(Ok(())) => {
                self.wake_waiting();
                return (done, Ok(true));
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(false),
        };
        self.receiver.wake();
        (done, left)
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

    /// Writes; who has to wait is woken, and who receives learns of a failure.
    fn poll_write<E>(
        &self,
        cx: &Context<'_>,
        mut write: impl FnMut(&mut State, &mut Context<'_>) -> Poll<Result<(), E>>,
    ) -> Poll<Result<(), E>> {
        // Mostly the transport takes all at once, and nobody need be remembered.
        let mut noop = Context::from_waker(Waker::noop());
        let deadline = |state: &State| state.writer.outbound.poll_timeout();
        let (written, begun) = self.with(|state| {
            let before = deadline(state);
            let written = write(state, &mut noop);
            (written, before.is_none() && deadline(state).is_some())
        });
        if let Poll::Ready(written) = written {
            if written.is_err() {
                self.receiver.wake();
            }
            self.wake_waiting();
            return Poll::Ready(written);
        }
        if begun {
            // Whoever sends may give up, and the wait has a deadline that somebody must keep.
            self.receiver.wake();
        }
        // A sender that gives up leaves its bytes to the receiver, which keeps the time as well.
        let receiver = self.receiver.get();
        self.waiting().poll(cx, |cx| {
            let written = self.with(|state| write(state, cx));
            match &written {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => self.receiver.wake(),
                Poll::Pending => {
                    if let Some(receiver) = &receiver {
                        self.waiting().add(receiver);
                    }
                }
            }
            written
        })
    }

    fn waiting(&self) -> &Arc<Wakers> {
        self.waiting.get_or_init(Arc::default)
    }
}

/// As [`Shared::say_goodbye`].
pub(crate) fn say_goodbye(outbound: &mut Outbound, code: CloseCode, reason: &str) {
    match outbound.close(now(), code, reason) {
        Ok(()) | Err(SendError::Closing) => {}
        Err(_) => drop(outbound.close(now(), CloseCode::GOING_AWAY, "")),
    }
}

impl State {
    /// Writes what waits. A corked task that took the connection up lets it go: what is sent from now on needs someone else to
    /// flush, or that task anew.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.corked = false;
        self.writer.poll_drain(&mut self.write, cx)
    }

    /// Whether the task that sends runs corked, and will flush.
    #[inline]
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
