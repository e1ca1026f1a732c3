//! Spies: nodes that behave as all others do, and tell each other from whom they heard first.
//!
//! They see what any peer sees, and nothing is changed for them. Their guess is the first spy's:
//! that whoever was first to send a transaction to any of them made it.

use std::collections::BTreeMap;

use crate::network::NodeId;

/// What the spies saw.
pub struct Spies {
    members: Vec<bool>,
    /// For each item who was first to send it to a spy.
    first: BTreeMap<usize, NodeId>,
}

/// How good the guesses were.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Guess {
    /// Share of the transactions whose maker was named.
    pub recall: f64,
    /// For each honest node that made some: the share of those ascribed to it that were its own,
    /// none if nothing was; the mean over these nodes. With one transaction a node that is the
    /// precision of the Dandelion++ paper (arXiv 1805.11060).
    pub precision: f64,
    /// Share of the transactions of which a spy heard at all.
    pub heard: f64,
}

impl Spies {
    /// These nodes are spies.
    #[must_use]
    pub fn new(nodes: usize, members: &[NodeId]) -> Self {
        let mut flags = vec![false; nodes];
        members.iter().for_each(|member| flags[*member] = true);
        Self { members: flags, first: BTreeMap::new() }
    }

    /// Whether this node is a spy.
    #[must_use]
    pub fn has(&self, node: NodeId) -> bool {
        self.members[node]
    }

    /// Whether the spies learn something of what one node sends to another: who is no spy sends it
    /// to one. What they send to each other they know already.
    pub(crate) fn hear(&self, from: NodeId, to: NodeId) -> bool {
        self.members[to] && !self.members[from]
    }

    pub(crate) fn note(&mut self, from: NodeId, item: usize) {
        self.first.entry(item).or_insert(from);
    }

    /// Judges the guesses; `origins` are the true makers, by item.
    #[must_use]
    pub fn judge(&self, origins: &[NodeId]) -> Guess {
        let mut ascribed: BTreeMap<NodeId, (u64, u64)> = BTreeMap::new();
        let mut named = 0;
        for (item, origin) in origins.iter().enumerate() {
            ascribed.entry(*origin).or_default();
            let Some(guess) = self.first.get(&item) else { continue };
            let (right, all) = ascribed.entry(*guess).or_default();
            *right += u64::from(guess == origin);
            *all += 1;
            named += u64::from(guess == origin);
        }
        let mut makers: Vec<NodeId> = origins.to_vec();
        makers.sort_unstable();
        makers.dedup();
        let share = |maker: &NodeId| match ascribed[maker] {
            (_, 0) => 0.0,
            (right, all) => right as f64 / all as f64,
        };
        let count = origins.len().max(1) as f64;
        Guess {
            recall: named as f64 / count,
            precision: makers.iter().map(share).sum::<f64>() / makers.len().max(1) as f64,
            heard: self.first.len() as f64 / count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_send_is_named() {
        let mut spies = Spies::new(6, &[4, 5]);
        assert!(spies.hear(0, 4) && !spies.hear(4, 5) && !spies.hear(0, 1));
        // Items 0 and 1 are of node 0, item 2 of node 1, item 3 of node 2, unheard.
        for (from, item) in [(0, 0), (1, 0), (1, 1), (1, 2), (3, 2)] {
            spies.note(from, item);
        }
        let guess = spies.judge(&[0, 0, 1, 2]);
        assert_eq!(guess.recall, 0.5);
        // Node 0: 1 of 1; node 1: 1 of 2; node 2: nothing.
        assert_eq!(guess.precision, 0.5);
        assert_eq!(guess.heard, 0.75);
    }
}
