//! What only a log on disk can show: that it outlives its process, whatever happens to its files.

use std::fs;

use bytes::Bytes;
use jiff::Timestamp;
use tempfile::TempDir;

use super::place::LOG;
use super::*;
use crate::broker::suite::{Bench, broker_suite};
use crate::broker::{Fingerprint, KEY_LIFETIME, Scope};
use crate::clock::manual::ManualClock;
use crate::cursor::Cursor;
use crate::hub::Lagged;

fn bench(limits: HistoryLimits, keys: usize) -> Bench {
    let place = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let time = Arc::clone(&clock) as Arc<dyn Clock>;
    let hub = Hub::new(1 << 20);
    Bench {
        broker: Arc::new(DiskBroker::with_clock(place.path(), limits, keys, hub, time).unwrap()),
        advance: Box::new(move |by| clock.advance(by)),
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
        let appended = self.broker.append(channel(name), content(body), None).await;
        appended.unwrap().cursor
    }

    async fn publish_keyed(&self, body: &str, key: &str) -> Result<Appended, BrokerError> {
        let content = content(body);
        let idempotency = Idempotency {
            scope: Scope::new("", &channel("a"), key),
            fingerprint: Fingerprint::new(&content),
        };
        self.broker
            .append(channel("a"), content, Some(idempotency))
            .await
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

#[tokio::test]
async fn a_restart_keeps_publications_cursors_and_offsets() {
    let life = Life::begin(small());
    let start = life.publish("a", "1").await;
    let second = life.publish("b", "2").await;
    let image = Content::new("image/png", Bytes::from_static(b"\x00\xff")).unwrap();
    life.broker
        .append(channel("a"), image.clone(), None)
        .await
        .unwrap();
    let before = life.broker.latest(&channel("a")).await.unwrap().unwrap();

    let life = life.again(Duration::ZERO).await;
    let after = life.broker.latest(&channel("a")).await.unwrap().unwrap();
    assert_eq!(after.content(), &image);
    assert_eq!(
        (after.cursor(), after.time()),
        (before.cursor(), before.time())
    );
    assert_eq!(life.read("b", start).await, all(["2"], true));
    assert_eq!(life.read("b", second).await, all([], true));
    let next = life.publish("a", "3").await;
    assert_eq!(next.epoch, start.epoch);
    assert!(next.offset > after.offset());
}

#[tokio::test]
async fn a_restart_keeps_the_floors_of_every_kind() {
    let life = Life::begin(small());
    let start = life.publish("bounded", "1").await;
    let kept = life.publish("bounded", "2").await;
    for number in 3..=5 {
        life.publish("bounded", &number.to_string()).await;
    }
    let removed = life.publish("removed", "x").await;
    life.broker.remove(&channel("removed")).await.unwrap();

    // Twice, so that what the first one took out is gone by then.
    let mut life = life;
    for _ in 0..2 {
        life = life.again(Duration::ZERO).await;
        assert_eq!(life.read("bounded", start).await, all(["5"], false));
        assert_eq!(life.read("bounded", kept).await, all(["3", "4", "5"], true));
        assert_eq!(life.read("removed", kept).await, all([], false));
        assert_eq!(life.read("removed", removed).await, all([], true));
        assert_eq!(life.read("never", start).await, all([], true));
    }

    // Four channels are one too many: the emptied one is forgotten, and its floor is everyone's.
    life.publish("c", "c").await;
    life.publish("d", "d").await;
    for _ in 0..2 {
        life = life.again(Duration::ZERO).await;
        assert_eq!(life.read("never", kept).await, all([], false));
        assert_eq!(life.read("never", removed).await, all([], true));
    }
    life.publish("removed", "y").await;
    assert_eq!(life.broker.stats().channels, 3);
}

#[tokio::test]
async fn what_was_removed_stays_removed() {
    let life = Life::begin(small());
    let first = life.publish("a", "1").await;
    life.publish("a", "2").await;
    life.broker.remove(&channel("a")).await.unwrap();
    life.publish("a", "3").await;
    let life = life.again(Duration::ZERO).await.again(Duration::ZERO).await;
    assert_eq!(life.read("a", first).await, all(["3"], false));
    assert_eq!(life.broker.stats().publications, 1);
}

#[tokio::test]
async fn the_end_of_the_log_outlives_all_that_is_in_it() {
    let life = Life::begin(small());
    let last = life.publish("a", "1").await;
    let life = life.again(DAY).await;
    assert_eq!(life.broker.stats().publications, 0);
    let life = life.again(Duration::ZERO).await;
    assert_eq!(life.read("a", last).await, all([], true));
    let next = life.publish("a", "2").await;
    assert!(next.offset > last.offset && next.epoch == last.epoch);
}

#[tokio::test]
async fn an_age_goes_on_while_no_process_runs() {
    let life = Life::begin(small());
    let start = life.publish("a", "1").await;
    life.clock.passed.advance(DAY / 4);
    let second = life.publish("a", "2").await;
    let life = life.again(DAY / 2).await;
    assert_eq!(life.read("a", start).await, all(["2"], true));
    life.clock.passed.advance(DAY / 4);
    assert_eq!(
        life.read("a", start).await,
        all(["2"], true),
        "it has the one that is too old"
    );
    life.clock.passed.advance(DAY / 4);
    assert_eq!(life.read("a", start).await, all([], false));
    assert_eq!(life.read("a", second).await, all([], true));
}

#[tokio::test]
async fn a_time_of_day_that_jumps_back_loses_nothing_and_keeps_nothing_for_ever() {
    let life = Life::begin(small());
    let start = life.publish("a", "1").await;
    // Two years back while no process runs, and two days back in the midst of one.
    let life = life.again_at(19_270 * DAY).await;
    assert_eq!(life.read("a", start).await, all([], true));
    let second = life.publish("a", "2").await;
    assert!(second.offset > start.offset && second.epoch == start.epoch);
    *life.clock.day.lock().unwrap() -= 2 * DAY;
    life.publish("a", "3").await;
    assert_eq!(life.read("a", start).await, all(["2", "3"], true));
    let life = life.again(DAY - Duration::from_secs(1)).await;
    assert_eq!(life.broker.stats().publications, 3);
    let life = life.again(Duration::from_secs(1)).await;
    assert_eq!(life.broker.stats().publications, 0);
}

#[tokio::test]
async fn a_key_outlives_the_process_and_its_publication() {
    let life = Life::begin(small());
    let first = life.publish_keyed("1", "k").await.unwrap();
    life.broker.remove(&channel("a")).await.unwrap();
    let half = KEY_LIFETIME / 2;
    let life = life.again(half).await;
    assert_eq!(life.publish_keyed("1", "k").await, Ok(first));
    assert_eq!(
        life.publish_keyed("2", "k").await,
        Err(BrokerError::KeyReused)
    );
    let life = life.again(half).await;
    assert_ne!(life.publish_keyed("1", "k").await, Ok(first));
    life.broker.close().await.unwrap();
    let keys: u32 = sql(&life)
        .query_row("SELECT count(*) FROM keys", (), |row| row.get(0))
        .unwrap();
    assert_eq!(keys, 1, "the one that is over is gone from the disk too");
}

#[tokio::test]
async fn what_is_dropped_is_taken_out_of_the_file() {
    let life = Life::begin(small());
    for number in 0..100 {
        life.publish("a", &number.to_string()).await;
    }
    life.broker.close().await.unwrap();
    let rows: u32 = sql(&life)
        .query_row("SELECT count(*) FROM log", (), |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 3);
}

#[tokio::test]
async fn smaller_limits_are_in_force_at_once() {
    let life = Life::begin(small());
    let start = life.publish("a", "1").await;
    life.publish("a", "2").await;
    life.publish("a", "3").await;
    let mut life = life;
    life.limits.count = 1;
    let life = life.again(Duration::ZERO).await;
    assert_eq!(life.read("a", start).await, all(["3"], false));
}

#[tokio::test]
async fn a_large_history_is_read_in_pages_while_it_grows() {
    let limits = HistoryLimits {
        count: 10_000,
        bytes: 64 << 20,
        ..HistoryLimits::default()
    };
    let life = Life::begin(limits);
    let start = life.publish("a", "start").await;
    let large = "x".repeat(3000);
    let texts: Vec<String> = (0..1500)
        .map(|number| format!("{number} {large}"))
        .collect();
    futures_util::future::join_all(texts.iter().map(|text| life.publish("a", text))).await;
    // Nothing of it is in memory any more.
    let life = life.again(Duration::ZERO).await;
    for filter in ["a", "*"] {
        let filter: Filter = filter.parse().unwrap();
        let subscription = life.broker.subscribe(&filter, Since::Cursor(start)).await;
        let mut subscription = subscription.unwrap();
        assert!(subscription.recovered);
        let mut seen = Vec::new();
        while let Some(publication) = subscription.missed.next().await.unwrap() {
            if seen.len() % 100 == 0 {
                life.publish("a", "meanwhile").await;
            }
            seen.push(publication.offset());
        }
        let page = life
            .broker
            .read(&filter, Since::Cursor(start), 2000)
            .await
            .unwrap();
        assert!(
            page.publications.len() < 1500,
            "an answer is bounded in bytes"
        );
        while let Some(publication) = subscription.live.try_next().unwrap() {
            assert_eq!(body(&publication), "meanwhile");
            seen.push(publication.offset());
        }
        assert!(seen.is_sorted_by(|a, b| a < b));
        assert_eq!(
            u64::try_from(seen.len()).unwrap(),
            life.broker.shared.state().log.last() - 1
        );
    }
}

#[tokio::test]
async fn what_is_dropped_before_a_slow_subscriber_takes_it_is_no_silent_gap() {
    let limits = HistoryLimits {
        count: 600,
        ..HistoryLimits::default()
    };
    let life = Life::begin(limits);
    let start = life.publish("a", "start").await;
    for number in 0..599 {
        life.publish("a", &number.to_string()).await;
    }
    let filter: Filter = "a".parse().unwrap();
    let subscription = life.broker.subscribe(&filter, Since::Cursor(start)).await;
    let mut missed = subscription.unwrap().missed;
    assert_eq!(body(&missed.next().await.unwrap().unwrap()), "0");
    life.broker.remove(&channel("a")).await.unwrap();
    let ended = loop {
        match missed.next().await {
            Ok(publication) => assert!(publication.is_some(), "the rest was lost in silence"),
            Err(lagged) => break lagged,
        }
    };
    assert_eq!(ended, Lagged);
}

#[tokio::test]
async fn what_waits_at_the_end_is_written_and_what_comes_later_is_told() {
    let limits = HistoryLimits {
        count: 1000,
        ..HistoryLimits::default()
    };
    let life = Life::begin(limits);
    let waiting = (0..200).map(|number| {
        life.broker
            .append(channel("a"), content(&number.to_string()), None)
    });
    let (answers, closed) =
        tokio::join!(futures_util::future::join_all(waiting), life.broker.close());
    closed.unwrap();
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(answers.iter().all(|answer| matches!(
        answer,
        Ok(_) | Err(BrokerError::Unavailable(Outage::Closed))
    )));
    let late = life
        .broker
        .append(channel("a"), content("late"), None)
        .await;
    assert_eq!(late, Err(Outage::Closed.into()));
    let broker = open(life.dir.path(), &life.limits, &life.clock).unwrap();
    assert_eq!(broker.stats().publications, taken);
}

/// The database, for a look at what a user of `sqlite3` sees.
fn sql(life: &Life) -> rusqlite::Connection {
    rusqlite::Connection::open(life.dir.path().join(LOG)).unwrap()
}

#[tokio::test]
async fn a_directory_has_one_server() {
    let life = Life::begin(small());
    let refused = open(life.dir.path(), &small(), &life.clock).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    assert!(
        refused
            .to_string()
            .contains(life.dir.path().to_str().unwrap())
    );
    drop(life.broker);
    open(life.dir.path(), &small(), &life.clock).unwrap();
}

#[tokio::test]
async fn what_is_no_log_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let clock = DayClock::at(DAY);
    let file = dir.path().join("file");
    fs::write(&file, "hello").unwrap();
    assert!(matches!(
        open(&file, &small(), &clock),
        Err(OpenError::NotDirectory { .. })
    ));
    assert!(matches!(
        open(&file.join("below"), &small(), &clock),
        Err(OpenError::Directory { .. })
    ));

    let log = dir.path().join(LOG);
    fs::write(&log, "hello, this is no database; it is a text").unwrap();
    let refused = open(dir.path(), &small(), &clock).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert_eq!(
        fs::read(&log).unwrap(),
        b"hello, this is no database; it is a text"
    );

    fs::remove_file(&log).unwrap();
    let other = rusqlite::Connection::open(&log).unwrap();
    other.execute_batch("CREATE TABLE theirs (a)").unwrap();
    drop(other);
    assert!(matches!(
        open(dir.path(), &small(), &clock),
        Err(OpenError::Foreign { .. })
    ));
}

#[tokio::test]
async fn a_newer_form_is_refused_and_left_as_it_is() {
    let life = Life::begin(small());
    life.publish("a", "1").await;
    life.broker.close().await.unwrap();
    sql(&life).pragma_update(None, "user_version", 7).unwrap();
    let before = fs::read(life.dir.path().join(LOG)).unwrap();
    let refused = open(life.dir.path(), &small(), &life.clock).unwrap_err();
    assert!(
        matches!(
            refused,
            OpenError::Newer {
                found: 7,
                known: 1,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(fs::read(life.dir.path().join(LOG)).unwrap(), before);
}

/// Copies the files of a log, as they are now.
fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

#[tokio::test]
async fn a_copy_begins_a_new_epoch_and_uses_no_offset_again() {
    let life = Life::begin(small());
    let first = life.publish("a", "1").await;
    let backup = tempfile::tempdir().unwrap();
    let path = backup.path().join(LOG);
    // As docs/storage.md says, while the server runs.
    sql(&life)
        .execute("VACUUM INTO ?1", (path.to_str().unwrap(),))
        .unwrap();
    let lost = life.publish("a", "2").await;

    let broker = open(backup.path(), &small(), &life.clock).unwrap();
    assert_eq!(read(&broker, "a", Since::Start).await, all(["1"], true));
    for cursor in [first, lost] {
        let gap = read(&broker, "a", Since::Cursor(cursor)).await;
        assert_eq!(gap, all(["1"], false));
    }
    drop(broker);

    // All files, while nobody writes: elsewhere, and put back over those that are there.
    life.broker.close().await.unwrap();
    let there = life.dir.path();
    let files = [LOG, "mark", "identity"].map(|name| (name, fs::read(there.join(name)).unwrap()));
    let elsewhere = copy(there);
    for dir in [elsewhere.path(), there] {
        for (name, bytes) in &files {
            fs::write(dir.join(name), bytes).unwrap();
        }
        let broker = open(dir, &small(), &life.clock).unwrap();
        let gap = read(&broker, "a", Since::Cursor(first)).await;
        assert_eq!(gap, all(["2"], false), "{dir:?}");
        let next = broker
            .append(channel("a"), content("3"), None)
            .await
            .unwrap();
        assert!(next.cursor.offset > lost.offset);
        broker.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_log_put_back_alone_begins_a_new_epoch() {
    let life = Life::begin(small());
    let first = life.publish("a", "1").await;
    let life = life.again(Duration::ZERO).await;
    let old = fs::read(life.dir.path().join(LOG)).unwrap();
    let life = life.again(Duration::ZERO).await;
    let lost = life.publish("a", "2").await;
    life.broker.close().await.unwrap();
    // Into the same file, so that only what it lacks tells.
    fs::write(life.dir.path().join(LOG), old).unwrap();
    let broker = open(life.dir.path(), &small(), &life.clock).unwrap();
    assert_eq!(
        read(&broker, "a", Since::Cursor(first)).await,
        all(["1"], false)
    );
    let next = broker
        .append(channel("a"), content("3"), None)
        .await
        .unwrap();
    assert!(next.cursor.offset > lost.offset && next.cursor.epoch != lost.epoch);
}

#[tokio::test]
async fn a_log_that_is_cut_or_garbled_anywhere_is_a_whole_beginning_or_refused() {
    let life = Life::begin(HistoryLimits::default());
    for number in 0..60 {
        life.publish("a", &format!("{number} {}", "x".repeat(100)))
            .await;
    }
    let life = life.again(Duration::ZERO).await;
    // Half of it in the file, half of it in the tail that is not yet part of it.
    for number in 60..90 {
        life.publish("a", &format!("{number} {}", "x".repeat(100)))
            .await;
    }
    let wal = format!("{LOG}-wal");
    let (mut whole, mut cut, mut refused) = (0, 0, 0);
    for name in [LOG, &wal] {
        let bytes = fs::read(life.dir.path().join(name)).unwrap();
        for step in 0..30 {
            let at = step * bytes.len() / 30 + step;
            for garble in [false, true] {
                let copy = copy(life.dir.path());
                let mut bytes = bytes.clone();
                if garble {
                    let end = bytes.len().min(at + 16);
                    bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
                } else {
                    bytes.truncate(at);
                }
                fs::write(copy.path().join(name), bytes).unwrap();
                let broker = match open(copy.path(), &HistoryLimits::default(), &life.clock) {
                    Ok(broker) => broker,
                    Err(
                        OpenError::Damaged { .. }
                        | OpenError::Foreign { .. }
                        | OpenError::Newer { .. },
                    ) => {
                        refused += 1;
                        continue;
                    }
                    Err(error) => panic!("{name} at {at}: {error:?}"),
                };
                let start = Cursor::after(broker.shared.state().log.epoch(), 0);
                let (got, recovered) = read(&broker, "a", Since::Cursor(start)).await;
                assert!(recovered);
                for (number, text) in got.iter().enumerate() {
                    assert_eq!(
                        *text,
                        format!("{number} {}", "x".repeat(100)),
                        "{name} at {at}"
                    );
                }
                if got.len() == 90 {
                    whole += 1;
                } else {
                    cut += 1;
                }
            }
        }
    }
    assert!(
        whole > 0 && cut > 0 && refused > 0,
        "{whole} {cut} {refused}"
    );
}
