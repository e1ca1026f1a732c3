//! Endpoints of a cluster whose datagrams a test carries.

use std::collections::BTreeMap;
use std::time::Duration;

use codec::Network;
use codec::datagram::{Call, DATAGRAM_BYTES_MIN, Datagram, Ends, NewsList};
use codec::limits::DATAGRAM_BYTES_MAX;

use super::*;
use crate::event::Input;
use crate::gossip::push_pull::Presumed;
use crate::rates::Rate;
use crate::time::UnixTime;

const KEY: ClusterKey = ClusterKey([3; 32]);

fn addr(node: usize) -> SocketAddr {
    ([192, 0, 2, node as u8 + 1], 4_000).into()
}

fn config(node: usize) -> Config {
    let mut config = Config::small(Network::DEV);
    // The port is another one: that of connections.
    config.advertised = SocketAddr::new(addr(node).ip(), 3_414);
    config.started = UnixTime::from_secs(1_000);
    config.gossip = Gossip::Datagrams;
    config.cluster.key = Some(KEY);
    config.cluster.contacts = vec![addr(0)];
    config
}

/// Endpoints and the datagrams between them, each of which takes 10 ms.
struct Cluster {
    nodes: Vec<Option<Endpoint>>,
    wires: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    made: u64,
    now: Instant,
    told: Vec<(usize, Vec<u8>)>,
}

impl Cluster {
    fn new(configs: Vec<Config>) -> Self {
        let mut nodes = Vec::new();
        for config in configs {
            config.check().unwrap();
            let seed = [nodes.len() as u8 + 1; 32];
            let mut endpoint = Endpoint::new(config, seed);
            endpoint.advertise_datagrams(4_000);
            nodes.push(Some(endpoint));
        }
        let (wires, told) = (BTreeMap::new(), Vec::new());
        Self { nodes, wires, made: 0, now: Instant::START, told }
    }

    fn feed(&mut self, node: usize, input: Input<'_>) {
        let Some(endpoint) = &mut self.nodes[node] else { return };
        endpoint.handle(self.now, input);
        while let Some(output) = endpoint.poll_output() {
            match output {
                Output::Datagram { to, bytes } => {
                    assert!(bytes.len() <= DATAGRAM_BYTES_MAX);
                    self.made += 1;
                    let arrives = self.now.after(Duration::from_millis(10));
                    self.wires.insert((arrives, self.made), (addr(node), to, bytes));
                }
                Output::Told { topic, data, hops: None } => {
                    assert_eq!(*topic, *b"topic");
                    self.told.push((node, data.to_vec()));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now.after(span);
        loop {
            let nodes = self.nodes.iter().enumerate();
            let due = nodes.filter_map(|(node, one)| Some((one.as_ref()?.poll_timeout()?, node)));
            let due = due.min();
            let wire = self.wires.first_key_value().map(|((at, _), _)| *at);
            let next = wire.into_iter().chain(due.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if wire == Some(next) {
                let (_, (from, to, bytes)) = self.wires.pop_first().unwrap();
                let node = (0..self.nodes.len()).find(|node| addr(*node) == to);
                if let Some(node) = node {
                    self.feed(node, Input::Datagram { from, bytes: &bytes });
                }
            } else if let Some((_, node)) = due {
                self.feed(node, Input::Timeout);
            }
        }
        self.now = end;
    }

    fn at(&self, node: usize) -> &Endpoint {
        self.nodes[node].as_ref().unwrap()
    }

    fn members(&self, node: usize, presumed: Presumed) -> Vec<SocketAddr> {
        let members = self.at(node).members().filter(|member| member.presumed == presumed);
        members.map(|member| member.addr).collect()
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn a_cluster_joins_by_its_contacts_and_hears_each_message_once() {
    let mut cluster = Cluster::new((0..5).map(config).collect());
    assert_eq!(cluster.at(0).poll_timeout(), Some(Instant::START), "it joins as time passes");
    cluster.run(secs(10));
    for node in 0..5 {
        let others: Vec<_> = (0..5).filter(|other| *other != node).map(addr).collect();
        assert_eq!(cluster.members(node, Presumed::Alive), others);
        assert_eq!(cluster.at(node).counts().members, 4);
    }
    cluster.feed(3, Input::Publish { topic: b"topic", data: b"data" });
    cluster.run(secs(5));
    cluster.told.sort();
    assert_eq!(cluster.told, [0, 1, 2, 4].map(|node| (node, b"data".to_vec())));
    for node in 0..5 {
        let counts = cluster.at(node).counts();
        assert_eq!(counts.gossip_new, u64::from(node != 3));
        assert!(counts.datagrams_sent > 0 && counts.datagrams_received > 0);
        assert_eq!((counts.datagrams_strange, counts.members_lost), (0, 0));
    }
}

#[test]
fn who_shuts_down_says_so_and_who_vanishes_is_counted_as_lost() {
    let mut cluster = Cluster::new((0..4).map(config).collect());
    cluster.run(secs(10));
    cluster.feed(1, Input::Shutdown);
    cluster.nodes[2] = None;
    cluster.run(secs(60));
    for node in [0, 3] {
        assert_eq!(cluster.members(node, Presumed::Left), [addr(1)]);
        assert_eq!(cluster.members(node, Presumed::Dead), [addr(2)]);
        let counts = cluster.at(node).counts();
        assert_eq!((counts.members, counts.members_lost), (1, 1));
        assert!(counts.members_suspected > 0);
    }
    // Who has left says nothing more, whatever it hears.
    assert_eq!(cluster.at(1).poll_timeout(), None);
    let before = cluster.at(1).counts().datagrams_sent;
    let news = NewsList::default();
    let call = Call::Ping { number: 1 };
    let ends = Ends { from: addr(9), to: addr(1) };
    let bytes = Datagram { incarnation: 1, token: 1, echo: 0, call, news }.seal(&KEY, ends);
    cluster.feed(1, Input::Datagram { from: addr(9), bytes: &bytes });
    assert_eq!(cluster.at(1).counts().datagrams_sent, before);
}

#[test]
fn what_is_refused_is_counted_by_its_reason() {
    let mut config = config(0);
    config.rates.datagrams = Rate { amount: 1, per: secs(1), burst: 4 };
    let mut cluster = Cluster::new(vec![config]);
    fn datagram(bytes: &[u8]) -> Input<'_> {
        Input::Datagram { from: addr(1), bytes }
    }
    cluster.feed(0, datagram(&[0; 100])); // before it has joined
    cluster.run(Duration::from_millis(1));
    // By their length, which needs no place in the rate.
    for length in (0..DATAGRAM_BYTES_MIN).chain([DATAGRAM_BYTES_MAX + 1]) {
        cluster.feed(0, datagram(&vec![0; length]));
    }
    let lengths = DATAGRAM_BYTES_MIN as u64 + 1;
    let counts = cluster.at(0).counts();
    assert_eq!((counts.datagrams_strange, counts.datagrams_passed_over), (lengths, 1));
    let mut malformed = [0xff; 60];
    Datagram::write_code(&KEY, Ends { from: addr(1), to: addr(0) }, &mut malformed);
    let garbage = [0x5a; DATAGRAM_BYTES_MIN];
    for bytes in [&malformed[..], &garbage, &malformed, &garbage, &garbage, &garbage] {
        cluster.feed(0, datagram(bytes));
    }
    let counts = cluster.at(0).counts();
    assert_eq!((counts.datagrams_strange, counts.datagrams_malformed), (lengths + 2, 2));
    assert_eq!((counts.datagrams_received, counts.datagrams_passed_over), (lengths + 4, 3));
    assert_eq!(cluster.at(0).members().count(), 0);
    assert_eq!(counts.datagrams_sent, 0);
}

/// Who sends more than is read kept members from being heard, too.
#[test]
fn a_flood_of_strangers_does_not_silence_members() {
    let mut configs: Vec<_> = (0..4).map(config).collect();
    configs[0].rates.datagrams = Rate { amount: 100, per: secs(1), burst: 100 };
    let mut cluster = Cluster::new(configs);
    cluster.run(secs(10));
    let before = cluster.at(0).counts().datagrams_passed_over;
    cluster.feed(3, Input::Publish { topic: b"topic", data: b"data" });
    // Each time as soon as one more would be read.
    for number in 0..3_000u32 {
        for _ in 0..10 {
            let from = ([198, 51, 100, number as u8], 9).into();
            cluster.feed(0, Input::Datagram { from, bytes: &[0x5a; 100] });
        }
        cluster.run(Duration::from_millis(10));
    }
    let counts = cluster.at(0).counts();
    assert!(counts.datagrams_passed_over > before + 1_000, "{counts:?}");
    for node in 0..4 {
        let counts = cluster.at(node).counts();
        assert_eq!((counts.members, counts.members_suspected), (3, 0));
    }
    assert!(cluster.told.contains(&(0, b"data".to_vec())));
}

#[test]
fn contacts_are_those_that_are_named_or_else_held_peers_and_seeds() {
    let mut config = config(0);
    config.connect = vec![addr(1)];
    config.seeds = vec![Seed::Name("seed.example".to_owned()), Seed::Addr(addr(2))];
    assert_eq!(contacts(&config), [addr(0)]);
    config.cluster.contacts.clear();
    assert_eq!(contacts(&config), [addr(1), addr(2)]);
    config.connect = (0..40).map(addr).collect();
    assert_eq!(contacts(&config).len(), CONTACTS_MAX);
}

#[test]
fn a_cluster_that_cannot_be_is_named() {
    let refusal = |change: fn(&mut Config)| {
        let mut config = config(0);
        change(&mut config);
        config.check().expect_err("it was not to be accepted")
    };
    assert_eq!(refusal(|it| it.cluster.key = None), ConfigError::ClusterKey);
    let error = refusal(|it| it.advertised = ([0, 0, 0, 0], 1).into());
    assert_eq!(error, ConfigError::ClusterAddress);
    let error = refusal(|it| it.cluster.contacts = (0..17).map(addr).collect());
    assert_eq!(error.to_string(), "gossip.contacts has 17 addresses, and may have 16");
    let error = refusal(|it| it.cluster.rules.period = Duration::ZERO);
    assert!(matches!(error, ConfigError::Cluster(_)), "{error}");
    let mut without = config(0);
    (without.gossip, without.cluster.key) = (Gossip::None, None);
    assert_eq!(without.check(), Ok(()), "nobody needs a secret for nothing");
    assert_eq!(Endpoint::new(without, [1; 32]).cluster_deadline(), None);
}

/// What is for the cluster is nobody else's: without one nothing comes of it.
#[test]
fn without_a_cluster_datagrams_are_passed_over() {
    let mut config = config(0);
    config.gossip = Gossip::Tree;
    let mut cluster = Cluster::new(vec![config]);
    cluster.feed(0, Input::Datagram { from: addr(1), bytes: b"" });
    cluster.run(secs(10));
    let counts = cluster.at(0).counts();
    assert_eq!((counts.datagrams_passed_over, counts.datagrams_sent), (1, 0));
    assert_eq!(Gossip::Tree.data_bytes_max(), codec::limits::GOSSIP_DATA_BYTES_MAX);
    assert_eq!(Gossip::Datagrams.data_bytes_max(), codec::limits::EVENT_DATA_BYTES_MAX);
}
