//! Runs of many seeds side by side, and tables of what came of them.

use std::fmt::Write;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::ProgressBar;

use crate::stats::Estimate;

/// Does one run for each job, as many at once as there are cores; what comes of them is in the
/// order of the jobs, whoever was done first.
pub fn in_parallel<J: Sync, R: Send>(
    jobs: &[J],
    progress: &ProgressBar,
    run: impl Fn(&J) -> R + Sync,
) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((index, job)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            jobs.get(index).map(|job| (index, job))
        } {
            done.push((index, run(job)));
            progress.inc(1);
        }
        done
    };
    let mut all: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores.min(jobs.len())).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("a run panicked"));
        joined.flatten().collect()
    });
    all.sort_unstable_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, done)| done).collect()
}

/// What stands in a table.
#[derive(Clone, PartialEq, Debug)]
pub enum Cell {
    /// As it is; `-` stands for nothing.
    Text(String),
    /// A mean and its interval, with so many digits behind the point: for machines two columns.
    Mean(Estimate, usize),
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Cell {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Mean(estimate, digits) => estimate.text(*digits),
        }
    }
}

/// Rows under names, no two names the same: shown to people, and written for machines.
#[derive(Clone, PartialEq, Debug)]
pub struct Table {
    names: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Without a row.
    ///
    /// # Panics
    ///
    /// If two names are the same.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        for (place, name) in names.iter().enumerate() {
            assert!(!names[..place].contains(name), "two columns are called {name}");
        }
        Self { names: names.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new() }
    }

    /// One more row.
    ///
    /// # Panics
    ///
    /// If it has another number of cells than there are names.
    pub fn push<C: Into<Cell>>(&mut self, row: Vec<C>) {
        assert_eq!(row.len(), self.names.len());
        self.rows.push(row.into_iter().map(Into::into).collect());
    }

    /// For a terminal: columns of the same width.
    #[must_use]
    pub fn text(&self) -> String {
        let rows = self.rows.iter().map(|row| row.iter().map(Cell::text).collect());
        let lines: Vec<Vec<String>> = std::iter::once(self.names.clone()).chain(rows).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let widths: Vec<usize> =
            (0..self.names.len()).map(|column| width(column).unwrap_or(0)).collect();
        let mut out = String::new();
        for line in lines {
            for (index, (cell, width)) in line.iter().zip(&widths).enumerate() {
                // Writing to a string cannot fail.
                let _ = match index {
                    0 => write!(out, "  {cell:<width$}"),
                    _ => write!(out, "  {cell:>width$}"),
                };
            }
            out.push('\n');
        }
        if (0..self.names.len()).any(|column| self.has_means(column)) {
            out.push_str("  (means over the runs, ± their 95 % intervals)\n");
        }
        out
    }

    /// For machines (RFC 4180): a mean and its margin have columns of their own, and what is not
    /// known is empty.
    #[must_use]
    pub fn csv(&self) -> String {
        let means: Vec<bool> = (0..self.names.len()).map(|column| self.has_means(column)).collect();
        let head = self.names.iter().zip(&means).flat_map(|(name, has_means)| {
            let margin = has_means.then(|| format!("{name} (95 % margin)"));
            std::iter::once(name.clone()).chain(margin)
        });
        let mut out = line(head);
        for row in &self.rows {
            out += &line(row.iter().zip(&means).flat_map(|(cell, has_means)| {
                let (first, margin) = match cell {
                    Cell::Text(text) => (text.clone(), String::new()),
                    Cell::Mean(of, digits) => (of.mean_text(*digits), of.margin_text(*digits)),
                };
                std::iter::once(first).chain(has_means.then_some(margin))
            }));
        }
        out
    }

    fn has_means(&self, column: usize) -> bool {
        self.rows.iter().any(|row| matches!(row[column], Cell::Mean(..)))
    }
}

/// Of these cells, quoted where a reader would take them for something else.
fn line(cells: impl Iterator<Item = String>) -> String {
    let quoted = |cell: String| match cell {
        cell if cell == "-" => String::new(),
        cell if cell.contains([',', '"', '\n', '\r']) => {
            format!("\"{}\"", cell.replace('"', "\"\""))
        }
        cell => cell,
    };
    cells.map(quoted).collect::<Vec<_>>().join(",") + "\n"
}

/// The cells of each line of a file that [`Table::csv`] made.
#[cfg(test)]
pub(crate) fn cells_of(csv: &str) -> Vec<Vec<String>> {
    let (mut lines, mut line, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut is_quoted = false;
    for char in csv.chars() {
        match char {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => line.push(std::mem::take(&mut cell)),
            '\n' if !is_quoted => {
                line.push(std::mem::take(&mut cell));
                lines.push(std::mem::take(&mut line));
            }
            char => cell.push(char),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_of_jobs_is_in_their_order() {
        let jobs: Vec<u64> = (0..50).collect();
        let done = in_parallel(&jobs, &ProgressBar::hidden(), |job| job * job);
        assert_eq!(done, jobs.iter().map(|job| job * job).collect::<Vec<_>>());
    }

    #[test]
    fn a_table_has_both_forms() {
        let mut table = Table::new(&["name", "n"]);
        table.push(vec!["x", "100"]);
        assert_eq!(table.csv(), "name,n\nx,100\n");
        assert_eq!(table.text(), "  name    n\n  x     100\n");
    }

    #[test]
    fn machines_get_as_many_cells_as_names_whatever_is_in_them() {
        let mut table = Table::new(&["name, long", "of \"n\"", "time"]);
        let single = Estimate { mean: 2.0, margin: None };
        table.push(vec!["a, b".into(), "-".into(), Cell::Mean(Estimate::of(&[1.0, 1.0]), 2)]);
        table.push(vec!["c".into(), "1".into(), Cell::Mean(single, 2)]);
        let csv = table.csv();
        assert!(csv.starts_with("\"name, long\",\"of \"\"n\"\"\",time,time (95 % margin)\n"));
        assert!(csv.ends_with("\n\"a, b\",,1.00,0.00\nc,1,2.00,\n"), "{csv}");
        assert!(cells_of(&csv).iter().all(|cells| cells.len() == 4), "{csv}");
    }

    #[test]
    #[should_panic(expected = "two columns are called n")]
    fn two_names_that_are_the_same_are_a_bug() {
        let _ = Table::new(&["n", "m", "n"]);
    }
}
