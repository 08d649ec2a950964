//! One timer for all deadlines of a connection, armed only while its task waits.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// Sleeps until a deadline that mostly moves away.
#[derive(Debug, Default)]
pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready when the deadline may have passed.
    ///
    /// A deadline that moved away re-arms nothing: the timer fires at the earlier moment, and the caller asks again.
    pub(crate) fn poll(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline else {
            self.0 = None;
            return Poll::Pending;
        };
        let deadline = deadline.into();
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline || sleep.is_elapsed() {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }
}

/// The time, by tokio's clock, which tests can hold still.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A wait that nobody sees the end of; far longer ones are beyond what a clock can tell.
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The moment that is so far away, a [`YEAR`] at most.
pub(crate) fn after(time: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + time.min(YEAR)
}
