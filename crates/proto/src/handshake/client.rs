//! The client's side of the opening handshake (RFC 6455 §4.1).

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Authority;
use http::{HeaderMap, Request, Response, StatusCode, Uri};

use super::deflate::{self, Agreed, InvalidParameters, Offer};
use super::{Key, VERSION, accept_value, extensions, fields};

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    subprotocols: Vec<String>,
    headers: HeaderMap,
    deflate: Option<Offer>,
}

impl ClientOptions {
    /// A subprotocol to offer; the first given is the most preferred.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocols.push(name.into());
        self
    }

    /// A further header field of the request: `Authorization`, `Cookie`, `Origin` …
    ///
    /// `Host` takes the place of the address's own. The other fields of the handshake can't be set: `Connection`, `Upgrade`
    /// and `Sec-WebSocket-…` are left out, and so are `Content-Length` and `Transfer-Encoding`, for a handshake has no body.
    #[must_use]
    pub fn header(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Offers permessage-deflate ([`Deflate::offer`](crate::Deflate::offer)). Default: `None`.
    #[must_use]
    pub const fn deflate(mut self, offer: Option<Offer>) -> Self {
        self.deflate = offer;
        self
    }
}

/// The request can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not an absolute `ws` or `wss` URI without a fragment.
    #[error(
        "`{0}` is no WebSocket address: it must be ws://host… or wss://host…, without a #fragment (RFC 6455 §3)"
    )]
    Address(String),
    /// A subprotocol's name is not a token, or is offered twice.
    #[error("the subprotocol `{0}` must be a token (RFC 9110 §5.6.2) and be offered once")]
    Subprotocol(String),
}

/// The server's answer opens no WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Any status but 101, or 2xx over HTTP/2.
    #[error("the server answered {0} instead of opening a WebSocket")]
    Status(StatusCode),
    /// `Upgrade` is missing or names something else.
    #[error("the server's answer has no `Upgrade: websocket` (RFC 6455 §4.1)")]
    Upgrade,
    /// `Connection` is missing or does not say `Upgrade`.
    #[error("the server's answer has no `Connection: Upgrade` (RFC 6455 §4.1)")]
    Connection,
    /// `Sec-WebSocket-Accept` does not fit the key: this is no WebSocket server, or a cache answered.
    #[error("the server's Sec-WebSocket-Accept does not fit the key (RFC 6455 §4.1)")]
    Accept,
    /// An extension that was not offered.
    #[error("the server chose an extension that was not offered (RFC 6455 §4.1)")]
    Extension,
    /// `Sec-WebSocket-Extensions` does not fit the grammar.
    #[error("the server's Sec-WebSocket-Extensions does not fit the grammar of RFC 6455 §9.1")]
    MalformedExtensions,
    /// An answer to the offer of permessage-deflate that is malformed, or grants what was not offered.
    #[error("the server's answer to the offer of permessage-deflate can't be taken: {0}")]
    Deflate(InvalidParameters),
    /// A subprotocol that was not offered, or more than one.
    #[error("the server chose a subprotocol that was not offered (RFC 6455 §4.1)")]
    Subprotocol,
    /// A 101 has no body; one that announces it would let bytes of one message pass as another.
    #[error("the server's 101 announces a body (RFC 9110 §15.2)")]
    Body,
    /// The same of a 2xx that answers an extended CONNECT.
    #[error("the server's answer to CONNECT announces a body (RFC 9110 §9.3.6)")]
    ConnectBody,
    /// Over HTTP/2, a field that only a whole connection can have.
    #[error("the server's answer has a field that has no place in HTTP/2 (RFC 9113 §8.2.2)")]
    ConnectionField,
}

/// A response that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// The subprotocol that the server chose.
    pub subprotocol: Option<String>,
    /// The parameters of permessage-deflate, if the server took the offer:
    /// [`Connection::with_deflate`](crate::Connection::with_deflate) is to know them.
    pub deflate: Option<Agreed>,
}

/// Makes the request, in origin form, for a `ws` or `wss` URI.
///
/// # Errors
/// The URI or a subprotocol can't be used.
pub fn request(uri: &Uri, key: Key, options: &ClientOptions) -> Result<Request<()>, RequestError> {
    let (host, target) = host_and_target(uri)?;
    let invalid = || RequestError::Address(uri.to_string());
    let mut request = Request::new(());
    *request.uri_mut() = target.parse().map_err(|_| invalid())?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::try_from(host).map_err(|_| invalid())?);
    offer(headers, options)?;
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(key) = HeaderValue::try_from(key.encode()) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    Ok(request)
}

/// What a `ws` or `wss` URI names: host and port, unless it is the scheme's own, and the path with the query.
pub(super) fn host_and_target(uri: &Uri) -> Result<(String, String), RequestError> {
    let invalid = || RequestError::Address(uri.to_string());
    let port = match uri.scheme_str() {
        Some("ws") => 80,
        Some("wss") => 443,
        _ => return Err(invalid()),
    };
    let authority = uri.authority().filter(|a| !a.host().is_empty());
    let authority = authority.ok_or_else(invalid)?;
    let host = match own_port(authority).ok_or_else(invalid)? {
        Some(other) if other != port => format!("{}:{other}", authority.host()),
        _ => authority.host().to_owned(),
    };
    let target = uri.path_and_query().map_or("/", |p| p.as_str());
    let slash = if target.starts_with('?') { "/" } else { "" };
    Ok((host, format!("{slash}{target}")))
}

/// Puts in what the program wants, and what every version of HTTP has of the handshake. The program's fields can't take
/// the place of the handshake's.
pub(super) fn offer(headers: &mut HeaderMap, options: &ClientOptions) -> Result<(), RequestError> {
    headers.extend(options.headers.clone());
    for name in [
        CONNECTION,
        UPGRADE,
        SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_ACCEPT,
        SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_PROTOCOL,
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
    ] {
        headers.remove(name);
    }
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
    if let Some(offer) = &options.deflate
        && let Ok(offer) = HeaderValue::try_from(offer.to_string())
    {
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, offer);
    }
    for (at, name) in options.subprotocols.iter().enumerate() {
        if !fields::is_token(name.as_bytes()) || options.subprotocols[..at].contains(name) {
            return Err(RequestError::Subprotocol(name.clone()));
        }
    }
    if !options.subprotocols.is_empty()
        && let Ok(offer) = HeaderValue::try_from(options.subprotocols.join(", "))
    {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, offer);
    }
    Ok(())
}

/// The port that an address names, if it names one; `None` if it is no port.
fn own_port(authority: &Authority) -> Option<Option<u16>> {
    let text = authority.as_str();
    let (_, host_and_port) = text.rsplit_once('@').unwrap_or(("", text));
    let port = host_and_port.strip_prefix(authority.host())?;
    match port.strip_prefix(':').unwrap_or(port) {
        "" => Some(None),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok().map(Some),
        _ => None,
    }
}

/// Judges the answer to a request that was made with the same key and options.
///
/// # Errors
/// The first requirement of §4.1 that the response fails.
pub fn verify<B>(
    response: &Response<B>,
    key: Key,
    options: &ClientOptions,
) -> Result<Established, HandshakeError> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(HandshakeError::Status(response.status()));
    }
    let headers = response.headers();
    if !fields::has_token(headers, UPGRADE, "websocket") {
        return Err(HandshakeError::Upgrade);
    }
    if !fields::has_token(headers, CONNECTION, "upgrade") {
        return Err(HandshakeError::Connection);
    }
    let expected = accept_value(key.encode().as_bytes());
    if fields::single(headers, SEC_WEBSOCKET_ACCEPT) != Some(expected.as_bytes()) {
        return Err(HandshakeError::Accept);
    }
    if fields::announces_body(headers) {
        return Err(HandshakeError::Body);
    }
    agreed(headers, options)
}

/// What the server chose of the offers.
pub(super) fn agreed(
    headers: &HeaderMap,
    options: &ClientOptions,
) -> Result<Established, HandshakeError> {
    let deflate = agreed_deflate(headers, options.deflate.as_ref())?;
    let subprotocol = match headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        false => None,
        true => {
            let chosen = fields::single(headers, SEC_WEBSOCKET_PROTOCOL)
                .ok_or(HandshakeError::Subprotocol)?;
            let offered = options
                .subprotocols
                .iter()
                .find(|name| name.as_bytes() == chosen);
            Some(offered.ok_or(HandshakeError::Subprotocol)?.clone())
        }
    };
    Ok(Established {
        subprotocol,
        deflate,
    })
}

/// The server may take what was offered, once, and nothing else (§9.1).
fn agreed_deflate(
    headers: &HeaderMap,
    offer: Option<&Offer>,
) -> Result<Option<Agreed>, HandshakeError> {
    let answer = extensions::parse(headers.get_all(SEC_WEBSOCKET_EXTENSIONS))
        .map_err(|_| HandshakeError::MalformedExtensions)?;
    match (&answer[..], offer) {
        ([], _) => Ok(None),
        ([answer], Some(offer)) if answer.name == deflate::NAME => offer
            .check_answer(answer)
            .map(Some)
            .map_err(HandshakeError::Deflate),
        _ => Err(HandshakeError::Extension),
    }
}
