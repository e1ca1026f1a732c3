//! The overlay, beside the peers: which connections are its links, and whom it has us dial.
//!
//! [`HyParView`] knows nodes by the address at which each can be reached, and nothing of
//! connections; here the two come together. Only peers that speak the extension are of the overlay.
//! It dials over and above the places of the dialer, and what it dialled is let go when the overlay
//! needs it no more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use codec::{HyParViewBody, Message};

use crate::address::canonical;
use crate::config::{Config, Overlay, Seed};
use crate::endpoint::{Endpoint, sealed};
use crate::event::ConnId;
use crate::gossip::plumtree;
use crate::overlay::{CONTACTS_MAX, HyParView, HyParViewInput, HyParViewOutput, HyParViewRules};
use crate::peer::Peer;
use crate::rng::Rng;
use crate::time::Instant;

/// The overlay and its connections.
#[derive(Debug)]
pub(crate) struct Overlaying {
    /// Until we joined, which is as soon as time passes: then we know at which port we listen.
    waiting: Option<HyParViewRules>,
    rng: Rng,
    view: Option<HyParView>,
    contacts: Vec<SocketAddr>,
    /// Peers that may be links, by the address at which each can be reached.
    peers: BTreeMap<SocketAddr, Link>,
    /// Whom the overlay has us dial.
    calling: BTreeSet<SocketAddr>,
    /// The links that stand.
    up: BTreeMap<SocketAddr, ConnId>,
}

#[derive(Debug)]
struct Link {
    conn: ConnId,
    /// The overlay knows of the connection, and is told when it is lost.
    used: bool,
}

/// Who may be in the overlay: whom we hold, and the seeds that are addresses.
fn contacts(config: &Config) -> Vec<SocketAddr> {
    let seeds = config.seeds.iter().filter_map(|seed| match seed {
        Seed::Addr(addr) => Some(*addr),
        Seed::Name(_) => None,
    });
    config.connect.iter().copied().chain(seeds).take(CONTACTS_MAX).collect()
}

impl Overlaying {
    pub(crate) fn new(config: &Config, rng: Rng) -> Self {
        let rules = HyParViewRules { locality: config.locality, ..config.hyparview };
        Self {
            waiting: (config.overlay == Overlay::HyParView).then_some(rules),
            rng,
            view: None,
            contacts: contacts(config),
            peers: BTreeMap::new(),
            calling: BTreeSet::new(),
            up: BTreeMap::new(),
        }
    }

    /// Whether links are chosen by an overlay; else each peer that speaks the extension is one.
    const fn is_on(&self) -> bool {
        self.view.is_some() || self.waiting.is_some()
    }
}

impl Endpoint {
    /// Neighbours in the overlay, by the address at which each can be reached.
    pub fn neighbours(&self) -> impl Iterator<Item = (SocketAddr, ConnId)> + '_ {
        self.overlaying.up.iter().map(|(peer, conn)| (*peer, *conn))
    }

    pub(crate) fn overlay_deadline(&self) -> Option<Instant> {
        let waiting = self.overlaying.waiting.map(|_| Instant::START);
        waiting.or_else(|| self.overlaying.view.as_ref()?.poll_timeout())
    }

    pub(crate) fn overlay_due(&mut self) {
        if let Some(rules) = self.overlaying.waiting.take() {
            let rng = self.overlaying.rng.fork("view");
            self.overlaying.view = Some(HyParView::new(rules, self.config.advertised, rng));
            return self.join_overlay();
        }
        if self.overlay_deadline().is_some_and(|due| due <= self.now) {
            self.tell_overlay(HyParViewInput::Timeout);
        }
    }

    fn join_overlay(&mut self) {
        let contacts = self.overlaying.contacts.clone();
        self.tell_overlay(HyParViewInput::Join { contacts });
    }

    /// An operator names somebody who may be in the overlay.
    pub(crate) fn overlay_contact(&mut self, addr: SocketAddr) {
        if self.overlaying.is_on() && !self.overlaying.contacts.contains(&addr) {
            self.overlaying.contacts.push(addr);
            self.overlaying.contacts.truncate(CONTACTS_MAX);
            if self.overlaying.view.is_some() {
                self.join_overlay();
            }
        }
    }

    pub(crate) fn leave_overlay(&mut self) {
        self.overlaying.waiting = None;
        self.tell_overlay(HyParViewInput::Leave);
    }

    /// A handshake is done.
    pub(crate) fn overlay_joined(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.get(conn) else { return };
        let (extended, name) = (peer.is_extended(), peer.name().map(canonical));
        if !self.overlaying.is_on() {
            if extended {
                self.tell_tree(plumtree::Input::Up { conn });
            }
            return;
        }
        let Some(name) = name else { return };
        if !extended {
            return self.call_failed(name);
        }
        let called = self.overlaying.calling.remove(&name);
        let link = Link { conn, used: called };
        self.overlaying.peers.entry(name).or_insert(link);
        if called {
            self.tell_overlay(HyParViewInput::Connected { peer: name });
        }
    }

    /// The connection is gone, or never came about.
    pub(crate) fn overlay_left(&mut self, conn: ConnId, peer: &Peer) {
        if !self.overlaying.is_on() {
            return self.tell_tree(plumtree::Input::Down { conn });
        }
        let Some(name) = peer.name().map(canonical) else { return };
        let link = self.overlaying.peers.get(&name).filter(|link| link.conn == conn);
        match link.map(|link| link.used) {
            Some(used) => {
                self.overlaying.peers.remove(&name);
                if used {
                    self.tell_overlay(HyParViewInput::Lost { peer: name });
                }
            }
            None if peer.session().is_none() => self.call_failed(name),
            None => {}
        }
    }

    /// A dial came to nothing; perhaps it was one of the overlay's.
    pub(crate) fn call_failed(&mut self, addr: SocketAddr) {
        let peer = canonical(addr);
        if self.overlaying.calling.remove(&peer) {
            self.tell_overlay(HyParViewInput::DialFailed { peer });
        }
    }

    pub(crate) fn on_hyparview(&mut self, conn: ConnId, body: HyParViewBody<'_>) {
        let Some(from) = self.peers.get(conn).and_then(Peer::name).map(canonical) else { return };
        let link = self.overlaying.peers.get_mut(&from).filter(|link| link.conn == conn);
        if let Some(link) = link {
            link.used = true;
            self.tell_overlay(HyParViewInput::Message { from, message: body.message() });
        }
    }

    fn tell_overlay(&mut self, input: HyParViewInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.now;
            let Some(view) = &mut self.overlaying.view else { return };
            view.handle(now, input);
            while let Some(output) = self.overlaying.view.as_mut().and_then(HyParView::poll_output)
            {
                self.carry_out(output, &mut inputs);
            }
        }
        self.dial_due();
    }

    fn carry_out(&mut self, output: HyParViewOutput, inputs: &mut VecDeque<HyParViewInput>) {
        match output {
            HyParViewOutput::Dial { peer } => {
                if let Some(link) = self.overlaying.peers.get_mut(&peer) {
                    link.used = true;
                    inputs.push_back(HyParViewInput::Connected { peer });
                } else if self.dialer.call(peer, self.now) {
                    self.overlaying.calling.insert(peer);
                } else {
                    inputs.push_back(HyParViewInput::DialFailed { peer });
                }
            }
            HyParViewOutput::Send { to, message } => {
                let Some(link) = self.overlaying.peers.get(&to) else { return };
                let mut bytes = Vec::new();
                let message = Message::HyParView(HyParViewBody::written(&message, &mut bytes));
                let payload = sealed(&self.config.network, &message);
                self.send(link.conn, payload);
            }
            HyParViewOutput::Close { peer } => {
                let Some(link) = self.overlaying.peers.get_mut(&peer) else { return };
                link.used = false;
                let conn = link.conn;
                if self.dialer.was_called(conn) {
                    self.release(conn);
                }
            }
            HyParViewOutput::Up { peer } => {
                let Some(link) = self.overlaying.peers.get(&peer) else { return };
                let conn = link.conn;
                self.overlaying.up.insert(peer, conn);
                self.tell_tree(plumtree::Input::Up { conn });
            }
            HyParViewOutput::Down { peer } => {
                if let Some(conn) = self.overlaying.up.remove(&peer) {
                    self.tell_tree(plumtree::Input::Down { conn });
                }
            }
        }
    }
}
