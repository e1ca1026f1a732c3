//! Which embedded store keeps blocks best: redb, fjall or a LevelDB.
//!
//! The node's own workload: blocks of 20 kB appended under keys that grow, 32 of them in each
//! durable batch; random reads; opening again; and a child that is killed while it appends, after
//! which all that it had acknowledged must be there. Prints one table, and is no judge of taste.
//!
//! `cargo bench -p molva-node --bench store [-- DIR]`: DIR is where the files go, the system's
//! directory for temporary files by default. What a `kill -9` proves says nothing of a power loss:
//! whether a store asks the disk to be durable at all is counted with `strace`, not here.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

const BLOCK_BYTES: usize = 20_000;
const BATCH: u32 = 32;
const BLOCKS: u32 = 10_240;
const READS: u32 = 10_000;
const KILLS: u64 = 12;

/// What the node asks of a store.
trait Blocks {
    fn append(&mut self, from: u32, blocks: &[Vec<u8>]) -> Outcome<()>;
    fn read(&mut self, number: u32) -> Outcome<Option<Vec<u8>>>;
}

const KINDS: [&str; 3] = ["redb", "fjall", "rusty-leveldb"];

fn open(kind: &str, dir: &Path) -> Outcome<Box<dyn Blocks>> {
    std::fs::create_dir_all(dir)?;
    Ok(match kind {
        "redb" => Box::new(Redb(redb::Database::create(dir.join("blocks.redb"))?)),
        "fjall" => Box::new(Fjall::open(dir)?),
        _ => {
            let options = rusty_leveldb::Options {
                // As fjall's and the LevelDB of Bitcoin Core: no compression of blocks.
                write_buffer_size: 16 << 20,
                ..rusty_leveldb::Options::default()
            };
            Box::new(LevelDb(rusty_leveldb::DB::open(dir, options)?))
        }
    })
}

const TABLE: redb::TableDefinition<'_, u32, &[u8]> = redb::TableDefinition::new("blocks");

struct Redb(redb::Database);

impl Blocks for Redb {
    fn append(&mut self, from: u32, blocks: &[Vec<u8>]) -> Outcome<()> {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(TABLE)?;
            for (number, block) in (from..).zip(blocks) {
                table.insert(number, block.as_slice())?;
            }
        }
        Ok(write.commit()?)
    }

    fn read(&mut self, number: u32) -> Outcome<Option<Vec<u8>>> {
        use redb::ReadableDatabase;
        let read = self.0.begin_read()?;
        let table = read.open_table(TABLE)?;
        Ok(table.get(number)?.map(|block| block.value().to_vec()))
    }
}

struct Fjall {
    db: fjall::Database,
    blocks: fjall::Keyspace,
}

impl Fjall {
    fn open(dir: &Path) -> Outcome<Self> {
        let db = fjall::Database::builder(dir).open()?;
        let separated = Some(fjall::KvSeparationOptions::default());
        let options = || fjall::KeyspaceCreateOptions::default().with_kv_separation(separated);
        let blocks = db.keyspace("blocks", options)?;
        Ok(Self { db, blocks })
    }
}

impl Blocks for Fjall {
    fn append(&mut self, from: u32, blocks: &[Vec<u8>]) -> Outcome<()> {
        let mut batch = self.db.batch().durability(Some(fjall::PersistMode::SyncData));
        for (number, block) in (from..).zip(blocks) {
            batch.insert(&self.blocks, number.to_be_bytes(), block.as_slice());
        }
        Ok(batch.commit()?)
    }

    fn read(&mut self, number: u32) -> Outcome<Option<Vec<u8>>> {
        Ok(self.blocks.get(number.to_be_bytes())?.map(|block| block.to_vec()))
    }
}

struct LevelDb(rusty_leveldb::DB);

impl Blocks for LevelDb {
    fn append(&mut self, from: u32, blocks: &[Vec<u8>]) -> Outcome<()> {
        let mut batch = rusty_leveldb::WriteBatch::default();
        for (number, block) in (from..).zip(blocks) {
            batch.put(&number.to_be_bytes(), block);
        }
        Ok(self.0.write(batch, true)?)
    }

    fn read(&mut self, number: u32) -> Outcome<Option<Vec<u8>>> {
        Ok(self.0.get(&number.to_be_bytes()).map(|block| block.to_vec()))
    }
}

/// xorshift64*: blocks must not be compressible, and every run the same.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// The block of this number: half of it random, as signatures and keys are, half of it alike.
fn block(number: u32) -> Vec<u8> {
    let mut dice = Dice(u64::from(number) + 1);
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    while block.len() < BLOCK_BYTES {
        block.extend_from_slice(&dice.next().to_le_bytes());
        block.extend_from_slice(&[7; 8]);
    }
    block.truncate(BLOCK_BYTES);
    block
}

fn batch(from: u32) -> Vec<Vec<u8>> {
    (from..from + BATCH).map(block).collect()
}

fn main() -> ExitCode {
    // Cargo passes `--bench`.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    let done = match arguments.first().map(String::as_str) {
        Some("child") => child(&arguments[1], Path::new(&arguments[2])),
        Some("append") => append(&arguments[1], Path::new(&arguments[2])),
        dir => compare(dir.map_or_else(std::env::temp_dir, PathBuf::from)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("store: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Appends until it is killed, and says the number that a reader may rely on.
fn child(kind: &str, dir: &Path) -> Outcome<()> {
    let mut store = open(kind, dir)?;
    for from in (0..BLOCKS).step_by(BATCH as usize) {
        store.append(from, &batch(from))?;
        writeln!(std::io::stdout(), "{}", from + BATCH)?;
    }
    Ok(())
}

/// Some batches, for `strace -c -e trace=fsync,fdatasync`.
fn append(kind: &str, dir: &Path) -> Outcome<()> {
    let mut store = open(kind, dir)?;
    (0..32 * BATCH).step_by(BATCH as usize).try_for_each(|from| store.append(from, &batch(from)))
}

fn compare(parent: PathBuf) -> Outcome<()> {
    let mega = f64::from(BLOCKS) * BLOCK_BYTES as f64 / 1e6;
    println!("{BLOCKS} blocks of {BLOCK_BYTES} bytes, {BATCH} in a durable batch\n");
    println!(
        "{:14} {:>9} {:>11} {:>11} {:>9} {:>9} {:>8} {:>14}",
        "store", "append", "batch p50", "batch p99", "on disk", "read", "reopen", "lost of kills"
    );
    for kind in KINDS {
        let dir = parent.join(format!("molva-store-bench-{}-{kind}", std::process::id()));
        let (append, p50, p99) = appending(kind, &dir)?;
        let bytes = bytes_of(&dir)?;
        let start = Instant::now();
        let mut store = open(kind, &dir)?;
        let reopen = start.elapsed();
        let read = reading(store.as_mut())?;
        drop(store);
        std::fs::remove_dir_all(&dir)?;
        let lost = killing(kind, &dir)?;
        println!(
            "{kind:14} {:>6.0}MB/s {:>9.1}ms {:>9.1}ms {:>8.2}x {:>7.1}us {:>6.0}ms {:>8} of \
             {KILLS}",
            mega / append.as_secs_f64(),
            p50.as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3,
            bytes as f64 / 1e6 / mega,
            read.as_secs_f64() * 1e6,
            reopen.as_secs_f64() * 1e3,
            lost,
        );
    }
    Ok(())
}

/// Time of all, and of a batch: median and 99th of a hundred.
fn appending(kind: &str, dir: &Path) -> Outcome<(Duration, Duration, Duration)> {
    let mut store = open(kind, dir)?;
    let mut times = Vec::new();
    for from in (0..BLOCKS).step_by(BATCH as usize) {
        let blocks = batch(from);
        let start = Instant::now();
        store.append(from, &blocks)?;
        times.push(start.elapsed());
    }
    let all = times.iter().sum();
    times.sort_unstable();
    Ok((all, times[times.len() / 2], times[times.len() * 99 / 100]))
}

/// Time of a read at random, from a store that was just opened.
fn reading(store: &mut dyn Blocks) -> Outcome<Duration> {
    let mut dice = Dice(1);
    let (mut time, mut wrong) = (Duration::ZERO, 0);
    for _ in 0..READS {
        let number = (dice.next() % u64::from(BLOCKS)) as u32;
        let start = Instant::now();
        let read = store.read(number)?;
        time += start.elapsed();
        wrong += usize::from(read.as_deref() != Some(&block(number)));
    }
    if wrong > 0 { Err(format!("{wrong} reads were wrong").into()) } else { Ok(time / READS) }
}

/// In how many of some kills something that was acknowledged was gone, or the store did not open.
fn killing(kind: &str, dir: &Path) -> Outcome<u64> {
    let mut faults = 0;
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["child", kind])
            .arg(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (mut acknowledged, until) = (0, Dice(round + 1).next() % 60);
        for line in lines.by_ref().take(1 + until as usize) {
            acknowledged = line?.parse()?;
        }
        child.kill()?;
        child.wait()?;
        // What it had still said before it died.
        for line in lines.map_while(Result::ok) {
            acknowledged = line.parse().unwrap_or(acknowledged);
        }
        let there = open(kind, dir).and_then(|mut store| {
            let there = |number| store.read(number).map(|read| read == Some(block(number)));
            (0..acknowledged).map(there).collect::<Outcome<Vec<_>>>()
        });
        match there {
            Ok(there) if there.iter().all(|there| *there) => {}
            Ok(there) => {
                let lost = there.iter().filter(|there| !**there).count();
                eprintln!("{kind}: {lost} of {acknowledged} blocks lost");
                faults += 1;
            }
            Err(error) => {
                eprintln!("{kind}: {error}");
                faults += 1;
            }
        }
        std::fs::remove_dir_all(dir)?;
    }
    Ok(faults)
}

fn bytes_of(dir: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { bytes_of(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}
