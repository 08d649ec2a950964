//! The HTTP client of `publish` and `listen`: one server, HTTP/1.1, with or without TLS.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::time::timeout;
use url::Url;

use crate::credential::Credential;
use crate::error::Error;
use crate::server_url::{Server, UrlError};

/// How long the TCP and TLS connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest error description that is read.
const MAX_PROBLEM_BYTES: usize = 64 * 1024;

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("openline/", env!("CARGO_PKG_VERSION")));

/// A client of one server; it keeps connections for the next request.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    server: Server,
    credential: Credential,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// A refusal: any status but the one that was hoped for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server answered {status}{}", told(.detail.as_deref()))]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// What a problem document (RFC 9457) tells.
    pub(crate) detail: Option<String>,
    /// How long to stay away.
    pub(crate) retry_after: Option<Duration>,
}

impl Http {
    /// # Errors
    /// [`Error::Tls`] when an `https` server's certificates could not be checked.
    pub(crate) fn new(server: Server, credential: Credential) -> Result<Self, Error> {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(server.is_tls()).map_err(Error::Tls)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self {
            server,
            credential,
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// What it is asked by.
    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The server that is asked.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Sends a request to `url`, and waits `patience` for the head of the answer.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Request`] and [`Error::NoAnswer`]; any status but `expected` is an
    /// [`Error::Answer`].
    pub(crate) async fn send(
        &self,
        url: &Url,
        mut request: Request<Full<Bytes>>,
        expected: StatusCode,
        patience: Duration,
    ) -> Result<Response<Incoming>, Error> {
        *request.uri_mut() = uri(url)?;
        request.headers_mut().insert(USER_AGENT, AGENT);
        if let Some(credential) = self.credential.field()? {
            request.headers_mut().insert(AUTHORIZATION, credential);
        }
        let answer = timeout(patience, self.client.request(request)).await;
        let server = || self.server.to_string();
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(source)) if source.is_connect() => {
                return Err(Error::Connect {
                    server: server(),
                    source,
                });
            }
            Ok(Err(source)) => {
                return Err(Error::Request {
                    server: server(),
                    source,
                });
            }
            Err(_) => {
                return Err(Error::NoAnswer {
                    server: server(),
                    after: patience,
                });
            }
        };
        if response.status() == expected {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        // An explanation that does not come whole is none; the status stands.
        let body = whole(body, MAX_PROBLEM_BYTES, patience).await;
        let body = body.unwrap_or_default();
        Err(Error::Answer(Box::new(Answer::new(
            head.status,
            &head.headers,
            &body,
        ))))
    }

    /// As [`send`](Self::send), and reads the whole body of the answer, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`Error::LongAnswer`], [`Error::Body`] and [`Error::Silent`].
    pub(crate) async fn fetch(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
        expected: StatusCode,
        patience: Duration,
        limit: usize,
    ) -> Result<Bytes, Error> {
        let response = self.send(url, request, expected, patience).await?;
        whole(response.into_body(), limit, patience).await
    }
}

impl Answer {
    /// Reads a refusal.
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        #[derive(serde::Deserialize)]
        struct Problem {
            detail: Option<String>,
        }
        let problem = media_type(headers) == Some("application/problem+json");
        let detail = problem
            .then(|| serde_json::from_slice::<Problem>(body).ok()?.detail)
            .flatten();
        Self {
            status,
            detail,
            retry_after: retry_after(headers, Timestamp::now()),
        }
    }
}

/// The media type of a head, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim())
}

/// Reads a whole body of at most `limit` bytes, waiting at most `patience` for each piece.
async fn whole(mut body: Incoming, limit: usize, patience: Duration) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    loop {
        let frame = match timeout(patience, body.frame()).await {
            Ok(Some(frame)) => frame.map_err(Error::Body)?,
            Ok(None) => return Ok(bytes.freeze()),
            Err(_) => return Err(Error::Silent(patience)),
        };
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(Error::LongAnswer { limit });
            }
            bytes.extend_from_slice(&data);
        }
    }
}

/// RFC 9110, 10.2.3: seconds, or the date from which on a request is welcome.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(value)
        .ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

fn uri(url: &Url) -> Result<Uri, Error> {
    url.as_str().parse().map_err(|_| Error::ServerUrl {
        url: url.to_string(),
        source: UrlError::Unusable,
    })
}

/// The system's roots for a server with TLS. One without asks for none, so that a machine that has no certificates can
/// still talk to it.
fn tls(needed: bool) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = rustls::crypto::ring::default_provider().into();
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?;
    Ok(if needed {
        builder.with_platform_verifier()?.with_no_client_auth()
    } else {
        builder
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth()
    })
}

fn told(detail: Option<&str>) -> String {
    detail
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_problem_tells_its_detail() {
        let headers = head(CONTENT_TYPE, "application/problem+json; charset=utf-8");
        let answer = Answer::new(StatusCode::BAD_REQUEST, &headers, br#"{"detail":"no"}"#);
        assert_eq!(
            answer.to_string(),
            "the server answered 400 Bad Request: no"
        );
        let headers = head(CONTENT_TYPE, "text/html");
        let answer = Answer::new(StatusCode::BAD_REQUEST, &headers, br#"{"detail":"no"}"#);
        assert_eq!(answer.to_string(), "the server answered 400 Bad Request");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2026-11-22T10:00:00Z".parse().unwrap();
        let wait = |value| retry_after(&head(RETRY_AFTER, value), now);
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            wait("Sun, 22 Nov 2026 10:00:30 GMT"),
            Some(Duration::from_secs(30))
        );
        assert_eq!(wait("Sun, 22 Nov 2026 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
