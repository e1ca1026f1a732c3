//! What an endpoint with small pools takes.

use std::path::Path;
use std::time::Duration;

use super::{Question, Report, Verdicts, limits};
use crate::chains::{Chains, Pace};
use crate::dice::rng;
use crate::model::{Cuts, Model};
use crate::network::Network;
use crate::spies::Spies;
use crate::topology;

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Parameters {
    /// How many nodes there are.
    #[arg(long, default_value_t = 10_000)]
    pub nodes: usize,
    /// How many others each dials.
    #[arg(long, default_value_t = 8)]
    pub degree: usize,
    /// Transactions that are spread, one a second.
    #[arg(long, default_value_t = 30)]
    pub transactions: usize,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// The promise of `Config::small`.
const BYTES_MAX: u64 = 400_000;

impl Question for Parameters {
    fn check(&self) -> Result<(), String> {
        limits::endpoints(self.nodes, self.degree)?;
        limits::known(self.nodes, self.transactions, "transactions")
    }

    fn head(&self) -> String {
        let Self { nodes, degree, transactions, seed } = self;
        format!(
            "sim experiment memory: seed {seed}, {nodes} nodes that dial {degree} others each, \
             {transactions} transactions"
        )
    }

    fn out(&self) -> Option<&Path> {
        None
    }

    /// Builds the network, spreads something, and asks the system what it takes.
    fn ask(&self) -> Result<Report, String> {
        let Self { nodes, degree, transactions, seed } = *self;
        let before = resident_bytes();
        let dice = rng(seed);
        let dials = topology::random_dials(nodes, degree, &mut dice.fork("dials"));
        let chains = Chains::new(nodes, Spies::new(nodes, &[]), Pace::default(), seed);
        let mut network =
            Network::new(Model { cuts: Cuts::Frames, ..Model::default() }, chains, seed);
        topology::build(&mut network, &dials, |_| topology::quiet_config());
        let built = resident_bytes();
        topology::establish(&mut network, &dials)?;
        let established = resident_bytes();
        let mut makers = dice.fork("transactions");
        for _ in 0..transactions {
            let at = network.now().after(Duration::from_secs(1));
            network.run_until(at);
            let origin = makers.below(nodes as u64) as usize;
            let command = network.script.publish(at, origin, codec::Kind::Transaction, 1_600);
            network.command(origin, command);
        }
        let end = network.now().after(Duration::from_secs(30));
        network.run_until(end);
        network.script.ledger.spreads()?;
        let spread = resident_bytes();
        let pools = network.endpoint(0).map_or(0, peer::Endpoint::memory_bytes);
        let each = |bytes: u64| bytes.saturating_sub(before) / nodes as u64;
        let text = format!(
            "  fixed pools of an endpoint           {pools:>9} B\n  \
             resident for each node, built        {:>9} B\n  \
             resident for each node, established  {:>9} B\n  \
             after the transactions               {:>9} B\n  \
             events                               {:>9}\n",
            each(built),
            each(established),
            each(spread),
            network.events(),
        );
        let mut verdicts = Verdicts::default();
        let line = format!(
            "{} B for each node, links and their queues included, at most {BYTES_MAX}",
            each(spread)
        );
        verdicts.judge(each(spread) <= BYTES_MAX, line);
        Ok(Report { text, verdicts, files: Vec::new() })
    }
}

/// What the system says that this process has in memory; 0 if it does not say.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or_default() * 1_024
}
