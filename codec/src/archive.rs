//! The archive of unspent outputs: how a node starts without the blocks since genesis.
//!
//! Its frame only says how many raw bytes follow it; the reader of the stream counts those down,
//! see [`FrameDecoder::begin_attachment`](crate::FrameDecoder::begin_attachment).

use crate::payload::Hash;
use crate::wire::{Context, Decode, DecodeError, Encode, EncodeError, Reader, Writer};

/// Asks for the archive. grin's nodes look at neither field and send the one that they have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArchiveRequest {
    /// Hash of the block that it is wanted at.
    pub block: Hash,
    /// Height of that block.
    pub height: u64,
}

impl Decode<'_> for ArchiveRequest {
    fn decode(reader: &mut Reader<'_>, _: &Context<'_>) -> Result<Self, DecodeError> {
        Ok(Self { block: reader.hash()?, height: reader.u64()? })
    }
}

impl Encode for ArchiveRequest {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.hash(self.block);
        writer.u64(self.height);
        Ok(())
    }
}

/// Answers an [`ArchiveRequest`]: the archive follows, as raw bytes behind the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Archive {
    /// Hash of the block that it was made at.
    pub block: Hash,
    /// Height of that block.
    pub height: u64,
    /// Bytes of the attachment. Nothing bounds them here: they are not stored, and the reader
    /// decides how many it takes.
    pub bytes: u64,
}

impl Decode<'_> for Archive {
    fn decode(reader: &mut Reader<'_>, _: &Context<'_>) -> Result<Self, DecodeError> {
        Ok(Self { block: reader.hash()?, height: reader.u64()?, bytes: reader.u64()? })
    }
}

impl Encode for Archive {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.hash(self.block);
        writer.u64(self.height);
        writer.u64(self.bytes);
        Ok(())
    }
}
