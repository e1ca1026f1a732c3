//! Attacks with frames that must not come: each ends its own connection.

use std::io;

use crate::clock::now_ns;
use crate::fleet::attack::raider::{ENDING, Hand, Raid, await_ends, frame, header};

const PINGS_HALF: [u8; 8] = [0; 8];

/// What one connection sends: after the greeting or instead of it.
struct Strike {
    greeted: bool,
    bytes: Vec<u8>,
}

impl Strike {
    const fn greeted(bytes: Vec<u8>) -> Self {
        Self { greeted: true, bytes }
    }

    const fn first(bytes: Vec<u8>) -> Self {
        Self { greeted: false, bytes }
    }
}

/// A hundred connections a second, each with the next of these; the engine must end every one.
fn strike(raid: &Raid, strikes: &[Strike]) -> io::Result<()> {
    for ((_, host), strike) in raid.beats(100).zip(0..).zip(strikes.iter().cycle()) {
        let mut raider = if strike.greeted { raid.greet(host)? } else { raid.connect(host)? };
        raider.write(1, &strike.bytes)?;
        if !raider.await_end(now_ns() + ENDING.as_nanos() as u64) {
            return Err(io::Error::other(format!("{:02x?} was endured", strike.bytes.get(..11))));
        }
    }
    Ok(())
}

/// Bytes without a meaning that do not begin with a magic.
fn noise(raid: &Raid) -> Vec<u8> {
    let words = (0..64).flat_map(|_| raid.nonce().to_be_bytes());
    std::iter::once(0xee).chain(words).collect()
}

pub(super) fn garbage(raid: &Raid) -> io::Result<()> {
    strike(raid, &[Strike::greeted(noise(raid)), Strike::first(noise(raid))])
}

pub(super) fn second_hand(raid: &Raid) -> io::Result<()> {
    let net = &raid.network;
    let hand = Hand::new(raid).body();
    strike(
        raid,
        &[
            Strike::greeted(frame(net, 1, &hand)),
            Strike::greeted(frame(net, 2, &hand[..80])),
            Strike::greeted(frame(net, 0, &[])),
            Strike::first(frame(net, 3, &[0; 16])),
            Strike::first(header(net, 11, 1_000_000)),
            Strike::first(header(net, 200, 1_000_000)),
        ],
    )
}

pub(super) fn oversize_frames(raid: &Raid) -> io::Result<()> {
    let net = &raid.network;
    strike(
        raid,
        &[
            Strike::greeted(header(net, 3, 65)),
            Strike::greeted(header(net, 11, 5_392_129)),
            Strike::greeted(header(net, 15, u64::MAX)),
            Strike::greeted(header(net, 200, 1 << 40)),
            Strike::first(header(net, 1, 513)),
        ],
    )
}

pub(super) fn oversize_lists(raid: &Raid) -> io::Result<()> {
    let net = &raid.network;
    let addrs = [257_u32.to_be_bytes().to_vec(), [0, 127, 9, 9, 9, 0, 99].repeat(257)].concat();
    let locator = [vec![21], vec![0; 21 * 32]].concat();
    strike(
        raid,
        &[Strike::greeted(frame(net, 6, &addrs)), Strike::greeted(frame(net, 7, &locator))],
    )
}

pub(super) fn malformed_bodies(raid: &Raid) -> io::Result<()> {
    let net = &raid.network;
    let no_text = Hand { user_agent: vec![b'a', 0xff, 0xfe], ..Hand::new(raid) };
    strike(
        raid,
        &[
            Strike::greeted(frame(net, 3, &PINGS_HALF)),
            Strike::greeted(frame(net, 6, &10_u32.to_be_bytes())),
            Strike::greeted(frame(net, 7, &[20, 0, 0, 0])),
            Strike::greeted(frame(net, 10, &[0; 31])),
            Strike::first(frame(net, 1, &no_text.body())),
        ],
    )
}

pub(super) fn unsolicited_answers(raid: &Raid) -> io::Result<()> {
    let net = &raid.network;
    let unasked = |kind: u8| Strike::greeted(frame(net, kind, &[0; 100]));
    let archive = Strike::greeted(frame(net, 17, &[0; 48]));
    strike(raid, &[unasked(9), unasked(22), unasked(24), unasked(26), unasked(28), archive])
}

pub(super) fn half_frames(raid: &Raid) -> io::Result<()> {
    let net = &raid.network;
    let whole = frame(net, 15, &[7; 100]);
    let halves = [&whole[..50], &whole[..5], &header(net, 200, 100)];
    let mut raiders = raid.greet_many(64)?;
    for (raider, half) in raiders.iter_mut().zip(halves.into_iter().cycle()) {
        raider.write(0, half)?;
    }
    await_ends(raiders)
}
