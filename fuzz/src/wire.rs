//! Frames as bytes, made and taken apart by RFC 6455 §5.2 alone: nothing here asks the library.

use openline_proto::Role;

use crate::choices::Choices;

/// The key of all frames that are made here.
pub const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// How long a length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As short as can be.
    Minimal,
    /// In 16 bits, though fewer or more are needed.
    Medium,
    /// In 64 bits.
    Long,
}

/// Appends a frame; `first` is FIN, RSV and opcode.
pub fn push_frame(out: &mut Vec<u8>, first: u8, payload: &[u8], key: Option<[u8; 4]>, form: Form) {
    let mask_bit = if key.is_some() { 0x80 } else { 0 };
    out.push(first);
    let length = payload.len();
    match form {
        Form::Minimal if length < 126 => out.push(mask_bit | length as u8),
        Form::Minimal | Form::Medium if length <= 0xffff => {
            out.push(mask_bit | 126);
            out.extend((length as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    if let Some(key) = key {
        out.extend(key);
        out.extend(masked(payload, key));
    } else {
        out.extend(payload);
    }
}

/// Masks, or unmasks: by whole vectors, since the fuzzer watches every step of a loop.
fn masked(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut masked = payload.to_vec();
    let keys: [u8; 64] = std::array::from_fn(|at| key[at % 4]);
    for chunk in masked.chunks_mut(64) {
        for (byte, key) in chunk.iter_mut().zip(&keys) {
            *byte ^= key;
        }
    }
    masked
}

/// A frame as a well-behaved peer of `to` sends it.
pub fn frame(to: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push_frame(&mut out, first, payload, key(to), Form::Minimal);
    out
}

fn key(to: Role) -> Option<[u8; 4]> {
    match to {
        Role::Server => Some(KEY),
        Role::Client => None,
    }
}

/// What a peer sends to `to`, by the fuzzer's script: frames that are right but for what the script says, and bytes
/// as they stand.
pub fn script(choices: &mut Choices<'_>, to: Role) -> Vec<u8> {
    let mut out = Vec::new();
    // A short script can't make more than this: inputs stay fast.
    while !choices.is_empty() && out.len() < 1 << 18 {
        let how = choices.byte();
        if how & 7 == 7 {
            let count = choices.byte().into();
            out.extend(choices.bytes(count));
            continue;
        }
        let first = choices.byte();
        let payload = choices.payload();
        let key = if how & 0x08 == 0 {
            key(to)
        } else {
            key(to).xor(Some(KEY))
        };
        let form = match how >> 4 {
            0xe => Form::Medium,
            0xf => Form::Long,
            _ => Form::Minimal,
        };
        if how & 7 == 6 {
            push_frame(&mut out, first | 0x40, &compressed(&payload), key, form);
        } else {
            push_frame(&mut out, first, &payload, key, form);
        }
    }
    out
}

/// A message compressed by another implementation: RFC 7692 §7.2.3.4 allows a last block, if a byte follows it.
pub fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut compressed = miniz_oxide::deflate::compress_to_vec(payload, 6);
    compressed.push(0);
    compressed
}

/// A frame that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// FIN, RSV and opcode.
    pub first: u8,
    /// Whether it was masked.
    pub masked: bool,
    /// Whether its length was written as short as can be.
    pub minimal: bool,
    /// The payload, unmasked.
    pub payload: Vec<u8>,
}

impl Seen {
    /// The opcode.
    pub const fn opcode(&self) -> u8 {
        self.first & 0x0f
    }
}

/// Takes the first frame off `bytes`, if it is whole, however wrong it is.
pub fn take_frame(bytes: &mut &[u8]) -> Option<Seen> {
    let (&first, rest) = bytes.split_first()?;
    let (&second, rest) = rest.split_first()?;
    let (length, minimal, rest) = match second & 0x7f {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            let length = u64::from(u16::from_be_bytes(*length));
            (length, length >= 126, rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            let length = u64::from_be_bytes(*length);
            (length, length > 0xffff, rest)
        }
        short => (short.into(), true, rest),
    };
    let (key, rest) = match second & 0x80 {
        0 => (None, rest),
        _ => rest
            .split_first_chunk()
            .map(|(key, rest)| (Some(*key), rest))?,
    };
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Seen {
        first,
        masked: key.is_some(),
        minimal,
        payload: masked(payload, key.unwrap_or_default()),
    })
}

/// What one end sent: whole frames as the protocol wants them, and nothing behind a Close frame. What is left over of `bytes`
/// is a frame under way.
///
/// # Panics
/// If `bytes` is anything else.
pub fn check_sent(from: Role, bytes: &mut &[u8], deflate: bool) -> Vec<Seen> {
    let mut frames = Vec::new();
    while let Some(frame) = take_frame(bytes) {
        check_frame(from, &frame, deflate);
        let last = frame.opcode() == 8;
        frames.push(frame);
        assert!(
            !last || bytes.is_empty(),
            "nothing follows a Close frame (§5.5.1)"
        );
    }
    frames
}

fn check_frame(from: Role, frame: &Seen, deflate: bool) {
    let opcode = frame.opcode();
    let control = opcode & 8 != 0;
    let compressed = frame.first & 0x40 != 0;
    assert_eq!(
        frame.masked,
        from == Role::Client,
        "clients mask, servers don't (§5.1): {frame:?}"
    );
    assert!(frame.minimal, "the length is minimal (§5.2): {frame:?}");
    assert!(
        matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10),
        "the opcode exists (§5.2): {frame:?}"
    );
    assert!(
        !compressed || (deflate && !control),
        "RSV1 only where it means something: {frame:?}"
    );
    assert_eq!(
        frame.first & 0x30,
        0,
        "RSV2 and RSV3 are 0 (§5.2): {frame:?}"
    );
    assert!(
        !control || (frame.first & 0x80 != 0 && frame.payload.len() <= 125),
        "control frames are short and whole (§5.5): {frame:?}"
    );
}
