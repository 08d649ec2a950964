//! The directory that a log lives in: whose it is, and whether it is the one that was left.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::OpenError;

/// The database.
pub(super) const LOG: &str = "log.db";
/// Locked while a process has the log.
const LOCK: &str = "lock";
/// A text that no other log has. It is written once, and never touched again.
const IDENTITY: &str = "identity";
/// The offset of the last publication that was acknowledged.
const MARK: &str = "mark";

/// A directory that this process has for itself.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    /// Locked until it is dropped.
    _lock: File,
}

impl Place {
    /// Makes the directory if need be, readable by its owner only, and takes it.
    pub(super) fn take(dir: &Path) -> Result<Self, OpenError> {
        let failed = |source: io::Error| OpenError::Directory {
            dir: dir.to_owned(),
            source,
        };
        if fs::metadata(dir).is_ok_and(|found| !found.is_dir()) {
            let dir = dir.to_owned();
            return Err(OpenError::NotDirectory { dir });
        }
        if !dir.is_dir() {
            make(dir).map_err(failed)?;
            if let Some(parent) = dir.parent() {
                // A parent that cannot be read cannot be synced; its system syncs it in time.
                let _ = sync_directory(parent);
            }
        }
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(LOCK))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                dir: dir.to_owned(),
                _lock: lock,
            }),
            Err(fs::TryLockError::WouldBlock) => Err(OpenError::InUse {
                dir: dir.to_owned(),
            }),
            Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Where the database is.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join(LOG)
    }

    /// What the files of this directory are known by, as no copy of them is: a copy has other
    /// numbers, and a file that was written over has another time of change, which no program can
    /// set. `None` if a file is missing.
    pub(super) fn identity(&self) -> io::Result<Option<String>> {
        let mut text = String::new();
        match File::open(self.dir.join(IDENTITY)) {
            Ok(mut file) => file.read_to_string(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        for (name, with_change) in [(IDENTITY, true), (MARK, false), (LOG, false)] {
            match fs::metadata(self.dir.join(name)) {
                Ok(found) => text.push_str(&told(&found, with_change)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(text))
    }

    /// Gives the directory a new identity, and a mark at `last`.
    pub(super) fn renew(&self, last: u64) -> io::Result<(String, Mark)> {
        for name in [IDENTITY, MARK] {
            match fs::remove_file(self.dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let mut file = File::create_new(self.dir.join(IDENTITY))?;
        writeln!(file, "{:032x}", rand::random::<u128>())?;
        file.sync_all()?;
        let mut mark = Mark(File::create_new(self.dir.join(MARK))?);
        mark.set(last)?;
        mark.0.sync_all()?;
        sync_directory(&self.dir)?;
        let identity = self.identity()?;
        let lost = || io::Error::other("a file was taken away while the log was opened");
        Ok((identity.ok_or_else(lost)?, mark))
    }

    /// The mark, and where it stands if it can be read.
    pub(super) fn mark(&self) -> io::Result<(Mark, Option<u64>)> {
        let path = self.dir.join(MARK);
        let mut mark = Mark(File::options().read(true).write(true).open(path)?);
        let stands = mark.get()?;
        Ok((mark, stands))
    }
}

/// Where the log's end was when a publication was last acknowledged, beside the log itself: a log
/// that ends before it was cut short.
///
/// It is written and not synced: a loss of power may set it back, which only makes it see less.
#[derive(Debug)]
pub(super) struct Mark(File);

impl Mark {
    pub(super) fn set(&mut self, last: u64) -> io::Result<()> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&last.to_be_bytes());
        bytes[8..].copy_from_slice(&(!last).to_be_bytes());
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(&bytes)
    }

    fn get(&mut self) -> io::Result<Option<u64>> {
        let mut bytes = Vec::new();
        self.0.seek(SeekFrom::Start(0))?;
        (&self.0).take(17).read_to_end(&mut bytes)?;
        let Ok(bytes) = <[u8; 16]>::try_from(bytes) else {
            return Ok(None);
        };
        let both = u128::from_be_bytes(bytes);
        let (last, check) = ((both >> 64) as u64, both as u64);
        Ok((check == !last).then_some(last))
    }
}

#[cfg(unix)]
fn make(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

#[cfg(not(unix))]
fn make(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

#[cfg(unix)]
fn told(found: &fs::Metadata, with_change: bool) -> String {
    use std::os::unix::fs::MetadataExt as _;
    if with_change {
        format!(
            " {}@{}.{:09}",
            found.ino(),
            found.ctime(),
            found.ctime_nsec()
        )
    } else {
        format!(" {}", found.ino())
    }
}

#[cfg(not(unix))]
fn told(found: &fs::Metadata, _with_change: bool) -> String {
    let made = found.created().ok();
    let made = made.and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
    format!(" {}", made.unwrap_or_default().as_nanos())
}

/// Makes sure that the names of new files are on the disk.
#[cfg(unix)]
fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_dir: &Path) -> io::Result<()> {
    // Directories cannot be opened there; the file system keeps its own log of names.
    Ok(())
}
