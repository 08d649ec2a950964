//! The sending half of a connection: commands in, bytes out. Its closing handshake is in `closing`, pings and pongs are in
//! `control`.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::broadcast::{Broadcast, Encoded};
use crate::closing::Closing;
use crate::config::Config;
use crate::control::{KeepalivePing, Pongs};
use crate::deflate::compress::Compressor;
use crate::error::SendError;
use crate::frame::{Header, MAX_CONTROL, Opcode, Role};
use crate::handshake::deflate::Agreed;
use crate::message::{Kind, Message, Payload};
use crate::outbox::Outbox;
use crate::trace;
use crate::utf8::Utf8Check;

/// Gives a fresh masking key, which no peer may foresee (RFC 6455 §10.3): take it from a strong source of randomness.
pub type MaskKey = fn() -> [u8; 4];

/// The sending half: the outbox and the state of the close.
#[derive(Debug)]
pub struct Outbound {
    pub(crate) outbox: Outbox,
    /// `None` for a server, which never masks.
    pub(crate) mask_key: Option<MaskKey>,
    pub(crate) close: Option<Box<Closing>>,
    pub(crate) rare: Option<Box<Rare>>,
    /// Present if compression was agreed on, until the Close frame.
    pub(crate) compressor: Option<Box<Compressor>>,
    pub(crate) config: Arc<Config>,
}

/// What few connections have, and those not for long: it is there while one of it is.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    pub(crate) pongs: Pongs,
    pub(crate) ping: KeepalivePing,
    /// Since when the transport takes nothing.
    pub(crate) blocked: Option<Instant>,
    /// The message that is sent in pieces.
    pieces: Option<Pieces>,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.pongs.is_empty()
            && self.ping == KeepalivePing::Left
            && self.blocked.is_none()
            && self.pieces.is_none()
    }
}

/// A message that is sent in pieces.
#[derive(Clone, Copy, Debug)]
struct Pieces {
    kind: Kind,
    compressed: bool,
    /// Its first frame is queued.
    begun: bool,
    utf8: Utf8Check,
}

impl Outbound {
    pub(crate) fn new(mask_key: Option<MaskKey>, config: Arc<Config>) -> Self {
        Self {
            outbox: Outbox::default(),
            mask_key,
            close: None,
            rare: None,
            compressor: None,
            config,
        }
    }

    pub(crate) fn compress(&mut self, agreed: &Agreed) {
        let settings = self.config.deflate_settings().copied().unwrap_or_default();
        self.compressor = Some(Box::new(Compressor::new(self.role(), agreed, settings)));
    }

    /// Whether a message could be queued now: what [`send`](Self::send) looks at first.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline]
    pub fn check_message(&self) -> Result<(), SendError> {
        if self.close.is_none() && self.rare.is_none() && !self.is_full() {
            return Ok(());
        }
        self.check_what_is_rare()
    }

    #[cold]
    fn check_what_is_rare(&self) -> Result<(), SendError> {
        self.check_room()?;
        match self.is_mid_message() {
            true => Err(SendError::Unfinished),
            false => Ok(()),
        }
    }

    /// Queues a message, compressed if that was agreed on; a long payload is not copied if it need not be masked.
    ///
    /// # Errors
    /// [`SendError::Closing`]; [`SendError::Full`] when too much waits already; [`SendError::Unfinished`] while a message
    /// is sent in pieces.
    pub fn send(&mut self, message: Message) -> Result<(), SendError> {
        self.check_message()?;
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
        self.check_message()?;
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

    /// Queues a message that was received, without copying what is owned and long. It is not checked that a text is UTF-8:
    /// see [`send_text`](Self::send_text) for one that did not come from an [`Event`](crate::Event).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline]
    pub fn send_payload(&mut self, kind: Kind, payload: &Payload<'_>) -> Result<(), SendError> {
        match payload {
            Payload::Lent(bytes) => self.send_slice(kind, bytes),
            Payload::Owned(bytes) => self.send_bytes(kind, bytes),
        }
    }

    /// Queues a message that many connections are sent. A server copies nothing of a long one; a client must mask it, and
    /// copies it for that.
    ///
    /// Where compression was agreed on, the compressed form is made once, by the first connection with a window of that
    /// size that needs it, and shared as well.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_broadcast(&mut self, broadcast: &Broadcast) -> Result<(), SendError> {
        self.check_message()?;
        let encoded = match &mut self.compressor {
            Some(compressor) if !compressor.is_small(broadcast.payload()) => {
                let (level, bits) = compressor.shares();
                match broadcast.compressed(level, bits) {
                    Some(compressed) => {
                        compressor.forget();
                        compressed
                    }
                    None => broadcast.plain(),
                }
            }
            _ => broadcast.plain(),
        };
        self.push_encoded(broadcast.kind(), encoded);
        Ok(())
    }

    /// Begins a message that is sent in pieces (RFC 6455 §5.4), each by [`send_piece`](Self::send_piece); it is compressed
    /// if that was agreed on and `compress` says so. Nothing is queued yet.
    ///
    /// Until its last piece no other message can be sent; pings, pongs and the Close frame go in between.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn begin(&mut self, kind: Kind, compress: bool) -> Result<(), SendError> {
        self.check_message()?;
        let compressed = compress && self.compressor.is_some();
        self.rare().pieces = Some(Pieces {
            kind,
            compressed,
            begun: false,
            utf8: Utf8Check::new(),
        });
        Ok(())
    }

    /// Queues a piece of the message that was begun: a frame. An empty one that is not the last is none.
    ///
    /// A character of text may be cut between pieces.
    ///
    /// # Errors
    /// [`SendError::NotBegun`]; [`SendError::NotUtf8`] for text that is not UTF-8, of which nothing was queued;
    /// [`SendError::Closing`] and [`SendError::Full`].
    pub fn send_piece(&mut self, payload: &[u8], last: bool) -> Result<(), SendError> {
        self.check_room()?;
        let Some(mut pieces) = self.rare.as_ref().and_then(|rare| rare.pieces) else {
            return Err(SendError::NotBegun);
        };
        pieces.check(payload, last)?;
        if payload.is_empty() && !last {
            return Ok(());
        }
        let opcode = match pieces.begun {
            true => Opcode::Continuation,
            false => pieces.kind.opcode(),
        };
        let rsv1 = pieces.compressed && !pieces.begun;
        match &mut self.compressor {
            Some(compressor) if pieces.compressed => {
                let compressed = compressor.compress_piece(payload, last);
                self.push(opcode, last, rsv1, &compressed);
            }
            _ => self.push(opcode, last, rsv1, payload),
        }
        pieces.begun = true;
        self.rare().pieces = (!last).then_some(pieces);
        self.tidy();
        Ok(())
    }

    /// Whether a message was begun and its last piece not sent.
    pub fn is_mid_message(&self) -> bool {
        let rare = self.rare.as_ref();
        rare.is_some_and(|rare| rare.pieces.is_some())
    }

    /// Queues a ping of at most 125 bytes.
    ///
    /// # Errors
    /// [`SendError::Closing`], [`SendError::Full`], [`SendError::ControlTooLong`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.check_room()?;
        if payload.len() > MAX_CONTROL {
            return Err(SendError::ControlTooLong {
                length: payload.len(),
                limit: MAX_CONTROL,
            });
        }
        self.push(Opcode::Ping, true, false, payload);
        Ok(())
    }

    /// The transport can take nothing now, though bytes wait.
    pub fn handle_blocked(&mut self, now: Instant) {
        self.rare().blocked.get_or_insert(now);
        self.outbox.settle();
    }

    /// What waits to be sent, if it lies in one piece, as small messages do.
    #[must_use]
    pub fn poll_slice(&self) -> Option<&[u8]> {
        self.outbox.slice()
    }

    /// Fills `slices` with what waits to be sent, oldest first; returns how many it filled.
    #[must_use]
    pub fn poll_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.outbox.slices(slices)
    }

    /// The first `count` of those bytes were sent, and the transport takes more. When none are left, all memory is given
    /// back.
    pub fn written(&mut self, count: usize) {
        self.outbox.advance(count);
        if self.close.is_some() || self.rare.is_some() {
            self.take_note_of_written();
        }
    }

    #[cold]
    fn take_note_of_written(&mut self) {
        let sent = self.outbox.sent();
        if let Some(rare) = &mut self.rare {
            rare.blocked = None;
        }
        match &mut self.close {
            Some(close) => close.record.clean = close.exchanged() && sent >= close.end,
            None => self.pongs_left(sent),
        }
        self.tidy();
    }

    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(crate) fn tidy(&mut self) {
        self.rare.take_if(|rare| rare.is_empty());
    }

    /// How many bytes were sent since the opening handshake.
    pub const fn sent(&self) -> u64 {
        self.outbox.sent()
    }

    /// How many bytes wait to be sent.
    #[inline]
    pub fn queued(&self) -> usize {
        self.outbox.len()
    }

    /// Whether a message would be refused with [`SendError::Full`].
    #[inline]
    pub fn is_full(&self) -> bool {
        let queued = self.outbox.len();
        queued > 0 && queued >= self.config.limits().max_outbox
    }

    /// The limits and deadlines.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Which end this is.
    pub const fn role(&self) -> Role {
        if self.mask_key.is_some() {
            Role::Client
        } else {
            Role::Server
        }
    }

    fn send_bytes(&mut self, kind: Kind, payload: &Bytes) -> Result<(), SendError> {
        self.check_message()?;
        match self.compressed(payload) {
            Some(compressed) => self.push_owned(kind, true, compressed),
            None if payload.len() < Outbox::SHARE => self.push(kind.opcode(), true, false, payload),
            None => self.push_owned(kind, false, payload.clone()),
        }
        Ok(())
    }

    #[inline]
    fn send_slice(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
        self.check_message()?;
        match self.compressor {
            Some(_) => self.push_compressed(kind, payload),
            None => self.push_inline(kind.opcode(), true, false, payload),
        }
        Ok(())
    }

    /// Apart, so that messages that are not to be compressed are quick.
    #[inline(never)]
    fn push_compressed(&mut self, kind: Kind, payload: &[u8]) {
        match self.compressed(payload) {
            Some(compressed) => self.push_owned(kind, true, compressed),
            None => self.push(kind.opcode(), true, false, payload),
        }
    }

    #[inline]
    fn compressed(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        self.compressor.as_mut()?.compress(payload)
    }

    fn check_room(&self) -> Result<(), SendError> {
        if self.close.is_some() {
            Err(SendError::Closing)
        } else if self.is_full() {
            Err(SendError::Full {
                queued: self.outbox.len(),
                limit: self.config.limits().max_outbox,
            })
        } else {
            Ok(())
        }
    }

    /// A frame that many connections share, in one of its forms.
    fn push_encoded(&mut self, kind: Kind, frame: &Encoded) {
        if self.mask_key.is_some() {
            return self.push(kind.opcode(), true, frame.compressed, frame.payload());
        }
        trace::sent(
            kind.opcode(),
            true,
            frame.compressed,
            frame.payload().len(),
            frame.payload(),
        );
        if frame.bytes.len() >= Outbox::SHARE {
            self.outbox.share(frame.bytes.clone());
        } else {
            self.outbox.push([], &frame.bytes);
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
        if self.mask_key.is_some() || length < Outbox::SHARE {
            return self.push(kind.opcode(), true, compressed, payload.as_ref());
        }
        let header = Header::whole(kind, compressed, None, length);
        trace::sent(header.opcode, true, compressed, length, payload.as_ref());
        self.outbox.push_header(&header, &[]);
        self.outbox.share(payload.into());
    }

    pub(crate) fn push(&mut self, opcode: Opcode, fin: bool, compressed: bool, payload: &[u8]) {
        self.push_inline(opcode, fin, compressed, payload);
    }

    /// The same where most messages go through: what is known there of the header need not be asked.
    #[inline(always)]
    fn push_inline(&mut self, opcode: Opcode, fin: bool, compressed: bool, payload: &[u8]) {
        trace::sent(opcode, fin, compressed, payload.len(), payload);
        let first = Header::first_byte(fin, compressed, opcode);
        match payload.len() {
            short @ 0..=125 if self.mask_key.is_none() => {
                self.outbox.push([first, short as u8], payload);
            }
            length @ 126..=0xffff if self.mask_key.is_none() => {
                let [high, low] = (length as u16).to_be_bytes();
                self.outbox.push([first, 126, high, low], payload);
            }
            _ => self.push_any(opcode, fin, compressed, payload),
        }
    }

    /// What a client sends, and what is very long.
    #[inline(never)]
    fn push_any(&mut self, opcode: Opcode, fin: bool, compressed: bool, payload: &[u8]) {
        let header = Header {
            fin,
            opcode,
            compressed,
            mask: self.mask_key.map(|key| key()),
            length: payload.len() as u64,
        };
        self.outbox.push_header(&header, payload);
    }
}

impl Pieces {
    /// Text is looked at before any of it is queued; what is refused leaves no trace.
    fn check(&mut self, payload: &[u8], last: bool) -> Result<(), SendError> {
        if self.kind == Kind::Text {
            let mut utf8 = self.utf8;
            utf8.feed(payload).map_err(|_| SendError::NotUtf8)?;
            if last {
                utf8.finish().map_err(|_| SendError::NotUtf8)?;
            }
            self.utf8 = utf8;
        }
        Ok(())
    }
}
