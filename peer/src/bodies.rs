//! Large bodies that begin: whom that is told, and which are refused at once.
//!
//! The first bytes of a body may say what it is: an envelope tells the id, a block begins with its
//! header. If that is here already, and the chain took it, the rest is passed over without being
//! kept. Else peers of ours hear that it is coming, and hold back what they would send us.

use std::time::Duration;

use codec::{
    Context, Envelope, FRAME_HEADER_BYTES, Item, Kind, Message, Offer, Payload, PayloadFormat,
    Records,
};

use crate::endpoint::{Endpoint, sealed};
use crate::event::{ConnId, Output, Recipients};
use crate::peer::Peer;
use crate::rates::Rate;
use crate::relaying::{class_of, item_of};

/// Words that we send to all peers together of what is coming. A body of any length can be begun
/// with a few bytes and any id: so there is a bound to what that makes us say. Guess: a block and
/// some large transactions a second, and more when it is busy.
const WORDS: Rate = Rate { amount: 8, per: Duration::from_secs(1), burst: 64 };

/// Bytes of a block at most in which its header is looked for: no header is as long.
const HEAD_BYTES_MAX: usize = 2_048;

/// What the bytes so far tell of a body.
enum Head {
    /// Nothing yet.
    Short,
    /// Nothing, and more of them will not help.
    Silent,
    /// What it is, and how many bytes it has when plain.
    Names(Item, u32),
}

impl Endpoint {
    /// Some are receiving these.
    pub(crate) fn on_coming(&mut self, conn: ConnId, offers: Records<'_, Offer>) {
        for offer in offers.iter() {
            let Some(item) = item_of(offer.item.kind, offer.item.id) else { continue };
            self.relaying.coming.heard(conn, Offer { item, ..offer }, self.now);
        }
    }

    /// The first bytes of a large body may be here. Called after every receive that ends within a
    /// frame.
    pub(crate) fn on_body_begins(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.get(conn) else { return };
        let Some((kind, _, total)) = peer.decoder.assembling() else { return };
        let large = total - FRAME_HEADER_BYTES > self.config.relay.unasked_bytes_max;
        let named = matches!(kind, Kind::Packed | Kind::Block | Kind::CompactBlock);
        if large && named && !peer.head_seen && self.announces() {
            self.look_at_head(conn, kind, total - FRAME_HEADER_BYTES);
        }
    }

    fn look_at_head(&mut self, conn: ConnId, kind: Kind, bytes: usize) {
        let Some(peer) = self.peers.get_mut(conn) else { return };
        let head = head(&self.config.network, kind, peer.decoder.body_so_far(), bytes);
        peer.head_seen = !matches!(head, Head::Short);
        let Head::Names(item, plain_bytes) = head else { return };
        if self.knows_body(item.kind, item.id) && !self.awaits(conn, item.kind) {
            self.refuse_body(conn, item, bytes + FRAME_HEADER_BYTES);
        } else {
            self.tell_coming(conn, Offer { item, bytes: plain_bytes });
        }
    }

    /// It was relayed already: nothing more of it is kept.
    fn refuse_body(&mut self, conn: ConnId, item: Item, frame_bytes: usize) {
        let Some(peer) = self.peers.get_mut(conn) else { return };
        self.counts.assembly_bytes -= peer.decoder.buffered_bytes() as u64;
        peer.decoder.skip_rest();
        peer.refuses_body = true;
        self.count_duplicate(conn, item.kind, frame_bytes);
        self.note_holder(conn, item.kind, item.id);
    }

    /// Tells peers of ours that this is on its way to us, once.
    fn tell_coming(&mut self, conn: ConnId, offer: Offer) {
        let item = item_of(offer.item.kind, offer.item.id);
        let (Some(item), Some(from)) = (item, self.source(conn)) else { return };
        if self.relaying.readers.len() < 2 || self.relay.id_row(&item).is_some() {
            return;
        }
        self.offers.offer(item, from, offer.bytes, self.now);
        self.left_behind();
        if !self.offers.comes(&item) || !self.relaying.words.take(1, WORDS, self.now) {
            return;
        }
        let have = |other: &ConnId| self.offers.announcers(&item).any(|conn| conn == *other);
        let to: Vec<ConnId> =
            self.relaying.readers.iter().copied().filter(|other| !have(other)).collect();
        if !to.is_empty() {
            let coming = Message::Coming(Records::new(std::slice::from_ref(&offer)));
            let payload = sealed(&self.config.network, &coming);
            self.outbox.push_back(Output::Send { to: Recipients::Many(to), payload });
        }
    }
}

/// What a body of this kind is, as its first bytes tell.
fn head(network: &codec::Network, kind: Kind, so_far: &[u8], bytes: usize) -> Head {
    let context = Context { version: 0, network };
    if kind == Kind::Packed {
        return match Envelope::peek(so_far, &context) {
            Ok(None) => Head::Short,
            Ok(Some(envelope)) if class_of(envelope.kind).is_some() => {
                let item = Item { kind: envelope.kind, id: envelope.id };
                Head::Names(item, envelope.plain_bytes)
            }
            Ok(Some(_)) | Err(_) => Head::Silent,
        };
    }
    if network.format == PayloadFormat::Opaque {
        return Head::Silent;
    }
    let front = &so_far[..so_far.len().min(HEAD_BYTES_MAX)];
    let header = Payload::seal(network, kind, front).ok().and_then(|part| part.header(network));
    match header {
        Some(header) => {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            Head::Names(Item { kind, id: header.id() }, bytes)
        }
        None if so_far.len() < HEAD_BYTES_MAX => Head::Short,
        None => Head::Silent,
    }
}

impl Peer {
    /// A body that was refused has been passed over.
    pub(crate) const fn takes_refused(&mut self) -> bool {
        std::mem::replace(&mut self.refuses_body, false)
    }
}
