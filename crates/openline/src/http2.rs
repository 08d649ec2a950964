//! WebSockets over HTTP/2 (RFC 8441): many on one connection, each a stream that is opened by an extended CONNECT.
//!
//! # A server
//!
//! [`Server::http2`](crate::Server::http2) has a whole server speak both versions on one port. In programs that serve HTTP
//! with hyper or axum, [`upgrade`](crate::upgrade()) and the axum extractor take both.
//!
//! # A client
//!
//! ```
//! use openline::{Client, Server, http2};
//! use tokio::net::TcpListener;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let url = format!("ws://{}/", listener.local_addr()?);
//! let server = Server::default().http2(http2::Settings::default());
//! tokio::spawn(server.run(listener, std::future::pending(), async |mut ws, request| {
//!     ws.send(request.uri().path()).await
//! }));
//!
//! let connection = Client::new(&url)?.connect_http2().await?;
//! let (mut first, _) = connection.open(Client::new(&format!("{url}first"))?).await?;
//! let (mut second, _) = connection.open(Client::new(&format!("{url}second"))?).await?;
//! assert_eq!(second.next().await.expect("open")?.as_text(), Some("/second"));
//! assert_eq!(first.next().await.expect("open")?.as_text(), Some("/first"));
//! # Ok::<_, Box<dyn std::error::Error>>(()) })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! Over `wss` the version is agreed on by ALPN. `ws` is HTTP/2 *with prior knowledge* (RFC 9113 §3.3): the server is taken to
//! speak it, as those behind a proxy do.
//!
//! # What a stream is
//!
//! A WebSocket on a stream is one on a connection of its own, as RFC 8441 §5 wants it: what ends a TCP connection there ends
//! the stream here (`END_STREAM`), and a WebSocket that is dropped without a close resets it (`RST_STREAM` with `CANCEL`).
//! Its peers on the connection are not touched.
//!
//! # Flow control
//!
//! - **What comes in**: each stream has a window of its own, and gives it back as its messages are *taken*. One that nobody
//!   reads stalls by itself once its window is used up, and costs that much memory and no more: its bytes are kept in one
//!   piece, however small the frames were. The connection as a whole has the largest window that there is: it is the sum of
//!   the streams', so it can be no bound to one of them because of another.
//! - **What goes out** waits for the peer's window, with at most 64 KiB and a frame beyond it. Then
//!   [`send`](crate::WebSocket::send) waits, and [`Config::write_timeout`](crate::Config::write_timeout) runs.
//!
//! A window of 64 KiB, HTTP/2's own default, lets one stream bring 64 KiB a round trip: 1.3 MB/s at 50 ms. It is what a
//! server's worst case is counted in: [`Settings::max_streams`] windows a connection. A client has 256 KiB, since it opens few
//! streams and mostly receives; [`Client::http2_window`](crate::Client::http2_window) sets it.
//!
//! # Floods
//!
//! Streams past [`Settings::max_streams`] are refused, and so are new ones while handlers of streams that were reset still run:
//! opening and resetting in turn gains nothing. A client that resets 20 streams before they are even seen, breaks the protocol in
//! 100 or sends frames without content again and again is sent away (`GOAWAY` with `ENHANCE_YOUR_CALM`). Heads are bounded
//! by [`Config::max_head`](crate::Config::max_head), answers to pings and settings by one of each.

pub(crate) mod stream;

use std::fmt;
use std::time::Duration;

use crate::error::Error;

pub use crate::client::http2::Connection;

/// What may wait to be written in a stream, beyond the peer's window.
pub(crate) const MAX_SEND_BUFFER: usize = 64 * 1024;

/// How much worse small frames may be than their bytes say. h2 counts 256 bytes a frame until it is taken, which each stream's
/// own task does at once: only what one turn of the connection's task brings (2 MiB of the smallest frames) adds up.
pub(crate) const FRAME_BUDGET: usize = 64 << 20;

/// Streams that a client may reset before they were looked at (the *rapid reset* attack); then it is sent away. An honest one
/// resets what a user has navigated away from, and waits for an answer first.
const MAX_RESETS: usize = 20;

/// Streams that a client may break the protocol in, all in all.
const MAX_ERRORS: usize = 100;

/// The largest window of a connection (RFC 9113 §6.9.1).
pub(crate) const MAX_WINDOW: u32 = (1 << 31) - 1;

/// How a server speaks HTTP/2. The module tells [why](self#flow-control).
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    max_streams: u32,
    window: u32,
    idle_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_streams: 100,
            window: 64 * 1024,
            idle_timeout: Duration::from_secs(60),
        }
    }
}

impl Settings {
    /// How many WebSockets may be open on one connection; further ones are refused until one has ended. Default: 100, what
    /// RFC 9113 §6.5.2 wants at the least.
    #[must_use]
    pub const fn max_streams(mut self, count: u32) -> Self {
        self.max_streams = count;
        self
    }

    /// How many bytes a client may send on a stream before they are taken, from 16 KiB to 16 MiB; a value beyond is brought
    /// to the bound. Default: 64 KiB.
    #[must_use]
    pub const fn window(mut self, bytes: u32) -> Self {
        self.window = window(bytes);
        self
    }

    /// How long a connection may stay without any stream. Default: 60 s. One with streams stays as long as they do.
    #[must_use]
    pub const fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = limit;
        self
    }

    pub(crate) const fn streams(&self) -> u32 {
        self.max_streams
    }

    pub(crate) const fn idle(&self) -> Duration {
        self.idle_timeout
    }

    /// How h2 is to serve, with heads of at most `max_head` bytes.
    pub(crate) fn builder(&self, max_head: usize) -> h2::server::Builder {
        let mut builder = h2::server::Builder::new();
        builder
            .enable_connect_protocol()
            .max_concurrent_streams(self.max_streams)
            .initial_window_size(self.window)
            .initial_connection_window_size(MAX_WINDOW)
            .max_header_list_size(header_list(max_head))
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(Some(MAX_ERRORS))
            .max_send_buffer_size(MAX_SEND_BUFFER)
            .data_frame_budget(FRAME_BUDGET);
        builder
    }
}

/// A stream's window within sane bounds: below a frame it would only cost updates, above it is no bound any more.
pub(crate) const fn window(bytes: u32) -> u32 {
    const MIN: u32 = 16 * 1024;
    const MAX: u32 = 16 << 20;
    if bytes < MIN {
        MIN
    } else if bytes > MAX {
        MAX
    } else {
        bytes
    }
}

pub(crate) fn header_list(max_head: usize) -> u32 {
    u32::try_from(max_head).unwrap_or(u32::MAX)
}

/// What can go wrong with HTTP/2 itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Http2Error {
    /// The server agreed by ALPN on another version, or on none; or it answered something else where nothing is agreed on.
    #[error("the server does not speak HTTP/2: connect without it")]
    NotSpoken,
    /// The server did not announce `SETTINGS_ENABLE_CONNECT_PROTOCOL`.
    #[error(
        "the server opens no WebSockets over HTTP/2 (it announced no extended CONNECT, RFC 8441 §3): connect without it"
    )]
    NoExtendedConnect,
    /// A WebSocket was to be opened to another origin than the connection's.
    #[error("this connection is to `{connected}`, and can't reach `{asked}`")]
    Origin {
        /// Where the connection goes to.
        connected: String,
        /// What was to be opened.
        asked: String,
    },
    /// The server did not look at the request (`REFUSED_STREAM`): it may be sent again, later.
    #[error("the server refused the stream for now")]
    Refused,
    /// The server takes no more streams on this connection (`GOAWAY`): make a new one.
    #[error("the server takes no more streams on this connection ({0}): make a new one")]
    GoAway(Code),
    /// The server reset the stream instead of answering.
    #[error("the server reset the stream instead of answering ({0})")]
    Reset(Code),
    /// The server broke HTTP/2.
    #[error("the server broke HTTP/2 ({0})")]
    Protocol(Code),
    /// The request can't be sent over HTTP/2 as it is.
    #[error("the request can't be sent over HTTP/2")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Http2Error {
    /// Whether the same try may go better later, on a new connection at the latest.
    pub(crate) const fn is_transient(&self) -> bool {
        matches!(self, Self::Refused | Self::GoAway(_))
    }
}

/// An error code of HTTP/2 (RFC 9113 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    pub(crate) const FRAME_SIZE: Self = Self(6);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match h2::Reason::from(self.0) {
            // Known ones are shown by name.
            reason if self.0 <= 13 => write!(f, "{reason:?}"),
            _ => write!(f, "code {}", self.0),
        }
    }
}

/// What h2 has to say, in our words.
pub(crate) fn error(error: h2::Error) -> Error {
    let Some(reason) = error.reason() else {
        return match error.is_io() {
            true => Error::Io(into_io(error)),
            false => Http2Error::Request(error.into()).into(),
        };
    };
    let code = Code(reason.into());
    let error = match reason {
        _ if error.is_library() => Http2Error::Protocol(code),
        _ if error.is_go_away() => Http2Error::GoAway(code),
        h2::Reason::REFUSED_STREAM => Http2Error::Refused,
        _ => Http2Error::Reset(code),
    };
    error.into()
}

/// The same for a stream of bytes, on which a reset is what it is on TCP.
pub(crate) fn into_io(error: h2::Error) -> std::io::Error {
    use std::io::{Error, ErrorKind};
    if error.is_io() {
        return error.into_io().unwrap_or(ErrorKind::BrokenPipe.into());
    }
    let kind = match error.is_library() {
        true => ErrorKind::ConnectionAborted,
        false => ErrorKind::ConnectionReset,
    };
    Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_shown_by_name_where_they_have_one() {
        assert_eq!(Code(8).to_string(), "CANCEL");
        assert_eq!(Code(11).to_string(), "ENHANCE_YOUR_CALM");
        assert_eq!(Code(99).to_string(), "code 99");
    }

    #[test]
    fn windows_are_brought_within_bounds() {
        for (asked, given) in [(0, 16 << 10), (65_536, 65_536), (u32::MAX, 16 << 20)] {
            assert_eq!(window(asked), given);
        }
    }
}
