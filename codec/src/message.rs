//! Messages: what frames mean.
//!
//! [`Message::decode`] does all that can be done with a body and its network alone, in one pass and
//! without an allocation; what it gives borrows from the body. Bodies of the chain
//! ([`Kind::is_payload`]) and Molva's own messages ([`Kind::is_extension`]) must be canonical: the
//! same value never has two bodies in one form. Other messages may go on behind their last field,
//! as grin allows, so that later versions can add some.

use crate::addr::PeerAddrs;
use crate::archive::{Archive, ArchiveRequest};
use crate::bitmap::BitmapSegment;
use crate::block::{Block, BlockHeader, CompactBlock, Locator};
use crate::extension::{BlockRange, Envelope, GetPool, Item, Offer, PoolPart, Records};
use crate::frame::{FrameHeader, Kind};
use crate::handshake::{Capabilities, Hand, Shake};
use crate::headers::Headers;
use crate::hyparview::HyParViewBody;
use crate::limits::FRAME_HEADER_BYTES;
use crate::network::Network;
use crate::payload::{Hash, Payload, SealError};
use crate::plumtree::PlumtreeMessage;
use crate::sampling::SamplingBody;
use crate::segment::{KernelSegment, OutputSegment, RangeProofSegment, SegmentId};
use crate::transaction::Transaction;
use crate::wire::{Context, Decode, DecodeError, Encode, EncodeError, Reader, Writer};

/// The decoded value of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// Declared by the protocol with a body of at most 0 bytes; never sent.
    Error,
    /// The first message of who dialled.
    Hand(Hand<'a>),
    /// The answer to Hand.
    Shake(Shake<'a>),
    /// Asks for a Pong.
    Ping(Ping),
    /// The answer to Ping.
    Pong(Pong),
    /// Asks for addresses of peers that offer this.
    GetPeerAddrs(Capabilities),
    /// Addresses of peers.
    PeerAddrs(PeerAddrs<'a>),
    /// Asks for the headers behind a locator.
    GetHeaders(Locator<'a>),
    /// A new block, by its header.
    Header(BlockHeader<'a>),
    /// The headers behind a locator.
    Headers(Headers<'a>),
    /// Asks for a block.
    GetBlock(Hash),
    /// A block.
    Block(Block<'a>),
    /// Asks for a compact block.
    GetCompactBlock(Hash),
    /// A compact block.
    CompactBlock(CompactBlock<'a>),
    /// A transaction on its stem.
    StemTransaction(Transaction<'a>),
    /// A transaction.
    Transaction(Transaction<'a>),
    /// Asks for the archive of unspent outputs.
    TxHashSetRequest(ArchiveRequest),
    /// The archive follows the frame.
    TxHashSetArchive(Archive),
    /// Why the receiver is banned; the last message of a connection.
    BanReason(BanReason),
    /// Asks for the transaction with this kernel.
    GetTransaction(Hash),
    /// Announces the transaction with this kernel.
    TransactionKernel(Hash),
    /// Asks for a segment of the bitmap of unspent outputs.
    GetOutputBitmapSegment(SegmentId),
    /// A segment of that bitmap.
    OutputBitmapSegment(BitmapSegment<'a>),
    /// Asks for a segment of the outputs.
    GetOutputSegment(SegmentId),
    /// A segment of the outputs.
    OutputSegment(OutputSegment<'a>),
    /// Asks for a segment of the range proofs.
    GetRangeProofSegment(SegmentId),
    /// A segment of the range proofs.
    RangeProofSegment(RangeProofSegment<'a>),
    /// Asks for a segment of the kernels.
    GetKernelSegment(SegmentId),
    /// A segment of the kernels.
    KernelSegment(KernelSegment<'a>),
    /// A body of another kind, behind its id.
    Packed(Envelope<'a>),
    /// The sender has these: ask for them.
    Have(Records<'a, Offer>),
    /// The sender is receiving these: do not send them unasked.
    Coming(Records<'a, Offer>),
    /// Asks for these, each to be answered by itself or by a NotFound.
    Want(Records<'a, Item>),
    /// The sender does not have these.
    NotFound(Records<'a, Item>),
    /// Asks for blocks in a row.
    GetBlocks(BlockRange),
    /// Asks what is in the pool.
    GetPool(GetPool),
    /// What is in a part of the pool.
    PoolIds(PoolPart<'a>),
    /// Asks for these transactions of a part of the pool.
    WantPool(PoolPart<'a>),
    /// What keeps an overlay together.
    HyParView(HyParViewBody<'a>),
    /// A message of a topic, or what keeps the tree that it goes along.
    Plumtree(PlumtreeMessage<'a>),
    /// Whom a node knows: what keeps an overlay of lists together.
    Sampling(SamplingBody<'a>),
}

impl<'a> Message<'a> {
    /// Reads a body.
    ///
    /// ```
    /// use codec::{Context, Kind, Message, Network, Ping};
    /// let context = Context { version: 1000, network: &Network::GRIN_MAIN };
    /// let body = [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 42];
    /// let message = Message::decode(Kind::Ping, &body, &context).unwrap();
    /// assert_eq!(message, Message::Ping(Ping { total_difficulty: 7, height: 42 }));
    /// ```
    ///
    /// # Errors
    ///
    /// [`DecodeError`], which is the sender's fault.
    pub fn decode(kind: Kind, body: &'a [u8], context: &Context<'_>) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(body);
        let message = match kind {
            Kind::Error => Self::Error,
            Kind::Hand => Self::Hand(Hand::decode(reader, context)?),
            Kind::Shake => Self::Shake(Shake::decode(reader, context)?),
            Kind::Ping => Self::Ping(Ping::decode(reader, context)?),
            Kind::Pong => Self::Pong(Pong::decode(reader, context)?),
            Kind::GetPeerAddrs => Self::GetPeerAddrs(Capabilities::decode(reader, context)?),
            Kind::PeerAddrs => Self::PeerAddrs(PeerAddrs::decode(reader, context)?),
            Kind::GetHeaders => Self::GetHeaders(Locator::decode(reader, context)?),
            Kind::Header => Self::Header(BlockHeader::decode(reader, context)?),
            Kind::Headers => Self::Headers(Headers::decode(reader, context)?),
            Kind::GetBlock => Self::GetBlock(reader.hash()?),
            Kind::Block => Self::Block(Block::decode(reader, context)?),
            Kind::GetCompactBlock => Self::GetCompactBlock(reader.hash()?),
            Kind::CompactBlock => Self::CompactBlock(CompactBlock::decode(reader, context)?),
            Kind::StemTransaction => Self::StemTransaction(Transaction::decode(reader, context)?),
            Kind::Transaction => Self::Transaction(Transaction::decode(reader, context)?),
            Kind::TxHashSetRequest => {
                Self::TxHashSetRequest(ArchiveRequest::decode(reader, context)?)
            }
            Kind::TxHashSetArchive => Self::TxHashSetArchive(Archive::decode(reader, context)?),
            Kind::BanReason => Self::BanReason(BanReason::decode(reader, context)?),
            Kind::GetTransaction => Self::GetTransaction(reader.hash()?),
            Kind::TransactionKernel => Self::TransactionKernel(reader.hash()?),
            Kind::GetOutputBitmapSegment => {
                Self::GetOutputBitmapSegment(SegmentId::decode(reader, context)?)
            }
            Kind::OutputBitmapSegment => {
                Self::OutputBitmapSegment(BitmapSegment::decode(reader, context)?)
            }
            Kind::GetOutputSegment => Self::GetOutputSegment(SegmentId::decode(reader, context)?),
            Kind::OutputSegment => Self::OutputSegment(OutputSegment::decode(reader, context)?),
            Kind::GetRangeProofSegment => {
                Self::GetRangeProofSegment(SegmentId::decode(reader, context)?)
            }
            Kind::RangeProofSegment => {
                Self::RangeProofSegment(RangeProofSegment::decode(reader, context)?)
            }
            Kind::GetKernelSegment => Self::GetKernelSegment(SegmentId::decode(reader, context)?),
            Kind::KernelSegment => Self::KernelSegment(KernelSegment::decode(reader, context)?),
            Kind::Packed => Self::Packed(Envelope::decode(reader, context)?),
            Kind::Have => Self::Have(Records::decode(reader, context)?),
            Kind::Coming => Self::Coming(Records::decode(reader, context)?),
            Kind::Want => Self::Want(Records::decode(reader, context)?),
            Kind::NotFound => Self::NotFound(Records::decode(reader, context)?),
            Kind::GetBlocks => Self::GetBlocks(BlockRange::decode(reader, context)?),
            Kind::GetPool => Self::GetPool(GetPool::decode(reader, context)?),
            Kind::PoolIds => Self::PoolIds(PoolPart::decode(reader, context)?),
            Kind::WantPool => Self::WantPool(PoolPart::decode(reader, context)?),
            Kind::HyParView => Self::HyParView(HyParViewBody::decode(reader, context)?),
            Kind::Plumtree => Self::Plumtree(PlumtreeMessage::decode(reader, context)?),
            Kind::Sampling => Self::Sampling(SamplingBody::decode(reader, context)?),
        };
        // grin measures Headers too, which it reads piece by piece.
        if kind.is_payload() || kind.is_extension() || kind == Kind::Headers {
            reader.finish()?;
        }
        Ok(message)
    }

    /// The kind of the frame that it travels in.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Error => Kind::Error,
            Self::Hand(_) => Kind::Hand,
            Self::Shake(_) => Kind::Shake,
            Self::Ping(_) => Kind::Ping,
            Self::Pong(_) => Kind::Pong,
            Self::GetPeerAddrs(_) => Kind::GetPeerAddrs,
            Self::PeerAddrs(_) => Kind::PeerAddrs,
            Self::GetHeaders(_) => Kind::GetHeaders,
            Self::Header(_) => Kind::Header,
            Self::Headers(_) => Kind::Headers,
            Self::GetBlock(_) => Kind::GetBlock,
            Self::Block(_) => Kind::Block,
            Self::GetCompactBlock(_) => Kind::GetCompactBlock,
            Self::CompactBlock(_) => Kind::CompactBlock,
            Self::StemTransaction(_) => Kind::StemTransaction,
            Self::Transaction(_) => Kind::Transaction,
            Self::TxHashSetRequest(_) => Kind::TxHashSetRequest,
            Self::TxHashSetArchive(_) => Kind::TxHashSetArchive,
            Self::BanReason(_) => Kind::BanReason,
            Self::GetTransaction(_) => Kind::GetTransaction,
            Self::TransactionKernel(_) => Kind::TransactionKernel,
            Self::GetOutputBitmapSegment(_) => Kind::GetOutputBitmapSegment,
            Self::OutputBitmapSegment(_) => Kind::OutputBitmapSegment,
            Self::GetOutputSegment(_) => Kind::GetOutputSegment,
            Self::OutputSegment(_) => Kind::OutputSegment,
            Self::GetRangeProofSegment(_) => Kind::GetRangeProofSegment,
            Self::RangeProofSegment(_) => Kind::RangeProofSegment,
            Self::GetKernelSegment(_) => Kind::GetKernelSegment,
            Self::KernelSegment(_) => Kind::KernelSegment,
            Self::Packed(_) => Kind::Packed,
            Self::Have(_) => Kind::Have,
            Self::Coming(_) => Kind::Coming,
            Self::Want(_) => Kind::Want,
            Self::NotFound(_) => Kind::NotFound,
            Self::GetBlocks(_) => Kind::GetBlocks,
            Self::GetPool(_) => Kind::GetPool,
            Self::PoolIds(_) => Kind::PoolIds,
            Self::WantPool(_) => Kind::WantPool,
            Self::HyParView(_) => Kind::HyParView,
            Self::Plumtree(_) => Kind::Plumtree,
            Self::Sampling(_) => Kind::Sampling,
        }
    }

    /// Appends the body to `out`, as a peer of this protocol version reads it.
    ///
    /// # Errors
    ///
    /// [`EncodeError::NoInputFeatures`], [`EncodeError::NoHeaders`]; part of the body may have been
    /// written then.
    pub fn encode_body(&self, version: u32, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let writer = &mut Writer::new(out);
        match self {
            Self::Error => Ok(()),
            Self::Hand(hand) => hand.encode(writer, version),
            Self::Shake(shake) => shake.encode(writer, version),
            Self::Ping(ping) => ping.encode(writer, version),
            Self::Pong(pong) => pong.encode(writer, version),
            Self::GetPeerAddrs(capabilities) => capabilities.encode(writer, version),
            Self::PeerAddrs(addrs) => addrs.encode(writer, version),
            Self::GetHeaders(locator) => locator.encode(writer, version),
            Self::Header(header) => header.encode(writer, version),
            Self::Headers(headers) => headers.encode(writer, version),
            Self::Block(block) => block.encode(writer, version),
            Self::CompactBlock(block) => block.encode(writer, version),
            Self::StemTransaction(transaction) | Self::Transaction(transaction) => {
                transaction.encode(writer, version)
            }
            Self::TxHashSetRequest(request) => request.encode(writer, version),
            Self::TxHashSetArchive(archive) => archive.encode(writer, version),
            Self::BanReason(reason) => reason.encode(writer, version),
            Self::GetOutputBitmapSegment(id)
            | Self::GetOutputSegment(id)
            | Self::GetRangeProofSegment(id)
            | Self::GetKernelSegment(id) => id.encode(writer, version),
            Self::OutputBitmapSegment(segment) => segment.encode(writer, version),
            Self::OutputSegment(segment) => segment.encode(writer, version),
            Self::RangeProofSegment(segment) => segment.encode(writer, version),
            Self::KernelSegment(segment) => segment.encode(writer, version),
            Self::Packed(envelope) => envelope.encode(writer, version),
            Self::Have(offers) | Self::Coming(offers) => offers.encode(writer, version),
            Self::Want(items) | Self::NotFound(items) => items.encode(writer, version),
            Self::GetBlocks(range) => range.encode(writer, version),
            Self::GetPool(part) => part.encode(writer, version),
            Self::PoolIds(part) | Self::WantPool(part) => part.encode(writer, version),
            Self::HyParView(body) => body.encode(writer, version),
            Self::Plumtree(message) => message.encode(writer, version),
            Self::Sampling(body) => body.encode(writer, version),
            Self::GetBlock(hash)
            | Self::GetCompactBlock(hash)
            | Self::GetTransaction(hash)
            | Self::TransactionKernel(hash) => {
                writer.hash(*hash);
                Ok(())
            }
        }
    }

    /// Appends the whole frame to `out`: no allocation if it has the room.
    ///
    /// ```
    /// use codec::{Message, Network, Ping};
    /// let mut out = Vec::with_capacity(64);
    /// let ping = Message::Ping(Ping { total_difficulty: 7, height: 42 });
    /// ping.encode_frame(&Network::GRIN_MAIN, 1000, &mut out).unwrap();
    /// assert_eq!(out[..11], [0x61, 0x3d, 3, 0, 0, 0, 0, 0, 0, 0, 16]);
    /// ```
    ///
    /// # Errors
    ///
    /// [`EncodeError`]; `out` is as it was then.
    pub fn encode_frame(
        &self,
        network: &Network,
        version: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        let written = self.write_frame(network, version, out);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    /// The whole frame in memory of its own.
    ///
    /// # Errors
    ///
    /// [`EncodeError`].
    pub fn to_payload(&self, network: &Network, version: u32) -> Result<Payload, EncodeError> {
        let mut frame = Vec::new();
        self.encode_frame(network, version, &mut frame)?;
        Ok(Payload::new(network, self.kind(), frame))
    }

    fn write_frame(
        &self,
        network: &Network,
        version: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let (kind, start) = (self.kind(), out.len());
        out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        self.encode_body(version, out)?;
        let length = (out.len() - start - FRAME_HEADER_BYTES) as u64;
        let limit = network.limits.body_bytes_max(kind);
        if length > limit {
            return Err(EncodeError::TooLong(SealError { kind, length, limit }));
        }
        let header = FrameHeader { kind: kind as u8, length }.encode(network.magic);
        out[start..start + FRAME_HEADER_BYTES].copy_from_slice(&header);
        Ok(())
    }
}

/// Asks for a [`Pong`], and tells the sender's best chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ping {
    /// Total difficulty of the best chain.
    pub total_difficulty: u64,
    /// Height of the best chain.
    pub height: u64,
}

impl Decode<'_> for Ping {
    fn decode(reader: &mut Reader<'_>, _: &Context<'_>) -> Result<Self, DecodeError> {
        Ok(Self { total_difficulty: reader.u64()?, height: reader.u64()? })
    }
}

impl Encode for Ping {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.u64(self.total_difficulty);
        writer.u64(self.height);
        Ok(())
    }
}

/// Answers a [`Ping`], and tells the sender's best chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pong {
    /// Total difficulty of the best chain.
    pub total_difficulty: u64,
    /// Height of the best chain.
    pub height: u64,
}

impl Decode<'_> for Pong {
    fn decode(reader: &mut Reader<'_>, _: &Context<'_>) -> Result<Self, DecodeError> {
        Ok(Self { total_difficulty: reader.u64()?, height: reader.u64()? })
    }
}

impl Encode for Pong {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.u64(self.total_difficulty);
        writer.u64(self.height);
        Ok(())
    }
}

/// Why a peer is banned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum BanReason {
    /// No reason given.
    None = 0,
    /// A block that breaks the rules of the chain.
    BadBlock = 1,
    /// A compact block that does.
    BadCompactBlock = 2,
    /// A header that does.
    BadBlockHeader = 3,
    /// An archive of unspent outputs that does.
    BadTxHashSet = 4,
    /// An operator's wish.
    ManualBan = 5,
    /// Claimed more work than it could show.
    FraudHeight = 6,
    /// Failed to greet.
    BadHandshake = 7,
}

impl BanReason {
    const fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            0 => Self::None,
            1 => Self::BadBlock,
            2 => Self::BadCompactBlock,
            3 => Self::BadBlockHeader,
            4 => Self::BadTxHashSet,
            5 => Self::ManualBan,
            6 => Self::FraudHeight,
            7 => Self::BadHandshake,
            _ => return None,
        })
    }
}

impl Decode<'_> for BanReason {
    fn decode(reader: &mut Reader<'_>, _: &Context<'_>) -> Result<Self, DecodeError> {
        // A body too short for a code gives no reason: so grin reads it.
        let code = reader.u32().unwrap_or(0).cast_signed();
        Self::from_code(code).ok_or(DecodeError::BadBanReason { code })
    }
}

impl Encode for BanReason {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.u32((*self as i32).cast_unsigned());
        Ok(())
    }
}
