//! A connection after its opening handshake: both halves in one.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use crate::broadcast::Broadcast;
use crate::close::{CloseCode, Closed};
use crate::config::Config;
use crate::error::{ProtocolError, SendError, Timeout};
use crate::frame::Role;
use crate::handshake::deflate::Agreed;
use crate::inbound::{Inbound, Input};
use crate::message::{Event, Kind, Message};
use crate::outbound::{MaskKey, Outbound};

/// A WebSocket connection as a state machine: it does no I/O, reads no clock and makes no random numbers.
///
/// Its methods come in four kinds, told by their names: getters; `handle_*`, which take in bytes and time; commands
/// ([`send`](Self::send), [`ping`](Self::ping), [`close`](Self::close) …); and `poll_*`, which give out bytes and the
/// next deadline. The loop of whoever drives it:
///
/// 1. [`poll_slices`](Self::poll_slices): write them, then tell [`written`](Self::written), or
///    [`handle_blocked`](Self::handle_blocked) if the transport takes none.
/// 2. [`wants_shutdown`](Self::wants_shutdown): shut down the transport's sending side, once.
/// 3. [`is_done`](Self::is_done): drop the transport; [`closed`](Self::closed) tells how it ended.
/// 4. [`poll_timeout`](Self::poll_timeout): wait for bytes until then.
/// 5. Bytes came: [`handle_input`](Self::handle_input) until it returns `None`. The stream ended:
///    [`handle_eof`](Self::handle_eof). The deadline passed: [`handle_timeout`](Self::handle_timeout). Go on at 1.
///
/// ```
/// use std::time::Instant;
/// use std::sync::Arc;
/// use openline_proto::{Config, Connection, Event, Input};
///
/// let now = Instant::now();
/// let mut server = Connection::server(Arc::new(Config::default()), now);
/// let mut bytes = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"; // RFC 6455 §5.7: a masked "Hello"
/// let mut input = Input::new(&mut bytes);
/// while let Some(event) = server.handle_input(now, &mut input)? {
///     if let Event::Text(text) = event {
///         assert_eq!(&*text, "Hello");
///         server.send_text(&text).expect("an empty outbox has room");
///     }
/// }
/// let mut slices = [std::io::IoSlice::new(&[])];
/// assert_eq!(server.poll_slices(&mut slices), 1);
/// assert_eq!(&*slices[0], b"\x81\x05Hello");
/// server.written(7);
/// # Ok::<(), openline_proto::ProtocolError>(())
/// ```
#[derive(Debug)]
pub struct Connection {
    inbound: Inbound,
    outbound: Outbound,
}

impl Connection {
    /// The server's end.
    pub fn server(config: Arc<Config>, now: Instant) -> Self {
        Self {
            inbound: Inbound::new(Role::Server, Arc::clone(&config), now),
            outbound: Outbound::new(None, config),
        }
    }

    /// The client's end. `mask_key` gives the key of each frame.
    pub fn client(config: Arc<Config>, mask_key: MaskKey, now: Instant) -> Self {
        Self {
            inbound: Inbound::new(Role::Client, Arc::clone(&config), now),
            outbound: Outbound::new(Some(mask_key), config),
        }
    }

    /// Compresses messages, as the opening handshake agreed: [`Accepted::deflate`](crate::handshake::Accepted::deflate) or
    /// [`Established::deflate`](crate::handshake::Established::deflate). What is ours to choose stands in
    /// [`Config::deflate`].
    #[must_use]
    pub fn with_deflate(mut self, agreed: Option<Agreed>) -> Self {
        if let Some(agreed) = agreed {
            self.inbound.inflate(&agreed);
            self.outbound.compress(&agreed);
        }
        self
    }

    /// Consumes input up to and with the next event. `None` means that all was consumed: more bytes are needed.
    ///
    /// The event borrows the input, not the connection, so that it can be answered while it is held. Pings and the
    /// peer's Close are already answered when they are returned.
    ///
    /// # Errors
    /// The first violation by the peer. The Close frame that says so is queued; later input is discarded.
    pub fn handle_input<'b>(
        &mut self,
        now: Instant,
        input: &mut Input<'b>,
    ) -> Result<Option<Event<'b>>, ProtocolError> {
        let event = self.inbound.handle_input(now, input);
        self.react(now, &event);
        event
    }

    /// The same, with messages told in pieces ([`Event::Piece`]), as they come and however long they are: nothing is kept
    /// of them, so [`Config::max_message`], [`Config::max_fragments`] and [`Config::message_timeout`] do not count.
    ///
    /// Which of both to call may change between any two calls. A message that was begun whole goes on in pieces, with what
    /// came before in the first one. Of a message that was begun in pieces, [`handle_input`](Self::handle_input) discards
    /// what is left; call [`discard`](Self::discard) before, so that this has a deadline. Of a compressed message a piece has up to 16 KiB, however little it came from.
    ///
    /// # Errors
    /// As [`handle_input`](Self::handle_input). Of a message that fails, pieces may have been told already.
    pub fn handle_input_in_pieces<'b>(
        &mut self,
        now: Instant,
        input: &mut Input<'b>,
    ) -> Result<Option<Event<'b>>, ProtocolError> {
        let event = self.inbound.handle_input_in_pieces(now, input);
        self.react(now, &event);
        event
    }

    /// See [`Inbound::discard`].
    pub fn discard(&mut self, now: Instant) {
        self.inbound.discard(now);
    }

    #[inline]
    fn react(&mut self, now: Instant, event: &Result<Option<Event<'_>>, ProtocolError>) {
        match event {
            Ok(Some(event)) => self.outbound.react(now, event),
            Ok(None) => {}
            Err(error) => self.outbound.fail(now, error),
        }
    }

    /// The peer will send nothing more. Without both Close frames the connection is lost: [`Closed::clean`] is false.
    pub fn handle_eof(&mut self, now: Instant) {
        self.inbound.stop();
        self.outbound.handle_eof(now);
    }

    /// See [`Outbound::handle_blocked`].
    pub fn handle_blocked(&mut self, now: Instant) {
        self.outbound.handle_blocked(now);
    }

    /// See [`Outbound::handle_write_error`].
    pub fn handle_write_error(&mut self, now: Instant) {
        self.outbound.handle_write_error(now);
    }

    /// Takes note of the time; may be called too early.
    ///
    /// # Errors
    /// The deadline that passed, if it ends the connection.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Timeout> {
        self.inbound.handle_timeout(now, &mut self.outbound)
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called, if nothing comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.inbound.poll_timeout(), self.outbound.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// See [`Outbound::send`].
    pub fn send(&mut self, message: Message) -> Result<(), SendError> {
        self.outbound.send(message)
    }

    /// See [`Outbound::send_text`].
    pub fn send_text(&mut self, text: &str) -> Result<(), SendError> {
        self.outbound.send_text(text)
    }

    /// See [`Outbound::send_binary`].
    pub fn send_binary(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.outbound.send_binary(payload)
    }

    /// See [`Outbound::send_uncompressed`].
    pub fn send_uncompressed(&mut self, message: Message) -> Result<(), SendError> {
        self.outbound.send_uncompressed(message)
    }

    /// See [`Outbound::send_broadcast`].
    pub fn send_broadcast(&mut self, broadcast: &Broadcast) -> Result<(), SendError> {
        self.outbound.send_broadcast(broadcast)
    }

    /// See [`Outbound::begin`].
    pub fn begin(&mut self, kind: Kind, compress: bool) -> Result<(), SendError> {
        self.outbound.begin(kind, compress)
    }

    /// See [`Outbound::send_piece`].
    pub fn send_piece(&mut self, payload: &[u8], last: bool) -> Result<(), SendError> {
        self.outbound.send_piece(payload, last)
    }

    /// See [`Outbound::ping`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.outbound.ping(payload)
    }

    /// See [`Outbound::close`].
    pub fn close(&mut self, now: Instant, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.outbound.close(now, code, reason)
    }

    /// See [`Outbound::poll_slices`].
    #[must_use]
    pub fn poll_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.outbound.poll_slices(slices)
    }

    /// See [`Outbound::written`].
    pub fn written(&mut self, count: usize) {
        self.outbound.written(count);
    }

    /// See [`Outbound::queued`].
    pub fn queued(&self) -> usize {
        self.outbound.queued()
    }

    /// See [`Outbound::is_closing`].
    pub const fn is_closing(&self) -> bool {
        self.outbound.is_closing()
    }

    /// See [`Outbound::wants_shutdown`].
    pub fn wants_shutdown(&self) -> bool {
        self.outbound.wants_shutdown()
    }

    /// See [`Outbound::is_done`].
    pub fn is_done(&self) -> bool {
        self.outbound.is_done()
    }

    /// See [`Outbound::closed`].
    pub fn closed(&self) -> Option<&Closed> {
        self.outbound.closed()
    }

    /// Which end this is.
    pub const fn role(&self) -> Role {
        self.outbound.role()
    }

    /// The halves, for whoever reads and writes at different places; [`Inbound`] tells what each owes the other.
    pub fn split(self) -> (Inbound, Outbound) {
        (self.inbound, self.outbound)
    }
}
