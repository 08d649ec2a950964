//! Two connections, and what is between them.

use std::io::IoSlice;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use openline_proto::handshake::deflate::Agreed;
use openline_proto::handshake::{self, ClientOptions, HeadReader, Key, ServerOptions};
use openline_proto::{
    Broadcast, Config, Connection, Deflate, Kind, Message, Role, SendError, Takeover,
};

use crate::choices::{Choices, Cuts};
use crate::hearing::{Told, told};
use crate::wire::KEY;

/// One end, what it was told and what it sent.
#[derive(Debug)]
pub struct End {
    /// The connection.
    pub connection: Connection,
    /// All that it was told.
    pub told: Vec<Told>,
    /// All bytes that left it.
    pub left: Vec<u8>,
}

impl End {
    /// A fresh end.
    pub fn new(role: Role, config: Config, agreed: Option<Agreed>, now: Instant) -> Self {
        let config = Arc::new(config);
        let connection = match role {
            Role::Server => Connection::server(config, now),
            Role::Client => Connection::client(config, || KEY, now),
        };
        Self {
            connection: connection.with_deflate(agreed),
            told: Vec::new(),
            left: Vec::new(),
        }
    }

    /// Has it send at most so many bytes, in one write of at most `slices` slices; returns those that left.
    pub fn write(&mut self, most: usize, slices: usize) -> &[u8] {
        let start = self.left.len();
        let mut offered = vec![IoSlice::new(&[]); slices.max(1)];
        let filled = self.connection.poll_slices(&mut offered);
        let total: usize = offered[..filled].iter().map(|slice| slice.len()).sum();
        assert_eq!(
            filled == 0,
            self.connection.queued() == 0,
            "what is queued is offered"
        );
        assert!(total <= self.connection.queued());
        let count = total.min(most);
        for slice in &offered[..filled] {
            self.left.extend_from_slice(slice);
        }
        self.left.truncate(start + count);
        if count > 0 {
            self.connection.written(count);
        }
        &self.left[start..]
    }

    /// Has it send all that waits.
    pub fn write_all(&mut self) -> &[u8] {
        let start = self.left.len();
        while !self.write(usize::MAX, 3).is_empty() {}
        &self.left[start..]
    }

    /// Shows it bytes.
    pub fn hear(&mut self, now: Instant, bytes: &[u8]) {
        self.told.extend(told(&mut self.connection, now, bytes));
    }
}

/// Sends a message by one of four ways; returns what came of it, and what the other end is to be told.
pub fn send(
    connection: &mut Connection,
    way: u8,
    text: bool,
    payload: Vec<u8>,
) -> (Result<(), SendError>, Told) {
    if text {
        let text = String::from_utf8_lossy(&payload).into_owned();
        let sent = match way {
            0 => connection.send_text(&text),
            1 => connection.send(Message::from(text.as_str())),
            2 => connection.send_broadcast(&Broadcast::text(&text)),
            _ => connection.send_uncompressed(Message::from(text.as_str())),
        };
        (sent, Told::Text(text))
    } else {
        let sent = match way {
            0 => connection.send_binary(&payload),
            1 => connection.send(Message::from(payload.clone())),
            2 => connection.send_broadcast(&Broadcast::binary(&payload)),
            _ => connection.send_uncompressed(Message::from(payload.clone())),
        };
        (sent, Told::Binary(payload))
    }
}

/// Sends a message in pieces, cut by `cuts`; returns what the other end is to be told.
///
/// # Panics
/// If there is no room.
pub fn send_in_pieces(
    connection: &mut Connection,
    text: bool,
    compress: bool,
    payload: Vec<u8>,
    cuts: Cuts,
) -> Told {
    let (kind, told) = if text {
        let text = String::from_utf8_lossy(&payload).into_owned();
        (Kind::Text, Told::Text(text))
    } else {
        (Kind::Binary, Told::Binary(payload))
    };
    let bytes = match &told {
        Told::Text(text) => text.as_bytes(),
        Told::Binary(payload) => payload,
        _ => &[],
    };
    assert_eq!(connection.begin(kind, compress), Ok(()));
    for piece in cuts.pieces(bytes) {
        assert_eq!(connection.send_piece(piece, false), Ok(()));
    }
    assert_eq!(connection.send_piece(b"", true), Ok(()));
    told
}

/// Some instant to begin with, the same for a whole run.
pub fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// Settings of compression, by the fuzzer's choice.
pub fn deflate_settings(choices: &mut Choices<'_>) -> Option<Deflate> {
    let flags = choices.byte();
    if flags & 1 == 0 {
        return None;
    }
    let windows = choices.byte();
    Some(
        Deflate::default()
            .server_no_context_takeover(flags & 2 != 0)
            .client_no_context_takeover(flags & 4 != 0)
            .takeover(
                [Takeover::Always, Takeover::UntilIdle, Takeover::Never]
                    [usize::from(flags >> 3) % 3],
            )
            .level([1, 6, 9][usize::from(flags >> 5) % 3])
            .threshold(if flags & 0x80 == 0 { 0 } else { 64 })
            .server_max_window_bits(15 - (windows & 7))
            .client_max_window_bits(15 - (windows >> 4 & 7)),
    )
}

/// What each end, client first, takes the opening handshake to have settled. The heads travel as bytes.
///
/// # Panics
/// If the ends don't understand each other.
pub fn negotiate(
    client: Option<Deflate>,
    server: Option<Deflate>,
) -> (Option<Agreed>, Option<Agreed>) {
    let (config, now) = (Config::default(), start());
    let asked = ClientOptions::default().deflate(client.as_ref().map(Deflate::offer));
    let key = Key::new(*b"the sample nonce");
    let uri = http::Uri::from_static("ws://example.org/");
    let request = handshake::request(&uri, key, &asked).expect("the address is right");
    let mut bytes = Vec::new();
    handshake::write_request(&request, &mut bytes);
    let mut reader = HeadReader::new(&config, now);
    assert_eq!(reader.handle_input(&bytes), Ok(true));
    let (request, _) = reader.into_request().expect("what is written is read");
    let options = ServerOptions::default().deflate(server.as_ref().map(Deflate::policy));
    let accepted = handshake::accept(&request, &options).expect("a client's request is right");
    bytes.clear();
    handshake::write_response(&accepted.response, &mut bytes);
    let mut reader = HeadReader::new(&config, now);
    assert_eq!(reader.handle_input(&bytes), Ok(true));
    let (response, _) = reader.into_response().expect("what is written is read");
    let established =
        handshake::verify(&response, key, &asked).expect("a server's answer is right");
    assert_eq!(
        established.deflate, accepted.deflate,
        "both ends agree on the same"
    );
    (established.deflate, accepted.deflate)
}
