//! Claims that cost the attacker a few bytes, and must cost no more here.

use openline_proto::{Config, Deflate, Message, ProtocolError, SendError};

use crate::memory;
use crate::victim::{ROLES, Victim, claim, from, to};

/// What a message that has begun may take before its bytes are there: a first step of its buffer, and its state.
const BEGUN: usize = 8 * 1024;

#[test]
fn attack_02_a_declared_length_reserves_nothing() {
    for role in ROLES {
        for first in [0x81, 0x82, 0x01, 0x02] {
            for length in [(1 << 62), (1 << 63) - 1, 1 << 32] {
                let mut victim = Victim::new(role, &Config::default().max_message(usize::MAX));
                let mut bytes = claim(role, first, length);
                bytes.extend(b"a few bytes");
                let what = (role, first, length);
                memory(|| assert_eq!(victim.hear(&mut bytes).error, None))
                    .is_within(BEGUN, BEGUN, what);
                // Nor do more bytes, one by one, take more than a step.
                let mut more = [b'x'; 1000];
                memory(|| assert_eq!(victim.hear_in_pieces(&mut more, 1).error, None))
                    .is_within(BEGUN, BEGUN, what);
            }
        }
        // A limit refuses it by the header alone; what stays is the Close frame that says so.
        let limit = 1 << 20;
        let mut victim = Victim::new(role, &Config::default().max_message(limit));
        let mut bytes = claim(role, 0x82, 1 << 62);
        let mut error = None;
        memory(|| error = victim.hear(&mut bytes).error).is_within(1024, 1024, role);
        assert_eq!(error, Some(ProtocolError::MessageTooBig { limit }));
    }
}

#[test]
fn attack_02_a_compressed_claim_costs_no_more_than_a_window() {
    let config = Config::default()
        .max_message(usize::MAX)
        .deflate(Some(Deflate::default()));
    for role in ROLES {
        let mut victim = Victim::new(role, &config);
        let mut bytes = claim(role, 0xc2, 1 << 62);
        bytes.extend(b"\xf2\x48\xcd\xc9\xc9");
        memory(|| assert_eq!(victim.hear(&mut bytes).error, None)).is_within(
            64 * 1024,
            64 * 1024,
            role,
        );
    }
}

/// 500 connections with 16 MiB each would be 8 GB.
#[test]
fn defect_6_500_claims_of_16_mib_cost_kilobytes() {
    for role in ROLES {
        let config = Config::default().max_message(16 << 20);
        let mut victims: Vec<Victim> = (0..500).map(|_| Victim::new(role, &config)).collect();
        let mut header = claim(role, 0x82, 16 << 20);
        memory(|| {
            for victim in &mut victims {
                assert_eq!(victim.hear(&mut header).error, None);
                assert_eq!(victim.hear(&mut [b'x']).error, None);
            }
        })
        .is_within(500 * BEGUN, 500 * BEGUN, role);
    }
}

/// The payload's bytes, however they come, are what a message takes: never twice that, but for a moment while it grows.
#[test]
fn attack_02_a_buffer_grows_with_what_came() {
    let size = 1 << 20;
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default().max_message(16 << 20));
        let mut bytes = claim(role, 0x82, 16 << 20);
        bytes.resize(bytes.len() + size, b'x');
        let used = memory(|| assert_eq!(victim.hear_in_pieces(&mut bytes, 1000).error, None));
        used.is_within(3 * size + BEGUN, 2 * size + BEGUN, role);
    }
}

#[test]
fn attack_03_what_waits_for_a_peer_that_does_not_read_is_bounded() {
    let limit = 1 << 20;
    for role in ROLES {
        for size in [10, 1000, 100_000] {
            let mut victim = Victim::new(role, &Config::default().max_outbox(limit));
            let used = memory(|| {
                for _ in 0..2 * limit / size {
                    match victim.connection.send_binary(&vec![b'x'; size]) {
                        Ok(()) => {}
                        Err(SendError::Full { queued, .. }) => assert!(queued <= limit + size + 14),
                        Err(other) => panic!("{other:?}"),
                    }
                }
            });
            // The frames lie in a buffer that doubles: twice the limit, and half of that again while it moves.
            used.is_within(3 * limit + 4 * size, 2 * limit + 2 * size, (role, size));
            assert!(victim.connection.send_text("one more").is_err());
            let queued = victim.connection.queued();
            assert_eq!(victim.output().len(), queued);
        }
    }
}

/// What has left takes no memory any more.
#[test]
fn attack_03_an_outbox_that_was_read_gives_its_memory_back() {
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default());
        let used = memory(|| {
            for _ in 0..100 {
                while victim.connection.send_binary(&[b'x'; 10_000]).is_ok() {}
                drop(victim.output());
            }
        });
        assert_eq!(used.kept, 0, "{role:?}");
        // The test itself holds what it took out.
        assert!(used.peak <= 8 << 20, "{role:?}: {used:?}");
    }
}

/// A message that is kept pins no more than its own bytes, whatever it came with.
#[test]
fn attack_03_a_small_message_that_is_kept_pins_no_large_buffer() {
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default());
        let mut bytes = to(role, 0x82, b"small");
        bytes.resize(bytes.len() + 60_000, 0);
        let mut input = openline_proto::Input::new(&mut bytes);
        let used = memory(|| {
            let event = victim.connection.handle_input(victim.now, &mut input);
            let message = event.unwrap().unwrap().into_message().unwrap();
            assert_eq!(message, Message::from(b"small".to_vec()));
            std::mem::forget(message);
        });
        assert!(used.kept <= 100, "{role:?}: {used:?}");
    }
}

/// What goes out in a Close frame is the code and the reason, and no byte of memory that happened to lie there.
#[test]
fn attack_06_a_close_frame_holds_what_was_said_and_nothing_else() {
    for role in ROLES {
        for length in 0..=123 {
            let mut victim = Victim::new(role, &Config::default());
            let reason = "r".repeat(length);
            let (now, code) = (victim.now, openline_proto::CloseCode::NORMAL);
            victim.connection.close(now, code, &reason).unwrap();
            let output = victim.output();
            let (first, payload, rest) = from(role, &output);
            assert_eq!(first, 0x88);
            assert_eq!(payload, [b"\x03\xe8", reason.as_bytes()].concat());
            assert_eq!(rest, b"");
        }
        // An answer repeats the code; one that has none is answered by none.
        for (said, answered) in [(&b"\x0f\xa0bye"[..], &b"\x0f\xa0"[..]), (b"", b"")] {
            let mut victim = Victim::new(role, &Config::default());
            assert_eq!(victim.hear(&mut to(role, 0x88, said)).closes, 1);
            let output = victim.output();
            let (first, payload, rest) = from(role, &output);
            assert_eq!((first, &payload[..], rest), (0x88, answered, &b""[..]));
        }
    }
}

/// A pong repeats its ping's bytes: of a short one that came cut, not those of a longer one before it.
#[test]
fn attack_06_a_pong_holds_its_pings_bytes_and_nothing_else() {
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default());
        for payload in [&[b's'; 125][..], b"x", b"", &[b't'; 60]] {
            let mut bytes = to(role, 0x89, payload);
            assert_eq!(victim.hear_in_pieces(&mut bytes, 1).pings, 1);
            let output = victim.output();
            assert_eq!(from(role, &output), (0x8a, payload.to_vec(), &b""[..]));
        }
    }
}
