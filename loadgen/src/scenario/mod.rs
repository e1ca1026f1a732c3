//! The scenarios.
//!
//! All but `serve`, `cluster`, `hostile`, `relay` and `sync` are the same [`Run`] with another
//! [`Setup`]: an engine, a fleet, a stretch of time, and a check at the end.

pub(crate) mod cluster;
mod embedded;
pub(crate) mod hostile;
mod meeting;
mod publish;
pub(crate) mod relay;
mod run;
pub(crate) mod serve;
pub(crate) mod sync;

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use molva::SeenLimits;

use crate::control::{Backend, Task};
use crate::flags::{Common, Scenario};
use crate::page::page;
use crate::report::{Report, show};
use run::Run;

/// Payloads that an engine with `--old-duplicates` remembers exactly: few enough that ten seconds
/// reach far beyond them.
const OLD_RECENT_IDS: u32 = 1 << 18;

/// Duplicates are at most this many ids old, unless the engine remembers less.
const WINDOW_MAX: u64 = 500_000;

/// With `--old-duplicates`, they are younger: the engine remembers less.
const OLD_WINDOW_MAX: u64 = 100_000;

/// Of this many frames of a flood, about one is new.
const FRAMES_PER_NEW: u64 = 10;

/// Most writes of a client between two Pings: a Pong then costs next to nothing.
const WRITES_PER_PING_MAX: u64 = 8;

/// Connections that one child process holds; the others need descriptors too.
const CONNECTIONS_PER_CHILD: u32 = 9_000;

/// Flooding connections of a thread up to which tokio-uring keeps up with plain tokio; in the other
/// scenarios it does so with all that were measured.
const RING_FLOOD_CONNECTIONS_MAX: u32 = 2_000;

/// Sends that wait on the lane of a burst.
const BURST_SENDS_WAITING: usize = 300_000;

/// What a run does.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) task: Task,
    pub(crate) common: Common,
    /// The engine, if it is elsewhere.
    pub(crate) target: Option<SocketAddr>,
    pub(crate) connections: u32,
    pub(crate) duration: Duration,
    pub(crate) backend: Backend,
    pub(crate) children: u16,
    pub(crate) writes_per_ping: u32,
    pub(crate) window: u64,
    pub(crate) slack: u64,
    pub(crate) old_age: Option<u64>,
    pub(crate) seen: Option<SeenLimits>,
    /// Payloads a second of a broadcast; `None`: as fast as the lane takes.
    pub(crate) rate: Option<f64>,
}

impl Setup {
    fn of(scenario: Scenario) -> Result<Self, String> {
        let mut memory = Memory::Default;
        let (task, common, target, rate) = match scenario {
            Scenario::Flood(flood) => {
                memory = match flood.recent_ids {
                    Some(ids) => Memory::Of(ids),
                    None if flood.old_duplicates => Memory::Outlived,
                    None => Memory::Default,
                };
                (Task::Flood, flood.common, flood.elsewhere.target, None)
            }
            Scenario::Broadcast(broadcast) => {
                let rate = (!broadcast.burst).then_some(broadcast.rate);
                (Task::Broadcast, broadcast.common, None, rate)
            }
            Scenario::Idle(plain) => (Task::Idle, plain.common, plain.elsewhere.target, None),
            Scenario::Churn(plain) => (Task::Churn, plain.common, plain.elsewhere.target, None),
            Scenario::Serve(_)
            | Scenario::Cluster(_)
            | Scenario::Hostile(_)
            | Scenario::Relay(_)
            | Scenario::Sync(_)
            | Scenario::Fleet
            | Scenario::HostileHelper
            | Scenario::Engines
            | Scenario::Member => unreachable!("they are no runs"),
        };
        let (connections, seconds) = match task {
            Task::Flood | Task::Probe => (1_000, 10),
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
        let crowded = connections / fleet_threads > RING_FLOOD_CONNECTIONS_MAX;
        let backend = common.backend.unwrap_or(match task {
            Task::Flood | Task::Probe if crowded => Backend::Tokio,
            Task::Flood | Task::Probe | Task::Broadcast | Task::Idle | Task::Churn => {
                Backend::TokioUring
            }
        });
        let ages = Ages::of(connections, common.frames_per_write, fleet_threads, memory)?;
        Ok(Self {
            task,
            target,
            connections,
            duration: common.duration.unwrap_or_else(|| Duration::from_secs(seconds)),
            backend,
            children,
            writes_per_ping: ages.writes_per_ping,
            window: ages.window,
            slack: ages.slack,
            old_age: ages.old_age,
            seen: memory.limits(),
            rate,
            common,
        })
    }

    /// Payloads that may wait on the lane of a burst: about a second's sends, so that latency tells
    /// of the engine and not of the length of a queue.
    fn lane_items(&self) -> Option<usize> {
        let burst = self.task == Task::Broadcast && self.rate.is_none();
        burst.then(|| (BURST_SENDS_WAITING / self.connections as usize).clamp(2, 8_192))
    }

    /// The name of the scenario.
    pub(crate) const fn name(&self) -> &'static str {
        match self.task {
            Task::Flood | Task::Probe => "flood",
            Task::Broadcast => "broadcast",
            Task::Idle => "idle",
            Task::Churn => "churn",
        }
    }
}

/// What the embedded engine remembers exactly.
#[derive(Clone, Copy, Debug)]
enum Memory {
    Default,
    /// Little, and duplicates older than it are sent too.
    Outlived,
    /// So many payloads.
    Of(u32),
}

impl Memory {
    const fn recent_ids(self) -> Option<u32> {
        match self {
            Self::Default => None,
            Self::Outlived => Some(OLD_RECENT_IDS),
            Self::Of(ids) => Some(ids),
        }
    }

    /// A memory of a chosen size is small as a whole: its hints reach four times as far, as always.
    fn limits(self) -> Option<SeenLimits> {
        let recent_ids = self.recent_ids()?;
        let older_ids = match self {
            Self::Of(ids) => 4 * ids,
            Self::Default | Self::Outlived => SeenLimits::DEFAULT.older_ids,
        };
        Some(SeenLimits { recent_ids, older_ids, ..SeenLimits::DEFAULT })
    }
}

/// How old duplicates may be, and what bounds it.
struct Ages {
    writes_per_ping: u32,
    window: u64,
    slack: u64,
    old_age: Option<u64>,
}

impl Ages {
    fn of(
        connections: u32,
        frames_per_write: u32,
        threads: u32,
        memory: Memory,
    ) -> Result<Self, String> {
        let recent = memory.recent_ids().unwrap_or(SeenLimits::DEFAULT.recent_ids);
        let recent = u64::from(recent);
        let window = match memory {
            Memory::Default => WINDOW_MAX,
            Memory::Outlived => OLD_WINDOW_MAX,
            Memory::Of(_) => (recent / 4).min(WINDOW_MAX),
        };
        // An old duplicate that comes again is remembered again: they are a tenth of the new ones.
        let slack = (recent * 85 / 100 - window) / 2;
        // Two open Pings and the writes up to the next one: three times what lies between Pings.
        let under_way = 3 * u64::from(connections) * u64::from(frames_per_write) / FRAMES_PER_NEW;
        if under_way > 2 * slack && matches!(memory, Memory::Of(_)) {
            return Err(format!(
                "{connections} connections have {under_way} payloads under way: too many for a \
                 memory of {recent}"
            ));
        }
        let writes_per_ping = (slack / 2 / under_way.max(1)).clamp(1, WRITES_PER_PING_MAX);
        Ok(Self {
            writes_per_ping: writes_per_ping as u32,
            window: window / u64::from(threads),
            slack: slack / u64::from(threads),
            old_age: matches!(memory, Memory::Outlived).then_some(recent + 2 * slack),
        })
    }
}

/// Runs a scenario and reports; `Err` is what kept it from running.
pub(crate) fn run(scenario: Scenario, told_to_stop: &AtomicBool) -> Result<Report, String> {
    let setup = Setup::of(scenario)?;
    let files = setup.common.reports.prepare(setup.name())?;
    let report = Run::new(setup, told_to_stop)?.run()?;
    show(&report.table());
    files.write(&report.json()?, page(&report))?;
    show(&format!("  reports: {files}\n"));
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_stay_within_what_the_engine_remembers() {
        for connections in [1, 20, 1_000, 8_000, 15_000] {
            for memory in [Memory::Default, Memory::Outlived, Memory::Of(1 << 19)] {
                let ages = Ages::of(connections, 54, 1, memory).unwrap();
                let recent = u64::from(memory.recent_ids().unwrap_or(1 << 20));
                assert!(ages.window + 2 * ages.slack < recent, "{connections} {memory:?}");
                assert!((1..=8).contains(&ages.writes_per_ping));
                assert!(ages.old_age.is_none_or(|age| age - 2 * ages.slack >= recent));
            }
        }
    }
}
