//! How long to measure: all at leisure, or a quick look.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Plan {
    /// How often each measurement of CPU or time is made.
    pub rounds: usize,
    /// How often what takes long is measured: many connections, and what grows.
    pub long_rounds: usize,
    /// How often memory is measured: it does not wobble.
    pub memory_rounds: usize,
    pub warm_up: Duration,
    /// Of one measurement.
    pub time: Duration,
    /// Connections that are idle: what one process may have open, less a reserve.
    pub idle: usize,
    /// The same over TLS, whose handshakes take their time.
    pub idle_tls: usize,
    /// Connections to open.
    pub connects: usize,
    /// Deliveries of one fan-out.
    pub deliveries: u64,
    /// Round trips of one message.
    pub round_trips: usize,
    /// How many of each series of growing numbers to leave out, from the end.
    pub leave_out: usize,
}

impl Plan {
    pub const FULL: Self = Self {
        rounds: 5,
        long_rounds: 3,
        memory_rounds: 2,
        warm_up: Duration::from_millis(200),
        time: Duration::from_millis(700),
        idle: 15_000,
        idle_tls: 15_000,
        connects: 3_000,
        deliveries: 300_000,
        round_trips: 20_000,
        leave_out: 0,
    };
    pub const QUICK: Self = Self {
        rounds: 2,
        long_rounds: 2,
        memory_rounds: 1,
        warm_up: Duration::from_millis(100),
        time: Duration::from_millis(250),
        idle: 4_000,
        idle_tls: 1_000,
        connects: 1_000,
        deliveries: 60_000,
        round_trips: 3_000,
        leave_out: 1,
    };
}
