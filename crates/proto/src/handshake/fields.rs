//! Reading header fields that are lists of tokens (RFC 9110 §5.6).

use http::HeaderMap;
use http::header::AsHeaderName;

/// Whether a byte may stand in a token (RFC 9110 §5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'z' | b'|' | b'~' | b'0'..=b'9' | b'A'..=b'Z')
}

/// Whether a text is a token.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token_byte)
}

/// The elements of a list field, of all its lines, without the whitespace around them (spaces and tabs, §5.6.3); empty ones,
/// which §5.6.1 allows, are left out.
pub(crate) fn list(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(trim_whitespace)
        .filter(|element| !element.is_empty())
}

fn trim_whitespace(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Whether a field that is a list of tokens (RFC 9110 §5.6.1), as `Connection` and `Upgrade` are, has this one among them.
///
/// All lines of the field are one list. Upper and lower case are alike, whitespace around an element and empty elements do
/// not count. What an element is beside tokens is no reason to overlook the others: a proxy in front may read it so.
///
/// ```
/// use http::{HeaderMap, header};
/// use openline_proto::handshake::has_token;
///
/// let mut headers = HeaderMap::new();
/// headers.append(header::CONNECTION, "keep-alive".parse()?);
/// headers.append(header::CONNECTION, ",\tUpgrade ,".parse()?);
/// assert!(has_token(&headers, header::CONNECTION, "upgrade"));
/// assert!(!has_token(&headers, header::CONNECTION, "close"));
/// # Ok::<_, http::header::InvalidHeaderValue>(())
/// ```
pub fn has_token(headers: &HeaderMap, name: impl AsHeaderName, token: &str) -> bool {
    list(headers, name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

/// The value of a field that must stand exactly once.
pub(crate) fn single(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&[u8]> {
    let mut values = headers.get_all(name).into_iter();
    let first = values.next()?;
    values.next().is_none().then(|| first.as_bytes())
}

/// Whether the message announces a body: a handshake has none, and one with a body may be two messages in disguise.
pub(crate) fn announces_body(headers: &HeaderMap) -> bool {
    headers.contains_key(http::header::TRANSFER_ENCODING)
        || headers
            .get_all(http::header::CONTENT_LENGTH)
            .into_iter()
            .any(|length| length != "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::UPGRADE;

    fn asks(lines: &[&[u8]]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(UPGRADE, HeaderValue::from_bytes(line).unwrap());
        }
        has_token(&headers, UPGRADE, "websocket")
    }

    #[test]
    fn a_token_is_found_wherever_it_stands_in_a_list() {
        for lines in [
            &[&b"websocket"[..]][..],
            &[b"WebSocket"],
            &[b" \t websocket\t "],
            &[b",, ,websocket,,"],
            &[b"h2c, websocket"],
            &[b"h2c", b"websocket"],
            &[b"", b"h2c,websocket"],
            // Bytes that no token has, in its neighbours.
            &[b"\xe9,websocket"],
            &[b"\"quoted\", websocket"],
        ] {
            assert!(asks(lines), "{lines:?}");
        }
    }

    #[test]
    fn what_is_near_a_token_is_not_it() {
        for lines in [
            &[][..],
            &[&b""[..]],
            &[b",,"],
            &[b"websocket2"],
            &[b"web socket"],
            &[b"web", b"socket"],
            &[b"websocket;q=1"],
            &[b"websocket/13"],
            &[b"\"websocket\""],
            &[b"websocket\xa0"],
            &[b"\xc2\xa0websocket"],
            &[b"h2c websocket"],
        ] {
            assert!(!asks(lines), "{lines:?}");
        }
    }
}
