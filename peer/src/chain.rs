//! The vocabulary with the chain: what the engine tells it, and what it tells the engine.

use std::net::SocketAddr;
use std::sync::Arc;

pub use codec::{Archive, SegmentId};
use codec::{Hash, Kind, Message, Payload, PayloadId};

use crate::bans::BanCause;
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
    /// The next of the blocks that the chain wants in a row ([`FromChain::FetchBlocks`]).
    Next,
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
    /// The archive of unspent outputs at this block, or at whichever the peer serves.
    TxHashSet {
        /// Hash of the block.
        block: Hash,
        /// Its height.
        height: u64,
    },
    /// A segment of the bitmap of unspent outputs.
    OutputBitmapSegment(SegmentId),
    /// A segment of the outputs.
    OutputSegment(SegmentId),
    /// A segment of their range proofs.
    RangeProofSegment(SegmentId),
    /// A segment of the kernels.
    KernelSegment(SegmentId),
    /// So many blocks of the best chain from this one on, in its order, each a delivery of its own:
    /// as many as have [`RANGE_BYTES_MAX`](codec::limits::RANGE_BYTES_MAX) bytes together, and at
    /// least one.
    Blocks {
        /// Id of the first.
        first: Hash,
        /// How many at most.
        count: u16,
    },
}

impl Request {
    /// What this message asks of the chain, if it asks.
    pub(crate) fn of_message(message: &Message<'_>) -> Option<Self> {
        Some(match message {
            Message::GetHeaders(locator) => Self::Headers(locator.iter().collect()),
            Message::GetBlock(id) => Self::Block(*id),
            Message::GetCompactBlock(id) => Self::CompactBlock(*id),
            Message::GetTransaction(id) => Self::Transaction(*id),
            Message::TxHashSetRequest(wanted) => {
                Self::TxHashSet { block: wanted.block, height: wanted.height }
            }
            Message::GetOutputBitmapSegment(id) => Self::OutputBitmapSegment(*id),
            Message::GetOutputSegment(id) => Self::OutputSegment(*id),
            Message::GetRangeProofSegment(id) => Self::RangeProofSegment(*id),
            Message::GetKernelSegment(id) => Self::KernelSegment(*id),
            Message::GetBlocks(range) => Self::Blocks { first: range.first, count: range.count },
            _ => return None,
        })
    }

    /// The payload that it asks for, if it names one.
    pub(crate) const fn names(&self) -> Option<(Kind, Hash)> {
        match self {
            Self::Block(id) => Some((Kind::Block, *id)),
            Self::CompactBlock(id) => Some((Kind::CompactBlock, *id)),
            Self::Transaction(id) => Some((Kind::Transaction, *id)),
            _ => None,
        }
    }

    /// Bytes of a list that it carries.
    fn bytes(&self) -> usize {
        match self {
            Self::Headers(locator) => size_of_val::<[Hash]>(locator),
            Self::Block(_)
            | Self::CompactBlock(_)
            | Self::Transaction(_)
            | Self::TxHashSet { .. }
            | Self::OutputBitmapSegment(_)
            | Self::OutputSegment(_)
            | Self::RangeProofSegment(_)
            | Self::KernelSegment(_)
            | Self::Blocks { .. } => 0,
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
    /// A peer says that it has a payload with this id, of which nothing was heard before; that
    /// others have it too is kept for when it is wanted. An answer is [`FromChain::Fetch`]; silence
    /// is an answer too. What the chain holds on a stem alone it fetches like anything that it
    /// lacks: to whoever announced it, silence would tell that the stem is here.
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
    /// An archive that we asked for begins; its bytes follow in pieces. If the connection ends
    /// before the last, none follows, and [`ToChain::ArchiveBroken`] says so.
    ArchiveBegins {
        /// Who sends it.
        from: Source,
        /// What it is.
        archive: Archive,
    },
    /// The next bytes of an archive.
    ArchivePiece {
        /// Who sends it.
        from: Source,
        /// How many bytes came before these.
        offset: u64,
        /// At most [`ARCHIVE_PIECE_BYTES_MAX`](crate::ARCHIVE_PIECE_BYTES_MAX).
        bytes: Arc<[u8]>,
    },
    /// The rest of an archive will not come, or need not be given any more: the connection ended.
    ArchiveBroken {
        /// With whom.
        from: Source,
    },
    /// A peer takes more of the archive that the chain sends it: answer with
    /// [`FromChain::ArchivePiece`].
    PieceWanted {
        /// Who.
        from: Source,
        /// How many bytes come before these.
        offset: u64,
        /// How many are wanted.
        length: u32,
    },
    /// A peer claims more work than our tip has, and our tip is far below or has stood still for
    /// ten seconds: [`FromChain::FindHeaders`] asks it for headers. Told again when a peer claims
    /// still more, at most once in [`BEHIND_PERIOD`](crate::BEHIND_PERIOD), and each ten seconds
    /// while nothing comes of it. Not before the chain has told its tip.
    Behind {
        /// The most that a peer claims.
        tip: ChainTip,
    },
    /// What [`FromChain::Fetch`] or [`FromChain::FetchBlocks`] asked for is not to be had: nobody
    /// who may have it gave it. The blocks behind it go on. Told too when the envelope that answers
    /// a [`FromChain::Request`] held something else, unless that was relayed or is being fetched.
    Missing {
        /// Block, CompactBlock or Transaction.
        kind: Kind,
        /// Its id.
        id: PayloadId,
    },
    /// Nobody answered [`FromChain::FindHeaders`], or all who claim more work than ours gave no
    /// header that follows the locator.
    NoHeaders,
    /// A stem transaction is public from now on, by the coin, by its embargo or because its stem
    /// came back: it belongs into the pool, and the engine spreads it.
    Fluffed {
        /// The transaction, as a Transaction.
        payload: Payload,
    },
    /// These stem transactions may be made one. An answer is [`FromChain::Aggregated`].
    Aggregate {
        /// Which batch, to be named in the answer.
        batch: u64,
        /// The transactions, as StemTransactions; at least two, at most
        /// [`AGGREGATE_MAX`](crate::AGGREGATE_MAX).
        stems: Arc<[Payload]>,
    },
    /// A peer wants to compare pools: [`FromChain::Pool`] is the answer, once for all.
    PoolWanted,
}

impl ToChain {
    /// Payload bytes that this occupies on a lane.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            // An envelope takes the room of what it holds: it is opened on the way.
            Self::Payload { payload, .. } => {
                let plain = payload.envelope().map_or(0, |(_, _, bytes)| bytes as usize);
                payload.frame().len().max(codec::FRAME_HEADER_BYTES + plain)
            }
            Self::Requested { request, .. } => request.bytes(),
            Self::ArchivePiece { bytes, .. } => bytes.len(),
            Self::Fluffed { payload } => payload.frame().len(),
            Self::Aggregate { stems, .. } => stems.iter().map(|stem| stem.frame().len()).sum(),
            Self::Announced { .. }
            | Self::ArchiveBegins { .. }
            | Self::ArchiveBroken { .. }
            | Self::PieceWanted { .. }
            | Self::Behind { .. }
            | Self::Missing { .. }
            | Self::NoHeaders
            | Self::PoolWanted => 0,
        }
    }
}

/// What the chain thinks of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Valid: relay it to all who lack it. A stem transaction goes on along its stem.
    Accept,
    /// Valid, and old: a merit of its sender, and not to be relayed.
    Keep,
    /// Breaks the chain's rules in a way that its sender alone can have made.
    Invalid,
    /// Not now: forget that it was seen, so that it may come again. Who has it is kept for
    /// [`FromChain::Fetch`].
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
    /// Our own transaction: it begins a stem, and is public only when [`ToChain::Fluffed`] says so.
    /// A Transaction or a StemTransaction.
    Stem(Payload),
    /// The stems of these transactions are over: the chain saw them public, in an aggregate or a
    /// block, or does not want them any more.
    Settled {
        /// Their ids, at most [`SETTLED_MAX`](crate::SETTLED_MAX); the rest is passed over.
        ids: Arc<[PayloadId]>,
    },
    /// What became of a batch of stem transactions.
    Aggregated {
        /// Which one.
        batch: u64,
        /// The one StemTransaction that they were made into; `None` if they go on as they are.
        payload: Option<Payload>,
    },
    /// Get this from whoever has it: one peer is asked, and another when that one is late. It comes
    /// as [`Freshness::Requested`], or [`ToChain::Missing`] says that nobody gave it.
    Fetch {
        /// Block, CompactBlock or Transaction.
        kind: Kind,
        /// Its id.
        id: PayloadId,
    },
    /// Ask a peer that claims more work than our tip has for the headers behind these, newest
    /// first, at most 20. They come as a payload of kind Headers; [`ToChain::NoHeaders`] says that
    /// there are none.
    FindHeaders {
        /// Ids of our chain.
        locator: Arc<[PayloadId]>,
    },
    /// Get these blocks from many peers at once, behind those that were wanted before, or before
    /// them if they are lower: what turned out to be invalid can so be had of another. They come in
    /// this order, as [`Freshness::Next`]. An id that is wanted already is passed over.
    FetchBlocks {
        /// Height of the first.
        height: u64,
        /// Their ids. With those that are wanted already at most
        /// [`BLOCKS_WANTED_MAX`](crate::BLOCKS_WANTED_MAX); what is beyond is told Missing.
        ids: Arc<[PayloadId]>,
    },
    /// Want none of these blocks any more: another chain is better.
    CancelBlocks,
    /// The ids of the transactions in the pool, none of them on a stem.
    Pool {
        /// In ascending order; at most [`POOL_IDS_MAX`](crate::POOL_IDS_MAX), the rest is passed
        /// over.
        ids: Arc<[PayloadId]>,
    },
    /// One peer will not get what it asked for. Told to peers that read it, in a NotFound.
    NotFound {
        /// Who asked.
        to: ConnId,
        /// Block, CompactBlock or Transaction.
        kind: Kind,
        /// Its id.
        id: PayloadId,
    },
    /// End the connection with a peer whose chain can never be ours, and dial it later than others.
    Fork {
        /// The peer.
        conn: ConnId,
    },
    /// An envelope of this peer did not hold what it said: made by the workers that open them.
    BadEnvelope {
        /// Who sent it.
        from: Source,
        /// Kind of what it was to hold.
        kind: Kind,
        /// Id of what it was to hold.
        id: PayloadId,
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
    /// Begin to give one peer the archive that it asked for. The engine asks for its bytes with
    /// [`ToChain::PieceWanted`].
    SendArchive {
        /// To whom.
        to: ConnId,
        /// What it is.
        archive: Archive,
    },
    /// Take no more of the archive that was asked of this peer, or give it no more of the one that
    /// it gets, and blame nobody. Nothing else can pass before the rest of an archive has, so the
    /// connection ends with it, and may be made anew. [`ToChain::ArchiveBroken`] follows if the
    /// archive had begun.
    GiveUpArchive {
        /// With whom.
        conn: ConnId,
    },
    /// Ban whoever did what the chain alone can see, and no single payload proves: an archive that
    /// does not fit its header, work that was claimed and never shown.
    Accuse {
        /// Who did it, here still or not.
        from: Source,
        /// What it was.
        cause: BanCause,
        /// For people: ids, numbers. Cut at [`NOTE_BYTES_MAX`](crate::NOTE_BYTES_MAX).
        note: Box<str>,
    },
    /// The next bytes of that archive, exactly as many as were wanted.
    ArchivePiece {
        /// To whom.
        to: ConnId,
        /// The bytes: [`Payload::piece`].
        piece: Payload,
    },
}

impl FromChain {
    /// Payload bytes that this occupies on a lane; those of an envelope beside the payload too.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Publish(payload)
            | Self::Stem(payload)
            | Self::Aggregated { payload: Some(payload), .. }
            | Self::Verdict { payload, .. }
            | Self::Deliver { payload, .. }
            | Self::ArchivePiece { piece: payload, .. } => {
                let packed = payload.packed().map_or(0, |packed| packed.frame().len());
                payload.frame().len() + packed
            }
            Self::Request { request, .. } => request.bytes(),
            Self::Settled { ids } | Self::FetchBlocks { ids, .. } | Self::Pool { ids } => {
                size_of_val::<[Hash]>(ids)
            }
            Self::FindHeaders { locator } => size_of_val::<[Hash]>(locator),
            Self::SendArchive { .. }
            | Self::GiveUpArchive { .. }
            | Self::Aggregated { payload: None, .. }
            | Self::Fetch { .. }
            | Self::CancelBlocks
            | Self::NotFound { .. }
            | Self::Fork { .. }
            | Self::BadEnvelope { .. } => 0,
            Self::Accuse { note, .. } => note.len(),
        }
    }
}
