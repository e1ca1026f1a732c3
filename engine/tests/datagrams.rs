//! A cluster of whole engines that gossip on datagrams over real sockets, and strangers who send it
//! some of their own.

#![allow(clippy::disallowed_methods, reason = "a test's own clock")]

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use codec::datagram::{Call, Datagram, Ends, Event, News, NewsList};
use molva::{
    ChainSide, ClusterKey, Config, Engine, Gossip, Handle, Heard, Metrics, Network, Presumed,
    StartError, Subscription, TopicError,
};
use peer::ConfigError;

const PATIENCE: Duration = Duration::from_secs(30);

const FAMILIES: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

fn key() -> ClusterKey {
    ClusterKey::of_secret(&[9; 32]).unwrap()
}

fn config(any: &str) -> Config {
    let any: SocketAddr = any.parse().unwrap();
    let mut config = Config::new(Network::DEV);
    config.listen = vec![any];
    config.gossip_listen = Some(any);
    config.connections_max = 64;
    config.peer.advertised = any;
    config.peer.gossip = Gossip::Datagrams;
    let cluster = &mut config.peer.cluster;
    cluster.key = Some(key());
    cluster.rules.period = Duration::from_millis(200);
    cluster.rules.timeout = Duration::from_millis(100);
    cluster.rules.tells = Some((Duration::from_millis(40), 3));
    cluster.rules.sync_period = Duration::from_secs(1);
    config
}

/// One that asks nobody anything of its own accord, as far as a test can see.
fn quiet(any: &str) -> Config {
    let mut config = config(any);
    let rules = &mut config.peer.cluster.rules;
    rules.period = Duration::from_secs(100_000);
    rules.tells = None;
    (rules.sync_period, rules.recall_period) = (rules.period, rules.period);
    config
}

fn start(config: Config) -> (Engine, ChainSide) {
    Engine::start(config).unwrap()
}

/// So many that know one of them; all know all when this returns.
fn cluster(any: &str, count: usize) -> Vec<(Engine, ChainSide)> {
    let mut nodes = vec![start(config(any))];
    let contact = nodes[0].0.handle().gossip_addr().unwrap();
    for _ in 1..count {
        let mut config = config(any);
        config.peer.cluster.contacts = vec![contact];
        nodes.push(start(config));
    }
    for (node, _) in &nodes {
        wait(&node.handle(), |handle| presumed(handle, Presumed::Alive).len() == count - 1);
    }
    nodes
}

fn presumed(handle: &Handle, presumed: Presumed) -> Vec<SocketAddr> {
    let members = handle.members().unwrap().into_iter();
    members.filter(|member| member.presumed == presumed).map(|member| member.addr).collect()
}

#[track_caller]
fn wait(handle: &Handle, mut until: impl FnMut(&Handle) -> bool) {
    let clock = Instant::now();
    while !until(handle) {
        assert!(clock.elapsed() < PATIENCE, "{:?} {:?}", handle.members(), handle.metrics());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn next(subscription: &Subscription) -> Vec<u8> {
    match subscription.recv_timeout(PATIENCE).unwrap() {
        Some(Heard::Message { data, hops: None }) => data.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// A socket of no engine.
fn stranger(any: &str) -> UdpSocket {
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn sealed(call: Call, key: &ClusterKey, ends: Ends) -> Vec<u8> {
    let news = NewsList::default();
    Datagram { incarnation: 1, token: 5, echo: 0, call, news }.seal(key, ends)
}

#[test]
fn what_is_said_is_heard_once_by_all_of_a_cluster_of_either_family() {
    for any in FAMILIES {
        let nodes = cluster(any, 4);
        let ears: Vec<_> =
            nodes.iter().map(|(node, _)| node.handle().subscribe(b"news").unwrap()).collect();
        let deaf = nodes[1].0.handle().subscribe(b"other").unwrap();
        let said = |node: u8| (0..10).map(move |number| vec![node, number]);
        for (number, (node, _)) in nodes.iter().enumerate() {
            for message in said(number as u8) {
                node.handle().publish(b"news", &message).unwrap();
            }
        }
        for (number, ear) in ears.iter().enumerate() {
            let heard: BTreeSet<_> = (0..30).map(|_| next(ear)).collect();
            let others = (0..4).filter(|other| *other != number).flat_map(|one| said(one as u8));
            assert_eq!(heard, others.collect());
        }
        // Later than any of these can come again.
        let last = nodes[0].0.handle();
        last.publish(b"news", b"last").unwrap();
        for ear in &ears[1..] {
            assert_eq!(next(ear), b"last");
        }
        assert_eq!(deaf.recv_timeout(Duration::ZERO), Ok(None));
        let Metrics { datagrams_strange, datagrams_malformed, datagrams_unsent, members, .. } =
            last.metrics();
        assert_eq!(
            [datagrams_strange, datagrams_malformed, datagrams_unsent, members],
            [0, 0, 0, 3]
        );
    }
}

#[test]
fn who_says_goodbye_has_left_and_who_falls_silent_is_presumed_dead() {
    let mut nodes = cluster(FAMILIES[0], 3);
    let (engine, _chain) = nodes.pop().unwrap();
    let gone = engine.handle().gossip_addr().unwrap();
    engine.shutdown(Duration::from_secs(5)).unwrap();
    for (node, _) in &nodes {
        wait(&node.handle(), |handle| presumed(handle, Presumed::Left) == [gone]);
        assert_eq!(node.handle().metrics().members_lost, 0);
    }
    // A member that says once that it is there, and answers nothing.
    let silent = stranger(FAMILIES[0]);
    let contact = nodes[0].0.handle().gossip_addr().unwrap();
    let ends = Ends { from: silent.local_addr().unwrap(), to: contact };
    silent.send_to(&sealed(Call::Ping { number: 1 }, &key(), ends), contact).unwrap();
    let silent = ends.from;
    for (node, _) in &nodes {
        wait(&node.handle(), |handle| presumed(handle, Presumed::Dead) == [silent]);
        let metrics = node.handle().metrics();
        assert_eq!((metrics.members_lost, metrics.members), (1, 1));
        assert!(metrics.members_suspected > 0);
    }
}

#[test]
fn what_no_member_sent_is_counted_and_answered_with_nothing() {
    for any in FAMILIES {
        let (engine, _chain) = start(quiet(any));
        let handle = engine.handle();
        let to = handle.gossip_addr().unwrap();
        let socket = stranger(any);
        let ping = Call::Ping { number: 7 };
        let ends = Ends { from: socket.local_addr().unwrap(), to };
        let mut malformed = sealed(ping, &key(), ends);
        malformed.push(0xff);
        Datagram::write_code(&key(), ends, &mut malformed);
        // What somebody caught on its way from a member, and sends again from elsewhere.
        let from = SocketAddr::new(to.ip(), 9);
        let caught = sealed(ping, &key(), Ends { from, to });
        let other = ClusterKey::of_secret(&[8; 32]).unwrap();
        for bytes in [
            &b""[..],
            &b"short"[..],
            &[0x5a; 1_400],
            &[0x5a; 1_401],
            &[0x5a; 20_000],
            &sealed(ping, &other, ends),
            &caught,
            &malformed,
        ] {
            socket.send_to(bytes, to).unwrap();
        }
        wait(&handle, |handle| {
            let metrics = handle.metrics();
            let Metrics { datagrams_strange, datagrams_malformed, datagrams_truncated, .. } =
                metrics;
            [datagrams_strange, datagrams_malformed, datagrams_truncated] == [5, 1, 2]
        });
        assert_eq!(handle.members().unwrap(), []);
        // A right one is answered still, and nothing else was before it.
        socket.send_to(&sealed(ping, &key(), ends), to).unwrap();
        let mut bytes = [0; 2_000];
        let (length, from) = socket.recv_from(&mut bytes).unwrap();
        assert_eq!(from, to);
        let answer = Datagram::open(&key(), ends.turned(), &bytes[..length]).unwrap();
        assert_eq!(answer.call, Call::Ack { number: 7 });
        assert_eq!(handle.metrics().datagrams_sent, 1);
    }
}

/// Whoever can write somebody else's address on a datagram has us send little there.
#[test]
fn an_address_that_echoed_nothing_gets_at_most_three_bytes_for_one() {
    let (engine, _chain) = start(quiet(FAMILIES[0]));
    let handle = engine.handle();
    for _ in 0..30 {
        handle.publish(b"news", &[7; 1_000]).unwrap();
    }
    let (socket, to) = (stranger(FAMILIES[0]), handle.gossip_addr().unwrap());
    let news = News::Event(Event { time: 1, nonce: 1, topic: b"news", data: &[3; 200] });
    let mut bytes = Vec::new();
    news.write(&mut bytes);
    let news = NewsList::new(&bytes).unwrap();
    let ends = Ends { from: socket.local_addr().unwrap(), to };
    let calls = [Call::Ping { number: 1 }, Call::Sync { reply: false }, Call::Ping { number: 2 }];
    let (mut sent, mut received) = (0, 0);
    for call in calls {
        let datagram = Datagram { incarnation: 1, token: 5, echo: 5, call, news };
        sent += socket.send_to(&datagram.seal(&key(), ends), to).unwrap();
        received += socket.recv_from(&mut [0; 2_000]).unwrap().0;
    }
    assert!(received <= 3 * sent, "{received} bytes for {sent}");
    assert_eq!(handle.metrics().datagrams_sent, calls.len() as u64);
}

#[test]
fn what_does_not_fit_into_a_datagram_is_an_error_and_so_is_a_cluster_without_a_secret() {
    let (engine, _chain) = start(config(FAMILIES[0]));
    let handle = engine.handle();
    let error = TopicError::DataTooLong { length: 1_025, limit: 1_024 };
    assert_eq!(handle.publish(b"a", &[0; 1_025]), Err(error));
    assert_eq!(handle.publish(b"a", &[0; 1_024]), Ok(()));
    let refusal = |change: &dyn Fn(&mut Config)| {
        let mut config = config(FAMILIES[0]);
        change(&mut config);
        match Engine::start(config) {
            Err(error) => error,
            Ok(_) => panic!("it was not to start"),
        }
    };
    let error = refusal(&|config| config.peer.cluster.key = None);
    assert!(matches!(error, StartError::Config(ConfigError::ClusterKey)), "{error}");
    let error = refusal(&|config| config.peer.advertised = "0.0.0.0:0".parse().unwrap());
    assert!(matches!(error, StartError::Config(ConfigError::ClusterAddress)), "{error}");
    let taken = handle.gossip_addr().unwrap();
    let error = refusal(&|config| config.gossip_listen = Some(taken));
    assert!(matches!(error, StartError::Datagrams { addr, .. } if addr == taken), "{error}");
    // Without an address of its own it is the advertised one, with the first listener's port.
    let mut config = config("127.0.0.1:0");
    config.gossip_listen = None;
    let (engine, _chain) = start(config);
    let handle = engine.handle();
    assert_eq!(handle.gossip_addr(), Some(handle.local_addrs()[0]));
}
