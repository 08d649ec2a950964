//! Limits and deadlines, safe by default, the same for both roles.

use std::time::Duration;

use crate::deflate::Deflate;

/// Limits and deadlines of a connection.
///
/// Every limit holds from the first byte, for clients as for servers; none can be switched off by accident. A
/// connection's worst case in memory is `max_message + max_outbox +` one outgoing message; an idle one holds none, but for the
/// windows of compression where that is wanted ([`Deflate`]).
///
/// ```
/// use std::time::Duration;
/// use openline_proto::Config;
///
/// let config = Config::default().max_message(64 << 20).ping_interval(Some(Duration::from_secs(10)));
/// assert_eq!(config.limits().max_message, 64 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    limits: Limits,
    timeouts: Timeouts,
    deflate: Option<Deflate>,
}

/// The limits of a [`Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// See [`Config::max_message`].
    pub max_message: usize,
    /// See [`Config::max_fragments`].
    pub max_fragments: u32,
    /// See [`Config::max_outbox`].
    pub max_outbox: usize,
    /// See [`Config::max_head`].
    pub max_head: usize,
}

/// The deadlines of a [`Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// See [`Config::handshake_timeout`].
    pub handshake: Duration,
    /// See [`Config::ping_interval`].
    pub ping_interval: Option<Duration>,
    /// See [`Config::pong_timeout`].
    pub pong: Duration,
    /// See [`Config::idle_timeout`].
    pub idle: Option<Duration>,
    /// See [`Config::message_timeout`].
    pub message: Duration,
    /// See [`Config::write_timeout`].
    pub write: Duration,
    /// See [`Config::close_timeout`].
    pub close: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits {
                max_message: 1 << 20,
                max_fragments: 16_384,
                max_outbox: 1 << 20,
                max_head: 16 << 10,
            },
            timeouts: Timeouts {
                handshake: Duration::from_secs(10),
                ping_interval: Some(Duration::from_secs(30)),
                pong: Duration::from_secs(20),
                idle: None,
                message: Duration::from_secs(60),
                write: Duration::from_secs(60),
                close: Duration::from_secs(5),
            },
            deflate: None,
        }
    }
}

impl Config {
    /// The longest message to take, in bytes, all its fragments together. Default: 1 MiB.
    ///
    /// Past it the connection fails with close code 1009, as soon as a frame's header says so; nothing is reserved
    /// for a payload before it arrives. A compressed message is measured while it is inflated, and inflated no further.
    #[must_use]
    pub const fn max_message(mut self, bytes: usize) -> Self {
        self.limits.max_message = bytes;
        self
    }

    /// The most fragments that a message may come in, empty ones counted. Default: 16,384.
    ///
    /// Past it the connection fails with close code 1008: tiny fragments cost more than what they carry.
    #[must_use]
    pub const fn max_fragments(mut self, count: u32) -> Self {
        self.limits.max_fragments = count;
        self
    }

    /// How many bytes may wait to be sent, frame headers included. Default: 1 MiB.
    ///
    /// While so many wait, a further message is refused with [`SendError::Full`](crate::SendError::Full). One message
    /// may go past it, so that a message of any size can be sent.
    #[must_use]
    pub const fn max_outbox(mut self, bytes: usize) -> Self {
        self.limits.max_outbox = bytes;
        self
    }

    /// The longest head (request or status line and header fields) of the opening handshake, in bytes. Default: 16 KiB.
    ///
    /// Past it a server answers `431`, a client gives up.
    #[must_use]
    pub const fn max_head(mut self, bytes: usize) -> Self {
        self.limits.max_head = bytes;
        self
    }

    /// How long the opening handshake may take; in the crate `openline`, TLS included. Default: 10 s.
    ///
    /// Past it the transport is dropped, and the program told [`Timeout::Handshake`](crate::Timeout::Handshake).
    #[must_use]
    pub const fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.handshake = bounded(limit);
        self
    }

    /// After how long a silence of the peer to send a ping; `None` sends none. Default: 30 s.
    ///
    /// Without keepalive, a peer that vanished is noticed only by what is sent to it.
    #[must_use]
    pub const fn ping_interval(mut self, interval: Option<Duration>) -> Self {
        self.timeouts.ping_interval = match interval {
            // A ping without a pause between them would be a storm.
            Some(interval) if interval.is_zero() => Some(Duration::from_millis(1)),
            Some(interval) => Some(bounded(interval)),
            None => None,
        };
        self
    }

    /// How long to wait after a keepalive ping for a sign of life (any byte). Default: 20 s.
    ///
    /// Past it the connection fails with close code 1011. The wait begins when the ping has left, not while it stands
    /// behind other bytes.
    #[must_use]
    pub const fn pong_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.pong = bounded(limit);
        self
    }

    /// After how long without a message from the peer to close the connection, with code 1001; pings do not count. `None`
    /// never does. Default: `None`, since keepalive notices the dead.
    ///
    /// While a message is under way, [`message_timeout`](Self::message_timeout) counts instead.
    #[must_use]
    pub const fn idle_timeout(mut self, limit: Option<Duration>) -> Self {
        self.timeouts.idle = match limit {
            Some(limit) => Some(bounded(limit)),
            None => None,
        };
        self
    }

    /// How long a message may take from its first byte to its last. Default: 60 s.
    ///
    /// Past it the connection fails with close code 1008, so a peer that trickles can't hold the memory of a message for
    /// ever. Only time in which the connection is read counts: where more than an eighth of the limit goes by and nobody
    /// looks at it, that time is the program's own and not the peer's.
    #[must_use]
    pub const fn message_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.message = bounded(limit);
        self
    }

    /// How long the peer may take none of what waits to be sent. Default: 60 s.
    ///
    /// Past it the connection is over, without a Close frame, which would only wait as well. A peer that takes a byte now and
    /// then is slow and not gone: what it may cost is bounded by [`max_outbox`](Self::max_outbox).
    #[must_use]
    pub const fn write_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.write = bounded(limit);
        self
    }

    /// How long to wait for the peer in the closing handshake, and for what is queued to leave. Default: 5 s.
    ///
    /// Past it the transport is dropped, and [`Closed::clean`](crate::Closed::clean) tells whether both Close frames stood by
    /// then. It bounds what a connection costs after its program has let go of it, too.
    #[must_use]
    pub const fn close_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.close = bounded(limit);
        self
    }

    /// Whether and how to compress messages, where the peer can (permessage-deflate, RFC 7692). Default: `None`.
    ///
    /// [`Deflate`] tells when to use it, and why it is off by default.
    #[must_use]
    pub const fn deflate(mut self, settings: Option<Deflate>) -> Self {
        self.deflate = settings;
        self
    }

    /// The limits.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The deadlines.
    pub const fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// How messages are compressed, if they are.
    pub const fn deflate_settings(&self) -> Option<&Deflate> {
        self.deflate.as_ref()
    }
}

/// A hundred years stand for ever, so that a deadline is always an instant that exists.
const fn bounded(limit: Duration) -> Duration {
    const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    if limit.as_secs() < FOREVER.as_secs() {
        limit
    } else {
        FOREVER
    }
}
