//! Envelopes: bodies that come packed, behind their ids. The workers of the bridge open them on the
//! way to the chain, and compare what they hold with what they say.
//!
//! Until then the id is the sender's word. One envelope of an id is taken unasked, and others are
//! duplicates, whose senders are known to have it: if the first held something else its sender
//! goes, and the id may come again, or be fetched from them.

use std::collections::VecDeque;

use codec::{
    Context, Decode, Envelope, FRAME_HEADER_BYTES, Frame, FrameDecoder, Hash, Kind, Limits,
    Payload, Reader,
};

use crate::chain::{Freshness, Source, ToChain};
use crate::config::BLOCKS_WANTED_MAX;
use crate::endpoint::Endpoint;
use crate::event::{ConnId, Credit};
use crate::fault::Fault;
use crate::peer::Peer;
use crate::requests::Wanted;
use crate::seen::Fingerprint;

/// Answers in envelopes that the workers may still be opening: as many as blocks may be wanted. Of
/// an older one that turns out to be bad, the chain does not hear.
const OPENING_MAX: usize = BLOCKS_WANTED_MAX;

/// Answers that went to the chain in envelopes, the newest last.
pub(crate) type Opening = VecDeque<(ConnId, Kind, Hash)>;

impl Endpoint {
    /// An envelope is here, whole. `false`: no credit, not consumed.
    pub(crate) fn on_packed(
        &mut self,
        conn: ConnId,
        frame: Frame<'_>,
        credit: &mut Credit,
    ) -> Result<bool, Fault> {
        // The layout is the same in all versions.
        let context = Context { version: 0, network: &self.config.network };
        let Envelope { kind, id, plain_bytes, .. } =
            Envelope::decode(&mut Reader::new(frame.body()), &context)
                .map_err(|error| Fault::Malformed { kind: Kind::Packed, error })?;
        let (bytes, now) = (frame.bytes().len(), self.now);
        let Some(peer) = self.peers.get(conn) else { return Ok(true) };
        peer.admits(kind, now)?;
        let awaited = peer.session().is_some_and(|session| session.requests.has_asked(kind, now));
        let known = self.knows(kind, id);
        if known && !awaited {
            self.on_known(conn, kind, id, bytes);
            return Ok(true);
        }
        let room = room(bytes, plain_bytes);
        if !credit.allows(room) {
            return Ok(false);
        }
        let asked = self.requests_mut(conn).is_some_and(|requests| {
            // Which segment it is, the envelope does not say.
            let answer = || if kind.is_relay() { Wanted::Id(id) } else { Wanted::Any };
            requests.answered(kind, now, true, answer, |_| false)
        });
        if !asked {
            if !kind.is_relay() {
                return Err(Fault::Unsolicited(kind));
            }
            if known {
                self.on_known(conn, kind, id, bytes);
                return Ok(true);
            }
            if !self.may_unpack(conn, room) {
                self.counts.envelopes_passed_over += 1;
                return Ok(true);
            }
        }
        self.take_packed(conn, frame, kind, id, asked, credit);
        Ok(true)
    }

    /// One that was asked for, or that is new.
    fn take_packed(
        &mut self,
        conn: ConnId,
        frame: Frame<'_>,
        kind: Kind,
        id: Hash,
        asked: bool,
        credit: &mut Credit,
    ) {
        let network = &self.config.network;
        let Some(from) = self.source(conn) else { return };
        let (mut payload, mut freshness);
        if kind.is_relay() {
            let print = self.envelope_print(kind, id);
            let known = self.relay.lookup(print);
            let slot = self.peers.get(conn).and_then(Peer::session).and_then(|it| it.slot);
            let bytes = frame.bytes().len();
            self.counts.note_payload(kind, bytes, known.is_some());
            (payload, freshness) = self.relay.accept(print, known, slot, frame, network);
            self.note_holder(conn, kind, id);
            if !asked {
                self.on_envelope(conn, kind, id);
            }
        } else {
            (payload, freshness) = (Payload::from_frame(network, frame), Freshness::Requested);
        }
        if asked {
            freshness = Freshness::Requested;
            if self.opening.len() == OPENING_MAX {
                self.opening.pop_front();
            }
            self.opening.push_back((conn, kind, id));
            self.on_fetched(conn, &payload);
            let Some(answer) = self.on_answer(conn, payload) else { return };
            payload = answer;
        }
        self.hand_over(ToChain::Payload { from, payload, freshness }, credit);
    }

    /// An envelope that the peer need not have sent.
    fn on_known(&mut self, conn: ConnId, kind: Kind, id: Hash, bytes: usize) {
        self.count_duplicate(conn, kind, bytes);
        self.note_holder(conn, kind, id);
        if !self.knows_body(kind, id) {
            self.on_envelope(conn, kind, id); // the first one may not hold it
        }
    }

    /// Whether one more envelope of the peer may be opened unasked. One that is begun is opened
    /// whole: so there is none that is too long for any rate.
    fn may_unpack(&mut self, conn: ConnId, bytes: usize) -> bool {
        let (rate, now) = (self.config.rates.unpacking, self.now);
        let Some(requests) = self.requests_mut(conn) else { return false };
        let bucket = &mut requests.account_mut().unpacking;
        let may = bucket.ready_at(rate, now) == now;
        if may {
            bucket.charge(bytes as u64, rate, now);
        }
        may
    }

    /// Whether this body came and was not refused: whole, or in an envelope.
    fn knows(&self, kind: Kind, id: Hash) -> bool {
        kind.is_relay()
            && (self.relay.lookup(self.envelope_print(kind, id)).is_some()
                || self.knows_body(kind, id))
    }

    /// What an envelope is remembered by: a frame that cannot be, of a length beyond all limits.
    fn envelope_print(&self, kind: Kind, id: Hash) -> Fingerprint {
        let mut name = [0; 36];
        name[..2].copy_from_slice(&self.config.network.magic);
        (name[2], name[3]) = (Kind::Packed as u8, kind as u8);
        name[4..].copy_from_slice(&id.0);
        self.relay.fingerprint(&name)
    }

    /// What came in an envelope may come again.
    pub(crate) fn forget_envelope(&mut self, payload: &Payload) {
        if let Some((kind, id, _)) = payload.packed().and_then(Payload::envelope) {
            self.relay.forget_print(self.envelope_print(kind, id));
        }
    }

    /// The envelope whose first bytes a peer has sent, if it is one that must not come: nothing
    /// more of it is stored then.
    pub(crate) fn check_packed_head(&self, conn: ConnId) -> Result<(), Fault> {
        let Some(peer) = self.peers.get(conn) else { return Ok(()) };
        if !matches!(peer.decoder.assembling(), Some((Kind::Packed, ..))) {
            return Ok(());
        }
        let context = Context { version: 0, network: &self.config.network };
        let head = Envelope::peek(peer.decoder.body_so_far(), &context)
            .map_err(|error| Fault::Malformed { kind: Kind::Packed, error })?;
        head.map_or(Ok(()), |head| peer.admits(head.kind, self.now))
    }

    /// What is sent to this peer for a payload: its envelope, if there is one and the peer opens
    /// such.
    pub(crate) fn dressed(&self, conn: ConnId, payload: Payload) -> Payload {
        let opens = self.peers.get(conn).is_some_and(Peer::is_extended);
        match payload.packed().filter(|_| opens) {
            Some(packed) => packed.clone(),
            None => payload,
        }
    }

    /// The workers could not open it, or it held something else. If it was an answer, and nothing
    /// else is, the chain hears that none will come.
    pub(crate) fn on_bad_envelope(&mut self, from: Source, kind: Kind, id: Hash) {
        self.relay.forget_print(self.envelope_print(kind, id));
        let named = (from.conn, kind, id);
        let asked = self.opening.iter().position(|answer| *answer == named);
        let was_asked = asked.and_then(|index| self.opening.remove(index)).is_some();
        if kind == Kind::Headers && was_asked {
            self.tell_later(ToChain::NoHeaders);
        }
        self.on_lie(from.conn, kind, id, was_asked);
        self.on_fault_of(from, &Fault::BadEnvelope { kind, id });
    }
}

/// Room on the lane that the frame which is being assembled takes when it is whole with these
/// bytes: that of what it holds, if it is an envelope.
pub(crate) fn room_of(decoder: &FrameDecoder, rest: &[u8], limits: &Limits) -> usize {
    let Some((kind, _, total)) = decoder.assembling() else { return FRAME_HEADER_BYTES };
    if kind != Kind::Packed {
        return total;
    }
    let declared = decoder.body_so_far().iter().chain(rest).skip(2).take(4);
    let plain_bytes = declared.fold(0, |sum: u32, byte| sum << 8 | u32::from(*byte));
    // One that declares more is refused when it is whole, for which no room may be lacking.
    room(total, plain_bytes).min(limits.frame_bytes_max() as usize)
}

/// Room on the lane for an envelope of so many bytes: see [`ToChain::bytes`].
fn room(bytes: usize, plain_bytes: u32) -> usize {
    bytes.max(FRAME_HEADER_BYTES + plain_bytes as usize)
}
