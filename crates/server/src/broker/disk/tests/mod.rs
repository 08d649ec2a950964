//! What only a log on disk can show: that it outlives its process, whatever happens to its files.

mod damage;
mod reading;
mod restart;

use std::fs;

use bytes::Bytes;
use jiff::Timestamp;
use tempfile::TempDir;

use super::place::LOG;
use super::*;
use crate::broker::suite::{Bench, broker_suite};
use crate::broker::{Fingerprint, Idempotency, KEY_LIFETIME, Scope};
use crate::clock::manual::ManualClock;
use crate::config::HistoryLimits;
use crate::cursor::Cursor;
use crate::hub::Lagged;

fn bench(retention: Retention, keys: usize) -> Bench {
    let place = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let time = Arc::clone(&clock) as Arc<dyn Clock>;
    let hub = Hub::new(1 << 20);
    Bench {
        broker: Arc::new(DiskBroker::with_clock(place.path(), retention, keys, hub, time).unwrap()),
        clock,
        _place: Some(place),
    }
}

broker_suite!(bench);

/// A log that is closed and opened again; a clock whose time of day can be set.
struct Life {
    dir: TempDir,
    limits: HistoryLimits,
    clock: Arc<DayClock>,
    broker: DiskBroker,
}

#[derive(Debug, Default)]
struct DayClock {
    passed: ManualClock,
    day: Mutex<Duration>,
}

impl DayClock {
    /// The clock of a process that is started that long after 1970.
    fn at(day: Duration) -> Arc<Self> {
        Arc::new(Self {
            passed: ManualClock::default(),
            day: Mutex::new(day),
        })
    }
}

impl Clock for DayClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + *self.day.lock().unwrap() + self.passed.elapsed()
    }

    fn elapsed(&self) -> Duration {
        self.passed.elapsed()
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn open(
    dir: &Path,
    limits: &HistoryLimits,
    clock: &Arc<DayClock>,
) -> Result<DiskBroker, OpenError> {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    DiskBroker::with_clock(dir, limits.clone(), 10, Hub::new(1 << 20), clock)
}

impl Life {
    fn begin(limits: HistoryLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = DayClock::at(20_000 * DAY);
        let broker = open(dir.path(), &limits, &clock).unwrap();
        Self {
            dir,
            limits,
            clock,
            broker,
        }
    }

    /// The next process, after that time; its clock begins anew.
    async fn again(self, after: Duration) -> Self {
        let day = *self.clock.day.lock().unwrap() + self.clock.elapsed() + after;
        self.again_at(day).await
    }

    async fn again_at(mut self, day: Duration) -> Self {
        self.broker.close().await.unwrap();
        self.clock = DayClock::at(day);
        self.broker = open(self.dir.path(), &self.limits, &self.clock).unwrap();
        self
    }

    async fn publish(&self, name: &str, body: &str) -> Cursor {
        let appended = self
            .broker
            .append(channel(name), content(body), AppendOptions::default())
            .await;
        appended.unwrap().cursor
    }

    async fn publish_keyed(&self, body: &str, key: &str) -> Result<Appended, BrokerError> {
        let content = content(body);
        let idempotency = Idempotency {
            scope: Scope::new("", &channel("a"), key),
            fingerprint: Fingerprint::new(&content),
        };
        let options = AppendOptions::default().idempotency(Some(idempotency));
        self.broker.append(channel("a"), content, options).await
    }

    async fn read(&self, filter: &str, since: Cursor) -> (Vec<String>, bool) {
        read(&self.broker, filter, Since::Cursor(since)).await
    }
}

async fn read(broker: &DiskBroker, filter: &str, since: Since) -> (Vec<String>, bool) {
    let page = broker
        .read(&filter.parse().unwrap(), since, usize::MAX)
        .await;
    let page = page.unwrap();
    let bodies = page
        .publications
        .iter()
        .map(|publication| body(publication));
    (bodies.collect(), page.recovered)
}

fn channel(name: &str) -> Channel {
    name.parse().unwrap()
}

fn content(body: &str) -> Content {
    Content::new("text/plain", Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn body(publication: &Publication) -> String {
    publication.content().text().unwrap().to_owned()
}

fn small() -> HistoryLimits {
    HistoryLimits {
        count: 3,
        channels: 3,
        ..HistoryLimits::default()
    }
}

fn all<const N: usize>(bodies: [&str; N], recovered: bool) -> (Vec<String>, bool) {
    (bodies.map(str::to_owned).to_vec(), recovered)
}

/// The database, for a look at what a user of `sqlite3` sees.
fn sql(life: &Life) -> rusqlite::Connection {
    rusqlite::Connection::open(life.dir.path().join(LOG)).unwrap()
}
