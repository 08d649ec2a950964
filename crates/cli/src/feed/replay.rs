//! The schedule of a replay: what to publish after which wait. It knows no clock.

use std::sync::Arc;
use std::time::Duration;

use super::event::Event;
use super::timeline::Day;

/// The longest wait of a replay: a quieter stretch of the day is shortened to this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// An endless iterator over the day, run after run.
///
/// Each step holds all that happened in one minute of that day, for the minute is the data's grain. After the last
/// one, the day begins again in the next run.
#[derive(Debug)]
pub(crate) struct Replay {
    day: Arc<Day>,
    speed: u32,
    run: u32,
    next: usize,
}

/// What to publish next.
#[derive(Debug)]
pub(crate) struct Step {
    /// How long to wait after the step before this one; at most one second.
    pub(super) wait: Duration,
    /// Which run of the day this belongs to, from 1.
    pub(super) run: u32,
    /// Indices into the day's events.
    pub(super) events: std::ops::Range<usize>,
}

impl Replay {
    /// Replays `day` at `speed` times its own pace; zero is taken as 1.
    pub(crate) fn new(day: Arc<Day>, speed: u32) -> Self {
        Self {
            day,
            speed: speed.max(1),
            run: 1,
            next: 0,
        }
    }

    pub(super) fn day(&self) -> Arc<Day> {
        Arc::clone(&self.day)
    }

    fn wait(&self, before: Option<&Event>, event: &Event) -> Duration {
        let Some(before) = before else {
            // The first run begins at once, a later one with the longest wait, to let the day's end be seen.
            return if self.run == 1 {
                Duration::ZERO
            } else {
                LONGEST_WAIT
            };
        };
        let gap = event.at.duration_since(before.at).unsigned_abs();
        (gap / self.speed).min(LONGEST_WAIT)
    }
}

impl Iterator for Replay {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.next == self.day.events.len() {
            self.next = 0;
            self.run = self.run.saturating_add(1);
        }
        let start = self.next;
        let event = self.day.events.get(start)?;
        let before = start.checked_sub(1).and_then(|i| self.day.events.get(i));
        let wait = self.wait(before, event);
        let same = self.day.events[start..]
            .iter()
            .take_while(|other| other.at == event.at)
            .count();
        self.next = start + same;
        Some(Step {
            wait,
            run: self.run,
            events: start..self.next,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::event::Status;

    fn replay(speed: u32) -> Replay {
        Replay::new(Arc::new(Day::embedded().unwrap()), speed)
    }

    fn day_of(steps: &mut Replay) -> Vec<Step> {
        let events = steps.day.events.len();
        let mut all = Vec::new();
        loop {
            let step = steps.next().unwrap();
            let last = step.events.end == events;
            all.push(step);
            if last {
                return all;
            }
        }
    }

    #[test]
    fn every_event_comes_once_and_in_order() {
        let mut replay = replay(120);
        let steps = day_of(&mut replay);
        let mut next = 0;
        for step in &steps {
            assert_eq!(step.events.start, next);
            assert!(!step.events.is_empty());
            next = step.events.end;
        }
        assert_eq!(next, 4055);
        assert_eq!(steps.len(), 1041);
    }

    #[test]
    fn a_run_begins_with_the_whole_board() {
        let mut replay = replay(120);
        let first = replay.next().unwrap();
        assert_eq!((first.run, first.wait), (1, Duration::ZERO));
        let events = &replay.day.events[first.events];
        assert_eq!(events.len(), 992);
        assert!(events.iter().all(|event| event.status == Status::Scheduled));
    }

    #[test]
    fn the_day_begins_again_in_the_next_run() {
        let mut replay = replay(120);
        day_of(&mut replay);
        let again = replay.next().unwrap();
        assert_eq!((again.run, again.wait), (2, LONGEST_WAIT));
        assert_eq!(again.events, 0..992);
        day_of(&mut replay);
        assert_eq!(replay.next().unwrap().run, 3);
    }

    #[test]
    fn a_minute_lasts_half_a_second_at_the_default_speed() {
        let mut replay = replay(120);
        let steps = day_of(&mut replay);
        let events = &replay.day.events;
        for pair in steps.windows(2) {
            let gap = events[pair[1].events.start]
                .at
                .duration_since(events[pair[0].events.start].at);
            let expected = match gap.as_mins() {
                1 => Duration::from_millis(500),
                _ => Duration::from_secs(1),
            };
            assert_eq!(pair[1].wait, expected);
        }
    }

    #[test]
    fn no_wait_is_longer_than_a_second_at_any_speed() {
        for speed in [0, 1, 60, 7_200, u32::MAX] {
            let mut replay = replay(speed);
            let steps = day_of(&mut replay);
            assert!(
                steps.iter().all(|step| step.wait <= LONGEST_WAIT),
                "{speed}"
            );
        }
        let fast: Duration = day_of(&mut replay(7_200))
            .iter()
            .map(|step| step.wait)
            .sum();
        assert!(
            fast < Duration::from_secs(14),
            "26 hours at two hours a second: {fast:?}"
        );
    }
}
