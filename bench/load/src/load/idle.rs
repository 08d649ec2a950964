//! Many connections that say nothing: what each costs in memory.

use std::io;

use super::echo::Bursts;
use super::{grown, until_quiet};
use crate::kernel::resident;
use crate::link::Target;
use crate::wire::BINARY;

/// The server's resident bytes for each connection.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    pub opened: f64,
    /// After a burst of 16 messages of 1 KiB on each connection, if it echoes.
    pub used: Option<f64>,
}

pub fn idle(target: &Target, pid: u32, count: usize, echoes: bool) -> io::Result<Idle> {
    let before = resident(pid)?;
    let links = target.open(count)?;
    until_quiet(pid)?;
    let opened = grown(pid, before, count)?;
    if !echoes {
        return Ok(Idle { opened, used: None });
    }
    let mut bursts = Bursts::new(links, BINARY, 1024, 16)?;
    bursts.each_once(64)?;
    until_quiet(pid)?;
    let used = Some(grown(pid, before, count)?);
    Ok(Idle { opened, used })
}
