//! A parser for `text/event-stream`, by the rules of the HTML standard (9.2.6), stricter in two points: a stream that
//! is not UTF-8 is an error, not full of replacement characters, and an event is bounded in size. `retry` is ignored:
//! the caller has a backoff of its own.

use std::collections::VecDeque;

use super::MAX_ITEM_BYTES;

/// The bytes of a stream in, its events out. Chunk boundaries do not matter.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// The line under way, without its end.
    line: Vec<u8>,
    /// The last byte was a CR, whose line is done: an LF that follows belongs to it.
    after_cr: bool,
    /// Whether the first line is done, which alone may begin with a byte order mark.
    begun: bool,
    kind: String,
    data: String,
    /// Whether the event under way has a `data` field, which may be empty.
    has_data: bool,
    /// The last id of the stream: it stays for later events that name none.
    id: String,
    ready: VecDeque<Event>,
}

/// One event of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// The `event` field, `message` where there is none.
    pub(super) kind: String,
    /// The `data` lines, joined by LF.
    pub(super) data: String,
    /// The stream's last `id` so far, empty where there was none.
    pub(super) id: String,
}

/// Why a stream cannot be read on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SseError {
    /// A line is not UTF-8.
    #[error("a line of the event stream is not UTF-8")]
    NotUtf8,
    /// An event goes past [`MAX_ITEM_BYTES`].
    #[error("an event is longer than {MAX_ITEM_BYTES} bytes")]
    TooLong,
}

impl Parser {
    /// Takes the next bytes of the stream. What they complete waits in [`Parser::next`].
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), SseError> {
        let mut rest = chunk;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            self.extend(&rest[..end])?;
            self.end_line()?;
            let after = &rest[end + 1..];
            rest = if rest[end] == b'\n' {
                after
            } else if after.is_empty() {
                self.after_cr = true;
                after
            } else {
                after.strip_prefix(b"\n").unwrap_or(after)
            };
        }
        self.extend(rest)
    }

    /// The next complete event.
    pub(super) fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), SseError> {
        if self.data.len() + self.line.len() + bytes.len() > MAX_ITEM_BYTES {
            return Err(SseError::TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), SseError> {
        let line = std::mem::take(&mut self.line);
        let mut text = std::str::from_utf8(&line).map_err(|_| SseError::NotUtf8)?;
        if !std::mem::replace(&mut self.begun, true) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            self.dispatch();
            return Ok(());
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            // A comment has an empty field name; unknown fields are ignored.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self) {
        let kind = std::mem::take(&mut self.kind);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) {
            self.ready.push_back(Event {
                kind: if kind.is_empty() {
                    "message".to_owned()
                } else {
                    kind
                },
                data,
                id: self.id.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(chunks: &[&[u8]]) -> Result<Vec<Event>, SseError> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for chunk in chunks {
            parser.push(chunk)?;
            events.extend(std::iter::from_fn(|| parser.next()));
        }
        Ok(events)
    }

    fn event(kind: &str, data: &str, id: &str) -> Event {
        Event {
            kind: kind.to_owned(),
            data: data.to_owned(),
            id: id.to_owned(),
        }
    }

    #[test]
    fn an_event_has_kind_data_and_id() {
        assert_eq!(
            parse(&[b"event: ready\nid: e:1\ndata: {}\n\n"]).unwrap(),
            [event("ready", "{}", "e:1")]
        );
    }

    #[test]
    fn any_chunking_gives_the_same_events() {
        let stream = "\u{feff}id: a\r\ndata: caf\u{e9}\r\ndata: 2\r\n\r\n: beat\n\ndata:x\r\revent:b\ndata\n\n";
        let expected = [
            event("message", "caf\u{e9}\n2", "a"),
            event("message", "x", "a"),
            event("b", "", "a"),
        ];
        let bytes = stream.as_bytes();
        assert_eq!(parse(&[bytes]).unwrap(), expected);
        for size in 1..bytes.len() {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(parse(&chunks).unwrap(), expected, "chunks of {size}");
        }
    }

    #[test]
    fn each_line_end_counts_once() {
        for end in ["\n", "\r", "\r\n"] {
            let stream = format!("data: 1{end}data: 2{end}{end}data: 3{end}{end}");
            assert_eq!(
                parse(&[stream.as_bytes()]).unwrap(),
                [event("message", "1\n2", ""), event("message", "3", "")],
                "{end:?}"
            );
        }
    }

    #[test]
    fn the_id_stays_until_another_comes() {
        let events = parse(&[b"id: 1\ndata: a\n\ndata: b\n\nid: 2\n\ndata: c\n\nid\ndata: d\n\n"]);
        let ids: Vec<String> = events.unwrap().into_iter().map(|event| event.id).collect();
        assert_eq!(ids, ["1", "1", "2", ""]);
    }

    #[test]
    fn an_id_with_nul_is_ignored() {
        assert_eq!(
            parse(&[b"id: 1\n\nid: 2\0\ndata: a\n\n"]).unwrap(),
            [event("message", "a", "1")]
        );
    }

    #[test]
    fn only_one_space_is_taken_off() {
        assert_eq!(
            parse(&[b"data:  two\n\ndata:none\n\n"]).unwrap(),
            [event("message", " two", ""), event("message", "none", "")]
        );
    }

    #[test]
    fn comments_unknown_fields_and_events_without_data_give_nothing() {
        let stream = b": hello\n\nretry: 10\n\nevent: x\n\nfoo: bar\n\ndata: a\n\n";
        assert_eq!(parse(&[stream]).unwrap(), [event("message", "a", "")]);
    }

    #[test]
    fn an_event_that_never_ended_is_not_shown() {
        assert_eq!(parse(&[b"data: a\n"]).unwrap(), []);
    }

    #[test]
    fn a_byte_order_mark_is_taken_off_only_at_the_start() {
        assert_eq!(
            parse(&["\u{feff}data: a\n\n\u{feff}data: b\n\n".as_bytes()]).unwrap(),
            [event("message", "a", "")]
        );
    }

    #[test]
    fn what_is_not_utf8_is_an_error() {
        assert_eq!(parse(&[b"data: \xff\n"]), Err(SseError::NotUtf8));
    }

    #[test]
    fn an_event_is_bounded_in_one_line_and_in_many() {
        let long = vec![b'x'; MAX_ITEM_BYTES + 1];
        assert_eq!(parse(&[&long]), Err(SseError::TooLong));
        let line = [b"data: ".as_slice(), &vec![b'x'; 1_000_000], b"\n"].concat();
        let lines = line.repeat(MAX_ITEM_BYTES / 1_000_000 + 1);
        assert_eq!(parse(&[&lines]), Err(SseError::TooLong));
    }
}
