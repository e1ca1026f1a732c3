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
    /// As `Opaque`, but bodies of headers, blocks and compact blocks begin with a header of so many
    /// bytes, and the id of all three is the BLAKE2b-256 of it: so a header names its block. A body
    /// that is shorter has that of all its bytes.
    Headed {
        /// Bytes of a header, at least one: with none there is no header, as in `Opaque`.
        header_bytes: u8,
    },
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
            Self::Headed { .. } => {
                let headed = matches!(kind, Kind::Header | Kind::Block | Kind::CompactBlock);
                let header = self.header_of(body, limits).filter(|_| headed);
                Hash::of(&body[..header.unwrap_or(body.len())])
            }
        }
    }

    /// Whether only the chain can read the bodies of its payloads.
    #[must_use]
    pub const fn is_opaque(self) -> bool {
        !matches!(self, Self::Grin)
    }

    /// How many bytes at the front of a block are its header, if they are here.
    pub(crate) fn header_of(self, block: &[u8], limits: &Limits) -> Option<usize> {
        match self {
            Self::Grin => {
                let reader = &mut Reader::new(block);
                BlockHeader::read(reader, limits).ok()?;
                Some(block.len() - reader.rest().len())
            }
            Self::Opaque => None,
            Self::Headed { header_bytes } => {
                let length = usize::from(header_bytes);
                (length > 0 && block.len() >= length).then_some(length)
            }
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
        format if format.is_opaque() && kind.is_chain_data() => Ok(()),
        _ => Message::decode(kind, body, &Context { version, network }).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADED: PayloadFormat = PayloadFormat::Headed { header_bytes: 80 };

    fn id(format: PayloadFormat, kind: Kind, body: &[u8]) -> PayloadId {
        format.id(kind, body, &Limits::MAINNET)
    }

    #[test]
    fn a_header_names_its_block() {
        let block: Vec<u8> = (0..200).collect();
        let (header, transactions) = block.split_at(80);
        let named = Hash::of(header);
        assert_eq!(id(HEADED, Kind::Header, header), named);
        assert_eq!(id(HEADED, Kind::Block, &block), named);
        assert_eq!(id(HEADED, Kind::CompactBlock, &[header, &[7; 9]].concat()), named);
        // What begins alike and has no header is named by all of it.
        for kind in [Kind::Transaction, Kind::StemTransaction, Kind::Headers] {
            assert_eq!(id(HEADED, kind, &block), Hash::of(&block));
        }
        assert_ne!(id(HEADED, Kind::Block, transactions), named);
    }

    #[test]
    fn a_body_without_a_whole_header_is_named_by_its_bytes() {
        let block = [5; 80];
        for length in [0, 1, 79] {
            assert_eq!(id(HEADED, Kind::Block, &block[..length]), Hash::of(&block[..length]));
            assert_eq!(HEADED.header_of(&block[..length], &Limits::MAINNET), None);
        }
        assert_eq!(HEADED.header_of(&block, &Limits::MAINNET), Some(80));
        let none = PayloadFormat::Headed { header_bytes: 0 };
        for length in [0, 1, 80] {
            let body = &block[..length];
            assert_eq!(id(none, Kind::Block, body), id(PayloadFormat::Opaque, Kind::Block, body));
            assert_eq!(none.header_of(body, &Limits::MAINNET), None);
        }
    }

    #[test]
    fn bodies_that_the_chain_alone_reads_all_pass() {
        for format in [PayloadFormat::Opaque, HEADED] {
            let network = Network { format, ..Network::DEV };
            assert!(format.is_opaque());
            for kind in Kind::ALL {
                let judgement = check(kind, &[], 1000, &network);
                // An empty BanReason is one, as grin reads it.
                let passes = kind.is_chain_data() || matches!(kind, Kind::Error | Kind::BanReason);
                assert_eq!(judgement.is_ok(), passes, "{kind:?}: {judgement:?}");
            }
        }
        assert!(!PayloadFormat::Grin.is_opaque());
    }
}
