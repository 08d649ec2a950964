//! How cost grows: with workers, connections, the size of messages, and subscribers.

use openline_bench::link::Target;

use super::echo::{Shape, echo, raw_and_ours, size_name};
use super::kinds::Kind;
use super::memory::{OPENED_MEASURES, idle};
use super::push::{self, fanout, thousands};
use super::{Job, MESSAGE_MEASURES, Measure, Workload, cpu, rate};
use crate::servers::{PUSH, Program, RAW};

const EITHER_MEASURES: &[Measure] = &[
    cpu("server CPU per message or delivery"),
    rate("per second"),
];

const ONE: &str = "one worker";
const TWO: &str = "two workers";

pub(super) const WORKERS: Workload = Workload {
    name: "workers",
    title: "Two workers on one processor",
    about: "Two workers share the one processor that one worker had: what they cost more is what workers share.",
    measures: EITHER_MEASURES,
    reference: Some(ONE),
    one_scale: false,
    jobs: |plan, _| {
        let mut jobs = Vec::new();
        for depth in [1, 16] {
            for (name, workers) in [(ONE, 1), (TWO, 2)] {
                let job = echo(
                    plan,
                    Shape::new(64, 125, depth),
                    name,
                    Program::Own("echo", Some(workers)),
                    false,
                );
                let case = format!("echo, {}", job.case);
                jobs.push(Job { case, ..job });
            }
        }
        for outstanding in [1, 8] {
            for (name, workers) in [(ONE, 1), (TWO, 2)] {
                let job = fanout(plan, push::Shape::new(1_000, outstanding), Kind::Openline);
                jobs.push(Job {
                    case: format!("fan-out, {}", job.case),
                    server: name.to_owned(),
                    program: Some(Program::Push {
                        workers,
                        tls: false,
                        compression: false,
                    }),
                    ..job
                });
            }
        }
        Ok(jobs)
    },
};

pub(super) const CONNECTIONS: Workload = Workload {
    name: "growth-connections",
    title: "Growth with connections",
    about: "Echo of 125 bytes, one message at a time on each connection that speaks: 64 of those that are open, or all of them. What \
        all of them cost more than 64 is what the processor's caches do not hold, the kernel's sockets first: *raw* has it too.",
    measures: MESSAGE_MEASURES,
    reference: Some(RAW),
    one_scale: true,
    jobs: |plan, _| {
        let mut jobs = Vec::new();
        for open in up_to(&OPEN, plan.leave_out) {
            for speaking in [64, open] {
                for (server, program) in raw_and_ours(125) {
                    let shape = Shape {
                        silent: open - speaking,
                        ..Shape::new(speaking, 125, 1)
                    };
                    let speak = if speaking == open { "all" } else { "64" };
                    let case = format!("{} open, {speak} speak", thousands(open));
                    jobs.push(Job {
                        case,
                        rounds: plan.long_rounds,
                        ..echo(plan, shape, server, program, false)
                    });
                }
            }
        }
        Ok(jobs)
    },
};

/// How many connections are open.
const OPEN: [usize; 3] = [1_000, 5_000, 15_000];

pub(super) const MEMORY: Workload = Workload {
    name: "growth-memory",
    title: "Growth of memory with connections",
    about: "Resident memory for each connection of the echo server, and for each subscriber of the push server by WebSocket, that \
        says nothing, after the handshake.",
    measures: OPENED_MEASURES,
    reference: None,
    one_scale: true,
    jobs: |plan, _| {
        let mut jobs = Vec::new();
        for open in up_to(&OPEN, plan.leave_out) {
            let case = format!("{} open", thousands(open));
            for (server, program) in [
                (RAW, Program::Raw("echo", Some(125))),
                ("echo server", Program::Example("echo")),
            ] {
                let target = |port| Target::websocket(port, "/");
                jobs.push(idle(plan, &case, server, program, open, false, target));
            }
            let target = |port| Kind::Openline.target(port);
            jobs.push(idle(plan, &case, "push server", PUSH, open, false, target));
        }
        Ok(jobs)
    },
};

pub(super) const SIZES: Workload = Workload {
    name: "growth-sizes",
    title: "Growth with the size of messages",
    about: "Echo, 16 connections, one message at a time.",
    measures: MESSAGE_MEASURES,
    reference: Some(RAW),
    one_scale: false,
    jobs: |plan, _| {
        let mut jobs = Vec::new();
        for size in up_to(&[16, 256, 4_096, 65_536, 1 << 20], plan.leave_out) {
            for (server, program) in raw_and_ours(size) {
                let shape = Shape::new(16, size, 1);
                jobs.push(Job {
                    case: size_name(size),
                    rounds: plan.long_rounds,
                    ..echo(plan, shape, server, program, false)
                });
            }
        }
        Ok(jobs)
    },
};

pub(super) const SUBSCRIBERS: Workload = Workload {
    name: "growth-subscribers",
    title: "Growth with subscribers",
    about: "Fan-out of 125 bytes by the push server, one publication at a time.",
    measures: EITHER_MEASURES,
    reference: Some(RAW),
    one_scale: true,
    jobs: |plan, _| {
        let mut jobs = Vec::new();
        for subscribers in up_to(&[100, 1_000, 10_000], plan.leave_out) {
            for kind in [Kind::Raw, Kind::Openline] {
                jobs.push(Job {
                    case: format!("{} subscribers", thousands(subscribers)),
                    rounds: plan.long_rounds,
                    ..fanout(plan, push::Shape::new(subscribers, 1), kind)
                });
            }
        }
        Ok(jobs)
    },
};

pub(super) const PUBLICATIONS: Workload = Workload {
    name: "growth-publications",
    title: "Growth with the size of publications",
    about: "Fan-out by the push server to 1,000 subscribers, one publication at a time.",
    measures: EITHER_MEASURES,
    reference: Some(RAW),
    one_scale: false,
    jobs: |plan, _| {
        let mut jobs = Vec::new();
        for size in up_to(&[125, 1_024, 8_192, 65_536], plan.leave_out) {
            for kind in [Kind::Raw, Kind::Openline] {
                let shape = push::Shape {
                    size,
                    ..push::Shape::new(1_000, 1)
                };
                jobs.push(Job {
                    case: size_name(size),
                    rounds: plan.long_rounds,
                    ..fanout(plan, shape, kind)
                });
            }
        }
        Ok(jobs)
    },
};

/// The series, without its last ones.
fn up_to(series: &[usize], leave_out: usize) -> Vec<usize> {
    series[..series.len() - leave_out].to_vec()
}
