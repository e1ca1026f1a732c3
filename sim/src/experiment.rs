//! Questions to a network, each with its answer computed from the data against a criterion.
//!
//! Each experiment prints its seed and its parameters first, then a table and a verdict, and leaves
//! a table for machines and a chart. An error of the run itself, a lost or doubled payload above
//! all, is no verdict: it ends the program.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

pub mod dandelion;
pub mod death;
pub mod eclipse;
pub mod hubs;
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

/// Milliseconds, with one digit behind the point.
pub(crate) fn millis(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
