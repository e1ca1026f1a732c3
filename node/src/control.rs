//! An operator's way to a running node: a Unix socket in its data directory.
//!
//! A line is a command, the answer is a line of JSON: `status`, `tx HEX`, `mine N`. One caller at a
//! time, on a thread of its own, which hands the command to the chain's thread and waits.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::backend::MINE_MAX;
use crate::generate::transaction_of_hex;
use crate::say::Said;

/// Longest line: a transaction of 400 kB in digits, and more than that.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// How long a caller may take for its line, and for hearing the answer.
const CALLER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the chain's thread may take for the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after a caller could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Commands that wait for the chain's thread: callers come one at a time.
const COMMANDS_MAX: usize = 4;

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
                Ok((caller, _)) => drop(serve_one(&caller, &sender)),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    };
    std::thread::Builder::new().name("control".into()).spawn(serve).map_err(failed)?;
    Ok(commands)
}

fn serve_one(mut caller: &UnixStream, sender: &Sender<Asked>) -> io::Result<()> {
    caller.set_read_timeout(Some(CALLER_TIMEOUT))?;
    caller.set_write_timeout(Some(CALLER_TIMEOUT))?;
    let mut line = String::new();
    BufReader::new(caller.take(LINE_BYTES_MAX)).read_line(&mut line)?;
    let refused = |why: String| Said::Refused { why }.line();
    let line = match read(line.trim()) {
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
    writeln!(caller, "{line}")
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
    writeln!(stream, "{line}").map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut answer).map_err(failed)?;
    if answer.is_empty() { Err("the node went away".to_owned()) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::serialize;

    use super::*;
    use crate::generate::{hex, synthetic};

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
