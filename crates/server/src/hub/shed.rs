//! Letting the slowest subscribers go when memory is short. Each has a bound, but all of them together may keep more alive
//! than there is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Hub;
use super::queue::Queue;

/// Bytes that are not worth a subscriber: what it takes to come back is more.
const LITTLE: usize = 4 * 1024;

impl Hub {
    /// Offset of the last publication that was handed out.
    pub(crate) fn newest(&self) -> u64 {
        self.lock().registry.newest
    }

    /// Lets those go who have not taken what was published up to the offset `behind`, the one that is the furthest behind
    /// first, until half of all that waits for those is dropped; how many. Whoever has taken that keeps up, however much waits
    /// for a moment. Those for whom little waits stay while much waits for others.
    pub(crate) fn shed(&self, behind: u64) -> usize {
        let mut slow: Vec<(u64, usize, Arc<Queue>)> = Vec::new();
        self.lock().registry.index.all(|group| {
            for queue in group.queues() {
                if let Some((oldest, weight)) = queue.waiting()
                    && oldest <= behind
                    && weight > LITTLE
                {
                    slow.push((oldest, weight, Arc::clone(queue)));
                }
            }
        });
        let all: usize = slow.iter().map(|(_, weight, _)| weight).sum();
        // At least half of it waits for those for whom at least half as much waits as for one in the mean.
        let count = slow.len();
        slow.retain(|(_, weight, _)| weight.saturating_mul(2 * count) >= all);
        slow.sort_unstable_by_key(|(oldest, weight, _)| (*oldest, std::cmp::Reverse(*weight)));
        let mut rest = all;
        let mut gone = 0;
        for (_, weight, queue) in slow {
            if rest <= all / 2 {
                break;
            }
            // Since it was looked at it may have taken all, and what is published may not go to its queue any more.
            if queue.lag_behind(behind) {
                rest -= weight;
                gone += 1;
            }
        }
        self.inner.lagged.fetch_add(gone as u64, Ordering::Relaxed);
        gone
    }
}

/// What was the newest publication at the last looks, so that it is known which of them are old.
#[derive(Debug, Default)]
pub(crate) struct Looks(VecDeque<u64>);

impl Looks {
    /// Notes another look; the newest publication of `back` looks ago, if there were so many.
    pub(crate) fn look(&mut self, newest: u64, back: usize) -> Option<u64> {
        self.0.push_back(newest);
        while self.0.len() > back + 1 {
            self.0.pop_front();
        }
        self.0.front().copied().filter(|_| self.0.len() > back)
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::super::tests::publication;
    use super::*;
    use crate::hub::{Lagged, Live};

    fn is_gone(live: &Live) -> bool {
        let noop = Context::from_waker(Waker::noop());
        live.queue.poll_lagged(&noop).is_ready()
    }

    fn subscribers<const COUNT: usize>(hub: &Hub, filters: [&str; COUNT]) -> [Live; COUNT] {
        filters.map(|filter| hub.lock().subscribe(&filter.parse().unwrap()))
    }

    fn gone(lives: &[Live]) -> Vec<usize> {
        let lives = lives.iter().enumerate();
        let gone = lives.filter(|(_, live)| is_gone(live));
        gone.map(|(number, _)| number).collect()
    }

    /// One after the other, of so many bytes.
    fn publish(hub: &Hub, all: &[(&str, usize)]) {
        for (channel, size) in all {
            let next = hub.newest() + 1;
            hub.lock().publish(&publication(channel, next, *size));
        }
    }

    #[test]
    fn the_slowest_go_first_and_the_quick_stay() {
        let hub = Hub::new(1 << 20);
        let mut lives = subscribers(&hub, ["a", "b/*", "c/**", "d", "e"]);
        // The one that has waited the longest is not the one for which the most waits.
        publish(&hub, &[("c/x", 10_000), ("a", 10_000), ("b/x", 90_000)]);
        publish(&hub, &[("d", 15_000), ("e", 90_000)]);
        let behind = hub.newest();
        // The last one takes all, and in the next moment more waits for it than for anybody.
        while lives[4].try_next().unwrap().is_some() {}
        publish(&hub, &[("e", 90_000), ("e", 90_000)]);
        assert!(gone(&lives).is_empty());
        // Little waits for the first and the third, and the most for the second.
        assert_eq!((hub.shed(behind), gone(&lives)), (1, vec![1]));
        assert_eq!((hub.shed(behind), gone(&lives)), (2, vec![0, 1, 2]));
        assert_eq!((hub.shed(behind), gone(&lives)), (1, vec![0, 1, 2, 3]));
        assert_eq!(hub.shed(behind), 0, "who keeps up stays");
        assert_eq!(hub.shed(hub.newest()), 1);
    }

    #[test]
    fn one_that_keeps_up_stays_however_much_waits_for_it_and_one_that_stalls_goes() {
        let hub = Hub::new(1 << 20);
        let mut lives = subscribers(&hub, ["a", "b"]);
        let mut looks = Looks::default();
        // Far less waits for the one that stalls.
        publish(&hub, &[("b", 6_000)]);
        for _ in 0..5 {
            publish(&hub, &[("a", 100_000), ("a", 50_000)]);
            let behind = looks.look(hub.newest(), 3);
            // It always has what was published at the last look, and something waits for it at each.
            for _ in 0..2 {
                lives[0].try_next().unwrap().unwrap();
            }
            publish(&hub, &[("a", 80_000)]);
            if let Some(behind) = behind {
                hub.shed(behind);
            }
            lives[0].try_next().unwrap().unwrap();
            assert!(!is_gone(&lives[0]));
        }
        assert_eq!(gone(&lives), [1]);
    }

    #[test]
    fn who_is_let_go_keeps_nothing_alive_and_a_little_is_not_worth_it() {
        let hub = Hub::new(1 << 20);
        let [mut live] = subscribers(&hub, ["a"]);
        let small = publication("a", 1, 600);
        hub.lock().publish(&small);
        assert_eq!(hub.shed(1), 0);
        hub.lock().publish(&publication("a", 2, 100_000));
        assert_eq!(hub.shed(0), 0, "nothing is so old");
        assert_eq!(hub.shed(1), 1);
        assert_eq!(Arc::strong_count(&small), 1);
        assert_eq!(live.try_next().unwrap_err(), Lagged);
    }

    #[test]
    fn one_that_has_caught_up_since_it_was_looked_at_stays() {
        let hub = Hub::new(1 << 20);
        let [mut live] = subscribers(&hub, ["a"]);
        publish(&hub, &[("a", 10_000), ("a", 10_000)]);
        live.try_next().unwrap().unwrap();
        assert!(!live.queue.lag_behind(1));
        assert_eq!(live.try_next().unwrap().unwrap().offset(), 2);
        assert!(!live.queue.lag_behind(2), "nothing waits");
        publish(&hub, &[("a", 10_000)]);
        assert!(live.queue.lag_behind(3) && is_gone(&live));
    }

    #[test]
    fn what_was_the_newest_so_many_looks_ago_is_known_once_there_were_so_many() {
        let mut looks = Looks::default();
        let told: Vec<_> = (1..=5).map(|newest| looks.look(newest, 2)).collect();
        assert_eq!(told, [None, None, Some(1), Some(2), Some(3)]);
    }
}
