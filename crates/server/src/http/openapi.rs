//! `GET /openapi.json`: the HTTP API, for programs.

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::Method;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use super::problem::Problem;

/// Checked against a running server by `conformance/openapi`.
const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn document(request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Problem::method("GET, HEAD").into_response();
    }
    let mut response = DOCUMENT.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
