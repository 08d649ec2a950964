//! Deadlines that are far away, as those of idle connections are: one timer of the runtime for all of them, in steps.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use crate::runtimes::PerRuntime;
use crate::shared::Shared;
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
    /// By number.
    waiting: Vec<Waiting>,
    free: Vec<u32>,
    /// Numbers, by the step in which they are due. One that is gone stays until then.
    due: BTreeMap<u32, Vec<u32>>,
    /// The task that turns the wheel, while there is one.
    turning: Option<Waker>,
}

/// A connection whose receiver is to be woken in a step.
struct Waiting {
    shared: Weak<Shared>,
    step: u32,
}

/// A place in the wheel, until it is dropped.
pub(crate) struct Place {
    wheel: Arc<Wheel>,
    number: u32,
    step: u32,
}

impl Place {
    /// Has the receiver woken at the deadline; `None` outside of a runtime.
    pub(crate) fn new(shared: &Arc<Shared>, deadline: Instant) -> Option<Self> {
        let wheel = WHEELS.get(|_| Some(Arc::new(Wheel::new())))?;
        let step = wheel.step_at(deadline).saturating_add(1);
        let (number, first) = wheel.lock().enter(Waiting {
            shared: Arc::downgrade(shared),
            step,
        });
        if first {
            wheel.turn(step);
        }
        Some(Self {
            wheel,
            number,
            step,
        })
    }

    /// Whether the receiver will yet be woken, and no later than at the deadline. It asks no clock.
    pub(crate) fn holds(&self, deadline: Instant) -> bool {
        let wheel = &self.wheel;
        self.step > wheel.passed.load(Ordering::Acquire)
            && self.step <= wheel.step_at(deadline).saturating_add(1)
            && !wheel.over.load(Ordering::Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.wheel.lock().leave(self.number);
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
    fn enter(&mut self, one: Waiting) -> (u32, bool) {
        let first = self.due.keys().next().is_none_or(|first| one.step < *first);
        let step = one.step;
        let number = match self.free.pop() {
            Some(number) => {
                self.waiting[number as usize] = one;
                number
            }
            None => {
                self.waiting.push(one);
                (self.waiting.len() - 1) as u32
            }
        };
        self.due.entry(step).or_default().push(number);
        (number, first)
    }

    fn leave(&mut self, number: u32) {
        self.waiting[number as usize].shared = Weak::new();
        self.free.push(number);
        if self.free.len() == self.waiting.len() {
            // After a crowd, the place for it is given back, and nothing is left to wait for.
            (self.waiting, self.free, self.due) = Default::default();
            if let Some(task) = &self.turning {
                task.wake_by_ref();
            }
        }
    }

    /// Whom to wake in all steps up to one.
    fn take_due(&mut self, step: u32) -> Vec<Weak<Shared>> {
        let mut taken = Vec::new();
        while let Some(due) = self.due.first_entry().filter(|due| *due.key() <= step) {
            let (step, numbers) = due.remove_entry();
            for number in numbers {
                if let Some(one) = self.waiting.get_mut(number as usize)
                    && one.step == step
                {
                    taken.push(std::mem::take(&mut one.shared));
                }
            }
        }
        taken
    }
}

/// Waits for one step after the other, as long as there are any.
struct Turning {
    wheel: Arc<Wheel>,
    timer: Timer,
}

impl Future for Turning {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let mut places = this.wheel.lock();
            let Some(step) = places.due.keys().next().copied() else {
                places.turning = None;
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
        let mut places = self.wheel.lock();
        if places.turning.take().is_some() {
            self.wheel.over.store(true, Ordering::Release);
            let left = places.take_due(u32::MAX);
            drop(places);
            wake(&left);
        }
    }
}

fn wake(all: &[Weak<Shared>]) {
    for shared in all.iter().filter_map(Weak::upgrade) {
        shared.receiver.wake();
    }
}
