//! Whole engines over real sockets on 127.0.0.1 and ::1.

#![allow(clippy::disallowed_methods, reason = "a test's own clock")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use molva::{
    ChainSide, Config, Engine, EngineEnd, Freshness, FromChain, Handle, Kind, Network, Payload,
    Request, ToChain, Verdict,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn config(connect: &[SocketAddr]) -> Config {
    let mut config = Config::new(Network::DEV);
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.connections_max = 256;
    config.peer.connect = connect.to_vec();
    // Nobody is found who is not named.
    config.peer.slots.outbound = 0;
    config
}

fn start(connect: &[SocketAddr]) -> (Engine, ChainSide, SocketAddr) {
    let (engine, chain) = Engine::start(config(connect)).unwrap();
    let addr = engine.handle().local_addrs()[0];
    (engine, chain, addr)
}

fn transaction(n: u8, bytes: usize) -> Payload {
    Payload::seal(&Network::DEV, Kind::Transaction, &vec![n; bytes]).unwrap()
}

/// Waits, without sleeping, until the metrics say so: each look is an answer of the loop.
fn until(handle: &Handle, what: &str, mut done: impl FnMut(&Handle) -> bool) {
    let clock = Instant::now();
    while !done(handle) {
        handle.peers().unwrap();
        assert!(clock.elapsed() < PATIENCE, "{what}: {:?}", handle.metrics());
        std::thread::yield_now();
    }
}

fn established(handle: &Handle) -> u64 {
    let metrics = handle.metrics();
    metrics.peers_inbound + metrics.peers_outbound
}

/// The next payload, whatever else comes before it; one that is only announced is fetched.
fn next_payload(chain: &mut ChainSide) -> (molva::Source, Payload, Freshness) {
    let clock = Instant::now();
    loop {
        let left = PATIENCE.saturating_sub(clock.elapsed());
        match chain.recv_timeout(left).unwrap().expect("a payload in time") {
            ToChain::Payload { from, payload, freshness } => return (from, payload, freshness),
            ToChain::Announced { kind, id, .. } => {
                chain.send(FromChain::Fetch { kind, id }).unwrap();
            }
            _ => {}
        }
    }
}

#[test]
fn a_payload_goes_from_chain_to_chain_and_onward() {
    let (first, first_chain, first_addr) = start(&[]);
    let (middle, mut middle_chain, middle_addr) = start(&[first_addr]);
    let (last, mut last_chain, _) = start(&[middle_addr]);
    until(&middle.handle(), "handshakes", |handle| established(handle) == 2);
    until(&first.handle(), "handshake", |handle| established(handle) == 1);
    until(&last.handle(), "handshake", |handle| established(handle) == 1);

    let payload = transaction(1, 4_000);
    first_chain.publish(payload.clone()).unwrap();
    let (from, received, freshness) = next_payload(&mut middle_chain);
    assert!(received.frame() == payload.frame());
    assert_eq!(freshness, Freshness::Requested);
    assert_eq!(from.addr, first_addr);
    let verdict = FromChain::Verdict { from, payload: received, verdict: Verdict::Accept };
    middle_chain.send(verdict).unwrap();
    let (_, received, _) = next_payload(&mut last_chain);
    assert_eq!(received.id(), payload.id());

    // Nobody sends it back to whom it came from.
    assert_eq!(first.handle().metrics().frames_received, {
        let handle = first.handle();
        until(&handle, "quiet", |_| true);
        handle.metrics().frames_received
    });
    assert_eq!(first.handle().metrics().duplicates, 0);
    for engine in [last, middle, first] {
        engine.shutdown(Duration::from_secs(5)).unwrap();
    }
}

#[test]
fn a_large_block_arrives_whole() {
    let (first, first_chain, first_addr) = start(&[]);
    let (second, mut second_chain, _) = start(&[first_addr]);
    until(&first.handle(), "handshake", |handle| established(handle) == 1);
    let body: Vec<u8> =
        (0..5_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let block = Payload::seal(&Network::DEV, Kind::Block, &body).unwrap();
    first_chain.publish(block.clone()).unwrap();
    let (_, received, _) = next_payload(&mut second_chain);
    assert!(received.frame() == block.frame());
    drop((first, second));
}

#[test]
fn requests_and_answers_find_each_other() {
    let (first, mut first_chain, first_addr) = start(&[]);
    let (second, mut second_chain, _) = start(&[first_addr]);
    until(&second.handle(), "handshake", |handle| established(handle) == 1);
    until(&first.handle(), "handshake", |handle| established(handle) == 1);
    let payload = transaction(3, 100);
    let to = second.handle().peers().unwrap()[0].conn;
    let request = Request::Transaction(payload.id());
    // Seen before or not, what was asked for is delivered: ask twice.
    for freshness in [Freshness::Requested, Freshness::Requested] {
        second_chain.send(FromChain::Request { to, request: request.clone() }).unwrap();
        match first_chain.recv_timeout(PATIENCE).unwrap() {
            Some(ToChain::Requested { from, request: asked }) => {
                assert_eq!(asked, request);
                let deliver = FromChain::Deliver { to: from.conn, payload: payload.clone() };
                first_chain.send(deliver).unwrap();
            }
            other => panic!("{other:?}"),
        }
        let (_, received, how) = next_payload(&mut second_chain);
        assert_eq!((received, how), (payload.clone(), freshness));
    }
    drop((first, second));
}

#[test]
fn a_lost_peer_is_dialled_again() {
    let (first, _first_chain, first_addr) = start(&[]);
    let (second, _second_chain, _) = start(&[first_addr]);
    until(&second.handle(), "handshake", |handle| established(handle) == 1);
    // Ended without a goodbye: the other side loses it, and dials again after its back-off.
    drop(first);
    until(&second.handle(), "loss", |handle| established(handle) == 0);
    let mut again = config(&[]);
    again.listen = vec![first_addr];
    let (_first, _chain) = Engine::start(again).unwrap();
    second.handle().hold(first_addr).unwrap();
    until(&second.handle(), "second dial", |handle| handle.metrics().dialed >= 1);
}

#[test]
fn ipv4_and_ipv6_side_by_side() {
    let mut both = config(&[]);
    both.listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    let (engine, _chain) = Engine::start(both).unwrap();
    let addrs = engine.handle().local_addrs().to_vec();
    let (_other, _other_chain, _) = start(&addrs);
    until(&engine.handle(), "both", |handle| established(handle) == 2);
    let peers = engine.handle().peers().unwrap();
    assert_eq!(peers.iter().filter(|peer| peer.addr.is_ipv6()).count(), 1);
}

#[test]
fn either_side_may_go_at_any_time() {
    let (engine, chain, _) = start(&[]);
    let handle = engine.handle();
    drop(chain);
    // The loop sees it, says goodbye and ends.
    let clock = Instant::now();
    while handle.peers().is_ok() {
        assert!(clock.elapsed() < PATIENCE);
    }
    engine.shutdown(PATIENCE).unwrap();

    let (engine, mut chain, _) = start(&[]);
    drop(engine);
    assert_eq!(chain.recv(), Err(EngineEnd::Stopped));
}

#[test]
fn dialling_ourselves_is_noticed() {
    let mut config = config(&[]);
    config.connections_max = 128;
    let (engine, _chain) = Engine::start(config).unwrap();
    let handle = engine.handle();
    handle.hold(handle.local_addrs()[0]).unwrap();
    until(&handle, "noticed", |handle| {
        handle.metrics().closed_by_cause().any(|(cause, _)| cause == "myself")
    });
    until(&handle, "both ends gone", |handle| handle.metrics().connections == 0);
}
