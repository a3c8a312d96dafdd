//! Waiting for children.

use std::io;

use nix::errno::Errno;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it; may be one that has no name.
    Signal(i32),
}

impl Ended {
    /// Reads a wait status of a process that has ended.
    #[must_use]
    pub fn from_status(status: i32) -> Ended {
        if libc::WIFEXITED(status) {
            Ended::Code(libc::WEXITSTATUS(status))
        } else {
            Ended::Signal(libc::WTERMSIG(status))
        }
    }
}

/// Reaps one child that has ended: its id and its wait status. Waits for one if `block`;
/// otherwise `None` says that there is none now.
///
/// ECHILD if there is no child at all. Unlike nix's version it also understands a death by a
/// real-time signal, with which a hostile program could otherwise hide its end.
pub fn wait_any(block: bool) -> io::Result<Option<(i32, i32)>> {
    let flags = if block { 0 } else { libc::WNOHANG };
    loop {
        let mut status = 0;
        // SAFETY: writes one integer.
        let result = unsafe { libc::waitpid(-1, &raw mut status, flags) };
        match Errno::result(result) {
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
            Ok(0) => return Ok(None),
            Ok(pid) => return Ok(Some((pid, status))),
        }
    }
}
