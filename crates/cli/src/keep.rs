//! Where `serve` keeps its log.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use openline_server::{Config, Raw, Setting, Settings as _};

use crate::error::Error;

/// The options of `serve` for the settings `data_dir`, `data_dir_wait` and `memory`, which the settings' declaration gives no options to:
/// `demo` has none of them.
#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// Directory to keep publications in, for this server alone; it is made if it is not there [default: systemd's
    /// STATE_DIRECTORY, else openline in the user's data directory] [env: OPENLINE_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Keep publications in memory only: they are gone with the server, and every cursor is a gap after it [env:
    /// OPENLINE_MEMORY]
    #[arg(long, conflicts_with = "data_dir")]
    memory: bool,

    /// How long a start waits for another server to let go of the directory [default: 30s] [env:
    /// OPENLINE_DATA_DIR_WAIT]
    #[arg(long, value_name = "TIME", conflicts_with = "memory")]
    data_dir_wait: Option<String>,
}

impl Keep {
    /// Whether a setting has its option here.
    pub(crate) fn has(setting: &Setting) -> bool {
        matches!(
            setting.path.as_slice(),
            ["data_dir" | "data_dir_wait" | "memory"]
        )
    }

    /// Puts what the command line says over what the file and the environment said, and the default under it.
    ///
    /// # Errors
    /// [`Error::NoDataDir`] and [`Error::Setting`].
    pub(crate) fn settle(&self, config: &mut Config) -> Result<(), Error> {
        self.settle_in(config, |name| std::env::var_os(name))
    }

    fn settle_in(
        &self,
        config: &mut Config,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(), Error> {
        if let Some(directory) = &self.data_dir {
            config.data_dir = Some(directory.clone());
            config.memory = false;
        }
        if let Some(time) = &self.data_dir_wait {
            let set = config.set(&["data_dir_wait"], &Raw::Text(time.clone()));
            let place = "--data-dir-wait".to_owned();
            set.map_err(|problem| Error::Setting { place, problem })?;
        }
        config.memory |= self.memory;
        if !config.memory && config.data_dir.is_none() {
            config.data_dir = Some(default(variable).ok_or(Error::NoDataDir)?);
        }
        Ok(())
    }
}

/// The directory when nobody names one: a service's, or the user's by the rules of the desktop
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
    service().or_else(user)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
        expect("STATE_DIRECTORY", "", "/home/a/.local/share/openline");
        expect("XDG_DATA_HOME", "data", "/home/a/.local/share/openline");
        expect("XDG_DATA_HOME", "/data", "/data/openline");
        expect("STATE_DIRECTORY", "/var/lib/a:/var/lib/b", "/var/lib/a");
        assert_eq!(default(|_| None), None);
    }

    #[test]
    fn the_command_line_counts_more_than_the_settings_and_memory_more_than_a_directory() {
        let settled = |option: (Option<&str>, bool), setting: (Option<&str>, bool)| {
            let keep = Keep {
                data_dir: option.0.map(PathBuf::from),
                memory: option.1,
                data_dir_wait: None,
            };
            let mut config = Config {
                data_dir: setting.0.map(PathBuf::from),
                memory: setting.1,
                ..Config::default()
            };
            let state = |name: &str| (name == "STATE_DIRECTORY").then(|| "default".into());
            keep.settle_in(&mut config, state).unwrap();
            config.data_dir.filter(|_| !config.memory)
        };
        let none = (None, false);
        let kept = |directory| Some(Path::new(directory).to_owned());
        assert_eq!(settled(none, none), kept("default"));
        assert_eq!(settled(none, (Some("set"), false)), kept("set"));
        assert_eq!(
            settled((Some("told"), false), (Some("set"), false)),
            kept("told")
        );
        assert_eq!(settled((Some("told"), false), (None, true)), kept("told"));
        assert_eq!(settled(none, (Some("set"), true)), None);
        assert_eq!(settled((None, true), (Some("set"), false)), None);
    }
}
