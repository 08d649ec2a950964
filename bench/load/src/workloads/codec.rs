//! The codec alone, without a network: a program of its own does it and tells its figures.

use std::collections::BTreeMap;
use std::io;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use super::{Job, Measure, Run, Shares, Together, Workload, nanoseconds};
use crate::watchdog;

pub(super) const CODEC: Workload = Workload {
    name: "codec",
    title: "The codec alone",
    about: "In memory, without a network. Masking against `memcpy`, UTF-8 against `simdutf8`. Frames of 125 bytes, a hundred in one \
        buffer, by the codecs that can be called alone; and messages of 125 bytes of text, by a connection's whole state, which reads \
        them from memory and writes them there (sockudo-ws and Openline need no stream for that). All that do the same have stretches of 0.1 ms in turns, \
        and what the tenth fastest of a hundred took counts; of four processes, what the fastest took.",
    measures: &[Measure {
        name: "time",
        title: "time",
        show: nanoseconds,
        less_is_better: true,
    }],
    reference: None,
    one_scale: false,
    jobs: |plan, place| {
        let program = place.bench.join("codec");
        let listed = ask(Command::new(&program).arg("list"))?;
        let mut cases: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in listed.lines() {
            let (case, server) = fields(line)?;
            match cases.last_mut() {
                Some((last, servers)) if *last == case => servers.push(server),
                _ => cases.push((case, vec![server])),
            }
        }
        let mut jobs = Vec::new();
        for (case, servers) in cases {
            let milliseconds = (plan.time / 16 * servers.len() as u32).as_millis();
            let (program, case_name) = (program.clone(), case.to_owned());
            let names: Vec<String> = servers.iter().map(|&name| name.to_owned()).collect();
            let all = Together::new(move || {
                let mut command = Command::new(&program);
                command.args(["run", &case_name, &milliseconds.to_string()]);
                least_times(&mut command).unwrap_or_else(|error| {
                    // None of them was measured.
                    let failed = |name: &String| {
                        let error = io::Error::other(error.to_string());
                        (name.clone(), Err(error))
                    };
                    names.iter().map(failed).collect()
                })
            });
            for server in servers {
                jobs.push(Job {
                    case: case.to_owned(),
                    server: server.to_owned(),
                    program: None,
                    rounds: plan.rounds,
                    run: Run::Together(Rc::clone(&all)),
                });
            }
        }
        Ok(jobs)
    },
};

/// The same process may be slower by a third from its start to its end, for the memory that it was given: of several, the fastest counts.
fn least_times(command: &mut Command) -> io::Result<Shares> {
    const PROCESSES: usize = 4;
    let mut least = BTreeMap::new();
    for _ in 0..PROCESSES {
        for line in ask(command)?.lines() {
            let (server, time) = fields(line)?;
            let time: f64 = time.parse().map_err(io::Error::other)?;
            let known = least.entry(server.to_owned()).or_insert(time);
            *known = known.min(time);
        }
    }
    let share = |(server, time)| (server, Ok(vec![("time", time)]));
    Ok(least.into_iter().map(share).collect())
}

fn fields(line: &str) -> io::Result<(&str, &str)> {
    line.split_once('\t')
        .ok_or_else(|| io::Error::other(format!("the codec program says {line:?}")))
}

fn ask(command: &mut Command) -> io::Result<String> {
    let output = watchdog::run(command, Duration::from_secs(60))?;
    String::from_utf8(output.stdout).map_err(io::Error::other)
}
