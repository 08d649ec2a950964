//! A WebSocket connection in two halves, for two tasks or more.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures_core::Stream as FuturesStream;
use futures_sink::Sink;
use openline_proto::{CloseCode, Closed, Frame, Message, Outbound, SendError};
use tokio::io::{AsyncRead, ReadBuf};

use crate::error::Error;
use crate::link::{Link, Whole, Writer};
use crate::receive::Receive;
use crate::stream::{ReadSide, WriteSide};
use crate::timer::{Timer, now};
use crate::wakers::{Slot, Wakers};

/// The half that sends. Its clones send on the same connection, in the order of their calls.
///
/// Dropping it closes nothing: call [`close`](Self::close).
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
    timer: Timer,
}

/// The half that receives, and that answers pings and the peer's Close while it does.
pub struct Receiver {
    receive: Receive,
    part: Part,
}

pub(crate) fn split(receive: Receive, whole: Whole) -> (Sender, Receiver) {
    let (read, write) = whole.stream.split();
    let shared = Arc::new(Shared {
        unsent: AtomicBool::new(whole.writer.has_unsent()),
        closing: AtomicBool::new(whole.writer.outbound.is_closing()),
        state: Mutex::new(State {
            writer: whole.writer,
            write,
        }),
        writers: Arc::default(),
        receiver: Slot::default(),
    });
    let sender = Sender {
        shared: Arc::clone(&shared),
        timer: Timer::default(),
    };
    (
        sender,
        Receiver {
            receive,
            part: Part { read, shared },
        },
    )
}

/// What both halves reach. The receiver takes the lock for control frames and the close only: in the steady state the
/// senders have it for themselves.
struct Shared {
    state: Mutex<State>,
    /// Something waits to be written; set under the lock.
    unsent: AtomicBool,
    /// The close has begun; set under the lock, never reset.
    closing: AtomicBool,
    /// Tasks that wait for room in the socket.
    writers: Arc<Wakers>,
    /// The receiving task, to be told of a close.
    receiver: Slot,
}

struct State {
    writer: Writer,
    write: WriteSide,
}

impl Shared {
    /// The state, once `act` is done with it, is told to whoever looks without the lock.
    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let mut state: MutexGuard<'_, State> =
            self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut state);
        self.unsent
            .store(state.writer.has_unsent(), Ordering::Release);
        if state.writer.outbound.is_closing() && !self.closing.swap(true, Ordering::AcqRel) {
            drop(state);
            self.receiver.wake();
        }
        result
    }

    fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A sender that gives up leaves its bytes to the receiver, which keeps the time as well.
        let receiver = self.receiver.get();
        self.writers.poll(cx, |cx| {
            let drained = self.with(|state| state.writer.poll_drain(&mut state.write, cx));
            if drained.is_pending()
                && let Some(receiver) = &receiver
            {
                self.writers.add(receiver);
            }
            drained
        })
    }
}

/// The receiver's way to the other half.
struct Part {
    read: ReadSide,
    shared: Arc<Shared>,
}

impl Link for Part {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buf)
    }

    fn outbound<R>(&mut self, act: impl FnOnce(&mut Outbound) -> R) -> R {
        self.shared.with(|state| act(&mut state.writer.outbound))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.poll_drain(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &self.shared;
        shared.writers.poll(cx, |cx| {
            shared.with(|state| state.writer.poll_shutdown(&mut state.write, cx))
        })
    }

    fn has_unsent(&self) -> bool {
        self.shared.unsent.load(Ordering::Acquire)
    }

    fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Acquire)
    }
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            timer: Timer::default(),
        }
    }
}

impl Sender {
    /// Sends a message; see [`WebSocket::send`](crate::WebSocket::send).
    ///
    /// # Errors
    /// As there.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        let mut message = Some(message.into());
        std::future::poll_fn(|cx| self.poll_feed(&mut message, cx)).await?;
        self.flush().await
    }

    /// Queues a message without sending it; see [`WebSocket::feed`](crate::WebSocket::feed).
    ///
    /// # Errors
    /// As there.
    pub fn feed(&self, message: impl Into<Message>) -> Result<(), Error> {
        Ok(self
            .shared
            .with(|state| state.writer.outbound.send(message.into()))?)
    }

    /// Queues a message that is not to be compressed; see
    /// [`WebSocket::feed_uncompressed`](crate::WebSocket::feed_uncompressed).
    ///
    /// # Errors
    /// As there.
    pub fn feed_uncompressed(&self, message: impl Into<Message>) -> Result<(), Error> {
        Ok(self
            .shared
            .with(|state| state.writer.outbound.send_uncompressed(message.into()))?)
    }

    /// Queues a frame that many connections share; see [`WebSocket::feed_frame`](crate::WebSocket::feed_frame).
    ///
    /// # Errors
    /// As there.
    pub fn feed_frame(&self, frame: &Frame) -> Result<(), Error> {
        Ok(self
            .shared
            .with(|state| state.writer.outbound.send_frame(frame))?)
    }

    /// Hands all that is queued to the operating system.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn flush(&mut self) -> Result<(), Error> {
        std::future::poll_fn(|cx| self.poll_flush_out(cx)).await
    }

    /// Begins the closing handshake, if it has not begun: sends a Close frame behind what is queued. The receiver sees its
    /// end.
    ///
    /// # Errors
    /// As [`send`](Self::send), and for a code or reason that can't be sent.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        match self
            .shared
            .with(|state| state.writer.outbound.close(now(), code, reason))
        {
            Ok(()) => self.flush().await,
            Err(SendError::Closing) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How the connection was closed, as far as it got; `None` while it is open.
    pub fn closed(&self) -> Option<Closed> {
        self.shared
            .with(|state| state.writer.outbound.closed().cloned())
    }

    /// Queues the message once there is room: both under one lock, or a clone might take the room in between.
    fn poll_feed(
        &mut self,
        message: &mut Option<Message>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            let fed = self.shared.with(|state| {
                let outbound = &mut state.writer.outbound;
                if outbound.is_full() && !outbound.is_closing() {
                    return None;
                }
                message.take().map(|message| outbound.send(message))
            });
            match fed {
                Some(fed) => return Poll::Ready(fed.map_err(Error::from)),
                None if message.is_none() => return Poll::Ready(Ok(())),
                None => ready!(self.poll_flush_out(cx))?,
            }
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let (closing, full) = self.shared.with(|state| {
            (
                state.writer.outbound.is_closing(),
                state.writer.outbound.is_full(),
            )
        });
        if closing {
            Poll::Ready(Err(SendError::Closing.into()))
        } else if full {
            self.poll_flush_out(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn poll_flush_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.shared.with(|state| state.writer.outbound.is_dead()) {
            return Poll::Ready(Err(SendError::Closing.into()));
        }
        match self.shared.poll_drain(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => {
                self.shared
                    .with(|state| state.writer.outbound.handle_write_error(now()));
                return Poll::Ready(Err(error.into()));
            }
            Poll::Pending => {}
        }
        let deadline = self
            .shared
            .with(|state| state.writer.outbound.poll_timeout());
        ready!(self.timer.poll(deadline, cx));
        let passed = self
            .shared
            .with(|state| state.writer.outbound.handle_timeout(now()));
        // Others wait for the same bytes, which will never leave now.
        self.shared.writers.wake_all();
        passed?;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Sender {
    /// What was queued and not flushed is left to the receiver.
    fn drop(&mut self) {
        if self.shared.unsent.load(Ordering::Acquire) {
            self.shared.receiver.wake();
        }
    }
}

impl Receiver {
    /// Receives the next message; see [`WebSocket::next`](crate::WebSocket::next).
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        std::future::poll_fn(|cx| self.poll_message(cx)).await
    }

    /// How the connection was closed, as far as it got; `None` while it is open.
    pub fn closed(&self) -> Option<Closed> {
        self.part
            .shared
            .with(|state| state.writer.outbound.closed().cloned())
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        // Before the state is looked at, so that no close is missed in between.
        self.part.shared.receiver.set(cx.waker());
        self.receive.poll_next(&mut self.part, cx)
    }
}

impl FuturesStream for Receiver {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

impl Sink<Message> for Sender {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_room(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.feed(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush_out(cx)
    }

    /// Sends a Close frame with code 1000, as [`Sender::close`].
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.shared
            .with(|state| match state.writer.outbound.is_closing() {
                true => Ok(()),
                false => state.writer.outbound.close(now(), CloseCode::NORMAL, ""),
            })?;
        self.poll_flush_out(cx)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("receive", &self.receive)
            .finish_non_exhaustive()
    }
}
