//! The overlay, beside the peers: which connections are its links, and whom it has us dial.
//!
//! The machines of [`overlay`](crate::overlay) know nodes by the address at which each can be
//! reached, and nothing of connections; here the two come together. Only peers that speak the
//! extension are of the overlay. It dials over and above the places of the dialer, and what it
//! dialled is let go when the overlay needs it no more.

mod sampled;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::address::canonical;
use crate::config::{Config, ConfigError, Overlay, Seed};
use crate::endpoint::{Endpoint, sealed};
use crate::event::ConnId;
use crate::gossip::plumtree;
use crate::overlay::{CONTACTS_MAX, Links, RulesError};
use crate::peer::Peer;
use crate::rates::{Rate, TokenBucket};
use crate::rng::Rng;
use crate::time::Instant;
pub(crate) use view::Said;
use view::{Input, Output, View};

/// Traffic of a peer counts as a contact once in this time at most: a busy peer costs no more than
/// a quiet one, and no machine's period is shorter.
const CONTACT_PERIOD: Duration = Duration::from_secs(1);

/// The overlay and its connections.
#[derive(Debug)]
pub(crate) struct Overlaying {
    /// Until we joined, which is as soon as time passes: then we know at which port we listen.
    waiting: bool,
    rng: Rng,
    view: Option<View>,
    contacts: Vec<SocketAddr>,
    /// Peers that may be links, by the address at which each can be reached.
    peers: BTreeMap<SocketAddr, Link>,
    /// Whom the overlay has us dial.
    calling: BTreeSet<SocketAddr>,
    dials: TokenBucket,
    /// The links that stand.
    up: BTreeMap<SocketAddr, ConnId>,
}

#[derive(Debug)]
struct Link {
    conn: ConnId,
    /// The overlay knows of the connection, and is told when it is lost.
    used: bool,
    /// When other traffic of it was told as a contact.
    contact: Instant,
}

/// Dials that the overlay may ask for: whom lists name is for others to choose. A list of thirty
/// that is exchanged each way in ten seconds names six a second at most; those that are to be met
/// at first come at once.
const DIALS: Rate = Rate { amount: 16, per: Duration::from_secs(1), burst: 128 };

/// Who may be in the overlay: whom we hold, and the seeds that are addresses.
fn contacts(config: &Config) -> Vec<SocketAddr> {
    let seeds = config.seeds.iter().filter_map(|seed| match seed {
        Seed::Addr(addr) => Some(*addr),
        Seed::Name(_) => None,
    });
    config.connect.iter().copied().chain(seeds).take(CONTACTS_MAX).collect()
}

impl Config {
    pub(crate) fn check_overlay(&self) -> Result<(), ConfigError> {
        if self.overlay != Overlay::None && self.advertised.ip().is_unspecified() {
            return Err(ConfigError::OverlayAddress);
        }
        self.hyparview.check().map_err(ConfigError::Overlay)?;
        self.sampling.check().map_err(ConfigError::Overlay)?;
        if self.sampling.links != Links::TwoWay {
            let (name, must) = ("links of lists", "two-way: else nothing is connected by them");
            return Err(ConfigError::Overlay(RulesError { name, must }));
        }
        Ok(())
    }
}

impl Overlaying {
    pub(crate) fn new(config: &Config, rng: Rng) -> Self {
        Self {
            waiting: config.overlay != Overlay::None,
            rng,
            view: None,
            contacts: contacts(config),
            peers: BTreeMap::new(),
            calling: BTreeSet::new(),
            dials: TokenBucket::default(),
            up: BTreeMap::new(),
        }
    }

    /// Whether links are chosen by an overlay; else each peer that speaks the extension is one.
    const fn is_on(&self) -> bool {
        self.view.is_some() || self.waiting
    }
}

impl Endpoint {
    /// Neighbours in the overlay, by the address at which each can be reached.
    pub fn neighbours(&self) -> impl Iterator<Item = (SocketAddr, ConnId)> + '_ {
        self.overlaying.up.iter().map(|(peer, conn)| (*peer, *conn))
    }

    /// Whether this connection is a link: the overlay alone decides how many there are, and for how
    /// long.
    pub(crate) fn is_link(&self, conn: ConnId, peer: &Peer) -> bool {
        let name = peer.name().map(canonical);
        name.is_some_and(|name| self.overlaying.up.get(&name) == Some(&conn))
    }

    pub(crate) fn overlay_deadline(&self) -> Option<Instant> {
        let waiting = self.overlaying.waiting.then_some(Instant::START);
        waiting.or_else(|| self.overlaying.view.as_ref()?.poll_timeout())
    }

    pub(crate) fn overlay_due(&mut self) {
        if std::mem::take(&mut self.overlaying.waiting) {
            let rng = self.overlaying.rng.fork("view");
            self.overlaying.view = View::new(&self.config, rng);
            return self.join_overlay();
        }
        if self.overlay_deadline().is_some_and(|due| due <= self.now) {
            self.tell_overlay(Input::Timeout);
        }
    }

    fn join_overlay(&mut self) {
        let contacts = self.overlaying.contacts.clone();
        self.tell_overlay(Input::Join { contacts });
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
        self.overlaying.waiting = false;
        self.tell_overlay(Input::Leave);
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
        let link = Link { conn, used: called, contact: self.now };
        self.overlaying.peers.entry(name).or_insert(link);
        if called {
            self.tell_overlay(Input::Connected { peer: name });
        }
        // Nobody was named to us, and this one is there: perhaps it is in the overlay.
        if self.overlaying.contacts.is_empty() && self.overlaying.up.is_empty() {
            self.tell_overlay(Input::Join { contacts: vec![name] });
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
                if let Some(conn) = self.other_connection(name) {
                    let link = Link { conn, used: false, contact: self.now };
                    self.overlaying.peers.insert(name, link);
                }
                if used {
                    self.tell_overlay(Input::Lost { peer: name });
                }
            }
            None if peer.session().is_none() => self.call_failed(name),
            None => {}
        }
    }

    /// Another connection of the same name: a peer that is held may have two for a while.
    fn other_connection(&self, name: SocketAddr) -> Option<ConnId> {
        let all = self.hosts.of(self.config.locality.host(name));
        all.into_iter().find(|conn| {
            let peer = self.peers.get(*conn).filter(|peer| peer.is_extended());
            peer.and_then(Peer::name).map(canonical) == Some(name)
        })
    }

    /// A dial came to nothing; perhaps it was one of the overlay's.
    pub(crate) fn call_failed(&mut self, addr: SocketAddr) {
        let peer = canonical(addr);
        if self.overlaying.calling.remove(&peer) {
            self.tell_overlay(Input::DialFailed { peer });
        }
    }

    /// A message of one of the machines.
    pub(crate) fn on_overlay(&mut self, conn: ConnId, said: Said) {
        let Some(from) = self.peers.get(conn).and_then(Peer::name).map(canonical) else { return };
        let link = self.overlaying.peers.get_mut(&from).filter(|link| link.conn == conn);
        if let Some(link) = link {
            link.used = true;
            self.tell_overlay(Input::Heard { from, said });
        }
    }

    /// Traffic of another kind came, which shows that the peer lives.
    pub(crate) fn overlay_contact_of(&mut self, conn: ConnId) {
        if !self.overlaying.view.as_ref().is_some_and(View::wants_contacts) {
            return;
        }
        let Some(peer) = self.peers.get(conn).and_then(Peer::name).map(canonical) else { return };
        let now = self.now;
        let link = self.overlaying.peers.get_mut(&peer).filter(|link| link.conn == conn);
        if let Some(link) = link.filter(|link| now.since(link.contact) >= CONTACT_PERIOD) {
            link.contact = now;
            self.tell_overlay(Input::Contact { peer });
        }
    }

    fn tell_overlay(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.now;
            let Some(view) = &mut self.overlaying.view else { return };
            view.handle(now, input);
            while let Some(output) = self.overlaying.view.as_mut().and_then(View::poll_output) {
                self.carry_out(output, &mut inputs);
            }
        }
        self.dial_due();
    }

    fn carry_out(&mut self, output: Output, inputs: &mut VecDeque<Input>) {
        match output {
            Output::Dial { peer } => {
                if let Some(link) = self.overlaying.peers.get_mut(&peer) {
                    link.used = true;
                    inputs.push_back(Input::Connected { peer });
                } else if self.overlaying.dials.take(1, DIALS, self.now)
                    && self.dialer.call(peer, self.now)
                {
                    self.overlaying.calling.insert(peer);
                } else {
                    inputs.push_back(Input::DialFailed { peer });
                }
            }
            Output::Send { to, said } => {
                let Some(link) = self.overlaying.peers.get(&to) else { return };
                let mut bytes = Vec::new();
                let payload = sealed(&self.config.network, &said.message(&mut bytes));
                self.send(link.conn, payload);
            }
            Output::Close { peer } => {
                let Some(link) = self.overlaying.peers.get_mut(&peer) else { return };
                link.used = false;
                let conn = link.conn;
                if self.dialer.was_called(conn) {
                    self.release(conn);
                }
            }
            Output::Up { peer } => {
                let Some(link) = self.overlaying.peers.get(&peer) else { return };
                let conn = link.conn;
                self.overlaying.up.insert(peer, conn);
                self.counts.neighbours = self.overlaying.up.len() as u64;
                self.tell_tree(plumtree::Input::Up { conn });
            }
            Output::Down { peer } => {
                if let Some(conn) = self.overlaying.up.remove(&peer) {
                    self.counts.neighbours = self.overlaying.up.len() as u64;
                    self.tell_tree(plumtree::Input::Down { conn });
                }
            }
        }
    }
}
