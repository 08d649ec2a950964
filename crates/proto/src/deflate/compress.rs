//! Compressing the messages of one connection (RFC 7692 §7.2.1), and the compressors that a thread lends for it.

use std::cell::RefCell;
use std::fmt;

use zlib_rs::{Deflate as Zlib, DeflateConfig, DeflateFlush};

use super::{Deflate, Takeover};
use crate::frame::Role;
use crate::handshake::deflate::Agreed;

/// What a sync flush ends with, and what §7.2.1 takes off the message: the receiver puts it back.
pub(super) const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The least window of zlib's. Its matches never go further back than the window less 262 bytes, so what it makes with 2^9
/// fits a receiver's 2^8: that is how an 8-bit window is served.
pub(crate) const LEAST_BITS: u8 = 9;

/// Symbols that zlib gathers before it writes a block: 2^(level + 6). Less than its default 8 saves 98 KiB of each compressor;
/// short messages come out the same, long ones longer by less than a hundredth.
const MEMORY_LEVEL: i32 = 5;

/// Compressors that a thread keeps to lend.
const KEPT: usize = 4;

/// Makes compressed messages.
#[derive(Debug)]
pub(crate) struct Compressor {
    settings: Deflate,
    bits: u8,
    /// A message may refer to those before it.
    keeps_context: bool,
    /// Something was compressed since a keepalive ping fell due.
    busy: bool,
    context: Option<Lent>,
}

impl Compressor {
    pub(crate) fn new(role: Role, agreed: &Agreed, settings: Deflate) -> Self {
        let (bits, alone) = match role {
            Role::Server => (
                agreed.server_max_window_bits,
                agreed.server_no_context_takeover,
            ),
            Role::Client => (
                agreed.client_max_window_bits,
                agreed.client_no_context_takeover,
            ),
        };
        Self {
            settings,
            bits: bits.max(LEAST_BITS),
            keeps_context: !alone && settings.takeover != Takeover::Never,
            busy: false,
            context: None,
        }
    }

    /// The compressed form of a message, if it is to be compressed.
    ///
    /// What was compressed with a kept context must be sent: later messages may refer to it.
    pub(crate) fn compress(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        if self.is_small(payload) {
            return None;
        }
        if !self.keeps_context {
            return compress_alone(self.settings.level, self.bits, payload);
        }
        let mut context = self
            .context
            .take()
            .unwrap_or_else(|| Lent::new(self.settings.level, self.bits));
        let compressed = context.compress(payload)?;
        self.context = Some(context);
        self.busy = true;
        Some(compressed)
    }

    pub(crate) const fn is_small(&self, payload: &[u8]) -> bool {
        payload.is_empty() || payload.len() < self.settings.threshold
    }

    /// The compressed form of a piece of a message, of which every piece goes through here, in order.
    ///
    /// Each piece is flushed, so that the peer can read it when it has it; the flush's tail stays where it is but at the
    /// message's end (RFC 7692 §7.2.1).
    pub(crate) fn compress_piece(&mut self, payload: &[u8], last: bool) -> Vec<u8> {
        let context = self
            .context
            .get_or_insert_with(|| Lent::new(self.settings.level, self.bits));
        // Behind a flush, nothing and a further flush is an empty block: its header, and the tail that is taken off.
        let mut compressed = match payload.is_empty() {
            true => [&[0][..], &TAIL].concat(),
            false => context.flush(payload).unwrap_or_default(),
        };
        if last {
            take_tail_off(&mut compressed);
            if !self.keeps_context {
                self.context = None;
            }
        }
        self.busy = true;
        compressed
    }

    /// For messages that are compressed once for many receivers: at which level, and with which window.
    pub(crate) const fn shares(&self) -> (u8, u8) {
        (self.settings.level, self.bits)
    }

    /// The peer is sent a message that this compressor did not make: what came before lies further back in the peer's window
    /// than in this one's, so none of it can be referred to any more.
    pub(crate) fn forget(&mut self) {
        self.context = None;
    }

    /// A keepalive ping falls due.
    pub(crate) fn idle(&mut self) {
        if !self.busy && self.settings.takeover == Takeover::UntilIdle {
            self.context = None;
        }
        self.busy = false;
    }
}

/// The compressed form of a message that refers to none before it; `None` if it would not be shorter.
pub(crate) fn compress_alone(level: u8, bits: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let compressed = Lent::new(level, bits).compress(payload)?;
    (compressed.len() < payload.len()).then_some(compressed)
}

/// A zlib compressor of the thread's. Dropped, it goes back, whatever thread it was lent by.
struct Lent {
    level: u8,
    bits: u8,
    zlib: Option<Zlib>,
}

/// What a thread has to lend.
struct Idle {
    level: u8,
    bits: u8,
    zlib: Zlib,
}

thread_local! {
    static POOL: RefCell<Vec<Idle>> = const { RefCell::new(Vec::new()) };
}

impl Lent {
    fn new(level: u8, bits: u8) -> Self {
        let pooled = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            let fits = |idle: &Idle| idle.level == level && idle.bits == bits;
            let at = pool.iter().position(fits)?;
            Some(pool.remove(at).zlib)
        });
        let zlib = match pooled.ok().flatten() {
            // Of what other connections compressed nothing can be found any more.
            Some(mut zlib) => {
                zlib.reset();
                zlib
            }
            None => Zlib::new_with_config(DeflateConfig {
                window_bits: -i32::from(bits), // raw, without zlib's header
                mem_level: MEMORY_LEVEL,
                ..DeflateConfig::new(level.into())
            }),
        };
        Self {
            level,
            bits,
            zlib: Some(zlib),
        }
    }

    fn compress(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let mut compressed = self.flush(payload)?;
        take_tail_off(&mut compressed);
        Some(compressed)
    }

    /// Compresses what is not empty, and flushes. `None` if zlib fails, which it has no reason to: no input is wrong.
    fn flush(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let zlib = self.zlib.as_mut()?;
        let (start_in, start_out) = (zlib.total_in(), zlib.total_out());
        let mut out = vec![0; payload.len() / 2 + 64];
        loop {
            let consumed = (zlib.total_in() - start_in) as usize;
            let written = (zlib.total_out() - start_out) as usize;
            zlib.compress(
                &payload[consumed..],
                &mut out[written..],
                DeflateFlush::SyncFlush,
            )
            .ok()?;
            let consumed = (zlib.total_in() - start_in) as usize;
            let written = (zlib.total_out() - start_out) as usize;
            // Room that is left over means that the flush is complete.
            if consumed == payload.len() && written < out.len() {
                out.truncate(written);
                break;
            }
            if written == out.len() {
                out.resize(out.len() * 2, 0);
            }
        }
        Some(out)
    }
}

/// §7.2.1: a message goes without the tail of its last flush.
fn take_tail_off(message: &mut Vec<u8>) {
    if message.ends_with(&TAIL) {
        message.truncate(message.len() - TAIL.len());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(zlib) = self.zlib.take() else { return };
        // A thread that is ending has no pool any more.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() == KEPT {
                pool.remove(0);
            }
            pool.push(Idle {
                level: self.level,
                bits: self.bits,
                zlib,
            });
        });
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent")
            .field("level", &self.level)
            .field("bits", &self.bits)
            .finish_non_exhaustive()
    }
}
