//! What a connection that says nothing costs in resident memory.

use std::io;

use openline_bench::link::Target;
use openline_bench::load;

use super::kinds::Kind;
use super::{Job, Measure, Run, Workload, bytes, started};
use crate::plan::Plan;
use crate::servers::{NCHAN, OPENLINE, PEERS, PUSH, Place, Program, RAW, UWEBSOCKETS};

/// From a server's port to how one connects there.
type ToTarget = fn(u16) -> Target;

const WEBSOCKET: &str = "WebSocket";
const OPENED: &str = "opened";
const USED: &str = "used";

const MEASURES: &[Measure] = &[
    Measure {
        name: OPENED,
        title: "after the handshake",
        show: bytes,
        less_is_better: true,
    },
    Measure {
        name: USED,
        title: "after 16 × 1 KiB on each",
        show: bytes,
        less_is_better: true,
    },
];

pub(super) const OPENED_MEASURES: &[Measure] = &[Measure {
    name: OPENED,
    title: "memory for each",
    show: bytes,
    less_is_better: true,
}];

pub(super) const CONNECTIONS: Workload = Workload {
    name: "idle",
    title: "Idle connections",
    about: "Resident memory of the echo server for each of 15,000 connections that say nothing: after the handshake, and \
        again after each has echoed a burst of 16 messages of 1 KiB, 64 connections at a time. The kernel's sockets are not in it.",
    measures: MEASURES,
    reference: None,
    one_scale: true,
    jobs: |plan, _| {
        let peers = PEERS.map(|name| (name, Program::Peer(name)));
        let own = [
            (RAW, Program::Raw("echo", Some(1024))),
            (OPENLINE, Program::Example("echo")),
            (UWEBSOCKETS, Program::UWebSockets),
        ];
        Ok(own
            .into_iter()
            .chain(peers)
            .map(|(server, program)| {
                idle(plan, WEBSOCKET, server, program, plan.idle, true, websocket)
            })
            .collect())
    },
};

pub(super) const TLS: Workload = Workload {
    name: "idle-tls",
    title: "Idle connections over TLS",
    about: "The same over TLS 1.3; *raw* is a bare rustls.",
    measures: MEASURES,
    reference: None,
    one_scale: false,
    jobs: |plan, _| {
        let own = [
            (RAW, Program::Raw("tls", Some(1024))),
            (OPENLINE, Program::Example("echo_tls")),
        ];
        let target = |port| websocket(port).over_tls();
        Ok(own
            .into_iter()
            .map(|(server, program)| {
                idle(
                    plan,
                    WEBSOCKET,
                    server,
                    program,
                    plan.idle_tls,
                    true,
                    target,
                )
            })
            .collect())
    },
};

pub(super) const SUBSCRIBERS: Workload = Workload {
    name: "subscribers",
    title: "Idle subscribers of the push server",
    about: "Resident memory for each of 15,000 subscribers of one channel that nothing is published on. \
        [What the servers are](#push-servers-beside-it) is told below.",
    measures: OPENED_MEASURES,
    reference: None,
    one_scale: true,
    jobs: |plan, _: &Place| -> io::Result<Vec<Job>> {
        let ways: [(&str, ToTarget, ToTarget); 3] = [
            (
                WEBSOCKET,
                |port| Target::websocket(port, "/channels/bench"),
                |port| Target::websocket(port, "/websocket"),
            ),
            (
                "Server-Sent Events",
                |port| events(port, "/channels/bench"),
                |port| events(port, "/sse"),
            ),
            (
                "held long poll",
                |port| held(port, "/channels/bench", "Prefer: wait=60\r\n"),
                |port| held(port, "/poll", ""),
            ),
        ];
        let mut jobs = Vec::new();
        for (case, own, nchan) in ways {
            jobs.push(idle(plan, case, OPENLINE, PUSH, plan.idle, false, own));
            jobs.push(idle(
                plan,
                case,
                NCHAN,
                Program::Nchan,
                plan.idle,
                false,
                nchan,
            ));
            if case == WEBSOCKET {
                for kind in [Kind::UWebSockets, Kind::Sockudo, Kind::SocketIo, Kind::Ws] {
                    let (name, program) = (kind.name(), kind.program());
                    let target = move |port| kind.target(port);
                    jobs.push(idle(plan, case, name, program, plan.idle, false, target));
                }
            }
        }
        let push = Program::Push {
            workers: 1,
            tls: true,
            compression: false,
        };
        let target = |port| Target::websocket(port, "/channels/bench").over_tls();
        jobs.push(idle(
            plan,
            "WebSocket over TLS",
            OPENLINE,
            push,
            plan.idle_tls,
            false,
            target,
        ));
        Ok(jobs)
    },
};

fn websocket(port: u16) -> Target {
    Target::websocket(port, "/")
}

fn get(port: u16, path: &str, more: &str, expect: Option<&'static str>) -> Target {
    Target {
        request: format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{more}\r\n")
            .into_bytes(),
        expect,
        ..Target::websocket(port, path)
    }
}

pub(super) fn events(port: u16, path: &str) -> Target {
    get(
        port,
        path,
        "Accept: text/event-stream\r\n",
        Some("HTTP/1.1 200"),
    )
}

fn held(port: u16, path: &str, more: &str) -> Target {
    get(port, path, more, None)
}

pub(super) fn idle(
    plan: &Plan,
    case: &str,
    server: &str,
    program: Program,
    count: usize,
    echoes: bool,
    target: impl Fn(u16) -> Target + 'static,
) -> Job {
    Job {
        case: case.to_owned(),
        server: server.to_owned(),
        program: Some(program),
        rounds: plan.memory_rounds,
        run: Run::alone(move |running| {
            let running = started(running)?;
            let idle = load::idle(&target(running.port), running.pid(), count, echoes)?;
            let used = idle.used.map(|used| (USED, used));
            Ok([(OPENED, idle.opened)].into_iter().chain(used).collect())
        }),
    }
}
