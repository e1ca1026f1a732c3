//! [`PushPull`] with what is around it: the application on whose messages its news may ride, and
//! the pauses of its process. When it learnt of an event is written down.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use codec::datagram::{Call, ClusterKey, Datagram, Ends, Life, News, NewsList};
use peer::gossip::push_pull::{Input, Output, Presumed};
use peer::gossip::{PushPull, PushPullRules};
use peer::{Instant, Rng, UnixTime};

use super::{Action, Event, Machine};
use crate::dice::Dice;

/// Everybody is of one cluster.
const KEY: ClusterKey = ClusterKey([7; 32]);

/// Everybody began at once.
const BORN: UnixTime = UnixTime::from_secs(1_000);

/// Incarnation of a member that never had to deny anything.
const INCARNATION: u64 = BORN.secs() << 20;

/// Members in one introduction: they fit into a datagram.
const INTRODUCED_MAX: usize = 32;

/// Room for news on a message of the application: guess, half of a datagram is its own.
const ROOM: usize = 700;

/// Datagrams that wait for a paused process at most, as in a socket's buffer.
const INBOX_MAX: usize = 256;

/// What an application sends.
#[derive(Clone, Debug)]
pub struct Load {
    /// Messages a second, at random instants.
    pub rate: f64,
    /// To whom, and which share of all messages goes to these and to all before.
    pub receivers: Arc<[(SocketAddr, f64)]>,
}

/// One node.
#[derive(Debug)]
pub struct Member {
    core: PushPull,
    load: Option<Load>,
    dice: Rng,
    /// When the application sends.
    talks: Option<Instant>,
    paused: Option<Instant>,
    inbox: Vec<(SocketAddr, Vec<u8>)>,
    knew: Option<Instant>,
    downs: u32,
    actions: VecDeque<Action<Vec<u8>>>,
}

impl Member {
    /// A node that knows nobody.
    #[must_use]
    pub fn new(rules: PushPullRules, own: SocketAddr, rng: &Rng, load: Option<Load>) -> Self {
        Self {
            core: PushPull::new(rules, own, KEY, BORN, Instant::START, rng),
            load,
            dice: rng.fork("application"),
            talks: None,
            paused: None,
            inbox: Vec::new(),
            knew: None,
            downs: 0,
            actions: VecDeque::new(),
        }
    }

    /// Tells it that these are members, in the name of the first of them.
    pub fn introduce(&mut self, now: Instant, others: &[SocketAddr]) {
        for some in others.chunks(INTRODUCED_MAX) {
            let mut bytes = Vec::new();
            for addr in some {
                let (addr, incarnation, life) = (*addr, INCARNATION, Life::Alive);
                News::Member { addr, incarnation, life }.write(&mut bytes);
            }
            let news = NewsList::new(&bytes).expect("we wrote it");
            let (incarnation, call) = (INCARNATION, Call::Tell);
            let datagram = Datagram { incarnation, token: 0, echo: 0, call, news };
            let ends = Ends { from: some[0], to: self.core.own() };
            let bytes = datagram.seal(&KEY, ends);
            self.core.handle(now, Input::Datagram { from: some[0], bytes: &bytes });
        }
        self.settle(now);
    }

    /// Begins an event; it is to be the only one.
    pub fn publish(&mut self, now: Instant) {
        self.core.publish(now, b"t", b"d").expect("it is short");
        self.knew = Some(now);
        self.settle(now);
    }

    /// The process stands still until then; what comes meanwhile is read after.
    pub const fn pause(&mut self, until: Instant) {
        self.paused = Some(until);
    }

    /// When it learnt of the event.
    #[must_use]
    pub const fn knew(&self) -> Option<Instant> {
        self.knew
    }

    /// How often it took somebody to be dead.
    #[must_use]
    pub const fn downs(&self) -> u32 {
        self.downs
    }

    /// The machine itself.
    #[must_use]
    pub const fn core(&self) -> &PushPull {
        &self.core
    }

    /// The application sends, and news ride along; without any its message is no concern of ours.
    fn talk(&mut self, now: Instant) {
        let Some(load) = &self.load else { return };
        let share = self.dice.unit();
        let place = load.receivers.partition_point(|(_, until)| *until <= share);
        if let Some((to, _)) = load.receivers.get(place).copied()
            && to != self.core.own()
            && let Some(message) = self.core.carry(now, to, ROOM)
        {
            self.actions.push_back(Action::Send { to, message });
        }
        self.arm(now);
    }

    fn arm(&mut self, now: Instant) {
        let rate = self.load.as_ref().map(|load| load.rate).filter(|rate| *rate > 0.0);
        self.talks = rate.map(|rate| {
            let wait = self.dice.exponential() / rate;
            now.after(Duration::from_secs_f64(wait))
        });
    }

    fn settle(&mut self, now: Instant) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { to, bytes } => {
                    self.actions.push_back(Action::Send { to, message: bytes });
                }
                Output::Happened { .. } => self.knew = self.knew.or(Some(now)),
                Output::Down { .. } => self.downs += 1,
                Output::Up { .. } | Output::Suspected { .. } => {}
            }
        }
    }
}

impl Machine for Member {
    type Message = Vec<u8>;

    const CONNECTS: bool = false;

    fn handle(&mut self, now: Instant, event: Event<Vec<u8>>) {
        if let Some(until) = self.paused {
            if now < until {
                if let Event::Message { from, message } = event
                    && self.inbox.len() < INBOX_MAX
                {
                    self.inbox.push((from, message));
                }
                return;
            }
            self.paused = None;
            for (from, bytes) in std::mem::take(&mut self.inbox) {
                self.core.handle(now, Input::Datagram { from, bytes: &bytes });
            }
        }
        match event {
            Event::Join(contacts) => {
                self.core.handle(now, Input::Join { contacts: &contacts });
                self.arm(now);
            }
            Event::Message { from, message } => {
                self.core.handle(now, Input::Datagram { from, bytes: &message });
            }
            Event::Timeout => {
                if self.core.poll_timeout().is_some_and(|due| due <= now) {
                    self.core.handle(now, Input::Timeout);
                }
                if self.talks.is_some_and(|due| due <= now) {
                    self.talk(now);
                }
            }
            // Datagrams tell nothing of those that do not arrive.
            Event::Contact(_) | Event::Connected(_) | Event::DialFailed(_) | Event::Lost(_) => {}
        }
        self.settle(now);
    }

    fn poll(&mut self) -> Option<Action<Vec<u8>>> {
        self.actions.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        let wakes = self.paused.map(|until| [Some(until), None]);
        let due = wakes.unwrap_or_else(|| [self.core.poll_timeout(), self.talks]);
        due.into_iter().flatten().min()
    }

    fn neighbours(&self, each: &mut dyn FnMut(SocketAddr)) {
        let living = self.core.members().filter(|(_, presumed)| *presumed == Presumed::Alive);
        living.for_each(|(addr, _)| each(addr));
    }
}

#[cfg(test)]
mod tests {
    use peer::gossip::push_pull::Rides;

    use super::*;
    use crate::dice::rng;
    use crate::machines::{Addresses, Crowd};

    fn crowd(rules: &PushPullRules, load: impl Fn(usize) -> Option<Load>) -> Crowd<Member> {
        let addresses = Addresses::honest();
        let mut crowd = Crowd::new(addresses, rng(2));
        for node in 0..20 {
            let own = addresses.of(node);
            crowd.add(Member::new(rules.clone(), own, &rng(node as u64), load(node)), &[]);
            let others: Vec<_> = (0..20).filter(|one| *one != node).collect();
            let others: Vec<_> = others.into_iter().map(|one| addresses.of(one)).collect();
            crowd.tell(node, |member, now| member.introduce(now, &others));
        }
        crowd
    }

    fn known(crowd: &Crowd<Member>) -> usize {
        (0..20).filter(|node| crowd.machine(*node).knew().is_some()).count()
    }

    #[test]
    fn who_was_introduced_gossips_and_a_pause_costs_its_length() {
        let rules = PushPullRules { tells: None, ..PushPullRules::default() };
        let mut crowd = crowd(&rules, |_| None);
        crowd.run(Duration::from_secs(25));
        assert_eq!(crowd.views()[3].len(), 19);
        let wakes = crowd.now().after(Duration::from_secs(15));
        crowd.tell(9, |member, _| member.pause(wakes));
        crowd.tell(0, |member, now| member.publish(now));
        crowd.run(Duration::from_secs(14));
        assert_eq!(known(&crowd), 19);
        crowd.run(Duration::from_secs(5));
        assert_eq!(known(&crowd), 20);
        let knew = crowd.machine(9).knew().unwrap();
        assert!(knew >= wakes && knew <= wakes.after(Duration::from_secs(1)), "{knew:?}");
    }

    #[test]
    fn news_ride_on_what_the_application_sends_and_nowhere_else() {
        let rules = PushPullRules { rides: Rides::Application, ..PushPullRules::default() };
        let addresses = Addresses::honest();
        // The last is idle: it sends nothing and nobody sends it anything.
        let share = |node: usize| (addresses.of(node), (node + 1) as f64 / 19.0);
        let receivers: Arc<[_]> = (0..19).map(share).collect();
        let load = |node| {
            let rate = if node < 19 { 2.0 } else { 0.0 };
            Some(Load { rate, receivers: receivers.clone() })
        };
        let mut crowd = crowd(&rules, load);
        crowd.tell(0, |member, now| member.publish(now));
        crowd.run(Duration::from_secs(40));
        assert_eq!(known(&crowd), 19);
        assert_eq!(crowd.machine(19).knew(), None);
    }
}
