//! The load: each module drives one kind of traffic and tells what it cost the server.

mod connects;
mod echo;
mod fanout;
mod idle;
mod latency;
mod publish;

use std::io;
use std::time::{Duration, Instant};

pub use connects::connects;
pub use echo::{Echo, echo, echo_watched};
pub use fanout::{Delivered, Fanout, Publisher, fanout, fanout_watched};
pub use idle::{Idle, idle};
pub use latency::RoundTrips;
pub use publish::publish;

use crate::kernel::{cpu_time, resident};

/// A server stops using its processor when it has nothing to do; this long without is taken for that.
const QUIET: Duration = Duration::from_millis(60);
/// How long a load may be without any progress.
const STALLED: Duration = Duration::from_secs(15);

/// Is told when the stretch of load that counts begins and ends, to look at the server meanwhile.
pub trait Watch {
    fn begin(&mut self) -> io::Result<()>;

    /// So many messages or deliveries were counted.
    fn end(&mut self, count: u64) -> io::Result<()>;
}

/// Nobody looks.
impl Watch for () {
    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// What a stretch of load cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Server CPU, nanoseconds each (message, delivery, connection …).
    pub cpu_ns: f64,
    pub per_second: f64,
    /// Share of its processor that the server used.
    pub server: f64,
    /// Share of its processor that the load used.
    pub load: f64,
}

/// Begins to count; [`Meter::cost`] ends it.
#[derive(Debug)]
struct Meter {
    pid: u32,
    began: Instant,
    server: Duration,
    load: Duration,
}

impl Meter {
    fn begin(pid: u32) -> io::Result<Self> {
        Ok(Self {
            pid,
            server: cpu_time(pid)?,
            load: cpu_time(std::process::id())?,
            began: Instant::now(),
        })
    }

    fn cost(&self, count: u64) -> io::Result<Cost> {
        let time = self.began.elapsed().as_secs_f64();
        let server = (cpu_time(self.pid)? - self.server).as_secs_f64();
        let load = (cpu_time(std::process::id())? - self.load).as_secs_f64();
        Ok(Cost {
            cpu_ns: server / count as f64 * 1e9,
            per_second: count as f64 / time,
            server: server / time,
            load: load / time,
        })
    }
}

/// Waits until the server has nothing to do: then all that was sent has been dealt with.
fn until_quiet(pid: u32) -> io::Result<()> {
    let deadline = Instant::now() + STALLED;
    let mut before = cpu_time(pid)?;
    loop {
        std::thread::sleep(QUIET);
        let now = cpu_time(pid)?;
        // A timer or two may fire meanwhile.
        if now - before < Duration::from_micros(300) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(io::Error::other("the server does not come to rest"));
        }
        before = now;
    }
}

/// How the server's resident memory differs from `before`, for each of `count`.
fn grown(pid: u32, before: u64, count: usize) -> io::Result<f64> {
    Ok((resident(pid)? as f64 - before as f64) / count as f64)
}

fn stalled(what: &str, have: u64, of: u64) -> io::Error {
    io::Error::other(format!(
        "no progress for {STALLED:?}: {have} {what} of {of}"
    ))
}

/// The value below which `share` of the sorted values are.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted
        .get((last * share).round() as usize)
        .copied()
        .unwrap_or_default()
}
