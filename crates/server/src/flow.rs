//! What a listener is sent of what is published, where its namespace says that not everything need
//! be: to a slow one only the newest of each channel (`latest`), or to everyone so many a second of
//! each channel (`rate`). Elsewhere a listener is sent everything, and one that is too slow for that
//! is let go (`disconnect`).
//!
//! What is sent keeps the order of the log, so that the last cursor seen always stands for all that
//! the listener was to see. Therefore a subscription that covers a channel with a rate is sent
//! everything in one rhythm, the slowest of those that it covers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::channel::{Channel, Filter};
use crate::config::{Config, SlowPolicy, touched};
use crate::http::App;
use crate::hub::{Lagged, Live};
use crate::metrics::Drop as Dropped;
use crate::publication::Publication;

/// The receiving end of a subscription, as its namespace has it.
#[derive(Debug)]
pub(crate) enum Flow {
    /// Everything.
    Whole(Live),
    /// What is kept of it.
    Thinned(Thinned),
}

impl Flow {
    /// What comes of `live`, which was subscribed by `filter`.
    pub(crate) fn new(app: &Arc<App>, filter: &Filter, live: Live) -> Self {
        let now = app.now();
        let rules: Vec<_> = touched(&now.config.namespaces, filter)
            .into_iter()
            .map(|namespace| now.config.slow_in(namespace))
            .collect();
        if rules
            .iter()
            .all(|(policy, _)| *policy == SlowPolicy::Disconnect)
        {
            return Self::Whole(live);
        }
        let rates = rules
            .iter()
            .filter(|(policy, _)| *policy == SlowPolicy::Rate);
        let slowest = rates.map(|(_, rate)| *rate).min();
        let rhythm = slowest.map(|rate| Duration::from_secs_f64(1.0 / rate.max(1) as f64));
        Self::Thinned(Thinned::new(app, live, rhythm))
    }

    /// The next publication to send. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Arc<Publication>, Lagged> {
        match self {
            Self::Whole(live) => live.next().await,
            Self::Thinned(thinned) => thinned.next().await,
        }
    }

    /// The next publication, if there is one to be sent now.
    pub(crate) fn try_next(&mut self) -> Result<Option<Arc<Publication>>, Lagged> {
        match self {
            Self::Whole(live) => live.try_next(),
            Self::Thinned(thinned) => thinned.lock().pop(Instant::now()),
        }
    }

    /// Waits until the listener is given up, and takes no publication. Cancel-safe.
    pub(crate) async fn lagged(&mut self) -> Lagged {
        match self {
            Self::Whole(live) => live.lagged().await,
            Self::Thinned(thinned) => loop {
                if thinned.lock().lagged {
                    return Lagged;
                }
                thinned.shared.pushed.notified().await;
            },
        }
    }
}

/// A subscription of which a task of its own keeps what is to be sent, however slow the listener is.
#[derive(Debug)]
pub(crate) struct Thinned {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    pushed: Notify,
}

impl Thinned {
    fn new(app: &Arc<App>, live: Live, rhythm: Option<Duration>) -> Self {
        let shared = Arc::new(Shared {
            kept: Mutex::new(Kept::new(app.now().config.max_queue, rhythm)),
            pushed: Notify::new(),
        });
        let task = tokio::spawn(keep(Arc::clone(app), live, Arc::clone(&shared)));
        Self {
            shared,
            task: task.abort_handle(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        lock(&self.shared.kept)
    }

    async fn next(&mut self) -> Result<Arc<Publication>, Lagged> {
        loop {
            let due = {
                let mut kept = self.lock();
                if let Some(publication) = kept.pop(Instant::now())? {
                    return Ok(publication);
                }
                kept.due()
            };
            match due {
                Some(due) => sleep_until(due).await,
                None => self.shared.pushed.notified().await,
            }
        }
    }
}

impl Drop for Thinned {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes what comes, for as long as somebody listens.
async fn keep(app: Arc<App>, mut live: Live, shared: Arc<Shared>) {
    loop {
        let next = live.next().await;
        let is_over = {
            let mut kept = lock(&shared.kept);
            match next {
                Ok(publication) => {
                    let thins = app.now().config.thins(publication.channel());
                    if kept.push(publication, thins) {
                        app.metrics.dropped(Dropped::Conflated);
                    }
                }
                Err(Lagged) => kept.give_up(),
            }
            kept.lagged
        };
        shared.pushed.notify_one();
        if is_over {
            return;
        }
        tokio::task::coop::consume_budget().await;
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What waits to be sent.
#[derive(Debug)]
struct Kept {
    bound: usize,
    weight: usize,
    lagged: bool,
    /// By offset, so in the order of the log.
    waiting: BTreeMap<u64, Arc<Publication>>,
    /// The offset of the one that waits, of each channel of which only the newest does.
    newest: HashMap<Channel, u64>,
    /// Time from one beat to the next, and when that one is, and up to which offset this one goes.
    rhythm: Option<Duration>,
    beat: Option<Instant>,
    up_to: u64,
}

impl Kept {
    fn new(bound: usize, rhythm: Option<Duration>) -> Self {
        Self {
            bound,
            weight: 0,
            lagged: false,
            waiting: BTreeMap::new(),
            newest: HashMap::new(),
            rhythm,
            beat: None,
            up_to: 0,
        }
    }

    /// Adds one; whether another went for it. Past the bound, the newest alone of all channels are too
    /// many, and the listener is given up.
    fn push(&mut self, publication: Arc<Publication>, thins: bool) -> bool {
        let offset = publication.offset();
        let mut replaced = None;
        if thins {
            let before = self.newest.insert(publication.channel().clone(), offset);
            replaced = before.and_then(|before| self.waiting.remove(&before));
        }
        self.weight += publication.weight();
        self.weight -= replaced.as_ref().map_or(0, |replaced| replaced.weight());
        self.waiting.insert(offset, publication);
        if self.weight > self.bound && self.waiting.len() > 1 {
            self.give_up();
        }
        replaced.is_some()
    }

    fn give_up(&mut self) {
        *self = Self {
            lagged: true,
            ..Self::new(self.bound, None)
        };
    }

    /// The next one, if its time has come.
    fn pop(&mut self, now: Instant) -> Result<Option<Arc<Publication>>, Lagged> {
        if self.lagged {
            return Err(Lagged);
        }
        let Some((&first, _)) = self.waiting.first_key_value() else {
            return Ok(None);
        };
        if let Some(rhythm) = self.rhythm
            && first > self.up_to
        {
            if self.beat.is_some_and(|beat| now < beat) {
                return Ok(None);
            }
            self.beat = Some(now + rhythm);
            self.up_to = self
                .waiting
                .last_key_value()
                .map_or(first, |(last, _)| *last);
        }
        let publication = self.waiting.remove(&first);
        if let Some(publication) = &publication {
            self.weight -= publication.weight();
            if self.newest.get(publication.channel()) == Some(&first) {
                self.newest.remove(publication.channel());
            }
        }
        Ok(publication)
    }

    /// When the next one's time comes, if one waits.
    fn due(&self) -> Option<Instant> {
        self.beat.filter(|_| !self.waiting.is_empty())
    }
}

impl Config {
    /// Whether of that channel only the newest need be sent.
    fn thins(&self, channel: &Channel) -> bool {
        self.slow_in(self.namespace(channel)).0 != SlowPolicy::Disconnect
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
        std::iter::from_fn(|| kept.pop(now).unwrap())
            .map(|publication| publication.offset())
            .collect()
    }

    #[test]
    fn of_a_thinned_channel_the_newest_waits_in_the_logs_order() {
        let mut kept = Kept::new(1 << 20, None);
        for (offset, channel, thins) in [
            (1, "a", true),
            (2, "b", false),
            (3, "a", true),
            (4, "b", false),
            (5, "c", true),
            (6, "a", true),
        ] {
            let replaced = kept.push(publication(channel, offset), thins);
            assert_eq!(replaced, channel == "a" && offset > 1);
        }
        let now = Instant::now();
        assert_eq!(offsets(&mut kept, now), [2, 4, 5, 6]);
        assert_eq!((kept.weight, kept.newest.len()), (0, 0));
    }

    #[test]
    fn a_rhythm_sends_one_of_each_channel_a_beat() {
        let beat = Duration::from_millis(100);
        let mut kept = Kept::new(1 << 20, Some(beat));
        let start = Instant::now();
        kept.push(publication("a", 1), true);
        assert_eq!(offsets(&mut kept, start), [1]);
        for offset in 2..=9 {
            kept.push(
                publication(if offset % 2 == 0 { "a" } else { "b" }, offset),
                true,
            );
        }
        assert_eq!(offsets(&mut kept, start), []);
        assert_eq!(kept.due(), Some(start + beat));
        assert_eq!(offsets(&mut kept, start + beat), [8, 9]);
        kept.push(publication("a", 10), true);
        assert_eq!(offsets(&mut kept, start + beat), []);
        assert_eq!(offsets(&mut kept, start + 2 * beat), [10]);
    }

    #[test]
    fn past_the_bound_a_listener_is_given_up_and_keeps_nothing() {
        let weight = publication("a", 1).weight();
        let mut kept = Kept::new(2 * weight, None);
        for offset in 1..=100 {
            kept.push(publication("a", offset), true);
        }
        kept.push(publication("b", 101), true);
        assert!(!kept.lagged);
        kept.push(publication("c", 102), true);
        assert_eq!(kept.pop(Instant::now()).unwrap_err(), Lagged);
        assert!(kept.waiting.is_empty() && kept.newest.is_empty());
    }
}
