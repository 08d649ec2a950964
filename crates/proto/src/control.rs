//! Pings and pongs (RFC 6455 §5.5.2, §5.5.3): answering the peer's, and whether ours have left.

use std::collections::VecDeque;
use std::time::Instant;

use crate::frame::Opcode;
use crate::message::Event;
use crate::outbound::Outbound;

/// Pongs that may wait at once. A peer that pings faster than it reads gets the newest of the rest: §5.5.3 allows to
/// answer only the latest ping, and a bound it must have.
const MAX_PONGS: usize = 32;

/// Pongs that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Pongs {
    /// Where in the stream they end.
    ends: VecDeque<u64>,
    late: Option<Box<[u8]>>,
}

impl Pongs {
    pub(crate) fn forget_late(&mut self) {
        self.late = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.late.is_none()
    }
}

/// What became of the last keepalive ping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KeepalivePing {
    /// There was no room for it.
    Refused,
    /// It stands behind other bytes, and ends there in the stream.
    Queued(u64),
    /// The peer has it.
    #[default]
    Left,
}

impl Outbound {
    /// Does what an event of the receiving half calls for: answers a ping, or the peer's Close.
    pub fn react(&mut self, now: Instant, event: &Event<'_>) {
        match event {
            Event::Ping(payload) if self.close.is_none() => self.pong(payload),
            Event::Close(reason) => self.peer_closed(now, reason.clone()),
            _ => {}
        }
    }

    /// Queues a keepalive ping; the compressor of an idle connection is given back.
    pub(crate) fn keepalive(&mut self) {
        let waits = !self.outbox.is_empty();
        let ping = match self.ping(b"") {
            Ok(()) if waits => KeepalivePing::Queued(self.outbox.end()),
            Ok(()) => KeepalivePing::Left,
            Err(_) => KeepalivePing::Refused,
        };
        self.keepalive_is(ping);
        if let Some(compressor) = &mut self.compressor {
            compressor.idle();
        }
    }

    /// Whether the peer has had the keepalive ping for the whole wait. One that had to queue is waited for anew once it
    /// has left.
    pub(crate) fn pong_is_due(&mut self) -> bool {
        let ping = self.rare.as_ref().map(|rare| rare.ping).unwrap_or_default();
        match ping {
            // The close has a deadline of its own.
            _ if self.close.is_some() => {}
            KeepalivePing::Left => return true,
            KeepalivePing::Refused => self.keepalive(),
            KeepalivePing::Queued(end) if self.outbox.sent() >= end => {
                self.keepalive_is(KeepalivePing::Left);
            }
            KeepalivePing::Queued(_) => {}
        }
        false
    }

    fn keepalive_is(&mut self, ping: KeepalivePing) {
        if ping != KeepalivePing::Left || self.rare.is_some() {
            self.rare().ping = ping;
            self.tidy();
        }
    }

    fn pong(&mut self, payload: &[u8]) {
        let pongs = &mut self.rare().pongs;
        if pongs.ends.len() >= MAX_PONGS {
            pongs.late = Some(payload.into());
            return;
        }
        self.push(Opcode::Pong, true, false, payload);
        let end = self.outbox.end();
        self.rare().pongs.ends.push_back(end);
    }

    /// So many bytes were sent since the beginning: the pongs among them wait no more.
    pub(crate) fn pongs_left(&mut self, sent: u64) {
        let Some(rare) = &mut self.rare else { return };
        let pongs = &mut rare.pongs;
        if pongs.ends.front().is_none_or(|end| *end > sent) {
            return;
        }
        pongs.ends.retain(|end| *end > sent);
        let late = pongs.late.take();
        if let Some(payload) = late {
            self.pong(&payload);
        }
    }
}
