//! Peer sampling: each node keeps a short list of others, and the lists, changed a little all the
//! time, hold the network together.
//!
//! A driver feeds [`Sampling`] and carries out what it says. The rules are those of the framework
//! of Jelasity et al. (Gossip-based peer sampling, ACM TOCS 2007), each choice a parameter, and
//! those of the plain idea: a list of fixed size; every linked pair exchanges heartbeats; from time
//! to time a list exchange with one neighbour, after which both merge, sort by last contact and
//! keep the head. Beside any view there may be min-wise [`Samplers`].
//!
//! Where links are two-way, a link exists while both ends list each other:
//!
//! ```text
//!   heard --(Link)--> asked --(Linked)--> linked --(Unlink of this number)--> gone
//!                       |                    |
//!                       +-- no answer -------+-- no place any more: Unlink goes to the other end
//! ```
//!
//! Rules, each with its reason:
//!
//! - A link has a number, and an Unlink ends the link of its number only. Why: a late one would
//!   tear down a newer link of the same two.
//! - When both ask at once the larger number is the link's. Why: both know both.
//! - An answer that nobody waits for changes nothing. Why: it would bring back who was lost
//!   meanwhile.
//! - A heartbeat from who is not listed is answered by Unlink. Why: half a link, left behind by
//!   whatever was lost, ends within a period.
//! - Whoever has no neighbour turns to the contacts that it was given first.
//!
//! Where hardened ([`Hardening`](super::Hardening)): what looks fresh is not preferred to what was
//! seen lately, unsolicited traffic is no contact, third parties bring few names and no news of
//! members, a group has few places, a caller is taken once a period.
//!
//! Invariant: the view has at most its places, nobody twice, never ourselves. It cannot hang:
//! every question has a deadline.

mod intake;
mod rules;
#[cfg(test)]
mod tests;
mod view;

use std::collections::VecDeque;
use std::net::SocketAddr;

use codec::{SamplingMessage, Sighting};

pub use rules::{Direction, Hardening, Heartbeat, Keep, Links, Partner, SamplingRules, VIEW_MAX};
use view::{Entry, State, View, micros};

use super::samplers::Samplers;
use crate::address::canonical;
use crate::rng::Rng;
use crate::time::Instant;

/// Addresses to begin with that are remembered. Guess: a list of seeds is shorter.
const CONTACTS_MAX: usize = 32;

/// What happens to the machine.
#[derive(Clone, PartialEq, Debug)]
pub enum SamplingInput {
    /// Begin with these, or take these into account too. Those after the first 32 are left out.
    Join {
        /// Addresses that somebody may be reached at.
        contacts: Vec<SocketAddr>,
    },
    /// A message came.
    Message {
        /// Where its sender can be reached.
        from: SocketAddr,
        /// What it says.
        message: SamplingMessage,
    },
    /// Other traffic came.
    Contact {
        /// From whom.
        peer: SocketAddr,
    },
    /// It does not answer: a connection ended, or could not be made.
    Lost {
        /// Who.
        peer: SocketAddr,
    },
    /// The time of [`Sampling::poll_timeout`] has come, or not.
    Timeout,
}

/// What the machine wants.
#[derive(Clone, PartialEq, Debug)]
pub enum SamplingOutput {
    /// Send this, over a new connection if there is none. If that fails: [`SamplingInput::Lost`].
    Send {
        /// To whom.
        to: SocketAddr,
        /// What.
        message: SamplingMessage,
    },
    /// A two-way link stands.
    Up {
        /// With whom.
        peer: SocketAddr,
    },
    /// It does no more.
    Down {
        /// With whom.
        peer: SocketAddr,
    },
}

/// A question for a list that has no answer yet.
#[derive(Debug)]
struct Question {
    peer: SocketAddr,
    exchange: u32,
    at: Instant,
    /// What was sent, where the rules ask for it.
    sent: Vec<SocketAddr>,
}

/// One node's part of peer sampling.
///
/// ```
/// use peer::overlay::{Sampling, SamplingInput, SamplingOutput, SamplingRules};
/// use peer::{Instant, Locality, Rng};
///
/// let rules = SamplingRules { locality: Locality::Local, ..SamplingRules::newscast() };
/// let [one, other] = [1, 2].map(|n| ([127, 0, 0, n], 3414).into());
/// let mut node = Sampling::new(rules, one, Rng::from_seed([7; 32]));
/// node.handle(Instant::START, SamplingInput::Join { contacts: vec![other] });
/// let due = node.poll_timeout().unwrap();
/// node.handle(due, SamplingInput::Timeout);
/// let Some(SamplingOutput::Send { to, .. }) = node.poll_output() else { panic!("it asks") };
/// assert_eq!(to, other);
/// ```
#[derive(Debug)]
pub struct Sampling {
    rules: SamplingRules,
    own: SocketAddr,
    rng: Rng,
    now: Instant,
    view: View,
    samplers: Samplers,
    contacts: Vec<SocketAddr>,
    next_exchange: Option<Instant>,
    next_heartbeats: Option<Instant>,
    /// When the heartbeats of this round should have been answered.
    heartbeats_due: Option<Instant>,
    asked: Option<Question>,
    /// Samplers that got a heartbeat in this round. At most as many as the rules say.
    probed: Vec<SocketAddr>,
    /// Whose name was taken lately, where hardened. At most as many as the rules say.
    callers: Vec<(SocketAddr, Instant)>,
    outputs: VecDeque<SamplingOutput>,
}

impl Sampling {
    /// A node that knows nobody and does nothing before [`SamplingInput::Join`].
    ///
    /// # Panics
    ///
    /// If the rules do not pass their [check](SamplingRules::check).
    #[must_use]
    pub fn new(rules: SamplingRules, own: SocketAddr, rng: Rng) -> Self {
        if let Err(error) = rules.check() {
            panic!("peer sampling: {error}");
        }
        let keys = rng.fork("samplers");
        let samplers = match rules.hardening {
            Some(_) => Samplers::by_group(rules.samplers, rules.locality, keys),
            None => Samplers::new(rules.samplers, keys),
        };
        Self {
            rules,
            own: canonical(own),
            rng,
            now: Instant::START,
            view: View::new(),
            samplers,
            contacts: Vec::new(),
            next_exchange: None,
            next_heartbeats: None,
            heartbeats_due: None,
            asked: None,
            probed: Vec::new(),
            callers: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input. Drain the outputs then.
    pub fn handle(&mut self, now: Instant, input: SamplingInput) {
        self.now = self.now.max(now);
        match input {
            SamplingInput::Join { contacts } => self.on_join(contacts),
            SamplingInput::Message { from, message } => self.on_message(canonical(from), message),
            SamplingInput::Contact { peer } => self.on_contact(canonical(peer)),
            SamplingInput::Lost { peer } => self.on_lost(canonical(peer)),
            SamplingInput::Timeout => self.on_timeout(),
        }
    }

    /// What is to be done, in this order.
    pub fn poll_output(&mut self) -> Option<SamplingOutput> {
        self.outputs.pop_front()
    }

    /// When [`SamplingInput::Timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let answer = self.asked.as_ref().map(|asked| asked.at.after(self.rules.patience));
        let links = self.view.entries.iter().filter_map(|entry| match entry.state {
            State::Asked { at, .. } => Some(at.after(self.rules.patience)),
            State::Heard | State::Linked { .. } => None,
        });
        [self.next_exchange, self.next_heartbeats, self.heartbeats_due, answer]
            .into_iter()
            .flatten()
            .chain(links)
            .min()
    }

    /// Those that count as neighbours: all of a one-way view, the linked ones of a two-way one.
    pub fn neighbours(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.members().map(|entry| entry.addr)
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn is_neighbour(&self, addr: SocketAddr) -> bool {
        self.members().any(|entry| entry.addr == addr)
    }

    /// The same with the time since the last contact, as another node would be told it.
    pub fn sightings(&self) -> impl Iterator<Item = Sighting> + '_ {
        self.members().map(|entry| entry.sighting(self.now))
    }

    /// What the samplers keep.
    pub fn sampled(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.samplers.iter()
    }

    /// By which it samples.
    #[must_use]
    pub const fn rules(&self) -> &SamplingRules {
        &self.rules
    }

    fn members(&self) -> impl Iterator<Item = &Entry> {
        let two_way = self.is_two_way();
        self.view.entries.iter().filter(move |entry| !two_way || entry.is_linked())
    }

    fn is_two_way(&self) -> bool {
        self.rules.links == Links::TwoWay
    }

    fn on_join(&mut self, contacts: Vec<SocketAddr>) {
        for contact in contacts.into_iter().map(canonical) {
            let known = contact == self.own || self.contacts.contains(&contact);
            if !known && self.contacts.len() < CONTACTS_MAX {
                self.contacts.push(contact);
                self.samplers.offer(contact);
            }
        }
        if self.view.entries.is_empty() {
            let now = micros(self.now);
            self.view.entries.extend(self.contacts.iter().map(|addr| Entry::heard(*addr, now)));
            self.settle(&[]);
        }
        // The nodes of a network are started together, and shall not act together.
        let mut soon = |period: std::time::Duration| {
            let micros = period.as_micros() as u64;
            Some(self.now.after(std::time::Duration::from_micros(self.rng.below(micros))))
        };
        if self.next_exchange.is_none() {
            self.next_exchange = soon(self.rules.period);
            let beats = self.rules.heartbeat != Heartbeat::Nobody || self.rules.hardening.is_some();
            self.next_heartbeats = if beats { soon(self.rules.heartbeat_period) } else { None };
        }
    }

    fn on_timeout(&mut self) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        let patience = self.rules.patience;
        let (exchange, heartbeats) = (due(self.next_exchange), due(self.next_heartbeats));
        let late = self.asked.as_ref().map(|asked| asked.at.after(patience));
        if due(late) {
            self.give_up_exchange();
        }
        if self.heartbeats_due.is_some_and(|at| at <= self.now) {
            self.give_up_heartbeats();
        }
        self.give_up_links();
        if heartbeats {
            self.beat();
        }
        if exchange {
            self.exchange();
        }
    }

    fn give_up_exchange(&mut self) {
        if let Some(asked) = self.asked.take() {
            self.on_failure(asked.peer);
        }
    }

    fn give_up_heartbeats(&mut self) {
        self.heartbeats_due = None;
        let silent: Vec<SocketAddr> =
            self.view.entries.iter().filter(|one| one.awaits).map(|one| one.addr).collect();
        silent.into_iter().for_each(|peer| self.on_failure(peer));
        for peer in self.probed.drain(..) {
            self.samplers.failed(self.now, peer);
        }
    }

    /// Whoever did not answer a Link has no place.
    fn give_up_links(&mut self) {
        let (now, patience) = (self.now, self.rules.patience);
        self.view.entries.retain(|entry| match entry.state {
            State::Asked { at, .. } => now < at.after(patience),
            State::Heard | State::Linked { .. } => true,
        });
    }

    /// A contact failed.
    fn on_failure(&mut self, peer: SocketAddr) {
        self.samplers.failed(self.now, peer);
        let forgets = self.rules.forgets;
        let Some(entry) = self.view.find(peer) else { return };
        entry.awaits = false;
        if forgets || matches!(entry.state, State::Asked { .. }) {
            self.forget(peer);
        }
    }

    fn on_lost(&mut self, peer: SocketAddr) {
        if self.asked.as_ref().is_some_and(|asked| asked.peer == peer) {
            self.asked = None;
        }
        self.on_failure(peer);
    }

    /// Takes a member out of the view, without telling it.
    fn forget(&mut self, peer: SocketAddr) {
        if self.view.remove(peer).is_some_and(|entry| entry.is_linked()) {
            self.outputs.push_back(SamplingOutput::Down { peer });
        }
    }

    /// Asks who is to be asked whether it lives.
    fn beat(&mut self) {
        self.next_heartbeats = Some(self.now.after(self.rules.heartbeat_period));
        self.heartbeats_due = Some(self.now.after(self.rules.patience));
        let mut asked: Vec<SocketAddr> = self.neighbours().collect();
        match self.rules.heartbeat {
            Heartbeat::Nobody => asked.clear(),
            Heartbeat::One => asked = self.rng.pick(&asked).copied().into_iter().collect(),
            Heartbeat::Everyone => {}
        }
        for to in asked {
            let Some(entry) = self.view.find(to) else { continue };
            entry.awaits = true;
            let link = if let State::Linked { link } = entry.state { link } else { 0 };
            self.send(to, SamplingMessage::Heartbeat { link });
        }
        for _ in 0..self.rules.hardening.map_or(0, |hardening| hardening.probes) {
            let Some(to) = self.samplers.pick(&mut self.rng) else { return };
            if to != self.own && !self.view.has(to) && !self.probed.contains(&to) {
                self.probed.push(to);
                self.send(to, SamplingMessage::Heartbeat { link: 0 });
            }
        }
    }

    /// Begins an exchange.
    fn exchange(&mut self) {
        self.next_exchange = Some(self.now.after(self.rules.period));
        self.give_up_exchange();
        let Some(peer) = self.pick_partner() else { return };
        if self.rules.keep == Keep::Swap {
            self.forget(peer);
        }
        let mut sent = Vec::new();
        let pushes = self.rules.direction != Direction::Pull;
        let sightings = if pushes { self.share(peer, true, &mut sent) } else { Vec::new() };
        let exchange = self.rng.u64() as u32;
        let wants = self.rules.direction != Direction::Push;
        if wants {
            self.asked = Some(Question { peer, exchange, at: self.now, sent });
        }
        self.send(peer, SamplingMessage::Request { exchange, wants, sightings });
    }

    fn pick_partner(&mut self) -> Option<SocketAddr> {
        let (own, percent) = (self.own, self.rules.sampler_percent);
        if self.rules.samplers > 0 && self.rng.chance(percent.into(), 100) {
            let sampled = self.samplers.pick(&mut self.rng).filter(|addr| *addr != own);
            if sampled.is_some() {
                return sampled;
            }
        }
        let partner = match self.rules.partner {
            Partner::Random => {
                let all: Vec<SocketAddr> = self.neighbours().collect();
                self.rng.pick(&all).copied()
            }
            Partner::Oldest => {
                self.members().min_by_key(|entry| entry.contact).map(|entry| entry.addr)
            }
        };
        partner.or_else(|| self.rng.pick(&self.contacts).copied())
    }

    /// What `peer` is told: ourselves, if so, and a part of the view; who was named is in `sent`.
    fn share(
        &mut self,
        peer: SocketAddr,
        ourselves: bool,
        sent: &mut Vec<SocketAddr>,
    ) -> Vec<Sighting> {
        let now = self.now;
        let most = self.rules.shared.min(codec::limits::SIGHTINGS_MAX) - usize::from(ourselves);
        let mut members: Vec<Entry> =
            self.members().filter(|entry| entry.addr != peer).copied().collect();
        if members.len() > most {
            self.rng.shuffle(&mut members);
            if let Keep::Select { healer, .. } = self.rules.keep {
                push_back_oldest(&mut members, healer);
            }
            members.truncate(most);
        }
        sent.extend(members.iter().map(|entry| entry.addr));
        let own = Sighting { addr: self.own, age_ms: 0 };
        let first = ourselves.then_some(own);
        first.into_iter().chain(members.iter().map(|entry| entry.sighting(now))).collect()
    }

    /// Cuts the view to its places, tells those who lost theirs and asks those who got one.
    fn settle(&mut self, sent: &[SocketAddr]) {
        self.view.truncate(self.now, &self.rules, sent, &mut self.rng);
        while let Some(entry) = self.view.dropped.pop() {
            if let State::Linked { link } = entry.state {
                self.send(entry.addr, SamplingMessage::Unlink { link });
                self.outputs.push_back(SamplingOutput::Down { peer: entry.addr });
            }
        }
        if !self.is_two_way() {
            return;
        }
        let (outputs, at) = (&mut self.outputs, self.now);
        let heard = self.view.entries.iter_mut().filter(|entry| entry.state == State::Heard);
        for entry in heard {
            // 0 stands for no link.
            let link = (self.rng.u64() as u32).max(1);
            entry.state = State::Asked { link, at };
            let message = SamplingMessage::Link { link };
            outputs.push_back(SamplingOutput::Send { to: entry.addr, message });
        }
    }

    fn send(&mut self, to: SocketAddr, message: SamplingMessage) {
        self.outputs.push_back(SamplingOutput::Send { to, message });
    }

    /// What holds after every input.
    #[cfg(test)]
    fn check(&self) {
        let entries = &self.view.entries;
        assert!(entries.len() <= self.rules.view);
        assert!(self.view.dropped.is_empty());
        for (place, entry) in entries.iter().enumerate() {
            assert_ne!(entry.addr, self.own);
            assert!(entries[..place].iter().all(|other| other.addr != entry.addr));
            assert_eq!(entry.state == State::Heard, !self.is_two_way());
        }
        if let Some(hardening) = self.rules.hardening {
            assert!(self.callers.len() <= hardening.callers_max);
            assert!(self.probed.len() <= hardening.probes);
        }
        assert!(self.contacts.len() <= CONTACTS_MAX);
    }
}

/// The oldest are the last to be sent.
fn push_back_oldest(members: &mut [Entry], count: usize) {
    let mut by_age: Vec<i64> = members.iter().map(|entry| entry.contact).collect();
    by_age.sort_unstable();
    let Some(limit) = by_age.get(count) else { return };
    members.sort_by_key(|entry| entry.contact < *limit);
}
