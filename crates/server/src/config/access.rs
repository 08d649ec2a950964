//! Who may do what: tokens, a back end that decides, keys.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::setting::settings;
use crate::auth::KeyHash;
use crate::channel::Filter;

settings! {
    /// How the tokens of clients are checked. Without `secret`, `public_key` and `jwks` none is
    /// accepted.
    pub struct TokenConfig {
        /// The secret of tokens signed by HMAC (HS256, HS384, HS512). It is taken from the file or
        /// the environment only.
        secret = Secret, live => secret: Option<Secret> = None;

        /// A PEM file with the public key of tokens signed by RSA (RS256 to PS512), by an elliptic
        /// curve (ES256, ES384) or by Ed25519 (EdDSA).
        public_key = MaybeFile, live => public_key: Option<PathBuf> = None;

        /// Where the keys of the tokens' issuer are, as a JWK set (RFC 7517): an `https` URL, an
        /// `http` one of this machine, or a file. It is read again when it is old, and when a token
        /// names a key that is not in it.
        jwks = MaybeText, live => jwks: Option<String> = None;

        /// How old a JWK set may be before it is read again.
        jwks_age = Time, live => jwks_age: Duration = Duration::from_secs(300);

        /// A token must be meant for one of these (`aud`). Without any, a token that names an
        /// audience is refused.
        audience = Texts, live => audience: Vec<String> = Vec::new();

        /// A token must come from one of these (`iss`). Without any, who issued it does not matter.
        issuer = Texts, live => issuer: Vec<String> = Vec::new();

        /// How far the clocks of the issuer and of this server may be apart.
        leeway = Time, live => leeway: Duration = Duration::from_secs(5);
    }
}

settings! {
    /// A back end that is asked who somebody is, or whether they may do something. Where it does not
    /// answer, nobody may.
    pub struct WebhookConfig {
        /// Where it is asked: an `https` URL, or an `http` one of this machine.
        url = MaybeText, live => url: Option<String> = None;

        /// What questions are signed with, so that it knows who asks.
        secret = Secret, live => secret: Option<Secret> = None;

        /// What it decides: `connect` is who a client is that brings no credential; `subscribe` and
        /// `publish` are whether somebody may, in place of all rights. Holders of API keys are not
        /// asked about.
        decides = Decisions, live => decides: Vec<Decision> = vec![Decision::Connect, Decision::Subscribe, Decision::Publish];

        /// The fields of a client's request that it is shown.
        fields = Texts, live => fields: Vec<String> = vec!["cookie".to_owned(), "origin".to_owned()];

        /// Time for an answer.
        timeout = Time, live => timeout: Duration = Duration::from_secs(3);

        /// Questions under way at once; past it a client is told `503`.
        concurrency = Count, live => concurrency: usize = 256;
    }
}

/// What a webhook decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Who a client is that brings no credential, and what it may do.
    Connect,
    /// Whether somebody may listen, or read.
    Subscribe,
    /// Whether somebody may publish or delete.
    Publish,
}

settings! {
    /// What a back end may do that presents a key.
    pub struct ApiKey {
        /// The key's SHA-256. `openline new-key` makes a key and prints both.
        hash = Hash, live => hash: Option<KeyHash> = None;

        /// Where it may publish and delete.
        publish = Filters, live => publish: Vec<Filter> = everything();

        /// Where it may listen.
        subscribe = Filters, live => subscribe: Vec<Filter> = everything();

        /// Where it may read what is kept, without listening.
        history = Filters, live => history: Vec<Filter> = everything();

        /// Publications a second; past it the answer is `429`.
        publish_rate = Count, live => publish_rate: usize = 10_000;
    }
}

fn everything() -> Vec<Filter> {
    "**".parse().into_iter().collect()
}

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
