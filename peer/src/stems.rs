//! Stem transactions beside the peers that they come from and go to.
//!
//! The invariant: what is held here changes nothing that a peer can see, but for the stems that go
//! to a successor and for what is fluffed. The seen filter, the inventory and what answers queries
//! are never told.

use std::sync::Arc;

use codec::{Hash, Kind, Payload};

use crate::chain::{Source, ToChain};
use crate::config::SETTLED_MAX;
use crate::dandelion::{Arrival, Edge, Leaving, Order, as_kind, read};
use crate::endpoint::Endpoint;
use crate::event::{ConnId, Direction, Output, Recipients};
use crate::peer::Peer;
use crate::time::Instant;

impl Endpoint {
    /// Our own transaction begins its stem.
    pub(crate) fn stem(&mut self, payload: Payload) {
        self.take_stem(Edge::Own, payload);
    }

    /// The chain took a stem transaction that came from a peer.
    pub(crate) fn stem_on(&mut self, from: Source, payload: Payload) {
        let host = self.config.locality.host(from.addr);
        self.take_stem(Edge::Host(host), payload);
    }

    fn take_stem(&mut self, edge: Edge, payload: Payload) {
        let network = &self.config.network;
        let Some(payload) = as_kind(payload, Kind::StemTransaction, network) else { return };
        let (reading, height, now) = (read(&payload, network), self.tip.height, self.now);
        self.dandelion.take(edge, payload, reading, height, now);
        self.carry_out_orders();
    }

    /// A stem transaction came, before the chain has seen it. `false`: it is here already. If it
    /// was sent on, it came in a circle, and is fluffed.
    pub(crate) fn on_stem(&mut self, payload: &Payload) -> bool {
        if self.dandelion.is_idle() {
            return true;
        }
        let arrival = self.dandelion.on_arrival(&payload.id(), payload);
        self.carry_out_orders();
        arrival == Arrival::New
    }

    /// A transaction is public: the chain took it, or spreads it.
    pub(crate) fn on_public(&mut self, payload: &Payload) {
        if payload.kind() == Kind::Transaction && !self.dandelion.is_idle() {
            let reading = read(payload, &self.config.network);
            self.dandelion.settle(&reading.keys);
        }
    }

    /// The chain says that these are over.
    pub(crate) fn settle_stems(&mut self, ids: &Arc<[Hash]>) {
        self.dandelion.settle(&ids[..ids.len().min(SETTLED_MAX)]);
    }

    /// The chain has aggregated a batch, or has not.
    pub(crate) fn on_aggregated(&mut self, batch: u64, payload: Option<Payload>) {
        self.dandelion.on_aggregated(batch, payload);
        self.carry_out_orders();
    }

    /// A peer's handshake is done. Stems go to those alone that we dialled, since whoever wants
    /// them could dial us as often as it likes.
    pub(crate) fn stems_joined(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.get(conn) else { return };
        if peer.direction == Direction::Outbound {
            self.dandelion.join(self.config.locality.host(peer.addr), conn);
        }
    }

    /// A peer is gone.
    pub(crate) fn stems_left(&mut self, conn: ConnId) {
        self.dandelion.leave(conn);
    }

    /// The send queue had no room for this stem.
    pub(crate) fn on_stem_dropped(&mut self, conn: ConnId, payload: &Payload) {
        let Some(peer) = self.peers.get(conn) else { return };
        let host = self.config.locality.host(peer.addr);
        self.dandelion.dropped(host, &payload.id());
        self.carry_out_orders();
    }

    /// The tip changed: some lock heights may be reached.
    pub(crate) fn unlock_stems(&mut self) {
        self.dandelion.on_tip(self.tip.height, self.now);
        self.carry_out_orders();
    }

    pub(crate) fn stems_deadline(&self) -> Option<Instant> {
        self.dandelion.deadline()
    }

    pub(crate) fn stems_due(&mut self) {
        self.dandelion.on_time(self.now);
        self.carry_out_orders();
    }

    fn carry_out_orders(&mut self) {
        while let Some(order) = self.dandelion.take_order() {
            match order {
                Order::Send(leaving) => self.send_stem(leaving),
                Order::Fluff(payload) => self.fluff(payload),
                Order::Ask { batch, stems } => self.tell_later(ToChain::Aggregate { batch, stems }),
            }
        }
    }

    /// Sends a stem to its successor, or to another outbound peer if that cannot have it; each is
    /// tried once.
    fn send_stem(&mut self, mut leaving: Leaving) {
        while let Some((host, conn)) = self.dandelion.successor(&leaving, self.now) {
            if self.give_stem(conn, &leaving.payload) {
                self.counts.stems_relayed += 1;
                return self.dandelion.sent(&leaving, host, self.now);
            }
            leaving.avoid.push(host);
        }
        self.dandelion.stranded(leaving);
    }

    fn give_stem(&mut self, to: ConnId, payload: &Payload) -> bool {
        let Self { peers, config, now, outbox, .. } = self;
        let Some(session) = peers.get_mut(to).and_then(Peer::session_mut) else { return false };
        let version = session.agreement.version;
        let Ok(payload) = payload.convert(&config.network, version) else { return false };
        // Behind an archive its embargo would end.
        let admitted = session.admits(config.rates.grin_pace, *now);
        if admitted {
            // Of what goes to many, the driver tells what it had no room for.
            outbox.push_back(Output::Send { to: Recipients::Many(vec![to]), payload });
        }
        admitted
    }

    /// A stem is over: all peers get it, those too that it came from and went to. As many wait to
    /// be told to the chain as it let us hold.
    fn fluff(&mut self, payload: Payload) {
        let network = &self.config.network;
        let Some(payload) = as_kind(payload, Kind::Transaction, network) else { return };
        self.counts.stems_fluffed += 1;
        self.tell_later(ToChain::Fluffed { payload: payload.clone() });
        self.spread(payload);
    }
}
