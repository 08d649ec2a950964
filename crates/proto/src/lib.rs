//! WebSocket (RFC 6455, and its compression, RFC 7692) without I/O.
//!
//! This crate holds the protocol and nothing else: no socket, no runtime, no clock, no source of randomness. Bytes and
//! the time go in, events and bytes come out, so that it runs under any runtime, and under a test, in the same way.
//! The crate `openline` drives it on tokio.
//!
//! - [`handshake`]: the opening handshake of both sides, as pure functions on the types of the `http` crate.
//! - [`Connection`]: everything after it. Its documentation has the loop that drives it.
//! - [`Config`]: limits and deadlines, safe by default.
//!
//! What it keeps between two calls is what it must: at most 14 bytes of a header, and a message that did not come in
//! one piece. An idle connection owns no heap memory.

mod assembly;
mod broadcast;
mod close;
mod closing;
mod config;
mod connection;
mod control;
mod deflate;
mod error;
mod frame;
pub mod handshake;
mod inbound;
mod mask;
mod message;
mod outbound;
mod outbox;
mod timers;
mod trace;
mod utf8;

pub use broadcast::Broadcast;
pub use close::{CloseCode, CloseReason, Closed};
pub use config::{Config, Limits, Timeouts};
pub use connection::Connection;
pub use deflate::{Deflate, Takeover};
pub use error::{ProtocolError, SendError, Timeout};
pub use frame::{Header, Opcode, Role};
pub use inbound::{Inbound, Input};
pub use mask::mask;
pub use message::{Event, Kind, Message, Payload, Piece, Text};
pub use outbound::{MaskKey, Outbound};
pub use utf8::{NotUtf8, Utf8Bytes};
