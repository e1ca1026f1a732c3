//! An operator's way to a running node: a Unix socket in its data directory.
//!
//! A line is a command, the answer is a line of JSON: `status`, `tx HEX`, `mine N`. One caller at a
//! time, on a thread of its own, which hands the command to the chain's thread and waits.
//! Invariant: whatever a caller sends, it is answered, and its connection closed, within a bounded
//! time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::backend::MINE_MAX;
use crate::generate::transaction_of_hex;
use crate::say::Said;

/// Longest line: a transaction of 400 kB in digits, and more than that.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Bytes of a line too long that are read and thrown away: a caller hears why only when it has sent
/// its line.
const DISCARDED_BYTES_MAX: u64 = 16 << 20;

/// Bytes that are read at a time: most lines.
const PIECE_BYTES: usize = 4_096;

/// How long a caller may take for its line, and for hearing the answer.
const CALLER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the chain's thread may take for the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after a caller could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Commands that wait for the chain's thread: callers come one at a time.
const COMMANDS_MAX: usize = 4;

/// Why what a caller sent is no line.
#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error("the line is too long: at most {LINE_BYTES_MAX} bytes are taken")]
    TooLong,
    #[error("the line is no text in UTF-8")]
    NotText,
    #[error("the line did not end in time ({} s)", CALLER_TIMEOUT.as_secs())]
    TooSlow,
    #[error("the line cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// What an operator wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// How the node is.
    Status,
    /// Spread this transaction, which has been read once already.
    Submit(Vec<u8>),
    /// Make so many blocks.
    Mine(u32),
}

/// A command, and where its answer goes.
pub(crate) struct Asked {
    pub(crate) command: Command,
    answer: Sender<String>,
}

impl Asked {
    /// Tells the caller, if it is still there.
    pub(crate) fn answer(self, said: &Said) {
        drop(self.answer.try_send(said.line()));
    }
}

/// Where the socket of a data directory is.
fn path(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// Listens, on a thread of its own that ends with the process. The directory is ours alone, and
/// with it the socket that somebody who was killed left there.
pub(crate) fn listen(dir: &Path) -> Result<Receiver<Asked>, String> {
    let path = path(dir);
    let failed = |error: io::Error| {
        format!("{}: {error} (the path of a socket has at most 107 bytes)", path.display())
    };
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).map_err(failed)?;
    let (sender, commands) = bounded(COMMANDS_MAX);
    let serve = move || {
        loop {
            match listener.accept() {
                // Whoever goes away in the middle has no answer: that is all.
                Ok((caller, _)) => drop(serve_one(&caller, &sender, CALLER_TIMEOUT)),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    };
    std::thread::Builder::new().name("control".into()).spawn(serve).map_err(failed)?;
    Ok(commands)
}

fn serve_one(
    mut caller: &UnixStream,
    sender: &Sender<Asked>,
    patience: Duration,
) -> io::Result<()> {
    caller.set_write_timeout(Some(CALLER_TIMEOUT))?;
    let until = Instant::now() + patience;
    let line = read_line(caller, until);
    let is_too_long = matches!(line, Err(LineError::TooLong));
    let refused = |why: String| Said::Refused { why }.line();
    let command = line.map_err(|error| error.to_string()).and_then(|line| read(line.trim()));
    let answer = match command {
        Err(why) => refused(why),
        Ok(command) => {
            let (answer, answers) = bounded(1);
            match sender.send_timeout(Asked { command, answer }, ANSWER_TIMEOUT) {
                Ok(()) => answers
                    .recv_timeout(ANSWER_TIMEOUT)
                    .unwrap_or_else(|_| refused("the node did not answer in time".to_owned())),
                Err(_) => refused("the node is too busy".to_owned()),
            }
        }
    };
    writeln!(caller, "{answer}")?;
    if is_too_long {
        caller.shutdown(Shutdown::Write)?;
        let mut left = DISCARDED_BYTES_MAX;
        let mut piece = [0; PIECE_BYTES];
        while left > 0
            && let count @ 1.. = read_some(caller, &mut piece, until)?
        {
            left = left.saturating_sub(count as u64);
        }
    }
    caller.shutdown(Shutdown::Both)
}

/// What stands before the first line break, or before the caller's end.
fn read_line(caller: &UnixStream, until: Instant) -> Result<String, LineError> {
    let mut line = Vec::new();
    let mut piece = [0; PIECE_BYTES];
    loop {
        let count = match read_some(caller, &mut piece, until) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(LineError::TooSlow);
            }
            Err(error) => return Err(error.into()),
        };
        let end = piece[..count].iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&piece[..end.unwrap_or(count)]);
        if line.len() > LINE_BYTES_MAX {
            return Err(LineError::TooLong);
        }
        if end.is_some() || count == 0 {
            return String::from_utf8(line).map_err(|_| LineError::NotText);
        }
    }
}

/// The next bytes of a caller; 0 at its end, and an error if none came until then.
fn read_some(mut caller: &UnixStream, piece: &mut [u8], until: Instant) -> io::Result<usize> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        caller.set_read_timeout(Some(left))?;
        match caller.read(piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

fn read(line: &str) -> Result<Command, String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match (word, rest) {
        ("status", "") => Ok(Command::Status),
        ("tx", digits) => transaction_of_hex(digits).map(|(_, body)| Command::Submit(body)),
        ("mine", count) => match count.parse() {
            Ok(blocks) if (1..=MINE_MAX).contains(&blocks) => Ok(Command::Mine(blocks)),
            Ok(_) | Err(_) => Err(format!("mine takes a number from 1 to {MINE_MAX}")),
        },
        _ => Err("status, tx HEX or mine N is wanted".to_owned()),
    }
}

/// Sends a line to the node that runs in this directory, and gives its answer.
pub(crate) fn call(dir: &Path, line: &str) -> Result<String, String> {
    let path = path(dir);
    let failed = |error: io::Error| format!("{}: {error}: does a node run there?", path.display());
    let mut stream = UnixStream::connect(&path).map_err(failed)?;
    let timeout = Some(ANSWER_TIMEOUT + CALLER_TIMEOUT);
    stream.set_read_timeout(timeout).map_err(failed)?;
    let sent = writeln!(stream, "{line}");
    let mut answer = String::new();
    // There may be an answer to a line that was not taken to its end.
    let heard = BufReader::new(stream.take(LINE_BYTES_MAX as u64)).read_line(&mut answer);
    if answer.is_empty() {
        sent.and(heard).map_err(failed)?;
        return Err("the node went away".to_owned());
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::serialize;

    use super::*;
    use crate::generate::{hex, synthetic};

    /// What a caller hears who sends this and waits, with a node behind that answers nothing.
    fn heard(sent: &[u8], patience: Duration) -> String {
        let (mut caller, served) = UnixStream::pair().unwrap();
        let (sender, commands) = bounded(COMMANDS_MAX);
        drop(commands);
        let thread = std::thread::spawn(move || serve_one(&served, &sender, patience));
        caller.write_all(sent).unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).unwrap();
        drop(caller);
        thread.join().unwrap().unwrap();
        answer
    }

    #[test]
    fn what_is_no_line_is_answered_and_its_caller_let_go() {
        let long = [&b"tx "[..], &[b'0'; 3 * LINE_BYTES_MAX], b"\n"].concat();
        for (sent, expected) in [
            (&b"\xff\xfe\n"[..], "no text in UTF-8"),
            (&long, "the line is too long: at most 1048576 bytes"),
            (b"status", "did not end in time"),
            (b"\n", "status, tx HEX or mine N is wanted"),
            (b"status\n", "the node is too busy"),
        ] {
            // Who does not end its line is waited for in vain.
            let is_ended = sent.ends_with(b"\n");
            let patience = if is_ended { CALLER_TIMEOUT } else { Duration::from_millis(10) };
            let answer = heard(sent, patience);
            assert!(answer.starts_with(r#"{"event":"refused","why":""#), "{answer}");
            assert!(answer.contains(expected) && answer.ends_with("}\n"), "{answer}");
        }
    }

    #[test]
    fn a_line_is_a_command() {
        let body = serialize(&synthetic(1, 100));
        assert_eq!(read("status"), Ok(Command::Status));
        assert_eq!(read(&format!("tx {}", hex(&body))), Ok(Command::Submit(body)));
        assert_eq!(read("mine 3"), Ok(Command::Mine(3)));
        for wrong in ["", "tx", "tx 00", "mine", "mine 0", "mine 1001", "status now", "stop"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
