//! What waits for one subscriber that need not be sent everything: of some channels only the newest,
//! and for some subscribers in a rhythm.
//!
//! What is sent keeps the order of the log, so that the last cursor seen always stands for all that
//! the subscriber was to see. Therefore one that listens to a channel with a rate is sent everything
//! in one rhythm, the slowest of those that it asked for.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::channel::{Channel, Filter};
use crate::publication::Publication;

/// Who need not be sent everything.
pub(crate) trait Thinning: fmt::Debug + Send + Sync {
    /// How one is served that listens by that filter; `None` if it is sent everything.
    fn of(&self, filter: &Filter) -> Option<Rhythm>;

    /// Whether the newest publication of that channel makes those before it needless.
    fn is_thinned(&self, channel: &Channel) -> bool;
}

/// How often one is sent something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rhythm {
    /// As fast as it takes it.
    Free,
    /// Not before so much time has passed.
    Every(Duration),
}

/// What waits, by offset, so in the order of the log.
#[derive(Debug)]
pub(super) struct Kept {
    waiting: BTreeMap<u64, Arc<Publication>>,
    weight: usize,
    /// The offset of the one that waits, of each channel of which only the newest does.
    newest: HashMap<Channel, u64>,
    rhythm: Rhythm,
    /// When the next beat is, and up to which offset this one goes.
    beat: Option<Instant>,
    up_to: u64,
}

impl Kept {
    pub(super) fn new(rhythm: Rhythm) -> Self {
        Self {
            waiting: BTreeMap::new(),
            weight: 0,
            newest: HashMap::new(),
            rhythm,
            beat: None,
            up_to: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Offset of the oldest that waits.
    pub(super) fn oldest(&self) -> Option<u64> {
        let first = self.waiting.first_key_value();
        first.map(|(offset, _)| *offset)
    }

    /// What all of it weighs.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Whether what waits may be sent at any time.
    pub(super) fn is_free(&self) -> bool {
        self.rhythm == Rhythm::Free
    }

    /// Adds one; whether another one goes for it.
    pub(super) fn push(&mut self, publication: &Arc<Publication>, is_thinned: bool) -> bool {
        let offset = publication.offset();
        let mut replaced = None;
        if is_thinned {
            let channel = publication.channel().clone();
            let before = self.newest.insert(channel, offset);
            replaced = before.and_then(|before| self.waiting.remove(&before));
        }
        self.weight += publication.weight();
        self.weight -= replaced.as_ref().map_or(0, |replaced| replaced.weight());
        self.waiting.insert(offset, Arc::clone(publication));
        replaced.is_some()
    }

    /// The next one, if its time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Arc<Publication>> {
        let (&first, _) = self.waiting.first_key_value()?;
        if let Rhythm::Every(time) = self.rhythm
            && first > self.up_to
        {
            if self.beat.is_some_and(|beat| now < beat) {
                return None;
            }
            self.beat = Some(now + time);
            let last = self.waiting.last_key_value();
            self.up_to = last.map_or(first, |(last, _)| *last);
        }
        let publication = self.waiting.remove(&first)?;
        self.weight -= publication.weight();
        if self.newest.get(publication.channel()) == Some(&first) {
            self.newest.remove(publication.channel());
        }
        Some(publication)
    }

    /// When the next one's time comes, if one waits for it.
    pub(super) fn due(&self) -> Option<Instant> {
        self.beat.filter(|_| !self.waiting.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cursor::{Cursor, Epoch};
    use crate::publication::Content;

    fn publication(channel: &str, offset: u64) -> Arc<Publication> {
        let content = Content::new("text/plain", Bytes::from_static(b"x")).unwrap();
        let cursor = Cursor::after(Epoch::random(), offset);
        let time = jiff::Timestamp::UNIX_EPOCH;
        let channel = channel.parse().unwrap();
        Arc::new(Publication::new(channel, cursor, time, content))
    }

    fn offsets(kept: &mut Kept, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| kept.pop(now))
            .map(|publication| publication.offset())
            .collect()
    }

    #[test]
    fn of_a_thinned_channel_the_newest_waits_in_the_logs_order() {
        let mut kept = Kept::new(Rhythm::Free);
        for (offset, channel, thins) in [
            (1, "a", true),
            (2, "b", false),
            (3, "a", true),
            (4, "b", false),
            (5, "c", true),
            (6, "a", true),
        ] {
            let replaced = kept.push(&publication(channel, offset), thins);
            assert_eq!(replaced, channel == "a" && offset > 1);
        }
        let now = Instant::now();
        assert_eq!(offsets(&mut kept, now), [2, 4, 5, 6]);
        assert!(kept.newest.is_empty());
    }

    #[test]
    fn a_rhythm_sends_one_of_each_channel_a_beat() {
        let beat = Duration::from_millis(100);
        let mut kept = Kept::new(Rhythm::Every(beat));
        let start = Instant::now();
        kept.push(&publication("a", 1), true);
        assert_eq!(offsets(&mut kept, start), [1]);
        for offset in 2..=9 {
            kept.push(
                &publication(if offset % 2 == 0 { "a" } else { "b" }, offset),
                true,
            );
        }
        assert!(offsets(&mut kept, start).is_empty());
        assert_eq!(kept.due(), Some(start + beat));
        assert_eq!(offsets(&mut kept, start + beat), [8, 9]);
        kept.push(&publication("a", 10), true);
        assert!(offsets(&mut kept, start + beat).is_empty());
        assert_eq!(offsets(&mut kept, start + 2 * beat), [10]);
    }
}
