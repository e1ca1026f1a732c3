//! The overlay, alone and in company.

mod faults;
mod laws;
mod network;
mod rules;
mod world;

use std::net::SocketAddr;
use std::time::Duration;

use codec::{HyParViewMessage, Priority};

use super::*;

use HyParViewMessage::{Disconnect, ForwardJoin, Join, Neighbor, NeighborReply};

/// Node `n`, each of a group of its own.
fn addr(n: u16) -> SocketAddr {
    let [high, low] = n.to_be_bytes();
    ([20 + high, low, 0, 1], 3414).into()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// One node whose driver is the test.
struct Alone {
    node: HyParView,
    now: Instant,
}

impl Alone {
    /// Node 0. Its first shuffle is far away.
    fn new() -> Self {
        Self::with(HyParViewRules { shuffle_period: secs(86_400), ..HyParViewRules::default() })
    }

    fn with(rules: HyParViewRules) -> Self {
        assert_eq!(rules.check(), Ok(()));
        let node = HyParView::new(rules, addr(0), Rng::from_seed([7; 32]));
        Self { node, now: Instant::START }
    }

    /// With neighbours `1..=count`, whose links have their own number as epoch.
    fn linked(count: u16) -> Self {
        let mut alone = Self::new();
        for n in 1..=count {
            alone.hear(n, Neighbor { priority: Priority::Low, epoch: n.into() });
            assert!(alone.node.is_active(addr(n)));
        }
        alone
    }

    fn feed(&mut self, input: HyParViewInput) -> Vec<HyParViewOutput> {
        self.node.handle(self.now, input);
        let outputs = std::iter::from_fn(|| self.node.poll_output()).collect();
        self.node.check();
        outputs
    }

    fn hear(&mut self, n: u16, message: HyParViewMessage) -> Vec<HyParViewOutput> {
        self.feed(HyParViewInput::Message { from: addr(n), message })
    }

    fn connected(&mut self, n: u16) -> Vec<HyParViewOutput> {
        self.feed(HyParViewInput::Connected { peer: addr(n) })
    }

    fn lost(&mut self, n: u16) -> Vec<HyParViewOutput> {
        self.feed(HyParViewInput::Lost { peer: addr(n) })
    }

    fn join(&mut self, contacts: impl IntoIterator<Item = u16>) -> Vec<HyParViewOutput> {
        self.feed(HyParViewInput::Join { contacts: contacts.into_iter().map(addr).collect() })
    }

    /// Puts addresses in reserve, as a parting neighbour is.
    fn reserve(&mut self, ns: impl IntoIterator<Item = u16>) {
        ns.into_iter().for_each(|n| self.node.reserve(addr(n), &mut Vec::new()));
    }

    /// Waits, with a timeout at each instant that is asked for.
    fn wait(&mut self, wait: Duration) -> Vec<HyParViewOutput> {
        let end = self.now.after(wait);
        let mut outputs = Vec::new();
        while let Some(due) = self.node.poll_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            outputs.extend(self.feed(HyParViewInput::Timeout));
        }
        self.now = end;
        outputs
    }

    /// Waits for the next shuffle, which may bring other things about.
    fn shuffle(&mut self) -> Vec<HyParViewOutput> {
        self.wait(self.node.rules.shuffle_period * 2)
    }

    fn active(&self) -> Vec<SocketAddr> {
        let mut active: Vec<_> = self.node.active().collect();
        active.sort_unstable();
        active
    }

    fn is_reserve(&self, n: u16) -> bool {
        self.node.passive().any(|one| one == addr(n))
    }
}

fn dial(n: u16) -> HyParViewOutput {
    HyParViewOutput::Dial { peer: addr(n) }
}

fn send(n: u16, message: HyParViewMessage) -> HyParViewOutput {
    HyParViewOutput::Send { to: addr(n), message }
}

fn close(n: u16) -> HyParViewOutput {
    HyParViewOutput::Close { peer: addr(n) }
}

fn up(n: u16) -> HyParViewOutput {
    HyParViewOutput::Up { peer: addr(n) }
}

fn down(n: u16) -> HyParViewOutput {
    HyParViewOutput::Down { peer: addr(n) }
}

/// The epoch of the request among these outputs.
fn epoch_of(outputs: &[HyParViewOutput]) -> u64 {
    let epoch = outputs.iter().find_map(|output| match output {
        HyParViewOutput::Send { message: Join { epoch } | Neighbor { epoch, .. }, .. } => {
            Some(*epoch)
        }
        _ => None,
    });
    epoch.expect("a request was sent")
}

/// Whom these outputs dial.
fn dialed(outputs: &[HyParViewOutput]) -> Vec<SocketAddr> {
    let dials = outputs.iter().filter_map(|output| match output {
        HyParViewOutput::Dial { peer } => Some(*peer),
        _ => None,
    });
    dials.collect()
}
