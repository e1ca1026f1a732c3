//! A server under test, seen from the process that drives it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::server::{Account, Server};
use super::{libuv, system};

/// A running server. It ends when this is dropped.
pub(super) struct Running {
    server: Server,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// Where it listens.
    pub(super) addr: SocketAddr,
}

impl Running {
    /// Starts a server and waits until it listens. The engine alone can be one that is told when to
    /// pack.
    pub(super) fn start(
        server: Server,
        connections: u32,
        packs: bool,
        directory: &Path,
    ) -> io::Result<Self> {
        let mut command = match server {
            Server::Libuv => Command::new(libuv::program(directory)),
            Server::Engine | Server::TokioPlain | Server::TokioSeen | Server::TokioUring => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["server", server.name(), "--connections"]);
                command.arg(connections.to_string());
                command.args(packs.then_some("--packs"));
                command
            }
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut running = Self { server, child, input, output: BufReader::new(output), addr };
        let line = running.line()?;
        let port = line.strip_prefix("port ").and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| io::Error::other("the server told no port"))?;
        running.addr.set_port(port);
        Ok(running)
    }

    /// Number of its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU time that its network thread has used so far, in nanoseconds.
    pub(super) fn cpu_ns(&self) -> io::Result<u64> {
        Ok(system::thread_time(self.id(), self.server.network_thread())?.ran_ns)
    }

    /// Its account, once so many payloads came.
    pub(super) fn report(&mut self, distinct: u64) -> io::Result<Account> {
        let account = self.ask(&format!("report {distinct}"))?;
        Ok(serde_json::from_str(&account)?)
    }

    /// Has its workers pack without end from now on, or rest.
    pub(super) fn pack(&mut self, packs: bool) -> io::Result<()> {
        match self.ask(if packs { "pack" } else { "rest" })?.as_str() {
            "done" => Ok(()),
            other => Err(io::Error::other(format!("the server answered {other:?}"))),
        }
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        let input = self.input.as_mut().ok_or_else(|| io::Error::other("no input"))?;
        writeln!(input, "{question}")?;
        self.line()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has no state worth an orderly end; either may fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
