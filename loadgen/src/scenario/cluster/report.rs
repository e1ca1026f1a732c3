//! What became of a cluster: for machines as JSON, for people as a table and a page.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use serde::Serialize;

use super::graph::{Point, degree};
use super::spread::Figures;
use super::words::{Footprint, Sight};
use crate::report::grouped;

/// Most errors that a report lists.
const ERRORS_MAX: usize = 20;

/// One phase, and when what it waited for came true and held.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    /// Seconds since the first engine was started.
    pub(super) begun: f64,
    pub(super) limit_seconds: f64,
    /// Seconds of the phase until all of it held.
    pub(super) seconds: Option<f64>,
    /// The same for each condition.
    pub(super) conditions: BTreeMap<&'static str, Option<f64>>,
    pub(super) passed: bool,
}

impl Phase {
    pub(super) fn new(
        name: &'static str,
        begun: f64,
        limit_seconds: f64,
        conditions: BTreeMap<&'static str, Option<f64>>,
    ) -> Self {
        let all = conditions.values().copied().reduce(|one, other| Some(one?.max(other?)));
        let seconds = all.flatten();
        let passed = seconds.is_some_and(|seconds| seconds <= limit_seconds);
        Self { name, begun, limit_seconds, seconds, conditions, passed }
    }

    /// The phase in a line.
    pub(super) fn line(&self) -> String {
        let verdict = if self.passed { "passed" } else { "FAILED" };
        let mut line = format!("{}: {verdict} (limit {:.0} s)", self.name, self.limit_seconds);
        for (condition, seconds) in &self.conditions {
            // Writing to a string cannot fail.
            let _ = write!(line, ", {condition}: {}", shown(*seconds));
        }
        line
    }
}

fn shown(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "not".to_owned(), |seconds| format!("{seconds:.2} s"))
}

/// One engine at the end of a phase.
#[derive(Clone, Debug, Serialize)]
pub(super) struct EngineRow {
    pub(super) engine: u32,
    pub(super) addr: SocketAddr,
    /// Different peers.
    pub(super) degree: u32,
    pub(super) outbound: u32,
    /// Addresses of its book.
    pub(super) new: u32,
    pub(super) tried: u32,
}

impl EngineRow {
    pub(super) fn new(addr: SocketAddr, sight: &Sight) -> Self {
        let Sight { engine, outbound, new, tried, .. } = *sight;
        Self { engine, addr, degree: degree(sight), outbound, new, tried }
    }
}

/// Everything that a run found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(super) scenario: &'static str,
    pub(super) verdict: &'static str,
    pub(super) engines: u32,
    pub(super) killed: u64,
    pub(super) processes: u64,
    /// Outbound peers that each looks for.
    pub(super) outbound_target: u32,
    /// Who is everybody's seed.
    pub(super) seed: &'static str,
    /// The engine that was started again.
    pub(super) restarted: Option<u32>,
    pub(super) profile: BTreeMap<&'static str, String>,
    pub(super) phases: Vec<Phase>,
    /// Most connections beyond the first between the same two, at any moment.
    pub(super) doubled_max: u32,
    /// Of a core, between the phases `form` and `heal`, looking included.
    pub(super) cpu_share_per_engine: f64,
    /// Resident memory, without what a process needs before its first engine.
    pub(super) resident_bytes_per_engine: f64,
    /// Of all processes, those that were killed up to a moment before.
    pub(super) dialed: u64,
    pub(super) reseeds: u64,
    pub(super) store_lost: u64,
    pub(super) closed_by_cause: BTreeMap<String, u64>,
    pub(super) formed: Vec<EngineRow>,
    pub(super) healed: Vec<EngineRow>,
    /// What became of messages, in each run in which any were spread.
    pub(super) spread: Vec<Figures>,
    pub(super) errors: Vec<String>,
    pub(super) samples: Vec<Point>,
    /// When the phase that comes now began, if something was done for it.
    #[serde(skip)]
    pub(super) begun: Option<f64>,
    /// Somebody ended the run before its time.
    #[serde(skip)]
    pub(super) is_interrupted: bool,
}

impl Report {
    pub(super) fn new(engines: u32, target: u32, profile: &[(&'static str, String)]) -> Self {
        Self {
            scenario: "cluster",
            verdict: "",
            engines,
            killed: 0,
            processes: 0,
            outbound_target: target,
            seed: "engine 0, which has none and is among the killed, if any is",
            restarted: None,
            profile: profile.iter().cloned().collect(),
            phases: Vec::new(),
            doubled_max: 0,
            cpu_share_per_engine: 0.0,
            resident_bytes_per_engine: 0.0,
            dialed: 0,
            reseeds: 0,
            store_lost: 0,
            closed_by_cause: BTreeMap::new(),
            formed: Vec::new(),
            healed: Vec::new(),
            spread: Vec::new(),
            errors: Vec::new(),
            samples: Vec::new(),
            begun: None,
            is_interrupted: false,
        }
    }

    /// Adds an error, unless there are enough to look into already.
    pub(super) fn error(&mut self, error: impl Into<String>) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error.into());
        }
    }

    /// Adds what the engines of a process counted.
    pub(super) fn count(&mut self, footprint: &Footprint) {
        self.dialed += footprint.dialed;
        self.reseeds += footprint.reseeds;
        self.store_lost += footprint.store_lost;
        for (cause, count) in &footprint.closed_by_cause {
            *self.closed_by_cause.entry(cause.clone()).or_default() += count;
        }
    }

    /// Turns findings into errors and a verdict; the last thing before it is shown.
    pub(super) fn conclude(&mut self) {
        if self.doubled_max > 0 {
            self.error(format!("{} connections were doubled", self.doubled_max));
        }
        if !self.is_interrupted {
            let failed = self.phases.iter().filter(|phase| !phase.passed);
            let failed: Vec<_> = failed.map(Phase::line).collect();
            failed.into_iter().for_each(|line| self.error(line));
        }
        self.verdict = match (self.errors.is_empty(), self.is_interrupted) {
            (true, false) => "passed",
            (true, true) => "interrupted",
            (false, _) => "FAILED",
        };
    }

    /// The figures as rows of a table: name, value with unit.
    pub(super) fn rows(&self) -> Vec<(String, String)> {
        let mut rows = vec![("verdict".into(), self.verdict.into())];
        if !self.phases.is_empty() {
            rows.extend(self.heal_rows());
        }
        rows.extend(spread_rows(&self.spread));
        rows
    }

    fn heal_rows(&self) -> Vec<(String, String)> {
        let mut rows: Vec<(String, String)> = vec![
            ("engines".into(), grouped(u64::from(self.engines))),
            ("killed".into(), grouped(self.killed)),
            ("processes".into(), grouped(self.processes)),
            ("outbound target".into(), self.outbound_target.to_string()),
            ("seed".into(), self.seed.into()),
        ];
        for phase in &self.phases {
            for (condition, seconds) in &phase.conditions {
                let name = format!("{}: {condition}", phase.name);
                rows.push((name, format!("{} (limit {} s)", shown(*seconds), phase.limit_seconds)));
            }
        }
        for (name, engines) in [("formed", &self.formed), ("healed", &self.healed)] {
            rows.extend(degrees(engines).map(|text| (format!("peers of an engine, {name}"), text)));
        }
        rows.extend([
            ("doubled connections".into(), grouped(u64::from(self.doubled_max))),
            ("CPU".into(), format!("{:.2} % of a core/engine", 100.0 * self.cpu_share_per_engine)),
            ("memory".into(), format!("{:.2} MB/engine", self.resident_bytes_per_engine / 1e6)),
            ("dials".into(), grouped(self.dialed)),
            ("seeds asked".into(), grouped(self.reseeds)),
        ]);
        rows
    }

    /// The table for a terminal.
    pub(super) fn table(&self) -> String {
        let mut out = String::from("\nloadgen cluster\n");
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(out, "  {name:<52} {value}");
        };
        self.rows().iter().for_each(|(name, value)| row(name, value));
        self.profile.iter().for_each(|(name, value)| row(name, value));
        for (cause, count) in &self.closed_by_cause {
            row(&format!("closed: {cause}"), &grouped(*count));
        }
        self.errors.iter().for_each(|error| row("ERROR", error));
        out
    }
}

/// What became of messages, run by run.
fn spread_rows(runs: &[Figures]) -> Vec<(String, String)> {
    if runs.is_empty() {
        return Vec::new();
    }
    let ms = |ms: f64| format!("{ms:.2} ms");
    let hops = |hops: Option<f64>| hops.map_or_else(|| "-".into(), |hops| format!("{hops:.2}"));
    let each = |figure: &dyn Fn(&Figures) -> String| {
        runs.iter().map(figure).collect::<Vec<_>>().join(", ")
    };
    let rows = [
        ("engines", each(&|it| it.engines.to_string())),
        ("of these to the end", each(&|it| it.living.to_string())),
        ("messages", each(&|it| it.messages.to_string())),
        ("deliveries", each(&|it| it.delivered.to_string())),
        ("missing", each(&|it| it.missing.to_string())),
        ("links that a message came over, mean", each(&|it| hops(it.hops_mean))),
        ("duplicates for each delivery", each(&|it| format!("{:.4}", it.duplicates))),
        ("until 99 % know, median", each(&|it| ms(it.ms_to_most))),
        ("until all know, median", each(&|it| ms(it.ms_to_all))),
    ];
    rows.into_iter().map(|(name, value)| (format!("spread: {name}"), value)).collect()
}

/// Fewest, mean and most peers.
fn degrees(engines: &[EngineRow]) -> Option<String> {
    let degrees = || engines.iter().map(|engine| engine.degree);
    let (least, most) = (degrees().min()?, degrees().max()?);
    let mean = f64::from(degrees().sum::<u32>()) / engines.len() as f64;
    Some(format!("{least} to {most}, {mean:.1} on average"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(seconds: &[(&'static str, Option<f64>)]) -> Phase {
        Phase::new("heal", 7.0, 10.0, seconds.iter().copied().collect())
    }

    #[test]
    fn a_phase_takes_as_long_as_its_last_condition() {
        let fine = phase(&[("a", Some(3.0)), ("b", Some(9.5))]);
        assert!(fine.passed && fine.seconds == Some(9.5));
        assert!(!phase(&[("a", Some(3.0)), ("b", None)]).passed);
        assert!(!phase(&[("a", Some(10.5))]).passed, "it was too late");
    }

    #[test]
    fn what_failed_is_an_error_in_words() {
        let mut report = Report::new(12, 2, &[]);
        report.phases.push(phase(&[("all connected", None)]));
        report.conclude();
        assert_eq!(report.verdict, "FAILED");
        assert_eq!(report.errors, ["heal: FAILED (limit 10 s), all connected: not"]);
        let mut doubled = Report::new(12, 2, &[]);
        doubled.doubled_max = 1;
        doubled.conclude();
        assert_eq!(doubled.verdict, "FAILED");
    }
}
