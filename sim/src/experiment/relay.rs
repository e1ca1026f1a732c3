//! How fast payloads spread by each policy, and at what cost; and from which size on it pays to
//! announce a body before it is sent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use codec::Kind;
use peer::{Policy as Rules, RelayRules, Rng};

use super::{Question, Report, Verdicts, each_job, limits, millis, seeds};
use crate::chains::{Chains, Pace};
use crate::dice::{Dice, rng};
use crate::ledger::Spread;
use crate::model::Model;
use crate::network::Network;
use crate::plot::{Band, Chart};
use crate::runs::{Cell, Table};
use crate::spies::Spies;
use crate::stats::{Estimate, quantile};
use crate::topology;

/// How payloads spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Policy {
    /// Whole, to all that lack it.
    Flood,
    /// Whole to the square root of those, by id to the others.
    Sqrt,
    /// Small bodies whole, larger ones by id.
    Announce,
    /// All of these, one after the other.
    All,
}

impl Policy {
    const EACH: [Self; 3] = [Self::Flood, Self::Sqrt, Self::Announce];

    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flood => "flood",
            Self::Sqrt => "sqrt",
            Self::Announce => "announce",
            Self::All => "all",
        }
    }

    const fn rules(self) -> Rules {
        match self {
            Self::Flood => Rules::Flood,
            Self::Sqrt => Rules::Sqrt,
            Self::Announce | Self::All => Rules::Announce,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// How many nodes there are.
    #[arg(long, default_value_t = 200)]
    pub nodes: usize,
    /// How many others each dials.
    #[arg(long, default_value_t = 8)]
    pub degree: usize,
    /// Transactions of each run.
    #[arg(long, default_value_t = 200)]
    pub transactions: usize,
    /// Milliseconds between two of them, in the mean.
    #[arg(long, default_value_t = 500)]
    pub every_ms: u64,
    /// Blocks of 1 MB of each run, spread evenly among the transactions.
    #[arg(long, default_value_t = 3)]
    pub blocks: usize,
    /// Megabits a second that a node sends, and that it receives.
    #[arg(long, default_value_t = 20)]
    pub mbit: u64,
    /// Runs, each with a network of its own.
    #[arg(long, default_value_t = 6)]
    pub seeds: u64,
    /// The seed of the first run; the others follow.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How payloads spread.
    #[arg(long, value_enum, default_value_t = Policy::All)]
    pub policy: Policy,
    /// Tries the sizes up to which bodies go unasked, instead of the policies.
    #[arg(long)]
    pub threshold_sweep: bool,
    /// Where the table and the chart go.
    #[arg(long, default_value = "target/sim")]
    pub out: PathBuf,
}

/// What a run is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// How payloads spread.
    pub policy: Policy,
    /// Bodies up to so many bytes go unasked; `None`: the default of the rules.
    pub unasked_bytes_max: Option<usize>,
}

/// Bytes of a block.
const BLOCK_BYTES: usize = 1_000_000;

/// Most blocks: all chains together keep each of them.
const BLOCKS_MAX: usize = 1_000;

/// Fastest link, of a terabit: beyond it nothing would take any time.
const MBIT_MAX: u64 = 1_000_000;

/// One in so many transactions is a large one.
const LARGE_ONE_IN: u64 = 10;

/// Thresholds of the sweep, in packets of 1,500 bytes.
const THRESHOLDS: [f64; 11] = [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 20.0];

/// A threshold is about as fast as the fastest if its times are at most so much longer.
const SLOWER_MAX: f64 = 1.10;

/// How long a payload may take to come to everybody before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(300);

/// What one run gave.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Outcome {
    /// Bytes on the wire, packet headers included, for each byte of a body that a node lacked.
    pub wire_per_byte: f64,
    /// Transactions that came to who had them already, for each that did not.
    pub transaction_duplicates: f64,
    /// The same of blocks.
    pub block_duplicates: f64,
    /// Milliseconds until a transaction is everywhere: median and 99th percentile.
    pub transaction_ms: [f64; 2],
    /// The same of blocks.
    pub block_ms: [f64; 2],
    /// Answers of no use, since the body had come unasked meanwhile, for each thousand deliveries.
    pub asked_again: f64,
    /// Megabytes on the wire for each node.
    pub wire_mb: f64,
    /// Events of the simulation.
    pub events: u64,
}

/// One run.
///
/// # Errors
///
/// What was lost, doubled or altered.
pub fn run(parameters: &Parameters, setting: Setting, seed: u64) -> Result<Outcome, String> {
    let dice = rng(seed);
    let nodes = parameters.nodes;
    let dials = topology::random_dials(nodes, parameters.degree, &mut dice.fork("dials"));
    let chains = Chains::new(nodes, Spies::new(nodes, &[]), Pace::default(), seed);
    let model = Model { bandwidth: Some(parameters.mbit * 1_000_000), ..Model::default() };
    let mut network = Network::new(model, chains, seed);
    topology::build(&mut network, &dials, |_| {
        let mut config = topology::quiet_config();
        config.relay.policy = setting.policy.rules();
        if let Some(bytes) = setting.unasked_bytes_max {
            config.relay.unasked_bytes_max = bytes;
        }
        config
    });
    topology::establish(&mut network, &dials)?;
    let greeted = network.traffic().wire_bytes();
    let mut traffic = dice.fork("payloads");
    let block_every = parameters.transactions / (parameters.blocks + 1).max(1);
    let mut blocks = 0;
    for number in 0..parameters.transactions {
        let wait = Duration::from_millis(parameters.every_ms).mul_f64(traffic.exponential());
        network.run_until(network.now().after(wait));
        publish(&mut network, Kind::Transaction, transaction_bytes(&mut traffic), &mut traffic);
        if blocks < parameters.blocks && number + 1 == (blocks + 1) * block_every.max(1) {
            publish(&mut network, Kind::Block, BLOCK_BYTES, &mut traffic);
            blocks += 1;
        }
    }
    let end = network.now().after(PATIENCE);
    while network.now() < end {
        network.run_until(network.now().after(Duration::from_secs(1)));
        let (items, done) = network.script.ledger.progress();
        if items == done {
            break;
        }
    }
    // What is still under way may be a second copy.
    network.run_until(network.now().after(Duration::from_secs(30)));
    outcome(&network, greeted)
}

fn publish(network: &mut Network<Chains>, kind: Kind, bytes: usize, traffic: &mut Rng) {
    let origin = traffic.below(network.len() as u64) as usize;
    let command = network.script.publish(network.now(), origin, kind, bytes);
    network.command(origin, command);
}

/// Most are of 300 to 2,000 bytes, around 800; a few, with many inputs or outputs, of 2 to 100 kB,
/// each size as likely as its half.
fn transaction_bytes(traffic: &mut Rng) -> usize {
    if traffic.chance(1, LARGE_ONE_IN) {
        return (2_000.0 * 50.0_f64.powf(traffic.unit())) as usize;
    }
    let bytes = 800.0 * (0.5 * traffic.normal()).exp();
    bytes.clamp(300.0, 2_000.0) as usize
}

fn outcome(network: &Network<Chains>, greeted: u64) -> Result<Outcome, String> {
    let ledger = &network.script.ledger;
    let spreads = ledger.spreads()?;
    let others = (network.len() - 1) as f64;
    let kinds = [Kind::Transaction, Kind::Block];
    let lacked: f64 = kinds.iter().map(|kind| ledger.body_bytes(*kind) as f64 * others).sum();
    let wire = (network.traffic().wire_bytes() - greeted) as f64;
    let duplicates = |kind| {
        let needed = ledger.count_of(kind) as f64 * others;
        (network.traffic().arrived(kind).frames as f64 - needed) / needed.max(1.0)
    };
    let times = |kind| {
        let of_kind = |(index, spread): (usize, &Spread)| {
            (ledger.kind_of(index) == kind).then(|| millis(spread.all))
        };
        let mut times: Vec<f64> = spreads.iter().enumerate().filter_map(of_kind).collect();
        [quantile(&mut times, 0.5), quantile(&mut times, 0.99)]
    };
    Ok(Outcome {
        wire_per_byte: wire / lacked.max(1.0),
        transaction_duplicates: duplicates(Kind::Transaction),
        block_duplicates: duplicates(Kind::Block),
        transaction_ms: times(Kind::Transaction),
        block_ms: times(Kind::Block),
        asked_again: 1e3 * ledger.asked_again() as f64 / (spreads.len() as f64 * others),
        wire_mb: wire / 1e6 / network.len() as f64,
        events: network.events(),
    })
}

impl Parameters {
    fn settings(&self) -> Vec<Setting> {
        match (self.threshold_sweep, self.policy) {
            (true, _) => THRESHOLDS
                .into_iter()
                .map(|packets| Setting {
                    policy: Policy::Announce,
                    unasked_bytes_max: Some((packets * 1_500.0) as usize),
                })
                .collect(),
            (false, Policy::All) => {
                let setting = |policy| Setting { policy, unasked_bytes_max: None };
                Policy::EACH.into_iter().map(setting).collect()
            }
            (false, policy) => vec![Setting { policy, unasked_bytes_max: None }],
        }
    }
}

impl Question for Parameters {
    fn check(&self) -> Result<(), String> {
        limits::check_seeds(self.seed, self.seeds)?;
        limits::endpoints(self.nodes, self.degree)?;
        limits::within("transactions", self.transactions, 1..=usize::MAX)?;
        limits::known(self.nodes, self.transactions, "transactions")?;
        limits::within("blocks", self.blocks, 0..=self.transactions.min(BLOCKS_MAX))?;
        limits::every_ms(self.every_ms)?;
        limits::within("mbit", self.mbit, 1..=MBIT_MAX)
    }

    fn head(&self) -> String {
        let Self { nodes, degree, transactions, blocks, mbit, seeds, seed, .. } = self;
        format!(
            "sim experiment relay{}: seeds {seed} to {}, {nodes} nodes that dial {degree} others \
             each, {transactions} transactions, one in {} ms, 9 of 10 of 300 to 2,000 bytes, the \
             others of 2 to 100 kB, and {blocks} blocks of 1 MB, {mbit} Mbit/s, links log-normal \
             around 50 ms, bodies up to {} bytes unasked",
            if self.threshold_sweep { " --threshold-sweep" } else { "" },
            seed + seeds - 1,
            self.every_ms,
            match self.threshold_sweep {
                true => "the given number of".to_owned(),
                false => RelayRules::default().unasked_bytes_max.to_string(),
            },
        )
    }

    fn out(&self) -> Option<&Path> {
        Some(&self.out)
    }

    fn ask(&self) -> Result<Report, String> {
        let settings = self.settings();
        let seeds = seeds(self.seed, self.seeds);
        let of_setting = |setting: &Setting| {
            let setting = *setting;
            seeds.clone().map(move |seed| (setting, seed))
        };
        let jobs: Vec<(Setting, u64)> = settings.iter().flat_map(of_setting).collect();
        let done = each_job(&jobs, |(setting, seed)| {
            let failed = |error| format!("{} with seed {seed}: {error}", name_of(setting));
            run(self, *setting, *seed).map_err(failed)
        });
        let outcomes: Vec<Outcome> = done.into_iter().collect::<Result<_, _>>()?;
        let results: Vec<(Setting, &[Outcome])> =
            settings.into_iter().zip(outcomes.chunks(self.seeds as usize)).collect();
        report(self.threshold_sweep, &jobs, &outcomes, &results)
    }
}

fn name_of(setting: &Setting) -> String {
    match setting.unasked_bytes_max {
        Some(bytes) => format!("{bytes}"),
        None => setting.policy.name().to_owned(),
    }
}

fn report(
    sweep: bool,
    jobs: &[(Setting, u64)],
    outcomes: &[Outcome],
    results: &[(Setting, &[Outcome])],
) -> Result<Report, String> {
    let csv = each_run(jobs, outcomes).csv();
    let (text, verdicts, files) = match sweep {
        true => (
            summary(results, "unasked bytes").text(),
            best_threshold(results),
            [("relay-threshold.csv", csv), ("relay-threshold.svg", draw_sweep(results)?)],
        ),
        false => (
            summary(results, "policy").text(),
            verdict(results),
            [("relay.csv", csv), ("relay.svg", draw_policies(results)?)],
        ),
    };
    let files = files.map(|(name, content)| (name.to_owned(), content)).into();
    Ok(Report { text, verdicts, files })
}

fn draw_policies(results: &[(Setting, &[Outcome])]) -> Result<String, String> {
    let chart = Chart {
        title: "Bytes on the wire, and transactions and blocks that came again",
        x_name: "policy",
        y_name: "for each byte, or payload, that was lacked",
        most: None,
    };
    let groups: Vec<_> = results
        .iter()
        .map(|(setting, outcomes)| {
            let bars = [
                estimate(outcomes, |one| one.wire_per_byte),
                estimate(outcomes, |one| one.transaction_duplicates),
                estimate(outcomes, |one| one.block_duplicates),
            ];
            (name_of(setting), bars.to_vec())
        })
        .collect();
    chart.bars(&["bytes", "transactions again", "blocks again"], &groups)
}

fn draw_sweep(results: &[(Setting, &[Outcome])]) -> Result<String, String> {
    let chart = Chart {
        title: "Up to which size is a body to be sent unasked?",
        x_name: "bodies up to so many bytes go unasked",
        y_name: "relative to the least of all",
        most: None,
    };
    let band = |name: &str, figure: fn(&Outcome) -> f64| {
        let points: Vec<(f64, Estimate)> = results
            .iter()
            .map(|(setting, outcomes)| {
                let place = setting.unasked_bytes_max.unwrap_or_default() as f64;
                (place, estimate(outcomes, figure))
            })
            .collect();
        let least = points.iter().map(|(_, y)| y.mean).fold(f64::INFINITY, f64::min);
        let relative = |(x, y): (f64, Estimate)| (x, y.times(1.0 / least));
        Band { name: name.to_owned(), points: points.into_iter().map(relative).collect() }
    };
    let bytes = band("bytes on the wire", |one| one.wire_per_byte);
    let median = band("median time to all nodes", |one| one.transaction_ms[0]);
    let slow = band("p99 of the time to all nodes", |one| one.transaction_ms[1]);
    chart.lines(&[bytes, median, slow])
}

fn estimate(outcomes: &[Outcome], figure: impl Fn(&Outcome) -> f64) -> Estimate {
    Estimate::of(&outcomes.iter().map(figure).collect::<Vec<_>>())
}

type Figure = (&'static str, usize, fn(&Outcome) -> f64);

/// What is told of a run: name with unit, digits behind the point, value.
const FIGURES: &[Figure] = &[
    ("bytes per byte", 2, |one| one.wire_per_byte),
    ("MB a node", 1, |one| one.wire_mb),
    ("transactions again", 2, |one| one.transaction_duplicates),
    ("blocks again", 2, |one| one.block_duplicates),
    ("asked in vain ‰", 2, |one| one.asked_again),
    ("transactions p50 ms", 0, |one| one.transaction_ms[0]),
    ("transactions p99 ms", 0, |one| one.transaction_ms[1]),
    ("blocks p50 ms", 0, |one| one.block_ms[0]),
    ("blocks p99 ms", 0, |one| one.block_ms[1]),
];

fn summary(results: &[(Setting, &[Outcome])], first: &str) -> Table {
    let names: Vec<&str> =
        std::iter::once(first).chain(FIGURES.iter().map(|(name, ..)| *name)).collect();
    let mut table = Table::new(&names);
    for (setting, outcomes) in results {
        let mean = |(_, digits, figure): &Figure| Cell::Mean(estimate(outcomes, figure), *digits);
        let named = std::iter::once(name_of(setting).into());
        table.push(named.chain(FIGURES.iter().map(mean)).collect());
    }
    table
}

fn each_run(jobs: &[(Setting, u64)], outcomes: &[Outcome]) -> Table {
    let mut table = Table::new(&[
        "policy",
        "unasked_bytes_max",
        "seed",
        "wire_per_byte",
        "wire_mb_per_node",
        "transaction_duplicates",
        "block_duplicates",
        "asked_in_vain_per_thousand",
        "transaction_p50_ms",
        "transaction_p99_ms",
        "block_p50_ms",
        "block_p99_ms",
        "events",
    ]);
    for ((setting, seed), one) in jobs.iter().zip(outcomes) {
        let unasked = setting.unasked_bytes_max;
        let unasked = unasked.unwrap_or_else(|| RelayRules::default().unasked_bytes_max);
        let named = [setting.policy.name().to_owned(), unasked.to_string(), seed.to_string()];
        let figures = FIGURES.iter().map(|(_, _, figure)| format!("{:.6}", figure(one)));
        table.push(named.into_iter().chain(figures).chain([one.events.to_string()]).collect());
    }
    table
}

fn verdict(results: &[(Setting, &[Outcome])]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let of = |wanted: Policy| {
        let found = results.iter().find(|(setting, _)| setting.policy == wanted)?;
        Some(estimate(found.1, |one| one.wire_per_byte))
    };
    let (Some(flood), Some(announce)) = (of(Policy::Flood), of(Policy::Announce)) else {
        verdicts.note("none: it takes flood and announce together".to_owned());
        return verdicts;
    };
    let holds = announce.high().zip(flood.low()).map(|(high, low)| high < low / 2.0);
    let line = format!(
        "announce takes {} bytes on the wire for each byte that was lacked, wanted below half of \
         flood's {}; nothing was lost, and nothing unasked came twice",
        announce.text(2),
        flood.text(2),
    );
    verdicts.judge_intervals(holds, line);
    verdicts
}

/// The fewest bytes among those that are about as fast as the fastest, in the median and in the
/// 99th percentile: the median is that of small transactions, the other that of large ones.
fn best_threshold(results: &[(Setting, &[Outcome])]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let time = |at: usize| {
        move |outcomes: &[Outcome]| estimate(outcomes, |one| one.transaction_ms[at]).mean
    };
    let (median, slow) = (time(0), time(1));
    let least = |time: &dyn Fn(&[Outcome]) -> f64| {
        results.iter().map(|(_, outcomes)| time(outcomes)).fold(f64::INFINITY, f64::min)
    };
    let (median_min, slow_min) = (least(&median), least(&slow));
    let bytes = |outcomes: &[Outcome]| estimate(outcomes, |one| one.wire_per_byte).mean;
    let fast = results.iter().filter(|(_, outcomes)| {
        median(outcomes) <= SLOWER_MAX * median_min && slow(outcomes) <= SLOWER_MAX * slow_min
    });
    let best = fast.min_by(|(_, one), (_, other)| bytes(one).total_cmp(&bytes(other)));
    let Some((setting, outcomes)) = best else {
        let line = "none is about as fast as the fastest in both respects";
        verdicts.judge(false, line.to_owned());
        return verdicts;
    };
    let line = format!(
        "bodies up to {} bytes unasked: the fewest bytes, {:.2} for each that was lacked, among \
         the thresholds whose median of {:.0} ms and p99 of {:.0} ms are at most {SLOWER_MAX} of \
         the least, {median_min:.0} and {slow_min:.0} ms",
        name_of(setting),
        bytes(outcomes),
        median(outcomes),
        slow(outcomes),
    );
    verdicts.judge(true, line);
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_have_the_sizes_that_are_told() {
        let mut rng = rng(5);
        let sizes: Vec<usize> = (0..10_000).map(|_| transaction_bytes(&mut rng)).collect();
        let small = sizes.iter().filter(|size| (300..=2_000).contains(*size)).count();
        let large = sizes.iter().filter(|size| (2_001..=100_000).contains(*size)).count();
        assert_eq!(small + large, sizes.len());
        assert!((850..1_150).contains(&large), "{large}");
    }
}
