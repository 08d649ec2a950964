//! Programs that do something else for a while: the peer's time runs only while somebody waits for it.

mod pair;

use std::time::Duration;

use openline_proto::{Config, Message, Timeout};
use pair::{Pair, Told, frame};

const SECOND: Duration = Duration::from_secs(1);
const KEY: Option<[u8; 4]> = Some([9, 8, 7, 6]);

/// The first fragments of a message of 60 s at most have come.
fn mid_message(config: Config) -> Pair {
    let quiet = Config::default().ping_interval(None);
    let mut pair = Pair::new(quiet, config.ping_interval(None));
    pair.server.input(pair.now, &frame(0x01, b"be", KEY));
    pair.server.input(pair.now, &frame(0x00, b"gun", KEY));
    pair
}

fn told_too_slow(pair: &Pair) -> bool {
    pair.server.told.last() == Some(&Told::Timeout(Timeout::Message))
}

#[test]
fn a_message_that_nobody_waited_for_is_not_late() {
    let mut pair = mid_message(Config::default());
    pair.now += 600 * SECOND;
    let server = &mut pair.server;
    assert_eq!(server.connection.handle_timeout(pair.now), Ok(()));
    assert!(server.connection.poll_timeout().unwrap() > pair.now);
    pair.pass(SECOND);
    pair.server.input(pair.now, &frame(0x80, b"", KEY));
    assert_eq!(pair.server.messages(), [Message::from("begun")]);
}

/// As of a big message whose bytes fit into the socket bit by bit, while each of them keeps the program busy.
#[test]
fn who_is_away_again_and_again_makes_no_message_late() {
    let mut pair = mid_message(Config::default());
    for _ in 0..100 {
        pair.now += 10 * SECOND;
        pair.server.input(pair.now, &frame(0x00, b"", KEY));
        assert_eq!(pair.server.connection.handle_timeout(pair.now), Ok(()));
    }
    pair.server.input(pair.now, &frame(0x80, b"", KEY));
    assert_eq!(pair.server.messages(), [Message::from("begun")]);
}

#[test]
fn attack_30_absence_gives_a_slow_message_no_more_than_its_own_time() {
    let mut pair = mid_message(Config::default());
    for _ in 0..59 {
        pair.pass(SECOND);
        pair.server.input(pair.now, &frame(0x00, b"", KEY));
        pair.now += 20 * SECOND;
        assert_eq!(pair.server.connection.handle_timeout(pair.now), Ok(()));
    }
    assert!(!pair.server.connection.is_closing());
    pair.pass(SECOND);
    assert!(told_too_slow(&pair));
}

/// However the deadlines are come to: all of 60 s count, and not one more.
#[test]
fn attack_30_a_message_that_is_waited_for_has_its_time_exactly() {
    let mut pair = mid_message(Config::default());
    let step = 100 * SECOND / 1000;
    for _ in 0..599 {
        pair.pass(step);
        pair.server.input(pair.now, &frame(0x89, b"", KEY));
        assert!(!pair.server.connection.is_closing());
    }
    pair.pass(step);
    assert!(told_too_slow(&pair));
    assert_eq!(
        pair.server.connection.poll_timeout(),
        Some(pair.now + 5 * SECOND)
    );
}

#[test]
fn who_sends_a_message_is_not_idle() {
    let mut pair = mid_message(Config::default().idle_timeout(Some(10 * SECOND)));
    pair.pass(30 * SECOND);
    pair.server.input(pair.now, &frame(0x80, b"", KEY));
    assert_eq!(pair.server.messages(), [Message::from("begun")]);
    pair.pass(10 * SECOND);
    assert_eq!(pair.server.told.last(), Some(&Told::Timeout(Timeout::Idle)));
}
