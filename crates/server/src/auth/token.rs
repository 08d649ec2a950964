//! Tokens: JWTs that say what their bearer may do, and until when.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{AlgorithmFamily, DecodingKey, Validation};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;

use super::jwks::{Jwks, KeySetError};
use super::{AuthError, Grant, Rights, Who, crypto};
use crate::channel::Filter;
use crate::config::TokenConfig;

/// Longest life of a token that is reckoned with: far from where sums of times overflow.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// What a token says that matters here; its time, audience and issuer are checked by the library.
#[derive(Deserialize)]
struct Claims {
    exp: f64,
    sub: Option<String>,
    /// What its bearer may do: `{"publish":[…],"subscribe":[…],"history":[…],"presence":[…]}`.
    #[serde(default)]
    openline: Rights,
}

/// Reads a list of channels and patterns.
pub(super) fn filters<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Filter>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let filters = texts.iter().map(|text| text.parse());
    filters.collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// Reads such a list only to see that it is one.
pub(super) fn checked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    filters(deserializer).map(drop)
}

/// Why a token grants nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("this server takes no tokens")]
    None,
    #[error("the token is malformed")]
    Malformed,
    #[error("the token's claims are not understood: {0}")]
    Claims(String),
    #[error("the token is signed by a key or an algorithm that is not accepted here")]
    Key,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    Early,
    #[error("the token is meant for another audience")]
    Audience,
    #[error("the token comes from an issuer that is not accepted here")]
    Issuer,
    #[error("the token has no {0}, which is needed")]
    Missing(String),
    #[error(transparent)]
    KeySet(#[from] KeySetError),
}

impl From<jsonwebtoken::errors::Error> for TokenError {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        match error.into_kind() {
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::Early,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::MissingRequiredClaim(name) => Self::Missing(name),
            ErrorKind::Json(error) => Self::Claims(error.to_string()),
            ErrorKind::InvalidClaimFormat(name) => Self::Claims(name),
            ErrorKind::InvalidAlgorithm
            | ErrorKind::UnsupportedAlgorithm
            | ErrorKind::InvalidAlgorithmName => Self::Key,
            _ => Self::Malformed,
        }
    }
}

/// Whether a text has the form of a token, and not of a key: three parts between points.
pub(super) fn is_one(text: &str) -> bool {
    text.bytes().filter(|&byte| byte == b'.').count() == 2
}

/// Checks tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    /// Keys that stand in the configuration.
    fixed: Vec<DecodingKey>,
    jwks: Option<Arc<Jwks>>,
    audience: Vec<String>,
    issuer: Vec<String>,
    leeway: Duration,
}

impl Tokens {
    pub(super) fn new(config: &TokenConfig, before: Option<&Self>) -> Result<Self, AuthError> {
        crypto::install();
        let mut fixed = Vec::new();
        if let Some(secret) = &config.secret {
            fixed.push(DecodingKey::from_secret(secret.expose().as_bytes()));
        }
        if let Some(path) = &config.public_key {
            let key = "token.public_key";
            let pem = std::fs::read(path).map_err(|source| AuthError::File {
                key,
                path: path.clone(),
                source,
            })?;
            let parsed = DecodingKey::from_rsa_pem(&pem)
                .or_else(|_| DecodingKey::from_ec_pem(&pem))
                .or_else(|_| DecodingKey::from_ed_pem(&pem));
            fixed.push(parsed.map_err(|_| AuthError::PublicKey {
                key,
                path: path.clone(),
            })?);
        }
        let before = before.and_then(|before| before.jwks.as_ref());
        let jwks = match (&config.jwks, before) {
            (None, _) => None,
            (Some(source), Some(before)) if before.is(source, config.jwks_age) => {
                Some(Arc::clone(before))
            }
            (Some(source), _) => Some(Arc::new(Jwks::new(source, config.jwks_age)?)),
        };
        Ok(Self {
            fixed,
            jwks,
            audience: config.audience.clone(),
            issuer: config.issuer.clone(),
            leeway: config.leeway,
        })
    }

    /// What `token` grants.
    pub(super) async fn grant(&self, token: &str) -> Result<Grant, TokenError> {
        if self.fixed.is_empty() && self.jwks.is_none() {
            return Err(TokenError::None);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        let family = |key: &DecodingKey| key.family().algorithms().contains(&header.alg);
        let mut fixed = self.fixed.iter().filter(|key| family(key));
        let key = match (fixed.next(), &self.jwks) {
            (Some(key), _) => key.clone(),
            (None, Some(jwks)) => jwks.key(header.kid.as_deref(), header.alg).await?,
            (None, None) => return Err(TokenError::Key),
        };
        let claims = self.claims(token, &key)?;
        let expires = Duration::try_from_secs_f64(claims.exp.max(0.0)).unwrap_or(LONGEST);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let left = (expires + self.leeway).saturating_sub(now).min(LONGEST);
        // The library counts whole seconds; a right ends when it says (RFC 7519 §4.1.4).
        if left.is_zero() {
            return Err(TokenError::Expired);
        }
        Ok(Grant {
            who: Who::User(Arc::from(claims.sub.unwrap_or_default())),
            rights: claims.openline,
            expires: Some(Instant::now() + left),
        })
    }

    fn claims(&self, token: &str, key: &DecodingKey) -> Result<Claims, TokenError> {
        // The key chooses the algorithms, never the token: a public key is no secret.
        let mut validation = Validation::new_for_family(key.family());
        validation.leeway = self.leeway.as_secs();
        validation.validate_nbf = true;
        if !self.audience.is_empty() {
            validation.set_audience(&self.audience);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if !self.issuer.is_empty() {
            validation.set_issuer(&self.issuer);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        Ok(jsonwebtoken::decode::<Claims>(token, key, &validation)?.claims)
    }
}

/// Whether a key of a public set may sign at all: a secret in it is known to everybody.
pub(super) fn is_public(key: &DecodingKey) -> bool {
    key.family() != AlgorithmFamily::Hmac
}
