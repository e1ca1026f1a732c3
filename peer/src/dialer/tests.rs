//! The dialer by its rules: whom it dials, when, and when not.

use super::pace::{DIALS_PER_PLACE_MAX, OUTCOMES};
use super::target::{BACKOFF_MAX, BACKOFF_MIN, FETCH};
use super::*;
use crate::address_book::BookLimits;

pub(super) fn rng(seed: u8) -> Rng {
    Rng::from_seed([seed; 32])
}

pub(super) fn slots(outbound: u32) -> Slots {
    Slots { outbound, feeler_period: Duration::from_secs(3_600), ..Slots::default() }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The `n`th of many hosts, each of a group of its own.
fn host(n: usize) -> SocketAddr {
    ([11 + (n / 200) as u8, 1 + (n % 200) as u8, 1, 1], 3414).into()
}

const SECOND: Duration = Duration::from_secs(1);

/// A dialer with its world, and the dials that it asked for.
struct Rig {
    dialer: Dialer,
    book: AddressBook,
    now: Instant,
    conns: u32,
    dialing: Vec<SocketAddr>,
    steps: Vec<Step>,
}

impl Rig {
    fn new(slots: Slots, seeds: &[Seed]) -> Self {
        let dialer = Dialer::seeking(slots, seeds, Locality::Internet, rng(7));
        let book = AddressBook::new(BookLimits::small(), Locality::Internet, rng(8));
        let (dialing, steps) = (Vec::new(), Vec::new());
        Self { dialer, book, now: Instant::START, conns: 0, dialing, steps }
    }

    fn wall(&self) -> UnixTime {
        wall(self.now)
    }

    fn hear(&mut self, addr: SocketAddr) {
        let now = self.wall();
        // Each by another source, so that no bucket is full of them.
        self.book.hear(addr, addr.ip(), Capabilities::UNKNOWN, now, now);
        self.dialer.on_addresses();
    }

    fn tried(&mut self, addr: SocketAddr) {
        self.hear(addr);
        self.book.succeeded(addr, Capabilities::UNKNOWN, self.wall());
    }

    /// Steps until nothing is left; the dials that came of it.
    fn run(&mut self) -> Vec<SocketAddr> {
        let mut dials = Vec::new();
        for _ in 0..10_000 {
            let wall = self.wall();
            let mut world =
                World { now: self.now, wall, book: &mut self.book, refuses: &|_, _| false };
            let Some(step) = self.dialer.step(&mut world) else {
                let deadline = self.dialer.deadline();
                assert!(deadline.is_none_or(|at| at > self.now), "a busy loop: {deadline:?}");
                self.check();
                return dials;
            };
            if let Step::Dial { addr } = step {
                self.dialing.push(addr);
                dials.push(addr);
            }
            self.steps.push(step);
        }
        panic!("steps without end");
    }

    fn run_at(&mut self, wait: Duration) -> Vec<SocketAddr> {
        self.now = self.now.after(wait);
        self.run()
    }

    /// Sleeps until the next deadline, and steps.
    fn run_next(&mut self) -> Vec<SocketAddr> {
        self.now = self.dialer.deadline().expect("something to wait for").max(self.now);
        self.run()
    }

    fn fail(&mut self, addr: SocketAddr) {
        self.dialing.retain(|other| *other != addr);
        self.dialer.on_dial_failed(addr, self.now);
    }

    fn fail_all(&mut self) {
        for addr in std::mem::take(&mut self.dialing) {
            self.dialer.on_dial_failed(addr, self.now);
        }
    }

    fn connect(&mut self, addr: SocketAddr) -> ConnId {
        self.dialing.retain(|other| *other != addr);
        self.conns += 1;
        let conn = ConnId::new(self.conns, 1);
        self.dialer.on_dialed(addr, conn);
        conn
    }

    fn establish(&mut self, addr: SocketAddr) -> (ConnId, Purpose) {
        let conn = self.connect(addr);
        let purpose = self.dialer.on_established(conn, self.now);
        self.book.succeeded(addr, Capabilities::UNKNOWN, self.wall());
        if purpose == Purpose::Probe {
            self.dialer.on_closed(conn, CloseReason::Probed, self.now);
        }
        (conn, purpose)
    }

    fn count(&self, step: &Step) -> usize {
        self.steps.iter().filter(|other| *other == step).count()
    }

    /// The invariants of the head note.
    fn check(&self) {
        let Dialer { targets, slots, .. } = &self.dialer;
        for (at, target) in targets.iter().enumerate() {
            for other in &targets[..at] {
                assert_ne!(target.host, other.host, "two targets at one host");
                let choosable = |target: &Target| target.takes_group() && target.aim != Aim::Held;
                let both = choosable(target) && choosable(other);
                assert!(!both || target.group != other.group, "two places for one group");
            }
        }
        assert!(self.dialer.outbound() <= slots.outbound as usize + HELD_MAX);
        assert!(self.dialer.under_way() <= slots.dials as usize);
        assert!(self.dialer.rests.len() <= rests::RESTS_MAX);
    }
}

pub(super) fn wall(now: Instant) -> UnixTime {
    UnixTime::from_secs(1_700_000_000).after(now.since(Instant::START))
}

fn held() -> Rig {
    let mut rig = Rig::new(slots(0), &[]);
    rig.dialer.hold(addr("198.51.100.1:3414"), Instant::START);
    rig
}

#[test]
fn failed_dials_of_a_held_peer_wait_longer_up_to_a_bound() {
    let mut rig = held();
    rig.run();
    for n in 0..12 {
        rig.fail_all();
        rig.run();
        let wait = rig.dialer.deadline().unwrap().since(rig.now);
        let base = (BACKOFF_MIN * 2u32.pow(n)).min(BACKOFF_MAX);
        assert!((base - base / 4..=base + base / 4).contains(&wait), "wait {n}: {wait:?}");
        assert_eq!(rig.run_next().len(), 1);
    }
}

#[test]
fn a_held_peer_that_closed_us_waits_half_a_minute() {
    let mut rig = held();
    let dials = rig.run();
    assert!(rig.run_at(SECOND).is_empty(), "one dial at a time");
    let (conn, purpose) = rig.establish(dials[0]);
    assert_eq!(purpose, Purpose::Keep);
    assert_eq!(rig.dialer.deadline(), None, "a connected peer is not dialled");
    rig.dialer.on_closed(conn, CloseReason::RemoteClosed, rig.now);
    assert_eq!(rig.dialer.deadline(), Some(rig.now.after(CLOSED_US_WAIT)));
}

#[test]
fn ourselves_are_forgotten_and_the_table_of_held_peers_is_bounded() {
    let mut rig = held();
    let own = rig.run()[0];
    let conn = rig.connect(own);
    rig.dialer.on_myself(own);
    rig.dialer.on_closed(conn, CloseReason::Myself, rig.now);
    assert_eq!(rig.dialer.deadline(), None);
    for n in 0..2 * HELD_MAX {
        rig.dialer.hold(host(n), Instant::START);
    }
    assert_eq!(rig.dialer.targets.len(), HELD_MAX);
}

#[test]
fn a_held_peer_that_may_not_be_dialled_is_looked_at_again() {
    let mut rig = held();
    let wall = rig.wall();
    let mut world = World { now: rig.now, wall, book: &mut rig.book, refuses: &|_, _| true };
    assert_eq!(rig.dialer.step(&mut world), None);
    assert_eq!(rig.dialer.deadline(), Some(rig.now.after(REFUSED_WAIT)));
    assert_eq!(rig.run_next().len(), 1);
}

#[test]
fn anchors_are_dialled_first_and_the_two_longest_lived_are_kept() {
    let mut rig = Rig::new(slots(4), &[]);
    for n in 0..20 {
        rig.tried(host(n));
    }
    rig.dialer.restore(vec![host(100), host(101), host(102)]);
    let dials = rig.run();
    assert_eq!(dials[..2], [host(100), host(101)]);
    assert!(dials.len() > 4 && !dials.contains(&host(102)));
    assert_eq!(rig.establish(dials[3]).1, Purpose::Keep);
    assert_eq!(rig.dialer.take_anchors(), None, "too few to forget the old ones for");
    rig.now = rig.now.after(SECOND);
    let (second, _) = rig.establish(dials[0]);
    rig.now = rig.now.after(SECOND);
    rig.establish(dials[2]);
    assert_eq!(rig.dialer.take_anchors(), Some(vec![dials[3], dials[0]]));
    assert_eq!(rig.dialer.take_anchors(), None, "nothing new");
    rig.dialer.on_closed(second, CloseReason::Silent, rig.now);
    assert_eq!(rig.dialer.take_anchors(), Some(vec![dials[3], dials[2]]));
    rig.dialer.stop();
    assert_eq!((rig.dialer.take_anchors(), rig.dialer.deadline()), (None, None));
}

#[test]
fn places_are_filled_with_a_margin_and_who_comes_late_was_probed() {
    let mut rig = Rig::new(slots(8), &[]);
    for n in 0..200 {
        rig.hear(host(n));
    }
    let dials = rig.run();
    assert_eq!(dials.len(), 8 * DIALS_PER_PLACE_MAX as usize);
    let kept = dials.iter().filter(|addr| rig.establish(**addr).1 == Purpose::Keep).count();
    assert_eq!((kept, rig.dialer.outbound(), rig.dialer.missing()), (8, 8, 0));
    assert!(rig.run_at(SECOND).is_empty());
}

#[test]
fn the_margin_shrinks_where_dials_succeed() {
    let mut rig = Rig::new(slots(1), &[]);
    for n in 0..200 {
        rig.hear(host(n));
    }
    for _ in 0..OUTCOMES {
        rig.run();
        let conns: Vec<_> =
            rig.dialing.clone().into_iter().map(|addr| rig.establish(addr)).collect();
        for (conn, _) in conns {
            rig.dialer.on_closed(conn, CloseReason::ConnectionLost, rig.now);
        }
        rig.now = rig.now.after(SECOND * 2);
    }
    assert_eq!(rig.dialer.odds.dials_per_success(), 2);
    rig.run();
    assert_eq!(rig.dialing.len(), 2);
}

#[test]
fn one_group_gets_one_place_however_many_addresses_it_has() {
    let mut rig = Rig::new(slots(8), &[]);
    for n in 0..200u8 {
        rig.hear(([44, 1, n, 1], 3414).into());
    }
    rig.hear(host(1));
    let mut dials = rig.run();
    dials.sort_unstable();
    assert_eq!(dials.len(), 2, "{dials:?}");
    assert!(dials[0] == host(1) && dials[1].to_string().starts_with("44.1."));
    rig.establish(dials[1]);
    assert!(rig.run_at(SECOND).is_empty());
}

#[test]
fn refusals_that_come_at_once_do_not_burn_through_the_book() {
    let mut rig = Rig::new(Slots { dials: 16, ..slots(8) }, &[]);
    for n in 0..200 {
        rig.hear(host(n));
    }
    for second in 0..5 {
        let mut dials = 0;
        for _ in 0..100 {
            dials += rig.run().len();
            rig.fail_all();
        }
        assert_eq!(dials, 16, "in second {second}");
        rig.run();
        assert_eq!(rig.dialer.deadline(), Some(rig.now.after(ROUND)));
        rig.now = rig.now.after(ROUND);
    }
}

#[test]
fn failures_count_only_while_we_have_peers_and_once_in_a_while() {
    let mut rig = Rig::new(Slots { feeler_period: SECOND, ..slots(3) }, &[]);
    rig.tried(host(1));
    rig.tried(host(2));
    rig.hear(host(3));
    let failures = |rig: &Rig| {
        rig.book.records().find(|record| record.addr == host(3)).map(|record| record.failures)
    };
    let until_dialled = |rig: &mut Rig| {
        for _ in 0..100 {
            if rig.dialing.contains(&host(3)) {
                return;
            }
            rig.run_next();
        }
        panic!("never dialled");
    };
    for _ in 0..5 {
        until_dialled(&mut rig);
        rig.fail(host(3));
        rig.run();
        assert_eq!(failures(&rig), Some(0), "perhaps it is our own network that fails");
    }
    rig.establish(host(1));
    rig.establish(host(2));
    rig.now = rig.now.after(Duration::from_secs(3_600));
    until_dialled(&mut rig);
    rig.fail(host(3));
    rig.run();
    assert_eq!(failures(&rig), Some(1));
    let again = rig.now.after(SECOND * SPACING);
    while rig.now < again {
        rig.fail(host(3));
        assert_eq!(failures(&rig), Some(1), "one restart is one failure");
        rig.run_next();
    }
}

#[test]
fn a_feeler_takes_a_free_place_and_else_only_looks() {
    let mut rig = Rig::new(Slots { feeler_period: SECOND, ..slots(1) }, &[]);
    rig.hear(host(1));
    rig.run();
    let (conn, _) = rig.establish(host(1));
    rig.hear(host(2));
    let feeler =
        |rig: &mut Rig| (0..100).find_map(|_| rig.run_next().first().copied()).expect("a feeler");
    assert_eq!(feeler(&mut rig), host(2));
    assert_eq!(rig.establish(host(2)).1, Purpose::Probe);
    rig.hear(host(3));
    assert_eq!(feeler(&mut rig), host(3));
    rig.dialer.on_closed(conn, CloseReason::ConnectionLost, rig.now);
    assert_eq!(rig.establish(host(3)).1, Purpose::Keep);
}

#[test]
fn seeds_are_asked_at_once_and_then_ever_more_rarely() {
    let seeds = [Seed::Addr(host(1)), Seed::Name("seed.example".to_owned())];
    let mut rig = Rig::new(slots(8), &seeds);
    let resolve = Step::Resolve { name: "seed.example".into() };
    assert_eq!(rig.run(), [host(1)]);
    assert_eq!((rig.count(&Step::Reseed), rig.count(&resolve)), (1, 1));
    let mut at = vec![rig.now];
    while rig.now < Instant::START.after(SECOND * 3_600) {
        rig.fail_all();
        rig.run_next();
        if rig.count(&Step::Reseed) > at.len() {
            at.push(rig.now);
        }
    }
    let waits: Vec<_> = at.windows(2).map(|pair| pair[1].since(pair[0]).as_secs()).collect();
    assert!(waits[0] <= 3 && waits.iter().all(|wait| *wait <= 377), "{waits:?}");
    assert!((14..30).contains(&waits.len()), "{waits:?}");
}

#[test]
fn a_seed_is_left_again_and_becomes_a_peer_only_where_there_is_no_other() {
    let mut rig = Rig::new(slots(8), &[Seed::Addr(host(1))]);
    let mut released = Vec::new();
    for _ in 0..100 {
        if rig.dialing.contains(&host(1)) {
            let (conn, purpose) = rig.establish(host(1));
            assert_eq!(purpose, Purpose::Keep, "it is to be asked");
            released.push((conn, rig.now));
        }
        let steps = rig.steps.len();
        rig.run_next();
        let Some((conn, since)) = released.last().copied() else { continue };
        if rig.steps[steps..].contains(&Step::Release { conn }) {
            assert_eq!(rig.now, since.after(FETCH));
            rig.dialer.on_closed(conn, CloseReason::Probed, rig.now);
        }
    }
    assert!((3..10).contains(&released.len()), "{released:?}");
    assert_eq!(rig.dialer.outbound(), 1);
    assert!(released.last().unwrap().1 < Instant::START.after(SECOND * 60));
}

#[test]
fn names_become_addresses_of_the_book_and_are_dialled() {
    let mut rig = Rig::new(slots(8), &[Seed::Name("seed.example".to_owned())]);
    assert!(rig.run().is_empty());
    let addrs: Vec<_> = (0..20).map(host).collect();
    let wall = rig.wall();
    let mut world = World { now: rig.now, wall, book: &mut rig.book, refuses: &|_, _| false };
    rig.dialer.on_resolved("seed.example", &addrs, &mut world);
    assert!(rig.run().is_empty(), "the last look was in this instant");
    assert_eq!(rig.dialer.deadline(), Some(rig.now.after(LOOK_MIN)));
    assert!(rig.run_next().len() > 8);
}

#[test]
fn a_book_full_of_the_dead_does_not_keep_us_from_the_seeds() {
    let mut rig = Rig::new(Slots { dials: 4, ..slots(2) }, &[Seed::Addr(host(399))]);
    for n in 0..300 {
        rig.hear(host(n));
    }
    rig.run();
    while rig.count(&Step::Reseed) == 0 {
        rig.fail_all();
        rig.run_next();
        assert!(rig.now <= Instant::START.after(PATIENCE + SECOND));
    }
    assert!(rig.now >= Instant::START.after(PATIENCE));
    assert!(rig.dialing.contains(&host(399)));
}

#[test]
fn who_closed_us_or_hung_up_on_our_greeting_rests() {
    let mut rig = Rig::new(slots(2), &[]);
    rig.hear(host(1));
    rig.hear(host(2));
    rig.run();
    let (conn, _) = rig.establish(host(1));
    rig.dialer.on_closed(conn, CloseReason::RemoteClosed, rig.now);
    let conn = rig.connect(host(2));
    rig.dialer.on_closed(conn, CloseReason::HandshakeAborted, rig.now);
    let start = rig.now;
    let mut dials = Vec::new();
    while dials.is_empty() {
        dials = rig.run_next();
    }
    let waited = rig.now.since(start);
    assert!((CLOSED_US_WAIT..CLOSED_US_WAIT + ROUND * 2).contains(&waited), "{waited:?}");
}

#[test]
fn peers_are_asked_for_addresses_while_places_are_free() {
    let mut rig = Rig::new(slots(2), &[]);
    while rig.now < Instant::START.after(SECOND * 60) {
        rig.run_next();
    }
    assert!((2..=3).contains(&rig.count(&Step::AskPeers)), "after 10, 20 and 40 seconds");
}

/// Random worlds: whatever happens, the invariants hold and nothing spins.
#[test]
fn no_sequence_of_events_breaks_the_invariants() {
    for seed in 0..20 {
        let mut dice = rng(seed);
        let seeds = [Seed::Addr(host(1)), Seed::Name("seed.example".to_owned())];
        let mut rig = Rig::new(Slots { feeler_period: SECOND, ..slots(6) }, &seeds);
        rig.dialer.restore(vec![host(2), host(3)]);
        let mut open = Vec::new();
        for _ in 0..600 {
            let any = ([44 + dice.below(4) as u8, dice.below(8) as u8, 1, dice.below(4) as u8], 1);
            match dice.below(8) {
                0 | 1 => rig.hear(any.into()),
                2 if dice.chance(1, 10) => rig.dialer.hold(any.into(), rig.now),
                3 => rig.fail_all(),
                4 | 5 => open.extend(rig.dialing.clone().into_iter().map(|addr| rig.connect(addr))),
                6 => {
                    for conn in &open {
                        if rig.dialer.on_established(*conn, rig.now) == Purpose::Probe {
                            rig.dialer.on_closed(*conn, CloseReason::Probed, rig.now);
                        }
                    }
                }
                _ if !open.is_empty() => {
                    let conn = open.swap_remove(dice.below(open.len() as u64) as usize);
                    let reason = *dice.pick(CloseReason::ALL).unwrap();
                    rig.dialer.on_closed(conn, reason, rig.now);
                }
                _ => {}
            }
            rig.run_at(Duration::from_millis(dice.below(2_000)));
        }
    }
}

/// The overlay has somebody dialled over and above the places, once, and says when it is enough.
#[test]
fn who_is_called_is_dialled_once_and_stays_until_it_is_let_go() {
    let mut rig = Rig::new(Slots { outbound: 0, ..Slots::default() }, &[]);
    let [good, bad] = [host(1), host(2)];
    for called in [good, bad, good] {
        assert!(rig.dialer.call(called, rig.now));
    }
    assert_eq!(rig.run(), [good, bad]);
    rig.fail(bad);
    let (conn, purpose) = rig.establish(good);
    assert_eq!((purpose, rig.dialer.was_called(conn)), (Purpose::Keep, true));
    assert_eq!(rig.run_at(Duration::from_secs(3_600)), [], "one failure is the end of it");
    rig.dialer.on_closed(conn, CloseReason::Probed, rig.now);
    assert!(rig.dialer.targets.is_empty() && !rig.dialer.was_called(conn));
    // Who may not be dialled is told of, and is over.
    assert!(rig.dialer.call(bad, rig.now));
    let (now, wall) = (rig.now, rig.wall());
    let mut world = World { now, wall, book: &mut rig.book, refuses: &|_, _| true };
    assert_eq!(rig.dialer.step(&mut world), Some(Step::Refused { addr: bad }));
    assert_eq!(rig.dialer.step(&mut world), None);
    // Whoever is held stays so.
    rig.dialer.hold(good, rig.now);
    assert!(rig.dialer.call(good, rig.now));
    assert_eq!(rig.run(), [good]);
    let (conn, _) = rig.establish(good);
    assert!(!rig.dialer.was_called(conn));
    rig.dialer.stop();
    assert!(!rig.dialer.call(bad, rig.now));
}
