//! A connection of HTTP/2, by hyper. A stream whose client does not take it is let go beside hyper, which waits for the client
//! and for nothing else.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::connection::{MAX_BUFFER, MAX_HEAD, Tracked, ended, last_call, routed};
use crate::http::App;
use crate::limits::Late;
use crate::line::Line;
use crate::sync::lock;
use crate::transport::pieces::Pieces;
use crate::wire::{Deadline, Io, Wire};

/// Requests at once on a connection; any more wait.
const MAX_STREAMS: u32 = 100;
/// Bytes that may come on one stream before they are taken, and on all of them together: what the client of one connection can
/// make the server keep. Bodies are taken as they come, or refused.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

tokio::task_local! {
    /// The stream that the answer of this task is.
    static STREAMED: RefCell<Option<Arc<Mutex<Pieces>>>>;
}

/// Serves a connection until it ends.
pub(crate) async fn serve(app: &Arc<App>, router: Router, io: Io, line: Arc<Line>) {
    let mut connection = {
        let now = app.now();
        let config = &now.config;
        // Bytes that bring no request come at any time, and are given as long as silence is.
        let (idle, write) = (config.idle_timeout, config.write_timeout);
        let streams = Streams {
            line: Arc::clone(&line),
            patience: write,
        };
        let service = {
            let (app, line) = (Arc::clone(app), Arc::clone(&line));
            service_fn(move |request| {
                let answering = line.request();
                let routed = routed(&app, &router, &line, request);
                async move {
                    // While one is held, nothing is left of it but what waits for the answer.
                    let mut response = match routed.await {
                        Ok(response) => response,
                        Err(wait) => wait.await,
                    };
                    let streamed = response.extensions_mut().remove();
                    STREAMED.with(|own| *own.borrow_mut() = streamed);
                    Ok::<_, Infallible>(Tracked::body_of(response, answering))
                }
            })
        };
        let wire = Wire::new(io, Arc::clone(&line), idle, write);
        let connection = http2::Builder::new(streams)
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

/// Runs what hyper makes of each request, in a task of its own.
#[derive(Debug, Clone)]
struct Streams {
    line: Arc<Line>,
    /// How long a client may take nothing of a stream.
    patience: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, answer: F) {
        let Self { line, patience } = self.clone();
        tokio::spawn(STREAMED.scope(RefCell::default(), async move {
            let mut answer = pin!(answer);
            let mut stall = Deadline::default();
            // What is dropped before its end is reset.
            poll_fn(|cx| {
                if answer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                STREAMED.with(|streamed| {
                    let streamed = streamed.borrow();
                    let Some(pieces) = streamed.as_deref() else {
                        return Poll::Pending;
                    };
                    let mut pieces = lock(pieces);
                    if pieces.is_asked() {
                        stall.stop();
                        return Poll::Pending;
                    }
                    stall.start(patience);
                    if stall.poll(cx).is_ready() {
                        line.place.limits.late(Late::Write);
                        return Poll::Ready(());
                    }
                    pieces.poll_lagged(cx)
                })
            })
            .await;
        }));
    }
}
