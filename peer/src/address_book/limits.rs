//! How large the book is, and when it forgets.

use std::net::SocketAddr;
use std::time::Duration;

use codec::limits::PEER_ADDRS_MAX;

use super::entry::Entry;
use super::samples::SAMPLES;
use crate::address::HostKey;

/// Bounds of the address book. At the defaults it has places for 65,536 addresses only heard of and
/// for 16,384 that we reached, in at most 24 MiB, which grow with use.
///
/// One group of sources reaches a sixteenth of the new buckets, one group of addresses a
/// thirty-second of the tried ones, but at least one bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BookLimits {
    /// Buckets of addresses only heard of: a power of two, 16 to 4,096. Default 1,024, as Bitcoin
    /// Core.
    pub new_buckets: u32,
    /// Buckets of addresses that we reached: a power of two up to 4,096. Default 256, as Bitcoin
    /// Core.
    pub tried_buckets: u32,
    /// Places of a bucket: a power of two up to 256. Default 64, as Bitcoin Core.
    pub bucket_places: u32,
    /// An address that nobody spoke of for so long gives way to any other, is told to nobody, and
    /// is forgotten with its first failed dial. Default 30 days, as Bitcoin Core.
    pub horizon: Duration,
    /// An address that never worked is forgotten after so many failed dials. Default 3, as Bitcoin
    /// Core.
    pub new_failures_max: u32,
    /// An address that worked once is forgotten after so many failed dials in a row, if its last
    /// success is also [`tried_failing`](Self::tried_failing) ago. Default 10, as Bitcoin Core.
    pub tried_failures_max: u32,
    /// See [`tried_failures_max`](Self::tried_failures_max). Default 7 days, as Bitcoin Core: a
    /// machine that is repaired within a week is remembered.
    pub tried_failing: Duration,
}

/// One group of sources reaches one in so many new buckets, as in Bitcoin Core.
pub(super) const NEW_SHARE: u32 = 16;

/// One group of addresses reaches one in so many tried buckets: 8 of 256, as in Bitcoin Core.
pub(super) const TRIED_SHARE: u32 = 32;

/// Most buckets of a table. Guess: four times the default is more addresses than a node can test.
const BUCKETS_MAX: u32 = 4_096;

/// Most places of a bucket: they are counted in 16 bits.
const PLACES_MAX: u32 = 256;

/// What an address takes: its entry, its places in the index, among the changes and in a bucket.
const ADDRESS_BYTES: usize = size_of::<Entry>()
    + size_of::<(HostKey, usize)>()
    + size_of::<HostKey>()
    + size_of::<SocketAddr>()
    + size_of::<u32>();

/// What the samples and the counts of the buckets take together, at most.
const REST_BYTES: usize = 1 << 20;

const _: () = assert!(
    SAMPLES * PEER_ADDRS_MAX * size_of::<HostKey>() + 2 * BUCKETS_MAX as usize * size_of::<u16>()
        <= REST_BYTES
);

impl Default for BookLimits {
    fn default() -> Self {
        let day = Duration::from_secs(86_400);
        Self {
            new_buckets: 1_024,
            tried_buckets: 256,
            bucket_places: 64,
            horizon: 30 * day,
            new_failures_max: 3,
            tried_failures_max: 10,
            tried_failing: 7 * day,
        }
    }
}

impl BookLimits {
    /// For simulations.
    pub(crate) fn small() -> Self {
        Self { new_buckets: 64, tried_buckets: 16, bucket_places: 16, ..Self::default() }
    }

    /// Whether a book can be made of this.
    pub(crate) const fn is_valid(&self) -> bool {
        self.new_buckets.is_power_of_two()
            && self.new_buckets >= NEW_SHARE
            && self.new_buckets <= BUCKETS_MAX
            && self.tried_buckets.is_power_of_two()
            && self.tried_buckets <= BUCKETS_MAX
            && self.bucket_places.is_power_of_two()
            && self.bucket_places <= PLACES_MAX
            && self.new_failures_max > 0
            && self.tried_failures_max > 0
            && !self.horizon.is_zero()
    }

    /// Bytes of a book that is full.
    pub(crate) const fn memory_bytes(&self) -> usize {
        self.addresses_max() * ADDRESS_BYTES + REST_BYTES
    }

    /// Most addresses that the book can hold: each stands in a place of its own.
    pub(crate) const fn addresses_max(&self) -> usize {
        (self.new_buckets as usize + self.tried_buckets as usize) * self.bucket_places as usize
    }
}
