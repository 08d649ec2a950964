//! The halves of a connection: one that sends, one that receives.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream as FuturesStream;
use futures_sink::Sink;
use openline_proto::{CloseCode, Closed, Kind, Message, SendError};

use crate::error::Error;
use crate::lent::MessageRef;
use crate::outgoing::Outgoing;
use crate::pieces::{MessageReader, MessageWriter};
use crate::receive::{Owned, Receive};
use crate::shared::{Queued, Shared};
use crate::timer::{Timer, now};
use crate::websocket::Traffic;

/// The half that sends. Its clones send on the same connection, in the order of their calls.
///
/// Dropping it closes nothing: call [`close`](Self::close). As a [`Sink`] it waits as [`send`](Self::send) does, for room and for
/// the end of a message that another sender sends in pieces.
#[derive(Debug)]
pub struct Sender {
    pub(crate) shared: Arc<Shared>,
    pub(crate) timer: Timer,
    /// What a `Sink` was given when another sender had taken its place.
    held: Option<Box<Message>>,
}

/// The half that receives, and that answers pings and the peer's Close while it does.
///
/// Keep it for as long as the connection: when it is dropped first, senders can still send, but nobody sees the peer leave,
/// answers its pings or keeps it alive.
#[derive(Debug)]
pub struct Receiver {
    // Behind a box, so that connections are small where they are moved.
    pub(crate) receive: Box<Receive>,
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl Sender {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            timer: Timer::default(),
            held: None,
        }
    }

    /// Sends a message; see [`WebSocket::send`](crate::WebSocket::send).
    ///
    /// # Errors
    /// As there.
    pub fn send<M: Outgoing>(
        &mut self,
        message: M,
    ) -> impl Future<Output = Result<(), Error>> + use<'_, M> {
        Sending {
            sender: self,
            message: Some(message),
        }
    }

    /// Queues a message without sending it; see [`WebSocket::feed`](crate::WebSocket::feed).
    ///
    /// # Errors
    /// As there.
    pub fn feed(&self, message: impl Outgoing) -> Result<(), Error> {
        Ok(self.shared.outbound(|outbound| message.queue(outbound))?)
    }

    /// Queues a ping; see [`WebSocket::feed_ping`](crate::WebSocket::feed_ping).
    ///
    /// # Errors
    /// As there.
    pub fn feed_ping(&self, payload: &[u8]) -> Result<(), Error> {
        Ok(self.shared.outbound(|outbound| outbound.ping(payload))?)
    }

    /// Hands all that is queued to the operating system.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn flush(&mut self) -> Result<(), Error> {
        std::future::poll_fn(|cx| self.shared.poll_flush(&mut self.timer, cx)).await
    }

    /// Queues messages, and hands to the operating system what it takes at once, in one write; tells whether all has left.
    /// What has not is sent by the receiver, which must be read.
    ///
    /// For whoever sends the same to many and waits for none of them. The messages are taken while the connection is locked:
    /// an iterator that uses it would wait for itself.
    ///
    /// # Errors
    /// As [`feed`](Self::feed) for the first message that is refused, behind which none is queued; [`Error::Io`].
    pub fn send_now<M: Outgoing>(
        &self,
        messages: impl IntoIterator<Item = M>,
    ) -> Result<bool, Error> {
        let (queued, left) = self.shared.send_now(|outbound| {
            messages
                .into_iter()
                .try_for_each(|message| message.queue(outbound))
        });
        queued?;
        Ok(left?)
    }

    /// How many bytes are queued and wait to be sent.
    pub fn queued(&self) -> usize {
        self.shared.outbound(|outbound| outbound.queued())
    }

    /// Begins a message that is sent in pieces; see [`WebSocket::writer`](crate::WebSocket::writer). While it is under way,
    /// other senders wait for its end.
    ///
    /// # Errors
    /// As there.
    pub async fn writer(&mut self, kind: Kind) -> Result<MessageWriter<'_>, Error> {
        MessageWriter::begin(self, kind, true).await
    }

    /// The same for a message that is not to be compressed, as [`Uncompressed`](crate::Uncompressed) says.
    ///
    /// # Errors
    /// As there.
    pub async fn writer_uncompressed(&mut self, kind: Kind) -> Result<MessageWriter<'_>, Error> {
        MessageWriter::begin(self, kind, false).await
    }

    /// Begins the closing handshake, if it has not begun: sends a Close frame behind what is queued. The receiver sees its
    /// end; where that was dropped, the library ends the connection by [`Config::close_timeout`](crate::Config::close_timeout).
    ///
    /// # Errors
    /// As [`send`](Self::send), and for a code or reason that can't be sent.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        match self.shared.outbound(|o| o.close(now(), code, reason)) {
            Ok(()) => self.flush().await,
            Err(SendError::Closing) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How the connection was closed, as far as it got; `None` while it is open.
    pub fn closed(&self) -> Option<Closed> {
        self.shared.closed()
    }
}

impl Drop for Sender {
    /// What was queued and not flushed is left to the receiver.
    fn drop(&mut self) {
        if self.shared.has_unsent() {
            self.shared.wake_receiver();
        }
    }
}

impl Receiver {
    /// Receives the next message; see [`WebSocket::next`](crate::WebSocket::next).
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        std::future::poll_fn(|cx| self.poll_own(cx)).await
    }

    #[inline]
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        match self.receive.next_own() {
            Some(message) => Poll::Ready(Some(Ok(message))),
            None => self.receive.poll_next::<Owned>(cx),
        }
    }

    /// Receives the next message, and lends it from where it was read: it costs no copy and no allocation if it came in
    /// one piece. Otherwise as [`next`](Self::next).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let (mut client, mut ws) = openline::WebSocket::pair();
    /// # client.send("hello").await?;
    /// # client.close(openline::CloseCode::NORMAL, "").await.ok();
    /// let (sender, receiver) = ws.halves();
    /// while let Some(message) = receiver.next_lent().await {
    ///     sender.send(message?).await?;
    /// }
    /// # Ok::<_, openline::Error>(()) }).ok();
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_lent(
        &mut self,
    ) -> impl Future<Output = Option<Result<MessageRef<'_>, Error>>> + use<'_> {
        Lending(Some(&mut self.receive))
    }

    /// Receives the next message in pieces; see [`WebSocket::next_reader`](crate::WebSocket::next_reader).
    pub async fn next_reader(&mut self) -> Option<Result<MessageReader<'_>, Error>> {
        MessageReader::next(&mut self.receive).await
    }

    /// How the connection was closed, as far as it got; `None` while it is open.
    pub fn closed(&self) -> Option<Closed> {
        self.receive.shared.closed()
    }

    /// Bytes received and sent since the opening handshake.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            received: self.receive.received(),
            sent: self.receive.shared.outbound(|outbound| outbound.sent()),
        }
    }
}

/// What [`Sender::send`] does: not an `async fn`, whose future would hold the message several times. What is mostly the case is
/// to become a part of whoever awaits it, with no error in its way that would have to be moved.
struct Sending<'a, M> {
    sender: &'a mut Sender,
    message: Option<M>,
}

impl<M> Unpin for Sending<'_, M> {}

impl<M: Outgoing> Future for Sending<'_, M> {
    type Output = Result<(), Error>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let this = &mut *self;
        if let Some((kind, payload)) = this.message.as_ref().and_then(Outgoing::lent)
            && this.sender.shared.queue_corked(kind, payload)
        {
            this.message = None;
            return Poll::Ready(Ok(()));
        }
        this.poll_any(cx).map_err(|error| *error)
    }
}

impl<M: Outgoing> Sending<'_, M> {
    #[inline(never)]
    fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Box<Error>>> {
        let Sender { shared, timer, .. } = &mut *self.sender;
        if self.message.is_some() {
            let queued = ready!(shared.poll_queue(&mut self.message, timer, cx))?;
            if queued == Queued::Corked {
                return Poll::Ready(Ok(()));
            }
        }
        shared.poll_flush(timer, cx).map_err(Box::new)
    }
}

/// What [`Receiver::next_lent`] does, made as [`Sending`] is.
struct Lending<'a>(Option<&'a mut Receive>);

impl<'a> Future for Lending<'a> {
    type Output = Option<Result<MessageRef<'a>, Error>>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(receive) = self.0.take() else {
            return Poll::Pending; // it was ready already
        };
        if let Some(whole) = receive.next_whole() {
            return Poll::Ready(Some(Ok(whole.lend(receive.scratch()))));
        }
        match receive.poll_lent(cx) {
            Poll::Pending => {
                self.0 = Some(receive);
                Poll::Pending
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Ok(found))) => Poll::Ready(Some(Ok(found.lend(receive.scratch())))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(*error))),
        }
    }
}

impl FuturesStream for Receiver {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_own(cx)
    }
}

impl Sink<Message> for Sender {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_held(cx))?;
        let this = &mut *self;
        this.shared.poll_room(&mut this.timer, cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        let mut message = Some(message);
        let this = &mut *self;
        this.shared.outbound(|outbound| {
            let waits = outbound.is_full() || outbound.is_mid_message();
            if this.held.is_none() && waits && !outbound.is_closing() {
                this.held = message.take().map(Box::new);
            }
            message.map_or(Ok(()), |message| outbound.send(message))
        })?;
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_held(cx))?;
        let this = &mut *self;
        this.shared.poll_flush(&mut this.timer, cx)
    }

    /// Sends a Close frame with code 1000, as [`Sender::close`].
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_held(cx))?;
        let this = &mut *self;
        this.shared.outbound(|o| match o.is_closing() {
            true => Ok(()),
            false => o.close(now(), CloseCode::NORMAL, ""),
        })?;
        this.shared.poll_flush(&mut this.timer, cx)
    }
}

impl Sender {
    /// Queues what is held.
    pub(crate) fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let Some(held) = &mut self.held {
            let mut message = Some(&**held);
            let queued = ready!(self.shared.poll_queue(&mut message, &mut self.timer, cx));
            self.held = None;
            queued?;
        }
        Poll::Ready(Ok(()))
    }
}
