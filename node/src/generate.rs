//! Blocks of our own: a chain whose work costs nothing, with as much in it as is wanted.
//!
//! The same number gives the same blocks, byte for byte, on every machine.

use std::path::Path;
use std::str::FromStr;

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::serialize;
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::{
    Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Txid,
    Witness, script, transaction,
};

use crate::chain::{Chain, Taken};
use crate::rules::ChainName;
use crate::say::{Said, Tip, say};

/// Smallest block: its header and a coinbase.
pub(crate) const BLOCK_BYTES_MIN: usize = 250;

/// Largest block that is generated: what fits a block of Bitcoin without witnesses.
pub(crate) const BLOCK_BYTES_MAX: usize = 1_000_000;

/// Bytes of a generated transaction, but for the last of a block. Those of Bitcoin have 400 or so.
const TRANSACTION_BYTES: usize = 400;

/// Smallest generated transaction.
pub(crate) const TRANSACTION_BYTES_MIN: usize = 64;

/// Seconds from block to block.
const SPACING: u32 = 600;

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
    block.header.merkle_root = block.compute_merkle_root().expect("it has a coinbase");
    let target = block.header.target();
    while block.header.validate_pow(target).is_err() {
        block.header.nonce += 1;
    }
    block
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

/// `node generate`: continues the chain of a directory.
pub(crate) fn generate(dir: &Path, wanted: &Wanted, now: u64) -> Result<(), String> {
    let mut chain =
        Chain::open(dir, Some(ChainName::Regtest)).map_err(|error| error.to_string())?;
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
    let made = bitcoin::consensus::deserialize(&bytes).map_err(|error| error.to_string())?;
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
    }
}
