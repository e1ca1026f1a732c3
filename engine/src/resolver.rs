//! Names to addresses. The system's resolver blocks, and the loop must not: each name gets a thread
//! that lives until it is resolved or given up by the system.
//!
//! Invariant: every name that was asked for is answered once, in whatever order.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::thread::JoinHandle;

use bridge::Waker;
use crossbeam_channel::{Receiver, Sender, bounded};

/// Names that are resolved at once: seeds are few, and a slow one must not hold up the others.
const RESOLVING_MAX: usize = 4;

/// Names that wait. More seeds than this at once are answered with no address, and asked again.
const WAITING_MAX: usize = 16;

/// Addresses taken from one name. Seeds give some tens.
const ADDRS_MAX: usize = 256;

/// A name, and the addresses behind it.
pub(crate) type Answer = (Box<str>, Vec<SocketAddr>);

/// Resolves some names at once, and tells its loop.
pub(crate) struct Resolver {
    /// Of names that come without one.
    port: u16,
    waker: Waker,
    /// One place for each name under way, so that no thread waits to answer.
    answers: (Sender<Answer>, Receiver<Answer>),
    resolving: usize,
    waiting: VecDeque<Box<str>>,
    threads: Vec<JoinHandle<()>>,
}

impl Resolver {
    pub(crate) fn new(port: u16, waker: Waker) -> Self {
        Self {
            port,
            waker,
            answers: bounded(RESOLVING_MAX),
            resolving: 0,
            waiting: VecDeque::new(),
            threads: Vec::new(),
        }
    }

    /// Begins with a name, or has it wait; gives it back if too many wait.
    pub(crate) fn ask(&mut self, name: Box<str>) -> Option<Box<str>> {
        if self.resolving < RESOLVING_MAX {
            self.begin(name);
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(name);
        } else {
            return Some(name);
        }
        None
    }

    /// The next answer that is there. Its thread makes room for the next name.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let answer = self.answers.1.try_recv().ok()?;
        self.resolving -= 1;
        self.threads.retain(|thread| !thread.is_finished());
        if let Some(name) = self.waiting.pop_front() {
            self.begin(name);
        }
        Some(answer)
    }

    /// Begins with no other name: nobody wants the answers any more.
    pub(crate) fn stop(&mut self) {
        self.waiting.clear();
    }

    fn begin(&mut self, name: Box<str>) {
        self.resolving += 1;
        let (answer, waker, port) = (self.answers.0.clone(), self.waker.clone(), self.port);
        let asked = name.clone();
        let thread = bridge::spawn("molva-resolve", move || {
            let addrs = resolve(&asked, port);
            drop(answer.send((asked, addrs))); // fails when the loop is gone
            waker.wake();
        });
        match thread {
            Ok(thread) => self.threads.push(thread),
            Err(error) => {
                tracing::warn!(%name, %error, "no thread to resolve a name");
                drop(self.answers.0.try_send((name, Vec::new()))); // its place is free
                self.waker.wake();
            }
        }
    }
}

impl Drop for Resolver {
    /// Threads that have answered are joined. One that the system keeps waiting is left to it: it
    /// holds nothing but a name.
    fn drop(&mut self) {
        self.stop();
        while self.answer().is_some() {}
        for thread in self.threads.drain(..) {
            if self.resolving == 0 {
                drop(thread.join());
            }
        }
    }
}

/// The addresses of `host`, `host:port`, or an address; none if the system knows none.
fn resolve(name: &str, port: u16) -> Vec<SocketAddr> {
    let has_port = name
        .rsplit_once(':')
        .is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok());
    let found = match (name.parse::<IpAddr>(), has_port) {
        (Ok(ip), _) => return vec![peer::canonical(SocketAddr::new(ip, port))],
        (_, true) => name.to_socket_addrs(),
        (_, false) => (name, port).to_socket_addrs(),
    };
    match found {
        Ok(addrs) => addrs.map(peer::canonical).take(ADDRS_MAX).collect(),
        Err(error) => {
            tracing::warn!(name, %error, "a name was not resolved");
            Vec::new()
        }
    }
}

/// No IPv6 address without its brackets.
fn is_host(text: &str) -> bool {
    !text.contains(':') || text.ends_with(']')
}

#[cfg(test)]
mod tests {
    use codec::Network;

    use super::*;

    #[test]
    fn numbers_are_resolved_with_their_port_or_the_networks() {
        let resolved = |name: &str| resolve(name, 3414).iter().map(ToString::to_string).collect();
        for (name, addr) in [
            ("192.0.2.7", "192.0.2.7:3414"),
            ("192.0.2.7:1", "192.0.2.7:1"),
            ("::ffff:192.0.2.7", "192.0.2.7:3414"),
            ("2001:db8::1", "[2001:db8::1]:3414"),
            ("[2001:db8::1]:1", "[2001:db8::1]:1"),
        ] {
            let addrs: Vec<String> = resolved(name);
            assert_eq!(addrs, [addr], "{name}");
        }
        for name in ["", ":", "no such name", "256.0.0.1:x"] {
            assert_eq!(resolve(name, 3414), [], "{name}");
        }
    }

    #[test]
    fn every_name_is_answered_and_too_many_come_back() {
        let (loop_side, _chain) = bridge::open(bridge::Config::default(), &Network::DEV).unwrap();
        let mut resolver = Resolver::new(3414, loop_side.waker());
        let name = |n: usize| format!("192.0.2.{n}").into_boxed_str();
        let taken = RESOLVING_MAX + WAITING_MAX;
        for n in 0..taken {
            assert_eq!(resolver.ask(name(n)), None);
        }
        assert_eq!(resolver.ask(name(taken)), Some(name(taken)));
        let mut answered = Vec::new();
        while answered.len() < taken {
            match resolver.answer() {
                Some((name, addrs)) => {
                    assert_eq!(addrs, [SocketAddr::new(name.parse().unwrap(), 3414)]);
                    answered.push(name);
                }
                None => std::thread::yield_now(),
            }
        }
        answered.sort_unstable();
        answered.dedup();
        assert!(answered.len() == taken && resolver.resolving == 0 && resolver.answer().is_none());
    }
}
