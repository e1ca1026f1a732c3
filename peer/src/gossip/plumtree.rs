//! Plumtree: bodies along a tree, ids along the other links; the tree mends itself.
//!
//! Called with what neighbours say; it decides who gets a body, who an id, and whom to ask for what
//! is missing. Bodies are the driver's: it keeps them for a while, checks that the id is theirs
//! before it tells of one, and sends those that [`Output::Send`] names. Source: Leitão, Pereira,
//! Rodrigues, "Epidemic Broadcast Trees", SRDS 2007, section 3.
//!
//! Invariants: a neighbour is in the tree (eager) or not (lazy), never both; an id is delivered
//! once as long as it is remembered; what is missing has a time at which somebody is asked for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use codec::limits::RECORDS_MAX;
use codec::{Hash, HaveGossip};

use crate::event::ConnId;
use crate::rng::Rng;
use crate::time::Instant;

/// How a broadcast tree is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlumtreeRules {
    /// From the first announcement of an id until its announcer is asked for it, and up to a half
    /// longer, by chance. It has to be more than the path over the tree takes longer than the
    /// fastest one, or links are grafted without need. 500 ms: simulated with links of 20 to 100
    /// ms. Why by chance: those who are cut off together would all ask at once, where the first
    /// one's link serves all; and a message each 500 ms would meet the mending of the tree each
    /// time.
    pub graft_after: Duration,
    /// From one announcer asked to the next: about a round trip. 200 ms, as above.
    pub graft_again_after: Duration,
    /// How long ids wait for others, to leave together. 5 ms, iroh-gossip's.
    pub announce_after: Duration,
    /// Shortens the tree: a neighbour whose announcement was so many links nearer to the publisher
    /// than the body takes the place of who sent the body. The paper's experiments have 7. `None`:
    /// the tree stays as it grew, which measured better where any node may publish: rewiring it for
    /// each publisher cost 5 to 25 % more bodies and shortened nothing.
    pub shorten_by: Option<u16>,
    /// How long the id of a message is remembered. 90 s, iroh-gossip's: far beyond the time in
    /// which a message gets around.
    pub remember: Duration,
    /// Ids remembered at most: the oldest go first. Guess: 1,000 messages a second for a minute.
    pub remembered_max: usize,
    /// Ids that are missing at most for each neighbour that announces them; further ones of this
    /// neighbour are passed over. Guess: two full announcements.
    pub missing_max: usize,
}

impl PlumtreeRules {
    /// When an announcer is asked at the latest: with the longest wait that chance may give.
    #[must_use]
    pub fn graft_within(&self) -> Duration {
        self.graft_after + self.graft_after / 2
    }
}

impl Default for PlumtreeRules {
    fn default() -> Self {
        Self {
            graft_after: Duration::from_millis(500),
            graft_again_after: Duration::from_millis(200),
            announce_after: Duration::from_millis(5),
            shorten_by: None,
            remember: Duration::from_secs(90),
            remembered_max: 60_000,
            missing_max: 2 * RECORDS_MAX,
        }
    }
}

/// What happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input<'a> {
    /// A neighbour is there; its link is a part of the tree until it proves not to be needed.
    Up {
        /// Which one.
        conn: ConnId,
    },
    /// A neighbour is gone.
    Down {
        /// Which one.
        conn: ConnId,
    },
    /// We publish a message.
    Publish {
        /// Its id.
        id: Hash,
    },
    /// A neighbour sent a message; the id is that of its body.
    Gossip {
        /// Who.
        from: ConnId,
        /// Its id.
        id: Hash,
        /// Links that it has come over.
        round: u16,
    },
    /// A neighbour announced messages.
    Have {
        /// Who.
        from: ConnId,
        /// Which messages.
        messages: &'a [HaveGossip],
    },
    /// A neighbour makes the link a part of the tree, and may ask for a message.
    Graft {
        /// Who.
        from: ConnId,
        /// Which message.
        id: Option<Hash>,
    },
    /// A neighbour takes the link out of the tree.
    Prune {
        /// Who.
        from: ConnId,
    },
    /// Time passed.
    Timeout,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// A message is new: the driver keeps its body, and hands it to whoever subscribed.
    Deliver {
        /// Its id.
        id: Hash,
    },
    /// The body of a message goes to these neighbours, if the driver still has it.
    Send {
        /// To whom.
        to: Vec<ConnId>,
        /// Its id.
        id: Hash,
        /// Links that it will have come over.
        round: u16,
    },
    /// Ids go to this neighbour, [`RECORDS_MAX`] at most.
    Have {
        /// To whom.
        to: ConnId,
        /// Which ones.
        messages: Vec<HaveGossip>,
    },
    /// This neighbour is to make the link a part of the tree, and to send a message if one is
    /// named.
    Graft {
        /// To whom.
        to: ConnId,
        /// Which message.
        id: Option<Hash>,
    },
    /// This neighbour is to take the link out of the tree.
    Prune {
        /// To whom.
        to: ConnId,
    },
    /// Nobody who announced this message sent it.
    Missed {
        /// Which one.
        id: Hash,
    },
}

/// One node's part of a broadcast tree.
#[derive(Debug)]
pub struct Plumtree {
    rules: PlumtreeRules,
    rng: Rng,
    neighbours: BTreeMap<ConnId, Neighbour>,
    /// What was delivered or published, with the round in which it came.
    seen: BTreeMap<Hash, u16>,
    /// The same by age, each with the time at which it is forgotten.
    by_age: VecDeque<(Instant, Hash)>,
    missing: BTreeMap<Hash, Missing>,
    /// When somebody is asked for what is missing.
    due: BTreeSet<(Instant, Hash)>,
    /// When the ids that wait leave.
    announce_at: Option<Instant>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Neighbour {
    eager: bool,
    /// Ids that wait to leave.
    waiting: Vec<HaveGossip>,
    /// How many of what is missing it announced.
    announced: usize,
}

/// A message that was announced and did not come yet.
#[derive(Debug)]
struct Missing {
    due: Instant,
    /// Who announced it, with the round, in the order in which they are asked.
    announcers: VecDeque<(ConnId, u16)>,
}

impl Plumtree {
    /// Without neighbours.
    #[must_use]
    pub const fn new(rules: PlumtreeRules, rng: Rng) -> Self {
        Self {
            rules,
            rng,
            neighbours: BTreeMap::new(),
            seen: BTreeMap::new(),
            by_age: VecDeque::new(),
            missing: BTreeMap::new(),
            due: BTreeSet::new(),
            announce_at: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes what happened. What comes from somebody who is no neighbour is passed over.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Up { conn } => {
                let fresh = Neighbour { eager: true, waiting: Vec::new(), announced: 0 };
                self.neighbours.entry(conn).or_insert(fresh);
            }
            Input::Down { conn } => self.on_down(conn),
            Input::Publish { id } => {
                if !self.seen.contains_key(&id) {
                    self.accept(now, None, id, 0);
                }
            }
            Input::Gossip { from, id, round } => self.on_gossip(now, from, id, round),
            Input::Have { from, messages } => self.on_have(now, from, messages),
            Input::Graft { from, id } => self.on_graft(from, id),
            Input::Prune { from } => {
                if let Some(neighbour) = self.neighbours.get_mut(&from) {
                    neighbour.eager = false;
                }
            }
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
        let asked = self.due.first().map(|(due, _)| *due);
        let forgotten = self.by_age.front().map(|(at, _)| *at);
        [asked, self.announce_at, forgotten].into_iter().flatten().min()
    }

    /// Neighbours to which bodies go.
    pub fn eager(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.by_eagerness(true)
    }

    /// Neighbours to which ids go.
    pub fn lazy(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.by_eagerness(false)
    }

    fn by_eagerness(&self, eager: bool) -> impl Iterator<Item = ConnId> + '_ {
        let of_these = self.neighbours.iter().filter(move |(_, one)| one.eager == eager);
        of_these.map(|(conn, _)| *conn)
    }

    fn on_down(&mut self, conn: ConnId) {
        let Some(gone) = self.neighbours.remove(&conn) else { return };
        if gone.announced == 0 {
            return;
        }
        // Nobody is left to be asked for what this one alone announced.
        let lost = self.missing.extract_if(.., |_, missing| {
            let before = missing.announcers.len();
            missing.announcers.retain(|(announcer, _)| *announcer != conn);
            missing.announcers.is_empty() && before > 0
        });
        for (id, missing) in lost {
            self.due.remove(&(missing.due, id));
            self.outputs.push_back(Output::Missed { id });
        }
    }

    fn on_gossip(&mut self, now: Instant, from: ConnId, id: Hash, round: u16) {
        let Some(neighbour) = self.neighbours.get_mut(&from) else { return };
        if self.seen.contains_key(&id) {
            // A second way to us: one of the two is not needed.
            neighbour.eager = false;
            self.outputs.push_back(Output::Prune { to: from });
            return;
        }
        neighbour.eager = true;
        let announcers = self.resolve(&id);
        self.outputs.push_back(Output::Deliver { id });
        self.accept(now, Some(from), id, round);
        self.shorten(from, round, &announcers);
    }

    /// Remembers a message and passes it on.
    fn accept(&mut self, now: Instant, from: Option<ConnId>, id: Hash, round: u16) {
        self.remember(now, id, round);
        let round = round.saturating_add(1);
        let others = self.neighbours.iter_mut().filter(|(conn, _)| Some(**conn) != from);
        let mut to = Vec::new();
        let mut announced = false;
        for (conn, neighbour) in others {
            if neighbour.eager {
                to.push(*conn);
                continue;
            }
            announced = true;
            neighbour.waiting.push(HaveGossip { id, round });
            if neighbour.waiting.len() == RECORDS_MAX {
                let messages = std::mem::take(&mut neighbour.waiting);
                self.outputs.push_back(Output::Have { to: *conn, messages });
            }
        }
        if !to.is_empty() {
            self.outputs.push_back(Output::Send { to, id, round });
        }
        if announced && self.announce_at.is_none() {
            self.announce_at = Some(now.after(self.rules.announce_after));
        }
    }

    fn remember(&mut self, now: Instant, id: Hash, round: u16) {
        self.seen.insert(id, round);
        self.by_age.push_back((now.after(self.rules.remember), id));
        while self.by_age.len() > self.rules.remembered_max {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.by_age.pop_front() {
            self.seen.remove(&id);
        }
    }

    /// A message is missing no more; who had announced it.
    fn resolve(&mut self, id: &Hash) -> VecDeque<(ConnId, u16)> {
        let Some(missing) = self.missing.remove(id) else { return VecDeque::new() };
        self.due.remove(&(missing.due, *id));
        for (conn, _) in &missing.announcers {
            self.uncount(*conn);
        }
        missing.announcers
    }

    fn uncount(&mut self, conn: ConnId) {
        if let Some(neighbour) = self.neighbours.get_mut(&conn) {
            neighbour.announced -= 1;
        }
    }

    /// Somebody is so much nearer to the publisher that its link is the better branch.
    fn shorten(&mut self, parent: ConnId, round: u16, announcers: &VecDeque<(ConnId, u16)>) {
        let Some(by) = self.rules.shorten_by else { return };
        let nearest = announcers.iter().filter(|(conn, _)| *conn != parent);
        let Some((conn, nearer)) = nearest.min_by_key(|(_, round)| *round).copied() else { return };
        if round.saturating_sub(nearer) < by.max(1) {
            return;
        }
        for (conn, eager) in [(conn, true), (parent, false)] {
            if let Some(neighbour) = self.neighbours.get_mut(&conn) {
                neighbour.eager = eager;
            }
        }
        self.outputs.push_back(Output::Graft { to: conn, id: None });
        self.outputs.push_back(Output::Prune { to: parent });
    }

    fn on_have(&mut self, now: Instant, from: ConnId, messages: &[HaveGossip]) {
        let Some(neighbour) = self.neighbours.get_mut(&from) else { return };
        for HaveGossip { id, round } in messages {
            if self.seen.contains_key(id) {
                continue;
            }
            if neighbour.announced >= self.rules.missing_max {
                return;
            }
            let missing = self.missing.entry(*id).or_insert_with(|| {
                let least = self.rules.graft_after;
                let more = (self.rules.graft_within() - least).as_micros() as u64;
                let due = now.after(least).after(Duration::from_micros(self.rng.below(more + 1)));
                self.due.insert((due, *id));
                Missing { due, announcers: VecDeque::new() }
            });
            if missing.announcers.iter().all(|(announcer, _)| *announcer != from) {
                missing.announcers.push_back((from, *round));
                neighbour.announced += 1;
            }
        }
    }

    fn on_graft(&mut self, from: ConnId, id: Option<Hash>) {
        let Some(neighbour) = self.neighbours.get_mut(&from) else { return };
        neighbour.eager = true;
        if let Some(id) = id
            && let Some(round) = self.seen.get(&id)
        {
            let round = round.saturating_add(1);
            self.outputs.push_back(Output::Send { to: vec![from], id, round });
        }
    }

    fn on_time(&mut self, now: Instant) {
        if self.announce_at.is_some_and(|at| at <= now) {
            self.announce_at = None;
            for (conn, neighbour) in &mut self.neighbours {
                if !neighbour.waiting.is_empty() {
                    let messages = std::mem::take(&mut neighbour.waiting);
                    self.outputs.push_back(Output::Have { to: *conn, messages });
                }
            }
        }
        while let Some((due, id)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, id));
            self.graft(now, id);
        }
        while self.by_age.front().is_some_and(|(at, _)| *at <= now) {
            self.forget_oldest();
        }
    }

    /// Asks the next announcer for what is missing; there may be none left.
    fn graft(&mut self, now: Instant, id: Hash) {
        let Some(missing) = self.missing.get_mut(&id) else { return };
        let Some((conn, _)) = missing.announcers.pop_front() else {
            self.missing.remove(&id);
            self.outputs.push_back(Output::Missed { id });
            return;
        };
        missing.due = now.after(self.rules.graft_again_after);
        self.due.insert((missing.due, id));
        self.uncount(conn);
        if let Some(neighbour) = self.neighbours.get_mut(&conn) {
            neighbour.eager = true;
        }
        self.outputs.push_back(Output::Graft { to: conn, id: Some(id) });
    }
}

#[cfg(test)]
mod tests;
