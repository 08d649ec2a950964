//! Errors, by who is at fault: the peer ([`ProtocolError`]), our caller ([`SendError`]), or time ([`Timeout`]).

use crate::close::CloseCode;
use crate::utf8::NotUtf8;

/// The peer broke the protocol or went over a limit: the connection fails (RFC 6455 §7.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit is set that no negotiated extension gave a meaning.
    #[error(
        "the peer set a reserved bit (RSV1, RSV2 or RSV3) that no extension uses (RFC 6455 §5.2)"
    )]
    ReservedBits,
    /// An opcode that is reserved.
    #[error("the peer sent a frame with the reserved opcode {0:#x} (RFC 6455 §5.2)")]
    ReservedOpcode(u8),
    /// A client must mask.
    #[error("the client sent an unmasked frame (RFC 6455 §5.1)")]
    UnmaskedFrame,
    /// A server must not mask.
    #[error("the server sent a masked frame (RFC 6455 §5.1)")]
    MaskedFrame,
    /// A control frame in pieces.
    #[error("the peer fragmented a control frame (RFC 6455 §5.5)")]
    FragmentedControl,
    /// A control frame of more than 125 bytes.
    #[error("the peer sent a control frame of more than 125 bytes (RFC 6455 §5.5)")]
    ControlTooLong,
    /// A length in more bytes than it needs.
    #[error("the peer encoded a frame's length in more bytes than needed (RFC 6455 §5.2)")]
    LengthNotMinimal,
    /// A length of 2^63 or more.
    #[error("the peer sent a frame length with the most significant bit set (RFC 6455 §5.2)")]
    LengthTooLarge,
    /// A continuation frame with nothing to continue.
    #[error("the peer sent a continuation frame outside of a fragmented message (RFC 6455 §5.4)")]
    UnexpectedContinuation,
    /// A new message inside of one that is not finished.
    #[error("the peer began a message before it finished the last one (RFC 6455 §5.4)")]
    UnfinishedMessage,
    /// Text that is not UTF-8.
    #[error("the peer sent text that is not valid UTF-8 (RFC 6455 §8.1)")]
    InvalidUtf8,
    /// Compressed data that can't be inflated.
    #[error("the peer sent compressed data that is not valid DEFLATE (RFC 7692 §7.2.2)")]
    InvalidDeflate,
    /// A Close payload of a single byte.
    #[error("the peer sent a Close frame with half a code (RFC 6455 §5.5.1)")]
    ClosePayloadOfOneByte,
    /// A close code that must not stand in a Close frame.
    #[error("the peer sent the close code {0}, which must not travel (RFC 6455 §7.4)")]
    InvalidCloseCode(CloseCode),
    /// A message over [`Config::max_message`](crate::Config::max_message).
    #[error(
        "the peer's message is longer than the limit of {limit} bytes; raise `Config::max_message` to take it"
    )]
    MessageTooBig {
        /// The limit in bytes.
        limit: usize,
    },
    /// A message in more fragments than [`Config::max_fragments`](crate::Config::max_fragments).
    #[error(
        "the peer's message came in more than {limit} fragments; raise `Config::max_fragments` to take it"
    )]
    TooManyFragments {
        /// The limit.
        limit: u32,
    },
}

impl ProtocolError {
    /// The code of the Close frame that answers the error (§7.4.1).
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::UnmaskedFrame
            | Self::MaskedFrame
            | Self::FragmentedControl
            | Self::ControlTooLong
            | Self::LengthNotMinimal
            | Self::LengthTooLarge
            | Self::UnexpectedContinuation
            | Self::UnfinishedMessage
            | Self::ClosePayloadOfOneByte
            | Self::InvalidCloseCode(_) => CloseCode::PROTOCOL,
            Self::InvalidUtf8 | Self::InvalidDeflate => CloseCode::INVALID_DATA,
            Self::MessageTooBig { .. } => CloseCode::TOO_BIG,
            Self::TooManyFragments { .. } => CloseCode::POLICY,
        }
    }
}

impl From<NotUtf8> for ProtocolError {
    fn from(_: NotUtf8) -> Self {
        Self::InvalidUtf8
    }
}

/// A command could not be carried out; nothing was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// A Close frame was sent, or the connection failed: nothing can follow (RFC 6455 §5.5.1).
    #[error(
        "the connection is closing: nothing can be sent after the Close frame (RFC 6455 §5.5.1)"
    )]
    Closing,
    /// The peer reads slower than we send. Flush, or drop what is stale, and try again.
    #[error(
        "{queued} bytes wait to be sent and the limit is {limit}: flush, or raise `Config::max_outbox`"
    )]
    Full {
        /// Bytes that wait.
        queued: usize,
        /// [`Config::max_outbox`](crate::Config::max_outbox).
        limit: usize,
    },
    /// A message is being sent in pieces: no other can be sent before its last piece (RFC 6455 §5.4).
    #[error("a message is being sent in pieces: finish it before you send another (RFC 6455 §5.4)")]
    Unfinished,
    /// A piece of a message that was not begun.
    #[error("there is no message to send a piece of: begin one first")]
    NotBegun,
    /// What was to be sent as text is not UTF-8.
    #[error("text must be UTF-8, and this is not: send it as binary (RFC 6455 §8.1)")]
    NotUtf8,
    /// A ping's, pong's or close's payload is too long.
    #[error("a control frame's payload has {length} bytes and at most {limit} fit (RFC 6455 §5.5)")]
    ControlTooLong {
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A close code that must not travel: 1000, or your own from 3000 to 4999, are good choices.
    #[error(
        "the close code {0} must not stand in a Close frame (RFC 6455 §7.4); use 1000, or 3000 to 4999 for your own"
    )]
    InvalidCloseCode(CloseCode),
}

/// A deadline that passed; the connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Timeout {
    /// Nothing came from the peer within [`Config::pong_timeout`](crate::Config::pong_timeout) after a keepalive ping.
    #[error("the peer did not answer a ping in time")]
    Pong,
    /// No message for longer than [`Config::idle_timeout`](crate::Config::idle_timeout).
    #[error("no message came for too long")]
    Idle,
    /// A message was waited for longer than [`Config::message_timeout`](crate::Config::message_timeout), from its first byte
    /// to its last.
    #[error("a message took too long to arrive whole")]
    Message,
    /// The peer took nothing of what waits to be sent for longer than
    /// [`Config::write_timeout`](crate::Config::write_timeout).
    #[error("the peer reads nothing of what is sent to it")]
    Write,
    /// The closing handshake took longer than [`Config::close_timeout`](crate::Config::close_timeout).
    #[error("the peer did not finish the closing handshake in time")]
    Close,
    /// The opening handshake took longer than [`Config::handshake_timeout`](crate::Config::handshake_timeout).
    #[error("the peer did not finish the opening handshake in time")]
    Handshake,
}
