//! A WebSocket connection in one piece.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream as FuturesStream;
use futures_sink::Sink;
use openline_proto::{CloseCode, Closed, Config, Connection, Kind, Message, Role, SendError};

use crate::error::Error;
use crate::outgoing::Outgoing;
use crate::pieces::{MessageReader, MessageWriter};
use crate::receive::{Owned, Receive};
use crate::shared::Shared;
use crate::split::{Receiver, Sender};
use crate::stream::Stream;
use crate::timer::now;

/// A WebSocket connection, of either role.
///
/// [`next`](Self::next) and [`send`](Self::send) are all that most programs need; it is a
/// [`Stream`](futures_core::Stream) and a [`Sink`] as well. Pings are answered, keepalive is kept and deadlines are
/// watched while it is read, so have it read: a task that only sends should [`split`](Self::split) it.
///
/// Every method is cancel-safe: what was read or queued is kept in the connection, and the next call goes on where a
/// dropped future stopped. It needs a tokio runtime with its time driver, and stays with the one in which it was made. A TCP
/// stream that comes from another runtime works in one that has no I/O driver (`enable_io`), too, and takes more memory there.
/// Deadlines that are more than 2 s away may pass 0.1 s late.
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
    // Dropped before the receiver, to which it would leave what is queued.
    sender: Sender,
    receiver: Receiver,
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
        let transport = stream.into_transport();
        let role = match outbound.role() {
            Role::Server => "server",
            Role::Client => "client",
        };
        // A child of whatever span the program is in: what it says there of the connection is not said again here.
        let span = tracing::debug_span!("websocket", role, subprotocol);
        let shared = Shared::new(Arc::clone(&transport), outbound, span);
        Self {
            receiver: Receiver {
                receive: Box::new(Receive::new(
                    Arc::clone(&shared),
                    transport,
                    inbound,
                    early,
                    subprotocol.map(Into::into),
                )),
            },
            sender: Sender::new(shared),
        }
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.sender.shared
    }

    /// The subprotocol that the server chose.
    pub fn subprotocol(&self) -> Option<&str> {
        self.receiver.receive.subprotocol()
    }

    /// Receives the next message. `None` means that the peer closed, or answered the close; [`closed`](Self::closed) tells
    /// how, and whether [cleanly](Closed::clean). What was queued is sent meanwhile.
    ///
    /// # Errors
    /// [`Error::Disconnected`] when the peer is gone without a word, [`Error::Protocol`] when it broke the protocol or
    /// a limit, [`Error::Timeout`], [`Error::Io`]. The connection is over then, and `None` comes next.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        self.receiver.next().await
    }

    /// Receives the next message in pieces, as they come: of any length, in memory that does not grow. Otherwise as
    /// [`next`](Self::next).
    ///
    /// [`Config::max_message`], [`Config::max_fragments`] and [`Config::message_timeout`] do not count for it: how much
    /// it takes, and for how long, is its reader's choice.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let (mut client, mut ws) = openline::WebSocket::pair();
    /// # client.send(vec![7; 5000]).await?;
    /// if let Some(reader) = ws.next_reader().await {
    ///     let copied = tokio::io::copy(&mut reader?, &mut tokio::io::sink()).await?;
    ///     assert_eq!(copied, 5000);
    /// }
    /// # Ok::<_, openline::Error>(()) })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub async fn next_reader(&mut self) -> Option<Result<MessageReader<'_>, Error>> {
        self.receiver.next_reader().await
    }

    /// Sends a message: queues it and hands all that is queued to the operating system. In a handler that the library runs,
    /// and in a task that runs [`corked`](crate::corked), that is done when the task is about to wait.
    ///
    /// While [`Config::max_outbox`] bytes wait already, it waits until they are gone; a future that is dropped then has not
    /// queued the message. Otherwise it is queued at the first poll, and whoever calls next sends the rest.
    ///
    /// # Errors
    /// [`SendError::Closing`] after the close began, [`Error::Io`], and [`Timeout::Write`](openline_proto::Timeout::Write)
    /// when the peer reads nothing.
    pub fn send<M: Outgoing>(
        &mut self,
        message: M,
    ) -> impl Future<Output = Result<(), Error>> + use<'_, M> {
        self.sender.send(message)
    }

    /// Queues a message without sending it: many small ones then leave in one write, at the next
    /// [`flush`](Self::flush), [`send`](Self::send) or [`next`](Self::next).
    ///
    /// # Errors
    /// [`SendError::Full`] while [`Config::max_outbox`] bytes wait, [`SendError::Closing`].
    pub fn feed(&mut self, message: impl Outgoing) -> Result<(), Error> {
        self.sender.feed(message)
    }

    /// Queues a ping with a payload of at most 125 bytes, as [`feed`](Self::feed). Keepalive sends its own.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), and [`SendError::ControlTooLong`].
    pub fn feed_ping(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.sender.feed_ping(payload)
    }

    /// Begins a message that is sent in pieces, of any length, in memory that does not grow.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # use openline::Kind;
    /// # let (mut ws, mut server) = openline::WebSocket::pair();
    /// # let file = &b"a file, a body, a pipe"[..];
    /// let mut writer = ws.writer(Kind::Binary).await?;
    /// writer.write_from(file).await?;
    /// writer.finish().await?;
    /// # assert_eq!(server.next().await.expect("open")?.as_bytes()[..], *file);
    /// # Ok::<_, openline::Error>(()) })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The connection is not read meanwhile: [`split`](Self::split) it where pings should be answered during a long
    /// message.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn writer(&mut self, kind: Kind) -> Result<MessageWriter<'_>, Error> {
        self.sender.writer(kind).await
    }

    /// Hands all that is queued to the operating system.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.sender.flush().await
    }

    /// Closes the connection: sends a Close frame behind what is queued, waits for the peer's and for the end of the
    /// stream, at most [`Config::close_timeout`]. Messages that come meanwhile are discarded.
    ///
    /// How it ended is told by the record; a peer that did not answer leaves [`Closed::clean`] false.
    ///
    /// # Errors
    /// [`SendError::InvalidCloseCode`], and [`SendError::ControlTooLong`] for a reason of more than 123 bytes.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<Closed, Error> {
        match self.shared().outbound(|o| o.close(now(), code, reason)) {
            Ok(()) | Err(SendError::Closing) => {}
            Err(error) => return Err(error.into()),
        }
        std::future::poll_fn(|cx| self.poll_end(cx)).await;
        Ok(self.closed().unwrap_or_default())
    }

    /// How the connection was closed, as far as it got; `None` while it is open.
    pub fn closed(&self) -> Option<Closed> {
        self.sender.closed()
    }

    /// Bytes received and sent since the opening handshake.
    pub fn traffic(&self) -> Traffic {
        self.receiver.traffic()
    }

    /// Its halves, lent: to send while a [lent message](Receiver::next_lent) is held, or to do both at once.
    pub const fn halves(&mut self) -> (&mut Sender, &mut Receiver) {
        (&mut self.sender, &mut self.receiver)
    }

    /// Parts it into a half that sends and a half that receives, for two tasks.
    ///
    /// On TCP they share no lock but for control frames and the close. Keep the receiver reading: it answers pings
    /// and the peer's Close.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// Reads to the end, and discards what comes.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        /// Messages discarded in one poll; then other tasks have their turn.
        const BUDGET: usize = 256;
        for _ in 0..BUDGET {
            if ready!(self.receiver.receive.poll_next::<Owned>(cx)).is_none() {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl FuturesStream for WebSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.receiver).poll_next(cx)
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.sender).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        Pin::new(&mut self.sender).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.sender).poll_flush(cx)
    }

    /// The whole closing handshake with code 1000, as [`WebSocket::close`].
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.sender.poll_held(cx))?;
        self.shared().outbound(|o| match o.is_closing() {
            true => Ok(()),
            false => o.close(now(), CloseCode::NORMAL, ""),
        })?;
        self.poll_end(cx).map(Ok)
    }
}
