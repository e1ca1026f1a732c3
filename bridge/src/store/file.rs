//! The file: who may have it, whether it is ours and sound, and what to do with it if not.
//!
//! One engine at a time has it, by a lock on a file beside it: a lock on the file itself would
//! keep out an operator's shell, too, and closing a second descriptor of the file would silently
//! drop SQLite's own locks. All files are for their owner's eyes only.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use peer::{Restored, UnixTime};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::notice::{Failure, MemoryReason, Skipped, StoreNotice, Trouble, Unfit};
use super::pending::Pending;
use super::schema;

/// Mode of every file of the store: addresses tell whom we know, the secret where they are kept.
const MODE: u32 = 0o600;

/// How long we wait for whoever has the database locked. An operator's query does not lock us out,
/// a transaction that writes does.
const LOCK_PATIENCE: Duration = Duration::from_millis(250);

/// The log is cut to this length when it was longer: some transactions of a full lane.
const LOG_BYTES_MAX: u32 = 8 << 20;

/// Least page of SQLite.
const PAGE_BYTES_MIN: u64 = 512;

/// What SQLite puts beside a database, by the ends of their names.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The file that is locked, by the end of its name.
const LOCK_END: &str = ".lock";

/// Tries for a free name of a file that is set aside.
const NAMES_MAX: u64 = 1_000;

/// The file, open for writing, and ours alone.
pub(super) struct StoreFile {
    conn: Connection,
    /// Unlocked when the connection is closed, and so declared after it.
    _lock: File,
}

/// What was found in the file.
#[derive(Default)]
pub(super) struct Found {
    pub(super) restored: Restored,
    pub(super) notices: Vec<StoreNotice>,
}

/// Opens the file and reads it. What is there and cannot be used is set aside.
pub(super) fn open(path: &Path, now: UnixTime) -> Result<(StoreFile, Found), Trouble> {
    check_is_file(path)?;
    let lock = lock(path)?;
    let mut notices = Vec::new();
    let (conn, restored, skipped) = match load(path) {
        Ok(loaded) => loaded,
        Err(Failure::Trouble(trouble)) => return Err(trouble),
        Err(Failure::Unfit(why)) => {
            let kept = set_aside(path, now)?;
            notices.push(StoreNotice::SetAside { path: path.to_owned(), why, kept });
            load(path).map_err(|failure| match failure {
                Failure::Trouble(trouble) => trouble,
                Failure::Unfit(why) => {
                    Trouble { reason: MemoryReason::Failed, detail: why.to_string() }
                }
            })?
        }
    };
    if !skipped.is_none() {
        notices.push(StoreNotice::Skipped { path: path.to_owned(), skipped });
    }
    Ok((StoreFile { conn, _lock: lock }, Found { restored, notices }))
}

/// Reads a file that cannot be opened for writing, such as one on a full disk, as it was when its
/// log was last brought in. Nobody may be writing it.
pub(super) fn glimpse(path: &Path) -> Option<Restored> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let name = path.to_str()?.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let conn = Connection::open_with_flags(format!("file:{name}?immutable=1"), flags).ok()?;
    if !matches!(identify(&conn), Ok(schema::VERSION)) || check(&conn).is_err() {
        return None;
    }
    schema::read(&conn).ok().map(|(restored, _)| restored)
}

impl StoreFile {
    /// Writes everything that waits in one transaction.
    pub(super) fn write(&mut self, pending: &Pending) -> Result<(), Trouble> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.conn.transaction_with_behavior(behavior)?;
        schema::write(&transaction, pending)?;
        Ok(transaction.commit()?)
    }

    /// For tests: the disk is full when the file has so many pages.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: u32) {
        self.conn.execute_batch(&format!("PRAGMA max_page_count = {pages}")).unwrap();
    }
}

/// Whether there is a file, or can be one: nothing is created beside what is none.
fn check_is_file(path: &Path) -> Result<(), Trouble> {
    let refused = |detail: &str| Trouble { reason: MemoryReason::Refused, detail: detail.into() };
    if path.file_name().is_none() {
        return Err(refused("the path names no file"));
    }
    match fs::metadata(path) {
        Ok(data) if !data.is_file() => Err(refused("there is something, and no file")),
        _ => Ok(()),
    }
}

fn lock(path: &Path) -> Result<File, Trouble> {
    let options = File::options().write(true).create(true).mode(MODE).clone();
    let file = options.open(beside(path, LOCK_END))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let detail = String::from("its lock is held");
            Err(Trouble { reason: MemoryReason::InUse, detail })
        }
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn load(path: &Path) -> Result<(Connection, Restored, Skipped), Failure> {
    make_private(path)?;
    // SQLite takes a file that is shorter than a page for an empty one.
    if (1..PAGE_BYTES_MIN).contains(&fs::metadata(path)?.len()) {
        return Err(Failure::Unfit(Unfit::Corrupt(String::from("shorter than any database"))));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(LOCK_PATIENCE)?;
    // A file may have been tampered with: nothing that its schema says is carried out.
    conn.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    let version = identify(&conn).map_err(|failure| unless_used(&conn, failure))?;
    check(&conn)?;
    // Only now, for it writes. A file system that cannot do it keeps SQLite's older journal.
    conn.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
         PRAGMA journal_size_limit = {LOG_BYTES_MAX};"
    ))?;
    schema::migrate(&mut conn, version)?;
    schema::trim(&conn)?;
    let (restored, skipped) = schema::read(&conn)?;
    Ok((conn, restored, skipped))
}

/// Creates the file if it is not there, and hides it from others if they could read it. SQLite
/// gives its own files the mode of the database.
fn make_private(path: &Path) -> io::Result<()> {
    match File::options().write(true).create_new(true).mode(MODE).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let others = [path.to_owned(), beside(path, LOCK_END)];
    for path in companions(path).into_iter().chain(others) {
        match fs::metadata(&path) {
            Ok(data) if !data.is_file() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(data) if data.permissions().mode() & 0o777 == MODE => {}
            Ok(_) => fs::set_permissions(&path, Permissions::from_mode(MODE))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The version of the schema; zero if the file is empty.
fn identify(conn: &Connection) -> Result<i32, Failure> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application_id, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: u32 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application_id, version) {
        (schema::APPLICATION_ID, 1..=schema::VERSION) => Ok(version),
        (schema::APPLICATION_ID, version) => Err(Failure::Unfit(Unfit::Newer(version))),
        (0, 0) if tables == 0 => Ok(0),
        _ => Err(Failure::Unfit(Unfit::Foreign { application_id })),
    }
}

/// What another program has open cannot be renamed under its hands: then this is the trouble.
fn unless_used(conn: &Connection, failure: Failure) -> Failure {
    if !matches!(failure, Failure::Unfit(Unfit::Foreign { .. })) {
        return failure;
    }
    // Changes nothing, and is refused while anybody else reads or writes.
    match conn.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; ROLLBACK") {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            Failure::Trouble(error.into())
        }
        _ => failure,
    }
}

fn check(conn: &Connection) -> Result<(), Failure> {
    let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Failure::Unfit(Unfit::Corrupt(verdict))) }
}

/// Renames the file and what lies beside it, so that they still belong together, and nothing that
/// was set aside before is overwritten.
fn set_aside(path: &Path, now: UnixTime) -> io::Result<PathBuf> {
    for secs in now.secs()..now.secs().saturating_add(NAMES_MAX) {
        let kept = beside(path, &format!(".set-aside-{secs}"));
        if kept.try_exists()? {
            continue;
        }
        // The file itself last: whatever ends us before it, the next start finds and sets aside.
        for (from, to) in companions(path).into_iter().zip(companions(&kept)) {
            match fs::rename(from, to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(path, &kept)?;
        return Ok(kept);
    }
    Err(io::Error::other("too many files were set aside"))
}

fn companions(path: &Path) -> [PathBuf; 3] {
    COMPANIONS.map(|end| beside(path, end))
}

/// The path with something after its name.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
