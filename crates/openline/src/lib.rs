//! WebSocket for tokio: RFC 6455 and RFC 7692, client and server, strict, bounded and cancel-safe.
//!
//! # A client
//!
//! ```no_run
//! # async fn run() -> Result<(), openline::Error> {
//! let mut ws = openline::connect("wss://example.org/chat").await?;
//! ws.send("hello").await?;
//! while let Some(message) = ws.next().await {
//!     println!("{:?}", message?);
//! }
//! # Ok(()) }
//! ```
//!
//! [`Client`] has the options: credentials, proxies, redirects, TLS, limits and deadlines. [`Reconnecting`] comes back
//! after a connection was lost.
//!
//! # A server
//!
//! [`Server`] is a whole server with admission and a graceful end. [`accept`] takes a TCP stream, or
//! [any other](Stream::new). In a program that serves HTTP with hyper or axum, use
//! [`upgrade`] (feature `hyper`).
//!
//! # What it takes care of
//!
//! - Pings are answered, and keepalive pings are sent, while the connection is read.
//! - Messages, fragments, heads and the queue of what is to be sent are bounded; handshake, keepalive, slow messages,
//!   stalled writes and the close have deadlines: see [`Config`].
//! - Messages are compressed where both sides want it and [`Config::deflate`] says so; [`Deflate`] tells when to want it.
//! - Servers accept web pages of the same origin only, until told otherwise: see [`OriginPolicy`].
//! - A client tries all addresses of a server, takes the proxy that the environment names, and keeps credentials to the
//!   origin that they are for: see [`Client`].
//! - Every future may be dropped at any point; nothing that was received or queued is lost by it.
//!
//! # Features
//!
//! - `tls` (default): `wss://`, by rustls.
//! - `http2`: WebSockets over HTTP/2 (RFC 8441), many on one connection: see [`http2`].
//! - `hyper`: [`upgrade`], for hyper and axum, over HTTP/1.1 and HTTP/2.
//! - `blocking`: [`blocking`], for programs without a runtime.
//! - `axum`: an extractor, [`axum::WebSocketUpgrade`].
//!
//! The protocol itself, without I/O, is the crate [`proto`].

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "blocking")]
pub mod blocking;
mod client;
mod cork;
mod error;
mod finish;
#[cfg(any(feature = "hyper", feature = "http2"))]
mod gather;
mod guests;
mod handled;
#[cfg(feature = "http2")]
pub mod http2;
mod lent;
mod outcome;
mod outgoing;
mod pieces;
mod receive;
mod scratch;
mod serve;
mod server;
mod shared;
mod split;
mod stream;
mod timer;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "hyper")]
mod upgrade;
mod wakers;
mod websocket;

pub use openline_proto as proto;
pub use openline_proto::handshake::{
    HandshakeError, HeadError, OriginPolicy, Rejection, RequestError, ServerOptions,
};
pub use openline_proto::{
    Broadcast, CloseCode, CloseReason, Closed, Config, Deflate, Kind, Message, ProtocolError,
    SendError, Takeover, Timeout, Utf8Bytes,
};

pub use client::{
    Attempt, Backoff, Cause, Client, ConnectError, CredentialsError, Event, Proxy, ProxyError,
    Reconnecting, RedirectError, connect,
};
pub use cork::{Corked, corked};
pub use error::Error;
pub use lent::MessageRef;
pub use outcome::Outcome;
pub use outgoing::{Outgoing, Uncompressed};
pub use pieces::{MessageReader, MessageWriter};
pub use serve::{Listener, Server};
pub use server::{Acceptor, Opening, accept};
pub use split::{Receiver, Sender};
pub use stream::Stream;
#[cfg(feature = "hyper")]
pub use upgrade::{Upgrade, upgrade};
pub use websocket::{Traffic, WebSocket};
