//! One turn of a part of a group.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::Shard;
use crate::hub::Hub;
use crate::publication::Publication;

/// Seats that are written to before others may have them.
const AT_ONCE: u32 = 16;

/// What is being written to the subscribers of a shard.
pub(super) struct Turn {
    shard: Arc<Shard>,
    since: Instant,
    /// The position of the first of the items, which are looked for when the turn has come.
    items: Option<(u64, Vec<Arc<Publication>>)>,
    /// The number of the next seat.
    from: u32,
}

impl Turn {
    pub(super) fn new(shard: Arc<Shard>, since: Instant) -> Self {
        Self {
            shard,
            since,
            items: None,
            from: 0,
        }
    }

    /// Writes to as many as there is room for; tells whether there is more to do. One whose connection does not take it all
    /// has to see to the rest itself.
    pub(super) fn go_on(
        &mut self,
        hub: &Hub,
        room: &mut u32,
        delivered: &impl Fn(u64, Timestamp),
    ) -> bool {
        let shard = &self.shard;
        let (first, items) = self.items.get_or_insert_with(|| shard.begin());
        if let Some(newest) = items.last() {
            let (mut count, mut stuck) = (0, Vec::new());
            while *room > 0 {
                let some = self.from..self.from + AT_ONCE.min(*room);
                self.from = some.end;
                let Some(handed) = shard.write(some, *first, items, &mut stuck, room) else {
                    break;
                };
                count += handed;
                if !stuck.is_empty() {
                    hub.unseat(shard, &mut stuck);
                }
            }
            if count > 0 {
                delivered(count, newest.time());
            }
            if self.from < shard.seats().end() {
                return true;
            }
        }
        let waits = shard.written(*first + items.len() as u64);
        hub.inner
            .fan
            .times
            .observe(self.since.elapsed().as_secs_f64());
        let Some(since) = waits else {
            return false;
        };
        (self.since, self.items, self.from) = (since, None, 0);
        true
    }
}
