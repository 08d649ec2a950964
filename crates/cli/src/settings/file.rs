//! The configuration file: TOML, in which every key must be known.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use openline_server::{Config, Raw, Setting, SettingError, Settings as _};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::near;
use crate::error::Error;

/// Far more than any configuration needs.
const MAX_BYTES: u64 = 4 << 20;

/// Everything that is wrong in one file.
#[derive(Debug)]
pub(crate) struct FileError {
    path: PathBuf,
    /// By line, counted from 1.
    problems: Vec<(usize, String)>,
}

impl std::error::Error for FileError {}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        for (index, (line, problem)) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{path}:{line}: {problem}")?;
        }
        Ok(())
    }
}

/// Reads a file over `config`.
///
/// # Errors
/// [`Error::ConfigFile`] if it cannot be read, [`Error::Config`] with all that is wrong in it.
pub(super) fn read(path: &Path, config: &mut Config) -> Result<(), Error> {
    let unreadable = |source| Error::ConfigFile {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
        .map_err(unreadable)?;
    let mut problems = apply(&text, config);
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort();
    Err(Error::Config(FileError {
        path: path.to_owned(),
        problems,
    }))
}

/// Sets what the text says; what is wrong with it, by line.
fn apply(text: &str, config: &mut Config) -> Vec<(usize, String)> {
    let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let told = errors.iter().map(|error| {
            let at = error.span().map_or(0, |span| span.start);
            (line(at), error.message().to_owned())
        });
        return told.collect();
    }
    let mut reader = Reader {
        config,
        settings: Config::settings(),
        problems: Vec::new(),
    };
    reader.table(&mut Vec::new(), table.get_ref());
    let found = reader.problems.into_iter();
    found.map(|(at, problem)| (line(at), problem)).collect()
}

struct Reader<'a> {
    config: &'a mut Config,
    settings: Vec<Setting>,
    /// By place in the text.
    problems: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn table(&mut self, path: &mut Vec<String>, table: &DeTable<'_>) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            self.entry(path, key.span().start, value);
            path.pop();
        }
    }

    fn entry(&mut self, path: &mut Vec<String>, at: usize, value: &Spanned<DeValue<'_>>) {
        let parts: Vec<_> = path.iter().map(String::as_str).collect();
        if let DeValue::Table(table) = value.get_ref()
            && self.is_table(&parts)
        {
            self.config.name(&parts);
            return self.table(path, table);
        }
        let problem = match self.config.set(&parts, &raw(value.get_ref())) {
            Ok(()) => return,
            Err(SettingError::Unknown) if self.is_table(&parts) => {
                format!("`{}` is a table, not a value", parts.join("."))
            }
            Err(SettingError::Unknown) => self.unknown(&parts),
            Err(problem) => format!("`{}`: {problem}", parts.join(".")),
        };
        self.problems.push((at, problem));
    }

    /// Whether settings begin with that path.
    fn is_table(&self, path: &[&str]) -> bool {
        self.settings
            .iter()
            .any(|setting| setting.path.len() > path.len() && begins(&setting.path, path))
    }

    fn unknown(&self, path: &[&str]) -> String {
        // Names of one's own are no slips.
        let mut known = BTreeMap::new();
        for setting in &self.settings {
            for end in 1..=setting.path.len() {
                let named = setting.path[..end].iter().enumerate();
                let parts: Vec<_> = named
                    .map(|(index, part)| match path.get(index) {
                        Some(own) if *part == "*" => *own,
                        _ => part,
                    })
                    .collect();
                known.insert(parts.join("."), ());
            }
        }
        let key = path.join(".");
        let mut told = format!("there is no key `{key}`");
        if let Some(near) = near(&key, known.keys().map(String::as_str)) {
            told.push_str(&format!("; did you mean `{near}`?"));
        } else if let Some(setting) = self
            .settings
            .iter()
            .find(|setting| setting.path.last() == path.last())
        {
            told.push_str(&format!("; did you mean `{}`?", setting.key()));
        }
        told
    }
}

fn begins(declared: &[&str], path: &[&str]) -> bool {
    let mut pairs = declared.iter().zip(path);
    pairs.all(|(declared, part)| *declared == "*" || declared == part)
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            parsed.map_or(Raw::Other("a number of this size"), Raw::Integer)
        }
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Float(number) => Raw::Fraction(number.as_str().to_owned()),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<(usize, String)> {
        let mut problems = apply(text, &mut Config::default());
        problems.sort();
        problems
    }

    #[test]
    fn every_key_is_set() {
        let mut config = Config::default();
        let text = "listen = \"127.0.0.1:0\"\nallow_hosts = [\"a.example\", \"b.example\"]\n\
                    limits.connections = 1_000\n[history]\nbytes = \"2MiB\"\n\
                    [namespace.\"flights/today\"]\nanonymous = { subscribe = true }\n";
        assert_eq!(apply(text, &mut config), []);
        assert_eq!(config.listen.port(), 0);
        assert_eq!(config.allow_hosts, ["a.example", "b.example"]);
        assert_eq!(config.max_connections, 1000);
        assert_eq!(config.history.bytes, 2 << 20);
        let namespace = &config.namespaces["flights/today"];
        assert_eq!(namespace.anonymous.subscribe, Some(true));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_all_at_once() {
        let text = "listn = \"127.0.0.1:0\"\n\n[limits]\nconnections = 0\nconections = 5\n\
                    [namespace.flights]\nanonymus.subscribe = true\n[namespace.gates.anonymous]\npublish = 1\n";
        assert_eq!(
            problems(text),
            [
                (1, "there is no key `listn`; did you mean `listen`?".to_owned()),
                (
                    4,
                    "`limits.connections`: 0 is not understood; write a whole number of at least 1".to_owned()
                ),
                (
                    5,
                    "there is no key `limits.conections`; did you mean `limits.connections`?".to_owned()
                ),
                (
                    7,
                    "there is no key `namespace.flights.anonymus`; did you mean `namespace.flights.anonymous`?"
                        .to_owned()
                ),
                (
                    9,
                    "`namespace.gates.anonymous.publish`: 1 is not understood; write true or false".to_owned()
                ),
            ]
        );
    }

    #[test]
    fn a_table_with_a_name_is_one_without_anything_in_it_too() {
        let mut config = Config::default();
        let text = "[namespace.flights]\nhistory.count = 0\n[namespace.\"flights/kept\"]\n[key.a]\n[limits]\n";
        assert_eq!(apply(text, &mut config), []);
        let kept = config.namespace(&"flights/kept/1".parse().unwrap());
        assert_eq!(kept.unwrap().history.count, None);
        // Which has no hash, and that is an error.
        assert!(config.check().is_err());
    }

    #[test]
    fn a_key_outside_its_table_is_found() {
        assert_eq!(
            problems("connections = 5"),
            [(
                1,
                "there is no key `connections`; did you mean `limits.connections`?".to_owned()
            )]
        );
        assert_eq!(
            problems("limits = 5"),
            [(1, "`limits` is a table, not a value".to_owned())]
        );
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let problems = problems("listen = \"127.0.0.1:0\"\nlimits = [\n");
        assert!(problems[0].0 >= 2, "{problems:?}");
    }
}
