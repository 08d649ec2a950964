//! What goes from the books: what is over a bound, too old, deleted, or forgotten.

use std::ops::Bound;
use std::thread;
use std::time::Duration;

use super::{Dropped, Entry, History, Log};
use crate::broker::Retention;
use crate::channel::Channel;
use crate::publication::Publication;

/// Channels that are looked at, and publications that are dropped, in one step.
pub(super) const STEP: usize = 1024;

/// How far the change to another retention has come.
#[derive(Debug, Default)]
pub(in crate::broker) struct Trim {
    /// The last channel that was looked at, and is within its bounds.
    after: Option<Channel>,
}

/// Goes step after step until there is no more to do, and lets others have the books in between.
pub(in crate::broker) fn in_steps(mut step: impl FnMut() -> bool) {
    /// A lock that is free for a moment only is got by nobody who waits for it.
    const PAUSE: Duration = Duration::from_micros(50);
    while step() {
        thread::sleep(PAUSE);
    }
}

impl<E: Entry> Log<E> {
    /// Keeps what `retention` says from now on. What is there is to be [trimmed](Self::trim) then, unless nothing has changed.
    pub(in crate::broker) fn retain(&mut self, retention: Retention) -> Option<Trim> {
        let before = std::mem::replace(&mut self.retention, retention);
        (before != self.retention).then(Trim::default)
    }

    /// Drops what is over the bounds that have changed, for one step; whether there is more to do. What is published meanwhile
    /// goes by the new bounds.
    pub(in crate::broker) fn trim(&mut self, trim: &mut Trim, now: Duration) -> bool {
        let mut room = STEP;
        while let Some(channel) = self.channel_after(trim.after.as_ref()) {
            if room == 0 {
                return true;
            }
            room -= 1;
            // By the age of before. Until it is done it has none: else whoever comes next would have to drop all that is old.
            self.unschedule(&channel);
            if !self.drop_old(&channel, now, &mut room) || !self.drop_excess(&channel, &mut room) {
                return true;
            }
            self.schedule(&channel);
            trim.after = Some(channel);
        }
        while self.is_too_heavy() {
            if room == 0 {
                return true;
            }
            room -= 1;
            self.drop_oldest();
        }
        while self.channels.len() > self.retention.channels() {
            if room == 0 || !self.forget_one(&mut room) {
                return true;
            }
        }
        false
    }

    /// The channel whose name comes after that one.
    fn channel_after(&self, before: Option<&Channel>) -> Option<Channel> {
        let from = before.map_or(Bound::Unbounded, Bound::Excluded);
        let mut after = self.channels.range::<Channel, _>((from, Bound::Unbounded));
        after.next().map(|(channel, _)| channel.clone())
    }

    /// Drops what has to go for a publication of that weight, which was added to a channel: as much as it takes if all was within
    /// bounds before, and no more, since what was over them is somebody else's to drop.
    pub(super) fn make_room(&mut self, channel: &Channel, weight: usize) {
        // None weighs less.
        let most = weight / Publication::OVERHEAD + 1;
        let mut room = most;
        self.drop_excess(channel, &mut room);
        // One that has more is to be looked at already, or is being trimmed.
        let history = self.channels.get(channel);
        if history.is_some_and(|history| history.entries.len() == 1) {
            self.schedule(channel);
        }
        for _ in 0..most {
            if !self.is_too_heavy() {
                break;
            }
            self.drop_oldest();
        }
        // The channel may be a new one. Where more is to go than in one step, the next publication goes on with it.
        if self.channels.len() > self.retention.channels() {
            let mut room = STEP;
            self.forget_one(&mut room);
        }
    }

    /// Drops what is too old at `now`, for one step; whether there is more to do.
    pub(in crate::broker) fn expire(&mut self, now: Duration) -> bool {
        let mut room = STEP;
        while let Some(due) = self.due.first_entry()
            && due.key().0 <= now
        {
            if room == 0 {
                return true;
            }
            room -= 1;
            let channel = due.remove();
            if let Some(history) = self.channels.get_mut(&channel) {
                history.due = None;
            }
            self.drop_old(&channel, now, &mut room);
            self.schedule(&channel);
        }
        false
    }

    /// Drops what is kept of a channel up to the offset `end`, for one step; whether there is more to do.
    pub(in crate::broker) fn remove(&mut self, channel: &Channel, end: u64) -> bool {
        let mut room = STEP;
        !self.drop_while(channel, &mut room, |_, _, first| first.offset() <= end)
    }

    /// Forgets the channel that is missed the least: one without publications, else the one whose
    /// latest is the oldest. No, if there was room for a part of these only.
    fn forget_one(&mut self, room: &mut usize) -> bool {
        let Some((_, channel)) = self.recency.first_key_value() else {
            return true;
        };
        let channel = channel.clone();
        if !self.drop_while(&channel, room, |_, _, _| true) {
            return false;
        }
        *room = room.saturating_sub(1);
        self.unschedule(&channel);
        if let Some(history) = self.channels.remove(&channel) {
            self.recency.remove(&history.recency());
            self.forgotten = self.forgotten.max(history.floor);
            self.highest_floor = self.highest_floor.max(self.forgotten);
        }
        if let Some(drops) = &mut self.drops {
            drops.push(Dropped {
                channel,
                offset: None,
            });
        }
        true
    }

    /// Whether all channels together are over their bound.
    fn is_too_heavy(&self) -> bool {
        self.weight > self.retention.total_bytes().unwrap_or(self.total_bytes)
    }

    fn drop_oldest(&mut self) {
        if let Some(first) = self.entries.first_entry() {
            let channel = first.get().channel.clone();
            self.drop_first_of(&channel);
        }
    }

    /// Drops what is over the bounds of a channel; whether there was room for all of it.
    fn drop_excess(&mut self, channel: &Channel, room: &mut usize) -> bool {
        let bounds = self.retention.bounds(channel);
        self.drop_while(channel, room, |_, history, _| {
            history.entries.len() > bounds.count || history.weight > bounds.bytes
        })
    }

    /// Drops what is too old of a channel; whether there was room for all of it.
    fn drop_old(&mut self, channel: &Channel, now: Duration, room: &mut usize) -> bool {
        let age = self.retention.bounds(channel).age;
        self.drop_while(channel, room, |log, _, first| {
            let kept = log.entries.get(&first.offset());
            kept.is_some_and(|kept| kept.at.saturating_add(age) <= now)
        })
    }

    /// Drops a channel's oldest publication for as long as that is to go; whether there was room for all.
    fn drop_while(
        &mut self,
        channel: &Channel,
        room: &mut usize,
        is_to_go: impl Fn(&Self, &History<E>, &E) -> bool,
    ) -> bool {
        while let Some(history) = self.channels.get(channel)
            && let Some(first) = history.entries.front()
            && is_to_go(self, history, first)
        {
            if *room == 0 {
                return false;
            }
            *room -= 1;
            self.drop_first_of(channel);
        }
        true
    }

    /// Has a channel that has something looked at when the first of it is too old, unless it is to be already.
    fn schedule(&mut self, channel: &Channel) {
        if let Some(history) = self.channels.get_mut(channel)
            && history.due.is_none()
            && let Some(first) = history.entries.front()
            && let Some(kept) = self.entries.get(&first.offset())
        {
            let age = self.retention.bounds(channel).age;
            let due = (kept.at.saturating_add(age), first.offset());
            history.due = Some(due);
            self.due.insert(due, channel.clone());
        }
    }

    fn unschedule(&mut self, channel: &Channel) {
        if let Some(history) = self.channels.get_mut(channel)
            && let Some(due) = history.due.take()
        {
            self.due.remove(&due);
        }
    }

    /// Drops a channel's oldest publication.
    fn drop_first_of(&mut self, channel: &Channel) {
        let Some(history) = self.channels.get_mut(channel) else {
            return;
        };
        let before = history.recency();
        let Some(entry) = history.entries.pop_front() else {
            return;
        };
        history.weight -= entry.weight();
        history.floor = entry.offset();
        self.highest_floor = self.highest_floor.max(history.floor);
        self.weight -= entry.weight();
        self.entries.remove(&entry.offset());
        let after = history.recency();
        if after != before {
            self.recency.remove(&before);
            self.recency.insert(after, channel.clone());
        }
        if let Some(drops) = &mut self.drops {
            drops.push(Dropped {
                channel: channel.clone(),
                offset: Some(entry.offset()),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HistoryLimits;
    use crate::cursor::Epoch;

    #[derive(Debug, Clone, Copy)]
    struct Light(u64);

    impl Entry for Light {
        fn offset(&self) -> u64 {
            self.0
        }

        fn weight(&self) -> usize {
            Publication::OVERHEAD
        }
    }

    const COUNT: u64 = 50_000;
    const SECOND: Duration = Duration::from_secs(1);

    fn generous() -> HistoryLimits {
        HistoryLimits {
            count: usize::MAX,
            bytes: usize::MAX,
            total_bytes: Some(usize::MAX),
            channels: 100_000,
            age: 1000 * SECOND,
        }
    }

    /// Two channels with much and many with little, one publication a millisecond.
    fn filled() -> Log<Light> {
        let mut log = Log::new(generous().into(), 0, Epoch::random(), 0);
        log.note_drops();
        for offset in 1..=COUNT {
            let channel = match offset % 4 {
                0 => "a/much".to_owned(),
                1 => "z/much".to_owned(),
                _ => format!("m/{}", offset / 16),
            };
            let at = Duration::from_millis(offset);
            log.push(channel.parse().unwrap(), Light(offset), at);
        }
        log
    }

    /// What is kept, and known, changes by no more than a step each time, publishing goes on in between, and drops `few`
    /// at most.
    fn trimmed(few: usize, change: impl FnOnce(&mut HistoryLimits)) -> Log<Light> {
        let mut log = filled();
        let mut limits = generous();
        change(&mut limits);
        let mut trim = log.retain(limits.into()).unwrap();
        let now = Duration::from_millis(COUNT);
        let mut steps = 0;
        loop {
            let before = log.size();
            let more = log.trim(&mut trim, now);
            let gone = (before.0 - log.size().0) + (before.2 - log.size().2);
            assert!(gone <= STEP, "{gone}");
            if !more {
                break;
            }
            steps += 1;
            let next = log.last() + 1;
            for (channel, offset) in [("a/much", next), ("new", next + 1)] {
                let before = log.size().0;
                log.push(channel.parse().unwrap(), Light(offset), now);
                assert!(before + 1 - log.size().0 <= few);
            }
            // It leaves nothing to be done by who comes next.
            assert!(!log.expire(now));
        }
        assert!(steps > 10, "{steps}");
        log
    }

    #[test]
    fn a_much_smaller_history_comes_into_force_step_by_step() {
        let log = trimmed(2, |limits| limits.count = 1);
        assert_eq!(log.size().0, log.size().2);
        let log = trimmed(2, |limits| limits.bytes = 2 * Publication::OVERHEAD);
        assert!(log.channels.values().all(|h| h.entries.len() <= 2));
        let log = trimmed(2, |limits| {
            limits.total_bytes = Some(10 * Publication::OVERHEAD);
        });
        assert_eq!(log.size().0, 10);
        let log = trimmed(STEP + 2, |limits| limits.channels = 3);
        assert_eq!(log.size().2, 3);
        let log = trimmed(2, |limits| limits.age = SECOND);
        let now = Duration::from_millis(COUNT);
        assert!(log.entries.values().all(|kept| kept.at + SECOND > now));
        assert_eq!(
            log.due.len(),
            log.channels
                .values()
                .filter(|h| !h.entries.is_empty())
                .count()
        );
    }

    #[test]
    fn what_is_deleted_or_too_old_goes_step_by_step() {
        let mut log = filled();
        let much: Channel = "a/much".parse().unwrap();
        let (kept, mut steps) = (log.size().0, 1);
        let end = log.last();
        // What comes meanwhile stays.
        log.push(much.clone(), Light(end + 1), SECOND);
        while log.remove(&much, end) {
            steps += 1;
            assert!(kept + 1 - log.size().0 <= steps * STEP);
        }
        assert_eq!(log.latest(&much).unwrap().0, end + 1);
        let (mut before, mut steps) = (log.size().0, 0);
        while log.expire(2000 * SECOND) {
            assert!(before - log.size().0 <= STEP);
            before = log.size().0;
            steps += 1;
        }
        assert_eq!(log.size().0, 0);
        assert!(steps > 10, "{steps}");
    }

    #[test]
    fn nothing_is_to_be_trimmed_where_nothing_has_changed() {
        let mut log = filled();
        assert!(log.retain(generous().into()).is_none());
    }
}
