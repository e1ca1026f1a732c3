//! The rules one by one, and small networks of machines.

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

const MS: Duration = Duration::from_millis(1);

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1_000)
}

fn conn(index: u32) -> ConnId {
    ConnId::new(index, 1)
}

fn id(number: u8) -> Hash {
    Hash([number; 32])
}

fn have(number: u8, round: u16) -> HaveGossip {
    HaveGossip { id: id(number), round }
}

impl Plumtree {
    fn check(&self) {
        let missing: Vec<_> = self.missing.iter().map(|(id, one)| (one.due, *id)).collect();
        let due: Vec<_> = self.due.iter().copied().collect();
        let mut sorted = missing;
        sorted.sort_unstable();
        assert_eq!(sorted, due, "what is missing has its time");
        assert!(self.missing.keys().all(|id| !self.seen.contains_key(id)));
        assert_eq!(self.seen.len(), self.by_age.len());
        assert!(self.seen.len() <= self.rules.remembered_max);
        for (conn, neighbour) in &self.neighbours {
            let of_it = |one: &&Missing| one.announcers.iter().any(|(who, _)| who == conn);
            assert_eq!(self.missing.values().filter(of_it).count(), neighbour.announced);
            assert!(neighbour.announced <= self.rules.missing_max);
            assert!(neighbour.waiting.is_empty() || self.announce_at.is_some());
        }
    }

    fn feed(&mut self, ms: u64, input: Input<'_>) -> Vec<Output> {
        self.handle(at(ms), input);
        self.check();
        std::iter::from_fn(|| self.poll_output()).collect()
    }

    /// With so many neighbours.
    fn among(neighbours: u32, rules: PlumtreeRules) -> Self {
        let mut tree = Self::new(rules, Rng::from_seed([3; 32]));
        for index in 0..neighbours {
            assert_eq!(tree.feed(0, Input::Up { conn: conn(index) }), []);
        }
        tree
    }
}

#[test]
fn a_new_message_goes_along_the_tree_and_its_id_along_the_other_links() {
    let mut tree = Plumtree::among(4, PlumtreeRules::default());
    assert_eq!(tree.feed(1, Input::Prune { from: conn(2) }), []);
    let came = Input::Gossip { from: conn(0), id: id(1), round: 4 };
    let passed_on = Output::Send { to: vec![conn(1), conn(3)], id: id(1), round: 5 };
    assert_eq!(tree.feed(2, came.clone()), [Output::Deliver { id: id(1) }, passed_on]);
    assert_eq!(tree.poll_timeout(), Some(at(7)));
    // A second message leaves with the same announcement.
    tree.feed(4, Input::Publish { id: id(2) });
    let told = Output::Have { to: conn(2), messages: vec![have(1, 5), have(2, 1)] };
    assert_eq!(tree.feed(7, Input::Timeout), [told]);
    // A second way to us is none.
    let again = Input::Gossip { from: conn(1), id: id(1), round: 1 };
    assert_eq!(tree.feed(8, again), [Output::Prune { to: conn(1) }]);
    assert_eq!(tree.lazy().collect::<Vec<_>>(), [conn(1), conn(2)]);
    // Who sends something new is a branch again, and so is who grafts.
    tree.feed(9, Input::Gossip { from: conn(1), id: id(3), round: 1 });
    let asked = tree.feed(10, Input::Graft { from: conn(2), id: Some(id(1)) });
    assert_eq!(asked, [Output::Send { to: vec![conn(2)], id: id(1), round: 5 }]);
    assert_eq!(tree.feed(11, Input::Graft { from: conn(2), id: Some(id(99)) }), []);
    assert_eq!(tree.eager().count(), 4);
    // Our own message is published once.
    assert_eq!(tree.feed(12, Input::Publish { id: id(2) }), []);
}

/// A graft at once on an announcement would double what is on its way over the tree.
#[test]
fn what_is_announced_is_asked_for_when_it_does_not_come_one_announcer_after_the_other() {
    let mut tree = Plumtree::among(3, PlumtreeRules::default());
    for (index, ms) in [(0, 10), (1, 11), (2, 12), (0, 13)] {
        let input = Input::Have { from: conn(index), messages: &[have(1, 3), have(2, 3)] };
        assert_eq!(tree.feed(ms, input), []);
    }
    tree.feed(20, Input::Gossip { from: conn(2), id: id(2), round: 9 });
    let graft = |index| Output::Graft { to: conn(index), id: Some(id(1)) };
    let due = tree.poll_timeout().unwrap().micros().div_ceil(1_000);
    assert!((510..=761).contains(&due), "{due}");
    assert_eq!(tree.feed(509, Input::Timeout), []);
    assert_eq!(tree.feed(due, Input::Timeout), [graft(0)]);
    assert_eq!(tree.poll_timeout(), Some(at(due + 200)));
    assert_eq!(tree.feed(due + 200, Input::Timeout), [graft(1)]);
    tree.feed(due + 300, Input::Down { conn: conn(2) });
    let outputs = tree.feed(due + 400, Input::Timeout);
    assert_eq!(outputs, [], "the last one was gone, and was told of");
    // It comes late all the same.
    let came = Input::Gossip { from: conn(0), id: id(1), round: 3 };
    assert!(tree.feed(due + 450, came).contains(&Output::Deliver { id: id(1) }));
}

#[test]
fn what_nobody_sent_is_told_of() {
    let mut tree = Plumtree::among(2, PlumtreeRules::default());
    tree.feed(0, Input::Have { from: conn(0), messages: &[have(1, 3)] });
    tree.feed(750, Input::Timeout);
    assert_eq!(tree.feed(950, Input::Timeout), [Output::Missed { id: id(1) }]);
    assert_eq!(tree.poll_timeout(), None);
    tree.feed(960, Input::Have { from: conn(0), messages: &[have(2, 3)] });
    let down = tree.feed(970, Input::Down { conn: conn(0) });
    assert_eq!(down, [Output::Missed { id: id(2) }]);
}

#[test]
fn a_much_nearer_neighbour_takes_the_place_of_the_parent_if_that_is_wished() {
    for (by, shortens) in [(None, false), (Some(4), true), (Some(5), false)] {
        let rules = PlumtreeRules { shorten_by: by, ..PlumtreeRules::default() };
        let mut tree = Plumtree::among(2, rules);
        tree.feed(0, Input::Prune { from: conn(1) });
        tree.feed(1, Input::Have { from: conn(1), messages: &[have(1, 3)] });
        let outputs = tree.feed(2, Input::Gossip { from: conn(0), id: id(1), round: 7 });
        let wanted = [Output::Graft { to: conn(1), id: None }, Output::Prune { to: conn(0) }];
        assert_eq!(outputs.ends_with(&wanted), shortens, "{by:?}");
        assert_eq!(tree.eager().eq([conn(1)]), shortens);
    }
}

#[test]
fn what_neighbours_make_grow_is_bounded() {
    let rules = PlumtreeRules { missing_max: 3, remembered_max: 4, ..PlumtreeRules::default() };
    let mut tree = Plumtree::among(2, rules);
    let many: Vec<_> = (0..9).map(|number| have(number, 0)).collect();
    tree.feed(0, Input::Have { from: conn(0), messages: &many });
    assert_eq!(tree.missing.len(), 3);
    tree.feed(0, Input::Have { from: conn(1), messages: &many[6..] });
    assert_eq!(tree.missing.len(), 6, "each neighbour for itself");
    for number in 100..109 {
        tree.feed(1, Input::Publish { id: id(number) });
    }
    assert_eq!(tree.seen.len(), 4);
    tree.feed(90_000, Input::Timeout);
    assert_eq!(tree.seen.len(), 4, "one is forgotten after its time, not before");
    tree.feed(90_001, Input::Timeout);
    assert_eq!(tree.seen.len(), 0);
    // Announcements that wait leave when they fill a message.
    let mut tree = Plumtree::among(1, PlumtreeRules::default());
    tree.feed(0, Input::Prune { from: conn(0) });
    let mut left = Vec::new();
    for number in 0..RECORDS_MAX as u64 {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        left = tree.feed(0, Input::Publish { id: Hash(bytes) });
    }
    let [Output::Have { messages, .. }] = &left[..] else { panic!("{left:?}") };
    assert_eq!(messages.len(), RECORDS_MAX);
}

#[test]
fn strangers_are_passed_over() {
    let mut tree = Plumtree::among(0, PlumtreeRules::default());
    for input in [
        Input::Gossip { from: conn(0), id: id(1), round: 1 },
        Input::Have { from: conn(0), messages: &[have(1, 1)] },
        Input::Graft { from: conn(0), id: Some(id(1)) },
        Input::Prune { from: conn(0) },
        Input::Down { conn: conn(0) },
    ] {
        assert_eq!(tree.feed(0, input), []);
    }
    assert_eq!(tree.poll_timeout(), None);
}

/// What travels between two machines.
#[derive(Clone, Debug)]
enum Letter {
    Gossip(Hash, u16),
    Have(Vec<HaveGossip>),
    Graft(Option<Hash>),
    Prune,
}

/// Machines on a random graph; a letter takes as long as its link is, 20 to 100 ms.
struct Net {
    trees: Vec<Plumtree>,
    alive: Vec<bool>,
    links: BTreeMap<(usize, usize), Duration>,
    letters: BTreeMap<(Instant, u64), (usize, usize, Letter)>,
    sent: u64,
    bodies: u64,
    delivered: Vec<Vec<Hash>>,
    now: Instant,
}

impl Net {
    /// Every node has about so many neighbours: a ring, and random links beside it.
    fn new(nodes: usize, degree: usize, rng: &mut Rng) -> Self {
        let mut links = BTreeMap::new();
        let ring = (0..nodes).map(|node| (node, (node + 1) % nodes));
        let random = (0..nodes * (degree - 2) / 2)
            .map(|_| [(); 2].map(|()| rng.below(nodes as u64) as usize))
            .map(|[a, b]| (a, b))
            .collect::<Vec<_>>();
        for (a, b) in ring.chain(random).filter(|(a, b)| a != b) {
            let delay = MS * (20 + rng.below(80) as u32);
            links.insert((a, b), delay);
            links.insert((b, a), delay);
        }
        let mut net = Self {
            trees: (0..nodes)
                .map(|_| Plumtree::new(PlumtreeRules::default(), rng.fork("tree")))
                .collect(),
            alive: vec![true; nodes],
            links,
            letters: BTreeMap::new(),
            sent: 0,
            bodies: 0,
            delivered: vec![Vec::new(); nodes],
            now: Instant::START,
        };
        for (a, b) in net.links.keys().copied().collect::<Vec<_>>() {
            net.trees[a].handle(net.now, Input::Up { conn: conn(b as u32) });
        }
        net
    }

    fn publish(&mut self, node: usize, id: Hash) {
        self.delivered[node].push(id);
        self.feed(node, Input::Publish { id });
    }

    fn feed(&mut self, node: usize, input: Input<'_>) {
        self.trees[node].handle(self.now, input);
        self.trees[node].check();
        while let Some(output) = self.trees[node].poll_output() {
            match output {
                Output::Deliver { id } => self.delivered[node].push(id),
                Output::Send { to, id, round } => {
                    self.bodies += to.len() as u64;
                    to.into_iter().for_each(|to| self.post(node, to, Letter::Gossip(id, round)));
                }
                Output::Have { to, messages } => self.post(node, to, Letter::Have(messages)),
                Output::Graft { to, id } => self.post(node, to, Letter::Graft(id)),
                Output::Prune { to } => self.post(node, to, Letter::Prune),
                Output::Missed { .. } => {}
            }
        }
    }

    fn post(&mut self, from: usize, to: ConnId, letter: Letter) {
        let to = to.index() as usize;
        let arrives = self.now.after(self.links[&(from, to)]);
        self.sent += 1;
        self.letters.insert((arrives, self.sent), (from, to, letter));
    }

    /// Until nothing moves any more, but for what is forgotten.
    fn settle(&mut self) {
        let patience = self.now.after(Duration::from_secs(30));
        loop {
            let alive = self.trees.iter().enumerate().filter(|(node, _)| self.alive[*node]);
            let due = alive.filter_map(|(node, tree)| Some((tree.poll_timeout()?, node))).min();
            let letter = self.letters.first_key_value().map(|((at, _), _)| *at);
            let next = letter.into_iter().chain(due.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|at| *at < patience) else { break };
            self.now = self.now.max(next);
            if letter == Some(next) {
                let (_, (from, to, letter)) = self.letters.pop_first().expect("it is there");
                self.arrive(conn(from as u32), to, letter);
            } else if let Some((_, node)) = due {
                self.feed(node, Input::Timeout);
            }
        }
        self.now = patience;
    }

    fn arrive(&mut self, from: ConnId, to: usize, letter: Letter) {
        if !self.alive[to] || !self.alive[from.index() as usize] {
            return;
        }
        match letter {
            Letter::Gossip(id, round) => self.feed(to, Input::Gossip { from, id, round }),
            Letter::Have(messages) => self.feed(to, Input::Have { from, messages: &messages }),
            Letter::Graft(id) => self.feed(to, Input::Graft { from, id }),
            Letter::Prune => self.feed(to, Input::Prune { from }),
        }
    }

    fn kill(&mut self, node: usize) {
        self.alive[node] = false;
        let neighbours: Vec<_> = self.links.keys().filter(|(from, _)| *from == node).collect();
        for other in neighbours.into_iter().map(|(_, to)| *to).collect::<Vec<_>>() {
            self.feed(other, Input::Down { conn: conn(node as u32) });
        }
    }
}

#[test]
fn after_one_broadcast_a_node_gets_one_body() {
    let mut net = Net::new(200, 5, &mut Rng::from_seed([1; 32]));
    let mut bodies = Vec::new();
    for number in 0..4 {
        net.bodies = 0;
        net.publish(0, id(number));
        net.settle();
        bodies.push(net.bodies);
    }
    assert!(net.delivered.iter().all(|ids| ids.len() == 4), "{:?}", net.delivered);
    // The first is a flood: over each link twice, less the way back to whom it came from.
    assert!(bodies[0] > 2 * 200, "{bodies:?}");
    assert_eq!(bodies[1..], [199; 3], "{bodies:?}");
}

#[test]
fn when_nodes_die_the_tree_mends_itself_along_what_is_left() {
    let mut rng = Rng::from_seed([2; 32]);
    let mut net = Net::new(200, 8, &mut rng);
    net.publish(0, id(0));
    net.settle();
    for node in 1..200 {
        if rng.chance(3, 10) {
            net.kill(node);
        }
    }
    // Whoever is still joined to the publisher by links of the living gets it.
    let mut reached = BTreeSet::from([0]);
    let mut border = vec![0];
    while let Some(node) = border.pop() {
        for (_, to) in net.links.keys().filter(|(from, to)| *from == node && net.alive[*to]) {
            if reached.insert(*to) {
                border.push(*to);
            }
        }
    }
    net.publish(0, id(1));
    net.settle();
    for node in 0..200 {
        assert_eq!(net.delivered[node].contains(&id(1)), reached.contains(&node), "{node}");
    }
    net.bodies = 0;
    net.publish(0, id(2));
    net.settle();
    assert!(net.bodies < reached.len() as u64 * 11 / 10, "{} bodies", net.bodies);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any number of publishers, at any time: everybody gets each message exactly once.
    #[test]
    fn everybody_gets_each_message_once(
        seed: [u8; 32],
        publishers in prop::collection::vec(0usize..40, 1..12),
    ) {
        let mut net = Net::new(40, 4, &mut Rng::from_seed(seed));
        for (number, node) in publishers.iter().enumerate() {
            net.publish(*node, id(number as u8));
        }
        net.settle();
        for (number, node) in publishers.iter().enumerate() {
            net.publish(*node, id(100 + number as u8));
            net.settle();
        }
        for ids in &net.delivered {
            let distinct: BTreeSet<_> = ids.iter().collect();
            prop_assert_eq!((ids.len(), distinct.len()), (2 * publishers.len(), ids.len()));
        }
    }

    /// Whatever neighbours say and in whatever order, the machine's books are right and nothing is
    /// delivered twice.
    #[test]
    fn no_order_of_events_breaks_it(
        events in prop::collection::vec((0u8..7, 0u32..4, 0u8..6, 0u16..9, 0u64..400), 0..200),
        shorten_by in prop::option::of(0u16..4),
    ) {
        let rules = PlumtreeRules { missing_max: 3, shorten_by, ..PlumtreeRules::default() };
        let mut tree = Plumtree::among(0, rules);
        let (mut ms, mut delivered) = (0, Vec::new());
        for (what, from, number, round, wait) in events {
            ms += wait / 10;
            let (from, id) = (conn(from), id(number));
            let messages = [have(number, round), have(number ^ 1, round)];
            let outputs = tree.feed(ms, match what {
                0 => Input::Up { conn: from },
                1 => Input::Down { conn: from },
                2 => Input::Gossip { from, id, round },
                3 => Input::Have { from, messages: &messages },
                4 => Input::Graft { from, id: (round > 3).then_some(id) },
                5 => Input::Prune { from },
                _ => Input::Timeout,
            });
            delivered.extend(outputs.iter().filter_map(|output| match output {
                Output::Deliver { id } => Some(*id),
                _ => None,
            }));
        }
        let distinct: BTreeSet<_> = delivered.iter().collect();
        prop_assert_eq!(distinct.len(), delivered.len());
    }
}
