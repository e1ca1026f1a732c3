//! Determinism: the same inputs and the same seed give the same outputs, byte for byte.

use codec::{Kind, Message};
use peer::{
    CloseReason, Config, ConnId, Credit, FromChain, Input, InventoryLimits, Request, Rng,
    SeenLimits, Source, ToChain, Verdict,
};

use crate::solo::{
    NET, Out, Recorded, Solo, Step, UNLIMITED, addr, hand, hash, message, millis, passive, payload,
    ping, secs, shake, tip,
};
use crate::world::World;

/// Small tables, so that what is evicted and swept is part of the run.
fn config() -> Config {
    Config {
        connect: vec![addr(90), addr(91)],
        seen: SeenLimits { recent_ids: 32, older_ids: 64, older_bits_per_id: 4 },
        inventory: InventoryLimits { rows: 16, slots: 5 },
        ban_duration: secs(2),
        discouragement: secs(1),
        ..passive(NET)
    }
}

/// Gives what was recorded to a fresh endpoint.
fn replayed(config: Config, seed: u8, record: &[Step]) -> Vec<(usize, Vec<Out>)> {
    let mut solo = Solo::new(config, seed);
    let again = |step: &Step| {
        solo.now = step.at;
        solo.step(step.input.as_input())
    };
    record.iter().map(again).collect()
}

fn outputs(record: &[Step]) -> Vec<(usize, Vec<Out>)> {
    record.iter().map(|step| (step.consumed, step.outputs.clone())).collect()
}

/// Whatever can come in, at random, to connections that may be here or not.
fn some_input(dice: &mut Rng) -> Recorded {
    let conn = ConnId::new(dice.below(8) as u32, dice.below(2) as u32 + 1);
    let kinds = [Kind::Transaction, Kind::Block, Kind::CompactBlock, Kind::StemTransaction];
    let kind = *dice.pick(&kinds).unwrap();
    let some = payload(kind, dice.below(100) as u32);
    let from = Source { conn, addr: addr(conn.index()) };
    let verdicts = [Verdict::Accept, Verdict::Accept, Verdict::Later, Verdict::Invalid];
    let verdict = *dice.pick(&verdicts).unwrap();
    let request = Request::Transaction(hash(dice.below(9) as u8));
    let credit = Credit { frames: dice.below(9) as u32, items: dice.below(9) as u32, bytes: 900 };
    let ends = [CloseReason::RemoteClosed, CloseReason::ConnectionLost, CloseReason::SlowReader];
    match dice.below(40) {
        0 => Recorded::Tip(tip(dice.below(9))),
        1 => Recorded::Hold(addr(92 + dice.below(3) as u32)),
        2 => Recorded::DialFailed(addr(90 + dice.below(5) as u32)),
        3 => Recorded::Paused(conn),
        4 => Recorded::Resumed(conn),
        5 => Recorded::Closed(conn, *dice.pick(&ends).unwrap()),
        6 => Recorded::Dropped(conn, some),
        7 if dice.below(2) == 0 => Recorded::TurnedAway,
        7 => Recorded::NotDialed(addr(90 + dice.below(5) as u32)),
        8..=10 => Recorded::FromChain(FromChain::Publish(some)),
        11..=14 => Recorded::FromChain(FromChain::Verdict { from, payload: some, verdict }),
        15 => Recorded::FromChain(FromChain::Request { to: conn, request }),
        16 => Recorded::FromChain(FromChain::Deliver { to: conn, payload: some }),
        17..=19 => Recorded::Received(conn, ping(dice.below(9)), credit),
        20..=26 => Recorded::Timeout,
        27 => Recorded::Received(conn, message(&Message::GetBlock(hash(1))), credit),
        28..=30 => {
            let cut = dice.below(some.frame().len() as u64) as usize;
            Recorded::Received(conn, some.frame()[cut..].to_vec(), credit)
        }
        _ => Recorded::Received(conn, some.frame().to_vec(), credit),
    }
}

/// A run of thousands of random inputs, with peers that come, greet, err and go.
fn wild_run() -> Vec<Step> {
    let mut solo = Solo::new(config(), 7);
    solo.record = Some(Vec::new());
    let mut dice = Rng::from_seed([8; 32]);
    let mut generations = [1; 8];
    for _ in 0..6_000 {
        solo.now = solo.now.after(millis(dice.below(400)));
        let index = dice.below(8) as u32;
        let generation = &mut generations[index as usize];
        let here = [1, 2].iter().any(|generation| solo.is_here(ConnId::new(index, *generation)));
        if here || dice.chance(1, 2) {
            let input = some_input(&mut dice);
            solo.step(input.as_input());
            continue;
        }
        *generation = 3 - *generation;
        let conn = ConnId::new(index, *generation);
        let greeting = if dice.chance(1, 3) {
            solo.handle(Input::Dialed { conn, addr: addr(90 + index) });
            message(&Message::Shake(shake()))
        } else {
            solo.handle(Input::Accepted { conn, addr: addr(index) });
            message(&Message::Hand(hand()))
        };
        if dice.chance(9, 10) {
            solo.step(Input::Received { conn, bytes: &greeting, credit: UNLIMITED });
        }
    }
    solo.handle(Input::Shutdown);
    solo.record.take().unwrap()
}

#[test]
fn a_wild_run_is_replayed_byte_for_byte() {
    let record = wild_run();
    let expected = outputs(&record);
    let all: Vec<&Out> = expected.iter().flat_map(|(_, outputs)| outputs).collect();
    for wanted in [
        |output: &Out| matches!(output, Out::Dial(_)),
        |output: &Out| matches!(output, Out::Send(..)),
        |output: &Out| matches!(output, Out::Close(..)),
        |output: &Out| matches!(output, Out::ToChain(_)),
    ] {
        let count = all.iter().filter(|output| wanted(output)).count();
        assert!(count > 20, "the run is too tame: {count}");
    }
    assert_eq!(replayed(config(), 7, &record), expected);
}

#[test]
fn a_conversation_of_three_is_replayed_byte_for_byte() {
    let configs: Vec<Config> = (0..3usize)
        .map(|node| Config { connect: (0..node).map(World::addr).collect(), ..passive(NET) })
        .collect();
    let mut world = World::new(configs.clone(), 9);
    for node in &mut world.nodes {
        node.solo.record = Some(Vec::new());
    }
    world.run_for(millis(1));
    for round in 0..40 {
        let new = payload(Kind::Block, round);
        let node = round as usize % 3;
        world.feed(node, Input::FromChain(FromChain::Publish(new)));
        world.run_for(millis(700));
    }
    for (index, config) in configs.into_iter().enumerate() {
        let node = &world.nodes[index];
        assert_eq!(node.solo.endpoint.peers().count(), 2);
        let published = (0..40).filter(|round| round % 3 == index).count();
        let payload = |event: &&ToChain| matches!(event, ToChain::Payload { .. });
        let delivered = node.events.iter().filter(payload).count();
        assert_eq!(delivered, 40 - published, "each of the others' payloads, once");
        let record = node.solo.record.as_ref().unwrap();
        let seed = 9 ^ (index as u8 + 1);
        assert_eq!(replayed(config, seed, record), outputs(record), "node {index}");
    }
}

#[test]
fn another_seed_is_another_run_where_dice_are_rolled() {
    let run = |seed| {
        let mut solo = Solo::new(config(), seed);
        solo.handle(Input::Timeout);
        let (_, hand) = solo.dial(0);
        for index in 1..4 {
            solo.join(index);
        }
        solo.handle(Input::DialFailed { addr: addr(90) });
        (hand, solo.run_for(secs(30)))
    };
    assert_eq!(run(1), run(1));
    let ((first_hand, first), (second_hand, second)) = (run(1), run(2));
    assert_ne!(first_hand.frame(), second_hand.frame(), "the nonce");
    let pings = |run: &[(peer::Instant, Out)]| {
        let pings = run.iter().filter(|(_, output)| matches!(output, Out::Send(..)));
        pings.map(|(at, _)| *at).collect::<Vec<_>>()
    };
    assert_ne!(pings(&first), pings(&second), "the spread of the pings");
    assert_eq!(pings(&first).len(), pings(&second).len());
}
