//! A whole server: accepting, admission, TLS, and a graceful end.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use openline_proto::CloseCode;
#[cfg(feature = "tls")]
use openline_proto::Timeout;
use pin_project_lite::pin_project;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::task::JoinSet;
#[cfg(feature = "tls")]
use tokio::time::timeout_at;
use tokio::time::{sleep, timeout};

use crate::error::Error;
use crate::guests::{Guest, Guests};
use crate::handled::Handled;
use crate::outcome::Outcome;
use crate::server::{Acceptor, refuse};
use crate::stream::Stream;
use crate::timer::after;
use crate::websocket::WebSocket;

#[cfg(feature = "http2")]
mod http2;

/// Connections past the limit that are told so at one time; further ones are just dropped.
const MAX_REFUSALS: usize = 64;

/// Where connections come from.
pub trait Listener: Send {
    /// The next connection. Cancel-safe.
    fn accept(&mut self) -> impl Future<Output = io::Result<Stream>> + Send;
}

impl Listener for TcpListener {
    async fn accept(&mut self) -> io::Result<Stream> {
        let (stream, _) = TcpListener::accept(self).await?;
        Ok(stream.into())
    }
}

#[cfg(unix)]
impl Listener for UnixListener {
    async fn accept(&mut self) -> io::Result<Stream> {
        let (stream, _) = UnixListener::accept(self).await?;
        Ok(Stream::new(stream))
    }
}

/// A program's answer to a request that it does not want.
type Check = dyn Fn(&Request<()>) -> Option<Response<String>> + Send + Sync;

/// A WebSocket server: it accepts up to a limit, runs a handler for each connection in a task of its own, and ends
/// gracefully.
///
/// ```no_run
/// # async fn run() -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:9001").await?;
/// let ctrl_c = async { _ = tokio::signal::ctrl_c().await };
/// openline::Server::default()
///     .run(listener, ctrl_c, async |mut ws, request| {
///         ws.send(format!("you asked for {}", request.uri())).await?;
///         while let Some(message) = ws.next().await {
///             ws.send(message?).await?;
///         }
///         Ok::<_, openline::Error>(())
///     })
///     .await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Server {
    acceptor: Acceptor,
    max_connections: usize,
    retry_after: Duration,
    grace: Duration,
    goodbye: (CloseCode, String),
    check: Option<Arc<Check>>,
    #[cfg(feature = "http2")]
    http2: Option<crate::http2::Settings>,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::TlsAcceptor>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            acceptor: Acceptor::default(),
            max_connections: 10_000,
            retry_after: Duration::from_secs(5),
            grace: Duration::from_secs(10),
            goodbye: (CloseCode::GOING_AWAY, String::new()),
            check: None,
            #[cfg(feature = "http2")]
            http2: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl Server {
    /// Subprotocols, origins, limits and deadlines of the connections.
    #[must_use]
    pub fn acceptor(mut self, acceptor: Acceptor) -> Self {
        self.acceptor = acceptor;
        self
    }

    /// How many connections may be open at once, handshakes included. Default: 10,000.
    ///
    /// Those past it are answered `503` with `Retry-After` before anything of theirs is read; on a TLS port they are
    /// closed. Over HTTP/2 each WebSocket counts.
    #[must_use]
    pub const fn max_connections(mut self, count: usize) -> Self {
        self.max_connections = count;
        self
    }

    /// What `Retry-After` says, in whole seconds. Default: 5 s.
    #[must_use]
    pub const fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = time;
        self
    }

    /// The close that all connections get when the server ends. Default: 1001, without a reason.
    ///
    /// A code or reason that can't be sent closes with 1001.
    #[must_use]
    pub fn goodbye(mut self, code: CloseCode, reason: impl Into<String>) -> Self {
        self.goodbye = (code, reason.into());
        self
    }

    /// How long connections and their handlers may take to end after that; then they are cut. Default: 10 s.
    #[must_use]
    pub const fn grace(mut self, time: Duration) -> Self {
        self.grace = time;
        self
    }

    /// Looks at each request before it is answered, and may refuse it by an answer of its own, `401` or `404` say; `None`
    /// lets it pass.
    #[must_use]
    pub fn check(
        mut self,
        check: impl Fn(&Request<()>) -> Option<Response<String>> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Arc::new(check));
        self
    }

    /// Speaks TLS on every connection.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, acceptor: crate::tls::TlsAcceptor) -> Self {
        self.tls = Some(acceptor);
        self
    }

    /// Serves until `shutdown` is done, then ends: no more connections are accepted, every open one is sent the
    /// [`goodbye`](Self::goodbye), and what is left after the [`grace`](Self::grace) is cut.
    ///
    /// The goodbye goes out behind what was queued before; what is sent later fails with
    /// [`SendError::Closing`](crate::SendError::Closing). `next` still gives the messages that come until the peer has
    /// answered, then `None`. A handler that never calls `next` learns nothing, and is cut.
    ///
    /// Handlers run [`corked`](crate::corked). When one returns and its connection is open, that is closed: see [`Outcome`].
    /// A clone of its [`Sender`](crate::Sender) that another task keeps can send nothing more then; a
    /// [`Receiver`](crate::Receiver) that was given to one goes on, sees the close to its end, and counts no more for the
    /// limit and the grace. What a handler need not keep of the request it should not, since it would be kept as long as
    /// the connection: `|ws, _| echo(ws)` keeps nothing.
    ///
    /// Returns how many connections had to be cut.
    pub async fn run<H, F>(
        self,
        mut listener: impl Listener,
        shutdown: impl Future<Output = ()>,
        handler: H,
    ) -> usize
    where
        H: Fn(WebSocket, Request<()>) -> F + Clone + Send + 'static,
        F: Future<Output: Outcome> + Send + 'static,
    {
        #[cfg(all(feature = "http2", feature = "tls"))]
        let server = Arc::new(self.with_alpn());
        #[cfg(not(all(feature = "http2", feature = "tls")))]
        let server = Arc::new(self);
        let guests = Guests::new(server.max_connections);
        // If this future is dropped, nobody is left who could tell them to end.
        let _end = CutOnDrop(Arc::clone(&guests));
        let mut refusals = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let stream = tokio::select! {
                biased;
                () = &mut shutdown => break,
                // Ended tasks give their memory back.
                Some(_) = refusals.join_next() => continue,
                stream = accept(&mut listener) => stream,
            };
            if let Some(guest) = guests.enter() {
                tokio::spawn(Serving {
                    phase: Phase::Opening {
                        opening: Box::pin(Arc::clone(&server).open(stream)),
                        handler: handler.clone(),
                    },
                    guest,
                });
            } else if refusals.len() < MAX_REFUSALS {
                refusals.spawn(Arc::clone(&server).turn_away(stream));
            }
        }
        drop(listener);
        guests.say_goodbye(server.goodbye.0, &server.goodbye.1);
        let ended = async {
            guests.left().await;
            while refusals.join_next().await.is_some() {}
        };
        let _ = timeout(server.grace, ended).await;
        let cut = guests.count();
        guests.cut();
        guests.left().await;
        cut
    }

    /// Answers one connection past the limit.
    async fn turn_away(self: Arc<Self>, mut stream: Stream) {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return;
        }
        let _ = refuse(&mut stream, self.too_many(), after(Duration::from_secs(2))).await;
    }

    /// The answer to what is past the limit.
    fn too_many(&self) -> Response<String> {
        let mut response = Response::new("too many connections are open; come back later\n".into());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_after.as_secs()));
        response
    }

    /// From a stream to a WebSocket, if one is to be had.
    async fn open(self: Arc<Self>, stream: Stream) -> Opened {
        self.try_open(stream).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "an opening handshake failed");
            Opened::Nothing
        })
    }

    async fn try_open(self: Arc<Self>, stream: Stream) -> Result<Opened, Error> {
        let deadline = self.acceptor.deadline();
        #[cfg(feature = "tls")]
        let stream = match &self.tls {
            Some(tls) => {
                let secured = timeout_at(deadline, tls.accept(stream)).await;
                Stream::new(secured.map_err(|_| Timeout::Handshake)??)
            }
            None => stream,
        };
        #[cfg(feature = "http2")]
        let (stream, first) = match http2::version(&self, stream, deadline).await? {
            http2::Version::Http1(stream, first) => (stream, first),
            http2::Version::Http2(multiplexed) => return Ok(Opened::Http2(multiplexed)),
        };
        #[cfg(not(feature = "http2"))]
        let first = bytes::Bytes::new();
        let opening = self.acceptor.read_until(deadline, stream, &first).await?;
        if let Some(check) = &self.check
            && let Some(refusal) = check(opening.request())
        {
            opening.reject(refusal).await?;
            tracing::debug!("a request was refused");
            return Ok(Opened::Nothing);
        }
        let (ws, request) = opening.accept_with_request().await?;
        Ok(Opened::WebSocket(ws, request))
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Server");
        shown
            .field("acceptor", &self.acceptor)
            .field("max_connections", &self.max_connections);
        shown
            .field("grace", &self.grace)
            .field("goodbye", &self.goodbye)
            .finish_non_exhaustive()
    }
}

/// Cuts all connections when it is dropped.
struct CutOnDrop(Arc<Guests>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.cut();
    }
}

pin_project! {
    /// One connection, from the first byte to the last: written by hand, since what an `async fn` was given stays in its
    /// future to the end, and there may be many that are idle.
    struct Serving<H, F> {
        #[pin]
        phase: Phase<H, F>,
        guest: Guest,
    }
}

pin_project! {
    #[project = At]
    enum Phase<H, F> {
        // Or all of a connection of HTTP/2, whose streams have tasks of their own.
        Opening { opening: Pin<Box<dyn Future<Output = Opened> + Send>>, handler: H },
        Handling { #[pin] handled: Handled<F> },
    }
}

/// What came of a client's connection.
#[cfg_attr(
    not(feature = "http2"),
    expect(clippy::large_enum_variant, reason = "it is an Option then")
)]
enum Opened {
    WebSocket(WebSocket, Request<()>),
    Nothing,
    #[cfg(feature = "http2")]
    Http2(http2::Multiplexed),
}

impl<H, F> Future for Serving<H, F>
where
    H: Fn(WebSocket, Request<()>) -> F + Clone + Send + 'static,
    F: Future<Output: Outcome> + Send + 'static,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        this.guest.listen(cx.waker());
        loop {
            if this.guest.is_cut() {
                return Poll::Ready(());
            }
            match this.phase.as_mut().project() {
                At::Opening { opening, handler } => {
                    let phase = match ready!(opening.as_mut().poll(cx)) {
                        Opened::WebSocket(ws, request) => Phase::handling(ws, request, handler),
                        Opened::Nothing => return Poll::Ready(()),
                        #[cfg(feature = "http2")]
                        Opened::Http2(multiplexed) => {
                            *opening = multiplexed.serve(this.guest.all(), handler.clone());
                            continue;
                        }
                    };
                    this.phase.set(phase);
                }
                At::Handling { mut handled } => {
                    if let Some((code, reason)) = this.guest.goodbye() {
                        handled.as_mut().say_goodbye(code, reason);
                    }
                    return handled.poll(cx);
                }
            }
        }
    }
}

impl<H, F> Phase<H, F>
where
    H: Fn(WebSocket, Request<()>) -> F,
    F: Future<Output: Outcome>,
{
    fn handling(ws: WebSocket, request: Request<()>, handler: &H) -> Self {
        let shared = Arc::clone(ws.shared());
        Self::Handling {
            handled: Handled::new(shared, handler(ws, request)),
        }
    }
}

/// The next connection. Errors are of one connection, or pass: out of file descriptors, for one.
async fn accept(listener: &mut impl Listener) -> Stream {
    let mut pause = Duration::from_millis(5);
    loop {
        match listener.accept().await {
            Ok(stream) => return stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, ?pause, "connections can't be accepted");
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }
}
