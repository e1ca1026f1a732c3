//! One peer that blocks are asked of: what it has in flight, how fast it is, whether it is late.

use std::collections::VecDeque;
use std::time::Duration;

use codec::Hash;
use codec::limits::RANGE_BLOCKS_MAX;

use crate::time::Instant;

/// What a peer has in flight lasts so long, beyond its ping: long enough that it is never idle
/// between two questions, though it may answer in spurts, as its own limits let it.
const PIPE: Duration = Duration::from_secs(1);

/// Blocks that a peer of which nothing is known has in flight; one more with each that it gives,
/// which doubles them each round trip.
const SHARE_FIRST: u32 = 4;

/// Most blocks that one peer has in flight: two of the longest ranges. Among the requests that may
/// wait ([`REQUESTS_PER_PEER_MAX`](crate::REQUESTS_PER_PEER_MAX)) they leave half for those that
/// it let pass.
const SHARE_MAX: u32 = 2 * RANGE_BLOCKS_MAX as u32;

/// The same for a peer that gives one block for each question: grin asks for no more of each.
const SHARE_SINGLE_MAX: u32 = 10;

/// A share is asked for in so many ranges, so that one is always waiting where it is answered.
const RANGES_PER_SHARE: u32 = 4;

/// Most questions that wait for their answers: half of what a peer keeps waiting
/// ([`REQUESTS_WAITING_MAX`](crate::REQUESTS_WAITING_MAX)), so that it refuses none.
const QUESTIONS_MAX: u32 = 16;

/// Most bytes of one range, by the size of the blocks before it: a quarter of what a range may be
/// answered with, so that it is not cut short, and half a second at 2 MB/s.
const RANGE_BYTES: u64 = 1 << 20;

/// How fast a peer is thought to be before it was measured: a block takes this long.
const BLOCK_TIME_UNKNOWN: Duration = Duration::from_secs(1);
const PING_UNKNOWN: Duration = Duration::from_millis(200);

/// Shortest time over which a rate is measured.
const SAMPLE_MIN: Duration = Duration::from_millis(250);

/// How many times as long as expected a peer may take before another is asked, and the bounds of
/// that: for the next of its blocks, whichever it is, and for each.
const PATIENCE: u32 = 4;
const NEXT_PATIENCE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(20));
const BLOCK_PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));

/// What a block may be late besides, before another is asked too: as a timer or a turn may be.
const HEDGE_SLACK: Duration = Duration::from_millis(50);

/// The patience with a peer that has given nothing yet.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// From the second failure in a row on a peer rests, twice as long each time.
const REST_FIRST: Duration = Duration::from_secs(4);
const REST_MAX: Duration = Duration::from_secs(120);

/// So many refusals in a row are a failure: who has none of the blocks is asked less.
const REFUSALS_MAX: u32 = 8;

/// Blocks that it let pass and may still send: as many as it may have in flight.
const PASSED_MAX: usize = SHARE_MAX as usize;

/// What is known of a peer elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    /// Of the tip that it claims; `None` if it told its work alone.
    pub(crate) height: Option<u64>,
    /// Whether it answers a question for many blocks.
    pub(crate) ranges: bool,
    pub(crate) ping: Option<Duration>,
    /// It is not late: we do not read it, or a block of its is on the way.
    pub(crate) excused: bool,
}

/// A block that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Flight {
    pub(super) id: Hash,
    pub(super) at: Instant,
    /// When it is expected, from then.
    pub(super) expected: Duration,
    /// The question that it was part of.
    question: u32,
}

impl Flight {
    fn due(&self) -> Instant {
        let (least, most) = BLOCK_PATIENCE;
        self.at.after((PATIENCE * self.expected).clamp(least, most))
    }

    /// When it is so late that another may be asked too.
    pub(super) fn hedged_at(&self) -> Instant {
        self.at.after(self.expected * 3 / 2 + HEDGE_SLACK)
    }

    /// Whether it is so late, or will come later than another could give it in `sooner`.
    pub(super) fn is_worth_hedging(&self, sooner: Duration, now: Instant) -> bool {
        self.hedged_at() <= now || self.at.after(self.expected).since(now) > sooner
    }
}

#[derive(Debug)]
pub(super) struct Giver {
    pub(super) facts: Facts,
    /// In the order of asking, which is the order of the answers.
    flight: VecDeque<Flight>,
    /// What it was asked for and may still send, though another was asked, or nobody wants it.
    passed: VecDeque<Hash>,
    questions: u32,
    /// Bytes a second, once measured.
    rate: Option<u64>,
    /// Bytes that came since the rate was last measured, and how long it took, idle times left out.
    sample: (u64, Duration),
    /// When a block last came, or the first of those in flight was asked for.
    progress: Instant,
    /// How far the share has grown.
    grown: u32,
    late: bool,
    /// Failures in a row.
    pub(super) failures: u32,
    refusals: u32,
    rests_until: Instant,
}

impl Giver {
    pub(super) const fn new(facts: Facts, now: Instant) -> Self {
        Self {
            facts,
            flight: VecDeque::new(),
            passed: VecDeque::new(),
            questions: 0,
            rate: None,
            sample: (0, Duration::ZERO),
            progress: now,
            grown: SHARE_FIRST,
            late: false,
            failures: 0,
            refusals: 0,
            rests_until: now,
        }
    }

    pub(super) fn may_have(&self, height: u64) -> bool {
        self.facts.height.is_none_or(|top| top >= height)
    }

    pub(super) const fn is_late(&self) -> bool {
        self.late
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flight.len()
    }

    pub(super) fn flight_of(&self, id: &Hash) -> Option<&Flight> {
        self.flight.iter().find(|flight| flight.id == *id)
    }

    /// How many more blocks may be asked of it now. Not a few at a time, while it has enough.
    pub(super) fn room(&self, block_bytes: u64, now: Instant) -> u32 {
        if self.rests_until > now {
            return 0;
        }
        if let (Some(first), Some(last)) = (self.flight.front(), self.flight.back())
            && last.question.wrapping_sub(first.question) >= QUESTIONS_MAX - 1
        {
            return 0;
        }
        let (share, in_flight) = (self.share(block_bytes), self.flight.len() as u32);
        let room = share.saturating_sub(in_flight);
        let some = (share / RANGES_PER_SHARE / 2).max(1);
        if room >= some || in_flight == 0 { room } else { 0 }
    }

    fn share(&self, block_bytes: u64) -> u32 {
        if self.late {
            return 1;
        }
        let most = if self.facts.ranges { SHARE_MAX } else { SHARE_SINGLE_MAX };
        let most = self.grown.min(most);
        let Some(rate) = self.rate else { return most };
        let bytes = u128::from(rate) * (self.ping() + PIPE).as_micros() / 1_000_000;
        u32::try_from(bytes / u128::from(block_bytes.max(1))).unwrap_or(most).clamp(2, most)
    }

    /// Most blocks of one question.
    pub(super) fn range(&self, block_bytes: u64) -> u32 {
        if !self.facts.ranges {
            return 1;
        }
        let bytes = (RANGE_BYTES / block_bytes.max(1)).clamp(1, RANGE_BLOCKS_MAX.into()) as u32;
        (self.share(block_bytes) / RANGES_PER_SHARE).clamp(1, bytes)
    }

    fn ping(&self) -> Duration {
        self.facts.ping.unwrap_or(PING_UNKNOWN)
    }

    /// When the first of so many further blocks is expected, from now.
    pub(super) fn expected(&self, further: u32, block_bytes: u64) -> Duration {
        let ahead = self.flight.len() as u64 + u64::from(further);
        let transfer = match self.rate {
            Some(rate) => Duration::from_micros(
                ahead.saturating_mul(block_bytes).saturating_mul(1_000_000) / rate.max(1),
            ),
            None => BLOCK_TIME_UNKNOWN,
        };
        self.ping() + transfer.min(BLOCK_PATIENCE.1)
    }

    /// It is asked for these.
    pub(super) fn ask(&mut self, ids: &[Hash], block_bytes: u64, now: Instant) {
        if self.flight.is_empty() {
            self.progress = now;
        }
        self.questions = self.questions.wrapping_add(1);
        for id in ids {
            let expected = self.expected(1, block_bytes);
            let question = self.questions;
            self.flight.push_back(Flight { id: *id, at: now, expected, question });
        }
    }

    /// The question did not leave.
    pub(super) fn unask(&mut self, ids: &[Hash], now: Instant) {
        self.flight.retain(|flight| !ids.contains(&flight.id));
        self.rests_until = now.after(REST_FIRST);
    }

    /// It gave a block that it was asked for. `None` if it was not. Answers which other blocks it
    /// has left out: answers come in the order of the questions, but for what is at hand.
    pub(super) fn give(&mut self, id: &Hash, bytes: usize, now: Instant) -> Option<Vec<Hash>> {
        let left_out = match self.flight.iter().position(|flight| flight.id == *id) {
            Some(index) => {
                let question = self.flight.remove(index)?.question;
                let is_left_out = |it: &Flight| question.wrapping_sub(it.question) >= 2;
                let first = self.flight.iter().take(index).filter(|it| is_left_out(it));
                let ids: Vec<Hash> = first.map(|it| it.id).collect();
                self.flight.retain(|it| !ids.contains(&it.id));
                self.measure(bytes as u64, now);
                ids
            }
            None => {
                let index = self.passed.iter().position(|passed| passed == id)?;
                self.passed.remove(index);
                Vec::new()
            }
        };
        self.progress = now;
        self.grown = (self.grown + 1).min(SHARE_MAX);
        (self.late, self.failures, self.refusals) = (false, 0, 0);
        Some(left_out)
    }

    fn measure(&mut self, bytes: u64, now: Instant) {
        let (sum, time) = self.sample;
        let (sum, time) = (sum + bytes, time + now.since(self.progress));
        self.sample = (sum, time);
        if time < SAMPLE_MIN {
            return;
        }
        let sample = (u128::from(sum) * 1_000_000 / time.as_micros()) as u64;
        self.rate = Some(self.rate.map_or(sample, |rate| rate / 2 + sample / 2).max(1));
        self.sample = (0, Duration::ZERO);
    }

    /// It does not have this one. The others of the same question, behind it, do not come either.
    pub(super) fn refuse(&mut self, id: &Hash, now: Instant) -> Option<Vec<Hash>> {
        let index = self.flight.iter().position(|flight| flight.id == *id)?;
        let question = self.flight[index].question;
        let behind = self.flight.iter().skip(index).filter(|it| it.question == question);
        let ids: Vec<Hash> = behind.map(|it| it.id).collect();
        self.flight.retain(|it| !ids.contains(&it.id));
        self.progress = now;
        self.refusals += 1;
        if self.refusals >= REFUSALS_MAX {
            self.refusals = 0;
            self.fail(now);
        }
        Some(ids)
    }

    /// When it is late with something.
    pub(super) fn due(&self, block_bytes: u64) -> Option<Instant> {
        let first = self.flight.front()?;
        let (least, most) = NEXT_PATIENCE;
        let patience = match self.rate {
            None => FIRST_PATIENCE,
            Some(rate) => {
                let bytes = u64::from(self.range(block_bytes)).saturating_mul(block_bytes);
                let range = Duration::from_micros(bytes.saturating_mul(1_000_000) / rate.max(1));
                (PATIENCE * (self.ping() + range.min(most))).clamp(least, most)
            }
        };
        Some(self.progress.after(patience).min(first.due()))
    }

    /// What it has let pass by now: all, if nothing came for too long, else what is overdue.
    pub(super) fn take_late(&mut self, block_bytes: u64, now: Instant) -> Vec<Hash> {
        if self.due(block_bytes).is_none_or(|due| due > now) {
            return Vec::new();
        }
        if self.facts.excused {
            self.progress = now;
            for flight in &mut self.flight {
                flight.at = now;
            }
            return Vec::new();
        }
        let first_due = self.flight.front().map(Flight::due);
        let ids: Vec<Hash> = if first_due.is_some_and(|due| due <= now) {
            self.flight.pop_front().into_iter().map(|flight| flight.id).collect()
        } else {
            self.flight.drain(..).map(|flight| flight.id).collect()
        };
        self.pass(&ids);
        self.fail(now);
        ids
    }

    fn pass(&mut self, ids: &[Hash]) {
        self.passed.extend(ids);
        while self.passed.len() > PASSED_MAX {
            self.passed.pop_front();
        }
    }

    /// Until it proves itself it has one block in flight; if it fails again, it rests.
    fn fail(&mut self, now: Instant) {
        self.failures += 1;
        self.late = true;
        (self.rate, self.sample, self.grown) = (None, (0, Duration::ZERO), SHARE_FIRST);
        if let Some(doublings) = self.failures.checked_sub(2) {
            let rest = REST_FIRST.saturating_mul(1 << doublings.min(8));
            self.rests_until = now.after(rest.min(REST_MAX));
        }
    }

    /// When it has rested, if it rests.
    pub(super) fn rested_at(&self, now: Instant) -> Option<Instant> {
        Some(self.rests_until).filter(|at| *at > now)
    }

    /// Nothing of what it has in flight is wanted any more.
    pub(super) fn cancel(&mut self) {
        let ids: Vec<Hash> = self.flight.drain(..).map(|flight| flight.id).collect();
        self.pass(&ids);
    }

    /// All that it has in flight, since it is gone.
    pub(super) fn into_flight(self) -> Vec<Hash> {
        self.flight.into_iter().map(|flight| flight.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_may_still_send_is_bounded() {
        let facts = Facts { height: None, ranges: true, ping: None, excused: false };
        let mut giver = Giver::new(facts, Instant::START);
        for number in 0..3 * PASSED_MAX as u32 {
            giver.ask(&[Hash::of(&number.to_be_bytes())], 1_000, Instant::START);
            giver.cancel();
            assert!(giver.passed.len() <= PASSED_MAX);
        }
        let of = |number: u32| Hash::of(&number.to_be_bytes());
        assert!(giver.give(&of(0), 1_000, Instant::START).is_none(), "too long ago");
        let last = of(3 * PASSED_MAX as u32 - 1);
        assert!(giver.give(&last, 1_000, Instant::START).is_some());
    }
}
