//! Why there is no ring, in words that say what to do about it.
//!
//! The kernel answers with an errno that means different things in different places;
//! [`RingError::diagnose`] is a pure function from what can be known to the most likely cause.

use std::{fs, io};

/// The oldest kernel with completions only where they are asked for (DEFER_TASKRUN).
const KERNEL_MIN: (u32, u32) = (6, 1);

/// The ring cannot be made. Each cause names its cure.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The kernel is too old.
    #[error("io_uring of kernel {release} lacks {missing}: kernel 6.1 or newer is needed")]
    KernelTooOld {
        /// Release of the running kernel.
        release: String,
        /// What was asked for and is not there.
        missing: &'static str,
    },
    /// The administrator switched io_uring off.
    #[error(
        "io_uring is switched off on this machine (kernel.io_uring_disabled is {level}): \
         `sysctl kernel.io_uring_disabled=0` switches it on; with 1 it is also enough to run in \
         the group of kernel.io_uring_group"
    )]
    Disabled {
        /// Value of the sysctl: 1 for the unprivileged, 2 for all.
        level: String,
    },
    /// The system calls are filtered.
    #[error(
        "io_uring is refused to this process, most likely by the seccomp profile of its \
         container: allow io_uring_setup, io_uring_enter and io_uring_register in the profile"
    )]
    Filtered,
    /// The rings and buffers do not fit into the memory that may be locked.
    #[error(
        "no memory for the ring while it was to {step}: raise the memlock limit (`ulimit -l`, \
         LimitMEMLOCK= of the service, --ulimit memlock= of the container) or make the \
         receive buffers fewer"
    )]
    Memory {
        /// What failed.
        step: &'static str,
    },
    /// No file descriptor is left.
    #[error("no file descriptor is left: raise the nofile limit (`ulimit -n`)")]
    Files,
    /// The congestion control is unknown here.
    #[error(
        "congestion control {name:?} cannot be used ({source}): \
         net.ipv4.tcp_allowed_congestion_control lists what can"
    )]
    CongestionControl {
        /// The name asked for.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Sizes that cannot be.
    #[error("{what} is {value}, but must be {must}")]
    Size {
        /// What is wrong.
        what: &'static str,
        /// Its value.
        value: u32,
        /// What is allowed.
        must: &'static str,
    },
    /// Anything else.
    #[error("cannot {step}: {source}")]
    System {
        /// What failed.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What can be known about the kernel, besides its answer.
pub(super) struct Surroundings {
    /// `kernel.io_uring_disabled`, since 6.6.
    pub(super) disabled: Option<String>,
    /// Release of the kernel, like `6.1.0-13-amd64`.
    pub(super) release: String,
}

impl Surroundings {
    /// Of the running kernel.
    pub(super) fn read() -> Self {
        let read = |path| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        Self {
            disabled: read("/proc/sys/kernel/io_uring_disabled"),
            release: read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
        }
    }

    fn is_new_enough(&self) -> bool {
        let mut numbers = self.release.split(['.', '-']).map(|part| part.parse::<u32>().ok());
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) => (major, minor) >= KERNEL_MIN,
            _ => false,
        }
    }
}

impl RingError {
    /// What it means that `step` failed with this errno.
    pub(super) fn diagnose(step: &'static str, error: io::Error, around: &Surroundings) -> Self {
        let too_old = |missing| Self::KernelTooOld { release: around.release.clone(), missing };
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => match around.disabled.as_deref() {
                Some(level @ ("1" | "2")) => Self::Disabled { level: level.to_owned() },
                _ => Self::Filtered,
            },
            Some(libc::ENOSYS) if around.is_new_enough() => Self::Filtered,
            Some(libc::ENOSYS) => too_old("everything"),
            Some(libc::EINVAL) if !around.is_new_enough() => too_old("what we set it up with"),
            Some(libc::ENOMEM) => Self::Memory { step },
            Some(libc::EMFILE | libc::ENFILE) => Self::Files,
            _ => Self::System { step, source: error },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(errno: i32, disabled: Option<&str>, release: &str) -> String {
        let around =
            Surroundings { disabled: disabled.map(str::to_owned), release: release.to_owned() };
        RingError::diagnose("set it up", io::Error::from_raw_os_error(errno), &around).to_string()
    }

    #[test]
    fn a_refusal_is_told_apart_by_the_sysctl() {
        assert!(text(libc::EPERM, Some("2"), "6.8.0").contains("io_uring_disabled is 2"));
        assert!(
            text(libc::EPERM, Some("1"), "6.8.0").contains("sysctl kernel.io_uring_disabled=0")
        );
        assert!(text(libc::EPERM, Some("0"), "6.8.0").contains("seccomp profile"));
        assert!(text(libc::EPERM, None, "6.1.0").contains("seccomp profile"));
        assert!(text(libc::EACCES, None, "6.1.0").contains("seccomp profile"));
    }

    #[test]
    fn an_unknown_call_is_an_old_kernel_or_a_filter() {
        assert!(text(libc::ENOSYS, None, "4.19.0-5-amd64").contains("kernel 6.1 or newer"));
        assert!(text(libc::ENOSYS, None, "6.12.3").contains("seccomp profile"));
    }

    #[test]
    fn refused_flags_are_an_old_kernel_unless_it_is_new() {
        assert!(text(libc::EINVAL, None, "5.15.0-91-generic").contains("kernel 5.15.0-91-generic"));
        assert!(text(libc::EINVAL, None, "6.0.9").contains("kernel 6.1 or newer"));
        assert!(text(libc::EINVAL, None, "6.1").starts_with("cannot set it up: "));
        assert!(text(libc::EINVAL, None, "10.0.1").starts_with("cannot set it up: "));
    }

    #[test]
    fn limits_are_named() {
        assert!(text(libc::ENOMEM, None, "6.8.0").contains("memlock"));
        assert!(text(libc::EMFILE, None, "6.8.0").contains("nofile"));
        assert!(text(libc::EBADF, None, "6.8.0").starts_with("cannot set it up: "));
    }

    #[test]
    fn the_surroundings_of_this_machine_can_be_read() {
        assert_ne!(Surroundings::read().release, "unknown");
    }
}
