//! Any bytes into a connection of either role, cut anywhere.
//!
//! How they are cut must matter neither to what is told nor to what is answered; what is answered is right whatever came;
//! and memory is bounded by what came and by the limits, never by what is announced.

use openline_proto::handshake::deflate::Agreed;
use openline_proto::{Config, ProtocolError, Role};

use crate::choices::{Choices, Cuts};
use crate::hearing::{Pieces, Told, Way, hear};
use crate::pair::{End, start};
use crate::wire::{self, check_sent};

/// What the fuzzer chose but for the bytes.
struct Setting {
    role: Role,
    config: Config,
    agreed: Option<Agreed>,
}

impl Setting {
    fn choose(choices: &mut Choices<'_>) -> (Self, bool) {
        let flags = choices.byte();
        let role = if flags & 1 == 0 {
            Role::Server
        } else {
            Role::Client
        };
        let alone = flags & 4 != 0;
        let agreed = (flags & 2 != 0).then(|| {
            let windows = choices.byte();
            Agreed {
                server_no_context_takeover: alone,
                client_no_context_takeover: alone,
                server_max_window_bits: 15 - (windows & 7),
                client_max_window_bits: 15 - (windows >> 4 & 7),
            }
        });
        let config = Config::default()
            .max_message([1 << 20, 10, 1000, 66_000][usize::from(flags >> 3 & 3)])
            .max_fragments(if flags & 0x20 == 0 { 16_384 } else { 3 });
        (
            Self {
                role,
                config,
                agreed,
            },
            flags & 0x40 != 0,
        )
    }

    fn end(&self) -> End {
        End::new(self.role, self.config.clone(), self.agreed, start())
    }
}

/// Tries one input: role, limits, compression, cuts, then a script or bytes as they stand.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (setting, raw) = Setting::choose(&mut choices);
    let cuts = choices.cuts();
    let bytes = if raw {
        choices.rest().to_vec()
    } else {
        wire::script(&mut choices, setting.role)
    };

    let mut whole = setting.end();
    whole.hear(start(), &bytes);
    check_told(&setting, &whole.told);
    check_fragments(&setting, &bytes, &whole.told);
    let mut cut = setting.end();
    for piece in cuts.clone().pieces(&bytes) {
        cut.hear(start(), piece);
    }
    assert_eq!(whole.told, cut.told, "cuts don't matter to what is told");
    assert_eq!(
        whole.write_all(),
        cut.write_all(),
        "cuts don't matter to what is answered"
    );
    check_answers(&setting, &whole);

    let mut prompt = setting.end();
    for piece in cuts.clone().pieces(&bytes) {
        prompt.hear(start(), piece);
        prompt.write(usize::MAX, 1);
    }
    assert_eq!(
        whole.told, prompt.told,
        "when it answers does not matter to what is told"
    );
    check_pieces(&setting, &bytes, &cuts, &whole.told);
    check_memory(&setting, &bytes, cuts);
}

fn check_told(setting: &Setting, told: &[Told]) {
    let limit = setting.config.limits().max_message;
    for (at, event) in told.iter().enumerate() {
        assert!(
            !event.is_last() || at + 1 == told.len(),
            "nothing follows the end: {told:?}"
        );
        assert!(
            event.message_len().is_none_or(|length| length <= limit),
            "past {limit}: {event:?}"
        );
    }
}

/// No message is told that came in too many fragments, nor any behind it.
fn check_fragments(setting: &Setting, bytes: &[u8], told: &[Told]) {
    let (mut fragments, mut messages) = (0, 0);
    let mut rest = bytes;
    while let Some(frame) = wire::take_frame(&mut rest) {
        match frame.opcode() {
            0 => fragments += 1,
            1 | 2 => fragments = 1,
            _ => continue,
        }
        if fragments > setting.config.limits().max_fragments {
            break;
        }
        messages += usize::from(frame.first & 0x80 != 0);
    }
    let heard = told.iter().filter_map(Told::message_len).count();
    assert!(
        heard <= messages,
        "{heard} messages are told, and {messages} came"
    );
}

/// Pongs answer pings, in their order and the last one always; then at most a Close frame, which answers or says what was wrong.
fn check_answers(setting: &Setting, end: &End) {
    let mut left = &end.left[..];
    let mut frames = check_sent(setting.role, &mut left, false);
    assert!(left.is_empty(), "all is whole frames");
    let code = |payload: &[u8]| payload.first_chunk().map(|code| u16::from_be_bytes(*code));
    let goodbye = frames
        .pop_if(|frame| frame.opcode() == 8)
        .map(|frame| code(&frame.payload));
    let expected = match end.told.last() {
        Some(Told::Close(reason)) => Some(reason.as_ref().map(|reason| reason.code.0)),
        Some(Told::Error(error)) => Some(Some(error.close_code().0)),
        _ => None,
    };
    assert_eq!(goodbye, expected);
    assert_eq!(end.connection.is_closing(), expected.is_some());

    let pings = end.told.iter().filter_map(|told| match told {
        Told::Ping(payload) => Some(payload),
        _ => None,
    });
    let mut unanswered = pings.clone();
    for pong in &frames {
        assert_eq!(pong.opcode(), 10);
        assert!(
            unanswered.any(|ping| *ping == pong.payload),
            "a pong that answers no ping"
        );
    }
    if expected.is_none() {
        assert_eq!(
            pings.last(),
            frames.last().map(|pong| &pong.payload),
            "the last ping is answered"
        );
    }
}

/// In pieces the same is told, but that the limits of whole messages don't count. Heard now so and now so, a message may be told
/// in parts, but no other is.
fn check_pieces(setting: &Setting, bytes: &[u8], cuts: &Cuts, whole: &[Told]) {
    let mut end = setting.end();
    let mut pieces = Pieces::default();
    for piece in cuts.clone().pieces(bytes) {
        let told = pieces.told(&mut end.connection, start(), piece);
        end.told.extend(told);
    }
    let mut in_turns = setting.end();
    let mut told_in_turns = Vec::new();
    for (at, piece) in cuts.clone().pieces(bytes).enumerate() {
        let way = if at % 3 == 1 { Way::Pieces } else { Way::Whole };
        hear(
            &mut in_turns.connection,
            start(),
            piece,
            way,
            |heard| match heard {
                Ok(openline_proto::Event::Piece(_)) => {}
                heard => told_in_turns.push(heard.map_or_else(Told::Error, Told::of)),
            },
        );
    }
    if let Some((
        Told::Error(ProtocolError::MessageTooBig { .. } | ProtocolError::TooManyFragments { .. }),
        before,
    )) = whole.split_last()
    {
        assert!(end.told.starts_with(before), "{:?} and {whole:?}", end.told);
        return;
    }
    assert_eq!(end.told, whole, "pieces tell the same");
    let ends = whole.last().filter(|told| told.is_last());
    let end_in_turns = told_in_turns.pop_if(|told| told.is_last());
    assert_eq!(end_in_turns.as_ref(), ends);
    let mut all = whole.iter();
    for told in &told_in_turns {
        assert!(
            all.any(|one| one == told),
            "{told_in_turns:?} and {whole:?}"
        );
    }
}

/// Listens once more, keeping nothing of what is told: what is held then, the connection holds.
fn check_memory(setting: &Setting, bytes: &[u8], cuts: Cuts) {
    for way in [Way::Whole, Way::Pieces] {
        // The copy that is shown, and pongs.
        let mut most = 2 * bytes.len() + (16 << 10);
        if way == Way::Whole {
            // A message that grows by doubling while it is moved.
            most += 2 * bytes.len();
        }
        if setting.agreed.is_some() {
            most += 192 << 10;
            if way == Way::Whole {
                let limit = setting.config.limits().max_message;
                most += 3 * limit.min(1100 * bytes.len());
            }
        }
        let held = allocation_counter::measure(|| {
            let mut end = setting.end();
            for piece in cuts.clone().pieces(bytes) {
                hear(&mut end.connection, start(), piece, way, |_| {});
            }
        });
        assert!(
            held.bytes_max <= most as u64,
            "{way:?}: {} bytes are held for {} that came",
            held.bytes_max,
            bytes.len()
        );
    }
}

/// Conversations of both roles, with and without compression, right and wrong.
pub fn seeds() -> Vec<Vec<u8>> {
    // How a frame is made, its first byte and its payload: see `wire::script`.
    let scripts: [&[u8]; 16] = [
        b"\0\x81\x05Hello",
        b"\0\x01\x03Hel\0\x89\x01p\0\x80\x02lo",
        b"\0\x82\xc0x\xd2\0\x88\0",
        b"\0\x88\x05\x03\xe8bye",
        b"\0\x88\x01\x03",
        b"\0\x88\x02\x03\xed",
        b"\0\x01\x02\xf0\x9f\0\x80\x02\x98\x80",
        b"\0\x01\x02\xed\xa0\0\x80\0",
        b"\x06\x81\x0aHelloHello\x06\x82\xc2abc\xd2\x06\x01\x02ab\0\x80\x01\x00",
        b"\0\xc1\x0d\xf2\x48\xcd\xc9\xc9\x07\x00\0\xc1\x05\xf2\x00\x11\x00\x00",
        b"\0\x01\0\0\x00\0\0\x00\0\0\x00\0\0\x80\x01x",
        b"\0\x01\x01a\0\x00\0\0\x00\0\0\x80\x01x",
        b"\x08\x81\x01x",
        b"\xe0\x82\x05short\xf0\x82\x05short",
        b"\x07\x0a\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x07\x0f\x82\xff\0\0\0\0\0\x0f\xff\xff\0\0\0\0x",
    ];
    let mut seeds = Vec::new();
    for script in scripts {
        for setting in [
            &[0u8, 0][..],
            &[1, 1, 1],
            &[2, 0, 2, 3, 5],
            &[7, 0x77, 1, 2],
            &[0x28, 1, 1],
        ] {
            seeds.push([setting, script].concat());
        }
    }
    let pings: Vec<u8> = (0..40).flat_map(|count| [0, 0x89, 1, count]).collect();
    seeds.push([&[0, 1, 4], &pings[..]].concat());
    for (flags, to) in [(0x40, Role::Server), (0x41, Role::Client)] {
        let bytes = [wire::frame(to, 0x81, b"raw"), wire::frame(to, 0x88, b"")].concat();
        seeds.push([&[flags, 0][..], &bytes].concat());
    }
    seeds
}
