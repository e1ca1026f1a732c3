//! Blocks from a file of Bitcoin Core: `blk*.dat`, as it is or packed with bzip2.
//!
//! Such a file has blocks one after the other, each behind the four bytes of its network and its
//! length, in the order in which they came: a block may stand before its parent. Zeros are room
//! that Core reserved. Files that Core has obscured (`xor.dat` beside them, since version 28) are
//! refused: their first bytes are no network's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use bitcoin::consensus::deserialize;
use bitcoin::{Block, BlockHash};
use bzip2::read::MultiBzDecoder;

use crate::backend::now;
use crate::chain::{Chain, Taken};
use crate::say::{Said, Tip, say};

/// Longest block: the most weight that one may have, all of it witnesses.
const BLOCK_BYTES_MAX: u32 = 4_000_000;

/// Blocks are made durable when so many bytes of them wait.
const BATCH_BYTES: usize = 8 << 20;

/// Bytes of blocks that wait for their parents. Core writes blocks out of order while it fetches a
/// window of 1,024.
const EARLY_BYTES_MAX: usize = 256 << 20;

/// A block that waits for its parent: its bytes.
type Early = BTreeMap<BlockHash, Vec<u8>>;

/// What was found.
#[derive(Default)]
struct Found {
    new: u64,
    known: u64,
    /// Blocks whose parent has not come yet, by that parent.
    early: Early,
    early_bytes: usize,
}

/// `node import`: takes all blocks of a file that continue the chain of a directory.
pub(crate) fn import(file: &Path, chain: &mut Chain) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", file.display());
    let opened = BufReader::with_capacity(1 << 20, File::open(file).map_err(failed)?);
    let is_packed = file.extension().is_some_and(|extension| extension == "bz2");
    let mut reader: Box<dyn Read> = if is_packed {
        Box::new(BufReader::new(MultiBzDecoder::new(opened)))
    } else {
        Box::new(opened)
    };
    let mut found = Found::default();
    let magic = chain.name().file_magic();
    while let Some(block) = next_block(&mut reader, magic).map_err(failed)? {
        found.take(block, chain)?;
        if chain.uncommitted_bytes() >= BATCH_BYTES {
            chain.commit().map_err(|error| error.to_string())?;
        }
    }
    chain.commit().map_err(|error| error.to_string())?;
    let unlinked = found.early.len() as u64;
    say(&Said::Imported {
        new: found.new,
        known: found.known,
        unlinked,
        tip: Tip::from(&chain.tip()),
    });
    if found.new + found.known == 0 && unlinked > 0 {
        return Err("no block of the file continues the chain: import an earlier file first".into());
    }
    Ok(())
}

/// The bytes of the next block; `None` at the end of the file.
fn next_block(reader: &mut impl Read, magic: [u8; 4]) -> io::Result<Option<Vec<u8>>> {
    let Some(head) = read_head(reader)? else { return Ok(None) };
    let (found, length) = head.split_first_chunk::<4>().expect("eight bytes");
    let length = length.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if *found != magic {
        return wrong("not a block file of this chain (see --chain), or one that Core obscured");
    }
    if length > BLOCK_BYTES_MAX {
        return wrong("a block of the file is longer than a block may be");
    }
    let mut block = vec![0; length as usize];
    reader.read_exact(&mut block)?;
    Ok(Some(block))
}

/// The next eight bytes that are not room reserved; `None` at the end of the file.
fn read_head(reader: &mut impl Read) -> io::Result<Option<[u8; 8]>> {
    let mut head = [0; 8];
    let mut filled = 0;
    while filled < head.len() {
        match reader.read(&mut head[filled..]) {
            Ok(0) if head[..filled].iter().all(|byte| *byte == 0) => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if filled == head.len() {
            let zeros = head.iter().take_while(|byte| **byte == 0).count();
            head.copy_within(zeros.., 0);
            filled -= zeros;
        }
    }
    Ok(Some(head))
}

impl Found {
    /// Takes a block, and all that waited for it.
    fn take(&mut self, bytes: Vec<u8>, chain: &mut Chain) -> Result<(), String> {
        let mut next = Some(bytes);
        while let Some(bytes) = next.take() {
            let block: Block = deserialize(&bytes)
                .map_err(|error| format!("a block of the file cannot be read: {error}"))?;
            let hash = block.block_hash();
            match chain.add_block(&block, &bytes, now()) {
                Ok(Taken::Best(_) | Taken::Side) => self.new += 1,
                Ok(Taken::Known) => self.known += 1,
                Ok(Taken::Unlinked | Taken::Waits) => {
                    self.early_bytes += bytes.len();
                    if self.early_bytes > EARLY_BYTES_MAX {
                        return Err("too many blocks of the file stand before their parents".into());
                    }
                    let before = self.early.insert(block.header.prev_blockhash, bytes);
                    self.early_bytes -= before.map_or(0, |before| before.len());
                }
                Ok(Taken::Final | Taken::Full) => {
                    return Err(format!("block {hash} leaves the chain where it is final"));
                }
                Err(fault) => return Err(format!("block {hash} is not valid: {fault}")),
            }
            if chain.has_block(&hash) {
                next = self.early.remove(&hash);
                self.early_bytes -= next.as_ref().map_or(0, Vec::len);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::serialize;

    use super::*;
    use crate::generate::tests::chain_of;
    use crate::rules::ChainName;
    use crate::scratch::Scratch;

    fn file_of(blocks: &[Block]) -> Vec<u8> {
        let mut file = Vec::new();
        for block in blocks {
            let bytes = serialize(block);
            file.extend_from_slice(&ChainName::Regtest.file_magic());
            file.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            file.extend_from_slice(&bytes);
        }
        file
    }

    fn imported(name: &str, file: &[u8]) -> (Result<(), String>, u32) {
        let scratch = Scratch::new(name);
        let path = scratch.path().join("blk00000.dat");
        std::fs::write(&path, file).unwrap();
        let mut chain = Chain::open(scratch.path(), Some(ChainName::Regtest)).unwrap();
        let done = import(&path, &mut chain);
        (done, chain.tip().height)
    }

    #[test]
    fn blocks_are_taken_in_any_order_and_past_reserved_room() {
        let mut blocks = chain_of(ChainName::Regtest, 6, 400);
        blocks.insert(0, ChainName::Regtest.genesis());
        assert_eq!(imported("import-order", &file_of(&blocks)), (Ok(()), 6));
        blocks.swap(2, 5);
        let mut file = file_of(&blocks);
        let middle = file_of(&blocks[..3]).len();
        file.splice(middle..middle, [0; 13]);
        file.extend_from_slice(&[0; 1_000]);
        assert_eq!(imported("import-disorder", &file), (Ok(()), 6));
    }

    #[test]
    fn a_file_that_ends_or_changes_in_the_middle_is_told_and_what_was_whole_is_kept() {
        let blocks = chain_of(ChainName::Regtest, 3, 400);
        let file = file_of(&blocks);
        let (done, height) = imported("import-cut", &file[..file.len() - 1]);
        assert!(done.is_err());
        assert_eq!(height, 2);
        let mut other = file.clone();
        other[0] ^= 1;
        assert!(imported("import-magic", &other).0.unwrap_err().contains("--chain"));
        let mut other = file.clone();
        other[7] = 0xff;
        assert!(imported("import-length", &other).0.unwrap_err().contains("longer"));
        let mut other = file;
        let last = other.len() - 10;
        other[last] ^= 1;
        assert!(imported("import-body", &other).0.unwrap_err().contains("not valid"));
        let (done, height) = imported("import-late", &file_of(&blocks[1..]));
        assert!(done.unwrap_err().contains("earlier file"));
        assert_eq!(height, 0);
    }
}
