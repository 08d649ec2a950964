//! Requests of our own, to servers that the configuration names: bounded in size and time.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::time::timeout;

/// Why nothing can be asked there.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It is no URL, or one that must not be asked.
    Url,
    /// No TLS client can be set up.
    Tls(rustls::Error),
}

/// Which servers may be asked without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plain {
    /// Those of this machine: what is answered decides who is let in.
    Near,
    /// All of them.
    Anywhere,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no answer within {} s", .0.as_secs_f64())]
    Late(Duration),
    #[error("cannot reach it")]
    Connect(#[source] hyper_util::client::legacy::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("the answer broke off, or is longer than {limit} bytes")]
    Body { limit: usize },
    #[error("it is longer than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("it is not the JSON that is expected")]
    Json(#[source] serde_json::Error),
    #[error(transparent)]
    File(#[from] io::Error),
}

/// A client of one URL.
#[derive(Debug)]
pub(crate) struct Fetch {
    uri: Uri,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Fetch {
    /// A client of `url`, which is `https`, or `http` where `plain` allows it.
    pub(crate) fn new(url: &str, plain: Plain) -> Result<Self, Unusable> {
        let uri: Uri = url.parse().map_err(|_| Unusable::Url)?;
        let host = uri.host().ok_or(Unusable::Url)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_near = bare == "localhost"
            || bare
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_near || plain == Plain::Anywhere => false,
            _ => return Err(Unusable::Url),
        };
        let provider = rustls::crypto::ring::default_provider().into();
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Unusable::Tls)?;
        // A server without TLS asks for no roots, so that a machine without any can still use it.
        let tls = if is_tls {
            builder.with_platform_verifier().map_err(Unusable::Tls)?
        } else {
            builder.with_root_certificates(rustls::RootCertStore::empty())
        };
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self {
            uri,
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// What is there, if it is at most `limit` bytes and comes in time.
    pub(crate) async fn get(&self, limit: usize, deadline: Duration) -> Result<Bytes, FetchError> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = self.uri.clone();
        self.send(request, limit, deadline).await
    }

    /// What is answered to a `POST` of `body`, within the same bounds.
    pub(crate) async fn post(
        &self,
        fields: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        limit: usize,
        deadline: Duration,
    ) -> Result<Bytes, FetchError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().extend(fields);
        self.send(request, limit, deadline).await
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        limit: usize,
        deadline: Duration,
    ) -> Result<Bytes, FetchError> {
        let answer = async {
            let response = self.client.request(request).await;
            let response = response.map_err(FetchError::Connect)?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), limit).collect().await;
            body.map(|body| body.to_bytes())
                .map_err(|_| FetchError::Body { limit })
        };
        timeout(deadline, answer)
            .await
            .unwrap_or(Err(FetchError::Late(deadline)))
    }
}
