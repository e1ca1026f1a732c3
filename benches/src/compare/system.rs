//! The few things asked of the system: cores, times of a thread, socket options.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;

use rustix::net::sockopt;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Core of the servers' network threads, which is what is measured.
pub(super) const NETWORK_CORE: usize = 0;

/// Core of the driver, and of the servers' other threads.
pub(super) const DRIVER_CORE: usize = 1;

/// Both ends: what the host's default is must not matter (pacing ones halve loopback).
pub(super) const CONGESTION: &str = "cubic";

/// Keeps the calling thread, and threads that it will start, on one core.
pub(super) fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// A loopback listener with the options that accepted sockets inherit.
pub(super) fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    tune(&listener)?;
    Ok(listener)
}

/// No delay, and the congestion control of the comparison.
pub(super) fn tune(socket: &impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(socket, true)?;
    Ok(sockopt::set_tcp_congestion(socket, CONGESTION)?)
}

/// What a thread has had of its core so far, in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct ThreadTime {
    /// It ran.
    pub(super) ran_ns: u64,
    /// It could have run, and another did.
    pub(super) waited_ns: u64,
}

/// The times of the thread of this name.
pub(super) fn thread_time(process: u32, thread: &str) -> io::Result<ThreadTime> {
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim() != thread {
            continue;
        }
        let text = fs::read_to_string(task.join("schedstat"))?;
        let mut numbers = text.split(' ').map(str::parse);
        let (Some(Ok(ran_ns)), Some(Ok(waited_ns))) = (numbers.next(), numbers.next()) else {
            return Err(io::Error::other("schedstat without numbers"));
        };
        return Ok(ThreadTime { ran_ns, waited_ns });
    }
    Err(io::Error::other(format!("no thread {thread} in process {process}")))
}
