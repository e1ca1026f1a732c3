//! Blocks of our own: a chain whose work costs nothing, with as much in it as is wanted.
//!
//! The same number gives the same blocks, byte for byte, on every machine.

use std::path::Path;
use std::str::FromStr;

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::{encode, serialize};
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::{
    Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Txid,
    Witness, script, transaction,
};

use crate::chain::{Chain, Taken};
use crate::rules::ChainName;
use crate::say::{Said, Tip, say};
use crate::validate::AHEAD_SECONDS_MAX;

/// Smallest block: its header and a coinbase.
pub(crate) const BLOCK_BYTES_MIN: usize = 250;

/// Most blocks that are generated at once.
pub(crate) const GENERATE_MAX: u32 = 1_000_000;

/// Largest block that is generated: what fits a block of Bitcoin without witnesses.
pub(crate) const BLOCK_BYTES_MAX: usize = 1_000_000;

/// Bytes of a generated transaction, but for the last of a block. Those of Bitcoin have 400 or so.
const TRANSACTION_BYTES: usize = 400;

/// Smallest generated transaction.
pub(crate) const TRANSACTION_BYTES_MIN: usize = 64;

/// Seconds from block to block. Of Bitcoin's ten minutes, not a million would fit between genesis
/// and today.
const SPACING: u32 = 60;

/// What a script begins with that commits to the witnesses of a block (BIP 141).
const WITNESS_MARK: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// What is committed to beside the witnesses, of no meaning yet (BIP 141).
const WITNESS_RESERVED: [u8; 32] = [0; 32];

/// Blocks are made durable when so many bytes of them wait.
const BATCH_BYTES: usize = 8 << 20;

/// How many blocks `node generate` makes, of what size, and from which number.
pub(crate) struct Wanted {
    pub(crate) blocks: u32,
    pub(crate) block_bytes: usize,
    pub(crate) seed: u64,
}

/// Bytes that look random, and are the same for the same label and numbers.
struct Noise {
    seed: [u8; 32],
    counter: u64,
    left: Vec<u8>,
}

impl Noise {
    fn new(label: &str, numbers: [u64; 2]) -> Self {
        let mut seed = label.as_bytes().to_vec();
        numbers.iter().for_each(|number| seed.extend_from_slice(&number.to_le_bytes()));
        Self { seed: sha256::Hash::hash(&seed).to_byte_array(), counter: 0, left: Vec::new() }
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.left.len() < count {
            let block = [&self.seed[..], &self.counter.to_le_bytes()].concat();
            self.left.extend_from_slice(sha256::Hash::hash(&block).as_byte_array());
            self.counter += 1;
        }
        let rest = self.left.split_off(count);
        std::mem::replace(&mut self.left, rest)
    }
}

/// A transaction of about so many bytes, at least [`TRANSACTION_BYTES_MIN`], that spends an output
/// which is not there.
pub(crate) fn synthetic(number: u64, bytes: usize) -> Transaction {
    filler(&mut Noise::new("transaction", [number, 0]), bytes)
}

fn filler(noise: &mut Noise, bytes: usize) -> Transaction {
    let txid = noise.bytes(32);
    let mut made = Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint { txid: Txid::from_slice(&txid).expect("32 bytes"), vout: 0 },
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::from_sat(1_000), script_pubkey: ScriptBuf::new() }],
    };
    // A signature's place takes what is wanted; the length before it takes up to two bytes more.
    let rest = bytes.saturating_sub(made.total_size());
    let rest = rest.saturating_sub(if rest > 0xfc { 2 } else { 0 });
    made.input[0].script_sig = ScriptBuf::from_bytes(noise.bytes(rest));
    made
}

fn coinbase(height: u32, padding: Vec<u8>) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            // The height, as BIP 34 wants it, so that no two coinbases are alike.
            script_sig: script::Builder::new()
                .push_int(i64::from(height))
                .push_slice([0; 4])
                .into_script(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(padding) }],
    }
}

/// A valid block behind this one. Takes time as it takes work: none under the rules of regtest.
pub(crate) fn block_behind(
    parent: &Header,
    height: u32,
    transactions: impl IntoIterator<Item = Transaction>,
    padding: Vec<u8>,
) -> Block {
    let mut block = Block {
        header: Header {
            version: Version::TWO,
            prev_blockhash: parent.block_hash(),
            merkle_root: TxMerkleNode::all_zeros(),
            time: parent.time + SPACING,
            bits: parent.bits,
            nonce: 0,
        },
        txdata: std::iter::once(coinbase(height, padding)).chain(transactions).collect(),
    };
    commit_to_witnesses(&mut block);
    block.header.merkle_root = block.compute_merkle_root().expect("it has a coinbase");
    let target = block.header.target();
    while block.header.validate_pow(target).is_err() {
        block.header.nonce += 1;
    }
    block
}

/// Names the witnesses of a block in its coinbase, if there are any (BIP 141).
fn commit_to_witnesses(block: &mut Block) {
    let has_witness = |one: &Transaction| one.input.iter().any(|input| !input.witness.is_empty());
    if !block.txdata.iter().any(has_witness) {
        return;
    }
    let root = block.witness_root().expect("it has a coinbase");
    let commitment = Block::compute_witness_commitment(&root, &WITNESS_RESERVED);
    let script = [&WITNESS_MARK[..], commitment.as_byte_array()].concat();
    let coinbase = &mut block.txdata[0];
    coinbase.input[0].witness.push(WITNESS_RESERVED);
    coinbase
        .output
        .push(TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(script) });
}

/// The block of this height, of as many bytes as are wanted.
fn generated(parent: &Header, height: u32, wanted: &Wanted) -> Block {
    let mut noise = Noise::new("block", [wanted.seed, u64::from(height)]);
    let mut transactions = Vec::new();
    let mut left = wanted.block_bytes.saturating_sub(BLOCK_BYTES_MIN);
    while left >= TRANSACTION_BYTES + TRANSACTION_BYTES_MIN {
        let made = filler(&mut noise, TRANSACTION_BYTES);
        left -= made.total_size();
        transactions.push(made);
    }
    // The rest: a byte of padding is a byte of the block, but for the length before it, which may
    // cost a byte or two of it.
    let bare = bytes_without_padding(height, &transactions);
    let rest = wanted.block_bytes.saturating_sub(bare);
    let rest = rest.saturating_sub(if rest > 0xfc { 2 } else { 0 });
    block_behind(parent, height, transactions, noise.bytes(rest))
}

fn bytes_without_padding(height: u32, transactions: &[Transaction]) -> usize {
    let all: usize = transactions.iter().map(Transaction::total_size).sum();
    let count = if transactions.len() + 1 > 0xfc { 3 } else { 1 };
    crate::rules::HEADER_BYTES + count + coinbase(height, Vec::new()).total_size() + all
}

/// How many blocks fit between this one and the latest time that is valid.
fn room(tip: &Header, now: u64) -> u64 {
    let latest = now.saturating_add(AHEAD_SECONDS_MAX).min(u64::from(u32::MAX));
    latest.saturating_sub(u64::from(tip.time)) / u64::from(SPACING)
}

/// `node generate`: continues the chain of a directory.
pub(crate) fn generate(dir: &Path, wanted: &Wanted, now: u64) -> Result<(), String> {
    let mut chain =
        Chain::open(dir, Some(ChainName::Regtest)).map_err(|error| error.to_string())?;
    let tip = chain.tip();
    let room = room(&tip.header, now);
    if u64::from(wanted.blocks) > room {
        return Err(format!(
            "blocks are {SPACING} s apart, and none may be from the future: behind block {} there \
             is room for {room}, not for {}",
            tip.height, wanted.blocks
        ));
    }
    for _ in 0..wanted.blocks {
        let tip = chain.tip();
        let block = generated(&tip.header, tip.height + 1, wanted);
        match chain.add_block(&block, &serialize(&block), now) {
            Ok(Taken::Best(_)) => {}
            Ok(other) => return Err(format!("a generated block was {other:?}")),
            Err(fault) => return Err(format!("block {}: {fault}", tip.height + 1)),
        }
        if chain.uncommitted_bytes() >= BATCH_BYTES {
            chain.commit().map_err(|error| error.to_string())?;
        }
    }
    chain.commit().map_err(|error| error.to_string())?;
    say(&Said::Chain { chain: chain.name().name(), tip: Tip::from(&chain.tip()) });
    Ok(())
}

/// A transaction as hexadecimal digits.
pub(crate) fn transaction_of_hex(text: &str) -> Result<(Transaction, Vec<u8>), String> {
    let bytes = unhex(text).ok_or("hexadecimal digits are wanted")?;
    let made = bitcoin::consensus::deserialize(&bytes).map_err(|error| match error {
        // It says no more than that a read failed, and nothing but these bytes is read.
        encode::Error::Io(_) => format!("{} bytes end inside a transaction", bytes.len()),
        error => format!("no transaction: {error}"),
    })?;
    Ok((made, bytes))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let byte = |pair: &[u8; 2]| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
        u8::from_str_radix(pair, 16).ok()
    };
    pairs.iter().map(byte).collect()
}

/// Hexadecimal digits of some bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A size of blocks, for a flag.
pub(crate) fn block_bytes(text: &str) -> Result<usize, String> {
    let bytes = usize::from_str(text).map_err(|error| error.to_string())?;
    if (BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("{BLOCK_BYTES_MIN} to {BLOCK_BYTES_MAX} bytes"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use crate::validate::check_block;

    /// Blocks behind the genesis of this chain.
    pub(crate) fn chain_of(chain: ChainName, blocks: u32, block_bytes: usize) -> Vec<Block> {
        branch(&chain.genesis().header, 0, &Wanted { blocks, block_bytes, seed: 1 })
    }

    /// Blocks behind this header of this height.
    pub(crate) fn branch(parent: &Header, height: u32, wanted: &Wanted) -> Vec<Block> {
        let mut parent = *parent;
        (height + 1..=height + wanted.blocks)
            .map(|height| {
                let block = generated(&parent, height, wanted);
                parent = block.header;
                block
            })
            .collect()
    }

    /// A block with an honest header whose body can never be valid: it spends an output twice.
    pub(crate) fn condemned_block(parent: &Header, height: u32) -> Block {
        let (one, mut other) = (synthetic(1, 100), synthetic(2, 100));
        other.input[0].previous_output = one.input[0].previous_output;
        block_behind(parent, height, [one, other], Vec::new())
    }

    /// A transaction with a witness, of its own for each number.
    pub(crate) fn segwit(number: u64) -> Transaction {
        let mut made = synthetic(number, 100);
        made.input[0].script_sig = ScriptBuf::new();
        made.input[0].witness.push([7; 70]);
        made
    }

    #[test]
    fn a_block_commits_to_its_witnesses() {
        let genesis = ChainName::Regtest.genesis().header;
        for transactions in [vec![], vec![synthetic(1, 100)], vec![segwit(2), synthetic(1, 100)]] {
            let has_witness = transactions.len() == 2;
            let block = block_behind(&genesis, 1, transactions, Vec::new());
            assert_eq!(check_block(&block), Ok(()));
            assert_eq!(block.txdata[0].output.len(), if has_witness { 2 } else { 1 });
        }
        let alone = block_behind(&genesis, u32::MAX, [segwit(1)], Vec::new());
        let bytes = alone.total_size() - alone.txdata[1].total_size();
        assert!(bytes <= BLOCK_BYTES_MIN, "{bytes}");
    }

    #[test]
    fn as_many_blocks_as_may_be_wanted_fit_and_more_than_fit_are_refused_at_once() {
        let genesis = ChainName::Regtest.genesis().header;
        let wanted = |blocks| Wanted { blocks, block_bytes: 300, seed: 1 };
        // The day on which a million fitted, long ago.
        let day = u64::from(genesis.time) + 1_000_000 * u64::from(SPACING);
        assert!(room(&genesis, day) >= u64::from(GENERATE_MAX));
        assert!(day < 1_700_000_000);
        let soon = u64::from(genesis.time) + 5 * u64::from(SPACING) - AHEAD_SECONDS_MAX;
        let scratch = Scratch::new("generate-room");
        let told = generate(scratch.path(), &wanted(6), soon).unwrap_err();
        assert!(told.contains("room for 5, not for 6"), "{told}");
        assert_eq!(generate(scratch.path(), &wanted(5), soon), Ok(()));
        let told = generate(scratch.path(), &wanted(1), soon).unwrap_err();
        assert!(told.contains("behind block 5 there is room for 0"), "{told}");
    }

    #[test]
    fn a_block_has_the_size_that_was_wanted() {
        for bytes in [250, 251, 300, 499, 500, 502, 503, 504, 600, 714, 715, 900, 20_000, 99_999] {
            let blocks = chain_of(ChainName::Regtest, 2, bytes);
            for block in blocks {
                let size = block.total_size();
                assert!(bytes.abs_diff(size) <= 2, "{bytes} wanted, {size} made");
            }
        }
    }

    #[test]
    fn the_same_number_makes_the_same_chain_and_another_number_another() {
        let genesis = ChainName::Regtest.genesis().header;
        let make = |seed| branch(&genesis, 0, &Wanted { blocks: 3, block_bytes: 2_000, seed });
        assert_eq!(make(1), make(1));
        assert_ne!(make(1)[0], make(2)[0]);
    }

    #[test]
    fn digits_are_read_as_bytes() {
        let made = synthetic(7, 300);
        assert_eq!(serialize(&made).len(), 300);
        let text = hex(&serialize(&made));
        assert_eq!(transaction_of_hex(&text).map(|(made, _)| made), Ok(made));
        for wrong in ["", "0", "zz", "+1", &text[2..]] {
            assert!(transaction_of_hex(wrong).is_err(), "{wrong}");
        }
        let cut = transaction_of_hex(&text[..400]).unwrap_err();
        assert_eq!(cut, "200 bytes end inside a transaction");
    }
}
