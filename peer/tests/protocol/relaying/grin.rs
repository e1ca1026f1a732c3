//! To a plain grin peer we are a plain grin peer: kernels, headers, and no kind of our own.

use codec::{Capabilities, Hand, Kind, Message, Network, Payload};
use peer::{Config, ConnId, FromChain, Input, Recipients, Request, ToChain, Verdict};

use crate::relaying::{publish, turn};
use crate::solo::{Out, Solo, hand, passive, recipients, secs, sent_kinds, source};

const GRIN: Network = Network::GRIN_MAIN;

/// A frame that grin made.
fn made_by_grin(text: &str) -> Payload {
    let digits: Vec<u8> = text.trim().bytes().collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
    let kind = Kind::from_byte(bytes[2]).unwrap();
    Payload::seal(&GRIN, kind, &bytes[codec::FRAME_HEADER_BYTES..]).unwrap()
}

fn block() -> Payload {
    made_by_grin(include_str!("../../../../codec/tests/vectors/block_with_tx_v3.hex"))
}

fn compact_block() -> Payload {
    made_by_grin(include_str!("../../../../codec/tests/vectors/compact_block_with_tx_v3.hex"))
}

fn plain_transaction() -> Payload {
    made_by_grin(include_str!("../../../../codec/tests/vectors/tx_plain_v3.hex"))
}

fn solo(change: impl FnOnce(&mut Config)) -> Solo {
    let mut config = passive(GRIN);
    change(&mut config);
    crate::relaying::level(config)
}

fn encode(message: &Message<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    message.encode_frame(&GRIN, 1000, &mut frame).unwrap();
    frame
}

fn join(solo: &mut Solo, index: u32, version: u32, capabilities: Capabilities) -> ConnId {
    let conn = solo.accepted(index, 1);
    let hand = Hand { version, capabilities, genesis: GRIN.genesis, ..hand() };
    solo.receive(conn, &encode(&Message::Hand(hand)));
    assert!(solo.is_here(conn));
    conn
}

const MODERN: Capabilities = Capabilities::GRIN_NODE;

#[test]
fn a_block_is_announced_by_its_header_and_given_on_request() {
    let mut solo = solo(|_| {});
    let [a, b] = [0, 1].map(|index| join(&mut solo, index, 1000, MODERN));
    let block = block();
    let header = block.header(&GRIN).unwrap();
    solo.receive(a, block.frame());
    let outputs = solo.judge(a, &block, Verdict::Accept);
    assert_eq!(outputs, [Out::Send(Recipients::Many(vec![b]), header.clone())]);
    assert_eq!(solo.receive(b, header.frame()), [], "its echo is known");
    let whole = solo.receive(b, &encode(&Message::GetBlock(block.id())));
    assert_eq!(whole, [Out::Send(Recipients::One(b), block.clone())]);
    let compact = solo.receive(b, &encode(&Message::GetCompactBlock(block.id())));
    let request = Request::CompactBlock(block.id());
    assert_eq!(compact, [Out::ToChain(ToChain::Requested { from: source(b), request })]);
    assert_eq!(publish(&mut solo, &block), []);
}

#[test]
fn a_header_says_who_has_the_block_and_so_does_its_duplicate() {
    let mut solo = solo(|_| {});
    let [a, b, c] = [0, 1, 2].map(|index| join(&mut solo, index, 1000, MODERN));
    let block = block();
    let header = block.header(&GRIN).unwrap();
    assert_eq!(solo.receive(a, header.frame()).len(), 1, "the header itself, and no more");
    assert_eq!(solo.receive(b, header.frame()), []);
    let knowledge = solo.endpoint.knowledge(Kind::Block, block.id()).unwrap();
    assert_eq!((knowledge.from, knowledge.peers), (Some(source(a)), 2));
    let fetch = FromChain::Fetch { kind: Kind::Block, id: block.id() };
    let get = |to| Out::Send(Recipients::One(to), frame(&Message::GetBlock(block.id())));
    assert_eq!(solo.handle(Input::FromChain(fetch)), [get(a)]);
    let late: Vec<Out> = solo.run_for(secs(3)).into_iter().map(|(_, output)| output).collect();
    assert!(late.contains(&get(b)), "{late:?}");
    solo.receive(b, block.frame());
    let outputs = solo.judge(b, &block, Verdict::Accept);
    assert_eq!(outputs, [Out::Send(Recipients::Many(vec![c]), header)], "two have it");
}

fn frame(message: &Message<'_>) -> Payload {
    message.to_payload(&GRIN, 1000).unwrap()
}

#[test]
fn a_header_that_went_to_all_says_nothing_of_those_who_got_it() {
    let mut solo = solo(|_| {});
    let [a, b] = [0, 1].map(|index| join(&mut solo, index, 1000, MODERN));
    let block = block();
    let header = block.header(&GRIN).unwrap();
    solo.receive(a, header.frame());
    assert_eq!(sent_kinds(&solo.judge(a, &header, Verdict::Accept)), [Kind::Header]);
    solo.receive(a, block.frame());
    let outputs = solo.judge(a, &block, Verdict::Accept);
    assert_eq!(outputs, [Out::Send(Recipients::Many(vec![b]), header)], "now it can be asked for");
}

#[test]
fn a_compact_block_goes_as_it_is_and_says_who_has_the_block() {
    let mut solo = solo(|_| {});
    let [a, b] = [0, 1].map(|index| join(&mut solo, index, 1000, MODERN));
    let compact = compact_block();
    solo.receive(a, compact.frame());
    let fetch = FromChain::Fetch { kind: Kind::Block, id: compact.id() };
    let outputs = solo.handle(Input::FromChain(fetch));
    assert_eq!(sent_kinds(&outputs), [Kind::GetBlock]);
    let outputs = solo.judge(a, &compact, Verdict::Accept);
    assert_eq!(outputs, [Out::Send(Recipients::Many(vec![b]), compact)]);
}

#[test]
fn a_large_transaction_goes_by_its_kernel_to_those_who_read_that() {
    let mut solo = solo(|config| config.relay.unasked_bytes_max = 100);
    let a = join(&mut solo, 0, 1000, MODERN);
    let old = join(&mut solo, 1, 1000, Capabilities::PEER_LIST);
    let transaction = plain_transaction();
    let kernel = frame(&Message::TransactionKernel(transaction.id()));
    let expected = [
        Out::Send(Recipients::Many(vec![old]), transaction.clone()),
        Out::Send(Recipients::Many(vec![a]), kernel.clone()),
    ];
    assert_eq!(publish(&mut solo, &transaction), expected);
    assert_eq!(solo.receive(a, kernel.frame()), [], "it is here");
    let given = solo.receive(a, &encode(&Message::GetTransaction(transaction.id())));
    assert_eq!(given, [Out::Send(Recipients::One(a), transaction)]);
}

#[test]
fn a_small_transaction_goes_whole_in_the_form_of_each() {
    let mut solo = solo(|_| {});
    let new = join(&mut solo, 0, 1000, MODERN);
    let _old = join(&mut solo, 1, 1, MODERN);
    let outputs = publish(&mut solo, &plain_transaction());
    let to: Vec<ConnId> = outputs.iter().flat_map(recipients).collect();
    assert!(to.contains(&new), "{outputs:?}");
    assert!(sent_kinds(&outputs).iter().all(|kind| *kind == Kind::Transaction));
}

#[test]
fn a_kernel_is_told_once_and_its_transaction_fetched_from_one() {
    let mut solo = solo(|_| {});
    let [a, b] = [0, 1].map(|index| join(&mut solo, index, 1000, MODERN));
    let transaction = plain_transaction();
    let id = transaction.id();
    let kernel = encode(&Message::TransactionKernel(id));
    let announced = ToChain::Announced { from: source(a), kind: Kind::TransactionKernel, id };
    assert_eq!(solo.receive(a, &kernel), [Out::ToChain(announced)]);
    assert_eq!(solo.receive(b, &kernel), []);
    let fetch = FromChain::Fetch { kind: Kind::Transaction, id };
    let get = frame(&Message::GetTransaction(id));
    assert_eq!(solo.handle(Input::FromChain(fetch)), [Out::Send(Recipients::One(a), get)]);
    assert_eq!(solo.receive(a, transaction.frame()).len(), 1);
    assert_eq!(solo.judge(a, &transaction, Verdict::Accept), [], "both have it");
}

#[test]
fn nothing_of_ours_ever_goes_to_a_grin_peer() {
    let mut solo = solo(|config| config.relay.unasked_bytes_max = 100);
    let extended = join(&mut solo, 0, 1000, MODERN | Capabilities::EXTENSION);
    let grin = join(&mut solo, 1, 1000, MODERN);
    let mut outputs = Vec::new();
    for payload in [block(), compact_block(), plain_transaction()] {
        outputs.extend(publish(&mut solo, &payload));
        let id = payload.id();
        for message in [Message::GetBlock(id), Message::GetTransaction(id)] {
            outputs.extend(solo.receive(grin, &encode(&message)));
        }
        let kind = payload.kind();
        outputs.extend(solo.handle(Input::FromChain(FromChain::NotFound { to: grin, kind, id })));
        outputs.extend(turn(&mut solo));
    }
    outputs.extend(solo.run_for(secs(30)).into_iter().map(|(_, output)| output));
    let kinds = |conn: ConnId| -> Vec<Kind> {
        let to_it = outputs.iter().filter(|output| recipients(output).contains(&conn));
        to_it.flat_map(|output| sent_kinds(std::slice::from_ref(output))).collect()
    };
    assert!(kinds(grin).iter().all(|kind| !kind.is_extension()), "{:?}", kinds(grin));
    assert!(kinds(extended).contains(&Kind::Have));
    assert!(!kinds(extended).contains(&Kind::Header));
}

#[test]
fn announcements_keep_the_pace_and_what_is_withheld_is_still_lacking() {
    let mut solo = solo(|config| {
        config.relay.unasked_bytes_max = 100;
        let pace = config.rates.grin_pace.as_mut().unwrap();
        (pace.amount, pace.burst) = (60, 1);
    });
    let a = join(&mut solo, 0, 1000, MODERN);
    solo.run_for(secs(5));
    assert_eq!(sent_kinds(&publish(&mut solo, &block())).len(), 1);
    assert_eq!(publish(&mut solo, &plain_transaction()), []);
    assert_eq!(solo.endpoint.counts().relay_withheld, 1);
    solo.run_for(secs(4));
    let outputs = publish(&mut solo, &plain_transaction());
    assert_eq!(sent_kinds(&outputs), [Kind::TransactionKernel]);
    assert_eq!(recipients(&outputs[0]), [a]);
}

#[test]
fn what_had_no_room_is_lacking_again_in_whatever_form_and_by_whichever_word() {
    let mut solo = solo(|_| {});
    let [a, b] = [0, 1].map(|index| join(&mut solo, index, 1000, MODERN));
    let (block, transaction) = (block(), plain_transaction());
    for payload in [&block, &transaction] {
        let outputs = publish(&mut solo, payload);
        assert_eq!(publish(&mut solo, payload), []);
        let [Out::Send(to, sent)] = &outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(to, &Recipients::Many(vec![a, b]));
        solo.handle(Input::Dropped { conn: b, payload: sent });
        let again = Out::Send(Recipients::Many(vec![b]), sent.clone());
        assert_eq!(publish(&mut solo, payload), [again]);
    }
}
