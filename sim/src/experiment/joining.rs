//! Whether all who join HyParView form one piece, however fast they come, and stay one when half of
//! them die.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use peer::Locality;
use peer::overlay::{HyParView, HyParViewRules};

use super::overlay::{CYCLE, rng_of, some_of};
use super::{Report, each_case, pairs};
use crate::dice::rng;
use crate::graph::Graph;
use crate::machines::{Addresses, Crowd};
use crate::runs::Table;

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// How many nodes join; more than one number for networks of several sizes.
    #[arg(long, value_delimiter = ',', default_values_t = [600, 2_000])]
    pub nodes: Vec<usize>,
    /// Seconds within which all join, one after the other.
    #[arg(long, default_value_t = 60)]
    pub within: u64,
    /// Cycles of ten seconds that are watched before half of the nodes die.
    #[arg(long, default_value_t = 60)]
    pub cycles: usize,
    /// Runs of each, with networks of their own.
    #[arg(long, default_value_t = 10)]
    pub seeds: u64,
    /// The seed of the first run; the others follow.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the table goes.
    #[arg(long, default_value = "target/sim")]
    pub out: PathBuf,
}

/// Cycles after the last joined, until when all must be in one piece.
const WHOLE_WITHIN: usize = 30;

/// Cycles after the kill, likewise.
const MENDED_WITHIN: usize = 5;

/// Cycles that are watched after the kill.
const AFTER_KILL: usize = 30;

/// At whom a node joins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Contact {
    /// One of those who began before it, each as likely as any other.
    Any,
    /// The first node.
    First,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    contact: Contact,
    samplers: usize,
}

const CASES: [Case; 3] = [
    Case { name: "random contact", contact: Contact::Any, samplers: 8 },
    Case { name: "one contact", contact: Contact::First, samplers: 8 },
    Case { name: "random contact no samplers", contact: Contact::Any, samplers: 0 },
];

/// One run: what is the case after each cycle, the first as soon as all have begun.
#[derive(Clone, PartialEq, Debug)]
struct Outcome {
    /// Share of the nodes in the largest piece.
    giant: Vec<f64>,
    /// The same of the living, the first right after the kill.
    mended: Vec<f64>,
    /// Share of the links that one end alone knows of, at the end.
    halves: f64,
    /// Neighbours of a node, before the kill.
    degree: f64,
}

/// The first cycle from which on all are in one piece.
fn whole_from(giant: &[f64]) -> Option<usize> {
    let from = giant.iter().rposition(|share| *share < 1.0).map_or(0, |last| last + 1);
    (from < giant.len()).then_some(from)
}

fn pieces(crowd: &Crowd<HyParView>) -> f64 {
    Graph::new(crowd.views(), |node| crowd.is_alive(node)).giant()
}

fn watch(crowd: &mut Crowd<HyParView>, cycles: usize) -> Vec<f64> {
    let mut giant = vec![pieces(crowd)];
    for _ in 0..cycles {
        crowd.run(CYCLE);
        giant.push(pieces(crowd));
    }
    giant
}

fn run(case: &Case, nodes: usize, parameters: &Parameters, seed: u64) -> Outcome {
    let dice = rng(seed);
    let addresses = Addresses::honest();
    let rules = HyParViewRules {
        locality: Locality::Local,
        shuffle_period: CYCLE,
        samplers: case.samplers,
        ..HyParViewRules::default()
    };
    let mut crowd = Crowd::new(addresses, dice.fork("crowd"));
    let mut contacts = dice.fork("contacts");
    for node in 0..nodes {
        let machine = HyParView::new(rules, addresses.of(node), rng_of(&dice, node));
        let contact = match case.contact {
            Contact::Any => (node > 0).then(|| contacts.below(node as u64) as usize),
            Contact::First => (node > 0).then_some(0),
        };
        crowd.add(machine, contact.as_slice());
        crowd.run(Duration::from_secs(parameters.within) / nodes as u32);
    }
    let giant = watch(&mut crowd, parameters.cycles);
    let views = crowd.views();
    let (mut links, mut halves) = (0, 0);
    for (node, view) in views.iter().enumerate() {
        let half = |other: &&u32| !views[**other as usize].contains(&(node as u32));
        links += view.len();
        halves += view.iter().filter(half).count();
    }
    crowd.kill(&some_of(nodes, nodes / 2, &mut rng(seed).fork("dead")));
    let mended = watch(&mut crowd, AFTER_KILL);
    let halves = halves as f64 / links.max(1) as f64;
    Outcome { giant, mended, halves, degree: links as f64 / nodes as f64 }
}

struct Measured {
    case: Case,
    nodes: usize,
    runs: Vec<Outcome>,
}

impl Measured {
    fn mean(&self, figure: impl Fn(&Outcome) -> f64) -> f64 {
        self.runs.iter().map(figure).sum::<f64>() / self.runs.len() as f64
    }

    /// Runs that are whole in the end, and from which cycle on the last of them is.
    fn whole(&self, giant: impl Fn(&Outcome) -> &[f64]) -> (usize, Option<usize>) {
        let from: Vec<_> = self.runs.iter().filter_map(|run| whole_from(giant(run))).collect();
        (from.len(), from.into_iter().max())
    }
}

/// All runs, and what follows from them.
///
/// # Errors
///
/// What hindered writing, or that there is no network.
pub fn experiment(parameters: &Parameters) -> Result<Report, String> {
    if let Some(few) = parameters.nodes.iter().find(|nodes| **nodes < 10) {
        return Err(format!("{few} nodes are no network: ten or more"));
    }
    let seeds = parameters.seed..parameters.seed + parameters.seeds.max(1);
    let cases = pairs(&parameters.nodes, &CASES);
    let done = each_case(
        cases,
        |_| seeds.clone(),
        |(nodes, case), seed| run(case, **nodes, parameters, seed),
    );
    let measured = |((nodes, case), runs): ((&usize, _), _)| Measured { case, nodes: *nodes, runs };
    let measured: Vec<_> = done.into_iter().map(measured).collect();
    report(parameters, &measured)
}

fn report(parameters: &Parameters, all: &[Measured]) -> Result<Report, String> {
    let Parameters { within, cycles, seeds, seed, .. } = parameters;
    let table = table(all);
    let (holds, verdict) = verdict(all);
    let text = format!(
        "sim experiment joining: seeds {seed} to {}, all join within {within} s, half of them die \
         after {cycles} cycles of {} s\n\n{}\n{verdict}",
        seed + seeds.max(&1) - 1,
        CYCLE.as_secs(),
        table.text(),
    );
    let csv = parameters.out.join("joining.csv");
    table.write(&csv)?;
    Ok(Report { text, holds, files: vec![csv] })
}

fn table(all: &[Measured]) -> Table {
    let mut table = Table::new(&[
        "joined at",
        "nodes",
        "largest piece % at once",
        "least after 5 cycles %",
        "runs whole",
        "of",
        "last from cycle",
        "neighbours",
        "known to one end only %",
        "after the kill: least at once %",
        "runs whole",
        "last from cycle",
    ]);
    let cycle = |from: Option<usize>| from.map_or_else(|| "-".into(), |from| from.to_string());
    for one in all {
        let least = |giant: &dyn Fn(&Outcome) -> f64| {
            let least = one.runs.iter().map(giant).fold(1.0, f64::min);
            format!("{:.2}", 100.0 * least)
        };
        let soon = one.runs[0].giant.len().min(MENDED_WITHIN + 1) - 1;
        let (joined, joined_from) = one.whole(|run| &run.giant);
        let (mended, mended_from) = one.whole(|run| &run.mended);
        table.push(vec![
            one.case.name.to_owned(),
            one.nodes.to_string(),
            format!("{:.2}", 100.0 * one.mean(|run| run.giant[0])),
            least(&|run| run.giant[soon]),
            joined.to_string(),
            one.runs.len().to_string(),
            cycle(joined_from),
            format!("{:.2}", one.mean(|run| run.degree)),
            format!("{:.3}", 100.0 * one.mean(|run| run.halves)),
            least(&|run| run.mended[0]),
            mended.to_string(),
            cycle(mended_from),
        ]);
    }
    table
}

/// With samplers every network is one piece, soon, and again soon after the kill.
fn verdict(all: &[Measured]) -> (bool, String) {
    let (mut holds, mut text) = (true, String::new());
    for one in all.iter().filter(|one| one.case.samplers > 0) {
        let within = |(count, from): (usize, Option<usize>), most: usize| {
            (count == one.runs.len() && from.is_some_and(|from| from <= most), count, from)
        };
        let (joined, whole, from) = within(one.whole(|run| &run.giant), WHOLE_WITHIN);
        let (mended, again, after) = within(one.whole(|run| &run.mended), MENDED_WITHIN);
        holds &= joined && mended;
        let said = if joined && mended { "holds" } else { "DOES NOT HOLD" };
        let _ = writeln!(
            text,
            "verdict: {said}: {}, {} nodes: whole in {whole} of {} runs, from cycle {from:?} <= \
             {WHOLE_WITHIN} on; after the kill in {again}, from {after:?} <= {MENDED_WITHIN}",
            one.case.name,
            one.nodes,
            one.runs.len(),
        );
    }
    (holds, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_from_the_cycle_after_the_last_with_pieces() {
        assert_eq!(whole_from(&[1.0, 1.0]), Some(0));
        assert_eq!(whole_from(&[1.0, 0.9, 1.0]), Some(2));
        assert_eq!(whole_from(&[1.0, 0.9]), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let nodes = vec![60];
        let out = PathBuf::new();
        let parameters = Parameters { nodes, within: 1, cycles: 5, seeds: 1, seed: 1, out };
        let [one, other] = [0, 1].map(|_| run(&CASES[0], 60, &parameters, 1));
        assert_eq!(one, other);
        assert!(one.degree > 4.0, "{}", one.degree);
    }
}
