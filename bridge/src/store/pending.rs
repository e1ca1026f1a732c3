//! What waits to be written: the latest state of each record, once.
//!
//! The store's thread fills it from the lane and empties it by a transaction. It is bounded, for
//! the time when no transaction succeeds: at most some 60 MB, if the file was full of all that it
//! may hold.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use peer::{AddressRecord, Ban, BanTarget, Change, canonical};

/// Most addresses in the file, and waiting: three times what the book holds by default.
pub(super) const ADDRESSES_MAX: usize = 262_144;

/// Most bans in the file, and waiting: twice what the core holds.
pub(super) const BANS_MAX: usize = 131_072;

/// Most anchors: many times what the core names.
pub(super) const ANCHORS_MAX: usize = 64;

/// The latest state of each record; none: it is to be kept no more.
pub(super) struct Latest<K, V> {
    records: BTreeMap<K, Option<V>>,
    /// How many of those are none.
    gone: usize,
    max: usize,
}

impl<K: Ord, V> Latest<K, V> {
    const fn new(max: usize) -> Self {
        Self { records: BTreeMap::new(), gone: 0, max }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, Option<&V>)> {
        self.records.iter().map(|(key, record)| (key, record.as_ref()))
    }

    /// Gives back how many records were given up for want of room. Those that are to be kept no
    /// more go first: without them, the next start finds a record too many, which it can check.
    fn note(&mut self, key: K, record: Option<V>) -> u64 {
        let mut lost = 0;
        if self.records.len() >= self.max && !self.records.contains_key(&key) {
            // An eighth at least, so that looking through all of them pays.
            if self.gone < self.max.div_ceil(8) {
                return 1;
            }
            lost = self.gone as u64;
            self.records.retain(|_, record| record.is_some());
            self.gone = 0;
        }
        self.gone += usize::from(record.is_none());
        if let Some(None) = self.records.insert(key, record) {
            self.gone -= 1;
        }
        lost
    }
}

/// All that waits.
pub(super) struct Pending {
    pub(super) addresses: Latest<SocketAddr, AddressRecord>,
    pub(super) bans: Latest<BanTarget, Ban>,
    pub(super) anchors: Option<Vec<SocketAddr>>,
    pub(super) secret: Option<[u8; 32]>,
    /// How many changes it stands for.
    changes: u64,
}

impl Pending {
    pub(super) const fn new() -> Self {
        Self::bounded(ADDRESSES_MAX, BANS_MAX)
    }

    const fn bounded(addresses_max: usize, bans_max: usize) -> Self {
        Self {
            addresses: Latest::new(addresses_max),
            bans: Latest::new(bans_max),
            anchors: None,
            secret: None,
            changes: 0,
        }
    }

    /// Changes that it stands for, coalesced or not.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Records to write.
    pub(super) fn records(&self) -> usize {
        let single = usize::from(self.anchors.is_some()) + usize::from(self.secret.is_some());
        self.addresses.records.len() + self.bans.records.len() + single
    }

    /// Puts this change over the older ones of the same record. Gives back how many were given up.
    pub(super) fn note(&mut self, change: Change) -> u64 {
        let lost = match change {
            Change::Address(mut record) => {
                record.addr = canonical(record.addr);
                self.addresses.note(record.addr, Some(record))
            }
            Change::AddressGone(addr) => self.addresses.note(canonical(addr), None),
            Change::Ban(ban) => self.bans.note(ban.target, Some(ban)),
            Change::BanGone(target) => self.bans.note(target, None),
            Change::Anchors(mut anchors) => {
                anchors.truncate(ANCHORS_MAX);
                self.anchors = Some(anchors);
                0
            }
            Change::Secret(secret) => {
                self.secret = Some(secret);
                0
            }
        };
        self.changes = self.changes + 1 - lost;
        lost
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn addr(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn record(port: u16, failures: u32) -> Change {
        Change::Address(AddressRecord {
            addr: addr(port),
            source: Ipv4Addr::LOCALHOST.into(),
            tried: false,
            capabilities: codec::Capabilities::UNKNOWN,
            last_seen: peer::UnixTime::default(),
            last_attempt: peer::UnixTime::default(),
            last_success: peer::UnixTime::default(),
            failures,
        })
    }

    #[test]
    fn the_last_change_of_a_record_stands_for_all() {
        let mut pending = Pending::new();
        let changes = [record(1, 1), record(1, 2), Change::AddressGone(addr(2)), record(2, 3)];
        for change in changes.into_iter().chain([record(3, 1), Change::AddressGone(addr(3))]) {
            assert_eq!(pending.note(change), 0);
        }
        let found = pending.addresses.iter().map(|(key, record)| (key.port(), record));
        let found: Vec<_> =
            found.map(|(port, record)| (port, record.map(|r| r.failures))).collect();
        assert_eq!(found, [(1, Some(2)), (2, Some(3)), (3, None)]);
        assert_eq!((pending.records(), pending.changes()), (3, 6));
        assert_eq!(pending.addresses.gone, 1);
    }

    #[test]
    fn two_forms_of_one_address_are_one_record() {
        let mut pending = Pending::new();
        pending.note(record(1, 1));
        pending.note(Change::AddressGone("[::ffff:127.0.0.1]:1".parse().unwrap()));
        assert_eq!((pending.records(), pending.addresses.gone), (1, 1));
    }

    #[test]
    fn what_is_gone_is_given_up_first_and_every_change_is_accounted_for() {
        let mut pending = Pending::bounded(8, 1);
        let mut lost = 0;
        for port in 0..5 {
            lost += pending.note(Change::AddressGone(addr(port)));
        }
        for port in 10..18 {
            lost += pending.note(record(port, 0));
        }
        assert_eq!((lost, pending.records()), (5, 8));
        assert_eq!(pending.note(record(99, 0)), 1, "nothing to give up but itself");
        assert_eq!(pending.note(record(17, 5)), 0, "a known record still has its place");
        assert_eq!((pending.records(), pending.changes()), (8, 9));
    }
}
