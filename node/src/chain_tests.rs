//! Tests of the tree, the best chain and what is final.

use bitcoin::hashes::Hash as _;

use super::*;
use crate::generate::Wanted;
use crate::generate::tests::{branch, chain_of, condemned_block};
use crate::scratch::Scratch;

const NOW: u64 = 2_000_000_000;

fn open(scratch: &Scratch) -> Chain {
    Chain::open(scratch.path(), Some(ChainName::Regtest)).unwrap()
}

fn add(chain: &mut Chain, block: &Block) -> Taken {
    chain.add_block(block, &serialize(block), NOW).unwrap()
}

fn other_branch(parent: &Header, height: u32, blocks: u32) -> Vec<Block> {
    branch(parent, height, &Wanted { blocks, block_bytes: 300, seed: 2 })
}

#[test]
fn blocks_become_the_best_chain_and_are_there_after_a_restart() {
    let scratch = Scratch::new("chain-restart");
    let blocks = chain_of(ChainName::Regtest, 20, 300);
    let mut chain = open(&scratch);
    for block in &blocks {
        let connected = vec![block.block_hash()];
        let change = Change { disconnected: Vec::new(), connected };
        assert_eq!(add(&mut chain, block), Taken::Best(change));
        assert_eq!(add(&mut chain, block), Taken::Known);
    }
    chain.commit().unwrap();
    let (tip, told) = (chain.tip_hash(), chain.chain_tip());
    assert_eq!(told, ChainTip { height: 20, total_difficulty: 42 }, "each block is two hashes");
    drop(chain);
    let chain = open(&scratch);
    assert_eq!((chain.tip_hash(), chain.chain_tip()), (tip, told));
    assert_eq!(tip, blocks[19].block_hash());
    for block in &blocks {
        let bytes = chain.block(&block.block_hash()).unwrap();
        assert_eq!(bytes, Some(serialize(block).into()));
    }
    let genesis = ChainName::Regtest.genesis();
    assert_eq!(chain.block(&genesis.block_hash()).unwrap(), Some(serialize(&genesis).into()));
}

#[test]
fn what_was_not_committed_is_gone_and_the_rest_is_whole() {
    let scratch = Scratch::new("chain-uncommitted");
    let blocks = chain_of(ChainName::Regtest, 3, 300);
    let mut chain = open(&scratch);
    add(&mut chain, &blocks[0]);
    chain.commit().unwrap();
    add(&mut chain, &blocks[1]);
    drop(chain);
    let mut chain = open(&scratch);
    assert_eq!(chain.tip().height, 1);
    assert!(matches!(add(&mut chain, &blocks[1]), Taken::Best(_)));
}

#[test]
fn a_longer_branch_wins_and_the_first_of_two_equal_ones_stays() {
    let scratch = Scratch::new("chain-branch");
    let blocks = chain_of(ChainName::Regtest, 5, 300);
    let mut chain = open(&scratch);
    blocks.iter().for_each(|block| drop(add(&mut chain, block)));
    let rivals = other_branch(&blocks[1].header, 2, 4);
    for rival in &rivals[..3] {
        assert_eq!(add(&mut chain, rival), Taken::Side);
    }
    chain.commit().unwrap();
    drop(chain);
    // The branch is known after a restart.
    let mut chain = open(&scratch);
    assert_eq!(chain.tip_hash(), blocks[4].block_hash());
    let hashes = |blocks: &[Block]| blocks.iter().map(Block::block_hash).collect::<Vec<_>>();
    let mut disconnected = hashes(&blocks[2..]);
    disconnected.reverse();
    let change = Change { disconnected, connected: hashes(&rivals) };
    assert_eq!(add(&mut chain, &rivals[3]), Taken::Best(change));
    chain.commit().unwrap();
    drop(chain);
    let chain = open(&scratch);
    assert_eq!(chain.tip_hash(), rivals[3].block_hash());
    assert_eq!(chain.best_from(&blocks[0].block_hash()).len(), 6);
    assert_eq!(chain.best_from(&blocks[2].block_hash()).len(), 0);
    let beside = chain.block(&blocks[3].block_hash()).unwrap();
    assert_eq!(beside, Some(serialize(&blocks[3]).into()), "the loser is kept for a while");
}

#[test]
fn what_is_deep_is_final() {
    let scratch = Scratch::new("chain-final");
    let length = FINAL_DEPTH + 10;
    let blocks = chain_of(ChainName::Regtest, length, 300);
    let mut chain = open(&scratch);
    let early = other_branch(&blocks[5].header, 6, 3);
    for block in &blocks[..10] {
        add(&mut chain, block);
    }
    early.iter().for_each(|block| assert_eq!(add(&mut chain, block), Taken::Side));
    let bare = other_branch(&blocks[7].header, 8, FINAL_DEPTH);
    for block in &bare {
        assert_eq!(chain.add_header(&block.header, NOW), Ok(Added::New));
    }
    blocks[10..].iter().for_each(|block| drop(add(&mut chain, block)));
    assert_eq!(chain.tip().height, length, "the bare headers had more work, and no blocks");
    assert!(chain.node(&early[0].block_hash()).is_none(), "forgotten");
    assert_eq!((chain.others.len(), chain.bare()), (0, 0), "with all that continued them");
    assert_eq!(chain.nodes.len(), chain.best.len());
    assert_eq!(chain.hashes.len(), chain.best.len());
    assert_eq!(chain.add_header(&early[0].header, NOW), Ok(Added::Final));
    assert_eq!(add(&mut chain, &bare[0]), Taken::Final);
    // The last that is not: as deep as a branch may go.
    let deepest = other_branch(&blocks[9].header, 10, 1);
    assert_eq!(chain.add_header(&deepest[0].header, NOW), Ok(Added::New));
}

#[test]
fn headers_come_first_and_their_blocks_in_order() {
    let scratch = Scratch::new("chain-headers");
    let blocks = chain_of(ChainName::Regtest, 30, 300);
    let mut chain = open(&scratch);
    assert_eq!(chain.add_header(&blocks[1].header, NOW), Ok(Added::Unlinked));
    for block in &blocks {
        assert_eq!(chain.add_header(&block.header, NOW), Ok(Added::New));
        assert_eq!(chain.add_header(&block.header, NOW), Ok(Added::Known));
    }
    let hashes: Vec<_> = blocks.iter().map(Block::block_hash).collect();
    assert_eq!(chain.missing(), hashes);
    assert_eq!((chain.bare(), chain.tip().height), (30, 0));
    assert_eq!(add(&mut chain, &blocks[4]), Taken::Waits);
    for (place, block) in blocks[..10].iter().enumerate() {
        assert!(matches!(add(&mut chain, block), Taken::Best(_)));
        assert_eq!(chain.missing(), hashes[place + 1..]);
    }
    chain.forget_bare();
    assert_eq!((chain.bare(), chain.missing().len(), chain.tip().height), (0, 0, 10));
    assert!(matches!(add(&mut chain, &blocks[10]), Taken::Best(_)));
}

#[test]
fn a_header_whose_block_is_not_valid_is_not_followed_again() {
    let scratch = Scratch::new("chain-condemned");
    let blocks = chain_of(ChainName::Regtest, 4, 300);
    let mut chain = open(&scratch);
    add(&mut chain, &blocks[0]);
    add(&mut chain, &blocks[1]);
    let rival = other_branch(&blocks[0].header, 1, 3);
    for block in &rival {
        assert_eq!(chain.add_header(&block.header, NOW), Ok(Added::New));
    }
    // Another body for a header condemns nobody but its sender.
    let mut mutated = blocks[2].clone();
    mutated.txdata[0].output[0].value = bitcoin::Amount::from_sat(7);
    let take = |chain: &mut Chain, block: &Block| chain.add_block(block, &serialize(block), NOW);
    assert_eq!(take(&mut chain, &mutated), Err(Fault::MerkleRoot));
    assert!(matches!(take(&mut chain, &blocks[2]), Ok(Taken::Best(_))));
    // A body that its header means does, and all that continues it.
    let twice = condemned_block(&blocks[2].header, 3);
    let behind = branch(&twice.header, 4, &Wanted { blocks: 3, block_bytes: 300, seed: 9 });
    assert_eq!(chain.add_header(&twice.header, NOW), Ok(Added::New));
    for block in &behind {
        assert_eq!(chain.add_header(&block.header, NOW), Ok(Added::New));
    }
    let (bare, forgotten) = (chain.bare(), chain.forgotten());
    let id = chain.node(&twice.block_hash()).unwrap().id;
    assert_eq!(take(&mut chain, &twice), Err(Fault::SpentTwice));
    assert_eq!((chain.bare(), chain.forgotten()), (bare - 4, forgotten + 4));
    assert!(chain.is_condemned(&id));
    assert_eq!(chain.add_header(&twice.header, NOW), Err(Fault::Condemned));
    assert_eq!(take(&mut chain, &twice), Err(Fault::Condemned));
    assert_eq!(chain.add_header(&behind[0].header, NOW), Err(Fault::Condemned));
    assert_eq!(chain.add_header(&behind[1].header, NOW), Ok(Added::Unlinked));
    let rivals: Vec<_> = rival.iter().map(Block::block_hash).collect();
    assert_eq!(chain.missing(), rivals, "the next branch of more work");
    for number in 0..CONDEMNED_MAX as u32 {
        chain.condemned.insert(BlockHash::hash(&number.to_le_bytes()), id);
    }
    assert_eq!(chain.condemned.by_age.len(), CONDEMNED_MAX);
    assert_eq!(chain.add_header(&twice.header, NOW), Ok(Added::New), "the eldest went");
}

#[test]
fn a_locator_finds_what_a_peer_lacks() {
    let scratch = Scratch::new("chain-locator");
    let blocks = chain_of(ChainName::Regtest, 200, 300);
    let mut chain = open(&scratch);
    blocks.iter().for_each(|block| drop(add(&mut chain, block)));
    let own = chain.locator();
    assert!((2..=LOCATOR_MAX).contains(&own.len()));
    assert_eq!(own[0], chain.tip().id);
    assert_eq!(chain.hash_of(own.last().unwrap()), Some(chain.best[0]));
    assert_eq!(chain.headers_behind(&own).count(), 0);
    assert_eq!(chain.headers_behind(&[]).count(), 200);
    let behind = Scratch::new("chain-locator-behind");
    let mut other = open(&behind);
    blocks[..150].iter().for_each(|block| drop(add(&mut other, block)));
    let rivals = other_branch(&blocks[149].header, 150, 3);
    rivals.iter().for_each(|block| drop(add(&mut other, block)));
    let missing: Vec<_> = chain.headers_behind(&other.locator()).copied().collect();
    assert!(missing.len() >= 50 && missing.ends_with(&[blocks[199].header]));
    assert_eq!(missing[0].prev_blockhash, blocks[199 - missing.len()].block_hash());
    for header in &missing {
        assert!(other.add_header(header, NOW).is_ok());
    }
    assert_eq!(other.missing().len(), 50, "of the branch with more work");
}

#[test]
fn headers_without_blocks_and_blocks_beside_are_bounded() {
    let scratch = Scratch::new("chain-bounds");
    let mut chain = open(&scratch);
    let first = chain_of(ChainName::Regtest, 2, 300);
    first.iter().for_each(|block| drop(add(&mut chain, block)));
    let genesis = ChainName::Regtest.genesis().header;
    for seed in 0..SIDE_BLOCKS_MAX as u64 + 3 {
        let wanted = Wanted { blocks: 1, block_bytes: 300, seed: 10 + seed };
        let block = &branch(&genesis, 0, &wanted)[0];
        let expected = if seed < SIDE_BLOCKS_MAX as u64 { Taken::Side } else { Taken::Full };
        assert_eq!(add(&mut chain, block), expected, "{seed}");
    }
    let mut parent = first[1].header;
    let mut taken = 0;
    while chain.bare() < BARE_MAX {
        let block = &branch(&parent, 2, &Wanted { blocks: 1, block_bytes: 250, seed: taken })[0];
        assert_eq!(chain.add_header(&block.header, NOW), Ok(Added::New));
        (parent, taken) = (block.header, taken + 1);
    }
    let block = &branch(&parent, 2, &Wanted { blocks: 1, block_bytes: 250, seed: 0 })[0];
    assert_eq!(chain.add_header(&block.header, NOW), Ok(Added::Full));
    chain.forget_bare();
    assert_eq!(chain.add_header(&block.header, NOW), Ok(Added::Unlinked));
}
