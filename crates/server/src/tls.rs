//! TLS for the port that is listened on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsConfig;

/// What is wrong with the settings of TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// One of the two is set without the other.
    #[error("tls.cert and tls.key belong together; set both, or none")]
    Half,
    /// A file cannot be read, or has not what it should have.
    #[error("{key}: {} is no PEM file with {what}", path.display())]
    File {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// Why not.
        source: pem::Error,
    },
    /// The certificate and the key do not fit each other, or are of a kind that is not spoken.
    #[error("tls.cert and tls.key cannot be used together")]
    Pair(#[source] rustls::Error),
}

/// The protocols that are spoken, best first.
const PROTOCOLS: [&[u8]; 2] = [HTTP_2, b"http/1.1"];

/// The name of HTTP/2 in TLS.
pub(crate) const HTTP_2: &[u8] = b"h2";

/// TLS as configured, if it is.
pub(crate) fn server(config: &TlsConfig) -> Result<Option<Arc<ServerConfig>>, TlsError> {
    let (cert, key) = match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) => return Ok(None),
        _ => return Err(TlsError::Half),
    };
    let failed = |key: &'static str, path: &Path, what: &'static str| {
        let path = path.to_owned();
        move |source| TlsError::File {
            key,
            path,
            what,
            source,
        }
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain| {
            let empty = chain.is_empty();
            if empty {
                Err(pem::Error::NoItemsFound)
            } else {
                Ok(chain)
            }
        })
        .map_err(failed("tls.cert", cert, "certificates"))?;
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(failed("tls.key", key, "a private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(TlsError::Pair)?;
    server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Some(Arc::new(server)))
}
