//! Whole endpoints that gossip on datagrams, over a network that loses, doubles and shuffles them.

use std::collections::BTreeMap;
use std::time::Duration;

use codec::Payload;
use codec::datagram::ClusterKey;
use peer::gossip::PushPullRules;
use peer::gossip::push_pull::Presumed;
use peer::{Config, Gossip, Instant, ToChain};
use sim::{Answers, DatagramFaults, Fault, Latency, Model, Network, NodeId, Script, Told};

/// Who heard what, how often.
#[derive(Default)]
struct Ears(BTreeMap<(Vec<u8>, NodeId), u32>);

impl Script for Ears {
    fn on_event(&mut self, _: Instant, _: NodeId, _: ToChain, _: &mut Answers) {}

    fn on_frame(&mut self, _: Instant, _: NodeId, _: NodeId, _: &Payload) {}

    fn on_told(&mut self, _: Instant, node: NodeId, told: &Told<'_>) {
        assert_eq!((told.topic, told.hops), (&b"weather"[..], None));
        *self.0.entry((told.data.to_vec(), node)).or_default() += 1;
    }
}

type Net = Network<Ears>;

const NODES: usize = 60;

const PORT: u16 = codec::Network::DEV.port;

/// Of a hundred datagrams ten are lost, and five of the others come twice; each takes 10 to 130 ms.
fn network() -> Net {
    let ms = Duration::from_millis;
    let model = Model {
        latency: Latency::Uniform(ms(10), ms(130)),
        datagrams: DatagramFaults { lost_percent: 10, twice_percent: 5 },
        ..Model::default()
    };
    let mut net = Net::new(model, Ears::default(), 11);
    for node in 0..NODES {
        let mut config = Config::small(codec::Network::DEV);
        config.advertised = Net::addr(node, PORT);
        config.gossip = Gossip::Datagrams;
        config.cluster.key = Some(ClusterKey([5; 32]));
        config.cluster.contacts = vec![Net::addr(0, PORT), Net::addr(1, PORT)];
        net.add(config);
    }
    net
}

fn run(net: &mut Net, span: Duration) {
    net.run_until(net.now().after(span));
}

/// How many of those who run think so of this node.
fn presume(net: &Net, node: NodeId, presumed: Presumed) -> usize {
    let addr = Net::addr(node, PORT);
    let thinks = |one: &NodeId| {
        let members = net.endpoint(*one).into_iter().flat_map(|endpoint| endpoint.members());
        members.into_iter().any(|it| (it.addr, it.presumed) == (addr, presumed))
    };
    (0..NODES).filter(thinks).count()
}

#[test]
fn all_learn_everything_once_and_find_out_who_died() {
    let mut net = network();
    let rules = PushPullRules::default();
    // News of newcomers do not reach everybody in a crowd of them; comparisons do.
    run(&mut net, rules.sync_period * 3);
    for node in 0..NODES {
        assert_eq!(net.endpoint(node).unwrap().members().count(), NODES - 1);
    }
    for number in 0..20u8 {
        net.publish(usize::from(number) * 3, b"weather", &[number; 200]);
        run(&mut net, Duration::from_millis(100));
    }
    // What told news did not reach, two comparisons do; and what was forgotten by some while others
    // still told of it did not happen again.
    run(&mut net, rules.sync_period * 10);
    for number in 0..20u8 {
        for node in (0..NODES).filter(|node| *node != usize::from(number) * 3) {
            let times = net.script.0.get(&(vec![number; 200], node)).copied();
            assert_eq!(times, Some(1), "{node} heard {number}");
        }
    }
    let lost = |net: &Net| -> Vec<u64> {
        (0..NODES).filter_map(|node| Some(net.endpoint(node)?.counts().members_lost)).collect()
    };
    assert_eq!(lost(&net), [0; NODES], "nobody was thought dead who lives");

    net.schedule(net.now(), Fault::Crash { node: 7 });
    // A round of probes at most, the longest suspicion (log10 of 60 is less than 2), and the news.
    let periods = NODES as u32 + 2 * rules.suspicion * rules.suspicion_factor + 10;
    run(&mut net, rules.period * periods);
    assert_eq!(presume(&net, 7, Presumed::Dead), NODES - 1);
    assert_eq!(lost(&net), [1; NODES - 1]);

    net.schedule(net.now(), Fault::Leave { node: 9 });
    run(&mut net, Duration::from_secs(15));
    assert_eq!(presume(&net, 9, Presumed::Left), NODES - 2);

    // A new process in the place of the dead one is believed.
    net.schedule(net.now(), Fault::Restart { node: 7, with_store: false });
    run(&mut net, Duration::from_secs(15));
    assert_eq!(presume(&net, 7, Presumed::Alive), NODES - 2);
    let counts = net.endpoint(0).unwrap().counts();
    assert_eq!((counts.datagrams_strange, counts.datagrams_malformed), (0, 0));
}
