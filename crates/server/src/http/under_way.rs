//! Publications under way, by their idempotency keys: the same one is not begun twice.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::problem::{Kind, Problem};
use crate::broker::Scope;
use crate::sync::lock;

/// The keys of all requests whose head has arrived and whose answer has not been made.
#[derive(Debug)]
pub(crate) struct UnderWay {
    scopes: Arc<Mutex<HashSet<Scope>>>,
    bound: usize,
}

impl UnderWay {
    /// For at most `bound` requests at once.
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            scopes: Arc::default(),
            bound,
        }
    }

    /// Takes the key until the answer is made, or the request dropped.
    pub(crate) fn reserve(&self, scope: Scope) -> Result<Reserved, Problem> {
        let mut scopes = lock(&self.scopes);
        if scopes.contains(&scope) {
            return Err(Problem::new(
                Kind::KeyInUse,
                "a publication with this Idempotency-Key is under way; ask again for its answer \
                 when it is done",
            ));
        }
        if scopes.len() >= self.bound {
            return Err(Problem::busy(
                "too many publications with idempotency keys are under way; publish later",
                Duration::from_secs(1),
            ));
        }
        scopes.insert(scope);
        Ok(Reserved {
            scopes: Arc::clone(&self.scopes),
            scope,
        })
    }
}

/// A key that nobody else can take; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Reserved {
    scopes: Arc<Mutex<HashSet<Scope>>>,
    pub(crate) scope: Scope,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        lock(&self.scopes).remove(&self.scope);
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn a_key_is_taken_once_and_given_back() {
        use axum::response::IntoResponse as _;

        let status =
            |result: Result<Reserved, Problem>| result.unwrap_err().into_response().status();
        let scope = |key: &str| Scope::new("", &"a".parse().unwrap(), key);
        let under_way = UnderWay::new(2);
        let one = under_way.reserve(scope("1")).unwrap();
        assert_eq!(status(under_way.reserve(scope("1"))), StatusCode::CONFLICT);
        let _two = under_way.reserve(scope("2")).unwrap();
        assert_eq!(
            status(under_way.reserve(scope("3"))),
            StatusCode::SERVICE_UNAVAILABLE
        );
        drop(one);
        under_way.reserve(scope("1")).unwrap();
    }
}
