//! What relaying cost in each mode: for machines as JSON, for people as a table and a page.

use std::fmt::Write;
use std::time::Duration;

use molva::Metrics;
use serde::Serialize;

use super::chain::Seen;
use super::workload::Item;
use crate::flags::Relay;
use crate::page::{document, escaped, list};
use crate::report::grouped;

/// What one mode cost.
#[derive(Clone, Default, Debug, Serialize)]
pub(super) struct ModeReport {
    pub(super) name: &'static str,
    /// Items published, and arrivals of them at other engines that there must be.
    pub(super) items: u64,
    pub(super) wanted: u64,
    pub(super) arrived: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) altered: u64,
    /// Times that an engine said that an item was not to be had.
    pub(super) missing: u64,
    /// Bytes of frames that had to travel: each item once to each other engine.
    pub(super) payload_bytes: u64,
    /// All bytes that came to all engines.
    pub(super) bytes_received: u64,
    /// Bytes of payloads that came though they were known.
    pub(super) duplicate_bytes: u64,
    /// These, divided by the bytes of all payloads that came.
    pub(super) duplicate_share: f64,
    /// Everything that came, divided by the payload bytes.
    pub(super) bytes_per_payload_byte: f64,
    pub(super) frames_received: u64,
    /// From publication to arrival.
    pub(super) latency_us: Latency,
    pub(super) errors: Vec<String>,
    #[serde(skip)]
    latencies: Vec<Duration>,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Default, Debug, Serialize)]
pub(super) struct Latency {
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
}

impl ModeReport {
    pub(super) fn new(name: &'static str, items: &[Item], engines: usize) -> Self {
        let others = engines as u64 - 1;
        let bytes: usize = items.iter().map(|item| item.payload.frame().len()).sum();
        Self {
            name,
            items: items.len() as u64,
            wanted: items.len() as u64 * others,
            payload_bytes: bytes as u64 * others,
            ..Self::default()
        }
    }

    /// Adds what one engine counted.
    pub(super) fn count(&mut self, metrics: &Metrics) {
        self.duplicate_bytes += metrics.duplicate_bytes;
        self.frames_received += metrics.frames_received;
    }

    /// Adds what one chain saw.
    pub(super) fn take(&mut self, seen: Seen) {
        self.arrived += seen.items;
        self.doubled += seen.doubled;
        self.altered += seen.altered;
        self.missing += seen.missing;
        self.latencies.extend(seen.latencies);
    }

    pub(super) fn conclude(&mut self) {
        self.lost = self.wanted.saturating_sub(self.arrived);
        let came = self.payload_bytes + self.duplicate_bytes;
        self.duplicate_share = self.duplicate_bytes as f64 / came as f64;
        self.bytes_per_payload_byte = self.bytes_received as f64 / self.payload_bytes as f64;
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let index = (self.latencies.len() as f64 * share) as usize;
            let last = self.latencies.len().saturating_sub(1);
            self.latencies.get(index.min(last)).map_or(0, |latency| latency.as_micros() as u64)
        };
        self.latency_us = Latency { p50: at(0.5), p99: at(0.99), max: at(1.0) };
        let faults = [("lost", self.lost), ("doubled", self.doubled), ("altered", self.altered)];
        for (what, count) in faults.into_iter().filter(|(_, count)| *count > 0) {
            self.errors.push(format!("{}: {count} arrivals {what}", self.name));
        }
    }

    pub(super) fn line(&self) -> String {
        format!(
            "  {:<12}{:>9} of {:<9} arrived, {:>5.1} % of payload bytes twice, {:>6.2} bytes per \
             payload byte, p50 {:.1} ms, p99 {:.1} ms",
            self.name,
            grouped(self.arrived),
            grouped(self.wanted),
            100.0 * self.duplicate_share,
            self.bytes_per_payload_byte,
            self.latency_us.p50 as f64 / 1e3,
            self.latency_us.p99 as f64 / 1e3,
        )
    }
}

/// Everything that a run found.
#[derive(Clone, Default, Debug, Serialize)]
pub(super) struct RelayReport {
    scenario: &'static str,
    verdict: &'static str,
    engines: u32,
    degree: u32,
    transactions: u32,
    blocks: u32,
    block_outputs: u32,
    rate: f64,
    seed: u64,
    pub(super) modes: Vec<ModeReport>,
    pub(super) errors: Vec<String>,
}

impl RelayReport {
    pub(super) fn new(flags: &Relay) -> Self {
        Self {
            scenario: "relay",
            engines: flags.engines,
            degree: flags.degree,
            transactions: flags.transactions,
            blocks: flags.blocks,
            block_outputs: flags.block_outputs,
            rate: flags.rate,
            seed: flags.seed,
            ..Self::default()
        }
    }

    /// Draws the conclusions: the first mode may send so much twice.
    pub(super) fn conclude(&mut self, duplicate_share_max: f64) {
        self.errors.extend(self.modes.iter().flat_map(|mode| mode.errors.clone()));
        if let Some(mode) = self.modes.first().filter(|it| it.duplicate_share > duplicate_share_max)
        {
            let share = 100.0 * mode.duplicate_share;
            let most = 100.0 * duplicate_share_max;
            let error = format!("{}: {share:.1} % of bytes came twice, at most {most}", mode.name);
            self.errors.push(error);
        }
        self.verdict = if self.errors.is_empty() { "passed" } else { "failed" };
    }

    pub(super) fn is_fine(&self) -> bool {
        self.errors.is_empty()
    }

    pub(super) fn table(&self) -> String {
        let Self { verdict, engines, degree, transactions, blocks, .. } = self;
        let mut out = format!(
            "\nloadgen relay: {verdict}, {engines} engines that dial {degree} others each, \
             {transactions} transactions and {blocks} blocks\n"
        );
        for mode in &self.modes {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{}", mode.line());
        }
        for error in &self.errors {
            let _ = writeln!(out, "  ERROR {error}");
        }
        out
    }

    /// The page for people.
    pub(super) fn page(&self) -> String {
        let mut out = String::new();
        let class = if self.is_fine() { "passed" } else { "failed" };
        let verdict = match self.errors.first() {
            None => "Passed: every item reached every engine exactly once",
            Some(error) => error,
        };
        let _ = write!(
            out,
            "<h1>What relaying costs</h1><p class=\"sub\">{} engines that dial {} others each; {} \
             transactions and {} blocks, each published once</p><p class=\"verdict \
             {class}\">{}</p>",
            self.engines,
            self.degree,
            self.transactions,
            self.blocks,
            escaped(verdict),
        );
        list(&mut out, "What went wrong", &self.errors);
        out.push_str(
            "<h2>The modes</h2><table class=\"wide\"><tr><th>mode</th><th>arrived</th><th>payload \
             bytes that came twice</th><th>bytes per payload byte</th><th>p50, ms</th><th>p99, \
             ms</th><th>max, ms</th></tr>",
        );
        for mode in &self.modes {
            let Latency { p50, p99, max } = mode.latency_us;
            let _ = write!(
                out,
                "<tr><td><b>{}</b></td><td>{}</td><td>{:.1} %</td><td>{:.2}</td><td>{:.1}</td>\
                 <td>{:.1}</td><td>{:.1}</td></tr>",
                mode.name,
                grouped(mode.arrived),
                100.0 * mode.duplicate_share,
                mode.bytes_per_payload_byte,
                p50 as f64 / 1e3,
                p99 as f64 / 1e3,
                max as f64 / 1e3,
            );
        }
        out.push_str("</table>");
        document(&format!("relay: {}", self.verdict), &out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_twice_is_a_share_of_all_that_came() {
        let mut mode =
            ModeReport { payload_bytes: 900, duplicate_bytes: 100, ..ModeReport::default() };
        mode.conclude();
        assert!((mode.duplicate_share - 0.1).abs() < 1e-9);
        let mut report = RelayReport { modes: vec![mode.clone()], ..RelayReport::default() };
        report.conclude(0.1);
        assert!(report.is_fine());
        report.conclude(0.05);
        assert!(!report.is_fine() && report.page().contains("10.0 %"));
        mode.wanted = 1;
        mode.conclude();
        assert_eq!(mode.errors, [": 1 arrivals lost"]);
    }
}
