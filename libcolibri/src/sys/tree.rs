//! A process and everything below it.

use std::io;

use nix::sys::signal::Signal;

use super::system;
use crate::state::Container;

/// Sends `signal` to every descendant of `root_pid`, and to that process itself if `include_root`.
///
/// Returns how many processes got it; none is not an error. Descendants of a reaper are those it
/// has or inherits: double forks and new sessions don't hide.
///
/// FreeBSD: one call of the kernel, which stops the processes while it goes through them.
/// `root_pid` must be a reaper (`InvalidInput` if not: the kernel would silently take the next
/// reaper above it). Linux: descendants are looked up in `/proc`; for SIGKILL they are stopped
/// first until no new one appears, so that a fork bomb cannot outrun it. Processes are signalled
/// through a pidfd whose start time was checked, so no reused id is hit. The first refusal (EPERM)
/// is returned after all others were tried.
///
/// Linux without a PID namespace has a limit: a chain of processes that each fork a successor and end
/// at once can be faster than `/proc` is read. A namespace has no such gap.
///
/// Zombies are neither signalled nor counted. Success is no proof of death: ask [`count_tree`].
pub fn signal_tree(root_pid: i32, signal: Signal, include_root: bool) -> io::Result<u32> {
    checked(root_pid)?;
    system::signal_tree(root_pid, signal, include_root)
}

/// How many descendants of `root_pid` are alive, zombies and the process itself not counted.
///
/// ESRCH if there is no such process.
pub fn count_tree(root_pid: i32) -> io::Result<u32> {
    checked(root_pid)?;
    system::count_tree(root_pid)
}

/// [`count_tree`] for many at once; `None` for those that do not exist or cannot be asked.
///
/// Linux goes through `/proc` once for all of them.
#[must_use]
pub fn count_trees(roots: &[i32]) -> Vec<Option<u32>> {
    system::count_trees(roots)
}

/// Living processes of the user `uid` that were executed with `entry`, `NAME=value`, in their
/// environment: a search for what nobody inherits. Who has cleared its environment, or whom this
/// process may not look at, is not found.
pub fn find_by_environment(uid: u32, entry: &str) -> io::Result<Vec<i32>> {
    system::find_by_environment(uid, entry.as_bytes())
}

fn checked(pid: i32) -> io::Result<()> {
    if pid <= 0 {
        return Err(nix::errno::Errno::ESRCH.into());
    }
    Ok(())
}

/// The best container that this process can make for a run, found by trying.
///
/// `root` says whether the runs will be started by root; forks a child for each try, so call it
/// while the process has one thread.
#[must_use]
pub fn available_container(root: bool) -> Container {
    system::available_container(root)
}
