//! What must hold of every swarm, looked at from outside.

use std::collections::BTreeSet;

use peer::CloseReason;

use super::backends::Backends;
use crate::network::{Network, NodeId};

/// Events of one virtual second that are too many, for each node: 300 kB blocks cut anywhere come
/// to some thousands.
const EVENTS_PER_SECOND_MAX: u64 = 200_000;

/// Bytes of the book beyond its fixed tables, at most: a record for each node.
const BOOK_GROWTH_MAX: usize = 1 << 20;

/// What must hold at any time.
///
/// # Errors
///
/// What does not.
pub(super) fn always(network: &Network<Backends>, events_before: u64) -> Result<(), String> {
    if let Some(error) = network.script.errors.first() {
        return Err(error.clone());
    }
    let events = network.events() - events_before;
    if events > EVENTS_PER_SECOND_MAX * network.len() as u64 {
        return Err(format!("{events} events in a second: nothing comes to rest"));
    }
    (0..network.len()).try_for_each(|node| bounded(network, node))
}

/// No table of a node is larger than it may be, and nobody honest is banned.
fn bounded(network: &Network<Backends>, node: NodeId) -> Result<(), String> {
    let Some(endpoint) = network.endpoint(node) else { return Ok(()) };
    let config = network.config(node);
    let counts = endpoint.counts();
    let liar = network.script.liar;
    let is_liar = |addr: std::net::IpAddr| {
        liar.is_some_and(|liar| Network::<Backends>::addr(liar, 1).ip() == addr)
    };
    let note = |what: &str, is: u64, most: u64| {
        if is > most { Err(format!("node {node}: {what}: {is}, at most {most}")) } else { Ok(()) }
    };
    for ban in endpoint.bans() {
        let guilty = liar.is_some_and(|liar| {
            ban.target.contains(Network::<Backends>::addr(liar, config.network.port))
        });
        if Some(node) != liar && !guilty {
            return Err(format!("node {node} bans an honest one: {ban:?}"));
        }
    }
    let others = network.len() as u64 - 1;
    let listed = endpoint.peers().filter(|peer| Some(node) != liar && is_liar(peer.addr.ip()));
    note("connections with the liar", listed.count() as u64, 2)?;
    note("bytes of half frames", counts.assembly_bytes, config.assembly_bytes_max as u64)?;
    note("inbound peers", counts.inbound, u64::from(config.slots.inbound).min(others))?;
    note("outbound peers", counts.outbound, others)?;
    let neighbours = endpoint.neighbours().count() as u64;
    note("neighbours", neighbours, config.hyparview.active_max as u64)?;
    let kept = endpoint.gossip_bytes() as u64;
    note("bytes of messages of topics", kept, config.gossip_bytes_max as u64)?;
    let (new, tried) = endpoint.address_counts();
    note("addresses", (new + tried) as u64, others + 1)?;
    let memory = (config.memory_bytes() + BOOK_GROWTH_MAX) as u64;
    note("bytes of tables", endpoint.memory_bytes() as u64, memory)?;
    let full = counts.closed[CloseReason::AssemblyFull as usize];
    note("connections ended for want of memory", full, 0)
}

/// What must hold when nothing is under way: no half frame, no request that waits, and each
/// endpoint knows the connections that its driver has, and no others.
pub(super) fn at_rest(network: &Network<Backends>) -> Result<(), String> {
    for node in 0..network.len() {
        let Some(endpoint) = network.endpoint(node) else {
            return Err(format!("node {node} is not up"));
        };
        let counts = endpoint.counts();
        let (bytes, waiting) = (counts.assembly_bytes, counts.requests_waiting);
        if bytes > 0 || waiting > 0 {
            return Err(format!(
                "node {node} at rest: {bytes} bytes of half frames, {waiting} requests wait"
            ));
        }
        let (peers, connections) = (endpoint.peers().count(), network.connections(node));
        if peers != connections {
            return Err(format!("node {node} has {connections} connections and {peers} peers"));
        }
    }
    known_at_both_ends(network)
}

/// Each link of the overlay is one at both ends.
fn known_at_both_ends(network: &Network<Backends>) -> Result<(), String> {
    let links = network.neighbouring();
    for node in 0..network.len() {
        let neighbours = network.endpoint(node).map_or(0, |endpoint| endpoint.neighbours().count());
        let known = links.iter().filter(|(from, to, _)| *from == node || *to == node).count();
        if known != neighbours {
            return Err(format!(
                "node {node} at rest has {neighbours} neighbours, and {known} of them know it"
            ));
        }
    }
    Ok(())
}

/// The honest nodes that are not joined to the first one by these links.
pub(super) fn apart(
    network: &Network<Backends>,
    links: &BTreeSet<(NodeId, NodeId, usize)>,
) -> Vec<NodeId> {
    let mut reached = BTreeSet::from([0]);
    loop {
        let before = reached.len();
        for (from, to, _) in links {
            let liar = network.script.liar;
            if Some(*from) == liar || Some(*to) == liar {
                continue;
            }
            if reached.contains(from) || reached.contains(to) {
                reached.extend([*from, *to]);
            }
        }
        if reached.len() == before {
            return honest(network).filter(|node| !reached.contains(node)).collect();
        }
    }
}

/// All nodes but the liar.
pub(super) fn honest(network: &Network<Backends>) -> impl Iterator<Item = NodeId> + use<> {
    let liar = network.script.liar;
    (0..network.len()).filter(move |node| Some(*node) != liar)
}
