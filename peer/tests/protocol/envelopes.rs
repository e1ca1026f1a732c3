//! Envelopes: which are taken, what they cost their sender, and what follows when they lie.

use codec::{
    Capabilities, ENVELOPE_HEAD_BYTES, Envelope, Hand, Hash, Kind, Message, Packing, Payload,
};
use peer::{
    CloseReason, Config, ConnId, Credit, Freshness, FromChain, Input, Rate, Request, Source,
    ToChain, Verdict,
};

use crate::solo::{
    NET, Out, Solo, UNLIMITED, addr, hand, hash, message, passive, payload, promise, raw_frame,
    secs, shake, source, transaction,
};

/// A peer that speaks the extension, as we do.
pub(crate) fn join_extended(solo: &mut Solo, index: u32, generation: u32) -> ConnId {
    let conn = solo.accepted(index, generation);
    let capabilities = Capabilities::GRIN_NODE | Capabilities::EXTENSION;
    let greeting = message(&Message::Hand(Hand { capabilities, ..hand() }));
    let outputs = solo.receive(conn, &greeting);
    assert!(outputs.contains(&Out::Opens(conn)), "{outputs:?}");
    conn
}

fn host() -> (Solo, ConnId) {
    let mut solo = Solo::small();
    let conn = join_extended(&mut solo, 0, 1);
    (solo, conn)
}

/// An envelope that says what it is to say, whatever it holds.
fn envelope(kind: Kind, id: Hash, plain_bytes: u32, data: &[u8]) -> Vec<u8> {
    message(&Message::Packed(Envelope { kind, packing: Packing::Zstd, plain_bytes, id, data }))
}

/// That of a whole payload, stored.
fn packed(plain: &Payload) -> Payload {
    let packing = Packing::Stored;
    let (kind, id, data) = (plain.kind(), plain.id(), plain.body());
    let envelope = Envelope { kind, packing, plain_bytes: data.len() as u32, id, data };
    Message::Packed(envelope).to_payload(&NET, 1000).unwrap()
}

/// What the chain was told of payloads: kind within, id, freshness.
fn delivered(outputs: &[Out]) -> Vec<(Kind, Hash, Freshness)> {
    let payload = |output: &Out| match output {
        Out::ToChain(ToChain::Payload { payload, freshness, .. }) => {
            let (kind, id, _) = payload.envelope().expect("they all come packed");
            Some((kind, id, *freshness))
        }
        _ => None,
    };
    outputs.iter().filter_map(payload).collect()
}

fn closed(outputs: &[Out]) -> Option<CloseReason> {
    outputs.iter().find_map(|output| match output {
        Out::Close(_, reason) => Some(*reason),
        _ => None,
    })
}

/// Asks a peer of the chain's own accord, and lets the question leave.
fn ask(solo: &mut Solo, to: ConnId, request: Request) {
    let mut outputs = solo.handle(Input::FromChain(FromChain::Request { to, request }));
    outputs.extend(solo.run_for(secs(0)).into_iter().map(|(_, output)| output));
    assert!(outputs.iter().any(|output| matches!(output, Out::Send(..))), "{outputs:?}");
}

/// What the chain is told as soon as there is room.
fn told_later(solo: &mut Solo) -> Vec<Out> {
    let mut outputs = solo.handle(Input::Room { credit: UNLIMITED });
    outputs.retain(|output| !matches!(output, Out::ToChain(ToChain::Behind { .. })));
    outputs
}

#[test]
fn one_of_an_id_is_taken_and_others_are_duplicates() {
    let (mut solo, first) = host();
    let second = join_extended(&mut solo, 1, 1);
    let frame = envelope(Kind::Transaction, hash(1), 5_000, &[7; 100]);
    let outputs = solo.receive(first, &frame);
    assert_eq!(delivered(&outputs), [(Kind::Transaction, hash(1), Freshness::New)]);
    let again = envelope(Kind::Transaction, hash(1), 4_000, &[8; 50]);
    for (conn, frame) in [(first, &frame), (second, &frame), (second, &again)] {
        assert_eq!(delivered(&solo.receive(conn, frame)), []);
    }
    let counts = solo.endpoint.counts();
    assert_eq!((counts.payloads_new, counts.duplicates), (1, 3));
    assert_eq!(counts.duplicate_bytes, (2 * frame.len() + again.len()) as u64);
    assert_eq!((solo.info(first).duplicates, solo.info(second).duplicates), (1, 2));
    let other = envelope(Kind::Block, hash(1), 5_000, &[7; 100]);
    assert_eq!(delivered(&solo.receive(second, &other)), [(Kind::Block, hash(1), Freshness::New)]);
}

#[test]
fn answers_are_taken_whatever_was_seen() {
    let (mut solo, conn) = host();
    let frame = envelope(Kind::Block, hash(1), 5_000, &[7; 100]);
    assert_eq!(delivered(&solo.receive(conn, &frame)).len(), 1);
    ask(&mut solo, conn, Request::Block(hash(1)));
    let wanted = [(Kind::Block, hash(1), Freshness::Requested)];
    assert_eq!(delivered(&solo.receive(conn, &frame)), wanted);
    assert_eq!(delivered(&solo.receive(conn, &frame)), [], "asked for once");
    // One that is awaited does not let in others that are known.
    ask(&mut solo, conn, Request::Block(hash(2)));
    assert_eq!(delivered(&solo.receive(conn, &frame)), []);
    let frame = envelope(Kind::Block, hash(2), 5_000, &[7; 100]);
    assert_eq!(delivered(&solo.receive(conn, &frame)).len(), 1);
}

#[test]
fn kinds_that_only_answer_must_have_been_asked_for() {
    let segment = codec::SegmentId { block: hash(7), height: 3, index: 0 };
    for (kind, request) in [
        (Kind::Headers, Request::Headers([hash(1)].into())),
        (Kind::KernelSegment, Request::KernelSegment(segment)),
    ] {
        let (mut solo, conn) = host();
        let frame = envelope(kind, hash(9), 5_000, &[7; 100]);
        ask(&mut solo, conn, request);
        let outputs = solo.receive(conn, &frame);
        assert_eq!(delivered(&outputs), [(kind, hash(9), Freshness::Requested)]);
        assert_eq!(closed(&solo.receive(conn, &frame)), Some(CloseReason::Unsolicited));
    }
}

#[test]
fn a_bad_head_is_refused_before_anything_behind_it_is_here() {
    let head = |change: fn(&mut [u8])| {
        let mut frame = envelope(Kind::Block, hash(1), 5_000, &[0; 60_000]);
        change(&mut frame[11..]);
        frame.truncate(11 + ENVELOPE_HEAD_BYTES);
        frame
    };
    let malformed = CloseReason::Malformed;
    for (frame, reason) in [
        (head(|body| body[0] = Kind::StemTransaction as u8), malformed),
        (head(|body| body[0] = Kind::Ping as u8), malformed),
        (head(|body| body[0] = Kind::Packed as u8), malformed),
        (head(|body| body[0] = 255), malformed),
        (head(|body| body[1] = 2), malformed),
        (head(|body| body[2] = 255), malformed),
        (head(|body| body[0] = Kind::Headers as u8), CloseReason::Unsolicited),
    ] {
        for cut in [0, 5, 11, 12, 20, frame.len() - 1] {
            let (mut solo, conn) = host();
            let mut outputs = solo.receive(conn, &frame[..cut]);
            assert_eq!(closed(&outputs), None);
            outputs = solo.receive(conn, &frame[cut..]);
            assert_eq!(closed(&outputs), Some(reason), "cut at {cut}");
            assert_eq!(solo.endpoint.counts().assembly_bytes, 0);
        }
    }
    let (mut solo, conn) = host();
    let short = raw_frame(Kind::Packed as u8, &[Kind::Block as u8; ENVELOPE_HEAD_BYTES - 1]);
    assert_eq!(closed(&solo.receive(conn, &short)), Some(malformed));
    // Its length cannot be had room for: it is refused all the same.
    let (mut solo, conn) = host();
    let mut long = envelope(Kind::Block, hash(1), 5_000, &[]);
    long[13] = 255;
    let credit = Credit { frames: 9, items: 9, bytes: 20 << 20 };
    solo.handle(Input::Received { conn, bytes: &long[..12], credit });
    let outputs = solo.handle(Input::Received { conn, bytes: &long[12..], credit });
    assert_eq!(closed(&outputs), Some(malformed));
}

#[test]
fn the_room_of_what_is_within_is_needed_on_the_lane() {
    let frame = envelope(Kind::Transaction, hash(1), 5_000, &[7; 100]);
    let (least, whole) = (11 + 5_000, frame.len());
    for cut in [0, 8, 11, 30, whole - 1] {
        let (mut solo, conn) = host();
        solo.receive(conn, &frame[..cut]);
        let mut start = cut;
        for (items, bytes, comes) in
            [(1, least - 1, 0), (0, least, 0), (1, whole, 0), (1, least, 1)]
        {
            let credit = Credit { frames: 9, items, bytes };
            let received = Input::Received { conn, bytes: &frame[start..], credit };
            let (consumed, outputs) = solo.step(received);
            start += consumed;
            assert_eq!(delivered(&outputs).len(), comes, "cut at {cut}");
        }
        assert_eq!(start, whole);
    }
}

#[test]
fn what_nobody_asked_for_is_opened_at_a_rate() {
    let mut solo = Solo::with(|config| {
        config.rates.unpacking = Rate { amount: 10_000, per: secs(1), burst: 20_000 };
    });
    let conn = join_extended(&mut solo, 0, 1);
    let frame = |n, bytes| envelope(Kind::Transaction, hash(n), bytes, &[7; 90]);
    // A bomb: as long as may be declared. It is begun within the rate, and opened whole.
    assert_eq!(delivered(&solo.receive(conn, &frame(1, 5_000_000))).len(), 1);
    assert_eq!(delivered(&solo.receive(conn, &frame(2, 100))), []);
    assert_eq!(solo.endpoint.counts().envelopes_passed_over, 1);
    assert_eq!(solo.endpoint.counts().duplicates, 0);
    // It was not remembered: another may bring it, and what is asked for costs nothing.
    let other = join_extended(&mut solo, 1, 1);
    assert_eq!(delivered(&solo.receive(other, &frame(2, 100))).len(), 1);
    ask(&mut solo, conn, Request::Transaction(hash(3)));
    assert_eq!(delivered(&solo.receive(conn, &frame(3, 5_000))).len(), 1);
    // Who comes again is no newcomer.
    solo.leave(conn);
    let again = join_extended(&mut solo, 0, 2);
    assert_eq!(delivered(&solo.receive(again, &frame(4, 100))), []);
    for index in [1, 2] {
        solo.run_for(secs(50));
        solo.receive(
            again,
            &message(&Message::Pong(codec::Pong { total_difficulty: 1, height: index })),
        );
    }
    solo.leave(again);
    solo.run_for(secs(500));
    let again = join_extended(&mut solo, 0, 3);
    assert_eq!(delivered(&solo.receive(again, &frame(4, 100))).len(), 1);
}

fn bad(from: Source, kind: Kind, id: Hash) -> Input<'static> {
    Input::FromChain(FromChain::BadEnvelope { from, kind, id })
}

#[test]
fn who_packs_something_else_goes_and_the_id_may_come_again() {
    let (mut solo, liar) = host();
    let honest = join_extended(&mut solo, 1, 1);
    let frame = envelope(Kind::Transaction, hash(1), 5_000, &[7; 100]);
    assert_eq!(delivered(&solo.receive(liar, &frame)).len(), 1);
    let outputs = solo.handle(bad(source(liar), Kind::Transaction, hash(1)));
    assert_eq!(outputs, [Out::Close(liar, CloseReason::BadEnvelope)], "and nothing is missing");
    assert_eq!(solo.endpoint.bans().count(), 0);
    assert_eq!(delivered(&solo.receive(honest, &frame)).len(), 1);
    assert!(solo.is_here(honest));
}

/// How long after a report on this host it is dialled again.
fn wait_after_report(stays: bool) -> u64 {
    let mut solo = Solo::small();
    let (conn, _) = solo.dial(0);
    let capabilities = Capabilities::EXTENSION;
    solo.receive(conn, &message(&Message::Shake(codec::Shake { capabilities, ..shake() })));
    let frame = envelope(Kind::Block, hash(1), 5_000, &[7; 100]);
    assert_eq!(delivered(&solo.receive(conn, &frame)).len(), 1);
    if !stays {
        solo.leave(conn);
    }
    let outputs = solo.handle(bad(Source { conn, addr: addr(0) }, Kind::Block, hash(1)));
    assert_eq!(closed(&outputs).is_some(), stays);
    let outputs = solo.run_for(secs(2_000));
    let (at, _) = outputs.iter().find(|(_, output)| matches!(output, Out::Dial(_))).unwrap();
    at.micros() / 1_000_000
}

#[test]
fn whoever_left_meanwhile_is_discouraged_all_the_same() {
    for stays in [true, false] {
        let waited = wait_after_report(stays);
        assert!((600..800).contains(&waited), "{stays}: {waited}");
    }
}

#[test]
fn the_chain_hears_that_an_answer_held_something_else() {
    let missing = ToChain::Missing { kind: Kind::Block, id: hash(1) };
    for (kind, request, told) in [
        (Kind::Block, Request::Block(hash(1)), Some(missing)),
        (Kind::Headers, Request::Headers([hash(7)].into()), Some(ToChain::NoHeaders)),
        (Kind::Transaction, Request::Block(hash(1)), None),
    ] {
        let (mut solo, conn) = host();
        ask(&mut solo, conn, request);
        let frame = envelope(kind, hash(1), 5_000, &[7; 100]);
        assert_eq!(delivered(&solo.receive(conn, &frame)).len(), 1);
        let outputs = solo.handle(bad(source(conn), kind, hash(1)));
        assert_eq!(closed(&outputs), Some(CloseReason::BadEnvelope));
        let outputs = told_later(&mut solo);
        let told: Vec<Out> = told.into_iter().map(Out::ToChain).collect();
        assert_eq!(outputs, told, "{kind:?}");
        let outputs = solo.handle(bad(source(conn), kind, hash(1)));
        assert_eq!((outputs, solo.endpoint.wants_room()), (vec![], false), "said once");
    }
}

#[test]
fn the_answers_that_may_prove_bad_are_bounded() {
    let (mut solo, conn) = host();
    for n in 0..3_000_u32 {
        let id = Hash::of(&n.to_be_bytes());
        ask(&mut solo, conn, Request::Transaction(id));
        let frame = envelope(Kind::Transaction, id, 100, &[7; 10]);
        assert_eq!(delivered(&solo.receive(conn, &frame)).len(), 1);
    }
    let mut told = |n: u32| {
        let id = Hash::of(&n.to_be_bytes());
        solo.handle(bad(source(conn), Kind::Transaction, id));
        told_later(&mut solo).len()
    };
    assert_eq!([told(0), told(3_000 - 2_049), told(3_000 - 2_048), told(2_999)], [0, 0, 1, 1]);
}

#[test]
fn what_is_to_come_later_may_come_in_an_envelope_again() {
    let (mut solo, conn) = host();
    let plain = transaction(1);
    let packed = packed(&plain);
    assert_eq!(delivered(&solo.receive(conn, packed.frame())).len(), 1);
    assert_eq!(delivered(&solo.receive(conn, packed.frame())).len(), 0);
    solo.judge(conn, &plain.with_packed(packed.clone()), Verdict::Later);
    assert_eq!(delivered(&solo.receive(conn, packed.frame())).len(), 1);
}

#[test]
fn answers_are_dressed_for_those_who_open_envelopes() {
    let (mut solo, extended) = host();
    let other = solo.join(1);
    let plain = payload(Kind::Block, 1);
    let both = plain.clone().with_packed(packed(&plain));
    for (to, given, kind) in [
        (extended, &both, Kind::Packed),
        (extended, &plain, Kind::Block),
        (other, &both, Kind::Block),
        (other, &plain, Kind::Block),
    ] {
        let deliver = FromChain::Deliver { to, payload: given.clone() };
        let outputs = solo.handle(Input::FromChain(deliver));
        let [Out::Send(_, sent)] = &outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(sent.kind(), kind);
    }
}

#[test]
fn nobody_else_can_send_one() {
    let mut solo = Solo::small();
    let conn = solo.join(0);
    let frame = envelope(Kind::Transaction, hash(1), 5_000, &[7; 100]);
    assert_eq!(solo.receive(conn, &frame), []);
    assert_eq!(solo.receive(conn, &frame[..40]), []);
    assert_eq!(solo.receive(conn, &frame[40..]), []);
    let empty = raw_frame(Kind::Packed as u8, &[]);
    assert_eq!(solo.receive(conn, &empty), []);
    assert_eq!(solo.receive(conn, &empty[..5]), []);
    assert_eq!(solo.receive(conn, &empty[5..]), []);
    assert_eq!(solo.endpoint.counts().unknown_frames, 4);
    let mut solo = Solo::with(|config| config.extension = false);
    let conn = solo.accepted(0, 1);
    let capabilities = Capabilities::GRIN_NODE | Capabilities::EXTENSION;
    let greeting = message(&Message::Hand(Hand { capabilities, ..hand() }));
    assert!(matches!(solo.receive(conn, &greeting)[..], [Out::Send(..)]));
    assert_eq!(solo.receive(conn, &frame), [], "we do not speak it");
}

#[test]
fn half_received_envelopes_count_for_the_memory_of_all() {
    let config = Config { assembly_bytes_max: 3 * 8_192, ..passive(NET) };
    let mut solo = Solo::cramped(config, 1);
    let frame = envelope(Kind::Block, hash(1), 5_000, &[7; 60_000]);
    let slow = join_extended(&mut solo, 0, 1);
    solo.receive(slow, &frame[..9_000]);
    let held = solo.endpoint.counts().assembly_bytes;
    assert!((9_000..20_000).contains(&held), "{held}");
    solo.run_for(secs(2));
    let fast = join_extended(&mut solo, 1, 1);
    let outputs = solo.receive(fast, &frame[..20_000]);
    assert!(outputs.contains(&Out::Close(slow, CloseReason::AssemblyFull)), "{outputs:?}");
    // One more than any may have is refused from the header.
    let long = NET.limits.body_bytes_max(Kind::Packed) + 1;
    let outputs = solo.receive(join_extended(&mut Solo::small(), 5, 1), &[]);
    assert_eq!(outputs, []);
    let third = join_extended(&mut solo, 2, 1);
    let outputs = solo.receive(third, &promise(Kind::Packed as u8, long));
    assert_eq!(closed(&outputs), Some(CloseReason::OversizeFrame));
}

#[test]
fn cuts_and_credits_change_nothing() {
    let frames: Vec<u8> = (0..20_u8)
        .flat_map(|n| {
            let kind = if n % 3 == 0 { Kind::Block } else { Kind::Transaction };
            let bytes = 200 * u32::from(n) + 1;
            let twice = u8::from(n % 4 == 0) + 1;
            envelope(kind, hash(n), bytes, &vec![n; 40 * n as usize]).repeat(twice.into())
        })
        .collect();
    let whole = {
        let (mut solo, conn) = host();
        let outputs = solo.receive(conn, &frames);
        (delivered(&outputs), solo.endpoint.counts().clone())
    };
    for (cut, bytes) in [(1, 5_000), (7, 4_000), (100, 3_900), (1_000, 3_900), (9_999, 8_000)] {
        let (mut solo, conn) = host();
        let (mut start, mut end, mut outputs) = (0, 0, Vec::new());
        while start < frames.len() {
            end = (end + cut).min(frames.len());
            let credit = Credit { frames: 2, items: 1, bytes };
            let received = Input::Received { conn, bytes: &frames[start..end], credit };
            let (consumed, more) = solo.step(received);
            outputs.extend(more);
            start += consumed;
            assert!(consumed > 0 || end < frames.len() || end > start, "no progress");
        }
        assert_eq!(delivered(&outputs), whole.0, "cuts of {cut}");
        assert_eq!(*solo.endpoint.counts(), whole.1);
    }
}
