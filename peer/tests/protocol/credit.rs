//! Credit and cuts: they decide when something is consumed, and never what comes of it.

use codec::{FRAME_HEADER_BYTES, Kind, Message, Payload};
use peer::{CloseReason, Config, ConnId, Credit, FRAME_RATE_MIN, Input, ToChain};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::solo::{
    NET, Out, SLOT, Solo, UNLIMITED, closes, hash, message, millis, passive, ping, promise,
    raw_frame, secs, source, transaction,
};

/// What a peer may send, as bytes.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let relayed = select(vec![Kind::Transaction, Kind::Block, Kind::Header]);
    let small = (relayed, 0..6u8).prop_map(|(kind, n)| raw_frame(kind as u8, &[n; 9]));
    let large = (0..3u8, 4_000..40_000usize)
        .prop_map(|(n, length)| raw_frame(Kind::Block as u8, &vec![n; length]));
    let stem = (0..3u8).prop_map(|n| raw_frame(Kind::StemTransaction as u8, &[n; 20]));
    let unknown = (29..=255u8, select(vec![0, 1, 300, 6_000]))
        .prop_map(|(kind, length)| raw_frame(kind, &vec![1; length]));
    let empty = select(vec![Kind::Transaction, Kind::CompactBlock, Kind::StemTransaction]);
    let empty = empty.prop_map(|kind| raw_frame(kind as u8, &[]));
    let pings = (0..9u64).prop_map(ping);
    let requests = (0..9u8).prop_map(|n| message(&Message::GetBlock(hash(n))));
    let announced = (0..9u8).prop_map(|n| message(&Message::TransactionKernel(hash(n))));
    prop_oneof![4 => small, 1 => large, 1 => stem, 1 => unknown, 1 => empty, 1 => pings,
        1 => requests, 1 => announced]
}

/// How a conversation ends: it goes on, or with a fault, or with a goodbye.
fn ending() -> impl Strategy<Value = Vec<u8>> {
    let endings = vec![
        Vec::new(),
        vec![0xff; 30],
        promise(Kind::Ping as u8, 65),
        promise(Kind::Headers as u8, 5),
        raw_frame(Kind::GetBlock as u8, &[1; 31]),
        raw_frame(Kind::BanReason as u8, &[]),
        raw_frame(Kind::BanReason as u8, &[0; 4]),
        promise(Kind::Block as u8, 5_000),
        promise(99, 5_000)[..7].to_vec(),
    ];
    select(endings)
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    (vec(piece(), 0..40), ending(), 0..3u8).prop_map(|(pieces, ending, n)| {
        [pieces.concat(), ending, raw_frame(Kind::Transaction as u8, &[n; 9])].concat()
    })
}

fn cut() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 1..30usize, 2 => 1..3_000usize, 1 => 1..60_000usize]
}

fn credit() -> impl Strategy<Value = Credit> {
    let frames = prop_oneof![1 => Just(0), 3 => 1..5u32, 1 => Just(256)];
    let items = prop_oneof![1 => Just(0), 3 => 1..5u32];
    let bytes = prop_oneof![1 => Just(0), 2 => 0..100usize, 2 => Just(50_000)];
    (frames, items, bytes).prop_map(|(frames, items, bytes)| Credit { frames, items, bytes })
}

/// An endpoint with two peers, the first of which is asked for nothing.
fn listener() -> (Solo, ConnId) {
    let mut solo = Solo::small();
    let conn = solo.join(0);
    solo.join(1);
    (solo, conn)
}

/// What the events among the outputs took of a lane.
fn taken(outputs: &[Out]) -> (u32, usize) {
    let bytes = |output: &Out| match output {
        Out::ToChain(event) => Some(event.bytes()),
        Out::Dial(_)
        | Out::Send(..)
        | Out::Close(..)
        | Out::Resolve(_)
        | Out::Opens(_)
        | Out::Told(..)
        | Out::Datagram(..) => None,
    };
    let taken: Vec<usize> = outputs.iter().filter_map(bytes).collect();
    (taken.len() as u32, taken.iter().sum())
}

/// A driver that gives cuts and credits in turn, keeps what was not consumed and gives it again.
fn drive(bytes: &[u8], cuts: &[usize], credits: &[Credit]) -> (Solo, Vec<Out>) {
    let (mut solo, conn) = listener();
    let (mut outputs, mut start, mut end) = (Vec::new(), 0, 0);
    let mut credits = credits.iter().cycle();
    let mut cuts = cuts.iter().cycle();
    let mut stalled = 0;
    while start < bytes.len() {
        end = (end + cuts.next().unwrap()).min(bytes.len());
        let credit = if stalled < 20 { *credits.next().unwrap() } else { UNLIMITED };
        let given = &bytes[start..end];
        let before = solo.endpoint.counts().clone();
        let (consumed, out) = solo.step(Input::Received { conn, bytes: given, credit });
        assert!(consumed <= given.len(), "more was consumed than was given");
        let (items, lane_bytes) = taken(&out);
        assert!(items <= credit.items && lane_bytes <= credit.bytes, "{credit:?}: {out:?}");
        let counts = solo.endpoint.counts();
        let frames = counts.frames_received - before.frames_received;
        let passed_over = counts.unknown_frames - before.unknown_frames;
        assert!(frames - passed_over <= u64::from(credit.frames), "{credit:?}: {frames} frames");
        if credit.items == 0 {
            let new = |counts: &peer::Counts| counts.payloads_new + counts.payloads_hinted;
            assert_eq!(new(counts), new(&before), "a payload without credit was remembered");
        }
        stalled = if consumed == 0 { stalled + 1 } else { 0 };
        assert!(stalled < 22, "no progress with all the credit there is");
        start += consumed;
        outputs.extend(out);
    }
    (solo, outputs)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn cuts_and_credits_change_nothing(
        bytes in stream(),
        cuts in vec(cut(), 1..30),
        credits in vec(credit(), 1..30),
    ) {
        let (mut whole, conn) = listener();
        let at_once = whole.receive(conn, &bytes);
        let (mut parts, in_parts) = drive(&bytes, &cuts, &credits);
        prop_assert_eq!(at_once, in_parts);
        let (left, right) = (whole.endpoint.counts(), parts.endpoint.counts());
        prop_assert_eq!(left.payloads_new, right.payloads_new);
        prop_assert_eq!(left.duplicates, right.duplicates);
        prop_assert_eq!(left.unknown_frames, right.unknown_frames);
        prop_assert_eq!(left.frames_received, right.frames_received);
        prop_assert_eq!(left.closed, right.closed);
        for solo in [&mut whole, &mut parts] {
            solo.leave(conn);
            prop_assert_eq!(solo.endpoint.counts().assembly_bytes, 0);
        }
    }
}

#[test]
fn without_credit_nothing_is_consumed_nor_remembered() {
    let (mut solo, conn) = listener();
    let other = ConnId::new(1, 1);
    let new = transaction(1);
    let length = new.frame().len();
    let short = [
        Credit { frames: 0, ..UNLIMITED },
        Credit { items: 0, ..UNLIMITED },
        Credit { bytes: length - 1, ..UNLIMITED },
    ];
    for credit in short {
        let input = Input::Received { conn, bytes: new.frame(), credit };
        assert_eq!(solo.step(input), (0, vec![]), "{credit:?}");
    }
    let enough = Credit { frames: 1, items: 1, bytes: length };
    let twice = [new.frame(), transaction(2).frame()].concat();
    let (consumed, outputs) =
        solo.step(Input::Received { conn: other, bytes: &twice, credit: enough });
    assert_eq!((consumed, outputs.len()), (length, 1), "it was not remembered");

    let known = Credit { frames: 1, items: 0, bytes: 0 };
    let input = Input::Received { conn, bytes: new.frame(), credit: known };
    assert_eq!(solo.step(input), (length, vec![]), "what is known needs no room on the lane");
}

#[test]
fn a_frame_without_a_body_waits_for_credit_like_any_other() {
    for kind in [Kind::Transaction, Kind::StemTransaction] {
        let frame = raw_frame(kind as u8, &[]);
        for cut in 0..frame.len() {
            for credit in [Credit { items: 0, ..UNLIMITED }, Credit { frames: 0, ..UNLIMITED }] {
                let (mut solo, conn) = listener();
                assert_eq!(solo.receive(conn, &frame[..cut]), []);
                let input = Input::Received { conn, bytes: &frame[cut..], credit };
                assert_eq!(solo.step(input), (0, vec![]), "{kind:?} cut at {cut}");
                let outputs = solo.receive(conn, &frame[cut..]);
                assert!(matches!(&outputs[..], [Out::ToChain(_)]), "{outputs:?}");
            }
        }
    }
}

#[test]
fn the_last_byte_of_a_frame_waits_for_credit() {
    let (mut solo, conn) = listener();
    let block = Payload::seal(&NET, Kind::Block, &[3; 9_000]).unwrap();
    let (mut head, tail) = block.frame().split_at(8_000);
    let none = Credit { frames: 0, items: 0, bytes: 0 };
    let frames = Credit { frames: 1, ..none };
    while !head.is_empty() {
        let bytes = &head[..head.len().min(1_000)];
        let (consumed, outputs) = solo.step(Input::Received { conn, bytes, credit: frames });
        assert_eq!((consumed, outputs), (bytes.len(), vec![]), "a part needs no room");
        head = &head[consumed..];
    }
    assert_eq!(solo.endpoint.bytes_missing(conn), tail.len());
    for credit in [none, frames, Credit { frames: 1, items: 1, bytes: 9_000 }] {
        assert_eq!(solo.step(Input::Received { conn, bytes: tail, credit }), (0, vec![]));
    }
    let outputs = solo.receive(conn, tail);
    let [Out::ToChain(ToChain::Payload { payload, from, .. })] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!((payload, from), (&block, &source(conn)));
}

#[test]
fn assembly_memory_grows_with_what_came() {
    let (mut solo, conn) = listener();
    let length = 3_000_000;
    let frame = raw_frame(Kind::Block as u8, &vec![7; length]);
    let mut here = 0;
    for part in frame[..frame.len() - 1].chunks(1_700) {
        assert_eq!(solo.receive(conn, part), []);
        here += part.len();
        let held = solo.endpoint.counts().assembly_bytes;
        assert!(held <= 2 * here as u64 + 4_096, "{held} bytes for {here}");
        assert!(held >= here as u64 && held <= frame.len() as u64, "{held} bytes for {here}");
        assert_eq!(solo.endpoint.bytes_missing(conn), frame.len() - here);
    }
    assert_eq!(solo.receive(conn, &frame[here..]).len(), 1);
    assert_eq!(solo.endpoint.counts().assembly_bytes, 0);
}

#[test]
fn assembly_memory_is_counted_to_the_byte_and_given_back() {
    let mut solo = Solo::small();
    let conns = [0, 1, 2, 3].map(|index| solo.join(index));
    let lengths = [100, 1_000, 9_000, 1_000_000];
    for (conn, length) in conns.into_iter().zip(lengths) {
        solo.receive(conn, &promise(Kind::Block as u8, length));
    }
    let held = |solo: &Solo| solo.endpoint.counts().assembly_bytes;
    let header = FRAME_HEADER_BYTES as u64;
    assert_eq!(held(&solo), (100 + header) + (1_000 + header) + 4_096 + 4_096);
    solo.receive(conns[0], &[1; 100]);
    assert_eq!(held(&solo), (1_000 + header) + 4_096 + 4_096);
    solo.leave(conns[1]);
    assert_eq!(held(&solo), 4_096 + 4_096);
    solo.judge(conns[2], &transaction(1), peer::Verdict::Invalid);
    assert_eq!(held(&solo), 4_096);
    solo.run_for(secs(59));
    assert_eq!((held(&solo), solo.is_here(conns[3])), (0, false), "its time was over");

    // A goodbye in two parts: the peer is forgotten while its frame is being taken in.
    let goodbye = raw_frame(Kind::BanReason as u8, &[0; 4]);
    let last = solo.join(5);
    solo.receive(last, &goodbye[..13]);
    assert_eq!(held(&solo), goodbye.len() as u64);
    solo.receive(last, &goodbye[13..]);
    assert_eq!(held(&solo), 0);
}

#[test]
fn whose_frame_gets_on_slowest_gives_way() {
    let config = Config { assembly_bytes_max: 3 * 8_192, ..passive(NET) };
    let mut solo = Solo::cramped(config, 1);
    let conns = [0, 1, 2, 3].map(|index| solo.join(index));
    let header = promise(Kind::Block as u8, 100_000);
    for (conn, bytes) in [(conns[2], 5_000), (conns[0], 4_500), (conns[1], 6_000)] {
        assert_eq!(solo.receive(conn, &header), []);
        assert_eq!(solo.receive(conn, &vec![0; bytes]), []);
    }
    assert_eq!(closes(&solo.run_for(secs(2))), []);
    // Who just began is spared, however little of it is here.
    let full = |conn| [Out::Close(conn, CloseReason::AssemblyFull)];
    assert_eq!(solo.receive(conns[3], &header), full(conns[0]));
    assert_eq!(solo.receive(conns[3], &[0; 5_000]), []);
    assert_eq!(solo.receive(conns[3], &[0; 5_000]), full(conns[2]));
    assert_eq!(solo.endpoint.counts().assembly_bytes, 8_192 + 16_384);
    // A pause of ours makes nobody slow.
    solo.handle(Input::Paused { conn: conns[1] });
    solo.run_for(secs(9));
    assert_eq!(solo.receive(conns[3], &[0; 10_000]), full(conns[3]), "6 kB in 2 s, 20 kB in 9 s");
}

/// Hostile peers that use up the memory of half-received frames, then add as little as is let in,
/// beside an honest one with a large block.
fn crowd_out(burst: usize) {
    let mut solo = Solo::with(|config| config.assembly_bytes_max = 64 << 20);
    let hostile: Vec<ConnId> = (0..75).map(|index| solo.join(index)).collect();
    let honest = solo.join(75);
    let promised = 5_000_000;
    let block = raw_frame(Kind::Block as u8, &vec![9; 4_000_000]);
    for conn in &hostile {
        solo.receive(*conn, &promise(Kind::Block as u8, promised));
        solo.receive(*conn, &vec![0; burst]);
    }
    let (mut parts, mut delivered) = (block.chunks(50_000), false);
    for tenth in 0..110 {
        for conn in &hostile {
            solo.receive(*conn, &vec![0; FRAME_RATE_MIN as usize / 9]);
        }
        // It begins later than they, and is at 500 kB/s.
        if let Some(part) = parts.next().filter(|_| tenth >= 20) {
            assert!(solo.is_here(honest), "cut off after {tenth} tenths");
            delivered |= !solo.receive(honest, part).is_empty();
        } else if tenth < 20 {
            parts = block.chunks(50_000);
        }
        solo.run_for(SLOT);
    }
    let counts = solo.endpoint.counts();
    assert!(delivered && solo.is_here(honest));
    assert!(counts.assembly_bytes <= 64 << 20);
    assert!(counts.closed[CloseReason::AssemblyFull as usize] > 0, "the memory was not used up");
}

#[test]
fn seventy_five_slow_peers_do_not_crowd_out_a_fast_one() {
    crowd_out(900_000);
}

#[test]
fn nor_do_those_that_were_fast_at_first() {
    crowd_out(3_400_000);
}

#[test]
fn an_unfinished_frame_has_its_time_and_no_more() {
    let length = 100 * FRAME_RATE_MIN;
    // Both a kind that is stored and one that is passed over, both headers whole and in parts.
    for kind in [Kind::Block as u8, 77] {
        for first in [FRAME_HEADER_BYTES, 4] {
            let (mut solo, conn) = listener();
            solo.leave(ConnId::new(1, 1));
            let due = solo.now.after(secs(110)).after(millis(1));
            let header = promise(kind, length);
            solo.receive(conn, &header[..first]);
            solo.receive(conn, &header[first..]);
            let mut closed = Vec::new();
            for _ in 0..13 {
                closed.extend(closes(&solo.run_for(secs(10))));
                solo.receive(conn, &[0]);
            }
            let [(at, _, reason)] = closed[..] else { panic!("{kind}: {closed:?}") };
            assert_eq!(reason, CloseReason::FrameTimeout);
            assert!(due.since(at) < millis(10) && at <= due.after(SLOT), "{kind}: {at:?}");
        }
    }
}

#[test]
fn a_frame_that_comes_at_the_least_rate_is_let_in() {
    for kind in [Kind::Block as u8, 77] {
        let (mut solo, conn) = listener();
        let frame = raw_frame(kind, &vec![1; 80 * FRAME_RATE_MIN as usize]);
        for part in frame.chunks(FRAME_RATE_MIN as usize) {
            assert!(solo.is_here(conn), "{kind} was cut off");
            solo.receive(conn, part);
            solo.run_for(secs(1));
        }
        let counts = solo.endpoint.counts();
        assert_eq!(counts.payloads_new + counts.unknown_frames, 1);
    }
}

#[test]
fn the_time_of_a_frame_does_not_wait_for_the_next_ping() {
    let mut solo = Solo::with(|config| {
        config.ping_period = secs(300);
        config.silence_timeout = secs(900);
    });
    let conn = solo.join(0);
    // Right behind a ping nothing else is due for five minutes.
    (0..3_001).find(|_| !solo.run_for(SLOT).is_empty()).expect("a ping within a period");
    let begun = solo.now;
    solo.receive(conn, &transaction(1).frame()[..3]);
    let closed = closes(&solo.run_for(secs(20)));
    let [(at, _, CloseReason::FrameTimeout)] = closed[..] else { panic!("{closed:?}") };
    assert!(at.since(begun) <= secs(10) + SLOT);
}
