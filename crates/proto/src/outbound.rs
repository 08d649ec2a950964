//! The sending half of a connection: commands in, bytes out, and the whole closing handshake.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::close::{CloseCode, CloseReason, Closed};
use crate::config::Config;
use crate::deflate::compress::Compressor;
use crate::error::{ProtocolError, SendError, Timeout};
use crate::frame::{Encoded, Frame, Header, MAX_CONTROL, Opcode, Role};
use crate::handshake::deflate::Agreed;
use crate::message::{Event, Kind, Message};
use crate::outbox::Outbox;

/// Gives a fresh masking key, which no peer may foresee (RFC 6455 §10.3): take it from a strong source of randomness.
pub type MaskKey = fn() -> [u8; 4];

/// Pongs that may wait at once. A peer that pings faster than it reads gets the newest of the rest: §5.5.3 allows to
/// answer only the latest ping, and a bound it must have.
const MAX_PONGS: usize = 32;

/// The sending half: the outbox and the state of the close.
#[derive(Debug)]
pub struct Outbound {
    outbox: Outbox,
    /// `None` for a server, which never masks.
    mask_key: Option<MaskKey>,
    /// Where in the stream the pongs end that wait to be sent.
    pongs: VecDeque<u64>,
    late_pong: Option<Box<[u8]>>,
    ping: KeepalivePing,
    /// Since when the transport takes nothing.
    blocked: Option<Instant>,
    close: Option<Box<Closing>>,
    /// Present if compression was agreed on, until the Close frame.
    compressor: Option<Box<Compressor>>,
    config: Arc<Config>,
}

#[derive(Debug)]
struct Closing {
    record: Closed,
    sent: bool,
    received: bool,
    /// Where in the stream our Close frame ends.
    end: u64,
    /// The peer, or time, broke the connection: there is no answer to wait for.
    failed: bool,
    /// The transport takes nothing more.
    mute: bool,
    /// The peer's stream has ended.
    eof: bool,
    /// Nothing can be sent or received any more.
    dead: bool,
    deadline: Instant,
}

/// What became of the last keepalive ping.
#[derive(Debug)]
enum KeepalivePing {
    /// There was no room for it.
    Refused,
    /// It stands behind other bytes, and ends there in the stream.
    Queued(u64),
    /// The peer has it.
    Left,
}

impl Closing {
    /// Both Close frames stand; ours may still wait to leave.
    const fn exchanged(&self) -> bool {
        self.sent && self.received && !self.failed
    }
}

impl Outbound {
    pub(crate) fn new(mask_key: Option<MaskKey>, config: Arc<Config>) -> Self {
        Self {
            outbox: Outbox::default(),
            mask_key,
            pongs: VecDeque::new(),
            late_pong: None,
            ping: KeepalivePing::Left,
            blocked: None,
            close: None,
            compressor: None,
            config,
        }
    }

    pub(crate) fn compress(&mut self, agreed: &Agreed) {
        let settings = self.config.deflate_settings().copied().unwrap_or_default();
        self.compressor = Some(Box::new(Compressor::new(self.role(), agreed, settings)));
    }

    /// Queues a message, compressed if that was agreed on; a long payload is not copied if it need not be masked.
    ///
    /// # Errors
    /// [`SendError::Closing`], or [`SendError::Full`] when too much waits already.
    pub fn send(&mut self, message: Message) -> Result<(), SendError> {
        self.check_room()?;
        let kind = message.kind();
        match self.compressed(message.as_bytes()) {
            Some(compressed) => self.push_owned(kind, true, compressed),
            None => self.push_owned(kind, false, message.into_bytes()),
        }
        Ok(())
    }

    /// Queues a message that is not to be compressed, whatever was agreed on: one that holds a secret
    /// ([`Deflate`](crate::Deflate) tells why), or that is compressed already.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_uncompressed(&mut self, message: Message) -> Result<(), SendError> {
        self.check_room()?;
        self.push_owned(message.kind(), false, message.into_bytes());
        Ok(())
    }

    /// Queues a text message, copying it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_text(&mut self, text: &str) -> Result<(), SendError> {
        self.send_slice(Kind::Text, text.as_bytes())
    }

    /// Queues a binary message, copying it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_binary(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.send_slice(Kind::Binary, payload)
    }

    /// Queues a frame that many connections share. A server copies nothing of a long one; a client must mask it, and
    /// copies it for that.
    ///
    /// Where compression was agreed on, its compressed form is made once, by the first connection that needs it, and shared
    /// as well. A connection that compresses with a window of less than 15 bits can't take it, and compresses for itself.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_frame(&mut self, frame: &Frame) -> Result<(), SendError> {
        self.check_room()?;
        let Some(compressor) = &mut self.compressor else {
            self.push_encoded(frame.kind(), frame.plain());
            return Ok(());
        };
        if compressor.is_small(frame.payload()) {
            self.push_encoded(frame.kind(), frame.plain());
        } else if let Some(level) = compressor.shares() {
            let encoded = match frame.compressed(level) {
                Some(compressed) => {
                    compressor.forget();
                    compressed
                }
                None => frame.plain(),
            };
            self.push_encoded(frame.kind(), encoded);
        } else if let Some(compressed) = compressor.compress(frame.payload()) {
            self.push_owned(frame.kind(), true, compressed);
        } else {
            self.push_encoded(frame.kind(), frame.plain());
        }
        Ok(())
    }

    /// Queues a ping of at most 125 bytes.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::ControlTooLong`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.check_room()?;
        if payload.len() > MAX_CONTROL {
            return Err(SendError::ControlTooLong {
                length: payload.len(),
                limit: MAX_CONTROL,
            });
        }
        self.push(Opcode::Ping, false, payload);
        Ok(())
    }

    /// Begins the closing handshake: queues the Close frame, behind what waits already.
    ///
    /// # Errors
    /// [`SendError::Closing`] if it has begun; [`SendError::InvalidCloseCode`]; [`SendError::ControlTooLong`] for a
    /// reason of more than 123 bytes.
    pub fn close(&mut self, now: Instant, code: CloseCode, reason: &str) -> Result<(), SendError> {
        if self.close.is_some() {
            return Err(SendError::Closing);
        }
        let reason = CloseReason::new(code, reason)?;
        self.begin_close(now, false);
        self.send_close(Some(reason));
        Ok(())
    }

    /// Does what an event of the receiving half calls for: answers a ping, or the peer's Close.
    pub fn react(&mut self, now: Instant, event: &Event<'_>) {
        match event {
            Event::Ping(payload) if self.close.is_none() => self.pong(payload),
            Event::Close(reason) => self.peer_closed(now, reason.clone()),
            _ => {}
        }
    }

    /// Queues a keepalive ping; the compressor of an idle connection is given back.
    pub(crate) fn keepalive(&mut self) {
        let waits = !self.outbox.is_empty();
        self.ping = match self.ping(b"") {
            Ok(()) if waits => KeepalivePing::Queued(self.outbox.end()),
            Ok(()) => KeepalivePing::Left,
            Err(_) => KeepalivePing::Refused,
        };
        if let Some(compressor) = &mut self.compressor {
            compressor.idle();
        }
    }

    /// Whether the peer has had the keepalive ping for the whole wait. One that had to queue is waited for anew once it
    /// has left.
    pub(crate) fn pong_is_due(&mut self) -> bool {
        match self.ping {
            // The close has a deadline of its own.
            _ if self.close.is_some() => {}
            KeepalivePing::Left => return true,
            KeepalivePing::Refused => self.keepalive(),
            KeepalivePing::Queued(end) if self.outbox.sent() >= end => {
                self.ping = KeepalivePing::Left;
            }
            KeepalivePing::Queued(_) => {}
        }
        false
    }

    /// Fails the connection because a deadline passed.
    pub(crate) fn fail_by(&mut self, now: Instant, timeout: Timeout) {
        self.fail_with(now, timeout.close_code(), &timeout.to_string());
    }

    /// Fails the connection (§7.1.7): says why in a Close frame, unless one was sent already.
    pub fn fail(&mut self, now: Instant, error: &ProtocolError) {
        self.fail_with(now, error.close_code(), &error.to_string());
    }

    /// The peer will send nothing more. Without its Close frame the connection is lost; behind it, what waits may still
    /// be sent.
    pub fn handle_eof(&mut self, now: Instant) {
        let waits = !self.outbox.is_empty();
        let close = self.begin_close(now, true);
        close.eof = true;
        if !(close.exchanged() && waits) {
            self.die();
        }
    }

    /// The transport takes nothing more: what waits is dropped. The peer may still be heard, and its Close frame may tell
    /// why.
    pub fn handle_write_error(&mut self, now: Instant) {
        self.outbox.clear();
        let close = self.begin_close(now, true);
        close.mute = true;
        if close.received || close.eof {
            self.die();
        }
    }

    /// The transport can take nothing now, though bytes wait.
    pub fn handle_blocked(&mut self, now: Instant) {
        self.blocked.get_or_insert(now);
    }

    /// Takes note of the time.
    ///
    /// # Errors
    /// [`Timeout::Close`] when the close took too long, [`Timeout::Write`] when the peer reads nothing: the connection
    /// is over.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Timeout> {
        if self
            .write_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.begin_close(now, false);
            self.die();
            return Err(Timeout::Write);
        }
        match &self.close {
            Some(close) if !close.dead && close.deadline <= now => {
                // A client that has both Close frames only waited for the server to end the TCP connection, and a
                // failure was told when it was found.
                let told = close.record.clean || close.failed || close.mute;
                self.die();
                if told { Ok(()) } else { Err(Timeout::Close) }
            }
            _ => Ok(()),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.close {
            Some(close) if close.dead => None,
            Some(close) => Some(close.deadline),
            None => self.write_deadline(),
        }
    }

    /// Fills `slices` with what waits to be sent, oldest first; returns how many it filled.
    #[must_use]
    pub fn poll_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.outbox.slices(slices)
    }

    /// The first `count` of those bytes were sent, and the transport takes more. When none are left, all memory is given
    /// back.
    pub fn written(&mut self, count: usize) {
        self.blocked = None;
        self.outbox.advance(count);
        let sent = self.outbox.sent();
        if let Some(close) = &mut self.close {
            close.record.clean = close.exchanged() && sent >= close.end;
        } else if self.pongs.front().is_some_and(|end| *end <= sent) {
            self.pongs.retain(|end| *end > sent);
            if self.pongs.is_empty() {
                self.pongs = VecDeque::new();
            }
            if let Some(payload) = self.late_pong.take() {
                self.pong(&payload);
            }
        }
    }

    /// How many bytes were sent since the opening handshake.
    pub const fn sent(&self) -> u64 {
        self.outbox.sent()
    }

    /// How many bytes wait to be sent.
    pub const fn queued(&self) -> usize {
        self.outbox.len()
    }

    /// Whether a message would be refused with [`SendError::Full`].
    pub fn is_full(&self) -> bool {
        !self.outbox.is_empty() && self.outbox.len() >= self.config.limits().max_outbox
    }

    /// Whether a Close frame was sent or received, or the connection failed.
    pub const fn is_closing(&self) -> bool {
        self.close.is_some()
    }

    /// Whether the transport's sending side should be shut down now: all was sent, and it is ours to end the connection
    /// (§7.1.1: the server's; after a failure, whoever found it).
    pub fn wants_shutdown(&self) -> bool {
        let ours = |close: &Closing| {
            close.failed || close.dead || (close.exchanged() && self.role() == Role::Server)
        };
        self.close.as_deref().is_some_and(ours) && self.outbox.is_empty()
    }

    /// Whether nothing is left to do: the transport may be dropped.
    pub fn is_done(&self) -> bool {
        let over = |close: &Closing| {
            let ours = close.eof || self.role() == Role::Server;
            close.dead || (close.exchanged() && ours && self.outbox.is_empty())
        };
        self.close.as_deref().is_some_and(over)
    }

    /// Whether the peer's Close frame came.
    pub fn peer_has_closed(&self) -> bool {
        self.close.as_ref().is_some_and(|close| close.received)
    }

    /// Whether the connection is over for good: nothing more will be sent or received.
    pub fn is_dead(&self) -> bool {
        self.close.as_ref().is_some_and(|close| close.dead)
    }

    /// The record of the close, as far as it got; `None` while the connection is open.
    pub fn closed(&self) -> Option<&Closed> {
        self.close.as_ref().map(|close| &close.record)
    }

    /// Which end this is.
    pub const fn role(&self) -> Role {
        if self.mask_key.is_some() {
            Role::Client
        } else {
            Role::Server
        }
    }

    fn send_slice(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
        self.check_room()?;
        match self.compressed(payload) {
            Some(compressed) => self.push_owned(kind, true, compressed),
            None => self.push(kind.opcode(), false, payload),
        }
        Ok(())
    }

    fn compressed(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        self.compressor.as_mut()?.compress(payload)
    }

    fn write_deadline(&self) -> Option<Instant> {
        let since = self.blocked.filter(|_| self.close.is_none())?;
        Some(since + self.config.timeouts().write)
    }

    fn check_room(&self) -> Result<(), SendError> {
        let (queued, limit) = (self.outbox.len(), self.config.limits().max_outbox);
        if self.close.is_some() {
            Err(SendError::Closing)
        } else if self.is_full() {
            Err(SendError::Full { queued, limit })
        } else {
            Ok(())
        }
    }

    /// A frame that many connections share, in one of its forms.
    fn push_encoded(&mut self, kind: Kind, frame: &Encoded) {
        match self.mask_key {
            Some(_) => self.push(kind.opcode(), frame.compressed, frame.payload()),
            None if frame.bytes.len() >= Outbox::SHARE => self.outbox.share(frame.bytes.clone()),
            None => self.outbox.push(|out| out.extend_from_slice(&frame.bytes)),
        }
    }

    /// A message whose bytes need not be copied if they are many.
    fn push_owned(
        &mut self,
        kind: Kind,
        compressed: bool,
        payload: impl AsRef<[u8]> + Into<Bytes>,
    ) {
        let length = payload.as_ref().len();
        match self.mask_key {
            None if length >= Outbox::SHARE => {
                let header = Header {
                    fin: true,
                    opcode: kind.opcode(),
                    compressed,
                    mask: None,
                    length: length as u64,
                };
                self.outbox.push(|out| header.encode(out));
                self.outbox.share(payload.into());
            }
            _ => self.push(kind.opcode(), compressed, payload.as_ref()),
        }
    }

    fn push(&mut self, opcode: Opcode, compressed: bool, payload: &[u8]) {
        let mask = self.mask_key.map(|key| key());
        let header = Header {
            fin: true,
            opcode,
            compressed,
            mask,
            length: payload.len() as u64,
        };
        self.outbox.push(|out| {
            out.reserve(Header::MAX_SIZE + payload.len());
            header.encode(out);
            let start = out.len();
            out.extend_from_slice(payload);
            if let Some(key) = mask {
                crate::mask::mask(&mut out[start..], key, 0);
            }
        });
    }

    fn pong(&mut self, payload: &[u8]) {
        if self.pongs.len() < MAX_PONGS {
            self.push(Opcode::Pong, false, payload);
            self.pongs.push_back(self.outbox.end());
        } else {
            self.late_pong = Some(payload.into());
        }
    }

    fn peer_closed(&mut self, now: Instant, reason: Option<CloseReason>) {
        let close = self.begin_close(now, true);
        close.received = true;
        close.record.received = reason.clone();
        let (mute, sent, end, failed) = (close.mute, close.sent, close.end, close.failed);
        if mute {
            self.die();
        } else if !sent {
            // §5.5.1: the answer "typically echos the status code it received".
            self.send_close(reason.map(|reason| CloseReason {
                reason: Default::default(),
                ..reason
            }));
        } else if !failed && self.outbox.sent() >= end {
            self.begin_close(now, true).record.clean = true;
        }
    }

    fn fail_with(&mut self, now: Instant, code: CloseCode, why: &str) {
        let close = self.begin_close(now, false);
        close.failed = true;
        if !close.sent {
            let end = why.floor_char_boundary(CloseReason::MAX_REASON);
            self.send_close(Some(CloseReason {
                code,
                reason: why[..end].into(),
            }));
        }
    }

    /// The state of the close, which begins now if it has not.
    fn begin_close(&mut self, now: Instant, by_peer: bool) -> &mut Closing {
        let deadline = now + self.config.timeouts().close;
        // No pong follows a Close frame.
        self.late_pong = None;
        self.close.get_or_insert_with(|| {
            Box::new(Closing {
                record: Closed {
                    by_peer,
                    ..Closed::default()
                },
                sent: false,
                received: false,
                end: 0,
                failed: false,
                mute: false,
                eof: false,
                dead: false,
                deadline,
            })
        })
    }

    /// Nothing more will come or go: give back what was kept for it.
    fn die(&mut self) {
        self.outbox.clear();
        self.compressor = None;
        if let Some(close) = &mut self.close {
            close.dead = true;
        }
    }

    fn send_close(&mut self, reason: Option<CloseReason>) {
        let payload = reason
            .as_ref()
            .map(CloseReason::payload)
            .unwrap_or_default();
        self.push(Opcode::Close, false, &payload);
        // Nothing can follow.
        self.compressor = None;
        let end = self.outbox.end();
        if let Some(close) = &mut self.close {
            close.sent = true;
            close.end = end;
            close.record.sent = reason;
        }
    }
}
