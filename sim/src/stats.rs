//! Means with their intervals, and quantiles.

/// A mean over runs with its 95 % interval, by Student's t.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half of the width of the interval; `None` of a single run, which tells nothing of it.
    pub margin: Option<f64>,
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
            return Self { mean, margin: None };
        }
        let squares: f64 = figures.iter().map(|figure| (figure - mean).powi(2)).sum();
        let error = (squares / (count - 1) as f64 / count as f64).sqrt();
        let quantile = T_975.get(count - 2).copied().unwrap_or(1.96);
        Self { mean, margin: Some(quantile * error) }
    }

    /// Of a figure that is no mean of runs.
    #[must_use]
    pub const fn exact(mean: f64) -> Self {
        Self { mean, margin: Some(0.0) }
    }

    /// In other units.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { mean: factor * self.mean, margin: self.margin.map(|margin| factor * margin) }
    }

    /// The lower end of the interval, if there is one.
    #[must_use]
    pub fn low(&self) -> Option<f64> {
        self.margin.map(|margin| self.mean - margin)
    }

    /// The upper end of the interval, if there is one.
    #[must_use]
    pub fn high(&self) -> Option<f64> {
        self.margin.map(|margin| self.mean + margin)
    }

    /// Both ends as they are drawn: the mean alone where there is no interval.
    pub(crate) fn drawn(&self) -> (f64, f64) {
        (self.low().unwrap_or(self.mean), self.high().unwrap_or(self.mean))
    }

    /// Mean and interval with so many digits behind the point; `-` for what is not known.
    pub(crate) fn text(&self, digits: usize) -> String {
        format!("{} ±{}", self.mean_text(digits), self.margin_text(digits))
    }

    pub(crate) fn mean_text(&self, digits: usize) -> String {
        number(self.mean, digits)
    }

    pub(crate) fn margin_text(&self, digits: usize) -> String {
        number(self.margin.filter(|_| self.mean.is_finite()).unwrap_or(f64::NAN), digits)
    }
}

/// With so many digits behind the point; `-` for what is no number or infinite.
pub(crate) fn number(figure: f64, digits: usize) -> String {
    if figure.is_finite() { format!("{figure:.digits$}") } else { "-".to_owned() }
}

/// A figure with so many digits behind the point, and with more if it takes them to see on which
/// side of a limit it is.
pub(crate) fn beside(figure: f64, limit: f64, digits: usize) -> String {
    let side = figure.partial_cmp(&limit);
    let told = |digits: &usize| {
        let rounded = number(figure, *digits).parse::<f64>();
        rounded.is_ok_and(|rounded| rounded.partial_cmp(&limit) == side)
    };
    // Seventeen digits are all that there are.
    number(figure, (digits..17).find(told).unwrap_or(digits))
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
        assert!((estimate.margin.unwrap() - 2.4843).abs() < 1e-3, "{estimate:?}");
        assert_eq!(estimate.text(1), "2.0 ±2.5");
        let single = Estimate::of(&[4.0]);
        assert_eq!((single.high(), single.drawn()), (None, (4.0, 4.0)));
        assert_eq!(single.text(1), "4.0 ±-");
        assert_eq!(Estimate::of(&[f64::INFINITY; 2]).text(1), "- ±-");
    }

    #[test]
    fn a_figure_is_told_on_its_side_of_the_limit() {
        assert_eq!(beside(1.010_4, 1.01, 3), "1.0104");
        assert_eq!(beside(1.01, 1.01, 3), "1.010");
        assert_eq!(beside(0.998_97, 0.999, 2), "0.99897");
        assert_eq!(beside(3.5, 2.0, 1), "3.5");
        assert_eq!(beside(f64::INFINITY, 2.0, 1), "-");
    }

    #[test]
    fn quantiles_are_figures_that_there_are() {
        let mut figures: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let at = [0.0, 0.5, 0.95, 0.99, 1.0].map(|share| quantile(&mut figures, share));
        assert_eq!(at, [1.0, 50.0, 95.0, 99.0, 100.0]);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
