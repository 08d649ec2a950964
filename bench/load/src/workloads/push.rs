//! The push server: fan-out, its compression, publishing, and subscribers that stall.

use std::io;

use openline_bench::link::Target;
use openline_bench::load::{self, Delivered, Fanout, Publisher};
use openline_bench::wire::{TEXT, client_frame, payload, upgrade_request};

use super::kinds::{Kind, post};
use super::{Job, Measure, Run, Workload, bytes, cost, cpu, nanoseconds, rate, started};
use crate::plan::Plan;
use crate::servers::{NCHAN, OPENLINE, PUSH, Place, Program, RAW, Running};

const DELIVERY_CPU: Measure = cpu("server CPU per delivery");
const DELIVERY_RATE: Measure = rate("deliveries per second");
const DELIVERY_WIRE: Measure = Measure {
    name: "wire",
    title: "bytes on the wire for a delivery",
    show: bytes,
    less_is_better: true,
};

pub(super) const FANOUT: Workload = Workload {
    name: "fanout",
    title: "Fan-out",
    about: "One publisher, many subscribers by WebSocket, messages of 125 bytes; so many publications are on their way at \
        once, each counted as done when all have it; *8 at once* are sent in one write, and the next ones when all of them are done. *raw* sends \
        what one receive gave it, which may be several frames, to each subscriber in one send; it is published to by a WebSocket, the others by HTTP on one kept-alive connection, which Sockudo closes after each. \
        [What each delivers](#push-servers-beside-it) is told below.",
    measures: &[DELIVERY_CPU, DELIVERY_RATE, DELIVERY_WIRE],
    reference: Some(RAW),
    one_scale: false,
    jobs: |plan, _| {
        let mut jobs = Vec::new();
        for (subscribers, outstanding) in [(1_000, 1), (1_000, 8), (10_000, 1), (10_000, 8)] {
            let shape = Shape::new(subscribers, outstanding);
            for kind in Kind::ALL {
                jobs.push(fanout(plan, shape, kind));
            }
            if outstanding > 1 {
                let shape = Shape {
                    at_once: outstanding,
                    ..shape
                };
                for kind in [Kind::Raw, Kind::Openline, Kind::UWebSockets] {
                    jobs.push(fanout(plan, shape, kind));
                }
            }
        }
        Ok(jobs)
    },
};

pub(super) fn thousands(count: usize) -> String {
    match count {
        0..1000 => count.to_string(),
        _ => format!("{},{:03}", count / 1000, count % 1000),
    }
}

/// Publications of so many bytes to so many subscribers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) subscribers: usize,
    /// So many publications are on their way at once.
    pub(super) outstanding: u64,
    /// So many are sent in one write.
    pub(super) at_once: u64,
    pub(super) size: usize,
}

impl Shape {
    pub(super) const fn new(subscribers: usize, outstanding: u64) -> Self {
        Self {
            subscribers,
            outstanding,
            at_once: 1,
            size: 125,
        }
    }

    pub(super) fn name(self) -> String {
        let how = match self.at_once {
            1 => format!("{} outstanding", self.outstanding),
            at_once => format!("{at_once} at once"),
        };
        format!("{} subscribers, {how}", thousands(self.subscribers))
    }
}

pub(super) fn fanout(plan: &Plan, shape: Shape, kind: Kind) -> Job {
    /// Of payload, in one measurement.
    const BYTES: u64 = 2 << 30;
    let deliveries = match kind {
        // Eight at once are cheaper to those that put them together, and take longer to be told from noise.
        Kind::Raw | Kind::Openline | Kind::UWebSockets if shape.outstanding > 1 => {
            plan.deliveries * 3
        }
        // They cost so much that fewer are told from it.
        Kind::Sockudo | Kind::SocketIo | Kind::Ws => plan.deliveries / 2,
        _ => plan.deliveries,
    };
    let deliveries = deliveries.min(BYTES / shape.size as u64);
    let rounds = if shape.subscribers > 1_000 {
        plan.long_rounds
    } else {
        plan.rounds
    };
    let load = Fanout {
        subscribers: shape.subscribers,
        publications: (deliveries / shape.subscribers as u64).max(2 * shape.outstanding),
        outstanding: shape.outstanding,
        at_once: shape.at_once,
        stalled: 0,
        watch_memory: false,
    };
    Job {
        case: shape.name(),
        server: kind.name().to_owned(),
        program: Some(kind.program()),
        rounds,
        run: Run::alone(move |running| {
            let running = started(running)?;
            let publisher = kind.publisher(running.port, &payload(shape.size));
            let done = load::fanout(&kind.target(running.port), &publisher, running.pid(), &load)?;
            let wire = ("wire", done.wire);
            Ok(cost(done.cost).into_iter().chain([wire]).collect())
        }),
    }
}

/// A message of about 1 KiB as programs send them, of which compression leaves a third or so.
fn telling() -> Vec<u8> {
    let flights: Vec<String> = (0..8)
        .map(|number| {
            format!(
                r#"{{"flight":"UA{}-EWR","status":"{}","late_min":{},"gate":"{}{}","tail":"N{}"}}"#,
                1500 + number * 137 % 900,
                ["scheduled", "boarding", "late", "departed"][number % 4],
                number * 7919 % 61,
                char::from(b'A' + (number % 5) as u8),
                number * 31 % 40,
                70_000 + number * 7_307 % 9_999
            )
        })
        .collect();
    format!("[{}]", flights.join(",")).into_bytes()
}

const COMPRESSED: &str = "permessage-deflate";
const PLAIN: &str = "plain";

pub(super) const DEFLATE: Workload = Workload {
    name: "fanout-deflate",
    title: "Fan-out with compression",
    about: "A message of 0.7 KB to 1,000 subscribers, one at a time: compressed once for all, against plain messages as long as the \
        compressed ones. By a program on the library that sends what it hears to all others, and by the push server.",
    measures: &[DELIVERY_CPU, DELIVERY_RATE],
    reference: Some(PLAIN),
    one_scale: false,
    jobs: |plan, place| {
        let library = Deflating {
            name: "library",
            plain: Program::Own("fan", None),
            deflating: Program::Own("fan-deflate", None),
            path: "/",
            by_post: false,
        };
        let push = |compression| Program::Push {
            workers: 1,
            tls: false,
            compression,
        };
        let push = Deflating {
            name: "push server",
            plain: push(false),
            deflating: push(true),
            path: "/channels/bench",
            by_post: true,
        };
        let mut jobs = Vec::new();
        for one in [library, push] {
            jobs.extend(one.jobs(plan, place)?);
        }
        Ok(jobs)
    },
};

/// A server with compression, and the same without.
#[derive(Clone, Debug)]
struct Deflating {
    name: &'static str,
    plain: Program,
    deflating: Program,
    /// Where one listens, and publishes: by HTTP, or else by WebSocket.
    path: &'static str,
    by_post: bool,
}

impl Deflating {
    fn jobs(self, plan: &Plan, place: &Place) -> io::Result<[Job; 2]> {
        let load = Fanout {
            subscribers: 1_000,
            publications: plan.deliveries / 1_000,
            outstanding: 1,
            at_once: 1,
            stalled: 0,
            watch_memory: false,
        };
        // How long a frame becomes.
        let few = Fanout {
            subscribers: 2,
            publications: 2,
            ..load.clone()
        };
        let body = telling();
        let wire = self
            .fanout(&self.deflating.start(place)?, true, &body, &few)?
            .wire;
        let size = wire as usize - if wire < 128.0 { 2 } else { 4 };
        let case = format!("{}, {size} bytes of {}", self.name, body.len());
        let job = |server: &str, program: &Program, offers: bool, body: Vec<u8>| {
            let (one, load) = (self.clone(), load.clone());
            Job {
                case: case.clone(),
                server: server.to_owned(),
                program: Some(program.clone()),
                rounds: plan.rounds,
                run: Run::alone(move |running| {
                    let done = one.fanout(started(running)?, offers, &body, &load)?;
                    Ok(cost(done.cost))
                }),
            }
        };
        Ok([
            job(PLAIN, &self.plain, false, payload(size)),
            job(COMPRESSED, &self.deflating, true, body),
        ])
    }

    /// To subscribers that offer permessage-deflate, or do not.
    fn fanout(
        &self,
        running: &Running,
        offers: bool,
        body: &[u8],
        load: &Fanout,
    ) -> io::Result<Delivered> {
        const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover\r\n";
        let (port, path) = (running.port, self.path);
        let target = Target {
            request: upgrade_request(port, path, if offers { OFFER } else { "" }),
            least: 125,
            ..Target::websocket(port, path)
        };
        let publisher = if self.by_post {
            Publisher::Request(port, post(port, path, body))
        } else {
            // The publisher's own messages go uncompressed, which is a sender's right.
            Publisher::Frame(target.clone(), client_frame(TEXT, body))
        };
        load::fanout(&target, &publisher, running.pid(), load)
    }
}

const HYPER: &str = "hyper";

pub(super) const PUBLISH: Workload = Workload {
    name: "publish",
    title: "Publishing",
    about: "`POST` of 125 bytes on one kept-alive connection, one after the other, to a channel without subscribers. *hyper* is \
        a bare hyper that answers the same request with its body.",
    measures: &[
        cpu("server CPU per publication"),
        rate("publications per second"),
    ],
    reference: Some(HYPER),
    one_scale: false,
    jobs: |plan, _| {
        let (warm_up, time) = (plan.warm_up, plan.time);
        let job = |(server, program, path): (&str, Program, &'static str)| Job {
            case: "125 B".to_owned(),
            server: server.to_owned(),
            program: Some(program),
            rounds: plan.rounds,
            run: Run::alone(move |running| {
                let running = started(running)?;
                let request = post(running.port, path, &payload(125));
                Ok(cost(load::publish(
                    running.port,
                    running.pid(),
                    &request,
                    warm_up,
                    time,
                )?))
            }),
        };
        Ok([
            (HYPER, Program::Raw("hyper", None), "/channels/bench"),
            (OPENLINE, PUSH, "/channels/bench"),
            (NCHAN, Program::Nchan, "/publish"),
        ]
        .map(job)
        .into())
    },
};

const ALL_READ: &str = "all read";
const ONE_STALLS: &str = "one stalls";

pub(super) const STALLED: Workload = Workload {
    name: "stalled",
    title: "One stalled subscriber among 1,000",
    about: "Publications of 64 KiB, one at a time, to 1,000 subscribers of the push server that read; then the same with one more \
        that never does: more than the kernel's buffers and its queue hold. The time is from publishing to each delivery to those that \
        read; the memory is by how much the server's resident memory grew at most.",
    measures: &[
        Measure {
            name: "p99",
            title: "p99 of a delivery",
            show: nanoseconds,
            less_is_better: true,
        },
        Measure {
            name: "p50",
            title: "p50",
            show: nanoseconds,
            less_is_better: true,
        },
        Measure {
            name: "grown",
            title: "memory grown",
            show: bytes,
            less_is_better: true,
        },
        Measure {
            name: "let go",
            title: "stalled ones let go",
            show: |count| format!("{count:.0}"),
            less_is_better: true,
        },
    ],
    reference: Some(ALL_READ),
    one_scale: false,
    jobs: |plan, _: &Place| -> io::Result<Vec<Job>> {
        let job = |(server, stalled): (&str, usize)| Job {
            case: "1,000 subscribers, 64 KiB".to_owned(),
            server: server.to_owned(),
            program: Some(Kind::Openline.program()),
            rounds: plan.rounds,
            run: Run::alone(move |running| {
                let running = started(running)?;
                let load = Fanout {
                    subscribers: 1_000,
                    publications: 120,
                    outstanding: 1,
                    at_once: 1,
                    stalled,
                    watch_memory: true,
                };
                let publisher = Kind::Openline.publisher(running.port, &payload(64 * 1024));
                let target = Kind::Openline.target(running.port);
                let done = load::fanout(&target, &publisher, running.pid(), &load)?;
                Ok(vec![
                    ("p99", done.p99.as_nanos() as f64),
                    ("p50", done.p50.as_nanos() as f64),
                    ("grown", done.grown as f64),
                    ("let go", done.let_go as f64),
                ])
            }),
        };
        Ok([(ALL_READ, 0), (ONE_STALLS, 1)].map(job).into())
    },
};
