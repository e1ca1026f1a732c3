//! What the protocol version changes in a body: its form.
//!
//! | version | inputs | features of a kernel |
//! |---|---|---|
//! | 0, 1 | features and commitment, 34 bytes | always 17 bytes |
//! | 2 | features and commitment, 34 bytes | 1, 9, 11 or 17 bytes |
//! | 3 and more | commitment, 33 bytes | 1, 9, 11 or 17 bytes |
//!
//! Headers, outputs and all other messages have one form only.
//!
//! [`Form::of_body`] tells the form from the bytes, so that an id needs no version. It is exact for
//! every body that decodes:
//!
//! - The first byte of an input is 0 or 1 if it is its features, and never if it is a commitment
//!   ([`DecodeError::AmbiguousInput`](crate::DecodeError::AmbiguousInput)).
//! - With the length of inputs and outputs known, what remains is kernels. `n` of them fill
//!   `114 n` bytes in the first form, and in the other ones only if all are height locked, a
//!   kernel that has the same bytes in every form.

use std::fmt;

use crate::kernel::KERNEL_BYTES_MAX;
use crate::transaction::{INPUT_BYTES, OUTPUT_BYTES, SHORT_ID_BYTES};
use crate::wire::Reader;

/// One of the three forms of a body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Form {
    /// Versions 0 and 1.
    V1,
    /// Version 2.
    V2,
    /// Versions from 3 on.
    V3,
}

impl Form {
    /// All forms, the oldest first.
    pub const ALL: [Self; 3] = [Self::V1, Self::V2, Self::V3];

    /// The first version of the form, which stands for all of them.
    #[must_use]
    pub const fn version(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }

    /// The form that peers of this version exchange.
    #[must_use]
    pub const fn of_version(version: u32) -> Self {
        match version {
            0 | 1 => Self::V1,
            2 => Self::V2,
            _ => Self::V3,
        }
    }

    /// The form of a body of a block or transaction, which has all of `bytes`.
    pub(crate) fn of_body(bytes: &[u8]) -> Self {
        let mut reader = Reader::new(bytes);
        let (Ok(inputs), Ok(outputs), Ok(kernels)) = (reader.u64(), reader.u64(), reader.u64())
        else {
            return Self::V3;
        };
        let rest = reader.rest();
        if inputs > 0 && rest.first().is_none_or(|first| *first > 1) {
            return Self::V3;
        }
        let before = inputs
            .saturating_mul(INPUT_BYTES as u64)
            .saturating_add(outputs.saturating_mul(OUTPUT_BYTES as u64));
        Self::of_kernels(kernels, (rest.len() as u64).checked_sub(before))
    }

    /// The form of a compact block, of which `bytes` are all from the count of outputs on.
    pub(crate) fn of_compact(bytes: &[u8]) -> Self {
        let mut reader = Reader::new(bytes);
        let (Ok(outputs), Ok(kernels), Ok(ids)) = (reader.u64(), reader.u64(), reader.u64()) else {
            return Self::V3;
        };
        let around = outputs
            .saturating_mul(OUTPUT_BYTES as u64)
            .saturating_add(ids.saturating_mul(SHORT_ID_BYTES as u64));
        Self::of_kernels(kernels, (reader.rest().len() as u64).checked_sub(around))
    }

    const fn of_kernels(kernels: u64, bytes: Option<u64>) -> Self {
        match bytes {
            Some(bytes) if bytes == kernels.saturating_mul(KERNEL_BYTES_MAX as u64) => Self::V1,
            Some(_) | None => Self::V2,
        }
    }

    /// Whether inputs carry the features of the output that they spend.
    pub(crate) const fn input_has_features(self) -> bool {
        match self {
            Self::V1 | Self::V2 => true,
            Self::V3 => false,
        }
    }

    /// Whether kernels of all features have the same length.
    pub(crate) const fn kernel_is_fixed(self) -> bool {
        match self {
            Self::V1 => true,
            Self::V2 | Self::V3 => false,
        }
    }
}

/// A set of forms: those that a body may be read in. More than one if their bytes are the same, as
/// of a header, or of a body with neither inputs nor kernels that differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Forms(u8);

impl Forms {
    /// Every form.
    pub const ALL: Self = Self(0b111);

    /// Whether the form is one of them.
    #[must_use]
    pub const fn contains(self, form: Form) -> bool {
        self.0 & 1 << form as u8 != 0
    }

    /// The forms, the oldest first.
    pub fn iter(self) -> impl Iterator<Item = Form> {
        Form::ALL.into_iter().filter(move |form| self.contains(*form))
    }
}

impl FromIterator<Form> for Forms {
    fn from_iter<I: IntoIterator<Item = Form>>(forms: I) -> Self {
        Self(forms.into_iter().fold(0, |set, form| set | 1 << form as u8))
    }
}

impl fmt::Debug for Forms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
