//! Attacks by quantity: much of what may come once.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use crate::fleet::attack::greeting::address;
use crate::fleet::attack::raider::{Raid, await_ends, frame, header, leave_all};
use crate::talk::{INVALID_TAG, SPAM_TAG};

const PING: u8 = 3;
const GET_PEER_ADDRS: u8 = 5;
const PEER_ADDRS: u8 = 6;
const GET_HEADERS: u8 = 7;
const GET_BLOCK: u8 = 10;
const BLOCK: u8 = 11;
const TRANSACTION: u8 = 15;
const GET_TRANSACTION: u8 = 19;
const TRANSACTION_KERNEL: u8 = 20;
const UNKNOWN: u8 = 200;

/// Bytes of one write of a long body.
const CHUNK: usize = 64 << 10;

/// So many hosts send the same number of frames of a batch, so many batches a second each, and read
/// all that comes. Those that the engine ends are not replaced.
fn flood(
    raid: &Raid,
    hosts: u16,
    batches: u64,
    frames: u64,
    mut next: impl FnMut() -> Vec<u8>,
) -> io::Result<()> {
    let mut raiders = raid.greet_many(hosts)?;
    for () in raid.beats(batches) {
        raiders.retain_mut(|raider| {
            let batch: Vec<u8> = (0..frames).flat_map(|_| next()).collect();
            raider.drain() && raider.write(frames, &batch).is_ok()
        });
        if raiders.is_empty() {
            break;
        }
    }
    leave_all(raiders)
}

pub(super) fn pings(raid: &Raid) -> io::Result<()> {
    let ping = frame(&raid.network, PING, &[0; 16]);
    flood(raid, 2, 200, 300, || ping.clone())
}

pub(super) fn announcements(raid: &Raid) -> io::Result<()> {
    flood(raid, 4, 100, 200, || frame(&raid.network, TRANSACTION_KERNEL, &id(raid)))
}

pub(super) fn addresses(raid: &Raid) -> io::Result<()> {
    flood(raid, 4, 10, 1, || {
        let made_up = |_| {
            let [a, b, c, ..] = raid.nonce().to_be_bytes();
            address(SocketAddr::from((Ipv4Addr::new(127, a, b, c), 9)))
        };
        let addrs: Vec<u8> = (0..256).flat_map(made_up).collect();
        let body = [&256_u32.to_be_bytes()[..], &addrs].concat();
        frame(&raid.network, PEER_ADDRS, &body)
    })
}

pub(super) fn address_requests(raid: &Raid) -> io::Result<()> {
    let ask = frame(&raid.network, GET_PEER_ADDRS, &[0; 4]);
    flood(raid, 8, 100, 1, || ask.clone())
}

pub(super) fn block_requests(raid: &Raid) -> io::Result<()> {
    flood(raid, 4, 100, 1, || frame(&raid.network, GET_BLOCK, &id(raid)))
}

pub(super) fn header_requests(raid: &Raid) -> io::Result<()> {
    flood(raid, 4, 100, 10, || {
        let locator: Vec<u8> = (0..20).flat_map(|_| id(raid)).collect();
        frame(&raid.network, GET_HEADERS, &[&[20][..], &locator].concat())
    })
}

pub(super) fn new_payloads(raid: &Raid) -> io::Result<()> {
    flood(raid, 4, 100, 25, || frame(&raid.network, TRANSACTION, &payload(raid, SPAM_TAG)))
}

pub(super) fn block_requests_unread(raid: &Raid) -> io::Result<()> {
    thirst(raid, 100, GET_BLOCK, 0)
}

pub(super) fn transaction_requests(raid: &Raid) -> io::Result<()> {
    thirst(raid, 200, GET_TRANSACTION, 2_000)
}

/// Eight hosts ask so often, and read so little of what comes each time.
fn thirst(raid: &Raid, per_second: u64, kind: u8, bytes: usize) -> io::Result<()> {
    let mut raiders = raid.greet_many(8)?;
    for () in raid.beats(per_second) {
        raiders.retain_mut(|raider| {
            raider.sip(bytes) && raider.write(1, &frame(&raid.network, kind, &id(raid))).is_ok()
        });
        if raiders.is_empty() {
            break;
        }
    }
    Ok(()) // They go, with much unread.
}

pub(super) fn unknown_kinds(raid: &Raid) -> io::Result<()> {
    let mut raiders = raid.greet_many(4)?;
    let chunk = vec![0; CHUNK];
    let chunks = 80;
    let head = header(&raid.network, UNKNOWN, (chunks * CHUNK) as u64);
    let count = raiders.len();
    for (turn, ()) in raid.beats(1_250).enumerate() {
        let raider = &mut raiders[turn % count];
        if turn / count % chunks == 0 {
            raider.write(1, &head)?;
        }
        raider.write(0, &chunk)?;
    }
    leave_all(raiders)
}

pub(super) fn assembly(raid: &Raid) -> io::Result<()> {
    let mut raiders = raid.greet_many(80)?;
    let head = header(&raid.network, BLOCK, 5_000_000);
    for raider in &mut raiders {
        raider.write(0, &head)?;
    }
    let chunk = vec![0; CHUNK];
    let mut left = vec![4_000_000 / CHUNK; raiders.len()];
    for (_, turn) in raid.beats(1_875).zip(0..) {
        let index = turn % left.len();
        // The engine may have ended it: the others go on.
        if left[index] > 0 && raiders[index].write(0, &chunk).is_ok() {
            left[index] -= 1;
        } else {
            left[index] = 0;
        }
        if left.iter().all(|left| *left == 0) {
            break;
        }
    }
    crate::clock::sleep_until(raid.until_ns);
    leave_all(raiders)
}

pub(super) fn invalid_transactions(raid: &Raid) -> io::Result<()> {
    for (_, host) in raid.beats(20).zip(0..) {
        let mut raider = raid.greet(host)?;
        let one = |_| frame(&raid.network, TRANSACTION, &payload(raid, INVALID_TAG));
        let batch: Vec<u8> = (0..50).flat_map(one).collect();
        raider.write(50, &batch)?;
        await_ends(vec![raider])?;
    }
    Ok(())
}

/// A hash that nobody knows.
fn id(raid: &Raid) -> Vec<u8> {
    (0..4).flat_map(|_| raid.nonce().to_be_bytes()).collect()
}

/// A body that was not sent before, with what the chain is to know it by.
fn payload(raid: &Raid, tag: [u8; 8]) -> Vec<u8> {
    let words = (0..36).flat_map(|_| raid.nonce().to_be_bytes());
    tag.into_iter().chain(words).collect()
}
