//! permessage-deflate (RFC 7692): the settings. [`compress`] and [`inflate`] do the work, `handshake::deflate` holds the
//! parameters that travel.

pub(crate) mod compress;
pub(crate) mod inflate;

use crate::handshake::deflate::{MAX_WINDOW_BITS, MIN_WINDOW_BITS, Offer, Policy};

/// How messages are compressed, where the peer can: permessage-deflate (RFC 7692), for both roles.
///
/// Give it to [`Config::deflate`](crate::Config::deflate); without it nothing is compressed.
///
/// # When to use it
///
/// Use it where bytes are dear and messages are text: JSON that repeats itself from message to message shrinks to a seventh and
/// less. It costs time, microseconds where a plain message takes a fraction of one, and memory per connection (see
/// [`Takeover`]). `docs/deflate.md` has the figures.
///
/// It is off by default for another reason. **The length of what is compressed tells of its content.** If one message, or with
/// context takeover one connection, holds both a secret and text that an attacker may choose, and the attacker can see how
/// long the frames are, then guess after guess gives the secret away (the attacks named CRIME and BREACH; TLS does not hide
/// lengths). Leave it off there, or send what holds secrets with
/// [`Connection::send_uncompressed`](crate::Connection::send_uncompressed).
///
/// # Parameters
///
/// `server_…` is about what the server sends and `client_…` about what the client sends, whichever of them is told; the same
/// settings on both sides mean the same. A server lowers what an offer leaves open, and declines an offer that can't be
/// lowered so far. A client asks, and takes less if the server answers so.
///
/// ```
/// use openline_proto::{Config, Deflate, Takeover};
///
/// // Many connections, each with little to say: no memory between messages, on either side.
/// let deflate = Deflate::default().takeover(Takeover::Never).client_no_context_takeover(true);
/// let config = Config::default().deflate(Some(deflate));
/// # assert!(config.deflate_settings().is_some());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    level: u8,
    threshold: usize,
    takeover: Takeover,
    parameters: Policy,
}

/// What becomes of a connection's own compressor between two messages. The more it keeps, the better it compresses, and the
/// more memory it costs: `docs/deflate.md` has the figures.
///
/// The peer's messages are another matter: as long as the peer may refer to earlier ones, their last 32 KiB (or what
/// the window is) must be kept; only `…_no_context_takeover` for its direction spares that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Takeover {
    /// Each message may refer to those before it, as long as the connection lives.
    Always,
    /// The same, but the compressor is given back when the connection is idle: when a keepalive ping falls due
    /// ([`Config::ping_interval`](crate::Config::ping_interval)) and nothing was compressed since the last one did. The next
    /// message begins anew. The default.
    #[default]
    UntilIdle,
    /// Each message stands alone. A compressor of the thread's is lent for it, so that connections own none. The opening
    /// handshake says so (`server_no_context_takeover` of a server, `client_…` of a client), so that the peer
    /// need keep nothing either.
    Never,
}

impl Default for Deflate {
    fn default() -> Self {
        Self {
            level: 6,
            threshold: 64,
            takeover: Takeover::default(),
            parameters: Policy::default(),
        }
    }
}

impl Deflate {
    /// How hard to try, from 1 (fast) to 9 (small); what lies outside is taken as the nearest. Default: 6.
    #[must_use]
    pub const fn level(mut self, level: u8) -> Self {
        self.level = clamp(level, 1, 9);
        self
    }

    /// Messages of fewer bytes go uncompressed: a few bytes gain nothing. Default: 64. Empty ones always do.
    #[must_use]
    pub const fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// What becomes of our compressor between messages. Default: [`Takeover::UntilIdle`].
    #[must_use]
    pub const fn takeover(mut self, takeover: Takeover) -> Self {
        self.takeover = takeover;
        self
    }

    /// The window of what the server sends, in bits: how far back, at most 2^bits bytes, a message may refer. From 8 to 15;
    /// what lies outside is taken as the nearest. Default: 15.
    #[must_use]
    pub const fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.parameters.server_max_window_bits = clamp(bits, MIN_WINDOW_BITS, MAX_WINDOW_BITS);
        self
    }

    /// The window of what the client sends, in bits, from 8 to 15; what lies outside is taken as the nearest. Default: 15.
    ///
    /// A server that asks for less than 15 declines clients that don't say that they can lower it.
    #[must_use]
    pub const fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.parameters.client_max_window_bits = clamp(bits, MIN_WINDOW_BITS, MAX_WINDOW_BITS);
        self
    }

    /// Whether each message of the server must stand alone. Default: no.
    ///
    /// A client that asks for it saves itself the memory of the server's window.
    #[must_use]
    pub const fn server_no_context_takeover(mut self, alone: bool) -> Self {
        self.parameters.server_no_context_takeover = alone;
        self
    }

    /// Whether each message of the client must stand alone. Default: no.
    ///
    /// A server that asks for it saves itself the memory of the client's window.
    #[must_use]
    pub const fn client_no_context_takeover(mut self, alone: bool) -> Self {
        self.parameters.client_no_context_takeover = alone;
        self
    }

    /// What a server with these settings grants.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        let mut policy = self.parameters;
        policy.server_no_context_takeover |= matches!(self.takeover, Takeover::Never);
        policy
    }

    /// What a client with these settings offers.
    #[must_use]
    pub const fn offer(&self) -> Offer {
        Offer {
            server_no_context_takeover: self.parameters.server_no_context_takeover,
            client_no_context_takeover: self.parameters.client_no_context_takeover
                || matches!(self.takeover, Takeover::Never),
            server_max_window_bits: lowered(self.parameters.server_max_window_bits),
            client_max_window_bits: Some(lowered(self.parameters.client_max_window_bits)),
        }
    }
}

/// What need not be said of a window is left out.
const fn lowered(bits: u8) -> Option<u8> {
    if bits < MAX_WINDOW_BITS {
        Some(bits)
    } else {
        None
    }
}

/// `Ord::clamp`, which is not `const`.
const fn clamp(value: u8, least: u8, most: u8) -> u8 {
    if value < least {
        least
    } else if value > most {
        most
    } else {
        value
    }
}
