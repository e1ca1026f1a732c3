//! What a node of the overlay does with a message.
//!
//! Nothing that comes is believed beyond what it can do: walks are cut to our own rules, lists to
//! the length that was sent or would be, and only neighbours may send us on walks.

use std::net::SocketAddr;

use codec::{HyParViewMessage, Priority};

use crate::address::canonical;

use super::calls::{Phase, Why};
use super::{HyParView, HyParViewOutput, Shuffle};

impl HyParView {
    pub(super) fn on_message(&mut self, from: SocketAddr, message: HyParViewMessage) {
        if from == self.own {
            return;
        }
        match message {
            HyParViewMessage::Join { epoch } => self.on_join(from, epoch),
            HyParViewMessage::ForwardJoin { peer, ttl } => {
                self.on_forward_join(from, canonical(peer), ttl);
            }
            HyParViewMessage::Neighbor { priority, epoch } => {
                self.on_asked(from, priority, epoch);
            }
            HyParViewMessage::NeighborReply { accepted: true, epoch } => {
                self.on_accepted(from, epoch);
            }
            HyParViewMessage::NeighborReply { accepted: false, epoch } => {
                self.on_refused(from, epoch);
            }
            HyParViewMessage::Disconnect { alive, epoch } => {
                self.on_disconnect(from, alive, epoch);
            }
            HyParViewMessage::Shuffle { origin, nonce, ttl, addrs } => {
                self.on_shuffle(from, canonical(origin), nonce, ttl, addrs);
            }
            HyParViewMessage::ShuffleReply { nonce, addrs } => {
                self.on_shuffle_reply(from, nonce, addrs);
            }
        }
        self.close_unless_needed(from);
    }

    /// A newcomer is taken in, and carried on to others unless it was a neighbour already.
    fn on_join(&mut self, from: SocketAddr, epoch: u64) {
        let was_active = self.is_active(from);
        self.on_asked(from, Priority::High, epoch);
        if was_active || !self.is_active(from) {
            return;
        }
        let ttl = self.rules.join_walk;
        for index in 0..self.active.len() {
            let to = self.active[index].peer;
            if to != from {
                self.send(to, HyParViewMessage::ForwardJoin { peer: from, ttl });
            }
        }
    }

    /// Somebody wants a link.
    fn on_asked(&mut self, from: SocketAddr, priority: Priority, epoch: u64) {
        if self.left {
            self.send(from, HyParViewMessage::NeighborReply { accepted: false, epoch });
            return;
        }
        if let Some(index) = self.active.iter().position(|link| link.peer == from) {
            // It lost the link that we still hold, and gets it back under another number.
            if self.active[index].epoch != epoch {
                self.active[index].epoch = epoch;
                self.outbox.push_back(HyParViewOutput::Down { peer: from });
                self.outbox.push_back(HyParViewOutput::Up { peer: from });
            }
            self.send(from, HyParViewMessage::NeighborReply { accepted: true, epoch });
            return;
        }
        let call = self.calls.get(from).map(|call| (call.why, call.phase));
        if let Some((_, Phase::Asked { epoch: ours })) = call
            && ours > epoch
        {
            return; // it answers our own request, and drops this one
        }
        self.calls.remove(from);
        let wanted = priority == Priority::High || matches!(call, Some((Why::Adopt, _)));
        let accepted = wanted || self.active.len() < self.rules.active_max;
        self.send(from, HyParViewMessage::NeighborReply { accepted, epoch });
        if accepted {
            self.make_room(from);
            self.link(from, epoch);
        } else {
            self.hear(from, &mut Vec::new());
        }
    }

    fn on_accepted(&mut self, from: SocketAddr, epoch: u64) {
        if let Some(why) = self.take_call(from, epoch) {
            let has_room = self.active.len() < self.rules.active_max;
            let makes_room = why == Why::Adopt || (why == Why::Rejoin && !self.entered);
            if self.is_active(from) || !(has_room || makes_room) {
                self.send(from, HyParViewMessage::Disconnect { alive: true, epoch });
                return;
            }
            self.make_room(from);
            self.link(from, epoch);
            if why == Why::Rejoin {
                // The walks that it sent out take a while to bring others.
                self.contacts.pause(self.now, &self.rules, &mut self.rng);
            }
        } else if let Some(link) = self.active.iter_mut().find(|link| link.peer == from) {
            // Both asked and both accepted: the larger number stands, at both ends.
            link.epoch = link.epoch.max(epoch);
        } else {
            let alive = !self.left;
            self.send(from, HyParViewMessage::Disconnect { alive, epoch });
        }
    }

    fn on_refused(&mut self, from: SocketAddr, epoch: u64) {
        if let Some(why) = self.take_call(from, epoch) {
            self.refusals += 1;
            if why == Why::Rejoin {
                // It may be the only one that we know outside of an island.
                self.reserve(from, &mut Vec::new());
            }
            self.passive.rest(from);
        }
    }

    /// Ends the call that an answer is to.
    fn take_call(&mut self, from: SocketAddr, epoch: u64) -> Option<Why> {
        let asked = self.calls.get(from)?.phase == Phase::Asked { epoch };
        if asked { self.calls.remove(from).map(|call| call.why) } else { None }
    }

    fn on_disconnect(&mut self, from: SocketAddr, alive: bool, epoch: u64) {
        if self.active.iter().any(|link| link.peer == from && link.epoch == epoch) {
            self.unlink(from);
            if alive {
                self.reserve(from, &mut Vec::new());
                self.passive.rest(from);
            }
        }
        if !alive {
            self.passive.remove(from);
        }
    }

    fn on_forward_join(&mut self, from: SocketAddr, peer: SocketAddr, ttl: u8) {
        if !self.is_active(from) || !self.is_useful(peer) {
            return;
        }
        self.samplers.offer(peer);
        let ttl = ttl.min(self.rules.join_walk);
        if ttl > 0 && ttl == self.rules.passive_walk {
            self.reserve(peer, &mut Vec::new());
        }
        let next = if ttl == 0 { None } else { self.neighbor_but(&[from, peer]) };
        match next {
            Some(to) => self.send(to, HyParViewMessage::ForwardJoin { peer, ttl: ttl - 1 }),
            None => {
                self.call(peer, Why::Adopt);
            }
        }
    }

    fn on_shuffle(
        &mut self,
        from: SocketAddr,
        origin: SocketAddr,
        nonce: u64,
        ttl: u8,
        addrs: Vec<SocketAddr>,
    ) {
        if !self.is_active(from) || !self.is_useful(origin) {
            return;
        }
        let ttl = ttl.min(self.rules.shuffle_walk);
        let next = if ttl > 1 { self.neighbor_but(&[from, origin]) } else { None };
        if let Some(to) = next {
            self.send(to, HyParViewMessage::Shuffle { origin, nonce, ttl: ttl - 1, addrs });
            return;
        }
        let own_length = self.rules.shuffle_active + self.rules.shuffle_passive;
        let mut given = self.passive.sample(addrs.len().min(own_length), &mut self.rng);
        let reply = HyParViewMessage::ShuffleReply { nonce, addrs: given.clone() };
        self.merge(addrs.into_iter().take(own_length).chain([origin]), &mut given);
        self.deliver(origin, reply);
    }

    /// Sends at once if there is a connection, else when there is one.
    fn deliver(&mut self, to: SocketAddr, message: HyParViewMessage) {
        let asked = |phase| matches!(phase, Phase::Asked { .. });
        if self.is_active(to) || self.calls.get(to).is_some_and(|call| asked(call.phase)) {
            self.send(to, message);
            return;
        }
        let (dialing, deadline) =
            (self.calls.is_dialing(to), self.now.after(self.rules.dial_timeout));
        if self.calls.write(to, message, deadline) && !dialing {
            self.outbox.push_back(HyParViewOutput::Dial { peer: to });
        }
    }

    fn on_shuffle_reply(&mut self, from: SocketAddr, nonce: u64, addrs: Vec<SocketAddr>) {
        if self.shuffle.as_ref().is_none_or(|shuffle| shuffle.nonce != nonce) {
            return;
        }
        let Some(Shuffle { mut given, .. }) = self.shuffle.take() else { return };
        let length = given.len();
        self.merge(addrs.into_iter().take(length).chain([from]), &mut given);
    }

    fn merge(&mut self, addrs: impl Iterator<Item = SocketAddr>, given: &mut Vec<SocketAddr>) {
        addrs.for_each(|addr| self.hear(canonical(addr), given));
    }
}
