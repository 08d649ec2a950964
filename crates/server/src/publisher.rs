//! The one path on which everything is published, whether it comes by HTTP or from this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;

use crate::broker::{
    AppendOptions, Appended, Broker, BrokerError, Fingerprint, Idempotency, Scope,
};
use crate::channel::{Channel, NameError};
use crate::metrics::Metrics;
use crate::publication::{Content, ContentError};
use crate::traces::{Traces, Within};

/// A handle that publishes as `POST` does, from inside the process. Cheap to clone.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use openline_server::{Config, Server};
///
/// let config = Config { listen: "127.0.0.1:0".parse()?, ..Config::default() };
/// let server = Server::bind(config).await?;
/// let publisher = server.publisher();
/// let published = publisher.publish("flights/UA1545-EWR", "text/plain", "late").await?;
/// println!("stands before {}", published.cursor);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Publisher {
    broker: Arc<dyn Broker>,
    limit: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
    traces: Traces,
}

impl Publisher {
    /// Publishes to `broker` bodies of at most `limit` bytes.
    pub(crate) fn new(
        broker: Arc<dyn Broker>,
        limit: usize,
        metrics: Arc<Metrics>,
        traces: Traces,
    ) -> Self {
        Self {
            broker,
            limit: Arc::new(AtomicUsize::new(limit)),
            metrics,
            traces,
        }
    }

    /// Takes bodies of at most that many bytes from now on, as every clone does.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Publishes `body` on `channel`. When it returns `Ok` the publication is in the log, as
    /// durable as the broker makes it.
    pub async fn publish(
        &self,
        channel: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<Published, PublishError> {
        let channel = channel.parse()?;
        let appended = self
            .append(channel, content_type, body.into(), None, Within::Nothing)
            .await?;
        Ok(Published {
            cursor: appended.cursor.to_string(),
            time: appended.time,
        })
    }

    /// Checks and appends; a retry in the same `scope` is known by it.
    pub(crate) async fn append(
        &self,
        channel: Channel,
        content_type: &str,
        body: Bytes,
        scope: Option<Scope>,
        within: Within,
    ) -> Result<Appended, PublishError> {
        let span = self.traces.publication(within, &channel, body.len());
        let outcome = self.check_in(channel, content_type, body, scope).await;
        if let Some(span) = span {
            let cursor = outcome.as_ref().map(|appended| appended.cursor.to_string());
            span.published(cursor);
        }
        outcome
    }

    async fn check_in(
        &self,
        channel: Channel,
        content_type: &str,
        body: Bytes,
        scope: Option<Scope>,
    ) -> Result<Appended, PublishError> {
        let limit = self.limit.load(Ordering::Relaxed);
        if body.len() > limit {
            return Err(PublishError::TooLarge { limit });
        }
        let content = Content::new(content_type, body)?;
        let idempotency = scope.map(|scope| Idempotency {
            scope,
            fingerprint: Fingerprint::new(&content),
        });
        let options = AppendOptions::default().idempotency(idempotency);
        let begun = Instant::now();
        let appended = self.broker.append(channel, content, options).await?;
        self.metrics.published(begun.elapsed());
        Ok(appended)
    }
}

/// Where a publication stands in its log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The place just after it, as clients know it: opaque.
    pub cursor: String,
    /// When it was appended, by the server's clock, in whole milliseconds.
    pub time: Timestamp,
}

/// Why something was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The channel's name is none, or a pattern.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The body does not fit its type.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The body is larger than [`Config::max_publication`](crate::Config::max_publication).
    #[error("the body is larger than {limit} bytes, the most that this server takes")]
    TooLarge {
        /// The most bytes that a body may have.
        limit: usize,
    },
    /// The broker did not take it.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl PublishError {
    /// The kind of it, which says nothing of what was published.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Name(_) => "name",
            Self::Content(_) => "content",
            Self::TooLarge { .. } => "too_large",
            Self::Broker(_) => "log",
        }
    }
}
