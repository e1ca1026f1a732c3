//! The greeting: who may say what before it, what both sides know after it.

use codec::limits::USER_AGENT_BYTES_MAX;
use codec::{Capabilities, Context, Hand, Hash, Kind, Message, Payload, Shake};
use peer::{CloseReason, ConnId, Direction, Input, Instant};

use crate::solo::{
    NET, Out, SLOT, Solo, addr, closes, hand, message, millis, passive, promise, raw_frame, secs,
    sent_kinds, shake, tip, transaction,
};
use crate::world::World;

const CONTEXT: Context<'_> = Context { version: 1000, network: &NET };

fn decoded(payload: &Payload) -> Message<'_> {
    Message::decode(payload.kind(), payload.body(), &CONTEXT).unwrap()
}

/// The reason for which a connection in this phase ends when it gets these bytes.
fn refusal(solo: &mut Solo, conn: ConnId, bytes: &[u8]) -> CloseReason {
    let outputs = solo.receive(conn, bytes);
    let [Out::Close(closed, reason)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(*closed, conn);
    assert!(!solo.is_here(conn));
    assert_eq!(solo.receive(conn, bytes), [], "what comes after the end is of no interest");
    *reason
}

#[test]
fn both_sides_know_each_other_afterwards() {
    let mut configs = vec![passive(NET), passive(NET)];
    configs[0].user_agent = "left".to_owned();
    configs[0].advertised.set_port(1234);
    configs[0].connect = vec![World::addr(1)];
    configs[1].user_agent = "right".to_owned();
    configs[1].capabilities = Capabilities::GRIN_NODE;
    let mut world = World::new(configs, 1);
    world.feed(0, Input::Tip(tip(4)));
    world.feed(1, Input::Tip(tip(5)));
    world.run_for(millis(1));

    let infos = [0, 1].map(|node| {
        let peers: Vec<_> = world.nodes[node].solo.endpoint.peers().collect();
        assert_eq!(peers.len(), 1);
        peers[0].clone()
    });
    let [of_right, of_left] = infos;
    assert!(of_right.established && of_left.established);
    assert_eq!((of_right.version, of_left.version), (1000, 1000));
    assert_eq!(of_right.direction, Direction::Outbound);
    assert_eq!(of_left.direction, Direction::Inbound);
    assert_eq!((&*of_right.user_agent, &*of_left.user_agent), ("right", "left"));
    let ours = Capabilities::EXTENSION;
    assert_eq!(of_right.capabilities, Capabilities::GRIN_NODE | ours);
    assert_eq!(of_left.capabilities, Capabilities::PEER_LIST | ours, "our default");
    assert_eq!((of_right.addr, of_left.addr), (World::addr(1), World::addr(0)));
    assert_eq!((of_right.listening_port, of_left.listening_port), (None, Some(1234)));
    assert_eq!(of_right.tip.total_difficulty, tip(5).total_difficulty);
    assert_eq!(of_left.tip.total_difficulty, tip(4).total_difficulty);
    let counts = [0, 1].map(|node| {
        let counts = world.nodes[node].solo.endpoint.counts();
        (counts.inbound, counts.outbound)
    });
    assert_eq!(counts, [(0, 1), (1, 0)]);
}

#[test]
fn the_smaller_version_is_used() {
    for (theirs, used) in
        [(0, 0), (1, 1), (2, 2), (3, 3), (1000, 1000), (1001, 1000), (u32::MAX, 1000)]
    {
        let mut solo = Solo::small();
        let inbound = solo.accepted(0, 1);
        let outputs =
            solo.receive(inbound, &message(&Message::Hand(Hand { version: theirs, ..hand() })));
        let [Out::Send(_, answer)] = &outputs[..] else { panic!("{outputs:?}") };
        let Message::Shake(ours) = decoded(answer) else { panic!("{answer:?}") };
        assert_eq!(ours.version, 1000, "we tell our highest, not the smaller one");
        let (outbound, _) = solo.dial(1);
        solo.receive(outbound, &message(&Message::Shake(Shake { version: theirs, ..shake() })));
        assert_eq!([inbound, outbound].map(|conn| solo.info(conn).version), [used; 2]);
    }
}

#[test]
fn another_genesis_is_refused_both_ways() {
    let genesis = Hash([9; 32]);
    let mut solo = Solo::small();
    let inbound = solo.accepted(0, 1);
    let greeting = message(&Message::Hand(Hand { genesis, ..hand() }));
    assert_eq!(refusal(&mut solo, inbound, &greeting), CloseReason::WrongGenesis);
    let (outbound, _) = solo.dial(1);
    let greeting = message(&Message::Shake(Shake { genesis, ..shake() }));
    assert_eq!(refusal(&mut solo, outbound, &greeting), CloseReason::WrongGenesis);
    let counts = solo.endpoint.counts();
    assert_eq!(counts.closed[CloseReason::WrongGenesis as usize], 2);
    assert_eq!((counts.inbound, counts.outbound), (0, 0));
}

#[test]
fn a_hand_says_what_was_configured_and_its_nonce_is_new() {
    let mut solo = Solo::with(|config| {
        config.capabilities = Capabilities::HEADER_HIST;
        config.advertised.set_port(4321);
    });
    solo.handle(Input::Tip(tip(7)));
    let ((_, first), (_, second)) = (solo.dial(0), solo.dial(1));
    let (Message::Hand(first), Message::Hand(second)) = (decoded(&first), decoded(&second)) else {
        panic!("{first:?} {second:?}")
    };
    assert_ne!(first.nonce, second.nonce);
    assert_eq!(first.version, 1000);
    assert_eq!(first.capabilities, Capabilities::HEADER_HIST | Capabilities::EXTENSION);
    assert_eq!(first.total_difficulty, tip(7).total_difficulty);
    assert_eq!(first.genesis, NET.genesis);
    assert_eq!((first.sender_addr.port(), first.receiver_addr), (4321, addr(0)));
}

#[test]
fn we_do_not_talk_to_ourselves_and_do_not_try_again() {
    let mut config = passive(NET);
    config.connect = vec![World::addr(0)];
    let mut world = World::new(vec![config], 2);
    world.run_for(secs(600));
    let node = &world.nodes[0];
    assert_eq!(node.closes, [CloseReason::Myself; 2], "both ends");
    assert_eq!(node.dials, 1, "an address that is our own was dialled again");
    assert_eq!(node.solo.endpoint.peers().count(), 0);
    assert_eq!(node.solo.endpoint.poll_timeout(), None);
}

#[test]
fn a_nonce_of_somebody_else_is_not_ours() {
    let mut solo = Solo::small();
    let (dialled, ours) = solo.dial(0);
    let Message::Hand(ours) = decoded(&ours) else { panic!("{ours:?}") };
    let (same, other) = (solo.accepted(1, 1), solo.accepted(2, 1));
    let greeting = |nonce| message(&Message::Hand(Hand { nonce, ..hand() }));
    let ends = [dialled, same].map(|conn| Out::Close(conn, CloseReason::Myself));
    assert_eq!(solo.receive(same, &greeting(ours.nonce)), ends);
    assert_eq!(sent_kinds(&solo.receive(other, &greeting(ours.nonce ^ 1))), [Kind::Shake]);
}

#[test]
fn a_greeting_has_its_time() {
    let mut solo = Solo::small();
    let silent = solo.accepted(0, 1);
    let (dialled, _) = solo.dial(1);
    let dripping = solo.accepted(2, 1);
    let greeting = message(&Message::Hand(hand()));
    let mut closed = Vec::new();
    for byte in &greeting[..12] {
        solo.receive(dripping, &[*byte]);
        closed.extend(closes(&solo.run_for(secs(1))));
    }
    let due = Instant::START.after(secs(10));
    assert_eq!(closed.len(), 3, "{closed:?}");
    for (at, conn, reason) in closed {
        assert!([silent, dialled, dripping].contains(&conn));
        assert_eq!(reason, CloseReason::HandshakeTimeout);
        assert!(due <= at && at <= due.after(SLOT), "{conn:?} at {at:?}");
    }
}

#[test]
fn only_the_greeting_may_come_before_it() {
    let unknown = (29..=255).step_by(113);
    for kind in Kind::ALL.into_iter().map(|kind| kind as u8).chain(unknown) {
        let length = u8::from(kind != Kind::Error as u8);
        for outbound in [false, true] {
            let expected = if outbound { Kind::Shake } else { Kind::Hand };
            if kind == expected as u8 {
                continue;
            }
            let mut solo = Solo::small();
            let mut fresh = |index| {
                if outbound { solo.dial(index).0 } else { solo.accepted(index, 1) }
            };
            let [whole, partial, split] = [0, 1, 2].map(&mut fresh);
            let frame = raw_frame(kind, &vec![0; length.into()]);
            let header = promise(kind, length.into());
            let reason = CloseReason::UnexpectedKind;
            assert_eq!(refusal(&mut solo, whole, &frame), reason, "{kind}");
            assert_eq!(refusal(&mut solo, partial, &header), reason, "{kind}: header alone");
            assert_eq!(solo.receive(split, &header[..7]), []);
            assert_eq!(refusal(&mut solo, split, &header[7..]), reason, "{kind}: in two parts");
            assert_eq!(solo.endpoint.counts().assembly_bytes, 0);
        }
    }
}

#[test]
fn a_second_greeting_and_an_error_are_refused() {
    let frames =
        [message(&Message::Hand(hand())), message(&Message::Shake(shake())), raw_frame(0, &[])];
    for (index, frame) in frames.iter().enumerate() {
        let mut solo = Solo::small();
        let conn = solo.join(index as u32);
        assert_eq!(refusal(&mut solo, conn, frame), CloseReason::UnexpectedKind, "{index}");
    }
}

#[test]
fn what_comes_right_behind_the_greeting_is_taken() {
    let mut solo = Solo::small();
    let conn = solo.accepted(0, 1);
    let greeting = message(&Message::Hand(hand()));
    let outputs = solo.receive(conn, &[&greeting[..], transaction(1).frame()].concat());
    assert!(matches!(&outputs[..], [Out::Send(..), Out::ToChain(_)]), "{outputs:?}");
}

#[test]
fn our_user_agent_is_cut_to_its_limit_and_theirs_is_read_whole() {
    let long = "ä".repeat(USER_AGENT_BYTES_MAX);
    let mut solo = Solo::with(|config| config.user_agent = format!("x{long}"));
    let (outbound, ours) = solo.dial(0);
    let Message::Hand(ours) = decoded(&ours) else { panic!("{ours:?}") };
    assert_eq!(ours.user_agent.len(), USER_AGENT_BYTES_MAX - 1, "whole characters only");
    assert!(long.starts_with(&ours.user_agent[1..]));

    let theirs = "y".repeat(250);
    let answer = message(&Message::Shake(Shake { user_agent: &theirs, ..shake() }));
    solo.receive(outbound, &answer);
    assert_eq!(solo.info(outbound).user_agent, theirs);
}

#[test]
fn capabilities_without_a_meaning_are_dropped() {
    let mut solo = Solo::small();
    let conn = solo.accepted(0, 1);
    let mut greeting = message(&Message::Hand(hand()));
    greeting[15..19].copy_from_slice(&[0xff; 4]);
    solo.receive(conn, &greeting);
    assert_eq!(solo.info(conn).capabilities.bits(), 0xff00_007f);
}

#[test]
fn an_end_before_the_greeting_is_told_from_later_ones() {
    let mut solo = Solo::small();
    let ends = [CloseReason::RemoteClosed, CloseReason::ConnectionLost];
    for (index, reason) in ends.into_iter().enumerate() {
        let early = solo.accepted(2 * index as u32, 1);
        let late = solo.join(2 * index as u32 + 1);
        for conn in [early, late] {
            assert_eq!(solo.handle(Input::Closed { conn, reason }), []);
        }
    }
    let broken = solo.join(7);
    solo.receive(broken, &transaction(1).frame()[..13]);
    solo.leave(broken);
    let closed = solo.endpoint.counts().closed;
    let of = |reason: CloseReason| closed[reason as usize];
    assert_eq!(of(CloseReason::HandshakeAborted), 2);
    assert_eq!(ends.map(of), [1, 1]);
    assert_eq!(of(CloseReason::TruncatedFrame), 1);
}
