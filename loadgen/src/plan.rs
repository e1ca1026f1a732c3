//! The payload plan: which payload every id stands for, and which id a client writes next.
//!
//! [`Plan`] is a pure function of its seed, known alike to the clients, who write its payloads,
//! and to the chain, which checks what arrived against it byte for byte. [`Sequencer`] belongs to
//! one fleet thread and decides what its clients write: new ids, and again ids that another client
//! has written. Invariant: an id's kind and bytes never depend on who writes it or when.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::consensus::encode;
use codec::Kind;

use crate::noise::{Noise, mix};

/// First byte of every body that is not real traffic as it is; no real one begins with it.
const TAG: u8 = 0xa5;

/// Bytes of the tag and the id in front of a synthetic body.
pub(crate) const ID_BYTES: usize = 8;

/// Every this many ids, one has the size and content of a real transaction.
const REAL_EVERY: u64 = 16;
const REAL_OFFSET: u64 = 7;

/// Every this many ids, one has the size and content of the whole real block.
const BLOCK_EVERY: u64 = 65_536;
const BLOCK_OFFSET: u64 = 1_000;

const _: () = assert!(BLOCK_OFFSET % REAL_EVERY != REAL_OFFSET, "an id stands for one payload");

/// One distinct payload: the fleet thread that owns it, and its number there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Id {
    /// Number of the fleet thread, counted over all children.
    pub(crate) thread: u16,
    /// Number within the thread, below 2^40.
    pub(crate) sequence: u64,
}

impl Id {
    const fn to_bytes(self) -> [u8; ID_BYTES] {
        let packed = (TAG as u64) << 56 | (self.thread as u64) << 40 | self.sequence;
        packed.to_be_bytes()
    }

    fn from_bytes(bytes: [u8; ID_BYTES]) -> Option<Self> {
        let packed = u64::from_be_bytes(bytes);
        (bytes[0] == TAG)
            .then_some(Self { thread: (packed >> 40) as u16, sequence: packed & ((1 << 40) - 1) })
    }
}

/// What an id stands for.
enum Item<'a> {
    /// The id, then pseudo-random bytes.
    Synthetic,
    /// Real bytes as they are.
    AsIs(Kind, &'a [u8]),
    /// The id, then real bytes: a payload of its own with the size and content of real traffic.
    Unique(Kind, &'a [u8]),
}

/// What every id stands for.
pub(crate) struct Plan {
    seed: u64,
    payload_bytes: usize,
    transactions: Vec<Vec<u8>>,
    block: &'static [u8],
    /// The ids of the real bodies as they are, by their first bytes.
    real: BTreeMap<[u8; KEY_BYTES], Id>,
}

impl Plan {
    /// A plan of synthetic bodies of `payload_bytes` (at least [`ID_BYTES`]), among the real ones.
    pub(crate) fn new(seed: u64, payload_bytes: usize) -> Self {
        let block = bitcoin_test_data::blocks::mainnet_702861();
        let decoded: bitcoin::Block =
            encode::deserialize(block).expect("the published block decodes");
        let transactions: Vec<_> = decoded.txdata.iter().map(encode::serialize).collect();
        let mut plan = Self {
            seed,
            payload_bytes: payload_bytes.max(ID_BYTES),
            transactions,
            block,
            real: BTreeMap::new(),
        };
        let transactions = plan.transactions.len() as u64;
        plan.real = (0..transactions)
            .map(|number| number * REAL_EVERY + REAL_OFFSET)
            .chain([BLOCK_OFFSET])
            .map(|sequence| Id { thread: 0, sequence })
            .map(|id| match plan.item(id) {
                Item::AsIs(_, body) => (key(body), id),
                Item::Synthetic | Item::Unique(..) => {
                    unreachable!("the first ones are as they are")
                }
            })
            .collect();
        assert_eq!(plan.real.len() as u64, transactions + 1, "real bodies begin differently");
        plan
    }

    fn item(&self, id: Id) -> Item<'_> {
        if id.sequence % BLOCK_EVERY == BLOCK_OFFSET {
            let first = id.thread == 0 && id.sequence < BLOCK_EVERY;
            return if first {
                Item::AsIs(Kind::Block, self.block)
            } else {
                Item::Unique(Kind::Block, self.block)
            };
        }
        if id.sequence % REAL_EVERY != REAL_OFFSET {
            return Item::Synthetic;
        }
        let number = id.sequence / REAL_EVERY;
        let count = self.transactions.len() as u64;
        let body = &self.transactions[(number % count) as usize];
        if id.thread == 0 && number < count {
            Item::AsIs(Kind::Transaction, body)
        } else {
            Item::Unique(Kind::Transaction, body)
        }
    }

    /// The kind of the payload that an id stands for.
    pub(crate) fn kind(&self, id: Id) -> Kind {
        match self.item(id) {
            Item::Synthetic => Kind::Transaction,
            Item::AsIs(kind, _) | Item::Unique(kind, _) => kind,
        }
    }

    /// Appends the body of an id.
    pub(crate) fn write(&self, id: Id, out: &mut Vec<u8>) {
        match self.item(id) {
            Item::Synthetic => {
                out.extend_from_slice(&id.to_bytes());
                fill(self.mixed(id), self.payload_bytes - ID_BYTES, out);
            }
            Item::AsIs(_, body) => out.extend_from_slice(body),
            Item::Unique(_, body) => {
                out.extend_from_slice(&id.to_bytes());
                out.extend_from_slice(body);
            }
        }
    }

    /// The id that a body claims to be. `None`: no id of this plan has such a body.
    pub(crate) fn identify(&self, body: &[u8]) -> Option<Id> {
        let claimed = body.first_chunk().and_then(|bytes| Id::from_bytes(*bytes));
        match claimed {
            Some(id) => Some(id),
            None => self.real.get(&key(body)).copied(),
        }
    }

    /// Whether this is the kind and, byte for byte, the body of an id.
    pub(crate) fn matches(&self, id: Id, kind: Kind, body: &[u8]) -> bool {
        kind == self.kind(id)
            && match self.item(id) {
                Item::Synthetic => {
                    body.len() == self.payload_bytes
                        && body[..ID_BYTES] == id.to_bytes()
                        && is_filled(self.mixed(id), &body[ID_BYTES..])
                }
                Item::AsIs(_, real) => body == real,
                Item::Unique(_, real) => {
                    body.len() == ID_BYTES + real.len()
                        && body[..ID_BYTES] == id.to_bytes()
                        && body[ID_BYTES..] == *real
                }
            }
    }

    fn mixed(&self, id: Id) -> u64 {
        mix(self.seed ^ u64::from_be_bytes(id.to_bytes()))
    }
}

/// Bytes that tell real bodies apart: a transaction begins with version, perhaps marker and flag,
/// input count, and the output that it spends, which no other one does.
const KEY_BYTES: usize = 64;

fn key(body: &[u8]) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let bytes = body.len().min(KEY_BYTES);
    key[..bytes].copy_from_slice(&body[..bytes]);
    key
}

/// The `position`th word of the stream of a mixed seed. Words are independent of one another, so
/// that a processor computes several at once: this runs for every frame that is written.
#[inline]
const fn word(mixed: u64, position: u64) -> [u8; 8] {
    let value = mixed.wrapping_add(position.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let value = (value ^ value >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (value ^ value >> 29).to_le_bytes()
}

/// A random word scaled to a number below `span`, without a division.
const fn scaled(dice: u64, span: u64) -> u64 {
    ((dice as u128 * span as u128) >> 64) as u64
}

/// Appends `bytes` of the stream of a mixed seed.
pub(crate) fn fill(mixed: u64, bytes: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes, 0);
    let (words, tail) = out[start..].as_chunks_mut::<8>();
    let mut position = 0;
    for slot in words {
        *slot = word(mixed, position);
        position += 1;
    }
    let last = word(mixed, position);
    tail.copy_from_slice(&last[..tail.len()]);
}

/// Whether these are the first bytes of the stream of a mixed seed.
pub(crate) fn is_filled(mixed: u64, bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut position = 0;
    let mut same = true;
    for found in words {
        same &= *found == word(mixed, position);
        position += 1;
    }
    same && *tail == word(mixed, position)[..tail.len()]
}

/// What a client writes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Draw {
    /// A payload that nobody wrote before.
    New(u64),
    /// One that another client of this thread wrote not long ago.
    Again(u64),
    /// One that is older than the engine remembers exactly; each is drawn once.
    Old(u64),
}

/// Ids whose writers are remembered; bounds the age of any duplicate, old ones included.
pub(crate) const WRITERS_REMEMBERED: u64 = 1 << 20;

/// New ones of a thousand payloads: a little under a tenth, so that of all frames, Pings
/// among them, 90 % are duplicates.
const NEW_PER_THOUSAND: u64 = 97;

/// While there are fewer, of this many payloads one is new; else of four times as many.
const FRAMES_PER_NEW: u64 = 5;

/// Of this many frames, one is an old duplicate, where these are wanted.
const FRAMES_PER_OLD: u64 = 100;

/// How often to look for an id that another client wrote before writing a new one instead.
const TRIES: u32 = 8;

/// An id that nobody has written completely.
const NOBODY: u16 = u16::MAX;

/// Decides what the clients of one fleet thread write.
pub(crate) struct Sequencer {
    random: Noise,
    next: u64,
    /// Draws so far. New ones are drawn at random, the more the fewer there were: at the
    /// start there are no others, and that is made up for.
    drawn: u64,
    /// Who wrote an id, by its sequence modulo the length.
    writers: Vec<u16>,
    /// Duplicates are at most this many ids of this thread old.
    window: u64,
    /// Old duplicates are at least this many ids of this thread old.
    old_age: Option<u64>,
    old_next: u64,
    /// Most ids drawn since the beginning of any stretch under way.
    slack: u64,
    under_way: BTreeSet<Stretch>,
    stretches: u64,
}

/// Some writes of one client in a row, of which it is not known yet that the engine has handled
/// them: where the ids stood when it began, and a number of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Stretch {
    begun: u64,
    number: u64,
}

impl Sequencer {
    /// A sequencer whose duplicates are at most `window` ids old when they are drawn, and at most
    /// `window` and twice `slack` ids when the engine handles them, however long one client waits:
    /// new ids are not drawn while a stretch is under way that began `slack` ids ago. With
    /// `old_age`, it draws old duplicates too.
    pub(crate) fn new(seed: u64, window: u64, slack: u64, old_age: Option<u64>) -> Self {
        assert!(window + 1 < WRITERS_REMEMBERED);
        assert!(old_age.is_none_or(|age| age > window && age + 1 < WRITERS_REMEMBERED));
        let writers = vec![NOBODY; WRITERS_REMEMBERED as usize];
        Self {
            random: Noise(mix(seed)),
            next: 0,
            drawn: 0,
            writers,
            window,
            old_age,
            old_next: 0,
            slack,
            under_way: BTreeSet::new(),
            stretches: 0,
        }
    }

    /// A client begins a stretch of writes.
    pub(crate) fn begin(&mut self) -> Stretch {
        self.stretches += 1;
        let stretch = Stretch { begun: self.next, number: self.stretches };
        self.under_way.insert(stretch);
        stretch
    }

    /// The engine has handled all of a stretch, or never will.
    pub(crate) fn end(&mut self, stretch: Stretch) {
        self.under_way.remove(&stretch);
    }

    /// Ids drawn as new so far: all below this number.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// What `client` writes next; `None` if there is nothing until a stretch ends.
    pub(crate) fn draw(&mut self, client: u16) -> Option<Draw> {
        let dice = self.random.next();
        self.drawn += 1;
        if let Some(age) = self.old_age
            && dice % FRAMES_PER_OLD == 1
            && self.next - self.old_next > age
        {
            let sequence = self.old_next;
            self.old_next += 1;
            if ![NOBODY, client].contains(&self.writer(sequence)) {
                return Some(Draw::Old(sequence));
            }
        }
        let too_many_new = self.next * 1_000 > self.drawn * NEW_PER_THOUSAND;
        let oldest = self.under_way.first().map_or(self.next, |stretch| stretch.begun);
        let too_far = self.next - oldest >= self.slack;
        // Some are drawn all the same: else one client could be left to write all the new ones.
        let frames_per_new = if too_many_new { 4 * FRAMES_PER_NEW } else { FRAMES_PER_NEW };
        if too_far || !dice.is_multiple_of(frames_per_new) {
            let span = self.next.min(self.window);
            for _ in 0..TRIES {
                let back = scaled(self.random.next(), span) + 1;
                let Some(sequence) = self.next.checked_sub(back) else { break };
                if ![NOBODY, client].contains(&self.writer(sequence)) {
                    return Some(Draw::Again(sequence));
                }
            }
        }
        if too_far {
            return None;
        }
        let sequence = self.next;
        self.next += 1;
        *self.writer_mut(sequence) = NOBODY;
        Some(Draw::New(sequence))
    }

    /// `client` has completely written a new id.
    pub(crate) fn written(&mut self, client: u16, sequence: u64) {
        *self.writer_mut(sequence) = client;
    }

    fn writer(&self, sequence: u64) -> u16 {
        self.writers[(sequence % WRITERS_REMEMBERED) as usize]
    }

    fn writer_mut(&mut self, sequence: u64) -> &mut u16 {
        &mut self.writers[(sequence % WRITERS_REMEMBERED) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_recognised_and_any_change_is_noticed() {
        let plan = Plan::new(7, 300);
        assert_eq!(plan.real.len(), 2_501, "2,500 transactions and the block");
        for thread in 0..2 {
            for sequence in (0..200).chain([1_000, 66_536, 40_007, 39_991, 70_000]) {
                let id = Id { thread, sequence };
                let mut body = Vec::new();
                plan.write(id, &mut body);
                assert_eq!(plan.identify(&body), Some(id));
                assert!(plan.matches(id, plan.kind(id), &body));
                assert!(!plan.matches(id, Kind::Header, &body));
                let last = body.len() - 1;
                for position in [0, 8, last / 2, last] {
                    body[position] ^= 1;
                    assert!(!plan.matches(id, plan.kind(id), &body), "{id:?} at {position}");
                    body[position] ^= 1;
                }
                assert!(!plan.matches(id, plan.kind(id), &body[..last]));
            }
        }
    }

    #[test]
    fn the_real_block_is_among_the_payloads_as_it_is() {
        let plan = Plan::new(1, 300);
        let mut body = Vec::new();
        plan.write(Id { thread: 0, sequence: BLOCK_OFFSET }, &mut body);
        assert_eq!(body.len(), 1_381_836);
        assert_eq!(plan.kind(Id { thread: 0, sequence: BLOCK_OFFSET }), Kind::Block);
    }

    #[test]
    fn no_real_body_begins_with_the_tag() {
        let plan = Plan::new(1, 300);
        assert!(plan.transactions.iter().all(|body| body[0] != TAG));
        assert_ne!(plan.block[0], TAG);
    }

    #[test]
    fn a_duplicate_is_another_clients_and_not_too_old() {
        let mut sequencer = Sequencer::new(3, 1_000, 50, Some(1_500));
        let (mut new, mut again, mut old) = (0_u64, 0_u64, 0_u64);
        let mut writers = Vec::new();
        for turn in 0..40_000_u16 {
            let client = turn % 5;
            match sequencer.draw(client).unwrap() {
                Draw::New(sequence) => {
                    assert_eq!(sequence, writers.len() as u64);
                    sequencer.written(client, sequence);
                    writers.push(client);
                    new += 1;
                }
                Draw::Again(sequence) => {
                    assert!(sequencer.next() - sequence <= 1_000);
                    assert_ne!(writers[sequence as usize], client);
                    again += 1;
                }
                Draw::Old(sequence) => {
                    assert!(sequencer.next() - sequence > 1_500);
                    assert_ne!(writers[sequence as usize], client);
                    old += 1;
                }
            }
        }
        assert!((3_800..4_200).contains(&new), "{new}");
        assert!(again > 35_000, "{again}");
        assert!(old > 100, "{old}");
    }

    #[test]
    fn what_is_not_written_yet_is_no_duplicate() {
        let mut sequencer = Sequencer::new(3, 100, 50, None);
        assert!((0..500).all(|_| matches!(sequencer.draw(0), Some(Draw::New(_)))));
        assert_eq!(sequencer.next(), 500);
    }

    #[test]
    fn nobody_runs_ahead_of_a_client_that_waits() {
        let mut sequencer = Sequencer::new(3, 100, 50, None);
        let waits = sequencer.begin();
        assert!((0..50).all(|_| matches!(sequencer.draw(0), Some(Draw::New(_)))));
        assert_eq!(sequencer.draw(0), None, "there is nothing to write again either");
        (0..50).for_each(|sequence| sequencer.written(0, sequence));
        let later = sequencer.begin();
        assert!((0..500).all(|_| !matches!(sequencer.draw(1), Some(Draw::New(_)))));
        assert_eq!(sequencer.next(), 50);
        sequencer.end(waits);
        while sequencer.next() < 100 {
            sequencer.draw(1);
        }
        assert!((0..500).all(|_| !matches!(sequencer.draw(1), Some(Draw::New(_)))));
        sequencer.end(later);
        assert!((0..500).any(|_| matches!(sequencer.draw(1), Some(Draw::New(_)))));
    }
}
