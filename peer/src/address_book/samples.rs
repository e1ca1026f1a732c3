//! What we told to whom: a few samples of the book, each kept for a day.
//!
//! A keyed hash assigns each group of askers to one of the samples. So the same group hears the
//! same all day, and whoever has many groups still finds out no more than these samples, makes us
//! forget none of them and costs us no more than their making.

use codec::limits::PEER_ADDRS_MAX;

use crate::address::HostKey;

/// Samples a day. Guess: of a book of 16,384 all of them together tell a quarter.
pub(super) const SAMPLES: usize = 16;

/// Most of the addresses fit to be told that one sample has, in percent, as Bitcoin Core.
const SHARE_PERCENT: usize = 23;

/// Fewer are told only when there are no more. A share of a small book would tell nearly nothing: a
/// network of ten nodes, where each has reached nine, would tell two, and might never grow
/// together. And a network of which somebody has reached fewer than 140 nodes is small enough to be
/// counted by dialling them all; there is no graph to hide.
pub(super) const TOLD_MIN: usize = 32;

#[derive(Default)]
pub(super) struct Samples {
    kept: [Option<Sample>; SAMPLES],
}

struct Sample {
    day: u64,
    /// At most [`PEER_ADDRS_MAX`].
    hosts: Vec<HostKey>,
}

impl Samples {
    /// What was told on this day.
    pub(super) fn get(&self, sample: usize, day: u64) -> Option<&[HostKey]> {
        let sample = self.kept[sample].as_ref()?;
        (sample.day == day).then_some(&sample.hosts)
    }

    /// Makes a sample of what could be told, with the rank of each; kept, unless it is all.
    pub(super) fn make(
        &mut self,
        sample: usize,
        day: u64,
        mut ranked: Vec<(u64, HostKey)>,
    ) -> Vec<HostKey> {
        let all = ranked.len();
        let share = (all * SHARE_PERCENT / 100).clamp(TOLD_MIN, PEER_ADDRS_MAX);
        if share < all {
            ranked.select_nth_unstable(share);
            ranked.truncate(share);
        }
        ranked.sort_unstable();
        let hosts: Vec<HostKey> = ranked.into_iter().map(|(_, host)| host).collect();
        // What is all will be more tomorrow: a young book must not tell nobody for a day.
        let sample = &mut self.kept[sample];
        *sample = (share < all).then(|| Sample { day, hosts: hosts.clone() });
        hosts
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.kept.iter().flatten().map(|sample| size_of_val(sample.hosts.as_slice())).sum()
    }
}
