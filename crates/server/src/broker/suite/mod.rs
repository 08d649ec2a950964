//! What every broker must pass, whatever it keeps its log in.

mod history;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::clock::manual::ManualClock;
use crate::config::HistoryLimits;

pub(crate) use self::history::*;

/// A fresh broker under test, and its time.
pub(crate) struct Bench {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) clock: Arc<ManualClock>,
    /// What has to live as long as the broker.
    pub(crate) _place: Option<tempfile::TempDir>,
}

/// Makes a test of each rule for the broker that `$make` makes from limits and a bound of keys.
macro_rules! broker_suite {
    ($make:path) => {
        $crate::broker::suite::broker_suite!(@ $make,
            offsets_grow_and_the_latest_is_the_last,
            what_is_read_is_what_was_published,
            a_start_is_the_latest_then_what_comes,
            a_resume_is_exactly_what_was_missed,
            a_pattern_has_one_cursor_for_many_channels,
            a_page_never_skips,
            the_latest_of_many_channels_can_be_taken_in_pages,
            a_dropped_publication_is_a_gap,
            a_removed_channel_is_a_gap,
            a_gap_elsewhere_is_none_here,
            a_cursor_that_this_log_never_gave_is_a_gap,
            age_drops_the_latest_too,
            bytes_bound_a_channel,
            bytes_bound_all_channels_together,
            forgotten_channels_share_one_floor,
            a_namespace_has_bounds_of_its_own,
            a_namespace_may_keep_the_latest_alone,
            a_namespace_may_keep_nothing_and_says_so,
            each_namespace_has_an_age_of_its_own,
            a_bound_made_smaller_is_in_force_with_the_next_question,
            a_bound_made_larger_brings_nothing_back,
            publishing_and_listening_go_on_while_much_is_dropped,
            a_retry_gets_the_first_answer,
            a_key_for_another_publication_is_refused,
            a_key_is_forgotten_after_its_time,
            keys_are_bounded,
            thousands_missed_come_in_order,
            joining_history_and_live_has_no_hole_and_no_double,
            retries_at_the_same_time_publish_once,
        );
    };
    (@ $make:path, $($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                $crate::broker::suite::$case($make).await;
            }
        )*
    };
}
pub(crate) use broker_suite;

type Make = fn(Retention, usize) -> Bench;

impl Bench {
    async fn publish(&self, name: &str, body: &str) -> Cursor {
        publish(&*self.broker, name, body).await
    }

    async fn publish_keyed(
        &self,
        name: &str,
        body: &str,
        key: &str,
    ) -> Result<Appended, BrokerError> {
        publish_keyed(&*self.broker, name, body, key).await
    }

    async fn latest(&self, name: &str) -> Option<String> {
        let latest = self.broker.latest(&channel(name)).await.unwrap();
        latest.map(|publication| body(&publication))
    }

    async fn read(&self, filter: &str, since: Since, limit: usize) -> (Vec<String>, Cursor, bool) {
        let filter = filter.parse().unwrap();
        let page = self.broker.read(&filter, since, limit).await.unwrap();
        (bodies(&page.publications), page.cursor, page.recovered)
    }

    async fn subscribe(&self, filter: &str, since: Since) -> Subscription {
        self.broker
            .subscribe(&filter.parse().unwrap(), since)
            .await
            .unwrap()
    }

    /// Reads and subscribes, which must tell the same, and says what.
    async fn resume(&self, filter: &str, cursor: Cursor) -> (Vec<String>, bool) {
        let (read, _, recovered) = self.read(filter, Since::Cursor(cursor), usize::MAX).await;
        let mut subscription = self.subscribe(filter, Since::Cursor(cursor)).await;
        assert_eq!(
            (missed(&mut subscription).await, subscription.recovered),
            (read.clone(), recovered)
        );
        (read, recovered)
    }
}

fn channel(name: &str) -> Channel {
    name.parse().unwrap()
}

fn content(body: &str) -> Content {
    Content::new("text/plain", Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

async fn publish(broker: &dyn Broker, name: &str, body: &str) -> Cursor {
    broker
        .append(channel(name), content(body), AppendOptions::default())
        .await
        .unwrap()
        .cursor
}

async fn publish_keyed(
    broker: &dyn Broker,
    name: &str,
    body: &str,
    key: &str,
) -> Result<Appended, BrokerError> {
    let content = content(body);
    let idempotency = Idempotency {
        scope: Scope::new("", &channel(name), key),
        fingerprint: Fingerprint::new(&content),
    };
    let options = AppendOptions::default().idempotency(Some(idempotency));
    broker.append(channel(name), content, options).await
}

/// What comes next; what does not come in ten seconds never comes.
async fn next(live: &mut Live) -> Arc<Publication> {
    let next = tokio::time::timeout(Duration::from_secs(10), live.next());
    next.await.expect("a publication is missing").unwrap()
}

async fn next_body(live: &mut Live) -> String {
    let publication = next(live).await;
    body(&publication)
}

fn body(publication: &Publication) -> String {
    String::from_utf8(publication.content().body().to_vec()).unwrap()
}

/// All that a subscriber missed.
async fn missed(subscription: &mut Subscription) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some(publication) = subscription.missed.next().await.unwrap() {
        bodies.push(body(&publication));
    }
    bodies
}

fn bodies(publications: &[Arc<Publication>]) -> Vec<String> {
    publications
        .iter()
        .map(|publication| body(publication))
        .collect()
}

fn small() -> HistoryLimits {
    HistoryLimits {
        count: 3,
        ..HistoryLimits::default()
    }
}

pub(crate) async fn offsets_grow_and_the_latest_is_the_last(make: Make) {
    let bench = make(small().into(), 10);
    assert_eq!(bench.latest("a").await, None);
    let mut last = 0;
    for name in ["a", "b", "a", "a", "b"] {
        let cursor = bench.publish(name, &format!("{name} {last}")).await;
        assert!(cursor.offset > last);
        assert_eq!(bench.latest(name).await, Some(format!("{name} {last}")));
        last = cursor.offset;
    }
}

pub(crate) async fn what_is_read_is_what_was_published(make: Make) {
    let bench = make(small().into(), 10);
    let sent = Content::new("image/png", Bytes::from_static(b"\x00\xff\r\n")).unwrap();
    let appended = bench
        .broker
        .append(channel("a/b"), sent.clone(), AppendOptions::default())
        .await
        .unwrap();
    let latest = bench.broker.latest(&channel("a/b")).await.unwrap().unwrap();
    assert_eq!(latest.content(), &sent);
    assert_eq!(latest.channel(), &channel("a/b"));
    assert_eq!(latest.cursor(), appended.cursor);
    assert_eq!(latest.time(), appended.time);
}

pub(crate) async fn a_start_is_the_latest_then_what_comes(make: Make) {
    let bench = make(small().into(), 10);
    let mut empty = bench.subscribe("a", Since::Start).await;
    assert!(empty.recovered && empty.missed.is_empty());
    bench.publish("a", "1").await;
    let second = bench.publish("a", "2").await;
    assert_eq!(next_body(&mut empty.live).await, "1");

    let mut started = bench.subscribe("a", Since::Start).await;
    assert!(started.recovered);
    assert_eq!(missed(&mut started).await, ["2"]);
    bench.publish("a", "3").await;
    assert_eq!(next_body(&mut started.live).await, "3");

    // From the places that both began at, nothing was lost.
    assert_eq!(
        bench.resume("a", empty.cursor).await,
        (vec!["1".into(), "2".into(), "3".into()], true)
    );
    assert_eq!(
        bench.resume("a", started.cursor).await,
        (vec!["2".into(), "3".into()], true)
    );
    assert_eq!(bench.resume("a", second).await, (vec!["3".into()], true));
}

pub(crate) async fn a_resume_is_exactly_what_was_missed(make: Make) {
    let bench = make(small().into(), 10);
    let first = bench.publish("a", "1").await;
    bench.publish("other", "x").await;
    let second = bench.publish("a", "2").await;
    bench.publish("a", "3").await;
    assert_eq!(
        bench.resume("a", first).await,
        (vec!["2".into(), "3".into()], true)
    );
    assert_eq!(bench.resume("a", second).await, (vec!["3".into()], true));
    let mut resumed = bench.subscribe("a", Since::Cursor(first)).await;
    assert_eq!(resumed.cursor, first);
    bench.publish("a", "4").await;
    bench.publish("other", "y").await;
    bench.publish("a", "5").await;
    assert_eq!(next_body(&mut resumed.live).await, "4");
    assert_eq!(next_body(&mut resumed.live).await, "5");
    assert!(resumed.live.try_next().unwrap().is_none());
}

pub(crate) async fn a_pattern_has_one_cursor_for_many_channels(make: Make) {
    let bench = make(small().into(), 10);
    bench.publish("f/a", "a1").await;
    bench.publish("f/b", "b1").await;
    let here = bench.publish("f/a", "a2").await;
    bench.publish("g", "no").await;
    bench.publish("f/c/d", "deep").await;
    bench.publish("f/b", "b2").await;

    assert_eq!(bench.resume("f/*", here).await, (vec!["b2".into()], true));
    assert_eq!(
        bench.resume("f/**", here).await,
        (vec!["deep".into(), "b2".into()], true)
    );
    assert_eq!(
        missed(&mut bench.subscribe("f/**", Since::Start).await).await,
        ["a2", "deep", "b2"]
    );
    let mut live = bench.subscribe("f/*", Since::Start).await.live;
    bench.publish("f/c/d", "deep2").await;
    bench.publish("f/new", "n").await;
    assert_eq!(next_body(&mut live).await, "n");
}

pub(crate) async fn a_page_never_skips(make: Make) {
    let bench = make(HistoryLimits::default().into(), 10);
    let start = bench.subscribe("a", Since::Start).await.cursor;
    let mut wanted = Vec::new();
    for number in 0..25 {
        bench.publish("a", &number.to_string()).await;
        bench.publish("b", "no").await;
        wanted.push(number.to_string());
    }
    for filter in ["a", "*"] {
        let (mut got, mut cursor) = (Vec::new(), start);
        loop {
            let (page, next, recovered) = bench.read(filter, Since::Cursor(cursor), 7).await;
            assert!(recovered && page.len() <= 7);
            if page.is_empty() {
                break;
            }
            got.extend(page.into_iter().filter(|body| body != "no"));
            cursor = next;
        }
        assert_eq!(got, wanted, "{filter}");
    }
}

pub(crate) async fn the_latest_of_many_channels_can_be_taken_in_pages(make: Make) {
    let bench = make(small().into(), 10);
    for number in 0..10 {
        bench
            .publish(&format!("quiet/{number}"), &format!("q{number}"))
            .await;
    }
    // Its floor is above all the quiet ones.
    for number in 0..9 {
        bench.publish("busy/0", &format!("b{number}")).await;
    }
    for (since, first) in [(Since::Start, true), (Since::Unknown, false)] {
        let (mut got, mut cursor, recovered) = bench.read("**", since, 4).await;
        assert_eq!(recovered, first);
        bench.publish("quiet/0", "later").await;
        loop {
            let (page, next, recovered) = bench.read("**", Since::Cursor(cursor), 4).await;
            assert!(recovered, "the next page of a snapshot is no gap");
            cursor = next;
            if page.is_empty() {
                break;
            }
            got.extend(page);
        }
        assert_eq!(got.len(), 12, "{got:?}");
        assert_eq!(got[10..], ["b8", "later"]);
        bench.publish("quiet/0", "q0").await;
        bench.publish("busy/0", "b8").await;
        // The second round begins with all channels as it was told, in the order of the offsets.
        for number in 0..10 {
            bench
                .publish(&format!("quiet/{number}"), &format!("q{number}"))
                .await;
        }
        bench.publish("busy/0", "b8").await;
    }
}

pub(crate) async fn a_dropped_publication_is_a_gap(make: Make) {
    let bench = make(small().into(), 10);
    let mut cursors = Vec::new();
    for number in 1..=5 {
        cursors.push(bench.publish("a", &number.to_string()).await);
    }
    let latest = (vec!["5".to_owned()], false);
    assert_eq!(bench.resume("a", cursors[0]).await, latest, "2 was dropped");
    assert_eq!(bench.resume("*", cursors[0]).await, latest);
    let rest: Vec<String> = vec!["3".into(), "4".into(), "5".into()];
    assert_eq!(
        bench.resume("a", cursors[1]).await,
        (rest.clone(), true),
        "it has 2"
    );
    assert_eq!(bench.resume("*", cursors[1]).await, (rest, true));
}

pub(crate) async fn a_removed_channel_is_a_gap(make: Make) {
    let bench = make(small().into(), 10);
    let first = bench.publish("a", "1").await;
    let second = bench.publish("a", "2").await;
    let mut live = bench.subscribe("a", Since::Start).await.live;
    bench.broker.remove(&channel("a")).await.unwrap();
    bench.broker.remove(&channel("never")).await.unwrap();
    assert_eq!(bench.latest("a").await, None);
    assert_eq!(bench.resume("a", first).await, (vec![], false));
    assert_eq!(bench.resume("*", first).await, (vec![], false));
    assert_eq!(bench.resume("a", second).await, (vec![], true));
    let third = bench.publish("a", "3").await;
    assert!(third.offset > second.offset, "an offset is not used twice");
    assert_eq!(bench.resume("a", first).await, (vec!["3".into()], false));
    assert_eq!(bench.resume("a", second).await, (vec!["3".into()], true));
    assert_eq!(next_body(&mut live).await, "3", "subscribers stay");
}

pub(crate) async fn a_gap_elsewhere_is_none_here(make: Make) {
    let bench = make(small().into(), 10);
    let here = bench.publish("quiet/x", "1").await;
    bench.publish("quiet/x", "2").await;
    for number in 0..9 {
        bench.publish("busy/x", &number.to_string()).await;
    }
    assert_eq!(
        bench.resume("quiet/x", here).await,
        (vec!["2".into()], true)
    );
    assert_eq!(
        bench.resume("quiet/*", here).await,
        (vec!["2".into()], true)
    );
    assert!(!bench.resume("*/x", here).await.1);
    assert_eq!(bench.resume("never", here).await, (vec![], true));
}

pub(crate) async fn a_cursor_that_this_log_never_gave_is_a_gap(make: Make) {
    let bench = make(small().into(), 10);
    let end = bench.publish("a", "1").await;
    let beyond = Cursor::after(end.epoch, end.offset + 1);
    let foreign = Cursor::after(crate::cursor::Epoch::random(), end.offset);
    for cursor in [
        beyond,
        foreign,
        Cursor {
            settled: end.offset + 1,
            ..end
        },
    ] {
        assert_eq!(bench.resume("a", cursor).await, (vec!["1".into()], false));
        assert_eq!(bench.resume("empty", cursor).await, (vec![], false));
    }
    let mut unknown = bench.subscribe("a", Since::Unknown).await;
    assert!(!unknown.recovered);
    assert_eq!(missed(&mut unknown).await, ["1"]);
}

pub(crate) async fn age_drops_the_latest_too(make: Make) {
    let bench = make(small().into(), 10);
    let day = HistoryLimits::default().age;
    let start = bench.subscribe("a", Since::Start).await.cursor;
    let first = bench.publish("a", "1").await;
    bench.clock.advance(day / 2);
    bench.publish("a", "2").await;
    bench.clock.advance(day / 2 - Duration::from_millis(1));
    assert!(bench.resume("a", start).await.1);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.resume("a", start).await, (vec!["2".into()], false));
    assert_eq!(bench.resume("a", first).await, (vec!["2".into()], true));
    bench.clock.advance(day / 2);
    assert_eq!(bench.latest("a").await, None);
    assert_eq!(bench.resume("a", first).await, (vec![], false));
}

pub(crate) async fn bytes_bound_a_channel(make: Make) {
    let one = Publication::OVERHEAD + "a".len() + "text/plain".len() + 100;
    let bench = make(
        HistoryLimits {
            bytes: 2 * one,
            ..HistoryLimits::default()
        }
        .into(),
        10,
    );
    let start = bench.subscribe("a", Since::Start).await.cursor;
    let first = bench.publish("a", &"1".repeat(100)).await;
    bench.publish("a", &"2".repeat(100)).await;
    assert!(bench.resume("a", start).await.1);
    bench.publish("a", &"3".repeat(100)).await;
    assert!(!bench.resume("a", start).await.1);
    assert_eq!(bench.resume("a", first).await.0.len(), 2);
}

pub(crate) async fn bytes_bound_all_channels_together(make: Make) {
    let one = Publication::OVERHEAD + "a".len() + "text/plain".len() + 100;
    let limits = HistoryLimits {
        total_bytes: Some(2 * one),
        ..HistoryLimits::default()
    };
    let bench = make(limits.into(), 10);
    let start = bench.subscribe("**", Since::Start).await.cursor;
    for name in ["a", "b", "c"] {
        bench.publish(name, &"x".repeat(100)).await;
    }
    assert_eq!(bench.latest("a").await, None, "the oldest of all went");
    assert!(bench.latest("b").await.is_some());
    assert!(!bench.resume("**", start).await.1);
    assert!(!bench.resume("a", start).await.1);
    assert!(bench.resume("b", start).await.1);
}

pub(crate) async fn forgotten_channels_share_one_floor(make: Make) {
    let bench = make(
        HistoryLimits {
            channels: 2,
            ..HistoryLimits::default()
        }
        .into(),
        10,
    );
    let start = bench.subscribe("**", Since::Start).await.cursor;
    let a = bench.publish("a", "a").await;
    let b = bench.publish("b", "b").await;
    bench.broker.remove(&channel("b")).await.unwrap();
    bench.publish("c", "c").await;
    // The emptied one was forgotten before the older one with a publication.
    assert_eq!(bench.latest("a").await, Some("a".into()));
    assert_eq!(bench.resume("a", start).await, (vec!["a".into()], true));
    assert_eq!(bench.resume("b", a).await, (vec![], false));
    assert_eq!(bench.resume("b", b).await, (vec![], true));
    assert!(
        !bench.resume("never", a).await.1,
        "nobody can tell it from a forgotten one"
    );

    bench.publish("d", "d").await;
    assert_eq!(
        bench.latest("a").await,
        None,
        "the one whose latest was the oldest went"
    );
    assert!(!bench.resume("a", start).await.1);
    // One that comes back has the floor of all that were forgotten.
    bench.publish("b", "again").await;
    assert_eq!(bench.resume("b", a).await, (vec!["again".into()], false));
    assert!(bench.resume("d", b).await.1 || bench.latest("d").await.is_none());
}

pub(crate) async fn a_retry_gets_the_first_answer(make: Make) {
    let bench = make(small().into(), 10);
    let first = bench.publish_keyed("a", "1", "k").await.unwrap();
    bench.publish("a", "2").await;
    bench.clock.advance(KEY_LIFETIME - Duration::from_secs(1));
    assert_eq!(bench.publish_keyed("a", "1", "k").await.unwrap(), first);
    assert_eq!(
        bench.latest("a").await,
        Some("2".into()),
        "it was not published again"
    );
    bench.broker.remove(&channel("a")).await.unwrap();
    assert_eq!(bench.publish_keyed("a", "1", "k").await.unwrap(), first);
    // The same key elsewhere is another key.
    assert_ne!(bench.publish_keyed("b", "1", "k").await.unwrap(), first);
}

pub(crate) async fn a_key_for_another_publication_is_refused(make: Make) {
    let bench = make(small().into(), 10);
    bench.publish_keyed("a", "1", "k").await.unwrap();
    assert_eq!(
        bench.publish_keyed("a", "2", "k").await,
        Err(BrokerError::KeyReused)
    );
    assert_eq!(bench.latest("a").await, Some("1".into()));
}

pub(crate) async fn a_key_is_forgotten_after_its_time(make: Make) {
    let bench = make(small().into(), 1);
    let first = bench.publish_keyed("a", "1", "k").await.unwrap();
    bench.clock.advance(KEY_LIFETIME);
    assert_ne!(bench.publish_keyed("a", "1", "k").await.unwrap(), first);
}

pub(crate) async fn keys_are_bounded(make: Make) {
    let bench = make(small().into(), 2);
    let first = bench.publish_keyed("a", "1", "k1").await.unwrap();
    bench.clock.advance(Duration::from_secs(60));
    bench.publish_keyed("a", "2", "k2").await.unwrap();
    let retry_after = KEY_LIFETIME - Duration::from_secs(60);
    assert_eq!(
        bench.publish_keyed("a", "3", "k3").await,
        Err(BrokerError::Busy { retry_after })
    );
    assert_eq!(bench.latest("a").await, Some("2".into()));
    assert_eq!(bench.publish_keyed("a", "1", "k1").await.unwrap(), first);
    bench.publish("a", "without a key").await;
    bench.clock.advance(retry_after);
    bench.publish_keyed("a", "3", "k3").await.unwrap();
}

pub(crate) async fn thousands_missed_come_in_order(make: Make) {
    let limits = HistoryLimits {
        count: 10_000,
        bytes: 64 << 20,
        ..HistoryLimits::default()
    };
    let bench = make(limits.into(), 10);
    let start = bench.subscribe("a", Since::Start).await.cursor;
    for number in 0..5000 {
        bench.publish("a", &number.to_string()).await;
    }
    let mut one = bench.subscribe("a", Since::Cursor(start)).await;
    let mut two = bench.subscribe("*", Since::Cursor(start)).await;
    assert!(one.recovered && two.recovered);
    let wanted: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
    assert_eq!(missed(&mut one).await, wanted);
    assert_eq!(missed(&mut two).await, wanted);
}

pub(crate) async fn joining_history_and_live_has_no_hole_and_no_double(make: Make) {
    const EACH: usize = 200;
    let limits = HistoryLimits {
        count: 10_000,
        ..HistoryLimits::default()
    };
    let bench = make(limits.into(), 10);
    let broker = &bench.broker;
    let start = bench.subscribe("**", Since::Start).await.cursor;
    let publishers: Vec<_> = (0..4)
        .map(|publisher| {
            let broker = Arc::clone(broker);
            tokio::spawn(async move {
                for number in 0..EACH {
                    publish(&*broker, &format!("p/{publisher}"), &number.to_string()).await;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let subscribers: Vec<_> = (0..16)
        .map(|subscriber| {
            let broker = Arc::clone(broker);
            tokio::spawn(async move {
                for _ in 0..subscriber * 5 {
                    tokio::task::yield_now().await;
                }
                let filter: Filter = "p/*".parse().unwrap();
                let mut subscription = broker
                    .subscribe(&filter, Since::Cursor(start))
                    .await
                    .unwrap();
                assert!(subscription.recovered);
                let mut seen: Vec<(u64, String)> = Vec::new();
                let mut note = |publication: &Publication| {
                    seen.push((
                        publication.offset(),
                        format!("{} {}", publication.channel(), body(publication)),
                    ));
                };
                let mut count = 0;
                while let Some(publication) = subscription.missed.next().await.unwrap() {
                    note(&publication);
                    count += 1;
                }
                let mut live = subscription.live;
                for _ in count..4 * EACH {
                    let publication = next(&mut live).await;
                    note(&publication);
                }
                assert!(live.try_next().unwrap().is_none());
                assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "each once, in order");
                seen
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let mut seen = Vec::new();
    for subscriber in subscribers {
        seen.push(subscriber.await.unwrap());
    }
    assert!(seen.iter().all(|one| *one == seen[0]), "all see one order");
    for publisher in 0..4 {
        let own = format!("p/{publisher} ");
        let numbers = seen[0]
            .iter()
            .filter_map(|(_, text)| text.strip_prefix(&own));
        assert!(numbers.eq((0..EACH).map(|number| number.to_string())));
    }
}

pub(crate) async fn retries_at_the_same_time_publish_once(make: Make) {
    let bench = make(HistoryLimits::default().into(), 10);
    let start = bench.subscribe("a", Since::Start).await.cursor;
    let tries: Vec<_> = (0..16)
        .map(|_| {
            let broker = Arc::clone(&bench.broker);
            tokio::spawn(async move { publish_keyed(&*broker, "a", "1", "k").await.unwrap() })
        })
        .collect();
    let mut answers = Vec::new();
    for attempt in tries {
        answers.push(attempt.await.unwrap());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(bench.resume("a", start).await, (vec!["1".into()], true));
}
