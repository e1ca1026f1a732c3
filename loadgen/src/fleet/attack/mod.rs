//! The attackers of `hostile`: a table of attacks, and the child process that makes them.
//!
//! Each attack is a short function on blocking sockets, bounded in connections, rate and time, and
//! comes from a network group of its own. Paces leave the machine's cores to the others: what an
//! attack costs is to be the engine's doing.

mod flood;
mod frames;
mod greeting;
pub(crate) mod raider;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::talk::{Order, Outcome, Said, heard, tell};
use raider::Raid;

/// One attack.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// What it does, at which pace.
    pub(crate) what: &'static str,
    /// How the engine may end its connections; anything else is an error.
    pub(crate) expected: &'static [&'static str],
    /// Counters of the engine of which each must grow: the limits that hold the attack.
    pub(crate) limits: &'static [&'static str],
    make: fn(&Raid) -> io::Result<()>,
}

/// The network group of the first attack; each has the next one.
const FIRST_GROUP: u8 = 16;

macro_rules! attacks {
    ($($name:ident: $what:literal, $expected:expr, $limits:expr, $make:path;)+) => {
        /// All attacks, in the order in which they are made.
        pub(crate) const ATTACKS: &[Attack] = &[$(Attack {
            name: stringify!($name),
            what: $what,
            expected: &$expected,
            limits: &$limits,
            make: $make,
        },)+];
    };
}

attacks! {
    silent_connections: "500 hosts connect and say nothing",
        ["handshake_timeout"], [], greeting::silent_connections;
    slow_loris: "64 hosts send their Hand a byte each 0.5 s",
        ["handshake_timeout"], [], greeting::slow_loris;
    connection_churn: "300 connections a second, of which a quarter end before they greet",
        ["remote_closed", "handshake_aborted"], [], greeting::connection_churn;
    full_house: "1,300 hosts of one group greet at 1,000/s and stay: more than there is room for",
        ["remote_closed", "evicted", "no_room"], [], greeting::full_house;
    duplicate_connections: "one host connects 100 times a second while its first connection stands",
        ["remote_closed", "duplicate_connection"], [], greeting::duplicate_connections;
    wrong_genesis: "100 greetings a second of another chain",
        ["wrong_genesis"], [], greeting::wrong_genesis;
    odd_versions: "100 greetings a second with versions 0, 1, 2, 999 and 2^32-1, and a Ping",
        ["remote_closed"], [], greeting::odd_versions;
    capability_garbage: "100 greetings a second with random capabilities and strange user agents",
        ["remote_closed"], [], greeting::capability_garbage;
    self_dial: "the engine is made to dial, and gets its own nonce back on another connection",
        ["myself"], [], greeting::self_dial;
    garbage: "100 connections a second send random bytes, half of them after the greeting",
        ["wrong_magic"], [], frames::garbage;
    second_hand: "100 connections a second greet twice, or send a Shake or an Error",
        ["unexpected_kind"], [], frames::second_hand;
    oversize_frames: "100 connections a second announce a body over the limit of its kind",
        ["oversize_frame"], [], frames::oversize_frames;
    oversize_lists: "100 connections a second send 257 addresses or 21 hashes",
        ["list_too_long"], [], frames::oversize_lists;
    malformed_bodies: "100 connections a second send bodies that end too early, or no UTF-8",
        ["malformed"], [], frames::malformed_bodies;
    unsolicited_answers: "100 connections a second send headers, segments, archives unasked",
        ["unsolicited"], [], frames::unsolicited_answers;
    half_frames: "64 hosts send half a frame and stay",
        ["frame_timeout"], [], frames::half_frames;
    assembly_flood: "80 hosts send 4 MB each of blocks that they never finish, at 120 MB/s",
        ["assembly_full", "truncated_frame"], [], flood::assembly;
    unknown_kinds: "4 hosts send bodies of 5 MB of an unknown kind, at 80 MB/s",
        ["remote_closed", "truncated_frame"], ["unknown_frames"], flood::unknown_kinds;
    ping_flood: "2 hosts send 60,000 Pings a second each",
        ["remote_closed", "flooding"], ["messages_passed_over"], flood::pings;
    announcement_flood: "4 hosts announce 20,000 random kernels a second each",
        ["remote_closed", "flooding"], ["messages_passed_over"], flood::announcements;
    address_flood: "4 hosts send 10 times a second 256 made-up addresses each",
        ["remote_closed"], ["addresses_passed_over"], flood::addresses;
    address_requests: "8 hosts ask 100 times a second each for addresses",
        ["remote_closed"], ["address_requests_passed_over"], flood::address_requests;
    block_requests: "4 hosts ask 100 times a second each for a block of 1 MB, and read it all",
        ["remote_closed"], ["requests_refused"], flood::block_requests;
    block_requests_unread: "8 hosts ask 100 times a second each for a block of 1 MB, and read none",
        ["slow_reader", "connection_lost", "remote_closed"], ["requests_refused"],
        flood::block_requests_unread;
    transaction_requests: "8 hosts ask 200 times a second each for 100 kB, and read 400 kB/s",
        ["slow_reader", "connection_lost", "remote_closed"], ["requests_refused"],
        flood::transaction_requests;
    header_requests: "4 hosts ask 1,000 times a second each for headers, with 20 hashes",
        ["remote_closed"], ["requests_refused"], flood::header_requests;
    new_payloads: "4 hosts send 2,500 transactions a second each that nobody has seen",
        ["remote_closed"], ["payloads_new"], flood::new_payloads;
    invalid_transactions: "20 hosts a second send 50 invalid transactions each",
        ["banned"], ["bans"], flood::invalid_transactions;
    ban_evasion: "a host is banned, and comes back 100 times a second from other ports",
        ["banned"], ["bans"], greeting::ban_evasion;
}

/// The child process.
pub(crate) fn run(target: SocketAddr) -> Result<(), String> {
    crate::process::raise_descriptor_limit();
    tell(&Said::Ready { listening: Vec::new() });
    while let Some(order) = heard() {
        let Order::Attack { name, ms } = order else {
            return Err("attackers do nothing else".into());
        };
        let found = ATTACKS.iter().zip(FIRST_GROUP..).find(|(attack, _)| attack.name == name);
        let (attack, group) = found.ok_or_else(|| format!("no attack {name}"))?;
        let before = cpu_ns();
        let raid = Raid::new(target, group, Duration::from_millis(ms));
        let fault = (attack.make)(&raid).err().map(|error| error.to_string());
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        tell(&Said::Outcome(Outcome {
            connections: count(&raid.connections),
            frames_sent: count(&raid.frames_sent),
            bytes_sent: count(&raid.bytes_sent),
            bytes_received: count(&raid.bytes_received),
            cpu_ns: cpu_ns() - before,
            fault,
        }));
    }
    Ok(())
}

/// Processor time of this process.
fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use molva::CloseReason;

    use super::*;

    #[test]
    fn every_attack_has_a_name_and_expects_causes_that_there_are() {
        let causes: BTreeSet<_> = CloseReason::ALL.iter().map(|reason| reason.name()).collect();
        let names: BTreeSet<_> = ATTACKS.iter().map(|attack| attack.name).collect();
        assert_eq!(names.len(), ATTACKS.len());
        for attack in ATTACKS {
            assert!(!attack.expected.is_empty(), "{}", attack.name);
            assert!(attack.expected.iter().all(|cause| causes.contains(cause)), "{}", attack.name);
        }
    }
}
