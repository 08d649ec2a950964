//! Answers that do not end: Server-Sent Events and lines of JSON.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::standing;
use crate::auth::Grant;
use crate::broker::{Missed, Since, Subscription};
use crate::channel::Filter;
use crate::drain::Turn;
use crate::http::{App, Problem};
use crate::hub::{Lagged, Live};
use crate::metrics::{Listening, Transport};
use crate::publication::Publication;

/// The last words of an event stream whose client may not listen any more. They bear no id, so that
/// the client comes back from where it stood.
const EXPIRED_EVENT: &str = "event: expired\ndata: {\"expired\":true}\n\n";
/// The same on a stream of lines.
const EXPIRED_LINE: &str = "{\"expired\":true}\n";

/// Server-Sent Events: of one channel the bodies alone, of a pattern envelopes.
pub(crate) async fn sse(
    app: Arc<App>,
    grant: Grant,
    filter: Filter,
    since: Since,
) -> Result<Response, Problem> {
    let subscription = app.broker.subscribe(&filter, since).await?;
    let (cursor, recovered) = (subscription.cursor, subscription.recovered);
    let event = if recovered { "ready" } else { "gap" };
    let first = format!(
        "event: {event}\nid: {cursor}\ndata: {}\n\n",
        standing(cursor, recovered)
    );
    let form = match &filter {
        Filter::Exact(_) => Publication::event,
        Filter::Pattern(_) => Publication::envelope_event,
    };
    let form = Lines {
        transport: Transport::Sse,
        form,
        beat: Bytes::from_static(b":\n\n"),
        expired: Bytes::from_static(EXPIRED_EVENT.as_bytes()),
    };
    Ok(respond(
        "text/event-stream",
        Outflow::new(&app, grant, first.into(), subscription, form),
    ))
}

/// Envelopes, one a line.
pub(crate) async fn ndjson(
    app: Arc<App>,
    grant: Grant,
    filter: Filter,
    since: Since,
) -> Result<Response, Problem> {
    let subscription = app.broker.subscribe(&filter, since).await?;
    let first = format!(
        "{}\n",
        standing(subscription.cursor, subscription.recovered)
    );
    let form = Lines {
        transport: Transport::Ndjson,
        form: Publication::envelope_line,
        beat: Bytes::from_static(b"\n"),
        expired: Bytes::from_static(EXPIRED_LINE.as_bytes()),
    };
    Ok(respond(
        "application/x-ndjson",
        Outflow::new(&app, grant, first.into(), subscription, form),
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
    listening: Listening,
    lines: Lines,
    heartbeat: Duration,
    app: Arc<App>,
    turn: Turn,
    /// What the client may listen by; `None` once it was told that it may not any more.
    grant: Option<Grant>,
}

/// How things are said on one kind of stream.
struct Lines {
    transport: Transport,
    form: fn(&Publication) -> &Bytes,
    beat: Bytes,
    /// The right to listen is over.
    expired: Bytes,
}

impl Outflow {
    fn new(
        app: &Arc<App>,
        grant: Grant,
        first: Bytes,
        subscription: Subscription,
        lines: Lines,
    ) -> Self {
        Self {
            first: Some(first),
            missed: subscription.missed,
            live: subscription.live,
            listening: app.metrics.listener(lines.transport),
            lines,
            heartbeat: app.now().config.heartbeat,
            app: Arc::clone(app),
            turn: Turn::any(),
            grant: Some(grant),
        }
    }

    /// The next piece. The stream ends when the server does and when the client lags; it comes
    /// back with its last cursor, and is told what it missed.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.app.drain.is_turn(self.turn) {
            return None;
        }
        let grant = self.grant.take()?;
        if grant.is_over() {
            return Some(self.lines.expired.clone());
        }
        match self.missed.next().await {
            Ok(Some(missed)) => {
                self.grant = Some(grant);
                self.listening.delivered(1, missed.time());
                return Some((self.lines.form)(&missed).clone());
            }
            Ok(None) => {}
            Err(Lagged) => return None,
        }
        let next = tokio::time::timeout(self.heartbeat, self.live.next());
        let piece = tokio::select! {
            biased;
            () = self.app.drain.turn(self.turn) => return None,
            () = grant.expired() => return Some(self.lines.expired.clone()),
            next = next => match next {
                Ok(Ok(publication)) => {
                    self.listening.delivered(1, publication.time());
                    (self.lines.form)(&publication).clone()
                }
                Ok(Err(Lagged)) => return None,
                Err(_elapsed) => self.lines.beat.clone(),
            },
        };
        self.grant = Some(grant);
        Some(piece)
    }
}
