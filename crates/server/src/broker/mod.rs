//! Where publications are kept and exchanged: the [`Broker`] trait and the brokers.

mod disk;
mod idempotency;
mod log;
mod memory;
mod missed;
mod retention;
#[cfg(test)]
mod suite;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::channel::{Channel, Filter};
use crate::cursor::Cursor;
use crate::hub::Live;
use crate::publication::{Content, Publication};

pub use self::disk::{DiskBroker, OpenError};
pub use self::idempotency::{Fingerprint, Idempotency, KEY_LIFETIME, Scope};
pub use self::memory::MemoryBroker;
pub use self::missed::{Missed, MissedPage, Pages};
pub use self::retention::{Bounds, Retention};

/// A log of publications and the way to follow it.
///
/// # What a broker guarantees
///
/// - **One order.** Each publication of an epoch has an offset of its own, greater than all before
///   it; no offset is used twice, not for a publication that was lost either. Everybody sees the
///   publications of any set of channels in the order of their offsets.
/// - **Nothing early.** A publication is shown to anybody (by `latest`, `read`, `subscribe`, or
///   live) only once it is as durable as the `Ok` of its `append` promises. An `append` that was
///   dropped half-way or that failed as [`Unavailable`](BrokerError::Unavailable) may or may not
///   have happened; its idempotency key tells when it is tried again. What a broker keeps for
///   longer than its process lives, it keeps the keys of for as long.
/// - **No hole, no double.** In a [`Subscription`], `missed` and then `live` together hold every
///   matching publication after the cursor, in order, each once, however many are appended while
///   the subscription is made.
/// - **No silent gap.** Whoever comes with a cursor after which something it asked for was
///   dropped gets `recovered: false`. A broker remembers for each channel the greatest offset that
///   it dropped, by a bound or by `remove` (its floor); for channels that it forgot it keeps one
///   floor, the greatest of theirs. A cursor is honoured if it is of this epoch, not beyond the
///   log's end, and not below the floor of a channel that the filter covers. A log that was cut
///   short, copied, or put back from a copy begins a new epoch.
/// - **Bounds hold.** What is kept stays within what its [`Retention`] says, whatever is appended;
///   a smaller one drops what is over it. What is over a bound at once is shown to those who
///   listen, and then dropped like anything else.
///
/// All methods may be called at the same time from any thread, and none holds it up: what waits
/// for a disk or a network does so in its future. Dropping a returned future before its end loses
/// nothing but its answer.
pub trait Broker: fmt::Debug + Send + Sync + 'static {
    /// Appends a publication.
    fn append(
        &self,
        channel: Channel,
        content: Content,
        options: AppendOptions,
    ) -> BoxFuture<'_, Result<Appended, BrokerError>>;

    /// The latest publication of a channel that is kept.
    fn latest<'a>(
        &'a self,
        channel: &'a Channel,
    ) -> BoxFuture<'a, Result<Option<Arc<Publication>>, BrokerError>>;

    /// At most `limit` publications, at least one if there is one, from `since` on; see [`Since`].
    /// A broker may give fewer, to bound what it holds; the page's cursor goes on from there.
    fn read<'a>(
        &'a self,
        filter: &'a Filter,
        since: Since,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, BrokerError>>;

    /// All publications from `since` on, and those to come; see [`Since`].
    fn subscribe<'a>(
        &'a self,
        filter: &'a Filter,
        since: Since,
    ) -> BoxFuture<'a, Result<Subscription, BrokerError>>;

    /// Forgets the history of a channel. Its offsets are not used again, subscribers stay, and a
    /// cursor from before is a gap.
    fn remove<'a>(&'a self, channel: &'a Channel) -> BoxFuture<'a, Result<(), BrokerError>>;

    /// Keeps what `retention` says from now on. What is over it is dropped when this returns; where
    /// that is much, what is asked meanwhile is answered in between, so that this is not for a
    /// thread that others wait for.
    fn retain(&self, retention: Retention);

    /// What is kept now, and whether publications are taken.
    fn stats(&self) -> Stats;

    /// Ends what is under way and lets go of the store; for the end of the process. What comes
    /// later is told [`Outage::Closed`], where there is a store to let go of.
    fn close(&self) -> BoxFuture<'_, Result<(), BrokerError>>;
}

/// How a publication is appended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppendOptions {
    /// What the append is known by when it is tried again: one in the same scope within
    /// [`KEY_LIFETIME`] is not done again. With the same fingerprint it gets the first one's answer,
    /// with another [`KeyReused`](BrokerError::KeyReused).
    pub idempotency: Option<Idempotency>,
}

impl AppendOptions {
    /// The same, known by `idempotency` if there is one.
    #[must_use]
    pub fn idempotency(mut self, idempotency: Option<Idempotency>) -> Self {
        self.idempotency = idempotency;
        self
    }
}

/// Where a listener wants to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// It comes for the first time: the latest publication of each matching channel in the order
    /// of their offsets, then what comes. Nothing is lost.
    Start,
    /// It has all up to this cursor: all that came after it if the cursor is honoured, else as at
    /// the start, with `recovered: false`.
    Cursor(Cursor),
    /// It had a place, but nobody can tell which: as at the start, with `recovered: false`.
    Unknown,
}

/// Where a publication was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The place just after it.
    pub cursor: Cursor,
    /// When it was appended, in whole milliseconds.
    pub time: Timestamp,
}

/// A piece of a log.
#[derive(Debug)]
pub struct Page {
    /// The publications, in order.
    pub publications: Vec<Arc<Publication>>,
    /// Where to go on: from here nothing is missed and nothing comes twice.
    pub cursor: Cursor,
    /// Whether this follows what the reader had without a gap.
    pub recovered: bool,
}

/// A piece of a log and all that is to come.
#[derive(Debug)]
pub struct Subscription {
    /// The place just before the first publication that follows: the cursor that was honoured, or
    /// after a start or a gap the place before the first of `missed`, the log's end if there is
    /// none.
    pub cursor: Cursor,
    /// Whether this follows what the subscriber had without a gap.
    pub recovered: bool,
    /// What was missed, or after a start or a gap the latest; in order.
    pub missed: Missed,
    /// What comes after that.
    pub live: Live,
}

/// What a broker keeps, for those who watch over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Publications kept.
    pub publications: usize,
    /// What they weigh; see [`Publication::weight`].
    pub bytes: usize,
    /// Channels known.
    pub channels: usize,
    /// Appends that wait to be written.
    pub waiting: usize,
    /// Why the last publication was not taken, if it was not.
    pub outage: Option<Outage>,
}

/// Why a broker did not do as it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The idempotency key was used for another publication.
    #[error("the idempotency key was used for another publication a short while ago")]
    KeyReused,
    /// A bound is reached; trying again after that time may help.
    #[error("too much is under way; try again in {} s", retry_after.as_secs())]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The store does not do it now. The memory broker never says this.
    #[error(transparent)]
    Unavailable(#[from] Outage),
}

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Outage {
    /// No space is left.
    #[error("the disk that the log lies on is full")]
    Full,
    /// The file system takes no writes.
    #[error("the disk that the log lies on takes no writes: it is read-only")]
    ReadOnly,
    /// The system refused to read or to write.
    #[error("the disk that the log lies on failed, or a limit on the size of files is reached")]
    Failing,
    /// What was read is not what was written.
    #[error("the log on the disk is damaged")]
    Damaged,
    /// The broker was closed.
    #[error("the log is closed: the server is going down")]
    Closed,
    /// Another machine keeps the log, and does not answer.
    #[error("the log cannot be reached")]
    Unreachable,
}

impl Outage {
    /// When it is worth while to try again: what needs a hand takes longer.
    pub fn retry_after(self) -> Duration {
        match self {
            Self::Full | Self::ReadOnly | Self::Failing | Self::Damaged => Duration::from_secs(10),
            Self::Closed | Self::Unreachable => Duration::from_secs(1),
        }
    }
}
