//! Who is asked whether it lives, by whom, and how well we hear.

use std::collections::VecDeque;
use std::net::SocketAddr;

use codec::datagram::{Call, Life};
use codec::limits::DATAGRAM_BYTES_MAX;

use super::PushPull;
use super::lot::Lot;
use crate::time::Instant;

/// Questions asked for others that wait for an answer at most; the oldest makes room. A member asks
/// a few others once a period, and so this is many at once.
const ERRANDS_MAX: usize = 64;

/// The state of probing.
#[derive(Debug, Default)]
pub(super) struct Probing {
    /// 0 is well; each point makes us wait once more as long.
    pub(super) health: u32,
    /// The last number that was given out.
    number: u32,
    /// Who is still to be probed in this round, all of them living: all members once before any
    /// twice.
    round: Lot,
    probe: Option<Probe>,
    errands: VecDeque<Errand>,
}

/// A question that was not answered yet.
#[derive(Debug)]
struct Probe {
    target: SocketAddr,
    number: u32,
    /// When others are asked to ask; `None`: they were.
    others_at: Option<Instant>,
    /// Who was asked to ask, and did not say that it does not hear the target either.
    asked: Vec<SocketAddr>,
    /// Whether anybody was.
    was_relayed: bool,
}

/// A question that we asked for somebody.
#[derive(Debug)]
struct Errand {
    asker: SocketAddr,
    /// The asker's number, and ours.
    number: u32,
    own_number: u32,
    target: SocketAddr,
    /// When the asker hears that there was no answer.
    due: Instant,
}

impl Probing {
    pub(super) const fn number(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    /// A new member is probed some time in this round.
    pub(super) fn welcome(&mut self, addr: SocketAddr) {
        self.round.add(addr);
    }

    /// How many are to be probed in this round.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.round.len()
    }

    /// Who is gone is probed no more: so there are never more to probe than members.
    pub(super) fn forget(&mut self, addr: SocketAddr) {
        self.round.remove(&addr);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let others = self.probe.as_ref().and_then(|probe| probe.others_at);
        let errand = self.errands.front().map(|errand| errand.due);
        others.into_iter().chain(errand).min()
    }

    pub(super) fn worse(&mut self, points: u32, max: u32) {
        self.health = self.health.saturating_add(points).min(max);
    }

    /// Who does not hear the target either hears us, and we hear it.
    pub(super) fn on_nack(&mut self, from: SocketAddr, number: u32) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.number == number) {
            probe.asked.retain(|asked| *asked != from);
        }
    }
}

impl PushPull {
    /// A period is over: who did not answer in it is suspected, and the next one is asked.
    pub(super) fn probe(&mut self, now: Instant, slept: bool) {
        if let Some(probe) = self.probing.probe.take() {
            self.judge(now, &probe, slept);
        }
        let wait = self.rules.period * (1 + self.probing.health);
        let timeout = self.rules.timeout * (1 + self.probing.health);
        self.timers_mut().probe = now.after(wait);
        if self.rules.tells.is_none() {
            self.timers_mut().tell = now.after(self.rules.period);
        }
        let Some(target) = self.next_target() else {
            self.joined = false;
            return self.knock(now);
        };
        let number = self.probing.number();
        let others_at = Some(now.after(timeout));
        let (asked, was_relayed) = (Vec::new(), false);
        self.probing.probe = Some(Probe { target, number, others_at, asked, was_relayed });
        // Who may not be at its address gets no more than the question.
        let is_proven = self.members.get(&target).is_some_and(|member| member.proven);
        let room = if is_proven { DATAGRAM_BYTES_MAX } else { 0 };
        let news = self.gather(target, room);
        self.send(now, target, Call::Ping { number }, &news);
    }

    fn judge(&mut self, now: Instant, probe: &Probe, slept: bool) {
        // Others that we do not hear are a sign that it is us.
        let missing = if probe.was_relayed { probe.asked.len() as u32 } else { 1 };
        let points = if slept { 1 } else { missing };
        self.probing.worse(points, self.rules.health_max);
        let target = self.members.get(&probe.target).filter(|_| !slept);
        if let Some(incarnation) = target.map(|member| member.incarnation) {
            self.hear(now, probe.target, incarnation, Life::Suspect { by: self.own });
        }
    }

    fn next_target(&mut self) -> Option<SocketAddr> {
        if self.probing.round.is_empty() {
            self.probing.round = self.members.living().clone();
        }
        self.probing.round.take(&mut self.rng)
    }

    pub(super) fn on_ack(&mut self, now: Instant, from: SocketAddr, number: u32) {
        if !self.joined {
            self.joined = true;
            self.sync(now, from, false);
        }
        let ours = |probe: &Probe| {
            probe.number == number && (probe.target == from || probe.asked.contains(&from))
        };
        if self.probing.probe.as_ref().is_some_and(ours) {
            self.probing.probe = None;
            self.probing.health = self.probing.health.saturating_sub(1);
            return;
        }
        let theirs = |errand: &Errand| errand.own_number == number && errand.target == from;
        if let Some(place) = self.probing.errands.iter().position(theirs)
            && let Some(errand) = self.probing.errands.remove(place)
        {
            self.send(now, errand.asker, Call::Ack { number: errand.number }, &[]);
        }
    }

    /// Asks somebody for somebody else; only members, so that nobody can have us knock anywhere.
    pub(super) fn on_errand(
        &mut self,
        now: Instant,
        asker: SocketAddr,
        number: u32,
        target: SocketAddr,
    ) {
        if self.members.get(&target).is_none() {
            return;
        }
        if self.probing.errands.len() == ERRANDS_MAX {
            self.probing.errands.pop_front();
        }
        let own_number = self.probing.number();
        // The asker hears of it before its period is over.
        let due = now.after(self.rules.timeout * 4 / 5);
        self.probing.errands.push_back(Errand { asker, number, own_number, target, due });
        let news = self.bare_news(&target);
        self.send(now, target, Call::Ping { number: own_number }, &news);
    }

    pub(super) fn run_errands(&mut self, now: Instant) {
        while self.probing.errands.front().is_some_and(|errand| errand.due <= now) {
            let errand = self.probing.errands.pop_front().expect("it is there");
            self.send(now, errand.asker, Call::Nack { number: errand.number }, &[]);
        }
        let Some(probe) = &mut self.probing.probe else { return };
        if probe.others_at.is_none_or(|at| at > now) {
            return;
        }
        probe.others_at = None;
        let (target, number) = (probe.target, probe.number);
        let others = self.members.draw(self.rules.indirect, &mut self.rng, |addr, member| {
            *addr != target && member.proven
        });
        probe.was_relayed = !others.is_empty();
        probe.asked.clone_from(&others);
        for other in others {
            self.send(now, other, Call::PingFor { number, target }, &[]);
        }
    }
}
