//! What messages do to a view, and what is believed of them.

use std::net::SocketAddr;
use std::time::Duration;

use codec::{SamplingMessage, Sighting};

use super::view::{Entry, State, before, micros};
use super::{Direction, Hardening, Keep, Question, Sampling, SamplingOutput};
use crate::address::canonical;

impl Sampling {
    pub(super) fn on_message(&mut self, from: SocketAddr, message: SamplingMessage) {
        if from == self.own {
            return;
        }
        match message {
            SamplingMessage::Request { exchange, wants, sightings } => {
                self.on_request(from, exchange, wants, &sightings);
            }
            SamplingMessage::Reply { exchange, sightings } => {
                self.on_reply(from, exchange, &sightings);
            }
            SamplingMessage::Heartbeat { link } => self.on_heartbeat(from, link),
            SamplingMessage::Alive { link } => self.on_alive(from, link),
            SamplingMessage::Link { link } => self.on_link(from, link),
            SamplingMessage::Linked { link } => self.on_linked(from, link),
            SamplingMessage::Unlink { link } => self.on_unlink(from, link),
        }
    }

    /// Traffic that we did not ask for.
    pub(super) fn on_contact(&mut self, peer: SocketAddr) {
        if peer != self.own {
            self.note(peer, false);
        }
    }

    /// It lives. Where hardened only an answer counts as contact: whoever calls all the time would
    /// seem the freshest else.
    fn note(&mut self, peer: SocketAddr, answered: bool) {
        if self.rules.locality.is_reachable(peer) {
            self.samplers.offer(peer);
            self.samplers.reached(peer);
        }
        let counts = self.rules.refresh && (answered || self.rules.hardening.is_none());
        let now = micros(self.now);
        let Some(entry) = self.view.find(peer) else { return };
        entry.awaits = false;
        if counts {
            entry.contact = now;
        }
    }

    fn on_request(&mut self, from: SocketAddr, exchange: u32, wants: bool, told: &[Sighting]) {
        self.note(from, false);
        let mut sent = Vec::new();
        if wants && self.rules.direction != Direction::Push {
            // Cyclon's answerer keeps the link that the asker gave up.
            let ourselves = self.rules.keep != Keep::Swap;
            let sightings = self.share(from, ourselves, &mut sent);
            self.send(from, SamplingMessage::Reply { exchange, sightings });
        }
        self.merge(from, told, None, sent);
    }

    fn on_reply(&mut self, from: SocketAddr, exchange: u32, told: &[Sighting]) {
        let fits = |asked: &mut Question| asked.peer == from && asked.exchange == exchange;
        let Some(asked) = self.asked.take_if(fits) else { return };
        self.note(from, true);
        self.merge(from, told, Some(self.now.since(asked.at)), asked.sent);
    }

    /// Takes what was told into the view. `round_trip`: it was asked for, and took so long.
    fn merge(
        &mut self,
        from: SocketAddr,
        told: &[Sighting],
        round_trip: Option<Duration>,
        mut sent: Vec<SocketAddr>,
    ) {
        let told = &told[..told.len().min(codec::limits::SIGHTINGS_MAX)];
        let mut told: Vec<Sighting> = told
            .iter()
            .map(|one| Sighting { addr: canonical(one.addr), ..*one })
            .filter(|one| one.addr != self.own && self.rules.locality.is_reachable(one.addr))
            .collect();
        told.iter().for_each(|one| self.samplers.offer(one.addr));
        if let Some(hardening) = self.rules.hardening {
            self.sift(from, &mut told, round_trip, &hardening);
        }
        for one in told {
            // Of itself everybody knows best.
            let age_ms = if one.addr == from { 0 } else { one.age_ms };
            let contact = before(self.now, age_ms);
            let swaps = self.rules.keep == Keep::Swap;
            match self.view.find(one.addr) {
                Some(_) if swaps => {}
                Some(known) => known.contact = known.contact.max(contact),
                None => {
                    let entry = Entry::heard(one.addr, contact);
                    if swaps {
                        self.view.swap_in(entry, self.rules.view, &mut sent);
                    } else {
                        self.view.entries.push(entry);
                    }
                }
            }
        }
        self.settle(&sent);
    }

    /// Leaves of what was told only what a liar cannot gain much by.
    fn sift(
        &mut self,
        from: SocketAddr,
        told: &mut Vec<Sighting>,
        round_trip: Option<Duration>,
        hardening: &Hardening,
    ) {
        let names_itself = told.iter().any(|one| one.addr == from);
        // What a third party says of our members is no news, and a call brings one name only.
        told.retain(|one| one.addr != from && !self.view.has(one.addr));
        let brings = round_trip.is_some() && self.rng.chance(hardening.told_percent.into(), 100);
        self.rng.shuffle(told);
        told.truncate(usize::from(brings));
        let least = round_trip.unwrap_or_default().as_millis();
        for one in &mut *told {
            one.age_ms = one.age_ms.max(u32::try_from(least).unwrap_or(u32::MAX));
        }
        let new = names_itself && !self.view.has(from);
        if new && (round_trip.is_some() || self.takes_caller(from, hardening)) {
            told.push(Sighting { addr: from, age_ms: 0 });
        }
        told.retain(|one| self.has_room(one.addr, hardening));
    }

    /// Whether the name of a caller may come into the view now; counts it then.
    fn takes_caller(&mut self, from: SocketAddr, hardening: &Hardening) -> bool {
        let (now, period) = (self.now, self.rules.period);
        self.callers.retain(|(_, at)| now.since(*at) < period);
        let takes = self.callers.len() < hardening.callers_max
            && self.callers.iter().all(|(caller, _)| *caller != from);
        if takes {
            self.callers.push((from, now));
        }
        takes
    }

    /// Whether the group of a newcomer has fewer members than it may have.
    fn has_room(&self, addr: SocketAddr, hardening: &Hardening) -> bool {
        let locality = self.rules.locality;
        let group = locality.group(addr);
        let same = |entry: &&Entry| locality.group(entry.addr) == group;
        self.view.entries.iter().filter(same).count() < hardening.group_max
    }

    fn on_heartbeat(&mut self, from: SocketAddr, asked: u32) {
        self.note(from, false);
        if !self.is_two_way() || asked == 0 {
            return self.send(from, SamplingMessage::Alive { link: 0 });
        }
        match self.view.find(from) {
            Some(entry) => {
                let link = join(entry, asked);
                self.up(from, link.fresh);
                self.send(from, SamplingMessage::Alive { link: link.number });
            }
            None => self.send(from, SamplingMessage::Unlink { link: asked }),
        }
    }

    fn on_alive(&mut self, from: SocketAddr, told: u32) {
        let probed = self.probed.iter().position(|peer| *peer == from);
        let answered = self.view.find(from).is_some_and(|entry| entry.awaits);
        self.note(from, answered || probed.is_some());
        if let Some(entry) = self.view.find(from)
            && let State::Linked { link } = &mut entry.state
        {
            *link = told.max(*link);
        }
        let Some(place) = probed else { return };
        self.probed.swap_remove(place);
        let takes = |hardening| self.has_room(from, &hardening) && !self.view.has(from);
        if self.rules.hardening.is_some_and(takes) {
            self.view.entries.push(Entry::heard(from, micros(self.now)));
            self.settle(&[]);
        }
    }

    fn on_link(&mut self, from: SocketAddr, link: u32) {
        self.note(from, false);
        if !self.is_two_way() {
            return self.send(from, SamplingMessage::Unlink { link });
        }
        if let Some(entry) = self.view.find(from) {
            let link = join(entry, link);
            self.up(from, link.fresh);
            return self.send(from, SamplingMessage::Linked { link: link.number });
        }
        let may = self.rules.hardening.is_none_or(|hardening| {
            self.has_room(from, &hardening) && self.takes_caller(from, &hardening)
        });
        if may && self.rules.locality.is_reachable(from) {
            let entry = Entry::heard(from, micros(self.now));
            self.view.entries.push(Entry { state: State::Linked { link }, ..entry });
            self.view.truncate(self.now, &self.rules, &[], &mut self.rng);
        }
        // It may be the one that has no place.
        if self.view.has(from) {
            self.up(from, true);
            self.send(from, SamplingMessage::Linked { link });
        } else {
            self.view.dropped.retain(|entry| entry.addr != from);
            self.send(from, SamplingMessage::Unlink { link });
        }
        self.settle(&[]);
    }

    fn on_linked(&mut self, from: SocketAddr, told: u32) {
        self.note(from, true);
        match self.view.find(from) {
            Some(entry) if entry.state != State::Heard => {
                let link = join(entry, told);
                self.up(from, link.fresh);
            }
            // We gave it up meanwhile.
            Some(_) | None => self.send(from, SamplingMessage::Unlink { link: told }),
        }
    }

    fn on_unlink(&mut self, from: SocketAddr, ended: u32) {
        self.note(from, false);
        let ends = self.view.find(from).is_some_and(|entry| match entry.state {
            State::Asked { link, .. } | State::Linked { link } => link == ended,
            State::Heard => false,
        });
        if ends {
            self.forget(from);
        }
    }

    fn up(&mut self, peer: SocketAddr, fresh: bool) {
        if fresh {
            self.outputs.push_back(SamplingOutput::Up { peer });
        }
    }
}

/// The number of a link that stands now, and whether it is new.
struct Joined {
    number: u32,
    fresh: bool,
}

/// The other end lists us under `told`: a link, whose number is the larger one.
fn join(entry: &mut Entry, told: u32) -> Joined {
    let (own, fresh) = match entry.state {
        State::Asked { link, .. } => (link, true),
        State::Linked { link } => (link, false),
        State::Heard => (0, true),
    };
    let number = own.max(told);
    entry.state = State::Linked { link: number };
    Joined { number, fresh }
}
