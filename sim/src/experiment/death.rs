//! Whether dead nodes vanish from an overlay, and whether the rest holds together.

use std::path::{Path, PathBuf};

use super::overlay::{CYCLE, Rules, Setting, Start, some_of};
use super::{Question, Report, Verdicts, each_case, limits, pairs, seeds};
use crate::dice::rng;
use crate::list::List;
use crate::plot::{Band, Chart};
use crate::runs::Table;
use crate::stats::{Estimate, beside, number};

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// How many nodes there are.
    #[arg(long, default_value_t = 1_000)]
    pub nodes: usize,
    /// Shares of the nodes that are killed at once, in percent, separated by commas.
    #[arg(long, value_name = "N,N,..", default_value_t = [50, 80, 90, 95].into())]
    pub kill: List<u8>,
    /// Overlays, by their names in the table, separated by commas; all unless there is one.
    #[arg(long, value_delimiter = ',')]
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
        [("one-way", "one-way deleting"), ("one-heartbeat", "one-heartbeat deleting")]
    {
        let Rules::Sampling(rules) = Setting::named(name).rules else { continue };
        let rules = peer::overlay::SamplingRules { forgets: true, ..rules };
        all.push(Setting::sampling(deleting, rules));
    }
    all
}

/// How many of the nodes such a share is.
const fn dead_among(nodes: usize, percent: u8) -> usize {
    nodes * percent as usize / 100
}

fn run(setting: &Setting, kill: u8, parameters: &Parameters, seed: u64) -> Outcome {
    let Parameters { nodes, cycles, .. } = *parameters;
    let mut crowd = setting.crowd(nodes, Start::Random, None, seed);
    crowd.cycles(WARM_UP);
    crowd.kill(&some_of(nodes, dead_among(nodes, kill), &mut rng(seed).fork("dead")));
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

impl Parameters {
    /// Those that are asked for.
    fn settings(&self) -> Vec<Setting> {
        let mut settings = settings();
        let is_asked =
            |one: &Setting| self.overlay.is_empty() || self.overlay.iter().any(|n| n == one.name);
        settings.retain(is_asked);
        settings
    }
}

impl Question for Parameters {
    fn check(&self) -> Result<(), String> {
        limits::check_seeds(self.seed, self.seeds)?;
        limits::machines(self.nodes)?;
        limits::cycles("cycles", self.cycles)?;
        limits::all_within("kill", &self.kill, 1..=99)?;
        let none = |kill: &&u8| dead_among(self.nodes, **kill) == 0;
        if let Some(kill) = self.kill.iter().find(none) {
            return Err(format!("--kill {kill}: of {} nodes that is none", self.nodes));
        }
        let all: Vec<&str> = settings().iter().map(|setting| setting.name).collect();
        match self.overlay.iter().find(|name| !all.contains(&name.as_str())) {
            Some(name) => Err(format!("no overlay is called {name}: {}", all.join(", "))),
            None => Ok(()),
        }
    }

    fn head(&self) -> String {
        let Self { nodes, cycles, seeds, seed, kill, .. } = self;
        format!(
            "sim experiment death: seeds {seed} to {}, {nodes} nodes of which {kill} % die, \
             {cycles} cycles of {} s after that",
            seed + seeds - 1,
            CYCLE.as_secs(),
        )
    }

    fn out(&self) -> Option<&Path> {
        Some(&self.out)
    }

    fn ask(&self) -> Result<Report, String> {
        let settings = self.settings();
        let done = each_case(
            pairs(&settings, &self.kill),
            |_| seeds(self.seed, self.seeds),
            |(setting, kill), seed| run(setting, *kill, self, seed),
        );
        let case = |((setting, kill), runs): ((&Setting, _), _)| Case {
            setting: setting.clone(),
            kill,
            runs,
        };
        let cases: Vec<_> = done.into_iter().map(case).collect();
        report(self, &cases)
    }
}

fn report(parameters: &Parameters, cases: &[Case]) -> Result<Report, String> {
    let table = table(cases);
    let mut files = vec![("death.csv".to_owned(), table.csv())];
    for (name, title, kill, figure) in [
        (
            "death-entries.svg",
            "Dead entries in the lists of the living, after half of the nodes died at once",
            50,
            (|one: &Outcome, cycle: usize| 100.0 * one.dead[cycle]) as fn(&Outcome, usize) -> f64,
        ),
        (
            "death-pieces.svg",
            "Living nodes in the largest piece, after nine of ten died at once",
            90,
            |one, cycle| 100.0 * one.giant[cycle],
        ),
    ] {
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
            let chart = Chart { title, x_name, y_name, most: Some(100.0) };
            files.push((name.to_owned(), chart.lines(&bands)?));
        }
    }
    Ok(Report { text: table.text(), verdicts: verdict(cases), files })
}

fn table(cases: &[Case]) -> Table {
    let mut table = Table::new(&[
        "overlay",
        "killed %",
        "half-life cycles",
        "below 1 % cycles",
        "dead at the end %",
        "largest piece % at once",
        "largest after 5",
        "largest at the end",
        "runs whole at once",
        "whole after 5",
        "whole at the end",
        "of",
    ]);
    for case in cases {
        let cell = |figure: &dyn Fn(&Outcome) -> f64| number(case.estimate(figure).mean, 1);
        let gone = |one: &Outcome| one.until(0.01).map_or(f64::INFINITY, |cycles| cycles as f64);
        let last = case.runs[0].giant.len() - 1;
        let is_soon = |of: String| if last < SOON { "-".to_owned() } else { of };
        let soon = SOON.min(last);
        table.push(vec![
            case.setting.name.to_owned(),
            case.kill.to_string(),
            cell(&Outcome::half_life),
            cell(&gone),
            cell(&|one| 100.0 * one.dead[last]),
            cell(&|one| 100.0 * one.giant[0]),
            is_soon(cell(&|one| 100.0 * one.giant[soon])),
            cell(&|one| 100.0 * one.giant[last]),
            case.whole(0, 1.0).to_string(),
            is_soon(case.whole(soon, 1.0).to_string()),
            case.whole(last, 1.0).to_string(),
            case.runs.len().to_string(),
        ]);
    }
    table
}

/// Half dead: the lists forget soon and hold together at once. Nine of ten dead: HyParView with
/// samplers mends itself.
fn verdict(cases: &[Case]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for case in cases {
        let name = case.setting.name;
        let last = case.runs[0].giant.len() - 1;
        let half_life = case.estimate(Outcome::half_life).mean;
        let mut forgets = |most: f64| {
            let found = match half_life.is_finite() {
                true => format!("{} cycles", beside(half_life, most, 1)),
                false => "longer than some run".to_owned(),
            };
            let line = format!("50 %, {name}: half-life {found}, at most {most}");
            verdicts.judge(half_life <= most, line);
        };
        match (case.kill, name) {
            (50, "hyparview" | "hyparview+8") => {
                forgets(2.0);
                if name == "hyparview+8" {
                    let line = format!("50 %, {name}: largest piece after {SOON} cycles");
                    largest(&mut verdicts, case, line, 0.999, true);
                }
            }
            (50, _) => {
                forgets(if name == "cyclon" { 20.0 } else { 5.0 });
                let (giant, least) = (case.estimate(|one| one.giant[0]).mean, 0.9999);
                let found = beside(giant, least, 4);
                let line = format!("50 %, {name}: largest piece at once {found}, at least {least}");
                verdicts.judge(giant >= least, line);
            }
            (90, "hyparview+8") => {
                let (whole, runs) = (case.whole(last, 1.0), case.runs.len());
                let line = format!(
                    "90 %, {name}: whole at the end in {whole} of {runs} runs, wanted 5 of 6; \
                     largest piece after {SOON} cycles"
                );
                largest(&mut verdicts, case, line, 0.99, whole * 6 >= runs * 5);
            }
            _ => {}
        }
    }
    verdicts
}

/// Whether the largest piece is so large soon, and what else is wanted holds.
fn largest(verdicts: &mut Verdicts, case: &Case, line: String, least: f64, holds: bool) {
    if case.runs[0].giant.len() <= SOON {
        return verdicts.untold(format!("{line}: fewer were watched"));
    }
    let soon = case.estimate(|one| one.giant[SOON]).mean;
    let line = format!("{line} {}, at least {least}", beside(soon, least, 4));
    verdicts.judge(holds && soon >= least, line);
}
