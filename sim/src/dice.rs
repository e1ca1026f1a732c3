//! Draws that the core has no need of: real numbers, and seeds that follow from a number.

use peer::Rng;

/// Further draws from the core's own generator.
pub(crate) trait Dice {
    /// At least 0, below 1.
    fn unit(&mut self) -> f64;

    /// With mean 0 and standard deviation 1.
    fn normal(&mut self) -> f64;

    /// With mean 1: the time between two arrivals.
    fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

impl Dice for Rng {
    fn unit(&mut self) -> f64 {
        // As many bits as a mantissa has.
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        // Box and Muller 1958, one of the two.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// The generator of a run.
#[must_use]
pub fn rng(seed: u64) -> Rng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Rng::from_seed(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_moments_that_they_should() {
        let mut rng = rng(3);
        let count = 20_000;
        let mean = |draw: &mut dyn FnMut() -> f64| (0..count).map(|_| draw()).sum::<f64>() / 2e4;
        assert!((mean(&mut || rng.unit()) - 0.5).abs() < 0.01);
        assert!(mean(&mut || rng.normal()).abs() < 0.03);
        assert!((mean(&mut || rng.normal().powi(2)) - 1.0).abs() < 0.04);
        assert!((mean(&mut || rng.exponential()) - 1.0).abs() < 0.03);
    }
}
