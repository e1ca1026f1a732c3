//! Faults of the driver itself, planted to see that a swarm notices: no network does this, and no
//! engine may.

use codec::{Context, Kind, Message, Network as Protocol, Payload, PlumtreeMessage};

use super::{Network, Script};
use crate::traffic::SPREADING;

/// A fault that is planted in the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
    /// One in a hundred of the frames by which payloads spread is lost, and nobody told.
    LoseFrames,
    /// One segment in a thousand has its last byte twice.
    DoubleBytes,
    /// One connection in ten ends without a word to the endpoint.
    ConcealCloses,
    /// One in ten of the requests with which a broadcast tree mends itself is lost.
    LoseGrafts,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::LoseFrames, Self::DoubleBytes, Self::ConcealCloses, Self::LoseGrafts];

    /// Its name on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LoseFrames => "lose-frames",
            Self::DoubleBytes => "double-bytes",
            Self::ConcealCloses => "conceal-closes",
            Self::LoseGrafts => "lose-grafts",
        }
    }
}

fn is_graft(payload: &Payload) -> bool {
    let context = Context { version: 0, network: &Protocol::DEV };
    payload.kind() == Kind::Plumtree
        && matches!(
            Message::decode(Kind::Plumtree, payload.body(), &context),
            Ok(Message::Plumtree(PlumtreeMessage::Graft { id: Some(_) }))
        )
}

impl<S: Script> Network<S> {
    /// From now on the driver has this fault.
    pub fn plant(&mut self, plant: Plant) {
        self.plant = Some(plant);
    }

    pub(super) fn loses(&mut self, payload: &Payload) -> bool {
        let of = match self.plant {
            Some(Plant::LoseFrames) if SPREADING.contains(&payload.kind()) => 100,
            Some(Plant::LoseGrafts) if is_graft(payload) => 10,
            _ => return false,
        };
        self.plants.chance(1, of)
    }

    pub(super) fn doubles_byte(&mut self) -> bool {
        self.plant == Some(Plant::DoubleBytes) && self.plants.chance(1, 1_000)
    }

    pub(super) fn conceals_close(&mut self) -> bool {
        self.plant == Some(Plant::ConcealCloses) && self.plants.chance(1, 10)
    }
}
