//! Whole endpoints in an overlay, and messages of topics along a tree over it.

use std::collections::BTreeSet;
use std::time::Duration;

use codec::Payload;
use peer::{CloseReason, Config, Gossip, Instant, Overlay, Seed, ToChain};
use sim::{Answers, Fault, Latency, Model, Network, NodeId, Script, Told};

/// What each node heard.
#[derive(Default)]
struct Ears(Vec<(NodeId, Vec<u8>)>);

impl Script for Ears {
    fn on_event(&mut self, _: Instant, _: NodeId, _: ToChain, _: &mut Answers) {}

    fn on_frame(&mut self, _: Instant, _: NodeId, _: NodeId, _: &Payload) {}

    fn on_told(&mut self, _: Instant, node: NodeId, told: &Told<'_>) {
        assert_eq!(told.topic, b"weather");
        assert!(told.hops.is_some_and(|hops| hops > 0));
        self.0.push((node, told.data.to_vec()));
    }
}

type Net = Network<Ears>;

const NODES: usize = 60;

const PORT: u16 = codec::Network::DEV.port;

/// So many nodes, each of which knows the first.
fn network(nodes: usize, overlay: Overlay) -> Net {
    let latency = Latency::Uniform(Duration::from_millis(20), Duration::from_millis(100));
    let mut net = Net::new(Model { latency, ..Model::default() }, Ears::default(), 7);
    for node in 0..nodes {
        let mut config = Config::small(codec::Network::DEV);
        config.advertised = Net::addr(node, PORT);
        config.seeds = vec![Seed::Addr(Net::addr(0, PORT))];
        config.slots.outbound = 0; // the overlay alone dials
        config.overlay = overlay;
        config.gossip = Gossip::Tree;
        net.add(config);
        net.run_until(net.now().after(Duration::from_millis(200)));
    }
    net
}

fn run(net: &mut Net, secs: u64) {
    net.run_until(net.now().after(Duration::from_secs(secs)));
}

/// Who heard this, each once.
fn heard(net: &Net, data: &[u8]) -> BTreeSet<NodeId> {
    let all = net.script.0.iter().filter(|(_, said)| said == data);
    let mut nodes = BTreeSet::new();
    for (node, _) in all {
        assert!(nodes.insert(*node), "{node} heard it twice");
    }
    nodes
}

fn neighbours(net: &Net, node: NodeId) -> BTreeSet<std::net::SocketAddr> {
    let endpoint = net.endpoint(node).into_iter();
    endpoint.flat_map(|endpoint| endpoint.neighbours().map(|(peer, _)| peer)).collect()
}

#[test]
fn everybody_hears_once_and_half_of_them_dying_changes_nothing() {
    half_may_die(Overlay::HyParView, 5, NODES / 5);
}

#[test]
fn the_same_holds_over_lists_that_are_exchanged() {
    // Lists change all the time, and each new link is of the tree at first: more than half of a
    // flood, which is fifteen for each node.
    half_may_die(Overlay::Sampling, 20, 12 * NODES);
}

#[test]
fn who_was_told_of_nobody_asks_its_peers() {
    let model = Model { latency: Latency::Constant(Duration::from_millis(20)), ..Model::default() };
    let mut net = Net::new(model, Ears::default(), 7);
    let (alone, outsider, finder) = (0, 1, 2);
    for (node, knows) in [(alone, None), (outsider, Some(alone)), (finder, Some(outsider))] {
        let mut config = Config::small(codec::Network::DEV);
        config.advertised = Net::addr(node, PORT);
        config.seeds = knows.map(|other| Seed::Addr(Net::addr(other, PORT))).into_iter().collect();
        config.overlay = if node == outsider { Overlay::None } else { Overlay::HyParView };
        net.add(config);
    }
    // It hears of the first from the outsider, who is its only contact and in no overlay.
    run(&mut net, 300);
    assert_eq!(neighbours(&net, alone), [Net::addr(finder, PORT)].into());
}

#[test]
fn a_link_makes_no_room_for_newcomers() {
    let model = Model { latency: Latency::Constant(Duration::from_millis(20)), ..Model::default() };
    let mut net = Net::new(model, Ears::default(), 7);
    let add = |net: &mut Net, nodes: std::ops::Range<usize>, overlay| {
        for node in nodes {
            let mut config = Config::small(codec::Network::DEV);
            config.advertised = Net::addr(node, PORT);
            config.connect = if node > 0 { vec![Net::addr(0, PORT)] } else { Vec::new() };
            config.slots.outbound = 0;
            config.slots.inbound = 4;
            config.overlay = overlay;
            net.add(config);
        }
        run(net, 60);
    };
    add(&mut net, 0..5, Overlay::HyParView);
    let links = neighbours(&net, 0);
    assert_eq!(links.len(), 4);
    add(&mut net, 5..10, Overlay::None);
    assert_eq!(neighbours(&net, 0), links);
    assert_eq!(net.endpoint(0).unwrap().counts().closed[CloseReason::Evicted as usize], 0);
}

#[test]
fn two_are_linked_as_soon_as_they_are_connected() {
    for seed in 0..20 {
        let latency = Latency::Constant(Duration::from_millis(20));
        let mut net = Net::new(Model { latency, ..Model::default() }, Ears::default(), seed);
        for node in 0..2 {
            let mut config = Config::small(codec::Network::DEV);
            config.advertised = Net::addr(node, PORT);
            config.connect = if node > 0 { vec![Net::addr(0, PORT)] } else { Vec::new() };
            config.overlay = Overlay::HyParView;
            net.add(config);
        }
        run(&mut net, 1);
        for (node, other) in [(0, 1), (1, 0)] {
            assert_eq!(neighbours(&net, node), [Net::addr(other, PORT)].into(), "seed {seed}");
        }
    }
}

/// The cost and the reach of messages: what is in one piece hears all, and after the first message
/// a tree is left.
fn half_may_die(overlay: Overlay, most_links: usize, most_again: usize) {
    let mut net = network(NODES, overlay);
    run(&mut net, 120);
    // Links are two-way, few, and connections of both. The end of one may just be on its way.
    let (mut links, mut halves) = (0, 0);
    for node in 0..NODES {
        let ours = neighbours(&net, node);
        assert!((1..=most_links).contains(&ours.len()), "{node} has {ours:?}");
        links += ours.len();
        for other in ours {
            let other = (0..NODES).find(|one| Net::addr(*one, PORT) == other).unwrap();
            let back = Net::addr(node, PORT);
            halves += usize::from(!neighbours(&net, other).contains(&back));
        }
    }
    assert!(halves * 50 <= links, "{halves} of {links}");
    let all: BTreeSet<_> = (0..NODES).collect();
    let others = |publisher: NodeId| {
        all.iter().copied().filter(|node| *node != publisher).collect::<BTreeSet<_>>()
    };
    net.publish(3, b"weather", b"first");
    run(&mut net, 5);
    assert_eq!(heard(&net, b"first"), others(3));
    let known = known(&net);
    for message in [b"again 1", b"again 2"] {
        net.publish(3, b"weather", message);
        run(&mut net, 5);
        assert_eq!(heard(&net, message), others(3));
    }
    // A link may have changed meanwhile; it begins as a part of the tree.
    let again = self::known(&net) - known;
    assert!(again < 2 * most_again as u64, "{again} of two messages came twice");

    for node in (0..NODES).filter(|node| node % 2 == 1) {
        net.schedule(net.now(), Fault::Crash { node });
    }
    run(&mut net, 180);
    net.publish(4, b"weather", b"after");
    run(&mut net, 10);
    let living = (0..NODES).filter(|node| node % 2 == 0 && *node != 4).collect();
    assert_eq!(heard(&net, b"after"), living);
}

/// Bodies that came to who had them.
fn known(net: &Net) -> u64 {
    let endpoints = (0..net.len()).filter_map(|node| net.endpoint(node));
    endpoints.map(|endpoint| endpoint.counts().gossip_known).sum()
}
