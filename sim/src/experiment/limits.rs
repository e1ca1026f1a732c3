//! What may be asked for, in one place.
//!
//! A run takes four gigabytes at most, and as many runs are made at once as there are cores; the
//! other limits keep times within a clock, and work within what somebody would wait for. Each
//! experiment asks here before it begins.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use crate::list::List;

/// Most runs of one setting: intervals become narrower with the root of their number, and those of
/// ten thousand are narrower than any figure is told.
const SEEDS_MAX: u64 = 10_000;

/// Fewest nodes that are called a network.
const NODES_MIN: usize = 10;

/// Most nodes where each is a machine alone, which takes some 4 kB.
const MACHINES_MAX: usize = 1_000_000;

/// Most nodes where each is a whole endpoint, which takes some 210 kB with its links.
const ENDPOINTS_MAX: usize = 20_000;

/// Most pairs of a node and what it knows, another node or a message, of 40 bytes.
pub(crate) const PAIRS_MAX: usize = 100_000_000;

/// Most cycles that are watched, of ten virtual seconds each: more than a day of them.
const CYCLES_MAX: u32 = 10_000;

/// Most milliseconds between two payloads: an hour.
const EVERY_MS_MAX: u64 = 3_600_000;

/// Whether a parameter is within what it may be.
pub(super) fn within<T: PartialOrd + Display>(
    name: &str,
    value: T,
    bounds: RangeInclusive<T>,
) -> Result<(), String> {
    match bounds.contains(&value) {
        true => Ok(()),
        false => {
            Err(format!("--{name} {value}: it is from {} to {}", bounds.start(), bounds.end()))
        }
    }
}

/// The same of each value of a list.
pub(super) fn all_within<T: PartialOrd + Display + Copy>(
    name: &str,
    values: &List<T>,
    bounds: RangeInclusive<T>,
) -> Result<(), String> {
    values.iter().try_for_each(|value| within(name, *value, bounds.clone()))
}

/// Whether there are such seeds, and not too many.
///
/// # Errors
///
/// Which of both is wrong.
pub fn check_seeds(first: u64, count: u64) -> Result<(), String> {
    within("seeds", count, 1..=SEEDS_MAX)?;
    match first.checked_add(count) {
        Some(_) => Ok(()),
        None => Err(format!("--seed {first}: there are no {count} seeds from there on")),
    }
}

/// These seeds.
pub(crate) const fn seeds(first: u64, count: u64) -> Range<u64> {
    first..first.saturating_add(count)
}

pub(super) fn cycles(name: &str, count: u32) -> Result<(), String> {
    within(name, count, 1..=CYCLES_MAX)
}

/// Milliseconds between two payloads, in the mean.
pub(super) fn every_ms(pause: u64) -> Result<(), String> {
    within("every-ms", pause, 1..=EVERY_MS_MAX)
}

fn network(nodes: usize, most: usize, each: &str) -> Result<(), String> {
    if nodes < NODES_MIN {
        return Err(format!("{nodes} nodes are no network: ten or more"));
    }
    if nodes > most {
        let why = format!("each takes some {each}");
        return Err(format!("{nodes} nodes are too many: {most} at most, since {why}"));
    }
    Ok(())
}

/// Whether so many machines can be.
pub(super) fn machines(nodes: usize) -> Result<(), String> {
    network(nodes, MACHINES_MAX, "4 kB")
}

/// Whether so many whole endpoints can be, and dial so many others each.
pub(super) fn endpoints(nodes: usize, degree: usize) -> Result<(), String> {
    network(nodes, ENDPOINTS_MAX, "210 kB")?;
    if degree == 0 {
        return Err("--degree 0: without links there is no network".to_owned());
    }
    // As drawing at random needs them; the bound of nodes keeps the product small.
    if nodes <= degree.saturating_mul(4) {
        return Err(format!("{nodes} nodes cannot dial {degree} others each: four times as many"));
    }
    Ok(())
}

/// Whether so many of a node's companions, or messages, can be known to all nodes.
pub(super) fn known(nodes: usize, each: usize, what: &str) -> Result<(), String> {
    match nodes.saturating_mul(each) <= PAIRS_MAX {
        true => Ok(()),
        false => {
            let most = PAIRS_MAX / nodes.max(1);
            Err(format!("{each} {what} are too many for {nodes} nodes: {most} at most"))
        }
    }
}
