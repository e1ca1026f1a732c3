//! What we have seen: duplicates are told by one keyed fingerprint and one look-up, without a copy.
//!
//! Called by the relay for every frame of a relay kind, before anything is decoded. Two memories:
//! the last `recent_ids` payloads exactly, and bloom generations for those before them. Only the
//! exact one says "known"; the blooms answer "perhaps long ago", which is a hint and never a
//! reason to drop, because a filter that errs would silence a payload for as long as it errs.
//!
//! Invariants: a look-up reads one cache line (seldom two); nothing is allocated after `new`; of
//! two payloads remembered, the older one is forgotten first.

use xxhash_rust::xxh3::xxh3_128_with_secret;

use crate::lines::{LINE_WORDS, Lines};

/// Bytes of the secret: drawn at start, the same for the life of the filter, and told to nobody. It
/// must be random throughout: the hash xors its parts with each other, and repeated bytes cancel.
pub const SEEN_SECRET_BYTES: usize = 192;

/// Most that [`SeenLimits::recent_ids`] may be: ages must fit the 31 bits that a slot keeps.
pub const RECENT_IDS_MAX: u32 = 1 << 30;

/// Most that [`SeenLimits::older_bits_per_id`] may be: the bloom lines are counted in 32 bits. A
/// tenth of it makes a false hint rarer than a broken machine.
pub const OLDER_BITS_MAX: u32 = 512;

/// Bytes of magic, which say nothing of the payload and so are not fingerprinted.
const MAGIC_BYTES: usize = 2;

/// Slots of one cache line of the exact table.
const LINE_SLOTS: usize = LINE_WORDS / 2;

/// Set in the tag of every slot in use; the rest of a tag is the low bits of a sequence.
const IN_USE: u32 = 1 << 31;

/// The keyed fingerprint of a frame: two frames with the same one are the same payload.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// Of no frame: what stands where none was computed.
    pub(crate) const NONE: Self = Self(0);
}

/// Number of a remembered payload, counting up from 0: its age, and the name of its row in the
/// inventory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Sequence(u64);

impl Sequence {
    /// The payload with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// What [`SeenFilter::remember`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remembered {
    /// The payload's number from now on.
    pub sequence: Sequence,
    /// A bloom generation says that it was here before. It may err, so this is a hint.
    pub perhaps_long_ago: bool,
}

/// How much a filter remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeenLimits {
    /// Payloads remembered exactly, 1 to [`RECENT_IDS_MAX`]; 36 bytes each, up to twice that where
    /// it is no power of two.
    pub recent_ids: u32,
    /// Payloads before those of which a hint is kept: at least so many, at most twice as many.
    /// 0 counts as 1.
    pub older_ids: u32,
    /// Bits of each of the two bloom generations for each of `older_ids`. With 1, nearly every
    /// hint is false. At most [`OLDER_BITS_MAX`].
    pub older_bits_per_id: u32,
}

impl SeenLimits {
    /// 36 MiB for 20 minutes of 900 payloads a second, and 24 MiB for hints of four times as many:
    /// a relayed transaction comes back within seconds, a reorganisation within the hour. With both
    /// generations nearly full, one new payload in 2,400 is falsely hinted (`benches/dedup`).
    pub const DEFAULT: Self =
        Self { recent_ids: 1 << 20, older_ids: 4 << 20, older_bits_per_id: 24 };

    /// Pairs of bloom lines, one line for each generation.
    const fn older_pairs(&self) -> usize {
        let bits = self.older_ids as u64 * self.older_bits_per_id as u64;
        let pairs = bits.div_ceil(u64::BITS as u64 * LINE_WORDS as u64) as usize;
        if pairs == 0 { 1 } else { pairs }
    }

    /// Slots of the exact set.
    const fn recent_slots(&self) -> usize {
        let slots = (2 * self.recent_ids as usize).next_power_of_two();
        if slots < LINE_SLOTS { LINE_SLOTS } else { slots }
    }

    /// Bytes that a filter with these limits reserves.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        Lines::bytes_of(self.recent_slots() / LINE_SLOTS)
            + self.recent_ids as usize * size_of::<u32>()
            + Lines::bytes_of(2 * self.older_pairs())
    }

    /// Bytes of both bloom generations together.
    #[must_use]
    pub const fn older_bytes(&self) -> usize {
        self.older_pairs() * 2 * LINE_WORDS * size_of::<u64>()
    }
}

const _: () = assert!(SeenLimits::DEFAULT.older_bytes() <= 32_000_000);
const _: () = assert!(SeenLimits::DEFAULT.recent_ids <= RECENT_IDS_MAX);

impl Default for SeenLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The two memories, and the secret that keys their fingerprints.
///
/// ```
/// use peer::{Rng, SEEN_SECRET_BYTES, SeenFilter, SeenLimits};
/// let mut secret = [0; SEEN_SECRET_BYTES];
/// Rng::from_seed([7; 32]).fork("seen").fill(&mut secret);
/// let mut seen = SeenFilter::new(SeenLimits { recent_ids: 1000, ..Default::default() }, &secret);
/// let print = seen.fingerprint(b"a frame");
/// assert_eq!(seen.lookup(print), None);
/// let remembered = seen.remember(print);
/// assert!(!remembered.perhaps_long_ago);
/// assert_eq!(seen.lookup(print), Some(remembered.sequence));
/// ```
pub struct SeenFilter {
    secret: [u8; SEEN_SECRET_BYTES],
    recent: Recent,
    /// Where the table has each of the last `recent_ids` payloads, by sequence modulo their number:
    /// the low half of its key. An entry that was forgotten is in the table no more, and so is
    /// passed over when its turn comes.
    order: Vec<u32>,
    /// The sequence of the next payload.
    next: u64,
    older: Older,
}

impl SeenFilter {
    /// An empty filter. Its memory is reserved now, and resident when it is used.
    ///
    /// # Panics
    ///
    /// If `recent_ids` is 0 or over [`RECENT_IDS_MAX`].
    #[must_use]
    pub fn new(limits: SeenLimits, secret: &[u8; SEEN_SECRET_BYTES]) -> Self {
        assert!((1..=RECENT_IDS_MAX).contains(&limits.recent_ids), "{limits:?}");
        Self {
            secret: *secret,
            recent: Recent::new(limits),
            order: vec![0; limits.recent_ids as usize],
            next: 0,
            older: Older::new(limits),
        }
    }

    /// The fingerprint of a frame: xxh3-128, keyed by the secret, of everything after the magic.
    /// Kind and length are in it, so that frames of two kinds never share one.
    ///
    /// # Panics
    ///
    /// If `frame` is shorter than its magic; frames come cut from the codec.
    #[must_use]
    pub fn fingerprint(&self, frame: &[u8]) -> Fingerprint {
        Fingerprint(xxh3_128_with_secret(&frame[MAGIC_BYTES..], &self.secret))
    }

    /// Loads the slots that these fingerprints will be looked for in, one after the other without
    /// waiting, so that their cache misses overlap. The sum returned means nothing: it exists so
    /// that the loads do, and belongs in [`std::hint::black_box`].
    #[must_use]
    pub fn touch(&self, prints: &[Fingerprint]) -> u64 {
        let slots = self.recent.lines.pairs();
        prints.iter().fold(0, |sum, print| {
            let home = self.recent.home(Key::of(*print).low as u32);
            sum.wrapping_add(slots[home][0])
        })
    }

    /// Loads what remembering this payload will read, when `ahead` others are remembered before it:
    /// its bloom lines, and those of the payload that has to give way. For the sum see
    /// [`Self::touch`].
    #[must_use]
    pub fn touch_new(&self, print: Fingerprint, ahead: usize) -> u64 {
        let place = (self.next + ahead as u64) % self.order.len() as u64;
        let [low, rest] = self.recent.lines.pairs()[self.recent.home(self.order[place as usize])];
        let oldest = Key { low, high: (rest >> 32) as u32 };
        let line = |key, generation| self.older.lines.lines()[self.older.line(key, generation)][0];
        let print = Key::of(print);
        line(print, 0).wrapping_add(line(print, 1)).wrapping_add(line(oldest, 0))
    }

    /// The sequence of this payload, if it is one of the last `recent_ids`. Exact.
    #[must_use]
    pub fn lookup(&self, print: Fingerprint) -> Option<Sequence> {
        let slot = self.recent.find(Key::of(print))?;
        let tag = self.recent.lines.pairs()[slot][1] as u32;
        // The slot keeps 31 bits; what it holds is younger than 2^30, so they tell the whole.
        let newest = self.next - 1;
        let age = (newest as u32).wrapping_sub(tag) & !IN_USE;
        Some(Sequence(newest - u64::from(age)))
    }

    /// Remembers a payload as the newest, and moves the one that is now too old to the blooms. A
    /// payload that is remembered exactly already keeps its sequence.
    pub fn remember(&mut self, print: Fingerprint) -> Remembered {
        if let Some(sequence) = self.lookup(print) {
            return Remembered { sequence, perhaps_long_ago: false };
        }
        let key = Key::of(print);
        let perhaps_long_ago = self.older.contains(key);
        let sequence = self.next;
        let capacity = self.order.len() as u64;
        let place = (sequence % capacity) as usize;
        if let Some(oldest) = sequence.checked_sub(capacity)
            && let Some(slot) = self.recent.find_tag(self.order[place], tag(oldest))
        {
            let evicted = self.recent.remove(slot);
            self.older.insert(evicted);
        }
        self.recent.insert(key, tag(sequence));
        self.order[place] = key.low as u32;
        self.next = sequence + 1;
        Remembered { sequence: Sequence(sequence), perhaps_long_ago }
    }

    /// Forgets a recent payload, so that it is new when it comes again; says whether it was known.
    /// Its sequence is not used again.
    pub fn forget(&mut self, print: Fingerprint) -> bool {
        let slot = self.recent.find(Key::of(print));
        slot.map(|slot| self.recent.remove(slot)).is_some()
    }

    /// Bytes reserved; resident are at most as many.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.recent.lines.memory_bytes()
            + self.order.len() * size_of::<u32>()
            + self.older.lines.memory_bytes()
    }
}

/// The 96 bits of a fingerprint that are kept and compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Key {
    low: u64,
    high: u32,
}

impl Key {
    fn of(print: Fingerprint) -> Self {
        Self { low: print.0 as u64, high: (print.0 >> 64) as u32 }
    }
}

fn tag(sequence: u64) -> u32 {
    sequence as u32 | IN_USE
}

/// The exact set: a flat table with open addressing. A slot is two words: the low key, then the
/// high key over the tag; a zero tag is an empty slot. Probing is linear and starts at the first
/// slot of a line; a removal shifts back what follows, so there are no tombstones.
struct Recent {
    lines: Lines,
    /// Slots less one. Their number is a power of two and at least twice that of the entries.
    mask: usize,
}

impl Recent {
    fn new(limits: SeenLimits) -> Self {
        let slots = limits.recent_slots();
        Self { lines: Lines::new(slots / LINE_SLOTS), mask: slots - 1 }
    }

    /// Where to begin looking for a key with these low bits.
    fn home(&self, low: u32) -> usize {
        (low as usize * LINE_SLOTS) & self.mask
    }

    fn find(&self, key: Key) -> Option<usize> {
        self.probe(key.low as u32, |low, high, _| low == key.low && high == key.high)
    }

    /// The slot of one sequence, whose key has these low bits.
    fn find_tag(&self, low: u32, tag: u32) -> Option<usize> {
        self.probe(low, |_, _, other| other == tag)
    }

    fn probe(&self, low: u32, wanted: impl Fn(u64, u32, u32) -> bool) -> Option<usize> {
        let slots = self.lines.pairs();
        let mut slot = self.home(low);
        loop {
            let [low, rest] = slots[slot];
            if rest as u32 == 0 {
                return None;
            }
            if wanted(low, (rest >> 32) as u32, rest as u32) {
                return Some(slot);
            }
            slot = (slot + 1) & self.mask;
        }
    }

    /// Puts a key that is not there into the first free slot.
    fn insert(&mut self, key: Key, tag: u32) {
        let mut slot = self.home(key.low as u32);
        let slots = self.lines.pairs_mut();
        while slots[slot][1] as u32 != 0 {
            slot = (slot + 1) & self.mask;
        }
        slots[slot] = [key.low, u64::from(key.high) << 32 | u64::from(tag)];
    }

    /// Empties a slot in use, and moves back into it whatever was pushed on by what it held.
    fn remove(&mut self, slot: usize) -> Key {
        let [low, rest] = self.lines.pairs()[slot];
        let (mut hole, mut next) = (slot, slot);
        loop {
            next = (next + 1) & self.mask;
            let moved = self.lines.pairs()[next];
            if moved[1] as u32 == 0 {
                break;
            }
            let from_home = next.wrapping_sub(self.home(moved[0] as u32)) & self.mask;
            let from_hole = next.wrapping_sub(hole) & self.mask;
            if from_home >= from_hole {
                self.lines.pairs_mut()[hole] = moved;
                hole = next;
            }
        }
        self.lines.pairs_mut()[hole] = [0; 2];
        Key { low, high: (rest >> 32) as u32 }
    }
}

/// Words of a bloom line that hold bits; the last one names the generation that wrote them.
const BLOOM_WORDS: usize = LINE_WORDS - 1;

/// Hints of payloads that were evicted: two bloom generations in blocks of one line. A key sets one
/// bit in each word of its line. The lines of both generations lie side by side; a line of a
/// generation that is over counts as empty and is cleared when it is next written, so that the
/// change of generations costs nothing.
struct Older {
    lines: Lines,
    pairs: u32,
    /// Keys that a generation takes.
    ids_max: u32,
    /// Keys in the young generation.
    ids: u32,
    /// The young generation, from 1. The old one is the one before it.
    generation: u64,
}

impl Older {
    fn new(limits: SeenLimits) -> Self {
        let pairs = limits.older_pairs();
        Self {
            lines: Lines::new(2 * pairs),
            pairs: u32::try_from(pairs).expect("32 bits times 512, over 512"),
            ids_max: limits.older_ids.max(1),
            ids: 0,
            generation: 1,
        }
    }

    fn contains(&self, key: Key) -> bool {
        let bits = Self::bits(key);
        [self.generation, self.generation - 1].into_iter().any(|generation| {
            let line = &self.lines.lines()[self.line(key, generation)];
            let missing =
                line.iter().zip(bits).fold(0, |missing, (word, bit)| missing | bit & !word);
            line[BLOOM_WORDS] == generation && missing == 0
        })
    }

    fn insert(&mut self, key: Key) {
        if self.ids == self.ids_max {
            self.generation += 1;
            self.ids = 0;
        }
        self.ids += 1;
        let index = self.line(key, self.generation);
        let line = &mut self.lines.lines_mut()[index];
        if line[BLOOM_WORDS] != self.generation {
            *line = [0; LINE_WORDS];
            line[BLOOM_WORDS] = self.generation;
        }
        for (word, bit) in line.iter_mut().zip(Self::bits(key)) {
            *word |= bit;
        }
    }

    /// The line of a key in one generation: the high key, scaled to the number of pairs.
    fn line(&self, key: Key, generation: u64) -> usize {
        let pair = (u64::from(key.high) * u64::from(self.pairs)) >> 32;
        2 * pair as usize + (generation & 1) as usize
    }

    /// One bit for each word, chosen by six bits of the low key each.
    fn bits(key: Key) -> [u64; BLOOM_WORDS] {
        std::array::from_fn(|word| 1 << (key.low >> (6 * word) & 63))
    }
}

const _: () = assert!(6 * BLOOM_WORDS <= u64::BITS as usize);

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, VecDeque};

    use proptest::prelude::*;

    use super::*;
    use crate::Rng;

    fn filter(recent_ids: u32, older_ids: u32, older_bits_per_id: u32) -> SeenFilter {
        keyed(1, SeenLimits { recent_ids, older_ids, older_bits_per_id })
    }

    fn keyed(seed: u8, limits: SeenLimits) -> SeenFilter {
        let mut secret = [0; SEEN_SECRET_BYTES];
        Rng::from_seed([seed; 32]).fill(&mut secret);
        SeenFilter::new(limits, &secret)
    }

    /// Spread over the whole table, as real ones are.
    fn print(seen: &SeenFilter, number: u32) -> Fingerprint {
        let mut frame = [0; 6];
        frame[2..].copy_from_slice(&number.to_le_bytes());
        seen.fingerprint(&frame)
    }

    /// Crowded into few homes, one of them the last, so that runs are long and go round the end.
    fn crowded(number: u8) -> Fingerprint {
        let home = [0, 1, u128::from(u32::MAX)][number as usize % 3];
        Fingerprint(u128::from(number) << 88 | u128::from(number) << 40 | home)
    }

    #[test]
    fn the_secret_and_all_but_the_magic_are_in_a_fingerprint() {
        let one = filter(1, 1, 8);
        let other = keyed(2, SeenLimits { recent_ids: 1, ..SeenLimits::DEFAULT });
        let frame: Vec<u8> = (0..1300).map(|i| (i * 7) as u8).collect();
        let mut all = BTreeSet::new();
        for length in 2..frame.len() {
            let keyed = one.fingerprint(&frame[..length]);
            assert_ne!(keyed, other.fingerprint(&frame[..length]), "{length}");
            assert_ne!(keyed.0, xxhash_rust::xxh3::xxh3_128(&frame[2..length]), "{length}");
            all.insert(keyed);
        }
        assert_eq!(all.len(), frame.len() - 2);
        let mut changed = frame.clone();
        changed[1] ^= 1;
        assert_eq!(one.fingerprint(&frame), one.fingerprint(&changed));
        changed[2] ^= 1;
        assert_ne!(one.fingerprint(&frame), one.fingerprint(&changed));
    }

    #[test]
    fn the_defaults_keep_their_bounds() {
        let seen = keyed(1, SeenLimits::default());
        assert_eq!(seen.older.ids_max, 4 << 20);
        assert!(SeenLimits::default().older_bytes() <= 32_000_000);
        assert!(seen.memory_bytes() <= 64 << 20, "{}", seen.memory_bytes());
        assert!(filter(1000, 1000, 16).memory_bytes() < 48_000);
    }

    #[test]
    #[should_panic(expected = "recent_ids: 0")]
    fn no_recent_ids_at_all_are_a_mistake() {
        let _ = filter(0, 1, 8);
    }

    #[test]
    fn a_forgotten_payload_is_new_again_and_leaves_no_hint() {
        let mut seen = filter(4, 100, 32);
        let first = print(&seen, 1);
        let before = seen.remember(first).sequence;
        assert!(seen.forget(first));
        assert!(!seen.forget(first));
        assert_eq!(seen.lookup(first), None);
        for number in 2..20 {
            seen.remember(print(&seen, number));
        }
        let again = seen.remember(first);
        assert!(again.sequence > before);
        assert!(!again.perhaps_long_ago, "it was forgotten, not evicted");
    }

    #[test]
    fn evicted_payloads_are_hinted_for_at_least_older_ids() {
        let (recent_ids, older_ids) = (100, 3000);
        let mut seen = filter(recent_ids, older_ids, 16);
        for number in 0..20_000 {
            seen.remember(print(&seen, number));
            let evicted = (number + 1).saturating_sub(recent_ids);
            if number % 500 == 0 {
                for old in evicted.saturating_sub(older_ids)..evicted {
                    assert_eq!(seen.lookup(print(&seen, old)), None);
                    assert!(seen.older.contains(Key::of(print(&seen, old))), "{old} of {evicted}");
                }
            }
        }
        let latest_hinted = 20_000 - recent_ids - 2 * older_ids;
        let hinted = |old: &u32| seen.older.contains(Key::of(print(&seen, *old)));
        assert!((0..latest_hinted).filter(hinted).count() < 200, "generations end");
    }

    #[test]
    fn a_full_filter_loses_nothing() {
        let mut seen = filter(64, 100_000, 1);
        let mut hints = 0;
        for number in 0..60_000 {
            let print = print(&seen, number);
            assert_eq!(seen.lookup(print), None, "a payload never seen is never known");
            let remembered = seen.remember(print);
            assert_eq!(remembered.sequence, Sequence(u64::from(number)));
            assert_eq!(seen.lookup(print), Some(remembered.sequence));
            hints += u32::from(remembered.perhaps_long_ago);
        }
        assert!(hints > 10_000, "the filter lies all the time: {hints}");
    }

    #[test]
    fn touching_changes_nothing() {
        let mut seen = filter(16, 16, 8);
        let prints: Vec<Fingerprint> = (0..32).map(|number| print(&seen, number)).collect();
        let _ = std::hint::black_box(seen.touch(&prints));
        assert!(prints.iter().all(|print| seen.lookup(*print).is_none()));
        seen.remember(prints[0]);
        assert_ne!(seen.touch(&prints[..1]), 0);
        assert_eq!(seen.touch(&[]), 0);
    }

    /// The same, naively.
    struct Model {
        recent_ids: usize,
        older_ids: usize,
        known: BTreeMap<Fingerprint, u64>,
        order: VecDeque<(u64, Fingerprint)>,
        evicted: VecDeque<Fingerprint>,
        next: u64,
    }

    impl Model {
        /// The sequence given, and whether a hint must come with it.
        fn remember(&mut self, print: Fingerprint) -> (u64, bool) {
            if let Some(known) = self.known.get(&print) {
                return (*known, false);
            }
            let hinted = self.evicted.contains(&print);
            if self.order.len() == self.recent_ids {
                let (number, oldest) = self.order.pop_front().unwrap();
                if self.known.get(&oldest) == Some(&number) {
                    self.known.remove(&oldest);
                    self.evicted.push_back(oldest);
                    if self.evicted.len() > self.older_ids {
                        self.evicted.pop_front();
                    }
                }
            }
            let number = self.next;
            self.next += 1;
            self.order.push_back((number, print));
            self.known.insert(print, number);
            (number, hinted)
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Remember(u8),
        Forget(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u8..120).prop_map(Step::Remember),
            1 => (0u8..120).prop_map(Step::Forget),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_the_naive_model(
            recent_ids in 1usize..40,
            older_ids in 1usize..40,
            start in prop::sample::select(vec![0, (1 << 31) - 50, (1 << 32) - 50, (3 << 31) - 50]),
            steps in prop::collection::vec(step(), 1..400),
        ) {
            let mut seen = filter(recent_ids as u32, older_ids as u32, 32);
            seen.next = start;
            let mut model = Model {
                recent_ids,
                older_ids,
                known: BTreeMap::new(),
                order: VecDeque::new(),
                evicted: VecDeque::new(),
                next: start,
            };
            for step in steps {
                match step {
                    Step::Remember(number) => {
                        let remembered = seen.remember(crowded(number));
                        let (sequence, hinted) = model.remember(crowded(number));
                        prop_assert_eq!(remembered.sequence, Sequence(sequence));
                        prop_assert!(remembered.perhaps_long_ago || !hinted);
                    }
                    Step::Forget(number) => {
                        let known = model.known.remove(&crowded(number)).is_some();
                        prop_assert_eq!(seen.forget(crowded(number)), known);
                    }
                }
                for number in 0..120 {
                    let expected = model.known.get(&crowded(number)).map(|known| Sequence(*known));
                    prop_assert_eq!(seen.lookup(crowded(number)), expected);
                }
                let in_use = seen.recent.lines.pairs().iter().filter(|slot| slot[1] != 0).count();
                prop_assert_eq!(in_use, model.known.len());
            }
        }
    }
}
