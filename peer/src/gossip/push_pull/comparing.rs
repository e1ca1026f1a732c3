//! The comparison of what two members know: what makes sure that all learn everything.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use codec::datagram::{Call, DATAGRAM_HEAD_BYTES, EventId, News};
use codec::limits::DATAGRAM_BYTES_MAX;

use super::{CALL_BYTES_MAX, PushPull};
use crate::time::Instant;

/// Events that are compared at once: as many as leave room for members in the same datagram.
const KNOWN_MAX: usize = 40;

/// Datagrams that one comparison is answered with at most.
const SYNC_DATAGRAMS_MAX: usize = 8;

impl PushPull {
    /// Somebody told what it knows, in answer to us or not.
    pub(super) fn on_sync(
        &mut self,
        now: Instant,
        from: SocketAddr,
        known: &BTreeSet<EventId>,
        reply: bool,
    ) {
        if !reply {
            self.sync(now, from, true);
        }
        let mut datagrams = SYNC_DATAGRAMS_MAX;
        let mut bytes = Vec::new();
        let room = DATAGRAM_BYTES_MAX - DATAGRAM_HEAD_BYTES - CALL_BYTES_MAX;
        for id in self.events.lacking(known, KNOWN_MAX) {
            let Some(event) = self.events.get(&id).cloned() else { continue };
            let before = bytes.len();
            News::Event(event.event()).write(&mut bytes);
            if bytes.len() > room {
                let rest = bytes.split_off(before);
                self.send(now, from, Call::Tell, &bytes);
                bytes = rest;
                datagrams -= 1;
                if datagrams == 0 {
                    return;
                }
            }
        }
        if !bytes.is_empty() {
            self.send(now, from, Call::Tell, &bytes);
        }
        if !reply {
            self.tell_members(now, from);
        }
    }

    /// What we know, for somebody who tells us what we lack.
    pub(super) fn sync(&mut self, now: Instant, to: SocketAddr, reply: bool) {
        let mut bytes = Vec::new();
        for id in self.events.newest().take(KNOWN_MAX) {
            News::Known(id).write(&mut bytes);
        }
        self.send(now, to, Call::Sync { reply }, &bytes);
    }

    /// Members, drawn at random if they are too many for what one comparison may cost.
    fn tell_members(&mut self, now: Instant, to: SocketAddr) {
        let room = DATAGRAM_BYTES_MAX - DATAGRAM_HEAD_BYTES - CALL_BYTES_MAX;
        let mut addrs: Vec<_> = self.members.iter().map(|(addr, _)| *addr).collect();
        self.rng.shuffle(&mut addrs);
        let mut addrs = addrs.into_iter().filter(|addr| *addr != to).peekable();
        for _ in 0..SYNC_DATAGRAMS_MAX {
            let mut bytes = Vec::new();
            while let Some(addr) = addrs.peek() {
                let before = bytes.len();
                self.member_news(addr).into_iter().for_each(|news| news.write(&mut bytes));
                if bytes.len() > room {
                    bytes.truncate(before);
                    break;
                }
                addrs.next();
            }
            if bytes.is_empty() {
                break;
            }
            self.send(now, to, Call::Tell, &bytes);
        }
    }
}
