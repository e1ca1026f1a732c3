//! Bytes from a peer: cut, fingerprint, touch, then handle.
//!
//! A batch of frames is cut from the lent bytes and the table slots of their fingerprints are
//! loaded in a first pass, so that the memory misses overlap; then each frame is handled in order.
//! A fault at one frame discards those behind it. A frame for which there is no credit is not
//! consumed, and nothing behind it.

use codec::{Context, Frame, Kind, Message, Payload, Split, split};

use crate::chain::{Freshness, ToChain};
use crate::endpoint::Endpoint;
use crate::event::{ConnId, Credit};
use crate::fault::Fault;
use crate::peer::Peer;
use crate::seen::Fingerprint;

/// Frames of one batch. Beyond 32 overlapping misses the memory gains nothing.
const BATCH: usize = 32;

/// One frame, cut from lent bytes. Without a kind it is of an unknown one.
#[derive(Clone, Copy)]
struct Cut<'a> {
    kind: Option<Kind>,
    frame: &'a [u8],
    print: Fingerprint,
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
        let buffered = peer.decoder.buffered_bytes() as u64;
        let mut rest = bytes;
        let result = self.take_in(conn, &mut rest, &mut credit);
        let consumed = bytes.len() - rest.len();
        self.counts.bytes_received += consumed as u64;
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.received.bytes += consumed as u64;
            let now_buffered = peer.decoder.buffered_bytes() as u64;
            self.counts.assembly_bytes = self.counts.assembly_bytes + now_buffered - buffered;
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
        let Self { peers, config, counts, .. } = self;
        let Some(peer) = peers.get_mut(conn) else { return Ok(()) };
        // First the header alone: it decides whether the body may come.
        let missing = peer.decoder.header_bytes_missing().min(rest.len());
        let mut frame = None;
        if missing > 0 {
            let (mut head, tail) = rest.split_at(missing);
            frame = peer.decoder.resume(&mut head, &config.network)?;
            *rest = tail;
            if peer.decoder.is_empty() && frame.is_none() {
                counts.unknown_frames += 1; // unknown and empty
                counts.frames_received += 1;
                return Ok(());
            }
        }
        if let Some((kind, here, total)) = peer.decoder.assembling() {
            if missing > 0 {
                peer.admits(kind)?;
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
                counts.unknown_frames += 1;
                counts.frames_received += 1;
            }
        }
        let Some(frame) = frame else { return Ok(()) };
        peer.admits(frame.kind())?;
        let print = self.relay.fingerprint(frame.bytes());
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
        let mut cuts = [Cut { kind: None, frame: &[], print: Fingerprint::default() }; BATCH];
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
            let print = match kind {
                Some(kind) if kind.is_relay() => self.relay.fingerprint(frame),
                _ => Fingerprint::default(),
            };
            cuts[count] = Cut { kind, frame, print };
            count += 1;
            input = behind;
        }
        self.touch(&cuts[..count]);
        for cut in &cuts[..count] {
            if !self.on_cut(conn, cut, credit)? {
                return Ok(End::Done);
            }
            *rest = &rest[cut.frame.len()..];
        }
        match ended {
            None => Ok(End::More),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(Split::Partial(_) | Split::Unknown(_))) => {
                self.begin_frame(conn, std::mem::take(rest))?;
                Ok(End::Done)
            }
            Some(Ok(Split::Whole(..))) => unreachable!("whole frames are cut"),
        }
    }

    /// First pass: plain loads, so that the misses overlap.
    fn touch(&self, cuts: &[Cut<'_>]) {
        let mut prints = [Fingerprint::default(); BATCH];
        let mut count = 0;
        for cut in cuts.iter().filter(|cut| cut.kind.is_some_and(Kind::is_relay)) {
            prints[count] = cut.print;
            count += 1;
        }
        self.relay.touch(&prints[..count]);
    }

    #[inline]
    fn on_cut(
        &mut self,
        conn: ConnId,
        cut: &Cut<'_>,
        credit: &mut Credit,
    ) -> Result<bool, Fault> {
        let Some(kind) = cut.kind else {
            self.counts.unknown_frames += 1;
            self.counts.frames_received += 1;
            credit.frames -= 1;
            return Ok(true);
        };
        let Some(peer) = self.peers.get(conn) else { return Ok(true) };
        peer.admits(kind)?;
        self.on_frame(conn, Frame::Borrowed(kind, cut.frame), cut.print, credit)
    }

    /// A partial frame begins: its header, once whole, decides whether the body may come.
    fn begin_frame(
        &mut self,
        conn: ConnId,
        tail: &[u8],
    ) -> Result<(), Fault> {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(conn) else { return Ok(()) };
        peer.begin_frame(now);
        peer.decoder.absorb(tail, &self.config.network)?;
        match peer.decoder.assembling() {
            Some((kind, ..)) => peer.admits(kind),
            None => Ok(()),
        }
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
            let network = self.config.network.clone();
            let context = Context { version: self.version(conn), network: &network };
            let message = Message::decode(kind, frame.body(), &context)
                .map_err(|error| Fault::Malformed { kind, error })?;
            self.on_message(conn, &message, credit)?
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
        let Self { peers, relay, counts, config, .. } = self;
        let Some(peer) = peers.get_mut(conn) else { return Ok(true) };
        let Some(session) = peer.session_mut() else {
            return Err(Fault::UnexpectedKind(frame.kind()));
        };
        let (kind, slot) = (frame.kind(), session.slot);
        let awaited = session.has_asked(kind);
        if let (Some(sequence), false) = (relay.lookup(print), awaited) {
            relay.note(slot, sequence);
            counts.duplicates += 1;
            counts.duplicate_bytes += frame.bytes().len() as u64;
            peer.received.duplicates += 1;
            return Ok(true);
        }
        if !credit.allows(frame.bytes().len()) {
            return Ok(false);
        }
        let network = &config.network;
        codec::check(kind, frame.body(), session.agreement.version, network)
            .map_err(|error| Fault::Malformed { kind, error })?;
        self.accept(conn, frame, print, awaited, credit);
        Ok(true)
    }

    /// A payload that is new, or that the chain may have asked for.
    fn accept(
        &mut self,
        conn: ConnId,
        frame: Frame<'_>,
        print: Fingerprint,
        awaited: bool,
        credit: &mut Credit,
    ) {
        let Self { peers, relay, counts, config, .. } = self;
        let network = &config.network;
        let Some(session) = peers.get_mut(conn).and_then(Peer::session_mut) else { return };
        let kind = frame.kind();
        let asked = awaited
            && session.answered(kind, || network.format.id(kind, frame.body(), &network.limits));
        if let (Some(sequence), false) = (relay.lookup(print), asked) {
            relay.note(session.slot, sequence);
            counts.duplicates += 1;
            counts.duplicate_bytes += frame.bytes().len() as u64;
            return;
        }
        let (payload, seen) = relay.accept(print, session.slot, frame, network);
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
            if !session.is_some_and(|session| session.answered(kind, id)) {
                return Err(Fault::Unsolicited(kind));
            }
            freshness = Freshness::Requested;
        }
        let payload = Payload::from_frame(&self.config.network, frame);
        let Some(from) = self.source(conn) else { return Ok(true) };
        Ok(self.hand_over(ToChain::Payload { from, payload, freshness }, credit))
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

/// Kinds whose body only the chain reads, and which are not deduplicated.
const fn is_opaque_to_us(kind: Kind) -> bool {
    matches!(kind, Kind::StemTransaction | Kind::Headers)
}
