//! From results to the page: tables between its markers, plots beside it.

mod goals;
mod grid;
mod plot;

use std::fs;
use std::io;
use std::path::Path;

use crate::machine;
use crate::profile;
use crate::results::{Results, Series};
use crate::workloads::{Measure, Workload};
use grid::Grid;

/// Writes tables into `performance.md`, and plots into `performance/`.
pub fn write(docs: &Path, workloads: &[Workload], results: &Results) -> io::Result<()> {
    let page = docs.join("performance.md");
    let mut text = fs::read_to_string(&page)?;
    for workload in workloads {
        let mut section = format!("{}\n\n", workload.about);
        let Some(stamp) = results.stamps.get(workload.name) else {
            section.push_str("*Not measured yet.*\n");
            replace(&mut text, workload.name, &section)?;
            continue;
        };
        section.push_str(&main_grid(workload, results).markdown());
        for (_, note) in results.notes.iter().filter(|(of, _)| of == workload.name) {
            section.push_str(&format!("\n{note}\n"));
        }
        let plot = format!("performance/{}.svg", workload.name);
        fs::write(docs.join(&plot), plot::plot(workload, results))?;
        section.push_str(&format!(
            "\n![{}: {}]({plot})\n",
            workload.title, workload.measures[0].title
        ));
        for measure in further_measures(workload, results) {
            section.push_str(&format!(
                "\n<details><summary>{}</summary>\n\n{}\n</details>\n",
                capital(measure.title),
                grid(workload, results, &[measure]).markdown()
            ));
        }
        section.push_str(&format!("\n<sub>{stamp}.</sub>\n"));
        replace(&mut text, workload.name, &section)?;
    }
    replace(&mut text, "goals", &goals::grid(results).markdown())?;
    let versions: Vec<String> = machine::versions()
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    replace(
        &mut text,
        "versions",
        &format!("{}.\n", versions.join(", ")),
    )?;
    fs::write(page, text)
}

/// What was measured, for a terminal.
pub fn text(workload: &Workload, results: &Results) -> String {
    let mut text = main_grid(workload, results).text();
    for (_, note) in results.notes.iter().filter(|(of, _)| of == workload.name) {
        text.push_str(&format!("{note}\n"));
    }
    text
}

/// Puts `section` between the page's markers of that name.
fn replace(page: &mut String, name: &str, section: &str) -> io::Result<()> {
    let begin = format!("<!-- begin {name} -->\n");
    let end = format!("<!-- end {name} -->\n");
    let found = page.find(&begin).and_then(|at| {
        let from = at + begin.len();
        Some((from, from + page[from..].find(&end)?))
    });
    let Some((from, to)) = found else {
        return Err(io::Error::other(format!(
            "performance.md has no place for {name}: {}…{}",
            begin.trim(),
            end.trim()
        )));
    };
    page.replace_range(from..to, section);
    Ok(())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// The cases and the servers of a workload, as they come.
fn names<'a>(results: &'a Results, workload: &'a Workload) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut cases, mut servers) = (Vec::new(), Vec::new());
    for series in results
        .series
        .iter()
        .filter(|series| series.workload == workload.name)
    {
        for (names, name) in [
            (&mut cases, series.case.as_str()),
            (&mut servers, series.server.as_str()),
        ] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    (cases, servers)
}

/// A single case has room for all measures.
fn main_grid(workload: &Workload, results: &Results) -> Grid {
    let all: Vec<&Measure> = workload.measures.iter().collect();
    let alone = names(results, workload).0.len() == 1;
    grid(
        workload,
        results,
        if alone || !has_further(workload) {
            &all
        } else {
            &all[..1]
        },
    )
}

/// Whether measures beyond the first are told apart from it: one that is as important stands beside it.
fn has_further(workload: &Workload) -> bool {
    workload
        .measures
        .iter()
        .any(|measure| !measure.less_is_better)
}

fn further_measures<'a>(
    workload: &'a Workload,
    results: &Results,
) -> impl Iterator<Item = &'a Measure> + use<'a> {
    let alone = names(results, workload).0.len() == 1;
    let skip = if alone || !has_further(workload) {
        workload.measures.len()
    } else {
        1
    };
    workload.measures.iter().skip(skip)
}

fn grid(workload: &Workload, results: &Results, measures: &[&Measure]) -> Grid {
    let (cases, servers) = names(results, workload);
    let cell = |case: &str, server: &str, measure: &Measure| {
        let series = results.find(workload.name, case, server, measure.name);
        series.map_or_else(
            || "–".to_owned(),
            |series| show(workload, results, measure, series),
        )
    };
    if let [case] = cases[..] {
        let mut grid = Grid::new("", measures.iter().map(|measure| measure.title));
        for server in servers {
            grid.row(
                server,
                measures.iter().map(|measure| cell(case, server, measure)),
            );
        }
        return grid;
    }
    let columns: Vec<(&str, &Measure)> = servers
        .iter()
        .flat_map(|server| measures.iter().map(move |measure| (*server, *measure)))
        .collect();
    if columns.len() <= cases.len() {
        let titles = columns
            .iter()
            .map(|(server, measure)| heading(server, measure, measures));
        let mut grid = Grid::new(measures[0].title, titles);
        for case in cases {
            grid.row(
                case,
                columns
                    .iter()
                    .map(|(server, measure)| cell(case, server, measure)),
            );
        }
        return grid;
    }
    let columns: Vec<(&str, &Measure)> = cases
        .iter()
        .flat_map(|case| measures.iter().map(move |measure| (*case, *measure)))
        .collect();
    let titles = columns
        .iter()
        .map(|(case, measure)| heading(case, measure, measures));
    let mut grid = Grid::new(
        if measures.len() == 1 {
            measures[0].title
        } else {
            ""
        },
        titles,
    );
    for server in servers {
        grid.row(
            server,
            columns
                .iter()
                .map(|(case, measure)| cell(case, server, measure)),
        );
    }
    grid
}

fn heading(name: &str, measure: &Measure, measures: &[&Measure]) -> String {
    match measures {
        [_] => name.to_owned(),
        _ => format!("{name}, {}", measure.title),
    }
}

/// Median, spread, and how it compares.
fn show(workload: &Workload, results: &Results, measure: &Measure, series: &Series) -> String {
    if workload.reference == Some(profile::ALL) && series.median() == 0.0 {
        return "–".to_owned();
    }
    let mut text = (measure.show)(series.median());
    let spread = series.spread() * 100.0;
    if series.values.len() > 1 && spread.is_finite() {
        text.push_str(&format!(" ±{spread:.0} %"));
    }
    if let Some(times) = times(workload, results, measure, series) {
        text.push_str(&format!(" · **{times}**"));
    }
    text
}

/// How many times as much as the reference it is, or which share of all.
fn times(
    workload: &Workload,
    results: &Results,
    measure: &Measure,
    series: &Series,
) -> Option<String> {
    let reference = workload.reference.filter(|&name| name != series.server)?;
    let reference = results.find(workload.name, &series.case, reference, measure.name)?;
    let ratio = series.median() / reference.median();
    match ratio {
        ratio if !ratio.is_finite() => None,
        ratio if workload.reference == Some(profile::ALL) => {
            Some(format!("{:.0} %", ratio * 100.0))
        }
        ratio if ratio < 10.0 => Some(format!("{ratio:.2}×")),
        ratio => Some(format!("{ratio:.1}×")),
    }
}
