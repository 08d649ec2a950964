//! Inflating the messages of one connection (RFC 7692 §7.2.2), never past the limit.

use std::fmt;

use zlib_rs::{Inflate as Zlib, InflateFlush, Status};

use super::compress::{LEAST_BITS, TAIL};
use crate::error::ProtocolError;
use crate::frame::Role;
use crate::handshake::deflate::Agreed;

/// An empty last block. Behind a message that is whole it ends the stream; behind one that was cut off it does not.
const LAST_BLOCK: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];

/// Output is made room for in steps: three bytes for one of input, but at least and at most so many.
const LEAST_STEP: usize = 512;
const MOST_STEP: usize = 64 * 1024;

/// Reads compressed messages.
pub(crate) struct Decompressor {
    bits: u8,
    /// A message may refer to those before it.
    keeps_context: bool,
    /// Bytes of the message under way came.
    begun: bool,
    /// `None` between messages that stand alone, and behind a last block.
    zlib: Option<Zlib>,
}

impl Decompressor {
    pub(crate) fn new(role: Role, agreed: &Agreed) -> Self {
        let (bits, alone) = match role {
            Role::Server => (
                agreed.client_max_window_bits,
                agreed.client_no_context_takeover,
            ),
            Role::Client => (
                agreed.server_max_window_bits,
                agreed.server_no_context_takeover,
            ),
        };
        Self {
            bits: bits.max(LEAST_BITS),
            keeps_context: !alone,
            begun: false,
            zlib: None,
        }
    }

    /// Inflates a piece of a message behind what `out` holds of it, up to `limit` bytes in all.
    pub(crate) fn inflate(
        &mut self,
        piece: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), ProtocolError> {
        let mut rest = piece;
        loop {
            let room = next_step(out, rest.len(), limit);
            let inflated = self.inflate_some(rest, out, room);
            // The limit is first, so that what is told does not hang on how the bytes were cut.
            if out.len() > limit {
                return Err(ProtocolError::MessageTooBig { limit });
            }
            let (consumed, more) = inflated?;
            rest = &rest[consumed..];
            if !more {
                return Ok(());
            }
        }
    }

    /// Inflates a piece of a message until `room` bytes came out of it. Tells how much it consumed, and whether more may
    /// come out of the rest, which may be empty; if not, all was consumed.
    pub(crate) fn inflate_some(
        &mut self,
        piece: &[u8],
        out: &mut Vec<u8>,
        room: usize,
    ) -> Result<(usize, bool), ProtocolError> {
        self.begun |= !piece.is_empty();
        let end = out.len() + room;
        let mut rest = piece;
        loop {
            if rest.is_empty() && self.zlib.is_none() {
                return Ok((piece.len(), false));
            }
            let zlib = self.zlib.get_or_insert_with(|| Zlib::new(false, self.bits));
            let (before_in, before_out) = (zlib.total_in(), zlib.total_out());
            let start = out.len();
            out.resize(end, 0);
            let status = zlib.decompress(rest, &mut out[start..], InflateFlush::NoFlush);
            rest = &rest[(zlib.total_in() - before_in) as usize..];
            out.truncate(start + (zlib.total_out() - before_out) as usize);
            let full = out.len() == end;
            match status {
                Err(_) => return Err(ProtocolError::InvalidDeflate),
                // §7.2.3.4: a sender may end its stream within a message; what follows is a stream of its own.
                Ok(Status::StreamEnd) => self.zlib = None,
                // Room that is left over means that nothing more is to come out of what went in.
                Ok(_) if !full && !rest.is_empty() => return Err(ProtocolError::InvalidDeflate),
                Ok(_) if !full => return Ok((piece.len(), false)),
                Ok(_) => {}
            }
            if full {
                return Ok((piece.len() - rest.len(), true));
            }
        }
    }

    /// The message's last byte came.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>, limit: usize) -> Result<(), ProtocolError> {
        // §7.2.3.6: even an empty message has a byte.
        if !std::mem::take(&mut self.begun) {
            return Err(ProtocolError::InvalidDeflate);
        }
        if self.zlib.is_some() {
            self.inflate(&TAIL, out, limit)?;
        }
        if !self.keeps_context && self.zlib.is_some() {
            self.inflate(&LAST_BLOCK, out, limit)?;
            if self.zlib.take().is_some() {
                return Err(ProtocolError::InvalidDeflate);
            }
        }
        self.begun = false;
        Ok(())
    }
}

/// How much to inflate next, with room made for it: never by much more than the input can fill, and by one byte past the
/// limit at most.
fn next_step(out: &mut Vec<u8>, input: usize, limit: usize) -> usize {
    let room = limit.saturating_add(1) - out.len();
    let step = (input.saturating_mul(3))
        .clamp(LEAST_STEP, MOST_STEP)
        .min(room);
    if out.capacity() - out.len() < step {
        // Doubling, so that what is there is not copied with each step.
        out.reserve_exact(step.max(out.len()).min(room));
    }
    step
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor")
            .field("bits", &self.bits)
            .field("keeps_context", &self.keeps_context)
            .finish_non_exhaustive()
    }
}
