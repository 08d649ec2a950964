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
                is_same(origin, host) || others.iter().any(|o| o.eq_ignore_ascii_case(origin))
            }
        }
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
}
