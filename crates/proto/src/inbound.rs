//! The receiving half of a connection: bytes in, events out.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::assembly::Assembly;
use crate::close::CloseReason;
use crate::config::Config;
use crate::deflate::inflate::Decompressor;
use crate::error::{ProtocolError, Timeout};
use crate::frame::{Header, MAX_CONTROL, Opcode, Role};
use crate::handshake::deflate::Agreed;
use crate::mask::{is_ascii_masked, mask};
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
    cut: Option<Box<Cut>>,
    pub(crate) message: Option<Box<Assembly>>,
    /// Present if compression was agreed on.
    pub(crate) inflater: Option<Box<Decompressor>>,
    timers: Timers,
    pub(crate) config: Arc<Config>,
}

/// A message that came whole.
pub(crate) struct Whole<'b> {
    pub(crate) kind: Kind,
    pub(crate) payload: &'b [u8],
    /// It was seen to be ASCII.
    pub(crate) ascii: bool,
}

/// What the input ended in the middle of. A data frame's payload is no such thing: it goes to its message as it comes.
#[derive(Debug)]
enum Cut {
    Header(PartialHeader),
    Control(Control),
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
}

/// A control frame that did not come in one piece.
#[derive(Debug)]
struct Control {
    frame: Frame,
    opcode: Opcode,
    length: u8,
    payload: [u8; MAX_CONTROL],
}

impl Inbound {
    pub(crate) fn new(role: Role, config: Arc<Config>, now: Instant) -> Self {
        Self {
            role,
            over: false,
            cut: None,
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
        let Whole {
            kind,
            payload,
            ascii,
        } = self.lend_whole(input)?;
        if kind == Kind::Text && !ascii && simdutf8::basic::from_utf8(payload).is_err() {
            self.stop();
            return Some(Err(ProtocolError::InvalidUtf8));
        }
        self.timers.received_message(now);
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
        if let Some(whole) = self.lend_whole(input) {
            self.timers.received_message(now);
            let event = whole.event(in_pieces);
            if event.is_err() {
                self.stop();
            }
            return event.map(Some);
        }
        if !input.is_empty() {
            self.timers.received(now);
            self.look(now);
        }
        let event = self.next_event(now, input, in_pieces);
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
        self.cut = None;
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
    /// function. Everything else, and everything that is wrong, is left where it is; but text that is not ASCII is still to
    /// be checked.
    #[inline(always)]
    fn lend_whole<'b>(&self, input: &mut Input<'b>) -> Option<Whole<'b>> {
        if self.over || self.cut.is_some() || self.message.is_some() {
            return None;
        }
        let (first, header, length, key) = match self.role {
            Role::Server => whole_from_client(input.rest)?,
            Role::Client => whole_from_server(input.rest)?,
        };
        let kind = match first {
            0x81 => Kind::Text,
            0x82 => Kind::Binary,
            _ => return None,
        };
        let end = header + length;
        if end > input.len() || length > self.config.limits().max_message {
            return None;
        }
        let payload = &mut input.take(end)[header..];
        let ascii = kind == Kind::Text && key.is_some_and(|key| is_ascii_masked(payload, key));
        unmask(payload, key, 0);
        trace::received_whole(kind, payload);
        Some(Whole {
            kind,
            payload,
            ascii,
        })
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
            let event = self.next_frame(now, input, in_pieces)?;
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Goes on with what was cut, or with a payload that is under way, or else begins the next frame.
    #[inline]
    fn next_frame<'b>(
        &mut self,
        now: Instant,
        input: &mut Input<'b>,
        in_pieces: bool,
    ) -> Result<Option<Event<'b>>, ProtocolError> {
        if let Some(frame) = self
            .message
            .as_mut()
            .and_then(|message| message.frame.take())
        {
            return self.go_on_data(frame, input, in_pieces);
        }
        let header = match self.cut.take().map(|cut| *cut) {
            Some(Cut::Control(control)) => return self.go_on_control(control, input),
            Some(Cut::Header(cut)) => self.go_on_header(cut, input)?,
            None => match Header::parse(input.rest, self.role, self.inflater.is_some())? {
                Some((header, size)) => {
                    input.take(size);
                    Some(header)
                }
                None => self.go_on_header(PartialHeader::default(), input)?,
            },
        };
        match header {
            None => Ok(None),
            Some(header) if header.opcode.is_control() => self.begin_control(header, input),
            Some(header) => self.begin_data(now, header, input, in_pieces),
        }
    }

    /// Reads on, to the end of the header or of the input.
    fn go_on_header(
        &mut self,
        mut header: PartialHeader,
        input: &mut Input<'_>,
    ) -> Result<Option<Header>, ProtocolError> {
        while !input.is_empty() {
            let have = usize::from(header.length);
            header.bytes[have] = input.take(1)[0];
            header.length += 1;
            let bytes = &header.bytes[..=have];
            if let Some((header, _)) = Header::parse(bytes, self.role, self.inflater.is_some())? {
                return Ok(Some(header));
            }
        }
        self.cut = Some(Box::new(Cut::Header(header)));
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
        let control = Control {
            frame: Frame::new(&header),
            opcode: header.opcode,
            length: 0,
            payload: [0; MAX_CONTROL],
        };
        self.go_on_control(control, input)
    }

    fn go_on_control<'b>(
        &mut self,
        mut control: Control,
        input: &mut Input<'b>,
    ) -> Result<Option<Event<'b>>, ProtocolError> {
        let piece = control.frame.take(input);
        let have = usize::from(control.length);
        control.payload[have..have + piece.len()].copy_from_slice(piece);
        control.length += piece.len() as u8;
        if control.frame.remaining > 0 {
            self.cut = Some(Box::new(Cut::Control(control)));
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

impl Frame {
    pub(crate) const fn new(header: &Header) -> Self {
        Self {
            remaining: header.length,
            key: header.mask,
            phase: 0,
            fin: header.fin,
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

/// The first byte of a frame as a client sends most of them, its header's size, its payload's length, and its key.
#[inline(always)]
fn whole_from_client(bytes: &[u8]) -> Option<(u8, usize, usize, Option<[u8; 4]>)> {
    let &[first, second, a, b, c, d] = bytes.first_chunk()?;
    match second ^ 0x80 {
        length @ 0..=125 => Some((first, 6, length.into(), Some([a, b, c, d]))),
        126 => {
            let &[.., key_0, key_1, key_2, key_3] = bytes.first_chunk::<8>()?;
            let length = u16::from_be_bytes([a, b]);
            let key = [key_0, key_1, key_2, key_3];
            (length > 125).then_some((first, 8, length.into(), Some(key)))
        }
        _ => None,
    }
}

/// The same of a server, which never masks.
#[inline(always)]
fn whole_from_server(bytes: &[u8]) -> Option<(u8, usize, usize, Option<[u8; 4]>)> {
    let &[first, second] = bytes.first_chunk()?;
    match second {
        length @ 0..=125 => Some((first, 2, length.into(), None)),
        126 => {
            let &[_, _, high, low] = bytes.first_chunk()?;
            let length = u16::from_be_bytes([high, low]);
            (length > 125).then_some((first, 4, length.into(), None))
        }
        _ => None,
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
