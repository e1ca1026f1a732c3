//! What can be seen of a network from outside, for those who judge a run.

use peer::{Config, ConnId, Endpoint};

use super::{Network, NodeId, Script};
use crate::digest::Digest;

impl<S: Script> Network<S> {
    /// From now on [`Network::digest`] covers all that the endpoints put out.
    pub fn keep_digest(&mut self) {
        self.digest = Some(Digest::default());
    }

    /// A number of all outputs so far; zero if none is kept.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.map_or(0, Digest::value)
    }

    /// Relayed payloads that found no room in a queue.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many processes a node had before the present one.
    #[must_use]
    pub fn life(&self, node: NodeId) -> u32 {
        self.nodes[node].life
    }

    /// How a node is set up.
    #[must_use]
    pub fn config(&self, node: NodeId) -> &Config {
        &self.nodes[node].config
    }

    /// How many connections the driver holds for a node.
    #[must_use]
    pub fn connections(&self, node: NodeId) -> usize {
        self.nodes[node].links().len()
    }

    /// The links that stand at both ends, handshake and all: who dialled, who was dialled, and the
    /// number of the link, which no other ever has.
    #[must_use]
    pub fn standing(&self) -> Vec<(NodeId, NodeId, usize)> {
        self.at_both_ends(|endpoint| {
            let peers = endpoint.peers().filter(|peer| peer.established);
            peers.map(|peer| peer.conn).collect()
        })
    }

    /// Those of them that are links of the overlay at both ends.
    #[must_use]
    pub fn neighbouring(&self) -> Vec<(NodeId, NodeId, usize)> {
        self.at_both_ends(|endpoint| endpoint.neighbours().map(|(_, conn)| conn).collect())
    }

    fn at_both_ends(
        &self,
        conns: impl Fn(&Endpoint) -> Vec<ConnId>,
    ) -> Vec<(NodeId, NodeId, usize)> {
        let mut ends = vec![0_u8; self.links.len()];
        for node in &self.nodes {
            for conn in node.endpoint.iter().flat_map(|endpoint| conns(endpoint)) {
                if let Some((link, _)) = node.link_of(conn) {
                    ends[link] += 1;
                }
            }
        }
        let both = ends.iter().enumerate().filter(|(_, count)| **count == 2);
        both.map(|(link, _)| {
            let [from, to] = self.links[link].ends;
            (from.node, to.node, link)
        })
        .collect()
    }
}
