//! The closing handshake (RFC 6455 §7), the deadlines of the sending half, and how a connection ends.

use std::sync::Arc;
use std::time::Instant;

use crate::close::{CloseCode, CloseReason, Closed};
use crate::error::{ProtocolError, SendError, Timeout};
use crate::frame::{Opcode, Role};
use crate::outbound::Outbound;

/// How far the closing handshake is.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) record: Closed,
    sent: bool,
    received: bool,
    /// Where in the stream our Close frame ends.
    pub(crate) end: u64,
    /// The peer, or time, broke the connection: there is no answer to wait for.
    failed: bool,
    /// The transport takes nothing more.
    mute: bool,
    /// The peer's stream has ended.
    eof: bool,
    /// Nothing can be sent or received any more.
    dead: bool,
    /// Of what was queued, something was dropped.
    lost: bool,
    /// The deadline that ended the connection.
    timeout: Option<Timeout>,
    deadline: Instant,
}

impl Closing {
    /// Both Close frames stand; ours may still wait to leave.
    pub(crate) const fn exchanged(&self) -> bool {
        self.sent && self.received && !self.failed
    }
}

impl Outbound {
    /// Begins the closing handshake: queues the Close frame, behind what waits already.
    ///
    /// # Errors
    /// [`SendError::Closing`] if it has begun; [`SendError::InvalidCloseCode`]; [`SendError::ControlTooLong`] for a
    /// reason of more than 123 bytes.
    pub fn close(&mut self, now: Instant, code: CloseCode, reason: &str) -> Result<(), SendError> {
        if self.close.is_some() {
            return Err(SendError::Closing);
        }
        let reason = CloseReason::new(code, reason)?;
        self.begin_close(now, false);
        self.send_close(Some(reason));
        Ok(())
    }

    /// Fails the connection because a deadline passed.
    pub(crate) fn fail_by(&mut self, now: Instant, timeout: Timeout) {
        self.fail_with(now, timeout.close_code(), &timeout.to_string());
    }

    /// Fails the connection (§7.1.7): says why in a Close frame, unless one was sent already.
    pub fn fail(&mut self, now: Instant, error: &ProtocolError) {
        self.fail_with(now, error.close_code(), &error.to_string());
    }

    /// The peer will send nothing more. Without its Close frame the connection is lost; behind it, what waits may still
    /// be sent.
    pub fn handle_eof(&mut self, now: Instant) {
        let waits = !self.outbox.is_empty();
        let close = self.begin_close(now, true);
        close.eof = true;
        if !(close.exchanged() && waits) {
            self.die();
        }
    }

    /// The transport takes nothing more: what waits is dropped. The peer may still be heard, and its Close frame may tell
    /// why.
    pub fn handle_write_error(&mut self, now: Instant) {
        self.outbox.clear();
        let close = self.begin_close(now, true);
        close.mute = true;
        close.lost = true;
        if close.received || close.eof {
            self.die();
        }
    }

    /// Takes note of the time.
    ///
    /// # Errors
    /// [`Timeout::Close`] when the close took too long, [`Timeout::Write`] when the peer reads nothing: the connection
    /// is over.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Timeout> {
        if self
            .write_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.begin_close(now, false).timeout = Some(Timeout::Write);
            self.die();
            return Err(Timeout::Write);
        }
        match &mut self.close {
            Some(close) if !close.dead && close.deadline <= now => {
                // A client that has both Close frames only waited for the server to end the TCP connection, and a
                // failure was told when it was found.
                let told = close.record.clean || close.failed || close.mute;
                close.timeout = (!told).then_some(Timeout::Close);
                self.die();
                if told { Ok(()) } else { Err(Timeout::Close) }
            }
            _ => Ok(()),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.close {
            Some(close) if close.dead => None,
            Some(close) => Some(close.deadline),
            None => self.write_deadline(),
        }
    }

    /// Whether a Close frame was sent or received, or the connection failed.
    #[inline]
    pub const fn is_closing(&self) -> bool {
        self.close.is_some()
    }

    /// Whether the transport's sending side should be shut down now: all was sent, and it is ours to end the connection
    /// (§7.1.1: the server's; after a failure, whoever found it).
    pub fn wants_shutdown(&self) -> bool {
        let ours = |close: &Closing| {
            close.failed || close.dead || (close.exchanged() && self.role() == Role::Server)
        };
        self.close.as_deref().is_some_and(ours) && self.outbox.is_empty()
    }

    /// Whether nothing is left to do: the transport may be dropped.
    pub fn is_done(&self) -> bool {
        let over = |close: &Closing| {
            let ours = close.eof || self.role() == Role::Server;
            close.dead || (close.exchanged() && ours && self.outbox.is_empty())
        };
        self.close.as_deref().is_some_and(over)
    }

    /// Whether the peer's Close frame came.
    pub fn peer_has_closed(&self) -> bool {
        self.close.as_ref().is_some_and(|close| close.received)
    }

    /// Whether the connection is over for good: nothing more will be sent or received.
    pub fn is_dead(&self) -> bool {
        self.close.as_ref().is_some_and(|close| close.dead)
    }

    /// Whether bytes that were queued will never leave: the transport failed, a deadline passed, or the peer was gone.
    pub fn has_lost(&self) -> bool {
        self.close.as_ref().is_some_and(|close| close.lost)
    }

    /// The deadline of the sending half that ended the connection, if one did: it was told to whoever kept the time, and the
    /// others want to know as well.
    pub fn timed_out(&self) -> Option<Timeout> {
        self.close.as_ref().and_then(|close| close.timeout)
    }

    /// The record of the close, as far as it got; `None` while the connection is open.
    pub fn closed(&self) -> Option<&Closed> {
        self.close.as_ref().map(|close| &close.record)
    }

    pub(crate) fn peer_closed(&mut self, now: Instant, reason: Option<CloseReason>) {
        let close = self.begin_close(now, true);
        close.received = true;
        close.record.received = reason.clone();
        let (mute, sent, end, failed) = (close.mute, close.sent, close.end, close.failed);
        if sent && !failed && self.outbox.sent() >= end {
            self.begin_close(now, true).record.clean = true;
        }
        if mute {
            self.die();
        } else if !sent {
            // §5.5.1: the answer "typically echos the status code it received".
            self.send_close(reason.map(|reason| CloseReason {
                reason: Default::default(),
                ..reason
            }));
        }
    }

    /// Hands all that waits to be sent, and the close, to whoever sees them to their end elsewhere. What stays behind is closed,
    /// with the record as it is by now.
    #[must_use]
    pub fn hand_over(&mut self, now: Instant) -> Self {
        let mut left = Self::new(self.mask_key, Arc::clone(&self.config));
        left.begin_close(now, false);
        if let (Some(close), Some(ours)) = (&mut left.close, &self.close) {
            close.record = ours.record.clone();
        }
        left.die();
        std::mem::replace(self, left)
    }

    fn blocked(&self) -> Option<Instant> {
        self.rare.as_ref()?.blocked
    }

    fn write_deadline(&self) -> Option<Instant> {
        let since = self.blocked().filter(|_| self.close.is_none())?;
        Some(since + self.config.timeouts().write)
    }

    fn fail_with(&mut self, now: Instant, code: CloseCode, why: &str) {
        let close = self.begin_close(now, false);
        close.failed = true;
        if !close.sent && !close.mute {
            let end = why.floor_char_boundary(CloseReason::MAX_REASON);
            self.send_close(Some(CloseReason {
                code,
                reason: why[..end].into(),
            }));
        }
    }

    /// The state of the close, which begins now if it has not.
    fn begin_close(&mut self, now: Instant, by_peer: bool) -> &mut Closing {
        let deadline = now + self.config.timeouts().close;
        // No pong follows a Close frame.
        if let Some(rare) = &mut self.rare {
            rare.pongs.forget_late();
        }
        self.close.get_or_insert_with(|| {
            Box::new(Closing {
                record: Closed {
                    by_peer,
                    ..Closed::default()
                },
                sent: false,
                received: false,
                end: 0,
                failed: false,
                mute: false,
                eof: false,
                dead: false,
                lost: false,
                timeout: None,
                deadline,
            })
        })
    }

    /// Nothing more will come or go: give back what was kept for it.
    fn die(&mut self) {
        let lost = !self.outbox.is_empty() || self.blocked().is_some();
        self.outbox.clear();
        self.compressor = None;
        if let Some(close) = &mut self.close {
            close.dead = true;
            close.lost |= lost;
        }
    }

    fn send_close(&mut self, reason: Option<CloseReason>) {
        let payload = reason
            .as_ref()
            .map(CloseReason::payload)
            .unwrap_or_default();
        self.push(Opcode::Close, true, false, &payload);
        // Nothing can follow.
        self.compressor = None;
        let end = self.outbox.end();
        if let Some(close) = &mut self.close {
            close.sent = true;
            close.end = end;
            close.record.sent = reason;
        }
    }
}
