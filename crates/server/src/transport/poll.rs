//! Polling and long polling: one answer to one request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::{
    CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use tokio::time::Instant;

use super::{etag, standing};
use crate::broker::{Page, Since};
use crate::channel::{Channel, Filter};
use crate::cursor::Cursor;
use crate::drain::Turn;
use crate::http::{App, Kind, Known, Problem, Wait};
use crate::hub::Live;
use crate::metrics::{Listening, Transport};
use crate::publication::Publication;

/// An answer, or what waits for one.
pub(crate) enum Answer {
    Now(Response),
    Later(Wait),
}

/// The state of a channel: its latest publication unless the client has it, which is waited for
/// up to `wait`.
pub(crate) async fn state(
    app: Arc<App>,
    channel: Channel,
    known: Known,
    wait: Duration,
) -> Result<Answer, Problem> {
    let deadline = Instant::now() + wait;
    let mut latest = app.broker.latest(&channel).await?;
    // `*` means what there is when the request comes.
    let known = match (known, &latest) {
        (Known::Any, Some(latest)) => Known::Cursors(vec![latest.cursor()]),
        (Known::Any, None) => Known::Cursors(Vec::new()),
        (Known::Cursors(cursors), latest) => {
            Known::Cursors(honoured(&app, &channel, cursors, latest.as_deref()).await?)
        }
    };
    if !is_news(&latest, &known) && !wait.is_zero() {
        let filter = Filter::Exact(channel.clone());
        let mut subscription = app.broker.subscribe(&filter, Since::Start).await?;
        latest = subscription.missed.try_next();
        if !is_news(&latest, &known) {
            let mut waiting = Waiting::new(app, subscription.live, deadline);
            return Ok(later(async move {
                while !is_news(&latest, &known) && waiting.published().await {
                    latest = waiting.app.broker.latest(&channel).await?;
                }
                latest_or_none(&channel, &known, latest)
            }));
        }
    }
    latest_or_none(&channel, &known, latest).map(Answer::Now)
}

fn is_news(latest: &Option<Arc<Publication>>, known: &Known) -> bool {
    latest.as_ref().is_some_and(|latest| !known.has(latest))
}

/// The latest publication, unless the client knows it.
fn latest_or_none(
    channel: &Channel,
    known: &Known,
    latest: Option<Arc<Publication>>,
) -> Result<Response, Problem> {
    match latest {
        Some(latest) if known.has(&latest) => {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            response.headers_mut().insert(ETAG, etag(latest.cursor())?);
            Ok(response)
        }
        Some(latest) => whole(&latest),
        None => Err(Problem::new(
            Kind::NoPublication,
            format!("nothing is kept of {channel}; `Prefer: wait=30` waits for a publication"),
        )),
    }
}

/// The cursors that tell what the client has: one from beyond the log's end, or of a past that was
/// dropped, is a gap, and whoever bears it has nothing that counts.
async fn honoured(
    app: &App,
    channel: &Channel,
    cursors: Vec<Cursor>,
    latest: Option<&Publication>,
) -> Result<Vec<Cursor>, Problem> {
    let filter = Filter::Exact(channel.clone());
    let mut honoured = Vec::new();
    for cursor in cursors {
        // Up to the latest publication the comparison with it tells all.
        let is_plain = latest.is_some_and(|latest| cursor.offset <= latest.offset());
        if is_plain
            || app
                .broker
                .read(&filter, Since::Cursor(cursor), 1)
                .await?
                .recovered
        {
            honoured.push(cursor);
        }
    }
    Ok(honoured)
}

/// A piece of the stream, as JSON; if there is nothing after `since` yet, it is waited for up to
/// `wait`.
pub(crate) async fn page(
    app: Arc<App>,
    filter: Filter,
    since: Since,
    limit: usize,
    wait: Duration,
) -> Result<Answer, Problem> {
    let deadline = Instant::now() + wait;
    let mut page = app.broker.read(&filter, since, limit).await?;
    if page.publications.is_empty() && page.recovered && !wait.is_zero() {
        let from = Since::Cursor(page.cursor);
        let subscription = app.broker.subscribe(&filter, from).await?;
        if subscription.missed.is_empty() && subscription.recovered {
            let mut waiting = Waiting::new(app, subscription.live, deadline);
            return Ok(later(async move {
                waiting.published().await;
                let page = waiting.app.broker.read(&filter, from, limit).await?;
                Ok(json(&page))
            }));
        }
        page = app.broker.read(&filter, from, limit).await?;
    }
    Ok(Answer::Now(json(&page)))
}

fn later(answer: impl Future<Output = Result<Response, Problem>> + Send + 'static) -> Answer {
    Answer::Later(Box::pin(async {
        answer.await.unwrap_or_else(IntoResponse::into_response)
    }))
}

/// One that waits for a publication.
struct Waiting {
    app: Arc<App>,
    live: Live,
    deadline: Instant,
    listening: Listening,
}

impl Waiting {
    fn new(app: Arc<App>, live: Live, deadline: Instant) -> Self {
        Self {
            listening: app.metrics.listener(Transport::Poll),
            app,
            live,
            deadline,
        }
    }

    /// Waits until something is published; no if the time is over, or the server is to end. Who is held so does not hold the
    /// log, of which the newest part, which is all that may be asked for afterwards, can be read when it is closed too.
    async fn published(&mut self) -> bool {
        tokio::select! {
            biased;
            // One that lags was published to.
            next = self.live.next() => {
                if let Ok(publication) = next {
                    self.listening.delivered(1, publication.time());
                }
                true
            }
            () = tokio::time::sleep_until(self.deadline) => false,
            () = self.app.drain.turn(Turn::any()) => false,
        }
    }
}

/// The publication as it was published.
fn whole(publication: &Publication) -> Result<Response, Problem> {
    let content = publication.content();
    let content_type = HeaderValue::try_from(content.content_type())
        .map_err(|_| Problem::new(Kind::Unavailable, "the log gave no usable content type"))?;
    let mut response = Body::from(content.body().clone()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(ETAG, etag(publication.cursor())?);
    // Whoever may publish must not be able to run a script as a page of this server.
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// `{"publications":[…],"cursor":"…","recovered":…}`, the envelopes shared with all other listeners.
fn json(page: &Page) -> Response {
    let mut pieces = Vec::with_capacity(2 * page.publications.len() + 2);
    pieces.push(Bytes::from_static(b"{\"publications\":["));
    for (index, publication) in page.publications.iter().enumerate() {
        if index > 0 {
            pieces.push(Bytes::from_static(b","));
        }
        pieces.push(publication.envelope());
    }
    let standing = standing(page.cursor, page.recovered);
    pieces.push(format!("],{}\n", &standing[1..]).into());

    let length: usize = pieces.iter().map(Bytes::len).sum();
    let pieces = stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, length.into());
    response
}
