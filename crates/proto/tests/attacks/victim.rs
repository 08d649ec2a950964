//! One end of a connection, and the bytes that an attacker at the other end sends it.

use std::time::Instant;

use openline_proto::{Config, Connection, Event, Input, ProtocolError, Role};

use crate::pair::{Pair, frame};

pub(crate) const ROLES: [Role; 2] = [Role::Server, Role::Client];

/// A masking key that leaves a payload as it is, so that one buffer can be shown again and again.
const KEY: [u8; 4] = [0; 4];

/// The end that is attacked.
pub(crate) struct Victim {
    pub(crate) connection: Connection,
    pub(crate) now: Instant,
}

/// What it was told, in numbers: a test of memory keeps nothing itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) messages: usize,
    /// Of all messages together.
    pub(crate) bytes: usize,
    pub(crate) pings: usize,
    pub(crate) pongs: usize,
    pub(crate) closes: usize,
    pub(crate) error: Option<ProtocolError>,
}

impl Victim {
    /// Compression is agreed on if `config` wants it.
    pub(crate) fn new(role: Role, config: &Config) -> Self {
        let pair = Pair::new(config.clone(), config.clone());
        let end = match role {
            Role::Server => pair.server,
            Role::Client => pair.client,
        };
        Self {
            connection: end.connection,
            now: pair.now,
        }
    }

    /// Shows it bytes, which it may unmask in place.
    pub(crate) fn hear(&mut self, bytes: &mut [u8]) -> Heard {
        let mut heard = Heard::default();
        let mut input = Input::new(bytes);
        loop {
            match self.connection.handle_input(self.now, &mut input) {
                Ok(None) => return heard,
                Ok(Some(Event::Text(text))) => {
                    heard.messages += 1;
                    heard.bytes += text.len();
                }
                Ok(Some(Event::Binary(payload))) => {
                    heard.messages += 1;
                    heard.bytes += payload.len();
                }
                Ok(Some(Event::Ping(_))) => heard.pings += 1,
                Ok(Some(Event::Pong(_))) => heard.pongs += 1,
                Ok(Some(Event::Close(_))) => heard.closes += 1,
                Ok(Some(other)) => panic!("{other:?}"),
                Err(error) => {
                    assert_eq!(heard.error.replace(error), None, "one error is the end");
                }
            }
        }
    }

    /// Shows it bytes so many at a time.
    pub(crate) fn hear_in_pieces(&mut self, bytes: &mut [u8], size: usize) -> Heard {
        let mut all = Heard::default();
        for piece in bytes.chunks_mut(size) {
            let heard = self.hear(piece);
            all.messages += heard.messages;
            all.bytes += heard.bytes;
            all.pings += heard.pings;
            all.pongs += heard.pongs;
            all.closes += heard.closes;
            all.error = all.error.or(heard.error);
        }
        all
    }

    /// Takes what it has to say, as its peer gets it.
    pub(crate) fn output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        loop {
            let mut slices = [std::io::IoSlice::new(&[]); 8];
            let filled = self.connection.poll_slices(&mut slices);
            if filled == 0 {
                return output;
            }
            let before = output.len();
            for slice in &slices[..filled] {
                output.extend_from_slice(slice);
            }
            self.connection.written(output.len() - before);
        }
    }
}

/// A frame to an end of that role; `first` is FIN, RSV and opcode.
pub(crate) fn to(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, (role == Role::Server).then_some(KEY))
}

/// A frame's header that claims a payload of `length` bytes, in the longest form: to an end of that role.
pub(crate) fn claim(role: Role, first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first, 127];
    header.extend(length.to_be_bytes());
    if role == Role::Server {
        header[1] |= 0x80;
        header.extend(KEY);
    }
    header
}

/// The payload of a frame that an end of that role sent, unmasked, and the rest of its output.
pub(crate) fn from(role: Role, output: &[u8]) -> (u8, Vec<u8>, &[u8]) {
    let (first, short) = (output[0], output[1] & 0x7f);
    assert_eq!(output[1] & 0x80 != 0, role == Role::Client, "clients mask");
    let (length, mut at) = match short {
        126 => (usize::from(u16::from_be_bytes([output[2], output[3]])), 4),
        127 => {
            let length = output[2..10].try_into().expect("eight bytes");
            (u64::from_be_bytes(length) as usize, 10)
        }
        short => (usize::from(short), 2),
    };
    let mut key = [0; 4];
    if role == Role::Client {
        key.copy_from_slice(&output[at..at + 4]);
        at += 4;
    }
    let payload = output[at..at + length].iter().enumerate();
    let payload = payload.map(|(i, byte)| byte ^ key[i % 4]).collect();
    (first, payload, &output[at + length..])
}
