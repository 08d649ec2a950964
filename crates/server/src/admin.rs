//! The operators' port: metrics and health, beside the port that clients reach and with places of its
//! own, so that it answers when those are full.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::http::{App, Kind, Problem, guarded};

/// Connections at once; any more wait.
const MAX_CONNECTIONS: usize = 64;
/// Time for the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

const TEXT: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Answers on `listener`, until the server has ended.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let local = listener.local_addr().map(|address| address.ip());
    let routes = routes(Arc::clone(&app));
    let router = match local {
        Ok(local) => routes.layer(middleware::from_fn_with_state((app, local), guarded)),
        Err(_) => return,
    };
    loop {
        // Nobody closes the semaphore.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((tcp, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            answer(tcp, router).await;
            drop(place);
        });
    }
}

async fn answer(tcp: TcpStream, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        // A place is for one question: those who wait get theirs.
        .keep_alive(false)
        .serve_connection(TokioIo::new(tcp), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection to the operators' port failed");
    }
}

fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", any(metrics))
        .route("/healthz", any(healthz))
        .route("/readyz", any(readyz))
        .fallback(nowhere)
        .with_state(app)
}

async fn nowhere() -> Problem {
    Problem::new(
        Kind::NotFound,
        "this port has /metrics, /healthz and /readyz; channels are on the other",
    )
}

async fn metrics(State(app): State<Arc<App>>, request: Request) -> Response {
    if let Err(problem) = only_get(&request) {
        return problem.into_response();
    }
    let mut response = app.metrics.text(&app).into_response();
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    told(response)
}

/// Whether the process answers at all.
pub(crate) async fn healthz(request: Request) -> Response {
    match only_get(&request) {
        Ok(()) => told("ok\n".into_response()),
        Err(problem) => problem.into_response(),
    }
}

/// Whether it is to be sent clients.
pub(crate) async fn readyz(State(app): State<Arc<App>>, request: Request) -> Response {
    if let Err(problem) = only_get(&request) {
        return problem.into_response();
    }
    let why_not = if app.drain.has_begun() {
        Some("draining\n".to_owned())
    } else if app.limits.growth(&app.now().config).is_err() {
        Some("out of memory (limits.memory)\n".to_owned())
    } else {
        let outage = app.broker.stats().outage;
        outage.map(|outage| format!("publications are refused: {outage}\n"))
    };
    told(match why_not {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    })
}

fn only_get(request: &Request) -> Result<(), Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Problem::method("GET, HEAD")),
    }
}

fn told(mut response: Response) -> Response {
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, never);
    response
}
