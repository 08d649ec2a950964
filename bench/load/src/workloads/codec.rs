//! The codec alone, without a network: a program of its own does it and tells its figures.

use std::io;
use std::process::Command;
use std::time::Duration;

use super::{Job, Measure, Workload, nanoseconds};
use crate::watchdog;

pub(super) const CODEC: Workload = Workload {
    name: "codec",
    title: "The codec alone",
    about: "In memory, without a network. Masking against `memcpy`, UTF-8 against `simdutf8`. Frames of 125 bytes, a hundred in one \
        buffer, by the codecs that can be called alone; and messages of 125 bytes of text, by a connection's whole state, which reads \
        them from memory and writes them there (sockudo-ws and Openline need no stream for that).",
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
        let mut jobs = Vec::new();
        for line in listed.lines() {
            let Some((case, server)) = line.split_once('\t') else {
                return Err(io::Error::other(format!(
                    "the codec program lists {line:?}"
                )));
            };
            let (program, time) = (program.clone(), plan.time);
            let (case, server) = (case.to_owned(), server.to_owned());
            jobs.push(Job {
                case: case.clone(),
                server: server.clone(),
                program: None,
                rounds: plan.rounds,
                run: Box::new(move |_| {
                    let milliseconds = (time / 4).as_millis().to_string();
                    let told =
                        ask(Command::new(&program).args(["run", &case, &server, &milliseconds]))?;
                    let time = told.trim().parse().map_err(io::Error::other)?;
                    Ok(vec![("time", time)])
                }),
            });
        }
        Ok(jobs)
    },
};

fn ask(command: &mut Command) -> io::Result<String> {
    let output = watchdog::run(command, Duration::from_secs(60))?;
    String::from_utf8(output.stdout).map_err(io::Error::other)
}
