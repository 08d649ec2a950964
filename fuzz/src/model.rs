//! One end of a conversation, and what must be true of it.

use std::collections::VecDeque;
use std::time::Instant;

use openline_proto::{CloseCode, CloseReason, Config, Kind, Role, SendError, Timeout};

use crate::choices::Choices;
use crate::hearing::Told;
use crate::pair::{End, send};
use crate::wire::check_sent;

/// One end and what the model knows of it.
pub(crate) struct Side {
    pub(crate) end: End,
    pub(crate) config: Config,
    pub(crate) deflate: bool,
    /// What the other end is to be told, in this order: messages, pings that are not keepalive's, the Close frame.
    pub(crate) accepted: Vec<Told>,
    /// Bytes that left and did not arrive.
    pub(crate) pipe: Vec<u8>,
    /// Who began the close, once it began: whether it was the peer.
    pub(crate) by_peer: Option<bool>,
    /// What our Close frame says, once there is one.
    pub(crate) goodbye: Option<Option<CloseReason>>,
    /// A deadline passed that fails the connection.
    pub(crate) failed: bool,
    /// Nothing is heard any more.
    pub(crate) deaf: bool,
    /// Nothing can leave any more.
    pub(crate) mute: bool,
    /// Our sending side was shut down.
    pub(crate) shut: bool,
    /// How much of what was told the model has seen.
    pub(crate) seen: usize,
    /// How much of what the other end accepted has arrived.
    pub(crate) arrived: usize,
    /// Pings that came and are not answered.
    pub(crate) unanswered: VecDeque<Vec<u8>>,
    /// How much of what left the model has seen.
    pub(crate) walked: usize,
    /// Our Close frame left.
    pub(crate) said_goodbye: bool,
    /// The message that is being sent in pieces, as far as it was accepted.
    pub(crate) unfinished: Option<(Kind, Vec<u8>)>,
}

impl Side {
    pub(crate) fn new(config: Config, end: End, deflate: bool) -> Self {
        Self {
            end,
            config,
            deflate,
            accepted: Vec::new(),
            pipe: Vec::new(),
            by_peer: None,
            goodbye: None,
            failed: false,
            deaf: false,
            mute: false,
            shut: false,
            seen: 0,
            arrived: 0,
            unanswered: VecDeque::new(),
            walked: 0,
            said_goodbye: false,
            unfinished: None,
        }
    }

    /// Whether a message must be refused now, and why.
    fn refusal(&self) -> Option<SendError> {
        let (queued, limit) = (
            self.end.connection.queued(),
            self.config.limits().max_outbox,
        );
        if self.by_peer.is_some() {
            Some(SendError::Closing)
        } else if queued > 0 && queued >= limit {
            Some(SendError::Full { queued, limit })
        } else {
            None
        }
    }

    pub(crate) fn send(&mut self, method: u8, choices: &mut Choices<'_>) {
        let payload = choices.payload();
        let unfinished = self.unfinished.is_some().then_some(SendError::Unfinished);
        let refusal = self.refusal().or(unfinished);
        let (sent, told) = send(
            &mut self.end.connection,
            method >> 1,
            method & 1 == 0,
            payload,
        );
        assert_eq!(sent.err(), refusal);
        if refusal.is_none() {
            self.accepted.push(told);
        }
    }

    /// Sends a piece, of a message that it begins if there is none.
    pub(crate) fn send_piece(&mut self, how: u8, choices: &mut Choices<'_>) {
        const LONGEST: usize = 1 << 19; // less than the other end takes
        let payload = choices.payload();
        let connection = &mut self.end.connection;
        if self.unfinished.is_none() {
            let kind = if how & 1 == 0 {
                Kind::Text
            } else {
                Kind::Binary
            };
            let room = self.refusal();
            let connection = &mut self.end.connection;
            let none = room.or(Some(SendError::NotBegun));
            assert_eq!(connection.send_piece(&payload, true).err(), none);
            assert_eq!(connection.begin(kind, how & 2 == 0).err(), room);
            if room.is_some() {
                return;
            }
            self.unfinished = Some((kind, Vec::new()));
        } else {
            let again = connection.begin(Kind::Text, true).err();
            assert_eq!(again, self.refusal().or(Some(SendError::Unfinished)));
        }
        let room = self.refusal();
        let Some((kind, message)) = &mut self.unfinished else {
            return;
        };
        let before = message.len();
        message.extend_from_slice(&payload);
        let last = how & 4 != 0 || message.len() > LONGEST;
        // A character may be cut between pieces, but must not be wrong, nor end with the message.
        let wrong = match std::str::from_utf8(message) {
            Err(error) if *kind == Kind::Text => last || error.error_len().is_some(),
            _ => false,
        };
        let refusal = room.or(wrong.then_some(SendError::NotUtf8));
        let sent = self.end.connection.send_piece(&payload, last);
        assert_eq!(sent.err(), refusal);
        if refusal.is_some() {
            message.truncate(before);
        } else if last {
            let told = match kind {
                Kind::Text => Told::Text(String::from_utf8_lossy(message).into_owned()),
                Kind::Binary => Told::Binary(message.clone()),
            };
            self.accepted.push(told);
            self.unfinished = None;
        }
    }

    pub(crate) fn ping(&mut self, payload: Vec<u8>) {
        let too_long = SendError::ControlTooLong {
            length: payload.len(),
            limit: 125,
        };
        let refusal = self.refusal().or((payload.len() > 125).then_some(too_long));
        assert_eq!(self.end.connection.ping(&payload).err(), refusal);
        if refusal.is_none() {
            self.accepted.push(Told::Ping(payload));
        }
    }

    pub(crate) fn close(&mut self, now: Instant, choices: &mut Choices<'_>) {
        let code =
            CloseCode(choices.pick(&[1000, 1001, 1005, 1006, 1014, 1015, 2999, 3000, 4999, 5000]));
        let reason = "r".repeat(usize::from(choices.byte()) % 130);
        let refusal = if self.by_peer.is_some() {
            Some(SendError::Closing)
        } else if !code.may_travel() {
            Some(SendError::InvalidCloseCode(code))
        } else if reason.len() > 123 {
            Some(SendError::ControlTooLong {
                length: reason.len(),
                limit: 123,
            })
        } else {
            None
        };
        assert_eq!(self.end.connection.close(now, code, &reason).err(), refusal);
        if refusal.is_none() {
            self.said(
                false,
                CloseReason {
                    code,
                    reason: reason.as_str().into(),
                },
            );
        }
    }

    pub(crate) fn said(&mut self, by_peer: bool, reason: CloseReason) {
        self.by_peer.get_or_insert(by_peer);
        self.goodbye = Some(Some(reason.clone()));
        self.accepted.push(Told::Close(Some(reason)));
    }

    pub(crate) fn write(&mut self, most: usize, slices: usize) {
        if self.mute {
            return;
        }
        let bytes = self.end.write(most, slices).to_vec();
        self.pipe.extend(bytes);
    }

    pub(crate) fn write_error(&mut self, now: Instant) {
        self.mute = true;
        self.by_peer.get_or_insert(true);
        self.end.connection.handle_write_error(now);
    }

    pub(crate) fn eof(&mut self, now: Instant) {
        self.deaf = true;
        self.by_peer.get_or_insert(true);
        self.end.connection.handle_eof(now);
    }

    pub(crate) fn timeouts(&mut self, now: Instant) {
        for _ in 0..4 {
            if let Err(timeout) = self.end.connection.handle_timeout(now) {
                self.end.told.push(Told::Timeout(timeout));
                self.note(&[]);
            }
            if self
                .end
                .connection
                .poll_timeout()
                .is_none_or(|next| next > now)
            {
                return;
            }
        }
        panic!("a deadline that passed must move or vanish");
    }

    /// What was told must be the next that the other end accepted; it may begin a close, or end it.
    pub(crate) fn note(&mut self, accepted: &[Told]) {
        while let Some(told) = self.end.told.get(self.seen) {
            self.seen += 1;
            let keepalive = *told == Told::Ping(Vec::new());
            if !keepalive && !matches!(told, Told::Pong(_) | Told::Timeout(_) | Told::Error(_)) {
                assert_eq!(Some(told), accepted.get(self.arrived), "in order and once");
                self.arrived += 1;
            }
            match told.clone() {
                Told::Close(reason) => {
                    if self.goodbye.is_none() && !self.mute {
                        let echo = reason.map(|reason| CloseReason {
                            code: reason.code,
                            reason: "".into(),
                        });
                        self.goodbye = Some(echo.clone());
                        self.accepted.push(Told::Close(echo));
                    }
                    self.by_peer.get_or_insert(true);
                }
                Told::Timeout(Timeout::Close | Timeout::Write) => {
                    self.by_peer.get_or_insert(false);
                    self.deaf = true;
                }
                Told::Timeout(timeout) => {
                    self.failed = true;
                    self.deaf = true;
                    let code = timeout.close_code();
                    let reason = CloseReason {
                        code,
                        reason: timeout.to_string().as_str().into(),
                    };
                    if self.goodbye.is_none() && !self.mute {
                        self.said(false, reason);
                    }
                    self.by_peer.get_or_insert(false);
                }
                Told::Error(error) => panic!("no end broke the protocol, and yet: {error}"),
                Told::Ping(payload) => self.unanswered.push_back(payload),
                Told::Text(_) | Told::Binary(_) | Told::Pong(_) => {}
            }
        }
    }

    /// What left is right, and pongs answer the other end's pings, in their order.
    pub(crate) fn walk(&mut self) {
        let mut left = &self.end.left[self.walked..];
        for frame in check_sent(self.end.connection.role(), &mut left, self.deflate) {
            assert!(!self.said_goodbye, "nothing follows a Close frame");
            self.said_goodbye = frame.opcode() == 8;
            while frame.opcode() == 10 {
                let ping = self.unanswered.pop_front();
                if ping.expect("a pong that answers no ping") == frame.payload {
                    break;
                }
            }
        }
        assert!(
            !self.said_goodbye || left.is_empty(),
            "nothing follows a Close frame"
        );
        self.walked = self.end.left.len() - left.len();
    }

    pub(crate) fn check(&self) {
        let connection = &self.end.connection;
        assert_eq!(connection.is_closing(), self.by_peer.is_some());
        if self.mute {
            assert_eq!(connection.queued(), 0, "what can't leave is not kept");
        }
        let Some(closed) = connection.closed() else {
            assert!(
                self.by_peer.is_none() && !connection.wants_shutdown() && !connection.is_done()
            );
            return;
        };
        let received = self.end.told.iter().find_map(|told| match told {
            Told::Close(reason) => Some(reason),
            _ => None,
        });
        let clean = received.is_some() && self.said_goodbye && !self.failed;
        assert!(clean || !closed.clean, "{closed:?}");
        if clean && connection.role() == Role::Server && connection.queued() == 0 {
            assert!(connection.is_done(), "a server waits for nothing more");
        }
        assert_eq!(closed.received, received.cloned().flatten());
        assert_eq!(closed.sent, self.goodbye.clone().flatten());
        assert_eq!(closed.clean, clean, "{closed:?}");
        assert_eq!(Some(closed.by_peer), self.by_peer);
    }
}
