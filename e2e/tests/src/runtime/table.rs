//! A table of cells with what each must be, so that none is forgotten and all that differ are told at once.

use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

/// What is expected, and what was seen.
#[derive(Clone, Debug)]
pub struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
    seen: BTreeMap<(String, String), String>,
}

impl Table {
    /// A table whose cells must come to be as they stand in `rows`.
    #[must_use]
    pub fn new(title: &str, columns: &[&str], rows: &[(&str, &[&str])]) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            title: title.to_owned(),
            columns: owned(columns),
            rows: rows
                .iter()
                .map(|(name, cells)| ((*name).to_owned(), owned(cells)))
                .collect(),
            seen: BTreeMap::new(),
        }
    }

    /// Writes a cell down.
    pub fn saw(&mut self, row: &str, column: &str, cell: impl Display) {
        self.seen
            .insert((row.to_owned(), column.to_owned()), cell.to_string());
    }

    fn cells(&self) -> Vec<(&str, &str, &str, Option<&String>)> {
        let mut all = Vec::new();
        for (row, expected) in &self.rows {
            for (column, expected) in self.columns.iter().zip(expected) {
                let seen = self.seen.get(&(row.clone(), column.clone()));
                all.push((row.as_str(), column.as_str(), expected.as_str(), seen));
            }
        }
        all
    }

    /// As text: what was seen.
    #[must_use]
    pub fn text(&self) -> String {
        let first = self
            .rows
            .iter()
            .map(|(row, _)| row.len())
            .max()
            .unwrap_or(0);
        let widths: Vec<usize> = self
            .columns
            .iter()
            .map(|column| column.len().max(5))
            .collect();
        let mut text = format!("{}\n  {:first$}", self.title, "");
        for (column, width) in self.columns.iter().zip(&widths) {
            let _ = write!(text, "  {column:>width$}");
        }
        let mut line = "";
        let columns = widths.iter().cycle();
        for ((row, _, _, seen), width) in self.cells().into_iter().zip(columns) {
            if row != line {
                let _ = write!(text, "\n  {row:first$}");
                line = row;
            }
            let _ = write!(text, "  {:>width$}", seen.map_or("?", String::as_str));
        }
        text.push('\n');
        text
    }

    /// All cells are as they must be.
    ///
    /// # Errors
    /// Those that are not, and those nobody filled or asked for.
    pub fn verdict(&self) -> Result<()> {
        let mut wrong = Vec::new();
        let cells = self.cells();
        for (row, column, expected, seen) in &cells {
            match seen {
                Some(seen) if seen == expected => {}
                Some(seen) => wrong.push(format!("{row} at {column}: {seen}, not {expected}")),
                None => wrong.push(format!(
                    "{row} at {column}: not exercised, must be {expected}"
                )),
            }
        }
        let asked =
            |key: &(String, String)| cells.iter().any(|cell| cell.0 == key.0 && cell.1 == key.1);
        wrong.extend(
            self.seen
                .keys()
                .filter(|key| !asked(key))
                .map(|key| format!("{key:?}: nobody asked")),
        );
        ensure!(
            wrong.is_empty(),
            "{}:\n  {}",
            self.title,
            wrong.join("\n  ")
        );
        Ok(())
    }
}
