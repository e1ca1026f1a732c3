//! Payloads through both sides with workers between: what is packed for whom, what is opened, and
//! in which order all of it arrives.
#![cfg(not(loom))]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::thread::JoinHandle;
use std::time::Duration;

use bridge::{
    ChainSide, Config, ConnId, EngineEnd, Freshness, FromChain, Hash, Kind, LoopSide, Network,
    PackingConfig, PackingCounts, Payload, Request, SendError, Source, ToChain, Verdict, Wanted,
    Worker,
};
use codec::{Envelope, Message, Packing};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const NETWORK: Network = Network::DEV;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

const fn source(slot: u32) -> Source {
    let addr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3414);
    Source { conn: ConnId::new(slot, 1), addr }
}

const PEER: ConnId = source(1).conn;

fn config() -> Config {
    let packing = PackingConfig { bytes_min: 1_000, ..PackingConfig::default() };
    Config { to_chain_items: 64, from_chain_items: 64, packing, ..Config::default() }
}

/// Both sides, and workers that do not run yet.
fn open(config: Config) -> (LoopSide, ChainSide, Vec<Worker>) {
    bridge::open_with(config, &NETWORK).unwrap()
}

fn run(workers: Vec<Worker>) -> Vec<JoinHandle<()>> {
    let start = |worker: Worker| bridge::spawn("worker", move || worker.run()).unwrap();
    workers.into_iter().map(start).collect()
}

/// A block that packs well, each number another one.
fn block(number: u32, length: usize) -> Payload {
    let body: Vec<u8> = number.to_be_bytes().into_iter().cycle().take(length).collect();
    Payload::seal(&NETWORK, Kind::Block, &body).unwrap()
}

fn noise(length: usize) -> Payload {
    let mut state = 1_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let body: Vec<u8> = (0..length).map(|_| next()).collect();
    Payload::seal(&NETWORK, Kind::Block, &body).unwrap()
}

/// The payload in an envelope that needs no packing.
fn stored(payload: &Payload) -> Payload {
    told(payload, payload.id())
}

fn told(payload: &Payload, id: Hash) -> Payload {
    let envelope = Envelope {
        kind: payload.kind(),
        packing: Packing::Stored,
        plain_bytes: payload.body().len() as u32,
        id,
        data: payload.body(),
    };
    Message::Packed(envelope).to_payload(&NETWORK, 3).unwrap()
}

fn event(slot: u32, payload: Payload, freshness: Freshness) -> ToChain {
    ToChain::Payload { from: source(slot), payload, freshness }
}

fn request(slot: u32, number: u8) -> ToChain {
    ToChain::Requested { from: source(slot), request: Request::Block(Hash([number; 32])) }
}

fn deliver(to: ConnId, payload: &Payload) -> FromChain {
    FromChain::Deliver { to, payload: payload.clone() }
}

fn accept(payload: &Payload) -> FromChain {
    let (from, payload) = (source(9), payload.clone());
    FromChain::Verdict { from, payload, verdict: Verdict::Accept }
}

/// Waits for the next command.
fn next(loop_side: &mut LoopSide) -> FromChain {
    loop {
        if let Some(command) = loop_side.pop() {
            return command;
        }
        if loop_side.prepare_sleep(Wanted { commands: true, room: false }) {
            assert!(readable(loop_side.wake_fd()), "the wake was lost");
            rustix::io::read(loop_side.wake_fd(), &mut [0; 8]).unwrap();
            loop_side.awake();
        }
    }
}

fn readable(fd: BorrowedFd<'_>) -> bool {
    let wait = Timespec::try_from(LONG).unwrap();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&wait)).unwrap() == 1
}

fn payload_of(command: &FromChain) -> &Payload {
    match command {
        FromChain::Deliver { payload, .. }
        | FromChain::Publish(payload)
        | FromChain::Verdict { payload, .. } => payload,
        other => panic!("{other:?}"),
    }
}

fn is_packed(command: &FromChain) -> bool {
    payload_of(command).packed().is_some()
}

#[test]
fn a_block_goes_packed_through_one_bridge_and_comes_out_of_another() {
    let (mut left_loop, left_chain) = bridge::open(config(), &NETWORK).unwrap();
    let (mut right_loop, mut right_chain) = bridge::open(config(), &NETWORK).unwrap();
    left_loop.opens(PEER);
    let block = block(1, 100_000);
    left_chain.send(deliver(PEER, &block)).unwrap();
    let delivered = next(&mut left_loop);
    let packed = payload_of(&delivered).packed().unwrap().clone();
    assert!(packed.frame().len() < 1_000);

    right_loop.push(event(1, packed.clone(), Freshness::Requested));
    let received = right_chain.recv().unwrap();
    assert_eq!(received, event(1, block.clone(), Freshness::Requested));
    let ToChain::Payload { payload, .. } = received else { unreachable!() };
    assert_eq!(payload.packed(), Some(&packed));

    // What came packed goes on packed, and nobody works at it again.
    right_loop.opens(PEER);
    right_chain.send(deliver(PEER, &payload)).unwrap();
    assert_eq!(payload_of(&right_loop.pop().unwrap()).packed(), Some(&packed));
    let counts = right_loop.packing_counts();
    assert_eq!(counts, PackingCounts { opened: 1, ..PackingCounts::default() });
}

#[test]
fn only_what_is_bulky_and_goes_to_who_opens_it_is_packed() {
    let (mut loop_side, chain, workers) = open(config());
    loop_side.opens(PEER);
    let (other, later) = (ConnId::new(2, 1), ConnId::new(PEER.index(), 2));
    let (large, small) = (block(1, 2_000), block(2, 999));
    let stem = Payload::seal(&NETWORK, Kind::StemTransaction, large.body()).unwrap();
    let sent = [
        deliver(other, &large),
        deliver(later, &large),
        deliver(PEER, &small),
        deliver(PEER, &stem),
        FromChain::Publish(large.clone()),
        accept(&large),
        FromChain::Stem(stem.clone()),
        FromChain::ArchivePiece { to: PEER, piece: Payload::piece(vec![0; 5_000]) },
    ];
    for command in sent {
        chain.send(command.clone()).unwrap();
        assert_eq!(loop_side.pop(), Some(command), "at once, and by no worker");
    }
    loop_side.set_openers(1);
    let workers = run(workers);
    for command in [deliver(PEER, &large), FromChain::Publish(large.clone()), accept(&large)] {
        chain.send(command.clone()).unwrap();
        let came = next(&mut loop_side);
        assert_eq!(came, command);
        assert!(is_packed(&came));
    }
    let invalid =
        FromChain::Verdict { from: source(1), payload: large.clone(), verdict: Verdict::Invalid };
    chain.send(invalid.clone()).unwrap();
    assert_eq!(loop_side.pop(), Some(invalid));
    drop(loop_side);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn packing_can_be_off_and_opening_cannot() {
    let mut config = config();
    config.packing.enabled = false;
    let (mut loop_side, mut chain) = bridge::open(config, &NETWORK).unwrap();
    loop_side.opens(PEER);
    loop_side.set_openers(1);
    let block = block(1, 5_000);
    chain.send(deliver(PEER, &block)).unwrap();
    assert!(!is_packed(&loop_side.pop().unwrap()));
    loop_side.push(event(1, stored(&block), Freshness::New));
    assert_eq!(chain.recv(), Ok(event(1, block, Freshness::New)));
}

#[test]
fn a_payload_is_packed_once_for_all_who_get_it() {
    let mut config = config();
    config.packing.workers = 3;
    let (mut loop_side, chain, workers) = open(config);
    let (large, noise) = (block(1, 300_000), noise(300_000));
    for slot in 0..12 {
        loop_side.opens(source(slot).conn);
        chain.send(deliver(source(slot).conn, &large)).unwrap();
        // The same bytes elsewhere, as a chain reads them from its disk.
        let again = Payload::seal(&NETWORK, Kind::Block, noise.body()).unwrap();
        chain.send(deliver(source(slot).conn, &again)).unwrap();
    }
    assert_eq!(loop_side.packing_counts().jobs_waiting, 24);
    let workers = run(workers);
    let came: Vec<_> = (0..24).map(|_| next(&mut loop_side)).collect();
    assert_eq!(came.iter().filter(|command| is_packed(command)).count(), 12);
    let counts = loop_side.packing_counts();
    assert_eq!((counts.packed, counts.incompressible, counts.jobs_waiting), (1, 1, 0));
    assert_eq!(counts.packed_plain_bytes, 300_011);
    assert!(counts.packed_bytes < 1_000);
    drop(loop_side);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn deliveries_to_one_peer_stay_in_order_and_others_pass() {
    let (mut loop_side, chain, workers) = open(config());
    loop_side.opens(PEER);
    loop_side.set_openers(1);
    let other = ConnId::new(2, 1);
    let (large, small) = (block(1, 2_000), block(2, 100));
    let request = FromChain::Request { to: PEER, request: Request::Block(Hash([0; 32])) };
    chain.send(deliver(PEER, &large)).unwrap();
    chain.send(deliver(PEER, &small)).unwrap();
    chain.send(FromChain::Publish(large.clone())).unwrap();
    chain.send(accept(&small)).unwrap();
    // Nothing of these has to do with the jobs.
    let passing = [deliver(other, &small), request, FromChain::Stem(small.clone())];
    for command in passing {
        chain.send(command.clone()).unwrap();
        assert_eq!(loop_side.pop(), Some(command));
    }
    assert_eq!(loop_side.pop(), None);
    let workers = run(workers);
    let came: Vec<_> = (0..4).map(|_| next(&mut loop_side)).collect();
    let place = |command: &FromChain| came.iter().position(|one| one == command).unwrap();
    assert!(place(&deliver(PEER, &large)) < place(&deliver(PEER, &small)));
    assert!(place(&FromChain::Publish(large)) < place(&accept(&small)));
    chain.send(deliver(PEER, &small)).unwrap();
    assert_eq!(loop_side.pop(), Some(deliver(PEER, &small)), "no job, no wait");
    drop(loop_side);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn what_comes_from_one_connection_stays_in_order_and_others_pass() {
    let (mut loop_side, mut chain, workers) = open(config());
    let (one, two) = (block(1, 2_000), block(2, 2_000));
    loop_side.push(event(1, stored(&one), Freshness::New));
    loop_side.push(request(1, 1));
    loop_side.push(event(2, stored(&one), Freshness::Next));
    loop_side.push(event(3, two.clone(), Freshness::Next));
    let missing = ToChain::Missing { kind: Kind::Block, id: Hash([0; 32]) };
    loop_side.push(missing.clone());
    let passing = [request(2, 2), event(3, two.clone(), Freshness::New), ToChain::PoolWanted];
    for event in passing {
        loop_side.push(event.clone());
        assert_eq!(chain.try_recv(), Ok(Some(event)));
    }
    assert_eq!(chain.try_recv(), Ok(None));
    assert_eq!(loop_side.packing_counts().jobs_waiting, 5);
    let workers = run(workers);
    let came: Vec<_> = (0..5).map(|_| chain.recv().unwrap()).collect();
    let place = |event: &ToChain| came.iter().position(|one| one == event).unwrap();
    assert!(place(&event(1, one.clone(), Freshness::New)) < place(&request(1, 1)));
    let (first, second) = (event(2, one, Freshness::Next), event(3, two, Freshness::Next));
    assert!(place(&first) < place(&second) && place(&second) < place(&missing));
    drop(loop_side);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn jobs_hold_their_room_on_the_lane_from_the_beginning() {
    let config = Config {
        to_chain_items: 3,
        to_chain_bytes: 21_568_610 + 511,
        from_chain_items: 2,
        ..config()
    };
    let (mut loop_side, mut chain, workers) = open(config);
    loop_side.opens(PEER);
    let block = block(1, 2_000);
    chain.send(deliver(PEER, &block)).unwrap();
    chain.send(deliver(PEER, &block)).unwrap();
    assert!(matches!(chain.send(deliver(PEER, &block)), Err(SendError::Full(_))));

    // An envelope takes the room of what it holds, or its own if that is more.
    let payload = noise(500);
    let packed = stored(&payload);
    loop_side.push(event(1, packed.clone(), Freshness::New));
    let room = loop_side.room();
    assert_eq!((room.items, room.bytes), (2, config.to_chain_bytes - packed.frame().len()));
    loop_side.push(event(1, packed.clone(), Freshness::New));
    loop_side.push(request(1, 1));
    assert_eq!(loop_side.room().items, 0);
    assert!(loop_side.prepare_sleep(Wanted { commands: false, room: true }));
    let workers = run(workers);
    assert_eq!(chain.recv(), Ok(event(1, payload.clone(), Freshness::New)));
    chain.recv().unwrap();
    assert!(readable(loop_side.wake_fd()), "half is free");
    chain.recv().unwrap();
    assert_eq!(loop_side.room().items, 3);
    assert_eq!(loop_side.room().bytes, config.to_chain_bytes);
    (0..2).for_each(|_| drop(next(&mut loop_side)));
    chain.send(deliver(PEER, &block)).unwrap();
    drop(loop_side);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

/// Longer than what workers have before them when payloads no longer wait for them.
#[test]
fn behind_a_long_backlog_payloads_travel_plain_and_in_their_order() {
    let (mut loop_side, chain, workers) = open(config());
    let other = ConnId::new(2, 1);
    loop_side.opens(PEER);
    loop_side.opens(other);
    let blocks: Vec<_> = (0..8).map(|number| block(number, 1_000_000)).collect();
    blocks.iter().for_each(|block| chain.send(deliver(PEER, block)).unwrap());
    chain.send(deliver(other, &blocks[0])).unwrap();
    let plain = loop_side.pop();
    assert_eq!(plain, Some(deliver(other, &blocks[0])), "no job of its line to wait for");
    assert!(!is_packed(&plain.unwrap()));
    assert_eq!(loop_side.pop(), None, "the others wait behind the first");

    let workers = run(workers);
    let came: Vec<_> = (0..8).map(|_| next(&mut loop_side)).collect();
    let sent: Vec<_> = blocks.iter().map(|block| deliver(PEER, block)).collect();
    assert_eq!(came, sent);
    // Four of a megabyte are less than the limit, and the one that exceeds it is packed, too.
    let packed: Vec<_> = came.iter().map(is_packed).collect();
    assert_eq!(packed, [[true; 4], [true, false, false, false]].concat());
    assert_eq!(loop_side.packing_counts().left_plain, 4);
    chain.send(deliver(other, &blocks[7])).unwrap();
    assert!(is_packed(&next(&mut loop_side)), "the backlog is gone");
    drop(loop_side);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn a_command_weighs_the_envelope_beside_its_payload() {
    let config = Config { from_chain_bytes: 21_568_610, ..config() };
    let (mut loop_side, chain, _idle) = open(config);
    let plain = noise(5_000_000);
    let both = plain.clone().with_packed(stored(&plain));
    chain.publish(both.clone()).unwrap();
    chain.publish(both.clone()).unwrap();
    assert!(matches!(chain.publish(plain.clone()), Err(SendError::Full(_))), "20 of 21 MB");
    assert_eq!(loop_side.pop(), Some(FromChain::Publish(both.clone())));
    chain.publish(plain.clone()).unwrap();
    chain.publish(plain.clone()).unwrap();
    assert!(matches!(chain.publish(plain), Err(SendError::Full(_))));
}

#[test]
fn a_job_holds_room_for_the_envelope_that_it_makes_or_travels_plain() {
    let mut config = Config { from_chain_bytes: 21_568_610, ..config() };
    config.packing.workers = 2;
    let (mut loop_side, chain, workers) = open(config);
    loop_side.opens(PEER);
    let block = block(1, 4_000_000);
    for _ in 0..3 {
        chain.send(deliver(PEER, &block)).unwrap();
    }
    assert!(matches!(chain.send(deliver(PEER, &block)), Err(SendError::Full(_))), "8 + 8 + 4 MB");
    let workers = run(workers);
    let came: Vec<_> = (0..3).map(|_| next(&mut loop_side)).collect();
    assert_eq!(came.iter().map(is_packed).collect::<Vec<_>>(), [true, true, false]);
    // All of it is given back, and once.
    let half = Payload::seal(&NETWORK, Kind::KernelSegment, &vec![0; 10_784_256]).unwrap();
    chain.send(deliver(source(5).conn, &half)).unwrap();
    chain.send(deliver(source(5).conn, &half)).unwrap();
    assert!(matches!(chain.send(FromChain::Publish(self::block(2, 100))), Err(SendError::Full(_))));
    drop(loop_side);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn a_bad_envelope_is_told_to_the_loop_and_holds_its_place_until_then() {
    let config = Config { to_chain_items: 2, ..config() };
    let (mut loop_side, mut chain) = bridge::open(config, &NETWORK).unwrap();
    let (id, block) = (Hash([7; 32]), block(1, 2_000));
    assert!(loop_side.prepare_sleep(Wanted { commands: true, room: false }));
    loop_side.push(event(4, told(&block, id), Freshness::New));
    assert!(readable(loop_side.wake_fd()), "the loop is woken for it");
    loop_side.awake();
    assert!(!loop_side.prepare_sleep(Wanted { commands: true, room: false }));
    assert_eq!((loop_side.room().items, loop_side.room().bytes), (1, config.to_chain_bytes));
    let bad = FromChain::BadEnvelope { from: source(4), kind: Kind::Block, id };
    assert_eq!(loop_side.pop(), Some(bad));
    assert_eq!(loop_side.room().items, 2);
    assert_eq!(loop_side.packing_counts().bad_envelopes, 1);
    assert_eq!(loop_side.pop(), None);
    // Nothing of it came to the chain, and what follows it does.
    loop_side.push(request(4, 1));
    assert_eq!(chain.recv(), Ok(request(4, 1)));
}

#[test]
fn what_stood_behind_a_bad_envelope_comes() {
    let (mut loop_side, mut chain, workers) = open(config());
    loop_side.push(event(4, told(&block(1, 2_000), Hash([7; 32])), Freshness::New));
    (0..40).for_each(|number| loop_side.push(request(4, number)));
    assert_eq!(chain.try_recv(), Ok(None));
    let workers = run(workers);
    (0..40).for_each(|number| assert_eq!(chain.recv(), Ok(request(4, number))));
    drop(loop_side);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn what_the_loop_handed_over_arrives_before_the_end() {
    let (mut loop_side, mut chain) = bridge::open(config(), &NETWORK).unwrap();
    let blocks: Vec<_> = (0..20).map(|number| block(number, 500_000)).collect();
    for block in &blocks {
        loop_side.push(event(1, stored(block), Freshness::New));
    }
    loop_side.end(EngineEnd::Stopped);
    for block in blocks {
        assert_eq!(chain.recv(), Ok(event(1, block, Freshness::New)));
    }
    assert_eq!(chain.recv(), Err(EngineEnd::Stopped));
}

#[test]
fn the_engine_ends_although_much_is_to_be_packed() {
    let (loop_side, chain) = bridge::open(config(), &NETWORK).unwrap();
    loop_side.opens(PEER);
    let blocks: Vec<_> = (0..40).map(|number| block(number, 1_000_000)).collect();
    blocks.iter().for_each(|block| chain.send(deliver(PEER, block)).unwrap());
    loop_side.end(EngineEnd::Failed("for a test".to_owned()));
    assert!(matches!(chain.send(deliver(PEER, &blocks[0])), Err(SendError::Gone(_))));
    drop(chain);
    assert!(blocks.iter().all(|block| block.reference_count() == 1), "given up, and freed");
}

#[test]
fn a_chain_that_leaves_with_jobs_under_way_holds_up_nobody() {
    for _ in 0..20 {
        let (mut loop_side, chain) = bridge::open(config(), &NETWORK).unwrap();
        loop_side.opens(PEER);
        let block = block(1, 100_000);
        for number in 0..20 {
            loop_side.push(event(1, stored(&block), Freshness::New));
            loop_side.push(request(1, number));
            chain.send(deliver(PEER, &block)).unwrap();
        }
        drop(chain);
        assert!(loop_side.chain_gone());
        loop_side.push(request(1, 0));
        loop_side.end(EngineEnd::Stopped);
        assert_eq!(block.reference_count(), 1);
    }
}

#[test]
fn a_worker_that_unwinds_ends_the_engine_for_the_chain() {
    let (loop_side, mut chain, workers) = open(config());
    let worker = bridge::spawn("worker", move || {
        let _held = workers;
        panic!("on purpose");
    });
    assert!(matches!(chain.recv(), Err(EngineEnd::Panicked(_))));
    assert!(worker.unwrap().join().is_err());
    drop(loop_side); // waits for nobody
}

/// Ids of what the chain spreads are computed before the loop gets it.
#[test]
fn long_payloads_come_with_their_id() {
    let (mut loop_side, chain) = bridge::open(config(), &NETWORK).unwrap();
    let (long, short) = (block(1, 5_000), block(1, 4_000));
    for (payload, copied) in [(&long, true), (&short, false)] {
        chain.publish(payload.clone()).unwrap();
        chain.send(accept(payload)).unwrap();
        for _ in 0..2 {
            let came = loop_side.pop().unwrap();
            assert_eq!(payload_of(&came).id(), payload.id());
            // Who keeps an id keeps it beside bytes of its own.
            let same = std::ptr::eq(payload_of(&came).frame(), payload.frame());
            assert_eq!(same, !copied);
        }
    }
}

/// Four threads deliver to eight peers, the loop hands over envelopes and plain events of eight
/// connections, and everything arrives once and in its order.
#[test]
fn order_holds_under_load() {
    const EACH: u32 = 4_000;
    let mut config = config();
    config.packing.workers = 3;
    let (mut loop_side, mut chain) = bridge::open(config, &NETWORK).unwrap();
    (0..4).for_each(|slot| loop_side.opens(source(slot).conn));
    let numbered = |number: u32| block(number, if number.is_multiple_of(3) { 1_500 } else { 8 });
    let number_of = |payload: &Payload| u32::from_be_bytes(*payload.body().first_chunk().unwrap());
    let senders: Vec<_> = (0..4)
        .map(|thread| {
            let publisher = chain.publisher();
            let send = move || {
                for number in 0..EACH {
                    let to = source(2 * thread + number % 2).conn;
                    let mut command = deliver(to, &numbered(number));
                    while let Err(error) = publisher.send(command) {
                        let SendError::Full(again) = error else { panic!("{error}") };
                        command = again;
                        std::thread::yield_now();
                    }
                }
            };
            bridge::spawn("sender", send).unwrap()
        })
        .collect();
    let receiver = bridge::spawn("chain", move || {
        let mut last = [None; 8];
        for _ in 0..EACH {
            let ToChain::Payload { from, payload, .. } = chain.recv().unwrap() else { panic!() };
            let (number, last) = (number_of(&payload), &mut last[from.conn.index() as usize]);
            assert!(last.replace(number).is_none_or(|last| last < number));
        }
        chain
    });
    let mut last = [None; 8];
    let (mut pushed, mut popped) = (0, 0);
    while pushed < EACH || popped < 4 * EACH {
        while let Some(command) = loop_side.pop() {
            let FromChain::Deliver { to, payload } = command else { panic!("{command:?}") };
            let (number, last) = (number_of(&payload), &mut last[to.index() as usize]);
            assert!(last.replace(number).is_none_or(|last| last < number));
            let packed = to.index() < 4 && number.is_multiple_of(3);
            assert_eq!(payload.packed().is_some(), packed);
            popped += 1;
        }
        while pushed < EACH && loop_side.room().items > 0 {
            let plain = numbered(pushed);
            let payload = if pushed.is_multiple_of(3) { stored(&plain) } else { plain };
            loop_side.push(event(pushed % 8, payload, Freshness::New));
            pushed += 1;
        }
        if loop_side.chain_waits() {
            rustix::io::write(loop_side.chain_fd(), &1u64.to_ne_bytes()).unwrap();
        }
        std::thread::yield_now();
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let chain = receiver.unwrap().join().unwrap();
    assert_eq!(loop_side.packing_counts().jobs_waiting, 0);
    assert_eq!(loop_side.room().items, 64);
    drop(chain);
}
