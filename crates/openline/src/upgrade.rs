//! WebSockets out of HTTP connections that hyper serves, and axum with it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use openline_proto::handshake::deflate::Agreed;
use openline_proto::handshake::{self, Rejection, ServerOptions};
use openline_proto::{Config, Connection};
use tokio::net::TcpStream;

use crate::error::Error;
use crate::server::Acceptor;
use crate::stream::Stream;
use crate::timer::now;
use crate::websocket::WebSocket;

/// Answers a request that asks for a WebSocket: return the response, and await the [`Upgrade`] in a task of its own.
///
/// It works with hyper's requests and with axum's, whatever their body. Serve the connection with upgrades
/// (`serve_connection(…).with_upgrades()`; axum does so).
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
/// # Errors
/// The request opens no WebSocket: answer with [`Rejection::response`].
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
    /// The request opens no WebSocket: answer with [`Rejection::response`].
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
    let accepted = handshake::accept(request, options)?;
    let upgrade = Upgrade {
        http: hyper::upgrade::on(request),
        subprotocol: accepted.subprotocol,
        deflate: accepted.deflate,
        config,
        regain: regain_tcp,
    };
    Ok((accepted.response, upgrade))
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
