//! Rates: so many a second, and as many at once, for each of many.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// Those remembered at once, each of at most about 200 bytes. One that has not used its rate up needs
/// no memory, so only this many can be near their bound.
const MAX_KEPT: usize = 65_536;

/// The use of one rate (the generic cell rate algorithm): the moment up to which it is used up.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Meter {
    used_up_to: Option<Instant>,
}

impl Meter {
    /// Takes one of `rate` a second, of which `seconds` worth may come at once.
    pub(crate) fn take(&mut self, rate: usize, seconds: u32) -> bool {
        self.take_at(Instant::now(), rate, seconds)
    }

    fn take_at(&mut self, now: Instant, rate: usize, seconds: u32) -> bool {
        let each = Duration::from_secs_f64(1.0 / rate.max(1) as f64);
        let from = self.used_up_to.map_or(now, |used| used.max(now));
        let used = from + each;
        if used > now + Duration::from_secs(seconds.into()) + Duration::from_nanos(1) {
            return false;
        }
        self.used_up_to = Some(used);
        true
    }

    fn is_unused(&self, now: Instant) -> bool {
        self.used_up_to.is_none_or(|used| used <= now)
    }
}

/// A rate for each of many.
#[derive(Debug)]
pub(super) struct Rates<K>(Mutex<HashMap<K, Meter>>);

impl<K> Default for Rates<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Rates<K> {
    /// Takes one of `rate` a second for `who`. Where too many are near their bounds, a new one must
    /// wait until some are not.
    pub(super) fn take(&self, who: K, rate: usize) -> bool {
        let now = Instant::now();
        let mut kept = lock(&self.0);
        if kept.len() >= MAX_KEPT && !kept.contains_key(&who) {
            kept.retain(|_, meter| !meter.is_unused(now));
            if kept.len() >= MAX_KEPT {
                return false;
            }
        }
        kept.entry(who).or_default().take_at(now, rate, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_allows_so_many_at_once_and_so_many_a_second() {
        let start = Instant::now();
        let mut meter = Meter::default();
        let mut taken = |at: u64| meter.take_at(start + Duration::from_millis(at), 10, 1);
        for _ in 0..10 {
            assert!(taken(0));
        }
        assert!(!taken(0));
        assert!(!taken(99));
        assert!(taken(101));
        assert!(!taken(101));
        for _ in 0..10 {
            assert!(taken(60_000), "it does not save up more than a second");
        }
        assert!(!taken(60_000));
    }

    #[test]
    fn no_more_are_kept_than_may_be() {
        let rates = Rates::default();
        for who in 0..MAX_KEPT {
            assert!(rates.take(who, 1));
        }
        assert!(!rates.take(MAX_KEPT, 1));
        assert!(!rates.take(0, 1), "that one has used up its second");
        assert_eq!(rates.0.lock().unwrap().len(), MAX_KEPT);
    }
}
