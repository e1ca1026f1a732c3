//! The simulated network itself: the same seed gives the same run, nothing is lost or doubled at
//! any cut and any credit, latency and bandwidth are what the model says, and faults end.

use std::time::Duration;

use codec::{Kind, Payload};
use peer::{Config, Instant, ToChain};
use sim::{
    Answers, Chains, Credits, Cuts, Fault, Latency, Model, Network, NodeId, Pace, Script, Spies,
    topology,
};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn chains(nodes: usize, seed: u64) -> Chains {
    Chains::new(nodes, Spies::new(nodes, &[]), Pace::default(), seed)
}

/// A network whose connections stand.
fn standing(model: Model, nodes: usize, seed: u64) -> Network<Chains> {
    standing_with(model, nodes, seed, topology::quiet_config())
}

fn standing_with(model: Model, nodes: usize, seed: u64, config: Config) -> Network<Chains> {
    let dials = topology::random_dials(nodes, 3, &mut sim::rng(seed));
    let mut network = Network::new(model, chains(nodes, seed), seed);
    topology::build(&mut network, &dials, |_| config.clone());
    topology::establish(&mut network, &dials).unwrap();
    network
}

fn publish(network: &mut Network<Chains>, node: NodeId, kind: Kind, bytes: usize) {
    let command = network.script.publish(network.now(), node, kind, bytes);
    network.command(node, command);
}

fn run_for(network: &mut Network<impl Script>, wait: Duration) {
    network.run_until(network.now().after(wait));
}

/// What a run looks like from outside, to the last microsecond.
fn trace(model: Model, seed: u64) -> String {
    let mut network = standing(model, 30, seed);
    for number in 0..20 {
        let kind = if number % 5 == 0 { Kind::Block } else { Kind::Transaction };
        publish(&mut network, number, kind, 700 * (number + 1));
        run_for(&mut network, MS(40));
    }
    run_for(&mut network, Duration::from_secs(30));
    let spreads = network.script.ledger.spreads().unwrap();
    format!("{spreads:?} {:?} {}", network.traffic(), network.events())
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let model = Model { bandwidth: Some(20_000_000), ..Model::default() };
    assert_eq!(trace(model, 1), trace(model, 1));
    assert_ne!(trace(model, 1), trace(model, 2));
}

#[test]
fn every_payload_comes_exactly_once_at_any_cut_and_any_credit() {
    for bandwidth in [None, Some(5_000_000)] {
        for (cuts, credits) in [
            (Cuts::Packets, Credits::Ample),
            (Cuts::Anywhere, Credits::Ample),
            (Cuts::Anywhere, Credits::Random),
        ] {
            let model = Model { bandwidth, cuts, credits, ..Model::default() };
            assert!(!trace(model, 3).is_empty(), "and nothing was lost or doubled");
        }
    }
}

/// Notes when frames arrive, and has no chain.
#[derive(Default)]
struct Watch(Vec<(Instant, NodeId, NodeId, Kind, usize)>);

impl Script for Watch {
    fn on_event(&mut self, _: Instant, _: NodeId, _: ToChain, _: &mut Answers) {}

    fn on_frame(&mut self, now: Instant, from: NodeId, to: NodeId, frame: &Payload) {
        self.0.push((now, from, to, frame.kind(), frame.frame().len()));
    }
}

/// Two nodes, of which the first dials the second.
fn pair(model: Model) -> Network<Watch> {
    let mut network = Network::new(model, Watch::default(), 1);
    topology::build(&mut network, &[vec![1], vec![]], |_| topology::quiet_config());
    network
}

#[test]
fn a_greeting_takes_the_round_trips_that_it_takes() {
    let model = Model { latency: Latency::Constant(MS(30)), ..Model::default() };
    let mut network = pair(model);
    run_for(&mut network, Duration::from_secs(1));
    let [hand, shake] = &network.script.0[..2] else { panic!("nobody greeted") };
    // Knock and answer, and then the Hand; the Shake comes back.
    assert_eq!((hand.0, hand.3), (Instant::START.after(MS(90)), Kind::Hand));
    assert_eq!((shake.0, shake.3), (Instant::START.after(MS(120)), Kind::Shake));
    assert_eq!(network.established(), 1);
}

#[test]
fn a_body_takes_its_time_on_both_lines() {
    let latency = Latency::Constant(MS(10));
    let model = Model { latency, bandwidth: Some(8_000_000), ..Model::default() };
    let mut network = pair(model);
    run_for(&mut network, Duration::from_secs(5));
    network.script.0.clear();
    let begun = network.now();
    let body = vec![7; 144_800 - 11];
    let payload = Payload::seal(&codec::Network::DEV, Kind::Transaction, &body).unwrap();
    network.command(0, peer::FromChain::Deliver { to: peer::ConnId::new(0, 1), payload });
    run_for(&mut network, Duration::from_secs(5));
    let (at, ..) = network.script.0.iter().find(|one| one.3 == Kind::Transaction).unwrap();
    // 100 packets of 1,500 bytes at a byte a microsecond, the latency, and the last packet again
    // on the line of its receiver.
    assert_eq!(at.since(begun), MS(150) + MS(10) + Duration::from_micros(1_500));
}

#[test]
fn a_dial_to_nobody_or_to_who_refuses_comes_to_nothing() {
    let mut network = pair(Model::default());
    network.schedule(Instant::START, Fault::RefuseDials { node: 1, lasts: MS(500) });
    run_for(&mut network, MS(450));
    assert_eq!(network.established(), 0);
    run_for(&mut network, Duration::from_secs(20));
    assert_eq!(network.established(), 1, "it is dialled again");
}

#[test]
fn a_stall_delays_and_loses_nothing() {
    let mut network = standing(Model::default(), 30, 5);
    let lasts = Duration::from_secs(4);
    network.schedule(network.now(), Fault::Stall { node: 7, lasts });
    run_for(&mut network, MS(1));
    publish(&mut network, 0, Kind::Transaction, 50_000);
    run_for(&mut network, Duration::from_secs(20));
    let spread = network.script.ledger.spreads().unwrap()[0];
    assert!(spread.most >= lasts - MS(1) && spread.half < lasts / 2, "{spread:?}");
}

#[test]
fn a_pause_delays_and_loses_nothing_and_is_shorter_than_patience() {
    let mut network = standing(Model::default(), 30, 5);
    let (before, lasts) = (network.established(), Duration::from_secs(4));
    network.schedule(network.now(), Fault::Pause { node: 7, lasts });
    run_for(&mut network, MS(1));
    publish(&mut network, 0, Kind::Transaction, 50_000);
    // What its chain says meanwhile waits too.
    publish(&mut network, 7, Kind::Transaction, 500);
    run_for(&mut network, Duration::from_secs(20));
    let spreads = network.script.ledger.spreads().unwrap();
    assert!(spreads[0].most >= lasts - MS(1) && spreads[0].half < lasts / 2, "{spreads:?}");
    assert!(spreads[1].half >= lasts - MS(1), "{spreads:?}");
    assert_eq!(network.established(), before);
}

#[test]
fn who_comes_back_with_its_store_knows_whom_it_knew() {
    let counts = [false, true].map(|with_store| {
        let mut config = topology::quiet_config();
        config.locality = peer::Locality::Internet;
        config.started = peer::UnixTime::from_secs(1_700_000_000);
        let mut network = standing_with(Model::default(), 30, 8, config);
        network.schedule(network.now(), Fault::Crash { node: 3 });
        network.schedule(network.now(), Fault::Restart { node: 3, with_store });
        run_for(&mut network, MS(1));
        let (new, tried) = network.endpoint(3).unwrap().address_counts();
        new + tried
    });
    assert!(counts[0] == 0 && counts[1] >= 3, "{counts:?}");
}

#[test]
fn nothing_gets_through_a_partition_until_it_heals() {
    // Whoever is told of an id alone has to ask, and in one direction nobody can.
    let mut config = topology::quiet_config();
    config.relay.unasked_bytes_max = 1_000;
    for one_way in [false, true] {
        let mut network = standing_with(Model::default(), 30, 6, config.clone());
        let members: Vec<NodeId> = (0..15).collect();
        let lasts = Duration::from_secs(10);
        network.schedule(network.now(), Fault::Partition { members, one_way, lasts });
        run_for(&mut network, MS(1));
        publish(&mut network, 0, Kind::Transaction, 400);
        publish(&mut network, 20, Kind::Transaction, 400);
        run_for(&mut network, Duration::from_secs(30));
        let spreads = network.script.ledger.spreads().unwrap();
        let waited = |spread: &sim::Spread| spread.all >= lasts - MS(1);
        assert_eq!([waited(&spreads[0]), waited(&spreads[1])], [true, !one_way]);
    }
}

#[test]
fn who_crashes_is_missed_and_who_comes_back_is_dialled_again() {
    let mut network = standing(Model::default(), 30, 7);
    let before = network.established();
    let now = network.now();
    network.schedule(now, Fault::Crash { node: 3 });
    network.schedule(now, Fault::Leave { node: 4 });
    network.schedule(now, Fault::Reset { node: 9 });
    run_for(&mut network, MS(900));
    assert!(network.endpoint(3).is_none() && network.endpoint(4).is_none());
    assert!(network.established() < before - 6, "two nodes have at least three links each");
    let now = network.now();
    network.schedule(now, Fault::Restart { node: 3, with_store: false });
    network.schedule(now, Fault::Restart { node: 4, with_store: true });
    // Those that said goodbye are dialled again after half a minute, the others after seconds.
    run_for(&mut network, Duration::from_secs(900));
    assert_eq!(network.established(), before);
    publish(&mut network, 3, Kind::Transaction, 400);
    run_for(&mut network, Duration::from_secs(20));
    network.script.ledger.spreads().unwrap();
}

#[test]
fn addresses_are_as_many_as_nodes_and_spread_over_groups() {
    let addrs: std::collections::BTreeSet<_> =
        (0..50_000).map(|node| Network::<Chains>::addr(node, 1)).collect();
    assert_eq!(addrs.len(), 50_000);
    let locality = peer::Locality::Internet;
    let groups: std::collections::BTreeSet<_> =
        addrs.iter().take(50_000).map(|addr| locality.group(*addr)).collect();
    assert!(groups.len() > 20_000 && addrs.iter().all(|addr| locality.is_reachable(*addr)));
}

#[test]
fn an_endpoint_is_as_small_as_it_is_said_to_be() {
    let config: Config = topology::quiet_config();
    let endpoint = peer::Endpoint::new(config, [1; 32]);
    assert!(endpoint.memory_bytes() <= 400_000, "{}", endpoint.memory_bytes());
}
