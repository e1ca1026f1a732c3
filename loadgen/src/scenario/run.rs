//! One run: engine, warm-up, fleet, a stretch of time, and the check at the end.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use molva::{Metrics, Network};

use crate::children::Children;
use crate::clock::now_ns;
use crate::control::{Backend, NetworkSpec, Order, Spec, Tally, Task};
use crate::ledger::{Ledger, Written};
use crate::plan::Plan;
use crate::process;
use crate::report::{Report, Sample, grouped};
use crate::scenario::Setup;
use crate::scenario::embedded::Embedded;
use crate::scenario::publish::Publishing;

/// Patience for all handshakes of a run: 60,000 at a leisurely 1,000 a second.
const CONNECTING_PATIENCE: Duration = Duration::from_secs(60);

/// Patience for what is under way at the end, since the last progress.
const SETTLING_PATIENCE: Duration = Duration::from_secs(10);

/// After everything arrived: time for what must not arrive.
const STRAGGLERS: Duration = Duration::from_millis(300);

/// Patience for a moment at which both sides have counted the same.
const AGREEING_PATIENCE: Duration = Duration::from_secs(3);

/// Descriptors that an embedded engine needs beside those of its connections.
const DESCRIPTORS_SPARE: u64 = 512;

/// How often the rates are taken.
const SAMPLE_PERIOD: Duration = Duration::from_millis(250);

/// Handshakes before the memory's baseline is taken, so that the engine's receive buffers, which
/// are used in turn, have all been touched once.
const WARM_UP: Duration = Duration::from_millis(1_500);
const WARM_UP_WORKERS: u32 = 64;

/// One connection of this many is a probe in a flood, if there are some to spare.
const CONNECTIONS_PER_PROBE: u32 = 100;
const CONNECTIONS_TO_SPARE: u32 = 4;

/// A run in preparation.
pub(crate) struct Run<'a> {
    setup: Setup,
    network: Network,
    engine: Option<Embedded>,
    told_to_stop: &'a AtomicBool,
    report: Report,
}

/// The readings of a run.
struct Readings {
    /// Before the first connection.
    empty: Metrics,
    /// When the traffic began and when it was to end: the rates are between these.
    start: Reading,
    stop: Reading,
    /// When everything had arrived, or would not any more.
    end: Reading,
}

/// Everything that is read at an instant.
struct Reading {
    at_ns: u64,
    tally: Tally,
    metrics: Metrics,
    cpu_ns: u64,
}

impl<'a> Run<'a> {
    /// Starts the engine, if it is to be embedded.
    pub(crate) fn new(setup: Setup, told_to_stop: &'a AtomicBool) -> Result<Self, String> {
        process::raise_descriptor_limit();
        let network = Network::DEV;
        let mut report = Report {
            scenario: setup.name().into(),
            connections: u64::from(setup.connections),
            children: u64::from(setup.children),
            ..Report::default()
        };
        report.set_backend(setup.backend);
        let engine = match setup.target {
            Some(target) => {
                report.target = format!("engine at {target}");
                report.note(
                    "The engine is elsewhere: what its chain received cannot be checked, and its \
                     CPU, memory and counters are not measured.",
                );
                report.is_elsewhere = true;
                None
            }
            None => {
                let limit = process::descriptor_limit();
                let needed = u64::from(setup.connections) + DESCRIPTORS_SPARE;
                if limit < needed {
                    return Err(format!(
                        "--connections {} needs {needed} file descriptors, and the hard limit is \
                         {limit}: raise it (`ulimit -Hn`), or take fewer",
                        setup.connections
                    ));
                }
                report.target = "embedded engine".into();
                let ledger = (setup.task == Task::Flood).then(|| {
                    let plan = Plan::new(setup.common.seed, setup.common.payload_bytes);
                    let threads = setup.children * setup.common.threads;
                    let old_age_min = setup
                        .old_age
                        .and(setup.seen)
                        .map(|seen| u64::from(seen.recent_ids) / u64::from(threads));
                    Ledger::new(plan, threads, old_age_min)
                });
                Some(Embedded::start(
                    network.clone(),
                    setup.connections,
                    setup.seen,
                    setup.lane_items(),
                    ledger,
                )?)
            }
        };
        Ok(Self { setup, network, engine, told_to_stop, report })
    }

    /// Runs, checks, ends everything.
    pub(crate) fn run(mut self) -> Result<Report, String> {
        if self.engine.is_some() && self.setup.task != Task::Churn {
            self.warm_up()?;
        }
        let memory = (process::resident_bytes(), process::kernel_bytes());
        let empty = self.engine.as_ref().map(Embedded::metrics).unwrap_or_default();
        let mut children = Children::start(&self.specs())?;
        self.connect(&mut children)?;
        self.measure_memory(memory, children.tally().connected);

        let mut publishing = None;
        if self.setup.task == Task::Broadcast
            && let Some(engine) = &self.engine
        {
            let publisher = engine.publisher.clone();
            let bytes = self.setup.common.payload_bytes;
            let (network, rate) = (self.network.clone(), self.setup.rate);
            let started = Publishing::start(publisher, network, bytes, rate);
            publishing = Some(started.map_err(|error| error.to_string())?);
        }
        let start = self.read(&children);
        children.order(Order::Go)?;
        let went_wrong = self.watch(&mut children, &start, publishing.as_ref()).err();
        let stop = self.read(&children);
        let published = publishing.map_or(0, Publishing::end);
        let settled = match went_wrong {
            Some(error) => Err(error),
            None => self.settle(&mut children, &empty, published),
        };
        if let Err(error) = settled {
            self.report.error(error);
        }
        let end = self.read_agreeing(&mut children, &empty);
        let readings = Readings { empty, start, stop, end };
        self.account(&children, &readings, published);
        drop(children);
        if let Some(engine) = self.engine.take()
            && let Err(error) = engine.shutdown()
        {
            self.report.error(error);
        }
        self.report.conclude();
        Ok(self.report)
    }

    fn target(&self) -> std::net::SocketAddr {
        match (&self.engine, self.setup.target) {
            (Some(engine), _) => engine.addr(),
            (None, Some(target)) => target,
            (None, None) => unreachable!("without an engine there is a target"),
        }
    }

    fn spec(&self, task: Task, connections: u32) -> Spec {
        Spec {
            task,
            backend: self.setup.backend,
            network: NetworkSpec::of(&self.network),
            target: self.target(),
            relays: self.engine.is_none(),
            connections,
            first_client: 0,
            threads: self.setup.common.threads,
            first_thread: 0,
            seed: self.setup.common.seed,
            payload_bytes: self.setup.common.payload_bytes,
            frames_per_write: self.setup.common.frames_per_write,
            writes_per_ping: self.setup.writes_per_ping,
            window: self.setup.window,
            slack: self.setup.slack,
            old_age: self.setup.old_age,
        }
    }

    /// The specs of all children, the connections shared evenly. Of a flood's connections, a
    /// hundredth are probes, in a child of their own.
    fn specs(&self) -> Vec<Spec> {
        let children = u32::from(self.setup.children);
        let threads = u32::from(self.setup.common.threads);
        let all = self.setup.connections;
        let probes = match self.setup.task {
            Task::Flood if all >= children * threads + CONNECTIONS_TO_SPARE => {
                all.div_ceil(CONNECTIONS_PER_PROBE)
            }
            _ => 0,
        };
        let share = |n: u32| (u64::from(all - probes) * u64::from(n) / u64::from(children)) as u32;
        let mut specs: Vec<_> = (0..children)
            .map(|index| Spec {
                first_client: share(index),
                first_thread: index as u16 * self.setup.common.threads,
                ..self.spec(self.setup.task, share(index + 1) - share(index))
            })
            .collect();
        if probes > 0 {
            specs.push(Spec {
                first_client: all - probes,
                first_thread: (children * threads) as u16,
                threads: 1,
                ..self.spec(Task::Probe, probes)
            });
        }
        specs
    }

    fn warm_up(&self) -> Result<(), String> {
        let spec =
            Spec { threads: 1, backend: Backend::Tokio, ..self.spec(Task::Churn, WARM_UP_WORKERS) };
        let mut children = Children::start(&[spec])?;
        children.order(Order::Go)?;
        children.listen(WARM_UP)?;
        children.order(Order::Stop)?;
        let deadline = Instant::now() + SETTLING_PATIENCE;
        while !children.all_done() && Instant::now() < deadline {
            children.listen(Duration::from_millis(20))?;
        }
        drop(children);
        let gone = || self.engine.as_ref().is_none_or(|engine| engine.metrics().connections == 0);
        while !gone() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(STRAGGLERS);
        Ok(())
    }

    fn connect(&mut self, children: &mut Children) -> Result<(), String> {
        let deadline = Instant::now() + CONNECTING_PATIENCE;
        while !children.all_ready() {
            children.listen(Duration::from_millis(20))?;
            if Instant::now() > deadline || self.told_to_stop.load(Ordering::Relaxed) {
                return Err(format!("only {} connections stand", children.tally().connected));
            }
        }
        let connected = children.tally().connected;
        let wanted = u64::from(self.setup.connections);
        if self.setup.task != Task::Churn && connected == 0 {
            return Err(format!("nobody answers at {}", self.target()));
        }
        if self.setup.task != Task::Churn && connected < wanted {
            self.report.error(format!("{} connections failed", wanted - connected));
        }
        Ok(())
    }

    fn measure_memory(&mut self, before: (Option<u64>, Option<u64>), connected: u64) {
        if self.engine.is_none() || self.setup.task == Task::Churn || connected == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(500));
        let per = |before: Option<u64>, after: Option<u64>, parts: u64| {
            let grown = after?.saturating_sub(before?);
            Some(grown as f64 / (parts * connected) as f64)
        };
        let user = per(before.0, process::resident_bytes(), 1);
        let kernel = per(before.1, process::kernel_bytes(), 2);
        self.report.user_bytes_per_connection = user.unwrap_or_default();
        self.report.kernel_bytes_per_connection = kernel.unwrap_or_default();
        self.report.note(
            "User memory is the growth of this process' resident bytes from no connections to all \
             of them, divided by their number; its receive buffers had been touched before by \
             1.5 s of handshakes. Kernel memory is the growth of the machine's slab and TCP \
             buffers, halved, since both ends of every connection are on this machine; the \
             clients' operations are in it too.",
        );
    }

    fn read(&self, children: &Children) -> Reading {
        Reading {
            at_ns: now_ns(),
            tally: children.tally(),
            metrics: self.engine.as_ref().map(Embedded::metrics).unwrap_or_default(),
            cpu_ns: process::engine_cpu_ns().unwrap_or_default(),
        }
    }

    /// Reads when both sides agree on the frames that went each way, which is soon: they are read
    /// one after the other, and pings go on. If they never agree, the check will say so.
    fn read_agreeing(&self, children: &mut Children, empty: &Metrics) -> Reading {
        let deadline = Instant::now() + AGREEING_PATIENCE;
        loop {
            let reading = self.read(children);
            let agree = self.engine.is_none() || disagreement(&reading, empty).is_none();
            let gone = children.listen(Duration::from_millis(50)).is_err();
            if agree || gone || Instant::now() > deadline {
                return reading;
            }
        }
    }

    /// Frames and bytes that stand for the progress of this scenario.
    fn progress(&self, reading: &Reading) -> (u64, u64) {
        let Reading { tally, metrics, .. } = reading;
        match (self.setup.task, self.engine.is_some()) {
            (Task::Churn, _) => (tally.handshakes, tally.bytes_sent),
            (Task::Broadcast, _) => (tally.frames_received, tally.bytes_received),
            (Task::Flood | Task::Probe | Task::Idle, true) => {
                (metrics.frames_received, metrics.bytes_received)
            }
            (Task::Flood | Task::Probe | Task::Idle, false) => {
                (tally.frames_sent, tally.bytes_sent)
            }
        }
    }

    /// Lets the time pass, and takes the rates.
    fn watch(
        &mut self,
        children: &mut Children,
        start: &Reading,
        publishing: Option<&Publishing>,
    ) -> Result<(), String> {
        let duration_ns = self.setup.duration.as_nanos() as u64;
        let bar = bar(self.setup.duration);
        let (mut last_ns, mut last) = (start.at_ns, self.progress(start));
        while now_ns() < start.at_ns + duration_ns && !self.told_to_stop.load(Ordering::Relaxed) {
            let left = Duration::from_nanos((start.at_ns + duration_ns).saturating_sub(now_ns()));
            children.listen(SAMPLE_PERIOD.min(left))?;
            let tally = children.tally();
            if self.setup.task == Task::Churn && tally.handshakes == 0 && tally.faults > 0 {
                return Err(format!("nobody answers at {}", self.target()));
            }
            if let Some(end) = self.engine.as_ref().and_then(|engine| engine.chain.end()) {
                return Err(format!("the engine ended during the run: {end}"));
            }
            let reading = self.read(children);
            if reading.at_ns - last_ns < SAMPLE_PERIOD.as_nanos() as u64 / 2 {
                continue; // the rest of the time is too short for a rate
            }
            let now = self.progress(&reading);
            let seconds = (reading.at_ns - last_ns) as f64 / 1e9;
            let per_second = |now: u64, last: u64| now.saturating_sub(last) as f64 / seconds;
            let sample = Sample {
                seconds: (reading.at_ns - start.at_ns) as f64 / 1e9,
                frames_per_second: per_second(now.0, last.0),
                bytes_per_second: per_second(now.1, last.1),
            };
            self.report.samples.push(sample);
            (last_ns, last) = (reading.at_ns, now);
            bar.set_position(
                ((reading.at_ns - start.at_ns) / 1_000_000).min(duration_ns / 1_000_000),
            );
            bar.set_message(self.live(&sample, &reading, publishing));
        }
        bar.finish_and_clear();
        if self.told_to_stop.load(Ordering::Relaxed) {
            self.report.is_interrupted = true;
            self.report.note("The run was interrupted; what had been sent was checked.");
        }
        Ok(())
    }

    fn live(&self, sample: &Sample, reading: &Reading, publishing: Option<&Publishing>) -> String {
        let rate = grouped(sample.frames_per_second as u64);
        let megabytes = sample.bytes_per_second / 1e6;
        match self.setup.task {
            Task::Churn => format!("{rate} handshakes/s"),
            Task::Broadcast => format!(
                "{rate} frames/s, {megabytes:.0} MB/s, {} published",
                publishing.map_or(0, Publishing::published)
            ),
            Task::Idle => format!("{} connections, {rate} frames/s", reading.tally.connected),
            Task::Flood | Task::Probe => {
                let delivered =
                    self.engine.as_ref().map_or(0, |engine| engine.chain.counts().delivered);
                format!("{rate} frames/s, {megabytes:.0} MB/s, {} delivered", grouped(delivered))
            }
        }
    }

    /// Stops the traffic, and waits until what is under way has arrived, or will not any more.
    fn settle(
        &self,
        children: &mut Children,
        empty: &Metrics,
        published: u64,
    ) -> Result<(), String> {
        let expected = published * children.tally().connected;
        wait_for(children, |tally| (tally.received_once, tally.received_once >= expected))?;
        children.order(Order::Stop)?;
        let deadline = Instant::now() + SETTLING_PATIENCE * 2;
        while !children.all_done() {
            children.listen(Duration::from_millis(20))?;
            if Instant::now() > deadline {
                return Err("the clients could not finish writing: nobody reads".into());
            }
        }
        wait_for(children, |tally| (tally.pongs, tally.pongs >= tally.pings))?;
        let Some(engine) = &self.engine else { return Ok(()) };
        let (wanted, old) = wanted(children);
        wait_for(children, |tally| {
            let counts = engine.chain.counts();
            let received = engine.metrics().frames_received - empty.frames_received;
            let flooded = self.setup.task != Task::Flood
                || counts.delivered >= wanted && counts.hinted >= old;
            (counts.delivered + counts.hinted + received, flooded && received >= tally.frames_sent)
        })?;
        children.listen(STRAGGLERS)
    }

    /// Fills in the report.
    fn account(&mut self, children: &Children, readings: &Readings, published: u64) {
        let Readings { start, stop, end, .. } = readings;
        let seconds = (stop.at_ns - start.at_ns) as f64 / 1e9;
        let (first, last) = (self.progress(start), self.progress(stop));
        let report = &mut self.report;
        report.seconds = seconds;
        report.frames_per_second = last.0.saturating_sub(first.0) as f64 / seconds;
        report.bytes_per_second = last.1.saturating_sub(first.1) as f64 / seconds;
        report.set_latencies(children.done());
        let tally = &end.tally;
        report.frames_sent = tally.frames_sent;
        report.duplicates = tally.duplicates + tally.old;
        report.duplicate_share = report.duplicates as f64 / report.frames_sent.max(1) as f64;
        report.handshakes = tally.handshakes;
        report.pings_sent = tally.pings;
        report.pongs_received = tally.pongs;
        report.pings_answered = tally.pings_answered;
        report.note(
            "Rates, CPU and turns are those of the time given; totals also count what was under \
             way at its end. Frames include Pings and Pongs, in both directions where CPU is \
             divided by them.",
        );
        self.account_clients(children, end, published);
        if self.engine.is_some() {
            self.account_engine(readings);
            self.check_closes(readings);
            self.check_flood(children, end);
        }
    }

    fn account_clients(&mut self, children: &Children, end: &Reading, published: u64) {
        let (report, tally) = (&mut self.report, &end.tally);
        match self.setup.task {
            Task::Broadcast => {
                let expected = published * report.connections;
                report.frames_received = tally.frames_received;
                report.delivered = tally.received_once;
                report.lost = expected.saturating_sub(tally.received_once);
                report.doubled = tally.doubled;
                report.corrupted = tally.corrupted;
                report.note(format!(
                    "{published} payloads were published, to {} clients each. Latency is measured \
                     from the instant at which each was to be published, so that waiting counts; \
                     it includes the clients' own time for reading one after the other.",
                    report.connections
                ));
            }
            Task::Churn => {
                report.handshakes_per_second = report.frames_per_second;
                report.frames_received = tally.frames_received;
                report.note("Latency is from dialling to the engine's Shake, connecting included.");
            }
            Task::Flood | Task::Probe => report.note(
                "Latency is the round trip of Pings of quiet clients (one in a hundred, in a \
                 process of their own), from the instant at which each was to be sent.",
            ),
            Task::Idle => report.note("Both sides ping each connection every 10 s."),
        }
        if tally.pongs < tally.pings && self.setup.task != Task::Churn {
            report.error(format!("{} Pings were not answered", tally.pings - tally.pongs));
        }
        if tally.faults > 0 {
            report.error(format!("{} faults at the clients", tally.faults));
        }
        children.done().iter().flat_map(|thread| &thread.faults).for_each(|fault| {
            report.error(fault);
        });
        if !children.done().iter().all(|thread| thread.cubic) {
            report.note("The clients' sockets did not take cubic congestion control.");
        }
    }

    fn account_engine(&mut self, readings: &Readings) {
        let Readings { empty, start, stop, end } = readings;
        let report = &mut self.report;
        let (before, after) = (&start.metrics, &stop.metrics);
        let frames = |metrics: &Metrics| metrics.frames_received + metrics.frames_sent;
        let handled = (frames(after) - frames(before)).max(1) as f64;
        let cpu_ns = stop.cpu_ns.saturating_sub(start.cpu_ns) as f64;
        report.engine_cpu_share = cpu_ns / 1e9 / report.seconds;
        report.engine_cpu_ns_per_frame = cpu_ns / handled;
        report.kernel_entries_per_frame =
            (after.kernel_entries - before.kernel_entries) as f64 / handled;
        report.turns_per_second = (after.turns - before.turns) as f64 / report.seconds;
        report.fixed_pool_bytes = end.metrics.fixed_pool_bytes;
        let sends = end.metrics.sends - before.sends;
        let payloads = end.metrics.payloads_sent - before.payloads_sent;
        report.payloads_per_send = payloads as f64 / sends.max(1) as f64;
        report.slow_reader_drops = end.metrics.relay_dropped - before.relay_dropped;
        match self.setup.task {
            Task::Broadcast => {
                report.frames_sent = end.metrics.frames_sent - empty.frames_sent;
            }
            Task::Churn | Task::Flood | Task::Probe | Task::Idle => {
                report.frames_received = end.metrics.frames_received - empty.frames_received;
            }
        }
        if self.setup.task != Task::Churn
            && let Some(disagreement) = disagreement(end, empty)
        {
            report.error(disagreement);
        }
    }

    /// Every connection that ended during the run is told, and is an error if it had to last.
    fn check_closes(&mut self, readings: &Readings) {
        let report = &mut self.report;
        for (name, count) in readings.end.metrics.closed_by_cause() {
            let earlier = readings.empty.closed_by_cause().find(|(other, _)| *other == name);
            let count = count - earlier.map_or(0, |(_, count)| count);
            if count == 0 {
                continue;
            }
            report.closed_by_cause.insert(name.into(), count);
            if self.setup.task != Task::Churn || name != "remote_closed" {
                report.error(format!("the engine closed {count} connections: {name}"));
            }
        }
        if let Some(end) = self.engine.as_ref().and_then(|engine| engine.chain.end()) {
            report.error(format!("the engine ended: {end}"));
        }
    }

    /// Compares what the chain received with what the clients wrote.
    fn check_flood(&mut self, children: &Children, end: &Reading) {
        let (Some(engine), Task::Flood) = (&self.engine, self.setup.task) else { return };
        let report = &mut self.report;
        let written: Vec<_> = children
            .done()
            .iter()
            .filter(|thread| thread.next > 0)
            .map(|thread| Written {
                thread: thread.thread,
                next: thread.next,
                unwritten: thread.unwritten.clone(),
            })
            .collect();
        let (lost, complaints) = engine.chain.settle(&written);
        let counts = engine.chain.counts();
        let missing_old = end.tally.old.saturating_sub(counts.hinted);
        report.delivered = counts.delivered;
        report.hinted = counts.hinted;
        report.hinted_first = counts.hinted_first;
        report.lost = lost + missing_old;
        report.doubled = counts.doubled;
        report.corrupted = counts.corrupted;
        complaints.into_iter().for_each(|complaint| report.error(complaint));
        if missing_old > 0 {
            report.error(format!("{missing_old} old duplicates did not arrive again"));
        }
        if written.is_empty() {
            report.error("the clients never said what they wrote");
        }
        let frames = children.done().iter().filter_map(|thread| thread.client_frames);
        if let Some((slowest, fastest)) =
            frames.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
        {
            report.client_frames_min = slowest;
            report.client_frames_max = fastest;
        }
        flood_notes(report, &self.setup);
    }
}

/// What the clients and the engine count differently, of the frames that went each way.
fn disagreement(reading: &Reading, empty: &Metrics) -> Option<String> {
    let Reading { tally, metrics, .. } = reading;
    let received = metrics.frames_received - empty.frames_received;
    let sent = metrics.frames_sent - empty.frames_sent;
    if received != tally.frames_sent {
        Some(format!("{} frames were sent, the engine counted {received}", tally.frames_sent))
    } else if sent != tally.frames_received {
        Some(format!("the engine counted {sent} frames sent, {} came", tally.frames_received))
    } else {
        None
    }
}

/// Distinct payloads and old duplicates that the clients wrote.
fn wanted(children: &Children) -> (u64, u64) {
    let distinct = |next: u64, unwritten: usize| next - unwritten as u64;
    let new = children.done().iter().map(|one| distinct(one.next, one.unwritten.len())).sum();
    (new, children.tally().old)
}

fn flood_notes(report: &mut Report, setup: &Setup) {
    report.note(format!(
        "Traffic: the 2,500 transactions and the whole block of Bitcoin's block 702,861 as they \
         are, further ones of their size and content made unique, and synthetic transactions of \
         {} bytes. Duplicates are at most {} payloads old when they are drawn, and {} when the \
         engine handles them. The slowest client wrote {} frames, the fastest {}.",
        setup.common.payload_bytes,
        grouped(setup.window),
        grouped(setup.window + 2 * setup.slack),
        grouped(report.client_frames_min),
        grouped(report.client_frames_max),
    ));
    match (setup.old_age, setup.seen) {
        (Some(age), Some(seen)) => report.note(format!(
            "Old duplicates: each payload that became {} payloads old was sent once more. The \
             engine was set to remember {} exactly, so it had forgotten every one of them, and \
             each had to arrive again with the hint.",
            grouped(age),
            grouped(u64::from(seen.recent_ids))
        )),
        _ => report.note(format!(
            "{} payloads were hinted as perhaps seen long ago at their first arrival: errors of a \
             filter, which cost nothing but the hint.",
            grouped(report.hinted_first)
        )),
    }
}

/// Listens until `look` is content, or sees no progress for too long: the check will say what is
/// missing. `look` gives a number that grows with progress, and whether that is all.
fn wait_for(children: &mut Children, look: impl Fn(&Tally) -> (u64, bool)) -> Result<(), String> {
    let mut last = (0, Instant::now());
    loop {
        let (progress, all) = look(&children.tally());
        if all {
            return Ok(());
        }
        if progress > last.0 {
            last = (progress, Instant::now());
        }
        if last.1.elapsed() > SETTLING_PATIENCE {
            return Ok(());
        }
        children.listen(Duration::from_millis(20))?;
    }
}

fn bar(duration: Duration) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(duration.as_millis() as u64), target);
    let style = ProgressStyle::with_template("{elapsed:>4} [{bar:30}] {msg}")
        .expect("the template is a constant");
    bar.set_style(style.progress_chars("=> "));
    bar
}
