//! Segments: the parts that a node without blocks builds the trees of the chain from.
//!
//! A tree is a range of hashes over leaves: outputs, range proofs, kernels. A segment is a subtree
//! of a given height with what of it is not pruned, and the hashes that prove its place under the
//! root. Only the layout is judged here; what the hashes are worth only the chain can say.
//!
//! Invariant: every list was compared with [`SEGMENT_ITEMS_MAX`] and with the bytes that are here
//! before it was looked at, and positions are strictly increasing.

use std::fmt;

use crate::form::Form;
use crate::kernel::Kernels;
use crate::limits::{RANGE_PROOF_BYTES, SEGMENT_ITEMS_MAX};
use crate::payload::Hash;
use crate::transaction::{
    Commitment, IDENTIFIER_BYTES, OutputFeatures, check_nrd_kernels, commitment_at,
};
use crate::wire::{Context, Decode, DecodeError, Encode, EncodeError, Reader, Writer};

/// Bytes of a range proof behind its length.
const LONG_PROOF_BYTES: usize = 8 + RANGE_PROOF_BYTES;

/// One segment of a tree, as it stood at a block. All of a request, and the start of its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentId {
    /// Hash of the block.
    pub block: Hash,
    /// Levels of the tree that a segment spans: 2^height leaves.
    pub height: u8,
    /// Which one, counted from the left.
    pub index: u64,
}

impl SegmentId {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { block: reader.hash()?, height: reader.u8()?, index: reader.u64()? })
    }
}

impl Decode<'_> for SegmentId {
    fn decode(reader: &mut Reader<'_>, _: &Context<'_>) -> Result<Self, DecodeError> {
        Self::read(reader)
    }
}

impl Encode for SegmentId {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.hash(self.block);
        writer.u8(self.height);
        writer.u64(self.index);
        Ok(())
    }
}

/// Places in a tree, counted from 1 in the order that its nodes were added: strictly increasing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Positions<'a>(&'a [[u8; 8]]);

impl<'a> Positions<'a> {
    fn read(reader: &mut Reader<'a>, count: u64) -> Result<Self, DecodeError> {
        let positions = Self(reader.arrays(count)?);
        let mut last = 0;
        for (index, position) in positions.iter().enumerate() {
            if position <= last {
                return Err(DecodeError::PositionOrder { position, index });
            }
            last = position;
        }
        Ok(positions)
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The positions, in the order of the message.
    pub fn iter(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.0.iter().map(|position| u64::from_be_bytes(*position))
    }
}

impl fmt::Debug for Positions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The identifiers of outputs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OutputIdentifiers<'a>(&'a [[u8; IDENTIFIER_BYTES]]);

/// What identifies an output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutputIdentifier<'a> {
    /// What kind it is.
    pub features: OutputFeatures,
    /// Its commitment.
    pub commit: &'a Commitment,
}

impl<'a> OutputIdentifiers<'a> {
    fn read(reader: &mut Reader<'a>, count: u64) -> Result<Self, DecodeError> {
        let list = reader.arrays::<IDENTIFIER_BYTES>(count)?;
        match list.iter().find(|output| OutputFeatures::from_byte(output[0]).is_none()) {
            Some(output) => Err(DecodeError::BadOutputFeatures { features: output[0] }),
            None => Ok(Self(list)),
        }
    }

    /// The identifiers, in the order of the message.
    pub fn iter(&self) -> impl Iterator<Item = OutputIdentifier<'a>> + use<'a> {
        self.0.iter().map(|output| OutputIdentifier {
            features: OutputFeatures::of_checked(output[0]),
            commit: commitment_at(output),
        })
    }
}

impl Encode for OutputIdentifiers<'_> {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.bytes(self.0.as_flattened());
        Ok(())
    }
}

impl fmt::Debug for OutputIdentifiers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Range proofs, each of the one canonical length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RangeProofs<'a>(&'a [[u8; LONG_PROOF_BYTES]]);

impl<'a> RangeProofs<'a> {
    fn read(reader: &mut Reader<'a>, count: u64) -> Result<Self, DecodeError> {
        let list = reader.arrays::<LONG_PROOF_BYTES>(count)?;
        for proof in list {
            let length = Reader::new(proof).u64()?;
            if length != RANGE_PROOF_BYTES as u64 {
                return Err(DecodeError::BadRangeProofLength { length });
            }
        }
        Ok(Self(list))
    }

    /// The proofs, in the order of the message. Not verified here.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8; RANGE_PROOF_BYTES]> + use<'a> {
        self.0.iter().map(|proof| proof.last_chunk().expect("a proof follows its length"))
    }
}

impl Encode for RangeProofs<'_> {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.bytes(self.0.as_flattened());
        Ok(())
    }
}

impl fmt::Debug for RangeProofs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} range proofs", self.0.len())
    }
}

/// A segment with leaves `L`, as a view of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a, L> {
    /// What was asked for.
    pub id: SegmentId,
    /// Places of `hashes`.
    pub hash_positions: Positions<'a>,
    /// Hashes that stand for pruned subtrees.
    pub hashes: &'a [[u8; 32]],
    /// Places of `leaves`.
    pub leaf_positions: Positions<'a>,
    /// The leaves that are not pruned.
    pub leaves: L,
    /// Hashes from the segment up to the root.
    pub proof: &'a [[u8; 32]],
}

/// The leaves of a segment of range proofs (kind 26).
pub type RangeProofSegment<'a> = Segment<'a, RangeProofs<'a>>;

/// The leaves of a segment of kernels (kind 28), in the form of the version.
pub type KernelSegment<'a> = Segment<'a, Kernels<'a>>;

impl<'a, L> Segment<'a, L> {
    fn read(
        reader: &mut Reader<'a>,
        leaves: impl Fn(&mut Reader<'a>, u64) -> Result<L, DecodeError>,
    ) -> Result<Self, DecodeError> {
        let id = SegmentId::read(reader)?;
        let count = read_count(reader)?;
        let (hash_positions, hashes) = (Positions::read(reader, count)?, reader.arrays(count)?);
        let count = read_count(reader)?;
        let (leaf_positions, leaves) = (Positions::read(reader, count)?, leaves(reader, count)?);
        let proof = read_proof(reader)?;
        Ok(Self { id, hash_positions, hashes, leaf_positions, leaves, proof })
    }
}

impl<'a> Decode<'a> for RangeProofSegment<'a> {
    fn decode(reader: &mut Reader<'a>, _: &Context<'_>) -> Result<Self, DecodeError> {
        Self::read(reader, RangeProofs::read)
    }
}

impl<'a> KernelSegment<'a> {
    /// Follows the layout only.
    pub(crate) fn read_form(reader: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {
        Self::read(reader, |reader, count| Kernels::read(reader, count, form))
    }
}

impl<'a> Decode<'a> for KernelSegment<'a> {
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError> {
        let segment = Self::read_form(reader, Form::of_version(context.version))?;
        check_nrd_kernels(segment.leaves, context.network)?;
        Ok(segment)
    }
}

impl<L: Encode> Encode for Segment<'_, L> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        self.id.encode(writer, version)?;
        writer.u64(self.hashes.len() as u64);
        writer.bytes(self.hash_positions.0.as_flattened());
        writer.bytes(self.hashes.as_flattened());
        writer.u64(self.leaf_positions.len() as u64);
        writer.bytes(self.leaf_positions.0.as_flattened());
        self.leaves.encode(writer, version)?;
        write_proof(self.proof, writer);
        Ok(())
    }
}

/// A segment of outputs (kind 24).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutputSegment<'a> {
    /// The segment.
    pub segment: Segment<'a, OutputIdentifiers<'a>>,
    /// Root over the bitmap of unspent outputs: the root of the header covers both trees.
    pub bitmap_root: Hash,
}

impl<'a> Decode<'a> for OutputSegment<'a> {
    fn decode(reader: &mut Reader<'a>, _: &Context<'_>) -> Result<Self, DecodeError> {
        let segment = Segment::read(reader, OutputIdentifiers::read)?;
        Ok(Self { segment, bitmap_root: reader.hash()? })
    }
}

impl Encode for OutputSegment<'_> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        self.segment.encode(writer, version)?;
        writer.hash(self.bitmap_root);
        Ok(())
    }
}

/// The count of a list, not over the limit.
fn read_count(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let count = reader.u64()?;
    if count > SEGMENT_ITEMS_MAX {
        return Err(DecodeError::ListTooLong { count, limit: SEGMENT_ITEMS_MAX });
    }
    Ok(count)
}

/// The hashes of a proof, behind their count.
pub(crate) fn read_proof<'a>(reader: &mut Reader<'a>) -> Result<&'a [[u8; 32]], DecodeError> {
    let count = read_count(reader)?;
    reader.arrays(count)
}

pub(crate) fn write_proof(proof: &[[u8; 32]], writer: &mut Writer<'_>) {
    writer.u64(proof.len() as u64);
    writer.bytes(proof.as_flattened());
}
