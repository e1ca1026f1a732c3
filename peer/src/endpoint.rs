//! Our side of the whole network: routes inputs to the machine concerned.
//!
//! Each message arm is one call; faults meet in [`Endpoint::on_fault`] and nowhere else. Bytes are
//! taken in by `intake.rs`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use codec::{BanReason, Hash, Kind, Locator, Message, Network, Payload, PeerAddrs, Ping, Pong};

use crate::chain::{ChainTip, Freshness, FromChain, Request, Source, ToChain, Verdict};
use crate::config::Config;
use crate::deadlines::{Deadlines, SLOT, SlotTime};
use crate::dialer::Dialer;
use crate::event::{CloseReason, ConnId, Credit, Direction, Input, Output, Recipients};
use crate::fault::Fault;
use crate::handshake::{Agreement, Local, Nonces, PROTOCOL_VERSION};
use crate::peer::{Asked, Peer, PeerInfo, Phase, Session};
use crate::relay::Relay;
use crate::rng::Rng;
use crate::table::Table;
use crate::time::Instant;

/// All peers, and everything that spans them. One door in ([`Endpoint::handle`]), one door out
/// ([`Endpoint::poll_output`]), one deadline ([`Endpoint::poll_timeout`]).
pub struct Endpoint {
    pub(crate) config: Config,
    pub(crate) now: Instant,
    tip: ChainTip,
    rng: Rng,
    pub(crate) peers: Table<Peer>,
    pub(crate) relay: Relay,
    pub(crate) counts: Counts,
    deadlines: Deadlines,
    dialer: Dialer,
    nonces: Nonces,
    /// Ping and Pong of our tip, framed once for all peers.
    greetings: Greetings,
    outbox: VecDeque<Output>,
    /// When to clear more of the columns of departed peers, while any remain.
    next_sweep: Option<Instant>,
    stopping: bool,
}

#[derive(Debug)]
struct Greetings {
    ping: Payload,
    pong: Payload,
}

/// What happened so far, in plain numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Peers with a finished handshake that dialled us.
    pub inbound: u64,
    /// Peers with a finished handshake that we dialled.
    pub outbound: u64,
    /// Frames that came, unknown kinds included.
    pub frames_received: u64,
    /// Bytes that came.
    pub bytes_received: u64,
    /// Payloads handed to the chain as new.
    pub payloads_new: u64,
    /// Payloads handed to the chain as perhaps seen long ago.
    pub payloads_hinted: u64,
    /// Payloads handed to the chain because it had asked.
    pub payloads_requested: u64,
    /// Payloads dropped because they were seen before.
    pub duplicates: u64,
    /// Bytes of these, headers included.
    pub duplicate_bytes: u64,
    /// Frames of unknown kinds, passed over.
    pub unknown_frames: u64,
    /// Requests of the chain that were not sent: the peer had left, or owed too many answers.
    pub requests_unsent: u64,
    /// Commands of the chain that were not carried out: a payload of another network, or of a kind
    /// that is not relayed.
    pub commands_refused: u64,
    /// Bytes that half-received frames occupy now.
    pub assembly_bytes: u64,
    /// Connections that ended, by the position of their reason in [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            inbound: 0,
            outbound: 0,
            frames_received: 0,
            bytes_received: 0,
            payloads_new: 0,
            payloads_hinted: 0,
            payloads_requested: 0,
            duplicates: 0,
            duplicate_bytes: 0,
            unknown_frames: 0,
            requests_unsent: 0,
            commands_refused: 0,
            assembly_bytes: 0,
            closed: [0; CloseReason::ALL.len()],
        }
    }
}

impl Endpoint {
    /// A fresh endpoint. The seed decides every random choice; a driver takes it from the system.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let root = Rng::from_seed(seed);
        let relay = Relay::new(&config, &mut root.fork("relay"));
        let mut dialer = Dialer::new(root.fork("dialer"));
        for addr in &config.connect {
            dialer.hold(*addr, Instant::START);
        }
        let tip = ChainTip::default();
        Self {
            greetings: Greetings::new(&config.network, tip),
            now: Instant::START,
            tip,
            rng: root.fork("endpoint"),
            peers: Table::default(),
            relay,
            counts: Counts::default(),
            deadlines: Deadlines::default(),
            dialer,
            nonces: Nonces::default(),
            outbox: VecDeque::new(),
            next_sweep: None,
            stopping: false,
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
        match input {
            Input::Received { conn, bytes, credit } => {
                return self.on_received(conn, bytes, credit);
            }
            Input::Accepted { conn, addr } => self.on_accepted(conn, addr),
            Input::Dialed { conn, addr } => self.on_dialed(conn, addr),
            Input::DialFailed { addr } => self.on_dial_failed(addr),
            Input::Paused { conn } => self.on_paused(conn),
            Input::Resumed { conn } => self.on_resumed(conn),
            Input::Dropped { conn, payload } => self.on_dropped(conn, payload),
            Input::Closed { conn, reason } => self.on_closed(conn, reason),
            Input::TurnedAway => self.counts.closed[CloseReason::NoRoom as usize] += 1,
            Input::FromChain(command) => self.on_command(command),
            Input::Tip(tip) => self.on_tip(tip),
            Input::Hold { addr } => self.on_hold(addr),
            Input::Shutdown => self.on_shutdown(),
            Input::Timeout => self.on_timeout(),
        }
        0
    }

    /// The next thing for the driver to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// When to call with [`Input::Timeout`]; a late or an early call is harmless.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.deadlines.next(), self.dialer.deadline(), self.next_sweep].into_iter().flatten().min()
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

    /// Bytes that the frame which this peer is in the middle of still lacks: a driver may choose
    /// larger buffers for it.
    #[must_use]
    pub fn bytes_missing(&self, conn: ConnId) -> usize {
        let assembling = self.peers.get(conn).and_then(|peer| peer.decoder.assembling());
        assembling.map_or(0, |(_, here, total)| total - here)
    }

    /// Bytes of the fixed pools: seen filter and inventory. Most of it is touched only with use.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.relay.memory_bytes()
    }

    /// Tells peers of later handshakes that we listen on this port, unless the configuration names
    /// an address of its own.
    pub const fn advertise(&mut self, port: u16) {
        if self.config.advertised.ip().is_unspecified() {
            self.config.advertised.set_port(port);
        }
    }

    fn on_accepted(&mut self, conn: ConnId, addr: SocketAddr) {
        self.peers.insert(conn, Peer::new(addr, Direction::Inbound, self.now));
        self.schedule(conn);
    }

    fn on_dialed(&mut self, conn: ConnId, addr: SocketAddr) {
        let nonce = self.rng.u64();
        self.nonces.add(nonce, addr);
        self.dialer.on_dialed(addr, conn);
        self.peers.insert(conn, Peer::new(addr, Direction::Outbound, self.now));
        let hand = self.local().hand(nonce, addr);
        let hand = sealed(&self.config.network, &Message::Hand(hand));
        self.send(conn, hand);
        self.schedule(conn);
    }

    fn on_dial_failed(&mut self, addr: SocketAddr) {
        self.dialer.on_dial_failed(addr, self.now);
        self.counts.closed[CloseReason::DialFailed as usize] += 1;
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

    fn on_dropped(&mut self, conn: ConnId, payload: &Payload) {
        let slot = self.peers.get(conn).and_then(Peer::session).and_then(|session| session.slot);
        self.relay.unmark(slot, payload);
    }

    /// The connection is gone without our doing; the phase tells more than the driver can know.
    fn on_closed(&mut self, conn: ConnId, reason: CloseReason) {
        let Some(peer) = self.peers.get(conn) else { return };
        let reason = match (reason, &peer.phase) {
            (CloseReason::RemoteClosed, _) if !peer.decoder.is_empty() => {
                CloseReason::TruncatedFrame
            }
            (
                CloseReason::RemoteClosed | CloseReason::ConnectionLost,
                Phase::AwaitHand | Phase::AwaitShake,
            ) => CloseReason::HandshakeAborted,
            (reason, _) => reason,
        };
        self.forget(conn, reason);
    }

    fn on_tip(&mut self, tip: ChainTip) {
        self.tip = tip;
        self.greetings = Greetings::new(&self.config.network, tip);
    }

    fn on_hold(&mut self, addr: SocketAddr) {
        if !self.stopping {
            self.dialer.hold(addr, self.now);
            self.dial_due();
        }
    }

    fn on_shutdown(&mut self) {
        self.stopping = true;
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
        while let Some((slot, conns)) = self.deadlines.take_due(self.now) {
            for conn in conns {
                self.look_at(conn, slot);
            }
        }
    }

    fn dial_due(&mut self) {
        while let Some(addr) = self.dialer.take_due(self.now) {
            self.outbox.push_back(Output::Dial { addr });
        }
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
        self.schedule(conn);
    }

    /// Makes sure that the peer is looked at by its next deadline.
    pub(crate) fn schedule(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(conn) else { return };
        let Some(deadline) = peer.deadline(&self.config) else { return };
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

    /// Answers a ping. Our own rides with the pong, unless one left just before; the next is then
    /// due a little later than a period, so that it rides with the next pong again. Two peers that
    /// ping each other so exchange one send each and wake each other half as often.
    fn on_ping(&mut self, conn: ConnId, ping: Ping) {
        self.send(conn, self.greetings.pong.clone());
        let period = self.config.ping_period;
        let Some(session) = self.peers.get_mut(conn).and_then(Peer::session_mut) else { return };
        session.agreement.tip =
            ChainTip { height: ping.height, total_difficulty: ping.total_difficulty };
        if session.next_ping <= self.now.after(period - period / 10) {
            self.ping(conn);
            let Some(session) = self.peers.get_mut(conn).and_then(Peer::session_mut) else {
                return;
            };
            session.next_ping = session.next_ping.after(period / 20);
        }
    }

    fn on_pong(&mut self, conn: ConnId, pong: Pong) {
        let now = self.now;
        let Some(session) = self.peers.get_mut(conn).and_then(Peer::session_mut) else { return };
        session.agreement.tip =
            ChainTip { height: pong.height, total_difficulty: pong.total_difficulty };
        session.on_pong(now);
    }

    fn local(&self) -> Local<'_> {
        Local {
            genesis: self.config.network.genesis,
            capabilities: self.config.capabilities,
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
        match message {
            Message::Hand(hand) => {
                let (agreement, shake) = self.local().on_hand(hand, &self.nonces)?;
                let shake = sealed(&self.config.network, &Message::Shake(shake));
                self.send(conn, shake);
                self.establish(conn, agreement);
            }
            Message::Shake(shake) => {
                let agreement = self.local().on_shake(shake)?;
                self.establish(conn, agreement);
            }
            Message::Ping(ping) => self.on_ping(conn, *ping),
            Message::Pong(pong) => self.on_pong(conn, *pong),
            Message::GetPeerAddrs(_) => {
                // Nobody's address is ours to give away: none was tested by this engine.
                let none = Message::PeerAddrs(PeerAddrs::new(&[]));
                let none = sealed(&self.config.network, &none);
                self.send(conn, none);
            }
            Message::PeerAddrs(_) => {}
            Message::BanReason(reason) => self.on_ban_reason(conn, *reason),
            Message::GetHeaders(locator) => {
                let request = Request::Headers(locator.iter().collect());
                return Ok(self.on_request(conn, request, credit));
            }
            Message::GetBlock(id) => return Ok(self.on_request(conn, Request::Block(*id), credit)),
            Message::GetCompactBlock(id) => {
                return Ok(self.on_request(conn, Request::CompactBlock(*id), credit));
            }
            Message::GetTransaction(id) => {
                return Ok(self.on_request(conn, Request::Transaction(*id), credit));
            }
            Message::TransactionKernel(id) => {
                return Ok(self.on_announcement(conn, Kind::TransactionKernel, *id, credit));
            }
            Message::Error
            | Message::Header(_)
            | Message::Block(_)
            | Message::CompactBlock(_)
            | Message::StemTransaction(_)
            | Message::Transaction(_) => unreachable!("refused or taken as a payload"),
        }
        Ok(true)
    }

    fn establish(&mut self, conn: ConnId, agreement: Agreement) {
        let slot = self.relay.join(conn);
        // Spread over the period, so that peers that came together are not pinged together.
        let period = self.config.ping_period.as_micros() as u64;
        let next_ping = self.now.after(Duration::from_micros(self.rng.below(period) + 1));
        let Some(peer) = self.peers.get_mut(conn) else { return };
        peer.phase = Phase::Established(Session::new(agreement, slot, next_ping));
        match peer.direction {
            Direction::Inbound => self.counts.inbound += 1,
            Direction::Outbound => self.counts.outbound += 1,
        }
        self.dialer.on_established(conn);
        self.schedule(conn);
    }

    /// The remote bans us, or, without a reason, says goodbye.
    fn on_ban_reason(&mut self, conn: ConnId, reason: BanReason) {
        self.close(
            conn,
            match reason {
                BanReason::None => CloseReason::RemoteClosed,
                _ => CloseReason::BannedByRemote,
            },
        );
    }

    fn on_request(&mut self, conn: ConnId, request: Request, credit: &mut Credit) -> bool {
        let Some(from) = self.source(conn) else { return true };
        self.hand_over(ToChain::Requested { from, request }, credit)
    }

    fn on_announcement(&mut self, conn: ConnId, kind: Kind, id: Hash, credit: &mut Credit) -> bool {
        let Some(from) = self.source(conn) else { return true };
        self.hand_over(ToChain::Announced { from, kind, id }, credit)
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
                Freshness::Requested => self.counts.payloads_requested += 1,
            }
        }
        self.outbox.push_back(Output::ToChain(event));
        true
    }

    pub(crate) fn source(&self, conn: ConnId) -> Option<Source> {
        self.peers.get(conn).map(|peer| Source { conn, addr: peer.addr })
    }

    fn on_command(&mut self, command: FromChain) {
        if !self.is_ours(&command) {
            self.counts.commands_refused += 1;
            return;
        }
        match command {
            FromChain::Publish(payload) => self.outbox.extend(self.relay.spread(payload)),
            FromChain::Verdict { payload, verdict: Verdict::Accept, .. } => {
                self.outbox.extend(self.relay.spread(payload));
            }
            FromChain::Verdict { payload, verdict: Verdict::Later, .. } => {
                self.relay.unsee(&payload);
            }
            FromChain::Verdict { from, verdict: Verdict::Invalid, .. } => {
                self.close(from.conn, CloseReason::InvalidPayload);
            }
            FromChain::Request { to, request } => self.ask(to, &request),
            FromChain::Deliver { to, payload } => self.deliver(to, payload),
        }
    }

    /// Whether what the chain wants sent is a payload of this network: anything else would end the
    /// connections that it goes to.
    fn is_ours(&self, command: &FromChain) -> bool {
        let (payload, fits) = match command {
            FromChain::Publish(payload) => (payload, payload.kind().is_relay()),
            FromChain::Deliver { payload, .. } => (payload, true),
            FromChain::Verdict { .. } | FromChain::Request { .. } => return true,
        };
        fits && payload.frame().starts_with(&self.config.network.magic)
    }

    fn ask(&mut self, to: ConnId, request: &Request) {
        let at = self.now;
        let (message, kind, id) = match request {
            Request::Headers(locator) => {
                (Message::GetHeaders(Locator::new(locator)), Kind::Headers, None)
            }
            Request::Block(id) => (Message::GetBlock(*id), Kind::Block, Some(*id)),
            Request::CompactBlock(id) => {
                (Message::GetCompactBlock(*id), Kind::CompactBlock, Some(*id))
            }
            Request::Transaction(id) => {
                (Message::GetTransaction(*id), Kind::Transaction, Some(*id))
            }
        };
        let session = self.peers.get_mut(to).and_then(Peer::session_mut);
        if session.is_some_and(|session| session.ask(Asked { kind, id, at })) {
            let payload = sealed(&self.config.network, &message);
            self.send(to, payload);
        } else {
            self.counts.requests_unsent += 1;
        }
    }

    fn deliver(&mut self, to: ConnId, payload: Payload) {
        let Some(session) = self.peers.get(to).and_then(Peer::session) else { return };
        if payload.kind().is_relay() {
            self.relay.mark(session.slot, &payload);
        }
        self.send(to, payload);
    }

    fn send(&mut self, conn: ConnId, payload: Payload) {
        self.outbox.push_back(Output::Send { to: Recipients::One(conn), payload });
    }

    fn goodbye(&mut self, conn: ConnId, reason: BanReason) {
        if self.peers.get(conn).and_then(Peer::session).is_some() {
            let payload = sealed(&self.config.network, &Message::BanReason(reason));
            self.send(conn, payload);
        }
    }

    /// The only place where a fault has its consequence.
    pub(crate) fn on_fault(&mut self, conn: ConnId, fault: &Fault) {
        if let Fault::Myself(addr) = fault {
            self.dialer.on_myself(*addr);
        }
        self.close(conn, fault.reason());
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
        if let Some(session) = peer.session() {
            match peer.direction {
                Direction::Inbound => self.counts.inbound -= 1,
                Direction::Outbound => self.counts.outbound -= 1,
            }
            self.relay.forget(conn, session.slot);
            let soon = self.now.after(SLOT);
            self.next_sweep.get_or_insert(soon);
        }
        self.dialer.on_closed(conn, reason, self.now);
        true
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
fn sealed(network: &Network, message: &Message<'_>) -> Payload {
    message.to_payload(network, PROTOCOL_VERSION).expect("our own messages are within their limits")
}
