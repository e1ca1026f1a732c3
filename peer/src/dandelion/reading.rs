//! What a transaction is known by, and when it may be mined.

use codec::{
    Context, Form, Hash, Kernel, KernelFeatures, Kind, Message, Network, Payload, PayloadFormat,
};

/// Kernels by which a transaction is known. One more would cost the loop another microsecond, and
/// who aggregates so many has long since been public.
const KEYS_MAX: usize = 256;

/// What the core reads in a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reading {
    /// What it is known by: in grin the hashes of its kernels, which an aggregate keeps; else its
    /// id alone.
    pub(crate) keys: Box<[Hash]>,
    /// The highest block that none of its kernels may be mined in; zero if none says so.
    pub(crate) lock_height: u64,
}

/// Reads a transaction, on its stem or not.
pub(crate) fn read(payload: &Payload, network: &Network) -> Reading {
    let unread = || Reading { keys: [payload.id()].into(), lock_height: 0 };
    if network.format != PayloadFormat::Grin {
        return unread();
    }
    let Some(version) = payload.forms().iter().next().map(Form::version) else { return unread() };
    let context = Context { version, network };
    let Ok(Message::Transaction(transaction) | Message::StemTransaction(transaction)) =
        Message::decode(payload.kind(), payload.body(), &context)
    else {
        return unread();
    };
    let kernels = transaction.body.kernels;
    let lock_height = |kernel: Kernel<'_>| match kernel.features {
        KernelFeatures::HeightLocked { lock_height, .. } => lock_height,
        KernelFeatures::Plain { .. }
        | KernelFeatures::Coinbase
        | KernelFeatures::NoRecentDuplicate { .. } => 0,
    };
    Reading {
        keys: kernels.iter().take(KEYS_MAX).map(|kernel| kernel.hash()).collect(),
        lock_height: kernels.iter().map(lock_height).max().unwrap_or(0),
    }
}

/// The same body as another kind: a transaction on its stem, or not.
pub(crate) fn as_kind(payload: Payload, kind: Kind, network: &Network) -> Option<Payload> {
    if payload.kind() == kind {
        return Some(payload);
    }
    Payload::seal(network, kind, payload.body()).ok()
}
