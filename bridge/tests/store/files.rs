//! What is kept, and what becomes of files that cannot be used.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use bridge::store::{
    LANE_CHANGES_MAX, MemoryReason, Place, Skipped, StoreConfig, StoreNotice, Unfit, open,
};
use peer::{AddressRecord, Ban, Change, Restored, UnixTime};
use rusqlite::Connection;

use crate::sample::{
    Folder, NOW, addr, address, ban, changes, close, everything, push_all, sorted, wait_until,
};

/// A folder with a store that holds something.
fn filled(name: &str) -> Folder {
    let folder = Folder::new(name);
    let (mut store, _) = folder.open();
    push_all(&mut store, changes(&everything()));
    close(store);
    folder
}

/// The store is begun afresh, works, and what was there lies beside it, unchanged.
fn assert_set_aside(folder: &Folder, wrong: impl Fn(&Unfit) -> bool) {
    let before = fs::read(folder.file()).unwrap();
    let (mut store, restored, notice) = folder.open_noticed();
    assert_eq!(restored, Restored::default());
    assert_eq!(store.status().place, Place::Disk);
    let StoreNotice::SetAside { path, why, kept } = notice else { panic!("{notice}") };
    assert_eq!(path, folder.file());
    assert!(wrong(&why), "{why}");
    assert!(kept.to_str().unwrap().contains(&format!(".set-aside-{}", NOW.secs())));
    assert_eq!(fs::read(kept).unwrap(), before);

    push_all(&mut store, [Change::Secret([7; 32])]);
    close(store);
    assert_eq!(folder.restored().secret, Some([7; 32]));
}

#[test]
fn everything_comes_back_as_it_was_kept() {
    let folder = filled("round-trip");
    let (mut store, restored) = folder.open();
    assert_eq!(sorted(restored), sorted(everything()));

    let mut expected = everything();
    expected.addresses.retain(|record| record.addr != addr(3));
    expected.addresses[0] = address(0, 77);
    expected.bans.retain(|ban| ban.target != "2001:db8::/32".parse().unwrap());
    expected.anchors = vec![addr(1)];
    let gone = [
        Change::AddressGone(addr(3)),
        Change::Address(address(0, 77)),
        Change::BanGone("2001:db8::/32".parse().unwrap()),
        Change::Anchors(vec![addr(1)]),
    ];
    push_all(&mut store, gone);
    close(store);
    assert_eq!(sorted(folder.restored()), sorted(expected));
    assert_eq!(folder.names(), ["peers.sqlite", "peers.sqlite.lock"]);
}

#[test]
fn the_last_change_of_a_record_counts_however_many_there_were() {
    let folder = Folder::new("coalesced");
    let (mut store, _) = folder.open();
    let seen = (0..20 * LANE_CHANGES_MAX as u64).map(|seen| Change::Address(address(1, seen)));
    push_all(&mut store, seen);
    close(store);
    let seen = 20 * LANE_CHANGES_MAX as u64 - 1;
    assert_eq!(folder.restored().addresses, [address(1, seen)]);
}

#[test]
fn a_change_is_committed_without_further_ones_coming() {
    let folder = Folder::new("alone");
    let (mut store, _) = folder.open();
    push_all(&mut store, [Change::Ban(ban("192.0.2.7", 1))]);
    assert_eq!(store.status().lag, 1);
    wait_until(&store, |status| status.lag == 0 && status.committed == 1);
}

#[test]
fn a_store_that_is_dropped_still_writes_what_it_has() {
    let folder = Folder::new("dropped");
    let (mut store, _) = folder.open();
    push_all(&mut store, [Change::Secret([3; 32])]);
    drop(store);
    let found = (0..1_000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        let (store, restored, _) = open(folder.config());
        close(store);
        restored.secret == Some([3; 32])
    });
    assert!(found);
}

#[test]
fn files_that_are_no_database_are_set_aside() {
    let broken = |text: &Unfit| matches!(text, Unfit::Corrupt(_));
    let noise: Vec<u8> =
        (0_u32..40_000).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let contents: [(&str, &[u8]); 4] = [
        ("noise", &noise),
        ("text", b"dear diary, today I was mistaken for a database\n"),
        ("byte", b"S"),
        ("magic", b"SQLite format 3\0"),
    ];
    for (name, content) in contents {
        let folder = Folder::new(name);
        fs::write(folder.file(), content).unwrap();
        assert_set_aside(&folder, broken);
    }
}

#[test]
fn a_store_that_was_cut_or_scribbled_on_is_set_aside() {
    let broken = |text: &Unfit| matches!(text, Unfit::Corrupt(_));
    let whole = fs::read(filled("whole").file()).unwrap();
    for (name, length) in [
        ("cut", whole.len() / 2),
        ("cut-page", whole.len() - 4_096),
        ("cut-head", 80),
        ("cut-mark", 3),
    ] {
        let folder = Folder::new(name);
        fs::write(folder.file(), &whole[..length]).unwrap();
        assert_set_aside(&folder, broken);
    }
    let mut scribbled = whole;
    scribbled[4_096..].fill(0x5a);
    let folder = Folder::new("scribbled");
    fs::write(folder.file(), &scribbled).unwrap();
    assert_set_aside(&folder, broken);
}

#[test]
fn a_store_that_lacks_a_table_is_set_aside() {
    let folder = filled("lacking");
    Connection::open(folder.file()).unwrap().execute_batch("DROP TABLE bans").unwrap();
    assert_set_aside(&folder, |why| matches!(why, Unfit::Corrupt(_)));
}

#[test]
fn an_empty_file_is_a_fresh_store() {
    let folder = Folder::new("empty");
    fs::write(folder.file(), []).unwrap();
    assert_eq!(folder.restored(), Restored::default());
}

#[test]
fn a_newer_store_is_set_aside() {
    let folder = filled("newer");
    let conn = Connection::open(folder.file()).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    assert_set_aside(&folder, |why| *why == Unfit::Newer(99));
}

#[test]
fn the_database_of_another_program_is_set_aside() {
    for (name, application_id) in [("foreign", 0), ("foreign-id", 0x1234)] {
        let folder = Folder::new(name);
        let conn = Connection::open(folder.file()).unwrap();
        conn.pragma_update(None, "application_id", application_id).unwrap();
        conn.execute_batch("CREATE TABLE addresses (x); INSERT INTO addresses VALUES (1)").unwrap();
        drop(conn);
        assert_set_aside(&folder, |why| *why == Unfit::Foreign { application_id });
    }
}

#[test]
fn the_database_that_another_program_has_open_is_left_alone() {
    let folder = Folder::new("foreign-open");
    let conn = Connection::open(folder.file()).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE blocks (x)").unwrap();
    let (_store, _, notice) = folder.open_noticed();
    let reason = MemoryReason::Locked;
    assert!(
        matches!(&notice, StoreNotice::InMemory { reason: why, .. } if *why == reason),
        "{notice}"
    );
    conn.execute_batch("INSERT INTO blocks VALUES (1)").unwrap();
    assert!(folder.names().iter().all(|name| !name.contains("set-aside")));
}

#[test]
fn what_was_set_aside_is_never_overwritten() {
    let folder = Folder::new("twice");
    for text in ["first", "second", "third"] {
        fs::write(folder.file(), text).unwrap();
        let (store, ..) = folder.open_noticed();
        close(store);
    }
    let aside = folder.names().into_iter().filter(|name| name.contains("set-aside"));
    let mut texts: Vec<_> =
        aside.map(|name| fs::read_to_string(folder.0.join(name)).unwrap()).collect();
    texts.sort();
    assert_eq!(texts, ["first", "second", "third"]);
}

#[test]
fn records_that_make_no_sense_are_told_of_and_hide_no_others() {
    let folder = filled("skipped");
    let conn = Connection::open(folder.file()).unwrap();
    conn.execute_batch(
        "UPDATE addresses SET addr = 'nowhere' WHERE addr = '8.0.0.1:3414';
         UPDATE bans SET cause = 'bad_luck' WHERE target = '192.0.2.0';
         UPDATE secrets SET value = x'00'",
    )
    .unwrap();
    drop(conn);
    let (_store, restored, notice) = folder.open_noticed();
    let skipped = Skipped { addresses: 1, bans: 1, anchors: 0, secrets: 1 };
    assert_eq!(notice, StoreNotice::Skipped { path: folder.file(), skipped });
    let expected = everything();
    assert_eq!(restored.addresses.len(), expected.addresses.len() - 1);
    assert_eq!(restored.bans.len(), expected.bans.len() - 1);
}

#[test]
fn where_no_file_can_be_the_store_is_in_memory_and_says_so() {
    let folder = Folder::new("unwritable");
    fs::write(folder.0.join("file"), "").unwrap();
    fs::create_dir(folder.0.join("folder")).unwrap();
    // Refused to root as well.
    for path in [
        folder.0.join("absent/peers.sqlite"),
        folder.0.join("file/peers.sqlite"),
        folder.0.join("folder"),
        "/proc/peers.sqlite".into(),
    ] {
        let (mut store, restored, notices) =
            open(StoreConfig { path: Some(path.clone()), now: NOW });
        let [StoreNotice::InMemory { path: told, reason, .. }] = &notices[..] else {
            panic!("{notices:?}")
        };
        assert_eq!((told, *reason), (&path, MemoryReason::Refused));
        assert_eq!(restored, Restored::default());
        store.push(&mut vec![Change::Secret([1; 32])]);
        let status = store.close(Duration::from_secs(30));
        assert_eq!((status.place, status.lag), (Place::Memory(MemoryReason::Refused), 1));
    }
    assert_eq!(folder.names(), ["file", "folder"], "and nothing is left behind");
}

#[test]
fn a_directory_that_comes_later_is_used() {
    let folder = Folder::new("later");
    let path = folder.0.join("absent/peers.sqlite");
    let (mut store, ..) = open(StoreConfig { path: Some(path.clone()), now: NOW });
    push_all(&mut store, changes(&everything()));
    fs::create_dir(folder.0.join("absent")).unwrap();
    wait_until(&store, |status| status.place == Place::Disk && status.lag == 0);
    close(store);
    let (_store, restored, _) = open(StoreConfig { path: Some(path), now: UnixTime::default() });
    assert_eq!(sorted(restored), sorted(everything()));
}

#[test]
fn all_files_are_for_their_owner_only() {
    let folder = filled("mode");
    for name in folder.names() {
        fs::set_permissions(folder.0.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    // As a killed process leaves them.
    fs::write(folder.0.join("peers.sqlite-wal"), []).unwrap();
    let modes = || {
        let mode = |name| (fs::metadata(folder.0.join(&name)).unwrap().mode() & 0o7777, name);
        folder.names().into_iter().map(mode).collect::<Vec<_>>()
    };
    assert!(modes().contains(&(0o644, String::from("peers.sqlite-wal"))));

    let (mut store, _) = folder.open();
    push_all(&mut store, [Change::Secret([1; 32])]);
    wait_until(&store, |status| status.committed == 1);
    let files = ["peers.sqlite", "peers.sqlite-shm", "peers.sqlite-wal", "peers.sqlite.lock"];
    let names: Vec<_> = modes().into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, files);
    for (mode, name) in modes() {
        assert_eq!(mode, 0o600, "{name}");
    }

    let fresh = Folder::new("mode-fresh");
    let (_store, _) = fresh.open();
    for name in fresh.names() {
        assert_eq!(fs::metadata(fresh.0.join(&name)).unwrap().mode() & 0o7777, 0o600, "{name}");
    }
}

#[test]
fn the_second_to_open_a_file_waits_for_it_in_memory() {
    let folder = filled("two");
    let (first, _) = folder.open();
    let (mut second, restored, notice) = folder.open_noticed();
    assert_eq!(restored, Restored::default());
    let StoreNotice::InMemory { reason, .. } = notice else { panic!("{notice}") };
    assert_eq!(reason, MemoryReason::InUse);
    assert_eq!(second.status().place, Place::Memory(MemoryReason::InUse));

    push_all(&mut second, [Change::Secret([9; 32])]);
    close(first);
    wait_until(&second, |status| status.place == Place::Disk && status.lag == 0);
    close(second);
    let expected = Restored { secret: Some([9; 32]), ..everything() };
    assert_eq!(sorted(folder.restored()), sorted(expected));
}

/// What an operator is told to ask can be asked, of a running engine.
#[test]
fn the_documented_questions_are_answered() {
    let folder = Folder::new("documented");
    let (mut store, _) = folder.open();
    push_all(&mut store, changes(&everything()));
    let ban = Ban { end: UnixTime::from_secs(9_999_999_999), ..ban("192.0.2.200", 1) };
    let address = AddressRecord { addr: "192.0.2.7:3414".parse().unwrap(), ..address(0, 1) };
    push_all(&mut store, [Change::Ban(ban), Change::Address(address)]);
    wait_until(&store, |status| status.lag == 0);

    let text = include_str!("../../../docs/store.md");
    let shell = Connection::open(folder.file()).unwrap();
    let mut asked = 0;
    for block in text.split("```sql\n").skip(1) {
        let query = block.split("```").next().unwrap();
        let mut statement = shell.prepare(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let rows = statement.query([]).unwrap().mapped(|_| Ok(())).count();
        assert!(rows > 0, "{query}");
        asked += 1;
    }
    assert!(asked >= 4, "only {asked} questions in docs/store.md");
}
