//! The same frames to openline-proto and to tungstenite: the same messages and the same verdict.
//!
//! Where tungstenite is known to judge otherwise, the comparison says so: it takes lengths that are longer than
//! needed, it tells of a Close frame whose code may not travel, with 1002 for a code, and it takes 1014 for one of them.
//! It judges frames when they are whole: only whole frames are shown. Then what was understood is sent on by ours and
//! read by tungstenite.

use std::io::{self, Read, Write};

use openline_proto::{CloseCode, CloseReason, Config, Message, ProtocolError, Role};
use tungstenite::protocol::{Role as TheirRole, WebSocketConfig};
use tungstenite::{Error, WebSocket};

use crate::choices::{Choices, Cuts};
use crate::hearing::Told;
use crate::pair::{End, start};
use crate::wire;

/// Tries one input: role, limit, cuts, then a script or bytes as they stand.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let flags = choices.byte();
    let role = if flags & 1 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let limit = [1 << 20, 10, 1000, 66_000][usize::from(flags >> 1 & 3)];
    let cuts = choices.cuts();
    let bytes = if flags & 8 != 0 {
        choices.rest().to_vec()
    } else {
        wire::script(&mut choices, role)
    };
    // Up to the first frame whose length is longer than needed, or that is not whole.
    let mut rest = &bytes[..];
    let mut end = 0;
    let lax = loop {
        match wire::take_frame(&mut rest) {
            Some(frame) if frame.minimal => end = bytes.len() - rest.len(),
            Some(_) => break Some(&bytes[end..bytes.len() - rest.len()]),
            None => break None,
        }
    };
    let bytes = &bytes[..end];

    let config = Config::default().max_message(limit).max_fragments(u32::MAX);
    let mut ours = End::new(role, config, None, start());
    for piece in cuts.clone().pieces(bytes) {
        ours.hear(start(), piece);
    }
    let theirs = Theirs::hear(role, limit, bytes.to_vec(), cuts);
    compare(&ours.told, &theirs);
    send_on(role, &ours.told);
    if let Some(frame) = lax
        && !ours.told.last().is_some_and(Told::is_last)
    {
        ours.hear(start(), frame);
        assert!(
            matches!(ours.told.last(), Some(Told::Error(_))),
            "tungstenite takes it, we don't"
        );
    }
}

/// What tungstenite made of it.
#[derive(Debug)]
struct Theirs {
    told: Vec<Told>,
    error: Option<Error>,
}

impl Theirs {
    fn hear(role: Role, limit: usize, bytes: Vec<u8>, cuts: Cuts) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(limit))
            // Its limit counts for control frames too.
            .max_frame_size(Some(limit.max(125)));
        let role = match role {
            Role::Server => TheirRole::Server,
            Role::Client => TheirRole::Client,
        };
        let mut socket =
            WebSocket::from_raw_socket(Stream { bytes, at: 0, cuts }, role, Some(config));
        let mut told = Vec::new();
        loop {
            told.push(match socket.read() {
                Ok(tungstenite::Message::Text(text)) => Told::Text(text.to_string()),
                Ok(tungstenite::Message::Binary(payload)) => Told::Binary(payload.to_vec()),
                Ok(tungstenite::Message::Ping(payload)) => Told::Ping(payload.to_vec()),
                Ok(tungstenite::Message::Pong(payload)) => Told::Pong(payload.to_vec()),
                Ok(tungstenite::Message::Close(close)) => {
                    told.push(Told::Close(close.map(|close| {
                        openline_proto::CloseReason {
                            code: CloseCode(close.code.into()),
                            reason: close.reason.as_str().into(),
                        }
                    })));
                    return Self { told, error: None };
                }
                Ok(tungstenite::Message::Frame(frame)) => panic!("{frame} is not to be told"),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Self { told, error: None };
                }
                Err(error) => {
                    return Self {
                        told,
                        error: Some(error),
                    };
                }
            });
        }
    }
}

fn compare(ours: &[Told], theirs: &Theirs) {
    let (error, messages) = match ours.split_last() {
        Some((Told::Error(error), messages)) => (Some(error), messages),
        _ => (None, ours),
    };
    match (error, &theirs.error) {
        (Some(ProtocolError::InvalidCloseCode(_)), None) => {
            let told = theirs
                .told
                .strip_prefix(messages)
                .expect("the same up to there");
            let [Told::Close(Some(reason))] = told else {
                panic!("a Close frame, and not {told:?}")
            };
            assert_eq!(reason.code, CloseCode::PROTOCOL);
        }
        (None, None) => {
            let mut expected = messages.to_vec();
            if let Some(Told::Close(Some(reason))) = expected.last_mut()
                && reason.code == CloseCode(1014)
            {
                *reason = CloseReason {
                    code: CloseCode::PROTOCOL,
                    reason: "Protocol violation".into(),
                };
            }
            assert_eq!(expected, theirs.told);
        }
        (Some(_), Some(_)) => assert_eq!(messages, theirs.told),
        (ours, _) => panic!("{ours:?} and {:?}", theirs.error),
    }
}

/// Messages that came are sent by an end of the other role; tungstenite reads the same.
fn send_on(role: Role, told: &[Told]) {
    let from = match role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    };
    let mut sender = End::new(from, Config::default().max_outbox(1 << 30), None, start());
    let mut sent = Vec::new();
    for told in told {
        let accepted =
            match told {
                Told::Text(text) => sender.connection.send_text(text),
                Told::Binary(payload) => sender.connection.send(Message::from(&payload[..])),
                Told::Ping(payload) => sender.connection.ping(payload),
                Told::Close(Some(reason)) if reason.code != CloseCode(1014) => sender
                    .connection
                    .close(start(), reason.code, &reason.reason),
                _ => continue,
            };
        assert_eq!(accepted, Ok(()));
        sent.push(told.clone());
    }
    let bytes = sender.write_all().to_vec();
    let theirs = Theirs::hear(role, 1 << 20, bytes, Cuts::NONE);
    assert!(theirs.error.is_none(), "{theirs:?}");
    assert_eq!(theirs.told, sent, "what ours sends, tungstenite reads");
}

/// Bytes to read in pieces; what is written is lost.
struct Stream {
    bytes: Vec<u8>,
    at: usize,
    cuts: Cuts,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = &self.bytes[self.at..];
        if left.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.cuts.next(left.len().min(buffer.len()));
        buffer[..count].copy_from_slice(&left[..count]);
        self.at += count;
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Those of `frames`, and each close code beside a border.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = super::frames::seeds()
        .into_iter()
        .filter(|seed| seed[0] & 0x42 == 0)
        .map(|mut seed| {
            seed[0] = (seed[0] & 1) | (seed[0] >> 2 & 6);
            seed
        })
        .collect();
    for code in [
        0u16, 999, 1000, 1003, 1004, 1005, 1006, 1007, 1014, 1015, 1016, 2999, 3000, 4999, 5000,
        0xffff,
    ] {
        let close = [&[0, 0, 0, 0x88, 4][..], &code.to_be_bytes(), b"by"].concat();
        seeds.push(close);
    }
    seeds
}
