//! Bodies of blocks and transactions, written by the text of the protocol and not by the codec.

use std::ops::Range;

use codec::Hash;
use proptest::collection::vec;
use proptest::prelude::*;

/// Items of a body, in any order; the bytes are made of them.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Features and commitment.
    pub(crate) inputs: Vec<[u8; 34]>,
    /// Features and commitment; the proof is made up.
    pub(crate) outputs: Vec<[u8; 34]>,
    pub(crate) kernels: Vec<DraftKernel>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct DraftKernel {
    /// Features byte.
    pub(crate) features: u8,
    pub(crate) fee: u64,
    /// Lock height or relative height.
    pub(crate) height: u64,
    /// Excess and signature.
    pub(crate) proof: [u8; 97],
}

impl DraftKernel {
    /// With a proof made of one byte.
    pub(crate) fn new(features: u8, seed: u8) -> Self {
        Self { features, fee: 1_000 + u64::from(seed), height: 10, proof: [seed; 97] }
    }

    pub(crate) fn bytes(&self, version: u32) -> Vec<u8> {
        let (fee, height) = (self.fee.to_be_bytes(), self.height.to_be_bytes());
        let mut bytes = vec![self.features];
        match (self.features, version) {
            (0, 0 | 1) => bytes.extend([fee, [0; 8]].concat()),
            (0, _) => bytes.extend(fee),
            (1, 0 | 1) => bytes.extend([0; 16]),
            (1, _) => {}
            (2, _) => bytes.extend([fee, height].concat()),
            (3, 0 | 1) => bytes.extend([&fee[..], &[0; 6], &height[6..]].concat()),
            (3, _) => bytes.extend([&fee[..], &height[6..]].concat()),
            other => panic!("{other:?}"),
        }
        bytes.extend(self.proof);
        bytes
    }

    pub(crate) fn hash(&self) -> Hash {
        Hash::of(&self.bytes(1))
    }
}

/// An input or output with a commitment of its own.
pub(crate) fn item(features: u8, seed: u32) -> [u8; 34] {
    let mut item = [0; 34];
    item[0] = features;
    item[1] = 8 + (seed % 2) as u8;
    item[2..6].copy_from_slice(&seed.to_be_bytes());
    item
}

impl Draft {
    /// One input, one output and one kernel, or as many as are asked for.
    pub(crate) fn of(inputs: u32, outputs: u32, kernels: u8) -> Self {
        Self {
            inputs: (0..inputs).map(|seed| item((seed % 2) as u8, seed)).collect(),
            outputs: (0..outputs).map(|seed| item(0, 1_000_000 + seed)).collect(),
            kernels: (0..kernels).map(|seed| DraftKernel::new(seed % 2 * 2, seed)).collect(),
        }
    }

    /// Inputs as this version writes them, sorted.
    pub(crate) fn input_bytes(&self, version: u32) -> Vec<Vec<u8>> {
        let skipped = if version > 2 { 1 } else { 0 };
        let inputs = self.inputs.iter().map(|input| input[skipped..].to_vec());
        sorted(inputs.collect(), |input| Hash::of(input))
    }

    /// Outputs, sorted.
    pub(crate) fn output_bytes(&self) -> Vec<Vec<u8>> {
        let outputs = self.outputs.iter().map(|output| {
            let mut bytes = output.to_vec();
            bytes.extend(675_u64.to_be_bytes());
            bytes.extend([output[33] ^ 0x5a; 675]);
            bytes
        });
        sorted(outputs.collect(), |output| Hash::of(&output[..34]))
    }

    /// Kernels as this version writes them, sorted.
    pub(crate) fn kernel_bytes(&self, version: u32) -> Vec<Vec<u8>> {
        let mut kernels = self.kernels.clone();
        kernels.sort_by_key(DraftKernel::hash);
        kernels.iter().map(|kernel| kernel.bytes(version)).collect()
    }

    /// The body.
    pub(crate) fn bytes(&self, version: u32) -> Vec<u8> {
        body(&self.input_bytes(version), &self.output_bytes(), &self.kernel_bytes(version))
    }

    /// Offset and body.
    pub(crate) fn transaction(&self, version: u32) -> Vec<u8> {
        [&[0x0f; 32], &self.bytes(version)[..]].concat()
    }
}

/// A body of items that are bytes already.
pub(crate) fn body(inputs: &[Vec<u8>], outputs: &[Vec<u8>], kernels: &[Vec<u8>]) -> Vec<u8> {
    let count = |list: &[Vec<u8>]| (list.len() as u64).to_be_bytes();
    let mut bytes = [count(inputs), count(outputs), count(kernels)].concat();
    bytes.extend([inputs, outputs, kernels].concat().concat());
    bytes
}

fn sorted(mut items: Vec<Vec<u8>>, key: impl Fn(&Vec<u8>) -> Hash) -> Vec<Vec<u8>> {
    items.sort_by_key(key);
    items
}

/// A header with a made-up proof.
pub(crate) fn header_bytes(edge_bits: u8, nonces: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..246).map(|at| at as u8).collect();
    bytes.push(edge_bits);
    let bits = usize::from(edge_bits) * nonces;
    bytes.resize(247 + bits.div_ceil(8), 0xa5);
    if !bits.is_multiple_of(8) {
        *bytes.last_mut().expect("a proof has bytes") &= 0xff >> (8 - bits % 8);
    }
    bytes
}

/// A compact block: the draft's outputs and kernels as coinbase, its inputs as short ids.
pub(crate) fn compact_block(header: &[u8], nonce: u64, draft: &Draft, version: u32) -> Vec<u8> {
    let mut coinbase = draft.clone();
    coinbase.outputs.iter_mut().for_each(|output| output[0] = 1);
    for kernel in &mut coinbase.kernels {
        (kernel.features, kernel.fee, kernel.height) = (1, 0, 0);
    }
    let ids = draft.inputs.iter().map(|input| input[2..8].to_vec());
    let ids = sorted(ids.collect(), |id| Hash::of(id));
    let (outputs, kernels) = (coinbase.output_bytes(), coinbase.kernel_bytes(version));
    let mut bytes = header.to_vec();
    bytes.extend(nonce.to_be_bytes());
    for list in [&outputs, &kernels, &ids] {
        bytes.extend((list.len() as u64).to_be_bytes());
    }
    bytes.extend([outputs, kernels, ids].concat().concat());
    bytes
}

/// A body without coinbase, with as many items of each list as the range says.
pub(crate) fn draft(count: Range<usize>) -> impl Strategy<Value = Draft> {
    let seeds = |high: u32| {
        let seeds = proptest::collection::btree_set(any::<u16>(), count.clone());
        let features = vec(0..2_u8, count.end);
        (seeds, features).prop_map(move |(seeds, features)| {
            let seeds = seeds.into_iter().zip(features);
            seeds.map(|(seed, features)| item(features, high + u32::from(seed))).collect()
        })
    };
    let kernel = (0..3_u8, any::<u64>(), 1..10_081_u64, any::<[u8; 32]>());
    let kernel = kernel.prop_map(|(features, fee, height, start)| {
        let mut proof = [0x77; 97];
        proof[..32].copy_from_slice(&start);
        DraftKernel { features: features + u8::from(features > 0), fee, height, proof }
    });
    (seeds(0), seeds(1 << 20), vec(kernel, 1..count.end)).prop_map(
        |(inputs, outputs, kernels): (Vec<_>, Vec<[u8; 34]>, Vec<_>)| {
            let outputs = outputs.into_iter().map(|mut output| {
                output[0] = 0;
                output
            });
            Draft { inputs, outputs: outputs.collect(), kernels }
        },
    )
}
