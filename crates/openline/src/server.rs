//! The server's opening handshake on a stream of bytes.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use http::{Request, Response};
use openline_proto::handshake::{self, HeadReader, OriginPolicy, ServerOptions};
use openline_proto::{Config, Connection, Deflate, Timeout};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::Error;
use crate::stream::Stream;
use crate::timer::{after, now};
use crate::websocket::WebSocket;

/// How long a client that was refused may stay once it has its answer.
const LINGER: Duration = Duration::from_secs(2);

/// Accepts a WebSocket with the default options: no subprotocol, web pages of the same origin only.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:9001").await?;
/// loop {
///     let (stream, _) = listener.accept().await?;
///     tokio::spawn(async move {
///         let mut ws = openline::accept(stream).await?;
///         while let Some(message) = ws.next().await {
///             ws.send(message?).await?;
///         }
///         Ok::<_, openline::Error>(())
///     });
/// }
/// # }
/// ```
///
/// # Errors
/// As [`Opening::accept`].
pub async fn accept(stream: impl Into<Stream>) -> Result<WebSocket, Error> {
    Acceptor::default().accept(stream).await
}

/// Accepts WebSockets with options of your own.
///
/// ```no_run
/// # async fn run(stream: tokio::net::TcpStream) -> Result<(), openline::Error> {
/// use openline::{Acceptor, Config, OriginPolicy};
///
/// let acceptor = Acceptor::default()
///     .subprotocol("chat")
///     .origins(OriginPolicy::Also(vec!["https://example.org".into()]))
///     .config(Config::default().max_message(4096));
/// let mut ws = acceptor.accept(stream).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Acceptor {
    pub(crate) options: ServerOptions,
    pub(crate) config: Arc<Config>,
}

impl Acceptor {
    /// A subprotocol that the server speaks; the first given is the most preferred.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.options = self.options.subprotocol(name);
        self
    }

    /// Which web pages may connect. Default: those of the same origin.
    #[must_use]
    pub fn origins(mut self, policy: OriginPolicy) -> Self {
        self.options = self.options.origins(policy);
        self
    }

    /// Limits, deadlines and compression.
    #[must_use]
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.config = config.into();
        let policy = self.config.deflate_settings().map(Deflate::policy);
        self.options = self.options.deflate(policy);
        self
    }

    /// Does the whole opening handshake.
    ///
    /// # Errors
    /// As [`Opening::accept`].
    pub async fn accept(&self, stream: impl Into<Stream>) -> Result<WebSocket, Error> {
        self.read(stream).await?.accept().await
    }

    /// When a handshake that begins now has taken too long, TLS included.
    pub(crate) fn deadline(&self) -> Instant {
        after(self.config.timeouts().handshake)
    }

    /// Reads the request, so that it can be seen before it is answered.
    ///
    /// # Errors
    /// [`Error::Head`] if it is not HTTP/1.1 or too long, in which case the client was told so by HTTP;
    /// [`Timeout::Handshake`] if it does not come in time.
    pub async fn read(&self, stream: impl Into<Stream>) -> Result<Opening, Error> {
        self.read_until(self.deadline(), stream.into(), &[]).await
    }

    /// [`read`](Self::read), by a deadline that may have begun earlier, and with what was read before.
    pub(crate) async fn read_until(
        &self,
        deadline: Instant,
        mut stream: Stream,
        first: &[u8],
    ) -> Result<Opening, Error> {
        let mut reader = HeadReader::new(&self.config, now());
        let read = async {
            let mut whole = !first.is_empty() && reader.handle_input(first)?;
            let mut bytes = vec![0; 4096];
            while !whole {
                let count = stream.read(&mut bytes).await?;
                if count == 0 {
                    break;
                }
                whole = reader.handle_input(&bytes[..count])?;
            }
            Ok::<_, Error>(reader.into_request()?)
        };
        match timeout_at(deadline, read).await {
            Err(_) => Err(Timeout::Handshake.into()),
            Ok(Ok((request, early))) => Ok(Opening {
                stream,
                request,
                early,
                deadline,
                options: self.options.clone(),
                config: self.config.clone(),
            }),
            Ok(Err(Error::Head(error))) => {
                let mut response = Response::new(format!("{error}\n"));
                *response.status_mut() = error.status();
                // The client may be gone already; the error to tell is the first one.
                let _ = refuse(&mut stream, response, deadline).await;
                Err(error.into())
            }
            Ok(Err(error)) => Err(error),
        }
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
#[must_use = "a request that is not answered leaves the client hanging"]
pub struct Opening {
    stream: Stream,
    request: Request<()>,
    early: bytes::Bytes,
    deadline: Instant,
    options: ServerOptions,
    config: Arc<Config>,
}

impl Opening {
    /// The request, whatever it asks for.
    pub const fn request(&self) -> &Request<()> {
        &self.request
    }

    /// Accepts it as a WebSocket.
    ///
    /// # Errors
    /// [`Error::Rejected`] if the request opens none, in which case the client was told so by HTTP;
    /// [`Timeout::Handshake`]; [`Error::Io`].
    pub async fn accept(self) -> Result<WebSocket, Error> {
        Ok(self.accept_with_request().await?.0)
    }

    /// The same, with the request.
    pub(crate) async fn accept_with_request(mut self) -> Result<(WebSocket, Request<()>), Error> {
        let accepted = match handshake::accept(&self.request, &self.options) {
            Ok(accepted) => accepted,
            Err(rejection) => {
                tracing::debug!(%rejection, "refused an opening handshake");
                // The client may be gone already; the error to tell is the first one.
                let _ = self.reject(rejection.response()).await;
                return Err(rejection.into());
            }
        };
        let mut head = Vec::new();
        handshake::write_response(&accepted.response, &mut head);
        write(&mut self.stream, &head, self.deadline).await?;
        let connection = Connection::server(self.config, now()).with_deflate(accepted.deflate);
        let ws = WebSocket::new(self.stream, connection, self.early, accepted.subprotocol);
        Ok((ws, self.request))
    }

    /// Refuses it with an answer of your own; `Content-Length` and `Connection: close` are added.
    ///
    /// Once that is sent, the client has 2 s to leave; what it sends meanwhile is dropped.
    ///
    /// # Errors
    /// [`Timeout::Handshake`], [`Error::Io`].
    pub async fn reject(mut self, response: Response<impl AsRef<[u8]>>) -> Result<(), Error> {
        refuse(&mut self.stream, response, self.deadline).await
    }
}

/// Answers by the deadline, and waits a little for the client to leave.
pub(crate) async fn refuse(
    stream: &mut Stream,
    response: Response<impl AsRef<[u8]>>,
    deadline: Instant,
) -> Result<(), Error> {
    let (mut parts, body) = response.into_parts();
    let body = body.as_ref();
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if !handshake::has_token(&parts.headers, CONNECTION, "close") {
        let close = HeaderValue::from_static("close");
        parts.headers.append(CONNECTION, close);
    }
    let mut bytes = Vec::new();
    handshake::write_response(&Response::from_parts(parts, ()), &mut bytes);
    bytes.extend_from_slice(body);
    write(stream, &bytes, deadline).await?;
    let ended = timeout_at(deadline, stream.shutdown()).await;
    ended.map_err(|_| Timeout::Handshake)??;
    // Bytes of the client that are never read would turn the end into a reset, which can overtake the answer. It has
    // its answer: however it leaves, and whether it does, is no error.
    let mut rest = [0; 1024];
    let leave = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    let _ = timeout(LINGER, leave).await;
    Ok(())
}

pub(crate) async fn write(
    stream: &mut Stream,
    bytes: &[u8],
    deadline: Instant,
) -> Result<(), Error> {
    let written = timeout_at(deadline, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    });
    Ok(written.await.map_err(|_| Timeout::Handshake)??)
}
