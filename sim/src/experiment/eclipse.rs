//! How many places of honest views liars can gain, against lists as they are and hardened ones.

mod liar;

use std::fmt::Write;
use std::path::PathBuf;

use peer::Locality;
use peer::overlay::{Sampling, SamplingRules};

use super::overlay::{CYCLE, rng_of};
use super::{Report, each_case, pairs};
use crate::dice::rng;
use crate::machines::{Addresses, Crowd};
use crate::plot::{Band, Chart};
use crate::runs::Table;
use crate::stats::Estimate;
use liar::{Liar, Node};

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// How many nodes there are, the liars included.
    #[arg(long, default_value_t = 500)]
    pub nodes: usize,
    /// Shares of the nodes that are liars, in percent.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 5, 10])]
    pub liars: Vec<u8>,
    /// Groups of addresses (IPv4 /16) that the liars have; 0: one each, the worst case.
    #[arg(long, default_value_t = 0)]
    pub liar_groups: usize,
    /// Calls that a liar makes in a cycle, each to an honest node at random.
    #[arg(long, default_value_t = 1)]
    pub calls: u32,
    /// Cycles of ten seconds that are watched.
    #[arg(long, default_value_t = 200)]
    pub cycles: u32,
    /// Runs of each, with networks of their own.
    #[arg(long, default_value_t = 3)]
    pub seeds: u64,
    /// The seed of the first run; the others follow.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the table and the chart go.
    #[arg(long, default_value = "target/sim")]
    pub out: PathBuf,
}

/// What a list of rules is called, and whether it is hardened.
struct Setting {
    name: &'static str,
    rules: SamplingRules,
    is_hardened: bool,
}

fn settings() -> Vec<Setting> {
    let local = |rules: SamplingRules| SamplingRules { locality: Locality::Local, ..rules };
    let as_is = |name, rules| Setting { name, rules: local(rules), is_hardened: false };
    let hardened = |name, rules: SamplingRules| Setting {
        name,
        rules: local(rules).hardened(),
        is_hardened: true,
    };
    vec![
        as_is("plain", SamplingRules::plain()),
        as_is("one-way", SamplingRules::one_way()),
        as_is("one-heartbeat", SamplingRules::one_heartbeat()),
        as_is("newscast", SamplingRules::newscast()),
        as_is("cyclon", SamplingRules::cyclon()),
        hardened("plain hardened", SamplingRules::plain()),
        hardened("one-heartbeat hardened", SamplingRules::one_heartbeat()),
        hardened("newscast hardened", SamplingRules::newscast()),
        hardened("cyclon hardened", SamplingRules::cyclon()),
    ]
}

/// One run: after each cycle.
#[derive(Clone, Debug)]
struct Outcome {
    /// Share of the entries of honest nodes that are liars.
    lies: Vec<f64>,
    /// Honest nodes that have liars only, in the end.
    eclipsed: usize,
    /// Places of honest views that are in use, in the end.
    filled: f64,
}

/// Contacts of an honest node: drawn from all, liars included.
const CONTACTS: usize = 20;

fn run(setting: &Setting, liars: u8, parameters: &Parameters, seed: u64) -> Outcome {
    let nodes = parameters.nodes;
    let honest = nodes - (nodes * usize::from(liars.min(90)) / 100).max(1);
    let groups = match parameters.liar_groups {
        0 => (nodes - honest).min(256),
        groups => groups.min(256),
    };
    let addresses = Addresses::with_liars(honest, groups);
    let dice = rng(seed);
    let mut crowd = Crowd::new(addresses, dice.fork("crowd"));
    let mut draws = dice.fork("contacts");
    let crew: Vec<_> = (honest..nodes).map(|node| addresses.of(node)).collect();
    for node in 0..nodes {
        let (addr, rng) = (addresses.of(node), rng_of(&dice, node));
        if node < honest {
            let contacts: Vec<usize> =
                (0..CONTACTS).map(|_| draws.below(nodes as u64) as usize).collect();
            let machine = Sampling::new(setting.rules.clone(), addr, rng);
            crowd.add(Node::Honest(Box::new(machine)), &contacts);
        } else {
            let victims: Vec<usize> = (0..honest).collect();
            let wait = CYCLE / parameters.calls.max(1);
            crowd.add(Node::Liar(Box::new(Liar::new(crew.clone(), wait, rng))), &victims);
        }
    }
    let mut outcome = Outcome { lies: Vec::new(), eclipsed: 0, filled: 0.0 };
    for _ in 0..parameters.cycles.max(1) {
        crowd.run(CYCLE);
        let views = crowd.views();
        let is_liar = |node: &&u32| **node as usize >= honest;
        let liars = |view: &Vec<u32>| view.iter().filter(is_liar).count();
        let views = &views[..honest];
        let entries = views.iter().map(Vec::len).sum::<usize>();
        let lies = views.iter().map(liars).sum::<usize>();
        outcome.lies.push(lies as f64 / entries.max(1) as f64);
        let all_lies = |view: &&Vec<u32>| !view.is_empty() && liars(view) == view.len();
        outcome.eclipsed = views.iter().filter(all_lies).count();
        outcome.filled = entries as f64 / (honest * setting.rules.view) as f64;
    }
    outcome
}

struct Case<'a> {
    setting: &'a Setting,
    liars: u8,
    runs: Vec<Outcome>,
}

impl Case<'_> {
    /// After so many cycles.
    fn lies(&self, cycle: usize) -> Estimate {
        let at = |run: &Outcome| run.lies[cycle.clamp(1, run.lies.len()) - 1];
        Estimate::of(&self.runs.iter().map(at).collect::<Vec<_>>())
    }
}

/// All runs, and what follows from them.
///
/// # Errors
///
/// What hindered writing.
pub fn experiment(parameters: &Parameters) -> Result<Report, String> {
    let settings = settings();
    let seeds = parameters.seed..parameters.seed + parameters.seeds.max(1);
    let cases = pairs(&settings, &parameters.liars);
    let done = each_case(
        cases,
        |_| seeds.clone(),
        |(setting, liars), seed| run(setting, *liars, parameters, seed),
    );
    let case = |((setting, liars), runs)| Case { setting, liars, runs };
    let cases: Vec<_> = done.into_iter().map(case).collect();
    report(parameters, &cases)
}

/// Cycles that the table tells of.
const TOLD: [usize; 6] = [5, 10, 20, 50, 100, 200];

fn report(parameters: &Parameters, cases: &[Case<'_>]) -> Result<Report, String> {
    let Parameters { nodes, seeds, seed, calls, liar_groups, .. } = parameters;
    let told: Vec<String> = TOLD.iter().map(|cycle| format!("after {cycle} %")).collect();
    let names = ["overlay", "liars %"].into_iter().chain(told.iter().map(String::as_str));
    let names: Vec<&str> = names.chain(["eclipsed nodes", "places filled %"]).collect();
    let mut table = Table::new(&names);
    for case in cases {
        let mut row = vec![case.setting.name.to_owned(), case.liars.to_string()];
        row.extend(TOLD.map(|cycle| format!("{:.1}", 100.0 * case.lies(cycle).mean)));
        let mean = |figure: fn(&Outcome) -> f64| {
            let runs: Vec<f64> = case.runs.iter().map(figure).collect();
            format!("{:.1}", Estimate::of(&runs).mean)
        };
        row.extend([mean(|one| one.eclipsed as f64), mean(|one| 100.0 * one.filled)]);
        table.push(row);
    }
    let mut text = format!(
        "sim experiment eclipse: seeds {seed} to {}, {nodes} nodes, liars who call {calls} times a \
         cycle of {} s, {}\n\n{}\n",
        seed + seeds.max(&1) - 1,
        CYCLE.as_secs(),
        match liar_groups {
            0 => "each in a group of its own".to_owned(),
            groups => format!("in {groups} groups"),
        },
        table.text(),
    );
    let (holds, verdict) = verdict(cases);
    text += &verdict;
    let [csv, svg] = ["eclipse.csv", "eclipse.svg"].map(|name| parameters.out.join(name));
    table.write(&csv)?;
    chart(cases, parameters.cycles, &svg)?;
    Ok(Report { text, holds, files: vec![csv, svg] })
}

fn chart(cases: &[Case<'_>], cycles: u32, path: &std::path::Path) -> Result<(), String> {
    let bands: Vec<Band> = cases
        .iter()
        .filter(|case| case.liars == 5)
        .map(|case| {
            let at = |cycle: u32| {
                let Estimate { mean, margin } = case.lies(cycle as usize);
                (f64::from(cycle), Estimate { mean: 100.0 * mean, margin: 100.0 * margin })
            };
            let step = (cycles as usize / 40).max(1);
            let points = (1..=cycles).step_by(step).map(at).collect();
            Band { name: case.setting.name.to_owned(), points }
        })
        .collect();
    let chart = Chart {
        title: "Places of honest views that liars have, who are 5 % of the nodes",
        x_name: "cycles of 10 s",
        y_name: "percent of all entries",
    };
    chart.lines(path, &bands)
}

/// Lists as they are fall to one liar in twenty; hardened ones give at most twice the liars' share.
fn verdict(cases: &[Case<'_>]) -> (bool, String) {
    let (mut all, mut text) = (true, String::new());
    let mut judge = |holds: bool, line: String| {
        all &= holds;
        let said = if holds { "holds" } else { "DOES NOT HOLD" };
        let _ = writeln!(text, "verdict: {said}: {line}");
    };
    for case in cases {
        let (name, liars) = (case.setting.name, case.liars);
        if case.setting.is_hardened {
            let most = 2.0 * f64::from(liars) / 100.0;
            let found = case.lies(usize::MAX);
            let eclipsed: usize = case.runs.iter().map(|run| run.eclipsed).sum();
            let line = format!(
                "{name}, {liars} % liars: {:.1} ±{:.1} % of the places, wanted at most {:.0} %; \
                 {eclipsed} eclipsed nodes, wanted none",
                100.0 * found.mean,
                100.0 * found.margin,
                100.0 * most
            );
            judge(found.mean <= most && eclipsed == 0, line);
        } else if liars == 5 && matches!(name, "one-heartbeat" | "newscast") {
            let found = case.lies(10).mean;
            let line = format!(
                "{name}, 5 % liars, unprotected: {:.0} % of the places by cycle 10, at least 95 % \
                 expected",
                100.0 * found
            );
            judge(found >= 0.95, line);
        }
    }
    (all, text)
}
