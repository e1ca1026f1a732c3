//! Segments arrive, and the endpoint takes what it has credit for.

use std::time::Duration;

use peer::{CloseReason, Input};

use super::{Event, Network, Script};
use crate::link::Segment;
use crate::model::Credits;

/// How soon bytes without credit are given again: some turns of an engine.
const RETRY: Duration = Duration::from_millis(1);

impl<S: Script> Network<S> {
    /// A segment has come over its link; it may be held, and has the receiver's line before it.
    pub(super) fn on_arrive(&mut self, link: usize, side: usize, segment: Segment) {
        if self.is_held(link, side) || !self.links[link].pipes[side].held.is_empty() {
            self.links[link].pipes[side].held.push_back(segment);
            return;
        }
        self.enter_line(link, side, segment);
    }

    /// The lines of all receivers are as fast as those of senders: of segments that come from
    /// several at once, each waits for those before it.
    fn enter_line(&mut self, link: usize, side: usize, segment: Segment) {
        if self.model.bandwidth.is_none() {
            return self.carry_out(Event::Deliver { link, side, segment });
        }
        let time = self.model.line_time(segment.bytes_count());
        let node = &mut self.nodes[self.links[link].ends[side].node];
        node.inward_free_at = node.inward_free_at.max(self.now).after(time);
        let event = Event::Deliver { link, side, segment };
        self.schedule.push(node.inward_free_at, event);
    }

    /// What a fault held arrives, where nothing holds it any more.
    pub(super) fn release_all(&mut self) {
        for link in 0..self.links.len() {
            for side in [0, 1] {
                if self.links[link].pipes[side].held.is_empty() || self.is_held(link, side) {
                    continue;
                }
                for segment in std::mem::take(&mut self.links[link].pipes[side].held) {
                    self.enter_line(link, side, segment);
                }
            }
        }
    }

    pub(super) fn deliver(&mut self, link: usize, side: usize, segment: Segment) {
        let (from, to) = (self.links[link].ends[1 - side].node, self.links[link].ends[side].node);
        let pipe = &mut self.links[link].pipes[side];
        if pipe.abandoned {
            return;
        }
        for piece in segment.pieces().iter().filter(|piece| piece.is_last()) {
            self.traffic.count_arrived(&piece.payload);
            self.script.on_frame(self.now, from, to, &piece.payload);
        }
        let waits = !pipe.parked.is_empty();
        match &segment {
            Segment::End | Segment::Broken if waits => pipe.parked_end = Some(segment),
            Segment::End => self.lose(link, side, CloseReason::RemoteClosed),
            Segment::Broken => self.lose(link, side, CloseReason::ConnectionLost),
            _ if waits => {
                segment.pieces().iter().for_each(|piece| pipe.parked.extend(piece.bytes()));
            }
            Segment::One(piece) if !self.doubles_byte() => {
                self.receive(link, side, piece.bytes());
            }
            Segment::One(piece) => {
                let last = piece.bytes().last();
                let bytes: Vec<u8> = piece.bytes().iter().chain(last).copied().collect();
                self.receive(link, side, &bytes);
            }
            Segment::Many(pieces) => {
                let bytes: Vec<u8> = pieces.iter().flat_map(|one| one.bytes()).copied().collect();
                self.receive(link, side, &bytes);
            }
        }
    }

    fn receive(&mut self, link: usize, side: usize, mut bytes: &[u8]) {
        let end = self.links[link].ends[side];
        while !bytes.is_empty() {
            let credit = self.model.credit(&mut self.credits);
            let received = Input::Received { conn: end.conn, bytes, credit };
            let consumed = self.feed(end.node, received);
            assert!(consumed <= bytes.len(), "more was consumed than was given");
            if self.links[link].pipes[side].abandoned {
                return;
            }
            bytes = &bytes[consumed..];
            if consumed == 0 || self.model.credits == Credits::Random {
                break;
            }
        }
        if bytes.is_empty() {
            return;
        }
        self.links[link].pipes[side].parked.extend_from_slice(bytes);
        self.feed(end.node, Input::Paused { conn: end.conn });
        self.schedule.push(self.now.after(RETRY), Event::Retry { link, side });
    }

    pub(super) fn retry(&mut self, link: usize, side: usize) {
        let end = self.links[link].ends[side];
        let pipe = &mut self.links[link].pipes[side];
        if pipe.abandoned {
            return;
        }
        let bytes = std::mem::take(&mut pipe.parked);
        self.feed(end.node, Input::Resumed { conn: end.conn });
        if self.links[link].pipes[side].abandoned {
            return;
        }
        self.receive(link, side, &bytes);
        let pipe = &mut self.links[link].pipes[side];
        if pipe.parked.is_empty()
            && let Some(segment) = pipe.parked_end.take()
        {
            self.deliver(link, side, segment);
        }
    }
}
