//! What can go wrong.

use std::io;

use bytes::Bytes;
use http::{Response, Uri};
use openline_proto::handshake::{HandshakeError, HeadError, Rejection, RequestError};
use openline_proto::{ProtocolError, SendError, Timeout};

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
    /// The address is no WebSocket address, or a subprotocol's name is no token.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// No connection could be made to the server.
    #[error("can't connect to {authority}")]
    Connect {
        /// Host and port.
        authority: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `wss://` was asked for, and this build has no TLS.
    #[error("`{0}` needs TLS: build with the feature `tls`")]
    NoTls(Uri),
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
    /// The peer's head is not HTTP, or too long, or was cut off.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The client's request opens no WebSocket. It was told so by an HTTP response.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The HTTP connection could not be taken over.
    #[cfg(feature = "hyper")]
    #[error("the HTTP connection could not be upgraded")]
    Upgrade(#[from] hyper::Error),
}
