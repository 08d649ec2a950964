//! Much of what is allowed once: pings, pongs, closes, one behind the other.

use openline_proto::Config;

use crate::memory;
use crate::victim::{ROLES, Victim, from, to};

/// As many as once made a peer grow by 61 MB.
const FLOOD: usize = 400_000;

/// Pongs that may wait, of 131 bytes at most, in a buffer that doubles; and where each ends.
const PONGS: usize = 32 * 1024;

#[test]
fn attack_05_a_flood_of_pings_from_a_peer_that_never_reads_stays_bounded() {
    for role in ROLES {
        for size in [0, 4, 125] {
            let mut victim = Victim::new(role, &Config::default());
            let mut ping = to(role, 0x89, &vec![b'p'; size]);
            let used = memory(|| {
                for _ in 0..FLOOD {
                    assert_eq!(victim.hear(&mut ping).pings, 1);
                }
            });
            used.is_within(PONGS, PONGS, (role, size));
            assert!(victim.connection.queued() <= 33 * (size + 6), "{role:?}");
            // It is not taken for a failure: what comes then is heard, and the last ping is answered.
            let mut last = [to(role, 0x89, b"last"), to(role, 0x82, b"hello")].concat();
            assert_eq!(victim.hear(&mut last).messages, 1);
            let mut answers = victim.output();
            let mut latest = Vec::new();
            while !answers.is_empty() {
                let (first, payload, rest) = from(role, &answers);
                assert_eq!(first, 0x8a);
                latest = payload;
                answers = rest.to_vec();
            }
            assert_eq!(latest, b"last");
        }
    }
}

#[test]
fn defect_5_pings_that_come_cut_stay_bounded_too() {
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default());
        let ping = to(role, 0x89, &[b'p'; 125]);
        // Of a peer that reads a little, so that pongs come and go.
        let used = memory(|| {
            for number in 0..FLOOD / 4 {
                let mut ping = ping.clone();
                assert_eq!(victim.hear_in_pieces(&mut ping, 100).pings, 1);
                if number % 7 == 0 {
                    let read = victim.connection.queued().min(50);
                    victim.connection.written(read);
                }
            }
        });
        // The buffer may have been lent by the thread, which keeps it.
        let lent = 64 * 1024 + PONGS;
        used.is_within(2 * lent, lent, role);
    }
}

#[test]
fn attack_05_a_flood_of_pongs_leaves_nothing_behind() {
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default());
        let mut pong = to(role, 0x8a, &[b'p'; 125]);
        memory(|| {
            for _ in 0..FLOOD {
                assert_eq!(victim.hear(&mut pong).pongs, 1);
            }
        })
        .is_within(1024, 0, role);
        assert_eq!(victim.connection.queued(), 0);
    }
}

#[test]
fn attack_05_a_flood_of_closes_is_answered_once() {
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default());
        let mut close = to(role, 0x88, &[b"\x03\xe8", &[b'r'; 123][..]].concat());
        assert_eq!(victim.hear(&mut close.clone()).closes, 1);
        memory(|| {
            for _ in 0..FLOOD {
                assert_eq!(victim.hear(&mut close).closes, 0);
            }
        })
        .is_within(1024, 0, role);
        let output = victim.output();
        assert_eq!(from(role, &output), (0x88, b"\x03\xe8".to_vec(), &b""[..]));
    }
}

#[test]
fn attack_05_what_comes_behind_an_error_is_dropped_unheard() {
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default());
        assert!(victim.hear(&mut to(role, 0x83, b"")).error.is_some());
        let mut more = to(role, 0x89, &[b'p'; 125]);
        memory(|| {
            for _ in 0..FLOOD {
                assert_eq!(victim.hear(&mut more), crate::victim::Heard::default());
            }
        })
        .is_within(0, 0, role);
    }
}

/// Whoever handles one frame by calling itself for the next runs out of stack.
#[test]
fn attack_19_any_number_of_frames_in_one_read_needs_no_stack() {
    const STACK: usize = 128 * 1024;
    for role in ROLES {
        for first in [0x89, 0x8a, 0x00, 0x82] {
            let flood = move || {
                let many = u32::MAX;
                let config = Config::default().max_fragments(many);
                let mut victim = Victim::new(role, &config);
                if first == 0x00 {
                    victim.hear(&mut to(role, 0x02, b""));
                }
                let mut bytes = to(role, first, b"").repeat(FLOOD);
                victim.hear(&mut bytes)
            };
            let thread = std::thread::Builder::new().stack_size(STACK);
            let heard = thread.spawn(flood).unwrap().join().unwrap();
            let count = heard.pings + heard.pongs + heard.messages;
            let expected = if first == 0x00 { 0 } else { FLOOD };
            assert_eq!(
                (count, heard.error),
                (expected, None),
                "{role:?} {first:#x}"
            );
        }
    }
}
