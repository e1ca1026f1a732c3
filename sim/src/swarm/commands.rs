//! Swarms from a command line. `Err` is what is to be said when a law did not hold.

use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Case, Run};
use crate::network::Plant;
use crate::runs::in_parallel;

/// Seeds that are run between two looks at the clock, and at whether one failed.
const SEEDS_AT_ONCE: u64 = 16;

impl ValueEnum for Plant {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(self.name().into())
    }
}

/// The swarms of some seeds.
#[derive(Args)]
pub struct Swarm {
    /// From the first seed to before the last, as in 0..200.
    #[arg(long, value_parser = range, default_value = "0..200")]
    pub seeds: std::ops::Range<u64>,
    /// A fault of the driver, to see that it is noticed.
    #[arg(long)]
    pub plant: Option<Plant>,
}

/// The swarm of one seed.
#[derive(Args)]
pub struct Replay {
    /// Which one.
    #[arg(long, required_unless_present = "log")]
    pub seed: Option<u64>,
    /// These of its faults alone, by their places; an empty list: none.
    #[arg(long, value_parser = places)]
    pub keep: Option<Places>,
    /// A fault of the driver, to see that it is noticed.
    #[arg(long)]
    pub plant: Option<Plant>,
    /// Tell what becomes of this payload, by the number that a failure names it with.
    #[arg(long)]
    pub watch: Option<usize>,
    /// Record each process of it, in files of this directory.
    #[arg(long)]
    pub record: Option<PathBuf>,
    /// Not a swarm, but this recording of one process, an engine's or a swarm's: does it put out
    /// the same again?
    #[arg(long, conflicts_with_all = ["seed", "keep", "plant", "watch", "record"])]
    pub log: Option<PathBuf>,
}

/// Places in a schedule of faults.
#[derive(Clone, Debug)]
pub struct Places(pub Vec<usize>);

/// Seed after seed.
#[derive(Args)]
pub struct Soak {
    /// For how long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub minutes: u64,
    /// From which seed on.
    #[arg(long, default_value_t = 0)]
    pub first: u64,
}

/// A seed takes a tenth of a second: this many are a day's work.
const SEEDS_MAX: u64 = 1_000_000;

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let bounds = text.split_once("..").map(|(from, to)| (from.parse(), to.parse()));
    match bounds {
        Some((Ok(from), Ok(to))) if from < to && to - from <= SEEDS_MAX => Ok(from..to),
        _ => Err(format!("two numbers, the smaller one first, at most {SEEDS_MAX} apart: 0..200")),
    }
}

fn places(text: &str) -> Result<Places, String> {
    let numbers = text.split(',').filter(|number| !number.is_empty()).map(str::parse);
    numbers.collect::<Result<_, _>>().map(Places).map_err(|error| error.to_string())
}

impl Replay {
    fn case(&self) -> Case {
        let keep = self.keep.as_ref().map(|places| places.0.clone());
        let (seed, record) = (self.seed.unwrap_or_default(), self.record.is_some());
        Case { seed, keep, plant: self.plant, watch: self.watch, record }
    }
}

/// Runs all of these seeds.
///
/// # Errors
///
/// What failed.
pub fn swarm(parameters: &Swarm) -> Result<String, String> {
    let case = |seed| Case { plant: parameters.plant, ..Case::of_seed(seed) };
    let cases: Vec<Case> = parameters.seeds.clone().map(case).collect();
    let progress = ProgressBar::new(cases.len() as u64).with_style(style());
    let runs = in_parallel(&cases, &progress, Case::run);
    progress.finish_and_clear();
    let failures: String = runs.iter().filter(|run| run.failure.is_some()).map(Run::text).collect();
    let failed = runs.iter().filter(|run| run.failure.is_some()).count();
    let digest = runs.iter().fold(0, |sum: u64, run| sum.rotate_left(1) ^ run.digest);
    let mut text = failures;
    let _ = writeln!(
        text,
        "{} swarms, {failed} failed, {} events, {:.0} virtual hours, digest {digest:016x}, {:.1} s",
        runs.len(),
        runs.iter().map(|run| run.events).sum::<u64>(),
        runs.iter().map(|run| run.lasted.as_secs_f64()).sum::<f64>() / 3_600.0,
        progress.elapsed().as_secs_f64(),
    );
    if failed == 0 { Ok(text) } else { Err(text) }
}

/// Runs one seed, and tells its faults.
///
/// # Errors
///
/// The same, if it failed.
pub fn replay(parameters: &Replay) -> Result<String, String> {
    if let Some(path) = &parameters.log {
        return replay_log(path);
    }
    let run = parameters.case().run();
    if let Some(directory) = &parameters.record {
        write_recordings(&run, directory)?;
    }
    if run.failure.is_none() { Ok(run.text()) } else { Err(run.text()) }
}

fn replay_log(path: &Path) -> Result<String, String> {
    let told = |error: &dyn Display| format!("{}: {error}\n", path.display());
    let recording = std::fs::read(path).map_err(|error| told(&error))?;
    let peer::Replay { calls, outputs, lasted, is_cut } =
        peer::replay(&recording).map_err(|error| told(&error))?;
    let end = if is_cut { ", and the recording is cut off" } else { "" };
    let lasted = lasted.as_secs_f64();
    Ok(format!("{calls} calls in {lasted:.3} s have the same {outputs} outputs{end}\n"))
}

fn write_recordings(run: &Run, directory: &Path) -> Result<(), String> {
    let told = |error| format!("{}: {error}\n", directory.display());
    std::fs::create_dir_all(directory).map_err(told)?;
    for (node, life, recording) in &run.recordings {
        let path = directory.join(format!("node-{node}-life-{life}.recording"));
        std::fs::write(path, recording).map_err(told)?;
    }
    Ok(())
}

/// Finds a small schedule that fails.
///
/// # Errors
///
/// That schedule.
pub fn shrink(parameters: &Replay) -> Result<String, String> {
    match parameters.case().shrink() {
        Some(run) => Err(run.text()),
        None => Ok(format!("seed {} does not fail\n", parameters.case().seed)),
    }
}

/// Runs seed after seed.
///
/// # Errors
///
/// The first that failed.
pub fn soak(parameters: &Soak) -> Result<String, String> {
    let whole = Duration::from_secs(60 * parameters.minutes);
    let progress = ProgressBar::new(whole.as_secs()).with_style(style());
    let mut next = parameters.first;
    while progress.elapsed() < whole {
        let cases: Vec<Case> = (next..next + SEEDS_AT_ONCE).map(Case::of_seed).collect();
        let runs = in_parallel(&cases, &ProgressBar::hidden(), Case::run);
        if let Some(failed) = runs.iter().find(|run| run.failure.is_some()) {
            progress.finish_and_clear();
            return Err(failed.text());
        }
        next += SEEDS_AT_ONCE;
        progress.set_position(progress.elapsed().as_secs().min(whole.as_secs()));
        progress.set_message(format!("seed {next}"));
    }
    progress.finish_and_clear();
    Ok(format!("seeds {}..{next}: all laws hold\n", parameters.first))
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {elapsed} {msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}
