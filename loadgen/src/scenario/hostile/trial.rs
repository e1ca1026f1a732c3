//! One attack: measured before, made, and judged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use molva::Metrics;

use crate::clock::now_ns;
use crate::control::LATENCY_US_MAX;
use crate::flags::Hostile;
use crate::fleet::attack::Attack;
use crate::fleet::honest::CLIENTS;
use crate::process;
use crate::scenario::hostile::Scene;
use crate::scenario::hostile::report::Trial;
use crate::talk::{Order, Outcome, Said, Window};

/// How often an attack is made whose latencies look bad.
const TRIES_MAX: usize = 3;

/// Patience, beyond the attack's time, for the attackers to see the ends of their connections.
const ATTACK_PATIENCE: Duration = Duration::from_secs(60);

/// Patience for the engine to be alone with the honest clients again, and for their payloads.
const SETTLING_PATIENCE: Duration = Duration::from_secs(15);

/// How often memory is looked at.
const SAMPLE_PERIOD: Duration = Duration::from_millis(10);

/// Ends of dials, which no attacker made: they are no fate of an attacker's connection.
const DIAL_FAILED: &str = "dial_failed";

macro_rules! counters {
    ($($name:ident)+) => {
        /// What the engine counts of limits and of work, by name.
        fn counters(metrics: &Metrics) -> Vec<(&'static str, u64)> {
            vec![$((stringify!($name), metrics.$name)),+]
        }
    };
}

counters! {
    frames_received payloads_new payloads_hinted duplicates unknown_frames relay_dropped
    commands_refused requests_refused messages_passed_over answers_withheld relay_withheld
    addresses_heard addresses_new addresses_passed_over address_requests_passed_over reseeds
    rate_stalls buffers_starved lane_stalls completions_stale
}

/// Everything that is read of the engine at an instant.
struct Reading {
    at_ns: u64,
    metrics: Metrics,
    bans: u64,
    cpu_ns: u64,
}

/// What is seen while an attack is made.
struct Seen {
    window: Window,
    outcome: Outcome,
    rss_peak: u64,
    /// When the honest clients stopped measuring, and the engine's processor time then.
    measured: (u64, u64),
}

/// Makes an attack, again if the latencies look bad; the last time counts.
pub(super) fn run(
    scene: &mut Scene,
    attack: &'static Attack,
    flags: &Hostile,
    rss_bound: u64,
) -> Result<Trial, String> {
    let mut tries = Vec::new();
    loop {
        let mut trial = once(scene, attack, flags.duration)?;
        let (before, during) = (trial.honest_p99_us_before, trial.honest_p99_us_during);
        tries.push((before, during));
        let noise = flags.noise.as_micros() as u64;
        let is_slow = during >= 2 * before && during > before + noise;
        if is_slow && tries.len() < TRIES_MAX && trial.errors.is_empty() {
            continue;
        }
        if is_slow {
            trial.errors.push(format!(
                "the honest p99 grew from {before} to {during} us, the last of {} times",
                tries.len()
            ));
        }
        if trial.rss_bytes_peak > rss_bound {
            let peak = trial.rss_bytes_peak;
            trial.errors.push(format!("{peak} resident bytes, and {rss_bound} are the bound"));
        }
        trial.tries = tries;
        trial.verdict = if trial.errors.is_empty() { "passed" } else { "FAILED" };
        return Ok(trial);
    }
}

fn once(scene: &mut Scene, attack: &'static Attack, time: Duration) -> Result<Trial, String> {
    lift_bans(scene)?;
    settle(scene)?;
    let quiet = scene.measure(time)?;
    let rss_before = process::resident_bytes_now().unwrap_or_default();
    let before = read(scene)?;
    let seen = make(scene, attack, time)?;
    let alone = settle(scene)?;
    let after = read(scene)?;

    let mut trial = Trial {
        name: attack.name,
        what: attack.what,
        connections: seen.outcome.connections,
        frames_sent: seen.outcome.frames_sent,
        bytes_sent: seen.outcome.bytes_sent,
        bytes_received: seen.outcome.bytes_received,
        expected: attack.expected,
        rss_bytes_before: rss_before,
        rss_bytes_peak: seen.rss_peak.max(rss_before),
        errors: seen.outcome.fault.clone().into_iter().collect(),
        ..Trial::default()
    };
    trial.errors.extend(alone);
    let (at_ns, cpu_ns) = seen.measured;
    let measured_ns = (at_ns - before.at_ns).max(1) as f64;
    trial.engine_cpu_share = cpu_ns.saturating_sub(before.cpu_ns) as f64 / measured_ns;
    let whole_ns = (after.at_ns - before.at_ns).max(1) as f64;
    trial.attackers_cpu_share = seen.outcome.cpu_ns as f64 / whole_ns;
    compare(&mut trial, attack, &before, &after);
    judge_latency(&mut trial, &quiet, &seen.window);
    judge_payloads(&mut trial, scene);
    Ok(trial)
}

/// The attack itself, with the honest clients measuring beside.
fn make(scene: &mut Scene, attack: &Attack, time: Duration) -> Result<Seen, String> {
    let ms = time.as_millis() as u64;
    scene.honest.order(&Order::Measure { ms })?;
    scene.attackers.order(&Order::Attack { name: attack.name.into(), ms })?;
    let deadline = Instant::now() + time + ATTACK_PATIENCE;
    let (mut window, mut outcome, mut rss_peak) = (None, None, 0);
    let mut measured = (now_ns(), 0);
    while window.is_none() || outcome.is_none() {
        if Instant::now() > deadline {
            return Err("the attack does not end".into());
        }
        match scene.attackers.hear(SAMPLE_PERIOD)? {
            Some(Said::Dial(addr)) => scene.handle.hold(addr).map_err(|end| end.to_string())?,
            Some(Said::Outcome(said)) => outcome = Some(said),
            _ => {}
        }
        if let Some(Said::Window(said)) = scene.honest.hear(Duration::ZERO)? {
            window = Some(said);
            measured = (now_ns(), process::engine_cpu_ns().unwrap_or_default());
        }
        rss_peak = rss_peak.max(process::resident_bytes_now().unwrap_or_default());
    }
    let both = window.zip(outcome).ok_or("a child said nothing")?;
    Ok(Seen { window: both.0, outcome: both.1, rss_peak, measured })
}

/// Each attack begins without those that an earlier one has brought about.
fn lift_bans(scene: &Scene) -> Result<(), String> {
    let bans = scene.handle.bans().map_err(|end| end.to_string())?;
    bans.iter()
        .try_for_each(|ban| scene.handle.unban(ban.target).map(drop).map_err(|end| end.to_string()))
}

/// Waits until only the honest clients are there and all that they wrote has arrived. What is wrong
/// if it does not come to that.
fn settle(scene: &mut Scene) -> Result<Vec<String>, String> {
    let deadline = Instant::now() + SETTLING_PATIENCE;
    let mut connections;
    loop {
        scene.honest.order(&Order::Rest)?;
        let Said::Window(window) = scene.honest.answer(SETTLING_PATIENCE)? else {
            return Err("the honest clients do not rest".into());
        };
        scene.window = window;
        connections = scene.handle.metrics().connections;
        let arrived = missing(scene) == (scene.lost, scene.unrelayed);
        if connections == CLIENTS as u64 && arrived || Instant::now() > deadline {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut wrong = Vec::new();
    if scene.window.connected < CLIENTS as u64 {
        let gone = CLIENTS as u64 - scene.window.connected;
        wrong.push(format!("{gone} honest connections ended: {:?}", scene.window.faults));
    }
    if connections > scene.window.connected {
        let more = connections - scene.window.connected;
        wrong.push(format!("{more} connections still stand that no honest client has"));
    }
    Ok(wrong)
}

/// Honest payloads that are not at the chain, and not at another honest client.
fn missing(scene: &Scene) -> (u64, u64) {
    let written = scene.window.written;
    let relayed = written * (CLIENTS as u64 - 1);
    let delivered = scene.chain.counts().delivered;
    (written.saturating_sub(delivered), relayed.saturating_sub(scene.window.relayed))
}

fn read(scene: &Scene) -> Result<Reading, String> {
    // The question makes a turn, after which the numbers are those of now.
    let bans = scene.handle.bans().map_err(|end| end.to_string())?.len() as u64;
    let metrics = scene.handle.metrics();
    let cpu_ns = process::engine_cpu_ns().unwrap_or_default();
    Ok(Reading { at_ns: now_ns(), metrics, bans, cpu_ns })
}

/// What became of the attackers' connections, and which limits held them.
fn compare(trial: &mut Trial, attack: &Attack, before: &Reading, after: &Reading) {
    let earlier: BTreeMap<_, _> = before.metrics.closed_by_cause().collect();
    for (cause, count) in after.metrics.closed_by_cause() {
        let count = count - earlier.get(cause).copied().unwrap_or_default();
        if count > 0 && cause != DIAL_FAILED {
            trial.fate.insert(cause, count);
        }
    }
    for (cause, count) in &trial.fate {
        if !attack.expected.contains(cause) {
            trial
                .errors
                .push(format!("{count} connections ended as {cause}, which was not expected"));
        }
    }
    let ended: u64 = trial.fate.values().sum();
    if ended != trial.connections {
        let connections = trial.connections;
        trial.errors.push(format!("{connections} connections were made, and {ended} ended"));
    }
    let pairs = counters(&after.metrics).into_iter().zip(counters(&before.metrics));
    let grown = pairs.map(|((name, after), (_, before))| (name, after.saturating_sub(before)));
    let bans = ("bans", after.bans.saturating_sub(before.bans));
    trial.counted = grown.chain([bans]).filter(|(_, count)| *count > 0).collect();
    for limit in attack.limits {
        if !trial.counted.contains_key(limit) {
            trial.errors.push(format!("{limit} did not grow: the attack met no limit"));
        }
    }
}

fn judge_latency(trial: &mut Trial, before: &Window, during: &Window) {
    (trial.honest_p50_us_before, trial.honest_p99_us_before) = percentiles(before);
    (trial.honest_p50_us_during, trial.honest_p99_us_during) = percentiles(during);
    trial.ratio = trial.honest_p99_us_during as f64 / trial.honest_p99_us_before.max(1) as f64;
    trial.late_p99_us_before = before.late_p99_us;
    trial.late_p99_us_during = during.late_p99_us;
    for window in [before, during] {
        if window.pongs < window.pings {
            let open = window.pings - window.pongs;
            trial.errors.push(format!("{open} honest Pings were not answered"));
        }
    }
}

/// Median and p99 in microseconds.
fn percentiles(window: &Window) -> (u64, u64) {
    let mut histogram =
        Histogram::<u64>::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are constants");
    for (value, count) in &window.latencies {
        histogram.saturating_record_n(*value, *count);
    }
    (histogram.value_at_quantile(0.5), histogram.value_at_quantile(0.99))
}

/// Everything that the honest clients wrote has arrived: once at the chain, and once at every other
/// client.
fn judge_payloads(trial: &mut Trial, scene: &mut Scene) {
    let counts = scene.chain.counts();
    let (lost, unrelayed) = missing(scene);
    trial.lost = lost.saturating_sub(scene.lost);
    trial.unrelayed = unrelayed.saturating_sub(scene.unrelayed);
    let spoiled = counts.doubled + counts.corrupted;
    trial.spoiled = spoiled.saturating_sub(scene.spoiled);
    (scene.lost, scene.unrelayed, scene.spoiled) = (lost, unrelayed, spoiled);
    if trial.lost > 0 {
        trial.errors.push(format!("{} honest payloads were lost", trial.lost));
    }
    if trial.unrelayed > 0 {
        trial.errors.push(format!("{} relays to honest clients were lost", trial.unrelayed));
    }
    if trial.spoiled > 0 {
        let spoiled = trial.spoiled;
        trial.errors.push(format!("{spoiled} honest payloads arrived twice or altered"));
    }
}
