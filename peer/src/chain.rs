//! The vocabulary with the chain: what the engine tells it, and what it tells the engine.

use std::net::SocketAddr;
use std::sync::Arc;

pub use codec::{Archive, SegmentId};
use codec::{Hash, Kind, Payload, PayloadId};

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
}

impl Request {
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
            | Self::KernelSegment(_) => 0,
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
}

impl ToChain {
    /// Payload bytes that this occupies on a lane.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Payload { payload, .. } => payload.frame().len(),
            Self::Requested { request, .. } => request.bytes(),
            Self::ArchivePiece { bytes, .. } => bytes.len(),
            Self::Announced { .. }
            | Self::ArchiveBegins { .. }
            | Self::ArchiveBroken { .. }
            | Self::PieceWanted { .. } => 0,
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
    /// Payload bytes that this occupies on a lane.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Publish(payload)
            | Self::Verdict { payload, .. }
            | Self::Deliver { payload, .. }
            | Self::ArchivePiece { piece: payload, .. } => payload.frame().len(),
            Self::Request { request, .. } => request.bytes(),
            Self::SendArchive { .. } | Self::GiveUpArchive { .. } => 0,
            Self::Accuse { note, .. } => note.len(),
        }
    }
}
