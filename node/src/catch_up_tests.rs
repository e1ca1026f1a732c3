//! Tests of what is under way: what waits, what is let go, and when it is asked for again.

use bitcoin::consensus::serialize;
use bridge::ConnId;

use super::*;
use crate::generate::Wanted;
use crate::generate::tests::{branch, chain_of};
use crate::rules::ChainName;
use crate::scratch::Scratch;

const NOW: u64 = 2_000_000_000;

fn open(scratch: &Scratch) -> Chain {
    Chain::open(scratch.path(), Some(ChainName::Regtest)).unwrap()
}

fn parked(block: &Block) -> Parked {
    let from = Source { conn: ConnId::new(0, 0), addr: "127.0.0.1:1".parse().unwrap() };
    let network = ChainName::Regtest.network();
    let payload = Payload::seal(&network, Kind::Block, &serialize(block)).unwrap();
    Parked { from, payload, block: block.clone() }
}

fn laters(out: &[FromChain]) -> usize {
    let is_later = |command: &&FromChain| {
        matches!(command, FromChain::Verdict { verdict: Verdict::Later, .. })
    };
    out.iter().filter(is_later).count()
}

fn fetched(out: &[FromChain]) -> usize {
    out.iter().filter(|command| matches!(command, FromChain::Fetch { .. })).count()
}

#[test]
fn all_children_of_a_block_are_unparked() {
    let blocks = chain_of(ChainName::Regtest, 2, 300);
    let rivals: Vec<_> = (2..6)
        .flat_map(|seed| {
            branch(&blocks[0].header, 1, &Wanted { blocks: 1, block_bytes: 300, seed })
        })
        .collect();
    let mut catch_up = CatchUp::default();
    for block in rivals.iter().chain(&blocks[1..]) {
        assert!(catch_up.park(parked(block)).is_none());
    }
    assert!(catch_up.park(parked(&rivals[0])).is_some(), "one of two copies has its verdict now");
    assert!(catch_up.unpark(&blocks[1].block_hash()).is_none());
    let children = std::iter::from_fn(|| catch_up.unpark(&blocks[0].block_hash())).count();
    assert_eq!((children, catch_up.parked_bytes), (5, 0));
}

#[test]
fn who_starts_again_leaves_no_block_without_a_verdict() {
    let scratch = Scratch::new("catch-up-verdicts");
    let mut chain = open(&scratch);
    let blocks = chain_of(ChainName::Regtest, 4, 300);
    let mut catch_up = CatchUp::default();
    blocks[1..].iter().for_each(|block| assert!(catch_up.park(parked(block)).is_none()));
    let mut out = Vec::new();
    catch_up.start_again(&mut chain, Instant::now(), &mut out);
    assert_eq!((laters(&out), catch_up.parked_bytes), (3, 0));
}

#[test]
fn a_block_that_never_comes_does_not_keep_us_from_asking() {
    let scratch = Scratch::new("catch-up-fetch");
    let mut chain = open(&scratch);
    let block = chain_of(ChainName::Regtest, 1, 300).remove(0);
    let (hash, start) = (block.block_hash(), Instant::now());
    chain.add_header(&block.header, NOW).unwrap();
    let (mut catch_up, mut out) = (CatchUp::default(), Vec::new());
    catch_up.fetch(&chain, hash, start, &mut out);
    catch_up.fetch(&chain, hash, start, &mut out);
    assert_eq!(fetched(&out), 1);
    catch_up.go_on(&chain, start + FETCH_TIMEOUT, &mut out);
    assert!(!catch_up.is_idle());
    out.clear();
    catch_up.go_on(&chain, start + FETCH_TIMEOUT + Duration::from_millis(1), &mut out);
    assert!(catch_up.fetching.is_empty());
    assert!(matches!(&out[..], [FromChain::FetchBlocks { height: 1, .. }]), "asked for in a row");
}

#[test]
fn what_the_chain_forgot_is_let_go() {
    let scratch = Scratch::new("catch-up-forgotten");
    let mut chain = open(&scratch);
    let blocks = chain_of(ChainName::Regtest, 4, 300);
    for block in &blocks {
        chain.add_header(&block.header, NOW).unwrap();
    }
    let (mut catch_up, mut out, now) = (CatchUp::default(), Vec::new(), Instant::now());
    catch_up.go_on(&chain, now, &mut out);
    assert_eq!(catch_up.wanted.len(), 4);
    catch_up.on_block(&blocks[0].block_hash());
    catch_up.fetch(&chain, blocks[0].block_hash(), now, &mut out);
    assert!(catch_up.park(parked(&blocks[2])).is_none());
    chain.forget_bare();
    out.clear();
    catch_up.go_on(&chain, now, &mut out);
    assert_eq!(laters(&out), 1);
    assert!(out.contains(&FromChain::CancelBlocks));
    assert!(catch_up.is_idle() && catch_up.parked.is_empty());
    out.clear();
    catch_up.go_on(&chain, now, &mut out);
    assert_eq!(out, []);
}
