//! Addresses: whom we hear of and tell of, and what of it outlives a process.

use std::net::SocketAddr;

use codec::{Capabilities, Context, Hand, Kind, Message, Payload, PeerAddrs, Shake};
use peer::{
    Change, CloseReason, Config, ConnId, Endpoint, Input, Locality, Restored, Seed, UnixTime,
};

use crate::solo::{
    NET, Out, Solo, addr, closes, hand, message, passive, pong, secs, sent_kinds, shake,
};
use crate::world::World;

/// Addresses that could be dialled, each of a group of its own.
fn some_addrs(count: u32) -> Vec<SocketAddr> {
    let addr = |n: u32| SocketAddr::from(([20 + (n >> 8) as u8, n as u8, 0, 1], 3414));
    (0..count).map(addr).collect()
}

fn told(addrs: &[SocketAddr]) -> Vec<u8> {
    addrs.chunks(256).flat_map(|part| message(&Message::PeerAddrs(PeerAddrs::new(part)))).collect()
}

fn asks() -> Vec<u8> {
    message(&Message::GetPeerAddrs(Capabilities::PEER_LIST))
}

/// The addresses in what was sent.
fn answered(outputs: &[Out]) -> Option<Vec<SocketAddr>> {
    outputs.iter().find_map(|output| match output {
        Out::Send(_, payload) if payload.kind() == Kind::PeerAddrs => Some(listed(payload)),
        _ => None,
    })
}

fn listed(payload: &Payload) -> Vec<SocketAddr> {
    let context = Context { version: 1000, network: &NET };
    let Ok(Message::PeerAddrs(addrs)) = Message::decode(payload.kind(), payload.body(), &context)
    else {
        panic!("{payload:?}")
    };
    addrs.iter().collect()
}

fn known(endpoint: &Endpoint) -> Vec<SocketAddr> {
    let mut known: Vec<_> = endpoint.addresses().map(|record| record.addr).collect();
    known.sort_unstable();
    known
}

/// Makes these addresses ones that the endpoint itself has reached.
fn reach(solo: &mut Solo, addrs: &[SocketAddr]) {
    for (index, addr) in addrs.iter().enumerate() {
        let conn = ConnId::new(1_000 + index as u32, 1);
        assert_eq!(solo.handle(Input::Hold { addr: *addr }), [Out::Dial(*addr)]);
        solo.handle(Input::Dialed { conn, addr: *addr });
        let capabilities = Capabilities::PEER_LIST;
        solo.receive(conn, &message(&Message::Shake(Shake { capabilities, ..shake() })));
        assert!(solo.is_here(conn));
    }
}

/// Trap 4: only the port of a Hand's sender counts; the IP is the socket's.
#[test]
fn who_greets_is_heard_from_itself() {
    let mut solo = Solo::small();
    solo.join(3);
    let records: Vec<_> = solo.endpoint.addresses().collect();
    let [record] = &records[..] else { panic!("{records:?}") };
    let port = hand().sender_addr.port();
    assert_eq!(record.addr, SocketAddr::new(addr(3).ip(), port));
    assert_eq!((record.source, record.tried), (addr(3).ip(), false));
    assert_eq!(record.capabilities, hand().capabilities);
}

/// A peer that we dialled and, since it offers some, asked for addresses.
fn asked(solo: &mut Solo, index: u32) -> ConnId {
    let (conn, _) = solo.dial(index);
    let capabilities = Capabilities::PEER_LIST;
    let shake = Message::Shake(Shake { capabilities, ..shake() });
    assert!(sent_kinds(&solo.receive(conn, &message(&shake))).contains(&Kind::GetPeerAddrs));
    conn
}

#[test]
fn who_was_not_asked_tells_one_address_however_often_it_comes() {
    let mut solo = Solo::small();
    let addrs = some_addrs(1_000);
    for generation in 1..=20 {
        let conn = solo.join_as(0, generation);
        solo.receive(conn, &told(&addrs));
        solo.leave(conn);
    }
    assert_eq!(solo.endpoint.counts().addresses_heard, 1);
}

#[test]
fn addresses_are_taken_at_a_rate_and_the_others_counted() {
    let mut solo = Solo::with(|config| {
        config.rates.addresses.burst = 300;
        config.book.new_buckets = 1_024;
    });
    let conn = asked(&mut solo, 0);
    solo.receive(conn, &told(&some_addrs(400)));
    let counts = solo.endpoint.counts().clone();
    assert_eq!((counts.addresses_heard, counts.addresses_passed_over), (300, 100));
    assert!(counts.addresses_new > 100 && counts.addresses_new <= 300);
    assert_eq!(solo.endpoint.address_counts().1, 1, "hearsay is not tried, who tells it is");
    // Ten seconds are one address.
    solo.now = solo.now.after(secs(40));
    solo.receive(conn, &told(&some_addrs(400)[..10]));
    let counts = solo.endpoint.counts();
    assert_eq!((counts.addresses_heard, counts.addresses_passed_over), (304, 106));
}

/// Trap 12: `::1` and `::` come out of grin's reader as 0.0.0.1 and 0.0.0.0.
#[test]
fn addresses_that_nobody_can_dial_are_not_taken() {
    let mut solo = Solo::with(|config| config.locality = Locality::Internet);
    let conn = asked(&mut solo, 0);
    let before = known(&solo.endpoint);
    let useless = [
        "[::1]:3414",
        "[::]:3414",
        "0.0.0.1:3414",
        "10.0.0.1:3414",
        "127.0.0.1:3414",
        "8.8.8.8:0",
        "[ff02::1]:3414",
        "255.255.255.255:3414",
    ];
    solo.receive(conn, &told(&useless.map(|addr| addr.parse().unwrap())));
    assert_eq!(known(&solo.endpoint), before);
    solo.receive(conn, &told(&["[::ffff:8.8.8.8]:3414".parse().unwrap()]));
    assert!(known(&solo.endpoint).contains(&"8.8.8.8:3414".parse().unwrap()), "made canonical");
}

#[test]
fn addresses_are_told_once_a_connection_and_only_those_reached() {
    let mut solo = Solo::small();
    let reached = some_addrs(200);
    reach(&mut solo, &reached);
    let teller = asked(&mut solo, 1);
    solo.receive(teller, &told(&some_addrs(400)[200..]));
    let conn = solo.join(0);
    let first = answered(&solo.receive(conn, &asks())).unwrap();
    assert!(!first.is_empty() && first.len() <= 200 * 23 / 100, "{}", first.len());
    assert!(first.iter().all(|told| reached.contains(told) || *told == addr(1)));
    assert_eq!(solo.receive(conn, &asks()), [], "once");
    assert_eq!(solo.endpoint.counts().address_requests_passed_over, 1);

    solo.leave(conn);
    let again = solo.join_as(0, 2);
    let second = answered(&solo.receive(again, &asks())).unwrap();
    assert_eq!(first, second, "asking again tells nothing new");
}

#[test]
fn who_asks_is_not_told_its_own_address() {
    let mut solo = Solo::small();
    let reached = some_addrs(60);
    reach(&mut solo, &reached);
    // Each address is in the sample of some group; an asker there never hears of itself.
    for (index, own) in reached.iter().enumerate() {
        let closed = ConnId::new(1_000 + index as u32, 1);
        solo.leave(closed);
        let conn = ConnId::new(index as u32, 7);
        solo.handle(Input::Accepted { conn, addr: SocketAddr::new(own.ip(), 50_000) });
        let greeting = Hand { sender_addr: *own, ..hand() };
        solo.receive(conn, &message(&Message::Hand(greeting)));
        let sample = answered(&solo.receive(conn, &asks())).unwrap();
        assert!(!sample.is_empty() && !sample.contains(own), "{own}: {sample:?}");
    }
}

#[test]
fn an_outbound_handshake_makes_an_address_tried_and_another_genesis_forgets_it() {
    let mut solo = Solo::small();
    let conn = asked(&mut solo, 9);
    let [good, bad] = [addr(1), addr(2)];
    solo.receive(conn, &told(&[good, bad]));
    let (ours, _) = solo.dial(1);
    solo.receive(ours, &message(&Message::Shake(shake())));
    let (other, _) = solo.dial(2);
    let genesis = codec::Hash([9; 32]);
    solo.receive(other, &message(&Message::Shake(Shake { genesis, ..shake() })));
    let record = solo.endpoint.addresses().find(|record| record.addr == good).unwrap();
    assert!(record.tried);
    assert_eq!(record.capabilities, shake().capabilities);
    assert!(!known(&solo.endpoint).contains(&bad));
}

#[test]
fn a_connection_that_ends_leaves_the_time_at_which_it_was_seen() {
    let mut solo = Solo::with(|config| config.started = UnixTime::from_secs(1_000_000));
    let (conn, _) = solo.dial(0);
    solo.receive(conn, &message(&Message::Shake(shake())));
    for _ in 0..50 {
        solo.run_for(secs(50));
        solo.receive(conn, &pong(1));
    }
    solo.leave(conn);
    let record = solo.endpoint.addresses().next().unwrap();
    assert_eq!(record.last_success, UnixTime::from_secs(1_000_000));
    assert_eq!(record.last_seen, UnixTime::from_secs(1_002_500));
}

#[test]
fn our_address_is_what_enough_groups_say() {
    let mut solo = Solo::with(|config| config.advertised.set_port(3414));
    let reached: SocketAddr = "203.0.113.5:1".parse().unwrap();
    let greet = |solo: &mut Solo, index: u8, receiver_addr| {
        let conn = ConnId::new(index.into(), 1);
        solo.handle(Input::Accepted { conn, addr: ([40 + index, 1, 1, 1], 9).into() });
        let greeting = Hand { receiver_addr, ..hand() };
        solo.receive(conn, &message(&Message::Hand(greeting)));
    };
    greet(&mut solo, 0, reached);
    assert_eq!(solo.endpoint.external_address(), None, "one is not enough");
    for index in 1..10 {
        greet(&mut solo, index, reached);
    }
    for index in 10..14 {
        greet(&mut solo, index, "203.0.113.66:1".parse().unwrap());
    }
    assert_eq!(solo.endpoint.external_address(), Some("203.0.113.5:3414".parse().unwrap()));
    let configured = "198.51.100.7:3414".parse().unwrap();
    let solo = Solo::with(|config| config.advertised = configured);
    assert_eq!(solo.endpoint.external_address(), Some(configured));
}

/// Three nodes in a row: the ends come to know each other through the middle.
#[test]
fn addresses_travel_through_a_common_peer() {
    let mut configs = vec![World::config(), World::config(), World::config()];
    configs[0].seeds = vec![Seed::Addr(World::addr(1))];
    configs[2].seeds = vec![Seed::Addr(World::addr(1))];
    let mut world = World::new(configs, 6);
    world.run_for(secs(120));
    for node in 0..3 {
        let peers = world.peers_of(node);
        assert_eq!(peers.len(), 2, "node {node} has {peers:?}");
        assert!(peers.iter().all(|peer| peer.established));
        let tried = world.nodes[node].solo.endpoint.address_counts().1;
        assert!(tried >= 1 || node == 1, "node {node}");
    }
}

#[test]
fn a_name_is_resolved_when_there_is_nobody_else() {
    let mut configs = vec![World::config(), World::config()];
    configs[0].seeds = vec![Seed::Name("seed.example".to_owned())];
    let mut world = World::new(configs, 6);
    world.names.insert("seed.example".into(), vec![World::addr(1)]);
    world.run_for(secs(30));
    assert_eq!(world.peers_of(0).len(), 1);
    assert!(world.nodes[0].solo.endpoint.counts().reseeds >= 1);
}

/// What an endpoint wants kept, as a store would give it back.
fn kept(endpoint: &mut Endpoint) -> Restored {
    let mut changes = Vec::new();
    for _ in 0..10_000 {
        let before = changes.len();
        endpoint.take_changes(7, &mut changes);
        assert!(changes.len() <= before + 7, "no more than was asked for");
        if changes.len() == before {
            break;
        }
    }
    assert!(!endpoint.has_changes());
    let mut restored = Restored::default();
    for change in changes {
        match change {
            Change::Address(record) => {
                restored.addresses.retain(|old| old.addr != record.addr);
                restored.addresses.push(record);
            }
            Change::AddressGone(addr) => restored.addresses.retain(|old| old.addr != addr),
            Change::Ban(ban) => {
                restored.bans.retain(|old| old.target != ban.target);
                restored.bans.push(ban);
            }
            Change::BanGone(target) => restored.bans.retain(|old| old.target != target),
            Change::Anchors(anchors) => restored.anchors = anchors,
            Change::Secret(secret) => restored.secret = Some(secret),
        }
    }
    restored
}

#[test]
fn what_was_kept_gives_the_same_book_again() {
    let mut solo = Solo::small();
    let conn = asked(&mut solo, 0);
    solo.receive(conn, &told(&some_addrs(300)));
    reach(&mut solo, &some_addrs(40));
    let restored = kept(&mut solo.endpoint);
    assert!(restored.secret.is_some(), "without it the places would be others");
    let mut again = Solo::new(passive(NET), 99);
    again.handle(Input::Restored(restored));
    let records = |endpoint: &Endpoint| {
        let mut records: Vec<_> = endpoint.addresses().collect();
        records.sort_by_key(|record| record.addr);
        records
    };
    assert_eq!(records(&again.endpoint), records(&solo.endpoint));
    assert_eq!(again.endpoint.address_counts(), solo.endpoint.address_counts());
}

fn cluster(count: usize) -> Vec<Config> {
    let config = |node| {
        let mut config = World::config();
        config.slots.outbound = 3;
        config.slots.outbound_floor = 1;
        if node > 0 {
            config.seeds = vec![Seed::Addr(World::addr(0))];
        }
        config
    };
    (0..count).map(config).collect()
}

#[test]
fn the_longest_lived_outbound_peers_are_dialled_first_after_a_restart() {
    let configs = cluster(12);
    let mut world = World::new(configs.clone(), 3);
    world.run_for(secs(300));
    let outbound = |world: &World| -> Vec<peer::PeerInfo> {
        let peers = world.peers_of(11).into_iter();
        peers.filter(|peer| peer.direction == peer::Direction::Outbound).collect()
    };
    let mut before = outbound(&world);
    assert_eq!(before.len(), 3, "the target is met: {before:?}");
    before.sort_by_key(|peer| std::cmp::Reverse(peer.age));
    let restored = kept(&mut world.nodes[11].solo.endpoint);
    assert_eq!(restored.anchors.len(), 2);
    for peer in before.iter().filter(|peer| !restored.anchors.contains(&peer.addr)) {
        assert!(peer.age <= before[1].age, "{peer:?} lived longer than {:?}", restored.anchors);
    }

    world.kill(11);
    world.run_for(secs(1));
    let anchors = restored.anchors.clone();
    let mut config = configs[11].clone();
    config.seeds.clear();
    world.revive(11, config, 42);
    let (_, outputs) = world.nodes[11].solo.step(Input::Restored(restored));
    let dials: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Out::Dial(addr) => Some(*addr),
            _ => None,
        })
        .take(2)
        .collect();
    assert!(dials.iter().all(|addr| anchors.contains(addr)) && dials.len() == 2, "{dials:?}");
    for output in outputs {
        world.perform(11, output);
    }
    world.run_for(secs(60));
    assert_eq!(outbound(&world).len(), 3);
}

#[test]
fn anchors_are_told_at_shutdown() {
    let mut world = World::new(cluster(12), 3);
    world.run_for(secs(30));
    let _ = kept(&mut world.nodes[11].solo.endpoint);
    world.feed(11, Input::Shutdown);
    world.run_for(secs(1));
    // Told now, or a minute after the first of them came.
    let restored = kept(&mut world.nodes[11].solo.endpoint);
    assert!(restored.anchors.len() == 2, "{restored:?}");
    world.run_for(secs(300));
    assert_eq!(kept(&mut world.nodes[11].solo.endpoint).anchors, [], "the last word was said");
}

#[test]
fn who_comes_when_all_outbound_places_are_taken_was_only_probed() {
    let mut configs = cluster(8);
    for config in &mut configs {
        config.slots.outbound = 1;
        config.slots.feeler_period = secs(5);
    }
    let mut world = World::new(configs, 3);
    world.run_for(secs(900));
    let (mut probed, mut reached) = (0, 0);
    for node in &world.nodes {
        let probes = |reason: &&CloseReason| **reason == CloseReason::Probed;
        probed += node.closes.iter().filter(probes).count();
        reached += node.solo.endpoint.address_counts().1;
        assert_eq!(node.solo.endpoint.counts().outbound, 1);
    }
    // Who is connected already is not probed, and that is some of eight.
    assert!(probed > 8 && reached > 3 * 8, "{probed} probes, {reached} reached");
}

#[test]
fn a_probe_is_asked_nothing_and_told_goodbye() {
    let mut solo = Solo::with(|config| config.slots.outbound = 0);
    // Nobody wanted this dial any more when it came to stand.
    let conn = ConnId::new(0, 1);
    solo.handle(Input::Dialed { conn, addr: addr(0) });
    let capabilities = Capabilities::GRIN_NODE;
    let outputs = solo.receive(conn, &message(&Message::Shake(Shake { capabilities, ..shake() })));
    assert_eq!(sent_kinds(&outputs), [Kind::BanReason]);
    assert_eq!(outputs.last(), Some(&Out::Close(conn, CloseReason::Probed)));
    assert!(solo.endpoint.addresses().all(|record| record.addr != addr(0) || record.tried));
    assert_eq!(closes(&solo.run_for(secs(100))), []);
}

#[test]
fn peers_are_asked_for_addresses_while_some_are_missing() {
    let mut solo = Solo::with(|config| config.slots.outbound = 8);
    let conn = solo.join(0);
    let outputs: Vec<Out> = solo.run_for(secs(15)).into_iter().map(|(_, output)| output).collect();
    assert!(sent_kinds(&outputs).contains(&Kind::GetPeerAddrs));
    assert!(solo.is_here(conn));
}

fn nonce_of(hand: &Payload) -> u64 {
    let context = Context { version: 1000, network: &NET };
    let Ok(Message::Hand(hand)) = Message::decode(Kind::Hand, hand.body(), &context) else {
        panic!("{hand:?}")
    };
    hand.nonce
}

/// Somebody greets with the nonce of our own greeting.
fn echo(solo: &mut Solo, index: u32, from: SocketAddr, nonce: u64) {
    let conn = ConnId::new(index, 1);
    assert_eq!(solo.handle(Input::Accepted { conn, addr: from }), []);
    let outputs = solo.receive(conn, &message(&Message::Hand(Hand { nonce, ..hand() })));
    assert_eq!(outputs.last(), Some(&Out::Close(conn, CloseReason::Myself)));
}

#[test]
fn who_gives_our_nonce_away_wins_no_second_outbound_place() {
    for answers_first in [true, false] {
        let mut solo = Solo::with(|config| {
            config.slots.outbound = 1;
            config.slots.outbound_floor = 0;
            config.locality = Locality::Internet;
        });
        let mut outputs = Vec::new();
        for n in 1..=6 {
            let teller = solo.join(n);
            outputs.extend(solo.receive(teller, &told(&[([66, 66, n as u8, 1], 3414).into()])));
        }
        assert_eq!(solo.endpoint.counts().addresses_heard, 6);
        let mut index = 100;
        for _ in 0..100 {
            outputs.extend(solo.run_for(secs(5)).into_iter().map(|(_, output)| output));
            for output in std::mem::take(&mut outputs) {
                let Out::Dial(addr) = output else { continue };
                let ours = ConnId::new(index, 1);
                let sent = solo.handle(Input::Dialed { conn: ours, addr });
                let Some(Out::Send(_, greeting)) = sent.first() else { continue };
                let answer = message(&Message::Shake(shake()));
                if answers_first {
                    outputs.extend(solo.receive(ours, &answer));
                }
                echo(&mut solo, index + 1, ([77, index as u8, 1, 1], 5).into(), nonce_of(greeting));
                if solo.is_here(ours) && !answers_first {
                    outputs.extend(solo.receive(ours, &answer));
                }
                index += 2;
            }
            let here: Vec<_> = solo.endpoint.peers().map(|info| info.conn).collect();
            for conn in here {
                solo.receive(conn, &pong(1));
            }
            assert!(solo.endpoint.counts().outbound <= 1);
        }
        assert!(index > 100, "somebody was dialled");
    }
}

#[test]
fn an_echo_of_our_nonce_unholds_nobody() {
    let mut solo = Solo::small();
    let (ours, greeting) = solo.dial(0);
    echo(&mut solo, 9, addr(9), nonce_of(&greeting));
    assert!(!solo.is_here(ours));
    let dials = solo.run_for(secs(90));
    assert!(dials.iter().any(|(_, output)| *output == Out::Dial(addr(0))), "{dials:?}");
}

#[test]
fn a_dial_that_was_not_made_is_no_failure_of_its_address() {
    let mut solo = Solo::with(|config| {
        config.slots.outbound = 1;
        config.slots.outbound_floor = 0;
        config.slots.feeler_period = secs(1_000_000);
    });
    let only = some_addrs(1)[0];
    let teller = ConnId::new(7, 1);
    solo.handle(Input::Accepted { conn: teller, addr: addr(7) });
    let greeting = Hand { sender_addr: ([0; 4], 0).into(), ..hand() };
    solo.receive(teller, &message(&Message::Hand(greeting)));
    solo.receive(teller, &told(&[only]));
    let mut dials = 0;
    for _ in 0..20 {
        for (_, output) in solo.run_for(secs(2)) {
            if output == Out::Dial(only) {
                dials += 1;
                assert_eq!(solo.handle(Input::NotDialed { addr: only }), []);
            }
        }
        solo.receive(teller, &pong(1));
    }
    assert!((10..=40).contains(&dials), "again and again, and not at once: {dials}");
    let record = solo.endpoint.addresses().find(|record| record.addr == only).unwrap();
    assert_eq!(record.failures, 0);

    assert_eq!(solo.handle(Input::Hold { addr: addr(1) }), [Out::Dial(addr(1))]);
    solo.handle(Input::NotDialed { addr: addr(1) });
    let dials = solo.run_for(secs(6));
    assert!(dials.iter().any(|(_, output)| *output == Out::Dial(addr(1))), "still held");
}
