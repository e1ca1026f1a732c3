//! What is published: transactions and blocks laid out as grin's, from a number.
//!
//! Their proofs and signatures are noise, which compresses as badly as the real ones; order and
//! counts are those that a reader checks.

use molva::{Hash, Kind, Network, Payload};

use crate::noise::Noise;

/// Bytes of a packed proof of work: 42 nonces of 32 bits.
const PROOF_BYTES: usize = 168;

/// Bytes of a header before its proof.
const HEADER_FIELD_BYTES: usize = 246;

/// Bytes of a range proof.
const RANGE_PROOF_BYTES: usize = 675;

/// One thing that is published once.
pub(super) struct Item {
    pub(super) id: Hash,
    pub(super) payload: Payload,
    /// Who publishes it.
    pub(super) origin: usize,
}

/// How much is published.
#[derive(Clone, Copy)]
pub(super) struct Amount {
    pub(super) transactions: u32,
    pub(super) blocks: u32,
    /// Outputs of a block; a transaction has two.
    pub(super) outputs: u32,
    pub(super) engines: usize,
    pub(super) seed: u64,
}

/// All items, blocks spread evenly among the transactions.
pub(super) fn items(network: &Network, amount: &Amount) -> Vec<Item> {
    let mut noise = Noise(amount.seed);
    let all = amount.transactions + amount.blocks;
    let is_block = |index: u32| {
        let share = |count: u32| u64::from(count) * u64::from(amount.blocks) / u64::from(all);
        share(index + 1) > share(index)
    };
    let item = |index| {
        let (kind, body) = if is_block(index) {
            (Kind::Block, block(amount.outputs, &mut noise))
        } else {
            (Kind::Transaction, transaction(&mut noise))
        };
        let payload = Payload::seal(network, kind, &body).expect("the flags bound the size");
        let origin = noise.next() as usize % amount.engines;
        Item { id: payload.id(), payload, origin }
    };
    (0..all).map(item).collect()
}

/// A commitment: 33 bytes of which the first is 8 or 9.
fn commitment(noise: &mut Noise) -> Vec<u8> {
    let mut bytes = noise.bytes(33);
    bytes[0] = 8 | bytes[0] & 1;
    bytes
}

fn transaction(noise: &mut Noise) -> Vec<u8> {
    let mut out = noise.bytes(32);
    body(2, 1, noise, &mut out);
    out
}

fn block(outputs: u32, noise: &mut Noise) -> Vec<u8> {
    let mut out = noise.bytes(HEADER_FIELD_BYTES);
    out.push(32);
    out.extend(noise.bytes(PROOF_BYTES));
    body(outputs, outputs.div_ceil(2), noise, &mut out);
    out
}

/// Counts, then outputs and kernels, each list in the order of its hashes.
fn body(outputs: u32, kernels: u32, noise: &mut Noise, out: &mut Vec<u8>) {
    for count in [0, outputs, kernels] {
        out.extend(u64::from(count).to_be_bytes());
    }
    let mut list: Vec<Vec<u8>> = (0..outputs)
        .map(|_| {
            let mut output = vec![0];
            output.extend(commitment(noise));
            output
        })
        .collect();
    list.sort_by_key(|identifier| Hash::of(identifier));
    for identifier in list {
        out.extend(identifier);
        out.extend((RANGE_PROOF_BYTES as u64).to_be_bytes());
        out.extend(noise.bytes(RANGE_PROOF_BYTES));
    }
    let mut list: Vec<(Hash, Vec<u8>)> = (0..kernels).map(|_| kernel(noise)).collect();
    list.sort_by_key(|(hash, _)| *hash);
    list.into_iter().for_each(|(_, kernel)| out.extend(kernel));
}

/// A plain kernel, and the hash by which it is sorted: that of its form with eight zeros more.
fn kernel(noise: &mut Noise) -> (Hash, Vec<u8>) {
    let fee = (noise.next() & 0xff_ffff).to_be_bytes();
    let rest = [commitment(noise), noise.bytes(64)].concat();
    let hash = Hash::of(&[&[0], &fee[..], &[0; 8], &rest].concat());
    (hash, [&[0], &fee[..], &rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_one_that_a_grin_peer_takes() {
        let amount = Amount { transactions: 20, blocks: 2, outputs: 30, engines: 5, seed: 1 };
        let network = Network::GRIN_MAIN;
        let items = items(&network, &amount);
        for item in &items {
            let (kind, body) = (item.payload.kind(), item.payload.body());
            assert_eq!(codec::check(kind, body, 1_000, &network), Ok(()), "{kind:?}");
            assert!(item.origin < 5);
        }
        let blocks = items.iter().filter(|item| item.payload.kind() == Kind::Block).count();
        assert_eq!((items.len(), blocks), (22, 2));
        let ids: std::collections::BTreeSet<_> = items.iter().map(|item| item.id).collect();
        assert_eq!(ids.len(), items.len());
    }
}
