//! How fast a peer answers, as measured: what a request may take before another peer is asked.

use std::time::Duration;

use crate::config::FRAME_RATE_MIN;

/// Answers of at least so many bytes tell a rate; smaller ones tell how long any answer takes.
const RATE_BYTES_MIN: u64 = 16 << 10;

/// Bytes a second of a peer of which nothing is known. Guess: a slow home connection.
const RATE_UNKNOWN: u64 = 256 << 10;

/// How long an answer of such a peer takes. Guess: a round trip around the world, twice.
const ANSWER_UNKNOWN: Duration = Duration::from_millis(500);

/// The shortest and the longest wait for an answer. Less than the first is noise of schedulers; who
/// says that a body is as long as bodies may be must not have us wait for it all day.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(20);

/// How many times what is usual a wait may be: one lost packet doubles a round trip or more.
const ANSWER_PATIENCE: u32 = 4;
const RATE_PATIENCE: u64 = 2;

/// What was measured of one peer: moving averages, in which the newest counts a quarter.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Speed {
    answer: Option<Duration>,
    bytes_per_second: Option<u64>,
}

impl Speed {
    /// An answer of so many bytes took so long.
    pub(crate) fn note(&mut self, took: Duration, bytes: u64) {
        if bytes < RATE_BYTES_MIN {
            self.answer = Some(self.answer.map_or(took, |usual| (usual * 3 + took) / 4));
            return;
        }
        let transfer = took.saturating_sub(self.answer.unwrap_or_default());
        let rate = bytes * 1_000_000 / (transfer.as_micros() as u64).max(1);
        let rate = self.bytes_per_second.map_or(rate, |usual| (usual / 4 * 3) + rate / 4);
        self.bytes_per_second = Some(rate);
    }

    /// How long an answer of so many bytes may take.
    pub(crate) fn wait(&self, ping: Option<Duration>, bytes: u64) -> Duration {
        let answer = self.answer.max(ping).unwrap_or(ANSWER_UNKNOWN);
        let rate = self.bytes_per_second.unwrap_or(RATE_UNKNOWN).max(FRAME_RATE_MIN);
        let transfer = Duration::from_millis(RATE_PATIENCE * bytes.saturating_mul(1_000) / rate);
        (answer.saturating_mul(ANSWER_PATIENCE) + transfer).clamp(WAIT_MIN, WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_wait_follows_what_was_measured_within_bounds() {
        let mut speed = Speed::default();
        assert_eq!(speed.wait(None, 0), millis(2_000));
        assert_eq!(speed.wait(Some(millis(1)), 0), WAIT_MIN);
        assert_eq!(speed.wait(Some(millis(1)), 1 << 20), WAIT_MAX.min(millis(8_004)));
        for _ in 0..32 {
            speed.note(millis(200), 100);
            speed.note(millis(1_200), 4 << 20);
        }
        // 4 MiB/s, and 200 ms to answer.
        assert_eq!(speed.wait(None, 0), millis(800));
        let wait = speed.wait(Some(millis(10)), 8 << 20).as_millis();
        assert!((4_700..4_900).contains(&wait), "{wait}");
        assert_eq!(speed.wait(None, u64::MAX / 4_000), WAIT_MAX);
    }

    #[test]
    fn an_answer_in_no_time_is_no_division_by_zero() {
        let mut speed = Speed::default();
        speed.note(Duration::ZERO, 1 << 40);
        speed.note(Duration::ZERO, 1 << 20);
        assert_eq!(speed.wait(Some(Duration::ZERO), 1 << 20), WAIT_MIN);
    }
}
