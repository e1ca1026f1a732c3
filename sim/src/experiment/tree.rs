//! What a broadcast over Plumtree costs, and whether the tree mends itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use peer::gossip::PlumtreeRules;
use peer::overlay::HyParViewRules;
use peer::{Instant, Locality, Rng};

use super::overlay::{rng_of, some_of};
use super::{Question, Report, Verdicts, each_case, limits, pairs, seeds};
use crate::dice::rng;
use crate::graph::Graph;
use crate::list::List;
use crate::machines::{Addresses, Crowd, Tree};
use crate::plot::{Band, Chart};
use crate::runs::{Cell, Table};
use crate::stats::{Estimate, beside};

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// How many nodes there are; several numbers, separated by commas, for networks of several
    /// sizes.
    #[arg(long, value_name = "N,N,..", default_value_t = [2_000].into())]
    pub nodes: List<usize>,
    /// Broadcasts, one each five seconds; where nodes are killed, so many before and after it.
    #[arg(long, default_value_t = 20)]
    pub broadcasts: u32,
    /// Messages of the steady state that follows a kill, two a second.
    #[arg(long, default_value_t = 200)]
    pub messages: u32,
    /// Runs of each, with networks of their own.
    #[arg(long, default_value_t = 20)]
    pub seeds: u64,
    /// The seed of the first run; the others follow.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the table and the charts go.
    #[arg(long, default_value = "target/sim")]
    pub out: PathBuf,
}

/// Active view of the rules.
const DEGREE: usize = 5;

/// Most broadcasts, and most messages: some hours of them.
const MESSAGES_MAX: u32 = 10_000;

/// All nodes join within this time, one after the other.
const JOINING: Duration = Duration::from_secs(60);

/// Ten shuffles.
const WARM_UP: Duration = Duration::from_secs(600);

/// From one broadcast to the next: longer than one takes.
const EVERY: Duration = Duration::from_secs(5);

/// From one message of the steady state to the next.
const STEADY_EVERY: Duration = Duration::from_millis(500);

/// After the last broadcast before anything is counted.
const REST: Duration = Duration::from_secs(15);

/// What is varied.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    /// Another publisher for each broadcast.
    random: bool,
    /// Percent of what Plumtree sends.
    loss: u8,
    /// Percent of the nodes, at once.
    kill: u8,
    shorten_by: Option<u16>,
}

const SAME: Case = Case { name: "same", random: false, loss: 0, kill: 0, shorten_by: None };
const RANDOM: Case = Case { name: "random", random: true, ..SAME };

const CASES: [Case; 8] = [
    SAME,
    RANDOM,
    Case { name: "random shortened by 7", shorten_by: Some(7), ..RANDOM },
    Case { name: "random shortened by 3", shorten_by: Some(3), ..RANDOM },
    Case { name: "same 1 % lost", loss: 1, ..SAME },
    Case { name: "same 5 % lost", loss: 5, ..SAME },
    Case { name: "same 30 % killed", kill: 30, ..SAME },
    Case { name: "same 50 % killed", kill: 50, ..SAME },
];

/// What came of one broadcast.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Round {
    /// Bodies for each node that had one delivered.
    bodies: f64,
    /// Links of the longest way.
    hops: f64,
    /// Seconds until the last delivery.
    last: f64,
    /// Share of the living that it was delivered to.
    delivered: f64,
}

/// The messages long after a kill.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Steady {
    /// Share of all deliveries that there should have been.
    delivered: f64,
    /// The same of the node that got least.
    least: f64,
    /// Bodies beyond the first, for each delivery.
    duplicates: f64,
    /// Share of the living in the largest piece of the overlay.
    giant: f64,
}

/// One run.
#[derive(Clone, PartialEq, Debug)]
struct Outcome {
    /// Neighbours of a node at the first broadcast.
    degree: f64,
    rounds: Vec<Round>,
    /// Messages that are no bodies, for each node and broadcast before any kill.
    control: f64,
    /// After a kill.
    mended: Option<(Vec<Round>, Steady)>,
}

/// A network and who publishes in it.
struct Run {
    crowd: Crowd<Tree>,
    publishers: Rng,
    random: bool,
    /// When each broadcast began.
    begun: Vec<Instant>,
}

impl Run {
    fn new(case: &Case, nodes: usize, seed: u64) -> Self {
        let dice = rng(seed);
        let addresses = Addresses::honest();
        let view = HyParViewRules { locality: Locality::Local, ..HyParViewRules::sized(DEGREE) };
        let tree = PlumtreeRules { shorten_by: case.shorten_by, ..PlumtreeRules::default() };
        let mut crowd = Crowd::new(addresses, dice.fork("crowd"));
        let mut contacts = dice.fork("contacts");
        for node in 0..nodes {
            let own = addresses.of(node);
            let contact = (node > 0).then(|| contacts.below(node as u64) as usize);
            crowd.add(Tree::new(view, tree, own, &rng_of(&dice, node)), contact.as_slice());
            crowd.run(JOINING / nodes as u32);
        }
        crowd.run(WARM_UP);
        for node in 0..nodes {
            crowd.tell(node, |tree, _| tree.lose(f64::from(case.loss) / 100.0));
        }
        let publishers = dice.fork("publishers");
        Self { crowd, publishers, random: case.random, begun: Vec::new() }
    }

    /// The first living node publishes, or any.
    fn publisher(&mut self, random: bool) -> usize {
        let nodes = self.crowd.len() as u64;
        loop {
            let node = if random { self.publishers.below(nodes) as usize } else { 0 };
            if self.crowd.is_alive(node) {
                return node;
            }
        }
    }

    fn publish(&mut self, count: u32, every: Duration, random: bool) {
        for _ in 0..count {
            let node = self.publisher(random);
            let number = self.begun.len() as u32;
            self.begun.push(self.crowd.now());
            self.crowd.tell(node, |tree, now| tree.publish(now, number));
            self.crowd.run(every);
        }
    }

    fn control(&self) -> u64 {
        (0..self.crowd.len()).map(|node| self.crowd.machine(node).control()).sum()
    }

    fn living(&self) -> Vec<usize> {
        (0..self.crowd.len()).filter(|node| self.crowd.is_alive(*node)).collect()
    }

    fn round(&self, living: &[usize], number: usize) -> Round {
        let begun = self.begun[number];
        let (mut bodies, mut hops, mut last, mut reached) = (0_u64, 0, Duration::ZERO, 0_usize);
        for node in living {
            let came = self.crowd.machine(*node).came(number as u32);
            bodies += u64::from(came.bodies);
            if let Some((at, links)) = came.delivered {
                reached += 1;
                hops = hops.max(links);
                last = last.max(at.since(begun));
            }
        }
        Round {
            // The publisher needs none.
            bodies: bodies as f64 / reached.saturating_sub(1).max(1) as f64,
            hops: f64::from(hops),
            last: last.as_secs_f64(),
            delivered: reached as f64 / living.len() as f64,
        }
    }

    /// The messages from this number on.
    fn steady(&self, living: &[usize], first: usize) -> Steady {
        let numbers = first..self.begun.len();
        let (mut bodies, mut needed, mut reached, mut least) = (0_u64, 0_u64, 0_u64, usize::MAX);
        for node in living {
            let mut own = 0;
            for number in numbers.clone() {
                let came = self.crowd.machine(*node).came(number as u32);
                bodies += u64::from(came.bodies);
                needed += u64::from(came.bodies > 0);
                own += usize::from(came.delivered.is_some());
            }
            reached += own as u64;
            least = least.min(own);
        }
        let graph = Graph::new(self.crowd.views(), |node| self.crowd.is_alive(node));
        let count = numbers.len().max(1) as f64;
        Steady {
            delivered: reached as f64 / (count * living.len() as f64),
            least: least as f64 / count,
            duplicates: (bodies - needed) as f64 / reached.max(1) as f64,
            giant: graph.giant(),
        }
    }
}

fn run(case: &Case, nodes: usize, parameters: &Parameters, seed: u64) -> Outcome {
    let broadcasts = parameters.broadcasts;
    let mut run = Run::new(case, nodes, seed);
    let links: usize = run.crowd.views().iter().map(Vec::len).sum();
    let before = run.control();
    run.publish(broadcasts, EVERY, run.random);
    run.crowd.run(REST);
    let control = (run.control() - before) as f64 / (nodes as f64 * f64::from(broadcasts));
    let everybody = run.living();
    let rounds = (0..run.begun.len()).map(|number| run.round(&everybody, number)).collect();
    let mended = (case.kill > 0).then(|| {
        let count = nodes * usize::from(case.kill.min(99)) / 100;
        let mut dead = some_of(nodes - 1, count, &mut rng(seed).fork("dead"));
        // The first node publishes on.
        dead.iter_mut().for_each(|node| *node += 1);
        run.crowd.kill(&dead);
        let first = run.begun.len();
        run.publish(broadcasts, EVERY, run.random);
        let steady = run.begun.len();
        run.publish(parameters.messages, STEADY_EVERY, true);
        run.crowd.run(REST);
        let living = run.living();
        let rounds = (first..steady).map(|number| run.round(&living, number)).collect();
        (rounds, run.steady(&living, steady))
    });
    Outcome { degree: links as f64 / nodes as f64, rounds, control, mended }
}

/// All runs of one case among so many nodes.
struct Measured {
    case: Case,
    nodes: usize,
    runs: Vec<Outcome>,
}

impl Measured {
    fn estimate(&self, figure: impl Fn(&Outcome) -> f64) -> Estimate {
        Estimate::of(&self.runs.iter().map(figure).collect::<Vec<_>>())
    }

    /// Over the broadcasts but the first.
    fn later(&self, figure: impl Fn(&Round) -> f64) -> Estimate {
        self.estimate(|run| {
            let later = &run.rounds[1..];
            later.iter().map(&figure).sum::<f64>() / later.len() as f64
        })
    }

    fn steady(&self, figure: impl Fn(&Steady) -> f64) -> Estimate {
        self.estimate(|run| run.mended.as_ref().map_or(0.0, |(_, steady)| figure(steady)))
    }

    /// After how many broadcasts after the kill all living nodes get each one, in every run.
    fn whole_after(&self) -> Option<usize> {
        let rounds = self.runs.iter().filter_map(|run| run.mended.as_ref());
        let missed = rounds.map(|(rounds, _)| {
            let last = rounds.iter().rposition(|round| round.delivered < 1.0);
            (last.map_or(0, |last| last + 1), rounds.len())
        });
        let worst = missed.max()?;
        (worst.0 < worst.1).then_some(worst.0)
    }
}

impl Question for Parameters {
    fn check(&self) -> Result<(), String> {
        limits::check_seeds(self.seed, self.seeds)?;
        limits::within("broadcasts", self.broadcasts, 2..=MESSAGES_MAX)?;
        limits::within("messages", self.messages, 1..=MESSAGES_MAX)?;
        let said = 2 * self.broadcasts as usize + self.messages as usize;
        self.nodes.iter().try_for_each(|nodes| {
            limits::machines(*nodes)?;
            limits::known(*nodes, said, "broadcasts and messages")
        })
    }

    fn head(&self) -> String {
        let Self { nodes, seeds, seed, broadcasts, messages, .. } = self;
        format!(
            "sim experiment tree: seeds {seed} to {}, {nodes} nodes, {broadcasts} broadcasts, one \
             each {} s; after a kill as many, and {messages} messages, one each {} ms",
            seed + seeds - 1,
            EVERY.as_secs(),
            STEADY_EVERY.as_millis(),
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
        let (costs, kills) = (costs(&all), kills(&all));
        let largest = self.nodes.iter().max().copied().unwrap_or_default();
        let largest: Vec<&Measured> = all.iter().filter(|one| one.nodes == largest).collect();
        let files = vec![
            ("tree.csv".to_owned(), costs.csv()),
            ("tree-kill.csv".to_owned(), kills.csv()),
            ("tree.svg".to_owned(), copies_chart(&largest)?),
            ("tree-kill.svg".to_owned(), missed_chart(&largest)?),
        ];
        let text = format!("{}\n{}", costs.text(), kills.text());
        Ok(Report { text, verdicts: verdict(&all), files })
    }
}

fn copies_chart(all: &[&Measured]) -> Result<String, String> {
    let bands = all.iter().filter(|one| one.case.kill == 0).map(|one| {
        let at =
            |number: usize| (number as f64 + 1.0, one.estimate(|run| run.rounds[number].bodies));
        let points = (0..one.runs[0].rounds.len()).map(at).collect();
        Band { name: one.case.name.to_owned(), points }
    });
    Chart {
        title: "Copies of the body that a node gets",
        x_name: "number of the broadcast",
        y_name: "bodies for each node",
        most: None,
    }
    .lines(&bands.collect::<Vec<_>>())
}

fn missed_chart(all: &[&Measured]) -> Result<String, String> {
    let bands = all.iter().filter(|one| one.case.kill > 0).map(|one| {
        let missed = |run: &Outcome, number: usize| {
            run.mended.as_ref().map_or(0.0, |(rounds, _)| 100.0 * (1.0 - rounds[number].delivered))
        };
        let at = |number: usize| {
            (number as f64 * EVERY.as_secs_f64(), one.estimate(|run| missed(run, number)))
        };
        let count = one.runs[0].mended.as_ref().map_or(0, |(rounds, _)| rounds.len());
        Band { name: one.case.name.to_owned(), points: (0..count).map(at).collect() }
    });
    Chart {
        title: "Living nodes that a broadcast misses after a kill",
        x_name: "seconds from the kill to the broadcast",
        y_name: "percent of the living",
        most: Some(100.0),
    }
    .lines(&bands.collect::<Vec<_>>())
}

fn costs(all: &[Measured]) -> Table {
    let mut table = Table::new(&[
        "publisher",
        "nodes",
        "neighbours",
        "bodies a node first",
        "bodies later",
        "control a node",
        "last hop first",
        "last hop later",
        "last delivery first s",
        "last delivery later s",
        "delivered later %",
    ]);
    for one in all.iter().filter(|one| one.case.kill == 0) {
        table.push(vec![
            Cell::from(one.case.name),
            one.nodes.to_string().into(),
            format!("{:.2}", one.estimate(|run| run.degree).mean).into(),
            Cell::Mean(one.estimate(|run| run.rounds[0].bodies), 3),
            Cell::Mean(one.later(|round| round.bodies), 3),
            Cell::Mean(one.estimate(|run| run.control), 2),
            Cell::Mean(one.estimate(|run| run.rounds[0].hops), 1),
            Cell::Mean(one.later(|round| round.hops), 1),
            Cell::Mean(one.estimate(|run| run.rounds[0].last), 2),
            Cell::Mean(one.later(|round| round.last), 2),
            format!("{:.4}", 100.0 * one.later(|round| round.delivered).mean).into(),
        ]);
    }
    table
}

fn kills(all: &[Measured]) -> Table {
    let mut table = Table::new(&[
        "publisher",
        "nodes",
        "delivered at once %",
        "last delivery at once s",
        "delivered after 5 s %",
        "whole from s",
        "last delivery at the end s",
        "steady delivered %",
        "least of a node %",
        "duplicates for each",
        "largest piece %",
    ]);
    for one in all.iter().filter(|one| one.case.kill > 0) {
        let after = |place: usize, figure: fn(&Round) -> f64| {
            one.estimate(|run| {
                let rounds = run.mended.as_ref().map_or(&[][..], |(rounds, _)| rounds);
                rounds.get(place).or_else(|| rounds.last()).map_or(0.0, figure)
            })
        };
        let percent = |share: f64| Cell::from(format!("{:.4}", 100.0 * share));
        let whole = one.whole_after();
        table.push(vec![
            Cell::from(one.case.name),
            one.nodes.to_string().into(),
            percent(after(0, |round| round.delivered).mean),
            Cell::Mean(after(0, |round| round.last), 2),
            percent(after(1, |round| round.delivered).mean),
            whole.map_or_else(
                || "never".into(),
                |place| (place as u64 * EVERY.as_secs()).to_string().into(),
            ),
            Cell::Mean(after(usize::MAX, |round| round.last), 2),
            percent(one.steady(|steady| steady.delivered).mean),
            percent(least(one)),
            Cell::Mean(one.steady(|steady| steady.duplicates), 4),
            percent(one.steady(|steady| steady.giant).mean),
        ]);
    }
    table
}

/// Of all nodes of all runs, the share of the one that got least.
fn least(one: &Measured) -> f64 {
    let runs = one.runs.iter().filter_map(|run| run.mended.as_ref());
    runs.map(|(_, steady)| steady.least).fold(1.0, f64::min)
}

/// Steps of the way that a broadcast may take: 2.3 times what a perfect tree would.
fn hops_max(nodes: usize) -> f64 {
    2.3 * (nodes as f64).ln() / ((DEGREE - 1) as f64).ln()
}

fn verdict(all: &[Measured]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for one in all {
        let name = format!("{} nodes, {}", one.nodes, one.case.name);
        let mut at_most = |found: f64, most: f64, digits: usize, what: &str| {
            let line = format!("{name}: {} {what}, at most {most}", beside(found, most, digits));
            verdicts.judge(found <= most, line);
        };
        let bodies = one.later(|round| round.bodies).mean;
        let later = "bodies a node from the second broadcast on";
        match one.case {
            Case { loss: 0, kill: 0, random: false, .. } => {
                at_most(bodies, 1.01, 3, later);
                let first = one.estimate(|run| run.rounds[0].bodies).mean;
                at_most(first, DEGREE as f64 - 1.0 + 0.01, 3, "bodies a node at first");
                let hops = one.later(|round| round.hops).mean;
                let most = (10.0 * hops_max(one.nodes)).round() / 10.0;
                at_most(hops, most, 1, "links of the longest way");
            }
            Case { loss: 0, kill: 0, shorten_by: None, .. } => at_most(bodies, 1.05, 3, later),
            Case { loss: 5, .. } => {
                at_most(bodies, 1.6, 3, later);
                let delivered = 100.0 * one.later(|round| round.delivered).mean;
                let told = beside(delivered, 100.0, 4);
                let line = format!("{name}: {told} % delivered, wanted all");
                verdicts.judge(delivered >= 100.0, line);
            }
            Case { kill: 50, .. } => killed(&mut verdicts, one, &name),
            _ => {}
        }
    }
    verdicts
}

/// Half of the nodes killed: soon all get each broadcast, and then go on to.
fn killed(verdicts: &mut Verdicts, one: &Measured, name: &str) {
    let whole = one.whole_after().map(|place| place as u64 * EVERY.as_secs());
    let said = whole.map_or_else(|| "never".to_owned(), |secs| format!("after {secs} s"));
    let line = format!("{name}: all get each broadcast, {said}, wanted within 100 s");
    verdicts.judge(whole.is_some_and(|secs| secs <= 100), line);
    let (least, wanted) = (100.0 * least(one), 99.9);
    let (duplicates, most) = (one.steady(|steady| steady.duplicates), 0.2);
    let line = format!(
        "{name}: then each gets {} % of the messages or more, wanted {wanted}, with {} \
         duplicates for each, wanted fewer than {most} with the interval",
        beside(least, wanted, 2),
        duplicates.text(4),
    );
    let few = duplicates.high().map(|high| high < most);
    // What too few get fails, whatever the interval of the rest.
    let holds = if least < wanted { Some(false) } else { few };
    verdicts.judge_intervals(holds, line);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Parameters {
        let (nodes, out) = ([60].into(), PathBuf::new());
        Parameters { nodes, broadcasts: 6, messages: 10, seeds: 2, seed: 4, out }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let [one, other] = [0, 1].map(|_| parameters().ask().unwrap());
        assert_eq!(one, other);
        assert!(one.verdicts.to_string().contains("verdict: "));
    }

    #[test]
    fn a_tree_is_cheaper_than_a_flood_and_loss_dearer() {
        let parameters = parameters();
        let mean = |case: &Case| {
            let rounds = run(case, 60, &parameters, 9).rounds;
            rounds[1..].iter().map(|round| round.bodies).sum::<f64>() / 5.0
        };
        let same = run(&SAME, 60, &parameters, 9);
        assert!(same.rounds[0].bodies > 2.0, "{same:?}");
        assert!(same.rounds.iter().all(|round| round.delivered == 1.0));
        let (clean, lossy) = (mean(&SAME), mean(&Case { loss: 20, ..SAME }));
        assert!(clean < 1.2 && lossy > clean, "{clean} {lossy}");
    }

    #[test]
    fn who_lives_after_a_kill_is_reached_again() {
        let case = Case { kill: 30, ..SAME };
        let outcome = run(&case, 60, &parameters(), 3);
        let (rounds, steady) = outcome.mended.unwrap();
        assert_eq!(rounds.len(), 6);
        assert!(steady.delivered > 0.95, "{rounds:?} {steady:?}");
    }
}
