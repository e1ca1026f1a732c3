//! What the send queue of a slow reader had no room for.
//!
//! The driver drops what its reader can do without, or hears from another, before it closes the
//! connection, and tells of each. What was noted when it was sent is taken back: so the peer may
//! get it later, and a stem goes another way.

use codec::{Context, Item, Kind, Message, Payload};

use crate::endpoint::Endpoint;
use crate::event::ConnId;
use crate::handshake::PROTOCOL_VERSION;
use crate::relaying::class_of;

impl Endpoint {
    /// The peer did not get this after all.
    pub(crate) fn on_dropped(&mut self, conn: ConnId, payload: &Payload) {
        match payload.kind() {
            Kind::StemTransaction => self.on_stem_dropped(conn, payload),
            Kind::Have => self.on_have_dropped(conn, payload),
            _ => self.relay_dropped(conn, payload),
        }
    }

    /// It does not know of these by us.
    fn on_have_dropped(&mut self, conn: ConnId, payload: &Payload) {
        let context = Context { version: PROTOCOL_VERSION, network: &self.config.network };
        let have = Message::decode(Kind::Have, payload.body(), &context);
        let Ok(Message::Have(offers)) = have else { return };
        let slot = self.slot_of(conn);
        for Item { kind, id } in offers.iter().map(|offer| offer.item) {
            if let Some(kind) = class_of(kind) {
                self.relay.unmark_id(slot, &Item { kind, id });
            }
        }
    }
}
