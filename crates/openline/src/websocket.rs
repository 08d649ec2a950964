//! A WebSocket connection in one piece.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream as FuturesStream;
use futures_sink::Sink;
use openline_proto::{CloseCode, Closed, Config, Connection, Frame, Message, SendError};

use crate::error::Error;
use crate::link::{Link, Whole, Writer};
use crate::receive::Receive;
use crate::split::{self, Receiver, Sender};
use crate::stream::Stream;
use crate::timer::{Timer, now};

/// A WebSocket connection, of either role.
///
/// [`next`](Self::next) and [`send`](Self::send) are all that most programs need; it is a
/// [`Stream`](futures_core::Stream) and a [`Sink`] as well. Pings are answered, keepalive is kept and deadlines are
/// watched while it is read, so have it read: a task that only sends should [`split`](Self::split) it.
///
/// Every method is cancel-safe: what was read or queued is kept in the connection, and the next call goes on where a
/// dropped future stopped. It needs a tokio runtime with its time driver.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let (here, there) = tokio::io::duplex(4096);
/// let mut server = openline::WebSocket::server(there, Default::default());
/// let mut client = openline::WebSocket::client(here, Default::default());
/// client.send("hello").await?;
/// let message = server.next().await.expect("a message")?;
/// assert_eq!(message.as_text(), Some("hello"));
/// # Ok::<_, Box<dyn std::error::Error>>(()) })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct WebSocket {
    receive: Receive,
    link: Whole,
    timer: Timer,
    subprotocol: Option<Box<str>>,
}

/// Bytes of a connection since its opening handshake, frame headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}

impl WebSocket {
    /// The server's end of a stream on which the opening handshake is done, without compression.
    pub fn server(
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
        config: Arc<Config>,
    ) -> Self {
        Self::new(
            Stream::new(stream),
            Connection::server(config, now()),
            Bytes::new(),
            None,
        )
    }

    /// The client's end of a stream on which the opening handshake is done, without compression.
    pub fn client(
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
        config: Arc<Config>,
    ) -> Self {
        Self::new(
            Stream::new(stream),
            Connection::client(config, rand::random, now()),
            Bytes::new(),
            None,
        )
    }

    /// A client and a server that are connected in memory, for tests: no socket, no handshake, and the whole protocol.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let (mut client, mut server) = openline::WebSocket::pair();
    /// client.send("hello").await?;
    /// assert_eq!(server.next().await.expect("open")?.as_text(), Some("hello"));
    /// # Ok::<_, openline::Error>(()) })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn pair() -> (Self, Self) {
        let (client, server) = tokio::io::duplex(64 * 1024);
        (
            Self::client(client, Arc::default()),
            Self::server(server, Arc::default()),
        )
    }

    /// A connection after its handshake; `early` came behind the handshake's head.
    pub(crate) fn new(
        stream: Stream,
        connection: Connection,
        early: Bytes,
        subprotocol: Option<String>,
    ) -> Self {
        let (inbound, outbound) = connection.split();
        Self {
            receive: Receive::new(inbound, early),
            link: Whole::new(stream, Writer::new(outbound)),
            timer: Timer::default(),
            subprotocol: subprotocol.map(Into::into),
        }
    }

    /// Has it begin to close when the goodbye is said.
    pub(crate) fn obey(&mut self, goodbye: crate::goodbye::Listening) {
        self.receive.goodbye = Some(goodbye);
    }

    /// The subprotocol that the server chose.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Receives the next message. `None` means that the peer closed, or answered the close; [`closed`](Self::closed) tells
    /// how, and whether [cleanly](Closed::clean). What was queued is sent meanwhile.
    ///
    /// # Errors
    /// [`Error::Disconnected`] when the peer is gone without a word, [`Error::Protocol`] when it broke the protocol or
    /// a limit, [`Error::Timeout`], [`Error::Io`]. The connection is over then, and `None` comes next.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        std::future::poll_fn(|cx| self.receive.poll_next(&mut self.link, cx)).await
    }

    /// Sends a message: queues it and hands all that is queued to the operating system.
    ///
    /// While [`Config::max_outbox`] bytes wait already, it waits until they are gone; a future that is dropped then has not
    /// queued the message. Otherwise it is queued at the first poll, and whoever calls next sends the rest.
    ///
    /// # Errors
    /// [`SendError::Closing`] after the close began, [`Error::Io`], and [`Timeout::Write`](openline_proto::Timeout::Write)
    /// when the peer reads nothing.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        std::future::poll_fn(|cx| self.poll_room(cx)).await?;
        self.feed(message)?;
        self.flush().await
    }

    /// Queues a message without sending it: many small ones then leave in one write, at the next
    /// [`flush`](Self::flush), [`send`](Self::send) or [`next`](Self::next).
    ///
    /// # Errors
    /// [`SendError::Full`] while [`Config::max_outbox`] bytes wait, [`SendError::Closing`].
    pub fn feed(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        Ok(self.link.writer.outbound.send(message.into())?)
    }

    /// Queues a message that is not to be compressed, whatever was agreed on, as [`feed`](Self::feed): one that holds a
    /// secret ([`Deflate`](crate::Deflate) tells why), or that is compressed already.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub fn feed_uncompressed(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        Ok(self
            .link
            .writer
            .outbound
            .send_uncompressed(message.into())?)
    }

    /// Queues a frame that many connections share, as [`feed`](Self::feed).
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub fn feed_frame(&mut self, frame: &Frame) -> Result<(), Error> {
        Ok(self.link.writer.outbound.send_frame(frame)?)
    }

    /// Queues a ping with a payload of at most 125 bytes, as [`feed`](Self::feed). Keepalive sends its own.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), and [`SendError::ControlTooLong`].
    pub fn feed_ping(&mut self, payload: &[u8]) -> Result<(), Error> {
        Ok(self.link.writer.outbound.ping(payload)?)
    }

    /// Hands all that is queued to the operating system.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn flush(&mut self) -> Result<(), Error> {
        std::future::poll_fn(|cx| self.poll_flush_out(cx)).await
    }

    /// Closes the connection: sends a Close frame behind what is queued, waits for the peer's and for the end of the
    /// stream, at most [`Config::close_timeout`]. Messages that come meanwhile are discarded.
    ///
    /// How it ended is told by the record; a peer that did not answer leaves [`Closed::clean`] false.
    ///
    /// # Errors
    /// [`SendError::InvalidCloseCode`], and [`SendError::ControlTooLong`] for a reason of more than 123 bytes.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<Closed, Error> {
        match self.link.writer.outbound.close(now(), code, reason) {
            Ok(()) | Err(SendError::Closing) => {}
            Err(error) => return Err(error.into()),
        }
        std::future::poll_fn(|cx| self.poll_end(cx)).await;
        Ok(self.closed().unwrap_or_default())
    }

    /// How the connection was closed, as far as it got; `None` while it is open.
    pub fn closed(&self) -> Option<Closed> {
        self.link.writer.outbound.closed().cloned()
    }

    /// Bytes received and sent since the opening handshake.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            received: self.receive.received(),
            sent: self.link.writer.outbound.sent(),
        }
    }

    /// Parts it into a half that sends and a half that receives, for two tasks.
    ///
    /// On TCP they share no lock but for control frames and the close. Keep the receiver reading: it answers pings
    /// and the peer's Close.
    pub fn split(self) -> (Sender, Receiver) {
        split::split(self.receive, self.link)
    }

    /// Reads to the end, and discards what comes.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        /// Messages discarded in one poll; then other tasks have their turn.
        const BUDGET: usize = 256;
        for _ in 0..BUDGET {
            if ready!(self.receive.poll_next(&mut self.link, cx)).is_none() {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready when a message may be queued.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.link.is_closing() {
            Poll::Ready(Err(SendError::Closing.into()))
        } else if self.link.writer.outbound.is_full() {
            self.poll_flush_out(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn poll_flush_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.link.writer.outbound.is_dead() {
            return Poll::Ready(Err(SendError::Closing.into()));
        }
        match self.link.poll_drain(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => {
                self.link.writer.outbound.handle_write_error(now());
                return Poll::Ready(Err(error.into()));
            }
            Poll::Pending => {}
        }
        ready!(
            self.timer
                .poll(self.link.writer.outbound.poll_timeout(), cx)
        );
        self.link.writer.outbound.handle_timeout(now())?;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl FuturesStream for WebSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.receive.poll_next(&mut this.link, cx)
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_room(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.feed(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush_out(cx)
    }

    /// The whole closing handshake with code 1000, as [`WebSocket::close`].
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let this = &mut *self;
        if !this.link.is_closing() {
            this.link
                .writer
                .outbound
                .close(now(), CloseCode::NORMAL, "")?;
        }
        this.poll_end(cx).map(Ok)
    }
}
