//! Who is refused, and what leads there: verdicts of the chain, operators, faults, others' bans.
//!
//! A ban is for what its sender alone can have forged, and for an operator's wish; all other faults
//! close the connection and discourage the host for a short while. What is known of whom is in
//! `bans.rs`; here stands what happens to connections.

use std::net::SocketAddr;
use std::time::Duration;

use codec::{BanReason, Kind, Payload};

use crate::bans::{Ban, BanCause, BanTarget, Decider, Evidence};
use crate::chain::Source;
use crate::endpoint::Endpoint;
use crate::event::{CloseReason, ConnId, Direction};
use crate::fault::{DISCOURAGEMENT_BRIEF, Displeasure, Fault};
use crate::peer::Peer;
use crate::time::UnixTime;

/// How long a host that says it bans us is not dialled: as long as grin's bans last. It refuses us
/// in that time, and each try only reminds it.
const BANNED_BY_REMOTE_WAIT: Duration = Duration::from_secs(10_800);

impl Endpoint {
    /// The wall clock, as far as the driver told it.
    pub(crate) fn wall(&self) -> UnixTime {
        self.config.started.after(Duration::from_micros(self.now.micros()))
    }

    /// All bans, by target. One that ended less than a minute ago may be among them.
    pub fn bans(&self) -> impl Iterator<Item = &Ban> {
        self.bans.iter()
    }

    /// The ban of exactly this target, if there is one.
    #[must_use]
    pub fn ban_of(&self, target: BanTarget) -> Option<&Ban> {
        self.bans.get(target)
    }

    /// Whether this address is neither dialled nor let in: by a ban or by the operator's lists.
    pub(crate) fn refuses(&self, addr: SocketAddr) -> bool {
        self.bans.refuses(addr, self.wall())
    }

    /// An operator's ban, of whomever.
    pub(crate) fn on_ban(&mut self, ban: Ban) {
        let target = ban.target;
        let concerned = |(conn, peer): (ConnId, &Peer)| {
            let mut addrs = [Some(peer.addr), peer.name()].into_iter().flatten();
            addrs.any(|addr| target.contains(addr)).then_some(conn)
        };
        let conns = self.peers.iter().filter_map(concerned).collect();
        self.ban(ban, conns);
    }

    /// A new ban: those whom it concerns learn why and go.
    fn ban(&mut self, ban: Ban, conns: Vec<ConnId>) {
        let reason = ban.cause.reason();
        if !self.bans.ban(ban) {
            return; // ended, or no room among graver ones
        }
        self.review_in_a_minute();
        for conn in conns {
            self.goodbye(conn, reason);
            self.close(conn, CloseReason::Banned);
        }
    }

    /// An operator lifts a ban; who was banned may come, and is dialled when its turn comes.
    pub(crate) fn on_unban(&mut self, target: BanTarget) {
        self.bans.unban(target);
    }

    /// The chain found a payload invalid. Its bearer is banned, here still or not: the payload's
    /// own form was checked before, so what is wrong with it nobody relays by mistake.
    pub(crate) fn on_invalid(&mut self, from: Source, payload: &Payload) {
        let kind = payload.kind();
        let evidence = Evidence {
            kind: Some(kind),
            bytes: payload.frame().len() as u64,
            note: format!("id {}, from {}", payload.id(), from.addr).into(),
        };
        self.ban_source(from, cause_of(kind), evidence);
    }

    /// The chain's word against somebody.
    pub(crate) fn ban_source(&mut self, from: Source, cause: BanCause, evidence: Evidence) {
        let (start, host) = (self.wall(), self.config.locality.host(from.addr));
        let (target, by) = (BanTarget::from(host), Decider::Rule);
        let end = start.after(self.config.ban_duration);
        self.ban(Ban { target, cause, evidence, by, start, end }, self.hosts.of(host));
        // Still here only if a ban of no length was configured, or there was no room for it.
        self.close(from.conn, CloseReason::InvalidPayload);
    }

    /// The chain took a payload: that counts for its bearer when somebody has to make room.
    pub(crate) fn on_valid(&mut self, from: Source, kind: Kind) {
        let now = self.now;
        if let Some(session) = self.peers.get_mut(from.conn).and_then(Peer::session_mut) {
            session.brought(kind, now);
        }
    }

    /// The remote bans us, or, without a reason, says goodbye.
    pub(crate) fn on_ban_reason(&mut self, conn: ConnId, reason: BanReason) {
        if reason == BanReason::None {
            return self.close(conn, CloseReason::RemoteClosed);
        }
        self.discourage(conn, BANNED_BY_REMOTE_WAIT);
        self.close(conn, CloseReason::BannedByRemote);
    }

    /// Its chain can never be ours.
    pub(crate) fn on_fork(&mut self, conn: ConnId) {
        self.discourage(conn, self.config.discouragement);
        self.close(conn, CloseReason::Fork);
    }

    /// The only place where a fault has its consequence.
    pub(crate) fn on_fault(&mut self, conn: ConnId, fault: &Fault) {
        let Some(peer) = self.peers.get(conn) else { return };
        let (addr, direction) = (peer.addr, peer.direction);
        match fault.displeasure(peer.session().is_some()) {
            Displeasure::None => {}
            Displeasure::Brief => self.discourage(conn, DISCOURAGEMENT_BRIEF),
            Displeasure::Whole => self.discourage(conn, self.config.discouragement),
        }
        if let Fault::Myself(dialed) = fault {
            self.on_myself(*dialed, addr.ip());
        } else if matches!(fault, Fault::WrongGenesis(_)) && direction == Direction::Outbound {
            self.book.forget(addr);
        }
        self.close(conn, fault.reason());
    }

    /// The same for one that may have left since: it is discouraged all the same.
    pub(crate) fn on_fault_of(&mut self, from: Source, fault: &Fault) {
        if self.peers.get(from.conn).is_some() {
            return self.on_fault(from.conn, fault);
        }
        if fault.displeasure(true) == Displeasure::Whole {
            let host = self.config.locality.host(from.addr);
            self.bans.discourage(host, self.now.after(self.config.discouragement));
        }
    }

    /// By the address of its socket, and not by the one that it names: that may be another's.
    fn discourage(&mut self, conn: ConnId, patience: Duration) {
        if let Some(peer) = self.peers.get(conn) {
            let host = self.config.locality.host(peer.addr);
            self.bans.discourage(host, self.now.after(patience));
        }
    }
}

/// What somebody is banned for who brought an invalid payload of this kind.
const fn cause_of(kind: Kind) -> BanCause {
    match kind {
        Kind::Block => BanCause::BadBlock,
        Kind::CompactBlock => BanCause::BadCompactBlock,
        Kind::Header | Kind::Headers => BanCause::BadHeader,
        Kind::Transaction | Kind::StemTransaction => BanCause::BadTransaction,
        // Archives, segments of them; and whatever else the chain may once judge.
        _ => BanCause::BadTxHashSet,
    }
}
