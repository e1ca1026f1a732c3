//! What a remote can do wrong, and what follows.

use std::net::SocketAddr;
use std::time::Duration;

use codec::{DecodeError, FrameError, Hash, Kind};

use crate::event::CloseReason;

/// The remote broke the rules. The type decides the consequence: see [`Fault::reason`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// Bytes that are not a frame of this network.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A body that does not decode.
    #[error("{kind:?}: {error}")]
    Malformed {
        /// Of which message.
        kind: Kind,
        /// What was wrong with it.
        error: DecodeError,
    },
    /// A message that must not come in this phase.
    #[error("{0:?} must not come now")]
    UnexpectedKind(Kind),
    /// A message of an unknown kind where only a greeting may come.
    #[error("a message of an unknown kind before the greeting")]
    UnknownKind,
    /// An answer that nobody asked for.
    #[error("{0:?} was not asked for")]
    Unsolicited(Kind),
    /// Another chain.
    #[error("genesis {0}")]
    WrongGenesis(Hash),
    /// Our own nonce came back, that of our dial to this address.
    #[error("we dialled ourselves at {0}")]
    Myself(SocketAddr),
    /// No greeting in time.
    #[error("no greeting within {0:?}")]
    HandshakeTimeout(Duration),
    /// A frame that was begun and not finished.
    #[error("frame unfinished after {0:?}")]
    FrameTimeout(Duration),
    /// Nothing came for too long.
    #[error("silent for {0:?}")]
    Silent(Duration),
    /// Bytes came, but no answer to any of our pings for too long.
    #[error("no pong for {0:?}")]
    NoPong(Duration),
    /// The assembly memory is used up, and its frame got on slowest.
    #[error("assembly memory is used up")]
    AssemblyFull,
    /// Small messages far beyond their rate: so many were passed over.
    #[error("{0} messages beyond the rate")]
    Flooding(u64),
    /// An envelope that did not hold what it said.
    #[error("an envelope of {kind:?} {id} held something else")]
    BadEnvelope {
        /// What it was to hold.
        kind: Kind,
        /// Its id.
        id: Hash,
    },
    /// An archive of more bytes than we take.
    #[error("an archive of {0} bytes")]
    ArchiveTooLong(u64),
}

impl Fault {
    /// Why the connection ends for this fault.
    #[must_use]
    pub const fn reason(&self) -> CloseReason {
        match self {
            Self::Frame(FrameError::WrongMagic { .. }) => CloseReason::WrongMagic,
            Self::Frame(FrameError::BodyTooLong { .. }) => CloseReason::OversizeFrame,
            Self::Malformed { error: DecodeError::TrailingBytes { .. }, .. } => {
                CloseReason::TrailingBytes
            }
            Self::Malformed { error: DecodeError::ListTooLong { .. }, .. } => {
                CloseReason::ListTooLong
            }
            Self::Malformed { .. } => CloseReason::Malformed,
            Self::UnexpectedKind(_) | Self::UnknownKind => CloseReason::UnexpectedKind,
            Self::Unsolicited(_) => CloseReason::Unsolicited,
            Self::WrongGenesis(_) => CloseReason::WrongGenesis,
            Self::Myself(_) => CloseReason::Myself,
            Self::HandshakeTimeout(_) => CloseReason::HandshakeTimeout,
            Self::FrameTimeout(_) => CloseReason::FrameTimeout,
            Self::Silent(_) | Self::NoPong(_) => CloseReason::Silent,
            Self::AssemblyFull => CloseReason::AssemblyFull,
            Self::Flooding(_) => CloseReason::Flooding,
            Self::BadEnvelope { .. } => CloseReason::BadEnvelope,
            Self::ArchiveTooLong(_) => CloseReason::OversizeFrame,
        }
    }

    /// How much of [`Config::discouragement`](crate::Config::discouragement) follows. Only what the
    /// remote alone can have done; none of it is proof enough for a ban.
    pub(crate) const fn displeasure(&self, established: bool) -> Displeasure {
        match self {
            Self::Frame(FrameError::WrongMagic { .. }) if !established => Displeasure::Brief,
            Self::WrongGenesis(_) => Displeasure::Brief,
            Self::Frame(_)
            | Self::Malformed { .. }
            | Self::UnexpectedKind(_)
            | Self::UnknownKind
            | Self::Unsolicited(_)
            | Self::Flooding(_)
            | Self::BadEnvelope { .. }
            | Self::ArchiveTooLong(_) => Displeasure::Whole,
            Self::Myself(_)
            | Self::HandshakeTimeout(_)
            | Self::FrameTimeout(_)
            | Self::Silent(_)
            | Self::NoPong(_)
            | Self::AssemblyFull => Displeasure::None,
        }
    }
}

/// For how long a host is discouraged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Displeasure {
    /// Not at all: a slow line and a full house are nobody's fault.
    None,
    /// [`DISCOURAGEMENT_BRIEF`]: another network, which may be an honest mistake.
    Brief,
    /// As configured.
    Whole,
}

/// How long a host of another network is discouraged. Guess: longer than its next few dials.
pub(crate) const DISCOURAGEMENT_BRIEF: Duration = Duration::from_secs(60);
