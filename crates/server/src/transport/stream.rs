//! Answers that do not end: Server-Sent Events and lines of JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use tokio::time::{Instant, sleep_until};

use super::pieces::{Out, Pieces};
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
        beat: ":\n\n",
        expired: EXPIRED_EVENT,
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
        beat: "\n",
        expired: EXPIRED_LINE,
    };
    Ok(respond(
        "application/x-ndjson",
        Outflow::new(&app, grant, first.into(), subscription, form),
    ))
}

fn respond(content_type: &'static str, outflow: Outflow) -> Response {
    let mut response = Pieces::of(|out| outflow.run(out)).into_response();
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
    /// What the client may listen by.
    grant: Grant,
}

/// How things are said on one kind of stream.
struct Lines {
    transport: Transport,
    form: fn(&Publication) -> &Bytes,
    beat: &'static str,
    /// The right to listen is over.
    expired: &'static str,
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
            grant,
        }
    }

    /// Gives piece after piece. The stream ends when the server does and when the client lags; it comes
    /// back with its last cursor, and is told what it missed.
    #[expect(
        clippy::manual_async_fn,
        reason = "the future of an `async fn` would hold all of this twice"
    )]
    fn run(mut self, out: Out) -> impl Future<Output = ()> {
        async move {
            if let Some(first) = self.first.take() {
                out.give(first).await;
            }
            if let Err(Lagged) = self.give_all(&out).await {
                out.lagged();
            }
        }
    }

    async fn give_all(&mut self, out: &Out) -> Result<(), Lagged> {
        loop {
            if self.app.drain.is_turn(self.turn) {
                return Ok(());
            }
            if self.grant.is_over() {
                out.give(Bytes::from_static(self.lines.expired.as_bytes()))
                    .await;
                return Ok(());
            }
            self.missed.load().await?;
            if let Some(missed) = self.missed.try_next() {
                let piece = self.said(&missed);
                self.give(out, piece).await?;
                continue;
            }
            let beat = Instant::now() + self.heartbeat;
            // One timer for both: which of them it was is seen then.
            let silent = sleep_until(self.grant.expires.map_or(beat, |end| end.min(beat)));
            let piece = tokio::select! {
                biased;
                () = self.app.drain.turn(self.turn) => return Ok(()),
                next = self.live.next() => {
                    let next = next?;
                    self.said(&next)
                }
                () = silent => {
                    if self.grant.is_over() {
                        continue;
                    }
                    Bytes::from_static(self.lines.beat.as_bytes())
                }
            };
            self.give(out, piece).await?;
        }
    }

    /// Gives a piece, unless the client lags before it has taken that.
    async fn give(&mut self, out: &Out, piece: Bytes) -> Result<(), Lagged> {
        tokio::select! {
            biased;
            () = out.give(piece) => Ok(()),
            lagged = self.live.lagged() => Err(lagged),
        }
    }

    /// What is said of a publication, which is counted.
    fn said(&self, publication: &Publication) -> Bytes {
        self.listening.delivered(1, publication.time());
        (self.lines.form)(publication).clone()
    }
}
