//! What holds for all inputs: how bytes are cut never matters, and no sequence of calls panics.

mod pair;

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openline_proto::{
    Broadcast, CloseCode, Config, Connection, Event, Inbound, Input, Kind, Outbound,
};
use pair::{End, Pair, frame};
use proptest::collection::vec;
use proptest::prelude::*;

/// A frame of a conversation, mostly valid, sometimes not.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        20 => prop_oneof![Just(0x81u8), Just(0x82), Just(0x01), Just(0x02), Just(0x00), Just(0x80), Just(0x89), Just(0x8a)],
        1 => Just(0x88u8),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => "[a-zäß€]{0,20}".prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..150),
        1 => (65_000usize..66_000).prop_map(|size| vec![b'x'; size]),
    ];
    (first, payload, any::<[u8; 4]>())
        .prop_map(|(first, payload, key)| frame(first, &payload, Some(key)))
}

fn server(config: &Config) -> Pair {
    Pair::new(Config::default(), config.clone())
}

/// Shows all bytes to a server in pieces of the given sizes; says what it was told and what it answered.
fn hear(bytes: &[u8], sizes: &[usize]) -> (String, Vec<u8>) {
    let mut pair = server(&Config::default().max_message(100_000));
    let (now, end) = (pair.now, &mut pair.server);
    end.input_in_pieces(now, bytes, sizes);
    (format!("{:?}", end.told), end.take_output())
}

/// What the receiving half of a server tells of the bytes, and its next deadline; `short` if it is asked for whole messages
/// first.
fn told(now: Instant, bytes: &[u8], sizes: &[usize], short: bool) -> Vec<String> {
    let config = Arc::new(Config::default().max_message(65_200));
    let (mut inbound, _) = Connection::server(config, now).split();
    let mut bytes = bytes.to_vec();
    let mut rest = &mut bytes[..];
    let mut told = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let cut = rest.len().min(*size);
        let (piece, behind) = std::mem::take(&mut rest).split_at_mut(cut);
        rest = behind;
        let mut input = Input::new(piece);
        loop {
            let whole = short.then(|| inbound.handle_whole(now, &mut input));
            let event = match whole.flatten() {
                Some(whole) => whole.map(|(kind, bytes)| Some((kind, bytes.to_vec()))),
                None => match inbound.handle_input(now, &mut input) {
                    Ok(Some(Event::Text(text))) => Ok(Some((Kind::Text, text.as_bytes().to_vec()))),
                    Ok(Some(Event::Binary(bytes))) => Ok(Some((Kind::Binary, bytes.to_vec()))),
                    Ok(None) => break,
                    Ok(Some(other)) => {
                        told.push(format!("{other:?}"));
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            told.push(format!("{event:?}"));
        }
    }
    told.push(format!("{:?}", inbound.poll_timeout()));
    told
}

proptest! {
    // The whole suite of the core is to end in a second.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_chunking_gives_the_same_events_and_the_same_answers(
        frames in vec(any_frame(), 0..8),
        sizes in vec(prop_oneof![1usize..20, 1usize..70_000], 1..20),
    ) {
        let bytes = frames.concat();
        prop_assert_eq!(hear(&bytes, &sizes), hear(&bytes, &[bytes.len().max(1)]));
    }

    #[test]
    fn the_short_way_of_whole_messages_tells_what_the_long_one_tells(
        frames in vec(any_frame(), 0..8),
        sizes in vec(prop_oneof![1usize..20, 1usize..70_000], 1..20),
    ) {
        let (bytes, now) = (frames.concat(), Pair::default().now);
        prop_assert_eq!(told(now, &bytes, &sizes, true), told(now, &bytes, &sizes, false));
    }

    #[test]
    fn what_is_sent_arrives_whatever_the_cut(
        messages in vec((any::<bool>(), "\\PC{0,40}", 0usize..3), 0..20),
        sizes in vec(1usize..500, 1..10),
    ) {
        let mut pair = Pair::default();
        let mut expected = Vec::new();
        for (text, content, repeat) in &messages {
            let content = content.repeat(1 + repeat * 30);
            let message = if *text { openline_proto::Message::from(content.as_str()) } else { content.into_bytes().into() };
            pair.client.connection.send(message.clone()).unwrap();
            expected.push(message);
        }
        let bytes = pair.client.take_output();
        pair.server.input_in_pieces(pair.now, &bytes, &sizes);
        prop_assert_eq!(pair.server.messages(), expected);
    }

    #[test]
    fn no_sequence_of_calls_panics_or_leaves_a_deadline_behind(steps in vec(any_step(), 0..60)) {
        let mut pair = server(&Config::default().max_outbox(500).max_message(1000));
        let (mut now, end) = (pair.now, &mut pair.server);
        for step in steps {
            act(end, &mut now, step);
            if end.connection.is_done() {
                prop_assert!(end.connection.is_closing());
            }
        }
        // Whatever happened: given time, a closing connection ends.
        if end.connection.is_closing() {
            end.take_output();
            for _ in 0..3 {
                if let Some(at) = end.connection.poll_timeout() {
                    let _ = end.connection.handle_timeout(at);
                }
                end.take_output();
            }
            prop_assert!(end.connection.is_done());
            prop_assert_eq!(end.connection.poll_timeout(), None);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Input(Vec<u8>),
    Eof,
    Wait(u64),
    Send(Vec<u8>),
    Share(usize),
    Ping(usize),
    Close(u16, String),
    Write(usize),
    Blocked,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any_frame().prop_map(Step::Input),
        1 => vec(any::<u8>(), 0..30).prop_map(Step::Input),
        1 => Just(Step::Eof),
        4 => (0u64..70).prop_map(Step::Wait),
        4 => vec(any::<u8>(), 0..300).prop_map(Step::Send),
        2 => (0usize..6000).prop_map(Step::Share),
        1 => (0usize..130).prop_map(Step::Ping),
        1 => (900u16..5100, "[a-z]{0,130}").prop_map(|(code, reason)| Step::Close(code, reason)),
        6 => (0usize..600).prop_map(Step::Write),
        1 => Just(Step::Blocked),
    ]
}

fn act(end: &mut End, now: &mut Instant, step: Step) {
    let connection = &mut end.connection;
    match step {
        Step::Input(bytes) => end.input(*now, &bytes),
        Step::Eof => connection.handle_eof(*now),
        Step::Wait(seconds) => {
            *now += Duration::from_secs(seconds);
            let _ = connection.handle_timeout(*now);
        }
        Step::Send(payload) => drop(connection.send_binary(&payload)),
        Step::Share(size) => drop(connection.send_broadcast(&Broadcast::binary(&vec![0; size]))),
        Step::Ping(size) => drop(connection.ping(&vec![0; size])),
        Step::Close(code, reason) => drop(connection.close(*now, CloseCode(code), &reason)),
        Step::Write(count) => {
            let mut slices = [IoSlice::new(&[]); 2];
            let filled = connection.poll_slices(&mut slices);
            let offered: usize = slices[..filled].iter().map(|s| s.len()).sum();
            connection.written(offered.min(count));
        }
        Step::Blocked if connection.queued() > 0 => connection.handle_blocked(*now),
        Step::Blocked => {}
    }
}

#[test]
fn a_connection_that_has_nothing_to_do_is_small() {
    assert!(size_of::<Inbound>() <= 72, "{}", size_of::<Inbound>());
    assert!(size_of::<Outbound>() <= 56, "{}", size_of::<Outbound>());
}

#[test]
fn a_small_message_is_lent_from_the_input_and_a_big_one_grows_in_steps() {
    let now = pair::start();
    let mut connection = Connection::server(Arc::new(Config::default()), now);
    let mut bytes = frame(0x82, b"small", Some([0; 4]));
    let range = bytes.as_ptr_range();
    let mut input = Input::new(&mut bytes);
    let Ok(Some(Event::Binary(payload))) = connection.handle_input(now, &mut input) else {
        panic!("no message")
    };
    assert!(range.contains(&payload.as_ptr()));

    // A megabyte is announced and one byte comes: what is kept is a step, not the megabyte. That it is one is seen by
    // the capacity of what arrives when the rest is in: exactly the message.
    let mut bytes = frame(0x82, &vec![1; 1 << 20], Some([0; 4]));
    for piece in bytes.chunks_mut(1000) {
        let mut input = Input::new(piece);
        if let Ok(Some(event)) = connection.handle_input(now, &mut input) {
            let payload = event.into_message().unwrap().into_bytes();
            assert_eq!(payload.len(), 1 << 20);
            assert!(payload.try_into_mut().unwrap().capacity() <= (1 << 20) + (1 << 17));
        }
    }
}
