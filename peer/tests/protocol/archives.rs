//! Archives: raw bytes between the frames, in pieces, both ways (trap 14 of the protocol).

use codec::{Archive, Kind, Message, Payload};
use peer::{
    ARCHIVE_BYTES_MAX, ARCHIVE_PIECE_BYTES_MAX, ARCHIVE_PIECES_WANTED_MAX, ARCHIVE_STALL,
    ARCHIVES_RECEIVED_MAX, ARCHIVES_SENT_MAX, CloseReason, ConnId, Credit, EVENTS_RESERVED,
    FRAME_RATE_MIN, FromChain, Input, REQUEST_MEMORY, Rate, Recipients, Request, ToChain,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::solo::{
    Out, Solo, UNLIMITED, closes, hash, message, ping, pong, secs, sent_kinds, source, transaction,
};

const PIECE: usize = ARCHIVE_PIECE_BYTES_MAX;

fn archive(bytes: u64) -> Archive {
    Archive { block: hash(9), height: 720, bytes }
}

fn announcement(bytes: u64) -> Vec<u8> {
    message(&Message::TxHashSetArchive(archive(bytes)))
}

fn ask(solo: &mut Solo, to: ConnId) -> Vec<Out> {
    let request = Request::TxHashSet { block: hash(9), height: 720 };
    solo.handle(Input::FromChain(FromChain::Request { to, request }))
}

/// Bytes that are no frames, and of which each piece differs.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index * 7 + index / 251) as u8).collect()
}

/// What the chain got of an archive, in the order that it came.
fn received(events: &[Out]) -> Vec<u8> {
    let mut all = Vec::new();
    for event in events {
        if let Out::ToChain(ToChain::ArchivePiece { offset, bytes, .. }) = event {
            assert_eq!(*offset, all.len() as u64);
            assert!(bytes.len() <= PIECE);
            all.extend_from_slice(bytes);
        }
    }
    all
}

#[test]
fn trap_14_behind_the_frame_come_raw_bytes_and_then_frames_again() {
    let mut solo = Solo::small();
    let conn = solo.join(0);
    assert_eq!(sent_kinds(&ask(&mut solo, conn)), [Kind::TxHashSetRequest]);
    let raw = content(200_000);
    let stream =
        [transaction(1).frame(), &announcement(200_000), &raw, transaction(2).frame()].concat();
    let outputs = solo.receive(conn, &stream);
    let begins = ToChain::ArchiveBegins { from: source(conn), archive: archive(200_000) };
    assert_eq!(outputs[1], Out::ToChain(begins));
    assert_eq!(received(&outputs), raw);
    assert_eq!(outputs.len(), 1 + 1 + 4 + 1);
    assert_eq!(solo.endpoint.bytes_missing(conn), 0);
    let refused = [Out::Close(conn, CloseReason::Unsolicited)];
    assert_eq!(solo.receive(conn, &announcement(5)), refused, "one answer to a request");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn cuts_and_credits_do_not_change_an_archive(
        bytes in prop_oneof![0..20_usize, 0..300_000_usize],
        cuts in vec(1..90_000_usize, 1..20),
        credits in vec((0..3_u32, 0..3_u32, 0..100_000_usize), 1..20),
    ) {
        let mut solo = Solo::small();
        let conn = solo.join(0);
        ask(&mut solo, conn);
        let raw = content(bytes);
        let stream = [&announcement(bytes as u64)[..], &raw, transaction(2).frame()].concat();
        let (mut outputs, mut start, mut end) = (Vec::new(), 0, 0);
        let mut cuts = cuts.iter().cycle();
        for (frames, items, bytes) in credits.into_iter().cycle().take(20_000) {
            end = (end + cuts.next().unwrap()).min(stream.len());
            let credit = Credit { frames, items, bytes };
            let given = &stream[start..end];
            let (consumed, out) = solo.step(Input::Received { conn, bytes: given, credit });
            let lane = out.iter().filter_map(|output| match output {
                Out::ToChain(event) => Some(event.bytes()),
                _ => None,
            });
            let (count, sum) = lane.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
            prop_assert!(count <= items && sum <= bytes);
            start += consumed;
            outputs.extend(out);
        }
        outputs.extend(solo.receive(conn, &stream[start..]));
        prop_assert_eq!(received(&outputs), raw);
        let is_transaction = |output: &Out| matches!(output, Out::ToChain(ToChain::Payload { .. }));
        prop_assert!(is_transaction(outputs.last().unwrap()));
        prop_assert!(solo.is_here(conn));
    }
}

#[test]
fn an_archive_waits_for_credit_and_others_do_not_wait_for_it() {
    let mut solo = Solo::small();
    let [conn, other] = [0, 1].map(|index| solo.join(index));
    ask(&mut solo, conn);
    solo.receive(conn, &announcement(1_000));
    for credit in [Credit { items: 0, ..UNLIMITED }, Credit { bytes: 0, ..UNLIMITED }] {
        let input = Input::Received { conn, bytes: &[1; 100], credit };
        assert_eq!(solo.step(input), (0, vec![]));
    }
    let (consumed, outputs) = solo.step(Input::Received {
        conn,
        bytes: &[1; 100],
        credit: Credit { frames: 1, items: 1, bytes: 60 },
    });
    assert_eq!((consumed, outputs.len()), (60, 1));
    assert_eq!(sent_kinds(&solo.receive(other, &ping(1)))[0], Kind::Pong);
    assert_eq!(solo.endpoint.counts().assembly_bytes, 0, "nothing of it is stored");
}

#[test]
fn archives_are_bounded_in_length_and_in_number() {
    let mut solo = Solo::small();
    let long = solo.join(9);
    ask(&mut solo, long);
    let outputs = solo.receive(long, &announcement(ARCHIVE_BYTES_MAX + 1));
    assert_eq!(outputs, [Out::Close(long, CloseReason::OversizeFrame)]);
    let conns: Vec<_> = (0..ARCHIVES_RECEIVED_MAX as u32).map(|index| solo.join(index)).collect();
    for conn in &conns {
        assert_eq!(ask(&mut solo, *conn).len(), 1);
        assert_eq!(solo.receive(*conn, &announcement(ARCHIVE_BYTES_MAX)).len(), 1);
    }
    let another = solo.join(4);
    assert_eq!(ask(&mut solo, another), [], "it could not be taken");
    assert_eq!(solo.endpoint.counts().requests_unsent, 1);

    let broken = ToChain::ArchiveBroken { from: source(conns[0]) };
    let reason = CloseReason::RemoteClosed;
    let outputs = solo.handle(Input::Closed { conn: conns[0], reason });
    assert_eq!(outputs, [Out::ToChain(broken)]);
    let counts = solo.endpoint.counts();
    assert_eq!(counts.closed[CloseReason::TruncatedFrame as usize], 1, "in the middle of it");
    assert_eq!(ask(&mut solo, another).len(), 1, "its place is free");
    assert_eq!(solo.receive(another, &announcement(0)).len(), 1, "none of no bytes is under way");
    assert_eq!(solo.receive(another, transaction(1).frame()).len(), 1);
}

#[test]
fn whom_we_asked_for_an_archive_has_a_place_for_it() {
    let mut solo = Solo::small();
    let conns: Vec<_> = (0..=ARCHIVES_RECEIVED_MAX as u32).map(|index| solo.join(index)).collect();
    let asked: Vec<_> =
        conns.iter().filter(|conn| !ask(&mut solo, **conn).is_empty()).copied().collect();
    assert_eq!(asked, conns[..ARCHIVES_RECEIVED_MAX]);
    assert_eq!(solo.endpoint.counts().requests_unsent, 1);
    solo.run_for(secs(5));
    for conn in &asked {
        assert_eq!(solo.receive(*conn, &announcement(1 << 30)).len(), 1);
    }
    assert!(conns.iter().all(|conn| solo.is_here(*conn)));
}

#[test]
fn an_archive_that_is_asked_for_and_never_comes_gives_its_place_back() {
    let mut solo = Solo::small();
    let conns: Vec<_> = (0..=ARCHIVES_RECEIVED_MAX as u32).map(|index| solo.join(index)).collect();
    conns.iter().for_each(|conn| drop(ask(&mut solo, *conn)));
    for _ in 0..=REQUEST_MEMORY.as_secs() / 10 {
        conns.iter().for_each(|conn| drop(solo.receive(*conn, &pong(1))));
        solo.run_for(secs(10));
    }
    let late = conns[ARCHIVES_RECEIVED_MAX];
    assert_eq!(sent_kinds(&ask(&mut solo, late)), [Kind::TxHashSetRequest]);
}

#[test]
fn an_archive_that_trickles_ends_however_long_it_is() {
    for begins_with in [1, 40 << 20] {
        let mut solo = Solo::small();
        let conn = solo.join(0);
        ask(&mut solo, conn);
        solo.receive(conn, &announcement(ARCHIVE_BYTES_MAX));
        solo.receive(conn, &vec![0; begins_with]);
        for _ in 0..10 {
            solo.run_for(secs(10));
            if !solo.is_here(conn) {
                break;
            }
            solo.receive(conn, &[0]);
        }
        assert!(!solo.is_here(conn), "after {begins_with} bytes");
    }
}

#[test]
fn the_chain_gives_up_an_archive_and_nobody_is_blamed() {
    let mut server = Server::new(9 * PIECE);
    let conns @ [asked, receives, sends, other] = [0, 1, 2, 3].map(|index| server.solo.join(index));
    ask(&mut server.solo, asked);
    ask(&mut server.solo, receives);
    server.solo.receive(receives, &announcement(1 << 30));
    server.asked_by(sends);
    let mut give_up =
        |conn| server.solo.handle(Input::FromChain(FromChain::GiveUpArchive { conn }));
    let ended = |conn| Out::Close(conn, CloseReason::ArchiveGivenUp);
    let broken = |conn| Out::ToChain(ToChain::ArchiveBroken { from: source(conn) });
    assert_eq!(give_up(asked), [ended(asked)]);
    assert_eq!(give_up(receives), [broken(receives), ended(receives)]);
    assert_eq!(give_up(sends), [broken(sends), ended(sends)]);
    assert_eq!(give_up(other), [], "there is none");
    assert_eq!(give_up(asked), [], "it is gone");
    assert_eq!(server.refused(), 2);
    // Their places are free, and they may come again.
    for (conn, back) in conns[..2].iter().zip([10, 11]) {
        assert!(!server.solo.is_here(*conn));
        let again = server.solo.join_as(conn.index(), back);
        assert_eq!(ask(&mut server.solo, again).len(), 1);
    }
}

#[test]
fn an_archive_has_its_least_rate_and_no_silence() {
    for (wait, bytes) in [(1, 1_000), (61, 50_000_000)] {
        let mut solo = Solo::small();
        let conn = solo.join(0);
        ask(&mut solo, conn);
        solo.receive(conn, &announcement(100_000_000));
        let mut closed = Vec::new();
        let mut raw = vec![0; bytes];
        for _ in 0..4_000 {
            if !solo.is_here(conn) {
                break;
            }
            solo.receive(conn, &raw);
            raw.truncate(1_000);
            closed.extend(closes(&solo.run_for(secs(wait))));
        }
        assert!(matches!(closed[..], [(_, _, CloseReason::FrameTimeout)]), "{closed:?}");
    }
    // No pong can come behind the archive, and none is missed.
    let mut solo = Solo::small();
    let conn = solo.join(0);
    ask(&mut solo, conn);
    solo.receive(conn, &announcement(100_000_000));
    for _ in 0..1_000 {
        assert!(solo.is_here(conn));
        solo.receive(conn, &[1; 100_000]);
        solo.run_for(secs(1));
    }
    assert_eq!(solo.receive(conn, transaction(1).frame()).len(), 1);
}

/// Plays the chain that has an archive, and the wire that takes it.
struct Server {
    solo: Solo,
    raw: Vec<u8>,
}

impl Server {
    fn new(bytes: usize) -> Self {
        Self { solo: Solo::small(), raw: content(bytes) }
    }

    fn send(&mut self, to: ConnId) -> Vec<Out> {
        let archive = archive(self.raw.len() as u64);
        self.solo.handle(Input::FromChain(FromChain::SendArchive { to, archive }))
    }

    fn asked_by(&mut self, conn: ConnId) -> Vec<Out> {
        let request = codec::ArchiveRequest { block: hash(1), height: 1 };
        let outputs = self.solo.receive(conn, &message(&Message::TxHashSetRequest(request)));
        assert_eq!(outputs.len(), 1, "{outputs:?}");
        self.send(conn)
    }

    fn give(&mut self, to: ConnId, bytes: &[u8]) -> Vec<Out> {
        let piece = Payload::piece(bytes.to_vec());
        self.solo.handle(Input::FromChain(FromChain::ArchivePiece { to, piece }))
    }

    /// Answers a wish; gives what the wire then has.
    fn fulfil(&mut self, wish: &Out) -> Vec<u8> {
        let Out::ToChain(ToChain::PieceWanted { from, offset, length }) = wish else {
            panic!("{wish:?}")
        };
        let piece = self.raw[*offset as usize..][..*length as usize].to_vec();
        let outputs = self.give(from.conn, &piece);
        let [Out::Send(Recipients::One(to), sent)] = &outputs[..] else { panic!("{outputs:?}") };
        assert!(sent.is_piece() && *to == from.conn);
        sent.frame().to_vec()
    }

    fn sent(&mut self, conn: ConnId) -> Vec<Out> {
        self.solo.handle(Input::PieceSent { conn })
    }

    fn refused(&self) -> u64 {
        self.solo.endpoint.counts().commands_refused
    }
}

#[test]
fn an_archive_goes_out_in_a_window_and_comes_in_elsewhere() {
    for bytes in [1, PIECE, PIECE + 1, 10 * PIECE + 77] {
        let mut server = Server::new(bytes);
        let conn = server.solo.join(0);
        let mut outputs = server.asked_by(conn);
        let frame = outputs.remove(0);
        let Out::Send(_, frame) = frame else { panic!("{frame:?}") };
        assert_eq!(frame.attachment_bytes(), Some(bytes as u64));
        let mut wishes = std::collections::VecDeque::from(outputs);
        assert_eq!(wishes.len(), ARCHIVE_PIECES_WANTED_MAX.min(bytes.div_ceil(PIECE)));
        let mut wire = frame.frame().to_vec();
        while let Some(wish) = wishes.pop_front() {
            wire.extend(server.fulfil(&wish));
            wishes.extend(server.sent(conn));
        }
        assert_eq!(server.refused(), 0);
        let mut client = Solo::small();
        let peer = client.join(0);
        ask(&mut client, peer);
        assert_eq!(received(&client.receive(peer, &wire)), server.raw, "{bytes} bytes");
        assert_eq!(server.solo.run_for(secs(5)).len().min(1), 1, "pings go on");
        assert!(server.solo.is_here(conn));
    }
}

#[test]
fn an_archive_that_nobody_asked_for_does_not_go_out() {
    let mut server = Server::new(5 * PIECE);
    let [conn, other] = [0, 1].map(|index| server.solo.join(index));
    assert_eq!(server.send(conn), []);
    assert_eq!(server.send(ConnId::new(9, 1)), []);
    assert_eq!(server.give(conn, &[1; PIECE]), []);
    assert_eq!(server.refused(), 3);
    let outputs = server.asked_by(conn);
    assert_eq!(outputs.len(), 1 + ARCHIVE_PIECES_WANTED_MAX);
    assert_eq!(server.send(conn), [], "one at a time");
    for wrong in [PIECE - 1, PIECE + 1, 0] {
        assert_eq!(server.give(conn, &vec![1; wrong]), []);
    }
    assert_eq!(server.give(other, &[1; PIECE]), []);
    assert_eq!(server.refused(), 8);
    // More than was wanted is refused too, whatever its length.
    for wish in &outputs[1..] {
        server.fulfil(wish);
    }
    assert_eq!(server.give(conn, &[1; PIECE]), []);
    assert_eq!(server.refused(), 9);
    let request = codec::ArchiveRequest { block: hash(1), height: 1 };
    let again = message(&Message::TxHashSetRequest(request));
    assert_eq!(server.solo.receive(conn, &again), [], "it is getting one");
}

#[test]
fn nothing_is_relayed_behind_an_archive_nor_marked_as_sent() {
    let mut server = Server::new(1);
    let [conn, other] = [0, 1].map(|index| server.solo.join(index));
    let outputs = server.asked_by(conn);
    let new = transaction(1);
    let to = |conns: &[ConnId]| Out::Send(Recipients::Many(conns.to_vec()), new.clone());
    assert_eq!(server.solo.publish(&new), [to(&[other])]);
    assert_eq!(server.solo.endpoint.counts().relay_withheld, 1);
    server.fulfil(&outputs[1]);
    assert_eq!(server.solo.publish(&new), []);
    server.sent(conn);
    assert_eq!(server.solo.publish(&new), [to(&[conn])]);
}

#[test]
fn so_many_archives_go_out_at_once_and_no_more() {
    let mut server = Server::new(9 * PIECE);
    let conns: Vec<ConnId> =
        (0..ARCHIVES_SENT_MAX as u32).map(|index| server.solo.join(index)).collect();
    for conn in &conns {
        assert_eq!(server.asked_by(*conn).len(), 1 + ARCHIVE_PIECES_WANTED_MAX);
    }
    let late = server.solo.join(99);
    assert_eq!(server.asked_by(late), []);
    assert_eq!(server.refused(), 1);
    let reason = CloseReason::ConnectionLost;
    let outputs = server.solo.handle(Input::Closed { conn: conns[3], reason });
    let broken = ToChain::ArchiveBroken { from: source(conns[3]) };
    assert_eq!(outputs, [Out::ToChain(broken)]);
    assert_eq!(server.asked_by(late).len(), 1 + ARCHIVE_PIECES_WANTED_MAX);
}

#[test]
fn an_archive_that_stands_still_ends_whoever_is_late() {
    for chain_gives in [false, true] {
        let mut server = Server::new(9 * PIECE);
        let conn = server.solo.join(0);
        let wishes = server.asked_by(conn).split_off(1);
        if chain_gives {
            wishes.iter().for_each(|wish| drop(server.fulfil(wish)));
        }
        let mut outputs = Vec::new();
        for _ in 0..14 {
            if server.solo.is_here(conn) {
                server.solo.receive(conn, &ping(1));
            }
            outputs.extend(server.solo.run_for(ARCHIVE_STALL / 12));
        }
        let closed = closes(&outputs);
        let [(at, _, CloseReason::ArchiveStalled)] = closed[..] else { panic!("{closed:?}") };
        assert!(at.since(peer::Instant::START) >= ARCHIVE_STALL);
        let broken = Out::ToChain(ToChain::ArchiveBroken { from: source(conn) });
        assert!(outputs.iter().any(|(_, output)| *output == broken));
    }
}

#[test]
fn an_archive_that_is_read_too_slowly_ends_though_it_never_stands_still() {
    let mut server = Server::new(999 * PIECE);
    let [slow, steady] = [0, 1].map(|index| server.solo.join(index));
    let mut wishes = server.asked_by(slow).split_off(1);
    wishes.extend(server.asked_by(steady).split_off(1));
    let least = PIECE as u64 / FRAME_RATE_MIN;
    let mut closed = Vec::new();
    for second in 1..=300 {
        wishes.drain(..).for_each(|wish| drop(server.fulfil(&wish)));
        closed.extend(closes(&server.solo.run_for(secs(1))));
        for (conn, pace) in [(slow, ARCHIVE_STALL.as_secs() - 1), (steady, least)] {
            if second % pace == 0 && server.solo.is_here(conn) {
                wishes.extend(server.sent(conn));
            }
        }
        wishes.retain(|wish| matches!(wish, Out::ToChain(ToChain::PieceWanted { .. })));
    }
    assert!(matches!(closed[..], [(_, conn, CloseReason::ArchiveStalled)] if conn == slow));
    assert!(server.solo.is_here(steady), "at the least rate it goes on for ever");
}

#[test]
fn an_archive_goes_out_at_the_rate_of_answers() {
    let mut server = Server::new(100 * PIECE);
    server.solo = Solo::with(|config| {
        let burst = 8 * PIECE as u64;
        config.rates.answers = Rate { amount: PIECE as u64, per: secs(30), burst };
    });
    let conn = server.solo.join(0);
    let mut wishes: std::collections::VecDeque<Out> = server.asked_by(conn).split_off(1).into();
    let mut wanted = 0;
    while let Some(wish) = wishes.pop_front() {
        wanted += 1;
        server.fulfil(&wish);
        wishes.extend(server.sent(conn));
    }
    assert!((7..=8).contains(&wanted), "the burst: {wanted}");
    // Until the next is due nothing stands still that is anybody's fault.
    for _ in 0..10 {
        server.solo.receive(conn, &ping(1));
        let later = server.solo.run_for(secs(30));
        let wish = |(_, output): &(_, Out)| {
            matches!(output, Out::ToChain(ToChain::PieceWanted { .. })).then(|| output.clone())
        };
        for wish in later.iter().filter_map(wish) {
            wanted += 1;
            server.fulfil(&wish);
            assert_eq!(server.sent(conn), []);
        }
    }
    assert!((16..=19).contains(&wanted), "one in half a minute: {wanted}");
    assert!(server.solo.is_here(conn));
}

#[test]
fn wishes_and_ends_fit_in_the_places_kept_for_them_and_no_end_is_lost() {
    let mut server = Server::new(9 * PIECE);
    let conns: Vec<ConnId> = (0..40).map(|index| server.solo.join(index)).collect();
    let request = codec::ArchiveRequest { block: hash(1), height: 1 };
    let asks = message(&Message::TxHashSetRequest(request));
    for conn in &conns {
        server.solo.receive(*conn, &asks);
    }
    let talker = server.solo.join(40);
    // A chain that takes nothing from its lane, and commands nevertheless.
    let mut told = Vec::new();
    for conn in &conns {
        told.extend(server.send(*conn));
        let reason = CloseReason::ConnectionLost;
        told.extend(server.solo.handle(Input::Closed { conn: *conn, reason }));
    }
    told.retain(|output| matches!(output, Out::ToChain(_)));
    assert!(told.len() <= EVENTS_RESERVED, "{}", told.len());
    let begun = 40 - server.refused() as usize;
    assert!(begun >= ARCHIVES_SENT_MAX);
    told.extend(server.solo.receive(talker, &ping(1)));
    let ended = |output: &&Out| matches!(output, Out::ToChain(ToChain::ArchiveBroken { .. }));
    assert_eq!(told.iter().filter(ended).count(), begun);
}
