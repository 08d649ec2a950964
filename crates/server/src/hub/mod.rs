//! The fan-out inside one process: a publication comes in once and reaches the queue of each
//! subscriber whose filter matches, shared by all of them.

mod fan;
mod group;
mod index;
mod kept;
mod outlet;
mod queue;
mod shed;
mod slots;

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use prometheus_client::metrics::histogram::Histogram;
use tokio::time::sleep_until;

use self::fan::{Fan, Shard};
use self::index::Index;
use self::queue::{Popped, Pushed, Queue};
use crate::channel::Filter;
use crate::publication::Publication;
use crate::sync::lock;

pub(crate) use self::kept::{Rhythm, Thinning};
pub(crate) use self::outlet::{BATCH, Form, Outlet};
pub use self::queue::Lagged;
pub(crate) use self::shed::Looks;

/// Hands publications to subscribers. Cheap to clone; every clone is the same hub.
///
/// Publishing never waits for a subscriber: one whose queue is full is let go ([`Lagged`]).
#[derive(Debug, Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Mutex<Registry>,
    bound: usize,
    /// Publications that went for a newer one.
    replaced: AtomicU64,
    /// Subscribers that were let go.
    lagged: AtomicU64,
    fan: Fan,
}

#[derive(Debug, Default)]
struct Registry {
    index: Index,
    /// Who need not be sent everything; nobody, without it.
    thinning: Option<Arc<dyn Thinning>>,
    /// Offset of the last publication.
    newest: u64,
}

impl Hub {
    /// A hub whose subscribers' queues hold at most `bound` bytes each, by
    /// [`Publication::weight`]; a single publication always fits.
    pub fn new(bound: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                registry: Mutex::default(),
                bound,
                replaced: AtomicU64::new(0),
                lagged: AtomicU64::new(0),
                fan: Fan::new(),
            }),
        }
    }

    /// Says who need not be sent everything: of those that subscribe from now on, and of the channels
    /// of what is published from now on.
    pub(crate) fn set_thinning(&self, thinning: Option<Arc<dyn Thinning>>) {
        self.lock().registry.thinning = thinning;
    }

    /// How many publications went for a newer one before they were sent to somebody.
    pub(crate) fn replaced(&self) -> u64 {
        self.inner.replaced.load(Ordering::Relaxed)
    }

    /// How many subscribers were let go with all that waited for them.
    pub(crate) fn lagged(&self) -> u64 {
        self.inner.lagged.load(Ordering::Relaxed)
    }

    /// Bytes that wait for subscribers, each publication as often as it waits. It takes the hub for as long as a
    /// publication to everybody does.
    pub(crate) fn waiting(&self) -> usize {
        let mut waiting = 0;
        let all = self.lock();
        all.registry.index.all(|group| waiting += group.waiting());
        waiting
    }

    /// The times from a publication's place in the log to the last write of its turn.
    pub(crate) fn times(&self) -> Histogram {
        self.inner.fan.times.clone()
    }

    /// Has every subscriber look at what it waits for besides publications: something has changed for all.
    pub(crate) fn wake_all(&self) {
        self.lock().registry.index.all(|group| group.wake());
    }

    /// Takes the hub, so that a broker can fix an order between its log and the hub: it takes the
    /// hub while it still holds its log, then lets go of the log.
    pub fn lock(&self) -> HubGuard<'_> {
        HubGuard {
            hub: self,
            registry: lock(&self.inner.registry),
        }
    }

    /// These have to see themselves to what waits for them.
    fn unseat(&self, shard: &Arc<Shard>, stuck: &mut Vec<(u32, Arc<Queue>)>) {
        let mut guard = self.lock();
        let (index, mut sink) = guard.parts();
        index.change(shard.filter(), |group| {
            for (number, queue) in stuck.drain(..) {
                group.unseat(shard, number, &queue, &mut sink);
            }
        });
        stuck.clear();
    }
}

/// The hub, taken by one thread. A [`Live`] is not to be dropped while it is held: its end takes
/// the hub too.
#[derive(Debug)]
pub struct HubGuard<'a> {
    hub: &'a Hub,
    registry: MutexGuard<'a, Registry>,
}

/// How publications get to subscribers, and what became of them.
struct Sink<'a> {
    fan: &'a Fan,
    bound: usize,
    thinning: Option<&'a dyn Thinning>,
    all_replaced: &'a AtomicU64,
    all_lagged: &'a AtomicU64,
    lagged: u64,
    replaced: u64,
}

impl HubGuard<'_> {
    /// Hands `publication` to every subscriber that asked for its channel.
    pub fn publish(&mut self, publication: &Arc<Publication>) {
        self.registry.newest = publication.offset();
        let (index, mut sink) = self.parts();
        index.each(publication.channel(), |group| {
            group.publish(publication, &mut sink);
        });
    }

    /// A subscriber to what is published from now on.
    pub fn subscribe(&mut self, filter: &Filter) -> Live {
        let thinning = self.registry.thinning.as_ref();
        let rhythm = thinning.and_then(|thinning| thinning.of(filter));
        let queue = Arc::new(Queue::new(rhythm));
        let group = self.registry.index.group(filter);
        group.insert(&queue);
        Live {
            hub: self.hub.clone(),
            filter: Arc::clone(group.filter()),
            queue,
        }
    }

    fn parts(&mut self) -> (&mut Index, Sink<'_>) {
        let Registry {
            index, thinning, ..
        } = &mut *self.registry;
        let inner = &*self.hub.inner;
        let sink = Sink {
            fan: &inner.fan,
            bound: inner.bound,
            thinning: thinning.as_deref(),
            all_replaced: &inner.replaced,
            all_lagged: &inner.lagged,
            lagged: 0,
            replaced: 0,
        };
        (index, sink)
    }
}

impl Sink<'_> {
    /// Whether the newest publication of its channel makes those before it needless.
    fn is_thinned(&self, publication: &Publication) -> bool {
        let thinning = self.thinning;
        thinning.is_some_and(|thinning| thinning.is_thinned(publication.channel()))
    }

    fn push(&mut self, queue: &Queue, publication: &Arc<Publication>, is_thinned: bool) {
        self.count(queue.push(publication, is_thinned, self.bound));
    }

    fn count(&mut self, pushed: Pushed) {
        match pushed {
            Pushed::Lagged => self.lagged += 1,
            Pushed::Replaced => self.replaced += 1,
            Pushed::Kept | Pushed::Gone => {}
        }
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        if self.replaced > 0 {
            self.all_replaced
                .fetch_add(self.replaced, Ordering::Relaxed);
        }
        if self.lagged > 0 {
            self.all_lagged.fetch_add(self.lagged, Ordering::Relaxed);
            tracing::debug!(lagged = self.lagged, "let subscribers go that lag");
        }
    }
}

/// The receiving end of one subscription; dropping it ends the subscription.
#[derive(Debug)]
pub struct Live {
    hub: Hub,
    filter: Arc<Filter>,
    queue: Arc<Queue>,
}

impl Live {
    /// The next publication. Cancel-safe.
    pub async fn next(&mut self) -> Result<Arc<Publication>, Lagged> {
        loop {
            match poll_fn(|cx| self.queue.poll_pop(cx)).await? {
                Popped::Publication(publication) => return Ok(publication),
                Popped::NotBefore(time) => sleep_until(time).await,
            }
        }
    }

    /// The next publication if there is one now.
    pub fn try_next(&mut self) -> Result<Option<Arc<Publication>>, Lagged> {
        self.queue.try_pop()
    }

    /// What it is that is listened to.
    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Has what is published from now on go to `outlet`, until that does not take it all. Not if something waits; tells
    /// whether.
    pub(crate) fn attach(&mut self, outlet: Outlet) -> bool {
        let mut guard = self.hub.lock();
        let (index, mut sink) = guard.parts();
        let seated = index.change(&self.filter, |group| {
            group.seat(&self.queue, outlet, &mut sink)
        });
        seated.unwrap_or(false)
    }

    /// Whether what is published goes to an outlet.
    pub(crate) fn is_attached(&self) -> bool {
        self.queue.is_seated()
    }

    /// Ready once it is not attached any more. The task is woken by [`Hub::wake_all`] too.
    pub(crate) fn poll_returned(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.queue.poll_returned(cx)
    }

    /// The next publication; or `None`, where it is attached, once it is no more. Cancel-safe.
    pub(crate) async fn next_or_returned(
        &mut self,
        is_attached: bool,
    ) -> Result<Option<Arc<Publication>>, Lagged> {
        if !is_attached {
            return self.next().await.map(Some);
        }
        poll_fn(|cx| self.poll_returned(cx)).await;
        Ok(None)
    }

    /// Waits until the subscriber lags, and takes no publication. Cancel-safe.
    pub async fn lagged(&mut self) -> Lagged {
        poll_fn(|cx| self.queue.poll_lagged(cx)).await
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut guard = self.hub.lock();
        let index = &mut guard.registry.index;
        index.change(&self.filter, |group| group.remove(&self.queue));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cursor::{Cursor, Epoch};
    use crate::publication::Content;

    pub(super) fn publication(channel: &str, offset: u64, size: usize) -> Arc<Publication> {
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
