//! Messages of topics between whole engines over real sockets.

#![allow(clippy::disallowed_methods, reason = "a test's own clock")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use molva::{Config, Engine, Gossip, Heard, Network, Overlay, Subscription, TopicError};

const PATIENCE: Duration = Duration::from_secs(60);

fn start(change: impl FnOnce(&mut Config)) -> (Engine, molva::ChainSide) {
    let mut config = Config::new(Network::DEV);
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.connections_max = 64;
    config.peer.advertised = "127.0.0.1:0".parse().unwrap();
    config.peer.gossip = Gossip::Tree;
    change(&mut config);
    Engine::start(config).unwrap()
}

fn next(subscription: &Subscription) -> Vec<u8> {
    match subscription.recv_timeout(PATIENCE).unwrap() {
        Some(Heard::Message { data, .. }) => data.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_said_of_a_topic_is_heard_by_whoever_cares() {
    let (first, _first_chain) = start(|_| {});
    let addr = first.handle().local_addrs()[0];
    let (middle, _middle_chain) = start(|config| config.peer.connect = vec![addr]);
    let addr = middle.handle().local_addrs()[0];
    let (last, _last_chain) = start(|config| config.peer.connect = vec![addr]);
    let clock = Instant::now();
    while middle.handle().metrics().peers_extended < 2 {
        assert!(clock.elapsed() < PATIENCE, "{:?}", middle.handle().metrics());
        std::thread::yield_now();
    }
    let weather = last.handle().subscribe(b"weather").unwrap();
    let other = last.handle().subscribe(b"prices").unwrap();
    for number in 0..50u8 {
        first.handle().publish(b"weather", &[number; 3_000]).unwrap();
    }
    let heard: BTreeSet<_> = (0..50).map(|_| next(&weather)).collect();
    assert!(heard.into_iter().eq((0..50).map(|number| vec![number; 3_000])));
    assert_eq!(other.recv_timeout(Duration::ZERO), Ok(None));
    assert_eq!(weather.recv_timeout(Duration::from_millis(50)), Ok(None), "each once");
    drop(last);
    assert!(other.recv_timeout(PATIENCE).is_err(), "its engine has ended");
}

#[test]
fn nodes_that_know_one_form_an_overlay_and_all_hear() {
    all_hear(Overlay::HyParView);
}

#[test]
fn nodes_that_exchange_lists_do_so_too() {
    all_hear(Overlay::Sampling);
}

/// Twelve nodes that know one of them.
fn all_hear(overlay: Overlay) {
    let choose = |config: &mut Config| {
        config.peer.overlay = overlay;
        config.peer.sampling.view = 6;
        // Less waiting than in a network of machines that are far from each other.
        config.peer.sampling.patience = Duration::from_millis(500);
        config.peer.sampling.period = Duration::from_secs(1);
        config.peer.sampling.heartbeat_period = Duration::from_secs(1);
    };
    let (first, first_chain) = start(choose);
    let contact = first.handle().local_addrs()[0];
    let mut nodes = vec![(first, first_chain)];
    for _ in 0..11 {
        nodes.push(start(|config| {
            choose(config);
            config.peer.seeds = vec![molva::Seed::Addr(contact)];
            config.peer.slots.outbound = 0;
        }));
    }
    let ears: Vec<_> =
        nodes.iter().map(|(engine, _)| engine.handle().subscribe(b"all").unwrap()).collect();
    // Links come to stand one after the other: what is said before may not reach everybody.
    let clock = Instant::now();
    for number in 0u32.. {
        assert!(clock.elapsed() < PATIENCE, "not everybody is in the overlay");
        nodes[0].0.handle().publish(b"all", &number.to_be_bytes()).unwrap();
        let waits = Duration::from_millis(100);
        let heard = ears[1..].iter().filter(|ear| {
            let heard = std::iter::from_fn(|| ear.recv_timeout(waits).unwrap());
            heard.into_iter().any(
                |it| matches!(it, Heard::Message { data, .. } if *data == number.to_be_bytes()),
            )
        });
        if heard.count() == 11 {
            break;
        }
    }
    let links = nodes[0].0.handle().metrics().neighbours;
    assert!(links <= 6, "an overlay of few links, not {links}");
}

#[test]
fn what_cannot_be_said_or_heard_is_an_error() {
    let (quiet, _chain) = start(|config| config.peer.gossip = Gossip::None);
    assert_eq!(quiet.handle().publish(b"a", b"b"), Err(TopicError::Off));
    assert_eq!(quiet.handle().subscribe(b"a").err(), Some(TopicError::Off));
    let (engine, _chain) = start(|_| {});
    let handle = engine.handle();
    let long = vec![0; 65_537];
    let error = TopicError::TopicTooLong { length: 65 };
    assert_eq!(handle.publish(&long[..65], b""), Err(error.clone()));
    assert_eq!(handle.subscribe(&long[..65]).err(), Some(error));
    let error = TopicError::DataTooLong { length: 65_537, limit: 65_536 };
    assert_eq!(handle.publish(b"a", &long), Err(error));
    assert_eq!(handle.publish(b"a", &long[1..]), Ok(()));
    drop(engine);
    assert!(matches!(handle.publish(b"a", b""), Err(TopicError::Ended(_))));
}
