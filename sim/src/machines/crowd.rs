//! The crowd: its places, its connections, its clock.

use std::time::Duration;

use peer::{Instant, Rng};

use super::{Action, Addresses, Event, Machine};
use crate::dice::Dice;
use crate::schedule::Schedule;

/// Least time that a message takes: the last mile on both sides.
const LATENCY_MIN: Duration = Duration::from_millis(5);

/// Time for the whole side of the plane, once around half of the earth in fibre with its detours.
const LATENCY_SIDE: Duration = Duration::from_millis(100);

/// After so long a node notices that another was not to be reached. Guess: less than a driver waits
/// for a dial, so that an overlay is not blamed for a driver's patience.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(1);

enum Happening<M> {
    /// This node's deadline.
    Timer {
        node: u32,
    },
    Arrival {
        from: u32,
        to: u32,
        message: M,
    },
    /// Traffic that the machine does not read.
    Contact {
        from: u32,
        to: u32,
    },
    Dialed {
        from: u32,
        to: u32,
    },
    DialFailed {
        node: u32,
        peer: u32,
    },
    Lost {
        node: u32,
        peer: u32,
    },
}

/// What is known of a node beside its machine.
struct Place {
    alive: bool,
    /// Nodes of different sides do not reach each other.
    side: u8,
    at: [f32; 2],
    /// Deadline that there is an event for.
    armed: Option<Instant>,
    /// Whom it has a connection with, where machines connect.
    connected: Vec<u32>,
}

/// Many machines of one kind.
pub struct Crowd<M: Machine> {
    machines: Vec<M>,
    places: Vec<Place>,
    addresses: Addresses,
    schedule: Schedule<Happening<M::Message>>,
    now: Instant,
    dice: Rng,
    loss: f64,
    sent: u64,
}

impl<M: Machine> Crowd<M> {
    /// Nobody yet.
    #[must_use]
    pub fn new(addresses: Addresses, dice: Rng) -> Self {
        Self {
            machines: Vec::new(),
            places: Vec::new(),
            addresses,
            schedule: Schedule::default(),
            now: Instant::START,
            dice,
            loss: 0.0,
            sent: 0,
        }
    }

    /// Puts one more node somewhere on the plane, that begins with these contacts.
    pub fn add(&mut self, machine: M, contacts: &[usize]) {
        let node = self.machines.len();
        self.machines.push(machine);
        let at = [self.dice.unit() as f32, self.dice.unit() as f32];
        self.places.push(Place { alive: true, side: 0, at, armed: None, connected: Vec::new() });
        let contacts = contacts.iter().map(|node| self.addresses.of(*node)).collect();
        self.feed(node, Event::Join(contacts));
    }

    /// How many nodes there are, the dead included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.machines.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    /// Now.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Messages sent so far.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// The machine of a node.
    #[must_use]
    pub fn machine(&self, node: usize) -> &M {
        &self.machines[node]
    }

    /// Has the machine of a node do something of its user's accord, unless it is dead.
    pub fn tell<R>(&mut self, node: usize, what: impl FnOnce(&mut M, Instant) -> R) -> Option<R> {
        if !self.places[node].alive {
            return None;
        }
        let done = what(&mut self.machines[node], self.now);
        self.obey(node);
        Some(done)
    }

    /// Where the nodes are on the unit square.
    #[must_use]
    pub fn plane(&self) -> Vec<[f32; 2]> {
        self.places.iter().map(|place| place.at).collect()
    }

    /// How long a message between the two is on its way.
    #[must_use]
    pub fn latency(&self, one: usize, other: usize) -> Duration {
        let [a, b] = [self.places[one].at, self.places[other].at];
        latency(a, b)
    }

    /// Share of the messages that are lost from now on, where machines do not connect.
    pub fn lose(&mut self, share: f64) {
        self.loss = share;
    }

    /// These nodes are dead from now on.
    pub fn kill(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.places[*node].alive = false;
        }
        for node in nodes {
            for peer in std::mem::take(&mut self.places[*node].connected) {
                let at = self.now.after(self.latency(*node, peer as usize));
                self.schedule.push(at, Happening::Lost { node: peer, peer: *node as u32 });
            }
        }
    }

    /// Whether a node lives.
    #[must_use]
    pub fn is_alive(&self, node: usize) -> bool {
        self.places[node].alive
    }

    /// From now on only nodes of the same side reach each other.
    pub fn split(&mut self, side: impl Fn(usize) -> u8) {
        for (node, place) in self.places.iter_mut().enumerate() {
            place.side = side(node);
        }
        for node in 0..self.places.len() {
            let side = self.places[node].side;
            let connected = std::mem::take(&mut self.places[node].connected);
            let (kept, cut) =
                connected.into_iter().partition(|peer| self.places[*peer as usize].side == side);
            self.places[node].connected = kept;
            let cut: Vec<u32> = cut;
            for peer in cut {
                let at = self.now.after(UNREACHABLE_AFTER);
                self.schedule.push(at, Happening::Lost { node: node as u32, peer });
            }
        }
    }

    /// Traffic of another kind from one node to another.
    pub fn contact(&mut self, from: usize, to: usize) {
        let at = self.now.after(self.latency(from, to));
        self.schedule.push(at, Happening::Contact { from: from as u32, to: to as u32 });
    }

    /// Lets so much time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some((at, happening)) = self.schedule.pop_until(end) {
            self.now = at;
            self.happen(happening);
        }
        self.now = end;
    }

    /// Whom each node has as neighbours, by number; nobody for the dead. Who is listed may be dead.
    #[must_use]
    pub fn views(&self) -> Vec<Vec<u32>> {
        let view = |node: usize| {
            let mut view = Vec::new();
            if self.places[node].alive {
                self.machines[node].neighbours(&mut |addr| {
                    let known = self.addresses.node(addr).filter(|peer| *peer < self.len());
                    view.extend(known.map(|peer| peer as u32));
                });
            }
            view
        };
        (0..self.len()).map(view).collect()
    }

    fn happen(&mut self, happening: Happening<M::Message>) {
        match happening {
            Happening::Timer { node } => {
                let place = &mut self.places[node as usize];
                if place.armed == Some(self.now) {
                    place.armed = None;
                    self.feed(node as usize, Event::Timeout);
                }
            }
            Happening::Arrival { from, to, message } => self.arrive(from, to, message),
            Happening::Contact { from, to } => {
                if self.reaches(from, to) {
                    let from = self.addresses.of(from as usize);
                    self.feed(to as usize, Event::Contact(from));
                }
            }
            Happening::Dialed { from, to } => self.dialed(from, to),
            Happening::DialFailed { node, peer } => {
                let peer = self.addresses.of(peer as usize);
                self.feed(node as usize, Event::DialFailed(peer));
            }
            Happening::Lost { node, peer } => {
                self.places[node as usize].connected.retain(|one| *one != peer);
                let peer = self.addresses.of(peer as usize);
                self.feed(node as usize, Event::Lost(peer));
            }
        }
    }

    fn arrive(&mut self, from: u32, to: u32, message: M::Message) {
        let connected = !M::CONNECTS || self.places[to as usize].connected.contains(&from);
        if self.reaches(from, to) && connected {
            let from = self.addresses.of(from as usize);
            self.feed(to as usize, Event::Message { from, message });
        } else if !M::CONNECTS {
            let at = self.now.after(UNREACHABLE_AFTER);
            self.schedule.push(at, Happening::Lost { node: from, peer: to });
        }
    }

    fn dialed(&mut self, from: u32, to: u32) {
        if !self.reaches(from, to) {
            let at = self.now.after(UNREACHABLE_AFTER);
            return self.schedule.push(at, Happening::DialFailed { node: from, peer: to });
        }
        for (one, other) in [(from, to), (to, from)] {
            let connected = &mut self.places[one as usize].connected;
            if !connected.contains(&other) {
                connected.push(other);
            }
        }
        let peer = self.addresses.of(to as usize);
        self.feed(from as usize, Event::Connected(peer));
    }

    fn reaches(&self, from: u32, to: u32) -> bool {
        let [from, to] = [from, to].map(|node| &self.places[node as usize]);
        from.alive && to.alive && from.side == to.side
    }

    /// Gives a node its event.
    fn feed(&mut self, node: usize, event: Event<M::Message>) {
        if !self.places[node].alive {
            return;
        }
        self.machines[node].handle(self.now, event);
        self.obey(node);
    }

    /// Does what a node wants, and wakes it when it wants.
    fn obey(&mut self, node: usize) {
        while let Some(action) = self.machines[node].poll() {
            self.perform(node, action);
        }
        let Some(deadline) = self.machines[node].deadline() else { return };
        // A deadline in the past is due now.
        let deadline = deadline.max(self.now);
        let place = &mut self.places[node];
        if place.armed.is_none_or(|armed| deadline < armed) {
            place.armed = Some(deadline);
            self.schedule.push(deadline, Happening::Timer { node: node as u32 });
        }
    }

    fn perform(&mut self, node: usize, action: Action<M::Message>) {
        let from = node as u32;
        match action {
            Action::Send { to, message } => {
                self.sent += 1;
                let Some(to) = self.known(to) else { return };
                let lost = self.loss > 0.0 && self.dice.unit() < self.loss;
                let goes = !M::CONNECTS || self.places[node].connected.contains(&to);
                if goes && !lost {
                    let at = self.now.after(self.latency(node, to as usize));
                    self.schedule.push(at, Happening::Arrival { from, to, message });
                }
            }
            Action::Dial(peer) => {
                let Some(to) = self.known(peer) else { return };
                let at = self.now.after(2 * self.latency(node, to as usize));
                self.schedule.push(at, Happening::Dialed { from, to });
            }
            Action::Close(peer) => {
                let Some(to) = self.known(peer) else { return };
                let connected = &mut self.places[node].connected;
                let before = connected.len();
                connected.retain(|one| *one != to);
                if connected.len() < before && self.places[to as usize].connected.contains(&from) {
                    let at = self.now.after(self.latency(node, to as usize));
                    self.schedule.push(at, Happening::Lost { node: to, peer: from });
                }
            }
            Action::Tell => {}
        }
    }

    fn known(&self, addr: std::net::SocketAddr) -> Option<u32> {
        let node = self.addresses.node(addr)?;
        (node < self.len()).then_some(node as u32)
    }
}

/// Of a way over the plane.
pub(crate) fn latency(a: [f32; 2], b: [f32; 2]) -> Duration {
    let way = f64::from(a[0] - b[0]).hypot(f64::from(a[1] - b[1]));
    LATENCY_MIN + LATENCY_SIDE.mul_f64(way)
}
