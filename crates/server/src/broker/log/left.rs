//! What was left by the process before, entered into the books all at once: what is in order already is not sorted, and no
//! publication is looked at twice.

use std::collections::HashMap;
use std::time::Duration;

use super::{Dropped, Entry, History, Kept, Log, Trim};
use crate::channel::{Channel, NameError};

/// A log as it is read, from its beginning on.
#[derive(Debug)]
pub(in crate::broker) struct Left<E> {
    names: HashMap<Channel, usize>,
    channels: Vec<Known<E>>,
    entries: Vec<(u64, Kept<E>)>,
    weight: usize,
    removed: Vec<Dropped>,
}

#[derive(Debug)]
struct Known<E> {
    channel: Channel,
    history: History<E>,
    /// Up to there, what lies there counts no more.
    removed: u64,
}

impl<E: Entry> Left<E> {
    pub(in crate::broker) fn new() -> Self {
        Self {
            names: HashMap::new(),
            channels: Vec::new(),
            entries: Vec::new(),
            weight: 0,
            removed: Vec::new(),
        }
    }

    /// A channel of which nothing up to `floor` counts. Before any of its publications.
    pub(in crate::broker) fn floor(&mut self, name: &str, floor: u64) -> Result<(), NameError> {
        let known = self.known(name)?;
        known.history.floor = floor;
        known.removed = floor;
        Ok(())
    }

    /// The next publication, and the offset of the one before it on its channel.
    pub(in crate::broker) fn push(
        &mut self,
        name: &str,
        entry: E,
        prev: u64,
        at: Duration,
    ) -> Result<(), NameError> {
        let known = self.known(name)?;
        let channel = known.channel.clone();
        if entry.offset() <= known.removed {
            self.removed.push(Dropped {
                channel,
                offset: Some(entry.offset()),
            });
            return Ok(());
        }
        let history = &mut known.history;
        if history.entries.is_empty() {
            history.floor = history.floor.max(prev);
        }
        let weight = entry.weight();
        history.weight += weight;
        history.entries.push_back(entry.clone());
        self.weight += weight;
        let kept = Kept { at, channel, entry };
        self.entries.push((kept.entry.offset(), kept));
        Ok(())
    }

    /// Offset of the last publication that counts, or of the last that does not.
    pub(in crate::broker) fn last(&self) -> u64 {
        let removed = self.removed.last().and_then(|removed| removed.offset);
        let kept = self.entries.last().map(|(offset, _)| *offset);
        kept.max(removed).unwrap_or_default()
    }

    /// All of a channel share one name.
    fn known(&mut self, name: &str) -> Result<&mut Known<E>, NameError> {
        let number = match self.names.get(name) {
            Some(number) => *number,
            None => {
                let channel: Channel = name.parse()?;
                self.names.insert(channel.clone(), self.channels.len());
                self.channels.push(Known {
                    channel,
                    history: History::new(0),
                    removed: 0,
                });
                self.channels.len() - 1
            }
        };
        Ok(&mut self.channels[number])
    }
}

impl<E: Entry> Log<E> {
    /// Takes over what was left, by the bounds and at the time of now; tells what was removed before and is still there.
    pub(in crate::broker) fn take_over(&mut self, left: Left<E>, now: Duration) -> Vec<Dropped> {
        let mut entries = left.entries;
        // Where the time of day jumped back, what came before the jump is as old as what came after it.
        let mut at = now;
        for (_, kept) in entries.iter_mut().rev() {
            at = at.min(kept.at);
            kept.at = at;
        }
        let last = entries.last().map_or(0, |(offset, _)| *offset);
        self.last = self.last.max(last);
        self.weight = left.weight;
        self.entries = entries.into_iter().collect();
        for Known {
            channel, history, ..
        } in left.channels
        {
            self.highest_floor = self.highest_floor.max(history.floor);
            self.recency.insert(history.recency(), channel.clone());
            self.channels.insert(channel, history);
        }
        // The bounds may have been wider before; and each channel is to be looked at when its first is too old.
        let mut trim = Trim::default();
        while self.trim(&mut trim, now) {}
        left.removed
    }
}
