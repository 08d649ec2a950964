//! Addresses of servers. One parser reads what the program, a redirect and a proxy's setting say, so that no two parts of
//! the client can disagree about where a connection goes; and what it shows holds no secrets.

use std::fmt;

use http::Uri;
use openline_proto::handshake::RequestError;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// A `ws` or `wss` URL without user info and without a fragment.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address(Url);

/// A user's name and password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UserInfo {
    pub(crate) user: Vec<u8>,
    pub(crate) password: Vec<u8>,
}

impl Address {
    /// Reads an address; user info comes apart from it, percent-decoded.
    pub(crate) fn parse(text: &str) -> Result<(Self, Option<UserInfo>), RequestError> {
        let invalid = || RequestError::Address(without_secrets(text));
        let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
        let scheme_fits = scheme.eq_ignore_ascii_case("ws") || scheme.eq_ignore_ascii_case("wss");
        // A browser's parser would repair these in silence: line breaks vanish, slashes turn and multiply.
        if !scheme_fits || rest.starts_with('/') || text.contains(is_unfit) || text.contains('#') {
            return Err(invalid());
        }
        let mut url = Url::parse(text).map_err(|_| invalid())?;
        let user_info = UserInfo::take(&mut url);
        Self::new(url)
            .map(|address| (address, user_info))
            .ok_or_else(invalid)
    }

    /// Where a redirect leads to: `http` stands for `ws`. User info in it is dropped, and so is a fragment.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        let mut url = self.0.join(location).ok()?;
        let scheme = match url.scheme() {
            "http" => "ws",
            "https" => "wss",
            _ => "",
        };
        if !scheme.is_empty() {
            url.set_scheme(scheme).ok()?;
        }
        UserInfo::take(&mut url);
        url.set_fragment(None);
        Self::new(url)
    }

    fn new(url: Url) -> Option<Self> {
        let address = matches!(url.scheme(), "ws" | "wss").then_some(Self(url))?;
        address.uri()?;
        Some(address)
    }

    /// The same for the `http` crate.
    pub(crate) fn uri(&self) -> Option<Uri> {
        self.0.as_str().parse().ok()
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.0.scheme() == "wss"
    }

    pub(crate) fn host(&self) -> Host<&str> {
        // `ws` and `wss` are special schemes: a URL of theirs without a host can't be made.
        self.0.host().unwrap_or(Host::Domain(""))
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// Host and port, an IPv6 address in brackets.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }

    /// Whether credentials for one may be shown to the other (RFC 6454).
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        self.is_secure() == other.is_secure()
            && self.host() == other.host()
            && self.port() == other.port()
    }
}

/// Without the query, in which some services want a token.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(self.0.as_str()))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl UserInfo {
    /// Takes it out of a URL.
    pub(crate) fn take(url: &mut Url) -> Option<Self> {
        let decode = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let user = decode(url.username());
        let password = url.password().map(decode);
        let found = !user.is_empty() || password.is_some();
        // They fail on URLs that can hold no user info.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        found.then(|| Self {
            user,
            password: password.unwrap_or_default(),
        })
    }
}

impl fmt::Debug for UserInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserInfo")
    }
}

fn is_unfit(character: char) -> bool {
    character.is_control() || character.is_whitespace() || character == '\\'
}

/// A URL, or what should be one, as it may be shown: no user info, no query, no fragment, no control characters.
pub(crate) fn without_secrets(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    // A password may hold anything where no parser agrees that this is a URL: all up to the last `@` goes.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let end = rest.find(['?', '#']);
    let shown = end.map_or(rest, |end| &rest[..end]);
    let mark = if end.is_some() { "?…" } else { "" };
    let text: String = format!("{scheme}{shown}{mark}");
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap().0
    }

    #[test]
    fn hosts_ports_and_targets() {
        for (text, authority, uri) in [
            ("ws://h", "h:80", "ws://h/"),
            ("WSS://H:443/a?b", "h:443", "wss://h/a?b"),
            ("ws://[::1]:8000/", "[::1]:8000", "ws://[::1]:8000/"),
            (
                "ws://bücher.example/ä",
                "xn--bcher-kva.example:80",
                "ws://xn--bcher-kva.example/%C3%A4",
            ),
            (
                "ws://h/flights/*?q={a}|b",
                "h:80",
                "ws://h/flights/*?q={a}|b",
            ),
        ] {
            let address = address(text);
            assert_eq!(address.authority(), authority);
            assert_eq!(address.uri().unwrap(), uri, "{text}");
        }
    }

    #[test]
    fn attack_12_line_breaks_and_other_repairs_of_a_browser_are_refused_client() {
        for text in [
            "",
            "h",
            "ws:h",
            "ws:///h",
            "ws://",
            "http://h/",
            "ws://h/#a",
            "ws://h/\r\nx: y",
            "ws://h\t/",
            " ws://h/",
            "ws://h\\@evil/",
            "ws://h:99999/",
            "ws://h h/",
            "ws://[::1/",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn user_info_is_taken_out_and_never_shown() {
        let (address, user) = Address::parse("wss://us%40er:p%3Aa%2F@h/chat?token=xyz").unwrap();
        let user = user.unwrap();
        assert_eq!(
            (&user.user[..], &user.password[..]),
            (&b"us@er"[..], &b"p:a/"[..])
        );
        assert_eq!(address.uri().unwrap(), "wss://h/chat?token=xyz");
        assert_eq!(address.to_string(), "wss://h/chat?…");
        assert_eq!(format!("{address:?} {user:?}"), "wss://h/chat?… UserInfo");
        assert!(Address::parse("ws://h/").unwrap().1.is_none());
        for wrong in [
            "ws://user:secret@h h/",
            "user:secret@h",
            "ws://user:se?cr#et@",
        ] {
            let shown = Address::parse(wrong).unwrap_err().to_string();
            assert!(!shown.contains("se") || !shown.contains("cret"), "{shown}");
            assert!(!shown.contains("user"), "{shown}");
        }
    }

    #[test]
    fn locations_are_resolved() {
        let base = address("wss://h/a/b?c");
        for (location, expected) in [
            ("d", "wss://h/a/d"),
            ("../d?e#f", "wss://h/d?e"),
            ("?x", "wss://h/a/b?x"),
            ("//other/x", "wss://other/x"),
            ("https://other:443/", "wss://other/"),
            ("http://other/", "ws://other/"),
            ("http://user:password@other:8080/", "ws://other:8080/"),
            ("wss://h/z", "wss://h/z"),
        ] {
            assert_eq!(base.join(location).unwrap().uri().unwrap(), expected);
        }
        for wrong in ["ftp://h/", "mailto:a@b", "https://", "http://h:port/"] {
            assert!(base.join(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let base = address("wss://h/a");
        assert!(base.same_origin(&address("wss://H:443/b")));
        for other in ["ws://h/a", "wss://h:444/a", "wss://www.h/a"] {
            assert!(!base.same_origin(&address(other)), "{other}");
        }
    }
}
