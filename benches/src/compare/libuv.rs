//! The server on libuv: C, compiled when the comparison starts, if libuv's headers are here.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Settings, for the report.
pub(super) const SETTINGS: &str =
    "C on libuv, cc -O2, one shared buffer of 64 KiB, a port of our dedup (64-bit, huge pages)";

const SOURCE: &str = include_str!("../../c/libuv_server.c");

/// Where the compiled program is.
pub(super) fn program(directory: &Path) -> PathBuf {
    directory.join("libuv_server")
}

/// Compiles it; `None` when the host has no development package of libuv.
pub(super) fn build(directory: &Path) -> io::Result<Option<PathBuf>> {
    let asked = Command::new("pkg-config").args(["--cflags", "--libs", "libuv"]).output();
    let Ok(flags) = asked else { return Ok(None) };
    if !flags.status.success() {
        return Ok(None);
    }
    let flags = String::from_utf8_lossy(&flags.stdout).into_owned();
    let program = program(directory);
    let mut compiler = Command::new("cc")
        .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread", "-x", "c", "-", "-o"])
        .arg(&program)
        .args(["-x", "none"])
        .args(flags.split_whitespace())
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = compiler.stdin.take() {
        input.write_all(SOURCE.as_bytes())?;
    }
    if !compiler.wait()?.success() {
        return Err(io::Error::other("cc did not compile libuv_server.c"));
    }
    Ok(Some(program))
}
