//! Where the server's settings come from: a file, then the environment, then the command line, each over the one before.
//!
//! Nothing is declared here: [`Config::settings`] says what there is.

mod file;
mod flags;
mod reference;

use std::ffi::OsString;

use openline_server::{Config, Raw, Setting, SettingError, Settings as _};

pub(crate) use self::file::FileError;
pub(crate) use self::flags::Flags;
pub(crate) use self::reference::page;
use crate::error::Error;

/// What names of the environment begin with.
const PREFIX: &str = "OPENLINE_";

/// Where all programs of a machine send their spans, where it says nothing of this one.
const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The configuration of this process.
///
/// # Errors
/// [`Error::Config`] and [`Error::Setting`].
pub(crate) fn load(flags: &Flags) -> Result<Config, Error> {
    let mut config = Config::default();
    if let Some(path) = &flags.file {
        file::read(path, &mut config)?;
    }
    let set = |config: &mut Config, place: String, path: &[&str], value: &Raw| {
        let outcome = config.set(path, value);
        outcome.map_err(|problem| Error::Setting { place, problem })
    };
    for setting in unnamed() {
        let variable = variable(&setting);
        if let Some(value) = std::env::var_os(&variable) {
            let value = text(value).ok_or_else(|| Error::Setting {
                place: variable.clone(),
                problem: not_text(&setting),
            })?;
            set(&mut config, variable, &setting.path, &Raw::Text(value))?;
        }
    }
    for (setting, value) in &flags.values {
        let place = format!("--{}", flag(setting));
        set(&mut config, place, &setting.path, value)?;
    }
    if config.traces.endpoint.is_none() {
        let endpoint = std::env::var(OTLP_ENDPOINT).ok();
        config.traces.endpoint = endpoint.filter(|endpoint| !endpoint.is_empty());
    }
    Ok(config)
}

/// Reads a file over the defaults, as `check-config` does.
///
/// # Errors
/// [`Error::Config`] with everything that is wrong.
pub(crate) fn load_file(path: &std::path::Path) -> Result<Config, Error> {
    let mut config = Config::default();
    file::read(path, &mut config)?;
    Ok(config)
}

/// The variables of the environment that look like a setting's and are none, each with the one that is near.
pub(crate) fn strange_variables() -> Vec<(String, String)> {
    let known: Vec<_> = unnamed().map(|setting| variable(&setting)).collect();
    let names = std::env::vars_os().filter_map(|(name, _)| text(name));
    let strange = names.filter(|name| name.starts_with(PREFIX) && !known.contains(name));
    let bare = |name: &str| name.trim_start_matches(PREFIX).to_owned();
    strange
        .filter_map(|name| {
            let known: Vec<_> = known.iter().map(|known| bare(known)).collect();
            let near = near(&bare(&name), known.iter().map(String::as_str))?;
            Some((name, format!("{PREFIX}{near}")))
        })
        .collect()
}

/// Those that the environment and the command line can set: not those of a table with a name of one's own.
fn unnamed() -> impl Iterator<Item = Setting> {
    let all = Config::settings().into_iter();
    all.filter(|setting| !setting.is_named())
}

/// The setting's name in the environment: `OPENLINE_LIMITS_CONNECTIONS`.
fn variable(setting: &Setting) -> String {
    format!("{PREFIX}{}", setting.path.join("_").to_uppercase())
}

/// The setting's option on the command line: `limits-connections`. One that can be repeated bears one value at a time.
fn flag(setting: &Setting) -> String {
    let flag = setting.path.join("-").replace('_', "-");
    match flag.strip_suffix('s') {
        Some(singular) if setting.is_list => singular.to_owned(),
        _ => flag,
    }
}

/// The known name that somebody who wrote `name` may have meant.
fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// A slip in every fourth character makes it another name.
    const SLIP: usize = 4;
    let bound = (name.len() / SLIP).clamp(1, 4);
    known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, known)| known)
}

fn text(value: OsString) -> Option<String> {
    value.into_string().ok()
}

fn not_text(setting: &Setting) -> SettingError {
    let mut scratch = Config::default();
    match scratch.set(&setting.path, &Raw::Other("what is not UTF-8")) {
        Err(error) => error,
        Ok(()) => SettingError::Unknown,
    }
}
