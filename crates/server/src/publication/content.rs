//! What is published, before it has a place in a log: checked and classified.

use bytes::Bytes;
use serde::de::IgnoredAny;

/// Longest content type, in bytes.
pub const MAX_CONTENT_TYPE: usize = 255;

/// How many arrays and objects of a JSON body may stand within each other. Many readers go no
/// deeper than 127, an envelope and a page around a body take three of these, and readers without a
/// bound can be crashed by depth.
const MAX_JSON_DEPTH: usize = 100;

/// A body and its media type, checked and classified, ready to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub(super) content_type: Box<str>,
    pub(super) body: Bytes,
    pub(super) kind: Kind,
}

impl Content {
    /// Checks and classifies a body: a JSON type must hold JSON in UTF-8, its arrays and objects
    /// nested at most 100 deep; `text/*` that is not UTF-8 is binary.
    pub fn new(content_type: &str, body: Bytes) -> Result<Self, ContentError> {
        let essence = check_content_type(content_type)?;
        let kind = kind(&essence, &body);
        if kind == Kind::Json {
            check_json(&body)?;
        }
        Ok(Self {
            content_type: content_type.into(),
            body,
            kind,
        })
    }

    /// What was checked when it was published, from where it was kept since.
    pub(crate) fn kept(content_type: &str, body: Bytes) -> Self {
        let essence = check_content_type(content_type).unwrap_or_default();
        Self {
            kind: kind(&essence, &body),
            content_type: content_type.into(),
            body,
        }
    }

    /// The media type, as it was given.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The body, as it was given.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// How it travels.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The body as text, unless it is binary.
    pub fn text(&self) -> Option<&str> {
        match self.kind {
            Kind::Json | Kind::Text => std::str::from_utf8(&self.body).ok(),
            Kind::Binary => None,
        }
    }
}

/// How a body travels where text, JSON and binary differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// JSON, checked: `application/json` and `*+json`.
    Json,
    /// UTF-8 of a type `text/*`.
    Text,
    /// Everything else.
    Binary,
}

/// Why a body cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The media type is not one.
    #[error(
        "the Content-Type is not a media type such as text/plain, at most {MAX_CONTENT_TYPE} bytes long"
    )]
    ContentType,
    /// The body of a JSON type is not JSON.
    #[error("the body is not JSON: {problem} at line {line}, column {column}")]
    Json {
        /// What is wrong there.
        problem: String,
        /// Line of the first error, counted from 1.
        line: usize,
        /// Column of the first error in bytes, counted from 1.
        column: usize,
    },
    /// The body of a JSON type is nested too deeply.
    #[error(
        "the body's arrays and objects are nested over {MAX_JSON_DEPTH} deep at line {line}, column {column}"
    )]
    JsonDepth {
        /// Line of the bracket that is one too deep, counted from 1.
        line: usize,
        /// Its column in bytes, counted from 1.
        column: usize,
    },
}

fn kind(essence: &str, body: &[u8]) -> Kind {
    if essence == "application/json" || essence.ends_with("+json") {
        Kind::Json
    } else if essence.starts_with("text/") && std::str::from_utf8(body).is_ok() {
        Kind::Text
    } else {
        Kind::Binary
    }
}

/// The type and subtype in lower case. Parameters are carried along unread.
fn check_content_type(text: &str) -> Result<String, ContentError> {
    let token = |part: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !part.is_empty() && part.bytes().all(allowed)
    };
    let printable = text
        .bytes()
        .all(|b| b == b'\t' || (b' '..=b'~').contains(&b));
    let essence = text.split(';').next().unwrap_or_default().trim();
    let valid = text.len() <= MAX_CONTENT_TYPE
        && printable
        && essence
            .split_once('/')
            .is_some_and(|(kind, sub)| token(kind) && token(sub));
    valid
        .then(|| essence.to_ascii_lowercase())
        .ok_or(ContentError::ContentType)
}

fn check_json(body: &[u8]) -> Result<(), ContentError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let (line, column) = place(&body[..error.valid_up_to()]);
        ContentError::Json {
            problem: "a byte that is not UTF-8".into(),
            line,
            column,
        }
    })?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| {
        let full = error.to_string();
        let problem = full
            .split(" at line ")
            .next()
            .unwrap_or_default()
            .to_owned();
        ContentError::Json {
            problem,
            line: error.line().max(1),
            column: error.column().max(1),
        }
    })?;
    match too_deep(body) {
        None => Ok(()),
        Some(at) => {
            let (line, column) = place(&body[..at]);
            Err(ContentError::JsonDepth { line, column })
        }
    }
}

/// Where in a JSON text the first bracket stands that is too deep.
fn too_deep(json: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' if depth == MAX_JSON_DEPTH => return Some(at),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Line and column, counted from 1, of what follows `before`.
fn place(before: &[u8]) -> (usize, usize) {
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&b| b != b'\n').count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_the_type_and_the_bytes() {
        let kind = |content_type: &str, body: &'static [u8]| {
            Content::new(content_type, Bytes::from_static(body))
                .unwrap()
                .kind()
        };
        assert_eq!(kind("Application/JSON; charset=utf-8", b"1"), Kind::Json);
        assert_eq!(kind("application/geo+json", b"{}"), Kind::Json);
        assert_eq!(kind("text/html", b"x"), Kind::Text);
        assert_eq!(kind("text/plain", b"\xc3"), Kind::Binary);
        assert_eq!(kind("application/octet-stream", b"x"), Kind::Binary);
    }

    #[test]
    fn a_json_error_says_where() {
        let error = |body: &'static [u8]| {
            Content::new("application/json", Bytes::from_static(body))
                .unwrap_err()
                .to_string()
        };
        assert!(error(b"{\n  \"a\": x}").ends_with("expected value at line 2, column 8"));
        assert!(error(b"[1,\n\"\xff\"]").ends_with("not UTF-8 at line 2, column 2"));
        assert!(error(b"").contains("line 1, column 1"));
        assert!(error(b"{} {}").contains("trailing characters"));
        assert!(error(b"\"\x01\"").contains("control character"));
    }

    #[test]
    fn json_is_nested_100_deep_at_most() {
        let nested = |open: &str, depth: usize, within: &str, close: &str| {
            let text = format!("{}{within}{}", open.repeat(depth), close.repeat(depth));
            Content::new("application/json", text.into())
        };
        assert!(nested("[", 100, "", "]").is_ok());
        assert!(nested("{\"a\":", 100, "1", "}").is_ok());
        assert!(nested("[", 99, "[],[],{}", "]").is_ok(), "side by side");
        assert!(
            nested("[", 100, r#""\\\"[[{{""#, "]").is_ok(),
            "in a string"
        );
        let too_deep = |column| Err(ContentError::JsonDepth { line: 1, column });
        assert_eq!(nested("[", 101, "", "]"), too_deep(101));
        assert_eq!(nested("[", 5000, "", "]"), too_deep(101));
        assert_eq!(nested("[", 100, "\"]]\",{}", "]"), too_deep(106));
    }

    #[test]
    fn a_content_type_that_is_none_is_refused() {
        let long = format!("text/{}", "x".repeat(MAX_CONTENT_TYPE));
        for text in [
            "",
            "text",
            "text/",
            "/plain",
            "te xt/plain",
            "text/plain\n",
            "té/x",
            &long,
        ] {
            assert_eq!(
                Content::new(text, Bytes::new()),
                Err(ContentError::ContentType),
                "{text:?}"
            );
        }
    }
}
