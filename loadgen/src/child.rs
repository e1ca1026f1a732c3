//! A child process of this program and the JSON lines between it and its parent, at both ends.
//!
//! Invariant: a child never outlives the parent: it ends when its standard input closes, which
//! the kernel does for a parent that dies.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Starts this program with a hidden subcommand; `name` is for complaints.
pub(crate) fn start(command: &str, name: &str) -> Result<(Child, ChildStdin, ChildStdout), String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(own)
        .arg(command)
        // A group of its own: Ctrl-C is for the parent, which ends its children in order.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("starting {name}: {error}"))?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    Ok((child, input.expect("it is piped"), output.expect("it is piped")))
}

/// Tells a child something.
pub(crate) fn tell(
    input: &mut ChildStdin,
    name: &str,
    what: &impl Serialize,
) -> Result<(), String> {
    let line = serde_json::to_string(what).expect("it is plain data");
    writeln!(input, "{line}").map_err(|error| format!("telling {name}: {error}"))
}

/// Hands on what a child says, on a thread of its own, and `None` when it says no more. Ends
/// early when `hand_on` says that nobody listens.
pub(crate) fn hear<T: DeserializeOwned>(
    output: ChildStdout,
    mut hand_on: impl FnMut(Option<T>) -> bool + Send + 'static,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let Ok(said) = serde_json::from_str(&line) else { break };
            if !hand_on(Some(said)) {
                return;
            }
        }
        // Nobody listens when the run is over, and then it is no news.
        hand_on(None);
    });
}

/// Waits until a child whose input was closed has left, and ends it at the deadline.
pub(crate) fn see_off(child: &mut Child, deadline: Instant) {
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    // Ending one that has ended is refused, and harmless.
    let _ = child.kill();
    let _ = child.wait();
}

/// The child's end: what it is to do, the first line that comes.
pub(crate) fn spec<T: DeserializeOwned>() -> Result<T, String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|error| error.to_string())?;
    serde_json::from_str(&line).map_err(|error| error.to_string())
}

/// The child's end: orders as they come; disconnected when the parent is gone.
pub(crate) fn orders<T: DeserializeOwned + Send + 'static>() -> mpsc::Receiver<T> {
    let (tell, orders) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(order) = serde_json::from_str(&line) else { break };
            if tell.send(order).is_err() {
                return;
            }
        }
    });
    orders
}

/// The child's end: tells the parent something.
pub(crate) fn say(what: &impl Serialize) {
    let line = serde_json::to_string(what).expect("it is plain data");
    let mut out = std::io::stdout().lock();
    // A parent that is gone has closed our input too, and that ends us.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
