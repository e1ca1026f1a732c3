//! Who has what, and since when: the truth that a run is judged by.
//!
//! An item is what somebody wanted spread; an entry is a body that holds one, or, aggregated,
//! several. The invariant of a run: each node's chain gets each entry at most once in public, and
//! each item at least once.
//!
//! One exception is in the nature of policies that send bodies unasked, such as
//! [`Policy::Sqrt`](peer::Policy): an answer may cross such a body. The id of a long one is not
//! computed when it comes, for that would hold up the loop, so whoever was asked for it is waited
//! for until the chain has judged it; and the chain may ask for what it was told of while the body
//! is on its way to it. The answer is then a second copy, and is counted. Where bodies come asked
//! alone, as by [`Policy::Announce`](peer::Policy) among those that speak the extension, a second
//! copy is an error.

use std::collections::BTreeMap;
use std::time::Duration;

use codec::{Hash, Kind, Payload};
use peer::{Freshness, Instant};

use crate::network::NodeId;

/// An item, by its place.
pub type ItemId = usize;

/// What became of the items of a run.
pub struct Ledger {
    nodes: usize,
    items: Vec<Item>,
    entries: Vec<Entry>,
    by_id: BTreeMap<Hash, usize>,
    errors: Vec<String>,
    asked_again: u64,
}

/// Errors that are kept as words; one is enough to fail a run.
const ERRORS_MAX: usize = 20;

/// What somebody wanted spread.
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) origin: NodeId,
    born: Instant,
    reached: Bits,
    count: usize,
    half_at: Option<Instant>,
    most_at: Option<Instant>,
    all_at: Option<Instant>,
    /// Hops over stems before it was public.
    pub(crate) stem_hops: u32,
    /// Bodies that hold it.
    pub(crate) entries: Vec<usize>,
}

/// A body.
pub(crate) struct Entry {
    /// As it is spread.
    pub(crate) payload: Payload,
    pub(crate) id: Hash,
    pub(crate) members: Vec<ItemId>,
    /// Whose chain has it in public, and whose as a stem transaction.
    pub(crate) holders: Bits,
    pub(crate) stems: Bits,
    /// To whose chain it came unasked.
    unasked: Bits,
}

/// When an item had come to so many of the nodes, from its birth on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spread {
    /// To half of them.
    pub half: Duration,
    /// To 99 in 100.
    pub most: Duration,
    /// To all.
    pub all: Duration,
}

/// How something became public at a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Its own chain made it.
    Made,
    /// A peer delivered it.
    Came(Freshness),
    /// Its stem was over here.
    Fluffed,
}

/// A set of nodes.
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    fn new(nodes: usize) -> Self {
        Self(vec![0; nodes.div_ceil(64)])
    }

    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.0[node / 64] >> (node % 64) & 1 == 1
    }

    /// Whether it was not there yet.
    pub(crate) fn add(&mut self, node: NodeId) -> bool {
        let before = self.has(node);
        self.0[node / 64] |= 1 << (node % 64);
        !before
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, node: NodeId) -> bool {
        let before = self.has(node);
        self.0[node / 64] &= !(1 << (node % 64));
        before
    }
}

impl Ledger {
    pub(crate) const fn new(nodes: usize) -> Self {
        Self {
            nodes,
            items: Vec::new(),
            entries: Vec::new(),
            by_id: BTreeMap::new(),
            errors: Vec::new(),
            asked_again: 0,
        }
    }

    /// The number of the next entry.
    pub(crate) const fn next_entry(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn add_item(&mut self, now: Instant, origin: NodeId, payload: Payload) -> usize {
        let item = self.items.len();
        self.items.push(Item {
            kind: payload.kind(),
            origin,
            born: now,
            reached: Bits::new(self.nodes),
            count: 0,
            half_at: None,
            most_at: None,
            all_at: None,
            stem_hops: 0,
            entries: Vec::new(),
        });
        self.add_entry(payload, vec![item])
    }

    pub(crate) fn add_entry(&mut self, payload: Payload, members: Vec<ItemId>) -> usize {
        let (entry, id) = (self.entries.len(), payload.id());
        members.iter().for_each(|item| self.items[*item].entries.push(entry));
        self.by_id.insert(id, entry);
        let [holders, stems, unasked] = [(); 3].map(|()| Bits::new(self.nodes));
        self.entries.push(Entry { payload, id, members, holders, stems, unasked });
        entry
    }

    /// The entry with this body, which tells its number in front.
    pub(crate) fn entry_of(&self, payload: &Payload) -> Option<usize> {
        let number = u32::from_be_bytes(*payload.body().first_chunk()?) as usize;
        let entry = self.entries.get(number)?;
        (entry.payload.body() == payload.body()).then_some(number)
    }

    pub(crate) fn entry_with(&self, id: &Hash) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn entry(&self, entry: usize) -> &Entry {
        &self.entries[entry]
    }

    pub(crate) fn entry_mut(&mut self, entry: usize) -> &mut Entry {
        &mut self.entries[entry]
    }

    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// A body is public at a node now. Whether some of what it holds is new there.
    pub(crate) fn note_public(
        &mut self,
        now: Instant,
        node: NodeId,
        entry: usize,
        way: Way,
    ) -> bool {
        let Self { nodes, items, entries, .. } = self;
        if !entries[entry].holders.add(node) {
            let unasked = entries[entry].unasked.has(node);
            if unasked && way == Way::Came(Freshness::Requested) {
                self.asked_again += 1;
                return false;
            }
            let since = now.since(items[entries[entry].members[0]].born);
            self.error(format!("node {node} got entry {entry} twice, {way:?}, {since:?} old"));
            return false;
        }
        if matches!(way, Way::Came(Freshness::New | Freshness::PerhapsLongAgo)) {
            entries[entry].unasked.add(node);
        }
        let mut fresh = false;
        for item in &entries[entry].members {
            let item = &mut items[*item];
            if !item.reached.add(node) {
                continue;
            }
            fresh = true;
            item.count += 1;
            let share = |percent: usize| (*nodes * percent).div_ceil(100);
            for (wanted, at) in [
                (share(50), &mut item.half_at),
                (share(99), &mut item.most_at),
                (*nodes, &mut item.all_at),
            ] {
                if item.count == wanted {
                    *at = Some(now);
                }
            }
        }
        fresh
    }

    /// A body went over one hop of a stem. What is public already has no stem any more.
    pub(crate) fn note_stem(&mut self, node: NodeId, entry: usize) {
        self.entries[entry].stems.add(node);
        for item in &self.entries[entry].members {
            let item = &mut self.items[*item];
            item.stem_hops += u32::from(item.count == 0);
        }
    }

    /// Whether all that a body holds is public at this node.
    pub(crate) fn has_all(&self, node: NodeId, entry: usize) -> bool {
        self.entries[entry].members.iter().all(|item| self.items[*item].reached.has(node))
    }

    /// Something is wrong with the run.
    pub(crate) fn error(&mut self, error: String) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        }
    }

    /// How each item spread, in the order of their births; what did not come to all is an error.
    ///
    /// # Errors
    ///
    /// What was lost, doubled or altered.
    pub fn spreads(&self) -> Result<Vec<Spread>, String> {
        if let Some(error) = self.errors.first() {
            return Err(error.clone());
        }
        let spread = |(index, item): (usize, &Item)| {
            let lost = || {
                let missing = self.nodes - item.count;
                format!("item {index} ({:?}) did not come to {missing} nodes", item.kind)
            };
            let since = |at: Option<Instant>| at.map(|at| at.since(item.born)).ok_or_else(lost);
            Ok(Spread {
                half: since(item.half_at)?,
                most: since(item.most_at)?,
                all: since(item.all_at)?,
            })
        };
        self.items.iter().enumerate().map(spread).collect()
    }

    /// How many items there are, and how many of them came to all nodes.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        let done = self.items.iter().filter(|item| item.all_at.is_some()).count();
        (self.items.len(), done)
    }

    /// Hops over stems before an item was public, of all items together.
    #[must_use]
    pub fn stem_hops(&self) -> u64 {
        self.items.iter().map(|item| u64::from(item.stem_hops)).sum()
    }

    /// Answers that came to a chain which had got the same unasked meanwhile.
    #[must_use]
    pub const fn asked_again(&self) -> u64 {
        self.asked_again
    }

    /// Who made each item.
    #[must_use]
    pub fn origins(&self) -> Vec<NodeId> {
        self.items.iter().map(|item| item.origin).collect()
    }

    /// The kind of an item.
    ///
    /// # Panics
    ///
    /// If there is no such item.
    #[must_use]
    pub fn kind_of(&self, item: ItemId) -> Kind {
        self.items[item].kind
    }

    /// Bytes of the bodies of each item's own payload, by kind.
    #[must_use]
    pub fn body_bytes(&self, kind: Kind) -> u64 {
        let of_kind = self.items.iter().filter(|item| item.kind == kind);
        of_kind.map(|item| self.entries[item.entries[0]].payload.body().len() as u64).sum()
    }

    /// How many items of this kind there are.
    #[must_use]
    pub fn count_of(&self, kind: Kind) -> usize {
        self.items.iter().filter(|item| item.kind == kind).count()
    }
}

#[cfg(test)]
mod tests {
    use codec::Network;

    use super::*;

    fn payload(number: u32) -> Payload {
        Payload::seal(&Network::DEV, Kind::Transaction, &number.to_be_bytes()).unwrap()
    }

    #[test]
    fn an_item_spreads_once_to_each() {
        let mut ledger = Ledger::new(200);
        let entry = ledger.add_item(Instant::from_micros(5), 0, payload(0));
        assert_eq!(ledger.entry_of(&payload(0)), Some(entry));
        assert_eq!(ledger.entry_of(&payload(1)), None);
        for node in 0..200 {
            assert!(ledger.spreads().is_err());
            let now = Instant::from_micros(5 + node as u64);
            assert!(ledger.note_public(now, node, entry, Way::Made));
        }
        let spreads = ledger.spreads().unwrap();
        let micros = [spreads[0].half, spreads[0].most, spreads[0].all].map(|d| d.as_micros());
        assert_eq!(micros, [99, 197, 199]);
        assert!(!ledger.note_public(Instant::from_micros(900), 7, entry, Way::Fluffed));
        assert!(ledger.spreads().unwrap_err().contains("twice"));
    }

    #[test]
    fn a_second_answer_is_an_error_unless_the_first_copy_came_unasked() {
        let [new, asked] = [Freshness::New, Freshness::Requested].map(Way::Came);
        for (first, sound) in [(new, true), (asked, false), (Way::Made, false)] {
            let mut ledger = Ledger::new(1);
            let now = Instant::START;
            let entry = ledger.add_item(now, 0, payload(0));
            assert!(ledger.note_public(now, 0, entry, first));
            assert!(!ledger.note_public(now, 0, entry, asked));
            assert_eq!((ledger.spreads().is_ok(), ledger.asked_again()), (sound, sound.into()));
        }
    }

    #[test]
    fn an_aggregate_brings_what_it_holds() {
        let mut ledger = Ledger::new(2);
        let now = Instant::START;
        let entries = [0, 1].map(|number| ledger.add_item(now, 0, payload(number)));
        let both = ledger.add_entry(payload(2), vec![0, 1]);
        ledger.note_stem(1, entries[0]);
        assert!(ledger.note_public(now, 0, both, Way::Made));
        assert!(ledger.note_public(now, 1, entries[0], Way::Made));
        ledger.note_stem(1, entries[0]);
        assert!(!ledger.has_all(1, both) && ledger.note_public(now, 1, both, Way::Made));
        assert!(ledger.spreads().is_ok() && ledger.has_all(1, both));
        assert_eq!(ledger.stem_hops(), 1, "what is public has no stem");
    }
}
