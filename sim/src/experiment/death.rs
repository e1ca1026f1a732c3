//! Whether dead nodes vanish from an overlay, and whether the rest holds together.

use std::fmt::Write;
use std::path::PathBuf;

use super::overlay::{CYCLE, Rules, Setting, Start, some_of};
use super::{Report, each_case, pairs};
use crate::dice::rng;
use crate::plot::{Band, Chart};
use crate::runs::Table;
use crate::stats::Estimate;

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// How many nodes there are.
    #[arg(long, default_value_t = 1_000)]
    pub nodes: usize,
    /// Shares of the nodes that are killed at once, in percent.
    #[arg(long, value_delimiter = ',', default_values_t = [50, 80, 90, 95])]
    pub kill: Vec<u8>,
    /// Overlays, by their names in the table without commas; all unless there is one.
    #[arg(long)]
    pub overlay: Vec<String>,
    /// Cycles of ten seconds that are watched.
    #[arg(long, default_value_t = 100)]
    pub cycles: u32,
    /// Runs of each, with networks of their own.
    #[arg(long, default_value_t = 6)]
    pub seeds: u64,
    /// The seed of the first run; the others follow.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the table and the charts go.
    #[arg(long, default_value = "target/sim")]
    pub out: PathBuf,
}

/// Cycles before the kill.
const WARM_UP: f64 = 30.0;

/// Cycles after which it is looked whether the rest holds together.
const SOON: usize = 5;

/// One run: what is the case after each cycle, the first right after the kill.
#[derive(Clone, Debug)]
struct Outcome {
    /// Share of the entries of the living that point to the dead.
    dead: Vec<f64>,
    /// Share of the living in the largest piece.
    giant: Vec<f64>,
}

impl Outcome {
    /// Cycles until at most this share of the entries is dead.
    fn until(&self, share: f64) -> Option<usize> {
        self.dead.iter().position(|dead| *dead <= share)
    }

    fn half_life(&self) -> f64 {
        let cycles = self.until(self.dead[0] / 2.0);
        cycles.map_or(f64::INFINITY, |cycles| cycles as f64)
    }
}

struct Case {
    setting: Setting,
    kill: u8,
    runs: Vec<Outcome>,
}

impl Case {
    fn estimate(&self, figure: impl Fn(&Outcome) -> f64) -> Estimate {
        Estimate::of(&self.runs.iter().map(figure).collect::<Vec<_>>())
    }

    fn whole(&self, cycle: usize, least: f64) -> usize {
        self.runs.iter().filter(|run| run.giant[cycle.min(run.giant.len() - 1)] >= least).count()
    }
}

fn settings() -> Vec<Setting> {
    let mut all = Setting::all();
    all.retain(|setting| setting.name != "plain-stalest");
    for (name, deleting) in
        [("one-way", "one-way, deleting"), ("one-heartbeat", "one-heartbeat, deleting")]
    {
        let Rules::Sampling(rules) = Setting::named(name).rules else { continue };
        let rules = peer::overlay::SamplingRules { forgets: true, ..rules };
        all.push(Setting::sampling(deleting, rules));
    }
    all
}

fn run(setting: &Setting, kill: u8, parameters: &Parameters, seed: u64) -> Outcome {
    let Parameters { nodes, cycles, .. } = *parameters;
    let mut crowd = setting.crowd(nodes, Start::Random, None, seed);
    crowd.cycles(WARM_UP);
    let count = nodes * usize::from(kill.min(99)) / 100;
    crowd.kill(&some_of(nodes, count, &mut rng(seed).fork("dead")));
    let mut outcome = Outcome { dead: Vec::new(), giant: Vec::new() };
    for cycle in 0..=cycles {
        let graph = crowd.graph();
        outcome.dead.push(graph.dead_share());
        outcome.giant.push(graph.giant());
        if cycle < cycles {
            crowd.cycles(1.0);
        }
    }
    outcome
}

/// All runs, and what follows from them.
///
/// # Errors
///
/// What hindered writing.
pub fn experiment(parameters: &Parameters) -> Result<Report, String> {
    let asked = &parameters.overlay;
    let mut settings = settings();
    settings.retain(|one| asked.is_empty() || asked.contains(&one.name.replace(',', "")));
    if settings.is_empty() {
        return Err(format!("no overlay is called {}", asked.join(" or ")));
    }
    let seeds = parameters.seed..parameters.seed + parameters.seeds.max(1);
    let cases = pairs(&settings, &parameters.kill);
    let done = each_case(
        cases,
        |_| seeds.clone(),
        |(setting, kill), seed| run(setting, *kill, parameters, seed),
    );
    let case =
        |((setting, kill), runs): ((&Setting, _), _)| Case { setting: setting.clone(), kill, runs };
    let cases: Vec<_> = done.into_iter().map(case).collect();
    report(parameters, &cases)
}

fn report(parameters: &Parameters, cases: &[Case]) -> Result<Report, String> {
    let Parameters { nodes, cycles, seeds, seed, .. } = parameters;
    let table = table(cases);
    let mut text = format!(
        "sim experiment death: seeds {seed} to {}, {nodes} nodes, {cycles} cycles of {} s after \
         the kill\n\n{}\n",
        seed + seeds.max(&1) - 1,
        CYCLE.as_secs(),
        table.text(),
    );
    let (holds, verdict) = verdict(cases);
    text += &verdict;
    let csv = parameters.out.join("death.csv");
    table.write(&csv)?;
    let mut files = vec![csv];
    for (name, title, kill, figure) in [
        (
            "death-entries",
            "Dead entries in the lists of the living, after half of the nodes died at once",
            50,
            (|one: &Outcome, cycle: usize| 100.0 * one.dead[cycle]) as fn(&Outcome, usize) -> f64,
        ),
        (
            "death-pieces",
            "Living nodes in the largest piece, after nine of ten died at once",
            90,
            |one, cycle| 100.0 * one.giant[cycle],
        ),
    ] {
        let path = parameters.out.join(format!("{name}.svg"));
        let bands: Vec<Band> = cases
            .iter()
            .filter(|case| case.kill == kill)
            .map(|case| {
                let at = |cycle: u32| {
                    (f64::from(cycle), case.estimate(|one| figure(one, cycle as usize)))
                };
                let points = (0..=parameters.cycles.min(40)).map(at).collect();
                Band { name: case.setting.name.to_owned(), points }
            })
            .collect();
        if !bands.is_empty() {
            let (x_name, y_name) = ("cycles of 10 s after the kill", "percent");
            Chart { title, x_name, y_name }.lines(&path, &bands)?;
            files.push(path);
        }
    }
    Ok(Report { text, holds, files })
}

fn table(cases: &[Case]) -> Table {
    let mut table = Table::new(&[
        "overlay",
        "killed %",
        "half-life, cycles",
        "below 1 %, cycles",
        "dead at the end %",
        "largest piece % at once",
        "after 5",
        "at the end",
        "runs whole at once",
        "after 5",
        "at the end",
        "of",
    ]);
    for case in cases {
        let cell = |figure: &dyn Fn(&Outcome) -> f64| {
            let estimate = case.estimate(figure);
            if estimate.mean.is_finite() { format!("{:.1}", estimate.mean) } else { "-".into() }
        };
        let gone = |one: &Outcome| one.until(0.01).map_or(f64::INFINITY, |cycles| cycles as f64);
        let last = case.runs[0].giant.len() - 1;
        let soon = SOON.min(last);
        table.push(vec![
            case.setting.name.replace(',', ""),
            case.kill.to_string(),
            cell(&Outcome::half_life),
            cell(&gone),
            cell(&|one| 100.0 * one.dead[last]),
            cell(&|one| 100.0 * one.giant[0]),
            cell(&|one| 100.0 * one.giant[soon]),
            cell(&|one| 100.0 * one.giant[last]),
            case.whole(0, 1.0).to_string(),
            case.whole(soon, 1.0).to_string(),
            case.whole(last, 1.0).to_string(),
            case.runs.len().to_string(),
        ]);
    }
    table
}

/// Half dead: the lists forget soon and hold together at once. Nine of ten dead: HyParView with
/// samplers mends itself.
fn verdict(cases: &[Case]) -> (bool, String) {
    let (mut all, mut text) = (true, String::new());
    let mut judge = |holds: bool, line: String| {
        all &= holds;
        let said = if holds { "holds" } else { "DOES NOT HOLD" };
        let _ = writeln!(text, "verdict: {said}: {line}");
    };
    for case in cases {
        let name = case.setting.name;
        let last = case.runs[0].giant.len() - 1;
        let half_life = case.estimate(Outcome::half_life).mean;
        match (case.kill, name) {
            (50, "hyparview" | "hyparview+8") => {
                judge(half_life <= 2.0, format!("50 %, {name}: half-life {half_life:.1} <= 2"));
                if name == "hyparview+8" {
                    let soon = case.estimate(|one| one.giant[SOON.min(last)]).mean;
                    let line = format!("50 %, {name}: largest piece {soon:.4} >= 0.999 after 5");
                    judge(soon >= 0.999, line);
                }
            }
            (50, _) => {
                let most = if name == "cyclon" { 20.0 } else { 5.0 };
                judge(
                    half_life <= most,
                    format!("50 %, {name}: half-life {half_life:.1} <= {most}"),
                );
                let giant = case.estimate(|one| one.giant[0]).mean;
                judge(giant >= 0.9999, format!("50 %, {name}: in one piece at once, {giant:.4}"));
            }
            (90, "hyparview+8") => {
                let soon = case.estimate(|one| one.giant[SOON.min(last)]).mean;
                let whole = case.whole(last, 1.0);
                let line = format!(
                    "90 %, {name}: largest piece {soon:.4} >= 0.99 after 5, whole at the end in \
                     {whole} of {} runs, wanted 5 of 6",
                    case.runs.len()
                );
                judge(soon >= 0.99 && whole * 6 >= case.runs.len() * 5, line);
            }
            _ => {}
        }
    }
    (all, text)
}
