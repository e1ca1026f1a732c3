//! Who tells of its fellows only, and always that they were seen just now.

use std::net::SocketAddr;
use std::time::Duration;

use codec::{SamplingMessage, Sighting};
use peer::overlay::Sampling;
use peer::{Instant, Rng};

use crate::machines::{Action, Event, Machine};

/// Fellows that one message names.
const NAMED: usize = 20;

/// One liar: it calls honest nodes, answers whatever it is asked, accepts every link.
pub(super) struct Liar {
    crew: Vec<SocketAddr>,
    victims: Vec<SocketAddr>,
    /// Between two calls.
    wait: Duration,
    next: Option<Instant>,
    rng: Rng,
    actions: Vec<Action<SamplingMessage>>,
}

impl Liar {
    pub(super) fn new(crew: Vec<SocketAddr>, wait: Duration, rng: Rng) -> Self {
        Self { crew, victims: Vec::new(), wait, next: None, rng, actions: Vec::new() }
    }

    fn lies(&mut self) -> Vec<Sighting> {
        self.rng.shuffle(&mut self.crew);
        let named = self.crew.iter().take(NAMED);
        named.map(|addr| Sighting { addr: *addr, age_ms: 0 }).collect()
    }

    fn handle(&mut self, now: Instant, event: Event<SamplingMessage>) {
        match event {
            Event::Join(victims) => {
                self.victims = victims;
                let wait = self.rng.below(self.wait.as_micros() as u64);
                self.next = Some(now.after(Duration::from_micros(wait)));
            }
            Event::Message { from, message } => self.answer(from, message),
            Event::Timeout => self.call(now),
            Event::Contact(_) | Event::Connected(_) | Event::DialFailed(_) | Event::Lost(_) => {}
        }
    }

    fn call(&mut self, now: Instant) {
        self.next = Some(now.after(self.wait));
        let Some(to) = self.rng.pick(&self.victims).copied() else { return };
        let sightings = self.lies();
        let exchange = self.rng.u64() as u32;
        let request = SamplingMessage::Request { exchange, wants: true, sightings };
        let link = SamplingMessage::Link { link: exchange.max(1) };
        self.actions.extend([request, link].map(|message| Action::Send { to, message }));
    }

    fn answer(&mut self, to: SocketAddr, message: SamplingMessage) {
        let message = match message {
            SamplingMessage::Request { exchange, .. } => {
                SamplingMessage::Reply { exchange, sightings: self.lies() }
            }
            SamplingMessage::Heartbeat { link } => SamplingMessage::Alive { link },
            SamplingMessage::Link { link } => SamplingMessage::Linked { link },
            SamplingMessage::Reply { .. }
            | SamplingMessage::Alive { .. }
            | SamplingMessage::Linked { .. }
            | SamplingMessage::Unlink { .. } => return,
        };
        self.actions.push(Action::Send { to, message });
    }
}

/// Any node of such a network.
pub(super) enum Node {
    Honest(Box<Sampling>),
    Liar(Box<Liar>),
}

impl Machine for Node {
    type Message = SamplingMessage;

    const CONNECTS: bool = false;

    fn handle(&mut self, now: Instant, event: Event<SamplingMessage>) {
        match self {
            Self::Honest(machine) => Machine::handle(machine.as_mut(), now, event),
            Self::Liar(liar) => liar.handle(now, event),
        }
    }

    fn poll(&mut self) -> Option<Action<SamplingMessage>> {
        match self {
            Self::Honest(machine) => machine.poll(),
            Self::Liar(liar) => liar.actions.pop(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Honest(machine) => machine.deadline(),
            Self::Liar(liar) => liar.next,
        }
    }

    fn neighbours(&self, each: &mut dyn FnMut(SocketAddr)) {
        match self {
            Self::Honest(machine) => Machine::neighbours(machine.as_ref(), each),
            // Whom a liar lists is nobody's matter.
            Self::Liar(_) => {}
        }
    }
}
