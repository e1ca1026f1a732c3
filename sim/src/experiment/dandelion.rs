//! How well each scheme hides who made a transaction, and what it costs.
//!
//! A share of the nodes are spies. They behave as all others do, and name whoever was first to send
//! a transaction to any of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use peer::{DandelionRules, Instant, Scheme as Rules};

use super::{Question, Report, Verdicts, each_job, limits, millis, seeds};
use crate::chains::{Chains, Pace};
use crate::dice::{Dice, rng};
use crate::model::{Cuts, Model};
use crate::network::{Network, NodeId};
use crate::plot::Chart;
use crate::runs::{Cell, Table};
use crate::spies::{Guess, Spies};
use crate::stats::{Estimate, quantile};
use crate::topology;
use crate::traffic::SPREADING;

/// How a transaction begins its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Scheme {
    /// Public at once: the baseline.
    Flood,
    /// Dandelion++.
    PlusPlus,
    /// As grin does it.
    Grin,
    /// Each node of the stem aggregates.
    AggregateOnStem,
    /// The same, and transactions with a lock height are held.
    AggregateAndHold,
    /// All of these, one after the other.
    All,
}

impl Scheme {
    const EACH: [Self; 5] =
        [Self::Flood, Self::PlusPlus, Self::Grin, Self::AggregateOnStem, Self::AggregateAndHold];

    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flood => "flood",
            Self::PlusPlus => "plus-plus",
            Self::Grin => "grin",
            Self::AggregateOnStem => "aggregate-on-stem",
            Self::AggregateAndHold => "aggregate-and-hold",
            Self::All => "all",
        }
    }

    fn rules(self) -> DandelionRules {
        DandelionRules::of(match self {
            Self::Flood | Self::PlusPlus | Self::All => Rules::PlusPlus,
            Self::Grin => Rules::Grin,
            Self::AggregateOnStem => Rules::AggregateOnStem,
            Self::AggregateAndHold => Rules::AggregateAndHold,
        })
    }
}

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// How many nodes there are.
    #[arg(long, default_value_t = 1_000)]
    pub nodes: usize,
    /// How many others each dials.
    #[arg(long, default_value_t = 8)]
    pub degree: usize,
    /// Transactions of each run, made by honest nodes at random.
    #[arg(long, default_value_t = 200)]
    pub transactions: usize,
    /// Milliseconds between two of them, in the mean.
    #[arg(long, default_value_t = 1_000)]
    pub every_ms: u64,
    /// Runs, each with a network of its own.
    #[arg(long, default_value_t = 20)]
    pub seeds: u64,
    /// The seed of the first run; the others follow.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Share of the nodes that are spies.
    #[arg(long, default_value_t = 0.1)]
    pub spies: f64,
    /// How transactions begin their way.
    #[arg(long, value_enum, default_value_t = Scheme::All)]
    pub scheme: Scheme,
    /// Percentage of the cases in which a stem ends, where a scheme has such.
    #[arg(long, default_value_t = 10)]
    pub fluff_percent: u8,
    /// Where the table and the chart go.
    #[arg(long, default_value = "target/sim")]
    pub out: PathBuf,
}

impl Parameters {
    /// How many of the nodes are spies.
    fn spies_among(&self) -> usize {
        (self.nodes as f64 * self.spies).round() as usize
    }
}

/// Recall of Dandelion++ that is still well hidden: arXiv 1805.11060 proves that no scheme comes
/// below the spies' share, a tenth here.
const RECALL_MAX: f64 = 0.15;

/// Bytes of a transaction: about those of one with a kernel, an input and two outputs at grin.
const BYTES: usize = 1_600;

/// How long a transaction may take to come to everybody before it counts as lost: longer than all
/// embargoes one after the other.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// What one run gave.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Outcome {
    /// How good the spies' guesses were.
    pub guess: Guess,
    /// Median time from the birth of a transaction to half of the nodes, in ms.
    pub half_ms: f64,
    /// Its 95th percentile.
    pub half_p95_ms: f64,
    /// Median time to 99 in 100 nodes, in ms.
    pub most_ms: f64,
    /// Its 95th percentile.
    pub most_p95_ms: f64,
    /// Hops over stems of a transaction, in the mean.
    pub hops: f64,
    /// Frames of all kinds that spread payloads, for each transaction and node.
    pub frames: f64,
    /// Their bytes.
    pub bytes: f64,
    /// Events of the simulation.
    pub events: u64,
}

/// One run.
///
/// # Errors
///
/// What was lost, doubled or altered.
pub fn run(parameters: &Parameters, scheme: Scheme, seed: u64) -> Result<Outcome, String> {
    let dice = rng(seed);
    let nodes = parameters.nodes;
    let dials = topology::random_dials(nodes, parameters.degree, &mut dice.fork("dials"));
    let mut order: Vec<NodeId> = (0..nodes).collect();
    dice.fork("spies").shuffle(&mut order);
    let (spies, honest) = order.split_at(parameters.spies_among());
    let chains = Chains::new(nodes, Spies::new(nodes, spies), Pace::default(), seed);
    let mut network = Network::new(Model { cuts: Cuts::Frames, ..Model::default() }, chains, seed);
    let mut rules = scheme.rules();
    rules.fluff_percent = parameters.fluff_percent;
    topology::build(&mut network, &dials, |_| {
        let mut config = topology::quiet_config();
        config.dandelion = rules;
        config
    });
    topology::establish(&mut network, &dials)?;
    let mut traffic = dice.fork("transactions");
    for _ in 0..parameters.transactions {
        let wait = Duration::from_millis(parameters.every_ms).mul_f64(traffic.exponential());
        let at = network.now().after(wait);
        network.run_until(at);
        let origin = *traffic.pick(honest).expect("somebody is honest");
        let command = match scheme {
            Scheme::Flood => network.script.publish(at, origin, codec::Kind::Transaction, BYTES),
            _ => network.script.stem(at, origin, BYTES),
        };
        network.command(origin, command);
    }
    finish(&mut network)?;
    outcome(&network)
}

/// Lets time pass until everything is everywhere.
fn finish(network: &mut Network<Chains>) -> Result<(), String> {
    let end = network.now().after(PATIENCE);
    while network.now() < end {
        let soon = network.now().after(Duration::from_secs(5));
        network.run_until(soon);
        let (items, done) = network.script.ledger.progress();
        if items == done {
            // What is still under way may be a second copy.
            let later: Instant = network.now().after(Duration::from_secs(30));
            network.run_until(later);
            return Ok(());
        }
    }
    network.script.ledger.spreads().map(drop)
}

fn outcome(network: &Network<Chains>) -> Result<Outcome, String> {
    let ledger = &network.script.ledger;
    let spreads = ledger.spreads()?;
    let count = spreads.len() as f64;
    let mut half: Vec<f64> = spreads.iter().map(|spread| millis(spread.half)).collect();
    let mut most: Vec<f64> = spreads.iter().map(|spread| millis(spread.most)).collect();
    let sent = network.traffic().sent_of(SPREADING);
    Ok(Outcome {
        guess: network.script.spies.judge(&ledger.origins()),
        half_ms: quantile(&mut half, 0.5),
        half_p95_ms: quantile(&mut half, 0.95),
        most_ms: quantile(&mut most, 0.5),
        most_p95_ms: quantile(&mut most, 0.95),
        hops: ledger.stem_hops() as f64 / count,
        frames: sent.frames as f64 / count / network.len() as f64,
        bytes: sent.bytes as f64 / count / network.len() as f64,
        events: network.events(),
    })
}

impl Question for Parameters {
    fn check(&self) -> Result<(), String> {
        limits::check_seeds(self.seed, self.seeds)?;
        limits::endpoints(self.nodes, self.degree)?;
        limits::within("transactions", self.transactions, 1..=usize::MAX)?;
        limits::known(self.nodes, self.transactions, "transactions")?;
        limits::every_ms(self.every_ms)?;
        limits::within("spies", self.spies, 0.0..=1.0)?;
        limits::within("fluff-percent", self.fluff_percent, 0..=100)?;
        match self.spies_among() < self.nodes {
            true => Ok(()),
            false => Err(format!("--spies {}: nobody would be honest", self.spies)),
        }
    }

    fn head(&self) -> String {
        let Self { nodes, degree, transactions, seeds, seed, spies, .. } = self;
        format!(
            "sim experiment dandelion: seeds {seed} to {}, {nodes} nodes that dial {degree} \
             others each, {transactions} transactions of {BYTES} bytes, one in {} ms, {} % spies, \
             stems end in {} % of the cases, links log-normal around 50 ms",
            seed + seeds - 1,
            self.every_ms,
            100.0 * spies,
            self.fluff_percent,
        )
    }

    fn out(&self) -> Option<&Path> {
        Some(&self.out)
    }

    fn ask(&self) -> Result<Report, String> {
        let schemes = match self.scheme {
            Scheme::All => Scheme::EACH.to_vec(),
            one => vec![one],
        };
        let seeds = seeds(self.seed, self.seeds);
        let of_scheme = |scheme: &Scheme| {
            let scheme = *scheme;
            seeds.clone().map(move |seed| (scheme, seed))
        };
        let jobs: Vec<(Scheme, u64)> = schemes.iter().flat_map(of_scheme).collect();
        let done = each_job(&jobs, |(scheme, seed)| {
            let failed = |error| format!("{} with seed {seed}: {error}", scheme.name());
            run(self, *scheme, *seed).map_err(failed)
        });
        let outcomes: Vec<Outcome> = done.into_iter().collect::<Result<_, _>>()?;
        let per_scheme = outcomes.chunks(self.seeds as usize);
        let results: Vec<(Scheme, &[Outcome])> = schemes.into_iter().zip(per_scheme).collect();
        report(&jobs, &outcomes, &results)
    }
}

fn report(
    jobs: &[(Scheme, u64)],
    outcomes: &[Outcome],
    results: &[(Scheme, &[Outcome])],
) -> Result<Report, String> {
    let chart = Chart {
        title: "How often the first spy names who made a transaction",
        x_name: "scheme",
        y_name: "share of transactions, or of nodes",
        most: Some(1.0),
    };
    let groups: Vec<_> = results
        .iter()
        .map(|(scheme, outcomes)| {
            let recall = estimate(outcomes, |one| one.guess.recall);
            let precision = estimate(outcomes, |one| one.guess.precision);
            (scheme.name().to_owned(), vec![recall, precision])
        })
        .collect();
    let files = vec![
        ("dandelion.csv".to_owned(), each_run(jobs, outcomes).csv()),
        ("dandelion.svg".to_owned(), chart.bars(&["recall", "precision"], &groups)?),
    ];
    Ok(Report { text: summary(results).text(), verdicts: verdict(results), files })
}

fn estimate(outcomes: &[Outcome], figure: impl Fn(&Outcome) -> f64) -> Estimate {
    Estimate::of(&outcomes.iter().map(figure).collect::<Vec<_>>())
}

type Figure = (&'static str, usize, fn(&Outcome) -> f64);

/// What is told of a run: name with unit, digits behind the point, value.
const FIGURES: &[Figure] = &[
    ("recall", 3, |one| one.guess.recall),
    ("precision", 3, |one| one.guess.precision),
    ("50 % of nodes median s", 2, |one| one.half_ms / 1e3),
    ("50 % of nodes p95", 2, |one| one.half_p95_ms / 1e3),
    ("99 % of nodes median s", 2, |one| one.most_ms / 1e3),
    ("99 % of nodes p95", 2, |one| one.most_p95_ms / 1e3),
    ("stem hops", 1, |one| one.hops),
    ("frames a node", 2, |one| one.frames),
    ("kB a node", 2, |one| one.bytes / 1e3),
];

fn summary(results: &[(Scheme, &[Outcome])]) -> Table {
    let names: Vec<&str> =
        std::iter::once("scheme").chain(FIGURES.iter().map(|(name, ..)| *name)).collect();
    let mut table = Table::new(&names);
    for (scheme, outcomes) in results {
        let mean = |(_, digits, figure): &Figure| Cell::Mean(estimate(outcomes, figure), *digits);
        table.push(std::iter::once(scheme.name().into()).chain(FIGURES.iter().map(mean)).collect());
    }
    table
}

fn each_run(jobs: &[(Scheme, u64)], outcomes: &[Outcome]) -> Table {
    let mut table = Table::new(&[
        "scheme",
        "seed",
        "recall",
        "precision",
        "heard",
        "half_ms",
        "half_p95_ms",
        "most_ms",
        "most_p95_ms",
        "stem_hops",
        "frames_per_transaction_and_node",
        "bytes_per_transaction_and_node",
        "events",
    ]);
    for ((scheme, seed), one) in jobs.iter().zip(outcomes) {
        let Outcome { guess, .. } = one;
        let figures = [
            guess.recall,
            guess.precision,
            guess.heard,
            one.half_ms,
            one.half_p95_ms,
            one.most_ms,
            one.most_p95_ms,
            one.hops,
            one.frames,
            one.bytes,
        ];
        let named = [scheme.name().to_owned(), seed.to_string()];
        let row = named.into_iter().chain(figures.map(|figure| format!("{figure:.6}")));
        table.push(row.chain([one.events.to_string()]).collect());
    }
    table
}

fn verdict(results: &[(Scheme, &[Outcome])]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let recall = |wanted: Scheme| {
        let found = results.iter().find(|(scheme, _)| *scheme == wanted)?;
        Some(estimate(found.1, |one| one.guess.recall))
    };
    let (Some(hidden), Some(plain)) = (recall(Scheme::PlusPlus), recall(Scheme::Flood)) else {
        verdicts.note("none: it takes plus-plus and flood together".to_owned());
        return verdicts;
    };
    let highest = hidden.high().zip(plain.low());
    let holds = highest.map(|(high, low)| high <= RECALL_MAX && high < low / 2.0);
    let line = format!(
        "recall of plus-plus {}, wanted at most {RECALL_MAX} and below half of flood's {}, with \
         the intervals on the safe side",
        hidden.text(3),
        plain.text(3),
    );
    verdicts.judge_intervals(holds, line);
    verdicts
}
