//! Whatever a peer does wrong ends its own connection, under its own name, and nothing else.
#![allow(clippy::disallowed_methods, reason = "a test's own clock")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use molva::{ChainSide, Config, Engine, Handle, Network};
use rustix::net::sockopt::set_socket_linger;

use support::{Client, PATIENCE, TRANSACTION, frame, hand, next_payload};

/// An engine, its chain, and a peer that behaves.
struct Scene {
    _engine: Engine,
    handle: Handle,
    chain: ChainSide,
    addr: SocketAddr,
    network: Network,
    good: Client,
    delivered: u32,
}

/// What a peer does after its bytes.
#[derive(Clone, Copy, PartialEq)]
enum After {
    Waits,
    EndsItsHalf,
    Resets,
}

/// Something that no peer may do.
struct Attack {
    name: &'static str,
    /// How the end of its connection must be counted.
    cause: &'static str,
    greeted: bool,
    bytes: Vec<u8>,
    after: After,
}

impl Attack {
    fn new(name: &'static str, cause: &'static str, bytes: Vec<u8>) -> Self {
        Self { name, cause, greeted: false, bytes, after: After::Waits }
    }

    fn greeted(self) -> Self {
        Self { greeted: true, ..self }
    }

    fn then(self, after: After) -> Self {
        Self { after, ..self }
    }
}

impl Scene {
    fn new(network: &Network, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(network.clone());
        config.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.connections_max = 256;
        adjust(&mut config);
        let (engine, chain) = Engine::start(config).unwrap();
        let handle = engine.handle();
        let addr = handle.local_addrs()[0];
        let good = Client::greet(addr, network);
        let network = network.clone();
        Self { _engine: engine, handle, chain, addr, network, good, delivered: 0 }
    }

    /// Closes by cause, none of them left out.
    fn closed(&self) -> Vec<(&'static str, u64)> {
        // The question makes a turn, after which the numbers are those of now.
        self.handle.peers().unwrap();
        self.handle.metrics().closed_by_cause().collect()
    }

    fn attack(&self, attack: &Attack) -> Client {
        let connect = if attack.greeted { Client::greet } else { Client::connect };
        let mut client = connect(self.addr, &self.network);
        client.stream.write_all(&attack.bytes).unwrap();
        match attack.after {
            After::Waits => {}
            After::EndsItsHalf => client.stream.shutdown(Shutdown::Write).unwrap(),
            After::Resets => {
                self.await_accept(&client);
                set_socket_linger(&client.stream, Some(Duration::ZERO)).unwrap();
            }
        }
        client
    }

    /// A connection that is reset before it is accepted is none, and counted nowhere.
    fn await_accept(&self, client: &Client) {
        let addr = client.stream.local_addr().unwrap();
        let clock = Instant::now();
        while self.handle.peers().unwrap().iter().all(|peer| peer.addr != addr) {
            assert!(clock.elapsed() < PATIENCE, "not accepted");
        }
    }

    /// One attack: its connection ends, the count of its cause and of no other grows by one, and
    /// the peer that behaves notices nothing.
    fn endures(&mut self, attack: &Attack) {
        let before = self.closed();
        let mut expected = before.clone();
        match expected.iter_mut().find(|(cause, _)| *cause == attack.cause) {
            Some((_, count)) => *count += 1,
            None => expected.push((attack.cause, 1)),
        }
        let client = self.attack(attack);
        if attack.after == After::Resets {
            drop(client);
        } else {
            assert_ended(client, attack.name);
        }
        let clock = Instant::now();
        let mut after = self.closed();
        while after == before {
            assert!(clock.elapsed() < PATIENCE, "{}: not counted", attack.name);
            after = self.closed();
        }
        after.sort_unstable();
        expected.sort_unstable();
        assert_eq!(after, expected, "{}", attack.name);
        self.serves_the_good(attack.name);
    }

    fn serves_the_good(&mut self, name: &str) {
        self.good.ping();
        if self.network == Network::DEV {
            self.delivered += 1;
            let body = self.delivered.to_be_bytes();
            self.good.send(TRANSACTION, &body);
            assert_eq!(next_payload(&mut self.chain).body(), body, "{name}");
        }
        assert_eq!(self.handle.metrics().peers_inbound, 1, "{name}");
    }
}

/// The engine ends the connection: nothing but its last words come any more.
fn assert_ended(mut client: Client, name: &str) {
    let mut rest = Vec::new();
    match client.stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{name}: {error}"),
    }
}

/// A header that promises so many bytes.
fn header(network: &Network, kind: u8, length: u64) -> Vec<u8> {
    [&network.magic[..], &[kind], &length.to_be_bytes()].concat()
}

/// Bytes of no meaning, the same in every run, that do not begin with a magic.
fn garbage(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let random = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    std::iter::once(0xee).chain(random.take(500)).collect()
}

fn before_the_handshake(dev: &Network) -> Vec<Attack> {
    let stranger = Network { genesis: Network::GRIN_MAIN.genesis, ..dev.clone() };
    let half = hand(dev, b"half")[..40].to_vec();
    vec![
        Attack::new("random bytes", "wrong_magic", garbage(1)),
        Attack::new("other random bytes", "wrong_magic", garbage(2)),
        Attack::new("another network", "wrong_magic", hand(&Network::GRIN_MAIN, b"main")),
        Attack::new("another genesis", "wrong_genesis", hand(&stranger, b"other")),
        Attack::new("no UTF-8", "malformed", hand(dev, &[b'a', 0xff, 0xfe])),
        Attack::new("a ping first", "unexpected_kind", frame(dev, 3, &[0; 16])),
        Attack::new("a header of a block first", "unexpected_kind", header(dev, 11, 1_000)),
        Attack::new("a Hand too long", "oversize_frame", header(dev, 1, 513)),
        Attack::new("a Shake for a Hand", "unexpected_kind", header(dev, 2, 100)),
        Attack::new("nothing", "handshake_aborted", Vec::new()).then(After::EndsItsHalf),
        Attack::new("reset at once", "handshake_aborted", Vec::new()).then(After::Resets),
        Attack::new("half a Hand", "handshake_aborted", half).then(After::EndsItsHalf),
    ]
}

fn after_the_handshake(dev: &Network) -> Vec<Attack> {
    let locator = [vec![21], vec![0; 21 * 32]].concat();
    let addrs = [257u32.to_be_bytes().to_vec(), [0, 127, 0, 0, 1, 0, 99].repeat(257)].concat();
    let half = frame(dev, TRANSACTION, &[7; 100])[..50].to_vec();
    let attacks = vec![
        Attack::new("garbage", "wrong_magic", garbage(3)),
        Attack::new("a second Hand", "unexpected_kind", hand(dev, b"again")),
        Attack::new("an Error", "unexpected_kind", frame(dev, 0, &[])),
        Attack::new("an endless block", "oversize_frame", header(dev, 11, u64::MAX)),
        Attack::new("a block one too long", "oversize_frame", header(dev, 11, 5_392_129)),
        Attack::new("an unknown kind too long", "oversize_frame", header(dev, 200, 1 << 40)),
        Attack::new("a long locator", "list_too_long", frame(dev, 7, &locator)),
        Attack::new("many addresses", "list_too_long", frame(dev, 6, &addrs)),
        Attack::new("half a ping's body", "malformed", frame(dev, 3, &[0; 8])),
        Attack::new("headers unasked", "unsolicited", header(dev, 9, 100)),
        Attack::new("an archive unasked", "unsolicited", header(dev, 17, 48)),
        Attack::new("a ban", "banned_by_remote", frame(dev, 18, &1u32.to_be_bytes())),
        Attack::new("the end", "remote_closed", Vec::new()).then(After::EndsItsHalf),
        Attack::new("half a frame, the end", "truncated_frame", half).then(After::EndsItsHalf),
        Attack::new("a reset", "connection_lost", Vec::new()).then(After::Resets),
    ];
    attacks.into_iter().map(Attack::greeted).collect()
}

#[test]
fn bad_greetings_end_their_own_connection() {
    let mut scene = Scene::new(&Network::DEV, |_| {});
    for attack in before_the_handshake(&Network::DEV) {
        scene.endures(&attack);
    }
}

#[test]
fn bad_peers_end_their_own_connection() {
    let mut scene = Scene::new(&Network::DEV, |_| {});
    for attack in after_the_handshake(&Network::DEV) {
        scene.endures(&attack);
    }
}

#[test]
fn a_greeting_that_never_comes_is_not_waited_for() {
    let adjust = |config: &mut Config| config.peer.handshake_timeout = Duration::from_secs(1);
    let mut scene = Scene::new(&Network::DEV, adjust);
    scene.endures(&Attack::new("nothing", "handshake_timeout", Vec::new()));
    // What comes before it does not prolong the time.
    let half = hand(&Network::DEV, b"slow")[..30].to_vec();
    scene.endures(&Attack::new("half a Hand", "handshake_timeout", half));
}

#[test]
fn half_a_frame_is_not_waited_for() {
    let adjust = |config: &mut Config| config.peer.frame_timeout = Duration::from_millis(300);
    let mut scene = Scene::new(&Network::DEV, adjust);
    let half = frame(&Network::DEV, TRANSACTION, &[7; 100])[..50].to_vec();
    scene.endures(&Attack::new("half a body", "frame_timeout", half).greeted());
    let half = header(&Network::DEV, TRANSACTION, 100)[..5].to_vec();
    scene.endures(&Attack::new("half a header", "frame_timeout", half).greeted());
    let unknown = header(&Network::DEV, 200, 1_000);
    scene.endures(&Attack::new("half of an unknown kind", "frame_timeout", unknown).greeted());
}

/// A transaction as grin writes it: a whole frame.
fn transaction_of_grin() -> Vec<u8> {
    let text = include_str!("../../codec/tests/vectors/tx_plain_v1000.hex").trim();
    let byte = |place| u8::from_str_radix(&text[place..place + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

#[test]
fn bytes_behind_a_transaction_are_noticed_on_the_main_network() {
    let main = &Network::GRIN_MAIN;
    let mut scene = Scene::new(main, |_| {});
    let whole = transaction_of_grin();
    let body = [&whole[11..], &[0]].concat();
    let longer = frame(main, TRANSACTION, &body);
    scene.endures(&Attack::new("a byte more", "trailing_bytes", longer).greeted());
    let shorter = frame(main, TRANSACTION, &whole[11..whole.len() - 1]);
    scene.endures(&Attack::new("a byte less", "malformed", shorter).greeted());
    // And without it the same bytes are delivered.
    scene.good.stream.write_all(&whole).unwrap();
    assert!(next_payload(&mut scene.chain).frame() == whole);
}

#[test]
fn all_attacks_at_once_are_endured() {
    let mut scene = Scene::new(&Network::DEV, |_| {});
    let mut attacks = before_the_handshake(&Network::DEV);
    attacks.extend(after_the_handshake(&Network::DEV));
    let mut expected = std::collections::BTreeMap::new();
    let mut clients = Vec::new();
    for attack in &attacks {
        *expected.entry(attack.cause).or_insert(0) += 1;
        clients.push((attack, scene.attack(attack)));
        scene.good.ping();
    }
    for (attack, client) in clients {
        if attack.after != After::Resets {
            assert_ended(client, attack.name);
        }
    }
    let clock = Instant::now();
    let total = |closed: &[(&str, u64)]| closed.iter().map(|(_, count)| count).sum::<u64>();
    while total(&scene.closed()) < attacks.len() as u64 {
        assert!(clock.elapsed() < PATIENCE, "{:?}", scene.closed());
    }
    assert_eq!(scene.closed().into_iter().collect::<std::collections::BTreeMap<_, _>>(), expected);
    scene.serves_the_good("all");
    assert_eq!(scene.handle.metrics().completions_stale, 0);
}
