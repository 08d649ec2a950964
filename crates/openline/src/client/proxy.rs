//! Proxies: which one a connection takes, and the way through it.

use std::fmt;
use std::io;

use bytes::Bytes;
use http::{HeaderValue, Response};
use openline_proto::Config;
use openline_proto::handshake::HeadError;
use tokio::time::Instant;
use url::{Host, Url};

use super::address::{Address, UserInfo, without_secrets};
use super::auth::{self, CredentialsError};
use super::dial::{ConnectError, dial};
use super::{environment, http_connect, socks5};
use crate::error::Error;
use crate::stream::Stream;

/// A proxy that connections go through: HTTP or HTTPS with `CONNECT`, or SOCKS 5.
///
/// ```
/// use openline::{Client, Proxy};
///
/// let proxy = Proxy::new("http://proxy.example:3128")?.credentials("alice", "open sesame")?;
/// let client = Client::new("wss://example.org/chat")?.proxy(proxy);
/// # Ok::<_, openline::Error>(())
/// ```
///
/// Also plain `ws://` takes a `CONNECT` tunnel, since few proxies forward an upgrade. The server's name is resolved by
/// the proxy, never here, and TLS with the server is end to end: the proxy sees the server's name and port, no more.
#[derive(Clone)]
pub struct Proxy {
    kind: Kind,
    host: Host<String>,
    port: u16,
    credentials: Option<UserInfo>,
    #[cfg(feature = "tls")]
    tls: Option<std::sync::Arc<crate::tls::ClientConfig>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Https,
    Socks5,
}

impl Proxy {
    /// A proxy by its address: `http://`, `https://`, `socks5://` or `socks5h://` (which are the same here: the proxy
    /// resolves names), host, and port (else 80, 443 and 1080). Without a scheme it is `http://`. Credentials may stand in it,
    /// percent-encoded: `http://user:password@host`.
    ///
    /// # Errors
    /// [`Error::Proxy`] with [`ProxyError::Address`] or [`ProxyError::Credentials`].
    pub fn new(address: &str) -> Result<Self, Error> {
        let shown = without_secrets(address);
        Self::parse(address).map_err(|error| error.of(shown))
    }

    fn parse(address: &str) -> Result<Self, ProxyError> {
        let with_scheme = match address.contains("://") {
            true => address.to_owned(),
            false => format!("http://{address}"),
        };
        if with_scheme.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(ProxyError::Address);
        }
        let mut url = Url::parse(&with_scheme).map_err(|_| ProxyError::Address)?;
        let (kind, default_port) = match url.scheme() {
            "http" => (Kind::Http, 80),
            "https" => (Kind::Https, 443),
            "socks5" | "socks5h" => (Kind::Socks5, 1080),
            _ => return Err(ProxyError::Address),
        };
        let user_info = UserInfo::take(&mut url);
        if !matches!(url.path(), "" | "/") || url.query().or(url.fragment()).is_some() {
            return Err(ProxyError::Address);
        }
        // The host of a `socks5` URL, whose scheme browsers do not know, comes as it was written.
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = Host::parse(host.ok_or(ProxyError::Address)?);
        let proxy = Self {
            kind,
            host: host.map_err(|_| ProxyError::Address)?,
            port: url.port().unwrap_or(default_port),
            credentials: None,
            #[cfg(feature = "tls")]
            tls: None,
        };
        match user_info {
            Some(user_info) => proxy.identify(user_info),
            None => Ok(proxy),
        }
    }

    /// Who asks: for `Basic` authentication (RFC 7617) at an HTTP proxy, for RFC 1929 at a SOCKS proxy.
    ///
    /// # Errors
    /// [`Error::Proxy`] with [`ProxyError::Credentials`]: see [`CredentialsError`].
    pub fn credentials(self, user: &str, password: &str) -> Result<Self, Error> {
        let shown = self.to_string();
        let user_info = UserInfo {
            user: user.into(),
            password: password.into(),
        };
        self.identify(user_info).map_err(|error| error.of(shown))
    }

    fn identify(mut self, user_info: UserInfo) -> Result<Self, ProxyError> {
        match self.kind {
            Kind::Socks5 => socks5::check(&user_info)?,
            Kind::Http | Kind::Https => drop(auth::basic(&user_info)?),
        }
        self.credentials = Some(user_info);
        Ok(self)
    }

    /// TLS with an `https://` proxy by a configuration of your own, as [`Client::tls`](crate::Client::tls) for the
    /// server.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: impl Into<std::sync::Arc<crate::tls::ClientConfig>>) -> Self {
        self.tls = Some(crate::tls::http_1(config.into()));
        self
    }

    /// Opens a way through the proxy to the server.
    pub(crate) async fn connect(
        &self,
        server: &Address,
        config: &Config,
        deadline: Instant,
    ) -> Result<Stream, Error> {
        tracing::debug!(proxy = %self, %server, "connecting through a proxy");
        let connected = self.tunnel(server, config, deadline).await;
        connected.map_err(|error| error.of(self.to_string()))
    }

    async fn tunnel(
        &self,
        server: &Address,
        config: &Config,
        deadline: Instant,
    ) -> Result<Stream, ProxyError> {
        let host = match &self.host {
            Host::Domain(name) => Host::Domain(name.as_str()),
            Host::Ipv4(ip) => Host::Ipv4(*ip),
            Host::Ipv6(ip) => Host::Ipv6(*ip),
        };
        let stream: Stream = dial(host, self.port, deadline).await?.into();
        match self.kind {
            Kind::Http => self.http(stream, server, config, deadline).await,
            Kind::Https => {
                let stream = self.secure(stream, deadline).await?;
                self.http(stream, server, config, deadline).await
            }
            Kind::Socks5 => {
                socks5::tunnel(stream, server, self.credentials.as_ref(), deadline).await
            }
        }
    }

    async fn http(
        &self,
        stream: Stream,
        server: &Address,
        config: &Config,
        deadline: Instant,
    ) -> Result<Stream, ProxyError> {
        let authorization: Option<HeaderValue> =
            self.credentials.as_ref().map(auth::basic).transpose()?;
        http_connect::tunnel(stream, server, authorization.as_ref(), config, deadline).await
    }

    #[cfg(feature = "tls")]
    async fn secure(&self, stream: Stream, deadline: Instant) -> Result<Stream, ProxyError> {
        let host = self.host.to_string();
        let secured = crate::tls::connect(stream, &host, self.tls.clone());
        let secured = tokio::time::timeout_at(deadline, secured).await;
        secured
            .map_err(|_| ProxyError::Timeout)?
            .map_err(ProxyError::Tls)
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(&self, _: Stream, _: Instant) -> Result<Stream, ProxyError> {
        Err(ProxyError::NoTls)
    }
}

/// Without credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            Kind::Http => "http",
            Kind::Https => "https",
            Kind::Socks5 => "socks5",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Why there is no way through a proxy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The proxy's address can't be used.
    #[error("the proxy's address must be http://, https:// or socks5://, a host, and no path")]
    Address,
    /// The proxy's credentials can't be sent.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The proxy could not be reached.
    #[error("the proxy can't be reached")]
    Connect(#[from] ConnectError),
    /// TLS with an `https://` proxy could not be set up.
    #[error("TLS with the proxy could not be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An `https://` proxy, and this build has no TLS.
    #[error("an https:// proxy needs TLS: build with the feature `tls`")]
    NoTls,
    /// The connection with the proxy broke.
    #[error("the connection with the proxy broke")]
    Io(#[from] io::Error),
    /// The proxy's answer is not HTTP, or too long, or was cut off.
    #[error("the proxy's answer can't be read")]
    Head(#[from] HeadError),
    /// The proxy said no; here is its answer, with a body of at most 64 KiB. `407` asks for
    /// [credentials](Proxy::credentials), or for others.
    #[error("the proxy answered {}", .0.status())]
    Refused(Box<Response<Bytes>>),
    /// The proxy sent bytes of the tunnel before the server can have sent any.
    #[error("the proxy sent more than its answer")]
    Early,
    /// The way through was not open at the deadline, [`Client::connect_timeout`](crate::Client::connect_timeout).
    #[error("the proxy did not open the way in time")]
    Timeout,
    /// What the proxy sent is not SOCKS 5.
    #[error("the proxy does not speak SOCKS 5 (RFC 1928)")]
    NotSocks,
    /// The proxy accepts none of the ways to tell who asks.
    #[error("the proxy wants authentication other than what it was offered (RFC 1928 §3)")]
    SocksMethod,
    /// The proxy does not accept the name and the password.
    #[error("the proxy does not accept the user's name and password (RFC 1929)")]
    SocksCredentials,
    /// The server's name is longer than SOCKS can say.
    #[error("the server's name is longer than the 255 bytes that SOCKS can carry (RFC 1928 §5)")]
    SocksName,
    /// The proxy made no connection, for a reason of RFC 1928 §6.
    #[error("the proxy made no connection: {}", socks5::reason(*.0))]
    SocksReply(u8),
}

impl ProxyError {
    fn of(self, proxy: String) -> Error {
        Error::Proxy { proxy, error: self }
    }
}

/// Which way a client's connections take.
#[derive(Clone, Debug, Default)]
pub(crate) enum Route {
    /// What the environment says.
    #[default]
    Environment,
    /// No proxy, whatever the environment says.
    Direct,
    /// This proxy, for every server.
    Through(Proxy),
}

impl Route {
    /// The proxy on the way to a server.
    pub(crate) fn proxy(&self, server: &Address) -> Result<Option<Proxy>, Error> {
        match self {
            Self::Environment => environment::proxy(server, |name| std::env::var(name).ok()),
            Self::Direct => Ok(None),
            Self::Through(proxy) => Ok(Some(proxy.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_proxies() {
        for (text, shown) in [
            ("proxy", "http://proxy:80"),
            ("proxy:3128", "http://proxy:3128"),
            ("user:pass@proxy:3128", "http://proxy:3128"),
            ("https://proxy/", "https://proxy:443"),
            ("socks5://127.0.0.1", "socks5://127.0.0.1:1080"),
            ("socks5h://u:p@[::1]:9050", "socks5://[::1]:9050"),
        ] {
            assert_eq!(Proxy::new(text).unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            "socks4://h",
            "ftp://h",
            "http://",
            "http://h/path",
            "http://h\r\nx",
            "socks5://",
        ] {
            let error = Proxy::new(wrong).unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::Proxy {
                        error: ProxyError::Address,
                        ..
                    }
                ),
                "{wrong}: {error:?}"
            );
        }
    }

    #[test]
    fn credentials_are_checked_at_once_and_never_shown() {
        let proxy = Proxy::new("http://al%40ice:se%3Acret@proxy").unwrap();
        let user_info = proxy.credentials.as_ref().unwrap();
        assert_eq!(
            (&user_info.user[..], &user_info.password[..]),
            (&b"al@ice"[..], &b"se:cret"[..])
        );
        assert_eq!(
            format!("{proxy:?} {proxy}"),
            "Proxy(http://proxy:80) http://proxy:80"
        );
        for wrong in ["http://a%3Ab:secret@proxy", "http://a:secret%0d%0ax@proxy"] {
            let error = Proxy::new(wrong).unwrap_err();
            assert!(matches!(
                error,
                Error::Proxy {
                    error: ProxyError::Credentials(_),
                    ..
                }
            ));
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
        let long = "x".repeat(256);
        let socks = Proxy::new("socks5://h").unwrap();
        assert!(socks.clone().credentials(&long, "").is_err());
        assert!(socks.credentials(&long[1..], &long[1..]).is_ok());
    }
}
