//! A fleet: one child process full of clients.
//!
//! The child's main thread talks to the parent; each fleet thread has a runtime of its own and a
//! [`Crew`], the state that its clients share. Invariant: counts of a thread are written by that
//! thread alone; the main thread reads a copy that is refreshed as the thread runs.

pub(crate) mod attack;
mod broadcast;
mod churn;
mod client;
mod flood;
pub(crate) mod honest;
mod idle;
mod socket;

use std::cell::{Cell, RefCell};
use std::io::{BufRead, Write};
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use codec::{Kind, Network};
use hdrhistogram::Histogram;
use tokio::sync::{Semaphore, watch};

use crate::control::{Backend, Event, LATENCY_US_MAX, Order, Spec, Tally, Task, ThreadDone};
use crate::plan::{Plan, Sequencer};
use crate::talk::{self, Role};
use crate::wire::Inbox;
use client::Client;

/// Handshakes at once of one thread; well below a listen backlog.
const HANDSHAKES_AT_ONCE: usize = 128;

/// Most faults told in words by one thread.
const FAULTS_MAX: usize = 10;

/// How often a thread refreshes the counts that the parent is told.
const REFRESH: Duration = Duration::from_millis(50);

/// How far the fleet is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    Connect,
    Go,
    Stop,
}

/// What the clients of one fleet thread share.
struct Crew {
    spec: Spec,
    network: Network,
    thread: u16,
    /// The clients of this thread: this many from this number on.
    first_client: u32,
    connections: u32,
    plan: Plan,
    sequencer: RefCell<Sequencer>,
    tally: Cell<Tally>,
    latencies: RefCell<Histogram<u64>>,
    faults: RefCell<Vec<String>>,
    unwritten: RefCell<Vec<u64>>,
    /// Frames that the slowest and the fastest client of a flood wrote.
    client_frames: Cell<Option<(u64, u64)>>,
    cubic: Cell<bool>,
    nonce: Cell<u64>,
    phase: watch::Receiver<Phase>,
    /// Clients still at work after the stop.
    busy: Cell<u32>,
}

impl Crew {
    fn tally(&self, change: impl FnOnce(&mut Tally)) {
        let mut tally = self.tally.get();
        change(&mut tally);
        self.tally.set(tally);
    }

    fn latency(&self, ns: u64) {
        let us = (ns / 1_000).clamp(1, LATENCY_US_MAX);
        self.latencies.borrow_mut().saturating_record(us);
    }

    fn fault(&self, fault: String) {
        self.tally(|tally| tally.faults += 1);
        let mut faults = self.faults.borrow_mut();
        if faults.len() < FAULTS_MAX {
            faults.push(fault);
        }
    }

    /// A frame that is no answer: nothing is relayed here, except by an engine elsewhere, and then
    /// it must be a payload of the plan, or of others than this fleet.
    fn on_relayed(&self, kind: Kind, body: &[u8]) {
        if !self.spec.relays {
            return self.fault(format!("a {kind:?} of {} bytes for nothing", body.len()));
        }
        if self.plan.identify(body).is_some_and(|id| !self.plan.matches(id, kind, body)) {
            self.tally(|tally| tally.corrupted += 1);
            self.fault(format!("a relayed {kind:?} of {} bytes was altered", body.len()));
        }
    }

    /// A nonce that no two greetings share.
    fn nonce(&self) -> u64 {
        let nonce = self.nonce.get();
        self.nonce.set(nonce.wrapping_add(1));
        nonce
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the fleet is at least so far.
    async fn reach(&self, phase: Phase) {
        let mut watch = self.phase.clone();
        // The sender lives as long as the process.
        let _ = watch.wait_for(|now| *now >= phase).await;
    }

    fn done(&self) -> ThreadDone {
        ThreadDone {
            thread: self.thread,
            next: self.sequencer.borrow().next(),
            unwritten: self.unwritten.borrow().clone(),
            client_frames: self.client_frames.get(),
            latencies: self
                .latencies
                .borrow()
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect(),
            faults: self.faults.borrow().clone(),
            cubic: self.cubic.get(),
        }
    }
}

/// Spawns a task of this thread; both runtimes run a local set.
fn spawn(task: impl Future<Output = ()> + 'static) {
    drop(tokio::task::spawn_local(task));
}

/// What a thread tells the child's main thread.
enum Said {
    Ready,
    Done(ThreadDone),
}

/// The child process: reads its spec, runs its fleet, ends when its standard input closes.
pub(crate) fn run() -> Result<(), String> {
    crate::process::raise_descriptor_limit();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|error| error.to_string())?;
    let spec: Spec = serde_json::from_str(&line).map_err(|error| error.to_string())?;

    let (phase, watch) = watch::channel(Phase::Connect);
    let (said, hear) = mpsc::channel();
    let tallies: Vec<_> = (0..spec.threads).map(|_| Arc::new(Mutex::default())).collect();
    for (index, tally) in tallies.iter().enumerate() {
        let (spec, watch) = (spec.clone(), watch.clone());
        let (said, tally) = (said.clone(), Arc::clone(tally));
        std::thread::Builder::new()
            .name(format!("fleet-{index}"))
            .spawn(move || run_thread(spec, index as u16, watch, &said, tally))
            .map_err(|error| error.to_string())?;
    }
    std::thread::spawn(move || obey(&phase));

    let total = || {
        let mut sum = Tally::default();
        tallies.iter().for_each(|tally| sum.add(&tally.lock().expect("no thread panics with it")));
        sum
    };
    let mut ready = 0;
    let mut done = Vec::new();
    loop {
        match hear.recv_timeout(Duration::from_millis(250)) {
            Ok(Said::Ready) => {
                ready += 1;
                if ready == spec.threads {
                    tell(&Event::Ready(total()));
                }
            }
            Ok(Said::Done(thread)) => {
                done.push(thread);
                if done.len() == usize::from(spec.threads) {
                    tell(&Event::Done(total(), std::mem::take(&mut done)));
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => tell(&Event::Progress(total())),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err("all threads ended".into()),
        }
    }
}

/// A child process of `hostile`: it is told what it is, and ends when its standard input closes.
pub(crate) fn help() -> Result<(), String> {
    match talk::heard() {
        Some(Role::Honest { target, seed }) => honest::run(target, seed),
        Some(Role::Attackers { target }) => attack::run(target),
        None => Ok(()),
    }
}

/// Obeys the parent's orders; ends the process when there is no parent any more.
fn obey(phase: &watch::Sender<Phase>) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(Order::Go) => phase.send_replace(Phase::Go),
            Ok(Order::Stop) => phase.send_replace(Phase::Stop),
            Err(_) => break,
        };
    }
    std::process::exit(0);
}

fn tell(event: &Event) {
    let line = serde_json::to_string(event).expect("an event is plain data");
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

fn run_thread(
    spec: Spec,
    index: u16,
    phase: watch::Receiver<Phase>,
    said: &mpsc::Sender<Said>,
    shared: Arc<Mutex<Tally>>,
) {
    let threads = u32::from(spec.threads);
    let share = |n: u32| spec.connections * n / threads;
    let thread = spec.first_thread + index;
    let first = share(u32::from(index));
    let crew = Crew {
        network: spec.network.network(),
        thread,
        first_client: spec.first_client + first,
        connections: share(u32::from(index) + 1) - first,
        plan: Plan::new(spec.seed, spec.payload_bytes),
        sequencer: RefCell::new(Sequencer::new(
            spec.seed ^ u64::from(thread) << 32,
            spec.window,
            spec.slack,
            spec.old_age,
        )),
        tally: Cell::default(),
        latencies: RefCell::new(
            Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are constants"),
        ),
        faults: RefCell::default(),
        unwritten: RefCell::default(),
        client_frames: Cell::new(None),
        cubic: Cell::new(true),
        nonce: Cell::new(
            crate::clock::now_ns() ^ u64::from(std::process::id()) << 40 ^ u64::from(thread) << 32,
        ),
        phase,
        busy: Cell::new(0),
        spec,
    };
    let backend = crew.spec.backend;
    let work = work(Rc::new(crew), said, shared);
    match backend {
        Backend::TokioUring => run_on_ring(work),
        Backend::Tokio => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime needs an epoll descriptor");
            tokio::task::LocalSet::new().block_on(&runtime, work);
        }
    }
}

/// Cooperative task running and a single issuer; never deferred task running, with which
/// tokio-uring 0.5 hangs.
fn run_on_ring(work: impl Future<Output = ()>) {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun().setup_single_issuer().setup_cqsize(RING_COMPLETIONS);
    tokio_uring::builder().entries(RING_ENTRIES).uring_builder(&ring).start(work);
}

const RING_ENTRIES: u32 = 4_096;

/// Two completions for each of the clients that one process may hold.
const RING_COMPLETIONS: u32 = 32_768;

async fn work(crew: Rc<Crew>, said: &mpsc::Sender<Said>, shared: Arc<Mutex<Tally>>) {
    spawn(refresh(Rc::clone(&crew), Arc::clone(&shared)));
    let publish =
        |crew: &Crew| *shared.lock().expect("no thread panics with it") = crew.tally.get();
    match crew.spec.task {
        Task::Flood => flood::start(connect_all(&crew, flood::INBOX_BYTES).await, &crew),
        Task::Broadcast => {
            broadcast::start(connect_all(&crew, broadcast::INBOX_BYTES).await, &crew);
        }
        Task::Idle | Task::Probe => {
            let clients = connect_all(&crew, idle::INBOX_BYTES).await;
            let period = match crew.spec.task {
                Task::Probe => idle::PROBE_PERIOD,
                _ => idle::IDLE_PERIOD,
            };
            idle::start(clients, &crew, period);
        }
        Task::Churn => churn::start(&crew),
    }
    publish(&crew);
    // The parent may be gone; then this process is about to end.
    let _ = said.send(Said::Ready);
    crew.reach(Phase::Stop).await;
    while crew.busy.get() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    publish(&crew);
    let _ = said.send(Said::Done(crew.done()));
    std::future::pending::<()>().await;
}

async fn refresh(crew: Rc<Crew>, shared: Arc<Mutex<Tally>>) {
    loop {
        tokio::time::sleep(REFRESH).await;
        *shared.lock().expect("no thread panics with it") = crew.tally.get();
    }
}

/// Connects all clients of this thread, some at once; those that fail are counted as faults.
async fn connect_all(crew: &Rc<Crew>, inbox_bytes: usize) -> Vec<(Rc<Client>, Inbox)> {
    let clients = Rc::new(RefCell::new(Vec::new()));
    let places = Arc::new(Semaphore::new(HANDSHAKES_AT_ONCE));
    for number in crew.first_client..crew.first_client + crew.connections {
        let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
        let crew = Rc::clone(crew);
        let clients = Rc::clone(&clients);
        spawn(async move {
            let _place = place;
            let mut inbox = Inbox::new(inbox_bytes);
            match Client::connect(&crew, number, &mut inbox).await {
                Ok(client) => {
                    crew.tally(|tally| tally.connected += 1);
                    clients.borrow_mut().push((client, inbox));
                }
                Err(fault) => crew.fault(format!("client {number}: {fault}")),
            }
        });
    }
    let _all_back = places.acquire_many(HANDSHAKES_AT_ONCE as u32).await;
    clients.take()
}
