//! The tables of the log, in SQLite.
//!
//! | table | a row | |
//! |---|---|---|
//! | `log` | a publication | `prev` is the offset of its channel's last one before it, kept or not: that of the first one kept is the channel's floor |
//! | `floors` | a channel | one that has no publications, or of which all up to `floor` were removed |
//! | `keys` | an idempotency key | by the offset of its publication |
//! | `meta` | only one | the epoch, the log's end, the floor of all forgotten channels |

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior};

use crate::broker::idempotency::digest;
use crate::broker::{Fingerprint, Idempotency, Outage, Scope};
use crate::channel::Channel;
use crate::cursor::{Cursor, Epoch};
use crate::publication::{Content, Publication};

/// What the file says it is, in its head.
const APPLICATION: i32 = 0x4f70_6e6c;
/// The form of the tables; a server reads none that is newer than it knows.
pub(super) const FORMAT: i32 = 1;

const TABLES: &str = "
    CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        epoch TEXT NOT NULL, identity TEXT NOT NULL,
        last INTEGER NOT NULL, forgotten INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE log (
        offset INTEGER PRIMARY KEY, prev INTEGER NOT NULL, time INTEGER NOT NULL,
        channel TEXT NOT NULL, type TEXT NOT NULL, body BLOB NOT NULL, sum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE floors (channel TEXT PRIMARY KEY, floor INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE keys (
        offset INTEGER PRIMARY KEY, time INTEGER NOT NULL,
        scope BLOB NOT NULL, fingerprint BLOB NOT NULL
    ) STRICT;
";

/// What the file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Format {
    New,
    Known,
    Newer(i32),
    Foreign,
}

/// The one connection that writes.
#[derive(Debug)]
pub(super) struct Store(Connection);

/// What one commit changes, all of it or nothing.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) new: Vec<New>,
    /// Offsets of publications that are dropped.
    pub(super) gone: Vec<u64>,
    /// Channels up to whose floor nothing counts any more.
    pub(super) floors: Vec<(Channel, u64)>,
    pub(super) forget: Vec<Channel>,
    pub(super) forgotten: u64,
    /// Offset up to which no key is remembered.
    pub(super) keys_gone: u64,
    pub(super) last: u64,
}

/// A publication that is appended.
#[derive(Debug)]
pub(super) struct New {
    pub(super) publication: Arc<Publication>,
    pub(super) prev: u64,
    pub(super) idempotency: Option<Idempotency>,
}

/// The log's head.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    pub(super) epoch: String,
    pub(super) identity: String,
    pub(super) last: u64,
    pub(super) forgotten: u64,
}

/// What is known of a publication without its body.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) offset: u64,
    pub(super) prev: u64,
    pub(super) time: Duration,
    pub(super) channel: Channel,
    pub(super) weight: usize,
}

impl Store {
    /// Opens the database, made if it is not there.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Ok(Self(Connection::open_with_flags(path, flags)?))
    }

    pub(super) fn format(&self) -> rusqlite::Result<Format> {
        let number = |name| self.0.pragma_query_value(None, name, |row| row.get(0));
        let tables: u32 = self
            .0
            .query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
        Ok(match (number("application_id")?, number("user_version")?) {
            (APPLICATION, FORMAT) => Format::Known,
            (APPLICATION, newer) => Format::Newer(newer),
            (0, 0) if tables == 0 => Format::New,
            _ => Format::Foreign,
        })
    }

    pub(super) fn is_read_only(&self) -> rusqlite::Result<bool> {
        self.0.is_readonly(rusqlite::MAIN_DB)
    }

    /// What is wrong with the tables' structure.
    pub(super) fn fault(&self) -> rusqlite::Result<Option<String>> {
        let found: String = self
            .0
            .query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
        Ok((found != "ok").then_some(found))
    }

    /// Sets how commits are done: each is on the disk when it returns.
    pub(super) fn settle(&self) -> rusqlite::Result<()> {
        self.0.pragma_update(None, "journal_mode", "wal")?;
        self.0.pragma_update(None, "synchronous", "full")?;
        // Where fsync alone leaves the disk's own cache unwritten (macOS).
        self.0.pragma_update(None, "fullfsync", true)?;
        self.0.pragma_update(None, "checkpoint_fullfsync", true)
    }

    /// Makes the tables.
    pub(super) fn create(&mut self) -> rusqlite::Result<()> {
        let transaction = self.0.transaction()?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.execute_batch(TABLES)?;
        transaction.commit()
    }

    pub(super) fn meta(&self) -> rusqlite::Result<Option<Meta>> {
        let sql = "SELECT epoch, identity, last, forgotten FROM meta";
        let meta = self.0.query_row(sql, (), |row| {
            Ok(Meta {
                epoch: row.get(0)?,
                identity: row.get(1)?,
                last: row.get::<_, i64>(2)?.cast_unsigned(),
                forgotten: row.get::<_, i64>(3)?.cast_unsigned(),
            })
        });
        meta.optional()
    }

    pub(super) fn set_meta(&self, meta: &Meta) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO meta (one, epoch, identity, last, forgotten) \
                   VALUES (1, ?1, ?2, ?3, ?4)";
        let (last, forgotten) = (meta.last.cast_signed(), meta.forgotten.cast_signed());
        self.0
            .execute(sql, (&meta.epoch, &meta.identity, last, forgotten))
            .map(drop)
    }

    /// Calls `each` for every publication, in order; `None` for one that is not what was written.
    pub(super) fn rows(&self, mut each: impl FnMut(Option<Row>)) -> rusqlite::Result<()> {
        let sql = "SELECT offset, prev, time, channel, type, body, sum FROM log ORDER BY offset";
        let mut statement = self.0.prepare(sql)?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            each(Raw::of(row)?.checked());
        }
        Ok(())
    }

    pub(super) fn floors(&self) -> rusqlite::Result<Vec<(String, u64)>> {
        let mut statement = self.0.prepare("SELECT channel, floor FROM floors")?;
        let floors = statement.query_map((), |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()))
        })?;
        floors.collect()
    }

    /// The idempotency keys in the order of their offsets, with the times of their publications.
    pub(super) fn keys(&self) -> rusqlite::Result<Vec<(u64, i64, Idempotency)>> {
        let sql = "SELECT offset, time, scope, fingerprint FROM keys ORDER BY offset";
        let mut statement = self.0.prepare(sql)?;
        let keys = statement.query_map((), |row| {
            let idempotency = Idempotency {
                scope: Scope(row.get(2)?),
                fingerprint: Fingerprint(row.get(3)?),
            };
            Ok((
                row.get::<_, i64>(0)?.cast_unsigned(),
                row.get(1)?,
                idempotency,
            ))
        })?;
        keys.collect()
    }

    /// Does all of it, and returns when it is on the disk.
    ///
    /// When nothing more can be written behind what waits to be moved into the database, that is
    /// moved, and what it took is written over: a log that has found its size goes on so even on a
    /// disk that others have filled.
    pub(super) fn commit(&mut self, changes: &Changes) -> rusqlite::Result<()> {
        match self.try_commit(changes) {
            Err(error) if matches!(outage(&error), Outage::Full | Outage::Failing) => {
                self.0
                    .query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))
                    .map_err(|_| error)?;
                self.try_commit(changes)
            }
            done => done,
        }
    }

    fn try_commit(&mut self, changes: &Changes) -> rusqlite::Result<()> {
        let transaction = self
            .0
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
            let mut key = transaction.prepare_cached("INSERT INTO keys VALUES (?1, ?2, ?3, ?4)")?;
            for new in &changes.new {
                let raw = Raw::from(new);
                insert.execute((
                    raw.offset,
                    raw.prev,
                    raw.time,
                    raw.channel,
                    raw.content_type,
                    raw.body,
                    raw.sum(),
                ))?;
                if let Some(asked) = &new.idempotency {
                    key.execute((raw.offset, raw.time, asked.scope.0, asked.fingerprint.0))?;
                }
            }
            let mut delete = transaction.prepare_cached("DELETE FROM log WHERE offset = ?1")?;
            for offset in &changes.gone {
                delete.execute((offset.cast_signed(),))?;
            }
            let mut floor =
                transaction.prepare_cached("INSERT OR REPLACE INTO floors VALUES (?1, ?2)")?;
            for (channel, offset) in &changes.floors {
                floor.execute((channel.as_str(), offset.cast_signed()))?;
            }
            let mut forget = transaction.prepare_cached("DELETE FROM floors WHERE channel = ?1")?;
            for channel in &changes.forget {
                forget.execute((channel.as_str(),))?;
            }
            transaction
                .prepare_cached("DELETE FROM keys WHERE offset <= ?1")?
                .execute((changes.keys_gone.cast_signed(),))?;
            let (last, forgotten) = (changes.last.cast_signed(), changes.forgotten.cast_signed());
            transaction
                .prepare_cached("UPDATE meta SET last = ?1, forgotten = ?2")?
                .execute((last, forgotten))?;
        }
        transaction.commit()
    }
}

/// A connection that reads.
#[derive(Debug)]
pub(super) struct Reader(Connection);

/// The log as it was at one moment, whatever is written since.
#[derive(Debug)]
pub(super) struct Snapshot<'a>(rusqlite::Transaction<'a>);

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, Outage> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags);
        connection.map(Self).map_err(|error| outage(&error))
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
struct Raw<'a> {
    offset: i64,
    prev: i64,
    time: i64,
    channel: &'a str,
    content_type: &'a str,
    body: &'a [u8],
    told: i64,
}

impl<'a> Raw<'a> {
    fn of(row: &'a rusqlite::Row<'_>) -> rusqlite::Result<Self> {
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
    fn sum(&self) -> i64 {
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

    fn checked(&self) -> Option<Row> {
        (self.sum() == self.told).then_some(())?;
        let names = self.channel.len() + self.content_type.len();
        Some(Row {
            offset: self.offset.cast_unsigned(),
            prev: self.prev.cast_unsigned(),
            time: millis(self.time),
            channel: self.channel.parse().ok()?,
            weight: Publication::OVERHEAD + names + self.body.len(),
        })
    }

    fn publication(&self, epoch: Epoch) -> Option<Publication> {
        let row = self.checked()?;
        Some(Publication::new(
            row.channel,
            Cursor::after(epoch, row.offset),
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

/// What an error means to those who publish and read.
pub(super) fn outage(error: &rusqlite::Error) -> Outage {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Outage::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Outage::ReadOnly,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Outage::Damaged,
        _ => Outage::Failing,
    }
}
