//! A table, as Markdown and as text.

use std::fmt::Write as _;

pub struct Grid {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    pub fn new(corner: &str, columns: impl Iterator<Item = impl Into<String>>) -> Self {
        Self {
            head: [corner.to_owned()]
                .into_iter()
                .chain(columns.map(Into::into))
                .collect(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, name: &str, cells: impl Iterator<Item = String>) {
        self.rows
            .push([name.to_owned()].into_iter().chain(cells).collect());
    }

    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = self
            .head
            .iter()
            .enumerate()
            .map(|(column, _)| if column == 0 { "---" } else { "---:" });
        let mut text = line(&self.head);
        let _ = writeln!(text, "|{}|", rule.collect::<Vec<_>>().join("|"));
        text.extend(self.rows.iter().map(|row| line(row)));
        text
    }

    pub fn text(&self) -> String {
        let plain = |cell: &str| cell.replace("**", "");
        let all = || [&self.head].into_iter().chain(&self.rows);
        let width = |column: usize| {
            all()
                .map(|row| plain(&row[column]).chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = String::new();
        for row in all() {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let cell = plain(cell);
                let _ = match column {
                    0 => write!(text, "{cell:width$}"),
                    _ => write!(text, "  {cell:>width$}"),
                };
            }
            text.push('\n');
        }
        text
    }
}
