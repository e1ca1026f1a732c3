//! How many places of honest views liars can gain, against lists as they are and hardened ones.

mod liar;

use std::path::{Path, PathBuf};

use peer::Locality;
use peer::overlay::{Sampling, SamplingRules};

use super::overlay::{CYCLE, rng_of};
use super::{Question, Report, Verdicts, each_case, limits, pairs, seeds};
use crate::dice::rng;
use crate::list::List;
use crate::machines::{Addresses, Crowd};
use crate::plot::{Band, Chart};
use crate::runs::Table;
use crate::stats::{Estimate, beside, number};
use liar::{Liar, Node};

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// How many nodes there are, the liars included.
    #[arg(long, default_value_t = 500)]
    pub nodes: usize,
    /// Shares of the nodes that are liars, in percent, separated by commas.
    #[arg(long, value_name = "N,N,..", default_value_t = [1, 5, 10].into())]
    pub liars: List<u8>,
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

/// Most percent of liars: beyond, hardly anybody is left to be lied to.
const LIARS_MAX: u8 = 90;

/// The share of liars, in percent, that is drawn, and by which unprotected lists fall.
const DRAWN: u8 = 5;

/// The cycle by which they do.
const FALLEN_BY: usize = 10;

/// Most groups of addresses of liars: the second bytes that there are.
const GROUPS: usize = 256;

/// Most calls of a liar in a cycle: one in ten milliseconds.
const CALLS_MAX: u32 = 1_000;

/// How many of the nodes such a share is.
const fn liars_among(nodes: usize, percent: u8) -> usize {
    nodes * percent as usize / 100
}

/// Contacts of an honest node: drawn from all, liars included.
const CONTACTS: usize = 20;

fn run(setting: &Setting, liars: u8, parameters: &Parameters, seed: u64) -> Outcome {
    let nodes = parameters.nodes;
    let honest = nodes - liars_among(nodes, liars);
    let groups = match parameters.liar_groups {
        0 => (nodes - honest).min(GROUPS),
        groups => groups,
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
            let wait = CYCLE / parameters.calls;
            crowd.add(Node::Liar(Box::new(Liar::new(crew.clone(), wait, rng))), &victims);
        }
    }
    let mut outcome = Outcome { lies: Vec::new(), eclipsed: 0, filled: 0.0 };
    for _ in 0..parameters.cycles {
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
    /// After so many cycles, one or more; `None`: fewer were watched.
    fn lies(&self, cycle: usize) -> Option<Estimate> {
        let lies: Option<Vec<f64>> =
            self.runs.iter().map(|run| run.lies.get(cycle - 1).copied()).collect();
        lies.map(|lies| Estimate::of(&lies))
    }
}

impl Question for Parameters {
    fn check(&self) -> Result<(), String> {
        limits::check_seeds(self.seed, self.seeds)?;
        limits::machines(self.nodes)?;
        limits::cycles("cycles", self.cycles)?;
        limits::all_within("liars", &self.liars, 1..=LIARS_MAX)?;
        limits::within("liar-groups", self.liar_groups, 0..=GROUPS)?;
        limits::within("calls", self.calls, 1..=CALLS_MAX)?;
        for percent in self.liars.iter() {
            let liars = liars_among(self.nodes, *percent);
            if liars == 0 {
                return Err(format!("--liars {percent}: of {} nodes that is none", self.nodes));
            }
            // Each of them knows everybody.
            limits::known(self.nodes, liars, "liars")?;
        }
        Ok(())
    }

    fn head(&self) -> String {
        let Self { nodes, liars, cycles, seeds, seed, calls, liar_groups, .. } = self;
        format!(
            "sim experiment eclipse: seeds {seed} to {}, {nodes} nodes of which {liars} % are \
             liars who call {calls} times a cycle of {} s, {}, {cycles} cycles",
            seed + seeds - 1,
            CYCLE.as_secs(),
            match liar_groups {
                0 => format!("each in a group of its own ({GROUPS} at most)"),
                groups => format!("in {groups} groups"),
            },
        )
    }

    fn out(&self) -> Option<&Path> {
        Some(&self.out)
    }

    fn ask(&self) -> Result<Report, String> {
        let settings = settings();
        let done = each_case(
            pairs(&settings, &self.liars),
            |_| seeds(self.seed, self.seeds),
            |(setting, liars), seed| run(setting, *liars, self, seed),
        );
        let case = |((setting, liars), runs)| Case { setting, liars, runs };
        let cases: Vec<_> = done.into_iter().map(case).collect();
        let table = table(&cases);
        let mut files = vec![("eclipse.csv".to_owned(), table.csv())];
        if self.liars.contains(&DRAWN) {
            files.push(("eclipse.svg".to_owned(), chart(&cases, self.cycles)?));
        }
        Ok(Report { text: table.text(), verdicts: verdict(&cases), files })
    }
}

/// Cycles that the table tells of.
const TOLD: [usize; 6] = [5, 10, 20, 50, 100, 200];

fn table(cases: &[Case<'_>]) -> Table {
    let told = TOLD.map(|cycle| format!("% after {cycle} cycles"));
    let names = ["overlay", "liars %"].into_iter().chain(told.iter().map(String::as_str));
    let names: Vec<&str> = names.chain(["eclipsed nodes", "places filled %"]).collect();
    let mut table = Table::new(&names);
    for case in cases {
        let mut row = vec![case.setting.name.to_owned(), case.liars.to_string()];
        let lies = |cycle| case.lies(cycle).map_or(f64::NAN, |lies| 100.0 * lies.mean);
        row.extend(TOLD.map(|cycle| number(lies(cycle), 1)));
        let mean = |figure: fn(&Outcome) -> f64| {
            let runs: Vec<f64> = case.runs.iter().map(figure).collect();
            number(Estimate::of(&runs).mean, 1)
        };
        row.extend([mean(|one| one.eclipsed as f64), mean(|one| 100.0 * one.filled)]);
        table.push(row);
    }
    table
}

fn chart(cases: &[Case<'_>], cycles: u32) -> Result<String, String> {
    let bands: Vec<Band> = cases
        .iter()
        .filter(|case| case.liars == DRAWN)
        .map(|case| {
            let at = |cycle: u32| {
                case.lies(cycle as usize).map(|lies| (f64::from(cycle), lies.times(100.0)))
            };
            let step = (cycles as usize / 40).max(1);
            let points = (1..=cycles).step_by(step).filter_map(at).collect();
            Band { name: case.setting.name.to_owned(), points }
        })
        .collect();
    let title = format!("Places of honest views that liars have, who are {DRAWN} % of the nodes");
    let (x_name, y_name) = ("cycles of 10 s", "percent of all entries");
    Chart { title: &title, x_name, y_name, most: Some(100.0) }.lines(&bands)
}

/// Lists as they are fall to one liar in twenty; hardened ones give at most twice the liars' share.
fn verdict(cases: &[Case<'_>]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for case in cases {
        let (name, liars) = (case.setting.name, case.liars);
        if case.setting.is_hardened {
            let most = 2.0 * f64::from(liars);
            let Some(found) = case.lies(case.runs[0].lies.len()) else { continue };
            let found = found.times(100.0);
            let eclipsed: usize = case.runs.iter().map(|run| run.eclipsed).sum();
            let line = format!(
                "{name}, {liars} % liars: {} ±{} % of the places, wanted at most {most} %; \
                 {eclipsed} eclipsed nodes, wanted none",
                beside(found.mean, most, 1),
                found.margin_text(1),
            );
            verdicts.judge(found.mean <= most && eclipsed == 0, line);
        } else if liars == DRAWN && matches!(name, "one-heartbeat" | "newscast") {
            let line = format!("{name}, {liars} % liars, unprotected, by cycle {FALLEN_BY}");
            let Some(found) = case.lies(FALLEN_BY) else {
                verdicts.untold(format!("{line}: fewer were watched"));
                continue;
            };
            let (found, least) = (100.0 * found.mean, 95.0);
            let told = beside(found, least, 0);
            let line = format!("{line}: {told} % of the places, at least {least} % expected");
            verdicts.judge(found >= least, line);
        }
    }
    verdicts
}
