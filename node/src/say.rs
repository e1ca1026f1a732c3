//! What a node says on its standard output: one JSON object a line, for programs to read.

use std::io::Write;
use std::net::SocketAddr;

use molva::PayloadId;
use serde::Serialize;

use crate::chain::Node;

/// A line.
#[derive(Serialize, Debug)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Said {
    /// Peers may come to these addresses.
    Listening { addrs: Vec<SocketAddr>, chain: &'static str },
    /// The best chain ends here now, durably.
    Tip(Tip),
    /// A transaction came into the mempool.
    Transaction { id: String, txid: String },
    /// A peer was refused: its chain leaves ours where ours is final.
    Fork { peer: SocketAddr },
    /// What an import did. Stale blocks leave the chain where it is final; unlinked ones continue
    /// nothing that is known.
    Imported { new: u64, known: u64, stale: u64, unlinked: u64, tip: Tip },
    /// What was generated, or what a status asks for.
    Chain { chain: &'static str, tip: Tip },
    /// How a running node is. `extended` are the peers of our own kind, `neighbours` the links of
    /// the overlay, `members` those of the cluster.
    Status {
        tip: Tip,
        mempool: usize,
        mempool_bytes: usize,
        peers: u64,
        extended: u64,
        neighbours: u64,
        members: u64,
    },
    /// A transaction was taken and begins its stem.
    Submitted { id: String },
    /// A command was not carried out.
    Refused { why: String },
}

/// The end of a chain.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tip {
    height: u32,
    /// Bitcoin's hash of the block, as Bitcoin shows it.
    hash: String,
    /// What the engine calls it.
    id: String,
    /// Work of the chain, in hexadecimal digits.
    work: String,
}

impl From<&Node> for Tip {
    fn from(node: &Node) -> Self {
        Self {
            height: node.height,
            hash: node.header.block_hash().to_string(),
            id: node.id.to_string(),
            work: format!("{:x}", node.work),
        }
    }
}

impl Said {
    /// The transaction with these ids.
    pub(crate) fn transaction(id: PayloadId, txid: bitcoin::Txid) -> Self {
        Self::Transaction { id: id.to_string(), txid: txid.to_string() }
    }

    /// As a line.
    pub(crate) fn line(&self) -> String {
        serde_json::to_string(self).expect("its keys are texts")
    }
}

/// Says it at once.
pub(crate) fn say(said: &Said) {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; that is no reason to stop.
    let _ = writeln!(out, "{}", said.line()).and_then(|()| out.flush());
}
