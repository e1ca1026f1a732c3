//! How values lie in a recording: fields one after the other, integers little-endian, lists and
//! texts behind their length, a choice behind one byte.
//!
//! Each type is listed with all of its fields, so that one that is added elsewhere cannot be
//! forgotten here: it would not compile.

use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use codec::datagram::ClusterKey;
use codec::{
    Archive, Capabilities, FRAME_HEADER_BYTES, Frame, Hash, Kind, Limits, Network, Payload,
    PayloadFormat, SegmentId,
};

use crate::address::Locality;
use crate::address_book::BookLimits;
use crate::bans::{Ban, BanCause, BanTarget, Decider, Evidence};
use crate::chain::{ChainTip, Freshness, FromChain, Request, Source, ToChain, Verdict};
use crate::clustering::Cluster;
use crate::config::{Config, Gossip, Overlay, Rates, Seed, Slots};
use crate::dandelion::{DandelionRules, Embargo, Scheme};
use crate::event::{CloseReason, ConnId, Credit, Recipients};
use crate::gossip::push_pull::Rides;
use crate::gossip::{PlumtreeRules, PushPullRules};
use crate::inventory::InventoryLimits;
use crate::overlay::{
    Direction, Hardening, Heartbeat, HyParViewRules, Keep, Links, Partner, SamplingRules,
};
use crate::rates::Rate;
use crate::record::{AddressRecord, Change, Restored};
use crate::relaying::{Policy, RelayRules};
use crate::seen::SeenLimits;
use crate::sync::SyncRules;
use crate::time::{Instant, UnixTime};

/// Bytes are not what they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Damage;

/// What is read, from the front.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    /// Of which network payloads are.
    pub(super) network: &'a Network,
    /// Owns the one payload that an input may borrow.
    pub(super) lent: &'a OnceCell<Payload>,
}

/// A value that can be written down and read again.
pub(super) trait Field<'a>: Sized {
    fn put(&self, into: &mut Vec<u8>);
    fn read(from: &mut Reader<'a>) -> Result<Self, Damage>;
}

impl<'a> Reader<'a> {
    pub(super) fn take_bytes(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Damage)?;
        self.bytes = rest;
        Ok(taken)
    }
}

macro_rules! integers {
    ($($name:ident)+) => {$(
        impl Field<'_> for $name {
            fn put(&self, into: &mut Vec<u8>) {
                into.extend_from_slice(&self.to_le_bytes());
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
                let bytes = from.take_bytes(size_of::<Self>())?;
                Ok(Self::from_le_bytes(bytes.try_into().map_err(|_| Damage)?))
            }
        }
    )+};
}

integers! { u8 u16 u32 u64 }

/// Types that are made of another and give it back.
macro_rules! made_of {
    ($($name:ident: $inner:ty, $get:expr, $make:expr;)+) => {$(
        impl<'a> Field<'a> for $name {
            fn put(&self, into: &mut Vec<u8>) {
                let get: fn(&Self) -> $inner = $get;
                get(self).put(into);
            }

            fn read(from: &mut Reader<'a>) -> Result<Self, Damage> {
                let make: fn($inner) -> Result<Self, Damage> = $make;
                make(Field::read(from)?)
            }
        }
    )+};
}

made_of! {
    usize: u64, |it| *it as u64, |value| Self::try_from(value).map_err(|_| Damage);
    bool: u8, |it| u8::from(*it), |byte| if byte < 2 { Ok(byte == 1) } else { Err(Damage) };
    Duration: (u64, u32), |it| (it.as_secs(), it.subsec_nanos()), |(secs, nanos)| {
        if nanos < 1_000_000_000 { Ok(Self::new(secs, nanos)) } else { Err(Damage) }
    };
    Instant: u64, |it| it.micros(), |micros| Ok(Self::from_micros(micros));
    UnixTime: u64, |it| it.secs(), |secs| Ok(Self::from_secs(secs));
    Hash: [u8; 32], |it| it.0, |bytes| Ok(Self(bytes));
    ClusterKey: [u8; 32], |it| it.0, |bytes| Ok(Self(bytes));
    Capabilities: u32, |it| it.bits(), |bits| Ok(Self::from_bits(bits));
    ConnId: (u32, u32), |it| (it.index(), it.generation()), |(index, generation)| {
        Ok(Self::new(index, generation))
    };
    Kind: u8, |it| *it as u8, |byte| Self::from_byte(byte).ok_or(Damage);
    CloseReason: u8, |it| *it as u8, |byte| Self::ALL.get(usize::from(byte)).copied().ok_or(Damage);
    BanCause: u8, |it| *it as u8, |byte| Self::ALL.get(usize::from(byte)).copied().ok_or(Damage);
    IpAddr: (u8, u128), |it| match it {
        Self::V4(ip) => (4, u128::from(ip.to_bits())),
        Self::V6(ip) => (6, ip.to_bits()),
    }, |(version, bits)| match (version, u32::try_from(bits)) {
        (4, Ok(bits)) => Ok(Self::V4(bits.into())),
        (6, _) => Ok(Self::V6(bits.into())),
        _ => Err(Damage),
    };
    Limits: (u64, u8), |it| (it.block_weight_max(), it.proof_nonces()), |(weight, nonces)| {
        let possible = weight <= 1_000_000 && (1..=42).contains(&nonces);
        if possible { Ok(Self::new(weight, nonces)) } else { Err(Damage) }
    };
}

impl Field<'_> for u128 {
    fn put(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.to_le_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let bytes = from.take_bytes(size_of::<Self>())?;
        Ok(Self::from_le_bytes(bytes.try_into().map_err(|_| Damage)?))
    }
}

impl<'a, A: Field<'a>, B: Field<'a>> Field<'a> for (A, B) {
    fn put(&self, into: &mut Vec<u8>) {
        self.0.put(into);
        self.1.put(into);
    }

    fn read(from: &mut Reader<'a>) -> Result<Self, Damage> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

impl<const N: usize> Field<'_> for [u8; N] {
    fn put(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(self);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        from.take_bytes(N)?.try_into().map_err(|_| Damage)
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn put(&self, into: &mut Vec<u8>) {
        self.len().put(into);
        into.extend_from_slice(self);
    }

    fn read(from: &mut Reader<'a>) -> Result<Self, Damage> {
        let count = usize::read(from)?;
        from.take_bytes(count)
    }
}

impl Field<'_> for String {
    fn put(&self, into: &mut Vec<u8>) {
        self.as_bytes().put(into);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let bytes = <&[u8]>::read(from)?;
        str::from_utf8(bytes).map(Self::from).map_err(|_| Damage)
    }
}

impl Field<'_> for Box<str> {
    fn put(&self, into: &mut Vec<u8>) {
        self.as_bytes().put(into);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        String::read(from).map(Into::into)
    }
}

fn put_list<'a, T: Field<'a>>(list: &[T], into: &mut Vec<u8>) {
    list.len().put(into);
    list.iter().for_each(|item| item.put(into));
}

impl<'a, T: Field<'a>> Field<'a> for Vec<T> {
    fn put(&self, into: &mut Vec<u8>) {
        put_list(self, into);
    }

    fn read(from: &mut Reader<'a>) -> Result<Self, Damage> {
        let count = usize::read(from)?;
        // Not reserved: the count may be damaged, and each item takes a byte at least.
        if count > from.bytes.len() {
            return Err(Damage);
        }
        (0..count).map(|_| T::read(from)).collect()
    }
}

impl<'a, T: Field<'a>> Field<'a> for Box<[T]> {
    fn put(&self, into: &mut Vec<u8>) {
        put_list(self, into);
    }

    fn read(from: &mut Reader<'a>) -> Result<Self, Damage> {
        Vec::read(from).map(Into::into)
    }
}

impl<'a, T: Field<'a>> Field<'a> for Arc<[T]> {
    fn put(&self, into: &mut Vec<u8>) {
        put_list(self, into);
    }

    fn read(from: &mut Reader<'a>) -> Result<Self, Damage> {
        Vec::read(from).map(Into::into)
    }
}

impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    fn put(&self, into: &mut Vec<u8>) {
        self.is_some().put(into);
        self.iter().for_each(|value| value.put(into));
    }

    fn read(from: &mut Reader<'a>) -> Result<Self, Damage> {
        bool::read(from)?.then(|| T::read(from)).transpose()
    }
}

impl Field<'_> for SocketAddr {
    fn put(&self, into: &mut Vec<u8>) {
        self.ip().put(into);
        self.port().put(into);
        if let Self::V6(addr) = self {
            (addr.flowinfo(), addr.scope_id()).put(into);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let mut addr = Self::new(IpAddr::read(from)?, u16::read(from)?);
        if let Self::V6(addr) = &mut addr {
            addr.set_flowinfo(u32::read(from)?);
            addr.set_scope_id(u32::read(from)?);
        }
        Ok(addr)
    }
}

/// The frame, and the envelope beside it. That an id was computed beforehand is not written: it is
/// the same later.
impl<'a> Field<'a> for Payload {
    fn put(&self, into: &mut Vec<u8>) {
        (!self.is_piece()).then(|| self.kind()).put(into);
        self.frame().put(into);
        self.packed().cloned().put(into);
    }

    fn read(from: &mut Reader<'a>) -> Result<Self, Damage> {
        let (kind, bytes) = (Option::<Kind>::read(from)?, <&[u8]>::read(from)?);
        let payload = match kind {
            None => Self::piece(bytes.to_vec()),
            Some(_) if bytes.len() < FRAME_HEADER_BYTES => return Err(Damage),
            Some(kind) => Self::from_frame(from.network, Frame::Borrowed(kind, bytes)),
        };
        // An envelope holds no envelope: bytes that say so would have us go ever deeper.
        if !bool::read(from)? {
            return Ok(payload);
        }
        let (inner, bytes) = (Option::<Kind>::read(from)?, <&[u8]>::read(from)?);
        if inner != Some(Kind::Packed) || bytes.len() < FRAME_HEADER_BYTES || bool::read(from)? {
            return Err(Damage);
        }
        let packed = Self::from_frame(from.network, Frame::Borrowed(Kind::Packed, bytes));
        let fits = kind.is_some() && packed.envelope().map(|(kind, ..)| kind) == kind;
        if fits { Ok(payload.with_packed(packed)) } else { Err(Damage) }
    }
}

impl<'a> Field<'a> for &'a Payload {
    fn put(&self, into: &mut Vec<u8>) {
        Payload::put(self, into);
    }

    fn read(from: &mut Reader<'a>) -> Result<Self, Damage> {
        let payload = Payload::read(from)?;
        from.lent.set(payload).map_err(|_| Damage)?;
        from.lent.get().ok_or(Damage)
    }
}

/// The name is for people, and lives as long as the program: one that is no preset's is lost.
impl<'a> Field<'a> for Network {
    fn put(&self, into: &mut Vec<u8>) {
        let Self { name, magic, genesis, port, limits, format, nrd_kernels } = self;
        name.as_bytes().put(into);
        magic.put(into);
        genesis.put(into);
        port.put(into);
        limits.put(into);
        format.put(into);
        nrd_kernels.put(into);
    }

    fn read(from: &mut Reader<'a>) -> Result<Self, Damage> {
        let name = String::read(from)?;
        Ok(Self {
            name: Self::preset(&name).map_or("recorded", |preset| preset.name),
            magic: Field::read(from)?,
            genesis: Field::read(from)?,
            port: Field::read(from)?,
            limits: Field::read(from)?,
            format: Field::read(from)?,
            nrd_kernels: Field::read(from)?,
        })
    }
}

/// Structures, field by field.
macro_rules! structures {
    ($($name:ident { $($field:ident),+ $(,)? })+) => {$(
        impl<'a> Field<'a> for $name {
            fn put(&self, into: &mut Vec<u8>) {
                let Self { $($field),+ } = self;
                $($field.put(into);)+
            }

            fn read(from: &mut Reader<'a>) -> Result<Self, Damage> {
                Ok(Self { $($field: Field::read(from)?),+ })
            }
        }
    )+};
}

/// Choices: a byte for each variant, and its fields.
macro_rules! choices {
    ($($name:ident $(<$life:lifetime>)? {
        $($tag:literal = $variant:ident $(($item:ident))? $({ $($field:ident),+ })?,)+
    })+) => {$(
        impl<'a> Field<'a> for $name $(<$life>)? {
            fn put(&self, into: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $(($item))? $({ $($field),+ })? => {
                        into.push($tag);
                        $($item.put(into);)?
                        $($($field.put(into);)+)?
                    })+
                }
            }

            fn read(from: &mut Reader<'a>) -> Result<Self, Damage> {
                Ok(match u8::read(from)? {
                    $($tag => {
                        $(let $item = Field::read(from)?;)?
                        $($(let $field = Field::read(from)?;)+)?
                        Self::$variant $(($item))? $({ $($field),+ })?
                    })+
                    _ => return Err(Damage),
                })
            }
        }
    )+};
}
pub(super) use choices;

structures! {
    ChainTip { height, total_difficulty }
    Source { conn, addr }
    Archive { block, height, bytes }
    SegmentId { block, height, index }
    Credit { frames, items, bytes }
    Ban { target, cause, evidence, by, start, end }
    Evidence { kind, bytes, note }
    AddressRecord {
        addr, source, tried, capabilities, last_seen, last_attempt, last_success, failures,
    }
    Restored { secret, anchors, addresses, bans }
    Config {
        network, user_agent, capabilities, advertised, connect, seen, inventory,
        assembly_bytes_max, handshake_timeout, frame_timeout, ping_period, silence_timeout, started,
        locality, book, slots, seeds, denied, allowed, ban_duration, discouragement, rates,
        extension, relay, dandelion, sync, overlay, hyparview, sampling, gossip, plumtree,
        gossip_bytes_max, cluster,
    }
    SeenLimits { recent_ids, older_ids, older_bits_per_id }
    InventoryLimits { rows, slots }
    BookLimits {
        new_buckets, tried_buckets, bucket_places, horizon, new_failures_max, tried_failures_max,
        tried_failing,
    }
    Slots { outbound, outbound_floor, inbound, greeting, dials, feeler_period }
    Rates { answers, addresses, messages, unpacking, upload, download, grin_pace, datagrams }
    Rate { amount, per, burst }
    RelayRules { policy, unasked_bytes_max, recent_bytes_max }
    DandelionRules {
        scheme, epoch, fluff_percent, embargo, patience, lock_blocks_max, stems_max, stem_bytes_max,
    }
    SyncRules { window_blocks, window_bytes, peers }
    HyParViewRules {
        active_max, passive_max, join_walk, passive_walk, shuffle_walk, shuffle_active,
        shuffle_passive, shuffle_period, dial_timeout, reply_timeout, samplers, sampler_every,
        rejoin_min, rejoin_max, refusals_max, group_max, locality,
    }
    SamplingRules {
        view, period, heartbeat_period, patience, heartbeat, refresh, partner, direction, shared,
        keep, links, forgets, samplers, sampler_percent, hardening, locality,
    }
    Hardening { group_max, told_percent, probes, callers_max }
    PlumtreeRules {
        graft_after, graft_again_after, announce_after, shorten_by, remember, remembered_max,
        missing_max,
    }
    Cluster { key, contacts, rules }
    PushPullRules {
        rides, period, timeout, indirect, lambda, suspicion, suspicion_factor, health_max, tells,
        sync_period, recall_period, remember_dead, remember_events, members_max, events_max,
        cluster_size,
    }
}

choices! {
    Locality { 0 = Internet, 1 = Local, 2 = Hosts, }
    PayloadFormat { 0 = Grin, 1 = Opaque, 2 = Headed { header_bytes }, }
    Seed { 0 = Addr(addr), 1 = Name(name), }
    Policy { 0 = Flood, 1 = Sqrt, 2 = Announce, }
    Scheme { 0 = PlusPlus, 1 = Grin, 2 = AggregateOnStem, 3 = AggregateAndHold, }
    Embargo { 0 = Exponential(mean), 1 = Uniform { base, spread }, }
    Overlay { 0 = None, 1 = HyParView, 2 = Sampling, }
    Heartbeat { 0 = Nobody, 1 = One, 2 = Everyone, }
    Partner { 0 = Random, 1 = Oldest, }
    Direction { 0 = Push, 1 = Pull, 2 = PushPull, }
    Keep { 0 = Freshest, 1 = Stalest, 2 = Select { healer, swapper }, 3 = Swap, }
    Links { 0 = OneWay, 1 = TwoWay, }
    Gossip { 0 = None, 1 = Tree, 2 = Datagrams, }
    Rides { 0 = Probes, 1 = Application, }
    BanTarget { 0 = Endpoint(addr), 1 = Subnet { ip, prefix }, }
    Decider { 0 = Rule, 1 = Operator, }
    Change {
        0 = Address(record), 1 = AddressGone(addr), 2 = Ban(ban), 3 = BanGone(target),
        4 = Anchors(addrs), 5 = Secret(secret),
    }
    Recipients { 0 = One(conn), 1 = Many(conns), }
    Freshness { 0 = New, 1 = PerhapsLongAgo, 2 = Requested, 3 = Next, }
    Verdict { 0 = Accept, 1 = Keep, 2 = Invalid, 3 = Later, }
    Request {
        0 = Headers(locator), 1 = Block(id), 2 = CompactBlock(id), 3 = Transaction(id),
        4 = TxHashSet { block, height }, 5 = OutputBitmapSegment(id), 6 = OutputSegment(id),
        7 = RangeProofSegment(id), 8 = KernelSegment(id), 9 = Blocks { first, count },
    }
    FromChain {
        0 = Publish(payload), 1 = Verdict { from, payload, verdict }, 2 = Stem(payload),
        3 = Settled { ids }, 4 = Aggregated { batch, payload }, 5 = Fetch { kind, id },
        6 = FindHeaders { locator }, 7 = FetchBlocks { height, ids }, 8 = CancelBlocks,
        9 = Pool { ids }, 10 = NotFound { to, kind, id }, 11 = Fork { conn },
        12 = BadEnvelope { from, kind, id }, 13 = Request { to, request },
        14 = Deliver { to, payload }, 15 = SendArchive { to, archive }, 16 = GiveUpArchive { conn },
        17 = Accuse { from, cause, note }, 18 = ArchivePiece { to, piece },
    }
    ToChain {
        0 = Payload { from, payload, freshness }, 1 = Announced { from, kind, id },
        2 = Requested { from, request }, 3 = ArchiveBegins { from, archive },
        4 = ArchivePiece { from, offset, bytes }, 5 = ArchiveBroken { from },
        6 = PieceWanted { from, offset, length }, 7 = Behind { tip }, 8 = Missing { kind, id },
        9 = NoHeaders, 10 = Fluffed { payload }, 11 = Aggregate { batch, stems }, 12 = PoolWanted,
    }
}
