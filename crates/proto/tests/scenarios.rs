//! Whole conversations of two ends: messages, control frames in between, the close, and the deadlines.

mod pair;

use std::time::Duration;

use openline_proto::{
    Broadcast, CloseCode, CloseReason, Config, Message, ProtocolError, SendError, Timeout,
};
use pair::{Pair, Told, frame};

const SECOND: Duration = Duration::from_secs(1);
const KEY: Option<[u8; 4]> = Some([9, 8, 7, 6]);

fn text(text: &str) -> Told {
    Told::Message(text.into())
}

fn reason(code: u16, reason: &str) -> Option<CloseReason> {
    Some(CloseReason {
        code: CloseCode(code),
        reason: reason.into(),
    })
}

#[test]
fn messages_of_every_length_form_go_both_ways() {
    for length in [0, 1, 125, 126, 127, 4095, 4096, 65_535, 65_536, 300_000] {
        let mut pair = Pair::default();
        let message = Message::from(vec![b'x'; length]);
        pair.client.connection.send(message.clone()).unwrap();
        pair.server.connection.send(message.clone()).unwrap();
        pair.server
            .connection
            .send_broadcast(&Broadcast::binary(message.as_bytes()))
            .unwrap();
        pair.client
            .connection
            .send_broadcast(&Broadcast::binary(message.as_bytes()))
            .unwrap();
        pair.settle();
        assert_eq!(
            pair.server.messages(),
            [message.clone(), message.clone()],
            "{length} bytes to the server"
        );
        assert_eq!(
            pair.client.messages(),
            [message.clone(), message],
            "{length} bytes to the client"
        );
    }
}

#[test]
fn a_client_masks_each_frame_and_a_server_none() {
    let mut pair = Pair::default();
    pair.client.connection.send_text("Hello").unwrap();
    pair.server.connection.send_text("Hello").unwrap();
    // RFC 6455 §5.7
    assert_eq!(
        pair.client.take_output(),
        b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
    );
    assert_eq!(pair.server.take_output(), b"\x81\x05Hello");
}

#[test]
fn control_frames_come_between_fragments() {
    let mut pair = Pair::default();
    for (first, payload) in [
        (0x01, &b"Hel"[..]),
        (0x89, b"p"),
        (0x00, b""),
        (0x8a, b"q"),
        (0x80, b"lo"),
    ] {
        pair.server.input(pair.now, &frame(first, payload, KEY));
    }
    assert_eq!(
        pair.server.told,
        [
            Told::Ping(b"p".to_vec()),
            Told::Pong(b"q".to_vec()),
            text("Hello")
        ]
    );
    assert_eq!(pair.server.take_output(), b"\x8a\x01p");
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let mut pair = Pair::default();
    pair.client.connection.ping(&[7; 125]).unwrap();
    pair.settle();
    assert_eq!(pair.server.told, [Told::Ping(vec![7; 125])]);
    assert_eq!(pair.client.told, [Told::Pong(vec![7; 125])]);
    assert_eq!(
        pair.client.connection.ping(&[7; 126]),
        Err(SendError::ControlTooLong {
            length: 126,
            limit: 125
        })
    );
}

#[test]
fn a_close_is_echoed_and_the_server_ends_the_stream() {
    let mut pair = Pair::default();
    let now = pair.now;
    pair.client
        .connection
        .close(now, CloseCode::NORMAL, "bye")
        .unwrap();
    assert_eq!(
        pair.client.connection.send_text("late"),
        Err(SendError::Closing)
    );
    assert_eq!(
        pair.client.connection.close(now, CloseCode::NORMAL, ""),
        Err(SendError::Closing)
    );
    pair.settle();
    assert_eq!(pair.server.told, [Told::Close(reason(1000, "bye"))]);
    assert_eq!(pair.client.told, [Told::Close(reason(1000, ""))]);
    let (client, server) = (&pair.client.connection, &pair.server.connection);
    assert!(client.is_done() && server.is_done());
    let (client, server) = (client.closed().unwrap(), server.closed().unwrap());
    assert!(client.clean && !client.by_peer && server.clean && server.by_peer);
    assert_eq!(client.sent, reason(1000, "bye"));
    assert_eq!(server.sent, reason(1000, ""));
    assert_eq!(server.code(), CloseCode::NORMAL);
}

#[test]
fn an_empty_close_is_answered_by_an_empty_one() {
    let mut pair = Pair::default();
    pair.server.input(pair.now, &frame(0x88, b"", KEY));
    assert_eq!(pair.server.take_output(), b"\x88\x00");
    assert_eq!(
        pair.server.connection.closed().unwrap().code(),
        CloseCode(1005)
    );
}

#[test]
fn both_may_close_at_once() {
    let mut pair = Pair::default();
    let now = pair.now;
    pair.client
        .connection
        .close(now, CloseCode(4000), "mine")
        .unwrap();
    pair.server
        .connection
        .close(now, CloseCode::GOING_AWAY, "yours")
        .unwrap();
    pair.settle();
    let closed = pair.client.connection.closed().unwrap();
    assert!(closed.clean && !closed.by_peer);
    assert_eq!(
        (closed.sent.clone(), closed.received.clone()),
        (reason(4000, "mine"), reason(1001, "yours"))
    );
    assert!(pair.client.connection.is_done() && pair.server.connection.is_done());
}

#[test]
fn messages_that_were_sent_before_the_peer_knew_of_the_close_still_arrive() {
    let mut pair = Pair::default();
    let now = pair.now;
    pair.server
        .connection
        .close(now, CloseCode::NORMAL, "")
        .unwrap();
    pair.client.connection.send_text("on its way").unwrap();
    pair.settle();
    assert_eq!(
        pair.server.told,
        [text("on its way"), Told::Close(reason(1000, ""))]
    );
}

#[test]
fn nothing_is_heard_after_the_peers_close() {
    let mut pair = Pair::default();
    pair.server
        .input(pair.now, &frame(0x88, &1000u16.to_be_bytes(), KEY));
    pair.server.input(pair.now, &frame(0x89, b"ping", KEY));
    pair.server.input(pair.now, b"\xff\xff\xff\xff");
    assert_eq!(pair.server.told, [Told::Close(reason(1000, ""))]);
    assert_eq!(pair.server.take_output(), b"\x88\x02\x03\xe8");
}

#[test]
fn a_peer_that_does_not_answer_the_close_is_left_after_the_deadline() {
    let mut pair = Pair::default();
    let now = pair.now;
    pair.client
        .connection
        .close(now, CloseCode::NORMAL, "")
        .unwrap();
    pair.client.take_output(); // lost on the way
    pair.pass(4 * SECOND);
    assert!(!pair.client.connection.is_done());
    pair.pass(SECOND);
    assert_eq!(pair.client.told, [Told::Timeout(Timeout::Close)]);
    assert!(pair.client.connection.is_done());
    assert!(!pair.client.connection.closed().unwrap().clean);
}

#[test]
fn a_stream_that_ends_without_a_close_is_an_unclean_end() {
    let mut pair = Pair::default();
    pair.server.connection.handle_eof(pair.now);
    let closed = pair.server.connection.closed().unwrap();
    assert!(!closed.clean && closed.by_peer);
    assert_eq!(closed.code(), CloseCode(1006));
    assert!(pair.server.connection.is_done());
    assert_eq!(
        pair.server.connection.send_text("x"),
        Err(SendError::Closing)
    );
}

#[test]
fn a_silent_peer_is_pinged_and_a_live_one_answers() {
    let mut pair = Pair::new(Config::default().ping_interval(None), Config::default());
    pair.pass(31 * SECOND);
    assert_eq!(pair.client.told, [Told::Ping(vec![])]);
    assert_eq!(pair.server.told, [Told::Pong(vec![])]);
    // Silence is counted anew from the pong on.
    pair.pass(60 * SECOND);
    assert_eq!(pair.client.told.len(), 3);
    assert!(!pair.server.connection.is_closing());
}

#[test]
fn a_dead_peer_is_left_after_the_pong_wait() {
    let mut pair = Pair::default();
    pair.client.connection.handle_eof(pair.now); // it hears nothing any more
    pair.client.take_output();
    let mut server_output = Vec::new();
    for _ in 0..60 {
        pair.now += SECOND;
        let now = pair.now;
        if pair
            .server
            .connection
            .poll_timeout()
            .is_some_and(|at| at <= now)
            && let Err(timeout) = pair.server.connection.handle_timeout(now)
        {
            pair.server.told.push(Told::Timeout(timeout));
        }
        server_output.extend(pair.server.take_output());
    }
    assert_eq!(server_output[..2], *b"\x89\x00");
    assert_eq!(server_output[2], 0x88);
    assert_eq!(server_output[4..6], 1011u16.to_be_bytes());
    assert_eq!(pair.server.told, [Told::Timeout(Timeout::Pong)]);
    assert!(pair.server.connection.is_done(), "after the close deadline");
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut pair = Pair::default();
    let bytes = frame(0x82, &[0; 100], KEY);
    // One byte each 29 seconds: no ping is due, though no message is whole.
    let config = Config::default().message_timeout(Duration::from_secs(100_000));
    pair.server.connection = openline_proto::Connection::server(config.into(), pair.now);
    for byte in bytes {
        pair.now += 29 * SECOND;
        assert!(pair.server.connection.poll_timeout().unwrap() > pair.now);
        pair.server.input(pair.now, &[byte]);
    }
    assert_eq!(pair.server.messages().len(), 1);
    assert_eq!(pair.server.take_output(), b"");
}

#[test]
fn a_message_that_trickles_in_is_cut_off() {
    let mut pair = Pair::default();
    pair.server.input(pair.now, &frame(0x01, b"slow", KEY));
    for _ in 0..59 {
        pair.pass(SECOND);
        pair.server.input(pair.now, &frame(0x00, b".", KEY));
    }
    assert!(!pair.server.connection.is_closing());
    pair.pass(2 * SECOND);
    assert_eq!(
        pair.server.told.last(),
        Some(&Told::Timeout(Timeout::Message))
    );
    assert!(
        matches!(pair.client.told.last(), Some(Told::Close(Some(r))) if r.code == CloseCode::POLICY)
    );
}

#[test]
fn an_idle_connection_is_closed_when_asked_for() {
    let config = Config::default().idle_timeout(Some(90 * SECOND));
    let mut pair = Pair::new(Config::default(), config);
    pair.pass(80 * SECOND);
    pair.client.connection.send_text("still here").unwrap();
    pair.pass(89 * SECOND);
    assert!(
        !pair.server.connection.is_closing(),
        "pings alone do not count, messages do"
    );
    pair.pass(2 * SECOND);
    assert!(pair.server.told.contains(&Told::Timeout(Timeout::Idle)));
    assert!(
        pair.client
            .told
            .contains(&Told::Close(reason(1001, &Timeout::Idle.to_string())))
    );
}

#[test]
fn a_peer_that_takes_nothing_is_left_after_the_write_timeout() {
    let mut pair = Pair::new(Config::default(), Config::default().ping_interval(None));
    let now = pair.now;
    let server = &mut pair.server.connection;
    server.send_text("unread").unwrap();
    server.handle_blocked(now);
    assert_eq!(server.handle_timeout(now + 59 * SECOND), Ok(()));
    // A single byte of progress starts the time anew.
    server.written(1);
    server.handle_blocked(now + 59 * SECOND);
    assert_eq!(server.handle_timeout(now + 100 * SECOND), Ok(()));
    assert_eq!(
        server.handle_timeout(now + 119 * SECOND),
        Err(Timeout::Write)
    );
    assert!(server.is_done());
}

#[test]
fn the_outbox_is_bounded_and_says_so() {
    let mut pair = Pair::new(Config::default(), Config::default().max_outbox(100));
    let server = &mut pair.server.connection;
    server.send_binary(&[0; 98]).unwrap();
    assert_eq!(
        server.send_text("x"),
        Err(SendError::Full {
            queued: 100,
            limit: 100
        })
    );
    assert_eq!(
        server.send_broadcast(&Broadcast::text("x")),
        Err(SendError::Full {
            queued: 100,
            limit: 100
        })
    );
    // A close goes through all the same: it must.
    server
        .close(pair.now, CloseCode::TRY_AGAIN, "slow")
        .unwrap();
    pair.settle();
    assert_eq!(pair.client.messages().len(), 1);
    assert!(
        matches!(pair.client.told.last(), Some(Told::Close(Some(r))) if r.code == CloseCode::TRY_AGAIN)
    );
}

#[test]
fn echoes_of_what_came_before_a_violation_precede_the_close() {
    let mut pair = Pair::default();
    pair.server.input(pair.now, &frame(0x81, b"fine", KEY));
    pair.server.connection.send_text("fine").unwrap();
    pair.server.input(pair.now, &frame(0x83, b"", KEY));
    assert_eq!(
        pair.server.told.last(),
        Some(&Told::Error(ProtocolError::ReservedOpcode(3)))
    );
    assert!(pair.server.take_output().starts_with(b"\x81\x04fine\x88"));
}

#[test]
fn no_pong_follows_the_close() {
    let mut pair = Pair::default();
    let mut bytes: Vec<u8> = (0..40).flat_map(|n| frame(0x89, &[n], KEY)).collect();
    bytes.extend(frame(0x88, &1000u16.to_be_bytes(), KEY));
    pair.server.input(pair.now, &bytes);
    assert!(pair.server.take_output().ends_with(b"\x88\x02\x03\xe8"));
    assert!(pair.server.connection.is_done());
}

#[test]
fn pongs_go_on_while_the_outbox_is_never_empty() {
    let mut pair = Pair::default();
    let mut output = Vec::new();
    pair.server.connection.send_binary(&[0; 1000]).unwrap();
    for number in 0..200u8 {
        pair.server.input(pair.now, &frame(0x89, &[number], KEY));
        pair.server.connection.send_binary(&[0; 1000]).unwrap();
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let filled = pair.server.connection.poll_slices(&mut slices);
        let waiting: Vec<u8> = slices[..filled]
            .iter()
            .flat_map(|s| s.iter().copied())
            .collect();
        output.extend_from_slice(&waiting[..1000]);
        pair.server.connection.written(1000);
        assert!(pair.server.connection.queued() > 0);
    }
    output.extend(pair.server.take_output());
    for number in 0..200u8 {
        let pong = [0x8a, 1, number];
        assert!(
            output.windows(3).any(|w| w == pong),
            "ping {number} was not answered"
        );
    }
}

#[test]
fn a_slow_reader_is_not_taken_for_a_dead_one() {
    // Two megabytes at ten kilobytes a second: the keepalive ping stands behind them for minutes.
    let mut pair = Pair::default();
    pair.server
        .connection
        .send(Message::from(vec![0; 2 << 20]))
        .unwrap();
    while pair.server.connection.queued() > 0 {
        pair.now += SECOND;
        let now = pair.now;
        assert_eq!(pair.server.connection.handle_timeout(now), Ok(()));
        let count = pair.server.connection.queued().min(10_000);
        pair.server.connection.written(count);
        pair.server.connection.handle_blocked(now);
    }
    // Once the ping has left, its answer is due as ever.
    let mut passed = Ok(());
    for _ in 0..120 {
        pair.now += SECOND;
        let now = pair.now;
        passed = passed.and_then(|()| pair.server.connection.handle_timeout(now));
        pair.server.take_output();
    }
    assert_eq!(passed, Err(Timeout::Pong));
}

#[test]
fn a_close_that_never_left_is_not_clean() {
    let mut pair = Pair::default();
    pair.server.connection.send_binary(&[0; 100_000]).unwrap();
    pair.server
        .input(pair.now, &frame(0x88, &1000u16.to_be_bytes(), KEY));
    pair.server.connection.handle_eof(pair.now);
    assert!(!pair.server.connection.closed().unwrap().clean);
    assert!(
        !pair.server.connection.is_done(),
        "what waits may still be sent"
    );
    pair.server.take_output();
    assert!(pair.server.connection.closed().unwrap().clean);
    assert!(pair.server.connection.is_done());
}

#[test]
fn durations_without_end_are_no_overflow() {
    let never = Duration::MAX;
    let config = Config::default()
        .message_timeout(never)
        .idle_timeout(Some(never))
        .ping_interval(Some(never))
        .pong_timeout(never)
        .write_timeout(never)
        .close_timeout(never)
        .handshake_timeout(never);
    let mut pair = Pair::new(config.clone(), config.clone());
    let _ = openline_proto::handshake::HeadReader::new(&config, pair.now);
    pair.server.input(pair.now, &frame(0x01, b"a", KEY));
    pair.server.connection.send_text("b").unwrap();
    pair.server.connection.handle_blocked(pair.now);
    assert!(pair.server.connection.poll_timeout().is_some());
    pair.server.input(pair.now, &frame(0x88, b"", KEY));
    assert!(pair.server.connection.poll_timeout().is_some());
}

#[test]
fn an_outbox_without_room_takes_one_message_at_a_time() {
    let mut pair = Pair::new(Config::default(), Config::default().max_outbox(0));
    pair.server.connection.send_text("one").unwrap();
    assert!(matches!(
        pair.server.connection.send_text("two"),
        Err(SendError::Full { .. })
    ));
    pair.settle();
    pair.server.connection.send_text("two").unwrap();
    pair.settle();
    assert_eq!(
        pair.client.messages(),
        [Message::from("one"), Message::from("two")]
    );
}

#[test]
fn nothing_is_queued_for_a_transport_that_takes_nothing_more() {
    let mut pair = Pair::new(
        Config::default(),
        Config::default().idle_timeout(Some(Duration::from_secs(3))),
    );
    let server = &mut pair.server.connection;
    server.handle_write_error(pair.now);
    let passed = server.handle_timeout(pair.now + Duration::from_secs(3));
    assert_eq!(passed, Err(Timeout::Idle));
    assert_eq!(server.queued(), 0);
    assert_eq!(server.closed().unwrap().sent, None);
}

#[test]
fn a_close_whose_frames_were_exchanged_is_clean_though_a_later_write_failed() {
    let mut pair = Pair::default();
    let server = &mut pair.server.connection;
    server.close(pair.now, CloseCode::NORMAL, "").unwrap();
    server.written(server.queued());
    server.handle_write_error(pair.now);
    pair.server.input(pair.now, b"\x88\x82\0\0\0\0\x03\xe8");
    assert!(pair.server.connection.closed().unwrap().clean);
}
