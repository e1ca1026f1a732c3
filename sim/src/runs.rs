//! Runs of many seeds side by side, and tables of what came of them.

use std::fmt::Write;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::ProgressBar;

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

/// Rows of text under names: shown to people, and written for machines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Without a row.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        Self { names: names.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new() }
    }

    /// One more row.
    ///
    /// # Panics
    ///
    /// If it has another number of cells than there are names.
    pub fn push(&mut self, row: Vec<String>) {
        assert_eq!(row.len(), self.names.len());
        self.rows.push(row);
    }

    /// For a terminal: columns of the same width.
    #[must_use]
    pub fn text(&self) -> String {
        let lines = || std::iter::once(&self.names).chain(&self.rows);
        let width = |column: usize| lines().map(|line| line[column].chars().count()).max();
        let widths: Vec<usize> =
            (0..self.names.len()).map(|column| width(column).unwrap_or(0)).collect();
        let mut out = String::new();
        for line in lines() {
            for (index, (cell, width)) in line.iter().zip(&widths).enumerate() {
                // Writing to a string cannot fail.
                let _ = match index {
                    0 => write!(out, "  {cell:<width$}"),
                    _ => write!(out, "  {cell:>width$}"),
                };
            }
            out.push('\n');
        }
        out
    }

    /// For machines.
    #[must_use]
    pub fn csv(&self) -> String {
        let lines = std::iter::once(&self.names).chain(&self.rows);
        lines.map(|line| line.join(",") + "\n").collect()
    }

    /// Writes the form for machines.
    ///
    /// # Errors
    ///
    /// What hindered it.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        write_file(path, &self.csv())
    }
}

pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written = folder.and_then(|()| std::fs::write(path, text));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))
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
        table.push(vec!["x".into(), "100".into()]);
        assert_eq!(table.csv(), "name,n\nx,100\n");
        assert_eq!(table.text(), "  name    n\n  x     100\n");
    }
}
