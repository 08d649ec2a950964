//! One connection: HTTP/1.1, or where TLS agreed on it HTTP/2, by hyper, until it ends or becomes a WebSocket.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::http::{App, Asked, Wait, answer, doors, router};
use crate::http1;
use crate::limits::{self, Late, Origin, Place};
use crate::line::{Answering, Line};
use crate::wire::{Io, Wire};

/// Longest head of a request in bytes; past it, as past 100 fields, the answer is `431`.
pub(crate) const MAX_HEAD: usize = 32 * 1024;
/// Bytes that hyper keeps of what came, and of an answer that the client is slow to take.
pub(crate) const MAX_BUFFER: usize = 64 * 1024;
/// Requests at once on a connection of HTTP/2; any more wait.
const MAX_STREAMS: u32 = 100;
/// Bytes that may come on one of its streams before they are taken, and on all of them together: what
/// the client of one connection can make the server keep. Bodies are taken as they come, or refused.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// What all connections are served with.
#[derive(Debug)]
pub(crate) struct Connections {
    app: Arc<App>,
    router: Router,
}

impl Connections {
    /// Connections to `app`.
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self {
            router: router(Arc::clone(&app)),
            app,
        }
    }

    /// Serves a connection in a task of its own.
    pub(crate) fn serve(&self, tcp: TcpStream, origin: Origin, place: Place) {
        let (app, router) = (Arc::clone(&self.app), self.router.clone());
        let cut = app.cut.clone();
        // Who has just connected has been let in, and may need the log.
        let working = app.work.begin();
        self.app.tasks.spawn(async move {
            // In one box, of which a future that waits for two things would hold several copies.
            let served = Box::pin(async {
                // What it takes to begin is in a box, so that it is gone while the connection lives.
                let begun = Box::pin(begin(&app, tcp, origin, &place)).await;
                if let Some((io, origin)) = begun {
                    let line = Arc::new(Line::new(origin, place, working));
                    http(&app, router, io, line).await;
                }
            });
            cut.run_until_cancelled(served).await;
        });
    }
}

/// Whose connection it is, and TLS: what comes before HTTP. `None` ends the connection.
async fn begin(
    app: &App,
    mut tcp: TcpStream,
    mut origin: Origin,
    place: &Place,
) -> Option<(Io, Origin)> {
    let now = app.now();
    let config = &now.config;
    let begun = async {
        if origin.is_proxy && config.proxies.protocol {
            origin = limits::read_header(&mut tcp, origin, config.header_timeout)
                .await
                .inspect_err(|error| {
                    if error.kind() == io::ErrorKind::TimedOut {
                        app.limits.late(Late::Header);
                    }
                    tracing::debug!(%error, "a proxy's connection failed");
                })
                .ok()?;
            match app.limits.place_of(config, origin.counted()) {
                Ok(own) => place.is_of(own),
                Err(reason) => {
                    app.limits.refused(reason);
                    return None;
                }
            }
        }
        let Some(tls) = &now.tls else {
            return Some((Io::Tcp(tcp), origin));
        };
        let handshake = TlsAcceptor::from(Arc::clone(tls)).accept(tcp);
        match timeout(config.header_timeout, handshake).await {
            Ok(Ok(stream)) => Some((Io::Tls(Box::new(stream)), origin)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => {
                app.limits.late(Late::Header);
                None
            }
        }
    };
    tokio::select! {
        biased;
        begun = begun => begun,
        () = no_later(app) => None,
    }
}

/// HTTP until the connection ends, or becomes a WebSocket.
async fn http(app: &Arc<App>, router: Router, io: Io, line: Arc<Line>) {
    // Either alone, since a future has room for the larger one.
    if io.is_http2() {
        Box::pin(http2(app, router, io, line)).await;
    } else {
        Box::pin(http1::serve(app, router, io, line)).await;
    }
}

async fn http2(app: &Arc<App>, router: Router, io: Io, line: Arc<Line>) {
    let mut connection = {
        let service = {
            let (app, line) = (Arc::clone(app), Arc::clone(&line));
            service_fn(move |request| {
                let answering = line.request();
                let routed = routed(&app, &router, &line, request);
                async move {
                    // While one is held, nothing is left of it but what waits for the answer.
                    let response = match routed.await {
                        Ok(response) => response,
                        Err(wait) => wait.await,
                    };
                    Ok::<_, Infallible>(Tracked::body_of(response, answering))
                }
            })
        };
        let now = app.now();
        let config = &now.config;
        // Bytes that bring no request come at any time, and are given as long as silence is.
        let (idle, write) = (config.idle_timeout, config.write_timeout);
        let wire = Wire::new(io, Arc::clone(&line), idle, write);
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .enable_connect_protocol()
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD as u32)
            .max_send_buf_size(MAX_BUFFER)
            // Its answer is what ends an idle connection, or one whose peer is gone.
            .keep_alive_interval(config.heartbeat)
            .keep_alive_timeout(config.header_timeout)
            .serve_connection(TokioIo::new(wire), service);
        Box::pin(connection)
    };
    ended(tokio::select! {
        ended = &mut connection => ended,
        () = last_call(app, &line) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    });
}

/// The way of a request through the routes: to its answer, or to what waits for one. In a box, of which nothing is left then.
pub(crate) fn routed(
    app: &Arc<App>,
    router: &Router,
    line: &Arc<Line>,
    mut request: Request<Incoming>,
) -> BoxFuture<'static, Result<Response<Body>, Wait>> {
    let asked = Asked::of(app, &mut request);
    request.extensions_mut().insert(Arc::clone(line));
    let (app, router) = (Arc::clone(app), router.clone());
    let request = request.map(Body::new);
    Box::pin(async move {
        let response = doors(&app, router, request).await;
        answer(&app, asked, response)
    })
}

/// How long one that has been let in is waited for, until it is known what it asks, when the server is to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits until a connection that has not begun is not waited for any more.
async fn no_later(app: &App) {
    app.drain.begun().await;
    sleep(PATIENCE).await;
}

/// Waits until the connection is to take no more requests: when the server is to end, but not before the
/// first one, for who has just connected has been let in. One that is idle is given a moment: its client may be
/// about to ask, and would not know whether it was heard; the answer says that it is the last.
pub(crate) async fn last_call(app: &App, line: &Line) {
    /// How often it is looked whether the first request has come.
    const LOOK: Duration = Duration::from_millis(20);
    /// How long that moment is.
    const MOMENT: Duration = Duration::from_millis(500);
    app.drain.begun().await;
    let asked = async {
        while !line.place.was_asked() {
            sleep(LOOK).await;
        }
    };
    let _ = Box::pin(timeout(PATIENCE, asked)).await;
    line.needs_no_log();
    if !line.is_answering() {
        sleep(MOMENT).await;
    }
}

pub(crate) fn ended(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection failed");
    }
}

/// A body that tells when it was sent, or given up.
pub(crate) struct Tracked {
    body: Body,
    _answering: Answering,
}

impl Tracked {
    /// An answer with that body.
    pub(crate) fn body_of(response: Response<Body>, answering: Answering) -> Response<Self> {
        response.map(|body| Self {
            body,
            _answering: answering,
        })
    }
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
