//! What holds whatever happens.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::world::World;
use super::*;
use crate::rng::Rng;
use HyParViewMessage::{Shuffle, ShuffleReply};

/// Small views, so that every rule about full ones is used.
fn small() -> HyParViewRules {
    HyParViewRules { sampler_every: 3, ..HyParViewRules::sized(3) }
}

#[derive(Clone, Debug)]
enum Step {
    Join(usize, usize),
    Leave(usize),
    Kill(usize),
    Revive(usize, usize),
    Cut(usize, usize),
    Refuse(usize, usize),
    Heal,
    Run(u64),
}

const NODES: usize = 10;

fn step() -> impl Strategy<Value = Step> {
    let n = || 0..NODES;
    prop_oneof![
        4 => (n(), n()).prop_map(|(n, contact)| Step::Join(n, contact)),
        1 => n().prop_map(Step::Leave),
        1 => n().prop_map(Step::Kill),
        2 => (n(), n()).prop_map(|(n, contact)| Step::Revive(n, contact)),
        3 => (n(), n()).prop_map(|(n, peer)| Step::Cut(n, peer)),
        2 => (n(), n()).prop_map(|(n, peer)| Step::Refuse(n, peer)),
        1 => Just(Step::Heal),
        4 => (0..400_u64).prop_map(Step::Run),
        2 => (400..90_000_u64).prop_map(Step::Run),
    ]
}

fn perform(world: &mut World, step: &Step) {
    match *step {
        Step::Join(n, contact) => world.join(n, &[contact]),
        Step::Leave(n) => world.feed(n, HyParViewInput::Leave),
        Step::Kill(n) => world.kill(n),
        Step::Revive(n, contact) => {
            world.revive(n);
            world.join(n, &[contact]);
        }
        Step::Cut(n, peer) => world.cut(n, peer),
        Step::Refuse(n, peer) => {
            world.unreachable.insert((n, peer));
        }
        Step::Heal => world.heal(),
        Step::Run(ms) => world.run(Duration::from_millis(ms)),
    }
}

#[derive(Clone, Debug)]
enum Forged {
    Message(u16, HyParViewMessage),
    Connected(u16),
    DialFailed(u16),
    Lost(u16),
    Join(u16),
    Leave,
    Wait(u64),
}

fn forged_message() -> impl Strategy<Value = HyParViewMessage> {
    let n = || 0..14_u16;
    let epoch = || prop_oneof![0..4_u64, any::<u64>()];
    let list = || vec(0..40_u16, 0..12).prop_map(|ns| ns.into_iter().map(addr).collect::<Vec<_>>());
    let priority = prop_oneof![Just(Priority::Low), Just(Priority::High)];
    prop_oneof![
        epoch().prop_map(|epoch| Join { epoch }),
        (n(), 0..8_u8).prop_map(|(n, ttl)| ForwardJoin { peer: addr(n), ttl }),
        (priority, epoch()).prop_map(|(priority, epoch)| Neighbor { priority, epoch }),
        (any::<bool>(), epoch()).prop_map(|(accepted, epoch)| NeighborReply { accepted, epoch }),
        (any::<bool>(), epoch()).prop_map(|(alive, epoch)| Disconnect { alive, epoch }),
        (n(), 0..8_u8, list()).prop_map(|(n, ttl, addrs)| Shuffle {
            origin: addr(n),
            nonce: 1,
            ttl,
            addrs
        }),
        list().prop_map(|addrs| ShuffleReply { nonce: 1, addrs }),
    ]
}

fn forged() -> impl Strategy<Value = Forged> {
    let n = || 0..14_u16;
    prop_oneof![
        8 => (n(), forged_message()).prop_map(|(n, message)| Forged::Message(n, message)),
        3 => n().prop_map(Forged::Connected),
        1 => n().prop_map(Forged::DialFailed),
        2 => n().prop_map(Forged::Lost),
        1 => n().prop_map(Forged::Join),
        1 => Just(Forged::Leave),
        2 => (0..100_000_u64).prop_map(Forged::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// After each event `check` holds at the node; when all is quiet, links are two-way.
    #[test]
    fn links_are_two_way_when_all_is_quiet(
        steps in vec(step(), 1..80),
        seed in any::<u64>(),
        keeps in any::<bool>(),
        twice in prop_oneof![Just(0), Just(10_u64)],
    ) {
        let mut world = World::new(NODES, small(), seed);
        (world.keeps, world.twice) = (keeps, twice);
        for (index, step) in steps.iter().enumerate() {
            perform(&mut world, step);
            if index % 8 == 0 {
                world.quiet();
                prop_assert_eq!(world.one_sided(), [], "after {} steps", index);
            }
        }
        world.quiet();
        prop_assert_eq!(world.one_sided(), []);
    }

    /// Whatever peers and a bad driver say: the invariants hold, and a message goes to nobody
    /// without a connection.
    #[test]
    fn nothing_from_outside_breaks_a_node(inputs in vec(forged(), 1..200)) {
        let mut alone = Alone::with(small());
        let mut connected = BTreeSet::new();
        let mut neighbors = BTreeSet::new();
        for input in inputs {
            let outputs = match input {
                Forged::Message(n, message) => {
                    connected.insert(addr(n));
                    alone.hear(n, message)
                }
                Forged::Connected(n) => {
                    connected.insert(addr(n));
                    alone.connected(n)
                }
                Forged::DialFailed(n) => alone.feed(HyParViewInput::DialFailed { peer: addr(n) }),
                Forged::Lost(n) => {
                    connected.remove(&addr(n));
                    alone.lost(n)
                }
                Forged::Join(n) => alone.join([n]),
                Forged::Leave => alone.feed(HyParViewInput::Leave),
                Forged::Wait(ms) => alone.wait(Duration::from_millis(ms)),
            };
            for output in outputs {
                match output {
                    HyParViewOutput::Send { to, .. } => prop_assert!(connected.contains(&to)),
                    HyParViewOutput::Close { peer } => {
                        connected.remove(&peer);
                    }
                    HyParViewOutput::Up { peer } => prop_assert!(neighbors.insert(peer)),
                    HyParViewOutput::Down { peer } => prop_assert!(neighbors.remove(&peer)),
                    HyParViewOutput::Dial { peer } => prop_assert_ne!(peer, addr(0)),
                }
            }
            prop_assert!(alone.active().into_iter().eq(neighbors.iter().copied()));
        }
    }

    /// As long as somebody of the reserve can be reached, nobody stays alone.
    #[test]
    fn nobody_stays_alone_who_knows_somebody(seed in any::<u64>(), cuts in 1..40_usize) {
        let mut world = World::new(NODES, small(), seed);
        (1..NODES).for_each(|n| world.join(n, &[0]));
        world.run(secs(200));
        let mut dice = Rng::from_seed([cuts as u8; 32]);
        for _ in 0..cuts {
            let n = dice.below(NODES as u64) as usize;
            world.neighbors(n).into_iter().for_each(|peer| world.cut(n, peer));
            world.run(secs(1));
        }
        world.run(secs(120));
        // Whose last link just made room for another one is alone for a moment.
        let alone: Vec<_> = world.living().filter(|n| world.neighbors(*n).is_empty()).collect();
        world.run(secs(10));
        prop_assert!(alone.into_iter().all(|n| !world.neighbors(n).is_empty()));
    }
}
