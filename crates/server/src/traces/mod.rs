//! Spans of requests and publications, for a collector of OpenTelemetry.
//!
//! Off unless a collector is named. Whoever is served waits for nothing here: a span that ends is put
//! into a bounded queue, or dropped and counted. No span has a token, a key, a query or a body in it.

mod context;
mod export;
mod otlp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::{Method, Request, StatusCode, Version};
use tokio::sync::mpsc;

use crate::channel::Channel;
use crate::config::TracesConfig;
use crate::fetch::{Fetch, Plain, Unusable};
use crate::http::CHANNELS;
use crate::publisher::PublishError;

use self::context::TraceId;
pub(crate) use self::context::Within;
pub(crate) use self::export::Exporter;

/// Spans that wait for the collector; any more are dropped.
const QUEUE: usize = 2048;
/// Longest path that a span shows, which is more than any channel's.
const MAX_PATH: usize = 1024;

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TracesError {
    /// The collector's address is none.
    #[error("traces.endpoint: {url:?} is neither an http nor an https URL")]
    Url {
        /// What was written.
        url: String,
    },
    /// The collector's address has what cannot be sent, or what no path can be appended to. It is not shown: a password may
    /// stand in it.
    #[error(
        "traces.endpoint has a user name, a query or a fragment; write it as http://localhost:4318"
    )]
    Parts,
    /// No TLS client can be set up.
    #[error("traces.endpoint: cannot set up TLS")]
    Tls(#[source] rustls::Error),
}

/// Makes spans, or none. Cheap to clone; every clone is the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traces(Option<Arc<Tracer>>);

#[derive(Debug)]
struct Tracer {
    queue: mpsc::Sender<Span>,
    ratio: f64,
    counts: Arc<Counts>,
}

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
}

impl Traces {
    /// What makes spans as `config` says, and what sends them once it is run; nothing if no collector
    /// is named.
    pub(crate) fn new(config: &TracesConfig) -> Result<Option<(Self, Exporter)>, TracesError> {
        let Some(endpoint) = &config.endpoint else {
            return Ok(None);
        };
        if endpoint.contains(['@', '?', '#']) {
            return Err(TracesError::Parts);
        }
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let fetch = Fetch::new(&url, Plain::Anywhere).map_err(|error| match error {
            Unusable::Url => TracesError::Url {
                url: endpoint.clone(),
            },
            Unusable::Tls(source) => TracesError::Tls(source),
        })?;
        let (queue, spans) = mpsc::channel(QUEUE);
        let counts = Arc::<Counts>::default();
        let exporter = Exporter::new(fetch, spans, Arc::clone(&counts));
        let ratio = config.ratio.get();
        let tracer = Tracer {
            queue,
            ratio,
            counts,
        };
        Ok(Some((Self(Some(Arc::new(tracer))), exporter)))
    }

    /// Spans that the collector took, and those that were dropped.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.0.as_ref().map_or((0, 0), |tracer| {
            let counts = &tracer.counts;
            (
                counts.exported.load(Ordering::Relaxed),
                counts.dropped.load(Ordering::Relaxed),
            )
        })
    }

    /// Begins the span of a request, and tells the request what its own spans are part of.
    pub(crate) fn request<B>(&self, request: &mut Request<B>) -> Option<Open> {
        let tracer = self.0.as_ref()?;
        let open = tracer.begin(Within::of(request.headers()), Kind::Server);
        let within = open.as_ref().map_or(Within::Unkept, |open| {
            Within::Local(open.span.trace, open.span.id)
        });
        request.extensions_mut().insert(within);
        let mut open = open?;
        let method = match *request.method() {
            Method::GET
            | Method::HEAD
            | Method::POST
            | Method::PUT
            | Method::DELETE
            | Method::CONNECT
            | Method::OPTIONS
            | Method::TRACE
            | Method::PATCH => request.method().as_str(),
            _ => "_OTHER",
        };
        let path = request.uri().path();
        let span = &mut open.span;
        span.name = method.to_owned();
        span.set("http.request.method", method);
        if let Some(route) = route(path) {
            span.name = format!("{method} {route}");
            span.set("http.route", route);
            if path.len() <= MAX_PATH {
                span.set("url.path", path);
            }
        }
        let version = match request.version() {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        };
        span.set("network.protocol.version", version);
        Some(open)
    }

    /// Begins the span of a publication of so many bytes.
    pub(crate) fn publication(
        &self,
        within: Within,
        channel: &Channel,
        size: usize,
    ) -> Option<Open> {
        let mut open = self.0.as_ref()?.begin(within, Kind::Producer)?;
        let span = &mut open.span;
        "publish".clone_into(&mut span.name);
        span.set("messaging.system", "openline");
        span.set("messaging.operation.type", "send");
        span.set("messaging.destination.name", channel.as_str());
        span.set("messaging.message.body.size", size as u64);
        Some(open)
    }
}

/// What stands for all paths of a kind.
fn route(path: &str) -> Option<&'static str> {
    const PLACES: [&str; 5] = ["/", "/openapi.json", "/healthz", "/readyz", "/meters"];
    if path.starts_with(CHANNELS) {
        Some("/channels/{channel}")
    } else if path.starts_with("/assets/") {
        Some("/assets/{file}")
    } else {
        PLACES.into_iter().find(|place| *place == path)
    }
}

impl Tracer {
    fn begin(self: &Arc<Self>, within: Within, kind: Kind) -> Option<Open> {
        let (trace, parent, is_remote) = match within {
            Within::Unkept => return None,
            Within::Nothing if rand::random::<f64>() >= self.ratio => return None,
            Within::Nothing => (TraceId::random(), None, false),
            Within::Remote(trace, parent) => (trace, Some(parent), true),
            Within::Local(trace, parent) => (trace, Some(parent), false),
        };
        Some(Open {
            tracer: Arc::clone(self),
            began: Instant::now(),
            span: Span {
                trace,
                id: context::random_id(),
                parent,
                is_remote,
                name: String::new(),
                kind,
                start: SystemTime::now(),
                time: Duration::ZERO,
                attributes: Vec::new(),
                // Until it is told otherwise: a request that is given up is never answered.
                error: Some("cancelled".to_owned()),
            },
        })
    }
}

/// A span that has not ended. It ends, and is on its way, when it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    tracer: Arc<Tracer>,
    began: Instant,
    span: Span,
}

impl Open {
    /// The request was answered so, with the head at least.
    pub(crate) fn answered(mut self, status: StatusCode) {
        let code = status.as_u16();
        self.span.set("http.response.status_code", u64::from(code));
        self.span.error = status.is_server_error().then(|| code.to_string());
    }

    /// The publication stands there, or why it does not.
    pub(crate) fn published(mut self, outcome: Result<String, &PublishError>) {
        match outcome {
            Ok(cursor) => {
                self.span.set("messaging.message.id", cursor);
                self.span.error = None;
            }
            // Its text may quote what was published.
            Err(error) => self.span.error = Some(error.kind().to_owned()),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.span.time = self.began.elapsed();
        if let Some(error) = self.span.error.clone() {
            self.span.set("error.type", error);
        }
        let span = std::mem::take(&mut self.span);
        if self.tracer.queue.try_send(span).is_err() {
            self.tracer.counts.dropped(1);
        }
    }
}

impl Counts {
    fn dropped(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn exported(&self, count: usize) {
        self.exported.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// What a span is of, in OpenTelemetry's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Server,
    Producer,
}

#[derive(Debug)]
struct Span {
    trace: TraceId,
    id: u64,
    parent: Option<u64>,
    /// Whether the parent is of another process.
    is_remote: bool,
    name: String,
    kind: Kind,
    start: SystemTime,
    time: Duration,
    attributes: Vec<(&'static str, Value)>,
    error: Option<String>,
}

impl Default for Span {
    fn default() -> Self {
        Self {
            trace: TraceId::default(),
            id: 0,
            parent: None,
            is_remote: false,
            name: String::new(),
            kind: Kind::default(),
            start: SystemTime::UNIX_EPOCH,
            time: Duration::ZERO,
            attributes: Vec::new(),
            error: None,
        }
    }
}

impl Span {
    fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.attributes.push((key, value.into()));
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(u64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}
