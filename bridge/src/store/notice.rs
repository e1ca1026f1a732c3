//! What a store has to tell when it did not open as it should, or cannot write.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rusqlite::{ErrorCode, ffi};

/// Something to tell the operator about the store's file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreNotice {
    /// The file could not be used. It lies beside under another name, and a fresh one was begun.
    #[error("{}: {why}; set aside as {}, a fresh store is begun", path.display(), kept.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: Unfit,
        /// Where it is now.
        kept: PathBuf,
    },
    /// Records that make no sense were passed over. They stay in the file.
    #[error("{}: passed over what could not be read: {skipped}", path.display())]
    Skipped {
        /// The file.
        path: PathBuf,
        /// How many records of each sort.
        skipped: Skipped,
    },
    /// The file cannot be written: nothing is kept for the next start, until it can.
    #[error("{}: {reason} ({detail}); addresses and bans are in memory only", path.display())]
    InMemory {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: MemoryReason,
        /// What the system said.
        detail: String,
    },
}

/// Why a file cannot be the store.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfit {
    /// It is damaged, or no database at all.
    #[error("the file is damaged or no database: {0}")]
    Corrupt(String),
    /// It is the database of another program.
    #[error("the database belongs to another program (application id {application_id:#x})")]
    Foreign {
        /// What it says of itself; zero: nothing.
        application_id: i32,
    },
    /// A later version of this program made it.
    #[error("the store has version {0}, newer than this program knows")]
    Newer(i32),
}

/// Records that were passed over.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Skipped {
    /// Addresses.
    pub addresses: u64,
    /// Bans.
    pub bans: u64,
    /// Anchors.
    pub anchors: u64,
    /// Secrets.
    pub secrets: u64,
}

impl Skipped {
    /// Whether there were any.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addresses, bans, anchors, secrets } = self;
        write!(f, "{addresses} addresses, {bans} bans, {anchors} anchors, {secrets} secrets")
    }
}

/// Why a store is in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[repr(u8)]
pub enum MemoryReason {
    /// No file was asked for.
    #[error("no file is configured")]
    NoPath,
    /// Another engine has this file.
    #[error("another engine uses this file")]
    InUse,
    /// The system does not let us: no such directory, no permission, a read-only file system.
    #[error("the file cannot be opened or written")]
    Refused,
    /// The disk is full, or the quota.
    #[error("the disk is full")]
    Full,
    /// Somebody holds the database locked, such as an operator's shell within a transaction.
    #[error("the database is locked by somebody else")]
    Locked,
    /// The disk fails, or what is on it.
    #[error("the file cannot be written")]
    Failed,
    /// The store's thread could not start, or has ended.
    #[error("the store's thread is not there")]
    NoThread,
}

impl MemoryReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::NoPath,
        Self::InUse,
        Self::Refused,
        Self::Full,
        Self::Locked,
        Self::Failed,
        Self::NoThread,
    ];

    /// The name in counters: lower case, words joined by underscores.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoPath => "no_path",
            Self::InUse => "in_use",
            Self::Refused => "refused",
            Self::Full => "full",
            Self::Locked => "locked",
            Self::Failed => "failed",
            Self::NoThread => "no_thread",
        }
    }
}

/// The file cannot be used now; that may pass.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) reason: MemoryReason,
    pub(super) detail: String,
}

/// What went wrong with a file.
#[derive(Debug)]
pub(super) enum Failure {
    /// The file itself is of no use.
    Unfit(Unfit),
    /// The file may be good.
    Trouble(Trouble),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => MemoryReason::Full,
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem => MemoryReason::Refused,
            _ => MemoryReason::Failed,
        };
        Self { reason, detail: error.to_string() }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        let shared_memory = Some(ffi::SQLITE_IOERR_SHMSIZE);
        let reason = match error.sqlite_error_code() {
            // No room for the index of the write-ahead log.
            _ if error.sqlite_extended_error_code() == shared_memory => MemoryReason::Full,
            Some(ErrorCode::DiskFull) => MemoryReason::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => MemoryReason::Locked,
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                MemoryReason::Refused
            }
            _ => MemoryReason::Failed,
        };
        Self { reason, detail: error.to_string() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Trouble(error.into())
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // Damage, or tables that are not ours. None: a value that is not what we asked for.
            None
            | Some(
                ErrorCode::NotADatabase
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::Unknown
                | ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::TooBig,
            ) => Self::Unfit(Unfit::Corrupt(error.to_string())),
            _ => Self::Trouble(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_listed_in_their_order_and_have_names_of_their_own() {
        for (index, reason) in MemoryReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            let same = MemoryReason::ALL.iter().filter(|other| other.name() == reason.name());
            assert_eq!(same.count(), 1);
        }
    }
}
