//! The vocabulary with the chain: what the engine tells it, and what it tells the engine.

use std::net::SocketAddr;

use codec::{Hash, Kind, Payload, PayloadId};

use crate::event::ConnId;

/// Height and total difficulty of a best chain.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ChainTip {
    /// Blocks since genesis.
    pub height: u64,
    /// Work of the whole chain.
    pub total_difficulty: u64,
}

/// Which peer something came from; the address outlives the connection, so that a peer that left
/// is charged too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// The connection.
    pub conn: ConnId,
    /// The remote's address.
    pub addr: SocketAddr,
}

/// What the seen filter knew of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// Certainly never seen before.
    New,
    /// Perhaps seen long ago: a filter says so, and filters may err. A hint, no verdict.
    PerhapsLongAgo,
    /// Asked for by the chain, and so delivered whatever was seen before.
    Requested,
}

/// What a peer asks of the chain, or the chain of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Headers that follow the first known of these hashes, newest first, at most 20.
    Headers(Box<[Hash]>),
    /// A whole block, by its id.
    Block(Hash),
    /// A compact block, by the block's id.
    CompactBlock(Hash),
    /// A transaction, by the hash of its kernel (or the network's own id).
    Transaction(Hash),
}

impl Request {
    /// Bytes of a list that it carries.
    fn bytes(&self) -> usize {
        match self {
            Self::Headers(locator) => size_of_val::<[Hash]>(locator),
            Self::Block(_) | Self::CompactBlock(_) | Self::Transaction(_) => 0,
        }
    }
}

/// What the engine tells the chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToChain {
    /// A payload that was not seen before. The chain may answer with a [`Verdict`].
    Payload {
        /// Who delivered it first.
        from: Source,
        /// The payload.
        payload: Payload,
        /// What the seen filter knew.
        freshness: Freshness,
    },
    /// A peer says that it has a payload with this id.
    Announced {
        /// Who has it.
        from: Source,
        /// Kind of the announcement.
        kind: Kind,
        /// The id.
        id: PayloadId,
    },
    /// A peer asks for something. An answer is [`FromChain::Deliver`]; silence is an answer too.
    Requested {
        /// Who asks.
        from: Source,
        /// What for.
        request: Request,
    },
}

impl ToChain {
    /// Payload bytes that this occupies on a lane.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Payload { payload, .. } => payload.frame().len(),
            Self::Requested { request, .. } => request.bytes(),
            Self::Announced { .. } => 0,
        }
    }
}

/// What the chain thinks of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Valid: relay it to all who lack it.
    Accept,
    /// Breaks the chain's rules in a way that its sender alone can have made.
    Invalid,
    /// Not now: forget that it was seen, so that it may come again.
    Later,
}

/// What the chain tells the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FromChain {
    /// Spread this.
    Publish(Payload),
    /// What became of a payload that the engine delivered.
    Verdict {
        /// Who delivered it.
        from: Source,
        /// The payload itself.
        payload: Payload,
        /// What the chain thinks.
        verdict: Verdict,
    },
    /// Ask one peer for something.
    Request {
        /// Whom.
        to: ConnId,
        /// What for.
        request: Request,
    },
    /// Give one peer what it asked for; never filtered.
    Deliver {
        /// To whom.
        to: ConnId,
        /// What.
        payload: Payload,
    },
}

impl FromChain {
    /// Payload bytes that this occupies on a lane.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Publish(payload)
            | Self::Verdict { payload, .. }
            | Self::Deliver { payload, .. } => payload.frame().len(),
            Self::Request { request, .. } => request.bytes(),
        }
    }
}
