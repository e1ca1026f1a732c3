//! Which way a transaction goes that is not public yet.
//!
//! `stems.rs` tells what came and what became of it; the machine answers with orders
//! ([`Dandelion::take_order`]): send a stem to a successor, fluff, ask the chain to aggregate.
//!
//! A stem passes these states; all ways end in a fluff, or in being seen public:
//!
//! ```text
//!   arrives --- the coin or the epoch says so ----------------------------> fluff
//!      |                                                                      ^
//!      +--> locked --(tip)--> waits --(patience)--> asked --(chain)--+--------+
//!      |                                                             |        ^
//!      +-------------------------------------------------> leaves <--+        |
//!                                                            |   nobody there |
//!                                                            +----------------+
//!                                                            v                |
//!                                                          sent --(embargo, comes back)
//! ```
//!
//! Rules, each with its reason:
//!
//! - Our own stem is never fluffed by a coin. Why: the first hop is all that hides us.
//! - A stem goes nowhere that it came from. Why: it would be fluffed there, next to who sent it.
//! - What was sent is not sent again when its successor leaves. Why: who hangs up would see whether
//!   we hold one, and who gets it next. Its embargo brings it to light.
//! - Only what was sent has come back when it comes again. Why: a copy of what still waits here
//!   came by another way, and is on its way without us doing anything.
//! - A peer with too many stems loses the eldest that went on, silently, and else its new ones
//!   are passed on without being held. Why: whoever sent them still has an embargo of its own, and
//!   nothing that others can see depends on how much is held.
//! - Our own are never forgotten; the eldest of too many is fluffed.
//!
//! Everything is drawn from a generator of its own, of which nothing goes on the wire.

mod held;
mod reading;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use codec::{Hash, Network, Payload};
use siphasher::sip::SipHasher24;

use crate::address::HostKey;
use crate::config::AGGREGATE_MAX;
use crate::event::ConnId;
use crate::rng::Rng;
use crate::time::Instant;

pub(crate) use held::Edge;
use held::{Held, Part, State, Stem};
pub(crate) use reading::{Reading, as_kind, read};
pub use rules::{DandelionRules, Embargo, Scheme};

/// How long the chain may take to make some transactions one; then they go on as they are. Guess:
/// a third of the patience that they had anyway.
const AGGREGATE_ANSWER: Duration = Duration::from_secs(10);

/// Batches that the chain has not answered. A chain that leaves so many without an answer is not
/// asked any more.
const BATCHES_ASKED_MAX: usize = 16;

/// Peers whose send queue had no room for one stem, before it is fluffed: as many as are dialled by
/// default. Some may come while it is under embargo, and each is tried once.
const DROPPED_MAX: usize = 8;

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// Send it to a successor.
    Send(Leaving),
    /// It is public from now on.
    Fluff(Payload),
    /// Ask the chain to make these one.
    Ask { batch: u64, stems: Arc<[Payload]> },
}

/// A stem that looks for a successor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Leaving {
    /// What it is held as, if it is.
    number: Option<u64>,
    pub(crate) payload: Payload,
    edge: Edge,
    /// Where it came from, and who could not get it.
    pub(crate) avoid: Vec<HostKey>,
}

/// What an epoch draws.
#[derive(Debug, Default)]
struct Epoch {
    /// `None`: nothing went by yet.
    ends: Option<Instant>,
    /// The role: what others bring ends here.
    fluffs: bool,
    /// Decides which edge leads to which successor.
    key: (u64, u64),
    successors: [Option<HostKey>; 2],
}

/// Stems, their ways and their embargoes.
#[derive(Debug)]
pub(crate) struct Dandelion {
    rules: DandelionRules,
    rng: Rng,
    epoch: Epoch,
    /// Whom we dialled, in the order that they came in.
    outbound: Vec<(HostKey, ConnId)>,
    held: Held,
    /// What is gathered, some of it perhaps over by now, and until when.
    waiting: Vec<u64>,
    waiting_bytes: usize,
    patience_ends: Option<Instant>,
    asked: BTreeSet<u64>,
    aggregate_bytes_max: usize,
    orders: VecDeque<Order>,
}

/// What a stem transaction is to us, before the chain has seen it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// Nothing that is held: the chain is to look at it.
    New,
    /// It is held, and either came back, and is fluffed, or has not left yet.
    Held,
}

impl Dandelion {
    pub(crate) fn new(rules: DandelionRules, network: &Network, rng: Rng) -> Self {
        Self {
            rules,
            rng,
            epoch: Epoch::default(),
            outbound: Vec::new(),
            held: Held::default(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            patience_ends: None,
            asked: BTreeSet::new(),
            aggregate_bytes_max: rules::frame_bytes_max(network),
            orders: VecDeque::new(),
        }
    }

    pub(crate) fn take_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// Whether nothing is held.
    pub(crate) fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// Somebody whom we dialled is here.
    pub(crate) fn join(&mut self, host: HostKey, conn: ConnId) {
        self.outbound.push((host, conn));
    }

    /// A peer is gone. What was sent to it stays under its embargo.
    pub(crate) fn leave(&mut self, conn: ConnId) {
        let Some(index) = self.outbound.iter().position(|(_, other)| *other == conn) else {
            return;
        };
        let (host, _) = self.outbound.remove(index);
        for successor in &mut self.epoch.successors {
            successor.take_if(|it| *it == host);
        }
    }

    /// A stem transaction came, and the chain has not seen it.
    pub(crate) fn on_arrival(&mut self, id: &Hash, payload: &Payload) -> Arrival {
        let Some(number) = self.held.find(id) else { return Arrival::New };
        if self.is_unsent(number, payload) {
            return Arrival::Held;
        }
        let whole = self.held.get(number).and_then(Stem::whole);
        if whole.is_none_or(|held| held.body() != payload.body()) {
            return Arrival::New;
        }
        self.fluff(number);
        Arrival::Held
    }

    /// Whether this is a copy of what has not left yet.
    fn is_unsent(&self, number: u64, payload: &Payload) -> bool {
        let Some(stem) = self.held.get(number) else { return false };
        let is_unsent = match stem.state {
            State::Waits | State::Locked(_) | State::Asked { .. } => true,
            State::Leaves | State::Sent(_) => false,
        };
        is_unsent && stem.parts.iter().any(|part| part.payload.body() == payload.body())
    }

    /// A stem that the chain took, as a StemTransaction: somebody's, or our own.
    pub(crate) fn take(
        &mut self,
        edge: Edge,
        payload: Payload,
        reading: Reading,
        height: u64,
        now: Instant,
    ) {
        self.roll(now);
        let Reading { keys, lock_height } = reading;
        if let Some(key) = keys.iter().find(|key| self.held.find(key).is_some()) {
            return self.take_again(edge, payload, &keys, key);
        }
        let is_own = edge == Edge::Own;
        if self.rules.scheme == Scheme::PlusPlus && self.epoch.fluffs && !is_own {
            return self.orders.push_back(Order::Fluff(payload));
        }
        if !self.make_room(edge, payload.frame().len()) {
            return self.pass(edge, payload);
        }
        let state = self.state_of(is_own, lock_height, height);
        let part = Part { payload, keys, edge };
        let number = self.held.insert(Stem::new(vec![part], state));
        match state {
            State::Waits => self.wait(number, now),
            State::Leaves => self.send(number),
            State::Locked(_) | State::Asked { .. } | State::Sent(_) => {}
        }
    }

    /// A stem that the chain took, and which is held, or some of it.
    fn take_again(&mut self, edge: Edge, payload: Payload, keys: &[Hash], held: &Hash) {
        if edge == Edge::Own {
            // It is on its way; and from now on it is not forgotten.
            if self.held.edge_of(held) != Some(Edge::Own) {
                self.make_room(edge, payload.frame().len());
                self.held.adopt(held);
            }
            return;
        }
        let unsent = self.held.find(held).filter(|number| self.is_unsent(*number, &payload));
        if unsent.is_none() {
            // It came in a circle, perhaps with others by now.
            self.settle(keys);
            self.orders.push_back(Order::Fluff(payload));
        }
    }

    /// What a new stem begins with.
    fn state_of(&self, is_own: bool, lock_height: u64, height: u64) -> State {
        match self.rules.scheme {
            Scheme::PlusPlus => State::Leaves,
            Scheme::Grin if is_own || !self.epoch.fluffs => State::Leaves,
            Scheme::Grin | Scheme::AggregateOnStem => State::Waits,
            Scheme::AggregateAndHold => {
                let blocks = lock_height.saturating_sub(height);
                let is_locked = (1..=self.rules.lock_blocks_max).contains(&blocks);
                if is_locked { State::Locked(lock_height) } else { State::Waits }
            }
        }
    }

    fn make_room(&mut self, edge: Edge, bytes: usize) -> bool {
        while !self.held.make_room(edge, bytes, &self.rules) {
            let Some(oldest) = self.held.oldest(edge).filter(|_| edge == Edge::Own) else {
                return false;
            };
            self.fluff(oldest);
        }
        true
    }

    /// Goes on without being held.
    fn pass(&mut self, edge: Edge, payload: Payload) {
        let fluffs = match self.rules.scheme {
            Scheme::PlusPlus | Scheme::Grin => self.epoch.fluffs,
            Scheme::AggregateOnStem | Scheme::AggregateAndHold => self.toss(),
        };
        self.orders.push_back(if fluffs {
            Order::Fluff(payload)
        } else {
            let avoid = hosts(&[edge]);
            Order::Send(Leaving { number: None, payload, edge, avoid })
        });
    }

    /// Whether the coin says that a stem ends.
    fn toss(&mut self) -> bool {
        self.rng.chance(u64::from(self.rules.fluff_percent), 100)
    }

    /// A new epoch, if the last one is over. The first has any part of the length of one, so that
    /// its end does not tell when we started.
    fn roll(&mut self, now: Instant) {
        let length = self.rules.epoch.as_micros().clamp(1, u64::MAX.into()) as u64;
        let ends = match self.epoch.ends {
            Some(ends) if ends > now => return,
            Some(ends) => {
                let over = now.since(ends).as_micros() as u64 / length + 1;
                ends.after(Duration::from_micros(over.saturating_mul(length)))
            }
            None => now.after(Duration::from_micros(1 + self.rng.below(length))),
        };
        self.epoch = Epoch {
            ends: Some(ends),
            fluffs: self.toss(),
            key: (self.rng.u64(), self.rng.u64()),
            successors: [None; 2],
        };
    }

    /// Whom a stem goes to. `None`: there is nobody who has not been tried and did not bring it.
    pub(crate) fn successor(
        &mut self,
        leaving: &Leaving,
        now: Instant,
    ) -> Option<(HostKey, ConnId)> {
        self.roll(now);
        let places = self.rules.successors();
        for place in 0..places {
            let chosen = self.epoch.successors;
            let free = |host: &HostKey| !chosen.contains(&Some(*host));
            if chosen[place].is_none() {
                self.epoch.successors[place] = self.pick(free);
            }
        }
        let first = self.place_of(leaving.edge) % places;
        let open = |host: &HostKey| !leaving.avoid.contains(host);
        let mapped = (0..places).map(|place| self.epoch.successors[(first + place) % places]);
        let host = match mapped.flatten().find(open) {
            Some(host) => host,
            None => self.pick(open)?,
        };
        self.outbound.iter().copied().find(|(other, _)| *other == host)
    }

    fn pick(&mut self, admits: impl Fn(&HostKey) -> bool) -> Option<HostKey> {
        let hosts = self.outbound.iter().map(|(host, _)| *host);
        let admitted: Vec<HostKey> = hosts.filter(admits).collect();
        self.rng.pick(&admitted).copied()
    }

    /// Which successor an edge is mapped to, for this epoch. Our own edge is one like others.
    fn place_of(&self, edge: Edge) -> usize {
        let mut hasher = SipHasher24::new_with_keys(self.epoch.key.0, self.epoch.key.1);
        if let Edge::Host(host) = edge {
            hasher.write(&host.bytes());
        }
        (hasher.finish() & 1) as usize
    }

    fn send(&mut self, number: u64) {
        self.held.set_state(number, State::Leaves);
        let Some(stem) = self.held.get(number) else { return };
        let (Some(payload), Some(first)) = (stem.whole().cloned(), stem.parts.first()) else {
            return;
        };
        let edges: Vec<Edge> = stem.parts.iter().map(|part| part.edge).collect();
        let avoid = [hosts(&edges), stem.dropped.clone()].concat();
        let leaving = Leaving { number: Some(number), payload, edge: first.edge, avoid };
        self.orders.push_back(Order::Send(leaving));
    }

    /// It was sent: its embargo begins, unless it has one since it was sent to somebody else.
    pub(crate) fn sent(&mut self, leaving: &Leaving, to: HostKey, now: Instant) {
        let Some(number) = leaving.number.filter(|number| self.held.get(*number).is_some()) else {
            return;
        };
        let embargo = self.rules.embargo.draw(&mut self.rng);
        self.held.set_state(number, State::Sent(to));
        self.held.set_due(number, now.after(embargo));
    }

    /// Nobody could get it.
    pub(crate) fn stranded(&mut self, leaving: Leaving) {
        match leaving.number {
            Some(number) => self.fluff(number),
            None => self.orders.push_back(Order::Fluff(leaving.payload)),
        }
    }

    /// It never left for this peer: another is to get it, whose queue it was not dropped from yet;
    /// without one it is fluffed.
    pub(crate) fn dropped(&mut self, to: HostKey, id: &Hash) {
        let Some(number) = self.held.find(id) else { return };
        let Some(stem) = self.held.get(number).filter(|stem| stem.state == State::Sent(to)) else {
            return;
        };
        if stem.dropped.len() + 1 >= DROPPED_MAX {
            return self.fluff(number);
        }
        self.held.note_dropped(number, to);
        self.send(number);
    }

    /// It is public from now on: whole, or what is left of it.
    fn fluff(&mut self, number: u64) {
        let Some(stem) = self.held.remove(number) else { return };
        match stem.whole() {
            Some(payload) => self.orders.push_back(Order::Fluff(payload.clone())),
            None => {
                let parts = stem.parts.into_iter().map(|part| Order::Fluff(part.payload));
                self.orders.extend(parts);
            }
        }
    }

    /// It is gathered, with those that come while our patience lasts.
    fn wait(&mut self, number: u64, now: Instant) {
        let bytes = self.held.get(number).map_or(0, Stem::bytes);
        self.held.set_state(number, State::Waits);
        let is_full = self.waiting_bytes + bytes > self.aggregate_bytes_max;
        if is_full || self.waiting.len() == AGGREGATE_MAX {
            self.close_batch(now);
        }
        self.waiting.push(number);
        self.waiting_bytes += bytes;
        let patience = now.after(self.rules.patience);
        // grin's epoch decides what is done with them, and so ends our patience too.
        let epoch = self.epoch.ends.filter(|_| !self.rules.gathers());
        let ends = patience.min(epoch.unwrap_or(patience));
        self.patience_ends.get_or_insert(ends);
    }

    /// Patience is at its end: the coin is tossed, for all that were gathered at once.
    fn close_batch(&mut self, now: Instant) {
        self.patience_ends = None;
        self.waiting_bytes = 0;
        let mut numbers = std::mem::take(&mut self.waiting);
        numbers.retain(|number| self.held.get(*number).is_some());
        let is_own = |number: &u64| self.held.get(*number).is_some_and(Stem::is_own);
        let fluffs =
            if self.rules.gathers() { !numbers.iter().any(is_own) && self.toss() } else { true };
        if numbers.len() < 2 || self.asked.len() >= BATCHES_ASKED_MAX {
            return numbers.into_iter().for_each(|number| self.go(number, fluffs));
        }
        let stems = numbers.iter().filter_map(|number| self.held.remove(*number));
        let parts: Vec<Part> = stems.flat_map(|stem| stem.parts).collect();
        let stems = parts.iter().map(|part| part.payload.clone()).collect();
        let state = State::Asked { fluffs, parts: parts.len() };
        let due = Some(now.after(AGGREGATE_ANSWER));
        let batch = self.held.insert(Stem { due, ..Stem::new(parts, state) });
        self.asked.insert(batch);
        self.orders.push_back(Order::Ask { batch, stems });
    }

    /// What has been gathered goes on, or ends here.
    fn go(&mut self, number: u64, fluffs: bool) {
        if fluffs { self.fluff(number) } else { self.send(number) }
    }

    /// The chain has aggregated a batch, or has not.
    pub(crate) fn on_aggregated(&mut self, batch: u64, aggregate: Option<Payload>) {
        if !self.asked.remove(&batch) {
            return;
        }
        let Some(stem) = self.held.get(batch) else { return };
        let State::Asked { fluffs, parts } = stem.state else { return };
        // One of them may be over by now, and then their aggregate is no transaction any more.
        let complete = stem.parts.len() == parts;
        let bytes = stem.bytes();
        let fits = |id: &Hash, payload: &Payload| {
            let other = self.held.find(id).is_some_and(|number| number != batch);
            complete && !other && payload.frame().len() <= bytes
        };
        let aggregate = aggregate.map(|payload| (payload.id(), payload));
        match aggregate.filter(|(id, payload)| fits(id, payload)) {
            Some(aggregate) => self.unite(batch, aggregate, fluffs),
            None => self.part(batch, fluffs),
        }
    }

    /// The parts of a batch travel as one from now on.
    fn unite(&mut self, batch: u64, aggregate: (Hash, Payload), fluffs: bool) {
        let Some(stem) = self.held.remove(batch) else { return };
        let (aggregate, state, due) = (Some(aggregate), State::Leaves, None);
        let number = self.held.insert(Stem { aggregate, state, due, ..stem });
        self.go(number, fluffs);
    }

    /// The parts of a batch go on as they are.
    fn part(&mut self, batch: u64, fluffs: bool) {
        let Some(stem) = self.held.remove(batch) else { return };
        for part in stem.parts {
            let number = self.held.insert(Stem::new(vec![part], State::Leaves));
            self.go(number, fluffs);
        }
    }

    /// What is known by these is over: public, or not wanted any more.
    pub(crate) fn settle(&mut self, keys: &[Hash]) {
        keys.iter().for_each(|key| self.held.settle(key));
    }

    /// The tip has reached this height: what waited for it is gathered.
    pub(crate) fn on_tip(&mut self, height: u64, now: Instant) {
        if self.rules.scheme != Scheme::AggregateAndHold {
            return;
        }
        for number in self.held.unlocked(height) {
            self.wait(number, now);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.held.next_due(), self.patience_ends].into_iter().flatten().min()
    }

    /// Time has passed: embargoes end, and patiences.
    pub(crate) fn on_time(&mut self, now: Instant) {
        while let Some(number) = self.held.take_due(now) {
            match self.held.get(number).map(|stem| stem.state) {
                Some(State::Asked { fluffs, .. }) => self.part(number, fluffs),
                Some(State::Sent(_) | State::Leaves | State::Waits | State::Locked(_)) => {
                    self.fluff(number);
                }
                None => {}
            }
        }
        if self.patience_ends.is_some_and(|at| at <= now) {
            self.close_batch(now);
        }
    }
}

/// The hosts among these edges.
fn hosts(edges: &[Edge]) -> Vec<HostKey> {
    let host = |edge: &Edge| match edge {
        Edge::Own => None,
        Edge::Host(host) => Some(*host),
    };
    edges.iter().filter_map(host).collect()
}
