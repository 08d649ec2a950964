//! Text: checked once, as it comes, and by whoever makes it.

use openline_proto::{CloseReason, Config, Deflate, Message, ProtocolError, Role, Utf8Bytes};

use crate::memory;
use crate::pair::{Pair, payload};
use crate::victim::{ROLES, Victim, to};

const SIZE: usize = 16 << 20;

/// 16 MiB in a million reads: checked from the start at each, they would be eight million million bytes.
#[test]
fn attack_20_text_in_many_pieces_is_checked_once() {
    let text = "κόσμε €uro ".repeat(SIZE / 18 + 1);
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default().max_message(2 * SIZE));
        let mut bytes = to(role, 0x81, text.as_bytes());
        let used = memory(|| {
            let heard = victim.hear_in_pieces(&mut bytes, 17);
            assert_eq!((heard.messages, heard.bytes), (1, text.len()));
        });
        used.is_within(3 * text.len(), 0, role);
    }
}

/// The same as fragments, and the same compressed.
#[test]
fn attack_20_text_in_many_fragments_is_checked_once() {
    let text = "κόσμε €uro ".repeat(SIZE / 4 / 18 + 1);
    let config = Config::default()
        .max_message(SIZE)
        .max_fragments(u32::MAX)
        .deflate(Some(Deflate::default()));
    let mut pair = Pair::new(config.clone(), config.clone());
    pair.server.connection.send_text(&text).unwrap();
    let output = pair.server.take_output();
    for (first, content, size) in [(0x01, text.as_bytes(), 17), (0x41, payload(&output), 1)] {
        for role in ROLES {
            let mut victim = Victim::new(role, &config);
            let pieces = content.chunks(size).enumerate();
            let mut bytes: Vec<u8> = pieces
                .flat_map(|(at, piece)| to(role, if at == 0 { first } else { 0x00 }, piece))
                .collect();
            bytes.extend(to(role, 0x80, b""));
            let heard = victim.hear(&mut bytes);
            assert_eq!((heard.messages, heard.bytes), (1, text.len()), "{first:#x}");
        }
    }
}

/// Text that is none is found at its first wrong byte, not at the end of 16 MiB.
#[test]
fn attack_20_bad_text_fails_at_once() {
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default().max_message(SIZE));
        let mut bytes = crate::victim::claim(role, 0x81, SIZE as u64);
        bytes.extend(b"\xce\xba\xe1\xbd\xb9\xf4\x90");
        let heard = victim.hear_in_pieces(&mut bytes, 1);
        assert_eq!(heard.error, Some(ProtocolError::InvalidUtf8));
    }
}

#[test]
fn attack_21_no_public_way_makes_text_of_what_is_none() {
    for wrong in [
        &b"\xff"[..],
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"ab\xce",
    ] {
        let bytes = bytes::Bytes::copy_from_slice(wrong);
        assert!(Utf8Bytes::try_from(bytes).is_err(), "{wrong:?}");
        for role in ROLES {
            let mut victim = Victim::new(role, &Config::default());
            let heard = victim.hear(&mut to(role, 0x81, wrong));
            assert_eq!(
                (heard.messages, heard.error),
                (0, Some(ProtocolError::InvalidUtf8))
            );
            // In the reason of a close, too.
            let mut victim = Victim::new(role, &Config::default());
            let close = [b"\x03\xe8", wrong].concat();
            let heard = victim.hear(&mut to(role, 0x88, &close));
            assert_eq!(
                (heard.closes, heard.error),
                (0, Some(ProtocolError::InvalidUtf8))
            );
        }
    }
    // What is given out as text can be looked at as such.
    let message = Message::from("größer");
    assert_eq!(message.as_text(), Some("größer"));
    let mut pair = Pair::default();
    pair.server.input(
        pair.now,
        &to(Role::Server, 0x88, b"\x03\xe8gr\xc3\xb6\xc3\x9fer"),
    );
    let received = pair.server.connection.closed().unwrap().received.clone();
    assert!(matches!(received, Some(CloseReason { reason, .. }) if reason == "größer"));
}
