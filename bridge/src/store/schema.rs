//! The tables, and how records become rows and rows records. Documented in `docs/store.md`.
//!
//! Everything is to be read by people: addresses, causes and message names are text, times whole
//! seconds since 1970. A row that makes no sense is passed over and counted, never an error.

use std::net::{IpAddr, SocketAddr};

use codec::{Capabilities, Kind};
use peer::{
    AddressRecord, Ban, BanCause, BanTarget, Decider, Evidence, Restored, UnixTime, canonical,
};
use rusqlite::types::FromSql;
use rusqlite::{Connection, Row, Transaction, params};

use super::notice::Skipped;
use super::pending::{ADDRESSES_MAX, ANCHORS_MAX, BANS_MAX, Pending};

/// The mark of our files among SQLite's: "Molv".
pub(super) const APPLICATION_ID: i32 = 0x4d6f_6c76;

/// The version of the schema that this program writes.
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// What leads from each version to the next. A released one is never edited.
const MIGRATIONS: [&str; 2] = [
    "CREATE TABLE addresses (
  addr         TEXT PRIMARY KEY, -- where it listens: IP:port
  source       TEXT NOT NULL,    -- IP of who told us first
  tried        INTEGER NOT NULL, -- 1: a handshake that we had dialled succeeded
  capabilities INTEGER NOT NULL, -- bits, as on the wire
  last_seen    INTEGER NOT NULL, -- this and all times: seconds since 1970
  last_attempt INTEGER NOT NULL, -- our last dial; 0: never
  last_success INTEGER NOT NULL, -- our last handshake; 0: never
  failures     INTEGER NOT NULL  -- failed dials since then
) STRICT, WITHOUT ROWID;
CREATE TABLE bans (
  target     TEXT PRIMARY KEY, -- IP, IP/prefix, or IP:port on loopback
  cause      TEXT NOT NULL,
  decided_by TEXT NOT NULL,    -- 'rule' or 'operator'
  started    INTEGER NOT NULL,
  ends       INTEGER NOT NULL,
  message    TEXT,             -- evidence: the message concerned
  bytes      INTEGER NOT NULL, -- evidence: its bytes
  note       TEXT NOT NULL     -- evidence: ids, numbers
) STRICT, WITHOUT ROWID;",
    "CREATE TABLE anchors (
  place INTEGER PRIMARY KEY, -- 0 is dialled first after a restart
  addr  TEXT NOT NULL
) STRICT;
CREATE TABLE secrets (
  name  TEXT PRIMARY KEY, -- 'address_book': decides the places in it
  value BLOB NOT NULL     -- 32 bytes
) STRICT, WITHOUT ROWID;",
];

/// The row of the table of secrets that is [`Restored::secret`].
const BOOK_SECRET: &str = "address_book";

/// Longest note that is read, in bytes: some times what the core writes.
const NOTE_BYTES_MAX: usize = 1_024;

/// Brings the schema from this version to [`VERSION`], all of it or nothing.
pub(super) fn migrate(conn: &mut Connection, from: i32) -> rusqlite::Result<()> {
    migrate_to(conn, from, VERSION)
}

fn migrate_to(conn: &mut Connection, from: i32, to: i32) -> rusqlite::Result<()> {
    if from == to {
        return Ok(());
    }
    let transaction = conn.transaction()?;
    for migration in &MIGRATIONS[from as usize..to as usize] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", to)?;
    transaction.commit()
}

/// Cuts tables that have outgrown their bounds, as they may where a process was killed again and
/// again before it could say what is gone.
pub(super) fn trim(conn: &Connection) -> rusqlite::Result<()> {
    let tables = [
        ("addresses", "addr", "tried DESC, last_seen DESC", ADDRESSES_MAX),
        ("bans", "target", "ends DESC", BANS_MAX),
    ];
    for (table, key, order, max) in tables {
        let rows: i64 =
            conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        if rows > max as i64 {
            conn.execute_batch(&format!(
                "DELETE FROM {table} WHERE {key} NOT IN \
                 (SELECT {key} FROM {table} ORDER BY {order} LIMIT {max})"
            ))?;
        }
    }
    Ok(())
}

/// Reads everything that makes sense.
pub(super) fn read(conn: &Connection) -> rusqlite::Result<(Restored, Skipped)> {
    let mut skipped = Skipped::default();
    let addresses = read_table(
        conn,
        "SELECT addr, source, tried, capabilities, last_seen, last_attempt, last_success, \
         failures FROM addresses ORDER BY addr",
        ADDRESSES_MAX,
        read_address,
        &mut skipped.addresses,
    )?;
    let bans = read_table(
        conn,
        "SELECT target, cause, decided_by, started, ends, message, bytes, note FROM bans \
         ORDER BY target",
        BANS_MAX,
        read_ban,
        &mut skipped.bans,
    )?;
    let anchors = read_table(
        conn,
        "SELECT addr FROM anchors ORDER BY place",
        ANCHORS_MAX,
        |row| text(row, 0)?.parse().ok().map(canonical),
        &mut skipped.anchors,
    )?;
    let secret = read_table(
        conn,
        "SELECT value FROM secrets WHERE name = 'address_book'",
        1,
        |row| value(row, 0),
        &mut skipped.secrets,
    )?;
    Ok((Restored { secret: secret.into_iter().next(), anchors, addresses, bans }, skipped))
}

/// Writes everything that waits.
pub(super) fn write(transaction: &Transaction<'_>, pending: &Pending) -> rusqlite::Result<()> {
    write_addresses(transaction, pending)?;
    write_bans(transaction, pending)?;
    if let Some(anchors) = &pending.anchors {
        transaction.execute("DELETE FROM anchors", [])?;
        let mut put = transaction.prepare_cached("INSERT INTO anchors VALUES (?1, ?2)")?;
        for (place, addr) in (0_u32..).zip(anchors) {
            put.execute(params![place, addr.to_string()])?;
        }
    }
    if let Some(secret) = &pending.secret {
        transaction.execute(
            "INSERT OR REPLACE INTO secrets VALUES (?1, ?2)",
            params![BOOK_SECRET, secret],
        )?;
    }
    Ok(())
}

fn write_addresses(transaction: &Transaction<'_>, pending: &Pending) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached(
        "INSERT OR REPLACE INTO addresses (addr, source, tried, capabilities, last_seen, \
         last_attempt, last_success, failures) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let mut drop = transaction.prepare_cached("DELETE FROM addresses WHERE addr = ?1")?;
    for (addr, record) in pending.addresses.iter() {
        let addr = addr.to_string();
        match record {
            Some(record) => put.execute(params![
                addr,
                record.source.to_string(),
                record.tried,
                record.capabilities.bits(),
                seconds(record.last_seen),
                seconds(record.last_attempt),
                seconds(record.last_success),
                record.failures,
            ])?,
            None => drop.execute([addr])?,
        };
    }
    Ok(())
}

fn write_bans(transaction: &Transaction<'_>, pending: &Pending) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached(
        "INSERT OR REPLACE INTO bans (target, cause, decided_by, started, ends, message, bytes, \
         note) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let mut drop = transaction.prepare_cached("DELETE FROM bans WHERE target = ?1")?;
    for (target, ban) in pending.bans.iter() {
        let target = target.to_string();
        match ban {
            Some(ban) => put.execute(params![
                target,
                ban.cause.name(),
                decider_name(ban.by),
                seconds(ban.start),
                seconds(ban.end),
                ban.evidence.kind.map(message_name),
                integer(ban.evidence.bytes),
                ban.evidence.note,
            ])?,
            None => drop.execute([target])?,
        };
    }
    Ok(())
}

/// The rows of a query as records, at most `max`; those that make no sense are counted instead.
fn read_table<T>(
    conn: &Connection,
    query: &str,
    max: usize,
    parse: impl Fn(&Row<'_>) -> Option<T>,
    skipped: &mut u64,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = conn.prepare(query)?;
    let mut rows = statement.query([])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        match parse(row) {
            Some(record) if records.len() < max => records.push(record),
            _ => *skipped += 1,
        }
    }
    Ok(records)
}

fn read_address(row: &Row<'_>) -> Option<AddressRecord> {
    let addr: SocketAddr = text(row, 0)?.parse().ok()?;
    let source: IpAddr = text(row, 1)?.parse().ok()?;
    Some(AddressRecord {
        addr: canonical(addr),
        source,
        tried: value(row, 2)?,
        capabilities: Capabilities::from_bits(value(row, 3)?),
        last_seen: time(row, 4)?,
        last_attempt: time(row, 5)?,
        last_success: time(row, 6)?,
        failures: value(row, 7)?,
    })
}

fn read_ban(row: &Row<'_>) -> Option<Ban> {
    let target: BanTarget = text(row, 0)?.parse().ok()?;
    let by = match text(row, 2)? {
        "rule" => Decider::Rule,
        "operator" => Decider::Operator,
        _ => return None,
    };
    let kind = match value::<Option<String>>(row, 5)? {
        None => None,
        Some(name) => Some(Kind::ALL.into_iter().find(|kind| message_name(*kind) == name)?),
    };
    let note = text(row, 7).filter(|note| note.len() <= NOTE_BYTES_MAX)?.into();
    Some(Ban {
        target,
        cause: BanCause::from_name(text(row, 1)?)?,
        evidence: Evidence { kind, bytes: unsigned(row, 6)?, note },
        by,
        start: time(row, 3)?,
        end: time(row, 4)?,
    })
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Option<&'a str> {
    row.get_ref(column).ok()?.as_str().ok()
}

fn value<T: FromSql>(row: &Row<'_>, column: usize) -> Option<T> {
    row.get(column).ok()
}

fn time(row: &Row<'_>, column: usize) -> Option<UnixTime> {
    unsigned(row, column).map(UnixTime::from_secs)
}

fn unsigned(row: &Row<'_>, column: usize) -> Option<u64> {
    u64::try_from(value::<i64>(row, column)?).ok()
}

const fn decider_name(by: Decider) -> &'static str {
    match by {
        Decider::Rule => "rule",
        Decider::Operator => "operator",
    }
}

/// The protocol's own name of a message.
fn message_name(kind: Kind) -> String {
    format!("{kind:?}")
}

const fn seconds(time: UnixTime) -> i64 {
    integer(time.secs())
}

/// SQLite's integers end at 2^63 - 1, far beyond any time or length that means something.
const fn integer(value: u64) -> i64 {
    if value > i64::MAX as u64 { i64::MAX } else { value as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store as the first version made it.
    fn version_1() -> Connection {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate_to(&mut conn, 0, 1).unwrap();
        conn.execute_batch(
            "INSERT INTO addresses VALUES ('192.0.2.7:3414', '192.0.2.1', 1, 95, 7, 6, 5, 4);
             INSERT INTO bans VALUES
               ('192.0.2.0/24', 'bad_block', 'rule', 10, 20, 'Block', 99, 'height 5');",
        )
        .unwrap();
        conn
    }

    fn version(conn: &Connection) -> (i32, i32) {
        let pragma = |name| conn.pragma_query_value(None, name, |row| row.get(0)).unwrap();
        (pragma("application_id"), pragma("user_version"))
    }

    #[test]
    fn an_older_store_is_brought_up_to_date_and_keeps_its_records() {
        let mut conn = version_1();
        assert_eq!(version(&conn), (APPLICATION_ID, 1));
        assert!(read(&conn).is_err(), "the first version had no anchors");

        migrate(&mut conn, 1).unwrap();
        assert_eq!(version(&conn), (APPLICATION_ID, VERSION));
        let (restored, skipped) = read(&conn).unwrap();
        assert!(skipped.is_none());
        assert_eq!((restored.addresses.len(), restored.bans.len()), (1, 1));
        assert_eq!(restored.addresses[0].last_attempt, UnixTime::from_secs(6));
        assert_eq!(restored.bans[0].evidence.kind, Some(Kind::Block));
        migrate(&mut conn, VERSION).unwrap();
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let mut conn = version_1();
        conn.execute_batch("CREATE TABLE secrets (x)").unwrap();
        assert!(migrate(&mut conn, 1).is_err());
        assert_eq!(version(&conn), (APPLICATION_ID, 1));
        assert!(conn.prepare("SELECT * FROM anchors").is_err());
    }

    #[test]
    fn rows_that_make_no_sense_are_counted_and_hide_no_others() {
        let mut conn = version_1();
        migrate(&mut conn, 1).unwrap();
        conn.execute_batch(
            "INSERT INTO addresses VALUES ('nowhere', '192.0.2.1', 1, 0, 0, 0, 0, 0);
             INSERT INTO addresses VALUES ('192.0.2.8:1', 'nobody', 1, 0, 0, 0, 0, 0);
             INSERT INTO addresses VALUES ('192.0.2.9:1', '192.0.2.1', 1, 0, -1, 0, 0, 0);
             INSERT INTO addresses VALUES ('192.0.2.10:1', '192.0.2.1', 1, 0, 0, 0, 0, 1 << 32);
             INSERT INTO bans VALUES ('192.0.2.0/33', 'bad_block', 'rule', 1, 2, NULL, 0, '');
             INSERT INTO bans VALUES ('192.0.2.1', 'bad_luck', 'rule', 1, 2, NULL, 0, '');
             INSERT INTO bans VALUES ('192.0.2.2', 'bad_block', 'fate', 1, 2, NULL, 0, '');
             INSERT INTO bans VALUES ('192.0.2.3', 'bad_block', 'rule', 1, 2, 'Spam', 0, '');
             INSERT INTO bans VALUES ('192.0.2.4', 'bad_block', 'rule', 1, 2, NULL, -1, '');
             INSERT INTO bans VALUES
               ('192.0.2.5', 'bad_block', 'rule', 1, 2, NULL, 0, hex(zeroblob(1024)));
             INSERT INTO anchors VALUES (0, '192.0.2.7'), (1, '192.0.2.7:3414');
             INSERT INTO secrets VALUES ('address_book', x'00');",
        )
        .unwrap();
        let (restored, skipped) = read(&conn).unwrap();
        assert_eq!(skipped, Skipped { addresses: 4, bans: 6, anchors: 1, secrets: 1 });
        assert_eq!((restored.addresses.len(), restored.bans.len()), (1, 1));
        assert_eq!((restored.anchors.len(), restored.secret), (1, None));
    }

    #[test]
    fn what_outgrew_its_bounds_is_trimmed_to_the_most_useful() {
        let mut conn = version_1();
        migrate(&mut conn, 1).unwrap();
        conn.execute_batch(&format!(
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i <= {BANS_MAX})
             INSERT INTO bans SELECT '10.' || (i >> 16) || '.' || (i >> 8 & 255) || '.' ||
               (i & 255), 'operator', 'operator', 1, 1000 + i, NULL, 0, '' FROM n"
        ))
        .unwrap();
        trim(&conn).unwrap();
        let (restored, skipped) = read(&conn).unwrap();
        assert!(skipped.is_none());
        assert_eq!(restored.bans.len(), BANS_MAX);
        let first_end = restored.bans.iter().map(|ban| ban.end.secs()).min();
        assert_eq!(first_end, Some(1_002), "those that end first are gone");
    }
}
