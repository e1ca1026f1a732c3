//! The few things asked of the system: cores, CPU time of a thread, socket options.

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

/// CPU time that the thread of this name has used so far, in nanoseconds.
pub(super) fn cpu_ns(process: u32, thread: &str) -> io::Result<u64> {
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim() != thread {
            continue;
        }
        let used = fs::read_to_string(task.join("schedstat"))?;
        let used = used.split(' ').next().and_then(|used| used.parse().ok());
        return used.ok_or_else(|| io::Error::other("schedstat without a number"));
    }
    Err(io::Error::other(format!("no thread {thread} in process {process}")))
}
