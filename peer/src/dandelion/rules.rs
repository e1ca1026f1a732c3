//! How the origin of a transaction is hidden: a scheme, and its numbers.

use std::time::Duration;

use codec::{FRAME_HEADER_BYTES, Kind, Network};

use crate::config::{AGGREGATE_MAX, ConfigError};
use crate::rng::Rng;

/// Which way a stem goes, and when it ends.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Scheme {
    /// Two successors among the outbound peers, a mapping of each inbound edge to one of them, and
    /// a role of the node, all drawn anew each epoch (Fanti et al. 2018, arXiv 1805.11060).
    #[default]
    PlusPlus,
    /// As grin does it: one successor and a role for an epoch; a node whose role is to fluff
    /// gathers what comes for a while, and fluffs it as one transaction.
    Grin,
    /// The first scheme of grin's document: each node gathers what comes for a while, makes it one
    /// transaction, and then tosses the coin.
    AggregateOnStem,
    /// The second: the same, and transactions that carry a lock height are held until the tip has
    /// reached it.
    AggregateAndHold,
}

/// How long we wait for a stem that we sent to become public before we fluff it ourselves. Drawn
/// for each stem when it leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Embargo {
    /// Exponential with this mean: who has waited is as likely to fluff next as who has not, so
    /// that the first to fluff tells nothing of who began.
    Exponential(Duration),
    /// A base, and anything up to a spread more.
    Uniform {
        /// The least.
        base: Duration,
        /// What may come upon it.
        spread: Duration,
    },
}

/// How the origin of a transaction is hidden.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DandelionRules {
    /// Which way stems go.
    pub scheme: Scheme,
    /// How long successors, mapping and role stay. Default 600 s, as BIP 156 and grin.
    pub epoch: Duration,
    /// Percentage of the cases in which a stem ends: of the epochs of a node (`PlusPlus`, `Grin`),
    /// or of its batches (`AggregateOnStem`, `AggregateAndHold`). Our own transactions always begin
    /// with a stem. Default 10, as BIP 156 and grin: ten hops in the mean.
    pub fluff_percent: u8,
    /// When a stem that is not public yet is fluffed nevertheless. The default depends on the
    /// scheme: [`DandelionRules::of`].
    pub embargo: Embargo,
    /// How long stems are gathered before they are made one; not used by `PlusPlus`. Default 30 s,
    /// as grin.
    pub patience: Duration,
    /// Lock heights up to so many blocks above the tip are waited for (`AggregateAndHold`);
    /// transactions with higher ones go on at once. Default 60: an hour of grin's blocks, since
    /// what is held is lost with this process.
    pub lock_blocks_max: u64,
    /// Most stems of all peers together that are held; a peer may have an eighth of it, and we as
    /// much for our own. Default 4,096. Guess: grin's pool takes some transactions a second, for
    /// some minutes.
    pub stems_max: u32,
    /// Most bytes of these, likewise; what they were made into comes on top, and has no more.
    /// Default 64 MiB: twelve of the largest transactions of grin.
    pub stem_bytes_max: usize,
}

/// A peer's share of what may be held, and our own on top: an eighth. Eight hosts that do nothing
/// else can fill the table, and then lose their own stems first.
pub(super) const SHARES: u32 = 8;

/// Hops of a stem, and its way from one to the next, for which the embargo is reckoned: what
/// `fluff_percent` gives in the mean, and a round trip in the internet.
const HOPS: u32 = 10;
const HOP_DELAY: Duration = Duration::from_millis(175);

/// Odds that anybody's embargo ends before the stem does.
const EARLY_ODDS: f64 = 0.1;

impl Embargo {
    /// The mean of an exponential embargo such that, on a stem of `hops` hops of `delay` each, no
    /// embargo ends before the stem does, but with these odds: as in the paper's section on black
    /// holes, hops (hops - 1) delay / (-2 ln (1 - odds)).
    ///
    /// ```
    /// use std::time::Duration;
    /// use peer::Embargo;
    /// let embargo = Embargo::for_stem(10, Duration::from_millis(175), 0.1);
    /// let Embargo::Exponential(mean) = embargo else { unreachable!() };
    /// assert_eq!(mean.as_millis(), 74_743);
    /// ```
    #[must_use]
    pub fn for_stem(hops: u32, delay: Duration, odds: f64) -> Self {
        let pairs = f64::from(hops) * f64::from(hops.saturating_sub(1));
        let mean = pairs * delay.as_secs_f64() / (-2.0 * (1.0 - odds).ln());
        // A float beyond the largest number becomes that.
        Self::Exponential(Duration::from_millis((mean * 1_000.0) as u64))
    }

    pub(super) fn draw(self, rng: &mut Rng) -> Duration {
        match self {
            Self::Exponential(mean) => exponential(rng, mean),
            Self::Uniform { base, spread } => {
                let micros = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
                let more = rng.below(micros.saturating_add(1));
                base.saturating_add(Duration::from_micros(more))
            }
        }
    }

    /// What it is about: the mean, or the least.
    const fn base(self) -> Duration {
        match self {
            Self::Exponential(mean) => mean,
            Self::Uniform { base, .. } => base,
        }
    }
}

/// A wait that is exponentially distributed. Whole numbers alone, so that a seed means the same on
/// every machine.
fn exponential(rng: &mut Rng, mean: Duration) -> Duration {
    /// ln 2 in units of 2^-32.
    const LN_2: u128 = 2_977_044_472;
    let draw = rng.u64() | 1;
    let zeros = draw.leading_zeros();
    // The logarithm of what is left, in [1, 2), bit by bit: each square doubles it.
    let (mut x, mut logarithm) = (u128::from(draw << zeros), 0);
    for _ in 0..32 {
        x = (x * x) >> 63;
        let carry = x >> 64;
        logarithm = logarithm << 1 | carry;
        x >>= carry;
    }
    let halvings = (u128::from(zeros + 1) << 32) - logarithm;
    let means = (halvings * LN_2) >> 32;
    let micros = mean.as_micros().saturating_mul(means) >> 32;
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

impl Default for DandelionRules {
    fn default() -> Self {
        Self::of(Scheme::default())
    }
}

impl DandelionRules {
    /// A scheme with its usual numbers.
    ///
    /// | scheme | embargo | |
    /// |---|---|---|
    /// | `PlusPlus` | exponential, mean 75 s | [`Embargo::for_stem`]: 10 hops of 175 ms, odds 0.1 |
    /// | `Grin` | 180 to 210 s | grin's |
    /// | the others | 660 to 1,320 s | 22 hops of 30 s, in which nine of ten stems end; a guess |
    #[must_use]
    pub fn of(scheme: Scheme) -> Self {
        let secs = Duration::from_secs;
        let embargo = match scheme {
            Scheme::PlusPlus => Embargo::for_stem(HOPS, HOP_DELAY, EARLY_ODDS),
            Scheme::Grin => Embargo::Uniform { base: secs(180), spread: secs(30) },
            Scheme::AggregateOnStem | Scheme::AggregateAndHold => {
                Embargo::Uniform { base: secs(660), spread: secs(660) }
            }
        };
        Self {
            scheme,
            epoch: secs(600),
            fluff_percent: 10,
            embargo,
            patience: secs(30),
            lock_blocks_max: 60,
            stems_max: 4_096,
            stem_bytes_max: 64 << 20,
        }
    }

    /// Whether stems can be held by these rules.
    pub(crate) fn check(&self, network: &Network) -> Result<(), ConfigError> {
        let milli = Duration::from_millis(1);
        let frame = frame_bytes_max(network);
        let rules = [
            ("epoch", self.epoch >= milli, "at least a millisecond"),
            ("fluff_percent", self.fluff_percent <= 100, "at most 100"),
            ("embargo", self.embargo.base() >= milli, "at least a millisecond"),
            ("patience", self.patience < self.embargo.base(), "shorter than the embargo"),
            ("stems_max", (SHARES..=STEMS_MAX).contains(&self.stems_max), "8 to 65,536"),
            ("stem_bytes_max", self.stem_bytes_max >= frame, "at least the largest transaction's"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((name, _, must)) => Err(ConfigError::Dandelion { name, must }),
            None => Ok(()),
        }
    }

    /// Whether stems are gathered on the way.
    pub(super) const fn gathers(&self) -> bool {
        match self.scheme {
            Scheme::PlusPlus | Scheme::Grin => false,
            Scheme::AggregateOnStem | Scheme::AggregateAndHold => true,
        }
    }

    /// How many successors there are at once.
    pub(super) const fn successors(&self) -> usize {
        match self.scheme {
            Scheme::PlusPlus => 2,
            Scheme::Grin | Scheme::AggregateOnStem | Scheme::AggregateAndHold => 1,
        }
    }
}

/// Most that [`DandelionRules::stems_max`] may be: grin's whole pool has 50,000.
const STEMS_MAX: u32 = 65_536;

const _: () = assert!(AGGREGATE_MAX < STEMS_MAX as usize);

/// Bytes of the largest transaction: what one aggregate can have.
pub(super) const fn frame_bytes_max(network: &Network) -> usize {
    FRAME_HEADER_BYTES + network.limits.body_bytes_max(Kind::StemTransaction) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(embargo: Embargo, count: usize) -> Vec<f64> {
        let mut rng = Rng::from_seed([3; 32]);
        let mut draws: Vec<f64> =
            (0..count).map(|_| embargo.draw(&mut rng).as_secs_f64()).collect();
        draws.sort_unstable_by(f64::total_cmp);
        draws
    }

    #[test]
    fn exponential_embargoes_are_exponential() {
        let draws = draws(DandelionRules::of(Scheme::PlusPlus).embargo, 40_000);
        let mean = draws.iter().sum::<f64>() / 40_000.0;
        assert!((mean - 74.74).abs() < 1.2, "{mean}");
        for share in [0.1_f64, 0.5, 0.9, 0.99] {
            let means = -(1.0 - share).ln();
            let quantile = draws[(share * 40_000.0) as usize] / 74.743;
            assert!((quantile / means - 1.0).abs() < 0.06, "{share}: {quantile}");
        }
    }

    #[test]
    fn a_draw_is_the_logarithm() {
        for seed in 0..200 {
            let mut twin = Rng::from_seed([seed; 32]);
            let uniform = (twin.u64() | 1) as f64 / 2f64.powi(64);
            let drawn = exponential(&mut Rng::from_seed([seed; 32]), Duration::from_secs(1000));
            let expected = -1000.0 * uniform.ln();
            assert!((drawn.as_secs_f64() - expected).abs() < 1e-4, "{drawn:?} {expected}");
        }
    }

    #[test]
    fn uniform_embargoes_fill_their_spread() {
        let draws = draws(DandelionRules::of(Scheme::Grin).embargo, 10_000);
        assert!(draws[0] >= 180.0 && draws[0] < 180.1 && draws[9_999] <= 210.0);
        assert!((draws[5_000] - 195.0).abs() < 0.7, "{}", draws[5_000]);
        let fixed = Embargo::Uniform { base: Duration::MAX, spread: Duration::MAX };
        assert_eq!(fixed.draw(&mut Rng::from_seed([0; 32])), Duration::MAX);
    }
}
