//! The receiving half's timers: keepalive, pong wait, idle, message. One table, one deadline.

use std::time::Instant;

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
        message: Option<Instant>,
        limits: &Timeouts,
    ) -> Option<Due> {
        let (at, due) = self
            .table(message, limits)
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

    pub(crate) fn next(&self, message: Option<Instant>, limits: &Timeouts) -> Option<Instant> {
        self.table(message, limits)
            .into_iter()
            .flatten()
            .map(|(at, _)| at)
            .min()
    }

    #[inline]
    fn table(&self, message: Option<Instant>, limits: &Timeouts) -> [Option<(Instant, Due)>; 3] {
        let keepalive = match self.pinged {
            Some(since) => Some((since + limits.pong, Due::Fail(Timeout::Pong))),
            None => limits
                .ping_interval
                .map(|interval| (self.last_byte + interval, Due::Ping)),
        };
        let idle = limits
            .idle
            .map(|limit| (self.last_message + limit, Due::Fail(Timeout::Idle)));
        let message =
            message.map(|started| (started + limits.message, Due::Fail(Timeout::Message)));
        [message, keepalive, idle]
    }
}
