//! The sending half of a connection, for all who send on it: what is queued, and the transport that it goes to.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use openline_proto::{CloseCode, Closed, Kind, Outbound, Payload, SendError};
use tracing::Span;

use crate::error::Error;
use crate::finish;
use crate::outgoing::Outgoing;
use crate::stream::Transport;
use crate::timer::{Timer, now};
use crate::wakers::Wakers;
use crate::writer::Writer;

/// What the halves of a connection reach. The receiver takes the lock for control frames, the close, and what is to be
/// written before it waits: in the steady state the senders have it for themselves.
pub(crate) struct Shared {
    writer: Mutex<Writer>,
    /// Something waits to be written, or a corked task has taken the connection up; set under the lock.
    unsent: AtomicBool,
    /// The close has begun; set under the lock, never reset.
    closing: AtomicBool,
    /// Present if somebody is interested in it.
    span: Option<Box<Span>>,
}

/// A corked task flushes at its end, but no later than with so much to send: the peer may begin to read.
const ENOUGH: usize = 64 * 1024;

/// Whether a task that sent must see to it that it leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queued {
    /// By a flush of its own.
    Flush,
    /// Not now: its task runs corked, and flushes before it waits.
    Corked,
}

impl Shared {
    pub(crate) fn new(transport: Arc<Transport>, outbound: Outbound, span: Span) -> Arc<Self> {
        Arc::new(Self {
            unsent: AtomicBool::new(outbound.queued() > 0),
            closing: AtomicBool::new(outbound.is_closing()),
            writer: Mutex::new(Writer::new(outbound, transport)),
            span: (!span.is_disabled()).then(|| Box::new(span)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection's span.
    pub(crate) fn span(&self) -> Option<&Span> {
        self.span.as_deref()
    }

    /// The state of the writer, once `act` is done with it, is told to whoever looks without the lock.
    #[inline]
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Writer) -> R) -> R {
        let mut writer = self.lock();
        let entered = self.span().map(Span::enter);
        let result = act(&mut writer);
        drop(entered);
        self.unsent.store(writer.has_unsent(), Ordering::Release);
        if writer.outbound.is_closing() {
            self.tell_closing(writer);
        }
        result
    }

    #[cold]
    fn tell_closing(&self, writer: MutexGuard<'_, Writer>) {
        if !self.closing.swap(true, Ordering::AcqRel) {
            drop(writer);
            self.wake_receiver();
            self.wake_waiting();
        }
    }

    pub(crate) fn outbound<R>(&self, act: impl FnOnce(&mut Outbound) -> R) -> R {
        self.with(|writer| act(&mut writer.outbound))
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
        self.outbound(|o| match o.close(now(), code, reason) {
            Ok(()) | Err(SendError::Closing) => {}
            Err(_) => drop(o.close(now(), CloseCode::GOING_AWAY, "")),
        });
    }

    /// Queues what a corked task sends, if nothing is in the way. Most messages go this way, behind the first one of a batch, and this is
    /// all that they cost. Otherwise nothing is queued, and [`poll_queue`](Self::poll_queue) sees to it.
    #[inline(never)]
    pub(crate) fn queue_corked(&self, kind: Kind, payload: &[u8]) -> bool {
        let mut writer = self.lock();
        let enough = writer.outbound.queued() + payload.len() >= ENOUGH;
        if !writer.corked || enough || self.span.is_some() {
            return false;
        }
        // Whoever looks without the lock knows already that something waits, and a message begins no close.
        let payload = Payload::Lent(payload);
        writer.outbound.send_payload(kind, &payload).is_ok()
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
            let room = self.with(|writer| {
                let room = writer.outbound.check_message();
                room.inspect_err(|refused| note_refused(writer, refused, cx))
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
        loop {
            // Kept aside, so that what mostly happens carries no error through all its results.
            let mut refused = None;
            let queued = self.with(|writer| {
                if let Err(error) = act(&mut writer.outbound) {
                    refused = Some(error);
                    note_refused(writer, &error, cx);
                    return Queued::Flush;
                }
                match writer.outbound.queued() {
                    ..ENOUGH if self.cork(writer) => Queued::Corked,
                    _ => Queued::Flush,
                }
            });
            match refused {
                None => return Poll::Ready(Ok(queued)),
                Some(refused) => ready!(self.poll_refused(refused, timer, cx))?,
            }
        }
    }

    /// Whether the task that sends runs corked, and will flush.
    #[inline]
    fn cork(self: &Arc<Self>, writer: &mut Writer) -> bool {
        writer.corked = writer.corked || crate::cork::take_up(self);
        writer.corked
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
        let written = self.poll_write(cx, |writer, cx| {
            // What others have written, up to a clean end, has left.
            if writer.outbound.has_lost() {
                return Poll::Ready(Err(SendError::Closing.into()));
            }
            writer.poll_drain(cx).map_err(Error::from)
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
        self.poll_write(cx, Writer::poll_drain)
    }

    /// Shuts down the transport's sending side.
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write(cx, Writer::poll_shutdown)
    }

    /// Has `act` queue something, and hands to the transport what it takes at once; the rest is left to the receiver.
    /// Tells whether nothing is left.
    pub(crate) fn send_now<T>(
        &self,
        act: impl FnOnce(&mut Outbound) -> T,
    ) -> (T, io::Result<bool>) {
        let mut noop = Context::from_waker(Waker::noop());
        let (done, written, waiting) = self.with(|writer| {
            let done = act(&mut writer.outbound);
            (done, writer.poll_drain(&mut noop), writer.waiting.clone())
        });
        // The transport remembers only who asked last, and others may be waiting for it.
        let written = match written {
            Poll::Pending => self.poll_drain(&mut noop),
            ready => ready,
        };
        let left = match written {
            Poll::Ready(Ok(())) => {
                wake_all(waiting);
                return (done, Ok(true));
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(false),
        };
        self.wake_receiver();
        (done, left)
    }

    /// Hands to the transport what it takes at once; the rest is left to the receiver.
    pub(crate) fn flush_now(&self) {
        let _ = self.send_now(|_| ());
    }

    /// A message in pieces ended, or nothing more can be written.
    pub(crate) fn wake_waiting(&self) {
        let waiting = self.lock().waiting.clone();
        wake_all(waiting);
    }

    /// Tells the receiving task of a close, or of what a sender leaves to it.
    pub(crate) fn wake_receiver(&self) {
        let transport = self.lock().transport().cloned();
        if let Some(transport) = transport {
            transport.wake_reader();
        }
    }

    /// Writes; who has to wait is woken, and who receives learns of a failure.
    fn poll_write<E>(
        &self,
        cx: &Context<'_>,
        mut write: impl FnMut(&mut Writer, &mut Context<'_>) -> Poll<Result<(), E>>,
    ) -> Poll<Result<(), E>> {
        // Mostly the transport takes all at once, and nobody need be remembered.
        let mut noop = Context::from_waker(Waker::noop());
        let deadline = |writer: &Writer| writer.outbound.poll_timeout();
        let (written, begun, waiting) = self.with(|writer| {
            let before = deadline(writer);
            let written = write(writer, &mut noop);
            let begun = before.is_none() && deadline(writer).is_some();
            (written, begun, writer.waiting.clone())
        });
        if let Poll::Ready(written) = written {
            if written.is_err() {
                self.wake_receiver();
            }
            wake_all(waiting);
            return Poll::Ready(written);
        }
        if begun {
            // Whoever sends may give up, and the wait has a deadline that somebody must keep.
            self.wake_receiver();
        }
        let (waiting, receiver) = self.with(|writer| {
            let receiver = writer.transport().and_then(|transport| transport.reader());
            (Arc::clone(writer.waiting()), receiver)
        });
        let written = waiting.poll(cx, |cx| {
            self.with(|writer| {
                let written = write(writer, cx);
                // A sender that gives up leaves its bytes to the receiver, which keeps the time as well.
                if let (Poll::Pending, Some(receiver)) = (&written, &receiver) {
                    waiting.add(receiver);
                }
                written
            })
        });
        if let Poll::Ready(Err(_)) = written {
            self.wake_receiver();
        }
        written
    }
}

/// To be called under the lock, so that the end of a message that is under way is not missed.
#[cold]
fn note_refused(writer: &mut Writer, refused: &SendError, cx: &Context<'_>) {
    if *refused == SendError::Unfinished {
        writer.waiting().add(cx.waker());
    }
}

fn wake_all(waiting: Option<Arc<Wakers>>) {
    if let Some(waiting) = waiting {
        waiting.wake_all();
    }
}

impl Drop for Shared {
    /// Nobody is left who could send what waits: it gets one write at once, and what the transport does not take is
    /// written by a task, which has the close deadline for it.
    fn drop(&mut self) {
        if !self.has_unsent() {
            return;
        }
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let mut noop = Context::from_waker(Waker::noop());
        if !writer.outbound.is_dead() && writer.poll_drain(&mut noop).is_pending() {
            finish::in_a_task(writer);
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Shared");
        if let Ok(writer) = self.writer.try_lock() {
            shown.field("transport", &writer.transport());
        }
        shown.field("closing", &self.closing);
        shown.finish_non_exhaustive()
    }
}
