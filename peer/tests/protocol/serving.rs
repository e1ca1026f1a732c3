//! Requests and answers: all kinds, both ways, within their rates.
//!
//! Names of tests tell which trap of the protocol they cover: what its published implementation
//! does that an implementer gets wrong first.

use std::time::Duration;

use codec::{FrameHeader, Hand, Kind, Message, Network, Payload, SegmentId};
use peer::{
    CloseReason, Config, ConnId, Credit, Freshness, FromChain, Input, Instant,
    REQUESTS_WAITING_MAX, Rate, Recipients, Request, ToChain,
};

use crate::solo::{
    NET, Out, Solo, UNLIMITED, hand, hash, message, millis, passive, payload, ping, pong, secs,
    sent_kinds, source, transaction,
};

/// Those who wait of whom one look finds out that there is no room.
const REQUESTS_UNCREDITED_MAX: usize = 32;

/// What a request for a block pledges on this network.
const PLEDGE: u64 = 1_348_032;

fn requested(conn: ConnId, request: Request) -> Out {
    Out::ToChain(ToChain::Requested { from: source(conn), request })
}

fn delivered(conn: ConnId, payload: &Payload) -> Out {
    Out::Send(Recipients::One(conn), payload.clone())
}

fn ask(solo: &mut Solo, to: ConnId, request: Request) -> Vec<Out> {
    solo.handle(Input::FromChain(FromChain::Request { to, request }))
}

fn deliver(solo: &mut Solo, to: ConnId, payload: &Payload) -> Vec<Out> {
    solo.handle(Input::FromChain(FromChain::Deliver { to, payload: payload.clone() }))
}

fn get_block(number: u8) -> Vec<u8> {
    message(&Message::GetBlock(hash(number)))
}

const fn segment(index: u64) -> SegmentId {
    SegmentId { block: codec::Hash([7; 32]), height: 9, index }
}

/// Every request with its message and the kind of its answer.
fn requests() -> Vec<(Request, Message<'static>, Kind)> {
    let (id, wanted) = (hash(3), segment(4));
    let archive = codec::ArchiveRequest { block: id, height: 720 };
    vec![
        (Request::Block(id), Message::GetBlock(id), Kind::Block),
        (Request::CompactBlock(id), Message::GetCompactBlock(id), Kind::CompactBlock),
        (Request::Transaction(id), Message::GetTransaction(id), Kind::Transaction),
        (
            Request::TxHashSet { block: id, height: 720 },
            Message::TxHashSetRequest(archive),
            Kind::TxHashSetArchive,
        ),
        (
            Request::OutputBitmapSegment(wanted),
            Message::GetOutputBitmapSegment(wanted),
            Kind::OutputBitmapSegment,
        ),
        (Request::OutputSegment(wanted), Message::GetOutputSegment(wanted), Kind::OutputSegment),
        (
            Request::RangeProofSegment(wanted),
            Message::GetRangeProofSegment(wanted),
            Kind::RangeProofSegment,
        ),
        (Request::KernelSegment(wanted), Message::GetKernelSegment(wanted), Kind::KernelSegment),
    ]
}

/// A peer of another network and version.
fn join_with(solo: &mut Solo, network: &Network, index: u32, version: u32) -> ConnId {
    let conn = solo.accepted(index, 1);
    let hand = Message::Hand(Hand { version, genesis: network.genesis, ..hand() });
    let mut frame = Vec::new();
    hand.encode_frame(network, 1000, &mut frame).unwrap();
    assert_eq!(sent_kinds(&solo.receive(conn, &frame)), [Kind::Shake]);
    conn
}

fn grin() -> Config {
    let mut config = passive(Network::GRIN_MAIN);
    config.locality = peer::Locality::Local;
    config
}

fn unpaced() -> Config {
    let mut config = grin();
    config.rates.grin_pace = None;
    config
}

fn grin_frame(kind: Kind, body: &[u8]) -> Payload {
    Payload::seal(&Network::GRIN_MAIN, kind, body).unwrap()
}

#[test]
fn all_requests_go_both_ways() {
    let mut solo = Solo::small();
    let conn = solo.join(0);
    for (request, asked, _) in requests() {
        assert_eq!(solo.receive(conn, &message(&asked)), [requested(conn, request.clone())]);
        let outputs = ask(&mut solo, conn, request);
        let [Out::Send(Recipients::One(to), sent)] = &outputs[..] else { panic!("{outputs:?}") };
        assert_eq!((*to, sent.frame()), (conn, &message(&asked)[..]));
    }
    let counts = solo.endpoint.counts();
    assert_eq!((counts.requests_unsent, counts.requests_refused), (0, 0));
}

#[test]
fn segments_are_answers_only_to_those_who_asked_and_only_once() {
    for (request, _, kind) in requests().split_off(4) {
        let mut solo = Solo::small();
        let [conn, other] = [0, 1].map(|index| solo.join(index));
        ask(&mut solo, conn, request);
        let answer = payload(kind, 1);
        let event = ToChain::Payload {
            from: source(conn),
            payload: answer.clone(),
            freshness: Freshness::Requested,
        };
        let refused = |conn| [Out::Close(conn, CloseReason::Unsolicited)];
        let header = FrameHeader { kind: kind as u8, length: 300 }.encode(NET.magic);
        assert_eq!(solo.receive(other, &header), refused(other), "{kind:?}");
        assert_eq!(solo.receive(conn, answer.frame()), [Out::ToChain(event)], "{kind:?}");
        assert_eq!(solo.receive(conn, &header), refused(conn), "{kind:?}");
    }
}

#[test]
fn a_segment_answers_the_request_for_that_segment() {
    let network = Network::GRIN_MAIN;
    // No hashes, no leaves, no proof.
    let body = |index: u64| [&[7; 32][..], &[9], &index.to_be_bytes(), &[0; 24]].concat();
    let mut solo = Solo::new(grin(), 1);
    let conn = join_with(&mut solo, &network, 0, 1000);
    for index in [4, 5] {
        ask(&mut solo, conn, Request::RangeProofSegment(segment(index)));
    }
    let answer = |index| grin_frame(Kind::RangeProofSegment, &body(index));
    for index in [5, 4] {
        let outputs = solo.receive(conn, answer(index).frame());
        assert!(matches!(&outputs[..], [Out::ToChain(ToChain::Payload { .. })]), "{outputs:?}");
    }
    ask(&mut solo, conn, Request::RangeProofSegment(segment(6)));
    let refused = [Out::Close(conn, CloseReason::Unsolicited)];
    assert_eq!(solo.receive(conn, answer(4).frame()), refused, "nobody asked for it again");
}

#[test]
fn trap_5_headers_without_a_header_are_taken_and_never_sent() {
    for network in [Network::DEV, Network::GRIN_MAIN] {
        let config = Config { locality: peer::Locality::Local, ..passive(network.clone()) };
        let mut solo = Solo::new(config, 1);
        let conn = join_with(&mut solo, &network, 0, 1000);
        let none = Payload::seal(&network, Kind::Headers, &[0, 0]).unwrap();
        assert_eq!(deliver(&mut solo, conn, &none), []);
        assert_eq!(solo.endpoint.counts().answers_withheld, 1);

        ask(&mut solo, conn, Request::Headers(Box::new([hash(1)])));
        let outputs = solo.receive(conn, none.frame());
        let [Out::ToChain(ToChain::Payload { payload, freshness, .. })] = &outputs[..] else {
            panic!("{outputs:?}")
        };
        assert_eq!((payload, *freshness), (&none, Freshness::Requested));
        assert!(solo.is_here(conn));
    }
}

#[test]
fn an_archive_must_not_come_by_delivery() {
    let mut solo = Solo::small();
    let conn = solo.join(0);
    let archive = Payload::seal(&NET, Kind::TxHashSetArchive, &[0; 48]).unwrap();
    assert_eq!(deliver(&mut solo, conn, &archive), []);
    assert_eq!(solo.endpoint.counts().commands_refused, 1);
}

/// Two blocks at once, and one in two seconds.
fn frugal() -> Solo {
    Solo::with(|config| {
        config.rates.answers = Rate { amount: PLEDGE, per: secs(2), burst: 2 * PLEDGE };
    })
}

#[test]
fn requests_beyond_the_rate_wait_then_are_refused_and_never_end_a_connection() {
    let mut solo = frugal();
    let conn = solo.join(0);
    let all: Vec<u8> = (0..100).flat_map(get_block).collect();
    let first = [0, 1].map(|number| requested(conn, Request::Block(hash(number))));
    assert_eq!(solo.receive(conn, &all), first);
    let counts = solo.endpoint.counts();
    let waiting = REQUESTS_WAITING_MAX as u64;
    assert_eq!((counts.requests_waiting, counts.requests_refused), (waiting, 98 - waiting));

    // Silence is an answer, and each was pledged for: one goes in two seconds, in their order.
    solo.receive(conn, &ping(1));
    let mut served = Vec::new();
    for _ in 0..8 {
        solo.receive(conn, &ping(1));
        served.extend(solo.run_for(secs(2)));
    }
    let events: Vec<(Instant, Request)> = served
        .into_iter()
        .filter_map(|(at, output)| match output {
            Out::ToChain(ToChain::Requested { request, .. }) => Some((at, request)),
            _ => None,
        })
        .collect();
    assert!((7..=8).contains(&events.len()), "{events:?}");
    for (index, (at, request)) in events.iter().enumerate() {
        assert_eq!(*request, Request::Block(hash(index as u8 + 2)));
        assert!(*at >= Instant::START.after(secs(2 * index as u64)), "{events:?}");
    }
    assert!(solo.is_here(conn));
    solo.leave(conn);
    assert_eq!(solo.endpoint.counts().requests_waiting, 0);
}

#[test]
fn classes_do_not_wait_for_each_other() {
    let mut solo = frugal();
    let [conn, other] = [0, 1].map(|index| solo.join(index));
    (0..9).for_each(|number| drop(solo.receive(conn, &get_block(number))));
    let headers = message(&Message::GetHeaders(codec::Locator::new(&[])));
    assert_eq!(solo.receive(conn, &headers).len(), 1, "another class");
    assert_eq!(solo.receive(other, &get_block(1)).len(), 1, "another peer");
}

#[test]
fn an_answer_gives_its_pledge_back_and_costs_what_it_is() {
    let mut solo = frugal();
    let conn = solo.join(0);
    (0..6).for_each(|number| drop(solo.receive(conn, &get_block(number))));
    let small = payload(Kind::Block, 1);
    for number in 2..6 {
        let next = requested(conn, Request::Block(hash(number)));
        assert_eq!(deliver(&mut solo, conn, &small), [delivered(conn, &small), next]);
    }
    assert_eq!(solo.endpoint.counts().requests_waiting, 0);
    // A block four times as large as nominal is paid for before the next is asked of the chain.
    let large = Payload::seal(&NET, Kind::Block, &vec![1; 4 * PLEDGE as usize]).unwrap();
    assert_eq!(deliver(&mut solo, conn, &large), [delivered(conn, &large)]);
    assert_eq!(solo.receive(conn, &get_block(9)), []);
    let early = solo.run_for(millis(3_500));
    let asked = |outputs: &[(Instant, Out)]| {
        outputs.iter().filter(|(_, output)| matches!(output, Out::ToChain(_))).count()
    };
    assert_eq!(asked(&early), 0, "{early:?}");
    solo.receive(conn, &ping(1));
    assert_eq!(asked(&solo.run_for(secs(7))), 1);
}

#[test]
fn what_waited_goes_with_the_next_credit_when_the_lane_was_full() {
    let mut solo = Solo::with(|config| {
        config.rates.answers = Rate { amount: 1 << 20, per: millis(100), burst: 1 };
    });
    let [conn, other] = [0, 1].map(|index| solo.join(index));
    let locator = [hash(1)];
    let headers = message(&Message::GetHeaders(codec::Locator::new(&locator)));
    assert_eq!(solo.receive(conn, &headers).len(), 1);
    assert_eq!(solo.receive(conn, &headers), [], "it waits");
    // A list takes bytes of the lane, of which none is kept for it.
    let later = solo.run_for(millis(500));
    assert!(later.iter().all(|(_, output)| !matches!(output, Out::ToChain(_))), "{later:?}");
    let none = Credit { items: 0, ..UNLIMITED };
    let (_, outputs) = solo.step(Input::Received { conn: other, bytes: &ping(1), credit: none });
    assert_eq!(sent_kinds(&outputs).len(), outputs.len(), "{outputs:?}");
    assert!(solo.endpoint.wants_room());
    let request = Request::Headers(Box::new([hash(1)]));
    let outputs = solo.receive(other, &ping(1));
    assert_eq!(outputs.last(), Some(&requested(conn, request.clone())));
    assert!(!solo.endpoint.wants_room());

    assert_eq!(solo.receive(conn, &headers), [], "another waits");
    solo.run_for(millis(500));
    assert_eq!(solo.handle(Input::Room { credit: none }), []);
    let outputs = solo.handle(Input::Room { credit: UNLIMITED });
    assert_eq!(outputs, [requested(conn, request)]);
}

/// One block a second to all peers together.
fn scarce() -> Solo {
    Solo::with(|config| {
        config.rates.upload = Some(Rate { amount: PLEDGE, per: secs(1), burst: PLEDGE });
    })
}

#[test]
fn all_peers_together_share_the_upload_in_turns() {
    let mut solo = scarce();
    let conns = [0, 1, 2].map(|index| solo.join(index));
    let block = Payload::seal(&NET, Kind::Block, &vec![1; PLEDGE as usize]).unwrap();
    assert_eq!(solo.receive(conns[0], &get_block(0)).len(), 1);
    deliver(&mut solo, conns[0], &block);
    for number in 1..4 {
        for conn in conns {
            assert_eq!(solo.receive(conn, &get_block(number)), []);
        }
    }
    // A chain that answers between two looks of ours: what is asked at once goes at once.
    let mut served: Vec<ConnId> = Vec::new();
    for _ in 0..80 {
        let outputs: Vec<Out> =
            solo.run_for(millis(100)).into_iter().map(|(_, output)| output).collect();
        let asked = askers(&outputs);
        served.extend_from_slice(&asked);
        asked.iter().for_each(|conn| drop(deliver(&mut solo, *conn, &block)));
    }
    assert_eq!(served, [conns, conns, conns].concat());
}

/// Whose requests went to the chain.
fn askers(outputs: &[Out]) -> Vec<ConnId> {
    let asker = |output: &Out| match output {
        Out::ToChain(ToChain::Requested { from, .. }) => Some(from.conn),
        _ => None,
    };
    outputs.iter().filter_map(asker).collect()
}

#[test]
fn what_is_asked_and_never_answered_costs_nobody_the_upload() {
    let mut solo = scarce();
    let greedy: Vec<ConnId> = (0..50).map(|index| solo.join(index)).collect();
    let honest = solo.join(500);
    let mut served = 0;
    for number in 0..60 {
        for conn in &greedy {
            solo.receive(*conn, &[get_block(number), pong(1)].concat());
        }
        let outputs = solo.receive(honest, &[get_block(number), pong(1)].concat());
        served += askers(&outputs).len();
        solo.run_for(secs(2));
    }
    assert_eq!(served, 60, "not a byte was sent in an answer");
}

#[test]
fn pongs_and_addresses_are_answers_and_cost_upload_too() {
    let mut solo = scarce();
    let [conn, other] = [0, 1].map(|index| solo.join(index));
    let burst = PLEDGE / ping(1).len() as u64;
    let pings: Vec<u8> = (0..9_000).flat_map(|_| ping(1)).collect();
    let mut ponged = 0;
    for index in 10.. {
        let flood = solo.join(index);
        ponged += sent_kinds(&solo.receive(flood, &pings)).len() as u64;
        if ponged > burst {
            break;
        }
    }
    assert_eq!(solo.receive(conn, &get_block(1)), [], "nothing is left");
    assert_eq!(sent_kinds(&solo.receive(other, &ping(1)))[0], Kind::Pong, "but a pong must be");
}

#[test]
fn who_comes_again_has_spent_what_it_had() {
    let mut solo = Solo::small();
    let mut bytes = 0;
    let block = Payload::seal(&NET, Kind::Block, &vec![1; 1_000_000]).unwrap();
    let mut pongs = 0;
    for generation in 1..=50 {
        let conn = solo.join_as(0, generation);
        for number in 0..64 {
            for _ in solo.receive(conn, &get_block(number)) {
                bytes += block.frame().len() as u64;
                deliver(&mut solo, conn, &block);
            }
        }
        let pings: Vec<u8> = (0..1_000).flat_map(|_| ping(1)).collect();
        pongs += sent_kinds(&solo.receive(conn, &pings)).len() as u64;
        solo.leave(conn);
    }
    let rates = peer::Rates::default();
    assert!(bytes <= rates.answers.burst + 2 * PLEDGE, "{bytes} bytes to one host in no time");
    assert!(pongs <= rates.messages.burst, "{pongs} pongs");
    let other = solo.join(1);
    assert_eq!(solo.receive(other, &get_block(1)).len(), 1, "another host");
    // In time its purse is full again, and it is a host like any other.
    solo.leave(other);
    solo.run_for(secs(60));
    let conn = solo.join_as(0, 99);
    let asks: Vec<u8> = (0..6).flat_map(get_block).collect();
    assert_eq!(solo.receive(conn, &asks).len(), 6);
}

#[test]
fn a_lane_without_room_costs_a_look_at_a_few_of_those_who_wait() {
    let mut solo = Solo::with(|config| {
        config.rates.answers = Rate { amount: 1 << 20, per: millis(100), burst: 1 };
        (config.ping_period, config.silence_timeout) = (secs(10_000), secs(60_000));
    });
    let conns: Vec<ConnId> = (0..100).map(|index| solo.join(index)).collect();
    let locator = [hash(1)];
    let headers = message(&Message::GetHeaders(codec::Locator::new(&locator)));
    for conn in &conns {
        assert_eq!(solo.receive(*conn, &headers).len(), 1);
        assert_eq!(solo.receive(*conn, &headers), [], "it waits");
    }
    // They are due in the same moment, and none of them can go without a credit.
    solo.now = solo.now.after(secs(1));
    assert_eq!(askers(&solo.handle(Input::Timeout)), []);
    let one = Credit { items: 1, ..UNLIMITED };
    let next = askers(&solo.handle(Input::Room { credit: one }));
    assert_eq!(next, [conns[REQUESTS_UNCREDITED_MAX]], "those before were looked at");
    let others = askers(&solo.handle(Input::Room { credit: UNLIMITED }));
    assert_eq!(others.len(), 99, "each, once");
}

/// Five small messages at once, and one a second.
fn strict() -> Solo {
    Solo::with(|config| config.rates.messages = Rate { amount: 1, per: secs(1), burst: 5 })
}

#[test]
fn small_messages_beyond_their_rate_are_passed_over_and_a_flood_of_them_ends_it() {
    let floods = [
        ping(1),
        message(&Message::TransactionKernel(hash(1))),
        message(&Message::GetTransaction(hash(1))),
        message(&Message::PeerAddrs(codec::PeerAddrs::new(&[]))),
    ];
    for flood in floods {
        let mut solo = strict();
        let conn = solo.join(0);
        for _ in 0..5 {
            solo.receive(conn, &flood);
        }
        for passed_over in 1..=50 {
            assert_eq!(solo.receive(conn, &flood), []);
            assert_eq!(solo.endpoint.counts().messages_passed_over, passed_over);
        }
        let close = [Out::Close(conn, CloseReason::Flooding)];
        assert_eq!(solo.receive(conn, &flood), close);
    }
}

#[test]
fn what_nobody_pays_for_does_not_count_as_a_small_message() {
    let mut solo = strict();
    let conn = solo.join(0);
    for number in 0..500 {
        assert_eq!(solo.receive(conn, transaction(number).frame()).len(), 1);
    }
    // What the chain asked for is welcome whatever else came.
    (0..30).for_each(|_| drop(solo.receive(conn, &ping(1))));
    for number in 0..60 {
        ask(&mut solo, conn, Request::Headers(Box::new([hash(1)])));
        let headers = payload(Kind::Headers, number);
        assert_eq!(solo.receive(conn, headers.frame()).len(), 1);
    }
    assert_eq!(solo.endpoint.counts().messages_passed_over, 25);
}

#[test]
fn who_rests_between_bursts_is_no_flooder() {
    let mut solo = strict();
    let conn = solo.join(0);
    for _ in 0..20 {
        (0..30).for_each(|_| drop(solo.receive(conn, &ping(1))));
        solo.run_for(secs(25));
    }
    assert!(solo.is_here(conn));
    assert_eq!(solo.endpoint.counts().messages_passed_over, 20 * 25);
}

#[test]
fn who_is_a_little_too_fast_for_ever_is_no_flooder() {
    let mut solo = strict();
    let conn = solo.join(0);
    for _ in 0..2_000 {
        solo.receive(conn, &pong(1));
        solo.run_for(millis(800));
    }
    assert!(solo.is_here(conn));
    assert!(solo.endpoint.counts().messages_passed_over > 300);
}

/// How many messages left in the busiest minute.
fn busiest_minute(sent: &[Instant]) -> usize {
    let in_minute =
        |from: &Instant| sent.iter().filter(|at| *at >= from && at.since(*from) < secs(60)).count();
    sent.iter().map(in_minute).max().unwrap_or(0)
}

#[test]
fn trap_7_a_grin_peer_never_gets_500_messages_in_a_minute() {
    let mut solo = Solo::with(|config| config.rates.grin_pace = grin().rates.grin_pace);
    let conn = solo.join(0);
    let mut sent = Vec::new();
    let mut note = |outputs: Vec<(Instant, Out)>| {
        let to_wire = |(at, output)| matches!(output, Out::Send(..)).then_some(at);
        sent.extend(outputs.into_iter().filter_map(to_wire));
    };
    for number in 0..4_000 {
        let now = solo.now;
        let mut outputs = solo.publish(&transaction(number));
        if number % 3 == 0 {
            outputs.extend(ask(&mut solo, conn, Request::Block(hash(1))));
            outputs.extend(deliver(&mut solo, conn, &payload(Kind::Block, number)));
        }
        if number % 40 == 0 {
            outputs.extend(solo.receive(conn, &ping(1)));
        }
        note(outputs.into_iter().map(|output| (now, output)).collect());
        note(solo.run_for(millis(50)));
    }
    let busiest = busiest_minute(&sent);
    assert!(busiest <= 470, "{busiest}");
    assert!(sent.len() > 1_300, "the pace is used: {}", sent.len());
    let counts = solo.endpoint.counts();
    assert!(counts.relay_withheld > 0 && counts.answers_withheld > 0 && counts.requests_unsent > 0);
}

#[test]
fn what_was_beyond_the_pace_is_still_lacked_and_answers_only_come_later() {
    let mut solo = Solo::with(|config| {
        config.rates.grin_pace = Some(Rate { amount: 1, per: secs(1), burst: 2 });
        config.ping_period = secs(50);
    });
    let [conn, other] = [0, 1].map(|index| solo.join(index));
    let to_both = Recipients::Many(vec![conn, other]);
    for number in 0..2 {
        let new = transaction(number);
        assert_eq!(solo.publish(&new), [Out::Send(to_both.clone(), new.clone())]);
    }
    let late = transaction(9);
    assert_eq!(solo.publish(&late), []);
    assert_eq!(solo.endpoint.counts().relay_withheld, 2);
    let block = payload(Kind::Block, 1);
    assert_eq!(deliver(&mut solo, conn, &block), []);
    let sent = solo.run_for(millis(1_200));
    assert_eq!(sent.into_iter().map(|(_, out)| out).collect::<Vec<_>>(), [delivered(conn, &block)]);
    solo.run_for(secs(3));
    assert_eq!(solo.publish(&late), [Out::Send(to_both, late.clone())]);
}

#[test]
fn trap_13_blocks_are_not_asked_of_old_versions_which_would_be_silent() {
    let network = Network::GRIN_MAIN;
    let mut solo = Solo::new(grin(), 1);
    let [old, new] =
        [(0, 2), (1, 3)].map(|(index, version)| join_with(&mut solo, &network, index, version));
    for request in [Request::Block(hash(1)), Request::CompactBlock(hash(1))] {
        assert_eq!(ask(&mut solo, old, request.clone()), []);
        assert_eq!(ask(&mut solo, new, request).len(), 1);
    }
    assert_eq!(ask(&mut solo, old, Request::Transaction(hash(1))).len(), 1);
    assert_eq!(solo.endpoint.counts().requests_unsent, 2);
}

/// The body of a transaction with one kernel, in the form of a version.
fn body(version: u32, inputs: usize) -> Vec<u8> {
    let commitment = |last: u8| [&[8][..], &[3; 31], &[last]].concat();
    let mut body = vec![1; 32];
    for count in [inputs as u64, 0, 1] {
        body.extend(count.to_be_bytes());
    }
    for _ in 0..inputs {
        if version <= 2 {
            body.push(0);
        }
        body.extend(commitment(5));
    }
    body.push(0);
    body.extend(7_u64.to_be_bytes());
    if version <= 1 {
        body.extend([0; 8]);
    }
    body.extend(commitment(6));
    body.extend([4; 64]);
    body
}

#[test]
fn trap_11_each_peer_gets_the_form_of_its_version_or_nothing() {
    let network = Network::GRIN_MAIN;
    let versions = [1, 2, 3, 1000];
    let mut solo = Solo::new(unpaced(), 1);
    let conns =
        [0, 1, 2, 3].map(|index| join_with(&mut solo, &network, index, versions[index as usize]));
    let sent = |outputs: Vec<Out>| -> Vec<(Vec<ConnId>, Vec<u8>)> {
        let send = |output| match output {
            Out::Send(Recipients::Many(to), payload) => (to, payload.body().to_vec()),
            other => panic!("{other:?}"),
        };
        outputs.into_iter().map(send).collect()
    };
    let new = [conns[2], conns[3]];
    // What has inputs goes to whom it can, from each form.
    let old = grin_frame(Kind::Transaction, &body(2, 1));
    let outputs = solo.receive(conns[1], old.frame());
    assert!(matches!(&outputs[..], [Out::ToChain(_)]), "{outputs:?}");
    let outputs = solo.judge(conns[1], &old, peer::Verdict::Accept);
    assert_eq!(sent(outputs), [(vec![conns[0]], body(1, 1)), (new.to_vec(), body(3, 1))]);
    // The copies are known: their echo is nothing, and nobody gets them again.
    let copy = grin_frame(Kind::Transaction, &body(3, 1));
    assert_eq!(solo.receive(conns[2], copy.frame()), []);
    assert_eq!(solo.publish(&old), []);
    solo.leave(conns[1]);
    let none = grin_frame(Kind::Transaction, &[&[9; 32], &body(3, 1)[32..]].concat());
    assert_eq!(sent(solo.publish(&none)), [(new.to_vec(), none.body().to_vec())]);
    assert_eq!(solo.endpoint.counts().relay_withheld, 1, "no inputs for version 1");
    // On request too.
    let outputs = deliver(&mut solo, conns[0], &old);
    let [Out::Send(_, answer)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(answer.body(), body(1, 1));
    assert_eq!(deliver(&mut solo, conns[0], &none), []);
    assert_eq!(solo.endpoint.counts().answers_withheld, 1);
}

#[test]
fn what_has_one_form_goes_to_all_versions() {
    let network = Network::GRIN_MAIN;
    let mut solo = Solo::new(unpaced(), 1);
    let conns = [1, 1000].map(|version| join_with(&mut solo, &network, version, version));
    let header = grin_frame(Kind::Header, &[5; 300]);
    let outputs = solo.publish(&header);
    let [Out::Send(Recipients::Many(to), sent)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((&to[..], sent), (&conns[..], &header));
    assert_eq!(solo.publish(&header), []);
}

#[test]
fn an_idle_peer_has_no_deadline_of_its_requests() {
    let mut solo = Solo::small();
    let conn = solo.join(0);
    solo.receive(conn, &get_block(1));
    deliver(&mut solo, conn, &payload(Kind::Block, 1));
    let wakes = solo.run_for(Duration::from_secs(9));
    assert!(wakes.len() <= 1, "a ping and nothing else: {wakes:?}");
}
