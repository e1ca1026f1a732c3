//! Receives: late completions, buffers that run out, a full lane, shares of a turn, groups.

use codec::FRAME_HEADER_BYTES;

use super::*;
use crate::connection::{PARKED_MAX, Waits};
use crate::io::Group;

#[test]
fn a_completion_of_an_earlier_use_of_the_slot_only_gives_its_buffer_back() {
    let mut stage = Stage::new(Setup { connections_max: 1, ..Setup::default() });
    let first = stage.establish(1)[0];
    let late = stage.script.conn(first).unwrap();
    stage.script.end(first);
    stage.settle();
    assert!(!stage.script.is_open(first));
    let second = stage.establish(1)[0];
    let conn = stage.script.conn(second).unwrap();
    assert_eq!((conn.index(), late.index()), (0, 0), "the same slot");
    assert_ne!(conn, late);

    let before = stage.metrics();
    stage.script.receive_late(late, Group::Small, &[&ping()[..], b"garbage"].concat());
    stage.turns(3);
    let after = stage.metrics();
    assert_eq!(after.completions_stale - before.completions_stale, 1);
    assert_eq!(
        (after.frames_received, after.bytes_received, after.closed, after.connections),
        (before.frames_received, before.bytes_received, before.closed, 1)
    );
    assert_eq!(stage.script.sending(second), None, "nobody answers");
    stage.script.check_home();
    assert!(stage.answers_ping(second));
}

#[test]
fn receives_that_end_are_armed_again_all_of_them_at_once() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(50);
    for round in 0..3 {
        for peer in &peers {
            stage.script.cut_short(*peer);
            stage.script.receive(*peer, &ping());
        }
        stage.deliver(&peers);
        for peer in &peers {
            assert!(kinds(&stage.script.take_wire(*peer)).contains(&Kind::Pong), "round {round}");
            assert_eq!(stage.script.receiving(*peer), Some(Group::Small), "round {round}");
        }
    }
    let newcomer = stage.script.accept_last(0, addr(999));
    stage.settle();
    assert_eq!(stage.script.receiving(newcomer), Some(Group::Small));
    stage.establish(1); // accepting went on
}

/// Three peers that hold six of eight buffers, since the chain takes nothing; then a fourth, in
/// the middle of a frame, and a fifth, in its handshake, run out of buffers.
fn starved() -> (Stage, Vec<Socket>, Socket) {
    let lanes = bridge::Config { to_chain_items: 2, ..bridge::Config::default() };
    let mut setup = Setup { small: (256, 8), lanes, ..Setup::default() };
    setup.peer.silence_timeout = Duration::from_secs(60);
    let mut stage = Stage::new(setup);
    let peers = stage.establish(4);
    let greeting = stage.accept();
    for (n, holder) in peers[..3].iter().enumerate() {
        let payloads = [2 * n, 2 * n + 1].map(|n| transaction(n as u32, 240));
        stage.script.receive(*holder, payloads[0].frame());
        stage.turn();
        stage.script.receive(*holder, payloads[1].frame());
        stage.turn();
    }
    stage.settle();
    for (n, holder) in peers[..3].iter().enumerate() {
        for more in 0..2 {
            let payload = transaction(100 + (10 * n + more) as u32, 240);
            stage.script.receive(*holder, payload.frame());
            stage.turn();
        }
    }
    stage.settle();
    (stage, peers, greeting)
}

#[test]
fn others_are_heard_while_the_lane_is_full_and_its_senders_are_not_blamed() {
    let (mut stage, peers, greeting) = starved();
    let payload = Payload::seal(&Network::DEV, Kind::StemTransaction, &[9; 700]).unwrap();
    stage.script.receive(peers[3], &payload.frame()[..600]);
    stage.script.receive(greeting, &hand());
    stage.settle();
    stage.deliver(&[greeting]);
    assert_eq!(kinds(&stage.script.take_wire(greeting)), [Kind::Shake]);

    // Longer than any deadline; but it is we who do not read the three.
    for _ in 0..400 {
        stage.pass(Duration::from_millis(250));
    }
    assert!(peers[..3].iter().all(|holder| stage.script.is_open(*holder)));
    assert_eq!(stage.closed(CloseReason::FrameTimeout), 1);
    assert_eq!(stage.closed(CloseReason::Silent), 1);
    assert_eq!(stage.closed_in_all(), 2);

    // The chain takes what is there, and all that the three had sent arrives, once.
    let mut received = Vec::new();
    for _ in 0..20 {
        received.extend(stage.received());
        stage.settle();
    }
    assert_eq!(received.len(), 12);
    stage.script.check_home();
}

#[test]
fn without_a_buffer_nothing_is_received_and_nobody_is_blamed() {
    let mut setup = Setup { small: (256, 4), parked_copies_max: 0, ..Setup::default() };
    setup.peer.silence_timeout = Duration::from_secs(60);
    setup.lanes = bridge::Config { to_chain_items: 2, ..bridge::Config::default() };
    let mut stage = Stage::new(setup);
    let peers = stage.establish(7);
    for (n, holder) in peers.iter().enumerate() {
        stage.script.receive(*holder, transaction(n as u32, 240).frame());
        stage.turn();
    }
    stage.settle();
    assert_eq!(stage.event_loop.io.buffers_free(Group::Small), 0);
    let starving = stage.metrics().buffers_starved;
    assert!(starving > 0);
    for _ in 0..400 {
        stage.pass(Duration::from_millis(250));
    }
    // The two whose payloads are on the lane are silent by themselves.
    assert_eq!(stage.closed(CloseReason::Silent), 2);
    assert_eq!(stage.closed_in_all(), 2, "{:?}", stage.metrics());
    let mut received = Vec::new();
    for _ in 0..20 {
        received.extend(stage.received());
        stage.settle();
    }
    assert_eq!(received.len(), 7);
    // From now on their silence is their own.
    for _ in 0..280 {
        stage.pass(Duration::from_millis(250));
    }
    assert_eq!(stage.closed(CloseReason::Silent), 7);
    stage.script.check_home();
}

#[test]
fn a_full_lane_stops_the_reads_of_its_senders_and_loses_nothing() {
    let lanes = bridge::Config { to_chain_items: 4, ..bridge::Config::default() };
    let mut stage = Stage::new(Setup { small: (4_096, 128), lanes, ..Setup::default() });
    let peers = stage.establish(3);
    let sent: Vec<Vec<_>> = (0..2)
        .map(|peer| (0..100).map(|n| transaction(1_000 * peer + n, 1_000)).collect())
        .collect();
    for (peer, payloads) in peers.iter().zip(&sent) {
        for payload in &payloads[..20] {
            stage.script.receive(*peer, payload.frame());
            stage.turn();
        }
        // By now nobody receives: the rest waits in the socket, as one piece.
        stage.script.receive(*peer, &frames(&payloads[20..]));
    }
    stage.settle();
    let recorded = stage.script.take_recorded();
    for peer in &peers[..2] {
        let cancel = Recorded::CancelRecv { conn: stage.script.conn(*peer).unwrap() };
        assert_eq!(recorded.iter().filter(|one| **one == cancel).count(), 1);
        assert_eq!(stage.script.receiving(*peer), None);
    }
    // What was in the kernel when the receive was asked to end is parked beyond the bound.
    assert!(stage.script.lent(Group::Small) <= 2 * (PARKED_MAX + 1));
    assert!(stage.metrics().lane_stalls >= 2);
    assert_eq!(stage.metrics().payloads_new, 4);
    stage.turn();
    assert_ne!(stage.last_wait(), Some(Duration::ZERO), "stalled, and not spinning");

    let mut received: Vec<Payload> = Vec::new();
    for _ in 0..1_000 {
        assert!(stage.answers_ping(peers[2]), "another one's ping is answered all the while");
        received.extend(stage.chain.try_recv().unwrap().map(|event| match event {
            ToChain::Payload { payload, .. } => payload,
            other => panic!("{other:?}"),
        }));
        stage.turn();
        if received.len() == 200 {
            break;
        }
    }
    assert_eq!(received.len(), 200);
    for payloads in &sent {
        let theirs: Vec<_> = received.iter().filter(|one| payloads.contains(one)).collect();
        assert!(theirs.into_iter().eq(payloads), "in order, each once");
    }
    stage.settle();
    assert_eq!(stage.metrics().duplicates, 0);
    stage.script.check_home();
}

#[test]
fn an_end_behind_what_is_parked_is_noticed_after_it() {
    let lanes = bridge::Config { to_chain_items: 2, ..bridge::Config::default() };
    let mut stage = Stage::new(Setup { lanes, ..Setup::default() });
    let peer = stage.establish(1)[0];
    let payloads: Vec<_> = (0..9).map(|n| transaction(n, 300)).collect();
    stage.script.receive(peer, &frames(&payloads));
    stage.script.end(peer);
    stage.settle();
    assert!(stage.script.is_open(peer));
    let mut received = Vec::new();
    for _ in 0..20 {
        received.extend(stage.received());
        stage.settle();
    }
    assert!(received == payloads);
    assert_eq!(stage.closed(CloseReason::RemoteClosed), 1);
    assert!(!stage.script.is_open(peer));
    stage.script.check_home();
}

/// Sends this many empty frames in pieces of so many; nobody gets more than a share of each turn.
fn flood_in_pieces(frames: usize, piece: usize) {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(2);
    for piece in unknown().repeat(frames).chunks(piece * FRAME_HEADER_BYTES) {
        stage.script.receive(peers[0], piece);
    }
    stage.script.receive(peers[1], &ping());
    let mut before = 0;
    for turn in 0.. {
        stage.turn();
        let now = stage.metrics().unknown_frames;
        assert!(now - before <= 256, "{} frames in turn {turn}", now - before);
        let goes_on = now < frames as u64;
        if turn == 0 {
            let answered = stage.event_loop.submissions.iter().any(|submission| {
                let Submission::Send { socket, gathered, .. } = submission else { return false };
                *socket == peers[1] && gathered.frames[0].kind() == Kind::Pong
            });
            assert!(answered, "the other's ping is answered in the same turn");
        }
        assert!(now > before || !goes_on, "a turn without progress");
        before = now;
        if !goes_on {
            break;
        }
        stage.script.take_waits();
        assert_eq!(stage.event_loop.wait().timeout, Some(Duration::ZERO), "work is at hand");
    }
    stage.deliver(&peers);
    assert_eq!(stage.metrics().unknown_frames, frames as u64);
    assert!(stage.script.receiving(peers[0]).is_some());
    stage.script.check_home();
}

#[test]
fn a_flood_of_tiny_frames_takes_its_share_of_a_turn_and_no_more() {
    flood_in_pieces((64 << 10) / FRAME_HEADER_BYTES, 64 << 10);
}

#[test]
fn many_small_receives_of_one_connection_are_one_share_too() {
    flood_in_pieces(4_000, 100);
}

/// Pieces of a stream of transactions, each as long as a receive shall be.
fn stream(pieces: impl IntoIterator<Item = usize>, first: u32) -> (Vec<Payload>, Vec<Vec<u8>>) {
    let lengths: Vec<usize> = pieces.into_iter().collect();
    let total: usize = lengths.iter().sum();
    let (mut payloads, mut bytes) = (Vec::new(), Vec::new());
    while bytes.len() < total {
        let rest = total - bytes.len();
        let body = if rest < 2 * 100 { rest - FRAME_HEADER_BYTES } else { 89 };
        payloads.push(transaction(first + payloads.len() as u32, body));
        bytes.extend_from_slice(payloads.last().unwrap().frame());
    }
    let mut rest = &bytes[..];
    let pieces = lengths.into_iter().map(|length| rest.split_off(..length).unwrap().to_vec());
    (payloads, pieces.collect())
}

#[test]
fn who_fills_small_buffers_gets_large_ones_and_later_small_ones_again() {
    let mut stage = Stage::new(Setup { small: (256, 32), ..Setup::default() });
    let peer = stage.establish(1)[0];
    let group = |stage: &Stage| stage.script.receiving(peer);
    let mut received = Vec::new();
    let mut expected = Vec::new();

    let (payloads, pieces) = stream([256, 256, 256, 255, 256, 256, 256, 256, 4_000, 9_000], 0);
    expected.extend(payloads);
    for (n, piece) in pieces.iter().enumerate() {
        assert_eq!(group(&stage), Some(if n < 8 { Group::Small } else { Group::Large }), "{n}");
        stage.script.receive(peer, piece);
        stage.settle();
        received.extend(stage.received());
    }
    let (payloads, pieces) = stream([200; 64], 1_000);
    expected.extend(payloads);
    for piece in &pieces {
        assert_eq!(group(&stage), Some(Group::Large));
        stage.script.receive(peer, piece);
        stage.settle();
        received.extend(stage.received());
    }
    assert_eq!(group(&stage), Some(Group::Small));
    assert!(received == expected, "no byte is lost at a switch");

    // The same all in one turn: what comes between the request and the end of the receive counts.
    let (payloads, pieces) = stream([256; 12], 2_000);
    pieces.iter().for_each(|piece| stage.script.receive(peer, piece));
    stage.settle();
    assert_eq!(group(&stage), Some(Group::Large));
    assert!(stage.received() == payloads);
    stage.script.check_home();
}

#[test]
fn who_left_while_it_waited_for_the_lane_does_not_stay_in_its_line() {
    let (mut stage, peers, _) = starved();
    for n in 0..100 {
        let peer = stage.establish(1)[0];
        stage.script.receive(peer, transaction(1_000 + n, 240).frame());
        stage.turns(2);
        let conn = stage.script.conn(peer).unwrap();
        assert_eq!(stage.event_loop.connections.get(conn).unwrap().waits, Some(Waits::Lane));
        stage.event_loop.perform(Output::Close { conn, reason: CloseReason::Operator });
        stage.turns(3);
        let line = stage.event_loop.lane_waiters.len();
        assert!(line <= 2 * (stage.event_loop.connections.len() + 1), "{line} in line");
    }
    assert!(peers.iter().all(|peer| stage.script.is_open(*peer)));
}

#[test]
fn events_that_wait_for_no_room_find_their_places_on_a_full_lane() {
    let (mut stage, peers, _) = starved();
    let conn = stage.script.conn(peers[0]).unwrap();
    let from = peer::Source { conn, addr: addr(1) };
    assert_eq!(stage.event_loop.bridge.room().items, 0);
    for offset in 0..peer::EVENTS_RESERVED as u64 {
        let wanted = ToChain::PieceWanted { from, offset, length: 1 };
        stage.event_loop.perform(Output::ToChain(wanted));
    }
    let mut wanted = 0;
    for _ in 0..20 {
        while let Some(event) = stage.chain.try_recv().unwrap() {
            wanted += usize::from(matches!(event, ToChain::PieceWanted { .. }));
        }
        stage.settle();
    }
    assert_eq!(wanted, peer::EVENTS_RESERVED);
}
