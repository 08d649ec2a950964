//! Names of hosts, and the origins of pages.

use std::net::IpAddr;

use http::uri::Authority;

/// A name, with the port if only that one is meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HostName {
    pub(super) name: String,
    pub(super) port: Option<u16>,
}

impl HostName {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        let host = authority.host();
        if authority.as_str().contains('@') || host.is_empty() {
            return None;
        }
        let port = match authority.as_str().strip_prefix(host)? {
            // An empty port is the scheme's own (RFC 3986 §3.2.3).
            "" | ":" => None,
            port => Some(port.strip_prefix(':')?.parse().ok()?),
        };
        Some(Self {
            name: host.to_ascii_lowercase(),
            port,
        })
    }

    /// Reads a name that is to be let in. It names one host: a `*` would stand for no name that is
    /// ever asked for, and no request comes to port 0.
    pub(super) fn entry(text: &str) -> Option<Self> {
        Self::parse(text).filter(|host| !host.name.contains('*') && host.port != Some(0))
    }

    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .ok()
    }
}

/// `scheme://host:port` in lower case, without the scheme's own port; `None` for what is no origin.
pub(super) fn normal_origin(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let letters = scheme
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if scheme.is_empty() || !letters {
        return None;
    }
    let HostName { name, port } = HostName::entry(rest)?;
    Some(
        match port.filter(|&port| Some(port) != default_port(&scheme)) {
            Some(port) => format!("{scheme}://{name}:{port}"),
            None => format!("{scheme}://{name}"),
        },
    )
}

/// Whether a page of `origin` was loaded from `host`. A proxy before the server may speak TLS, so
/// the scheme tells only which port is meant by none.
pub(super) fn is_same(origin: &str, host: &HostName) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else {
        return false;
    };
    let Some(default) = default_port(&scheme.to_ascii_lowercase()) else {
        return false;
    };
    HostName::parse(rest).is_some_and(|own| {
        own.name == host.name && own.port.unwrap_or(default) == host.port.unwrap_or(default)
    })
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}
