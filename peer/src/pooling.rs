//! The exchange of pools, beside the peers: between those that speak the extension.
//!
//! Whoever dialled asks, part by part, for what it lacks; who was asked to the end asks in return.
//! What is wanted comes as transactions always come, unasked: only short ids are known of it, and a
//! transaction that was seen meanwhile is to stop as a duplicate. The chain lists what is in its
//! pool and public: no exchange shows a stem transaction.

use std::sync::Arc;
use std::time::Duration;

use codec::{GetPool, Hash, Kind, Message, PoolPart, Records};

use crate::chain::{Request, ToChain};
use crate::config::REQUESTS_WAITING_MAX;
use crate::endpoint::{Endpoint, sealed};
use crate::event::{ConnId, Direction};
use crate::peer::Peer;
use crate::pool::{missing, part_from};
use crate::rates::Rate;
use crate::requests::{Class, Requests, Turn};
use crate::time::Instant;

/// Parts that a peer is told: the largest pool and some more at once, 500 kB of answers to 2 kB of
/// questions; and as much again not before a minute.
pub(crate) const PARTS_RATE: Rate = Rate { amount: 1, per: Duration::from_secs(1), burst: 80 };

/// Requests of a peer that wait, at most, when one of an exchange is put behind them: its others
/// find room still.
const WANTS_WAITING_MAX: usize = REQUESTS_WAITING_MAX / 2;

impl Endpoint {
    /// A peer asks what is in our pool.
    pub(crate) fn on_get_pool(&mut self, conn: ConnId, wanted: GetPool) {
        let (now, owed) = (self.now, self.upload_owed());
        let account = self.requests_mut(conn).map(Requests::account_mut);
        let Some(account) = account else { return };
        if owed || !account.parts.take(1, PARTS_RATE, now) {
            self.counts.requests_refused += 1;
            return;
        }
        self.pool.telling.on_asked(conn, wanted);
        self.tell_part(conn);
    }

    /// Tells a peer the part of our pool that it asks for, once that is known and it has what it
    /// wanted of the one before. Who was told the last part is asked in return.
    fn tell_part(&mut self, conn: ConnId) {
        let Some(asked) = self.pool.telling.asked(conn) else { return };
        if !self.pool.is_fresh(Instant::START, self.now) {
            return self.want_ids();
        }
        let (ids, to) = part_from(self.pool.ids(), asked.from);
        let ids: Vec<_> = ids.iter().map(|id| codec::PoolId::of(id, asked.salt)).collect();
        let part = PoolPart { asked, to, ids: Records::new(&ids) };
        let payload = sealed(&self.config.network, &Message::PoolIds(part));
        self.pool.telling.told(conn, to);
        self.counts.pool_parts_told += 1;
        self.send_answer(conn, payload);
        if to == u64::MAX {
            self.add_candidate(conn);
        }
    }

    /// A peer tells what is in a part of its pool.
    pub(crate) fn on_pool_ids(&mut self, conn: ConnId, part: PoolPart<'_>) {
        if !self.pool.asking.expects(conn, &part) {
            return; // an answer that came too late, or that nobody asked for
        }
        self.counts.pool_parts_heard += 1;
        let missing = missing(self.pool.ids(), &part);
        self.pool.asking.on_part(&part, !missing.is_empty(), self.now);
        if !missing.is_empty() {
            self.counts.pool_wanted += missing.len() as u64;
            let wanted = PoolPart { ids: Records::new(&missing), ..part };
            let payload = sealed(&self.config.network, &Message::WantPool(wanted));
            self.send(conn, payload);
        }
        self.compare_pools();
    }

    /// A peer asks for transactions of a part of our pool. They need no credit: they wait among its
    /// other requests.
    pub(crate) fn on_want_pool(&mut self, conn: ConnId, part: PoolPart<'_>) {
        let refused = self.pool.on_wanted(conn, &part);
        self.counts.requests_refused += refused as u64;
        self.hand_out(conn);
        self.look_after(conn);
    }

    /// Puts some of what a peer wants of our pool among its requests; when all of it is there, it
    /// is told the next part.
    pub(crate) fn hand_out(&mut self, conn: ConnId) {
        let (rate, now) = (self.config.rates.answers, self.now);
        while let Some(id) = self.pool.telling.next_want(conn) {
            let account = self.requests_mut(conn).map(Requests::account_mut);
            let Some(account) = account else { return };
            if account.waiting_count() >= WANTS_WAITING_MAX {
                return;
            }
            let ready = account.turn(Class::Transactions, rate, now) == Turn::Now;
            if !(ready && self.answer_from_recent(conn, Kind::Transaction, id)) {
                let account = self.requests_mut(conn).map(Requests::account_mut);
                if !account.is_some_and(|account| account.keep(Request::Transaction(id))) {
                    return;
                }
                self.counts.requests_waiting += 1;
            }
            if self.pool.telling.take_want(conn) {
                self.tell_part(conn);
            }
        }
    }

    /// The chain tells what is in our pool.
    pub(crate) fn on_pool(&mut self, ids: Arc<[Hash]>) {
        if !self.pool.told(ids, self.now) {
            self.counts.commands_refused += 1;
            return;
        }
        for conn in self.pool.telling.asking() {
            self.tell_part(conn);
        }
        self.compare_pools();
    }

    /// Goes on with the exchange in which we ask, or begins one.
    fn compare_pools(&mut self) {
        let least = self.pool.asking.waits_for_ids(self.now).filter(|_| !self.stopping);
        let Some(least) = least else { return };
        if !self.pool.is_fresh(least, self.now) && !self.pool.asking.goes_on_without(self.now) {
            return self.want_ids();
        }
        let Self { pool, peers, config, now, .. } = self;
        let host = |conn| peers.get(conn).map(|peer| config.locality.host(peer.addr));
        let Some((conn, part)) = pool.asking.question(host, *now) else { return };
        let payload = sealed(&self.config.network, &Message::GetPool(part));
        self.send(conn, payload);
    }

    /// Asks the chain what is in our pool, unless it was asked just now.
    fn want_ids(&mut self) {
        if self.pool.wants_ids(self.now) && !self.events.contains(&ToChain::PoolWanted) {
            self.tell_later(ToChain::PoolWanted);
        }
    }

    /// A peer's handshake is done: if we dialled it, its pool is compared with ours.
    pub(crate) fn pool_joined(&mut self, conn: ConnId) {
        let dialed = self.peers.get(conn).filter(|peer| peer.direction == Direction::Outbound);
        if dialed.is_some_and(Peer::is_extended) {
            self.add_candidate(conn);
        }
    }

    /// It is asked when that is due: one that is only probed is gone by then.
    fn add_candidate(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.get(conn) else { return };
        let (host, dialed) =
            (self.config.locality.host(peer.addr), peer.direction == Direction::Outbound);
        self.pool.asking.add(conn, host, dialed, self.now);
    }

    /// A peer is gone.
    pub(crate) fn pool_left(&mut self, conn: ConnId) {
        self.pool.telling.remove(conn);
        self.pool.asking.remove(conn, self.now);
        self.compare_pools();
    }

    pub(crate) fn pool_deadline(&self) -> Option<Instant> {
        self.pool.deadline(self.now)
    }

    pub(crate) fn pool_due(&mut self) {
        let Self { pool, peers, now, .. } = self;
        let brought =
            |conn| peers.get(conn).and_then(Peer::session).and_then(|it| it.last_transaction);
        pool.asking.give_up_late(brought, *now);
        self.compare_pools();
    }
}
