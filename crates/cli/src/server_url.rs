//! The server that a client command talks to, and the URLs of its channels.

use url::Url;

use crate::error::Error;

/// A server's base URL.
#[derive(Clone, Debug)]
pub(crate) struct Server(Url);

/// Why a text is not a server's URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum UrlError {
    /// There is no scheme: `127.0.0.1:8000`, or `localhost:8000`, of which a URL would take the host for the scheme.
    #[error("http:// is missing before the host")]
    NoScheme,
    /// It is no URL.
    #[error(transparent)]
    Syntax(#[from] url::ParseError),
    /// Something else than HTTP or WebSocket.
    #[error("its scheme is `{0}`, not http, https, ws or wss")]
    Scheme(String),
    /// Credentials, a query or a fragment have no meaning here.
    #[error("it has more than a scheme, a host, a port and a path")]
    Extra,
    /// The path is a channel's, or that of all channels, to which the command itself appends.
    #[error("its path has /channels, which the command appends")]
    Channels,
    /// What a URL allows and an HTTP request does not.
    #[error("it cannot stand in a request")]
    Unusable,
}

impl Server {
    /// Reads `--server`.
    ///
    /// # Errors
    /// [`Error::ServerUrl`].
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        Self::checked(text).map_err(|source| Error::ServerUrl {
            url: without_credentials(text),
            source,
        })
    }

    fn checked(text: &str) -> Result<Self, UrlError> {
        if !text.contains("://") {
            return Err(UrlError::NoScheme);
        }
        let mut url = Url::parse(text)?;
        let scheme = match url.scheme() {
            "http" | "ws" => "http",
            "https" | "wss" => "https",
            other => return Err(UrlError::Scheme(other.to_owned())),
        };
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        if has_credentials || url.query().is_some() || url.fragment().is_some() {
            return Err(UrlError::Extra);
        }
        if url.path().split('/').any(|segment| segment == "channels") {
            return Err(UrlError::Channels);
        }
        // Between schemes of the web this never fails.
        let _ = url.set_scheme(scheme);
        Ok(Self(url))
    }

    /// The URL of a channel or a pattern over HTTP, with these query parameters.
    pub(crate) fn channel(&self, channel: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.0.clone();
        let base = url.path().trim_end_matches('/');
        url.set_path(&format!("{base}/channels/{channel}"));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// The same as a WebSocket URL.
    pub(crate) fn web_socket(&self, channel: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.channel(channel, query);
        let scheme = if self.is_tls() { "wss" } else { "ws" };
        // Between schemes of the web this never fails.
        let _ = url.set_scheme(scheme);
        url
    }

    /// Whether its connections are encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// The text with stars for a user's name and password, so that they stand in no log. What is no URL may have them
/// anywhere before an `@`.
fn without_credentials(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + "://".len());
    match text[start..].rfind('@') {
        Some(at) => format!("{}***{}", &text[..start], &text[start + at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_of(server: &str) -> String {
        let server = Server::parse(server).unwrap();
        server
            .channel("flights/UA1545-EWR", &[("since", "e:1&")])
            .to_string()
    }

    #[test]
    fn a_channel_has_one_url_whatever_the_scheme_is_called() {
        let expected = "http://h:8000/channels/flights/UA1545-EWR?since=e%3A1%26";
        for server in ["http://h:8000", "http://h:8000/", "ws://h:8000"] {
            assert_eq!(url_of(server), expected);
        }
        assert_eq!(
            url_of("wss://h/push/"),
            "https://h/push/channels/flights/UA1545-EWR?since=e%3A1%26"
        );
    }

    #[test]
    fn a_pattern_is_a_path_too() {
        let server = Server::parse("https://h").unwrap();
        assert_eq!(
            server.web_socket("flights/**", &[]).as_str(),
            "wss://h/channels/flights/**"
        );
    }

    #[test]
    fn credentials_are_not_repeated() {
        for (text, told) in [
            ("http://u:secret@h:8000", "http://***@h:8000"),
            ("u:secret@h", "***@h"),
            ("http://u:sec/r@et@h:x", "http://***@h:x"),
            ("http://h:8000/", "http://h:8000/"),
        ] {
            assert_eq!(without_credentials(text), told);
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for wrong in [
            "localhost:8000",
            "127.0.0.1:8000",
            "ftp://h",
            "http://u:p@h",
            "http://h/channels",
            "http://h/channels/",
            "http://h/push/channels/flights/UA1545-EWR",
            "http://h?x",
            "",
            "http://",
        ] {
            assert!(
                matches!(Server::parse(wrong), Err(Error::ServerUrl { .. })),
                "{wrong}"
            );
        }
    }
}
