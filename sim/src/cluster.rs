//! Runs on real sockets beside their simulation: is what we simulate what happens?
//!
//! [`compare`] is called by the program with a log of `loadgen cluster`. The log alone says what
//! happened and what one link took; the simulation takes over when engines began, when messages
//! were said and what went wrong, and says by itself how the messages spread.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::experiment::{Report, bar};
use crate::plot::{Band, Chart};
use crate::runs::{Table, in_parallel};
use crate::stats::Estimate;

pub mod course;
mod delay;
pub mod log;
mod replay;
#[cfg(test)]
mod tests;

pub use course::{Course, Figures};
use delay::Delay;
use log::{Fault, Over};
pub use log::{Log, LogError};
use replay::replay;

/// What is compared.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// The log that `loadgen cluster` wrote.
    #[arg(long, default_value = "target/loadgen/cluster.jsonl")]
    pub log: PathBuf,
    /// Simulated runs of each run in the log.
    #[arg(long, default_value_t = 20)]
    pub seeds: u64,
    /// The seed of the first; the others follow.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the table and the charts go.
    #[arg(long, default_value = "target/sim")]
    pub out: PathBuf,
}

/// Most that hops and duplicates may differ by, and times.
const COUNTS_WITHIN: f64 = 0.10;
const TIMES_WITHIN: f64 = 0.25;

/// Points of a line.
const POINTS: u32 = 100;

/// Reads the log, simulates the same, and compares.
///
/// # Errors
///
/// What is wrong with the log, or hindered writing.
pub fn compare(parameters: &Parameters) -> Result<Report, String> {
    let logs = Log::open(&parameters.log);
    let logs = logs.map_err(|error| format!("{}: {error}", parameters.log.display()))?;
    let delay = Delay::of(logs.iter().map(|log| &log.course));
    if delay.is_none() && logs.iter().any(|log| log.setting.over == Over::Streams) {
        return Err("too few messages were heard to tell what a link takes".into());
    }
    // Beside the periods of push-pull the way of a datagram on loopback is nothing.
    let latency = delay.as_ref().map_or(0.0, |delay| delay.mean().max(0.0));
    let latency = Duration::from_secs_f64(latency / 1e6);
    let runs = simulate(&logs, latency, parameters.seed, parameters.seeds);
    report(parameters, &logs, delay.as_ref(), &runs)
}

/// Runs of each log by these seeds.
fn simulate(logs: &[Log], latency: Duration, seed: u64, seeds: u64) -> Vec<Course> {
    let seeds = seed..seed.saturating_add(seeds.max(1));
    let jobs: Vec<(&Log, u64)> =
        logs.iter().flat_map(|log| seeds.clone().map(move |seed| (log, seed))).collect();
    let progress = bar(jobs.len());
    let runs = in_parallel(&jobs, &progress, |(log, seed)| replay(log, latency, *seed));
    progress.finish_and_clear();
    runs
}

/// One figure of both.
struct Pair {
    name: &'static str,
    real: Estimate,
    simulated: Estimate,
    /// Most that they may differ by, of the simulated one.
    within: Option<f64>,
}

impl Pair {
    fn differ_by(&self) -> f64 {
        let difference = self.real.mean - self.simulated.mean;
        if difference == 0.0 { 0.0 } else { difference / self.simulated.mean }
    }

    fn holds(&self) -> bool {
        self.within.is_none_or(|within| self.differ_by().abs() <= within)
    }
}

fn pairs(real: &[Figures], runs: &[Figures]) -> Vec<Pair> {
    let pair = |name, figure: fn(&Figures) -> f64, within| {
        let estimate = |of: &[Figures]| Estimate::of(&of.iter().map(figure).collect::<Vec<_>>());
        Pair { name, real: estimate(real), simulated: estimate(runs), within }
    };
    let mut pairs = vec![
        pair("duplicates for each delivery", |it| it.duplicates, Some(COUNTS_WITHIN)),
        pair("until 50 % know, ms", |it| it.half_ms, None),
        pair("until 99 % know, ms", |it| it.most_ms, None),
        pair("until all know, ms", |it| it.all_ms, Some(TIMES_WITHIN)),
        pair("delivered, %", |it| 100.0 * it.delivered, None),
    ];
    if real.iter().all(|one| one.hops.is_some()) {
        let hops = |it: &Figures| it.hops.unwrap_or(f64::NAN);
        pairs.insert(0, pair("links that a message came over", hops, Some(COUNTS_WITHIN)));
    }
    pairs
}

fn report(
    parameters: &Parameters,
    logs: &[Log],
    delay: Option<&Delay>,
    runs: &[Course],
) -> Result<Report, String> {
    let figures: Vec<Figures> = runs.iter().map(Course::figures).collect();
    let real: Vec<Figures> = logs.iter().map(|log| log.course.figures()).collect();
    let heard = |course: &Course| course.heard.iter().flatten().any(Option::is_some);
    if !logs.iter().any(|log| heard(&log.course)) || !runs.iter().any(heard) {
        return Err("nobody heard a message, so there is nothing to compare".into());
    }
    let pairs = pairs(&real, &figures);
    let table = table(&pairs);
    let files =
        ["cluster.csv", "cluster.svg", "cluster-dead.svg"].map(|name| parameters.out.join(name));
    table.write(&files[0])?;
    who_knows(logs, runs, &files[1])?;
    wrongly_dead(logs, runs, &files[2])?;
    let (holds, verdict) = verdict(&pairs);
    let text = format!("{}\n{}\n{verdict}", head(parameters, logs, delay), table.text());
    Ok(Report { text, holds, files: files.to_vec() })
}

/// What was run, and what a link took.
fn head(parameters: &Parameters, logs: &[Log], delay: Option<&Delay>) -> String {
    let setting = &logs[0].setting;
    let over = match setting.over {
        Over::Streams => "a tree over connections",
        Over::Datagrams => "datagrams",
    };
    let faults = || logs.iter().flat_map(|log| &log.faults);
    let count = |is: fn(&Fault) -> bool| faults().filter(|(_, it)| is(it)).count();
    let messages: usize = logs.iter().map(|log| log.course.published.len()).sum();
    let links = delay.map_or_else(
        || "what one link took is not told by datagrams, and taken to be nothing".to_owned(),
        |delay| {
            format!(
                "one link took {:.0} us in the mean of {} links, as it does simulated; {:.0} in \
                 the median, {:.0} at 5 %, {:.0} at 95 %",
                delay.mean(),
                delay.count(),
                delay.quantile(0.5),
                delay.quantile(0.05),
                delay.quantile(0.95)
            )
        },
    );
    format!(
        "sim cluster: {} runs of {} engines, {messages} messages over {over}, {} killed, {} left, \
         {} paused; each simulated with seeds {} to {}\n\n{links}\n",
        logs.len(),
        setting.engines,
        count(|it| matches!(it, Fault::Kill(_))),
        count(|it| matches!(it, Fault::Leave(_))),
        count(|it| matches!(it, Fault::Pause(..))),
        parameters.seed,
        parameters.seed.saturating_add(parameters.seeds.max(1) - 1),
    )
}

fn table(pairs: &[Pair]) -> Table {
    let names = ["figure", "real", "margin", "simulated", "margin", "differs by %", "may"];
    let mut table = Table::new(&names);
    for pair in pairs {
        table.push(vec![
            pair.name.replace(',', ""),
            format!("{:.4}", pair.real.mean),
            format!("{:.4}", pair.real.margin),
            format!("{:.4}", pair.simulated.mean),
            format!("{:.4}", pair.simulated.margin),
            Some(pair.differ_by())
                .filter(|share| share.is_finite())
                .map_or_else(|| "-".into(), |share| format!("{:+.1}", 100.0 * share)),
            pair.within.map_or_else(|| "-".into(), |within| format!("{:.0}", 100.0 * within)),
        ]);
    }
    table
}

fn verdict(pairs: &[Pair]) -> (bool, String) {
    let mut text = String::new();
    for pair in pairs.iter().filter(|pair| pair.within.is_some()) {
        let said = if pair.holds() { "holds" } else { "DOES NOT HOLD" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "verdict: {said}: {}: {:.4} on real sockets, {:.4} simulated, {:+.1} %, at most {:.0}",
            pair.name,
            pair.real.mean,
            pair.simulated.mean,
            100.0 * pair.differ_by(),
            100.0 * pair.within.unwrap_or_default(),
        );
    }
    (pairs.iter().all(Pair::holds), text)
}

/// Both lines of a figure, that of the logs and that of the simulated runs.
fn lines(
    logs: &[Log],
    runs: &[Course],
    places: &[f64],
    figure: impl Fn(&Course, f64) -> f64,
) -> [Band; 2] {
    let band = |name: &str, courses: &[&Course]| {
        let at = |x: &f64| {
            let figures: Vec<f64> = courses.iter().map(|course| figure(course, *x)).collect();
            (*x, Estimate::of(&figures))
        };
        Band { name: name.to_owned(), points: places.iter().map(at).collect() }
    };
    let real: Vec<&Course> = logs.iter().map(|log| &log.course).collect();
    [band("real sockets", &real), band("simulated", &runs.iter().collect::<Vec<_>>())]
}

fn who_knows(logs: &[Log], runs: &[Course], path: &Path) -> Result<(), String> {
    let courses = || logs.iter().map(|log| &log.course).chain(runs);
    let last = courses().map(|course| course.figures().all_ms).fold(0.0, f64::max);
    let place = |place: u32| 1.5 * last * f64::from(place) / f64::from(POINTS);
    let places: Vec<f64> = (0..=POINTS).map(place).collect();
    let know = |course: &Course, ms: f64| 100.0 * course.know_after(1e3 * ms);
    Chart {
        title: "Nodes that know a message",
        x_name: "milliseconds since it was said",
        y_name: "percent of the nodes",
    }
    .rising_lines(path, &lines(logs, runs, &places, know))
}

fn wrongly_dead(logs: &[Log], runs: &[Course], path: &Path) -> Result<(), String> {
    let seconds = logs.iter().map(|log| log.end / 1_000_000).max().unwrap_or(0);
    let places: Vec<f64> = (0..=seconds).map(|second| second as f64).collect();
    let dead = |course: &Course, second: f64| course.wrongly_dead((1e6 * second) as u64) as f64;
    Chart {
        title: "Living nodes that are taken to be dead, over all who take them to be",
        x_name: "seconds since the start",
        y_name: "pairs of nodes",
    }
    .lines(path, &lines(logs, runs, &places, dead))
}
