//! A webhook that decides: a back end is asked, by `POST`, who somebody is or whether they may. What
//! does not answer well and in time lets nobody in.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use ring::hmac;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Action, AuthError, Grant, Rights, Who, fetch};
use crate::channel::Filter;
use crate::config::{Decision, WebhookConfig};
use crate::fetch::{Fetch, FetchError};
use crate::http::{Kind, Problem};
use crate::limits::Client;

/// Most bytes of an answer.
const MAX_ANSWER: usize = 64 * 1024;
/// Bears the time and the signature of what is asked.
const SIGNATURE: HeaderName = HeaderName::from_static("openline-signature");
/// When to try again where the webhook failed.
const RETRY: Duration = Duration::from_secs(2);
/// Longest life of an answer that is reckoned with.
const LONGEST: u64 = 10 * 365 * 24 * 60 * 60;

/// What a webhook answers.
#[derive(Deserialize)]
struct Answer {
    allow: bool,
    /// Who it is.
    user: Option<String>,
    /// What they may do.
    #[serde(default)]
    openline: Rights,
    /// For how many seconds.
    expires_in: Option<u64>,
}

/// The one who is asked.
#[derive(Debug)]
pub(super) struct Webhook {
    fetch: Fetch,
    key: Option<hmac::Key>,
    decides: Vec<Decision>,
    /// The fields of a request that are handed on.
    fields: Vec<HeaderName>,
    timeout: Duration,
    places: Semaphore,
}

impl Webhook {
    pub(super) fn new(config: &WebhookConfig) -> Result<Option<Self>, AuthError> {
        let Some(url) = &config.url else {
            return Ok(None);
        };
        let fields = config.fields.iter().map(|name| {
            let parsed = HeaderName::from_bytes(name.as_bytes());
            parsed.map_err(|_| AuthError::Field { name: name.clone() })
        });
        Ok(Some(Self {
            fetch: fetch("webhook.url", url)?,
            key: config
                .secret
                .as_ref()
                .map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes())),
            decides: config.decides.clone(),
            fields: fields.collect::<Result<_, _>>()?,
            timeout: config.timeout,
            places: Semaphore::new(config.concurrency.min(Semaphore::MAX_PERMITS)),
        }))
    }

    /// Whether it says who somebody is that brings no credential.
    pub(super) fn decides_connects(&self) -> bool {
        self.decides.contains(&Decision::Connect)
    }

    /// Whether it decides in place of rights.
    pub(super) fn decides(&self, action: Action) -> bool {
        self.decides.contains(&match action {
            Action::Publish => Decision::Publish,
            Action::Subscribe | Action::Read => Decision::Subscribe,
        })
    }

    /// Who sends that request.
    pub(super) async fn connect(&self, parts: &Parts, client: &Client) -> Result<Grant, Problem> {
        let answer = self.ask("connect", parts, client, Map::new()).await?;
        if !answer.allow {
            return Err(forbidden());
        }
        let life = answer.expires_in.map(|life| life.min(LONGEST));
        Ok(Grant {
            who: answer
                .user
                .map_or(Who::Anonymous, |user| Who::User(Arc::from(user))),
            rights: answer.openline,
            expires: life.map(|life| Instant::now() + Duration::from_secs(life)),
        })
    }

    /// Whether they may do that.
    pub(super) async fn check(
        &self,
        parts: &Parts,
        client: &Client,
        grant: &Grant,
        action: Action,
        filter: &Filter,
    ) -> Result<(), Problem> {
        let event = match action {
            Action::Publish => "publish",
            Action::Subscribe | Action::Read => "subscribe",
        };
        let mut about = Map::new();
        about.insert("channel".to_owned(), json!(filter.as_str()));
        if let Who::User(user) = &grant.who {
            about.insert("user".to_owned(), json!(&**user));
        }
        if self.ask(event, parts, client, about).await?.allow {
            Ok(())
        } else {
            Err(forbidden())
        }
    }

    async fn ask(
        &self,
        event: &str,
        parts: &Parts,
        client: &Client,
        mut about: Map<String, Value>,
    ) -> Result<Answer, Problem> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Problem::busy("too many questions are under way", RETRY));
        };
        about.insert("event".to_owned(), json!(event));
        about.insert("address".to_owned(), json!(client.address.to_string()));
        let fields = self.fields.iter().filter_map(|name| {
            let value = parts.headers.get(name)?.to_str().ok()?;
            Some((name.as_str().to_owned(), json!(value)))
        });
        about.insert("headers".to_owned(), Value::Object(fields.collect()));
        let answer = self.post(Value::Object(about).to_string()).await;
        answer.map_err(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the webhook (webhook.url) gave no answer");
            Problem::busy("who may do this cannot be found out now", RETRY)
        })
    }

    async fn post(&self, body: String) -> Result<Answer, FetchError> {
        let mut fields = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        if let Some(key) = &self.key
            && let Ok(value) = HeaderValue::try_from(signature(key, &body))
        {
            fields.push((SIGNATURE, value));
        }
        let body = Bytes::from(body);
        let answer = self
            .fetch
            .post(fields, body, MAX_ANSWER, self.timeout)
            .await?;
        serde_json::from_slice(&answer).map_err(FetchError::Json)
    }
}

/// `t=<seconds since 1970>,v1=<hex HMAC-SHA256 of the seconds, a point and the body>`.
fn signature(key: &hmac::Key, body: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let tag = hmac::sign(key, format!("{now}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("t={now},v1={hex}")
}

fn forbidden() -> Problem {
    Problem::new(Kind::Forbidden, "the server's owner does not let you")
}
