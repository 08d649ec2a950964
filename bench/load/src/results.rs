//! What was measured: kept as a table of text, from which the page's tables and plots are made.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

/// All values of one measure, one for each round, in the order of their making.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub workload: String,
    pub case: String,
    pub server: String,
    pub measure: String,
    pub values: Vec<f64>,
}

impl Series {
    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// Half the distance between the least and the greatest, as a share of the median.
    pub fn spread(&self) -> f64 {
        let least = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self
            .values
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        (most - least) / 2.0 / self.median().abs()
    }

    /// How many times the other it is, round by round: what the machine did in a round fell on both.
    pub fn times(&self, other: &Self) -> Self {
        let rounds = self.values.iter().zip(&other.values);
        Self {
            values: rounds.map(|(own, other)| own / other).collect(),
            ..self.clone()
        }
    }
}

/// The last run of each workload.
#[derive(Debug, Default)]
pub struct Results {
    pub series: Vec<Series>,
    /// When, what and where: a line for each workload.
    pub stamps: BTreeMap<String, String>,
    /// What was left out or failed, and why: a workload, and a sentence.
    pub notes: Vec<(String, String)>,
}

impl Results {
    pub fn load(path: &Path) -> io::Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other?,
        };
        let mut results = Self::default();
        for (number, line) in text.lines().enumerate() {
            let fields: Vec<&str> = line.split('\t').collect();
            match fields[..] {
                ["stamp", workload, stamp] => {
                    results.stamps.insert(workload.to_owned(), stamp.to_owned());
                }
                ["note", workload, note] => results.note(workload, note.to_owned()),
                [workload, case, server, measure, values] => {
                    let values: Result<Vec<f64>, _> = values.split(' ').map(str::parse).collect();
                    let values = values.map_err(|error| wrong(path, number, &error.to_string()))?;
                    results.series.push(Series {
                        workload: workload.to_owned(),
                        case: case.to_owned(),
                        server: server.to_owned(),
                        measure: measure.to_owned(),
                        values,
                    });
                }
                _ => return Err(wrong(path, number, "neither a stamp nor a series")),
            }
        }
        Ok(results)
    }

    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut text = String::new();
        for (workload, stamp) in &self.stamps {
            let _ = writeln!(text, "stamp\t{workload}\t{stamp}");
        }
        for (workload, note) in &self.notes {
            let _ = writeln!(text, "note\t{workload}\t{note}");
        }
        for series in &self.series {
            let values: Vec<String> = series.values.iter().map(|&value| short(value)).collect();
            let Series {
                workload,
                case,
                server,
                measure,
                ..
            } = series;
            let _ = writeln!(
                text,
                "{workload}\t{case}\t{server}\t{measure}\t{}",
                values.join(" ")
            );
        }
        fs::write(path, text)
    }

    /// Forgets a workload's last run.
    pub fn forget(&mut self, workload: &str) {
        self.series.retain(|series| series.workload != workload);
        self.stamps.remove(workload);
        self.notes.retain(|(of, _)| of != workload);
    }

    /// Notes a sentence, once.
    pub fn note(&mut self, workload: &str, sentence: String) {
        let note = (workload.to_owned(), sentence);
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Forgets what was measured of a server that failed afterwards.
    pub fn withdraw(&mut self, workload: &str, case: &str, server: &str) {
        self.series.retain(|series| {
            series.workload != workload || series.case != case || series.server != server
        });
    }

    /// Gives a series its place in the order.
    pub fn announce(&mut self, workload: &str, case: &str, server: &str, measure: &str) {
        self.series.push(Series {
            workload: workload.to_owned(),
            case: case.to_owned(),
            server: server.to_owned(),
            measure: measure.to_owned(),
            values: Vec::new(),
        });
    }

    /// Forgets what was announced and never measured.
    pub fn drop_empty(&mut self) {
        self.series.retain(|series| !series.values.is_empty());
    }

    /// Adds a value to a series that was announced.
    pub fn add(&mut self, workload: &str, case: &str, server: &str, measure: &str, value: f64) {
        let found = self.series.iter_mut().find(|series| {
            series.workload == workload
                && series.case == case
                && series.server == server
                && series.measure == measure
        });
        if let Some(series) = found {
            series.values.push(value);
        }
    }

    pub fn find(&self, workload: &str, case: &str, server: &str, measure: &str) -> Option<&Series> {
        self.series.iter().find(|series| {
            series.workload == workload
                && series.case == case
                && series.server == server
                && series.measure == measure
        })
    }

    /// The series of one workload.
    pub fn of_any<'a>(&'a self, workload: &'a str) -> impl Iterator<Item = &'a Series> {
        self.series
            .iter()
            .filter(move |series| series.workload == workload)
    }

    /// The series of one workload and measure.
    pub fn of<'a>(
        &'a self,
        workload: &'a str,
        measure: &'a str,
    ) -> impl Iterator<Item = &'a Series> {
        self.series
            .iter()
            .filter(move |series| series.workload == workload && series.measure == measure)
    }
}

fn wrong(path: &Path, number: usize, what: &str) -> io::Error {
    io::Error::other(format!("{}:{}: {what}", path.display(), number + 1))
}

/// Four digits, which is more than any measurement holds.
fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let decimals = (3 - value.abs().log10().floor() as i32).clamp(0, 6) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series {
        Series {
            workload: "echo".into(),
            case: "64".into(),
            server: "raw".into(),
            measure: "cpu".into(),
            values: values.to_vec(),
        }
    }

    #[test]
    fn a_round_that_was_slow_for_both_is_no_spread_of_their_ratio() {
        let (own, other) = (series(&[20.0, 40.0, 22.0]), series(&[10.0, 20.0, 11.0]));
        assert!(own.spread() > 0.4);
        let times = own.times(&other);
        assert_eq!((times.median(), times.spread()), (2.0, 0.0));
    }

    #[test]
    fn an_even_number_of_rounds_has_a_median_between_two() {
        assert_eq!(series(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
    }
}
