//! The keys of a tokens' issuer: a JWK set that is fetched, kept, and fetched again when it is old or
//! lacks a key, within bounds that no client can push.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::token::is_public;
use super::{AuthError, fetch};
use crate::fetch::{Fetch, FetchError};

/// Most bytes of a set.
const MAX_BYTES: usize = 256 * 1024;
/// Most keys of a set.
const MAX_KEYS: usize = 100;
/// Time for a set to arrive.
const DEADLINE: Duration = Duration::from_secs(5);
/// Least time between two tries, whatever tokens ask for; less only where sets are to be younger.
const PAUSE: Duration = Duration::from_secs(5);

/// Why no key was found.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("the token names a key that its issuer does not have")]
    NoKey,
    #[error("the issuer's keys cannot be read now")]
    Unavailable,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Url(Box<Fetch>),
}

/// One issuer's keys.
#[derive(Debug)]
pub(super) struct Jwks {
    /// As it was written.
    text: String,
    source: Source,
    age: Duration,
    kept: RwLock<Option<Arc<Kept>>>,
    /// When the last try began; taken while one is under way.
    tried: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Kept {
    keys: HashMap<String, DecodingKey>,
    /// The one key of a set without names.
    only: Option<DecodingKey>,
    since: Instant,
}

impl Jwks {
    pub(super) fn new(text: &str, age: Duration) -> Result<Self, AuthError> {
        let source = if text.contains("://") {
            Source::Url(Box::new(fetch("token.jwks", text)?))
        } else {
            Source::File(PathBuf::from(text))
        };
        Ok(Self {
            text: text.to_owned(),
            source,
            age,
            kept: RwLock::new(None),
            tried: Mutex::new(None),
        })
    }

    /// Whether this is what a configuration asks for.
    pub(super) fn is(&self, text: &str, age: Duration) -> bool {
        self.text == text && self.age == age
    }

    /// The key of that name. One who names a key that is here waits for nobody.
    pub(super) async fn key(
        self: &Arc<Self>,
        name: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<DecodingKey, KeySetError> {
        let fits = |key: &DecodingKey| key.family().algorithms().contains(&algorithm);
        let kept = self.kept();
        if let Some(kept) = &kept
            && let Some(key) = kept.find(name).filter(|key| fits(key))
        {
            if kept.since.elapsed() > self.age {
                let again = Arc::clone(self);
                tokio::spawn(async move { again.refresh(None).await });
            }
            return Ok(key.clone());
        }
        self.refresh(kept).await;
        let kept = self.kept().ok_or(KeySetError::Unavailable)?;
        let key = kept.find(name).filter(|key| fits(key));
        key.cloned().ok_or(KeySetError::NoKey)
    }

    fn kept(&self) -> Option<Arc<Kept>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }

    /// Reads the set again, unless that was done a moment ago, or while this one waited. `seen` is the
    /// set that was not enough.
    async fn refresh(&self, seen: Option<Arc<Kept>>) {
        let mut tried = self.tried.lock().await;
        let is_newer = match (self.kept(), &seen) {
            (Some(kept), Some(seen)) => !Arc::ptr_eq(&kept, seen),
            (kept, None) => kept.is_some_and(|kept| kept.since.elapsed() <= self.age),
            (None, Some(_)) => false,
        };
        if is_newer || tried.is_some_and(|tried| tried.elapsed() < PAUSE.min(self.age)) {
            return;
        }
        *tried = Some(Instant::now());
        match self.read().await {
            Ok(kept) => {
                tracing::debug!(keys = kept.keys.len(), "read the issuer's keys");
                let mut slot = self.kept.write().unwrap_or_else(PoisonError::into_inner);
                *slot = Some(Arc::new(kept));
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "cannot read the issuer's keys (token.jwks)");
            }
        }
    }

    async fn read(&self) -> Result<Kept, FetchError> {
        let bytes = match &self.source {
            Source::Url(fetch) => fetch.get(MAX_BYTES, DEADLINE).await?.to_vec(),
            Source::File(path) => {
                let mut bytes = Vec::new();
                // One byte more tells whether there is more.
                let mut file = tokio::fs::File::open(path)
                    .await?
                    .take(MAX_BYTES as u64 + 1);
                file.read_to_end(&mut bytes).await?;
                if bytes.len() > MAX_BYTES {
                    return Err(FetchError::TooLarge { limit: MAX_BYTES });
                }
                bytes
            }
        };
        Kept::parse(&bytes)
    }
}

impl Kept {
    fn parse(bytes: &[u8]) -> Result<Self, FetchError> {
        /// A set of which keys that are not understood are left out.
        #[derive(Deserialize)]
        struct Loose {
            keys: Vec<serde_json::Value>,
        }
        let loose: Loose = serde_json::from_slice(bytes).map_err(FetchError::Json)?;
        let known = loose.keys.into_iter().take(MAX_KEYS);
        let set = JwkSet {
            keys: known
                .filter_map(|key| serde_json::from_value(key).ok())
                .collect(),
        };
        let mut keys = HashMap::new();
        let mut unnamed = Vec::new();
        for jwk in &set.keys {
            let Ok(key) = DecodingKey::from_jwk(jwk) else {
                continue;
            };
            if !is_public(&key) {
                continue;
            }
            unnamed.push(key.clone());
            if let Some(name) = &jwk.common.key_id {
                keys.insert(name.clone(), key);
            }
        }
        let only = if unnamed.len() == 1 {
            unnamed.pop()
        } else {
            None
        };
        Ok(Self {
            keys,
            only,
            since: Instant::now(),
        })
    }

    fn find(&self, name: Option<&str>) -> Option<&DecodingKey> {
        match name {
            Some(name) => self.keys.get(name),
            None => self.only.as_ref(),
        }
    }
}
