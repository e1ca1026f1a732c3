//! Whether an overlay grows together again when its network was split for a time.

use std::fmt::Write;
use std::path::PathBuf;

use super::overlay::{CYCLE, Setting, Start};
use super::{Report, each_case, pairs};
use crate::plot::Chart;
use crate::runs::Table;
use crate::stats::Estimate;

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// How many nodes there are.
    #[arg(long, default_value_t = 400)]
    pub nodes: usize,
    /// For how many cycles of ten seconds the halves are apart.
    #[arg(long, value_delimiter = ',', default_values_t = [5, 20, 50, 200])]
    pub apart: Vec<u32>,
    /// Cycles after the split before it is looked.
    #[arg(long, default_value_t = 30)]
    pub after: u32,
    /// Runs of each, with networks of their own.
    #[arg(long, default_value_t = 6)]
    pub seeds: u64,
    /// The seed of the first run; the others follow.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the table and the chart go.
    #[arg(long, default_value = "target/sim")]
    pub out: PathBuf,
}

/// Cycles before the split.
const WARM_UP: f64 = 30.0;

/// Samplers of those that have some.
const SAMPLERS: usize = 8;

/// The largest piece of a network that has grown together. Less than all, since some overlays have
/// islands without any split.
const MERGED: f64 = 0.9;

/// What one run gave.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// Share of the entries that pointed to the other half at the end of the split.
    across: f64,
    /// Share of the nodes in the largest piece in the end.
    giant: f64,
}

struct Case {
    setting: Setting,
    has_samplers: bool,
    apart: u32,
    runs: Vec<Outcome>,
}

impl Case {
    /// Share of the runs whose halves have met.
    fn merged(&self) -> f64 {
        let merged = self.runs.iter().filter(|run| run.giant >= MERGED).count();
        merged as f64 / self.runs.len() as f64
    }
}

fn settings() -> Vec<(Setting, bool)> {
    let with = |name, with| {
        [
            (Setting::named(name).with_samplers(name, 0), false),
            (Setting::named(name).with_samplers(with, SAMPLERS), true),
        ]
    };
    [
        with("plain", "plain+8"),
        with("one-heartbeat", "one-heartbeat+8"),
        with("newscast", "newscast+8"),
        with("cyclon", "cyclon+8"),
        with("hyparview", "hyparview+8"),
    ]
    .concat()
}

fn run(setting: &Setting, apart: u32, parameters: &Parameters, seed: u64) -> Outcome {
    let half = parameters.nodes / 2;
    let mut crowd = setting.crowd(parameters.nodes, Start::Random, None, seed);
    crowd.cycles(WARM_UP);
    crowd.split(&|node| u8::from(node >= half));
    crowd.cycles(f64::from(apart));
    let views = crowd.views();
    let entries = views.iter().map(Vec::len).sum::<usize>();
    let across = |(node, view): (usize, &Vec<u32>)| {
        view.iter().filter(|other| (**other as usize >= half) != (node >= half)).count()
    };
    let across = views.iter().enumerate().map(across).sum::<usize>() as f64 / entries.max(1) as f64;
    crowd.split(&|_| 0);
    crowd.cycles(f64::from(parameters.after));
    Outcome { across, giant: crowd.graph().giant() }
}

/// All runs, and what follows from them.
///
/// # Errors
///
/// What hindered writing.
pub fn experiment(parameters: &Parameters) -> Result<Report, String> {
    let settings = settings();
    let seeds = parameters.seed..parameters.seed + parameters.seeds.max(1);
    let cases = pairs(&settings, &parameters.apart);
    let done = each_case(
        cases,
        |_| seeds.clone(),
        |((setting, _), apart), seed| run(setting, *apart, parameters, seed),
    );
    let cases: Vec<_> = done
        .into_iter()
        .map(|(((setting, has_samplers), apart), runs)| Case {
            setting: setting.clone(),
            has_samplers: *has_samplers,
            apart,
            runs,
        })
        .collect();
    report(parameters, &cases)
}

fn report(parameters: &Parameters, cases: &[Case]) -> Result<Report, String> {
    let Parameters { nodes, after, seeds, seed, .. } = parameters;
    let mut table = Table::new(&[
        "overlay",
        "cycles apart",
        "entries across at the end %",
        "merged runs",
        "of",
        "largest piece %",
    ]);
    for case in cases {
        let estimate = |figure: fn(&Outcome) -> f64| {
            let estimate = Estimate::of(&case.runs.iter().map(figure).collect::<Vec<_>>());
            format!("{:.2}", estimate.mean)
        };
        table.push(vec![
            case.setting.name.to_owned(),
            case.apart.to_string(),
            estimate(|one| 100.0 * one.across),
            format!("{:.0}", case.merged() * case.runs.len() as f64),
            case.runs.len().to_string(),
            estimate(|one| 100.0 * one.giant),
        ]);
    }
    let mut text = format!(
        "sim experiment split-memory: seeds {seed} to {}, {nodes} nodes in two halves, looked at \
         {after} cycles of {} s after the split\n\n{}\n",
        seed + seeds.max(&1) - 1,
        CYCLE.as_secs(),
        table.text(),
    );
    let (holds, verdict) = verdict(cases);
    text += &verdict;
    let [csv, svg] = ["split-memory.csv", "split-memory.svg"].map(|name| parameters.out.join(name));
    table.write(&csv)?;
    chart(cases, &parameters.apart, &svg)?;
    Ok(Report { text, holds, files: vec![csv, svg] })
}

/// For each length of a split a bar for each overlay: none where no run has merged.
fn chart(cases: &[Case], apart: &[u32], path: &std::path::Path) -> Result<(), String> {
    let mut names: Vec<&str> = cases.iter().map(|case| case.setting.name).collect();
    names.dedup();
    // Of a share there is no interval by Student's t that would mean something.
    let share = |case: &Case| Estimate { mean: case.merged(), margin: 0.0 };
    let groups: Vec<(String, Vec<Estimate>)> = apart
        .iter()
        .map(|apart| {
            let bars = cases.iter().filter(|case| case.apart == *apart).map(share);
            (format!("{apart} cycles"), bars.collect())
        })
        .collect();
    let chart = Chart {
        title: "Runs whose halves have grown together 30 cycles after a split",
        x_name: "how long the halves were apart, cycles of 10 s",
        y_name: "share of the runs",
    };
    chart.bars(path, &names, &groups)
}

/// With samplers every split heals; without, none of fifty cycles or more.
fn verdict(cases: &[Case]) -> (bool, String) {
    let (mut all, mut text) = (true, String::new());
    let mut judge = |claim: &str, judged: Vec<&Case>, wanted: f64| {
        let wrong: Vec<String> = judged
            .iter()
            .filter(|case| case.merged() != wanted)
            .map(|case| {
                let (name, apart) = (case.setting.name, case.apart);
                format!("{name} after {apart} cycles: {:.0} %", 100.0 * case.merged())
            })
            .collect();
        all &= wrong.is_empty();
        let _ = match wrong.is_empty() {
            true => writeln!(text, "verdict: holds: {claim}: {} of {0} cases", judged.len()),
            false => writeln!(text, "verdict: DOES NOT HOLD: {claim}: {}", wrong.join("; ")),
        };
    };
    let with = cases.iter().filter(|case| case.has_samplers).collect();
    judge("with samplers the halves meet again in all runs", with, 1.0);
    let without = cases.iter().filter(|case| !case.has_samplers && case.apart >= 50).collect();
    judge("without samplers they never do after 50 cycles or more", without, 0.0);
    (all, text)
}
