//! Showing bytes to a connection, and what it tells.

use std::time::Instant;

use openline_proto::{CloseReason, Connection, Event, Input, ProtocolError, Timeout};

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

/// Shows a connection bytes, and calls `tell` with each event and error, until all is consumed.
pub fn hear(
    connection: &mut Connection,
    now: Instant,
    bytes: &[u8],
    mut tell: impl FnMut(Result<Event<'_>, ProtocolError>),
) {
    let mut bytes = bytes.to_vec();
    let mut input = Input::new(&mut bytes);
    loop {
        match connection.handle_input(now, &mut input) {
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
    hear(connection, now, bytes, |heard| {
        list.push(heard.map_or_else(Told::Error, Told::of));
    });
    list
}
