//! Every size on the wire, in one place.
//!
//! Source: the grin protocol, frame length limits. A kind has a nominal limit, and a reader accepts
//! up to four times that: the factor is not slack, a real mainnet header of 400 to 415 bytes
//! exceeds its nominal 365. The limits of Molva's own kinds follow from their fields, to the byte.

use crate::extension::{ENVELOPE_HEAD_BYTES, Envelope, Item, Offer, PoolId, Record};
use crate::frame::Kind;

/// Magic (2), kind (1), body length (8, big-endian).
pub const FRAME_HEADER_BYTES: usize = 11;

/// What a reader accepts beyond the nominal limit of a kind.
pub const NOMINAL_FACTOR: u64 = 4;

/// Most addresses of one PeerAddrs.
pub const PEER_ADDRS_MAX: usize = 256;

/// Most hashes of one locator (GetHeaders).
pub const LOCATOR_HASHES_MAX: usize = 20;

/// Most headers of one Headers.
pub const HEADERS_MAX: usize = 512;

/// Most items of each list of a segment.
pub const SEGMENT_ITEMS_MAX: u64 = 1_000_000;

/// Highest segment of the bitmap of unspent outputs: 2^13 chunks of 1,024 bits.
pub const BITMAP_SEGMENT_HEIGHT_MAX: u8 = 13;

/// Most records of one Have, Coming, Want, NotFound, PoolIds or WantPool. Guess: a thousand
/// announcements are more than a turn has, and fill 38 kB.
pub const RECORDS_MAX: usize = 1_024;

/// Most bytes of the name of a gossip topic. Guess: room for a dotted name; it goes with each body.
pub const TOPIC_BYTES_MAX: usize = 64;

/// Tag, round, nonce, topic with its length, length of the data.
const GOSSIP_HEAD_BYTES_MAX: u64 = 1 + 2 + 16 + 1 + TOPIC_BYTES_MAX as u64 + 4;

/// Most bytes of one gossip message: what a peer may make us keep for a while for others. Larger
/// ones are the business of relayed payloads.
pub const GOSSIP_DATA_BYTES_MAX: usize = 64 << 10;

/// Most addresses of one Shuffle or ShuffleReply of HyParView: four times what the paper's eight
/// are, for nodes that have larger views.
pub const SHUFFLE_ADDRS_MAX: usize = 32;

/// Most bytes of a datagram: fits into every common path without being cut, as memberlist's.
pub const DATAGRAM_BYTES_MAX: usize = 1_400;

/// Most bytes of an event of a cluster: one datagram has room for it beside what else must be said.
pub const EVENT_DATA_BYTES_MAX: usize = 1_024;

/// Most blocks of one GetBlocks.
pub const RANGE_BLOCKS_MAX: u16 = 128;

/// Most sightings of one message of peer sampling: 128 with IPv6 addresses have 2,951 bytes, so
/// that a message keeps within 4,096. A larger view sends a random part of itself.
pub const SIGHTINGS_MAX: usize = 128;

/// Bytes of blocks that one GetBlocks is answered with at most, unless the first alone has more.
pub const RANGE_BYTES_MAX: usize = 4 << 20;

/// Longest user agent we send. A Hand has room for about 400 bytes of it, a Shake for 296.
pub const USER_AGENT_BYTES_MAX: usize = 128;

/// Longest user agent we read: what a Hand has room for beside its other fields with two short
/// addresses.
pub const USER_AGENT_READ_BYTES_MAX: usize = 434;

/// Bytes of a full range proof; the only length that is canonical.
pub const RANGE_PROOF_BYTES: usize = 675;

/// Nominal bytes of a header, from which the limits of Header and Headers follow.
const HEADER_NOMINAL_BYTES: u64 = 365;

/// Weights of a body: the basis of the largest block.
pub const INPUT_WEIGHT: u64 = 1;
/// Weight of an output.
pub const OUTPUT_WEIGHT: u64 = 21;
/// Weight of a kernel.
pub const KERNEL_WEIGHT: u64 = 3;

/// Bytes that grin reckons for one output when it bounds a block by its weight.
const OUTPUT_NOMINAL_BYTES: u64 = 708;

/// The sizes that differ between networks, all following from the largest block weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    block_weight_max: u64,
    block_bytes: u64,
    proof_nonces: u8,
}

impl Limits {
    /// Mainnet and testnet: weight 40,000, proofs of 42 nonces.
    pub const MAINNET: Self = Self::new(40_000, 42);

    /// Limits of a chain whose blocks weigh at most `block_weight_max` and whose proof of work has
    /// `proof_nonces` nonces.
    ///
    /// # Panics
    ///
    /// If `proof_nonces` is 0 or over 42, or the weight over 1,000,000: constants of a chain, known
    /// when it is built.
    #[must_use]
    pub const fn new(block_weight_max: u64, proof_nonces: u8) -> Self {
        assert!(proof_nonces > 0 && proof_nonces <= 42);
        assert!(block_weight_max <= 1_000_000);
        let block_bytes = block_weight_max / OUTPUT_WEIGHT * OUTPUT_NOMINAL_BYTES;
        Self { block_weight_max, block_bytes, proof_nonces }
    }

    /// Heaviest block body.
    #[must_use]
    pub const fn block_weight_max(&self) -> u64 {
        self.block_weight_max
    }

    /// Heaviest transaction body: a block must have room for a coinbase output and kernel too.
    #[must_use]
    pub const fn transaction_weight_max(&self) -> u64 {
        self.block_weight_max.saturating_sub(OUTPUT_WEIGHT + KERNEL_WEIGHT)
    }

    /// Nonces of one proof of work.
    #[must_use]
    pub const fn proof_nonces(&self) -> u8 {
        self.proof_nonces
    }

    /// Most bytes of a body of this kind that a reader accepts: four times the nominal limit, or
    /// the longest that there can be of a kind of our own. Decided from the 11 header bytes alone.
    #[must_use]
    pub const fn body_bytes_max(&self, kind: Kind) -> u64 {
        if kind.is_extension() {
            self.extension_bytes_max(kind)
        } else {
            NOMINAL_FACTOR * self.nominal_bytes(kind)
        }
    }

    /// Our own messages need no factor: they end with their last field, and their sizes are known.
    const fn extension_bytes_max(&self, kind: Kind) -> u64 {
        let records = RECORDS_MAX as u64;
        match kind {
            Kind::Packed => ENVELOPE_HEAD_BYTES as u64 + self.packed_bytes_max(),
            Kind::Have | Kind::Coming => 2 + Offer::BYTES as u64 * records,
            Kind::Want | Kind::NotFound => 2 + Item::BYTES as u64 * records,
            Kind::GetBlocks => 32 + 2,
            Kind::GetPool => 8 + 8,
            Kind::PoolIds | Kind::WantPool => 8 + 8 + 8 + 2 + PoolId::BYTES as u64 * records,
            Kind::HyParView => 1 + 19 + 8 + 1 + 1 + 19 * SHUFFLE_ADDRS_MAX as u64,
            Kind::Plumtree => GOSSIP_HEAD_BYTES_MAX + GOSSIP_DATA_BYTES_MAX as u64,
            Kind::Sampling => 1 + 4 + 1 + 1 + (19 + 4) * SIGHTINGS_MAX as u64,
            _ => 0,
        }
    }

    /// The longest body that an envelope may hold: packed it is never longer. Where blocks are
    /// heavy that is a segment, where they are light it is Headers.
    const fn packed_bytes_max(&self) -> u64 {
        let (mut longest, mut i) = (0, 0);
        while i < Kind::ALL.len() {
            let kind = Kind::ALL[i];
            if Envelope::may_hold(kind) && self.body_bytes_max(kind) > longest {
                longest = self.body_bytes_max(kind);
            }
            i += 1;
        }
        longest
    }

    /// Most bytes of a body of an unknown kind, which is skipped and not stored.
    #[must_use]
    pub const fn unknown_body_bytes_max(&self) -> u64 {
        NOMINAL_FACTOR * self.block_bytes
    }

    /// Most bytes of any whole frame.
    #[must_use]
    pub const fn frame_bytes_max(&self) -> u64 {
        let (mut longest, mut i) = (0, 0);
        while i < Kind::ALL.len() {
            let bytes = self.body_bytes_max(Kind::ALL[i]);
            if bytes > longest {
                longest = bytes;
            }
            i += 1;
        }
        FRAME_HEADER_BYTES as u64 + longest
    }

    const fn nominal_bytes(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Error => 0,
            Kind::Hand => 128,
            Kind::Shake => 88,
            Kind::Ping | Kind::Pong => 16,
            Kind::GetPeerAddrs => 4,
            Kind::PeerAddrs => 4 + 19 * PEER_ADDRS_MAX as u64,
            Kind::GetHeaders => 1 + 32 * LOCATOR_HASHES_MAX as u64,
            Kind::Header => HEADER_NOMINAL_BYTES,
            Kind::Headers => 2 + HEADER_NOMINAL_BYTES * HEADERS_MAX as u64,
            Kind::GetBlock | Kind::GetCompactBlock => 32,
            Kind::Block | Kind::StemTransaction | Kind::Transaction => self.block_bytes,
            Kind::CompactBlock => self.block_bytes / 10,
            Kind::TxHashSetRequest => 40,
            Kind::TxHashSetArchive | Kind::BanReason => 64,
            Kind::GetTransaction | Kind::TransactionKernel => 32,
            Kind::GetOutputBitmapSegment
            | Kind::GetOutputSegment
            | Kind::GetRangeProofSegment
            | Kind::GetKernelSegment => 41,
            Kind::OutputBitmapSegment
            | Kind::OutputSegment
            | Kind::RangeProofSegment
            | Kind::KernelSegment => 2 * self.block_bytes,
            _ => 0,
        }
    }
}

const _: () = assert!(Limits::MAINNET.block_bytes == 1_348_032);
const _: () = assert!(Limits::MAINNET.body_bytes_max(Kind::Block) == 5_392_128);
const _: () = assert!(Limits::MAINNET.body_bytes_max(Kind::Header) >= 415, "real headers must fit");
const _: () = assert!(Limits::MAINNET.body_bytes_max(Kind::Packed) == 10_784_256 + 38);
const _: () = assert!(RECORDS_MAX <= u16::MAX as usize, "a list's count has two bytes");
const _: () = assert!(USER_AGENT_BYTES_MAX <= 296, "a Shake must have room for it");
const _: () = assert!(
    Limits::MAINNET.body_bytes_max(Kind::Hand) == (64 + 2 * 7 + USER_AGENT_READ_BYTES_MAX) as u64
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_frame_is_longer_than_the_longest() {
        for weight in [0, 21, 2_000, 2_771, 40_000, 1_000_000] {
            let limits = Limits::new(weight, 42);
            let frame = |kind| FRAME_HEADER_BYTES as u64 + limits.body_bytes_max(kind);
            let longest = Kind::ALL.into_iter().map(frame).max();
            assert_eq!(Some(limits.frame_bytes_max()), longest, "weight {weight}");
        }
    }

    #[test]
    fn an_envelope_has_room_for_the_longest_body_that_it_may_hold() {
        for (weight, longest) in [(40_000, Kind::KernelSegment), (250, Kind::Headers)] {
            let limits = Limits::new(weight, 42);
            let room = limits.body_bytes_max(Kind::Packed) - ENVELOPE_HEAD_BYTES as u64;
            assert_eq!(room, limits.body_bytes_max(longest), "weight {weight}");
            let held = Kind::ALL.into_iter().filter(|kind| Envelope::may_hold(*kind));
            assert!(held.into_iter().all(|kind| limits.body_bytes_max(kind) <= room));
        }
    }
}
