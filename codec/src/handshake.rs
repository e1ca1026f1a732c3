//! The greeting: Hand, its answer Shake, and what they say a peer can do.
//!
//! Neither layout depends on the protocol version, as none is agreed on yet.

use std::fmt;
use std::net::SocketAddr;
use std::ops::BitOr;

use crate::limits::USER_AGENT_READ_BYTES_MAX;
use crate::payload::Hash;
use crate::wire::{Context, Decode, DecodeError, Encode, EncodeError, Reader, Writer};

/// What a peer offers: a set of bits.
///
/// Bits that mean nothing here are dropped on reading, as grin does. The top byte is kept: grin
/// gives it no meaning, so that it is the place of private extensions.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capabilities(u32);

impl Capabilities {
    /// Nothing known.
    pub const UNKNOWN: Self = Self(0x00);
    /// Serves headers.
    pub const HEADER_HIST: Self = Self(0x01);
    /// Serves the archive of unspent outputs.
    pub const TXHASHSET_HIST: Self = Self(0x02);
    /// Serves addresses of peers.
    pub const PEER_LIST: Self = Self(0x04);
    /// Takes a transaction's announcement by its kernel hash instead of the transaction.
    pub const TX_KERNEL_HASH: Self = Self(0x08);
    /// Old segments, with a broken serialization. Told by grin, used by nobody.
    pub const PIBD_HIST: Self = Self(0x10);
    /// Serves all blocks since genesis.
    pub const BLOCK_HIST: Self = Self(0x20);
    /// Serves segments of the unspent outputs.
    pub const PIBD_HIST_1: Self = Self(0x40);

    /// Speaks Molva's own messages, kinds from 64 up. One of the private bits.
    pub const EXTENSION: Self = Self(0x0100_0000);

    /// What a grin node tells: all but `BLOCK_HIST`.
    pub const GRIN_NODE: Self = Self(0x5f);

    /// The bits that grin has a meaning for.
    pub const GRIN_MASK: u32 = 0x7f;
    /// The bits of private extensions.
    pub const PRIVATE_MASK: u32 = 0xff00_0000;

    /// The set of these bits, without those that have no meaning.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & (Self::GRIN_MASK | Self::PRIVATE_MASK))
    }

    /// The bits, as on the wire.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `others` are in the set.
    #[must_use]
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

/// What any node offers whose chain serves headers.
impl Default for Capabilities {
    fn default() -> Self {
        Self::HEADER_HIST | Self::PEER_LIST | Self::TX_KERNEL_HASH
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capabilities({:#x})", self.0)
    }
}

impl Decode<'_> for Capabilities {
    fn decode(reader: &mut Reader<'_>, _: &Context<'_>) -> Result<Self, DecodeError> {
        reader.u32().map(Self::from_bits)
    }
}

impl Encode for Capabilities {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.u32(self.0);
        Ok(())
    }
}

/// The first message of who dialled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hand<'a> {
    /// Highest protocol version of the sender. The smaller of the two sides' is used.
    pub version: u32,
    /// What the sender offers.
    pub capabilities: Capabilities,
    /// Random for each dial: who reads its own has dialled itself.
    pub nonce: u64,
    /// Total difficulty of the sender's best chain.
    pub total_difficulty: u64,
    /// Where the sender listens. Only the port counts; the address is the socket's.
    pub sender_addr: SocketAddr,
    /// The address dialled. Nobody reads it.
    pub receiver_addr: SocketAddr,
    /// Name and version of the sender's program.
    pub user_agent: &'a str,
    /// The sender's chain.
    pub genesis: Hash,
}

impl<'a> Decode<'a> for Hand<'a> {
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: reader.u32()?,
            capabilities: Capabilities::decode(reader, context)?,
            nonce: reader.u64()?,
            total_difficulty: reader.u64()?,
            sender_addr: SocketAddr::decode(reader, context)?,
            receiver_addr: SocketAddr::decode(reader, context)?,
            user_agent: reader.text(USER_AGENT_READ_BYTES_MAX)?,
            genesis: reader.hash()?,
        })
    }
}

impl Encode for Hand<'_> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        writer.u32(self.version);
        self.capabilities.encode(writer, version)?;
        writer.u64(self.nonce);
        writer.u64(self.total_difficulty);
        self.sender_addr.encode(writer, version)?;
        self.receiver_addr.encode(writer, version)?;
        writer.text(self.user_agent);
        writer.hash(self.genesis);
        Ok(())
    }
}

/// The answer to a [`Hand`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shake<'a> {
    /// Highest protocol version of the sender, not yet the smaller of both.
    pub version: u32,
    /// What the sender offers.
    pub capabilities: Capabilities,
    /// Total difficulty of the sender's best chain.
    pub total_difficulty: u64,
    /// Name and version of the sender's program.
    pub user_agent: &'a str,
    /// The sender's chain.
    pub genesis: Hash,
}

impl<'a> Decode<'a> for Shake<'a> {
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: reader.u32()?,
            capabilities: Capabilities::decode(reader, context)?,
            total_difficulty: reader.u64()?,
            user_agent: reader.text(USER_AGENT_READ_BYTES_MAX)?,
            genesis: reader.hash()?,
        })
    }
}

impl Encode for Shake<'_> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        writer.u32(self.version);
        self.capabilities.encode(writer, version)?;
        writer.u64(self.total_difficulty);
        writer.text(self.user_agent);
        writer.hash(self.genesis);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_without_a_meaning_are_dropped_and_private_ones_kept() {
        let all = Capabilities::from_bits(u32::MAX);
        assert_eq!(all.bits(), 0xff00_007f);
        assert!(all.contains(Capabilities::GRIN_NODE));
        assert!(!Capabilities::GRIN_NODE.contains(Capabilities::BLOCK_HIST));
    }
}
