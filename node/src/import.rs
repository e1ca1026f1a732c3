//! Blocks from a file of Bitcoin Core: `blk*.dat`, as it is or packed with bzip2.
//!
//! Such a file has blocks one after the other, each behind the four bytes of its network and its
//! length, in the order in which they came: a block may stand before its parent. Zeros are room
//! that Core reserved. Files that Core has obscured (`xor.dat` beside them, since version 28) are
//! refused: their first bytes are no network's. Invariant: what was taken before a fault is kept,
//! and the same file can be imported again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use bitcoin::consensus::{deserialize, encode};
use bitcoin::hashes::Hash as _;
use bitcoin::{Block, BlockHash};
use bzip2::read::MultiBzDecoder;

use crate::backend::now;
use crate::chain::{Chain, Taken};
use crate::rules::ChainName;
use crate::say::{Said, Tip, say};
use crate::store::StoreError;
use crate::validate::Fault;

/// Longest block: the most weight that one may have, all of it witnesses.
const BLOCK_BYTES_MAX: u32 = 4_000_000;

/// Blocks are made durable when so many bytes of them wait.
const BATCH_BYTES: usize = 8 << 20;

/// Bytes of blocks that wait for their parents. Core writes blocks out of order while it fetches a
/// window of 1,024.
const EARLY_BYTES_MAX: usize = 256 << 20;

/// Zeros in a row: Core reserves 16 MiB at a time, and no file of its has more than 128 MiB.
const ZEROS_MAX: u64 = 128 << 20;

/// Stale blocks that are remembered, to know what continues them: a node of Bitcoin that ran from
/// the first day on has some hundreds.
const STALE_MAX: usize = 65_536;

/// Why an import ended early. What came before is kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("{}: {error}", file.display())]
    Open { file: PathBuf, error: io::Error },
    #[error("{}: not a regular file: name a block file of Bitcoin Core", .0.display())]
    NotRegular(PathBuf),
    #[error("{}: at byte {offset}{}: {wrong}", file.display(), unpacked(*is_packed))]
    Content { file: PathBuf, is_packed: bool, offset: u64, wrong: Wrong },
    #[error("{}: no block continues the chain: import an earlier file first", .0.display())]
    Ahead(PathBuf),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is wrong with the content of a file, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("{0}: the file cannot be read on; what stands before is kept")]
    Read(io::Error),
    #[error(
        "no block of the {0} chain begins here: choose another with --chain; a file that Core \
         obscured (xor.dat stands beside it) must be written anew, with -blocksxor=0"
    )]
    Magic(&'static str),
    #[error(
        "neither a block nor reserved room follows: the file is damaged from here on; what stands \
         before is kept: get the file anew, and import it again"
    )]
    Damaged,
    #[error("a block of {0} bytes, longer than one may be: the file is damaged: get it anew")]
    Length(u32),
    #[error(
        "the file ends inside a block: it was cut, or is still being written; what stands before \
         is kept: import it again when it is whole"
    )]
    Cut,
    #[error("more than {ZEROS_MAX} zeros in a row: no block file has so many")]
    Zeros,
    #[error("a block that cannot be read ({0}): the file is damaged: get it anew")]
    Unreadable(encode::Error),
    #[error("block {hash} is not valid: {fault}{}", advice(*fault))]
    Invalid { hash: BlockHash, fault: Fault },
    #[error(
        "block {0} finds no room beside the best chain: first import a file that continues the \
         best chain, by which old branches become final"
    )]
    Full(BlockHash),
    #[error(
        "more than {EARLY_BYTES_MAX} bytes of blocks before their parents: import an earlier file \
         first"
    )]
    Early,
}

const fn unpacked(is_packed: bool) -> &'static str {
    if is_packed { " of what it holds unpacked" } else { "" }
}

const fn advice(fault: Fault) -> &'static str {
    match fault {
        Fault::Future => ": look whether this machine's clock is right, and import it again",
        _ => ": the file is damaged, or of another chain: get it anew",
    }
}

/// A block as it stands in the file.
struct Piece {
    /// Of its magic, from the beginning of the file.
    offset: u64,
    bytes: Vec<u8>,
}

/// A file that is being read.
struct Pieces<R> {
    reader: R,
    chain: ChainName,
    /// Bytes that were read.
    offset: u64,
}

/// Where something is wrong, and what.
type Misread = (u64, Wrong);

/// Why reading ended early.
enum Stop {
    Wrong(Misread),
    Store(StoreError),
}

/// What was found.
#[derive(Default)]
struct Found {
    new: u64,
    known: u64,
    /// Blocks that leave the chain where it is final, or continue one that does.
    stale: u64,
    /// Such blocks, at most [`STALE_MAX`].
    stale_hashes: BTreeSet<BlockHash>,
    /// Blocks whose parent has not come yet, by that parent, and with their own hash, for a parent
    /// may have many.
    early: BTreeMap<(BlockHash, BlockHash), Piece>,
    early_bytes: usize,
}

/// `node import`: takes all blocks of a file that continue the chain of a directory.
pub(crate) fn import(file: &Path, chain: &mut Chain) -> Result<(), ImportError> {
    let failed = |error| ImportError::Open { file: file.to_owned(), error };
    // Asked before it is opened: opening a pipe waits for whoever writes into it.
    if !std::fs::metadata(file).map_err(failed)?.is_file() {
        return Err(ImportError::NotRegular(file.to_owned()));
    }
    let opened = BufReader::with_capacity(1 << 20, File::open(file).map_err(failed)?);
    let is_packed = file.extension().is_some_and(|extension| extension == "bz2");
    let reader: Box<dyn Read> = if is_packed {
        Box::new(BufReader::new(MultiBzDecoder::new(opened)))
    } else {
        Box::new(opened)
    };
    let mut pieces = Pieces { reader, chain: chain.name(), offset: 0 };
    let mut found = Found::default();
    let done = match found.take_all(&mut pieces, chain) {
        Ok(()) => Ok(()),
        Err(Stop::Store(error)) => return Err(error.into()),
        Err(Stop::Wrong((offset, wrong))) => {
            Err(ImportError::Content { file: file.to_owned(), is_packed, offset, wrong })
        }
    };
    chain.commit()?;
    let Found { new, known, stale, .. } = found;
    let unlinked = found.early.len() as u64;
    say(&Said::Imported { new, known, stale, unlinked, tip: Tip::from(&chain.tip()) });
    done?;
    if new + known + stale == 0 && unlinked > 0 {
        return Err(ImportError::Ahead(file.to_owned()));
    }
    Ok(())
}

impl<R: Read> Pieces<R> {
    /// The next block; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<Piece>, Misread> {
        let Some((head, offset)) = self.head()? else { return Ok(None) };
        let (magic, length) = head.split_at(4);
        if magic != self.chain.file_magic() {
            let is_first = offset == 0;
            let wrong = if is_first { Wrong::Magic(self.chain.name()) } else { Wrong::Damaged };
            return Err((offset, wrong));
        }
        let length = length.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        if length > BLOCK_BYTES_MAX {
            return Err((offset, Wrong::Length(length)));
        }
        let mut bytes = vec![0; length as usize];
        self.reader.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => (offset, Wrong::Cut),
            _ => (offset, Wrong::Read(error)),
        })?;
        self.offset += u64::from(length);
        Ok(Some(Piece { offset, bytes }))
    }

    /// The next eight bytes that are not room reserved, and where they stand; `None` at the end of
    /// the file.
    fn head(&mut self) -> Result<Option<([u8; 8], u64)>, Misread> {
        let (mut head, mut filled) = ([0; 8], 0);
        let mut zeros = 0_u64;
        while filled < head.len() {
            let offset = self.offset - filled as u64;
            match self.reader.read(&mut head[filled..]) {
                Ok(0) if head[..filled].iter().all(|byte| *byte == 0) => return Ok(None),
                Ok(0) => return Err((offset, Wrong::Cut)),
                Ok(count) => (filled, self.offset) = (filled + count, self.offset + count as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((self.offset, Wrong::Read(error))),
            }
            if filled == head.len() {
                let leading = head.iter().take_while(|byte| **byte == 0).count();
                head.copy_within(leading.., 0);
                filled -= leading;
                zeros += leading as u64;
                if zeros > ZEROS_MAX {
                    return Err((self.offset - filled as u64 - zeros, Wrong::Zeros));
                }
            }
        }
        Ok(Some((head, self.offset - head.len() as u64)))
    }
}

impl Found {
    fn take_all<R: Read>(&mut self, pieces: &mut Pieces<R>, chain: &mut Chain) -> Result<(), Stop> {
        while let Some(piece) = pieces.next().map_err(Stop::Wrong)? {
            self.take(piece, chain).map_err(Stop::Wrong)?;
            if chain.uncommitted_bytes() >= BATCH_BYTES {
                chain.commit().map_err(Stop::Store)?;
            }
        }
        Ok(())
    }

    /// Takes a block, and all that waited for it.
    fn take(&mut self, piece: Piece, chain: &mut Chain) -> Result<(), Misread> {
        let mut next = vec![piece];
        while let Some(piece) = next.pop() {
            let offset = piece.offset;
            let block: Block =
                deserialize(&piece.bytes).map_err(|error| (offset, Wrong::Unreadable(error)))?;
            let (hash, parent) = (block.block_hash(), block.header.prev_blockhash);
            match chain.add_block(&block, &piece.bytes, now()) {
                Ok(Taken::Best(_) | Taken::Side) => self.new += 1,
                Ok(Taken::Known) => self.known += 1,
                Ok(Taken::Unlinked | Taken::Waits) if !self.stale_hashes.contains(&parent) => {
                    self.keep_early(parent, hash, piece)?;
                    continue;
                }
                Ok(Taken::Unlinked | Taken::Waits | Taken::Final) => {
                    self.stale += 1;
                    if self.stale_hashes.len() < STALE_MAX {
                        self.stale_hashes.insert(hash);
                    }
                }
                Ok(Taken::Full) => return Err((offset, Wrong::Full(hash))),
                Err(fault) => return Err((offset, Wrong::Invalid { hash, fault })),
            }
            self.give_children(&hash, &mut next);
        }
        Ok(())
    }

    fn keep_early(
        &mut self,
        parent: BlockHash,
        hash: BlockHash,
        piece: Piece,
    ) -> Result<(), Misread> {
        let offset = piece.offset;
        self.early_bytes += piece.bytes.len();
        if let Some(before) = self.early.insert((parent, hash), piece) {
            self.early_bytes -= before.bytes.len();
        }
        if self.early_bytes > EARLY_BYTES_MAX { Err((offset, Wrong::Early)) } else { Ok(()) }
    }

    /// All that waited for this block.
    fn give_children(&mut self, parent: &BlockHash, next: &mut Vec<Piece>) {
        let first = (*parent, BlockHash::all_zeros());
        while let Some((&key, _)) = self.early.range(first..).next()
            && key.0 == *parent
        {
            if let Some(piece) = self.early.remove(&key) {
                self.early_bytes -= piece.bytes.len();
                next.push(piece);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::serialize;

    use super::*;
    use bitcoin::block::Header;

    use crate::chain::{FINAL_DEPTH, SIDE_BLOCKS_MAX};
    use crate::generate::Wanted;
    use crate::generate::tests::{branch, chain_of};
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
        let done = imported_into(&scratch, file);
        (done, reopened(&scratch).tip().height)
    }

    /// Imports a file into the directory, and lets go of it.
    fn imported_into(scratch: &Scratch, file: &[u8]) -> Result<(), String> {
        let path = scratch.path().join("blk00000.dat");
        std::fs::write(&path, file).unwrap();
        import(&path, &mut reopened(scratch)).map_err(|error| error.to_string())
    }

    fn reopened(scratch: &Scratch) -> Chain {
        Chain::open(scratch.path(), Some(ChainName::Regtest)).unwrap()
    }

    fn rivals(parent: &Header, height: u32, blocks: u32) -> Vec<Block> {
        branch(parent, height, &Wanted { blocks, block_bytes: 400, seed: 2 })
    }

    #[test]
    fn a_file_with_a_stale_branch_can_be_imported_again() {
        let mut blocks = chain_of(ChainName::Regtest, FINAL_DEPTH + 20, 300);
        let stale = rivals(&blocks[3].header, 4, 2);
        blocks.splice(5..5, stale);
        let scratch = Scratch::new("import-stale");
        for time in 0..3 {
            assert_eq!(imported_into(&scratch, &file_of(&blocks)), Ok(()), "{time}");
        }
        assert_eq!(reopened(&scratch).tip().height, FINAL_DEPTH + 20);
    }

    #[test]
    fn two_children_that_stand_before_their_parent_are_both_taken() {
        let blocks = chain_of(ChainName::Regtest, 8, 400);
        let rivals = rivals(&blocks[3].header, 4, 2);
        let order = [&blocks[..3], &blocks[4..5], &rivals, &blocks[3..4], &blocks[5..]].concat();
        for (name, order) in [("one", order.clone()), ("other", order.into_iter().rev().collect())]
        {
            let scratch = Scratch::new(&format!("import-siblings-{name}"));
            assert_eq!(imported_into(&scratch, &file_of(&order)), Ok(()));
            let chain = reopened(&scratch);
            assert_eq!(chain.tip_hash(), blocks[7].block_hash());
            assert!(rivals.iter().all(|rival| chain.has_block(&rival.block_hash())), "{name}");
        }
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
        let third = file_of(&blocks[..2]).len();
        let changed = |place: usize, byte: u8| {
            let mut file = file.clone();
            file[place] = byte;
            file
        };
        let last = file.len() - 10;
        for (name, file, height, expected) in [
            ("cut", file[..file.len() - 1].to_vec(), 2, "the file ends inside a block"),
            ("cut-head", file[..third + 5].to_vec(), 2, "the file ends inside a block"),
            ("damaged", changed(third, 7), 2, "neither a block nor reserved room"),
            ("length", changed(third + 7, 0xff), 2, "longer than one may be"),
            ("body", changed(last, file[last] ^ 1), 2, "its merkle root is not that"),
            ("empty", [&file[..third + 4], &[0; 4]].concat(), 2, "cannot be read"),
        ] {
            let (done, found) = imported(&format!("import-{name}"), &file);
            let told = done.unwrap_err();
            let place = format!("blk00000.dat: at byte {third}: ");
            assert!(told.contains(&place) && told.contains(expected), "{name}: {told}");
            assert_eq!(found, height, "{name}");
        }
        let (done, height) = imported("import-magic", &changed(0, 7));
        let told = done.unwrap_err();
        assert!(told.contains("at byte 0: ") && told.contains("--chain"), "{told}");
        assert_eq!(height, 0);
        let (done, height) = imported("import-late", &file_of(&blocks[1..]));
        assert!(done.unwrap_err().contains("earlier file"));
        assert_eq!(height, 0);
    }

    #[test]
    fn what_never_ends_is_no_block_file() {
        let scratch = Scratch::new("import-device");
        let mut chain = reopened(&scratch);
        let told = import(Path::new("/dev/zero"), &mut chain).unwrap_err();
        assert!(matches!(told, ImportError::NotRegular(_)), "{told}");
        let told = import(scratch.path(), &mut chain).unwrap_err();
        assert!(matches!(told, ImportError::NotRegular(_)), "{told}");
        let read = |zeros: u64, after: &'static [u8]| {
            let reader = BufReader::new(io::repeat(0).take(zeros).chain(after));
            let mut pieces = Pieces { reader, chain: ChainName::Regtest, offset: 0 };
            pieces.next().map(|piece| piece.is_some())
        };
        assert!(matches!(read(ZEROS_MAX, &[]), Ok(false)));
        assert!(matches!(read(u64::MAX, &[]), Err((0, Wrong::Zeros))));
        assert!(matches!(read(13, b"no block"), Err((13, Wrong::Damaged))));
    }

    #[test]
    fn a_block_without_room_beside_the_chain_is_told_apart() {
        let rivals = (10..).map(|seed| {
            let wanted = Wanted { blocks: 1, block_bytes: 260, seed };
            branch(&ChainName::Regtest.genesis().header, 0, &wanted).remove(0)
        });
        let mut blocks = chain_of(ChainName::Regtest, 2, 260);
        blocks.extend(rivals.take(SIDE_BLOCKS_MAX + 1));
        let told = imported("import-full", &file_of(&blocks)).0.unwrap_err();
        assert!(told.contains("finds no room beside the best chain"), "{told}");
    }
}
