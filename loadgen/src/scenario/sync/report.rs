//! What was synced, and how fast: for machines as JSON, for people as a table and a page.

use std::collections::BTreeMap;
use std::fmt::Write;

use molva::Metrics;
use serde::Serialize;

use super::client::Seen;
use super::server::Manner;
use crate::flags::Sync;
use crate::page::{document, escaped, list};
use crate::report::grouped;

/// What one case gave.
#[derive(Clone, Default, Debug, Serialize)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) servers: usize,
    liars: usize,
    blocks_wanted: usize,
    pub(super) blocks: usize,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    /// Bytes a second that the honest servers have to give.
    pub(super) rate_possible: f64,
    pub(super) rate: f64,
    /// The one divided by the other.
    pub(super) share: f64,
    /// All bytes that came, divided by those of the blocks.
    pub(super) bytes_per_block_byte: f64,
    pub(super) invalid: u64,
    pub(super) out_of_order: u64,
    pub(super) missing: u64,
    pub(super) bans: usize,
    pub(super) closed_by_cause: BTreeMap<&'static str, u64>,
    pub(super) errors: Vec<String>,
}

impl Case {
    pub(super) fn new(name: &'static str, manners: &[Manner], blocks: usize, rate: f64) -> Self {
        Self {
            name,
            servers: manners.len(),
            liars: manners.iter().filter(|manner| **manner == Manner::Liar).count(),
            blocks_wanted: blocks,
            rate_possible: rate,
            ..Self::default()
        }
    }

    pub(super) fn take(&mut self, seen: &Seen, metrics: &Metrics, bans: usize) {
        self.blocks = seen.blocks;
        self.bytes = seen.bytes;
        self.seconds = seen.took.as_secs_f64();
        self.rate = if self.seconds > 0.0 { self.bytes as f64 / self.seconds } else { 0.0 };
        self.share = self.rate / self.rate_possible;
        self.bytes_per_block_byte = metrics.bytes_received as f64 / self.bytes.max(1) as f64;
        self.invalid = seen.invalid;
        self.out_of_order = seen.out_of_order;
        self.missing = seen.missing;
        self.bans = bans;
        self.closed_by_cause = metrics.closed_by_cause().collect();
        if self.blocks < self.blocks_wanted {
            let error = format!("{}: {} blocks of {}", self.name, self.blocks, self.blocks_wanted);
            self.errors.push(error);
        }
        if bans != self.liars {
            self.errors.push(format!("{}: {bans} bans, {} liars", self.name, self.liars));
        }
    }

    pub(super) fn line(&self) -> String {
        format!(
            "  {:<44}{:>7} blocks in {:>5.1} s: {:>5.2} MB/s of {:>5.2}, {:>5.1} %; {:.3} bytes \
             per byte",
            self.name,
            grouped(self.blocks as u64),
            self.seconds,
            self.rate / 1e6,
            self.rate_possible / 1e6,
            100.0 * self.share,
            self.bytes_per_block_byte,
        )
    }
}

/// Everything that a run found.
#[derive(Clone, Default, Debug, Serialize)]
pub(super) struct SyncReport {
    scenario: &'static str,
    verdict: &'static str,
    blocks: u32,
    block_bytes: usize,
    server_bytes_per_second: u64,
    pub(super) cases: Vec<Case>,
    pub(super) errors: Vec<String>,
}

impl SyncReport {
    pub(super) fn new(flags: &Sync) -> Self {
        Self {
            scenario: "sync",
            blocks: flags.blocks,
            block_bytes: flags.block_bytes,
            server_bytes_per_second: flags.rate_bytes,
            ..Self::default()
        }
    }

    /// Draws the conclusions: each case must have come to this share.
    pub(super) fn conclude(&mut self, share_min: f64) {
        for case in &self.cases {
            self.errors.extend(case.errors.clone());
            if case.share < share_min {
                let (share, least) = (100.0 * case.share, 100.0 * share_min);
                self.errors.push(format!("{}: {share:.1} %, at least {least}", case.name));
            }
        }
        self.verdict = if self.errors.is_empty() { "passed" } else { "failed" };
    }

    pub(super) fn is_fine(&self) -> bool {
        self.errors.is_empty()
    }

    pub(super) fn table(&self) -> String {
        let mut out = format!(
            "\nloadgen sync: {}, {} blocks of {} bytes, each server gives {:.1} MB/s\n",
            self.verdict,
            grouped(self.blocks.into()),
            grouped(self.block_bytes as u64),
            self.server_bytes_per_second as f64 / 1e6,
        );
        for case in &self.cases {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{}", case.line());
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
            None => "Passed: the whole chain came, in order, as fast as it should",
            Some(error) => error,
        };
        let _ = write!(
            out,
            "<h1>Catching up</h1><p class=\"sub\">{} blocks of {} bytes; each server gives {:.1} \
             MB/s</p><p class=\"verdict {class}\">{}</p>",
            grouped(self.blocks.into()),
            grouped(self.block_bytes as u64),
            self.server_bytes_per_second as f64 / 1e6,
            escaped(verdict),
        );
        list(&mut out, "What went wrong", &self.errors);
        out.push_str(
            "<h2>The servers</h2><table class=\"wide\"><tr><th>servers</th><th>seconds</th>\
             <th>MB/s</th><th>possible</th><th>share</th><th>bytes per byte</th><th>bans</th></tr>",
        );
        for case in &self.cases {
            let _ = write!(
                out,
                "<tr><td><b>{}</b></td><td>{:.1}</td><td>{:.2}</td><td>{:.2}</td><td>{:.1} \
                 %</td><td>{:.3}</td><td>{}</td></tr>",
                case.name,
                case.seconds,
                case.rate / 1e6,
                case.rate_possible / 1e6,
                100.0 * case.share,
                case.bytes_per_block_byte,
                case.bans,
            );
        }
        out.push_str("</table>");
        document(&format!("sync: {}", self.verdict), &out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_case_fails_the_run() {
        let case = Case { name: "one", share: 0.84, ..Case::default() };
        let mut report = SyncReport { cases: vec![case], ..SyncReport::default() };
        report.conclude(0.8);
        assert!(report.is_fine());
        report.conclude(0.85);
        assert_eq!(report.errors, ["one: 84.0 %, at least 85"]);
        assert!(report.page().contains("84.0"));
    }
}
