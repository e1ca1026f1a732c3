//! What a store does not know yet, each address once however often it changed.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::address::HostKey;

pub(super) struct Changes {
    /// The secret was drawn here, and nobody keeps it yet.
    pub(super) secret: bool,
    /// Hosts of the book whose record changed.
    changed: BTreeSet<HostKey>,
    /// Addresses that left the book. At most `gone_max`: when a store is away for so long, it keeps
    /// some dead addresses, which age.
    gone: BTreeSet<SocketAddr>,
    gone_max: usize,
}

impl Changes {
    pub(super) fn new(gone_max: usize) -> Self {
        Self { secret: true, changed: BTreeSet::new(), gone: BTreeSet::new(), gone_max }
    }

    /// The host is in the book, at this address.
    pub(super) fn note(&mut self, host: HostKey, addr: SocketAddr) {
        self.gone.remove(&addr);
        self.changed.insert(host);
    }

    /// The host left the book.
    pub(super) fn note_gone(&mut self, host: HostKey, addr: SocketAddr) {
        self.changed.remove(&host);
        self.note_other(addr);
    }

    /// The address is not in the book, whatever of its host is.
    pub(super) fn note_other(&mut self, addr: SocketAddr) {
        if self.gone.len() < self.gone_max {
            self.gone.insert(addr);
        }
    }

    /// Whether a store will be told to forget this address.
    pub(super) fn is_gone(&self, addr: SocketAddr) -> bool {
        self.gone.contains(&addr)
    }

    pub(super) fn take_gone(&mut self) -> Option<SocketAddr> {
        self.gone.pop_first()
    }

    pub(super) fn take_changed(&mut self) -> Option<HostKey> {
        self.changed.pop_first()
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.secret && self.changed.is_empty() && self.gone.is_empty()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.changed.len() * size_of::<HostKey>() + self.gone.len() * size_of::<SocketAddr>()
    }

    /// That what changed is in the book, and what is gone within its bound.
    pub(super) fn check(&self, in_book: impl Fn(&HostKey) -> bool) {
        assert!(self.changed.iter().all(in_book));
        assert!(self.gone.len() <= self.gone_max);
    }
}
