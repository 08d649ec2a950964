//! Letting the slowest subscribers go when memory is short. Each has a bound, but all of them together may keep more alive
//! than there is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Hub;
use super::queue::Queue;

impl Hub {
    /// Lets those go for whom the most waits, until half of all that waits is dropped; how many. Those for whom little waits,
    /// as it does for a moment for anybody, stay.
    pub(crate) fn shed(&self) -> usize {
        /// The part of the bound that is much.
        const MUCH: usize = 16;
        let mut slow: Vec<(usize, Arc<Queue>)> = Vec::new();
        self.lock().registry.index.all(|group| {
            for queue in group.queues() {
                let weight = queue.weight();
                if weight > self.inner.bound / MUCH {
                    slow.push((weight, Arc::clone(queue)));
                }
            }
        });
        slow.sort_unstable_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let all: usize = slow.iter().map(|(weight, _)| weight).sum();
        let mut rest = all;
        let mut gone = 0;
        for (weight, queue) in slow {
            if rest <= all / 2 {
                break;
            }
            queue.lag();
            rest -= weight;
            gone += 1;
        }
        self.inner.lagged.fetch_add(gone as u64, Ordering::Relaxed);
        gone
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

    #[test]
    fn the_slowest_go_first_and_the_quick_stay() {
        let hub = Hub::new(16 * 1024);
        let weights = [1, 9, 2, 4, 0, 8];
        let filters = ["c/0", "c/1", "c/2/*", "c/3/**", "c/4", "c/5"];
        let lives: Vec<_> = filters
            .iter()
            .map(|filter| hub.lock().subscribe(&filter.parse().unwrap()))
            .collect();
        for (number, weight) in weights.into_iter().enumerate() {
            for offset in 0..weight {
                let channel = match number {
                    2 | 3 => format!("c/{number}/x"),
                    _ => format!("c/{number}"),
                };
                // With what it counts for besides, a little more than a kilobyte.
                hub.lock().publish(&publication(&channel, offset + 1, 600));
            }
        }
        let gone = || -> Vec<usize> {
            let lives = lives.iter().enumerate();
            let gone = lives.filter(|(_, live)| is_gone(live));
            gone.map(|(number, _)| number).collect()
        };
        assert!(gone().is_empty());
        // 24 wait in all.
        assert_eq!((hub.shed(), gone()), (2, vec![1, 5]));
        assert_eq!((hub.shed(), gone()), (1, vec![1, 3, 5]));
        assert_eq!((hub.shed(), gone()), (1, vec![1, 2, 3, 5]));
        assert_eq!((hub.shed(), gone()), (1, vec![0, 1, 2, 3, 5]));
        assert_eq!(hub.shed(), 0, "nothing waits for the quick one");
    }

    #[test]
    fn who_is_let_go_keeps_nothing_alive_and_a_little_is_not_much() {
        let hub = Hub::new(1 << 20);
        let mut live = hub.lock().subscribe(&"a".parse().unwrap());
        let small = publication("a", 1, 600);
        hub.lock().publish(&small);
        assert_eq!(hub.shed(), 0);
        hub.lock().publish(&publication("a", 2, 100_000));
        assert_eq!(hub.shed(), 1);
        assert_eq!(Arc::strong_count(&small), 1);
        assert_eq!(live.try_next().unwrap_err(), Lagged);
    }
}
