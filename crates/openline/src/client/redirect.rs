//! Redirects: where an answer sends the client, and whether it may go there.

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, Response, StatusCode};
use openline_proto::handshake::HandshakeError;

use super::address::{Address, without_secrets};
use super::auth;
use crate::error::Error;

/// Why a redirect was not followed. Each tells where it led to, without user info and query; the whole `Location` is in
/// the response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedirectError {
    /// Redirects are followed only when [`Client::redirects`](crate::Client::redirects) asks for it.
    #[error(
        "the server redirects to `{location}`: connect there, or let `Client::redirects` follow"
    )]
    NotFollowed {
        /// Where it led to.
        location: String,
    },
    /// More redirects in a row than were asked for.
    #[error("the server redirects to `{location}`, one more than the limit of {limit}")]
    TooMany {
        /// The limit.
        limit: u8,
        /// Where the one too many led to.
        location: String,
    },
    /// A redirect to where the client was before.
    #[error("the server redirects in a circle, to `{location}`")]
    Circle {
        /// Where it led to.
        location: String,
    },
    /// From `wss` to `ws`: what was meant to be secret would go in the clear.
    #[error("the server redirects from wss to ws, to `{location}`")]
    Downgrade {
        /// Where it led to.
        location: String,
    },
    /// To another origin than that of the HTTP/2 connection, which reaches no other.
    #[error("the server redirects to `{location}`, which this HTTP/2 connection can't reach")]
    OtherOrigin {
        /// Where it led to.
        location: String,
    },
    /// To what is neither `ws`, `wss`, `http` nor `https`.
    #[error("the server redirects to `{location}`, which is no WebSocket address")]
    Address {
        /// Where it led to.
        location: String,
    },
}

/// The error that a refusal is: one of its own kind if it is a redirect.
pub(crate) fn refusal(
    here: &Address,
    error: HandshakeError,
    response: Box<Response<Bytes>>,
) -> Error {
    let Some(location) = location(&response) else {
        return Error::Handshake { error, response };
    };
    let error = match here.join(&location) {
        Some(there) => RedirectError::NotFollowed {
            location: there.to_string(),
        },
        None => RedirectError::Address {
            location: without_secrets(&location),
        },
    };
    Error::Redirect { error, response }
}

fn location(response: &Response<Bytes>) -> Option<String> {
    let redirects = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers().get(LOCATION).filter(|_| redirects)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// The redirects of one connection.
pub(crate) struct Redirects {
    limit: u8,
    visited: Vec<Address>,
}

impl Redirects {
    pub(crate) fn new(limit: u8, start: Address) -> Self {
        Self {
            limit,
            visited: vec![start],
        }
    }

    /// Where to go after an error, if it is a redirect and may be followed. Credentials are taken out of `headers` on
    /// the way to another origin, and do not come back on the way home.
    pub(crate) fn follow(
        &mut self,
        error: Error,
        headers: &mut HeaderMap,
    ) -> Result<Address, Error> {
        match error {
            Error::Redirect {
                error: error @ RedirectError::NotFollowed { .. },
                response,
            } if self.limit > 0 => {
                let there = self.check(error, &response);
                let there = there.map_err(|error| Error::Redirect { error, response })?;
                if self
                    .visited
                    .last()
                    .is_none_or(|here| !here.same_origin(&there))
                {
                    auth::strip(headers);
                }
                tracing::debug!(to = %there, "following a redirect");
                self.visited.push(there.clone());
                Ok(there)
            }
            other => Err(other),
        }
    }

    /// The same where only the first one's origin can be reached.
    #[cfg(feature = "http2")]
    pub(crate) fn follow_within(
        &mut self,
        error: Error,
        headers: &mut HeaderMap,
    ) -> Result<Address, Error> {
        if self.limit > 0
            && let Error::Redirect { response, .. } = &error
            && let (Some(here), Some(location)) = (self.visited.last(), location(response))
            && let Some(there) = here.join(&location)
            && !here.same_origin(&there)
        {
            let location = there.to_string();
            return match error {
                Error::Redirect { response, .. } => Err(Error::Redirect {
                    error: RedirectError::OtherOrigin { location },
                    response,
                }),
                other => Err(other),
            };
        }
        self.follow(error, headers)
    }

    fn check(
        &self,
        not_followed: RedirectError,
        response: &Response<Bytes>,
    ) -> Result<Address, RedirectError> {
        let (Some(here), Some(location)) = (self.visited.last(), location(response)) else {
            return Err(not_followed);
        };
        let there = here.join(&location).ok_or(not_followed)?;
        let location = there.to_string();
        if here.is_secure() && !there.is_secure() {
            return Err(RedirectError::Downgrade { location });
        }
        if self.visited.contains(&there) {
            return Err(RedirectError::Circle { location });
        }
        if self.visited.len() > usize::from(self.limit) {
            let limit = self.limit;
            return Err(RedirectError::TooMany { limit, location });
        }
        Ok(there)
    }
}
