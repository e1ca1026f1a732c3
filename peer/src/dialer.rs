//! Whom to dial, and when. The endpoint asks ([`Dialer::step`]) and tells what became of it.
//!
//! Six aims of a dial:
//!
//! - **Held**: wanted by configuration or operator. Dialled at once, and again whenever lost, after
//!   a wait that doubles, with a jitter: a restarting network must not be dialled by everybody in
//!   the same instant. Groups do not matter.
//! - **Anchor**: the longest-lived outbound peers of the last run, dialled before all others: who
//!   emptied or filled our book in the meantime has not chosen them.
//! - **Slot**: from the book, until the target of outbound peers is met. Many at once, since most
//!   addresses of a book are dead; those that come too late were feelers. Never two of one group.
//! - **Feeler**: one each `feeler_period`, only to know whether an address is there, so that the
//!   book stays true: who is to lose its place, who failed before, who is new, who is stale.
//! - **Seed**: with nobody left to dial and fewer peers than the floor, the seeds are asked for
//!   addresses, and left again. Why left: they bear a whole network; and one that only tells what
//!   it reached itself cannot reach those that stay connected to it, so that of many who start at
//!   one seed nobody would hear of another. Later a seed is an address like others.
//!
//! - **Called**: by the overlay, over and above the others, once. It stays until the overlay lets
//!   it go.
//!
//! A failure is told to the book only while we have peers, since else it may be our own network
//! that fails; and of one address only once in a while, since a restart is one failure.
//!
//! Driving: after [`Dialer::deadline`], and after every input that may matter, call `step` until it
//! gives nothing; then the deadline is later than now. The endpoint itself tells the book of
//! successes, and of addresses not worth knowing.
//!
//! Invariants: nobody is chosen whose host is dialled or connected, nor to stay whose group is. All
//! tables are bounded. What was dialled is a target until `on_dial_failed`, `on_closed` or its
//! release.

#[cfg(test)]
mod model;
mod pace;
mod rests;
mod seeds;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use codec::Capabilities;

use crate::address::{HostKey, Locality, canonical};
use crate::address_book::{AddressBook, Pick};
use crate::config::{Config, HELD_MAX, Seed, Slots};
use crate::event::{CloseReason, ConnId};
use crate::record::AddressRecord;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use pace::{Odds, ROUND, Round};
use rests::Rests;
use seeds::Seeds;
pub(crate) use target::Aim;
use target::{Stage, Target};

/// Wait for a held peer that may not be dialled now: most often it has dialled us.
const REFUSED_WAIT: Duration = Duration::from_secs(5);

/// Wait after the remote closed an established connection: longer than grin's two ping rounds. Only
/// then does it notice a lost connection; until then it refuses another of the same address.
const CLOSED_US_WAIT: Duration = Duration::from_secs(30);

/// Peers that are dialled first after a restart. As Bitcoin Core.
pub(crate) const ANCHORS_MAX: usize = 2;

/// Feelers under way at once. Guess: more than a dial into nowhere takes periods.
const FEELERS_MAX: usize = 32;

/// Below the floor for so long, the seeds are asked even while there are addresses left. Bitcoin
/// Core waits 11 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// Shortest time between two looks into the book that find nobody, each of which may walk all of
/// it: whoever tells addresses one by one must not have one for each.
const LOOK_MIN: Duration = Duration::from_millis(100);

/// First and longest time between two rounds of asking peers for addresses.
const ASK_MIN: Duration = Duration::from_secs(10);
/// See [`ASK_MIN`].
const ASK_MAX: Duration = Duration::from_secs(600);

/// With so many outbound peers our own network works. As Bitcoin Core.
const ONLINE: usize = 2;

/// Feeler periods between two failures of one address that both count; twice as many with each.
const SPACING: u32 = 8;

/// Feeler periods after which an address that did not fail is worth a feeler again, and after which
/// a tried one is due before new ones.
const RETEST: u32 = 60;
/// See [`RETEST`].
const RETEST_DUE: u32 = 240;

/// Addresses taken from one answer of the name service. As Bitcoin Core.
const RESOLVED_MAX: usize = 256;

/// What is to become of a connection whose handshake is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// It is a peer.
    Keep,
    /// We only wanted to know whether it is there, or have peers enough: close it as probed.
    Probe,
}

/// What the endpoint is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Dial it; `on_dialed` or `on_dial_failed` follows.
    Dial { addr: SocketAddr },
    /// The seeds are asked again from here on, for counters and logs; their steps follow.
    Reseed,
    /// Find the addresses behind this name of a seed; `on_resolved` follows.
    Resolve { name: Box<str> },
    /// It was called, and may not be dialled now.
    Refused { addr: SocketAddr },
    /// Say goodbye to this peer, and close the connection as probed.
    Release { conn: ConnId },
    /// Ask the peers for addresses, other than those that answered a moment ago.
    AskPeers,
}

/// What the dialer sees and touches for one call.
pub(crate) struct World<'a> {
    pub(crate) now: Instant,
    pub(crate) wall: UnixTime,
    pub(crate) book: &'a mut AddressBook,
    /// Not to be dialled now with this aim: banned, discouraged, denied, ourselves, or connected
    /// already.
    pub(crate) refuses: &'a dyn Fn(SocketAddr, Aim) -> bool,
}

#[derive(Debug)]
pub(crate) struct Dialer {
    slots: Slots,
    locality: Locality,
    rng: Rng,
    /// At most [`HELD_MAX`] held, [`FEELERS_MAX`] feelers, `slots.outbound` and `slots.dials`
    /// others, and the seeds.
    targets: Vec<Target>,
    rests: Rests,
    seeds: Seeds,
    /// Of the last run, not dialled yet.
    anchors: Vec<SocketAddr>,
    anchors_told: Vec<SocketAddr>,
    anchors_changed: bool,
    /// Dials that failed, not told to the book yet. At most one for each target.
    failed: Vec<SocketAddr>,
    odds: Odds,
    round: Round,
    /// The last look into the book found nobody.
    barren: bool,
    next_look: Instant,
    /// When the last such look was.
    looked: Instant,
    below_floor: Option<Instant>,
    next_ask: Instant,
    ask_wait: Duration,
    next_feeler: Instant,
    feelers: u32,
    stopped: bool,
    /// See [`Dialer::deadline`], which is asked every turn.
    next: Option<Instant>,
}

/// Of one part of the book: who failed before and who did not, each the longest untested, with when
/// it was tested.
#[derive(Default)]
struct Candidates {
    suspect: Option<(UnixTime, SocketAddr)>,
    untested: Option<(UnixTime, SocketAddr)>,
}

impl Dialer {
    /// Holds `config.connect`, and looks for `config.slots` peers more.
    pub(crate) fn from_config(config: &Config, rng: Rng) -> Self {
        let mut dialer = Self::seeking(config.slots, &config.seeds, config.locality, rng);
        for addr in &config.connect {
            dialer.hold(*addr, Instant::START);
        }
        dialer
    }

    fn seeking(slots: Slots, seeds: &[Seed], locality: Locality, mut rng: Rng) -> Self {
        let mut dialer = Self {
            next_feeler: Instant::START.after(jittered(feeler_period(&slots), &mut rng)),
            slots,
            locality,
            rng,
            targets: Vec::new(),
            rests: Rests::default(),
            seeds: Seeds::new(seeds),
            anchors: Vec::new(),
            anchors_told: Vec::new(),
            anchors_changed: false,
            failed: Vec::new(),
            odds: Odds::new(),
            round: Round::new(),
            barren: false,
            next_look: Instant::START,
            looked: Instant::START,
            below_floor: Some(Instant::START),
            next_ask: Instant::START.after(ASK_MIN),
            ask_wait: ASK_MIN,
            feelers: 0,
            stopped: false,
            next: None,
        };
        dialer.plan();
        dialer
    }

    /// Holds one more address, from now on; a known one and one too many change nothing. One that
    /// is dialled or connected for another reason is held from now on.
    pub(crate) fn hold(&mut self, addr: SocketAddr, now: Instant) {
        let addr = canonical(addr);
        let held = self.targets.iter().filter(|target| target.aim == Aim::Held).count();
        if held >= HELD_MAX {
            return;
        }
        match self.targets.iter_mut().find(|target| target.addr == addr) {
            Some(target) => target.aim = Aim::Held,
            None => self.add(addr, Aim::Held, Stage::Waiting { until: now }),
        }
        self.anchors_changed = true;
        self.plan();
    }

    /// Dials this address once, soon, for the overlay. `false`: it will not, and nothing follows.
    pub(crate) fn call(&mut self, addr: SocketAddr, now: Instant) -> bool {
        let addr = canonical(addr);
        if self.stopped {
            return false;
        }
        let host = self.locality.host(addr);
        match self.targets.iter_mut().find(|target| target.host == host) {
            // Held, and it failed: who waits for the next attempt waits for too long.
            Some(Target { stage: Stage::Waiting { until }, .. }) if *until > now => return false,
            // It stands, or will: whoever calls hears of the handshake, or of its failure.
            Some(target) => {
                if matches!(target.aim, Aim::Feeler | Aim::Seed) && !target.is_established() {
                    target.aim = Aim::Called;
                }
            }
            None => self.add(addr, Aim::Called, Stage::Waiting { until: now }),
        }
        self.plan();
        true
    }

    /// Whether the overlay alone wanted this connection.
    pub(crate) fn was_called(&self, conn: ConnId) -> bool {
        let called = |target: &Target| target.aim == Aim::Called && target.conn() == Some(conn);
        self.targets.iter().any(called)
    }

    /// Whether a peer of this host is held.
    pub(crate) fn holds(&self, host: HostKey) -> bool {
        self.targets.iter().any(|target| target.aim == Aim::Held && target.host == host)
    }

    /// The hosts that are held.
    pub(crate) fn held_hosts(&self) -> BTreeSet<HostKey> {
        let held = self.targets.iter().filter(|target| target.aim == Aim::Held);
        held.map(|target| target.host).collect()
    }

    /// Takes the anchors that a store kept. Before the first step.
    pub(crate) fn restore(&mut self, mut anchors: Vec<SocketAddr>) {
        anchors.truncate(ANCHORS_MAX);
        self.anchors_told = anchors.clone();
        anchors.reverse();
        self.anchors = anchors;
        self.plan();
    }

    /// Forgets all targets: we dial nobody any more.
    pub(crate) fn stop(&mut self) {
        self.targets.clear();
        self.failed.clear();
        self.stopped = true;
        self.plan();
    }

    /// When the next step is due; perhaps long ago.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// The next thing to do now, if any.
    pub(crate) fn step(&mut self, world: &mut World<'_>) -> Option<Step> {
        self.note_failures(world);
        let step = if self.stopped { None } else { self.next_step(world) };
        self.plan();
        step
    }

    /// The addresses to keep for the next run, if they are others than before. While we have too
    /// few peers, the old ones stay: they may be needed when our network is back.
    pub(crate) fn take_anchors(&mut self) -> Option<Vec<SocketAddr>> {
        if self.stopped || !std::mem::take(&mut self.anchors_changed) {
            return None;
        }
        let mut oldest: Vec<_> = self
            .targets
            .iter()
            .filter(|target| matches!(target.aim, Aim::Anchor | Aim::Slot))
            .filter_map(|target| match target.stage {
                Stage::Established { since, .. } => Some((since, target.addr)),
                _ => None,
            })
            .collect();
        oldest.sort_unstable();
        oldest.truncate(ANCHORS_MAX);
        let anchors: Vec<_> = oldest.into_iter().map(|(_, addr)| addr).collect();
        let enough = ANCHORS_MAX.min(self.slots.outbound as usize).max(1);
        if anchors.len() < enough || anchors == self.anchors_told {
            return None;
        }
        self.anchors_told.clone_from(&anchors);
        Some(anchors)
    }

    /// Whether this address failed so often and so lately that others' word of it is not to be
    /// taken into the book; its own word is.
    pub(crate) fn is_given_up(&self, addr: SocketAddr, now: Instant) -> bool {
        self.rests.is_given_up(canonical(addr), now)
    }

    /// Addresses new to us came into the book: it is worth a look soon.
    pub(crate) fn on_addresses(&mut self) {
        self.barren = false;
        self.next_look = self.next_look.min(self.looked.after(LOOK_MIN));
        self.plan();
    }

    /// What the name service says: into the book.
    pub(crate) fn on_resolved(&mut self, name: &str, addrs: &[SocketAddr], world: &mut World<'_>) {
        let source = seeds::source_of(name);
        for addr in addrs.iter().take(RESOLVED_MAX) {
            world.book.hear(*addr, source, Capabilities::UNKNOWN, world.wall, world.wall);
        }
        self.on_addresses();
    }

    pub(crate) fn on_dialed(&mut self, addr: SocketAddr, conn: ConnId) {
        if let Some(at) = self.dialing(addr) {
            self.targets[at].stage = Stage::Greeting(conn);
        }
    }

    pub(crate) fn on_dial_failed(&mut self, addr: SocketAddr, now: Instant) {
        if let Some(at) = self.dialing(addr) {
            self.fail(at, Duration::ZERO, now);
            self.plan();
        }
    }

    /// The dial was not made for want of something of our own: nothing follows for the address, and
    /// others would fare the same for a while.
    pub(crate) fn on_not_dialed(&mut self, addr: SocketAddr, now: Instant) {
        let Some(at) = self.dialing(addr) else { return };
        let target = &mut self.targets[at];
        if target.aim == Aim::Held {
            target.stage = Stage::Waiting { until: now.after(REFUSED_WAIT) };
        } else {
            self.targets.swap_remove(at);
        }
        self.looked = now;
        self.next_look = self.next_look.max(now.after(ROUND));
        self.plan();
    }

    fn dialing(&self, addr: SocketAddr) -> Option<usize> {
        let dialing = |target: &Target| target.addr == addr && target.stage == Stage::Dialing;
        self.targets.iter().position(dialing)
    }

    /// The handshake is done. A feeler that comes while a place is free takes it; who comes when
    /// all places are taken was a feeler.
    pub(crate) fn on_established(&mut self, conn: ConnId, now: Instant) -> Purpose {
        let greeting = |target: &Target| target.stage == Stage::Greeting(conn);
        let Some(at) = self.targets.iter().position(greeting) else { return Purpose::Probe };
        let aim = self.aim_now(at);
        let target = &mut self.targets[at];
        if target.is_under_way() {
            self.odds.count(true);
        }
        self.rests.forget(target.addr);
        target.aim = aim;
        target.failures = 0;
        target.stage = Stage::Established { conn, since: now };
        self.anchors_changed = true;
        if self.outbound() >= self.floor() {
            self.below_floor = None;
            self.seeds.rest();
        }
        self.plan();
        if aim == Aim::Feeler { Purpose::Probe } else { Purpose::Keep }
    }

    /// The address is our own: the dial came in at our own door.
    pub(crate) fn on_myself(&mut self, addr: SocketAddr) {
        let addr = canonical(addr);
        self.targets.retain(|target| target.addr != addr);
        self.seeds.forget(|seed| matches!(seed, Seed::Addr(own) if canonical(*own) == addr));
        self.plan();
    }

    pub(crate) fn on_closed(&mut self, conn: ConnId, reason: CloseReason, now: Instant) {
        let Some(at) = self.targets.iter().position(|target| target.conn() == Some(conn)) else {
            return;
        };
        let target = &mut self.targets[at];
        let established = matches!(target.stage, Stage::Established { .. });
        if target.aim == Aim::Held {
            target.back_off(wait_after(reason, true), now, &mut self.rng);
        } else if established || is_our_choice(reason) {
            let addr = self.targets.swap_remove(at).addr;
            if reason != CloseReason::Probed {
                self.rests.pause(addr, wait_after(reason, false), now, &mut self.rng);
            }
        } else {
            self.fail(at, wait_after(reason, false), now);
        }
        if self.outbound() < self.floor() {
            self.below_floor.get_or_insert(now);
        }
        self.anchors_changed |= established;
        self.plan();
    }
}

/// The choice of the next step.
impl Dialer {
    fn next_step(&mut self, world: &mut World<'_>) -> Option<Step> {
        if let Some(addr) = self.refused_call(world) {
            return Some(Step::Refused { addr });
        }
        let addr = self
            .due_held(world)
            .or_else(|| self.next_anchor(world))
            .or_else(|| self.for_a_slot(world))
            .or_else(|| self.due_feeler(world));
        if let Some(addr) = addr {
            world.book.attempt(addr, world.wall);
            return Some(Step::Dial { addr });
        }
        self.release_seed(world.now)
            .or_else(|| self.ask_seeds(world))
            .or_else(|| self.ask_peers(world.now))
    }

    /// A call that is due and that may not be made: it is over.
    fn refused_call(&mut self, world: &World<'_>) -> Option<SocketAddr> {
        let at = self.targets.iter().position(|target| {
            target.aim == Aim::Called
                && matches!(target.stage, Stage::Waiting { until } if until <= world.now)
                && (world.refuses)(target.addr, Aim::Called)
        });
        at.map(|at| self.targets.swap_remove(at).addr)
    }

    fn due_held(&mut self, world: &World<'_>) -> Option<SocketAddr> {
        for target in &mut self.targets {
            if !matches!(target.stage, Stage::Waiting { until } if until <= world.now) {
                continue;
            }
            if !(world.refuses)(target.addr, Aim::Held) {
                target.stage = Stage::Dialing;
                return Some(target.addr);
            }
            target.stage = Stage::Waiting { until: world.now.after(REFUSED_WAIT) };
        }
        None
    }

    fn next_anchor(&mut self, world: &World<'_>) -> Option<SocketAddr> {
        while let Some(addr) = self.anchors.pop() {
            if self.missing() > 0 && self.is_free(addr) && !(world.refuses)(addr, Aim::Anchor) {
                self.add(addr, Aim::Anchor, Stage::Dialing);
                return Some(addr);
            }
        }
        None
    }

    fn for_a_slot(&mut self, world: &mut World<'_>) -> Option<SocketAddr> {
        let now = world.now;
        if !self.wants_dials() || now < self.next_look || !self.round.has_room(&self.slots, now) {
            return None;
        }
        let (book, refuses) = (&mut *world.book, world.refuses);
        let found = book.pick(Pick::Any, world.wall, &mut |record| {
            self.rests.is_over(record.addr, now)
                && self.is_free(record.addr)
                && !refuses(record.addr, Aim::Slot)
        });
        self.barren = found.is_none();
        let Some(addr) = found else {
            self.looked = now;
            self.next_look = now.after(ROUND);
            return None;
        };
        self.round.use_up();
        self.add(addr, Aim::Slot, Stage::Dialing);
        Some(addr)
    }

    fn due_feeler(&mut self, world: &mut World<'_>) -> Option<SocketAddr> {
        if self.slots.outbound == 0 || world.now < self.next_feeler {
            return None;
        }
        self.next_feeler = world.now.after(jittered(feeler_period(&self.slots), &mut self.rng));
        let under_way = self.targets.iter().filter(|target| target.aim == Aim::Feeler);
        if under_way.count() >= FEELERS_MAX {
            return None;
        }
        self.feelers = self.feelers.wrapping_add(1);
        let addr = self.pick_feeler(world)?;
        self.add(addr, Aim::Feeler, Stage::Dialing);
        Some(addr)
    }

    /// Whose place another wants; else three times of four who failed before, and then who was not
    /// tested for longest; of each in turns the new and the tried ones. Why in turns: nobody who
    /// fills one part of the book keeps us from testing the others.
    fn pick_feeler(&self, world: &mut World<'_>) -> Option<SocketAddr> {
        let (now, wall, refuses) = (world.now, world.wall, world.refuses);
        let may = |addr| {
            self.rests.is_over(addr, now) && !self.is_target(addr) && !refuses(addr, Aim::Feeler)
        };
        if let Some(addr) = world.book.contested(wall).filter(|addr| may(*addr)) {
            return Some(addr);
        }
        let new = self.look_for_feelers(Pick::New, world, &may);
        let tried = self.look_for_feelers(Pick::Stalest, world, &may);
        let new_first = (self.feelers / 4).is_multiple_of(2);
        let suspect =
            if new_first { new.suspect.or(tried.suspect) } else { tried.suspect.or(new.suspect) };
        let due = feeler_period(&self.slots) * RETEST_DUE;
        let tried_due =
            tried.untested.filter(|(tested, _)| !new_first && wall.since(*tested) >= due);
        let oldest = [new.untested, tried.untested].into_iter().flatten().min();
        let untested = tried_due.or(oldest);
        let picked = if self.feelers.is_multiple_of(4) {
            untested.or(suspect)
        } else {
            suspect.or(untested)
        };
        picked.map(|(_, addr)| addr)
    }

    /// Goes through one part of the book once, and takes nothing.
    fn look_for_feelers(
        &self,
        part: Pick,
        world: &mut World<'_>,
        may: &dyn Fn(SocketAddr) -> bool,
    ) -> Candidates {
        let (now, wall) = (world.now, world.wall);
        let period = feeler_period(&self.slots);
        let spacing = period * SPACING;
        let mut best = Candidates::default();
        world.book.pick(part, wall, &mut |record| {
            let AddressRecord { addr, failures, last_attempt, last_success, .. } = *record;
            let tested = last_attempt.max(last_success);
            let (best, wait) = match failures {
                0 => (&mut best.untested, period * RETEST),
                n => (&mut best.suspect, spacing * (1 << (n.min(7) - 1))),
            };
            let better = best.is_none_or(|(before, _)| tested < before);
            if better
                && wall.since(tested) >= wait
                && self.rests.may_note(addr, spacing, now)
                && may(addr)
            {
                *best = Some((tested, addr));
            }
            false
        });
        best
    }

    fn release_seed(&mut self, now: Instant) -> Option<Step> {
        let due = |target: &Target| target.release_due().is_some_and(|at| at <= now);
        let target = self.targets.swap_remove(self.targets.iter().position(due)?);
        self.rests.pause(target.addr, PATIENCE, now, &mut self.rng);
        // Else it would be asked again at once, and have everybody connected all the time.
        self.seeds.left(now, &mut self.rng);
        target.conn().map(|conn| Step::Release { conn })
    }

    fn ask_seeds(&mut self, world: &mut World<'_>) -> Option<Step> {
        if !self.seeds.is_asking() {
            let due = self.seeds_due().is_some_and(|due| due <= world.now);
            return due.then(|| {
                self.seeds.begin(world.now, &mut self.rng);
                Step::Reseed
            });
        }
        while let Some(seed) = self.seeds.take() {
            let addr = match seed {
                Seed::Name(name) => return Some(Step::Resolve { name: name.into() }),
                Seed::Addr(addr) => canonical(addr),
            };
            if !self.is_target(addr) && !(world.refuses)(addr, Aim::Seed) {
                world.book.hear(addr, addr.ip(), Capabilities::UNKNOWN, world.wall, world.wall);
                world.book.attempt(addr, world.wall);
                self.add(addr, Aim::Seed, Stage::Dialing);
                return Some(Step::Dial { addr });
            }
        }
        None
    }

    fn ask_peers(&mut self, now: Instant) -> Option<Step> {
        if now < self.ask_due()? {
            return None;
        }
        self.next_ask = now.after(self.ask_wait);
        self.ask_wait = (self.ask_wait * 2).min(ASK_MAX);
        Some(Step::AskPeers)
    }

    fn note_failures(&mut self, world: &mut World<'_>) {
        let online = self.outbound() >= ONLINE.min(self.slots.outbound.max(1) as usize);
        let spacing = feeler_period(&self.slots) * SPACING;
        for addr in std::mem::take(&mut self.failed) {
            if online && self.rests.may_note(addr, spacing, world.now) {
                self.rests.note(addr, world.now);
                world.book.failed(addr, world.wall);
            }
        }
    }
}

/// Counts and deadlines.
impl Dialer {
    fn add(&mut self, addr: SocketAddr, aim: Aim, stage: Stage) {
        let (host, group) = (self.locality.host(addr), self.locality.group(addr));
        self.targets.push(Target { addr, host, group, aim, stage, failures: 0 });
    }

    /// A dial or a greeting came to nothing.
    fn fail(&mut self, at: usize, least: Duration, now: Instant) {
        let target = &mut self.targets[at];
        self.failed.push(target.addr);
        if target.aim == Aim::Held {
            return target.back_off(least, now, &mut self.rng);
        }
        match target.aim {
            // What is dead is tested at half the cost: a book full of it is clean the sooner.
            Aim::Feeler => {
                let soon = now.after(feeler_period(&self.slots) / 2);
                self.next_feeler = self.next_feeler.min(soon);
            }
            _ if target.is_under_way() => self.odds.count(false),
            _ => {}
        }
        let addr = self.targets.swap_remove(at).addr;
        self.rests.fail(addr, least, now, &mut self.rng);
    }

    /// Established outbound peers that are to stay.
    fn outbound(&self) -> usize {
        let counts = |target: &&Target| {
            target.is_to_stay() && matches!(target.stage, Stage::Established { .. })
        };
        self.targets.iter().filter(counts).count()
    }

    fn missing(&self) -> usize {
        (self.slots.outbound as usize).saturating_sub(self.outbound())
    }

    fn floor(&self) -> usize {
        self.slots.outbound_floor.min(self.slots.outbound) as usize
    }

    /// Dials and greetings that may yet fill a place.
    fn under_way(&self) -> usize {
        self.targets.iter().filter(|target| target.is_under_way()).count()
    }

    fn wants_dials(&self) -> bool {
        let most = self.missing() * self.odds.dials_per_success() as usize;
        self.under_way() < most.min(self.slots.dials as usize)
    }

    fn is_target(&self, addr: SocketAddr) -> bool {
        let host = self.locality.host(addr);
        self.targets.iter().any(|target| target.host == host)
    }

    /// Whether neither its host nor its group has a dial or a connection that counts.
    fn is_free(&self, addr: SocketAddr) -> bool {
        let (host, group) = (self.locality.host(addr), self.locality.group(addr));
        let taken = |target: &Target| {
            target.host == host || (target.group == group && target.takes_group())
        };
        !self.targets.iter().any(taken)
    }

    /// What a connection whose handshake is done is for.
    fn aim_now(&self, at: usize) -> Aim {
        let target = &self.targets[at];
        let rival = |other: &Target| {
            other.addr != target.addr && other.group == target.group && other.takes_group()
        };
        match target.aim {
            Aim::Held | Aim::Called => target.aim,
            _ if self.missing() == 0 => Aim::Feeler,
            Aim::Seed => Aim::Seed,
            Aim::Feeler if self.targets.iter().any(rival) => Aim::Feeler,
            Aim::Feeler => Aim::Slot,
            other => other,
        }
    }

    fn seeds_due(&self) -> Option<Instant> {
        let since = self.below_floor?;
        if self.seeds.is_empty() || self.slots.outbound == 0 {
            return None;
        }
        let fetching = self.targets.iter().any(|target| target.aim == Aim::Seed);
        let alone = self.barren && self.under_way() == 0 && !fetching;
        let patient = if alone { Instant::START } else { since.after(PATIENCE) };
        Some(patient.max(self.seeds.next))
    }

    fn ask_due(&self) -> Option<Instant> {
        (self.missing() > 0).then_some(self.next_ask)
    }

    /// Sets the deadline anew, after every change.
    fn plan(&mut self) {
        if self.missing() == 0 {
            self.ask_wait = ASK_MIN;
        }
        let at_once = !self.failed.is_empty() || !self.anchors.is_empty() || self.seeds.is_asking();
        let dial = self.wants_dials().then(|| self.next_look.max(self.round.ready_at()));
        let others = [
            at_once.then_some(Instant::START),
            dial,
            self.seeds_due(),
            self.ask_due(),
            (self.slots.outbound > 0).then_some(self.next_feeler),
        ];
        let targets = self.targets.iter().filter_map(|target| match target.stage {
            Stage::Waiting { until } => Some(until),
            _ => target.release_due(),
        });
        let next = others.into_iter().flatten().chain(targets).min();
        self.next = if self.stopped { None } else { next };
    }
}

/// How long an address is left alone at least.
const fn wait_after(reason: CloseReason, held: bool) -> Duration {
    match reason {
        // Who bans us is discouraged besides, for longer.
        CloseReason::RemoteClosed | CloseReason::BannedByRemote => CLOSED_US_WAIT,
        // Who hangs up on our greeting may still have an older connection of ours.
        CloseReason::HandshakeAborted if !held => CLOSED_US_WAIT,
        _ => Duration::ZERO,
    }
}

/// Closings that tell nothing of the remote.
const fn is_our_choice(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::Banned
            | CloseReason::Duplicate
            | CloseReason::Evicted
            | CloseReason::Myself
            | CloseReason::NoRoom
            | CloseReason::Operator
            | CloseReason::Probed
            | CloseReason::Shutdown
    )
}

/// At least a millisecond, and at most a year: neither a busy loop nor an overflow.
fn feeler_period(slots: &Slots) -> Duration {
    slots.feeler_period.clamp(Duration::from_millis(1), Duration::from_secs(365 * 86_400))
}

/// A quarter more or less.
fn jittered(base: Duration, rng: &mut Rng) -> Duration {
    let spread = Duration::from_micros(rng.below(base.as_micros() as u64 / 2 + 1));
    base - base / 4 + spread
}
