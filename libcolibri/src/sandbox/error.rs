//! Why a process could not be confined.

use std::fmt;
use std::io;
use std::os::fd::RawFd;

/// Why [`super::confine`] failed. All of them are fatal for the process.
#[derive(Debug)]
pub enum ConfineError {
    /// A descriptor is open that the caller did not name.
    UnknownDescriptor {
        /// Who.
        process: &'static str,
        /// Its number.
        fd: RawFd,
    },
    /// A descriptor was named with a role that the table lacks.
    UnknownRole {
        /// Who.
        process: &'static str,
        /// Its number.
        fd: RawFd,
        /// The role.
        role: &'static str,
    },
    /// A descriptor was named twice.
    NamedTwice {
        /// Who.
        process: &'static str,
        /// Its number.
        fd: RawFd,
        /// The second role.
        role: &'static str,
    },
    /// A system call on the way failed.
    Step {
        /// Who.
        process: &'static str,
        /// What it wanted.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A line of the self-test did not fail as it must.
    SelfTest {
        /// Who.
        process: &'static str,
        /// The line.
        line: &'static str,
        /// What should have come of it.
        expected: String,
        /// What came of it.
        found: String,
    },
}

impl ConfineError {
    pub(super) fn step(process: &'static str, action: &'static str, source: io::Error) -> Self {
        Self::Step {
            process,
            action,
            source,
        }
    }
}

impl fmt::Display for ConfineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownDescriptor { process, fd } => write!(
                f,
                "cannot confine {process}: descriptor {fd} is open but has no role"
            ),
            Self::UnknownRole { process, fd, role } => write!(
                f,
                "cannot confine {process}: descriptor {fd} has the unknown role {role:?}"
            ),
            Self::NamedTwice { process, fd, role } => write!(
                f,
                "cannot confine {process}: descriptor {fd} is named twice, now as {role:?}"
            ),
            Self::Step {
                process,
                action,
                source,
            } => write!(f, "cannot confine {process}: {action}: {source}"),
            Self::SelfTest {
                process,
                line,
                expected,
                found,
            } => write!(
                f,
                "cannot confine {process}: self-test {line:?}: expected {expected}, found {found}"
            ),
        }
    }
}

impl std::error::Error for ConfineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Step { source, .. } => Some(source),
            _ => None,
        }
    }
}
