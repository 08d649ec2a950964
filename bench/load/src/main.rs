//! Measures Openline beside the kernel's limit and its peers. `ci/bench.sh` builds and runs it.

mod machine;
mod plan;
mod report;
mod results;
mod servers;
mod workloads;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use openline_bench::kernel::{pin, processors, raise_open_files};

use crate::plan::Plan;
use crate::results::Results;
use crate::servers::Place;
use crate::workloads::Workload;

const USAGE: &str = "\
usage: openline-bench [WORKLOAD...] [--quick] [--rounds N] [--render] [--list]
                      --docs FOLDER --product FOLDER --date DATE --commit COMMIT";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Arguments {
    workloads: Vec<String>,
    quick: bool,
    rounds: Option<usize>,
    /// Only make the page anew from what was measured before.
    render: bool,
    list: bool,
    docs: PathBuf,
    /// Where the product's release is.
    product: PathBuf,
    date: String,
    commit: String,
}

fn arguments() -> io::Result<Arguments> {
    let mut parsed = Arguments::default();
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or_else(|| io::Error::other(USAGE));
        match argument.as_str() {
            "--quick" => parsed.quick = true,
            "--render" => parsed.render = true,
            "--list" => parsed.list = true,
            "--rounds" => {
                let rounds = value()?.parse().ok().filter(|&rounds| rounds > 0);
                parsed.rounds = Some(
                    rounds.ok_or_else(|| io::Error::other("--rounds takes a number from 1 on"))?,
                );
            }
            "--docs" => parsed.docs = value()?.into(),
            "--product" => parsed.product = value()?.into(),
            "--date" => parsed.date = value()?,
            "--commit" => parsed.commit = value()?,
            name if !name.starts_with('-') => parsed.workloads.push(name.to_owned()),
            _ => return Err(io::Error::other(USAGE)),
        }
    }
    Ok(parsed)
}

fn run() -> io::Result<()> {
    let arguments = arguments()?;
    let all = workloads::all();
    if arguments.list {
        for workload in &all {
            println!("{:20} {}", workload.name, workload.title);
        }
        return Ok(());
    }
    if let Some(unknown) = arguments
        .workloads
        .iter()
        .find(|name| all.iter().all(|one| one.name != **name))
    {
        let names: Vec<&str> = all.iter().map(|one| one.name).collect();
        return Err(io::Error::other(format!(
            "no workload {unknown:?}; there are: {}",
            names.join(" ")
        )));
    }
    let chosen = |workload: &&Workload| {
        arguments.workloads.is_empty()
            || arguments.workloads.iter().any(|name| name == workload.name)
    };
    let data = arguments.docs.join("performance").join("results.tsv");
    let mut results = Results::load(&data)?;
    if !arguments.render {
        let mut plan = if arguments.quick {
            Plan::QUICK
        } else {
            Plan::FULL
        };
        if let Some(rounds) = arguments.rounds {
            plan.rounds = rounds;
            plan.memory_rounds = rounds;
        }
        let machine = machine::facts()?;
        let place = place(&arguments)?;
        print!("{machine}");
        let kind = if arguments.quick {
            "a quick look"
        } else {
            "a full run"
        };
        let stamp = format!(
            "{}, commit {}, {kind}, {}",
            arguments.date,
            arguments.commit,
            machine.line()
        );
        for workload in all.iter().filter(chosen) {
            measure(workload, &plan, &place, &mut results)?;
            results
                .stamps
                .insert(workload.name.to_owned(), stamp.clone());
            results.save(&data)?;
        }
    }
    report::write(&arguments.docs, &all, &results)
}

/// The server has one processor for itself, and the load another.
fn place(arguments: &Arguments) -> io::Result<Place> {
    let [server_cpu, load_cpu, ..] = processors()?[..] else {
        return Err(io::Error::other(
            "two processors are needed: one for the server, one for the load",
        ));
    };
    let open_files = raise_open_files()?;
    if open_files < 16_000 {
        return Err(io::Error::other(format!(
            "a process may have only {open_files} files open here, and 16,000 are needed: see `ulimit -Hn`"
        )));
    }
    pin(load_cpu)?;
    let bench = std::env::current_exe()?;
    Ok(Place {
        bench: bench.parent().map(PathBuf::from).unwrap_or_default(),
        product: arguments.product.clone(),
        server_cpu,
        load_cpu,
    })
}

/// Runs all jobs once a round, each round beginning with another server, so that whatever else the machine does
/// meanwhile falls on all alike.
fn measure(
    workload: &Workload,
    plan: &Plan,
    place: &Place,
    results: &mut Results,
) -> io::Result<()> {
    let begun = Instant::now();
    let jobs = (workload.jobs)(plan, place)?;
    results.forget(workload.name);
    let rounds = jobs.iter().map(|job| job.rounds).max().unwrap_or(0);
    // The table shows what the jobs say, in their order.
    for job in &jobs {
        for measure in workload.measures {
            results.announce(workload.name, &job.case, &job.server, measure.name);
        }
    }
    let mut cases: Vec<Vec<&workloads::Job>> = Vec::new();
    for job in &jobs {
        match cases.last_mut() {
            Some(case) if case[0].case == job.case => case.push(job),
            _ => cases.push(vec![job]),
        }
    }
    for round in 0..rounds {
        for case in &mut cases {
            for job in case.iter().filter(|job| job.rounds > round) {
                let context = |error: io::Error| {
                    io::Error::other(format!(
                        "{}, {}, {}: {error}",
                        workload.name, job.case, job.server
                    ))
                };
                let running = job.program.as_ref().map(|program| program.start(place));
                let running = running.transpose().map_err(context)?;
                for (measure, value) in (job.run)(running.as_ref()).map_err(context)? {
                    results.add(workload.name, &job.case, &job.server, measure, value);
                }
            }
            case.rotate_left(1);
        }
    }
    results.drop_empty();
    println!(
        "\n{} ({:.0} s)",
        workload.title,
        begun.elapsed().as_secs_f64()
    );
    print!("{}", report::text(workload, results));
    Ok(())
}
