//! One timer for all deadlines of a connection, armed only while its task waits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::shared::Shared;
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

/// Wakes a connection's receiver at a deadline that mostly moves away; one that is far is kept by the [`wheel`](crate::wheel).
#[derive(Default)]
pub(crate) struct Alarm {
    far: Option<Place>,
    near: Timer,
}

impl Alarm {
    /// Ready when the deadline may have passed; one that lies ahead may be told a tenth of a second late.
    pub(crate) fn poll(
        &mut self,
        deadline: Option<Instant>,
        now: Instant,
        shared: &Arc<Shared>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        /// What is nearer has a timer of its own.
        const NEAR: Duration = Duration::from_secs(2);
        let Some(deadline) = deadline else {
            *self = Self::default();
            return Poll::Pending;
        };
        if let Some(far) = &self.far
            && far.holds(deadline, now)
        {
            return Poll::Pending;
        }
        self.far = None;
        if deadline.saturating_duration_since(now) > NEAR {
            self.far = Place::new(shared, deadline);
        }
        match self.far {
            Some(_) => {
                self.near = Timer::default();
                Poll::Pending
            }
            None => self.near.poll(Some(deadline), cx),
        }
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
