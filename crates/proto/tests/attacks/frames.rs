//! Frames that are wrong, and lengths that are meant to overflow.

use openline_proto::{Config, ProtocolError, Role};

use crate::pair::frame;
use crate::victim::{ROLES, Victim, claim, from, to};

#[test]
fn attack_11_a_length_of_64_bits_does_not_wrap() {
    for role in ROLES {
        for limit in [1 << 20, usize::MAX] {
            let config = Config::default().max_message(limit);
            for length in [1 << 63, u64::MAX, u64::MAX - 13, (1 << 63) + 5] {
                let mut victim = Victim::new(role, &config);
                let heard = victim.hear(&mut claim(role, 0x82, length));
                assert_eq!(
                    heard.error,
                    Some(ProtocolError::LengthTooLarge),
                    "{length:#x}"
                );
            }
            // The longest there is, behind bytes that are there already: their sum must not wrap either.
            let mut victim = Victim::new(role, &config);
            assert_eq!(victim.hear(&mut to(role, 0x02, &[b'x'; 100])).error, None);
            let heard = victim.hear(&mut claim(role, 0x80, (1 << 63) - 1));
            let too_big = Some(ProtocolError::MessageTooBig { limit });
            assert_eq!(heard.error, too_big.filter(|_| limit < usize::MAX));
            assert_eq!(victim.hear(&mut [b'x'; 100]).messages, 0);
        }
        // What a cast to 32 bits, or to a signed number, would make small.
        for length in [1 << 32, (1 << 32) + 5, 0x8000_0000, 0xffff_ffff] {
            let mut victim = Victim::new(role, &Config::default());
            let heard = victim.hear(&mut claim(role, 0x82, length));
            let error = ProtocolError::MessageTooBig { limit: 1 << 20 };
            assert_eq!(heard.error, Some(error), "{length:#x}");
        }
    }
}

/// Every beginning that a frame can have, and every end of it: an error is a value, and the connection says goodbye.
#[test]
fn attack_17_no_beginning_of_a_frame_panics() {
    for role in ROLES {
        for start in 0..=u16::MAX {
            let mut victim = Victim::new(role, &Config::default());
            let mut bytes = [0; 40];
            bytes[..2].copy_from_slice(&start.to_be_bytes());
            let heard = victim.hear(&mut bytes);
            if let Some(error) = heard.error {
                let output = victim.output();
                let mut rest = &output[..];
                let mut last = (0, Vec::new());
                while !rest.is_empty() {
                    let (first, payload, more) = from(role, rest);
                    last = (first, payload);
                    rest = more;
                }
                assert_eq!(last.0, 0x88, "{start:#x}");
                assert_eq!(last.1[..2], error.close_code().0.to_be_bytes());
                assert!(victim.connection.wants_shutdown());
            }
        }
    }
}

#[test]
fn attack_17_each_reserved_bit_is_an_error() {
    for role in ROLES {
        for opcode in [0x0, 0x1, 0x2, 0x8, 0x9, 0xa] {
            for bits in [0x10, 0x20, 0x30, 0x40, 0x70] {
                let mut victim = Victim::new(role, &Config::default());
                let heard = victim.hear(&mut to(role, 0x80 | bits | opcode, b""));
                assert_eq!(heard.error, Some(ProtocolError::ReservedBits));
            }
        }
    }
}

#[test]
fn defect_2_unmasked_frames_are_refused_server() {
    for first in [0x81, 0x82, 0x01, 0x88, 0x89, 0x8a] {
        let mut victim = Victim::new(Role::Server, &Config::default());
        let heard = victim.hear(&mut frame(first, b"", None));
        assert_eq!(heard.error, Some(ProtocolError::UnmaskedFrame));
    }
}

#[test]
fn defect_2_masked_frames_are_refused_client() {
    for first in [0x81, 0x82, 0x01, 0x88, 0x89, 0x8a] {
        let mut victim = Victim::new(Role::Client, &Config::default());
        let heard = victim.hear(&mut frame(first, b"", Some([1, 2, 3, 4])));
        assert_eq!(heard.error, Some(ProtocolError::MaskedFrame));
    }
}

#[test]
fn defect_2_long_control_frames_are_refused() {
    for role in ROLES {
        for first in [0x88, 0x89, 0x8a] {
            for size in [126, 300, 70_000] {
                let mut victim = Victim::new(role, &Config::default());
                let heard = victim.hear(&mut to(role, first, &vec![b'x'; size]));
                assert_eq!(heard.error, Some(ProtocolError::ControlTooLong));
            }
        }
    }
}

/// One frame has one form: a proxy that reads another length out of it would see other frames.
#[test]
fn defect_6_lengths_in_more_bytes_than_they_need_are_refused() {
    for role in ROLES {
        let (mask, key) = match role {
            Role::Server => (0x80, &[0; 4][..]),
            Role::Client => (0, &[][..]),
        };
        for length in [0, 5, 125_u16] {
            let bytes = [&[0x82, mask | 126][..], &length.to_be_bytes(), key].concat();
            let mut victim = Victim::new(role, &Config::default());
            let heard = victim.hear(&mut bytes.clone());
            assert_eq!(
                heard.error,
                Some(ProtocolError::LengthNotMinimal),
                "{length}"
            );
        }
        for length in [0, 125, 126, 65_535] {
            let mut victim = Victim::new(role, &Config::default());
            let heard = victim.hear(&mut claim(role, 0x82, length));
            assert_eq!(
                heard.error,
                Some(ProtocolError::LengthNotMinimal),
                "{length}"
            );
        }
    }
}
