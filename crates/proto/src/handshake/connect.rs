//! The opening handshake over HTTP/2: an extended CONNECT (RFC 8441), both sides. RFC 9220 has the same for HTTP/3.
//!
//! The stream itself takes the place of the upgraded connection, and `:protocol` that of `Connection`, `Upgrade` and
//! `Sec-WebSocket-Key`. How the value of `:protocol` reaches a program differs between HTTP libraries, so it is an
//! argument here.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, SEC_WEBSOCKET_VERSION, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, Request, Response, Uri, Version};

use super::client::{self, ClientOptions, Established, HandshakeError, RequestError};
use super::server::{Accepted, Rejection, ServerOptions, agree};
use super::{VERSION, fields};

/// The value of `:protocol` that asks for a WebSocket.
pub const PROTOCOL: &str = "websocket";

/// What is said of one connection, not of a message: it makes a message malformed (RFC 9113 §8.2.2).
const CONNECTION_FIELDS: [HeaderName; 5] = [
    CONNECTION,
    UPGRADE,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Judges a request that came over HTTP/2, and makes the answer that opens the WebSocket, a `200`. `protocol` is the value
/// of `:protocol`, if there was one.
///
/// ```
/// use openline_proto::handshake::{ServerOptions, accept_connect};
///
/// let request = http::Request::connect("https://server.example.com/chat")
///     .version(http::Version::HTTP_2)
///     .header("sec-websocket-version", "13")
///     .header("sec-websocket-protocol", "chat, superchat")
///     .body(())?;
/// let options = ServerOptions::default().subprotocol("superchat");
/// let accepted = accept_connect(&request, Some("websocket"), &options)?;
/// assert_eq!(accepted.response.status(), 200);
/// assert_eq!(accepted.response.headers()["sec-websocket-protocol"], "superchat");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `Sec-WebSocket-Key` is not looked at, as RFC 8441 §5 wants it.
///
/// # Errors
/// The first requirement that the request fails; [`Rejection::response`] is the answer to it.
pub fn accept_connect<B>(
    request: &Request<B>,
    protocol: Option<&str>,
    options: &ServerOptions,
) -> Result<Accepted, Rejection> {
    if request.version() < Version::HTTP_2 {
        return Err(Rejection::HttpVersion);
    }
    if request.method() != Method::CONNECT {
        return Err(Rejection::NotConnect);
    }
    // Some proxies write it in capitals; an upgrade token has no case either (RFC 9110 §7.8).
    if !protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case(PROTOCOL)) {
        return Err(Rejection::Protocol);
    }
    let headers = request.headers();
    if CONNECTION_FIELDS.iter().any(|f| headers.contains_key(f)) {
        return Err(Rejection::ConnectionField);
    }
    let host = host(request.uri().authority(), headers).ok_or(Rejection::Host)?;
    if fields::single(headers, SEC_WEBSOCKET_VERSION) != Some(VERSION.as_bytes()) {
        return Err(Rejection::ConnectVersion);
    }
    agree(headers, host, options)
}

/// `:authority`, or `Host` where that is not there. Two that differ could mean one server to a proxy and another one here.
fn host<'r>(authority: Option<&'r Authority>, headers: &'r HeaderMap) -> Option<&'r [u8]> {
    let field = || fields::single(headers, HOST);
    match authority.map(|authority| authority.as_str().as_bytes()) {
        None => field(),
        Some(authority) => {
            let same = || field().is_some_and(|host| host.eq_ignore_ascii_case(authority));
            (!headers.contains_key(HOST) || same()).then_some(authority)
        }
    }
}

/// Makes the request for a `ws` or `wss` URI. The HTTP library is to send it with [`PROTOCOL`] as `:protocol`, once the
/// server has announced `SETTINGS_ENABLE_CONNECT_PROTOCOL` (RFC 8441 §3).
///
/// ```
/// use openline_proto::handshake::{ClientOptions, connect_request};
///
/// let request = connect_request(&"wss://example.org/chat?a=b".parse()?, &ClientOptions::default())?;
/// assert_eq!(request.method(), "CONNECT");
/// assert_eq!(request.uri(), "https://example.org/chat?a=b");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A `Host` among the options becomes `:authority`.
///
/// # Errors
/// The URI, a `Host` or a subprotocol can't be used.
pub fn connect_request(uri: &Uri, options: &ClientOptions) -> Result<Request<()>, RequestError> {
    let invalid = || RequestError::Address(uri.to_string());
    let (host, target) = client::host_and_target(uri)?;
    let scheme = match uri.scheme_str() {
        Some("wss") => "https",
        _ => "http",
    };
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    client::offer(headers, options)?;
    for name in &CONNECTION_FIELDS {
        headers.remove(name);
    }
    headers.remove(TE);
    let host = match headers.remove(HOST) {
        Some(own) => Authority::try_from(own.as_bytes()),
        None => Authority::try_from(host.as_str()),
    };
    *request.uri_mut() = Uri::builder()
        .scheme(scheme)
        .authority(host.map_err(|_| invalid())?)
        .path_and_query(target)
        .build()
        .map_err(|_| invalid())?;
    Ok(request)
}

/// Judges the answer to a request that was made with the same options.
///
/// # Errors
/// The first requirement that the response fails.
pub fn verify_connect<B>(
    response: &Response<B>,
    options: &ClientOptions,
) -> Result<Established, HandshakeError> {
    // As of every CONNECT (RFC 9110 §9.3.6).
    if !response.status().is_success() {
        return Err(HandshakeError::Status(response.status()));
    }
    let headers = response.headers();
    let zero = HeaderValue::from_static("0");
    if fields::announces_body(headers) || headers.get(CONTENT_LENGTH) == Some(&zero) {
        // An HTTP library would cut the stream after so many bytes.
        return Err(HandshakeError::ConnectBody);
    }
    if CONNECTION_FIELDS.iter().any(|f| headers.contains_key(f)) {
        return Err(HandshakeError::ConnectionField);
    }
    client::agreed(headers, options)
}
