//! colibri-schedd, as far as it is spawnd's business: colibrid starts it and, being another user by
//! then, cannot kill it. It goes when colibrid does, or is made to.

use libcolibri::sys;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

/// A process that no later one of its number is taken for.
pub struct Schedd {
    pid: i32,
    start: u64,
}

impl Schedd {
    /// The process of that number; `None` when there is none, or one that was started later than this
    /// process: colibrid starts schedd first, and by then its number can be another's.
    #[must_use]
    pub fn find(pid: i32) -> Option<Schedd> {
        let start = sys::process_start(pid).ok()?;
        let own = i32::try_from(std::process::id()).ok()?;
        let first = sys::process_start(own).is_ok_and(|own| start <= own);
        first.then_some(Schedd { pid, start })
    }

    /// Kills it, at once: it stores nothing that could be lost.
    pub fn kill(&self) {
        if sys::process_start(self.pid).is_ok_and(|s| s == self.start) {
            // It may have gone by itself.
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }
}
