//! Messages that are lent, not given: they lie where they were read.

use std::ops::Deref;

use bytes::Bytes;
use openline_proto::{Event, Kind, Message, Outbound, Payload, SendError, Text, Utf8Bytes};

use crate::scratch::Scratch;

/// A message that was received, lent until the next one is asked for. It was copied nowhere if it came in one piece, and
/// small ones do.
///
/// It derefs to its bytes. See [`Receiver::next_lent`](crate::Receiver::next_lent).
#[derive(Clone, Debug)]
pub struct MessageRef<'a> {
    kind: Kind,
    payload: Body<'a>,
}

/// A payload. Owned ones are rare, and not worth their place in the future of every handler that holds a message.
#[derive(Clone, Debug)]
enum Body<'a> {
    Lent(&'a [u8]),
    Owned(Box<Payload<'a>>),
}

impl MessageRef<'_> {
    /// Text or binary.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The payload.
    pub fn as_bytes(&self) -> &[u8] {
        self
    }

    /// The text, if it is text. It was checked when it came; that is done again here, for the compiler's sake.
    pub fn as_text(&self) -> Option<&str> {
        match self.kind {
            Kind::Text => std::str::from_utf8(self).ok(),
            Kind::Binary => None,
        }
    }

    /// A message of its own: copied, if it was lent.
    pub fn into_message(self) -> Message {
        match (self.kind, self.payload) {
            (Kind::Text, Body::Lent(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => Message::Text(text.into()),
                Err(_) => Message::Binary(Bytes::copy_from_slice(bytes)),
            },
            (Kind::Text, Body::Owned(payload)) => {
                let bytes = payload.into_owned();
                match Utf8Bytes::try_from(bytes.clone()) {
                    Ok(text) => Message::Text(text),
                    Err(_) => Message::Binary(bytes),
                }
            }
            (Kind::Binary, Body::Lent(bytes)) => Message::Binary(Bytes::copy_from_slice(bytes)),
            (Kind::Binary, Body::Owned(payload)) => Message::Binary(payload.into_owned()),
        }
    }

    /// Its bytes, unless they have an owner.
    #[inline]
    pub(crate) const fn lent_bytes(&self) -> Option<(Kind, &[u8])> {
        match &self.payload {
            Body::Lent(bytes) => Some((self.kind, bytes)),
            Body::Owned(_) => None,
        }
    }

    #[inline]
    pub(crate) fn queue_on(&self, outbound: &mut Outbound) -> Result<(), SendError> {
        match &self.payload {
            Body::Lent(bytes) => outbound.send_payload(self.kind, &Payload::Lent(bytes)),
            Body::Owned(payload) => outbound.send_payload(self.kind, payload),
        }
    }
}

impl From<MessageRef<'_>> for Message {
    fn from(message: MessageRef<'_>) -> Self {
        message.into_message()
    }
}

impl Deref for MessageRef<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.payload {
            Body::Lent(bytes) => bytes,
            Body::Owned(payload) => payload,
        }
    }
}

/// A whole message in the read buffer. Two numbers, so that it goes through registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole {
    kind: Kind,
    /// Where the payload ends, and in the lower half its length. The buffer has far less than 4 GiB.
    place: u64,
}

impl Whole {
    #[inline]
    pub(crate) const fn new(kind: Kind, length: usize, place: usize) -> Self {
        Self {
            kind,
            place: (place as u64) << 32 | length as u64,
        }
    }

    #[inline]
    pub(crate) fn lend(self, scratch: &Scratch) -> MessageRef<'_> {
        let bytes = scratch.consumed((self.place >> 32) as usize, self.place as u32 as usize);
        MessageRef {
            kind: self.kind,
            payload: Body::Lent(bytes),
        }
    }
}

/// A message, or a piece of one, and where it lies.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    pub(crate) last: bool,
    payload: Where,
}

#[derive(Debug)]
enum Where {
    /// So many bytes in front of a place in the read buffer.
    Scratch {
        place: usize,
        length: usize,
    },
    Own(Bytes),
}

impl Found {
    /// What an event found; the payload of what is lent ends in front of `place`.
    pub(crate) fn new(event: Event<'_>, place: usize) -> Option<Self> {
        let (kind, payload, last) = match event {
            Event::Text(Text::Lent(text)) => (Kind::Text, Payload::Lent(text.as_bytes()), true),
            Event::Text(Text::Owned(text)) => (Kind::Text, Payload::Owned(text.into_bytes()), true),
            Event::Binary(payload) => (Kind::Binary, payload, true),
            Event::Piece(piece) => (piece.kind, piece.payload, piece.last),
            _ => return None,
        };
        let payload = match payload {
            Payload::Lent(bytes) => Where::Scratch {
                place,
                length: bytes.len(),
            },
            Payload::Owned(bytes) => Where::Own(bytes),
        };
        Some(Self {
            kind,
            last,
            payload,
        })
    }

    /// The message in the buffer that it was read into.
    pub(crate) fn lend(self, scratch: &Scratch) -> MessageRef<'_> {
        let payload = match self.payload {
            Where::Scratch { place, length } => Body::Lent(scratch.consumed(place, length)),
            Where::Own(bytes) => Body::Owned(Box::new(Payload::Owned(bytes))),
        };
        MessageRef {
            kind: self.kind,
            payload,
        }
    }

    /// What is left of it.
    pub(crate) fn bytes<'a>(&'a self, scratch: &'a Scratch) -> &'a [u8] {
        match &self.payload {
            Where::Scratch { place, length } => scratch.consumed(*place, *length),
            Where::Own(bytes) => bytes,
        }
    }

    /// Takes what is left of it.
    pub(crate) fn take(&mut self, scratch: &Scratch) -> Bytes {
        match &mut self.payload {
            Where::Scratch { place, length } => {
                Bytes::copy_from_slice(scratch.consumed(*place, std::mem::take(length)))
            }
            Where::Own(bytes) => std::mem::take(bytes),
        }
    }

    /// The first `count` bytes are consumed.
    pub(crate) fn advance(&mut self, count: usize) {
        match &mut self.payload {
            Where::Scratch { length, .. } => *length -= count,
            Where::Own(bytes) => bytes::Buf::advance(bytes, count),
        }
    }
}
