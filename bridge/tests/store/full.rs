//! A disk that is really full: a small file system in memory, mounted where only this test sees it.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use bridge::store::{MemoryReason, Place, StoreConfig, StoreNotice, open};
use peer::Change;

use crate::sample::{
    Folder, NOW, address, changes, close, everything, push_all, sorted, wait_until,
};

/// Tells [`within`] the mount point.
const FULL_ENV: &str = "STORE_FULL_FOLDER";

/// Bytes of the file system: the store of the test is some 200 kB, twice with its log.
const DISK_BYTES: u32 = 2 << 20;

/// Where mounting is not allowed, the same is tested by a limit of pages, in the store's own tests.
#[test]
fn a_disk_that_is_full_is_survived_and_used_again() {
    let folder = Folder::new("full");
    let script = format!("mount -t tmpfs -o size={DISK_BYTES} tmpfs \"$0\" && exec \"$@\"");
    let run = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["-m", "sh", "-c", &script]).arg(&folder.0).args(command);
        unshare.env(FULL_ENV, &folder.0).output()
    };
    if !run(&["true"]).is_ok_and(|output| output.status.success()) {
        return;
    }
    let binary = std::env::current_exe().unwrap();
    let child = [binary.to_str().unwrap(), "--exact", "full::within", "--nocapture"];
    let output = run(&child).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn within() {
    let Some(folder) = std::env::var_os(FULL_ENV).map(PathBuf::from) else { return };
    let config = || StoreConfig { path: Some(folder.join("peers.sqlite")), now: NOW };
    let fill = || {
        let mut filler = File::create(folder.join("filler")).unwrap();
        while filler.write(&[0; 4_096]).is_ok() {}
    };
    let free = || fs::remove_file(folder.join("filler")).unwrap();
    let full = Place::Memory(MemoryReason::Full);

    let (mut store, ..) = open(config());
    push_all(&mut store, changes(&everything()));
    wait_until(&store, |status| status.lag == 0);
    fill();
    push_all(&mut store, (0..2_000).map(|number| Change::Address(address(number, 9))));
    wait_until(&store, |status| status.place == full);
    free();
    wait_until(&store, |status| status.place == Place::Disk && status.lag == 0);
    close(store);

    fill();
    let (mut store, restored, notices) = open(config());
    let [StoreNotice::InMemory { reason: MemoryReason::Full, .. }] = &notices[..] else {
        panic!("{notices:?}")
    };
    assert_eq!(restored.addresses.len(), 2_001, "a full disk can be read");
    push_all(&mut store, [Change::Secret([8; 32])]);
    free();
    wait_until(&store, |status| status.place == Place::Disk && status.lag == 0);
    close(store);

    let (_store, restored, notices) = open(config());
    assert_eq!(notices, []);
    assert_eq!(restored.secret, Some([8; 32]));
    assert_eq!(sorted(restored).bans, sorted(everything()).bans);
}
