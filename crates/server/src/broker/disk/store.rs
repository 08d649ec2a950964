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

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior};

use super::rows::Raw;
use crate::broker::{Fingerprint, Idempotency, Outage, Scope};
use crate::channel::Channel;
use crate::publication::Publication;

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

    /// Sets how commits are done: each is on the disk when it returns.
    pub(super) fn settle(&self) -> rusqlite::Result<()> {
        self.0.pragma_update(None, "journal_mode", "wal")?;
        self.0.pragma_update(None, "synchronous", "full")?;
        // Where fsync alone leaves the disk's own cache unwritten (macOS).
        self.0.pragma_update(None, "fullfsync", true)?;
        self.0.pragma_update(None, "checkpoint_fullfsync", true)
    }

    /// A setting as it is in force.
    pub(super) fn setting(&self, name: &str) -> rusqlite::Result<String> {
        self.0.pragma_query_value(None, name, |row| {
            let value = row.get_ref(0)?;
            Ok(match value.as_i64() {
                Ok(number) => number.to_string(),
                Err(_) => value.as_str()?.to_owned(),
            })
        })
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

    /// Calls `each` for every publication, in order.
    pub(super) fn rows(&self, mut each: impl FnMut(&Raw<'_>)) -> rusqlite::Result<()> {
        let sql = "SELECT offset, prev, time, channel, type, body, sum FROM log ORDER BY offset";
        let mut statement = self.0.prepare(sql)?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            each(&Raw::of(row)?);
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

/// What an error means to those who publish and read.
pub(super) fn outage(error: &rusqlite::Error) -> Outage {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Outage::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Outage::ReadOnly,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Outage::Damaged,
        _ => Outage::Failing,
    }
}
