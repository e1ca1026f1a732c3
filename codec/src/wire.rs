//! Bytes to values and back, field by field.
//!
//! [`Reader`] is a cursor over a body, [`Writer`] the end of a buffer. Numbers are big-endian. A
//! value is read by [`Decode`], which borrows from the body and allocates nothing, and written by
//! [`Encode`]. Invariant: a failed read is a [`DecodeError`] with the numbers that explain it; no
//! bytes from outside make a panic, and no count or length is believed before it is compared with a
//! limit or with the bytes that are here.

use crate::network::Network;
use crate::payload::{Hash, SealError};

/// What a body is read for: two things outside its bytes that decide its layout.
#[derive(Clone, Copy, Debug)]
pub struct Context<'n> {
    /// The protocol version negotiated with the peer. Kernels and inputs depend on it.
    pub version: u32,
    /// The network, which gives the limits and the size of a proof of work.
    pub network: &'n Network,
}

/// A value that is read from the front of a body.
pub trait Decode<'a>: Sized {
    /// Reads the value and leaves the cursor behind it.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; the reader is of no further use then.
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError>;
}

/// A value that is written to the end of a body.
pub trait Encode {
    /// Writes the value as a peer of this protocol version reads it.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if that version cannot express the value; part of it may be written then.
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError>;
}

/// Why a body is not a message. The sender's fault, always.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The body ends inside a field.
    #[error("body ends: {needed} bytes needed, {left} left")]
    EndOfBody {
        /// Bytes that the field has.
        needed: u64,
        /// Bytes that were left.
        left: usize,
    },
    /// Bytes after the last field of a kind that must be canonical.
    #[error("{count} bytes after the last field")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A list promises more items than it may have.
    #[error("list of {count} items, at most {limit}")]
    ListTooLong {
        /// Items promised.
        count: u64,
        /// Most that the list may have.
        limit: u64,
    },
    /// A text is longer than it may be.
    #[error("text of {length} bytes, at most {limit}")]
    TextTooLong {
        /// Bytes promised.
        length: u64,
        /// Most that the text may have.
        limit: u64,
    },
    /// A text is not UTF-8.
    #[error("text is not UTF-8 after {valid} bytes")]
    BadUtf8 {
        /// Bytes that are.
        valid: usize,
    },
    /// A reason of a ban that the protocol does not have.
    #[error("ban reason {code}")]
    BadBanReason {
        /// The code that came.
        code: i32,
    },
    /// A proof of work whose nonces have no size, or too large a one.
    #[error("{edge_bits} edge bits, not 1 to 63")]
    BadEdgeBits {
        /// Bits of a nonce.
        edge_bits: u8,
    },
    /// The bits behind the last nonce of a proof are not zero.
    #[error("spare bits of a proof are {bits:#04x}")]
    SpareProofBits {
        /// The spare bits, at the top of the last byte.
        bits: u8,
    },
    /// A features byte of an input that is neither plain nor coinbase.
    #[error("input features {features}")]
    BadInputFeatures {
        /// The byte.
        features: u8,
    },
    /// The commitment of an input begins as the features of the older form do. No commitment
    /// does, and so the form of a body can be told from its bytes.
    #[error("input commitment begins with {first}")]
    AmbiguousInput {
        /// The first byte.
        first: u8,
    },
    /// A features byte of an output that is neither plain nor coinbase.
    #[error("output features {features}")]
    BadOutputFeatures {
        /// The byte.
        features: u8,
    },
    /// A range proof that is not of the one canonical length.
    #[error("range proof of {length} bytes")]
    BadRangeProofLength {
        /// Bytes promised.
        length: u64,
    },
    /// A features byte of a kernel that the protocol does not have.
    #[error("kernel features {features}")]
    BadKernelFeatures {
        /// The byte.
        features: u8,
    },
    /// A kernel of the kind "no recent duplicate", on a network that has none.
    #[error("no-recent-duplicate kernel")]
    NrdKernelDisabled,
    /// A relative height of such a kernel that is zero or over a week.
    #[error("relative height {blocks}, not 1 to 10080")]
    BadRelativeHeight {
        /// The height, in blocks.
        blocks: u16,
    },
    /// Bytes of a kernel that its features leave unused are not zero.
    #[error("unused bytes of a kernel with features {features} are not zero")]
    KernelPadding {
        /// Features of the kernel.
        features: u8,
    },
    /// A list is not in the order of its hashes.
    #[error("{list:?} out of order at {index}")]
    Unsorted {
        /// The list.
        list: List,
        /// First item that is less than the one before it.
        index: usize,
    },
    /// A list holds an item twice.
    #[error("{list:?} hold an item twice, at {index}")]
    Duplicate {
        /// The list.
        list: List,
        /// The second of the two.
        index: usize,
    },
    /// A body weighs more than it may.
    #[error("weight {weight}, at most {limit}")]
    TooHeavy {
        /// Weight by the counts of the body.
        weight: u64,
        /// Most that it may weigh.
        limit: u64,
    },
    /// A coinbase item in a transaction, or another in the full part of a compact block.
    #[error("features of item {index} do not belong into {list:?} here")]
    MisplacedFeatures {
        /// The list.
        list: List,
        /// The item.
        index: usize,
    },
    /// An output that an input of the same body spends.
    #[error("output {output} is spent by the same body")]
    NotCutThrough {
        /// Index of the output.
        output: usize,
    },
    /// A transaction without a kernel, which could have no id.
    #[error("transaction without a kernel")]
    NoKernel,
    /// The places of a segment's items are not strictly increasing from 1 on.
    #[error("position {position} at {index} is not above the one before")]
    PositionOrder {
        /// The position.
        position: u64,
        /// Its place in the list.
        index: usize,
    },
    /// A segment that spans more of its tree than one may.
    #[error("segment of height {height}, at most {limit}")]
    SegmentTooHigh {
        /// Height promised.
        height: u8,
        /// Most that a segment may have.
        limit: u8,
    },
    /// A segment that would begin or end beyond the largest number.
    #[error("segment {index} of height {height} lies beyond all numbers")]
    SegmentIndex {
        /// Which one was promised.
        index: u64,
        /// Its height.
        height: u8,
    },
    /// A segment of the bitmap without a block.
    #[error("bitmap without a block")]
    EmptyBitmap,
    /// A block of the bitmap that has no chunk, more than fit, or fewer and is not the last one.
    #[error("bitmap block of {chunks} chunks")]
    BadBitmapBlock {
        /// Chunks promised.
        chunks: u8,
    },
    /// A way to tell the bits of a block that the protocol does not have.
    #[error("bitmap mode {mode}")]
    BadBitmapMode {
        /// The byte.
        mode: u8,
    },
    /// A bit behind the last one of its block.
    #[error("bit {index} of a bitmap block of {bits}")]
    BitmapIndex {
        /// The bit.
        index: u32,
        /// Bits that the block has.
        bits: u32,
    },
    /// A kind that may not stand in an envelope, or is not asked for by an id.
    #[error("kind {kind} inside a message")]
    BadInnerKind {
        /// The byte.
        kind: u8,
    },
    /// A way of packing that the protocol does not have.
    #[error("packing {packing}")]
    BadPacking {
        /// The byte.
        packing: u8,
    },
    /// A message of an overlay or of gossip that there is not.
    #[error("message tag {tag}")]
    BadTag {
        /// The byte.
        tag: u8,
    },
    /// An envelope or an offer that promises a longer body than its kind may have.
    #[error("plain body of {length} bytes, at most {limit}")]
    PlainTooLong {
        /// Length promised.
        length: u64,
        /// Most that the kind may have.
        limit: u64,
    },
    /// An envelope whose inside is not as long as its plain body, or packed and no shorter.
    #[error("packed in {length} bytes, the plain body has {plain}")]
    BadPackedLength {
        /// Bytes of the inside.
        length: u64,
        /// Length promised of the plain body.
        plain: u64,
    },
    /// A part of a pool that ends before it begins.
    #[error("part from {from} to {to}")]
    BadPart {
        /// Where it begins.
        from: u64,
        /// Where it ends.
        to: u64,
    },
    /// A range without a block, or with too many.
    #[error("range of {count} blocks, not 1 to {limit}")]
    BadRange {
        /// Blocks asked for.
        count: u16,
        /// Most that may be.
        limit: u16,
    },
}

/// The lists of a body that are ordered by the hashes of their items.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum List {
    /// Inputs of a body.
    Inputs,
    /// Outputs of a body, or the coinbase outputs of a compact block.
    Outputs,
    /// Kernels of a body, or the coinbase kernels of a compact block.
    Kernels,
    /// Short ids of a compact block.
    ShortIds,
}

/// Why a message cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// The body would be longer than the wire allows for its kind.
    #[error(transparent)]
    TooLong(#[from] SealError),
    /// Versions up to 2 need the features of each input, and these inputs came without.
    #[error("inputs without features cannot be written for version {version}")]
    NoInputFeatures {
        /// The version asked for.
        version: u32,
    },
    /// A topic that is longer than its length can say.
    #[error("topic of {length} bytes, at most {limit}")]
    TopicTooLong {
        /// Bytes of the topic.
        length: usize,
        /// Most that it may have.
        limit: usize,
    },
    /// Headers without a header: grin's reader drops the connection on them.
    #[error("headers without a header are never sent")]
    NoHeaders,
}

/// A cursor over the bytes of a body.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::EndOfBody`], as all reads of this type.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((front, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.end_of_body(count as u64));
        };
        self.rest = rest;
        Ok(front)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::EndOfBody`].
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], DecodeError> {
        let Some((front, rest)) = self.rest.split_first_chunk() else {
            return Err(self.end_of_body(N as u64));
        };
        self.rest = rest;
        Ok(front)
    }

    /// The next `count` items of `N` bytes each.
    ///
    /// # Errors
    ///
    /// [`DecodeError::EndOfBody`], before anything is reserved or looped over.
    pub fn arrays<const N: usize>(&mut self, count: u64) -> Result<&'a [[u8; N]], DecodeError> {
        let needed = count.saturating_mul(N as u64);
        let Ok(bytes) = usize::try_from(needed) else { return Err(self.end_of_body(needed)) };
        Ok(self.bytes(bytes)?.as_chunks().0)
    }

    /// One byte.
    ///
    /// # Errors
    ///
    /// [`DecodeError::EndOfBody`].
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|&[byte]| byte)
    }

    /// A number of two bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::EndOfBody`].
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// A number of four bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::EndOfBody`].
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// A number of eight bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::EndOfBody`].
    #[inline]
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// 32 bytes that identify something.
    ///
    /// # Errors
    ///
    /// [`DecodeError::EndOfBody`].
    #[inline]
    pub fn hash(&mut self) -> Result<Hash, DecodeError> {
        self.array().map(|bytes| Hash(*bytes))
    }

    /// A text behind its length, which has eight bytes and counts bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TextTooLong`], [`DecodeError::BadUtf8`], [`DecodeError::EndOfBody`].
    pub fn text(&mut self, bytes_max: usize) -> Result<&'a str, DecodeError> {
        let length = self.u64()?;
        if length > bytes_max as u64 {
            return Err(DecodeError::TextTooLong { length, limit: bytes_max as u64 });
        }
        std::str::from_utf8(self.bytes(length as usize)?)
            .map_err(|error| DecodeError::BadUtf8 { valid: error.valid_up_to() })
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TrailingBytes`].
    pub const fn finish(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { count }),
        }
    }

    const fn end_of_body(&self, needed: u64) -> DecodeError {
        DecodeError::EndOfBody { needed, left: self.rest.len() }
    }
}

/// The end of a buffer that a body is written to. What stood in it stays.
#[derive(Debug)]
pub struct Writer<'v> {
    out: &'v mut Vec<u8>,
}

impl<'v> Writer<'v> {
    /// Appends to `out`.
    #[must_use]
    pub const fn new(out: &'v mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// A number of two bytes.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// A number of four bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// A number of eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// 32 bytes that identify something.
    pub fn hash(&mut self, value: Hash) {
        self.bytes(&value.0);
    }

    /// A text behind its length.
    pub fn text(&mut self, text: &str) {
        self.u64(text.len() as u64);
        self.bytes(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_big_endian_and_come_back() {
        let mut out = vec![0xff];
        let mut writer = Writer::new(&mut out);
        writer.u8(1);
        writer.u16(0x0203);
        writer.u32(0x0405_0607);
        writer.u64(0x0809_0a0b_0c0d_0e0f);
        writer.text("✓");
        assert_eq!(out[1..16], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

        let mut reader = Reader::new(&out[1..]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0203));
        assert_eq!(reader.u32(), Ok(0x0405_0607));
        assert_eq!(reader.u64(), Ok(0x0809_0a0b_0c0d_0e0f));
        assert_eq!(reader.text(3), Ok("✓"));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_short_body_says_what_is_missing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32(), Err(DecodeError::EndOfBody { needed: 4, left: 3 }));
        let promised = reader.arrays::<32>(u64::MAX);
        assert_eq!(promised, Err(DecodeError::EndOfBody { needed: u64::MAX, left: 3 }));
        assert_eq!(reader.finish(), Err(DecodeError::TrailingBytes { count: 3 }));
    }

    #[test]
    fn a_text_is_measured_before_it_is_read() {
        let mut long = Vec::new();
        Writer::new(&mut long).u64(u64::MAX);
        let error = DecodeError::TextTooLong { length: u64::MAX, limit: 8 };
        assert_eq!(Reader::new(&long).text(8), Err(error));

        let mut nine = Vec::new();
        Writer::new(&mut nine).text("ninebytes");
        assert_eq!(Reader::new(&nine).text(9), Ok("ninebytes"));
        let error = DecodeError::TextTooLong { length: 9, limit: 8 };
        assert_eq!(Reader::new(&nine).text(8), Err(error));

        let mut bad = Vec::new();
        Writer::new(&mut bad).u64(3);
        bad.extend_from_slice(b"a\xff\xff");
        assert_eq!(Reader::new(&bad).text(8), Err(DecodeError::BadUtf8 { valid: 1 }));
    }
}
