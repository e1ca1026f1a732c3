//! Blocks: headers, full and compact blocks, and the locator that asks for headers.

use std::fmt;

use siphasher::sip::SipHasher24;

use crate::form::Form;
use crate::kernel::{KernelFeatures, Kernels};
use crate::limits::{LOCATOR_HASHES_MAX, Limits};
use crate::payload::Hash;
use crate::transaction::{
    Body, OutputFeatures, Outputs, SHORT_ID_BYTES, check_kernels, check_order, check_weight,
};
use crate::wire::{Context, Decode, DecodeError, Encode, EncodeError, List, Reader, Writer};

/// Bytes of a block header before its proof of work.
const HEADER_FIELDS_BYTES: usize = 246;

/// Most bits of a nonce.
const EDGE_BITS_MAX: u8 = 63;

/// A block header, as a view of its bytes. The same in all protocol versions.
///
/// Its layout and the padding of its proof were checked; neither the proof nor any rule of the
/// chain was.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader<'a> {
    fields: &'a [u8; HEADER_FIELDS_BYTES],
    proof: Proof<'a>,
}

impl<'a> BlockHeader<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>, limits: &Limits) -> Result<Self, DecodeError> {
        Ok(Self { fields: reader.array()?, proof: Proof::read(reader, limits.proof_nonces())? })
    }

    /// The block's id: BLAKE2b-256 of the packed nonces of its proof, and of nothing else.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(self.proof.packed)
    }

    /// Version of the header; it follows from the height.
    #[must_use]
    pub fn version(&self) -> u16 {
        u16::from_be_bytes(*self.field::<0, 2>())
    }

    /// Blocks since genesis.
    #[must_use]
    pub fn height(&self) -> u64 {
        u64::from_be_bytes(*self.field::<2, 8>())
    }

    /// When it was mined, in seconds since 1970. The chain judges it.
    #[must_use]
    pub fn timestamp(&self) -> i64 {
        i64::from_be_bytes(*self.field::<10, 8>())
    }

    /// Hash of the previous block.
    #[must_use]
    pub fn prev_hash(&self) -> Hash {
        Hash(*self.field::<18, 32>())
    }

    /// Root over all previous headers.
    #[must_use]
    pub fn prev_root(&self) -> Hash {
        Hash(*self.field::<50, 32>())
    }

    /// Root over the outputs.
    #[must_use]
    pub fn output_root(&self) -> Hash {
        Hash(*self.field::<82, 32>())
    }

    /// Root over the range proofs.
    #[must_use]
    pub fn range_proof_root(&self) -> Hash {
        Hash(*self.field::<114, 32>())
    }

    /// Root over the kernels.
    #[must_use]
    pub fn kernel_root(&self) -> Hash {
        Hash(*self.field::<146, 32>())
    }

    /// Sum of all offsets since genesis.
    #[must_use]
    pub fn total_kernel_offset(&self) -> &'a [u8; 32] {
        self.field::<178, 32>()
    }

    /// Nodes under the root over the outputs.
    #[must_use]
    pub fn output_mmr_size(&self) -> u64 {
        u64::from_be_bytes(*self.field::<210, 8>())
    }

    /// Nodes under the root over the kernels.
    #[must_use]
    pub fn kernel_mmr_size(&self) -> u64 {
        u64::from_be_bytes(*self.field::<218, 8>())
    }

    /// Work of the chain up to this block.
    #[must_use]
    pub fn total_difficulty(&self) -> u64 {
        u64::from_be_bytes(*self.field::<226, 8>())
    }

    /// Factor between the two proofs of work.
    #[must_use]
    pub fn secondary_scaling(&self) -> u32 {
        u32::from_be_bytes(*self.field::<234, 4>())
    }

    /// The nonce that the proof was found with.
    #[must_use]
    pub fn nonce(&self) -> u64 {
        u64::from_be_bytes(*self.field::<238, 8>())
    }

    /// The proof of work.
    #[must_use]
    pub const fn proof(&self) -> Proof<'a> {
        self.proof
    }

    fn field<const OFFSET: usize, const N: usize>(&self) -> &'a [u8; N] {
        const { assert!(OFFSET + N <= HEADER_FIELDS_BYTES) };
        self.fields[OFFSET..].first_chunk().expect("the field lies within the header")
    }
}

impl<'a> Decode<'a> for BlockHeader<'a> {
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError> {
        Self::read(reader, &context.network.limits)
    }
}

impl Encode for BlockHeader<'_> {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.bytes(self.fields);
        writer.u8(self.proof.edge_bits);
        writer.bytes(self.proof.packed);
        Ok(())
    }
}

impl fmt::Debug for BlockHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockHeader")
            .field("hash", &self.hash())
            .field("height", &self.height())
            .field("prev_hash", &self.prev_hash())
            .field("total_difficulty", &self.total_difficulty())
            .finish_non_exhaustive()
    }
}

/// A proof of work: a cycle in a graph, as the packed nonces of its edges. Not verified here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof<'a> {
    edge_bits: u8,
    nonces: u8,
    packed: &'a [u8],
}

impl<'a> Proof<'a> {
    fn read(reader: &mut Reader<'a>, nonces: u8) -> Result<Self, DecodeError> {
        let edge_bits = reader.u8()?;
        if edge_bits == 0 || edge_bits > EDGE_BITS_MAX {
            return Err(DecodeError::BadEdgeBits { edge_bits });
        }
        let bits = usize::from(edge_bits) * usize::from(nonces);
        let packed = reader.bytes(bits.div_ceil(8))?;
        if let (Some(last), used @ 1..) = (packed.last(), bits % 8) {
            let spare = last & (0xff << used);
            if spare != 0 {
                return Err(DecodeError::SpareProofBits { bits: spare });
            }
        }
        Ok(Self { edge_bits, nonces, packed })
    }

    /// Bits of a nonce, 1 to 63.
    #[must_use]
    pub const fn edge_bits(&self) -> u8 {
        self.edge_bits
    }

    /// The nonces as they are packed: a little-endian stream of bits.
    #[must_use]
    pub const fn packed(&self) -> &'a [u8] {
        self.packed
    }

    /// The nonces.
    pub fn nonces(&self) -> impl Iterator<Item = u64> + use<'a> {
        let (packed, width) = (self.packed, usize::from(self.edge_bits));
        (0..usize::from(self.nonces)).map(move |index| {
            let (first, shift) = (index * width / 8, index * width % 8);
            let last = (index * width + width).div_ceil(8);
            // At most 7 + 63 bits, so nine bytes.
            let mut bytes = [0; 16];
            bytes[..last - first].copy_from_slice(&packed[first..last]);
            (u128::from_le_bytes(bytes) >> shift) as u64 & ((1 << width) - 1)
        })
    }
}

/// A full block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block<'a> {
    /// The header, whose hash is the block's id.
    pub header: BlockHeader<'a>,
    /// Inputs, outputs and kernels.
    pub body: Body<'a>,
}

impl<'a> Block<'a> {
    /// Follows the layout; the form is told from the bytes if it is not known.
    pub(crate) fn read(
        reader: &mut Reader<'a>,
        form: Option<Form>,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let header = BlockHeader::read(reader, limits)?;
        Ok(Self { header, body: Body::read(reader, form, limits.block_weight_max())? })
    }
}

impl<'a> Decode<'a> for Block<'a> {
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError> {
        let form = Form::of_version(context.version);
        let block = Self::read(reader, Some(form), &context.network.limits)?;
        block.body.check(context.network)?;
        Ok(block)
    }
}

impl Encode for Block<'_> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        self.header.encode(writer, version)?;
        self.body.encode(writer, version)
    }
}

/// The name of a transaction's kernel within one compact block.
pub type ShortId = [u8; SHORT_ID_BYTES];

/// A block without the transactions that its reader has: their kernels are named by short ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompactBlock<'a> {
    /// The header, whose hash is the block's id.
    pub header: BlockHeader<'a>,
    /// Chosen by the sender for each answer; the short ids hang on it.
    pub nonce: u64,
    /// The coinbase outputs.
    pub outputs: Outputs<'a>,
    /// The coinbase kernels.
    pub kernels: Kernels<'a>,
    /// The other kernels, in the order of the hashes of their short ids.
    pub short_ids: &'a [ShortId],
}

impl<'a> CompactBlock<'a> {
    /// Follows the layout; the form is told from the bytes if it is not known.
    pub(crate) fn read(
        reader: &mut Reader<'a>,
        form: Option<Form>,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let header = BlockHeader::read(reader, limits)?;
        let nonce = reader.u64()?;
        let form = form.unwrap_or_else(|| Form::of_compact(reader.rest()));
        let (outputs, kernels, ids) = (reader.u64()?, reader.u64()?, reader.u64()?);
        // Each short id is a kernel of the block that this will become.
        check_weight(0, outputs, kernels.saturating_add(ids), limits.block_weight_max())?;
        Ok(Self {
            header,
            nonce,
            outputs: Outputs::read(reader, outputs)?,
            kernels: Kernels::read(reader, kernels, form)?,
            short_ids: reader.arrays(ids)?,
        })
    }

    /// What turns the hash of a kernel into its short id in this block.
    #[must_use]
    pub fn short_id_key(&self) -> ShortIdKey {
        ShortIdKey::new(&self.header.hash(), self.nonce)
    }
}

impl<'a> Decode<'a> for CompactBlock<'a> {
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError> {
        let form = Form::of_version(context.version);
        let block = Self::read(reader, Some(form), &context.network.limits)?;
        block.outputs.check_all(OutputFeatures::Coinbase)?;
        let mut features = block.kernels.iter().map(|kernel| kernel.features);
        if let Some(index) = features.position(|features| features != KernelFeatures::Coinbase) {
            return Err(DecodeError::MisplacedFeatures { list: List::Kernels, index });
        }
        block.outputs.check_order()?;
        check_kernels(block.kernels, context.network)?;
        check_order(List::ShortIds, block.short_ids.iter())?;
        Ok(block)
    }
}

impl Encode for CompactBlock<'_> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        self.header.encode(writer, version)?;
        writer.u64(self.nonce);
        writer.u64(self.outputs.len() as u64);
        writer.u64(self.kernels.len() as u64);
        writer.u64(self.short_ids.len() as u64);
        self.outputs.encode(writer, version)?;
        self.kernels.encode(writer, version)?;
        writer.bytes(self.short_ids.as_flattened());
        Ok(())
    }
}

/// The key of the short ids of one compact block.
#[derive(Clone, Copy, Debug)]
pub struct ShortIdKey(SipHasher24);

impl ShortIdKey {
    /// The key follows from the block's id and the nonce of the compact block.
    #[must_use]
    pub fn new(block: &Hash, nonce: u64) -> Self {
        let mut bytes = [0; 40];
        bytes[..32].copy_from_slice(&block.0);
        bytes[32..].copy_from_slice(&nonce.to_be_bytes());
        let Hash(key) = Hash::of(&bytes);
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| key[at + byte]));
        Self(SipHasher24::new_with_keys(word(0), word(8)))
    }

    /// The short id of a kernel: the low 48 bits, low byte first, of SipHash-2-4.
    #[must_use]
    pub fn short_id(&self, kernel: &Hash) -> ShortId {
        let [id @ .., _, _] = self.0.hash(&kernel.0).to_le_bytes();
        id
    }
}

/// Hashes of one's best chain, newest first and thinning out towards genesis, at most
/// [`LOCATOR_HASHES_MAX`]. Who gets it sends the headers that follow the first one it knows.
#[derive(Clone, Copy)]
pub struct Locator<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Values(&'a [Hash]),
    Wire(&'a [[u8; 32]]),
}

impl<'a> Locator<'a> {
    /// Hashes to send; those after the first [`LOCATOR_HASHES_MAX`] are left out.
    #[must_use]
    pub fn new(hashes: &'a [Hash]) -> Self {
        Self(Source::Values(&hashes[..hashes.len().min(LOCATOR_HASHES_MAX)]))
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.0 {
            Source::Values(hashes) => hashes.len(),
            Source::Wire(hashes) => hashes.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The hashes, newest first.
    pub fn iter(&self) -> impl Iterator<Item = Hash> + use<'a> {
        let (values, wire): (&[Hash], &[[u8; 32]]) = match self.0 {
            Source::Values(hashes) => (hashes, &[]),
            Source::Wire(hashes) => (&[], hashes),
        };
        values.iter().copied().chain(wire.iter().map(|hash| Hash(*hash)))
    }
}

impl<'a> Decode<'a> for Locator<'a> {
    fn decode(reader: &mut Reader<'a>, _: &Context<'_>) -> Result<Self, DecodeError> {
        let (count, limit) = (u64::from(reader.u8()?), LOCATOR_HASHES_MAX as u64);
        if count > limit {
            return Err(DecodeError::ListTooLong { count, limit });
        }
        Ok(Self(Source::Wire(reader.arrays(count)?)))
    }
}

impl Encode for Locator<'_> {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.u8(self.len() as u8);
        self.iter().for_each(|hash| writer.hash(hash));
        Ok(())
    }
}

impl PartialEq for Locator<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Locator<'_> {}

impl fmt::Debug for Locator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
