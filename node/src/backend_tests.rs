//! Tests of verdicts and commands, with the other end of the lanes in place of an engine.

use bitcoin::Amount;
use bridge::{ConnId, LoopSide};

use super::*;
use crate::chain::BARE_MAX;
use crate::generate::tests::{branch, chain_of, condemned_block, segwit};
use crate::generate::{Wanted, synthetic};
use crate::headers::HEADERS_MAX;
use crate::scratch::Scratch;

/// A backend without a thread, and the lanes' other end.
struct Bench {
    backend: Backend,
    engine: LoopSide,
    _scratch: Scratch,
}

impl Bench {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let chain = Chain::open(scratch.path(), Some(ChainName::Regtest)).unwrap();
        let config = bridge::Config::default();
        let (engine, side) = bridge::open(config, chain.network()).unwrap();
        let (_, commands) = crossbeam_channel::bounded(1);
        let backend = Backend::new(side, chain, PoolLimits::MEMPOOL, commands);
        Self { backend, engine, _scratch: scratch }
    }

    /// Gives an event, as a batch of its own, and takes the commands that follow from it.
    fn give(&mut self, kind: Kind, body: &[u8]) -> Vec<FromChain> {
        let payload = Payload::seal(self.backend.chain.network(), kind, body).unwrap();
        self.on(ToChain::Payload { from: source(), payload, freshness: Freshness::Requested })
    }

    fn on(&mut self, event: ToChain) -> Vec<FromChain> {
        self.backend.on_event(event).unwrap();
        self.backend.catch_up.go_on(&self.backend.chain, Instant::now(), &mut self.backend.out);
        self.backend.settle().unwrap();
        std::iter::from_fn(|| self.engine.pop()).collect()
    }

    fn headers(&mut self, blocks: &[Block]) -> Vec<FromChain> {
        let headers: Vec<_> = blocks.iter().map(|block| &block.header).collect();
        let payload = headers::seal(self.backend.chain.network(), headers).unwrap();
        self.give(Kind::Headers, payload.body())
    }

    fn block(&mut self, block: &Block) -> Vec<FromChain> {
        self.give(Kind::Block, &serialize(block))
    }
}

fn source() -> Source {
    Source { conn: ConnId::new(0, 0), addr: "127.0.0.1:1".parse().unwrap() }
}

fn verdicts(commands: &[FromChain]) -> Vec<Verdict> {
    let verdict = |command: &FromChain| match command {
        FromChain::Verdict { verdict, .. } => Some(*verdict),
        _ => None,
    };
    commands.iter().filter_map(verdict).collect()
}

fn asks(commands: &[FromChain]) -> bool {
    commands
        .iter()
        .any(|command| matches!(command, FromChain::FindHeaders { .. } | FromChain::Fetch { .. }))
}

#[test]
fn an_answer_that_continues_nothing_is_judged_and_not_asked_for_again_at_once() {
    let mut bench = Bench::new("backend-unlinked");
    let blocks = chain_of(ChainName::Regtest, HEADERS_MAX as u32 + 5, 250);
    drop(bench.on(ToChain::Behind { tip: molva::ChainTip { height: 9, total_difficulty: 99 } }));
    let told = bench.headers(&blocks[5..]);
    assert_eq!((verdicts(&told), asks(&told)), (vec![Verdict::Later], false));
    let mut mixed = blocks[..9].to_vec();
    mixed.swap(3, 4);
    let told = bench.headers(&mixed);
    assert_eq!((verdicts(&told), asks(&told)), (vec![Verdict::Invalid], false));
    assert_eq!(bench.backend.chain.bare(), 0, "no part of it is taken");
    let told = bench.give(Kind::Headers, b"no headers");
    assert_eq!(verdicts(&told), [Verdict::Invalid]);
}

#[test]
fn headers_beyond_the_bound_have_a_verdict() {
    let mut bench = Bench::new("backend-full");
    let blocks = chain_of(ChainName::Regtest, BARE_MAX as u32 + 1, 250);
    for some in blocks[..BARE_MAX].chunks(HEADERS_MAX) {
        assert_eq!(verdicts(&bench.headers(some)), [Verdict::Keep]);
    }
    let told = bench.give(Kind::Header, &headers::bytes(&blocks[BARE_MAX].header));
    assert_eq!(verdicts(&told), [Verdict::Later]);
    let told = bench.headers(&blocks[BARE_MAX..]);
    assert_eq!(verdicts(&told), [Verdict::Later]);
    assert!(told.contains(&FromChain::CancelBlocks), "and all begins anew");
}

#[test]
fn a_fork_that_comes_too_late_has_a_verdict_too() {
    let mut bench = Bench::new("backend-final");
    let blocks = chain_of(ChainName::Regtest, crate::chain::FINAL_DEPTH + 5, 250);
    for block in &blocks {
        bench.backend.chain.add_block(block, &serialize(block), now()).unwrap();
    }
    let rival = branch(&blocks[0].header, 1, &Wanted { blocks: 1, block_bytes: 300, seed: 2 });
    let header = headers::bytes(&rival[0].header);
    for told in [bench.give(Kind::Header, &header), bench.block(&rival[0]), bench.headers(&rival)] {
        assert_eq!(verdicts(&told), [Verdict::Later]);
        assert!(told.contains(&FromChain::Fork { conn: source().conn }));
    }
}

#[test]
fn all_that_waited_for_a_block_is_taken_with_it() {
    let mut bench = Bench::new("backend-parked");
    let blocks = chain_of(ChainName::Regtest, 4, 300);
    let rivals = branch(&blocks[0].header, 1, &Wanted { blocks: 2, block_bytes: 300, seed: 2 });
    let all = [&blocks[..], &rivals].concat();
    drop(bench.headers(&blocks));
    drop(bench.headers(&rivals));
    for block in &all[1..] {
        assert_eq!(verdicts(&bench.block(block)), [], "it waits");
    }
    assert_eq!(verdicts(&bench.block(&blocks[0])), [Verdict::Keep; 6]);
    let chain = &bench.backend.chain;
    assert_eq!(chain.tip_hash(), blocks[3].block_hash());
    assert!(all.iter().all(|block| chain.has_block(&block.block_hash())));
}

#[test]
fn a_condemned_header_is_not_followed_again() {
    let mut bench = Bench::new("backend-condemned");
    let genesis = ChainName::Regtest.genesis().header;
    let twice = condemned_block(&genesis, 1);
    let behind = branch(&twice.header, 1, &Wanted { blocks: 3, block_bytes: 300, seed: 1 });
    let all = [std::slice::from_ref(&twice), &behind].concat();
    let told = bench.headers(&all);
    assert!(matches!(&told[..], [.., FromChain::FetchBlocks { ids, .. }] if ids.len() == 4));
    let id = bench.backend.chain.node(&twice.block_hash()).unwrap().id;
    assert_eq!(verdicts(&bench.block(&behind[0])), [], "it waits");
    let told = bench.block(&twice);
    assert_eq!(verdicts(&told), [Verdict::Invalid, Verdict::Later]);
    assert!(told.contains(&FromChain::CancelBlocks) && !asks(&told));
    let told = bench.headers(&all);
    assert_eq!((verdicts(&told), asks(&told)), (vec![Verdict::Invalid], false));
    let told = bench.give(Kind::Header, &headers::bytes(&twice.header));
    assert_eq!((verdicts(&told), asks(&told)), (vec![Verdict::Invalid], false));
    let told = bench.on(ToChain::Announced { from: source(), kind: Kind::Block, id });
    assert_eq!(told, []);
    // A body that is not the header's condemns its sender alone: another is asked.
    let honest = chain_of(ChainName::Regtest, 1, 300).remove(0);
    let mut mutated = honest.clone();
    mutated.txdata[0].output[0].value = Amount::from_sat(1);
    drop(bench.headers(std::slice::from_ref(&honest)));
    let told = bench.block(&mutated);
    assert_eq!((verdicts(&told), asks(&told)), (vec![Verdict::Invalid], true));
    assert_eq!(verdicts(&bench.block(&honest)), [Verdict::Keep]);
}

#[test]
fn a_transaction_with_a_witness_is_mined() {
    let mut bench = Bench::new("backend-segwit");
    for transaction in [segwit(1), synthetic(2, 100)] {
        let told = bench.give(Kind::Transaction, &serialize(&transaction));
        assert_eq!(verdicts(&told), [Verdict::Accept]);
    }
    let said = bench.backend.on_command(&Command::Mine(2));
    assert!(matches!(said, Said::Chain { .. }), "{said:?}");
    assert_eq!((bench.backend.chain.tip().height, bench.backend.mempool.len()), (2, 0));
    let first = bench.backend.chain.best_from(&ChainName::Regtest.genesis().block_hash())[1];
    assert_eq!(bench.backend.transactions(&first).len(), 2);
}

#[test]
fn mining_that_fails_is_not_called_done() {
    let mut bench = Bench::new("backend-mine");
    // A chain that ends as far ahead as it may: the next block but one is from the future.
    let genesis = ChainName::Regtest.genesis().header;
    let mut last = generate::block_behind(&genesis, 1, [], Vec::new());
    last.header.time = (now() + crate::validate::AHEAD_SECONDS_MAX) as u32 - 5;
    let target = last.header.target();
    while last.header.validate_pow(target).is_err() {
        last.header.nonce += 1;
    }
    assert_eq!(verdicts(&bench.block(&last)), [Verdict::Accept]);
    let Said::Refused { why } = bench.backend.on_command(&Command::Mine(3)) else {
        panic!("it is not refused");
    };
    assert!(why.starts_with("0 of 3 blocks were made") && why.contains("future"), "{why}");
}
