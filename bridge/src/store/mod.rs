//! What outlives the process: addresses, bans, anchors and the book's secret, in a SQLite file.
//!
//! The engine calls [`open`] once, before its loop starts: it gets what an earlier process had
//! kept and a [`Store`], the loop's end of a bounded lane to a thread of the store's own. Once a
//! turn the loop pushes the changes that the core has noted, as many as [`Store::room`] says.
//!
//! Invariants. The loop never waits for the disk. No file, however broken, and no disk, however
//! full, keeps the engine from starting or running: it then runs from memory, and says so. Half a
//! second at most lies between a change taken off the lane and its transaction; a process killed
//! at any instant loses the changes of that time and those that [`StoreStatus::lag`] counts, and
//! never the file. A power cut may take a little more, as SQLite's `synchronous = NORMAL` allows,
//! and never the file either.
//!
//! The schema, and questions to ask it, are in `docs/store.md`.

mod file;
mod notice;
mod pending;
mod schema;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use peer::{Change, Restored, UnixTime};

pub use self::notice::{MemoryReason, Skipped, StoreNotice, Unfit};
use self::writer::Writer;

/// Changes on the lane to the store's thread, 430 kB. What comes while a transaction of a tenth of
/// a second is under way, at 40,000 changes a second; beyond it, changes wait in the core, where
/// they are coalesced.
pub const LANE_CHANGES_MAX: usize = 4_096;

/// Where the store is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StoreConfig {
    /// The file, in a directory that exists; `-wal`, `-shm` and `.lock` files lie beside it. None:
    /// nothing is kept.
    pub path: Option<PathBuf>,
    /// The wall clock now: names a file that is set aside.
    pub now: UnixTime,
}

/// Where changes go to at present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Into the file.
    Disk,
    /// Nowhere that outlives the process; if there is hope for the file, their latest state is
    /// kept for it, and it is tried again at least every 30 s.
    Memory(MemoryReason),
}

/// How the store is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreStatus {
    /// Where changes go to.
    pub place: Place,
    /// Changes accepted for the file and not yet in it.
    pub lag: u64,
    /// Changes that are in the file, they or later ones of the same record.
    pub committed: u64,
    /// Changes that will never be: beyond what memory takes while the file cannot be written.
    pub lost: u64,
}

/// The loop's end of the store. Dropped, it lets the store's thread write what it has and end by
/// itself; [`Store::close`] waits for that.
pub struct Store {
    /// None: there is nobody to write.
    lane: Option<Sender<Change>>,
    shared: Arc<Shared>,
    /// Disconnected when the store's thread has closed the file.
    closed: Receiver<()>,
    accepted: u64,
    /// Changes that found the store's thread gone.
    unheard: u64,
}

/// What the store's thread tells.
struct Shared {
    committed: AtomicU64,
    lost: AtomicU64,
    /// [`Place::code`].
    place: AtomicU8,
}

/// Opens the store, and reads what an earlier process had kept. Waits for the disk, and no longer
/// than a quarter of a second for whoever else has the file open.
///
/// It never fails: the notices tell of a file that was set aside, of records that could not be
/// read, and why there is no file. Without a file, `Restored` is empty, unless the file could be
/// read and not written.
#[must_use]
pub fn open(config: StoreConfig) -> (Store, Restored, Vec<StoreNotice>) {
    let Some(path) = config.path else {
        return (Store::without_thread(MemoryReason::NoPath), Restored::default(), Vec::new());
    };
    let (lane, changes) = bounded(LANE_CHANGES_MAX);
    let (writer, restored, mut notices) = Writer::open(path.clone(), config.now, changes);
    let shared = Arc::clone(writer.shared());
    let (closing, closed) = bounded(0);
    let thread = crate::spawn("molva-store", move || {
        writer.run();
        drop(closing);
    });
    // Not joined: it ends when the lane does, and `closed` tells.
    if let Err(error) = thread {
        let (reason, detail) = (MemoryReason::NoThread, error.to_string());
        notices.push(StoreNotice::InMemory { path, reason, detail });
        return (Store::without_thread(reason), restored, notices);
    }
    let store = Store { lane: Some(lane), shared, closed, accepted: 0, unheard: 0 };
    (store, restored, notices)
}

impl Store {
    fn without_thread(reason: MemoryReason) -> Self {
        let shared = Arc::new(Shared::new(Place::Memory(reason)));
        Self { lane: None, shared, closed: bounded(0).1, accepted: 0, unheard: 0 }
    }

    /// How many changes it takes now. Only [`Store::push`] makes it less.
    #[must_use]
    pub fn room(&self) -> usize {
        self.lane.as_ref().map_or(LANE_CHANGES_MAX, |lane| LANE_CHANGES_MAX - lane.len())
    }

    /// Takes all `changes`, in their order, and leaves the vector empty. Never waits.
    ///
    /// # Panics
    ///
    /// If there are more than [`Store::room`] had said.
    pub fn push(&mut self, changes: &mut Vec<Change>) {
        assert!(changes.len() <= self.room(), "more changes than the store has room for");
        let Some(lane) = &self.lane else { return changes.clear() };
        self.accepted += changes.len() as u64;
        // With room, a change comes back only when the store's thread is no more.
        let refused = changes.drain(..).filter_map(|change| lane.try_send(change).err()).count();
        if refused > 0 {
            self.unheard += refused as u64;
            self.lane = None;
            self.shared.set_place(Place::Memory(MemoryReason::NoThread));
        }
    }

    /// How it is doing. Takes no lock.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let committed = self.shared.committed.load(Ordering::Acquire);
        let lost = self.shared.lost.load(Ordering::Acquire) + self.unheard;
        let lag = self.accepted - committed - lost;
        StoreStatus { place: self.shared.place(), lag, committed, lost }
    }

    /// Writes what it has and closes the file, but waits no longer than `patience`. With a lag of
    /// zero, everything is written.
    #[must_use]
    pub fn close(mut self, patience: Duration) -> StoreStatus {
        if self.lane.take().is_some() {
            // Nothing is ever sent: it ends with a disconnection, or with our patience.
            let _ = self.closed.recv_timeout(patience);
        }
        self.status()
    }
}

impl Shared {
    const fn new(place: Place) -> Self {
        Self {
            committed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            place: AtomicU8::new(place.code()),
        }
    }

    fn set_place(&self, place: Place) {
        self.place.store(place.code(), Ordering::Release);
    }

    fn place(&self) -> Place {
        Place::from_code(self.place.load(Ordering::Acquire))
    }
}

impl Place {
    /// Zero for the disk, else one more than the place of the reason in [`MemoryReason::ALL`].
    const fn code(self) -> u8 {
        match self {
            Self::Disk => 0,
            Self::Memory(reason) => reason as u8 + 1,
        }
    }

    fn from_code(code: u8) -> Self {
        match code.checked_sub(1) {
            None => Self::Disk,
            Some(index) => Self::Memory(MemoryReason::ALL[usize::from(index)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_its_code() {
        let memory = MemoryReason::ALL.map(Place::Memory);
        for (place, code) in [Place::Disk].into_iter().chain(memory).zip(0..) {
            assert_eq!((place.code(), Place::from_code(code)), (code, place));
        }
    }

    #[test]
    fn a_store_in_memory_takes_everything_and_lags_never() {
        let (mut store, restored, notices) = open(StoreConfig::default());
        assert_eq!((restored, notices), (Restored::default(), Vec::new()));
        for _ in 0..3 {
            let mut changes = vec![Change::Secret([1; 32]); store.room()];
            store.push(&mut changes);
            assert!(changes.is_empty());
        }
        let place = Place::Memory(MemoryReason::NoPath);
        let expected = StoreStatus { place, lag: 0, committed: 0, lost: 0 };
        assert_eq!(store.status(), expected);
        assert_eq!(store.close(Duration::ZERO), expected);
    }
}
