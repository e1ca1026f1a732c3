//! Dandelion: a transaction goes by its stem, and whoever probes for it learns nothing.

mod network;
mod probe;

use std::collections::BTreeSet;

use codec::{Hand, Hash, Kind, Message, Network, Payload, Shake};
use peer::{
    AGGREGATE_MAX, Config, ConfigError, ConnId, DandelionRules, Embargo, FromChain, Input,
    Recipients, Scheme, ToChain, Verdict,
};

use crate::solo::{
    NET, Out, Solo, UNLIMITED, hand, message, passive, payload, secs, shake, tip, transaction,
};

pub(crate) const SCHEMES: [Scheme; 4] =
    [Scheme::PlusPlus, Scheme::Grin, Scheme::AggregateOnStem, Scheme::AggregateAndHold];

/// A scheme whose stems do not end by a coin, among peers that are never silent for too long.
fn config(scheme: Scheme) -> Config {
    let mut config = passive(NET);
    config.silence_timeout = secs(1_000_000);
    config.dandelion = DandelionRules { fluff_percent: 0, ..DandelionRules::of(scheme) };
    config
}

/// Somebody whom we dialled.
pub(crate) fn outbound(solo: &mut Solo, index: u32) -> ConnId {
    let (conn, _) = solo.dial(index);
    assert_eq!(solo.receive(conn, &message(&Message::Shake(shake()))), []);
    conn
}

/// An endpoint with outbound peers from 0 on, and inbound peers from 10 on.
fn house(
    config: Config,
    seed: u8,
    outbounds: u32,
    inbounds: u32,
) -> (Solo, Vec<ConnId>, Vec<ConnId>) {
    let mut solo = Solo::new(config, seed);
    solo.handle(Input::Tip(tip(100))); // as much work as anybody here claims
    let outs = (0..outbounds).map(|index| outbound(&mut solo, index)).collect();
    let ins = (0..inbounds).map(|index| solo.join(10 + index)).collect();
    (solo, outs, ins)
}

fn stem(number: u32) -> Payload {
    payload(Kind::StemTransaction, number)
}

/// What went out of transactions, on their stems or not.
pub(crate) fn sends(outputs: &[Out]) -> Vec<(Vec<ConnId>, Payload)> {
    let sent = |output: &Out| match output {
        Out::Send(to, payload)
            if matches!(payload.kind(), Kind::StemTransaction | Kind::Transaction) =>
        {
            let to = match to {
                Recipients::One(conn) => vec![*conn],
                Recipients::Many(conns) => conns.clone(),
            };
            Some((to, payload.clone()))
        }
        Out::Send(..)
        | Out::Dial(_)
        | Out::Close(..)
        | Out::ToChain(_)
        | Out::Resolve(_)
        | Out::Opens(_)
        | Out::Told(..)
        | Out::Datagram(..) => None,
    };
    outputs.iter().filter_map(sent).collect()
}

/// What waits for the chain.
pub(crate) fn told(solo: &mut Solo) -> Vec<ToChain> {
    if !solo.endpoint.wants_room() {
        return Vec::new();
    }
    let event = |output| match output {
        Out::ToChain(event) => event,
        other => panic!("{other:?}"),
    };
    solo.handle(Input::Room { credit: UNLIMITED }).into_iter().map(event).collect()
}

/// Our own transaction.
fn begin(solo: &mut Solo, payload: &Payload) -> Vec<(Vec<ConnId>, Payload)> {
    sends(&solo.handle(Input::FromChain(FromChain::Stem(payload.clone()))))
}

/// A peer's stem, which the chain takes.
fn bring(solo: &mut Solo, from: ConnId, payload: &Payload) -> Vec<(Vec<ConnId>, Payload)> {
    let outputs = solo.receive(from, payload.frame());
    assert!(matches!(&outputs[..], [Out::ToChain(ToChain::Payload { .. })]), "{outputs:?}");
    sends(&solo.judge(from, payload, Verdict::Accept))
}

fn wait(solo: &mut Solo, seconds: u64) -> Vec<(Vec<ConnId>, Payload)> {
    let outputs: Vec<Out> = solo.run_for(secs(seconds)).into_iter().map(|(_, out)| out).collect();
    sends(&outputs)
}

fn settle(solo: &mut Solo, ids: &[Hash]) {
    solo.handle(Input::FromChain(FromChain::Settled { ids: ids.into() }));
}

fn fluffed(number: u32) -> ToChain {
    ToChain::Fluffed { payload: transaction(number) }
}

#[test]
fn ours_goes_to_one_outbound_peer_and_is_told_to_nobody() {
    for scheme in SCHEMES {
        let (mut solo, outs, _) = house(config(scheme), 1, 4, 4);
        let mut sent = begin(&mut solo, &transaction(1));
        if sent.is_empty() {
            sent = wait(&mut solo, 30);
        }
        let [(to, first)] = &sent[..] else { panic!("{scheme:?}: {sent:?}") };
        assert_eq!((to.len(), first), (1, &stem(1)), "{scheme:?}");
        assert!(outs.contains(&to[0]), "{scheme:?}");
        assert_eq!(told(&mut solo), [], "{scheme:?}");
        assert_eq!(begin(&mut solo, &stem(1)), [], "it is on its way");
        let counts = solo.endpoint.counts();
        assert_eq!((counts.stems_relayed, counts.stems_fluffed), (1, 0));
    }
}

#[test]
fn an_inbound_edge_keeps_its_successor_for_an_epoch() {
    let (mut solo, _, ins) = house(config(Scheme::PlusPlus), 1, 6, 24);
    let mut number = 0;
    let mut mapping = |solo: &mut Solo| -> Vec<ConnId> {
        let mut of = |from: &ConnId| {
            number += 1;
            let sent = bring(solo, *from, &stem(number));
            settle(solo, &[stem(number).id()]);
            sent[0].0[0]
        };
        ins.iter().map(&mut of).collect()
    };
    let first = mapping(&mut solo);
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(mapping(&mut solo), first);
    solo.run_for(secs(600));
    let second = mapping(&mut solo);
    assert_ne!(second, first);
    assert_eq!(mapping(&mut solo), second);
}

#[test]
fn who_comes_again_in_an_epoch_is_mapped_as_before() {
    let (mut solo, ..) = house(config(Scheme::PlusPlus), 1, 6, 0);
    let mut to = BTreeSet::new();
    for generation in 1..20 {
        let conn = solo.join_as(50, generation);
        to.extend(bring(&mut solo, conn, &stem(generation)).remove(0).0);
        solo.leave(conn);
    }
    assert_eq!(to.len(), 1, "reconnecting shows one successor, not both");
}

#[test]
fn in_a_tenth_of_the_epochs_stems_of_others_end_here() {
    let fluffing = |seed| {
        let mut config = config(Scheme::PlusPlus);
        config.dandelion.fluff_percent = 10;
        let (mut solo, _, ins) = house(config, seed, 2, 1);
        assert_eq!(begin(&mut solo, &stem(1))[0].1, stem(1), "ours never does");
        let sent = bring(&mut solo, ins[0], &stem(2));
        let events = told(&mut solo);
        if sent[0].1.kind() == Kind::Transaction {
            assert_eq!(sent[0].0.len(), 3, "all get it, whoever brought it");
            assert_eq!(events, [fluffed(2)]);
        } else {
            assert_eq!(events, []);
        }
        sent[0].1.kind() == Kind::Transaction
    };
    let roles: Vec<bool> = (0..=255).map(fluffing).collect();
    let count = roles.iter().filter(|fluffs| **fluffs).count();
    assert!((13..=40).contains(&count), "{count} of 256");
    assert_eq!((0..40).map(fluffing).collect::<Vec<_>>(), roles[..40], "a seed means a role");
}

#[test]
fn a_black_hole_is_lit_up_by_the_embargo() {
    for scheme in SCHEMES {
        let (mut solo, outs, ins) = house(config(scheme), 1, 3, 3);
        let mut sent = begin(&mut solo, &transaction(1));
        sent.extend(bring(&mut solo, ins[0], &stem(2)));
        if sent.is_empty() {
            sent = wait(&mut solo, 40); // patience, and a chain that does not aggregate
        }
        assert_eq!(sent.len(), 2, "{scheme:?}");
        told(&mut solo);
        let everybody: BTreeSet<ConnId> = outs.iter().chain(&ins).copied().collect();
        let mut events = Vec::new();
        for (to, payload) in wait(&mut solo, 4_000) {
            assert_eq!(payload.kind(), Kind::Transaction);
            assert_eq!(to.iter().copied().collect::<BTreeSet<_>>(), everybody, "{scheme:?}");
            events.push(payload.body().to_vec());
        }
        events.sort_unstable();
        assert_eq!(events, [stem(1).body(), stem(2).body()], "{scheme:?}");
        assert_eq!(told(&mut solo).len(), 2);
        assert_eq!(solo.endpoint.counts().stems_fluffed, 2);
    }
}

#[test]
fn what_is_public_has_no_embargo() {
    let (mut solo, outs, ins) = house(config(Scheme::Grin), 1, 3, 3);
    for number in 1..=4 {
        begin(&mut solo, &stem(number));
    }
    solo.receive(ins[0], transaction(1).frame());
    solo.judge(ins[0], &transaction(1), Verdict::Accept);
    solo.publish(&transaction(2));
    settle(&mut solo, &[transaction(3).id()]);
    let everybody = [outs, ins].concat();
    assert_eq!(wait(&mut solo, 179), []);
    assert_eq!(wait(&mut solo, 32), [(everybody, transaction(4))]);
    assert_eq!(told(&mut solo), [fluffed(4)]);
}

#[test]
fn a_stem_that_comes_in_a_circle_is_fluffed() {
    let (mut solo, outs, ins) = house(config(Scheme::PlusPlus), 1, 3, 3);
    bring(&mut solo, ins[0], &stem(1));
    let outputs = solo.receive(ins[1], stem(1).frame());
    let everybody = [outs, ins.clone()].concat();
    assert_eq!(sends(&outputs), [(everybody.clone(), transaction(1))]);
    let fluff = Out::ToChain(fluffed(1));
    assert!(outputs.contains(&fluff), "with the credit that came: {outputs:?}");
    // Both copies reach the chain before it has judged one.
    for conn in [ins[0], ins[1]] {
        assert_eq!(solo.receive(conn, stem(2).frame()).len(), 1);
    }
    assert_eq!(sends(&solo.judge(ins[0], &stem(2), Verdict::Accept))[0].1, stem(2));
    let sent = sends(&solo.judge(ins[1], &stem(2), Verdict::Accept));
    assert_eq!(sent, [(everybody, transaction(2))]);
    assert_eq!(wait(&mut solo, 10_000), [], "and their embargoes are over");
}

#[test]
fn a_successor_that_is_gone_is_replaced_and_without_any_it_is_fluffed() {
    for scheme in [Scheme::PlusPlus, Scheme::Grin] {
        let (mut solo, outs, ins) = house(config(scheme), 1, 3, 1);
        let mut here = outs.clone();
        for number in 0..3 {
            let [(to, sent)] = &begin(&mut solo, &stem(number))[..] else { panic!("one") };
            assert_eq!(sent, &stem(number));
            assert!(here.contains(&to[0]));
            here.retain(|conn| conn != &to[0]);
            solo.leave(to[0]);
            assert_eq!(told(&mut solo), [], "what was sent to it is not sent again");
        }
        assert_eq!(begin(&mut solo, &stem(9)), [(ins.clone(), transaction(9))]);
        assert_eq!(told(&mut solo), [fluffed(9)]);
        assert_eq!(wait(&mut solo, 10_000).len(), 3, "the embargoes end all the same");
    }
}

#[test]
fn what_the_send_queue_drops_goes_to_another() {
    let (mut solo, outs, ins) = house(config(Scheme::Grin), 1, 2, 1);
    let first = begin(&mut solo, &stem(1)).remove(0).0[0];
    let outputs = solo.handle(Input::Dropped { conn: ins[0], payload: &stem(1) });
    assert_eq!(outputs, [], "it was not sent there");
    let outputs = solo.handle(Input::Dropped { conn: first, payload: &stem(1) });
    let other = outs.iter().copied().find(|conn| *conn != first).unwrap();
    assert_eq!(sends(&outputs), [(vec![other], stem(1))]);
}

/// As a driver does it: each loss is told at once.
#[test]
fn what_nobody_has_room_for_is_offered_to_each_once_and_fluffed() {
    for scheme in [Scheme::PlusPlus, Scheme::Grin] {
        let (mut solo, outs, ins) = house(config(scheme), 1, 3, 1);
        let mut sent = begin(&mut solo, &stem(1));
        let mut tried = BTreeSet::new();
        while let [(to, payload)] = &sent[..]
            && payload.kind() == Kind::StemTransaction
        {
            assert!(tried.insert(to[0]), "{scheme:?}: a second time to the same");
            sent = sends(&solo.handle(Input::Dropped { conn: to[0], payload: &stem(1) }));
        }
        assert_eq!(tried, outs.iter().copied().collect(), "{scheme:?}");
        assert_eq!(sent, [([outs, ins].concat(), transaction(1))], "{scheme:?}");
        assert_eq!(told(&mut solo), [fluffed(1)]);
        assert_eq!(wait(&mut solo, 10_000), [], "no embargo is left");
    }
}

fn ask(solo: &mut Solo) -> (u64, Vec<Payload>) {
    match &told(solo)[..] {
        [ToChain::Aggregate { batch, stems }] => (*batch, stems.to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_chain_aggregates_what_was_gathered() {
    let (mut solo, _, ins) = house(config(Scheme::AggregateOnStem), 1, 3, 3);
    let whole = Payload::seal(&NET, Kind::StemTransaction, &[9; 8]).unwrap();
    for round in 0..3 {
        let numbers = [2 * round, 2 * round + 1];
        for number in numbers {
            assert_eq!(bring(&mut solo, ins[number as usize % 3], &stem(number)), []);
        }
        assert_eq!(wait(&mut solo, 29), []);
        assert_eq!(told(&mut solo), []);
        assert_eq!(wait(&mut solo, 1), []);
        let (batch, stems) = ask(&mut solo);
        assert_eq!(stems, numbers.map(stem));
        let answer = |payload| Input::FromChain(FromChain::Aggregated { batch, payload });
        match round {
            0 => {
                let sent = sends(&solo.handle(answer(Some(whole.clone()))));
                assert_eq!((sent.len(), &sent[0].1), (1, &whole));
                settle(&mut solo, &[whole.id()]);
            }
            1 => {
                let sent = sends(&solo.handle(answer(None)));
                assert_eq!(
                    sent.into_iter().map(|(_, it)| it).collect::<Vec<_>>(),
                    numbers.map(stem)
                );
                settle(&mut solo, &numbers.map(|number| stem(number).id()));
            }
            _ => {
                assert_eq!(wait(&mut solo, 10).len(), 2, "no answer");
                assert_eq!(solo.handle(answer(Some(whole.clone()))), [], "too late");
                settle(&mut solo, &numbers.map(|number| stem(number).id()));
            }
        }
        assert_eq!(wait(&mut solo, 5_000), []);
    }
}

#[test]
fn a_fluffing_node_of_grin_gathers_and_fluffs() {
    let mut config = config(Scheme::Grin);
    config.dandelion.fluff_percent = 100;
    let (mut solo, outs, ins) = house(config, 1, 2, 2);
    for number in 0..2 {
        assert_eq!(bring(&mut solo, ins[number as usize], &stem(number)), []);
    }
    assert_eq!(wait(&mut solo, 30), []);
    let (batch, stems) = ask(&mut solo);
    assert_eq!(stems.len(), 2);
    let whole = Payload::seal(&NET, Kind::StemTransaction, &[9; 8]).unwrap();
    let payload = Some(whole.clone());
    let sent = sends(&solo.handle(Input::FromChain(FromChain::Aggregated { batch, payload })));
    let public = Payload::seal(&NET, Kind::Transaction, whole.body()).unwrap();
    assert_eq!(sent, [([outs, ins].concat(), public.clone())]);
    assert_eq!(told(&mut solo), [ToChain::Fluffed { payload: public }]);
}

#[test]
fn a_batch_has_a_bound() {
    let (mut solo, _, ins) = house(config(Scheme::AggregateOnStem), 1, 2, 1);
    for number in 0..=AGGREGATE_MAX as u32 {
        solo.judge(ins[0], &stem(number), Verdict::Accept);
    }
    assert_eq!(ask(&mut solo).1.len(), AGGREGATE_MAX);
}

#[test]
fn stems_of_a_flooding_peer_are_bounded_and_cost_it_alone() {
    let mut config = config(Scheme::PlusPlus);
    config.dandelion.stems_max = 64;
    let (mut solo, _, ins) = house(config, 1, 3, 2);
    begin(&mut solo, &stem(10_000));
    bring(&mut solo, ins[1], &stem(10_001));
    for number in 0..1_000 {
        let sent = bring(&mut solo, ins[0], &stem(number));
        assert_eq!(sent.into_iter().map(|(_, it)| it).collect::<Vec<_>>(), [stem(number)]);
    }
    assert_eq!(told(&mut solo), [], "nothing of it can be seen");
    let lit: BTreeSet<Vec<u8>> =
        wait(&mut solo, 10_000).into_iter().map(|(_, it)| it.body().to_vec()).collect();
    assert_eq!(lit.len(), 8 + 2);
    assert!([10_000, 10_001].iter().all(|number| lit.contains(stem(*number).body())));
}

/// A transaction of grin with kernels that are locked up to these heights, the first version's form
/// being that of all.
fn locked(kernels: &[(u8, u64)]) -> Payload {
    let network = &Network::GRIN_MAIN;
    let kernel = |(last, height): &(u8, u64)| {
        let mut kernel = vec![2];
        kernel.extend(7_u64.to_be_bytes());
        kernel.extend(height.to_be_bytes());
        kernel.extend([8]);
        kernel.extend([3; 31]);
        kernel.extend([*last]);
        kernel.extend([4; 64]);
        kernel
    };
    let mut kernels: Vec<Vec<u8>> = kernels.iter().map(kernel).collect();
    kernels.sort_by_key(|kernel| Hash::of(kernel));
    let mut body = vec![1; 32];
    for count in [0, 0, kernels.len() as u64] {
        body.extend(count.to_be_bytes());
    }
    body.extend(kernels.concat());
    codec::check(Kind::Transaction, &body, 1000, network).unwrap();
    Payload::seal(network, Kind::StemTransaction, &body).unwrap()
}

/// On grin's network, with two outbound peers.
fn grin(scheme: Scheme) -> (Solo, Vec<ConnId>, ConnId) {
    let network = Network::GRIN_MAIN;
    let encode = |message: &Message<'_>| {
        let mut frame = Vec::new();
        message.encode_frame(&network, 1000, &mut frame).unwrap();
        frame
    };
    let rules = config(scheme).dandelion;
    let mut solo = Solo::new(
        Config {
            network: network.clone(),
            locality: peer::Locality::Local,
            dandelion: rules,
            silence_timeout: secs(1_000_000),
            ..passive(network.clone())
        },
        1,
    );
    solo.handle(Input::Tip(tip(100)));
    let mut outs = Vec::new();
    for index in 0..2 {
        let (conn, _) = solo.dial(index);
        let shake = Shake { genesis: network.genesis, ..shake() };
        solo.receive(conn, &encode(&Message::Shake(shake)));
        outs.push(conn);
    }
    let conn = solo.accepted(10, 1);
    let hand = Hand { genesis: network.genesis, ..hand() };
    solo.receive(conn, &encode(&Message::Hand(hand)));
    (solo, outs, conn)
}

#[test]
fn lock_heights_are_read_and_waited_for() {
    let (mut solo, outs, peer) = grin(Scheme::AggregateAndHold);
    let (soon, late) = (locked(&[(1, 50), (2, 110)]), locked(&[(3, 161)]));
    assert_eq!(bring(&mut solo, peer, &soon), []);
    assert_eq!(bring(&mut solo, peer, &late), []);
    let sent = wait(&mut solo, 30);
    assert_eq!((sent.len(), &sent[0].1), (1, &late), "too far to be held");
    settle(&mut solo, &[late.id()]);
    assert_eq!(wait(&mut solo, 10_000), []);
    solo.handle(Input::Tip(tip(109)));
    assert_eq!(wait(&mut solo, 1_000), []);
    solo.handle(Input::Tip(tip(110)));
    assert_eq!(wait(&mut solo, 29), []);
    let sent = wait(&mut solo, 1);
    assert_eq!((sent.len(), &sent[0].1), (1, &soon));
    assert!(outs.contains(&sent[0].0[0]));
}

#[test]
fn an_aggregate_of_grin_ends_the_embargo_of_its_parts() {
    let (mut solo, _, peer) = grin(Scheme::Grin);
    let (a, b, c) = (locked(&[(1, 0)]), locked(&[(2, 0)]), locked(&[(3, 0)]));
    for stem in [&a, &b, &c] {
        assert_eq!(bring(&mut solo, peer, stem).len(), 1);
    }
    let both = locked(&[(1, 0), (2, 0), (7, 0)]);
    let both = Payload::seal(&Network::GRIN_MAIN, Kind::Transaction, both.body()).unwrap();
    solo.publish(&both);
    let lit = wait(&mut solo, 1_000);
    assert_eq!((lit.len(), lit[0].1.body()), (1, c.body()));
    assert_eq!(told(&mut solo).len(), 1);
    // One that holds what we hold came in a circle, though its bytes are others.
    assert_eq!(bring(&mut solo, peer, &locked(&[(4, 0)]))[0].1.kind(), Kind::StemTransaction);
    let sent = bring(&mut solo, peer, &locked(&[(4, 0), (5, 0)]));
    assert_eq!(sent[0].1.kind(), Kind::Transaction);
    assert_eq!(wait(&mut solo, 1_000), []);
}

#[test]
fn stems_keep_within_the_pace_of_a_grin_peer() {
    let (mut solo, _, _) = grin(Scheme::Grin);
    let mut stems = 0;
    for last in 0..=254 {
        let sent = begin(&mut solo, &locked(&[(last, 0)]));
        stems += sent.iter().filter(|(_, it)| it.kind() == Kind::StemTransaction).count();
        settle(&mut solo, &[locked(&[(last, 0)]).id()]);
    }
    let messages = 2 * 50 - 2;
    assert!((messages - 4..=messages + 4).contains(&stems), "{stems}: bursts of two peers");
}

#[test]
fn rules_that_cannot_be_are_named() {
    let refusal = |change: fn(&mut DandelionRules)| {
        let mut config = passive(NET);
        change(&mut config.dandelion);
        match config.check() {
            Err(ConfigError::Dandelion { name, .. }) => name,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal(|it| it.epoch = secs(0)), "epoch");
    assert_eq!(refusal(|it| it.fluff_percent = 101), "fluff_percent");
    assert_eq!(refusal(|it| it.embargo = Embargo::Exponential(secs(0))), "embargo");
    assert_eq!(refusal(|it| it.patience = secs(75)), "patience");
    assert_eq!(refusal(|it| it.stems_max = 7), "stems_max");
    assert_eq!(refusal(|it| it.stems_max = 65_537), "stems_max");
    assert_eq!(refusal(|it| it.stem_bytes_max = 1_000), "stem_bytes_max");
    for scheme in SCHEMES {
        let mut config = passive(Network::GRIN_MAIN);
        config.dandelion = DandelionRules::of(scheme);
        assert_eq!(config.check(), Ok(()));
    }
}
