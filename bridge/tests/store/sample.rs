//! What the tests of the store share: folders that clean up, and changes to keep.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bridge::store::{Store, StoreConfig, StoreNotice, StoreStatus, open};
use codec::{Capabilities, Kind};
use peer::{AddressRecord, Ban, BanCause, Change, Decider, Evidence, Restored, UnixTime};

/// How long a test waits for the store's thread.
const PATIENCE: Duration = Duration::from_secs(30);

/// The wall clock of all tests.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

/// A folder of its own, gone when dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("store-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn config(&self) -> StoreConfig {
        StoreConfig { path: Some(self.file()), now: NOW }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("peers.sqlite")
    }

    /// Opens the store, which must have nothing to complain of.
    pub(crate) fn open(&self) -> (Store, Restored) {
        let (store, restored, notices) = open(self.config());
        assert_eq!(notices, []);
        (store, restored)
    }

    /// What is kept. Nobody may have the store open.
    pub(crate) fn restored(&self) -> Restored {
        let (store, restored) = self.open();
        close(store);
        restored
    }

    /// Opens the store, which must have exactly one complaint.
    pub(crate) fn open_noticed(&self) -> (Store, Restored, StoreNotice) {
        let (store, restored, notices) = open(self.config());
        let [notice] = notices.try_into().unwrap();
        (store, restored, notice)
    }

    /// The names of the files in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Pushes everything, waiting for room.
pub(crate) fn push_all(store: &mut Store, changes: impl IntoIterator<Item = Change>) {
    let mut changes = changes.into_iter().peekable();
    let deadline = Instant::now() + PATIENCE;
    while changes.peek().is_some() {
        let mut batch: Vec<_> = changes.by_ref().take(store.room()).collect();
        store.push(&mut batch);
        std::thread::sleep(Duration::from_millis(1));
        assert!(Instant::now() < deadline, "no room: {:?}", store.status());
    }
}

/// Closes it, which must leave nothing behind.
pub(crate) fn close(store: Store) {
    let status = store.close(PATIENCE);
    assert_eq!((status.lag, status.lost), (0, 0), "{status:?}");
}

/// Waits until the status is as wished.
pub(crate) fn wait_until(store: &Store, wish: impl Fn(StoreStatus) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wish(store.status()) {
        assert!(Instant::now() < deadline, "{:?}", store.status());
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn addr(number: u64) -> SocketAddr {
    let ip = Ipv4Addr::from_bits(0x0800_0000 + number as u32);
    SocketAddr::new(ip.into(), 3_414)
}

pub(crate) fn address(number: u64, seen: u64) -> AddressRecord {
    AddressRecord {
        addr: addr(number),
        source: addr(number / 3).ip(),
        tried: number.is_multiple_of(2),
        capabilities: Capabilities::GRIN_NODE,
        last_seen: UnixTime::from_secs(seen),
        last_attempt: UnixTime::from_secs(seen),
        last_success: UnixTime::from_secs(seen / 2),
        failures: (number % 5) as u32,
    }
}

pub(crate) fn ban(target: &str, seen: u64) -> Ban {
    Ban {
        target: target.parse().unwrap(),
        cause: BanCause::BadBlock,
        evidence: Evidence { kind: Some(Kind::Block), bytes: seen, note: "height 7".into() },
        by: Decider::Rule,
        start: UnixTime::from_secs(seen),
        end: UnixTime::from_secs(seen + 3_600),
    }
}

/// Something of everything: IPv6, every cause, both deciders, extremes.
pub(crate) fn everything() -> Restored {
    let mut addresses: Vec<_> = (0..500).map(|number| address(number, 1_000 + number)).collect();
    addresses.push(AddressRecord {
        addr: "[2001:db8::7]:13414".parse().unwrap(),
        source: "2001:db8::1".parse::<IpAddr>().unwrap(),
        capabilities: Capabilities::from_bits(u32::MAX),
        last_seen: UnixTime::from_secs(i64::MAX as u64),
        failures: u32::MAX,
        ..address(0, 0)
    });
    let hosts = (0..).map(|number| format!("192.0.2.{number}"));
    let mut bans: Vec<_> =
        hosts.zip(BanCause::ALL).map(|(host, &cause)| Ban { cause, ..ban(&host, 5) }).collect();
    bans.push(Ban { by: Decider::Operator, ..ban("2001:db8::/32", 6) });
    bans.push(Ban { evidence: Evidence::default(), ..ban("127.0.0.1:3414", 7) });
    bans.push(Ban {
        evidence: Evidence {
            note: "it's \"quoted\"; ünïcode\n-- and more".into(),
            ..Evidence::default()
        },
        ..ban("198.51.100.0/24", 8)
    });
    Restored { secret: Some([0xa5; 32]), anchors: vec![addr(9), addr(3)], addresses, bans }
}

pub(crate) fn changes(restored: &Restored) -> Vec<Change> {
    let addresses = restored.addresses.iter().cloned().map(Change::Address);
    let bans = restored.bans.iter().cloned().map(Change::Ban);
    let anchors = Change::Anchors(restored.anchors.clone());
    let secret = restored.secret.map(Change::Secret);
    addresses.chain(bans).chain([anchors]).chain(secret).collect()
}

/// In an order of its own, to compare.
pub(crate) fn sorted(mut restored: Restored) -> Restored {
    restored.addresses.sort_by_key(|record| record.addr);
    restored.bans.sort_by_key(|ban| ban.target);
    restored
}
