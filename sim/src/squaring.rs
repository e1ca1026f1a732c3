//! The test of squares: does a time grow with the logarithm of a size, or with the logarithm of
//! that?
//!
//! Asked by the experiments about rounds. Squaring `N` doubles `log N`, and adds a constant to
//! `log log N`; so `[T(N⁴) - T(N²)] / [T(N²) - T(N)]` goes to 2 for the one and to 1 for the other,
//! where a fit of either law to a few sizes looks good. Invariant: the interval is drawn from a
//! generator that the caller brings.

use peer::Rng;

/// Samples drawn from those that there are, for the interval.
const RESAMPLES: usize = 2_000;

/// The quotient of means, with its 95 % interval.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Squaring {
    pub(crate) ratio: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Squaring {
    /// From the times of single runs at `N`, `N²` and `N⁴`; the interval by the bootstrap of Efron
    /// 1979, percentiles. Nothing without a run at each, or where a time is infinite or does not
    /// grow.
    pub(crate) fn of(times: [&[f64]; 3], dice: &mut Rng) -> Option<Self> {
        let whole = |of: &[f64]| !of.is_empty() && of.iter().all(|time| time.is_finite());
        if !times.iter().all(|of| whole(of)) {
            return None;
        }
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        let ratio = quotient(times.map(mean));
        let mut again = |of: &[f64]| {
            let drawn = (0..of.len()).map(|_| of[dice.below(of.len() as u64) as usize]);
            drawn.sum::<f64>() / of.len() as f64
        };
        let mut drawn: Vec<f64> = (0..RESAMPLES).map(|_| quotient(times.map(&mut again))).collect();
        drawn.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| drawn[(share * (RESAMPLES - 1) as f64).round() as usize];
        let found = Self { ratio, low: at(0.025), high: at(0.975) };
        [found.ratio, found.low, found.high].iter().all(|of| of.is_finite()).then_some(found)
    }

    /// As a cell of a table.
    pub(crate) fn text(&self) -> String {
        format!("{:.2} [{:.2} {:.2}]", self.ratio, self.low, self.high)
    }
}

fn quotient([one, squared, fourth]: [f64; 3]) -> f64 {
    (fourth - squared) / (squared - one)
}

/// Of these sizes those whose square and fourth power are there too, each with them.
pub(crate) fn triples(sizes: &[u32]) -> Vec<[u32; 3]> {
    let there = |size: &u32| {
        let squared = size.checked_pow(2)?;
        let fourth = size.checked_pow(4)?;
        let all = sizes.contains(&squared) && sizes.contains(&fourth);
        (*size > 1 && all).then_some([*size, squared, fourth])
    };
    sizes.iter().filter_map(there).collect()
}

/// The slope of the straight line that is nearest to these points, by least squares; not a number
/// of fewer than two places.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let x_mean = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let y_mean = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let xy: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let xx: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    xy / xx
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::{Dice, rng};

    fn times(law: impl Fn(f64) -> f64, noise: f64, seed: u64) -> [Vec<f64>; 3] {
        let mut dice = rng(seed);
        [5.0, 10.0, 20.0].map(|log| (0..100).map(|_| law(log) + noise * dice.normal()).collect())
    }

    fn squaring(times: &[Vec<f64>; 3]) -> Squaring {
        Squaring::of([&times[0], &times[1], &times[2]], &mut rng(1)).unwrap()
    }

    #[test]
    fn the_laws_are_told_apart() {
        let exact = squaring(&times(|log| 2.0 + 0.7 * log, 0.0, 1));
        assert!((exact.ratio - 2.0).abs() < 1e-9 && (exact.high - exact.low).abs() < 1e-9);
        let exact = squaring(&times(|log| 3.0 + 2.0 * log.log2(), 0.0, 1));
        assert!((exact.ratio - 1.0).abs() < 1e-9, "{exact:?}");
    }

    #[test]
    fn the_interval_holds_the_truth_about_as_often_as_it_should() {
        let held = (0..100)
            .filter(|seed| {
                let found = squaring(&times(|log| 2.0 + 0.7 * log, 0.5, *seed));
                found.low <= 2.0 && 2.0 <= found.high
            })
            .count();
        assert!((86..=100).contains(&held), "{held} of 100");
    }

    #[test]
    fn the_same_draws_give_the_same_interval_and_no_growth_gives_none() {
        let times = times(|log| log, 0.5, 3);
        assert_eq!(squaring(&times), squaring(&times));
        let flat: &[f64] = &[1.0, 1.0];
        assert_eq!(Squaring::of([flat; 3], &mut rng(1)), None);
        assert_eq!(Squaring::of([flat, flat, &[f64::INFINITY]], &mut rng(1)), None);
        assert_eq!(Squaring::of([&[], flat, flat], &mut rng(1)), None);
    }

    #[test]
    fn sizes_are_found_with_their_squares() {
        let sizes = [16, 32, 256, 1024, 65_536, 1 << 20];
        assert_eq!(triples(&sizes), [[16, 256, 65_536], [32, 1024, 1 << 20]]);
        assert_eq!(triples(&[1, 256, 65_536]), [[0; 3]; 0]);
    }

    #[test]
    fn a_line_has_its_slope() {
        assert!((slope(&[(1.0, 1.0), (2.0, 3.0), (4.0, 7.0)]) - 2.0).abs() < 1e-12);
        assert!(slope(&[(1.0, 1.0)]).is_nan());
    }
}
