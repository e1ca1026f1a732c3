//! What liars, and those who were not asked, can do to a search: nothing.

use codec::{Envelope, Hash, Kind, Message, Packing, Payload};
use peer::{CloseReason, FromChain, Input, Request, Verdict};

use super::*;

fn pack(kind: Kind, id: Hash, data: &[u8]) -> Vec<u8> {
    let (packing, plain_bytes) = (Packing::Stored, data.len() as u32);
    message(&Message::Packed(Envelope { kind, packing, plain_bytes, id, data }))
}

fn offered(solo: &mut Solo, conns: &[ConnId], block: &Payload) -> ConnId {
    for conn in conns {
        solo.receive(*conn, &have(&[offer(block)]));
    }
    let outputs = fetch(solo, item(block));
    let [first] = asked(&outputs)[..] else { panic!("{outputs:?}") };
    first
}

#[test]
fn a_lying_envelope_does_not_end_a_fetch() {
    let mut solo = solo();
    let [a, b, liar] = extended(&mut solo);
    let block = block(1);
    let first = offered(&mut solo, &[a, b], &block);
    let outputs = solo.receive(liar, &pack(Kind::Block, block.id(), &[9; 6_000]));
    assert_eq!(outputs.len(), 1, "{outputs:?}");
    // The honest answer, in its envelope as we send them ourselves.
    let honest = solo.receive(first, &pack(Kind::Block, block.id(), block.body()));
    let bad = FromChain::BadEnvelope { from: source(liar), kind: Kind::Block, id: block.id() };
    let mut outputs = solo.handle(Input::FromChain(bad));
    outputs.extend(run(&mut solo, secs(55)));
    let told = room(&mut solo);
    assert!(
        !honest.is_empty() || !asked(&outputs).is_empty() || told.contains(&missing(item(&block))),
        "lost: not delivered, not asked again, not told missing: {outputs:?} {told:?}"
    );
}

#[test]
fn a_lying_envelope_does_not_end_a_fetch_that_is_under_way() {
    let mut solo = solo();
    let [a, b, liar] = extended(&mut solo);
    let block = block(1);
    offered(&mut solo, &[a, b], &block);
    solo.receive(liar, &pack(Kind::Block, block.id(), &[9; 6_000]));
    let bad = FromChain::BadEnvelope { from: source(liar), kind: Kind::Block, id: block.id() };
    let mut outputs = solo.handle(Input::FromChain(bad));
    assert!(outputs.contains(&Out::Close(liar, CloseReason::BadEnvelope)));
    outputs.extend(run(&mut solo, secs(55)));
    let told = room(&mut solo);
    assert!(
        !asked(&outputs).is_empty() || told.contains(&missing(item(&block))),
        "a dead peer would never be followed: {outputs:?} {told:?}"
    );
}

#[test]
fn after_an_invalid_answer_another_is_asked() {
    let mut solo = solo();
    let [a, b] = extended(&mut solo);
    let block = block(1);
    let first = offered(&mut solo, &[a, b], &block);
    assert_eq!(solo.receive(first, block.frame()).len(), 1);
    let mut outputs = solo.judge(first, &block, Verdict::Invalid);
    outputs.extend(run(&mut solo, secs(55)));
    let told = room(&mut solo);
    assert!(
        !asked(&outputs).is_empty() || told.contains(&missing(item(&block))),
        "{outputs:?} {told:?}"
    );
}

#[test]
fn a_refusal_of_who_was_not_asked_changes_nothing() {
    let mut solo = solo();
    let [a, b, c] = extended(&mut solo);
    let block = block(1);
    let first = offered(&mut solo, &[a, b], &block);
    assert_eq!(solo.receive(first, block.frame()).len(), 1, "the chain has it");
    let mut outputs = solo.receive(c, &not_found(&[item(&block)]));
    outputs.extend(turn(&mut solo));
    assert_eq!(asked(&outputs), [], "asked again although an answer is being judged");
}

#[test]
fn a_refusal_of_who_was_not_asked_makes_nothing_missing() {
    let mut solo = solo();
    let [a, c] = extended(&mut solo);
    let block = block(1);
    let first = offered(&mut solo, &[a], &block);
    assert_eq!(solo.receive(first, block.frame()).len(), 1, "the chain has it");
    let mut outputs = solo.receive(c, &not_found(&[item(&block)]));
    outputs.extend(turn(&mut solo));
    outputs.extend(room(&mut solo));
    assert!(!outputs.contains(&missing(item(&block))), "missing, while it is being judged");
}

#[test]
fn who_gave_the_compact_block_is_asked_for_the_block() {
    let mut solo = solo();
    let [a, _b] = extended(&mut solo);
    let block = block(1);
    solo.receive(a, &have(&[offer(&block)]));
    let compact = Item { kind: Kind::CompactBlock, id: block.id() };
    assert_eq!(asked(&fetch(&mut solo, compact)), [a]);
    let outputs = solo.receive(a, &pack(Kind::CompactBlock, block.id(), &[1; 100]));
    assert_eq!(outputs.len(), 1, "{outputs:?}");
    let mut outputs = fetch(&mut solo, item(&block));
    outputs.extend(room(&mut solo));
    assert_eq!(asked(&outputs), [a], "{outputs:?}");
}

fn bad(solo: &mut Solo, liar: ConnId, id: Hash) -> Vec<Out> {
    let bad = FromChain::BadEnvelope { from: source(liar), kind: Kind::Block, id };
    solo.handle(Input::FromChain(bad))
}

/// The chain asks this peer alone.
fn request(solo: &mut Solo, to: ConnId, id: Hash) {
    let request = Request::Block(id);
    let mut outputs = solo.handle(Input::FromChain(FromChain::Request { to, request }));
    outputs.extend(turn(solo));
    assert_eq!(asked(&outputs), [to]);
}

#[test]
fn an_honest_envelope_behind_a_lying_one_can_be_had() {
    let mut solo = solo();
    let [liar, honest, other] = extended(&mut solo);
    let block = block(1);
    assert_eq!(solo.receive(liar, &pack(Kind::Block, block.id(), &[9; 6_000])).len(), 1);
    let envelope = pack(Kind::Block, block.id(), block.body());
    assert_eq!(solo.receive(honest, &envelope), [], "one of an id is opened at once");
    assert_eq!(bad(&mut solo, liar, block.id()), [Out::Close(liar, CloseReason::BadEnvelope)]);
    assert_eq!(room(&mut solo), [announced(honest, item(&block))]);
    assert_eq!(asked(&fetch(&mut solo, item(&block))), [honest]);
    assert_eq!(solo.receive(honest, &envelope).len(), 1);
    assert_eq!(solo.receive(other, &envelope), []);
    solo.judge(honest, &block, Verdict::Accept);
    assert_eq!(turn(&mut solo), [], "both have it");
}

#[test]
fn an_honest_envelope_behind_a_lying_answer_can_be_had() {
    for fetched in [false, true] {
        let mut solo = solo();
        let [liar, honest] = extended(&mut solo);
        let block = block(1);
        if fetched {
            offered(&mut solo, &[liar], &block);
        } else {
            request(&mut solo, liar, block.id());
        }
        assert_eq!(solo.receive(liar, &pack(Kind::Block, block.id(), &[9; 6_000])).len(), 1);
        let envelope = pack(Kind::Block, block.id(), block.body());
        assert_eq!(solo.receive(honest, &envelope), []);
        bad(&mut solo, liar, block.id());
        if fetched {
            assert_eq!(asked(&turn(&mut solo)), [honest]);
        } else {
            assert_eq!(room(&mut solo), [missing(item(&block))]);
            assert_eq!(asked(&fetch(&mut solo, item(&block))), [honest]);
        }
        assert_eq!(solo.receive(honest, &envelope).len(), 1);
        assert_eq!(room(&mut solo), []);
    }
}

#[test]
fn what_another_brought_is_not_missing_because_an_answer_lied() {
    for fetched in [false, true] {
        let mut solo = solo();
        let [liar, honest, _other] = extended(&mut solo);
        let block = block(1);
        if fetched {
            offered(&mut solo, &[liar], &block);
        } else {
            request(&mut solo, liar, block.id());
        }
        assert_eq!(solo.receive(liar, &pack(Kind::Block, block.id(), &[9; 6_000])).len(), 1);
        assert_eq!(solo.receive(honest, block.frame()).len(), 1);
        solo.judge(honest, &block, Verdict::Accept);
        turn(&mut solo);
        bad(&mut solo, liar, block.id());
        assert_eq!(asked(&turn(&mut solo)), []);
        assert_eq!(room(&mut solo), [], "fetched: {fetched}");
    }
}

#[test]
fn what_the_chain_wants_later_is_still_known_to_be_there() {
    let mut solo = solo();
    let [a, b, c] = extended(&mut solo);
    let block = block(1);
    let first = offered(&mut solo, &[a, b], &block);
    assert_eq!(solo.receive(first, block.frame()).len(), 1);
    assert_eq!(solo.judge(first, &block, Verdict::Later), []);
    assert_eq!(asked(&run(&mut solo, secs(40))), [], "it is not wanted now");
    assert_eq!(solo.receive(c, &have(&[offer(&block)])), [announced(c, item(&block))]);
    let [again] = asked(&fetch(&mut solo, item(&block)))[..] else { panic!("nobody is asked") };
    assert_eq!(solo.receive(again, block.frame()), [requested(again, &block)]);
    assert_eq!(room(&mut solo), []);
}

#[test]
fn what_is_judged_later_needs_no_further_answers() {
    let mut solo = solo();
    let [a, b] = extended(&mut solo);
    let small = transaction(1);
    let first = offered(&mut solo, &[a, b], &small);
    let second = if first == a { b } else { a };
    assert_eq!(asked(&run(&mut solo, secs(3))), [second]);
    assert_eq!(solo.receive(first, small.frame()).len(), 1);
    solo.judge(first, &small, Verdict::Later);
    assert_eq!(solo.receive(second, small.frame()).len(), 1, "it may come again");
    assert_eq!(room(&mut solo), []);
}

#[test]
fn refusals_of_strangers_use_up_no_tries() {
    let mut solo = solo();
    let conns: [ConnId; 100] = extended(&mut solo);
    let block = block(1);
    offered(&mut solo, &conns[..1], &block);
    for conn in &conns[1..99] {
        solo.receive(*conn, &not_found(&[item(&block)]));
    }
    solo.receive(conns[99], &have(&[offer(&block)]));
    assert_eq!(asked(&run(&mut solo, secs(3))), [conns[99]]);
}
