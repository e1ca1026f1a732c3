//! Means with their intervals, and quantiles.

/// A mean over runs with its 95 % interval, by Student's t.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half of the width of the interval; zero of a single run, which tells nothing of it.
    pub margin: f64,
}

/// Quantiles 0.975 of Student's distribution for 1 to 30 degrees of freedom.
const T_975: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

impl Estimate {
    /// From one figure of each run.
    #[must_use]
    pub fn of(figures: &[f64]) -> Self {
        let count = figures.len();
        let mean = figures.iter().sum::<f64>() / count.max(1) as f64;
        if count < 2 {
            return Self { mean, margin: 0.0 };
        }
        let squares: f64 = figures.iter().map(|figure| (figure - mean).powi(2)).sum();
        let error = (squares / (count - 1) as f64 / count as f64).sqrt();
        let quantile = T_975.get(count - 2).copied().unwrap_or(1.96);
        Self { mean, margin: quantile * error }
    }

    /// The lower end of the interval.
    #[must_use]
    pub fn low(&self) -> f64 {
        self.mean - self.margin
    }

    /// The upper end of the interval.
    #[must_use]
    pub fn high(&self) -> f64 {
        self.mean + self.margin
    }
}

/// The least figure with this share of all at or below it; 0 of none.
pub(crate) fn quantile(figures: &mut [f64], share: f64) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    let place = (share * figures.len() as f64).ceil() as usize;
    figures.get(place.max(1) - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_students() {
        let estimate = Estimate::of(&[1.0, 2.0, 3.0]);
        assert_eq!(estimate.mean, 2.0);
        // s = 1, standard error 0.577, t(2) = 4.303.
        assert!((estimate.margin - 2.4843).abs() < 1e-3, "{estimate:?}");
        assert_eq!(Estimate::of(&[4.0]), Estimate { mean: 4.0, margin: 0.0 });
    }

    #[test]
    fn quantiles_are_figures_that_there_are() {
        let mut figures: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let at = [0.0, 0.5, 0.95, 0.99, 1.0].map(|share| quantile(&mut figures, share));
        assert_eq!(at, [1.0, 50.0, 95.0, 99.0, 100.0]);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
