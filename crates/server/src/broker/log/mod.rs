//! The books of a log: what is kept of which channel, what goes first, and which cursors can be
//! honoured. The same for every broker of this process, wherever its publications lie.
//!
//! Whoever has the books has them for itself. So what may be much to do is done in [steps](STEP), between which others may have
//! them.

mod asked;
mod bounds;
mod left;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::broker::Retention;
use crate::channel::Channel;
use crate::cursor::Epoch;
use crate::publication::Publication;

pub(super) use self::asked::cut;
use self::bounds::Trim;
pub(super) use self::bounds::in_steps;
pub(super) use self::left::Left;

/// What the books hold of one publication: itself, or where it lies.
pub(super) trait Entry: Clone {
    /// Its offset in the log.
    fn offset(&self) -> u64;
    /// What it counts for; see [`Publication::weight`].
    fn weight(&self) -> usize;
}

impl Entry for Arc<Publication> {
    fn offset(&self) -> u64 {
        Publication::offset(self)
    }

    fn weight(&self) -> usize {
        Publication::weight(self)
    }
}

/// All that is kept.
#[derive(Debug)]
pub(super) struct Log<E> {
    retention: Retention,
    /// Bytes of all channels where the retention leaves that to the broker.
    total_bytes: usize,
    epoch: Epoch,
    /// Offset of the last publication appended.
    last: u64,
    /// Every kept publication by its offset.
    entries: BTreeMap<u64, Kept<E>>,
    weight: usize,
    channels: BTreeMap<Channel, History<E>>,
    /// Every known channel by whether it has publications and the offset of its last one, kept or
    /// not: those to be forgotten first come first.
    recency: BTreeMap<(bool, u64), Channel>,
    /// When to look for what is too old, one entry for each channel that has something: not after its
    /// first publication's time comes, and before it where that one went for another reason.
    due: BTreeMap<Due, Channel>,
    /// The one floor of all forgotten channels.
    forgotten: u64,
    /// The greatest floor there is: no cursor from there on needs a look at the channels.
    highest_floor: u64,
    drops: Option<Vec<Dropped>>,
}

/// A time, and an offset that makes it one of its own.
type Due = (Duration, u64);

/// One publication in the order of all.
#[derive(Debug)]
struct Kept<E> {
    at: Duration,
    channel: Channel,
    entry: E,
}

/// What is kept of one channel.
#[derive(Debug)]
struct History<E> {
    entries: VecDeque<E>,
    weight: usize,
    /// The greatest offset dropped.
    floor: u64,
    /// Its key in [`Log::due`].
    due: Option<Due>,
}

/// Something that was dropped and is not yet gone from where it lies.
#[derive(Debug, Clone)]
pub(super) struct Dropped {
    pub(super) channel: Channel,
    /// The publication's offset, or `None` for the channel, which was forgotten.
    pub(super) offset: Option<u64>,
}

impl<E: Entry> History<E> {
    fn new(floor: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            weight: 0,
            floor,
            due: None,
        }
    }

    /// The key of its channel in [`Log::recency`].
    fn recency(&self) -> (bool, u64) {
        match self.entries.back() {
            Some(latest) => (true, latest.offset()),
            None => (false, self.floor),
        }
    }

    /// The entries after `offset`.
    fn after(&self, offset: u64) -> impl Iterator<Item = &E> {
        let from = self.entries.partition_point(|e| e.offset() <= offset);
        self.entries.range(from..)
    }
}

impl<E: Entry> Log<E> {
    /// An empty log whose next offset comes after `last`. Of all channels it keeps `total_bytes` where
    /// `retention` does not say.
    pub(super) fn new(retention: Retention, total_bytes: usize, epoch: Epoch, last: u64) -> Self {
        Self {
            retention,
            total_bytes,
            epoch,
            last,
            entries: BTreeMap::new(),
            weight: 0,
            channels: BTreeMap::new(),
            recency: BTreeMap::new(),
            due: BTreeMap::new(),
            forgotten: 0,
            highest_floor: 0,
            drops: None,
        }
    }

    /// From now on, [`take_drops`](Self::take_drops) tells what was dropped.
    pub(super) fn note_drops(&mut self) {
        self.drops = Some(Vec::new());
    }

    /// What was dropped since the last time.
    pub(super) fn take_drops(&mut self) -> Vec<Dropped> {
        self.drops.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Offset of the last publication appended.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The one floor of all forgotten channels.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Publications kept, what they weigh, and the channels known.
    pub(super) fn size(&self) -> (usize, usize, usize) {
        (self.entries.len(), self.weight, self.channels.len())
    }

    /// Offset of the channel's last publication, kept or not: its floor once it is dropped.
    pub(super) fn last_of(&self, channel: &Channel) -> u64 {
        self.channels
            .get(channel)
            .map_or(self.forgotten, |history| history.recency().1)
    }

    /// The floor of a known channel that has no publications.
    pub(super) fn floor_of_emptied(&self, channel: &Channel) -> Option<u64> {
        let history = self.channels.get(channel)?;
        history.entries.is_empty().then_some(history.floor)
    }

    pub(super) fn knows(&self, channel: &Channel) -> bool {
        self.channels.contains_key(channel)
    }

    /// Adds what was published on `channel` at `at`, and drops what is then over a bound.
    pub(super) fn push(&mut self, channel: Channel, entry: E, at: Duration) {
        // All of a channel share one name.
        let known = self.channels.get_key_value(&channel);
        let channel = known.map(|(known, _)| known.clone()).unwrap_or(channel);
        let weight = entry.weight();
        self.last = entry.offset();
        self.weight += weight;
        // A channel that is not known may be one that was forgotten.
        let forgotten = self.forgotten;
        let history = self
            .channels
            .entry(channel.clone())
            .or_insert_with(|| History::new(forgotten));
        self.recency.remove(&history.recency());
        history.weight += weight;
        history.entries.push_back(entry.clone());
        self.recency.insert(history.recency(), channel.clone());
        let kept = Kept {
            at,
            channel: channel.clone(),
            entry,
        };
        self.entries.insert(self.last, kept);
        self.make_room(&channel, weight);
    }

    /// Takes over what was known before: the log's end, which may be after all that is kept.
    pub(super) fn set_last(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    /// Takes over what was known before: the floor of all forgotten channels.
    pub(super) fn set_forgotten(&mut self, floor: u64) {
        self.forgotten = floor;
        self.highest_floor = self.highest_floor.max(floor);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;

    use super::*;
    use crate::config::HistoryLimits;
    use crate::cursor::Cursor;
    use crate::publication::Content;

    /// The books agree with what is there, whatever happens.
    #[test]
    fn nothing_is_kept_beside_what_is_counted() {
        let limits = HistoryLimits {
            count: 3,
            bytes: 4 * Publication::OVERHEAD,
            total_bytes: Some(12 * Publication::OVERHEAD),
            channels: 5,
            age: Duration::from_millis(40),
        };
        let epoch = Epoch::random();
        let mut log = Log::new(limits.clone().into(), 0, epoch, 0);
        log.note_drops();
        let mut dropped = 0;
        let mut pushed = 0;
        for step in 0..2000_usize {
            let channel: Channel = format!("c/{}", step * step % 7).parse().unwrap();
            if step % 11 == 0 {
                assert!(!log.remove(&channel, u64::MAX));
                continue;
            }
            let content = Content::new("text/plain", Bytes::from(vec![b'x'; step % 900])).unwrap();
            let cursor = Cursor::after(epoch, step as u64);
            let publication =
                Publication::new(channel.clone(), cursor, Timestamp::UNIX_EPOCH, content);
            let now = Duration::from_millis(step as u64);
            log.push(channel, Arc::new(publication), now);
            pushed += 1;
            if step % 5 == 0 {
                assert!(!log.expire(now));
                assert!(log.entries.values().all(|kept| kept.at + limits.age > now));
            }
            for drop in log.take_drops() {
                if let Some(offset) = drop.offset {
                    assert!(!log.entries.contains_key(&offset));
                    dropped += 1;
                }
            }
            assert_eq!(log.entries.len(), pushed - dropped);
            let histories = log.channels.values();
            assert_eq!(
                histories.clone().map(|h| h.entries.len()).sum::<usize>(),
                log.entries.len()
            );
            assert_eq!(
                histories.clone().map(|h| h.weight).sum::<usize>(),
                log.weight
            );
            assert!(
                histories
                    .clone()
                    .all(|h| h.entries.len() <= 3 && h.weight <= limits.bytes)
            );
            assert!(Some(log.weight) <= limits.total_bytes);
            assert!(log.channels.len() <= limits.channels);
            assert_eq!(log.recency.len(), log.channels.len());
            for (key, channel) in &log.recency {
                assert_eq!(log.channels[channel].recency(), *key);
            }
            for (key, channel) in &log.due {
                assert_eq!(log.channels[channel].due, Some(*key));
            }
            for history in log.channels.values() {
                assert!(history.due.is_some() || history.entries.is_empty());
                assert!(history.due.is_none_or(|due| log.due.contains_key(&due)));
            }
        }
    }
}
