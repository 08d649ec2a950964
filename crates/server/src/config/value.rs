//! What is written for a setting, and how each kind of setting reads it.

use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub(super) use super::ratio::Part;
use crate::auth::KeyHash;
use crate::channel::Filter;

/// A value as a file, the environment or a command line gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Raw {
    /// Text. From the environment and the command line all values are, and a setting of many takes
    /// them apart at commas.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number that is not whole, as it is written.
    Fraction(String),
    /// `true` or `false`.
    Bool(bool),
    /// Several values.
    List(Vec<Raw>),
    /// What no setting takes: what it is called.
    Other(&'static str),
}

impl Raw {
    pub(super) fn wrong(&self) -> String {
        match self {
            Self::Text(text) => format!("{text:?} is not understood"),
            Self::Fraction(number) => format!("{number} is not understood"),
            Self::Integer(number) => format!("{number} is not understood"),
            Self::Bool(value) => format!("{value} is not understood"),
            Self::List(_) => "a list is not understood".to_owned(),
            Self::Other(what) => format!("{what} is not understood"),
        }
    }

    fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text.trim()),
            other => Err(other.wrong()),
        }
    }

    /// The elements, of one or of many.
    fn elements(&self) -> Result<Vec<&str>, String> {
        match self {
            Self::List(items) => items.iter().map(Self::text).collect(),
            Self::Text(text) => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .collect()),
            other => Err(other.wrong()),
        }
    }
}

/// How settings of one kind are written.
pub(super) trait Kind {
    type Value: PartialEq;
    /// What may be written, for errors and the reference.
    const FORM: &'static str;
    const IS_LIST: bool = false;
    const IS_SECRET: bool = false;

    /// Reads a value; the error says what is wrong.
    fn read(raw: &Raw) -> Result<Self::Value, String>;
    /// The value as TOML; `None` if nothing is set.
    fn show(value: &Self::Value) -> Option<String>;
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident;)*) => {
        $($(#[doc = $doc])+ #[derive(Debug)] pub(super) struct $name;)*
    };
}

kinds! {
    /// A number of things.
    Count;
    /// A number of bytes.
    Size;
    /// A time.
    Time;
    /// An address to listen on.
    Address;
    /// Texts.
    Texts;
    /// A text.
    Text;
    /// What is logged.
    LogFilter;
    /// A text that nobody must see, or none.
    Secret;
    /// A file's path.
    File;
    /// A directory's path.
    Directory;
    /// Yes or no.
    Switch;
    /// Networks.
    Networks;
    /// Channels and patterns.
    Filters;
    /// A number, which may be zero.
    Number;
    /// The hash of an API key, or none.
    Hash;
}

/// A value of some kind, or none.
#[derive(Debug)]
pub(super) struct Maybe<K>(PhantomData<K>);

pub(super) type MaybeAddress = Maybe<Address>;
pub(super) type MaybeCount = Maybe<Count>;
pub(super) type MaybeDirectory = Maybe<Directory>;
pub(super) type MaybeFile = Maybe<File>;
pub(super) type MaybeNumber = Maybe<Number>;
pub(super) type MaybePolicy = Maybe<Choice<super::SlowPolicy>>;
pub(super) type MaybeSize = Maybe<Size>;
pub(super) type MaybeSwitch = Maybe<Switch>;
pub(super) type MaybeText = Maybe<Text>;
pub(super) type MaybeTime = Maybe<Time>;

impl<K: Kind> Kind for Maybe<K> {
    type Value = Option<K::Value>;
    const FORM: &'static str = K::FORM;
    const IS_LIST: bool = K::IS_LIST;
    const IS_SECRET: bool = K::IS_SECRET;

    fn read(raw: &Raw) -> Result<Self::Value, String> {
        K::read(raw).map(Some)
    }

    fn show(value: &Self::Value) -> Option<String> {
        value.as_ref().and_then(K::show)
    }
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> Option<String> {
    let items: Vec<_> = items.map(quoted).collect();
    Some(format!("[{}]", items.join(", ")))
}

impl Kind for Count {
    type Value = usize;
    const FORM: &'static str = "a whole number of at least 1";

    fn read(raw: &Raw) -> Result<usize, String> {
        let number = match raw {
            Raw::Integer(number) => usize::try_from(*number).ok(),
            Raw::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        number
            .filter(|&number| number > 0)
            .ok_or_else(|| raw.wrong())
    }

    fn show(value: &usize) -> Option<String> {
        Some(value.to_string())
    }
}

impl Kind for Number {
    type Value = usize;
    const FORM: &'static str = "a whole number, or 0 for none";

    fn read(raw: &Raw) -> Result<usize, String> {
        match raw {
            Raw::Integer(0) => Ok(0),
            Raw::Text(text) if text.trim() == "0" => Ok(0),
            other => Count::read(other),
        }
    }

    fn show(value: &usize) -> Option<String> {
        Count::show(value)
    }
}

const UNITS: [(&str, usize); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl Kind for Size {
    type Value = usize;
    const FORM: &'static str =
        "bytes, as a whole number of at least 1 or with a unit: \"256KiB\", \"64MiB\", \"2GiB\"";

    fn read(raw: &Raw) -> Result<usize, String> {
        let Raw::Text(text) = raw else {
            return Count::read(raw);
        };
        let text = text.trim();
        let (digits, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
            .unwrap_or((text, 1));
        let number: Option<usize> = digits.trim().parse().ok();
        number
            .and_then(|number| number.checked_mul(unit))
            .filter(|&number| number > 0)
            .ok_or_else(|| raw.wrong())
    }

    fn show(value: &usize) -> Option<String> {
        let unit = UNITS.iter().find(|(_, unit)| value.is_multiple_of(*unit));
        Some(match unit {
            Some((name, unit)) if *unit > 1 => quoted(&format!("{}{name}", value / unit)),
            _ => value.to_string(),
        })
    }
}

impl Kind for Time {
    type Value = Duration;
    const FORM: &'static str =
        "a time with its unit: \"500ms\", \"30s\", \"5m\", \"24h\", \"7days\"";

    fn read(raw: &Raw) -> Result<Duration, String> {
        humantime::parse_duration(raw.text()?)
            .ok()
            .filter(|time| !time.is_zero())
            .ok_or_else(|| raw.wrong())
    }

    fn show(value: &Duration) -> Option<String> {
        Some(quoted(&humantime::format_duration(*value).to_string()))
    }
}

/// An address, or the one that a name stands for: of several, one of IPv4, which every program that
/// is told the name tries.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(_))) {
        return Err(format!("{text:?} has no port"));
    }
    let addresses: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| format!("{text:?}: {error}"))?
        .collect();
    let first = addresses.iter().find(|address| address.is_ipv4());
    first
        .or(addresses.first())
        .copied()
        .ok_or_else(|| format!("{text:?} has no address"))
}

impl Kind for Address {
    type Value = SocketAddr;
    const FORM: &'static str =
        "an IP address or a host name of this machine, and a port: \"127.0.0.1:8000\"";

    fn read(raw: &Raw) -> Result<SocketAddr, String> {
        address(raw.text()?)
    }

    fn show(value: &SocketAddr) -> Option<String> {
        Some(quoted(&value.to_string()))
    }
}

impl Kind for Texts {
    type Value = Vec<String>;
    const FORM: &'static str = "a list of texts: [\"one\", \"two\"]";
    const IS_LIST: bool = true;

    fn read(raw: &Raw) -> Result<Vec<String>, String> {
        Ok(raw.elements()?.into_iter().map(str::to_owned).collect())
    }

    fn show(value: &Vec<String>) -> Option<String> {
        list(value.iter().map(String::as_str))
    }
}

impl Kind for Text {
    type Value = String;
    const FORM: &'static str = "a text that is not empty";

    fn read(raw: &Raw) -> Result<String, String> {
        let text = raw.text()?;
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        Ok(text.to_owned())
    }

    fn show(value: &String) -> Option<String> {
        Some(quoted(value))
    }
}

impl Kind for LogFilter {
    type Value = String;
    const FORM: &'static str = "a level or filters: \"info\", \"warn,openline_server=debug\"";

    fn read(raw: &Raw) -> Result<String, String> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let text = raw.text()?;
        // A word alone that is no level would be taken for the name of a part of the program, and nothing be logged.
        let names_a_level = |filter: &str| {
            let level = filter.rsplit_once('=').map_or(filter, |(_, level)| level);
            let level = level.trim();
            LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
        };
        if !text.split(',').all(names_a_level) {
            return Err(raw.wrong());
        }
        Ok(text.to_owned())
    }

    fn show(value: &String) -> Option<String> {
        Some(quoted(value))
    }
}

impl Kind for Secret {
    type Value = Option<super::Secret>;
    const FORM: &'static str = "a text of at least 32 characters that nobody can guess";
    const IS_SECRET: bool = true;

    fn read(raw: &Raw) -> Result<Option<super::Secret>, String> {
        // What is wrong is told without the value: errors are logged.
        let text = raw.text().map_err(|_| "it is no text".to_owned())?;
        if text.len() < 32 {
            return Err(format!("it has only {} characters", text.len()));
        }
        Ok(Some(super::Secret::new(text)))
    }

    fn show(_: &Option<super::Secret>) -> Option<String> {
        None
    }
}

impl Kind for File {
    type Value = PathBuf;
    const FORM: &'static str = "a file's path";

    fn read(raw: &Raw) -> Result<PathBuf, String> {
        Text::read(raw).map(PathBuf::from)
    }

    fn show(value: &PathBuf) -> Option<String> {
        Some(quoted(&value.to_string_lossy()))
    }
}

impl Kind for Directory {
    type Value = PathBuf;
    const FORM: &'static str = "a directory's path";

    fn read(raw: &Raw) -> Result<PathBuf, String> {
        File::read(raw)
    }

    fn show(value: &PathBuf) -> Option<String> {
        File::show(value)
    }
}

impl Kind for Switch {
    type Value = bool;
    const FORM: &'static str = "true or false";

    fn read(raw: &Raw) -> Result<bool, String> {
        match raw {
            Raw::Bool(value) => Ok(*value),
            Raw::Text(text) if text == "true" => Ok(true),
            Raw::Text(text) if text == "false" => Ok(false),
            other => Err(other.wrong()),
        }
    }

    fn show(value: &bool) -> Option<String> {
        Some(value.to_string())
    }
}

impl Kind for Networks {
    type Value = Vec<IpNet>;
    const FORM: &'static str = "a list of addresses and networks: [\"10.0.0.0/8\", \"::1\"]";
    const IS_LIST: bool = true;

    fn read(raw: &Raw) -> Result<Vec<IpNet>, String> {
        let network = |text: &&str| {
            let address = text.parse::<IpAddr>().map(IpNet::from);
            address
                .or_else(|_| text.parse::<IpNet>())
                .map_err(|_| format!("{text:?} is no address and no network"))
        };
        raw.elements()?.iter().map(network).collect()
    }

    fn show(value: &Vec<IpNet>) -> Option<String> {
        let texts: Vec<_> = value.iter().map(ToString::to_string).collect();
        list(texts.iter().map(String::as_str))
    }
}

impl Kind for Filters {
    type Value = Vec<Filter>;
    const FORM: &'static str =
        "a list of channels and patterns: [\"flights/*\", \"gates/**\", \"**\"]";
    const IS_LIST: bool = true;

    fn read(raw: &Raw) -> Result<Vec<Filter>, String> {
        let filter = |text: &&str| text.parse().map_err(|error| format!("{text:?}: {error}"));
        raw.elements()?.iter().map(filter).collect()
    }

    fn show(value: &Vec<Filter>) -> Option<String> {
        list(value.iter().map(Filter::as_str))
    }
}

impl Kind for Hash {
    type Value = Option<KeyHash>;
    const FORM: &'static str =
        "\"sha256:\" and the 64 hexadecimal digits that `openline new-key` prints";

    fn read(raw: &Raw) -> Result<Option<KeyHash>, String> {
        // Whoever writes the key itself here must not find it in a log.
        raw.text()
            .ok()
            .and_then(KeyHash::parse)
            .map(Some)
            .ok_or_else(|| "it is no hash of a key".to_owned())
    }

    fn show(_: &Option<KeyHash>) -> Option<String> {
        None
    }
}

/// One of a few words.
#[derive(Debug)]
pub(super) struct Choice<T>(PhantomData<T>);

/// What a choice is between.
pub(super) trait Choices: Copy + PartialEq + 'static {
    const FORM: &'static str;
    const ALL: &'static [(&'static str, Self)];
}

impl Choices for super::SlowPolicy {
    const FORM: &'static str = "\"disconnect\", \"latest\" or \"rate\"";
    const ALL: &'static [(&'static str, Self)] = &[
        ("disconnect", Self::Disconnect),
        ("latest", Self::Latest),
        ("rate", Self::Rate),
    ];
}

impl<T: Choices> Kind for Choice<T> {
    type Value = T;
    const FORM: &'static str = T::FORM;

    fn read(raw: &Raw) -> Result<T, String> {
        let text = raw.text()?;
        let found = T::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| raw.wrong())
    }

    fn show(value: &T) -> Option<String> {
        let found = T::ALL.iter().find(|(_, choice)| choice == value);
        found.map(|(name, _)| quoted(name))
    }
}

pub(super) type LogFormats = Choice<super::LogFormat>;

/// Several of a few words.
#[derive(Debug)]
pub(super) struct Several<T>(PhantomData<T>);

impl<T: Choices> Kind for Several<T> {
    type Value = Vec<T>;
    const FORM: &'static str = T::FORM;
    const IS_LIST: bool = true;

    fn read(raw: &Raw) -> Result<Vec<T>, String> {
        let choice = |text: &&str| Choice::<T>::read(&Raw::Text((*text).to_owned()));
        raw.elements()?.iter().map(choice).collect()
    }

    fn show(value: &Vec<T>) -> Option<String> {
        let names: Vec<_> = value.iter().filter_map(Choice::<T>::show).collect();
        Some(format!("[{}]", names.join(", ")))
    }
}

pub(super) type Decisions = Several<super::Decision>;

impl Choices for super::Decision {
    const FORM: &'static str = "a list of \"connect\", \"subscribe\" and \"publish\"";
    const ALL: &'static [(&'static str, Self)] = &[
        ("connect", Self::Connect),
        ("subscribe", Self::Subscribe),
        ("publish", Self::Publish),
    ];
}

pub(super) type Forwarders = Choice<super::ForwardedBy>;

impl Choices for super::ForwardedBy {
    const FORM: &'static str = "\"none\", \"forwarded\" or \"x-forwarded-for\"";
    const ALL: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("forwarded", Self::Forwarded),
        ("x-forwarded-for", Self::XForwardedFor),
    ];
}

impl Choices for super::LogFormat {
    const FORM: &'static str = "\"text\" or \"json\"";
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn sizes_have_units_and_come_back_as_they_were_written() {
        for (written, bytes) in [
            ("1", 1),
            ("7B", 7),
            ("256KiB", 256 << 10),
            ("64 MiB", 64 << 20),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(Size::read(&text(written)), Ok(bytes), "{written}");
            let shown = Size::show(&bytes).unwrap();
            assert_eq!(Size::read(&text(shown.trim_matches('"'))), Ok(bytes));
        }
        for wrong in [
            "",
            "0",
            "-1",
            "1KB",
            "1.5MiB",
            "99999999999999999999",
            "0KiB",
        ] {
            assert!(Size::read(&text(wrong)).is_err(), "{wrong}");
        }
        assert_eq!(Size::read(&Raw::Integer(5)), Ok(5));
        assert!(Size::read(&Raw::Integer(0)).is_err());
    }

    #[test]
    fn zero_is_taken_only_where_it_means_none() {
        for (raw, number) in [(Raw::Integer(0), 0), (text("0"), 0), (text("7"), 7)] {
            assert_eq!(MaybeNumber::read(&raw), Ok(Some(number)));
        }
        for wrong in [Raw::Integer(-1), text("-1"), text("")] {
            assert!(MaybeNumber::read(&wrong).is_err(), "{wrong:?}");
        }
        assert!(MaybeCount::read(&Raw::Integer(0)).is_err());
    }

    #[test]
    fn times_have_units() {
        assert_eq!(Time::read(&text("500ms")), Ok(Duration::from_millis(500)));
        assert_eq!(Time::read(&text("24h")), Ok(Duration::from_secs(86_400)));
        for wrong in ["", "30", "0s", "-1s", "soon"] {
            assert!(Time::read(&text(wrong)).is_err(), "{wrong}");
        }
        assert!(Time::read(&Raw::Integer(30)).is_err(), "a number of what?");
    }

    #[test]
    fn a_filter_of_the_log_names_a_level() {
        for right in [
            "info",
            "WARN",
            "off",
            "warn,openline_server=debug",
            "a::b=trace, error",
        ] {
            assert_eq!(LogFilter::read(&text(right)), Ok(right.to_owned()));
        }
        for wrong in [
            "",
            "inof",
            "verbose",
            "openline_server",
            "a=debugg",
            "info,",
            "3",
        ] {
            assert!(LogFilter::read(&text(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_may_be_a_name() {
        assert_eq!(
            Address::read(&text("localhost:8000")),
            Ok(([127, 0, 0, 1], 8000).into())
        );
        for wrong in [
            "",
            "here",
            "8000",
            "127.0.0.1",
            "localhost:",
            "127.0.0.1:65536",
        ] {
            assert!(Address::read(&text(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn networks_may_be_single_addresses() {
        let networks = Networks::read(&text("10.0.0.0/8, ::1")).unwrap();
        assert!(networks[0].contains(&"10.1.2.3".parse::<IpAddr>().unwrap()));
        assert!(networks[1].contains(&"::1".parse::<IpAddr>().unwrap()));
        assert!(Networks::read(&text("10.0.0.0/33")).is_err());
    }

    #[test]
    fn a_secret_stands_in_no_error() {
        let told = Secret::read(&text("hunter2")).unwrap_err();
        assert!(!told.contains("hunter2"), "{told}");
        let told = Hash::read(&text("hunter2")).unwrap_err();
        assert!(!told.contains("hunter2"), "{told}");
    }
}
