//! Medians and ratios, as a table and as JSON.

use serde::Serialize;

use super::server::Server;

/// One round of one server.
#[derive(Clone, Copy, Serialize, Debug)]
pub(super) struct Round {
    /// Nanoseconds of the network thread for each frame.
    pub(super) cpu_ns_per_frame: f64,
    /// Frames handled in a second.
    pub(super) frames_per_second: f64,
    /// 99th percentile of the ping round trips under the load, microseconds.
    pub(super) ping_p99_us: f64,
}

/// All rounds of one server under one load.
#[derive(Serialize)]
pub(super) struct Measured {
    /// Which server.
    pub(super) server: &'static str,
    /// What it is and how it is set up.
    pub(super) settings: &'static str,
    /// In order of time.
    pub(super) rounds: Vec<Round>,
}

/// All servers under one load.
#[derive(Serialize)]
pub(super) struct Workload {
    /// Frames of one write of the driver.
    pub(super) frames_per_write: usize,
    /// Frames of a round.
    pub(super) frames: u64,
    /// Connections that write.
    pub(super) connections: usize,
    /// In the order of a round.
    pub(super) measured: Vec<Measured>,
}

/// What is written to a file.
#[derive(Serialize)]
pub(super) struct Report {
    /// Every load.
    pub(super) workloads: Vec<Workload>,
    /// What was not measured, and why.
    pub(super) left_out: Vec<String>,
}

/// Middle, least and most of some numbers.
#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }
}

/// The number below which `percent` of the values lie. They need not be sorted.
pub(super) fn percentile(values: &mut [f64], percent: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * percent / 100.0).ceil() as usize;
    values.get(rank.clamp(1, values.len().max(1)) - 1).copied()
}

/// What a column shows of a round.
type Column = fn(&Round) -> f64;

const CPU: Column = |round| round.cpu_ns_per_frame;
const THROUGHPUT: Column = |round| round.frames_per_second / 1e6;
const PING: Column = |round| round.ping_p99_us / 1e3;

impl Measured {
    fn spread(&self, column: Column) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(column))
    }

    /// Ours over that of `base`, round by round: what disturbed one disturbed its neighbour.
    fn ratio(&self, base: &Self, column: Column) -> Option<Spread> {
        Spread::of(self.rounds.iter().zip(&base.rounds).map(|(a, b)| column(a) / column(b)))
    }
}

impl Workload {
    /// Prints the table of medians, with (least to most), and of ratios to the engine.
    pub(super) fn print(&self) {
        let rounds = self.measured.first().map_or(0, |measured| measured.rounds.len());
        println!(
            "\n{} frames a write, {} connections, 90 % duplicates, {} frames, {rounds} rounds",
            self.frames_per_write, self.connections, self.frames
        );
        println!(
            "{:<12} {:>24} {:>24} {:>24}",
            "", "CPU, ns a frame", "million frames a second", "ping p99, ms"
        );
        for measured in &self.measured {
            let cells = [(CPU, 0), (THROUGHPUT, 2), (PING, 1)].map(|(column, digits)| {
                measured.spread(column).map_or_else(String::new, |spread| show(spread, digits))
            });
            println!("{:<12} {:>24} {:>24} {:>24}", measured.server, cells[0], cells[1], cells[2]);
        }
        let Some(engine) = self.of(Server::Engine) else { return };
        println!("ratios to the engine, round by round");
        for measured in &self.measured {
            let cells = [CPU, THROUGHPUT, PING].map(|column| {
                let spread = measured.ratio(engine, column);
                spread.map_or_else(String::new, |spread| show(spread, 2))
            });
            println!("{:<12} {:>24} {:>24} {:>24}", measured.server, cells[0], cells[1], cells[2]);
        }
        self.print_targets(engine);
    }

    fn of(&self, server: Server) -> Option<&Measured> {
        self.measured.iter().find(|measured| measured.server == server.name())
    }

    /// The engine's CPU for each frame over each rival's, against what it is to be at most.
    fn print_targets(&self, engine: &Measured) {
        println!("the engine's CPU a frame over each other's, and what it is to be at most");
        for measured in self.measured.iter().filter(|other| other.server != engine.server) {
            let plain = measured.server == Server::TokioPlain.name();
            let at_most = match (self.frames_per_write > 16, plain) {
                (true, true) => 0.60,
                (true, false) => 0.95,
                (false, _) => 1.05,
            };
            if let Some(ratio) = engine.ratio(measured, CPU) {
                let verdict = if ratio.median <= at_most { "met" } else { "MISSED" };
                let shown = show(ratio, 2);
                println!("{:<12} {shown:>24}   at most {at_most:.2}: {verdict}", measured.server);
            }
        }
    }
}

fn show(spread: Spread, digits: usize) -> String {
    let Spread { median, min, max } = spread;
    format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_of_an_even_number_too() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0].into_iter()).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (2.5, 1.0, 4.0));
        assert!(Spread::of(std::iter::empty()).is_none());
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 99.0), Some(99.0));
        assert_eq!(percentile(&mut values[..1], 99.0), Some(1.0));
        assert_eq!(percentile(&mut [], 99.0), None);
    }
}
