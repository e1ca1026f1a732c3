//! Payloads: what travels between the chain and the sockets, framed once and then shared.

use std::fmt;
use std::sync::Arc;

use blake2b_simd::Params;
use blake2b_simd::many::{HashManyJob, hash_many};

use crate::convert::{NotConvertible, convert, forms};
use crate::extension::{ENVELOPE_HEAD_BYTES, Envelope};
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
    Assembled(Arc<Assembled>),
}

/// A buffer of its own, and what belongs to it.
struct Assembled {
    frame: Vec<u8>,
    /// The id, where it was computed beforehand.
    id: Option<PayloadId>,
    /// The same body in an envelope.
    packed: Option<Payload>,
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
            bytes: Bytes::assembled(bytes),
            kind: None,
            format: PayloadFormat::Opaque,
            proof_nonces: 1,
            block_weight_max: 0,
        }
    }

    /// Takes a whole frame, header included.
    pub(crate) fn new(network: &Network, kind: Kind, frame: Vec<u8>) -> Self {
        Self::with(network, kind, Bytes::assembled(frame))
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
            Bytes::Assembled(bytes) => &bytes.frame,
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
    /// microsecond for a transaction: who needs it twice keeps it, or [has it
    /// kept](Payload::with_id).
    #[must_use]
    pub fn id(&self) -> PayloadId {
        let computed = || self.format.id(self.kind(), self.body(), &self.limits());
        self.kept_id().unwrap_or_else(computed)
    }

    fn kept_id(&self) -> Option<PayloadId> {
        match &self.bytes {
            Bytes::Copied(_) => None,
            Bytes::Assembled(assembled) => assembled.id,
        }
    }

    /// The same with its id computed now, on this thread, so that nobody computes it again. The
    /// bytes are copied if others own them too, or if they were copied off the stream.
    #[must_use]
    pub fn with_id(self) -> Self {
        if self.kept_id().is_some() {
            return self;
        }
        let id = self.id();
        self.rebuilt(|assembled| assembled.id = Some(id))
    }

    /// The same with its body in an envelope beside it, for peers that open such. The bytes are
    /// copied as by [`Payload::with_id`]. A [conversion](Payload::convert) that changes the body
    /// leaves the envelope behind.
    ///
    /// # Panics
    ///
    /// If `packed` is no envelope of this kind: it was made from this payload, or this from it.
    #[must_use]
    pub fn with_packed(self, packed: Self) -> Self {
        let held = packed.envelope().map(|(kind, ..)| kind);
        assert_eq!(held, self.kind, "an envelope of this kind");
        self.rebuilt(|assembled| assembled.packed = Some(packed))
    }

    /// The same body in an envelope, if that was made.
    #[must_use]
    pub fn packed(&self) -> Option<&Self> {
        match &self.bytes {
            Bytes::Copied(_) => None,
            Bytes::Assembled(assembled) => assembled.packed.as_ref(),
        }
    }

    /// What an envelope says that it holds: kind, id, bytes of the plain body. Read, not judged:
    /// that is what [`Envelope`] does. `None` if it is none.
    #[must_use]
    pub fn envelope(&self) -> Option<(Kind, PayloadId, u32)> {
        let (Some(Kind::Packed), Some((head, _))) =
            (self.kind, self.body().split_first_chunk::<ENVELOPE_HEAD_BYTES>())
        else {
            return None;
        };
        let (bytes, id) = head[2..].split_first_chunk::<4>()?;
        let id = Hash(*id.first_chunk()?);
        let kind = Kind::from_byte(head[0]).filter(|kind| Envelope::may_hold(*kind))?;
        Some((kind, id, u32::from_be_bytes(*bytes)))
    }

    /// The header of this block or compact block, as a payload of its own, of the same id. `None`
    /// if it is neither, if the network's format does not tell where the header ends, or if the
    /// body ends before.
    #[must_use]
    pub fn header(&self, network: &Network) -> Option<Self> {
        if !matches!(self.kind, Some(Kind::Block | Kind::CompactBlock)) {
            return None;
        }
        let length = self.format.header_of(self.body(), &self.limits())?;
        Self::seal(network, Kind::Header, &self.body()[..length]).ok()
    }

    fn rebuilt(self, change: impl FnOnce(&mut Assembled)) -> Self {
        let mut assembled = match self.bytes {
            Bytes::Copied(bytes) => Assembled { frame: bytes.to_vec(), id: None, packed: None },
            Bytes::Assembled(shared) => {
                Arc::try_unwrap(shared).unwrap_or_else(|shared| Assembled {
                    frame: shared.frame.clone(),
                    id: shared.id,
                    packed: shared.packed.clone(),
                })
            }
        };
        change(&mut assembled);
        Self { bytes: Bytes::Assembled(Arc::new(assembled)), ..self }
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
            PayloadFormat::Opaque | PayloadFormat::Headed { .. } => Forms::ALL,
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

impl Bytes {
    fn assembled(frame: Vec<u8>) -> Self {
        Self::Assembled(Arc::new(Assembled { frame, id: None, packed: None }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::Packing;
    use crate::message::Message;

    const HEADED: Network =
        Network { format: PayloadFormat::Headed { header_bytes: 4 }, ..Network::DEV };

    fn block() -> Payload {
        Payload::seal(&HEADED, Kind::Block, b"headbody").unwrap()
    }

    fn envelope_of(payload: &Payload) -> Payload {
        let envelope = Envelope {
            kind: payload.kind(),
            packing: Packing::Stored,
            plain_bytes: payload.body().len() as u32,
            id: payload.id(),
            data: payload.body(),
        };
        Message::Packed(envelope).to_payload(&HEADED, 1000).unwrap()
    }

    #[test]
    fn an_id_is_kept_and_the_same() {
        let (plain, id) = (block(), Hash::of(b"head"));
        let address = plain.frame().as_ptr();
        let kept = plain.with_id();
        assert_eq!((kept.kept_id(), kept.id()), (Some(id), id));
        assert_eq!(kept.frame().as_ptr(), address, "a sole owner copies nothing");

        let shared = kept.clone();
        let again = kept.with_id();
        assert_eq!(again.frame().as_ptr(), address, "nor who has it already");
        assert_eq!(shared.clone().kept_id(), Some(id), "whoever owns it has the id");

        let other = block();
        let (first, second) = (other.clone().with_id(), other);
        assert_eq!((first.kept_id(), second.kept_id()), (Some(id), None), "it is copied");
        assert_eq!((first.reference_count(), second.reference_count()), (1, 1));
        assert_eq!(first, second);

        let copied = Payload::from_frame(&HEADED, Frame::Borrowed(Kind::Block, first.frame()));
        assert_eq!(copied.clone().with_id(), copied);
        assert_eq!(copied.with_id().kept_id(), Some(id));
    }

    #[test]
    fn a_packed_form_travels_with_the_plain_one() {
        let plain = block().with_id();
        let packed = envelope_of(&plain);
        assert_eq!(packed.envelope(), Some((Kind::Block, plain.id(), 8)));
        assert_eq!((plain.packed(), plain.envelope()), (None, None));

        let both = plain.clone().with_packed(packed.clone());
        assert_eq!(both.packed(), Some(&packed));
        assert_eq!(both.kept_id(), Some(plain.id()), "the id stays");
        assert_eq!((both.clone().packed(), plain.packed()), (Some(&packed), None));
        assert_eq!(both.convert(&HEADED, 2).unwrap().packed(), Some(&packed), "the same body");

        let copied = Payload::from_frame(&HEADED, Frame::Borrowed(Kind::Block, plain.frame()));
        assert_eq!(copied.with_packed(packed.clone()).packed(), Some(&packed));
    }

    #[test]
    #[should_panic(expected = "an envelope of this kind")]
    fn a_packed_form_is_of_the_same_kind() {
        let other = Payload::seal(&HEADED, Kind::Transaction, b"headbody").unwrap();
        let _ = block().with_packed(envelope_of(&other));
    }

    #[test]
    fn bytes_that_are_no_envelope_tell_nothing() {
        let whole = envelope_of(&block());
        for length in 0..ENVELOPE_HEAD_BYTES {
            let cut = Payload::seal(&HEADED, Kind::Packed, &whole.body()[..length]).unwrap();
            assert_eq!(cut.envelope(), None);
        }
        let head = &whole.body()[..ENVELOPE_HEAD_BYTES];
        let cut = Payload::seal(&HEADED, Kind::Packed, head).unwrap();
        assert_eq!(cut.envelope(), whole.envelope(), "the head is enough");
        for byte in [Kind::StemTransaction as u8, Kind::Ping as u8, Kind::Packed as u8, 40, 255] {
            let mut body = whole.body().to_vec();
            body[0] = byte;
            let odd = Payload::seal(&HEADED, Kind::Packed, &body).unwrap();
            assert_eq!(odd.envelope(), None, "kind {byte}");
        }
        assert_eq!(Payload::piece(whole.body().to_vec()).envelope(), None);
    }

    #[test]
    fn a_block_gives_its_header() {
        let header = block().header(&HEADED).expect("four bytes");
        assert_eq!((header.kind(), header.body()), (Kind::Header, &b"head"[..]));
        assert_eq!(header.id(), block().id());
        let body = |kind, body: &[u8]| Payload::seal(&HEADED, kind, body).unwrap();
        assert_eq!(body(Kind::CompactBlock, b"head").header(&HEADED), Some(header));
        assert_eq!(body(Kind::Block, b"hea").header(&HEADED), None);
        assert_eq!(body(Kind::Transaction, b"headbody").header(&HEADED), None);
        assert_eq!(body(Kind::Header, b"head").header(&HEADED), None);
        let opaque = Payload::seal(&Network::DEV, Kind::Block, b"headbody").unwrap();
        assert_eq!(opaque.header(&Network::DEV), None, "who could tell");
    }
}
