//! Broadcasts that pace themselves, and how long the loop waits.

use super::*;
use crate::event_loop::sending::SENDS_PER_TURN;

/// More connections than may wait for their send before the chain's commands wait.
const CROWD: usize = SEND_BACKLOG_MAX + 100;

#[test]
fn a_broadcast_to_a_crowd_paces_itself_and_everybody_gets_everything() {
    let mut setup = Setup { connections_max: 5_000, small: (256, 8_192), ..Setup::default() };
    setup.peer.inventory = InventoryLimits { rows: 64, slots: 8_192 };
    let mut stage = Stage::new(setup);
    let peers = stage.establish(CROWD);
    let payloads: Vec<_> = (0..4).map(|n| transaction(n, 100)).collect();
    payloads.iter().for_each(|payload| stage.publish(payload));
    let taken = || payloads.iter().filter(|payload| payload.reference_count() != 2).count();

    stage.script.sends_complete_at_once(true);
    stage.turn();
    assert_eq!(taken(), 1, "the others wait on their lane");
    assert_eq!(stage.event_loop.dirty.len(), CROWD - SENDS_PER_TURN);
    let mut turns = 1;
    while stage.event_loop.wait().timeout == Some(Duration::ZERO) {
        let before = taken();
        let behind = stage.event_loop.dirty.len() > SEND_BACKLOG_MAX;
        stage.turn();
        assert!(!behind || taken() == before, "drained while sends wait");
        turns += 1;
        assert!(turns < 400, "the loop spins");
    }
    stage.settle();
    assert!(turns >= payloads.len() * CROWD / SENDS_PER_TURN / 4);
    for peer in &peers {
        assert!(stage.script.take_wire(*peer) == frames(&payloads));
    }
    assert_eq!(stage.metrics().relay_dropped, 0);
    assert!(payloads.iter().all(|payload| payload.reference_count() == 1));
}

#[test]
fn an_idle_loop_waits_for_its_next_deadline_and_no_less() {
    let mut setup = Setup::default();
    setup.peer.ping_period = Duration::from_secs(10);
    setup.peer.silence_timeout = Duration::from_secs(60);
    let mut stage = Stage::new(setup);
    stage.settle();
    stage.turn();
    assert_eq!(stage.last_wait(), None, "nothing to do, nothing to wait for");

    let peer = stage.establish(1)[0];
    stage.script.sends_complete_at_once(true);
    let mut pings = 0;
    for _ in 0..40 {
        stage.settle();
        stage.script.take_waits();
        stage.turn();
        let wait = stage.last_wait().expect("a ping is due some time");
        assert!(!wait.is_zero() && wait <= Duration::from_millis(10_100), "{wait:?}");
        let before = stage.metrics().turns;
        stage.pass(wait);
        stage.settle();
        assert!(stage.metrics().turns - before <= 6, "some turns for a deadline");
        let ours = kinds(&stage.script.take_wire(peer));
        pings += ours.iter().filter(|kind| **kind == Kind::Ping).count();
        if pings == 3 {
            break;
        }
    }
    assert_eq!(pings, 3);
    assert!((20_000_000..=31_000_000).contains(&stage.now.micros()), "{:?}", stage.now);
}

#[test]
fn a_send_in_the_kernel_is_looked_at_four_times_a_second() {
    let mut stage = Stage::new(Setup::default());
    stage.establish(1);
    stage.publish(&transaction(1, 100));
    stage.turns(2);
    for _ in 0..8 {
        stage.script.take_waits();
        stage.turn();
        let wait = stage.last_wait().expect("a deadline");
        assert!(!wait.is_zero() && wait <= WATCH_PERIOD, "{wait:?}");
        stage.pass(wait);
    }
    assert_eq!(stage.now.micros(), 8 * WATCH_PERIOD.as_micros() as u64);
}

#[test]
fn a_busy_turn_makes_the_next_wait_a_batching_one() {
    let mut stage = Stage::new(Setup::default());
    let many = BUSY_COMPLETIONS as usize;
    let peers = stage.establish(many);
    stage.settle();
    let busy = |stage: &mut Stage, count: usize| {
        for peer in &peers[..count] {
            stage.script.receive(*peer, &unknown());
        }
        stage.turn();
        stage.event_loop.wait().batch.is_some()
    };
    assert!(busy(&mut stage, many));
    assert!(!busy(&mut stage, many - 1));
}

#[test]
fn a_command_of_the_chain_is_never_slept_over() {
    let mut stage = Stage::new(Setup::default());
    let peers = stage.establish(1);
    stage.settle();
    // It comes after the loop's last look in its turn, and before its sleep.
    stage.publish(&transaction(1, 100));
    stage.script.take_waits();
    stage.turn();
    assert_eq!(stage.last_wait(), Some(Duration::ZERO));
    stage.deliver(&peers);
    assert_eq!(kinds(&stage.script.take_wire(peers[0])), [Kind::Transaction]);
}
