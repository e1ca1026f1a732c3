//! Bytes from a peer: cut, fingerprint, touch, then handle.
//!
//! A batch of frames is cut from the lent bytes and the table slots of their fingerprints are
//! loaded in a first pass, so that the memory misses overlap; then each frame is handled in order.
//! A fault at one frame discards those behind it. A frame for which there is no credit is not
//! consumed, and nothing behind it.

use codec::{
    Context, DecodeError, FRAME_HEADER_BYTES, Frame, FrameHeader, Kind, Message, Payload, Split,
    split,
};

use crate::chain::{Freshness, ToChain};
use crate::endpoint::{Counts, Endpoint};
use crate::event::{ConnId, Credit};
use crate::fault::Fault;
use crate::peer::Peer;
use crate::seen::{Fingerprint, Sequence};

/// Frames of one batch. Beyond 32 overlapping misses the memory gains nothing.
const BATCH: usize = 32;

/// One frame, cut from lent bytes. Without a kind it is of an unknown one.
#[derive(Clone, Copy)]
struct Cut<'a> {
    kind: Option<Kind>,
    frame: &'a [u8],
    print: Fingerprint,
    /// The payload that it is a copy of.
    known: Option<Sequence>,
}

impl Cut<'_> {
    const EMPTY: Self = Self { kind: None, frame: &[], print: Fingerprint::NONE, known: None };
}

/// What a batch ended with.
enum End {
    /// All of it was consumed; more may follow.
    More,
    /// The credit is used up, or the rest is a partial frame and was stored.
    Done,
}

impl Endpoint {
    /// Takes in what a peer sent; answers how many bytes were consumed.
    pub(crate) fn on_received(&mut self, conn: ConnId, bytes: &[u8], mut credit: Credit) -> usize {
        let Some(peer) = self.peers.get_mut(conn) else { return bytes.len() };
        peer.heard(self.now);
        // Counted anew below, unless the peer is forgotten on the way: its decoder is empty then.
        self.counts.assembly_bytes -= peer.decoder.buffered_bytes() as u64;
        let mut rest = bytes;
        let result = self.take_in(conn, &mut rest, &mut credit);
        let consumed = bytes.len() - rest.len();
        self.counts.bytes_received += consumed as u64;
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.received.bytes += consumed as u64;
            self.counts.assembly_bytes += peer.decoder.buffered_bytes() as u64;
        }
        match result {
            Ok(()) => {
                self.bound_assembly();
                consumed
            }
            Err(fault) => {
                self.on_fault(conn, &fault);
                bytes.len()
            }
        }
    }

    fn take_in(
        &mut self,
        conn: ConnId,
        rest: &mut &[u8],
        credit: &mut Credit,
    ) -> Result<(), Fault> {
        self.resume_frame(conn, rest, credit)?;
        while !rest.is_empty() && credit.frames > 0 {
            // A message may have closed the peer: what it sent after that is of no interest.
            let Some(peer) = self.peers.get(conn) else {
                *rest = &[];
                return Ok(());
            };
            if !peer.decoder.is_empty() {
                return Ok(());
            }
            if let End::Done = self.take_batch(conn, rest, credit)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Goes on with the frame that the last bytes ended in the middle of.
    fn resume_frame(
        &mut self,
        conn: ConnId,
        rest: &mut &[u8],
        credit: &mut Credit,
    ) -> Result<(), Fault> {
        let Self { peers, config, counts, now, .. } = self;
        let Some(peer) = peers.get_mut(conn) else { return Ok(()) };
        // First the header alone: it decides whether the body may come.
        let missing = peer.decoder.header_bytes_missing();
        let mut frame = None;
        if missing > 0 {
            // Without a body it completes the frame, which takes the credit of one.
            let completes = rest.len() >= missing;
            if completes && !(credit.allows(FRAME_HEADER_BYTES) && credit.frames > 0) {
                return Ok(());
            }
            let (mut head, tail) = rest.split_at(missing.min(rest.len()));
            frame = peer.decoder.resume(&mut head, &config.network)?;
            *rest = tail;
            peer.promise_frame(peer.decoder.frame_bytes_promised());
            if completes && frame.is_none() && peer.decoder.assembling().is_none() {
                peer.admits_unknown()?;
            }
            if peer.decoder.is_empty() && frame.is_none() {
                on_unknown(counts, credit); // and empty
                return Ok(());
            }
        }
        if let Some((kind, here, total)) = peer.decoder.assembling() {
            if missing > 0 {
                peer.admits(kind, *now)?;
            }
            let completes = rest.len() >= total - here;
            if completes && !(credit.allows(total) && credit.frames > 0) {
                return Ok(());
            }
        }
        if frame.is_none() && !peer.decoder.is_empty() {
            let skipping = peer.decoder.is_skipping();
            frame = peer.decoder.resume(rest, &config.network)?;
            if skipping && peer.decoder.is_empty() {
                on_unknown(counts, credit);
            }
        }
        let Some(frame) = frame else { return Ok(()) };
        peer.admits(frame.kind(), *now)?;
        let print = self.print_of(Some(frame.kind()), frame.bytes());
        let consumed = self.on_frame(conn, frame, print, credit)?;
        assert!(consumed, "the credit was checked before the frame was completed");
        Ok(())
    }

    fn take_batch(
        &mut self,
        conn: ConnId,
        rest: &mut &[u8],
        credit: &mut Credit,
    ) -> Result<End, Fault> {
        let mut cuts = [Cut::EMPTY; BATCH];
        let mut count = 0;
        let mut input = *rest;
        let mut ended = None;
        while count < BATCH.min(credit.frames as usize) && !input.is_empty() {
            let (kind, bytes) = match split(input, &self.config.network) {
                Ok(Split::Whole(kind, frame)) => (Some(kind), frame.len()),
                Ok(Split::Unknown(header)) if header.frame_bytes() <= input.len() => {
                    (None, header.frame_bytes())
                }
                other => {
                    ended = Some(other);
                    break;
                }
            };
            let (frame, behind) = input.split_at(bytes);
            let print = self.print_of(kind, frame);
            cuts[count] = Cut { kind, frame, print, known: None };
            count += 1;
            input = behind;
        }
        let mut cuts = &mut cuts[..count];
        self.look_up(cuts);
        while !cuts.is_empty() {
            let known = self.drop_known(conn, cuts, credit);
            let handled = known.max(1);
            if known == 0 && !self.on_cut(conn, &cuts[0], credit)? {
                return Ok(End::Done);
            }
            let bytes: usize = cuts[..handled].iter().map(|cut| cut.frame.len()).sum();
            *rest = &rest[bytes..];
            cuts = &mut cuts[handled..];
        }
        match ended {
            None => Ok(End::More),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(Split::Partial(header))) => {
                self.begin_frame(conn, header, std::mem::take(rest))?;
                Ok(End::Done)
            }
            Some(Ok(Split::Unknown(header))) => {
                self.begin_frame(conn, Some(header), std::mem::take(rest))?;
                Ok(End::Done)
            }
            Some(Ok(Split::Whole(..))) => unreachable!("whole frames are cut"),
        }
    }

    /// Loads the slots of all fingerprints, so that the misses overlap, then compares; and loads
    /// what remembering the new ones will need.
    fn look_up(&self, cuts: &mut [Cut<'_>]) {
        let mut prints = [Fingerprint::NONE; BATCH];
        let mut count = 0;
        for cut in cuts.iter().filter(|cut| cut.kind.is_some_and(Kind::is_relay)) {
            prints[count] = cut.print;
            count += 1;
        }
        self.relay.touch(&prints[..count]);
        let mut ahead = 0;
        for cut in cuts.iter_mut().filter(|cut| cut.kind.is_some_and(Kind::is_relay)) {
            cut.known = self.relay.lookup(cut.print);
            if cut.known.is_none() {
                self.relay.touch_new(cut.print, ahead);
                ahead += 1;
            }
        }
    }

    /// Duplicates at the front of a batch end here: a bit that the peer has them, and counts.
    /// Answers how many there were. None while an answer is awaited, which could be one of them.
    fn drop_known(&mut self, conn: ConnId, cuts: &[Cut<'_>], credit: &mut Credit) -> usize {
        let Self { peers, relay, counts, .. } = self;
        let Some(peer) = peers.get_mut(conn) else { return 0 };
        let Some(slot) =
            peer.session().filter(|session| !session.awaits()).map(|session| session.slot)
        else {
            return 0;
        };
        let (mut frames, mut bytes) = (0, 0);
        for cut in cuts {
            let Some(sequence) = cut.known else { break };
            relay.note(slot, sequence);
            frames += 1;
            bytes += cut.frame.len() as u64;
        }
        counts.duplicates += frames;
        counts.duplicate_bytes += bytes;
        counts.frames_received += frames;
        peer.received.frames += frames;
        peer.received.duplicates += frames;
        credit.frames -= frames as u32;
        frames as usize
    }

    #[inline]
    fn on_cut(&mut self, conn: ConnId, cut: &Cut<'_>, credit: &mut Credit) -> Result<bool, Fault> {
        let Some(peer) = self.peers.get(conn) else { return Ok(true) };
        let Some(kind) = cut.kind else {
            peer.admits_unknown()?;
            on_unknown(&mut self.counts, credit);
            return Ok(true);
        };
        peer.admits(kind, self.now)?;
        self.on_frame(conn, Frame::Borrowed(kind, cut.frame), cut.print, credit)
    }

    /// A partial frame begins: its header, once whole, decides whether the body may come.
    fn begin_frame(
        &mut self,
        conn: ConnId,
        header: Option<FrameHeader>,
        tail: &[u8],
    ) -> Result<(), Fault> {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(conn) else { return Ok(()) };
        peer.begin_frame(now);
        if let Some(header) = header {
            match Kind::from_byte(header.kind) {
                Some(kind) => peer.admits(kind, now)?,
                None => peer.admits_unknown()?,
            }
            peer.promise_frame(header.frame_bytes() as u64);
        }
        peer.decoder.absorb(tail, &self.config.network)?;
        self.schedule(conn);
        Ok(())
    }

    /// One whole frame that may come now. `false`: no credit, not consumed.
    #[inline]
    fn on_frame(
        &mut self,
        conn: ConnId,
        frame: Frame<'_>,
        print: Fingerprint,
        credit: &mut Credit,
    ) -> Result<bool, Fault> {
        let kind = frame.kind();
        let consumed = if kind.is_relay() {
            self.on_payload(conn, frame, print, credit)?
        } else if is_opaque_to_us(kind) {
            self.on_untracked_payload(conn, frame, credit)?
        } else {
            let network = &self.config.network;
            let context = Context { version: self.version(conn), network };
            match Message::decode(kind, frame.body(), &context) {
                Ok(message) => self.on_message(conn, &message, credit)?,
                // What we do not serve is no fault of who asks, and silence is an answer.
                Err(DecodeError::Unsupported(_)) => true,
                Err(error) => return Err(Fault::Malformed { kind, error }),
            }
        };
        if consumed {
            credit.frames -= 1;
            self.counts.frames_received += 1;
            if let Some(peer) = self.peers.get_mut(conn) {
                peer.received.frames += 1;
            }
        }
        Ok(consumed)
    }

    /// A payload that is relayed: known ones stop here, without a copy, an allocation or an event.
    #[inline]
    fn on_payload(
        &mut self,
        conn: ConnId,
        frame: Frame<'_>,
        print: Fingerprint,
        credit: &mut Credit,
    ) -> Result<bool, Fault> {
        let Self { peers, relay, config, now, .. } = self;
        let Some(peer) = peers.get(conn) else { return Ok(true) };
        let Some(session) = peer.session() else {
            return Err(Fault::UnexpectedKind(frame.kind()));
        };
        let kind = frame.kind();
        let known = relay.lookup(print);
        let awaited = session.has_asked(kind, *now);
        if let (Some(sequence), false) = (known, awaited) {
            self.on_duplicate(conn, sequence, frame.bytes().len());
            return Ok(true);
        }
        if !credit.allows(frame.bytes().len()) {
            return Ok(false);
        }
        let network = &config.network;
        codec::check(kind, frame.body(), session.agreement.version, network)
            .map_err(|error| Fault::Malformed { kind, error })?;
        self.accept(conn, frame, print, known, credit);
        Ok(true)
    }

    /// A payload that the peer need not have sent.
    fn on_duplicate(&mut self, conn: ConnId, sequence: Sequence, bytes: usize) {
        let Self { peers, relay, counts, .. } = self;
        counts.duplicates += 1;
        counts.duplicate_bytes += bytes as u64;
        let Some(peer) = peers.get_mut(conn) else { return };
        peer.received.duplicates += 1;
        relay.note(peer.session().and_then(|session| session.slot), sequence);
    }

    /// A payload that is new, or that the chain may have asked for.
    fn accept(
        &mut self,
        conn: ConnId,
        frame: Frame<'_>,
        print: Fingerprint,
        known: Option<Sequence>,
        credit: &mut Credit,
    ) {
        let Self { peers, relay, config, now, .. } = self;
        let network = &config.network;
        let Some(session) = peers.get_mut(conn).and_then(Peer::session_mut) else { return };
        let kind = frame.kind();
        let id = || network.format.id(kind, frame.body(), &network.limits);
        let asked = session.answered(kind, *now, id);
        if let (Some(sequence), false) = (known, asked) {
            return self.on_duplicate(conn, sequence, frame.bytes().len());
        }
        let (payload, seen) = relay.accept(print, known, session.slot, frame, network);
        let freshness = if asked { Freshness::Requested } else { seen };
        let Some(from) = self.source(conn) else { return };
        self.hand_over(ToChain::Payload { from, payload, freshness }, credit);
    }

    /// A payload that leaves no trace in what was seen: stem transactions, which others must not
    /// be able to probe for, and answers, which are never dropped.
    fn on_untracked_payload(
        &mut self,
        conn: ConnId,
        frame: Frame<'_>,
        credit: &mut Credit,
    ) -> Result<bool, Fault> {
        let kind = frame.kind();
        if !credit.allows(frame.bytes().len()) {
            return Ok(false);
        }
        let version = self.version(conn);
        let network = &self.config.network;
        let mut freshness = Freshness::New;
        if kind == Kind::StemTransaction {
            codec::check(kind, frame.body(), version, network)
                .map_err(|error| Fault::Malformed { kind, error })?;
        } else {
            let session = self.peers.get_mut(conn).and_then(Peer::session_mut);
            let id = || network.format.id(kind, frame.body(), &network.limits);
            if !session.is_some_and(|session| session.answered(kind, self.now, id)) {
                return Err(Fault::Unsolicited(kind));
            }
            freshness = Freshness::Requested;
        }
        let payload = Payload::from_frame(&self.config.network, frame);
        let Some(from) = self.source(conn) else { return Ok(true) };
        Ok(self.hand_over(ToChain::Payload { from, payload, freshness }, credit))
    }

    /// The fingerprint of what is relayed; of anything else nobody asks for one.
    fn print_of(&self, kind: Option<Kind>, frame: &[u8]) -> Fingerprint {
        match kind {
            Some(kind) if kind.is_relay() => self.relay.fingerprint(frame),
            _ => Fingerprint::NONE,
        }
    }

    fn version(&self, conn: ConnId) -> u32 {
        let session = self.peers.get(conn).and_then(Peer::session);
        session.map_or(0, |session| session.agreement.version)
    }

    /// Keeps the half-received frames of all peers within their memory: the one that has been at
    /// it longest gives way, since a hostile one is slow by nature.
    fn bound_assembly(&mut self) {
        while self.counts.assembly_bytes > self.config.assembly_bytes_max as u64 {
            let oldest = self
                .peers
                .iter()
                .filter(|(_, peer)| peer.decoder.buffered_bytes() > 0)
                .min_by_key(|(_, peer)| peer.frame_begun())
                .map(|(conn, _)| conn);
            let Some(conn) = oldest else { return };
            self.on_fault(conn, &Fault::AssemblyFull);
        }
    }
}

/// A frame of an unknown kind was passed over.
const fn on_unknown(counts: &mut Counts, credit: &mut Credit) {
    counts.unknown_frames += 1;
    counts.frames_received += 1;
    credit.frames = credit.frames.saturating_sub(1);
}

/// Kinds whose body only the chain reads, and which are not deduplicated.
const fn is_opaque_to_us(kind: Kind) -> bool {
    matches!(kind, Kind::StemTransaction | Kind::Headers)
}
