//! What can go wrong.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use openline_proto::handshake::{HandshakeError, HeadError, Rejection, RequestError};
use openline_proto::{ProtocolError, SendError, Timeout};

use crate::client::{ConnectError, CredentialsError, ProxyError, RedirectError, retry_after};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transport failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The peer broke the protocol, or went over a limit. It was told by a Close frame.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// What was to be sent was refused; nothing of it was queued.
    #[error(transparent)]
    Send(#[from] SendError),
    /// A deadline passed.
    #[error(transparent)]
    Timeout(#[from] Timeout),
    /// The peer ended the TCP connection without a closing handshake (close code 1006).
    #[error("the peer dropped the connection without closing it (close code 1006)")]
    Disconnected,
    /// The peer closed the connection within a message that was received in pieces.
    #[error("the peer closed the connection before it finished a message")]
    Unfinished,
    /// The address is no WebSocket address, or a subprotocol's name is no token.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// No connection could be made to the server.
    #[error("can't connect to {authority}")]
    Connect {
        /// Host and port.
        authority: String,
        /// Which addresses were tried, and what came of each.
        #[source]
        source: ConnectError,
    },
    /// There is no way through the proxy.
    #[error("no way through the proxy `{proxy}`")]
    Proxy {
        /// The proxy's address, without credentials.
        proxy: String,
        /// What is wrong.
        #[source]
        error: ProxyError,
    },
    /// Credentials can't be sent as they are.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// `wss://` was asked for, and this build has no TLS.
    #[error("`{0}` needs TLS: build with the feature `tls`")]
    NoTls(String),
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server's answer opens no WebSocket; here it is whole.
    #[error("{error}")]
    Handshake {
        /// What is wrong with it.
        error: HandshakeError,
        /// Status, fields, and the body as far as it came, at most 64 KiB.
        response: Box<Response<Bytes>>,
    },
    /// The server redirects, and that was not followed; here is its answer, whole as in [`Handshake`](Self::Handshake).
    #[error("{error}")]
    Redirect {
        /// Where it led to, and why it was not followed.
        error: RedirectError,
        /// Status, fields, and the body as far as it came, at most 64 KiB.
        response: Box<Response<Bytes>>,
    },
    /// A [`Reconnecting`](crate::Reconnecting) has no connection at the moment.
    #[error("there is no connection at the moment: wait for `Event::Connected`")]
    NotConnected,
    /// The peer's head is not HTTP, or too long, or was cut off.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The client's request opens no WebSocket. It was told so by an HTTP response.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// HTTP/2 itself failed.
    #[cfg(feature = "http2")]
    #[error(transparent)]
    Http2(#[from] crate::http2::Http2Error),
    /// The HTTP connection could not be taken over.
    #[cfg(feature = "hyper")]
    #[error("the HTTP connection could not be upgraded")]
    Upgrade(#[from] hyper::Error),
}

impl Error {
    /// How long the answer of a server or a proxy asks to wait before the next try, by `Retry-After` in seconds or as a
    /// date.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.response()?.headers())
    }

    /// The answer that is no WebSocket's, of the server or of a proxy.
    pub fn response(&self) -> Option<&Response<Bytes>> {
        match self {
            Self::Handshake { response, .. } | Self::Redirect { response, .. } => Some(response),
            Self::Proxy {
                error: ProxyError::Refused(response),
                ..
            } => Some(response),
            _ => None,
        }
    }
}
