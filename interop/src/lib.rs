//! The published grin crates beside ours: their decoders as plain functions, to compare with.
//!
//! grin decodes a body with the readers used here, inside a module that is private; the one message
//! that it reads piece by piece, Headers, is put together from the same readers by its rules.

pub mod grin_node;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Buf, Bytes};
use codec::Kind;
use grin_core::core::hash::Hash;
use grin_core::core::{
    BlockHeader, CompactBlock, Transaction, TransactionBody, TxKernel, UntrustedBlock,
    UntrustedBlockHeader, UntrustedCompactBlock, Weighting,
};
use grin_core::global::{ChainTypes, set_local_chain_type, set_local_nrd_enabled};
use grin_core::ser::{BufReader, ProtocolVersion, Readable, Reader, Writeable, ser_vec};
use grin_p2p::msg::{
    BanReason, GetPeerAddrs, Hand, Locator, OutputBitmapSegmentResponse, OutputSegmentResponse,
    PeerAddrs, Ping, Pong, SegmentRequest, SegmentResponse, Shake, TxHashSetArchive,
    TxHashSetRequest,
};
use grin_util::secp::pedersen::RangeProof;

/// What grin made of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// Accepted; written again it is this.
    Accepted(Vec<u8>),
    /// Refused only for its proof of work, its time, or sizes that follow from its height: what
    /// grin checks of a header while it decodes, and we leave to the chain.
    RefusedHeader,
    /// Refused.
    Refused,
    /// The decoder panicked.
    Panicked,
}

/// Sets this thread to mainnet's rules. grin keeps them in thread-local variables.
pub fn be_mainnet() {
    set_local_chain_type(ChainTypes::Mainnet);
    set_local_nrd_enabled(false);
}

/// What grin makes of a body of this kind from a peer of this version.
#[must_use]
pub fn judge(kind: Kind, body: &[u8], version: u32) -> Judgement {
    catch_unwind(AssertUnwindSafe(|| match read(kind, body, version) {
        None if in_time(kind, body).is_some_and(|body| read(kind, &body, version).is_some()) => {
            Judgement::RefusedHeader
        }
        None => Judgement::Refused,
        Some(_) if read_untrusted(kind, body, version).is_none() => Judgement::RefusedHeader,
        Some(written) => Judgement::Accepted(written),
    }))
    .unwrap_or(Judgement::Panicked)
}

/// Where a header's time stands: 8 bytes behind version and height.
const TIME: std::ops::Range<usize> = 10..18;

/// The body with the times of its headers set to 1970: grin refuses times that its calendar has
/// not.
fn in_time(kind: Kind, body: &[u8]) -> Option<Vec<u8>> {
    let mut body = body.to_vec();
    match kind {
        Kind::Header | Kind::Block | Kind::CompactBlock => body.get_mut(TIME)?.fill(0),
        Kind::Headers => {
            let mut at = 2;
            while at < body.len() {
                body[at..].get_mut(TIME)?.fill(0);
                let mut rest = Bytes::copy_from_slice(&body[at..]);
                let before = rest.remaining();
                BlockHeader::read(&mut BufReader::new(&mut rest, ProtocolVersion(1000))).ok()?;
                at += before - rest.remaining();
            }
        }
        _ => return None,
    }
    Some(body)
}

/// Reads a body without what grin checks of untrusted headers; gives it written again.
fn read(kind: Kind, body: &[u8], version: u32) -> Option<Vec<u8>> {
    let version = ProtocolVersion(version);
    match kind {
        Kind::Error => None,
        Kind::Hand => again::<Hand>(body, version),
        Kind::Shake => again::<Shake>(body, version),
        Kind::Ping => again::<Ping>(body, version),
        Kind::Pong => again::<Pong>(body, version),
        Kind::GetPeerAddrs => again::<GetPeerAddrs>(body, version),
        Kind::PeerAddrs => again::<PeerAddrs>(body, version),
        Kind::GetHeaders => again::<Locator>(body, version),
        Kind::Header => again::<BlockHeader>(body, version),
        Kind::Headers => headers(body, version, |reader| BlockHeader::read(reader).ok()),
        Kind::GetBlock | Kind::GetCompactBlock | Kind::GetTransaction | Kind::TransactionKernel => {
            again::<Hash>(body, version)
        }
        Kind::Block => again::<Block>(body, version),
        Kind::CompactBlock => again::<CompactBlock>(body, version),
        Kind::StemTransaction | Kind::Transaction => again::<Transaction>(body, version),
        Kind::TxHashSetRequest => again::<TxHashSetRequest>(body, version),
        Kind::TxHashSetArchive => again::<TxHashSetArchive>(body, version),
        Kind::BanReason => again::<BanReason>(body, version),
        Kind::GetOutputBitmapSegment
        | Kind::GetOutputSegment
        | Kind::GetRangeProofSegment
        | Kind::GetKernelSegment => again::<SegmentRequest>(body, version),
        Kind::OutputBitmapSegment => again::<OutputBitmapSegmentResponse>(body, version),
        Kind::OutputSegment => again::<OutputSegmentResponse>(body, version),
        Kind::RangeProofSegment => again::<SegmentResponse<RangeProof>>(body, version),
        Kind::KernelSegment => again::<SegmentResponse<TxKernel>>(body, version),
        // Molva's own, which grin passes over.
        Kind::Packed
        | Kind::Have
        | Kind::Coming
        | Kind::Want
        | Kind::NotFound
        | Kind::GetBlocks
        | Kind::GetPool
        | Kind::PoolIds
        | Kind::WantPool
        | Kind::HyParView
        | Kind::Plumtree
        | Kind::Sampling => None,
    }
}

/// Reads a body as grin reads it from a peer.
fn read_untrusted(kind: Kind, body: &[u8], version: u32) -> Option<()> {
    let version = ProtocolVersion(version);
    let mut bytes = Bytes::copy_from_slice(body);
    let reader = &mut BufReader::new(&mut bytes, version);
    match kind {
        Kind::Header => UntrustedBlockHeader::read(reader).ok().map(drop),
        Kind::Headers => headers(body, version, |reader| {
            UntrustedBlockHeader::read(reader).ok().map(BlockHeader::from)
        })
        .map(drop),
        Kind::Block => UntrustedBlock::read(reader).ok().map(drop),
        Kind::CompactBlock => UntrustedCompactBlock::read(reader).ok().map(drop),
        _ => Some(()),
    }
}

fn again<T: Readable + Writeable>(body: &[u8], version: ProtocolVersion) -> Option<Vec<u8>> {
    let mut bytes = Bytes::copy_from_slice(body);
    let value = T::read(&mut BufReader::new(&mut bytes, version)).ok()?;
    Some(ser_vec(&value, version).expect("what was read can be written"))
}

/// Headers: a count, and exactly as many headers. A count of 0 is refused by grin, which sends it.
fn headers(
    body: &[u8],
    version: ProtocolVersion,
    mut one: impl FnMut(&mut BufReader<'_, Bytes>) -> Option<BlockHeader>,
) -> Option<Vec<u8>> {
    let mut bytes = Bytes::copy_from_slice(body);
    let count = BufReader::new(&mut bytes, version).read_u16().ok()?;
    let mut written = count.to_be_bytes().to_vec();
    for _ in 0..count {
        let header = one(&mut BufReader::new(&mut bytes, version))?;
        written.extend(ser_vec(&header, version).expect("what was read can be written"));
    }
    (count > 0 && bytes.remaining() == 0).then_some(written)
}

/// A block, read by the rules for untrusted ones but for those of its header.
struct Block(BlockHeader, TransactionBody);

impl Readable for Block {
    fn read<R: Reader>(reader: &mut R) -> Result<Self, grin_core::ser::Error> {
        let header = BlockHeader::read(reader)?;
        let body = TransactionBody::read(reader)?;
        body.validate_read(Weighting::AsBlock).map_err(|_| grin_core::ser::Error::CorruptedData)?;
        Ok(Self(header, body))
    }
}

impl Writeable for Block {
    fn write<W: grin_core::ser::Writer>(
        &self,
        writer: &mut W,
    ) -> Result<(), grin_core::ser::Error> {
        self.0.write(writer)?;
        self.1.write(writer)
    }
}
