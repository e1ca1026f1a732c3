//! Both lanes between real threads: a million items each way, ends, bounds, descriptors.
#![cfg(not(loom))]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use bridge::{
    ChainSide, Config, ConnId, EngineEnd, Freshness, FromChain, Hash, Kind, LoopSide, Network,
    PackingConfig, Payload, Publisher, Request, SendError, Source, ToChain, Wanted,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const ITEMS: u32 = 1_000_000;

/// Longer than any test takes: a wait that lasts it was never ended by a wake.
const LONG: Duration = Duration::from_secs(600);

const SOURCE: Source = Source {
    conn: ConnId::new(1, 1),
    addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3414),
};

fn event(number: u32) -> ToChain {
    ToChain::Requested { from: source(number), request: Request::Block(Hash([0; 32])) }
}

const fn source(number: u32) -> Source {
    Source { conn: ConnId::new(number, 0), addr: SOURCE.addr }
}

fn number_of(event: &ToChain) -> u32 {
    match event {
        ToChain::Requested { from, .. } => from.conn.index(),
        other => panic!("{other:?}"),
    }
}

fn command(producer: u32, number: u32) -> FromChain {
    let request = Request::Block(Hash([0; 32]));
    FromChain::Request { to: ConnId::new(number, producer), request }
}

fn payload(body_bytes: usize) -> Payload {
    Payload::seal(&Network::DEV, Kind::KernelSegment, &vec![0; body_bytes]).unwrap()
}

fn small() -> Config {
    Config { to_chain_items: 16, from_chain_items: 16, ..Config::default() }
}

fn readable(fd: BorrowedFd<'_>, wait: Duration) -> bool {
    let wait = Timespec::try_from(wait).unwrap();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&wait)).unwrap() == 1
}

/// What the ring does for the engine.
fn add_one(fd: BorrowedFd<'_>) {
    assert_eq!(rustix::io::write(fd, &1u64.to_ne_bytes()), Ok(8));
}

fn end_of_turn(loop_side: &mut LoopSide) {
    if loop_side.chain_waits() {
        add_one(loop_side.chain_fd());
    }
}

/// Places that the lane to the chain has beyond its bounds.
const RESERVED: u32 = bridge::EVENTS_RESERVED as u32;

const COMMANDS: Wanted = Wanted { commands: true, room: false };
const ALL: Wanted = Wanted { commands: true, room: true };

fn sleep(loop_side: &mut LoopSide, wanted: Wanted) {
    if loop_side.prepare_sleep(wanted) {
        assert!(readable(loop_side.wake_fd(), LONG), "the wake was lost");
        rustix::io::read(loop_side.wake_fd(), &mut [0; 8]).unwrap();
        loop_side.awake();
    }
}

/// Pushes a million events in turns of varying length, and sleeps whenever there is no room.
fn push_all(mut loop_side: LoopSide) {
    let mut number = 0;
    while number < ITEMS {
        let turn = 1 + number % 61;
        for _ in 0..turn {
            if number == ITEMS || loop_side.room().items == 0 {
                break;
            }
            loop_side.push(event(number));
            number += 1;
        }
        end_of_turn(&mut loop_side);
        if loop_side.room().items == 0 {
            sleep(&mut loop_side, ALL);
        }
    }
    loop_side.end(EngineEnd::Stopped);
}

/// Receives until the end; every event came once and in order.
fn receive_all(
    config: Config,
    mut receive: impl FnMut(&mut ChainSide, &mut Vec<ToChain>) -> Result<(), EngineEnd>,
) {
    let (loop_side, mut chain_side) = bridge::open(config, &Network::DEV).unwrap();
    let engine = bridge::spawn("engine", move || push_all(loop_side)).unwrap();
    let mut expected = 0;
    let mut events = Vec::new();
    let end = loop {
        let result = receive(&mut chain_side, &mut events);
        for event in events.drain(..) {
            assert_eq!(number_of(&event), expected);
            expected += 1;
        }
        if let Err(end) = result {
            break end;
        }
    };
    assert_eq!((expected, end), (ITEMS, EngineEnd::Stopped));
    engine.join().unwrap();
}

#[test]
fn a_million_events_one_by_one() {
    receive_all(Config::default(), |chain, events| {
        events.push(chain.recv()?);
        Ok(())
    });
}

#[test]
fn a_million_events_in_batches_through_a_short_lane() {
    receive_all(small(), |chain, events| {
        assert!(chain.recv_batch(events, 7, LONG)? > 0, "the wake was lost");
        Ok(())
    });
}

#[test]
fn a_million_events_with_timeouts() {
    receive_all(small(), |chain, events| {
        events.push(chain.recv_timeout(LONG)?.expect("the wake was lost"));
        Ok(())
    });
}

#[test]
fn a_million_events_with_a_poll_of_ones_own() {
    receive_all(small(), |chain, events| {
        match chain.try_recv()? {
            Some(event) => events.push(event),
            None => assert!(readable(chain.fd(), LONG), "the wake was lost"),
        }
        Ok(())
    });
}

#[test]
fn a_million_commands_of_four_producers() {
    let (mut loop_side, chain_side) = bridge::open(small(), &Network::DEV).unwrap();
    let each = ITEMS / 4;
    let produce = |producer: u32, publisher: Publisher| {
        bridge::spawn("producer", move || {
            for number in 0..each {
                let mut next = command(producer, number);
                while let Err(error) = publisher.send(next) {
                    let SendError::Full(again) = error else { panic!("{error}") };
                    next = again;
                    std::thread::yield_now();
                }
            }
        })
    };
    let threads: Vec<_> =
        (0..4).map(|producer| produce(producer, chain_side.publisher()).unwrap()).collect();
    let mut next = [0; 4];
    while next.iter().sum::<u32>() < ITEMS {
        while let Some(command) = loop_side.pop() {
            let FromChain::Request { to, .. } = command else { panic!("only requests") };
            let expected = &mut next[to.generation() as usize];
            assert_eq!(to.index(), *expected, "each producer's commands stay in order");
            *expected += 1;
        }
        if next.iter().sum::<u32>() < ITEMS {
            sleep(&mut loop_side, COMMANDS);
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(loop_side.pop(), None);
}

#[test]
fn a_full_lane_gives_the_command_back() {
    let (mut loop_side, chain_side) = bridge::open(small(), &Network::DEV).unwrap();
    let publisher = chain_side.publisher();
    (0..16).for_each(|number| publisher.send(command(0, number)).unwrap());
    let error = chain_side.send(command(0, 16)).unwrap_err();
    assert_eq!(error, SendError::Full(command(0, 16)));
    assert_eq!(error.to_string(), "the lane to the engine is full");
    assert_eq!(loop_side.pop(), Some(command(0, 0)));
    chain_side.send(command(0, 16)).unwrap();
}

#[test]
fn bytes_are_bounded_and_come_back() {
    let large = payload(10_784_256);
    let config = Config { from_chain_bytes: 21_568_610, ..Config::default() };
    let (mut loop_side, chain_side) = bridge::open(config, &Network::DEV).unwrap();
    chain_side.publish(large.clone()).unwrap();
    chain_side.publish(large.clone()).unwrap();
    let full = chain_side.publish(payload(66));
    assert_eq!(full, Err(SendError::Full(FromChain::Publish(payload(66)))));
    chain_side.send(command(0, 0)).unwrap(); // weighs no payload bytes
    assert!(loop_side.pop().is_some());
    chain_side.publish(large).unwrap();
}

#[test]
fn room_tells_exactly_what_may_be_pushed() {
    let config = Config { to_chain_items: 3, to_chain_bytes: 21_568_610, ..Config::default() };
    let (mut loop_side, mut chain_side) = bridge::open(config, &Network::DEV).unwrap();
    let event = |body_bytes| {
        let payload = payload(body_bytes);
        ToChain::Payload { from: SOURCE, payload, freshness: Freshness::New }
    };
    loop_side.push(event(10_784_256));
    loop_side.push(event(10_784_256));
    assert_eq!((loop_side.room().items, loop_side.room().bytes), (1, 76));
    loop_side.push(event(65));
    assert_eq!((loop_side.room().items, loop_side.room().bytes), (0, 0));
    assert!(loop_side.prepare_sleep(ALL));
    chain_side.recv().unwrap();
    assert!(!readable(loop_side.wake_fd(), Duration::ZERO), "less than half is free");
    chain_side.recv().unwrap();
    assert!(readable(loop_side.wake_fd(), LONG));
    loop_side.awake();
    assert!(!loop_side.prepare_sleep(ALL), "there is room already");
}

#[test]
#[should_panic(expected = "pushed without room")]
fn a_push_without_room_is_our_own_bug() {
    let (mut loop_side, _chain_side) = bridge::open(small(), &Network::DEV).unwrap();
    (0..=16 + RESERVED).for_each(|number| loop_side.push(event(number)));
}

#[test]
fn a_full_lane_takes_what_places_are_kept_for_and_tells_of_none() {
    let (mut loop_side, mut chain_side) = bridge::open(small(), &Network::DEV).unwrap();
    (0..16).for_each(|number| loop_side.push(event(number)));
    for number in 16..16 + RESERVED {
        assert_eq!(loop_side.room().items, 0);
        loop_side.push(event(number));
    }
    assert!(loop_side.prepare_sleep(ALL));
    for number in 0..16 + RESERVED {
        let room = loop_side.room().items;
        assert_eq!(room, 16usize.saturating_sub((16 + RESERVED - number) as usize));
        assert_eq!(loop_side.is_half_free(), room >= 8);
        assert_eq!(number_of(&chain_side.recv().unwrap()), number);
    }
    assert!(readable(loop_side.wake_fd(), LONG));
}

#[test]
fn a_wait_ends_by_its_timeout() {
    let (_loop_side, mut chain_side) = bridge::open(small(), &Network::DEV).unwrap();
    let wait = Duration::from_millis(1);
    assert_eq!(chain_side.recv_timeout(wait), Ok(None));
    assert_eq!(chain_side.recv_batch(&mut Vec::new(), 9, wait), Ok(0));
    assert_eq!(chain_side.recv_batch(&mut Vec::new(), 0, LONG), Ok(0));
    assert_eq!(chain_side.recv_timeout(Duration::ZERO), Ok(None));
}

#[test]
fn an_awake_chain_costs_no_wake() {
    let (mut loop_side, mut chain_side) = bridge::open(small(), &Network::DEV).unwrap();
    loop_side.push(event(0));
    assert!(!loop_side.chain_waits(), "it has announced no sleep");
    assert_eq!(chain_side.try_recv(), Ok(Some(event(0))));
    assert_eq!(chain_side.try_recv(), Ok(None));
    assert!(!loop_side.chain_waits(), "nothing is there for it");
    loop_side.push(event(1));
    assert!(loop_side.chain_waits());
    loop_side.push(event(2));
    assert!(!loop_side.chain_waits(), "told once");
}

#[test]
fn an_awake_loop_costs_no_wake() {
    let (mut loop_side, chain_side) = bridge::open(small(), &Network::DEV).unwrap();
    chain_side.send(command(0, 0)).unwrap();
    assert!(!readable(loop_side.wake_fd(), Duration::ZERO));
    assert!(!loop_side.prepare_sleep(COMMANDS), "there is a command");
    assert!(loop_side.pop().is_some());
    assert!(loop_side.prepare_sleep(COMMANDS));
    chain_side.send(command(0, 1)).unwrap();
    assert!(readable(loop_side.wake_fd(), Duration::ZERO));
}

#[test]
fn commands_that_are_held_back_keep_nobody_awake_and_calls_still_do() {
    let (mut loop_side, chain_side) = bridge::open(small(), &Network::DEV).unwrap();
    let held_back = Wanted { commands: false, room: false };
    chain_side.send(command(0, 0)).unwrap();
    assert!(loop_side.prepare_sleep(held_back));
    loop_side.waker().wake();
    assert!(readable(loop_side.wake_fd(), Duration::ZERO));
    loop_side.awake();
    loop_side.waker().wake();
    assert!(!loop_side.prepare_sleep(held_back), "a call before the sleep");
}

#[test]
fn a_call_keeps_the_loop_awake_once() {
    let (mut loop_side, _chain_side) = bridge::open(small(), &Network::DEV).unwrap();
    let waker = loop_side.waker();
    waker.wake();
    assert!(!loop_side.prepare_sleep(COMMANDS));
    assert!(loop_side.prepare_sleep(COMMANDS));
    waker.wake();
    assert!(readable(loop_side.wake_fd(), Duration::ZERO));
    loop_side.awake();
    assert!(loop_side.prepare_sleep(COMMANDS), "that call was heard");
}

#[test]
fn a_panic_reaches_the_chain_after_what_was_pushed() {
    let (mut loop_side, mut chain_side) = bridge::open(small(), &Network::DEV).unwrap();
    let engine = bridge::spawn("engine", move || {
        loop_side.push(event(0));
        panic!("on purpose");
    });
    assert_eq!(chain_side.recv(), Ok(event(0)));
    assert!(matches!(chain_side.recv(), Err(EngineEnd::Panicked(_))));
    assert!(matches!(chain_side.try_recv(), Err(EngineEnd::Panicked(_))));
    assert!(engine.unwrap().join().is_err());
}

#[test]
fn publishers_outlive_the_engine() {
    let (loop_side, mut chain_side) = bridge::open(small(), &Network::DEV).unwrap();
    let publisher = chain_side.publisher();
    publisher.send(command(0, 0)).unwrap();
    loop_side.end(EngineEnd::Panicked("at noon".to_owned()));
    let gone = publisher.send(command(0, 1)).unwrap_err();
    assert_eq!(gone.to_string(), "the engine has ended");
    assert_eq!(gone, SendError::Gone(command(0, 1)));
    let end = chain_side.recv().unwrap_err();
    assert_eq!(end.to_string(), "the engine panicked: at noon");
}

#[test]
fn a_side_that_ends_frees_what_is_on_its_lane() {
    let (mut loop_side, chain_side) = bridge::open(small(), &Network::DEV).unwrap();
    let payload = payload(100);
    let freshness = Freshness::New;
    loop_side.push(ToChain::Payload { from: SOURCE, payload: payload.clone(), freshness });
    chain_side.publish(payload.clone()).unwrap();
    let publisher = chain_side.publisher();
    assert_eq!(payload.reference_count(), 3);
    drop(chain_side);
    assert_eq!(payload.reference_count(), 2);
    assert!(loop_side.chain_gone());
    drop(loop_side);
    assert_eq!(payload.reference_count(), 1);
    drop(publisher);
}

#[test]
fn a_sleeping_loop_learns_that_the_chain_is_gone() {
    let (mut loop_side, chain_side) = bridge::open(small(), &Network::DEV).unwrap();
    assert!(loop_side.prepare_sleep(COMMANDS));
    drop(chain_side);
    assert!(readable(loop_side.wake_fd(), Duration::ZERO));
    loop_side.awake();
    assert!(loop_side.chain_gone());
    // Events go nowhere now, and there is always room for them.
    (0..100).for_each(|number| loop_side.push(event(number)));
    assert_eq!(loop_side.room().items, 16);
}

#[test]
fn bounds_that_could_stall_are_refused_by_name() {
    let refused = |config: Config| {
        let error = bridge::open(config, &Network::DEV).err()?;
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        Some(error.to_string())
    };
    let default = Config::default();
    let packing = default.packing;
    let with = |packing| Config { packing, ..default };
    let least = Config { to_chain_items: 2, to_chain_bytes: 21_568_610, ..default };
    assert_eq!(refused(least), None);
    for (name, config) in [
        ("lanes.to_chain_items", Config { to_chain_items: 1, ..default }),
        ("lanes.from_chain_items", Config { from_chain_items: 1 << 24, ..default }),
        ("lanes.to_chain_bytes", Config { to_chain_bytes: 21_568_609, ..default }),
        ("lanes.from_chain_bytes", Config { from_chain_bytes: 1 << 40, ..default }),
        ("packing.workers", with(PackingConfig { workers: 0, ..packing })),
        ("packing.workers", with(PackingConfig { workers: 17, ..packing })),
        ("packing.level", with(PackingConfig { level: 0, ..packing })),
        ("packing.level", with(PackingConfig { level: 10, ..packing })),
        ("packing.bytes_min", with(PackingConfig { bytes_min: 0, ..packing })),
    ] {
        let told = refused(config).expect(name);
        assert!(told.starts_with(&format!("{name} is ")), "{told}");
    }
    // A network with larger frames needs more.
    assert_eq!(least.check(10_784_305), Ok(()));
    let error = least.check(10_784_306).unwrap_err();
    assert_eq!((error.name, error.min), ("lanes.to_chain_bytes", 21_568_612));
}
