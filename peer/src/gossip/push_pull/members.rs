//! Who belongs to the cluster, and what was last heard of each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use codec::datagram::Life;

use super::lot::Lot;
use super::rules::PushPullRules;
use crate::rng::Rng;
use crate::time::Instant;

/// A member, as this node sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Member {
    pub(super) incarnation: u64,
    pub(super) state: State,
    /// The token that it gave last; 0 if it gave none.
    pub(super) token: u64,
    /// It echoed a token of ours: it is where its address says.
    pub(super) proven: bool,
}

/// Whether a member lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    Alive,
    /// It has until `due` to deny; who suspects it, the first one first.
    Suspect {
        since: Instant,
        due: Instant,
        accusers: Vec<SocketAddr>,
    },
    /// Remembered until then.
    Dead {
        until: Instant,
        left: bool,
    },
}

/// What came of a piece of news.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// It was known, or is too old.
    Nothing,
    /// Somebody is there who was not.
    Up,
    /// Something else than before, worth being told.
    News,
    /// Somebody is suspected who was not.
    Suspected,
    /// Somebody is there no more.
    Down,
}

/// The members but for ourselves, at most as many as the rules say.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_addr: BTreeMap<SocketAddr, Member>,
    /// Those who are not dead.
    living: Lot,
    /// When suspects are dead.
    suspects: BTreeSet<(Instant, SocketAddr)>,
    /// When the dead are forgotten.
    dead: BTreeSet<(Instant, SocketAddr)>,
}

impl Members {
    pub(super) fn get(&self, addr: &SocketAddr) -> Option<&Member> {
        self.by_addr.get(addr)
    }

    pub(super) fn get_mut(&mut self, addr: &SocketAddr) -> Option<&mut Member> {
        self.by_addr.get_mut(addr)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&SocketAddr, &Member)> {
        self.by_addr.iter()
    }

    /// Those who are not dead.
    pub(super) const fn living(&self) -> &Lot {
        &self.living
    }

    /// How many the cluster has, ourselves included.
    pub(super) const fn size(&self) -> usize {
        self.living.len() + 1
    }

    /// Some of the living, drawn at random, without those whom `passes` refuses.
    pub(super) fn draw(
        &self,
        count: usize,
        rng: &mut Rng,
        passes: impl Fn(&SocketAddr, &Member) -> bool,
    ) -> Vec<SocketAddr> {
        let mut drawn = Vec::with_capacity(count);
        // Most pass: a few attempts for each are enough, and a look at all is not worth it.
        for _ in 0..count.min(self.living.len()) * DRAWS {
            let Some(addr) = self.living.pick(rng) else { break };
            if !drawn.contains(&addr) && passes(&addr, &self.by_addr[&addr]) {
                drawn.push(addr);
                if drawn.len() == count {
                    break;
                }
            }
        }
        drawn
    }

    /// One of the dead who did not say goodbye.
    pub(super) fn draw_dead(&self, rng: &mut Rng) -> Option<SocketAddr> {
        let lost = self.dead.iter().map(|(_, addr)| addr);
        let lost: Vec<_> = lost
            .filter(|addr| matches!(self.by_addr[*addr].state, State::Dead { left: false, .. }))
            .collect();
        rng.pick(&lost).map(|addr| **addr)
    }

    /// Takes what was heard of somebody who is not ourselves.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        rules: &PushPullRules,
        addr: SocketAddr,
        incarnation: u64,
        life: Life,
    ) -> Change {
        let Some(member) = self.by_addr.get(&addr) else {
            return self.hear_of_stranger(now, rules, addr, incarnation, life);
        };
        let known = member.incarnation;
        let dead = matches!(member.state, State::Dead { .. });
        match life {
            Life::Alive if incarnation > known => {
                self.set(addr, incarnation, State::Alive);
                if dead { Change::Up } else { Change::News }
            }
            Life::Suspect { by } if incarnation >= known && !dead => {
                self.suspect(now, rules, addr, incarnation, by)
            }
            Life::Dead | Life::Left if incarnation >= known && !dead => {
                let until = now.after(rules.remember_dead);
                self.set(addr, incarnation, State::Dead { until, left: life == Life::Left });
                Change::Down
            }
            _ => Change::Nothing,
        }
    }

    fn hear_of_stranger(
        &mut self,
        now: Instant,
        rules: &PushPullRules,
        addr: SocketAddr,
        incarnation: u64,
        life: Life,
    ) -> Change {
        // Of the dead nobody needs to hear who did not know them.
        if matches!(life, Life::Dead | Life::Left) || !self.make_room(rules.members_max) {
            return Change::Nothing;
        }
        let member = Member { incarnation, state: State::Alive, token: 0, proven: false };
        self.by_addr.insert(addr, member);
        self.living.add(addr);
        if let Life::Suspect { by } = life {
            self.suspect(now, rules, addr, incarnation, by);
        }
        Change::Up
    }

    /// Room for one more: the dead make it, those who would be forgotten first before others.
    fn make_room(&mut self, max: usize) -> bool {
        if self.by_addr.len() < max {
            return true;
        }
        let Some((_, addr)) = self.dead.pop_first() else { return false };
        self.by_addr.remove(&addr);
        true
    }

    fn suspect(
        &mut self,
        now: Instant,
        rules: &PushPullRules,
        addr: SocketAddr,
        incarnation: u64,
        by: SocketAddr,
    ) -> Change {
        let size = self.size();
        let member = &self.by_addr[&addr];
        let (since, mut accusers, first) = match &member.state {
            State::Suspect { since, accusers, .. } if member.incarnation == incarnation => {
                let enough = accusers.len() > rules.confirmations(size);
                if enough || accusers.contains(&by) {
                    return Change::Nothing;
                }
                (*since, accusers.clone(), false)
            }
            State::Suspect { .. } | State::Alive => (now, Vec::new(), true),
            State::Dead { .. } => return Change::Nothing,
        };
        accusers.push(by);
        let due = since.after(rules.patience_after(size, accusers.len() - 1));
        self.set(addr, incarnation, State::Suspect { since, due, accusers });
        if first { Change::Suspected } else { Change::News }
    }

    /// Puts a member in a state; the lists follow.
    fn set(&mut self, addr: SocketAddr, incarnation: u64, state: State) {
        let Some(member) = self.by_addr.get_mut(&addr) else { return };
        let was_dead = matches!(member.state, State::Dead { .. });
        match &member.state {
            State::Suspect { due, .. } => drop(self.suspects.remove(&(*due, addr))),
            State::Dead { until, .. } => drop(self.dead.remove(&(*until, addr))),
            State::Alive => {}
        }
        match &state {
            State::Suspect { due, .. } => drop(self.suspects.insert((*due, addr))),
            State::Dead { until, .. } => drop(self.dead.insert((*until, addr))),
            State::Alive => {}
        }
        let is_dead = matches!(state, State::Dead { .. });
        member.incarnation = incarnation;
        member.state = state;
        match (was_dead, is_dead) {
            (false, true) => self.living.remove(&addr),
            (true, false) => self.living.add(addr),
            _ => {}
        }
    }

    /// When the next suspect is dead, or the next of the dead is forgotten.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let suspect = self.suspects.first().map(|(due, _)| *due);
        let dead = self.dead.first().map(|(until, _)| *until);
        suspect.into_iter().chain(dead).min()
    }

    /// A suspect whose time is over, in its incarnation.
    pub(super) fn overdue(&self, now: Instant) -> Option<(SocketAddr, u64)> {
        let (_, addr) = self.suspects.first().filter(|(due, _)| *due <= now)?;
        Some((*addr, self.by_addr[addr].incarnation))
    }

    /// Forgets the dead whose time is over.
    pub(super) fn forget_dead(&mut self, now: Instant) {
        while let Some((until, addr)) = self.dead.first().copied().filter(|(at, _)| *at <= now) {
            self.dead.remove(&(until, addr));
            self.by_addr.remove(&addr);
        }
    }

    /// We slept: nobody could deny anything to us meanwhile.
    pub(super) fn postpone(&mut self, by: std::time::Duration) {
        let suspects: Vec<_> = self.suspects.iter().map(|(_, addr)| *addr).collect();
        for addr in suspects {
            let member = &self.by_addr[&addr];
            if let State::Suspect { since, due, accusers } = member.state.clone() {
                let state = State::Suspect { since, due: due.after(by), accusers };
                self.set(addr, member.incarnation, state);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn check(&self, max: usize) {
        assert!(self.by_addr.len() <= max);
        let living =
            self.by_addr.iter().filter(|(_, one)| !matches!(one.state, State::Dead { .. }));
        assert!(living.map(|(addr, _)| *addr).eq(self.living.sorted()));
        let mut timed = BTreeSet::new();
        for (addr, member) in &self.by_addr {
            match member.state {
                State::Suspect { due, .. } => drop(timed.insert((due, *addr))),
                State::Dead { until, .. } => drop(timed.insert((until, *addr))),
                State::Alive => {}
            }
        }
        assert_eq!(timed, self.suspects.union(&self.dead).copied().collect());
    }
}

/// Attempts for each that is drawn.
const DRAWS: usize = 8;
