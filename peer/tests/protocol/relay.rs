//! Relay: what is new goes to the chain once, and what the chain accepts to those that lack it.

use std::collections::BTreeSet;

use codec::{FRAME_HEADER_BYTES, Hash, Kind, Message, Network, Payload};
use peer::{
    CloseReason, ConnId, Freshness, FromChain, Input, InventoryLimits, REQUEST_MEMORY,
    REQUESTS_PER_PEER_MAX, Recipients, Request, SeenLimits, ToChain, Verdict,
};

use crate::solo::{
    NET, Out, Solo, addr, hash, message, millis, payload, promise, raw_frame, recipients, secs,
    sent_kinds, source, tip, transaction,
};

/// One that is as far as its peers.
fn solo() -> Solo {
    let mut solo = Solo::small();
    solo.handle(Input::Tip(tip(2)));
    solo
}

fn event(conn: ConnId, payload: &Payload, freshness: Freshness) -> Out {
    let payload = payload.clone();
    Out::ToChain(ToChain::Payload { from: source(conn), payload, freshness })
}

fn to_many(conns: &[ConnId], payload: &Payload) -> Out {
    Out::Send(Recipients::Many(conns.to_vec()), payload.clone())
}

fn ask(solo: &mut Solo, to: ConnId, request: Request) -> Vec<Kind> {
    sent_kinds(&solo.handle(Input::FromChain(FromChain::Request { to, request })))
}

/// Peers that are never silent for too long.
fn patient() -> Solo {
    let mut solo = Solo::with(|config| config.silence_timeout = secs(100_000));
    solo.handle(Input::Tip(tip(2)));
    solo
}

#[test]
fn a_payload_is_one_event_and_its_duplicates_are_nothing() {
    let mut solo = solo();
    let [a, b] = [0, 1].map(|index| solo.join(index));
    let known = transaction(1);
    assert_eq!(solo.receive(a, known.frame()), [event(a, &known, Freshness::New)]);
    for conn in [a, b, b] {
        assert_eq!(solo.receive(conn, known.frame()), []);
        let (head, tail) = known.frame().split_at(13);
        assert_eq!(solo.receive(conn, head), []);
        assert_eq!(solo.receive(conn, tail), []);
    }
    let twice = [known.frame(), transaction(2).frame(), transaction(2).frame()].concat();
    assert_eq!(solo.receive(b, &twice), [event(b, &transaction(2), Freshness::New)]);
    let counts = solo.endpoint.counts();
    assert_eq!((counts.payloads_new, counts.duplicates), (2, 8));
    assert_eq!(counts.duplicate_bytes, 8 * known.frame().len() as u64);
    assert_eq!(solo.info(b).duplicates, 6);
}

#[test]
fn what_is_accepted_goes_to_all_that_lack_it() {
    let mut solo = solo();
    let [a, b, c, d] = [0, 1, 2, 3].map(|index| solo.join(index));
    let unfinished = solo.accepted(4, 1);
    let new = transaction(1);
    solo.receive(b, new.frame());
    solo.receive(d, new.frame());
    assert_eq!(solo.run_for(millis(50)), [], "nothing is relayed before the verdict");
    assert_eq!(solo.judge(b, &new, Verdict::Accept), [to_many(&[a, c], &new)]);
    assert_eq!(solo.judge(b, &new, Verdict::Accept), [], "now all have it");
    assert_eq!(solo.receive(c, new.frame()), [], "it crossed ours");
    let late = solo.join(5);
    assert_eq!(solo.publish(&new), [to_many(&[late], &new)]);
    assert!(solo.is_here(unfinished));
}

#[test]
fn what_is_published_goes_to_all_and_its_echo_is_known() {
    let mut solo = solo();
    let block = payload(Kind::Block, 1);
    assert_eq!(solo.publish(&block), [], "nobody is here");
    let [a, b] = [0, 1].map(|index| solo.join(index));
    assert_eq!(solo.publish(&block), [to_many(&[a, b], &block)]);
    assert_eq!(solo.receive(a, block.frame()), []);
    assert_eq!(solo.publish(&block), []);
}

#[test]
fn what_was_dropped_on_the_way_out_is_lacking_again() {
    let mut solo = solo();
    let [a, b] = [0, 1].map(|index| solo.join(index));
    let new = transaction(1);
    assert_eq!(solo.publish(&new), [to_many(&[a, b], &new)]);
    assert_eq!(solo.handle(Input::Dropped { conn: a, payload: &new }), []);
    assert_eq!(solo.publish(&new), [to_many(&[a], &new)]);
    solo.handle(Input::Dropped { conn: b, payload: &transaction(2) });
    solo.handle(Input::Dropped { conn: ConnId::new(0, 9), payload: &new });
    assert_eq!(solo.publish(&new), []);
}

#[test]
fn what_the_chain_wants_later_is_new_when_it_comes_again() {
    let mut solo = solo();
    let [a, b, c] = [0, 1, 2].map(|index| solo.join(index));
    let orphan = payload(Kind::Block, 1);
    solo.receive(a, orphan.frame());
    assert_eq!(solo.judge(a, &orphan, Verdict::Later), []);
    assert_eq!(solo.receive(b, orphan.frame()), [event(b, &orphan, Freshness::New)]);
    assert_eq!(solo.receive(c, orphan.frame()), []);
    assert_eq!(solo.judge(b, &orphan, Verdict::Accept), [to_many(&[a], &orphan)]);
}

#[test]
fn what_is_invalid_goes_to_nobody_and_stays_known() {
    let mut solo = solo();
    let [a, b] = [0, 1].map(|index| solo.join(index));
    let bad = transaction(1);
    solo.receive(a, bad.frame());
    solo.receive(b, bad.frame());
    let outputs = solo.judge(a, &bad, Verdict::Invalid);
    assert_eq!(sent_kinds(&outputs), [Kind::BanReason]);
    assert!(!solo.is_here(a) && solo.is_here(b), "who repeats it may not know better");
    assert_eq!(solo.receive(b, bad.frame()), []);
}

#[test]
fn an_answer_is_delivered_although_it_is_known() {
    let mut solo = solo();
    let [a, b] = [0, 1].map(|index| solo.join(index));
    for kind in [Kind::Transaction, Kind::Block, Kind::CompactBlock] {
        let known = payload(kind, 1);
        solo.receive(a, known.frame());
        let (request, sent) = match kind {
            Kind::Transaction => (Request::Transaction(known.id()), Kind::GetTransaction),
            Kind::Block => (Request::Block(known.id()), Kind::GetBlock),
            _ => (Request::CompactBlock(known.id()), Kind::GetCompactBlock),
        };
        assert_eq!(ask(&mut solo, b, request), [sent]);
        assert_eq!(solo.receive(a, known.frame()), [], "only who was asked may answer");
        assert_eq!(solo.receive(b, known.frame()), [event(b, &known, Freshness::Requested)]);
        assert_eq!(solo.receive(b, known.frame()), [], "one answer to a request");
    }
    let (known, wanted) = (payload(Kind::Block, 1), payload(Kind::Block, 2));
    ask(&mut solo, b, Request::Block(wanted.id()));
    assert_eq!(solo.receive(b, known.frame()), [], "another block is no answer");
    assert_eq!(solo.receive(b, wanted.frame()), [event(b, &wanted, Freshness::Requested)]);
    assert_eq!(solo.publish(&wanted), [to_many(&[a], &wanted)]);
}

#[test]
fn unsolicited_answers_are_refused_from_their_header() {
    let answers = [
        Kind::Headers,
        Kind::TxHashSetArchive,
        Kind::OutputBitmapSegment,
        Kind::OutputSegment,
        Kind::RangeProofSegment,
        Kind::KernelSegment,
    ];
    for kind in answers {
        let mut solo = solo();
        let [whole, split] = [0, 1].map(|index| solo.join(index));
        let header = promise(kind as u8, 200);
        let refused = |conn| [Out::Close(conn, CloseReason::Unsolicited)];
        assert_eq!(solo.receive(whole, &header), refused(whole), "{kind:?}");
        assert_eq!(solo.receive(split, &header[..5]), []);
        assert_eq!(solo.receive(split, &header[5..]), refused(split), "{kind:?}");
        assert_eq!(solo.endpoint.counts().assembly_bytes, 0);
    }
}

#[test]
fn headers_come_once_for_each_request() {
    let mut solo = solo();
    let conn = solo.join(0);
    let headers = Payload::seal(&NET, Kind::Headers, &[7; 3_000]).unwrap();
    for _ in 0..2 {
        let request = Request::Headers(Box::new([hash(1), hash(2)]));
        assert_eq!(ask(&mut solo, conn, request), [Kind::GetHeaders]);
    }
    let expected = [event(conn, &headers, Freshness::Requested)];
    assert_eq!(solo.receive(conn, headers.frame()), expected);
    let (head, tail) = headers.frame().split_at(2_000);
    assert_eq!(solo.receive(conn, head), []);
    assert_eq!(solo.receive(conn, tail), expected);
    let refused = [Out::Close(conn, CloseReason::Unsolicited)];
    assert_eq!(solo.receive(conn, &headers.frame()[..FRAME_HEADER_BYTES]), refused);
}

#[test]
fn answers_and_stems_are_never_spread() {
    let mut solo = solo();
    let [a, _] = [0, 1].map(|index| solo.join(index));
    for kind in [Kind::Headers, Kind::StemTransaction, Kind::TransactionKernel] {
        let private = payload(kind, 1);
        assert_eq!(solo.publish(&private), [], "{kind:?}");
        if kind != Kind::StemTransaction {
            assert_eq!(solo.judge(a, &private, Verdict::Accept), [], "{kind:?}");
        }
    }
}

#[test]
fn open_requests_are_bounded_and_forgotten_after_a_while() {
    let mut solo = patient();
    let [conn, other] = [0, 1].map(|index| solo.join(index));
    let request = |n: usize| Request::Block(payload(Kind::Block, n as u32).id());
    for n in 0..REQUESTS_PER_PEER_MAX {
        assert_eq!(ask(&mut solo, conn, request(n)), [Kind::GetBlock]);
    }
    assert_eq!(ask(&mut solo, conn, request(99)), []);
    assert_eq!(ask(&mut solo, other, request(99)), [Kind::GetBlock], "each peer has its own");
    assert_eq!(ask(&mut solo, ConnId::new(7, 1), request(99)), []);
    assert_eq!(solo.endpoint.counts().requests_unsent, 2);
    solo.receive(conn, payload(Kind::Block, 5).frame());
    assert_eq!(ask(&mut solo, conn, request(99)), [Kind::GetBlock]);
    assert_eq!(ask(&mut solo, conn, request(100)), []);
    solo.run_for(REQUEST_MEMORY);
    for n in 0..REQUESTS_PER_PEER_MAX {
        assert_eq!(
            ask(&mut solo, conn, request(n)),
            [Kind::GetBlock],
            "the old ones are forgotten"
        );
    }
}

#[test]
fn an_answer_may_be_late_but_not_for_ever() {
    for (wait, welcome) in [(REQUEST_MEMORY - secs(1), true), (REQUEST_MEMORY, false)] {
        let mut solo = patient();
        let conn = solo.join(0);
        let headers = payload(Kind::Headers, 1);
        ask(&mut solo, conn, Request::Headers(Box::new([hash(1)])));
        solo.run_for(wait);
        let expected = if welcome {
            event(conn, &headers, Freshness::Requested)
        } else {
            Out::Close(conn, CloseReason::Unsolicited)
        };
        assert_eq!(solo.receive(conn, headers.frame()), [expected], "after {wait:?}");
    }
}

#[test]
fn requests_of_peers_go_to_the_chain_and_its_answers_to_them_alone() {
    let mut solo = solo();
    let [a, b] = [0, 1].map(|index| solo.join(index));
    let requested = |request| [Out::ToChain(ToChain::Requested { from: source(a), request })];
    let id = hash(3);
    let cases = [
        (Message::GetBlock(id), Request::Block(id)),
        (Message::GetCompactBlock(id), Request::CompactBlock(id)),
        (Message::GetTransaction(id), Request::Transaction(id)),
    ];
    for (asked, request) in cases {
        assert_eq!(solo.receive(a, &message(&asked)), requested(request));
    }
    let announced = ToChain::Announced { from: source(a), kind: Kind::TransactionKernel, id };
    let announcement = message(&Message::TransactionKernel(id));
    assert_eq!(solo.receive(a, &announcement), [Out::ToChain(announced)]);

    let block = payload(Kind::Block, 1);
    solo.receive(b, block.frame());
    for _ in 0..2 {
        let deliver = FromChain::Deliver { to: a, payload: block.clone() };
        let outputs = solo.handle(Input::FromChain(deliver));
        assert_eq!(outputs, [Out::Send(Recipients::One(a), block.clone())], "never filtered");
    }
    assert_eq!(solo.judge(b, &block, Verdict::Accept), [], "whom it was delivered has it");
}

/// All that somebody who talks to this endpoint can see of a transaction.
fn probe(solo: &mut Solo, spy: ConnId, body: &[u8]) -> Vec<Vec<Out>> {
    let stem = raw_frame(Kind::StemTransaction as u8, body);
    let fluff = raw_frame(Kind::Transaction as u8, body);
    let id = Hash::of(body);
    let mut seen: Vec<Vec<Out>> = [
        message(&Message::GetTransaction(id)),
        message(&Message::TransactionKernel(id)),
        stem.clone(),
        stem,
        fluff[..20].to_vec(),
        fluff[20..].to_vec(),
        fluff.clone(),
    ]
    .iter()
    .map(|bytes| solo.receive(spy, bytes))
    .collect();
    let fluff = Payload::seal(&NET, Kind::Transaction, body).unwrap();
    seen.push(solo.judge(spy, &fluff, Verdict::Accept));
    seen.push(solo.publish(&fluff));
    seen.push(solo.run_for(secs(20)).into_iter().map(|(_, output)| output).collect());
    seen
}

#[test]
fn a_stem_leaves_no_trace() {
    let body = b"who made this is nobody's business";
    let stem = raw_frame(Kind::StemTransaction as u8, body);
    let mut stemmed = Vec::new();
    let seen: Vec<_> = [false, true]
        .into_iter()
        .map(|holds| {
            let mut solo = solo();
            let [sender, spy, _] = [0, 1, 2].map(|index| solo.join(index));
            if holds {
                stemmed = solo.receive(sender, &stem);
                assert_eq!(solo.receive(sender, &stem), stemmed, "a second copy is an event too");
            }
            let memory = solo.endpoint.memory_bytes();
            (probe(&mut solo, spy, body), solo.endpoint.poll_timeout(), memory)
        })
        .collect();
    assert_eq!(seen[0], seen[1]);
    assert!(matches!(&stemmed[..], [Out::ToChain(_)]), "{stemmed:?}");
    let (outputs, ..) = &seen[1];
    let fluffed = &outputs[5][0];
    assert!(
        matches!(fluffed, Out::ToChain(ToChain::Payload { freshness: Freshness::New, .. })),
        "{fluffed:?}"
    );
    let fluff_goes_to = recipients(&outputs[7][0]);
    assert_eq!(fluff_goes_to, [ConnId::new(0, 1), ConnId::new(2, 1)], "the sender not excluded");
}

#[test]
fn a_filter_that_errs_loses_nothing() {
    let mut solo = Solo::with(|config| {
        config.seen = SeenLimits { recent_ids: 64, older_ids: 1_000, older_bits_per_id: 1 };
    });
    let [a, b] = [0, 1].map(|index| solo.join(index));
    let mut hinted = 0;
    for number in 0..20_000 {
        let new = transaction(number);
        let outputs = solo.receive(a, new.frame());
        let [Out::ToChain(ToChain::Payload { payload, freshness, .. })] = &outputs[..] else {
            panic!("{number}: {outputs:?}")
        };
        assert_eq!(payload, &new);
        assert_ne!(*freshness, Freshness::Requested);
        hinted += u32::from(*freshness == Freshness::PerhapsLongAgo);
        assert_eq!(solo.judge(a, &new, Verdict::Accept), [to_many(&[b], &new)]);
    }
    let counts = solo.endpoint.counts();
    assert!(hinted > 1_000, "the filter does not err: {hinted}");
    assert_eq!((counts.payloads_hinted, counts.duplicates), (u64::from(hinted), 0));
    assert_eq!(counts.payloads_new + counts.payloads_hinted, 20_000);
    let outputs = solo.receive(b, transaction(19_000).frame());
    assert_eq!(outputs, [event(b, &transaction(19_000), Freshness::PerhapsLongAgo)]);
}

#[test]
fn kinds_do_not_collide() {
    let kinds =
        [Kind::Header, Kind::Block, Kind::CompactBlock, Kind::Transaction, Kind::StemTransaction];
    let mut solo = solo();
    let conn = solo.join(0);
    for kind in kinds {
        let new = payload(kind, 1);
        assert_eq!(solo.receive(conn, new.frame()), [event(conn, &new, Freshness::New)]);
    }
    for kind in &kinds[..4] {
        assert_eq!(solo.receive(conn, payload(*kind, 1).frame()), [], "{kind:?}");
    }
}

#[test]
fn peers_without_a_column_get_everything() {
    let mut solo = Solo::with(|config| config.inventory = InventoryLimits { rows: 512, slots: 1 });
    let [placed, first, second] = [0, 1, 2].map(|index| solo.join(index));
    let new = transaction(1);
    solo.receive(first, new.frame());
    assert_eq!(solo.judge(first, &new, Verdict::Accept), [to_many(&[placed, first, second], &new)]);
    solo.leave(first);
    assert_eq!(solo.publish(&new), [to_many(&[second], &new)]);
}

#[test]
fn many_peers_are_one_output() {
    let mut solo = Solo::with(|config| {
        config.inventory = InventoryLimits { rows: 512, slots: 2_000 };
    });
    let conns: Vec<ConnId> = (0..1_500).map(|index| solo.join(index)).collect();
    let new = transaction(1);
    for conn in conns.iter().step_by(2) {
        solo.receive(*conn, new.frame());
    }
    let outputs = solo.judge(conns[0], &new, Verdict::Accept);
    let [Out::Send(Recipients::Many(to), sent)] = &outputs[..] else { panic!("{outputs:?}") };
    let expected: BTreeSet<ConnId> = conns.iter().skip(1).step_by(2).copied().collect();
    assert_eq!((to.iter().copied().collect::<BTreeSet<_>>(), to.len()), (expected, 750));
    assert_eq!(sent, &new);
}

#[test]
fn a_goodbye_and_a_ban_end_a_connection() {
    let mut solo = solo();
    let codes = [(0, CloseReason::RemoteClosed), (5, CloseReason::BannedByRemote)];
    for (code, reason) in codes {
        let conn = solo.join(code);
        let frame = raw_frame(Kind::BanReason as u8, &code.to_be_bytes());
        let behind = [&frame[..], transaction(code).frame()].concat();
        assert_eq!(solo.receive(conn, &behind), [Out::Close(conn, reason)]);
    }
    let conns = [7, 8].map(|index| solo.join(index));
    let early = solo.accepted(9, 1);
    let outputs = solo.handle(Input::Shutdown);
    assert_eq!(sent_kinds(&outputs), [Kind::BanReason; 2]);
    let closed: Vec<_> = outputs
        .iter()
        .filter(|output| matches!(output, Out::Close(_, CloseReason::Shutdown)))
        .flat_map(recipients)
        .collect();
    assert_eq!(closed, [conns[0], conns[1], early]);
    assert_eq!(solo.handle(Input::Hold { addr: addr(3) }), [], "nobody is dialled any more");
    assert_eq!(solo.endpoint.peers().count(), 0);
}

#[test]
fn what_is_not_for_this_network_or_not_relayed_is_refused() {
    let mut solo = solo();
    solo.join(0);
    let foreign = Payload::seal(&Network::GRIN_MAIN, Kind::Transaction, &[1]).unwrap();
    let control = Payload::seal(&NET, Kind::Ping, &[0; 16]).unwrap();
    for payload in [foreign, control] {
        assert_eq!(solo.handle(Input::FromChain(FromChain::Publish(payload))), []);
    }
    assert_eq!(solo.endpoint.counts().commands_refused, 2);
}

#[test]
fn a_verdict_is_on_a_frame_of_our_network() {
    let mut solo = solo();
    let conns = [0, 1].map(|index| solo.join(index));
    let foreign = Network { magic: [7, 7], ..NET };
    let wrong = [
        Payload::seal(&foreign, Kind::Block, &[1; 9]).unwrap(),
        Payload::piece(Vec::new()),
        Payload::piece(vec![1; 100]),
        Payload::piece([&NET.magic[..], &[1; 30]].concat()),
    ];
    for payload in &wrong {
        for verdict in [Verdict::Accept, Verdict::Later, Verdict::Invalid] {
            assert_eq!(solo.judge(conns[0], payload, verdict), [], "{verdict:?} on {payload:?}");
        }
        assert_eq!(solo.publish(payload), []);
    }
    assert_eq!(solo.endpoint.counts().commands_refused, 16);
    assert!(solo.is_here(conns[0]));
}
