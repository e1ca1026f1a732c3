//! One connection for each host, and both ends keep the same one.

use std::collections::VecDeque;

use codec::{Capabilities, Hand, Kind, Message};
use peer::{CloseReason, Config, ConnId, Input, InventoryLimits, Locality, SeenLimits};

use crate::solo::{
    NET, Out, Solo, UNLIMITED, addr, closes, hand, message, passive, ping, pong, secs, sent_kinds,
    shake, transaction,
};
use crate::world::World;

fn accept_from(solo: &mut Solo, index: u32, text: &str) -> (ConnId, Vec<Out>) {
    let conn = ConnId::new(index, 1);
    let outputs = solo.handle(Input::Accepted { conn, addr: text.parse().unwrap() });
    (conn, outputs)
}

fn refused(conn: ConnId) -> Vec<Out> {
    vec![Out::Close(conn, CloseReason::Duplicate)]
}

/// Trap 9: as grin, a host has one connection.
#[test]
fn a_host_has_one_connection_whatever_its_ports() {
    let mut solo = Solo::with(|config| config.locality = Locality::Internet);
    let (first, outputs) = accept_from(&mut solo, 0, "192.0.2.1:1000");
    assert_eq!(outputs, []);
    let (second, outputs) = accept_from(&mut solo, 1, "192.0.2.1:1001");
    assert_eq!(outputs, refused(second), "while the first is greeting");
    let (mapped, outputs) = accept_from(&mut solo, 2, "[::ffff:192.0.2.1]:1002");
    assert_eq!(outputs, refused(mapped));
    solo.receive(first, &message(&Message::Hand(hand())));
    let (third, outputs) = accept_from(&mut solo, 3, "192.0.2.1:1003");
    assert_eq!(outputs, refused(third), "and while it stands");
    assert_eq!(accept_from(&mut solo, 4, "192.0.2.2:1000").1, []);
    assert_eq!(solo.endpoint.counts().closed[CloseReason::Duplicate as usize], 3);
    solo.leave(first);
    assert_eq!(accept_from(&mut solo, 5, "192.0.2.1:1004").1, [], "it has left");
}

#[test]
fn on_loopback_many_clients_may_name_the_same_port() {
    let mut solo = Solo::small();
    for index in 0..100 {
        let (conn, outputs) =
            accept_from(&mut solo, index, &format!("127.0.0.1:{}", 5_000 + index));
        assert_eq!(outputs, []);
        assert_eq!(
            sent_kinds(&solo.receive(conn, &message(&Message::Hand(hand())))),
            [Kind::Shake]
        );
    }
    assert_eq!(solo.endpoint.counts().inbound, 100);
}

#[test]
fn a_dial_to_whom_is_here_already_ends_unanswered() {
    let mut solo = Solo::small();
    let here = solo.join(0);
    let conn = ConnId::new(1, 1);
    let outputs = solo.handle(Input::Dialed { conn, addr: addr(0) });
    assert_eq!(outputs, refused(conn), "and no Hand leaves");
    assert!(solo.is_here(here));
}

#[test]
fn an_older_connection_stands_whatever_the_nonce() {
    let mut solo = Solo::small();
    let (ours, _) = solo.dial(0);
    solo.receive(ours, &message(&Message::Shake(shake())));
    solo.run_for(secs(11));
    let newcomer = ConnId::new(5, 1);
    let outputs = solo.handle(Input::Accepted { conn: newcomer, addr: addr(0) });
    assert_eq!(outputs, refused(newcomer));
    assert!(solo.is_here(ours));

    // On loopback the newcomer's name is known only from its greeting.
    let addr = "127.0.0.1:3414".parse().unwrap();
    let (ours, newcomer) = (ConnId::new(6, 1), ConnId::new(7, 1));
    solo.handle(Input::Hold { addr });
    solo.handle(Input::Dialed { conn: ours, addr });
    solo.receive(ours, &message(&Message::Shake(shake())));
    solo.run_for(secs(11));
    solo.handle(Input::Accepted { conn: newcomer, addr: "127.0.0.1:9999".parse().unwrap() });
    let greeting = Hand { nonce: u64::MAX, sender_addr: addr, ..hand() };
    assert_eq!(solo.receive(newcomer, &message(&Message::Hand(greeting))), refused(newcomer));
    assert!(solo.is_here(ours));
}

/// Two endpoints that dial each other, and all that is on its way between them.
struct Pair {
    nodes: [Solo; 2],
    links: [Link; 2],
}

/// The connection that one side dials.
struct Link {
    /// Whether each side has heard that it stands.
    known: [bool; 2],
    /// Whether each side still has it.
    open: [bool; 2],
    /// What is on its way to each side: frames, and at last the end.
    pipes: [VecDeque<Option<Vec<u8>>>; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    /// A side hears that a link stands.
    Stands { link: usize, side: usize },
    /// The next thing on its way to a side arrives.
    Arrives { link: usize, side: usize },
}

/// Where the sides listen. As seen by the other, a dial comes from `source` there.
type Places = [std::net::SocketAddr; 2];

impl Pair {
    fn new(seeds: [u8; 2], places: Places) -> Self {
        let node = |side: usize| {
            let mut config = Config {
                seen: SeenLimits { recent_ids: 8, older_ids: 8, older_bits_per_id: 4 },
                inventory: InventoryLimits { rows: 4, slots: 4 },
                ..passive(NET)
            };
            config.book.new_buckets = 16;
            config.book.tried_buckets = 1;
            config.advertised.set_port(places[side].port());
            Solo::new(config, seeds[side])
        };
        let link = || Link { known: [false; 2], open: [true; 2], pipes: Default::default() };
        let mut pair = Self { nodes: [node(0), node(1)], links: [link(), link()] };
        for side in [0, 1] {
            let addr = places[1 - side];
            let outputs = pair.nodes[side].handle(Input::Hold { addr });
            assert_eq!(outputs, [Out::Dial(addr)]);
        }
        pair
    }

    /// What may happen next.
    fn enabled(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (index, link) in self.links.iter().enumerate() {
            for side in [0, 1] {
                if !link.known[side] {
                    events.push(Event::Stands { link: index, side });
                } else if link.open[side] && !link.pipes[side].is_empty() {
                    events.push(Event::Arrives { link: index, side });
                }
            }
        }
        events
    }

    fn happen(&mut self, event: Event, places: Places) {
        let (Event::Stands { link, side } | Event::Arrives { link, side }) = event;
        let conn = ConnId::new(link as u32, 1);
        let outputs = match event {
            Event::Stands { .. } => {
                self.links[link].known[side] = true;
                if link == side {
                    self.nodes[side].handle(Input::Dialed { conn, addr: places[1 - side] })
                } else {
                    let addr = (places[1 - side].ip(), 40_000).into();
                    self.nodes[side].handle(Input::Accepted { conn, addr })
                }
            }
            Event::Arrives { .. } => match self.links[link].pipes[side].pop_front().unwrap() {
                Some(bytes) => self.nodes[side].receive(conn, &bytes),
                None => {
                    self.links[link].open[side] = false;
                    let reason = CloseReason::RemoteClosed;
                    self.nodes[side].handle(Input::Closed { conn, reason })
                }
            },
        };
        for output in outputs {
            let (to, what) = match output {
                Out::Send(peer::Recipients::One(conn), payload) => {
                    (conn.index() as usize, Some(payload.frame().to_vec()))
                }
                Out::Close(conn, reason) => {
                    assert_eq!(reason, CloseReason::Duplicate);
                    self.links[conn.index() as usize].open[side] = false;
                    (conn.index() as usize, None)
                }
                Out::Opens(_) | Out::ToChain(_) => continue,
                other => panic!("{other:?}"),
            };
            self.links[to].pipes[1 - side].push_back(what);
        }
    }
}

/// Plays every order in which the two handshakes can go; gives how many there were, and how often
/// each of the links was kept.
fn every_interleaving(seeds: [u8; 2], places: Places) -> [u32; 2] {
    let mut kept = [0; 2];
    // The choice at each step, and how many there were.
    let mut path: Vec<(usize, usize)> = Vec::new();
    for _ in 0..200_000 {
        let mut pair = Pair::new(seeds, places);
        let mut trace = Vec::new();
        for step in 0.. {
            let events = pair.enabled();
            if events.is_empty() {
                break;
            }
            if step == path.len() {
                path.push((0, events.len()));
            }
            let event = events[path[step].0];
            trace.push(event);
            pair.happen(event, places);
        }
        let conns = [0, 1].map(|side| {
            let peers: Vec<_> = pair.nodes[side].endpoint.peers().collect();
            let [only] = &peers[..] else { panic!("{} at {side}: {trace:?}", peers.len()) };
            assert!(only.established, "{trace:?}");
            only.conn.index() as usize
        });
        assert_eq!(conns[0], conns[1], "each keeps another: {trace:?}");
        kept[conns[0]] += 1;
        while path.last().is_some_and(|(choice, of)| choice + 1 == *of) {
            path.pop();
        }
        let Some(last) = path.last_mut() else { return kept };
        last.0 += 1;
    }
    panic!("more interleavings than were to be expected");
}

#[test]
fn of_two_simultaneous_dials_both_ends_keep_the_same() {
    let hosts: Places = ["192.0.2.1:3414", "198.51.100.1:3414"].map(|addr| addr.parse().unwrap());
    let loopback: Places = ["127.0.0.1:3414", "127.0.0.1:3415"].map(|addr| addr.parse().unwrap());
    for places in [hosts, loopback] {
        for seeds in [[1, 2], [2, 1]] {
            let kept = every_interleaving(seeds, places);
            assert!(kept.iter().sum::<u32>() > 300, "{kept:?}");
            assert!(kept.iter().all(|count| *count > 0), "either may come first: {kept:?}");
        }
    }
}

#[test]
fn held_peers_that_dial_each_other_for_minutes_have_one_connection() {
    for seed in 1..20 {
        let mut configs = vec![World::config(), World::config()];
        for side in [0, 1] {
            configs[side].slots.outbound = 0;
            configs[side].connect = vec![World::addr(1 - side)];
        }
        let mut world = World::new(configs, seed);
        for _ in 0..30 {
            world.run_for(secs(10));
        }
        for side in [0, 1] {
            let peers = world.peers_of(side);
            assert_eq!(peers.len(), 1, "seed {seed}");
            assert!(peers[0].established && peers[0].age > secs(250), "seed {seed}: {peers:?}");
        }
    }
}

/// Trap 13 of the grin protocol: a missing Pong has no consequence there, and every control of
/// liveness is ours. But a grin node that has a lot to say loses some of its pongs.
#[test]
fn a_peer_that_sends_and_never_answers_a_ping_is_dropped_late() {
    let mut solo = Solo::small();
    let (mute, busy) = (solo.join(0), solo.join(1));
    let mut closed = Vec::new();
    for round in 0..70 {
        closed.extend(closes(&solo.run_for(secs(10))));
        if solo.is_here(mute) {
            solo.receive(mute, &ping(round));
        }
        solo.receive(busy, transaction(round as u32).frame());
        if round % 20 == 19 {
            solo.receive(busy, &pong(round));
        }
    }
    let [(at, conn, reason)] = closed[..] else { panic!("{closed:?}") };
    assert_eq!((conn, reason), (mute, CloseReason::Silent));
    assert_eq!(at.micros() / 1_000_000, 600, "ten times the silence that is suffered");
    assert!(solo.is_here(busy));
}

/// Trap 8: whoever opens a connection without a whole Hand, a health check say, is banned by grin.
/// Here it is an abort, whether it ends by FIN or RST.
#[test]
fn a_greeting_that_breaks_off_is_aborted_however_it_ends() {
    let mut solo = Solo::small();
    let greeting = message(&Message::Hand(hand()));
    for (index, reason) in
        [CloseReason::RemoteClosed, CloseReason::ConnectionLost].iter().enumerate()
    {
        for (part, cut) in [0, 5, 11, 40].into_iter().enumerate() {
            let conn = solo.accepted((10 * index + part) as u32, 1);
            solo.receive(conn, &greeting[..cut]);
            assert_eq!(solo.handle(Input::Closed { conn, reason: *reason }), []);
        }
    }
    assert_eq!(solo.endpoint.counts().closed[CloseReason::HandshakeAborted as usize], 8);
}

#[test]
fn an_address_that_is_our_own_is_dialled_no_more_even_when_others_tell_it() {
    let mut config = World::config();
    config.connect = vec![World::addr(0)];
    let mut world = World::new(vec![config, World::config()], 4);
    world.run_for(secs(5));
    assert_eq!(world.nodes[0].closes, [CloseReason::Myself; 2], "both ends");
    assert_eq!(world.nodes[0].dials, 1);

    // A liar that tells our own address.
    let solo = &mut world.nodes[0].solo;
    let conn = ConnId::new(77, 1);
    solo.handle(Input::Accepted { conn, addr: addr(5) });
    let greeting = Hand { sender_addr: ([0; 4], 0).into(), ..hand() };
    solo.receive(conn, &message(&Message::Hand(greeting)));
    let own = [World::addr(0)];
    let told = message(&Message::PeerAddrs(codec::PeerAddrs::new(&own)));
    solo.step(Input::Received { conn, bytes: &told, credit: UNLIMITED });
    assert_eq!(solo.endpoint.addresses().count(), 0);
    world.nodes[0].solo.leave(conn);
    world.run_for(secs(600));
    assert_eq!(world.nodes[0].dials, 1);
}

#[test]
fn who_greets_with_port_zero_listens_nowhere() {
    let mut solo = Solo::small();
    let conn = solo.accepted(0, 1);
    let greeting = Hand { sender_addr: ([192, 0, 2, 1], 0).into(), ..hand() };
    solo.receive(conn, &message(&Message::Hand(greeting)));
    assert_eq!(solo.info(conn).listening_port, None);
    assert_eq!(solo.endpoint.addresses().count(), 0);
}

#[test]
fn new_outbound_peers_that_offer_addresses_are_asked_for_them() {
    let mut solo = Solo::small();
    for (index, capabilities) in [(0, Capabilities::GRIN_NODE), (1, Capabilities::TX_KERNEL_HASH)] {
        let (conn, _) = solo.dial(index);
        let answer = message(&Message::Shake(codec::Shake { capabilities, ..shake() }));
        let asked = sent_kinds(&solo.receive(conn, &answer)).contains(&Kind::GetPeerAddrs);
        assert_eq!(asked, index == 0);
    }
}

#[test]
fn an_ipv6_host_is_its_64() {
    let mut solo = Solo::with(|config| config.locality = Locality::Internet);
    assert_eq!(accept_from(&mut solo, 0, "[2a01:4f8:1:2::1]:9").1, []);
    let (neighbour, outputs) = accept_from(&mut solo, 1, "[2a01:4f8:1:2:3::4]:9");
    assert_eq!(outputs, refused(neighbour));
    assert_eq!(accept_from(&mut solo, 2, "[2a01:4f8:1:3::1]:9").1, []);
}

#[test]
fn a_host_has_one_connection_even_if_it_names_no_port() {
    for ours_is_greater in [false, true] {
        let mut solo = Solo::small();
        let (ours, _) = solo.dial(0);
        let theirs = ConnId::new(5, 1);
        assert_eq!(solo.handle(Input::Accepted { conn: theirs, addr: addr(0) }), []);
        let nonce = if ours_is_greater { 0 } else { u64::MAX };
        let greeting = Hand { nonce, sender_addr: ([0; 4], 0).into(), ..hand() };
        solo.receive(theirs, &message(&Message::Hand(greeting)));
        assert_eq!(
            [ours, theirs].map(|conn| solo.is_here(conn)),
            [ours_is_greater, !ours_is_greater]
        );
    }
}

#[test]
fn who_wins_over_our_dial_comes_into_a_full_house() {
    let mut solo = Solo::with(|config| {
        config.slots.inbound = 1;
        config.slots.outbound = 1;
    });
    solo.join(50);
    for (index, fits) in [(0, true), (1, false)] {
        let addr = addr(index);
        let (ours, theirs) = (ConnId::new(10 + index, 1), ConnId::new(20 + index, 1));
        solo.handle(Input::Dialed { conn: ours, addr });
        solo.handle(Input::Accepted { conn: theirs, addr });
        solo.receive(theirs, &message(&Message::Hand(Hand { nonce: u64::MAX, ..hand() })));
        assert!(!solo.is_here(ours));
        assert_eq!(solo.is_here(theirs), fits, "so many as we may dial, and no more");
    }
}

/// On loopback a name is only claimed: anybody there may greet with any port.
#[test]
fn a_claimed_name_closes_nobody_and_hides_nobody_who_is_held() {
    let mut solo = Solo::small();
    let held = "127.0.0.1:3414".parse().unwrap();
    let greeting = message(&Message::Hand(Hand { nonce: u64::MAX, sender_addr: held, ..hand() }));
    let (ours, stranger) = (ConnId::new(6, 1), ConnId::new(7, 1));
    solo.handle(Input::Hold { addr: held });
    solo.handle(Input::Dialed { conn: ours, addr: held });
    solo.receive(ours, &message(&Message::Shake(shake())));
    accept_from(&mut solo, 7, "127.0.0.1:9999");
    assert_eq!(solo.receive(stranger, &greeting), refused(stranger));
    assert!(solo.is_here(ours), "it stands, however young");

    solo.leave(ours);
    accept_from(&mut solo, 8, "127.0.0.1:9998");
    let claimant = ConnId::new(8, 1);
    solo.receive(claimant, &greeting);
    assert!(solo.is_here(claimant));
    for _ in 0..5 {
        solo.receive(claimant, &pong(1));
        let outputs = solo.run_for(secs(10));
        if outputs.iter().any(|(_, output)| *output == Out::Dial(held)) {
            let ours = ConnId::new(9, 1);
            let outputs = solo.handle(Input::Dialed { conn: ours, addr: held });
            assert_eq!(sent_kinds(&outputs), [Kind::Hand]);
            solo.receive(ours, &message(&Message::Shake(shake())));
            return assert!(solo.is_here(ours));
        }
    }
    panic!("a claim keeps us from dialling whom the operator wants");
}

#[test]
fn when_we_go_nobody_is_let_in() {
    let mut solo = Solo::small();
    solo.handle(Input::Shutdown);
    let (conn, outputs) = accept_from(&mut solo, 0, "192.0.2.1:1000");
    assert_eq!(outputs, [Out::Close(conn, CloseReason::Shutdown)]);
    let late = ConnId::new(1, 1);
    let outputs = solo.handle(Input::Dialed { conn: late, addr: addr(1) });
    // Trap 8: grin bans whoever hangs up on it before a Hand.
    assert_eq!(sent_kinds(&outputs), [Kind::Hand]);
    assert_eq!(outputs.last(), Some(&Out::Close(late, CloseReason::Shutdown)));
    assert_eq!(solo.endpoint.peers().count(), 0);
}

#[test]
fn of_too_many_that_have_not_greeted_the_largest_group_loses_its_eldest() {
    let mut solo = Solo::with(|config| {
        config.slots.inbound = 2;
        config.slots.greeting = 4;
        config.locality = Locality::Internet;
    });
    // Free places of peers may be used for greeting; a peer takes one away.
    for (index, text) in (0..).zip(["9.1.1.1:1", "9.2.1.1:1", "9.2.1.2:1", "9.3.1.1:1"]) {
        assert_eq!(accept_from(&mut solo, index, text).1, []);
    }
    solo.receive(ConnId::new(0, 1), &message(&Message::Hand(hand())));
    for (index, text) in [(4, "9.4.1.1:1"), (5, "9.5.1.1:1")] {
        assert_eq!(accept_from(&mut solo, index, text).1, []);
    }
    for (index, victim) in [(6, 1), (7, 2), (8, 3)] {
        let text = format!("9.{}.1.1:1", 10 + index);
        let expected = [Out::Close(ConnId::new(victim, 1), CloseReason::NoRoom)];
        assert_eq!(accept_from(&mut solo, index, &text).1, expected);
    }
    assert_eq!(solo.endpoint.peers().count(), 6);
}
