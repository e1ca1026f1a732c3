//! Our side of the whole network: routes inputs to the machine concerned.
//!
//! Each message arm is one call; faults meet in [`Endpoint::on_fault`] and nowhere else. Bytes are
//! taken in by `intake.rs`.

use std::collections::VecDeque;
use std::net::SocketAddr;

use codec::{BanReason, Kind, Message, Network, Payload, Ping, Pong};

use crate::address_book::AddressBook;
use crate::bans::Bans;
use crate::chain::{ChainTip, Freshness, Request, ToChain};
use crate::clustering::Clustering;
use crate::config::Config;
use crate::counts::Counts;
use crate::dandelion::Dandelion;
use crate::deadlines::{Deadlines, SLOT, SlotTime};
use crate::dialer::Dialer;
use crate::envelopes::Opening;
use crate::event::{CloseReason, ConnId, Credit, Input, Output, Recipients};
use crate::external::ExternalAddress;
use crate::fault::Fault;
use crate::gossiping::Gossiping;
use crate::handshake::{Local, Nonces, PROTOCOL_VERSION};
use crate::offers::Offers;
use crate::overlaying::{Overlaying, Said};
use crate::peer::{Peer, PeerInfo};
use crate::pool::PoolExchange;
use crate::rates::TokenBucket;
use crate::recent::Recent;
use crate::recording::Recorder;
use crate::relay::Relay;
use crate::relaying::Relaying;
use crate::rng::Rng;
use crate::serving::Serving;
use crate::sessions::Hosts;
use crate::slots::Crowd;
use crate::sync::Sync;
use crate::table::Table;
use crate::time::Instant;

/// All peers, and everything that spans them. One door in ([`Endpoint::handle`]), one door out
/// ([`Endpoint::poll_output`]), one deadline ([`Endpoint::poll_timeout`]).
pub struct Endpoint {
    pub(crate) config: Config,
    pub(crate) now: Instant,
    pub(crate) tip: ChainTip,
    pub(crate) rng: Rng,
    pub(crate) peers: Table<Peer>,
    pub(crate) relay: Relay,
    pub(crate) serving: Serving,
    pub(crate) counts: Counts,
    deadlines: Deadlines,
    pub(crate) dialer: Dialer,
    pub(crate) book: AddressBook,
    pub(crate) bans: Bans,
    pub(crate) hosts: Hosts,
    /// Those that dialled us: who has not greeted yet, and who is a peer.
    pub(crate) greeting: Crowd,
    pub(crate) inbound: Crowd,
    pub(crate) external: ExternalAddress,
    /// Where we reached ourselves; not dialled again.
    pub(crate) own_addresses: VecDeque<SocketAddr>,
    /// Anchors that a store has not heard of.
    pub(crate) anchors_changed: Option<Vec<SocketAddr>>,
    /// Looks for somebody to evict that we may still take.
    pub(crate) evictions: TokenBucket,
    pub(crate) nonces: Nonces,
    /// Ping and Pong of our tip, framed once for all peers.
    greetings: Greetings,
    pub(crate) outbox: VecDeque<Output>,
    /// When to clear more of the columns of departed peers, while any remain.
    pub(crate) next_sweep: Option<Instant>,
    /// When to look for ended bans and new anchors, while there may be such.
    pub(crate) next_review: Option<Instant>,
    pub(crate) stopping: bool,
    pub(crate) relaying: Relaying,
    pub(crate) offers: Offers,
    pub(crate) recent: Recent,
    pub(crate) dandelion: Dandelion,
    pub(crate) sync: Sync,
    pub(crate) pool: PoolExchange,
    pub(crate) opening: Opening,
    pub(crate) overlaying: Overlaying,
    pub(crate) gossiping: Gossiping,
    pub(crate) clustering: Clustering,
    /// Events that wait for room on the lane. Who adds some bounds them.
    pub(crate) events: VecDeque<ToChain>,
    pub(crate) recorder: Option<Box<Recorder>>,
}

#[derive(Debug)]
struct Greetings {
    ping: Payload,
    pong: Payload,
}

impl Endpoint {
    /// A fresh endpoint. The seed decides every random choice; a driver takes it from the system.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let root = Rng::from_seed(seed);
        let relay = Relay::new(&config, &mut root.fork("relay"));
        let dialer = Dialer::from_config(&config, root.fork("dialer"));
        let book = AddressBook::new(config.book, config.locality, root.fork("book"));
        let tip = ChainTip::default();
        let dandelion = Dandelion::new(config.dandelion, &config.network, root.fork("dandelion"));
        Self {
            greetings: Greetings::new(&config.network, tip),
            now: Instant::START,
            tip,
            rng: root.fork("endpoint"),
            peers: Table::default(),
            relay,
            serving: Serving::default(),
            counts: Counts::default(),
            deadlines: Deadlines::default(),
            dialer,
            book,
            bans: Bans::new(&config.denied, &config.allowed),
            hosts: Hosts::default(),
            greeting: Crowd::default(),
            inbound: Crowd::default(),
            external: ExternalAddress::default(),
            own_addresses: VecDeque::new(),
            anchors_changed: None,
            evictions: TokenBucket::default(),
            nonces: Nonces::default(),
            outbox: VecDeque::new(),
            next_sweep: None,
            next_review: None,
            stopping: false,
            relaying: Relaying::default(),
            offers: Offers::default(),
            recent: Recent::default(),
            dandelion,
            sync: Sync::new(config.sync, root.fork("sync")),
            pool: PoolExchange::new(root.fork("pool")),
            opening: Opening::new(),
            overlaying: Overlaying::new(&config, root.fork("overlay")),
            gossiping: Gossiping::new(&config, root.fork("gossip")),
            clustering: Clustering::new(&config, root.fork("cluster")),
            events: VecDeque::new(),
            recorder: None,
            config,
        }
    }

    /// Takes one input. For [`Input::Received`] the answer is how many bytes were consumed; for
    /// every other input it is zero. Drain [`Endpoint::poll_output`] before the next one.
    ///
    /// # Panics
    ///
    /// If outputs were not drained or time runs backwards: bugs of the driver.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) -> usize {
        assert!(self.outbox.is_empty(), "drain poll_output() before the next input");
        assert!(now >= self.now, "time ran backwards");
        self.now = now;
        if let Some(recorder) = &mut self.recorder {
            recorder.input(now, &input);
        }
        let consumed = self.take(input);
        if let Some(recorder) = &mut self.recorder {
            recorder.consumed(consumed);
        }
        consumed
    }

    /// An arm each.
    fn take(&mut self, input: Input<'_>) -> usize {
        match input {
            Input::Received { conn, bytes, credit } => {
                return self.on_received(conn, bytes, credit);
            }
            Input::Room { credit } => self.on_room(credit),
            Input::Accepted { conn, addr } => self.on_accepted(conn, addr),
            Input::Dialed { conn, addr } => self.on_dialed(conn, addr),
            Input::DialFailed { addr } => self.on_dial_failed(addr),
            Input::NotDialed { addr } => self.on_not_dialed(addr),
            Input::Paused { conn } => self.on_paused(conn),
            Input::Resumed { conn } => self.on_resumed(conn),
            Input::Dropped { conn, payload } => self.on_dropped(conn, payload),
            Input::Closed { conn, reason } => self.on_closed(conn, reason),
            Input::TurnedAway => self.counts.closed[CloseReason::NoRoom as usize] += 1,
            Input::PieceSent { conn } => self.on_piece_sent(conn),
            Input::Restored(restored) => self.on_restored(restored),
            Input::Resolved { name, addrs } => self.on_resolved(&name, &addrs),
            Input::Ban(ban) => self.on_ban(ban),
            Input::Unban(target) => self.on_unban(target),
            Input::FromChain(command) => self.on_command(command),
            Input::Tip(tip) => self.on_tip(tip),
            Input::Hold { addr } => self.on_hold(addr),
            Input::Datagram { from, bytes } => self.on_datagram(from, bytes),
            Input::Publish { topic, data } => self.on_publish(topic, data),
            Input::Shutdown => self.on_shutdown(),
            Input::Timeout => self.on_timeout(),
        }
        0
    }

    /// The next thing for the driver to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outbox.pop_front()?;
        if let Some(recorder) = &mut self.recorder {
            recorder.output(&output);
        }
        Some(output)
    }

    /// Whether events for the chain wait for room, although nothing may be received that would come
    /// with a credit: the driver tells of it with [`Input::Room`].
    #[must_use]
    pub fn wants_room(&self) -> bool {
        self.has_events()
    }

    /// When to call with [`Input::Timeout`]; a late or an early call is harmless.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [
            self.deadlines.next(),
            self.serving_deadline(),
            self.relay_deadline(),
            self.stems_deadline(),
            self.sync_deadline(),
            self.pool_deadline(),
            self.overlay_deadline(),
            self.gossip_deadline(),
            self.cluster_deadline(),
            self.dialer.deadline(),
            self.next_sweep,
            self.next_review,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// What happened so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// All peers, in slot order.
    pub fn peers(&self) -> impl Iterator<Item = PeerInfo> {
        self.peers.iter().map(|(conn, peer)| peer.info(conn, self.now))
    }

    /// Bytes that the frame or the archive which this peer is in the middle of still lacks: a
    /// driver may choose larger buffers for it.
    #[must_use]
    pub fn bytes_missing(&self, conn: ConnId) -> usize {
        let Some(peer) = self.peers.get(conn) else { return 0 };
        let attachment = peer.decoder.attachment_bytes_missing();
        let frame = peer.decoder.assembling().map_or(0, |(_, here, total)| total - here);
        frame.max(usize::try_from(attachment).unwrap_or(usize::MAX))
    }

    /// Bytes of the fixed pools: seen filter, inventory, address book. Most of it is touched only
    /// with use.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.relay.memory_bytes() + self.book.memory_bytes()
    }

    /// Tells peers of later handshakes that we listen on this port, unless the configuration names
    /// an address with a port of its own.
    pub fn advertise(&mut self, port: u16) {
        if let Some(recorder) = &mut self.recorder {
            recorder.advertised(self.now, false, port);
        }
        if self.config.advertised.ip().is_unspecified() || self.config.advertised.port() == 0 {
            self.config.advertised.set_port(port);
        }
    }

    fn on_dial_failed(&mut self, addr: SocketAddr) {
        self.dialer.on_dial_failed(addr, self.now);
        self.counts.closed[CloseReason::DialFailed as usize] += 1;
        self.call_failed(addr);
    }

    fn on_not_dialed(&mut self, addr: SocketAddr) {
        self.dialer.on_not_dialed(addr, self.now);
        self.counts.closed[CloseReason::NoRoom as usize] += 1;
        self.call_failed(addr);
    }

    fn on_paused(&mut self, conn: ConnId) {
        let now = self.now;
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.pause(now);
        }
    }

    fn on_resumed(&mut self, conn: ConnId) {
        let now = self.now;
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.resume(now);
            self.schedule(conn);
        }
    }

    fn on_tip(&mut self, tip: ChainTip) {
        self.tip = tip;
        self.on_tips(None);
        self.greetings = Greetings::new(&self.config.network, tip);
        self.unlock_stems();
    }

    fn on_hold(&mut self, addr: SocketAddr) {
        if !self.stopping {
            self.dialer.hold(addr, self.now);
            self.dial_due();
            self.overlay_contact(addr);
        }
    }

    fn on_shutdown(&mut self) {
        self.stopping = true;
        self.leave_overlay();
        self.leave_cluster();
        self.look_for_anchors();
        self.dialer.stop();
        for conn in self.peers.ids() {
            self.goodbye(conn, BanReason::None);
            self.close(conn, CloseReason::Shutdown);
        }
    }

    fn on_timeout(&mut self) {
        self.dial_due();
        if self.next_sweep.is_some_and(|at| at <= self.now) {
            self.next_sweep = self.relay.sweep().then(|| self.now.after(SLOT));
        }
        if self.next_review.is_some_and(|at| at <= self.now) {
            self.review();
        }
        while let Some((slot, conns)) = self.deadlines.take_due(self.now) {
            for conn in conns {
                self.look_at(conn, slot);
            }
        }
        self.relay_due();
        self.stems_due();
        self.sync_due();
        self.pool_due();
        self.overlay_due();
        self.gossip_due();
        self.cluster_due();
        self.serve_listed(None);
    }

    fn look_at(&mut self, conn: ConnId, slot: SlotTime) {
        let Some(peer) = self.peers.get_mut(conn) else { return };
        if peer.next_look != Some(slot) {
            return; // scheduled anew for an earlier slot, and looked at there
        }
        peer.next_look = None;
        if let Some(fault) = peer.overdue(self.now, &self.config) {
            return self.on_fault(conn, &fault);
        }
        if peer.session().is_some_and(|session| session.next_ping <= self.now) {
            self.ping(conn);
        }
        self.look_after(conn);
    }

    /// Makes sure that the peer is looked at by its next deadline.
    pub(crate) fn schedule(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(conn) else { return };
        let requests =
            peer.session().and_then(|session| session.requests.deadline(&self.config, self.now));
        let deadline = [peer.deadline(&self.config), requests].into_iter().flatten().min();
        let Some(deadline) = deadline else { return };
        let slot = SlotTime::not_before(deadline);
        if peer.next_look.is_none_or(|next| slot < next) {
            peer.next_look = Some(slot);
            self.deadlines.schedule(conn, slot);
        }
    }

    fn ping(&mut self, conn: ConnId) {
        let period = self.config.ping_period;
        let Some(session) = self.peers.get_mut(conn).and_then(Peer::session_mut) else { return };
        session.pinged(self.now, period);
        let ping = self.greetings.ping.clone();
        self.send(conn, ping);
    }

    /// Answers a ping. Our own rides with the pong, unless one left just before. Two peers that
    /// ping each other so exchange three sends in a period and not four.
    fn on_ping(&mut self, conn: ConnId, ping: Ping) {
        self.send_answer(conn, self.greetings.pong.clone());
        let period = self.config.ping_period;
        let Some(session) = self.peers.get_mut(conn).and_then(Peer::session_mut) else { return };
        session.agreement.tip =
            ChainTip { height: ping.height, total_difficulty: ping.total_difficulty };
        if session.pings_along(self.now, period) {
            self.ping(conn);
        }
        if let Some(session) = self.peers.get_mut(conn).and_then(Peer::session_mut) {
            session.waits_for_its_ping(&self.config);
        }
        self.on_tips(Some(conn));
    }

    fn on_pong(&mut self, conn: ConnId, pong: Pong) {
        let now = self.now;
        let tip = ChainTip { height: pong.height, total_difficulty: pong.total_difficulty };
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.on_pong(now, tip);
        }
        self.on_tips(Some(conn));
    }

    pub(crate) fn local(&self) -> Local<'_> {
        Local {
            genesis: self.config.network.genesis,
            capabilities: self.config.offered(),
            user_agent: self.config.user_agent(),
            tip: self.tip,
            advertised: self.config.advertised,
        }
    }

    /// One message that is no relayed payload: an arm each. `false`: no credit, not consumed.
    pub(crate) fn on_message(
        &mut self,
        conn: ConnId,
        message: &Message<'_>,
        credit: &mut Credit,
    ) -> Result<bool, Fault> {
        if let Some(request) = Request::of_message(message) {
            return Ok(self.on_request(conn, request, credit));
        }
        self.overlay_contact_of(conn);
        match message {
            Message::Hand(hand) => self.on_hand(conn, hand)?,
            Message::Shake(shake) => self.on_shake(conn, shake)?,
            Message::Ping(ping) => self.on_ping(conn, *ping),
            Message::Pong(pong) => self.on_pong(conn, *pong),
            Message::GetPeerAddrs(wanted) => self.on_get_peer_addrs(conn, *wanted),
            Message::PeerAddrs(addrs) => self.on_peer_addrs(conn, *addrs),
            Message::BanReason(reason) => self.on_ban_reason(conn, *reason),
            Message::TransactionKernel(id) => {
                return Ok(self.on_announcement(conn, Kind::TransactionKernel, *id, credit));
            }
            Message::TxHashSetArchive(archive) => return self.on_archive(conn, *archive, credit),
            Message::Have(offers) => self.on_have(conn, *offers),
            Message::Coming(offers) => self.on_coming(conn, *offers),
            Message::Want(items) => self.on_want(conn, *items),
            Message::NotFound(items) => {
                self.sync_not_found(conn, items);
                self.on_not_found(conn, *items);
            }
            Message::GetPool(wanted) => self.on_get_pool(conn, *wanted),
            Message::PoolIds(part) => self.on_pool_ids(conn, *part),
            Message::WantPool(part) => self.on_want_pool(conn, *part),
            Message::HyParView(body) => self.on_overlay(conn, Said::HyParView(body.message())),
            Message::Sampling(body) => self.on_overlay(conn, Said::Sampling(body.message())),
            Message::Plumtree(message) => self.on_plumtree(conn, *message),
            Message::Error
            | Message::GetHeaders(_)
            | Message::GetBlock(_)
            | Message::GetCompactBlock(_)
            | Message::GetTransaction(_)
            | Message::TxHashSetRequest(_)
            | Message::GetOutputBitmapSegment(_)
            | Message::GetOutputSegment(_)
            | Message::GetRangeProofSegment(_)
            | Message::GetKernelSegment(_)
            | Message::GetBlocks(_)
            | Message::Packed(_)
            | Message::Header(_)
            | Message::Headers(_)
            | Message::OutputBitmapSegment(_)
            | Message::OutputSegment(_)
            | Message::RangeProofSegment(_)
            | Message::KernelSegment(_)
            | Message::Block(_)
            | Message::CompactBlock(_)
            | Message::StemTransaction(_)
            | Message::Transaction(_) => {
                unreachable!("refused, or taken as a request or a payload")
            }
        }
        Ok(true)
    }

    /// Hands an event to the chain if the credit allows.
    pub(crate) fn hand_over(&mut self, event: ToChain, credit: &mut Credit) -> bool {
        if !credit.allows(event.bytes()) {
            return false;
        }
        credit.use_up(event.bytes());
        if let ToChain::Payload { freshness, .. } = &event {
            match freshness {
                Freshness::New => self.counts.payloads_new += 1,
                Freshness::PerhapsLongAgo => self.counts.payloads_hinted += 1,
                Freshness::Requested | Freshness::Next => self.counts.payloads_requested += 1,
            }
        }
        self.outbox.push_back(Output::ToChain(event));
        true
    }

    pub(crate) fn send(&mut self, conn: ConnId, payload: Payload) {
        self.charge_pace(conn);
        self.outbox.push_back(Output::Send { to: Recipients::One(conn), payload });
    }
}

impl Greetings {
    fn new(network: &Network, tip: ChainTip) -> Self {
        let ChainTip { height, total_difficulty } = tip;
        Self {
            ping: sealed(network, &Message::Ping(Ping { total_difficulty, height })),
            pong: sealed(network, &Message::Pong(Pong { total_difficulty, height })),
        }
    }
}

/// Frames a message of our own. None of these depends on the version, and all are within their
/// limits by our own constants.
pub(crate) fn sealed(network: &Network, message: &Message<'_>) -> Payload {
    message.to_payload(network, PROTOCOL_VERSION).expect("our own messages are within their limits")
}
