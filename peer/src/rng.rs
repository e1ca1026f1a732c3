//! Randomness: one seed, one fork per sub-machine, a handful of draws.
//!
//! Called by whoever in this crate rolls dice; the driver brings the seed. The invariant: what a
//! generator yields follows from its seed and the draws made from itself alone. Making a fork is
//! no draw, so a new fork, or a new draw in one sub-machine, shifts nothing elsewhere.

use std::fmt;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use xxhash_rust::xxh3::xxh3_64;

/// ChaCha12 from a 256-bit seed.
///
/// ```
/// use peer::Rng;
/// let root = Rng::from_seed([7; 32]);
/// let (mut dialer, mut again) = (root.fork("dialer"), root.fork("dialer"));
/// assert_eq!(dialer.u64(), again.u64());
/// assert_ne!(dialer.u64(), root.fork("ping").u64());
/// ```
pub struct Rng(ChaCha12Rng);

/// The stream that a generator's own draws come from; every other one is the seed of a fork.
const OWN_STREAM: u64 = 0;

impl Rng {
    /// The generator that this seed means.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// A generator of its own for one purpose, named by a constant: the same seed and label always
    /// give the same fork, whatever was drawn before.
    ///
    /// Its seed is the cipher's output on a stream that the label chooses, so that values of one
    /// fork, seen on the wire, tell nothing of another.
    #[must_use]
    pub fn fork(&self, label: &str) -> Self {
        let mut stream = ChaCha12Rng::from_seed(self.0.get_seed());
        stream.set_stream(xxh3_64(label.as_bytes()).max(OWN_STREAM + 1));
        let mut seed = [0; 32];
        stream.fill_bytes(&mut seed);
        Self::from_seed(seed)
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`, each as likely as any other.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "no number is below 0");
        // Lemire 2019: the high half of a product; low halves under 2^64 mod n would be too many.
        let reject = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.u64()) * u128::from(n);
            if product as u64 >= reject {
                return (product >> 64) as u64;
            }
        }
    }

    /// True in `numerator` of `denominator` cases.
    ///
    /// # Panics
    ///
    /// If `denominator` is 0.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// Random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// One of `items`, unless there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() {
            return None;
        }
        items.get(self.below(items.len() as u64) as usize)
    }

    /// Puts `items` into a random order, each as likely as any other.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for unplaced in (2..=items.len()).rev() {
            items.swap(unplaced - 1, self.below(unplaced as u64) as usize);
        }
    }
}

/// Without the seed, from which all secrets follow.
impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> Rng {
        Rng::from_seed([0; 32])
    }

    #[test]
    fn draws_are_those_of_chacha12() {
        // First words of the key stream of ChaCha12 with key, counter and nonce zero.
        let mut rng = rng();
        assert_eq!([rng.u64(), rng.u64()], [0x53f9_5507_6a9a_f49b, 0xd583_265f_12ce_1f81]);
    }

    #[test]
    fn a_fork_shifts_nothing_and_is_shifted_by_nothing() {
        let mut plain = rng();
        let mut forking = rng();
        for _ in 0..100 {
            let before = forking.fork("child").u64();
            assert_eq!(plain.u64(), forking.u64());
            assert_eq!(forking.fork("child").u64(), before);
        }
    }

    #[test]
    fn forks_differ_by_label_and_by_parent() {
        let root = rng();
        let mut first = [
            rng().u64(),
            root.fork("a").u64(),
            root.fork("b").u64(),
            root.fork("").u64(),
            root.fork("a").fork("a").u64(),
            root.fork("a").fork("b").u64(),
            root.fork("b").fork("a").u64(),
        ];
        first.sort_unstable();
        assert!(first.windows(2).all(|pair| pair[0] != pair[1]));
        // The derivation is part of what a seed means: a recorded run replays only if it stays.
        assert_eq!(root.fork("a").u64(), 15_411_495_179_291_003_146);
    }

    #[test]
    fn below_stays_below_and_reaches_all() {
        let mut rng = rng();
        for n in [1, 2, 3, 7, 1000, u64::MAX / 2 + 2, u64::MAX] {
            assert!((0..100).all(|_| rng.below(n) < n));
        }
        let mut seen = [0u32; 6];
        for _ in 0..6000 {
            seen[rng.below(6) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (850..1150).contains(n)), "{seen:?}");
    }

    #[test]
    fn chance_keeps_its_odds() {
        let mut rng = rng();
        assert!((0..100).all(|_| rng.chance(1, 1)));
        assert!((0..100).all(|_| !rng.chance(0, 5)));
        let hits = (0..10_000).filter(|_| rng.chance(1, 10)).count();
        assert!((900..1100).contains(&hits), "{hits}");
    }

    #[test]
    fn pick_and_shuffle_lose_nothing() {
        let mut rng = rng();
        assert_eq!(rng.pick::<u8>(&[]), None);
        assert_eq!(rng.pick(&[9]), Some(&9));
        let mut items: Vec<u32> = (0..20).collect();
        rng.shuffle(&mut items);
        assert_eq!(items[..8], [9, 3, 17, 4, 14, 13, 5, 11]);
        items.sort_unstable();
        assert_eq!(items, (0..20).collect::<Vec<u32>>());
        rng.shuffle::<u8>(&mut []);
    }

    #[test]
    fn fill_is_the_same_for_the_same_seed() {
        let (mut left, mut right) = ([0; 45], [0; 45]);
        rng().fill(&mut left);
        rng().fill(&mut right);
        assert_eq!(left, right);
        assert_ne!(left, [0; 45]);
    }

    #[test]
    fn the_seed_is_not_shown() {
        assert_eq!(format!("{:?}", Rng::from_seed([1; 32])), "Rng");
    }
}
