//! What a peer must not do, byte by byte, for both roles: the error, the Close frame that answers it, and that nothing
//! after it is heard.

mod pair;

use openline_proto::{CloseCode, Config, Message, ProtocolError};
use pair::{Pair, Told, frame};

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);

/// Shows `bytes` to one end of a fresh pair; the same bytes must fail alike whole and one by one.
fn fails(server: bool, config: Config, bytes: &[u8], error: ProtocolError, heard: &[&str]) {
    for chunk in [bytes.len(), 1] {
        let mut pair = Pair::new(config.clone(), config.clone());
        let now = pair.now;
        let end = if server {
            &mut pair.server
        } else {
            &mut pair.client
        };
        for piece in bytes.chunks(chunk) {
            end.input(now, piece);
        }
        // What follows the violation is discarded.
        end.input(now, &frame(0x81, b"late", if server { KEY } else { None }));

        let mut told: Vec<Told> = heard
            .iter()
            .map(|text| Told::Message(Message::from(*text)))
            .collect();
        told.push(Told::Error(error));
        assert_eq!(end.told, told, "{error:?}, {chunk} bytes at a time");

        let output = end.take_output();
        let payload = if server {
            output[2..].to_vec()
        } else {
            unmask(&output)
        };
        assert_eq!(output[0], 0x88, "a Close frame answers {error:?}");
        assert_eq!(payload[..2], error.close_code().0.to_be_bytes());
        assert!(std::str::from_utf8(&payload[2..]).is_ok() && payload.len() <= 125);
        assert!(
            end.connection.wants_shutdown(),
            "whoever finds the violation ends the connection"
        );
    }
}

fn unmask(output: &[u8]) -> Vec<u8> {
    let key = &output[2..6];
    output[6..]
        .iter()
        .enumerate()
        .map(|(i, b)| b ^ key[i % 4])
        .collect()
}

/// A violation that is one whichever end is shown it.
fn fails_for_both(config: Config, frames: &[(u8, &[u8])], error: ProtocolError, heard: &[&str]) {
    for server in [true, false] {
        let key = if server { KEY } else { None };
        let bytes: Vec<u8> = frames
            .iter()
            .flat_map(|(first, payload)| frame(*first, payload, key))
            .collect();
        fails(server, config.clone(), &bytes, error, heard);
    }
}

#[test]
fn server_refuses_unmasked_frames() {
    fails(
        true,
        Config::default(),
        b"\x81\x05Hello",
        ProtocolError::UnmaskedFrame,
        &[],
    );
    fails(
        true,
        Config::default(),
        b"\x89\x00",
        ProtocolError::UnmaskedFrame,
        &[],
    );
}

#[test]
fn client_refuses_masked_frames() {
    fails(
        false,
        Config::default(),
        &frame(0x81, b"Hello", KEY),
        ProtocolError::MaskedFrame,
        &[],
    );
}

#[test]
fn reserved_bits() {
    for bit in [0x40, 0x20, 0x10] {
        fails_for_both(
            Config::default(),
            &[(0x81, b"a"), (0x81 | bit, b"b")],
            ProtocolError::ReservedBits,
            &["a"],
        );
        fails_for_both(
            Config::default(),
            &[(0x89 | bit, b"")],
            ProtocolError::ReservedBits,
            &[],
        );
    }
}

#[test]
fn reserved_opcodes() {
    for opcode in [0x3, 0x7, 0xb, 0xf] {
        fails_for_both(
            Config::default(),
            &[(0x80 | opcode, b"")],
            ProtocolError::ReservedOpcode(opcode),
            &[],
        );
    }
}

#[test]
fn control_frames_in_pieces_or_too_long() {
    for opcode in [0x8, 0x9, 0xa] {
        fails_for_both(
            Config::default(),
            &[(opcode, b"")],
            ProtocolError::FragmentedControl,
            &[],
        );
        fails_for_both(
            Config::default(),
            &[(0x80 | opcode, &[0; 126])],
            ProtocolError::ControlTooLong,
            &[],
        );
    }
}

#[test]
fn lengths_that_are_not_minimal() {
    for bytes in [
        &b"\x81\x7e\x00\x05Hello"[..],
        b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x05Hello",
    ] {
        fails(
            false,
            Config::default(),
            bytes,
            ProtocolError::LengthNotMinimal,
            &[],
        );
    }
    let masked = b"\x81\xfe\x00\x05\x00\x00\x00\x00Hello";
    fails(
        true,
        Config::default(),
        masked,
        ProtocolError::LengthNotMinimal,
        &[],
    );
}

#[test]
fn lengths_of_two_to_the_63_and_more() {
    let bytes = b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff";
    fails(
        false,
        Config::default(),
        bytes,
        ProtocolError::LengthTooLarge,
        &[],
    );
}

#[test]
fn fragments_out_of_order() {
    let continued = ProtocolError::UnexpectedContinuation;
    fails_for_both(Config::default(), &[(0x80, b"x")], continued, &[]);
    fails_for_both(
        Config::default(),
        &[(0x01, b"a"), (0x80, b"b"), (0x80, b"c")],
        continued,
        &["ab"],
    );
    fails_for_both(
        Config::default(),
        &[(0x01, b"AAAA"), (0x81, b"BBBB")],
        ProtocolError::UnfinishedMessage,
        &[],
    );
    fails_for_both(
        Config::default(),
        &[(0x02, b"AAAA"), (0x01, b"BBBB")],
        ProtocolError::UnfinishedMessage,
        &[],
    );
}

#[test]
fn text_that_is_not_utf8() {
    fails_for_both(
        Config::default(),
        &[(0x81, b"\xce\xba\xff")],
        ProtocolError::InvalidUtf8,
        &[],
    );
    // A character that the message's end leaves unfinished.
    fails_for_both(
        Config::default(),
        &[(0x81, b"ab\xce")],
        ProtocolError::InvalidUtf8,
        &[],
    );
    fails_for_both(
        Config::default(),
        &[(0x01, b"ab\xce"), (0x80, b"")],
        ProtocolError::InvalidUtf8,
        &[],
    );
    // A character may go across fragments; a wrong one is found in whichever fragment it becomes wrong.
    fails_for_both(
        Config::default(),
        &[(0x01, b"\xf4"), (0x00, b"\x90")],
        ProtocolError::InvalidUtf8,
        &[],
    );
}

#[test]
fn bad_utf8_fails_at_the_first_wrong_byte_in_the_middle_of_a_frame() {
    let mut pair = Pair::default();
    // 1,000 bytes are announced; the seventh can't be right.
    let header = [0x81, 0xfe, 0x03, 0xe8, 0, 0, 0, 0];
    pair.server.input(pair.now, &header);
    pair.server.input(pair.now, b"\xce\xba\xe1\xbd\xb9\xf4");
    assert_eq!(pair.server.told, []);
    pair.server.input(pair.now, b"\x90");
    assert_eq!(pair.server.told, [Told::Error(ProtocolError::InvalidUtf8)]);
}

#[test]
fn close_frames_with_bad_payloads() {
    fails_for_both(
        Config::default(),
        &[(0x88, b"\x03")],
        ProtocolError::ClosePayloadOfOneByte,
        &[],
    );
    fails_for_both(
        Config::default(),
        &[(0x88, b"\x03\xe8\xff")],
        ProtocolError::InvalidUtf8,
        &[],
    );
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        let error = ProtocolError::InvalidCloseCode(CloseCode(code));
        fails_for_both(
            Config::default(),
            &[(0x88, &code.to_be_bytes())],
            error,
            &[],
        );
    }
}

#[test]
fn messages_over_the_limit_fail_by_their_header() {
    let config = Config::default().max_message(10);
    let error = ProtocolError::MessageTooBig { limit: 10 };
    fails_for_both(
        config.clone(),
        &[(0x81, b"0123456789"), (0x81, b"0123456789a")],
        error,
        &["0123456789"],
    );
    // All fragments count together: the defect that lets a fragmented message grow without end.
    fails_for_both(
        config.clone(),
        &[(0x01, b"01234"), (0x00, b"56789"), (0x80, b"a")],
        error,
        &[],
    );
    // The header alone is enough, and it reserves nothing.
    let mut pair = Pair::new(config.clone(), config);
    pair.server.input(
        pair.now,
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
    );
    assert_eq!(pair.server.told, [Told::Error(error)]);
}

#[test]
fn fragments_are_counted_even_when_empty() {
    let config = Config::default().max_fragments(3);
    let error = ProtocolError::TooManyFragments { limit: 3 };
    let empty: [(u8, &[u8]); 4] = [(0x01, b""), (0x00, b""), (0x00, b""), (0x00, b"")];
    fails_for_both(config.clone(), &empty, error, &[]);
    let fine: [(u8, &[u8]); 4] = [(0x01, b"a"), (0x00, b""), (0x80, b"b"), (0x80, b"c")];
    fails_for_both(
        config,
        &fine,
        ProtocolError::UnexpectedContinuation,
        &["ab"],
    );
}
