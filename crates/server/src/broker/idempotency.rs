//! Idempotency keys: what makes the retry of an append safe.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Appended, BrokerError};
use crate::channel::Channel;
use crate::publication::Content;

/// How long a key is remembered after its append.
pub const KEY_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Whose key it is, and for which channel: the same key elsewhere is another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope(pub(super) [u8; 32]);

impl Scope {
    /// The scope of `key`, sent by `publisher` (empty for an unnamed one) to `channel`.
    pub fn new(publisher: &str, channel: &Channel, key: &str) -> Self {
        Self(digest([
            publisher.as_bytes(),
            channel.as_str().as_bytes(),
            key.as_bytes(),
        ]))
    }
}

/// What was sent under a key: a digest of type and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub(super) [u8; 32]);

impl Fingerprint {
    /// The fingerprint of `content`.
    pub fn new(content: &Content) -> Self {
        Self(digest([content.content_type().as_bytes(), content.body()]))
    }
}

/// What an append is known by when it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idempotency {
    /// The key and whose it is.
    pub scope: Scope,
    /// What is sent under it.
    pub fingerprint: Fingerprint,
}

/// Keys whose append was done, each for [`KEY_LIFETIME`], at most a fixed number.
#[derive(Debug)]
pub(super) struct Keys {
    bound: usize,
    done: HashMap<Scope, (Fingerprint, Appended)>,
    /// In the order of their appends, with their times.
    order: VecDeque<(Duration, Scope)>,
    /// Offset of the last one that was forgotten.
    forgotten: u64,
}

impl Keys {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            bound,
            done: HashMap::new(),
            order: VecDeque::new(),
            forgotten: 0,
        }
    }

    /// The offset of the last append whose key was forgotten.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Forgets what is over at `now`.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some(&(at, scope)) = self.order.front()
            && at + KEY_LIFETIME <= now
        {
            self.order.pop_front();
            if let Some((_, appended)) = self.done.remove(&scope) {
                self.forgotten = appended.cursor.offset;
            }
        }
    }

    /// The answer of the append that was done under this key, or `None` if it is to be done and
    /// there is room to remember it.
    pub(super) fn look(
        &mut self,
        now: Duration,
        asked: &Idempotency,
    ) -> Result<Option<Appended>, BrokerError> {
        self.expire(now);
        match self.done.get(&asked.scope) {
            Some((fingerprint, appended)) if *fingerprint == asked.fingerprint => {
                Ok(Some(*appended))
            }
            Some(_) => Err(BrokerError::KeyReused),
            None if self.done.len() < self.bound => Ok(None),
            None => {
                let oldest = self.order.front().map_or(now, |(at, _)| *at);
                Err(BrokerError::Busy {
                    retry_after: oldest + KEY_LIFETIME - now,
                })
            }
        }
    }

    pub(super) fn remember(&mut self, now: Duration, asked: &Idempotency, appended: Appended) {
        self.done.insert(asked.scope, (asked.fingerprint, appended));
        self.order.push_back((now, asked.scope));
    }

    /// Takes back the last one remembered, whose append was not done after all.
    pub(super) fn take_back(&mut self) {
        if let Some((_, scope)) = self.order.pop_back() {
            self.done.remove(&scope);
        }
    }
}

/// A digest that no two lists of parts share: each part goes in with its length.
pub(super) fn digest<const N: usize>(parts: [&[u8]; N]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
