//! Each connection sends a burst, takes the whole echo, and sends the next.

use std::io;
use std::time::{Duration, Instant};

use super::{Cost, Meter, STALLED, Watch, stalled, until_quiet};
use crate::kernel::Poll;
use crate::link::{Link, Target};
use crate::wire::{client_frame, frame, payload};

#[derive(Clone, Copy, Debug)]
pub struct Echo {
    pub connections: usize,
    /// Connections beside these that are open and say nothing.
    pub silent: usize,
    /// Bytes of payload a message.
    pub size: usize,
    /// Messages a burst.
    pub depth: usize,
    pub warm_up: Duration,
    pub time: Duration,
    /// Text or binary: text has to be checked.
    pub opcode: u8,
    /// Whether the payloads must come back as they were: a raw server does not look at them.
    pub check: bool,
}

/// Cost per message.
pub fn echo(target: &Target, pid: u32, plan: Echo) -> io::Result<Cost> {
    echo_watched(target, pid, plan, &mut ())
}

/// Cost per message, while somebody looks at the server.
pub fn echo_watched(
    target: &Target,
    pid: u32,
    plan: Echo,
    watch: &mut dyn Watch,
) -> io::Result<Cost> {
    // Those that speak are spread among all, as they would be.
    let all = target.open(plan.connections + plan.silent)?;
    let every = all.len() / plan.connections.max(1);
    let speaks = |number: usize| number.is_multiple_of(every) && number / every < plan.connections;
    let (links, silent): (Vec<_>, Vec<_>) = all
        .into_iter()
        .enumerate()
        .partition(|(number, _)| speaks(*number));
    let links = links.into_iter().map(|(_, link)| link).collect();
    until_quiet(pid)?;
    let mut bursts = Bursts::new(links, plan.opcode, plan.size, plan.depth)?;
    if plan.check {
        bursts.check_first();
    }
    let numbers = 0..plan.connections;
    bursts.begin(numbers)?;
    let warm = Instant::now() + plan.warm_up;
    while Instant::now() < warm {
        bursts.turn(true)?;
    }
    watch.begin()?;
    let before = bursts.messages;
    let meter = Meter::begin(pid)?;
    let begun = Instant::now();
    // Not less than these, lest echoes that were under way before make up much of what is counted; and within bounds.
    let least = (20 * plan.connections * plan.depth) as u64;
    while begun.elapsed() < plan.time
        || (bursts.messages - before < least && begun.elapsed() < plan.time * 10)
    {
        bursts.turn(true)?;
    }
    let count = bursts.messages - before;
    let cost = meter.cost(count)?;
    watch.end(count)?;
    drop(silent);
    Ok(cost)
}

/// Connections that send bursts and take their echoes.
pub(super) struct Bursts {
    connections: Vec<Connection>,
    poll: Poll,
    request: Vec<u8>,
    answer: Vec<u8>,
    /// Messages a burst.
    depth: u64,
    /// Messages whose echo has come.
    pub(super) messages: u64,
    check: bool,
    buffer: Vec<u8>,
    progress: Instant,
}

struct Connection {
    link: Link,
    /// Bytes of the echo that have come.
    have: usize,
    sent: bool,
    /// The first echo, as long as it is to be looked at.
    first: Option<Vec<u8>>,
}

impl Bursts {
    pub(super) fn new(links: Vec<Link>, opcode: u8, size: usize, depth: usize) -> io::Result<Self> {
        let payload = payload(size);
        let poll = Poll::new()?;
        for (number, link) in links.iter().enumerate() {
            poll.add(link.socket(), number)?;
        }
        let connections = links.into_iter().map(|link| Connection {
            link,
            have: 0,
            sent: true,
            first: None,
        });
        Ok(Self {
            connections: connections.collect(),
            poll,
            request: client_frame(opcode, &payload).repeat(depth),
            answer: frame(opcode, &payload, None).repeat(depth),
            depth: depth as u64,
            messages: 0,
            check: false,
            buffer: vec![0; 1 << 20],
            progress: Instant::now(),
        })
    }

    /// From now on, the next echo of each connection is compared byte by byte.
    pub(super) fn check_first(&mut self) {
        self.check = true;
        for connection in &mut self.connections {
            connection.first = Some(Vec::new());
        }
    }

    /// Sends a burst on each of these connections.
    pub(super) fn begin(&mut self, numbers: impl Iterator<Item = usize>) -> io::Result<()> {
        self.progress = Instant::now();
        for number in numbers {
            self.send(number)?;
        }
        Ok(())
    }

    fn send(&mut self, number: usize) -> io::Result<()> {
        let connection = &mut self.connections[number];
        let was_blocked = !connection.sent;
        connection.sent = connection.link.send(&self.request)?;
        if was_blocked == connection.sent {
            self.poll
                .want_room(connection.link.socket(), number, !connection.sent)?;
        }
        Ok(())
    }

    /// Takes what has come; a connection whose echo is whole sends again, if it is to go `on`.
    pub(super) fn turn(&mut self, on: bool) -> io::Result<()> {
        for ready in self.poll.wait(Some(Duration::from_millis(100)))? {
            let number = ready.number;
            if ready.writable && !self.connections[number].sent {
                self.send(number)?;
            }
            let connection = &mut self.connections[number];
            let first = &mut connection.first;
            connection.have += connection.link.receive(&mut self.buffer, |bytes| {
                if let Some(first) = first {
                    first.extend_from_slice(bytes);
                }
            })?;
            if connection.have < self.answer.len() || !connection.sent {
                continue;
            }
            if connection.have > self.answer.len() {
                return Err(io::Error::other("the server sent more than an echo"));
            }
            if first.take().is_some_and(|first| first != self.answer) {
                return Err(io::Error::other("the server's echo is not what was sent"));
            }
            connection.have = 0;
            self.messages += self.depth;
            self.progress = Instant::now();
            if on {
                self.send(number)?;
            }
        }
        if self.progress.elapsed() > STALLED {
            return Err(stalled("messages", self.messages, u64::MAX));
        }
        Ok(())
    }

    /// Sends one burst on each connection, so many at a time, and takes the echoes.
    pub(super) fn each_once(&mut self, at_once: usize) -> io::Result<()> {
        let all = self.connections.len();
        for start in (0..all).step_by(at_once) {
            let wave = start..all.min(start + at_once);
            let goal = self.messages + wave.len() as u64 * self.depth;
            self.begin(wave)?;
            while self.messages < goal {
                self.turn(false)?;
            }
        }
        Ok(())
    }
}
