//! A probe cannot tell who holds a stem: two endpoints with the same public inputs, of which one
//! also holds stems, look the same to whoever asks, until the stems are public.

use std::collections::BTreeMap;

use codec::{
    Capabilities, GetPool, Hand, Hash, Item, Kind, Locator, Message, Offer, Payload, Records, Shake,
};
use peer::{
    Config, ConnId, DandelionRules, FromChain, Input, Instant, Recipients, Request, Scheme,
    ToChain, Verdict,
};

use super::{SCHEMES, stem, told};
use crate::solo::{NET, Out, Solo, hand, message, passive, ping, secs, shake, transaction};

/// An endpoint with its chain, and all that its probes could see.
struct House {
    solo: Solo,
    /// What the chain has in its pool. Stems are in none that queries look into.
    pool: BTreeMap<Hash, Payload>,
    probes: Vec<ConnId>,
    seen: Vec<(Instant, ConnId, Seen)>,
    fluffed: Vec<Payload>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    Bytes(Vec<u8>),
    Closed,
}

/// Outbound peers 0 to 2; an outbound probe, 3; inbound probes 10 to 12, of which one speaks our
/// extension and one an old version; and an inbound peer that brings stems, 20.
const OUTBOUND_PROBE: u32 = 3;
const BRINGER: u32 = 20;

impl House {
    fn new(scheme: Scheme, extension: bool) -> Self {
        let mut config: Config = passive(NET);
        config.extension = extension;
        config.silence_timeout = secs(1_000_000);
        config.dandelion = DandelionRules::of(scheme);
        config.dandelion.fluff_percent = 0;
        let mut house = Self {
            solo: Solo::new(config, 7),
            pool: BTreeMap::new(),
            probes: Vec::new(),
            seen: Vec::new(),
            fluffed: Vec::new(),
        };
        let all = Capabilities::GRIN_NODE | Capabilities::EXTENSION;
        for index in 0..=OUTBOUND_PROBE {
            let (conn, _) = house.solo.dial(index);
            if index == OUTBOUND_PROBE {
                house.probes.push(conn);
            }
            let capabilities = if index == OUTBOUND_PROBE { all } else { shake().capabilities };
            house.give(conn, &message(&Message::Shake(Shake { capabilities, ..shake() })));
        }
        let versions = [(10, all, 1000), (11, Capabilities::GRIN_NODE, 1000), (12, all, 2)];
        for (index, capabilities, version) in versions {
            let conn = house.solo.accepted(index, 1);
            house.probes.push(conn);
            let hand = Hand { capabilities, version, ..hand() };
            house.give(conn, &message(&Message::Hand(hand)));
        }
        house.solo.join(BRINGER);
        house
    }

    fn give(&mut self, conn: ConnId, bytes: &[u8]) {
        let outputs = self.solo.receive(conn, bytes);
        self.note(outputs);
    }

    fn command(&mut self, command: FromChain) {
        let outputs = self.solo.handle(Input::FromChain(command));
        self.note(outputs);
    }

    /// Notes what probes see, and does what the chain does.
    fn note(&mut self, outputs: Vec<Out>) {
        let now = self.solo.now;
        for output in outputs {
            match output {
                Out::Send(to, payload) => {
                    let to = match to {
                        Recipients::One(conn) => vec![conn],
                        Recipients::Many(conns) => conns,
                    };
                    for conn in to.into_iter().filter(|conn| self.probes.contains(conn)) {
                        self.seen.push((now, conn, Seen::Bytes(payload.frame().to_vec())));
                    }
                }
                Out::Close(conn, _) => self.seen.push((now, conn, Seen::Closed)),
                Out::ToChain(event) => self.on_event(event),
                Out::Opens(_)
                | Out::Told(..)
                | Out::Datagram(..)
                | Out::Dial(_)
                | Out::Resolve(_) => {}
            }
        }
        for event in told(&mut self.solo) {
            self.on_event(event);
        }
    }

    fn on_event(&mut self, event: ToChain) {
        match event {
            ToChain::Payload { from, payload, .. } => {
                if payload.kind() == Kind::Transaction {
                    self.pool.insert(payload.id(), payload.clone());
                }
                self.command(FromChain::Verdict { from, payload, verdict: Verdict::Accept });
            }
            ToChain::Requested { from, request } => {
                let asked = match request {
                    Request::Transaction(id) => id,
                    Request::Block(id) | Request::CompactBlock(id) => id,
                    _ => return,
                };
                let to = from.conn;
                match self.pool.get(&asked).cloned() {
                    Some(payload) => self.command(FromChain::Deliver { to, payload }),
                    None => {
                        let kind = Kind::Transaction;
                        self.command(FromChain::NotFound { to, kind, id: asked });
                    }
                }
            }
            ToChain::Announced { id, .. } if !self.pool.contains_key(&id) => {
                self.command(FromChain::Fetch { kind: Kind::Transaction, id });
            }
            ToChain::PoolWanted => {
                let ids = self.pool.keys().copied().collect();
                self.command(FromChain::Pool { ids });
            }
            ToChain::Fluffed { payload } => {
                self.pool.insert(payload.id(), payload.clone());
                self.fluffed.push(payload);
            }
            _ => {}
        }
    }

    fn wait(&mut self, millis: u64) {
        let end = self.solo.now.after(std::time::Duration::from_millis(millis));
        while let Some(due) = self.solo.endpoint.poll_timeout().filter(|due| *due <= end) {
            self.solo.now = due.max(self.solo.now);
            let outputs = self.solo.handle(Input::Timeout);
            self.note(outputs);
        }
        self.solo.now = end;
    }
}

/// All that a probe might ask about a transaction.
fn questions(id: Hash) -> Vec<Vec<u8>> {
    let item = |kind| Item { kind, id };
    let (items, locator) = ([item(Kind::Transaction)], [id]);
    let blocks = [item(Kind::Block), item(Kind::CompactBlock)];
    let offers = [Offer { item: items[0], bytes: 4 }];
    let large = [Offer { item: items[0], bytes: 1_000_000 }];
    let messages = [
        Message::GetTransaction(id),
        Message::GetBlock(id),
        Message::GetCompactBlock(id),
        Message::GetHeaders(Locator::new(&locator)),
        Message::Want(Records::new(&items)),
        Message::Want(Records::new(&blocks)),
        Message::NotFound(Records::new(&items)),
        Message::GetPool(GetPool { salt: 5, from: 0 }),
        Message::TransactionKernel(id),
        Message::Have(Records::new(&offers)),
        Message::Coming(Records::new(&large)),
        Message::GetTransaction(id),
        Message::Want(Records::new(&items)),
        Message::GetPeerAddrs(Capabilities::PEER_LIST),
    ];
    messages.iter().map(message).collect()
}

/// The same public events, at the same times.
fn each(houses: &mut [House; 2], mut act: impl FnMut(&mut House)) {
    houses.iter_mut().for_each(&mut act);
    compare(houses);
}

fn compare(houses: &[House; 2]) {
    assert_eq!(houses[0].seen, houses[1].seen, "a probe can tell them apart");
}

#[test]
fn a_probe_cannot_tell_who_holds_a_stem() {
    for scheme in SCHEMES {
        for extension in [true, false] {
            probe(scheme, extension);
        }
    }
}

fn probe(scheme: Scheme, extension: bool) {
    let mut houses = [(); 2].map(|()| House::new(scheme, extension));
    compare(&houses);
    // The holder has one of its own, one of a peer, and one more that waits if the scheme gathers.
    // The outbound probe must not be whom they go to: that one sees them by right.
    let holder = &mut houses[0];
    let bringer = ConnId::new(BRINGER, 1);
    holder.command(FromChain::Stem(transaction(1)));
    holder.give(bringer, stem(2).frame());
    let to_probe = |house: &House| {
        let is_stem = |bytes: &[u8]| bytes[2] == Kind::StemTransaction as u8;
        house.seen.iter().any(|(_, _, seen)| matches!(seen, Seen::Bytes(it) if is_stem(it)))
    };
    if to_probe(holder) {
        holder.seen.retain(|(_, _, seen)| {
            !matches!(seen, Seen::Bytes(bytes) if bytes[2] == Kind::StemTransaction as u8)
        });
    }
    each(&mut houses, |house| house.command(FromChain::Publish(transaction(50))));
    let probes = houses[0].probes.clone();
    for round in 0..3 {
        for probe in &probes {
            for number in [1, 2, 50, 60] {
                for question in questions(transaction(number).id()) {
                    each(&mut houses, |house| house.give(*probe, &question));
                }
            }
            each(&mut houses, |house| house.give(*probe, &ping(round)));
            each(&mut houses, |house| house.give(*probe, transaction(50).frame()));
            each(&mut houses, |house| house.give(*probe, transaction(70).frame()));
        }
        each(&mut houses, |house| house.wait(2_500));
    }
    // A probe that spreads one of the stems itself makes it public, for whoever holds it and for
    // whoever does not.
    each(&mut houses, |house| house.give(probes[1], transaction(2).frame()));
    each(&mut houses, |house| house.give(probes[2], transaction(2).frame()));
    // What is left is fluffed in the end: to everybody, as if the chain had just published it.
    let before = houses[0].fluffed.len();
    for _ in 0..20_000 {
        houses.iter_mut().for_each(|house| house.wait(100));
        if houses[0].fluffed.len() > before {
            break;
        }
    }
    assert_eq!(houses[0].fluffed[before..], [transaction(1)], "{scheme:?}");
    assert_eq!(houses[1].fluffed, []);
    let seen_of = |house: &House| {
        let mut seen: Vec<_> =
            house.seen.iter().map(|(_, conn, seen)| (*conn, format!("{seen:?}"))).collect();
        seen.sort_unstable();
        seen
    };
    houses[1].command(FromChain::Publish(transaction(1)));
    houses[1].pool.insert(transaction(1).id(), transaction(1));
    houses.iter_mut().for_each(|house| house.wait(5_000));
    let [holder, other] = houses.each_ref().map(|house| {
        let mut seen = seen_of(house);
        seen.retain(|(_, seen)| *seen != format!("{:?}", Seen::Bytes(stem(1).frame().to_vec())));
        seen
    });
    assert_eq!(holder, other, "{scheme:?}");
    for probe in &probes {
        for question in questions(transaction(1).id()) {
            let from = houses.each_ref().map(|house| house.seen.len());
            houses.iter_mut().for_each(|house| house.give(*probe, &question));
            assert_eq!(houses[0].seen[from[0]..], houses[1].seen[from[1]..]);
        }
    }
}
