//! How connections come to stand, and how they end: one for each host, places for all, goodbye.
//!
//! - A host has one connection. Why: who counts peers must not count one party twice.
//! - Two that dial each other at once keep the connection whose Hand carries the greater nonce.
//!   Both ends know both nonces and so decide alike, in whatever order the greetings arrive.
//! - Beside one whose handshake is done, a newcomer is the one to go. Why: whoever can send from an
//!   address, or on loopback name one, could else cut off its owner.
//! - In a full house each newcomer displaces the least valuable inbound peer, or is told other
//!   addresses and goes. Those that have not greeted yet have places of their own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use codec::{BanReason, Capabilities, Form, Hand, Message, Shake};

use crate::address::HostKey;
use crate::chain::Source;
use crate::deadlines::SLOT;
use crate::dialer::Purpose;
use crate::endpoint::{Endpoint, sealed};
use crate::event::{CloseReason, ConnId, Direction, Output};
use crate::fault::Fault;
use crate::handshake::Agreement;
use crate::peer::{Peer, Phase, Session};
use crate::rates::Rate;
use crate::slots::{Candidate, pick_victim};

/// Newcomers in a second for whom a full house looks for somebody to evict; a look walks all
/// inbound peers, a millisecond at the default 8,000. Further ones are turned away unlooked at.
pub(crate) const EVICTIONS_PER_SECOND: u64 = 10;

const EVICTIONS: Rate =
    Rate { amount: EVICTIONS_PER_SECOND, per: Duration::from_secs(1), burst: EVICTIONS_PER_SECOND };

/// How a connection belongs to a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Tie {
    /// We dialled it there.
    Dialed,
    /// It dialled us from there.
    Came,
    /// It dialled us from elsewhere, and says that it listens there: on loopback only, where a host
    /// is told by its port, and where nothing shows that it speaks the truth.
    Named,
}

/// Which connections belong to which host. At most two entries a connection.
#[derive(Debug, Default)]
pub(crate) struct Hosts(BTreeSet<(HostKey, Tie, ConnId)>);

impl Hosts {
    /// One connection of this host, the lowest slot first.
    pub(crate) fn find(&self, host: HostKey, tie: Tie) -> Option<ConnId> {
        self.between(host, tie, tie).next()
    }

    /// All connections of this host.
    pub(crate) fn of(&self, host: HostKey) -> Vec<ConnId> {
        self.between(host, Tie::Dialed, Tie::Named).collect()
    }

    fn between(&self, host: HostKey, from: Tie, to: Tie) -> impl Iterator<Item = ConnId> {
        let (first, last) = (ConnId::new(0, 0), ConnId::new(u32::MAX, u32::MAX));
        self.0.range((host, from, first)..=(host, to, last)).map(|(_, _, conn)| *conn)
    }
}

/// Whether we dial whoever has just greeted, and who of the two connections then stays.
enum Settled {
    /// We do not.
    Alone,
    /// The newcomer: this one of ours goes.
    Over(ConnId),
    /// Ours: the newcomer goes.
    Under,
}

impl Endpoint {
    pub(crate) fn on_accepted(&mut self, conn: ConnId, addr: SocketAddr) {
        if self.stopping {
            return self.refuse(conn, CloseReason::Shutdown);
        }
        if self.refuses(addr) {
            return self.refuse(conn, CloseReason::Banned);
        }
        if self.has_elder(addr, Direction::Inbound) {
            return self.refuse(conn, CloseReason::Duplicate);
        }
        self.add(conn, Peer::new(addr, Direction::Inbound, self.now));
        self.greeting.add(self.config.locality.group(addr), conn);
        self.schedule(conn);
        let slots = &self.config.slots;
        let free = u64::from(slots.inbound).saturating_sub(self.counts.inbound);
        if self.greeting.len() as u64 > free + u64::from(slots.greeting.max(1))
            && let Some(victim) = self.greeting.first_to_go()
        {
            self.close(victim, CloseReason::NoRoom);
        }
    }

    /// Whether a newcomer that names nobody has to go, since its host has a connection. Of the
    /// other direction only one whose handshake is done counts: else the greetings decide.
    fn has_elder(&self, addr: SocketAddr, newcomer: Direction) -> bool {
        let host = self.config.locality.host(addr);
        let found = |tie| self.hosts.find(host, tie);
        let stands = |tie| found(tie).is_some_and(|conn| self.is_established(conn));
        match newcomer {
            Direction::Inbound => found(Tie::Came).is_some() || stands(Tie::Dialed),
            Direction::Outbound => {
                let named = found(Tie::Named).is_some() && !self.dialer.holds(host);
                found(Tie::Dialed).is_some() || stands(Tie::Came) || named
            }
        }
    }

    fn add(&mut self, conn: ConnId, peer: Peer) {
        self.hosts.0.extend(self.ties(&peer).map(|(host, tie)| (host, tie, conn)));
        self.peers.insert(conn, peer);
    }

    fn ties(&self, peer: &Peer) -> impl Iterator<Item = (HostKey, Tie)> + use<> {
        let locality = self.config.locality;
        let host = locality.host(peer.addr);
        let by_socket = match peer.direction {
            Direction::Inbound => Tie::Came,
            Direction::Outbound => Tie::Dialed,
        };
        let named = peer.name().map(|name| locality.host(name)).filter(|named| *named != host);
        [(host, by_socket)].into_iter().chain(named.map(|named| (named, Tie::Named)))
    }

    /// A connection ends before its first byte.
    fn refuse(&mut self, conn: ConnId, reason: CloseReason) {
        self.counts.closed[reason as usize] += 1;
        self.outbox.push_back(Output::Close { conn, reason });
    }

    pub(crate) fn on_dialed(&mut self, conn: ConnId, addr: SocketAddr) {
        let is_here = self.has_elder(addr, Direction::Outbound);
        self.dialer.on_dialed(addr, conn);
        self.add(conn, Peer::new(addr, Direction::Outbound, self.now));
        if self.refuses(addr) {
            return self.close(conn, CloseReason::Banned);
        }
        if is_here {
            // Our Hand has not left: the other end sees a dial that came to nothing.
            return self.close(conn, CloseReason::Duplicate);
        }
        let nonce = self.rng.u64();
        self.nonces.add(nonce, addr);
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.nonce = Some(nonce);
        }
        let hand = sealed(&self.config.network, &Message::Hand(self.local().hand(nonce, addr)));
        self.send(conn, hand);
        if self.stopping {
            // Greeted all the same: grin bans whoever hangs up on it before a Hand.
            return self.close(conn, CloseReason::Shutdown);
        }
        self.schedule(conn);
    }

    pub(crate) fn is_established(&self, conn: ConnId) -> bool {
        self.peers.get(conn).and_then(Peer::session).is_some()
    }

    /// They dialled and greet.
    pub(crate) fn on_hand(&mut self, conn: ConnId, hand: &Hand<'_>) -> Result<(), Fault> {
        let (agreement, shake) = self.local().on_hand(hand, &self.nonces)?;
        let shake = sealed(&self.config.network, &Message::Shake(shake));
        let Some(addr) = self.peers.get(conn).map(|peer| peer.addr) else { return Ok(()) };
        let name = agreement.listening_port.map(|port| SocketAddr::new(addr.ip(), port));
        if name.is_some_and(|name| self.refuses(name)) {
            self.close(conn, CloseReason::Banned);
            return Ok(());
        }
        let (over, ours) = match self.settle_simultaneous_dials(name.unwrap_or(addr), hand.nonce) {
            Settled::Alone => (0, None),
            // It takes the place of the one that we dialled.
            Settled::Over(ours) => (self.config.slots.outbound, Some(ours)),
            Settled::Under => {
                self.close(conn, CloseReason::Duplicate);
                return Ok(());
            }
        };
        self.on_receiver_address(addr, hand.receiver_addr);
        if let Some(name) = name {
            self.introduce(name, agreement.capabilities);
        }
        self.send(conn, shake);
        if self.make_room(addr, name, over) {
            self.establish(conn, agreement);
        } else {
            self.turn_away(conn, addr, name);
        }
        // After it: whoever wanted that dial has the connection.
        if let Some(ours) = ours {
            self.close(ours, CloseReason::Duplicate);
        }
        Ok(())
    }

    /// A newcomer has greeted; if we are dialling the same one, or have dialled it, one of the two
    /// connections goes.
    fn settle_simultaneous_dials(&self, name: SocketAddr, their_nonce: u64) -> Settled {
        let host = self.config.locality.host(name);
        let Some(ours) = self.hosts.find(host, Tie::Dialed) else { return Settled::Alone };
        let our_nonce = self.peers.get(ours).and_then(|peer| peer.nonce);
        if !self.is_established(ours) && our_nonce.is_none_or(|nonce| nonce < their_nonce) {
            Settled::Over(ours)
        } else {
            Settled::Under
        }
    }

    /// We dialled and they answer.
    pub(crate) fn on_shake(&mut self, conn: ConnId, shake: &Shake<'_>) -> Result<(), Fault> {
        let agreement = self.local().on_shake(shake)?;
        let Some(addr) = self.peers.get(conn).map(|peer| peer.addr) else { return Ok(()) };
        let capabilities = agreement.capabilities;
        self.book.succeeded(addr, capabilities, self.wall());
        let purpose = self.dialer.on_established(conn, self.now);
        self.establish(conn, agreement);
        match purpose {
            Purpose::Keep => self.ask_addresses(conn),
            Purpose::Probe => self.release(conn),
        }
        self.review_in_a_minute();
        Ok(())
    }

    /// It is there, and that was all that we wanted to know; or we no longer need it.
    pub(crate) fn release(&mut self, conn: ConnId) {
        self.goodbye(conn, BanReason::None);
        self.close(conn, CloseReason::Probed);
    }

    fn establish(&mut self, conn: ConnId, agreement: Agreement) {
        let slot = self.relay.join(conn, Form::of_version(agreement.version));
        // Spread over the period, so that peers that came together are not pinged together.
        let period = self.config.ping_period.as_micros() as u64;
        let next_ping = self.now.after(Duration::from_micros(self.rng.below(period) + 1));
        let now = self.now;
        let Some(peer) = self.peers.get_mut(conn) else { return };
        peer.establish(Session::new(agreement, slot, next_ping), now);
        let (addr, direction) = (peer.addr, peer.direction);
        match direction {
            Direction::Inbound => {
                let group = self.config.locality.group(addr);
                self.greeting.remove(group, conn);
                self.inbound.add(group, conn);
                self.counts.inbound += 1;
            }
            Direction::Outbound => self.counts.outbound += 1,
        }
        if let Some(peer) = self.peers.get(conn) {
            let ties = self.ties(peer).map(|(host, tie)| (host, tie, conn));
            self.hosts.0.extend(ties);
        }
        self.begin_requests(conn);
        if self.peers.get(conn).is_some_and(Peer::is_extended) {
            self.counts.extended += 1;
            self.outbox.push_back(Output::Opens { conn });
        }
        self.relay_joined(conn);
        self.stems_joined(conn);
        self.pool_joined(conn);
        self.overlay_joined(conn);
        self.on_tips(Some(conn));
        self.schedule(conn);
    }

    /// Whether there is a place for this newcomer, perhaps one of so many over the usual number, or
    /// that of somebody less valuable.
    fn make_room(&mut self, addr: SocketAddr, name: Option<SocketAddr>, over: u32) -> bool {
        if self.counts.inbound < u64::from(self.config.slots.inbound) + u64::from(over) {
            return true;
        }
        let locality = self.config.locality;
        let holds = |addr| self.dialer.holds(locality.host(addr));
        if holds(addr) || name.is_some_and(holds) {
            return true;
        }
        let (host, group) = (locality.host(addr), locality.group(addr));
        // One of the largest group displaces nobody: a crowd of it must not use up the looks.
        if self.bans.is_discouraged(host, self.now)
            || self.inbound.is_largest(group)
            || !self.evictions.take(1, EVICTIONS, self.now)
        {
            return false;
        }
        let Some(victim) = pick_victim(self.candidates(), group) else { return false };
        self.goodbye(victim, BanReason::None);
        self.close(victim, CloseReason::Evicted);
        true
    }

    fn candidates(&self) -> Vec<Candidate> {
        let (locality, held_hosts) = (self.config.locality, self.dialer.held_hosts());
        let inbound = self.peers.iter().filter(|(_, peer)| peer.direction == Direction::Inbound);
        let candidate = |(conn, peer): (ConnId, &Peer)| {
            let discouraged = self.bans.is_discouraged(locality.host(peer.addr), self.now);
            let held = peer.name().is_some_and(|name| held_hosts.contains(&locality.host(name)));
            let kept = held || self.is_link(conn, peer);
            peer.candidate(conn, self.now, locality.group(peer.addr), discouraged, kept)
        };
        inbound.filter_map(candidate).collect()
    }

    /// Nobody is worth less than this newcomer: it learns whom else to dial, and goes.
    fn turn_away(&mut self, conn: ConnId, addr: SocketAddr, name: Option<SocketAddr>) {
        self.tell_addresses(conn, addr, name, Capabilities::UNKNOWN);
        let none = sealed(&self.config.network, &Message::BanReason(BanReason::None));
        self.send(conn, none);
        self.close(conn, CloseReason::NoRoom);
    }

    /// The connection is gone without our doing; the phase tells more than the driver can know.
    pub(crate) fn on_closed(&mut self, conn: ConnId, reason: CloseReason) {
        let Some(peer) = self.peers.get(conn) else { return };
        let reason = match (reason, &peer.phase) {
            (
                CloseReason::RemoteClosed | CloseReason::ConnectionLost,
                Phase::AwaitHand | Phase::AwaitShake,
            ) => CloseReason::HandshakeAborted,
            (CloseReason::RemoteClosed, Phase::Established(_)) if peer.is_mid_frame() => {
                CloseReason::TruncatedFrame
            }
            (reason, _) => reason,
        };
        self.forget(conn, reason);
    }

    /// The last message of a connection. Before the handshake nobody could read it.
    pub(crate) fn goodbye(&mut self, conn: ConnId, reason: BanReason) {
        if self.is_established(conn) {
            let payload = sealed(&self.config.network, &Message::BanReason(reason));
            self.send(conn, payload);
        }
    }

    pub(crate) fn source(&self, conn: ConnId) -> Option<Source> {
        self.peers.get(conn).map(|peer| Source { conn, addr: peer.addr })
    }

    pub(crate) fn close(&mut self, conn: ConnId, reason: CloseReason) {
        if self.forget(conn, reason) {
            self.outbox.push_back(Output::Close { conn, reason });
        }
    }

    /// Forgets a peer whole: no table may mention it afterwards.
    fn forget(&mut self, conn: ConnId, reason: CloseReason) -> bool {
        let Some(peer) = self.peers.remove(conn) else { return false };
        self.counts.closed[reason as usize] += 1;
        self.counts.assembly_bytes -= peer.decoder.buffered_bytes() as u64;
        for (host, tie) in self.ties(&peer) {
            self.hosts.0.remove(&(host, tie, conn));
        }
        let group = self.config.locality.group(peer.addr);
        if let Some(session) = peer.session() {
            self.counts.extended -= u64::from(session.is_extended());
            match peer.direction {
                Direction::Inbound => {
                    self.inbound.remove(group, conn);
                    self.counts.inbound -= 1;
                }
                Direction::Outbound => {
                    self.counts.outbound -= 1;
                    self.book.seen(peer.addr, self.wall());
                    self.review_in_a_minute();
                }
            }
            let from = Source { conn, addr: peer.addr };
            self.forget_requests(from, &session.requests);
            self.relay_left(conn);
            self.stems_left(conn);
            self.sync_left(conn);
            self.pool_left(conn);
            self.relay.forget(conn, session.slot, Form::of_version(session.agreement.version));
            let soon = self.now.after(SLOT);
            self.next_sweep.get_or_insert(soon);
        } else {
            self.greeting.remove(group, conn);
        }
        self.dialer.on_closed(conn, reason, self.now);
        self.overlay_left(conn, &peer);
        true
    }
}
