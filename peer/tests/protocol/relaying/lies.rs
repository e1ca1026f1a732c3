//! What liars, and those who were not asked, can do to a search: nothing.

use codec::{Envelope, Hash, Kind, Message, Packing, Payload};
use peer::{CloseReason, FromChain, Input, Verdict};

use super::*;

fn asked(outputs: &[Out]) -> Vec<ConnId> {
    let asks = |output: &&Out| {
        matches!(output, Out::Send(_, sent) if matches!(
            sent.kind(),
            Kind::Want | Kind::GetBlock | Kind::GetTransaction
        ))
    };
    outputs.iter().filter(asks).flat_map(recipients).collect()
}

fn run(solo: &mut Solo, wait: std::time::Duration) -> Vec<Out> {
    solo.run_for(wait).into_iter().map(|(_, output)| output).collect()
}

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
