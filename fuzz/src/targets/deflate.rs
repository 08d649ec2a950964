//! permessage-deflate: messages there and back with any parameters, and garbage to be inflated.
//!
//! What is sent arrives, and another inflater, which knows nothing of ours, reads the same from the frames. Garbage inflates
//! to no more than the limit, and while it does no more is held than the limit calls for.

use std::time::Duration;

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};
use openline_proto::handshake::deflate::Agreed;
use openline_proto::{Config, Role};

use crate::choices::{Choices, Cuts};
use crate::hearing::{Pieces, Told, Way, hear};
use crate::pair::{End, deflate_settings, negotiate, send, send_in_pieces, start};
use crate::wire;

/// Tries one input: a conversation, or garbage.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    if choices.byte() & 1 == 0 {
        converse(&mut choices);
    } else {
        garbage(&mut choices);
    }
}

/// One direction of a conversation.
struct Direction {
    from: End,
    to: End,
    expected: Vec<Told>,
    other: Box<InflateState>,
    last: Vec<u8>,
    pieces: Pieces,
}

fn converse(choices: &mut Choices<'_>) {
    let (client, server) = (deflate_settings(choices), deflate_settings(choices));
    let (offered, granted) = negotiate(client, server);
    let config = |settings| Config::default().deflate(settings).max_outbox(1 << 30);
    let end = |role| match role {
        Role::Client => End::new(role, config(client), offered, start()),
        Role::Server => End::new(role, config(server), granted, start()),
    };
    let way = |from, to| Direction {
        from: end(from),
        to: end(to),
        expected: Vec::new(),
        other: InflateState::new_boxed(DataFormat::Raw),
        last: Vec::new(),
        pieces: Pieces::default(),
    };
    let mut ways = [
        way(Role::Client, Role::Server),
        way(Role::Server, Role::Client),
    ];
    let mut now = start();
    let cuts = choices.cuts();
    let mut total = 0;
    while !choices.is_empty() && total < 1 << 20 {
        let how = choices.byte();
        let way = &mut ways[usize::from(how & 1)];
        if how >> 1 & 7 == 7 {
            // Long enough for a keepalive ping: an idle compressor is given back.
            now += Duration::from_secs(31);
            assert_eq!(way.from.connection.handle_timeout(now), Ok(()));
        } else {
            let payload = match how >> 6 {
                0 | 1 => choices.payload(),
                2 => [&way.last, &choices.payload()[..]].concat(),
                _ => way.last.iter().rev().copied().collect(),
            };
            total += payload.len();
            way.send(how >> 1 & 7, how & 0x10 != 0, payload, &cuts);
        }
        way.from.write_all();
        way.check_frames();
        let bytes = std::mem::take(&mut way.from.left);
        for piece in cuts.clone().pieces(&bytes) {
            if how & 0x20 == 0 {
                way.to.hear(now, piece);
            } else {
                let told = way.pieces.told(&mut way.to.connection, now, piece);
                way.to.told.extend(told);
            }
        }
        let pongs = way.to.write_all().to_vec();
        way.from.hear(now, &pongs);
    }
    for way in ways {
        let messages: Vec<_> = way
            .to
            .told
            .into_iter()
            .filter(|told| !matches!(told, Told::Ping(_)))
            .collect();
        assert!(
            messages == way.expected,
            "what was sent arrives, in order, once"
        );
    }
}

impl Direction {
    fn send(&mut self, method: u8, text: bool, payload: Vec<u8>, cuts: &Cuts) {
        let connection = &mut self.from.connection;
        self.last.clone_from(&payload);
        self.expected.push(if method & 1 == 0 {
            let (sent, told) = send(connection, method >> 1, text, payload);
            assert_eq!(sent, Ok(()));
            told
        } else {
            send_in_pieces(connection, text, method != 3, payload, cuts.clone())
        });
        if self.last.len() > 40_000 {
            self.last.clear();
        }
    }

    /// Another inflater reads the messages from the frames.
    fn check_frames(&mut self) {
        let mut left = &self.from.left[..];
        let frames = wire::check_sent(self.from.connection.role(), &mut left, true);
        assert!(left.is_empty(), "all is whole frames");
        let data: Vec<_> = frames.iter().filter(|frame| frame.opcode() < 8).collect();
        let messages: Vec<_> = data
            .split_inclusive(|frame| frame.first & 0x80 != 0)
            .collect();
        let expected = &self.expected[self.expected.len() - messages.len()..];
        for (frames, expected) in messages.into_iter().zip(expected) {
            let mut message = Vec::new();
            for (at, frame) in frames.iter().enumerate() {
                assert_eq!(frame.opcode() == 0, at > 0, "fragments are in order (§5.4)");
                assert!(
                    at == 0 || frame.first & 0x40 == 0,
                    "RSV1 is for the first (RFC 7692 §6.1)"
                );
                message.extend_from_slice(&frame.payload);
            }
            if frames[0].first & 0x40 != 0 {
                message.extend([0, 0, 0xff, 0xff]);
                message = inflate_all(&mut self.other, &message);
            }
            let sent = match expected {
                Told::Text(text) => text.as_bytes(),
                Told::Binary(payload) => payload,
                other => panic!("{other:?} was not sent"),
            };
            assert!(message == sent, "another inflater reads something else");
        }
    }
}

fn inflate_all(state: &mut InflateState, mut input: &[u8]) -> Vec<u8> {
    let (mut out, mut room) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let step = inflate(state, input, &mut room, MZFlush::Sync);
        input = &input[step.bytes_consumed..];
        out.extend(&room[..step.bytes_written]);
        match step.status {
            Ok(MZStatus::Ok) if !input.is_empty() || step.bytes_written == room.len() => {}
            Ok(MZStatus::Ok) | Err(miniz_oxide::MZError::Buf) if input.is_empty() => return out,
            other => panic!("what was sent does not inflate: {other:?}"),
        }
    }
}

fn garbage(choices: &mut Choices<'_>) {
    let flags = choices.byte();
    let windows = choices.byte();
    let limit = [100, 0, 1, 4096, 66_000, 1 << 20][usize::from(flags & 7) % 6];
    let alone = flags & 8 != 0;
    let agreed = Agreed {
        server_no_context_takeover: alone,
        client_no_context_takeover: alone,
        server_max_window_bits: 15 - (windows & 7),
        client_max_window_bits: 15 - (windows >> 4 & 7),
    };
    let role = if flags & 0x10 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    // A frame begins a message if the last one ended it; so the inflater gets as much as it can.
    let mut bytes = Vec::new();
    let mut begins = true;
    let cuts = choices.cuts();
    while !choices.is_empty() && bytes.len() < 1 << 18 {
        let how = choices.byte();
        let fin = if how & 1 == 0 { 0x80 } else { 0 };
        let payload = match how >> 6 {
            3 => wire::compressed(&choices.payload()),
            2 => choices.payload(),
            _ => choices.bytes((how >> 1).into()).to_vec(),
        };
        bytes.extend(wire::frame(
            role,
            fin | if begins { 0x42 } else { 0 },
            &payload,
        ));
        begins = fin != 0;
    }
    let mut told = Vec::new();
    let mut longest = 0;
    let held = allocation_counter::measure(|| {
        let mut end = End::new(
            role,
            Config::default().max_message(limit),
            Some(agreed),
            start(),
        );
        for piece in cuts.clone().pieces(&bytes) {
            hear(&mut end.connection, start(), piece, Way::Whole, |heard| {
                let heard = heard.map_or_else(Told::Error, Told::of);
                longest = longest.max(heard.message_len().unwrap_or(0));
                allocation_counter::opt_out(|| told.push(heard));
            });
        }
    });
    assert!(
        longest <= limit,
        "{longest} bytes are past the limit of {limit}"
    );
    let most = bytes.len() + 4 * limit + (192 << 10);
    let kept: usize = told.iter().filter_map(Told::message_len).sum();
    assert!(
        held.bytes_max <= (most + kept) as u64,
        "{} bytes are held with a limit of {limit}",
        held.bytes_max
    );

    let mut whole = End::new(
        role,
        Config::default().max_message(limit),
        Some(agreed),
        start(),
    );
    whole.hear(start(), &bytes);
    assert_eq!(whole.told, told, "cuts don't matter to what is told");
}

/// Conversations with each kind of parameter, and streams that are almost right.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for flags in [0u8, 1, 3, 5, 9, 0x11, 0x17, 0x29, 0x49, 0x81] {
        for windows in [0, 0x77, 0x61] {
            let settings = if flags & 1 == 0 {
                vec![0, 0]
            } else {
                vec![flags, windows, flags, windows]
            };
            let talk = b"\x00\xc3abcd\xf0\x10\x20Hello, hello, hello, hello, hel\x01\xc2abc\xd5\x15\x05\xc3\xa4\xc3\xa4x\x88\x01?\x4c\xc7abcdefgh\xd8\xc2\x05tail!\x0f\x0e\xc6\x0c\x03abc";
            let in_pieces = b"\x03\xc2abc\xd5\x32\xc2ab\xe2\x20\xd8\x27\x05pause\x0f\x0f\x22\x20Hello, hello, hello, hello, hel!";
            seeds.push([&[0][..], &settings, &[1, 50], talk, in_pieces].concat());
        }
    }
    for limit in 0..6 {
        for flags in [0, 8, 0x10] {
            // "Hello" as of RFC 7692 §7.2.3, a bomb, both once more in pieces, and a stored block.
            let talk = b"\x0e\xf2\x48\xcd\xc9\xc9\x07\x00\xc0\xc0\0\xd0\x05\xf2\x48\x08\xcd\xc9\xc9\x07\xc1\xc0x\xd8\x80\x01\0\x16\x00\x05\x00\xfa\xff12345\x00";
            seeds.push([&[1, flags | limit, 0x70, 1, 3], &talk[..]].concat());
        }
    }
    seeds
}
