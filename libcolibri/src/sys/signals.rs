//! Signal dispositions and priority of a process that is about to become another program.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::{signal, SigHandler, SigSet, SigmaskHow, Signal};

/// Gives every signal its default action back and then unblocks all of them.
///
/// For a forked child: a handler of its parent would write to descriptors that are no longer what
/// the parent meant. Block all signals before the fork ([`block_signals`]), so that none comes in
/// between.
pub fn default_signals() -> io::Result<()> {
    for s in Signal::iterator() {
        if matches!(s, Signal::SIGKILL | Signal::SIGSTOP) {
            continue;
        }
        // SAFETY: the default action runs no code of this process.
        unsafe { signal(s, SigHandler::SigDfl) }?;
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// Ignores these signals, here and in the program that this process becomes.
pub fn ignore_signals(signals: &[Signal]) -> io::Result<()> {
    for s in signals {
        // SAFETY: ignoring runs no code of this process.
        unsafe { signal(*s, SigHandler::SigIgn) }?;
    }
    Ok(())
}

/// Blocks every signal that can be blocked; returns what was blocked before.
pub fn block_signals() -> io::Result<SigSet> {
    Ok(SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?)
}

/// Puts back what [`block_signals`] returned.
pub fn restore_signals(mask: &SigSet) -> io::Result<()> {
    mask.thread_set_mask()?;
    Ok(())
}

/// Sets the nice value of this process: -20 comes first, 19 last. Going below the present value
/// needs root.
pub fn set_nice(value: i32) -> io::Result<()> {
    // SAFETY: plain numbers; PRIO_PROCESS and 0 mean this process.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, value) })?;
    Ok(())
}

/// The nice value of this process.
#[must_use]
pub fn nice() -> i32 {
    // SAFETY: plain numbers. -1 may be an error, which cannot happen for the process itself.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_can_be_read_and_kept() {
        let now = nice();
        set_nice(now).unwrap();
        assert_eq!(nice(), now);
    }
}
