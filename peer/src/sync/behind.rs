//! Whether peers claim more work than we have, and when to say so.
//!
//! A peer that has one block more than we is the usual case for a second: relay brings it. So we
//! are behind only if the tip is far below what is claimed, or has stood still for a while; and not
//! before the chain has told its tip.

use std::time::Duration;

use crate::chain::ChainTip;
use crate::config::BEHIND_PERIOD;
use crate::time::Instant;

/// So long a tip that others have surpassed may stand still. A relayed block takes a few seconds,
/// of which some are its check.
const TIP_OLD: Duration = Duration::from_secs(10);

/// So many blocks above ours are far, however young our tip is. As in grin.
const FAR_BLOCKS: u64 = 5;

/// When it is said once more, if nothing came of it: nobody had headers, or the chain did not ask.
const TOLD_AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Behind {
    tip: ChainTip,
    /// When the tip changed. `None`: it is what we began with, and who knows how old.
    changed: Option<Instant>,
    begun: bool,
    /// The work that was told, and when.
    told: Option<(u64, Instant)>,
    /// When to look at what all claim.
    review_at: Option<Instant>,
}

impl Behind {
    pub(crate) fn on_own_tip(&mut self, tip: ChainTip, now: Instant) {
        if tip == self.tip && self.begun {
            return;
        }
        if self.begun {
            self.changed = Some(now);
        } else {
            self.review_at = Some(now); // somebody may have claimed more already
        }
        self.begun = true;
        self.tip = tip;
        if self.told.is_some_and(|(work, _)| work <= tip.total_difficulty) {
            self.told = None; // caught up
        }
    }

    /// A peer told its tip.
    pub(crate) fn on_claim(&mut self, claim: ChainTip, now: Instant) {
        if self.begun && self.is_news(claim) {
            let at = self.may_tell_at(claim, now);
            self.review_at = Some(self.review_at.map_or(at, |due| due.min(at)));
        }
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.review_at
    }

    /// The review is due: `best` is the most that anybody claims now, `busy` whether the chain is
    /// at it already. Answers what to tell.
    pub(crate) fn review(&mut self, best: ChainTip, busy: bool, now: Instant) -> Option<ChainTip> {
        self.review_at = None;
        if best.total_difficulty <= self.tip.total_difficulty {
            self.told = None;
            return None;
        }
        let news = self.is_news(best);
        let mut at = self.may_tell_at(best, now);
        if let (false, Some((_, told))) = (news, self.told) {
            at = at.max(told.after(TOLD_AGAIN));
            if busy {
                at = at.max(now.after(TOLD_AGAIN));
            }
        }
        if at > now {
            self.review_at = Some(at);
            return None;
        }
        self.told = Some((best.total_difficulty, now));
        self.review_at = Some(now.after(TOLD_AGAIN));
        Some(best)
    }

    /// Whether this is more than we have and than was told.
    fn is_news(&self, claim: ChainTip) -> bool {
        let told = self.told.map_or(0, |(work, _)| work);
        claim.total_difficulty > self.tip.total_difficulty.max(told)
    }

    fn may_tell_at(&self, claim: ChainTip, now: Instant) -> Instant {
        let far = claim.height >= self.tip.height.saturating_add(FAR_BLOCKS);
        let old = if far { None } else { self.changed.map(|at| at.after(TIP_OLD)) };
        let told = self.told.map(|(_, at)| at.after(BEHIND_PERIOD));
        [old, told].into_iter().flatten().fold(now, Instant::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    const fn tip(height: u64) -> ChainTip {
        ChainTip { height, total_difficulty: 10 * height }
    }

    #[test]
    fn a_young_tip_is_given_time_and_a_far_one_is_not() {
        let mut behind = Behind::default();
        behind.on_own_tip(tip(100), at(0));
        assert_eq!(behind.review(tip(100), false, at(0)), None);
        behind.on_claim(tip(101), at(1));
        assert_eq!(behind.deadline(), Some(at(1)), "what we began with is old");
        assert_eq!(behind.review(tip(101), false, at(1)), Some(tip(101)));
        behind.on_own_tip(tip(101), at(2));
        behind.on_claim(tip(102), at(3));
        assert_eq!(behind.review(tip(102), false, at(3)), None);
        assert_eq!(behind.deadline(), Some(at(12)));
        behind.on_claim(tip(106), at(4));
        assert_eq!(behind.deadline(), Some(at(4)));
        assert_eq!(behind.review(tip(106), false, at(4)), Some(tip(106)));
    }

    #[test]
    fn it_is_told_again_for_more_or_when_nothing_came_of_it_and_never_too_often() {
        let mut behind = Behind::default();
        behind.on_claim(tip(7), at(0));
        assert_eq!(behind.deadline(), None, "what is our tip?");
        behind.on_own_tip(tip(0), at(0));
        assert_eq!(behind.deadline(), Some(at(0)));
        assert_eq!(behind.review(tip(7), false, at(0)), Some(tip(7)));
        behind.on_claim(tip(7), at(0));
        assert_eq!(behind.deadline(), Some(at(10)));
        behind.on_claim(tip(8), at(0));
        assert_eq!(behind.deadline(), Some(at(1)), "more, but not at once");
        assert_eq!(behind.review(tip(8), true, at(1)), Some(tip(8)));
        assert_eq!(behind.review(tip(8), true, at(11)), None, "the chain is at it");
        assert_eq!(behind.deadline(), Some(at(21)));
        assert_eq!(behind.review(tip(8), false, at(21)), Some(tip(8)));
        behind.on_own_tip(tip(8), at(22));
        assert_eq!(behind.review(tip(8), false, at(31)), None);
        assert_eq!(behind.deadline(), None);
    }
}
