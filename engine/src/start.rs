//! Starting: what can be known to fail is checked before a thread or a file exists, and each
//! failure names its cure.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use bridge::store::{self, StoreConfig, StoreNotice};
use bridge::{ChainSide, EngineEnd, LoopSide};
use crossbeam_channel::{Receiver, Sender, bounded};
use peer::{Endpoint, Gossip};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::clock::Clock;
use crate::config::{CONNECTIONS_LIMIT, Config, DESCRIPTORS_RESERVED, RECORDING_BYTES_MIN};
use crate::event_loop::{Control, EventLoop, LoopConfig, PARKED_COPIES_BYTES_MAX, Recording};
use crate::handle::{CONTROL_MAX, Handle};
use crate::io::{Ring, RingConfig, RingError};

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// io_uring is absent, forbidden, or has not what it takes.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// An address cannot be listened on.
    #[error("cannot listen on {addr} ({source}): {}", cure(source))]
    Listen {
        /// Which address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no socket for datagrams.
    #[error(
        "cannot receive datagrams on {addr} ({source}): set `gossip.listen` to an address of this \
         machine that no other program uses for datagrams"
    )]
    Datagrams {
        /// Which address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Two listeners cannot have one address.
    #[error("`listen` has {0} twice: take one out")]
    ListenTwice(SocketAddr),
    /// A path of a directory, or none at all.
    #[error("store is {0:?}, and must be the path of a file: leave it out to keep nothing")]
    StorePath(PathBuf),
    /// What was to be recorded cannot be written.
    #[error(
        "cannot write the recording {path:?} ({source}): leave `recording.file` out, or change it"
    )]
    Recording {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The hard limit of descriptors is too low for the connections asked for.
    #[error(
        "{connections_max} connections need {needed} file descriptors, and the hard limit is \
         {limit}: raise it (`ulimit -Hn`, LimitNOFILE= of the service), or lower connections_max"
    )]
    Descriptors {
        /// Connections asked for.
        connections_max: u32,
        /// Descriptors that they need.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// The fixed pools sum up to more than they may.
    #[error(
        "the pools need {needed} bytes, and memory_bytes_max allows {max}: make the seen filter, \
         the inventory, the address book, the assembly, the buffers or the lanes smaller, or \
         allow more"
    )]
    Memory {
        /// What they need.
        needed: usize,
        /// What is allowed.
        max: usize,
    },
    /// A lane must take the largest frame of the network while it is half full.
    #[error(transparent)]
    Lanes(#[from] bridge::LaneError),
    /// A setting of the protocol's side that cannot be.
    #[error(transparent)]
    Config(#[from] peer::ConfigError),
    /// More connections than one ring can tell apart, or none.
    #[error("connections_max is {0}, and must be 1 to 16,777,214")]
    Connections(u32),
    /// The system gave no randomness.
    #[error("no randomness from the system: {0}")]
    Random(getrandom::Error),
    /// No thread for the engine, or no descriptor for the bridge.
    #[error("the system has no thread or no descriptor for the engine: {0}")]
    System(#[from] io::Error),
    /// The thread ended before it was ready.
    #[error("the engine ended while starting: {0}")]
    Ended(EngineEnd),
}

/// What a loop that listens has to tell.
struct Ready {
    local_addrs: Box<[SocketAddr]>,
    gossip_addr: Option<SocketAddr>,
    store_notices: Box<[StoreNotice]>,
}

pub(crate) type Started = (Handle, JoinHandle<EngineEnd>, ChainSide);

/// Starts the engine's thread and waits until it listens.
pub(crate) fn start(config: Config) -> Result<Started, StartError> {
    check(&config)?;
    raise_descriptor_limit(config.connections_max)?;
    let (loop_side, chain) = bridge::open(config.lanes, &config.peer.network)?;
    let (control, commands) = bounded(CONTROL_MAX);
    let (waker, counters) = (loop_side.waker(), loop_side.counters().clone());
    let (ready, started) = bounded(1);
    let gossip = config.peer.gossip;
    let ended = Arc::new(OnceLock::new());
    let end = Arc::clone(&ended);
    let thread = bridge::spawn("molva-engine", move || {
        end.get_or_init(|| live(config, loop_side, commands, &ready)).clone()
    })?;
    match started.recv() {
        Ok(Ok(Ready { local_addrs, gossip_addr, store_notices })) => {
            let handle = Handle {
                control,
                waker,
                counters,
                local_addrs,
                store_notices,
                gossip,
                gossip_addr,
                ended,
            };
            Ok((handle, thread, chain))
        }
        Ok(Err(error)) => {
            drop(thread.join());
            Err(error)
        }
        Err(_) => Err(StartError::Ended(
            thread.join().unwrap_or_else(|_| EngineEnd::Panicked("while starting".to_owned())),
        )),
    }
}

/// What can be said about a failure to listen.
fn cure(source: &io::Error) -> &'static str {
    match (source.kind(), source.raw_os_error()) {
        (io::ErrorKind::AddrInUse, _) => {
            "another program listens there: end it, or change the port in `listen`"
        }
        (io::ErrorKind::AddrNotAvailable, _) => {
            "no interface of this machine has this address: take it out of `listen`"
        }
        (io::ErrorKind::PermissionDenied, _) => {
            "ports below 1024 are for the privileged: change the port in `listen`, or give the \
             program CAP_NET_BIND_SERVICE"
        }
        (_, Some(libc::EAFNOSUPPORT)) => {
            "this system does without addresses of this family: take it out of `listen`"
        }
        (_, Some(libc::EMFILE | libc::ENFILE)) => "raise the nofile limit (`ulimit -n`)",
        _ => "take it out of `listen`, or change it",
    }
}

/// Everything that can be known before anything is made. Changes nothing.
fn check(config: &Config) -> Result<(), StartError> {
    let connections_max = config.connections_max;
    if connections_max == 0 || connections_max >= CONNECTIONS_LIMIT {
        return Err(StartError::Connections(connections_max));
    }
    config.peer.check()?;
    config.lanes.check(config.peer.network.limits.frame_bytes_max())?;
    config.buffers.check()?;
    let (needed, max) = (config.memory_bytes(), config.memory_bytes_max);
    if needed > max {
        return Err(StartError::Memory { needed, max });
    }
    let mut listeners = config.listen.iter().enumerate();
    let twice = listeners.find(|(n, addr)| addr.port() != 0 && config.listen[..*n].contains(addr));
    if let Some((_, addr)) = twice {
        return Err(StartError::ListenTwice(*addr));
    }
    match &config.store {
        Some(path) if path.file_name().is_none() || path.is_dir() => {
            Err(StartError::StorePath(path.clone()))
        }
        _ => Ok(()),
    }
}

/// Raises the soft limit to the hard one, and says when that is not enough.
fn raise_descriptor_limit(connections_max: u32) -> Result<(), StartError> {
    let limits = getrlimit(Resource::Nofile);
    let Some(limit) = limits.maximum else { return Ok(()) };
    let needed = u64::from(connections_max) + DESCRIPTORS_RESERVED;
    if limit < needed {
        return Err(StartError::Descriptors { connections_max, needed, limit });
    }
    if limits.current.is_some_and(|current| current < limit) {
        let raised = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(Resource::Nofile, raised).map_err(io::Error::from)?;
    }
    Ok(())
}

/// The life of the engine's thread. A panic of it reaches the chain as an error.
fn live(
    config: Config,
    loop_side: LoopSide,
    commands: Receiver<Control>,
    ready: &Sender<Result<Ready, StartError>>,
) -> EngineEnd {
    let clock = Clock::start();
    let (event_loop, told) = match build(config, &clock, loop_side, commands) {
        Ok(built) => built,
        Err(error) => {
            drop(ready.send(Err(error)));
            return EngineEnd::Stopped;
        }
    };
    if ready.send(Ok(told)).is_err() {
        event_loop.end(&clock, EngineEnd::Stopped);
        return EngineEnd::Stopped;
    }
    run_to_end(event_loop, &clock)
}

/// Runs the loop, and tells the chain how it ended.
pub(crate) fn run_to_end(mut event_loop: EventLoop, clock: &Clock) -> EngineEnd {
    let end = match catch_unwind(AssertUnwindSafe(|| event_loop.run(clock))) {
        Ok(Ok(())) => EngineEnd::Stopped,
        Ok(Err(error)) => EngineEnd::Failed(error.to_string()),
        Err(panic) => EngineEnd::Panicked(message_of(panic.as_ref())),
    };
    tracing::info!(%end, "engine ends");
    event_loop.end(clock, end.clone());
    end
}

fn build(
    mut config: Config,
    clock: &Clock,
    loop_side: LoopSide,
    commands: Receiver<Control>,
) -> Result<(EventLoop, Ready), StartError> {
    config.peer.started = clock.started();
    let inbound = config.inbound_max();
    if inbound < config.peer.slots.inbound {
        tracing::info!(inbound, wanted = config.peer.slots.inbound, "too few connections for all");
    }
    config.peer.slots.greeting = config.greeting_max();
    config.peer.slots.dials = config.dials_max();
    config.peer.slots.inbound = inbound;
    let loop_config = LoopConfig {
        connections_max: config.connections_max,
        download: config.peer.rates.download,
        port: config.peer.network.port,
        started: clock.started(),
        small_bytes: config.buffers.small_bytes as usize,
        parked_copies_max: PARKED_COPIES_BYTES_MAX,
    };
    tracing::info!(pools = config.memory_bytes(), most = config.memory_bytes_max, "memory");
    let ring = Ring::new(RingConfig {
        connections_max: config.connections_max,
        buffers: config.buffers,
        congestion_control: config.congestion_control.clone(),
        wake: loop_side.wake_fd().try_clone_to_owned()?,
        chain: loop_side.chain_fd().try_clone_to_owned()?,
    })?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(StartError::Random)?;
    let datagrams = (config.peer.gossip == Gossip::Datagrams)
        .then_some((config.gossip_listen, config.peer.advertised));
    let recording = recording(&config)?;
    let endpoint = match recording {
        Some(_) => Endpoint::recorded(config.peer, seed, config.recording_bytes_max),
        None => Endpoint::new(config.peer, seed),
    };
    let (store, restored, notices) =
        store::open(StoreConfig { path: config.store, now: clock.started() });
    for notice in &notices {
        tracing::warn!("{notice}");
    }
    let mut event_loop =
        EventLoop::new(Box::new(ring), endpoint, loop_side, commands, store, loop_config);
    if let Some(recording) = recording {
        event_loop.record(recording);
    }
    event_loop.restore(restored);
    match bind(&mut event_loop, &config.listen, datagrams) {
        Ok((addrs, gossip_addr)) => {
            let (local_addrs, store_notices) = (addrs.into(), notices.into());
            Ok((event_loop, Ready { local_addrs, gossip_addr, store_notices }))
        }
        Err(error) => {
            // Waits for the store, so that whoever tries again finds it free.
            event_loop.end(clock, EngineEnd::Stopped);
            Err(error)
        }
    }
}

/// Begins the recording, if there is to be one.
fn recording(config: &Config) -> Result<Option<Recording>, StartError> {
    let refused = |told: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, told));
    let Some(path) = &config.recording else { return Ok(None) };
    let made = if config.store.as_ref() == Some(path) {
        refused("it is the store")
    } else if config.recording_bytes_max < RECORDING_BYTES_MIN {
        refused("recording.bytes_max is below 65,536, which the settings alone may take")
    } else {
        Recording::create(path)
    };
    made.map(Some).map_err(|source| StartError::Recording { path: path.clone(), source })
}

/// Opens all sockets that others come to, that of datagrams where it is to be, or else where we are
/// advertised; the answers have the ports that port 0 became.
fn bind(
    event_loop: &mut EventLoop,
    listen: &[SocketAddr],
    datagrams: Option<(Option<SocketAddr>, SocketAddr)>,
) -> Result<(Vec<SocketAddr>, Option<SocketAddr>), StartError> {
    let mut addrs = Vec::with_capacity(listen.len());
    for addr in listen.iter().copied() {
        let bound =
            event_loop.listen(addr).map_err(|source| StartError::Listen { addr, source })?;
        tracing::info!(addr = %bound, "listening");
        addrs.push(bound);
    }
    let Some((wanted, mut advertised)) = datagrams else { return Ok((addrs, None)) };
    if let (0, Some(first)) = (advertised.port(), addrs.first()) {
        advertised.set_port(first.port());
    }
    let addr = wanted.unwrap_or(advertised);
    let bound =
        event_loop.bind_datagrams(addr).map_err(|source| StartError::Datagrams { addr, source })?;
    tracing::info!(addr = %bound, "datagrams");
    Ok((addrs, Some(bound)))
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
