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
    use std::sync::{Arc, Mutex};

    use super::*;

    type Hook = Arc<dyn Fn() + Send + Sync>;

    /// A clock that moves only when told to.
    #[derive(Default)]
    pub(crate) struct ManualClock {
        passed: Mutex<Duration>,
        hook: Mutex<Option<Hook>>,
    }

    impl ManualClock {
        pub(crate) fn advance(&self, by: Duration) {
            *self.passed.lock().unwrap() += by;
        }

        /// Does that from now on whenever somebody looks how much time has passed.
        pub(crate) fn when_looked_at(&self, hook: Option<Hook>) {
            *self.hook.lock().unwrap() = hook;
        }
    }

    impl fmt::Debug for ManualClock {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_tuple("ManualClock").field(&self.passed).finish()
        }
    }

    impl Clock for ManualClock {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH + *self.passed.lock().unwrap()
        }

        fn elapsed(&self) -> Duration {
            let hook = self.hook.lock().unwrap().clone();
            if let Some(hook) = hook {
                hook();
            }
            *self.passed.lock().unwrap()
        }
    }
}
