//! One endpoint that catches up, and a test that plays the peers that it asks.

use std::sync::Arc;

use codec::{Capabilities, Hand, Hash, Item, Kind, Message, Payload, Records, Shake};
use peer::{Config, ConnId, Credit, Freshness, FromChain, Input, Recipients, ToChain};

use crate::solo::{NET, Out, Solo, UNLIMITED, hand, message, ping, shake};

/// The block of this height.
pub(crate) fn block(height: u64) -> Payload {
    let body = [&height.to_be_bytes()[..], &[0; 992]].concat();
    Payload::seal(&NET, Kind::Block, &body).unwrap()
}

pub(crate) fn id(height: u64) -> Hash {
    block(height).id()
}

/// What peers were asked for: connection, first height, how many.
pub(crate) type Asked = (ConnId, u64, u64);

/// An endpoint and its peers.
pub(crate) struct Crew {
    pub(crate) solo: Solo,
    /// Questions for blocks, since they were last looked at.
    asked: Vec<Asked>,
    /// What the chain heard, since that was last looked at.
    told: Vec<ToChain>,
    /// Questions for headers, since they were last looked at.
    pub(crate) headers_asked: Vec<ConnId>,
    /// Who was closed.
    pub(crate) closed: Vec<ConnId>,
}

impl Crew {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut solo = Solo::with(change);
        assert_eq!(solo.handle(Input::Tip(peer::ChainTip::default())), []);
        let (asked, told) = (Vec::new(), Vec::new());
        Self { solo, asked, told, headers_asked: Vec::new(), closed: Vec::new() }
    }

    /// A peer of ours at this height.
    pub(crate) fn join(&mut self, index: u32, height: u64) -> ConnId {
        self.join_with(index, height, Capabilities::GRIN_NODE | Capabilities::EXTENSION)
    }

    /// A peer of grin at this height.
    pub(crate) fn join_plain(&mut self, index: u32, height: u64) -> ConnId {
        self.join_with(index, height, Capabilities::GRIN_NODE)
    }

    /// A peer that we dialled, at this height.
    pub(crate) fn dial(&mut self, index: u32, height: u64) -> ConnId {
        let (conn, _) = self.solo.dial(index);
        let shake = Shake { total_difficulty: 10 * height, ..shake() };
        self.receive(conn, &message(&Message::Shake(shake)));
        self.receive(conn, &ping(height));
        conn
    }

    fn join_with(&mut self, index: u32, height: u64, capabilities: Capabilities) -> ConnId {
        let conn = self.solo.accepted(index, 1);
        let hand = Hand { capabilities, total_difficulty: 10 * height, ..hand() };
        self.receive(conn, &message(&Message::Hand(hand)));
        self.receive(conn, &ping(height));
        conn
    }

    pub(crate) fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        self.receive_with(conn, bytes, UNLIMITED);
    }

    pub(crate) fn receive_with(&mut self, conn: ConnId, bytes: &[u8], credit: Credit) -> usize {
        let (consumed, outputs) = self.solo.step(Input::Received { conn, bytes, credit });
        self.note(outputs);
        consumed
    }

    pub(crate) fn give(&mut self, conn: ConnId, heights: impl IntoIterator<Item = u64>) {
        for height in heights {
            self.receive(conn, block(height).frame());
        }
    }

    pub(crate) fn refuse(&mut self, conn: ConnId, height: u64) {
        let items = [Item { kind: Kind::Block, id: id(height) }];
        self.receive(conn, &message(&Message::NotFound(Records::new(&items))));
    }

    pub(crate) fn command(&mut self, command: FromChain) {
        let outputs = self.solo.handle(Input::FromChain(command));
        self.note(outputs);
    }

    pub(crate) fn fetch(&mut self, heights: std::ops::RangeInclusive<u64>) {
        let height = *heights.start();
        let ids: Arc<[Hash]> = heights.map(id).collect();
        self.command(FromChain::FetchBlocks { height, ids });
    }

    pub(crate) fn find_headers(&mut self) {
        self.command(FromChain::FindHeaders { locator: [id(0)].into() });
    }

    pub(crate) fn leave(&mut self, conn: ConnId) {
        let reason = peer::CloseReason::RemoteClosed;
        let outputs = self.solo.handle(Input::Closed { conn, reason });
        self.note(outputs);
    }

    /// Lets time pass, with pings answered so that nobody seems silent, and room on the lane.
    pub(crate) fn wait(&mut self, millis: u64) {
        let end = self.solo.now.after(crate::solo::millis(millis));
        for _ in 0..100_000 {
            if self.solo.now >= end {
                return;
            }
            let due = self.solo.endpoint.poll_timeout().map_or(end, |due| due.min(end));
            self.solo.now = due.max(self.solo.now);
            let outputs = self.solo.handle(Input::Timeout);
            self.note(outputs);
            self.room(UNLIMITED);
        }
        panic!("a deadline that does not pass");
    }

    pub(crate) fn room(&mut self, credit: Credit) {
        let outputs = self.solo.handle(Input::Room { credit });
        self.note(outputs);
    }

    fn note(&mut self, outputs: Vec<Out>) {
        for output in outputs {
            match output {
                Out::Send(Recipients::One(conn), payload) => match payload.kind() {
                    Kind::GetBlock => self.note_asked(conn, payload.body(), 1),
                    Kind::GetBlocks => {
                        let count = u16::from_be_bytes(payload.body()[32..].try_into().unwrap());
                        self.note_asked(conn, payload.body(), count.into());
                    }
                    Kind::GetHeaders => self.headers_asked.push(conn),
                    Kind::Ping if self.solo.is_here(conn) => {
                        let height = self.solo.info(conn).tip.height;
                        self.receive(conn, &crate::solo::pong(height));
                    }
                    _ => {}
                },
                Out::ToChain(ToChain::PoolWanted) => {}
                Out::ToChain(event) => self.told.push(event),
                Out::Close(conn, _) => self.closed.push(conn),
                _ => {}
            }
        }
    }

    fn note_asked(&mut self, conn: ConnId, body: &[u8], count: u64) {
        let height = (0..5_000).find(|height| id(*height).0 == body[..32]).unwrap();
        self.asked.push((conn, height, count));
    }

    /// The questions since the last call, a row of single ones as one.
    pub(crate) fn asked(&mut self) -> Vec<Asked> {
        let mut rows: Vec<Asked> = Vec::new();
        for (conn, first, count) in self.asked.drain(..) {
            match rows.last_mut() {
                Some((to, from, length)) if *to == conn && *from + *length == first => {
                    *length += count;
                }
                _ => rows.push((conn, first, count)),
            }
        }
        rows
    }

    /// Every question as it was.
    pub(crate) fn questions(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    pub(crate) fn told(&mut self) -> Vec<ToChain> {
        std::mem::take(&mut self.told)
    }

    /// Heights of the blocks that came in a row, as negative numbers those that are missing.
    pub(crate) fn rows(&mut self) -> Vec<i64> {
        let number = |event: &ToChain| match event {
            ToChain::Payload { payload, freshness: Freshness::Next, .. } => {
                let height = payload.body()[..8].try_into().unwrap();
                i64::from_be_bytes(height)
            }
            ToChain::Missing { id: missing, .. } => {
                -(0..5_000).find(|height| id(*height) == *missing).unwrap().cast_signed()
            }
            other => panic!("{other:?}"),
        };
        let told = self.told();
        told.iter().filter(|event| !matches!(event, ToChain::Behind { .. })).map(number).collect()
    }
}
