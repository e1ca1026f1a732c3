//! Recordings of all processes, as an engine makes one of its core.

use peer::Endpoint;

use super::{Network, NodeId, Script};

/// Most bytes of one recording: more than a process of a swarm says in an hour.
const BYTES_MAX: u64 = 1 << 30;

/// Of processes that ended: whose, which life, and what it said.
pub(super) type Recordings = Vec<(NodeId, u32, Vec<u8>)>;

impl<S: Script> Network<S> {
    /// From now on each process that begins is recorded, for [`peer::replay`].
    pub fn record(&mut self) {
        self.recordings = Some(Recordings::new());
    }

    /// What was recorded so far: of which node, in which of its lives, and what.
    pub fn take_recordings(&mut self) -> Vec<(NodeId, u32, Vec<u8>)> {
        (0..self.nodes.len()).for_each(|node| self.keep_recording(node));
        self.recordings.take().unwrap_or_default()
    }

    pub(super) fn endpoint_of(&self, node: NodeId, seed: [u8; 32]) -> Endpoint {
        let config = self.nodes[node].config.clone();
        match &self.recordings {
            Some(_) => Endpoint::recorded(config, seed, BYTES_MAX),
            None => Endpoint::new(config, seed),
        }
    }

    /// A process ends.
    pub(super) fn keep_recording(&mut self, node: NodeId) {
        let Some(recordings) = &mut self.recordings else { return };
        let life = self.nodes[node].life;
        if let Some(endpoint) = &mut self.nodes[node].endpoint {
            let mut recording = Vec::new();
            endpoint.take_recording(&mut recording);
            recordings.push((node, life, recording));
        }
    }
}
