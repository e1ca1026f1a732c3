//! Frames: what a byte stream is cut into.
//!
//! A frame is 11 header bytes and a body:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 | magic |
//! | 2 | 1 | kind |
//! | 3 | 8 | body length, big-endian, without these 11 bytes |
//!
//! [`split`] looks at the front of a slice and is stateless; a whole frame is borrowed from it.
//! [`FrameDecoder`] keeps the one frame that a slice may end in the middle of. Its invariant:
//! cutting the stream anywhere never changes which frames come out. Frames of unknown kinds are
//! skipped without being stored (grin's own extension rule).
//!
//! A TxHashSetArchive is followed by raw bytes, its attachment, whose number is a field of the
//! frame. Whoever reads that field tells the decoder
//! ([`begin_attachment`](FrameDecoder::begin_attachment)) before it looks at what follows.

use crate::limits::{FRAME_HEADER_BYTES, Limits};
use crate::network::Network;

/// The discriminant of a message: the third byte of its frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the protocol's own message names")]
pub enum Kind {
    Error = 0,
    Hand = 1,
    Shake = 2,
    Ping = 3,
    Pong = 4,
    GetPeerAddrs = 5,
    PeerAddrs = 6,
    GetHeaders = 7,
    Header = 8,
    Headers = 9,
    GetBlock = 10,
    Block = 11,
    GetCompactBlock = 12,
    CompactBlock = 13,
    StemTransaction = 14,
    Transaction = 15,
    TxHashSetRequest = 16,
    TxHashSetArchive = 17,
    BanReason = 18,
    GetTransaction = 19,
    TransactionKernel = 20,
    GetOutputBitmapSegment = 21,
    OutputBitmapSegment = 22,
    GetOutputSegment = 23,
    OutputSegment = 24,
    GetRangeProofSegment = 25,
    RangeProofSegment = 26,
    GetKernelSegment = 27,
    KernelSegment = 28,
    // From here on Molva's own, for peers that offer `Capabilities::EXTENSION`.
    Packed = 64,
    Have = 65,
    Coming = 66,
    Want = 67,
    NotFound = 68,
    GetBlocks = 69,
    GetPool = 70,
    PoolIds = 71,
    WantPool = 72,
    HyParView = 73,
    Plumtree = 74,
    Sampling = 75,
}

/// First byte of the kinds that are Molva's own.
const EXTENSION_FIRST: usize = Kind::Packed as usize;
/// How many kinds are grin's: those from 0 on.
const GRIN_KINDS: usize = Kind::KernelSegment as usize + 1;

impl Kind {
    /// Every kind, in the order of its byte.
    pub const ALL: [Self; 41] = [
        Self::Error,
        Self::Hand,
        Self::Shake,
        Self::Ping,
        Self::Pong,
        Self::GetPeerAddrs,
        Self::PeerAddrs,
        Self::GetHeaders,
        Self::Header,
        Self::Headers,
        Self::GetBlock,
        Self::Block,
        Self::GetCompactBlock,
        Self::CompactBlock,
        Self::StemTransaction,
        Self::Transaction,
        Self::TxHashSetRequest,
        Self::TxHashSetArchive,
        Self::BanReason,
        Self::GetTransaction,
        Self::TransactionKernel,
        Self::GetOutputBitmapSegment,
        Self::OutputBitmapSegment,
        Self::GetOutputSegment,
        Self::OutputSegment,
        Self::GetRangeProofSegment,
        Self::RangeProofSegment,
        Self::GetKernelSegment,
        Self::KernelSegment,
        Self::Packed,
        Self::Have,
        Self::Coming,
        Self::Want,
        Self::NotFound,
        Self::GetBlocks,
        Self::GetPool,
        Self::PoolIds,
        Self::WantPool,
        Self::HyParView,
        Self::Plumtree,
        Self::Sampling,
    ];

    /// The kind of this byte; `None` is an unknown kind, which is skipped.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        let byte = byte as usize;
        let index = match byte {
            EXTENSION_FIRST.. => GRIN_KINDS + byte - EXTENSION_FIRST,
            _ if byte < GRIN_KINDS => byte,
            _ => return None,
        };
        if index < Self::ALL.len() { Some(Self::ALL[index]) } else { None }
    }

    /// Whether only peers that offer `Capabilities::EXTENSION` may send it, and get it.
    #[must_use]
    pub const fn is_extension(self) -> bool {
        self as usize >= EXTENSION_FIRST
    }

    /// Whether a body of this kind is the chain's, to be passed on as it came. Such a body must be
    /// canonical.
    #[must_use]
    pub const fn is_payload(self) -> bool {
        self.is_relay() || matches!(self, Self::StemTransaction)
    }

    /// Whether bodies of this kind are made of what belongs to the chain, relayed or answered. On a
    /// network of opaque bodies only the chain can read them.
    #[must_use]
    pub const fn is_chain_data(self) -> bool {
        self.is_payload()
            || matches!(
                self,
                Self::Headers
                    | Self::OutputBitmapSegment
                    | Self::OutputSegment
                    | Self::RangeProofSegment
                    | Self::KernelSegment
            )
    }

    /// Whether frames of this kind are payloads that are relayed and deduplicated. Stem
    /// transactions are not: they must leave no trace in what others can probe.
    #[must_use]
    pub const fn is_relay(self) -> bool {
        matches!(self, Self::Header | Self::Block | Self::CompactBlock | Self::Transaction)
    }
}

/// Why bytes are not a frame. The sender's fault, always.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream is of another network, or out of step.
    #[error("wrong magic {found:02x?}")]
    WrongMagic {
        /// The two bytes that came.
        found: [u8; 2],
    },
    /// The header promises more than this kind may hold.
    #[error("body of {length} bytes for kind {kind}, at most {limit}")]
    BodyTooLong {
        /// Kind byte.
        kind: u8,
        /// Length promised.
        length: u64,
        /// Most that the kind may have.
        limit: u64,
    },
}

/// The first 11 bytes of a frame, checked against a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// Kind byte, known or not.
    pub kind: u8,
    /// Bytes of the body.
    pub length: u64,
}

impl FrameHeader {
    /// Reads and checks a header: magic first, then the length against the limit of the kind.
    ///
    /// # Errors
    ///
    /// [`FrameError`], from these 11 bytes alone.
    pub fn decode(
        bytes: &[u8; FRAME_HEADER_BYTES],
        magic: [u8; 2],
        limits: &Limits,
    ) -> Result<Self, FrameError> {
        let [m0, m1, kind, length @ ..] = *bytes;
        if [m0, m1] != magic {
            return Err(FrameError::WrongMagic { found: [m0, m1] });
        }
        let length = u64::from_be_bytes(length);
        let limit = Kind::from_byte(kind)
            .map_or_else(|| limits.unknown_body_bytes_max(), |kind| limits.body_bytes_max(kind));
        if length > limit {
            return Err(FrameError::BodyTooLong { kind, length, limit });
        }
        Ok(Self { kind, length })
    }

    /// The 11 bytes of this header on a network.
    #[must_use]
    pub fn encode(self, magic: [u8; 2]) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..2].copy_from_slice(&magic);
        bytes[2] = self.kind;
        bytes[3..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// Bytes of the whole frame. Fits `usize`: `decode` bounded the length.
    #[must_use]
    pub const fn frame_bytes(self) -> usize {
        FRAME_HEADER_BYTES + self.length as usize
    }
}

/// What stands at the front of a slice of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split<'a> {
    /// A whole frame of a known kind, header included.
    Whole(Kind, &'a [u8]),
    /// A frame of an unknown kind, whole (its bytes are to be passed over) or not.
    Unknown(FrameHeader),
    /// The slice ends inside the frame; the header, if all of it is here, was checked.
    Partial(Option<FrameHeader>),
}

/// Looks at the front of `input`, which starts at a frame boundary.
///
/// # Errors
///
/// [`FrameError`], as soon as the 11 header bytes are here.
#[inline]
pub fn split<'a>(input: &'a [u8], network: &Network) -> Result<Split<'a>, FrameError> {
    let Some(header) = input.first_chunk::<FRAME_HEADER_BYTES>() else {
        return Ok(Split::Partial(None));
    };
    let header = FrameHeader::decode(header, network.magic, &network.limits)?;
    let Some(kind) = Kind::from_byte(header.kind) else { return Ok(Split::Unknown(header)) };
    match input.get(..header.frame_bytes()) {
        Some(frame) => Ok(Split::Whole(kind, frame)),
        None => Ok(Split::Partial(Some(header))),
    }
}

/// A whole frame of a known kind: borrowed from the lent buffer that it came in, or the owned
/// buffer that it was assembled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// All of it lay in one receive.
    Borrowed(Kind, &'a [u8]),
    /// It spanned receives. The buffer becomes the payload without another copy.
    Assembled(Kind, Vec<u8>),
}

impl Frame<'_> {
    /// The frame's kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Borrowed(kind, _) | Self::Assembled(kind, _) => *kind,
        }
    }

    /// Header and body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(_, bytes) => bytes,
            Self::Assembled(_, bytes) => bytes,
        }
    }

    /// The bytes after the header.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.bytes()[FRAME_HEADER_BYTES..]
    }
}

/// First capacity of an assembly buffer; it doubles with the bytes received, never with the
/// length promised, so that a promise costs us nothing.
const ASSEMBLY_BYTES_MIN: usize = 4_096;

/// The one frame that the stream so far ends in the middle of. Empty, it owns no buffer. It also
/// counts down an attachment, of which it keeps no byte.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    state: Partial,
}

const _: () = assert!(size_of::<FrameDecoder>() <= 40, "each connection has one");

#[derive(Debug, Default)]
enum Partial {
    /// At a frame boundary.
    #[default]
    None,
    /// Inside the 11 header bytes.
    Header { bytes: [u8; FRAME_HEADER_BYTES], filled: u8 },
    /// Inside a body. `bytes` holds header and body so far, `total` what the whole frame has.
    Body { kind: Kind, bytes: Vec<u8>, total: usize },
    /// Inside a body of an unknown kind: this many bytes remain to be passed over.
    Skip(u64),
    /// Between two frames, inside an attachment of which this many bytes are still to come.
    Attachment(u64),
}

impl FrameDecoder {
    /// Whether there is no partial frame: the stream is at a frame boundary, or inside the
    /// attachment that stands between two frames.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        matches!(self.state, Partial::None | Partial::Attachment(_))
    }

    /// Says that the next `bytes` of the stream are no frames but the attachment of the frame that
    /// came last, a TxHashSetArchive.
    ///
    /// ```
    /// use codec::{FrameDecoder, Network};
    /// let mut decoder = FrameDecoder::default();
    /// decoder.begin_attachment(5);
    /// let mut input = &b"archive"[..];
    /// assert_eq!(decoder.next(&mut input, &Network::DEV), Ok(None), "no frame yet");
    /// assert_eq!(decoder.take_attachment(&mut input, 3), b"arc");
    /// assert_eq!(decoder.take_attachment(&mut input, 3), b"hi");
    /// assert_eq!((decoder.attachment_bytes_missing(), input), (0, &b"ve"[..]));
    /// ```
    ///
    /// # Panics
    ///
    /// If the stream is not at a frame boundary: a frame is here in part, or another attachment.
    pub fn begin_attachment(&mut self, bytes: u64) {
        assert!(self.is_at_boundary(), "an attachment begins behind a whole frame");
        if bytes > 0 {
            self.state = Partial::Attachment(bytes);
        }
    }

    /// Bytes of the attachment that are still to come. While there are any the stream is raw:
    /// [`FrameDecoder::take_attachment`] reads it, and nothing else does.
    #[must_use]
    pub const fn attachment_bytes_missing(&self) -> u64 {
        match self.state {
            Partial::Attachment(missing) => missing,
            Partial::None | Partial::Header { .. } | Partial::Body { .. } | Partial::Skip(_) => 0,
        }
    }

    /// Takes from the front of `input` what belongs to the attachment, at most `max` bytes.
    pub fn take_attachment<'a>(&mut self, input: &mut &'a [u8], max: usize) -> &'a [u8] {
        let Partial::Attachment(missing) = &mut self.state else { return &[] };
        let part = take(input, max.min(usize::try_from(*missing).unwrap_or(usize::MAX)));
        *missing -= part.len() as u64;
        if *missing == 0 {
            self.state = Partial::None;
        }
        part
    }

    const fn is_at_boundary(&self) -> bool {
        matches!(self.state, Partial::None)
    }

    /// Whether a frame of an unknown kind is being passed over.
    #[must_use]
    pub const fn is_skipping(&self) -> bool {
        matches!(self.state, Partial::Skip(_))
    }

    /// What is here of the body that is being assembled.
    #[must_use]
    pub fn body_so_far(&self) -> &[u8] {
        match &self.state {
            Partial::Body { bytes, .. } => &bytes[FRAME_HEADER_BYTES..],
            Partial::None | Partial::Header { .. } | Partial::Skip(_) | Partial::Attachment(_) => {
                &[]
            }
        }
    }

    /// Gives up the frame that is being assembled: what is here is dropped, the rest will be passed
    /// over as if its kind were unknown. Does nothing if no body is being assembled.
    ///
    /// ```
    /// use codec::{FrameDecoder, Kind, Network, Payload};
    /// let frame = Payload::seal(&Network::DEV, Kind::Transaction, b"known").unwrap();
    /// let (mut first, mut rest) = frame.frame().split_at(13);
    /// let mut decoder = FrameDecoder::default();
    /// assert_eq!(decoder.next(&mut first, &Network::DEV), Ok(None));
    /// assert_eq!(decoder.body_so_far(), b"kn");
    /// decoder.skip_rest();
    /// assert_eq!((decoder.body_so_far(), decoder.buffered_bytes()), (&b""[..], 0));
    /// assert_eq!(decoder.next(&mut rest, &Network::DEV), Ok(None));
    /// assert!(rest.is_empty() && decoder.is_empty());
    /// ```
    pub fn skip_rest(&mut self) {
        if let Partial::Body { bytes, total, .. } = &self.state {
            // A whole body leaves at once, so that something is missing here.
            self.state = Partial::Skip((*total - bytes.len()) as u64);
        }
    }

    /// The known kind being assembled, the bytes of it here and the bytes of the whole frame.
    #[must_use]
    pub fn assembling(&self) -> Option<(Kind, usize, usize)> {
        match &self.state {
            Partial::Body { kind, bytes, total } => Some((*kind, bytes.len(), *total)),
            Partial::None | Partial::Header { .. } | Partial::Skip(_) | Partial::Attachment(_) => {
                None
            }
        }
    }

    /// Header bytes that the partial frame lacks; zero once its length is known.
    #[must_use]
    pub const fn header_bytes_missing(&self) -> usize {
        match &self.state {
            Partial::Header { filled, .. } => FRAME_HEADER_BYTES - *filled as usize,
            Partial::None | Partial::Body { .. } | Partial::Skip(_) | Partial::Attachment(_) => 0,
        }
    }

    /// Bytes that the partial frame has in all, or still has to be passed over; zero while its
    /// length is unknown.
    #[must_use]
    pub const fn frame_bytes_promised(&self) -> u64 {
        match &self.state {
            Partial::None | Partial::Header { .. } | Partial::Attachment(_) => 0,
            Partial::Body { total, .. } => *total as u64,
            Partial::Skip(remaining) => *remaining,
        }
    }

    /// Bytes that the assembly buffer occupies.
    #[must_use]
    pub const fn buffered_bytes(&self) -> usize {
        match &self.state {
            Partial::Body { bytes, .. } => bytes.capacity(),
            Partial::None | Partial::Header { .. } | Partial::Skip(_) | Partial::Attachment(_) => 0,
        }
    }

    /// Takes from the front of `input` what belongs to the partial frame, and gives the frame when
    /// it is whole. Does nothing without a partial frame. Bytes not taken stay in `input`.
    ///
    /// # Errors
    ///
    /// [`FrameError`], as soon as the header is whole.
    pub fn resume(
        &mut self,
        input: &mut &[u8],
        network: &Network,
    ) -> Result<Option<Frame<'static>>, FrameError> {
        loop {
            match &mut self.state {
                Partial::None | Partial::Attachment(_) => return Ok(None),
                Partial::Header { bytes, filled } => {
                    let part = take(input, FRAME_HEADER_BYTES - usize::from(*filled));
                    bytes[usize::from(*filled)..][..part.len()].copy_from_slice(part);
                    *filled += part.len() as u8;
                    if usize::from(*filled) < FRAME_HEADER_BYTES {
                        return Ok(None);
                    }
                    let bytes = *bytes;
                    let header = FrameHeader::decode(&bytes, network.magic, &network.limits)?;
                    self.state = Partial::after_header(&bytes, header);
                }
                Partial::Skip(remaining) => {
                    let part = take(input, usize::try_from(*remaining).unwrap_or(usize::MAX));
                    *remaining -= part.len() as u64;
                    if *remaining == 0 {
                        self.state = Partial::None;
                    }
                    return Ok(None);
                }
                Partial::Body { kind, bytes, total } => {
                    let part = take(input, *total - bytes.len());
                    grow(bytes, part.len(), *total);
                    bytes.extend_from_slice(part);
                    if bytes.len() < *total {
                        return Ok(None);
                    }
                    let frame = Frame::Assembled(*kind, std::mem::take(bytes));
                    self.state = Partial::None;
                    return Ok(Some(frame));
                }
            }
        }
    }

    /// Keeps `tail`, the start of a frame that [`split`] called partial (or unknown), and which
    /// holds nothing after that frame.
    ///
    /// # Errors
    ///
    /// [`FrameError`], as [`FrameDecoder::resume`].
    ///
    /// # Panics
    ///
    /// If a partial frame is here already, or an attachment: the driver finishes it first.
    pub fn absorb(&mut self, mut tail: &[u8], network: &Network) -> Result<(), FrameError> {
        assert!(self.is_at_boundary(), "finish what is partial first");
        if tail.is_empty() {
            return Ok(());
        }
        self.state = Partial::Header { bytes: [0; FRAME_HEADER_BYTES], filled: 0 };
        let whole = self.resume(&mut tail, network)?;
        assert!(whole.is_none() && tail.is_empty(), "absorb takes only the tail");
        Ok(())
    }

    /// The next frame of a stream, passing over unknown kinds; `None` when `input` is used up, or
    /// when what follows is an attachment.
    /// The simple way to read; a batching reader uses [`split`], `resume` and `absorb` itself.
    ///
    /// # Errors
    ///
    /// [`FrameError`]; the stream is of no further use then.
    pub fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        network: &Network,
    ) -> Result<Option<Frame<'a>>, FrameError> {
        loop {
            if let Some(frame) = self.resume(input, network)? {
                return Ok(Some(frame));
            }
            if !self.is_at_boundary() {
                return Ok(None);
            }
            match split(input, network)? {
                Split::Whole(kind, bytes) => {
                    *input = &input[bytes.len()..];
                    return Ok(Some(Frame::Borrowed(kind, bytes)));
                }
                Split::Unknown(header) => {
                    let part = take(input, header.frame_bytes());
                    if part.len() < header.frame_bytes() {
                        self.absorb(part, network)?;
                    }
                }
                Split::Partial(_) => {
                    self.absorb(std::mem::take(input), network)?;
                    return Ok(None);
                }
            }
        }
    }
}

impl Partial {
    fn after_header(bytes: &[u8; FRAME_HEADER_BYTES], header: FrameHeader) -> Self {
        match Kind::from_byte(header.kind) {
            Some(kind) => {
                let total = header.frame_bytes();
                let mut buffer = Vec::with_capacity(total.min(ASSEMBLY_BYTES_MIN));
                buffer.extend_from_slice(bytes);
                Self::Body { kind, bytes: buffer, total }
            }
            None if header.length == 0 => Self::None,
            None => Self::Skip(header.length),
        }
    }
}

/// Splits up to `most` bytes off the front of `input`.
fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (front, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    front
}

/// Makes room for `more` bytes by doubling, at most to the size of the frame.
fn grow(bytes: &mut Vec<u8>, more: usize, total: usize) {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        let capacity = needed.max(bytes.capacity() * 2).min(total);
        bytes.reserve_exact(capacity - bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_the_kind_that_has_it_or_none() {
        for byte in 0..=u8::MAX {
            let expected = Kind::ALL.into_iter().find(|kind| *kind as u8 == byte);
            assert_eq!(Kind::from_byte(byte), expected, "{byte}");
        }
        assert!(Kind::ALL.is_sorted());
        let ours = Kind::ALL.into_iter().filter(|kind| kind.is_extension());
        assert_eq!(ours.count(), Kind::ALL.len() - GRIN_KINDS);
    }

    #[test]
    fn none_of_our_own_kinds_is_a_payload() {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_extension()) {
            assert!(!kind.is_payload() && !kind.is_relay() && !kind.is_chain_data(), "{kind:?}");
        }
    }
}
