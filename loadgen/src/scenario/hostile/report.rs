//! What came of all attacks: for machines as JSON, for people as a table and a page.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::page::{document, escaped, list};
use crate::report::grouped;

/// What came of one attack.
#[derive(Clone, Default, Debug, Serialize)]
pub(super) struct Trial {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// Connections of the attackers that stood, by their own count.
    pub(super) connections: u64,
    pub(super) frames_sent: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    /// How the engine ended the attackers' connections.
    pub(super) fate: BTreeMap<&'static str, u64>,
    /// How it may end them.
    pub(super) expected: &'static [&'static str],
    /// What else it counted.
    pub(super) counted: BTreeMap<&'static str, u64>,
    /// Round trips of the honest clients' Pings, just before the attack and during it.
    pub(super) honest_p50_us_before: u64,
    pub(super) honest_p50_us_during: u64,
    pub(super) honest_p99_us_before: u64,
    pub(super) honest_p99_us_during: u64,
    /// How late the honest clients themselves were in writing, which is part of the above: a busy
    /// machine does that, or an engine that keeps it from them.
    pub(super) late_p99_us_before: u64,
    pub(super) late_p99_us_during: u64,
    /// The p99 during, divided by that before.
    pub(super) ratio: f64,
    /// How often it was made: again if the p99 grew too much, since other work on the machine may
    /// have done that. The figures are those of the last time, and all pairs of p99 are here.
    pub(super) tries: Vec<(u64, u64)>,
    /// Honest payloads that did not arrive at the chain, and those that came twice or altered.
    pub(super) lost: u64,
    /// Times that an honest client did not get what another wrote.
    pub(super) unrelayed: u64,
    pub(super) spoiled: u64,
    /// Resident bytes of the process with the engine.
    pub(super) rss_bytes_before: u64,
    pub(super) rss_bytes_peak: u64,
    /// Processor time of the engine's thread and of the attackers, of one core.
    pub(super) engine_cpu_share: f64,
    pub(super) attackers_cpu_share: f64,
    pub(super) verdict: &'static str,
    pub(super) errors: Vec<String>,
}

/// What the memory of the engine's process is bounded by.
#[derive(Clone, Copy, Default, Debug, Serialize)]
pub(super) struct MemoryBound {
    /// Resident before the engine was there.
    pub(super) process_bytes: u64,
    pub(super) fixed_pool_bytes: u64,
    /// Half-received frames of all peers.
    pub(super) assembly_bytes: u64,
    /// Both lanes between engine and chain.
    pub(super) lane_bytes: u64,
    /// All connections that there may be.
    pub(super) connection_bytes: u64,
    /// The chain of this test, its ledger, the allocator.
    pub(super) chain_bytes: u64,
    pub(super) total_bytes: u64,
}

/// Everything that a run found.
#[derive(Clone, Default, Debug, Serialize)]
pub(super) struct HostileReport {
    pub(super) scenario: &'static str,
    pub(super) verdict: &'static str,
    pub(super) seconds_per_attack: f64,
    pub(super) honest_clients: u64,
    pub(super) honest_pings_per_second: u64,
    pub(super) honest_payloads: u64,
    pub(super) noise_floor_us: u64,
    pub(super) memory_bound: MemoryBound,
    pub(super) attacks: Vec<Trial>,
    pub(super) errors: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl HostileReport {
    /// Whether everything was as it must be.
    pub(super) fn is_fine(&self) -> bool {
        self.errors.is_empty() && self.attacks.iter().all(|attack| attack.errors.is_empty())
    }

    /// The table for a terminal.
    pub(super) fn table(&self) -> String {
        let mut out = format!(
            "\nloadgen hostile: {}, {} attacks of {} s\n  {:<24}{:>7}{:>17}{:>7}{:>7}{:>6}{:>7}  \
             fate\n",
            self.verdict,
            self.attacks.len(),
            self.seconds_per_attack,
            "attack",
            "conns",
            "p99 us: before",
            "during",
            "ratio",
            "CPU",
            "RSS MB",
        );
        for trial in &self.attacks {
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "  {:<24}{:>7}{:>17}{:>7}{:>7.2}{:>5.0}%{:>7.0}  {}{}",
                trial.name,
                trial.connections,
                trial.honest_p99_us_before,
                trial.honest_p99_us_during,
                trial.ratio,
                100.0 * trial.engine_cpu_share,
                trial.rss_bytes_peak as f64 / 1e6,
                counts(&trial.fate),
                if trial.errors.is_empty() { "" } else { "  FAILED" },
            );
        }
        for error in self.all_errors() {
            let _ = writeln!(out, "  ERROR {error}");
        }
        for note in &self.notes {
            let _ = writeln!(out, "  note: {note}");
        }
        out
    }

    fn all_errors(&self) -> Vec<String> {
        let of_attacks = self
            .attacks
            .iter()
            .flat_map(|trial| trial.errors.iter().map(|error| format!("{}: {error}", trial.name)));
        self.errors.iter().cloned().chain(of_attacks).collect()
    }

    /// The page for people.
    pub(super) fn page(&self) -> String {
        let mut out = String::new();
        let errors = self.all_errors();
        let class = if errors.is_empty() { "passed" } else { "failed" };
        let verdict = match errors.first() {
            None => "Passed: every attacker met the end it should, and nobody else noticed",
            Some(error) => error,
        };
        let _ = write!(
            out,
            "<h1>Attacks on an engine</h1><p class=\"sub\">{} attacks of {} s each, beside {} \
             honest clients</p><p class=\"verdict {class}\">{}</p>",
            self.attacks.len(),
            self.seconds_per_attack,
            self.honest_clients,
            escaped(verdict),
        );
        list(&mut out, "What went wrong", &errors);
        out.push_str(
            "<h2>All attacks</h2><table class=\"wide\"><tr><th>attack</th><th>honest p99 before, \
             ms</th><th>during, ms</th><th>engine CPU</th><th>memory at most, MB</th>\
             <th>connections</th></tr>",
        );
        for trial in &self.attacks {
            let _ = write!(out, "<tr><td><b>{}</b><br>{}<br>", trial.name, escaped(trial.what));
            let _ = write!(
                out,
                "fate: {}; counted: {}</td><td>{:.2}</td><td>{:.2}</td><td>{:.0} %</td>\
                 <td>{:.0}</td><td>{}</td></tr>",
                counts(&trial.fate),
                counts(&trial.counted),
                trial.honest_p99_us_before as f64 / 1e3,
                trial.honest_p99_us_during as f64 / 1e3,
                100.0 * trial.engine_cpu_share,
                trial.rss_bytes_peak as f64 / 1e6,
                grouped(trial.connections),
            );
        }
        out.push_str("</table>");
        list(&mut out, "How to read this", &self.notes);
        document(&format!("hostile: {}", self.verdict), &out)
    }
}

/// Counts by name, as a person reads them.
fn counts(counts: &BTreeMap<&'static str, u64>) -> String {
    let words: Vec<_> =
        counts.iter().map(|(name, count)| format!("{name} {}", grouped(*count))).collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_of_one_attack_fails_the_run() {
        let trial = |error: Option<&str>| Trial {
            errors: error.into_iter().map(String::from).collect(),
            ..Trial::default()
        };
        let mut report =
            HostileReport { attacks: vec![trial(None), trial(None)], ..HostileReport::default() };
        assert!(report.is_fine());
        report.attacks[1] = trial(Some("a <fault>"));
        assert!(!report.is_fine());
        assert!(report.table().contains("a <fault>"));
        assert!(report.page().contains("a &lt;fault&gt;"));
    }

    #[test]
    fn the_promised_keys_are_there() {
        let report = HostileReport { attacks: vec![Trial::default()], ..HostileReport::default() };
        let value = serde_json::to_value(&report).unwrap();
        let keys = "name what connections frames_sent bytes_sent fate expected \
            honest_p99_us_before honest_p99_us_during ratio lost rss_bytes_before rss_bytes_peak \
            verdict";
        for key in keys.split_whitespace() {
            assert!(value["attacks"][0].get(key).is_some(), "{key}");
        }
    }
}
