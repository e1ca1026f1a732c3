//! A link: two pipes of bytes between the connections of two nodes.
//!
//! A pipe has a queue at its writer, where control messages go before relayed payloads as in the
//! engine, and at its reader what could not be taken yet. Between the two its segments are events
//! of the network. The invariant: bytes come out in the order in which frames left the queue, all
//! of them, until one end is gone.

use std::collections::VecDeque;
use std::time::Duration;

use codec::Payload;
use peer::ConnId;

/// One end of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) node: usize,
    pub(crate) conn: ConnId,
}

/// A path between two nodes; the pipe at a side's place leads to that side.
pub(crate) struct Link {
    pub(crate) ends: [End; 2],
    pub(crate) latency: Duration,
    pub(crate) pipes: [Pipe; 2],
}

/// Bytes of one frame, from here to there.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) payload: Payload,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

impl Piece {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.payload.frame()[self.from..self.to]
    }

    /// Whether the frame's last byte is among these.
    pub(crate) fn is_last(&self) -> bool {
        self.to == self.payload.frame().len()
    }
}

/// What travels over a pipe at once.
#[derive(Debug)]
pub(crate) enum Segment {
    /// Bytes of one frame.
    One(Piece),
    /// Bytes of several.
    Many(Vec<Piece>),
    /// The writer has nothing more to say.
    End,
    /// The connection is broken: a reset.
    Broken,
}

impl Segment {
    pub(crate) fn pieces(&self) -> &[Piece] {
        match self {
            Self::One(piece) => std::slice::from_ref(piece),
            Self::Many(pieces) => pieces,
            Self::End | Self::Broken => &[],
        }
    }

    pub(crate) fn bytes_count(&self) -> usize {
        self.pieces().iter().map(|piece| piece.to - piece.from).sum()
    }
}

/// One direction of a link.
#[derive(Default)]
pub(crate) struct Pipe {
    control: VecDeque<Payload>,
    relayed: VecDeque<Payload>,
    relayed_bytes: usize,
    /// The frame that has begun to leave, and how much of it has.
    leaving: Option<(Payload, usize)>,
    /// Nothing more will be queued; an end follows what is there.
    ending: bool,
    /// The end has left.
    pub(crate) ended: bool,
    /// Waits for its turn on the writer's line.
    pub(crate) listed: bool,
    /// Segments that a fault keeps from arriving.
    pub(crate) held: VecDeque<Segment>,
    /// Bytes that arrived and were not consumed.
    pub(crate) parked: Vec<u8>,
    /// What came behind them: an end, or a break.
    pub(crate) parked_end: Option<Segment>,
    /// Nobody reads any more.
    pub(crate) abandoned: bool,
}

impl Pipe {
    /// Queues a payload; gives it back if it is relayed and there is no room.
    pub(crate) fn push(&mut self, payload: Payload, bytes_max: usize) -> Option<Payload> {
        if self.ending || self.ended {
            return None;
        }
        if !payload.kind().is_relay() {
            self.control.push_back(payload);
            return None;
        }
        let bytes = self.relayed_bytes + payload.frame().len();
        if bytes > bytes_max && self.relayed_bytes > 0 {
            return Some(payload);
        }
        self.relayed_bytes = bytes;
        self.relayed.push_back(payload);
        None
    }

    /// The writer says goodbye: relayed payloads that have not begun to leave never will.
    pub(crate) fn say_goodbye(&mut self) {
        self.relayed.clear();
        self.ending = true;
    }

    /// Whether there is something to be sent.
    pub(crate) fn has_some(&self) -> bool {
        let queued = !self.control.is_empty() || !self.relayed.is_empty();
        !self.ended && (self.ending || self.leaving.is_some() || queued)
    }

    /// The next segment, of so many bytes at most.
    pub(crate) fn cut(&mut self, bytes_max: usize) -> Option<Segment> {
        let first = self.piece(bytes_max);
        let Some(first) = first else {
            if self.ending && !self.ended {
                self.ended = true;
                return Some(Segment::End);
            }
            return None;
        };
        let mut room = bytes_max - (first.to - first.from);
        let Some(second) = self.piece(room) else { return Some(Segment::One(first)) };
        room -= second.to - second.from;
        let mut pieces = vec![first, second];
        while let Some(piece) = self.piece(room) {
            room -= piece.to - piece.from;
            pieces.push(piece);
        }
        Some(Segment::Many(pieces))
    }

    fn piece(&mut self, bytes_max: usize) -> Option<Piece> {
        if bytes_max == 0 {
            return None;
        }
        let (payload, from) = self.leaving.take().or_else(|| {
            let payload = self.control.pop_front().or_else(|| {
                let payload = self.relayed.pop_front()?;
                self.relayed_bytes -= payload.frame().len();
                Some(payload)
            });
            payload.map(|payload| (payload, 0))
        })?;
        let to = payload.frame().len().min(from + bytes_max);
        if to < payload.frame().len() {
            self.leaving = Some((payload.clone(), to));
        }
        Some(Piece { payload, from, to })
    }
}

#[cfg(test)]
mod tests {
    use codec::{Kind, Network};

    use super::*;

    fn payload(kind: Kind, bytes: usize) -> Payload {
        Payload::seal(&Network::DEV, kind, &vec![kind as u8; bytes]).unwrap()
    }

    #[test]
    fn control_goes_first_and_no_byte_is_lost_at_any_cut() {
        for cut in [1, 2, 7, 11, 100, 1_000] {
            let mut pipe = Pipe::default();
            let frames = [
                payload(Kind::Transaction, 50),
                payload(Kind::Ping, 16),
                payload(Kind::Block, 300),
                payload(Kind::Pong, 16),
            ];
            for frame in &frames {
                assert_eq!(pipe.push(frame.clone(), 1_000), None);
            }
            let mut bytes: Vec<u8> = Vec::new();
            while let Some(segment) = pipe.cut(cut) {
                assert!(segment.bytes_count() <= cut);
                segment.pieces().iter().for_each(|piece| bytes.extend(piece.bytes()));
            }
            let [transaction, ping, block, pong] = frames.each_ref().map(Payload::frame);
            assert_eq!(bytes, [ping, pong, transaction, block].concat());
            assert!(!pipe.has_some());
        }
    }

    #[test]
    fn a_full_queue_gives_back_what_is_relayed_and_a_goodbye_drops_it() {
        let mut pipe = Pipe::default();
        assert_eq!(pipe.push(payload(Kind::Transaction, 80), 100), None);
        let more = payload(Kind::Transaction, 1);
        assert_eq!(pipe.push(more.clone(), 100), Some(more));
        assert_eq!(pipe.push(payload(Kind::BanReason, 4), 100), None);
        pipe.say_goodbye();
        let said = pipe.cut(1_000).unwrap();
        assert_eq!(said.pieces().len(), 1);
        assert!(matches!(pipe.cut(1_000), Some(Segment::End)) && pipe.cut(1_000).is_none());
    }
}
