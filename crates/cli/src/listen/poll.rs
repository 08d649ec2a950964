//! Listening by asking: polling and long polling of the stream of publications.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until};

use super::item::Item;
use super::{Event, PATIENCE, Way};
use crate::args::Via;
use crate::error::Error;
use crate::http::Http;

/// Publications asked for at once.
const LIMIT: usize = 100;

/// The longest answer: [`LIMIT`] of the largest publications, at their longest.
const MAX_ANSWER_BYTES: usize = LIMIT * super::MAX_ITEM_BYTES;

/// How long the server may hold a request when there is no news: `Prefer: wait=30`.
const WAIT: Duration = Duration::from_secs(30);

/// How long to wait at least for news when long polling: something on the way may not let the request be held.
const UNHELD: Duration = Duration::from_secs(1);

/// A listener that asks.
pub(super) struct Poll {
    http: Http,
    channel: String,
    /// None: the server holds each request until there is news. Some: it is asked this often.
    interval: Option<Duration>,
    /// After which the next answer begins; empty for the latest.
    cursor: String,
    /// When to ask next.
    due: Instant,
    has_answered: bool,
    ready: VecDeque<Event>,
}

/// The answer to `?since=`.
#[derive(serde::Deserialize)]
struct Answer {
    publications: Vec<Box<RawValue>>,
    cursor: String,
    recovered: bool,
}

impl Poll {
    pub(super) async fn open(way: &Way, since: Option<&str>) -> Result<Self, Error> {
        let mut poll = Self {
            http: way.http.clone(),
            channel: way.channel.as_str().to_owned(),
            interval: (way.via == Via::Poll).then_some(way.interval),
            cursor: since.unwrap_or_default().to_owned(),
            due: Instant::now(),
            has_answered: false,
            ready: VecDeque::new(),
        };
        poll.ask().await?;
        Ok(poll)
    }

    pub(super) async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            sleep_until(self.due).await;
            self.ask().await?;
        }
    }

    async fn ask(&mut self) -> Result<(), Error> {
        let limit = LIMIT.to_string();
        let query = [("since", self.cursor.as_str()), ("limit", &limit)];
        let url = self.http.server().channel(&self.channel, &query);
        let mut request = Request::new(Full::<Bytes>::default());
        let mut patience = PATIENCE;
        // The first question is never held: its answer says where the listener stands.
        if self.interval.is_none() && self.has_answered {
            let headers = request.headers_mut();
            headers.insert("prefer", HeaderValue::from_static("wait=30"));
            patience += WAIT;
        }
        let asked = Instant::now();
        let body = self
            .http
            .fetch(&url, request, StatusCode::OK, patience, MAX_ANSWER_BYTES)
            .await?;
        let answer: Answer = serde_json::from_slice(&body).map_err(Error::Json)?;
        self.due = match answer.publications.len() {
            0 => asked + self.interval.unwrap_or(UNHELD),
            // A full answer is not the whole news.
            LIMIT.. => asked,
            _ => asked + self.interval.unwrap_or_default(),
        };
        self.take(answer)
    }

    fn take(&mut self, answer: Answer) -> Result<(), Error> {
        if !std::mem::replace(&mut self.has_answered, true) || !answer.recovered {
            self.ready.push_back(Event::Stands {
                cursor: self.cursor.clone(),
                recovered: answer.recovered,
            });
        }
        for publication in &answer.publications {
            let event = Item::parse(publication.get())?.into_event(publication.get())?;
            self.ready.push_back(event);
        }
        self.cursor.clone_from(&answer.cursor);
        self.ready.push_back(Event::UpTo {
            cursor: answer.cursor,
        });
        Ok(())
    }
}
