//! The server's side of the opening handshake (RFC 6455 §4.2).

use http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};

use super::deflate::{Agreed, Policy};
use super::origin::OriginPolicy;
use super::{VERSION, accept_value, extensions, fields, is_key};

/// What a server agrees to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerOptions {
    subprotocols: Vec<String>,
    origins: OriginPolicy,
    deflate: Option<Policy>,
}

impl ServerOptions {
    /// A subprotocol that the server speaks; the first given is the most preferred.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocols.push(name.into());
        self
    }

    /// Which web pages may connect. Default: those of the same origin.
    #[must_use]
    pub fn origins(mut self, policy: OriginPolicy) -> Self {
        self.origins = policy;
        self
    }

    /// Which offers of permessage-deflate to take ([`Deflate::policy`](crate::Deflate::policy)). Default: `None`.
    #[must_use]
    pub const fn deflate(mut self, policy: Option<Policy>) -> Self {
        self.deflate = policy;
        self
    }
}

/// A request that was found good.
#[derive(Debug)]
pub struct Accepted {
    /// The answer: `101 Switching Protocols`, or `200` to an extended CONNECT. The caller may add fields to it.
    pub response: Response<()>,
    /// The subprotocol that was chosen, if the client offered one that the server speaks.
    pub subprotocol: Option<String>,
    /// The parameters of permessage-deflate, if an offer was taken:
    /// [`Connection::with_deflate`](crate::Connection::with_deflate) is to know them.
    pub deflate: Option<Agreed>,
}

/// Why a request is not answered by a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// It does not ask for one.
    #[error(
        "this address speaks WebSocket only: send `Connection: Upgrade` and `Upgrade: websocket` (RFC 6455 §4.1)"
    )]
    NotWebSocket,
    /// A method other than `GET`.
    #[error("a WebSocket handshake uses the method GET (RFC 6455 §4.1)")]
    Method,
    /// HTTP/1.0 and older have no upgrade.
    #[error("a WebSocket handshake needs HTTP/1.1 (RFC 6455 §4.1)")]
    HttpVersion,
    /// `Host` is missing, or there twice; over HTTP/2, `:authority` is missing, or `Host` names another.
    #[error(
        "the request needs exactly one Host field, or an `:authority` over HTTP/2 (RFC 6455 §4.1, RFC 9113 §8.3.1)"
    )]
    Host,
    /// Over HTTP/2, a method other than `CONNECT`.
    #[error(
        "this address speaks WebSocket only: over HTTP/2, send an extended CONNECT with `:protocol: websocket` (RFC 8441 §5)"
    )]
    NotConnect,
    /// A `CONNECT` without `:protocol`, or with another than `websocket`.
    #[error("the only `:protocol` that this address speaks is `websocket` (RFC 8441 §5)")]
    Protocol,
    /// Over HTTP/2, a field that only a whole connection can have, as `Connection` and `Upgrade`.
    #[error(
        "the request has a field that has no place in HTTP/2, as Connection or Upgrade (RFC 9113 §8.2.2)"
    )]
    ConnectionField,
    /// Over HTTP/2, `Sec-WebSocket-Version` is not 13. There is no upgrade to be required, so the status is another.
    #[error("the only WebSocket version is 13: send `sec-websocket-version: 13` (RFC 6455 §4.4)")]
    ConnectVersion,
    /// The request is good, but the HTTP server that read it does not give its connection away.
    #[error("this server can't hand the connection over to a WebSocket")]
    NoUpgrade,
    /// `Sec-WebSocket-Version` is not 13.
    #[error("the only WebSocket version is 13: send `Sec-WebSocket-Version: 13` (RFC 6455 §4.4)")]
    Version,
    /// `Sec-WebSocket-Key` is missing, there twice, or not base64 of 16 bytes.
    #[error(
        "the request needs exactly one Sec-WebSocket-Key of 16 bytes in base64 (RFC 6455 §4.1)"
    )]
    Key,
    /// A body is announced.
    #[error("a WebSocket handshake has no body: leave out Content-Length and Transfer-Encoding")]
    Body,
    /// `Sec-WebSocket-Protocol` is not a list of different tokens.
    #[error("Sec-WebSocket-Protocol must be a list of different tokens (RFC 6455 §4.1)")]
    Subprotocol,
    /// `Sec-WebSocket-Extensions` does not fit the grammar.
    #[error("Sec-WebSocket-Extensions does not fit the grammar of RFC 6455 §9.1")]
    Extensions,
    /// The page's origin is not allowed.
    #[error("web pages of this Origin may not connect here (RFC 6455 §10.2)")]
    Origin,
}

impl Rejection {
    /// The answer's status code.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NotWebSocket | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Method | Self::NotConnect => StatusCode::METHOD_NOT_ALLOWED,
            Self::Origin => StatusCode::FORBIDDEN,
            // As RFC 9220 §3 has it for HTTP/3; RFC 8441 says nothing.
            Self::Protocol => StatusCode::NOT_IMPLEMENTED,
            Self::NoUpgrade => StatusCode::INTERNAL_SERVER_ERROR,
            Self::HttpVersion
            | Self::ConnectionField
            | Self::ConnectVersion
            | Self::Host
            | Self::Key
            | Self::Body
            | Self::Subprotocol
            | Self::Extensions => StatusCode::BAD_REQUEST,
        }
    }

    /// The whole answer, with the fields that the status calls for (`426` names version 13) and the reason as text.
    ///
    /// It ends the connection (`Connection: close`): a proxy that does not look at the answer takes the connection for a tunnel once
    /// an upgrade was asked for, and lets everything through, so what follows must be nobody's request.
    pub fn response(self) -> Response<String> {
        let mut response = Response::new(format!("{self}\n"));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        match self {
            Self::NotWebSocket | Self::Version => {
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
            }
            Self::ConnectVersion => {
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
            }
            Self::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("GET"));
            }
            Self::NotConnect => {
                headers.insert(ALLOW, HeaderValue::from_static("CONNECT"));
            }
            _ => {}
        }
        headers.append(CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// Judges a request, and makes the answer that opens the WebSocket.
///
/// ```
/// use openline_proto::handshake::{ServerOptions, accept};
///
/// let request = http::Request::get("/chat")
///     .header("Host", "server.example.com")
///     .header("Upgrade", "websocket")
///     .header("Connection", "Upgrade")
///     .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
///     .header("Sec-WebSocket-Protocol", "chat, superchat")
///     .header("Sec-WebSocket-Version", "13")
///     .body(())?;
/// let accepted = accept(&request, &ServerOptions::default().subprotocol("superchat"))?;
/// assert_eq!(accepted.response.status(), 101);
/// assert_eq!(accepted.subprotocol.as_deref(), Some("superchat"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The first requirement of §4.2.1 that the request fails; [`Rejection::response`] is the answer to it.
pub fn accept<B>(request: &Request<B>, options: &ServerOptions) -> Result<Accepted, Rejection> {
    let headers = request.headers();
    if !fields::has_token(headers, UPGRADE, "websocket")
        || !fields::has_token(headers, CONNECTION, "upgrade")
    {
        return Err(Rejection::NotWebSocket);
    }
    if request.method() != Method::GET {
        return Err(Rejection::Method);
    }
    if request.version() < Version::HTTP_11 {
        return Err(Rejection::HttpVersion);
    }
    let host = fields::single(headers, HOST).ok_or(Rejection::Host)?;
    if fields::single(headers, SEC_WEBSOCKET_VERSION) != Some(VERSION.as_bytes()) {
        return Err(Rejection::Version);
    }
    let key = fields::single(headers, SEC_WEBSOCKET_KEY)
        .filter(|key| is_key(key))
        .ok_or(Rejection::Key)?;
    let mut accepted = agree(headers, host, options)?;
    *accepted.response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = accepted.response.headers_mut();
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(value) = HeaderValue::try_from(accept_value(key)) {
        fields.insert(SEC_WEBSOCKET_ACCEPT, value);
    }
    Ok(accepted)
}

/// What is the same over every version of HTTP: no body, the page's origin, subprotocols and extensions.
pub(super) fn agree(
    headers: &HeaderMap,
    host: &[u8],
    options: &ServerOptions,
) -> Result<Accepted, Rejection> {
    if fields::announces_body(headers) {
        return Err(Rejection::Body);
    }
    if headers.contains_key(ORIGIN) {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Rejection::Origin);
        let origin = fields::single(headers, ORIGIN).ok_or(Rejection::Origin)?;
        if !options.origins.allows(text(origin)?, text(host)?) {
            return Err(Rejection::Origin);
        }
    }
    let subprotocol = choose_subprotocol(headers, &options.subprotocols)?;
    // What is not known is declined by silence (§9.1); what breaks the grammar fails, wanted or not.
    let offers = extensions::parse(headers.get_all(SEC_WEBSOCKET_EXTENSIONS))
        .map_err(|_| Rejection::Extensions)?;
    let grant = options.deflate.and_then(|policy| policy.negotiate(&offers));

    let mut response = Response::new(());
    let fields = response.headers_mut();
    if let Some(value) = subprotocol.and_then(|name| HeaderValue::from_str(name).ok()) {
        fields.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
    if let Some(grant) = &grant
        && let Ok(value) = HeaderValue::from_str(&grant.answer)
    {
        fields.insert(SEC_WEBSOCKET_EXTENSIONS, value);
    }
    Ok(Accepted {
        response,
        subprotocol: subprotocol.map(str::to_owned),
        deflate: grant.map(|grant| grant.agreed),
    })
}

/// The server's most preferred of those that the client offers.
fn choose_subprotocol<'o>(
    headers: &HeaderMap,
    spoken: &'o [String],
) -> Result<Option<&'o str>, Rejection> {
    let offered: Vec<&[u8]> = fields::list(headers, SEC_WEBSOCKET_PROTOCOL).collect();
    let mut unique = offered.clone();
    unique.sort_unstable();
    unique.dedup();
    if unique.len() != offered.len() || !offered.iter().all(|name| fields::is_token(name)) {
        return Err(Rejection::Subprotocol);
    }
    Ok(spoken
        .iter()
        .map(String::as_str)
        .find(|name| offered.contains(&name.as_bytes())))
}
