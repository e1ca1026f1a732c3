//! The rules one by one, and small clusters over a bad network.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

const KEY: ClusterKey = ClusterKey([3; 32]);

fn addr(node: usize) -> SocketAddr {
    ([10, 0, (node / 250) as u8, (node % 250) as u8], 4_000).into()
}

fn node_of(addr: SocketAddr) -> usize {
    let SocketAddr::V4(v4) = addr else { panic!("{addr}") };
    let [_, _, high, low] = v4.ip().octets();
    usize::from(high) * 250 + usize::from(low)
}

fn machine(rules: &PushPullRules, node: usize, born: u64) -> PushPull {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(node as u64 + 1).to_le_bytes());
    let rng = Rng::from_seed(seed);
    PushPull::new(rules.clone(), addr(node), KEY, UnixTime::from_secs(born), Instant::START, &rng)
}

fn ends(from: usize, to: usize) -> Ends {
    Ends { from: addr(from), to: addr(to) }
}

impl PushPull {
    fn check(&self) {
        self.members.check(self.rules.members_max);
        assert!(self.probing.health <= self.rules.health_max);
        assert!(self.contacts.len() <= CONTACTS_MAX);
        assert!(self.probing.waiting() <= self.members.living().len());
    }
}

/// Machines and the datagrams between them; 10 to 60 ms each way.
struct Cluster {
    rules: PushPullRules,
    nodes: Vec<Option<PushPull>>,
    /// Nothing reaches or leaves these, and their time stands still.
    paused: BTreeSet<usize>,
    /// Datagrams between different sides are lost.
    sides: Option<usize>,
    loss_percent: u64,
    wires: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    made: u64,
    rng: Rng,
    now: Instant,
    happened: BTreeMap<usize, Vec<EventId>>,
    downs: Vec<(usize, usize, bool)>,
    suspected: u64,
    sent: u64,
}

impl Cluster {
    fn new(nodes: usize, loss_percent: u64, rules: PushPullRules) -> Self {
        rules.check().unwrap();
        let mut cluster = Self {
            nodes: (0..nodes).map(|node| Some(machine(&rules, node, 1_000))).collect(),
            rules,
            paused: BTreeSet::new(),
            sides: None,
            loss_percent,
            wires: BTreeMap::new(),
            made: 0,
            rng: Rng::from_seed([9; 32]),
            now: Instant::START,
            happened: BTreeMap::new(),
            downs: Vec::new(),
            suspected: 0,
            sent: 0,
        };
        for node in 0..nodes {
            cluster.feed(node, Input::Join { contacts: &[addr(0), addr(1)] });
        }
        cluster
    }

    fn feed(&mut self, node: usize, input: Input<'_>) {
        let Some(machine) = self.nodes[node].as_mut().filter(|_| !self.paused.contains(&node))
        else {
            return;
        };
        machine.handle(self.now, input);
        machine.check();
        while let Some(output) = self.nodes[node].as_mut().and_then(PushPull::poll_output) {
            match output {
                Output::Send { to, bytes } => self.post(node, to, bytes),
                Output::Happened { id, .. } => self.happened.entry(node).or_default().push(id),
                Output::Down { addr, left } => self.downs.push((node, node_of(addr), left)),
                Output::Suspected { .. } => self.suspected += 1,
                Output::Up { .. } => {}
            }
        }
    }

    fn post(&mut self, from: usize, to: SocketAddr, bytes: Vec<u8>) {
        self.sent += 1;
        let apart = self.sides.is_some_and(|half| (from < half) != (node_of(to) < half));
        if apart || self.rng.below(100) < self.loss_percent {
            return;
        }
        let arrives = self.now.after(Duration::from_millis(10 + self.rng.below(50)));
        self.made += 1;
        self.wires.insert((arrives, self.made), (addr(from), to, bytes));
    }

    fn run(&mut self, span: Duration) {
        let end = self.now.after(span);
        loop {
            let nodes = self.nodes.iter().enumerate();
            let due = nodes.filter(|(node, _)| !self.paused.contains(node));
            let due = due.filter_map(|(node, one)| Some((one.as_ref()?.poll_timeout()?, node)));
            let due = due.min();
            let wire = self.wires.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = wire.into_iter().chain(due.map(|(at, _)| at)).min() else { break };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if wire == Some(next) {
                let (_, (from, to, bytes)) = self.wires.pop_first().expect("it is there");
                self.feed(node_of(to), Input::Datagram { from, bytes: &bytes });
            } else if let Some((_, node)) = due {
                self.feed(node, Input::Timeout);
            }
        }
        self.now = end;
    }

    fn publish(&mut self, node: usize) -> EventId {
        let machine = self.nodes[node].as_mut().unwrap();
        let id = machine.publish(self.now, b"topic", b"data").unwrap();
        self.happened.entry(node).or_default().push(id);
        id
    }

    /// How many of those who run think so of this member.
    fn presume(&self, member: usize, presumed: Presumed) -> usize {
        let running = self.nodes.iter().flatten();
        running.filter(|one| one.members().any(|it| it == (addr(member), presumed))).count()
    }

    /// Whether everybody who runs takes everybody who runs, and nobody else, to be alive.
    fn agrees(&self) -> bool {
        let running: BTreeSet<_> = self.nodes.iter().flatten().map(PushPull::own).collect();
        self.nodes.iter().flatten().all(|one| {
            let alive = one.members().filter(|(_, presumed)| *presumed == Presumed::Alive);
            let mut alive: BTreeSet<_> = alive.map(|(addr, _)| addr).collect();
            alive.insert(one.own());
            alive == running
        })
    }

    fn all_know(&self, id: EventId) -> bool {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].is_some()).all(|node| {
            let ids = self.happened.get(&node).map_or(&[][..], |ids| ids);
            ids.iter().filter(|one| **one == id).count() == 1
        })
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn those_who_know_one_soon_know_all_and_each_event_happens_once() {
    let mut cluster = Cluster::new(60, 0, PushPullRules::default());
    cluster.run(secs(10));
    assert!(cluster.agrees());
    assert_eq!(cluster.suspected, 0);
    let id = cluster.publish(17);
    cluster.run(secs(4));
    assert!(cluster.all_know(id));
    cluster.run(secs(70));
    assert!(cluster.nodes.iter().flatten().all(|one| !one.knows(&id)), "forgotten in the end");
}

#[test]
fn whatever_is_lost_everybody_learns_everything() {
    let mut cluster = Cluster::new(40, 30, PushPullRules::default());
    cluster.run(secs(40));
    let ids = [3, 7, 30].map(|node| cluster.publish(node));
    // Two comparisons.
    cluster.run(secs(60));
    assert!(ids.into_iter().all(|id| cluster.all_know(id)));
}

#[test]
fn who_died_is_found_dead_and_nobody_else() {
    let mut cluster = Cluster::new(30, 0, PushPullRules::default());
    cluster.run(secs(20));
    cluster.nodes[4] = None;
    // A round of probes at most, the longest suspicion, and the news of it.
    let longest = cluster.rules.patience_after(30, 0);
    cluster.run(secs(30) + longest + secs(10));
    assert_eq!(cluster.presume(4, Presumed::Dead), 29);
    assert!(cluster.downs.iter().all(|(_, who, left)| *who == 4 && !left), "{:?}", cluster.downs);
    assert_eq!(cluster.downs.len(), 29);
}

#[test]
fn loss_makes_suspects_and_no_dead() {
    let mut cluster = Cluster::new(30, 10, PushPullRules::default());
    cluster.run(secs(200));
    assert!(cluster.suspected > 0, "the test shows something");
    assert_eq!(cluster.downs, []);
    // A suspicion may just be on its way.
    let mut agrees = false;
    for _ in 0..20 {
        cluster.run(secs(1));
        agrees |= cluster.agrees();
    }
    assert!(agrees);
}

/// Who was stopped for a while is suspected, denies it, and blames nobody for its own silence.
#[test]
fn who_slept_denies_and_accuses_nobody() {
    let mut cluster = Cluster::new(20, 0, PushPullRules::default());
    cluster.run(secs(20));
    cluster.paused.insert(5);
    cluster.run(secs(4));
    assert!(cluster.presume(5, Presumed::Suspect) > 0);
    let before = cluster.suspected;
    cluster.paused.clear();
    cluster.run(secs(10));
    assert_eq!(cluster.downs, []);
    assert!(cluster.agrees());
    assert_eq!(cluster.suspected, before);
    assert!(cluster.nodes[5].as_ref().unwrap().counts().denials > 0);
}

#[test]
fn who_says_goodbye_is_gone_at_once_and_never_suspected() {
    let mut cluster = Cluster::new(20, 0, PushPullRules::default());
    cluster.run(secs(20));
    cluster.feed(6, Input::Leave);
    cluster.run(secs(5));
    assert_eq!(cluster.nodes[6].as_ref().unwrap().poll_timeout(), None);
    assert_eq!(cluster.presume(6, Presumed::Left), 19);
    assert_eq!(cluster.suspected, 0);
    // A new process in its place is believed.
    cluster.nodes[6] = Some(machine(&cluster.rules, 6, 1_030));
    cluster.feed(6, Input::Join { contacts: &[addr(0)] });
    cluster.run(secs(10));
    assert!(cluster.agrees());
}

#[test]
fn the_halves_of_a_split_cluster_find_each_other_again() {
    let mut cluster = Cluster::new(20, 0, PushPullRules::default());
    cluster.run(secs(20));
    cluster.sides = Some(8);
    cluster.run(secs(200));
    assert_eq!(cluster.presume(0, Presumed::Dead), 12);
    assert_eq!(cluster.presume(0, Presumed::Alive), 7);
    cluster.sides = None;
    cluster.run(cluster.rules.recall_period + secs(20));
    assert!(cluster.agrees());
}

/// Nobody can be made to flood somebody else: what goes to an address that echoed nothing is at
/// most three times what came from it.
#[test]
fn who_echoed_nothing_gets_little() {
    let rules = PushPullRules { tells: None, ..PushPullRules::default() };
    let mut ours = machine(&rules, 0, 1);
    for _ in 0..50 {
        ours.publish(Instant::START, b"topic", &[7; 900]).unwrap();
    }
    let victim = addr(1);
    for call in [Call::Ping { number: 1 }, Call::Sync { reply: false }, Call::Tell] {
        let datagram = Datagram { incarnation: 1, token: 5, echo: 5, call, ..empty() };
        let bytes = datagram.seal(&KEY, ends(1, 0));
        ours.handle(Instant::START, Input::Datagram { from: victim, bytes: &bytes });
        let mut sent = 0;
        while let Some(output) = ours.poll_output() {
            if let Output::Send { to, bytes } = output {
                assert_eq!(to, victim);
                sent += bytes.len();
            }
        }
        assert!(sent <= 3 * bytes.len(), "{call:?}: {sent} bytes for {}", bytes.len());
    }
    // Unasked it gets a bare question a period, and no comparison.
    let mut now = Instant::START;
    for _ in 0..100 {
        now = ours.poll_timeout().unwrap();
        ours.handle(now, Input::Timeout);
        let sent = std::iter::from_fn(|| ours.poll_output()).filter_map(|output| match output {
            Output::Send { bytes, .. } => Some(bytes.len()),
            _ => None,
        });
        assert!(sent.sum::<usize>() < 100);
    }
    assert!(now > Instant::START.after(secs(30)));
}

/// Bytes that leave for what a node was sent.
fn answered(ours: &mut PushPull, now: Instant, from: SocketAddr, bytes: &[u8]) -> usize {
    ours.handle(now, Input::Datagram { from, bytes });
    let sent = std::iter::from_fn(|| ours.poll_output()).filter_map(|output| match output {
        Output::Send { bytes, .. } => Some(bytes.len()),
        _ => None,
    });
    sent.sum()
}

/// Who was at its address once was answered at length for ever: a comparison that somebody caught
/// and sent again brought two hundred bytes for one to whoever is there now.
#[test]
fn a_datagram_that_was_caught_is_answered_at_length_only_while_its_token_is_fresh() {
    let mut ours = machine(&PushPullRules::default(), 0, 1);
    let mut now = Instant::START;
    for _ in 0..50 {
        ours.publish(now, b"topic", &[7; 900]).unwrap();
    }
    let echo = ours.token(addr(1), epoch(now));
    for call in [Call::Sync { reply: false }, Call::Ping { number: 1 }] {
        let caught = Datagram { call, echo, ..empty() }.seal(&KEY, ends(1, 0));
        assert!(answered(&mut ours, now, addr(1), &caught) > 3 * caught.len());
        assert!(ours.members.get(&addr(1)).unwrap().proven);
    }
    now = now.after(TOKEN_PERIOD * 3);
    for call in [Call::Sync { reply: false }, Call::Ping { number: 1 }] {
        let caught = Datagram { call, echo, ..empty() }.seal(&KEY, ends(1, 0));
        assert!(answered(&mut ours, now, addr(1), &caught) <= 3 * caught.len());
    }
}

#[test]
fn who_comes_and_goes_is_to_be_probed_once() {
    let mut ours = machine(&PushPullRules::default(), 0, 1);
    for incarnation in 0..1_000 {
        for life in [Life::Alive, Life::Left] {
            ours.hear(Instant::START, addr(2), incarnation, life);
            ours.check();
        }
    }
}

/// Where nobody is, or everybody, nothing is sent to.
#[test]
fn addresses_that_are_no_machine_are_no_members() {
    let mut ours = machine(&PushPullRules::default(), 0, 1);
    for wrong in
        ["0.0.0.0:53", "1.2.3.4:0", "224.0.0.1:1900", "255.255.255.255:9", "[::1]:1", "[ff02::1]:1"]
    {
        let wrong: SocketAddr = wrong.parse().unwrap();
        ours.hear(Instant::START, wrong, 1, Life::Alive);
        ours.handle(Instant::START, Input::Join { contacts: &[wrong] });
    }
    assert!(ours.members().next().is_none() && ours.poll_output().is_none());
}

/// Where news rode on probes alone, a node that heard others badly told its news as seldom as it
/// probed: loss made them slow twice.
#[test]
fn who_hears_badly_probes_seldom_and_tells_as_often_as_ever() {
    let rules = PushPullRules { tells: None, ..PushPullRules::default() };
    let mut ours = machine(&rules, 0, 1);
    let mut now = Instant::START;
    let echo = ours.token(addr(1), epoch(now));
    let bytes = Datagram { token: 9, echo, ..empty() }.seal(&KEY, ends(1, 0));
    ours.handle(now, Input::Datagram { from: addr(1), bytes: &bytes });
    ours.probing.health = 8;
    // The first probe of this health; from now on there are nine seconds between two.
    now = now.after(secs(1));
    ours.handle(now, Input::Timeout);
    while ours.poll_output().is_some() {}
    ours.publish(now, b"topic", b"data").unwrap();
    let (end, mut tells, mut probes) = (now.after(secs(8)), 0, 0);
    while let Some(due) = ours.poll_timeout().filter(|due| *due <= end) {
        ours.handle(due, Input::Timeout);
        while let Some(output) = ours.poll_output() {
            let Output::Send { to, bytes } = output else { continue };
            let datagram = Datagram::open(&KEY, ends(0, 1), &bytes).unwrap();
            assert_eq!(to, addr(1));
            probes += usize::from(matches!(datagram.call, Call::Ping { .. }));
            tells += datagram.news.iter().filter(|news| matches!(news, News::Event(_))).count();
        }
    }
    assert_eq!((tells, probes), (rules.times(2) as usize, 0));
}

/// Who had no place for us never gave our token back, was never believed to be at its address, and
/// so was never told anything.
#[test]
fn who_has_no_place_for_us_shows_where_it_is_all_the_same() {
    let full = PushPullRules { members_max: 1, ..PushPullRules::default() };
    let [mut ours, mut theirs] =
        [(0, &PushPullRules::default()), (1, &full)].map(|(node, rules)| machine(rules, node, 1));
    let now = Instant::START;
    let bytes = empty().seal(&KEY, ends(2, 1));
    theirs.handle(now, Input::Datagram { from: addr(2), bytes: &bytes });
    ours.handle(now, Input::Join { contacts: &[addr(1)] });
    for _ in 0..4 {
        let from_ours: Vec<_> = std::iter::from_fn(|| ours.poll_output()).collect();
        for output in from_ours {
            if let Output::Send { to, bytes } = output
                && to == addr(1)
            {
                theirs.handle(now, Input::Datagram { from: addr(0), bytes: &bytes });
            }
        }
        while let Some(output) = theirs.poll_output() {
            if let Output::Send { to, bytes } = output
                && to == addr(0)
            {
                ours.handle(now, Input::Datagram { from: addr(1), bytes: &bytes });
            }
        }
    }
    assert!(theirs.members().all(|(member, _)| member != addr(0)));
    assert!(ours.members.get(&addr(1)).unwrap().proven);
}

fn empty() -> Datagram<'static> {
    let news = NewsList::default();
    Datagram { incarnation: 1, token: 1, echo: 0, call: Call::Tell, news }
}

#[test]
fn what_another_key_sealed_is_counted_and_nothing_else() {
    let mut ours = machine(&PushPullRules::default(), 0, 1);
    let bytes = empty().seal(&ClusterKey([4; 32]), ends(1, 0));
    for bytes in [&bytes[..], b"", &[0; 2_000]] {
        ours.handle(Instant::START, Input::Datagram { from: addr(1), bytes });
    }
    assert_eq!(ours.poll_output(), None);
    assert_eq!(ours.members().count(), 0);
    let counts = *ours.counts();
    assert_eq!((counts.strange, counts.malformed), (3, 0));
}

#[test]
fn what_is_published_fits() {
    let mut ours = machine(&PushPullRules::default(), 0, 1);
    let mut publish = |topic, data| ours.publish(Instant::START, &vec![0; topic], &vec![0; data]);
    let (length, limit) = (TOPIC_BYTES_MAX + 1, TOPIC_BYTES_MAX);
    assert_eq!(publish(length, 0), Err(PublishError::TopicTooLong { length, limit }));
    let (length, limit) = (EVENT_DATA_BYTES_MAX + 1, EVENT_DATA_BYTES_MAX);
    assert_eq!(publish(0, length), Err(PublishError::DataTooLong { length, limit }));
    assert!(publish(TOPIC_BYTES_MAX, EVENT_DATA_BYTES_MAX).is_ok());
}

#[test]
fn members_and_events_are_bounded_and_the_dead_make_room() {
    let rules = PushPullRules { members_max: 4, events_max: 3, ..PushPullRules::default() };
    let mut ours = machine(&rules, 0, 1);
    let mut say = |from: usize, news: &[News<'_>]| {
        let mut bytes = Vec::new();
        news.iter().for_each(|one| one.write(&mut bytes));
        let news = NewsList::new(&bytes).unwrap();
        let bytes = Datagram { news, ..empty() }.seal(&KEY, ends(from, 0));
        ours.handle(Instant::START, Input::Datagram { from: addr(from), bytes: &bytes });
        ours.check();
    };
    let member = |who, life| News::Member { addr: addr(who), incarnation: 1, life };
    let many: Vec<_> = (1..10).map(|who| member(who, Life::Alive)).collect();
    say(1, &many);
    say(1, &[member(3, Life::Dead)]);
    say(20, &[]);
    let event = |nonce| News::Event(Event { time: 1, nonce, topic: b"t", data: b"d" });
    say(1, &[event(1), event(2), event(3), event(4)]);
    let known: Vec<_> = ours.members().map(|(addr, _)| node_of(addr)).collect();
    assert_eq!(known, [1, 2, 4, 20], "the dead one made room, the living did not");
    assert_eq!(ours.events.newest().count(), 3);
    // Questions for others are bounded too.
    for number in 0..200 {
        let call = Call::PingFor { number, target: addr(2) };
        let bytes = Datagram { call, ..empty() }.seal(&KEY, ends(1, 0));
        ours.handle(Instant::START, Input::Datagram { from: addr(1), bytes: &bytes });
    }
    assert_eq!(std::iter::from_fn(|| ours.poll_output()).filter(is_send).count(), 200);
    let due = ours.poll_timeout().unwrap().after(secs(1));
    ours.handle(due, Input::Timeout);
    let nacks = std::iter::from_fn(|| ours.poll_output()).filter(is_send).count();
    assert!((64..70).contains(&nacks), "{nacks}");
}

fn is_send(output: &Output) -> bool {
    matches!(output, Output::Send { .. })
}

/// Nothing is sent alone; who is not talked to learns nothing.
#[test]
fn on_the_applications_messages_news_ride_and_never_alone() {
    let rules = PushPullRules { rides: Rides::Application, ..PushPullRules::default() };
    let [mut ours, mut theirs, mut idle] = [0, 1, 2].map(|node| machine(&rules, node, 1));
    let now = Instant::START;
    ours.handle(now, Input::Join { contacts: &[addr(1), addr(2)] });
    let id = ours.publish(now, b"t", b"d").unwrap();
    let carried = ours.carry(now, addr(1), 500).unwrap();
    theirs.handle(now, Input::Datagram { from: addr(0), bytes: &carried });
    assert!(theirs.knows(&id));
    assert_eq!(ours.carry(now, addr(1), 40), None, "there is no room for it");
    for machine in [&mut ours, &mut theirs, &mut idle] {
        machine.handle(now.after(secs(59)), Input::Timeout);
        while let Some(output) = machine.poll_output() {
            assert!(!is_send(&output));
        }
    }
    assert!(!idle.knows(&id));
}

/// Whoever caught a datagram made a member of any address that it was sent again from.
#[test]
fn what_was_caught_between_two_is_nothing_between_others() {
    let [mut ours, mut theirs] = [0, 2].map(|node| machine(&PushPullRules::default(), node, 1));
    let now = Instant::START;
    let caught = Datagram { call: Call::Ping { number: 1 }, ..empty() }.seal(&KEY, ends(1, 0));
    assert_eq!(answered(&mut ours, now, addr(7), &caught), 0);
    assert_eq!(answered(&mut theirs, now, addr(1), &caught), 0);
    assert_eq!((ours.counts().strange, theirs.counts().strange), (1, 1));
    assert!(ours.members().next().is_none() && theirs.members().next().is_none());
    assert!(answered(&mut ours, now, addr(1), &caught) > 0);
    assert!(ours.members().eq([(addr(1), Presumed::Alive)]));
    // What we send comes back from somebody.
    ours.publish(now, b"t", b"d").unwrap();
    let carried = ours.carry(now, addr(1), 500).unwrap();
    assert_eq!(answered(&mut ours, now, addr(1), &carried), 0);
    assert_eq!(ours.counts().strange, 2);
}

/// A day that was.
const TODAY: u64 = 1_700_000_000;

fn news_of(one: &News<'_>, from: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    one.write(&mut bytes);
    let news = NewsList::new(&bytes).unwrap();
    Datagram { news, ..empty() }.seal(&KEY, ends(from, 0))
}

#[test]
fn events_of_another_time_are_passed_over_and_counted() {
    let mut ours = machine(&PushPullRules::default(), 0, TODAY);
    let now = Instant::START.after(secs(10_000));
    let clock = (TODAY + 10_000) * 1_000;
    for (time, taken) in [
        (clock - 480_000, 1),
        (clock - 480_001, 0),
        (clock + 300_000, 1),
        (clock + 300_001, 0),
        (0, 0),
        (u64::MAX, 0),
    ] {
        let event = Event { time, nonce: 1, topic: b"t", data: b"d" };
        let bytes = news_of(&News::Event(event), 1);
        ours.handle(now, Input::Datagram { from: addr(1), bytes: &bytes });
        let outputs = std::iter::from_fn(|| ours.poll_output());
        let happened = outputs.filter(|output| matches!(output, Output::Happened { .. }));
        assert_eq!(happened.count(), taken, "{time}");
    }
    assert_eq!(ours.counts().untimely, 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Who caught a datagram sends it again whenever it likes: what it tells of happens once.
    #[test]
    fn no_event_happens_again_whenever_it_comes_again(
        events in prop::collection::vec((0u64..1_200, 0u64..700), 1..12),
        again in prop::collection::vec((any::<prop::sample::Index>(), 0u64..300), 0..60),
    ) {
        let mut ours = machine(&PushPullRules::default(), 0, TODAY);
        let caught: Vec<_> = events.iter().enumerate().map(|(nonce, (at, off))| {
            // The clock of who published it is off by five minutes at most, or by more.
            let time = (TODAY + at + off - 350) * 1_000;
            let event = Event { time, nonce: nonce as u64, topic: b"t", data: b"d" };
            (*at, news_of(&News::Event(event), 1))
        }).collect();
        let (mut at, mut happened) = (0, Vec::new());
        let mut comes: Vec<_> = (0..caught.len()).map(|one| (caught[one].0, one)).collect();
        for (one, wait) in again {
            at += wait;
            let one = one.index(caught.len());
            comes.push((at.max(caught[one].0), one));
        }
        comes.sort_unstable();
        for (at, one) in comes {
            let now = Instant::START.after(secs(at));
            while let Some(due) = ours.poll_timeout().filter(|due| *due <= now) {
                ours.handle(due, Input::Timeout);
            }
            ours.handle(now, Input::Datagram { from: addr(1), bytes: &caught[one].1 });
            while let Some(output) = ours.poll_output() {
                if let Output::Happened { event, .. } = output {
                    happened.push(event.nonce);
                }
            }
        }
        happened.sort_unstable();
        prop_assert!(happened.is_sorted_by(|one, other| one < other), "{happened:?}");
        for (nonce, (_, off)) in events.iter().enumerate() {
            let is_timely = (50..=650).contains(off);
            prop_assert!(!is_timely || happened.contains(&(nonce as u64)), "{nonce}");
        }
    }

    /// Whatever incarnation somebody is called dead in, it can deny it: the last one there is kept
    /// it dead for a day.
    #[test]
    fn who_is_called_dead_in_any_incarnation_can_deny_it(
        incarnation in prop_oneof![
            any::<u64>(),
            Just(u64::MAX),
            (0u64..200_000, 0u64..1 << 20).prop_map(|(at, low)| ((TODAY + at) << 20) + low),
        ],
        left: bool,
    ) {
        let rules = PushPullRules::default();
        let [mut ours, mut theirs] = [0, 1].map(|node| machine(&rules, node, TODAY));
        let mut speak = |ours: &mut PushPull, at| {
            let now = Instant::START.after(Duration::from_millis(at));
            let ping = Datagram { call: Call::Ping { number: 1 }, ..empty() };
            let news = ours.bare_news(&addr(1));
            let news = NewsList::new(&news).unwrap();
            let bytes = Datagram { news, ..ping }.seal(&KEY, ends(0, 1));
            theirs.handle(now, Input::Datagram { from: addr(0), bytes: &bytes });
            while let Some(output) = theirs.poll_output() {
                if let Output::Send { to, bytes } = output
                    && to == addr(0)
                {
                    ours.handle(now, Input::Datagram { from: addr(1), bytes: &bytes });
                }
            }
        };
        speak(&mut ours, 0);
        prop_assert!(ours.members().eq([(addr(1), Presumed::Alive)]));
        let life = if left { Life::Left } else { Life::Dead };
        let dead = News::Member { addr: addr(1), incarnation, life };
        ours.handle(Instant::START, Input::Datagram { from: addr(2), bytes: &news_of(&dead, 2) });
        speak(&mut ours, 1);
        let presumed = ours.members().find(|(member, _)| *member == addr(1));
        prop_assert_eq!(presumed, Some((addr(1), Presumed::Alive)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever members say in whatever order: no panic, the books are right, an event happens
    /// once, and nobody believes that we are dead.
    #[test]
    fn no_order_of_events_breaks_it(
        said in prop::collection::vec(
            (0usize..6, 0usize..6, 0u8..8, 0u64..4, 0u8..8, 0u32..6, 0u64..900),
            0..200,
        ),
    ) {
        let rules = PushPullRules { members_max: 4, events_max: 3, ..PushPullRules::default() };
        let mut ours = machine(&rules, 0, 0);
        let (mut now, mut happened) = (Instant::START, Vec::new());
        for (from, about, what, number, call, question, wait) in said {
            now = now.after(Duration::from_millis(wait));
            let life = match what {
                0 | 1 => Life::Alive,
                2 => Life::Suspect { by: addr(from) },
                3 => Life::Dead,
                _ => Life::Left,
            };
            let news = match what {
                5 => News::Event(Event { time: number, nonce: 1, topic: b"", data: b"x" }),
                6 => News::Known(EventId([1; 16])),
                _ => News::Member { addr: addr(about), incarnation: number, life },
            };
            let mut bytes = Vec::new();
            news.write(&mut bytes);
            let call = match call {
                0 => Call::Ping { number: question },
                1 => Call::Ack { number: question },
                2 => Call::PingFor { number: question, target: addr(about) },
                3 => Call::Nack { number: question },
                4 => Call::Sync { reply: number == 0 },
                _ => Call::Tell,
            };
            let echo = ours.token(addr(from), epoch(now));
            let news = NewsList::new(&bytes).unwrap();
            let incarnation = number;
            let datagram = Datagram { incarnation, token: 9, echo, call, news };
            let bytes = datagram.seal(&KEY, ends(from, 0));
            if what == 7 {
                ours.handle(now, Input::Timeout);
            } else {
                ours.handle(now, Input::Datagram { from: addr(from), bytes: &bytes });
            }
            ours.check();
            while let Some(output) = ours.poll_output() {
                match output {
                    Output::Happened { id, .. } => happened.push(id),
                    Output::Send { to, bytes } => {
                        prop_assert!(to != addr(0) && bytes.len() <= DATAGRAM_BYTES_MAX);
                    }
                    _ => {}
                }
            }
        }
        // Three are remembered and four can come, and yet none happens again.
        let count = happened.len();
        prop_assert_eq!(happened.into_iter().collect::<BTreeSet<_>>().len(), count);
        prop_assert!(ours.members().all(|(member, _)| member != addr(0)));
    }
}
