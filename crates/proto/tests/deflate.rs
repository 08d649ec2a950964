//! permessage-deflate between two ends: RFC 7692's own examples byte by byte, every combination of parameters, frames that are
//! shared, and what a connection keeps. What a peer must not do is in `deflate_violations.rs`.

mod pair;

use std::io::IoSlice;
use std::time::Duration;

use openline_proto::{Broadcast, Config, Deflate, Message, Takeover};
use pair::{End, Pair, Told, frame};
use proptest::collection::vec;
use proptest::prelude::*;

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);
const RSV1: u8 = 0x40;

/// Everything is compressed, however short.
fn all() -> Deflate {
    Deflate::default().threshold(0)
}

fn config(deflate: Deflate) -> Config {
    Config::default().deflate(Some(deflate))
}

/// Both ends with the same settings.
fn pair(deflate: Deflate) -> Pair {
    Pair::new(config(deflate), config(deflate))
}

/// Shows both roles the same frames; they must hear the same.
fn both_hear(deflate: Deflate, frames: &[(u8, &[u8])], told: &[Told]) {
    for server in [true, false] {
        let mut pair = pair(deflate);
        let (now, key) = (pair.now, if server { KEY } else { None });
        let end = if server {
            &mut pair.server
        } else {
            &mut pair.client
        };
        for (first, payload) in frames {
            end.input(now, &frame(*first, payload, key));
        }
        assert_eq!(end.told, told, "server: {server}");
    }
}

fn text(text: &str) -> Told {
    Told::Message(text.into())
}

/// Text that compresses well, different for each number.
fn prose(number: usize, length: usize) -> String {
    let words = [
        "flight", "gate", "delayed", "Grüße", "boarding", "€", "now", "departed",
    ];
    let mut text = String::new();
    let mut state = number;
    while text.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(words[(state >> 33) % words.len()]);
        text.push(' ');
    }
    text
}

/// Bytes that don't compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

// RFC 7692 §7.2.3: a message "Hello" in all forms, each for both roles.

#[test]
fn one_compressed_block_in_one_frame_or_two() {
    let block = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    both_hear(all(), &[(0xc1, block)], &[text("Hello")]);
    let fragments: [(u8, &[u8]); 2] = [(0x41, &block[..3]), (0x80, &block[3..])];
    both_hear(all(), &fragments, &[text("Hello")]);
}

#[test]
fn the_second_hello_refers_to_the_first() {
    let frames: [(u8, &[u8]); 2] = [
        (0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
        (0xc1, b"\xf2\x00\x11\x00\x00"),
    ];
    both_hear(all(), &frames, &[text("Hello"), text("Hello")]);
}

#[test]
fn a_block_without_compression() {
    let block = b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00";
    both_hear(all(), &[(0xc1, block)], &[text("Hello")]);
}

#[test]
fn a_last_block_ends_a_stream_and_no_more() {
    let last = b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00";
    let after: [(u8, &[u8]); 2] = [(0xc1, last), (0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")];
    both_hear(all(), &after, &[text("Hello"), text("Hello")]);
    // Two streams in one message, and one whose sender added no empty block.
    let twice: Vec<u8> = [&last[..7], &last[..]].concat();
    both_hear(all(), &[(0xc1, &twice)], &[text("HelloHello")]);
    let bare: [(u8, &[u8]); 2] = [(0xc1, &last[..7]), (0xc1, last)];
    both_hear(all(), &bare, &[text("Hello"), text("Hello")]);
}

#[test]
fn two_blocks_in_one_message() {
    let blocks = b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00";
    both_hear(all(), &[(0xc1, blocks)], &[text("Hello")]);
}

#[test]
fn empty_messages_compressed_and_not() {
    let frames: [(u8, &[u8]); 4] = [(0xc1, b"\x00"), (0x81, b""), (0x41, b"\x00"), (0x80, b"")];
    both_hear(all(), &frames, &[text(""), text(""), text("")]);
    // An empty message is sent as it is: there is nothing to gain.
    let mut pair = pair(all());
    pair.server.connection.send_text("").unwrap();
    assert_eq!(pair.server.take_output(), b"\x81\x00");
}

#[test]
fn what_is_sent_is_what_the_rfc_shows() {
    let mut pair = pair(all());
    pair.server.connection.send_text("Hello").unwrap();
    assert_eq!(
        pair.server.take_output(),
        b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"
    );
    pair.client.connection.send_text("Hello").unwrap();
    let masked = frame(
        0xc1,
        b"\xf2\x48\xcd\xc9\xc9\x07\x00",
        Some([0x37, 0xfa, 0x21, 0x3d]),
    );
    assert_eq!(pair.client.take_output(), masked);
}

#[test]
fn control_frames_come_between_compressed_fragments_and_are_never_compressed() {
    let frames: [(u8, &[u8]); 5] = [
        (0x41, b"\xf2\x48"),
        (0x89, b"p"),
        (0x00, b"\xcd\xc9"),
        (0x8a, b""),
        (0x80, b"\xc9\x07\x00"),
    ];
    let told = [Told::Ping(b"p".into()), Told::Pong(vec![]), text("Hello")];
    both_hear(all(), &frames, &told);

    let mut pair = pair(all());
    let long = [b'x'; 125];
    pair.server.connection.ping(&long).unwrap();
    pair.server
        .connection
        .close(pair.now, 1000.into(), &prose(1, 100)[..100])
        .unwrap();
    let output = pair.server.take_output();
    assert_eq!(
        (output[0], output[1], &output[2..127]),
        (0x89, 125, &long[..])
    );
    assert_eq!(output[127], 0x88);
}

#[test]
fn every_combination_of_parameters_carries_messages_both_ways() {
    for bits in 8..=15 {
        for (server_alone, client_alone) in
            [(false, false), (true, false), (false, true), (true, true)]
        {
            for takeover in [Takeover::Always, Takeover::UntilIdle, Takeover::Never] {
                let wish = Deflate::default()
                    .takeover(takeover)
                    .server_max_window_bits(bits)
                    .client_max_window_bits(23 - bits)
                    .server_no_context_takeover(server_alone)
                    .client_no_context_takeover(client_alone);
                let mut pair = pair(wish);
                let mut sent = Vec::new();
                for number in 0..2 {
                    let messages = [
                        Message::from(prose(1, 700)),
                        Message::from(noise(300)),
                        Message::from(prose(number, 20)),
                    ];
                    for message in messages {
                        pair.client.connection.send(message.clone()).unwrap();
                        pair.server.connection.send(message.clone()).unwrap();
                        sent.push(message);
                    }
                }
                pair.settle();
                assert_eq!(pair.server.messages(), sent, "to the server: {wish:?}");
                assert_eq!(pair.client.messages(), sent, "to the client: {wish:?}");
            }
        }
    }
}

#[test]
fn one_side_alone_may_want_it_or_wish_otherwise() {
    let plain = Config::default();
    let message = prose(1, 500);
    // Client, server, and whether frames are compressed then.
    for (client, server, compressed) in [
        (plain.clone(), config(all()), false),
        (config(all()), plain, false),
        (config(all().server_max_window_bits(9)), config(all()), true),
        (
            config(all()),
            config(all().client_max_window_bits(10).takeover(Takeover::Never)),
            true,
        ),
    ] {
        let mut pair = Pair::new(client, server);
        for _ in 0..2 {
            pair.client.connection.send_text(&message).unwrap();
            pair.server.connection.send_text(&message).unwrap();
        }
        let output = pair.server.take_output();
        assert_eq!(output[0] & RSV1 != 0, compressed);
        pair.to_client.extend(output);
        pair.settle();
        let expected = vec![Message::from(message.as_str()); 2];
        assert_eq!(pair.client.messages(), expected);
        assert_eq!(pair.server.messages(), expected);
    }
}

#[test]
fn short_messages_and_chosen_ones_and_those_that_would_not_shrink_go_plain() {
    let long = prose(1, 200);
    let first = |end: &mut End| end.take_output()[0];
    for takeover in [Takeover::Always, Takeover::Never] {
        let mut pair = pair(Deflate::default().threshold(100).takeover(takeover));
        let end = &mut pair.server;
        end.connection.send_text(&long[..99]).unwrap();
        assert_eq!(first(end), 0x81);
        end.connection
            .send_broadcast(&Broadcast::text(&long[..99]))
            .unwrap();
        assert_eq!(first(end), 0x81);
        end.connection.send_text(&long[..100]).unwrap();
        assert_eq!(first(end), 0x81 | RSV1);
        end.connection
            .send_uncompressed(long.as_str().into())
            .unwrap();
        assert_eq!(first(end), 0x81);
        end.connection.send(long.as_str().into()).unwrap();
        assert_eq!(first(end), 0x81 | RSV1);
        // With a context that is kept, what was compressed must be sent; without one nothing is lost.
        end.connection.send_binary(&noise(200)).unwrap();
        assert_eq!(first(end) & RSV1 != 0, takeover == Takeover::Always);
        end.connection
            .send_broadcast(&Broadcast::binary(&noise(200)))
            .unwrap();
        assert_eq!(first(end), 0x82, "a shared frame has no context");
    }
}

#[test]
fn plain_messages_between_compressed_ones_leave_the_context_alone() {
    let mut pair = pair(Deflate::default());
    let message = prose(3, 400);
    let mut sizes = Vec::new();
    for plain in [false, true, false] {
        let end = &mut pair.server.connection;
        let message = Message::from(message.as_str());
        if plain {
            end.send_uncompressed(message)
        } else {
            end.send(message)
        }
        .unwrap();
        let output = pair.server.take_output();
        sizes.push(output.len());
        pair.client.input(pair.now, &output);
    }
    assert_eq!(pair.client.messages(), vec![Message::from(message); 3]);
    assert!(sizes[2] < 20, "{sizes:?}");
}

#[test]
fn an_idle_connection_gives_its_compressor_back_and_a_busy_one_keeps_it() {
    let size = |pair: &mut Pair| {
        pair.server.connection.send_text(&prose(5, 300)).unwrap();
        let output = pair.server.take_output();
        pair.client.input(pair.now, &output);
        output.len()
    };
    let half_a_minute = Duration::from_secs(30);
    for (takeover, forgets) in [(Takeover::UntilIdle, true), (Takeover::Always, false)] {
        let mut pair = pair(Deflate::default().takeover(takeover));
        let alone = size(&mut pair);
        let mut referring = size(&mut pair);
        assert!(referring < alone / 2, "{referring} and {alone} bytes");
        // A keepalive ping falls due each half a minute, for the client says nothing.
        for _ in 0..3 {
            pair.pass(half_a_minute);
            referring = size(&mut pair);
            assert!(referring < alone / 2, "{referring} and {alone} bytes");
        }
        pair.pass(2 * half_a_minute);
        assert_eq!(size(&mut pair) == alone, forgets, "{takeover:?}");
        assert_eq!(pair.client.messages().len(), 6);
    }
}

#[test]
fn between_messages_that_stand_alone_nothing_is_kept() {
    let alone = Deflate::default()
        .takeover(Takeover::Never)
        .client_no_context_takeover(true);
    let heap = |config: &Config| {
        let mut pair = Pair::new(config.clone(), config.clone());
        let message = Message::from(prose(1, 3000));
        let used = allocation_counter::measure(|| {
            for _ in 0..3 {
                pair.client.connection.send(message.clone()).unwrap();
                pair.server.connection.send(message.clone()).unwrap();
                pair.settle();
            }
            // What the pair writes down of what it was told.
            pair.client.told = Vec::new();
            pair.server.told = Vec::new();
            pair.to_client = Default::default();
            pair.to_server = Default::default();
        });
        used.bytes_current
    };
    // What the thread keeps to lend is made: a compressor, and buffers, each as large as it gets.
    for _ in 0..4 {
        heap(&config(alone));
        heap(&Config::default());
    }
    assert_eq!(heap(&config(alone)), 0);
    assert_eq!(heap(&Config::default()), 0);
    assert!(heap(&config(Deflate::default())) > 100_000);
}

#[test]
fn a_frame_is_compressed_once_and_shared_by_all_who_can_read_it() {
    // So long that its compressed form is shared, not copied.
    let message: String = (0..20_000).map(|n| format!("{n} ")).collect();
    let shared = Broadcast::text(&message);
    let address = |pair: &Pair| {
        let mut slices = [IoSlice::new(&[]); 4];
        let filled = pair.server.connection.poll_slices(&mut slices);
        slices[..filled].last().unwrap().as_ptr()
    };
    let settings = [
        all(),
        all().takeover(Takeover::Never),
        all().server_no_context_takeover(true),
        all().client_max_window_bits(9),
    ];
    let mut pairs = settings.map(pair);
    let mut addresses = Vec::new();
    for pair in &mut pairs {
        pair.server
            .connection
            .send_broadcast(&shared.clone())
            .unwrap();
        addresses.push(address(pair));
    }
    assert!(addresses.iter().all(|a| *a == addresses[0]));

    // A smaller window makes its own, and no compression takes the plain one.
    let mut narrow = pair(all().server_max_window_bits(14));
    narrow.server.connection.send_broadcast(&shared).unwrap();
    assert_ne!(address(&narrow), addresses[0]);
    let mut plain = Pair::default();
    plain.server.connection.send_broadcast(&shared).unwrap();
    assert_eq!(address(&plain), shared.as_bytes().as_ptr());

    for pair in pairs.iter_mut().chain([&mut narrow, &mut plain]) {
        pair.settle();
        assert_eq!(pair.client.messages(), [Message::from(message.as_str())]);
    }
}

#[test]
fn a_shared_frame_makes_a_compressor_forget() {
    for role_is_server in [true, false] {
        let mut pair = pair(all());
        let (own, shared) = (prose(1, 400), Broadcast::text(&prose(2, 400)));
        let mut expected = Vec::new();
        for round in 0..6 {
            let end = if role_is_server {
                &mut pair.server
            } else {
                &mut pair.client
            };
            if round % 3 == 1 {
                end.connection.send_broadcast(&shared).unwrap();
                expected.push(Message::from(
                    std::str::from_utf8(shared.payload()).unwrap(),
                ));
            } else {
                end.connection.send_text(&own).unwrap();
                expected.push(Message::from(own.as_str()));
            }
        }
        pair.settle();
        let heard = if role_is_server {
            &pair.client
        } else {
            &pair.server
        };
        assert_eq!(heard.messages(), expected);
    }
}

#[test]
fn frames_are_equal_if_their_messages_are() {
    let (one, other) = (
        Broadcast::text(&prose(1, 300)),
        Broadcast::text(&prose(1, 300)),
    );
    let mut pair = pair(all());
    pair.server.connection.send_broadcast(&one).unwrap(); // makes the compressed form of one of them
    assert_eq!(one, other);
    assert_ne!(one, Broadcast::binary(one.payload()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_compressed_arrives_whatever_the_cut(
        messages in vec((any::<bool>(), "\\PC{0,40}", 0usize..40), 0..12),
        sizes in vec(1usize..300, 1..10),
        (level, takeover, alone) in (1u8..10, 0usize..3, any::<bool>()),
    ) {
        let takeover = [Takeover::Always, Takeover::UntilIdle, Takeover::Never][takeover];
        let mut pair = pair(all().level(level).takeover(takeover).client_no_context_takeover(alone));
        let mut expected = Vec::new();
        for (text, content, repeat) in &messages {
            let content = content.repeat(*repeat);
            let message = if *text { Message::from(content.as_str()) } else { content.into_bytes().into() };
            pair.client.connection.send(message.clone()).unwrap();
            expected.push(message);
        }
        let bytes = pair.client.take_output();
        pair.server.input_in_pieces(pair.now, &bytes, &sizes);
        prop_assert_eq!(pair.server.messages(), expected);
    }
}
