//! Who may open a WebSocket from a web page (RFC 6455 §4.2.2, §10.2).

/// Which web pages may connect.
///
/// Browsers send cookies along with a WebSocket's request whatever page asks for it, and no CORS rule stands between:
/// the server must look at `Origin` itself. Clients that are no browsers send none, and are not hindered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OriginPolicy {
    /// Pages from the host and port that the request was sent to.
    #[default]
    SameOrigin,
    /// Pages of the same origin, and of these: `https://example.org`, `http://localhost:5173`.
    ///
    /// `https://*.example.org` stands for all names below `example.org`, however deep, and not for itself;
    /// `http://localhost:*` for all ports. A star anywhere else stands for nothing.
    Also(Vec<String>),
    /// Every page, `null` included. Only for servers that tell everyone the same.
    Any,
}

impl OriginPolicy {
    /// Whether a page of `origin` may connect to the server that the client calls `host`.
    pub fn allows(&self, origin: &str, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::SameOrigin => is_same(origin, host),
            Self::Also(others) => {
                is_same(origin, host) || others.iter().any(|other| is_like(origin, other))
            }
        }
    }
}

/// Whether an origin is the one that an entry of [`OriginPolicy::Also`] names, or one of those.
fn is_like(origin: &str, entry: &str) -> bool {
    if entry.eq_ignore_ascii_case(origin) {
        return true;
    }
    let (Some((scheme, authority)), Some((scheme_wanted, wanted))) =
        (origin.split_once("://"), entry.split_once("://"))
    else {
        return false;
    };
    let ((name, port), (name_wanted, port_wanted)) = (split_port(authority), split_port(wanted));
    let is_below = |domain: &str| {
        let split = name.len().checked_sub(domain.len());
        let parts = split.and_then(|split| name.split_at_checked(split));
        parts.is_some_and(|(below, rest)| {
            rest.eq_ignore_ascii_case(domain) && below.len() > 1 && below.ends_with('.')
        })
    };
    scheme.eq_ignore_ascii_case(scheme_wanted)
        && (port_wanted == Some("*") || port == port_wanted)
        && match name_wanted.strip_prefix("*.") {
            Some(domain) => !domain.is_empty() && is_below(domain),
            None => name.eq_ignore_ascii_case(name_wanted),
        }
}

/// Whether an origin's host and port are those of a `Host` field. The scheme is not known behind a proxy that ends TLS,
/// so a port that is left out stands for the origin's scheme's.
fn is_same(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => "80",
        "https" => "443",
        _ => return false,
    };
    let (origin_name, origin_port) = split_port(authority);
    let (host_name, host_port) = split_port(host);
    !origin_name.is_empty()
        && origin_name.eq_ignore_ascii_case(host_name)
        && origin_port.unwrap_or(default) == host_port.unwrap_or(default)
}

/// Cuts the port off; the colons of an IPv6 address stand inside brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_origin_compares_host_and_port() {
        let same = |origin, host| OriginPolicy::SameOrigin.allows(origin, host);
        assert!(same("http://localhost:8000", "localhost:8000"));
        assert!(same("https://Example.org", "example.org"));
        assert!(same("https://example.org", "example.org:443"));
        assert!(same("http://[::1]:8000", "[::1]:8000"));
        assert!(same("http://[::1]", "[::1]"));
        for (origin, host) in [
            ("http://localhost:8001", "localhost:8000"),
            ("http://localhost", "localhost:8000"),
            ("https://example.org.evil.net", "example.org"),
            ("https://evil.net", "example.org"),
            ("null", "example.org"),
            ("file://", ""),
            ("http://", ""),
            ("", ""),
        ] {
            assert!(!same(origin, host), "{origin} {host}");
        }
    }

    #[test]
    fn others_are_exact() {
        let policy = OriginPolicy::Also(vec!["https://app.example.org".into()]);
        assert!(policy.allows("https://app.example.org", "api.example.org"));
        assert!(policy.allows("https://api.example.org", "api.example.org"));
        assert!(!policy.allows("http://app.example.org", "api.example.org"));
        assert!(!policy.allows("https://app.example.org:8443", "api.example.org"));
        assert!(OriginPolicy::Any.allows("null", "api.example.org"));
    }

    #[test]
    fn a_star_stands_for_names_below_and_for_ports() {
        let policy = OriginPolicy::Also(vec![
            "https://*.example.org".into(),
            "http://localhost:*".into(),
            "https://*".into(),
            "https://*.".into(),
        ]);
        let allows = |origin| policy.allows(origin, "api.example.net");
        for origin in [
            "https://app.example.org",
            "https://a.b.Example.org",
            "http://localhost",
            "http://localhost:5173",
        ] {
            assert!(allows(origin), "{origin}");
        }
        for origin in [
            "https://example.org",
            "https://.example.org",
            "https://evilexample.org",
            "https://app.example.org.evil.net",
            "http://app.example.org",
            "https://app.example.org:8443",
            "https://localhost:5173",
            "http://localhost.evil.net:5173",
            "http://é.example.org",
            "https://x.",
            "https://évil.org",
            "null",
        ] {
            assert!(!allows(origin), "{origin}");
        }
    }
}
