//! Who has what: one matrix for all peers, exact, a row per recent payload, a bit per peer slot.
//!
//! Called by the relay: a payload that comes from a peer, or goes to one, is noted; a payload that
//! is to be spread goes to those who lack it. Against a filter kept per peer (539 kB each) it is
//! two hundred times smaller at 10,000 peers, and never errs.
//!
//! The matrix is cut into blocks of 512 slots, and a block holds its part of all rows, a cache line
//! each: with few peers it is a table of 2 MiB that stays in the cache, and memory grows with the
//! peers. Invariant: a bit is set only for a slot that is established, or retired and not yet
//! swept; so a new peer, even in an old slot, lacks everything.

use crate::lines::{LINE_WORDS, Lines};
use crate::seen::Sequence;

/// Peer slots of a block: the bits of one cache line.
const BLOCK_SLOTS: usize = LINE_WORDS * WORD_SLOTS;

/// Peer slots of a word.
const WORD_SLOTS: usize = u64::BITS as usize;

/// Most that [`InventoryLimits::slots`] may be: a slot is 16 bits.
pub(crate) const SLOTS_MAX: u32 = 1 << 16;

/// Most that [`InventoryLimits::rows`] may be: 2 GiB of matrix at the default number of slots.
pub(crate) const ROWS_MAX: u32 = 1 << 20;

/// A column of the matrix: the place of one established peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerSlot(u16);

impl PeerSlot {
    /// The number of the slot, below [`InventoryLimits::slots`]: for tables beside the inventory.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    const fn word(self) -> usize {
        self.index() / WORD_SLOTS
    }

    const fn bit(self) -> u64 {
        1 << (self.index() % WORD_SLOTS)
    }
}

/// Size of the matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InventoryLimits {
    /// Newest payloads whose holders are known, a power of two, 1 to 2^20. Of older ones everybody
    /// counts as lacking.
    pub rows: u32,
    /// Peers at once, and those lately gone, 1 to 65,536. Memory is in steps of 512.
    pub slots: u32,
}

impl InventoryLimits {
    /// 64 MiB for a peer in each of 16,384 places; 2 MiB resident for every 512 peers. Rows for
    /// half a minute of a thousand payloads a second, and a payload spreads within seconds.
    pub const DEFAULT: Self = Self { rows: 32_768, slots: 16_384 };

    const fn blocks(&self) -> usize {
        (self.slots as usize).div_ceil(BLOCK_SLOTS)
    }

    /// Bytes that an inventory with these limits reserves.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        let blocks = self.blocks();
        Lines::bytes_of(blocks * self.rows as usize) + 3 * blocks * LINE_WORDS * size_of::<u64>()
    }
}

impl Default for InventoryLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The matrix and the state of its columns.
///
/// ```
/// use peer::{Inventory, InventoryLimits, Sequence};
/// let mut inventory = Inventory::new(InventoryLimits::default());
/// let (alice, bob) = (inventory.join().unwrap(), inventory.join().unwrap());
/// let payload = Sequence::new(0);
/// inventory.open_row(payload);
/// inventory.note(alice, payload);
/// let mut lacking = Vec::new();
/// inventory.lacking(payload, &mut lacking);
/// assert_eq!(lacking, [bob]);
/// ```
pub struct Inventory {
    /// Block after block, and in each a line per row.
    matrix: Lines,
    rows: usize,
    slots: usize,
    /// The sequence after the newest open row.
    next: u64,
    /// Blocks in which a peer ever was: the others are zero, and not looked at.
    blocks_used: usize,
    /// Slots with a peer. A slot in none of these three sets is free, and its column is zero.
    established: Box<[u64]>,
    /// Slots left by their peer, which wait for the next sweep to begin.
    retired: Box<[u64]>,
    /// Slots whose columns the present sweep clears.
    sweeping: Box<[u64]>,
    /// Lines that the present sweep has passed: block times rows, and row.
    swept: usize,
}

impl Inventory {
    /// An empty matrix. Its memory is reserved now, and resident when it is used.
    ///
    /// # Panics
    ///
    /// If the limits are out of their ranges.
    #[must_use]
    pub fn new(limits: InventoryLimits) -> Self {
        assert!(limits.rows.is_power_of_two() && limits.rows <= ROWS_MAX, "{limits:?}");
        assert!((1..=SLOTS_MAX).contains(&limits.slots), "{limits:?}");
        let (rows, slots) = (limits.rows as usize, limits.slots as usize);
        let blocks = limits.blocks();
        let none = vec![0; blocks * LINE_WORDS].into_boxed_slice();
        Self {
            matrix: Lines::new(blocks * rows),
            rows,
            slots,
            next: 0,
            blocks_used: 0,
            established: none.clone(),
            retired: none.clone(),
            sweeping: none,
            swept: 0,
        }
    }

    /// A slot for a new peer, the lowest that is free: it lacks everything. `None` if all are taken
    /// or wait to be swept.
    pub fn join(&mut self) -> Option<PeerSlot> {
        let sets = self.established.iter().zip(&self.retired).zip(&self.sweeping);
        let mut taken =
            sets.map(|((established, retired), sweeping)| established | retired | sweeping);
        let word = taken.position(|taken| taken != u64::MAX)?;
        let taken = self.established[word] | self.retired[word] | self.sweeping[word];
        let index = word * WORD_SLOTS + taken.trailing_ones() as usize;
        if index >= self.slots {
            return None;
        }
        let slot = PeerSlot(index as u16);
        self.established[word] |= slot.bit();
        self.blocks_used = self.blocks_used.max(index / BLOCK_SLOTS + 1);
        Some(slot)
    }

    /// The peer of this slot is gone. The slot is free again when a whole [`Self::sweep`] that
    /// begins after this is over.
    ///
    /// # Panics
    ///
    /// If no peer is in the slot.
    pub fn leave(&mut self, slot: PeerSlot) {
        self.check(slot);
        self.established[slot.word()] &= !slot.bit();
        self.retired[slot.word()] |= slot.bit();
    }

    /// Clears the columns of retired slots, all with one mask, for at most `rows_per_call` rows of
    /// a block (64 bytes each). Says whether there is more to do. Rows that were never open have no
    /// bits, and memory that was never touched stays so.
    pub fn sweep(&mut self, rows_per_call: usize) -> bool {
        if self.sweeping.iter().all(|word| *word == 0) {
            self.sweeping.swap_with_slice(&mut self.retired);
            self.swept = 0;
        }
        let end = self.blocks_used * self.rows;
        let opened = self.next.min(self.rows as u64) as usize;
        let mut budget = rows_per_call;
        while self.swept < end {
            let (block, row) = (self.swept / self.rows, self.swept % self.rows);
            let mask = self.sweeping.as_chunks::<LINE_WORDS>().0[block];
            if mask == [0; LINE_WORDS] || row >= opened {
                self.swept += self.rows - row;
                continue;
            }
            if budget == 0 {
                return true;
            }
            let count = (opened - row).min(budget);
            for line in &mut self.matrix.lines_mut()[self.swept..self.swept + count] {
                for (word, mask) in line.iter_mut().zip(mask) {
                    *word &= !mask;
                }
            }
            self.swept += count;
            budget -= count;
        }
        self.sweeping.fill(0);
        self.retired.iter().any(|word| *word != 0)
    }

    /// Opens the row of a new payload: nobody has it yet. Rows of payloads between it and the
    /// newest one before are opened too. A row that is open stays as it is.
    pub fn open_row(&mut self, sequence: Sequence) {
        let end = sequence.number() + 1;
        if end <= self.next {
            return;
        }
        for number in self.next.max(end.saturating_sub(self.rows as u64))..end {
            let row = self.row(number);
            for block in 0..self.blocks_used {
                self.matrix.lines_mut()[block * self.rows + row] = [0; LINE_WORDS];
            }
        }
        self.next = end;
    }

    /// The peer has this payload. Ignored for a payload older than the rows.
    ///
    /// # Panics
    ///
    /// If no peer is in the slot.
    pub fn note(&mut self, slot: PeerSlot, sequence: Sequence) {
        self.check(slot);
        if self.is_open(sequence) {
            let line = self.line(slot, sequence);
            self.matrix.lines_mut()[line][slot.word() % LINE_WORDS] |= slot.bit();
        }
    }

    /// The peer does not have this payload after all.
    ///
    /// # Panics
    ///
    /// If no peer is in the slot.
    pub fn unnote(&mut self, slot: PeerSlot, sequence: Sequence) {
        self.check(slot);
        if self.is_open(sequence) {
            let line = self.line(slot, sequence);
            self.matrix.lines_mut()[line][slot.word() % LINE_WORDS] &= !slot.bit();
        }
    }

    /// Whether the peer is known to have this payload; never of one older than the rows.
    #[must_use]
    pub fn has(&self, slot: PeerSlot, sequence: Sequence) -> bool {
        let word = self.matrix.lines()[self.line(slot, sequence)][slot.word() % LINE_WORDS];
        self.is_open(sequence) && word & self.established[slot.word()] & slot.bit() != 0
    }

    /// Appends all peers not known to have this payload, in the order of their slots: everybody, if
    /// it is older than the rows.
    pub fn lacking(&self, sequence: Sequence, into: &mut Vec<PeerSlot>) {
        self.lacking_all(&[sequence], into);
    }

    /// Appends all peers that are in none of these rows, in the order of their slots: rows that one
    /// thing has for its body, its id, its header. A row that is too old counts as empty.
    pub fn lacking_all(&self, rows: &[Sequence], into: &mut Vec<PeerSlot>) {
        let established = self.established.as_chunks::<LINE_WORDS>().0;
        for (block, established) in established.iter().enumerate().take(self.blocks_used) {
            let mut lacking = *established;
            for line in rows.iter().filter_map(|row| self.line_of(block, *row)) {
                lacking.iter_mut().zip(line).for_each(|(lacking, noted)| *lacking &= !noted);
            }
            append(block, &lacking, into);
        }
    }

    /// Appends all peers known to have this payload, in the order of their slots: nobody, if it is
    /// older than the rows.
    pub fn holders(&self, sequence: Sequence, into: &mut Vec<PeerSlot>) {
        let established = self.established.as_chunks::<LINE_WORDS>().0;
        for (block, established) in established.iter().enumerate().take(self.blocks_used) {
            let Some(line) = self.line_of(block, sequence) else { return };
            let mut holding = *established;
            holding.iter_mut().zip(line).for_each(|(holding, noted)| *holding &= noted);
            append(block, &holding, into);
        }
    }

    /// The part of an open row that is in this block.
    fn line_of(&self, block: usize, sequence: Sequence) -> Option<&[u64; LINE_WORDS]> {
        let line = block * self.rows + self.row(sequence.number());
        self.is_open(sequence).then(|| &self.matrix.lines()[line])
    }

    /// Rows that still hold a bit of this slot, whoever set it: 0 once a retired slot is swept.
    /// Reads the whole column, so it is for checks and not for the hot path.
    #[must_use]
    pub fn mentions(&self, slot: PeerSlot) -> usize {
        let first = slot.index() / BLOCK_SLOTS * self.rows;
        let lines = &self.matrix.lines()[first..first + self.rows];
        lines.iter().filter(|line| line[slot.word() % LINE_WORDS] & slot.bit() != 0).count()
    }

    /// Bytes reserved; resident are at most as many.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.matrix.memory_bytes() + 3 * self.established.len() * size_of::<u64>()
    }

    fn is_open(&self, sequence: Sequence) -> bool {
        sequence.number() < self.next && self.next - sequence.number() <= self.rows as u64
    }

    fn row(&self, number: u64) -> usize {
        number as usize & (self.rows - 1)
    }

    /// The line of the matrix where this peer's block holds this payload's row.
    fn line(&self, slot: PeerSlot, sequence: Sequence) -> usize {
        slot.index() / BLOCK_SLOTS * self.rows + self.row(sequence.number())
    }

    fn check(&self, slot: PeerSlot) {
        assert!(self.established[slot.word()] & slot.bit() != 0, "nobody is in {slot:?}");
    }
}

/// Appends the slots of these bits of a block.
fn append(block: usize, bits: &[u64; LINE_WORDS], into: &mut Vec<PeerSlot>) {
    for (word, bits) in bits.iter().enumerate() {
        let mut bits = *bits;
        while bits != 0 {
            let bit = bits.trailing_zeros() as usize;
            into.push(PeerSlot((block * BLOCK_SLOTS + word * WORD_SLOTS + bit) as u16));
            bits &= bits - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn inventory(rows: u32, slots: u32) -> Inventory {
        Inventory::new(InventoryLimits { rows, slots })
    }

    fn lacking(inventory: &Inventory, number: u64) -> Vec<PeerSlot> {
        let mut lacking = Vec::new();
        inventory.lacking(Sequence::new(number), &mut lacking);
        lacking
    }

    #[test]
    fn who_is_in_one_of_two_rows_lacks_neither() {
        let mut inventory = inventory(4, 1000);
        let peers: Vec<PeerSlot> = (0..1000).map(|_| inventory.join().unwrap()).collect();
        let [body, id] = [0, 1].map(Sequence::new);
        inventory.open_row(id);
        for (index, peer) in peers.iter().enumerate() {
            if index % 2 == 0 {
                inventory.note(*peer, body);
            }
            if index % 3 == 0 {
                inventory.note(*peer, id);
            }
        }
        inventory.leave(peers[1]);
        inventory.leave(peers[6]);
        let among = |wanted: fn(usize) -> bool| -> Vec<PeerSlot> {
            let here = peers.iter().enumerate().filter(|(index, _)| ![1, 6].contains(index));
            here.filter(|(index, _)| wanted(*index)).map(|(_, peer)| *peer).collect()
        };
        let mut found = Vec::new();
        inventory.lacking_all(&[body, id], &mut found);
        assert_eq!(found, among(|index| index % 2 != 0 && index % 3 != 0));
        found.clear();
        inventory.holders(id, &mut found);
        assert_eq!(found, among(|index| index % 3 == 0));
        inventory.open_row(Sequence::new(4));
        found.clear();
        inventory.lacking_all(&[body, id], &mut found);
        assert_eq!(found, among(|index| index % 3 != 0), "a row that is too old counts as empty");
        found.clear();
        inventory.holders(body, &mut found);
        assert_eq!(found, []);
    }

    #[test]
    fn who_was_noted_is_not_lacking() {
        let mut inventory = inventory(4, 1000);
        let peers: Vec<PeerSlot> = (0..1000).map(|_| inventory.join().unwrap()).collect();
        assert_eq!(inventory.join(), None);
        inventory.open_row(Sequence::new(0));
        for peer in peers.iter().step_by(3) {
            inventory.note(*peer, Sequence::new(0));
        }
        let expected: Vec<PeerSlot> =
            peers.iter().enumerate().filter(|(i, _)| i % 3 != 0).map(|(_, peer)| *peer).collect();
        assert_eq!(lacking(&inventory, 0), expected);
        inventory.unnote(peers[3], Sequence::new(0));
        assert!(!inventory.has(peers[3], Sequence::new(0)));
        assert_eq!(lacking(&inventory, 0).len(), expected.len() + 1);
    }

    #[test]
    fn of_payloads_older_than_the_rows_everybody_is_lacking() {
        let mut inventory = inventory(4, 64);
        let peer = inventory.join().unwrap();
        inventory.note(peer, Sequence::new(0));
        assert_eq!(lacking(&inventory, 0), [peer], "no row is open yet");
        for number in 0..5 {
            inventory.open_row(Sequence::new(number));
            inventory.note(peer, Sequence::new(number));
        }
        assert_eq!(lacking(&inventory, 0), [peer]);
        inventory.note(peer, Sequence::new(0));
        inventory.unnote(peer, Sequence::new(0));
        assert!((1..5).all(|number| lacking(&inventory, number).is_empty()));
        inventory.open_row(Sequence::new(1_000_000));
        assert!((0..1_000_001).rev().take(9).all(|number| lacking(&inventory, number) == [peer]));
    }

    #[test]
    fn a_slot_waits_for_a_whole_sweep_and_forgets_its_peer() {
        let mut inventory = inventory(8, 2);
        let (first, second) = (inventory.join().unwrap(), inventory.join().unwrap());
        for number in 0..8 {
            inventory.open_row(Sequence::new(number));
            inventory.note(first, Sequence::new(number));
            inventory.note(second, Sequence::new(number));
        }
        inventory.leave(first);
        assert!(inventory.sweep(5));
        inventory.leave(second);
        assert_eq!(inventory.join(), None);
        assert_eq!((inventory.mentions(first), inventory.mentions(second)), (3, 8));
        assert!(inventory.sweep(5), "the second left in the middle of a sweep");
        assert_eq!(inventory.join(), Some(first));
        assert_eq!(inventory.join(), None);
        assert!((0..8).all(|number| lacking(&inventory, number) == [first]));
        assert!(!inventory.sweep(8));
        assert_eq!(inventory.mentions(second), 0);
        assert_eq!(inventory.join(), Some(second));
        assert!(!inventory.sweep(1));
    }

    #[test]
    fn rows_that_were_never_open_are_not_swept() {
        let mut inventory = inventory(1024, 2 * BLOCK_SLOTS as u32);
        let peers: Vec<_> = (0..2 * BLOCK_SLOTS).map(|_| inventory.join().unwrap()).collect();
        let (first, last) = (peers[0], peers[peers.len() - 1]);
        inventory.leave(first);
        assert!(!inventory.sweep(1), "no row is open");
        assert_eq!(inventory.join(), Some(first));
        inventory.open_row(Sequence::new(0));
        for peer in [first, last] {
            inventory.note(peer, Sequence::new(0));
            inventory.leave(peer);
        }
        assert!(inventory.sweep(1), "a row in each of two blocks");
        assert!(!inventory.sweep(1));
        assert_eq!((inventory.mentions(first), inventory.mentions(last)), (0, 0));
    }

    #[test]
    fn a_new_block_begins_empty() {
        let mut inventory = inventory(4, 1024);
        inventory.open_row(Sequence::new(0));
        for _ in 0..BLOCK_SLOTS {
            let peer = inventory.join().unwrap();
            inventory.note(peer, Sequence::new(0));
        }
        let later = inventory.join().unwrap();
        assert_eq!(lacking(&inventory, 0), [later]);
        inventory.note(later, Sequence::new(0));
        inventory.open_row(Sequence::new(4));
        assert!(!inventory.has(later, Sequence::new(4)), "the row was used by payload 0");
    }

    #[test]
    #[should_panic(expected = "nobody is in")]
    fn a_retired_slot_takes_no_notes() {
        let mut inventory = inventory(4, 64);
        inventory.open_row(Sequence::new(0));
        let peer = inventory.join().unwrap();
        inventory.leave(peer);
        inventory.note(peer, Sequence::new(0));
    }

    #[test]
    fn the_default_matrix_is_64_mebibytes() {
        let bytes = Inventory::new(InventoryLimits::default()).memory_bytes();
        assert!((64 << 20..(64 << 20) + 8192).contains(&bytes), "{bytes}");
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Join,
        Leave(usize),
        Open(u64),
        Note(usize, u64),
        Unnote(usize, u64),
        Sweep(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => Just(Step::Join),
            2 => any::<usize>().prop_map(Step::Leave),
            2 => (1u64..4).prop_map(Step::Open),
            6 => (any::<usize>(), 0u64..12).prop_map(|(peer, age)| Step::Note(peer, age)),
            1 => (any::<usize>(), 0u64..12).prop_map(|(peer, age)| Step::Unnote(peer, age)),
            2 => (1usize..12).prop_map(Step::Sweep),
        ]
    }

    /// The same, naively: what each established peer has.
    #[derive(Default)]
    struct Model {
        peers: BTreeMap<PeerSlot, BTreeSet<u64>>,
        next: u64,
    }

    impl Model {
        fn peer(&self, choice: usize) -> Option<PeerSlot> {
            let index = choice.checked_rem(self.peers.len())?;
            self.peers.keys().nth(index).copied()
        }

        /// The payload so long before the newest, if it is in the rows.
        fn open(&self, age: u64) -> Option<u64> {
            self.next.checked_sub(1 + age).filter(|_| age < ROWS)
        }
    }

    const ROWS: u64 = 8;

    fn apply(inventory: &mut Inventory, model: &mut Model, step: Step) {
        match step {
            Step::Join => {
                if let Some(slot) = inventory.join() {
                    assert!(model.peers.insert(slot, BTreeSet::new()).is_none(), "given twice");
                }
            }
            Step::Leave(choice) => {
                if let Some(slot) = model.peer(choice) {
                    inventory.leave(slot);
                    model.peers.remove(&slot);
                }
            }
            Step::Open(gap) => {
                model.next += gap;
                inventory.open_row(Sequence::new(model.next - 1));
            }
            Step::Note(choice, age) | Step::Unnote(choice, age) => {
                let (Some(slot), Some(number)) =
                    (model.peer(choice), model.next.checked_sub(1 + age))
                else {
                    return;
                };
                let has = model.peers.get_mut(&slot).unwrap();
                if matches!(step, Step::Note(..)) {
                    inventory.note(slot, Sequence::new(number));
                    has.insert(number);
                } else {
                    inventory.unnote(slot, Sequence::new(number));
                    has.remove(&number);
                }
            }
            Step::Sweep(rows) => drop(inventory.sweep(rows)),
        }
    }

    proptest! {
        #[test]
        fn behaves_as_the_naive_model(
            slots in prop::sample::select(vec![3u32, 64, 515]),
            steps in prop::collection::vec(step(), 1..200),
        ) {
            let mut inventory = inventory(ROWS as u32, slots);
            let mut model = Model::default();
            for _ in 3..slots {
                apply(&mut inventory, &mut model, Step::Join);
            }
            for step in steps {
                apply(&mut inventory, &mut model, step);
                for number in (0..12).filter_map(|age| model.next.checked_sub(1 + age)) {
                    let open = model.open(model.next - 1 - number).is_some();
                    let expected: Vec<PeerSlot> = model
                        .peers
                        .iter()
                        .filter(|(_, has)| !(open && has.contains(&number)))
                        .map(|(slot, _)| *slot)
                        .collect();
                    prop_assert_eq!(&lacking(&inventory, number), &expected);
                    for slot in model.peers.keys() {
                        let has = inventory.has(*slot, Sequence::new(number));
                        prop_assert_eq!(has, !expected.contains(slot));
                    }
                }
            }
            while inventory.sweep(64) {}
            prop_assert_eq!(
                (0..slots).filter(|_| inventory.join().is_some()).count(),
                slots as usize - model.peers.len(),
                "every retired slot comes back"
            );
        }
    }
}
