//! Runs on real sockets beside their simulation: is what we simulate what happens?
//!
//! A [`Comparison`] is asked by the program about a log of `loadgen cluster`. The log alone says
//! what happened and what one link took; the simulation takes over when engines began, when
//! messages were said and what went wrong, and says by itself how the messages spread.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::experiment::{PAIRS_MAX, Question, Report, Verdicts, check_seeds, each_job, seeds};
use crate::plot::{Band, Chart};
use crate::runs::{Cell, Table};
use crate::stats::{Estimate, beside, number};

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

/// A log that was read, to be compared with its simulation.
pub struct Comparison {
    parameters: Parameters,
    logs: Vec<Log>,
    delay: Option<Delay>,
}

impl Comparison {
    /// Reads the log.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn open(parameters: Parameters) -> Result<Self, String> {
        check_seeds(parameters.seed, parameters.seeds)?;
        let logs = Log::open(&parameters.log);
        let logs = logs.map_err(|error| format!("{}: {error}", parameters.log.display()))?;
        let delay = Delay::of(logs.iter().map(|log| &log.course));
        Ok(Self { parameters, logs, delay })
    }

    /// Runs of each log by each seed.
    fn simulate(&self) -> Vec<Course> {
        // Beside the periods of push-pull the way of a datagram on loopback is nothing.
        let latency = self.delay.as_ref().map_or(0.0, |delay| delay.mean().max(0.0));
        let latency = Duration::from_secs_f64(latency / 1e6);
        let seeds = seeds(self.parameters.seed, self.parameters.seeds);
        let of_log = |log| seeds.clone().map(move |seed| (log, seed));
        let jobs: Vec<(&Log, u64)> = self.logs.iter().flat_map(of_log).collect();
        each_job(&jobs, |(log, seed)| replay(log, latency, *seed))
    }
}

impl Question for Comparison {
    fn check(&self) -> Result<(), String> {
        let Self { parameters, logs, delay } = self;
        let heard = |log: &Log| log.course.heard.iter().flatten().any(Option::is_some);
        if !logs.iter().any(heard) {
            return Err(NOTHING_HEARD.to_owned());
        }
        if delay.is_none() && logs[0].setting.over == Over::Streams {
            return Err("too few messages were heard to tell what a link takes".into());
        }
        let deliveries: usize = logs.iter().map(Log::deliveries).sum();
        let most = PAIRS_MAX / deliveries.max(1);
        match parameters.seeds as usize <= most {
            true => Ok(()),
            false => Err(format!(
                "--seeds {}: of a log with {deliveries} deliveries {most} at most",
                parameters.seeds
            )),
        }
    }

    fn head(&self) -> String {
        let Self { parameters, logs, delay } = self;
        let setting = &logs[0].setting;
        let over = match setting.over {
            Over::Streams => "a tree over connections",
            Over::Datagrams => "datagrams",
        };
        let faults = || logs.iter().flat_map(|log| &log.faults);
        let count = |is: fn(&Fault) -> bool| faults().filter(|(_, it)| is(it)).count();
        let said: usize = logs.iter().map(|log| log.course.published.len()).sum();
        let unsaid = match setting.messages * logs.len() - said {
            0 => String::new(),
            unsaid => format!(" ({unsaid} more were never said)"),
        };
        let links = delay.as_ref().map_or_else(
            || "what one link took is not told by datagrams, and taken to be nothing".to_owned(),
            |delay| {
                format!(
                    "one link took {:.0} us in the mean of {} links, as it does simulated; {:.0} \
                     in the median, {:.0} at 5 %, {:.0} at 95 %",
                    delay.mean(),
                    delay.count(),
                    delay.quantile(0.5),
                    delay.quantile(0.05),
                    delay.quantile(0.95)
                )
            },
        );
        format!(
            "sim cluster: {} runs of {} engines, {said} messages{unsaid} over {over}, {} killed, \
             {} left, {} paused; each simulated with seeds {} to {}\n\n{links}",
            logs.len(),
            setting.engines,
            count(|it| matches!(it, Fault::Kill(_))),
            count(|it| matches!(it, Fault::Leave(_))),
            count(|it| matches!(it, Fault::Pause(..))),
            parameters.seed,
            parameters.seed + parameters.seeds - 1,
        )
    }

    fn out(&self) -> Option<&Path> {
        Some(&self.parameters.out)
    }

    fn ask(&self) -> Result<Report, String> {
        let runs = self.simulate();
        let figures: Vec<Figures> = runs.iter().map(Course::figures).collect();
        let real: Vec<Figures> = self.logs.iter().map(|log| log.course.figures()).collect();
        if !runs.iter().any(|run| run.heard.iter().flatten().any(Option::is_some)) {
            return Err(NOTHING_HEARD.to_owned());
        }
        let pairs = pairs(&real, &figures);
        let table = table(&pairs);
        let files = vec![
            ("cluster.csv".to_owned(), table.csv()),
            ("cluster.svg".to_owned(), who_knows(&self.logs, &runs)?),
            ("cluster-dead.svg".to_owned(), wrongly_dead(&self.logs, &runs)?),
        ];
        Ok(Report { text: table.text(), verdicts: verdict(&pairs), files })
    }
}

const NOTHING_HEARD: &str = "nobody heard a message, so there is nothing to compare";

/// One figure of both.
struct Pair {
    name: &'static str,
    real: Estimate,
    simulated: Estimate,
    /// Most that they may differ by, of the simulated one.
    within: Option<f64>,
}

impl Pair {
    /// By how much the real one differs, of the simulated one, with the interval of that.
    fn differ_by(&self) -> Estimate {
        let difference = self.real.mean - self.simulated.mean;
        let both = self.real.margin.zip(self.simulated.margin);
        let margin = both.map(|(real, simulated)| real.hypot(simulated));
        match (difference, self.simulated.mean) {
            (0.0, 0.0) => Estimate { mean: 0.0, margin },
            (_, simulated) => Estimate { mean: difference, margin }.times(1.0 / simulated.abs()),
        }
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
        pair("until 95 % know, ms", |it| it.most_ms, Some(TIMES_WITHIN)),
        pair("until all know, ms", |it| it.all_ms, None),
        pair("delivered, %", |it| 100.0 * it.delivered, None),
    ];
    if real.iter().all(|one| one.hops.is_some()) {
        let hops = |it: &Figures| it.hops.unwrap_or(f64::NAN);
        pairs.insert(0, pair("links that a message came over", hops, Some(COUNTS_WITHIN)));
    }
    pairs
}

fn table(pairs: &[Pair]) -> Table {
    let mut table = Table::new(&["figure", "real", "simulated", "differs by %", "may by %"]);
    for pair in pairs {
        table.push(vec![
            pair.name.into(),
            Cell::Mean(pair.real, 4),
            Cell::Mean(pair.simulated, 4),
            Cell::Mean(pair.differ_by().times(100.0), 1),
            number(pair.within.map_or(f64::NAN, |within| 100.0 * within), 0).into(),
        ]);
    }
    table
}

/// A mean within the bound holds, and one farther beyond it than chance takes it does not. What
/// lies between cannot be told from so few runs.
fn verdict(pairs: &[Pair]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for pair in pairs {
        let Some(most) = pair.within.map(|within| 100.0 * within) else { continue };
        let differs = pair.differ_by().times(100.0);
        let size = beside(differs.mean.abs(), most, 1);
        let line = format!(
            "{}: {} on real sockets, {} simulated, {size} ±{} % apart, at most {most:.0}",
            pair.name,
            pair.real.text(4),
            pair.simulated.text(4),
            differs.margin_text(1),
        );
        match differs.margin {
            _ if !differs.mean.is_finite() => verdicts.judge(false, line),
            None => verdicts.untold(line + ": it takes two runs of both at least"),
            Some(_) if differs.mean.abs() <= most => verdicts.judge(true, line),
            Some(chance) if differs.mean.abs() - chance > most => verdicts.judge(false, line),
            Some(_) => verdicts.untold(line + ": too few runs"),
        }
    }
    verdicts
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

fn who_knows(logs: &[Log], runs: &[Course]) -> Result<String, String> {
    let courses = || logs.iter().map(|log| &log.course).chain(runs);
    let last = courses().map(|course| course.figures().all_ms).fold(0.0, f64::max);
    let place = |place: u32| 1.5 * last * f64::from(place) / f64::from(POINTS);
    let places: Vec<f64> = (0..=POINTS).map(place).collect();
    let know = |course: &Course, ms: f64| 100.0 * course.know_after(1e3 * ms);
    Chart {
        title: "Nodes that know a message",
        x_name: "milliseconds since it was said",
        y_name: "percent of the nodes",
        most: Some(100.0),
    }
    .lines(&lines(logs, runs, &places, know))
}

fn wrongly_dead(logs: &[Log], runs: &[Course]) -> Result<String, String> {
    let seconds = logs.iter().map(|log| log.end / 1_000_000).max().unwrap_or(0);
    let places: Vec<f64> = (0..=seconds).map(|second| second as f64).collect();
    let dead = |course: &Course, second: f64| course.wrongly_dead((1e6 * second) as u64) as f64;
    let (title, y_name) = match logs[0].setting.over {
        Over::Streams => ("Connections given up for silence until then", "connections"),
        Over::Datagrams => (
            "Living nodes that are taken to be dead, over all who take them to be",
            "pairs of nodes",
        ),
    };
    Chart { title, x_name: "seconds since the start", y_name, most: None }
        .lines(&lines(logs, runs, &places, dead))
}
