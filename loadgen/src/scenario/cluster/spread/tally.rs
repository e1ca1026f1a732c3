//! What became of the messages, for the report.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::words::{Hearing, Look};

/// Places of the curve of nodes that know.
const CURVE_POINTS: usize = 100;

/// All that was heard, as it comes in.
#[derive(Default)]
pub(super) struct Tally {
    /// When each message was said.
    published: BTreeMap<u32, u64>,
    heard: BTreeMap<u32, Vec<(u32, u64, Option<u16>)>>,
    looks: BTreeMap<u32, Look>,
}

/// What became of the messages.
#[derive(Clone, PartialEq, Default, Debug, Serialize)]
pub(in crate::scenario::cluster) struct Figures {
    /// Engines, each a process, and those of them that live in the end.
    pub(in crate::scenario::cluster) engines: u32,
    pub(in crate::scenario::cluster) living: u32,
    /// Messages, and deliveries to those that live in the end.
    pub(in crate::scenario::cluster) messages: u32,
    pub(in crate::scenario::cluster) delivered: u64,
    /// Deliveries to those that there were not.
    pub(in crate::scenario::cluster) missing: u64,
    /// Links that a message came over, if they were counted.
    pub(in crate::scenario::cluster) hops_mean: Option<f64>,
    /// Copies that came to who had the message, for each new one.
    pub(in crate::scenario::cluster) duplicates: f64,
    /// Milliseconds until 99 % and all of those who hear a message at all have heard it, medians.
    pub(in crate::scenario::cluster) ms_to_most: f64,
    pub(in crate::scenario::cluster) ms_to_all: f64,
    /// Milliseconds since a message was said, and the share of deliveries that had been until then.
    pub(in crate::scenario::cluster) curve: Vec<(f64, f64)>,
}

impl Tally {
    pub(super) fn publish(&mut self, message: u32, us: u64) {
        self.published.insert(message, us);
    }

    pub(super) fn hear(&mut self, engine: u32, (message, us, hops): Hearing) {
        self.heard.entry(message).or_default().push((engine, us, hops));
    }

    pub(super) fn look(&mut self, engine: u32, look: Look) {
        self.looks.insert(engine, look);
    }

    /// Of those who live in the end.
    pub(super) fn figures(&self, engines: u32, gone: &BTreeSet<u32>) -> Figures {
        let living = engines - gone.len() as u32;
        let mut all = Vec::new();
        let (mut most, mut last) = (Vec::new(), Vec::new());
        let (mut hops, mut counted) = (0_u64, 0_u64);
        for (message, begun) in &self.published {
            let heard = self.heard.get(message).into_iter().flatten();
            let heard = heard.filter(|(engine, ..)| !gone.contains(engine));
            let mut times = Vec::new();
            for (_, us, links) in heard {
                times.push(us.saturating_sub(*begun) as f64 / 1e3);
                hops += u64::from(links.unwrap_or(0));
                counted += u64::from(links.is_some());
            }
            times.sort_unstable_by(f64::total_cmp);
            most.extend(at_share(&times, 0.99));
            last.extend(times.last().copied());
            all.append(&mut times);
        }
        let looks = self.looks.iter().filter(|(engine, _)| !gone.contains(*engine));
        let (new, known) =
            looks.fold((0, 0), |(new, known), (_, look)| (new + look.new, known + look.known));
        let wanted = self.published.len() as u64 * u64::from(living.saturating_sub(1));
        all.sort_unstable_by(f64::total_cmp);
        Figures {
            engines,
            living,
            messages: self.published.len() as u32,
            delivered: all.len() as u64,
            missing: wanted.saturating_sub(all.len() as u64),
            hops_mean: (counted > 0).then(|| hops as f64 / counted as f64),
            duplicates: known as f64 / new.max(1) as f64,
            ms_to_most: median(most),
            ms_to_all: median(last),
            curve: curve(&all, wanted),
        }
    }
}

/// The least time at which this share of all these had passed.
fn at_share(times: &[f64], share: f64) -> Option<f64> {
    let place = (share * times.len() as f64).ceil() as usize;
    times.get(place.max(1) - 1).copied()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    at_share(&figures, 0.5).unwrap_or_default()
}

/// The share of what was wanted, at the times at which it rises.
fn curve(times: &[f64], wanted: u64) -> Vec<(f64, f64)> {
    let step = times.len().div_ceil(CURVE_POINTS).max(1);
    let places = (0..times.len()).step_by(step).chain(times.len().checked_sub(1));
    places.map(|place| (times[place], (place + 1) as f64 / wanted.max(1) as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_gone_does_not_count() {
        let mut tally = Tally::default();
        tally.publish(0, 1_000);
        tally.publish(1, 9_000);
        for (engine, message, us, hops) in
            [(1, 0, 2_000, 1), (2, 0, 3_000, 2), (3, 0, 9_000, 9), (1, 1, 10_000, 3)]
        {
            tally.hear(engine, (message, us, Some(hops)));
        }
        for engine in 0..4 {
            tally.look(engine, Look { new: 2, known: u64::from(engine), ..Look::default() });
        }
        let figures = tally.figures(4, &[3].into());
        assert_eq!((figures.living, figures.messages), (3, 2));
        assert_eq!((figures.delivered, figures.missing), (3, 1));
        assert_eq!(figures.hops_mean, Some(2.0));
        assert_eq!(figures.duplicates, 0.5);
        assert_eq!((figures.ms_to_most, figures.ms_to_all), (1.0, 1.0));
        assert_eq!(figures.curve.last(), Some(&(2.0, 0.75)));
    }

    #[test]
    fn nothing_said_is_no_fault() {
        let figures = Tally::default().figures(4, &BTreeSet::new());
        assert_eq!((figures.delivered, figures.missing, figures.hops_mean), (0, 0, None));
        assert!(figures.curve.is_empty());
    }
}
