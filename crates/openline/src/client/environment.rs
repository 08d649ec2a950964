//! Which proxy the environment names for a server: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`.

use std::net::IpAddr;

use url::Host;

use super::address::Address;
use super::proxy::Proxy;
use crate::error::Error;

/// The proxy that the environment, asked by `variable`, names for a server.
///
/// A variable that is set and empty counts as not set. Lower case goes before upper case, as in curl. A server on this
/// machine is reached without a proxy: to the proxy, `localhost` is another machine.
pub(crate) fn proxy(
    server: &Address,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, Error> {
    let get = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let either = |name: &str| get(name).or_else(|| get(&name.to_ascii_uppercase()));
    let named = if server.is_secure() {
        either("https_proxy")
    } else if get("REQUEST_METHOD").is_none() {
        either("http_proxy")
    } else {
        // In a CGI program, HTTP_PROXY is what a client sent as the field `Proxy` ("httpoxy", CVE-2016-5385).
        get("http_proxy")
    };
    let Some(named) = named.or_else(|| either("all_proxy")) else {
        return Ok(None);
    };
    if is_local(&server.host()) || either("no_proxy").is_some_and(|list| excepts(&list, server)) {
        return Ok(None);
    }
    Proxy::new(named.trim()).map(Some)
}

fn is_local(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

/// Whether `NO_PROXY` names the server: `*`; a name, which stands for its subdomains too, with or without a dot in front;
/// an IP address; a network (`10.0.0.0/8`). Names and addresses may have a port, and then only that one is meant.
fn excepts(list: &str, server: &Address) -> bool {
    list.split([',', ' '])
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .any(|entry| entry == "*" || names(entry, server))
}

fn names(entry: &str, server: &Address) -> bool {
    let entry = entry.to_ascii_lowercase();
    let (entry, port) = split_port(&entry);
    if port.is_some_and(|port| port != server.port()) {
        return false;
    }
    let ip = match server.host() {
        Host::Ipv4(ip) => IpAddr::V4(ip),
        Host::Ipv6(ip) => IpAddr::V6(ip),
        Host::Domain(name) => {
            let suffix = entry.trim_start_matches("*.").trim_start_matches('.');
            let before = name.trim_end_matches('.').strip_suffix(suffix);
            return !suffix.is_empty()
                && before.is_some_and(|before| before.is_empty() || before.ends_with('.'));
        }
    };
    match entry.split_once('/') {
        Some((network, length)) => match (network.parse(), length.parse()) {
            (Ok(network), Ok(length)) => is_in(ip, network, length),
            _ => false,
        },
        None => entry.parse() == Ok(ip),
    }
}

/// `h:80` and `[::1]:80` have a port; `::1` has none.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some(bracketed) = entry.strip_prefix('[')
        && let Some((ip, rest)) = bracketed.split_once(']')
    {
        return (
            ip,
            rest.strip_prefix(':').and_then(|port| port.parse().ok()),
        );
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

fn is_in(ip: IpAddr, network: IpAddr, length: u32) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            length <= 32
                && (ip.to_bits() ^ network.to_bits())
                    .checked_shr(32 - length)
                    .is_none_or(|differing| differing == 0)
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => {
            length <= 128
                && (ip.to_bits() ^ network.to_bits())
                    .checked_shr(128 - length)
                    .is_none_or(|differing| differing == 0)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let server = Address::parse(url).unwrap().0;
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        proxy(&server, variable)
            .unwrap()
            .map(|proxy| proxy.to_string())
    }

    #[test]
    fn each_scheme_has_its_variable() {
        let all = [
            ("HTTP_PROXY", "plain:1"),
            ("HTTPS_PROXY", "https://secure:2"),
            ("ALL_PROXY", "socks5h://all:3"),
        ];
        assert_eq!(chosen("ws://h", &all).unwrap(), "http://plain:1");
        assert_eq!(chosen("wss://h", &all).unwrap(), "https://secure:2");
        assert_eq!(chosen("wss://h", &all[2..]).unwrap(), "socks5://all:3");
        assert_eq!(chosen("wss://h", &all[..1]), None);
        assert_eq!(chosen("ws://h", &[]), None);
        let both = [("http_proxy", "lower:1"), ("HTTP_PROXY", "upper:1")];
        assert_eq!(chosen("ws://h", &both).unwrap(), "http://lower:1");
        let empty = [("http_proxy", ""), ("ALL_PROXY", "all:3")];
        assert_eq!(chosen("ws://h", &empty).unwrap(), "http://all:3");
    }

    #[test]
    fn a_program_of_cgi_takes_no_proxy_from_a_request() {
        let cgi = [("HTTP_PROXY", "evil:1"), ("REQUEST_METHOD", "GET")];
        assert_eq!(chosen("ws://h", &cgi), None);
        let own = [("http_proxy", "own:1"), ("REQUEST_METHOD", "GET")];
        assert_eq!(chosen("ws://h", &own).unwrap(), "http://own:1");
    }

    #[test]
    fn a_wrong_value_is_told_without_its_credentials() {
        let server = Address::parse("ws://h").unwrap().0;
        let error = proxy(&server, |name| {
            (name == "ALL_PROXY").then(|| "gopher://user:secret@h".to_owned())
        });
        let error = error.unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("secret"),
            "{error:?}"
        );
    }

    #[test]
    fn this_machine_needs_no_proxy() {
        let all = [("ALL_PROXY", "p")];
        for local in [
            "localhost",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
        ] {
            assert_eq!(
                chosen(&format!("ws://{local}:8080/"), &all),
                None,
                "{local}"
            );
        }
        assert!(chosen("ws://notlocalhost", &all).is_some());
    }

    #[test]
    fn exceptions() {
        let excepted = |url: &str, list: &str| {
            chosen(url, &[("all_proxy", "p"), ("NO_PROXY", list)]).is_none()
        };
        for (url, list) in [
            ("ws://h", "*"),
            ("ws://example.org", "example.org"),
            ("ws://example.org.", "example.org"),
            ("ws://www.example.org", "a, EXAMPLE.org ,b"),
            ("ws://www.example.org", ".example.org"),
            ("ws://www.example.org", "*.example.org"),
            ("ws://example.org", "example.org:80"),
            ("wss://10.1.2.3", "10.1.2.3"),
            ("wss://10.1.2.3", "10.0.0.0/8"),
            ("wss://10.1.2.3", "0.0.0.0/0"),
            ("wss://10.1.2.3:8443", "10.1.2.3:8443"),
            ("ws://[fd00::1]", "fd00::1"),
            ("ws://[fd00::1]", "[fd00::1]:80"),
            ("ws://[fd00::1]", "fd00::/16"),
            ("ws://[fd00::1]", "::/0"),
        ] {
            assert!(excepted(url, list), "{url} by {list}");
        }
        for (url, list) in [
            ("ws://example.org", ""),
            ("ws://notexample.org", "example.org"),
            ("ws://example.org.evil", "example.org"),
            ("ws://example.org", "."),
            ("wss://example.org", "example.org:80"),
            ("wss://11.1.2.3", "10.0.0.0/8"),
            ("wss://10.1.2.3", "10.0.0.0/33"),
            ("wss://10.1.2.3", "10.0.0.0/x"),
            ("ws://[fd01::1]", "fd00::/16"),
            ("ws://[fd00::1]", "10.0.0.0/8"),
        ] {
            assert!(!excepted(url, list), "{url} by {list}");
        }
    }
}
