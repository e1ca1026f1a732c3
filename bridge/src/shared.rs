//! What both sides hold: the lanes, the wakers, and how either side ended.

use std::io;
use std::sync::OnceLock;

use codec::{Limits, Network};
use peer::{EVENTS_RESERVED, FromChain, ToChain};

use crate::chain_side::ChainSide;
use crate::counters::Counters;
use crate::lane::{BYTES_LIMIT, ITEMS_LIMIT, Lane, Room};
use crate::loop_side::LoopSide;
use crate::sync::{Arc, AtomicBool, Ordering, fence};
use crate::waker::Waker;
use crate::workers::{LEVEL_MAX, PackingConfig, WORKERS_MAX, WayIn, Worker, Workers};

/// Largest frame of mainnet and testnet, in bytes, that of an envelope: 10,784,305.
const FRAME_BYTES_MAX: usize = Limits::MAINNET.frame_bytes_max() as usize;

/// Largest frames that the smallest byte bound of a lane takes: half of it takes one, because a
/// loop that waits for room is woken when half of the lane is free, and must then get on.
const LANE_FRAMES_MIN: usize = 2;

/// Smallest item bound of a lane, for the same reason.
const LANE_ITEMS_MIN: usize = 2;

/// Largest item bound of a lane: the lane to the chain keeps [`EVENTS_RESERVED`] places beside it,
/// for events that the core makes without a credit.
const LANE_ITEMS_MAX: usize = ITEMS_LIMIT - EVENTS_RESERVED;

/// Bounds of the lanes, and what is done on the way.
///
/// The places of the items are reserved at once, at most 104 bytes for each: 8 MB by default. An
/// item weighs its payload bytes; what it takes beside them is small (150 bytes for a payload, 640
/// for the longest request) and bounded with the items. On the lane from the chain, a payload's
/// envelope weighs too. On the lane to it, it does not: always shorter than the payload, envelopes
/// may take as many bytes again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Events on the lane to the chain, 2 to 16,777,215 less [`EVENTS_RESERVED`]: so many places
    /// more are kept for events that wait for no room.
    pub to_chain_items: usize,
    /// Payload bytes on the lane to the chain, from 21,568,610 (twice the largest frame of mainnet)
    /// to 2^40 - 1. A network with larger frames needs at least twice its largest.
    pub to_chain_bytes: usize,
    /// Commands on the lane from the chain, within the same limits.
    pub from_chain_items: usize,
    /// Payload bytes on the lane from the chain; same limits as on the lane to it.
    pub from_chain_bytes: usize,
    /// Who packs payloads on the way, and which.
    pub packing: PackingConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // A quarter of a second at 250,000 new payloads a second: what a chain thread may be
            // away (a commit, a page fault, its time slice) before peers feel it.
            to_chain_items: 65_536,
            // Six largest frames, or 1 KiB for each item. Beyond it, bytes wait better in the
            // sockets of their senders, where TCP slows them.
            to_chain_bytes: 64 << 20,
            // Guess: some turns of the loop, which takes a bounded number in each. A command may
            // fan out to every connection, so a longer lane is only older news.
            from_chain_items: 8_192,
            // As the other way: what was received may be handed back to be relayed.
            from_chain_bytes: 64 << 20,
            packing: PackingConfig::default(),
        }
    }
}

/// A setting that cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name} is {value}, and must be {min} to {max}")]
pub struct LaneError {
    /// The setting.
    pub name: &'static str,
    /// What was given.
    pub value: usize,
    /// The least that it may be.
    pub min: usize,
    /// The most that it may be.
    pub max: usize,
}

impl Config {
    /// Whether lanes can be made of this for a network whose largest frame has so many bytes.
    ///
    /// # Errors
    ///
    /// [`LaneError`], which names the setting.
    pub fn check(&self, frame_bytes_max: u64) -> Result<(), LaneError> {
        let frame = usize::try_from(frame_bytes_max).unwrap_or(usize::MAX);
        let bytes_min = frame.max(FRAME_BYTES_MAX).saturating_mul(LANE_FRAMES_MIN);
        let (items, bytes) = ((LANE_ITEMS_MIN, LANE_ITEMS_MAX), (bytes_min, BYTES_LIMIT));
        let PackingConfig { workers, enabled: _, bytes_min, level } = self.packing;
        let bounds = [
            ("lanes.to_chain_items", self.to_chain_items, items),
            ("lanes.to_chain_bytes", self.to_chain_bytes, bytes),
            ("lanes.from_chain_items", self.from_chain_items, items),
            ("lanes.from_chain_bytes", self.from_chain_bytes, bytes),
            ("packing.workers", workers, (1, WORKERS_MAX)),
            ("packing.bytes_min", bytes_min, (1, BYTES_LIMIT)),
            ("packing.level", level.into(), (1, LEVEL_MAX.into())),
        ];
        for (name, value, (min, max)) in bounds {
            if !(min..=max).contains(&value) {
                return Err(LaneError { name, value, min, max });
            }
        }
        Ok(())
    }

    /// Bytes that both lanes take at most, their places and the payloads in them with their
    /// envelopes, and the workers beside them.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        let items = self.to_chain_items.saturating_add(self.from_chain_items);
        let places = items.saturating_add(EVENTS_RESERVED).saturating_mul(PLACE_BYTES);
        let envelopes = self.to_chain_bytes;
        let payloads = self.to_chain_bytes.saturating_add(self.from_chain_bytes);
        let lanes = places.saturating_add(payloads).saturating_add(envelopes);
        lanes.saturating_add(self.packing.memory_bytes())
    }

    /// Of the lane to the chain, and of the lane from it.
    const fn bounds(&self) -> [Room; 2] {
        [
            Room { items: self.to_chain_items, bytes: self.to_chain_bytes },
            Room { items: self.from_chain_items, bytes: self.from_chain_bytes },
        ]
    }
}

/// What a place of a lane takes: the item, and the word that says whether it is there.
const PLACE_BYTES: usize = 104;

const _: () = assert!(size_of::<ToChain>() <= 96 && size_of::<FromChain>() <= 96);

/// Makes the two sides for this network, and starts the workers between them.
///
/// # Errors
///
/// `InvalidInput` with a [`LaneError`] if a setting is out of its limits; else what the system says
/// when it has no eventfd (two are made), no thread or no memory to give.
#[cfg(not(loom))]
pub fn open(config: Config, network: &Network) -> io::Result<(LoopSide, ChainSide)> {
    let (mut loop_side, chain_side, workers) = open_with(config, network)?;
    for worker in workers {
        // The sides are dropped if there is no thread for one of them, and end the others.
        loop_side.joins(crate::thread::spawn("molva-worker", move || worker.run())?);
    }
    Ok((loop_side, chain_side))
}

/// Makes the two sides, and the workers for whoever runs them: a model checker does.
pub fn open_with(
    config: Config,
    network: &Network,
) -> io::Result<(LoopSide, ChainSide, Vec<Worker>)> {
    config
        .check(network.limits.frame_bytes_max())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let [to_chain, from_chain] = config.bounds();
    let shared = Arc::new(Shared {
        to_chain: Lane::new(to_chain, EVENTS_RESERVED),
        from_chain: Lane::new(from_chain, 0),
        loop_waker: Waker::new()?,
        chain_waker: Waker::new()?,
        loop_starved: AtomicBool::new(false),
        chain_gone: AtomicBool::new(false),
        ended: AtomicBool::new(false),
        end: OnceLock::new(),
        counters: Counters::default(),
        workers: Workers::new(config.packing, network.clone()),
    });
    let workers = (0..config.packing.workers).map(|_| Worker::new(&shared));
    let workers = workers.collect::<io::Result<_>>()?;
    Ok((LoopSide::new(Arc::clone(&shared)), ChainSide::new(shared), workers))
}

/// How the engine ended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EngineEnd {
    /// It was asked to.
    #[error("the engine has stopped")]
    Stopped,
    /// The ring failed it, with this message: nothing that a peer or the chain did.
    #[error("the engine failed: {0}")]
    Failed(String),
    /// Its thread panicked, with this message.
    #[error("the engine panicked: {0}")]
    Panicked(String),
}

/// Why a command was not handed over; the command comes back.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// The lane has no room now. Keep it, drop it, or try again after the next event.
    #[error("the lane to the engine is full")]
    Full(FromChain),
    /// The engine has ended.
    #[error("the engine has ended")]
    Gone(FromChain),
}

pub(crate) struct Shared {
    pub(crate) to_chain: Lane<ToChain>,
    pub(crate) from_chain: Lane<FromChain>,
    /// Wakes the loop.
    pub(crate) loop_waker: Waker,
    /// Wakes the chain. The loop writes it through its ring.
    pub(crate) chain_waker: Waker,
    /// The sleeping loop waits for room on the lane to the chain, too.
    pub(crate) loop_starved: AtomicBool,
    /// Nobody will take events any more.
    pub(crate) chain_gone: AtomicBool,
    /// Nobody will push events or take commands any more; `end` says how it came.
    ended: AtomicBool,
    end: OnceLock<EngineEnd>,
    pub(crate) counters: Counters,
    pub(crate) workers: Workers,
}

impl Shared {
    /// A command for the loop, from any thread.
    pub(crate) fn send(&self, command: FromChain) -> Result<(), SendError> {
        if self.ended.load(Ordering::Relaxed) {
            return Err(SendError::Gone(command));
        }
        let worth = self.workers.packs(&command);
        let bytes = command.bytes();
        // An envelope is shorter than the payload that it stands beside.
        let packs = worth && !self.workers.are_behind() && self.from_chain.reserve(2 * bytes);
        if !packs && !self.from_chain.reserve(bytes) {
            return Err(SendError::Full(command));
        }
        if worth && !packs {
            self.workers.count_left_plain();
        }
        let bytes = if packs { 2 * bytes } else { bytes };
        match self.workers.on_way_in(command, bytes, packs) {
            WayIn::Free(command) => {
                self.from_chain.commit(command, bytes);
                self.loop_waker.notify();
                Ok(())
            }
            WayIn::Taken => Ok(()),
            WayIn::Stopped(command) => {
                self.from_chain.give_back(1, bytes);
                Err(SendError::Gone(command))
            }
        }
    }

    /// Nobody will take events any more.
    pub(crate) fn is_chain_gone(&self) -> bool {
        self.chain_gone.load(Ordering::Acquire)
    }

    /// The chain took events: wakes a loop that waits for room once half of it is there.
    pub(crate) fn made_room(&self) {
        fence(Ordering::SeqCst); // pairs with the one in the loop's announcement
        if self.loop_starved.load(Ordering::Relaxed) && self.to_chain.is_half_free() {
            self.loop_waker.notify();
        }
    }

    /// The engine ended. The first word stands.
    pub(crate) fn finish(&self, end: EngineEnd) {
        if self.end.set(end).is_err() {
            return;
        }
        self.ended.store(true, Ordering::Release);
        // Asked or not: a wake that was given to the ring may never have reached the kernel.
        self.chain_waker.force();
        while self.from_chain.pop().is_some() {}
    }

    /// How the engine ended, if it has. All that it pushed is on the lane then.
    pub(crate) fn end(&self) -> Option<&EngineEnd> {
        if self.ended.load(Ordering::Acquire) { self.end.get() } else { None }
    }
}
