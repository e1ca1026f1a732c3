//! Who dials whom.

use std::time::Duration;

use codec::{Capabilities, Network as Protocol};
use peer::{Config, Rng};

use crate::network::{Network, NodeId, Script};

/// For each node, whom it dials: `degree` others, no two nodes each other.
///
/// # Panics
///
/// If there are not more than four times as many nodes as each dials.
#[must_use]
pub fn random_dials(nodes: usize, degree: usize, rng: &mut Rng) -> Vec<Vec<NodeId>> {
    assert!(nodes > 4 * degree, "{nodes} nodes cannot dial {degree} others each");
    let mut dials: Vec<Vec<NodeId>> = vec![Vec::new(); nodes];
    for node in 0..nodes {
        let mut tries = 0;
        while dials[node].len() < degree {
            let other = rng.below(nodes as u64) as usize;
            let linked = dials[node].contains(&other) || dials[other].contains(&node);
            if other != node && !linked {
                dials[node].push(other);
            }
            tries += 1;
            assert!(tries < 1_000 * nodes, "no node is left to dial");
        }
    }
    dials
}

/// An endpoint that dials whom it is told to, and nobody else; with small pools. It exchanges no
/// addresses and pings once a minute, so that what is measured is not lost in what is not.
#[must_use]
pub fn quiet_config() -> Config {
    let mut config = Config::small(Protocol::DEV);
    config.capabilities = Capabilities::UNKNOWN;
    config.ping_period = Duration::from_secs(60);
    config.silence_timeout = Duration::from_secs(300);
    config.slots.outbound = 0;
    config.slots.feeler_period = Duration::from_secs(1_000_000);
    config
}

/// Adds a node for each list of dials, made by `config`.
pub fn build<S: Script>(
    network: &mut Network<S>,
    dials: &[Vec<NodeId>],
    config: impl Fn(NodeId) -> Config,
) {
    for (node, others) in dials.iter().enumerate() {
        let mut config = config(node);
        let port = config.network.port;
        config.connect = others.iter().map(|other| Network::<S>::addr(*other, port)).collect();
        network.add(config);
    }
}

/// Lets time pass until as many connections stand as were dialled, a minute at most.
///
/// # Errors
///
/// How many stand, and how many were to.
pub fn establish<S: Script>(network: &mut Network<S>, dials: &[Vec<NodeId>]) -> Result<(), String> {
    let wanted = dials.iter().map(Vec::len).sum::<usize>() as u64;
    for _ in 0..60 {
        let soon = network.now().after(Duration::from_secs(1));
        network.run_until(soon);
        if network.established() == wanted {
            return Ok(());
        }
    }
    Err(format!("{} of {wanted} connections stand after a minute", network.established()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_dials_its_number_and_no_pair_is_linked_twice() {
        let mut rng = Rng::from_seed([3; 32]);
        for (nodes, degree) in [(5, 1), (33, 8), (200, 8)] {
            let dials = random_dials(nodes, degree, &mut rng);
            for (node, others) in dials.iter().enumerate() {
                assert_eq!(others.len(), degree);
                assert!(others.iter().all(|other| !dials[*other].contains(&node)));
                assert!(!others.contains(&node));
            }
        }
    }
}
