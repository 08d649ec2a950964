//! The client: from a URL to a WebSocket.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Response, Uri};
use openline_proto::handshake::{self, ClientOptions, HeadReader, Key, RequestError};
use openline_proto::{Config, Connection, Timeout};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use crate::error::Error;
use crate::server::write;
use crate::stream::Stream;
use crate::timer::now;
use crate::websocket::WebSocket;

/// Of a refusal's body, what is kept to be shown.
const MAX_REFUSAL: usize = 64 * 1024;

/// Connects to a `ws://` or `wss://` address, with the default options.
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
///     .header(header::AUTHORIZATION, HeaderValue::try_from("Bearer xyz")?)
///     .config(Config::default().max_message(16 << 20))
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    uri: Uri,
    options: ClientOptions,
    config: Arc<Config>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<crate::tls::ClientConfig>>,
}

impl Client {
    /// To a `ws://` (port 80) or `wss://` (port 443) address.
    ///
    /// # Errors
    /// [`Error::Request`] if it is no such address. A fragment (`#…`) must not be there (RFC 6455 §3).
    pub fn new(url: &str) -> Result<Self, Error> {
        let invalid = || RequestError::Address(url.to_owned());
        if url.contains('#') {
            return Err(invalid().into());
        }
        Ok(Self {
            uri: url.parse().map_err(|_| invalid())?,
            options: ClientOptions::default(),
            config: Arc::default(),
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// A subprotocol to offer; the first given is the most preferred. [`WebSocket::subprotocol`] tells the choice.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.options = self.options.subprotocol(name);
        self
    }

    /// A further header field of the request.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.options = self.options.header(name, value);
        self
    }

    /// Limits and deadlines. [`Config::handshake_timeout`] bounds the whole way to the connection, TCP and TLS too.
    #[must_use]
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.config = config.into();
        self
    }

    /// TLS by a configuration of your own: other roots, client certificates. Default: the platform's verifier.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: impl Into<Arc<crate::tls::ClientConfig>>) -> Self {
        self.tls = Some(config.into());
        self
    }

    /// Connects, and gives the server's response along with the WebSocket.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Tls`], [`Error::Handshake`] with the response if it is no WebSocket's,
    /// [`Timeout::Handshake`].
    pub async fn connect(self) -> Result<(WebSocket, Response<()>), Error> {
        let deadline = tokio::time::Instant::from(now()) + self.config.timeouts().handshake;
        let stream = timeout_at(deadline, self.dial())
            .await
            .map_err(|_| Timeout::Handshake)??;
        self.handshake(stream, deadline).await
    }

    /// Does the opening handshake on a stream of your own, to which TLS, if it is wanted, was added already.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_over(
        self,
        stream: impl Into<Stream>,
    ) -> Result<(WebSocket, Response<()>), Error> {
        let deadline = tokio::time::Instant::from(now()) + self.config.timeouts().handshake;
        self.handshake(stream.into(), deadline).await
    }

    async fn dial(&self) -> Result<Stream, Error> {
        let invalid = || RequestError::Address(self.uri.to_string());
        let secure = match self.uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(invalid().into()),
        };
        let host = self
            .uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(invalid)?;
        let port = self.uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let authority = format!("{host}:{port}");
        let stream = TcpStream::connect(&authority).await;
        let stream = stream.map_err(|source| Error::Connect { authority, source })?;
        stream.set_nodelay(true)?;
        if secure {
            self.secure(stream, host).await
        } else {
            Ok(stream.into())
        }
    }

    #[cfg(feature = "tls")]
    async fn secure(&self, stream: TcpStream, host: &str) -> Result<Stream, Error> {
        crate::tls::connect(stream, host, self.tls.clone()).await
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(&self, _: TcpStream, _: &str) -> Result<Stream, Error> {
        Err(Error::NoTls(self.uri.clone()))
    }

    async fn handshake(
        self,
        mut stream: Stream,
        deadline: tokio::time::Instant,
    ) -> Result<(WebSocket, Response<()>), Error> {
        let key = Key::new(rand::random());
        let request = handshake::request(&self.uri, key, &self.options)?;
        let mut head = Vec::new();
        handshake::write_request(&request, &mut head);
        write(&mut stream, &head, deadline).await?;

        let answer = timeout_at(deadline, read_response(&mut stream, &self.config)).await;
        let (response, early) = answer.map_err(|_| Timeout::Handshake)??;
        match handshake::verify(&response, key, &self.options) {
            Ok(established) => {
                let connection = Connection::client(self.config, rand::random, now());
                Ok((
                    WebSocket::new(stream, connection, early, established.subprotocol),
                    response,
                ))
            }
            Err(error) => {
                let mut body = BytesMut::from(early);
                // As much of the explanation as comes; the refusal itself is what must be told.
                let _ = timeout_at(deadline, read_body(&mut stream, &response, &mut body)).await;
                let response = Box::new(response.map(|()| body.freeze()));
                Err(Error::Handshake { error, response })
            }
        }
    }
}

async fn read_response(
    stream: &mut Stream,
    config: &Config,
) -> Result<(Response<()>, Bytes), Error> {
    let mut reader = HeadReader::new(config, now());
    let mut bytes = vec![0; 4096];
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 || reader.handle_input(&bytes[..count])? {
            return Ok(reader.into_response()?);
        }
    }
}

async fn read_body(
    stream: &mut Stream,
    response: &Response<()>,
    body: &mut BytesMut,
) -> std::io::Result<()> {
    let declared = response.headers().get(http::header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
    let end = declared.unwrap_or(MAX_REFUSAL).min(MAX_REFUSAL);
    while body.len() < end {
        if stream.read_buf(body).await? == 0 {
            break;
        }
    }
    body.truncate(end);
    Ok(())
}
