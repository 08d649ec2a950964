//! Credentials in header fields: how they are made, which fields hold them, and how they are kept from others.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::address::UserInfo;

/// Credentials that can't be sent as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The user's name holds `:` or a control character.
    #[error("the user's name must hold neither `:` nor control characters (RFC 7617 §2)")]
    User,
    /// The password holds a control character.
    #[error("the password must hold no control characters (RFC 7617 §2)")]
    Password,
    /// SOCKS has one byte for the length of each.
    #[error(
        "the user's name and the password must be of at most 255 bytes for SOCKS (RFC 1929 §2)"
    )]
    TooLong,
    /// The token holds a character that tokens have not.
    #[error(
        "the token must be letters, digits and any of `-._~+/`, with `=` at the end only (RFC 6750 §2.1)"
    )]
    Token,
}

/// `Basic` credentials (RFC 7617), in UTF-8.
pub(crate) fn basic(user_info: &UserInfo) -> Result<HeaderValue, CredentialsError> {
    let UserInfo { user, password } = user_info;
    if user.iter().any(|b| *b == b':' || b.is_ascii_control()) {
        return Err(CredentialsError::User);
    }
    if password.iter().any(u8::is_ascii_control) {
        return Err(CredentialsError::Password);
    }
    let pair = [user, &b":"[..], password].concat();
    value(&format!("Basic {}", BASE64_STANDARD.encode(pair)))
}

/// A `Bearer` token (RFC 6750).
pub(crate) fn bearer(token: &str) -> Result<HeaderValue, CredentialsError> {
    let body = token.trim_end_matches('=');
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    if body.is_empty() || !body.bytes().all(fits) {
        return Err(CredentialsError::Token);
    }
    value(&format!("Bearer {token}"))
}

fn value(text: &str) -> Result<HeaderValue, CredentialsError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| CredentialsError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether a request's field of this name is a credential.
pub(crate) fn is_credential(name: &HeaderName) -> bool {
    name == AUTHORIZATION || name == COOKIE || name.as_str().starts_with("proxy-")
}

/// Takes out of a request what another origin must not see: credentials by name, whatever was marked sensitive, and a
/// `Host` of the program's own.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let secret = |name: &HeaderName, value: &HeaderValue| {
        is_credential(name) || name == HOST || value.is_sensitive()
    };
    let secrets: Vec<HeaderName> = headers
        .iter()
        .filter(|(name, value)| secret(name, value))
        .map(|(name, _)| name.clone())
        .collect();
    for name in secrets {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(user: &str, password: &str) -> UserInfo {
        UserInfo {
            user: user.into(),
            password: password.into(),
        }
    }

    #[test]
    fn credentials_of_the_rfcs() {
        let basic = basic(&pair("Aladdin", "open sesame")).unwrap();
        assert_eq!(basic, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(basic.is_sensitive());
        let bearer = bearer("mF_9.B5f-4.1JqM=").unwrap();
        assert_eq!(bearer, "Bearer mF_9.B5f-4.1JqM=");
        assert_eq!(format!("{bearer:?}"), "Sensitive");
    }

    #[test]
    fn attack_12_no_line_break_gets_into_credentials_client() {
        for token in ["", "=", "a\r\nx: y", "a b", "a=b", "ä"] {
            assert_eq!(bearer(token), Err(CredentialsError::Token), "{token:?}");
        }
        assert_eq!(basic(&pair("a:b", "")), Err(CredentialsError::User));
        assert_eq!(basic(&pair("a\n", "")), Err(CredentialsError::User));
        assert_eq!(basic(&pair("a", "\r\n")), Err(CredentialsError::Password));
    }

    #[test]
    fn what_is_secret_is_stripped_and_the_rest_stays() {
        let mut headers = HeaderMap::new();
        for name in [
            "authorization",
            "cookie",
            "proxy-authorization",
            "proxy-x",
            "host",
            "origin",
        ] {
            headers.append(name, HeaderValue::from_static("x"));
            headers.append(name, HeaderValue::from_static("y"));
        }
        let mut key = HeaderValue::from_static("k");
        key.set_sensitive(true);
        headers.append("x-api-key", HeaderValue::from_static("plain"));
        headers.append("x-api-key", key);
        strip(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["origin"]);
        assert_eq!(headers.get_all("origin").iter().count(), 2);
    }
}
