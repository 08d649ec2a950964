//! Time, so that it can be handed in.

use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Where a broker takes its time from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time of day, which may jump: what publications are stamped with.
    fn now(&self) -> Timestamp;

    /// Time passed since some fixed moment, which never jumps: what ages are measured by.
    fn elapsed(&self) -> Duration;
}

/// The system's clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// The system's clock.
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
pub(crate) mod manual {
    use std::sync::Mutex;

    use super::*;

    /// A clock that moves only when told to.
    #[derive(Debug, Default)]
    pub(crate) struct ManualClock(Mutex<Duration>);

    impl ManualClock {
        pub(crate) fn advance(&self, by: Duration) {
            *self.0.lock().unwrap() += by;
        }
    }

    impl Clock for ManualClock {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH + self.elapsed()
        }

        fn elapsed(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }
}
