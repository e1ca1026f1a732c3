//! Starting: what can be known to fail is checked first, and each failure names its cure.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use bridge::{ChainSide, EngineEnd, LoopSide};
use crossbeam_channel::{Receiver, Sender, bounded};
use peer::Endpoint;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::clock::Clock;
use crate::config::{CONNECTIONS_LIMIT, Config, DESCRIPTORS_RESERVED};
use crate::event_loop::{Control, EventLoop, LoopLimits, PARKED_COPIES_BYTES_MAX};
use crate::handle::{CONTROL_MAX, Handle};
use crate::io::{Io, Ring, RingConfig, RingError};

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// io_uring is absent, forbidden, or has not what it takes.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// An address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// Which address.
        addr: SocketAddr,
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
         the inventory, the buffers or the lanes smaller, or allow more"
    )]
    Memory {
        /// What they need.
        needed: usize,
        /// What is allowed.
        max: usize,
    },
    /// A lane must take the largest frame of the network while it is half full.
    #[error("the lanes of this network need {needed} bytes each, at least")]
    Lanes {
        /// Bytes that each needs.
        needed: usize,
    },
    /// A setting of the protocol's side that cannot be.
    #[error(transparent)]
    Config(#[from] peer::ConfigError),
    /// More connections than one ring can tell apart, or none.
    #[error("connections_max is {0}, and must be 1 to 16,777,214")]
    Connections(u32),
    /// The system gave no randomness.
    #[error("no randomness from the system: {0}")]
    Random(getrandom::Error),
    /// No thread or no descriptor for the bridge.
    #[error("cannot start the engine's thread: {0}")]
    System(#[from] io::Error),
    /// The thread ended before it was ready.
    #[error("the engine ended while starting: {0}")]
    Ended(EngineEnd),
}

pub(crate) type Started = (Handle, JoinHandle<EngineEnd>, ChainSide);

/// Starts the engine's thread and waits until it listens.
pub(crate) fn start(config: Config) -> Result<Started, StartError> {
    check(&config)?;
    let (loop_side, chain) = bridge::open(config.lanes)?;
    let (control, commands) = bounded(CONTROL_MAX);
    let (waker, counters) = (loop_side.waker(), loop_side.counters().clone());
    let (ready, started) = bounded(1);
    let ended = Arc::new(OnceLock::new());
    let end = Arc::clone(&ended);
    let thread = bridge::spawn("molva-engine", move || {
        end.get_or_init(|| live(config, loop_side, commands, &ready)).clone()
    })?;
    match started.recv() {
        Ok(Ok(local_addrs)) => {
            Ok((Handle { control, waker, counters, local_addrs, ended }, thread, chain))
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

fn check(config: &Config) -> Result<(), StartError> {
    let connections_max = config.connections_max;
    if connections_max == 0 || connections_max >= CONNECTIONS_LIMIT {
        return Err(StartError::Connections(connections_max));
    }
    config.peer.check()?;
    let needed = 2 * config.peer.network.limits.frame_bytes_max() as usize;
    let lanes = [config.lanes.to_chain_bytes, config.lanes.from_chain_bytes];
    if lanes.iter().any(|bytes| *bytes < needed) {
        return Err(StartError::Lanes { needed });
    }
    raise_descriptor_limit(connections_max)
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
    ready: &Sender<Result<Box<[SocketAddr]>, StartError>>,
) -> EngineEnd {
    let clock = Clock::start();
    let (event_loop, addrs) = match build(config, loop_side, commands) {
        Ok(built) => built,
        Err(error) => {
            drop(ready.send(Err(error)));
            return EngineEnd::Stopped;
        }
    };
    if ready.send(Ok(addrs)).is_err() {
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
    event_loop.into_bridge().end(end.clone());
    end
}

fn build(
    config: Config,
    loop_side: LoopSide,
    commands: Receiver<Control>,
) -> Result<(EventLoop, Box<[SocketAddr]>), StartError> {
    let limits = LoopLimits {
        connections_max: config.connections_max,
        small_bytes: config.buffers.small_bytes as usize,
        parked_copies_max: PARKED_COPIES_BYTES_MAX,
    };
    let lanes = config.lanes.to_chain_bytes + config.lanes.from_chain_bytes;
    let pools = lanes + config.peer.assembly_bytes_max;
    let ring = Ring::new(RingConfig {
        connections_max: config.connections_max,
        buffers: config.buffers,
        congestion_control: config.congestion_control,
        wake: loop_side.wake_fd().try_clone_to_owned()?,
        chain: loop_side.chain_fd().try_clone_to_owned()?,
    })?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(StartError::Random)?;
    let endpoint = Endpoint::new(config.peer, seed);
    let needed = pools + endpoint.memory_bytes() + ring.pool_bytes();
    let max = config.memory_bytes_max;
    if needed > max {
        return Err(StartError::Memory { needed, max });
    }
    tracing::info!(pools = needed, most = max, "memory");
    let mut event_loop = EventLoop::new(Box::new(ring), endpoint, loop_side, commands, limits);
    let mut addrs = Vec::with_capacity(config.listen.len());
    for addr in config.listen {
        let bound =
            event_loop.listen(addr).map_err(|source| StartError::Listen { addr, source })?;
        tracing::info!(addr = %bound, "listening");
        addrs.push(bound);
    }
    Ok((event_loop, addrs.into()))
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
