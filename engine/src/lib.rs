//! A peer-to-peer network engine for node backends: one thread, one io_uring.
//!
//! [`Engine::start`] takes a [`Config`] and gives the engine and the chain's end of the bridge. The
//! chain exchanges immutable [`Payload`]s with it and sees nothing of sockets; the [`Handle`] shows
//! peers, counts and closes by cause. The README has an example, which is compiled with these docs.
#![cfg_attr(doctest, doc = include_str!("../../README.md"))]

mod clock;
mod config;
mod config_file;
mod connection;
mod event_loop;
mod handle;
mod io;
mod resolver;
mod send_queue;
mod start;
mod topics;

pub use bridge::store::{MemoryReason, Place, Skipped, StoreNotice, StoreStatus, Unfit};
pub use bridge::{
    ChainSide, Config as LaneConfig, Counters, EngineEnd, Metrics, PackingConfig, Publisher,
    SendError,
};
pub use codec::datagram::{ClusterKey, SecretTooShort};
pub use codec::limits::RANGE_BYTES_MAX;
pub use codec::{
    Capabilities, Hash, Kind, Limits, Network, Payload, PayloadFormat, PayloadId, SealError,
};
pub use config::Config;
pub use config_file::ConfigFileError;
pub use handle::{Engine, Handle};
pub use io::{BufferConfig, RingError};
pub use peer::gossip::push_pull::{MemberInfo, Presumed};
pub use peer::gossip::{PlumtreeRules, PushPullRules};
pub use peer::overlay::{
    Direction as SamplingDirection, Hardening, Heartbeat, HyParViewRules, Keep, Links, Partner,
    SamplingRules,
};
pub use peer::{
    AddressRecord, Archive, BLOCKS_WANTED_MAX, Ban, BanCause, BanTarget, BookLimits, ChainTip,
    CloseReason, Cluster, Config as PeerConfig, ConnId, DandelionRules, Decider, Direction,
    Embargo, Evidence, Freshness, FromChain, Gossip, InventoryLimits, Locality, Overlay, PeerInfo,
    Policy, Rate, Rates, RecordingError, RelayRules, Replay, Request, Scheme, Seed, SeenLimits,
    SegmentId, Slots, Source, SyncRules, TargetError, ToChain, UnixTime, Verdict, replay,
};
pub use start::StartError;
pub use topics::{Heard, SUBSCRIPTION_MAX, SUBSCRIPTIONS_MAX, Subscription, TopicError};
