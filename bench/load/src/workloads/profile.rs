//! Where the server's time goes: by area, for a message and for a delivery.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use openline_bench::link::Target;
use openline_bench::load::{self, Cost, Echo, Fanout, Watch};
use openline_bench::wire::{BINARY, payload};

use super::kinds::Kind;
use super::{CPU, Job, Measure, Run, Workload, cpu};
use crate::plan::Plan;
use crate::profile::{self, Callgrind, Perf};
use crate::servers::{Place, Program, Running, on_path};
use crate::watchdog::Watchdog;

const INSTRUCTIONS: &str = "instructions";
/// Of one profile; under callgrind all is fifty times as slow.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) const PROFILE: Workload = Workload {
    name: "profile",
    title: "Where the time goes",
    about: "Of each message or delivery, by what the processor was at. *Time* is the server's, shared out by samples of \
        `perf` (`cpu-clock`); *instructions* are those outside of the kernel, counted by `callgrind`, which do not wobble. \
        What is inlined counts where it was written, and the standard library's code where it was called from; a system call's \
        time has in it what it does for the other side of the loopback interface.",
    measures: &[
        cpu("time"),
        Measure {
            name: INSTRUCTIONS,
            title: "instructions",
            show: |count| format!("{count:.0}"),
            less_is_better: true,
        },
    ],
    reference: Some(profile::ALL),
    one_scale: false,
    jobs: |plan, place| {
        for program in ["perf", "valgrind"] {
            if !on_path(program).exists() {
                return Err(io::Error::other(format!(
                    "{program} is missing; on Debian: sudo apt-get install linux-perf valgrind libc6-dbg"
                )));
            }
        }
        let mut jobs = Vec::new();
        for (case, load) in [
            ("echo, 64 × 125 B × 16 deep", Load::Echo(16)),
            ("echo, 64 × 125 B × 1 deep", Load::Echo(1)),
            (
                "fan-out, 1,000 subscribers, 1 outstanding",
                Load::fanout(1, 1),
            ),
            (
                "fan-out, 1,000 subscribers, 8 outstanding",
                Load::fanout(8, 1),
            ),
            (
                "fan-out, 1,000 subscribers, 8 outstanding, two workers",
                Load::fanout(8, 2),
            ),
        ] {
            // The first job to run makes the profile, of which each takes its area.
            let shared = Rc::new(OnceCell::new());
            for area in [profile::ALL].into_iter().chain(profile::names()) {
                let (shared, plan, place) = (Rc::clone(&shared), plan.clone(), place.clone());
                jobs.push(Job {
                    case: case.to_owned(),
                    server: area.to_owned(),
                    program: None,
                    rounds: 1,
                    run: Run::alone(move |_| {
                        let profile: &Result<Profile, String> = shared.get_or_init(|| {
                            Profile::make(load, &plan, &place).map_err(|error| error.to_string())
                        });
                        let profile = profile
                            .as_ref()
                            .map_err(|error| io::Error::other(error.clone()))?;
                        Ok(profile.get(area).cloned().unwrap_or_default())
                    }),
                });
            }
        }
        Ok(jobs)
    },
};

/// By area, the measures of it.
struct Profile(BTreeMap<&'static str, Vec<(&'static str, f64)>>);

impl Profile {
    fn get(&self, area: &str) -> Option<&Vec<(&'static str, f64)>> {
        self.0.get(area)
    }

    /// Measures what it costs, then looks where: at one server after the other, since whoever looks costs time.
    fn make(load: Load, plan: &Plan, place: &Place) -> io::Result<Self> {
        let program = load.program();
        let file = program.file(place).unwrap_or_default().canonicalize()?;
        let binary = profile::Binary::load(&file)?;
        let folder = Folder::new()?;
        let running = program.start(place)?;
        let cost = load.run(&running, plan, 1, &mut ())?.cpu_ns;
        let running = program.start(place)?;
        let mut perf = Perf::new(running.pid(), &folder.0);
        load.run(&running, plan, 1, &mut perf)?;
        let mut time = perf.shares(&binary, &file)?;
        time.values_mut().for_each(|share| *share *= cost);
        let counts = folder.0.join("counts");
        let running = program.start_under(place, &Callgrind::under(&counts))?;
        let mut callgrind = Callgrind::new(running.pid(), counts);
        load.run(&running, plan, 10, &mut callgrind)?;
        let instructions = callgrind.instructions(&binary, &file)?;
        let mut profile = BTreeMap::<_, Vec<_>>::new();
        for (measure, mut areas) in [(CPU, time), (INSTRUCTIONS, instructions)] {
            areas.insert(profile::ALL, areas.values().sum());
            // An area that nothing was seen in has its row, too.
            for area in [profile::ALL].into_iter().chain(profile::names()) {
                let value = areas.get(area).copied().unwrap_or_default();
                profile.entry(area).or_default().push((measure, value));
            }
        }
        Ok(Self(profile))
    }
}

#[derive(Clone, Copy, Debug)]
enum Load {
    /// So many messages at once.
    Echo(usize),
    Fanout {
        outstanding: u64,
        workers: usize,
    },
}

impl Load {
    const fn fanout(outstanding: u64, workers: usize) -> Self {
        Self::Fanout {
            outstanding,
            workers,
        }
    }

    const fn program(self) -> Program {
        match self {
            Self::Echo(_) => Program::Example("echo"),
            Self::Fanout { workers, .. } => Program::Push {
                workers,
                tls: false,
                compression: false,
            },
        }
    }

    /// `less` is how many times less than usual there is to do.
    fn run(
        self,
        running: &Running,
        plan: &Plan,
        less: u64,
        watch: &mut dyn Watch,
    ) -> io::Result<Cost> {
        let dog = Watchdog::new(running.pid(), LIMIT);
        let done = match self {
            Self::Echo(depth) => {
                let load = Echo {
                    connections: 64,
                    silent: 0,
                    size: 125,
                    depth,
                    warm_up: plan.warm_up,
                    time: plan.time * 3,
                    opcode: BINARY,
                    check: true,
                };
                let target = Target::websocket(running.port, "/");
                load::echo_watched(&target, running.pid(), load, watch)
            }
            Self::Fanout { outstanding, .. } => {
                let load = Fanout {
                    subscribers: 1_000,
                    publications: (plan.deliveries * 3 * outstanding / 1_000 / less)
                        .max(10 * outstanding),
                    outstanding,
                    at_once: 1,
                    stalled: 0,
                    watch_memory: false,
                };
                let publisher = Kind::Openline.publisher(running.port, &payload(125));
                let target = Kind::Openline.target(running.port);
                load::fanout_watched(&target, &publisher, running.pid(), &load, watch)
                    .map(|done| done.cost)
            }
        };
        if dog.has_bitten() {
            return Err(io::Error::other(format!("not done in {LIMIT:?}")));
        }
        done
    }
}

/// A folder for samples and counts, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("openline-profile-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
