//! Questions to a network, each with its answer computed from the data against a criterion.
//!
//! Each experiment prints its seed and its parameters first, then a table and a verdict, and leaves
//! a table for machines and a chart. An error of the run itself, a lost or doubled payload above
//! all, is no verdict: it ends the program.

use std::ops::Range;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use crate::runs::in_parallel;

pub mod dandelion;
pub mod death;
pub mod eclipse;
pub mod hubs;
pub mod joining;
pub mod log_or_loglog;
pub mod memory;
mod overlay;
pub mod peer_sampling;
pub mod relay;
pub mod retransmit_limit;
pub mod split_memory;
pub mod tree;
pub mod who_knows;

/// What an experiment found.
#[derive(Clone, Debug)]
pub struct Report {
    /// For people: parameters, table, verdict.
    pub text: String,
    /// Whether the criterion holds.
    pub holds: bool,
    /// What was written.
    pub files: Vec<PathBuf>,
}

/// A bar for so many runs, on the terminal if there is one.
pub(crate) fn bar(runs: usize) -> ProgressBar {
    let bar = ProgressBar::new(runs as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} runs, {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// Each of the first with each of the second, in their order.
pub(crate) fn pairs<'a, A, B: Copy>(first: &'a [A], second: &[B]) -> Vec<(&'a A, B)> {
    first.iter().flat_map(|one| second.iter().map(move |other| (one, *other))).collect()
}

/// A run of each case with each of its seeds, as many at once as there are cores: the cases in
/// their order, and the runs of each in the order of the seeds.
pub(crate) fn each_case<C: Sync, R: Send>(
    cases: Vec<C>,
    seeds: impl Fn(&C) -> Range<u64>,
    run: impl Fn(&C, u64) -> R + Sync,
) -> Vec<(C, Vec<R>)> {
    let of_case = |case| seeds(case).map(move |seed| (case, seed));
    let jobs: Vec<(&C, u64)> = cases.iter().flat_map(of_case).collect();
    let progress = bar(jobs.len());
    let mut done = in_parallel(&jobs, &progress, |(case, seed)| run(case, *seed)).into_iter();
    progress.finish_and_clear();
    let with_runs = |case| {
        let runs = done.by_ref().take(seeds(&case).count()).collect();
        (case, runs)
    };
    cases.into_iter().map(with_runs).collect()
}

/// Milliseconds, with one digit behind the point.
pub(crate) fn millis(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
