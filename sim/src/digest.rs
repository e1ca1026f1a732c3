//! One number for all that the endpoints of a run put out: two runs with the same number did the
//! same.

use std::fmt::{self, Write};

use peer::{Instant, Output};

use crate::network::NodeId;

/// FNV-1a, eight bytes at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    pub(crate) const fn value(self) -> u64 {
        self.0
    }

    /// A node puts this out.
    pub(crate) fn note(&mut self, now: Instant, node: NodeId, output: &Output) {
        self.mix(now.micros());
        self.mix(node as u64);
        // Writing to a digest cannot fail.
        let _ = write!(self, "{output:?}");
        if let Output::Send { payload, .. } = output {
            self.bytes(payload.frame());
        }
    }

    const fn mix(&mut self, word: u64) {
        // Rotated too: a product alone carries no bit downwards.
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.mix(u64::from(*byte)));
    }
}

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}
