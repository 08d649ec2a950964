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
                    let is_asked = pieces.is_asked();
                    // One that is never done with what there is may get on all the same.
                    if pieces.was_taken() || is_asked {
                        stall.stop();
                    }
                    if is_asked {
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

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::response::IntoResponse as _;
    use bytes::Bytes;
    use http_body_util::BodyExt as _;
    use tokio::sync::oneshot;
    use tokio::time::sleep;

    use super::*;
    use crate::Config;
    use crate::limits::{Limits, Origin};

    #[tokio::test(start_paused = true)]
    async fn one_that_is_slow_with_a_large_piece_is_in_time_and_one_that_takes_nothing_is_not() {
        let config = Config::default();
        let limits = Arc::new(Limits::new(&config));
        let origin = Origin::of("127.0.0.1:1".parse().unwrap(), &config.proxies);
        let place = limits.enter(&config, &origin).unwrap();
        let patience = Duration::from_secs(10);
        let streams = Streams {
            line: Arc::new(Line::new(origin, place, None)),
            patience,
        };
        let (slow, was_slow) = oneshot::channel();
        let (stalled, has_stalled) = oneshot::channel::<()>();
        streams.execute(async move {
            let whole = Bytes::from(vec![b'x'; 100_000]);
            let pieces = Pieces::of(|out| async move {
                out.give(whole).await;
                for _ in 0..2 {
                    out.give(Bytes::from_static(b"y")).await;
                }
            });
            let mut response = pieces.into_response();
            let streamed = response.extensions_mut().remove();
            STREAMED.with(|own| *own.borrow_mut() = streamed);
            let mut body = response.into_body();
            let mut read = 0;
            while read < 100_002 {
                let part = body.frame().await.unwrap().unwrap();
                let part = part.into_data().unwrap().len();
                assert!(part <= 16 * 1024, "{part}");
                read += part;
                // No room for more.
                sleep(patience / 2).await;
            }
            slow.send(read).unwrap();
            let _stalled = stalled;
            pending::<()>().await;
        });
        assert_eq!(was_slow.await, Ok(100_002));
        assert!(has_stalled.await.is_err());
        let late = limits.timeouts().map(|(_, count)| count).sum::<u64>();
        assert_eq!(late, 1);
    }
}
