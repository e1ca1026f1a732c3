//! Comparing pools: which transactions of a peer are missing here, part by part in the order of
//! their ids, each part by short ids of a salt that is used once.
//!
//! `pooling.rs` calls it and knows the peers. What one side tells never makes the other work on
//! more than a part, and the parts of one exchange never overlap: so an exchange costs each side a
//! short hash for each id of its own pool, however the other one behaves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use codec::limits::RECORDS_MAX;
use codec::{GetPool, Hash, PoolId, PoolPart};

use crate::address::HostKey;
use crate::config::POOL_IDS_MAX;
use crate::event::ConnId;
use crate::rng::Rng;
use crate::time::Instant;

/// How long the ids of our pool, once told by the chain, stand for it, and at most how often the
/// chain is asked for them: the largest pool is a copy of 2 MiB. What came since is missing from
/// them, and is asked for in vain: at ten transactions a second, a hundred.
pub(crate) const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(10);

/// Within this, a peer that is asked for a part answers, or brings a transaction. It may have to
/// ask its chain, and hands out first what was wanted of the part before.
const PART_PATIENCE: Duration = Duration::from_secs(30);

/// How long an exchange that has begun waits for the chain to tell our own pool anew. Then it goes
/// on with what was told before, from which only what came since is missing.
const IDS_PATIENCE: Duration = SNAPSHOT_AGE_MAX;

/// How long an exchange may take in all. The largest pool, of transactions of 2 kB that all are
/// missing, comes in half of it at the default rate of answers.
const EXCHANGE_PATIENCE: Duration = Duration::from_secs(300);

/// Parts of one exchange: twice those of the largest pool.
const PARTS_MAX: u32 = 2 * (POOL_IDS_MAX / RECORDS_MAX) as u32;

/// Between two exchanges: what was wanted in the one reaches our pool before the other begins.
const PAUSE: Duration = Duration::from_secs(30);

/// How long a host is not asked again, and how long it is worth going on where an exchange was cut
/// short. Who is connected hears of new transactions as they spread:
/// only what came while it was away is worth an exchange.
const REST: Duration = Duration::from_secs(600);

/// Hosts that rest: as many as may be dialled. Beyond it the one goes that has rested longest.
const RESTS_MAX: usize = 1_024;

/// Peers that are to be asked. Guess: an exchange with each takes an hour.
const CANDIDATES_MAX: usize = 64;

/// Transactions that all peers together have asked for and that the chain has not been asked for
/// yet: 2 MiB. What is beyond is passed over.
const WANTS_MAX: usize = POOL_IDS_MAX;

/// The ids of our own pool, as the chain told them, and whom they are compared with.
#[derive(Debug)]
pub(crate) struct PoolExchange {
    snapshot: Option<Snapshot>,
    /// When the chain was last asked for it.
    wanted_at: Option<Instant>,
    pub(crate) asking: Asking,
    pub(crate) telling: Telling,
}

#[derive(Debug)]
struct Snapshot {
    ids: Arc<[Hash]>,
    at: Instant,
}

impl PoolExchange {
    pub(crate) fn new(rng: Rng) -> Self {
        let (asking, telling) = (Asking::new(rng), Telling::default());
        Self { snapshot: None, wanted_at: None, asking, telling }
    }

    /// The chain told what is in the pool. `false`: not in ascending order, which it broke its
    /// word with.
    pub(crate) fn told(&mut self, ids: Arc<[Hash]>, now: Instant) -> bool {
        let sorted = ids.is_sorted();
        if sorted {
            self.snapshot = Some(Snapshot { ids, at: now });
        }
        sorted
    }

    /// The ids of our pool, however old.
    pub(crate) fn ids(&self) -> &[Hash] {
        self.snapshot.as_ref().map_or(&[], Snapshot::ids)
    }

    /// A peer wants some of a part of our pool. Answers how many are not to be had.
    pub(crate) fn on_wanted(&mut self, conn: ConnId, part: &PoolPart<'_>) -> usize {
        let ids = self.snapshot.as_ref().map_or(&[][..], Snapshot::ids);
        self.telling.on_wanted(conn, ids, part)
    }

    /// Whether these are not too old, and were told after `least`.
    pub(crate) fn is_fresh(&self, least: Instant, now: Instant) -> bool {
        let fresh = |it: &Snapshot| it.at >= least && now.since(it.at) < SNAPSHOT_AGE_MAX;
        self.snapshot.as_ref().is_some_and(fresh)
    }

    /// Whether the chain is to be asked for them now.
    pub(crate) fn wants_ids(&mut self, now: Instant) -> bool {
        let wants = self.wanted_at.is_none_or(|at| now.since(at) >= SNAPSHOT_AGE_MAX);
        if wants {
            self.wanted_at = Some(now);
        }
        wants
    }

    /// When a peer is late, or the next exchange may begin: while our own pool is known, or when
    /// the chain may be asked for it again, of which one that never answered hears little.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        if let Some(exchange) = &self.asking.exchange {
            return Some(exchange.due());
        }
        let next = (!self.asking.candidates.is_empty()).then_some(self.asking.next)?;
        let (told_at, wanted_at) = (self.snapshot.as_ref().map(|it| it.at), self.wanted_at);
        if self.is_fresh(next, now) || wanted_at.is_none() {
            return Some(next);
        }
        let wait = if told_at >= wanted_at { SNAPSHOT_AGE_MAX } else { REST };
        wanted_at.map(|at| at.after(wait).max(next))
    }
}

impl Snapshot {
    fn ids(&self) -> &[Hash] {
        &self.ids[..self.ids.len().min(POOL_IDS_MAX)]
    }
}

/// The eight bytes that order ids, as a number.
fn lead(id: &Hash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = id.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Those of these ids that lie in a part.
fn within(ids: &[Hash], from: u64, to: u64) -> &[Hash] {
    let start = ids.partition_point(|id| lead(id) < from);
    let end = ids.partition_point(|id| lead(id) <= to);
    ids.get(start..end).unwrap_or_default()
}

/// The part that begins here, and where it ends. Ids of equal leading bytes are all in it, unless
/// these alone are more than a message holds: then some are left out.
pub(crate) fn part_from(ids: &[Hash], from: u64) -> (&[Hash], u64) {
    let rest = &ids[ids.partition_point(|id| lead(id) < from)..];
    let Some(next) = rest.get(RECORDS_MAX).map(lead) else { return (rest, u64::MAX) };
    let whole = rest.partition_point(|id| lead(id) < next);
    if whole == 0 { (&rest[..RECORDS_MAX], next) } else { (&rest[..whole], next - 1) }
}

/// The short ids of a part of another's pool that name nothing in ours.
pub(crate) fn missing(ours: &[Hash], theirs: &PoolPart<'_>) -> Vec<PoolId> {
    let salt = theirs.asked.salt;
    let known = within(ours, theirs.asked.from, theirs.to).iter().map(|id| PoolId::of(id, salt));
    let mut known: Vec<PoolId> = known.collect();
    known.sort_unstable();
    let mut missing: Vec<PoolId> = theirs.ids.iter().collect();
    missing.sort_unstable();
    missing.dedup();
    missing.retain(|id| known.binary_search(id).is_err());
    missing
}

/// The ids of our pool that another one wants of a part: each once, whatever it names.
fn wanted(ours: &[Hash], part: &PoolPart<'_>) -> Vec<Hash> {
    let mut short: Vec<PoolId> = part.ids.iter().collect();
    short.sort_unstable();
    // Little came since the part was told; what is beyond comes with another exchange.
    let ids = within(ours, part.asked.from, part.to).iter().take(2 * RECORDS_MAX);
    let named = ids.filter(|id| short.binary_search(&PoolId::of(id, part.asked.salt)).is_ok());
    named.take(RECORDS_MAX).copied().collect()
}

/// Our side as the one who asks: one exchange at a time.
#[derive(Debug)]
pub(crate) struct Asking {
    rng: Rng,
    /// Whom to ask next: those first whom we dialled, then those who asked us.
    candidates: VecDeque<ConnId>,
    exchange: Option<Exchange>,
    /// Where the next one begins: further on than zero only if the last was cut short.
    resume: Resume,
    /// Not before this.
    next: Instant,
    /// Hosts that were asked, and until when they rest.
    rests: BTreeMap<HostKey, Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Resume {
    from: u64,
    /// Afterwards what is behind may have changed as well.
    until: Instant,
}

/// What is under way with one peer.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    conn: ConnId,
    host: HostKey,
    /// The next part, or the one that was asked for.
    part: GetPool,
    /// Where another would go on: before the part of which something is wanted and may not have
    /// come.
    resume: u64,
    parts: u32,
    begun: Instant,
    awaits: Awaits,
}

/// What is awaited before an exchange goes on, and since when.
#[derive(Clone, Copy, Debug)]
enum Awaits {
    /// Our own pool.
    Ids(Instant),
    /// What the peer owes us.
    Peer(Instant),
}

impl Asking {
    fn new(rng: Rng) -> Self {
        Self {
            rng,
            candidates: VecDeque::new(),
            exchange: None,
            resume: Resume { from: 0, until: Instant::START },
            next: Instant::START,
            rests: BTreeMap::new(),
        }
    }

    /// Somebody whose pool may be compared with ours. Whom we dialled goes before who dialled us.
    pub(crate) fn add(&mut self, conn: ConnId, host: HostKey, dialed: bool, now: Instant) {
        let rests = self.rests.get(&host).is_some_and(|until| *until > now);
        let full = self.candidates.len() == CANDIDATES_MAX;
        let is_here = self.asked() == Some(conn) || self.candidates.contains(&conn);
        if rests || is_here || (full && !dialed) {
            return;
        }
        if full {
            self.candidates.pop_back();
        }
        if dialed {
            self.candidates.push_front(conn);
        } else {
            self.candidates.push_back(conn);
        }
    }

    /// It is gone.
    pub(crate) fn remove(&mut self, conn: ConnId, now: Instant) {
        self.candidates.retain(|candidate| *candidate != conn);
        if self.asked() == Some(conn) {
            self.cut_short(now);
        }
    }

    /// Who is asked now.
    fn asked(&self) -> Option<ConnId> {
        self.exchange.map(|exchange| exchange.conn)
    }

    /// Whether a question is due as soon as our own pool is known: as it was at this instant, or
    /// later.
    pub(crate) fn waits_for_ids(&self, now: Instant) -> Option<Instant> {
        match &self.exchange {
            Some(exchange) => exchange.awaits_ids().then_some(Instant::START),
            None => (!self.candidates.is_empty() && self.next <= now).then_some(self.next),
        }
    }

    /// Whether the chain has had its time: what was last known of our pool has to do.
    pub(crate) fn goes_on_without(&self, now: Instant) -> bool {
        self.exchange.is_some_and(|exchange| exchange.awaits_ids() && exchange.due() <= now)
    }

    /// The next question. To be asked for only while our own pool is known.
    pub(crate) fn question(
        &mut self,
        host: impl FnOnce(ConnId) -> Option<HostKey>,
        now: Instant,
    ) -> Option<(ConnId, GetPool)> {
        if self.exchange.is_none() {
            let conn = self.candidates.pop_front()?;
            let host = host(conn)?;
            let from = if now < self.resume.until { self.resume.from } else { 0 };
            self.exchange = Some(Exchange {
                conn,
                host,
                part: GetPool { salt: self.rng.u64(), from },
                resume: from,
                parts: 0,
                begun: now,
                awaits: Awaits::Ids(now),
            });
        }
        let exchange = self.exchange.as_mut().filter(|exchange| exchange.awaits_ids())?;
        exchange.awaits = Awaits::Peer(now);
        exchange.parts += 1;
        Some((exchange.conn, exchange.part))
    }

    /// Whether this answers the question that is open.
    pub(crate) fn expects(&self, conn: ConnId, part: &PoolPart<'_>) -> bool {
        let asked = |it: &Exchange| it.conn == conn && !it.awaits_ids() && it.part == part.asked;
        self.exchange.as_ref().is_some_and(asked)
    }

    /// The part that was expected came, and something of it is wanted or not. After the last, and
    /// after one that leads nowhere, the exchange is over.
    pub(crate) fn on_part(&mut self, part: &PoolPart<'_>, wants: bool, now: Instant) {
        let Some(exchange) = &mut self.exchange else { return };
        if part.ids.is_empty() && part.to < u64::MAX {
            return self.give_up(now); // no honest peer says so
        }
        match part.to.checked_add(1).filter(|_| exchange.parts < PARTS_MAX) {
            Some(next) => {
                exchange.resume = if wants { part.asked.from } else { next };
                exchange.part.from = next;
                exchange.awaits = Awaits::Ids(now);
            }
            None => {
                self.rest(now);
                self.exchange = None;
                self.resume.from = 0;
                self.next = now.after(PAUSE);
            }
        }
    }

    /// The peer does not do its part: another is asked for the rest.
    fn give_up(&mut self, now: Instant) {
        self.rest(now);
        self.cut_short(now);
    }

    /// There is nobody to go on with: another is asked for the rest.
    fn cut_short(&mut self, now: Instant) {
        let Some(exchange) = self.exchange.take() else { return };
        self.resume = Resume { from: exchange.resume, until: now.after(REST) };
        self.next = now;
    }

    /// Whoever is asked now is not asked again soon.
    fn rest(&mut self, now: Instant) {
        let Some(exchange) = &self.exchange else { return };
        self.rests.retain(|_, until| *until > now);
        if self.rests.len() == RESTS_MAX {
            let first = self.rests.iter().min_by_key(|(_, until)| **until).map(|(host, _)| *host);
            first.and_then(|host| self.rests.remove(&host));
        }
        self.rests.insert(exchange.host, now.after(REST));
    }

    /// Gives up whoever is late. Not who, by `brought`, has brought something since it was asked.
    pub(crate) fn give_up_late(
        &mut self,
        brought: impl FnOnce(ConnId) -> Option<Instant>,
        now: Instant,
    ) {
        let Some(exchange) = &mut self.exchange else { return };
        let Awaits::Peer(since) = &mut exchange.awaits else { return };
        *since = brought(exchange.conn).map_or(*since, |at| at.max(*since));
        if exchange.due() <= now {
            self.give_up(now);
        }
    }
}

impl Exchange {
    const fn awaits_ids(&self) -> bool {
        matches!(self.awaits, Awaits::Ids(_))
    }

    /// When what is awaited is late.
    fn due(&self) -> Instant {
        let due = match self.awaits {
            Awaits::Ids(since) => since.after(IDS_PATIENCE),
            Awaits::Peer(since) => since.after(PART_PATIENCE),
        };
        due.min(self.begun.after(EXCHANGE_PATIENCE))
    }
}

/// Our side as the one who is asked: what each of these peers is to get.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    guests: BTreeMap<ConnId, Guest>,
    /// Transactions that they all want.
    wants: usize,
}

/// A peer that compares its pool with ours.
#[derive(Debug, Default)]
struct Guest {
    /// The part that it asks for, until our own pool is known and it has what it wanted before.
    asked: Option<GetPool>,
    /// The part that it was told last, and where that ended: it may want some of it, once.
    told: Option<(GetPool, u64)>,
    /// What it wants, the next one last. At most [`RECORDS_MAX`].
    wants: Vec<Hash>,
}

impl Telling {
    /// A peer asks for a part.
    pub(crate) fn on_asked(&mut self, conn: ConnId, part: GetPool) {
        let guest = self.guests.entry(conn).or_default();
        guest.asked = Some(part);
        guest.told = None;
    }

    /// The part that it is to be told now, if our pool is known.
    pub(crate) fn asked(&self, conn: ConnId) -> Option<GetPool> {
        self.guests.get(&conn).filter(|guest| guest.wants.is_empty())?.asked
    }

    /// Those to whom parts may be told.
    pub(crate) fn asking(&self) -> Vec<ConnId> {
        self.guests.keys().copied().filter(|conn| self.asked(*conn).is_some()).collect()
    }

    /// It was told what it asked for.
    pub(crate) fn told(&mut self, conn: ConnId, to: u64) {
        if let Some(guest) = self.guests.get_mut(&conn) {
            guest.told = guest.asked.take().map(|part| (part, to));
        }
    }

    /// It wants some of what it was told. Answers how many are not to be had by it: all, if it was
    /// not told that part last or too much is wanted of us.
    fn on_wanted(&mut self, conn: ConnId, ours: &[Hash], part: &PoolPart<'_>) -> usize {
        let asked = Some((part.asked, part.to));
        let room = self.wants + part.ids.len() <= WANTS_MAX;
        let guest = self.guests.get_mut(&conn).filter(|guest| guest.told == asked && room);
        let Some(guest) = guest else { return part.ids.len() };
        guest.told = None;
        guest.wants = wanted(ours, part);
        guest.wants.reverse();
        self.wants += guest.wants.len();
        part.ids.len() - guest.wants.len()
    }

    /// The next that it wants.
    pub(crate) fn next_want(&self, conn: ConnId) -> Option<Hash> {
        self.guests.get(&conn)?.wants.last().copied()
    }

    /// That one is on its way. `true`: it was the last.
    pub(crate) fn take_want(&mut self, conn: ConnId) -> bool {
        let Some(guest) = self.guests.get_mut(&conn) else { return false };
        self.wants -= usize::from(guest.wants.pop().is_some());
        if guest.wants.is_empty() {
            guest.wants = Vec::new();
        }
        guest.wants.is_empty()
    }

    /// It is gone.
    pub(crate) fn remove(&mut self, conn: ConnId) {
        if let Some(guest) = self.guests.remove(&conn) {
            self.wants -= guest.wants.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use codec::Records;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::address::Locality;
    use crate::rng::Rng;

    fn id(lead: u64, rest: u8) -> Hash {
        let mut id = [rest; 32];
        id[..8].copy_from_slice(&lead.to_be_bytes());
        Hash(id)
    }

    /// Pools in which some ids begin alike, at both ends of all numbers too.
    fn pool() -> impl Strategy<Value = Vec<Hash>> {
        let lead = prop_oneof![
            4 => any::<u64>(),
            1 => 0..4u64,
            1 => (0..4u64).prop_map(|n| u64::MAX - n),
        ];
        let ids = vec((lead, any::<u8>()).prop_map(|(lead, rest)| id(lead, rest)), 0..3_000);
        ids.prop_map(|mut ids| {
            ids.sort_unstable();
            ids.dedup();
            ids
        })
    }

    /// All parts of a pool, from the first to the last.
    fn parts(ids: &[Hash]) -> Vec<(u64, &[Hash], u64)> {
        let (mut parts, mut from) = (Vec::new(), 0);
        loop {
            let (part, to) = part_from(ids, from);
            parts.push((from, part, to));
            let Some(next) = to.checked_add(1) else { return parts };
            from = next;
        }
    }

    fn short(ids: &[Hash], salt: u64) -> Vec<PoolId> {
        ids.iter().map(|id| PoolId::of(id, salt)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 50, ..ProptestConfig::default() })]

        #[test]
        fn the_parts_of_a_pool_are_the_pool(ids in pool()) {
            let parts = parts(&ids);
            prop_assert!(parts.len() <= ids.len() / (RECORDS_MAX / 2) + 2);
            let all = parts.iter().flat_map(|(_, part, _)| part.iter().copied());
            prop_assert_eq!(all.collect::<Vec<_>>(), &ids[..]);
            for (from, part, to) in parts {
                prop_assert!(part.len() <= RECORDS_MAX && from <= to);
                prop_assert_eq!(within(&ids, from, to), part);
            }
        }

        #[test]
        fn what_is_missing_is_what_the_other_resolves(
            all in pool(),
            keeps in vec(any::<(bool, bool)>(), 3_000),
            salt in any::<u64>(),
        ) {
            let side = |keep: fn(&(bool, bool)) -> bool| {
                let kept = all.iter().zip(&keeps).filter(|(_, which)| keep(which));
                kept.map(|(id, _)| *id).collect::<Vec<_>>()
            };
            let (ours, theirs) = (side(|(left, _)| *left), side(|(_, right)| *right));
            let mut resolved = Vec::new();
            for (from, part, to) in parts(&theirs) {
                let told = short(part, salt);
                let asked = GetPool { salt, from };
                let missing =
                    missing(&ours, &PoolPart { asked, to, ids: Records::new(&told) });
                let want = PoolPart { asked, to, ids: Records::new(&missing) };
                resolved.extend(wanted(&theirs, &want));
            }
            let lacked = theirs.iter().filter(|id| ours.binary_search(id).is_err());
            prop_assert_eq!(resolved, lacked.copied().collect::<Vec<_>>());
        }
    }

    #[test]
    fn candidates_and_rests_are_bounded() {
        let host = |index: u32| {
            let [_, b, c, d] = index.to_be_bytes();
            Locality::Internet.host(([10, b, c, d], 1).into())
        };
        let mut asking = Asking::new(Rng::from_seed([1; 32]));
        for index in 0..200 {
            asking.add(ConnId::new(index, 1), host(index), false, Instant::START);
        }
        assert_eq!(asking.candidates.len(), CANDIDATES_MAX);
        let dialed = ConnId::new(500, 1);
        asking.add(dialed, host(500), true, Instant::START);
        assert_eq!((asking.candidates.len(), asking.candidates[0]), (CANDIDATES_MAX, dialed));
        asking.candidates.clear();
        for index in 0..2 * RESTS_MAX as u32 {
            let now = Instant::from_micros(index.into());
            asking.add(ConnId::new(index, 1), host(index), false, now);
            assert!(asking.question(|_| Some(host(index)), now).is_some());
            asking.give_up(now);
            assert!(asking.rests.len() <= RESTS_MAX);
        }
        let rests = [0, 2 * RESTS_MAX as u32 - 1].map(|it| asking.rests.contains_key(&host(it)));
        assert_eq!(rests, [false, true], "the eldest goes");
    }

    #[test]
    fn ids_that_begin_alike_are_in_one_part_as_far_as_it_holds_them() {
        let same = |lead, count: u16| {
            (0..count).map(move |n| {
                let mut id = id(lead, 0);
                id.0[30..].copy_from_slice(&n.to_be_bytes());
                id
            })
        };
        let ids: Vec<Hash> = same(5, 1_000).chain(same(9, 1_000)).chain(same(11, 2_000)).collect();
        let told: Vec<_> = parts(&ids).iter().map(|it| (it.0, it.1.len(), it.2)).collect();
        let whole = RECORDS_MAX;
        assert_eq!(told, [(0, 1_000, 8), (9, 1_000, 10), (11, whole, 11), (12, 0, u64::MAX)]);
    }
}
