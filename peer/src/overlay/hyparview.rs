//! HyParView: few two-way links that carry data, and a reserve of addresses to replace them from.
//!
//! Source: Leitão, Pereira, Rodrigues, "HyParView", DSN 2007. Each node has an *active view*, links
//! that both ends know of, and a *passive view*, addresses alone. A newcomer joins at one node and
//! is carried on by random walks to others. A lost neighbour is replaced from the passive view,
//! which shuffles keep mixed. The driver feeds inputs and carries out outputs; see the contract at
//! [`HyParView`].
//!
//! Where we depart from the paper, and why:
//!
//! - A link has an *epoch*, drawn by who asked for it and told in Disconnect. Why: a late
//!   Disconnect would end a newer link of the same two.
//! - Join is answered as Neighbor is, from a neighbour too, and a newcomer is taken in only when it
//!   has answered. Why: an active view must hold nobody who cannot be reached, and who lost a link
//!   that we still hold must get it back.
//! - An acceptance that nobody waits for any more is answered by Disconnect. Why: the other end has
//!   a link that we do not have.
//! - When both ask each other, the larger epoch stands. Why: one link, one number.
//! - Who was told to join sends Join to a contact also when it is not alone any more, and makes
//!   room for the answer. Why: others may have joined at it before it is in itself; with links
//!   enough among each other they would stay an island.
//! - A sampler is contacted now and then, and a node with fewer than half of its links, and nobody
//!   left to ask, goes back to its contacts, politely unless it is alone. Why: islands with full
//!   active views never notice that they are islands; and who comes back with high priority
//!   pushes out another who then does the same.
//! - Room is made at the cost of the newcomer's own group first, and groups share the passive view.
//!   Why: addresses of one network are cheap.
//! - A reply to a shuffle has the shuffle's nonce. Why: else anybody may fill our passive view.
//!
//! Invariants: no view holds the node itself; active and passive view are disjoint, and no larger
//! than the rules say; nobody is waited for without a deadline. In a quiet network `v` is active at
//! `u` if and only if `u` is at `v`.

mod calls;
mod contacts;
mod passive;
mod receiving;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use codec::{HyParViewMessage, Priority};

use crate::address::canonical;
use crate::overlay::Samplers;
use crate::rng::Rng;
use crate::time::Instant;

use calls::{Call, Calls, Phase, Why};
pub use contacts::CONTACTS_MAX;
use contacts::{Contacts, jitter};
use passive::PassiveView;
pub use rules::{HyParViewRules, WALK_HOPS_MAX};

/// Draws after which a node whose samplers are all neighbours visits none this time.
const VISIT_DRAWS: usize = 4;

/// What happens to a node of the overlay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HyParViewInput {
    /// The operator wants to be in the overlay, and names some who are; the first node names
    /// nobody. The contacts replace those before.
    Join {
        /// At most [`CONTACTS_MAX`], the others are left out.
        contacts: Vec<SocketAddr>,
    },
    /// A connection is there.
    Connected {
        /// With whom.
        peer: SocketAddr,
    },
    /// A connection did not come about.
    DialFailed {
        /// With whom.
        peer: SocketAddr,
    },
    /// Somebody said something, over a connection that is there.
    Message {
        /// Who.
        from: SocketAddr,
        /// What.
        message: HyParViewMessage,
    },
    /// There is no connection any more.
    Lost {
        /// With whom.
        peer: SocketAddr,
    },
    /// The operator wants to be out of the overlay, until the next Join.
    Leave,
    /// The instant of [`HyParView::poll_timeout`] has come.
    Timeout,
}

/// What a driver is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HyParViewOutput {
    /// Bring about a connection, or use the one that there is; ends in
    /// [`Connected`](HyParViewInput::Connected) or [`DialFailed`](HyParViewInput::DialFailed).
    Dial {
        /// With whom.
        peer: SocketAddr,
    },
    /// Send a message over the connection that there is.
    Send {
        /// To whom.
        to: SocketAddr,
        /// What.
        message: HyParViewMessage,
    },
    /// The overlay needs the connection no more, once everything is sent.
    Close {
        /// With whom.
        peer: SocketAddr,
    },
    /// A link stands, both ends know of it.
    Up {
        /// With whom.
        peer: SocketAddr,
    },
    /// The link has ended. May be followed by Up of the same peer: a new link.
    Down {
        /// With whom.
        peer: SocketAddr,
    },
}

/// One node's side of the overlay.
///
/// The contract of driving, beside that of all machines (drain the outputs after each input, time
/// never runs backwards):
///
/// - A peer is named by the address at which it can be reached, also when it dialled us.
/// - Messages of one peer arrive in the order in which they were sent, or the connection is lost.
/// - [`Lost`](HyParViewInput::Lost) is said before anything that comes over a newer connection of
///   the two, and not after; nor is it said after an own [`Close`](HyParViewOutput::Close).
/// - A dial that takes longer than the rules allow is given up here; its end is still welcome.
///
/// ```
/// use peer::overlay::{HyParView, HyParViewInput, HyParViewOutput, HyParViewRules};
/// use peer::{Instant, Rng};
///
/// let [own, contact] = [1, 2].map(|n| ([20, n, 0, 1], 3414).into());
/// let mut node = HyParView::new(HyParViewRules::default(), own, Rng::from_seed([1; 32]));
/// node.handle(Instant::START, HyParViewInput::Join { contacts: vec![contact] });
/// assert_eq!(node.poll_output(), Some(HyParViewOutput::Dial { peer: contact }));
/// assert_eq!(node.poll_output(), None);
/// ```
#[derive(Debug)]
pub struct HyParView {
    rules: HyParViewRules,
    own: SocketAddr,
    rng: Rng,
    now: Instant,
    /// Whether the operator wants to be out.
    left: bool,
    /// Whether a link with a contact has stood since the last Join, or none was named.
    entered: bool,
    active: Vec<Link>,
    passive: PassiveView,
    samplers: Samplers,
    calls: Calls,
    contacts: Contacts,
    /// Our last shuffle, until it is answered.
    shuffle: Option<Shuffle>,
    /// When the next is due; `None` before the first input, and out of the overlay.
    shuffle_due: Option<Instant>,
    /// Since the last shuffle.
    refusals: usize,
    outbox: VecDeque<HyParViewOutput>,
}

/// A member of the active view.
#[derive(Clone, Copy, Debug)]
struct Link {
    peer: SocketAddr,
    /// Known to both ends, and to no other link of the two.
    epoch: u64,
}

#[derive(Debug)]
struct Shuffle {
    nonce: u64,
    given: Vec<SocketAddr>,
}

impl HyParView {
    /// A node that knows nobody. It may be joined at, and joins when it is told to.
    ///
    /// `rules` should pass [`HyParViewRules::check`]; `own` is how others reach this node.
    #[must_use]
    pub fn new(rules: HyParViewRules, own: SocketAddr, rng: Rng) -> Self {
        let samplers = Samplers::by_group(rules.samplers, rules.locality, rng.fork("samplers"));
        Self {
            own: canonical(own),
            rng: rng.fork("hyparview"),
            now: Instant::START,
            left: false,
            entered: true,
            active: Vec::new(),
            passive: PassiveView::new(rules.passive_max, rules.group_max, rules.locality),
            samplers,
            calls: Calls::default(),
            contacts: Contacts::new(&rules),
            shuffle: None,
            shuffle_due: None,
            refusals: 0,
            outbox: VecDeque::new(),
            rules,
        }
    }

    /// Takes one input. What comes from others cannot make it fail.
    ///
    /// # Panics
    ///
    /// If outputs of the last input were left, or time ran backwards: the driver's mistakes.
    pub fn handle(&mut self, now: Instant, input: HyParViewInput) {
        assert!(self.outbox.is_empty(), "drain poll_output() before the next input");
        assert!(now >= self.now, "time ran backwards");
        self.now = now;
        match input {
            HyParViewInput::Join { contacts } => self.on_join_wanted(contacts),
            HyParViewInput::Connected { peer } => self.on_connected(canonical(peer)),
            HyParViewInput::DialFailed { peer } => self.on_dial_failed(canonical(peer)),
            HyParViewInput::Message { from, message } => self.on_message(canonical(from), message),
            HyParViewInput::Lost { peer } => self.on_lost(canonical(peer)),
            HyParViewInput::Leave => self.on_leave(),
            HyParViewInput::Timeout => {}
        }
        if !self.left {
            self.expire();
            self.look_for_links();
        }
    }

    /// The next thing to be done, in the order of doing.
    pub fn poll_output(&mut self) -> Option<HyParViewOutput> {
        self.outbox.pop_front()
    }

    /// When to come with [`HyParViewInput::Timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let rejoin = if self.may_ask_contact() { self.contacts.due() } else { None };
        [self.calls.deadline(), self.shuffle_due, rejoin].into_iter().flatten().min()
    }

    /// Those with whom a link stands.
    pub fn active(&self) -> impl ExactSizeIterator<Item = SocketAddr> + '_ {
        self.active.iter().map(|link| link.peer)
    }

    /// Those in reserve.
    pub fn passive(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.passive.iter()
    }

    /// What is remembered of all who were ever heard of.
    #[must_use]
    pub const fn samplers(&self) -> &Samplers {
        &self.samplers
    }

    /// Whether a link stands.
    #[must_use]
    pub fn is_active(&self, peer: SocketAddr) -> bool {
        self.active().any(|active| active == peer)
    }

    fn on_join_wanted(&mut self, contacts: Vec<SocketAddr>) {
        let others = contacts.into_iter().map(canonical).filter(|contact| *contact != self.own);
        self.contacts.set(others.collect());
        self.contacts.rest(&self.rules);
        let contacts: Vec<_> = self.contacts.iter().collect();
        self.entered = contacts.is_empty() || contacts.iter().any(|one| self.is_active(*one));
        for contact in contacts {
            if self.is_useful(contact) {
                self.samplers.offer(contact);
            }
        }
        self.left = false;
    }

    fn on_leave(&mut self) {
        for link in std::mem::take(&mut self.active) {
            self.send(link.peer, HyParViewMessage::Disconnect { alive: false, epoch: link.epoch });
            self.close(link.peer);
            self.outbox.push_back(HyParViewOutput::Down { peer: link.peer });
        }
        self.calls.clear().into_iter().for_each(|asked| self.close(asked));
        self.contacts.rest(&self.rules);
        (self.shuffle, self.shuffle_due) = (None, None);
        self.left = true;
    }

    fn on_connected(&mut self, peer: SocketAddr) {
        self.samplers.reached(peer);
        if let Some(message) = self.calls.take_letter(peer) {
            self.send(peer, message);
        }
        let alone = self.active.is_empty();
        if let Some(call) = self.calls.get_mut(peer)
            && call.phase == Phase::Dialing
        {
            let epoch = self.rng.u64();
            call.phase = Phase::Asked { epoch };
            call.deadline = self.now.after(self.rules.reply_timeout);
            let message = match call.why {
                Why::Rejoin if alone || !self.entered => HyParViewMessage::Join { epoch },
                Why::Adopt => HyParViewMessage::Neighbor { priority: Priority::High, epoch },
                Why::Fill | Why::Rejoin => {
                    let priority = if alone { Priority::High } else { Priority::Low };
                    HyParViewMessage::Neighbor { priority, epoch }
                }
            };
            self.send(peer, message);
        }
        self.close_unless_needed(peer);
    }

    /// It cannot be reached: of no use in reserve, but the samplers remember it for days.
    fn on_dial_failed(&mut self, peer: SocketAddr) {
        if self.calls.get(peer).is_some_and(|call| call.phase == Phase::Dialing) {
            self.calls.remove(peer);
        }
        self.calls.take_letter(peer);
        if !self.is_active(peer) {
            self.samplers.failed(self.now, peer);
            self.passive.remove(peer);
        }
    }

    /// A connection broke: nothing says that the peer lives, and so it is not kept in reserve.
    fn on_lost(&mut self, peer: SocketAddr) {
        self.unlink(peer);
        if self.calls.get(peer).is_some_and(|call| call.phase != Phase::Dialing) {
            self.calls.remove(peer);
            self.passive.rest(peer);
        }
    }

    /// What was waited for long enough, and what is due.
    fn expire(&mut self) {
        while let Some(call) = self.calls.take_overdue(self.now) {
            self.passive.remove(call.peer);
            if call.phase == Phase::Dialing {
                self.samplers.failed(self.now, call.peer);
            } else {
                self.close_unless_needed(call.peer);
            }
        }
        match self.shuffle_due {
            Some(due) if due <= self.now => {
                self.shuffle_after(self.rules.shuffle_period);
                self.passive.wake();
                self.refusals = 0;
                self.begin_shuffle();
                if self.rng.chance(1, self.rules.sampler_every.into()) {
                    self.visit_sampler();
                }
            }
            Some(_) => {}
            None => {
                let phase = self.rng.below(self.rules.shuffle_period.as_micros() as u64 + 1);
                self.shuffle_due = Some(self.now.after(Duration::from_micros(phase)));
            }
        }
    }

    fn begin_shuffle(&mut self) {
        let Some(to) = self.neighbor_but(&[]) else { return };
        let mut addrs: Vec<_> = self.active().filter(|peer| *peer != to).collect();
        self.rng.shuffle(&mut addrs);
        addrs.truncate(self.rules.shuffle_active);
        let reserve = self.passive.sample(self.rules.shuffle_passive, &mut self.rng);
        addrs.extend(&reserve);
        let nonce = self.rng.u64();
        self.shuffle = Some(Shuffle { nonce, given: addrs.clone() });
        let (origin, ttl) = (self.own, self.rules.shuffle_walk);
        self.send(to, HyParViewMessage::Shuffle { origin, nonce, ttl, addrs });
    }

    fn shuffle_after(&mut self, wait: Duration) {
        self.shuffle_due = Some(self.now.after(jitter(wait, &mut self.rng)));
    }

    /// Exchanges a link for one with somebody who may be in another half of the network.
    fn visit_sampler(&mut self) {
        if self.active.is_empty() {
            return;
        }
        for _ in 0..VISIT_DRAWS {
            let Some(peer) = self.samplers.pick(&mut self.rng) else { return };
            if self.call(peer, Why::Adopt) {
                return;
            }
        }
    }

    /// Replaces what is missing, from the passive view as long as there is somebody to ask, and
    /// else by the contacts.
    fn look_for_links(&mut self) {
        while self.active.len() + self.calls.len() < self.rules.active_max {
            let few = self.active.len() * 2 < self.rules.active_max;
            if !few && self.refusals + self.calls.len() >= self.rules.refusals_max {
                break;
            }
            let busy = |addr| self.calls.get(addr).is_some();
            let Some(peer) = self.passive.pick(&mut self.rng, busy) else { break };
            if !self.call(peer, Why::Fill) {
                break;
            }
        }
        if self.entered && self.active.len() * 2 >= self.rules.active_max {
            self.contacts.rest(&self.rules);
        } else if self.may_ask_contact() {
            let (active, own) = (&self.active, self.own);
            let known = |addr| addr == own || active.iter().any(|link| link.peer == addr);
            // What samplers know may be of our own island.
            let samplers = self.samplers.iter().filter(|_| self.entered);
            let (rules, rng) = (&self.rules, &mut self.rng);
            if let Some(contact) = self.contacts.next(self.now, samplers, known, rules, rng) {
                self.call(contact, Why::Rejoin);
            }
        }
    }

    /// Whether nothing is under way that must be waited for before a contact is asked.
    fn may_ask_contact(&self) -> bool {
        if self.entered { self.calls.len() == 0 } else { !self.calls.is_rejoining() }
    }

    /// Begins to ask for a link; whether it did.
    fn call(&mut self, peer: SocketAddr, why: Why) -> bool {
        let known = peer == self.own || self.is_active(peer) || self.calls.get(peer).is_some();
        if known || !self.calls.has_room(why) {
            return false;
        }
        if !self.calls.is_dialing(peer) {
            self.outbox.push_back(HyParViewOutput::Dial { peer });
        }
        let deadline = self.now.after(self.rules.dial_timeout);
        self.calls.push(Call { peer, why, phase: Phase::Dialing, deadline });
        true
    }

    /// A link stands. There is room for it.
    fn link(&mut self, peer: SocketAddr, epoch: u64) {
        assert!(self.active.len() < self.rules.active_max, "room is made before");
        assert!(!self.is_active(peer) && peer != self.own);
        self.calls.remove(peer);
        self.passive.remove(peer);
        self.samplers.offer(peer);
        self.entered |= self.contacts.iter().any(|contact| contact == peer);
        if self.active.is_empty() {
            // Whoever is new has an empty reserve until the first shuffle.
            self.shuffle_after(self.rules.shuffle_period / 8);
        }
        self.active.push(Link { peer, epoch });
        self.outbox.push_back(HyParViewOutput::Up { peer });
    }

    /// A link ends, if it stood.
    fn unlink(&mut self, peer: SocketAddr) {
        if let Some(index) = self.active.iter().position(|link| link.peer == peer) {
            self.active.swap_remove(index);
            self.outbox.push_back(HyParViewOutput::Down { peer });
        }
    }

    /// Evicts a neighbour if the view is full: one of the newcomer's own group, if there is one.
    fn make_room(&mut self, newcomer: SocketAddr) {
        if self.active.len() < self.rules.active_max {
            return;
        }
        let locality = self.rules.locality;
        let akin = |link: &&Link| locality.group(link.peer) == locality.group(newcomer);
        let of_group: Vec<Link> = self.active.iter().filter(akin).copied().collect();
        let link = self.rng.pick(&of_group).copied();
        let Some(link) = link.or_else(|| self.rng.pick(&self.active).copied()) else { return };
        self.send(link.peer, HyParViewMessage::Disconnect { alive: true, epoch: link.epoch });
        self.unlink(link.peer);
        self.reserve(link.peer, &mut Vec::new());
        self.close_unless_needed(link.peer);
    }

    /// Somebody spoke of an address: it may be of use one day.
    fn hear(&mut self, addr: SocketAddr, given: &mut Vec<SocketAddr>) {
        if self.is_useful(addr) {
            self.samplers.offer(addr);
            self.reserve(addr, given);
        }
    }

    fn reserve(&mut self, addr: SocketAddr, given: &mut Vec<SocketAddr>) {
        if self.is_useful(addr) && !self.is_active(addr) {
            self.passive.insert(addr, given, &mut self.rng);
        }
    }

    fn is_useful(&self, addr: SocketAddr) -> bool {
        addr != self.own && self.rules.locality.is_reachable(addr)
    }

    /// A random neighbour who is none of these.
    fn neighbor_but(&mut self, others: &[SocketAddr]) -> Option<SocketAddr> {
        let fit: Vec<_> = self.active().filter(|peer| !others.contains(peer)).collect();
        self.rng.pick(&fit).copied()
    }

    fn send(&mut self, to: SocketAddr, message: HyParViewMessage) {
        self.outbox.push_back(HyParViewOutput::Send { to, message });
    }

    fn close(&mut self, peer: SocketAddr) {
        self.outbox.push_back(HyParViewOutput::Close { peer });
    }

    fn close_unless_needed(&mut self, peer: SocketAddr) {
        if !self.is_active(peer) && !self.calls.needs(peer) {
            self.close(peer);
        }
    }

    #[cfg(test)]
    fn check(&self) {
        assert!(self.active.len() <= self.rules.active_max);
        self.passive.check();
        if !self.left {
            self.calls.check(self.now);
            assert!(self.poll_timeout().is_none_or(|due| due > self.now), "a timeout in the past");
        }
        for (index, link) in self.active.iter().enumerate() {
            assert_ne!(link.peer, self.own);
            assert!(self.active[..index].iter().all(|other| other.peer != link.peer));
            assert!(self.passive().all(|addr| addr != link.peer), "{} in both", link.peer);
            assert!(self.calls.get(link.peer).is_none(), "{} is a neighbour", link.peer);
        }
        assert!(self.passive().chain(self.samplers.iter()).all(|addr| addr != self.own));
    }
}
