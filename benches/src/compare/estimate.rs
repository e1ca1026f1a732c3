//! A median, and between which numbers it lies for sure enough.

use serde::Serialize;

/// The share of cases in which the true median may lie outside the interval: one in twenty.
const ERROR_SHARE: f64 = 0.05;

/// Fewest values that give an interval: of five, least and most are too near in one case of
/// sixteen.
pub(super) const VALUES_MIN: u32 = 6;

/// The median of some measurements. The interval holds the true one in 95 cases of 100, however
/// the measurements are spread: it is made of those that so many lie below and above as a coin
/// would decide.
#[derive(Clone, Copy, PartialEq, Serialize, Debug)]
pub(super) struct Estimate {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Estimate {
    /// `None`: fewer than [`VALUES_MIN`].
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let outside = outside(values.len())?;
        let (middle, last) = (values.len() / 2, values.len() - 1);
        let median = f64::midpoint(values[middle], values[last - middle]);
        Some(Self { median, low: values[outside], high: values[last - outside] })
    }
}

/// How many of so many values may be left outside on each side.
fn outside(count: usize) -> Option<usize> {
    let size = i32::try_from(count).ok()?;
    // That none, one, two, … of all lie below the true median.
    let mut chance = 0.5_f64.powi(size);
    let mut sum = chance;
    let mut outside = None;
    for below in 0..count / 2 {
        if 2.0 * sum > ERROR_SHARE {
            break;
        }
        outside = Some(below);
        chance *= (count - below) as f64 / (below + 1) as f64;
        sum += chance;
    }
    outside
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranks from the usual table of the sign test, counted from zero.
    #[test]
    fn the_interval_is_that_of_the_sign_test() {
        let table = [(5, None), (6, Some(0)), (8, Some(0)), (9, Some(1)), (10, Some(1))];
        for (count, expected) in table.into_iter().chain([(20, Some(5)), (100, Some(39))]) {
            assert_eq!(outside(count), expected, "{count} values");
        }
        assert!(outside(VALUES_MIN as usize).is_some() && outside(1_000).is_some());
    }

    #[test]
    fn an_estimate_has_the_middle_of_an_even_number_too() {
        let even = Estimate::of((1..=10).rev().map(f64::from)).unwrap();
        assert_eq!(even, Estimate { median: 5.5, low: 2.0, high: 9.0 });
        let odd = Estimate::of((1..=9).map(f64::from)).unwrap();
        assert_eq!(odd, Estimate { median: 5.0, low: 2.0, high: 8.0 });
        assert_eq!(Estimate::of([1.0; 5].into_iter()), None);
    }
}
