//! What a simulated network is like: latencies, bandwidths, and how its byte streams are cut.

use std::time::Duration;

use peer::Rng;

use crate::dice::Dice;
use crate::network::NodeId;

/// How long a byte is on its way over a link, in one direction. Drawn once for each link.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Latency {
    /// The same for all links.
    Constant(Duration),
    /// Each as likely as any other between the two.
    Uniform(Duration, Duration),
    /// Log-normal.
    LogNormal {
        /// Half of the links are faster.
        median: Duration,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Nodes are in six parts of the world, by turns, and a link takes what its ends are apart.
    Regions,
}

/// One-way delays in milliseconds between, and within, the east and the west of North America,
/// South America, Europe, East Asia and Oceania. Half of what cloud providers publish as the
/// median round trips between their regions there (Virginia, California, São Paulo, Frankfurt,
/// Tokyo, Sydney), rounded.
const REGIONS: [[u64; 6]; 6] = [
    [5, 31, 57, 45, 74, 100],
    [31, 5, 87, 74, 54, 70],
    [57, 87, 5, 102, 128, 155],
    [45, 74, 102, 5, 112, 145],
    [74, 54, 128, 112, 5, 52],
    [100, 70, 155, 145, 52, 5],
];

/// The last mile of both ends, in a hundredth of the delay: up to so much comes on top.
const LAST_MILE_PERCENT: u64 = 30;

/// Longest latency that is drawn, since the tail of a log-normal one has no end. Guess: more than
/// any path on earth.
const LATENCY_MAX: Duration = Duration::from_secs(2);

impl Latency {
    /// The latency of one link between these nodes.
    #[must_use]
    pub fn draw(&self, ends: [NodeId; 2], rng: &mut Rng) -> Duration {
        match *self {
            Self::Regions => {
                let [from, to] = ends.map(|node| node % REGIONS.len());
                let micros = 1_000 * REGIONS[from][to];
                let more = rng.below(micros * LAST_MILE_PERCENT / 100 + 1);
                Duration::from_micros(micros + more)
            }
            Self::Constant(latency) => latency,
            Self::Uniform(least, most) => {
                let span = most.saturating_sub(least).as_micros() as u64;
                least + Duration::from_micros(rng.below(span + 1))
            }
            Self::LogNormal { median, sigma } => {
                let factor = (sigma * rng.normal()).exp();
                median.mul_f64(factor).min(LATENCY_MAX)
            }
        }
    }
}

/// How a byte stream is cut into segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cuts {
    /// As many bytes as a packet carries, while there are so many.
    Packets,
    /// Whole frames, as far as they are shorter than a segment may be here. Where bandwidth is no
    /// matter that is what packets come to, at fewer events.
    Frames,
    /// Anywhere: each length from one byte to a packet's, short ones more often.
    Anywhere,
}

/// What a receive may use up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Credits {
    /// The share of a connection in a turn of the engine, and a lane with room.
    Ample,
    /// Anything, nothing at all included: what is left over comes again.
    Random,
}

/// What becomes of datagrams, of which a network promises nothing. Each takes a latency of its own,
/// and so overtakes others.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DatagramFaults {
    /// So many of a hundred are lost.
    pub lost_percent: u64,
    /// So many of a hundred that are not come twice.
    pub twice_percent: u64,
}

/// What all links and nodes of a network have in common.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Model {
    /// How long a byte is on its way.
    pub latency: Latency,
    /// What becomes of datagrams. Default: they all come, once.
    pub datagrams: DatagramFaults,
    /// Bits a second that a node sends, and that it receives; `None`: any number at once.
    pub bandwidth: Option<u64>,
    /// How a byte stream is cut.
    pub cuts: Cuts,
    /// What a receive may use up.
    pub credits: Credits,
    /// Most bytes of relayed payloads that wait on one connection; what is beyond is dropped, and
    /// the endpoint is told. Default: 10 MiB, as the engine's two classes of them together.
    pub queue_bytes_max: usize,
}

/// Bytes of a stream that a packet of 1,500 carries, and those of its headers: IPv4, and TCP with
/// time stamps.
pub const SEGMENT_BYTES: usize = 1_500 - SEGMENT_OVERHEAD;
/// See [`SEGMENT_BYTES`].
pub const SEGMENT_OVERHEAD: usize = 20 + 32;

/// Longest segment where frames are not cut: what an engine sends at once.
const FRAMES_BYTES: usize = 256 << 10;

impl Default for Model {
    fn default() -> Self {
        Self {
            latency: Latency::LogNormal { median: Duration::from_millis(50), sigma: 0.5 },
            datagrams: DatagramFaults::default(),
            bandwidth: None,
            cuts: Cuts::Packets,
            credits: Credits::Ample,
            queue_bytes_max: 10 << 20,
        }
    }
}

impl Model {
    /// How long a segment with so many bytes occupies a node's line.
    #[must_use]
    pub fn line_time(&self, bytes: usize) -> Duration {
        let bits = 8 * (bytes + SEGMENT_OVERHEAD) as u64;
        let micros = |rate: u64| (bits * 1_000_000).div_ceil(rate.max(1));
        self.bandwidth.map_or(Duration::ZERO, |rate| Duration::from_micros(micros(rate)))
    }

    /// Most bytes of the next segment.
    pub(crate) fn segment_bytes(&self, rng: &mut Rng) -> usize {
        match self.cuts {
            Cuts::Packets => SEGMENT_BYTES,
            Cuts::Frames => FRAMES_BYTES,
            Cuts::Anywhere => {
                let scale = 1 << rng.below(u64::from(SEGMENT_BYTES.ilog2()) + 1);
                1 + rng.below(scale) as usize
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_where_they_are_said_to_be() {
        let mut rng = Rng::from_seed([1; 32]);
        let ms = Duration::from_millis;
        assert_eq!(Latency::Constant(ms(7)).draw([0, 1], &mut rng), ms(7));
        let uniform = Latency::Uniform(ms(10), ms(20));
        assert!((0..1_000).all(|_| (ms(10)..=ms(20)).contains(&uniform.draw([0, 1], &mut rng))));
        let skew = Latency::LogNormal { median: ms(50), sigma: 0.5 };
        let mut drawn: Vec<_> = (0..4_001).map(|_| skew.draw([0, 1], &mut rng)).collect();
        drawn.sort_unstable();
        assert!((ms(47)..ms(53)).contains(&drawn[2_000]), "{:?}", drawn[2_000]);
        // One standard deviation above the median: 50 ms e^0.5.
        let above = drawn[4_001 * 841 / 1_000];
        assert!((ms(77)..ms(88)).contains(&above), "{above:?}");
    }

    #[test]
    fn regions_are_as_far_from_each_other_both_ways() {
        let mut rng = Rng::from_seed([1; 32]);
        for (from, row) in REGIONS.iter().enumerate() {
            for (to, millis) in row.iter().enumerate() {
                assert_eq!(*millis, REGIONS[to][from]);
                let least = Duration::from_millis(*millis);
                let drawn = Latency::Regions.draw([from + 6, to], &mut rng);
                assert!((least..=least.mul_f64(1.3)).contains(&drawn), "{drawn:?}");
            }
        }
    }

    #[test]
    fn a_full_packet_takes_its_time_on_the_line() {
        let model = Model { bandwidth: Some(20_000_000), ..Model::default() };
        assert_eq!(model.line_time(SEGMENT_BYTES), Duration::from_micros(600));
        assert_eq!(Model::default().line_time(SEGMENT_BYTES), Duration::ZERO);
    }

    #[test]
    fn cuts_are_never_empty_nor_longer_than_a_packet() {
        let mut rng = Rng::from_seed([2; 32]);
        let model = Model { cuts: Cuts::Anywhere, ..Model::default() };
        let cuts: Vec<_> = (0..10_000).map(|_| model.segment_bytes(&mut rng)).collect();
        assert!(cuts.iter().all(|cut| (1..=SEGMENT_BYTES).contains(cut)));
        assert!(cuts.contains(&1) && cuts.iter().any(|cut| *cut > 1_000));
    }
}
