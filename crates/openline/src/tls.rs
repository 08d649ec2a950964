//! TLS by rustls, for clients and servers.
//!
//! A server needs no more than the stream: a `TlsStream` of `tokio_rustls` is accepted like a TCP stream.
//!
//! ```no_run
//! # async fn run(tcp: tokio::net::TcpStream, config: openline::tls::ServerConfig) -> Result<(), Box<dyn std::error::Error>> {
//! let acceptor = openline::tls::TlsAcceptor::from(std::sync::Arc::new(config));
//! let mut ws = openline::accept(acceptor.accept(tcp).await?).await?;
//! # Ok(()) }
//! ```

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::error::Error;
use crate::stream::{Stream, no_delay};

pub use tokio_rustls::TlsAcceptor;
pub use tokio_rustls::rustls::{self, ClientConfig, ServerConfig};

impl From<tokio_rustls::client::TlsStream<TcpStream>> for Stream {
    fn from(stream: tokio_rustls::client::TlsStream<TcpStream>) -> Self {
        no_delay(stream.get_ref().0);
        Self::new(stream)
    }
}

impl From<tokio_rustls::server::TlsStream<TcpStream>> for Stream {
    fn from(stream: tokio_rustls::server::TlsStream<TcpStream>) -> Self {
        no_delay(stream.get_ref().0);
        Self::new(stream)
    }
}

/// A client's TLS in few words: whom it trusts, and who it is.
///
/// ```no_run
/// # fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use openline::{Client, tls::Setup};
///
/// let tls = Setup::default()
///     .trust_only(&std::fs::read("ca.pem")?)?
///     .identity(&std::fs::read("client.pem")?)?
///     .build()?;
/// let client = Client::new("wss://internal.example/")?.tls(tls);
/// # Ok(()) }
/// ```
#[derive(Default)]
pub struct Setup {
    roots: Option<RootCertStore>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Setup {
    /// Trusts these certificates (PEM), and no others; called again, these too. Default: what the platform trusts.
    ///
    /// # Errors
    /// [`Error::Tls`] if there is no certificate in it, or one that can't be used.
    pub fn trust_only(mut self, pem: &[u8]) -> Result<Self, Error> {
        let roots = self.roots.get_or_insert_with(RootCertStore::empty);
        for certificate in certificates(pem)? {
            roots.add(certificate).map_err(tls_error)?;
        }
        Ok(self)
    }

    /// Shows this certificate, with those between it and its root, to servers that ask for one; the private key stands
    /// in the same text (PEM).
    ///
    /// # Errors
    /// [`Error::Tls`] if a certificate or the key is missing.
    pub fn identity(mut self, pem: &[u8]) -> Result<Self, Error> {
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(tls_error)?;
        self.identity = Some((certificates(pem)?, key));
        Ok(self)
    }

    /// The configuration, for [`Client::tls`](crate::Client::tls).
    ///
    /// # Errors
    /// [`Error::Tls`] if the key does not fit its certificate, or the platform's certificates can't be read.
    pub fn build(self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(tls_error)?;
        let builder = match self.roots {
            Some(roots) => builder.with_root_certificates(roots),
            None => builder.with_platform_verifier().map_err(tls_error)?,
        };
        let mut config = match self.identity {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(tls_error)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP_1.to_vec()];
        Ok(config)
    }
}

/// Without the private key.
impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("roots", &self.roots)
            .field(
                "identity",
                &self.identity.as_ref().map(|(chain, _)| chain.len()),
            )
            .finish()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(tls_error(pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(error) => Err(tls_error(error)),
    }
}

fn tls_error(error: impl Into<BoxError>) -> Error {
    Error::Tls(error.into())
}

/// The protocol that is spoken behind TLS, by its ALPN name.
const HTTP_1: &[u8] = b"http/1.1";

#[cfg(feature = "http2")]
const HTTP_2: &[u8] = b"h2";

/// The same configuration, offering no other protocol: a server that picks another would not be understood.
pub(crate) fn http_1(mut config: Arc<ClientConfig>) -> Arc<ClientConfig> {
    if config.alpn_protocols != [HTTP_1] {
        Arc::make_mut(&mut config).alpn_protocols = vec![HTTP_1.to_vec()];
    }
    config
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Speaks TLS on a stream, with a peer that must have a certificate for `host`.
pub(crate) async fn connect(
    stream: Stream,
    host: &str,
    config: Option<Arc<ClientConfig>>,
) -> Result<Stream, BoxError> {
    let config = match config {
        Some(config) => config,
        None => platform_config()?,
    };
    Ok(Stream::new(secure(stream, host, config).await?))
}

/// The same, and agrees on HTTP/2; `None` if the server speaks another version, or does not say.
#[cfg(feature = "http2")]
pub(crate) async fn connect_http2(
    stream: Stream,
    host: &str,
    config: Option<Arc<ClientConfig>>,
) -> Result<Option<Stream>, BoxError> {
    let mut config = match config {
        Some(config) => config,
        None => platform_config()?,
    };
    // A server that knows only the other one then says so, instead of ending the connection.
    Arc::make_mut(&mut config).alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
    let stream = secure(stream, host, config).await?;
    let agreed = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
    Ok(agreed.then(|| Stream::new(stream)))
}

/// The same server, agreeing on HTTP/2 where the client knows it.
#[cfg(feature = "http2")]
pub(crate) fn serving_http2(acceptor: &TlsAcceptor) -> TlsAcceptor {
    let mut config = Arc::clone(acceptor.config());
    Arc::make_mut(&mut config).alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
    config.into()
}

async fn secure(
    stream: Stream,
    host: &str,
    config: Arc<ClientConfig>,
) -> Result<tokio_rustls::client::TlsStream<Stream>, BoxError> {
    // An IPv6 address stands in brackets in a URL, and without them in a certificate.
    let name = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(name)?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    connected.map_err(|error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(rustls::Error::InvalidMessage(_)) => NotTls(error).into(),
            _ => error.into(),
        }
    })
}

/// A server that speaks something else on this port.
#[derive(Debug, thiserror::Error)]
#[error("the server does not speak TLS here: is it `ws://` on this port?")]
struct NotTls(#[source] std::io::Error);

/// Trusts what the platform trusts. Read once: on Linux that takes a hundred files, and sessions can be resumed.
fn platform_config() -> Result<Arc<ClientConfig>, Error> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let config = Arc::new(Setup::default().build()?);
    Ok(Arc::clone(CONFIG.get_or_init(|| config)))
}
