//! Segments of the bitmap of unspent outputs: a bit for each output there ever was.
//!
//! The leaves of its tree are chunks of 1,024 bits. On the wire up to 64 chunks are one block. It
//! says which bits are set, or which are clear, or all of them, whatever is shortest.
//!
//! Invariant: a block was read once without an error, so that no index lies behind its bits.

use std::fmt;

use crate::limits::BITMAP_SEGMENT_HEIGHT_MAX;
use crate::payload::Hash;
use crate::segment::{SegmentId, read_proof, write_proof};
use crate::wire::{Context, Decode, DecodeError, Encode, EncodeError, Reader, Writer};

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 1_024 / 8;

/// Most chunks of a block: their bits are counted by two bytes.
const BLOCK_CHUNKS_MAX: u8 = 64;

/// Bytes of the bits of a full block.
pub const BITMAP_BLOCK_BYTES: usize = CHUNK_BYTES * BLOCK_CHUNKS_MAX as usize;

const MODE_RAW: u8 = 0;
const MODE_SET: u8 = 1;
const MODE_CLEAR: u8 = 2;

/// A segment of the bitmap (kind 22), as a view of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BitmapSegment<'a> {
    /// What was asked for.
    pub id: SegmentId,
    /// Its bits.
    pub blocks: BitmapBlocks<'a>,
    /// Hashes from the segment up to the root.
    pub proof: &'a [[u8; 32]],
    /// Root over the outputs: the root of the header covers both trees.
    pub output_root: Hash,
}

impl<'a> Decode<'a> for BitmapSegment<'a> {
    fn decode(reader: &mut Reader<'a>, _: &Context<'_>) -> Result<Self, DecodeError> {
        let id = SegmentId::read(reader)?;
        let blocks = BitmapBlocks::read(reader, id.height)?;
        let last = (id.index.checked_mul(1 << id.height))
            .and_then(|first| first.checked_add(blocks.chunks() - 1));
        if last.is_none() {
            return Err(DecodeError::SegmentIndex { index: id.index, height: id.height });
        }
        Ok(Self { id, blocks, proof: read_proof(reader)?, output_root: reader.hash()? })
    }
}

impl Encode for BitmapSegment<'_> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        self.id.encode(writer, version)?;
        writer.u16(self.blocks.count);
        writer.bytes(self.blocks.bytes);
        write_proof(self.proof, writer);
        writer.hash(self.output_root);
        Ok(())
    }
}

/// The blocks of a segment, each read without an error once: at least one, and all but the last
/// are full.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BitmapBlocks<'a> {
    count: u16,
    bytes: &'a [u8],
}

impl<'a> BitmapBlocks<'a> {
    /// Reads the blocks of a segment of this height, which has 2^height chunks at most.
    fn read(reader: &mut Reader<'a>, height: u8) -> Result<Self, DecodeError> {
        if height > BITMAP_SEGMENT_HEIGHT_MAX {
            let limit = BITMAP_SEGMENT_HEIGHT_MAX;
            return Err(DecodeError::SegmentTooHigh { height, limit });
        }
        let chunks_max = 1_u64 << height;
        let (count, limit) = (reader.u16()?, chunks_max.div_ceil(BLOCK_CHUNKS_MAX.into()));
        if count == 0 {
            return Err(DecodeError::EmptyBitmap);
        }
        if u64::from(count) > limit {
            return Err(DecodeError::ListTooLong { count: count.into(), limit });
        }
        let bytes = reader.rest();
        for left in (0..count).rev() {
            let chunks = BitmapBlock::read(reader)?.chunks;
            // Below 2^6 chunks the segment is less than a block.
            let fits = chunks > 0 && u64::from(chunks) <= chunks_max;
            if !fits || (left > 0 && chunks < BLOCK_CHUNKS_MAX) {
                return Err(DecodeError::BadBitmapBlock { chunks });
            }
        }
        Ok(Self { count, bytes: &bytes[..bytes.len() - reader.rest().len()] })
    }

    /// How many there are; never none.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Chunks of all blocks together; never none.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.iter().map(|block| u64::from(block.chunks())).sum()
    }

    /// The blocks, in the order of their bits.
    pub fn iter(&self) -> impl Iterator<Item = BitmapBlock<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        std::iter::from_fn(move || {
            if reader.rest().is_empty() { None } else { BitmapBlock::read(&mut reader).ok() }
        })
    }
}

impl fmt::Debug for BitmapBlocks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Up to 64 chunks of the bitmap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BitmapBlock<'a> {
    chunks: u8,
    bits: Bits<'a>,
}

/// The three ways that a block tells its bits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bits<'a> {
    Raw(&'a [[u8; CHUNK_BYTES]]),
    Set(&'a [[u8; 2]]),
    Clear(&'a [[u8; 2]]),
}

impl<'a> BitmapBlock<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (chunks, mode) = (reader.u8()?, reader.u8()?);
        if chunks > BLOCK_CHUNKS_MAX {
            return Err(DecodeError::BadBitmapBlock { chunks });
        }
        let indices = |reader: &mut Reader<'a>| {
            let count = reader.u16()?.into();
            let indices: &[[u8; 2]] = reader.arrays(count)?;
            match indices.iter().find(|index| index_of(index) >= bits_of(chunks)) {
                Some(index) => {
                    let index = index_of(index);
                    Err(DecodeError::BitmapIndex { index, bits: bits_of(chunks) })
                }
                None => Ok(indices),
            }
        };
        let bits = match mode {
            MODE_RAW => Bits::Raw(reader.arrays(chunks.into())?),
            MODE_SET => Bits::Set(indices(reader)?),
            MODE_CLEAR => Bits::Clear(indices(reader)?),
            mode => return Err(DecodeError::BadBitmapMode { mode }),
        };
        Ok(Self { chunks, bits })
    }

    /// Chunks of 1,024 bits that it has, 1 to 64.
    #[must_use]
    pub const fn chunks(&self) -> u8 {
        self.chunks
    }

    /// Its bits, the first one in the most significant bit of the first byte. Bytes behind the last
    /// chunk are zero.
    #[must_use]
    pub fn raw(&self) -> [u8; BITMAP_BLOCK_BYTES] {
        let mut raw = [0; BITMAP_BLOCK_BYTES];
        let own = &mut raw[..CHUNK_BYTES * usize::from(self.chunks)];
        match self.bits {
            Bits::Raw(chunks) => own.copy_from_slice(chunks.as_flattened()),
            Bits::Set(indices) => {
                for index in indices.iter().map(index_of) {
                    own[index as usize / 8] |= 0x80 >> (index % 8);
                }
            }
            Bits::Clear(indices) => {
                own.fill(0xff);
                for index in indices.iter().map(index_of) {
                    own[index as usize / 8] &= !(0x80 >> (index % 8));
                }
            }
        }
        raw
    }
}

impl fmt::Debug for Bits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw(_) => f.write_str("Raw"),
            Self::Set(indices) => write!(f, "Set({})", indices.len()),
            Self::Clear(indices) => write!(f, "Clear({})", indices.len()),
        }
    }
}

fn index_of(bytes: &[u8; 2]) -> u32 {
    u16::from_be_bytes(*bytes).into()
}

const fn bits_of(chunks: u8) -> u32 {
    chunks as u32 * CHUNK_BYTES as u32 * 8
}
