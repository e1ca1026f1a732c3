//! Molva's own messages, for peers that offer [`Capabilities::EXTENSION`] and nobody else.
//!
//! [`Capabilities::EXTENSION`]: crate::Capabilities::EXTENSION
//!
//! grin has no meaning for that bit and drops it on reading; it passes over kinds from 64 up, but
//! counts each towards its limit of messages, so that none is ever sent to a peer without the bit.
//! The layouts are written down, field by field, in `docs/wire.md`. Invariant: a value has one
//! body, which ends with its last field, and what it says of other bodies is within their limits.

use std::fmt;

use crate::frame::Kind;
use crate::limits::{Limits, RANGE_BLOCKS_MAX, RECORDS_MAX};
use crate::payload::Hash;
use crate::wire::{Context, Decode, DecodeError, Encode, EncodeError, Reader, Writer};

/// What the inside of an [`Envelope`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Packing {
    /// The body as it is: an envelope that only tells the id before the body.
    Stored = 0,
    /// One frame of zstd, shorter than the body.
    Zstd = 1,
}

/// A body of another kind, compressed or not, behind its id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Kind of the body: one whose frames are payloads of the chain, and no stem transaction.
    pub kind: Kind,
    /// How it was packed.
    pub packing: Packing,
    /// Bytes of the plain body, at most what its kind may have.
    pub plain_bytes: u32,
    /// Id of the body, which whoever opens it compares.
    pub id: Hash,
    /// The packed body.
    pub data: &'a [u8],
}

/// Bytes before [`Envelope::data`]: kind, packing, plain length, id.
pub const ENVELOPE_HEAD_BYTES: usize = 1 + 1 + 4 + 32;

impl<'a> Envelope<'a> {
    /// Reads the head alone, from the first bytes of a body whose rest may not be here yet; `data`
    /// is what there is of it. `None`: not even the head is here.
    ///
    /// # Errors
    ///
    /// [`DecodeError`], as for the whole; only the length of `data` is not judged yet.
    pub fn peek(body: &'a [u8], context: &Context<'_>) -> Result<Option<Self>, DecodeError> {
        if body.len() < ENVELOPE_HEAD_BYTES {
            return Ok(None);
        }
        Self::read(&mut Reader::new(body), &context.network.limits).map(Some)
    }

    /// Whether bodies of this kind may travel in an envelope.
    #[must_use]
    pub const fn may_hold(kind: Kind) -> bool {
        kind.is_chain_data() && !matches!(kind, Kind::StemTransaction)
    }

    fn read(reader: &mut Reader<'a>, limits: &Limits) -> Result<Self, DecodeError> {
        let byte = reader.u8()?;
        let kind = Kind::from_byte(byte).filter(|kind| Self::may_hold(*kind));
        let Some(kind) = kind else { return Err(DecodeError::BadInnerKind { kind: byte }) };
        let packing = match reader.u8()? {
            0 => Packing::Stored,
            1 => Packing::Zstd,
            packing => return Err(DecodeError::BadPacking { packing }),
        };
        let plain_bytes = reader.u32()?;
        is_within(plain_bytes, kind, limits)?;
        let id = reader.hash()?;
        let rest = reader.rest().len();
        Ok(Self { kind, packing, plain_bytes, id, data: reader.bytes(rest)? })
    }
}

/// A body cannot be longer than the limit of its kind, whoever speaks of it.
fn is_within(plain_bytes: u32, kind: Kind, limits: &Limits) -> Result<(), DecodeError> {
    let (length, limit) = (plain_bytes.into(), limits.body_bytes_max(kind));
    if length > limit { Err(DecodeError::PlainTooLong { length, limit }) } else { Ok(()) }
}

impl<'a> Decode<'a> for Envelope<'a> {
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError> {
        let envelope = Self::read(reader, &context.network.limits)?;
        let (length, plain) = (envelope.data.len() as u64, u64::from(envelope.plain_bytes));
        let fits = match envelope.packing {
            Packing::Stored => length == plain,
            Packing::Zstd => length < plain,
        };
        if fits { Ok(envelope) } else { Err(DecodeError::BadPackedLength { length, plain }) }
    }
}

impl Encode for Envelope<'_> {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.u8(self.kind as u8);
        writer.u8(self.packing as u8);
        writer.u32(self.plain_bytes);
        writer.hash(self.id);
        writer.bytes(self.data);
        Ok(())
    }
}

impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, packing, plain_bytes, id, data } = self;
        write!(f, "Envelope({kind:?} {id}, {plain_bytes} bytes, {packing:?} {})", data.len())
    }
}

/// One record of a list: all have the same number of bytes.
pub trait Record: Copy + PartialEq + fmt::Debug {
    /// Bytes of one.
    const BYTES: usize;

    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`DecodeError`].
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Whether it can be, on a network of these limits.
    ///
    /// # Errors
    ///
    /// [`DecodeError`].
    fn check(&self, _limits: &Limits) -> Result<(), DecodeError> {
        Ok(())
    }

    /// Writes one.
    fn write(&self, writer: &mut Writer<'_>);
}

/// Records of a message, at most [`RECORDS_MAX`]: borrowed from the values that are to be sent, or
/// from the bytes that came.
#[derive(Clone, Copy)]
pub struct Records<'a, T>(Source<'a, T>);

#[derive(Clone, Copy)]
enum Source<'a, T> {
    Values(&'a [T]),
    /// Records that were read from these bytes once, without an error.
    Wire(&'a [u8]),
}

impl<'a, T: Record> Records<'a, T> {
    /// Records to send; those after the first [`RECORDS_MAX`] are left out.
    #[must_use]
    pub fn new(records: &'a [T]) -> Self {
        Self(Source::Values(&records[..records.len().min(RECORDS_MAX)]))
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.0 {
            Source::Values(records) => records.len(),
            Source::Wire(bytes) => bytes.len() / T::BYTES,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The records, in the order of the message.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        let (values, bytes): (&[T], &[u8]) = match self.0 {
            Source::Values(records) => (records, &[]),
            Source::Wire(bytes) => (&[], bytes),
        };
        let read = bytes.chunks_exact(T::BYTES).flat_map(|one| T::read(&mut Reader::new(one)));
        values.iter().copied().chain(read)
    }
}

impl<'a, T: Record> Decode<'a> for Records<'a, T> {
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError> {
        let count = reader.u16()?;
        if usize::from(count) > RECORDS_MAX {
            return Err(DecodeError::ListTooLong {
                count: count.into(),
                limit: RECORDS_MAX as u64,
            });
        }
        let bytes = reader.bytes(usize::from(count) * T::BYTES)?;
        for one in bytes.chunks_exact(T::BYTES) {
            T::read(&mut Reader::new(one))?.check(&context.network.limits)?;
        }
        Ok(Self(Source::Wire(bytes)))
    }
}

impl<T: Record> Encode for Records<'_, T> {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.u16(self.len() as u16);
        self.iter().for_each(|record| record.write(writer));
        Ok(())
    }
}

impl<T: Record> PartialEq for Records<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Record> Eq for Records<'_, T> {}

impl<T: Record> fmt::Debug for Records<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A payload by its id: what a Want asks for, and a NotFound answers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Item {
    /// Block, CompactBlock or Transaction.
    pub kind: Kind,
    /// Its id.
    pub id: Hash,
}

impl Record for Item {
    const BYTES: usize = 33;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let byte = reader.u8()?;
        let named =
            |kind: &Kind| matches!(kind, Kind::Block | Kind::CompactBlock | Kind::Transaction);
        let Some(kind) = Kind::from_byte(byte).filter(named) else {
            return Err(DecodeError::BadInnerKind { kind: byte });
        };
        Ok(Self { kind, id: reader.hash()? })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u8(self.kind as u8);
        writer.hash(self.id);
    }
}

/// A payload that somebody has, or is about to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// What it is.
    pub item: Item,
    /// Bytes of its plain body, at most what its kind may have: who reckons by it how long the body
    /// will take can believe so much.
    pub bytes: u32,
}

impl Record for Offer {
    const BYTES: usize = Item::BYTES + 4;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { item: Item::read(reader)?, bytes: reader.u32()? })
    }

    fn check(&self, limits: &Limits) -> Result<(), DecodeError> {
        is_within(self.bytes, self.item.kind, limits)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.item.write(writer);
        writer.u32(self.bytes);
    }
}

/// A transaction of a pool, by six bytes of a keyed hash of its id: SipHash-2-4 of the id's 32
/// bytes, with the salt as the first half of the key and zero as the second, the low 48 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PoolId(pub [u8; 6]);

impl PoolId {
    /// That of this id under this salt.
    #[must_use]
    pub fn of(id: &Hash, salt: u64) -> Self {
        let hash = siphasher::sip::SipHasher24::new_with_keys(salt, 0).hash(&id.0);
        let [a, b, c, d, e, f, ..] = hash.to_le_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl Record for PoolId {
    const BYTES: usize = 6;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(|bytes| Self(*bytes))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes(&self.0);
    }
}

/// Asks for the blocks of the receiver's best chain from this one on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockRange {
    /// Id of the first.
    pub first: Hash,
    /// How many at most: 1 to [`RANGE_BLOCKS_MAX`].
    pub count: u16,
}

impl Decode<'_> for BlockRange {
    fn decode(reader: &mut Reader<'_>, _: &Context<'_>) -> Result<Self, DecodeError> {
        let (first, count) = (reader.hash()?, reader.u16()?);
        if count == 0 || count > RANGE_BLOCKS_MAX {
            return Err(DecodeError::BadRange { count, limit: RANGE_BLOCKS_MAX });
        }
        Ok(Self { first, count })
    }
}

impl Encode for BlockRange {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.hash(self.first);
        writer.u16(self.count);
        Ok(())
    }
}

/// A part of a pool in the order of the ids: from the first id whose leading eight bytes, as a
/// big-endian number, are at least this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GetPool {
    /// Key of the short ids, drawn by who asks.
    pub salt: u64,
    /// Where to begin.
    pub from: u64,
}

impl Decode<'_> for GetPool {
    fn decode(reader: &mut Reader<'_>, _: &Context<'_>) -> Result<Self, DecodeError> {
        Ok(Self { salt: reader.u64()?, from: reader.u64()? })
    }
}

impl Encode for GetPool {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.u64(self.salt);
        writer.u64(self.from);
        Ok(())
    }
}

/// The transactions of that part, or those of them that are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolPart<'a> {
    /// What was asked for.
    pub asked: GetPool,
    /// The part ends with the last id whose leading eight bytes are at most this, never less than
    /// where it begins; the largest number means that nothing follows. All ids of equal leading
    /// bytes are in the same part.
    pub to: u64,
    /// Short ids, in the order of the ids.
    pub ids: Records<'a, PoolId>,
}

impl<'a> Decode<'a> for PoolPart<'a> {
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError> {
        let (asked, to) = (GetPool::decode(reader, context)?, reader.u64()?);
        if to < asked.from {
            return Err(DecodeError::BadPart { from: asked.from, to });
        }
        Ok(Self { asked, to, ids: Records::decode(reader, context)? })
    }
}

impl Encode for PoolPart<'_> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        self.asked.encode(writer, version)?;
        writer.u64(self.to);
        self.ids.encode(writer, version)
    }
}
