//! Peers that take their time: each wait has an end, whichever end waits. The clock is the test's own.

use std::time::Duration;

use openline_proto::{Config, Timeout};

use crate::victim::{ROLES, Victim, claim, to};

const SECOND: Duration = Duration::from_secs(1);

/// The first deadline that passes as time does, with what comes each second.
fn first_timeout(victim: &mut Victim, mut each_second: impl FnMut(&mut Victim)) -> (Timeout, u64) {
    for second in 1..1000 {
        victim.now += SECOND;
        if let Err(timeout) = victim.connection.handle_timeout(victim.now) {
            return (timeout, second);
        }
        each_second(victim);
    }
    panic!("it would go on for ever");
}

/// Fragment by fragment, and byte by byte of one frame, with pings between: each is a sign of life, and the message has its end.
#[test]
fn attack_30_a_message_that_trickles_in_is_cut_off() {
    for role in ROLES {
        let mut fragments = Victim::new(role, &Config::default());
        fragments.hear(&mut to(role, 0x01, b"slow"));
        let came = first_timeout(&mut fragments, |victim| {
            let mut bytes = [to(role, 0x00, b"."), to(role, 0x89, b"")].concat();
            assert_eq!(victim.hear(&mut bytes).error, None);
            victim.output();
        });
        assert_eq!(came, (Timeout::Message, 60));

        let mut frame = Victim::new(role, &Config::default());
        frame.hear(&mut claim(role, 0x82, 100_000));
        let came = first_timeout(&mut frame, |victim| {
            assert_eq!(victim.hear(&mut [b'x']).error, None);
        });
        assert_eq!(came, (Timeout::Message, 60));
    }
}

#[test]
fn attack_30_a_close_that_is_not_answered_has_an_end() {
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default());
        let (now, code) = (victim.now, openline_proto::CloseCode::NORMAL);
        victim.connection.close(now, code, "").unwrap();
        victim.output();
        // Whatever else it says.
        let came = first_timeout(&mut victim, |victim| {
            victim.hear(&mut [to(role, 0x89, b""), to(role, 0x82, b"more")].concat());
        });
        assert_eq!(came, (Timeout::Close, 5));
        assert!(victim.connection.is_done());
        assert_eq!(victim.connection.poll_timeout(), None);
    }
}

#[test]
fn attack_30_a_peer_that_reads_nothing_has_an_end() {
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default());
        victim.connection.send_text("unread").unwrap();
        victim.connection.handle_blocked(victim.now);
        let came = first_timeout(&mut victim, |victim| {
            victim.connection.handle_blocked(victim.now);
            victim.hear(&mut to(role, 0x82, b"it talks all the same"));
        });
        assert_eq!(came, (Timeout::Write, 60));
        assert!(victim.connection.is_done());
    }
}

#[test]
fn attack_30_a_silent_peer_has_an_end() {
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default());
        let came = first_timeout(&mut victim, |victim| drop(victim.output()));
        assert_eq!(came, (Timeout::Pong, 50));
    }
}

/// One that answers pings and says nothing else, where that is not wanted.
#[test]
fn attack_30_an_idle_peer_has_an_end_where_it_is_asked_for() {
    let config = Config::default().idle_timeout(Some(90 * SECOND));
    for role in ROLES {
        let mut victim = Victim::new(role, &config);
        let came = first_timeout(&mut victim, |victim| {
            victim.output();
            victim.hear(&mut to(role, 0x8a, b""));
        });
        assert_eq!(came, (Timeout::Idle, 90));
    }
}
