//! One publisher, many subscribers: what a delivery costs, and how long it takes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use super::{Cost, Meter, STALLED, Watch, quantile, stalled, until_quiet};
use crate::kernel::{Poll, resident};
use crate::link::{Link, Target};
use crate::wire::Frames;

/// How publications get to the server.
#[derive(Clone, Debug)]
pub enum Publisher {
    /// As a WebSocket frame on a connection of its own.
    Frame(Target, Vec<u8>),
    /// As an HTTP request on a kept-alive connection.
    Request(u16, Vec<u8>),
    /// As an HTTP request on a connection for each, to a server that closes it.
    Requests(u16, Vec<u8>),
}

#[derive(Clone, Debug)]
pub struct Fanout {
    pub subscribers: usize,
    /// Publications to deliver, after a tenth as many to warm up.
    pub publications: u64,
    /// Publications that may be on their way at once.
    pub outstanding: u64,
    /// Publications that are sent in one write.
    pub at_once: u64,
    /// Subscribers beside the others that never read.
    pub stalled: usize,
    /// Whether to watch the server's memory meanwhile.
    pub watch_memory: bool,
}

/// What it came to.
#[derive(Clone, Copy, Debug)]
pub struct Delivered {
    /// Per delivery.
    pub cost: Cost,
    /// From sending the publication to a delivery, if one is on its way at once.
    pub p50: Duration,
    pub p99: Duration,
    /// By how much the server's resident memory grew at most, in bytes.
    pub grown: u64,
    /// Subscribers that never read and were closed for it.
    pub let_go: usize,
    /// Bytes on the wire for each delivery.
    pub wire: f64,
}

const PUBLISHER: usize = usize::MAX;

pub fn fanout(
    target: &Target,
    publisher: &Publisher,
    pid: u32,
    plan: &Fanout,
) -> io::Result<Delivered> {
    fanout_watched(target, publisher, pid, plan, &mut ())
}

/// The same, while somebody looks at the server.
pub fn fanout_watched(
    target: &Target,
    publisher: &Publisher,
    pid: u32,
    plan: &Fanout,
    watch: &mut dyn Watch,
) -> io::Result<Delivered> {
    let slow = Target {
        receive_buffer: Some(4096),
        ..target.clone()
    };
    let stuck = slow.open(plan.stalled)?;
    let links = target.open(plan.subscribers)?;
    until_quiet(pid)?;
    let mut load = Load::new(links, target.least, publisher, plan)?;
    load.run(plan.publications / 10 + 1)?;
    until_quiet(pid)?;
    load.begin();
    watch.begin()?;
    let before = resident(pid)?;
    let meter = Meter::begin(pid)?;
    load.watched = (plan.watch_memory).then_some(pid);
    load.run(plan.publications)?;
    let cost = meter.cost(load.deliveries)?;
    watch.end(load.deliveries)?;
    let mut let_go = 0;
    for link in stuck {
        let_go += usize::from(was_let_go(link)?);
    }
    load.latencies.sort_unstable();
    Ok(Delivered {
        cost,
        p50: quantile(&load.latencies, 0.5),
        p99: quantile(&load.latencies, 0.99),
        grown: load.most.saturating_sub(before),
        let_go,
        wire: load.bytes as f64 / load.deliveries as f64,
    })
}

/// Whether the server has closed this connection: what it sent ends with a Close frame, or nothing is left of it.
fn was_let_go(mut link: Link) -> io::Result<bool> {
    const PATIENCE: Duration = Duration::from_secs(1);
    link.socket().set_nonblocking(false)?;
    link.socket().set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; 256 * 1024];
    let mut frames = Frames::default();
    while !frames.has_closed() {
        match link.read_some(&mut buffer) {
            Ok(count) => {
                frames.count(&buffer[..count]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

struct Load {
    poll: Poll,
    subscribers: Vec<(Link, Frames)>,
    publisher: Way,
    /// All that is sent in one write, or one of them where each has a connection of its own.
    publication: Vec<u8>,
    outstanding: u64,
    at_once: u64,
    deliveries: u64,
    bytes: u64,
    latencies: Vec<Duration>,
    /// Whose memory to look at now and then, which stops it for a moment; and the most that was seen.
    watched: Option<u32>,
    most: u64,
}

enum Way {
    Tcp(TcpStream),
    Link(Link),
    /// A port, and connections whose answers are still to be heard.
    Each(u16, Vec<TcpStream>),
}

impl Load {
    /// Frames of fewer than `least` bytes are no deliveries.
    fn new(links: Vec<Link>, least: u64, publisher: &Publisher, plan: &Fanout) -> io::Result<Self> {
        let poll = Poll::new()?;
        for (number, link) in links.iter().enumerate() {
            poll.add(link.socket(), number)?;
        }
        let at_once = |publication: &[u8]| publication.repeat(plan.at_once as usize);
        let (publisher, publication) = match publisher {
            Publisher::Frame(target, frame) => {
                let mut link = target.begin(0)?;
                link.finish(target)?;
                poll.add(link.socket(), PUBLISHER)?;
                (Way::Link(link), at_once(frame))
            }
            Publisher::Request(port, request) => {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                poll.add(&stream, PUBLISHER)?;
                (Way::Tcp(stream), at_once(request))
            }
            Publisher::Requests(port, request) => (Way::Each(*port, Vec::new()), request.clone()),
        };
        Ok(Self {
            poll,
            subscribers: links
                .into_iter()
                .map(|link| (link, Frames::at_least(least)))
                .collect(),
            publisher,
            publication,
            outstanding: plan.outstanding,
            at_once: plan.at_once,
            deliveries: 0,
            bytes: 0,
            latencies: Vec::new(),
            watched: None,
            most: 0,
        })
    }

    fn begin(&mut self) {
        self.deliveries = 0;
        self.bytes = 0;
        self.latencies.clear();
    }

    /// Publishes at least so many, keeping as many as allowed on their way, and takes all deliveries.
    fn run(&mut self, publications: u64) -> io::Result<()> {
        let publications = publications.next_multiple_of(self.at_once);
        let each = self.subscribers.len() as u64;
        let start = self.deliveries;
        let goal = start + publications * each;
        let mut published = 0;
        let mut sent = Instant::now();
        let mut progress = sent;
        let mut buffer = vec![0; 256 * 1024];
        let mut heard = Vec::new();
        while self.deliveries < goal {
            while published < publications
                && start + (published + self.at_once) * each
                    <= self.deliveries + self.outstanding * each
            {
                sent = Instant::now();
                self.publish()?;
                published += self.at_once;
                if let Some(pid) = self.watched {
                    self.most = self.most.max(resident(pid)?);
                }
            }
            for ready in self.poll.wait(Some(Duration::from_millis(100)))? {
                if ready.number == PUBLISHER {
                    self.hear(&mut buffer, &mut heard)?;
                    continue;
                }
                let (link, frames) = &mut self.subscribers[ready.number];
                let mut ended = 0;
                self.bytes +=
                    link.receive(&mut buffer, |bytes| ended += frames.count(bytes))? as u64;
                self.deliveries += ended;
                progress = Instant::now();
                if self.outstanding == 1 && ended > 0 {
                    self.latencies.push(progress - sent);
                }
            }
            if progress.elapsed() > STALLED {
                self.hear_all()?;
                return Err(stalled("deliveries", self.deliveries, goal));
            }
        }
        self.hear_all()
    }

    fn publish(&mut self) -> io::Result<()> {
        match &mut self.publisher {
            Way::Tcp(stream) => stream.write_all(&self.publication),
            Way::Link(link) => {
                link.send(&self.publication)?;
                Ok(())
            }
            Way::Each(port, asked) => {
                for _ in 0..self.at_once {
                    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?;
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(STALLED))?;
                    stream.write_all(&self.publication)?;
                    asked.push(stream);
                }
                Ok(())
            }
        }
    }

    /// Takes the answers that nobody waited for.
    fn hear_all(&mut self) -> io::Result<()> {
        if let Way::Each(_, asked) = &mut self.publisher {
            for mut stream in asked.drain(..) {
                super::publish::hear(&mut stream)?;
            }
        }
        Ok(())
    }

    /// What the publisher is told. An answer that is an error would otherwise look like a server that stalls.
    fn hear(&mut self, buffer: &mut [u8], heard: &mut Vec<u8>) -> io::Result<()> {
        let stream = match &mut self.publisher {
            Way::Tcp(stream) => stream,
            Way::Link(link) => return link.receive(buffer, |_| {}).map(drop),
            Way::Each(..) => return Ok(()),
        };
        let count = match stream.read(buffer) {
            Ok(0) => {
                return Err(io::Error::other(
                    "the server closed the publisher's connection",
                ));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            other => other?,
        };
        heard.extend_from_slice(&buffer[..count]);
        while let Some(length) = crate::wire::answer_length(heard)
            && length <= heard.len()
        {
            if !heard.starts_with(b"HTTP/1.1 2") {
                let said = String::from_utf8_lossy(&heard[..length]);
                return Err(io::Error::other(format!("the server answered:\n{said}")));
            }
            heard.drain(..length);
        }
        Ok(())
    }
}
