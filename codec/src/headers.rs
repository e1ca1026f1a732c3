//! Runs of block headers: the answer to a locator.

use std::fmt;

use crate::block::BlockHeader;
use crate::limits::{HEADERS_MAX, Limits};
use crate::wire::{Context, Decode, DecodeError, Encode, EncodeError, Reader, Writer};

/// Headers of a chain one after the other, at most [`HEADERS_MAX`]: borrowed from the values that
/// are to be sent, or from the bytes that came.
///
/// A body without a header is read, as grin's nodes send it when they know nothing newer. It is
/// never written: grin's reader drops the connection on it.
#[derive(Clone, Copy)]
pub struct Headers<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Values(&'a [BlockHeader<'a>]),
    /// So many headers were read from these bytes once, without an error.
    Wire {
        count: usize,
        bytes: &'a [u8],
        limits: Limits,
    },
}

impl<'a> Headers<'a> {
    /// Headers to send; those after the first [`HEADERS_MAX`] are left out.
    #[must_use]
    pub fn new(headers: &'a [BlockHeader<'a>]) -> Self {
        Self(Source::Values(&headers[..headers.len().min(HEADERS_MAX)]))
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.0 {
            Source::Values(headers) => headers.len(),
            Source::Wire { count, .. } => count,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The headers, in the order of the message.
    pub fn iter(&self) -> impl Iterator<Item = BlockHeader<'a>> + use<'a> {
        let (values, bytes, limits): (&[BlockHeader<'_>], &[u8], Limits) = match self.0 {
            Source::Values(headers) => (headers, &[], Limits::MAINNET),
            Source::Wire { bytes, limits, .. } => (&[], bytes, limits),
        };
        let mut reader = Reader::new(bytes);
        let read = std::iter::from_fn(move || {
            if reader.rest().is_empty() {
                None
            } else {
                BlockHeader::read(&mut reader, &limits).ok()
            }
        });
        values.iter().copied().chain(read)
    }
}

impl<'a> Decode<'a> for Headers<'a> {
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError> {
        let (count, limits) = (usize::from(reader.u16()?), context.network.limits);
        if count > HEADERS_MAX {
            let limit = HEADERS_MAX as u64;
            return Err(DecodeError::ListTooLong { count: count as u64, limit });
        }
        let bytes = reader.rest();
        for _ in 0..count {
            BlockHeader::read(reader, &limits)?;
        }
        let bytes = &bytes[..bytes.len() - reader.rest().len()];
        Ok(Self(Source::Wire { count, bytes, limits }))
    }
}

impl Encode for Headers<'_> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        if self.is_empty() {
            return Err(EncodeError::NoHeaders);
        }
        writer.u16(self.len() as u16);
        self.iter().try_for_each(|header| header.encode(writer, version))
    }
}

impl PartialEq for Headers<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers<'_> {}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
