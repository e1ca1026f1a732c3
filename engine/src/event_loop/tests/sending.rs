//! Sends: shared frames, short sends, slow readers.

use super::*;

/// The frames of every send, by address and length, with what was skipped of the first.
fn sends(stage: &Stage) -> Vec<(Vec<(*const u8, usize)>, usize)> {
    let recorded = stage.script.take_recorded();
    recorded
        .into_iter()
        .filter_map(|one| match one {
            Recorded::Send { frames, skip, .. } => Some((frames, skip)),
            _ => None,
        })
        .collect()
}

fn place(payload: &Payload) -> (*const u8, usize) {
    (payload.frame().as_ptr(), payload.frame().len())
}

#[test]
fn a_broadcast_is_sent_from_the_one_allocation_and_then_let_go() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(100);
    // With its id, which the bridge would otherwise put beside a copy.
    let payload = transaction(1, 5_000).with_id();
    stage.publish(&payload);
    stage.turns(3); // one submits, the next the rest
    assert_eq!(sends(&stage), vec![(vec![place(&payload)], 0); 100]);
    assert_eq!(payload.reference_count(), 1 + 100);
    stage.deliver(&peers);
    assert_eq!(payload.reference_count(), 1);
    for peer in peers {
        assert!(stage.script.take_wire(peer) == payload.frame());
    }
}

#[test]
fn eight_waiting_payloads_leave_in_one_send() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(2);
    let payloads: Vec<_> = (0..8).map(|n| transaction(n, 500)).collect();
    payloads.iter().for_each(|payload| stage.publish(payload));
    stage.turns(2);
    let all: Vec<_> = payloads.iter().map(place).collect();
    assert_eq!(sends(&stage), [(all.clone(), 0), (all, 0)]);
    stage.deliver(&peers);
    assert!(stage.script.take_wire(peers[1]) == frames(&payloads));
    assert!(payloads.iter().all(|payload| payload.reference_count() == 1));
}

#[test]
fn payloads_that_come_during_a_send_wait_for_its_end_and_leave_together() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(1);
    let payloads: Vec<_> = (0..5).map(|n| transaction(n, 500)).collect();
    for payload in &payloads {
        stage.publish(payload);
        stage.turns(2);
    }
    assert_eq!(sends(&stage), [(vec![place(&payloads[0])], 0)], "one send at a time");
    stage.script.sent_all(peers[0]);
    stage.turns(2);
    assert_eq!(sends(&stage), [(payloads[1..].iter().map(place).collect(), 0)]);
}

#[test]
fn a_short_send_goes_on_where_it_ended() {
    let mut stage = Stage::new(Setup::default());
    let peer = stage.establish(1)[0];
    let payloads: Vec<_> = (0..3).map(|n| transaction(n, 100 * (n as usize + 1))).collect();
    payloads.iter().for_each(|payload| stage.publish(payload));
    stage.turns(2);
    sends(&stage);

    // 40 bytes into the second frame, then to the end of the second, then byte by byte.
    let length = |n: usize| payloads[n].frame().len();
    stage.script.sent(peer, length(0) + 40);
    stage.turns(2);
    assert_eq!(sends(&stage), [(payloads[1..].iter().map(place).collect(), 40)]);
    stage.script.sent(peer, length(1) - 40);
    stage.turns(2);
    assert_eq!(sends(&stage), [(vec![place(&payloads[2])], 0)]);
    for skip in 1..length(2) {
        stage.script.sent(peer, 1);
        stage.turns(2);
        assert_eq!(sends(&stage), [(vec![place(&payloads[2])], skip)]);
    }
    stage.script.sent(peer, 1);
    stage.settle();
    assert!(sends(&stage).is_empty());
    assert!(stage.script.take_wire(peer) == frames(&payloads));
    assert!(payloads.iter().all(|payload| payload.reference_count() == 1));
    let metrics = stage.metrics();
    assert_eq!(metrics.frames_sent - 1, 3, "and a Shake");
}

#[test]
fn a_failed_send_ends_its_connection_alone() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(2);
    let payload = transaction(1, 100);
    stage.publish(&payload);
    stage.turns(2);
    stage.script.send_error(peers[0], libc::ECONNRESET);
    stage.deliver(&peers[1..]);
    stage.settle();
    assert_eq!(stage.closed(CloseReason::ConnectionLost), 1);
    assert!(!stage.script.is_open(peers[0]));
    assert!(stage.script.take_wire(peers[1]) == payload.frame());
    assert_eq!(payload.reference_count(), 1);
    assert!(stage.answers_ping(peers[1]));
}

/// More than waits for one connection: transactions of 200 kB against a bound of 2 MiB.
fn flood(first: u32) -> Vec<Payload> {
    (first..first + 20).map(|n| transaction(n, 200_000).with_id()).collect()
}

#[test]
fn a_slow_reader_loses_payloads_and_is_told_again_what_it_lost() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(4);
    let (slow, others) = (peers[0], &peers[1..]);
    let payloads = flood(0);
    for payload in &payloads {
        stage.publish(payload);
        stage.deliver(others);
    }
    for other in others {
        assert!(stage.script.take_wire(*other) == frames(&payloads), "the others get all");
    }
    let dropped = stage.metrics().relay_dropped;
    assert!((5..20).contains(&dropped), "{dropped} dropped");

    stage.deliver(&[slow]);
    let kept = stage.script.take_wire(slow);
    assert!(kept == frames(&payloads[..20 - dropped as usize]), "oldest first, in order");
    for payload in &payloads {
        stage.publish(payload);
        stage.deliver(&peers);
    }
    assert!(stage.script.take_wire(slow) == frames(&payloads[20 - dropped as usize..]));
    for other in others {
        assert!(stage.script.take_wire(*other) == b"", "they have it all");
    }
    assert_eq!(stage.closed_in_all(), 0);
}

/// A peer that we dialled, which got our Hand.
fn dialed(stage: &mut Stage, port: u16) -> Socket {
    let socket = stage.script.connect(addr(port));
    stage.script.sends_complete_at_once(true);
    stage.settle();
    let shake = Message::Shake(codec::Shake {
        version: 1000,
        capabilities: Capabilities::default(),
        total_difficulty: 0,
        user_agent: "test",
        genesis: Network::DEV.genesis,
    });
    stage.script.receive(socket, &frame(&shake));
    stage.settle();
    stage.script.take_wire(socket);
    stage.script.sends_complete_at_once(false);
    socket
}

/// The transactions that the chain was told to be public.
fn fluffed(stage: &mut Stage) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    while let Some(event) = stage.chain.try_recv().unwrap() {
        if let ToChain::Fluffed { payload } = event {
            bodies.push(payload.body().to_vec());
        }
    }
    bodies
}

#[test]
fn a_stem_that_a_slow_reader_has_no_room_for_goes_to_another_or_is_fluffed() {
    let mut setup = Setup::default();
    setup.peer.connect = vec![addr(1), addr(2)];
    let mut stage = Stage::new(setup);
    stage.turns(2);
    let peers = [1, 2].map(|port| dialed(&mut stage, port));
    assert_eq!(stage.metrics().peers_outbound, 2);
    for n in 0..40 {
        for peer in peers {
            send(&mut stage, peer, transaction(n, 200_000));
        }
        stage.event_loop.settle();
        stage.turns(2); // the first ones leave the queue
    }
    // Whoever stands still for a second is not waited for.
    for _ in 0..6 {
        stage.pass(Duration::from_millis(250));
    }
    // Nobody has room, then one of them.
    let stems = [100, 101].map(|n| transaction(n, 250_000));
    stage.chain.send(FromChain::Stem(stems[0].clone())).unwrap();
    stage.turns(5);
    assert_eq!(fluffed(&mut stage), [stems[0].body()]);
    stage.deliver(&peers[1..]);
    stage.script.take_wire(peers[1]);
    stage.chain.send(FromChain::Stem(stems[1].clone())).unwrap();
    stage.deliver(&peers[1..]);
    assert_eq!(kinds(&stage.script.take_wire(peers[1])), [Kind::StemTransaction]);
    assert_eq!(fluffed(&mut stage), [[0; 0]; 0]);
    assert_eq!(stage.closed_in_all(), 0);
}

#[test]
fn a_slow_reader_loses_word_of_payloads_and_keeps_its_connection() {
    let mut stage = Stage::new(Setup::default());
    let peer = stage.establish(1)[0];
    let item = codec::Item { kind: Kind::Block, id: codec::Hash([7; 32]) };
    let offers = vec![codec::Offer { item, bytes: 9 }; 100];
    let have = Message::Have(codec::Records::new(&offers));
    let have = have.to_payload(&Network::DEV, 1000).unwrap();
    let kernel = Message::TransactionKernel(item.id).to_payload(&Network::DEV, 1000).unwrap();
    for _ in 0..30_000 {
        send(&mut stage, peer, have.clone());
        send(&mut stage, peer, kernel.clone());
        stage.event_loop.settle();
    }
    stage.script.receive(peer, &ping());
    stage.turns(2);
    assert!(stage.metrics().relay_dropped > 10_000);
    stage.deliver(&[peer]);
    assert!(kinds(&stage.script.take_wire(peer)).contains(&Kind::Pong));
    assert_eq!(stage.closed_in_all(), 0);
}

#[test]
fn a_send_that_stands_still_ends_its_connection_and_is_joined() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(3);
    let (slow, others) = (peers[0], &peers[1..]);
    let payload = transaction(1, 3_200);
    stage.publish(&payload);
    stage.deliver(others);
    // 20 s, and what 3 kB excuse at 32 KiB a second.
    for _ in 0..20 {
        stage.pass(Duration::from_secs(1));
        assert_eq!(stage.closed_in_all(), 0);
    }
    stage.script.take_recorded();
    stage.pass(Duration::from_secs(1));
    assert_eq!(stage.closed(CloseReason::SlowReader), 1);
    let conn = stage.script.conn(slow).unwrap();
    assert!(stage.script.is_open(slow), "operations come home first");
    stage.settle();
    assert!(!stage.script.is_open(slow));
    let closes = Recorded::Close { conn, socket: slow };
    assert_eq!(stage.script.take_recorded().iter().filter(|one| **one == closes).count(), 1);
    assert_eq!((payload.reference_count(), stage.metrics().connections), (1, 2));
    assert!(stage.answers_ping(others[0]));
    stage.script.check_home();
}

#[test]
fn one_slow_reader_does_not_hold_back_the_chain_but_half_of_them_do_for_a_second() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(4);
    let payloads = flood(0);
    // Nobody reads: the chain's commands wait, and nothing is dropped.
    for payload in &payloads {
        stage.publish(payload);
        stage.turns(2);
    }
    assert_eq!(stage.metrics().relay_dropped, 0);
    let waiting = payloads.iter().filter(|payload| payload.reference_count() == 2).count();
    assert!(waiting > 5, "{waiting} commands wait");
    assert_ne!(stage.last_wait(), Some(Duration::ZERO), "held back, and not spinning");
    // Three of them read on: everything moves again, and the fourth is not waited for.
    stage.deliver(&peers[1..]);
    for peer in &peers[1..] {
        assert!(stage.script.take_wire(*peer) == frames(&payloads));
    }
    assert!(stage.metrics().relay_dropped > 0);
}

#[test]
fn readers_that_all_stand_still_are_waited_for_a_second_only() {
    let mut stage = Stage::new(Setup::default());
    stage.establish(2);
    for payload in flood(0) {
        stage.publish(&payload);
        stage.turns(2);
    }
    assert_eq!(stage.metrics().relay_dropped, 0);
    for _ in 0..6 {
        stage.pass(Duration::from_millis(250));
    }
    stage.turns(20);
    assert!(stage.metrics().relay_dropped > 0, "the chain is not held back by them any more");
    assert_eq!(stage.closed_in_all(), 0);
}

/// Each send of theirs goes on a little within the second, so that none of them ever stands still.
#[test]
fn readers_that_only_just_go_on_hold_the_chain_back_for_two_seconds_only() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(3);
    let crawling = &peers[..2];
    for payload in flood(0) {
        stage.publish(&payload);
        stage.turns(2);
    }
    assert_eq!(stage.metrics().relay_dropped, 0, "they are waited for");
    for half_second in 1..=8 {
        for peer in crawling {
            stage.script.sent(*peer, 1_000);
        }
        stage.pass(Duration::from_millis(250));
        stage.deliver(&peers[2..]);
        stage.pass(Duration::from_millis(250));
        let dropped = stage.metrics().relay_dropped;
        assert!(half_second > 2 || dropped == 0, "{dropped} dropped after {half_second}");
    }
    assert!(stage.metrics().relay_dropped > 0, "they are not waited for any more");
    assert_eq!(stage.script.take_wire(peers[2]).len(), frames(&flood(0)).len());
    assert_eq!(stage.closed_in_all(), 0);
}

/// The frame of an archive of so many bytes, as the core sends it.
fn archive(bytes: u64) -> Payload {
    let body = [&[7; 40][..], &bytes.to_be_bytes()].concat();
    Payload::seal(&Network::DEV, Kind::TxHashSetArchive, &body).unwrap()
}

fn send(stage: &mut Stage, peer: Socket, payload: Payload) {
    let to = Recipients::One(stage.script.conn(peer).unwrap());
    stage.event_loop.perform(Output::Send { to, payload });
}

#[test]
fn in_the_middle_of_an_archive_only_its_bytes_leave_and_others_notice_nothing() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(2);
    let pieces = [7; 3].map(|byte| Payload::piece(vec![byte; 1_000]));
    send(&mut stage, peers[0], archive(3_000));
    stage.turns(2);
    stage.deliver(&peers[..1]);
    assert_eq!(stage.script.take_wire(peers[0]), archive(3_000).frame());

    // Its ping is answered when the archive is through; the other's at once.
    stage.script.receive(peers[0], &ping());
    for (n, piece) in pieces.iter().enumerate() {
        send(&mut stage, peers[0], piece.clone());
        assert!(stage.answers_ping(peers[1]));
        assert_eq!(stage.script.sending(peers[0]), Some(1_000));
        // Short sends count as little as they are.
        stage.script.sent(peers[0], 600);
        stage.turns(2);
        stage.script.sent_all(peers[0]);
        stage.turn();
        let through = n + 1 == pieces.len();
        let wire = stage.script.take_wire(peers[0]);
        assert_eq!(wire, piece.frame());
        stage.settle();
        assert_eq!(stage.script.sending(peers[0]).is_some(), through);
    }
    stage.deliver(&peers);
    assert_eq!(kinds(&stage.script.take_wire(peers[0]))[0], Kind::Pong);
    assert!(pieces.iter().all(|piece| piece.reference_count() == 1));
}

#[test]
fn an_end_in_the_middle_of_an_archive_takes_nothing_with_it() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(2);
    let piece = Payload::piece(vec![1; 1_000]);
    for (n, peer) in peers.iter().enumerate() {
        send(&mut stage, *peer, archive(5_000));
        stage.turns(2);
        stage.deliver(&[*peer]);
        stage.script.take_wire(*peer);
        send(&mut stage, *peer, piece.clone());
        stage.turns(2);
        send(&mut stage, *peer, piece.clone());
        send(&mut stage, *peer, transaction(1, 100));
        // One misbehaves and the other ends its half; what is in the kernel leaves, no more.
        if n == 0 {
            stage.script.receive(*peer, &hand());
        } else {
            stage.script.end(*peer);
        }
        stage.turns(3);
        assert!(stage.script.is_open(*peer));
        stage.script.sent_all(*peer);
        stage.turn();
        assert_eq!(stage.script.take_wire(*peer), piece.frame());
        if n == 0 {
            stage.script.end(*peer);
        }
        stage.settle();
        assert!(!stage.script.is_open(*peer));
    }
    assert_eq!(piece.reference_count(), 1);
    stage.script.check_home();
}

#[test]
fn more_pieces_than_are_wanted_end_the_connection() {
    let mut stage = Stage::new(Setup::default());
    let peer = stage.establish(1)[0];
    for _ in 0..=peer::ARCHIVE_PIECES_WANTED_MAX {
        send(&mut stage, peer, Payload::piece(vec![1; 10]));
    }
    stage.event_loop.settle();
    stage.settle();
    assert_eq!(stage.closed(CloseReason::SlowReader), 1);
}

#[test]
fn an_archive_goes_on_to_its_end_although_nothing_is_received_meanwhile() {
    const PIECES: usize = 200;
    let bytes = (PIECES * peer::ARCHIVE_PIECE_BYTES_MAX) as u64;
    let mut setup = Setup::default();
    setup.peer.rates.answers.burst = 2 * bytes;
    let mut stage = Stage::new(setup);
    let peer = stage.establish(1)[0];
    let (block, height) = (codec::Hash([7; 32]), 9u64);
    let request = [&block.0[..], &height.to_be_bytes()].concat();
    let request = Payload::seal(&Network::DEV, Kind::TxHashSetRequest, &request).unwrap();
    stage.script.receive(peer, request.frame());
    stage.script.sends_complete_at_once(true);
    let mut pieces = 0;
    for _ in 0..10 * PIECES {
        stage.turn();
        while let Some(event) = stage.chain.try_recv().unwrap() {
            let command = match event {
                ToChain::Requested { from, .. } => {
                    let archive = peer::Archive { block, height, bytes };
                    FromChain::SendArchive { to: from.conn, archive }
                }
                ToChain::PieceWanted { from, length, .. } => {
                    pieces += 1;
                    let piece = Payload::piece(vec![7; length as usize]);
                    FromChain::ArchivePiece { to: from.conn, piece }
                }
                other => panic!("{other:?}"),
            };
            stage.chain.send(command).unwrap();
        }
    }
    assert_eq!(pieces, PIECES);
    let frame = codec::FRAME_HEADER_BYTES + 48;
    assert_eq!(stage.script.take_wire(peer).len(), frame + bytes as usize);
}

/// Trap 6 of the protocol: its published reader takes a frame's header within two seconds, and
/// forgets the bytes that it had if it does not. So a frame that has begun to leave goes on at
/// once, whatever else waits, is urgent, is paced or is held back; nothing comes between its bytes.
#[test]
fn trap_6_a_header_cut_by_a_short_send_goes_on_at_once() {
    let mut stage = Stage::new(Setup::default());
    let peer = stage.establish(1)[0];
    let payloads: Vec<_> = (0..2).map(|n| transaction(n, 500)).collect();
    payloads.iter().for_each(|payload| stage.publish(payload));
    stage.turns(2);
    sends(&stage);
    let first = payloads[0].frame().len();
    for cut in 1..codec::FRAME_HEADER_BYTES {
        // Something more urgent waits, and the chain has more than may leave.
        if cut == 1 {
            stage.script.receive(peer, &ping());
            for n in 10..20 {
                stage.publish(&transaction(n, 200_000));
            }
            stage.script.sent(peer, first + cut);
        } else {
            stage.script.sent(peer, 1);
        }
        // One turn and no time: what lacks is in the kernel with the next submission.
        stage.turns(2);
        assert_eq!(sends(&stage), [(vec![place(&payloads[1])], cut)]);
    }
    // A goodbye waits for the rest of it, too.
    stage.script.receive(peer, &hand());
    stage.turns(2);
    assert_eq!(stage.closed(CloseReason::UnexpectedKind), 1);
    stage.script.sent(peer, 5);
    stage.turns(2);
    let cut = codec::FRAME_HEADER_BYTES - 1 + 5;
    assert_eq!(sends(&stage), [(vec![place(&payloads[1])], cut)]);
    stage.script.sent_all(peer);
    stage.turns(3);
    stage.deliver(&[peer]);
    let all = kinds(&stage.script.take_wire(peer)); // whole frames only
    assert_eq!(all[..2], [Kind::Transaction; 2]);
    assert!(
        all[2..].contains(&Kind::Pong) && all[2..].iter().all(|kind| !kind.is_relay()),
        "{all:?}"
    );
}
