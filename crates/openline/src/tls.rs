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

use std::io;
use std::sync::Arc;

use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::error::Error;
use crate::stream::Stream;

pub use tokio_rustls::TlsAcceptor;
pub use tokio_rustls::rustls::{self, ClientConfig, ServerConfig};

impl From<tokio_rustls::client::TlsStream<TcpStream>> for Stream {
    fn from(stream: tokio_rustls::client::TlsStream<TcpStream>) -> Self {
        Self::new(stream)
    }
}

impl From<tokio_rustls::server::TlsStream<TcpStream>> for Stream {
    fn from(stream: tokio_rustls::server::TlsStream<TcpStream>) -> Self {
        Self::new(stream)
    }
}

pub(crate) async fn connect(
    stream: TcpStream,
    host: &str,
    config: Option<Arc<ClientConfig>>,
) -> Result<Stream, Error> {
    let config = match config {
        Some(config) => config,
        None => Arc::new(platform_config().map_err(|error| Error::Tls(error.into()))?),
    };
    // An IPv6 address stands in brackets in a URL, and without them in a certificate.
    let name = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(name).map_err(|error| Error::Tls(error.into()))?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    Ok(connected
        .map_err(|source: io::Error| Error::Tls(source.into()))?
        .into())
}

/// Trusts what the platform trusts. HTTP/1.1 is the one protocol that is offered.
fn platform_config() -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
