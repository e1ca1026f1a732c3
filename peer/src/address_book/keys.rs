//! Where an address belongs: the keyed hashes that decide it.
//!
//! The places follow from the secret, the limits and what is known of the address; who does not
//! know the secret cannot aim at a place, and who does gets the same book after a restart.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::buckets::Place;
use super::limits::{BookLimits, NEW_SHARE, TRIED_SHARE};
use super::samples::SAMPLES;
use crate::address::{Group, HostKey};
use crate::rng::Rng;
use crate::time::UnixTime;

/// A sample is the same for so long, as in Bitcoin Core: to ask often tells no more.
const SAMPLE_SECS: u64 = 86_400;

/// One key for each question, so that no answer tells of another.
pub(super) struct Keys {
    /// Which of the buckets within its reach a group uses for this address.
    slices: SipHasher24,
    buckets: SipHasher24,
    places: SipHasher24,
    samples: SipHasher24,
    new_buckets: u64,
    tried_buckets: u64,
    bucket_places: u64,
}

impl Keys {
    pub(super) fn new(secret: [u8; 32], limits: &BookLimits) -> Self {
        let root = Rng::from_seed(secret);
        let key = |label| {
            let mut rng = root.fork(label);
            SipHasher24::new_with_keys(rng.u64(), rng.u64())
        };
        Self {
            slices: key("slices"),
            buckets: key("buckets"),
            places: key("places"),
            samples: key("samples"),
            new_buckets: u64::from(limits.new_buckets),
            tried_buckets: u64::from(limits.tried_buckets),
            bucket_places: u64::from(limits.bucket_places),
        }
    }

    /// The place in the new table of an address that somebody of the group `source` told. Both
    /// groups choose the slice, but the bucket follows from slice and source alone: so one group of
    /// sources has as many buckets as there are slices, whatever it tells.
    pub(super) fn new_place(&self, host: HostKey, group: Group, source: Group) -> Place {
        let slices = self.new_buckets / u64::from(NEW_SHARE);
        let slice = hash(&self.slices, &[b"new", &group.bytes(), &source.bytes()]) % slices;
        let parts: [&[u8]; 3] = [b"new", &source.bytes(), &slice.to_le_bytes()];
        let bucket = hash(&self.buckets, &parts) % self.new_buckets;
        self.place(b"new", bucket, host)
    }

    /// The place in the tried table. The bucket follows from slice and group alone.
    pub(super) fn tried_place(&self, host: HostKey, group: Group) -> Place {
        let slices = (self.tried_buckets / u64::from(TRIED_SHARE)).max(1);
        let slice = hash(&self.slices, &[b"tried", &host.bytes()]) % slices;
        let parts: [&[u8]; 3] = [b"tried", &group.bytes(), &slice.to_le_bytes()];
        let bucket = hash(&self.buckets, &parts) % self.tried_buckets;
        self.place(b"tried", bucket, host)
    }

    fn place(&self, table: &[u8], bucket: u64, host: HostKey) -> Place {
        let parts: [&[u8]; 3] = [table, &bucket.to_le_bytes(), &host.bytes()];
        let position = hash(&self.places, &parts) % self.bucket_places;
        Place::new((bucket * self.bucket_places + position) as u32)
    }

    /// Which sample this group is told.
    pub(super) fn sample(&self, asker: Group) -> usize {
        (hash(&self.samples, &[b"asker", &asker.bytes()]) % SAMPLES as u64) as usize
    }

    /// Number of the day at this time, whose end differs from sample to sample.
    pub(super) fn sample_day(&self, sample: usize, now: UnixTime) -> u64 {
        let phase = hash(&self.samples, &[b"phase", &sample.to_le_bytes()]) % SAMPLE_SECS;
        now.secs().saturating_add(phase) / SAMPLE_SECS
    }

    /// The lower, the sooner the host is told in this sample on that day.
    pub(super) fn sample_rank(&self, sample: usize, day: u64, host: HostKey) -> u64 {
        let (sample, day) = (sample.to_le_bytes(), day.to_le_bytes());
        hash(&self.samples, &[b"rank", &sample, &day, &host.bytes()])
    }
}

/// The parts have fixed lengths for each first part, so that none runs into the next.
fn hash(key: &SipHasher24, parts: &[&[u8]]) -> u64 {
    let mut hasher = *key;
    for part in parts {
        hasher.write(part);
    }
    hasher.finish()
}
