//! How cost grows: with workers, connections, the size of messages, and subscribers.

use openline_bench::link::Target;
use openline_bench::load::{self, Fanout};
use openline_bench::wire::payload;

use super::echo::{Shape, echo};
use super::push::{Kind, fanout, thousands};
use super::{
    CPU, Job, MESSAGE_MEASURES, Measure, Workload, cost, nanoseconds, per_second, started,
};
use crate::servers::{OPENLINE, Program, RAW};

const EITHER_MEASURES: &[Measure] = &[
    Measure {
        name: CPU,
        title: "server CPU per message or delivery",
        show: nanoseconds,
        less_is_better: true,
    },
    Measure {
        name: super::RATE,
        title: "per second",
        show: per_second,
        less_is_better: false,
    },
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
                let case = format!("fan-out, 1,000 subscribers, {outstanding} outstanding");
                jobs.push(Job {
                    server: name.to_owned(),
                    program: Some(Program::Push {
                        workers,
                        tls: false,
                    }),
                    ..fanout(plan, &case, Kind::Openline, 1_000, outstanding)
                });
            }
        }
        Ok(jobs)
    },
};

pub(super) const CONNECTIONS: Workload = Workload {
    name: "growth-connections",
    title: "Growth with connections",
    about: "Echo of 125 bytes, one message at a time on each connection.",
    measures: MESSAGE_MEASURES,
    reference: Some(RAW),
    one_scale: true,
    jobs: |plan, _| {
        let mut jobs = Vec::new();
        for connections in up_to(&[64, 1_000, 5_000, 15_000], plan.leave_out) {
            for (server, program) in [
                (RAW, Program::Raw("echo", Some(125))),
                (OPENLINE, Program::Example("echo")),
            ] {
                let job = echo(
                    plan,
                    Shape::new(connections, 125, 1),
                    server,
                    program,
                    false,
                );
                let case = format!("{} connections", thousands(connections));
                jobs.push(Job { case, ..job });
            }
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
            for (server, program) in [
                (RAW, Program::Raw("echo", Some(size))),
                (OPENLINE, Program::Example("echo")),
            ] {
                let shape = Shape::new(16, size, 1);
                let case = shape.size_name();
                let job = echo(plan, shape, server, program, false);
                jobs.push(Job { case, ..job });
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
        for subscribers in up_to(&[10, 100, 1_000, 5_000, 15_000], plan.leave_out) {
            for kind in [Kind::Raw, Kind::Openline] {
                let case = format!("{} subscribers", thousands(subscribers));
                // Few subscribers make the publication itself visible: as many deliveries, not as many publications.
                let load = Fanout {
                    subscribers,
                    publications: (plan.deliveries / subscribers as u64)
                        .min(plan.deliveries / 100)
                        .max(3),
                    outstanding: 1,
                    stalled: 0,
                    watch_memory: false,
                };
                jobs.push(Job {
                    case,
                    server: kind.name().to_owned(),
                    program: Some(kind.program()),
                    rounds: plan.rounds,
                    run: Box::new(move |running| {
                        let running = started(running)?;
                        let target: Target = kind.target(running.port);
                        let publisher = kind.publisher(running.port, &payload(125));
                        Ok(cost(
                            load::fanout(&target, &publisher, running.pid(), &load)?.cost,
                        ))
                    }),
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
