//! Noise that follows from a number: SplitMix64.

/// The same noise from the same number.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_be_bytes());
        words.take(count.div_ceil(8)).flatten().take(count).collect()
    }
}

/// The finalizer: numbers that hardly differ become ones that do in half of their bits.
pub(crate) const fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the published generator, from 0.
    #[test]
    fn it_is_splitmix64() {
        let mut noise = Noise(0);
        let first = [noise.next(), noise.next()];
        assert_eq!(first, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }
}
