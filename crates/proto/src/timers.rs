//! The receiving half's timers: keepalive, pong wait, idle, message. One table, one deadline.

use std::num::NonZeroU64;
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
///
/// Only one is kept as it is; of the others, how far they are from it. An `Instant` is twice as large as a distance.
#[derive(Debug)]
pub(crate) struct Timers {
    last_byte: Instant,
    /// How long before the last byte the last message came, in nanoseconds. Negative if it was told later: of a compressed
    /// message, pieces are told while nothing comes.
    silent: i64,
    /// How long after the last byte a ping was sent, in nanoseconds, if no byte came since.
    pinged: Option<NonZeroU64>,
}

impl Timers {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            last_byte: now,
            silent: 0,
            pinged: None,
        }
    }

    /// Any byte is a sign of life: a pong may stand behind a long message.
    pub(crate) fn received(&mut self, now: Instant) {
        let since = i64::try_from(self.since_last_byte(now)).unwrap_or(i64::MAX);
        self.silent = self.silent.saturating_add(since);
        self.last_byte = now;
        self.pinged = None;
    }

    pub(crate) fn message(&mut self, now: Instant) {
        let since = i64::try_from(self.since_last_byte(now)).unwrap_or(i64::MAX);
        self.silent = -since;
    }

    /// Bytes came, and a message with the last of them.
    #[inline]
    pub(crate) const fn received_message(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// The wait for a pong begins anew: the ping has not left yet, or only just.
    pub(crate) fn wait_on(&mut self, now: Instant) {
        // A ping is never sent in the very moment of a byte.
        let since = NonZeroU64::new(self.since_last_byte(now));
        self.pinged = Some(since.unwrap_or(NonZeroU64::MIN));
    }

    fn since_last_byte(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.last_byte).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn last_message(&self) -> Instant {
        let distance = Duration::from_nanos(self.silent.unsigned_abs());
        match self.silent {
            ..=0 => self.last_byte + distance,
            _ => self
                .last_byte
                .checked_sub(distance)
                .unwrap_or(self.last_byte),
        }
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
            self.wait_on(now);
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
            Some(since) => {
                let pinged = self.last_byte + Duration::from_nanos(since.get());
                Some((pinged + limits.pong, Due::Fail(Timeout::Pong)))
            }
            None => limits
                .ping_interval
                .map(|interval| (self.last_byte + interval, Due::Ping)),
        };
        // Who sends a message is not idle; that one has a deadline of its own.
        let idle = limits
            .idle
            .filter(|_| !mid_message)
            .map(|limit| (self.last_message() + limit, Due::Fail(Timeout::Idle)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        #[allow(clippy::disallowed_methods, reason = "instants have no other beginning")]
        fn distances_tell_the_instants(
            steps in vec((0u8..4, prop_oneof![Just(0), 0u64..1 << 20, 0u64..1 << 40]), 0..40),
        ) {
            let mut now = Instant::now();
            let mut timers = Timers::new(now);
            let (mut last_byte, mut last_message, mut pinged) = (now, now, None);
            for (step, passed) in steps {
                now += Duration::from_nanos(passed);
                match step {
                    0 => {
                        timers.received(now);
                        (last_byte, pinged) = (now, None);
                    }
                    1 => {
                        timers.message(now);
                        last_message = now;
                    }
                    2 => {
                        timers.received_message(now);
                        (last_byte, last_message, pinged) = (now, now, None);
                    }
                    _ => {
                        now += Duration::from_nanos(1);
                        timers.wait_on(now);
                        pinged = Some(now);
                    }
                }
                prop_assert_eq!(timers.last_byte, last_byte);
                prop_assert_eq!(timers.last_message(), last_message);
                let since = |since: NonZeroU64| last_byte + Duration::from_nanos(since.get());
                prop_assert_eq!(timers.pinged.map(since), pinged);
            }
        }
    }
}
