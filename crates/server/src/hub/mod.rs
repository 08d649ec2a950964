//! The fan-out inside one process: a publication comes in once and reaches the queue of each
//! subscriber whose filter matches, shared by all of them.

mod fan;
mod index;
mod kept;
mod queue;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::histogram::Histogram;
use tokio::time::sleep_until;

use self::fan::Fan;
use self::index::{Id, Index};
use self::queue::{Pushed, Queue};
use crate::channel::Filter;
use crate::publication::Publication;

pub(crate) use self::fan::{Fanning, Outlet};
pub(crate) use self::kept::{Rhythm, Thinning};
pub use self::queue::Lagged;

/// Hands publications to subscribers. Cheap to clone; every clone is the same hub.
///
/// Publishing never waits for a subscriber: one whose queue is full is let go ([`Lagged`]).
#[derive(Debug, Clone)]
pub struct Hub {
    index: Arc<Mutex<Registry>>,
    bound: usize,
    /// Publications that went for a newer one.
    replaced: Arc<AtomicU64>,
    /// Subscribers that were let go.
    lagged: Arc<AtomicU64>,
    fan: Arc<Fan>,
}

#[derive(Debug, Default)]
struct Registry {
    index: Index,
    next: Id,
    /// Who need not be sent everything; nobody, without it.
    thinning: Option<Arc<dyn Thinning>>,
}

impl Hub {
    /// A hub whose subscribers' queues hold at most `bound` bytes each, by
    /// [`Publication::weight`]; a single publication always fits.
    pub fn new(bound: usize) -> Self {
        Self {
            index: Arc::default(),
            bound,
            replaced: Arc::default(),
            lagged: Arc::default(),
            fan: Arc::new(Fan::new()),
        }
    }

    /// Writes to subscribers' outlets, as long as what is returned is kept.
    pub(crate) fn fan_out(&self) -> Fanning {
        self.fan.run()
    }

    /// Says who need not be sent everything: of those that subscribe from now on, and of the channels
    /// of what is published from now on.
    pub(crate) fn set_thinning(&self, thinning: Option<Arc<dyn Thinning>>) {
        self.lock().registry.thinning = thinning;
    }

    /// How many publications went for a newer one before they were sent to somebody.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }

    /// How many subscribers were let go with all that waited for them.
    pub(crate) fn lagged(&self) -> u64 {
        self.lagged.load(Ordering::Relaxed)
    }

    /// Bytes that wait in all queues, each publication as often as it waits. It takes the hub for as long as a
    /// publication to everybody does.
    pub(crate) fn waiting(&self) -> usize {
        let mut waiting = 0;
        let all = self.lock();
        all.registry.index.all(|queue| waiting += queue.weight());
        waiting
    }

    /// The times from a publication's place in the log to the last write of its turn.
    pub(crate) fn times(&self) -> Histogram {
        self.fan.times.clone()
    }

    /// Takes the hub, so that a broker can fix an order between its log and the hub: it takes the
    /// hub while it still holds its log, then lets go of the log.
    pub fn lock(&self) -> HubGuard<'_> {
        let registry = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        HubGuard {
            hub: self,
            registry,
        }
    }
}

/// The hub, taken by one thread. A [`Live`] is not to be dropped while it is held: its end takes
/// the hub too.
#[derive(Debug)]
pub struct HubGuard<'a> {
    hub: &'a Hub,
    registry: MutexGuard<'a, Registry>,
}

impl HubGuard<'_> {
    /// Hands `publication` to every subscriber that asked for its channel.
    pub fn publish(&mut self, publication: &Arc<Publication>) {
        let channel = publication.channel();
        let thinning = self.registry.thinning.as_ref();
        let is_thinned = thinning.is_some_and(|thinning| thinning.is_thinned(channel));
        let (mut lagged, mut replaced) = (0, 0);
        let mut fan = self.hub.fan.lock();
        self.registry.index.each(channel, |id, queue| {
            match queue.push(publication, is_thinned) {
                Pushed::Lagged => lagged += 1,
                Pushed::Replaced => replaced += 1,
                Pushed::Due => fan.add(id, queue),
                Pushed::Kept | Pushed::Gone => {}
            }
        });
        fan.release();
        if replaced > 0 {
            self.hub.replaced.fetch_add(replaced, Ordering::Relaxed);
        }
        if lagged > 0 {
            self.hub.lagged.fetch_add(lagged, Ordering::Relaxed);
            tracing::debug!(channel = %publication.channel(), lagged, "let subscribers go that lag");
        }
    }

    /// A subscriber to what is published from now on.
    pub fn subscribe(&mut self, filter: &Filter) -> Live {
        let id = self.registry.next;
        self.registry.next += 1;
        let bound = self.hub.bound;
        let thinning = self.registry.thinning.as_ref();
        let queue = match thinning.and_then(|thinning| thinning.of(filter)) {
            Some(rhythm) => Queue::thinned(bound, rhythm),
            None => Queue::new(bound),
        };
        let queue = Arc::new(queue);
        self.registry.index.insert(filter, id, Arc::clone(&queue));
        Live {
            hub: self.hub.clone(),
            filter: filter.clone(),
            id,
            queue,
        }
    }
}

/// The receiving end of one subscription; dropping it ends the subscription.
#[derive(Debug)]
pub struct Live {
    hub: Hub,
    filter: Filter,
    id: Id,
    queue: Arc<Queue>,
}

impl Live {
    /// The next publication. Cancel-safe.
    pub async fn next(&mut self) -> Result<Arc<Publication>, Lagged> {
        loop {
            if let Some(publication) = self.try_next()? {
                return Ok(publication);
            }
            match self.queue.due() {
                Some(due) => sleep_until(due).await,
                None => self.queue.pushed().await,
            }
        }
    }

    /// The next publication if there is one now.
    pub fn try_next(&mut self) -> Result<Option<Arc<Publication>>, Lagged> {
        self.queue.try_pop()
    }

    /// Has what is published from now on go to `outlet`, until that does not take it all. Not if something waits; tells
    /// whether.
    pub(crate) fn attach(&self, outlet: &Arc<dyn Outlet>) -> bool {
        self.queue.attach(outlet)
    }

    /// The next publication; or `None`, where it is attached, once it is no more. Cancel-safe.
    pub(crate) async fn next_or_returned(
        &mut self,
        is_attached: bool,
    ) -> Result<Option<Arc<Publication>>, Lagged> {
        if !is_attached {
            return self.next().await.map(Some);
        }
        while self.queue.is_attached() {
            self.queue.pushed().await;
        }
        Ok(None)
    }

    /// Waits until the subscriber lags, and takes no publication. Cancel-safe.
    pub async fn lagged(&mut self) -> Lagged {
        loop {
            if let Err(lagged) = self.queue.check() {
                return lagged;
            }
            self.queue.pushed().await;
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.hub.lock().registry.index.remove(&self.filter, self.id);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cursor::{Cursor, Epoch};
    use crate::publication::Content;

    fn publication(channel: &str, offset: u64, size: usize) -> Arc<Publication> {
        let content = Content::new("text/plain", Bytes::from(vec![b'x'; size])).unwrap();
        let cursor = Cursor::after(Epoch::random(), offset);
        let time = jiff::Timestamp::UNIX_EPOCH;
        Arc::new(Publication::new(
            channel.parse().unwrap(),
            cursor,
            time,
            content,
        ))
    }

    #[tokio::test]
    async fn subscribers_share_what_they_get() {
        let hub = Hub::new(1 << 20);
        let mut one = hub.lock().subscribe(&"a/b".parse().unwrap());
        let mut two = hub.lock().subscribe(&"a/**".parse().unwrap());
        let published = publication("a/b", 1, 3);
        hub.lock().publish(&published);
        hub.lock().publish(&publication("b", 2, 3));
        assert!(Arc::ptr_eq(&published, &one.next().await.unwrap()));
        assert!(Arc::ptr_eq(&published, &two.next().await.unwrap()));
        assert!(two.try_next().unwrap().is_none());
    }

    #[tokio::test]
    async fn a_waiting_subscriber_is_woken() {
        let hub = Hub::new(1 << 20);
        let mut live = hub.lock().subscribe(&"a".parse().unwrap());
        let waiting = tokio::spawn(async move { live.next().await.unwrap().offset() });
        tokio::task::yield_now().await;
        hub.lock().publish(&publication("a", 7, 3));
        assert_eq!(waiting.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn one_that_stalls_is_let_go_and_the_others_lose_nothing() {
        let hub = Hub::new(4 * 1024);
        let mut stalled = hub.lock().subscribe(&"a".parse().unwrap());
        let mut quick = hub.lock().subscribe(&"a".parse().unwrap());
        for offset in 1..=10 {
            hub.lock().publish(&publication("a", offset, 1024));
            assert_eq!(quick.next().await.unwrap().offset(), offset);
        }
        assert_eq!(stalled.next().await.unwrap_err(), Lagged);
        assert_eq!(stalled.lagged().await, Lagged);
    }

    #[tokio::test]
    async fn a_stalled_subscriber_keeps_no_publication_alive() {
        let hub = Hub::new(1);
        let _stalled = hub.lock().subscribe(&"a".parse().unwrap());
        let first = publication("a", 1, 10);
        hub.lock().publish(&first);
        assert_eq!(Arc::strong_count(&first), 2, "one always fits");
        hub.lock().publish(&publication("a", 2, 10));
        assert_eq!(Arc::strong_count(&first), 1);
    }

    #[test]
    fn dropping_the_receiver_ends_the_subscription() {
        let hub = Hub::new(1);
        let live = hub.lock().subscribe(&"a/*".parse().unwrap());
        drop(live);
        assert!(hub.lock().registry.index.is_empty());
    }
}
