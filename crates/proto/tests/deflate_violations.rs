//! What a peer must not do with compression, for both roles: wrong bits, and data that is no DEFLATE. Messages that explode
//! are in `attacks/inflation.rs`.

mod pair;

use openline_proto::{Config, Deflate, Message, ProtocolError};
use pair::{Pair, Told, frame};
use proptest::collection::vec;
use proptest::prelude::*;

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);
const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";

fn deflate() -> Config {
    Config::default().deflate(Some(Deflate::default()))
}

/// No end may refer to earlier messages.
fn alone() -> Config {
    let deflate = Deflate::default()
        .server_no_context_takeover(true)
        .client_no_context_takeover(true);
    Config::default().deflate(Some(deflate))
}

/// Shows `frames` to one end of a fresh pair, so many bytes at a time; what it was told.
fn hear(server: bool, config: &Config, frames: &[(u8, &[u8])], chunk: usize) -> Pair {
    let mut pair = Pair::new(config.clone(), config.clone());
    let (now, key) = (pair.now, if server { KEY } else { None });
    let end = if server {
        &mut pair.server
    } else {
        &mut pair.client
    };
    for (first, payload) in frames {
        for piece in frame(*first, payload, key).chunks(chunk) {
            end.input(now, piece);
        }
    }
    pair
}

/// The frames must fail for both roles, whole and byte by byte, after "Hello" was heard.
fn fails(config: &Config, frames: &[(u8, &[u8])], error: ProtocolError) {
    for (server, chunk) in [
        (true, usize::MAX),
        (true, 1),
        (false, usize::MAX),
        (false, 1),
    ] {
        let frames = [&[(0x81, &b"Hello"[..])], frames].concat();
        let mut pair = hear(server, config, &frames, chunk);
        let end = if server {
            &mut pair.server
        } else {
            &mut pair.client
        };
        let told = [Told::Message("Hello".into()), Told::Error(error)];
        assert_eq!(end.told, told, "server: {server}, {chunk} bytes at a time");
        let output = end.take_output();
        let (start, key) = if server {
            (2, [0; 2])
        } else {
            (6, [output[2], output[3]])
        };
        let code = u16::from_be_bytes([output[start] ^ key[0], output[start + 1] ^ key[1]]);
        assert_eq!((output[0], code), (0x88, error.close_code().0));
    }
}

#[test]
fn rsv1_without_negotiation() {
    for opcode in [0xc1, 0xc2, 0x41] {
        fails(
            &Config::default(),
            &[(opcode, HELLO)],
            ProtocolError::ReservedBits,
        );
    }
}

#[test]
fn rsv1_on_a_control_frame() {
    for opcode in [0xc8, 0xc9, 0xca] {
        fails(&deflate(), &[(opcode, b"")], ProtocolError::ReservedBits);
    }
}

#[test]
fn rsv1_on_a_continuation() {
    for first in [0x02, 0x42] {
        for second in [0x40, 0xc0] {
            let frames: [(u8, &[u8]); 2] = [(first, &HELLO[..3]), (second, &HELLO[3..])];
            fails(&deflate(), &frames, ProtocolError::ReservedBits);
        }
    }
}

#[test]
fn the_other_reserved_bits() {
    for bit in [0x20, 0x10] {
        fails(
            &deflate(),
            &[(0xc1 | bit, HELLO)],
            ProtocolError::ReservedBits,
        );
    }
    fails(&deflate(), &[(0xc3, b"")], ProtocolError::ReservedBits);
}

#[test]
fn data_that_is_no_deflate() {
    let invalid = ProtocolError::InvalidDeflate;
    // A block type that does not exist, a stored block whose lengths differ, a distance past what was sent, no byte at all.
    for payload in [
        &b"\x07"[..],
        b"\x00\x05\x00\x05\x00Hello\x00",
        b"\xf2\x00\x11\x00\x00",
        b"",
    ] {
        fails(&deflate(), &[(0xc1, payload)], invalid);
        fails(&alone(), &[(0xc1, payload)], invalid);
    }
    // Where messages stand alone, the second can't refer to the first, and one that was cut off is noticed.
    let twice: [(u8, &[u8]); 2] = [(0xc1, HELLO), (0xc1, b"\xf2\x00\x11\x00\x00")];
    for server in [true, false] {
        let pair = hear(server, &alone(), &twice, usize::MAX);
        let end = if server { &pair.server } else { &pair.client };
        assert_eq!(
            end.told,
            [Told::Message("Hello".into()), Told::Error(invalid)]
        );
    }
    fails(&alone(), &[(0xc2, &HELLO[..4])], invalid);
}

#[test]
fn inflated_text_that_is_not_utf8() {
    let mut pair = Pair::new(deflate(), deflate());
    let bytes: Vec<u8> = [&b"abc ".repeat(50)[..], b"\xff", &b"abc ".repeat(50)].concat();
    pair.server.connection.send_binary(&bytes).unwrap();
    let mut frame = pair.server.take_output();
    assert_eq!(frame[0], 0xc2);
    frame[0] = 0xc1; // text, so it claims
    pair.client.input(pair.now, &frame);
    assert_eq!(pair.client.told, [Told::Error(ProtocolError::InvalidUtf8)]);
    // An unfinished character at the end: a stored block of one byte.
    fails(
        &deflate(),
        &[(0xc1, b"\x00\x01\x00\xfe\xff\xce\x00")],
        ProtocolError::InvalidUtf8,
    );
}

#[test]
fn a_compressed_message_may_be_longer_on_the_wire_than_inflated() {
    // Empty blocks between the letters: 5 bytes each, and nothing comes out of them.
    let empty = b"\x00\x00\x00\xff\xff".repeat(100);
    let payload = [&empty[..], HELLO].concat();
    let config = deflate().max_message(5);
    for chunk in [usize::MAX, 1] {
        let pair = hear(true, &config, &[(0xc1, &payload)], chunk);
        assert_eq!(pair.server.messages(), [Message::from("Hello")]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_never_panics_and_any_cut_gives_the_same(
        payloads in vec((any::<bool>(), vec(any::<u8>(), 0..60)), 1..5),
        (server, standing_alone) in (any::<bool>(), any::<bool>()),
        chunk in 1usize..20,
    ) {
        let config = if standing_alone { alone() } else { deflate() }.max_message(1000);
        let frames: Vec<(u8, &[u8])> = payloads.iter().map(|(text, p)| (if *text { 0xc1 } else { 0xc2 }, &p[..])).collect();
        let told = |chunk| {
            let pair = hear(server, &config, &frames, chunk);
            if server { pair.server.told } else { pair.client.told }
        };
        prop_assert_eq!(told(usize::MAX), told(chunk));
    }

    #[test]
    fn damaged_messages_never_panic_nor_go_past_the_limit(
        content in vec(0u8..4, 64..2000), at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>(),
    ) {
        let mut pair = Pair::new(deflate(), deflate());
        pair.server.connection.send_binary(&content).unwrap();
        let mut bytes = pair.server.take_output();
        let header = if bytes[1] == 126 { 4 } else { 2 };
        let mut payload = bytes.split_off(header);
        let at = at.index(payload.len());
        payload[at] ^= 1 << bit;
        payload.truncate(cut.index(payload.len()) + 1);
        for config in [deflate(), alone()] {
            let pair = hear(true, &config.max_message(3000), &[(0xc2, &payload), (0xc2, &payload)], 50);
            for told in pair.server.told {
                match told {
                    Told::Message(message) => prop_assert!(message.as_bytes().len() <= 3000),
                    Told::Error(ProtocolError::InvalidDeflate | ProtocolError::MessageTooBig { .. }) => {}
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
