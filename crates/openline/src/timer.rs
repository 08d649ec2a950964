//! One timer for all deadlines of a connection, armed only while its task waits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::stream::Transport;
use crate::wheel::Place;

/// Sleeps until a deadline that mostly moves away.
#[derive(Debug, Default)]
pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    pub(crate) fn at(deadline: Instant) -> Self {
        Self(Some(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }

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

/// Wakes the reader of a transport at a deadline that mostly moves away.
pub(crate) enum Alarm {
    /// Kept by the [wheel](crate::wheel), with those of all others.
    Far(Place),
    Near(Timer),
}

impl Default for Alarm {
    fn default() -> Self {
        Self::Near(Timer::default())
    }
}

impl Alarm {
    /// Ready when the deadline may have passed. One that lies ahead wakes the reader, a far one up to a tenth of a second
    /// late.
    pub(crate) fn poll(
        &mut self,
        deadline: Option<Instant>,
        transport: &Arc<Transport>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        /// What is nearer has a timer of its own, which is exact.
        const NEAR: Duration = Duration::from_secs(2);
        if let (Self::Far(place), Some(at)) = (&*self, deadline)
            && place.holds(at)
        {
            return Poll::Pending;
        }
        // Asked of the clock: a task that has used up its share finds every timer pending.
        let left = deadline.map(|at| at.saturating_duration_since(now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Poll::Ready(());
        }
        let far = deadline.filter(|_| left > Some(NEAR));
        if let Self::Near(timer) = self
            && far.is_none()
        {
            return timer.poll(deadline, cx);
        }
        if let Some(place) = far.and_then(|at| Place::new(transport, at)) {
            *self = Self::Far(place);
            return Poll::Pending;
        }
        let mut timer = Timer::default();
        let passed = timer.poll(deadline, cx);
        *self = Self::Near(timer);
        passed
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
