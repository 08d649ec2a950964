//! Measures Openline beside the kernel's limit and its peers. `ci/bench.sh` builds and runs it.

mod machine;
mod measure;
mod plan;
mod profile;
mod report;
mod results;
mod servers;
mod sockudo;
mod watchdog;
mod workloads;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use openline_bench::kernel::{pin, processors, raise_open_files};

use crate::plan::Plan;
use crate::results::Results;
use crate::servers::Place;
use crate::workloads::Workload;

const USAGE: &str = "\
usage: openline-bench [WORKLOAD...] [--quick] [--rounds N] [--resume] [--render] [--list]
                      --docs FOLDER --product FOLDER --tools FOLDER --date DATE --commit COMMIT";

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
    /// Leave out what was measured already: of this commit, on this machine, as quick or as full.
    resume: bool,
    /// Only make the page anew from what was measured before.
    render: bool,
    list: bool,
    docs: PathBuf,
    /// Where the product's release is.
    product: PathBuf,
    /// Where peers are that are built from their packages.
    tools: PathBuf,
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
            "--resume" => parsed.resume = true,
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
            "--tools" => parsed.tools = value()?.into(),
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
    // A name that is no workload's may be what the names of several begin with: `growth` is all of `growth-…`.
    let family = |name: &str| all.iter().all(|one| one.name != name);
    let is_meant = |workload: &Workload, name: &str| {
        workload.name == name
            || family(name)
                && workload
                    .name
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with('-'))
    };
    if let Some(unknown) = arguments
        .workloads
        .iter()
        .find(|name| !all.iter().any(|workload| is_meant(workload, name)))
    {
        let names: Vec<&str> = all.iter().map(|one| one.name).collect();
        return Err(io::Error::other(format!(
            "no workload {unknown:?}; there are: {}",
            names.join(" ")
        )));
    }
    let chosen = |workload: &&Workload| {
        let mut names = arguments.workloads.iter();
        arguments.workloads.is_empty() || names.any(|name| is_meant(workload, name))
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
            plan.long_rounds = rounds;
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
        let mut failed = Vec::new();
        for workload in all.iter().filter(chosen) {
            let before = results.stamps.get(workload.name);
            if arguments.resume && before.is_some_and(|before| same_but_date(before, &stamp)) {
                println!("\n{}: measured already", workload.title);
                continue;
            }
            let done = measure::measure(workload, &plan, &place, &mut results);
            let whole = done.unwrap_or_else(|error| {
                eprintln!("error: {}: {error}", workload.name);
                false
            });
            if !whole {
                failed.push(workload.name);
            }
            if results.of_any(workload.name).next().is_some() {
                let name = workload.name.to_owned();
                results.stamps.entry(name).or_insert_with(|| stamp.clone());
            }
            // Whatever becomes of the rest, this is done.
            results.save(&data)?;
            report::write(&arguments.docs, &all, &results)?;
        }
        if !failed.is_empty() {
            return Err(io::Error::other(format!(
                "not all could be measured of: {}",
                failed.join(", ")
            )));
        }
    }
    report::write(&arguments.docs, &all, &results)
}

fn same_but_date(one: &str, other: &str) -> bool {
    let rest = |stamp: &str| stamp.split_once(", ").map(|(_, rest)| rest.to_owned());
    rest(one) == rest(other)
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
        tools: std::path::absolute(&arguments.tools)?,
        server_cpu,
        load_cpu,
    })
}
