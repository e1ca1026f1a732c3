//! Relay: a payload is accepted from one peer, and goes to those that lack it.
//!
//! What was seen is known by a fingerprint of the frame; who has it, by a bit in the row of its
//! sequence. Where ids are told before bodies, an id has a row of its own, of who knows of it: a
//! payload goes to those that are in neither. Stem transactions never come here: they must leave no
//! trace in what others can probe.

use codec::{Form, Frame, Item, Network, Payload, Record};

use crate::chain::Freshness;
use crate::config::Config;
use crate::event::{ConnId, Output, Recipients};
use crate::inventory::{Inventory, PeerSlot};
use crate::rng::Rng;
use crate::seen::{Fingerprint, SeenFilter, Sequence};

/// What was seen, and who has it.
pub(crate) struct Relay {
    seen: SeenFilter,
    inventory: Inventory,
    /// Who sits in which column.
    columns: Vec<Option<ConnId>>,
    /// Established peers that found no free column. They get everything.
    unplaced: Vec<ConnId>,
    /// How many established peers read each form.
    forms: [usize; Form::ALL.len()],
    lacking: Vec<PeerSlot>,
}

/// The rows of one thing: of its body, and of its id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rows {
    pub(crate) body: Sequence,
    pub(crate) id: Sequence,
}

/// Bytes that stand for an id where a frame stands for a body: two in the place of the magic, the
/// kind, the id. No frame is fingerprinted alike: no kind of the protocol has this bit.
const ID_MARK: u8 = 0x80;

/// Rows of the inventory that are cleared of departed peers in one call: 0.1 ms at most.
const SWEEP_ROWS: usize = 2_048;

impl Relay {
    pub(crate) fn new(config: &Config, rng: &mut Rng) -> Self {
        let mut secret = [0; 192];
        rng.fill(&mut secret);
        Self {
            seen: SeenFilter::new(config.seen, &secret),
            inventory: Inventory::new(config.inventory),
            columns: Vec::new(),
            unplaced: Vec::new(),
            forms: [0; Form::ALL.len()],
            lacking: Vec::new(),
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.seen.memory_bytes() + self.inventory.memory_bytes()
    }

    /// A column for a peer whose handshake is done.
    pub(crate) fn join(&mut self, conn: ConnId, form: Form) -> Option<PeerSlot> {
        self.forms[form as usize] += 1;
        let Some(slot) = self.inventory.join() else {
            self.unplaced.push(conn);
            return None;
        };
        let index = slot.index();
        if self.columns.len() <= index {
            self.columns.resize(index + 1, None);
        }
        self.columns[index] = Some(conn);
        Some(slot)
    }

    /// The peer is gone.
    pub(crate) fn forget(&mut self, conn: ConnId, slot: Option<PeerSlot>, form: Form) {
        self.forms[form as usize] -= 1;
        match slot {
            Some(slot) => {
                self.columns[slot.index()] = None;
                self.inventory.leave(slot);
            }
            None => self.unplaced.retain(|other| *other != conn),
        }
    }

    /// Clears a few rows of departed peers. `true`: more remain.
    pub(crate) fn sweep(&mut self) -> bool {
        self.inventory.sweep(SWEEP_ROWS)
    }

    pub(crate) fn fingerprint(&self, frame: &[u8]) -> Fingerprint {
        self.seen.fingerprint(frame)
    }

    /// First pass over a batch: the table slots are loaded, so that their misses overlap.
    pub(crate) fn touch(&self, prints: &[Fingerprint]) {
        std::hint::black_box(self.seen.touch(prints));
    }

    /// The same for a payload that is new, with `ahead` new ones before it.
    pub(crate) fn touch_new(&self, print: Fingerprint, ahead: usize) {
        std::hint::black_box(self.seen.touch_new(print, ahead));
    }

    #[inline]
    pub(crate) fn lookup(&self, print: Fingerprint) -> Option<Sequence> {
        self.seen.lookup(print)
    }

    /// This peer has it.
    #[inline]
    pub(crate) fn note(&mut self, slot: Option<PeerSlot>, sequence: Sequence) {
        if let Some(slot) = slot {
            self.inventory.note(slot, sequence);
        }
    }

    /// Remembers a payload that a peer delivered; `known` is what a look-up said of it.
    pub(crate) fn accept(
        &mut self,
        print: Fingerprint,
        known: Option<Sequence>,
        slot: Option<PeerSlot>,
        frame: Frame<'_>,
        network: &Network,
    ) -> (Payload, Freshness) {
        let sequence = match known {
            Some(sequence) => {
                self.note(slot, sequence);
                return (Payload::from_frame(network, frame), Freshness::Requested);
            }
            None => self.seen.remember(print),
        };
        self.inventory.open_row(sequence.sequence);
        self.note(slot, sequence.sequence);
        let freshness =
            if sequence.perhaps_long_ago { Freshness::PerhapsLongAgo } else { Freshness::New };
        (Payload::from_frame(network, frame), freshness)
    }

    /// How many established peers read this form.
    pub(crate) const fn peers_of(&self, form: Form) -> usize {
        self.forms[form as usize]
    }

    /// Whether every established peer reads the payload as it is.
    pub(crate) fn suits_all(&self, payload: &Payload) -> bool {
        let forms = payload.forms();
        Form::ALL.into_iter().all(|form| self.peers_of(form) == 0 || forms.contains(form))
    }

    fn id_print(&self, item: &Item) -> Fingerprint {
        let mut bytes = [0; 2 + Item::BYTES];
        bytes[2] = item.kind as u8 | ID_MARK;
        bytes[3..].copy_from_slice(&item.id.0);
        self.fingerprint(&bytes)
    }

    fn open(&mut self, print: Fingerprint) -> Sequence {
        self.lookup(print).unwrap_or_else(|| {
            let sequence = self.seen.remember(print).sequence;
            self.inventory.open_row(sequence);
            sequence
        })
    }

    /// The rows of a payload that is to be spread, opened if they are not.
    pub(crate) fn open_rows(&mut self, payload: &Payload, item: &Item) -> Rows {
        let body = self.open_body(payload);
        Rows { body, id: self.open(self.id_print(item)) }
    }

    /// The row of a body alone.
    pub(crate) fn open_body(&mut self, payload: &Payload) -> Sequence {
        self.open(self.fingerprint(payload.frame()))
    }

    /// The row of the id of something that was spread.
    pub(crate) fn id_row(&self, item: &Item) -> Option<Sequence> {
        self.lookup(self.id_print(item))
    }

    /// All peers that are in neither row, in the order of their slots, and then those that have no
    /// column.
    pub(crate) fn lacking(&mut self, rows: Rows) -> Vec<ConnId> {
        self.lacking.clear();
        self.inventory.lacking_all(&[rows.body, rows.id], &mut self.lacking);
        let placed = self.lacking.iter().filter_map(|slot| self.columns[slot.index()]);
        placed.chain(self.unplaced.iter().copied()).collect()
    }

    /// All peers in this row.
    pub(crate) fn holders(&self, sequence: Sequence) -> Vec<ConnId> {
        let mut slots = Vec::new();
        self.inventory.holders(sequence, &mut slots);
        slots.iter().filter_map(|slot| self.columns[slot.index()]).collect()
    }

    /// Whether this peer is in one of the rows.
    pub(crate) fn is_in(&self, slot: Option<PeerSlot>, rows: Rows) -> bool {
        let noted = |row| slot.is_some_and(|slot| self.inventory.has(slot, row));
        noted(rows.body) || noted(rows.id)
    }

    /// Sends a payload to all that lack it: one output, however many there are. Kinds that are not
    /// relayed go nowhere: an answer is a fault at whoever did not ask, a stem transaction a leak.
    pub(crate) fn spread(&mut self, payload: Payload) -> Option<Output> {
        self.spread_to(payload, |_| true)
    }

    /// The same, to those alone that are admitted. Who is not still lacks it.
    pub(crate) fn spread_to(
        &mut self,
        payload: Payload,
        mut admits: impl FnMut(ConnId) -> bool,
    ) -> Option<Output> {
        if !payload.kind().is_relay() {
            return None;
        }
        let sequence = self.open_body(&payload);
        self.lacking.clear();
        self.inventory.lacking(sequence, &mut self.lacking);
        let mut to = Vec::with_capacity(self.lacking.len() + self.unplaced.len());
        for slot in &self.lacking {
            let Some(conn) = self.columns[slot.index()].filter(|conn| admits(*conn)) else {
                continue;
            };
            self.inventory.note(*slot, sequence);
            to.push(conn);
        }
        to.extend(self.unplaced.iter().copied().filter(|conn| admits(*conn)));
        (!to.is_empty()).then_some(Output::Send { to: Recipients::Many(to), payload })
    }

    /// The chain wants it later: it may come again.
    pub(crate) fn unsee(&mut self, payload: &Payload) {
        let print = self.fingerprint(payload.frame());
        self.forget_print(print);
    }

    /// The same for what is remembered by something else than its frame.
    pub(crate) fn forget_print(&mut self, print: Fingerprint) {
        self.seen.forget(print);
    }

    /// This peer has it now, sent by us on request.
    pub(crate) fn mark(&mut self, slot: Option<PeerSlot>, payload: &Payload) {
        let print = self.fingerprint(payload.frame());
        if let Some(sequence) = self.lookup(print) {
            self.note(slot, sequence);
        }
    }

    /// This peer did not get it after all.
    pub(crate) fn unmark(&mut self, slot: Option<PeerSlot>, payload: &Payload) {
        if slot.is_none() || !payload.kind().is_relay() {
            return;
        }
        let print = self.fingerprint(payload.frame());
        if let Some(sequence) = self.lookup(print) {
            self.unnote(slot, sequence);
        }
    }

    /// This peer does not know of this after all.
    pub(crate) fn unmark_id(&mut self, slot: Option<PeerSlot>, item: &Item) {
        if let Some(sequence) = self.id_row(item) {
            self.unnote(slot, sequence);
        }
    }

    /// This peer does not have it after all.
    pub(crate) fn unnote(&mut self, slot: Option<PeerSlot>, sequence: Sequence) {
        if let Some(slot) = slot {
            self.inventory.unnote(slot, sequence);
        }
    }
}
