//! Data frames (RFC 6455 §5.6): from their payloads to messages, whole or in pieces.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::ProtocolError;
use crate::frame::{Header, Opcode};
use crate::inbound::{Frame, Inbound, Input, Whole, unmask};
use crate::message::{Event, Kind, Payload, Piece, Text};
use crate::timers::MessageClock;
use crate::trace;
use crate::utf8::{Utf8Bytes, Utf8Check};

/// Of a compressed message that is taken in pieces, the longest piece in bytes, and how much of the input one step of
/// inflating looks at.
const INFLATED_PIECE: usize = 16 * 1024;
const INFLATED_FROM: usize = 8 * 1024;

/// A message that did not come in one piece, or came compressed.
#[derive(Debug)]
pub(crate) struct Assembly {
    kind: Kind,
    compressed: bool,
    utf8: Utf8Check,
    fragments: u32,
    clock: MessageClock,
    payload: Vec<u8>,
    /// Of its payloads, the one that is under way.
    pub(crate) frame: Option<Frame>,
    /// A piece of it was told: it goes on in pieces, or what is left of it is discarded.
    told: bool,
    /// Nobody wants the rest of it.
    discarded: bool,
    /// What came compressed and is not yet inflated.
    waiting: Waiting,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// So many of them are consumed.
    consumed: usize,
    /// More may come out, even if all are consumed.
    more: bool,
    /// The message ends with them.
    last: bool,
}

/// What becomes of a message's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It is put together.
    Whole,
    /// It is told as it comes.
    Pieces,
    /// It was told in pieces, and nobody wants the rest.
    Discarded,
}

impl Inbound {
    #[inline]
    pub(crate) fn begin_data<'b>(
        &mut self,
        now: Instant,
        header: Header,
        input: &mut Input<'b>,
        in_pieces: bool,
    ) -> Result<Option<Event<'b>>, ProtocolError> {
        let limits = self.config.limits();
        let (compressed, so_far, way) = match &self.message {
            Some(message) => (
                message.compressed,
                message.payload.len(),
                message.way(in_pieces),
            ),
            None if in_pieces => (header.compressed, 0, Way::Pieces),
            None => (header.compressed, 0, Way::Whole),
        };
        // Compared in 64 bits, before anything is reserved: the length is only the peer's claim. Of a compressed message it
        // says nothing: that one is measured while it is inflated.
        if way == Way::Whole && !compressed && header.length > (limits.max_message - so_far) as u64
        {
            return Err(ProtocolError::MessageTooBig {
                limit: limits.max_message,
            });
        }
        match (&mut self.message, header.opcode) {
            (None, Opcode::Continuation) => return Err(ProtocolError::UnexpectedContinuation),
            (None, opcode) => {
                let kind = if opcode == Opcode::Text {
                    Kind::Text
                } else {
                    Kind::Binary
                };
                if header.fin && !compressed && header.length <= input.len() as u64 {
                    let payload = input.take(header.length as usize);
                    unmask(payload, header.mask, 0);
                    trace::received(&header, payload);
                    let whole = Whole {
                        kind,
                        payload,
                        ascii: false,
                    };
                    return whole.event(in_pieces).map(Some);
                }
                self.message = Some(Box::new(Assembly::new(kind, compressed, now)));
            }
            (Some(message), Opcode::Continuation) => {
                message.fragments = message.fragments.saturating_add(1);
                // In pieces a message may be as long as it likes: nothing is kept for its fragments.
                if message.fragments > limits.max_fragments && way == Way::Whole {
                    return Err(ProtocolError::TooManyFragments {
                        limit: limits.max_fragments,
                    });
                }
            }
            (Some(_), _) => return Err(ProtocolError::UnfinishedMessage),
        }
        self.go_on(Frame::new(&header), input, in_pieces, Some(&header))
    }

    pub(crate) fn go_on_data<'b>(
        &mut self,
        frame: Frame,
        input: &mut Input<'b>,
        in_pieces: bool,
    ) -> Result<Option<Event<'b>>, ProtocolError> {
        self.go_on(frame, input, in_pieces, None)
    }

    /// The payload of a frame goes on; `header` is there if it begins.
    fn go_on<'b>(
        &mut self,
        mut frame: Frame,
        input: &mut Input<'b>,
        in_pieces: bool,
        header: Option<&Header>,
    ) -> Result<Option<Event<'b>>, ProtocolError> {
        let Some(message) = &mut self.message else {
            return Ok(None);
        };
        let way = message.way(in_pieces);
        let piece = match way != Way::Whole && message.compressed {
            true => frame.take_up_to(INFLATED_FROM, input),
            false => frame.take(input),
        };
        if let Some(header) = header {
            trace::received(header, piece);
        }
        let (fin, remaining) = (frame.fin, frame.remaining);
        let last = fin && remaining == 0;
        if remaining > 0 {
            message.frame = Some(frame);
        }
        if way == Way::Whole {
            self.put_together(piece, fin, remaining)?;
            return match self.message.take_if(|_| last) {
                Some(message) => message.finish().map(Some),
                None => Ok(None),
            };
        }
        if message.compressed {
            message.waiting = Waiting {
                bytes: piece.to_vec(),
                consumed: 0,
                more: true,
                last,
            };
            return self.go_on_inflating(in_pieces);
        }
        if message.kind == Kind::Text {
            message.utf8.feed(piece)?;
        }
        let piece = match message.payload.is_empty() {
            true => Payload::Lent(piece),
            false => {
                message.payload.extend_from_slice(piece);
                Payload::Owned(std::mem::take(&mut message.payload).into())
            }
        };
        self.tell(piece, last, way)
    }

    /// Adds a piece to a message that is put together; `remaining` bytes of its frame are to come, which is its last if
    /// `fin` says so.
    fn put_together(
        &mut self,
        piece: &[u8],
        fin: bool,
        remaining: u64,
    ) -> Result<(), ProtocolError> {
        let Some(message) = &mut self.message else {
            return Ok(());
        };
        let limit = self.config.limits().max_message;
        let start = message.payload.len();
        let inflated = match &mut self.inflater {
            Some(inflater) if message.compressed => {
                let inflated = inflater.inflate(piece, &mut message.payload, limit);
                match fin && remaining == 0 {
                    true => inflated.and_then(|()| inflater.finish(&mut message.payload, limit)),
                    false => inflated,
                }
            }
            _ => {
                // Of the message's last frame it is known how much comes; of the others, only that the limit holds.
                let most = match fin {
                    true => usize::try_from(remaining)
                        .unwrap_or(usize::MAX)
                        .saturating_add(piece.len()),
                    false => limit - start,
                };
                reserve(&mut message.payload, piece.len(), most);
                message.payload.extend_from_slice(piece);
                Ok(())
            }
        };
        if message.kind == Kind::Text {
            message.utf8.feed(&message.payload[start..])?;
        }
        // Behind the check of what came out before it, so that the first violation is told however the bytes were cut.
        inflated
    }

    /// Inflates what waits of a message that is told in pieces, up to the next one.
    pub(crate) fn go_on_inflating(
        &mut self,
        in_pieces: bool,
    ) -> Result<Option<Event<'static>>, ProtocolError> {
        while let (Some(message), Some(inflater)) = (&mut self.message, &mut self.inflater) {
            let way = message.way(in_pieces);
            let waiting = &mut message.waiting;
            if !waiting.more {
                break;
            }
            // Empty, but for what was put together before anybody asked for pieces.
            let mut out = std::mem::take(&mut message.payload);
            let start = out.len();
            let input = &waiting.bytes[waiting.consumed..];
            let inflated = inflater.inflate_some(input, &mut out, INFLATED_PIECE);
            let inflated = inflated.and_then(|(consumed, more)| {
                waiting.consumed += consumed;
                waiting.more = more;
                match waiting.last && !more {
                    true => inflater.finish(&mut out, usize::MAX),
                    false => Ok(()),
                }
            });
            if message.kind == Kind::Text {
                message.utf8.feed(&out[start..])?;
            }
            inflated?;
            let last = waiting.last && !waiting.more;
            if !waiting.more {
                message.waiting = Waiting::default();
            }
            let event = self.tell(Payload::Owned(out.into()), last, way)?;
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Tells a piece, if it is wanted and there is something to tell.
    fn tell<'b>(
        &mut self,
        payload: Payload<'b>,
        last: bool,
        way: Way,
    ) -> Result<Option<Event<'b>>, ProtocolError> {
        let Some(message) = &mut self.message else {
            return Ok(None);
        };
        if last && message.kind == Kind::Text {
            message.utf8.finish()?;
        }
        let (kind, first) = (message.kind, !message.told);
        let wanted = way == Way::Pieces && (last || !payload.is_empty());
        message.told |= wanted;
        if last {
            self.message = None;
        }
        Ok(wanted.then_some(Event::Piece(Piece {
            kind,
            payload,
            first,
            last,
        })))
    }
}

impl Assembly {
    const fn new(kind: Kind, compressed: bool, now: Instant) -> Self {
        Self {
            kind,
            compressed,
            utf8: Utf8Check::new(),
            fragments: 1,
            clock: MessageClock::new(now),
            payload: Vec::new(),
            frame: None,
            told: false,
            discarded: false,
            waiting: Waiting {
                bytes: Vec::new(),
                consumed: 0,
                more: false,
                last: false,
            },
        }
    }

    /// How long it was waited for, if it has to be whole in time. How fast a message in pieces is read is its reader's choice.
    pub(crate) fn clock(&self) -> Option<&MessageClock> {
        (!self.told || self.discarded).then_some(&self.clock)
    }

    pub(crate) fn look(&mut self, now: Instant, limit: Duration) {
        self.clock.look(now, limit);
    }

    /// If it was told in pieces, the rest of it has to come in time from now on.
    pub(crate) fn discard(&mut self, now: Instant) {
        if self.told && !self.discarded {
            self.discarded = true;
            self.clock = MessageClock::new(now);
        }
    }

    pub(crate) const fn is_discarded(&self) -> bool {
        self.discarded
    }

    const fn way(&self, in_pieces: bool) -> Way {
        match (in_pieces, self.told) {
            (true, _) => Way::Pieces,
            (false, true) => Way::Discarded,
            (false, false) => Way::Whole,
        }
    }

    fn finish(mut self) -> Result<Event<'static>, ProtocolError> {
        if self.payload.capacity() - self.payload.len() > self.payload.len() / 8 {
            self.payload.shrink_to_fit();
        }
        let payload = Bytes::from(self.payload);
        match self.kind {
            Kind::Text => {
                self.utf8.finish()?;
                Ok(Event::Text(Text::Owned(Utf8Bytes::try_from(payload)?)))
            }
            Kind::Binary => Ok(Event::Binary(Payload::Owned(payload))),
        }
    }
}

impl<'b> Whole<'b> {
    #[inline]
    pub(crate) fn event(self, in_pieces: bool) -> Result<Event<'b>, ProtocolError> {
        let event = match self.kind {
            Kind::Text => Event::Text(Text::Lent(self.text()?)),
            Kind::Binary => Event::Binary(Payload::Lent(self.payload)),
        };
        Ok(match in_pieces {
            true => Event::Piece(Piece {
                kind: self.kind,
                payload: Payload::Lent(self.payload),
                first: true,
                last: true,
            }),
            false => event,
        })
    }

    fn text(&self) -> Result<&'b str, ProtocolError> {
        /// Up to so many bytes of ASCII, `std` is done before a wider check has begun.
        const SHORT: usize = 512;
        let text = match self.ascii && self.payload.len() <= SHORT {
            true => std::str::from_utf8(self.payload).ok(),
            false => simdutf8::basic::from_utf8(self.payload).ok(),
        };
        text.ok_or(ProtocolError::InvalidUtf8)
    }
}

/// Makes room for `count` bytes: by doubling, but never for more than `most`, and never by a declared length alone.
fn reserve(payload: &mut Vec<u8>, count: usize, most: usize) {
    const FIRST_STEP: usize = 4096;
    if payload.capacity() - payload.len() < count {
        let step = payload.len().max(FIRST_STEP).min(most).max(count);
        payload.reserve_exact(step);
    }
}
