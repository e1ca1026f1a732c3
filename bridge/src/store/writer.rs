//! The store's thread: takes changes off the lane, coalesces them, writes them in transactions.
//!
//! It waits for the first change without a clock, then gathers what comes for half a second or
//! until there is enough for a transaction. When one fails it goes on gathering, since the lane
//! must be drained whatever the disk does, and tries again after a back-off.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError, after};
use peer::{Change, Restored, UnixTime};

use super::file::{self, StoreFile};
use super::notice::{MemoryReason, StoreNotice, Trouble};
use super::pending::Pending;
use super::{LANE_CHANGES_MAX, Place, Shared};

/// Longest time from a change to the start of its transaction: with it, a transaction has as long
/// again until a second is over.
const GATHER: Duration = Duration::from_millis(500);

/// How often the lane is drained meanwhile. The thread does not wait for the lane itself, so that
/// the loop pays for waking it at most once a transaction.
const DRAIN_PERIOD: Duration = Duration::from_millis(20);

/// Records that make a transaction at once: the lane's fill, some 70 ms of work.
const RECORDS_ENOUGH: usize = LANE_CHANGES_MAX;

/// How soon a failed transaction is tried again; twice as long after each failure.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Longest time between two tries.
const RETRY_MAX: Duration = Duration::from_secs(30);

pub(super) struct Writer {
    lane: Receiver<Change>,
    shared: Arc<Shared>,
    path: PathBuf,
    now: UnixTime,
    /// None: it is opened anew before the next transaction.
    file: Option<StoreFile>,
    pending: Pending,
    /// How long to wait for the next try, when the last one failed.
    back_off: Option<Duration>,
}

/// Whether more can come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Open,
    Ended,
}

impl Writer {
    pub(super) fn open(
        path: PathBuf,
        now: UnixTime,
        lane: Receiver<Change>,
    ) -> (Self, Restored, Vec<StoreNotice>) {
        let (file, found, place) = match file::open(&path, now) {
            Ok((file, found)) => (Some(file), found, Place::Disk),
            Err(Trouble { reason, detail }) => {
                // Another engine's file changes while we read.
                let readable = reason != MemoryReason::InUse;
                let restored = if readable { file::glimpse(&path) } else { None };
                let notice = StoreNotice::InMemory { path: path.clone(), reason, detail };
                let restored = restored.unwrap_or_default();
                (None, file::Found { restored, notices: vec![notice] }, Place::Memory(reason))
            }
        };
        let back_off = if file.is_some() { None } else { Some(RETRY_MIN) };
        let shared = Arc::new(Shared::new(place));
        let pending = Pending::new();
        let writer = Self { lane, shared, path, now, file, pending, back_off };
        (writer, found.restored, found.notices)
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Until the lane has ended and what it held is written, or cannot be. Closes the file.
    pub(super) fn run(mut self) {
        loop {
            if self.pending.records() == 0 {
                let Ok(change) = self.lane.recv() else { return };
                self.note(change);
            }
            let lane = self.gather();
            self.commit();
            if lane == Lane::Ended {
                return;
            }
        }
    }

    /// Drains the lane until it is time to write.
    fn gather(&mut self) -> Lane {
        let patience = self.back_off.unwrap_or(GATHER);
        let enough = if self.back_off.is_some() { usize::MAX } else { RECORDS_ENOUGH };
        for _ in 0..patience.div_duration_f32(DRAIN_PERIOD) as u32 {
            let lane = self.drain();
            if lane == Lane::Ended || self.pending.records() >= enough {
                return lane;
            }
            // A wait that nothing ends: see `DRAIN_PERIOD`.
            let _ = after(DRAIN_PERIOD).recv();
        }
        self.drain()
    }

    /// Takes a lane's fill at most, so that a loop in haste cannot keep us from writing.
    fn drain(&mut self) -> Lane {
        for _ in 0..LANE_CHANGES_MAX {
            match self.lane.try_recv() {
                Ok(change) => self.note(change),
                Err(TryRecvError::Empty) => return Lane::Open,
                Err(TryRecvError::Disconnected) => return Lane::Ended,
            }
        }
        Lane::Open
    }

    fn note(&mut self, change: Change) {
        let lost = self.pending.note(change);
        if lost > 0 {
            self.shared.lost.fetch_add(lost, Ordering::Release);
        }
    }

    fn commit(&mut self) {
        if self.pending.records() == 0 {
            return;
        }
        match self.write() {
            Ok(()) => self.on_written(),
            Err(trouble) => self.on_trouble(trouble),
        }
    }

    fn write(&mut self) -> Result<(), Trouble> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let (file, found) = file::open(&self.path, self.now)?;
                for notice in found.notices {
                    tracing::warn!("{notice}");
                }
                self.file.insert(file)
            }
        };
        file.write(&self.pending)
    }

    fn on_written(&mut self) {
        let changes = std::mem::replace(&mut self.pending, Pending::new()).changes();
        self.shared.committed.fetch_add(changes, Ordering::Release);
        if self.back_off.take().is_some() {
            self.shared.set_place(Place::Disk);
            tracing::info!(path = %self.path.display(), changes, "the store is written again");
        }
    }

    fn on_trouble(&mut self, trouble: Trouble) {
        let Trouble { reason, detail } = trouble;
        if self.back_off.is_none() {
            let path = self.path.clone();
            tracing::warn!("{}", StoreNotice::InMemory { path, reason, detail });
        }
        self.shared.set_place(Place::Memory(reason));
        let next = self.back_off.map_or(RETRY_MIN, |last| (last * 2).min(RETRY_MAX));
        self.back_off = Some(next);
        // Full or locked passes by itself; after anything else the file is looked at anew.
        if !matches!(reason, MemoryReason::Full | MemoryReason::Locked) {
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::Ipv4Addr;

    use codec::Capabilities;
    use crossbeam_channel::{Sender, bounded};
    use peer::AddressRecord;

    use super::*;

    /// Pages that the file may have while the disk is full: it has some of them already.
    const FULL_PAGES: u32 = 8;

    struct Bench {
        folder: PathBuf,
        writer: Writer,
        _lane: Sender<Change>,
    }

    impl Bench {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("store-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            let (lane, changes) = bounded(LANE_CHANGES_MAX);
            let path = folder.join("peers.sqlite");
            let (writer, _, notices) = Writer::open(path, UnixTime::default(), changes);
            assert_eq!(notices, []);
            Self { folder, writer, _lane: lane }
        }

        fn note(&mut self, ports: std::ops::Range<u16>, seen: u64) {
            for port in ports {
                self.writer.note(Change::Address(AddressRecord {
                    addr: (Ipv4Addr::LOCALHOST, port).into(),
                    source: Ipv4Addr::LOCALHOST.into(),
                    tried: true,
                    capabilities: Capabilities::UNKNOWN,
                    last_seen: UnixTime::from_secs(seen),
                    last_attempt: UnixTime::default(),
                    last_success: UnixTime::default(),
                    failures: 0,
                }));
            }
        }

        fn place(&self) -> Place {
            self.writer.shared.place()
        }

        fn committed(&self) -> u64 {
            self.writer.shared.committed.load(Ordering::Relaxed)
        }

        fn limit_pages(&self, pages: u32) {
            self.writer.file.as_ref().unwrap().limit_pages(pages);
        }

        /// What a later process would find: how many addresses, and the sum of their `last_seen`.
        fn reopened(&mut self) -> (usize, u64) {
            self.writer.file = None;
            let (_, found) = file::open(&self.writer.path, UnixTime::default()).unwrap();
            assert_eq!(found.notices, []);
            let seen = found.restored.addresses.iter().map(|record| record.last_seen.secs());
            (seen.len(), seen.sum())
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.folder).unwrap();
        }
    }

    #[test]
    fn a_full_disk_costs_nothing_once_there_is_room_again() {
        let mut bench = Bench::new("full");
        bench.note(1..11, 1);
        bench.writer.commit();
        assert_eq!((bench.place(), bench.committed()), (Place::Disk, 10));

        bench.limit_pages(FULL_PAGES);
        bench.note(1..2_001, 2);
        let mut waits = Vec::new();
        for _ in 0..7 {
            bench.writer.commit();
            assert_eq!(bench.place(), Place::Memory(MemoryReason::Full));
            waits.push(bench.writer.back_off.unwrap().as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(bench.committed(), 10, "a transaction is written as a whole or not at all");
        bench.note(1..3, 3);

        bench.limit_pages(u32::MAX);
        bench.writer.commit();
        assert_eq!((bench.place(), bench.committed()), (Place::Disk, 2_012));
        assert_eq!(bench.writer.back_off, None);
        assert_eq!(bench.reopened(), (2_000, 1_998 * 2 + 2 * 3));
    }

    #[test]
    fn a_database_locked_by_a_shell_is_written_when_it_is_free() {
        let mut bench = Bench::new("locked");
        let shell = rusqlite::Connection::open(&bench.writer.path).unwrap();
        shell.execute_batch("BEGIN IMMEDIATE").unwrap();
        bench.note(1..2, 1);
        bench.writer.commit();
        assert_eq!(bench.place(), Place::Memory(MemoryReason::Locked));

        shell.execute_batch("COMMIT; BEGIN; SELECT count(*) FROM addresses").unwrap();
        bench.writer.commit();
        assert_eq!(bench.place(), Place::Disk, "a shell that reads is in nobody's way");
        drop(shell);
        assert_eq!(bench.reopened(), (1, 1));
    }

    #[test]
    fn a_file_that_breaks_while_in_use_is_set_aside_at_the_next_try() {
        let mut bench = Bench::new("breaks");
        bench.note(1..1_001, 1);
        bench.writer.commit();
        let path = bench.writer.path.clone();
        drop(bench.writer.file.take());
        fs::write(&path, "scribbles all over a file that nobody had open, or so it looked")
            .unwrap();

        bench.note(1..4, 2);
        bench.writer.commit();
        assert_eq!((bench.place(), bench.committed()), (Place::Disk, 1_003));
        assert_eq!(bench.reopened(), (3, 6), "what waited is in the fresh file");
    }
}
