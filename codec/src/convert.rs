//! A body of one protocol version, rewritten for peers of another.
//!
//! | from | to | what changes |
//! |---|---|---|
//! | 0, 1 | 2 | kernels lose the padding of their features |
//! | 2 | 0, 1 | kernels are padded |
//! | 0 to 2 | 3 and more | inputs lose their features, and are sorted anew by what is left |
//! | 3 and more | 0 to 2 | nothing can give inputs their features: only bodies without inputs go |
//!
//! A relay calls it when its peers speak several versions, once for each form. Invariant: what
//! comes out is canonical at its version, and has the same id if it is a payload.

use std::borrow::Cow;

use crate::block::{Block, CompactBlock};
use crate::form::{Form, Forms};
use crate::format::check;
use crate::frame::Kind;
use crate::limits::Limits;
use crate::message::Message;
use crate::network::Network;
use crate::payload::SealError;
use crate::segment::KernelSegment;
use crate::transaction::Transaction;
use crate::wire::{Context, DecodeError, EncodeError, Reader};

/// Why a body has no form at another version. Nobody's fault, unless the body was never checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotConvertible {
    /// The body is not canonical at the version that it is of; or would not be at the one wanted,
    /// as inputs that differ only in their features are one input without them.
    #[error("not canonical at version {version}")]
    NotCanonical {
        /// The version.
        version: u32,
        /// The rule that is broken.
        #[source]
        error: DecodeError,
    },
    /// The body is not laid out as its kind in any form.
    #[error("in no form of its kind")]
    Unreadable,
    /// The version cannot express it.
    #[error(transparent)]
    NotExpressible(#[from] EncodeError),
}

/// Rewrites a body of `kind`, canonical at `from_version`, for peers of `to_version`. Borrowed if
/// nothing changes: within a form, for kinds that have one form only, on networks of opaque bodies.
///
/// ```
/// use codec::{Kind, Network, convert};
/// let (network, body) = (Network::DEV, b"whatever it means");
/// let same = convert(Kind::Transaction, body, 1000, 2, &network).unwrap();
/// assert_eq!(*same, body[..]);
/// ```
///
/// # Errors
///
/// [`NotConvertible`]. Most often [`EncodeError::NoInputFeatures`]: a body with inputs, of a
/// version from 3 on, for one up to 2.
pub fn convert<'a>(
    kind: Kind,
    body: &'a [u8],
    from_version: u32,
    to_version: u32,
    network: &Network,
) -> Result<Cow<'a, [u8]>, NotConvertible> {
    let (from, to) = (Form::of_version(from_version), Form::of_version(to_version));
    if network.format.is_opaque() || from == to || !has_forms(kind) {
        return Ok(Cow::Borrowed(body));
    }
    let not_canonical = |version| move |error| NotConvertible::NotCanonical { version, error };
    let context = Context { version: from_version, network };
    let message = Message::decode(kind, body, &context).map_err(not_canonical(from_version))?;
    let mut written = Vec::with_capacity(body.len());
    message.encode_body(to_version, &mut written)?;
    let (length, limit) = (written.len() as u64, network.limits.body_bytes_max(kind));
    if length > limit {
        return Err(EncodeError::TooLong(SealError { kind, length, limit }).into());
    }
    if from.input_has_features() && !to.input_has_features() {
        check(kind, &written, to_version, network).map_err(not_canonical(to_version))?;
    }
    Ok(Cow::Owned(written))
}

/// Whether bodies of this kind differ between versions.
const fn has_forms(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Block
            | Kind::CompactBlock
            | Kind::StemTransaction
            | Kind::Transaction
            | Kind::KernelSegment
    )
}

/// The forms that a body is laid out in.
pub(crate) fn forms(kind: Kind, body: &[u8], limits: &Limits) -> Forms {
    if !has_forms(kind) {
        return Forms::ALL;
    }
    let is_of = |form| {
        let reader = &mut Reader::new(body);
        let read = match kind {
            Kind::Block => Block::read(reader, Some(form), limits).map(drop),
            Kind::CompactBlock => CompactBlock::read(reader, Some(form), limits).map(drop),
            Kind::KernelSegment => KernelSegment::read_form(reader, form).map(drop),
            _ => Transaction::read(reader, Some(form), limits).map(drop),
        };
        read.is_ok() && reader.rest().is_empty()
    };
    Form::ALL.into_iter().filter(|form| is_of(*form)).collect()
}
