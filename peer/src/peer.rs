//! One remote, from its first byte to goodbye.

use std::net::SocketAddr;
use std::time::Duration;

use codec::{Capabilities, FrameDecoder, Kind};

use crate::address::Group;
use crate::chain::ChainTip;
use crate::config::{Config, FRAME_RATE_MIN};
use crate::deadlines::{SLOT, SlotTime};
use crate::event::{ConnId, Direction};
use crate::fault::Fault;
use crate::handshake::Agreement;
use crate::inventory::PeerSlot;
use crate::rates::Rate;
use crate::requests::Requests;
use crate::slots::Candidate;
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
    /// When it last answered a ping; at first, when it was established.
    last_pong: Instant,
    pub(crate) since: Instant,
    /// The nonce of our Hand to it, if we dialled.
    pub(crate) nonce: Option<u64>,
    pub(crate) received: Received,
    /// Whether the first bytes of the partial frame have said what it is, or never will.
    pub(crate) head_seen: bool,
    /// Whether the body that is being passed over is one that we have.
    pub(crate) refuses_body: bool,
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
#[expect(clippy::large_enum_variant, reason = "nearly all peers are established; one hop less")]
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
    /// When our latest ping left.
    pinged: Option<Instant>,
    awaits_pong: bool,
    /// Round trip of the latest ping.
    pub(crate) ping: Option<Duration>,
    /// The shortest of all, and how many there were; since a pong last came unasked.
    ping_min: Option<Duration>,
    pings: u32,
    /// When the chain last took a block, header or compact block that came from here.
    last_block: Option<Instant>,
    /// The same for transactions.
    pub(crate) last_transaction: Option<Instant>,
    /// When it last told some.
    pub(crate) addresses_heard: Option<Instant>,
    /// Whether it asked for addresses, and got its one answer.
    pub(crate) addresses_told: bool,
    pub(crate) requests: Requests,
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
            last_pong: now,
            since: now,
            nonce: None,
            received: Received::default(),
            head_seen: false,
            refuses_body: false,
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

    /// The handshake is done.
    pub(crate) fn establish(&mut self, session: Session, now: Instant) {
        self.phase = Phase::Established(session);
        self.last_pong = now;
    }

    /// Where it listens, as far as it told: the address that we dialled, or the IP that it has with
    /// the port that it named.
    pub(crate) fn name(&self) -> Option<SocketAddr> {
        match self.direction {
            Direction::Outbound => Some(self.addr),
            Direction::Inbound => {
                let port = self.session()?.agreement.listening_port?;
                Some(SocketAddr::new(self.addr.ip(), port))
            }
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
                if session.requests.has_asked(kind, now) {
                    Ok(())
                } else {
                    Err(Fault::Unsolicited(kind))
                }
            }
            (Phase::Established(_), _) => Ok(()),
        }
    }

    /// Whether it speaks our extension, and we do with it.
    pub(crate) fn is_extended(&self) -> bool {
        self.session().is_some_and(Session::is_extended)
    }

    /// Whether frames of this kind mean something from it.
    pub(crate) fn speaks(&self, kind: Kind) -> bool {
        !kind.is_extension() || self.is_extended()
    }

    /// Passes over the frame that is being assembled if its kind means nothing from this peer.
    pub(crate) fn pass_over_unspoken(&mut self) {
        let kind = self.decoder.assembling().map(|(kind, ..)| kind);
        if kind.is_some_and(|kind| !self.speaks(kind)) {
            self.decoder.skip_rest();
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
        self.head_seen = false;
    }

    /// The header of the partial frame is whole, and says how long the frame is.
    pub(crate) const fn promise_frame(&mut self, bytes: u64) {
        self.frame_bytes = bytes;
    }

    /// Since when we do not read it, if we do not.
    pub(crate) const fn paused_since(&self) -> Option<Instant> {
        self.paused_since
    }

    /// It is in the middle of a frame, or of what belongs to one.
    pub(crate) const fn is_mid_frame(&self) -> bool {
        !self.decoder.is_empty() || self.decoder.attachment_bytes_missing() > 0
    }

    /// It shows that it lives, while it has no way to answer a ping.
    pub(crate) const fn lives(&mut self, now: Instant) {
        self.last_heard = now;
        self.last_pong = now;
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
        self.last_pong = self.last_pong.after(pause).min(now);
        if let Some(session) = self.session_mut() {
            session.requests.progress.forgive(pause, now);
        }
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
            Phase::Established(_) => {
                let silent = self.last_heard.after(config.silence_timeout);
                silent.min(self.last_pong.after(pong_timeout(config)))
            }
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
                if now >= self.last_pong.after(pong_timeout(config)) {
                    return Some(Fault::NoPong(pong_timeout(config)));
                }
            }
        }
        let due = self.frame_deadline(config)?;
        (now >= due).then(|| Fault::FrameTimeout(now.since(self.frame_begun)))
    }

    fn frame_deadline(&self, config: &Config) -> Option<Instant> {
        if !self.is_mid_frame() {
            return None;
        }
        let transfer = Duration::from_millis(self.frame_bytes * 1000 / FRAME_RATE_MIN);
        Some(self.frame_begun.after(config.frame_timeout).after(transfer))
    }

    /// It answered a ping.
    pub(crate) fn on_pong(&mut self, now: Instant, tip: ChainTip) {
        let Some(session) = self.session_mut() else { return };
        session.agreement.tip = tip;
        session.on_pong(now);
        self.last_pong = now;
    }

    /// What is to be known of it when somebody has to make room; nothing before the handshake.
    pub(crate) fn candidate(
        &self,
        conn: ConnId,
        now: Instant,
        group: Group,
        discouraged: bool,
        kept: bool,
    ) -> Option<Candidate> {
        let session = self.session()?;
        Some(Candidate {
            conn,
            group,
            ping: session.nearness(),
            age: now.since(self.since),
            last_block: session.last_block.map(|at| now.since(at)),
            last_transaction: session.last_transaction.map(|at| now.since(at)),
            discouraged,
            kept: kept || session.requests.has_archive(),
        })
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

impl Session {
    pub(crate) fn new(agreement: Agreement, slot: Option<PeerSlot>, next_ping: Instant) -> Self {
        Self {
            agreement,
            slot,
            next_ping,
            pinged: None,
            awaits_pong: false,
            ping: None,
            ping_min: None,
            pings: 0,
            last_block: None,
            last_transaction: None,
            addresses_heard: None,
            addresses_told: false,
            requests: Requests::default(),
        }
    }

    /// Whether both sides speak Molva's own messages.
    pub(crate) fn is_extended(&self) -> bool {
        self.agreement.capabilities.contains(Capabilities::EXTENSION)
    }

    /// The pace of all that goes to this peer: none for one of ours, which does not count messages
    /// as grin does.
    pub(crate) fn pace(&self, grin: Option<Rate>) -> Option<Rate> {
        grin.filter(|_| !self.is_extended())
    }

    /// Whether a message that may be left out goes to this peer now: within its pace, and not
    /// behind an archive, where it would grow old.
    pub(crate) fn admits(&mut self, grin: Option<Rate>, now: Instant) -> bool {
        let pace = self.pace(grin);
        !self.requests.sends_archive() && pace.is_none_or(|pace| self.requests.take_pace(pace, now))
    }

    /// A ping leaves now; the next one is due a period later.
    pub(crate) const fn pinged(&mut self, now: Instant, period: Duration) {
        self.pinged = Some(now);
        self.awaits_pong = true;
        self.next_ping = now.after(period);
    }

    /// Whether a ping of ours rides with the pong that leaves now: not if one left less than a
    /// tenth of a period ago.
    pub(crate) fn pings_along(&self, now: Instant, period: Duration) -> bool {
        self.pinged.is_none_or(|at| now.since(at) >= period / 10)
    }

    /// The peer pings, too, and our ping left with the pong or just before. So the next is due a
    /// little later than a period: it rides with the pong to the peer's next. The margin is above
    /// [`Self::pings_along`]'s, or a ping that left just before the peer's would do so for ever;
    /// but where silence is not borne for much longer than a period, it is not stretched.
    pub(crate) fn waits_for_its_ping(&mut self, config: &Config) {
        let period = config.ping_period;
        let borne = config.silence_timeout.saturating_sub(period).saturating_sub(SLOT * 2);
        let margin = (period * 3 / 20).min(borne / 2);
        self.next_ping = self.pinged.map_or(self.next_ping, |at| at.after(period + margin));
    }

    /// A pong names no ping. Whoever scatters some may meet one that has just left, and seem near;
    /// so the first that no ping waits for undoes what was measured.
    fn on_pong(&mut self, now: Instant) {
        let awaited = std::mem::take(&mut self.awaits_pong);
        let Some(sent) = self.pinged.filter(|_| awaited) else {
            (self.ping_min, self.pings) = (None, 0);
            return;
        };
        let ping = now.since(sent);
        self.ping = Some(ping);
        self.ping_min = Some(self.ping_min.map_or(ping, |min| min.min(ping)));
        self.pings = self.pings.saturating_add(1);
    }

    /// The smallest round trip, once there were [`PINGS_MIN`].
    fn nearness(&self) -> Option<Duration> {
        self.ping_min.filter(|_| self.pings >= PINGS_MIN)
    }

    /// The chain took a payload that came from here. A verdict and no mere delivery: what protects
    /// from eviction must not be had for junk.
    pub(crate) const fn brought(&mut self, kind: Kind, now: Instant) {
        if matches!(kind, Kind::Transaction | Kind::StemTransaction) {
            self.last_transaction = Some(now);
        } else {
            self.last_block = Some(now);
        }
    }
}

/// Round trips of a peer that must have been measured before its nearness counts as a merit: one
/// may be luck.
const PINGS_MIN: u32 = 2;

/// How many times [`Config::silence_timeout`] a peer may leave all our pings unanswered while other
/// bytes come from it. grin drops a pong when a hundred messages wait for its peer, and it sends
/// seven a second: with twenty to say, two pongs of three are lost, and six in a row now and then
/// (0.09), but not the sixty of ten minutes.
const PONG_PATIENCE: u32 = 10;

/// How long a peer may leave our pings unanswered, whatever else it sends.
fn pong_timeout(config: &Config) -> Duration {
    config.silence_timeout.saturating_mul(PONG_PATIENCE)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_before_it_is_asked_has_no_merit_of_nearness() {
        let agreement = Agreement {
            version: 1_000,
            capabilities: Capabilities::UNKNOWN,
            user_agent: "a test".into(),
            tip: ChainTip::default(),
            listening_port: None,
        };
        let mut session = Session::new(agreement, None, Instant::START);
        let at = |millis| Instant::START.after(Duration::from_millis(millis));
        let ping = |session: &mut Session, millis, trip| {
            session.pinged(at(millis), Duration::from_secs(10));
            session.on_pong(at(millis + trip));
            session.nearness().map(|ping| ping.as_millis())
        };
        assert_eq!(ping(&mut session, 0, 20), None, "one may be luck");
        assert_eq!(ping(&mut session, 100, 30), Some(20));
        session.on_pong(at(200));
        assert_eq!(session.nearness(), None);
        assert_eq!(ping(&mut session, 300, 0), None);
        assert_eq!(ping(&mut session, 400, 40), Some(0));
    }
}
