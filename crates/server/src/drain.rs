//! The end of a server, at a pace: everybody is told to come back, but not all at the same moment.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Connections that may be told to come back within a second, at the least: fewer need no pace.
const AT_ONCE: usize = 500;
/// The part of the time for the end that the telling may take; the rest is for goodbyes.
const TELLING: f64 = 0.8;

/// Whether the server is to end, and whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    begun: CancellationToken,
    pace: OnceLock<Pace>,
}

#[derive(Debug)]
struct Pace {
    begun: Instant,
    over: Duration,
}

/// When one's turn is, from 0 (at once) to 1 (last).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn(f32);

impl Turn {
    /// A turn by chance.
    pub(crate) fn any() -> Self {
        Self(rand::random())
    }
}

impl Drain {
    /// Begins the end of so many connections, for which there is so much time.
    pub(crate) fn begin(&self, connections: usize, time: Duration) {
        let enough = Duration::from_secs_f64(connections as f64 / AT_ONCE as f64);
        let over = if connections < AT_ONCE {
            Duration::ZERO
        } else {
            enough.min(time.mul_f64(TELLING))
        };
        let begun = Instant::now();
        // It begins once.
        let _ = self.pace.set(Pace { begun, over });
        self.begun.cancel();
    }

    /// Whether the end has begun, for anybody.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until it has begun. Cancel-safe.
    pub(crate) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Waits for one's turn. Cancel-safe.
    pub(crate) async fn turn(&self, turn: Turn) {
        self.begun().await;
        if let Some(at) = self.at(turn) {
            sleep_until(at).await;
        }
    }

    /// Whether it is one's turn.
    pub(crate) fn is_turn(&self, turn: Turn) -> bool {
        self.at(turn).is_some_and(|at| at <= Instant::now())
    }

    fn at(&self, turn: Turn) -> Option<Instant> {
        let pace = self.pace.get()?;
        Some(pace.begun + pace.over.mul_f32(turn.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn few_go_at_once_and_many_at_a_pace() {
        let drain = Drain::default();
        assert!(!drain.is_turn(Turn(0.0)));
        drain.begin(3, Duration::from_secs(10));
        assert!(drain.is_turn(Turn(1.0)));

        let drain = Drain::default();
        drain.begin(1000, Duration::from_secs(10));
        let begun = Instant::now();
        assert!(drain.is_turn(Turn(0.0)) && !drain.is_turn(Turn(0.5)));
        drain.turn(Turn(0.5)).await;
        assert_eq!(begun.elapsed().as_millis().div_ceil(10), 100);

        let drain = Drain::default();
        drain.begin(100_000, Duration::from_secs(10));
        let begun = Instant::now();
        drain.turn(Turn(1.0)).await;
        assert_eq!(begun.elapsed().as_secs(), 8);
    }
}
