//! The candidates, each behind the two tables' worth of what a log needs: offsets to records.

use std::path::Path;

pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A map from offsets to records whose commits are on the disk when they return.
pub trait Store: Send {
    fn commit(&mut self, inserts: &[(u64, Vec<u8>)], deletes: &[u64]) -> Outcome<()>;
    fn get(&mut self, offset: u64) -> Outcome<Option<Vec<u8>>>;
    /// Calls `each` for every record in order.
    fn scan(&mut self, each: &mut dyn FnMut(u64, &[u8])) -> Outcome<()>;
}

/// The stores that were built in, by name.
pub const NAMES: &[&str] = &[
    #[cfg(feature = "fjall")]
    "fjall",
    #[cfg(feature = "lmdb")]
    "lmdb",
    #[cfg(feature = "redb")]
    "redb",
    #[cfg(feature = "sled")]
    "sled",
    #[cfg(feature = "sqlite")]
    "sqlite",
];

pub fn open(name: &str, dir: &Path) -> Outcome<Box<dyn Store>> {
    std::fs::create_dir_all(dir)?;
    Ok(match name {
        #[cfg(feature = "fjall")]
        "fjall" => Box::new(Fjall::open(dir)?),
        #[cfg(feature = "lmdb")]
        "lmdb" => Box::new(Lmdb::open(dir)?),
        #[cfg(feature = "redb")]
        "redb" => Box::new(Redb::open(dir)?),
        #[cfg(feature = "sled")]
        "sled" => Box::new(Sled(sled::open(dir.join("sled"))?)),
        #[cfg(feature = "sqlite")]
        "sqlite" => Box::new(Sqlite::open(dir)?),
        other => return Err(format!("no store `{other}`; there are: {NAMES:?}").into()),
    })
}

#[cfg(feature = "fjall")]
struct Fjall {
    db: fjall::Database,
    log: fjall::Keyspace,
}

#[cfg(feature = "fjall")]
impl Fjall {
    fn open(dir: &Path) -> Outcome<Self> {
        let db = fjall::Database::builder(dir.join("fjall")).open()?;
        let log = db.keyspace("log", fjall::KeyspaceCreateOptions::default)?;
        Ok(Self { db, log })
    }
}

#[cfg(feature = "fjall")]
impl Store for Fjall {
    fn commit(&mut self, inserts: &[(u64, Vec<u8>)], deletes: &[u64]) -> Outcome<()> {
        let mut batch = self
            .db
            .batch()
            .durability(Some(fjall::PersistMode::SyncData));
        for (offset, record) in inserts {
            batch.insert(&self.log, offset.to_be_bytes(), record.as_slice());
        }
        for offset in deletes {
            batch.remove(&self.log, offset.to_be_bytes());
        }
        Ok(batch.commit()?)
    }

    fn get(&mut self, offset: u64) -> Outcome<Option<Vec<u8>>> {
        Ok(self
            .log
            .get(offset.to_be_bytes())?
            .map(|record| record.to_vec()))
    }

    fn scan(&mut self, each: &mut dyn FnMut(u64, &[u8])) -> Outcome<()> {
        for entry in self.log.iter() {
            let (key, value) = entry.into_inner()?;
            each(u64::from_be_bytes(key[..].try_into()?), &value);
        }
        Ok(())
    }
}

#[cfg(feature = "lmdb")]
struct Lmdb {
    env: heed::Env,
    log: heed::Database<heed::types::U64<heed::byteorder::BE>, heed::types::Bytes>,
}

#[cfg(feature = "lmdb")]
impl Lmdb {
    fn open(dir: &Path) -> Outcome<Self> {
        // The one `unsafe` of this program, and the reason why the product cannot use it.
        let env = unsafe { heed::EnvOpenOptions::new().map_size(8 << 30).open(dir)? };
        let mut transaction = env.write_txn()?;
        let log = env.create_database(&mut transaction, None)?;
        transaction.commit()?;
        Ok(Self { env, log })
    }
}

#[cfg(feature = "lmdb")]
impl Store for Lmdb {
    fn commit(&mut self, inserts: &[(u64, Vec<u8>)], deletes: &[u64]) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        for (offset, record) in inserts {
            self.log.put(&mut transaction, offset, record)?;
        }
        for offset in deletes {
            self.log.delete(&mut transaction, offset)?;
        }
        Ok(transaction.commit()?)
    }

    fn get(&mut self, offset: u64) -> Outcome<Option<Vec<u8>>> {
        let transaction = self.env.read_txn()?;
        Ok(self.log.get(&transaction, &offset)?.map(<[u8]>::to_vec))
    }

    fn scan(&mut self, each: &mut dyn FnMut(u64, &[u8])) -> Outcome<()> {
        let transaction = self.env.read_txn()?;
        for entry in self.log.iter(&transaction)? {
            let (offset, record) = entry?;
            each(offset, record);
        }
        Ok(())
    }
}

#[cfg(feature = "redb")]
const REDB: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("log");

#[cfg(feature = "redb")]
struct Redb(redb::Database);

#[cfg(feature = "redb")]
impl Redb {
    fn open(dir: &Path) -> Outcome<Self> {
        let db = redb::Builder::new()
            .set_cache_size(64 << 20)
            .create(dir.join("log.redb"))?;
        let transaction = db.begin_write()?;
        transaction.open_table(REDB)?;
        transaction.commit()?;
        Ok(Self(db))
    }
}

#[cfg(feature = "redb")]
impl Store for Redb {
    fn commit(&mut self, inserts: &[(u64, Vec<u8>)], deletes: &[u64]) -> Outcome<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut log = transaction.open_table(REDB)?;
            for (offset, record) in inserts {
                log.insert(offset, record.as_slice())?;
            }
            for offset in deletes {
                log.remove(offset)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&mut self, offset: u64) -> Outcome<Option<Vec<u8>>> {
        use redb::ReadableDatabase as _;
        let log = self.0.begin_read()?.open_table(REDB)?;
        Ok(log.get(offset)?.map(|record| record.value().to_vec()))
    }

    fn scan(&mut self, each: &mut dyn FnMut(u64, &[u8])) -> Outcome<()> {
        use redb::{ReadableDatabase as _, ReadableTable as _};
        let log = self.0.begin_read()?.open_table(REDB)?;
        for entry in log.iter()? {
            let (offset, record) = entry?;
            each(offset.value(), record.value());
        }
        Ok(())
    }
}

#[cfg(feature = "sled")]
struct Sled(sled::Db);

#[cfg(feature = "sled")]
impl Store for Sled {
    fn commit(&mut self, inserts: &[(u64, Vec<u8>)], deletes: &[u64]) -> Outcome<()> {
        let mut batch = sled::Batch::default();
        for (offset, record) in inserts {
            batch.insert(&offset.to_be_bytes(), record.as_slice());
        }
        for offset in deletes {
            batch.remove(&offset.to_be_bytes());
        }
        self.0.apply_batch(batch)?;
        self.0.flush()?;
        Ok(())
    }

    fn get(&mut self, offset: u64) -> Outcome<Option<Vec<u8>>> {
        Ok(self
            .0
            .get(offset.to_be_bytes())?
            .map(|record| record.to_vec()))
    }

    fn scan(&mut self, each: &mut dyn FnMut(u64, &[u8])) -> Outcome<()> {
        for entry in self.0.iter() {
            let (key, value) = entry?;
            each(u64::from_be_bytes(key[..].try_into()?), &value);
        }
        Ok(())
    }
}

#[cfg(feature = "sqlite")]
struct Sqlite(rusqlite::Connection);

#[cfg(feature = "sqlite")]
impl Sqlite {
    fn open(dir: &Path) -> Outcome<Self> {
        let db = rusqlite::Connection::open(dir.join("log.db"))?;
        db.pragma_update(None, "journal_mode", "wal")?;
        db.pragma_update(None, "synchronous", "full")?;
        db.execute_batch(
            "CREATE TABLE IF NOT EXISTS log (offset INTEGER PRIMARY KEY, record BLOB NOT NULL)",
        )?;
        Ok(Self(db))
    }
}

#[cfg(feature = "sqlite")]
impl Store for Sqlite {
    fn commit(&mut self, inserts: &[(u64, Vec<u8>)], deletes: &[u64]) -> Outcome<()> {
        let transaction = self
            .0
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO log VALUES (?1, ?2)")?;
            for (offset, record) in inserts {
                insert.execute((*offset as i64, record))?;
            }
            let mut delete = transaction.prepare_cached("DELETE FROM log WHERE offset = ?1")?;
            for offset in deletes {
                delete.execute((*offset as i64,))?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&mut self, offset: u64) -> Outcome<Option<Vec<u8>>> {
        use rusqlite::OptionalExtension as _;
        let mut get = self
            .0
            .prepare_cached("SELECT record FROM log WHERE offset = ?1")?;
        Ok(get
            .query_row((offset as i64,), |row| row.get(0))
            .optional()?)
    }

    fn scan(&mut self, each: &mut dyn FnMut(u64, &[u8])) -> Outcome<()> {
        let mut all = self
            .0
            .prepare_cached("SELECT offset, record FROM log ORDER BY offset")?;
        let mut rows = all.query(())?;
        while let Some(row) = rows.next()? {
            each(row.get::<_, i64>(0)? as u64, row.get_ref(1)?.as_blob()?);
        }
        Ok(())
    }
}
