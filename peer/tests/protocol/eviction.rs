//! A full house: somebody makes room, or the newcomer learns of others and goes.

use codec::{BanReason, Hand, Kind, Message};
use peer::{CloseReason, ConnId, FromChain, Input, Request, Verdict};

use crate::solo::{
    Out, Solo, hand, hash, message, millis, raw_frame, secs, sent_kinds, transaction,
};

fn goodbye() -> Vec<u8> {
    message(&Message::BanReason(BanReason::None))
}

/// Somebody from this /16 dials and greets.
fn come(solo: &mut Solo, index: u32, group: u8) -> (ConnId, Vec<Out>) {
    let conn = ConnId::new(index, 1);
    let [_, _, high, low] = index.to_be_bytes();
    let addr = ([50, group, high, low], 9).into();
    assert_eq!(solo.handle(Input::Accepted { conn, addr }), []);
    (conn, solo.receive(conn, &message(&Message::Hand(hand()))))
}

/// A house for so many, full of peers from as many groups as there are, each a second older.
fn full(inbound: u32) -> Solo {
    let mut solo = Solo::with(|config| config.slots.inbound = inbound);
    for index in 0..inbound {
        come(&mut solo, index, index as u8);
        solo.now = solo.now.after(secs(1));
    }
    assert_eq!(solo.endpoint.counts().inbound, u64::from(inbound));
    solo
}

fn evicted(outputs: &[Out]) -> Option<ConnId> {
    outputs.iter().find_map(|output| match output {
        Out::Close(conn, CloseReason::Evicted) => Some(*conn),
        _ => None,
    })
}

#[test]
fn who_is_worth_no_more_than_the_others_learns_of_others_and_goes() {
    let mut solo = Solo::with(|config| config.slots.inbound = 4);
    for index in 0..4 {
        come(&mut solo, index, 90);
    }
    let (conn, outputs) = come(&mut solo, 90, 90);
    assert_eq!(sent_kinds(&outputs), [Kind::Shake, Kind::PeerAddrs, Kind::BanReason]);
    let [.., Out::Send(_, last), Out::Close(closed, reason)] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!(last.frame(), goodbye());
    assert_eq!((*closed, *reason), (conn, CloseReason::NoRoom));
    assert_eq!(solo.endpoint.counts().inbound, 4);
    assert_eq!(solo.endpoint.counts().closed[CloseReason::NoRoom as usize], 1);
}

#[test]
fn a_crowd_of_one_group_makes_room_for_others() {
    let mut solo = full(100);
    let mut crowd = Vec::new();
    for index in 100..220 {
        solo.now = solo.now.after(secs(1));
        let (conn, outputs) = come(&mut solo, index, 200);
        match evicted(&outputs) {
            Some(victim) => {
                assert_ne!(victim, conn);
                let at = outputs.iter().position(|it| matches!(it, Out::Close(..))).unwrap();
                let Out::Send(to, last) = &outputs[at - 1] else { panic!("{outputs:?}") };
                assert_eq!(*to, peer::Recipients::One(victim));
                assert_eq!(last.frame(), goodbye(), "and it is told");
                crowd.push(conn);
            }
            None => assert_eq!(outputs.last(), Some(&Out::Close(conn, CloseReason::NoRoom))),
        }
        assert!(solo.endpoint.counts().inbound <= 100);
    }
    // Somebody of yet another group finds the crowd, and not the diverse.
    solo.now = solo.now.after(secs(1));
    let (_, outputs) = come(&mut solo, 300, 201);
    if let Some(victim) = evicted(&outputs) {
        assert!(crowd.contains(&victim), "{victim:?}");
    }
    let still = (0..100).filter(|index| solo.is_here(ConnId::new(*index, 1))).count();
    assert!(still >= 50, "the half that came first stays: {still}");
}

#[test]
fn who_brought_what_the_chain_took_stays() {
    let mut solo = full(60);
    for _ in 0..10 {
        solo.now = solo.now.after(secs(1));
    }
    // The youngest would be the first to go.
    let useful = ConnId::new(59, 1);
    solo.receive(useful, transaction(1).frame());
    solo.judge(useful, &transaction(1), Verdict::Accept);
    let mut gone = 0;
    for index in 100..160 {
        solo.now = solo.now.after(secs(1));
        gone += u32::from(evicted(&come(&mut solo, index, index as u8).1).is_some());
    }
    assert!(gone > 10, "{gone}");
    assert!(solo.is_here(useful));
}

#[test]
fn who_misbehaved_lately_displaces_nobody() {
    let mut solo = full(100);
    let bad = ConnId::new(99, 1);
    solo.receive(bad, &raw_frame(Kind::Ping as u8, &[0; 3]));
    assert!(!solo.is_here(bad));
    come(&mut solo, 500, 250);
    solo.now = solo.now.after(secs(1));
    let again = ConnId::new(99, 2);
    solo.handle(Input::Accepted { conn: again, addr: ([50, 99, 0, 99], 9).into() });
    let outputs = solo.receive(again, &message(&Message::Hand(hand())));
    assert_eq!(outputs.last(), Some(&Out::Close(again, CloseReason::NoRoom)));
}

#[test]
fn only_so_many_in_a_second_make_us_look_for_a_victim() {
    let mut solo = full(200);
    solo.now = solo.now.after(secs(10));
    let mut gone = 0;
    for index in 1_000..1_100 {
        gone += u32::from(evicted(&come(&mut solo, index, 250).1).is_some());
    }
    assert!(gone <= 10, "{gone} in an instant");
    solo.now = solo.now.after(millis(1_000));
    let more: u32 = (2_000..2_100)
        .map(|index| u32::from(evicted(&come(&mut solo, index, 251).1).is_some()))
        .sum();
    assert!(more <= 10, "{more} in the next");
}

#[test]
fn whom_the_operator_wants_is_let_in_and_stays() {
    let mut solo = full(4);
    let wanted = "51.1.1.1:3414".parse().unwrap();
    solo.handle(Input::Hold { addr: wanted });
    solo.handle(Input::DialFailed { addr: wanted });
    let conn = ConnId::new(80, 1);
    solo.handle(Input::Accepted { conn, addr: ([51, 1, 1, 1], 40_000).into() });
    let greeting = Hand { sender_addr: wanted, ..hand() };
    let outputs = solo.receive(conn, &message(&Message::Hand(greeting)));
    assert_eq!(sent_kinds(&outputs), [Kind::Shake]);
    assert!(solo.is_here(conn));
}

#[test]
fn who_never_answers_our_request_is_not_kept_for_it() {
    let mut solo = full(16);
    for index in 0..16 {
        let request = Request::Transaction(hash(9));
        let to = ConnId::new(index, 1);
        solo.handle(Input::FromChain(FromChain::Request { to, request }));
    }
    let crowd: Vec<_> =
        (16..32).filter_map(|index| evicted(&come(&mut solo, index, 99).1)).collect();
    assert!(!crowd.is_empty(), "sixteen that owe an answer, and nobody makes room");
}

#[test]
fn a_crowd_that_is_refused_uses_up_no_looks() {
    let mut solo = Solo::with(|config| config.slots.inbound = 100);
    for index in 0..200 {
        come(&mut solo, index, 200);
    }
    assert_eq!(solo.endpoint.counts().inbound, 100);
    let (conn, outputs) = come(&mut solo, 500, 201);
    assert!(evicted(&outputs).is_some() && solo.is_here(conn));
}
