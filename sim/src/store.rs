//! What the processes of one node kept, for the next one: a store that loses nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use peer::{AddressRecord, Ban, BanTarget, Change, Endpoint, Restored};

/// Changes that are taken at once, as by the engine's store.
const CHANGES_AT_ONCE: usize = 64;

/// The records of one node.
#[derive(Default)]
pub(crate) struct Store {
    secret: Option<[u8; 32]>,
    anchors: Vec<SocketAddr>,
    addresses: BTreeMap<SocketAddr, AddressRecord>,
    bans: BTreeMap<BanTarget, Ban>,
}

impl Store {
    /// Takes what changed.
    pub(crate) fn take_from(&mut self, endpoint: &mut Endpoint) {
        let mut changes = Vec::new();
        while endpoint.has_changes() {
            endpoint.take_changes(CHANGES_AT_ONCE, &mut changes);
            changes.drain(..).for_each(|change| self.keep(change));
        }
    }

    fn keep(&mut self, change: Change) {
        match change {
            Change::Address(record) => {
                self.addresses.insert(record.addr, record);
            }
            Change::AddressGone(addr) => {
                self.addresses.remove(&addr);
            }
            Change::Ban(ban) => {
                self.bans.insert(ban.target, ban);
            }
            Change::BanGone(target) => {
                self.bans.remove(&target);
            }
            Change::Anchors(anchors) => self.anchors = anchors,
            Change::Secret(secret) => self.secret = Some(secret),
        }
    }

    /// All of it, for a new process.
    pub(crate) fn restored(&self) -> Restored {
        Restored {
            secret: self.secret,
            anchors: self.anchors.clone(),
            addresses: self.addresses.values().cloned().collect(),
            bans: self.bans.values().cloned().collect(),
        }
    }
}
