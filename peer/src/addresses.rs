//! Addresses: whom we hear of, whom we tell of, whom we dial, and what of it outlives the process.
//!
//! - What a peer says of itself is heard from itself; what it says of others, within its rate, has
//!   it for a source, which decides where in the book it may lie.
//! - A peer that asks for addresses gets one answer a connection, from the book's sample: never
//!   whom we are connected to, and never itself.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use codec::{Capabilities, Message, PeerAddrs};

use crate::address::canonical;
use crate::dialer::{Aim, Dialer, Step, World};
use crate::endpoint::{Endpoint, sealed};
use crate::event::{CloseReason, ConnId, Direction, Output};
use crate::peer::Peer;
use crate::record::{AddressRecord, Change, Restored};
use crate::sessions::Tie;
use crate::time::Instant;

/// Addresses of our own that we remember not to dial: as many as grin does. A node has one or two.
const OWN_ADDRESSES_MAX: usize = 10;

/// Peers that are asked for addresses in one round: each may answer with 256. Guess: as many as the
/// default number of outbound peers.
const ASKED_AT_ONCE: usize = 8;

/// How often we look for bans that have ended and for longer-lived outbound peers, while there may
/// be such: often enough beside bans of hours and anchors of days.
const REVIEW_PERIOD: Duration = Duration::from_secs(60);

impl Endpoint {
    /// Where others reach us, as far as enough of them agree; configured, if it is.
    #[must_use]
    pub fn external_address(&self) -> Option<SocketAddr> {
        let advertised = self.config.advertised;
        if !advertised.ip().is_unspecified() {
            return Some(advertised);
        }
        self.external.agreed().map(|ip| SocketAddr::new(ip, advertised.port()))
    }

    /// All addresses of the book.
    pub fn addresses(&self) -> impl Iterator<Item = AddressRecord> {
        self.book.records()
    }

    /// How many addresses the book holds: those only heard of, and those that we reached.
    #[must_use]
    pub fn address_counts(&self) -> (usize, usize) {
        self.book.counts()
    }

    /// Moves at most `max` changes of what is to be kept into `into`; the driver calls it once a
    /// turn, and again when all were taken by a store.
    pub fn take_changes(&mut self, max: usize, into: &mut Vec<Change>) {
        let begin = into.len();
        let end = begin + max;
        if max > 0 {
            into.extend(self.anchors_changed.take().map(Change::Anchors));
        }
        self.bans.take_changes(end - into.len(), into);
        self.book.take_changes(end - into.len(), into);
        if let Some(recorder) = &mut self.recorder {
            recorder.taken(self.now, max, &into[begin..]);
        }
    }

    /// Whether [`Endpoint::take_changes`] has something to give.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.anchors_changed.is_some() || self.bans.has_changes() || self.book.has_changes()
    }

    pub(crate) fn on_restored(&mut self, restored: Restored) {
        let Restored { secret, anchors, addresses, bans } = restored;
        let wall = self.wall();
        self.book.restore(secret, addresses, wall);
        self.bans.restore(bans, wall);
        self.dialer.restore(anchors);
        self.review_in_a_minute();
        self.dial_due();
    }

    pub(crate) fn on_resolved(&mut self, name: &str, addrs: &[SocketAddr]) {
        self.with_dialer(|dialer, world| dialer.on_resolved(name, addrs, world));
        self.dial_due();
    }

    /// A peer that dialled us says at which address it reached us.
    pub(crate) fn on_receiver_address(&mut self, teller: SocketAddr, reached: SocketAddr) {
        let (locality, reached) = (self.config.locality, canonical(reached));
        if locality.is_reachable(reached) {
            self.external.hear(reached.ip(), locality.group(teller));
        }
    }

    /// A peer that dialled us says where it listens.
    pub(crate) fn introduce(&mut self, name: SocketAddr, capabilities: Capabilities) {
        if self.is_worth_knowing(name) && self.book.introduce(name, capabilities, self.wall()) {
            self.dialer.on_addresses();
        }
    }

    pub(crate) fn on_peer_addrs(&mut self, conn: ConnId, addrs: PeerAddrs<'_>) {
        let (now, wall, rate) = (self.now, self.wall(), self.config.rates.addresses);
        let Some(peer) = self.peers.get_mut(conn) else { return };
        let source: IpAddr = peer.addr.ip();
        let Some(session) = peer.session_mut() else { return };
        let told = addrs.len() as u64;
        let taken = session.requests.addresses.take_some(told, rate, now);
        session.addresses_heard = Some(now);
        self.counts.addresses_heard += taken;
        self.counts.addresses_passed_over += told - taken;
        let before = self.counts.addresses_new;
        for addr in addrs.iter().take(taken as usize).map(canonical) {
            if !self.is_worth_knowing(addr) || self.dialer.is_given_up(addr, now) {
                continue;
            }
            let fresh = self.book.hear(addr, source, Capabilities::UNKNOWN, wall, wall);
            self.counts.addresses_new += u64::from(fresh);
        }
        if self.counts.addresses_new > before {
            self.dialer.on_addresses();
        }
    }

    fn is_worth_knowing(&self, addr: SocketAddr) -> bool {
        self.config.locality.is_reachable(addr)
            && !self.own_addresses.contains(&addr)
            && !self.refuses(addr)
    }

    pub(crate) fn on_get_peer_addrs(&mut self, conn: ConnId, wanted: Capabilities) {
        let Some(peer) = self.peers.get_mut(conn) else { return };
        let (addr, name) = (peer.addr, peer.name());
        let Some(session) = peer.session_mut() else { return };
        if std::mem::replace(&mut session.addresses_told, true) {
            self.counts.address_requests_passed_over += 1;
            return;
        }
        self.tell_addresses(conn, addr, name, wanted);
    }

    /// Answers with the sample for the asker's group, itself left out, and whom we refuse.
    pub(crate) fn tell_addresses(
        &mut self,
        conn: ConnId,
        asker: SocketAddr,
        name: Option<SocketAddr>,
        wanted: Capabilities,
    ) {
        let locality = self.config.locality;
        let (own, named) = (locality.host(asker), name.map(|name| locality.host(name)));
        let wall = self.wall();
        let mut addrs = self.book.sample(locality.group(asker), wanted, wall);
        addrs.retain(|addr| {
            let host = locality.host(*addr);
            host != own && Some(host) != named && !self.refuses(*addr)
        });
        let addrs = Message::PeerAddrs(PeerAddrs::new(&addrs));
        let addrs = sealed(&self.config.network, &addrs);
        self.send_answer(conn, addrs);
    }

    /// Asks this peer for addresses, if it offers any.
    pub(crate) fn ask_addresses(&mut self, conn: ConnId) {
        let (rate, now) = (self.config.rates.addresses, self.now);
        let Some(session) = self.peers.get_mut(conn).and_then(Peer::session_mut) else { return };
        if session.agreement.capabilities.contains(Capabilities::PEER_LIST) {
            session.requests.addresses.give_back(rate.burst, rate, now);
            let ask = Message::GetPeerAddrs(Capabilities::PEER_LIST);
            let ask = sealed(&self.config.network, &ask);
            self.send(conn, ask);
        }
    }

    /// The dialer lacks addresses. Peers that we chose are asked before those that chose us.
    fn ask_peers(&mut self) {
        let now = self.now;
        let lately = |at: Instant| now.since(at) < REVIEW_PERIOD;
        let may_know = |(conn, peer): (ConnId, &Peer)| {
            let session = peer.session()?;
            let offers = session.agreement.capabilities.contains(Capabilities::PEER_LIST);
            let asked = session.addresses_heard.is_some_and(lately);
            (offers && !asked).then_some((peer.direction == Direction::Inbound, conn))
        };
        let mut peers: Vec<_> = self.peers.iter().filter_map(may_know).collect();
        self.rng.shuffle(&mut peers);
        peers.sort_by_key(|(inbound, _)| *inbound);
        for (_, conn) in peers.into_iter().take(ASKED_AT_ONCE) {
            self.ask_addresses(conn);
        }
    }

    /// The nonce of our greeting to this address came back from that IP: we dialled ourselves, or
    /// whoever we greeted gives it away.
    pub(crate) fn on_myself(&mut self, addr: SocketAddr, from: IpAddr) {
        let host = self.config.locality.host(addr);
        if let Some(ours) = self.hosts.find(host, Tie::Dialed) {
            if self.is_established(ours) {
                return; // We never answer ourselves.
            }
            self.close(ours, CloseReason::Myself);
        }
        if from != addr.ip() && self.dialer.holds(host) {
            return; // An echo is no proof against whom an operator wants.
        }
        self.dialer.on_myself(addr);
        self.book.forget(addr);
        if !self.own_addresses.contains(&addr) {
            if self.own_addresses.len() == OWN_ADDRESSES_MAX {
                self.own_addresses.pop_front();
            }
            self.own_addresses.push_back(addr);
        }
    }

    /// Carries out what the dialer wants done by now.
    pub(crate) fn dial_due(&mut self) {
        while let Some(step) = self.with_dialer(Dialer::step) {
            match step {
                Step::Dial { addr } => self.outbox.push_back(Output::Dial { addr }),
                Step::Resolve { name } => self.outbox.push_back(Output::Resolve { name }),
                Step::Reseed => self.counts.reseeds += 1,
                Step::AskPeers => self.ask_peers(),
                Step::Release { conn } => self.release(conn),
                Step::Refused { addr } => self.call_failed(addr),
            }
        }
    }

    fn with_dialer<R>(&mut self, act: impl FnOnce(&mut Dialer, &mut World<'_>) -> R) -> R {
        let wall = self.wall();
        let Self { config, bans, hosts, own_addresses, book, dialer, now, .. } = self;
        let refuses = |addr, aim| {
            let host = config.locality.host(addr);
            // Whoever says on loopback that it is the one may lie, and hides nobody who is held.
            let is_here =
                |tie| hosts.find(host, tie).is_some() && (tie, aim) != (Tie::Named, Aim::Held);
            bans.refuses(addr, wall)
                || bans.is_discouraged(host, *now)
                || own_addresses.contains(&addr)
                || [Tie::Dialed, Tie::Came, Tie::Named].into_iter().any(is_here)
        };
        act(dialer, &mut World { now: *now, wall, book, refuses: &refuses })
    }

    /// Something changed that a review looks at.
    pub(crate) fn review_in_a_minute(&mut self) {
        let soon = self.now.after(REVIEW_PERIOD);
        self.next_review.get_or_insert(soon);
    }

    pub(crate) fn review(&mut self) {
        self.next_review = None;
        self.bans.expire(self.wall());
        if self.bans.iter().next().is_some() {
            self.review_in_a_minute();
        }
        self.look_for_anchors();
    }

    /// The longest-lived outbound peers are dialled first after a restart.
    pub(crate) fn look_for_anchors(&mut self) {
        if let Some(anchors) = self.dialer.take_anchors() {
            self.anchors_changed = Some(anchors);
        }
    }
}
