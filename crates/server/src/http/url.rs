//! What a request's URL asks for.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::problem::{Kind, Problem};
use crate::broker::Since;
use crate::channel::{Filter, NameError};
use crate::meter;

/// Publications in one page, unless `?limit=` says otherwise, and at most.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// The filter that a path after `/channels/` names. Each segment is decoded once, after the path
/// was cut at its slashes: an encoded slash is a character of a segment, which no name has.
pub(crate) fn filter(path: &str) -> Result<Filter, Problem> {
    let mut name = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            name.push('/');
        }
        let decoded = decode(segment).ok_or_else(|| {
            Problem::new(
                Kind::BadChannel,
                format!(
                    "segment {} of the channel name is not percent-encoded UTF-8",
                    index + 1
                ),
            )
        })?;
        if decoded.contains('/') {
            let segment = index + 1;
            return Err(NameError::Character {
                segment,
                character: '/',
            }
            .into());
        }
        name.push_str(&decoded);
    }
    Ok(name.parse()?)
}

fn decode(segment: &str) -> Option<Cow<'_, str>> {
    let bytes = segment.as_bytes();
    let encoded = |at: usize| {
        let digits = bytes.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let whole = bytes
        .iter()
        .enumerate()
        .all(|(at, &byte)| byte != b'%' || encoded(at));
    whole
        .then(|| percent_decode_str(segment).decode_utf8().ok())
        .flatten()
}

/// What the query of a `/channels/…` URL asks for. Names that are not known are left alone.
#[derive(Debug)]
pub(crate) struct Query {
    /// `?since=`: a cursor, or empty for the start. What is wrong with it matters only to those who
    /// begin there: nothing that is published does, nor an event source with a `Last-Event-ID`.
    pub(crate) since: Result<Option<Since>, Problem>,
    /// `?limit=`.
    pub(crate) limit: usize,
    /// `?meter=`.
    pub(crate) meter: Option<String>,
}

impl Query {
    pub(crate) fn parse(query: &str) -> Result<Self, Problem> {
        let (mut since, mut limit, mut meter) = (Ok(None), None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "since" => since = since.and_then(|first| one_more_since(first, &value)),
                "limit" => once("limit", &mut limit, parse_limit(&value)?)?,
                "meter" => {
                    meter::check_name(&value)?;
                    once("meter", &mut meter, value.into_owned())?;
                }
                _ => {}
            }
        }
        Ok(Self {
            since,
            limit: limit.unwrap_or(DEFAULT_LIMIT),
            meter,
        })
    }
}

fn once<T>(name: &str, slot: &mut Option<T>, value: T) -> Result<(), Problem> {
    if slot.replace(value).is_some() {
        return Err(Problem::new(
            Kind::BadRequest,
            format!("the query has {name} twice; send it once"),
        ));
    }
    Ok(())
}

fn one_more_since(mut first: Option<Since>, value: &str) -> Result<Option<Since>, Problem> {
    once("since", &mut first, parse_since(value)?)?;
    Ok(first)
}

fn parse_since(value: &str) -> Result<Since, Problem> {
    if value.is_empty() {
        return Ok(Since::Start);
    }
    value.parse().map(Since::Cursor).map_err(|_| {
        Problem::new(
            Kind::BadCursor,
            "?since= is not a cursor; send one exactly as this server gave it, or an empty one to \
             begin with the latest",
        )
    })
}

fn parse_limit(value: &str) -> Result<usize, Problem> {
    value
        .parse()
        .ok()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| {
            Problem::new(
                Kind::BadRequest,
                format!("?limit= is not a whole number from 1 to {MAX_LIMIT}"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once_and_by_segments() {
        let name = |path: &str| filter(path).ok().map(|filter| filter.as_str().to_owned());
        assert_eq!(
            name("flights/UA1545-EWR").as_deref(),
            Some("flights/UA1545-EWR")
        );
        assert_eq!(name("%66lights/%2A").as_deref(), Some("flights/*"));
        for wrong in [
            "a%2Fb", "a%252Fb", "a%2", "a%zz", "%ff", "%", "", "/a", "a/", "%2e%2e", "a%20b",
        ] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_query_is_read_where_it_is_known() {
        let query = Query::parse("").unwrap();
        assert_eq!(query.since.unwrap(), None);
        assert_eq!((query.limit, query.meter), (100, None));
        let query = Query::parse("x=1&x=2&limit=7&since=&meter=lane-1").unwrap();
        assert_eq!(query.since.unwrap(), Some(Since::Start));
        assert_eq!((query.limit, query.meter), (7, Some("lane-1".into())));
        let cursor = "k3v9x2m4q8ta:1".parse().unwrap();
        let query = Query::parse("since=k3v9x2m4q8ta%3A1").unwrap();
        assert_eq!(query.since.unwrap(), Some(Since::Cursor(cursor)));
        for wrong in ["since=x", "since=&since=", "since=x&since=", "since=%ff"] {
            assert!(Query::parse(wrong).unwrap().since.is_err(), "{wrong}");
        }
        for wrong in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "limit=",
            "limit=1&limit=1",
            "meter=",
            "meter=a%20b",
        ] {
            assert!(Query::parse(wrong).is_err(), "{wrong}");
        }
    }
}
