//! What only the kernel can tell or do: CPU time, memory, affinity, descriptors.

use std::fs;
use std::io;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// User and system time of a whole process, its threads that have ended included, in nanoseconds: no ticks.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid as i32))?;
    Ok(clock_gettime(clock)?.into())
}

/// Resident memory of a process in bytes, counted page by page: `VmRSS` is rounded by the kernel's per-CPU counters.
pub fn resident(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let found = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kibibytes =
        found.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kibibytes
        .map(|count| count * 1024)
        .ok_or_else(|| io::Error::other("smaps_rollup has no Rss line"))
}

/// The processors that this process may use.
pub fn processors() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .collect())
}

/// Pins the calling thread, and whatever it starts from now on, to one processor.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Allows as many open files as the system lets this process have; returns how many that are.
pub fn raise_open_files() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// Readiness of many sockets, each known by a number.
#[derive(Debug)]
pub struct Poll {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

/// What a socket is ready for.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub number: usize,
    pub writable: bool,
}

impl Poll {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); 1024],
        })
    }

    pub fn add(&self, socket: impl std::os::fd::AsFd, number: usize) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
        Ok(self.epoll.add(socket, event)?)
    }

    /// Asks for room to write too, or no longer.
    pub fn want_room(
        &self,
        socket: impl std::os::fd::AsFd,
        number: usize,
        room: bool,
    ) -> io::Result<()> {
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, room);
        Ok(self
            .epoll
            .modify(socket, &mut EpollEvent::new(flags, number as u64))?)
    }

    /// The sockets that are ready, `None` of them when the time is over. Each call gives up to 1,024.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
    ) -> io::Result<impl Iterator<Item = Ready> + use<>> {
        let timeout = match timeout {
            None => EpollTimeout::NONE,
            Some(time) => EpollTimeout::try_from(time).map_err(io::Error::other)?,
        };
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Err(nix::errno::Errno::EINTR) => 0,
            other => other?,
        };
        let ready: Vec<Ready> = self.events[..count]
            .iter()
            .map(|event| Ready {
                number: event.data() as usize,
                writable: event.events().contains(EpollFlags::EPOLLOUT),
            })
            .collect();
        Ok(ready.into_iter())
    }
}
