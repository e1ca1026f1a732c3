//! Many endpoints, each with a chain: a transaction reaches all of them, whatever its stem meets.

use std::collections::{BTreeMap, BTreeSet};

use codec::{Kind, Payload};
use peer::{Config, DandelionRules, FromChain, Input, Rng, Scheme, ToChain, Verdict};

use super::SCHEMES;
use crate::solo::{NET, UNLIMITED, millis, transaction};
use crate::world::World;

/// A chain whose transactions are numbers of four bytes, which can be aggregated.
#[derive(Default)]
struct Chain {
    pool: BTreeSet<u32>,
    /// How often each body came as a transaction.
    heard: BTreeMap<Vec<u8>, u32>,
    fluffed: u32,
    stems: u32,
    /// Takes stems, and never lets them go on.
    swallows: bool,
}

struct Net {
    world: World,
    chains: Vec<Chain>,
    aggregates: u32,
}

fn numbers(payload: &Payload) -> Vec<u32> {
    payload.body().chunks(4).map(|body| u32::from_be_bytes(body.try_into().unwrap())).collect()
}

impl Net {
    /// Each node dials three others, at random.
    fn new(scheme: Scheme, count: usize, seed: u8) -> Self {
        let mut dice = Rng::from_seed([seed; 32]);
        let configs = (0..count).map(|node| {
            let mut others: Vec<usize> = (0..count).filter(|other| *other != node).collect();
            dice.shuffle(&mut others);
            let mut config: Config = World::config();
            config.slots.outbound = 0;
            config.connect = others[..3].iter().map(|other| World::addr(*other)).collect();
            config.dandelion = DandelionRules::of(scheme);
            config
        });
        let world = World::new(configs.collect(), seed).smooth();
        let chains = (0..count).map(|_| Chain::default()).collect();
        let mut net = Self { world, chains, aggregates: 0 };
        net.run(2_000);
        net
    }

    fn run(&mut self, millis_in_all: u64) {
        for _ in 0..millis_in_all / 500 {
            self.world.run_for(millis(500));
            // What is told leads to answers, which lead to bytes.
            for _ in 0..40 {
                let quiet = (0..self.chains.len()).all(|node| !self.tell(node));
                self.world.carry();
                if quiet {
                    break;
                }
            }
        }
    }

    /// Hands a chain its events. Whether there were any.
    fn tell(&mut self, node: usize) -> bool {
        if self.world.nodes[node].solo.endpoint.wants_room() {
            self.world.feed(node, Input::Room { credit: UNLIMITED });
        }
        let events = std::mem::take(&mut self.world.nodes[node].events);
        let any = !events.is_empty();
        for event in events {
            self.on_event(node, event);
        }
        any
    }

    fn on_event(&mut self, node: usize, event: ToChain) {
        let chain = &mut self.chains[node];
        let answer = match event {
            ToChain::Payload { from, payload, .. } if payload.kind() == Kind::StemTransaction => {
                chain.stems += 1;
                let is_known = numbers(&payload).iter().any(|number| chain.pool.contains(number));
                let verdict = if is_known { Verdict::Keep } else { Verdict::Accept };
                (!chain.swallows).then_some(FromChain::Verdict { from, payload, verdict })
            }
            ToChain::Payload { from, payload, .. } if payload.kind() == Kind::Transaction => {
                *chain.heard.entry(payload.body().to_vec()).or_default() += 1;
                let verdict = Verdict::Accept;
                self.pool(node, &payload);
                Some(FromChain::Verdict { from, payload, verdict })
            }
            ToChain::Fluffed { payload } => {
                chain.fluffed += 1;
                *chain.heard.entry(payload.body().to_vec()).or_default() += 1;
                self.pool(node, &payload);
                None
            }
            ToChain::Aggregate { batch, stems } => {
                self.aggregates += 1;
                let body: Vec<u8> = stems.iter().flat_map(|stem| stem.body().to_vec()).collect();
                let payload = Payload::seal(&NET, Kind::StemTransaction, &body).ok();
                Some(FromChain::Aggregated { batch, payload })
            }
            _ => None,
        };
        if let Some(answer) = answer {
            self.world.feed(node, Input::FromChain(answer));
        }
    }

    /// It is public, and with it all that it was made of.
    fn pool(&mut self, node: usize, payload: &Payload) {
        self.chains[node].pool.extend(numbers(payload));
        let ids = numbers(payload).into_iter().map(|number| transaction(number).id()).collect();
        self.world.feed(node, Input::FromChain(FromChain::Settled { ids }));
    }

    fn stem(&mut self, node: usize, number: u32) {
        self.world.feed(node, Input::FromChain(FromChain::Stem(transaction(number))));
    }

    fn all_have(&self, count: u32) -> bool {
        let all: BTreeSet<u32> = (0..count).collect();
        self.chains.iter().all(|chain| chain.pool == all)
    }
}

#[test]
fn every_transaction_reaches_everybody_and_once() {
    for scheme in [Scheme::PlusPlus, Scheme::Grin] {
        let mut net = Net::new(scheme, 12, 3);
        for number in 0..10 {
            net.stem(number as usize, number);
            net.run(1_000);
        }
        net.run(400_000);
        assert!(net.all_have(10), "{scheme:?}");
        for chain in &net.chains {
            let once = chain.heard.values().all(|times| *times == 1);
            assert!(once, "{scheme:?}: {:?}", chain.heard);
        }
        assert!(net.chains.iter().map(|chain| chain.stems).sum::<u32>() > 10, "{scheme:?}");
    }
}

#[test]
fn what_is_aggregated_on_its_way_reaches_everybody() {
    for scheme in [Scheme::AggregateOnStem, Scheme::AggregateAndHold] {
        let mut net = Net::new(scheme, 12, 4);
        for number in 0..10 {
            net.stem(number as usize, number);
        }
        net.run(3_000_000);
        assert!(net.all_have(10), "{scheme:?}");
        assert!(net.aggregates > 0, "{scheme:?}");
    }
}

#[test]
fn black_holes_swallow_no_transaction() {
    for scheme in SCHEMES {
        let mut net = Net::new(scheme, 10, 5);
        for node in [1, 3, 5, 7] {
            net.chains[node].swallows = true;
        }
        for number in 0..10 {
            net.stem(number as usize, number);
        }
        net.run(1_400_000);
        assert!(net.all_have(10), "{scheme:?}");
    }
}

#[test]
fn whoever_leaves_takes_no_transaction_along() {
    let mut net = Net::new(Scheme::PlusPlus, 10, 6);
    for number in 0..6 {
        net.stem(number as usize, number);
    }
    for node in 6..10 {
        net.world.kill(node);
    }
    net.run(1_000_000);
    for chain in &net.chains[..6] {
        assert_eq!(chain.pool, (0..6).collect());
    }
}
