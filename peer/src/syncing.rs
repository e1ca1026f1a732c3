//! Catching up, beside the peers that are asked.

use std::sync::Arc;

use codec::{Hash, Item, Kind, Payload, Records};

use crate::bans::{BanCause, Evidence};
use crate::chain::{ChainTip, Request, ToChain};
use crate::endpoint::Endpoint;
use crate::event::{ConnId, Direction};
use crate::peer::Peer;
use crate::serving::is_empty_headers;
use crate::sync::{Facts, Order, Taken};
use crate::table::Table;
use crate::time::Instant;

impl Endpoint {
    /// The chain wants headers behind these.
    pub(crate) fn find_headers(&mut self, locator: &Arc<[Hash]>) {
        self.sync.headers.begin(locator.clone());
        self.ask_for_headers();
    }

    /// Asks the next peer, if nobody is being asked: of those that claim more work than we have one
    /// of which no answer is owed, that claims the most, and that we dialled. When that came to
    /// nothing claims say nothing, and whom we dialled goes first.
    fn ask_for_headers(&mut self) {
        while let Some(locator) = self.sync.headers.unasked() {
            let Some(conn) = self.header_peer() else {
                self.sync.headers.end();
                return self.tell_once(ToChain::NoHeaders);
            };
            let request = Request::Headers(locator.iter().copied().collect());
            let left = self.ask(conn, &request);
            self.sync.headers.asked(conn, left, self.now);
            let Self { sync, peers, tip, .. } = self;
            let again = sync.headers.silent(|conn| claims_more(peers, conn, *tip));
            if let Some(conn) = again.filter(|conn| self.ask(*conn, &request)) {
                self.sync.headers.asked_again(conn, self.now);
            }
        }
    }

    fn header_peer(&mut self) -> Option<ConnId> {
        let Self { peers, sync, tip, .. } = self;
        let in_vain = sync.headers.asked_in_vain();
        let claims = peers.iter().filter_map(|(conn, peer)| {
            let work = peer.session()?.agreement.tip.total_difficulty;
            let may = work > tip.total_difficulty && sync.headers.may_ask(conn);
            let inbound = peer.direction == Direction::Inbound;
            let least = if in_vain { 0 } else { u64::MAX - work };
            may.then(|| ((sync.headers.failing(conn), least, inbound), conn))
        });
        let mut best: Vec<ConnId> = Vec::new();
        let mut best_rank = None;
        for (rank, conn) in claims {
            if best_rank.is_none_or(|best| rank < best) {
                best_rank = Some(rank);
                best.clear();
            }
            if best_rank == Some(rank) {
                best.push(conn);
            }
        }
        sync.rng.pick(&best).copied()
    }

    /// A peer had its time, or answered without a header. It is banned if that goes on for long
    /// while it claims work.
    fn on_no_header(&mut self, conn: ConnId) {
        if self.sync.headers.is_fraud(conn, self.now)
            && let Some(claim) = self.claim_of(conn)
            && claim.total_difficulty > self.tip.total_difficulty
            && let Some(from) = self.source(conn)
        {
            let ChainTip { height, total_difficulty } = claim;
            let note = format!("claims height {height}, work {total_difficulty}; shows no header");
            let evidence = Evidence { kind: Some(Kind::Headers), bytes: 0, note: note.into() };
            self.ban_source(from, BanCause::FraudHeight, evidence);
        }
        self.ask_for_headers();
    }

    fn claim_of(&self, conn: ConnId) -> Option<ChainTip> {
        Some(self.peers.get(conn)?.session()?.agreement.tip)
    }

    /// The chain wants these blocks, in this order.
    pub(crate) fn fetch_blocks(&mut self, height: u64, ids: &Arc<[Hash]>) {
        for id in self.sync.blocks.want(height, ids, self.now) {
            self.tell_later(ToChain::Missing { kind: Kind::Block, id });
        }
        self.sync.headers.on_blocks_wanted();
        self.ask_for_blocks();
    }

    /// It wants none of them any more.
    pub(crate) fn cancel_blocks(&mut self) {
        self.sync.blocks.cancel();
    }

    /// An answer came. Gives it back unless it is one of the blocks in a row, which is kept until
    /// those before it are here.
    pub(crate) fn on_answer(&mut self, conn: ConnId, payload: Payload) -> Option<Payload> {
        let kind = payload.envelope().map_or_else(|| payload.kind(), |(kind, ..)| kind);
        match kind {
            Kind::Headers => self.on_headers(conn, payload),
            Kind::Block => self.on_block(conn, payload),
            _ => Some(payload),
        }
    }

    fn on_headers(&mut self, conn: ConnId, payload: Payload) -> Option<Payload> {
        if !is_empty_headers(&payload) {
            self.sync.headers.on_shown(conn);
        } else if self.sync.headers.on_none(conn, self.now) {
            self.on_no_header(conn);
            return None;
        }
        Some(payload)
    }

    fn on_block(&mut self, conn: ConnId, payload: Payload) -> Option<Payload> {
        let Some(from) = self.source(conn) else { return Some(payload) };
        let bytes = payload.frame().len() as u64;
        let left_out = match self.sync.blocks.take(payload, from, self.now) {
            Taken::Not(payload) => return Some(payload),
            Taken::Kept(left_out) => {
                self.sync.headers.on_block(conn, self.now);
                left_out
            }
            Taken::Late(left_out) => {
                self.counts.blocks_late += 1;
                self.counts.duplicates += 1;
                self.counts.duplicate_bytes += bytes;
                left_out
            }
        };
        self.unask(conn, &left_out);
        self.ask_for_blocks();
        None
    }

    /// The next event that is ready for the chain: a block whose predecessors have gone. It is
    /// taken if it fits, else it stays.
    pub(crate) fn next_block(&mut self, fits: impl FnOnce(&ToChain) -> bool) -> Option<ToChain> {
        let event = self.sync.blocks.next(fits);
        if event.is_some() && !self.sync.blocks.has_next() {
            self.ask_for_blocks(); // the window has moved
        }
        event
    }

    /// Whether a block waits for room on the lane.
    pub(crate) fn has_blocks(&self) -> bool {
        self.sync.blocks.has_next()
    }

    /// A peer does not have these.
    pub(crate) fn sync_not_found(&mut self, conn: ConnId, items: &Records<'_, Item>) {
        if self.sync.blocks.is_empty() {
            return;
        }
        for item in items.iter().filter(|item| item.kind == Kind::Block) {
            let ids = self.sync.blocks.refuse(conn, &item.id, self.now);
            self.unask(conn, &ids);
        }
        self.ask_for_blocks();
    }

    /// A peer told its tip, or ours changed (no `conn`).
    pub(crate) fn on_tips(&mut self, conn: Option<ConnId>) {
        let Some(conn) = conn else {
            self.sync.behind.on_own_tip(self.tip, self.now);
            let Self { sync, peers, tip, .. } = self;
            return sync.headers.forgive(|conn| claims_more(peers, conn, *tip));
        };
        let Some(claim) = self.claim_of(conn) else { return };
        self.sync.behind.on_claim(claim, self.now);
        if self.sync.blocks.takes(conn) && claim.total_difficulty > self.tip.total_difficulty {
            self.sync.blocks.search_soon(self.now);
        }
    }

    /// A peer is gone.
    pub(crate) fn sync_left(&mut self, conn: ConnId) {
        if self.sync.headers.left(conn) {
            self.ask_for_headers();
        }
        if self.sync.blocks.left(conn) {
            self.sync.blocks.search_soon(self.now);
            self.ask_for_blocks();
        }
    }

    pub(crate) fn sync_deadline(&self) -> Option<Instant> {
        let sync = &self.sync;
        let dues = [sync.behind.deadline(), sync.headers.deadline(), sync.blocks.deadline()];
        dues.into_iter().flatten().min()
    }

    pub(crate) fn sync_due(&mut self) {
        let now = self.now;
        if self.sync.behind.deadline().is_some_and(|due| due <= now) {
            self.review_claims();
        }
        let Self { sync, peers, .. } = self;
        let excused = |conn| peers.get(conn).is_some_and(|peer| is_excused(peer, Kind::Headers));
        let late = [(); 2].map(|()| sync.headers.take_late(now, excused));
        late.into_iter().flatten().for_each(|late| self.on_no_header(late));
        if self.sync.blocks.deadline().is_some_and(|due| due <= now) {
            self.ask_for_blocks();
        }
    }

    /// Whether somebody claims more than we have: the chain is told, if it does not know.
    fn review_claims(&mut self) {
        let sessions = self.peers.iter().filter_map(|(_, peer)| peer.session());
        let tips = sessions.map(|session| session.agreement.tip);
        let best = tips.max_by_key(|tip| (tip.total_difficulty, tip.height)).unwrap_or_default();
        let busy = self.sync.headers.is_on() || !self.sync.blocks.is_empty();
        if let Some(tip) = self.sync.behind.review(best, busy, self.now) {
            self.tell_once(ToChain::Behind { tip });
        }
    }

    /// Tells it later, in the place of one of its kind that waits still.
    fn tell_once(&mut self, event: ToChain) {
        let is_alike =
            |other: &&mut ToChain| std::mem::discriminant(*other) == std::mem::discriminant(&event);
        match self.events.iter_mut().find(is_alike) {
            Some(other) => *other = event,
            None => self.tell_later(event),
        }
    }

    /// Takes back what is late, looks for peers, and asks for what is open.
    fn ask_for_blocks(&mut self) {
        if self.sync.blocks.is_empty() {
            return;
        }
        let now = self.now;
        for conn in self.sync.blocks.givers() {
            if let Some((_, facts)) = self.facts(conn) {
                self.sync.blocks.update(conn, facts);
            }
        }
        self.sync.blocks.expire(now);
        if self.sync.blocks.searches(now) {
            self.look_for_givers();
        }
        while let Some(order) = self.sync.blocks.plan(now) {
            self.send_order(&order);
        }
        self.settle_stuck();
        self.counts.blocks_reassigned = self.sync.blocks.reassigned;
    }

    fn send_order(&mut self, order: &Order) {
        let extended = self.peers.get(order.conn).is_some_and(Peer::is_extended);
        // Not by a Want: it would leave later than a range that is asked for after it.
        let left = match &order.ids[..] {
            ids if extended => self.ask_range(order.conn, ids),
            [id] => self.ask(order.conn, &Request::Block(*id)),
            _ => unreachable!("others are asked for one at a time"),
        };
        if !left {
            self.sync.blocks.unask(order, self.now);
        } else if order.is_hedge {
            self.counts.blocks_hedged += 1;
        }
    }

    /// What is known of a peer that may give blocks, and the work that it claims.
    fn facts(&self, conn: ConnId) -> Option<(u64, Facts)> {
        let peer = self.peers.get(conn)?;
        let session = peer.session()?;
        let ChainTip { height, total_difficulty } = session.agreement.tip;
        let facts = Facts {
            height: Some(height).filter(|height| *height > 0),
            ranges: session.is_extended(),
            ping: session.ping,
            excused: is_excused(peer, Kind::Block),
        };
        Some((total_difficulty, facts))
    }

    /// Adds peers that may have the next block: those that we dialled first, else any.
    fn look_for_givers(&mut self) {
        let Some(height) = self.sync.blocks.height() else { return };
        if !self.sync.blocks.make_place(self.now) {
            return;
        }
        let mut found: Vec<(bool, ConnId, Facts)> = Vec::new();
        for (conn, peer) in self.peers.iter() {
            let inbound = peer.direction == Direction::Inbound;
            if self.sync.blocks.takes(conn)
                && let Some((work, facts)) = self.facts(conn)
                && self.may_have(height, work, &facts)
            {
                found.push((inbound, conn, facts));
            }
        }
        self.sync.rng.shuffle(&mut found);
        found.sort_by_key(|(inbound, ..)| *inbound);
        for (_, conn, facts) in found {
            if !self.sync.blocks.make_place(self.now) {
                break;
            }
            self.sync.blocks.add(conn, facts, self.now);
        }
    }

    fn may_have(&self, height: u64, work: u64, facts: &Facts) -> bool {
        facts.height.map_or(work > self.tip.total_difficulty, |top| top >= height)
    }

    /// The next block, if nobody has it: the chain is told, and those behind it go on.
    fn settle_stuck(&mut self) {
        let Some((height, refused)) = self.sync.blocks.stuck() else {
            return self.sync.blocks.go_on();
        };
        let able = |(conn, _): (ConnId, &Peer)| {
            let (work, facts) = self.facts(conn)?;
            self.may_have(height, work, &facts).then_some(refused.contains(&conn))
        };
        let claims: Vec<bool> = self.peers.iter().filter_map(able).collect();
        let all_refused = !claims.is_empty() && claims.iter().all(|refused| *refused);
        if claims.iter().any(|refused| !refused) {
            self.sync.blocks.search_soon(self.now);
        }
        self.sync.blocks.give_up(all_refused, self.now);
    }
}

/// Whether this peer claims more work than our tip has.
fn claims_more(peers: &Table<Peer>, conn: ConnId, tip: ChainTip) -> bool {
    let session = peers.get(conn).and_then(Peer::session);
    session.is_some_and(|it| it.agreement.tip.total_difficulty > tip.total_difficulty)
}

/// Whether a peer that owes an answer of this kind is not late: we do not read it, or the answer
/// is on its way, for which a frame has a time of its own.
fn is_excused(peer: &Peer, kind: Kind) -> bool {
    let coming = peer.decoder.assembling().map(|(coming, ..)| coming);
    peer.paused_since().is_some() || coming.is_some_and(|it| it == kind || it == Kind::Packed)
}
