//! A chain to be synced: blocks of noise, each behind a header of 80 bytes.
//!
//! | offset | size | field of the header |
//! |---|---|---|
//! | 0 | 32 | id of the block before; of the first, the genesis |
//! | 32 | 32 | BLAKE2b-256 of what follows the header |
//! | 64 | 8 | height |
//! | 72 | 8 | zero |
//!
//! The network is one of headed bodies, so the id of a block is the hash of these 80 bytes.

use std::collections::BTreeMap;

use molva::{Hash, Kind, Network, Payload, PayloadFormat};

pub(super) const HEADER_BYTES: usize = 80;

/// Most headers of one answer: 160 kB of the 187 that the kind has nominally.
pub(super) const HEADERS_MAX: usize = 2_000;

/// Work of one block.
const DIFFICULTY: u64 = 10;

/// A network of its own.
pub(super) const NETWORK: Network = Network {
    name: "sync",
    magic: [0x49, 0x53],
    format: PayloadFormat::Headed { header_bytes: HEADER_BYTES as u8 },
    ..Network::DEV
};

/// All blocks, from height 1 on.
pub(super) struct Blocks {
    pub(super) payloads: Vec<Payload>,
    pub(super) ids: Vec<Hash>,
    heights: BTreeMap<Hash, usize>,
}

impl Blocks {
    /// Makes so many blocks of so many bytes.
    pub(super) fn generate(count: usize, bytes: usize) -> Self {
        let mut blocks = Self {
            payloads: Vec::with_capacity(count),
            ids: Vec::with_capacity(count),
            heights: BTreeMap::from([(NETWORK.genesis, 0)]),
        };
        let mut body = vec![0; bytes];
        let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
        let mut before = NETWORK.genesis;
        for height in 1..=count {
            for word in body[HEADER_BYTES..].chunks_mut(8) {
                // xorshift: noise that costs nothing.
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                word.copy_from_slice(&noise.to_be_bytes()[..word.len()]);
            }
            body[..32].copy_from_slice(&before.0);
            let rest = Hash::of(&body[HEADER_BYTES..]);
            body[32..64].copy_from_slice(&rest.0);
            body[64..72].copy_from_slice(&(height as u64).to_be_bytes());
            let payload =
                Payload::seal(&NETWORK, Kind::Block, &body).expect("the flags bound the size");
            before = payload.id();
            blocks.heights.insert(before, height);
            blocks.ids.push(before);
            blocks.payloads.push(payload);
        }
        blocks
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The height of a block; zero is the genesis.
    pub(super) fn height(&self, id: Hash) -> Option<usize> {
        self.heights.get(&id).copied()
    }

    /// The block of this height, from 1 on.
    pub(super) fn at(&self, height: usize) -> Option<&Payload> {
        self.payloads.get(height.checked_sub(1)?)
    }

    /// The headers behind the first of these that is known.
    pub(super) fn headers(&self, locator: &[Hash]) -> Option<Payload> {
        let known = locator.iter().find_map(|id| self.height(*id))?;
        let follow = &self.payloads[known..self.len().min(known + HEADERS_MAX)];
        let mut body = (follow.len() as u16).to_be_bytes().to_vec();
        follow.iter().for_each(|block| body.extend(&block.body()[..HEADER_BYTES]));
        Payload::seal(&NETWORK, Kind::Headers, &body).ok()
    }
}

/// The headers of an answer.
pub(super) fn read_headers(body: &[u8]) -> Option<&[[u8; HEADER_BYTES]]> {
    let (count, rest) = body.split_first_chunk()?;
    let (headers, spare) = rest.as_chunks();
    let fits = headers.len() == usize::from(u16::from_be_bytes(*count)) && spare.is_empty();
    fits.then_some(headers)
}

/// Whether what follows the header of a block is what the header says.
pub(super) fn is_whole(block: &[u8]) -> bool {
    let header = block.split_at_checked(HEADER_BYTES);
    header.is_some_and(|(header, rest)| header[32..64] == Hash::of(rest).0)
}

/// The id of the block before.
pub(super) fn before(header: &[u8; HEADER_BYTES]) -> Hash {
    let mut hash = Hash([0; 32]);
    hash.0.copy_from_slice(&header[..32]);
    hash
}

/// Total difficulty of a chain of this height.
pub(super) const fn difficulty(height: u64) -> u64 {
    (height + 1) * DIFFICULTY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_links_from_the_genesis_on() {
        let blocks = Blocks::generate(10, 200);
        let headers = blocks.headers(&[Hash([9; 32]), NETWORK.genesis]).unwrap();
        let headers = read_headers(headers.body()).unwrap();
        assert_eq!(headers.len(), 10);
        let mut last = NETWORK.genesis;
        for (header, payload) in headers.iter().zip(&blocks.payloads) {
            assert_eq!(before(header), last);
            assert!(is_whole(payload.body()));
            last = Hash::of(header);
            assert_eq!(payload.id(), last);
        }
        assert_eq!(blocks.height(last), Some(10));
        assert!(blocks.headers(&[Hash([9; 32])]).is_none());
        let mut altered = blocks.payloads[3].body().to_vec();
        altered[199] ^= 1;
        assert!(!is_whole(&altered) && !is_whole(&altered[..79]));
        assert!(read_headers(&[0, 1, 2]).is_none());
    }
}
