//! The cluster, beside the peers: its members and its messages of topics, on datagrams.
//!
//! [`PushPull`] decides whom to ask and what to tell; here it gets datagrams and time, and says
//! what it learnt as the rest of the core does. Members are no peers: no connection, no place and
//! no ban of a peer has to do with them. A member is named by the address its datagrams come from.

use std::net::SocketAddr;

use codec::datagram::{ClusterKey, Datagram};

use crate::address::canonical;
use crate::config::{Config, ConfigError, Gossip, Seed};
use crate::endpoint::Endpoint;
use crate::event::Output;
use crate::gossip::push_pull::{CONTACTS_MAX, Input, MemberInfo, Output as Order};
use crate::gossip::{PushPull, PushPullRules};
use crate::rates::TokenBucket;
use crate::rng::Rng;
use crate::time::Instant;

/// The settings of [`Gossip::Datagrams`](crate::Gossip::Datagrams). We are known by the IP of
/// [`Config::advertised`](crate::Config::advertised) and the port of our datagrams: others must
/// name us by that address in their contacts, send to it, and see it as the source of what we send;
/// what comes between other addresses is refused. The wall clocks of members must agree within
/// five minutes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Cluster {
    /// What its members have in common and nobody else has: see
    /// [`ClusterKey::of_secret`](codec::datagram::ClusterKey::of_secret). Default: none, with which
    /// there is no cluster.
    pub key: Option<ClusterKey>,
    /// Members to ask at first, at most
    /// [`CONTACTS_MAX`](crate::gossip::push_pull::CONTACTS_MAX). Default: none; then
    /// [`Config::connect`](crate::Config::connect) and those of
    /// [`Config::seeds`](crate::Config::seeds) that are addresses are asked, the first of them.
    pub contacts: Vec<SocketAddr>,
    /// How members are probed, and how news are told.
    pub rules: PushPullRules,
}

impl Cluster {
    pub(crate) fn check(&self, advertised: SocketAddr) -> Result<(), ConfigError> {
        if self.key.is_none() {
            return Err(ConfigError::ClusterKey);
        }
        if advertised.ip().is_unspecified() {
            return Err(ConfigError::ClusterAddress);
        }
        if self.contacts.len() > CONTACTS_MAX {
            return Err(ConfigError::ClusterContacts(self.contacts.len()));
        }
        self.rules.check().map_err(ConfigError::Cluster)
    }
}

/// Our part in the cluster.
#[derive(Debug)]
pub(crate) struct Clustering {
    /// Until we join, which is as soon as time passes: then we know our port.
    waiting: Option<ClusterKey>,
    rng: Rng,
    machine: Option<PushPull>,
    /// The port of our datagrams; `None`: the advertised one.
    port: Option<u16>,
    /// Datagrams of members that may be taken in, and those of all others: strangers, who can send
    /// as much as they like, do not silence members.
    of_members: TokenBucket,
    of_strangers: TokenBucket,
}

impl Clustering {
    pub(crate) fn new(config: &Config, rng: Rng) -> Self {
        let key = config.cluster.key.clone();
        Self {
            waiting: key.filter(|_| config.gossip == Gossip::Datagrams),
            rng,
            machine: None,
            port: None,
            of_members: TokenBucket::default(),
            of_strangers: TokenBucket::default(),
        }
    }
}

/// Whom to ask at first.
fn contacts(config: &Config) -> Vec<SocketAddr> {
    if !config.cluster.contacts.is_empty() {
        return config.cluster.contacts.iter().copied().map(canonical).collect();
    }
    let seeds = config.seeds.iter().filter_map(|seed| match seed {
        Seed::Addr(addr) => Some(*addr),
        Seed::Name(_) => None,
    });
    let contacts = config.connect.iter().copied().chain(seeds);
    contacts.map(canonical).take(CONTACTS_MAX).collect()
}

impl Endpoint {
    /// Members of the cluster but for ourselves, and what is thought of each; none without
    /// [`Gossip::Datagrams`](crate::Gossip::Datagrams).
    pub fn members(&self) -> impl Iterator<Item = MemberInfo> + '_ {
        self.clustering.machine.iter().flat_map(PushPull::member_infos)
    }

    /// Our datagrams come from this port, and not from the advertised one. Before time passes: what
    /// comes later changes nothing.
    pub fn advertise_datagrams(&mut self, port: u16) {
        if let Some(recorder) = &mut self.recorder {
            recorder.advertised(self.now, true, port);
        }
        self.clustering.port = Some(port);
    }

    pub(crate) fn cluster_deadline(&self) -> Option<Instant> {
        let waiting = self.clustering.waiting.as_ref().map(|_| Instant::START);
        waiting.or_else(|| self.clustering.machine.as_ref()?.poll_timeout())
    }

    pub(crate) fn cluster_due(&mut self) {
        if let Some(key) = self.clustering.waiting.take() {
            return self.join_cluster(key);
        }
        if self.cluster_deadline().is_some_and(|due| due <= self.now) {
            self.tell_cluster(Input::Timeout);
        }
    }

    fn join_cluster(&mut self, key: ClusterKey) {
        let mut own = canonical(self.config.advertised);
        if let Some(port) = self.clustering.port {
            own.set_port(port);
        }
        let rules = self.config.cluster.rules.clone();
        let (started, rng) = (self.config.started, &self.clustering.rng);
        let machine = PushPull::new(rules, own, key, started, self.now, rng);
        self.clustering.machine = Some(machine);
        let contacts = contacts(&self.config);
        self.tell_cluster(Input::Join { contacts: &contacts });
    }

    pub(crate) fn leave_cluster(&mut self) {
        self.clustering.waiting = None;
        self.tell_cluster(Input::Leave);
    }

    /// One datagram that came. Reading its code costs more than any other look at it, so what is
    /// beyond the rate is not read; what is refused for its length needs no place in it.
    pub(crate) fn on_datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        let (now, rate, from) = (self.now, self.config.rates.datagrams, canonical(from));
        let clustering = &mut self.clustering;
        let may_be_read = clustering.machine.as_ref().is_some_and(|machine| {
            let is_member = machine.is_acquainted(&from);
            let budget =
                if is_member { &mut clustering.of_members } else { &mut clustering.of_strangers };
            Datagram::check_length(bytes.len()).is_err() || budget.take(1, rate, now)
        });
        if !may_be_read {
            return self.counts.datagrams_passed_over += 1;
        }
        self.counts.datagrams_received += 1;
        self.tell_cluster(Input::Datagram { from, bytes });
    }

    /// What is too long was refused by the driver.
    pub(crate) fn publish_to_cluster(&mut self, topic: &[u8], data: &[u8]) {
        let Some(machine) = &mut self.clustering.machine else { return };
        let published = machine.publish(self.now, topic, data);
        debug_assert!(published.is_ok(), "{published:?}");
    }

    fn tell_cluster(&mut self, input: Input<'_>) {
        let now = self.now;
        let Some(machine) = &mut self.clustering.machine else { return };
        machine.handle(now, input);
        while let Some(order) = machine.poll_output() {
            match order {
                Order::Send { to, bytes } => {
                    self.counts.datagrams_sent += 1;
                    self.outbox.push_back(Output::Datagram { to, bytes });
                }
                Order::Happened { event, .. } => {
                    self.counts.gossip_new += 1;
                    let (topic, data) = (event.topic, event.data);
                    self.outbox.push_back(Output::Told { topic, data, hops: None });
                }
                Order::Suspected { .. } => self.counts.members_suspected += 1,
                Order::Down { left: false, .. } => self.counts.members_lost += 1,
                Order::Up { .. } | Order::Down { left: true, .. } => {}
            }
        }
        let counts = machine.counts();
        self.counts.members = machine.living() as u64;
        self.counts.datagrams_strange = counts.strange;
        self.counts.datagrams_malformed = counts.malformed;
        self.counts.news_untimely = counts.untimely;
        self.counts.gossip_known = counts.known_events;
    }
}

#[cfg(test)]
mod tests;
