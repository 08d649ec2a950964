//! What only a log on disk can show: that it outlives its process, whatever happens to its files.

use super::*;
use crate::broker::suite::{Bench, broker_suite};
use crate::clock::manual::ManualClock;

fn bench(limits: HistoryLimits, keys: usize) -> Bench {
    let place = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let time = Arc::clone(&clock) as Arc<dyn Clock>;
    let hub = Hub::new(1 << 20);
    Bench {
        broker: Arc::new(DiskBroker::with_clock(place.path(), limits, keys, hub, time).unwrap()),
        advance: Box::new(move |by| clock.advance(by)),
        _place: Some(place),
    }
}

broker_suite!(bench);
