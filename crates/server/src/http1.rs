//! A connection of HTTP/1.1. hyper reads a request and writes its answer. While the client waits for an answer, listens to a stream
//! or asks nothing, hyper and its buffers are given back.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use crate::connection::{MAX_BUFFER, MAX_HEAD, Tracked, ended, last_call, routed};
use crate::http::{App, Wait};
use crate::line::Line;
use crate::sync::lock;
use crate::takeover::{Taken, Whole};
use crate::transport::chunks;
use crate::transport::pieces::Pieces;
use crate::wire::{Deadline, Io, Wire};

/// How long a connection that asks nothing keeps hyper, since it may ask again soon.
const KEPT: Duration = Duration::from_secs(1);

/// Serves a connection until it ends, or becomes a WebSocket.
pub(crate) async fn serve(app: &Arc<App>, router: Router, io: Io, line: Arc<Line>) {
    let now = app.now();
    let (head, write) = (now.config.header_timeout, now.config.write_timeout);
    let idle = now.config.idle_timeout;
    drop(now);
    let mut wire = Wire::new(io, Arc::clone(&line), head, write);
    let mut patience = idle;
    // What is in boxes is gone while a stream is sent.
    while Box::pin(is_asked(app, &mut wire, &line, patience)).await {
        let taken = match Box::pin(speak(app, &router, wire, &line, idle)).await {
            Some((rest, taken)) => {
                wire = rest;
                taken
            }
            None => return,
        };
        patience = idle;
        let _answering = line.hold();
        match taken {
            Taken::Idle => patience = idle.saturating_sub(KEPT),
            Taken::Wait(wait, asked) => {
                let Some(response) = waited(&mut wire, &wait).await else {
                    return;
                };
                line.takeover.answer(response);
                // hyper writes the answer, to a request that looks like the one before.
                let is_last = asked.is_last || app.drain.has_begun();
                wire.put_back(asked.again(is_last).as_bytes());
            }
            Taken::Stream(pieces, asked) => {
                if let Err(error) = chunks::send(&mut wire, &pieces).await {
                    tracing::debug!(%error, "a stream was given up");
                    return;
                }
                // Who is told to come back is to do so elsewhere.
                if asked.is_last || app.drain.has_begun() {
                    break;
                }
            }
        }
    }
    if let Err(error) = wire.shutdown().await {
        tracing::debug!(%error, "the end of a connection failed");
    }
}

/// Waits for a request's first bytes. No if none is to be waited for any more.
async fn is_asked(app: &App, wire: &mut Wire, line: &Line, patience: Duration) -> bool {
    tokio::select! {
        biased;
        received = poll_fn(|cx| wire.poll_received(cx)) => received.unwrap_or(false),
        () = last_call(app, line) => false,
        () = sleep(patience) => false,
    }
}

/// Lets hyper speak with the client, until something goes on without it. `None` when nothing is left of the connection.
async fn speak(
    app: &Arc<App>,
    router: &Router,
    wire: Wire,
    line: &Arc<Line>,
    idle: Duration,
) -> Option<(Wire, Taken)> {
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(wire), service_fn(answers(app, router, line)));
    let mut last_call = pin!(last_call(app, line));
    let mut is_last = false;
    let mut kept = Deadline::default();
    let came = poll_fn(|cx| {
        loop {
            if let Poll::Ready(end) = connection.poll_without_shutdown(cx) {
                return Poll::Ready(Came::End(end));
            }
            if !is_last && last_call.as_mut().poll(cx).is_ready() {
                is_last = true;
                // It ends after the request that is being answered.
                Pin::new(&mut connection).graceful_shutdown();
            } else {
                break;
            }
        }
        if !line.is_flushed() {
            return line.takeover.poll_lagged(cx).map(|()| Came::Lagged);
        }
        let taken = line.takeover.take(|| {
            if line.is_answering() {
                kept.stop();
                return false;
            }
            kept.start(KEPT);
            kept.poll(cx).is_ready()
        });
        taken.map_or(Poll::Pending, |taken| Poll::Ready(Came::Taken(taken)))
    })
    .await;
    match came {
        Came::Taken(taken) => {
            let parts = connection.into_parts();
            let mut wire = parts.io.into_inner();
            wire.put_back(&parts.read_buf);
            Some((wire, taken))
        }
        // What the client has not taken is of no use to it any more.
        Came::Lagged => None,
        Came::End(end) => {
            // After an answer it is to be read; there is none to what is broken below HTTP.
            let is_answered = end.as_ref().map_or_else(hyper::Error::is_parse, |()| true);
            ended(end);
            if is_answered {
                let parts = connection.into_parts();
                let mut wire = parts.io.into_inner();
                match line.takeover.heir() {
                    Some(heir) => {
                        wire.put_back(&parts.read_buf);
                        let (io, early) = wire.into_parts();
                        let line = Arc::clone(line);
                        // One that is gone wants nothing.
                        drop(heir.send(Whole { io, early, line }));
                    }
                    None => drop(wire.shutdown().await),
                }
            }
            None
        }
    }
}

/// What ends hyper's part.
enum Came {
    Taken(Taken),
    Lagged,
    End(hyper::Result<()>),
}

/// Answers requests, and tells what goes on.
fn answers(
    app: &Arc<App>,
    router: &Router,
    line: &Arc<Line>,
) -> impl Fn(Request<Incoming>) -> BoxFuture<'static, Result<Response<Tracked>, Infallible>> + use<>
{
    let (app, router, line) = (Arc::clone(app), router.clone(), Arc::clone(line));
    move |request| {
        if let Some(response) = line.takeover.begin(&request) {
            let response = Tracked::body_of(response, line.hold());
            return Box::pin(std::future::ready(Ok(response)));
        }
        let answering = line.request();
        let routed = routed(&app, &router, &line, request);
        let line = Arc::clone(&line);
        Box::pin(async move {
            let mut response = match routed.await {
                Ok(response) => response,
                Err(wait) => {
                    let wait = Arc::new(Mutex::new(wait));
                    line.takeover.is_waiting(&wait);
                    poll_fn(|cx| lock(&wait).as_mut().poll(cx)).await
                }
            };
            if let Some(pieces) = response.extensions_mut().remove::<Arc<Mutex<Pieces>>>() {
                line.takeover.is_streaming(&pieces);
            }
            Ok(Tracked::body_of(response, answering))
        })
    }
}

/// Waits for an answer; `None` if the client is gone before.
async fn waited(wire: &mut Wire, wait: &Mutex<Wait>) -> Option<Response<Body>> {
    poll_fn(|cx| {
        if let Poll::Ready(response) = lock(wait).as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        match wire.poll_received(cx) {
            Poll::Ready(Ok(false) | Err(_)) => Poll::Ready(None),
            // Its next request waits until this one is answered.
            Poll::Ready(Ok(true)) | Poll::Pending => Poll::Pending,
        }
    })
    .await
}
