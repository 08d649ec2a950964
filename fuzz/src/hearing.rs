//! Showing bytes to a connection, and what it tells.

use std::time::Instant;

use openline_proto::{CloseReason, Connection, Event, Input, Kind, Piece, ProtocolError, Timeout};

/// What an end was told, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// The peer's Close frame.
    Close(Option<CloseReason>),
    /// The peer broke the protocol.
    Error(ProtocolError),
    /// A deadline passed.
    Timeout(Timeout),
}

impl Told {
    /// # Panics
    /// If there is a kind of event that this does not know: what it must hold is to be written here first.
    pub fn of(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_string()),
            Event::Binary(payload) => Self::Binary(payload.to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close(reason) => Self::Close(reason),
            other => panic!("an event that the targets don't know: {other:?}"),
        }
    }

    /// Whether nothing may be told after it.
    pub const fn is_last(&self) -> bool {
        matches!(self, Self::Close(_) | Self::Error(_))
    }

    /// The length of a message.
    pub const fn message_len(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.len()),
            Self::Binary(payload) => Some(payload.len()),
            _ => None,
        }
    }
}

/// Which call hears the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Messages whole.
    Whole,
    /// Messages in pieces.
    Pieces,
}

/// Shows a connection bytes, and calls `tell` with each event and error, until all is consumed.
pub fn hear(
    connection: &mut Connection,
    now: Instant,
    bytes: &[u8],
    way: Way,
    mut tell: impl FnMut(Result<Event<'_>, ProtocolError>),
) {
    let mut bytes = bytes.to_vec();
    let mut input = Input::new(&mut bytes);
    loop {
        let heard = match way {
            Way::Whole => connection.handle_input(now, &mut input),
            Way::Pieces => connection.handle_input_in_pieces(now, &mut input),
        };
        match heard {
            Ok(None) => break,
            Ok(Some(event)) => tell(Ok(event)),
            Err(error) => tell(Err(error)),
        }
    }
    assert!(input.is_empty(), "`None` means that all was consumed");
}

/// The same, as a list.
pub fn told(connection: &mut Connection, now: Instant, bytes: &[u8]) -> Vec<Told> {
    let mut list = Vec::new();
    hear(connection, now, bytes, Way::Whole, |heard| {
        list.push(heard.map_or_else(Told::Error, Told::of));
    });
    list
}

/// A message that comes in pieces.
#[derive(Debug, Default)]
pub struct Pieces {
    under_way: Option<(Kind, Vec<u8>)>,
}

impl Pieces {
    /// Shows a connection bytes that it tells in pieces, and puts these together.
    pub fn told(&mut self, connection: &mut Connection, now: Instant, bytes: &[u8]) -> Vec<Told> {
        let mut list = Vec::new();
        hear(connection, now, bytes, Way::Pieces, |heard| match heard {
            Ok(Event::Piece(piece)) => list.extend(self.add(&piece)),
            Ok(event) => {
                let told = Told::of(event);
                assert_eq!(told.message_len(), None, "a message that is not in pieces");
                list.push(told);
            }
            Err(error) => list.push(Told::Error(error)),
        });
        list
    }

    fn add(&mut self, piece: &Piece<'_>) -> Option<Told> {
        assert_eq!(piece.first, self.under_way.is_none(), "{piece:?}");
        assert!(piece.last || !piece.payload.is_empty(), "{piece:?}");
        let (kind, message) = self.under_way.get_or_insert((piece.kind, Vec::new()));
        assert_eq!(*kind, piece.kind);
        message.extend_from_slice(&piece.payload);
        if !piece.last {
            return None;
        }
        let (kind, message) = self.under_way.take()?;
        Some(match kind {
            Kind::Text => Told::Text(String::from_utf8(message).expect("text is UTF-8")),
            Kind::Binary => Told::Binary(message),
        })
    }
}
