//! WebSockets out of HTTP connections that hyper serves, and axum with it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, Version};
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use openline_proto::handshake::deflate::Agreed;
use openline_proto::handshake::{self, Accepted, Rejection, ServerOptions};
use openline_proto::{Config, Connection};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::error::Error;
use crate::gather::{Gathered, TakesPieces};
use crate::server::Acceptor;
use crate::stream::Stream;
use crate::timer::now;
use crate::websocket::WebSocket;

/// Answers a request that asks for a WebSocket: return the response, and await the [`Upgrade`] in a task of its own.
///
/// It works with hyper's requests and with axum's, whatever their body, over HTTP/1.1 and over HTTP/2. Serve HTTP/1.1
/// connections with upgrades (`serve_connection(…).with_upgrades()`), and have HTTP/2 announce extended CONNECT
/// (`enable_connect_protocol()`), as axum does; the route must take the method `CONNECT` too (axum's `any` does).
///
/// ```
/// use axum::body::Body;
/// use axum::extract::Request;
/// use axum::response::{IntoResponse, Response};
/// use openline::ServerOptions;
///
/// async fn echo(mut request: Request) -> Response {
///     let (response, upgrade) = match openline::upgrade(&mut request, &ServerOptions::default()) {
///         Ok(accepted) => accepted,
///         Err(rejection) => return rejection.response().into_response(),
///     };
///     tokio::spawn(async move {
///         let mut ws = upgrade.await?;
///         while let Some(message) = ws.next().await {
///             ws.send(message?).await?;
///         }
///         Ok::<_, openline::Error>(())
///     });
///     response.map(|()| Body::empty())
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::any(echo));
/// ```
///
/// [`Acceptor::upgrade`] does the same with a configuration of your own, compression included.
///
/// # Connections of HTTP/2
///
/// They are hyper's, and so is what they need: have Nagle's algorithm off (`TcpStream::set_nodelay`; for `axum::serve`,
/// `ListenerExt::tap_io`), since it would hold small messages back.
///
/// hyper gives one connection a window of 1 MiB, and each stream of it too: one WebSocket that is not read then holds up
/// all others beside it. Have `initial_connection_window_size` be `max_concurrent_streams` times
/// `initial_stream_window_size`, as the example `http2` does: 64 KiB each are enough for most programs.
///
/// # Errors
/// The request opens no WebSocket, or no connection comes with it ([`Rejection::NoUpgrade`]): answer with
/// [`Rejection::response`].
pub fn upgrade<B>(
    request: &mut Request<B>,
    options: &ServerOptions,
) -> Result<(Response<()>, Upgrade), Rejection> {
    answer(request, options, Arc::default())
}

impl Acceptor {
    /// Answers a request that hyper or axum serves, as [`upgrade`] does.
    ///
    /// # Errors
    /// As [`upgrade`].
    pub fn upgrade<B>(
        &self,
        request: &mut Request<B>,
    ) -> Result<(Response<()>, Upgrade), Rejection> {
        answer(request, &self.options, Arc::clone(&self.config))
    }
}

fn answer<B>(
    request: &mut Request<B>,
    options: &ServerOptions,
    config: Arc<Config>,
) -> Result<(Response<()>, Upgrade), Rejection> {
    let accepted = judge(request, options)?;
    if request.extensions().get::<OnUpgrade>().is_none() {
        tracing::warn!(
            "a WebSocket can't be opened: nobody put hyper's OnUpgrade into the request, or it was taken out"
        );
        return Err(Rejection::NoUpgrade);
    }
    let upgrade = Upgrade {
        http: hyper::upgrade::on(&mut *request),
        subprotocol: accepted.subprotocol,
        deflate: accepted.deflate,
        config,
        regain: match request.version() {
            Version::HTTP_2 => regain_h2,
            _ => regain_tcp,
        },
    };
    Ok((accepted.response, upgrade))
}

/// Judges a request by its version of HTTP.
pub(crate) fn judge<B>(
    request: &Request<B>,
    options: &ServerOptions,
) -> Result<Accepted, Rejection> {
    if request.version() < Version::HTTP_2 {
        return handshake::accept(request, options);
    }
    let protocol = request.extensions().get::<Protocol>();
    handshake::accept_connect(request, protocol.map(Protocol::as_str), options)
}

/// Takes the transport out from under hyper: the transport, and what hyper had read of it already.
type Regain = fn(Upgraded) -> (Stream, bytes::Bytes);

/// A WebSocket that opens once hyper has sent the response.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Upgrade {
    http: OnUpgrade,
    subprotocol: Option<String>,
    deflate: Option<Agreed>,
    config: Arc<Config>,
    regain: Regain,
}

impl Upgrade {
    /// The subprotocol that was chosen.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Limits and deadlines. Whether messages are compressed was settled by the response: use [`Acceptor::upgrade`], or
    /// [`ServerOptions::deflate`], for that.
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.config = config.into();
        self
    }

    /// Opens it on a connection of HTTP/1.1 that was taken from hyper itself, once hyper has sent the response: with
    /// `poll_without_shutdown` and `into_parts` rather than `with_upgrades`. `early` are the bytes that hyper has read.
    pub fn over(self, stream: impl Into<Stream>, early: bytes::Bytes) -> WebSocket {
        let connection = Connection::server(self.config, now()).with_deflate(self.deflate);
        WebSocket::new(stream.into(), connection, early, self.subprotocol)
    }

    /// How to get the bare transport back where hyper was not given a `TokioIo<TcpStream>`: from the `Upgraded`, and
    /// with it the bytes that hyper has read. A transport that is not regained still works, behind hyper's box.
    pub fn regain(mut self, regain: Regain) -> Self {
        self.regain = regain;
        self
    }
}

impl Future for Upgrade {
    type Output = Result<WebSocket, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let upgraded = ready!(Pin::new(&mut self.http).poll(cx))?;
        let (stream, early) = (self.regain)(upgraded);
        let connection =
            Connection::server(Arc::clone(&self.config), now()).with_deflate(self.deflate);
        Poll::Ready(Ok(WebSocket::new(
            stream,
            connection,
            early,
            self.subprotocol.take(),
        )))
    }
}

/// From under hyper's own connection, and from under hyper-util's, which `axum::serve` uses.
fn regain_tcp(upgraded: Upgraded) -> (Stream, bytes::Bytes) {
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => return (parts.io.into_inner().into(), parts.read_buf),
        Err(upgraded) => upgraded,
    };
    match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => (parts.io.into_inner().into(), parts.read_buf),
        Err(upgraded) => (Stream::new(TokioIo::new(upgraded)), bytes::Bytes::new()),
    }
}

/// A stream of HTTP/2 is hyper's own.
fn regain_h2(upgraded: Upgraded) -> (Stream, bytes::Bytes) {
    let stream = Gathered(TokioIo::new(upgraded));
    (Stream::new(stream), bytes::Bytes::new())
}

/// hyper makes one copy and one DATA frame of each slice, however large or small it is.
impl TakesPieces for TokioIo<Upgraded> {
    /// There is nothing to flush but the one piece before.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_flush(cx)
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, piece: Vec<u8>) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, &piece)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_flush(cx)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(cx)
    }
}
