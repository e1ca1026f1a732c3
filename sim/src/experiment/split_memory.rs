//! Whether an overlay grows together again when its network was split for a time.

use std::path::{Path, PathBuf};

use super::overlay::{CYCLE, Setting, Start};
use super::{Question, Report, Verdicts, each_case, limits, pairs, seeds};
use crate::list::List;
use crate::plot::Chart;
use crate::runs::Table;
use crate::stats::{Estimate, number};

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// How many nodes there are.
    #[arg(long, default_value_t = 400)]
    pub nodes: usize,
    /// For how many cycles of ten seconds the halves are apart; numbers separated by commas.
    #[arg(long, value_name = "N,N,..", default_value_t = [5, 20, 50, 200].into())]
    pub apart: List<u32>,
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

impl Question for Parameters {
    fn check(&self) -> Result<(), String> {
        limits::check_seeds(self.seed, self.seeds)?;
        limits::machines(self.nodes)?;
        self.apart.iter().try_for_each(|apart| limits::cycles("apart", *apart))?;
        limits::cycles("after", self.after)
    }

    fn head(&self) -> String {
        let Self { nodes, after, seeds, seed, apart, .. } = self;
        format!(
            "sim experiment split-memory: seeds {seed} to {}, {nodes} nodes in two halves that \
             are apart for {apart} cycles of {} s, looked at {after} cycles after the split",
            seed + seeds - 1,
            CYCLE.as_secs(),
        )
    }

    fn out(&self) -> Option<&Path> {
        Some(&self.out)
    }

    fn ask(&self) -> Result<Report, String> {
        let settings = settings();
        let done = each_case(
            pairs(&settings, &self.apart),
            |_| seeds(self.seed, self.seeds),
            |((setting, _), apart), seed| run(setting, *apart, self, seed),
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
        let table = table(&cases);
        let files = vec![
            ("split-memory.csv".to_owned(), table.csv()),
            ("split-memory.svg".to_owned(), chart(&cases, self)?),
        ];
        Ok(Report { text: table.text(), verdicts: verdict(&cases), files })
    }
}

fn table(cases: &[Case]) -> Table {
    let mut table = Table::new(&[
        "overlay",
        "cycles apart",
        "entries across at the end %",
        "merged runs",
        "of",
        "largest piece %",
    ]);
    for case in cases {
        let mean = |figure: fn(&Outcome) -> f64| {
            number(Estimate::of(&case.runs.iter().map(figure).collect::<Vec<_>>()).mean, 2)
        };
        table.push(vec![
            case.setting.name.to_owned(),
            case.apart.to_string(),
            mean(|one| 100.0 * one.across),
            format!("{:.0}", case.merged() * case.runs.len() as f64),
            case.runs.len().to_string(),
            mean(|one| 100.0 * one.giant),
        ]);
    }
    table
}

/// For each length of a split a bar for each overlay: none where no run has merged.
fn chart(cases: &[Case], parameters: &Parameters) -> Result<String, String> {
    let mut names: Vec<&str> = cases.iter().map(|case| case.setting.name).collect();
    names.dedup();
    // Of a share there is no interval by Student's t that would mean something.
    let share = |case: &Case| Estimate::exact(case.merged());
    let groups: Vec<(String, Vec<Estimate>)> = parameters
        .apart
        .iter()
        .map(|apart| {
            let bars = cases.iter().filter(|case| case.apart == *apart).map(share);
            (format!("{apart} cycles"), bars.collect())
        })
        .collect();
    let after = parameters.after;
    let title = format!("Runs whose halves have grown together {after} cycles after a split");
    let chart = Chart {
        title: &title,
        x_name: "how long the halves were apart, cycles of 10 s",
        y_name: "share of the runs",
        most: Some(1.0),
    };
    chart.bars(&names, &groups)
}

/// With samplers every split heals; without, none of fifty cycles or more.
fn verdict(cases: &[Case]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let mut judge = |claim: &str, judged: Vec<&Case>, wanted: f64| {
        let wrong: Vec<String> = judged
            .iter()
            .filter(|case| case.merged() != wanted)
            .map(|case| {
                let (name, apart) = (case.setting.name, case.apart);
                format!("{name} after {apart} cycles: {:.0} %", 100.0 * case.merged())
            })
            .collect();
        match wrong.is_empty() {
            // Of no case nothing follows.
            true if judged.is_empty() => {}
            true => verdicts.judge(true, format!("{claim}: {} of {0} cases", judged.len())),
            false => verdicts.judge(false, format!("{claim}: {}", wrong.join("; "))),
        }
    };
    let with = cases.iter().filter(|case| case.has_samplers).collect();
    judge("with samplers the halves meet again in all runs", with, 1.0);
    let without = cases.iter().filter(|case| !case.has_samplers && case.apart >= 50).collect();
    judge("without samplers they never do after 50 cycles or more", without, 0.0);
    verdicts
}
