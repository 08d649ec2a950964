//! What goes on, counted for operators, in the text that Prometheus reads.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _, LabelValueEncoder, text,
};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::broker::Stats;
use crate::http::App;
use crate::hub::Hub;

/// How somebody listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Transport {
    Websocket,
    Sse,
    Ndjson,
    Poll,
}

impl EncodeLabelValue for Transport {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let name = match self {
            Self::Websocket => "websocket",
            Self::Sse => "sse",
            Self::Ndjson => "ndjson",
            Self::Poll => "poll",
        };
        name.encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    transport: Transport,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: u16,
}

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    listeners: Family<By, Gauge>,
    deliveries: Family<By, Counter>,
    /// What listeners are counted by, looked up once for each transport.
    ways: [OnceLock<Arc<Way>>; 4],
    answers: Family<Status, Counter>,
    publications: Counter,
    not_published: Family<Status, Counter>,
    published: Histogram,
    lag: Histogram,
}

/// Times from a tenth of a millisecond to more than half a minute.
pub(crate) fn times() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.5, 15))
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Counts nothing yet, but what `hub` counts.
    pub(crate) fn new(hub: &Hub) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("openline"),
            listeners: Family::default(),
            deliveries: Family::default(),
            ways: Default::default(),
            answers: Family::default(),
            publications: Counter::default(),
            not_published: Family::default(),
            published: times(),
            lag: times(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "listeners",
            "Listeners that are being served",
            metrics.listeners.clone(),
        );
        registry.register(
            "deliveries",
            "Publications handed to listeners' connections",
            metrics.deliveries.clone(),
        );
        registry.register("answers", "Answers to requests", metrics.answers.clone());
        registry.register(
            "publications",
            "Publications that were taken",
            metrics.publications.clone(),
        );
        registry.register(
            "publications_refused",
            "Requests to publish that were not, by the status of the answer",
            metrics.not_published.clone(),
        );
        registry.register(
            "fanout_seconds",
            "Time from a publication's place in the log to the last write of its turn to WebSockets that keep up",
            hub.times(),
        );
        registry.register(
            "publish_seconds",
            "Time from a whole body to its place in the log and in every listener's queue",
            metrics.published.clone(),
        );
        registry.register(
            "delivery_lag_seconds",
            "Age of the newest publication each time that some were handed to listeners' connections",
            metrics.lag.clone(),
        );
        metrics
    }

    /// One listens, until what is returned is dropped.
    pub(crate) fn listener(&self, transport: Transport) -> Listening {
        self.joined(transport);
        Listening(Arc::clone(self.way(transport)))
    }

    /// One listens, until it has [left](Self::left).
    pub(crate) fn joined(&self, transport: Transport) {
        self.way(transport).listeners.inc();
    }

    /// One listens no more.
    pub(crate) fn left(&self, transport: Transport) {
        self.way(transport).listeners.dec();
    }

    /// So many were handed to listeners' connections, the newest of them published then.
    pub(crate) fn delivered(&self, transport: Transport, count: u64, newest: Timestamp) {
        self.way(transport).delivered(count, newest);
    }

    fn way(&self, transport: Transport) -> &Arc<Way> {
        self.ways[transport as usize].get_or_init(|| {
            let by = By { transport };
            Arc::new(Way {
                listeners: self.listeners.get_or_create_owned(&by),
                deliveries: self.deliveries.get_or_create_owned(&by),
                lag: self.lag.clone(),
            })
        })
    }

    pub(crate) fn answered(&self, status: http::StatusCode) {
        let status = status.as_u16();
        self.answers.get_or_create(&Status { status }).inc();
    }

    /// A publication was taken, in that time.
    pub(crate) fn published(&self, time: Duration) {
        self.publications.inc();
        self.published.observe(time.as_secs_f64());
    }

    /// What was to be published was not, and the answer told why.
    pub(crate) fn not_published(&self, status: http::StatusCode) {
        let status = status.as_u16();
        self.not_published.get_or_create(&Status { status }).inc();
    }

    /// The text.
    pub(crate) fn text(&self, app: &App) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode_registry(&mut text, &self.registry);
        let mut looked_up = Registry::with_prefix("openline");
        looked_up.register_collector(Box::new(LookedUp::of(app)));
        let _ = text::encode_registry(&mut text, &looked_up);
        let _ = text::encode_eof(&mut text);
        text
    }
}

/// One that listens.
#[derive(Debug)]
pub(crate) struct Listening(Arc<Way>);

/// What those are counted by who listen in one way.
#[derive(Debug)]
struct Way {
    listeners: Gauge,
    deliveries: Counter,
    lag: Histogram,
}

impl Listening {
    /// So many were handed to its connection, the newest of them published then.
    pub(crate) fn delivered(&self, count: u64, newest: Timestamp) {
        self.0.delivered(count, newest);
    }
}

impl Way {
    fn delivered(&self, count: u64, newest: Timestamp) {
        self.deliveries.inc_by(count);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let then = u64::try_from(newest.as_millisecond()).unwrap_or_default();
        let lag = now.saturating_sub(Duration::from_millis(then));
        self.lag.observe(lag.as_secs_f64());
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.listeners.dec();
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What is counted elsewhere, as it is when somebody asks.
#[derive(Debug)]
struct LookedUp {
    connections: i64,
    handshakes: i64,
    waiting: i64,
    memory: i64,
    draining: i64,
    log: Stats,
    refusals: Vec<(&'static str, u64)>,
    timeouts: Vec<(&'static str, u64)>,
    drops: Vec<(&'static str, u64)>,
    /// Exported and dropped.
    spans: (u64, u64),
}

impl LookedUp {
    fn of(app: &App) -> Self {
        app.limits.memory.read();
        Self {
            connections: signed(app.tasks.len()),
            handshakes: signed(app.limits.handshakes()),
            waiting: signed(app.hub.waiting()),
            memory: signed(app.limits.memory.resident()),
            draining: i64::from(app.drain.has_begun()),
            log: app.broker.stats(),
            refusals: app
                .limits
                .refusals()
                .map(|(reason, count)| (reason.name(), count))
                .collect(),
            timeouts: app
                .limits
                .timeouts()
                .map(|(what, count)| (what.name(), count))
                .collect(),
            drops: vec![
                ("conflated", app.hub.replaced()),
                ("lagged", app.hub.lagged()),
            ],
            spans: app.traces.counts(),
        }
    }
}

impl Collector for LookedUp {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in [
            ("connections", "Connections that are open", self.connections),
            (
                "handshakes",
                "Connections that have asked for nothing yet, which limits.handshakes bounds",
                self.handshakes,
            ),
            (
                "queue_bytes",
                "Publications that wait in listeners' queues, each as often as it waits",
                self.waiting,
            ),
            (
                "resident_memory_bytes",
                "Memory of the process, which limits.memory bounds",
                self.memory,
            ),
            (
                "draining",
                "Whether the server is about to end",
                self.draining,
            ),
            (
                "log_publications",
                "Publications that the log keeps",
                signed(self.log.publications),
            ),
            (
                "log_bytes",
                "What they count as, which history.total_bytes bounds",
                signed(self.log.bytes),
            ),
            (
                "log_channels",
                "Channels that the log knows, which history.channels bounds",
                signed(self.log.channels),
            ),
            (
                "log_waiting",
                "Publications that wait to be written to the disk",
                signed(self.log.waiting),
            ),
            (
                "log_refuses",
                "Whether the last publication could not be written, so that publishing is answered 503",
                i64::from(self.log.outage.is_some()),
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let (exported, dropped) = self.spans;
        for (name, help, count) in [
            ("spans_exported", "Spans that the collector took", exported),
            (
                "spans_dropped",
                "Spans that were not: the queue for the collector was full, or it refused them",
                dropped,
            ),
        ] {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        for (name, help, counts) in [
            (
                "refusals",
                "Connections and requests refused by a limit",
                &self.refusals,
            ),
            (
                "timeouts",
                "Connections cut for what did not come, or was not taken, in time",
                &self.timeouts,
            ),
            (
                "drops",
                "Publications that a newer one replaced (conflated), and listeners let go with all \
                 that waited for them (lagged)",
                &self.drops,
            ),
        ] {
            let kind = ConstCounter::new(0_u64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (reason, count) in counts {
                let labels = [("reason", *reason)];
                ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
