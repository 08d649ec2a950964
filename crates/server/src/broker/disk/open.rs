//! Opening a log: what was left by the last process, checked and taken over.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use jiff::Timestamp;

use super::place::{Mark, Place};
use super::queue::Queue;
use super::reading::Readers;
use super::recent::Recent;
use super::rows::{Raw, Reader, millis};
use super::store::{self, FORMAT, Format, Meta, Store};
use super::writer::Writer;
use super::{Shared, Slot, State, TOTAL_BYTES};
use crate::broker::idempotency::Keys;
use crate::broker::log::{Left, Log};
use crate::broker::{Appended, Outage, Retention};
use crate::clock::Clock;
use crate::cursor::{Cursor, Epoch};
use crate::hub::Hub;

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use: another server keeps its log there", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// There is something else of that name.
    #[error("{} is not a directory", dir.display())]
    NotDirectory {
        /// What should be the directory.
        dir: PathBuf,
    },
    /// The directory cannot be made, or written in.
    #[error("cannot keep a log in {}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log is of a newer form than this program knows.
    #[error("{} is of form {found}, made by a newer Openline; this one knows form {known}", path.display())]
    Newer {
        /// The log's file.
        path: PathBuf,
        /// The form that it says it has.
        found: i32,
        /// The newest form that is known here.
        known: i32,
    },
    /// The file is something else.
    #[error("{} is not a log of Openline's", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// What is in the log is not what was written.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The log's file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The log cannot be read, or not be written.
    #[error("cannot open the log {}", path.display())]
    Log {
        /// The log's file.
        path: PathBuf,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Takes the directory, and all that is in it.
pub(super) fn open(
    dir: &Path,
    retention: Retention,
    keys: usize,
    hub: Hub,
    clock: Arc<dyn Clock>,
) -> Result<Writer, OpenError> {
    let place = Place::take(dir)?;
    let path = place.log();
    let lost = |source| OpenError::Directory {
        dir: dir.to_owned(),
        source,
    };
    let failed = |error: rusqlite::Error| match store::outage(&error) {
        Outage::Damaged => OpenError::Damaged {
            path: path.clone(),
            what: error.to_string(),
        },
        _ => OpenError::Log {
            path: path.clone(),
            source: Box::new(error),
        },
    };
    let damaged = |what: String| OpenError::Damaged {
        path: path.clone(),
        what,
    };

    let mut store = Store::open(&path).map_err(failed)?;
    if store.is_read_only().map_err(failed)? {
        return Err(lost(io::ErrorKind::PermissionDenied.into()));
    }
    let format = store.format().map_err(failed)?;
    match format {
        Format::New | Format::Known => store.settle().map_err(failed)?,
        Format::Newer(found) => {
            return Err(OpenError::Newer {
                path,
                found,
                known: FORMAT,
            });
        }
        Format::Foreign => return Err(OpenError::Foreign { path }),
    }
    if store.setting("journal_mode").map_err(failed)? != "wal" {
        return Err(lost(io::Error::new(
            io::ErrorKind::Unsupported,
            "its file system cannot share memory between readers and the writer; use a local one",
        )));
    }
    if format == Format::New {
        store.create().map_err(failed)?;
    }

    let left = read(&store, &path).map_err(|error| match error {
        Read::Damaged(what) => damaged(what),
        Read::Failed(error) => failed(error),
    })?;
    let (meta, mark) = settle_epoch(&place, &store, left.last(), &failed, &lost)?;
    let epoch: Epoch = meta
        .epoch
        .parse()
        .map_err(|_| damaged("it has no epoch".to_owned()))?;

    // Where this log's time stands: the time of day, and from now on what the clock passes.
    let base = millis(clock.now().as_millisecond());
    let since = base.saturating_sub(clock.elapsed());
    let mut log = Log::new(retention, TOTAL_BYTES, epoch, meta.last);
    log.note_drops();
    log.set_forgotten(meta.forgotten);
    let removed = log.take_over(left, base);
    log.set_last(meta.last);

    let mut known = Keys::new(keys);
    for (offset, time, idempotency) in store.keys().map_err(failed)? {
        let appended = Appended {
            cursor: Cursor::after(epoch, offset),
            time: Timestamp::from_millisecond(time)
                .map_err(|_| damaged("a key has no time".to_owned()))?,
        };
        known.remember(millis(time).min(base), &idempotency, appended);
    }

    let mut dropped: VecDeque<_> = log.take_drops().into();
    dropped.extend(removed);
    let next = meta.last + 1;
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            log,
            recent: Recent::default(),
        }),
        queue: Queue::new(),
        readers: Readers::new(path.clone()),
        hub,
        clock,
        since,
        outage: Mutex::new(None),
        path,
    });
    Ok(Writer {
        shared,
        store,
        mark,
        keys: known,
        next,
        dropped,
        place,
    })
}

enum Read {
    Damaged(String),
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Read {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// All that is known of the publications, checked: each by its own sum, while another thread looks at how they lie there.
fn read(store: &Store, path: &Path) -> Result<Left<Slot>, Read> {
    let is_no_channel = |name: &str| Read::Damaged(format!("{name:?} is not a channel"));
    let mut left = Left::new();
    for (name, floor) in store.floors()? {
        left.floor(&name, floor).map_err(|_| is_no_channel(&name))?;
    }
    let mut broken = 0_u64;
    let mut enter = |raw: &Raw<'_>| {
        let slot = Slot::new(raw.offset.cast_unsigned(), raw.weight());
        let (prev, time) = (raw.prev.cast_unsigned(), millis(raw.time));
        if !raw.is_whole() || left.push(raw.channel, slot, prev, time).is_err() {
            broken += 1;
        }
    };
    let (read, fault) = thread::scope(|scope| {
        let looking = scope.spawn(|| Reader::open(path)?.fault());
        (store.rows(&mut enter), looking.join())
    });
    let fault = fault.map_err(|_| Read::Damaged("it could not be looked through".to_owned()))?;
    if let Some(what) = fault? {
        return Err(Read::Damaged(what));
    }
    read?;
    if broken > 0 {
        return Err(Read::Damaged(format!(
            "{broken} publications are not what was written"
        )));
    }
    Ok(left)
}

/// The log's head and mark: those that were left if this is the log that was left, else new ones.
fn settle_epoch(
    place: &Place,
    store: &Store,
    end: u64,
    failed: &impl Fn(rusqlite::Error) -> OpenError,
    lost: &impl Fn(io::Error) -> OpenError,
) -> Result<(Meta, Mark), OpenError> {
    let left = store.meta().map_err(failed)?;
    let mut last = end;
    if let Some(meta) = &left {
        last = last.max(meta.last);
        if place.identity().map_err(lost)?.as_ref() == Some(&meta.identity) {
            let (mark, stands) = place.mark().map_err(lost)?;
            if stands.is_some_and(|stands| stands <= last) {
                let meta = Meta {
                    last,
                    ..meta.clone()
                };
                return Ok((meta, mark));
            }
            last = last.max(stands.unwrap_or_default());
        }
        tracing::warn!(
            log = %place.log().display(),
            "this log was cut short, copied or put back: it begins a new epoch, and whoever comes \
             with a cursor is told of a gap"
        );
    }
    let (identity, mark) = place.renew(last).map_err(lost)?;
    let meta = Meta {
        epoch: Epoch::random().to_string(),
        identity,
        last,
        forgotten: left.map_or(0, |meta| meta.forgotten),
    };
    store.set_meta(&meta).map_err(failed)?;
    Ok((meta, mark))
}
