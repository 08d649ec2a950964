//! What the books say to those who ask: from where on, how much, and whether something is missing.

use std::ops::Bound;

use super::{Entry, History, Log};
use crate::broker::Since;
use crate::channel::{Channel, Filter};
use crate::cursor::Cursor;

/// A piece of the log.
#[derive(Debug)]
pub(in crate::broker) struct Found<E> {
    pub(in crate::broker) entries: Vec<E>,
    /// Where to go on.
    pub(in crate::broker) cursor: Cursor,
    pub(in crate::broker) recovered: bool,
}

impl<E: Entry> Log<E> {
    pub(in crate::broker) fn latest(&self, channel: &Channel) -> Option<E> {
        self.channels.get(channel)?.entries.back().cloned()
    }

    /// At most `limit` entries of at most `bytes`, at least one if there is one.
    pub(in crate::broker) fn read(
        &self,
        filter: &Filter,
        since: Since,
        limit: usize,
        bytes: usize,
    ) -> Found<E> {
        let limit = limit.max(1);
        let recovered = self.honours(filter, since);
        let (mut entries, settled) = match since {
            // One more than asked for tells whether the page is the last.
            Since::Cursor(cursor) if recovered => (
                self.after(filter, cursor, limit.saturating_add(1)),
                cursor.settled,
            ),
            _ => (self.latest_of(filter), self.last),
        };
        let cut = cut(&mut entries, limit, bytes);
        let cursor = match entries.last() {
            Some(last) if cut => Cursor {
                epoch: self.epoch,
                offset: last.offset(),
                settled: settled.max(last.offset()),
            },
            _ => Cursor::after(self.epoch, self.last),
        };
        Found {
            entries,
            cursor,
            recovered,
        }
    }

    /// Where a subscription from `since` begins: the cursor that is told, and the one from which
    /// [`after`](Self::after) gives all that was missed.
    pub(in crate::broker) fn begin(&self, filter: &Filter, since: Since) -> (Cursor, Cursor, bool) {
        let recovered = self.honours(filter, since);
        match since {
            Since::Cursor(cursor) if recovered => (cursor, cursor, true),
            _ => {
                let first = match filter {
                    Filter::Exact(channel) => self.latest(channel).map(|latest| latest.offset()),
                    Filter::Pattern(_) => self
                        .matching(filter)
                        .filter_map(|history| Some(history.entries.back()?.offset()))
                        .min(),
                };
                let before = first.map_or(self.last, |first| first - 1);
                let from = Cursor {
                    epoch: self.epoch,
                    offset: before,
                    settled: self.last,
                };
                (Cursor::after(self.epoch, before), from, recovered)
            }
        }
    }

    /// Whether nothing was lost for one who comes from there.
    pub(in crate::broker) fn honours(&self, filter: &Filter, since: Since) -> bool {
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

    /// At most `limit` entries after `cursor`; of those that it counts as settled, only the latest
    /// of each channel at that time.
    pub(in crate::broker) fn after(&self, filter: &Filter, cursor: Cursor, limit: usize) -> Vec<E> {
        match filter {
            Filter::Exact(channel) => {
                let history = self.channels.get(channel).into_iter();
                history
                    .flat_map(|h| h.after(cursor.offset).map(move |entry| (h, entry)))
                    .filter(|(h, entry)| is_wanted(h, entry.offset(), cursor.settled))
                    .map(|(_, entry)| entry)
                    .take(limit)
                    .cloned()
                    .collect()
            }
            Filter::Pattern(_) => self
                .entries
                .range((Bound::Excluded(cursor.offset), Bound::Unbounded))
                .filter(|(_, kept)| filter.matches(&kept.channel))
                .filter(|(offset, kept)| {
                    let history = self.channels.get(&kept.channel);
                    history.is_none_or(|h| is_wanted(h, **offset, cursor.settled))
                })
                .map(|(_, kept)| &kept.entry)
                .take(limit)
                .cloned()
                .collect(),
        }
    }

    /// The latest of each matching channel, in the order of their offsets.
    fn latest_of(&self, filter: &Filter) -> Vec<E> {
        match filter {
            Filter::Exact(channel) => self.latest(channel).into_iter().collect(),
            Filter::Pattern(_) => {
                let mut latest: Vec<_> = self
                    .matching(filter)
                    .filter_map(|history| history.entries.back().cloned())
                    .collect();
                latest.sort_unstable_by_key(Entry::offset);
                latest
            }
        }
    }

    /// The histories of all known channels that a pattern fits.
    fn matching<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a History<E>> {
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
}

/// Cuts `entries` to `limit` and `bytes`, but for the first; whether some were cut off.
pub(in crate::broker) fn cut<E: Entry>(entries: &mut Vec<E>, limit: usize, bytes: usize) -> bool {
    let mut sum = 0_usize;
    let fit = entries.iter().take(limit).take_while(|entry| {
        let is_first = sum == 0;
        sum = sum.saturating_add(entry.weight());
        is_first || sum <= bytes
    });
    let fit = fit.count();
    let cut = fit < entries.len();
    entries.truncate(fit);
    cut
}

/// Whether one who has all up to `settled`, or the latest of it, wants the entry at `offset`: it
/// came later, or was the channel's latest then.
fn is_wanted<E: Entry>(history: &History<E>, offset: u64, settled: u64) -> bool {
    offset > settled
        || history
            .after(offset)
            .next()
            .is_none_or(|next| next.offset() > settled)
}
