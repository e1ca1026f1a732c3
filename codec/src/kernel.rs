//! Kernels: the part of a transaction that is never cut through, and so gives it its id.

use std::fmt;

use crate::form::Form;
use crate::payload::Hash;
use crate::transaction::Commitment;
use crate::wire::{DecodeError, Encode, EncodeError, Reader, Writer};

/// Bytes of the features of a kernel in the form of version 1, fields included.
const FEATURES_BYTES_MAX: usize = 17;

/// Bytes of the excess and the signature.
const PROOF_OF_SUM_BYTES: usize = 33 + 64;

/// Bytes of a kernel in the form of version 1, which is also what its hash covers.
pub(crate) const KERNEL_BYTES_MAX: usize = FEATURES_BYTES_MAX + PROOF_OF_SUM_BYTES;

/// Highest relative height: a week of blocks.
const RELATIVE_HEIGHT_MAX: u16 = 10_080;

/// What a kernel promises, by its features byte.
///
/// A fee is packed as grin packs it: 40 bits of fee, then 4 bits of shift, then 20 unused bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelFeatures {
    /// A fee, and nothing else.
    Plain {
        /// Packed fee.
        fee: u64,
    },
    /// The reward of a block.
    Coinbase,
    /// Not to be mined before a height.
    HeightLocked {
        /// Packed fee.
        fee: u64,
        /// First height that it may be mined at, minus one.
        lock_height: u64,
    },
    /// Not to be mined within some blocks of a kernel with the same excess.
    NoRecentDuplicate {
        /// Packed fee.
        fee: u64,
        /// Blocks that must lie between, 1 to 10,080.
        relative_height: u16,
    },
}

impl KernelFeatures {
    const PLAIN: u8 = 0;
    const COINBASE: u8 = 1;
    const HEIGHT_LOCKED: u8 = 2;
    const NO_RECENT_DUPLICATE: u8 = 3;

    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, DecodeError> {
        let features = reader.u8()?;
        let padding = |reader: &mut Reader<'_>, count| {
            if form.kernel_is_fixed() && reader.bytes(count)?.iter().any(|byte| *byte != 0) {
                return Err(DecodeError::KernelPadding { features });
            }
            Ok(())
        };
        match features {
            Self::PLAIN => {
                let fee = reader.u64()?;
                padding(reader, 8)?;
                Ok(Self::Plain { fee })
            }
            Self::COINBASE => {
                padding(reader, 16)?;
                Ok(Self::Coinbase)
            }
            Self::HEIGHT_LOCKED => {
                Ok(Self::HeightLocked { fee: reader.u64()?, lock_height: reader.u64()? })
            }
            Self::NO_RECENT_DUPLICATE => {
                let fee = reader.u64()?;
                padding(reader, 6)?;
                let relative_height = reader.u16()?;
                if relative_height == 0 || relative_height > RELATIVE_HEIGHT_MAX {
                    return Err(DecodeError::BadRelativeHeight { blocks: relative_height });
                }
                Ok(Self::NoRecentDuplicate { fee, relative_height })
            }
            features => Err(DecodeError::BadKernelFeatures { features }),
        }
    }

    /// The fields in the form of version 1.
    fn fixed(self) -> [u8; FEATURES_BYTES_MAX] {
        let mut bytes = [0; FEATURES_BYTES_MAX];
        let (features, fee) = match self {
            Self::Plain { fee } => (Self::PLAIN, fee),
            Self::Coinbase => (Self::COINBASE, 0),
            Self::HeightLocked { fee, lock_height } => {
                bytes[9..].copy_from_slice(&lock_height.to_be_bytes());
                (Self::HEIGHT_LOCKED, fee)
            }
            Self::NoRecentDuplicate { fee, relative_height } => {
                bytes[15..].copy_from_slice(&relative_height.to_be_bytes());
                (Self::NO_RECENT_DUPLICATE, fee)
            }
        };
        bytes[0] = features;
        bytes[1..9].copy_from_slice(&fee.to_be_bytes());
        bytes
    }

    fn write(self, writer: &mut Writer<'_>, form: Form) {
        let fixed = self.fixed();
        if form.kernel_is_fixed() {
            return writer.bytes(&fixed);
        }
        match self {
            Self::Plain { .. } => writer.bytes(&fixed[..9]),
            Self::Coinbase => writer.bytes(&fixed[..1]),
            Self::HeightLocked { .. } => writer.bytes(&fixed),
            Self::NoRecentDuplicate { .. } => {
                writer.bytes(&fixed[..9]);
                writer.bytes(&fixed[15..]);
            }
        }
    }
}

/// One kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kernel<'a> {
    /// What it promises.
    pub features: KernelFeatures,
    /// The excess of outputs over inputs.
    pub excess: &'a Commitment,
    /// The signature by the excess. Not verified here.
    pub signature: &'a [u8; 64],
}

impl<'a> Kernel<'a> {
    fn read(reader: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {
        Ok(Self {
            features: KernelFeatures::read(reader, form)?,
            excess: reader.array()?,
            signature: reader.array()?,
        })
    }

    /// BLAKE2b-256 of the form of version 1, whatever form came: the id of a transaction.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(&self.hashed_bytes())
    }

    /// The form of version 1.
    pub(crate) fn hashed_bytes(&self) -> [u8; KERNEL_BYTES_MAX] {
        let mut bytes = [0; KERNEL_BYTES_MAX];
        bytes[..17].copy_from_slice(&self.features.fixed());
        bytes[17..50].copy_from_slice(self.excess);
        bytes[50..].copy_from_slice(self.signature);
        bytes
    }
}

/// The kernels of a body or segment, each read without an error once.
#[derive(Clone, Copy)]
pub struct Kernels<'a> {
    count: usize,
    bytes: &'a [u8],
    form: Form,
}

impl<'a> Kernels<'a> {
    /// Reads as many as `count`, which the caller has bounded.
    pub(crate) fn read(
        reader: &mut Reader<'a>,
        count: u64,
        form: Form,
    ) -> Result<Self, DecodeError> {
        let bytes = reader.rest();
        for _ in 0..count {
            Kernel::read(reader, form)?;
        }
        let bytes = &bytes[..bytes.len() - reader.rest().len()];
        Ok(Self { count: count as usize, bytes, form })
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first one, whose hash is the id of a transaction.
    #[must_use]
    pub fn first(&self) -> Option<Kernel<'a>> {
        self.iter().next()
    }

    /// The kernels, in the order of the message; in a body that of their hashes.
    pub fn iter(&self) -> impl Iterator<Item = Kernel<'a>> + use<'a> {
        let (mut reader, form) = (Reader::new(self.bytes), self.form);
        std::iter::from_fn(move || {
            if reader.rest().is_empty() { None } else { Kernel::read(&mut reader, form).ok() }
        })
    }
}

impl Encode for Kernels<'_> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        let form = Form::of_version(version);
        if form.kernel_is_fixed() == self.form.kernel_is_fixed() {
            writer.bytes(self.bytes);
            return Ok(());
        }
        // In a body the order is that of the hashes, and these are the same in every form.
        for kernel in self.iter() {
            kernel.features.write(writer, form);
            writer.bytes(kernel.excess);
            writer.bytes(kernel.signature);
        }
        Ok(())
    }
}

impl PartialEq for Kernels<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Kernels<'_> {}

impl fmt::Debug for Kernels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [KernelFeatures; 4] = [
        KernelFeatures::Plain { fee: 0x0102_0304_0506_0708 },
        KernelFeatures::Coinbase,
        KernelFeatures::HeightLocked { fee: 7, lock_height: 0x1112_1314_1516_1718 },
        KernelFeatures::NoRecentDuplicate { fee: 9, relative_height: 10_080 },
    ];

    fn written(features: KernelFeatures, form: Form) -> Vec<u8> {
        let mut bytes = Vec::new();
        features.write(&mut Writer::new(&mut bytes), form);
        bytes
    }

    #[test]
    fn features_have_the_length_of_their_form() {
        let lengths = |form| KINDS.map(|features| written(features, form).len());
        assert_eq!(lengths(Form::V1), [17; 4]);
        assert_eq!(lengths(Form::V2), [9, 1, 17, 11]);
        assert_eq!(lengths(Form::V3), lengths(Form::V2));
    }

    #[test]
    fn features_come_back_in_every_form() {
        for form in [Form::V1, Form::V2, Form::V3] {
            for features in KINDS {
                let bytes = written(features, form);
                let mut reader = Reader::new(&bytes);
                assert_eq!(KernelFeatures::read(&mut reader, form), Ok(features));
                assert_eq!(reader.finish(), Ok(()));
            }
        }
    }

    #[test]
    fn unused_bytes_must_be_zero() {
        for (features, padded) in [(0, 9..17), (1, 1..17), (3, 9..15)] {
            for at in padded {
                let mut bytes = [0; 17];
                bytes[0] = features;
                bytes[16] = u8::from(features == 3);
                assert!(KernelFeatures::read(&mut Reader::new(&bytes), Form::V1).is_ok());
                bytes[at] = 1;
                let read = KernelFeatures::read(&mut Reader::new(&bytes), Form::V1);
                assert_eq!(read, Err(DecodeError::KernelPadding { features }), "byte {at}");
            }
        }
    }

    #[test]
    fn a_relative_height_is_at_most_a_week() {
        for blocks in [0, 10_081, u16::MAX] {
            let features = KernelFeatures::NoRecentDuplicate { fee: 0, relative_height: blocks };
            let bytes = written(features, Form::V3);
            let read = KernelFeatures::read(&mut Reader::new(&bytes), Form::V3);
            assert_eq!(read, Err(DecodeError::BadRelativeHeight { blocks }));
        }
        let read = KernelFeatures::read(&mut Reader::new(&[4]), Form::V3);
        assert_eq!(read, Err(DecodeError::BadKernelFeatures { features: 4 }));
    }
}
