//! The client: from a URL to a WebSocket.

mod address;
mod answer;
mod auth;
mod cause;
mod dial;
mod environment;
#[cfg(feature = "http2")]
pub(crate) mod http2;
mod http_connect;
mod proxy;
mod reconnect;
mod redirect;
mod socks5;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use openline_proto::handshake::{self, ClientOptions, Key, RequestError};
use openline_proto::{Config, Connection, Deflate, Timeout};
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::server::write;
use crate::stream::Stream;
use crate::timer::{after, now};
use crate::websocket::WebSocket;
use address::{Address, UserInfo};
use proxy::Route;
use redirect::Redirects;

pub use auth::CredentialsError;
pub use cause::Cause;
pub use dial::{Attempt, ConnectError};
pub use proxy::{Proxy, ProxyError};
pub use reconnect::{Backoff, Event, Reconnecting};
pub use redirect::RedirectError;

pub(crate) use answer::retry_after;

/// Connects to a `ws://` or `wss://` address, with the default options: through the proxy that the environment names, if
/// it names one ([`Client::proxy`]), and following no redirect.
///
/// ```no_run
/// # async fn run() -> Result<(), openline::Error> {
/// let mut ws = openline::connect("ws://127.0.0.1:8000/channels/flights/*").await?;
/// while let Some(message) = ws.next().await {
///     println!("{:?}", message?);
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`Client::connect`].
pub async fn connect(url: &str) -> Result<WebSocket, Error> {
    let (ws, _) = Client::new(url)?.connect().await?;
    Ok(ws)
}

/// A connection to be made.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use http::{HeaderValue, header};
/// use openline::{Client, Config};
///
/// let (mut ws, response) = Client::new("wss://example.org/chat")?
///     .subprotocol("chat")
///     .bearer("mF_9.B5f-4.1JqM")?
///     .header(header::ORIGIN, HeaderValue::from_static("https://example.org"))
///     .config(Config::default().max_message(16 << 20))
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
///
/// # How it connects
///
/// The server's name is resolved, and its addresses are tried a quarter of a second apart, IPv6 and IPv4 in turn, until
/// one answers (RFC 8305). A [proxy](Self::proxy) may stand on the way. `wss` is never spoken in the clear: without TLS
/// there is no connection.
///
/// # Credentials
///
/// `ws://user:password@host/`, [`basic`](Self::basic), [`bearer`](Self::bearer) and fields named `Authorization`, `Cookie`
/// and `Proxy-…` are credentials, and so is each value that was marked
/// [sensitive](HeaderValue::set_sensitive). They go to the origin of the URL only, also when a redirect leads elsewhere,
/// and never into `Debug`, errors or traces, just as the query of the URL.
#[derive(Clone)]
pub struct Client {
    address: Address,
    headers: HeaderMap,
    options: ClientOptions,
    config: Arc<Config>,
    connect_timeout: Duration,
    route: Route,
    redirects: u8,
    #[cfg(feature = "http2")]
    http2_window: u32,
    #[cfg(feature = "tls")]
    tls: Option<Arc<crate::tls::ClientConfig>>,
}

impl Client {
    /// To a `ws://` (port 80) or `wss://` (port 443) address. User info in it is sent as [`basic`](Self::basic).
    ///
    /// # Errors
    /// [`Error::Request`] if it is no such address. A fragment (`#…`) must not be there (RFC 6455 §3), nor white space;
    /// [`Error::Credentials`] for user info that can't be sent.
    pub fn new(url: &str) -> Result<Self, Error> {
        let (address, user_info) = Address::parse(url)?;
        let mut client = Self {
            address,
            headers: HeaderMap::new(),
            options: ClientOptions::default(),
            config: Arc::default(),
            connect_timeout: Duration::from_secs(10),
            route: Route::default(),
            redirects: 0,
            #[cfg(feature = "http2")]
            http2_window: http2::WINDOW,
            #[cfg(feature = "tls")]
            tls: None,
        };
        if let Some(user_info) = user_info {
            client
                .headers
                .insert(AUTHORIZATION, auth::basic(&user_info)?);
        }
        Ok(client)
    }

    /// A subprotocol to offer; the first given is the most preferred. [`WebSocket::subprotocol`] tells the choice.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.options = self.options.subprotocol(name);
        self
    }

    /// A further header field of the request. A second `Authorization` takes the place of the first.
    ///
    /// Mark a value [sensitive](HeaderValue::set_sensitive) if it is a secret; credentials by name are marked here.
    #[must_use]
    pub fn header(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        if auth::is_credential(&name) {
            value.set_sensitive(true);
        }
        if name == AUTHORIZATION {
            self.headers.insert(name, value);
        } else {
            self.headers.append(name, value);
        }
        self
    }

    /// Authenticates by a name and a password (RFC 7617). Use `wss`: they are encoded, not encrypted.
    ///
    /// # Errors
    /// [`Error::Credentials`] for a `:` in the name, or control characters.
    pub fn basic(self, user: &str, password: &str) -> Result<Self, Error> {
        let (user, password) = (user.into(), password.into());
        let value = auth::basic(&UserInfo { user, password })?;
        Ok(self.header(AUTHORIZATION, value))
    }

    /// Authenticates by a token (RFC 6750).
    ///
    /// # Errors
    /// [`Error::Credentials`] for characters that a token can't have.
    pub fn bearer(self, token: &str) -> Result<Self, Error> {
        let value = auth::bearer(token)?;
        Ok(self.header(AUTHORIZATION, value))
    }

    /// Limits, deadlines and compression. [`Config::handshake_timeout`] bounds TLS with the server and the opening handshake;
    /// the way there has a deadline [of its own](Self::connect_timeout).
    #[must_use]
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.config = config.into();
        let offer = self.config.deflate_settings().map(Deflate::offer);
        self.options = self.options.deflate(offer);
        self
    }

    /// How long it may take until bytes flow to the server: resolving its name, TCP, and a proxy's part. Default: 10 s.
    #[must_use]
    pub const fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Goes through this proxy, whatever the environment says.
    ///
    /// Default: the proxy that the environment names, as with curl and most clients. For `wss` that is `HTTPS_PROXY`, for
    /// `ws` it is `HTTP_PROXY`, for both `ALL_PROXY` where the other is not set; in lower case too, which goes first. Servers
    /// on this machine (`localhost`, `127.0.0.0/8`, `[::1]`) and those in `NO_PROXY` are reached directly: a list with
    /// commas of names (with their subdomains), addresses, networks (`10.0.0.0/8`), each with or without a port, or `*`. In
    /// a CGI program (where `REQUEST_METHOD` is set) `HTTP_PROXY` in upper case is ignored, because a request can set it.
    #[must_use]
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.route = Route::Through(proxy);
        self
    }

    /// Goes through no proxy, whatever the environment says.
    #[must_use]
    pub fn no_proxy(mut self) -> Self {
        self.route = Route::Direct;
        self
    }

    /// How many redirects in a row to follow. Default: 0, as in browsers: a redirect lets one server pick another, on
    /// your network too, to which this client then speaks.
    ///
    /// `http` and `https` in a `Location` stand for `ws` and `wss`. From `wss` to `ws` none is followed, nor one in a
    /// circle. To another origin (scheme, host and port) credentials do not go along: see [`Client`]. Subprotocols do, since
    /// there is no handshake without them: put no secrets there. Every hop has the whole of both deadlines.
    #[must_use]
    pub const fn redirects(mut self, limit: u8) -> Self {
        self.redirects = limit;
        self
    }

    /// TLS by a configuration of your own: other roots, client certificates ([`crate::tls::Setup`] makes one). Default:
    /// the platform's verifier. Its ALPN protocols are not used: it is `http/1.1` that is offered, and `h2` where HTTP/2 is wanted.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: impl Into<Arc<crate::tls::ClientConfig>>) -> Self {
        self.tls = Some(crate::tls::http_1(config.into()));
        self
    }

    /// Connects, and gives the server's response along with the WebSocket.
    ///
    /// # Errors
    /// [`Error::Connect`] and [`Error::Proxy`] on the way to the server, [`Error::Tls`], [`Error::Handshake`] with the
    /// response if it is no WebSocket's, [`Error::Redirect`], [`Timeout::Handshake`].
    pub async fn connect(mut self) -> Result<(WebSocket, Response<()>), Error> {
        let mut redirects = Redirects::new(self.redirects, self.address.clone());
        loop {
            let stream = self.reach().await?;
            let deadline = self.handshake_deadline();
            let secured = timeout_at(deadline, self.secure(stream)).await;
            let stream = secured.map_err(|_| Timeout::Handshake)??;
            match self.handshake(stream, deadline).await {
                Err(error) => self.address = redirects.follow(error, &mut self.headers)?,
                connected => return connected,
            }
        }
    }

    /// Does the opening handshake on a stream of your own, to which TLS, if it is wanted, was added already. No redirect
    /// is followed.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_over(
        self,
        stream: impl Into<Stream>,
    ) -> Result<(WebSocket, Response<()>), Error> {
        let deadline = self.handshake_deadline();
        self.handshake(stream.into(), deadline).await
    }

    /// The address without its query, for traces.
    pub(crate) const fn address(&self) -> &impl fmt::Display {
        &self.address
    }

    /// The options with all fields.
    fn whole_options(&self) -> ClientOptions {
        let mut options = self.options.clone();
        for (name, value) in &self.headers {
            options = options.header(name.clone(), value.clone());
        }
        options
    }

    fn handshake_deadline(&self) -> Instant {
        after(self.config.timeouts().handshake)
    }

    /// A stream to the server, through a proxy or not.
    async fn reach(&self) -> Result<Stream, Error> {
        let deadline = after(self.connect_timeout);
        if self.address.is_secure() && cfg!(not(feature = "tls")) {
            return Err(Error::NoTls(self.address.to_string()));
        }
        if let Some(proxy) = self.route.proxy(&self.address)? {
            return proxy.connect(&self.address, &self.config, deadline).await;
        }
        let dialed = dial::dial(self.address.host(), self.address.port(), deadline).await;
        let stream = dialed.map_err(|source| Error::Connect {
            authority: self.address.authority(),
            source,
        })?;
        Ok(stream.into())
    }

    #[cfg(feature = "tls")]
    async fn secure(&self, stream: Stream) -> Result<Stream, Error> {
        if !self.address.is_secure() {
            return Ok(stream);
        }
        let host = self.address.host().to_string();
        let secured = crate::tls::connect(stream, &host, self.tls.clone()).await;
        secured.map_err(Error::Tls)
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(&self, stream: Stream) -> Result<Stream, Error> {
        Ok(stream)
    }

    async fn handshake(
        &self,
        mut stream: Stream,
        deadline: Instant,
    ) -> Result<(WebSocket, Response<()>), Error> {
        let key = Key::new(rand::random());
        let address = || RequestError::Address(self.address.to_string());
        let uri = self.address.uri().ok_or_else(address)?;
        let options = self.whole_options();
        let request = handshake::request(&uri, key, &options)?;
        let mut head = Vec::new();
        handshake::write_request(&request, &mut head);
        write(&mut stream, &head, deadline).await?;

        let answer = timeout_at(
            deadline,
            answer::read_head::<Error>(&mut stream, &self.config),
        )
        .await;
        let (response, early) = answer.map_err(|_| Timeout::Handshake)??;
        match handshake::verify(&response, key, &options) {
            Ok(established) => {
                let connection = Connection::client(self.config.clone(), rand::random, now())
                    .with_deflate(established.deflate);
                Ok((
                    WebSocket::new(stream, connection, early, established.subprotocol),
                    response,
                ))
            }
            Err(error) => {
                let response = answer::read_body(&mut stream, response, early, deadline).await;
                Err(redirect::refusal(&self.address, error, response))
            }
        }
    }
}

/// Without credentials and query.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.address)
            .field("headers", &self.headers)
            .field("options", &self.options)
            .field("config", &self.config)
            .field("connect_timeout", &self.connect_timeout)
            .field("route", &self.route)
            .field("redirects", &self.redirects)
            .finish_non_exhaustive()
    }
}
