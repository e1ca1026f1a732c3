//! A book from what a store kept: whatever that is, the result is a book.

use crate::address::canonical;
use crate::record::AddressRecord;
use crate::time::UnixTime;

use super::buckets::Buckets;
use super::keys::Keys;
use super::{AddressBook, Samples};

impl AddressBook {
    /// Takes what a store kept, before anything else; what was heard nonetheless comes after it.
    /// The best known come first where not all find a place. A record that is kept as it was is no
    /// change; what is not kept is gone.
    pub(crate) fn restore(
        &mut self,
        secret: Option<[u8; 32]>,
        mut records: Vec<AddressRecord>,
        now: UnixTime,
    ) {
        let heard: Vec<_> = self.records().collect();
        if let Some(secret) = secret {
            self.secret = secret;
            self.changes.secret = false;
            self.keys = Keys::new(secret, &self.limits);
        }
        self.empty();
        records.sort_by_key(|record| {
            (record.tried, record.last_success.min(now), record.last_seen.min(now), record.addr)
        });
        for record in records.into_iter().rev() {
            self.restore_one(record, now);
        }
        for record in heard {
            let (host, addr) = (self.locality.host(record.addr), record.addr);
            if !self.hosts.contains_key(&host) && self.place_free(record).is_none() {
                self.changes.note_gone(host, addr);
            }
        }
        if cfg!(debug_assertions) {
            self.check();
        }
    }

    fn empty(&mut self) {
        self.entries.clear();
        self.hosts.clear();
        self.new = Buckets::new(self.limits.new_buckets, self.limits.bucket_places);
        self.tried = Buckets::new(self.limits.tried_buckets, self.limits.bucket_places);
        self.contests.clear();
        self.samples = Samples::default();
    }

    fn restore_one(&mut self, stored: AddressRecord, now: UnixTime) {
        let addr = canonical(stored.addr);
        let record = AddressRecord {
            addr,
            source: stored.source.to_canonical(),
            last_seen: stored.last_seen.min(now),
            last_attempt: stored.last_attempt.min(now),
            last_success: stored.last_success.min(now),
            ..stored
        };
        let host = self.locality.host(addr);
        let placed = if let Some(id) = self.hosts.get(&host) {
            // The same address twice is one record, of which the store keeps one.
            let known = self.entries[*id].record.addr;
            if known == stored.addr {
                self.note(*id);
                return;
            }
            None
        } else if self.locality.is_reachable(addr) {
            self.place_free(record.clone())
        } else {
            None
        };
        if placed.is_none() || addr != stored.addr {
            self.changes.note_other(stored.addr);
        }
        if let Some(id) = placed
            && (self.entries[id].record != stored || self.changes.is_gone(addr))
        {
            self.note(id);
        }
    }

    /// Puts a record where it belongs if nobody is there; a tried one else among the new ones.
    fn place_free(&mut self, record: AddressRecord) -> Option<usize> {
        let fallback = AddressRecord { tried: false, ..record.clone() };
        let candidates = if record.tried { vec![record, fallback] } else { vec![record] };
        let free = |record: &AddressRecord| {
            let table = if record.tried { &self.tried } else { &self.new };
            table.get(self.home_of(record)).is_none()
        };
        let record = candidates.into_iter().find(free)?;
        Some(self.insert(record))
    }
}
