//! Transactions, and the body that they share with blocks.
//!
//! A body is three counts, then inputs, outputs and kernels. `read` follows the layout and looks at
//! each item for itself; `check` compares the items with one another: their order by BLAKE2b-256,
//! which makes them unique too, and that no output is spent by the same body. Nothing is verified
//! that needs cryptography on curves or knowledge of the chain.

use std::cmp::Ordering;
use std::fmt;

use crate::form::Form;
use crate::kernel::{KernelFeatures, Kernels};
use crate::limits::{INPUT_WEIGHT, KERNEL_WEIGHT, Limits, OUTPUT_WEIGHT, RANGE_PROOF_BYTES};
use crate::network::Network;
use crate::payload::Hash;
use crate::wire::{Context, Decode, DecodeError, Encode, EncodeError, List, Reader, Writer};

/// A Pedersen commitment, compressed.
pub type Commitment = [u8; 33];

/// Bytes of an input with features; without them it is a commitment alone.
pub(crate) const INPUT_BYTES: usize = 34;

/// Bytes of an output's features and commitment, which its place in the order hangs on.
pub(crate) const IDENTIFIER_BYTES: usize = 34;

/// Where the proof of an output begins, behind its length.
const PROOF_OFFSET: usize = IDENTIFIER_BYTES + 8;

/// Bytes of an output.
pub(crate) const OUTPUT_BYTES: usize = PROOF_OFFSET + RANGE_PROOF_BYTES;

/// Bytes of a short id in a compact block.
pub(crate) const SHORT_ID_BYTES: usize = 6;

/// Up to so many inputs are compared one by one with an output; beyond, their order is searched,
/// which costs hashes but keeps a large body from costing the product of its counts.
const SCANNED_INPUTS_MAX: usize = 64;

/// What kind of output one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum OutputFeatures {
    /// Of a transaction.
    Plain = 0,
    /// The reward of a block.
    Coinbase = 1,
}

impl OutputFeatures {
    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Plain),
            1 => Some(Self::Coinbase),
            _ => None,
        }
    }

    /// Of a byte that was looked at when the body was read.
    pub(crate) const fn of_checked(byte: u8) -> Self {
        if byte == 0 { Self::Plain } else { Self::Coinbase }
    }
}

/// A transaction: offset and body. Its id is the hash of its first kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transaction<'a> {
    /// Offset of the kernels' sum.
    pub offset: &'a [u8; 32],
    /// Inputs, outputs and kernels; at least one kernel.
    pub body: Body<'a>,
}

impl<'a> Transaction<'a> {
    /// Follows the layout; the form is told from the bytes if it is not known.
    pub(crate) fn read(
        reader: &mut Reader<'a>,
        form: Option<Form>,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let offset = reader.array()?;
        let body = Body::read(reader, form, limits.transaction_weight_max())?;
        Ok(Self { offset, body })
    }

    /// The id: the hash of the first kernel. `None` without a kernel, which does not decode.
    pub(crate) fn id(&self) -> Option<Hash> {
        self.body.kernels.first().map(|kernel| kernel.hash())
    }
}

impl<'a> Decode<'a> for Transaction<'a> {
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError> {
        let form = Form::of_version(context.version);
        let transaction = Self::read(reader, Some(form), &context.network.limits)?;
        let Body { outputs, kernels, .. } = transaction.body;
        // grin's own reader takes a transaction without kernels, and then fails on it.
        if kernels.is_empty() {
            return Err(DecodeError::NoKernel);
        }
        outputs.check_all(OutputFeatures::Plain)?;
        let coinbase = |kernel: &_| matches!(kernel, KernelFeatures::Coinbase);
        if let Some(index) = kernels.iter().position(|kernel| coinbase(&kernel.features)) {
            return Err(DecodeError::MisplacedFeatures { list: List::Kernels, index });
        }
        transaction.body.check(context.network)?;
        Ok(transaction)
    }
}

impl Encode for Transaction<'_> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        writer.bytes(self.offset);
        self.body.encode(writer, version)
    }
}

/// Inputs, outputs and kernels of a block or transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Body<'a> {
    /// Outputs of the chain that are spent.
    pub inputs: Inputs<'a>,
    /// New outputs.
    pub outputs: Outputs<'a>,
    /// Kernels.
    pub kernels: Kernels<'a>,
}

impl<'a> Body<'a> {
    pub(crate) fn read(
        reader: &mut Reader<'a>,
        form: Option<Form>,
        weight_max: u64,
    ) -> Result<Self, DecodeError> {
        let form = form.unwrap_or_else(|| Form::of_body(reader.rest()));
        let (inputs, outputs, kernels) = (reader.u64()?, reader.u64()?, reader.u64()?);
        check_weight(inputs, outputs, kernels, weight_max)?;
        Ok(Self {
            inputs: Inputs::read(reader, inputs, form)?,
            outputs: Outputs::read(reader, outputs)?,
            kernels: Kernels::read(reader, kernels, form)?,
        })
    }

    /// What it weighs against the limit of a block.
    #[must_use]
    pub const fn weight(&self) -> u64 {
        let [inputs, outputs, kernels] =
            [self.inputs.len() as u64, self.outputs.len() as u64, self.kernels.len() as u64];
        weight(inputs, outputs, kernels)
    }

    pub(crate) fn check(&self, network: &Network) -> Result<(), DecodeError> {
        self.inputs.check_order()?;
        self.outputs.check_order()?;
        check_kernels(self.kernels, network)?;
        match self.spent_output() {
            Some(output) => Err(DecodeError::NotCutThrough { output }),
            None => Ok(()),
        }
    }

    /// The first output that an input spends. The order of the inputs must have been checked.
    fn spent_output(&self) -> Option<usize> {
        let Self { inputs, outputs, .. } = self;
        let mut commits = outputs.iter().map(|output| output.commit);
        if inputs.len() <= SCANNED_INPUTS_MAX {
            return commits.position(|commit| inputs.iter().any(|input| input.commit == commit));
        }
        let marks = Marks::of(*inputs);
        commits.position(|commit| marks.perhaps(commit) && inputs.contain(commit))
    }
}

impl Encode for Body<'_> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        writer.u64(self.inputs.len() as u64);
        writer.u64(self.outputs.len() as u64);
        writer.u64(self.kernels.len() as u64);
        self.inputs.encode(writer, version)?;
        self.outputs.encode(writer, version)?;
        self.kernels.encode(writer, version)
    }
}

/// An output that a body spends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Input<'a> {
    /// What kind of output it was. Versions from 3 on do not say.
    pub features: Option<OutputFeatures>,
    /// Its commitment.
    pub commit: &'a Commitment,
}

/// The inputs of a body, in the order of the hashes of their bytes.
///
/// That order is another one with features than without.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Inputs<'a>(InputBytes<'a>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum InputBytes<'a> {
    WithFeatures(&'a [[u8; INPUT_BYTES]]),
    Commitments(&'a [Commitment]),
}

impl<'a> Inputs<'a> {
    fn read(reader: &mut Reader<'a>, count: u64, form: Form) -> Result<Self, DecodeError> {
        if form.input_has_features() {
            let list = reader.arrays::<INPUT_BYTES>(count)?;
            match list.iter().find(|input| OutputFeatures::from_byte(input[0]).is_none()) {
                Some(input) => Err(DecodeError::BadInputFeatures { features: input[0] }),
                None => Ok(Self(InputBytes::WithFeatures(list))),
            }
        } else {
            let list: &[Commitment] = reader.arrays(count)?;
            match list.iter().find(|commit| OutputFeatures::from_byte(commit[0]).is_some()) {
                Some(commit) => Err(DecodeError::AmbiguousInput { first: commit[0] }),
                None => Ok(Self(InputBytes::Commitments(list))),
            }
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.0 {
            InputBytes::WithFeatures(list) => list.len(),
            InputBytes::Commitments(list) => list.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The inputs, in the order of the message.
    pub fn iter(&self) -> impl Iterator<Item = Input<'a>> + use<'a> {
        let (full, bare): (&[[u8; INPUT_BYTES]], &[Commitment]) = match self.0 {
            InputBytes::WithFeatures(list) => (list, &[]),
            InputBytes::Commitments(list) => (&[], list),
        };
        let full = full.iter().map(|input| Input {
            features: Some(OutputFeatures::of_checked(input[0])),
            commit: commitment_at(input),
        });
        full.chain(bare.iter().map(|commit| Input { features: None, commit }))
    }

    /// Whether one has this commitment. The order must have been checked.
    fn contain(&self, commit: &Commitment) -> bool {
        match self.0 {
            InputBytes::Commitments(list) => holds(list, commit),
            InputBytes::WithFeatures(list) => [0, 1].iter().any(|features| {
                let mut input = [*features; INPUT_BYTES];
                input[1..].copy_from_slice(commit);
                holds(list, &input)
            }),
        }
    }

    fn check_order(&self) -> Result<(), DecodeError> {
        match self.0 {
            InputBytes::WithFeatures(list) => check_order(List::Inputs, list.iter()),
            InputBytes::Commitments(list) => check_order(List::Inputs, list.iter()),
        }
    }
}

impl Encode for Inputs<'_> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        match (self.0, Form::of_version(version).input_has_features()) {
            (InputBytes::WithFeatures(list), true) => writer.bytes(list.as_flattened()),
            (InputBytes::Commitments(list), false) => writer.bytes(list.as_flattened()),
            (InputBytes::WithFeatures(list), false) => {
                let mut commits: Vec<&Commitment> = list.iter().map(commitment_at).collect();
                commits.sort_by_cached_key(|commit| Hash::of(*commit));
                commits.into_iter().for_each(|commit| writer.bytes(commit));
            }
            (InputBytes::Commitments([]), true) => {}
            (InputBytes::Commitments(_), true) => {
                return Err(EncodeError::NoInputFeatures { version });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Inputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A new output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Output<'a> {
    /// What kind it is.
    pub features: OutputFeatures,
    /// Its commitment.
    pub commit: &'a Commitment,
    /// Its range proof. Not verified here.
    pub proof: &'a [u8; RANGE_PROOF_BYTES],
}

/// The outputs of a body, in the order of the hashes of their features and commitment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Outputs<'a>(&'a [[u8; OUTPUT_BYTES]]);

impl<'a> Outputs<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>, count: u64) -> Result<Self, DecodeError> {
        let list = reader.arrays::<OUTPUT_BYTES>(count)?;
        for output in list {
            if OutputFeatures::from_byte(output[0]).is_none() {
                return Err(DecodeError::BadOutputFeatures { features: output[0] });
            }
            // grin's reader takes other lengths and pads or misreads; only one is canonical.
            let length = Reader::new(&output[IDENTIFIER_BYTES..]).u64()?;
            if length != RANGE_PROOF_BYTES as u64 {
                return Err(DecodeError::BadRangeProofLength { length });
            }
        }
        Ok(Self(list))
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The outputs, in the order of the message.
    pub fn iter(&self) -> impl Iterator<Item = Output<'a>> + use<'a> {
        self.0.iter().map(|output| Output {
            features: OutputFeatures::of_checked(output[0]),
            commit: commitment_at(output),
            proof: output.last_chunk().expect("an output ends with its proof"),
        })
    }

    pub(crate) fn check_all(&self, features: OutputFeatures) -> Result<(), DecodeError> {
        match self.0.iter().position(|output| output[0] != features as u8) {
            Some(index) => Err(DecodeError::MisplacedFeatures { list: List::Outputs, index }),
            None => Ok(()),
        }
    }

    pub(crate) fn check_order(&self) -> Result<(), DecodeError> {
        check_order(List::Outputs, self.0.iter().map(|output| &output[..IDENTIFIER_BYTES]))
    }
}

impl Encode for Outputs<'_> {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.bytes(self.0.as_flattened());
        Ok(())
    }
}

impl fmt::Debug for Outputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A bit for each pair of bytes that an input's commitment may begin with. An output without its
/// bit is spent by none of the inputs, and most are told so without a search.
struct Marks([u64; 1 << 10]);

impl Marks {
    fn of(inputs: Inputs<'_>) -> Self {
        let mut marks = Self([0; 1 << 10]);
        for input in inputs.iter() {
            let (word, bit) = Self::place(input.commit);
            marks.0[word] |= bit;
        }
        marks
    }

    const fn perhaps(&self, commit: &Commitment) -> bool {
        let (word, bit) = Self::place(commit);
        self.0[word] & bit != 0
    }

    /// The first byte of a commitment is a sign and tells too little.
    const fn place(commit: &Commitment) -> (usize, u64) {
        let index = u16::from_be_bytes([commit[1], commit[2]]);
        (index as usize >> 6, 1 << (index & 63))
    }
}

/// Compares the weight of these counts with a limit, before anything is read by them.
pub(crate) const fn check_weight(
    inputs: u64,
    outputs: u64,
    kernels: u64,
    limit: u64,
) -> Result<(), DecodeError> {
    let weight = weight(inputs, outputs, kernels);
    if weight > limit { Err(DecodeError::TooHeavy { weight, limit }) } else { Ok(()) }
}

const fn weight(inputs: u64, outputs: u64, kernels: u64) -> u64 {
    inputs
        .saturating_mul(INPUT_WEIGHT)
        .saturating_add(outputs.saturating_mul(OUTPUT_WEIGHT))
        .saturating_add(kernels.saturating_mul(KERNEL_WEIGHT))
}

/// The order of kernels, and that the network has such kernels.
pub(crate) fn check_kernels(kernels: Kernels<'_>, network: &Network) -> Result<(), DecodeError> {
    check_nrd_kernels(kernels, network)?;
    check_order(List::Kernels, kernels.iter().map(|kernel| kernel.hashed_bytes()))
}

/// That the network has such kernels.
pub(crate) fn check_nrd_kernels(
    kernels: Kernels<'_>,
    network: &Network,
) -> Result<(), DecodeError> {
    let nrd = |features| matches!(features, KernelFeatures::NoRecentDuplicate { .. });
    if !network.nrd_kernels && kernels.iter().any(|kernel| nrd(kernel.features)) {
        return Err(DecodeError::NrdKernelDisabled);
    }
    Ok(())
}

/// Makes sure that the hash of each item is greater than that of the one before it.
pub(crate) fn check_order<T: AsRef<[u8]>>(
    list: List,
    items: impl Iterator<Item = T>,
) -> Result<(), DecodeError> {
    let mut items = items.fuse();
    let (mut last, mut index) = (None, 0);
    loop {
        let batch: [Option<T>; Hash::BATCH] = std::array::from_fn(|_| items.next());
        for hash in Hash::of_each(&batch).into_iter().flatten() {
            match last.cmp(&Some(hash)) {
                Ordering::Less => last = Some(hash),
                Ordering::Equal => return Err(DecodeError::Duplicate { list, index }),
                Ordering::Greater => return Err(DecodeError::Unsorted { list, index }),
            }
            index += 1;
        }
        if batch.iter().any(Option::is_none) {
            return Ok(());
        }
    }
}

/// Whether a list in the order of its hashes holds an item.
fn holds<const N: usize>(list: &[[u8; N]], item: &[u8; N]) -> bool {
    list.binary_search_by_key(&Hash::of(item), |other| Hash::of(other)).is_ok()
}

/// The commitment behind the features of an input or output.
pub(crate) fn commitment_at<const N: usize>(item: &[u8; N]) -> &Commitment {
    item[1..].first_chunk().expect("a commitment follows the features")
}
