//! The workers: threads that pack what goes to peers and open what comes from them, so that the
//! loop does neither.
//!
//! A command of the chain whose payload is bulky, and goes to somebody who opens envelopes, is a
//! job on its way into the loop; an envelope is one on its way out. The loop never waits for a job
//! and never gets one back. With no job under way an item passes by after a look at one count; with
//! some, whoever brings it takes the lock to see that nothing of its order waits. The loop only
//! tries the lock, whose holder may be a worker that is not running: what it could not hand over,
//! it hands over later.
//!
//! Invariants. A job holds its place and its bytes on the lane that it leads to from the moment it
//! begins, those of the envelope that it may make with them, so jobs are bounded with the lane, and
//! what they make always finds room. Behind a long backlog nothing new is packed. Items of one
//! [`Key`] leave in the order in which they came. An envelope that does not hold what it says is
//! told to the loop, and keeps its place until the loop has heard. A job that panics ends like one
//! that failed: the payload travels plain, the envelope is a bad one.
//!
//! The end: the workers open what the loop had handed over, since the chain is to receive it, leave
//! unpacked what the loop will never take, and end before the engine says that it has ended.

mod openers;
mod opening;
mod order;
mod packing;
mod recent;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use codec::{Envelope, Kind, Network, Payload};
use peer::{ConnId, Freshness, FromChain, Source, ToChain, Verdict};

use self::openers::Openers;
use self::opening::Opener;
use self::order::{Key, Lines, Ticket};
use self::packing::Packer;
use self::recent::{Known, Recent};
use crate::shared::{EngineEnd, Shared};
use crate::sync::{Arc, AtomicU64, Guard, Hint, Monitor, Ordering};

/// Payloads longer than this have their id computed before the loop gets them: four microseconds of
/// hashing, four times what the loop spends on a new payload.
const ID_BYTES_MIN: usize = 4 << 10;

/// Items that leave a line at once, before others may have the lock: some microseconds.
const LEAVING_MAX: u64 = 64;

/// Most that a worker takes beside what is on the lanes: the tables of its compressor at the
/// highest level, the window of its decompressor, and a packed body.
const WORKER_BYTES: usize = 64 << 20;

/// Most workers. They are for the bursts that a node has; more would only take cores from the
/// chain.
pub(crate) const WORKERS_MAX: usize = 16;

/// Bytes of payloads that are packed or wait for it, for each worker, from which on others travel
/// plain: a tenth of a second of a worker that has only what a busy loop leaves of its core (35
/// MB/s), ten milliseconds of one with a core of its own. Whoever waits longer gets the payload
/// later than it would have come plain: a megabyte takes a tenth of a second at 100 Mbit/s, and
/// packing saves a seventh of that. Each sender may exceed it by one.
const BACKLOG_BYTES_MAX: usize = 4 << 20;

/// Highest level of zstd: those above pack a little better, ten times slower.
pub(crate) const LEVEL_MAX: u8 = 9;

/// How much lower than others' the workers' priority is, the lowest there is: with too few cores
/// for all, the loop goes on. At 15 it lost 6 % beside a worker without end, at 19 less than 3 %.
#[cfg(not(loom))]
const NICE: i32 = 19;

/// Who packs, and what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackingConfig {
    /// Threads that pack and open, 1 to 16: envelopes that come are opened whatever is packed.
    pub workers: usize,
    /// Whether anything is packed for peers that open envelopes.
    pub enabled: bool,
    /// Shortest body that is packed, in bytes.
    pub bytes_min: usize,
    /// Level of zstd, 1 to 9.
    pub level: u8,
}

impl Default for PackingConfig {
    fn default() -> Self {
        Self {
            // It packs some blocks a second at the least, and opens ten times as many.
            workers: 1,
            enabled: true,
            // Below, a few hundred bytes are saved: less than a packet.
            bytes_min: 4 << 10,
            // The higher ones save one part in a hundred more, and take twice the time and longer:
            // docs/decisions/2026-11-21-packing.md.
            level: 1,
        }
    }
}

impl PackingConfig {
    /// Bytes that the workers take at most, beside what is on the lanes.
    pub(crate) const fn memory_bytes(&self) -> usize {
        self.workers.saturating_mul(WORKER_BYTES).saturating_add(recent::BYTES_MAX)
    }
}

/// What the workers have done, and have to do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PackingCounts {
    /// Payloads packed, each once however many peers get it.
    pub packed: u64,
    /// Bytes of their plain frames.
    pub packed_plain_bytes: u64,
    /// Bytes of their envelopes.
    pub packed_bytes: u64,
    /// Payloads that packing would have saved too little of.
    pub incompressible: u64,
    /// Payloads that travel plain because the workers were behind, or because the lane had no room
    /// for an envelope beside them.
    pub left_plain: u64,
    /// Envelopes opened.
    pub opened: u64,
    /// Envelopes that did not hold what they said.
    pub bad_envelopes: u64,
    /// Level: jobs under way, and what waits behind them.
    pub jobs_waiting: u64,
}

/// An envelope on its way to the chain.
struct Opening {
    key: Key,
    ticket: Ticket,
    from: Source,
    packed: Payload,
    freshness: Freshness,
    /// Bytes that it holds on the lane.
    reserved: usize,
}

/// A command on its way to the loop.
struct PackJob {
    key: Key,
    ticket: Ticket,
    command: FromChain,
    reserved: usize,
}

enum Job {
    Open(Opening),
    Pack(PackJob),
}

/// An item that waits for its turn, and the bytes that it holds on its lane.
struct Standing<T> {
    item: T,
    reserved: usize,
}

#[derive(Default)]
struct State {
    opening: VecDeque<Opening>,
    packing: VecDeque<PackJob>,
    /// The directions take turns.
    opened_last: bool,
    to_chain: Lines<Standing<ToChain>>,
    from_chain: Lines<Standing<FromChain>>,
    /// For the loop: envelopes that did not hold what they said.
    bad: VecDeque<FromChain>,
    /// Workers that live.
    alive: usize,
    /// Nothing new begins.
    stopped: bool,
}

/// What became of a command that was to go to the loop.
pub(crate) enum WayIn {
    /// Nothing holds it up: store it on the lane.
    Free(FromChain),
    /// It comes later.
    Taken,
    /// The engine ends.
    Stopped(FromChain),
}

pub(crate) struct Workers {
    config: PackingConfig,
    network: Network,
    state: Monitor<State>,
    recent: Recent,
    /// Items in the lines to the chain, in those from it, and bad envelopes that were not told:
    /// counted up before and down after what they count is there.
    to_chain: AtomicU64,
    from_chain: AtomicU64,
    bad: AtomicU64,
    /// Plain bytes of what is packed or waits for it.
    backlog: Hint,
    openers: Openers,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    packed: Hint,
    packed_plain_bytes: Hint,
    packed_bytes: Hint,
    incompressible: Hint,
    left_plain: Hint,
    opened: Hint,
    bad_envelopes: Hint,
}

impl Workers {
    pub(crate) fn new(config: PackingConfig, network: Network) -> Self {
        Self {
            config,
            network,
            state: Monitor::default(),
            recent: Recent::default(),
            to_chain: AtomicU64::new(0),
            from_chain: AtomicU64::new(0),
            bad: AtomicU64::new(0),
            backlog: Hint::new(0),
            openers: Openers::new(),
            tally: Tally::default(),
        }
    }

    /// For the loop: this connection opens envelopes.
    pub(crate) fn note_opener(&self, conn: ConnId) {
        self.openers.note(conn);
    }

    /// For the loop: so many peers do.
    pub(crate) fn set_openers(&self, count: u64) {
        self.openers.set_count(count);
    }

    pub(crate) fn counts(&self) -> PackingCounts {
        let Tally {
            packed,
            packed_plain_bytes,
            packed_bytes,
            incompressible,
            left_plain,
            opened,
            bad_envelopes,
        } = &self.tally;
        let read = |count: &Hint| count.load(Ordering::Relaxed);
        PackingCounts {
            packed: read(packed),
            packed_plain_bytes: read(packed_plain_bytes),
            packed_bytes: read(packed_bytes),
            incompressible: read(incompressible),
            left_plain: read(left_plain),
            opened: read(opened),
            bad_envelopes: read(bad_envelopes),
            jobs_waiting: self.to_chain.load(Ordering::Relaxed)
                + self.from_chain.load(Ordering::Relaxed),
        }
    }

    /// For the loop: whether an event may be stored on the lane at once.
    pub(crate) fn passes(&self, event: &ToChain) -> bool {
        // Only the loop counts up: if this is nothing, all is on the lane.
        !is_packed(event) && self.to_chain.load(Ordering::Acquire) == 0
    }

    /// For the loop, which has reserved these events' bytes on the lane to the chain: takes those
    /// that are jobs or stand behind one, and stores the others with `store`. None of them, if the
    /// lock is held and is not to be waited for.
    pub(crate) fn on_way_out(
        &self,
        events: &mut VecDeque<ToChain>,
        waits: bool,
        mut store: impl FnMut(ToChain, usize),
    ) {
        let state = if waits { Some(self.state.lock()) } else { self.state.try_lock() };
        let Some(mut state) = state else { return };
        let mut jobs = 0;
        for event in events.drain(..) {
            let reserved = event.bytes();
            jobs += usize::from(is_packed(&event));
            if let Some(event) = self.take_in(&mut state, event, reserved) {
                store(event, reserved);
            }
        }
        drop(state);
        (0..jobs.min(self.config.workers)).for_each(|_| self.state.wake_one());
    }

    fn take_in(&self, state: &mut State, event: ToChain, reserved: usize) -> Option<ToChain> {
        let Some(key) = Key::of_event(&event) else { return Some(event) };
        match event {
            ToChain::Payload { from, payload: packed, freshness }
                if packed.kind() == Kind::Packed =>
            {
                self.to_chain.fetch_add(1, Ordering::Release);
                let ticket = state.to_chain.begin(key);
                state.opening.push_back(Opening { key, ticket, from, packed, freshness, reserved });
                None
            }
            event => {
                let stood = state.to_chain.stand(key, Standing { item: event, reserved });
                count_standing(&self.to_chain, stood)
            }
        }
    }

    /// For the chain, which has reserved so many bytes on the lane to the loop: those of the
    /// command, and if it is to be packed as many again.
    pub(crate) fn on_way_in(&self, command: FromChain, reserved: usize, packs: bool) -> WayIn {
        let command = if packs { command } else { with_id(command) };
        // Whoever is to come behind a job knows of it, and so of the count.
        if !packs && self.from_chain.load(Ordering::Acquire) == 0 {
            return WayIn::Free(command);
        }
        let Some(key) = Key::of_command(&command) else { return WayIn::Free(command) };
        let mut state = self.state.lock();
        if state.stopped {
            return WayIn::Stopped(command);
        }
        if packs {
            self.from_chain.fetch_add(1, Ordering::Release);
            self.backlog.fetch_add(command.bytes() as u64, Ordering::Relaxed);
            let ticket = state.from_chain.begin(key);
            state.packing.push_back(PackJob { key, ticket, command, reserved });
            drop(state);
            self.state.wake_one();
            return WayIn::Taken;
        }
        let stood = state.from_chain.stand(key, Standing { item: command, reserved });
        count_standing(&self.from_chain, stood).map_or(WayIn::Taken, WayIn::Free)
    }

    /// Whether the workers are behind: what could be packed travels plain then.
    pub(crate) fn are_behind(&self) -> bool {
        let backlog = self.backlog.load(Ordering::Relaxed);
        backlog >= (self.config.workers * BACKLOG_BYTES_MAX) as u64
    }

    /// For the chain: a payload that could have been packed goes as it is.
    pub(crate) fn count_left_plain(&self) {
        self.tally.left_plain.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the payload of this command is worth packing for who gets it.
    pub(crate) fn packs(&self, command: &FromChain) -> bool {
        let (payload, opens) = match command {
            FromChain::Deliver { to, payload } => (payload, Ok(*to)),
            FromChain::Publish(payload)
            | FromChain::Verdict { payload, verdict: Verdict::Accept, .. } => (payload, Err(())),
            _ => return false,
        };
        self.config.enabled
            && payload.frame().len() >= self.config.bytes_min + codec::FRAME_HEADER_BYTES
            && !payload.is_piece()
            && Envelope::may_hold(payload.kind())
            && payload.packed().is_none()
            && opens.map_or_else(|()| self.openers.is_any(), |to| self.openers.contains(to))
    }

    /// For the loop: a bad envelope that it has not heard of. Its place on the lane to the chain is
    /// to be given back then. None while the lock is held, too.
    pub(crate) fn take_bad(&self) -> Option<FromChain> {
        if !self.has_bad() {
            return None;
        }
        let told = self.state.try_lock()?.bad.pop_front()?;
        self.bad.fetch_sub(1, Ordering::Release);
        Some(told)
    }

    pub(crate) fn has_bad(&self) -> bool {
        self.bad.load(Ordering::Acquire) > 0
    }

    /// Begins nothing new, gives up what is to be packed, and waits for what is to be opened.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        let given_up = (std::mem::take(&mut state.packing), std::mem::take(&mut state.from_chain));
        self.from_chain.store(0, Ordering::Release);
        self.state.wake_all();
        while self.to_chain.load(Ordering::Acquire) > 0 && state.alive > 0 {
            state = self.state.wait(state);
        }
        drop(state);
        drop(given_up);
    }

    /// The next job, when there is one; `None` at the end.
    fn take(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            let opening_first = !state.opened_last || state.packing.is_empty();
            if opening_first && let Some(job) = state.opening.pop_front() {
                state.opened_last = true;
                return Some(Job::Open(job));
            }
            state.opened_last = false;
            if let Some(job) = state.packing.pop_front() {
                return Some(Job::Pack(job));
            }
            if state.stopped {
                return None;
            }
            state = self.state.wait(state);
        }
    }

    /// The payload as it is to travel: looked up, or packed now, or left plain.
    fn pack(&self, packer: &mut Packer, payload: Payload) -> Payload {
        match self.recent.look(&payload) {
            Known::Result(result) => result,
            Known::New(claim) => {
                let result = packer.pack(&self.network, payload);
                self.count_packing(&result);
                claim.settle(result.clone());
                result
            }
        }
    }

    fn count_packing(&self, result: &Payload) {
        let add = |count: &Hint, number: usize| count.fetch_add(number as u64, Ordering::Relaxed);
        match result.packed() {
            Some(packed) => {
                add(&self.tally.packed, 1);
                add(&self.tally.packed_plain_bytes, result.frame().len());
                add(&self.tally.packed_bytes, packed.frame().len());
            }
            None => {
                add(&self.tally.incompressible, 1);
            }
        }
    }

    /// The event with what its envelope holds, or what the loop is to hear.
    fn open(&self, opener: &mut Opener, job: &Opening) -> Result<ToChain, FromChain> {
        let Opening { from, packed, freshness, .. } = job;
        let opened = catch_unwind(AssertUnwindSafe(|| opener.open(&self.network, packed)));
        let (from, freshness) = (*from, *freshness);
        match opened {
            Ok(Ok(payload)) => {
                self.tally.opened.fetch_add(1, Ordering::Relaxed);
                return Ok(ToChain::Payload { from, payload, freshness });
            }
            Ok(Err(error)) => tracing::debug!(addr = %from.addr, %error, "a bad envelope"),
            Err(_) => tracing::error!(addr = %from.addr, "a worker panicked at an envelope"),
        }
        self.tally.bad_envelopes.fetch_add(1, Ordering::Relaxed);
        let (kind, id) = opening::promise(packed);
        Err(FromChain::BadEnvelope { from, kind, id })
    }
}

/// Whether a worker is to open what the event holds.
fn is_packed(event: &ToChain) -> bool {
    matches!(event, ToChain::Payload { payload, .. } if payload.kind() == Kind::Packed)
}

/// Under the lock: counts an item that stands in a line, or gives it back.
fn count_standing<T>(count: &AtomicU64, stood: Result<(), Standing<T>>) -> Option<T> {
    match stood {
        Ok(()) => {
            count.fetch_add(1, Ordering::Release);
            None
        }
        Err(standing) => Some(standing.item),
    }
}

/// The same with its id computed, if it is long and the loop will need one.
fn with_id(command: FromChain) -> FromChain {
    let long = |payload: &Payload| payload.frame().len() > ID_BYTES_MIN && !payload.is_piece();
    match command {
        FromChain::Publish(payload) if long(&payload) => FromChain::Publish(payload.with_id()),
        FromChain::Verdict { from, payload, verdict: verdict @ Verdict::Accept }
            if long(&payload) =>
        {
            FromChain::Verdict { from, payload: payload.with_id(), verdict }
        }
        command => command,
    }
}

/// The command with what is made of its payload.
fn with_payload(command: FromChain, make: impl FnOnce(Payload) -> Payload) -> FromChain {
    match command {
        FromChain::Deliver { to, payload } => FromChain::Deliver { to, payload: make(payload) },
        FromChain::Publish(payload) => FromChain::Publish(make(payload)),
        FromChain::Verdict { from, payload, verdict } => {
            FromChain::Verdict { from, payload: make(payload), verdict }
        }
        other => other,
    }
}

/// What the work makes of the command; the command itself, if the work panics.
fn or_plain(command: FromChain, work: impl FnOnce(FromChain) -> FromChain) -> FromChain {
    let plain = command.clone();
    catch_unwind(AssertUnwindSafe(|| work(command))).unwrap_or_else(|_| {
        tracing::error!("a worker panicked while packing");
        plain
    })
}

/// One worker, as a value: its thread calls [`run`](Self::run).
pub struct Worker {
    shared: Arc<Shared>,
    opener: Opener,
    packer: Packer,
}

impl Worker {
    pub(crate) fn new(shared: &Arc<Shared>) -> io::Result<Self> {
        let (opener, packer) = (Opener::new()?, Packer::new(shared.workers.config.level)?);
        shared.workers.state.lock().alive += 1;
        Ok(Self { shared: Arc::clone(shared), opener, packer })
    }

    /// Works until the engine ends.
    pub fn run(mut self) {
        #[cfg(not(loom))]
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "a worker keeps the priority of all");
        }
        while let Some(job) = self.shared.workers.take() {
            match job {
                Job::Open(job) => self.open(job),
                Job::Pack(job) => self.pack(job),
            }
        }
    }

    fn open(&mut self, job: Opening) {
        let opened = if self.shared.is_chain_gone() {
            None
        } else {
            Some(self.shared.workers.open(&mut self.opener, &job))
        };
        let Opening { key, ticket, reserved, .. } = job;
        self.shared.opened(key, ticket, reserved, opened);
    }

    fn pack(&mut self, job: PackJob) {
        let PackJob { key, ticket, command, reserved } = job;
        let plain = command.bytes();
        let Self { shared, packer, .. } = self;
        let pack = |payload| shared.workers.pack(packer, payload);
        let item = or_plain(command, |command| with_id(with_payload(command, pack)));
        shared.packed(key, ticket, plain, Standing { item, reserved });
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.finish(EngineEnd::Panicked("a worker's thread unwound".to_owned()));
        }
        self.shared.workers.state.lock().alive -= 1;
        self.shared.workers.state.wake_all();
    }
}

impl Shared {
    /// A job to the chain is done: what its line held up follows it. `None`: nobody wants it.
    fn opened(
        &self,
        key: Key,
        ticket: Ticket,
        reserved: usize,
        opened: Option<Result<ToChain, FromChain>>,
    ) {
        let mut state = self.workers.state.lock();
        let event = match opened {
            Some(Ok(event)) => Some(Standing { item: event, reserved }),
            Some(Err(bad)) => {
                // Its place is held until the loop has heard, so that these are bounded too.
                self.to_chain.give_back(0, reserved);
                state.bad.push_back(bad);
                self.workers.bad.fetch_add(1, Ordering::Release);
                None
            }
            None => {
                self.to_chain.give_back(1, reserved);
                None
            }
        };
        state.to_chain.done(key, ticket, event);
        let leave = |state: &mut State| match state.to_chain.leave(key)? {
            Some(Standing { reserved, .. }) if self.is_chain_gone() => {
                self.to_chain.give_back(1, reserved);
                Some(())
            }
            Some(Standing { item, reserved }) => {
                self.to_chain.commit(item, reserved);
                Some(())
            }
            None => Some(()),
        };
        state = self.let_leave(state, &self.workers.to_chain, leave);
        let stopped = state.stopped;
        drop(state);
        if stopped {
            self.workers.state.wake_all();
        }
        self.chain_waker.notify();
        self.made_room();
        if self.workers.has_bad() {
            self.loop_waker.notify();
        }
    }

    /// A job from the chain with so many plain bytes is done: what its line held up follows it.
    fn packed(&self, key: Key, ticket: Ticket, plain: usize, done: Standing<FromChain>) {
        let mut state = self.workers.state.lock();
        if state.stopped {
            return; // its line was given up
        }
        self.workers.backlog.fetch_sub(plain as u64, Ordering::Relaxed);
        state.from_chain.done(key, ticket, Some(done));
        let leave = |state: &mut State| {
            let Standing { item, reserved } = state.from_chain.leave(key)??;
            self.from_chain.commit(item, reserved);
            Some(())
        };
        drop(self.let_leave(state, &self.workers.from_chain, leave));
        self.loop_waker.notify();
    }

    /// Lets items leave until none may, some at a time under one hold of the lock.
    fn let_leave<'a>(
        &'a self,
        mut state: Guard<'a, State>,
        count: &AtomicU64,
        leave: impl Fn(&mut State) -> Option<()>,
    ) -> Guard<'a, State> {
        loop {
            let left = (0..LEAVING_MAX).map_while(|_| leave(&mut state)).count() as u64;
            count.fetch_sub(left, Ordering::Release);
            if left < LEAVING_MAX {
                return state;
            }
            drop(state);
            state = self.workers.state.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_panics_leaves_its_command_plain_and_the_payload_to_others() {
        let payload = Payload::seal(&Network::DEV, Kind::Block, &[0; 5_000]).unwrap();
        let recent = Recent::default();
        let work = |payload: Payload| match recent.look(&payload) {
            Known::New(_claim) => panic!("on purpose"),
            Known::Result(result) => result,
        };
        let command = FromChain::Publish(payload.clone());
        let left = or_plain(command.clone(), |command| with_payload(command, work));
        assert_eq!(left, command);
        assert!(matches!(recent.look(&payload), Known::New(_)), "nobody is at it");
    }
}
