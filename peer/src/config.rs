//! Every setting of the core, with where its default comes from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;
use std::time::Duration;

use codec::limits::USER_AGENT_BYTES_MAX;
use codec::{Capabilities, Network, PayloadFormat};

use crate::address::Locality;
use crate::address_book::BookLimits;
use crate::bans::BanTarget;
use crate::clustering::Cluster;
use crate::dandelion::DandelionRules;
use crate::gossip::PlumtreeRules;
use crate::gossip::push_pull::{self, CONTACTS_MAX};
use crate::gossiping::GOSSIP_BYTES_MIN;
use crate::inventory::{InventoryLimits, ROWS_MAX, SLOTS_MAX};
use crate::overlay::{HyParViewRules, RulesError, SamplingRules};
use crate::rates::Rate;
use crate::relaying::RelayRules;
use crate::seen::{OLDER_BITS_MAX, RECENT_IDS_MAX, SeenLimits};
use crate::sync::SyncRules;
use crate::time::UnixTime;

/// How an [`Endpoint`](crate::Endpoint) is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// What we and our peers must agree on.
    pub network: Network,
    /// Our name for people, in the handshake; at most
    /// [`USER_AGENT_BYTES_MAX`](codec::limits::USER_AGENT_BYTES_MAX) bytes, the rest is cut off.
    pub user_agent: String,
    /// What we offer in the handshake. Default: addresses, which the core itself serves. The rest
    /// is the chain's to offer; without more, peers send whole transactions and ask for little.
    pub capabilities: Capabilities,
    /// The address we tell peers we listen on; they use its port. Default: unspecified, with the
    /// network's port; while it is unspecified, the engine puts in the port of its first listener.
    pub advertised: SocketAddr,
    /// Peers to hold: dialled at start, and again with a back-off when lost: after a second at
    /// first, after half a minute if they said goodbye. At most [`HELD_MAX`].
    pub connect: Vec<SocketAddr>,
    /// How many payloads are remembered, and how exactly.
    pub seen: SeenLimits,
    /// How much is known of who has what.
    pub inventory: InventoryLimits,
    /// Most bytes of all half-received frames together. Default 256 MiB: 48 of the largest blocks.
    pub assembly_bytes_max: usize,
    /// How long a greeting may take. Default 10 s, as grin.
    pub handshake_timeout: Duration,
    /// How long a frame may take from its first byte, beyond what [`FRAME_RATE_MIN`] allows for its
    /// length. Default 10 s.
    pub frame_timeout: Duration,
    /// How often a peer is pinged. Default 10 s, as grin.
    pub ping_period: Duration,
    /// How long a peer may be silent, pings notwithstanding. Default 60 s: six pings, since grin
    /// spaces its answers and drops some when it is busy.
    pub silence_timeout: Duration,
    /// The wall clock at [`Instant::START`](crate::Instant::START). The engine sets it.
    pub started: UnixTime,
    /// What addresses tell about their owners. Default: `Local` on the development network, else
    /// `Internet`.
    pub locality: Locality,
    /// How large the address book is, and when it forgets.
    pub book: BookLimits,
    /// Peers to look for and to let in.
    pub slots: Slots,
    /// Where to learn addresses when none are known. Default: nowhere.
    pub seeds: Vec<Seed>,
    /// Nobody of these is dialled or let in. At most [`LISTED_MAX`].
    pub denied: Vec<BanTarget>,
    /// If not empty: nobody else is dialled or let in. At most [`LISTED_MAX`].
    pub allowed: Vec<BanTarget>,
    /// How long a ban by a rule lasts. Default 3 hours, as grin.
    pub ban_duration: Duration,
    /// How long a host that misbehaved without proof of guilt is not dialled, and the first to go.
    /// Default 10 minutes.
    pub discouragement: Duration,
    /// What a peer may cost us, and we it.
    pub rates: Rates,
    /// Whether we speak Molva's own messages with peers that do. Default: yes.
    pub extension: bool,
    /// How payloads spread.
    pub relay: RelayRules,
    /// How the origin of a transaction is hidden.
    pub dandelion: DandelionRules,
    /// How blocks are fetched when we are behind.
    pub sync: SyncRules,
    /// Who chooses links beside what `slots` asks for. Default: nobody.
    pub overlay: Overlay,
    /// The rules of [`Overlay::HyParView`]; its locality is that of this configuration.
    pub hyparview: HyParViewRules,
    /// The rules of [`Overlay::Sampling`], whose links must be two-way; their locality is that of
    /// this configuration. Default: [`SamplingRules::plain`] with eight samplers, the two-way rules
    /// that leave nobody out in the experiments, and whose halves meet again after any split.
    pub sampling: SamplingRules,
    /// On what messages of topics go. Default: there are none.
    pub gossip: Gossip,
    /// The rules of [`Gossip::Tree`].
    pub plumtree: PlumtreeRules,
    /// Bytes of such messages that are kept for neighbours that ask, the newest. Default 8 MiB: two
    /// minutes at 64 kB a second.
    pub gossip_bytes_max: usize,
    /// The cluster of [`Gossip::Datagrams`].
    pub cluster: Cluster,
}

/// Who chooses links among the peers that speak our extension, so that the network stays in one
/// piece without anybody knowing it whole.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Overlay {
    /// Nobody: the dialer alone has us connected.
    #[default]
    None,
    /// [`HyParView`](crate::overlay::HyParView). The address in [`Config::advertised`] must be the
    /// one at which others reach us; contacts are [`Config::connect`] and those
    /// [`Config::seeds`] that are addresses.
    HyParView,
    /// [`Sampling`](crate::overlay::Sampling): a list of fixed size whose members are linked with
    /// us, changed by exchanges. Address and contacts as for HyParView.
    Sampling,
}

/// On what messages of topics go.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Gossip {
    /// There are none.
    #[default]
    None,
    /// A tree over the links of the overlay; without one, over all peers that speak our extension:
    /// [`Plumtree`](crate::gossip::Plumtree).
    Tree,
    /// Datagrams between the members of a cluster, who share a secret and learn of each other:
    /// [`PushPull`](crate::gossip::PushPull). The settings are in [`Config::cluster`].
    Datagrams,
}

/// How many peers to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slots {
    /// Peers that we dial and keep. Default 8, as grin.
    pub outbound: u32,
    /// Below so many outbound peers, with nobody left to dial, the seeds are asked again. Default
    /// 2.
    pub outbound_floor: u32,
    /// Established peers that dialled us; beyond it each newcomer displaces somebody or is refused.
    /// Default 8,000.
    pub inbound: u32,
    /// Connections of those that dialled us and have not greeted yet, beyond the free places of
    /// `inbound`; at least one. Beyond it the eldest of the network group that has the most goes.
    /// Default 1,024: a hundred newcomers a second, each as slow as a greeting may be.
    pub greeting: u32,
    /// Dials under way at once, to fill the outbound places. Default 64.
    pub dials: u32,
    /// How often an address of the book is tried only to know whether it is there. Default 2
    /// minutes, as Bitcoin Core.
    pub feeler_period: Duration,
}

/// Where addresses come from at first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seed {
    /// A peer.
    Addr(SocketAddr),
    /// A DNS name or an IP, `host` or `host:port`, whose addresses are peers; without a port, the
    /// network's.
    Name(String),
}

impl FromStr for Seed {
    type Err = SeedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(addr) => Ok(Self::Addr(addr)),
            Err(_) if is_seed(text) => Ok(Self::Name(text.to_owned())),
            Err(_) => Err(SeedError),
        }
    }
}

/// A text is no [`Seed`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an address or a DNS name is wanted, with or without a port")]
pub struct SeedError;

/// Whether this is an address, or a host name, with or without a port.
fn is_seed(text: &str) -> bool {
    let is_port = |port: &str| port.parse::<NonZeroU16>().is_ok() && !port.starts_with('+');
    let host = match text.rsplit_once(':') {
        Some((host, port)) if is_port(port) => host,
        _ => text,
    };
    text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() || is_host(host)
}

/// Whether this has the form of a host name: labels of letters, digits, `-` and `_`.
fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(is_letter)
    };
    let labels = name.strip_suffix('.').unwrap_or(name);
    labels.len() <= HOST_BYTES_MAX && labels.split('.').all(is_label)
}

/// Longest label of a host name, and longest name, as DNS has it.
const LABEL_BYTES_MAX: usize = 63;
const HOST_BYTES_MAX: usize = 253;

/// What a peer may cost us. Beyond a rate, requests wait (a few) or are passed over (the others).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rates {
    /// Bytes of answers to one peer, for each class of requests. Default 1 MiB/s, burst 8 MiB.
    pub answers: Rate,
    /// Addresses taken from one peer: one at first, and the burst when we asked it for some.
    /// Default 0.1/s, burst 1,000, as Bitcoin Core.
    pub addresses: Rate,
    /// Small messages of one peer that we answer or hand on: pings, announcements, requests.
    /// Default 500/s, burst 10,000.
    pub messages: Rate,
    /// Bytes that one peer may have us open unasked, as its envelopes declare them: a few bytes may
    /// hold megabytes. One that is begun is opened whole. Default 4 MiB/s, burst 16 MiB: three of
    /// the heaviest blocks of grin a second, and three of the longest bodies at once.
    pub unpacking: Rate,
    /// Datagrams of members that are read, and as many of all others: at a microsecond or two each.
    /// Default 20,000/s, burst as many: what a thousand members send at their busiest.
    pub datagrams: Rate,
    /// Bytes of answers to all peers together, pongs and addresses included. While they are in
    /// debt, requests wait; those that the chain has by then are answered nevertheless. Default: no
    /// limit.
    pub upload: Option<Rate>,
    /// Bytes taken from all peers together; beyond it reading pauses. Default: no limit.
    pub download: Option<Rate>,
    /// Messages that we send to one peer that does not speak our extension. grin bans, silently,
    /// who sends it more than 500 in a minute; announcements and transactions beyond this are not
    /// sent, requests and answers wait. Default: 400 a minute and a burst of 50 for a network whose
    /// payloads are grin's, else no limit.
    pub grin_pace: Option<Rate>,
}

/// What grin does itself, with a burst that stays below its limit within any minute.
const GRIN_PACE: Rate = Rate { amount: 400, per: Duration::from_secs(60), burst: 50 };

/// Most entries of [`Config::denied`] and of [`Config::allowed`]: lists made by people.
pub const LISTED_MAX: usize = 4_096;

/// Most bytes of one piece of an archive.
pub const ARCHIVE_PIECE_BYTES_MAX: usize = 64 << 10;

/// Archives that are sent at once, and pieces of each that are wanted at once.
pub const ARCHIVES_SENT_MAX: usize = 8;
/// See [`ARCHIVES_SENT_MAX`].
pub const ARCHIVE_PIECES_WANTED_MAX: usize = 4;

/// Events for the chain that come without a credit: the driver keeps room on the lane for so many.
/// At most one wish for each wanted piece, one end for each archive in either direction, and some
/// requests that waited.
pub const EVENTS_RESERVED: usize = REQUESTS_UNCREDITED_MAX
    + ARCHIVES_SENT_MAX * (ARCHIVE_PIECES_WANTED_MAX + 1)
    + ARCHIVES_RECEIVED_MAX;

/// Requests among these that waited for their rate and go to the chain when it is due, with no
/// receive at hand to bring a credit. Guess: what the chain answers in a few turns.
pub(crate) const REQUESTS_UNCREDITED_MAX: usize = 32;

/// Requests of one peer that wait until what it had is paid for. grin asks for 15 segments at
/// once, and for at most 10 blocks of each peer.
pub const REQUESTS_WAITING_MAX: usize = 32;

/// How long an archive that goes out may stand still, by the chain's doing or the peer's. grin
/// waits 60 s for the next bytes of one.
pub const ARCHIVE_STALL: Duration = Duration::from_secs(60);

/// Archives that are received at once: one is enough, a second for a change of mind.
pub const ARCHIVES_RECEIVED_MAX: usize = 2;

/// Longest archive that we take, in bytes. Guess: some times what grin's whole state is.
pub const ARCHIVE_BYTES_MAX: u64 = 64 << 30;

/// Most peers that are held by configuration and by operators. A node has tens of these.
pub const HELD_MAX: usize = 1_024;

/// Most that [`Slots::outbound`] and [`Slots::dials`] may be: the dialer walks all of them.
pub const DIALED_MAX: u32 = 1_024;

/// Slowest rate at which a frame may come, in bytes a second. Guess: a peer slower than this could
/// not keep up with a block of 1.3 MB a minute.
pub const FRAME_RATE_MIN: u64 = 32 * 1024;

/// Most requests to one peer that wait for an answer; further ones are not sent. Each block of a
/// range is one: so as many as four of the longest ranges have, two that are in flight and two that
/// were let pass and may still come.
pub const REQUESTS_PER_PEER_MAX: usize = 512;

/// An answer that comes within this time of its request is late, not unsolicited.
pub const REQUEST_MEMORY: Duration = Duration::from_secs(300);

/// At most how often the chain is told that it is [behind](crate::ToChain::Behind).
pub const BEHIND_PERIOD: Duration = Duration::from_secs(1);

/// Most blocks that are wanted in a row at once: four answers with as many headers as one may hold.
pub const BLOCKS_WANTED_MAX: usize = 2_048;

/// Most ids of one [`FromChain::Settled`](crate::FromChain::Settled): the transactions of a block.
pub const SETTLED_MAX: usize = 65_536;

/// Most ids of one [`FromChain::Pool`](crate::FromChain::Pool): grin's pool has 50,000.
pub const POOL_IDS_MAX: usize = 65_536;

/// Most stem transactions of one [`ToChain::Aggregate`](crate::ToChain::Aggregate).
pub const AGGREGATE_MAX: usize = 64;

/// A setting that cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The exact memory of payloads.
    #[error("seen.recent_ids is {0}, and must be 1 to {RECENT_IDS_MAX}")]
    RecentIds(u32),
    /// The hints of older payloads.
    #[error("seen.older_bits_per_id is {0}, and must be at most {OLDER_BITS_MAX}")]
    OlderBits(u32),
    /// The payloads whose holders are known.
    #[error("inventory.rows is {0}, and must be a power of two up to {ROWS_MAX}")]
    InventoryRows(u32),
    /// The places for peers.
    #[error("inventory.slots is {0}, and must be 1 to {SLOTS_MAX}")]
    InventorySlots(u32),
    /// The peers to hold.
    #[error("connect has {0} addresses, and may have {HELD_MAX}")]
    Connect(usize),
    /// A patience.
    #[error("timeouts.{name} is {value:?}, and must be at least a microsecond")]
    Timeout {
        /// Which one.
        name: &'static str,
        /// What was given.
        value: Duration,
    },
    /// A peer that has nothing to say is silent from ping to ping.
    #[error(
        "timeouts.silence is {silence:?}, and must be longer than the ping_period {ping_period:?}"
    )]
    Silence {
        /// How long a peer may be silent.
        silence: Duration,
        /// Between two pings.
        ping_period: Duration,
    },
    /// What half-received frames may take.
    #[error("assembly_bytes_max is {value}, and the largest frame of this network takes {needed}")]
    Assembly {
        /// What was given.
        value: usize,
        /// The least.
        needed: u64,
    },
    /// The size of the address book.
    #[error(
        "book.new_buckets, tried_buckets and bucket_places are {}, {} and {}, and must be powers \
         of two: 16 to 4096, 1 to 4096, 1 to 256; its failures and horizon must not be zero",
        .0.new_buckets, .0.tried_buckets, .0.bucket_places
    )]
    Book(BookLimits),
    /// Peers that we look for, or dials at once.
    #[error("slots.{name} is {value}, and must be at most {DIALED_MAX}")]
    Slots {
        /// Which number.
        name: &'static str,
        /// What was given.
        value: u32,
    },
    /// Where to learn addresses.
    #[error("seeds has {0} entries, and may have {HELD_MAX}")]
    Seeds(usize),
    /// A name that cannot be resolved, by its place among the seeds.
    #[error("seeds[{0}]: {SeedError}")]
    Seed(usize),
    /// A list of hosts and subnets.
    #[error("{name} has {count} entries, and may have {LISTED_MAX}")]
    Listed {
        /// Which list.
        name: &'static str,
        /// How many it has.
        count: usize,
    },
    /// How stems go.
    #[error("dandelion.{name} must be {must}")]
    Dandelion {
        /// Which number.
        name: &'static str,
        /// What it must be.
        must: &'static str,
    },
    /// How blocks are fetched.
    #[error("sync.{name} is {value}, and must be 1 to {most}")]
    Sync {
        /// Which number.
        name: &'static str,
        /// What was given.
        value: usize,
        /// The most.
        most: usize,
    },
    /// The overlay.
    #[error("the overlay: {0}")]
    Overlay(RulesError),
    /// Too little is kept of gossip: neighbours would not get what they ask for.
    #[error("gossip.kept_bytes_max is {0}, and must be at least {GOSSIP_BYTES_MIN}, a message")]
    GossipBytes(usize),
    /// An overlay whose nodes could not name us.
    #[error("an overlay needs an address at which others reach us: advertised has none")]
    OverlayAddress,
    /// A cluster that everybody could talk to.
    #[error("gossip over datagrams needs the secret of the cluster: none is given")]
    ClusterKey,
    /// A cluster whose members could not name us.
    #[error("gossip over datagrams needs our IP as others see it: advertised has none")]
    ClusterAddress,
    /// The members to ask at first.
    #[error("gossip.contacts has {0} addresses, and may have {CONTACTS_MAX}")]
    ClusterContacts(usize),
    /// How a cluster probes and tells.
    #[error(transparent)]
    Cluster(push_pull::RulesError),
    /// What is kept to answer requests for what was announced.
    #[error("relay.recent_bytes_max is 0, and must be at least 1")]
    Recent,
    /// What a peer may cost us.
    #[error(
        "rates.{0} must have an amount and a burst of at least 1, and a period of at least a \
         microsecond"
    )]
    Rate(&'static str),
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            outbound: 8,
            outbound_floor: 2,
            inbound: 8_000,
            greeting: 1_024,
            dials: 64,
            feeler_period: Duration::from_secs(120),
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            answers: Rate { amount: 1 << 20, per: second, burst: 8 << 20 },
            addresses: Rate { amount: 1, per: Duration::from_secs(10), burst: 1_000 },
            messages: Rate { amount: 500, per: second, burst: 10_000 },
            unpacking: Rate { amount: 4 << 20, per: second, burst: 16 << 20 },
            datagrams: Rate { amount: 20_000, per: second, burst: 20_000 },
            upload: None,
            download: None,
            grin_pace: None,
        }
    }
}

impl Slots {
    const fn check(&self) -> Result<(), ConfigError> {
        if self.outbound > DIALED_MAX {
            return Err(ConfigError::Slots { name: "outbound", value: self.outbound });
        }
        if self.dials > DIALED_MAX {
            return Err(ConfigError::Slots { name: "dials", value: self.dials });
        }
        Ok(())
    }
}

impl Rates {
    const fn check(&self) -> Result<(), ConfigError> {
        let rates = [
            ("answers", Some(self.answers)),
            ("addresses", Some(self.addresses)),
            ("messages", Some(self.messages)),
            ("unpacking", Some(self.unpacking)),
            ("datagrams", Some(self.datagrams)),
            ("upload", self.upload),
            ("download", self.download),
            ("grin_pace", self.grin_pace),
        ];
        let mut i = 0;
        while i < rates.len() {
            if let (name, Some(rate)) = rates[i]
                && (rate.amount == 0 || rate.per.as_micros() == 0 || rate.burst == 0)
            {
                return Err(ConfigError::Rate(name));
            }
            i += 1;
        }
        Ok(())
    }
}

impl Config {
    /// The defaults for a network.
    #[must_use]
    pub fn new(network: Network) -> Self {
        let locality =
            if network.name == Network::DEV.name { Locality::Local } else { Locality::Internet };
        let advertised = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), network.port);
        let grin_pace = match network.format {
            PayloadFormat::Grin => Some(GRIN_PACE),
            PayloadFormat::Opaque | PayloadFormat::Headed { .. } => None,
        };
        Self {
            network,
            user_agent: concat!("Molva/", env!("CARGO_PKG_VERSION")).to_owned(),
            capabilities: Capabilities::PEER_LIST,
            advertised,
            connect: Vec::new(),
            seen: SeenLimits::default(),
            inventory: InventoryLimits::default(),
            assembly_bytes_max: 256 << 20,
            handshake_timeout: Duration::from_secs(10),
            frame_timeout: Duration::from_secs(10),
            ping_period: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(60),
            started: UnixTime::default(),
            locality,
            book: BookLimits::default(),
            slots: Slots::default(),
            seeds: Vec::new(),
            denied: Vec::new(),
            allowed: Vec::new(),
            ban_duration: Duration::from_secs(10_800),
            discouragement: Duration::from_secs(600),
            rates: Rates { grin_pace, ..Rates::default() },
            extension: true,
            relay: RelayRules::default(),
            dandelion: DandelionRules::default(),
            sync: SyncRules::default(),
            overlay: Overlay::None,
            hyparview: HyParViewRules::default(),
            sampling: SamplingRules::plain().with_samplers(8),
            gossip: Gossip::None,
            plumtree: PlumtreeRules::default(),
            gossip_bytes_max: 8 << 20,
            cluster: Cluster::default(),
        }
    }

    /// Whether an endpoint can be made of this.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the setting.
    pub fn check(&self) -> Result<(), ConfigError> {
        let (seen, inventory) = (&self.seen, &self.inventory);
        if seen.recent_ids == 0 || seen.recent_ids > RECENT_IDS_MAX {
            return Err(ConfigError::RecentIds(seen.recent_ids));
        }
        if seen.older_bits_per_id > OLDER_BITS_MAX {
            return Err(ConfigError::OlderBits(seen.older_bits_per_id));
        }
        if !inventory.rows.is_power_of_two() || inventory.rows > ROWS_MAX {
            return Err(ConfigError::InventoryRows(inventory.rows));
        }
        if inventory.slots == 0 || inventory.slots > SLOTS_MAX {
            return Err(ConfigError::InventorySlots(inventory.slots));
        }
        let needed = self.network.limits.frame_bytes_max();
        if (self.assembly_bytes_max as u64) < needed {
            return Err(ConfigError::Assembly { value: self.assembly_bytes_max, needed });
        }
        if !self.book.is_valid() {
            return Err(ConfigError::Book(self.book));
        }
        self.check_timeouts()?;
        self.check_lists()?;
        self.relay.check()?;
        self.slots.check()?;
        self.sync.check()?;
        self.dandelion.check(&self.network)?;
        self.check_overlay()?;
        self.check_gossip()?;
        if self.gossip == Gossip::Datagrams {
            self.cluster.check(self.advertised)?;
        }
        self.rates.check()
    }

    /// Bytes of the fixed pools of an endpoint: what it reserves at once, and what its address book
    /// and half-received frames may come to.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        let tables = self.seen.memory_bytes().saturating_add(self.inventory.memory_bytes());
        tables.saturating_add(self.book.memory_bytes()).saturating_add(self.assembly_bytes_max)
    }

    fn check_timeouts(&self) -> Result<(), ConfigError> {
        let (silence, ping_period) = (self.silence_timeout, self.ping_period);
        let timeouts = [
            ("handshake", self.handshake_timeout),
            ("frame", self.frame_timeout),
            ("ping_period", ping_period),
        ];
        for (name, value) in timeouts {
            if value.as_micros() == 0 {
                return Err(ConfigError::Timeout { name, value });
            }
        }
        if silence <= ping_period {
            return Err(ConfigError::Silence { silence, ping_period });
        }
        Ok(())
    }

    fn check_lists(&self) -> Result<(), ConfigError> {
        if self.connect.len() > HELD_MAX {
            return Err(ConfigError::Connect(self.connect.len()));
        }
        if self.seeds.len() > HELD_MAX {
            return Err(ConfigError::Seeds(self.seeds.len()));
        }
        let wrong = |seed: &Seed| matches!(seed, Seed::Name(name) if !is_seed(name));
        if let Some(place) = self.seeds.iter().position(wrong) {
            return Err(ConfigError::Seed(place));
        }
        if self.denied.len() > LISTED_MAX {
            return Err(ConfigError::Listed { name: "denied", count: self.denied.len() });
        }
        if self.allowed.len() > LISTED_MAX {
            return Err(ConfigError::Listed { name: "allowed", count: self.allowed.len() });
        }
        Ok(())
    }

    /// What the handshake says that we offer.
    pub(crate) fn offered(&self) -> Capabilities {
        if self.extension { self.capabilities | Capabilities::EXTENSION } else { self.capabilities }
    }

    /// The user agent, cut to what a greeting has room for.
    pub(crate) fn user_agent(&self) -> &str {
        let end = self.user_agent.floor_char_boundary(USER_AGENT_BYTES_MAX);
        &self.user_agent[..end]
    }

    /// Small pools, for simulations of thousands of endpoints: at most 400 kB each.
    #[must_use]
    pub fn small(network: Network) -> Self {
        Self {
            seen: SeenLimits { recent_ids: 2_048, older_ids: 8_192, older_bits_per_id: 12 },
            inventory: InventoryLimits { rows: 512, slots: 256 },
            assembly_bytes_max: 16 << 20,
            book: BookLimits::small(),
            ..Self::new(network)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut Config)) -> ConfigError {
        let mut config = Config::small(Network::DEV);
        change(&mut config);
        config.check().expect_err("it was not to be accepted")
    }

    #[test]
    fn the_defaults_are_accepted() {
        for network in [Network::DEV, Network::GRIN_MAIN, Network::GRIN_TEST] {
            assert_eq!(Config::new(network.clone()).check(), Ok(()));
            assert_eq!(Config::small(network).check(), Ok(()));
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let addr = SocketAddr::from(([192, 0, 2, 1], 1));
        let seeds = vec![Seed::Addr(addr); HELD_MAX + 1];
        assert_eq!(refusal(|it| it.seeds = seeds), ConfigError::Seeds(HELD_MAX + 1));
        let listed = vec![BanTarget::host(addr, Locality::Internet); LISTED_MAX + 1];
        for (name, error) in [
            ("denied", refusal(|it| it.denied.clone_from(&listed))),
            ("allowed", refusal(|it| it.allowed.clone_from(&listed))),
        ] {
            assert_eq!(error, ConfigError::Listed { name, count: LISTED_MAX + 1 });
        }
        let value = DIALED_MAX + 1;
        let error = refusal(|it| it.slots.outbound = value);
        assert_eq!(error, ConfigError::Slots { name: "outbound", value });
        let error = refusal(|it| it.slots.dials = value);
        assert_eq!(error, ConfigError::Slots { name: "dials", value });
        assert_eq!(refusal(|it| it.gossip_bytes_max = 65_855), ConfigError::GossipBytes(65_855));
        assert_eq!(error.to_string(), "slots.dials is 1025, and must be at most 1024");
        for new_buckets in [0, 3, 1 << 20] {
            assert!(matches!(
                refusal(|it| it.book.new_buckets = new_buckets),
                ConfigError::Book(_)
            ));
        }
        let second = Duration::from_secs(1);
        for rate in [
            Rate { amount: 1, per: Duration::ZERO, burst: 1 },
            Rate { amount: 1, per: second, burst: 0 },
            Rate { amount: 0, per: second, burst: 1 },
        ] {
            assert_eq!(refusal(|it| it.rates.answers = rate), ConfigError::Rate("answers"));
            assert_eq!(refusal(|it| it.rates.addresses = rate), ConfigError::Rate("addresses"));
            assert_eq!(refusal(|it| it.rates.messages = rate), ConfigError::Rate("messages"));
            assert_eq!(refusal(|it| it.rates.unpacking = rate), ConfigError::Rate("unpacking"));
            assert_eq!(refusal(|it| it.rates.upload = Some(rate)), ConfigError::Rate("upload"));
            assert_eq!(refusal(|it| it.rates.download = Some(rate)), ConfigError::Rate("download"));
            let error = refusal(|it| it.rates.grin_pace = Some(rate));
            assert_eq!(error, ConfigError::Rate("grin_pace"));
        }
    }

    #[test]
    fn times_and_sizes_without_use_are_named() {
        let value = Duration::from_nanos(999);
        let error = refusal(|it| it.handshake_timeout = value);
        assert_eq!(error, ConfigError::Timeout { name: "handshake", value });
        let error = refusal(|it| it.frame_timeout = value);
        assert_eq!(error, ConfigError::Timeout { name: "frame", value });
        let error = refusal(|it| it.ping_period = value);
        assert_eq!(error, ConfigError::Timeout { name: "ping_period", value });
        let error = refusal(|it| it.silence_timeout = it.ping_period);
        let told = "timeouts.silence is 10s, and must be longer than the ping_period 10s";
        assert_eq!(error.to_string(), told);
        let needed = Network::DEV.limits.frame_bytes_max();
        let value = needed as usize - 1;
        let error = refusal(|it| it.assembly_bytes_max = value);
        assert_eq!(error, ConfigError::Assembly { value, needed });
        let error = refusal(|it| it.seen.older_bits_per_id = OLDER_BITS_MAX + 1);
        assert_eq!(error, ConfigError::OlderBits(OLDER_BITS_MAX + 1));
    }

    #[test]
    fn a_window_without_blocks_is_named() {
        let most = BLOCKS_WANTED_MAX;
        for value in [0, most as u32 + 1] {
            let error = refusal(|it| it.sync.window_blocks = value);
            let value = value as usize;
            assert_eq!(error, ConfigError::Sync { name: "window_blocks", value, most });
        }
        let told = "sync.peers is 257, and must be 1 to 256";
        assert_eq!(refusal(|it| it.sync.peers = 257).to_string(), told);
        assert!(matches!(refusal(|it| it.sync.window_bytes = 0), ConfigError::Sync { .. }));
    }

    #[test]
    fn seeds_are_addresses_or_names() {
        let addr: SocketAddr = "192.0.2.7:1".parse().unwrap();
        assert_eq!("192.0.2.7:1".parse(), Ok(Seed::Addr(addr)));
        let names = ["seed.example", "seed.example.", "seed.example:3414", "192.0.2.7", "::1", "a"];
        for name in names {
            assert_eq!(name.parse(), Ok(Seed::Name(name.to_owned())));
        }
        let long = format!("{}.example", "x".repeat(64));
        for name in
            ["", ".", ":", "a b", "x:99999", "x:0", "x:+1", "x:", ":1", "a..b", "[::1]", &long]
        {
            assert_eq!(name.parse::<Seed>(), Err(SeedError), "{name}");
            let seeds = vec![Seed::Name("seed.example".to_owned()), Seed::Name(name.to_owned())];
            assert_eq!(refusal(|it| it.seeds = seeds), ConfigError::Seed(1));
        }
    }

    #[test]
    fn the_memory_of_an_endpoint_is_known_before_it_is_made() {
        for config in [Config::new(Network::DEV), Config::small(Network::GRIN_MAIN)] {
            let before = config.memory_bytes();
            let tables = before - config.assembly_bytes_max - config.book.memory_bytes();
            let made = crate::Endpoint::new(config, [1; 32]).memory_bytes();
            assert!((tables..before).contains(&made), "{made}");
        }
        let mut most = Config::new(Network::DEV);
        (most.seen.older_ids, most.seen.older_bits_per_id) = (u32::MAX, u32::MAX);
        most.assembly_bytes_max = usize::MAX;
        assert_eq!(most.memory_bytes(), usize::MAX);
    }
}
