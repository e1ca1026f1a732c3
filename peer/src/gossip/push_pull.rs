//! Push-pull gossip over datagrams: who lives, and what happened.
//!
//! Called with the datagrams of a socket; each member asks another one each period whether it
//! lives, and news ride on the question and on the answer. A member that does not answer, neither
//! to us nor to those whom we ask to ask, is suspected, and dead if it does not deny. Sources: Das,
//! Gupta, Motivala, "SWIM", DSN 2002; Dadgar, Phillips, Currey, "Lifeguard", 2017.
//!
//! Invariants: nothing is taken from a datagram that was not sealed with the key of the cluster by
//! who has its sender's address and for ourselves; to an address that has not echoed a token go at
//! most three bytes for each that came, but for a bare probe a period; an event happens once, since
//! its id is known until it is too old to be taken; everybody who lacks an event that is remembered
//! is told of it in the end, whatever was lost.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use codec::datagram::{
    Call, ClusterKey, DATAGRAM_HEAD_BYTES, Datagram, DatagramError, Ends, Event, EventId, Life,
    News, NewsList,
};
use codec::limits::{DATAGRAM_BYTES_MAX, EVENT_DATA_BYTES_MAX, TOPIC_BYTES_MAX};
use siphasher::sip::SipHasher24;

use crate::address::canonical;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};

mod clock;
mod comparing;
mod events;
mod hearsay;
mod lot;
mod members;
mod probing;
mod rules;
#[cfg(test)]
mod tests;

use clock::Clock;
use events::Events;
pub use events::Happening;
use hearsay::{Hearsay, Take};
use members::{Change, Member, Members, State};
use probing::Probing;
pub use rules::{PushPullRules, Rides, RulesError};

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input<'a> {
    /// These may be members; of more than [`CONTACTS_MAX`] the first are asked.
    Join {
        /// Where.
        contacts: &'a [SocketAddr],
    },
    /// A datagram came, or rode on a message of the application.
    Datagram {
        /// From whom: its source, or who sent that message, by the address that names it.
        from: SocketAddr,
        /// All of it.
        bytes: &'a [u8],
    },
    /// We leave the cluster, and say so.
    Leave,
    /// Time passed.
    Timeout,
}

/// What is to be done, or was learnt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// A datagram goes to this address.
    Send {
        /// Where to.
        to: SocketAddr,
        /// All of it.
        bytes: Vec<u8>,
    },
    /// Something happened, and is told once.
    Happened {
        /// What names it.
        id: EventId,
        /// What it is.
        event: Happening,
    },
    /// Somebody is there who was not.
    Up {
        /// Who.
        addr: SocketAddr,
    },
    /// Somebody is suspected who was not.
    Suspected {
        /// Who.
        addr: SocketAddr,
    },
    /// Somebody is there no more.
    Down {
        /// Who.
        addr: SocketAddr,
        /// It said goodbye.
        left: bool,
    },
}

/// Why something cannot be published.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// A topic that is too long.
    #[error("topic of {length} bytes, at most {limit}")]
    TopicTooLong {
        /// Bytes of the topic.
        length: usize,
        /// Most that it may have.
        limit: usize,
    },
    /// It says too much for a datagram.
    #[error("event of {length} bytes, at most {limit}")]
    DataTooLong {
        /// Bytes of the data.
        length: usize,
        /// Most that it may have.
        limit: usize,
    },
}

/// What a node thinks of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presumed {
    /// It lives.
    Alive,
    /// It may be dead.
    Suspect,
    /// It is dead.
    Dead,
    /// It said goodbye.
    Left,
}

/// A member, for operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberInfo {
    /// Where it is reached.
    pub addr: SocketAddr,
    /// What is thought of it.
    pub presumed: Presumed,
    /// In which of its incarnations: grows when it denies to be dead, or begins anew.
    pub incarnation: u64,
}

/// What came and went.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PushPullCounts {
    /// Datagrams that another key sealed or none, that were for others or from others than their
    /// source, or of a length that none has.
    pub strange: u64,
    /// Datagrams that a member sealed, and that are malformed.
    pub malformed: u64,
    /// News that were passed over for their time: events too old or yet to come, incarnations that
    /// nobody can have yet. Many of them show a clock that is wrong, here or there.
    pub untimely: u64,
    /// Events that came and were known.
    pub known_events: u64,
    /// How often we had to say that we live.
    pub denials: u64,
}

/// Contacts that are remembered at most.
pub const CONTACTS_MAX: usize = 16;

/// Bytes that may go for each that came, to who has not shown to be at its address: QUIC's limit
/// (RFC 9000, section 8.1).
const AMPLIFICATION_MAX: usize = 3;

/// A token is good for this long, and as long again.
const TOKEN_PERIOD: Duration = Duration::from_secs(600);

/// The longest call: a PingFor of an IPv6 address.
const CALL_BYTES_MAX: usize = 1 + 4 + 19;

/// What is told of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum About {
    Member(SocketAddr),
    Event(EventId),
}

/// One member's view of the cluster.
#[derive(Debug)]
pub struct PushPull {
    rules: PushPullRules,
    own: SocketAddr,
    key: ClusterKey,
    clock: Clock,
    incarnation: u64,
    rng: Rng,
    tokens: SipHasher24,
    contacts: Vec<SocketAddr>,
    /// Somebody answered us.
    joined: bool,
    left: bool,
    members: Members,
    /// Who spoke last, and the token that it gave: it gets it back, whether it is a member here or
    /// there is no place for it.
    caller: Option<(SocketAddr, u64)>,
    events: Events,
    news: Hearsay<About>,
    probing: Probing,
    timers: Option<Timers>,
    counts: PushPullCounts,
    outputs: VecDeque<Output>,
}

/// When this machine does something of its own accord.
#[derive(Clone, Copy, Debug)]
struct Timers {
    probe: Instant,
    tell: Instant,
    sync: Instant,
    recall: Instant,
}

/// Pieces of news that are looked at for one datagram: a full one takes some fifty, and where large
/// events wait that do not fit, small ones behind them have their turn later.
const LOOKED_AT_MAX: usize = 128;

/// Whether somebody can be there, and be reached from our socket: of the same family, with a port,
/// and one machine.
const fn may_be_member(addr: SocketAddr, own: SocketAddr) -> bool {
    let is_one = match addr.ip() {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    };
    is_one && addr.port() != 0 && addr.is_ipv4() == own.is_ipv4()
}

impl PushPull {
    /// A member that knows nobody, born `now`, when the wall clock was `started` at
    /// [`Instant::START`]. `own` is what others send to, and see as the source of what we send.
    /// Its incarnation begins with the wall clock, so that a process that takes the place of
    /// another one is believed more than that.
    #[must_use]
    pub fn new(
        rules: PushPullRules,
        own: SocketAddr,
        key: ClusterKey,
        started: UnixTime,
        now: Instant,
        rng: &Rng,
    ) -> Self {
        let mut secrets = rng.fork("tokens");
        let clock = Clock { started };
        Self {
            own: canonical(own),
            key,
            clock,
            incarnation: clock.incarnation(now),
            rng: rng.fork("push-pull"),
            tokens: SipHasher24::new_with_keys(secrets.u64(), secrets.u64()),
            contacts: Vec::new(),
            joined: false,
            left: false,
            members: Members::default(),
            caller: None,
            events: Events::new(rules.events_max, rules.remember_events),
            news: Hearsay::new(),
            probing: Probing::default(),
            timers: None,
            counts: PushPullCounts::default(),
            outputs: VecDeque::new(),
            rules,
        }
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        if self.timers.is_none() {
            self.begin(now);
        }
        match input {
            Input::Join { contacts } => self.on_join(now, contacts),
            Input::Datagram { from, bytes } => self.on_datagram(now, from, bytes),
            Input::Leave => self.on_leave(now),
            Input::Timeout => self.on_time(now),
        }
    }

    /// What is to be done; to be drained after each input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call with [`Input::Timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let tell = self.timers.filter(|_| self.is_active() && !self.news.is_empty());
        let tell = tell.map(|timers| timers.tell);
        [self.duty(), tell, self.events.deadline()].into_iter().flatten().min()
    }

    /// When there is something to do that does not depend on what there is to tell.
    fn duty(&self) -> Option<Instant> {
        let timers = self.timers.filter(|_| self.is_active())?;
        let own = [timers.probe, timers.sync, timers.recall];
        let others = [self.probing.deadline(), self.members.deadline()];
        own.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Makes something known to all members.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; nothing was published then.
    pub fn publish(
        &mut self,
        now: Instant,
        topic: &[u8],
        data: &[u8],
    ) -> Result<EventId, PublishError> {
        let (length, limit) = (topic.len(), TOPIC_BYTES_MAX);
        if length > limit {
            return Err(PublishError::TopicTooLong { length, limit });
        }
        let (length, limit) = (data.len(), EVENT_DATA_BYTES_MAX);
        if length > limit {
            return Err(PublishError::DataTooLong { length, limit });
        }
        if self.timers.is_none() {
            self.begin(now);
        }
        let event = Event { time: self.clock.millis(now), nonce: self.rng.u64(), topic, data };
        let id = event.id();
        self.remember(now, id, Happening::of(&event));
        Ok(id)
    }

    /// What is to ride on a message of the application to this member, in so many bytes; `None`:
    /// there is nothing to tell. What comes of it goes into [`Input::Datagram`] at the other end,
    /// and nowhere else: it is sealed for this one, from ourselves.
    pub fn carry(&mut self, now: Instant, to: SocketAddr, room: usize) -> Option<Vec<u8>> {
        let news = self.gather(to, room.min(DATAGRAM_BYTES_MAX));
        if news.is_empty() { None } else { Some(self.seal(now, to, Call::Tell, &news)) }
    }

    /// Ourselves.
    #[must_use]
    pub const fn own(&self) -> SocketAddr {
        self.own
    }

    /// Members that are known, and what is thought of each.
    pub fn members(&self) -> impl Iterator<Item = (SocketAddr, Presumed)> + '_ {
        self.member_infos().map(|info| (info.addr, info.presumed))
    }

    /// The same, with all that an operator may want to know.
    pub fn member_infos(&self) -> impl Iterator<Item = MemberInfo> + '_ {
        self.members.iter().map(|(addr, member)| {
            let presumed = match member.state {
                State::Alive => Presumed::Alive,
                State::Suspect { .. } => Presumed::Suspect,
                State::Dead { left: false, .. } => Presumed::Dead,
                State::Dead { left: true, .. } => Presumed::Left,
            };
            MemberInfo { addr: *addr, presumed, incarnation: member.incarnation }
        })
    }

    /// Whether this is the address of a member, or of a contact, which may be one.
    #[must_use]
    pub fn is_acquainted(&self, addr: &SocketAddr) -> bool {
        self.members.get(addr).is_some() || self.contacts.contains(addr)
    }

    /// How many of them are not presumed dead.
    #[must_use]
    pub fn living(&self) -> usize {
        self.members.living().len()
    }

    /// Whether this event is remembered.
    #[must_use]
    pub fn knows(&self, id: &EventId) -> bool {
        self.events.get(id).is_some()
    }

    /// How badly this node hears others: 0 is well.
    #[must_use]
    pub const fn health(&self) -> u32 {
        self.probing.health
    }

    /// What came and went.
    #[must_use]
    pub const fn counts(&self) -> &PushPullCounts {
        &self.counts
    }

    /// Whether anything is sent of our own accord.
    fn is_active(&self) -> bool {
        self.rules.rides == Rides::Probes && !self.left
    }

    /// Members do not act all at once.
    fn begin(&mut self, now: Instant) {
        let mut within = |period: Duration| {
            let micros = period.as_micros().max(1) as u64;
            now.after(Duration::from_micros(self.rng.below(micros)))
        };
        self.timers = Some(Timers {
            probe: within(self.rules.period),
            tell: within(self.rules.tells.map_or(self.rules.period, |(every, _)| every)),
            sync: within(self.rules.sync_period),
            recall: within(self.rules.recall_period),
        });
    }

    fn on_join(&mut self, now: Instant, contacts: &[SocketAddr]) {
        let others = contacts.iter().filter(|contact| **contact != self.own);
        for contact in others.filter(|contact| may_be_member(**contact, self.own)) {
            if self.contacts.len() < CONTACTS_MAX && !self.contacts.contains(contact) {
                self.contacts.push(*contact);
            }
        }
        self.knock(now);
    }

    /// Asks the contacts whether they are there.
    fn knock(&mut self, now: Instant) {
        for contact in self.contacts.clone() {
            let number = self.probing.number();
            self.send(now, contact, Call::Ping { number }, &[]);
        }
    }

    fn on_leave(&mut self, now: Instant) {
        let life = Life::Left;
        let mut goodbye = Vec::new();
        News::Member { addr: self.own, incarnation: self.incarnation, life }.write(&mut goodbye);
        let times = self.rules.times(self.members.size()) as usize;
        for to in self.members.draw(times, &mut self.rng, |_, _| true) {
            self.send(now, to, Call::Tell, &goodbye);
        }
        self.left = true;
    }

    fn on_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let key = self.key.clone();
        let ends = Ends { from, to: self.own };
        let datagram = match Datagram::open(&key, ends, bytes) {
            Ok(datagram) if from != self.own && !self.left => datagram,
            Ok(_) => return,
            Err(DatagramError::Malformed(_)) => return self.counts.malformed += 1,
            Err(_) => return self.counts.strange += 1,
        };
        self.hear(now, from, datagram.incarnation, Life::Alive);
        self.caller = Some((from, datagram.token));
        // Of this very datagram: else who caught one could have us answer it at length for ever.
        let echoed = self.is_token(now, from, datagram.echo);
        if let Some(member) = self.members.get_mut(&from) {
            member.token = datagram.token;
            member.proven |= echoed;
        }
        for news in datagram.news.iter() {
            match news {
                News::Member { addr, incarnation, life } => {
                    self.hear(now, addr, incarnation, life);
                }
                News::Event(event) => self.on_event(now, &event),
                News::Known(_) => {} // read below, all together
            }
        }
        let room = if echoed { DATAGRAM_BYTES_MAX } else { AMPLIFICATION_MAX * bytes.len() };
        self.on_call(now, from, &datagram, room.min(DATAGRAM_BYTES_MAX), echoed);
    }

    fn on_call(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &Datagram<'_>,
        room: usize,
        echoed: bool,
    ) {
        match datagram.call {
            Call::Tell => {}
            Call::Ping { number } => {
                let news = self.gather(from, room);
                self.send(now, from, Call::Ack { number }, &news);
            }
            Call::Ack { number } => self.on_ack(now, from, number),
            Call::PingFor { number, target } => self.on_errand(now, from, number, target),
            Call::Nack { number } => self.probing.on_nack(from, number),
            Call::Sync { reply } if echoed => {
                let known = datagram.news.iter().filter_map(|news| match news {
                    News::Known(id) => Some(id),
                    _ => None,
                });
                self.on_sync(now, from, &known.collect(), reply);
            }
            // A token that it can echo, and no more.
            Call::Sync { .. } => self.send(now, from, Call::Tell, &[]),
        }
    }

    fn on_event(&mut self, now: Instant, event: &Event<'_>) {
        if !self.events.is_timely(event.time, self.clock.millis(now)) {
            return self.counts.untimely += 1;
        }
        let id = event.id();
        if self.events.is_known(event.time, id) {
            return self.counts.known_events += 1;
        }
        let event = Happening::of(event);
        self.remember(now, id, event.clone());
        self.outputs.push_back(Output::Happened { id, event });
    }

    fn remember(&mut self, now: Instant, id: EventId, event: Happening) {
        if let Some(oldest) = self.events.add(id, event, now) {
            self.news.remove(&About::Event(oldest));
        }
        self.news.add(About::Event(id));
    }

    /// Something was heard of a member.
    fn hear(&mut self, now: Instant, addr: SocketAddr, incarnation: u64, life: Life) {
        // Else there would be none that is higher, for a denial.
        if !self.clock.may_be_incarnation(now, incarnation) {
            return self.counts.untimely += 1;
        }
        if addr == self.own {
            return self.hear_of_ourselves(incarnation, life);
        }
        if !may_be_member(addr, self.own) {
            return;
        }
        let change = self.members.hear(now, &self.rules, addr, incarnation, life);
        match change {
            Change::Nothing => return,
            Change::Up => {
                self.probing.welcome(addr);
                self.outputs.push_back(Output::Up { addr });
            }
            Change::News => {}
            Change::Suspected => self.outputs.push_back(Output::Suspected { addr }),
            Change::Down => {
                self.probing.forget(addr);
                self.outputs.push_back(Output::Down { addr, left: life == Life::Left });
            }
        }
        self.news.add(About::Member(addr));
    }

    fn hear_of_ourselves(&mut self, incarnation: u64, life: Life) {
        let denies = life != Life::Alive && incarnation >= self.incarnation;
        // Somebody was here before us, and its clock was ahead.
        if !denies && incarnation <= self.incarnation {
            return;
        }
        self.incarnation = incarnation.saturating_add(1);
        self.news.add(About::Member(self.own));
        if denies {
            self.counts.denials += 1;
            self.probing.worse(1, self.rules.health_max);
        }
    }

    /// What is to be said of a member now.
    fn member_news(&self, addr: &SocketAddr) -> Option<News<'static>> {
        let (addr, incarnation) = (*addr, self.incarnation);
        if addr == self.own {
            return Some(News::Member { addr, incarnation, life: Life::Alive });
        }
        let Member { incarnation, state, .. } = self.members.get(&addr)?;
        let life = match state {
            State::Alive => Life::Alive,
            // Each accuser tells of itself, or of the first one.
            State::Suspect { accusers, .. } => {
                let ours = accusers.iter().find(|accuser| **accuser == self.own);
                Life::Suspect { by: *ours.or_else(|| accusers.first())? }
            }
            State::Dead { left: false, .. } => Life::Dead,
            State::Dead { left: true, .. } => Life::Left,
        };
        Some(News::Member { addr, incarnation: *incarnation, life })
    }

    /// News for this member, in a datagram of so many bytes.
    fn gather(&mut self, to: SocketAddr, room: usize) -> Vec<u8> {
        let room = room.saturating_sub(DATAGRAM_HEAD_BYTES + CALL_BYTES_MAX);
        let mut bytes = Vec::new();
        // Who is suspected hears it first, to deny it (Lifeguard's buddy system).
        let doubted = self.members.get(&to).is_some_and(|one| one.state != State::Alive);
        if doubted {
            self.member_news(&to).into_iter().for_each(|news| news.write(&mut bytes));
            if bytes.len() > room {
                bytes.clear();
            }
        }
        let times = self.rules.times(self.members.size());
        let mut news = std::mem::replace(&mut self.news, Hearsay::new());
        let mut looked_at = 0;
        news.tell(times, |about| {
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX {
                return Take::Full;
            }
            let before = bytes.len();
            match about {
                About::Member(addr) if doubted && addr == to => return Take::Passed,
                About::Member(addr) => {
                    self.member_news(&addr).into_iter().for_each(|news| news.write(&mut bytes));
                }
                About::Event(id) => {
                    let event = self.events.get(&id);
                    event.into_iter().for_each(|one| News::Event(one.event()).write(&mut bytes));
                }
            }
            if bytes.len() <= room {
                return Take::Told;
            }
            bytes.truncate(before);
            // The least that news take: nothing else will fit either.
            if before + 16 > room { Take::Full } else { Take::Passed }
        });
        self.news = news;
        bytes
    }

    fn send(&mut self, now: Instant, to: SocketAddr, call: Call, news: &[u8]) {
        if self.is_active() {
            let bytes = self.seal(now, to, call, news);
            self.outputs.push_back(Output::Send { to, bytes });
        }
    }

    fn seal(&self, now: Instant, to: SocketAddr, call: Call, news: &[u8]) -> Vec<u8> {
        let member = self.members.get(&to).map(|member| member.token);
        let caller = self.caller.filter(|(from, _)| *from == to).map(|(_, token)| token);
        let echo = member.or(caller).unwrap_or(0);
        let token = self.token(to, epoch(now));
        let news = NewsList::new(news).expect("we wrote it");
        let ends = Ends { from: self.own, to };
        Datagram { incarnation: self.incarnation, token, echo, call, news }.seal(&self.key, ends)
    }

    /// What shows that somebody gets what we send to this address; never 0.
    fn token(&self, addr: SocketAddr, epoch: u64) -> u64 {
        let mut hasher = self.tokens;
        match addr {
            SocketAddr::V4(v4) => hasher.write(&v4.ip().octets()),
            SocketAddr::V6(v6) => hasher.write(&v6.ip().octets()),
        }
        hasher.write_u16(addr.port());
        hasher.write_u64(epoch);
        hasher.finish().max(1)
    }

    fn is_token(&self, now: Instant, addr: SocketAddr, token: u64) -> bool {
        let epoch = epoch(now);
        [epoch, epoch.wrapping_sub(1)].into_iter().any(|one| self.token(addr, one) == token)
    }

    fn on_time(&mut self, now: Instant) {
        let clock = self.clock.millis(now);
        while let Some(id) = self.events.forget_due(now, clock) {
            self.news.remove(&About::Event(id));
        }
        let (Some(due), Some(timers)) = (self.duty(), self.timers) else { return };
        // Who slept cannot blame others for not having answered meanwhile.
        let slept = now.since(due) > self.rules.timeout;
        if slept {
            self.members.postpone(now.since(due));
        }
        self.members.forget_dead(now);
        while let Some((addr, incarnation)) = self.members.overdue(now) {
            self.hear(now, addr, incarnation, Life::Dead);
        }
        self.run_errands(now);
        if timers.probe <= now {
            self.probe(now, slept);
        }
        self.tell(now);
        if timers.sync <= now {
            self.timers_mut().sync = now.after(self.rules.sync_period);
            let partner = self.members.draw(1, &mut self.rng, |_, member| member.proven);
            partner.into_iter().for_each(|partner| self.sync(now, partner, false));
        }
        if timers.recall <= now {
            self.timers_mut().recall = now.after(self.rules.recall_period);
            if let Some(lost) = self.members.draw_dead(&mut self.rng) {
                let number = self.probing.number();
                let news = self.bare_news(&lost);
                self.send(now, lost, Call::Ping { number }, &news);
            }
        }
    }

    /// What somebody has to know to deny it.
    fn bare_news(&self, addr: &SocketAddr) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.member_news(addr).into_iter().for_each(|news| news.write(&mut bytes));
        bytes
    }

    /// Where news ride on probes alone, each probe puts this off by a period: then it is due only
    /// when a node that hears others badly probes less often. News do not wait for its health.
    fn tell(&mut self, now: Instant) {
        let (every, count) = self.rules.tells.unwrap_or((self.rules.period, 1));
        if self.timers_mut().tell > now || self.news.is_empty() {
            return;
        }
        self.timers_mut().tell = now.after(every);
        for to in self.members.draw(count, &mut self.rng, |_, member| member.proven) {
            let news = self.gather(to, DATAGRAM_BYTES_MAX);
            if !news.is_empty() {
                self.send(now, to, Call::Tell, &news);
            }
        }
    }

    fn timers_mut(&mut self) -> &mut Timers {
        self.timers.as_mut().expect("set with the first input")
    }
}

const fn epoch(now: Instant) -> u64 {
    // The first epoch is not 0, so that the one before it is none.
    now.micros() / TOKEN_PERIOD.as_micros() as u64 + 1
}
