//! From a workload to its results: round by round, and past what fails.

use std::io;
use std::time::{Duration, Instant};

use crate::plan::Plan;
use crate::report;
use crate::results::Results;
use crate::servers::Place;
use crate::watchdog::Watchdog;
use crate::workloads::{Job, Run, Values, Workload};

/// No measurement takes nearly so long; its server is killed then.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs all jobs once a round, each round beginning with another server, so that whatever else the machine does
/// meanwhile falls on all alike. A server that is not installed is left out, and one that fails is not asked again; the page
/// says so. Whether all was measured that is installed.
pub fn measure(
    workload: &Workload,
    plan: &Plan,
    place: &Place,
    results: &mut Results,
) -> io::Result<bool> {
    let begun = Instant::now();
    let jobs = (workload.jobs)(plan, place)?;
    results.forget(workload.name);
    let mut whole = true;
    let mut versions = Vec::new();
    let mut cases: Vec<Vec<Job>> = Vec::new();
    for job in jobs {
        if let Some(missing) = job.program.as_ref().and_then(|one| one.missing(place)) {
            results.note(
                workload.name,
                format!("{} was left out: {missing}.", job.server),
            );
            continue;
        }
        let version = job.program.as_ref().and_then(|one| one.version(place));
        if let Some(version) = version.filter(|version| !versions.contains(version)) {
            versions.push(version);
        }
        // The table shows what the jobs say, in their order.
        for measure in workload.measures {
            results.announce(workload.name, &job.case, &job.server, measure.name);
        }
        match cases.last_mut() {
            Some(case) if case[0].case == job.case => case.push(job),
            _ => cases.push(vec![job]),
        }
    }
    if !versions.is_empty() {
        results.note(workload.name, format!("With {}.", versions.join(", ")));
    }
    let rounds = cases.iter().flatten().map(|job| job.rounds).max();
    for round in 0..rounds.unwrap_or(0) {
        for case in &mut cases {
            case.retain(|job| {
                if job.rounds <= round {
                    return true;
                }
                match once(job, place) {
                    Ok(values) => {
                        for (measure, value) in values {
                            results.add(workload.name, &job.case, &job.server, measure, value);
                        }
                        true
                    }
                    Err(error) => {
                        let (server, case) = (&job.server, &job.case);
                        eprintln!("error: {}, {case}, {server}: {error}", workload.name);
                        let reason = error.to_string();
                        let reason = reason.lines().next().unwrap_or_default();
                        let reason = reason.replace('\t', " ");
                        results.withdraw(workload.name, case, server);
                        results.note(
                            workload.name,
                            format!("{server} failed at {case}: {reason}."),
                        );
                        whole = false;
                        false
                    }
                }
            });
            if !case.is_empty() {
                case.rotate_left(1);
            }
        }
    }
    results.drop_empty();
    println!(
        "\n{} ({:.0} s)",
        workload.title,
        begun.elapsed().as_secs_f64()
    );
    print!("{}", report::text(workload, results));
    Ok(whole)
}

fn once(job: &Job, place: &Place) -> io::Result<Values> {
    let run = match &job.run {
        Run::Together(all) => return all.take(&job.server),
        Run::Alone(run) => run,
    };
    let Some(program) = &job.program else {
        return run(None);
    };
    let running = program.start(place)?;
    let dog = Watchdog::new(running.pid(), LIMIT);
    let done = run(Some(&running));
    if dog.has_bitten() {
        return Err(io::Error::other(format!("not done in {LIMIT:?}")));
    }
    done
}
