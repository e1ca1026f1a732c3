//! What the system says of this process and of the kernel's memory. Every reading that is not to
//! be had is `None`, never a guess.

use std::fs;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Name of the engine's thread.
const ENGINE_THREAD: &str = "molva-engine";

/// Raises the soft limit of descriptors to the hard one: every connection is a descriptor.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Raising to the hard limit needs no privilege; if it fails all the same, connecting says so.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The limit of descriptors, for an error in time.
pub(crate) fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Resident bytes of this process.
pub(crate) fn resident_bytes() -> Option<u64> {
    field("/proc/self/smaps_rollup", "Rss:").map(|kib| kib * 1024)
}

/// Resident bytes of this process, by a reading that costs next to nothing: the kernel's running
/// count, which may lag by some pages for each processor.
pub(crate) fn resident_bytes_now() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Bytes that the kernel uses for its objects and for the buffers of TCP sockets, machine-wide.
pub(crate) fn kernel_bytes() -> Option<u64> {
    let slab = field("/proc/meminfo", "Slab:")? * 1024;
    let sockets = fs::read_to_string("/proc/net/sockstat").ok()?;
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:"))?;
    let pages: u64 =
        tcp.split_whitespace().skip_while(|word| *word != "mem").nth(1)?.parse().ok()?;
    Some(slab + pages * rustix::param::page_size() as u64)
}

/// Nanoseconds that the engine's thread has run on a processor.
pub(crate) fn engine_cpu_ns() -> Option<u64> {
    for task in fs::read_dir("/proc/self/task").ok()?.flatten() {
        let path = task.path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.trim_end() == ENGINE_THREAD {
            let times = fs::read_to_string(path.join("schedstat")).ok()?;
            return times.split_whitespace().next()?.parse().ok();
        }
    }
    None
}

/// Nanoseconds that all threads of this process have run on a processor.
pub(crate) fn cpu_ns() -> u64 {
    let ran = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    ran.tv_sec as u64 * 1_000_000_000 + ran.tv_nsec as u64
}

/// The first number after a name at the beginning of a line.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readings_are_there() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
        assert!(resident_bytes_now().is_some_and(|bytes| bytes > 100_000));
        assert!(kernel_bytes().is_some_and(|bytes| bytes > 100_000));
        assert!(descriptor_limit() > 0);
        assert_eq!(engine_cpu_ns(), None, "there is no engine in this test");
    }
}
