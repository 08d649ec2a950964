//! The way of spans to the collector, in batches, at its pace and not at the server's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Counts, Span, otlp};
use crate::fetch::{Fetch, FetchError};

/// Most spans in one request.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time for the collector to take a batch.
const DEADLINE: Duration = Duration::from_secs(10);
/// Pauses between the tries of a batch; after the last it is dropped.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// Time for what is left when the server has ended.
const FLUSH: Duration = Duration::from_secs(5);
/// Most bytes of the collector's answer.
const MAX_ANSWER: usize = 64 * 1024;

/// Sends spans to the collector.
#[derive(Debug)]
pub(crate) struct Exporter {
    fetch: Fetch,
    spans: mpsc::Receiver<Span>,
    counts: Arc<Counts>,
    /// This process's name among others.
    instance: String,
    /// Whether the last request failed.
    fails: bool,
}

impl Exporter {
    pub(super) fn new(fetch: Fetch, spans: mpsc::Receiver<Span>, counts: Arc<Counts>) -> Self {
        Self {
            fetch,
            spans,
            counts,
            instance: format!("{:032x}", rand::random::<u128>()),
            fails: false,
        }
    }

    /// Sends what comes until `end`, then what is left, within a few seconds.
    pub(crate) async fn run(mut self, end: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        let until_end = end.run_until_cancelled(async {
            loop {
                self.gather(&mut batch).await;
                self.send(&mut batch).await;
            }
        });
        until_end.await;
        let rest = async {
            loop {
                while batch.len() < BATCH
                    && let Ok(span) = self.spans.try_recv()
                {
                    batch.push(span);
                }
                if batch.is_empty() || self.post(&batch).await.is_err() {
                    break;
                }
                batch.clear();
            }
        };
        if timeout(FLUSH, rest).await.is_err() || !batch.is_empty() {
            let lost = batch.len() + self.spans.len();
            tracing::warn!(lost, "spans were left when the server ended");
            self.counts.dropped(lost);
        }
    }

    /// Fills `batch`, until it is full or its first span has waited long enough. Cancel-safe.
    async fn gather(&mut self, batch: &mut Vec<Span>) {
        // Every clone of the sender may be gone; then nothing comes any more.
        if self.spans.recv_many(batch, BATCH).await == 0 {
            std::future::pending::<()>().await;
        }
        let others = async {
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                if self.spans.recv_many(batch, room).await == 0 {
                    break;
                }
            }
        };
        // Over the time: what has come is enough.
        let _ = timeout(INTERVAL, others).await;
    }

    /// Hands `batch` over, or drops it after some tries. Cancelled, it keeps it, and a collector may get it twice: it knows
    /// spans by their numbers.
    async fn send(&mut self, batch: &mut Vec<Span>) {
        let mut pauses = PAUSES.into_iter();
        loop {
            let error = match self.post(batch).await {
                Ok(()) => break,
                Err(error) => error,
            };
            if !self.fails {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the collector (traces.endpoint) takes no spans");
                self.fails = true;
            }
            match pauses.next().filter(|_| may_pass(&error)) {
                Some(pause) => sleep(pause).await,
                None => {
                    self.counts.dropped(batch.len());
                    break;
                }
            }
        }
        batch.clear();
    }

    async fn post(&mut self, batch: &[Span]) -> Result<(), FetchError> {
        let body = Bytes::from(otlp::request(batch, &self.instance));
        let json = HeaderValue::from_static("application/json");
        let fields = vec![(CONTENT_TYPE, json)];
        let answer = self.fetch.post(fields, body, MAX_ANSWER, DEADLINE).await?;
        let rejected = otlp::rejected(&answer).min(batch.len());
        self.counts.dropped(rejected);
        self.counts.exported(batch.len() - rejected);
        if std::mem::take(&mut self.fails) {
            tracing::warn!("the collector (traces.endpoint) takes spans again");
        }
        Ok(())
    }
}

/// Whether it may be better later, as OTLP has it.
fn may_pass(error: &FetchError) -> bool {
    match error {
        FetchError::Status(status) => matches!(
            *status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        ),
        FetchError::Late(_) | FetchError::Connect(_) => true,
        _ => false,
    }
}
