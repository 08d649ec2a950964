//! What is published: [`Content`] before it has a place in a log, [`Publication`] after.

mod content;

use std::fmt::Write as _;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use jiff::Timestamp;
use openline::Broadcast;

use crate::{Channel, Cursor};

pub use self::content::{Content, ContentError, Kind, MAX_CONTENT_TYPE};

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
