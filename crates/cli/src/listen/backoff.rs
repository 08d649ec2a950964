//! How long to wait before coming back.

use std::time::Duration;

/// The first step; each failure in a row doubles it.
const FIRST: Duration = Duration::from_millis(250);

/// The longest step.
const LONGEST: Duration = Duration::from_secs(30);

/// Exponential backoff with jitter, so that the listeners of a server that went away do not return all at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait before the next attempt.
    ///
    /// `at_least` is what the server asked for (`Retry-After`); `random`, from 0 to 1, spreads the wait over the upper
    /// half of the step, or over a whole step past `at_least`.
    pub(crate) fn next(&mut self, at_least: Option<Duration>, random: f64) -> Duration {
        let step = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        match at_least {
            Some(wait) => wait.saturating_add(step.mul_f64(random)),
            None => step / 2 + (step / 2).mul_f64(random),
        }
    }

    /// To be called when a connection works: the next failure is a first one.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..9)
            .map(|_| backoff.next(None, 1.0).as_millis())
            .collect();
        assert_eq!(
            waits,
            [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]
        );
        backoff.reset();
        assert_eq!(backoff.next(None, 1.0), FIRST);
    }

    #[test]
    fn jitter_spreads_over_the_upper_half() {
        assert_eq!(Backoff::default().next(None, 0.0), FIRST / 2);
        assert_eq!(Backoff::default().next(None, 0.5), FIRST * 3 / 4);
    }

    #[test]
    fn what_the_server_asked_for_is_never_cut_short() {
        let asked = Duration::from_secs(120);
        assert_eq!(Backoff::default().next(Some(asked), 0.0), asked);
        assert_eq!(Backoff::default().next(Some(asked), 1.0), asked + FIRST);
    }

    #[test]
    fn thousands_of_failures_do_not_overflow() {
        let mut backoff = Backoff { failures: u32::MAX };
        assert_eq!(backoff.next(None, 1.0), LONGEST);
        assert_eq!(backoff.next(Some(Duration::MAX), 1.0), Duration::MAX);
    }
}
