//! Echo, plain and over TLS; its latency; and the opening of connections.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use openline_bench::link::Target;
use openline_bench::load::{self, Echo, RoundTrips};
use openline_bench::wire::{BINARY, TEXT};

use super::{
    Job, MESSAGE_MEASURES, Measure, Run, Shares, Together, Workload, cost, cpu, nanoseconds, rate,
    started,
};
use crate::plan::Plan;
use crate::servers::{BATCHING_PEERS, OPENLINE, PEERS, Place, Program, RAW, UWEBSOCKETS};

/// Binary messages over so many connections, of so many bytes, so many at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) connections: usize,
    pub(super) size: usize,
    pub(super) depth: usize,
    /// Text instead.
    pub(super) text: bool,
    /// Connections beside these that are open and say nothing.
    pub(super) silent: usize,
}

impl Shape {
    pub(super) const fn new(connections: usize, size: usize, depth: usize) -> Self {
        Self {
            connections,
            size,
            depth,
            text: false,
            silent: 0,
        }
    }

    pub(super) fn name(self) -> String {
        let Self {
            connections,
            size,
            depth,
            text,
            ..
        } = self;
        let what = if text { ", text" } else { "" };
        format!("{connections} × {} × {depth} deep{what}", size_name(size))
    }
}

pub(super) fn size_name(size: usize) -> String {
    match size {
        size if size % (1 << 20) == 0 => format!("{} MiB", size >> 20),
        size if size % 1024 == 0 => format!("{} KiB", size / 1024),
        size => format!("{size} B"),
    }
}

const SHAPES: [Shape; 4] = [
    Shape::new(64, 125, 16),
    Shape::new(64, 1024, 16),
    Shape::new(64, 125, 1),
    Shape::new(64, 16_384, 4),
];

pub(super) const PLAIN: Workload = Workload {
    name: "echo",
    title: "Echo",
    about: "Each of the connections sends a burst of binary messages in one write, waits until all are echoed, and sends the \
        next. *raw* receives once and sends once as many bytes as are due, without looking at them. Text has to be checked, which *raw* does not do.",
    measures: MESSAGE_MEASURES,
    reference: Some(RAW),
    one_scale: false,
    jobs: |plan, _| {
        let mut jobs = Vec::new();
        let text = Shape {
            text: true,
            ..SHAPES[0]
        };
        for shape in SHAPES.into_iter().chain([text]) {
            let batching = BATCHING_PEERS.into_iter().filter(|_| shape.depth > 1);
            let batching = batching.map(|name| (name, Program::Peer(name)));
            for (server, program) in every_server(shape.size).chain(batching) {
                jobs.push(echo(plan, shape, server, program, false));
            }
        }
        Ok(jobs)
    },
};

pub(super) const TLS: Workload = Workload {
    name: "tls",
    title: "Echo over TLS 1.3",
    about: "The same over TLS 1.3 (AES-256-GCM, `ring`). *raw* is a bare rustls that echoes as many bytes.",
    measures: MESSAGE_MEASURES,
    reference: Some(RAW),
    one_scale: false,
    jobs: |plan, _| {
        let mut jobs = Vec::new();
        for shape in SHAPES {
            for (server, program) in [
                (RAW, Program::Raw("tls", Some(shape.size))),
                (OPENLINE, Program::Example("echo_tls")),
            ] {
                jobs.push(echo(plan, shape, server, program, true));
            }
        }
        Ok(jobs)
    },
};

/// One echo job.
pub(super) fn echo(plan: &Plan, shape: Shape, server: &str, program: Program, tls: bool) -> Job {
    let load = Echo {
        connections: shape.connections,
        silent: shape.silent,
        size: shape.size,
        depth: shape.depth,
        warm_up: plan.warm_up,
        time: plan.time,
        opcode: if shape.text { TEXT } else { BINARY },
        check: server != RAW,
    };
    Job {
        case: shape.name(),
        server: server.to_owned(),
        program: Some(program),
        rounds: plan.rounds,
        run: Run::alone(move |running| {
            let running = started(running)?;
            let mut target = Target::websocket(running.port, "/");
            if tls {
                target = target.over_tls();
            }
            Ok(cost(load::echo(&target, running.pid(), load)?))
        }),
    }
}

/// The servers of an echo without peers.
pub(super) const fn raw_and_ours(size: usize) -> [(&'static str, Program); 2] {
    [
        (RAW, Program::Raw("echo", Some(size))),
        (OPENLINE, Program::Example("echo")),
    ]
}

fn every_server(size: usize) -> impl Iterator<Item = (&'static str, Program)> {
    raw_and_ours(size)
        .into_iter()
        .chain([(UWEBSOCKETS, Program::UWebSockets)])
        .chain(PEERS.map(|name| (name, Program::Peer(name))))
}

pub(super) const LATENCY: Workload = Workload {
    name: "latency",
    title: "Latency at low load",
    about: "One connection, one message of 125 bytes at a time: the time of a round trip. All servers run at once, and are asked in turns of a hundred \
        round trips, so that what disturbs the machine disturbs all alike; only one of them has anything to do at a time.",
    measures: &[
        Measure {
            name: "p50",
            title: "p50",
            show: nanoseconds,
            less_is_better: true,
        },
        Measure {
            name: "p99",
            title: "p99",
            show: nanoseconds,
            less_is_better: true,
        },
    ],
    reference: Some(RAW),
    one_scale: false,
    jobs: |plan, place| {
        let count = plan.round_trips;
        let installed: Vec<_> = every_server(LATENCY_SIZE)
            .filter(|(_, program)| program.missing(place).is_none())
            .collect();
        let in_turns = RefCell::new(installed);
        let place = place.clone();
        let all = Together::new(move || latencies(&mut in_turns.borrow_mut(), &place, count));
        let job = |(server, program): (&str, Program)| Job {
            case: Shape::new(1, LATENCY_SIZE, 1).name(),
            server: server.to_owned(),
            program: Some(program),
            rounds: plan.rounds,
            run: Run::Together(Rc::clone(&all)),
        };
        Ok(every_server(LATENCY_SIZE).map(job).collect())
    },
};

const LATENCY_SIZE: usize = 125;

/// All servers run, and each has its turn again and again; one that fails is left out from then on.
fn latencies(servers: &mut Vec<(&'static str, Program)>, place: &Place, count: usize) -> Shares {
    let mut shares = Shares::new();
    let begin = |program: &Program| {
        let running = program.start(place)?;
        let asks = RoundTrips::new(&Target::websocket(running.port, "/"), LATENCY_SIZE)?;
        Ok((running, asks))
    };
    let mut open = Vec::new();
    servers.retain(|(name, program)| match begin(program) {
        Ok(begun) => {
            open.push((*name, begun));
            true
        }
        Err(error) => {
            shares.insert((*name).to_owned(), Err(error));
            false
        }
    });
    for _ in 0..count.div_ceil(TURN) {
        open.retain_mut(|(name, (_, asks))| match asks.turn(TURN) {
            Ok(()) => true,
            Err(error) => {
                servers.retain(|(other, _)| other != name);
                shares.insert((*name).to_owned(), Err(error));
                false
            }
        });
    }
    for (name, (_, mut asks)) in open {
        let [p50, p99] = asks.quantiles([0.5, 0.99]);
        let values = vec![
            ("p50", p50.as_nanos() as f64),
            ("p99", p99.as_nanos() as f64),
        ];
        shares.insert(name.to_owned(), Ok(values));
    }
    shares
}

/// Round trips of one server before another's turn: some milliseconds, which is less than what disturbs a machine lasts.
const TURN: usize = 100;

pub(super) const CONNECTS: Workload = Workload {
    name: "connects",
    title: "New connections",
    about: "From TCP's handshake to the answer 101, 64 under way at once; closing them again is not counted. *raw* sends \
        a fixed answer to whatever it receives.",
    measures: &[
        cpu("server CPU per connection"),
        rate("connections per second"),
    ],
    reference: Some(RAW),
    one_scale: false,
    jobs: |plan, _: &Place| -> io::Result<Vec<Job>> {
        let count = plan.connects;
        let job = |(server, program): (&str, Program)| Job {
            case: "TCP accept to 101".to_owned(),
            server: server.to_owned(),
            program: Some(program),
            rounds: plan.rounds,
            run: Run::alone(move |running| {
                let running = started(running)?;
                let target = Target::websocket(running.port, "/");
                Ok(cost(load::connects(&target, running.pid(), count)?))
            }),
        };
        Ok(every_server(125).map(job).collect())
    },
};
