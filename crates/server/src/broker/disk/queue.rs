//! What waits for the writer's thread, bounded in bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::broker::{Appended, BrokerError, Idempotency, Outage};
use crate::channel::Channel;
use crate::publication::{Content, Publication};
use crate::sync::lock;

/// Bytes that may wait; whoever comes with more waits for its place.
const ROOM: usize = 16 << 20;
/// Most jobs in one commit, so that the first of them does not wait for long.
const MAX_BATCH: usize = 1024;

/// One thing to be written, and who waits for it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) channel: Channel,
    pub(super) kind: Kind,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
pub(super) enum Kind {
    Append {
        content: Content,
        idempotency: Option<Idempotency>,
        answer: oneshot::Sender<Result<Appended, BrokerError>>,
    },
    Remove {
        answer: oneshot::Sender<Result<(), BrokerError>>,
    },
}

/// What the writer is to do.
#[derive(Debug)]
pub(super) enum Next {
    Work(Vec<Job>),
    /// Nothing came for a while.
    Idle,
    /// Nothing comes any more.
    Over,
}

#[derive(Debug)]
pub(super) struct Queue {
    jobs: Mutex<Jobs>,
    came: Condvar,
    room: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Jobs {
    list: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            jobs: Mutex::default(),
            came: Condvar::new(),
            room: Arc::new(Semaphore::new(ROOM)),
        }
    }

    /// Puts a job in the queue, when there is room for it.
    pub(super) async fn push(&self, channel: Channel, kind: Kind) -> Result<(), Outage> {
        let body = match &kind {
            Kind::Append { content, .. } => content.body().len(),
            Kind::Remove { .. } => 0,
        };
        let size = (Publication::OVERHEAD + body).min(ROOM);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(size).await;
        let _room = room.map_err(|_| Outage::Closed)?;
        let mut jobs = self.lock();
        if jobs.closed {
            return Err(Outage::Closed);
        }
        jobs.list.push_back(Job {
            channel,
            kind,
            _room,
        });
        drop(jobs);
        self.came.notify_one();
        Ok(())
    }

    /// All that waits, up to a batch; waits itself for at most `patience`.
    pub(super) fn next(&self, patience: Duration) -> Next {
        let jobs = self.lock();
        let waited = self
            .came
            .wait_timeout_while(jobs, patience, |jobs| jobs.list.is_empty() && !jobs.closed);
        let (mut jobs, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if jobs.list.is_empty() {
            return if jobs.closed { Next::Over } else { Next::Idle };
        }
        let count = jobs.list.len().min(MAX_BATCH);
        Next::Work(jobs.list.drain(..count).collect())
    }

    /// Takes nothing more. What is in it is still done.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.came.notify_one();
    }

    /// As [`close`](Self::close), and what waits is given up.
    pub(super) fn abandon(&self) {
        self.close();
        self.lock().list.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().list.is_empty()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().list.len()
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        lock(&self.jobs)
    }
}
