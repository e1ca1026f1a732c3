//! One remote, from its first byte to goodbye.

use std::net::SocketAddr;
use std::time::Duration;

use codec::{Capabilities, FrameDecoder, Hash, Kind};

use crate::chain::ChainTip;
use crate::config::{Config, FRAME_RATE_MIN, REQUEST_MEMORY, REQUESTS_PER_PEER_MAX};
use crate::deadlines::SlotTime;
use crate::event::{ConnId, Direction};
use crate::fault::Fault;
use crate::handshake::Agreement;
use crate::inventory::PeerSlot;
use crate::time::Instant;

/// One remote participant on one connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    pub(crate) direction: Direction,
    pub(crate) phase: Phase,
    pub(crate) decoder: FrameDecoder,
    /// When it is to be looked at next, as the deadlines know it.
    pub(crate) next_look: Option<SlotTime>,
    /// Since when the driver does not read it.
    paused_since: Option<Instant>,
    /// When the partial frame was begun. Meaningful only while there is one.
    frame_begun: Instant,
    /// Bytes that its header promises; zero while the header is not whole.
    frame_bytes: u64,
    last_heard: Instant,
    pub(crate) since: Instant,
    pub(crate) received: Received,
}

/// What came from a peer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Received {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) duplicates: u64,
}

/// How far the conversation has come. What exists only in a phase lives in its variant.
#[derive(Debug)]
pub(crate) enum Phase {
    /// They dialled: the first message must be Hand.
    AwaitHand,
    /// We dialled and sent Hand: the first message must be Shake.
    AwaitShake,
    /// The handshake is done.
    Established(Session),
}

/// A conversation under way.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) agreement: Agreement,
    /// Its column in the inventory; without one it simply gets everything.
    pub(crate) slot: Option<PeerSlot>,
    pub(crate) next_ping: Instant,
    ping_sent: Option<Instant>,
    /// Round trip of the latest ping.
    pub(crate) ping: Option<Duration>,
    asked: Vec<Asked>,
}

/// A request of the chain to this peer that waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    /// Kind of the answer.
    pub(crate) kind: Kind,
    /// What the answer must be; `None` where only the chain can tell (headers).
    pub(crate) id: Option<Hash>,
    pub(crate) at: Instant,
}

/// What a driver shows of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerInfo {
    /// The connection.
    pub conn: ConnId,
    /// The remote's address.
    pub addr: SocketAddr,
    /// Who dialled.
    pub direction: Direction,
    /// Whether the handshake is done; the fields below are empty before.
    pub established: bool,
    /// Protocol version in use.
    pub version: u32,
    /// What the remote offers.
    pub capabilities: Capabilities,
    /// The remote's name for itself. Not to be trusted.
    pub user_agent: String,
    /// The port that it says it listens on.
    pub listening_port: Option<u16>,
    /// The tip that it told last.
    pub tip: ChainTip,
    /// Round trip of the latest ping.
    pub ping: Option<Duration>,
    /// How long the connection has stood.
    pub age: Duration,
    /// Frames that came.
    pub frames_received: u64,
    /// Bytes that came.
    pub bytes_received: u64,
    /// Payloads among them that we had seen.
    pub duplicates: u64,
}

impl Peer {
    pub(crate) fn new(addr: SocketAddr, direction: Direction, now: Instant) -> Self {
        Self {
            addr,
            direction,
            phase: match direction {
                Direction::Inbound => Phase::AwaitHand,
                Direction::Outbound => Phase::AwaitShake,
            },
            decoder: FrameDecoder::default(),
            next_look: None,
            paused_since: None,
            frame_begun: now,
            frame_bytes: 0,
            last_heard: now,
            since: now,
            received: Received::default(),
        }
    }

    pub(crate) const fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Established(session) => Some(session),
            Phase::AwaitHand | Phase::AwaitShake => None,
        }
    }

    pub(crate) const fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Established(session) => Some(session),
            Phase::AwaitHand | Phase::AwaitShake => None,
        }
    }

    /// Whether a frame of this kind may come now: decided before any of its body is stored.
    pub(crate) fn admits(&self, kind: Kind, now: Instant) -> Result<(), Fault> {
        match (&self.phase, kind) {
            (Phase::AwaitHand, Kind::Hand) | (Phase::AwaitShake, Kind::Shake) => Ok(()),
            (Phase::AwaitHand | Phase::AwaitShake, _)
            | (Phase::Established(_), Kind::Hand | Kind::Shake | Kind::Error) => {
                Err(Fault::UnexpectedKind(kind))
            }
            (Phase::Established(session), kind) if is_only_answer(kind) => {
                if session.has_asked(kind, now) { Ok(()) } else { Err(Fault::Unsolicited(kind)) }
            }
            (Phase::Established(_), _) => Ok(()),
        }
    }

    /// Whether a frame of an unknown kind may come now, to be passed over.
    pub(crate) const fn admits_unknown(&self) -> Result<(), Fault> {
        match self.phase {
            Phase::AwaitHand | Phase::AwaitShake => Err(Fault::UnknownKind),
            Phase::Established(_) => Ok(()),
        }
    }

    /// Bytes came, and so it lives.
    pub(crate) const fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// A partial frame begins.
    pub(crate) const fn begin_frame(&mut self, now: Instant) {
        self.frame_begun = now;
        self.frame_bytes = 0;
    }

    /// The header of the partial frame is whole, and says how long the frame is.
    pub(crate) const fn promise_frame(&mut self, bytes: u64) {
        self.frame_bytes = bytes;
    }

    pub(crate) const fn frame_begun(&self) -> Instant {
        self.frame_begun
    }

    pub(crate) fn pause(&mut self, now: Instant) {
        self.paused_since.get_or_insert(now);
    }

    /// The pause was ours: it does not count against the peer.
    pub(crate) fn resume(&mut self, now: Instant) {
        let Some(since) = self.paused_since.take() else { return };
        let pause = now.since(since);
        // What happened in the pause, with bytes that were here already, counts from now.
        self.frame_begun = self.frame_begun.after(pause).min(now);
        self.last_heard = self.last_heard.after(pause).min(now);
        if !matches!(self.phase, Phase::Established(_)) {
            self.since = self.since.after(pause);
        }
    }

    /// The earliest instant at which something is due; [`Peer::overdue`] and the ping say what.
    pub(crate) fn deadline(&self, config: &Config) -> Option<Instant> {
        let ping = self.session().map(|session| session.next_ping);
        if self.paused_since.is_some() {
            return ping;
        }
        let patience = match self.phase {
            Phase::AwaitHand | Phase::AwaitShake => self.since.after(config.handshake_timeout),
            Phase::Established(_) => self.last_heard.after(config.silence_timeout),
        };
        let frame = self.frame_deadline(config);
        [ping, frame, Some(patience)].into_iter().flatten().min()
    }

    /// What the peer has let pass.
    pub(crate) fn overdue(&self, now: Instant, config: &Config) -> Option<Fault> {
        if self.paused_since.is_some() {
            return None;
        }
        match self.phase {
            Phase::AwaitHand | Phase::AwaitShake => {
                if now >= self.since.after(config.handshake_timeout) {
                    return Some(Fault::HandshakeTimeout(config.handshake_timeout));
                }
            }
            Phase::Established(_) => {
                if now >= self.last_heard.after(config.silence_timeout) {
                    return Some(Fault::Silent(config.silence_timeout));
                }
            }
        }
        let due = self.frame_deadline(config)?;
        (now >= due).then(|| Fault::FrameTimeout(now.since(self.frame_begun)))
    }

    fn frame_deadline(&self, config: &Config) -> Option<Instant> {
        if self.decoder.is_empty() {
            return None;
        }
        let transfer = Duration::from_millis(self.frame_bytes * 1000 / FRAME_RATE_MIN);
        Some(self.frame_begun.after(config.frame_timeout).after(transfer))
    }

    pub(crate) fn info(&self, conn: ConnId, now: Instant) -> PeerInfo {
        let session = self.session();
        let agreement = session.map(|session| &session.agreement);
        PeerInfo {
            conn,
            addr: self.addr,
            direction: self.direction,
            established: session.is_some(),
            version: agreement.map_or(0, |agreement| agreement.version),
            capabilities: agreement.map(|agreement| agreement.capabilities).unwrap_or_default(),
            user_agent: agreement
                .map_or_else(String::new, |agreement| agreement.user_agent.clone().into_string()),
            listening_port: agreement.and_then(|agreement| agreement.listening_port),
            tip: agreement.map(|agreement| agreement.tip).unwrap_or_default(),
            ping: session.and_then(|session| session.ping),
            age: now.since(self.since),
            frames_received: self.received.frames,
            bytes_received: self.received.bytes,
            duplicates: self.received.duplicates,
        }
    }
}

impl Asked {
    fn is_remembered(&self, now: Instant) -> bool {
        now.since(self.at) < REQUEST_MEMORY
    }
}

impl Session {
    pub(crate) const fn new(
        agreement: Agreement,
        slot: Option<PeerSlot>,
        next_ping: Instant,
    ) -> Self {
        Self { agreement, slot, next_ping, ping_sent: None, ping: None, asked: Vec::new() }
    }

    /// A ping leaves now; the next one is due a period later.
    pub(crate) const fn pinged(&mut self, now: Instant, period: Duration) {
        self.ping_sent = Some(now);
        self.next_ping = now.after(period);
    }

    pub(crate) fn on_pong(&mut self, now: Instant) {
        if let Some(sent) = self.ping_sent.take() {
            self.ping = Some(now.since(sent));
        }
    }

    /// Notes a request of the chain. `false`: too many wait already, this one must not be sent.
    pub(crate) fn ask(&mut self, asked: Asked) -> bool {
        self.asked.retain(|old| old.is_remembered(asked.at));
        let room = self.asked.len() < REQUESTS_PER_PEER_MAX;
        if room {
            self.asked.push(asked);
        }
        room
    }

    /// Whether an answer of this kind is awaited.
    pub(crate) fn has_asked(&self, kind: Kind, now: Instant) -> bool {
        self.asked.iter().any(|asked| asked.kind == kind && asked.is_remembered(now))
    }

    /// Whether any answer is awaited.
    pub(crate) const fn awaits(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Takes the request that this answers. An id decides, where it can: a transaction may be
    /// asked for by any of its kernels, headers by a locator.
    pub(crate) fn answered(&mut self, kind: Kind, now: Instant, id: impl FnOnce() -> Hash) -> bool {
        if !self.has_asked(kind, now) {
            return false;
        }
        self.asked.retain(|asked| asked.is_remembered(now));
        let id = id();
        let by_id = |asked: &Asked| asked.kind == kind && asked.id == Some(id);
        let by_kind =
            |asked: &Asked| asked.kind == kind && (asked.id.is_none() || kind == Kind::Transaction);
        let found =
            self.asked.iter().position(by_id).or_else(|| self.asked.iter().position(by_kind));
        if let Some(index) = found {
            self.asked.remove(index);
            if self.asked.is_empty() {
                self.asked = Vec::new();
            }
        }
        found.is_some()
    }
}

/// Kinds that only ever answer a request of ours. Refused from their header unless asked for.
const fn is_only_answer(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Headers
            | Kind::TxHashSetArchive
            | Kind::OutputBitmapSegment
            | Kind::OutputSegment
            | Kind::RangeProofSegment
            | Kind::KernelSegment
    )
}
