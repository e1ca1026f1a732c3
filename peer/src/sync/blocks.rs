//! The blocks that are wanted in a row, and the peers that they are asked of.
//!
//! A block is open, asked of one peer or, if that one is slow, of two, here, or missing. Open ones
//! are asked from the lowest on, each of the peer that is expected to give it soonest. When none is
//! open within the window, whoever is idle is asked for what others are late with.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use codec::{Hash, Kind, Payload};

use super::SyncRules;
use super::giver::{Facts, Flight, Giver};
use crate::chain::{Freshness, Source, ToChain};
use crate::config::BLOCKS_WANTED_MAX;
use crate::event::ConnId;
use crate::time::Instant;

/// How large a block is thought to be before one came.
const BLOCK_BYTES_UNKNOWN: u64 = 64 << 10;

/// Open blocks that are looked at for one question, and blocks that are looked at for somebody to
/// hedge: the next ones are what the chain waits for.
const LOOKED_AT_MAX: usize = 64;

/// So many peers that refused a block are enough to call it missing.
const REFUSED_MAX: usize = 32;

/// So often a block may be let pass, by whomever.
const PASSED_MAX: u8 = 5;

/// How long the next block waits for somebody to come who may have it.
const NOBODY_PATIENCE: Duration = Duration::from_secs(10);

/// How often further peers are looked for: all are walked through.
const SEARCH_PERIOD: Duration = Duration::from_secs(1);

/// A block that is wanted.
#[derive(Debug)]
struct Wanted {
    id: Hash,
    height: u64,
    state: State,
    /// Whom it is asked of.
    askers: [Option<ConnId>; 2],
    /// Who said that they do not have it; at most [`REFUSED_MAX`].
    refused: Vec<ConnId>,
    /// How often it was let pass, and by whom last.
    passed: u8,
    passed_by: Option<ConnId>,
}

#[derive(Debug)]
enum State {
    /// Asked for or not.
    Open,
    Here(Payload, Source),
    Missing,
}

/// A question to a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Order {
    pub(crate) conn: ConnId,
    /// Ids in a row.
    pub(crate) ids: Vec<Hash>,
    /// Somebody else was asked too.
    pub(crate) is_hedge: bool,
}

/// What became of an answer.
#[derive(Debug)]
pub(crate) enum Taken {
    /// No block that was wanted here.
    Not(Payload),
    /// It is kept until those before it are here. The giver left out these.
    Kept(Vec<Hash>),
    /// Somebody else was faster, or nobody wants it any more; or there is no room for it.
    Late(Vec<Hash>),
}

#[derive(Debug)]
pub(crate) struct Blocks {
    rules: SyncRules,
    wanted: VecDeque<Wanted>,
    /// Number of the first: numbers stay while the queue moves.
    first: u64,
    numbers: BTreeMap<Hash, u64>,
    /// None is open and unasked below this.
    open_from: u64,
    givers: BTreeMap<ConnId, Giver>,
    held_bytes: usize,
    /// How large blocks are, of late.
    block_bytes: u64,
    /// Since when nobody is here who may have the next block.
    nobody_since: Option<Instant>,
    /// When to look for further givers.
    search_at: Option<Instant>,
    /// When something is due; as of the last plan.
    due: Option<Instant>,
    pub(crate) reassigned: u64,
}

impl Blocks {
    pub(crate) fn new(rules: SyncRules) -> Self {
        // Blocks that are wanted later may belong before those that are wanted now.
        let first = u64::MAX / 2;
        Self {
            rules,
            wanted: VecDeque::new(),
            first,
            numbers: BTreeMap::new(),
            open_from: first,
            givers: BTreeMap::new(),
            held_bytes: 0,
            block_bytes: BLOCK_BYTES_UNKNOWN,
            nobody_since: None,
            search_at: None,
            due: None,
            reassigned: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Wants these, behind those that are wanted or, if they are lower, before them. Answers which
    /// are too many.
    pub(crate) fn want(&mut self, height: u64, ids: &Arc<[Hash]>, now: Instant) -> Vec<Hash> {
        let room = BLOCKS_WANTED_MAX - self.wanted.len();
        let next = self.wanted.front().map(|block| block.height);
        let lower = next.is_some_and(|next| height.saturating_add(ids.len() as u64) <= next);
        let (taken, beyond) = ids.split_at(ids.len().min(room));
        // The chain's word: beyond the largest number all are at it.
        let heights = (0..).map(|above| height.saturating_add(above));
        let mut fresh: Vec<(u64, Hash)> = heights.zip(taken.iter().copied()).collect();
        fresh.retain(|(_, id)| !self.numbers.contains_key(id));
        if lower {
            for (height, id) in fresh.into_iter().rev() {
                let number = self.first - 1;
                if *self.numbers.entry(id).or_insert(number) == number {
                    self.wanted.push_front(Wanted::new(id, height));
                    self.first = number;
                }
            }
            self.open_from = self.first;
        } else {
            for (height, id) in fresh {
                let number = self.first + self.wanted.len() as u64;
                if *self.numbers.entry(id).or_insert(number) == number {
                    self.wanted.push_back(Wanted::new(id, height));
                }
            }
        }
        if self.givers.is_empty() {
            self.search_at.get_or_insert(now);
        } else {
            self.search_soon(now);
        }
        beyond.to_vec()
    }

    /// Wants nothing any more.
    pub(crate) fn cancel(&mut self) {
        self.first += self.wanted.len() as u64;
        self.open_from = self.first;
        self.wanted.clear();
        self.numbers.clear();
        self.held_bytes = 0;
        (self.nobody_since, self.search_at, self.due) = (None, None, None);
        self.givers.values_mut().for_each(Giver::cancel);
    }

    fn get(&self, number: u64) -> Option<&Wanted> {
        self.wanted.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn find_mut(&mut self, id: &Hash) -> Option<(u64, &mut Wanted)> {
        let number = *self.numbers.get(id)?;
        let block = self.wanted.get_mut(usize::try_from(number - self.first).ok()?)?;
        Some((number, block))
    }

    // The peers.

    pub(crate) fn givers(&self) -> Vec<ConnId> {
        self.givers.keys().copied().collect()
    }

    /// What is known of a giver now.
    pub(crate) fn update(&mut self, conn: ConnId, facts: Facts) {
        if let Some(giver) = self.givers.get_mut(&conn) {
            giver.facts = facts;
        }
    }

    /// Whether to look for further givers now. Once in a while.
    pub(crate) fn searches(&mut self, now: Instant) -> bool {
        self.search_at.take_if(|at| *at <= now).is_some()
    }

    /// A peer may have come, or may have got more blocks.
    pub(crate) fn search_soon(&mut self, now: Instant) {
        if !self.wanted.is_empty() {
            let at = now.after(SEARCH_PERIOD);
            let at = *self.search_at.get_or_insert(at);
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
    }

    /// Height of the next block, from which a peer is worth asking.
    pub(crate) fn height(&self) -> Option<u64> {
        self.wanted.front().map(|block| block.height)
    }

    /// Whether this peer can be added, and is not here.
    pub(crate) fn takes(&self, conn: ConnId) -> bool {
        !self.givers.contains_key(&conn)
    }

    /// A place for one more: a free one, or that of one that rests or does not have the next block.
    pub(crate) fn make_place(&mut self, now: Instant) -> bool {
        if self.givers.len() < self.rules.peers as usize {
            return true;
        }
        let next = self.wanted.front();
        let spare = self.givers.iter().filter(|(conn, giver)| {
            let useless = next.is_some_and(|block| !block.may_come_of(**conn, giver));
            giver.in_flight() == 0 && (useless || giver.rested_at(now).is_some())
        });
        let worst = spare.max_by_key(|(_, giver)| giver.failures).map(|(conn, _)| *conn);
        worst.is_some_and(|worst| self.left(worst))
    }

    /// Adds a peer, for which a place was made.
    pub(crate) fn add(&mut self, conn: ConnId, facts: Facts, now: Instant) {
        self.givers.insert(conn, Giver::new(facts, now));
    }

    /// A peer is gone: others are asked for what it was to give.
    pub(crate) fn left(&mut self, conn: ConnId) -> bool {
        let Some(giver) = self.givers.remove(&conn) else { return false };
        for id in giver.into_flight() {
            self.reopen(conn, &id);
        }
        true
    }

    /// This peer is no longer waited for.
    fn reopen(&mut self, conn: ConnId, id: &Hash) {
        let Some((number, block)) = self.find_mut(id) else { return };
        for asker in &mut block.askers {
            asker.take_if(|asker| *asker == conn);
        }
        if block.is_unasked() {
            self.open_from = self.open_from.min(number);
            self.reassigned += 1;
        }
    }

    // Answers.

    /// An answer of a peer, a block or an envelope that says to hold one.
    pub(crate) fn take(&mut self, payload: Payload, from: Source, now: Instant) -> Taken {
        let id = match payload.envelope() {
            Some((Kind::Block, id, _)) => id,
            None if payload.kind() == Kind::Block => payload.id(),
            Some(_) | None => return Taken::Not(payload),
        };
        let bytes = payload.frame().len();
        let Some(giver) = self.givers.get_mut(&from.conn) else { return Taken::Not(payload) };
        let Some(left_out) = giver.give(&id, bytes, now) else { return Taken::Not(payload) };
        for id in &left_out {
            self.reopen(from.conn, id);
        }
        self.note_size(bytes as u64);
        let (first, held, most) = (self.first, self.held_bytes, self.rules.window_bytes);
        let Some((number, block)) = self.find_mut(&id) else { return Taken::Late(left_out) };
        if !matches!(block.state, State::Open) {
            return Taken::Late(left_out);
        }
        if number > first && held + bytes > most {
            self.reopen(from.conn, &id);
            return Taken::Late(left_out);
        }
        block.state = State::Here(payload, from);
        block.askers = [None; 2];
        self.held_bytes += bytes;
        Taken::Kept(left_out)
    }

    /// Growth shows at once, and is forgotten slowly: what is on its way is reckoned with it.
    fn note_size(&mut self, bytes: u64) {
        let mean = self.block_bytes;
        self.block_bytes =
            if bytes > mean { mean / 2 + bytes / 2 } else { mean - mean / 8 + bytes / 8 }.max(1);
    }

    /// A peer says that it does not have this one. Answers what it will not give, that included.
    pub(crate) fn refuse(&mut self, conn: ConnId, id: &Hash, now: Instant) -> Vec<Hash> {
        let giver = self.givers.get_mut(&conn);
        let Some(ids) = giver.and_then(|giver| giver.refuse(id, now)) else { return Vec::new() };
        if let Some((_, block)) = self.find_mut(id)
            && block.refused.len() < REFUSED_MAX
        {
            block.refused.push(conn);
        }
        for id in &ids {
            self.reopen(conn, id);
        }
        ids
    }

    /// The next event for the chain, if it fits.
    pub(crate) fn next(&mut self, fits: impl FnOnce(&ToChain) -> bool) -> Option<ToChain> {
        let block = self.wanted.front_mut()?;
        let event = match &block.state {
            State::Open => return None,
            State::Here(payload, from) => {
                let (from, payload) = (*from, payload.clone());
                ToChain::Payload { from, payload, freshness: Freshness::Next }
            }
            State::Missing => ToChain::Missing { kind: Kind::Block, id: block.id },
        };
        if !fits(&event) {
            return None;
        }
        if let State::Here(payload, _) = &block.state {
            self.held_bytes -= payload.frame().len();
        }
        let block = self.wanted.pop_front()?;
        self.numbers.remove(&block.id);
        self.first += 1;
        self.open_from = self.open_from.max(self.first);
        self.nobody_since = None;
        Some(event)
    }

    /// Whether one is ready to go.
    pub(crate) fn has_next(&self) -> bool {
        self.wanted.front().is_some_and(|block| !matches!(block.state, State::Open))
    }

    // Questions.

    /// Takes back what givers let pass.
    pub(crate) fn expire(&mut self, now: Instant) {
        let bytes = self.block_bytes;
        for conn in self.givers() {
            let Some(giver) = self.givers.get_mut(&conn) else { continue };
            for id in giver.take_late(bytes, now) {
                if let Some((_, block)) = self.find_mut(&id) {
                    block.passed = block.passed.saturating_add(1);
                    block.passed_by = Some(conn);
                }
                self.reopen(conn, &id);
            }
        }
    }

    /// The next question to leave. To be called until there is none; then what is due is known.
    pub(crate) fn plan(&mut self, now: Instant) -> Option<Order> {
        let order = self.plan_open(now);
        let order = match order {
            Some(order) => Some(order),
            None if self.has_open_within() => None,
            None => self.plan_hedge(now),
        };
        let Some(order) = order else {
            self.note_due(now);
            return None;
        };
        let bytes = self.block_bytes;
        if let Some(giver) = self.givers.get_mut(&order.conn) {
            giver.ask(&order.ids, bytes, now);
        }
        for id in &order.ids {
            if let Some((_, block)) = self.find_mut(id)
                && let Some(place) = block.askers.iter_mut().find(|asker| asker.is_none())
            {
                *place = Some(order.conn);
            }
        }
        Some(order)
    }

    /// The question did not leave.
    pub(crate) fn unask(&mut self, order: &Order, now: Instant) {
        if let Some(giver) = self.givers.get_mut(&order.conn) {
            giver.unask(&order.ids, now);
        }
        for id in &order.ids {
            self.reopen(order.conn, id);
        }
    }

    /// The end of the window, by number.
    fn window_end(&self) -> u64 {
        let count = self.rules.window_blocks.min(self.wanted.len() as u32);
        self.first + u64::from(count)
    }

    /// How many more blocks may be on their way, by bytes.
    fn bytes_room(&self) -> u64 {
        let in_flight: usize = self.givers.values().map(Giver::in_flight).sum();
        let room = self.rules.window_bytes.saturating_sub(self.held_bytes) as u64;
        (room / self.block_bytes).saturating_sub(in_flight as u64)
    }

    fn is_open(&self, number: u64) -> bool {
        self.get(number).is_some_and(Wanted::is_unasked)
    }

    /// Moves `open_from` to the first open block within the window, if there is one.
    fn has_open_within(&mut self) -> bool {
        let end = self.window_end();
        while self.open_from < end && !self.is_open(self.open_from) {
            self.open_from += 1;
        }
        let next = self.open_from == self.first;
        self.open_from < end && (next || self.bytes_room() > 0)
    }

    fn plan_open(&mut self, now: Instant) -> Option<Order> {
        if !self.has_open_within() {
            return None;
        }
        let bytes = self.block_bytes;
        let free: Vec<(&ConnId, &Giver, u32)> = self
            .givers
            .iter()
            .map(|(conn, giver)| (conn, giver, giver.room(bytes, now)))
            .filter(|(_, _, room)| *room > 0)
            .collect();
        if free.is_empty() {
            return None;
        }
        let end = self.window_end();
        let open = (self.open_from..end).filter(|number| self.is_open(*number));
        for number in open.take(LOOKED_AT_MAX) {
            let Some(block) = self.get(number) else { break };
            let able = free.iter().filter(|(conn, giver, _)| block.may_come_of(**conn, giver));
            let soonest = able.min_by_key(|(conn, giver, _)| {
                let again = block.passed_by == Some(**conn);
                (again, giver.is_late(), giver.expected(1, bytes), **conn)
            });
            let Some((conn, giver, room)) = soonest else { continue };
            let most = u64::from((*room).min(giver.range(bytes)));
            let most = most.min(self.bytes_room().max(1));
            let run = (number..end.min(number + most)).map_while(|number| {
                let block = self.get(number).filter(|block| block.is_unasked())?;
                block.may_come_of(**conn, giver).then_some(block.id)
            });
            return Some(Order { conn: **conn, ids: run.collect(), is_hedge: false });
        }
        None
    }

    /// Somebody is idle: a block of the next ones that is late, or would come sooner from there.
    fn plan_hedge(&self, now: Instant) -> Option<Order> {
        let bytes = self.block_bytes;
        let free: Vec<(&ConnId, &Giver)> = self
            .givers
            .iter()
            .filter(|(_, giver)| !giver.is_late() && giver.room(bytes, now) > 0)
            .collect();
        if free.is_empty() {
            return None;
        }
        for (index, block) in self.wanted.iter().enumerate().take(LOOKED_AT_MAX) {
            let Some((asker, flight)) = self.lone_flight(block) else { continue };
            let able = free
                .iter()
                .filter(|(conn, giver)| **conn != asker && block.may_come_of(**conn, giver));
            let soonest = able.min_by_key(|(conn, giver)| (giver.expected(1, bytes), **conn));
            let Some((conn, giver)) = soonest else { continue };
            let sooner = 2 * giver.expected(1, bytes);
            if !flight.is_worth_hedging(sooner, now) {
                continue;
            }
            let most = giver.room(bytes, now).min(giver.range(bytes)) as usize;
            let run = self.wanted.iter().skip(index).take(most.max(1)).map_while(|block| {
                let (of, flight) = self.lone_flight(block)?;
                let same = of == asker && block.may_come_of(**conn, giver);
                (same && flight.is_worth_hedging(sooner, now)).then_some(block.id)
            });
            return Some(Order { conn: **conn, ids: run.collect(), is_hedge: true });
        }
        None
    }

    /// Who alone is asked for this block, and since when.
    fn lone_flight(&self, block: &Wanted) -> Option<(ConnId, &Flight)> {
        let (State::Open, [Some(asker), None] | [None, Some(asker)]) = (&block.state, block.askers)
        else {
            return None;
        };
        Some((asker, self.givers.get(&asker)?.flight_of(&block.id)?))
    }

    /// The next block, if nobody who is asked for blocks may have it: with those who refused it.
    pub(crate) fn stuck(&self) -> Option<(u64, &[ConnId])> {
        let block = self.wanted.front().filter(|block| block.is_unasked())?;
        let given_up = block.passed >= PASSED_MAX || block.refused.len() >= REFUSED_MAX;
        let able = self.givers.iter().any(|(conn, giver)| block.may_come_of(*conn, giver));
        (given_up || !able).then_some((block.height, &block.refused[..]))
    }

    /// Somebody may have the next block.
    pub(crate) const fn go_on(&mut self) {
        self.nobody_since = None;
    }

    /// The next block is not to be had: of nobody who is here (`refused`: though some claim it), or
    /// because too many let it pass. It is missing from then on.
    pub(crate) fn give_up(&mut self, refused: bool, now: Instant) {
        let Some(block) = self.wanted.front_mut() else { return };
        let given_up = block.passed >= PASSED_MAX || block.refused.len() >= REFUSED_MAX;
        let since = *self.nobody_since.get_or_insert(now);
        if refused || given_up || now.since(since) >= NOBODY_PATIENCE {
            block.state = State::Missing;
        } else {
            let due = since.after(NOBODY_PATIENCE);
            self.due = Some(self.due.map_or(due, |at| at.min(due)));
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| !self.wanted.is_empty())
    }

    fn note_due(&mut self, now: Instant) {
        let bytes = self.block_bytes;
        let late = self.givers.values().filter_map(|giver| giver.due(bytes)).min();
        let rested = self.givers.values().filter_map(|giver| giver.rested_at(now)).min();
        let idle = self.givers.values().any(|giver| !giver.is_late() && giver.room(bytes, now) > 0);
        let next = self.wanted.iter().take(LOOKED_AT_MAX);
        let hedge = next.filter_map(|block| self.lone_flight(block));
        let hedge = hedge.map(|(_, flight)| flight.hedged_at());
        let hedge = hedge.filter(|at| idle && *at > now).min();
        self.due = [late, rested, hedge, self.search_at].into_iter().flatten().min();
    }
}

impl Wanted {
    const fn new(id: Hash, height: u64) -> Self {
        Self {
            id,
            height,
            state: State::Open,
            askers: [None; 2],
            refused: Vec::new(),
            passed: 0,
            passed_by: None,
        }
    }

    fn is_unasked(&self) -> bool {
        matches!(self.state, State::Open) && self.askers == [None; 2]
    }

    fn may_come_of(&self, conn: ConnId, giver: &Giver) -> bool {
        let refused = self.refused.len() >= REFUSED_MAX || self.refused.contains(&conn);
        giver.may_have(self.height) && !refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_blocks_are_wanted_than_may_be() {
        let mut blocks = Blocks::new(SyncRules::default());
        let ids = |numbers: std::ops::Range<usize>| -> Arc<[Hash]> {
            numbers.map(|number| Hash::of(&number.to_be_bytes())).collect()
        };
        let most = BLOCKS_WANTED_MAX;
        assert_eq!(blocks.want(1, &ids(0..most + 5), Instant::START), ids(most..most + 5)[..]);
        let next = ids(most..most + 1);
        assert_eq!(blocks.want(1 + most as u64, &next, Instant::START), next[..]);
        assert_eq!((blocks.wanted.len(), blocks.numbers.len()), (most, most));
    }
}
