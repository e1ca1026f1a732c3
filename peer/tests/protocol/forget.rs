//! A peer that left is forgotten whole, and memory is what was set up.

use codec::{Kind, Message};
use peer::{
    CloseReason, Config, ConnId, Endpoint, FromChain, Input, InventoryLimits, Request, Rng,
};
use peer::{Instant, Verdict};

use crate::solo::{
    NET, Out, SLOT, Solo, hand, hash, message, millis, ping, pong, promise, recipients, secs,
    transaction,
};

/// Columns for so many peers.
fn with_slots(slots: u32) -> Solo {
    Solo::with(|config| {
        config.inventory = InventoryLimits { rows: 512, slots };
        config.silence_timeout = secs(100_000);
    })
}

#[test]
fn the_small_setup_is_small() {
    let endpoint = Endpoint::new(Config::small(NET), [1; 32]);
    let bytes = endpoint.memory_bytes();
    assert!((50_000..=400_000).contains(&bytes), "{bytes}");
}

#[test]
fn a_new_peer_in_an_old_column_lacks_everything() {
    for swept in [false, true] {
        let mut solo = with_slots(1);
        let old = solo.join(0);
        let payloads: Vec<_> = (0..600).map(transaction).collect();
        for payload in &payloads {
            solo.publish(payload);
        }
        solo.leave(old);
        if swept {
            solo.run_for(secs(1));
        }
        let new = solo.join_as(0, 2);
        for payload in &payloads {
            let outputs = solo.publish(payload);
            assert_eq!(recipients(&outputs[0]), [new], "swept: {swept}");
        }
        // A column is what keeps a peer's own payload from it.
        solo.receive(new, transaction(1_000).frame());
        let echoed = !solo.judge(new, &transaction(1_000), Verdict::Accept).is_empty();
        assert_eq!(echoed, !swept, "a column is free when it was swept, and not before");
    }
}

#[test]
fn traffic_does_not_keep_columns_from_being_swept() {
    let mut solo = with_slots(2);
    let [busy, leaver] = [0, 1].map(|index| solo.join(index));
    solo.leave(leaver);
    for _ in 0..100 {
        solo.receive(busy, &pong(1));
        solo.run_for(SLOT / 10);
    }
    let new = solo.join_as(1, 2);
    solo.receive(new, transaction(1).frame());
    let outputs = solo.judge(new, &transaction(1), Verdict::Accept);
    assert_eq!(recipients(&outputs[0]), [busy], "the newcomer found no column");
}

#[test]
fn nothing_is_due_when_everybody_has_left() {
    let mut solo = with_slots(4);
    let conns = [0, 1, 2, 3, 4].map(|index| solo.join(index));
    solo.receive(conns[0], &promise(Kind::Block as u8, 5_000));
    let request = Request::Headers(Box::new([hash(1)]));
    solo.handle(Input::FromChain(FromChain::Request { to: conns[1], request }));
    solo.handle(Input::Paused { conn: conns[2] });
    solo.run_for(secs(5));
    for conn in conns {
        solo.leave(conn);
        solo.leave(conn);
    }
    let counts = solo.endpoint.counts();
    assert_eq!((counts.inbound, counts.assembly_bytes), (0, 0));
    assert_eq!(counts.closed.iter().sum::<u64>(), 5, "each end counts once");
    assert_eq!(solo.run_for(secs(1_000)), []);
    assert_eq!(solo.endpoint.poll_timeout(), None);

    for conn in conns {
        assert_eq!(solo.receive(conn, &ping(1)), []);
        assert_eq!(solo.handle(Input::Resumed { conn }), []);
        assert_eq!(solo.endpoint.bytes_missing(conn), 0);
        let deliver = FromChain::Deliver { to: conn, payload: transaction(1) };
        assert_eq!(solo.handle(Input::FromChain(deliver)), []);
    }
    let heirs = [0, 1].map(|index| solo.join_as(index, 2));
    let headers = crate::solo::payload(Kind::Headers, 1);
    let refused = [Out::Close(heirs[1], CloseReason::Unsolicited)];
    assert_eq!(solo.receive(heirs[1], headers.frame()), refused, "the request was not its own");
}

/// One random act of a peer that is here.
fn act(solo: &mut Solo, dice: &mut Rng, conn: ConnId) -> Vec<Out> {
    let number = dice.below(300) as u32;
    match dice.below(5) {
        0 => solo.receive(conn, &ping(1)),
        1 => solo.publish(&transaction(number)),
        2 => solo.judge(conn, &transaction(number), Verdict::Accept),
        3 => {
            let request = Request::Block(hash(1));
            solo.handle(Input::FromChain(FromChain::Request { to: conn, request }))
        }
        _ => solo.receive(conn, transaction(number).frame()),
    }
}

#[test]
fn thousands_come_and_go() {
    let mut solo = with_slots(8);
    let mut dice = Rng::from_seed([5; 32]);
    let mut here: Vec<ConnId> = Vec::new();
    let memory = solo.endpoint.memory_bytes();
    for round in 0..6_000u32 {
        if here.len() == 6 {
            let leaver = here.remove(dice.below(6) as usize);
            let frame = transaction(round);
            solo.receive(leaver, &frame.frame()[..dice.below(15) as usize]);
            solo.leave(leaver);
        }
        let free = (0..6).find(|index| here.iter().all(|conn| conn.index() != *index)).unwrap();
        here.push(solo.join_as(free, round + 1));
        let actor = here[dice.below(here.len() as u64) as usize];
        let mut outputs = act(&mut solo, &mut dice, actor);
        outputs.extend(solo.run_for(millis(dice.below(60))).into_iter().map(|(_, output)| output));
        let named = outputs.iter().flat_map(recipients);
        let stranger = named.into_iter().find(|conn| !here.contains(conn));
        assert_eq!(stranger, None, "round {round}");
    }
    let counts = solo.endpoint.counts();
    assert_eq!(counts.inbound, here.len() as u64);
    assert_eq!(counts.assembly_bytes, 0);
    let grown = solo.endpoint.memory_bytes() - memory;
    assert!(grown < 16_384, "six hosts in the address book, and {grown} bytes more");
    for conn in here {
        solo.leave(conn);
    }
    solo.run_for(secs(60));
    assert_eq!(solo.endpoint.poll_timeout(), None);
}

#[test]
fn strangers_that_never_greet_leave_nothing() {
    let mut solo = with_slots(1);
    let greeting = message(&Message::Hand(hand()));
    for generation in 1..3_000 {
        let conn = solo.accepted(0, generation);
        solo.receive(conn, &greeting[..generation as usize % greeting.len()]);
        solo.leave(conn);
    }
    assert_eq!(solo.endpoint.counts().closed.iter().sum::<u64>(), 2_999);
    assert_eq!(solo.run_for(secs(20)), []);
    assert_eq!(solo.endpoint.poll_timeout(), None);
    assert!(solo.now > Instant::START);
    solo.join_as(0, 5_000);
}
