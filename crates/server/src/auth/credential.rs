//! Where a request may bear a credential. Browsers cannot set fields on an `EventSource` or a
//! WebSocket, so a token may also come as a subprotocol or in the query.

use http::HeaderName;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;

use crate::http::{Kind, Problem};

/// What a subprotocol begins with that is a token. The server never agrees on it.
const TOKEN_SUBPROTOCOL: &str = "openline.token.";
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Longest credential, in bytes.
const MAX_CREDENTIAL: usize = 8 * 1024;

/// What a request brings to be let in. It is shown in no log: it has no `Debug`.
#[derive(PartialEq, Eq)]
pub(super) enum Credential {
    /// From where both may stand.
    KeyOrToken(String),
    /// From where only tokens may stand, since they end and keys do not.
    Token(String),
}

impl Credential {
    /// The request's credential, if it has one.
    pub(super) fn of(parts: &Parts) -> Result<Option<Self>, Problem> {
        let mut found = Vec::new();
        for value in parts.headers.get_all(AUTHORIZATION) {
            // Other schemes are meant for a proxy on the way.
            let text = text(value.as_bytes())?;
            let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                found.push(Self::KeyOrToken(rest.trim().to_owned()));
            }
        }
        for value in parts.headers.get_all(X_API_KEY) {
            found.push(Self::KeyOrToken(text(value.as_bytes())?.trim().to_owned()));
        }
        for value in parts.headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
            let offered = text(value.as_bytes())?.split(',').map(str::trim);
            let tokens = offered.filter_map(|offered| offered.strip_prefix(TOKEN_SUBPROTOCOL));
            found.extend(tokens.map(|token| Self::Token(token.to_owned())));
        }
        let query = parts.uri.query().unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name == "token" {
                found.push(Self::Token(value.into_owned()));
            }
        }
        let first = found.pop();
        // The same one twice is what a client does that cannot tell which of them is heard.
        if found.iter().any(|other| Some(other) != first.as_ref()) {
            return Err(Problem::new(
                Kind::BadRequest,
                "the request has two credentials; send one",
            ));
        }
        match &first {
            Some(Self::KeyOrToken(text) | Self::Token(text)) if text.len() > MAX_CREDENTIAL => {
                Err(Problem::new(
                    Kind::BadRequest,
                    format!("the credential is longer than {MAX_CREDENTIAL} bytes"),
                ))
            }
            _ => Ok(first),
        }
    }
}

fn text(value: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(value)
        .map_err(|_| Problem::new(Kind::BadRequest, "a credential is ASCII text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str, headers: &[(&str, &str)]) -> Result<Option<String>, ()> {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let found = Credential::of(&parts).map_err(drop)?;
        Ok(found.map(|credential| match credential {
            Credential::KeyOrToken(text) => format!("any {text}"),
            Credential::Token(text) => format!("token {text}"),
        }))
    }

    #[test]
    fn a_credential_is_found_wherever_it_may_stand() {
        assert_eq!(of("/a", &[]), Ok(None));
        for (uri, headers, found) in [
            ("/a", &[("authorization", "Bearer x")][..], "any x"),
            ("/a", &[("authorization", "bearer  x")], "any x"),
            ("/a", &[("x-api-key", "x")], "any x"),
            ("/a?since=&token=a.b.c", &[], "token a.b.c"),
            (
                "/a",
                &[(
                    "sec-websocket-protocol",
                    "openline.v1, openline.token.a.b.c",
                )],
                "token a.b.c",
            ),
        ] {
            assert_eq!(of(uri, headers), Ok(Some(found.to_owned())));
        }
        assert_eq!(of("/a", &[("authorization", "Basic eDp5")]), Ok(None));
    }

    #[test]
    fn two_are_refused_unless_they_are_the_same() {
        let bearer = ("authorization", "Bearer x");
        assert_eq!(of("/a?token=y", &[bearer]), Err(()));
        assert_eq!(of("/a", &[bearer, ("x-api-key", "y")]), Err(()));
        assert_eq!(
            of("/a", &[bearer, ("x-api-key", "x")]),
            Ok(Some("any x".to_owned()))
        );
        assert_eq!(of(&format!("/a?token={}", "x".repeat(9000)), &[]), Err(()));
    }
}
