//! Many engines on loopback: they find each other, a share of them is killed, one comes back. Then
//! as many spread messages ([`spread`]).
//!
//! The engines live in processes of their own (this program again, with a hidden subcommand); those
//! to be killed in others than those that are to live on. This process only looks. Invariant: the
//! run passes only if every condition of every phase came true within its limit and then held.

mod graph;
mod host;
mod page;
mod processes;
mod profile;
mod report;
pub(crate) mod spread;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::flags::{Cluster, Part};
use graph::{Living, Point, point};
pub(crate) use host::run as run_engines;
use processes::Processes;
use report::{EngineRow, Phase, Report};
use words::{Event, Order, PERIOD, Sight, Spec, store};

/// How long all conditions of a phase must hold. At first longer than an engine keeps the
/// connection to its seed, which is no outbound peer; later the seed is dead.
const STEADY_AT_FIRST: Duration = Duration::from_secs(4);
const STEADY: Duration = Duration::from_secs(1);

/// Fewest engines that live on: among fewer nearly all are connected to all, and targets mean
/// little.
const LIVING_MIN: u32 = 8;

/// What the phases may take.
const FORM_LIMIT: Duration = Duration::from_secs(60);
const HEAL_LIMIT: Duration = Duration::from_secs(120);
const BACK_LIMIT: Duration = Duration::from_secs(10);

/// Time for all processes to say that their engines have ended.
const END_PATIENCE: Duration = Duration::from_secs(15);

/// What must come true in a phase.
#[derive(Clone, Copy, Debug)]
enum Condition {
    /// All engines have their outbound peers, or all others for peers.
    Met,
    /// Every engine reaches every other.
    Connected,
    /// No book holds a dead address.
    Clean,
    /// The engine that was started again has its outbound peers.
    Back,
}

impl Condition {
    const fn name(self) -> &'static str {
        match self {
            Self::Met => "all outbound targets met",
            Self::Connected => "all connected",
            Self::Clean => "no dead address in any book",
            Self::Back => "outbound target of the restarted one met",
        }
    }

    fn holds(self, point: &Point, engines: u32, target: u32) -> bool {
        let whole = point.seen == engines;
        match self {
            Self::Met => whole && point.met == engines,
            Self::Connected => whole && point.components == 1,
            Self::Clean => whole && point.dead == Some(0),
            Self::Back => point.back_outbound.is_some_and(|outbound| outbound >= target),
        }
    }
}

/// Runs the cluster and reports; `Err` is what kept it from running.
pub(crate) fn run(flags: &Cluster, told_to_stop: &AtomicBool) -> Result<Report, String> {
    if flags.only == Some(Part::Spread) && flags.engines > spread::ENGINES_MAX {
        let most = spread::ENGINES_MAX;
        return Err(format!("messages spread among at most {most} engines, not {}", flags.engines));
    }
    flags.spread.prepare()?;
    let files = flags.reports.prepare("cluster")?;
    let mut report = match flags.only {
        Some(Part::Spread) => Report::new(flags.engines, 0, &[]),
        Some(Part::Heal) | None => heal(flags, told_to_stop)?,
    };
    let mut log = None;
    if flags.only != Some(Part::Heal) && !report.is_interrupted {
        let outcome = spread::run(&flags.spread, flags.engines, told_to_stop)?;
        report.is_interrupted |= outcome.is_interrupted;
        outcome.faults.into_iter().for_each(|fault| report.error(fault));
        let missing: u64 = outcome.figures.iter().map(|run| run.missing).sum();
        if missing > 0 && flags.spread.inject.is_empty() && !report.is_interrupted {
            report.error(format!("{missing} messages never came, and nothing had gone wrong"));
        }
        report.spread = outcome.figures;
        log = Some(outcome.log);
    }
    report.conclude();
    print!("{}", report.table());
    files.write(&report, page::page(&report))?;
    println!("  reports: {files}");
    if let Some(log) = log {
        let log = log.display();
        if report.is_interrupted {
            println!("  what there is of the log: {log}");
        } else {
            println!("  simulated: cargo run --release --bin sim -- cluster --log {log}");
        }
    }
    Ok(report)
}

/// The first part.
fn heal(flags: &Cluster, told_to_stop: &AtomicBool) -> Result<Report, String> {
    let mut run = Run::new(flags, told_to_stop)?;
    run.all_phases()?;
    run.end()?;
    Ok(run.report)
}

/// The exit code of a report.
pub(crate) fn exit_code(report: &Report, interrupted: u8) -> ExitCode {
    match (report.errors.is_empty(), report.is_interrupted) {
        (true, false) => ExitCode::SUCCESS,
        (true, true) => interrupted.into(),
        (false, _) => ExitCode::FAILURE,
    }
}

struct Run<'a> {
    flags: &'a Cluster,
    told_to_stop: &'a AtomicBool,
    folder: Folder,
    processes: Processes,
    /// Processes whose engines are to be killed.
    doomed: Vec<usize>,
    start: Instant,
    /// Engines that live, when all that are to live were started.
    engines: u32,
    target: u32,
    living: Living,
    sights: BTreeMap<u32, Sight>,
    /// The engine that was started again.
    back: Option<u32>,
    faults: Vec<String>,
    report: Report,
}

/// A folder for the stores, removed with all that is in it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is a few megabytes in the system's temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How many are killed.
fn killed(flags: &Cluster) -> u32 {
    (f64::from(flags.engines) * flags.kill).round() as u32
}

/// Whether this engine is killed: one in so many, evenly, and the seed of all among them.
const fn is_doomed(engine: u32, flags: &Cluster, killed: u32) -> bool {
    engine as u64 * killed as u64 % (flags.engines as u64) < killed as u64
}

/// The engines of each process: of those to be killed first, and how many processes these are.
fn groups(flags: &Cluster) -> (Vec<Vec<u32>>, usize) {
    let killed = killed(flags);
    let (doomed, others): (Vec<u32>, Vec<u32>) =
        (0..flags.engines).partition(|engine| is_doomed(*engine, flags, killed));
    let all = usize::from(flags.processes);
    let share = (all as f64 * flags.kill).round() as usize;
    let first = share.clamp(1, all - 1).min(doomed.len());
    let rest = (all - first).min(others.len());
    let dealt = |engines: Vec<u32>, hands: usize| {
        let deal = move |hand| engines.iter().skip(hand).step_by(hands).copied().collect();
        (0..hands).map(deal).collect::<Vec<Vec<u32>>>()
    };
    let mut groups = dealt(doomed, first);
    groups.extend(dealt(others, rest));
    (groups, first)
}

impl<'a> Run<'a> {
    fn new(flags: &'a Cluster, told_to_stop: &'a AtomicBool) -> Result<Self, String> {
        let living = flags.engines - killed(flags);
        if living < LIVING_MIN {
            return Err(format!("{living} engines would live on, and {LIVING_MIN} are the fewest"));
        }
        let name = format!("loadgen-cluster-{}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(name));
        std::fs::create_dir(&folder.0)
            .map_err(|error| format!("making {}: {error}", folder.0.display()))?;
        let target = match &flags.config {
            Some(file) => file.config.peer.slots.outbound,
            None => profile::outbound(living),
        };
        let text = flags.config.as_ref().map(|file| file.text.as_str());
        let config = profile::config(text, target)?;
        Ok(Self {
            report: Report::new(flags.engines, target, &profile::shown(&config)),
            flags,
            told_to_stop,
            folder,
            processes: Processes::new(),
            doomed: Vec::new(),
            start: Instant::now(),
            engines: flags.engines,
            target,
            living: Living::new(),
            sights: BTreeMap::new(),
            back: None,
            faults: Vec::new(),
        })
    }

    fn all_phases(&mut self) -> Result<(), String> {
        self.start_engines()?;
        let formed = [Condition::Met, Condition::Connected];
        self.phase("form", FORM_LIMIT, STEADY_AT_FIRST, &formed)?;
        self.report.formed = self.rows();
        self.watch()?;
        if self.doomed.is_empty() || self.report.is_interrupted {
            return Ok(());
        }
        let last = self.kill()?;
        let healed = [Condition::Met, Condition::Connected, Condition::Clean];
        self.phase("heal", HEAL_LIMIT, STEADY, &healed)?;
        self.report.healed = self.rows();
        if self.report.is_interrupted {
            return Ok(());
        }
        self.restart(last)?;
        self.phase("restart", BACK_LIMIT, STEADY, &[Condition::Back])
    }

    fn spec(&self, engines: Vec<u32>, seed: Option<std::net::SocketAddr>) -> Spec {
        Spec {
            engines,
            folder: self.folder.0.clone(),
            config: self.flags.config.as_ref().map(|file| file.text.clone()),
            outbound: self.target,
            seed,
        }
    }

    /// The process of the first engine at first: it is everybody's seed.
    fn start_engines(&mut self) -> Result<(), String> {
        let (mut groups, doomed) = groups(self.flags);
        self.report.processes = groups.len() as u64;
        self.doomed = (0..doomed).collect();
        let rest = groups.split_off(1);
        let first = groups.swap_remove(0);
        let seed = first[0];
        self.start = Instant::now();
        self.processes.start(&self.spec(first, None))?;
        while !self.living.contains_key(&seed) && !self.is_told_to_stop() {
            self.take_in(Instant::now() + PERIOD)?;
        }
        let seed = self.living.get(&seed).copied();
        for group in rest {
            self.processes.start(&self.spec(group, seed))?;
        }
        Ok(())
    }

    fn is_told_to_stop(&mut self) -> bool {
        self.report.is_interrupted |= self.told_to_stop.load(Ordering::Relaxed);
        self.report.is_interrupted
    }

    /// Listens until then.
    fn take_in(&mut self, until: Instant) -> Result<(), String> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.processes.listen(left)? {
                None => return Ok(()),
                Some(Event::Listening { engine, addr }) => {
                    self.living.insert(engine, addr);
                }
                Some(Event::Seen { engines, .. }) => {
                    let sights = engines.into_iter().map(|sight| (sight.engine, sight));
                    self.sights.extend(sights);
                }
                Some(Event::Ended { faults }) => self.faults.extend(faults),
            }
        }
    }

    /// Looks once more, a period later.
    fn look(&mut self) -> Result<Point, String> {
        self.take_in(Instant::now() + PERIOD)?;
        let mut point = point(&self.living, &self.sights, self.target);
        point.seconds = self.start.elapsed().as_secs_f64();
        let back = self.back.and_then(|engine| self.sights.get(&engine));
        point.back_outbound = back.map(|sight| sight.outbound);
        self.report.doubled_max = self.report.doubled_max.max(point.doubled);
        self.report.samples.push(point);
        Ok(point)
    }

    /// Until all conditions have held for a while, or one has not come true in time.
    fn phase(
        &mut self,
        name: &'static str,
        limit: Duration,
        steady: Duration,
        conditions: &[Condition],
    ) -> Result<(), String> {
        let begun = self.report.begun.take().unwrap_or(0.0);
        // Since when each holds without a break.
        let mut since: Vec<Option<f64>> = vec![None; conditions.len()];
        self.sights.clear();
        while !self.is_told_to_stop() {
            let point = self.look()?;
            let now = point.seconds - begun;
            for (since, condition) in since.iter_mut().zip(conditions) {
                let holds = condition.holds(&point, self.engines, self.target);
                *since = if holds { since.or(Some(now)) } else { None };
            }
            let all = since.iter().copied().reduce(|one, other| Some(one?.max(other?)));
            match all.flatten() {
                Some(since) if now - since >= steady.as_secs_f64() => break,
                None if now > limit.as_secs_f64() => break,
                _ => {}
            }
        }
        let times = conditions.iter().map(|condition| condition.name()).zip(since).collect();
        let phase = Phase::new(name, begun, limit.as_secs_f64(), times);
        println!("  {}", phase.line());
        self.report.phases.push(phase);
        Ok(())
    }

    /// The network at rest: what it costs.
    fn watch(&mut self) -> Result<(), String> {
        let (before, begun) = (self.cpu_ns(), Instant::now());
        while begun.elapsed() < self.flags.duration && !self.is_told_to_stop() {
            self.look()?;
        }
        let (seconds, engines) = (begun.elapsed().as_secs_f64(), f64::from(self.engines));
        let cpu = self.cpu_ns() - before;
        self.report.cpu_share_per_engine = cpu as f64 / 1e9 / seconds / engines;
        let resident: u64 = self.processes.footprints().map(|one| one.resident_bytes).sum();
        self.report.resident_bytes_per_engine = resident as f64 / engines;
        Ok(())
    }

    fn cpu_ns(&self) -> u64 {
        self.processes.footprints().map(|one| one.cpu_ns).sum()
    }

    fn rows(&self) -> Vec<EngineRow> {
        let sights = self.sights.values();
        let row = |sight: &Sight| Some(EngineRow::new(*self.living.get(&sight.engine)?, sight));
        sights.filter_map(row).collect()
    }

    /// Kills those who are to be killed, without a goodbye; the last of them.
    fn kill(&mut self) -> Result<u32, String> {
        self.report.begun = Some(self.start.elapsed().as_secs_f64());
        for process in std::mem::take(&mut self.doomed) {
            self.processes.kill(process)?;
        }
        let killed = killed(self.flags);
        let (dead, living) = std::mem::take(&mut self.living)
            .into_iter()
            .partition(|(engine, _)| is_doomed(*engine, self.flags, killed));
        self.living = living;
        let dead: Living = dead;
        self.engines = self.living.len() as u32;
        self.report.killed = dead.len() as u64;
        self.processes.order(&Order::Dead(dead.values().copied().collect()))?;
        dead.keys().next_back().copied().ok_or_else(|| "nobody was started".into())
    }

    /// Starts one of the killed again, from its own store, without a seed.
    fn restart(&mut self, engine: u32) -> Result<(), String> {
        if !store(&self.folder.0, engine).exists() {
            return Err(format!("engine {engine} has left no store"));
        }
        self.report.begun = Some(self.start.elapsed().as_secs_f64());
        self.report.restarted = Some(engine);
        self.back = Some(engine);
        self.engines += 1;
        self.processes.start(&self.spec(vec![engine], None))?;
        Ok(())
    }

    /// Everybody says goodbye.
    fn end(&mut self) -> Result<(), String> {
        for footprint in self.processes.footprints() {
            self.report.count(footprint);
        }
        self.processes.order(&Order::Stop)?;
        let deadline = Instant::now() + END_PATIENCE;
        while self.processes.living() > 0 && Instant::now() < deadline {
            self.take_in(Instant::now() + PERIOD)?;
        }
        if self.processes.living() > 0 {
            self.report.error("some engines did not end in time");
        }
        for fault in std::mem::take(&mut self.faults) {
            self.report.error(fault);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::flags::{Flags, Scenario};

    fn cluster(line: &str) -> Cluster {
        let words = "loadgen cluster".split(' ').chain(line.split_whitespace());
        match Flags::try_parse_from(words).unwrap().scenario {
            Some(Scenario::Cluster(cluster)) => cluster,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_engine_has_one_place_and_the_doomed_have_their_own() {
        for line in ["", "--engines 12", "--engines 9 --kill 0.9", "--engines 8 --processes 16"] {
            let flags = cluster(line);
            let (groups, doomed) = groups(&flags);
            let mut all = groups.concat();
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..flags.engines), "{line}");
            assert_eq!(groups[..doomed].concat().len(), killed(&flags) as usize, "{line}");
            assert_eq!(groups[0][0], 0, "{line}: the seed is the first");
        }
        assert_eq!(killed(&cluster("")), 67);
    }

    #[test]
    fn nobody_is_killed_if_nobody_is_to_be() {
        let (groups, doomed) = groups(&cluster("--kill 0 --engines 9"));
        assert_eq!((groups.len(), doomed), (3, 0));
    }

    #[test]
    fn a_condition_is_of_all_engines() {
        let point =
            Point { living: 3, seen: 3, met: 3, components: 1, dead: Some(0), ..Point::default() };
        for condition in [Condition::Met, Condition::Connected, Condition::Clean] {
            assert!(condition.holds(&point, 3, 2));
            assert!(!condition.holds(&point, 4, 2), "one is not there yet");
        }
        assert!(!Condition::Back.holds(&point, 3, 2));
        assert!(Condition::Back.holds(&Point { back_outbound: Some(2), ..point }, 3, 2));
    }
}
