//! Two connections and the wire between them, on a clock that moves only when told.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openline_proto::handshake::deflate::Agreed;
use openline_proto::handshake::{self, ClientOptions, Key, ServerOptions};
use openline_proto::{
    CloseReason, Config, Connection, Deflate, Event, Input, Message, ProtocolError, Timeout,
};

/// What an end was told, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Message(Message),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseReason>),
    Error(ProtocolError),
    Timeout(Timeout),
}

/// One end, and what came out of it.
pub(crate) struct End {
    pub(crate) connection: Connection,
    pub(crate) told: Vec<Told>,
    shut: bool,
}

impl End {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            told: Vec::new(),
            shut: false,
        }
    }

    /// All bytes that wait, marked as sent.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        loop {
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = self.connection.poll_slices(&mut slices);
            if filled == 0 {
                return output;
            }
            let batch: Vec<u8> = slices[..filled]
                .iter()
                .flat_map(|s| s.iter().copied())
                .collect();
            self.connection.written(batch.len());
            output.extend(batch);
        }
    }

    /// Shows it bytes.
    pub(crate) fn input(&mut self, now: Instant, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let mut input = Input::new(&mut bytes);
        loop {
            let told = match self.connection.handle_input(now, &mut input) {
                Ok(None) => return,
                Ok(Some(Event::Ping(payload))) => Told::Ping(payload.to_vec()),
                Ok(Some(Event::Pong(payload))) => Told::Pong(payload.to_vec()),
                Ok(Some(Event::Close(reason))) => Told::Close(reason),
                Ok(Some(event)) => {
                    Told::Message(event.into_message().expect("all other events are messages"))
                }
                Err(error) => Told::Error(error),
            };
            self.told.push(told);
        }
    }

    /// Shows it bytes in pieces of these sizes, over and over.
    pub(crate) fn input_in_pieces(&mut self, now: Instant, bytes: &[u8], sizes: &[usize]) {
        let mut rest = bytes;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, later) = rest.split_at((*size).min(rest.len()));
            self.input(now, piece);
            rest = later;
        }
    }

    fn timeout(&mut self, now: Instant) {
        if let Err(timeout) = self.connection.handle_timeout(now) {
            self.told.push(Told::Timeout(timeout));
        }
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        let message = |told: &Told| {
            if let Told::Message(m) = told {
                Some(m.clone())
            } else {
                None
            }
        };
        self.told.iter().filter_map(message).collect()
    }
}

pub(crate) struct Pair {
    pub(crate) client: End,
    pub(crate) server: End,
    pub(crate) now: Instant,
    pub(crate) to_server: VecDeque<u8>,
    pub(crate) to_client: VecDeque<u8>,
}

impl Default for Pair {
    fn default() -> Self {
        Self::new(Config::default(), Config::default())
    }
}

impl Pair {
    /// Compression is negotiated as the configurations want it.
    pub(crate) fn new(client: Config, server: Config) -> Self {
        let now = start();
        let (offered, granted) = negotiate(&client, &server);
        let mask_key = || [0x37, 0xfa, 0x21, 0x3d];
        let client = Connection::client(Arc::new(client), mask_key, now).with_deflate(offered);
        let server = Connection::server(Arc::new(server), now).with_deflate(granted);
        Self {
            client: End::new(client),
            server: End::new(server),
            now,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
        }
    }

    /// Carries bytes both ways until nothing moves, and ends the streams as the ends want it.
    pub(crate) fn settle(&mut self) {
        loop {
            self.to_server.extend(self.client.take_output());
            self.to_client.extend(self.server.take_output());
            if self.to_server.is_empty() && self.to_client.is_empty() {
                break;
            }
            let bytes: Vec<u8> = self.to_server.drain(..).collect();
            self.server.input(self.now, &bytes);
            let bytes: Vec<u8> = self.to_client.drain(..).collect();
            self.client.input(self.now, &bytes);
        }
        end_stream(&mut self.client, &mut self.server, self.now);
        end_stream(&mut self.server, &mut self.client, self.now);
    }

    /// Lets time pass, in steps from deadline to deadline, carrying bytes at each.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let ends = [&self.client.connection, &self.server.connection];
            let next = ends
                .iter()
                .filter_map(|c| c.poll_timeout())
                .min()
                .filter(|next| *next <= end);
            let Some(next) = next else { break };
            assert!(
                next > self.now || self.now == end,
                "a deadline that passed must move or vanish"
            );
            self.now = next;
            self.client.timeout(self.now);
            self.server.timeout(self.now);
        }
        self.now = end;
    }
}

/// What each end takes the opening handshake to have settled.
fn negotiate(client: &Config, server: &Config) -> (Option<Agreed>, Option<Agreed>) {
    let offer = client.deflate_settings().map(Deflate::offer);
    let policy = server.deflate_settings().map(Deflate::policy);
    let asked = ClientOptions::default().deflate(offer);
    let key = Key::new([7; 16]);
    let uri = "ws://example.org/".parse().unwrap();
    let request = handshake::request(&uri, key, &asked).unwrap();
    let answer = handshake::accept(&request, &ServerOptions::default().deflate(policy)).unwrap();
    let established = handshake::verify(&answer.response, key, &asked).unwrap();
    assert_eq!(established.deflate, answer.deflate);
    (established.deflate, answer.deflate)
}

/// Ends the stream from `here` to `there` if `here` wants it.
fn end_stream(here: &mut End, there: &mut End, now: Instant) {
    if (here.connection.wants_shutdown() || here.connection.is_done()) && !here.shut {
        here.shut = true;
        there.connection.handle_eof(now);
    }
}

/// Some instant to begin with.
#[allow(
    clippy::disallowed_methods,
    reason = "a test has to begin somewhere; no time passes by itself"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// The payload of the one unmasked frame that `output` holds.
pub(crate) fn payload(output: &[u8]) -> &[u8] {
    let header = match output[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    &output[header..]
}

/// A frame as the peer would send it, byte by byte from RFC 6455 §5.2; `first` is FIN, RSV and opcode.
pub(crate) fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = vec![first];
    let mask_bit = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => bytes.push(mask_bit | short as u8),
        medium @ 126..=0xffff => {
            bytes.push(mask_bit | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(mask_bit | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    match mask {
        Some(key) => {
            bytes.extend(key);
            bytes.extend(payload.iter().enumerate().map(|(i, b)| b ^ key[i % 4]));
        }
        None => bytes.extend(payload),
    }
    bytes
}
