//! Announcements that come, and how what the chain wants of them is fetched.
//!
//! Of many who announce the same, one is asked. When it is late, the next is asked beside it, and
//! so on: who is silent keeps nobody else from being asked, and may still answer. When one does not
//! have it, or is gone, the next is asked at once. When nobody is left, the chain hears that it is
//! missing.

use std::time::Duration;

use codec::{Hash, Item, Kind, Offer, Payload, Records};

use crate::chain::{Source, ToChain};
use crate::endpoint::Endpoint;
use crate::event::{ConnId, Credit, Direction};
use crate::offers::{Left, Offered};
use crate::peer::Peer;
use crate::relaying::{class_of, item_of, request_for};
use crate::seen::Fingerprint;

/// Events for the chain that may wait before further announcements are passed over: their senders
/// can make any number. Guess: as many as four messages hold.
pub(crate) const EVENTS_WAITING_MAX: usize = 4 * codec::limits::RECORDS_MAX;

/// Announcements that cost as much as one small message to look at.
const RECORDS_PER_MESSAGE: usize = 32;

/// How long a block may be that was announced without its length. Guess: a busy block of 40 kB.
const BYTES_UNKNOWN: u32 = 40 << 10;

/// With so many asked and silent, the next has at least this long: they are slow because we are, or
/// of one party. Guess: as long as the first ones had together.
const SILENT_MANY: usize = 3;
const SILENT_WAIT: Duration = Duration::from_secs(5);

/// How long those who were asked last may take when nobody else is left.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// Longest body of which the id is computed when it comes unasked: a hash of more would hold up the
/// loop, and who announces is not to have more come unasked.
const ID_BYTES_MAX: usize = 4 << 10;

impl Endpoint {
    /// Some have these.
    pub(crate) fn on_have(&mut self, conn: ConnId, offers: Records<'_, Offer>) {
        for _ in 0..offers.len() / RECORDS_PER_MESSAGE {
            self.charge_message(conn);
        }
        let Some(from) = self.source(conn) else { return };
        for Offer { item, bytes } in offers.iter() {
            if self.on_offer(from, item, bytes) && self.events.len() < EVENTS_WAITING_MAX {
                self.told(&item);
                self.tell_later(ToChain::Announced { from, kind: item.kind, id: item.id });
            }
        }
        self.left_behind();
    }

    /// A peer announces one transaction by the hash of its kernel. `false`: no credit, not
    /// consumed.
    pub(crate) fn on_announcement(
        &mut self,
        conn: ConnId,
        kind: Kind,
        id: Hash,
        credit: &mut Credit,
    ) -> bool {
        let Some(from) = self.source(conn) else { return true };
        let item = Item { kind, id };
        let new = self.on_offer(from, item, 0);
        self.left_behind();
        let handed_over = !new || self.hand_over(ToChain::Announced { from, kind, id }, credit);
        if new && handed_over {
            self.told(&item);
        }
        handed_over
    }

    fn told(&mut self, item: &Item) {
        if let Some(item) = item_of(item.kind, item.id) {
            self.offers.told(&item);
        }
    }

    /// One thing that a peer has. Whether the chain is to hear of it.
    fn on_offer(&mut self, from: Source, item: Item, bytes: u32) -> bool {
        let Some(item) = item_of(item.kind, item.id) else { return false };
        if self.relay.id_row(&item).is_some() {
            self.note_holder(from.conn, item.kind, item.id);
            if self.offers.learnt(&item).is_none() {
                return false; // it is here
            }
        }
        match self.offers.offer(item, from, bytes, self.now) {
            Offered::New => true,
            Offered::Known => false,
            Offered::Wanted => {
                if self.offers.is_idle(&item) {
                    self.ask_another(item);
                }
                false
            }
        }
    }

    /// A payload came unasked, and goes to the chain. A header, or a compact block, tells who has
    /// the block; a body tells that it need not be asked for.
    pub(crate) fn on_arrival(
        &mut self,
        conn: ConnId,
        payload: Payload,
        print: Fingerprint,
    ) -> Payload {
        let Some(class) = class_of(payload.kind()) else { return payload };
        if class == payload.kind() && !self.announces() && self.offers.is_empty() {
            return payload; // nobody asks for ids
        }
        let Some(from) = self.source(conn) else { return payload };
        let short = payload.body().len() <= ID_BYTES_MAX;
        if class == payload.kind() {
            if !short {
                return payload;
            }
            let payload = payload.with_id();
            let item = Item { kind: class, id: payload.id() };
            self.offers.offer(item, from, 0, self.now);
            self.offers.told(&item);
            self.on_answered(item, class, conn, payload.frame().len());
            self.left_behind();
            return payload;
        }
        if short {
            let item = Item { kind: class, id: payload.id() };
            self.on_offer(from, item, 0);
            self.offers.told(&item);
            if let Some(row) = self.relay.lookup(print) {
                self.offers.tell_row(&item, row);
            }
            self.left_behind();
        }
        payload
    }

    /// An envelope came unasked: its sender has what it names. Whoever was asked for that is waited
    /// for all the same: until it is opened, it may hold anything.
    pub(crate) fn on_envelope(&mut self, conn: ConnId, kind: Kind, id: Hash) {
        let (Some(item), Some(from)) = (item_of(kind, id), self.source(conn)) else { return };
        if kind == Kind::Header {
            return; // nobody packs one
        }
        self.offers.offer(item, from, 0, self.now);
        self.offers.told(&item);
        self.left_behind();
    }

    /// An envelope held something else than what it named: that is fetched from another, if it is
    /// wanted. If not, and the envelope was no answer, the chain hears of another who has it; if it
    /// was one, that nothing will come.
    pub(crate) fn on_lie(&mut self, conn: ConnId, kind: Kind, id: Hash, was_asked: bool) {
        let Some(item) = item_of(kind, id) else { return };
        let fetched = self.offers.fetched_kind(&item).is_some();
        self.on_refused(item, conn);
        if fetched || self.knows_body(kind, id) {
            return;
        }
        self.offers.untold(&item);
        if was_asked {
            return self.tell_later(ToChain::Missing { kind, id });
        }
        let other = self.offers.announcers(&item).find_map(|conn| self.source(conn));
        if let Some(from) = other.filter(|_| self.events.len() < EVENTS_WAITING_MAX) {
            self.offers.told(&item);
            self.tell_later(ToChain::Announced { from, kind, id });
        }
    }

    /// What was asked for came, from this peer: whole, or in an envelope.
    pub(crate) fn on_fetched(&mut self, conn: ConnId, payload: &Payload) {
        if self.offers.is_empty() {
            return;
        }
        let named = payload.envelope().map(|(kind, id, _)| (kind, id));
        let (kind, id) = named.unwrap_or_else(|| (payload.kind(), payload.id()));
        if let Some(item) = item_of(kind, id) {
            self.on_answered(item, kind, conn, payload.frame().len());
        }
    }

    fn on_answered(&mut self, item: Item, given: Kind, conn: ConnId, bytes: usize) {
        let others = self.offers.answered(item, given, conn, bytes, self.now);
        self.unask_items(item.id, others);
    }

    /// These peers need not give this any more: what they still give is a duplicate.
    pub(crate) fn unask_items(&mut self, id: Hash, asked: Vec<(Kind, ConnId)>) {
        for (kind, conn) in asked {
            if let Some(requests) = self.requests_mut(conn) {
                requests.give_up(kind, id);
            }
        }
    }

    /// A peer does not have these.
    pub(crate) fn on_not_found(&mut self, conn: ConnId, items: Records<'_, Item>) {
        for item in items.iter() {
            let Some(offered) = item_of(item.kind, item.id) else { continue };
            if let Some(requests) = self.requests_mut(conn) {
                requests.give_up(item.kind, item.id);
            }
            self.on_refused(offered, conn);
        }
    }

    /// A peer does not have it, or what it gave was worth nothing: another is asked.
    pub(crate) fn on_refused(&mut self, item: Item, conn: ConnId) {
        self.offers.refused(item, conn);
        if self.offers.is_idle(&item) {
            self.ask_another(item);
        }
        self.left_behind();
    }

    /// The chain wants something from whoever has it.
    pub(crate) fn fetch(&mut self, kind: Kind, id: Hash) {
        // What an announcement names, and what is meant.
        let kind = match kind {
            Kind::TransactionKernel => Kind::Transaction,
            Kind::Header => Kind::Block,
            kind => kind,
        };
        let item = item_of(kind, id).filter(|_| self.events.len() < EVENTS_WAITING_MAX);
        let Some(item) = item else {
            self.counts.commands_refused += 1;
            return;
        };
        if !self.offers.want(&item, kind) {
            return self.tell_later(ToChain::Missing { kind, id });
        }
        if self.offers.is_idle(&item) {
            self.ask_another(item);
            self.left_behind();
        }
    }

    /// Asks one peer more for something, whoever is likely to give it first.
    pub(crate) fn ask_another(&mut self, item: Item) {
        let bytes = u64::from(self.offers.bytes(&item).unwrap_or(BYTES_UNKNOWN));
        while let Some((kind, silent)) = self.offers.wanted(&item) {
            let bytes = bytes.min(self.config.network.limits.body_bytes_max(kind));
            let (Some((wait, conn)), Some(request)) =
                (self.best(&item, bytes), request_for(kind, item.id))
            else {
                break;
            };
            let asked = self.ask(conn, &request);
            let wait = if silent < SILENT_MANY { wait } else { wait.max(SILENT_WAIT) };
            let due = asked.then(|| self.now.after(wait));
            self.offers.asked(item, conn, self.now, due);
            if asked {
                return;
            }
        }
        let Some(kind) = self.offers.fetched_kind(&item) else { return };
        if !self.offers.wait_last(item, self.now.after(LAST_WAIT)) {
            let asked = self.offers.settle(item);
            self.unask_items(item.id, asked);
            self.tell_later(ToChain::Missing { kind, id: item.id });
        }
    }

    /// Who was not asked yet and is likely to be first: peers that we dialled before those that
    /// dialled us, who may be many and one party; then the faster one.
    fn best(&self, item: &Item, bytes: u64) -> Option<(Duration, ConnId)> {
        let holders = self.offers.row(item).map(|row| self.relay.holders(row));
        let candidates = self.offers.announcers(item).chain(holders.into_iter().flatten());
        let untried = candidates.filter(|conn| self.offers.is_untried(item, *conn));
        let ranked = untried.filter_map(|conn| {
            let peer = self.peers.get(conn)?;
            let wait = self.offers.speed(conn).wait(peer.session()?.ping, bytes);
            Some((peer.direction == Direction::Inbound, wait, conn))
        });
        ranked.min().map(|(_, wait, conn)| (wait, conn))
    }

    /// Does what departures and evictions left to do.
    pub(crate) fn left_behind(&mut self) {
        for left in self.offers.take_left() {
            match left {
                Left::Ask(item) if !self.stopping && self.offers.is_idle(&item) => {
                    self.ask_another(item);
                }
                Left::Ask(_) => {}
                Left::Missing(item, kind) => {
                    self.tell_later(ToChain::Missing { kind, id: item.id });
                }
            }
        }
    }

    /// Whether this peer was asked for this, or for any transaction, which may be this one.
    pub(crate) fn awaits(&self, conn: ConnId, kind: Kind) -> bool {
        let session = self.peers.get(conn).and_then(Peer::session);
        session.is_some_and(|session| session.requests.has_asked(kind, self.now))
    }
}
