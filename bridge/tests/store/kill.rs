//! Processes that are killed while they write, two hundred times over the same file.
//!
//! The test starts its own binary again; that writes numbered changes and prints how far it has
//! come, until it is killed without warning. Since changes are taken in order and transactions are
//! whole, what is found must be the state after some number of changes, exactly: none that had
//! been reported as committed may be missing, and none out of its turn may be there.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use peer::{BanTarget, Change, Restored};
use rusqlite::Connection;

use crate::sample::{Folder, addr, address, ban};

/// Processes killed early, in the rush of their first transactions.
const KILLS: u32 = 196;

/// Processes killed late: old enough to have changes older than a second.
const LATE_KILLS: u32 = 4;

/// Tell [`writes_until_killed`] where to write, and the number of its first change.
const FOLDER_ENV: &str = "STORE_KILL_FOLDER";
const FIRST_ENV: &str = "STORE_KILL_FIRST";

/// Longest life of a process that nobody kills.
const ROUNDS: u32 = 20_000;

/// Records that the changes are about.
const ADDRESSES: u64 = 10_007;
const BANS: u64 = 100;

/// The change of this number. Its number is in the record, where there is one.
fn change(number: u64) -> Change {
    let address_number = number % ADDRESSES;
    let target = format!("192.0.2.{}", number % BANS);
    match number % 50 {
        7 => Change::Ban(ban(&target, number)),
        23 => Change::BanGone(target.parse().unwrap()),
        13 | 33 => Change::AddressGone(addr(address_number)),
        49 => Change::Anchors(vec![addr(number)]),
        _ => Change::Address(address(address_number, number)),
    }
}

/// The records, as the numbers of the changes that made them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Model {
    addresses: BTreeMap<SocketAddr, u64>,
    bans: BTreeMap<BanTarget, u64>,
    anchors: Vec<SocketAddr>,
}

impl Model {
    fn apply(&mut self, number: u64) {
        match change(number) {
            Change::Address(record) => drop(self.addresses.insert(record.addr, number)),
            Change::AddressGone(addr) => drop(self.addresses.remove(&addr)),
            Change::Ban(ban) => drop(self.bans.insert(ban.target, number)),
            Change::BanGone(target) => drop(self.bans.remove(&target)),
            Change::Anchors(anchors) => self.anchors = anchors,
            Change::Secret(_) => {}
        }
    }

    fn of(restored: &Restored) -> Self {
        let addresses = restored.addresses.iter();
        let bans = restored.bans.iter();
        Self {
            addresses: addresses.map(|record| (record.addr, record.last_seen.secs())).collect(),
            bans: bans.map(|ban| (ban.target, ban.start.secs())).collect(),
            anchors: restored.anchors.clone(),
        }
    }

    /// The last change that shows.
    fn last(&self) -> u64 {
        self.addresses.values().chain(self.bans.values()).copied().max().unwrap_or(0)
    }
}

/// What a process had printed at some instant.
#[derive(Clone, Copy, Default, Debug)]
struct Report {
    /// Since it started.
    micros: u64,
    /// The last change that the store had accepted, and the last that was committed.
    accepted: u64,
    committed: u64,
}

impl Report {
    /// From a line, unless the kill has cut it.
    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.strip_prefix('@')?.strip_suffix(';')?.split(' ');
        let mut next = || numbers.next()?.parse().ok();
        Some(Self { micros: next()?, accepted: next()?, committed: next()? })
    }
}

/// Not a test of its own: what the other one starts and kills.
#[test]
fn writes_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER_ENV) else { return };
    let folder = std::mem::ManuallyDrop::new(Folder(folder.into()));
    let first: u64 = std::env::var(FIRST_ENV).unwrap().parse().unwrap();
    let start = Instant::now();
    let (mut store, _) = folder.open();
    let mut next = first;
    let mut batch = Vec::new();
    for _ in 0..ROUNDS {
        // One process in a hurry, the next at leisure.
        let wanted = if first.is_multiple_of(2) { store.room() } else { 200 };
        batch.extend((0..wanted.min(store.room()) as u64).map(|index| change(next + index)));
        next += batch.len() as u64;
        store.push(&mut batch);
        let status = store.status();
        let (micros, accepted) = (start.elapsed().as_micros(), next - 1);
        // A line of its own, whatever the test harness has printed before.
        println!("\n@{micros} {accepted} {};", accepted - status.lag);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn start_writer(folder: &Folder, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::writes_until_killed", "--nocapture"])
        .env(FOLDER_ENV, &folder.0)
        .env(FIRST_ENV, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets a process write for a while; gives back what it had printed when it was killed.
fn kill_after(mut child: Child, patience: Duration) -> Vec<Report> {
    std::thread::sleep(patience);
    assert!(child.try_wait().unwrap().is_none(), "it was to be killed, and has ended");
    child.kill().unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    text.lines().filter_map(Report::parse).collect()
}

/// Looks at a copy, so that it is the next process that repairs what the kill left behind.
fn look(folder: &Folder) -> Model {
    let copy = Folder::new("kill-copy");
    for name in folder.names() {
        // The index of the log is memory shared by processes: a copy has none.
        if !name.ends_with("-shm") {
            fs::copy(folder.0.join(&name), copy.0.join(&name)).unwrap();
        }
    }
    let restored = copy.restored();
    let conn = Connection::open(copy.file()).unwrap();
    let verdict: String =
        conn.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    Model::of(&restored)
}

/// Brings the model to where the store is; gives back the number of the next change.
fn catch_up(model: &mut Model, next: u64, found: &Model) -> u64 {
    let shown = found.last() + 1;
    (next..shown).for_each(|number| model.apply(number));
    let mut next = next.max(shown);
    // Changes that leave no number, at most two in a row here.
    for _ in 0..2 {
        if model == found {
            break;
        }
        model.apply(next);
        next += 1;
    }
    assert!(model == found, "not the state after change {next}, nor just before it");
    next
}

#[test]
fn a_kill_at_any_instant_loses_a_second_and_the_lag_at_most_and_never_the_file() {
    let folder = Folder::new("kill");
    let mut model = Model::default();
    let mut next = 1;
    let mut dice = 0x9e37_79b9_u64;
    let (mut behind, mut aged) = (0, 0);
    for kill in 0..KILLS + LATE_KILLS {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let late = kill % (KILLS / LATE_KILLS + 1) == 0;
        let millis = if late { 1_150 + (dice >> 33) % 300 } else { 20 + (dice >> 33) % 90 };
        let reports = kill_after(start_writer(&folder, next), Duration::from_millis(millis));
        let found = look(&folder);
        let first = next;
        next = catch_up(&mut model, next, &found);
        let Some(last) = reports.last() else { continue };

        assert!(next > last.committed, "kill {kill}: {last:?}, but {next} is not there");
        behind += u32::from(last.committed < last.accepted && next > first);
        let old = reports.iter().rev().find(|report| report.micros + 1_000_000 <= last.micros);
        if let Some(old) = old {
            let lag = last.accepted - last.committed;
            assert!(next > old.accepted.saturating_sub(lag), "kill {kill}: {old:?}, {last:?}");
            aged += 1;
        }
    }
    assert!(behind > KILLS / 10, "only {behind} kills met a store that was writing");
    assert!(aged > 0, "no process lived for more than a second");
    assert!(folder.names().iter().all(|name| !name.contains("set-aside")));
}
