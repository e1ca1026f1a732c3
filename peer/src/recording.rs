//! Recordings: all that was said through the door of one endpoint, to be said again to another.
//!
//! An endpoint is a function of its configuration, its seed and its inputs. So these are written
//! down, each call with what came of it, and [`replay`] makes a second endpoint of the first two,
//! gives it the inputs at their times, and compares all outputs byte for byte: what a process did
//! far away is done again under a debugger, and what differs is a bug of ours, for nothing here may
//! depend on anything else.
//!
//! A recording begins with [`MAGIC`]. Then come parts, each behind its length, with a checksum that
//! covers all parts before it too: the head, and one part for each call. `layout.rs` has how values
//! are written. It holds the seed, and so every secret of that endpoint, and all that was received.

mod calls;
mod layout;

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use codec::Network;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::calls::{Call, Outcome};
use self::layout::{Damage, Field, Reader};
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::event::{Input, Output};
use crate::record::Change;
use crate::time::Instant;

/// What a recording begins with, whatever its form.
pub const RECORDING_MAGIC: [u8; 7] = *b"molvarc";

/// The same, and which of the forms that it had.
const MAGIC: [u8; 8] = *b"molvarc\x01";

/// A recording means something to the version that made it alone.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What stands around a part: its length before it, and a checksum behind.
const PART_BYTES: usize = 4 + 8;

/// Calls that are told with the one that differs, itself included.
const CONTEXT: usize = 8;

/// Writes down what goes through the door of an endpoint.
pub(crate) struct Recorder {
    /// What nobody has taken yet.
    bytes: Vec<u8>,
    /// The call that is under way or was the last; empty: none.
    call: Vec<u8>,
    /// The checksum so far.
    sum: u64,
    /// Bytes that there is room for.
    room: u64,
    is_full: bool,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({} bytes)", self.bytes.len())
    }
}

impl Recorder {
    pub(crate) fn new(config: &Config, seed: [u8; 32], bytes_max: u64) -> Self {
        let (bytes, room) = (MAGIC.to_vec(), bytes_max.saturating_sub(MAGIC.len() as u64));
        let mut recorder = Self { bytes, call: Vec::new(), sum: 0, room, is_full: false };
        VERSION.as_bytes().put(&mut recorder.call);
        config.put(&mut recorder.call);
        seed.put(&mut recorder.call);
        recorder.close();
        recorder
    }

    pub(crate) fn input(&mut self, now: Instant, input: &Input<'_>) {
        self.close();
        now.put(&mut self.call);
        self.call.push(calls::INPUT);
        input.put(&mut self.call);
    }

    pub(crate) fn consumed(&mut self, bytes: usize) {
        bytes.put(&mut self.call);
    }

    pub(crate) fn output(&mut self, output: &Output) {
        output.put(&mut self.call);
    }

    /// A socket has this port: of connections, or of datagrams.
    pub(crate) fn advertised(&mut self, now: Instant, datagrams: bool, port: u16) {
        self.close();
        now.put(&mut self.call);
        self.call.push(if datagrams { calls::ADVERTISE_DATAGRAMS } else { calls::ADVERTISE });
        port.put(&mut self.call);
    }

    /// What was taken to be kept, if it was something.
    pub(crate) fn taken(&mut self, now: Instant, max: usize, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        self.close();
        now.put(&mut self.call);
        self.call.push(calls::TAKE_CHANGES);
        max.put(&mut self.call);
        changes.iter().for_each(|change| change.put(&mut self.call));
    }

    /// The last call is over: with its last output, as far as anybody knows.
    fn close(&mut self) {
        if self.call.is_empty() {
            return;
        }
        let whole = (self.call.len() + PART_BYTES) as u64;
        self.is_full |= whole > self.room || u32::try_from(self.call.len()).is_err();
        if !self.is_full {
            self.room -= whole;
            self.sum = xxh3_64_with_seed(&self.call, self.sum);
            (self.call.len() as u32).put(&mut self.bytes);
            self.bytes.extend_from_slice(&self.call);
            self.sum.put(&mut self.bytes);
        }
        self.call.clear();
    }
}

impl Endpoint {
    /// As [`Endpoint::new`], and all that goes through its door is written down, at most so many
    /// bytes: to be taken with [`Endpoint::take_recording`], and said again by [`replay`].
    #[must_use]
    pub fn recorded(config: Config, seed: [u8; 32], bytes_max: u64) -> Self {
        let recorder = Recorder::new(&config, seed, bytes_max);
        let mut endpoint = Self::new(config, seed);
        endpoint.recorder = Some(Box::new(recorder));
        endpoint
    }

    /// What was written down since the last time. To be called when the outputs are drained, or
    /// when nothing will follow. `false`: nothing is written down, or not any more, for want of
    /// room.
    pub fn take_recording(&mut self, into: &mut Vec<u8>) -> bool {
        let Some(recorder) = &mut self.recorder else { return false };
        recorder.close();
        into.append(&mut recorder.bytes);
        let goes_on = !recorder.is_full;
        if !goes_on {
            self.recorder = None;
        }
        goes_on
    }

    /// Nothing is written down any more.
    pub fn stop_recording(&mut self) {
        self.recorder = None;
    }
}

/// What was said again, and had the same outputs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Replay {
    /// Calls through the door.
    pub calls: u64,
    /// Outputs that were compared.
    pub outputs: u64,
    /// The instant of the last call, from the start of the driver.
    pub lasted: Duration,
    /// The recording ends within a part: its writer ended before.
    pub is_cut: bool,
}

/// Why a recording was not said again to its end.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// Something else.
    #[error("this is no recording, or one of another form")]
    Foreign,
    /// Only the version that made it does the same.
    #[error("recorded by version {0}, and this is version {VERSION}")]
    Version(String),
    /// Bytes were changed since it was made.
    #[error("call {call} is damaged")]
    Damaged {
        /// Which call, from 1; 0 is the head.
        call: u64,
    },
    /// The same call had other outputs.
    #[error("{0}")]
    Differs(Box<Difference>),
}

/// The first call whose outputs are others now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Which call, from 1.
    pub call: u64,
    /// This call and some before it, the last one last.
    pub calls: Vec<String>,
    /// What came of it then.
    pub recorded: Vec<String>,
    /// What comes of it now.
    pub replayed: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "call {} has other outputs than it had", self.call)?;
        self.calls.iter().try_for_each(|call| writeln!(f, "  {call}"))?;
        for (name, outputs) in [("recorded", &self.recorded), ("replayed", &self.replayed)] {
            writeln!(f, "{name}:")?;
            outputs.iter().try_for_each(|output| writeln!(f, "  {output}"))?;
        }
        Ok(())
    }
}

/// Says again what was recorded, to an endpoint of its own, and compares what comes of it.
///
/// # Errors
///
/// [`RecordingError`]: it is no recording, is damaged, or the outputs differ.
///
/// # Panics
///
/// If the recorded endpoint did at its end, or was driven against its contract.
pub fn replay(recording: &[u8]) -> Result<Replay, RecordingError> {
    let mut parts = Parts { bytes: recording, sum: 0, count: 0 };
    if parts.bytes.split_off(..MAGIC.len()) != Some(&MAGIC) {
        return Err(RecordingError::Foreign);
    }
    let head = parts.next()?.ok_or(RecordingError::Damaged { call: 0 })?;
    let (mut endpoint, network) = endpoint_of(head)?;
    let mut replay = Replay::default();
    let mut before = VecDeque::new();
    while let Some(part) = parts.next()? {
        replay.calls += 1;
        let damaged = |Damage| RecordingError::Damaged { call: replay.calls };
        let lent = OnceCell::new();
        let mut reader = Reader { bytes: part, network: &network, lent: &lent };
        let (now, call) = call_of(&mut reader).map_err(damaged)?;
        if now.since(Instant::START) < replay.lasted {
            return Err(damaged(Damage));
        }
        replay.lasted = now.since(Instant::START);
        if before.len() == CONTEXT {
            before.pop_front();
        }
        before.push_back(part);
        let outcome = call.make(now, &mut endpoint);
        replay.outputs += outcome.outputs() as u64;
        // A call that its process did not survive has no outcome.
        let broken_off = reader.bytes.is_empty() && matches!(outcome, Outcome::Handled(..));
        if !broken_off && outcome.bytes() != reader.bytes {
            return Err(RecordingError::Differs(Box::new(Difference {
                call: replay.calls,
                calls: before.iter().filter_map(|part| words_of(part, &network)).collect(),
                recorded: outcome.lines_of(&mut reader).map_err(damaged)?,
                replayed: outcome.lines(),
            })));
        }
    }
    replay.is_cut = !parts.bytes.is_empty();
    Ok(replay)
}

fn call_of<'a>(reader: &mut Reader<'a>) -> Result<(Instant, Call<'a>), Damage> {
    Ok((Instant::read(reader)?, Call::read(reader)?))
}

/// For people: when what was said.
fn words_of(part: &[u8], network: &Network) -> Option<String> {
    let lent = OnceCell::new();
    let mut reader = Reader { bytes: part, network, lent: &lent };
    let (now, call) = call_of(&mut reader).ok()?;
    let at = now.since(Instant::START).as_secs_f64();
    Some(format!("{at:.6} s: {}", calls::line(&call)))
}

/// The endpoint that a head describes, before its first input.
fn endpoint_of(head: &[u8]) -> Result<(Endpoint, Network), RecordingError> {
    let lent = OnceCell::new();
    let mut reader = Reader { bytes: head, network: &Network::DEV, lent: &lent };
    let damaged = |Damage| RecordingError::Damaged { call: 0 };
    let version = String::read(&mut reader).map_err(damaged)?;
    if version != VERSION {
        return Err(RecordingError::Version(version));
    }
    let config = Config::read(&mut reader).map_err(damaged)?;
    let seed = <[u8; 32]>::read(&mut reader).map_err(damaged)?;
    if !reader.bytes.is_empty() || config.check().is_err() {
        return Err(damaged(Damage));
    }
    let network = config.network.clone();
    Ok((Endpoint::new(config, seed), network))
}

/// The parts of a recording, as long as their checksums are right.
struct Parts<'a> {
    bytes: &'a [u8],
    sum: u64,
    count: u64,
}

impl<'a> Parts<'a> {
    /// The next one; `None` at the end, and where the recording was cut off.
    fn next(&mut self) -> Result<Option<&'a [u8]>, RecordingError> {
        let Some((length, rest)) = self.bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        let Some((part, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        let Some((sum, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
        self.sum = xxh3_64_with_seed(part, self.sum);
        if self.sum != u64::from_le_bytes(*sum) {
            return Err(RecordingError::Damaged { call: self.count });
        }
        self.bytes = rest;
        self.count += 1;
        Ok(Some(part))
    }
}

#[cfg(test)]
mod tests;
