//! Texts, and what is written as one: addresses, paths, networks, filters, secrets.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use ipnet::IpNet;

use super::*;
use crate::auth::KeyHash;
use crate::channel::Filter;

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
    type Value = Option<crate::config::Secret>;
    const FORM: &'static str = "a text of at least 32 characters that nobody can guess";
    const IS_SECRET: bool = true;

    fn read(raw: &Raw) -> Result<Option<crate::config::Secret>, String> {
        // What is wrong is told without the value: errors are logged.
        let text = raw.text().map_err(|_| "it is no text".to_owned())?;
        if text.len() < 32 {
            return Err(format!("it has only {} characters", text.len()));
        }
        Ok(Some(crate::config::Secret::new(text)))
    }

    fn show(_: &Option<crate::config::Secret>) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
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
