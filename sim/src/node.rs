//! One simulated node: an endpoint, its connections, and its line to the network.

use std::collections::VecDeque;
use std::net::SocketAddr;

use peer::{Config, ConnId, Endpoint, Instant};

use crate::network::Event;
use crate::store::Store;

/// A node and its part of the links.
pub(crate) struct Node {
    /// `None`: no process is there.
    pub(crate) endpoint: Option<Box<Endpoint>>,
    pub(crate) config: Config,
    pub(crate) addr: SocketAddr,
    /// How many processes there were before this one.
    pub(crate) life: u32,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Pipes that have something for the line, by link and side.
    pub(crate) ready: VecDeque<(usize, usize)>,
    /// When the line outwards is free again, and whether an event says so.
    pub(crate) line_free_at: Instant,
    pub(crate) line_watched: bool,
    /// When the line inwards is free again.
    pub(crate) inward_free_at: Instant,
    pub(crate) stalled_until: Instant,
    pub(crate) refuses_until: Instant,
    /// Until when the process stands still, and what happened to it meanwhile.
    pub(crate) paused_until: Option<Instant>,
    pub(crate) backlog: VecDeque<Event>,
    /// What its processes kept.
    pub(crate) store: Store,
    /// The instant of the wake event that counts.
    pub(crate) wake_at: Option<Instant>,
    /// The instant of the last wake, and how many there were at it.
    pub(crate) woken: (Instant, u32),
}

/// A place for connections, one after the other.
#[derive(Clone, Copy)]
struct Slot {
    generation: u32,
    /// The link, and our side of it.
    link: Option<(usize, usize)>,
}

impl Node {
    pub(crate) fn new(config: Config, addr: SocketAddr) -> Self {
        Self {
            endpoint: None,
            config,
            addr,
            life: 0,
            slots: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            line_free_at: Instant::START,
            line_watched: false,
            inward_free_at: Instant::START,
            stalled_until: Instant::START,
            refuses_until: Instant::START,
            paused_until: None,
            backlog: VecDeque::new(),
            store: Store::default(),
            wake_at: None,
            woken: (Instant::START, 0),
        }
    }

    /// A connection over this link.
    pub(crate) fn connect(&mut self, link: usize, side: usize) -> ConnId {
        let index = self.free.pop().unwrap_or(self.slots.len() as u32);
        if index as usize == self.slots.len() {
            self.slots.push(Slot { generation: 0, link: None });
        }
        let slot = &mut self.slots[index as usize];
        slot.generation += 1;
        slot.link = Some((link, side));
        ConnId::new(index, slot.generation)
    }

    /// The link of a connection, and our side of it.
    pub(crate) fn link_of(&self, conn: ConnId) -> Option<(usize, usize)> {
        let slot = self.slots.get(conn.index() as usize)?;
        slot.link.filter(|_| slot.generation == conn.generation())
    }

    /// The connection is over.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        if self.link_of(conn).is_some() {
            self.slots[conn.index() as usize].link = None;
            self.free.push(conn.index());
        }
    }

    /// All links of this node, and its side of each.
    pub(crate) fn links(&self) -> Vec<(usize, usize)> {
        self.slots.iter().filter_map(|slot| slot.link).collect()
    }
}
