//! One connection: HTTP/1.1, or where TLS agreed on it HTTP/2, by hyper, until it ends or becomes a WebSocket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_LENGTH;
use http::{Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::http::{App, Asked, Wait, answer, doors, router};
use crate::limits::{self, Late, Origin, Place};
use crate::line::{Answering, Line};
use crate::wire::Io;
use crate::{http1, http2};

/// Longest head of a request in bytes; past it, as past 100 fields, the answer is `431`.
pub(crate) const MAX_HEAD: usize = 32 * 1024;
/// Bytes that hyper keeps of what came, and of an answer that the client is slow to take.
pub(crate) const MAX_BUFFER: usize = 64 * 1024;

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
        Box::pin(http2::serve(app, router, io, line)).await;
    } else {
        Box::pin(http1::serve(app, router, io, line)).await;
    }
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
    /// An answer with that body. What has no body by its status tells no length: it would be that of what it stands for
    /// (RFC 9110 §8.6), and not that of nothing, which is what the routes tell.
    pub(crate) fn body_of(mut response: Response<Body>, answering: Answering) -> Response<Self> {
        if matches!(
            response.status(),
            StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT
        ) {
            response.headers_mut().remove(CONTENT_LENGTH);
        }
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
