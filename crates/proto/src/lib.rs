//! WebSocket (RFC 6455, with its compression, RFC 7692, and over HTTP/2, RFC 8441) without I/O.
//!
//! This crate holds the protocol and nothing else: no socket, no runtime, no clock, no source of randomness. Bytes and
//! the time go in, events and bytes come out, so that it runs under any runtime, and under a test, in the same way.
//! The crate `openline` drives it on tokio: take that one, unless you have a runtime or a transport of your own.
//!
//! # In which order to read
//!
//! 1. [`handshake`]: the opening handshake of both sides, as pure functions on the types of the `http` crate, for HTTP/1.1 and
//!    HTTP/2. [`handshake::HeadReader`] reads heads where there is no HTTP library.
//! 2. [`Connection`]: everything after it. Its documentation has the loop that drives it.
//! 3. [`Config`]: limits and deadlines, safe by default; [`Deflate`]: compression.
//! 4. [`Inbound`] and [`Outbound`]: the halves of a connection, for whoever reads and writes at different places.
//!
//! # A conversation
//!
//! Both ends, with an array for a network:
//!
//! ```
//! use std::io::IoSlice;
//! use std::time::Instant;
//!
//! use openline_proto::{CloseCode, Connection, Event, Input};
//!
//! /// What one end has to send.
//! fn take(from: &mut Connection) -> Vec<u8> {
//!     let mut slices = [IoSlice::new(&[]); 16];
//!     let filled = from.poll_slices(&mut slices);
//!     let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
//!     from.written(bytes.len());
//!     bytes
//! }
//!
//! let now = Instant::now();
//! let mut server = Connection::server(Default::default(), now);
//! // A real client draws its masking keys from a strong source of randomness.
//! let mut client = Connection::client(Default::default(), || [1, 2, 3, 4], now);
//!
//! client.send_text("hello")?;
//! client.close(now, CloseCode::NORMAL, "that was all")?;
//! let mut bytes = take(&mut client);
//! let mut input = Input::new(&mut bytes);
//! let Some(Event::Text(text)) = server.handle_input(now, &mut input)? else { panic!("no text") };
//! assert_eq!(&*text, "hello");
//! let Some(Event::Close(Some(reason))) = server.handle_input(now, &mut input)? else { panic!("no close") };
//! assert_eq!(reason.to_string(), "1000 (that was all)");
//!
//! // The answer to the close is queued already.
//! let mut bytes = take(&mut server);
//! assert!(matches!(client.handle_input(now, &mut Input::new(&mut bytes))?, Some(Event::Close(_))));
//! assert!(client.closed().is_some_and(|closed| closed.clean));
//! assert!(server.is_done());
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # What else there is
//!
//! - **Long messages in pieces**, in memory that does not grow: [`Connection::handle_input_in_pieces`] tells them as they come,
//!   [`Connection::begin`] and [`Connection::send_piece`] send them.
//! - **One message for many**: a [`Broadcast`] is encoded and compressed once in each form that is needed.
//! - **Time**: [`Connection::poll_timeout`] tells when to call [`Connection::handle_timeout`]: one deadline for keepalive, slow
//!   messages, stalled writes and the close.
//! - **Errors name the guilty side**: [`ProtocolError`] the peer, [`SendError`] the caller, [`Timeout`] nobody but time.
//!
//! # Memory
//!
//! The caller owns the input, and a message that came in one piece is lent from it. What is kept between two calls is what must be: at
//! most 14 bytes of a header, and a message that did not come in one piece, which grows with what came of it and not by what
//! was claimed. An idle connection owns no heap memory, but for the windows of compression where that was agreed on. [`Config`]
//! has the worst case.
//!
//! # Traces
//!
//! Frames are told at TRACE, by `tracing`, with the target `openline::frames`; nothing else is. A subscriber's clock is its own.

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
