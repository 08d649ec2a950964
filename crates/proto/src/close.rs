//! Closing: codes, the payload of a Close frame, and the record of a whole close.

use std::fmt;

use bytes::{BufMut, BytesMut};

use crate::error::{ProtocolError, SendError};
use crate::utf8::Utf8Bytes;

/// A close code (RFC 6455 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: an endpoint goes away: a server shuts down, a page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// 1003: a kind of data that the endpoint can't take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: the data does not fit the message's type, as text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: the endpoint's policy forbids it.
    pub const POLICY: Self = Self(1008);
    /// 1009: the message is too big to process.
    pub const TOO_BIG: Self = Self(1009);
    /// 1010: a client misses an extension that the server should have accepted.
    pub const EXTENSION: Self = Self(1010);
    /// 1011: the endpoint met a condition that it did not expect.
    pub const INTERNAL: Self = Self(1011);
    /// 1012: the service restarts; come back.
    pub const RESTART: Self = Self(1012);
    /// 1013: the service is overloaded; try again later.
    pub const TRY_AGAIN: Self = Self(1013);

    /// Whether the code may stand in a Close frame (§7.4.1, §7.4.2 and IANA's registry): 1005, 1006 and 1015 are
    /// only for talking about a close, and whole ranges are reserved.
    pub const fn may_travel(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

/// What a Close frame says: a code, and a reason for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// The code.
    pub code: CloseCode,
    /// At most 123 bytes; often empty.
    pub reason: Utf8Bytes,
}

impl CloseReason {
    /// The longest reason, in bytes: a control frame's 125 less the code's two (§5.5).
    pub const MAX_REASON: usize = 123;

    /// Reads a Close frame's payload (§5.5.1): empty, or a valid code and UTF-8.
    pub(crate) fn parse(payload: &[u8]) -> Result<Option<Self>, ProtocolError> {
        let Some((code, reason)) = payload.split_first_chunk() else {
            return if payload.is_empty() {
                Ok(None)
            } else {
                Err(ProtocolError::ClosePayloadOfOneByte)
            };
        };
        let code = CloseCode(u16::from_be_bytes(*code));
        if !code.may_travel() {
            return Err(ProtocolError::InvalidCloseCode(code));
        }
        let reason = simdutf8::basic::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
        Ok(Some(Self {
            code,
            reason: reason.into(),
        }))
    }

    /// Checks a close that is to be sent.
    pub(crate) fn new(code: CloseCode, reason: &str) -> Result<Self, SendError> {
        if !code.may_travel() {
            return Err(SendError::InvalidCloseCode(code));
        }
        if reason.len() > Self::MAX_REASON {
            return Err(SendError::ControlTooLong {
                length: reason.len(),
                limit: Self::MAX_REASON,
            });
        }
        Ok(Self {
            code,
            reason: reason.into(),
        })
    }

    pub(crate) fn payload(&self) -> BytesMut {
        let mut payload = BytesMut::with_capacity(2 + self.reason.as_bytes().len());
        payload.put_u16(self.code.0);
        payload.put_slice(self.reason.as_bytes());
        payload
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code.fmt(f)?;
        if !self.reason.as_bytes().is_empty() {
            write!(f, " ({})", self.reason.as_str().escape_debug())?;
        }
        Ok(())
    }
}

/// How a connection was closed: both Close frames, and which came first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// What the peer's Close frame said; `None` if it said nothing or never came.
    pub received: Option<CloseReason>,
    /// What ours said.
    pub sent: Option<CloseReason>,
    /// The peer began it.
    pub by_peer: bool,
    /// Both Close frames were exchanged, as §7.1.4 wants it.
    pub clean: bool,
}

impl Closed {
    /// The code of §7.1.5: the peer's, 1005 where its Close frame had none, 1006 where no Close frame came.
    pub fn code(&self) -> CloseCode {
        match &self.received {
            Some(reason) => reason.code,
            None if self.clean => CloseCode(1005),
            None => CloseCode(1006),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_travel_are_read() {
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
        ] {
            let payload = u16::to_be_bytes(code);
            assert_eq!(
                CloseReason::parse(&payload),
                Err(ProtocolError::InvalidCloseCode(CloseCode(code)))
            );
        }
        for code in [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
            4000, 4999,
        ] {
            let read = CloseReason::parse(&u16::to_be_bytes(code))
                .unwrap()
                .unwrap();
            assert_eq!(read.code, CloseCode(code));
        }
    }

    #[test]
    fn a_payload_is_empty_or_holds_a_whole_code() {
        assert_eq!(CloseReason::parse(b""), Ok(None));
        assert_eq!(
            CloseReason::parse(&[3]),
            Err(ProtocolError::ClosePayloadOfOneByte)
        );
        assert_eq!(
            CloseReason::parse(&[3, 0xe8, 0xff]),
            Err(ProtocolError::InvalidUtf8)
        );
    }

    #[test]
    fn what_is_sent_is_checked_too() {
        assert_eq!(
            CloseReason::new(CloseCode(1005), ""),
            Err(SendError::InvalidCloseCode(CloseCode(1005)))
        );
        let long = "x".repeat(124);
        assert_eq!(
            CloseReason::new(CloseCode::NORMAL, &long),
            Err(SendError::ControlTooLong {
                length: 124,
                limit: 123
            })
        );
        let reason = CloseReason::new(CloseCode::NORMAL, &long[1..]).unwrap();
        assert_eq!(reason.payload().len(), 125);
    }
}
