//! Packing a body: compressed behind its id, where that saves something.

use std::io;

use codec::{ENVELOPE_HEAD_BYTES, Envelope, Form, Message, Network, Packing, Payload};
use zstd::bulk::Compressor;

use super::opening::VERSION;

/// The part of a body that an envelope must save beside its head, at least: one sixteenth. Less is
/// not worth the time that it takes to open. Range proofs and signatures save nothing.
const SAVED_SHARE: usize = 16;

/// Bodies from this length on are judged by a sample first: an eighth of the body at most is packed
/// in vain then.
const SAMPLED_BYTES: usize = 128 << 10;

/// Slices of a sample, spread over the body.
const SLICES: usize = 4;

/// Bytes of each: long enough to find what repeats from one record of a chain to the next.
const SLICE_BYTES: usize = 4 << 10;

/// What a worker packs with. Reused: a context takes longer to make than to use.
pub(crate) struct Packer {
    compressor: Compressor<'static>,
    /// Where the packed bytes are made; as long as the longest body so far.
    scratch: Vec<u8>,
}

impl Packer {
    pub(crate) fn new(level: u8) -> io::Result<Self> {
        Ok(Self { compressor: Compressor::new(i32::from(level))?, scratch: Vec::new() })
    }

    /// The payload with an envelope beside it, if that saves something.
    pub(crate) fn pack(&mut self, network: &Network, payload: Payload) -> Payload {
        if !payload.forms().contains(Form::of_version(VERSION)) {
            return payload; // peers that open envelopes expect the latest form in them
        }
        match self.saves(payload.body()) {
            Some(length) => self.dress(network, payload.with_id(), length),
            None => payload,
        }
    }

    /// Puts the packed bytes, so many in the scratch buffer, into an envelope.
    fn dress(&self, network: &Network, payload: Payload, length: usize) -> Payload {
        let Ok(plain_bytes) = u32::try_from(payload.body().len()) else { return payload };
        let envelope = Envelope {
            kind: payload.kind(),
            packing: Packing::Zstd,
            plain_bytes,
            id: payload.id(),
            data: &self.scratch[..length],
        };
        match Message::Packed(envelope).to_payload(network, VERSION) {
            Ok(packed) => payload.with_packed(packed),
            Err(_) => payload,
        }
    }

    /// Compresses a body, if it looks worth it. `None`: it would save too little.
    fn saves(&mut self, body: &[u8]) -> Option<usize> {
        if body.len() >= SAMPLED_BYTES {
            self.compress(&sample(body))?;
        }
        self.compress(body)
    }

    /// Compresses into the scratch buffer. `None`: it would save too little.
    fn compress(&mut self, bytes: &[u8]) -> Option<usize> {
        let most = bytes.len().checked_sub(ENVELOPE_HEAD_BYTES + bytes.len() / SAVED_SHARE)?;
        if self.scratch.len() < most {
            self.scratch.resize(most, 0);
        }
        // What does not fit is an error, and the only one that there can be.
        self.compressor.compress_to_buffer(bytes, &mut self.scratch[..most]).ok()
    }
}

fn sample(body: &[u8]) -> Vec<u8> {
    let step = (body.len() - SLICE_BYTES) / (SLICES - 1);
    (0..SLICES).flat_map(|number| &body[number * step..][..SLICE_BYTES]).copied().collect()
}

#[cfg(test)]
mod tests {
    use codec::Kind;

    use super::super::opening::Opener;
    use super::*;

    const NETWORK: Network = Network::DEV;

    /// Bytes without a pattern.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(next).collect()
    }

    fn pack(body: &[u8]) -> Payload {
        let payload = Payload::seal(&NETWORK, Kind::Block, body).unwrap();
        Packer::new(1).unwrap().pack(&NETWORK, payload)
    }

    #[test]
    fn a_packed_payload_is_the_same_beside_its_envelope() {
        for length in [300, 5_000, SAMPLED_BYTES, 1_000_000] {
            let body = noise(100).repeat(length / 100 + 1);
            let payload = pack(&body);
            assert_eq!(payload.body(), body);
            let packed = payload.packed().expect("it repeats itself");
            assert!(packed.frame().len() < payload.frame().len() / 2);
            let opened = Opener::new().unwrap().open(&NETWORK, packed).unwrap();
            assert_eq!(opened, payload);
            assert_eq!(opened.id(), payload.id());
        }
    }

    #[test]
    fn what_saves_too_little_stays_plain() {
        for length in [1, 16, 5_000, 2 * SAMPLED_BYTES] {
            assert!(pack(&noise(length)).packed().is_none(), "{length} bytes of noise");
        }
        // One part in twenty saves less than one in sixteen.
        let body = [&noise(19_000)[..], &[0; 1_000]].concat();
        assert!(pack(&body).packed().is_none());
    }

    #[test]
    fn a_long_body_is_judged_by_a_sample() {
        // All but what the sample sees would pack well.
        let mut body = vec![0; 4 * SAMPLED_BYTES];
        let step = (body.len() - SLICE_BYTES) / (SLICES - 1);
        let slices = noise(SLICES * SLICE_BYTES);
        for (number, slice) in slices.chunks(SLICE_BYTES).enumerate() {
            body[number * step..][..SLICE_BYTES].copy_from_slice(slice);
        }
        assert_eq!(sample(&body), slices);
        assert!(pack(&body).packed().is_none());
    }

    /// A peer that opens envelopes expects bodies of the latest form in them.
    #[test]
    fn a_body_in_no_form_that_all_read_is_not_packed() {
        let network = Network::GRIN_MAIN;
        let payload = Payload::seal(&network, Kind::Block, &[0; 5_000]).unwrap();
        let payload = Packer::new(1).unwrap().pack(&network, payload);
        assert!(payload.packed().is_none());
    }
}
