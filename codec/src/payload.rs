//! Payloads: what travels between the chain and the sockets, framed once and then shared.

use std::fmt;
use std::sync::Arc;

use blake2b_simd::Params;
use blake2b_simd::many::{HashManyJob, hash_many};

use crate::convert::{NotConvertible, convert, forms};
use crate::form::{Form, Forms};
use crate::format::PayloadFormat;
use crate::frame::{Frame, FrameHeader, Kind};
use crate::limits::{FRAME_HEADER_BYTES, Limits};
use crate::network::Network;
use crate::wire::EncodeError;

/// 32 bytes that identify something: BLAKE2b-256 of what the protocol says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

/// The id of a payload, as the chain and the wire name it.
pub type PayloadId = Hash;

impl Hash {
    /// The BLAKE2b-256 of these bytes, unkeyed.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_digest(&blake2b_256().hash(bytes))
    }

    /// How many [`Hash::of_each`] computes side by side.
    pub(crate) const BATCH: usize = 4;

    /// The hashes of some inputs, in about the time of one.
    pub(crate) fn of_each<T: AsRef<[u8]>>(
        inputs: &[Option<T>; Self::BATCH],
    ) -> [Option<Self>; Self::BATCH] {
        let params = blake2b_256();
        let mut jobs = inputs
            .each_ref()
            .map(|input| input.as_ref().map(|input| HashManyJob::new(&params, input.as_ref())));
        hash_many(jobs.iter_mut().flatten());
        jobs.map(|job| job.map(|job| Self::from_digest(&job.to_hash())))
    }

    fn from_digest(digest: &blake2b_simd::Hash) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_bytes());
        Self(hash)
    }

    /// A constant from 64 hexadecimal digits, first byte first.
    ///
    /// # Panics
    ///
    /// If the text is anything else. For constants; text from outside goes through [`Hash::parse`].
    #[must_use]
    pub const fn from_hex(text: &str) -> Self {
        match Self::parse(text) {
            Some(hash) => hash,
            None => panic!("a hash is 64 hexadecimal digits"),
        }
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub const fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        let mut i = 0;
        while i < 32 {
            let (Some(high), Some(low)) = (digit(text[2 * i]), digit(text[2 * i + 1])) else {
                return None;
            };
            bytes[i] = high << 4 | low;
            i += 1;
        }
        Some(Self(bytes))
    }
}

fn blake2b_256() -> Params {
    let mut params = Params::new();
    params.hash_length(32);
    params
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One frame, immutable and shared: cloning it counts a reference and copies nothing.
///
/// Or, of an archive that is sent ([`Payload::piece`]), raw bytes that follow a frame: they go
/// through the same queues.
///
/// It is made with one allocation and one copy, or, from a frame that was assembled, without a
/// copy. The loop deduplicates by a keyed fingerprint and needs no id for most payloads, so the id
/// is computed when it is asked for, on the thread that asks.
#[derive(Clone)]
pub struct Payload {
    bytes: Bytes,
    /// `None` is a piece of an attachment.
    kind: Option<Kind>,
    format: PayloadFormat,
    proof_nonces: u8,
    block_weight_max: u32,
}

/// The frame's memory. Two forms, so that neither of its sources has to be copied twice.
#[derive(Clone)]
enum Bytes {
    /// Copied from where it was borrowed, beside its reference count.
    Copied(Arc<[u8]>),
    /// The very buffer that it was assembled in.
    Assembled(Arc<Vec<u8>>),
}

const _: () = assert!(size_of::<Payload>() <= 24, "queues hold many of these");

/// The body is longer than the wire allows for its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("body of {length} bytes for {kind:?}, at most {limit}")]
pub struct SealError {
    /// Kind asked for.
    pub kind: Kind,
    /// Length of the body.
    pub length: u64,
    /// Most that the kind may have.
    pub limit: u64,
}

impl Payload {
    /// Frames a body: header and body are written once, here, on the caller's thread.
    ///
    /// ```
    /// use codec::{Kind, Network, Payload};
    /// let payload = Payload::seal(&Network::DEV, Kind::Transaction, b"a body").unwrap();
    /// assert_eq!(payload.body(), b"a body");
    /// assert_eq!(payload.frame().len(), 11 + 6);
    /// ```
    ///
    /// # Errors
    ///
    /// [`SealError`] if the body is over the limit of its kind.
    pub fn seal(network: &Network, kind: Kind, body: &[u8]) -> Result<Self, SealError> {
        let length = body.len() as u64;
        let limit = network.limits.body_bytes_max(kind);
        if length > limit {
            return Err(SealError { kind, length, limit });
        }
        let header = FrameHeader { kind: kind as u8, length };
        let mut frame = Vec::with_capacity(header.frame_bytes());
        frame.extend_from_slice(&header.encode(network.magic));
        frame.extend_from_slice(body);
        Ok(Self::new(network, kind, frame))
    }

    /// Takes a frame off the stream: one copy if it is borrowed, none if it was assembled.
    #[must_use]
    pub fn from_frame(network: &Network, frame: Frame<'_>) -> Self {
        match frame {
            Frame::Borrowed(kind, bytes) => Self::with(network, kind, Bytes::Copied(bytes.into())),
            Frame::Assembled(kind, bytes) => Self::new(network, kind, bytes),
        }
    }

    /// Raw bytes of the attachment that follows a TxHashSetArchive, in the order of the stream.
    ///
    /// ```
    /// use codec::Payload;
    /// let piece = Payload::piece(b"raw".to_vec());
    /// assert!(piece.is_piece());
    /// assert_eq!(piece.frame(), b"raw");
    /// ```
    #[must_use]
    pub fn piece(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Bytes::Assembled(Arc::new(bytes)),
            kind: None,
            format: PayloadFormat::Opaque,
            proof_nonces: 1,
            block_weight_max: 0,
        }
    }

    /// Takes a whole frame, header included.
    pub(crate) fn new(network: &Network, kind: Kind, frame: Vec<u8>) -> Self {
        Self::with(network, kind, Bytes::Assembled(Arc::new(frame)))
    }

    fn with(network: &Network, kind: Kind, bytes: Bytes) -> Self {
        let Network { format, limits, .. } = network;
        Self {
            bytes,
            kind: Some(kind),
            format: *format,
            proof_nonces: limits.proof_nonces(),
            // `Limits` admits no weight over a million.
            block_weight_max: limits.block_weight_max() as u32,
        }
    }

    /// What it is; a piece of an attachment has the kind of the frame that it follows.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.kind {
            Some(kind) => kind,
            None => Kind::TxHashSetArchive,
        }
    }

    /// Whether it is no frame but a piece of an attachment.
    #[must_use]
    pub const fn is_piece(&self) -> bool {
        self.kind.is_none()
    }

    /// How many raw bytes follow this frame, if it is a TxHashSetArchive.
    #[must_use]
    pub fn attachment_bytes(&self) -> Option<u64> {
        match self.kind {
            Some(Kind::TxHashSetArchive) => attachment_bytes(self.body()),
            Some(_) | None => None,
        }
    }

    /// What goes on the wire: header and body, or the raw bytes of a piece.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Copied(bytes) => bytes,
            Bytes::Assembled(bytes) => bytes,
        }
    }

    /// The body alone; all of a piece.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        match self.kind {
            Some(_) => &self.frame()[FRAME_HEADER_BYTES..],
            None => self.frame(),
        }
    }

    /// The id that the network's format gives to this body. Each call computes it, about a
    /// microsecond for a transaction: who needs it twice keeps it.
    #[must_use]
    pub fn id(&self) -> PayloadId {
        self.format.id(self.kind(), self.body(), &self.limits())
    }

    /// The forms that its body may be read in: all of them if no version changes it. Empty if it is
    /// not laid out as its kind, and so was never checked. Each call reads the body, without a
    /// hash, about a microsecond for a transaction.
    ///
    /// ```
    /// use codec::{Form, Kind, Network, Payload};
    /// let payload = Payload::seal(&Network::DEV, Kind::Transaction, b"opaque").unwrap();
    /// assert!(payload.forms().contains(Form::of_version(2)));
    /// ```
    #[must_use]
    pub fn forms(&self) -> Forms {
        match self.format {
            PayloadFormat::Grin => forms(self.kind(), self.body(), &self.limits()),
            PayloadFormat::Opaque => Forms::ALL,
        }
    }

    /// The payload for peers of this version: itself if its bytes are, else with a body that is
    /// [converted](convert). The id is the same.
    ///
    /// # Errors
    ///
    /// [`NotConvertible`]: peers of that version cannot have it.
    pub fn convert(&self, network: &Network, to_version: u32) -> Result<Self, NotConvertible> {
        let forms = self.forms();
        if forms.contains(Form::of_version(to_version)) {
            return Ok(self.clone());
        }
        let Some(from) = forms.iter().next() else {
            return Err(NotConvertible::Unreadable);
        };
        let kind = self.kind();
        let body = convert(kind, self.body(), from.version(), to_version, network)?;
        Ok(Self::seal(network, kind, &body).map_err(EncodeError::from)?)
    }

    fn limits(&self) -> Limits {
        Limits::new(u64::from(self.block_weight_max), self.proof_nonces)
    }

    /// How many owners there are: the chain, queues, sends in flight.
    #[must_use]
    pub fn reference_count(&self) -> usize {
        match &self.bytes {
            Bytes::Copied(bytes) => Arc::strong_count(bytes),
            Bytes::Assembled(bytes) => Arc::strong_count(bytes),
        }
    }
}

/// Behind the hash and the height of a TxHashSetArchive.
fn attachment_bytes(body: &[u8]) -> Option<u64> {
    body.get(40..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "Payload({kind:?}, {} bytes)", self.frame().len()),
            None => write!(f, "Payload(piece, {} bytes)", self.frame().len()),
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
            && (std::ptr::eq(self.frame(), other.frame()) || self.frame() == other.frame())
    }
}

impl Eq for Payload {}
