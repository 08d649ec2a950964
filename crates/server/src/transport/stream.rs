//! Answers that do not end: Server-Sent Events and lines of JSON.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderValue};
use tokio_util::sync::CancellationToken;

use super::standing;
use crate::broker::{Missed, Since, Subscription};
use crate::channel::Filter;
use crate::http::{App, Problem};
use crate::hub::Live;
use crate::publication::Publication;

/// Server-Sent Events: of one channel the bodies alone, of a pattern envelopes.
pub(crate) async fn sse(app: Arc<App>, filter: Filter, since: Since) -> Result<Response, Problem> {
    let subscription = app.broker.subscribe(&filter, since).await?;
    let (cursor, recovered) = (subscription.cursor, subscription.recovered);
    let event = if recovered { "ready" } else { "gap" };
    let first = format!(
        "event: {event}\nid: {cursor}\ndata: {}\n\n",
        standing(cursor, recovered)
    );
    let form = match filter {
        Filter::Exact(_) => Publication::event,
        Filter::Pattern(_) => Publication::envelope_event,
    };
    let beat = Bytes::from_static(b":\n\n");
    Ok(respond(
        "text/event-stream",
        Outflow::new(&app, first.into(), subscription, form, beat),
    ))
}

/// Envelopes, one a line.
pub(crate) async fn ndjson(
    app: Arc<App>,
    filter: Filter,
    since: Since,
) -> Result<Response, Problem> {
    let subscription = app.broker.subscribe(&filter, since).await?;
    let first = format!(
        "{}\n",
        standing(subscription.cursor, subscription.recovered)
    );
    let form = Publication::envelope_line;
    let beat = Bytes::from_static(b"\n");
    Ok(respond(
        "application/x-ndjson",
        Outflow::new(&app, first.into(), subscription, form, beat),
    ))
}

fn respond(content_type: &'static str, outflow: Outflow) -> Response {
    let pieces = stream::unfold(outflow, async |mut outflow| {
        let piece = outflow.next().await?;
        Some((Ok::<_, Infallible>(piece), outflow))
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Asks a proxy before the server not to collect what is sent until there is enough of it.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// One subscription on its way into the body of an answer. The body is asked for more only when
/// the client took what was sent; meanwhile the hub's queue holds what comes, up to its bound.
struct Outflow {
    first: Option<Bytes>,
    missed: Missed,
    live: Live,
    form: fn(&Publication) -> &Bytes,
    beat: Bytes,
    heartbeat: Duration,
    drain: CancellationToken,
}

impl Outflow {
    fn new(
        app: &App,
        first: Bytes,
        subscription: Subscription,
        form: fn(&Publication) -> &Bytes,
        beat: Bytes,
    ) -> Self {
        Self {
            first: Some(first),
            missed: subscription.missed,
            live: subscription.live,
            form,
            beat,
            heartbeat: app.config.heartbeat,
            drain: app.drain.clone(),
        }
    }

    /// The next piece. The stream ends when the server does and when the client lags; it comes
    /// back with its last cursor, and is told what it missed.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.drain.is_cancelled() {
            return None;
        }
        match self.missed.next().await {
            Ok(Some(missed)) => return Some((self.form)(&missed).clone()),
            Ok(None) => {}
            Err(_lagged) => return None,
        }
        let next = tokio::time::timeout(self.heartbeat, self.live.next());
        tokio::select! {
            biased;
            () = self.drain.cancelled() => None,
            next = next => match next {
                Ok(Ok(publication)) => Some((self.form)(&publication).clone()),
                Ok(Err(_lagged)) => None,
                Err(_elapsed) => Some(self.beat.clone()),
            },
        }
    }
}
