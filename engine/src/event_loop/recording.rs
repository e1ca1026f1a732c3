//! The recording of a core: what it has written down goes to a file at the end of each turn.
//!
//! For bugs that show in a process far away. The loop's thread writes, and waits for the disk: who
//! asks for a recording pays for it, and nobody else.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use peer::RECORDING_MAGIC;

use super::EventLoop;

/// Bytes kept for the next turn's write; more are given back.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Where a recording goes.
pub(crate) struct Recording {
    file: File,
    buffer: Vec<u8>,
}

impl Recording {
    /// Begins one in a file that only its owner reads, for it holds the core's secrets. The
    /// recording that was there is kept under the name with `.before` behind it: often it is the
    /// one that is wanted, when something restarts what broke. What is no recording stays, and none
    /// is begun.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let refused = |told| Err(io::Error::new(io::ErrorKind::InvalidInput, told));
        // Opening a pipe waits for whoever reads from it.
        if path.metadata().is_ok_and(|found| found.file_type().is_fifo()) {
            return refused("it is a pipe");
        }
        let open = |path: &Path, new: bool| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .create_new(new)
                .mode(0o600)
                .open(path)
        };
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut file = open(&path, false)?;
        if file.metadata()?.is_file() {
            if file.try_lock().is_err() {
                return refused("another engine records into it");
            }
            let mut head = Vec::new();
            Read::by_ref(&mut file).take(RECORDING_MAGIC.len() as u64).read_to_end(&mut head)?;
            if head == RECORDING_MAGIC {
                let mut before = path.clone().into_os_string();
                before.push(".before");
                std::fs::rename(&path, before)?;
                file = open(&path, true)?;
                file.try_lock()?;
            } else if !head.is_empty() {
                return refused("it holds something else, which would be lost");
            }
            file.set_permissions(Permissions::from_mode(0o600))?;
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
