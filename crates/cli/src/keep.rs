//! Where `serve` keeps its log.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::error::Error;

/// Names the environment variable that stands for `--data-dir`.
const VARIABLE: &str = "OPENLINE_DATA_DIR";

/// Where publications are kept.
#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// Directory to keep publications in, for this server alone; it is made if it is not there [default: what
    /// OPENLINE_DATA_DIR says, else systemd's STATE_DIRECTORY, else openline in the user's data directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Keep publications in memory only: they are gone with the server, and every cursor is a gap after it
    #[arg(long, conflicts_with = "data_dir")]
    memory: bool,
}

impl Keep {
    /// The directory, or `None` for memory.
    pub(crate) fn directory(self) -> Result<Option<PathBuf>, Error> {
        if self.memory {
            return Ok(None);
        }
        let directory = self
            .data_dir
            .or_else(|| default(|name| std::env::var_os(name)));
        directory.map(Some).ok_or(Error::NoDataDir)
    }
}

/// The directory when the command line names none: a service's, or the user's by the rules of the desktop
/// (<https://specifications.freedesktop.org/basedir-spec/>).
fn default(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let given = |name: &str| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    // Of systemd's several, parted by colons, the first.
    let service = || {
        let all = given("STATE_DIRECTORY")?;
        std::env::split_paths(&all).next()
    };
    // A relative one is to be ignored.
    let user = || {
        given("XDG_DATA_HOME")
            .filter(|home| home.is_absolute())
            .or_else(|| given("LOCALAPPDATA"))
            .or_else(|| given("HOME").map(|home| home.join(".local/share")))
            .map(|home| home.join("openline"))
    };
    given(VARIABLE).or_else(service).or_else(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_the_nearest_that_is_named() {
        let mut named = vec![("HOME", "/home/a")];
        let mut expect = |name: &'static str, value: &'static str, directory: &str| {
            named.push((name, value));
            let variable = |name: &str| {
                let last = named.iter().rev().find(|(known, _)| *known == name);
                last.map(|(_, value)| OsString::from(value))
            };
            assert_eq!(default(variable), Some(PathBuf::from(directory)));
        };
        expect("OPENLINE_DATA_DIR", "", "/home/a/.local/share/openline");
        expect("XDG_DATA_HOME", "data", "/home/a/.local/share/openline");
        expect("XDG_DATA_HOME", "/data", "/data/openline");
        expect("STATE_DIRECTORY", "/var/lib/a:/var/lib/b", "/var/lib/a");
        expect("OPENLINE_DATA_DIR", "here", "here");
        assert_eq!(default(|_| None), None);
    }
}
