//! HyParView with Plumtree on top, as one [`Machine`]: its links are the tree's neighbours, each
//! under a number of its own. Bodies are their ids. What came is written down.

use std::collections::VecDeque;
use std::net::SocketAddr;

use codec::{Hash, HaveGossip, HyParViewMessage};
use peer::gossip::plumtree::{Input, Output};
use peer::gossip::{Plumtree, PlumtreeRules};
use peer::overlay::{HyParView, HyParViewInput, HyParViewOutput, HyParViewRules};
use peer::{ConnId, Instant, Rng};

use super::{Action, Event, Machine};
use crate::dice::Dice;

/// What nodes tell each other.
#[derive(Clone, PartialEq, Debug)]
pub enum TreeMessage {
    /// Of the overlay.
    Overlay(HyParViewMessage),
    /// A body that has come over so many links.
    Body {
        /// Which one.
        id: Hash,
        /// Links that it has come over.
        round: u16,
    },
    /// Bodies that the sender has.
    Have(Vec<HaveGossip>),
    /// The link is a part of the tree, and a body may be wanted.
    Graft(Option<Hash>),
    /// The link is no part of the tree.
    Prune,
}

/// What came of one broadcast to a node.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Came {
    /// Copies of the body.
    pub bodies: u16,
    /// When it was delivered, and over how many links it had come.
    pub delivered: Option<(Instant, u16)>,
}

/// One node.
#[derive(Debug)]
pub struct Tree {
    view: HyParView,
    tree: Plumtree,
    links: Vec<(SocketAddr, ConnId)>,
    /// Numbers given to links so far.
    made: u32,
    dice: Rng,
    loss: f64,
    /// By the number of the broadcast.
    came: Vec<Came>,
    control: u64,
    actions: VecDeque<Action<TreeMessage>>,
}

impl Tree {
    /// A node that knows nobody.
    #[must_use]
    pub fn new(view: HyParViewRules, tree: PlumtreeRules, own: SocketAddr, rng: &Rng) -> Self {
        Self {
            view: HyParView::new(view, own, rng.fork("view")),
            tree: Plumtree::new(tree, rng.fork("tree")),
            links: Vec::new(),
            made: 0,
            dice: rng.fork("loss"),
            loss: 0.0,
            came: Vec::new(),
            control: 0,
            actions: VecDeque::new(),
        }
    }

    /// From now on this share of what Plumtree sends is lost; the overlay loses nothing.
    pub const fn lose(&mut self, share: f64) {
        self.loss = share;
    }

    /// Begins the broadcast of this number; a publisher counts as reached over no link.
    pub fn publish(&mut self, now: Instant, number: u32) {
        self.tree.handle(now, Input::Publish { id: id_of(number) });
        self.came_mut(&id_of(number)).delivered = Some((now, 0));
        self.settle(now);
    }

    /// What came of the broadcast of this number.
    #[must_use]
    pub fn came(&self, number: u32) -> Came {
        self.came.get(number as usize).copied().unwrap_or_default()
    }

    /// Messages of Plumtree that were sent and are no bodies.
    #[must_use]
    pub const fn control(&self) -> u64 {
        self.control
    }

    fn came_mut(&mut self, id: &Hash) -> &mut Came {
        let number = number_of(id) as usize;
        if self.came.len() <= number {
            self.came.resize(number + 1, Came::default());
        }
        &mut self.came[number]
    }

    fn on_message(&mut self, now: Instant, from: SocketAddr, message: TreeMessage) {
        let link = self.links.iter().find(|(peer, _)| *peer == from).map(|(_, conn)| *conn);
        match (message, link) {
            (TreeMessage::Overlay(message), _) => {
                self.view.handle(now, HyParViewInput::Message { from, message });
            }
            (TreeMessage::Body { id, round }, Some(from)) => {
                self.came_mut(&id).bodies += 1;
                self.tree.handle(now, Input::Gossip { from, id, round });
                let came = self.came_mut(&id);
                if came.delivered.is_none() {
                    came.delivered = Some((now, round));
                }
            }
            (TreeMessage::Have(messages), Some(from)) => {
                self.tree.handle(now, Input::Have { from, messages: &messages });
            }
            (TreeMessage::Graft(id), Some(from)) => {
                self.tree.handle(now, Input::Graft { from, id });
            }
            (TreeMessage::Prune, Some(from)) => self.tree.handle(now, Input::Prune { from }),
            // From somebody who is no link of ours, or not yet: passed over, as Plumtree does.
            (_, None) => {}
        }
    }

    /// Links become neighbours, and what both machines want is gathered.
    fn settle(&mut self, now: Instant) {
        while let Some(output) = self.view.poll_output() {
            match output {
                HyParViewOutput::Send { to, message } => {
                    let message = TreeMessage::Overlay(message);
                    self.actions.push_back(Action::Send { to, message });
                }
                HyParViewOutput::Dial { peer } => self.actions.push_back(Action::Dial(peer)),
                HyParViewOutput::Close { peer } => self.actions.push_back(Action::Close(peer)),
                HyParViewOutput::Up { peer } => {
                    let conn = ConnId::new(self.made, 0);
                    self.made += 1;
                    self.links.push((peer, conn));
                    self.tree.handle(now, Input::Up { conn });
                }
                HyParViewOutput::Down { peer } => {
                    if let Some(place) = self.links.iter().position(|(one, _)| *one == peer) {
                        let (_, conn) = self.links.swap_remove(place);
                        self.tree.handle(now, Input::Down { conn });
                    }
                }
            }
        }
        while let Some(output) = self.tree.poll_output() {
            match output {
                Output::Deliver { .. } | Output::Missed { .. } => {}
                Output::Send { to, id, round } => {
                    to.into_iter().for_each(|to| self.post(to, TreeMessage::Body { id, round }));
                }
                Output::Have { to, messages } => self.post(to, TreeMessage::Have(messages)),
                Output::Graft { to, id } => self.post(to, TreeMessage::Graft(id)),
                Output::Prune { to } => self.post(to, TreeMessage::Prune),
            }
        }
    }

    fn post(&mut self, to: ConnId, message: TreeMessage) {
        let link = self.links.iter().find(|(_, conn)| *conn == to);
        let Some((to, _)) = link.copied() else { return };
        self.control += u64::from(!matches!(message, TreeMessage::Body { .. }));
        if self.loss == 0.0 || self.dice.unit() >= self.loss {
            self.actions.push_back(Action::Send { to, message });
        }
    }
}

impl Machine for Tree {
    type Message = TreeMessage;

    const CONNECTS: bool = true;

    fn handle(&mut self, now: Instant, event: Event<TreeMessage>) {
        match event {
            Event::Join(contacts) => self.view.handle(now, HyParViewInput::Join { contacts }),
            Event::Message { from, message } => self.on_message(now, from, message),
            Event::Connected(peer) => self.view.handle(now, HyParViewInput::Connected { peer }),
            Event::DialFailed(peer) => self.view.handle(now, HyParViewInput::DialFailed { peer }),
            Event::Lost(peer) => self.view.handle(now, HyParViewInput::Lost { peer }),
            Event::Contact(_) => {}
            Event::Timeout => {
                let due = |deadline: Option<Instant>| deadline.is_some_and(|due| due <= now);
                if due(self.view.poll_timeout()) {
                    self.view.handle(now, HyParViewInput::Timeout);
                }
                if due(self.tree.poll_timeout()) {
                    self.tree.handle(now, Input::Timeout);
                }
            }
        }
        self.settle(now);
    }

    fn poll(&mut self) -> Option<Action<TreeMessage>> {
        self.actions.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        [self.view.poll_timeout(), self.tree.poll_timeout()].into_iter().flatten().min()
    }

    fn neighbours(&self, each: &mut dyn FnMut(SocketAddr)) {
        self.view.active().for_each(each);
    }
}

fn id_of(number: u32) -> Hash {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Hash(bytes)
}

fn number_of(id: &Hash) -> u32 {
    let [a, b, c, d, ..] = id.0;
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dice::rng;
    use crate::machines::{Addresses, Crowd};

    /// So many nodes, each joined by the first, a minute after.
    fn crowd(nodes: usize) -> Crowd<Tree> {
        let addresses = Addresses::honest();
        let rules = HyParViewRules { locality: peer::Locality::Local, ..HyParViewRules::sized(5) };
        let mut crowd = Crowd::new(addresses, rng(5));
        for node in 0..nodes {
            let rng = rng(node as u64 + 1);
            let own = addresses.of(node);
            crowd.add(Tree::new(rules, PlumtreeRules::default(), own, &rng), &[0]);
            crowd.run(Duration::from_millis(300));
        }
        crowd.run(Duration::from_secs(60));
        crowd
    }

    #[test]
    fn the_first_broadcast_floods_and_the_next_is_a_tree() {
        let mut crowd = crowd(40);
        let mut bodies = Vec::new();
        for number in 0..3 {
            crowd.tell(7, |tree, now| tree.publish(now, number));
            crowd.run(Duration::from_secs(3));
            let came: Vec<Came> = (0..40).map(|node| crowd.machine(node).came(number)).collect();
            assert!(came.iter().all(|one| one.delivered.is_some()));
            assert_eq!(came[7].delivered.map(|(_, hops)| hops), Some(0));
            bodies.push(came.iter().map(|one| u32::from(one.bodies)).sum::<u32>());
        }
        assert!(bodies[0] > 60, "{bodies:?}");
        assert!((39..=43).contains(&bodies[2]), "{bodies:?}");
    }

    #[test]
    fn what_is_lost_is_grafted() {
        let mut crowd = crowd(40);
        for node in 0..40 {
            crowd.tell(node, |tree, _| tree.lose(0.05));
        }
        for number in 0..6 {
            crowd.tell(3, |tree, now| tree.publish(now, number));
            crowd.run(Duration::from_secs(5));
        }
        let came = (0..6).flat_map(|number| (0..40).map(move |node| (node, number)));
        let (mut reached, mut bodies) = (0, 0);
        for (node, number) in came {
            let came = crowd.machine(node).came(number);
            reached += u32::from(came.delivered.is_some());
            bodies += u32::from(came.bodies);
        }
        assert!(reached >= 238, "{reached} of 240");
        assert!(bodies > 6 * 39, "{bodies}");
    }
}
