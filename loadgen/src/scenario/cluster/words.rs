//! What the parent process and a process of engines say to each other: JSON lines.
//!
//! The child is sent its [`Spec`], tells [`Event::Listening`] for each engine that it starts and
//! [`Event::Seen`] in every period, and after [`Order::Stop`] answers [`Event::Ended`]. It ends
//! when its standard input closes, and so never outlives the parent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often a process looks at its engines.
pub(super) const PERIOD: Duration = Duration::from_millis(250);

/// What one process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    /// Numbers of its engines, in the order in which they are started.
    pub(super) engines: Vec<u32>,
    /// Where their stores are.
    pub(super) folder: PathBuf,
    /// The text of a configuration; `None`: the fast profile.
    pub(super) config: Option<String>,
    /// Outbound peers of each engine, where no configuration says it.
    pub(super) outbound: u32,
    /// The seed of all; `None`: the first has none, and is the seed of the others.
    pub(super) seed: Option<SocketAddr>,
}

/// The file of an engine's store.
pub(super) fn store(folder: &Path, engine: u32) -> PathBuf {
    folder.join(format!("engine-{engine}.sqlite"))
}

/// What the parent tells a child after the spec.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// These listen no more: look for them in the books.
    Dead(Vec<SocketAddr>),
    /// Say goodbye to all peers, and end.
    Stop,
}

/// One engine as it was a moment ago.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Sight {
    pub(super) engine: u32,
    /// Established peers that it dialled.
    pub(super) outbound: u32,
    /// Where its established peers listen, as far as they say it.
    pub(super) peers: Vec<SocketAddr>,
    /// Addresses in its book only heard of, and those that it reached.
    pub(super) new: u32,
    pub(super) tried: u32,
    /// Dead ones among them; `None`: the child does not know yet who is dead.
    pub(super) dead: Option<u32>,
}

/// What a process of engines costs, and what its engines counted together.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(super) struct Footprint {
    pub(super) cpu_ns: u64,
    /// Resident bytes beyond those before the first engine.
    pub(super) resident_bytes: u64,
    pub(super) dialed: u64,
    pub(super) reseeds: u64,
    pub(super) store_lost: u64,
    pub(super) closed_by_cause: BTreeMap<String, u64>,
}

/// What a child tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// An engine has started.
    Listening { engine: u32, addr: SocketAddr },
    /// All engines of the process, and the process itself.
    Seen { engines: Vec<Sight>, footprint: Footprint },
    /// All engines have ended; what went wrong.
    Ended { faults: Vec<String> },
}
