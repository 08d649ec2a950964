//! The receiving half's timers: keepalive, pong wait, idle, message. One table, one deadline.

use std::time::{Duration, Instant};

use crate::close::CloseCode;
use crate::config::Timeouts;
use crate::error::Timeout;

/// What a passed deadline calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Send a keepalive ping.
    Ping,
    /// Fail the connection.
    Fail(Timeout),
}

impl Timeout {
    /// The code of the Close frame that says farewell.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Pong | Self::Write | Self::Close | Self::Handshake => CloseCode::INTERNAL,
            Self::Idle => CloseCode::GOING_AWAY,
            Self::Message => CloseCode::POLICY,
        }
    }
}

/// Instants that the deadlines are computed from. They only grow, so an armed timer that fires early is armed anew.
#[derive(Debug)]
pub(crate) struct Timers {
    last_byte: Instant,
    last_message: Instant,
    pinged: Option<Instant>,
}

impl Timers {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            last_byte: now,
            last_message: now,
            pinged: None,
        }
    }

    /// Any byte is a sign of life: a pong may stand behind a long message.
    pub(crate) const fn received(&mut self, now: Instant) {
        self.last_byte = now;
        self.pinged = None;
    }

    pub(crate) const fn message(&mut self, now: Instant) {
        self.last_message = now;
    }

    /// The wait for a pong begins anew: the ping has not left yet, or only just.
    pub(crate) const fn wait_on(&mut self, now: Instant) {
        self.pinged = Some(now);
    }

    /// What is due at `now`; a ping that is due counts as sent.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        message: Option<&MessageClock>,
        limits: &Timeouts,
    ) -> Option<Due> {
        if message.is_some_and(|message| message.is_over(limits.message)) {
            return Some(Due::Fail(Timeout::Message));
        }
        let (at, due) = self
            .table(message.is_some(), limits)
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)?;
        if at > now {
            return None;
        }
        if due == Due::Ping {
            self.pinged = Some(now);
        }
        Some(due)
    }

    pub(crate) fn next(
        &self,
        message: Option<&MessageClock>,
        limits: &Timeouts,
    ) -> Option<Instant> {
        self.table(message.is_some(), limits)
            .into_iter()
            .flatten()
            .map(|(at, _)| at)
            .chain(message.map(|message| message.next(limits.message)))
            .min()
    }

    #[inline]
    fn table(&self, mid_message: bool, limits: &Timeouts) -> [Option<(Instant, Due)>; 2] {
        let keepalive = match self.pinged {
            Some(since) => Some((since + limits.pong, Due::Fail(Timeout::Pong))),
            None => limits
                .ping_interval
                .map(|interval| (self.last_byte + interval, Due::Ping)),
        };
        // Who sends a message is not idle; that one has a deadline of its own.
        let idle = limits
            .idle
            .filter(|_| !mid_message)
            .map(|limit| (self.last_message + limit, Due::Fail(Timeout::Idle)));
        [keepalive, idle]
    }
}

/// How long a message was waited for. Only time in which somebody waited counts: a peer must not be failed because nobody took
/// what it sent, and the core does not see who reads, only that the connection is looked at.
///
/// Whoever waits comes at each deadline, and the next one is never further away than a [`PART`](Self::PART) of the limit. So a
/// time that is longer than two of them went by with nobody waiting.
#[derive(Debug)]
pub(crate) struct MessageClock {
    looked_at: Instant,
    waited: Duration,
}

impl MessageClock {
    /// Rare enough that a message costs few looks, and that being late for one is not taken for absence.
    const PART: u32 = 16;

    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            looked_at: now,
            waited: Duration::ZERO,
        }
    }

    /// The connection is looked at: bytes came, or a deadline.
    pub(crate) fn look(&mut self, now: Instant, limit: Duration) {
        let passed = now.saturating_duration_since(self.looked_at);
        if passed <= limit / Self::PART * 2 {
            self.waited += passed;
        }
        self.looked_at = self.looked_at.max(now);
    }

    fn is_over(&self, limit: Duration) -> bool {
        self.waited >= limit
    }

    fn next(&self, limit: Duration) -> Instant {
        let left = limit.saturating_sub(self.waited);
        self.looked_at + left.min(limit / Self::PART)
    }
}
