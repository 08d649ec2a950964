//! Listening on an answer that does not end: Server-Sent Events and NDJSON.

use std::collections::VecDeque;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use openline_server::Filter;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::item::{Item, one_line};
use super::sse::{self, Parser};
use super::{Event, MAX_ITEM_BYTES, PATIENCE, SILENCE, Way};
use crate::args::Via;
use crate::error::Error;
use crate::http::media_type;

const EVENT_STREAM: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";
/// The last line of one who may not listen any more.
const EXPIRED: &str = r#"{"expired":true}"#;

/// One open answer.
pub(super) struct Stream {
    body: Incoming,
    format: Format,
    ready: VecDeque<Event>,
}

enum Format {
    Ndjson(Lines),
    /// Events of many channels carry envelopes.
    SseOfMany(Parser),
    /// Events of one channel carry bodies.
    SseOfOne(Parser, String),
}

impl Stream {
    pub(super) async fn open(way: &Way, since: Option<&str>) -> Result<Self, Error> {
        let (accepted, format) = match (way.via, &way.channel) {
            (Via::Sse, Filter::Exact(one)) => (
                EVENT_STREAM,
                Format::SseOfOne(Parser::default(), one.as_str().to_owned()),
            ),
            (Via::Sse, Filter::Pattern(_)) => (EVENT_STREAM, Format::SseOfMany(Parser::default())),
            _ => (NDJSON, Format::Ndjson(Lines::default())),
        };
        let query: Vec<_> = since.map(|cursor| ("since", cursor)).into_iter().collect();
        let url = way.http.server().channel(way.channel.as_str(), &query);
        let mut request = Request::new(Full::<Bytes>::default());
        request
            .headers_mut()
            .insert(ACCEPT, HeaderValue::from_static(accepted));
        let response = way
            .http
            .send(&url, request, StatusCode::OK, PATIENCE)
            .await?;
        let found = media_type(response.headers());
        if found != Some(accepted) {
            return Err(Error::MediaType {
                expected: accepted,
                found: found.unwrap_or("no media type").to_owned(),
            });
        }
        Ok(Self {
            body: response.into_body(),
            format,
            ready: VecDeque::new(),
        })
    }

    pub(super) async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let frame = match timeout(SILENCE, self.body.frame()).await {
                Ok(Some(frame)) => frame.map_err(Error::Body)?,
                Ok(None) => return Err(Error::Ended),
                Err(_) => return Err(Error::Silent(SILENCE)),
            };
            if let Ok(chunk) = frame.into_data() {
                self.format.read(&chunk, &mut self.ready)?;
            }
        }
    }
}

impl Format {
    fn read(&mut self, chunk: &[u8], ready: &mut VecDeque<Event>) -> Result<(), Error> {
        match self {
            Self::Ndjson(lines) => lines.push(chunk, |line| {
                if line == EXPIRED {
                    return Err(Error::Expired);
                }
                ready.push_back(Item::parse(line)?.into_event(line)?);
                Ok(())
            }),
            Self::SseOfMany(parser) => {
                parser.push(chunk)?;
                while let Some(event) = parser.next() {
                    ready.extend(of_many(event)?);
                }
                Ok(())
            }
            Self::SseOfOne(parser, channel) => {
                parser.push(chunk)?;
                while let Some(event) = parser.next() {
                    ready.extend(of_one(event, channel)?);
                }
                Ok(())
            }
        }
    }
}

/// Events of kinds that this version does not know are passed over, as a browser does.
fn of_many(event: sse::Event) -> Result<Option<Event>, Error> {
    match event.kind.as_str() {
        "message" => Item::parse(&event.data)?.into_event(&event.data).map(Some),
        _ => position(event),
    }
}

fn of_one(event: sse::Event, channel: &str) -> Result<Option<Event>, Error> {
    let mut line = Line {
        channel,
        cursor: &event.id,
        data: None,
        base64: None,
    };
    match event.kind.as_str() {
        "message" => line.data = Some(&event.data),
        "binary" => line.base64 = Some(&event.data),
        _ => return position(event),
    }
    let line = serde_json::to_string(&line).map_err(Error::Json)?;
    Ok(Some(Event::Publication {
        channel: channel.to_owned(),
        cursor: event.id,
        line,
    }))
}

fn position(event: sse::Event) -> Result<Option<Event>, Error> {
    let recovered = match event.kind.as_str() {
        "ready" => true,
        "gap" => false,
        "expired" => return Err(Error::Expired),
        _ => return Ok(None),
    };
    Ok(Some(Event::Stands {
        cursor: event.id,
        recovered,
    }))
}

/// What is printed of an event that carries the body alone.
#[derive(serde::Serialize)]
struct Line<'a> {
    channel: &'a str,
    cursor: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<&'a str>,
}

/// Splits NDJSON into lines.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Gives each line that `chunk` completes to `each`, except the empty ones: they are heartbeats.
    fn push(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(&str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for part in chunk.split_inclusive(|&byte| byte == b'\n') {
            if self.0.len() + part.len() > MAX_ITEM_BYTES {
                return Err(Error::LongAnswer {
                    limit: MAX_ITEM_BYTES,
                });
            }
            self.0.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.0);
                let line = line.trim_ascii();
                if !line.is_empty() {
                    // Whatever it is, it is checked to be UTF-8 with the rest of the JSON.
                    let json: &RawValue = serde_json::from_slice(line).map_err(Error::Json)?;
                    each(&one_line(json.get()))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Result<Vec<String>, Error> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for chunk in chunks {
            lines.push(chunk, |line| {
                all.push(line.to_owned());
                Ok(())
            })?;
        }
        Ok(all)
    }

    #[test]
    fn lines_come_whole_whatever_the_chunks() {
        let stream = "{\"a\":\"caf\u{e9}\"}\n\n{\"b\":2}\r\n".as_bytes();
        for size in 1..=stream.len() {
            let chunks: Vec<&[u8]> = stream.chunks(size).collect();
            assert_eq!(
                lines(&chunks).unwrap(),
                ["{\"a\":\"caf\u{e9}\"}", "{\"b\":2}"]
            );
        }
    }

    #[test]
    fn a_line_without_its_end_is_not_shown() {
        assert_eq!(lines(&[b"{}"]).unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_not_json_or_too_long_is_an_error() {
        assert!(matches!(lines(&[b"hello\n"]), Err(Error::Json(_))));
        assert!(matches!(lines(&[b"\"\xff\"\n"]), Err(Error::Json(_))));
        let long = vec![b' '; MAX_ITEM_BYTES + 1];
        assert!(matches!(lines(&[&long]), Err(Error::LongAnswer { .. })));
    }

    fn read(mut format: Format, text: &str) -> Vec<Event> {
        let mut ready = VecDeque::new();
        format.read(text.as_bytes(), &mut ready).unwrap();
        ready.into()
    }

    fn stands(cursor: &str, recovered: bool) -> Event {
        Event::Stands {
            cursor: cursor.to_owned(),
            recovered,
        }
    }

    fn publication(channel: &str, cursor: &str, line: &str) -> Event {
        Event::Publication {
            channel: channel.to_owned(),
            cursor: cursor.to_owned(),
            line: line.to_owned(),
        }
    }

    #[test]
    fn ndjson_tells_its_position_and_then_envelopes_as_they_are() {
        let envelope = r#"{"channel":"a","cursor":"e:1","type":"text/plain","data":"x"}"#;
        let text = format!("{{\"cursor\":\"e:0\",\"recovered\":false}}\n{envelope}\n");
        assert_eq!(
            read(Format::Ndjson(Lines::default()), &text),
            [stands("e:0", false), publication("a", "e:1", envelope)]
        );
    }

    #[test]
    fn events_of_one_channel_become_lines_with_a_string() {
        let text = "event: ready\nid: e:0\ndata: {}\n\nid: e:1\ndata: 1\ndata: \"\n\n\
                    event: binary\nid: e:2\ndata: AP8=\n\nevent: other\ndata: x\n\n";
        let format = Format::SseOfOne(Parser::default(), "a".to_owned());
        assert_eq!(
            read(format, text),
            [
                stands("e:0", true),
                publication(
                    "a",
                    "e:1",
                    r#"{"channel":"a","cursor":"e:1","data":"1\n\""}"#
                ),
                publication(
                    "a",
                    "e:2",
                    r#"{"channel":"a","cursor":"e:2","base64":"AP8="}"#
                ),
            ]
        );
    }

    #[test]
    fn events_of_many_channels_carry_envelopes() {
        let envelope = r#"{"channel":"a/b","cursor":"e:1","type":"application/json","data":1}"#;
        let text = format!("event: gap\nid: e:0\ndata: {{}}\n\nid: e:1\ndata: {envelope}\n\n");
        assert_eq!(
            read(Format::SseOfMany(Parser::default()), &text),
            [stands("e:0", false), publication("a/b", "e:1", envelope)]
        );
    }
}
