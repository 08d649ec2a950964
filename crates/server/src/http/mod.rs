//! The HTTP face: one URL per channel, and what stands around it.

mod guard;
mod negotiate;
mod problem;
mod publish;
mod under_way;
mod url;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, HeaderValue, VARY};
use http::{HeaderMap, Method, StatusCode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::channel::{Channel, Filter};
use crate::line::Line;
use crate::meter::{self, Meters};
use crate::publisher::Publisher;
use crate::transport::{poll, stream, ws};
use crate::{Config, pages};

pub(crate) use self::guard::{BadEntry, Guard};
use self::negotiate::Form;
pub(crate) use self::negotiate::Known;
pub(crate) use self::problem::{Kind, Problem};
pub(crate) use self::under_way::UnderWay;
use self::url::Query;

/// The methods that a channel's URL takes.
pub(crate) const CHANNEL_METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";
/// The methods that a pattern's URL takes.
const PATTERN_METHODS: &str = "GET, HEAD, OPTIONS";

/// What every request is answered from.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) publisher: Publisher,
    pub(crate) guard: Guard,
    pub(crate) under_way: UnderWay,
    /// Used only where the pages that read them are served.
    pub(crate) meters: Meters,
    /// Cancelled when the server is to end: whoever holds a request lets go.
    pub(crate) drain: CancellationToken,
    /// Cancelled when nobody is waited for any more: every connection ends where it is.
    pub(crate) cut: CancellationToken,
    /// Connections, whether they speak HTTP or WebSocket by now.
    pub(crate) tasks: TaskTracker,
}

/// The routes of `app`.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new().route("/channels/{*channel}", any(channel));
    if app.config.pages {
        router = router
            .route("/", any(pages::index))
            .route("/assets/{file}", any(pages::asset))
            .route("/meters", any(meter::answer));
    } else {
        router = router.route("/", any(pages::plain));
    }
    router
        .fallback(nowhere)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            guard::check,
        ))
        .layer(middleware::from_fn(end_after_refused_upgrade))
        .with_state(app)
}

/// Has the connection end with the refusal of a WebSocket. A proxy that does not look at the answer takes the connection
/// for a tunnel once an upgrade was asked for, and lets everything through: what follows must be nobody's request.
async fn end_after_refused_upgrade(request: Request, next: Next) -> Response {
    let is_asked_for = ws::is_asked_for(request.headers());
    let mut response = next.run(request).await;
    if is_asked_for && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response
            .headers_mut()
            .append(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn nowhere() -> Problem {
    Problem::new(
        Kind::NotFound,
        "a channel's URL is /channels/ and its name, such as /channels/news",
    )
}

/// Answers a request for a channel or a pattern.
async fn channel(State(app): State<Arc<App>>, request: Request) -> Response {
    let mut response = match dispatch(app, request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.append(VARY, HeaderValue::from_static("Accept, Prefer"));
    response
}

async fn dispatch(app: Arc<App>, request: Request) -> Result<Response, Problem> {
    let path = request.uri().path();
    let filter = url::filter(path.strip_prefix("/channels/").unwrap_or(path))?;
    let query = Query::parse(request.uri().query().unwrap_or_default())?;
    if app.config.pages
        && let Some(name) = &query.meter
        && let Some(line) = request.extensions().get::<Arc<Line>>()
    {
        line.meter(app.meters.get(name));
    }
    match *request.method() {
        Method::GET | Method::HEAD => listen(app, filter, query, request).await,
        Method::POST => {
            let channel = only_channel(filter, "publish to")?;
            publish::publish(&app, channel, request).await
        }
        Method::DELETE => {
            let channel = only_channel(filter, "delete")?;
            app.broker.remove(&channel).await?;
            tracing::debug!(%channel, "deleted");
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Method::OPTIONS => {
            let methods = match filter {
                Filter::Exact(_) => CHANNEL_METHODS,
                Filter::Pattern(_) => PATTERN_METHODS,
            };
            let mut response = StatusCode::NO_CONTENT.into_response();
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(methods));
            Ok(response)
        }
        _ => Err(Problem::method(CHANNEL_METHODS)),
    }
}

fn only_channel(filter: Filter, what: &str) -> Result<Channel, Problem> {
    match filter {
        Filter::Exact(channel) => Ok(channel),
        Filter::Pattern(pattern) => Err(Problem::new(
            Kind::Pattern,
            format!(
                "{} is a pattern; name one channel to {what}",
                pattern.as_str()
            ),
        )),
    }
}

/// Answers a `GET` or a `HEAD`: what the client wants is chosen by `Upgrade`, then `Accept`, then
/// `since`.
async fn listen(
    app: Arc<App>,
    filter: Filter,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let is_state = matches!(query.since, Ok(None));
    let since = negotiate::since(headers, query.since)?;
    if *request.method() == Method::GET && ws::is_asked_for(headers) {
        return ws::open(app, filter, since, request).await;
    }
    match negotiate::form(headers) {
        Form::Sse => stream::sse(app, filter, since).await,
        Form::Ndjson => stream::ndjson(app, filter, since).await,
        Form::Plain => {
            let wait = Wait::from(headers);
            let answer = match filter {
                Filter::Exact(channel) if is_state => {
                    poll::state(&app, channel, Known::from(headers), wait.time()).await
                }
                filter => poll::page(&app, &filter, since, query.limit, wait.time()).await,
            };
            Ok(wait.applied_to(answer))
        }
    }
}

/// What `Prefer: wait` asks for, and the word that it was done.
struct Wait(Option<Duration>);

impl Wait {
    fn from(headers: &HeaderMap) -> Self {
        Self(negotiate::wait(headers))
    }

    fn time(&self) -> Duration {
        self.0.unwrap_or_default()
    }

    fn applied_to(&self, answer: Result<Response, Problem>) -> Response {
        let mut response = answer.unwrap_or_else(IntoResponse::into_response);
        if let Some(time) = self.0
            && let Ok(value) = HeaderValue::try_from(format!("wait={}", time.as_secs()))
        {
            response.headers_mut().insert("preference-applied", value);
        }
        response
    }
}
