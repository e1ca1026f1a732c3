//! How payloads spread: whole, by id first, or to a few.
//!
//! What the chain publishes or accepts goes to those who neither have it nor know of it: small
//! bodies whole, since an announcement and a question would cost as much; larger ones by id, and
//! the body to whoever asks. So nobody gets a large body twice. How an id is told depends on the
//! peer: a Have to one of ours, a kernel's hash or a header to one of grin's; whoever reads neither
//! gets the body. While all peers are of the last sort, no id is computed.
//!
//! What was announced is kept, and what is asked of it is answered without the chain.

use std::collections::BTreeSet;

use codec::{
    Capabilities, Form, Hash, Item, Kind, Message, Offer, Payload, PayloadFormat, Records,
};

use crate::batches::{Batch, Batches};
use crate::chain::{Request, Source, Verdict};
use crate::coming::Coming;
use crate::config::ConfigError;
use crate::endpoint::{Endpoint, sealed};
use crate::event::{ConnId, Output, Recipients};
use crate::inventory::PeerSlot;
use crate::peer::{Peer, Session};
use crate::rates::TokenBucket;
use crate::recent::{Learnt, Relayed};
use crate::relay::Rows;
use crate::requests::Class;
use crate::seen::Sequence;
use crate::time::Instant;

/// How a payload spreads.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Policy {
    /// Whole, to all that lack it: the baseline.
    Flood,
    /// Whole to the square root of those that lack it, by id to the others.
    Sqrt,
    /// By id above [`RelayRules::unasked_bytes_max`], whole below.
    #[default]
    Announce,
}

/// How payloads are relayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayRules {
    /// Which policy. Default: `Announce`.
    pub policy: Policy,
    /// Bodies up to this many bytes go unasked. Default 0, none: whatever goes unasked comes as
    /// often as there are peers, and an id is shorter than any body that travels
    /// (docs/experiments/relay.md).
    pub unasked_bytes_max: usize,
    /// Bytes of the payloads kept to answer requests for what we announced; at least one, so that a
    /// payload of any size may be announced. Default 32 MiB: six of grin's largest blocks.
    pub recent_bytes_max: usize,
}

impl Default for RelayRules {
    fn default() -> Self {
        Self { policy: Policy::default(), unasked_bytes_max: 0, recent_bytes_max: 32 << 20 }
    }
}

impl RelayRules {
    pub(crate) const fn check(&self) -> Result<(), ConfigError> {
        if self.recent_bytes_max == 0 {
            return Err(ConfigError::Recent);
        }
        Ok(())
    }
}

/// What is known of a payload, beside the payload itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Knowledge {
    /// From whom we first heard of it, by an announcement or by the payload; nobody if the chain
    /// made it known.
    pub from: Option<Source>,
    /// When that was.
    pub at: Instant,
    /// Peers known to have it, as far as the inventory's rows reach.
    pub peers: usize,
}

/// What relaying needs beside the tables.
#[derive(Debug, Default)]
pub(crate) struct Relaying {
    /// Established peers that speak our extension.
    pub(crate) readers: BTreeSet<ConnId>,
    pub(crate) batches: Batches,
    pub(crate) coming: Coming,
    /// Words of what is coming that we may still send.
    pub(crate) words: TokenBucket,
}

/// How one peer hears of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Whole,
    Have,
    Kernel,
    Header,
}

/// Who gets what of one payload.
#[derive(Default)]
struct Parties {
    whole: [Vec<ConnId>; Form::ALL.len()],
    packed: Vec<ConnId>,
    have: Vec<ConnId>,
    kernel: Vec<ConnId>,
    header: Vec<ConnId>,
}

/// What an item of this kind is known by in the tables: whoever has a header or a compact block has
/// the block too.
pub(crate) const fn class_of(kind: Kind) -> Option<Kind> {
    match kind {
        Kind::Header | Kind::Block | Kind::CompactBlock => Some(Kind::Block),
        Kind::TransactionKernel | Kind::Transaction => Some(Kind::Transaction),
        _ => None,
    }
}

/// What a thing of this kind and id is in the tables.
pub(crate) fn item_of(kind: Kind, id: Hash) -> Option<Item> {
    class_of(kind).map(|kind| Item { kind, id })
}

impl Endpoint {
    /// Sends a payload to all that lack it and can have it, or tells them that it is here. Kinds
    /// that are not relayed go nowhere.
    pub(crate) fn spread(&mut self, payload: Payload) {
        self.spread_from(payload, None);
    }

    /// The same for what a peer brought.
    pub(crate) fn spread_from(&mut self, payload: Payload, from: Option<Source>) {
        self.on_public(&payload);
        let Some(class) = class_of(payload.kind()).filter(|_| payload.kind().is_relay()) else {
            return;
        };
        if payload.kind() == Kind::Header {
            self.keep_announcers_of(&payload);
        } else if self.announces() {
            return self.announce(&payload, class, from);
        } else if !self.offers.is_empty() {
            let item = Item { kind: class, id: payload.id() };
            self.settle_offer(payload.kind(), item, None);
        }
        self.flood(&payload);
    }

    /// Whether anybody reads announcements, and is to get some.
    pub(crate) fn announces(&self) -> bool {
        self.config.relay.policy != Policy::Flood && (self.is_grin() || self.has_readers())
    }

    pub(crate) fn has_readers(&self) -> bool {
        !self.relaying.readers.is_empty()
    }

    pub(crate) fn is_grin(&self) -> bool {
        self.config.network.format == PayloadFormat::Grin
    }

    /// Sends a payload whole to all that lack it: as it is where all peers are alike, else once for
    /// each form of the protocol, within the pace of each, and to nobody to whom an archive is
    /// going out, behind which it would grow old.
    fn flood(&mut self, payload: &Payload) {
        let pace = self.config.rates.grin_pace;
        if pace.is_none() && self.serving.archives_sent == 0 && self.relay.suits_all(payload) {
            self.outbox.extend(self.relay.spread(payload.clone()));
            return;
        }
        let now = self.now;
        for form in Form::ALL {
            let count = self.relay.peers_of(form);
            if count == 0 {
                continue;
            }
            let Ok(copy) = payload.convert(&self.config.network, form.version()) else {
                self.counts.relay_withheld += count as u64;
                continue;
            };
            let Self { relay, peers, counts, .. } = self;
            let output = relay.spread_to(copy, |conn| {
                let Some(session) = peers.get_mut(conn).and_then(Peer::session_mut) else {
                    return false;
                };
                if Form::of_version(session.agreement.version) != form {
                    return false;
                }
                let admitted = session.admits(pace, now);
                counts.relay_withheld += u64::from(!admitted);
                admitted
            });
            self.outbox.extend(output);
        }
    }

    /// Sends a payload, or word of it, to all that neither have it nor know of it.
    fn announce(&mut self, payload: &Payload, class: Kind, from: Option<Source>) {
        let item = Item { kind: class, id: payload.id() };
        let rows = self.relay.open_rows(payload, &item);
        let settled = self.settle_offer(payload.kind(), item, Some(rows));
        let before = self.recent.get(payload.kind(), item.id).map(|relayed| relayed.learnt);
        let learnt = before.or(settled).unwrap_or(Learnt { from, at: self.now });
        let relayed = Relayed { payload: payload.clone(), sequence: rows.body, learnt };
        self.recent.insert(item.id, relayed, self.config.relay.recent_bytes_max);
        let lacking = self.relay.lacking(rows);
        if lacking.is_empty() {
            return;
        }
        let parties = self.parties(payload, &item, lacking);
        self.send_whole(payload, rows, parties.whole, parties.packed);
        let (network, grin) = (&self.config.network, self.is_grin());
        let offer = Offer {
            item: Item { kind: payload.kind(), id: item.id },
            bytes: u32::try_from(payload.body().len()).unwrap_or(u32::MAX),
        };
        if !parties.kernel.is_empty() {
            let kernel = sealed(network, &Message::TransactionKernel(item.id));
            self.send_noted(kernel, rows.id, parties.kernel);
        }
        // A header that others send for this block is no news, whether we send it or not.
        let header = (grin && class == Kind::Block).then(|| payload.header(&self.config.network));
        if let Some(header) = header.flatten() {
            self.relay.open_body(&header);
            self.send_noted(header, rows.id, parties.header);
        }
        self.offer_to(offer, Some(rows), parties.have);
    }

    /// Sorts those who lack a payload by how they hear of it.
    fn parties(&mut self, payload: &Payload, item: &Item, lacking: Vec<ConnId>) -> Parties {
        let (rules, grin, now) = (self.config.relay, self.is_grin(), self.now);
        let small = payload.body().len() <= rules.unasked_bytes_max;
        let chosen = self.chosen(&lacking);
        let by_id = !small || rules.policy == Policy::Sqrt;
        let held = Offer { item: *item, bytes: payload.body().len() as u32 };
        let packed = payload.packed().is_some();
        let Self { peers, relaying, counts, config, .. } = self;
        let mut parties = Parties::default();
        for conn in lacking {
            let Some(session) = peers.get_mut(conn).and_then(Peer::session_mut) else { continue };
            let extended = session.is_extended();
            if extended && relaying.coming.holds(conn, held, now) {
                continue;
            }
            let way = if chosen.contains(&conn) {
                Way::Whole
            } else {
                way(session, payload.kind(), by_id, grin)
            };
            if !session.admits(config.rates.grin_pace, now) {
                counts.relay_withheld += 1;
                continue;
            }
            match way {
                Way::Whole if extended && packed => parties.packed.push(conn),
                Way::Whole => {
                    let form = Form::of_version(session.agreement.version);
                    parties.whole[form as usize].push(conn);
                }
                Way::Have => parties.have.push(conn),
                Way::Kernel => parties.kernel.push(conn),
                Way::Header => parties.header.push(conn),
            }
        }
        parties
    }

    /// The few that get a payload whole although others are told of it.
    fn chosen(&mut self, lacking: &[ConnId]) -> BTreeSet<ConnId> {
        if self.config.relay.policy != Policy::Sqrt {
            return BTreeSet::new();
        }
        let mut few = lacking.to_vec();
        self.rng.shuffle(&mut few);
        let root = lacking.len().isqrt();
        few.truncate(root + usize::from(root * root < lacking.len()));
        few.into_iter().collect()
    }

    fn send_whole(
        &mut self,
        payload: &Payload,
        rows: Rows,
        whole: [Vec<ConnId>; Form::ALL.len()],
        packed: Vec<ConnId>,
    ) {
        if let Some(first) = packed.first().copied() {
            let envelope = self.dressed(first, payload.clone());
            self.send_noted(envelope, rows.body, packed);
        }
        for (form, to) in Form::ALL.into_iter().zip(whole) {
            if to.is_empty() {
                continue;
            }
            match payload.convert(&self.config.network, form.version()) {
                Ok(copy) => {
                    // Another form has a row of its own, by which its echo is known.
                    let body = self.relay.open_body(&copy);
                    if body != rows.body {
                        self.note_all(&to, rows.body);
                    }
                    self.send_noted(copy, body, to);
                }
                Err(_) => self.counts.relay_withheld += to.len() as u64,
            }
        }
    }

    /// Sends a payload to peers that then have it, or word of it to peers that then know of it.
    fn send_noted(&mut self, payload: Payload, row: Sequence, to: Vec<ConnId>) {
        if to.is_empty() {
            return;
        }
        self.note_all(&to, row);
        self.outbox.push_back(Output::Send { to: Recipients::Many(to), payload });
    }

    /// Tells peers of ours of an item, at the end of the turn.
    fn offer_to(&mut self, offer: Offer, rows: Option<Rows>, to: Vec<ConnId>) {
        if let Some(rows) = rows {
            self.note_all(&to, rows.id);
        }
        if self.relaying.batches.have(offer, to) {
            self.send_batches();
        }
    }

    fn note_all(&mut self, conns: &[ConnId], row: Sequence) {
        for conn in conns {
            self.relay.note(self.slot_of(*conn), row);
        }
    }

    pub(crate) fn slot_of(&self, conn: ConnId) -> Option<PeerSlot> {
        self.peers.get(conn).and_then(Peer::session).and_then(|session| session.slot)
    }

    /// What was on offer is here: those who said so have it, and nobody else is waited for. When
    /// and from whom it was first heard of.
    fn settle_offer(&mut self, kind: Kind, item: Item, rows: Option<Rows>) -> Option<Learnt> {
        let (learnt, _) = self.offers.learnt(&item)?;
        let mut announcers: Vec<ConnId> = self.offers.announcers(&item).collect();
        if let Some(row) = self.offers.take_row(&item) {
            announcers.extend(self.relay.holders(row));
        }
        for (conn, rows) in announcers.iter().zip(rows.into_iter().cycle()) {
            let slot = self.slot_of(*conn);
            self.relay.note(slot, rows.body);
            self.relay.note(slot, rows.id);
        }
        if kind == item.kind {
            let asked = self.offers.settle(item);
            self.unask_items(item.id, asked);
        } else {
            self.end_fetch(kind, item);
        }
        Some(learnt)
    }

    /// What was fetched is here, and the chain wants no more of it now. A compact block is not the
    /// block, which may still be wanted.
    fn end_fetch(&mut self, kind: Kind, item: Item) {
        if kind == item.kind || self.offers.fetched_kind(&item) == Some(kind) {
            let asked = self.offers.end_fetch(item);
            self.unask_items(item.id, asked);
        }
    }

    /// A header is about to go to all: from then on, having it says nothing.
    fn keep_announcers_of(&mut self, header: &Payload) {
        let item = Item { kind: Kind::Block, id: header.id() };
        let Some(row) = self.offers.take_row(&item) else { return };
        for conn in self.relay.holders(row) {
            if let Some(from) = self.source(conn) {
                self.offers.offer(item, from, 0, self.now);
            }
        }
        self.left_behind();
    }

    /// What was to go to a peer had no room: it does not have it, or know of it, after all.
    pub(crate) fn relay_dropped(&mut self, conn: ConnId, payload: &Payload) {
        let slot = self.slot_of(conn);
        self.relay.unmark(slot, payload);
        if !self.announces() {
            return;
        }
        let (kind, id) = match (payload.envelope(), payload.kind()) {
            (Some((kind, id, _)), _) => (kind, id),
            (None, Kind::TransactionKernel) => {
                let Some(id) = payload.body().first_chunk() else { return };
                (Kind::TransactionKernel, Hash(*id))
            }
            (None, kind) => (kind, payload.id()),
        };
        let Some(item) = item_of(kind, id) else { return };
        // In whatever form it was to go, and by whichever word.
        if let Some(relayed) = self.recent.get(kind, id) {
            self.relay.unnote(slot, relayed.sequence);
        } else if kind != item.kind {
            self.relay.unmark_id(slot, &item);
        }
    }

    /// What the chain thinks of a payload that it does not want spread.
    pub(crate) fn relay_judged(&mut self, from: Source, payload: &Payload, verdict: Verdict) {
        let class = class_of(payload.kind()).filter(|_| !self.offers.is_empty());
        let Some(class) = class else { return };
        let item = Item { kind: class, id: payload.id() };
        match verdict {
            Verdict::Accept => {}
            Verdict::Keep if payload.kind() == class => {
                self.settle_offer(payload.kind(), item, None);
            }
            Verdict::Keep => self.end_fetch(payload.kind(), item),
            Verdict::Later => {
                self.end_fetch(payload.kind(), item);
                self.offers.untold(&item); // who has it is known when the chain wants it
            }
            Verdict::Invalid => self.on_refused(item, from.conn),
        }
    }

    /// Whether this body was relayed lately: a second one need not come.
    pub(crate) fn knows_body(&self, kind: Kind, id: Hash) -> bool {
        self.recent.get(kind, id).is_some()
    }

    /// This peer has this, whatever way we know it.
    pub(crate) fn note_holder(&mut self, conn: ConnId, kind: Kind, id: Hash) {
        let Some(item) = item_of(kind, id) else { return };
        let slot = self.slot_of(conn);
        if let Some(row) = self.relay.id_row(&item) {
            self.relay.note(slot, row);
        }
        if let Some(relayed) = self.recent.get(kind, id) {
            self.relay.note(slot, relayed.sequence);
        }
    }

    /// What is known of an item that was announced to us, or that we announced: when and from whom
    /// it was first heard of, and how many have it. `None` if that is not known, or was long ago.
    /// Nothing is known of a transaction that is not public.
    #[must_use]
    pub fn knowledge(&self, kind: Kind, id: Hash) -> Option<Knowledge> {
        let item = item_of(kind, id)?;
        if let Some(relayed) = self.recent.get(kind, id) {
            let Learnt { from, at } = relayed.learnt;
            let peers = self.relay.holders(relayed.sequence).len();
            return Some(Knowledge { from, at, peers });
        }
        let (Learnt { from, at }, announcers) = self.offers.learnt(&item)?;
        let holders = self.offers.row(&item).map(|row| self.relay.holders(row));
        let silent = holders
            .into_iter()
            .flatten()
            .filter(|conn| !self.offers.announcers(&item).any(|announcer| announcer == *conn));
        Some(Knowledge { from, at, peers: announcers + silent.count() })
    }

    /// Whether this request can be answered from what was relayed lately, and may be now; it is
    /// then, at the cost of any answer.
    pub(crate) fn answer_from_recent(&mut self, conn: ConnId, kind: Kind, id: Hash) -> bool {
        let Some(relayed) = self.recent.get(kind, id) else { return false };
        let (payload, row) = (relayed.payload.clone(), relayed.sequence);
        let (rate, now, owed) = (self.config.rates.answers, self.now, self.upload_owed());
        let Some(class) = Class::of_answer(kind) else { return false };
        let Some(requests) = self.requests_mut(conn) else { return false };
        if owed || !requests.account_mut().is_ready(class, rate, now) {
            return false;
        }
        self.relay.note(self.slot_of(conn), row);
        self.deliver(conn, payload);
        true
    }

    /// A peer asks for some. They need no credit: what is not answered at once waits among its
    /// other requests, or is refused.
    pub(crate) fn on_want(&mut self, conn: ConnId, items: Records<'_, Item>) {
        for item in items.iter() {
            if self.answer_from_recent(conn, item.kind, item.id) {
                continue;
            }
            let request = request_for(item.kind, item.id);
            let Some(account) = self.requests_mut(conn).map(|it| it.account_mut()) else { break };
            if request.is_some_and(|request| account.keep(request)) {
                self.counts.requests_waiting += 1;
            } else {
                self.counts.requests_refused += 1;
                self.refuse_item(conn, item);
            }
        }
        self.serve(conn);
    }

    /// The chain does not give a peer what it asked for.
    pub(crate) fn not_found(&mut self, to: ConnId, kind: Kind, id: Hash) {
        let Some(class) = Class::of_answer(kind) else { return };
        self.settle(to, class, 0);
        self.refuse_item(to, Item { kind, id });
        self.serve(to);
    }

    /// Tells a peer that it does not get this, if it reads that.
    fn refuse_item(&mut self, conn: ConnId, item: Item) {
        let named = matches!(item.kind, Kind::Block | Kind::CompactBlock | Kind::Transaction);
        if named
            && self.relaying.readers.contains(&conn)
            && self.relaying.batches.not_found(conn, item)
        {
            self.send_batches();
        }
    }

    /// A peer's handshake is done.
    pub(crate) fn relay_joined(&mut self, conn: ConnId) {
        if self.peers.get(conn).is_some_and(Peer::is_extended) {
            self.relaying.readers.insert(conn);
        }
    }

    /// A peer is gone.
    pub(crate) fn relay_left(&mut self, conn: ConnId) {
        self.relaying.readers.remove(&conn);
        self.relaying.batches.leave(conn);
        self.relaying.coming.leave(conn);
        self.offers.leave(conn);
        self.left_behind();
    }

    pub(crate) fn relay_deadline(&self) -> Option<Instant> {
        let batches = (!self.relaying.batches.is_empty()).then_some(self.now);
        let (coming, offers) = (self.relaying.coming.deadline(), self.offers.deadline());
        [batches, coming, offers].into_iter().flatten().min()
    }

    pub(crate) fn relay_due(&mut self) {
        while let Some((conn, offer)) = self.relaying.coming.take_due(self.now) {
            self.announce_late(conn, offer);
        }
        while let Some(item) = self.offers.take_due(self.now) {
            self.ask_another(item);
        }
        self.send_batches();
    }

    /// A peer was to get this from another, and its time is over.
    fn announce_late(&mut self, conn: ConnId, offer: Offer) {
        let slot = self.slot_of(conn);
        let kinds = [offer.item.kind, Kind::CompactBlock];
        let relayed = kinds.into_iter().find_map(|kind| self.recent.get(kind, offer.item.id));
        let (Some(relayed), Some(id)) = (relayed, self.relay.id_row(&offer.item)) else { return };
        let rows = Rows { body: relayed.sequence, id };
        if self.relaying.readers.contains(&conn) && !self.relay.is_in(slot, rows) {
            let item = Item { kind: relayed.payload.kind(), id: offer.item.id };
            self.offer_to(Offer { item, ..offer }, Some(rows), vec![conn]);
        }
    }

    /// Sends what waited for the end of the turn.
    pub(crate) fn send_batches(&mut self) {
        let network = &self.config.network;
        for batch in self.relaying.batches.take() {
            let (to, payload) = match &batch {
                Batch::Have(to, offers) => {
                    let have = Message::Have(Records::new(offers));
                    (Recipients::Many(to.clone()), sealed(network, &have))
                }
                Batch::Want(conn, items) => {
                    let want = Message::Want(Records::new(items));
                    (Recipients::One(*conn), sealed(network, &want))
                }
                Batch::NotFound(conn, items) => {
                    let refusal = Message::NotFound(Records::new(items));
                    (Recipients::One(*conn), sealed(network, &refusal))
                }
            };
            self.outbox.push_back(Output::Send { to, payload });
        }
    }
}

/// How a peer hears of a payload of this kind that may go by its id.
fn way(session: &Session, kind: Kind, by_id: bool, grin: bool) -> Way {
    let capabilities = session.agreement.capabilities;
    match kind {
        Kind::Block | Kind::CompactBlock | Kind::Transaction if session.is_extended() && by_id => {
            Way::Have
        }
        _ if session.is_extended() || !grin => Way::Whole,
        Kind::Transaction if by_id && capabilities.contains(Capabilities::TX_KERNEL_HASH) => {
            Way::Kernel
        }
        // As grin itself does: whoever lacks the block asks for the compact one, or for all of it.
        Kind::Block => Way::Header,
        _ => Way::Whole,
    }
}

/// The request for an item, if it is of a kind that can be asked for by its id.
pub(crate) const fn request_for(kind: Kind, id: Hash) -> Option<Request> {
    match kind {
        Kind::Block => Some(Request::Block(id)),
        Kind::CompactBlock => Some(Request::CompactBlock(id)),
        Kind::Transaction => Some(Request::Transaction(id)),
        _ => None,
    }
}
