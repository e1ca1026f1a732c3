//! The stems that are held: by number, by what they are known by, by whom they came from, and by
//! when something is to be done about them.
//!
//! Nothing here is ever looked at for a query, for the seen filter or for the inventory.

use std::collections::{BTreeMap, BTreeSet};

use codec::{Hash, Payload};

use super::rules::{DandelionRules, SHARES};
use crate::address::HostKey;
use crate::time::Instant;

/// Where a stem came from. A host, and not a connection: who comes again is who it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Edge {
    /// Our own chain.
    Own,
    /// A peer.
    Host(HostKey),
}

/// One transaction, as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Part {
    /// A StemTransaction.
    pub(super) payload: Payload,
    /// What it is known by.
    pub(super) keys: Box<[Hash]>,
    pub(super) edge: Edge,
}

impl Part {
    pub(super) fn bytes(&self) -> usize {
        self.payload.frame().len()
    }
}

/// What is done with a stem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It is gathered with others.
    Waits,
    /// The tip has to reach this height first.
    Locked(u64),
    /// The chain is asked to make its parts one; the coin has been tossed.
    Asked {
        /// Whether it ends here.
        fluffs: bool,
        /// How many parts there were.
        parts: usize,
    },
    /// It is on the point of being sent.
    Leaves,
    /// It was sent to this host, and is under embargo.
    Sent(HostKey),
}

/// What travels as one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stem {
    /// At least one.
    pub(super) parts: Vec<Part>,
    /// What they were made into, with its id. Gone when one of them is.
    pub(super) aggregate: Option<(Hash, Payload)>,
    pub(super) state: State,
    /// When something is to be done about it.
    pub(super) due: Option<Instant>,
    /// Whose send queue had no room for it: none of them is tried again. Fewer than
    /// [`DROPPED_MAX`](super::DROPPED_MAX).
    pub(super) dropped: Vec<HostKey>,
}

impl Stem {
    /// What has not left yet.
    pub(super) const fn new(parts: Vec<Part>, state: State) -> Self {
        Self { parts, aggregate: None, state, due: None, dropped: Vec::new() }
    }

    /// What is sent. `None`: several that were never made one, or are no longer.
    pub(super) fn whole(&self) -> Option<&Payload> {
        match (&self.aggregate, &self.parts[..]) {
            (Some((_, payload)), _) => Some(payload),
            (None, [part]) => Some(&part.payload),
            (None, _) => None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(Part::bytes).sum()
    }

    pub(super) fn is_own(&self) -> bool {
        self.parts.iter().any(|part| part.edge == Edge::Own)
    }

    fn keys(&self) -> impl Iterator<Item = &Hash> {
        let aggregate = self.aggregate.as_ref().map(|(id, _)| id);
        self.parts.iter().flat_map(|part| part.keys.iter()).chain(aggregate)
    }
}

/// How much of one edge is held.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Share {
    pub(super) stems: usize,
    pub(super) bytes: usize,
}

impl Share {
    /// Whether so many bytes more would be too much; one stem never is.
    const fn is_full(self, bytes: usize, stems_max: usize, bytes_max: usize) -> bool {
        self.stems > 0 && (self.stems >= stems_max || self.bytes + bytes > bytes_max)
    }
}

/// All stems that are held.
#[derive(Debug, Default)]
pub(super) struct Held {
    stems: BTreeMap<u64, Stem>,
    keys: BTreeMap<Hash, u64>,
    dues: BTreeSet<(Instant, u64)>,
    edges: BTreeSet<(Edge, u64)>,
    shares: BTreeMap<Edge, Share>,
    /// All peers together.
    of_peers: Share,
    next: u64,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.stems.is_empty()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Stem> {
        self.stems.get(&number)
    }

    pub(super) fn find(&self, key: &Hash) -> Option<u64> {
        self.keys.get(key).copied()
    }

    pub(super) fn share(&self, edge: Edge) -> Share {
        self.shares.get(&edge).copied().unwrap_or_default()
    }

    /// Those that wait for a height up to this one, the eldest first.
    pub(super) fn unlocked(&self, height: u64) -> Vec<u64> {
        let unlocked = |stem: &Stem| matches!(stem.state, State::Locked(at) if at <= height);
        self.stems.iter().filter(|(_, stem)| unlocked(stem)).map(|(number, _)| *number).collect()
    }

    /// Takes in what travels as one; gives its number, which no other ever has.
    pub(super) fn insert(&mut self, stem: Stem) -> u64 {
        let number = self.next;
        self.next += 1;
        self.insert_as(number, stem);
        number
    }

    fn insert_as(&mut self, number: u64, stem: Stem) {
        self.keys.extend(stem.keys().map(|key| (*key, number)));
        self.dues.extend(stem.due.map(|at| (at, number)));
        for part in &stem.parts {
            self.count(part, number);
        }
        self.stems.insert(number, stem);
    }

    /// The part that is known by this is our own, whoever brought it first.
    pub(super) fn adopt(&mut self, key: &Hash) {
        let Some(number) = self.find(key) else { return };
        let Some(mut stem) = self.remove(number) else { return };
        for part in stem.parts.iter_mut().filter(|part| part.keys.contains(key)) {
            part.edge = Edge::Own;
        }
        self.insert_as(number, stem);
    }

    /// Whose the part is that is known by this; of an aggregate, the first one's.
    pub(super) fn edge_of(&self, key: &Hash) -> Option<Edge> {
        let stem = self.stems.get(&self.find(key)?)?;
        let part = stem.parts.iter().find(|part| part.keys.contains(key));
        part.or_else(|| stem.parts.first()).map(|part| part.edge)
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Stem> {
        let stem = self.stems.remove(&number)?;
        for key in stem.keys() {
            self.keys.remove(key);
        }
        if let Some(at) = stem.due {
            self.dues.remove(&(at, number));
        }
        for part in &stem.parts {
            self.edges.remove(&(part.edge, number));
            self.discount(part);
        }
        Some(stem)
    }

    pub(super) fn set_state(&mut self, number: u64, state: State) {
        if let Some(stem) = self.stems.get_mut(&number) {
            stem.state = state;
        }
    }

    /// This one's send queue had no room for it.
    pub(super) fn note_dropped(&mut self, number: u64, by: HostKey) {
        if let Some(stem) = self.stems.get_mut(&number) {
            stem.dropped.push(by);
        }
    }

    /// Something is to be done about it then, unless it is already known when.
    pub(super) fn set_due(&mut self, number: u64, at: Instant) {
        if let Some(stem) = self.stems.get_mut(&number)
            && stem.due.is_none()
        {
            stem.due = Some(at);
            self.dues.insert((at, number));
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.dues.first().map(|(at, _)| *at)
    }

    /// One whose time has come; it stays, and has none any more.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<u64> {
        let (at, number) = *self.dues.first()?;
        if at > now {
            return None;
        }
        self.dues.pop_first();
        if let Some(stem) = self.stems.get_mut(&number) {
            stem.due = None;
        }
        Some(number)
    }

    /// What is known by this is over: the part, or all of an aggregate.
    pub(super) fn settle(&mut self, key: &Hash) {
        let Some(number) = self.find(key) else { return };
        let Some(stem) = self.stems.get(&number) else { return };
        match stem.parts.iter().position(|part| part.keys.contains(key)) {
            Some(index) => self.remove_part(number, index),
            None => drop(self.remove(number)),
        }
    }

    /// Makes room for a stem of this edge, by forgetting one that was sent on, or else one that is
    /// locked: of this edge if it has its share, else of the edge that has the most. `false`: there
    /// is none.
    pub(super) fn make_room(&mut self, edge: Edge, bytes: usize, rules: &DandelionRules) -> bool {
        let (stems_max, bytes_max) = (rules.stems_max as usize, rules.stem_bytes_max);
        let shares = SHARES as usize;
        while self.share(edge).is_full(bytes, stems_max / shares, bytes_max / shares) {
            if !self.forget_oldest(edge) {
                return false;
            }
        }
        while edge != Edge::Own && self.of_peers.is_full(bytes, stems_max, bytes_max) {
            let peers = self.shares.iter().filter(|(edge, _)| **edge != Edge::Own);
            let most = peers.max_by_key(|(_, share)| (share.stems, share.bytes));
            let Some(most) = most.map(|(edge, _)| *edge) else { return false };
            if !self.forget_oldest(most) {
                return false;
            }
        }
        true
    }

    /// The eldest of this edge.
    pub(super) fn oldest(&self, edge: Edge) -> Option<u64> {
        self.of(edge).next()
    }

    fn of(&self, edge: Edge) -> impl Iterator<Item = u64> {
        self.edges.range((edge, 0)..=(edge, u64::MAX)).map(|(_, number)| *number)
    }

    /// Forgets the eldest of a peer that was sent on, or else that is locked. Ours are never
    /// forgotten.
    fn forget_oldest(&mut self, edge: Edge) -> bool {
        let state = |number: &u64| self.stems.get(number).map(|stem| stem.state);
        let sent = |number: &u64| matches!(state(number), Some(State::Sent(_)));
        let locked = |number: &u64| matches!(state(number), Some(State::Locked(_)));
        let oldest = self.of(edge).find(sent).or_else(|| self.of(edge).find(locked));
        let Some(number) = oldest.filter(|_| edge != Edge::Own) else { return false };
        let parts = self.stems.get(&number).map_or(&[][..], |stem| &stem.parts[..]);
        let Some(index) = parts.iter().position(|part| part.edge == edge) else { return false };
        self.remove_part(number, index);
        true
    }

    /// One part is over. What it was aggregated into can be no transaction any more, or is not to
    /// take room for a part that has none.
    fn remove_part(&mut self, number: u64, index: usize) {
        let Some(stem) = self.stems.get_mut(&number) else { return };
        if stem.parts.len() == 1 {
            self.remove(number);
            return;
        }
        let part = stem.parts.remove(index);
        if let Some((id, _)) = stem.aggregate.take() {
            self.keys.remove(&id);
        }
        // In grin the id of an aggregate is a key of one of its parts.
        self.keys.extend(stem.keys().map(|key| (*key, number)));
        if !stem.parts.iter().any(|other| other.edge == part.edge) {
            self.edges.remove(&(part.edge, number));
        }
        for key in &part.keys {
            self.keys.remove(key);
        }
        self.discount(&part);
    }

    fn count(&mut self, part: &Part, number: u64) {
        self.edges.insert((part.edge, number));
        let of_peers = (part.edge != Edge::Own).then_some(&mut self.of_peers);
        for share in [Some(self.shares.entry(part.edge).or_default()), of_peers] {
            let Some(share) = share else { continue };
            share.stems += 1;
            share.bytes += part.bytes();
        }
    }

    fn discount(&mut self, part: &Part) {
        let of_peers = (part.edge != Edge::Own).then_some(&mut self.of_peers);
        for share in [self.shares.get_mut(&part.edge), of_peers] {
            let Some(share) = share else { continue };
            share.stems -= 1;
            share.bytes -= part.bytes();
        }
        if self.share(part.edge).stems == 0 {
            self.shares.remove(&part.edge);
        }
    }

    /// Asserts what always holds.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let keys = self
            .stems
            .iter()
            .flat_map(|(number, stem)| stem.keys().map(move |key| (*key, *number)));
        assert_eq!(keys.collect::<BTreeMap<_, _>>(), self.keys);
        let dues = self.stems.iter().filter_map(|(number, stem)| Some((stem.due?, *number)));
        assert_eq!(dues.collect::<BTreeSet<_>>(), self.dues);
        let mut shares: BTreeMap<Edge, Share> = BTreeMap::new();
        let mut edges = BTreeSet::new();
        let mut of_peers = Share::default();
        for (number, stem) in &self.stems {
            assert!(!stem.parts.is_empty());
            for part in &stem.parts {
                edges.insert((part.edge, *number));
                let of_peers = (part.edge != Edge::Own).then_some(&mut of_peers);
                for share in [Some(shares.entry(part.edge).or_default()), of_peers] {
                    let Some(share) = share else { continue };
                    share.stems += 1;
                    share.bytes += part.bytes();
                }
            }
        }
        assert_eq!(
            (edges, shares, of_peers),
            (self.edges.clone(), self.shares.clone(), self.of_peers)
        );
    }
}
