//! What an endpoint with small pools takes.

use std::time::Duration;

use super::Report;
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

/// Builds the network, spreads something, and asks the system what it takes.
///
/// # Errors
///
/// What went wrong in the run.
pub fn experiment(parameters: &Parameters) -> Result<Report, String> {
    let Parameters { nodes, degree, transactions, seed } = *parameters;
    let before = resident_bytes();
    let dice = rng(seed);
    let dials = topology::random_dials(nodes, degree, &mut dice.fork("dials"));
    let chains = Chains::new(nodes, Spies::new(nodes, &[]), Pace::default(), seed);
    let mut network = Network::new(Model { cuts: Cuts::Frames, ..Model::default() }, chains, seed);
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
    let holds = each(spread) <= BYTES_MAX;
    let text = format!(
        "sim experiment memory: seed {seed}, {nodes} nodes that dial {degree} others each\n\n  \
         fixed pools of an endpoint           {pools:>9} B\n  \
         resident for each node, built        {:>9} B\n  \
         resident for each node, established  {:>9} B\n  \
         after {transactions} transactions                {:>9} B\n  \
         events                               {:>9}\n\n\
         verdict: {}: at most {BYTES_MAX} B for each node, links and their queues included\n",
        each(built),
        each(established),
        each(spread),
        network.events(),
        if holds { "holds" } else { "DOES NOT HOLD" },
    );
    Ok(Report { text, holds, files: Vec::new() })
}

/// What the system says that this process has in memory; 0 if it does not say.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or_default() * 1_024
}
