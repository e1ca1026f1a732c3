//! The two chains that a node can follow, and all that differs between them.
//!
//! A data directory belongs to one of them for ever: the store remembers which.

use bitcoin::blockdata::constants::genesis_block;
use bitcoin::consensus::Params;
use bitcoin::hashes::Hash as _;
use bitcoin::{Block, Work};
use clap::ValueEnum;
use molva::{Hash, Kind, Limits, Network, PayloadFormat, PayloadId};
use serde::Deserialize;

/// Bytes of a block's header, in Bitcoin and so here.
pub(crate) const HEADER_BYTES: usize = 80;

/// Which chain.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChainName {
    /// Bitcoin's main chain, from files of Bitcoin Core or from peers.
    #[default]
    Bitcoin,
    /// A chain of our own under the rules of Bitcoin's regression test: work costs nothing.
    Regtest,
}

impl ChainName {
    /// As flags, files and the store spell it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bitcoin => "bitcoin",
            Self::Regtest => "regtest",
        }
    }

    /// The chain of this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [Self::Bitcoin, Self::Regtest].into_iter().find(|chain| chain.name() == name)
    }

    /// Its consensus rules.
    pub(crate) const fn params(self) -> &'static Params {
        match self {
            Self::Bitcoin => &Params::MAINNET,
            Self::Regtest => &Params::REGTEST,
        }
    }

    /// Its first block, which every node of it has from the start.
    pub(crate) fn genesis(self) -> Block {
        genesis_block(self.params())
    }

    /// The bytes before each block of a file of Bitcoin Core.
    pub(crate) const fn file_magic(self) -> [u8; 4] {
        match self {
            Self::Bitcoin => [0xf9, 0xbe, 0xb4, 0xd9],
            Self::Regtest => [0xfa, 0xbf, 0xb5, 0xda],
        }
    }

    /// The network that nodes of it form. It is no network of Bitcoin's: blocks and transactions
    /// are Bitcoin's, the frames around them are not.
    pub(crate) fn network(self) -> Network {
        Network {
            name: "molva-node",
            magic: [0x6e, 0x64],
            genesis: Hash(self.genesis().block_hash().to_byte_array()),
            port: match self {
                Self::Bitcoin => 24_414,
                Self::Regtest => 24_415,
            },
            limits: Limits::MAINNET,
            format: PayloadFormat::Headed { header_bytes: HEADER_BYTES as u8 },
            nrd_kernels: false,
        }
    }
}

/// The id of the block with this header.
pub(crate) fn block_id(network: &Network, header: &[u8; HEADER_BYTES]) -> PayloadId {
    network.id(Kind::Header, header)
}

/// Bits of work that are told exactly.
const WORK_BITS: u32 = 56;

/// The work of a chain as the engine tells it to peers: 64 bits for 256.
///
/// The wire has 64 bits, and Bitcoin's chain has long had more work than fits. Work below 2^56
/// is told as it is; beyond, as a number with an exponent: the 56 leading bits, and above them
/// how many bits were left out. So more work is never told as less, and a block is seen in it as
/// long as it adds one part in 2^55.
pub(crate) fn total_difficulty(work: Work) -> u64 {
    let bytes = work.to_be_bytes();
    let bits = bytes
        .iter()
        .position(|byte| *byte != 0)
        .map_or(0, |first| (32 - first as u32) * u8::BITS - bytes[first].leading_zeros());
    let dropped = bits.saturating_sub(WORK_BITS);
    // The window of 64 bits that begins with the leading byte holds all bits that are kept.
    let first = (32 - bits.div_ceil(u8::BITS).max(8)) as usize;
    let window = bytes[first..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let behind_window = (32 - 8 - first) as u32 * u8::BITS;
    let leading = window >> dropped.saturating_sub(behind_window);
    (u64::from(dropped) << (WORK_BITS - 1)) + leading
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn work(bytes: [u8; 32]) -> Work {
        Work::from_be_bytes(bytes)
    }

    fn one_at(bit: usize) -> Work {
        let mut bytes = [0; 32];
        bytes[31 - bit / 8] = 1 << (bit % 8);
        work(bytes)
    }

    #[test]
    fn small_work_is_told_as_it_is() {
        for number in [0_u64, 1, 255, 1 << 32, (1 << 56) - 1] {
            let mut bytes = [0; 32];
            bytes[24..].copy_from_slice(&number.to_be_bytes());
            assert_eq!(total_difficulty(work(bytes)), number);
        }
    }

    #[test]
    fn each_doubling_is_seen() {
        let told: Vec<_> = (0..256).map(|bit| total_difficulty(one_at(bit))).collect();
        assert!(told.is_sorted_by(|one, next| one < next), "{told:?}");
        assert!(total_difficulty(work([0xff; 32])) > *told.last().unwrap());
    }

    #[test]
    fn one_block_of_today_is_seen_in_the_work_of_all() {
        let (all, block) = (one_at(96), one_at(79));
        assert!(total_difficulty(all + block) > total_difficulty(all));
    }

    proptest! {
        #[test]
        fn more_work_is_never_told_as_less(one: [u8; 32], other: [u8; 32], cut in 0_usize..32) {
            let cut = |mut bytes: [u8; 32]| {
                bytes[..cut].fill(0);
                work(bytes)
            };
            let (one, other) = (cut(one), cut(other));
            prop_assert_eq!(one.max(other) == other || one == other,
                total_difficulty(one.max(other)) == total_difficulty(other) || one == other);
            prop_assert!(one > other || total_difficulty(one) <= total_difficulty(other));
        }
    }

    #[test]
    fn a_header_has_the_id_of_its_block() {
        let (chain, genesis) = (ChainName::Bitcoin, ChainName::Bitcoin.genesis());
        let network = chain.network();
        let bytes = bitcoin::consensus::serialize(&genesis);
        let header = *bytes.first_chunk().unwrap();
        assert_eq!(block_id(&network, &header), network.id(Kind::Block, &bytes));
        assert_ne!(chain.network().genesis, ChainName::Regtest.network().genesis);
    }
}
