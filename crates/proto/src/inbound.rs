//! The receiving half of a connection: bytes in, events out.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::assembly::{Assembly, whole_message};
use crate::close::CloseReason;
use crate::config::Config;
use crate::deflate::inflate::Decompressor;
use crate::error::{ProtocolError, Timeout};
use crate::frame::{Header, MAX_CONTROL, Opcode, Role};
use crate::handshake::deflate::Agreed;
use crate::mask::mask;
use crate::message::{Event, Kind, Payload};
use crate::outbound::Outbound;
use crate::timers::{Due, Timers};
use crate::trace;

/// Bytes from the network that a connection reads from. It unmasks them where they are.
#[derive(Debug)]
pub struct Input<'b> {
    rest: &'b mut [u8],
}

impl<'b> Input<'b> {
    /// Lends `bytes` for one or more calls of `handle_input`.
    pub const fn new(bytes: &'b mut [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether all is consumed.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> &'b mut [u8] {
        let (taken, rest) = mem::take(&mut self.rest).split_at_mut(count);
        self.rest = rest;
        taken
    }

    fn discard(&mut self) {
        self.rest = &mut [];
    }
}

/// The receiving half: what it must keep of the bytes it saw, and the timers of what it waits for.
///
/// Between messages it owns no heap memory. Whoever uses it without [`Connection`](crate::Connection) shows each event
/// to [`Outbound::react`](crate::Outbound::react), and each error to [`Outbound::fail`](crate::Outbound::fail).
#[derive(Debug)]
pub struct Inbound {
    role: Role,
    /// The peer's Close came, or the connection failed: what follows is discarded.
    over: bool,
    header: PartialHeader,
    pub(crate) frame: Option<Frame>,
    control: Option<Box<Control>>,
    pub(crate) message: Option<Box<Assembly>>,
    /// Present if compression was agreed on.
    pub(crate) inflater: Option<Box<Decompressor>>,
    timers: Timers,
    pub(crate) config: Arc<Config>,
}

/// The bytes of a header that is not yet whole.
#[derive(Debug, Default)]
struct PartialHeader {
    bytes: [u8; Header::MAX_SIZE],
    length: u8,
}

/// A frame whose payload is under way.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) remaining: u64,
    key: Option<[u8; 4]>,
    /// How many bytes of the payload came, modulo four.
    phase: u8,
    pub(crate) fin: bool,
    control: bool,
}

/// A control frame that did not come in one piece.
#[derive(Debug)]
pub(crate) struct Control {
    opcode: Opcode,
    length: u8,
    payload: [u8; MAX_CONTROL],
}

impl Control {
    const fn header(&self) -> Header {
        Header {
            fin: true,
            opcode: self.opcode,
            compressed: false,
            mask: None,
            length: self.length as u64,
        }
    }
}

impl Inbound {
    pub(crate) fn new(role: Role, config: Arc<Config>, now: Instant) -> Self {
        Self {
            role,
            over: false,
            header: PartialHeader::default(),
            frame: None,
            control: None,
            message: None,
            inflater: None,
            timers: Timers::new(now),
            config,
        }
    }

    pub(crate) fn inflate(&mut self, agreed: &Agreed) {
        self.inflater = Some(Box::new(Decompressor::new(self.role, agreed)));
    }

    /// Consumes input up to and with the next event. `None` means that all was consumed: more bytes are needed.
    ///
    /// # Errors
    /// The first violation by the peer; from then on, as after the peer's Close frame, input is discarded.
    #[inline]
    pub fn handle_input<'b>(
        &mut self,
        now: Instant,
        input: &mut Input<'b>,
    ) -> Result<Option<Event<'b>>, ProtocolError> {
        self.handle(now, input, false)
    }

    /// The same, with messages told in pieces, as they come and however long they are:
    /// [`Connection::handle_input_in_pieces`](crate::Connection::handle_input_in_pieces) tells how.
    ///
    /// # Errors
    /// As [`handle_input`](Self::handle_input).
    #[inline]
    pub fn handle_input_in_pieces<'b>(
        &mut self,
        now: Instant,
        input: &mut Input<'b>,
    ) -> Result<Option<Event<'b>>, ProtocolError> {
        self.handle(now, input, true)
    }

    /// Takes the next message out of the input if it is what most are: uncompressed, in one frame of less than 64 KiB, and
    /// here to its last byte. `None` tells nothing about the input and consumes nothing of it:
    /// [`handle_input`](Self::handle_input) goes on. It is there for loops that must be quick, which need not take an
    /// [`Event`] apart.
    ///
    /// # Errors
    /// As [`handle_input`](Self::handle_input).
    #[inline(always)]
    pub fn handle_whole<'b>(
        &mut self,
        now: Instant,
        input: &mut Input<'b>,
    ) -> Option<Result<(Kind, &'b [u8]), ProtocolError>> {
        let (kind, payload) = self.lend_whole(input)?;
        self.timers.received(now);
        if kind == Kind::Text && simdutf8::basic::from_utf8(payload).is_err() {
            self.stop();
            return Some(Err(ProtocolError::InvalidUtf8));
        }
        self.timers.message(now);
        Some(Ok((kind, payload)))
    }

    fn handle<'b>(
        &mut self,
        now: Instant,
        input: &mut Input<'b>,
        in_pieces: bool,
    ) -> Result<Option<Event<'b>>, ProtocolError> {
        if self.over {
            input.discard();
            return Ok(None);
        }
        if !input.is_empty() {
            self.timers.received(now);
            self.look(now);
        }
        let event = match self.lend_whole(input) {
            Some((kind, payload)) => whole_message(kind, payload, in_pieces).map(Some),
            None => self.next_event(now, input, in_pieces),
        };
        match &event {
            Ok(Some(Event::Text(_) | Event::Binary(_) | Event::Piece(_))) => {
                self.timers.message(now);
            }
            Ok(Some(Event::Close(_))) | Err(_) => self.stop(),
            _ => {}
        }
        event
    }

    /// Takes note of the time for both halves, and has `outbound` do what is due.
    ///
    /// # Errors
    /// The deadline that passed: the connection fails, and `outbound` says so in a Close frame.
    pub fn handle_timeout(&mut self, now: Instant, outbound: &mut Outbound) -> Result<(), Timeout> {
        if let Err(timeout) = outbound.handle_timeout(now) {
            self.stop();
            return Err(timeout);
        }
        if self.over {
            return Ok(());
        }
        self.look(now);
        let clock = self.message.as_ref().and_then(|message| message.clock());
        match self.timers.due(now, clock, self.config.timeouts()) {
            None => {}
            Some(Due::Ping) => outbound.keepalive(),
            // A ping that waits behind other bytes can't be answered; how long those may take, and how long the close
            // may, are other deadlines' business.
            Some(Due::Fail(Timeout::Pong)) if !outbound.pong_is_due() => self.timers.wait_on(now),
            Some(Due::Fail(timeout)) => {
                self.stop();
                outbound.fail_by(now, timeout);
                return Err(timeout);
            }
        }
        Ok(())
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called, if no input comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let clock = self.message.as_ref().and_then(|message| message.clock());
        self.timers.next(clock, self.config.timeouts())
    }

    /// Nobody wants what is left of a message that was told in pieces: it has to come to its end within
    /// [`Config::message_timeout`], and then the next one is told.
    pub fn discard(&mut self, now: Instant) {
        if let Some(message) = &mut self.message {
            message.discard(now);
        }
    }

    /// Whether what comes is the rest of a message that nobody wants: see [`discard`](Self::discard).
    pub fn is_discarding(&self) -> bool {
        let message = self.message.as_ref();
        message.is_some_and(|message| message.is_discarded())
    }

    /// Whether a message was begun that did not end.
    #[inline]
    pub const fn is_mid_message(&self) -> bool {
        self.message.is_some()
    }

    /// Nothing that comes from now on matters: give back what was kept.
    pub fn stop(&mut self) {
        self.over = true;
        self.frame = None;
        self.control = None;
        self.message = None;
        self.inflater = None;
    }

    /// Somebody waits for the message that is under way.
    fn look(&mut self, now: Instant) {
        if let Some(message) = &mut self.message {
            message.look(now, self.config.timeouts().message);
        }
    }

    /// What most frames are, an uncompressed message in one piece that is here: for those, half of the way is worth a
    /// function. Everything else, and everything that is wrong, is left where it is; but text is still to be checked.
    #[inline(always)]
    fn lend_whole<'b>(&self, input: &mut Input<'b>) -> Option<(Kind, &'b [u8])> {
        if self.over || self.frame.is_some() || self.message.is_some() || self.header.length > 0 {
            return None;
        }
        let [first, second, rest @ ..] = &*input.rest else {
            return None;
        };
        let kind = match first {
            0x81 => Kind::Text,
            0x82 => Kind::Binary,
            _ => return None,
        };
        let (length, rest) = match second & 0x7f {
            127 => return None,
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                let length = u16::from_be_bytes(*length);
                (usize::from((length > 125).then_some(length)?), rest)
            }
            short => (usize::from(short), rest),
        };
        let (mask, rest) = match (self.role, second & 0x80 != 0) {
            (Role::Server, true) => {
                let (key, rest) = rest.split_first_chunk()?;
                (Some(*key), rest)
            }
            (Role::Client, false) => (None, rest),
            _ => return None,
        };
        if length > rest.len() || length > self.config.limits().max_message {
            return None;
        }
        let header = Header {
            fin: true,
            opcode: kind.opcode(),
            compressed: false,
            mask,
            length: length as u64,
        };
        let size = input.len() - rest.len();
        let payload = &mut input.take(size + length)[size..];
        unmask(payload, mask, 0);
        trace::received(&header, payload);
        Some((kind, payload))
    }

    #[inline]
    fn next_event<'b>(
        &mut self,
        now: Instant,
        input: &mut Input<'b>,
        in_pieces: bool,
    ) -> Result<Option<Event<'b>>, ProtocolError> {
        if self.message.is_some()
            && let Some(event) = self.go_on_inflating(in_pieces)?
        {
            return Ok(Some(event));
        }
        while !input.is_empty() {
            let event = match self.frame.take() {
                None => match self
                    .header
                    .read(input, self.role, self.inflater.is_some())?
                {
                    None => None,
                    Some(header) if header.opcode.is_control() => {
                        self.begin_control(header, input)?
                    }
                    Some(header) => self.begin_data(now, header, input, in_pieces)?,
                },
                Some(frame) if frame.control => self.go_on_control(frame, input)?,
                Some(frame) => self.go_on_data(frame, input, in_pieces)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn begin_control<'b>(
        &mut self,
        header: Header,
        input: &mut Input<'b>,
    ) -> Result<Option<Event<'b>>, ProtocolError> {
        let length = header.length as usize; // at most 125: the header was checked
        if length <= input.len() {
            let payload = input.take(length);
            unmask(payload, header.mask, 0);
            trace::received(&header, payload);
            return control_event(header.opcode, Payload::Lent(payload)).map(Some);
        }
        self.control = Some(Box::new(Control {
            opcode: header.opcode,
            length: 0,
            payload: [0; MAX_CONTROL],
        }));
        self.go_on_control(Frame::new(&header), input)
    }

    fn go_on_control<'b>(
        &mut self,
        mut frame: Frame,
        input: &mut Input<'b>,
    ) -> Result<Option<Event<'b>>, ProtocolError> {
        let Some(mut control) = self.control.take() else {
            return Ok(None);
        };
        let piece = frame.take(input);
        let have = usize::from(control.length);
        control.payload[have..have + piece.len()].copy_from_slice(piece);
        control.length += piece.len() as u8;
        if frame.remaining > 0 {
            self.frame = Some(frame);
            self.control = Some(control);
            return Ok(None);
        }
        let payload = &control.payload[..usize::from(control.length)];
        trace::received(&control.header(), payload);
        control_event(
            control.opcode,
            Payload::Owned(Bytes::copy_from_slice(payload)),
        )
        .map(Some)
    }
}

impl PartialHeader {
    #[inline]
    fn read(
        &mut self,
        input: &mut Input<'_>,
        role: Role,
        deflate: bool,
    ) -> Result<Option<Header>, ProtocolError> {
        if self.length == 0
            && let Some((header, size)) = Header::parse(input.rest, role, deflate)?
        {
            input.take(size);
            return Ok(Some(header));
        }
        while !input.is_empty() {
            let have = usize::from(self.length);
            self.bytes[have] = input.take(1)[0];
            self.length += 1;
            if let Some((header, _)) = Header::parse(&self.bytes[..=have], role, deflate)? {
                self.length = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }
}

impl Frame {
    pub(crate) const fn new(header: &Header) -> Self {
        Self {
            remaining: header.length,
            key: header.mask,
            phase: 0,
            fin: header.fin,
            control: header.opcode.is_control(),
        }
    }

    /// The part of the payload that the input has, unmasked.
    pub(crate) fn take<'b>(&mut self, input: &mut Input<'b>) -> &'b [u8] {
        self.take_up_to(usize::MAX, input)
    }

    /// So much of it at most.
    pub(crate) fn take_up_to<'b>(&mut self, most: usize, input: &mut Input<'b>) -> &'b [u8] {
        let count = usize::try_from(self.remaining)
            .unwrap_or(usize::MAX)
            .min(input.len())
            .min(most);
        let piece = input.take(count);
        unmask(piece, self.key, self.phase.into());
        self.phase = ((usize::from(self.phase) + count) % 4) as u8;
        self.remaining -= count as u64;
        piece
    }
}

fn control_event(opcode: Opcode, payload: Payload<'_>) -> Result<Event<'_>, ProtocolError> {
    match opcode {
        Opcode::Ping => Ok(Event::Ping(payload)),
        Opcode::Pong => Ok(Event::Pong(payload)),
        _ => CloseReason::parse(&payload).map(Event::Close),
    }
}

#[inline]
pub(crate) fn unmask(payload: &mut [u8], key: Option<[u8; 4]>, phase: usize) {
    if let Some(key) = key {
        mask(payload, key, phase);
    }
}
