//! What is wrong, told as RFC 9457's `application/problem+json`.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderName, StatusCode};
use serde::Serialize;

use crate::broker::BrokerError;
use crate::channel::NameError;
use crate::publication::ContentError;
use crate::publisher::PublishError;

/// The kinds of things that can be wrong. Their paths are stable, so that programs can tell them
/// apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    BadChannel,
    Pattern,
    BadRequest,
    BadCursor,
    BadJson,
    Unauthorized,
    Forbidden,
    ForeignHost,
    ForeignOrigin,
    NotFound,
    NoPublication,
    Method,
    BodyTimeout,
    KeyInUse,
    Gone,
    TooLarge,
    ContentEncoding,
    KeyReused,
    Handshake,
    TooMany,
    Busy,
    Unavailable,
}

impl Kind {
    /// Path of the type, status and title.
    fn told(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::BadChannel => ("bad-channel", StatusCode::BAD_REQUEST, "Not a channel name"),
            Self::Pattern => (
                "pattern",
                StatusCode::BAD_REQUEST,
                "A pattern is only for listening",
            ),
            Self::BadRequest => ("bad-request", StatusCode::BAD_REQUEST, "Malformed request"),
            Self::BadCursor => ("bad-cursor", StatusCode::BAD_REQUEST, "Not a cursor"),
            Self::BadJson => ("bad-json", StatusCode::BAD_REQUEST, "Not JSON"),
            Self::Unauthorized => (
                "unauthorized",
                StatusCode::UNAUTHORIZED,
                "Credentials are needed",
            ),
            Self::Forbidden => ("forbidden", StatusCode::FORBIDDEN, "Not allowed"),
            Self::ForeignHost => (
                "foreign-host",
                StatusCode::FORBIDDEN,
                "Not a name of this server",
            ),
            Self::ForeignOrigin => (
                "foreign-origin",
                StatusCode::FORBIDDEN,
                "Not a page of this server",
            ),
            Self::NotFound => ("not-found", StatusCode::NOT_FOUND, "Nothing has this URL"),
            Self::NoPublication => (
                "no-publication",
                StatusCode::NOT_FOUND,
                "The channel has no publication",
            ),
            Self::Method => (
                "method",
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
            ),
            Self::BodyTimeout => (
                "body-timeout",
                StatusCode::REQUEST_TIMEOUT,
                "The body did not come in time",
            ),
            Self::KeyInUse => (
                "key-in-use",
                StatusCode::CONFLICT,
                "The same publication is under way",
            ),
            Self::Gone => ("gone", StatusCode::GONE, "The cursor cannot be honoured"),
            Self::TooLarge => (
                "too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "The publication is too large",
            ),
            Self::ContentEncoding => (
                "content-encoding",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Content-Encoding is not kept",
            ),
            Self::KeyReused => (
                "key-reused",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The key was used for another body",
            ),
            Self::Handshake => (
                "handshake",
                StatusCode::BAD_REQUEST,
                "Not a WebSocket opening handshake",
            ),
            Self::TooMany => (
                "too-many-requests",
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests",
            ),
            Self::Busy => ("busy", StatusCode::SERVICE_UNAVAILABLE, "Busy"),
            Self::Unavailable => (
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The log cannot be reached",
            ),
        }
    }
}

/// One thing that is wrong with one request.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    status: StatusCode,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// `detail` says what is wrong here and what to do.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            status: kind.told().1,
            detail: detail.into(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// A method that the URL does not have; `allow` lists those that it has.
    pub(crate) fn method(allow: &'static str) -> Self {
        Self::new(Kind::Method, format!("this URL takes {allow}"))
            .with_header(ALLOW, HeaderValue::from_static(allow))
    }

    /// Try again after that time.
    pub(crate) fn busy(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(Kind::Busy, detail).with_retry_after(retry_after)
    }

    /// When to try again, told in whole seconds and at least one.
    pub(crate) fn with_retry_after(self, retry_after: Duration) -> Self {
        let seconds = retry_after.as_millis().div_ceil(1000).max(1);
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        self.with_header(RETRY_AFTER, seconds.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        /// In the order of RFC 9457 §3.1.
        #[derive(Serialize)]
        struct Told<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
        }

        let (path, _, title) = self.kind.told();
        let told = Told {
            r#type: format!("/problems/{path}"),
            title,
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        // Texts and a number: they always have a JSON form.
        let body = serde_json::to_string(&told).unwrap_or_default();
        let mut response = (self.status, body + "\n").into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.extend(self.headers);
        response
    }
}

impl From<NameError> for Problem {
    fn from(error: NameError) -> Self {
        Self::new(Kind::BadChannel, error.to_string())
    }
}

impl From<ContentError> for Problem {
    fn from(error: ContentError) -> Self {
        let kind = match error {
            ContentError::Json { .. } | ContentError::JsonDepth { .. } => Kind::BadJson,
            ContentError::ContentType => Kind::BadRequest,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<BrokerError> for Problem {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::KeyReused => Self::new(
                Kind::KeyReused,
                "this Idempotency-Key was used for another body or type in the last five minutes; \
                 use a new key for each publication",
            ),
            BrokerError::Busy { retry_after } => Self::busy(
                "the server remembers as many idempotency keys as it may; publish later, or \
                 without a key",
                retry_after,
            ),
            BrokerError::Unavailable(outage) => Self::new(
                Kind::Unavailable,
                format!(
                    "{outage}; try again later: what bears an Idempotency-Key is not published twice"
                ),
            )
            .with_header(RETRY_AFTER, outage.retry_after().as_secs().into()),
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Name(error) => error.into(),
            PublishError::Content(error) => error.into(),
            PublishError::Broker(error) => error.into(),
            PublishError::TooLarge { .. } => Self::new(Kind::TooLarge, error.to_string()),
        }
    }
}
