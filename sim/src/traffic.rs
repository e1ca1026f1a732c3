//! What went over the links, counted by kind.

use codec::{Kind, Payload};

use crate::link::Piece;
use crate::model::SEGMENT_OVERHEAD;

/// Frames and bytes of each kind, and the packets that carried them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Traffic {
    sent: [Tally; Kind::ALL.len()],
    arrived: [Tally; Kind::ALL.len()],
    segments: u64,
}

/// Frames, and their bytes with headers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Whole frames.
    pub frames: u64,
    /// Bytes, those of unfinished frames included.
    pub bytes: u64,
}

impl Default for Traffic {
    fn default() -> Self {
        let none = [Tally::default(); Kind::ALL.len()];
        Self { sent: none, arrived: none, segments: 0 }
    }
}

/// The place of a kind in [`Kind::ALL`], which has grin's own first.
fn place(kind: Kind) -> usize {
    let byte = kind as usize;
    let extended = Kind::Packed as usize;
    if byte < extended { byte } else { byte - extended + Kind::KernelSegment as usize + 1 }
}

impl Traffic {
    pub(crate) fn count(&mut self, pieces: &[Piece]) {
        self.segments += u64::from(!pieces.is_empty());
        for piece in pieces {
            let tally = &mut self.sent[place(piece.payload.kind())];
            tally.bytes += piece.bytes().len() as u64;
            tally.frames += u64::from(piece.is_last());
        }
    }

    pub(crate) fn count_arrived(&mut self, payload: &Payload) {
        let tally = &mut self.arrived[place(payload.kind())];
        tally.frames += 1;
        tally.bytes += payload.frame().len() as u64;
    }

    /// What left of a kind.
    #[must_use]
    pub fn sent(&self, kind: Kind) -> Tally {
        self.sent[place(kind)]
    }

    /// What arrived whole of a kind.
    #[must_use]
    pub fn arrived(&self, kind: Kind) -> Tally {
        self.arrived[place(kind)]
    }

    /// What left of all these kinds.
    #[must_use]
    pub fn sent_of(&self, kinds: &[Kind]) -> Tally {
        kinds.iter().map(|kind| self.sent(*kind)).fold(Tally::default(), |sum, one| Tally {
            frames: sum.frames + one.frames,
            bytes: sum.bytes + one.bytes,
        })
    }

    /// What left, with the headers of the packets that carried it.
    #[must_use]
    pub fn wire_bytes(&self) -> u64 {
        self.sent_of(&Kind::ALL).bytes + self.segments * SEGMENT_OVERHEAD as u64
    }
}

/// Kinds by which payloads spread: bodies, announcements, requests.
pub const SPREADING: &[Kind] = &[
    Kind::StemTransaction,
    Kind::Transaction,
    Kind::TransactionKernel,
    Kind::GetTransaction,
    Kind::Header,
    Kind::Block,
    Kind::CompactBlock,
    Kind::GetBlock,
    Kind::GetCompactBlock,
    Kind::Packed,
    Kind::Have,
    Kind::Coming,
    Kind::Want,
    Kind::NotFound,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_place() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(place(kind), index);
        }
    }
}
