//! What `hostile` and its two child processes say to each other: JSON lines on their standard
//! input and output.
//!
//! A child is sent its [`Role`], answers [`Said::Ready`], and then obeys one [`Order`] after the
//! other: each has one answer. It ends when its standard input closes, and so never outlives the
//! parent.

use std::io::{BufRead, Write};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What a child is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Well-behaved clients.
    Honest {
        /// The engine.
        target: SocketAddr,
        /// The number from which all payloads follow.
        seed: u64,
    },
    /// Attackers, one attack at a time.
    Attackers {
        /// The engine.
        target: SocketAddr,
    },
}

/// What the parent wants done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Honest clients: measure for so long, and answer with a [`Window`].
    Measure {
        /// Milliseconds.
        ms: u64,
    },
    /// Honest clients: write no payload until the next measurement, and say where they stand.
    Rest,
    /// Attackers: do this for so long, and answer with an [`Outcome`].
    Attack {
        /// Its name.
        name: String,
        /// Milliseconds.
        ms: u64,
    },
}

/// What a child says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// It is ready; the engine is to hold a connection to each of these addresses.
    Ready {
        /// Where honest clients listen.
        listening: Vec<SocketAddr>,
    },
    /// Honest clients: what they measured.
    Window(Window),
    /// Attackers: the engine is to dial this address.
    Dial(SocketAddr),
    /// Attackers: the attack is over.
    Outcome(Outcome),
}

/// What the honest clients saw in one stretch of time.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Round trips of the Pings that were to be sent in it, in microseconds, as (value, count).
    pub(crate) latencies: Vec<(u64, u64)>,
    /// Those Pings, and how many were answered.
    pub(crate) pings: u64,
    pub(crate) pongs: u64,
    /// How late the writing of these Pings was: p99 in microseconds.
    pub(crate) late_p99_us: u64,
    /// Clients whose connection stands.
    pub(crate) connected: u64,
    /// Payloads written since the start: all of the plan below, but those that it leaves out.
    pub(crate) written: u64,
    pub(crate) next: u64,
    /// Payloads of others that were relayed to the clients since the start.
    pub(crate) relayed: u64,
    /// What went wrong since the start, in words; the first few.
    pub(crate) faults: Vec<String>,
}

/// What the attackers did, from their own side.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Connections that stood for the attackers' system.
    pub(crate) connections: u64,
    pub(crate) frames_sent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// Processor time of the attackers.
    pub(crate) cpu_ns: u64,
    /// What kept the attack from being made as described.
    pub(crate) fault: Option<String>,
}

/// A payload of an attacker begins with this: the chain calls it invalid.
pub(crate) const INVALID_TAG: [u8; 8] = *b"invalid!";

/// A payload of an attacker begins with this: the chain has no opinion.
pub(crate) const SPAM_TAG: [u8; 8] = *b"just\0new";

/// A child tells its parent; without a parent it ends.
pub(crate) fn tell(said: &Said) {
    let line = serde_json::to_string(said).expect("what is said is plain data");
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// A child takes the next line of its parent; `None` when there is no parent any more.
pub(crate) fn heard<T: for<'a> Deserialize<'a>>() -> Option<T> {
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(1..) => serde_json::from_str(&line).ok(),
        Ok(0) | Err(_) => None,
    }
}
