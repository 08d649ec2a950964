//! `0` is nothing, never everything: a limit that a wrapper leaves at zero must not be none.

use std::time::Duration;

use openline_proto::handshake::{HeadError, HeadReader};
use openline_proto::{Config, Deflate, ProtocolError, SendError, Timeout};

use crate::pair::start;
use crate::victim::{ROLES, Victim, to};

#[test]
fn attack_14_no_limit_of_zero_is_unlimited() {
    for role in ROLES {
        for deflate in [None, Some(Deflate::default())] {
            let config = Config::default().max_message(0).deflate(deflate);
            let mut victim = Victim::new(role, &config);
            let mut bytes = [to(role, 0x82, b""), to(role, 0x82, b"x")].concat();
            let heard = victim.hear(&mut bytes);
            let error = ProtocolError::MessageTooBig { limit: 0 };
            assert_eq!((heard.messages, heard.error), (1, Some(error)));
        }
        let config = Config::default()
            .max_message(0)
            .deflate(Some(Deflate::default()));
        let mut victim = Victim::new(role, &config);
        let heard = victim.hear(&mut to(role, 0xc2, b"\xf2\x48\xcd\xc9\xc9\x07\x00"));
        assert_eq!(heard.error, Some(ProtocolError::MessageTooBig { limit: 0 }));

        let mut victim = Victim::new(role, &Config::default().max_fragments(0));
        let mut bytes = [
            to(role, 0x82, b"whole"),
            to(role, 0x02, b""),
            to(role, 0x00, b""),
        ]
        .concat();
        let heard = victim.hear(&mut bytes);
        let error = ProtocolError::TooManyFragments { limit: 0 };
        assert_eq!((heard.messages, heard.error), (1, Some(error)));

        let mut victim = Victim::new(role, &Config::default().max_outbox(0));
        victim.connection.send_text("one").unwrap();
        let full = victim.connection.send_text("two");
        assert!(matches!(full, Err(SendError::Full { limit: 0, .. })));
    }
    let mut reader = HeadReader::new(&Config::default().max_head(0), start());
    assert_eq!(
        reader.handle_input(b"G"),
        Err(HeadError::TooLong { limit: 0 })
    );
}

#[test]
fn attack_14_no_deadline_of_zero_is_for_ever() {
    let zero = Duration::ZERO;
    let config = Config::default()
        .handshake_timeout(zero)
        .ping_interval(Some(zero))
        .pong_timeout(zero)
        .message_timeout(zero)
        .write_timeout(zero)
        .close_timeout(zero);
    let reader = HeadReader::new(&config, start());
    assert!(reader.poll_timeout() <= start());
    for role in ROLES {
        let passed = |config: &Config, act: &dyn Fn(&mut Victim)| {
            let mut victim = Victim::new(role, config);
            act(&mut victim);
            let now = victim.now;
            assert_eq!(victim.connection.poll_timeout(), Some(now));
            victim.connection.handle_timeout(now)
        };
        let begin =
            |victim: &mut Victim| assert_eq!(victim.hear(&mut to(role, 0x02, b"x")).error, None);
        assert_eq!(passed(&config, &begin), Err(Timeout::Message));
        let block = |victim: &mut Victim| {
            victim.connection.send_text("x").unwrap();
            victim.connection.handle_blocked(victim.now);
        };
        assert_eq!(passed(&config, &block), Err(Timeout::Write));
        let close = |victim: &mut Victim| {
            let (now, code) = (victim.now, openline_proto::CloseCode::NORMAL);
            victim.connection.close(now, code, "").unwrap();
        };
        assert_eq!(passed(&config, &close), Err(Timeout::Close));
        let idle = config.clone().idle_timeout(Some(zero));
        assert_eq!(passed(&idle, &|_| ()), Err(Timeout::Idle));
        // A ping each millisecond, and no storm; its answer is due at once.
        let mut victim = Victim::new(role, &config);
        let due = victim.connection.poll_timeout().unwrap();
        assert_eq!(due, victim.now + Duration::from_millis(1));
        assert_eq!(victim.connection.handle_timeout(due), Ok(()));
        assert_eq!(victim.connection.handle_timeout(due), Err(Timeout::Pong));
    }
}

/// What is set nowhere is limited all the same.
#[test]
fn attack_13_the_defaults_are_limits_in_both_roles() {
    let (limits, timeouts) = (*Config::default().limits(), *Config::default().timeouts());
    assert_eq!(
        (limits.max_message, limits.max_fragments),
        (1 << 20, 16_384)
    );
    assert_eq!((limits.max_outbox, limits.max_head), (1 << 20, 16 << 10));
    for wait in [
        timeouts.handshake,
        timeouts.message,
        timeouts.write,
        timeouts.close,
        timeouts.pong,
    ] {
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(60));
    }
    assert!(
        timeouts
            .ping_interval
            .is_some_and(|wait| wait <= Duration::from_secs(60))
    );
    for role in ROLES {
        let mut victim = Victim::new(role, &Config::default());
        let heard = victim.hear(&mut to(role, 0x82, &vec![0; (1 << 20) + 1]));
        assert_eq!(
            heard.error,
            Some(ProtocolError::MessageTooBig { limit: 1 << 20 })
        );
    }
}
