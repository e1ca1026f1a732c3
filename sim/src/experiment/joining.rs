//! Whether all who join HyParView form one piece, however fast they come, and stay one when half of
//! them die.

use std::path::{Path, PathBuf};
use std::time::Duration;

use peer::Locality;
use peer::overlay::{HyParView, HyParViewRules};

use super::overlay::{CYCLE, rng_of, some_of};
use super::{Question, Report, Verdicts, each_case, limits, pairs, seeds};
use crate::dice::rng;
use crate::graph::Graph;
use crate::list::List;
use crate::machines::{Addresses, Crowd};
use crate::runs::Table;

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// How many nodes join; several numbers, separated by commas, for networks of several sizes.
    #[arg(long, value_name = "N,N,..", default_value_t = [600, 2_000].into())]
    pub nodes: List<usize>,
    /// Seconds within which all join, one after the other.
    #[arg(long, default_value_t = 60)]
    pub within: u64,
    /// Cycles of ten seconds that are watched before half of the nodes die.
    #[arg(long, default_value_t = 60)]
    pub cycles: u32,
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

/// Most seconds within which all join: a day.
const WITHIN_MAX: u64 = 86_400;

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
    let giant = watch(&mut crowd, parameters.cycles as usize);
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

impl Question for Parameters {
    fn check(&self) -> Result<(), String> {
        limits::check_seeds(self.seed, self.seeds)?;
        self.nodes.iter().try_for_each(|nodes| limits::machines(*nodes))?;
        limits::within("within", self.within, 0..=WITHIN_MAX)?;
        limits::cycles("cycles", self.cycles)
    }

    fn head(&self) -> String {
        let Self { nodes, within, cycles, seeds, seed, .. } = self;
        format!(
            "sim experiment joining: seeds {seed} to {}, {nodes} nodes that all join within \
             {within} s, half of them die after {cycles} cycles of {} s",
            seed + seeds - 1,
            CYCLE.as_secs(),
        )
    }

    fn out(&self) -> Option<&Path> {
        Some(&self.out)
    }

    fn ask(&self) -> Result<Report, String> {
        let done = each_case(
            pairs(&self.nodes, &CASES),
            |_| seeds(self.seed, self.seeds),
            |(nodes, case), seed| run(case, **nodes, self, seed),
        );
        let measured =
            |((nodes, case), runs): ((&usize, _), _)| Measured { case, nodes: *nodes, runs };
        let all: Vec<_> = done.into_iter().map(measured).collect();
        let table = table(&all);
        let files = vec![("joining.csv".to_owned(), table.csv())];
        Ok(Report { text: table.text(), verdicts: verdict(&all), files })
    }
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
        "whole after it",
        "after it from cycle",
    ]);
    let cycle = |from: Option<usize>| from.map_or_else(|| "-".into(), |from| from.to_string());
    for one in all {
        let least = |giant: &dyn Fn(&Outcome) -> f64| {
            let least = one.runs.iter().map(giant).fold(1.0, f64::min);
            format!("{:.2}", 100.0 * least)
        };
        let (joined, joined_from) = one.whole(|run| &run.giant);
        let (mended, mended_from) = one.whole(|run| &run.mended);
        table.push(vec![
            one.case.name.to_owned(),
            one.nodes.to_string(),
            format!("{:.2}", 100.0 * one.mean(|run| run.giant[0])),
            match one.runs[0].giant.len() > MENDED_WITHIN {
                true => least(&|run| run.giant[MENDED_WITHIN]),
                false => "-".to_owned(),
            },
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
fn verdict(all: &[Measured]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let since = |from: Option<usize>| match from {
        Some(from) => format!("from cycle {from} on"),
        None => "never for good".to_owned(),
    };
    for one in all.iter().filter(|one| one.case.samplers > 0) {
        let runs = one.runs.len();
        let within = |(count, from): (usize, Option<usize>), most: usize| {
            count == runs && from.is_some_and(|from| from <= most)
        };
        let (joined, mended) = (one.whole(|run| &run.giant), one.whole(|run| &run.mended));
        let line = format!(
            "{}, {} nodes: whole in {} of {runs} runs, {}, wanted in all from {WHOLE_WITHIN} on \
             at the latest; after the kill in {}, {}, wanted from {MENDED_WITHIN} on",
            one.case.name,
            one.nodes,
            joined.0,
            since(joined.1),
            mended.0,
            since(mended.1),
        );
        verdicts.judge(within(joined, WHOLE_WITHIN) && within(mended, MENDED_WITHIN), line);
    }
    verdicts
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
        let nodes = [60].into();
        let out = PathBuf::new();
        let parameters = Parameters { nodes, within: 1, cycles: 5, seeds: 1, seed: 1, out };
        let [one, other] = [0, 1].map(|_| run(&CASES[0], 60, &parameters, 1));
        assert_eq!(one, other);
        assert!(one.degree > 4.0, "{}", one.degree);
    }
}
