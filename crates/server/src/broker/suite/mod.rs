//! What every broker must pass, whatever it keeps its log in.

mod gaps;
mod history;
mod keys;
mod order;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::clock::manual::ManualClock;
use crate::config::HistoryLimits;

pub(crate) use self::gaps::*;
pub(crate) use self::history::*;
pub(crate) use self::keys::*;
pub(crate) use self::order::*;

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
