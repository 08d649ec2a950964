//! The disk broker: a log that outlives the process.
//!
//! The books are in memory (`Log`), the publications in a database (`store`), which one thread
//! writes (`writer`). What is in the books lies in the database for as long as a reader needs it:
//! it is entered there before it is shown, and taken out after it was dropped from the books. So a
//! reader that begins its snapshot while it holds the books finds all that they name.

mod open;
mod place;
mod queue;
mod reading;
mod recent;
mod rows;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::oneshot;

use self::queue::{Kind, Queue};
use self::reading::{Answer, Question, Readers};
use self::recent::Recent;
use super::log::{Entry, Log, in_steps};
use super::{
    AppendOptions, Appended, Broker, BrokerError, Missed, Outage, Page, Retention, Since, Stats,
    Subscription,
};
use crate::channel::{Channel, Filter};
use crate::clock::{Clock, SystemClock};
use crate::hub::Hub;
use crate::publication::{Content, Publication};
use crate::sync::lock;

pub use self::open::OpenError;

/// What is kept of all channels where nothing else is said.
const TOTAL_BYTES: usize = 1 << 30;

/// A [`Broker`] that keeps its log in a directory. An append is acknowledged, and shown to anybody,
/// once it is synced to the disk; all that wait for that at the same time share one sync. Cursors,
/// floors and idempotency keys outlive the process.
///
/// In memory it keeps about 140 bytes for each publication and 300 for each channel, and the
/// newest 16 MiB of publications. It needs a tokio runtime to be asked.
#[derive(Debug)]
pub struct DiskBroker {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl DiskBroker {
    /// Opens the log in `dir`, which is made if it is not there, keeps what `retention` says of it,
    /// with room for `keys` idempotency keys, and hands what is published to `hub`. Reads the whole log once, to
    /// check it, so it is not for a thread that others wait for.
    ///
    /// # Errors
    /// [`OpenError`] if the directory cannot be used, another process uses it, or what is in it is
    /// not a log that this server can read. Nothing is changed then.
    pub fn open(
        dir: &Path,
        retention: impl Into<Retention>,
        keys: usize,
        hub: Hub,
    ) -> Result<Self, OpenError> {
        Self::with_clock(dir, retention, keys, hub, Arc::new(SystemClock::new()))
    }

    /// The same, by a clock of the caller's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_clock(
        dir: &Path,
        retention: impl Into<Retention>,
        keys: usize,
        hub: Hub,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let writer = open::open(dir, retention.into(), keys, hub, clock)?;
        let shared = Arc::clone(&writer.shared);
        let thread = thread::Builder::new().name("openline-log".to_owned());
        let guard = Abandon(Arc::clone(&shared));
        let thread = thread.spawn(move || {
            let _guard = guard;
            writer.run();
        });
        let failed = |source| OpenError::Directory {
            dir: dir.to_owned(),
            source,
        };
        Ok(Self {
            shared,
            writer: Mutex::new(Some(thread.map_err(failed)?)),
        })
    }

    async fn ask(&self, question: Question) -> Result<Answer, Outage> {
        reading::ask(&self.shared, question).await
    }

    /// The thread, for one who waits for its end.
    fn end(&self) -> Option<JoinHandle<()>> {
        self.shared.queue.close();
        lock(&self.writer).take()
    }
}

impl Drop for DiskBroker {
    fn drop(&mut self) {
        // The directory is free for another when this returns.
        if let Some(thread) = self.end() {
            let _ = thread.join();
        }
    }
}

/// Whoever waits for the thread is told when it is gone, even by a panic.
struct Abandon(Arc<Shared>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.queue.abandon();
    }
}

impl Broker for DiskBroker {
    fn append(
        &self,
        channel: Channel,
        content: Content,
        options: AppendOptions,
    ) -> BoxFuture<'_, Result<Appended, BrokerError>> {
        async move {
            let (answer, told) = oneshot::channel();
            let kind = Kind::Append {
                content,
                idempotency: options.idempotency,
                answer,
            };
            self.shared.queue.push(channel, kind).await?;
            told.await.map_err(|_| Outage::Closed)?
        }
        .boxed()
    }

    fn latest<'a>(
        &'a self,
        channel: &'a Channel,
    ) -> BoxFuture<'a, Result<Option<Arc<Publication>>, BrokerError>> {
        async move {
            let mut answer = self.ask(Question::Latest(channel.clone())).await?;
            Ok(answer.publications.pop())
        }
        .boxed()
    }

    fn read<'a>(
        &'a self,
        filter: &'a Filter,
        since: Since,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, BrokerError>> {
        async move {
            let question = Question::Read(filter.clone(), since, limit);
            let answer = self.ask(question).await?;
            Ok(Page {
                publications: answer.publications,
                cursor: answer.cursor,
                recovered: answer.recovered,
            })
        }
        .boxed()
    }

    fn subscribe<'a>(
        &'a self,
        filter: &'a Filter,
        since: Since,
    ) -> BoxFuture<'a, Result<Subscription, BrokerError>> {
        async move {
            let question = Question::Subscribe(filter.clone(), since);
            let answer = self.ask(question).await?;
            let rest = answer.rest(&self.shared, filter);
            Ok(Subscription {
                cursor: answer.cursor,
                recovered: answer.recovered,
                missed: Missed::new(answer.publications, rest),
                // Every answer to this question has one.
                live: answer.live.ok_or(Outage::Closed)?,
            })
        }
        .boxed()
    }

    fn remove<'a>(&'a self, channel: &'a Channel) -> BoxFuture<'a, Result<(), BrokerError>> {
        async move {
            let (answer, told) = oneshot::channel();
            let kind = Kind::Remove { answer };
            self.shared.queue.push(channel.clone(), kind).await?;
            told.await.map_err(|_| Outage::Closed)?
        }
        .boxed()
    }

    fn retain(&self, retention: Retention) {
        let trim = lock(&self.shared.state).log.retain(retention);
        if let Some(mut trim) = trim {
            in_steps(|| {
                let now = self.shared.now();
                lock(&self.shared.state).log.trim(&mut trim, now)
            });
        }
    }

    fn stats(&self) -> Stats {
        let (publications, bytes, channels) = self.shared.state().log.size();
        Stats {
            publications,
            bytes,
            channels,
            waiting: self.shared.queue.len(),
            outage: *self.shared.outage(),
        }
    }

    fn close(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        async move {
            if let Some(thread) = self.end() {
                let joined = tokio::task::spawn_blocking(move || thread.join()).await;
                joined
                    .map_err(|_| Outage::Failing)?
                    .map_err(|_| Outage::Failing)?;
            }
            Ok(())
        }
        .boxed()
    }
}

/// What the writer and those who read have in common.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    queue: Queue,
    readers: Readers,
    hub: Hub,
    clock: Arc<dyn Clock>,
    /// The time of day when the log was opened, less what the clock had passed then: ages are
    /// measured by a clock that never jumps, and go on where the last process left them.
    since: Duration,
    outage: Mutex<Option<Outage>>,
    path: PathBuf,
}

/// The books.
#[derive(Debug)]
struct State {
    log: Log<Slot>,
    recent: Recent,
}

/// A publication in the database.
#[derive(Debug, Clone, Copy)]
struct Slot {
    offset: u64,
    weight: u32,
}

impl Slot {
    fn of(publication: &Publication) -> Self {
        Self::new(publication.offset(), publication.weight())
    }

    fn new(offset: u64, weight: usize) -> Self {
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        Self { offset, weight }
    }
}

impl Entry for Slot {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn weight(&self) -> usize {
        self.weight as usize
    }
}

impl Shared {
    /// Where this log's time stands.
    fn now(&self) -> Duration {
        self.since + self.clock.elapsed()
    }

    /// The books, rid of what is too old by now.
    fn state(&self) -> MutexGuard<'_, State> {
        loop {
            let now = self.now();
            let mut state = lock(&self.state);
            if !state.log.expire(now) {
                return state;
            }
        }
    }

    fn outage(&self) -> MutexGuard<'_, Option<Outage>> {
        lock(&self.outage)
    }

    /// Remembers how the last write went, and logs where that changes.
    fn report(&self, now: Option<(Outage, &rusqlite::Error)>) {
        let path = self.path.display();
        let mut outage = self.outage();
        match now {
            Some((now, error)) if *outage != Some(now) => {
                tracing::error!(%path, %error, "cannot write the log, publications are refused: {now}");
            }
            None if outage.is_some() => {
                tracing::warn!(%path, "the log is written again, publications are taken");
            }
            _ => {}
        }
        *outage = now.map(|(now, _)| now);
    }
}
