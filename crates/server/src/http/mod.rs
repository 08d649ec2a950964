//! The HTTP face: one URL per channel, and what stands around it.

mod admit;
mod asked;
mod guard;
mod held;
mod negotiate;
mod openapi;
mod problem;
mod publish;
mod under_way;
mod url;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, HeaderValue, VARY};
use http::{Method, StatusCode, Version};
use hyper::ext::Protocol;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::auth::{Action, Auth, Grant};
use crate::broker::{Broker, BrokerError, Outage, Retention};
use crate::channel::{Channel, Filter};
use crate::drain::Drain;
use crate::hub::Hub;
use crate::limits::{Client, Limits};
use crate::line::Line;
use crate::meter::{self, Meters};
use crate::metrics::Metrics;
use crate::publisher::Publisher;
use crate::slow::SlowRules;
use crate::traces::Traces;
use crate::transport::poll::{self, Answer};
use crate::transport::{stream, ws};
use crate::work::Work;
use crate::{Config, admin, pages};

pub(crate) use self::admit::refusal;
pub(crate) use self::asked::Asked;
pub(crate) use self::guard::{BadEntry, Guard, guarded};
pub(crate) use self::held::{Wait, answer};
use self::negotiate::Form;
pub(crate) use self::negotiate::Known;
pub(crate) use self::problem::{Kind, Problem};
pub(crate) use self::under_way::UnderWay;
use self::url::Query;

/// What the paths of channels and patterns begin with.
pub(crate) const CHANNELS: &str = "/channels/";
/// The methods that a channel's URL takes.
pub(crate) const CHANNEL_METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";
/// The methods that a pattern's URL takes.
const PATTERN_METHODS: &str = "GET, HEAD, OPTIONS";

/// What every request is answered from.
#[derive(Debug)]
pub(crate) struct App {
    /// What a reload changes.
    current: RwLock<Arc<Current>>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) hub: Hub,
    pub(crate) publisher: Publisher,
    pub(crate) under_way: UnderWay,
    pub(crate) limits: Arc<Limits>,
    /// Used only where the pages that read them are served.
    pub(crate) meters: Meters,
    pub(crate) metrics: Arc<Metrics>,
    /// Requests that may need the log, and connections that have not asked yet.
    pub(crate) work: Work,
    pub(crate) traces: Traces,
    /// Begins when the server is to end: whoever holds a request lets go.
    pub(crate) drain: Drain,
    /// Cancelled when nobody is waited for any more: every connection ends where it is.
    pub(crate) cut: CancellationToken,
    /// Connections, whether they speak HTTP or WebSocket by now.
    pub(crate) tasks: TaskTracker,
}

/// What the answers of one moment go by.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) config: Config,
    pub(crate) guard: Guard,
    pub(crate) auth: Auth,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// What WebSockets go by, shared by all that open.
    pub(crate) websocket: Arc<openline::Config>,
}

impl App {
    /// `current` is what is in force at first.
    pub(crate) fn new(current: Current, broker: Arc<dyn Broker>, hub: Hub, traces: Traces) -> Self {
        hub.set_thinning(SlowRules::of(&current.config));
        let config = &current.config;
        let metrics = Arc::new(Metrics::new(&hub));
        let publisher = Publisher::new(
            Arc::clone(&broker),
            config.max_publication,
            Arc::clone(&metrics),
            traces.clone(),
        );
        Self {
            publisher,
            metrics,
            traces,
            under_way: UnderWay::new(config.max_idempotency_keys),
            broker,
            hub,
            meters: Meters::default(),
            limits: Arc::new(Limits::new(config)),
            work: Work::default(),
            drain: Drain::default(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
            current: RwLock::new(Arc::new(current)),
        }
    }

    /// Everybody is to come back, each in its turn within so much time.
    pub(crate) fn begin_drain(&self, time: Duration) {
        self.drain.begin(self.tasks.len(), time);
        self.hub.wake_all();
    }

    /// Nobody is waited for any more: every connection ends where it is.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
        self.hub.wake_all();
    }

    /// What is in force now. Whoever needs two things of it that fit together asks once.
    pub(crate) fn now(&self) -> Arc<Current> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Puts something else into force, for all requests to come.
    pub(crate) fn change(&self, new: Current) {
        self.broker.retain(Retention::of(&new.config));
        self.hub.set_thinning(SlowRules::of(&new.config));
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(new);
    }
}

/// The routes of `app`.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/channels/{*channel}", any(channel))
        .route("/openapi.json", any(openapi::document))
        .route("/healthz", any(admin::healthz))
        .route("/readyz", any(admin::readyz));
    if app.now().config.pages {
        router = router
            .route("/", any(pages::index))
            .route("/assets/{file}", any(pages::asset))
            .route("/meters", any(meter::answer));
    } else {
        router = router.route("/", any(pages::plain));
    }
    router.fallback(nowhere).with_state(app)
}

/// Answers a request by one of the routes, behind the doors in front of all of them, from outside in. Those are no layer of
/// the router's, since each costs every request a few allocations.
pub(crate) async fn doors(app: &Arc<App>, routes: Router, request: Request) -> Response {
    let is_asked_for = ws::is_asked_for(request.headers());
    // Later ones have a way of their own to say so.
    let may_be_last = request.version() < Version::HTTP_2;
    let mut response = match admit::admit(app, request) {
        Ok(request) => guard::check(app, request, routes).await,
        Err(problem) => problem.into_response(),
    };
    // The connection ends with the last answer of a server that ends, and with the refusal of a WebSocket. A proxy that does
    // not look at the answer takes the connection for a tunnel once an upgrade was asked for, and lets everything through:
    // what follows must be nobody's request.
    let is_last = may_be_last && app.drain.has_begun();
    if (is_asked_for || is_last) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response
            .headers_mut()
            .append(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Answers a request by its route. What is published goes to its channel straight, since the router costs as much as the log
/// does.
async fn routed(app: &Arc<App>, routes: Router, request: Request) -> Response {
    let name = request.uri().path().strip_prefix(CHANNELS);
    if *request.method() == Method::POST && name.is_some_and(|name| !name.is_empty()) {
        return Box::pin(channel(State(Arc::clone(app)), request)).await;
    }
    let Ok(response) = routes.oneshot(request).await;
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
    let closed = || BrokerError::from(Outage::Closed);
    let _working = app.work.begin().ok_or_else(closed)?;
    if let Some(line) = request.extensions().get::<Arc<Line>>() {
        line.needs_no_log();
    }
    let now = app.now();
    let path = request.uri().path();
    let filter = url::filter(path.strip_prefix(CHANNELS).unwrap_or(path))?;
    let query = Query::parse(request.uri().query().unwrap_or_default())?;
    if now.config.pages
        && let Some(name) = &query.meter
        && let Some(line) = request.extensions().get::<Arc<Line>>()
    {
        line.meter(app.meters.get(name));
    }
    let (parts, body) = request.into_parts();
    // Every request that came through the doors has one.
    let client = parts.extensions.get().copied().unwrap_or(Client::UNKNOWN);
    let grows = || {
        let refused = |reason| refusal(&app, reason);
        app.limits.growth(&now.config).map_err(refused)
    };
    let may = async |action: Action, filter: &Filter| {
        // Somebody far away may be asked, for which there must be room; in a box, since it is given back before a client that
        // listens is held.
        let asked = now
            .auth
            .let_in(&now.config, &parts, &client, action, filter);
        Box::pin(asked).await
    };
    match parts.method {
        Method::GET | Method::HEAD => {
            let action = negotiate::action(&parts.headers);
            if action == Action::Subscribe {
                grows()?;
            }
            let grant = may(action, &filter).await?;
            let request = Request::from_parts(parts, body);
            listen(app, grant, filter, query, request).await
        }
        Method::CONNECT if parts.extensions.get::<Protocol>().is_some() => {
            grows()?;
            let grant = may(Action::Subscribe, &filter).await?;
            let since = negotiate::since(&parts.headers, query.since)?;
            ws::open(app, grant, filter, since, Request::from_parts(parts, body)).await
        }
        Method::POST => {
            let channel = only_channel(filter, "publish to")?;
            grows()?;
            let grant = may(Action::Publish, &Filter::Exact(channel.clone())).await?;
            let taken = app.limits.publish(&now.config, &grant.who, &client);
            taken.map_err(|reason| refusal(&app, reason))?;
            publish::publish(&app, &now.config, &grant.who, channel, parts, body).await
        }
        Method::DELETE => {
            let channel = only_channel(filter, "delete")?;
            may(Action::Publish, &Filter::Exact(channel.clone())).await?;
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
    grant: Grant,
    filter: Filter,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let is_state = matches!(query.since, Ok(None));
    let since = negotiate::since(headers, query.since)?;
    if *request.method() == Method::GET && ws::is_asked_for(headers) {
        return ws::open(app, grant, filter, since, request).await;
    }
    match negotiate::form(headers) {
        Form::Sse => stream::sse(app, grant, filter, since).await,
        Form::Ndjson => stream::ndjson(app, grant, filter, since).await,
        Form::Plain => {
            let asked = negotiate::wait(headers);
            let wait = within(asked.unwrap_or_default(), &grant);
            let answer = match filter {
                Filter::Exact(channel) if is_state => {
                    poll::state(app, channel, Known::from(headers), wait).await
                }
                filter => poll::page(app, filter, since, query.limit, wait).await,
            };
            let mut response = match answer {
                Ok(Answer::Now(response)) => response,
                Ok(Answer::Later(wait)) => held::stand_in(wait, request.method()),
                Err(problem) => problem.into_response(),
            };
            if let Some(time) = asked
                && let Ok(value) = HeaderValue::try_from(format!("wait={}", time.as_secs()))
            {
                response.headers_mut().insert("preference-applied", value);
            }
            Ok(response)
        }
    }
}

/// So long, but no longer than the right to listen lasts.
fn within(time: Duration, grant: &Grant) -> Duration {
    let left = grant
        .expires
        .map(|end| end.saturating_duration_since(Instant::now()));
    left.map_or(time, |left| left.min(time))
}
