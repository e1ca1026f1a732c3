//! Relay without waste: by id first, one request at a time, and nothing large twice.

mod coming;
mod fetching;
mod grin;
mod lies;
mod mesh;

use std::time::Duration;

use codec::{Hash, Item, Kind, Message, Offer, Payload, Records};
use peer::{
    Config, ConnId, Freshness, FromChain, Input, Policy, Rate, Recipients, RelayRules, Request,
    ToChain, Verdict,
};

use crate::envelopes::join_extended;
use crate::solo::{
    NET, Out, Solo, message, passive, payload, recipients, secs, source, tip, transaction,
};

/// A payload of so many bytes.
fn large(kind: Kind, number: u32, bytes: usize) -> Payload {
    let mut body = vec![0; bytes];
    body[..4].copy_from_slice(&number.to_be_bytes());
    Payload::seal(&NET, kind, &body).unwrap()
}

fn block(number: u32) -> Payload {
    large(Kind::Block, number, 20_000)
}

fn item(payload: &Payload) -> Item {
    Item { kind: payload.kind(), id: payload.id() }
}

fn offer(payload: &Payload) -> Offer {
    Offer { item: item(payload), bytes: payload.body().len() as u32 }
}

fn have(offers: &[Offer]) -> Vec<u8> {
    message(&Message::Have(Records::new(offers)))
}

fn want(items: &[Item]) -> Vec<u8> {
    message(&Message::Want(Records::new(items)))
}

fn not_found(items: &[Item]) -> Vec<u8> {
    message(&Message::NotFound(Records::new(items)))
}

/// One that is as far as its peers.
fn level(config: Config) -> Solo {
    let mut solo = Solo::new(config, 1);
    solo.handle(Input::Tip(tip(2)));
    solo
}

fn solo() -> Solo {
    level(passive(NET))
}

/// Peers of ours, in these slots.
fn extended<const N: usize>(solo: &mut Solo) -> [ConnId; N] {
    std::array::from_fn(|index| join_extended(solo, index as u32, 1))
}

fn fetch(solo: &mut Solo, item: Item) -> Vec<Out> {
    let Item { kind, id } = item;
    let mut outputs = solo.handle(Input::FromChain(FromChain::Fetch { kind, id }));
    outputs.extend(turn(solo));
    outputs
}

/// What leaves at the end of a turn.
fn turn(solo: &mut Solo) -> Vec<Out> {
    solo.handle(Input::Timeout)
}

/// What waits for room on the lane.
fn room(solo: &mut Solo) -> Vec<Out> {
    solo.handle(Input::Room { credit: crate::solo::UNLIMITED })
}

/// Whom each request of these outputs goes to.
fn asked(outputs: &[Out]) -> Vec<ConnId> {
    let asks = |output: &&Out| {
        matches!(output, Out::Send(_, sent) if matches!(
            sent.kind(),
            Kind::Want | Kind::GetBlock | Kind::GetTransaction
        ))
    };
    outputs.iter().filter(asks).flat_map(recipients).collect()
}

/// What comes of letting time pass.
fn run(solo: &mut Solo, wait: Duration) -> Vec<Out> {
    solo.run_for(wait).into_iter().map(|(_, output)| output).collect()
}

fn sent(to: &[ConnId], bytes: &[u8]) -> Out {
    let frame = codec::FrameDecoder::default().next(&mut &bytes[..], &NET).unwrap().unwrap();
    Out::Send(Recipients::Many(to.to_vec()), Payload::from_frame(&NET, frame))
}

fn sent_one(to: ConnId, bytes: &[u8]) -> Out {
    let Out::Send(_, payload) = sent(&[], bytes) else { unreachable!() };
    Out::Send(Recipients::One(to), payload)
}

fn announced(conn: ConnId, item: Item) -> Out {
    Out::ToChain(ToChain::Announced { from: source(conn), kind: item.kind, id: item.id })
}

fn missing(item: Item) -> Out {
    Out::ToChain(ToChain::Missing { kind: item.kind, id: item.id })
}

fn requested(conn: ConnId, payload: &Payload) -> Out {
    let (from, freshness) = (source(conn), Freshness::Requested);
    Out::ToChain(ToChain::Payload { from, payload: payload.clone(), freshness })
}

fn publish(solo: &mut Solo, payload: &Payload) -> Vec<Out> {
    let mut outputs = solo.publish(payload);
    outputs.extend(turn(solo));
    outputs
}

#[test]
fn a_large_body_goes_by_its_id_to_those_who_read_ids_and_whole_to_others() {
    let mut solo = solo();
    let [a, b, c] = extended(&mut solo);
    let plain = solo.join(3);
    let (small, block) = (transaction(1), block(1));
    assert_eq!(publish(&mut solo, &small), [sent(&[a, b, c, plain], small.frame())]);
    let word = have(&[offer(&block)]);
    let expected = [sent(&[plain], block.frame()), sent(&[a, b, c], &word)];
    assert_eq!(publish(&mut solo, &block), expected);
    assert_eq!(publish(&mut solo, &block), [], "nobody is told twice");
    let late = join_extended(&mut solo, 4, 1);
    assert_eq!(publish(&mut solo, &block), [sent(&[late], &word)]);
}

#[test]
fn announcements_and_questions_of_a_turn_leave_together() {
    let mut solo = solo();
    let [a, b] = extended(&mut solo);
    let blocks = [1, 2, 3].map(block);
    for block in &blocks {
        assert_eq!(solo.publish(block), []);
    }
    let now = solo.now;
    assert_eq!(solo.endpoint.poll_timeout(), Some(now), "they leave in the same turn");
    assert_eq!(turn(&mut solo), [sent(&[a, b], &have(&blocks.each_ref().map(offer)))]);
    assert_ne!(solo.endpoint.poll_timeout(), Some(now));

    let offered = [4, 5, 6].map(|number| item(&block(number)));
    let outputs = solo.receive(a, &have(&offered.map(|item| Offer { item, bytes: 20_000 })));
    assert_eq!(outputs, offered.map(|item| announced(a, item)));
    for Item { kind, id } in offered {
        assert_eq!(solo.handle(Input::FromChain(FromChain::Fetch { kind, id })), []);
    }
    assert_eq!(turn(&mut solo), [sent_one(a, &want(&offered))]);
}

#[test]
fn a_body_never_goes_to_who_has_it_by_either_row() {
    let mut solo = solo();
    let [has, says, told, asks, lacks] = extended(&mut solo);
    let block = block(1);
    solo.receive(has, block.frame());
    solo.receive(says, &have(&[offer(&block)]));
    let word = have(&[offer(&block)]);
    solo.judge(has, &block, Verdict::Accept);
    assert_eq!(turn(&mut solo), [sent(&[told, asks, lacks], &word)]);
    assert_eq!(solo.receive(told, &word), [], "it is here");
    let answer = Out::Send(Recipients::One(asks), block.clone());
    assert_eq!(solo.receive(asks, &want(&[item(&block)])), [answer]);
    assert_eq!(publish(&mut solo, &block), []);
    assert_eq!(solo.receive(says, block.frame()), [], "a copy of what is known");
    let counts = solo.endpoint.counts();
    assert_eq!(counts.by_kind[1].received, 2 * block.frame().len() as u64);
    assert_eq!(counts.by_kind[1].twice, block.frame().len() as u64);
}

#[test]
fn every_policy_reaches_everybody_in_its_own_way() {
    for (policy, whole) in [(Policy::Flood, 100), (Policy::Sqrt, 10), (Policy::Announce, 0)] {
        let mut config = passive(NET);
        config.relay.policy = policy;
        let mut solo = level(config);
        for index in 0..100 {
            join_extended(&mut solo, index, 1);
        }
        let block = block(1);
        let outputs = publish(&mut solo, &block);
        let count = |wanted: Kind| -> usize {
            let of_kind = |it: &&Out| matches!(it, Out::Send(_, sent) if sent.kind() == wanted);
            outputs.iter().filter(of_kind).map(|it| recipients(it).len()).sum()
        };
        assert_eq!((count(Kind::Block), count(Kind::Have)), (whole, 100 - whole), "{policy:?}");
    }
}

#[test]
fn what_was_announced_is_given_at_once_and_what_is_not_here_is_refused() {
    let mut solo = solo();
    let [a, b] = extended(&mut solo);
    let plain = solo.join(2);
    let (one, two) = (block(1), large(Kind::Transaction, 2, 9_000));
    publish(&mut solo, &one);
    publish(&mut solo, &two);
    let unknown = item(&block(3));
    let outputs = solo.receive(a, &want(&[item(&one), unknown, item(&two)]));
    let given = [&one, &two].map(|it| Out::Send(Recipients::One(a), it.clone()));
    let request = Request::Block(unknown.id);
    let asked = Out::ToChain(ToChain::Requested { from: source(a), request });
    assert_eq!(outputs, [given[0].clone(), given[1].clone(), asked]);
    let Item { kind, id } = unknown;
    assert_eq!(solo.handle(Input::FromChain(FromChain::NotFound { to: a, kind, id })), []);
    assert_eq!(turn(&mut solo), [sent_one(a, &not_found(&[unknown]))]);
    let refuse = FromChain::NotFound { to: plain, kind, id };
    assert_eq!(solo.handle(Input::FromChain(refuse)), []);
    assert_eq!(turn(&mut solo), [], "who does not read it gets none");
    let get = message(&Message::GetBlock(one.id()));
    assert_eq!(solo.receive(b, &get), [Out::Send(Recipients::One(b), one)]);
}

#[test]
fn what_is_asked_beyond_the_rate_waits_and_beyond_that_is_refused() {
    let mut config = passive(NET);
    config.rates.answers.burst = 30_000;
    let mut solo = level(config);
    let [a] = extended(&mut solo);
    let blocks: Vec<Payload> = (0..50).map(block).collect();
    for block in &blocks {
        publish(&mut solo, block);
    }
    let items: Vec<Item> = blocks.iter().map(item).collect();
    let outputs = solo.receive(a, &want(&items));
    assert_eq!(outputs.len(), 2, "two go into debt");
    let counts = solo.endpoint.counts();
    assert_eq!((counts.requests_waiting, counts.requests_refused), (32, 16));
    assert_eq!(turn(&mut solo), [sent_one(a, &not_found(&items[34..]))]);
}

#[test]
fn what_is_kept_is_bounded() {
    let mut config = passive(NET);
    config.relay.recent_bytes_max = 50_000;
    let mut solo = level(config);
    let [a] = extended(&mut solo);
    let blocks = [1, 2, 3].map(block);
    for block in &blocks {
        publish(&mut solo, block);
    }
    let outputs = solo.receive(a, &want(&blocks.each_ref().map(item)));
    let given = |output: &Out| matches!(output, Out::Send(..));
    assert_eq!(outputs.iter().filter(|it| given(it)).count(), 2, "{outputs:?}");
    let config =
        Config { relay: RelayRules { recent_bytes_max: 0, ..Default::default() }, ..passive(NET) };
    assert!(config.check().is_err());
}

#[test]
fn without_readers_no_id_is_asked_for_and_nothing_is_kept() {
    let mut solo = solo();
    let [a, b] = [0, 1].map(|index| solo.join(index));
    let block = block(1);
    solo.receive(a, block.frame());
    assert_eq!(solo.judge(a, &block, Verdict::Accept), [sent(&[b], block.frame())]);
    assert_eq!(solo.endpoint.knowledge(Kind::Block, block.id()), None);
    assert_eq!(turn(&mut solo), []);
    let get = message(&Message::GetBlock(block.id()));
    assert!(matches!(&solo.receive(b, &get)[..], [Out::ToChain(ToChain::Requested { .. })]));
}

#[test]
fn it_is_known_when_and_from_whom_a_thing_was_heard_of() {
    let mut solo = solo();
    let [a, b, c, _d] = extended(&mut solo);
    let (block, small) = (block(1), transaction(2));
    let knowledge = |solo: &Solo, payload: &Payload| {
        let known = solo.endpoint.knowledge(payload.kind(), payload.id());
        known.map(|it| (it.from.map(|from| from.conn), it.at, it.peers))
    };
    assert_eq!(knowledge(&solo, &block), None);
    solo.run_for(secs(1));
    let first = solo.now;
    solo.receive(b, &have(&[offer(&block)]));
    solo.receive(a, small.frame());
    solo.run_for(secs(1));
    solo.receive(c, &have(&[offer(&block)]));
    assert_eq!(knowledge(&solo, &block), Some((Some(b), first, 2)));
    fetch(&mut solo, item(&block));
    solo.receive(b, block.frame());
    solo.judge(b, &block, Verdict::Accept);
    solo.judge(a, &small, Verdict::Accept);
    assert_eq!(knowledge(&solo, &block), Some((Some(b), first, 2)));
    assert_eq!(knowledge(&solo, &small), Some((Some(a), first, 4)), "it went to all");
    let own = payload(Kind::Block, 9);
    solo.publish(&own);
    assert_eq!(knowledge(&solo, &own), Some((None, solo.now, 4)));
    assert_eq!(solo.endpoint.knowledge(Kind::Ping, Hash([0; 32])), None);
}

#[test]
fn what_was_dropped_on_the_way_out_may_be_announced_again() {
    let mut solo = solo();
    let [a, b] = extended(&mut solo);
    let small = transaction(1);
    assert_eq!(publish(&mut solo, &small), [sent(&[a, b], small.frame())]);
    solo.handle(Input::Dropped { conn: a, payload: &small });
    assert_eq!(publish(&mut solo, &small), [sent(&[a], small.frame())]);
}

#[test]
fn the_pace_of_grin_binds_those_alone_who_count_as_grin_does() {
    for policy in [Policy::Flood, Policy::Announce] {
        let mut config = passive(NET);
        config.relay.policy = policy;
        config.rates.grin_pace = Some(Rate { amount: 1, per: secs(600), burst: 3 });
        let mut solo = level(config);
        let [ours] = extended(&mut solo);
        let plain = solo.join(1);
        let outputs: Vec<Out> =
            (0..9).flat_map(|number| publish(&mut solo, &transaction(number))).collect();
        let reached = |conn| outputs.iter().filter(|it| recipients(it).contains(&conn)).count();
        assert_eq!((reached(ours), reached(plain)), (9, 3), "{policy:?}");
        for (to, left) in [(ours, 5), (plain, 0)] {
            let ask = |number| {
                let request = Request::Headers([Hash([number; 32])].into());
                solo.handle(Input::FromChain(FromChain::Request { to, request }))
            };
            assert_eq!((0..5).flat_map(ask).count(), left, "{policy:?}");
        }
        // What is sent whatever the pace does not count for one of ours either.
        solo.receive(ours, &crate::solo::ping(2));
        assert_eq!(publish(&mut solo, &transaction(10)), [sent(&[ours], transaction(10).frame())]);
    }
}
