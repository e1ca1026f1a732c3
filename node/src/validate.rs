//! What makes a header, a block or a transaction valid, as far as this node checks it.
//!
//! Checked: proof of work against the target that the chain demands, linkage, time, merkle root and
//! witness commitment, the form of transactions, and that a block spends no output twice. Not
//! checked: scripts and signatures, whether the outputs that are spent exist, and so fees and
//! subsidies: for that a node needs all unspent outputs and an interpreter, which have no part in
//! showing an engine.

use std::collections::BTreeSet;

use bitcoin::block::Header;
use bitcoin::consensus::Params;
use bitcoin::{Amount, Block, CompactTarget, Target, Transaction, Weight};

/// Blocks whose median time a block must be younger than.
pub(crate) const MEDIAN_BLOCKS: usize = 11;

/// How far the clock of a miner may be ahead of ours, in seconds: two hours, as Bitcoin Core.
pub(crate) const AHEAD_SECONDS_MAX: u64 = 2 * 60 * 60;

/// Largest transaction that is taken alone: what Bitcoin Core relays, 400,000 units of weight.
pub(crate) const TRANSACTION_WEIGHT_MAX: Weight = Weight::from_wu(400_000);

/// Bytes of two hashes in a merkle tree.
const PAIR_BYTES: usize = 64;

/// Why something can never be valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it cannot be read")]
    Unreadable,
    #[error("its target is not the one that the chain demands")]
    Target,
    #[error("its hash is above its target")]
    Work,
    #[error("it is older than the blocks before it")]
    Old,
    #[error("it is from the future")]
    Future,
    #[error("its merkle root is not that of its transactions")]
    MerkleRoot,
    #[error("its witness commitment is not that of its witnesses")]
    Witness,
    #[error("its first transaction, and no other, must be the coinbase")]
    Coinbase,
    #[error("it is heavier than a block may be")]
    Weight,
    #[error("a transaction has no inputs or no outputs")]
    Empty,
    #[error("a transaction makes more coins than there are")]
    Amount,
    #[error("an output is spent twice")]
    SpentTwice,
    #[error("its merkle root may be that of another body")]
    Ambiguous,
    #[error("its block, or one before it, was found not valid")]
    Condemned,
}

impl Fault {
    /// Whether another may be honest who sends the same: a clock may be wrong, and a header that is
    /// too young today is not tomorrow.
    pub(crate) const fn is_proof(self) -> bool {
        !matches!(self, Self::Future)
    }

    /// Whether it condemns the header of the block that has it: no other body of that header can
    /// be valid. What the header does not commit to, or not alone, is the fault of who sent it.
    pub(crate) const fn condemns(self) -> bool {
        match self {
            Self::Coinbase | Self::Weight | Self::Empty | Self::Amount | Self::SpentTwice => true,
            Self::Unreadable
            | Self::Target
            | Self::Work
            | Self::Old
            | Self::Future
            | Self::MerkleRoot
            | Self::Witness
            | Self::Ambiguous
            | Self::Condemned => false,
        }
    }
}

/// A header against the chain that it continues: `ancestor` gives the header so many places before
/// it, 1 being its parent, and `height` is its own.
pub(crate) fn check_header(
    header: &Header,
    height: u32,
    ancestor: impl Fn(u32) -> Option<Header>,
    now: u64,
    params: &Params,
) -> Result<(), Fault> {
    let parent = ancestor(1).ok_or(Fault::Unreadable)?;
    if header.bits != demanded(height, &parent, &ancestor, params) {
        return Err(Fault::Target);
    }
    let target = Target::from_compact(header.bits);
    if target > params.max_attainable_target || header.validate_pow(target).is_err() {
        return Err(Fault::Work);
    }
    let mut times: Vec<_> = (1..=MEDIAN_BLOCKS as u32).map_while(&ancestor).collect();
    times.sort_unstable_by_key(|header| header.time);
    if times.get(times.len() / 2).is_some_and(|median| header.time <= median.time) {
        return Err(Fault::Old);
    }
    if u64::from(header.time) > now.saturating_add(AHEAD_SECONDS_MAX) {
        return Err(Fault::Future);
    }
    Ok(())
}

/// The target of a block of this height: its parent's, and a new one every 2,016 blocks.
fn demanded(
    height: u32,
    parent: &Header,
    ancestor: &impl Fn(u32) -> Option<Header>,
    params: &Params,
) -> CompactTarget {
    let period = params.difficulty_adjustment_interval() as u32;
    if !height.is_multiple_of(period) {
        return parent.bits;
    }
    let Some(first) = ancestor(period) else { return parent.bits };
    let took = parent.time.saturating_sub(first.time);
    CompactTarget::from_next_work_required(parent.bits, u64::from(took), params)
}

/// The body of a block whose header is valid.
pub(crate) fn check_block(block: &Block) -> Result<(), Fault> {
    // First whether the header means this body, for the rest condemns the header.
    if !block.check_merkle_root() {
        return Err(Fault::MerkleRoot);
    }
    match check_body(block) {
        Err(fault) if fault.condemns() && is_ambiguous(block) => Err(Fault::Ambiguous),
        checked => checked,
    }
}

/// Whether another body may have the same merkle root: a row of transactions that is repeated at
/// the end does not change it (CVE-2012-2459), and two hashes together may pass for a transaction.
fn is_ambiguous(block: &Block) -> bool {
    let txids: BTreeSet<_> = block.txdata.iter().map(Transaction::compute_txid).collect();
    let is_pair = |transaction: &Transaction| transaction.base_size() == PAIR_BYTES;
    txids.len() < block.txdata.len() || block.txdata.iter().any(is_pair)
}

fn check_body(block: &Block) -> Result<(), Fault> {
    let is_coinbase = block.txdata.iter().map(Transaction::is_coinbase);
    if !is_coinbase.enumerate().all(|(place, coinbase)| coinbase == (place == 0)) {
        return Err(Fault::Coinbase);
    }
    // Before the weight, which nobody who adds to the witnesses may change.
    if !block.check_witness_commitment() {
        return Err(Fault::Witness);
    }
    if block.weight() > Weight::MAX_BLOCK {
        return Err(Fault::Weight);
    }
    let mut spent = BTreeSet::new();
    for transaction in &block.txdata {
        check_form(transaction)?;
        if !transaction.input.iter().all(|input| spent.insert(input.previous_output)) {
            return Err(Fault::SpentTwice);
        }
    }
    Ok(())
}

/// A transaction that comes alone.
pub(crate) fn check_transaction(transaction: &Transaction) -> Result<(), Fault> {
    if transaction.is_coinbase() {
        return Err(Fault::Coinbase);
    }
    check_form(transaction)?;
    let mut spent = BTreeSet::new();
    if transaction.input.iter().all(|input| spent.insert(input.previous_output)) {
        Ok(())
    } else {
        Err(Fault::SpentTwice)
    }
}

fn check_form(transaction: &Transaction) -> Result<(), Fault> {
    if transaction.input.is_empty() || transaction.output.is_empty() {
        return Err(Fault::Empty);
    }
    let all = transaction.output.iter().try_fold(Amount::ZERO, |all, output| {
        all.checked_add(output.value).filter(|all| *all <= Amount::MAX_MONEY)
    });
    all.map(drop).ok_or(Fault::Amount)
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::deserialize;
    use bitcoin::hashes::Hash as _;

    use super::*;
    use crate::generate::synthetic;
    use crate::generate::tests::chain_of;
    use crate::rules::ChainName;

    fn real_block() -> Block {
        deserialize(bitcoin_test_data::blocks::mainnet_702861()).unwrap()
    }

    const NOW: u64 = 2_000_000_000;

    #[test]
    fn a_real_block_is_valid_and_no_part_of_it_can_be_changed() {
        let block = real_block();
        assert_eq!(check_block(&block), Ok(()));
        let mut other = block.clone();
        other.txdata.pop();
        assert_eq!(check_block(&other), Err(Fault::MerkleRoot));
        let mut other = block.clone();
        other.txdata[1].input[0].witness.push([7]);
        assert_eq!(check_block(&other), Err(Fault::Witness));
        let mut other = block.clone();
        other.txdata.swap(0, 1);
        assert_eq!(check_block(&other), Err(Fault::MerkleRoot));
        other.header.merkle_root = other.compute_merkle_root().unwrap();
        assert_eq!(check_block(&other), Err(Fault::Coinbase));
        let mut other = block;
        other.txdata.clear();
        assert_eq!(check_block(&other), Err(Fault::MerkleRoot));
    }

    #[test]
    fn a_fault_condemns_a_header_only_if_no_other_body_can_be_its() {
        let chain = ChainName::Regtest;
        let block = chain_of(chain, 1, 1_200).remove(0);
        assert_eq!((block.txdata.len(), check_block(&block)), (3, Ok(())));
        // Three transactions have the merkle root of four of which the last two are the same.
        let mut repeated = block.clone();
        repeated.txdata.push(block.txdata[2].clone());
        assert!(repeated.check_merkle_root());
        assert_eq!(check_block(&repeated), Err(Fault::Ambiguous));
        assert!(!Fault::Ambiguous.condemns());
        // Two hashes, read as a transaction.
        let mut pair = block.clone();
        pair.txdata = vec![synthetic(1, 64)];
        pair.header.merkle_root = pair.compute_merkle_root().unwrap();
        assert_eq!(pair.txdata[0].base_size(), PAIR_BYTES);
        assert_eq!(check_block(&pair), Err(Fault::Ambiguous));
        // The miner's own fault.
        let mut twice = block.clone();
        twice.txdata[2].input[0].previous_output = twice.txdata[1].input[0].previous_output;
        assert_eq!(check_block(&twice), Err(Fault::MerkleRoot));
        assert!(!Fault::MerkleRoot.condemns());
        twice.header.merkle_root = twice.compute_merkle_root().unwrap();
        assert_eq!(check_block(&twice), Err(Fault::SpentTwice));
        assert!(Fault::SpentTwice.condemns());
    }

    #[test]
    fn transactions_of_a_real_block_are_valid_and_its_coinbase_alone_is_not() {
        let block = real_block();
        assert_eq!(check_transaction(&block.txdata[0]), Err(Fault::Coinbase));
        assert!(block.txdata[1..].iter().all(|one| check_transaction(one).is_ok()));
        let mut twice = block.txdata[1].clone();
        twice.input.push(twice.input[0].clone());
        assert_eq!(check_transaction(&twice), Err(Fault::SpentTwice));
        let mut rich = block.txdata[1].clone();
        rich.output[0].value = Amount::MAX_MONEY;
        rich.output.push(rich.output[0].clone());
        assert_eq!(check_transaction(&rich), Err(Fault::Amount));
        rich.output.clear();
        assert_eq!(check_transaction(&rich), Err(Fault::Empty));
    }

    #[test]
    fn a_header_must_continue_its_chain() {
        let chain = ChainName::Regtest;
        let blocks = chain_of(chain, 12, 500);
        let headers: Vec<_> =
            [chain.genesis()].iter().chain(&blocks).map(|block| block.header).collect();
        let check = |header: &Header, now| {
            let ancestor = |back: u32| headers.get(12 - back as usize).copied();
            check_header(header, 12, ancestor, now, chain.params())
        };
        let last = headers[12];
        assert_eq!(check(&last, NOW), Ok(()));
        assert_eq!(check(&last, 0), Err(Fault::Future));
        let easier = CompactTarget::from_consensus(0x207f_fffe);
        assert_eq!(check(&Header { bits: easier, ..last }, NOW), Err(Fault::Target));
        let idle = (0..).map(|nonce| Header { nonce, ..last });
        let idle = idle.into_iter().find(|header| header.validate_pow(header.target()).is_err());
        assert_eq!(check(&idle.unwrap(), NOW), Err(Fault::Work));
        let old = (0..).map(|nonce| Header { nonce, time: headers[6].time, ..last });
        let old = old.into_iter().find(|header| header.validate_pow(header.target()).is_ok());
        assert_eq!(check(&old.unwrap(), NOW), Err(Fault::Old));
    }

    #[test]
    fn the_first_new_target_of_bitcoin_is_computed() {
        // Blocks 32,255 and 30,240, of the first period in which the target changed.
        let header = |time, bits| Header {
            version: bitcoin::block::Version::ONE,
            prev_blockhash: bitcoin::BlockHash::all_zeros(),
            merkle_root: bitcoin::TxMerkleNode::all_zeros(),
            time,
            bits: CompactTarget::from_consensus(bits),
            nonce: 0,
        };
        let (parent, first) =
            (header(1_262_152_739, 0x1d00_ffff), header(1_261_130_161, 0x1d00_ffff));
        let ancestor = |back| Some(if back == 2_016 { first } else { parent });
        let params = ChainName::Bitcoin.params();
        let bits = demanded(32_256, &parent, &ancestor, params);
        assert_eq!(bits.to_consensus(), 0x1d00_d86a);
        assert_eq!(demanded(32_255, &parent, &ancestor, params), parent.bits);
    }
}
