//! The address book: whom we could dial.
//!
//! Two tables of buckets, in the design of Bitcoin Core's: *new* for addresses that somebody told,
//! *tried* for those that we reached. Called by the endpoint with what it heard and by the dialer
//! for whom to dial and what became of it.
//!
//! - An address belongs to one place, which a keyed hash decides: in the new table by its group and
//!   the group of who told it, in the tried table by itself and its group. Why: whoever owns one
//!   group reaches a sixteenth of the new buckets and a thirty-second of the tried ones, however
//!   many addresses it tells or has.
//! - Buckets are drawn evenly, not addresses. Why: filling a few buckets gains nothing.
//! - Told again by others, a new address gets further places, at most eight, each half as likely as
//!   the one before. Why: what many tell lies no more only where its first teller chose. These are
//!   gifts: they go to any address that has no place, and are not kept over a restart.
//! - Else a place changes hands only if its address is old or failed, or was never reached by us
//!   and the newcomer was. A tried one is first dialled ([`AddressBook::contested`]). Why: newer is
//!   no merit, and an attacker is always newer.
//! - One entry a host. Word of another port changes it only where the known port just failed and
//!   the address is not tried: gossip never turns us away from an address that works. Our own
//!   success decides at once.
//! - Only what we reached ourselves is told to others.
//!
//! Invariants: every entry has its home place, and every place in use names an entry that names it;
//! so the entries are bounded by the places. Places follow from the secret and the record: a
//! restart with both has the same book. The same calls and seed give the same answers.

mod buckets;
mod changes;
mod entry;
mod keys;
mod limits;
mod samples;
mod stored;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use codec::Capabilities;
use slab::Slab;

use self::buckets::{Buckets, Place};
use self::changes::Changes;
use self::entry::{Entry, WEIGHT_MAX};
use self::keys::Keys;
pub use self::limits::BookLimits;
use self::samples::Samples;
use crate::address::{Group, HostKey, Locality, canonical};
use crate::record::{AddressRecord, Change};
use crate::rng::Rng;
use crate::time::UnixTime;

/// Most places of one address in the new table, as in Bitcoin Core.
const PLACES_PER_ADDRESS_MAX: usize = 8;

/// Others' word refreshes `last_seen` in such steps, as in Bitcoin Core: the store need not write
/// what everybody repeats.
const WORD_STEP: Duration = Duration::from_secs(86_400);

/// An address that answered so lately need not be tested for another, as in Bitcoin Core.
const PROVEN_LATELY: Duration = Duration::from_secs(4 * 3_600);

/// A contest that no dial has decided meanwhile is over, and the occupant stays. 40 minutes, as
/// Bitcoin Core waits, though there the newcomer wins: but no failure, no eviction.
const CONTEST_MAX: Duration = Duration::from_secs(40 * 60);

/// Most contests at once. Guess: as many as feelers can decide in time at one in two minutes.
const CONTESTS_MAX: usize = 20;

/// Room for entries at first, which doubles when it is full, up to the bound.
const ENTRIES_MIN: usize = 16;

/// Draws before a pick goes through the places one by one. Guess: nine of ten picks need fewer.
const DRAWS_MAX: usize = 64;

/// Most addresses that a pick then looks at in one table; a book of fewer is searched whole.
const SCANNED_MAX: usize = 1_024;

/// Parts of one in which a pick's growing patience is counted.
const PATIENCE_ONE: u64 = 1 << 16;

/// Where to pick from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pick {
    /// New or tried, half and half.
    Any,
    /// Only heard of: for feelers.
    New,
    /// Reached before, the longest untested first: for feelers that keep the book true.
    Stalest,
}

/// Whom we could dial. At most as many addresses as places.
pub(crate) struct AddressBook {
    limits: BookLimits,
    locality: Locality,
    rng: Rng,
    secret: [u8; 32],
    keys: Keys,
    entries: Slab<Entry>,
    /// The entry of each host.
    hosts: BTreeMap<HostKey, usize>,
    new: Buckets,
    tried: Buckets,
    /// At most [`CONTESTS_MAX`]; the one asked for longest ago first.
    contests: VecDeque<Contest>,
    samples: Samples,
    changes: Changes,
}

/// A place in the tried table that another wants.
struct Contest {
    occupant: HostKey,
    /// In the new table until this is decided.
    challenger: HostKey,
    since: UnixTime,
}

impl AddressBook {
    /// An empty book with a secret of its own.
    ///
    /// # Panics
    ///
    /// If the limits are not valid.
    pub(crate) fn new(limits: BookLimits, locality: Locality, rng: Rng) -> Self {
        assert!(limits.is_valid(), "the configuration was checked");
        let mut secret = [0; 32];
        rng.fork("secret").fill(&mut secret);
        Self {
            limits,
            locality,
            rng,
            secret,
            keys: Keys::new(secret, &limits),
            entries: Slab::new(),
            hosts: BTreeMap::new(),
            new: Buckets::new(limits.new_buckets, limits.bucket_places),
            tried: Buckets::new(limits.tried_buckets, limits.bucket_places),
            contests: VecDeque::new(),
            samples: Samples::default(),
            changes: Changes::new(limits.addresses_max()),
        }
    }

    /// Somebody told this address; `source` is the IP of who told. `true`: it is new to us and
    /// found a place.
    pub(crate) fn hear(
        &mut self,
        addr: SocketAddr,
        source: IpAddr,
        capabilities: Capabilities,
        seen: UnixTime,
        now: UnixTime,
    ) -> bool {
        let record = AddressRecord {
            addr: canonical(addr),
            source: source.to_canonical(),
            tried: false,
            capabilities,
            last_seen: seen.min(now),
            last_attempt: UnixTime::default(),
            last_success: UnixTime::default(),
            failures: 0,
        };
        let stale = now.since(record.last_seen) >= self.limits.horizon;
        if stale || !self.locality.is_reachable(addr) {
            return false;
        }
        if let Some(id) = self.hosts.get(&self.locality.host(addr)) {
            self.hear_again(*id, &record, now);
            return false;
        }
        let fresh = self.make_room(&record, now);
        if fresh {
            let id = self.insert(record);
            self.note(id);
        }
        fresh
    }

    /// An address that speaks for itself: a connected peer names it as its own. It counts as its
    /// own source.
    pub(crate) fn introduce(
        &mut self,
        addr: SocketAddr,
        capabilities: Capabilities,
        now: UnixTime,
    ) -> bool {
        self.hear(addr, addr.ip(), capabilities, now, now)
    }

    /// We dial it.
    pub(crate) fn attempt(&mut self, addr: SocketAddr, now: UnixTime) {
        if let Some(id) = self.at(addr) {
            self.entries[id].record.last_attempt = now;
            self.note(id);
        }
    }

    /// Our dial, or the handshake after it, came to nothing, and not because we were offline. May
    /// forget it; a tried one whose place another wants goes back to the new ones.
    pub(crate) fn failed(&mut self, addr: SocketAddr, now: UnixTime) {
        let Some(id) = self.at(addr) else { return };
        let entry = &mut self.entries[id];
        entry.record.failures = entry.record.failures.saturating_add(1);
        let hopeless = entry.is_hopeless(&self.limits, now);
        self.note(id);
        let host = self.locality.host(addr);
        let contest = self.contests.iter().position(|contest| contest.occupant == host);
        let contest = contest.and_then(|index| self.contests.remove(index));
        if hopeless {
            self.remove(id);
        } else if contest.is_some() {
            self.demote(id, now);
        }
        if let Some(id) = contest.and_then(|contest| self.hosts.get(&contest.challenger)) {
            self.promote(*id, now);
        }
    }

    /// A handshake that we dialled succeeded: it moves to tried, unless its place there is taken;
    /// then the occupant is tested first ([`AddressBook::contested`]). An address not in the book
    /// comes in, and the port that worked is the port of its host.
    pub(crate) fn succeeded(
        &mut self,
        addr: SocketAddr,
        capabilities: Capabilities,
        now: UnixTime,
    ) {
        let addr = canonical(addr);
        if !self.locality.is_reachable(addr) {
            return;
        }
        let host = self.locality.host(addr);
        self.contests.retain(|contest| contest.occupant != host);
        let mut record = AddressRecord {
            addr,
            source: addr.ip(),
            tried: true,
            capabilities,
            last_seen: now,
            last_attempt: now,
            last_success: now,
            failures: 0,
        };
        let known = self.hosts.get(&host).copied();
        if let Some(id) = known {
            let before = &mut self.entries[id].record;
            (record.source, record.tried) = (before.source, before.tried);
            record.last_attempt = before.last_attempt;
            let before = std::mem::replace(before, record.clone());
            self.move_port(before.addr, addr);
        }
        let Some(id) = known.or_else(|| self.take_in(record, now)) else { return };
        self.note(id);
        self.promote(id, now);
    }

    /// It was connected until now.
    pub(crate) fn seen(&mut self, addr: SocketAddr, now: UnixTime) {
        if let Some(id) = self.at(addr) {
            let host = self.locality.host(addr);
            self.contests.retain(|contest| contest.occupant != host);
            self.entries[id].record.last_seen = now;
            self.note(id);
        }
    }

    /// It is not worth knowing (banned, ourselves, another chain), nor is any port of its host.
    pub(crate) fn forget(&mut self, addr: SocketAddr) {
        if let Some(id) = self.hosts.get(&self.locality.host(addr)) {
            self.remove(*id);
        }
    }

    /// One address for which `fits` holds, at random: those that failed, and those dialled in the
    /// last ten minutes, less often. At most [`DRAWS_MAX`] are drawn, then at most [`SCANNED_MAX`]
    /// of each table are looked at, so that in a book of fewer none is overlooked.
    pub(crate) fn pick(
        &mut self,
        what: Pick,
        now: UnixTime,
        fits: &mut dyn FnMut(&AddressRecord) -> bool,
    ) -> Option<SocketAddr> {
        let id = match what {
            Pick::Stalest => self.stalest(fits),
            Pick::Any | Pick::New => {
                let first = what == Pick::Any && self.rng.chance(1, 2);
                self.draw(what, now, fits).or_else(|| self.readiest(first, now, fits)).or_else(
                    || if what == Pick::Any { self.readiest(!first, now, fits) } else { None },
                )
            }
        };
        id.map(|id| self.entries[id].record.addr)
    }

    /// A tried address whose place another wants: dial it to decide. Its failure gives the place to
    /// the other; its success, or [`CONTEST_MAX`] without either, leaves it where it is. Each call
    /// gives the next in turn.
    pub(crate) fn contested(&mut self, now: UnixTime) -> Option<SocketAddr> {
        self.contests.retain(|contest| now.since(contest.since) < CONTEST_MAX);
        let contest = self.contests.pop_front()?;
        let id = self.hosts[&contest.occupant];
        self.contests.push_back(contest);
        Some(self.entries[id].record.addr)
    }

    /// What we tell a peer of this group that asks: tried addresses that did not fail since, which
    /// offer all that is wanted. At most 256 and at most 23 % of them, the same for a day; of a
    /// book with few of them, up to 32.
    pub(crate) fn sample(
        &mut self,
        asker: Group,
        wanted: Capabilities,
        now: UnixTime,
    ) -> Vec<SocketAddr> {
        let sample = self.keys.sample(asker);
        let day = self.keys.sample_day(sample, now);
        let kept = self.samples.get(sample, day).map(<[HostKey]>::to_vec);
        let hosts = kept.unwrap_or_else(|| {
            let ranked = self.tried.iter().map(|(_, id)| &self.entries[id]);
            let ranked = ranked.filter(|entry| self.is_told(entry, now)).map(|entry| {
                let host = self.locality.host(entry.record.addr);
                (self.keys.sample_rank(sample, day, host), host)
            });
            self.samples.make(sample, day, ranked.collect())
        });
        let entries = hosts.iter().filter_map(|host| self.entries.get(*self.hosts.get(host)?));
        entries
            .filter(|entry| self.is_told(entry, now))
            .filter(|entry| entry.record.capabilities.contains(wanted))
            .map(|entry| entry.record.addr)
            .collect()
    }

    /// All addresses.
    pub(crate) fn records(&self) -> impl Iterator<Item = AddressRecord> {
        self.entries.iter().map(|(_, entry)| entry.record.clone())
    }

    /// How many addresses there are: (new, tried).
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.entries.len() - self.tried.used(), self.tried.used())
    }

    /// Appends up to `max` changes that no store was told yet.
    pub(crate) fn take_changes(&mut self, max: usize, into: &mut Vec<Change>) {
        for _ in 0..max {
            let change = if std::mem::take(&mut self.changes.secret) {
                Change::Secret(self.secret)
            } else if let Some(addr) = self.changes.take_gone() {
                Change::AddressGone(addr)
            } else if let Some(host) = self.changes.take_changed() {
                Change::Address(self.entries[self.hosts[&host]].record.clone())
            } else {
                return;
            };
            into.push(change);
        }
    }

    pub(crate) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Bytes of all tables, as they are now.
    pub(crate) fn memory_bytes(&self) -> usize {
        let gifts = self.new.used().saturating_sub(self.counts().0);
        self.new.memory_bytes()
            + self.tried.memory_bytes()
            + self.entries.capacity() * size_of::<Entry>()
            + gifts * size_of::<Place>()
            + self.hosts.len() * size_of::<(HostKey, usize)>()
            + self.samples.memory_bytes()
            + self.changes.memory_bytes()
    }
}

/// The choice of whom to dial.
impl AddressBook {
    /// Draws from buckets until one fits, and is lucky: the less it is worth the more luck it
    /// needs, and a fifth less after each miss, as in Bitcoin Core.
    fn draw(
        &mut self,
        what: Pick,
        now: UnixTime,
        fits: &mut dyn FnMut(&AddressRecord) -> bool,
    ) -> Option<usize> {
        let mut patience = PATIENCE_ONE;
        for _ in 0..DRAWS_MAX {
            let tried = what == Pick::Any
                && (self.new.used() == 0 || (self.tried.used() > 0 && self.rng.chance(1, 2)));
            let table = if tried { &self.tried } else { &self.new };
            let id = table.random(&mut self.rng)?;
            let entry = &self.entries[id];
            let weight = entry.weight(now).saturating_mul(patience) / PATIENCE_ONE;
            if self.rng.below(WEIGHT_MAX) < weight && fits(&entry.record) {
                return Some(id);
            }
            patience += patience / 5;
        }
        None
    }

    /// The first of the highest weight among those that fit, from a random place on.
    fn readiest(
        &mut self,
        tried: bool,
        now: UnixTime,
        fits: &mut dyn FnMut(&AddressRecord) -> bool,
    ) -> Option<usize> {
        let table = if tried { &self.tried } else { &self.new };
        let scanned = table.around(&mut self.rng).take(SCANNED_MAX);
        scanned
            .filter(|id| fits(&self.entries[*id].record))
            .min_by_key(|id| Reverse(self.entries[*id].weight(now)))
    }

    /// The one longest untested among those that fit, from a random place on.
    fn stalest(&mut self, fits: &mut dyn FnMut(&AddressRecord) -> bool) -> Option<usize> {
        let scanned = self.tried.around(&mut self.rng).take(SCANNED_MAX);
        scanned.filter(|id| fits(&self.entries[*id].record)).min_by_key(|id| {
            let record = &self.entries[*id].record;
            record.last_attempt.max(record.last_success)
        })
    }
}

/// Places, and who moves in and out.
impl AddressBook {
    /// Word of an address that is in the book.
    fn hear_again(&mut self, id: usize, word: &AddressRecord, now: UnixTime) {
        let record = &mut self.entries[id].record;
        let known = record.clone();
        if word.last_seen.since(known.last_seen) >= WORD_STEP {
            record.last_seen = word.last_seen;
        }
        if known.capabilities == Capabilities::UNKNOWN {
            record.capabilities = word.capabilities;
        }
        if !known.tried && known.failures > 0 {
            record.addr = word.addr;
        }
        let told = record.addr;
        if *record != known {
            self.move_port(known.addr, told);
            self.note(id);
        }
        if !known.tried {
            self.give_place(id, word, now);
        }
    }

    /// Perhaps another place in the new table, if one is free where this source's word belongs.
    fn give_place(&mut self, id: usize, word: &AddressRecord, now: UnixTime) {
        let places = 1 + self.entries[id].extra.len();
        if places >= PLACES_PER_ADDRESS_MAX || !self.rng.chance(1, 1 << places) {
            return;
        }
        let place = self.home_of(word);
        match self.new.get(place) {
            Some(occupant) if occupant == id => return,
            Some(occupant) if !self.entries[occupant].is_terrible(&self.limits, now) => return,
            Some(occupant) => self.remove(occupant),
            None => {}
        }
        self.new.put(place, id);
        self.entries[id].extra.push(place);
    }

    /// Takes in an address that we reached and did not know: into tried, else into new.
    fn take_in(&mut self, record: AddressRecord, now: UnixTime) -> Option<usize> {
        let fallback = AddressRecord { tried: false, ..record.clone() };
        let record = [record, fallback].into_iter().find(|record| self.make_room(record, now))?;
        Some(self.insert(record))
    }

    /// Moves an address that we just reached to tried, or opens a contest for its place.
    fn promote(&mut self, id: usize, now: UnixTime) {
        let record = &self.entries[id].record;
        if record.tried || record.failures > 0 {
            return;
        }
        let wanted = AddressRecord { tried: true, ..record.clone() };
        if !self.make_room(&wanted, now) {
            self.contest(id, &wanted, now);
            return;
        }
        let home = self.home_of(&wanted);
        let entry = &mut self.entries[id];
        for place in entry.extra.drain(..).chain([entry.home]) {
            self.new.clear(place);
        }
        self.tried.put(home, id);
        entry.extra = Vec::new();
        (entry.home, entry.record) = (home, wanted);
        self.note(id);
    }

    /// Moves a tried address back to new, or forgets it if nobody there makes room.
    fn demote(&mut self, id: usize, now: UnixTime) {
        let wanted = AddressRecord { tried: false, ..self.entries[id].record.clone() };
        if !self.make_room(&wanted, now) {
            self.remove(id);
            return;
        }
        let home = self.home_of(&wanted);
        let entry = &mut self.entries[id];
        self.tried.clear(entry.home);
        self.new.put(home, id);
        (entry.home, entry.record) = (home, wanted);
        self.note(id);
    }

    /// The challenger's place is taken: the occupant is to be tested, unless it was just now, or
    /// there are tests enough.
    fn contest(&mut self, challenger: usize, wanted: &AddressRecord, now: UnixTime) {
        let Some(occupant) = self.tried.get(self.home_of(wanted)) else { return };
        let [occupant, challenger] = [occupant, challenger].map(|id| &self.entries[id].record);
        let host = self.locality.host(occupant.addr);
        let lately = now.since(occupant.last_success) < PROVEN_LATELY;
        let known = self.contests.iter().any(|contest| contest.occupant == host);
        if !lately && !known && self.contests.len() < CONTESTS_MAX {
            let challenger = self.locality.host(challenger.addr);
            self.contests.push_back(Contest { occupant: host, challenger, since: now });
        }
    }

    /// Whether the home of this record is free, or has been freed.
    fn make_room(&mut self, record: &AddressRecord, now: UnixTime) -> bool {
        let place = self.home_of(record);
        let table = if record.tried { &self.tried } else { &self.new };
        let Some(id) = table.get(place) else { return true };
        let occupant = &mut self.entries[id];
        if occupant.home != place {
            occupant.extra.retain(|extra| *extra != place);
            self.new.clear(place);
            return true;
        }
        let newcomer_proven = record.last_success > UnixTime::default();
        let better = !record.tried && newcomer_proven && !occupant.is_proven();
        let gives_way = better || occupant.is_terrible(&self.limits, now);
        if gives_way {
            self.remove(id);
        }
        gives_way
    }

    /// A new entry; its home is free.
    fn insert(&mut self, record: AddressRecord) -> usize {
        let (host, home) = (self.locality.host(record.addr), self.home_of(&record));
        let table = if record.tried { &mut self.tried } else { &mut self.new };
        let len = self.entries.len();
        if len == self.entries.capacity() {
            let room = self.limits.addresses_max() - len;
            self.entries.reserve_exact(room.min(len.max(ENTRIES_MIN)));
        }
        let id = self.entries.insert(Entry { record, home, extra: Vec::new() });
        table.put(home, id);
        self.hosts.insert(host, id);
        id
    }

    /// Forgets an entry, wherever it is mentioned.
    fn remove(&mut self, id: usize) {
        let Entry { record, home, extra } = self.entries.remove(id);
        let host = self.locality.host(record.addr);
        self.hosts.remove(&host);
        let table = if record.tried { &mut self.tried } else { &mut self.new };
        table.clear(home);
        for place in extra {
            self.new.clear(place);
        }
        self.contests.retain(|contest| contest.occupant != host && contest.challenger != host);
        self.changes.note_gone(host, record.addr);
    }

    /// Where a record belongs.
    fn home_of(&self, record: &AddressRecord) -> Place {
        let (host, group) = (self.locality.host(record.addr), self.locality.group(record.addr));
        if record.tried {
            return self.keys.tried_place(host, group);
        }
        // Its own word is of its own group, where an IP has one for each port too.
        let own_word = record.source == record.addr.ip();
        let teller = SocketAddr::new(record.source, 0);
        let source = if own_word { group } else { self.locality.group(teller) };
        self.keys.new_place(host, group, source)
    }

    /// The entry of this very address.
    fn at(&self, addr: SocketAddr) -> Option<usize> {
        let id = *self.hosts.get(&self.locality.host(addr))?;
        (self.entries[id].record.addr == canonical(addr)).then_some(id)
    }

    /// The host is kept under another port from now on.
    fn move_port(&mut self, from: SocketAddr, to: SocketAddr) {
        if from != to {
            self.changes.note_other(from);
        }
    }

    fn note(&mut self, id: usize) {
        let addr = self.entries[id].record.addr;
        self.changes.note(self.locality.host(addr), addr);
    }

    /// Whether others may hear of it.
    fn is_told(&self, entry: &Entry, now: UnixTime) -> bool {
        let record = &entry.record;
        record.tried && record.failures == 0 && !entry.is_hopeless(&self.limits, now)
    }

    /// That all tables agree with each other.
    fn check(&self) {
        self.new.check();
        self.tried.check();
        self.changes.check(|host| self.hosts.contains_key(host));
        assert_eq!(self.hosts.len(), self.entries.len());
        assert!(self.entries.len() <= self.limits.addresses_max());
        let mut gifts = 0;
        for (id, Entry { record, home, extra }) in &self.entries {
            let (host, table) = (self.locality.host(record.addr), [&self.new, &self.tried]);
            assert_eq!(self.hosts.get(&host), Some(&id));
            assert_eq!(table[usize::from(record.tried)].get(*home), Some(id));
            assert_eq!(self.home_of(record), *home);
            assert!(extra.iter().all(|place| self.new.get(*place) == Some(id) && place != home));
            assert!(extra.len() < PLACES_PER_ADDRESS_MAX);
            assert!(extra.is_empty() || !record.tried);
            gifts += extra.len();
        }
        assert_eq!(self.new.used() + self.tried.used(), self.entries.len() + gifts);
        assert!(self.contests.len() <= CONTESTS_MAX);
        for Contest { occupant, challenger, .. } in &self.contests {
            let [occupant, challenger] = [occupant, challenger].map(|host| self.hosts[host]);
            let [occupant, challenger] = [occupant, challenger].map(|id| &self.entries[id].record);
            assert!(occupant.tried && !challenger.tried);
        }
    }
}
