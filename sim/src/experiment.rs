//! Questions to a network, each with its answer computed from the data against a criterion.
//!
//! [`answer`] asks one: it refuses what makes no sense, prints the seed and the parameters before
//! the work, then tables and verdicts, and leaves tables for machines and charts. An error of the
//! run itself, a lost or doubled payload above all, is no verdict: it ends the program.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use crate::runs::in_parallel;

pub mod dandelion;
pub mod death;
pub mod eclipse;
pub mod hubs;
pub mod joining;
mod limits;
pub mod log_or_loglog;
pub mod memory;
mod overlay;
pub mod peer_sampling;
pub mod relay;
pub mod retransmit_limit;
pub mod split_memory;
#[cfg(test)]
mod tests;
pub mod tree;
mod verdicts;
pub mod who_knows;

pub use limits::check_seeds;
pub(crate) use limits::{PAIRS_MAX, seeds};
pub use verdicts::{Outcome, Verdicts};

/// The questions, as they are typed.
#[derive(Debug, clap::Subcommand)]
pub enum Experiment {
    /// How well is it hidden who made a transaction, and at what cost?
    Dandelion(dandelion::Parameters),
    /// How fast do payloads spread, and at what cost?
    Relay(relay::Parameters),
    /// What does an endpoint with small pools take?
    Memory(memory::Parameters),
    /// What graphs does peer sampling make, and are the claims about them true?
    PeerSampling(peer_sampling::Parameters),
    /// Do all who join HyParView form one piece, however fast they come?
    Joining(joining::Parameters),
    /// Do dead nodes vanish from an overlay, and does the rest hold together?
    Death(death::Parameters),
    /// Does an overlay grow together again after a split?
    SplitMemory(split_memory::Parameters),
    /// How many places of honest views can liars gain?
    Eclipse(eclipse::Parameters),
    /// Does push-pull take log N rounds or log log N?
    LogOrLoglog(log_or_loglog::Parameters),
    /// Where are rumours ultra-fast, and who pays for it?
    Hubs(hubs::Parameters),
    /// How many copies of an event suffice?
    RetransmitLimit(retransmit_limit::Parameters),
    /// What does a broadcast along a tree cost, and does the tree mend itself?
    Tree(tree::Parameters),
    /// How fast do all know of an event, and how surely, on a bad network?
    WhoKnows(who_knows::Parameters),
}

impl Experiment {
    /// The one that was asked.
    #[must_use]
    pub fn question(&self) -> &dyn Question {
        match self {
            Self::Dandelion(parameters) => parameters,
            Self::Relay(parameters) => parameters,
            Self::Memory(parameters) => parameters,
            Self::PeerSampling(parameters) => parameters,
            Self::Joining(parameters) => parameters,
            Self::Death(parameters) => parameters,
            Self::SplitMemory(parameters) => parameters,
            Self::Eclipse(parameters) => parameters,
            Self::LogOrLoglog(parameters) => parameters,
            Self::Hubs(parameters) => parameters,
            Self::RetransmitLimit(parameters) => parameters,
            Self::Tree(parameters) => parameters,
            Self::WhoKnows(parameters) => parameters,
        }
    }
}

/// What can be asked, with its parameters.
pub trait Question {
    /// Whether the parameters make sense, and a run of them fits into a machine.
    ///
    /// # Errors
    ///
    /// The parameter, and what it may be.
    fn check(&self) -> Result<(), String>;

    /// Seed and parameters, in a line.
    fn head(&self) -> String;

    /// Where files go, if there are any.
    fn out(&self) -> Option<&Path>;

    /// All runs, and what follows from them. Only for what passed the check.
    ///
    /// # Errors
    ///
    /// What went wrong in a run.
    fn ask(&self) -> Result<Report, String>;
}

/// What was found.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// Tables for people.
    pub text: String,
    /// What follows.
    pub verdicts: Verdicts,
    /// Files for machines and charts: their names, and what is in them.
    pub files: Vec<(String, String)>,
}

/// Asks a question, and prints what it finds while it goes: nothing is lost if a file cannot be
/// written in the end.
///
/// # Errors
///
/// Parameters without sense, a run that went wrong, or what hindered writing.
pub fn answer(question: &dyn Question, mut out: impl Write) -> Result<Outcome, String> {
    question.check()?;
    if let Some(folder) = question.out() {
        probe(folder)?;
    }
    // Whoever read may have gone; that is no reason to fail.
    let _ = writeln!(out, "{}\n", question.head());
    let _ = out.flush();
    let Report { text, verdicts, files } = question.ask()?;
    let _ = writeln!(out, "{text}\n{verdicts}");
    for (name, content) in files {
        let path = question.out().unwrap_or_else(|| Path::new(".")).join(name);
        let written = std::fs::write(&path, content);
        written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        let _ = writeln!(out, "written: {}", path.display());
    }
    let _ = out.flush();
    Ok(verdicts.outcome())
}

/// Whether files can be written into a folder, which is made if there is none.
fn probe(folder: &Path) -> Result<(), String> {
    if folder.exists() && !folder.is_dir() {
        return Err(format!("--out {}: it is no directory", folder.display()));
    }
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    let tried = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&probe, ""));
    let tried = tried.and_then(|()| std::fs::remove_file(&probe));
    tried.map_err(|error| format!("--out {}: {error}", folder.display()))
}

/// A bar for so many runs, on the terminal if there is one.
fn bar(runs: usize) -> ProgressBar {
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

/// As many jobs at once as there are cores, behind a bar that tells how many are done.
pub(crate) fn each_job<J: Sync, R: Send>(jobs: &[J], run: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let progress = bar(jobs.len());
    let done = in_parallel(jobs, &progress, run);
    progress.finish_and_clear();
    done
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
    let mut done = each_job(&jobs, |(case, seed)| run(case, *seed)).into_iter();
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
