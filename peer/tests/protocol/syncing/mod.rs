//! Catching up: who is asked for what, and what comes of it.

mod blocks;
mod crew;
mod headers;
mod network;

use std::time::Duration;

use network::{BURST, Chain, Manner, Network};

const RATE: u64 = 2_000_000;

/// The share of what the good servers can give that a sync of so many blocks of 20 kB gets.
fn share(manners: &[Manner], blocks: u64, extension: bool) -> f64 {
    let chain = Chain::new(blocks, 20_000);
    let mut network = Network::new(&chain, manners, extension);
    let most = Duration::from_secs(600);
    let took = network.sync(most);
    let counts = network.client.endpoint.counts();
    let capacity: f64 = manners
        .iter()
        .filter_map(|manner| if let Manner::Serve(rate) = manner { Some(*rate) } else { None })
        .map(|rate| rate as f64 * took.as_secs_f64() + BURST.min(rate) as f64)
        .sum();
    let bytes = *network.received_bytes.borrow();
    let share = bytes as f64 / capacity;
    println!(
        "{blocks} blocks of {} peers, extension {extension}: {took:?}, share {share:.3}; \
         {} reassigned, {} hedged, {} late, missing {}, next {}",
        manners.len(),
        counts.blocks_reassigned,
        counts.blocks_hedged,
        counts.blocks_late,
        network.missing.len(),
        network.next,
    );
    assert!(took < most && network.missing.is_empty());
    share
}

/// Four good ones, one twenty times slower, two that stall and one that lies.
fn mixed() -> Vec<Manner> {
    let (good, slow) = (Manner::Serve(RATE), Manner::Serve(RATE / 20));
    vec![Manner::Stall, good, Manner::Lie, good, slow, good, Manner::Stall, good]
}

#[test]
fn a_mixed_crowd_gives_what_its_good_ones_have() {
    let share = share(&mixed(), 20_000, true);
    assert!(share >= 0.85, "{share}");
}

#[test]
fn eight_good_peers_and_one_are_used_up() {
    for count in [8, 1] {
        let share = share(&vec![Manner::Serve(RATE); count], 4_000, true);
        assert!(share >= 0.9, "{share} of {count}");
    }
}

#[test]
fn peers_without_ranges_are_used_too() {
    // Ten of 20 kB in flight, and a server that looks after who waits ten times a second.
    let share = share(&mixed(), 2_000, false);
    assert!(share >= 0.6, "{share}");
}
