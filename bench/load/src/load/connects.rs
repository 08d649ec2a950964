//! New connections, from TCP's handshake to the answer 101; closing them is not counted.

use std::io;
use std::time::Duration;

use super::{Cost, Meter, until_quiet};
use crate::kernel::cpu_time;
use crate::link::Target;

/// Cost per connection.
pub fn connects(target: &Target, pid: u32, count: usize) -> io::Result<Cost> {
    // What the first ones cost beyond the others is not asked for.
    drop(target.open(200)?);
    until_quiet(pid)?;
    let meter = Meter::begin(pid)?;
    let links = target.open(count)?;
    let cost = meter.cost(count as u64)?;
    // The last answers may have come before the server's work on them was done.
    let server = cpu_time(pid)?;
    std::thread::sleep(Duration::from_millis(20));
    let rest = cpu_time(pid)? - server;
    drop(links);
    Ok(Cost {
        cpu_ns: cost.cpu_ns + rest.as_secs_f64() * 1e9 / count as f64,
        ..cost
    })
}
