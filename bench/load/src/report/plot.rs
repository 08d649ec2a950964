//! Bars: one panel for each case, one bar for each server. Plain SVG that can be read on light and dark pages.

use std::fmt::Write as _;

use super::{names, times};
use crate::results::{Results, Series};
use crate::servers::{OPENLINE, RAW};
use crate::workloads::Workload;

const WIDTH: usize = 900;
const GAP: usize = 28;
const MARGIN: usize = 12;
const ROW: usize = 22;
const BAR: usize = 14;
const TITLE: usize = 30;
/// Room for a bar's name, and for its figures.
const NAME: usize = 158;
const FIGURES: usize = 116;

const STYLE: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2328}\
.title{font-weight:600}\
.name{text-anchor:end}\
.figure{font-variant-numeric:tabular-nums}\
.back{fill:#ffffff}\
.other{fill:#8fa3b8}\
.reference{fill:#b9bec5}\
.own{fill:#0a7d4f}\
.spread{stroke:#1f2328;stroke-width:1}\
.own-name{font-weight:600}\
@media (prefers-color-scheme:dark){\
text{fill:#e6edf3}\
.back{fill:#0d1117}\
.other{fill:#5d7590}\
.reference{fill:#6e7681}\
.own{fill:#2fb37c}\
.spread{stroke:#e6edf3}}";

pub fn plot(workload: &Workload, results: &Results) -> String {
    let measure = &workload.measures[0];
    let (cases, _) = names(results, workload);
    let columns = if cases.len() > 1 { 2 } else { 1 };
    let panel = (WIDTH - 2 * MARGIN - GAP * (columns - 1)) / columns;
    let greatest = |series: &Series| {
        series
            .values
            .iter()
            .copied()
            .fold(f64::MIN_POSITIVE, f64::max)
    };
    let overall = results
        .of(workload.name, measure.name)
        .map(greatest)
        .fold(f64::MIN_POSITIVE, f64::max);
    let mut body = String::new();
    let mut top = MARGIN;
    for pair in cases.chunks(columns) {
        let mut height = 0;
        for (column, case) in pair.iter().enumerate() {
            let all = results.of(workload.name, measure.name);
            let mut bars: Vec<&Series> = all
                .filter(|series| series.case == *case && series.median() > 0.0)
                .collect();
            bars.sort_by(|a, b| a.median().total_cmp(&b.median()));
            let left = MARGIN + column * (panel + GAP);
            let scale = match workload.one_scale {
                true => overall,
                false => bars
                    .iter()
                    .map(|bar| greatest(bar))
                    .fold(f64::MIN_POSITIVE, f64::max),
            };
            body.push_str(&draw(
                workload,
                results,
                case,
                &bars,
                scale,
                (left, top, panel),
            ));
            height = height.max(TITLE + bars.len() * ROW + GAP / 2);
        }
        top += height;
    }
    let height = top + MARGIN;
    let title = escape(&format!("{}: {}", workload.title, measure.title));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n{body}</svg>\n"
    )
}

fn draw(
    workload: &Workload,
    results: &Results,
    case: &str,
    bars: &[&Series],
    scale: f64,
    (left, top, width): (usize, usize, usize),
) -> String {
    let measure = &workload.measures[0];
    let room = (width - NAME - FIGURES) as f64;
    let length = |value: f64| (value.max(0.0) / scale * room).max(1.0);
    let start = left + NAME;
    let mut svg = String::new();
    let title = format!("{case}: {}", measure.title);
    let _ = writeln!(
        svg,
        "<text class=\"title\" x=\"{left}\" y=\"{}\">{}</text>",
        top + 18,
        escape(&title)
    );
    for (row, bar) in bars.iter().enumerate() {
        let y = top + TITLE + row * ROW;
        let text = y + BAR - 3;
        let (class, name) = match bar.server.as_str() {
            OPENLINE => ("own", "name own-name"),
            name if workload.reference == Some(name) || name == RAW => ("reference", "name"),
            _ => ("other", "name"),
        };
        let median = bar.median();
        let end = start as f64 + length(median);
        let _ = writeln!(
            svg,
            "<text class=\"{name}\" x=\"{}\" y=\"{text}\">{}</text>\
             <rect class=\"{class}\" x=\"{start}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>",
            start - 8,
            escape(&bar.server),
            length(median)
        );
        let least = bar.values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = bar.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if length(greatest) - length(least) > 2.0 {
            let middle = y as f64 + BAR as f64 / 2.0;
            let _ = writeln!(
                svg,
                "<line class=\"spread\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>",
                start as f64 + length(least),
                start as f64 + length(greatest)
            );
        }
        let times = times(workload, results, measure, bar)
            .map_or_else(String::new, |times| format!(" · {times}"));
        let figures = format!("{}{times}", (measure.show)(median));
        let x = end.max(start as f64 + length(greatest)) + 6.0;
        let _ = writeln!(
            svg,
            "<text class=\"figure\" x=\"{x:.1}\" y=\"{text}\">{}</text>",
            escape(&figures)
        );
    }
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}
