//! Some endpoints, each connected with each: an item reaches all of them once.

use codec::{Kind, Payload};
use peer::{Config, FromChain, Input, Policy, ToChain, Verdict};

use super::*;
use crate::solo::millis;
use crate::world::World;

const NODES: usize = 8;

/// The chain of each node wants whatever is announced, and takes whatever comes.
fn answer(world: &mut World) {
    for node in 0..NODES {
        for event in std::mem::take(&mut world.nodes[node].events) {
            let command = match event {
                ToChain::Announced { kind, id, .. } => FromChain::Fetch { kind, id },
                ToChain::Payload { from, payload, .. } => {
                    FromChain::Verdict { from, payload, verdict: Verdict::Accept }
                }
                _ => continue,
            };
            world.feed(node, Input::FromChain(command));
        }
    }
}

/// Bytes of payloads that all nodes received, and of those twice.
fn spread(policy: Policy, extension: bool, payloads: &[Payload]) -> (u64, u64) {
    let config = |node: usize| {
        let mut config = Config { connect: (0..node).map(World::addr).collect(), ..passive(NET) };
        config.relay.policy = policy;
        config.extension = extension;
        config
    };
    let mut world = World::new((0..NODES).map(config).collect(), 5).smooth();
    world.run_for(secs(2));
    for (number, payload) in payloads.iter().enumerate() {
        world.feed(number % NODES, Input::FromChain(FromChain::Publish(payload.clone())));
        for _ in 0..8 {
            world.run_for(millis(20));
            answer(&mut world);
        }
    }
    world.run_for(secs(5));
    let counts = |node: usize| world.nodes[node].solo.endpoint.counts().by_kind;
    let all = (0..NODES).flat_map(counts);
    all.fold((0, 0), |sum, kind| (sum.0 + kind.received, sum.1 + kind.twice))
}

#[test]
fn an_item_reaches_everybody_once() {
    let blocks: Vec<Payload> = (0..20).map(block).collect();
    let others = (NODES - 1) as u64;
    let once: u64 = blocks.iter().map(|block| others * block.frame().len() as u64).sum();
    assert_eq!(spread(Policy::Announce, true, &blocks), (once, 0));
    // Whoever is flooded hears of it from nearly everybody.
    let (received, flooded_twice) = spread(Policy::Flood, true, &blocks);
    assert_eq!(received - flooded_twice, once);
    assert!(flooded_twice > 3 * once, "{flooded_twice} of {received}");
    let (received, twice) = spread(Policy::Announce, false, &blocks);
    assert_eq!(received - twice, once);
    assert!(twice > 3 * once, "without the extension a body is all that can be sent");
    let (received, twice) = spread(Policy::Sqrt, true, &blocks);
    assert_eq!(received - twice, once);
    assert!((once..flooded_twice * 2 / 3).contains(&twice), "{twice} of {received}");
}

#[test]
fn transactions_of_all_sizes_reach_everybody() {
    let sizes = [10, 4_500, 4_501, 30_000];
    let transactions: Vec<Payload> = sizes
        .into_iter()
        .zip(0..)
        .map(|(bytes, number)| large(Kind::Transaction, number, bytes))
        .collect();
    let others = (NODES - 1) as u64;
    let once: u64 = transactions.iter().map(|it| others * it.frame().len() as u64).sum();
    let (received, twice) = spread(Policy::Announce, true, &transactions);
    assert_eq!(received - twice, once);
    let small: u64 = transactions[..2].iter().map(|it| it.frame().len() as u64).sum();
    assert!(twice <= others * others * small, "only small ones came twice: {twice}");
}
