//! The scenarios.
//!
//! All but `serve` are the same [`Run`] with another [`Setup`]: an engine, a fleet, a stretch of
//! time, and a check at the end.

mod embedded;
mod publish;
mod run;
pub(crate) mod serve;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use molva::SeenLimits;

use crate::control::{Backend, Task};
use crate::flags::{Common, Scenario};
use crate::report::Report;
use run::Run;

/// Payloads that an engine with `--old-duplicates` remembers exactly: few enough that ten seconds
/// reach far beyond them.
const OLD_RECENT_IDS: u32 = 1 << 18;

/// Duplicates are at most this many ids old, unless the engine remembers less.
const WINDOW_MAX: u64 = 500_000;

/// Of this many frames of a flood, one is new.
const FRAMES_PER_NEW: u64 = 10;

/// New ids that all clients of a flood together may have under way, unless one write of each is
/// more: few enough that, with the window, all stay within what the engine remembers.
const UNDER_WAY_MAX: u64 = 130_000;

/// Connections that one child process holds; the others need descriptors too.
const CONNECTIONS_PER_CHILD: u32 = 9_000;

/// Connections of a thread up to which tokio-uring keeps up with plain tokio.
const RING_CONNECTIONS_MAX: u32 = 2_000;

/// What a run does.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) task: Task,
    pub(crate) common: Common,
    pub(crate) connections: u32,
    pub(crate) duration: Duration,
    pub(crate) backend: Backend,
    pub(crate) children: u16,
    pub(crate) writes_per_ping: u32,
    pub(crate) window: u64,
    pub(crate) old_age: Option<u64>,
    pub(crate) seen: Option<SeenLimits>,
    /// Payloads a second of a broadcast; `None`: as fast as the lane takes.
    pub(crate) rate: Option<f64>,
}

impl Setup {
    fn of(scenario: Scenario) -> Result<Self, String> {
        let (task, common, old, rate) = match scenario {
            Scenario::Flood(flood) => (Task::Flood, flood.common, flood.old_duplicates, None),
            Scenario::Broadcast(broadcast) => {
                let rate = (!broadcast.burst).then_some(broadcast.rate);
                (Task::Broadcast, broadcast.common, false, rate)
            }
            Scenario::Idle(common) => (Task::Idle, common, false, None),
            Scenario::Churn(common) => (Task::Churn, common, false, None),
            Scenario::Serve(_) | Scenario::Fleet => unreachable!("they are no runs"),
        };
        if task == Task::Broadcast && common.target.is_some() {
            return Err("broadcast needs the embedded engine: only its chain can publish".into());
        }
        let (connections, seconds) = match task {
            Task::Flood => (1_000, 10),
            Task::Broadcast => (8_000, 10),
            Task::Idle => (10_000, 20),
            Task::Churn => (64, 10),
        };
        let connections = common.connections.unwrap_or(connections);
        let children = common
            .children
            .unwrap_or_else(|| connections.div_ceil(CONNECTIONS_PER_CHILD).max(1) as u16);
        let fleet_threads = u32::from(children) * u32::from(common.threads);
        if fleet_threads > connections {
            return Err("there are more fleet threads than connections".into());
        }
        let backend = common.backend.unwrap_or(
            if connections / fleet_threads <= RING_CONNECTIONS_MAX {
                Backend::TokioUring
            } else {
                Backend::Tokio
            },
        );
        let ages = Ages::of(connections, common.frames_per_write, fleet_threads, old);
        Ok(Self {
            task,
            connections,
            duration: common.duration.unwrap_or(Duration::from_secs(seconds)),
            backend,
            children,
            writes_per_ping: ages.writes_per_ping,
            window: ages.window,
            old_age: ages.old_age,
            seen: old
                .then(|| SeenLimits { recent_ids: OLD_RECENT_IDS, ..SeenLimits::default() }),
            rate,
            common,
        })
    }

    /// The name of the scenario.
    pub(crate) const fn name(&self) -> &'static str {
        match self.task {
            Task::Flood => "flood",
            Task::Broadcast => "broadcast",
            Task::Idle => "idle",
            Task::Churn => "churn",
        }
    }
}

/// How old duplicates may be, and what bounds it.
struct Ages {
    writes_per_ping: u32,
    window: u64,
    old_age: Option<u64>,
}

impl Ages {
    fn of(connections: u32, frames_per_write: u32, threads: u32, old: bool) -> Self {
        // Two open Pings and the writes up to the next one: three times what lies between Pings.
        let new_per_write =
            3 * u64::from(connections) * u64::from(frames_per_write) / FRAMES_PER_NEW;
        let writes_per_ping = (UNDER_WAY_MAX / new_per_write.max(1)).clamp(1, 8);
        let under_way = new_per_write * writes_per_ping;
        let recent = u64::from(if old { OLD_RECENT_IDS } else { SeenLimits::default().recent_ids });
        // A tenth less than the engine remembers: old duplicates are remembered anew, too.
        let window = (recent * 9 / 10).saturating_sub(under_way).clamp(1_000, WINDOW_MAX);
        Self {
            writes_per_ping: writes_per_ping as u32,
            window: (window / u64::from(threads)).max(1_000),
            old_age: old.then_some(recent + under_way),
        }
    }
}

/// Runs a scenario and reports; `Err` is what kept it from running.
pub(crate) fn run(scenario: Scenario, told_to_stop: &AtomicBool) -> Result<Report, String> {
    let setup = Setup::of(scenario)?;
    let (json, html) = (setup.common.json.clone(), setup.common.html.clone());
    let report = Run::new(setup, told_to_stop)?.run()?;
    print!("{}", report.table());
    report.write(&json, &html)?;
    println!("  reports: {} and {}", json.display(), html.display());
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_stay_within_what_the_engine_remembers() {
        for connections in [1, 20, 1_000, 8_000, 15_000] {
            for old in [false, true] {
                let ages = Ages::of(connections, 54, 1, old);
                let under_way = u64::from(ages.writes_per_ping * connections) * 3 * 54 / 10;
                let recent = if old { OLD_RECENT_IDS } else { 1 << 20 };
                if !old || connections <= 8_000 {
                    assert!(ages.window + under_way <= u64::from(recent), "{connections} {old}");
                }
                assert!(ages.window <= WINDOW_MAX);
                assert!(ages.old_age.is_none_or(|age| age > ages.window + under_way));
            }
        }
    }
}
