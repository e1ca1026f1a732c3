//! Pings: tips travel with them, and silence ends a connection unless the pause was ours.

use std::time::Duration;

use codec::{Context, Kind, Message};
use peer::{CloseReason, ConnId, Input, Instant};

use crate::solo::{
    NET, Out, SLOT, Solo, addr, closes, millis, passive, ping, pong, promise, secs, sent_kinds, tip,
};
use crate::world::World;

const PERIOD: Duration = secs(10);

/// Lets time pass until a ping leaves.
fn run_to_ping(solo: &mut Solo) {
    for _ in 0..=PERIOD.as_millis() / SLOT.as_millis() {
        if !solo.run_for(SLOT).is_empty() {
            return;
        }
    }
    panic!("no ping within a period");
}

/// Checks that this connection, and no other, ends for this reason, `wait` from now.
fn ends_in(solo: &mut Solo, wait: Duration, conn: ConnId, reason: CloseReason) {
    let due = solo.now.after(wait);
    let closed = closes(&solo.run_for(wait + secs(100)));
    let [(at, closed, why)] = closed[..] else { panic!("{closed:?}") };
    assert_eq!((closed, why), (conn, reason));
    assert!(due <= at && at <= due.after(SLOT), "due at {due:?}, closed at {at:?}");
}

#[test]
fn tips_travel_with_pings_and_pongs() {
    let mut configs = vec![passive(NET), passive(NET)];
    configs[0].connect = vec![World::addr(1)];
    let mut world = World::new(configs, 3);
    for round in 1..5 {
        world.feed(0, Input::Tip(tip(2 * round)));
        world.feed(1, Input::Tip(tip(2 * round + 1)));
        world.run_for(secs(11));
        for (node, expected) in [(0, 2 * round + 1), (1, 2 * round)] {
            let info = world.nodes[node].solo.endpoint.peers().next().unwrap();
            assert_eq!(info.tip, tip(expected), "round {round}, node {node}");
        }
    }
}

#[test]
fn each_of_both_messages_carries_the_tip() {
    let mut solo = Solo::small();
    let conn = solo.join(0);
    solo.handle(Input::Tip(tip(3)));
    let outputs = solo.receive(conn, &ping(5));
    let Some(Out::Send(_, answer)) = outputs.first() else { panic!("{outputs:?}") };
    let context = Context { version: 1000, network: &NET };
    let Ok(Message::Pong(answer)) = Message::decode(answer.kind(), answer.body(), &context) else {
        panic!("{answer:?}")
    };
    assert_eq!((answer.height, answer.total_difficulty), (3, 30));
    assert_eq!(solo.info(conn).tip, tip(5));
    solo.receive(conn, &pong(6));
    assert_eq!(solo.info(conn).tip, tip(6));
}

#[test]
fn our_ping_leaves_with_the_pong_unless_one_left_just_before() {
    let mut solo = Solo::small();
    let conn = solo.join(0);
    run_to_ping(&mut solo);
    assert_eq!(sent_kinds(&solo.receive(conn, &ping(1))), [Kind::Pong], "one has just left");
    assert_eq!(solo.run_for(PERIOD / 10), []);
    assert_eq!(sent_kinds(&solo.receive(conn, &ping(1))), [Kind::Pong, Kind::Ping]);
    assert_eq!(sent_kinds(&solo.receive(conn, &ping(1))), [Kind::Pong], "it has left");
    // A remote that pings every period, a little late, finds ours still waiting to ride.
    for _ in 0..3 {
        assert_eq!(solo.run_for(PERIOD + 2 * SLOT), []);
        assert_eq!(sent_kinds(&solo.receive(conn, &ping(1))), [Kind::Pong, Kind::Ping]);
    }
    // One that does not ping is pinged.
    assert_eq!(solo.run_for(PERIOD + PERIOD * 3 / 20 + 2 * SLOT).len(), 1);
}

#[test]
fn a_ping_that_left_just_before_the_remotes_waits_for_it_the_next_time() {
    let mut solo = Solo::small();
    let conn = solo.join(0);
    run_to_ping(&mut solo);
    assert_eq!(solo.run_for(PERIOD / 20), []);
    assert_eq!(sent_kinds(&solo.receive(conn, &ping(1))), [Kind::Pong]);
    assert_eq!(solo.run_for(PERIOD + 2 * SLOT), []);
    assert_eq!(sent_kinds(&solo.receive(conn, &ping(1))), [Kind::Pong, Kind::Ping]);
}

#[test]
fn two_endpoints_exchange_one_pair_of_messages_a_period() {
    let mut configs = vec![passive(NET), passive(NET)];
    configs[0].connect = vec![World::addr(1)];
    let mut world = World::new(configs, 4).smooth();
    world.run_for(secs(30));
    let frames =
        |world: &World| [0, 1].map(|node| world.nodes[node].solo.endpoint.counts().frames_received);
    let before = frames(&world);
    world.run_for(secs(100));
    for (before, after) in before.into_iter().zip(frames(&world)) {
        assert!((18..=22).contains(&(after - before)), "{} frames in ten periods", after - before);
    }
}

#[test]
fn a_silence_that_is_just_longer_than_a_period_ends_no_connection() {
    for silence in [millis(1_100), millis(1_150), millis(1_250), millis(1_400)] {
        let mut configs = vec![passive(NET), passive(NET)];
        configs[0].connect = vec![World::addr(1)];
        for config in &mut configs {
            (config.ping_period, config.silence_timeout) = (secs(1), silence);
        }
        let mut world = World::new(configs, 4).smooth();
        world.run_for(secs(60));
        for node in &world.nodes {
            let closed = node.solo.endpoint.counts().closed;
            assert_eq!(closed.iter().sum::<u64>(), 0, "{silence:?}: {closed:?}");
        }
    }
}

#[test]
fn the_round_trip_is_that_of_the_ping() {
    let mut solo = Solo::small();
    let conn = solo.join(0);
    solo.receive(conn, &pong(1));
    assert_eq!(solo.info(conn).ping, None, "nothing was asked");
    run_to_ping(&mut solo);
    // The ping left at the end of a slot.
    let left = Instant::from_micros(solo.now.micros() / 100_000 * 100_000);
    solo.now = left.after(millis(120));
    solo.receive(conn, &pong(1));
    assert_eq!(solo.info(conn).ping, Some(millis(120)));
    solo.now = solo.now.after(secs(1));
    solo.receive(conn, &pong(1));
    assert_eq!(solo.info(conn).ping, Some(millis(120)), "one pong to a ping");
}

#[test]
fn pings_of_peers_that_came_together_are_spread() {
    let mut solo = Solo::small();
    for index in 0..200 {
        solo.join(index);
    }
    let pings = solo.run_for(PERIOD);
    assert_eq!(pings.len(), 200);
    let most = pings.chunk_by(|(left, _), (right, _)| left == right).map(<[_]>::len).max();
    assert!(most < Some(20), "{most:?} in one slot");
}

#[test]
fn silence_ends_a_connection_and_any_byte_breaks_it() {
    let mut solo = Solo::small();
    let conn = solo.join(0);
    assert_eq!(closes(&solo.run_for(secs(59))), []);
    solo.receive(conn, &pong(1));
    ends_in(&mut solo, secs(60), conn, CloseReason::Silent);
    assert_eq!(solo.endpoint.counts().inbound, 0);
}

#[test]
fn a_pause_stops_the_clock_of_silence() {
    let mut solo = Solo::small();
    let conn = solo.join(0);
    solo.run_for(secs(50));
    solo.handle(Input::Paused { conn });
    assert_eq!(closes(&solo.run_for(secs(500))), []);
    solo.handle(Input::Paused { conn });
    assert_eq!(closes(&solo.run_for(secs(500))), [], "two pauses are one");
    solo.handle(Input::Resumed { conn });
    ends_in(&mut solo, secs(10), conn, CloseReason::Silent);
}

#[test]
fn a_pause_stops_the_clock_of_the_greeting() {
    let mut solo = Solo::small();
    let conn = solo.accepted(0, 1);
    solo.run_for(secs(4));
    solo.handle(Input::Paused { conn });
    assert_eq!(solo.run_for(secs(100)), []);
    solo.handle(Input::Resumed { conn });
    ends_in(&mut solo, secs(6), conn, CloseReason::HandshakeTimeout);
}

#[test]
fn a_pause_stops_the_clock_of_a_frame() {
    let mut solo = Solo::small();
    let conn = solo.join(0);
    solo.receive(conn, &promise(Kind::Transaction as u8, 1_000));
    solo.run_for(secs(7));
    solo.handle(Input::Paused { conn });
    assert_eq!(closes(&solo.run_for(secs(100))), []);
    solo.handle(Input::Resumed { conn });
    // The body has its 30 ms at the least rate.
    ends_in(&mut solo, secs(3) + millis(30), conn, CloseReason::FrameTimeout);
}

#[test]
fn bytes_given_during_a_pause_win_no_more_than_the_pause() {
    let mut solo = Solo::small();
    let conn = solo.join(0);
    solo.run_for(secs(5));
    solo.handle(Input::Paused { conn });
    solo.run_for(secs(300));
    solo.receive(conn, &promise(Kind::Transaction as u8, 1_000));
    solo.run_for(secs(200));
    solo.handle(Input::Resumed { conn });
    ends_in(&mut solo, secs(10) + millis(30), conn, CloseReason::FrameTimeout);
}

#[test]
fn a_pause_of_nobody_is_harmless() {
    let mut solo = Solo::small();
    let gone = solo.join(0);
    solo.leave(gone);
    for conn in [gone, ConnId::new(9, 9)] {
        assert_eq!(solo.handle(Input::Paused { conn }), []);
        assert_eq!(solo.handle(Input::Resumed { conn }), []);
    }
    let conn = solo.join_as(0, 2);
    solo.handle(Input::Resumed { conn });
    assert_eq!(solo.info(conn).addr, addr(0));
}
