//! Nodes as processes of their own: started, heard, told and ended by a test, and nobody else's.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take that a test waits for. Generous: machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory for one test, which goes with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("molva-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The program with these arguments and a data directory.
pub(crate) fn command(arguments: &[&str], data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.args(arguments).arg("--data").arg(data).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str], data: &Path) -> Output {
    command(arguments, data).output().unwrap()
}

/// The same, which must end well and say one line.
#[track_caller]
pub(crate) fn said(arguments: &[&str], data: &Path) -> Value {
    let output = run(arguments, data);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A running node. Dropping it kills it.
pub(crate) struct Node {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
    reader: Option<JoinHandle<()>>,
    pub(crate) data: PathBuf,
}

impl Node {
    /// Starts a node on a port of 127.0.0.1 that the system chooses, which dials these.
    pub(crate) fn start(data: &Path, chain: &str, connect: &[&str]) -> Self {
        let mut arguments = vec!["run", "--listen", "127.0.0.1:0", "--chain", chain];
        connect.iter().for_each(|addr| arguments.extend(["--connect", addr]));
        Self::spawn(command(&arguments, data), data)
    }

    /// Starts a node as the command says.
    pub(crate) fn spawn(mut command: Command, data: &Path) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (out, heard) = (child.stdout.take().unwrap(), Arc::clone(&lines));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                heard.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, lines, reader: Some(reader), data: data.to_owned() }
    }

    /// What it has said so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits until a line gives something.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, look: impl Fn(&[Value]) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look(&self.lines()) {
                return found;
            }
            let lines = self.lines();
            let is_over = self.reader.as_ref().is_none_or(JoinHandle::is_finished);
            assert!(!is_over && start.elapsed() < PATIENCE, "no {what}: {:?}", lines.last());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where it listens.
    #[track_caller]
    pub(crate) fn addr(&self) -> String {
        self.wait_for("address", |lines| {
            let line = lines.iter().find(|line| line["event"] == "listening")?;
            line["addrs"][0].as_str().map(str::to_owned)
        })
    }

    /// Waits until its best chain ends with this block.
    #[track_caller]
    pub(crate) fn wait_for_tip(&self, hash: &str) {
        self.wait_for(&format!("tip {hash}"), |lines| {
            let tip = lines.iter().rev().find(|line| line["event"] == "tip")?;
            (tip["hash"] == hash).then_some(())
        });
    }

    /// Waits until the transaction is in its mempool.
    #[track_caller]
    pub(crate) fn wait_for_transaction(&self, id: &str) {
        self.wait_for(&format!("transaction {id}"), |lines| {
            lines.iter().any(|line| is_transaction(line, id)).then_some(())
        });
    }

    /// How often each transaction came into its mempool.
    pub(crate) fn transactions(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for line in self.lines() {
            if line["event"] == "transaction" {
                *counts.entry(line["id"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        counts
    }

    /// What it answers to `status`.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        said(&["status"], &self.data)
    }

    /// Waits until its status is so.
    #[track_caller]
    pub(crate) fn wait_for_status(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let status = self.status();
            if is_so(&status) {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "no {what}: {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it by SIGTERM, which must be clean.
    #[track_caller]
    pub(crate) fn end(self) {
        self.end_by("TERM");
    }

    /// Ends it by the signal of this name, which must be clean.
    #[track_caller]
    pub(crate) fn end_by(mut self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(status.code(), Some(0));
    }

    /// Ends it as a power switch would.
    pub(crate) fn kill(mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // What it had said before is still in the pipe.
        self.reader.take().unwrap().join().unwrap();
        self.lines()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn is_transaction(line: &Value, id: &str) -> bool {
    line["event"] == "transaction" && line["id"] == id
}
