//! Why a connection ended, or did not come about, and whether another try may go better.

use std::fmt;
use std::io;
use std::time::Duration;

use http::StatusCode;
use openline_proto::handshake::HeadError;
use openline_proto::{CloseCode, Closed};

use super::proxy::ProxyError;
use crate::error::Error;

/// Why a [`Reconnecting`](crate::Reconnecting) has no connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// The connection was closed; [`Closed::code`] tells why.
    Closed(Closed),
    /// The connection failed, or could not be made.
    Failed(Error),
}

impl Cause {
    /// Whether another try may go better, as [`Reconnecting`](crate::Reconnecting) has it unless told otherwise.
    ///
    /// It may after the close codes 1001 (the server goes away), 1006 (the connection broke), 1011 (the server met an error),
    /// 1012 (it restarts), 1013 (it is overloaded) and 1014 (a gateway's trouble); after all other codes, also a program's
    /// own from 3000 to 4999, it would go the same way or is not wanted. What failed: see [`Error::is_transient`].
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Closed(closed) => matches!(
                closed.code(),
                CloseCode::GOING_AWAY
                    | CloseCode(1006)
                    | CloseCode::INTERNAL
                    | CloseCode::RESTART
                    | CloseCode::TRY_AGAIN
                    | CloseCode(1014)
            ),
            Self::Failed(error) => error.is_transient(),
        }
    }

    /// How long the server asks to wait before the next try: see [`Error::retry_after`].
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Closed(_) => None,
            Self::Failed(error) => error.retry_after(),
        }
    }

    /// The close code, 1006 for a connection that failed; `None` if there was no connection.
    pub fn code(&self) -> Option<CloseCode> {
        match self {
            Self::Closed(closed) => Some(closed.code()),
            Self::Failed(Error::Disconnected) => Some(CloseCode(1006)),
            Self::Failed(_) => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(closed) => match &closed.received {
                Some(reason) => write!(f, "the server closed the connection: {reason}"),
                None => write!(f, "the connection was closed ({})", closed.code()),
            },
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl Error {
    /// Whether the same try may go better later: the network failed, a deadline passed, or a server or proxy refused for
    /// the time being (408, 425, 429, 500, 502, 503, 504, or any refusal with `Retry-After`).
    ///
    /// A broken protocol, other refusals, certificates that are not trusted, redirects and what can't be sent stay as
    /// they are.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io(_)
            | Self::Disconnected
            | Self::Timeout(_)
            | Self::Connect { .. }
            | Self::Head(HeadError::Eof) => true,
            #[cfg(feature = "http2")]
            Self::Http2(error) => error.is_transient(),
            // The connection broke in the middle of TLS: what TLS itself has to say comes as `InvalidData`.
            Self::Tls(error) => is_broken(error.as_ref()),
            Self::Handshake { response, .. } => {
                may_pass(response.status()) || self.retry_after().is_some()
            }
            Self::Proxy { error, .. } => match error {
                ProxyError::Io(_)
                | ProxyError::Connect(_)
                | ProxyError::Timeout
                | ProxyError::Head(HeadError::Eof) => true,
                ProxyError::Tls(error) => is_broken(error.as_ref()),
                ProxyError::Refused(response) => {
                    may_pass(response.status()) || self.retry_after().is_some()
                }
                // Failures of the proxy's network; the others are its rules and abilities.
                ProxyError::SocksReply(reply) => matches!(reply, 1 | 3..=6),
                _ => false,
            },
            _ => false,
        }
    }
}

fn is_broken(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() != io::ErrorKind::InvalidData)
}

const fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502..=504)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::Response;
    use openline_proto::handshake::HandshakeError;
    use openline_proto::{CloseReason, ProtocolError, Timeout};

    fn closed(code: u16) -> Cause {
        Cause::Closed(Closed {
            received: Some(CloseReason {
                code: CloseCode(code),
                reason: "".into(),
            }),
            clean: true,
            ..Closed::default()
        })
    }

    fn refused(response: http::response::Builder) -> Error {
        let response: Box<Response<Bytes>> = Box::new(response.body(Bytes::new()).unwrap());
        let error = HandshakeError::Status(response.status());
        Error::Handshake { error, response }
    }

    #[test]
    fn close_codes() {
        for code in [1001, 1011, 1012, 1013, 1014] {
            assert!(closed(code).is_transient(), "{code}");
        }
        for code in [1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 4001] {
            assert!(!closed(code).is_transient(), "{code}");
        }
        // 1006: no Close frame came; 1005: one without a code.
        assert!(Cause::Closed(Closed::default()).is_transient());
        let (clean, received) = (true, None);
        assert!(
            !Cause::Closed(Closed {
                clean,
                received,
                ..Closed::default()
            })
            .is_transient()
        );
        assert_eq!(
            Cause::Failed(Error::Disconnected).code(),
            Some(CloseCode(1006))
        );
    }

    #[test]
    fn failures() {
        for error in [
            Error::Disconnected,
            Error::Timeout(Timeout::Pong),
            Error::Head(HeadError::Eof),
            refused(Response::builder().status(503)),
            refused(Response::builder().status(403).header("retry-after", "1")),
            Error::Tls(Box::new(io::Error::from(io::ErrorKind::ConnectionReset))),
        ] {
            assert!(error.is_transient(), "{error:?}");
        }
        for error in [
            Error::Protocol(ProtocolError::InvalidUtf8),
            Error::NoTls(String::new()),
            refused(Response::builder().status(401)),
            refused(Response::builder().status(404)),
            Error::Tls(Box::new(io::Error::new(
                io::ErrorKind::InvalidData,
                "UnknownIssuer",
            ))),
            Error::Tls("no such name".into()),
        ] {
            assert!(!error.is_transient(), "{error:?}");
        }
    }
}
