//! The workloads: what is measured, of whom, and how it is to be shown.

mod codec;
mod echo;
mod kinds;
mod memory;
mod profile;
mod push;
mod scale;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use crate::plan::Plan;
use crate::servers::{Place, Program, Running};

/// One measurement of one server.
pub struct Job {
    pub case: String,
    pub server: String,
    /// What is measured, unless it is the bench itself.
    pub program: Option<Program>,
    pub rounds: usize,
    pub run: Run,
}

/// What came out, by the measure's name.
pub type Values = Vec<(&'static str, f64)>;

/// A measurement of one server.
pub type Alone = dyn Fn(Option<&Running>) -> io::Result<Values>;

/// How a job measures.
pub enum Run {
    /// Its program has been started, for it alone.
    Alone(Box<Alone>),
    /// All servers of its case are measured in turns.
    Together(Rc<Together>),
}

impl Run {
    fn alone(run: impl Fn(Option<&Running>) -> io::Result<Values> + 'static) -> Self {
        Self::Alone(Box::new(run))
    }
}

/// What came out for each server.
pub type Shares = BTreeMap<String, io::Result<Values>>;

/// A measurement of several servers in short turns, so that what the machine does meanwhile falls on all alike.
pub struct Together {
    measure: Box<dyn Fn() -> Shares>,
    left: RefCell<Shares>,
}

impl Together {
    fn new(measure: impl Fn() -> Shares + 'static) -> Rc<Self> {
        Rc::new(Self {
            measure: Box::new(measure),
            left: RefCell::default(),
        })
    }

    /// One server's share of a round, which the first of them to ask begins.
    pub fn take(&self, server: &str) -> io::Result<Values> {
        let mut left = self.left.borrow_mut();
        if !left.contains_key(server) {
            *left = (self.measure)();
        }
        let share = left.remove(server);
        share.unwrap_or_else(|| Err(io::Error::other("it was not measured")))
    }
}

/// A set of jobs that belong together.
pub struct Workload {
    pub name: &'static str,
    pub title: &'static str,
    /// What each job's server is to do, in a sentence or two.
    pub about: &'static str,
    /// The measures to show, the main one first.
    pub measures: &'static [Measure],
    /// The server that the others are compared with, if any.
    pub reference: Option<&'static str>,
    /// Whether all cases are drawn to one scale.
    pub one_scale: bool,
    /// Makes the jobs. Jobs of one case stand together.
    pub jobs: fn(&Plan, &Place) -> io::Result<Vec<Job>>,
}

pub struct Measure {
    pub name: &'static str,
    pub title: &'static str,
    /// Shows a value.
    pub show: fn(f64) -> String,
    /// Whether less is better.
    pub less_is_better: bool,
}

/// All, in the order of the page.
pub fn all() -> Vec<Workload> {
    vec![
        echo::PLAIN,
        echo::TLS,
        echo::LATENCY,
        echo::CONNECTS,
        memory::CONNECTIONS,
        memory::TLS,
        memory::SUBSCRIBERS,
        push::FANOUT,
        push::DEFLATE,
        push::PUBLISH,
        push::STALLED,
        profile::PROFILE,
        scale::WORKERS,
        scale::CONNECTIONS,
        scale::MEMORY,
        scale::SIZES,
        scale::SUBSCRIBERS,
        scale::PUBLICATIONS,
        codec::CODEC,
    ]
}

const CPU: &str = "cpu";

/// Time in nanoseconds, in a unit that is read easily.
pub fn nanoseconds(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.1} ns"),
        value if value < 10_000.0 => format!("{value:.0} ns"),
        value => format!("{:.1} µs", value / 1000.0),
    }
}

/// A rate.
pub fn per_second(value: f64) -> String {
    match value {
        value if value < 10_000.0 => format!("{value:.0}/s"),
        value if value < 1e6 => format!("{:.0} k/s", value / 1e3),
        value => format!("{:.2} M/s", value / 1e6),
    }
}

/// Bytes.
pub fn bytes(value: f64) -> String {
    match value {
        value if value.abs() < 10_000.0 => format!("{value:.0} B"),
        value if value.abs() < 10e6 => format!("{:.1} KB", value / 1e3),
        value => format!("{:.1} MB", value / 1e6),
    }
}

const RATE: &str = "rate";

/// The server's time for each of something.
const fn cpu(title: &'static str) -> Measure {
    Measure {
        name: CPU,
        title,
        show: nanoseconds,
        less_is_better: true,
    }
}

/// How much of something there was in a second.
const fn rate(title: &'static str) -> Measure {
    Measure {
        name: RATE,
        title,
        show: per_second,
        less_is_better: false,
    }
}

const MESSAGE_MEASURES: &[Measure] = &[cpu("server CPU per message"), rate("messages per second")];

/// A cost, as the two measures of it.
fn cost(cost: openline_bench::load::Cost) -> Vec<(&'static str, f64)> {
    vec![(CPU, cost.cpu_ns), (RATE, cost.per_second)]
}

fn started(running: Option<&Running>) -> io::Result<&Running> {
    running.ok_or_else(|| io::Error::other("this job needs a server"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_round_is_measured_once_for_all_that_share_it() {
        let rounds = Rc::new(Cell::new(0));
        let counted = Rc::clone(&rounds);
        let all = Together::new(move || {
            counted.set(counted.get() + 1);
            let value = || Ok(vec![("p50", f64::from(counted.get()))]);
            [
                ("raw".to_owned(), value()),
                ("Openline".to_owned(), value()),
            ]
            .into()
        });
        for round in [1.0, 2.0] {
            for server in ["Openline", "raw"] {
                assert_eq!(all.take(server).unwrap(), [("p50", round)]);
            }
        }
        assert_eq!(rounds.get(), 2);
        assert!(all.take("a third").is_err());
    }
}
