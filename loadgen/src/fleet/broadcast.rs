//! Receiving a broadcast: every client must get every payload, once, unaltered.

use std::cell::RefCell;
use std::rc::Rc;

use codec::Kind;

use crate::clock::now_ns;
use crate::fleet::client::Client;
use crate::fleet::{Crew, spawn};
use crate::receipts::{self, Receipts};
use crate::wire::Inbox;

/// Room for several payloads of the usual size in one read.
pub(crate) const INBOX_BYTES: usize = 8 * 1024;

/// Bodies kept to compare with: those that may be under way at a time.
const BODIES_KEPT: usize = 256;

/// Expected bodies, made once for all clients of the thread.
struct Expected {
    payload_bytes: usize,
    /// By index modulo the length: index, instant, body.
    kept: Vec<(u64, u64, Vec<u8>)>,
}

impl Expected {
    /// Whether this is the body of its stamp; and the stamp.
    fn check(&mut self, body: &[u8]) -> Option<(u64, u64)> {
        let (index, intended) = receipts::stamp(body)?;
        let slot = &mut self.kept[index as usize % BODIES_KEPT];
        if (slot.0, slot.1) != (index, intended) || slot.2.is_empty() {
            slot.2.clear();
            receipts::write_body(index, intended, self.payload_bytes, &mut slot.2);
            (slot.0, slot.1) = (index, intended);
        }
        (slot.2 == body).then_some((index, intended))
    }
}

/// Starts the clients.
pub(crate) fn start(clients: Vec<(Rc<Client>, Inbox)>, crew: &Rc<Crew>) {
    let kept = (0..BODIES_KEPT).map(|_| (u64::MAX, 0, Vec::new())).collect();
    let payload_bytes = crew.spec.payload_bytes;
    let expected = Rc::new(RefCell::new(Expected { payload_bytes, kept }));
    for (client, inbox) in clients {
        let expected = Rc::clone(&expected);
        let mut receipts = Receipts::default();
        let number = client.number;
        spawn(client.serve(Rc::clone(crew), inbox, move |crew, kind, body| {
            let stamp = expected.borrow_mut().check(body);
            let Some((index, intended)) = stamp.filter(|_| kind == Kind::Transaction) else {
                crew.tally(|tally| tally.corrupted += 1);
                return crew
                    .fault(format!("client {number}: {kind:?}, {} bytes, altered", body.len()));
            };
            if receipts.insert(index) {
                crew.tally(|tally| tally.received_once += 1);
                crew.latency(now_ns().saturating_sub(intended));
            } else {
                crew.tally(|tally| tally.doubled += 1);
                crew.fault(format!("client {number}: payload {index} came twice"));
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_altered_body_is_noticed() {
        let kept = (0..BODIES_KEPT).map(|_| (u64::MAX, 0, Vec::new())).collect();
        let mut expected = Expected { payload_bytes: 100, kept };
        let mut body = Vec::new();
        receipts::write_body(9, 1_234, 100, &mut body);
        assert_eq!(expected.check(&body), Some((9, 1_234)));
        for position in [0, 8, 16, 50, 99] {
            body[position] ^= 4;
            assert_eq!(expected.check(&body), None, "at {position}");
            body[position] ^= 4;
        }
        assert_eq!(expected.check(&body[..99]), None);
    }
}
