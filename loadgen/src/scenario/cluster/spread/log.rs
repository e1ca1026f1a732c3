//! The log of some runs, for whoever compares them with a simulation: one JSON object a line,
//! described in docs/simulation.md.
//!
//! Invariant: the log alone tells what was to be and what came of it; the last line of each run
//! says that it is whole.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::words::Over;

/// Changes with the meaning of any line.
pub(super) const VERSION: u32 = 1;

/// One line. Times are microseconds since the start.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    /// The first line of a run: what was to be.
    Cluster {
        version: u32,
        engines: u32,
        over: Over,
        messages: u32,
        message_bytes: usize,
        rules: Rules,
    },
    /// An engine listens.
    Started {
        us: u64,
        engine: u32,
        addr: SocketAddr,
    },
    /// An engine says a message.
    Published {
        us: u64,
        engine: u32,
        message: u32,
    },
    /// An engine heard a message, over so many links if they were counted.
    Heard {
        us: u64,
        engine: u32,
        message: u32,
        hops: Option<u16>,
    },
    /// How an engine sees itself, and whom of the others it takes to live or not.
    State {
        us: u64,
        engine: u32,
        alive: &'a [u32],
        suspected: &'a [u32],
        dead: &'a [u32],
        new: u64,
        known: u64,
        missed: u64,
        lagged: u64,
        silent: u64,
    },
    /// A process was killed.
    Killed {
        us: u64,
        engine: u32,
    },
    /// An engine was told to leave.
    Left {
        us: u64,
        engine: u32,
    },
    /// A process stands still, and goes on.
    Paused {
        us: u64,
        engine: u32,
    },
    Resumed {
        us: u64,
        engine: u32,
    },
    /// From now on this share of the datagrams is lost.
    Loss {
        us: u64,
        share: f64,
    },
    /// The last line of a run: nothing more is counted.
    End {
        us: u64,
    },
}

/// The rules of all engines, as far as they are not those of `Config::small`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Rules {
    /// Links of the overlay.
    pub(super) links: usize,
    /// Between two exchanges of its addresses.
    pub(super) shuffle_us: u64,
}

/// Where lines go: beside the log of the run before, until they are whole.
pub(super) struct Log {
    path: PathBuf,
    part: PathBuf,
    out: BufWriter<File>,
}

impl Log {
    /// An empty log; makes its folder.
    pub(super) fn create(path: &Path) -> Result<Self, String> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file =
            folder.map_or(Ok(()), std::fs::create_dir_all).and_then(|()| File::create(&part));
        let file = file.map_err(|error| format!("cannot write to {}: {error}", part.display()))?;
        Ok(Self { path: path.to_owned(), part, out: BufWriter::new(file) })
    }

    pub(super) fn write(&mut self, line: &Line<'_>) -> Result<(), String> {
        let text = serde_json::to_string(line).expect("it is plain data");
        writeln!(self.out, "{text}").map_err(|error| self.broken(&error))
    }

    /// Everything is on its way to the disk; says where it is. What was interrupted stays beside
    /// the log of the run before.
    pub(super) fn finish(mut self, is_interrupted: bool) -> Result<PathBuf, String> {
        self.out.flush().map_err(|error| self.broken(&error))?;
        if is_interrupted {
            return Ok(self.part);
        }
        std::fs::rename(&self.part, &self.path).map_err(|error| self.broken(&error))?;
        Ok(self.path)
    }

    fn broken(&self, error: &std::io::Error) -> String {
        format!("writing {}: {error}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the page about the log shows.
    #[test]
    fn a_line_says_what_it_is_first() {
        let line = Line::Heard { us: 7, engine: 3, message: 0, hops: Some(2) };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(text, r#"{"is":"heard","us":7,"engine":3,"message":0,"hops":2}"#);
        let line = Line::Loss { us: 8, share: 0.1 };
        assert_eq!(serde_json::to_string(&line).unwrap(), r#"{"is":"loss","us":8,"share":0.1}"#);
    }

    #[test]
    fn an_interrupted_log_leaves_the_one_before() {
        let folder = std::env::temp_dir().join(format!("loadgen-log-{}", std::process::id()));
        let path = folder.join("cluster.jsonl");
        for (us, is_interrupted) in [(1, false), (2, true), (3, false)] {
            let mut log = Log::create(&path).unwrap();
            log.write(&Line::End { us }).unwrap();
            let written = log.finish(is_interrupted).unwrap();
            assert_eq!(written == path, !is_interrupted);
            let line = |us| format!("{{\"is\":\"end\",\"us\":{us}}}\n");
            assert_eq!(std::fs::read_to_string(&written).unwrap(), line(us));
            let last_whole = if is_interrupted { us - 1 } else { us };
            assert_eq!(std::fs::read_to_string(&path).unwrap(), line(last_whole));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
