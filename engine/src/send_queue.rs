//! What waits to be sent to one connection.
//!
//! Three classes, each bounded in bytes; an earlier class goes first. Within a class the order is
//! kept. Full: what the peer asks for, or hears from another, is dropped (relayed payloads, in
//! envelopes or not, and word of them), and stems, which then go another way; anything else ends
//! the connection. Empty, it keeps next to nothing.
//!
//! An archive's frame is followed by raw bytes, in which no other frame may stand: from its
//! departure on only pieces leave, and the classes wait, until all of its bytes are gone.

use std::collections::VecDeque;

use codec::{Kind, Payload};
use peer::{ARCHIVE_PIECE_BYTES_MAX, ARCHIVE_PIECES_WANTED_MAX};

use crate::io::{Gathered, SEND_FRAMES_MAX};

/// Most bytes of control messages that wait: requests, greetings, pings. A peer that leaves this
/// much unread does not read.
const CONTROL_BYTES_MAX: usize = 256 << 10;

/// Most bytes of control messages beside which word of payloads is still taken: what is dropped
/// first leaves room for what is not.
const WORD_BYTES_MAX: usize = CONTROL_BYTES_MAX / 2;

/// Most bytes of blocks and headers that wait: a largest block and a usual one beside it.
const BLOCK_BYTES_MAX: usize = 8 << 20;

/// Most bytes of transactions that wait: about 6,000 of 300 bytes, several seconds of a busy
/// network.
const TRANSACTION_BYTES_MAX: usize = 2 << 20;

const BYTES_MAX: [usize; 3] = [CONTROL_BYTES_MAX, BLOCK_BYTES_MAX, TRANSACTION_BYTES_MAX];

/// Most bytes of pieces of an archive that wait: as many pieces as the core wants at once.
const PIECE_BYTES_MAX: usize = ARCHIVE_PIECES_WANTED_MAX * ARCHIVE_PIECE_BYTES_MAX;

/// What a frame weighs beyond its bytes, so that tiny frames are bounded too.
const FRAME_OVERHEAD: usize = 32;

/// Bytes of one send, unless its first frame alone is larger: enough to pay for the system's work
/// many times over, little enough that control messages are not kept waiting.
pub(crate) const SEND_BYTES: usize = 256 << 10;

/// Empty queues keep at most this many places.
const CAPACITY_KEPT: usize = 8;

/// What became of a push.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Pushed {
    Queued,
    /// No room for what the peer can do without; it comes back.
    Dropped(Payload),
    /// No room for anything else.
    Full,
}

/// Classes of frames, the most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Control,
    Block,
    Transaction,
}

impl Class {
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Header
            | Kind::Headers
            | Kind::Block
            | Kind::CompactBlock
            | Kind::TxHashSetArchive
            | Kind::OutputBitmapSegment
            | Kind::OutputSegment
            | Kind::RangeProofSegment
            | Kind::KernelSegment
            | Kind::Packed => Self::Block,
            Kind::StemTransaction
            | Kind::Transaction
            | Kind::TransactionKernel
            | Kind::Plumtree => Self::Transaction,
            Kind::Error
            | Kind::Hand
            | Kind::Shake
            | Kind::Ping
            | Kind::Pong
            | Kind::GetPeerAddrs
            | Kind::PeerAddrs
            | Kind::GetHeaders
            | Kind::GetBlock
            | Kind::GetCompactBlock
            | Kind::TxHashSetRequest
            | Kind::BanReason
            | Kind::GetTransaction
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
            | Kind::Sampling => Self::Control,
        }
    }
}

/// The frames that wait for one connection.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    classes: [VecDeque<Payload>; 3],
    bytes: [usize; 3],
    pieces: VecDeque<Payload>,
    piece_bytes: usize,
    /// Bytes of an archive whose frame has left, and which have not: the stream is raw.
    raw_left: u64,
}

impl SendQueue {
    pub(crate) fn push(&mut self, payload: Payload) -> Pushed {
        if payload.is_piece() {
            return self.push_piece(payload);
        }
        // An envelope goes with what it holds.
        let kind = payload.envelope().map_or_else(|| payload.kind(), |(kind, _, _)| kind);
        let class = Class::of(kind) as usize;
        let weight = weight(&payload);
        let most = if is_word(kind) { WORD_BYTES_MAX } else { BYTES_MAX[class] };
        // One frame is always admitted: it may be larger than the bound of its class.
        if !self.classes[class].is_empty() && self.bytes[class] + weight > most {
            return if may_drop(kind) { Pushed::Dropped(payload) } else { Pushed::Full };
        }
        self.bytes[class] += weight;
        self.classes[class].push_back(payload);
        Pushed::Queued
    }

    fn push_piece(&mut self, piece: Payload) -> Pushed {
        let bytes = self.piece_bytes + piece.frame().len();
        if bytes > PIECE_BYTES_MAX || self.pieces.len() == ARCHIVE_PIECES_WANTED_MAX {
            return Pushed::Full;
        }
        self.piece_bytes = bytes;
        self.pieces.push_back(piece);
        Pushed::Queued
    }

    /// Whether nothing can leave now. In the middle of an archive that is so while its next piece
    /// has not come, whatever else waits.
    pub(crate) fn is_idle(&self) -> bool {
        if self.raw_left > 0 {
            return self.pieces.is_empty();
        }
        self.classes.iter().all(VecDeque::is_empty)
    }

    /// Whether control messages wait, and may leave now.
    pub(crate) fn has_control(&self) -> bool {
        self.raw_left == 0 && !self.classes[Class::Control as usize].is_empty()
    }

    /// Whether a class of what is relayed is half full: its reader lags behind. Control messages do
    /// not count: a peer can ask for as many answers as it likes.
    pub(crate) fn is_crowded(&self) -> bool {
        let relayed = [Class::Block as usize, Class::Transaction as usize];
        relayed.into_iter().any(|class| self.bytes[class] >= BYTES_MAX[class] / 2)
    }

    /// Moves what one send takes into `gathered`: whole frames, the most urgent class first, and
    /// nothing behind the frame of an archive; or, in the middle of one, its pieces.
    pub(crate) fn gather(&mut self, gathered: &mut Gathered) {
        if self.raw_left > 0 {
            return self.gather_pieces(gathered);
        }
        let mut room = SEND_BYTES;
        for (class, bytes) in self.classes.iter_mut().zip(&mut self.bytes) {
            while let Some(payload) = class.front() {
                let length = payload.frame().len();
                let first = gathered.frames.is_empty();
                if gathered.frames.len() == SEND_FRAMES_MAX || (length > room && !first) {
                    return;
                }
                room = room.saturating_sub(length);
                *bytes -= weight(payload);
                self.raw_left = payload.attachment_bytes().unwrap_or(0);
                gathered.frames.extend(class.pop_front());
                if self.raw_left > 0 {
                    return;
                }
            }
            if class.capacity() > CAPACITY_KEPT {
                *class = VecDeque::new();
            }
        }
    }

    fn gather_pieces(&mut self, gathered: &mut Gathered) {
        for piece in std::mem::take(&mut self.pieces) {
            let bytes = piece.frame().len() as u64;
            assert!(bytes <= self.raw_left, "the core wants no more than an archive has");
            self.raw_left -= bytes;
            gathered.frames.push(piece);
        }
        self.piece_bytes = 0;
    }

    /// Nothing more will come: what is here may still leave. In the middle of an archive that is
    /// nothing: the bytes that lack would have to come first.
    pub(crate) fn seal(&mut self) {
        if self.raw_left > 0 {
            self.clear();
        }
    }

    /// A goodbye: only control messages are still sent.
    pub(crate) fn keep_control(&mut self) {
        self.seal();
        self.pieces = VecDeque::new();
        self.piece_bytes = 0;
        for class in [Class::Block as usize, Class::Transaction as usize] {
            self.classes[class] = VecDeque::new();
            self.bytes[class] = 0;
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Whether it is word of payloads that goes among control messages.
const fn is_word(kind: Kind) -> bool {
    matches!(kind, Kind::Have | Kind::Coming)
}

/// Whether a slow reader loses this rather than its connection. The core is told, and takes back
/// what it noted, or sends it elsewhere.
const fn may_drop(kind: Kind) -> bool {
    kind.is_relay()
        || is_word(kind)
        || matches!(kind, Kind::TransactionKernel | Kind::StemTransaction | Kind::Plumtree)
}

fn weight(payload: &Payload) -> usize {
    payload.frame().len() + FRAME_OVERHEAD
}

/// Takes the first `bytes` off what was gathered, after a short send. `true`: nothing is left.
pub(crate) fn advance(gathered: &mut Gathered, bytes: usize) -> bool {
    let mut sent = gathered.skip + bytes;
    let whole = gathered
        .frames
        .iter()
        .take_while(|payload| {
            let all = sent >= payload.frame().len();
            if all {
                sent -= payload.frame().len();
            }
            all
        })
        .count();
    gathered.frames.drain(..whole);
    gathered.skip = sent;
    assert!(!gathered.frames.is_empty() || sent == 0, "more was sent than was gathered");
    gathered.frames.is_empty()
}

#[cfg(test)]
mod tests {
    use codec::{Envelope, Hash, Item, Message, Network, Offer, Packing, Records};
    use proptest::prelude::*;

    use super::*;

    fn payload(kind: Kind, bytes: usize) -> Payload {
        Payload::seal(&Network::DEV, kind, &vec![7; bytes]).unwrap()
    }

    fn kinds(gathered: &Gathered) -> Vec<Kind> {
        gathered.frames.iter().map(Payload::kind).collect()
    }

    #[test]
    fn control_goes_first_and_eight_frames_go_together() {
        let mut queue = SendQueue::default();
        for _ in 0..6 {
            assert_eq!(queue.push(payload(Kind::Transaction, 300)), Pushed::Queued);
        }
        assert_eq!(queue.push(payload(Kind::Block, 3_000)), Pushed::Queued);
        assert_eq!(queue.push(payload(Kind::Pong, 16)), Pushed::Queued);
        let mut gathered = Gathered::default();
        queue.gather(&mut gathered);
        assert_eq!(kinds(&gathered)[..3], [Kind::Pong, Kind::Block, Kind::Transaction]);
        assert_eq!(gathered.frames.len(), 8);
        assert!(queue.is_idle());
    }

    #[test]
    fn each_class_is_bounded_and_admits_one_frame_of_any_size() {
        let mut queue = SendQueue::default();
        assert_eq!(queue.push(payload(Kind::Block, 5_000_000)), Pushed::Queued);
        assert!(matches!(queue.push(payload(Kind::Block, 5_000_000)), Pushed::Dropped(_)));
        let pushed = (0..100_000)
            .take_while(|_| queue.push(payload(Kind::Transaction, 0)) == Pushed::Queued)
            .count();
        assert!(pushed <= TRANSACTION_BYTES_MAX / FRAME_OVERHEAD, "tiny frames weigh too");
        assert!(queue.is_crowded());
        queue.keep_control();
        assert!(queue.is_idle() && !queue.is_crowded());
    }

    fn sealed(message: &Message<'_>) -> Payload {
        message.to_payload(&Network::DEV, 1000).unwrap()
    }

    fn envelope(kind: Kind, bytes: usize) -> Payload {
        let (packing, id, data) = (Packing::Stored, Hash([1; 32]), &vec![7; bytes][..]);
        sealed(&Message::Packed(Envelope { kind, packing, plain_bytes: bytes as u32, id, data }))
    }

    fn offers(count: usize) -> Vec<Offer> {
        let item = Item { kind: Kind::Block, id: Hash([1; 32]) };
        vec![Offer { item, bytes: 1 }; count]
    }

    /// What becomes of the first of these that finds no room.
    fn beyond(payload: &Payload) -> Pushed {
        let mut queue = SendQueue::default();
        let mut pushed = (0..100_000).map(|_| queue.push(payload.clone()));
        pushed.find(|pushed| *pushed != Pushed::Queued).expect("a bound")
    }

    #[test]
    fn what_the_peer_can_do_without_is_dropped_and_anything_else_is_its_end() {
        let offers = offers(100);
        let dropped = [
            payload(Kind::Transaction, 1_000),
            payload(Kind::StemTransaction, 1_000),
            payload(Kind::Block, 100_000),
            payload(Kind::CompactBlock, 10_000),
            payload(Kind::Header, 1_000),
            envelope(Kind::Transaction, 10_000),
            envelope(Kind::Block, 100_000),
            sealed(&Message::TransactionKernel(Hash([1; 32]))),
            sealed(&Message::Have(Records::new(&offers))),
            sealed(&Message::Coming(Records::new(&offers[..4]))),
        ];
        for payload in dropped {
            assert_eq!(beyond(&payload), Pushed::Dropped(payload));
        }
        for payload in [
            payload(Kind::Pong, 16),
            payload(Kind::Headers, 100_000),
            envelope(Kind::Headers, 100_000),
            sealed(&Message::NotFound(Records::new(&[offers[0].item]))),
        ] {
            assert_eq!(beyond(&payload), Pushed::Full, "{:?}", payload.kind());
        }
    }

    #[test]
    fn word_of_payloads_leaves_room_for_what_is_never_dropped() {
        let (offers, mut queue) = (offers(100), SendQueue::default());
        let have = sealed(&Message::Have(Records::new(&offers)));
        while queue.push(have.clone()) == Pushed::Queued {}
        let bytes = queue.bytes[Class::Control as usize];
        assert!(bytes <= WORD_BYTES_MAX && bytes + weight(&have) > WORD_BYTES_MAX);
        let pong = payload(Kind::Pong, 16);
        let room = (CONTROL_BYTES_MAX - bytes) / weight(&pong);
        for _ in 0..room {
            assert_eq!(queue.push(pong.clone()), Pushed::Queued);
        }
        assert_eq!(queue.push(have.clone()), Pushed::Dropped(have));
        assert_eq!(queue.push(pong), Pushed::Full);
    }

    #[test]
    fn an_emptied_queue_keeps_no_memory() {
        let mut queue = SendQueue::default();
        for _ in 0..64 {
            queue.push(payload(Kind::Transaction, 10));
        }
        queue.gather(&mut Gathered::default());
        assert!(queue.classes.iter().all(|class| class.capacity() <= CAPACITY_KEPT));
    }

    fn archive(bytes: u64) -> Payload {
        let body = [&[7; 40][..], &bytes.to_be_bytes()].concat();
        Payload::seal(&Network::DEV, Kind::TxHashSetArchive, &body).unwrap()
    }

    fn piece(bytes: usize) -> Payload {
        Payload::piece(vec![9; bytes])
    }

    fn gather(queue: &mut SendQueue) -> Vec<usize> {
        let mut gathered = Gathered::default();
        queue.gather(&mut gathered);
        gathered.frames.iter().map(|frame| frame.frame().len()).collect()
    }

    #[test]
    fn from_an_archives_frame_to_its_last_byte_only_pieces_leave() {
        let mut queue = SendQueue::default();
        queue.push(archive(2_500));
        queue.push(payload(Kind::Transaction, 300));
        queue.push(payload(Kind::Block, 3_000));
        assert_eq!(gather(&mut queue), [11 + 48], "nothing behind the frame");
        assert!(queue.is_idle(), "the others wait");
        queue.push(payload(Kind::Ping, 16));
        queue.push(piece(1_000));
        queue.push(piece(1_000));
        assert!(!queue.is_idle());
        assert_eq!(gather(&mut queue), [1_000, 1_000]);
        assert!(queue.is_idle());
        queue.push(piece(500));
        assert_eq!(gather(&mut queue), [500]);
        assert!(!queue.is_idle());
        assert_eq!(gather(&mut queue), [11 + 16, 11 + 3_000, 11 + 300]);
        assert!(queue.is_idle());
    }

    #[test]
    fn an_archive_waits_its_turn_and_one_without_bytes_holds_nothing_up() {
        let mut queue = SendQueue::default();
        queue.push(payload(Kind::Pong, 16));
        queue.push(archive(0));
        queue.push(payload(Kind::Block, 10));
        queue.push(archive(5));
        queue.push(piece(5)); // the archive's frame has not left yet
        queue.push(payload(Kind::Block, 20));
        assert_eq!(gather(&mut queue), [11 + 16, 11 + 48, 11 + 10, 11 + 48]);
        assert_eq!(gather(&mut queue), [5]);
        assert_eq!(gather(&mut queue), [11 + 20]);
    }

    #[test]
    fn pieces_are_bounded_in_number_and_in_bytes() {
        let mut queue = SendQueue::default();
        for _ in 0..ARCHIVE_PIECES_WANTED_MAX {
            assert_eq!(queue.push(piece(ARCHIVE_PIECE_BYTES_MAX)), Pushed::Queued);
        }
        assert_eq!(queue.push(piece(1)), Pushed::Full);
        let mut queue = SendQueue::default();
        assert_eq!(queue.push(piece(PIECE_BYTES_MAX + 1)), Pushed::Full);
        for _ in 0..ARCHIVE_PIECES_WANTED_MAX {
            assert_eq!(queue.push(piece(1)), Pushed::Queued);
        }
        assert_eq!(queue.push(piece(1)), Pushed::Full);
    }

    #[test]
    fn last_words_in_the_middle_of_an_archive_would_be_taken_for_its_bytes() {
        let middle = || {
            let mut queue = SendQueue::default();
            queue.push(archive(10));
            gather(&mut queue);
            queue.push(piece(4));
            queue.push(payload(Kind::BanReason, 4));
            queue
        };
        let mut queue = middle();
        queue.keep_control();
        assert!(queue.is_idle() && gather(&mut queue).is_empty());
        let mut queue = middle();
        queue.seal();
        assert!(queue.is_idle() && gather(&mut queue).is_empty());
        // Before its frame has left, and after its last byte, they may leave.
        let mut queue = SendQueue::default();
        queue.push(archive(10));
        queue.push(piece(4));
        queue.push(payload(Kind::BanReason, 4));
        queue.keep_control();
        assert_eq!(gather(&mut queue), [11 + 4]);
        assert!(queue.is_idle());
        let mut queue = middle();
        queue.push(piece(6));
        gather(&mut queue);
        queue.keep_control();
        assert_eq!(gather(&mut queue), [11 + 4]);
    }

    proptest! {
        /// However a send is cut short, the bytes that leave are those of the frames in order.
        #[test]
        fn short_sends_lose_and_double_nothing(
            sizes in prop::collection::vec(0usize..40, 1..20),
            cuts in prop::collection::vec(1usize..60, 0..200),
        ) {
            let mut queue = SendQueue::default();
            let mut expected = Vec::new();
            for (n, size) in sizes.iter().enumerate() {
                let payload =
                    Payload::seal(&Network::DEV, Kind::Transaction, &vec![n as u8; *size]).unwrap();
                expected.extend_from_slice(payload.frame());
                prop_assert_eq!(queue.push(payload), Pushed::Queued);
            }
            let mut gathered = Gathered::default();
            queue.gather(&mut gathered);
            let mut sent = Vec::new();
            let mut cuts = cuts.into_iter().chain(std::iter::repeat(7));
            loop {
                let left: Vec<u8> =
                    gathered.frames.iter().flat_map(|p| p.frame().iter().copied()).collect();
                let left = &left[gathered.skip..];
                let now = cuts.next().unwrap().min(left.len());
                sent.extend_from_slice(&left[..now]);
                if advance(&mut gathered, now) {
                    break;
                }
            }
            prop_assert_eq!(sent, expected);
        }
    }
}
