//! The result of a run: for machines as JSON, for people as a table and a page.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::control::{Backend, ThreadDone};

/// Most errors that a report lists.
const ERRORS_MAX: usize = 20;

/// Latencies in microseconds; zeros where none was measured.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// The rates over one stretch of a run.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize)]
pub(crate) struct Sample {
    /// Seconds since the start.
    pub(crate) seconds: f64,
    /// Frames a second since the last sample; handshakes in a churn.
    pub(crate) frames_per_second: f64,
    /// Bytes a second since the last sample.
    pub(crate) bytes_per_second: f64,
}

/// Everything that a run found. What cannot be measured of an engine elsewhere is left out of the
/// table, and null in the JSON.
#[derive(Clone, Default, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    pub(crate) verdict: String,
    pub(crate) backend: String,
    pub(crate) target: String,
    pub(crate) connections: u64,
    pub(crate) children: u64,
    pub(crate) seconds: f64,
    /// Frames that the sending side wrote: the clients, or in a broadcast the engine.
    pub(crate) frames_sent: u64,
    /// Frames that the receiving side counted.
    pub(crate) frames_received: u64,
    /// Distinct payloads that arrived, whole and unaltered; in a broadcast, at each client.
    pub(crate) delivered: u64,
    /// Frames sent of payloads that another client had written before.
    pub(crate) duplicates: u64,
    pub(crate) duplicate_share: f64,
    /// Old duplicates that arrived again with the hint.
    pub(crate) hinted: u64,
    /// First arrivals with the hint all the same.
    pub(crate) hinted_first: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) corrupted: u64,
    pub(crate) frames_per_second: f64,
    pub(crate) bytes_per_second: f64,
    pub(crate) handshakes: u64,
    pub(crate) handshakes_per_second: f64,
    pub(crate) latency_us: Latency,
    pub(crate) latency_count: u64,
    pub(crate) pings_sent: u64,
    pub(crate) pongs_received: u64,
    pub(crate) pings_answered: u64,
    /// Frames that the slowest and the fastest client of a flood wrote.
    pub(crate) client_frames_min: u64,
    pub(crate) client_frames_max: u64,
    pub(crate) engine_cpu_share: f64,
    pub(crate) engine_cpu_ns_per_frame: f64,
    pub(crate) user_bytes_per_connection: f64,
    pub(crate) kernel_bytes_per_connection: f64,
    pub(crate) fixed_pool_bytes: u64,
    pub(crate) kernel_entries_per_frame: f64,
    pub(crate) turns_per_second: f64,
    pub(crate) payloads_per_send: f64,
    pub(crate) slow_reader_drops: u64,
    pub(crate) closed_by_cause: BTreeMap<String, u64>,
    pub(crate) errors: Vec<String>,
    pub(crate) notes: Vec<String>,
    /// The rates over time.
    pub(crate) samples: Vec<Sample>,
    /// Latencies in microseconds at growing shares of all measurements.
    pub(crate) latency_curve: Vec<(f64, u64)>,
    /// The engine is elsewhere, and only what clients see was measured.
    #[serde(skip)]
    pub(crate) is_elsewhere: bool,
    /// Somebody ended the run before its time.
    #[serde(skip)]
    pub(crate) is_interrupted: bool,
}

/// What only an embedded engine and its chain can tell.
const EMBEDDED_KEYS: [&str; 16] = [
    "frames_received",
    "delivered",
    "hinted",
    "hinted_first",
    "lost",
    "doubled",
    "engine_cpu_share",
    "engine_cpu_ns_per_frame",
    "user_bytes_per_connection",
    "kernel_bytes_per_connection",
    "fixed_pool_bytes",
    "kernel_entries_per_frame",
    "turns_per_second",
    "payloads_per_send",
    "slow_reader_drops",
    "closed_by_cause",
];

impl Report {
    /// Whether everything was as it must be.
    pub(crate) const fn is_fine(&self) -> bool {
        self.errors.is_empty()
    }

    /// Adds an error, unless there are enough to look into already.
    pub(crate) fn error(&mut self, error: impl Into<String>) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error.into());
        }
    }

    /// Adds a note.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Names the backend.
    pub(crate) fn set_backend(&mut self, backend: Backend) {
        self.backend = match backend {
            Backend::TokioUring => "tokio-uring".into(),
            Backend::Tokio => "tokio".into(),
        };
    }

    /// Takes the latencies of all fleet threads together.
    pub(crate) fn set_latencies(&mut self, threads: &[ThreadDone]) {
        let mut histogram =
            hdrhistogram::Histogram::<u64>::new_with_bounds(1, crate::control::LATENCY_US_MAX, 3)
                .expect("the bounds are constants");
        for (value, count) in threads.iter().flat_map(|thread| &thread.latencies) {
            histogram.saturating_record_n(*value, *count);
        }
        self.latency_count = histogram.len();
        if histogram.is_empty() {
            return;
        }
        let at = |share: f64| histogram.value_at_quantile(share);
        self.latency_us =
            Latency { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) };
        // Equal steps of the number of nines, as far as there are measurements.
        let nines_max = (histogram.len() as f64).log10().min(6.0);
        self.latency_curve = (0..=60)
            .map(|step| f64::from(step) / 10.0)
            .take_while(|nines| *nines <= nines_max)
            .map(|nines| 1.0 - 10_f64.powf(-nines))
            .map(|share| (share, at(share)))
            .collect();
    }

    /// Turns findings into errors and a verdict; the last thing before it is shown.
    pub(crate) fn conclude(&mut self) {
        let kinds = [("lost", self.lost), ("doubled", self.doubled), ("altered", self.corrupted)];
        for (word, count) in kinds {
            if count > 0 {
                self.errors.insert(0, format!("{count} payloads were {word}"));
            }
        }
        self.errors.truncate(ERRORS_MAX);
        self.verdict = match (self.is_fine(), self.is_interrupted) {
            (true, false) => "passed".into(),
            (true, true) => "interrupted".into(),
            (false, _) => "FAILED".into(),
        };
    }

    /// The figures as rows of a table: name, value with unit.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let latency = &self.latency_us;
        let mut rows = vec![
            ("verdict", self.verdict.clone()),
            ("connections", grouped(self.connections)),
            ("time", format!("{:.2} s", self.seconds)),
            ("frames sent", grouped(self.frames_sent)),
            ("frame rate", format!("{} frames/s", grouped(self.frames_per_second as u64))),
            ("byte rate", format!("{:.1} MB/s", self.bytes_per_second / 1e6)),
            (
                "duplicates",
                format!("{} ({:.1} %)", grouped(self.duplicates), 100.0 * self.duplicate_share),
            ),
            ("altered", grouped(self.corrupted)),
            (
                "latency p50 / p90 / p99",
                format!("{} / {} / {} us", latency.p50, latency.p90, latency.p99),
            ),
            ("latency p99.9 / max", format!("{} / {} us", latency.p999, latency.max)),
            ("pings answered by the engine", {
                format!("{} of {}", grouped(self.pongs_received), grouped(self.pings_sent))
            }),
        ];
        if self.scenario == "churn" {
            rows.insert(3, ("handshakes", grouped(self.handshakes)));
            rows.insert(4, ("handshake rate", format!("{:.0} /s", self.handshakes_per_second)));
        }
        if !self.is_elsewhere {
            rows.extend(self.embedded_rows());
        }
        rows
    }

    fn embedded_rows(&self) -> [(&'static str, String); 14] {
        [
            ("frames received", grouped(self.frames_received)),
            ("delivered", grouped(self.delivered)),
            ("hinted", grouped(self.hinted)),
            ("lost", grouped(self.lost)),
            ("doubled", grouped(self.doubled)),
            ("engine CPU", format!("{:.1} % of one core", 100.0 * self.engine_cpu_share)),
            ("engine CPU per frame", format!("{:.0} ns", self.engine_cpu_ns_per_frame)),
            ("turns", format!("{:.0} /s", self.turns_per_second)),
            ("kernel entries per frame", format!("{:.4}", self.kernel_entries_per_frame)),
            ("payloads per send", format!("{:.2}", self.payloads_per_send)),
            ("user memory", format!("{:.0} B/connection", self.user_bytes_per_connection)),
            ("kernel memory", format!("{:.0} B/connection", self.kernel_bytes_per_connection)),
            ("fixed pools", format!("{:.1} MB", self.fixed_pool_bytes as f64 / 1e6)),
            ("dropped for slow readers", grouped(self.slow_reader_drops)),
        ]
    }

    /// The table for a terminal.
    pub(crate) fn table(&self) -> String {
        let mut out = format!("\nloadgen {} ({}, {})\n", self.scenario, self.target, self.backend);
        for (name, value) in self.rows() {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "  {name:<30} {value}");
        }
        for (cause, count) in &self.closed_by_cause {
            let _ = writeln!(out, "  closed: {cause:<22} {}", grouped(*count));
        }
        for error in &self.errors {
            let _ = writeln!(out, "  ERROR {error}");
        }
        for note in &self.notes {
            let _ = writeln!(out, "  note: {note}");
        }
        out
    }

    /// For machines: null where an engine elsewhere cannot be asked.
    pub(crate) fn json(&self) -> Result<Value, String> {
        let mut value = serde_json::to_value(self).map_err(|error| error.to_string())?;
        if self.is_elsewhere {
            EMBEDDED_KEYS.iter().for_each(|key| value[key] = Value::Null);
        }
        Ok(value)
    }
}

/// Prints what people read. Whoever read may have gone; that is no reason to fail.
pub(crate) fn show(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A number with commas between groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(123_456_789), "123,456,789");
    }

    #[test]
    fn what_went_wrong_decides_the_verdict() {
        let mut fine = Report::default();
        fine.conclude();
        assert!(fine.is_fine() && fine.verdict == "passed");
        for spoil in [
            |report: &mut Report| report.lost = 1,
            |report: &mut Report| report.doubled = 1,
            |report: &mut Report| report.corrupted = 1,
        ] {
            let mut report = Report::default();
            spoil(&mut report);
            report.conclude();
            assert!(!report.is_fine() && report.verdict == "FAILED");
        }
    }

    #[test]
    fn latencies_of_all_threads_are_merged() {
        let thread = |value| ThreadDone { latencies: vec![(value, 500)], ..Default::default() };
        let mut report = Report::default();
        report.set_latencies(&[thread(10), thread(1_000)]);
        assert_eq!((report.latency_us.p50, report.latency_us.p99), (10, 1_000));
        assert_eq!(report.latency_count, 1_000);
        assert_eq!(report.latency_curve.first(), Some(&(0.0, 10)));
    }

    #[test]
    fn the_promised_keys_are_there() {
        let value = serde_json::to_value(Report::default()).unwrap();
        let keys = "scenario connections seconds frames_sent frames_received delivered duplicates \
            hinted lost corrupted doubled frames_per_second bytes_per_second latency_us \
            engine_cpu_share engine_cpu_ns_per_frame user_bytes_per_connection \
            kernel_bytes_per_connection fixed_pool_bytes kernel_entries_per_frame \
            turns_per_second payloads_per_send slow_reader_drops closed_by_cause errors";
        for key in keys.split_whitespace() {
            assert!(value.get(key).is_some_and(|value| !value.is_null()), "{key}");
        }
        for key in ["p50", "p90", "p99", "p999", "max"] {
            assert!(value["latency_us"].get(key).is_some(), "{key}");
        }
        assert!(EMBEDDED_KEYS.iter().all(|key| value.get(key).is_some()));
    }

    #[test]
    fn what_was_not_measured_is_no_number() {
        let report = Report { is_elsewhere: true, ..Report::default() };
        let value = report.json().unwrap();
        assert!(value["lost"].is_null() && value["engine_cpu_share"].is_null());
        assert_eq!(value["frames_sent"], 0);
        assert!(report.rows().iter().all(|(name, _)| *name != "lost" && *name != "engine CPU"));
    }

    #[test]
    fn an_interrupted_run_has_not_passed() {
        let mut report = Report { is_interrupted: true, ..Report::default() };
        report.conclude();
        assert_eq!(report.verdict, "interrupted");
    }
}
