//! The recording of a core: what it has written down goes to a file at the end of each turn.
//!
//! For bugs that show in a process far away. The loop's thread writes, and waits for the disk: who
//! asks for a recording pays for it, and nobody else.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::EventLoop;

/// Bytes kept for the next turn's write; more are given back.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Where a recording goes.
pub(crate) struct Recording {
    file: File,
    buffer: Vec<u8>,
}

impl Recording {
    /// Begins one in a file that only its owner reads, for it holds the core's secrets. What was
    /// there before is lost, unless somebody records into it just now.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let refused = |told| Err(io::Error::new(io::ErrorKind::InvalidInput, told));
        // Opening a pipe waits for whoever reads from it.
        if path.metadata().is_ok_and(|found| found.file_type().is_fifo()) {
            return refused("it is a pipe");
        }
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if file.metadata()?.is_file() {
            if file.try_lock().is_err() {
                return refused("another engine records into it");
            }
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.set_len(0)?;
        }
        Ok(Self { file, buffer: Vec::new() })
    }
}

impl EventLoop {
    /// What the core writes down goes there from now on.
    pub(crate) fn record(&mut self, recording: Recording) {
        self.recording = Some(recording);
    }

    pub(super) fn write_recording(&mut self) {
        let Some(Recording { file, buffer }) = &mut self.recording else { return };
        let goes_on = self.endpoint.take_recording(buffer);
        let written = file.write_all(buffer);
        buffer.clear();
        buffer.shrink_to(BUFFER_BYTES_MAX);
        match written {
            Ok(()) if goes_on => {}
            Ok(()) => {
                tracing::warn!("the recording is as long as it may be, and ends here");
                self.recording = None;
            }
            Err(error) => {
                tracing::warn!(%error, "the recording ends: it cannot be written");
                self.recording = None;
                self.endpoint.stop_recording();
            }
        }
    }
}
