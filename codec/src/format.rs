//! How an id follows from a body: pure functions, chosen once for a network.

use crate::block::{Block, BlockHeader, CompactBlock};
use crate::frame::Kind;
use crate::limits::Limits;
use crate::message::Message;
use crate::network::Network;
use crate::payload::{Hash, PayloadId};
use crate::transaction::Transaction;
use crate::wire::{Context, DecodeError, Reader};

/// The rule that gives a payload its id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PayloadFormat {
    /// grin's own. A header, block or compact block has the block hash, which covers the packed
    /// proof only; a transaction, on its stem or not, the hash of its first kernel.
    Grin,
    /// The id is the BLAKE2b-256 of the body, whatever the body means to the chain.
    Opaque,
}

impl PayloadFormat {
    /// The id of a body of this kind. Total: a body that is not laid out as its kind, and a kind
    /// that is no payload, have the BLAKE2b-256 of the bytes.
    ///
    /// The id does not depend on the protocol version that the body came by. The form of the body
    /// is told from its bytes, which is exact for every body that [`check`] accepts at any version.
    /// Only the layout is followed here; order and the other rules are `check`'s.
    #[must_use]
    pub fn id(self, kind: Kind, body: &[u8], limits: &Limits) -> PayloadId {
        match self {
            Self::Grin => grin_id(kind, body, limits).unwrap_or_else(|| Hash::of(body)),
            Self::Opaque => Hash::of(body),
        }
    }
}

fn grin_id(kind: Kind, body: &[u8], limits: &Limits) -> Option<PayloadId> {
    let reader = &mut Reader::new(body);
    let id = match kind {
        Kind::Header => BlockHeader::read(reader, limits).ok()?.hash(),
        Kind::Block => Block::read(reader, None, limits).ok()?.header.hash(),
        Kind::CompactBlock => CompactBlock::read(reader, None, limits).ok()?.header.hash(),
        Kind::StemTransaction | Kind::Transaction => {
            Transaction::read(reader, None, limits).ok()?.id()?
        }
        // No payload: nobody names it.
        _ => return None,
    };
    reader.rest().is_empty().then_some(id)
}

/// Whether a body is canonical for a network, as a peer of this protocol version writes it. What
/// passes may be relayed.
///
/// Bodies of the chain ([`Kind::is_chain_data`]) are the chain's own business on a network of
/// opaque bodies: they all pass. Everything else has to decode.
///
/// # Errors
///
/// [`DecodeError`], as [`Message::decode`].
pub fn check(kind: Kind, body: &[u8], version: u32, network: &Network) -> Result<(), DecodeError> {
    match network.format {
        PayloadFormat::Opaque if kind.is_chain_data() => Ok(()),
        PayloadFormat::Opaque | PayloadFormat::Grin => {
            Message::decode(kind, body, &Context { version, network }).map(drop)
        }
    }
}
