//! What hosts that left have used up: who comes again is no newcomer to our rates.
//!
//! A session begins with what its host left behind, and leaves what it has when it ends. An entry
//! goes when nothing of it is missing any more; when there are too many, the one that is nearest to
//! that.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::HostKey;
use crate::config::Rates;
use crate::pooling::PARTS_RATE;
use crate::rates::TokenBucket;
use crate::requests::Class;
use crate::time::Instant;

/// Hosts that are remembered: as many as the default number of inbound places, so that all of these
/// may leave at once. An entry is some 250 bytes. Who has more hosts than this has as many purses
/// anyway.
const DEPARTED_MAX: usize = 8_000;

/// What a host may still ask of us.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Purse {
    /// Bytes of answers, by class.
    pub(crate) answers: [TokenBucket; Class::ALL.len()],
    /// Small messages.
    pub(crate) messages: TokenBucket,
    /// Addresses that it may tell us.
    pub(crate) addresses: TokenBucket,
    /// Parts of our pool that it is told.
    pub(crate) parts: TokenBucket,
    /// Bytes that we open for it unasked.
    pub(crate) unpacking: TokenBucket,
}

/// The purses of hosts that left, as far as something is missing from them.
#[derive(Debug, Default)]
pub(crate) struct Departed {
    purses: BTreeMap<HostKey, (Instant, Purse)>,
    /// When each is whole again.
    whole: BTreeSet<(Instant, HostKey)>,
}

impl Purse {
    /// A newcomer may ask at once, but nobody asked it for addresses.
    pub(crate) fn of_newcomer(rates: &Rates, now: Instant) -> Self {
        let mut purse = Self::default();
        purse.addresses.charge(rates.addresses.burst.saturating_sub(1), rates.addresses, now);
        purse
    }

    /// When it is what a newcomer has.
    fn whole_at(&self, rates: &Rates, now: Instant) -> Instant {
        let answers = self.answers.iter().map(|bucket| bucket.full_at(rates.answers, now));
        let messages = self.messages.full_at(rates.messages, now);
        let addresses = self.addresses.ready_at(rates.addresses, now);
        let parts = self.parts.full_at(PARTS_RATE, now);
        let unpacking = self.unpacking.full_at(rates.unpacking, now);
        answers.chain([messages, addresses, parts, unpacking]).max().unwrap_or(now)
    }
}

impl Departed {
    /// A host leaves with this.
    pub(crate) fn leave(&mut self, host: HostKey, purse: Purse, rates: &Rates, now: Instant) {
        self.take(host);
        while let Some((at, oldest)) = self.whole.first().copied()
            && (at <= now || self.whole.len() == DEPARTED_MAX)
        {
            self.take(oldest);
        }
        let whole_at = purse.whole_at(rates, now);
        if whole_at > now {
            self.whole.insert((whole_at, host));
            self.purses.insert(host, (whole_at, purse));
        }
    }

    /// A host is back, with what it had.
    pub(crate) fn take(&mut self, host: HostKey) -> Option<Purse> {
        let (whole_at, purse) = self.purses.remove(&host)?;
        self.whole.remove(&(whole_at, host));
        Some(purse)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::address::Locality;

    fn host(number: u32) -> HostKey {
        Locality::Internet.host((number.to_be_bytes(), 1).into())
    }

    fn spent(messages: u64, rates: &Rates, now: Instant) -> Purse {
        let mut purse = Purse::default();
        purse.messages.charge(messages, rates.messages, now);
        purse
    }

    #[test]
    fn only_what_is_missing_is_remembered_and_only_as_long() {
        let (rates, now) = (Rates::default(), Instant::START);
        let mut departed = Departed::default();
        departed.leave(host(1), Purse::default(), &rates, now);
        assert!(departed.purses.is_empty());
        departed.leave(host(1), spent(500, &rates, now), &rates, now);
        departed.leave(host(2), spent(1_000, &rates, now), &rates, now);
        assert_eq!(departed.purses.len(), 2);
        let later = now.after(Duration::from_secs(1));
        departed.leave(host(3), Purse::default(), &rates, later);
        assert_eq!(departed.purses.keys().copied().collect::<Vec<_>>(), [host(2)]);
        let purse = departed.take(host(2)).unwrap();
        assert_eq!(purse.messages.level(rates.messages, later), 9_500);
        assert!(departed.take(host(2)).is_none() && departed.whole.is_empty());
    }

    #[test]
    fn when_there_are_too_many_the_one_goes_that_spent_least() {
        let (rates, now) = (Rates::default(), Instant::START);
        let mut departed = Departed::default();
        for number in 1..=DEPARTED_MAX as u32 + 2 {
            departed.leave(host(number), spent(u64::from(number), &rates, now), &rates, now);
            assert_eq!(departed.purses.len(), departed.whole.len());
        }
        assert_eq!(departed.purses.len(), DEPARTED_MAX);
        assert!(departed.take(host(1)).is_none() && departed.take(host(2)).is_none());
        assert!(departed.take(host(3)).is_some());
    }
}
