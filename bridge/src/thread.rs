//! The only place where threads are born.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a named thread. The kernel shows the first 15 bytes of the name.
///
/// # Errors
///
/// What the system says when it has no thread to give.
///
/// # Panics
///
/// If the name contains a zero byte.
pub fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(body)
}
