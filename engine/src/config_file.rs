//! A configuration as text: TOML, every setting of [`Config`], nothing else.
//!
//! What is not said has its default. What is said twice, wrongly, or under a name that is no
//! setting is an error with its line and its key: a typing mistake must not become a default.
//! docs/configuration.md is the reference; its example is parsed by a test here.

mod values;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use codec::{Limits, Network};
use peer::{BanTarget, Seed};
use serde::Deserialize;

use self::values::{
    Cap, FilePath, Flow, Format, Genesis, Links, Magic, Offers, Place, Preset, SecretFile, Spread,
    Stems, Talk, Text, Time, UserAgent, Wait, Within,
};
use crate::config::Config;

/// Why a text is no configuration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {}{problem}", Key(.key))]
pub struct ConfigFileError {
    /// Which line, from 1.
    pub line: usize,
    /// The setting with its table, such as `rates.answers.per`; empty where the text is no TOML.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

struct Key<'a>(&'a str);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

impl Config {
    /// Reads a configuration. Its form, all settings and a complete example are in
    /// `docs/configuration.md`.
    ///
    /// ```
    /// let config = molva::Config::from_toml(r#"
    ///     listen = ["127.0.0.1:0"]
    ///     [network]
    ///     preset = "dev"
    ///     [timeouts]
    ///     ping_period = "30s"
    /// "#).unwrap();
    /// assert_eq!(config.peer.ping_period.as_secs(), 30);
    ///
    /// let error = molva::Config::from_toml("[network]\npreset = \"dev\"\nmajic = \"00ff\"");
    /// assert!(error.unwrap_err().to_string().starts_with("line 3: network.majic: unknown field"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigFileError`], with the line and the key. Whether the settings fit together, and this
    /// system, is checked by [`Engine::start`](crate::Engine::start).
    pub fn from_toml(text: &str) -> Result<Self, ConfigFileError> {
        parse(text).map(File::into_config)
    }
}

fn parse(text: &str) -> Result<File, ConfigFileError> {
    let fault = |error: &toml::de::Error, key: String| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
        ConfigFileError { line, key, problem: error.message().to_owned() }
    };
    let deserializer =
        toml::Deserializer::parse(text).map_err(|error| fault(&error, String::new()))?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let key = error.path().to_string();
        fault(error.inner(), if key == "." { String::new() } else { key })
    })
}

/// The whole text. Only the network has no default.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct File {
    network: NetworkTable,
    listen: Option<Vec<SocketAddr>>,
    connect: Option<Vec<SocketAddr>>,
    seeds: Option<Vec<Text<Seed>>>,
    user_agent: Option<Text<UserAgent>>,
    advertised: Option<SocketAddr>,
    capabilities: Option<Offers>,
    store: Option<Text<FilePath>>,
    congestion_control: Option<String>,
    #[serde(default)]
    recording: RecordingTable,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    lanes: LanesTable,
    #[serde(default)]
    buffers: BuffersTable,
    #[serde(default)]
    timeouts: TimeoutsTable,
    #[serde(default)]
    slots: SlotsTable,
    #[serde(default)]
    book: BookTable,
    #[serde(default)]
    seen: SeenTable,
    #[serde(default)]
    inventory: InventoryTable,
    #[serde(default)]
    rates: RatesTable,
    #[serde(default)]
    bans: BansTable,
    extension: Option<bool>,
    #[serde(default)]
    relay: RelayTable,
    #[serde(default)]
    dandelion: DandelionTable,
    #[serde(default)]
    sync: SyncTable,
    #[serde(default)]
    packing: PackingTable,
    #[serde(default)]
    overlay: OverlayTable,
    #[serde(default)]
    gossip: GossipTable,
}

/// A preset, and what differs from it.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct NetworkTable {
    preset: Text<Preset>,
    magic: Option<Text<Magic>>,
    genesis: Option<Text<Genesis>>,
    port: Option<u16>,
    block_weight_max: Option<Within<0, 1_000_000>>,
    proof_nonces: Option<Within<1, 42>>,
    format: Option<Text<Format>>,
    nrd_kernels: Option<bool>,
    locality: Option<Text<Place>>,
}

/// Tables of settings that may each be left out.
macro_rules! tables {
    ($($name:ident { $($key:ident: $type:ty,)+ })+) => {
        $(#[derive(Deserialize, Default, Debug)]
        #[serde(default, deny_unknown_fields)]
        struct $name { $($key: Option<$type>,)+ })+
    };
}

tables! {
    LimitsTable {
        connections_max: u32,
        memory_bytes_max: usize,
        assembly_bytes_max: usize,
    }
    RecordingTable {
        file: Text<FilePath>,
        bytes_max: u64,
    }
    LanesTable {
        to_chain_items: usize,
        to_chain_bytes: usize,
        from_chain_items: usize,
        from_chain_bytes: usize,
    }
    BuffersTable {
        small_bytes: u32,
        small_count: u16,
        large_bytes: u32,
        large_count: u16,
    }
    TimeoutsTable {
        handshake: Time,
        frame: Time,
        ping_period: Time,
        silence: Time,
    }
    SlotsTable {
        outbound: u32,
        outbound_floor: u32,
        inbound: u32,
        greeting: u32,
        dials: u32,
        feeler_period: Time,
    }
    BookTable {
        new_buckets: u32,
        tried_buckets: u32,
        bucket_places: u32,
        horizon: Time,
        new_failures_max: u32,
        tried_failures_max: u32,
        tried_failing: Time,
    }
    SeenTable {
        recent_ids: u32,
        older_ids: u32,
        older_bits_per_id: u32,
    }
    InventoryTable {
        rows: u32,
        slots: u32,
    }
    RatesTable {
        answers: Flow,
        addresses: Flow,
        messages: Flow,
        upload: Cap,
        download: Cap,
        grin_pace: Cap,
        unpacking: Flow,
        datagrams: Flow,
    }
    RelayTable {
        policy: Text<Spread>,
        unasked_bytes_max: usize,
        recent_bytes_max: usize,
    }
    DandelionTable {
        scheme: Text<Stems>,
        epoch: Time,
        fluff_percent: u8,
        embargo: Wait,
        patience: Time,
        lock_blocks_max: u64,
        stems_max: u32,
        stem_bytes_max: usize,
    }
    SyncTable {
        window_blocks: u32,
        window_bytes: usize,
        peers: u32,
    }
    OverlayTable {
        kind: Text<Links>,
        links: usize,
        reserve: usize,
        shuffle_period: Time,
        places: usize,
        exchange_period: Time,
        samplers: usize,
        hardened: bool,
    }
    GossipTable {
        over: Text<Talk>,
        kept_bytes_max: usize,
        graft_after: Time,
        graft_again_after: Time,
        announce_after: Time,
        secret_file: Text<SecretFile>,
        listen: SocketAddr,
        contacts: Vec<SocketAddr>,
        period: Time,
        timeout: Time,
        sync_period: Time,
        members_max: usize,
        events_max: usize,
    }
    PackingTable {
        workers: usize,
        enabled: bool,
        bytes_min: usize,
        level: u8,
    }
    BansTable {
        denied: Vec<Text<BanTarget>>,
        allowed: Vec<Text<BanTarget>>,
        duration: Time,
        discouragement: Time,
    }
}

/// Puts in place what was said.
fn set<T>(setting: &mut T, said: Option<impl Into<T>>) {
    if let Some(said) = said {
        *setting = said.into();
    }
}

fn each<T, U>(list: Option<Vec<T>>, inner: impl Fn(T) -> U) -> Option<Vec<U>> {
    list.map(|list| list.into_iter().map(inner).collect())
}

impl File {
    fn into_config(self) -> Config {
        let locality = self.network.locality.as_ref().map(|text| text.0.0);
        let mut config = Config::new(self.network.into_network());
        // Without a rest, so that no setting of the core is forgotten here.
        let peer::Config {
            network: _,
            user_agent,
            capabilities,
            advertised,
            connect,
            seen,
            inventory,
            assembly_bytes_max,
            handshake_timeout,
            frame_timeout,
            ping_period,
            silence_timeout,
            started: _,
            locality: place,
            book,
            slots,
            seeds,
            denied,
            allowed,
            ban_duration,
            discouragement,
            rates,
            extension,
            relay,
            dandelion,
            sync,
            overlay,
            hyparview,
            sampling,
            gossip,
            plumtree,
            gossip_bytes_max,
            cluster,
        } = &mut config.peer;
        set(user_agent, self.user_agent.map(|text| text.0.0));
        set(capabilities, self.capabilities.map(|offers| offers.0));
        set(advertised, self.advertised);
        set(connect, self.connect);
        set(seeds, each(self.seeds, |text| text.0));
        set(place, locality);
        set(assembly_bytes_max, self.limits.assembly_bytes_max);
        self.timeouts.apply([handshake_timeout, frame_timeout, ping_period, silence_timeout]);
        self.bans.apply([denied, allowed], [ban_duration, discouragement]);
        self.seen.apply(seen);
        self.inventory.apply(inventory);
        self.slots.apply(slots);
        self.book.apply(book);
        self.rates.apply(rates);
        set(extension, self.extension);
        self.relay.apply(relay);
        self.dandelion.apply(dandelion);
        self.sync.apply(sync);
        self.overlay.apply(overlay, hyparview, sampling);
        self.gossip.apply(gossip, (plumtree, gossip_bytes_max), cluster, &mut config.gossip_listen);
        self.packing.apply(&mut config.lanes.packing);
        set(&mut config.listen, self.listen);
        set(&mut config.store, self.store.map(|text| text.0.0));
        self.recording.apply(&mut config.recording, &mut config.recording_bytes_max);
        set(&mut config.congestion_control, self.congestion_control);
        set(&mut config.connections_max, self.limits.connections_max);
        set(&mut config.memory_bytes_max, self.limits.memory_bytes_max);
        self.lanes.apply(&mut config.lanes);
        self.buffers.apply(&mut config.buffers);
        config
    }
}

impl NetworkTable {
    fn into_network(self) -> Network {
        let mut network = self.preset.0.0;
        set(&mut network.magic, self.magic.map(|text| text.0.0));
        set(&mut network.genesis, self.genesis.map(|text| text.0.0));
        set(&mut network.port, self.port);
        set(&mut network.format, self.format.map(|text| text.0.0));
        set(&mut network.nrd_kernels, self.nrd_kernels);
        let (mut weight, mut nonces) =
            (network.limits.block_weight_max(), network.limits.proof_nonces());
        set(&mut weight, self.block_weight_max.map(|one| one.0));
        set(&mut nonces, self.proof_nonces.map(|one| one.0 as u8));
        network.limits = Limits::new(weight, nonces);
        network
    }
}

impl RecordingTable {
    fn apply(self, file: &mut Option<PathBuf>, bytes_max: &mut u64) {
        set(file, self.file.map(|text| text.0.0));
        set(bytes_max, self.bytes_max);
    }
}

impl TimeoutsTable {
    fn apply(self, times: [&mut Duration; 4]) {
        let [handshake, frame, ping_period, silence] = times;
        set(handshake, self.handshake);
        set(frame, self.frame);
        set(ping_period, self.ping_period);
        set(silence, self.silence);
    }
}

impl BansTable {
    fn apply(self, lists: [&mut Vec<BanTarget>; 2], times: [&mut Duration; 2]) {
        let ([denied, allowed], [duration, discouragement]) = (lists, times);
        set(denied, each(self.denied, |text| text.0));
        set(allowed, each(self.allowed, |text| text.0));
        set(duration, self.duration);
        set(discouragement, self.discouragement);
    }
}

impl RelayTable {
    fn apply(self, rules: &mut peer::RelayRules) {
        set(&mut rules.policy, self.policy.map(|text| text.0.0));
        set(&mut rules.unasked_bytes_max, self.unasked_bytes_max);
        set(&mut rules.recent_bytes_max, self.recent_bytes_max);
    }
}

impl OverlayTable {
    fn apply(
        self,
        kind: &mut peer::Overlay,
        rules: &mut peer::overlay::HyParViewRules,
        lists: &mut peer::overlay::SamplingRules,
    ) {
        set(kind, self.kind.map(|text| text.0.0));
        set(&mut rules.active_max, self.links);
        set(&mut rules.passive_max, self.reserve);
        set(&mut rules.shuffle_period, self.shuffle_period);
        set(&mut lists.view, self.places);
        set(&mut lists.period, self.exchange_period);
        lists.heartbeat_period = lists.period;
        if self.hardened == Some(true) {
            *lists = lists.clone().hardened();
        }
        set(&mut lists.samplers, self.samplers);
    }
}

impl GossipTable {
    fn apply(
        self,
        over: &mut peer::Gossip,
        (rules, kept_bytes_max): (&mut peer::gossip::PlumtreeRules, &mut usize),
        cluster: &mut peer::Cluster,
        listen: &mut Option<SocketAddr>,
    ) {
        set(over, self.over.map(|text| text.0.0));
        set(listen, self.listen);
        set(&mut cluster.key, self.secret_file.map(|text| text.0.0));
        set(&mut cluster.contacts, self.contacts);
        set(&mut cluster.rules.period, self.period);
        set(&mut cluster.rules.timeout, self.timeout);
        set(&mut cluster.rules.sync_period, self.sync_period);
        set(&mut cluster.rules.members_max, self.members_max);
        set(&mut cluster.rules.events_max, self.events_max);
        set(kept_bytes_max, self.kept_bytes_max);
        set(&mut rules.graft_after, self.graft_after);
        set(&mut rules.graft_again_after, self.graft_again_after);
        set(&mut rules.announce_after, self.announce_after);
    }
}

impl DandelionTable {
    /// What is not said is as usual for the scheme.
    fn apply(self, rules: &mut peer::DandelionRules) {
        set(rules, self.scheme.map(|text| peer::DandelionRules::of(text.0.0)));
        set(&mut rules.epoch, self.epoch);
        set(&mut rules.fluff_percent, self.fluff_percent);
        set(&mut rules.embargo, self.embargo.map(|wait| wait.0));
        set(&mut rules.patience, self.patience);
        set(&mut rules.lock_blocks_max, self.lock_blocks_max);
        set(&mut rules.stems_max, self.stems_max);
        set(&mut rules.stem_bytes_max, self.stem_bytes_max);
    }
}

/// Tables whose keys are the fields of a setting.
macro_rules! apply {
    ($($name:ident to $type:ty { $($key:ident,)+ })+) => {
        $(impl $name {
            fn apply(self, settings: &mut $type) {
                $(set(&mut settings.$key, self.$key);)+
            }
        })+
    };
}

apply! {
    LanesTable to bridge::Config {
        to_chain_items, to_chain_bytes, from_chain_items, from_chain_bytes,
    }
    BuffersTable to crate::io::BufferConfig {
        small_bytes, small_count, large_bytes, large_count,
    }
    SlotsTable to peer::Slots {
        outbound, outbound_floor, inbound, greeting, dials, feeler_period,
    }
    BookTable to peer::BookLimits {
        new_buckets, tried_buckets, bucket_places, horizon, new_failures_max, tried_failures_max,
        tried_failing,
    }
    SeenTable to peer::SeenLimits {
        recent_ids, older_ids, older_bits_per_id,
    }
    InventoryTable to peer::InventoryLimits {
        rows, slots,
    }
    RatesTable to peer::Rates {
        answers, addresses, messages, upload, download, grin_pace, unpacking,
        datagrams,
    }
    SyncTable to peer::SyncRules {
        window_blocks, window_bytes, peers,
    }
    PackingTable to bridge::PackingConfig {
        workers, enabled, bytes_min, level,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the documentation.
    fn example() -> &'static str {
        let text = include_str!("../../docs/configuration.md");
        let (_, rest) = text.split_once("```toml\n").unwrap();
        rest.split_once("```").unwrap().0
    }

    /// Files that may serve as secrets.
    const SECRETS: [&str; 2] = [
        concat!(env!("CARGO_MANIFEST_DIR"), "/../LICENSE-MIT"),
        concat!(env!("CARGO_MANIFEST_DIR"), "/../rustfmt.toml"),
    ];

    /// The same with those settings said that have no default, and a secret that is there.
    fn whole() -> String {
        let said = |line: &str| {
            let setting = line.strip_prefix("# ").filter(|rest| {
                let key = rest.split(" = ").next().unwrap();
                key.len() < rest.len()
                    && key.bytes().all(|one| one == b'_' || one.is_ascii_lowercase())
            });
            setting.unwrap_or(line).to_owned() + "\n"
        };
        let text: String = example().lines().map(said).collect();
        text.replace("/etc/molva/cluster.secret", SECRETS[0])
    }

    /// All of it, and the key, which shows nobody what it is.
    fn shown(config: &Config) -> String {
        let key = config.peer.cluster.key.as_ref().map(|key| key.0);
        format!("{config:#?}\n{key:?}")
    }

    #[track_caller]
    fn assert_same(config: &Config, expected: &Config) {
        let (config, expected) = (shown(config), shown(expected));
        let differs = config.lines().zip(expected.lines()).find(|(one, other)| one != other);
        assert!(config == expected, "{differs:?}");
    }

    fn refusal(text: &str) -> String {
        Config::from_toml(text).unwrap_err().to_string()
    }

    #[test]
    fn the_example_says_the_defaults() {
        let config = Config::from_toml(example()).unwrap();
        assert_same(&config, &Config::new(Network::GRIN_MAIN));
        for network in [Network::GRIN_MAIN, Network::GRIN_TEST, Network::DEV] {
            let least = format!("network.preset = \"{}\"", network.name);
            let config = Config::from_toml(&least).unwrap();
            assert_same(&config, &Config::new(network));
        }
    }

    #[test]
    fn the_example_has_every_setting() {
        let file = format!("{:#?}", parse(&whole()).unwrap());
        assert!(!file.contains(": None"), "{file}");
    }

    #[test]
    fn every_setting_arrives() {
        let config = Config::from_toml(&whole()).unwrap();
        assert_eq!(config.store, Some("/var/lib/molva/peers.sqlite".into()));
        assert_eq!(config.congestion_control.as_deref(), Some("cubic"));
        // What is left repeats the preset.
        let mut rest = config.clone();
        assert!(rest.recording.take().is_some());
        (rest.store, rest.congestion_control) = (None, None);
        assert!(rest.gossip_listen.take().is_some());
        let secret = std::fs::read(SECRETS[0]).unwrap();
        let key = codec::datagram::ClusterKey::of_secret(&secret).unwrap();
        assert_eq!(rest.peer.cluster.key.take(), Some(key));
        assert_same(&rest, &Config::new(Network::GRIN_MAIN));
    }

    /// Each setting, said otherwise than its default, changes the configuration.
    #[test]
    fn no_setting_is_read_and_forgotten() {
        let text = whole();
        let before = shown(&Config::from_toml(&text).unwrap());
        let mut changed = 0;
        for (number, line) in text.lines().enumerate() {
            let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#'))
            else {
                continue;
            };
            let other = other(key, value);
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines[number] = format!("{key} = {other}");
            let config = Config::from_toml(&lines.join("\n"))
                .unwrap_or_else(|error| panic!("{key} = {other}: {error}"));
            assert_ne!(shown(&config), before, "{key} = {other}");
            changed += 1;
        }
        assert!(changed >= 50, "{changed} settings");
    }

    /// Another value of the same form.
    fn other(key: &str, value: &str) -> String {
        match (key, value) {
            ("denied" | "allowed", _) => r#"["192.0.2.0/24", "::1"]"#.to_owned(),
            (_, value) if value.starts_with('[') => r#"["192.0.2.1:9"]"#.to_owned(),
            ("secret_file", _) => format!("\"{}\"", SECRETS[1]),
            ("advertised" | "listen", _) => r#""192.0.2.1:9""#.to_owned(),
            ("preset", _) => r#""grin-test""#.to_owned(),
            ("magic", _) => r#""00ff""#.to_owned(),
            ("genesis", _) => format!("\"{}\"", "0f".repeat(32)),
            ("format", _) => r#""opaque""#.to_owned(),
            ("locality", _) => r#""hosts""#.to_owned(),
            ("nrd_kernels" | "hardened", _) => "true".to_owned(),
            ("extension" | "enabled", _) => "false".to_owned(),
            ("kind", _) => r#""hyparview""#.to_owned(),
            ("over", _) => r#""tree""#.to_owned(),
            ("policy", _) => r#""sqrt""#.to_owned(),
            ("scheme", _) => r#""grin""#.to_owned(),
            ("embargo", _) => r#"{ base = "3m", spread = "30s" }"#.to_owned(),
            ("store" | "file" | "user_agent" | "congestion_control", _) => r#""other""#.to_owned(),
            (_, value) if value.starts_with('{') || value == "\"off\"" => {
                r#"{ amount = 3, per = "4s", burst = 5 }"#.to_owned()
            }
            (_, value) if value.starts_with('"') => r#""1234ms""#.to_owned(),
            _ => "7".to_owned(),
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_key() {
        let dev = "[network]\npreset = \"dev\"\n";
        let cases = [
            ("", "line 1: missing field `network`"),
            ("[network]\nport = 1", "line 1: network: missing field `preset`"),
            ("[network]\npreset = \"main\"", "line 2: network.preset: grin-main, grin-test or dev"),
            ("listen = \"::1\"\n[network]", "line 1: listen: invalid type"),
            ("listen = [\n  \"::1\",\n]\n[network]", "line 2: listen[0]: invalid socket address"),
            ("[network", "line 1: "),
        ];
        for (text, expected) in cases {
            let told = refusal(text);
            assert!(told.starts_with(expected), "{text:?}: {told}");
        }
        let cases = [
            ("[slots]\noutbond = 1", "line 4: slots.outbond: unknown field `outbond`"),
            ("[slot]\noutbound = 1", "line 3: slot: unknown field `slot`"),
            ("[slots]\noutbound = -1", "line 4: slots.outbound: invalid value"),
            ("[slots]\noutbound = 1\noutbound = 2", "line 5: duplicate key"),
            ("[timeouts]\nframe = 10", "line 4: timeouts.frame: invalid type"),
            ("[timeouts]\nframe = \"10\"", "line 4: timeouts.frame: time unit needed"),
            ("[bans]\ndenied = [\"192.0.2.0/33\"]", "line 4: bans.denied[0]: "),
            ("[rates]\nupload = { amount = 1, per = \"0s\", burst = 1 }", "line 4: rates.upload: "),
            ("[rates]\nupload = { amount = 1, burst = 1 }", "line 4: rates.upload: missing field"),
            ("[rates]\nupload = \"of\"", "line 4: rates.upload: invalid value"),
            ("[rates]\ngrin_pace = { amount = 9, per = \"1s\", burst = 0 }", "line 4: rates.grin_"),
            ("[rates]\ndownload = { amount = 0, per = \"1s\", burst = 1 }", "line 4: rates.down"),
            ("proof_nonces = 43", "line 3: network.proof_nonces: 43, and must be 1 to 42"),
            ("magic = \"+1ff\"", "line 3: network.magic: four hexadecimal digits are wanted"),
            ("genesis = \"6d\"", "line 3: network.genesis: 64 hexadecimal digits are wanted"),
            ("format = \"json\"", "line 3: network.format: one of grin, opaque is wanted"),
        ];
        for (text, expected) in cases {
            let told = refusal(&format!("{dev}{text}"));
            assert!(told.starts_with(expected), "{text:?}: {told}");
        }
        let long = format!("user_agent = \"{}\"\n{dev}", "x".repeat(129));
        assert_eq!(refusal(&long), "line 1: user_agent: 129 bytes, at most 128");
        for (text, expected) in [
            ("store = \"\"", "line 1: store: the name of a file is wanted"),
            ("seeds = [\"a b\"]", "line 1: seeds[0]: an address or a DNS name is wanted"),
            ("seeds = [\"x:1\", \"x:99999\"]", "line 1: seeds[1]: an address or a DNS name"),
        ] {
            let told = refusal(&format!("{text}\n{dev}"));
            assert!(told.starts_with(expected), "{text:?}: {told}");
        }
        let told = refusal(&format!("capabilities = 0x81\n{dev}"));
        assert_eq!(told, "line 1: capabilities: the bits 0x80 mean nothing");
    }

    #[test]
    fn a_secret_that_is_none_is_named_by_its_file() {
        for (path, expected) in [
            ("nowhere/at/all", "cannot be read: "),
            ("/dev/zero", "has more than 4096 bytes"),
            ("/dev/null", "holds a secret of 0 bytes, and at least 32 are wanted"),
        ] {
            let text = format!("gossip.secret_file = {path:?}\n[network]\npreset = \"dev\"");
            let expected = format!("line 1: gossip.secret_file: {path:?} {expected}");
            let told = refusal(&text);
            assert!(told.starts_with(&expected), "{told}");
        }
    }
}
