//! Messages (RFC 6455 §5.6), owned or lent, and the events that a connection tells.

use std::ops::Deref;

use bytes::Bytes;

use crate::close::CloseReason;
use crate::frame::Opcode;
use crate::utf8::Utf8Bytes;

/// Text or binary. Exhaustive: RFC 6455 has no third kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    pub(crate) const fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// A message. Control frames are no messages: the connection deals with them itself.
///
/// Exhaustive: RFC 6455 has no third kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text.
    Text(Utf8Bytes),
    /// Any bytes.
    Binary(Bytes),
}

impl Message {
    /// Text or binary.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Binary(_) => Kind::Binary,
        }
    }

    /// The payload.
    pub fn as_bytes(&self) -> &Bytes {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The payload, uncopied.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The text, if it is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}
impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}
impl From<Utf8Bytes> for Message {
    fn from(text: Utf8Bytes) -> Self {
        Self::Text(text)
    }
}
impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}
impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}
impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
    }
}

/// Bytes that are lent from the input where they came whole, and owned where they were put together. Exhaustive: there is no
/// third way to hold them.
#[derive(Clone, Debug)]
pub enum Payload<'b> {
    /// A view of the caller's input.
    Lent(&'b [u8]),
    /// Put together from several frames or reads.
    Owned(Bytes),
}

impl Payload<'_> {
    /// Owned bytes of exactly this size: what was lent is copied, so that a kept payload pins no read buffer.
    pub fn into_owned(self) -> Bytes {
        match self {
            Self::Lent(bytes) => Bytes::copy_from_slice(bytes),
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// Text that is lent from the input where it came whole, and owned where it was put together. Exhaustive: there is no
/// third way to hold it.
#[derive(Clone, Debug)]
pub enum Text<'b> {
    /// A view of the caller's input.
    Lent(&'b str),
    /// Put together from several frames or reads.
    Owned(Utf8Bytes),
}

impl Text<'_> {
    /// Owned text of exactly this size: what was lent is copied, so that a kept text pins no read buffer.
    pub fn into_owned(self) -> Utf8Bytes {
        match self {
            Self::Lent(text) => text.into(),
            Self::Owned(text) => text,
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Lent(text) => text,
            Self::Owned(text) => text,
        }
    }
}

/// A piece of a message, however long that is: see
/// [`Connection::handle_input_in_pieces`](crate::Connection::handle_input_in_pieces).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Piece<'b> {
    /// Of a text or a binary message. All pieces of a text together are UTF-8; a character may be cut between two.
    pub kind: Kind,
    /// What came of it; only the last piece may be empty.
    pub payload: Payload<'b>,
    /// The message begins with it.
    pub first: bool,
    /// The message ends with it.
    pub last: bool,
}

/// What came from the peer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'b> {
    /// A whole text message.
    Text(Text<'b>),
    /// A whole binary message.
    Binary(Payload<'b>),
    /// A piece of a message, where messages are taken in pieces.
    Piece(Piece<'b>),
    /// A ping; its pong is already queued.
    Ping(Payload<'b>),
    /// A pong.
    Pong(Payload<'b>),
    /// The peer's Close frame; its answer is already queued. It is the last event.
    Close(Option<CloseReason>),
}

impl Event<'_> {
    /// The message, owned, if the event is a whole one.
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::Text(text) => Some(Message::Text(text.into_owned())),
            Self::Binary(bytes) => Some(Message::Binary(bytes.into_owned())),
            _ => None,
        }
    }
}
