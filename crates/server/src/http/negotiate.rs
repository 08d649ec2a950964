//! What a request's header fields ask for.

use std::time::Duration;

use http::header::{ACCEPT, HeaderMap, HeaderName, IF_NONE_MATCH};

use super::problem::Problem;
use crate::auth::Action;
use crate::broker::Since;
use crate::cursor::Cursor;
use crate::publication::Publication;
use crate::transport::ws;

/// Longest time that a request is held.
const MAX_WAIT: Duration = Duration::from_secs(60);

pub(crate) const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The forms in which a `GET` can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One answer: the publication itself, or a page.
    Plain,
    /// Server-Sent Events.
    Sse,
    /// Lines of JSON.
    Ndjson,
}

/// The form that `Accept` prefers. A stream is chosen only by its own name, with a weight above 0
/// and not below that of anything else: a browser's `*/*` asks for no stream.
pub(crate) fn form(headers: &HeaderMap) -> Form {
    let (mut best, mut weight) = (Form::Plain, 0);
    let mut plain = 0;
    for range in items(headers, ACCEPT, ',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let q = parts.find_map(quality).unwrap_or(1000);
        let form = if name.eq_ignore_ascii_case("text/event-stream") {
            Form::Sse
        } else if name.eq_ignore_ascii_case("application/x-ndjson") {
            Form::Ndjson
        } else {
            plain = plain.max(q);
            continue;
        };
        if q > weight {
            (best, weight) = (form, q);
        }
    }
    if weight >= plain { best } else { Form::Plain }
}

/// `q=0.5` as 500; `None` for another parameter or a malformed weight.
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let weight: f32 = value.trim().parse().ok()?;
    // In thousandths, the finest that RFC 9110 §12.4.2 has; the cast saturates.
    Some((weight.clamp(0.0, 1.0) * 1000.0) as u16)
}

/// What a `GET` is: listening, if it is held or has no end, and reading else.
pub(crate) fn action(headers: &HeaderMap) -> Action {
    if ws::is_asked_for(headers) || form(headers) != Form::Plain || wait(headers).is_some() {
        Action::Subscribe
    } else {
        Action::Read
    }
}

/// For how long `Prefer: wait` (RFC 7240 §4.3) asks to hold the request, at most a minute. The
/// first `wait` counts; one that is malformed is, as all that is not understood, ignored.
pub(crate) fn wait(headers: &HeaderMap) -> Option<Duration> {
    for preference in items(headers, PREFER, ',') {
        let token = preference.split(';').next().unwrap_or_default();
        let (name, value) = token.split_once('=').unwrap_or((token, ""));
        if name.trim().eq_ignore_ascii_case("wait") {
            let value = value.trim();
            let digits = value
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
                .unwrap_or(value);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            // What does not fit is far beyond the cap.
            let seconds = digits.parse().unwrap_or(u64::MAX);
            return Some(Duration::from_secs(seconds).min(MAX_WAIT));
        }
    }
    None
}

/// What the client has, by `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// `*`: whatever there is.
    Any,
    /// What came up to one of these cursors; without any, nothing.
    Cursors(Vec<Cursor>),
}

impl Known {
    /// Reads `If-None-Match`. A tag that is none of ours matches nothing.
    pub(crate) fn from(headers: &HeaderMap) -> Self {
        let mut cursors = Vec::new();
        for tag in items(headers, IF_NONE_MATCH, ',') {
            if tag == "*" {
                return Self::Any;
            }
            let tag = tag.strip_prefix("W/").unwrap_or(tag);
            let text = tag
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            cursors.extend(text.and_then(|text| text.parse::<Cursor>().ok()));
        }
        Self::Cursors(cursors)
    }

    /// Whether the client has this one, or a newer one.
    pub(crate) fn has(&self, publication: &Publication) -> bool {
        let own = publication.cursor();
        match self {
            Self::Any => true,
            Self::Cursors(cursors) => cursors
                .iter()
                .any(|cursor| cursor.epoch == own.epoch && cursor.offset >= own.offset),
        }
    }
}

/// Where the client wants to begin: `Last-Event-ID`, else `?since=`. An id that is not a cursor is
/// a place that nobody knows: an event source would not come back after an error.
///
/// # Errors
/// What is wrong with `?since=`, where that one counts.
pub(crate) fn since(
    headers: &HeaderMap,
    query: Result<Option<Since>, Problem>,
) -> Result<Since, Problem> {
    let last = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty());
    match last {
        Some(value) => Ok(value
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .map_or(Since::Unknown, Since::Cursor)),
        None => Ok(query?.unwrap_or(Since::Start)),
    }
}

/// The trimmed elements, none of them empty, of a list that may be spread over several lines. A
/// separator inside quotes separates nothing.
fn items(headers: &HeaderMap, name: HeaderName, separator: char) -> impl Iterator<Item = &str> {
    let lines = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    lines
        .flat_map(move |line| {
            let mut quoted = false;
            line.split(move |c| {
                quoted ^= c == '"';
                c == separator && !quoted
            })
        })
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn a_stream_is_chosen_by_its_own_name() {
        let form = |lines: &[&str]| form(&headers(ACCEPT, lines));
        assert_eq!(form(&[]), Form::Plain);
        assert_eq!(form(&["*/*"]), Form::Plain);
        assert_eq!(form(&["text/*"]), Form::Plain);
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(form(&[browser]), Form::Plain);
        assert_eq!(form(&["text/event-stream"]), Form::Sse);
        assert_eq!(form(&["Text/Event-Stream; charset=utf-8"]), Form::Sse);
        assert_eq!(form(&["text/event-stream, */*"]), Form::Sse);
        assert_eq!(form(&["text/event-stream;q=0.5, */*;q=0.1"]), Form::Sse);
        assert_eq!(
            form(&["text/event-stream;q=0.5, application/json"]),
            Form::Plain
        );
        assert_eq!(form(&["text/event-stream;q=0"]), Form::Plain);
        assert_eq!(form(&["text/event-stream; x=y; q=0.000"]), Form::Plain);
        assert_eq!(form(&["application/x-ndjson"]), Form::Ndjson);
        assert_eq!(
            form(&["text/event-stream;q=0.4", "application/x-ndjson;q=0.6"]),
            Form::Ndjson
        );
        assert_eq!(
            form(&["application/x-ndjson, text/event-stream"]),
            Form::Ndjson
        );
    }

    #[test]
    fn wait_is_read_among_other_preferences() {
        let wait = |lines: &[&str]| wait(&headers(PREFER, lines)).map(|time| time.as_secs());
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&["wait=30"]), Some(30));
        assert_eq!(
            wait(&["respond-async, Wait = 10 ; x=\"a,wait=3\""]),
            Some(10)
        );
        assert_eq!(wait(&["foo=\"a, wait=1\"", "wait=\"5\""]), Some(5));
        assert_eq!(wait(&["wait=1, wait=2"]), Some(1));
        assert_eq!(wait(&["wait=0"]), Some(0));
        assert_eq!(wait(&["wait=3600"]), Some(60));
        assert_eq!(wait(&["wait=99999999999999999999999"]), Some(60));
        for malformed in ["wait", "wait=", "wait=-1", "wait=+1", "wait=1.5", "wait=x"] {
            assert_eq!(wait(&[malformed]), None, "{malformed}");
        }
    }

    #[test]
    fn tags_are_compared_as_cursors() {
        let known = |lines: &[&str]| Known::from(&headers(IF_NONE_MATCH, lines));
        let one: Cursor = "k3v9x2m4q8ta:1".parse().unwrap();
        let two: Cursor = "k3v9x2m4q8ta:2".parse().unwrap();
        assert_eq!(known(&[]), Known::Cursors(vec![]));
        assert_eq!(known(&["*"]), Known::Any);
        assert_eq!(
            known(&["\"other\", W/\"k3v9x2m4q8ta:1\" ,", "\"k3v9x2m4q8ta:2\""]),
            Known::Cursors(vec![one, two])
        );
        assert_eq!(
            known(&["k3v9x2m4q8ta:1"]),
            Known::Cursors(vec![]),
            "a tag has quotes"
        );
    }

    #[test]
    fn the_last_event_id_wins() {
        let cursor: Cursor = "k3v9x2m4q8ta:1".parse().unwrap();
        let asked = Some(Since::Cursor(cursor));
        let since =
            |lines: &[&str], query| since(&headers(LAST_EVENT_ID, lines), Ok(query)).unwrap();
        assert_eq!(since(&[], None), Since::Start);
        assert_eq!(since(&[], asked), Since::Cursor(cursor));
        assert_eq!(since(&[""], asked), Since::Cursor(cursor));
        let other = "k3v9x2m4q8ta:2".parse().unwrap();
        assert_eq!(since(&["k3v9x2m4q8ta:2"], asked), Since::Cursor(other));
        assert_eq!(since(&["what?"], asked), Since::Unknown);
    }
}
