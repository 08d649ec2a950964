//! API keys: long random texts, of which the server knows only the hash.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{AuthError, Grant, Rights, Who};
use crate::config::ApiKey;

const PREFIX: &str = "sha256:";

/// The SHA-256 of an API key. A key has 256 random bits, so that no slow hash is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of `key`.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Reads what [`Display`](fmt::Display) writes.
    ///
    /// ```
    /// use openline_server::KeyHash;
    ///
    /// let hash = KeyHash::of("a key");
    /// assert_eq!(KeyHash::parse(&hash.to_string()), Some(hash));
    /// assert_eq!(KeyHash::parse("a key"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

/// A new API key. Only who is given [`key`](Self::key) has it: the server keeps the hash.
///
/// ```
/// use openline_server::{KeyHash, NewKey};
///
/// let new = NewKey::random();
/// assert_eq!(KeyHash::of(&new.key), new.hash);
/// ```
#[derive(Debug)]
pub struct NewKey {
    /// The key, to be sent as `Authorization: Bearer KEY`.
    pub key: String,
    /// Its hash, to be written as `hash` under `[key.NAME]`.
    pub hash: KeyHash,
}

impl NewKey {
    /// A key of 256 random bits.
    pub fn random() -> Self {
        let key = format!(
            "olk_{:032x}{:032x}",
            rand::random::<u128>(),
            rand::random::<u128>()
        );
        let hash = KeyHash::of(&key);
        Self { key, hash }
    }
}

/// All keys.
#[derive(Debug)]
pub(super) struct Keys(Vec<(KeyHash, Grant)>);

impl Keys {
    pub(super) fn new(keys: &BTreeMap<String, ApiKey>) -> Result<Self, AuthError> {
        let keys = keys.iter().map(|(name, key)| {
            let is_name = (1..=64).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
            if !is_name {
                return Err(AuthError::KeyName { name: name.clone() });
            }
            let hash = key
                .hash
                .ok_or_else(|| AuthError::NoHash { name: name.clone() })?;
            let rights = Rights {
                _presence: (),
                publish: key.publish.clone(),
                subscribe: key.subscribe.clone(),
                history: key.history.clone(),
            };
            let grant = Grant {
                who: Who::Key(Arc::from(name.as_str())),
                rights,
                expires: None,
            };
            Ok((hash, grant))
        });
        keys.collect::<Result<_, _>>().map(Self)
    }

    /// What that key grants. All hashes are compared, each in the same time whatever it holds.
    pub(super) fn grant(&self, key: &str) -> Option<Grant> {
        let presented = KeyHash::of(key);
        let mut found = None;
        for (hash, grant) in &self.0 {
            if bool::from(hash.0.ct_eq(&presented.0)) {
                found = Some(grant);
            }
        }
        found.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let hash = KeyHash::of("abc");
        let text = hash.to_string();
        assert_eq!(
            text,
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(KeyHash::parse(&text), Some(hash));
        for wrong in [
            "",
            "sha256:",
            &text[..70],
            &text[7..],
            &format!("{text}0"),
            "sha256:é",
        ] {
            assert_eq!(KeyHash::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn new_keys_differ() {
        assert_ne!(NewKey::random().key, NewKey::random().key);
    }
}
