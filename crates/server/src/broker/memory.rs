//! The memory broker: one log in this process, gone with it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{self, BoxFuture, FutureExt as _};

use super::idempotency::Keys;
use super::{Appended, Broker, BrokerError, Idempotency, Page, Since, Subscription};
use crate::channel::{Channel, Filter};
use crate::clock::{Clock, SystemClock};
use crate::config::HistoryLimits;
use crate::cursor::{Cursor, Epoch};
use crate::hub::Hub;
use crate::publication::{Content, Publication};

/// A [`Broker`] that keeps its log in memory. Each one is an epoch of its own: after a restart
/// every cursor is a gap.
#[derive(Debug)]
pub struct MemoryBroker {
    log: Mutex<Log>,
    hub: Hub,
    clock: Arc<dyn Clock>,
}

impl MemoryBroker {
    /// An empty log within `limits`, with room for `keys` idempotency keys, that hands what is
    /// published to `hub`.
    pub fn new(limits: HistoryLimits, keys: usize, hub: Hub) -> Self {
        Self::with_clock(limits, keys, hub, Arc::new(SystemClock::new()))
    }

    /// The same, by a clock of the caller's.
    pub fn with_clock(limits: HistoryLimits, keys: usize, hub: Hub, clock: Arc<dyn Clock>) -> Self {
        Self {
            log: Mutex::new(Log::new(limits, keys)),
            hub,
            clock,
        }
    }

    /// The log, rid of what is too old by now.
    fn log(&self) -> MutexGuard<'_, Log> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.expire(self.clock.elapsed());
        log
    }

    fn append_now(
        &self,
        channel: Channel,
        content: Content,
        idempotency: Option<Idempotency>,
    ) -> Result<Appended, BrokerError> {
        let now = self.clock.elapsed();
        let mut log = self.log();
        if let Some(asked) = &idempotency
            && let Some(appended) = log.keys.look(now, asked)?
        {
            return Ok(appended);
        }
        let cursor = Cursor::after(log.epoch, log.last + 1);
        let publication = Arc::new(Publication::new(channel, cursor, self.clock.now(), content));
        let appended = Appended {
            cursor,
            time: publication.time(),
        };
        if let Some(asked) = &idempotency {
            log.keys.remember(now, asked, appended);
        }
        log.push(Arc::clone(&publication), now);
        // The hub is taken before the log is let go: subscribers see the log's order, and one who
        // subscribes in between finds this publication in the log and is not in the hub yet.
        let mut hub = self.hub.lock();
        drop(log);
        hub.publish(&publication);
        Ok(appended)
    }

    fn subscribe_now(&self, filter: &Filter, since: Since) -> Subscription {
        let log = self.log();
        let recovered = log.honours(filter, since);
        let (cursor, missed) = match since {
            Since::Cursor(cursor) if recovered => (cursor, log.after(filter, cursor, usize::MAX)),
            _ => {
                let latest = log.latest_of(filter);
                let before = latest.first().map_or(log.last, |first| first.offset() - 1);
                (Cursor::after(log.epoch, before), latest)
            }
        };
        let mut hub = self.hub.lock();
        drop(log);
        Subscription {
            cursor,
            recovered,
            missed,
            live: hub.subscribe(filter),
        }
    }
}

impl Broker for MemoryBroker {
    fn append(
        &self,
        channel: Channel,
        content: Content,
        idempotency: Option<Idempotency>,
    ) -> BoxFuture<'_, Result<Appended, BrokerError>> {
        future::lazy(move |_| self.append_now(channel, content, idempotency)).boxed()
    }

    fn latest<'a>(
        &'a self,
        channel: &'a Channel,
    ) -> BoxFuture<'a, Result<Option<Arc<Publication>>, BrokerError>> {
        future::lazy(move |_| Ok(self.log().latest(channel))).boxed()
    }

    fn read<'a>(
        &'a self,
        filter: &'a Filter,
        since: Since,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, BrokerError>> {
        future::lazy(move |_| Ok(self.log().read(filter, since, limit))).boxed()
    }

    fn subscribe<'a>(
        &'a self,
        filter: &'a Filter,
        since: Since,
    ) -> BoxFuture<'a, Result<Subscription, BrokerError>> {
        future::lazy(move |_| Ok(self.subscribe_now(filter, since))).boxed()
    }

    fn remove<'a>(&'a self, channel: &'a Channel) -> BoxFuture<'a, Result<(), BrokerError>> {
        future::lazy(move |_| {
            self.log().remove(channel);
            Ok(())
        })
        .boxed()
    }
}

/// All that is kept.
#[derive(Debug)]
struct Log {
    limits: HistoryLimits,
    epoch: Epoch,
    /// Offset of the last publication appended.
    last: u64,
    /// Every kept publication by its offset, with the time of its append.
    entries: BTreeMap<u64, (Duration, Arc<Publication>)>,
    weight: usize,
    channels: BTreeMap<Channel, History>,
    /// Every known channel by whether it has publications and the offset of its last one, kept or
    /// not: those to be forgotten first come first.
    recency: BTreeMap<(bool, u64), Channel>,
    /// The one floor of all forgotten channels.
    forgotten: u64,
    /// The greatest floor there is: no cursor from there on needs a look at the channels.
    highest_floor: u64,
    keys: Keys,
}

/// What is kept of one channel.
#[derive(Debug)]
struct History {
    publications: VecDeque<Arc<Publication>>,
    weight: usize,
    /// The greatest offset dropped.
    floor: u64,
}

impl History {
    /// The key of its channel in [`Log::recency`].
    fn recency(&self) -> (bool, u64) {
        match self.publications.back() {
            Some(latest) => (true, latest.offset()),
            None => (false, self.floor),
        }
    }

    /// The publications after `offset`.
    fn after(&self, offset: u64) -> impl Iterator<Item = &Arc<Publication>> {
        let from = self.publications.partition_point(|p| p.offset() <= offset);
        self.publications.range(from..)
    }
}

impl Log {
    fn new(limits: HistoryLimits, keys: usize) -> Self {
        Self {
            limits,
            epoch: Epoch::random(),
            last: 0,
            entries: BTreeMap::new(),
            weight: 0,
            channels: BTreeMap::new(),
            recency: BTreeMap::new(),
            forgotten: 0,
            highest_floor: 0,
            keys: Keys::new(keys),
        }
    }

    fn latest(&self, channel: &Channel) -> Option<Arc<Publication>> {
        self.channels.get(channel)?.publications.back().cloned()
    }

    fn read(&self, filter: &Filter, since: Since, limit: usize) -> Page {
        let limit = limit.max(1);
        let recovered = self.honours(filter, since);
        let (mut publications, settled) = match since {
            // One more than asked for tells whether the page is the last.
            Since::Cursor(cursor) if recovered => (
                self.after(filter, cursor, limit.saturating_add(1)),
                cursor.settled,
            ),
            _ => (self.latest_of(filter), self.last),
        };
        let cut = publications.len() > limit;
        publications.truncate(limit);
        let cursor = match publications.last() {
            Some(last) if cut => {
                let offset = last.offset();
                Cursor {
                    epoch: self.epoch,
                    offset,
                    settled: settled.max(offset),
                }
            }
            _ => Cursor::after(self.epoch, self.last),
        };
        Page {
            publications,
            cursor,
            recovered,
        }
    }

    /// Whether nothing was lost for one who comes from there.
    fn honours(&self, filter: &Filter, since: Since) -> bool {
        match since {
            Since::Start => true,
            Since::Unknown => false,
            Since::Cursor(cursor) => {
                cursor.epoch == self.epoch
                    && cursor.settled <= self.last
                    && (cursor.settled >= self.highest_floor
                        || cursor.settled >= self.floor(filter))
            }
        }
    }

    /// The greatest floor of the channels that `filter` covers.
    fn floor(&self, filter: &Filter) -> u64 {
        match filter {
            Filter::Exact(channel) => self
                .channels
                .get(channel)
                .map_or(self.forgotten, |history| history.floor),
            Filter::Pattern(_) => self
                .matching(filter)
                .map(|history| history.floor)
                .fold(self.forgotten, u64::max),
        }
    }

    /// At most `limit` publications after `cursor`; of those that it counts as settled, only the
    /// latest of each channel at that time.
    fn after(&self, filter: &Filter, cursor: Cursor, limit: usize) -> Vec<Arc<Publication>> {
        let wanted = |publication: &&Arc<Publication>| {
            publication.offset() > cursor.settled || self.was_latest(publication, cursor.settled)
        };
        match filter {
            Filter::Exact(channel) => {
                let history = self.channels.get(channel).into_iter();
                history
                    .flat_map(|h| h.after(cursor.offset))
                    .filter(wanted)
                    .take(limit)
                    .cloned()
                    .collect()
            }
            Filter::Pattern(_) => self
                .entries
                .range((Bound::Excluded(cursor.offset), Bound::Unbounded))
                .map(|(_, (_, publication))| publication)
                .filter(|publication| filter.matches(publication.channel()))
                .filter(wanted)
                .take(limit)
                .cloned()
                .collect(),
        }
    }

    /// Whether this was its channel's latest when `offset` was the log's end.
    fn was_latest(&self, publication: &Publication, offset: u64) -> bool {
        let history = self.channels.get(publication.channel());
        let next = history.and_then(|h| h.after(publication.offset()).next());
        next.is_none_or(|next| next.offset() > offset)
    }

    /// The latest publication of each matching channel, in the order of their offsets.
    fn latest_of(&self, filter: &Filter) -> Vec<Arc<Publication>> {
        match filter {
            Filter::Exact(channel) => self.latest(channel).into_iter().collect(),
            Filter::Pattern(_) => {
                let mut latest: Vec<_> = self
                    .matching(filter)
                    .filter_map(|history| history.publications.back().cloned())
                    .collect();
                latest.sort_unstable_by_key(|publication| publication.offset());
                latest
            }
        }
    }

    /// The histories of all known channels that a pattern fits.
    fn matching<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a History> {
        let prefix = match filter {
            Filter::Exact(channel) => channel.as_str(),
            Filter::Pattern(pattern) => pattern.prefix(),
        };
        self.channels
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(channel, _)| channel.as_str().starts_with(prefix))
            .filter(|(channel, _)| filter.matches(channel))
            .map(|(_, history)| history)
    }

    fn push(&mut self, publication: Arc<Publication>, now: Duration) {
        let channel = publication.channel().clone();
        let weight = publication.weight();
        self.last = publication.offset();
        self.weight += weight;
        self.entries
            .insert(self.last, (now, Arc::clone(&publication)));

        let forgotten = self.forgotten;
        let history = self
            .channels
            .entry(channel.clone())
            .or_insert_with(|| History {
                publications: VecDeque::new(),
                weight: 0,
                // It may be one that was forgotten.
                floor: forgotten,
            });
        self.recency.remove(&history.recency());
        history.weight += weight;
        history.publications.push_back(publication);
        self.recency.insert(history.recency(), channel.clone());

        while self.channels.get(&channel).is_some_and(|history| {
            history.publications.len() > self.limits.count || history.weight > self.limits.bytes
        }) {
            self.drop_first_of(&channel);
        }
        while self.weight > self.limits.total_bytes {
            self.drop_oldest();
        }
        while self.channels.len() > self.limits.channels {
            self.forget_one();
        }
    }

    /// Drops what is too old at `now`.
    fn expire(&mut self, now: Duration) {
        while let Some(entry) = self.entries.first_entry()
            && now.saturating_sub(entry.get().0) >= self.limits.age
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.first_entry() {
            let channel = entry.get().1.channel().clone();
            self.drop_first_of(&channel);
        }
    }

    /// Drops a channel's oldest publication.
    fn drop_first_of(&mut self, channel: &Channel) {
        let Some(history) = self.channels.get_mut(channel) else {
            return;
        };
        let before = history.recency();
        let Some(publication) = history.publications.pop_front() else {
            return;
        };
        let weight = publication.weight();
        history.weight -= weight;
        history.floor = publication.offset();
        self.highest_floor = self.highest_floor.max(history.floor);
        self.weight -= weight;
        self.entries.remove(&publication.offset());
        let after = history.recency();
        if after != before {
            self.recency.remove(&before);
            self.recency.insert(after, channel.clone());
        }
    }

    fn remove(&mut self, channel: &Channel) {
        while self
            .channels
            .get(channel)
            .is_some_and(|history| !history.publications.is_empty())
        {
            self.drop_first_of(channel);
        }
    }

    /// Forgets the channel that is missed the least: one without publications, else the one whose
    /// latest is the oldest.
    fn forget_one(&mut self) {
        let Some((_, channel)) = self.recency.pop_first() else {
            return;
        };
        self.remove(&channel);
        if let Some(history) = self.channels.remove(&channel) {
            self.recency.remove(&history.recency());
            self.forgotten = self.forgotten.max(history.floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::suite::{Bench, broker_suite};
    use crate::clock::manual::ManualClock;

    fn bench(limits: HistoryLimits, keys: usize) -> Bench {
        let clock = Arc::new(ManualClock::default());
        let time = Arc::clone(&clock) as Arc<dyn Clock>;
        Bench {
            broker: Arc::new(MemoryBroker::with_clock(
                limits,
                keys,
                Hub::new(1 << 20),
                time,
            )),
            advance: Box::new(move |by| clock.advance(by)),
        }
    }

    broker_suite!(bench);

    /// The books agree with what is there, whatever happens.
    #[test]
    fn nothing_is_kept_beside_what_is_counted() {
        let limits = HistoryLimits {
            count: 3,
            bytes: 4 * Publication::OVERHEAD,
            total_bytes: 12 * Publication::OVERHEAD,
            channels: 5,
            ..HistoryLimits::default()
        };
        let broker = MemoryBroker::new(limits.clone(), 1, Hub::new(1));
        for step in 0..2000_usize {
            let channel: Channel = format!("c/{}", step * step % 7).parse().unwrap();
            if step % 11 == 0 {
                broker.log().remove(&channel);
                continue;
            }
            let content = Content::new("text/plain", vec![b'x'; step % 900].into()).unwrap();
            broker.append_now(channel, content, None).unwrap();
            let log = broker.log();
            let histories = log.channels.values();
            assert_eq!(
                histories
                    .clone()
                    .map(|h| h.publications.len())
                    .sum::<usize>(),
                log.entries.len()
            );
            assert_eq!(
                histories.clone().map(|h| h.weight).sum::<usize>(),
                log.weight
            );
            assert!(
                histories
                    .clone()
                    .all(|h| h.publications.len() <= 3 && h.weight <= limits.bytes)
            );
            assert!(log.weight <= limits.total_bytes);
            assert!(log.channels.len() <= limits.channels);
            assert_eq!(log.recency.len(), log.channels.len());
            for (key, channel) in &log.recency {
                assert_eq!(log.channels[channel].recency(), *key);
            }
        }
    }
}
