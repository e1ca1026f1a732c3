//! One address of the book: what is known of it, where it stands, what it is worth.

use std::time::Duration;

use super::buckets::Place;
use super::limits::BookLimits;
use crate::record::AddressRecord;
use crate::time::UnixTime;

/// A dial that began so lately may still be under way, as in Bitcoin Core.
const DIAL_MAX: Duration = Duration::from_secs(60);

/// An address dialled so lately is seldom picked again, as in Bitcoin Core.
const LATELY: Duration = Duration::from_secs(600);

/// How seldom: one in so many, as in Bitcoin Core.
const LATELY_ODDS: u64 = 100;

/// Failures beyond these make it no worse: an address must stay within reach of a success.
const FAILURES_WEIGHED: u32 = 8;

/// The weight of an address that is picked whenever it is drawn.
pub(super) const WEIGHT_MAX: u64 = 1 << 32;

pub(super) struct Entry {
    pub(super) record: AddressRecord,
    /// Its place in the tried table, or in the new one the place that `record.source` gives it:
    /// what a record and the secret restore.
    pub(super) home: Place,
    /// Further places in the new table, from other sources: gifts, which go to any that has none.
    pub(super) extra: Vec<Place>,
}

impl Entry {
    /// Whether it may give way to an address of which less is known.
    pub(super) fn is_terrible(&self, limits: &BookLimits, now: UnixTime) -> bool {
        !self.dialled_within(DIAL_MAX, now) && self.is_hopeless(limits, now)
    }

    /// Whether one should not dial it again.
    pub(super) fn is_hopeless(&self, limits: &BookLimits, now: UnixTime) -> bool {
        let record = &self.record;
        let failing = if self.is_proven() {
            record.failures >= limits.tried_failures_max
                && now.since(record.last_success) >= limits.tried_failing
        } else {
            record.failures >= limits.new_failures_max
        };
        failing || now.since(record.last_seen) >= limits.horizon
    }

    /// Whether we ever reached it.
    pub(super) fn is_proven(&self) -> bool {
        self.record.tried || self.record.last_success > UnixTime::default()
    }

    /// How readily it is picked when drawn, of [`WEIGHT_MAX`]: two thirds for each failure, as in
    /// Bitcoin Core.
    pub(super) fn weight(&self, now: UnixTime) -> u64 {
        let failures = self.record.failures.min(FAILURES_WEIGHED);
        let weight = WEIGHT_MAX * 2u64.pow(failures) / 3u64.pow(failures);
        if self.dialled_within(LATELY, now) { weight / LATELY_ODDS } else { weight }
    }

    fn dialled_within(&self, time: Duration, now: UnixTime) -> bool {
        let last = self.record.last_attempt;
        last > UnixTime::default() && now.since(last) < time
    }
}
