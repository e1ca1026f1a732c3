//! Bytes from a peer: cut, fingerprint, touch, then handle.
//!
//! A batch of frames is cut from the lent bytes and the table slots of their fingerprints are
//! loaded in a first pass, so that the memory misses overlap; then each frame is handled in order.
//! A fault at one frame discards those behind it. A frame for which there is no credit is not
//! consumed, and nothing behind it.

use codec::{
    Context, Decode, FRAME_HEADER_BYTES, Frame, FrameHeader, Hash, Kind, Message, Network, Payload,
    Reader, SegmentId, Split, split,
};

use crate::assembly::Progress;
use crate::chain::{Freshness, ToChain};
use crate::counts::Counts;
use crate::endpoint::Endpoint;
use crate::envelopes::room_of;
use crate::event::{ConnId, Credit};
use crate::fault::Fault;
use crate::peer::Peer;
use crate::requests::Wanted;
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
        self.note_credit(&credit);
        let mut rest = bytes;
        let taken = self.take_in(conn, &mut rest, &mut credit);
        let consumed = bytes.len() - rest.len();
        let mut assembling = false;
        self.counts.bytes_received += consumed as u64;
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.received.bytes += consumed as u64;
            self.counts.assembly_bytes += peer.decoder.buffered_bytes() as u64;
            if let Some((_, here, _)) = peer.decoder.assembling() {
                assembling = true;
                if let Some(session) = peer.session_mut() {
                    session.requests.progress.note(self.now, here);
                }
            }
        }
        let result = taken.and_then(|()| {
            if assembling {
                self.check_packed_head(conn)?;
                self.on_body_begins(conn);
            }
            Ok(())
        });
        match result {
            Ok(()) => {
                self.bound_assembly();
                self.serve_with(&mut credit);
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
        while self.take_pieces(conn, rest, credit) && !rest.is_empty() && credit.frames > 0 {
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
            frame = frame.filter(|frame| peer.speaks(frame.kind())); // else unknown, and empty
            *rest = tail;
            peer.pass_over_unspoken();
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
            let room = room_of(&peer.decoder, rest, &config.network.limits);
            if completes && !(credit.allows(room) && credit.frames > 0) {
                return Ok(());
            }
        }
        if frame.is_none() && !peer.decoder.is_empty() {
            let skipping = peer.decoder.is_skipping();
            frame = peer.decoder.resume(rest, &config.network)?;
            if skipping && peer.decoder.is_empty() {
                on_passed_over(peer, counts, credit);
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
                Ok(Split::Whole(kind, frame)) => (self.spoken(conn, kind), frame.len()),
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
            match kind {
                Some(Kind::TxHashSetArchive) => break, // what follows is no frame
                Some(Kind::Hand | Kind::Shake) => break, // and what that means, the greeting says
                _ => {}
            }
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
        let Self { peers, relay, counts, now, .. } = self;
        let Some(peer) = peers.get_mut(conn) else { return 0 };
        let idle = peer.session().filter(|session| !session.requests.awaits(*now));
        let Some(slot) = idle.map(|session| session.slot) else { return 0 };
        let (mut frames, mut bytes) = (0, 0);
        for cut in cuts {
            let Some(sequence) = cut.known else { break };
            relay.note(slot, sequence);
            if let Some(kind) = cut.kind {
                counts.note_payload(kind, cut.frame.len(), true);
            }
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
        if let Some(session) = peer.session_mut() {
            session.requests.progress = Progress::begin(now);
        }
        if let Some(header) = header {
            match Kind::from_byte(header.kind).filter(|kind| peer.speaks(*kind)) {
                Some(kind) => peer.admits(kind, now)?,
                None => peer.admits_unknown()?,
            }
            peer.promise_frame(header.frame_bytes() as u64);
        }
        peer.decoder.absorb(tail, &self.config.network)?;
        peer.pass_over_unspoken();
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
        let small = is_small(kind);
        let consumed = if kind.is_relay() {
            self.on_payload(conn, frame, print, credit)?
        } else if kind == Kind::Packed {
            self.on_packed(conn, frame, credit)?
        } else if small && !self.admits_message(conn)? {
            true // passed over
        } else if is_opaque_to_us(kind) {
            self.on_untracked_payload(conn, frame, credit)?
        } else {
            let consumed = self.on_control(conn, kind, frame.body(), credit)?;
            if consumed && small {
                self.charge_message(conn);
            }
            consumed
        };
        if consumed {
            credit.frames -= 1;
            self.counts.frames_received += 1;
            self.counts.pings_received += u64::from(matches!(kind, Kind::Ping | Kind::Pong));
            if let Some(peer) = self.peers.get_mut(conn) {
                peer.received.frames += 1;
            }
        }
        Ok(consumed)
    }

    /// A message that is for us, or that we read for the chain.
    fn on_control(
        &mut self,
        conn: ConnId,
        kind: Kind,
        body: &[u8],
        credit: &mut Credit,
    ) -> Result<bool, Fault> {
        let context = Context { version: self.version(conn), network: &self.config.network };
        let message = Message::decode(kind, body, &context)
            .map_err(|error| Fault::Malformed { kind, error })?;
        if kind == Kind::TxHashSetArchive {
            if !credit.allows(0) {
                return Ok(false);
            }
            self.take_answer(conn, kind, body)?;
        }
        self.on_message(conn, &message, credit)
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
        let awaited = session.requests.has_asked(kind, *now);
        if let (Some(sequence), false) = (known, awaited) {
            self.on_duplicate(conn, kind, sequence, frame.bytes().len());
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
    fn on_duplicate(&mut self, conn: ConnId, kind: Kind, sequence: Sequence, bytes: usize) {
        self.count_duplicate(conn, kind, bytes);
        self.relay.note(self.slot_of(conn), sequence);
    }

    /// A peer sent what is here already.
    pub(crate) fn count_duplicate(&mut self, conn: ConnId, kind: Kind, bytes: usize) {
        self.counts.duplicates += 1;
        self.counts.duplicate_bytes += bytes as u64;
        self.counts.note_payload(kind, bytes, true);
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.received.duplicates += 1;
        }
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
        let Self { peers, relay, config, counts, now, .. } = self;
        let network = &config.network;
        let Some(session) = peers.get_mut(conn).and_then(Peer::session_mut) else { return };
        let kind = frame.kind();
        let answer = || answer(kind, frame.body(), network);
        let names = |id| has_kernel(kind, frame.body(), session.agreement.version, id, network);
        let asked = session.requests.answered(kind, *now, is_opaque(network), answer, names);
        if let (Some(sequence), false) = (known, asked) {
            return self.on_duplicate(conn, kind, sequence, frame.bytes().len());
        }
        counts.note_payload(kind, frame.bytes().len(), known.is_some());
        let (payload, seen) = relay.accept(print, known, session.slot, frame, network);
        let freshness = if asked { Freshness::Requested } else { seen };
        let Some(from) = self.source(conn) else { return };
        let payload = if asked {
            self.on_fetched(conn, &payload);
            let Some(payload) = self.on_answer(conn, payload) else { return };
            payload
        } else {
            self.on_arrival(conn, payload, print)
        };
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
        codec::check(kind, frame.body(), self.version(conn), &self.config.network)
            .map_err(|error| Fault::Malformed { kind, error })?;
        let freshness = if kind == Kind::StemTransaction {
            Freshness::New
        } else {
            self.take_answer(conn, kind, frame.body())?;
            Freshness::Requested
        };
        let mut payload = Payload::from_frame(&self.config.network, frame);
        if kind == Kind::StemTransaction && !self.on_stem(&payload) {
            return Ok(true);
        }
        if kind == Kind::Headers {
            let Some(headers) = self.on_answer(conn, payload) else { return Ok(true) };
            payload = headers;
        }
        let Some(from) = self.source(conn) else { return Ok(true) };
        Ok(self.hand_over(ToChain::Payload { from, payload, freshness }, credit))
    }

    /// Takes the request that an answer of this kind, which is only ever one, is for.
    fn take_answer(&mut self, conn: ConnId, kind: Kind, body: &[u8]) -> Result<(), Fault> {
        let Self { peers, config, now, .. } = self;
        let network = &config.network;
        let session = peers.get_mut(conn).and_then(Peer::session_mut);
        let answered = session.is_some_and(|session| {
            let answer = || answer(kind, body, network);
            session.requests.answered(kind, *now, is_opaque(network), answer, |_| false)
        });
        if answered { Ok(()) } else { Err(Fault::Unsolicited(kind)) }
    }

    /// The kind, if it is one that this peer may use; else it is unknown.
    fn spoken(&self, conn: ConnId, kind: Kind) -> Option<Kind> {
        let may = !kind.is_extension() || self.peers.get(conn).is_some_and(|it| it.speaks(kind));
        may.then_some(kind)
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
}

/// A frame that was not kept has been passed over: of an unknown kind, or one that we have.
fn on_passed_over(peer: &mut Peer, counts: &mut Counts, credit: &mut Credit) {
    on_unknown(counts, credit);
    if peer.takes_refused() {
        counts.unknown_frames -= 1;
        peer.received.frames += 1;
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
    kind.is_chain_data() && !kind.is_relay()
}

/// Messages that cost the sender next to nothing, and us a look, an event or an answer.
const fn is_small(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Ping
            | Kind::Pong
            | Kind::GetPeerAddrs
            | Kind::PeerAddrs
            | Kind::GetHeaders
            | Kind::GetBlock
            | Kind::GetCompactBlock
            | Kind::TxHashSetRequest
            | Kind::GetTransaction
            | Kind::TransactionKernel
            | Kind::GetOutputBitmapSegment
            | Kind::GetOutputSegment
            | Kind::GetRangeProofSegment
            | Kind::GetKernelSegment
            | Kind::Have
            | Kind::Coming
            | Kind::Want
            | Kind::NotFound
            | Kind::GetBlocks
            | Kind::GetPool
            | Kind::PoolIds
            | Kind::WantPool
            | Kind::HyParView
            | Kind::Plumtree
            | Kind::Sampling
    )
}

fn is_opaque(network: &Network) -> bool {
    network.format.is_opaque()
}

/// Whether a transaction has a kernel of this id, and so may have been asked for by it.
fn has_kernel(kind: Kind, body: &[u8], version: u32, id: Hash, network: &Network) -> bool {
    if kind != Kind::Transaction || is_opaque(network) {
        return false;
    }
    match Message::decode(kind, body, &Context { version, network }) {
        Ok(Message::Transaction(it)) => it.body.kernels.iter().any(|kernel| kernel.hash() == id),
        _ => false,
    }
}

/// What an answer says that it is.
fn answer(kind: Kind, body: &[u8], network: &Network) -> Wanted {
    match kind {
        Kind::Headers | Kind::TxHashSetArchive => Wanted::Any,
        Kind::OutputBitmapSegment
        | Kind::OutputSegment
        | Kind::RangeProofSegment
        | Kind::KernelSegment => {
            // Its layout does not depend on the version.
            let context = Context { version: 0, network };
            SegmentId::decode(&mut Reader::new(body), &context).map_or(Wanted::Any, Wanted::Segment)
        }
        _ => Wanted::Id(network.format.id(kind, body, &network.limits)),
    }
}
