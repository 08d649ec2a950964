//! Messages in pieces, received and sent: any length, in memory that does not grow, with everything else in between.

mod pair;

use openline_proto::handshake::{self, ClientOptions, Key, ServerOptions};
use openline_proto::{
    CloseCode, Config, Connection, Deflate, Event, Input, Kind, Message, ProtocolError, SendError,
    Takeover,
};
use pair::{Pair, Told};
use proptest::prelude::*;

/// What a message in pieces was: kind, payload, and how many pieces.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    kind: Option<Kind>,
    payload: Vec<u8>,
    pieces: usize,
    longest: usize,
    over: bool,
}

impl Heard {
    /// Shows `connection` the bytes, and takes what it tells in pieces.
    fn hear(
        &mut self,
        connection: &mut Connection,
        bytes: &[u8],
    ) -> Result<Vec<Told>, ProtocolError> {
        let mut bytes = bytes.to_vec();
        let mut input = Input::new(&mut bytes);
        let mut others = Vec::new();
        while let Some(event) = connection.handle_input_in_pieces(pair::start(), &mut input)? {
            match event {
                Event::Piece(piece) => {
                    assert_eq!(piece.first, self.pieces == 0);
                    assert!(piece.last || !piece.payload.is_empty(), "an empty piece");
                    assert!(!self.over);
                    self.kind = Some(piece.kind);
                    self.payload.extend_from_slice(&piece.payload);
                    self.longest = self.longest.max(piece.payload.len());
                    self.pieces += 1;
                    self.over = piece.last;
                }
                Event::Ping(payload) => others.push(Told::Ping(payload.to_vec())),
                Event::Close(reason) => others.push(Told::Close(reason)),
                other => panic!("{other:?}"),
            }
        }
        Ok(others)
    }
}

fn deflate() -> Config {
    Config::default().deflate(Some(Deflate::default().threshold(0)))
}

fn stand_alone() -> Config {
    let deflate = Deflate::default()
        .takeover(Takeover::Never)
        .client_no_context_takeover(true);
    Config::default().deflate(Some(deflate.threshold(0)))
}

fn configs() -> [Config; 3] {
    [Config::default(), deflate(), stand_alone()]
}

#[test]
fn a_message_is_told_as_it_comes() {
    let mut pair = Pair::default();
    let server = &mut pair.server.connection;
    let mut heard = Heard::default();
    // A text in two fragments, each cut in its middle, a ping between them. The key is nought.
    heard.hear(server, b"\x01\x86\0\0\0\0Gr\xc3").unwrap();
    assert_eq!(
        (heard.payload.as_slice(), heard.pieces),
        (&b"Gr\xc3"[..], 1)
    );
    heard.hear(server, b"\xbc\xc3\x9f").unwrap();
    let others = heard
        .hear(server, b"\x89\x81\0\0\0\0p\x80\x83\0\0\0\0")
        .unwrap();
    assert_eq!(others, [Told::Ping(b"p".to_vec())]);
    assert!(!heard.over);
    heard.hear(server, b"e!\n").unwrap();
    assert_eq!(heard.payload, "Grüße!\n".as_bytes());
    assert!(heard.over && heard.kind == Some(Kind::Text));
    // The pong went out while the message was under way.
    assert_eq!(pair.server.take_output(), b"\x8a\x01p");
}

#[test]
fn text_in_pieces_is_checked_to_its_end() {
    for (bytes, told) in [
        (&b"\x01\x82\0\0\0\0ab\x80\x81\0\0\0\0\xff"[..], 2),
        (b"\x01\x82\0\0\0\0ab\x80\x81\0\0\0\0\xc3", 2),
        (b"\x81\x81\0\0\0\0\xc3", 0),
    ] {
        let mut pair = Pair::default();
        let mut heard = Heard::default();
        let failed = heard.hear(&mut pair.server.connection, bytes);
        assert_eq!(failed, Err(ProtocolError::InvalidUtf8));
        assert_eq!(heard.payload.len(), told);
        assert!(!heard.over);
    }
}

#[test]
fn limits_of_whole_messages_do_not_count_and_no_memory_is_kept() {
    let config = Config::default().max_message(1000).max_fragments(3);
    let mut pair = Pair::new(config.clone(), config);
    let mut heard = Heard::default();
    let server = &mut pair.server.connection;
    let fragment = [&b"\x02\xfe\x10\x00\0\0\0\0"[..], &[7; 4096]].concat();
    let further = [&b"\x00\xfe\x10\x00\0\0\0\0"[..], &[7; 4096]].concat();
    heard.hear(server, &fragment).unwrap();
    let mut total = 0;
    let used = allocation_counter::measure(|| {
        for _ in 0..1000 {
            let mut bytes = further.clone();
            let mut input = Input::new(&mut bytes);
            while let Some(event) = server
                .handle_input_in_pieces(pair::start(), &mut input)
                .unwrap()
            {
                let Event::Piece(piece) = event else {
                    panic!("{event:?}")
                };
                total += piece.payload.len();
            }
        }
    });
    assert_eq!(total, 4096 * 1000);
    assert!(used.bytes_max < 8192, "{} bytes", used.bytes_max);
    // A whole message in the same connection still has its limits.
    heard.hear(server, b"\x80\x80\0\0\0\0").unwrap();
    pair.server.input(pair.now, b"\x82\xfe\x03\xe9\0\0\0\0");
    assert_eq!(
        pair.server.told,
        [Told::Error(ProtocolError::MessageTooBig { limit: 1000 })]
    );
}

#[test]
fn a_gigabyte_out_of_a_megabyte_is_told_in_pieces_of_16_kib() {
    let mut pair = Pair::new(deflate(), deflate());
    pair.client.connection.begin(Kind::Binary, true).unwrap();
    let mut heard = 0_u64;
    let mut most = 0;
    for round in 0..1024 {
        pair.client
            .connection
            .send_piece(&vec![0; 1 << 20], round == 1023)
            .unwrap();
        let mut bytes = pair.client.take_output();
        let used = allocation_counter::measure(|| {
            let mut input = Input::new(&mut bytes);
            let server = &mut pair.server.connection;
            while let Some(event) = server
                .handle_input_in_pieces(pair::start(), &mut input)
                .unwrap()
            {
                let Event::Piece(piece) = event else {
                    panic!("{event:?}")
                };
                assert!(piece.payload.len() <= 16 * 1024);
                heard += piece.payload.len() as u64;
            }
        });
        most = most.max(used.bytes_max);
    }
    assert_eq!(heard, 1 << 30);
    // The window, zlib's state, a piece, and what it came from.
    assert!(most < 200_000, "{most} bytes");
}

#[test]
fn what_is_left_of_a_message_in_pieces_can_be_discarded() {
    for config in configs() {
        let mut pair = Pair::new(config.clone(), config.max_message(3000));
        let long = "long ".repeat(2000);
        pair.client.connection.begin(Kind::Text, true).unwrap();
        for (number, piece) in long.as_bytes().chunks(1000).enumerate() {
            pair.client
                .connection
                .send_piece(piece, number == 9)
                .unwrap();
        }
        pair.client.connection.send_text("short").unwrap();
        let bytes = pair.client.take_output();
        let (front, back) = bytes.split_at(15);
        let mut heard = Heard::default();
        heard.hear(&mut pair.server.connection, front).unwrap();
        assert!(heard.pieces == 1 && !heard.over);
        pair.server.input(pair.now, back);
        assert_eq!(pair.server.told, [Told::Message("short".into())]);
    }
}

#[test]
fn a_message_that_was_begun_whole_goes_on_in_pieces() {
    for config in configs() {
        let mut pair = Pair::new(config.clone(), config);
        let text = "begun whole, gone on in pieces ".repeat(50);
        pair.client.connection.send_text(&text).unwrap();
        let bytes = pair.client.take_output();
        let (front, back) = bytes.split_at(bytes.len() / 2);
        pair.server.input(pair.now, front);
        assert_eq!(pair.server.told, []);
        let mut heard = Heard::default();
        heard.hear(&mut pair.server.connection, back).unwrap();
        assert!(heard.over);
        assert_eq!(heard.payload, text.as_bytes());
    }
}

#[test]
fn pieces_are_sent_as_fragments_with_everything_else_in_between() {
    let mut pair = Pair::default();
    let server = &mut pair.server.connection;
    server.begin(Kind::Text, true).unwrap();
    server.send_piece("Grü".as_bytes(), false).unwrap();
    server.send_piece(b"", false).unwrap(); // no frame
    server.ping(b"?").unwrap();
    server.send_piece("ße".as_bytes(), true).unwrap();
    server.send_text("next").unwrap();
    assert_eq!(
        pair.server.take_output(),
        b"\x01\x04Gr\xc3\xbc\x89\x01?\x80\x03\xc3\x9fe\x81\x04next"
    );
    // One piece is one frame; none, an empty message.
    let server = &mut pair.server.connection;
    server.begin(Kind::Binary, true).unwrap();
    server.send_piece(b"all", true).unwrap();
    server.begin(Kind::Binary, true).unwrap();
    server.send_piece(b"", true).unwrap();
    assert_eq!(pair.server.take_output(), b"\x82\x03all\x82\x00");
}

#[test]
fn no_other_message_comes_in_between_and_what_is_refused_leaves_no_trace() {
    let mut pair = Pair::default();
    let server = &mut pair.server.connection;
    assert_eq!(server.send_piece(b"x", true), Err(SendError::NotBegun));
    server.begin(Kind::Text, true).unwrap();
    assert_eq!(server.begin(Kind::Text, true), Err(SendError::Unfinished));
    assert_eq!(server.send_text("x"), Err(SendError::Unfinished));
    assert_eq!(server.send("x".into()), Err(SendError::Unfinished));
    assert_eq!(server.send_piece(b"\xff", false), Err(SendError::NotUtf8));
    server.send_piece(b"\xc3", false).unwrap();
    assert_eq!(server.send_piece(b"", true), Err(SendError::NotUtf8));
    server.send_piece(b"\xbc", true).unwrap();
    assert_eq!(pair.server.take_output(), b"\x01\x01\xc3\x80\x01\xbc");
    let server = &mut pair.server.connection;
    server.begin(Kind::Text, true).unwrap();
    server.send_piece(b"x", false).unwrap();
    server.close(pair.now, CloseCode::NORMAL, "").unwrap();
    assert_eq!(server.send_piece(b"x", true), Err(SendError::Closing));
    pair.settle();
    assert!(pair.client.connection.closed().unwrap().clean);
}

#[test]
fn each_piece_can_be_read_when_it_has_come() {
    for config in [deflate(), stand_alone()] {
        let mut pair = Pair::new(config.clone(), config);
        let mut heard = Heard::default();
        pair.client.connection.begin(Kind::Text, true).unwrap();
        let mut sent = String::new();
        for word in ["one ", "two ", "", "three"] {
            pair.client
                .connection
                .send_piece(word.as_bytes(), false)
                .unwrap();
            sent += word;
            let bytes = pair.client.take_output();
            heard.hear(&mut pair.server.connection, &bytes).unwrap();
            assert_eq!(heard.payload, sent.as_bytes());
        }
        pair.client.connection.send_piece(b"", true).unwrap();
        let bytes = pair.client.take_output();
        assert_eq!(bytes.len(), 2 + 4 + 1, "an empty last piece has one byte");
        heard.hear(&mut pair.server.connection, &bytes).unwrap();
        assert!(heard.over);
        // Whether compressed at all is settled for each message.
        pair.client.connection.begin(Kind::Text, false).unwrap();
        pair.client.connection.send_piece(b"secret", true).unwrap();
        assert_eq!(pair.client.take_output()[..2], [0x81, 0x86]);
    }
}

/// The two ends of a connection whose handshake agreed on what both want, without a wire.
fn ends(config: &Config) -> (Connection, Connection) {
    let key = Key::new([7; 16]);
    let (offer, policy) = match config.deflate_settings() {
        Some(deflate) => (Some(deflate.offer()), Some(deflate.policy())),
        None => (None, None),
    };
    let client = ClientOptions::default().deflate(offer);
    let uri = "ws://example.org/".parse().unwrap();
    let request = handshake::request(&uri, key, &client).unwrap();
    let accepted = handshake::accept(&request, &ServerOptions::default().deflate(policy)).unwrap();
    let established = handshake::verify(&accepted.response, key, &client).unwrap();
    let (config, now) = (std::sync::Arc::new(config.clone()), pair::start());
    let mask = || [1, 2, 3, 4];
    (
        Connection::client(config.clone(), mask, now).with_deflate(established.deflate),
        Connection::server(config, now).with_deflate(accepted.deflate),
    )
}

proptest! {
    #[test]
    fn any_pieces_of_any_cuts_give_the_message(
        which in 0usize..3,
        messages in proptest::collection::vec(
            (any::<bool>(), any::<bool>(), proptest::collection::vec(proptest::collection::vec(0u8..4, 0..300), 1..6)),
            1..5,
        ),
        cuts in proptest::collection::vec(1usize..200, 1..20),
        in_pieces in proptest::collection::vec(any::<bool>(), 1..5),
    ) {
        let (mut client, mut server) = ends(&configs()[which]);
        let mut sent = Vec::new();
        for (binary, compress, pieces) in &messages {
            let kind = if *binary { Kind::Binary } else { Kind::Text };
            client.begin(kind, *compress).unwrap();
            for (number, piece) in pieces.iter().enumerate() {
                client.send_piece(piece, number + 1 == pieces.len()).unwrap();
            }
            sent.push((kind, pieces.concat()));
        }
        let mut slices = [std::io::IoSlice::new(&[]); 1];
        prop_assert_eq!(client.poll_slices(&mut slices), 1);
        let bytes = slices[0].to_vec();
        // Message by message, whole or in pieces, as it is chosen.
        let mut got: Vec<(Kind, Vec<u8>)> = Vec::new();
        let mut under_way = None;
        let mut rest = &bytes[..];
        for size in cuts.iter().cycle() {
            let (piece, later) = rest.split_at((*size).min(rest.len()));
            rest = later;
            let mut piece = piece.to_vec();
            let mut input = Input::new(&mut piece);
            loop {
                let now = pair::start();
                let event = match in_pieces[got.len() % in_pieces.len()] {
                    true => server.handle_input_in_pieces(now, &mut input),
                    false => server.handle_input(now, &mut input),
                };
                match event.unwrap() {
                    None => break,
                    Some(Event::Piece(piece)) => {
                        let (_, payload): &mut (Kind, Vec<u8>) =
                            under_way.get_or_insert((piece.kind, Vec::new()));
                        payload.extend_from_slice(&piece.payload);
                        if piece.last {
                            got.extend(under_way.take());
                        }
                    }
                    Some(event) => {
                        let message: Message = event.into_message().unwrap();
                        got.push((message.kind(), message.as_bytes().to_vec()));
                    }
                }
            }
            if rest.is_empty() { break }
        }
        prop_assert_eq!(got, sent);
    }
}
