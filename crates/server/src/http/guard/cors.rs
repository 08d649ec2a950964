//! What a browser is told of what pages of other origins may do.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderValue, VARY,
};

use crate::http::CHANNEL_METHODS;

/// What a page of another origin may read of an answer.
const EXPOSED: &str = "ETag, Preference-Applied, Retry-After, Allow, WWW-Authenticate";
/// What it may send.
const ALLOWED: &str = "Accept, Authorization, Content-Type, Idempotency-Key, If-None-Match, \
                       Last-Event-ID, Prefer, X-API-Key";
/// How long a browser may remember that, in seconds.
const PREFLIGHT_AGE: &str = "7200";

/// Lets a page of that origin read the answer.
pub(super) fn expose(response: &mut Response, origin: HeaderValue, is_preflight: bool) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if !is_preflight {
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
    }
}

pub(super) fn preflight_answer() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, CHANNEL_METHODS),
        (ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED),
        (ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
        (
            VARY,
            "Access-Control-Request-Method, Access-Control-Request-Headers",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
