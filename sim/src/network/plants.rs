//! Faults of the driver itself, planted to see that a swarm notices: no network does this, and no
//! engine may.

use codec::Payload;

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
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::LoseFrames, Self::DoubleBytes, Self::ConcealCloses];

    /// Its name on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LoseFrames => "lose-frames",
            Self::DoubleBytes => "double-bytes",
            Self::ConcealCloses => "conceal-closes",
        }
    }
}

impl<S: Script> Network<S> {
    /// From now on the driver has this fault.
    pub fn plant(&mut self, plant: Plant) {
        self.plant = Some(plant);
    }

    pub(super) fn loses(&mut self, payload: &Payload) -> bool {
        self.plant == Some(Plant::LoseFrames)
            && SPREADING.contains(&payload.kind())
            && self.plants.chance(1, 100)
    }

    pub(super) fn doubles_byte(&mut self) -> bool {
        self.plant == Some(Plant::DoubleBytes) && self.plants.chance(1, 1_000)
    }

    pub(super) fn conceals_close(&mut self) -> bool {
        self.plant == Some(Plant::ConcealCloses) && self.plants.chance(1, 10)
    }
}
