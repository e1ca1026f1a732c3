//! The wire format: bytes to values and back, without state or I/O.
//!
//! # On one page
//!
//! A connection carries frames in both directions, and nothing else. Numbers are big-endian.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 | magic of the network: main `61 3d`, test `53 3b`, all others `49 2b` |
//! | 2 | 1 | kind |
//! | 3 | 8 | length of the body |
//! | 11 | | body |
//!
//! One kind is followed by bytes that are no frame: TxHashSetArchive says how many, its attachment.
//!
//! | kind | | body |
//! |---|---|---|
//! | 1 | Hand | version, capabilities `u32`; nonce, total difficulty `u64` |
//! | | | sender, receiver: addresses; user agent: text; genesis: hash |
//! | 2 | Shake | version, capabilities `u32`; total difficulty `u64` |
//! | | | user agent: text; genesis: hash |
//! | 3, 4 | Ping, Pong | total difficulty `u64`, height `u64` |
//! | 5 | GetPeerAddrs | capabilities `u32` |
//! | 6 | PeerAddrs | count `u32`, addresses |
//! | 7 | GetHeaders | count `u8`, hashes |
//! | 8 | Header | block header |
//! | 9 | Headers | count `u16`, block headers |
//! | 10, 12 | GetBlock, GetCompactBlock | hash of the block |
//! | 11 | Block | block header, body |
//! | 13 | CompactBlock | block header, nonce and 3 counts `u64`, outputs, kernels, short ids |
//! | 14, 15 | StemTransaction, Transaction | offset of 32 bytes, body |
//! | 16 | TxHashSetRequest | hash of the block, height `u64` |
//! | 17 | TxHashSetArchive | the same, then length of the attachment `u64` |
//! | 18 | BanReason | code `i32` |
//! | 19, 20 | GetTransaction, TransactionKernel | hash of the first kernel |
//! | 21, 23, 25, 27 | GetOutputBitmapSegment, GetOutputSegment, | segment id |
//! | | GetRangeProofSegment, GetKernelSegment | |
//! | 22 | OutputBitmapSegment | segment id; count `u16`, blocks of the bitmap; proof; hash |
//! | 24 | OutputSegment | segment of features `u8`, commitment 33; hash |
//! | 26 | RangeProofSegment | segment of length `u64`, range proof 675 |
//! | 28 | KernelSegment | segment of kernels |
//! | 64 | Packed | kind, packing `u8`; plain length `u32`; id: hash; data |
//! | 65, 66 | Have, Coming | count `u16`, offers |
//! | 67, 68 | Want, NotFound | count `u16`, items |
//! | 69 | GetBlocks | hash of the first block, count `u16` |
//! | 70 | GetPool | salt, start `u64` |
//! | 71, 72 | PoolIds, WantPool | salt, start, end `u64`; count `u16`, short ids of 6 bytes |
//! | 73, 74, 75 | HyParView, Plumtree, Sampling | tag `u8`, then by it |
//!
//! Those from 64 on are Molva's own, for peers that offer [`Capabilities::EXTENSION`]. What they
//! mean is in `docs/wire.md`.
//!
//! | part | bytes |
//! |---|---|
//! | hash | 32, a BLAKE2b-256 |
//! | text | length `u64`, UTF-8 |
//! | address | family `u8`; 4 bytes (family 0) or 16; port `u16` |
//! | block header | 246 of fields, edge bits `u8`, the packed nonces of the proof |
//! | body | 3 counts `u64`, inputs, outputs, kernels, each list in the order of its hashes |
//! | input | commitment 33; up to version 2 a features byte before it |
//! | output | features `u8`, commitment 33, length `u64`, range proof 675 |
//! | kernel | features 1 to 17, excess 33, signature 64; up to version 1 always 114 |
//! | segment id | hash of the block, height `u8`, index `u64` |
//! | segment | segment id; count `u64`, positions `u64`, hashes; |
//! | | count `u64`, positions `u64`, items; proof |
//! | proof (of a segment) | count `u64`, hashes |
//! | block of the bitmap | chunks `u8`, mode `u8`; mode 0: 128 bytes a chunk; |
//! | | 1, 2: count `u16`, indices `u16` of the bits that are set, or clear |
//! | item | kind `u8`: Block, CompactBlock or Transaction; id: hash |
//! | offer | item; plain length `u32` |
//!
//! Both sides use the smaller of the two versions that Hand and Shake tell. Sizes and limits are in
//! [`limits`]: a length over the limit of its kind is refused from the 11 header bytes. Frames of
//! unknown kinds are passed over.
//!
//! # The ways through
//!
//! - Stream to frames: [`split`] for whole frames in a slice, [`FrameDecoder`] for the one that the
//!   slice ends in.
//! - Frame to value: [`Message::decode`], which borrows from the body. [`check`] answers only
//!   whether a body may be relayed.
//! - Value to frame: [`Message::encode_frame`] into a buffer that is used again,
//!   [`Message::to_payload`] into shared memory.
//! - Body to payload: [`Payload::seal`] frames bytes once; the [id](Payload::id) follows from the
//!   network's [`PayloadFormat`]. Its [envelope](Payload::with_packed) may go with it.
//! - Payload of one version to another: [`Payload::convert`], by [`convert`]. [`Payload::forms`]
//!   tells whom it suits as it is.
//!
//! ```
//! use codec::{Context, FrameDecoder, Message, Network, Ping};
//!
//! let (network, version) = (Network::GRIN_MAIN, 1000);
//! let ping = Message::Ping(Ping { total_difficulty: 7, height: 42 });
//! let mut stream = Vec::new();
//! ping.encode_frame(&network, version, &mut stream).unwrap();
//!
//! let (mut first, mut second) = stream.split_at(5);
//! let mut decoder = FrameDecoder::default();
//! assert_eq!(decoder.next(&mut first, &network), Ok(None));
//! let frame = decoder.next(&mut second, &network).unwrap().unwrap();
//! let context = Context { version, network: &network };
//! assert_eq!(Message::decode(frame.kind(), frame.body(), &context), Ok(ping));
//! ```
//!
//! Invariants: nothing from outside makes a panic; no length or count is believed before it was
//! compared with a limit; the one state is the frame that a stream ends in the middle of.
#![forbid(unsafe_code)]

mod addr;
mod archive;
mod bitmap;
mod block;
mod convert;
pub mod datagram;
mod extension;
mod form;
mod format;
mod frame;
mod handshake;
mod headers;
mod hyparview;
mod kernel;
pub mod limits;
mod message;
mod network;
mod payload;
mod plumtree;
mod sampling;
mod segment;
mod transaction;
mod wire;

pub use addr::PeerAddrs;
pub use archive::{Archive, ArchiveRequest};
pub use bitmap::{BITMAP_BLOCK_BYTES, BitmapBlock, BitmapBlocks, BitmapSegment};
pub use block::{Block, BlockHeader, CompactBlock, Locator, Proof, ShortId, ShortIdKey};
pub use convert::{NotConvertible, convert};
pub use extension::{
    BlockRange, ENVELOPE_HEAD_BYTES, Envelope, GetPool, Item, Offer, Packing, PoolId, PoolPart,
    Record, Records,
};
pub use form::{Form, Forms};
pub use format::{PayloadFormat, check};
pub use frame::{Frame, FrameDecoder, FrameError, FrameHeader, Kind, Split, split};
pub use handshake::{Capabilities, Hand, Shake};
pub use headers::Headers;
pub use hyparview::{HyParViewBody, HyParViewMessage, Priority};
pub use kernel::{Kernel, KernelFeatures, Kernels};
pub use limits::{FRAME_HEADER_BYTES, Limits};
pub use message::{BanReason, Message, Ping, Pong};
pub use network::Network;
pub use payload::{Hash, Payload, PayloadId, SealError};
pub use plumtree::{Gossip, HaveGossip, PlumtreeMessage};
pub use sampling::{SamplingBody, SamplingMessage, Sighting};
pub use segment::{
    KernelSegment, OutputIdentifier, OutputIdentifiers, OutputSegment, Positions,
    RangeProofSegment, RangeProofs, Segment, SegmentId,
};
pub use transaction::{
    Body, Commitment, Input, Inputs, Output, OutputFeatures, Outputs, Transaction,
};
pub use wire::{Context, Decode, DecodeError, Encode, EncodeError, List, Reader, Writer};
