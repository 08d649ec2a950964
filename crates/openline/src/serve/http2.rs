//! The same server over HTTP/2: each stream is a connection for the limit, the handler and the end.

use std::future::poll_fn;
use std::io::Cursor;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use http::{Request, Response};
use openline_proto::handshake::{Accepted, accept_connect};
use openline_proto::{Connection as WebSocketConnection, Timeout};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{Opened, Phase, Server, Serving};
use crate::error::Error;
use crate::gather::Gathered;
use crate::guests::{Guest, Guests, Spared};
use crate::http2::stream::Http2Stream;
use crate::http2::{self, Settings};
use crate::outcome::Outcome;
use crate::stream::Stream;
use crate::timer::{after, now};
use crate::websocket::WebSocket;

/// How a connection of HTTP/2 begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a client may take to read the last word to a connection that it left idle.
const LEAVE: Duration = Duration::from_secs(2);

impl Server {
    /// Serves HTTP/2 besides HTTP/1.1, on the same port: WebSockets that are opened by an extended CONNECT (RFC 8441). With
    /// [`tls`](Self::tls), ALPN offers `h2` and `http/1.1`, whatever its configuration says; without, a client is known by how
    /// it begins.
    ///
    /// Each stream counts as a connection, and so does a connection that has none; a stream past
    /// [`max_connections`](Self::max_connections) is answered `503` with `Retry-After`. The request that
    /// [`check`](Self::check) and the handler see is a `CONNECT` with a whole URI, and no `Host`.
    ///
    /// ```no_run
    /// # async fn run(tls: openline::tls::TlsAcceptor) -> std::io::Result<()> {
    /// use openline::{Server, http2};
    ///
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:9001").await?;
    /// Server::default()
    ///     .tls(tls)
    ///     .http2(http2::Settings::default().max_streams(20))
    ///     .run(listener, std::future::pending(), async |mut ws, _request| {
    ///         while let Some(message) = ws.next().await {
    ///             ws.send(message?).await?;
    ///         }
    ///         Ok::<_, openline::Error>(())
    ///     })
    ///     .await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn http2(mut self, settings: Settings) -> Self {
        self.http2 = Some(settings);
        self
    }

    /// Has TLS agree on the version, where both are served.
    #[cfg(feature = "tls")]
    pub(super) fn with_alpn(mut self) -> Self {
        if let (Some(tls), true) = (&mut self.tls, self.http2.is_some()) {
            *tls = crate::tls::serving_http2(tls);
        }
        self
    }
}

/// What a client speaks.
pub(super) enum Version {
    /// HTTP/1.1, or nothing that is known; what was read already comes along.
    Http1(Stream, Bytes),
    Http2(Multiplexed),
}

/// Tells the version by a connection's first bytes, of which it reads as many as that takes.
pub(super) async fn version(
    server: &Arc<Server>,
    mut stream: Stream,
    deadline: Instant,
) -> Result<Version, Error> {
    let Some(settings) = server.http2 else {
        return Ok(Version::Http1(stream, Bytes::new()));
    };
    let mut first = Vec::with_capacity(4096);
    loop {
        let read = timeout_at(deadline, stream.read_buf(&mut first)).await;
        let ended = read.map_err(|_| Timeout::Handshake)?? == 0;
        let count = first.len().min(PREFACE.len());
        if first[..count] != PREFACE[..count] || ended {
            return Ok(Version::Http1(stream, first.into()));
        }
        if count == PREFACE.len() {
            break;
        }
    }
    let (read, write) = tokio::io::split(stream);
    let read = Cursor::new(first).chain(read);
    Ok(Version::Http2(Multiplexed {
        server: Arc::clone(server),
        settings,
        stream: Stream::new(tokio::io::join(read, write)),
        deadline,
    }))
}

/// A connection of HTTP/2 that begins.
pub(super) struct Multiplexed {
    server: Arc<Server>,
    settings: Settings,
    stream: Stream,
    deadline: Instant,
}

impl Multiplexed {
    /// Serves until it ends, and waits for the handlers of its streams. Nothing is left to be handled then.
    pub(super) fn serve<H, F>(
        self,
        guests: &Arc<Guests>,
        handler: H,
    ) -> Pin<Box<dyn Future<Output = Opened> + Send>>
    where
        H: Fn(WebSocket, Request<()>) -> F + Clone + Send + 'static,
        F: Future<Output: Outcome> + Send + 'static,
    {
        let mut session = Session {
            server: self.server,
            settings: self.settings,
            guests: Arc::clone(guests),
            spared: None,
            handler,
            streams: JoinSet::new(),
        };
        Box::pin(async move {
            if let Err(error) = session.run(self.stream, self.deadline).await {
                tracing::debug!(%error, "a connection of HTTP/2 failed");
            }
            // Their streams are gone; the handlers learn it as they read.
            while session.streams.join_next().await.is_some() {}
            Opened::Nothing
        })
    }
}

struct Session<H> {
    server: Arc<Server>,
    settings: Settings,
    guests: Arc<Guests>,
    /// The connection itself, while it has streams.
    spared: Option<Spared>,
    handler: H,
    streams: JoinSet<()>,
}

impl<H, F> Session<H>
where
    H: Fn(WebSocket, Request<()>) -> F + Clone + Send + 'static,
    F: Future<Output: Outcome> + Send + 'static,
{
    /// Takes requests until the connection is over. That drives all of its streams, too.
    async fn run(&mut self, stream: Stream, deadline: Instant) -> Result<(), Error> {
        let max_head = self.server.acceptor.config.limits().max_head;
        let handshake = self.settings.builder(max_head).handshake(stream);
        let begun = timeout_at(deadline, handshake).await;
        let begun = begun.map_err(|_| Timeout::Handshake)?;
        let mut connection: Connection<Stream, Bytes> = begun.map_err(http2::error)?;
        let mut leaving = false;
        let mut idle = after(self.settings.idle());
        loop {
            tokio::select! {
                biased;
                Some(_) = self.streams.join_next() => {
                    idle = after(self.settings.idle());
                    self.count();
                }
                () = goodbye(&self.guests), if !leaving => {
                    leaving = true;
                    connection.graceful_shutdown();
                }
                request = connection.accept() => match request {
                    Some(request) => {
                        let (request, respond) = request.map_err(http2::error)?;
                        self.answer(request, respond);
                    }
                    None => return Ok(()),
                },
                () = sleep_until(idle), if self.streams.is_empty() && !leaving => {
                    connection.abrupt_shutdown(Reason::NO_ERROR);
                    let _ = timeout(LEAVE, connection.accept()).await;
                    return Ok(());
                }
            }
        }
    }

    /// A connection counts by its streams, and for itself while it has none.
    fn count(&mut self) {
        if self.streams.is_empty() {
            self.spared = None;
        }
    }

    /// Answers a request; one that opens a WebSocket gets a task of its own.
    fn answer(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        // A stream that was reset is none any more for h2, and its handler still is one for us.
        if self.streams.len() >= self.settings.streams() as usize {
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        self.spared.get_or_insert_with(|| self.guests.spare());
        let Some(guest) = self.guests.enter() else {
            self.count();
            return refuse(respond, self.server.too_many());
        };
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, ());
        match self.judge(&request) {
            Ok(accepted) => self.open(accepted, request, (body, respond), guest),
            Err(refusal) => {
                tracing::debug!(status = %refusal.status(), "a request was refused");
                refuse(respond, *refusal);
            }
        }
        self.count();
    }

    fn judge(&self, request: &Request<()>) -> Result<Accepted, Box<Response<String>>> {
        if let Some(check) = &self.server.check
            && let Some(refusal) = check(request)
        {
            return Err(refusal.into());
        }
        let protocol = request.extensions().get::<h2::ext::Protocol>();
        let protocol = protocol.map(h2::ext::Protocol::as_str);
        accept_connect(request, protocol, &self.server.acceptor.options)
            .map_err(|rejection| rejection.response().into())
    }

    fn open(
        &mut self,
        accepted: Accepted,
        request: Request<()>,
        (body, mut respond): (RecvStream, SendResponse<Bytes>),
        guest: Guest,
    ) {
        let Ok(send) = respond.send_response(accepted.response, false) else {
            return; // The client is gone already.
        };
        let config = Arc::clone(&self.server.acceptor.config);
        let connection = WebSocketConnection::server(config, now()).with_deflate(accepted.deflate);
        let stream = Stream::new(Gathered(Http2Stream::new(send, body)));
        let ws = WebSocket::new(stream, connection, Bytes::new(), accepted.subprotocol);
        self.streams.spawn(Serving {
            phase: Phase::handling(ws, request, &self.handler),
            guest,
        });
    }
}

/// Ready once the server ends; the connection's task is woken then.
async fn goodbye(guests: &Guests) {
    poll_fn(|_| match guests.goodbye() {
        Some(_) => Poll::Ready(()),
        None => Poll::Pending,
    })
    .await;
}

/// Answers with a whole response. A program's own may have fields that HTTP/2 has not.
fn refuse(mut respond: SendResponse<Bytes>, response: Response<String>) {
    let (mut parts, body) = response.into_parts();
    for name in [CONNECTION, UPGRADE, TRANSFER_ENCODING] {
        parts.headers.remove(name);
    }
    let sent = respond.send_response(Response::from_parts(parts, ()), body.is_empty());
    if let Ok(mut send) = sent
        && !body.is_empty()
    {
        // That it fails where the client is gone is no news.
        let _ = send.send_data(body.into(), true);
    }
}
