//! What is published: [`Content`] before it has a place in a log, [`Publication`] after.

use std::fmt::Write as _;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use jiff::Timestamp;
use openline::Broadcast;
use serde::de::IgnoredAny;

use crate::{Channel, Cursor};

/// Longest content type, in bytes.
pub const MAX_CONTENT_TYPE: usize = 255;

/// How many arrays and objects of a JSON body may stand within each other. Many readers go no
/// deeper than 127, an envelope and a page around a body take three of these, and readers without a
/// bound can be crashed by depth.
const MAX_JSON_DEPTH: usize = 100;

/// A publication: what was published, where, when, and its place in the log.
///
/// The forms in which it goes over the wire are made when first asked for, once each, and shared
/// by all receivers.
#[derive(Debug)]
pub struct Publication {
    channel: Channel,
    cursor: Cursor,
    time: Timestamp,
    content: Content,
    frame: OnceLock<Broadcast>,
    envelope: OnceLock<Bytes>,
    envelope_frame: OnceLock<Broadcast>,
    event: OnceLock<Bytes>,
    envelope_event: OnceLock<Bytes>,
}

impl Publication {
    /// What a publication counts for, in bytes, beside its body and its names.
    pub const OVERHEAD: usize = 512;

    /// A publication on `channel` that stands just before `cursor` in its log. `time` is kept in
    /// whole milliseconds.
    pub fn new(channel: Channel, cursor: Cursor, time: Timestamp, content: Content) -> Self {
        Self {
            channel,
            cursor,
            time: Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time),
            content,
            frame: OnceLock::new(),
            envelope: OnceLock::new(),
            envelope_frame: OnceLock::new(),
            event: OnceLock::new(),
            envelope_event: OnceLock::new(),
        }
    }

    /// Where it was published.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The place just after it: whoever has it resumes from there.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Its offset in the log.
    pub fn offset(&self) -> u64 {
        self.cursor.offset
    }

    /// When it was appended, by the server's clock, in whole milliseconds.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// What was published.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// What it counts for against the bounds of histories and queues, in bytes.
    pub fn weight(&self) -> usize {
        Self::OVERHEAD
            + self.channel.as_str().len()
            + self.content.content_type.len()
            + self.content.body.len()
    }

    /// The body alone, as a WebSocket frame: text or binary by its kind.
    pub fn frame(&self) -> &Broadcast {
        self.frame.get_or_init(|| match self.content.text() {
            Some(text) => Broadcast::text(text),
            None => Broadcast::binary(&self.content.body),
        })
    }

    /// The JSON envelope with a line feed after it and none within.
    pub fn envelope_line(&self) -> &Bytes {
        self.envelope.get_or_init(|| self.make_envelope().into())
    }

    /// The JSON envelope, without a line feed.
    pub fn envelope(&self) -> Bytes {
        let line = self.envelope_line();
        line.slice(..line.len() - 1)
    }

    /// The JSON envelope as a WebSocket text frame.
    pub fn envelope_frame(&self) -> &Broadcast {
        self.envelope_frame.get_or_init(|| {
            let envelope = self.make_envelope();
            Broadcast::text(envelope.trim_end_matches('\n'))
        })
    }

    /// The body alone as a Server-Sent Event: plain data, or `event: binary` in base64 where the
    /// body is binary or has a carriage return, which an event stream would turn into a line end.
    pub fn event(&self) -> &Bytes {
        self.event.get_or_init(|| {
            let mut event = format!("id: {}\n", self.cursor);
            match self.content.text() {
                Some(text) if !text.contains('\r') => {
                    for line in text.split('\n') {
                        event.push_str("data: ");
                        event.push_str(line);
                        event.push('\n');
                    }
                }
                _ => {
                    event.push_str("event: binary\ndata: ");
                    BASE64.encode_string(&self.content.body, &mut event);
                    event.push('\n');
                }
            }
            event.push('\n');
            event.into()
        })
    }

    /// The JSON envelope as a Server-Sent Event.
    pub fn envelope_event(&self) -> &Bytes {
        self.envelope_event
            .get_or_init(|| format!("id: {}\ndata: {}\n", self.cursor, self.make_envelope()).into())
    }

    fn make_envelope(&self) -> String {
        let mut out = String::with_capacity(self.weight());
        out.push_str("{\"channel\":");
        push_json_string(&mut out, self.channel.as_str());
        let _ = write!(
            out,
            ",\"cursor\":\"{}\",\"time\":\"{:.3}\"",
            self.cursor, self.time
        );
        out.push_str(",\"type\":");
        push_json_string(&mut out, &self.content.content_type);
        match (self.content.kind, self.content.text()) {
            (Kind::Json, Some(json)) => {
                out.push_str(",\"data\":");
                // In JSON a line end is only ever white space: inside a string it is escaped.
                out.extend(json.split(['\r', '\n']));
            }
            (_, Some(text)) => {
                out.push_str(",\"data\":");
                push_json_string(&mut out, text);
            }
            (_, None) => {
                out.push_str(",\"base64\":\"");
                BASE64.encode_string(&self.content.body, &mut out);
                out.push('"');
            }
        }
        out.push_str("}\n");
        out
    }
}

/// A body and its media type, checked and classified, ready to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    content_type: Box<str>,
    body: Bytes,
    kind: Kind,
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

fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => {
                let _ = write!(out, "\\u{control:04x}");
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
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

    fn publication(content_type: &str, body: &[u8]) -> Publication {
        let content = Content::new(content_type, Bytes::copy_from_slice(body)).unwrap();
        Publication::new(
            "a/b".parse().unwrap(),
            Cursor::after("k3v9x2m4q8ta:0".parse::<Cursor>().unwrap().epoch, 42),
            "2026-11-22T10:51:00.1239Z".parse().unwrap(),
            content,
        )
    }

    fn envelope(content_type: &str, body: &[u8]) -> String {
        String::from_utf8(publication(content_type, body).envelope().to_vec()).unwrap()
    }

    fn event(content_type: &str, body: &[u8]) -> String {
        String::from_utf8(publication(content_type, body).event().to_vec()).unwrap()
    }

    #[test]
    fn a_json_envelope_is_one_line_of_the_same_json() {
        assert_eq!(
            envelope("application/json", b"{\r\n \"a\": \"x\\ny\"\n}"),
            r#"{"channel":"a/b","cursor":"k3v9x2m4q8ta:42","time":"2026-11-22T10:51:00.123Z","type":"application/json","data":{ "a": "x\ny"}}"#
        );
    }

    #[test]
    fn text_is_a_string_and_binary_is_base64() {
        assert!(
            envelope(
                "text/plain; charset=\"utf-8\"",
                "a\"\\\n\r\t\u{1}é".as_bytes()
            )
            .ends_with(r#""type":"text/plain; charset=\"utf-8\"","data":"a\"\\\n\r\t\u0001é"}"#)
        );
        assert!(envelope("image/png", b"\x00\xff").ends_with(r#""base64":"AP8="}"#));
        assert!(envelope("text/plain", b"\xff").ends_with(r#""base64":"/w=="}"#));
    }

    #[test]
    fn every_envelope_is_json() {
        let every: String = (0..0x300).filter_map(char::from_u32).collect();
        let text = envelope("text/plain", every.as_bytes());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["data"], every);
    }

    #[test]
    fn an_event_has_a_line_of_data_for_each_line_of_text() {
        assert_eq!(
            event("text/plain", b"one\n\n two\n"),
            "id: k3v9x2m4q8ta:42\ndata: one\ndata: \ndata:  two\ndata: \n\n"
        );
        assert_eq!(event("text/plain", b""), "id: k3v9x2m4q8ta:42\ndata: \n\n");
    }

    #[test]
    fn an_event_that_a_stream_would_change_goes_as_binary() {
        let binary = "id: k3v9x2m4q8ta:42\nevent: binary\ndata: ";
        assert_eq!(event("text/plain", b"a\rb"), format!("{binary}YQ1i\n\n"));
        assert_eq!(
            event("application/json", b"[\r\n]"),
            format!("{binary}Ww0KXQ==\n\n")
        );
        assert_eq!(event("image/png", b"\x00"), format!("{binary}AA==\n\n"));
        assert_eq!(event("text/plain", b"\xff"), format!("{binary}/w==\n\n"));
    }

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

    #[test]
    fn each_form_is_made_once() {
        let publication = publication("text/plain", b"x");
        assert_eq!(
            publication.envelope_line().as_ptr(),
            publication.envelope_line().as_ptr()
        );
        assert_eq!(publication.event().as_ptr(), publication.event().as_ptr());
        assert_eq!(
            publication.envelope().as_ptr(),
            publication.envelope_line().as_ptr()
        );
    }
}
