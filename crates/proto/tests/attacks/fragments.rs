//! Messages in pieces that cost more than what they carry.

use openline_proto::{CloseCode, Config, Deflate, ProtocolError};

use crate::memory;
use crate::victim::{ROLES, Victim, from, to};

const LIMIT: usize = 16_384;

/// The smallest fragments there are: with a byte each, without one, and between the two.
#[test]
fn attack_04_tiny_and_empty_fragments_are_counted() {
    for role in ROLES {
        for payload in [&b""[..], b"x"] {
            for config in [
                Config::default(),
                Config::default().deflate(Some(Deflate::default())),
            ] {
                let mut victim = Victim::new(role, &config);
                let mut begin = to(role, 0x02, payload);
                let mut more = to(role, 0x00, payload);
                let mut heard = 0;
                let used = memory(|| {
                    assert_eq!(victim.hear(&mut begin).error, None);
                    while victim.hear(&mut more).error.is_none() {
                        heard += 1;
                        assert!(heard < LIMIT, "{role:?}");
                    }
                });
                assert_eq!(heard, LIMIT - 1, "the first counts as well");
                // A buffer for a byte of each, which doubles.
                used.is_within(3 * LIMIT + 8192, 1024, (role, payload));
                let output = victim.output();
                let (first, said, _) = from(role, &output);
                assert_eq!(
                    (first, &said[..2]),
                    (0x88, &CloseCode::POLICY.0.to_be_bytes()[..])
                );
            }
        }
        // As many as are allowed make a message.
        let mut victim = Victim::new(role, &Config::default());
        let mut bytes = to(role, 0x02, b"x");
        bytes.extend(to(role, 0x00, b"x").repeat(LIMIT - 2));
        bytes.extend(to(role, 0x80, b"x"));
        let heard = victim.hear(&mut bytes);
        assert_eq!((heard.messages, heard.bytes), (1, LIMIT));
    }
}

#[test]
fn attack_04_fragments_of_a_compressed_message_are_counted() {
    let config = Config::default().deflate(Some(Deflate::default()));
    for role in ROLES {
        let mut victim = Victim::new(role, &config);
        let mut bytes = to(role, 0x42, b"\xf2");
        bytes.extend(to(role, 0x00, b"").repeat(LIMIT));
        let used = memory(|| {
            let error = ProtocolError::TooManyFragments {
                limit: LIMIT as u32,
            };
            assert_eq!(victim.hear(&mut bytes).error, Some(error));
        });
        used.is_within(64 * 1024, 1024, role);
    }
}

/// Pings between the fragments do not make new messages of them.
#[test]
fn attack_04_control_frames_in_between_do_not_start_the_count_anew() {
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default().max_fragments(10));
        let mut bytes = to(role, 0x02, b"x");
        for _ in 0..10 {
            bytes.extend(to(role, 0x89, b""));
            bytes.extend(to(role, 0x00, b"x"));
        }
        let error = ProtocolError::TooManyFragments { limit: 10 };
        assert_eq!(victim.hear(&mut bytes).error, Some(error));
    }
}

/// A limit of 1,024 bytes once let a message of a million through, in fragments.
#[test]
fn defect_1_fragments_count_together_against_the_limit() {
    let limit = 1024;
    for role in ROLES {
        for size in [1, 100, 1000, 1024] {
            let mut victim = Victim::new(role, &Config::default().max_message(limit));
            let mut begin = to(role, 0x02, &vec![b'x'; size]);
            let mut more = to(role, 0x00, &vec![b'x'; size]);
            let mut error = None;
            let used = memory(|| {
                error = victim.hear(&mut begin).error;
                for _ in 0..1_001_000 / size {
                    error = error.or(victim.hear(&mut more).error);
                }
            });
            assert_eq!(
                error,
                Some(ProtocolError::MessageTooBig { limit }),
                "{role:?}"
            );
            used.is_within(2 * limit + 8192, 1024, (role, size));
        }
    }
}

#[test]
fn defect_2_a_new_message_does_not_replace_half_of_another() {
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default());
        let mut bytes = to(role, 0x02, b"AAAA");
        bytes.extend(to(role, 0x02, b"BBBB"));
        bytes.extend(to(role, 0x80, b"CCCC"));
        let heard = victim.hear(&mut bytes);
        assert_eq!(
            (heard.messages, heard.error),
            (0, Some(ProtocolError::UnfinishedMessage))
        );
    }
}
