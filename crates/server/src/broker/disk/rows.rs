//! Rows of publications: how they are written, checked and read back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use super::store::{New, outage};
use crate::broker::Outage;
use crate::broker::idempotency::digest;
use crate::cursor::{Cursor, Epoch};
use crate::publication::{Content, Publication};

/// A connection that reads.
#[derive(Debug)]
pub(super) struct Reader(Connection);

/// The log as it was at one moment, whatever is written since.
#[derive(Debug)]
pub(super) struct Snapshot<'a>(rusqlite::Transaction<'a>);

impl Reader {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(path, flags).map(Self)
    }

    /// What is wrong with the tables' structure.
    pub(super) fn fault(&self) -> rusqlite::Result<Option<String>> {
        let found: String = self
            .0
            .query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
        Ok((found != "ok").then_some(found))
    }

    pub(super) fn snapshot(&mut self) -> Result<Snapshot<'_>, Outage> {
        fn begin(connection: &mut Connection) -> rusqlite::Result<Snapshot<'_>> {
            let transaction = connection.transaction()?;
            // The moment is that of the first look.
            transaction
                .prepare_cached("SELECT last FROM meta")?
                .query_row((), |_| Ok(()))?;
            Ok(Snapshot(transaction))
        }
        begin(&mut self.0).map_err(|error| outage(&error))
    }
}

impl Snapshot<'_> {
    /// The publication at `offset`, with a cursor of `epoch`; it must be there.
    pub(super) fn get(&self, offset: u64, epoch: Epoch) -> Result<Arc<Publication>, Outage> {
        let sql = "SELECT offset, prev, time, channel, type, body, sum FROM log WHERE offset = ?1";
        let get = || {
            self.0
                .prepare_cached(sql)?
                .query_row((offset.cast_signed(),), |row| {
                    Ok(Raw::of(row)?.publication(epoch))
                })
        };
        let damaged = || {
            tracing::error!(offset, "a publication on the disk is not what was written");
            Outage::Damaged
        };
        match get() {
            Ok(publication) => publication.map(Arc::new).ok_or_else(damaged),
            Err(rusqlite::Error::QueryReturnedNoRows) => Err(damaged()),
            Err(error) => Err(outage(&error)),
        }
    }
}

/// A row of `log` as it lies there.
pub(super) struct Raw<'a> {
    pub(super) offset: i64,
    pub(super) prev: i64,
    pub(super) time: i64,
    pub(super) channel: &'a str,
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
    told: i64,
}

impl<'a> Raw<'a> {
    pub(super) fn of(row: &'a rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            offset: row.get(0)?,
            prev: row.get(1)?,
            time: row.get(2)?,
            channel: row.get_ref(3)?.as_str()?,
            content_type: row.get_ref(4)?.as_str()?,
            body: row.get_ref(5)?.as_blob()?,
            told: row.get(6)?,
        })
    }

    /// What is kept of the whole row, so that a damaged one is known: SQLite itself has no sum.
    pub(super) fn sum(&self) -> i64 {
        let [a, b, c, d, e, f, g, h, ..] = digest([
            &self.offset.to_be_bytes(),
            &self.prev.to_be_bytes(),
            &self.time.to_be_bytes(),
            self.channel.as_bytes(),
            self.content_type.as_bytes(),
            self.body,
        ]);
        i64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Whether it is what was written.
    pub(super) fn is_whole(&self) -> bool {
        self.sum() == self.told
    }

    /// See [`Publication::weight`].
    pub(super) fn weight(&self) -> usize {
        Publication::OVERHEAD + self.channel.len() + self.content_type.len() + self.body.len()
    }

    fn publication(&self, epoch: Epoch) -> Option<Publication> {
        self.is_whole().then_some(())?;
        Some(Publication::new(
            self.channel.parse().ok()?,
            Cursor::after(epoch, self.offset.cast_unsigned()),
            Timestamp::from_millisecond(self.time).ok()?,
            Content::kept(self.content_type, Bytes::copy_from_slice(self.body)),
        ))
    }
}

impl<'a> From<&'a New> for Raw<'a> {
    fn from(new: &'a New) -> Self {
        let publication = &*new.publication;
        Self {
            offset: publication.offset().cast_signed(),
            prev: new.prev.cast_signed(),
            time: publication.time().as_millisecond(),
            channel: publication.channel().as_str(),
            content_type: publication.content().content_type(),
            body: publication.content().body(),
            told: 0,
        }
    }
}

/// Time since 1970, which no clock worth the name is before.
pub(super) fn millis(time: i64) -> Duration {
    Duration::from_millis(u64::try_from(time).unwrap_or_default())
}
