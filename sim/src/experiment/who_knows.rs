//! How fast an event is known to all by push-pull gossip on datagrams, and how surely.

use std::path::{Path, PathBuf};
use std::time::Duration;

use peer::gossip::PushPullRules;
use peer::{Instant, Rng};

use super::overlay::{rng_of, some_of};
use super::{Question, Report, Verdicts, each_case, limits, pairs, seeds};
use crate::dice::{Dice, rng};
use crate::list::List;
use crate::machines::{Addresses, Crowd, Member};
use crate::plot::{Band, Chart};
use crate::runs::Table;
use crate::stats::{Estimate, beside, number, quantile};

mod application;

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// How many nodes there are; several numbers, separated by commas, for clusters of several
    /// sizes.
    #[arg(long, value_name = "N,N,..", default_value_t = [256, 1_024].into())]
    pub nodes: List<usize>,
    /// Members that a node knows, about, drawn at random; all where there are no more.
    #[arg(long, default_value_t = 32)]
    pub known: usize,
    /// Messages that an application sends, a node and second; numbers separated by commas.
    #[arg(long, value_name = "X,X,..", default_value_t = [0.1, 1.0, 10.0, 100.0].into())]
    pub rates: List<f64>,
    /// Nodes with an application.
    #[arg(long, default_value_t = 256)]
    pub talkers: usize,
    /// Runs of each, with clusters of their own.
    #[arg(long, default_value_t = 20)]
    pub seeds: u64,
    /// The seed of the first run; the others follow.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the tables and the chart go.
    #[arg(long, default_value = "target/sim")]
    pub out: PathBuf,
}

/// Periods beyond one for each member that is known: all have echoed each other's tokens, and the
/// news of the beginning are told.
const WARM_UP: u32 = 10;

/// Most members that a node is to know, where it does not know all.
const KNOWN_MAX: usize = 1_000;

/// How many times as much as for another pair it takes to know a member.
const MEMBER_PAIRS: usize = 10;

/// Messages of a node and second: one in seventeen minutes, and as many as there are microseconds
/// between two that nobody notices.
const RATES: (f64, f64) = (0.001, 10_000.0);

/// In percent, where there are pauses or leaves.
const SOME: usize = 10;

/// Periods of a pause, at least and at most.
const PAUSE: (f64, f64) = (1.0, 5.0);

/// What a network is like.
#[derive(Clone, Copy, Debug)]
struct Condition {
    name: &'static str,
    /// Percent of the datagrams.
    loss: u8,
    /// Some stand still for a while when the event begins.
    pauses: bool,
    /// Some are gone when it begins, without a word.
    leaves: bool,
    /// Whether who hears others badly takes its time, as Lifeguard has it.
    patient: bool,
}

const CLEAN: Condition =
    Condition { name: "clean", loss: 0, pauses: false, leaves: false, patient: true };

const CONDITIONS: [Condition; 12] = [
    CLEAN,
    Condition { name: "5 % lost", loss: 5, ..CLEAN },
    Condition { name: "10 % lost", loss: 10, ..CLEAN },
    Condition { name: "20 % lost", loss: 20, ..CLEAN },
    Condition { name: "30 % lost", loss: 30, ..CLEAN },
    Condition { name: "50 % lost", loss: 50, ..CLEAN },
    Condition { name: "10 % paused", pauses: true, ..CLEAN },
    Condition { name: "10 % left", leaves: true, ..CLEAN },
    Condition { name: "20 % lost, paused, left", loss: 20, pauses: true, leaves: true, ..CLEAN },
    Condition { name: "20 % lost, impatient", loss: 20, patient: false, ..CLEAN },
    Condition { name: "30 % lost, impatient", loss: 30, patient: false, ..CLEAN },
    Condition { name: "50 % lost, impatient", loss: 50, patient: false, ..CLEAN },
];

/// Most periods until all know, in the median of the runs: the law measured on a model, with a
/// tenth for the seeds. For losses that the model was measured with.
fn periods_max(nodes: usize, loss: u8) -> Option<f64> {
    let factor = match loss {
        0 => 1.1,
        5 => 1.2,
        10 => 1.4,
        20 => 1.7,
        30 => 2.0,
        50 => 3.3,
        _ => return None,
    };
    // As it is told, with two digits.
    Some(((0.62 * (nodes as f64).log2() + 0.9) * factor * 100.0).round() / 100.0)
}

/// One run: who learnt when.
#[derive(Clone, PartialEq, Debug)]
struct Outcome {
    /// Periods from the event until each living node knew, ascending; the publisher's is 0.
    knew: Vec<f64>,
    /// Nodes that live.
    living: usize,
    /// Datagrams of a node and period while the event spread.
    datagrams: f64,
    /// How often somebody took somebody to be dead.
    downs: u32,
}

impl Outcome {
    /// Periods until this share of the living knew.
    fn until(&self, share: f64) -> f64 {
        let place = ((share * self.living as f64).ceil() as usize).max(1) - 1;
        self.knew.get(place).copied().unwrap_or(f64::INFINITY)
    }

    fn know_at(&self, periods: f64) -> usize {
        self.knew.partition_point(|knew| *knew <= periods)
    }
}

/// Pairs that know each other: each draws half as many others as it is to know.
fn acquaintances(nodes: usize, known: usize, dice: &mut Rng) -> Vec<Vec<usize>> {
    if known + 1 >= nodes {
        return (0..nodes).map(|node| (0..nodes).filter(|one| *one != node).collect()).collect();
    }
    let mut pairs = vec![Vec::new(); nodes];
    for node in 0..nodes {
        for _ in 0..known / 2 {
            let other = dice.below(nodes as u64) as usize;
            if other != node {
                pairs[node].push(other);
                pairs[other].push(node);
            }
        }
    }
    for others in &mut pairs {
        others.sort_unstable();
        others.dedup();
        dice.shuffle(others);
    }
    pairs
}

/// A cluster in which everybody has been asked by everybody who knows it.
fn cluster(nodes: usize, known: usize, patient: bool, seed: u64) -> (Crowd<Member>, Duration) {
    let dice = rng(seed);
    let addresses = Addresses::honest();
    let pairs = acquaintances(nodes, known, &mut dice.fork("pairs"));
    let mut crowd = Crowd::new(addresses, dice.fork("crowd"));
    let rules = PushPullRules { tells: None, cluster_size: Some(nodes), ..Default::default() };
    let health_max = if patient { rules.health_max } else { 0 };
    let most = pairs.iter().map(Vec::len).max().unwrap_or(0);
    for (node, others) in pairs.iter().enumerate() {
        // Nobody takes in more than it is to know.
        let members_max = others.len().max(1);
        let rules = PushPullRules { health_max, members_max, ..rules.clone() };
        let member = Member::new(rules, addresses.of(node), &rng_of(&dice, node), None);
        crowd.add(member, &[]);
        let others: Vec<_> = others.iter().map(|other| addresses.of(*other)).collect();
        crowd.tell(node, |member, now| member.introduce(now, &others));
    }
    crowd.run(rules.period * (most as u32 + WARM_UP));
    (crowd, rules.period)
}

fn run(condition: &Condition, nodes: usize, known: usize, seed: u64) -> Outcome {
    let (mut crowd, period) = cluster(nodes, known, condition.patient, seed);
    let mut dice = rng(seed).fork("condition");
    let publisher = dice.below(nodes as u64) as usize;
    let count = nodes * SOME / 100;
    if condition.pauses {
        for node in some_of(nodes, count, &mut dice).into_iter().filter(|one| *one != publisher) {
            let periods = PAUSE.0 + (PAUSE.1 - PAUSE.0) * dice.unit();
            let until = crowd.now().after(period.mul_f64(periods));
            crowd.tell(node, |member, _| member.pause(until));
        }
    }
    if condition.leaves {
        let mut gone = some_of(nodes, count, &mut dice);
        gone.retain(|node| *node != publisher);
        crowd.kill(&gone);
    }
    crowd.lose(f64::from(condition.loss) / 100.0);
    let (begun, sent) = (crowd.now(), crowd.sent());
    crowd.tell(publisher, |member, now| member.publish(now));
    let most = periods_max(nodes, condition.loss).unwrap_or(50.0).ceil() as u32;
    let living: Vec<usize> = (0..nodes).filter(|node| crowd.is_alive(*node)).collect();
    let mut passed = 0;
    // Four times as long, and for those who take their time as much again.
    while passed < 8 * most && !all_know(&crowd, &living) {
        crowd.run(period);
        passed += 1;
    }
    let datagrams = (crowd.sent() - sent) as f64 / (nodes as f64 * f64::from(passed.max(1)));
    let downs = living.iter().map(|node| crowd.machine(*node).downs()).sum();
    Outcome { knew: times(&crowd, &living, begun, period), living: living.len(), datagrams, downs }
}

fn all_know(crowd: &Crowd<Member>, living: &[usize]) -> bool {
    living.iter().all(|node| crowd.machine(*node).knew().is_some())
}

/// When these learnt, in such units, ascending.
fn times(crowd: &Crowd<Member>, nodes: &[usize], begun: Instant, unit: Duration) -> Vec<f64> {
    let knew = nodes.iter().filter_map(|node| crowd.machine(*node).knew());
    let mut times: Vec<f64> = knew.map(|at| at.since(begun).div_duration_f64(unit)).collect();
    times.sort_unstable_by(f64::total_cmp);
    times
}

/// All runs of one condition among so many nodes.
struct Measured {
    condition: Condition,
    nodes: usize,
    runs: Vec<Outcome>,
}

impl Measured {
    fn median(&self, share: f64) -> f64 {
        let mut figures: Vec<f64> = self.runs.iter().map(|run| run.until(share)).collect();
        quantile(&mut figures, 0.5)
    }

    fn whole(&self) -> usize {
        self.runs.iter().filter(|run| run.knew.len() == run.living).count()
    }

    /// Nodes that do not know after four times the median, of all runs.
    fn late(&self) -> usize {
        let limit = 4.0 * self.median(1.0);
        self.runs.iter().map(|run| run.living - run.know_at(limit)).sum()
    }

    fn mean(&self, figure: impl Fn(&Outcome) -> f64) -> f64 {
        Estimate::of(&self.runs.iter().map(figure).collect::<Vec<_>>()).mean
    }
}

impl Question for Parameters {
    fn check(&self) -> Result<(), String> {
        limits::check_seeds(self.seed, self.seeds)?;
        limits::within("known", self.known, 2..=KNOWN_MAX)?;
        limits::all_within("rates", &self.rates, RATES.0..=RATES.1)?;
        for nodes in self.nodes.iter().chain([&self.talkers]) {
            limits::machines(*nodes)?;
            // Each comes to know about as many others, or all that there are to talk with.
            limits::known(*nodes, MEMBER_PAIRS * self.known.min(*nodes), "members' places")?;
        }
        limits::known(self.talkers, MEMBER_PAIRS * self.talkers, "talkers' places")
    }

    fn head(&self) -> String {
        let Self { nodes, known, rates, talkers, seeds, seed, .. } = self;
        format!(
            "sim experiment who-knows: seeds {seed} to {}, {nodes} nodes of which each knows \
             {known} or all; applications of {talkers} nodes that send {rates} messages a second",
            seed + seeds - 1,
        )
    }

    fn out(&self) -> Option<&Path> {
        Some(&self.out)
    }

    fn ask(&self) -> Result<Report, String> {
        let done = each_case(
            pairs(&self.nodes, &CONDITIONS),
            |_| seeds(self.seed, self.seeds),
            |(nodes, condition), seed| run(condition, **nodes, self.known, seed),
        );
        let measured = |((nodes, condition), runs): ((&usize, _), _)| Measured {
            condition,
            nodes: *nodes,
            runs,
        };
        let all: Vec<_> = done.into_iter().map(measured).collect();
        let table = table(&all);
        let mut verdicts = verdict(&all);
        let ridden = application::measure(self);
        application::verdict(&ridden, &mut verdicts);
        let ridden = application::table(&ridden);
        let text = format!(
            "on probes, times in periods, medians:\n{}\n\
             on the application's messages, times in seconds, medians:\n{}",
            table.text(),
            ridden.text(),
        );
        let files = vec![
            ("who-knows.csv".to_owned(), table.csv()),
            ("who-knows-application.csv".to_owned(), ridden.csv()),
            ("who-knows.svg".to_owned(), chart(self, &all)?),
        ];
        Ok(Report { text, verdicts, files })
    }
}

/// How many know after each period: a line for each loss, of the largest cluster.
fn chart(parameters: &Parameters, all: &[Measured]) -> Result<String, String> {
    let largest = parameters.nodes.iter().max().copied().unwrap_or_default();
    let lines = all.iter().filter(|one| {
        let Condition { pauses, leaves, patient, .. } = one.condition;
        one.nodes == largest && !pauses && !leaves && patient
    });
    let bands = lines.map(|one| {
        let at = |half: u32| {
            let periods = f64::from(half) / 2.0;
            let share = |run: &Outcome| 100.0 * run.know_at(periods) as f64 / run.living as f64;
            (periods, Estimate::of(&one.runs.iter().map(share).collect::<Vec<_>>()))
        };
        Band { name: one.condition.name.to_owned(), points: (0..=60).map(at).collect() }
    });
    Chart {
        title: "Nodes that know of an event, by the loss of datagrams",
        x_name: "periods of a second since it happened",
        y_name: "percent of the nodes",
        most: Some(100.0),
    }
    .lines(&bands.collect::<Vec<_>>())
}

/// A time, or none.
fn shown(time: f64) -> String {
    if time.is_finite() { format!("{time:.2}") } else { "never".into() }
}

fn table(all: &[Measured]) -> Table {
    let mut table = Table::new(&[
        "network",
        "nodes",
        "50 % know",
        "99 % know",
        "all know",
        "wanted",
        "runs whole",
        "of",
        "late",
        "datagrams a node and period",
        "taken for dead a run",
    ]);
    for one in all {
        let wanted = periods_max(one.nodes, one.condition.loss).filter(|_| one.is_judged());
        table.push(vec![
            one.condition.name.to_owned(),
            one.nodes.to_string(),
            shown(one.median(0.5)),
            shown(one.median(0.99)),
            shown(one.median(1.0)),
            wanted.map_or_else(|| "-".into(), shown),
            one.whole().to_string(),
            one.runs.len().to_string(),
            one.late().to_string(),
            number(one.mean(|run| run.datagrams), 2),
            number(one.mean(|run| f64::from(run.downs)), 1),
        ]);
    }
    table
}

impl Measured {
    /// Whether there is a law for it: of pauses and leaves only the end is judged.
    const fn is_judged(&self) -> bool {
        !self.condition.pauses && !self.condition.leaves
    }
}

fn verdict(all: &[Measured]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for one in all {
        let (whole, runs) = (one.whole(), one.runs.len());
        let mut held = whole == runs;
        let mut line = format!("all know in {whole} of {runs} runs");
        let most = periods_max(one.nodes, one.condition.loss).filter(|_| one.is_judged());
        if let Some(most) = most {
            let (median, late) = (one.median(1.0), one.late());
            held &= median <= most && late == 0;
            let median = match median.is_finite() {
                true => format!("after {} periods", beside(median, most, 2)),
                false => "never in half of the runs".to_owned(),
            };
            line += &format!(", {median}, at most {most:.2}, {late} late, wanted none");
        }
        let (nodes, name) = (one.nodes, one.condition.name);
        verdicts.judge(held, format!("{nodes} nodes, {name}: {line}"));
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knows_whom_is_mutual() {
        let pairs = acquaintances(200, 20, &mut rng(1));
        for (node, others) in pairs.iter().enumerate() {
            assert!(others.len() >= 10 && !others.contains(&node));
            assert!(others.iter().all(|other| pairs[*other].contains(&node)));
        }
        assert!(acquaintances(20, 32, &mut rng(1)).iter().all(|others| others.len() == 19));
    }

    #[test]
    fn all_learn_and_loss_takes_time() {
        let time = |loss| {
            let run = run(&Condition { loss, patient: false, ..CLEAN }, 50, 16, 6);
            assert_eq!((run.knew.len(), run.living), (50, 50));
            assert!(run.datagrams > 1.0, "{run:?}");
            run.until(1.0)
        };
        assert!(time(0) < time(30));
    }

    #[test]
    fn who_left_is_not_waited_for() {
        let run = run(&Condition { leaves: true, pauses: true, ..CLEAN }, 50, 16, 6);
        assert_eq!(run.living, run.knew.len());
        assert!((44..=46).contains(&run.living));
        assert_eq!(run.until(0.01), 0.0);
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let (nodes, rates, out) = ([30].into(), [1.0].into(), PathBuf::new());
        let parameters = Parameters { nodes, known: 8, rates, talkers: 20, seeds: 2, seed: 3, out };
        let first = parameters.ask().unwrap();
        assert_eq!(first, parameters.ask().unwrap());
        assert!(first.verdicts.to_string().contains("verdict: "));
    }
}
