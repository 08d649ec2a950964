//! Frames as people read them, at TRACE: `< TEXT 'hello' [5 bytes]`. `<` came, `>` goes; payloads are elided.

use std::fmt;

use tracing::Level;
use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};

use crate::frame::{Header, Opcode};
use crate::message::Kind;

/// A frame came; `payload` is what is there of it by now.
#[inline]
pub(crate) fn received(header: &Header, payload: &[u8]) {
    if is_on() {
        show_received(header, payload);
    }
}

/// A whole message came in one frame.
#[inline]
pub(crate) fn received_whole(kind: Kind, payload: &[u8]) {
    if is_on() {
        show_whole(kind, payload);
    }
}

/// A frame was queued.
#[inline]
pub(crate) fn sent(opcode: Opcode, fin: bool, compressed: bool, length: usize, payload: &[u8]) {
    if is_on() {
        show_sent(opcode, fin, compressed, length, payload);
    }
}

/// Whether anybody listens to anything at TRACE: asked on the way of each frame, where the rest would only be in the way.
#[inline]
fn is_on() -> bool {
    Level::TRACE <= STATIC_MAX_LEVEL && Level::TRACE <= LevelFilter::current()
}

/// The target of the events: `openline::frames`.
macro_rules! frame {
    ($direction:literal, $shown:expr) => {
        tracing::trace!(target: "openline::frames", concat!($direction, " {}"), $shown)
    };
}

#[cold]
fn show_received(header: &Header, payload: &[u8]) {
    frame!(
        "<",
        Shown {
            opcode: header.opcode,
            fin: header.fin,
            compressed: header.compressed,
            length: header.length,
            payload,
        }
    );
}

#[cold]
fn show_whole(kind: Kind, payload: &[u8]) {
    show_received(&Header::whole(kind, false, None, payload.len()), payload);
}

#[cold]
fn show_sent(opcode: Opcode, fin: bool, compressed: bool, length: usize, payload: &[u8]) {
    frame!(
        ">",
        Shown {
            opcode,
            fin,
            compressed,
            length: length as u64,
            payload,
        }
    );
}

struct Shown<'a> {
    opcode: Opcode,
    fin: bool,
    compressed: bool,
    length: u64,
    payload: &'a [u8],
}

/// Of a longer payload, so many bytes of its beginning are shown.
const HEAD: usize = 64;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.opcode {
            Opcode::Continuation => "CONT",
            Opcode::Text => "TEXT",
            Opcode::Binary => "BINARY",
            Opcode::Close => "CLOSE",
            Opcode::Ping => "PING",
            Opcode::Pong => "PONG",
        })?;
        let shown = &self.payload[..self.payload.len().min(HEAD)];
        let elided = if (shown.len() as u64) < self.length {
            "…"
        } else {
            ""
        };
        match (self.opcode, self.payload) {
            (Opcode::Close, &[high, low, ref reason @ ..]) => {
                let reason = String::from_utf8_lossy(reason);
                let code = u16::from_be_bytes([high, low]);
                write!(f, " {code} '{}'", reason.escape_debug())?;
            }
            (Opcode::Binary, _) => hex(f, shown, elided)?,
            _ if self.compressed => hex(f, shown, elided)?,
            _ => match text(shown) {
                Some(text) => write!(f, " '{}{elided}'", text.escape_debug())?,
                None => hex(f, shown, elided)?,
            },
        }
        let bytes = if self.length == 1 { "byte" } else { "bytes" };
        let compressed = if self.compressed { ", compressed" } else { "" };
        let continued = if self.fin { "" } else { ", continued" };
        write!(f, " [{} {bytes}{compressed}{continued}]", self.length)
    }
}

/// The text, but for a character that was cut at the end.
fn text(bytes: &[u8]) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8], elided: &str) -> fmt::Result {
    for byte in bytes {
        write!(f, " {byte:02x}")?;
    }
    f.write_str(elided)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(opcode: Opcode, fin: bool, compressed: bool, length: u64, payload: &[u8]) -> String {
        let shown = Shown {
            opcode,
            fin,
            compressed,
            length,
            payload,
        };
        shown.to_string()
    }

    #[test]
    fn frames_read_as_people_read_them() {
        assert_eq!(
            shown(Opcode::Text, true, false, 5, b"hello"),
            "TEXT 'hello' [5 bytes]"
        );
        assert_eq!(
            shown(Opcode::Text, false, false, 3, "a'\n".as_bytes()),
            "TEXT 'a\\'\\n' [3 bytes, continued]"
        );
        assert_eq!(
            shown(Opcode::Text, false, true, 2, &[0xf2, 0x48]),
            "TEXT f2 48 [2 bytes, compressed, continued]"
        );
        assert_eq!(
            shown(Opcode::Binary, true, false, 1, &[0xff]),
            "BINARY ff [1 byte]"
        );
        assert_eq!(
            shown(Opcode::Ping, true, false, 0, b""),
            "PING '' [0 bytes]"
        );
        assert_eq!(
            shown(Opcode::Close, true, false, 5, b"\x03\xe8bye"),
            "CLOSE 1000 'bye' [5 bytes]"
        );
        assert_eq!(
            shown(Opcode::Close, true, false, 0, b""),
            "CLOSE '' [0 bytes]"
        );
        // A fragment may begin within a character.
        assert_eq!(
            shown(Opcode::Continuation, true, false, 2, &[0xac, b'x']),
            "CONT ac 78 [2 bytes]"
        );
    }

    #[test]
    fn payloads_are_elided() {
        let long = "é".repeat(500_000);
        let text = shown(Opcode::Text, true, false, 1_000_000, long.as_bytes());
        assert_eq!(text, format!("TEXT '{}…' [1000000 bytes]", "é".repeat(32)));
        let odd = &long.as_bytes()[1..];
        let lengths = shown(Opcode::Continuation, true, false, 999_999, odd).len();
        assert!(lengths < 250, "{lengths}");
        // What has not come can't be shown.
        assert_eq!(
            shown(Opcode::Text, true, false, 9, b"ab"),
            "TEXT 'ab…' [9 bytes]"
        );
    }
}
