//! One connection: HTTP/1.1 by hyper, until it ends or becomes a WebSocket.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::http::{App, router};
use crate::limits::{self, Origin, Place};
use crate::line::{Answering, Line};
use crate::wire::{Io, Wire};

/// Longest head of a request in bytes; past it, as past 100 fields, the answer is `431`.
const MAX_HEAD: usize = 32 * 1024;
/// Bytes that hyper keeps of what came, and of an answer that the client is slow to take.
const MAX_BUFFER: usize = 64 * 1024;

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
        self.app.tasks.spawn(async move {
            let served = async {
                // What it takes to begin is in a box, so that it is gone while the connection lives.
                let begun = Box::pin(begin(&app, tcp, origin, &place)).await;
                if let Some((io, origin)) = begun {
                    http(&app, router, io, Arc::new(Line::new(origin, place))).await;
                }
            };
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
                .inspect_err(|error| tracing::debug!(%error, "a proxy's connection failed"))
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
            Err(_) => None,
        }
    };
    tokio::select! {
        biased;
        begun = begun => begun,
        () = app.drain.begun() => None,
    }
}

/// HTTP/1.1 until the connection ends, or becomes a WebSocket.
async fn http(app: &App, router: Router, io: Io, line: Arc<Line>) {
    let now = app.now();
    let (header, write) = (now.config.header_timeout, now.config.write_timeout);
    let wire = Wire::new(io, Arc::clone(&line), header, write);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let answering = line.request();
        request.extensions_mut().insert(Arc::clone(&line));
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            let Ok(response) = answer.await;
            Ok::<_, Infallible>(tracked(response, answering))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(now.config.idle_timeout)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(wire), service)
        .with_upgrades();
    drop(now);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = app.drain.begun() => {
            // It ends after the request that is being answered.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection failed");
    }
}

fn tracked(response: Response<Body>, answering: Answering) -> Response<Tracked> {
    response.map(|body| Tracked {
        body,
        _answering: answering,
    })
}

/// A body that tells when it was sent, or given up.
struct Tracked {
    body: Body,
    _answering: Answering,
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
