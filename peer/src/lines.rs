//! Memory in cache lines: the tables of [`crate::SeenFilter`] and [`crate::Inventory`] live in it.
//!
//! A miss is the largest single cost of a frame, so a look-up must never straddle two lines, and
//! memory that nobody used must not be resident: it comes zeroed from the system, untouched.

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Words of a cache line.
pub(crate) const LINE_WORDS: usize = LINE_BYTES / size_of::<u64>();

/// A fixed number of aligned cache lines, zero at first.
pub(crate) struct Lines {
    /// One line more than asked for, so that an aligned run of the right length fits.
    words: Vec<u64>,
    /// Word at which the first aligned line begins. The vector never grows, so it never moves.
    first: usize,
}

impl Lines {
    /// `count` lines of zeros; pages that are never touched cost address space only.
    pub(crate) fn new(count: usize) -> Self {
        let words = vec![0; (count + 1) * LINE_WORDS];
        let first = words.as_ptr().align_offset(LINE_BYTES) % LINE_WORDS;
        Self { words, first }
    }

    /// Bytes that so many lines take.
    pub(crate) const fn bytes_of(count: usize) -> usize {
        (count + 1) * LINE_BYTES
    }

    /// The lines, whole.
    pub(crate) fn lines(&self) -> &[[u64; LINE_WORDS]] {
        self.words[self.first..].as_chunks().0
    }

    /// The lines, whole, to be written.
    pub(crate) fn lines_mut(&mut self) -> &mut [[u64; LINE_WORDS]] {
        self.words[self.first..].as_chunks_mut().0
    }

    /// The same memory as pairs of words, four in a line.
    pub(crate) fn pairs(&self) -> &[[u64; 2]] {
        self.words[self.first..].as_chunks().0
    }

    /// The same memory as pairs of words, four in a line, to be written.
    pub(crate) fn pairs_mut(&mut self) -> &mut [[u64; 2]] {
        self.words[self.first..].as_chunks_mut().0
    }

    /// Bytes of address space; resident are at most as many.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_as_many_as_asked_for() {
        for count in [0, 1, 2, 3, 1000] {
            let mut lines = Lines::new(count);
            assert!(lines.lines().len() >= count);
            assert_eq!(lines.memory_bytes(), Lines::bytes_of(count));
            assert_eq!(lines.lines().as_ptr().align_offset(LINE_BYTES), 0);
            assert_eq!(lines.lines_mut().as_ptr().align_offset(LINE_BYTES), 0);
            assert_eq!(lines.pairs().len() / 4, lines.lines().len());
            assert!(lines.lines().iter().all(|line| *line == [0; LINE_WORDS]));
        }
    }
}
