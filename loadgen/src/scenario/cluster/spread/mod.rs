//! One dissemination among real engines: each a process, one network between them, messages at a
//! pace, faults on command, and a log from which a simulation of the same is made.
//!
//! This process only commands and writes down. Invariant: what a message took is told by clocks of
//! the engines' own processes, which are one clock, and never by when it was told here.

mod inject;
mod log;
mod loss;
mod member;
mod members;
mod plan;
mod relay;
mod tally;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::clock::now_ns;
use crate::flags::duration;
use inject::{Fault, Inject};
use log::{Line, Log, Rules, VERSION};
pub(crate) use member::run as run_member;
pub(crate) use members::COMMAND as MEMBER_COMMAND;
use members::Members;
use plan::{COMPARED, Plan, REST, REST_DATAGRAMS, Step};
use relay::Relay;
pub(super) use tally::Figures;
use tally::Tally;
use words::{Order, Over, Said, Spec};

/// Most engines of this part: each is a process.
pub(super) const ENGINES_MAX: u32 = 200;

/// Long beside the wait for a processor, short beside the periods of the overlay.
const DELAY_DEFAULT: Duration = Duration::from_millis(20);

/// Longest way: with longer ones the rules of the overlay give up dials and answers.
const DELAY_MAX: Duration = Duration::from_millis(500);

/// Rest between two starts: a process begins in some milliseconds.
const STAGGER: Duration = Duration::from_millis(50);

/// How long an engine may take to begin.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// Most time from the first message to the last step, whatever the flags say.
const LENGTH_MAX: Duration = Duration::from_secs(3_600);

/// How often this process looks whether it is told to stop.
const LOOK: Duration = Duration::from_millis(50);

/// How long the engines may take to say goodbye.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Flags of the dissemination.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Flags {
    /// Messages go by push-pull gossip in datagrams, and not along a tree over connections.
    #[arg(long)]
    pub(crate) udp: bool,
    /// Messages, each said by an engine drawn anew.
    #[arg(long, value_name = "N", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) messages: u32,
    /// From one message to the next. After 500 to 750 ms a node asks for what it misses of a tree;
    /// what follows sooner may cut the same ring twice.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) every: Duration,
    /// What a byte takes from one engine to another, so that it is the network that is seen and not
    /// the wait for a processor; `0` is the loopback itself, as datagrams have it [default: 20ms].
    #[arg(long, value_name = "TIME", value_parser = delay, conflicts_with = "udp")]
    pub(crate) delay: Option<Duration>,
    /// Bytes of a message.
    #[arg(long, value_name = "N", default_value_t = 200,
          value_parser = clap::value_parser!(u16).range(4..=1_000))]
    pub(crate) message_bytes: u16,
    /// How long the network settles before the first message.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) settle: Duration,
    /// What goes wrong, when, counted from the first message: `kill=6@5s`, `leave=3@5s`,
    /// `pause=6@5s+4s`, `loss=0.2@0+10s` (of datagrams). May be given several times.
    #[arg(long, value_name = "FAULT", value_parser = str::parse::<Inject>)]
    pub(crate) inject: Vec<Inject>,
    /// How often all of it is done: what one tree is like is a matter of chance.
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) runs: u16,
    /// The number from which it follows who says what and who fails; the next run has the next.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Where the log of the dissemination goes.
    #[arg(long, value_name = "PATH", default_value = "target/loadgen/cluster.jsonl")]
    pub(crate) log: PathBuf,
}

impl Flags {
    const fn over(&self) -> Over {
        if self.udp { Over::Datagrams } else { Over::Streams }
    }

    /// What a byte takes, if that is not what it takes anyway.
    fn delayed(&self) -> Option<Duration> {
        let delay = self.delay.unwrap_or(DELAY_DEFAULT);
        (!self.udp && !delay.is_zero()).then_some(delay)
    }

    fn loses(&self) -> bool {
        self.inject.iter().any(|one| matches!(one.fault, Fault::Loss(..)))
    }

    /// Makes the surroundings that the faults need: the program may begin anew in them.
    pub(super) fn prepare(&self) -> Result<(), String> {
        if !self.loses() {
            return Ok(());
        }
        if !self.udp {
            return Err("loss is of datagrams, and wants --udp: a stream loses nothing".into());
        }
        loss::enter()
    }
}

/// A delay: unlike other times it may be nothing.
fn delay(text: &str) -> Result<Duration, String> {
    let time = if text == "0" { Duration::ZERO } else { duration(text)? };
    if time <= DELAY_MAX { Ok(time) } else { Err(format!("at most {DELAY_MAX:?}")) }
}

/// What came of all runs, and where the log is.
pub(super) struct Outcome {
    pub(super) figures: Vec<Figures>,
    pub(super) log: PathBuf,
    pub(super) faults: Vec<String>,
    pub(super) is_interrupted: bool,
}

/// Runs it; `Err` is what kept it from running to its end.
pub(super) fn run(
    flags: &Flags,
    engines: u32,
    told_to_stop: &AtomicBool,
) -> Result<Outcome, String> {
    let engines = engines.min(ENGINES_MAX);
    let mut log = Log::create(&flags.log)?;
    let (mut figures, mut faults) = (Vec::new(), Vec::new());
    for number in 0..flags.runs {
        let plan = Plan::draw(flags, engines, flags.seed.wrapping_add(u64::from(number)))?;
        let tally = once(flags, engines, &plan, told_to_stop, &mut log, &mut faults)?;
        figures.push(tally.figures(engines, &plan.gone()));
        if told_to_stop.load(Ordering::Relaxed) {
            break;
        }
    }
    let is_interrupted = told_to_stop.load(Ordering::Relaxed);
    Ok(Outcome { figures, log: log.finish(is_interrupted)?, faults, is_interrupted })
}

/// One run.
fn once(
    flags: &Flags,
    engines: u32,
    plan: &Plan,
    told_to_stop: &AtomicBool,
    log: &mut Log,
    faults: &mut Vec<String>,
) -> Result<Tally, String> {
    if plan.0.last().is_some_and(|(at, _)| *at > LENGTH_MAX) || flags.settle > LENGTH_MAX {
        return Err(format!("the messages and faults take more than {LENGTH_MAX:?}"));
    }
    let mut run = Run {
        flags,
        told_to_stop,
        log,
        members: Members::new(),
        relay: flags.delayed().map(Relay::start).transpose()?,
        start_ns: now_ns(),
        numbers: BTreeMap::new(),
        gone: BTreeSet::new(),
        ended: BTreeSet::new(),
        tally: Tally::default(),
        faults,
    };
    run.head(engines)?;
    run.start(engines)?;
    run.take_in(flags.settle)?;
    run.carry_out(plan)?;
    run.end(engines)?;
    Ok(run.tally)
}

struct Run<'a> {
    flags: &'a Flags,
    told_to_stop: &'a AtomicBool,
    log: &'a mut Log,
    members: Members,
    /// The way between them, if it is not the loopback itself.
    relay: Option<Relay>,
    start_ns: u64,
    /// Where each engine listens.
    numbers: BTreeMap<SocketAddr, u32>,
    /// Those who were killed, or told to leave.
    gone: BTreeSet<u32>,
    /// Those who said that they have ended.
    ended: BTreeSet<u32>,
    tally: Tally,
    faults: &'a mut Vec<String>,
}

impl Run<'_> {
    fn us(&self) -> u64 {
        now_ns().saturating_sub(self.start_ns) / 1_000
    }

    fn is_told_to_stop(&self) -> bool {
        self.told_to_stop.load(Ordering::Relaxed)
    }

    fn head(&mut self, engines: u32) -> Result<(), String> {
        let anywhere = (Ipv4Addr::LOCALHOST, 0).into();
        let rules = member::config(self.flags.over(), None, anywhere)?.peer.hyparview;
        self.log.write(&Line::Cluster {
            version: VERSION,
            engines,
            over: self.flags.over(),
            messages: self.flags.messages,
            message_bytes: usize::from(self.flags.message_bytes),
            rules: Rules {
                links: rules.active_max,
                shuffle_us: rules.shuffle_period.as_micros() as u64,
            },
        })
    }

    /// One after the other; the first is everybody's contact.
    fn start(&mut self, engines: u32) -> Result<(), String> {
        let mut spec = Spec {
            over: self.flags.over(),
            contact: None,
            reached_at: (Ipv4Addr::LOCALHOST, 0).into(),
            start_ns: self.start_ns,
            message_bytes: usize::from(self.flags.message_bytes),
        };
        for engine in 0..engines {
            if let Some(relay) = &mut self.relay {
                spec.reached_at = relay.open()?;
            }
            self.members.start(&spec)?;
            let begun = Instant::now();
            while self.numbers.len() <= engine as usize && !self.is_told_to_stop() {
                if begun.elapsed() > START_PATIENCE {
                    return Err(format!("engine {engine} does not begin"));
                }
                self.take_in(LOOK.min(STAGGER))?;
            }
            spec.contact = spec.contact.or_else(|| self.numbers.keys().next().copied());
            self.take_in(STAGGER.saturating_sub(begun.elapsed()))?;
        }
        Ok(())
    }

    /// Listens for so long, or until this process is told to stop.
    fn take_in(&mut self, lasts: Duration) -> Result<(), String> {
        let until = Instant::now() + lasts;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.members.listen(left.min(LOOK))? {
                Some((engine, said)) => self.on_said(engine, said)?,
                None if left <= LOOK || self.is_told_to_stop() => return Ok(()),
                None => {}
            }
        }
    }

    fn on_said(&mut self, engine: u32, said: Said) -> Result<(), String> {
        match said {
            Said::Started { us, addr, seen_at } => {
                self.numbers.insert(seen_at, engine);
                if let Some(relay) = &self.relay {
                    relay.lead_to(engine, addr);
                }
                self.log.write(&Line::Started { us, engine, addr: seen_at })
            }
            Said::Published { us, message } => {
                self.tally.publish(message, us);
                self.log.write(&Line::Published { us, engine, message })
            }
            Said::Heard(hearings) => hearings.into_iter().try_for_each(|hearing| {
                self.tally.hear(engine, hearing);
                let (message, us, hops) = hearing;
                self.log.write(&Line::Heard { us, engine, message, hops })
            }),
            Said::Looked(look) => {
                let numbers = |addrs: &[SocketAddr]| {
                    let mut all: Vec<u32> =
                        addrs.iter().filter_map(|addr| self.numbers.get(addr)).copied().collect();
                    all.sort_unstable();
                    all
                };
                let [alive, suspected, dead] =
                    [&look.alive, &look.suspected, &look.dead].map(|addrs| numbers(addrs));
                self.log.write(&Line::State {
                    us: look.us,
                    engine,
                    alive: &alive,
                    suspected: &suspected,
                    dead: &dead,
                    new: look.new,
                    known: look.known,
                    missed: look.missed,
                    lagged: look.lagged,
                    silent: look.silent,
                })?;
                self.tally.look(engine, look);
                Ok(())
            }
            Said::Ended { fault, .. } => {
                self.ended.insert(engine);
                self.faults.extend(fault.map(|fault| format!("engine {engine}: {fault}")));
                Ok(())
            }
        }
    }

    fn carry_out(&mut self, plan: &Plan) -> Result<(), String> {
        let begun = Instant::now();
        for (at, step) in &plan.0 {
            self.take_in(at.saturating_sub(begun.elapsed()))?;
            if self.is_told_to_stop() {
                return Ok(());
            }
            self.step(*step)?;
        }
        self.take_in(if self.flags.udp { REST_DATAGRAMS } else { REST })?;
        let begun = Instant::now();
        while self.flags.udp && begun.elapsed() < COMPARED && !self.is_told_to_stop() {
            if self.tally.figures(self.numbers.len() as u32, &self.gone).missing == 0 {
                break;
            }
            self.take_in(LOOK)?;
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        let us = self.us();
        let line = match step {
            Step::Publish { engine, message } => {
                return self.members.order(engine, Order::Publish(message));
            }
            Step::Kill(engine) => {
                self.gone.insert(engine);
                self.members.kill(engine)?;
                Line::Killed { us, engine }
            }
            Step::Leave(engine) => {
                self.gone.insert(engine);
                self.members.order(engine, Order::Leave)?;
                Line::Left { us, engine }
            }
            Step::Pause(engine) => {
                self.members.pause(engine, true)?;
                Line::Paused { us, engine }
            }
            Step::Resume(engine) => {
                self.members.pause(engine, false)?;
                Line::Resumed { us, engine }
            }
            Step::Lose(share) => {
                loss::lose(share)?;
                Line::Loss { us, share }
            }
        };
        self.log.write(&line)
    }

    /// Nothing is counted any more; then everybody says goodbye.
    fn end(&mut self, engines: u32) -> Result<(), String> {
        let us = self.us();
        self.log.write(&Line::End { us })?;
        let started = self.numbers.len() as u32;
        let living: Vec<u32> =
            (0..engines.min(started)).filter(|engine| !self.gone.contains(engine)).collect();
        for engine in &living {
            self.members.order(*engine, Order::Leave)?;
        }
        let deadline = Instant::now() + END_PATIENCE;
        while !living.iter().all(|engine| self.ended.contains(engine)) {
            if Instant::now() >= deadline {
                self.faults.push("some engines did not end in time".into());
                break;
            }
            // What they say now is not of the log.
            if let Some((engine, Said::Ended { fault, .. })) = self.members.listen(LOOK)? {
                self.ended.insert(engine);
                self.faults.extend(fault.map(|fault| format!("engine {engine}: {fault}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    pub(super) fn flags(line: &str) -> Flags {
        Line::try_parse_from(["x"].into_iter().chain(line.split_whitespace())).unwrap().flags
    }

    #[test]
    fn loss_is_of_datagrams() {
        let error = flags("--inject loss=0.1@1s").prepare().unwrap_err();
        assert!(error.contains("--udp"), "{error}");
        assert_eq!(flags("--inject kill=1@1s").prepare(), Ok(()));
    }

    #[test]
    fn a_delay_is_of_streams() {
        assert_eq!(flags("").delayed(), Some(DELAY_DEFAULT));
        assert_eq!(flags("--delay 0").delayed(), None);
        assert_eq!(flags("--udp").delayed(), None);
        let both = Line::try_parse_from(["x", "--udp", "--delay", "5ms"]);
        assert_eq!(both.err().unwrap().kind(), clap::error::ErrorKind::ArgumentConflict);
    }
}
