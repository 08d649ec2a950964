//! Who may do what: API keys, tokens, and what those may do who bring nothing.
//!
//! A [`Request`](http::request::Parts) has at most one credential. A bad one is refused, also where
//! none is needed: whoever brings it believes to be somebody. Every decision is made before anything
//! is looked up, so that an answer never tells whether a channel exists to one who may not see it.

mod credential;
mod crypto;
mod jwks;
mod key;
mod token;
mod webhook;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use serde::Deserialize;
use tokio::time::Instant;

use self::credential::Credential;
use self::jwks::KeySetError;
use self::key::Keys;
use self::token::{TokenError, Tokens};
use self::webhook::Webhook;
use crate::channel::Filter;
use crate::config::{Config, touched};
use crate::fetch::{Fetch, Plain, Unusable};
use crate::http::{Kind, Problem};
use crate::limits::Client;

pub use self::key::{KeyHash, NewKey};

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Publish, or delete what was published.
    Publish,
    /// Be told what is published, and what was missed.
    Subscribe,
    /// Read what is kept, once.
    Read,
}

/// The channels and patterns on which somebody may do something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Rights {
    #[serde(deserialize_with = "token::filters")]
    publish: Vec<Filter>,
    #[serde(deserialize_with = "token::filters")]
    subscribe: Vec<Filter>,
    #[serde(deserialize_with = "token::filters")]
    history: Vec<Filter>,
    /// Who else listens: nothing tells that yet, but what a token says of it must be right.
    #[serde(rename = "presence", deserialize_with = "token::checked")]
    _presence: (),
}

impl Rights {
    /// Whether one right covers all that `filter` asks for.
    fn allow(&self, action: Action, filter: &Filter) -> bool {
        let covered = |rights: &[Filter]| rights.iter().any(|right| right.covers(filter));
        match action {
            Action::Publish => covered(&self.publish),
            Action::Subscribe => covered(&self.subscribe),
            Action::Read => covered(&self.history) || covered(&self.subscribe),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    /// One who brought no credential.
    Anonymous,
    /// A back end, by the name of its key.
    Key(Arc<str>),
    /// A client, by its token's subject.
    User(Arc<str>),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // No name of a key has a colon: nobody is taken for another.
            Self::Anonymous => Ok(()),
            Self::Key(name) => write!(f, "key:{name}"),
            Self::User(subject) => write!(f, "user:{subject}"),
        }
    }
}

/// Who asks, and what they may do until when.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) who: Who,
    rights: Rights,
    /// When it ends.
    pub(crate) expires: Option<Instant>,
}

impl Grant {
    fn anonymous() -> Self {
        Self {
            who: Who::Anonymous,
            rights: Rights::default(),
            expires: None,
        }
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.expires
            .is_some_and(|expires| expires <= Instant::now())
    }
}

/// What is wrong with the settings of keys and tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// A key has no hash.
    #[error("key.{name} has no hash; `openline new-key` makes a key and prints its hash")]
    NoHash {
        /// The key's name.
        name: String,
    },
    /// A key's name cannot stand in logs and metrics.
    #[error("key.{name:?}: a key's name has 1 to 64 characters from A-Z a-z 0-9 _ . -")]
    KeyName {
        /// The key's name.
        name: String,
    },
    /// A file cannot be read.
    #[error("{key}: cannot read {}", path.display())]
    File {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A key is none.
    #[error("{key}: {} is no PEM file with a public key for RSA, an elliptic curve or Ed25519", path.display())]
    PublicKey {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A field of requests that is to be handed on has no field's name.
    #[error("webhook.fields: {name:?} is no field of a request")]
    Field {
        /// What was written.
        name: String,
    },
    /// The address of the key set, or of the webhook, is none.
    #[error("{key}: {url:?} is neither an https URL nor an http one of this machine")]
    Url {
        /// The setting.
        key: &'static str,
        /// What was written.
        url: String,
    },
    /// No TLS client can be set up.
    #[error("{key}: cannot set up TLS")]
    Tls {
        /// The setting.
        key: &'static str,
        /// Why not.
        source: rustls::Error,
    },
}

/// Decides who may do what, by one configuration.
#[derive(Debug)]
pub(crate) struct Auth {
    keys: Keys,
    tokens: Tokens,
    webhook: Option<Webhook>,
    /// What anonymous clients may do where nothing is said of it.
    open: bool,
}

impl Auth {
    /// `before` is asked for key sets that were fetched under an earlier configuration.
    pub(crate) fn new(config: &Config, before: Option<&Self>) -> Result<Self, AuthError> {
        let keys = Keys::new(&config.keys)?;
        let tokens = Tokens::new(&config.token, before.map(|before| &before.tokens))?;
        let open = is_open(config);
        Ok(Self {
            keys,
            tokens,
            webhook: Webhook::new(&config.webhook)?,
            open,
        })
    }

    /// Who sends that request, and what they may do.
    async fn grant(&self, parts: &Parts, client: &Client) -> Result<Grant, Problem> {
        match Credential::of(parts)? {
            None => match &self.webhook {
                Some(webhook) if webhook.decides_connects() => webhook.connect(parts, client).await,
                _ => Ok(Grant::anonymous()),
            },
            Some(Credential::Token(token)) => self.token(&token).await,
            Some(Credential::KeyOrToken(text)) if token::is_one(&text) => self.token(&text).await,
            Some(Credential::KeyOrToken(text)) => self
                .keys
                .grant(&text)
                .ok_or_else(|| refused("the API key is not known here")),
        }
    }

    /// Who sends that request, if they may do that; one who may not learns nothing else.
    pub(crate) async fn let_in(
        &self,
        config: &Config,
        parts: &Parts,
        client: &Client,
        action: Action,
        filter: &Filter,
    ) -> Result<Grant, Problem> {
        let grant = self.grant(parts, client).await?;
        match &self.webhook {
            Some(webhook) if webhook.decides(action) && !matches!(grant.who, Who::Key(_)) => {
                webhook.check(parts, client, &grant, action, filter).await?;
            }
            _ => self.check(config, &grant, action, filter)?,
        }
        Ok(grant)
    }

    /// What a new token grants to one who listens already. Where a webhook decides, it let this one
    /// in; the token only says for how long.
    pub(crate) async fn renew(
        &self,
        config: &Config,
        token: &str,
        filter: &Filter,
    ) -> Result<Grant, Problem> {
        let grant = self.token(token).await?;
        let is_asked = |webhook: &Webhook| webhook.decides(Action::Subscribe);
        if !self.webhook.as_ref().is_some_and(is_asked) {
            self.check(config, &grant, Action::Subscribe, filter)?;
        }
        Ok(grant)
    }

    /// What a token grants.
    async fn token(&self, token: &str) -> Result<Grant, Problem> {
        let grant = self.tokens.grant(token).await;
        grant.map_err(|error| match error {
            // Nothing is wrong with the token as far as is known.
            TokenError::KeySet(KeySetError::Unavailable) => {
                Problem::busy(error.to_string(), Duration::from_secs(5))
            }
            error => refused(&error.to_string()),
        })
    }

    /// Refuses what neither the grant nor anonymous clients may.
    fn check(
        &self,
        config: &Config,
        grant: &Grant,
        action: Action,
        filter: &Filter,
    ) -> Result<(), Problem> {
        if grant.rights.allow(action, filter) || self.is_free(config, action, filter) {
            return Ok(());
        }
        let what = match action {
            Action::Publish => "publish on or delete",
            Action::Subscribe => "listen to",
            Action::Read => "read",
        };
        Err(match &grant.who {
            Who::Anonymous => Problem::new(
                Kind::Unauthorized,
                format!(
                    "nobody may {what} {filter} without credentials; send an API key or a token as \
                     `Authorization: Bearer ...`, or let anonymous clients in by the server's \
                     configuration (anonymous.publish, anonymous.subscribe)"
                ),
            )
            .with_header(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"openline\""),
            ),
            Who::Key(_) | Who::User(_) => Problem::new(
                Kind::Forbidden,
                format!(
                    "these credentials do not let you {what} {filter}; a pattern needs a right that \
                     covers all of it"
                ),
            ),
        })
    }

    /// Whether everybody may do that.
    fn is_free(&self, config: &Config, action: Action, filter: &Filter) -> bool {
        let wanted = |anonymous: &crate::config::Anonymous| match action {
            Action::Publish => anonymous.publish,
            Action::Subscribe | Action::Read => anonymous.subscribe,
        };
        touched(&config.namespaces, filter)
            .into_iter()
            .all(|namespace| {
                namespace
                    .and_then(|namespace| wanted(&namespace.anonymous))
                    .or_else(|| wanted(&config.anonymous))
                    .unwrap_or(self.open)
            })
    }
}

/// Whether anonymous clients may do all that nothing is said of.
pub(crate) fn is_open(config: &Config) -> bool {
    let token = &config.token;
    let closed = !config.keys.is_empty()
        || token.secret.is_some()
        || token.public_key.is_some()
        || token.jwks.is_some()
        || config.webhook.url.is_some();
    config.listen.ip().to_canonical().is_loopback() && !closed
}

/// A client of a server that decides who is let in; `key` is the setting that named its URL.
fn fetch(key: &'static str, url: &str) -> Result<Fetch, AuthError> {
    Fetch::new(url, Plain::Near).map_err(|error| match error {
        Unusable::Url => AuthError::Url {
            key,
            url: url.to_owned(),
        },
        Unusable::Tls(source) => AuthError::Tls { key, source },
    })
}

/// A credential that is none here.
fn refused(detail: &str) -> Problem {
    Problem::new(Kind::Unauthorized, detail).with_header(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"openline\", error=\"invalid_token\""),
    )
}
