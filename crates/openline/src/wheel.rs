//! Deadlines that are far away, as those of idle connections are: one timer of the runtime for all of them, in steps.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use crate::runtimes::PerRuntime;
use crate::slots::Slots;
use crate::stream::Transport;
use crate::timer::{Timer, now};

static WHEELS: PerRuntime<Wheel> = PerRuntime::new();

/// In thousandths of a second: a deadline is told so much too late at most.
const STEP: u64 = 100;

/// The deadlines of a runtime's connections.
struct Wheel {
    start: Instant,
    places: Mutex<Places>,
    /// Who was due by this step has been woken.
    passed: AtomicU32,
    /// The runtime has ended, and nobody is woken any more.
    over: AtomicBool,
}

#[derive(Default)]
struct Places {
    /// The transports whose readers are to be woken.
    waiting: Slots<Weak<Transport>>,
    /// The step in which each is due, and its number.
    due: BTreeSet<(u32, u32)>,
    /// The task that turns the wheel, while there is one.
    turning: Option<Waker>,
}

/// A place in the wheel, until it is dropped.
pub(crate) struct Place {
    wheel: Arc<Wheel>,
    number: u32,
    step: u32,
}

impl Place {
    /// Has the reader woken at the deadline; `None` outside of a runtime.
    pub(crate) fn new(transport: &Arc<Transport>, deadline: Instant) -> Option<Self> {
        let wheel = WHEELS.get(|_| Some(Arc::new(Wheel::new())))?;
        let step = wheel.step_at(deadline).saturating_add(1);
        let (number, first) = wheel.lock().enter(Arc::downgrade(transport), step);
        if first {
            wheel.turn(step);
        }
        Some(Self {
            wheel,
            number,
            step,
        })
    }

    /// Whether the reader will yet be woken, and no later than at the deadline. It asks no clock.
    pub(crate) fn holds(&self, deadline: Instant) -> bool {
        let wheel = &self.wheel;
        self.step > wheel.passed.load(Ordering::Acquire)
            && self.step <= wheel.step_at(deadline).saturating_add(1)
            && !wheel.over.load(Ordering::Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.wheel.lock().leave(self.number, self.step);
    }
}

impl Wheel {
    fn new() -> Self {
        Self {
            start: now(),
            places: Mutex::default(),
            passed: AtomicU32::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// The step that a moment lies in.
    fn step_at(&self, at: Instant) -> u32 {
        let since = at.saturating_duration_since(self.start);
        let steps = since.as_secs() * (1000 / STEP) + u64::from(since.subsec_millis()) / STEP;
        u32::try_from(steps).unwrap_or(u32::MAX)
    }

    fn begin(&self, step: u32) -> Instant {
        self.start + Duration::from_millis(u64::from(step) * STEP)
    }

    /// A step is due earlier than all others: has the task wait for that one.
    fn turn(self: &Arc<Self>, step: u32) {
        let mut places = self.lock();
        match &places.turning {
            Some(task) => task.wake_by_ref(),
            None => {
                // Made here, so that a runtime without a clock tells who asks for one.
                let timer = Timer::at(self.begin(step));
                places.turning = Some(Waker::noop().clone());
                drop(places);
                tokio::spawn(Turning {
                    wheel: Arc::clone(self),
                    timer,
                    done: false,
                });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// The number, and whether nothing else is due as early.
    fn enter(&mut self, transport: Weak<Transport>, step: u32) -> (u32, bool) {
        let first = self.first().is_none_or(|first| step < first);
        let number = self.waiting.insert(transport);
        self.due.insert((step, number));
        (number, first)
    }

    fn leave(&mut self, number: u32, step: u32) {
        self.due.remove(&(step, number));
        self.waiting.remove(number);
        // Nothing is left to wait for.
        if self.waiting.is_empty()
            && let Some(task) = &self.turning
        {
            task.wake_by_ref();
        }
    }

    /// The step in which somebody is due next.
    fn first(&self) -> Option<u32> {
        self.due.first().map(|(step, _)| *step)
    }

    /// Whom to wake in all steps up to one.
    fn take_due(&mut self, step: u32) -> Vec<Weak<Transport>> {
        let mut taken = Vec::new();
        while self.first().is_some_and(|first| first <= step) {
            if let Some((_, number)) = self.due.pop_first() {
                taken.push(self.waiting.take(number));
            }
        }
        taken
    }
}

/// Waits for one step after the other, as long as there are any.
struct Turning {
    wheel: Arc<Wheel>,
    timer: Timer,
    /// Nothing is left to wait for, and another one may have begun.
    done: bool,
}

impl Future for Turning {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let mut places = this.wheel.lock();
            let Some(step) = places.first() else {
                places.turning = None;
                this.done = true;
                return Poll::Ready(());
            };
            places.turning = Some(cx.waker().clone());
            drop(places);
            ready!(this.timer.poll(Some(this.wheel.begin(step)), cx));
            let passed = this.wheel.step_at(now());
            // Before they are woken, so that they wait anew.
            this.wheel.passed.store(passed, Ordering::Release);
            let due = this.wheel.lock().take_due(passed);
            wake(&due);
        }
    }
}

impl Drop for Turning {
    /// If the runtime has ended, who waits now would wait forever.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut places = self.wheel.lock();
        places.turning = None;
        self.wheel.over.store(true, Ordering::Release);
        let left = places.take_due(u32::MAX);
        drop(places);
        wake(&left);
    }
}

fn wake(all: &[Weak<Transport>]) {
    for transport in all.iter().filter_map(Weak::upgrade) {
        transport.wake_reader();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn one_that_has_nothing_left_to_turn_does_not_end_the_next_one() {
        let wheel = Arc::new(Wheel::new());
        let mut turning = Box::pin(Turning {
            wheel: Arc::clone(&wheel),
            timer: Timer::default(),
            done: false,
        });
        let mut cx = Context::from_waker(Waker::noop());
        assert!(turning.as_mut().poll(&mut cx).is_ready());
        // Another thread is that quick.
        let (_, first) = wheel.lock().enter(Weak::new(), 100);
        assert!(first);
        wheel.turn(100);
        drop(turning);
        assert!(!wheel.over.load(Ordering::Acquire));
        assert!(wheel.lock().turning.is_some());
        assert_eq!(wheel.lock().first(), Some(100));
    }

    #[tokio::test]
    async fn one_that_is_dropped_while_somebody_waits_tells_that_it_is_over() {
        let wheel = Arc::new(Wheel::new());
        wheel.lock().enter(Weak::new(), 100);
        {
            let mut turning = pin!(Turning {
                wheel: Arc::clone(&wheel),
                timer: Timer::default(),
                done: false,
            });
            let mut cx = Context::from_waker(Waker::noop());
            assert!(turning.as_mut().poll(&mut cx).is_pending());
        }
        assert!(wheel.over.load(Ordering::Acquire));
        assert_eq!(wheel.lock().first(), None);
    }

    #[test]
    fn what_has_left_takes_no_place() {
        let mut places = Places::default();
        places.enter(Weak::new(), 7);
        for step in 0..1000 {
            let (number, _) = places.enter(Weak::new(), step);
            places.leave(number, step);
        }
        assert_eq!(places.due.len(), 1);
        assert_eq!(places.waiting.len(), 2);
        assert_eq!(places.take_due(6).len(), 0);
        assert_eq!(places.take_due(7).len(), 1);
    }
}
