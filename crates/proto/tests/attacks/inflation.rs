//! Compressed messages that are small on the wire.

use openline_proto::{Config, Deflate, ProtocolError, Role};

use crate::memory;
use crate::pair::{Pair, payload};
use crate::victim::{ROLES, Victim, to};

/// What zlib keeps: a window of 32 KiB, its tables, and a step of output.
const WINDOW: usize = 128 * 1024;

/// With the context of earlier messages, and without.
fn configs(limit: usize) -> [Config; 2] {
    let alone = Deflate::default()
        .server_no_context_takeover(true)
        .client_no_context_takeover(true);
    [Deflate::default(), alone]
        .map(|deflate| Config::default().max_message(limit).deflate(Some(deflate)))
}

/// `length` zeros, which are text as well, as a peer's compressor makes them: a thousandth of that.
fn zeros(length: usize) -> Vec<u8> {
    let deflate = |level| Config::default().deflate(Some(Deflate::default().level(level)));
    let mut pair = Pair::new(deflate(1), deflate(9));
    pair.server
        .connection
        .send_binary(&vec![0; length])
        .unwrap();
    let output = pair.server.take_output();
    assert_eq!(output[0], 0xc2, "it is compressed");
    payload(&output).to_vec()
}

/// A megabyte that would be a gigabyte, and ten kilobytes that would be ten megabytes.
#[test]
fn attack_09_a_bomb_stops_at_the_limit_while_it_is_inflated() {
    // The same blocks again go on with the message.
    let piece = [&zeros(1 << 20)[..], b"\x00\x00\xff\xff"].concat();
    for repeat in [10, 1024] {
        let bomb = piece.repeat(repeat);
        assert!(bomb.len() < 1100 * repeat);
        for limit in [1000, 1 << 20] {
            for config in configs(limit) {
                for (role, first) in ROLES
                    .into_iter()
                    .flat_map(|role| [(role, 0xc1), (role, 0xc2)])
                {
                    for size in [usize::MAX, 1000] {
                        let mut victim = Victim::new(role, &config);
                        let mut bytes = to(role, first, &bomb);
                        let mut error = None;
                        let used = memory(|| {
                            let size = size.min(bomb.len());
                            error = victim.hear_in_pieces(&mut bytes, size).error;
                        });
                        let what = (role, first, limit, size);
                        assert_eq!(
                            error,
                            Some(ProtocolError::MessageTooBig { limit }),
                            "{what:?}"
                        );
                        // The message, twice for a moment while it grows.
                        used.is_within(2 * limit + WINDOW, 1024, what);
                    }
                }
            }
        }
    }
}

/// A bomb that hides in fragments, each of which is small.
#[test]
fn attack_09_fragments_inflate_together() {
    let limit = 100_000;
    let bomb = zeros(1 << 20);
    for role in ROLES {
        for config in configs(limit) {
            let mut victim = Victim::new(role, &config);
            let pieces = bomb.chunks(10).enumerate();
            let mut bytes: Vec<u8> = pieces
                .flat_map(|(at, piece)| to(role, if at == 0 { 0x42 } else { 0x00 }, piece))
                .collect();
            let mut error = None;
            let used = memory(|| error = victim.hear(&mut bytes).error);
            assert_eq!(error, Some(ProtocolError::MessageTooBig { limit }));
            used.is_within(2 * limit + WINDOW, 1024, role);
        }
    }
}

/// Each just allowed: what one took is given back before the next.
#[test]
fn attack_09_many_in_a_row_take_no_more_than_one() {
    let limit = 100_000;
    let bomb = zeros(limit);
    for role in ROLES {
        for config in configs(limit) {
            for (first, count) in [(0xc1, 50), (0xc2, 1000)] {
                let mut victim = Victim::new(role, &config);
                let mut bytes = to(role, first, &bomb);
                let used = memory(|| {
                    for _ in 0..count {
                        let heard = victim.hear(&mut bytes);
                        assert_eq!((heard.messages, heard.bytes), (1, limit));
                    }
                });
                used.is_within(2 * limit + WINDOW, WINDOW, (role, first));
            }
        }
    }
}

/// Nor does a message that inflates to nothing stay for ever: its empty blocks are fragments, or time.
#[test]
fn attack_09_blocks_that_hold_nothing_take_no_memory() {
    let limit = 1000;
    for role in ROLES {
        for config in configs(limit) {
            let mut victim = Victim::new(role, &config);
            let mut bytes = to(
                role,
                0xc2,
                &[&b"\x00\x00\x00\xff\xff".repeat(1 << 20)[..], b"\x00"].concat(),
            );
            let used = memory(|| assert_eq!(victim.hear_in_pieces(&mut bytes, 4096).error, None));
            used.is_within(limit + WINDOW, WINDOW, role);
        }
    }
}

/// The last call must not bring more than there is room for.
#[test]
fn attack_21_the_limit_is_exact_to_the_byte() {
    for length in [64, 511, 512, 513, 4096, 65_535, 65_536, 65_537, 200_000] {
        let bomb = zeros(length);
        for role in ROLES {
            for size in [usize::MAX, 7] {
                for config in configs(length) {
                    let mut bytes = to(role, 0xc2, &bomb);
                    let heard =
                        Victim::new(role, &config).hear_in_pieces(&mut bytes, size.min(length));
                    assert_eq!((heard.messages, heard.bytes), (1, length));
                }
                for config in configs(length - 1) {
                    let mut bytes = to(role, 0xc2, &bomb);
                    let heard =
                        Victim::new(role, &config).hear_in_pieces(&mut bytes, size.min(length));
                    let error = ProtocolError::MessageTooBig { limit: length - 1 };
                    assert_eq!((heard.messages, heard.error), (0, Some(error)));
                }
            }
        }
    }
}

/// A peer's decoder broke by an update of its inflater: every combination of parameters is read back here.
#[test]
fn defect_7_what_is_compressed_is_read_back_with_all_parameters() {
    let texts: Vec<String> = (0..20)
        .map(|n| format!("message {n}, message {n}").repeat(20 * n + 5))
        .collect();
    for bits in 8..=15 {
        for alone in [false, true] {
            let deflate = Deflate::default()
                .server_max_window_bits(bits)
                .client_max_window_bits(bits)
                .server_no_context_takeover(alone)
                .client_no_context_takeover(alone);
            let config = Config::default().deflate(Some(deflate));
            let mut pair = Pair::new(config.clone(), config);
            for text in &texts {
                pair.client.connection.send_text(text).unwrap();
                pair.server.connection.send_text(text).unwrap();
                pair.settle();
            }
            let expected: Vec<_> = texts.iter().map(|text| text.as_str().into()).collect();
            assert_eq!(pair.client.messages(), expected, "{bits} bits");
            assert_eq!(pair.server.messages(), expected, "{bits} bits");
        }
    }
}

#[test]
fn defect_10_the_limit_is_of_what_comes_out_not_of_what_is_on_the_wire() {
    let bomb = zeros(1 << 20);
    let limit = 10_000;
    assert!(bomb.len() < limit);
    for role in [Role::Server, Role::Client] {
        for config in configs(limit) {
            let heard = Victim::new(role, &config).hear(&mut to(role, 0xc2, &bomb));
            assert_eq!(heard.error, Some(ProtocolError::MessageTooBig { limit }));
        }
    }
}
