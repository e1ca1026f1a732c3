//! Some hundred nodes: joining, dying, splitting.

use super::world::World;
use super::*;

const PERIOD: Duration = Duration::from_secs(60);

/// Nodes that joined one by one, a second apart, each at a random one of those before it.
fn grown(count: usize, seed: u64) -> World {
    let mut world = World::new(count, HyParViewRules::default(), seed);
    let mut dice = Rng::from_seed([seed as u8; 32]);
    for n in 0..count {
        let contact = dice.below(n.max(1) as u64) as usize;
        world.join(n, &[contact]);
        world.run(secs(1));
    }
    world
}

#[track_caller]
fn assert_whole(world: &mut World, what: &str) {
    assert_eq!(world.parts(), [world.living().count()], "{what}");
    world.quiet();
    assert_eq!(world.one_sided(), [], "{what}");
}

#[test]
fn who_joins_one_by_one_forms_one_network() {
    for seed in 0..5 {
        let mut world = grown(200, seed);
        world.run(PERIOD * 3);
        assert_whole(&mut world, &format!("seed {seed}"));
        assert!(world.degree() > 4.9, "seed {seed}: {}", world.degree());
        let poor =
            world.living().filter(|n| world.nodes[*n].as_ref().unwrap().passive().count() < 15);
        assert!(poor.count() < 10, "seed {seed}");
    }
}

#[test]
fn half_of_the_network_may_die_at_once() {
    for seed in 0..5 {
        let mut world = grown(200, seed);
        world.run(PERIOD * 10);
        (0..200).step_by(2).for_each(|n| world.kill(n));
        world.run(PERIOD * 3);
        assert_whole(&mut world, &format!("seed {seed}"));
        assert!(world.degree() > 4.8, "seed {seed}: {}", world.degree());
    }
}

#[test]
fn all_may_join_at_one_contact_at_once() {
    for seed in 0..5 {
        let mut world = World::new(200, HyParViewRules::default(), seed);
        (1..200).for_each(|n| world.join(n, &[0]));
        world.run(PERIOD * 5);
        assert_whole(&mut world, &format!("seed {seed}"));
    }
}

/// Nine nodes of three links each that all joined through one contact at once left an island of
/// three: nobody of it missed a link.
#[test]
fn a_small_network_leaves_no_island() {
    for seed in 0..20 {
        let mut world = World::new(9, HyParViewRules::sized(3), seed);
        (1..9).for_each(|n| world.join(n, &[0]));
        world.run(PERIOD * 40);
        assert_whole(&mut world, &format!("seed {seed}"));
    }
}

/// Nodes that join faster than links are made, each at a random one of those before it, which is
/// often not in the network itself yet: it had links enough by others who had joined at it, and so
/// never came in. The largest piece of 200 had 175 nodes then, for good.
#[test]
fn who_is_joined_at_before_it_is_in_still_comes_in() {
    for seed in 0..10 {
        let mut world = World::new(200, HyParViewRules::default(), seed);
        let mut dice = Rng::from_seed([seed as u8; 32]);
        for n in 0..200 {
            world.join(n, &[dice.below(n.max(1) as u64) as usize]);
            world.run(Duration::from_millis(6));
        }
        world.run(PERIOD * 3);
        assert_whole(&mut world, &format!("seed {seed}"));
    }
}

/// Two networks that know nothing of each other but what samplers of one of them remember.
#[test]
fn islands_grow_together_by_their_samplers() {
    for seed in 0..3 {
        let mut world = grown(60, seed);
        world.run(PERIOD * 10);
        world.split(|n| n < 30);
        world.run(PERIOD * 100);
        assert_eq!(world.parts(), [30, 30], "seed {seed}");
        world.heal();
        world.run(PERIOD * 30);
        assert_whole(&mut world, &format!("seed {seed}"));
    }
}

/// A network without samplers forgets its other half in twenty periods.
#[test]
fn without_samplers_islands_stay_islands() {
    let rules = HyParViewRules { samplers: 0, ..HyParViewRules::default() };
    let mut world = World::new(60, rules, 1);
    (1..60).for_each(|n| world.join(n, &[n - 1]));
    world.run(PERIOD * 10);
    world.split(|n| n < 30);
    world.run(PERIOD * 100);
    world.heal();
    world.run(PERIOD * 30);
    assert_eq!(world.parts(), [30, 30]);
}

/// Rejoining with high priority never came to rest: each who came back pushed out another.
#[test]
fn a_network_comes_to_rest() {
    for count in [4, 6, 7, 12, 200] {
        let mut world = World::new(count, HyParViewRules::default(), 1);
        (1..count).for_each(|n| world.join(n, &[0]));
        world.run(PERIOD * 20);
        let (ups, dials) = (world.ups, world.dials);
        world.run(PERIOD * 20);
        let per_period = |n: u64| n as f64 / (20 * count) as f64;
        // A sampler in 20 periods, which brings five or six ends of links about.
        assert!(per_period(world.ups - ups) < 0.5, "{count}: {}", per_period(world.ups - ups));
        assert!(per_period(world.dials - dials) < 4.0, "{count}");
    }
}

#[test]
fn a_node_that_comes_back_without_memory_is_taken_in_again() {
    let mut world = grown(50, 3);
    world.run(PERIOD * 5);
    for n in (0..50).step_by(5) {
        world.kill(n);
        world.revive(n);
        world.join(n, &[(n + 1) % 50]);
    }
    world.run(PERIOD * 2);
    assert_whole(&mut world, "after a restart of ten");
}

/// The same seed gives the same network, message by message.
#[test]
fn a_run_repeats() {
    let run = |_| {
        let mut world = grown(40, 9);
        world.run(PERIOD * 4);
        let views: Vec<_> = world.living().map(|n| world.neighbors(n)).collect();
        (world.sent, world.dials, views)
    };
    let [one, other] = [0, 1].map(run);
    assert!(one == other);
}
