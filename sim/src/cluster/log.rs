//! The log of some runs on real sockets, as `loadgen cluster` writes it: one JSON object a line,
//! described in docs/simulation.md.
//!
//! Whatever is in the file, reading it ends in [`Log`]s whose numbers fit together, or in a
//! [`LogError`]: each engine is one of those that there were to be and began once, each message was
//! said once, and nothing happened to an engine before it began.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;

use super::course::{Course, Heard, Published, Seen};

/// The only meaning of lines that is known.
const VERSION: u32 = 1;

/// Largest log: some hours of some hundreds of engines. What is beyond is not read.
const BYTES_MAX: u64 = 256 << 20;

/// Most engines of a log.
const ENGINES_MAX: usize = 1_000;

/// Most messages of a run.
const MESSAGES_MAX: usize = 10_000;

/// Most deliveries of a run, engines times messages: fifty times those of the largest run that is
/// documented, and some seconds for each simulation of it.
const DELIVERIES_MAX: usize = 100_000;

/// Most runs of a log.
const RUNS_MAX: usize = 100;

/// Latest instant of a log: an hour, which is simulated with each seed.
const US_MAX: u64 = 3_600_000_000;

/// Over what messages went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// A tree over connections.
    Streams,
    /// Push-pull gossip.
    Datagrams,
}

/// The rules of all engines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Rules {
    /// Links of the overlay.
    pub links: usize,
    /// Microseconds between two exchanges of its addresses.
    pub shuffle_us: u64,
}

/// What was to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// How many engines.
    pub engines: usize,
    /// Over what messages went.
    pub over: Over,
    /// How many messages.
    pub messages: usize,
    /// Bytes of a message.
    pub message_bytes: usize,
    /// The rules of all engines.
    pub rules: Rules,
}

/// What went wrong, on command.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    /// A process was killed.
    Kill(usize),
    /// An engine said goodbye and ended.
    Leave(usize),
    /// A process stood still for so many microseconds.
    Pause(usize, u64),
    /// From then on this share of all datagrams was lost.
    Loss(f64),
}

/// The log of one run.
#[derive(Clone, PartialEq, Debug)]
pub struct Log {
    /// What was to be.
    pub setting: Setting,
    /// When each engine began, in microseconds since the start.
    pub started: Vec<u64>,
    /// What went wrong when, in the order of time.
    pub faults: Vec<(u64, Fault)>,
    /// What became of the messages.
    pub course: Course,
    /// When the last was counted.
    pub end: u64,
}

/// Why a file is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Unreadable(#[from] std::io::Error),
    /// There is more of it than any run writes.
    #[error("it is longer than {BYTES_MAX} bytes")]
    TooLong,
    /// A line that is no JSON object of a known form.
    #[error("line {line}: {error}")]
    Line {
        /// Which one, from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// The first line of a run does not say what was to be.
    #[error("a run begins with a line that `is` a `cluster`")]
    NoHead,
    /// A meaning of lines that is not known.
    #[error("version {0}, known is {VERSION}")]
    Version(u32),
    /// A line that does not fit to those before it.
    #[error("line {line}: {wrong}")]
    Unfit {
        /// Which one, from 1.
        line: usize,
        /// Why.
        wrong: &'static str,
    },
    /// The last line is missing, or an engine never began.
    #[error("it ends before the run did: {0}")]
    Unfinished(&'static str),
}

#[derive(Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
enum Line {
    Cluster {
        version: u32,
        engines: usize,
        over: Over,
        messages: usize,
        message_bytes: usize,
        rules: Rules,
    },
    Started {
        us: u64,
        engine: usize,
    },
    Published {
        us: u64,
        engine: usize,
        message: usize,
    },
    Heard {
        us: u64,
        engine: usize,
        message: usize,
        hops: Option<u16>,
    },
    State {
        us: u64,
        engine: usize,
        alive: Vec<usize>,
        suspected: Vec<usize>,
        dead: Vec<usize>,
        new: u64,
        known: u64,
        silent: u64,
    },
    Killed {
        us: u64,
        engine: usize,
    },
    Left {
        us: u64,
        engine: usize,
    },
    Paused {
        us: u64,
        engine: usize,
    },
    Resumed {
        us: u64,
        engine: usize,
    },
    Loss {
        us: u64,
        share: f64,
    },
    End {
        us: u64,
    },
}

impl Log {
    /// Deliveries that there can be.
    pub(super) const fn deliveries(&self) -> usize {
        self.setting.engines * self.course.published.len()
    }

    /// Reads the logs of all runs, one at least.
    ///
    /// # Errors
    ///
    /// [`LogError`].
    pub fn open(path: &Path) -> Result<Vec<Self>, LogError> {
        Self::read(BufReader::new(File::open(path)?))
    }

    /// The same from anywhere.
    ///
    /// # Errors
    ///
    /// [`LogError`].
    pub fn read(mut lines: impl BufRead) -> Result<Vec<Self>, LogError> {
        let mut left = lines.by_ref().take(BYTES_MAX);
        let mut text = String::new();
        let mut logs = Vec::new();
        let mut reading: Option<Reading> = None;
        for line in 1.. {
            text.clear();
            if left.read_line(&mut text)? == 0 {
                break;
            }
            let said = serde_json::from_str(&text);
            let said: Line = said.map_err(|error| LogError::Line { line, error })?;
            let Some(mut one) = reading.take() else {
                let one = Reading::begin(said, line)?;
                let fits = logs.first().is_none_or(|log: &Self| log.setting == one.setting);
                let unfit = |wrong| Err(LogError::Unfit { line, wrong });
                match (fits, logs.len() < RUNS_MAX) {
                    (false, _) => return unfit("a run of another kind than the first"),
                    (_, false) => return unfit("there are more than 100 runs"),
                    _ => reading = Some(one),
                }
                continue;
            };
            one.take(said).map_err(|wrong| LogError::Unfit { line, wrong })?;
            if one.end.is_some() {
                logs.push(one.finish()?);
            } else {
                reading = Some(one);
            }
        }
        if left.limit() == 0 {
            return Err(LogError::TooLong);
        }
        match reading {
            Some(_) => Err(LogError::Unfinished("there is no line that `is` the `end`")),
            None if logs.is_empty() => Err(LogError::NoHead),
            None => Ok(logs),
        }
    }
}

/// A log as far as it was read.
struct Reading {
    setting: Setting,
    started: Vec<Option<u64>>,
    published: Vec<Option<Published>>,
    heard: Vec<Vec<Option<Heard>>>,
    seen: Vec<Seen>,
    counts: Vec<(u64, u64)>,
    gone: Vec<Option<u64>>,
    pauses: BTreeMap<usize, u64>,
    faults: Vec<(u64, Fault)>,
    end: Option<u64>,
}

impl Reading {
    fn begin(head: Line, line: usize) -> Result<Self, LogError> {
        let Line::Cluster { version, engines, over, messages, message_bytes, rules } = head else {
            return Err(LogError::NoHead);
        };
        if version != VERSION {
            return Err(LogError::Version(version));
        }
        let unfit = |wrong| Err(LogError::Unfit { line, wrong });
        if !(2..=ENGINES_MAX).contains(&engines) || messages > MESSAGES_MAX {
            return unfit("so many engines or messages cannot be");
        }
        if engines * messages > DELIVERIES_MAX {
            return unfit("engines times messages are more than 100,000");
        }
        if !(4..=1_000).contains(&message_bytes) || !(1_000..=US_MAX).contains(&rules.shuffle_us) {
            return unfit("messages or rules that cannot be");
        }
        if !(2..=256).contains(&rules.links) {
            return unfit("so many links cannot be");
        }
        Ok(Self {
            setting: Setting { engines, over, messages, message_bytes, rules },
            started: vec![None; engines],
            published: vec![None; messages],
            heard: vec![Vec::new(); messages],
            seen: Vec::new(),
            counts: vec![(0, 0); engines],
            gone: vec![None; engines],
            pauses: BTreeMap::new(),
            faults: Vec::new(),
            end: None,
        })
    }

    fn take(&mut self, line: Line) -> Result<(), &'static str> {
        match line {
            Line::Cluster { .. } => return Err("the head comes once"),
            Line::Started { us, engine } => {
                let (before, rest) =
                    self.started.split_at_mut_checked(engine).ok_or("no such engine")?;
                let begun = rest.first_mut().ok_or("no such engine")?;
                if begun.replace(time(us)?).is_some() {
                    return Err("an engine begins once");
                }
                if before.last().is_some_and(|one| one.is_none_or(|before| before > us)) {
                    return Err("engines begin in the order of their numbers");
                }
            }
            Line::Published { us, engine, message } => {
                let us = self.lived(us, engine)?;
                let place = self.published.get_mut(message).ok_or("no such message")?;
                if place.replace(Published { us, node: engine }).is_some() {
                    return Err("a message is said once");
                }
            }
            Line::Heard { us, engine, message, hops } => {
                let us = self.lived(us, engine)?;
                let heard = self.heard.get_mut(message).ok_or("no such message")?;
                heard.resize(self.setting.engines, None);
                // What is heard again is of no use, and no harm: an ear that was told twice.
                heard[engine].get_or_insert(Heard { us, hops });
            }
            Line::State { us, engine, alive, suspected, dead, new, known, silent } => {
                let us = self.lived(us, engine)?;
                let all = || alive.iter().chain(&suspected).chain(&dead);
                if all().any(|other| *other >= self.setting.engines) {
                    return Err("no such engine");
                }
                self.counts[engine] = (new, known);
                self.seen.push(Seen { us, node: engine, alive, suspected, dead, silent });
            }
            Line::Killed { us, engine } => self.go(us, engine, Fault::Kill(engine))?,
            Line::Left { us, engine } => self.go(us, engine, Fault::Leave(engine))?,
            Line::Paused { us, engine } => {
                let us = self.lived(us, engine)?;
                if self.pauses.insert(engine, us).is_some() {
                    return Err("it stands still already");
                }
            }
            Line::Resumed { us, engine } => {
                let since = self.pauses.remove(&engine).ok_or("it did not stand still")?;
                let lasted = time(us)?.saturating_sub(since);
                self.faults.push((since, Fault::Pause(engine, lasted)));
            }
            Line::Loss { us, share } => {
                if !(0.0..=1.0).contains(&share) {
                    return Err("a share is from 0 to 1");
                }
                self.faults.push((time(us)?, Fault::Loss(share)));
            }
            Line::End { us } => self.end = Some(time(us)?),
        }
        Ok(())
    }

    fn go(&mut self, us: u64, engine: usize, fault: Fault) -> Result<(), &'static str> {
        let us = self.lived(us, engine)?;
        if self.gone[engine].replace(us).is_some() {
            return Err("an engine goes once");
        }
        self.faults.push((us, fault));
        Ok(())
    }

    /// The instant, if the engine had begun by then.
    fn lived(&self, us: u64, engine: usize) -> Result<u64, &'static str> {
        let begun = self.started.get(engine).ok_or("no such engine")?;
        let us = time(us)?;
        begun.filter(|begun| *begun <= us).map(|_| us).ok_or("the engine had not begun")
    }

    fn finish(self) -> Result<Log, LogError> {
        let Self {
            setting,
            started,
            published,
            heard,
            seen,
            counts,
            gone,
            pauses,
            mut faults,
            end,
        } = self;
        let end = end.expect("it has been read");
        let started: Option<Vec<u64>> = started.into_iter().collect();
        let started = started.ok_or(LogError::Unfinished("an engine never began"))?;
        let goes_well = faults.is_empty() && pauses.is_empty();
        if goes_well && published.iter().any(Option::is_none) {
            return Err(LogError::Unfinished("not all messages were said: it was interrupted"));
        }
        for (engine, since) in pauses {
            faults.push((since, Fault::Pause(engine, end.saturating_sub(since))));
        }
        faults.sort_by_key(|(us, _)| *us);
        // Who was to say a message may have been gone.
        let said = published.into_iter().zip(heard).filter_map(|(published, mut heard)| {
            heard.resize(setting.engines, None);
            Some((published?, heard))
        });
        let (published, heard) = said.unzip();
        let (new, known) = counts.into_iter().unzip();
        let course = Course { gone, published, heard, new, known, seen };
        Ok(Log { setting, started, faults, course, end })
    }
}

const fn time(us: u64) -> Result<u64, &'static str> {
    if us > US_MAX { Err("a run lasts an hour at most") } else { Ok(us) }
}
