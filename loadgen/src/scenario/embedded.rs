//! The engine inside this process, with its chain.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use molva::{Config, Engine, Handle, Metrics, Network, Publisher, SeenLimits};

use crate::chain::Chain;
use crate::control::CONGESTION_CONTROL;
use crate::ledger::Ledger;

/// Connections beyond those of the scenario: a fleet that warms up may still be leaving.
const CONNECTIONS_SPARE: u32 = 256;

/// Time for goodbyes.
const GOODBYE: Duration = Duration::from_secs(5);

/// An embedded engine.
pub(crate) struct Embedded {
    engine: Engine,
    handle: Handle,
    pub(crate) chain: Chain,
    pub(crate) publisher: Publisher,
}

impl Embedded {
    /// Starts an engine on a loopback port, and its chain. `lane_items` bounds the commands that
    /// wait for the engine.
    pub(crate) fn start(
        network: Network,
        connections: u32,
        seen: Option<SeenLimits>,
        lane_items: Option<usize>,
        ledger: Option<Ledger>,
    ) -> Result<Self, String> {
        let mut config = Config::new(network);
        config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        config.connections_max = connections + CONNECTIONS_SPARE;
        config.peer.slots.inbound = connections; // a house that is never full
        config.congestion_control = Some(CONGESTION_CONTROL.into());
        if let Some(seen) = seen {
            config.peer.seen = seen;
        }
        if let Some(items) = lane_items {
            config.lanes.from_chain_items = items;
        }
        let (engine, side) = Engine::start(config).map_err(|error| error.to_string())?;
        let publisher = side.publisher();
        let chain = Chain::start(side, ledger).map_err(|error| error.to_string())?;
        let handle = engine.handle();
        Ok(Self { engine, handle, chain, publisher })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.handle.local_addrs()[0]
    }

    /// Its counts.
    pub(crate) fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }

    /// Ends it and its chain.
    pub(crate) fn shutdown(self) -> Result<(), String> {
        let end = self.engine.shutdown(GOODBYE).map_err(|end| end.to_string());
        self.chain.join();
        end
    }
}
