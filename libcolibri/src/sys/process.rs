//! One process: fork, exec, what it may become, how another one is recognised.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::sys::resource::{getrlimit, setrlimit, Resource};
use nix::sys::signal::Signal;
use nix::unistd::{self, ForkResult};

use super::system;

/// Which side of a [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The old process; the number is the child's.
    Parent(i32),
    /// The new process.
    Child,
}

/// Forks. Only for processes with one thread, which all of the suite's are; debug builds check it.
///
/// The child has copies of all values: what it must not drop (a guard that removes a file) it must
/// forget, or leave by [`exit_now`].
pub fn fork() -> io::Result<Fork> {
    debug_assert!(
        system::thread_count().map_or(true, |n| n == 1),
        "fork needs a single-threaded process"
    );
    // SAFETY: with one thread no lock can be held by a thread that the child lacks.
    match unsafe { unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(child.as_raw())),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Replaces this program by the one that `fd` has open; returns only the reason why not.
pub fn exec_fd(fd: BorrowedFd<'_>, argv: &[CString], env: &[CString]) -> io::Error {
    failed(unistd::fexecve(fd, argv, env))
}

/// Replaces this program by the one at `path`, without any search; returns only the reason why not.
pub fn exec_path(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    failed(unistd::execve(path, argv, env))
}

fn failed(result: nix::Result<Infallible>) -> io::Error {
    match result {
        Ok(never) => match never {},
        Err(e) => e.into(),
    }
}

/// Ends this process at once: no destructors, no exit handlers, no flushing.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no precondition.
    unsafe { libc::_exit(code) }
}

/// Sets what `ps` shows after the program's name: `colibrid: [keeper]`.
///
/// The program's name comes first on both systems, because `service(8)` recognises a process by it.
/// On Linux the arguments are overwritten in place (the text is cut to their length), so arguments
/// must have been read before; it also needs `/proc`, so call it before confinement.
/// NUL bytes are refused.
pub fn set_title(text: &str) -> io::Result<()> {
    let text = CString::new(text)?;
    system::set_title(&text)
}

/// Gives up set-id bits and file capabilities for this process and all that it will ever start.
pub fn no_new_privs() -> io::Result<()> {
    system::no_new_privs()
}

/// Forbids attaching a debugger to this process, and core dumps. Exec undoes it. FreeBSD leaves a
/// process that is being traced as it is, and this is no error there.
///
/// On Linux it also hands the files of `/proc/self` to root (as changing the user does, until exec):
/// an unprivileged process must have made its user namespace before.
pub fn not_traceable() -> io::Result<()> {
    system::not_traceable()
}

/// Asks for `signal` when the parent dies.
///
/// Cleared by fork on both systems and by a set-id exec. Linux also clears it when the process
/// changes its user: call it after [`super::drop_to`] (again). A parent that had died before the
/// call sends nothing: check [`parent_is`] afterwards.
pub fn die_with_parent(signal: Signal) -> io::Result<()> {
    system::die_with_parent(signal)
}

/// Whether `pid` is still this process's parent: the check that belongs after [`die_with_parent`].
///
/// The init of a new PID namespace sees 0 as its parent as long as that one lives outside.
#[must_use]
pub fn parent_is(pid: i32) -> bool {
    unistd::getppid().as_raw() == pid
}

/// Makes this process the new parent of every orphan among its future descendants.
///
/// Asking twice is fine.
pub fn become_reaper() -> io::Result<()> {
    system::become_reaper()
}

/// Lowers limits of this process, soft and hard; a value above the present hard limit becomes that.
pub fn set_limits(limits: &[(Resource, u64)]) -> io::Result<()> {
    for &(resource, value) in limits {
        let (_, hard) = getrlimit(resource)?;
        let value = system::to_rlim(value).min(hard);
        setrlimit(resource, value, value)?;
    }
    Ok(())
}

/// When a process started: together with its id it names one process for ever (within one boot).
///
/// The unit differs per system (clock ticks since boot, microseconds since boot): compare, don't
/// compute. ESRCH if there is no such process. Zombies still have a start.
pub fn process_start(pid: i32) -> io::Result<u64> {
    system::process_start(pid)
}

/// A text that is different after every boot; 32 to 36 characters of hexadecimal and dashes.
pub fn boot_id() -> io::Result<String> {
    system::boot_id()
}

/// A process, held so that its end can be waited for: register it with mio as a `SourceFd`.
///
/// Works for any visible process, not just children, and does not reap. Linux: a pidfd. FreeBSD: an
/// own kqueue with `EVFILT_PROC`. It becomes readable when the process has ended.
#[derive(Debug)]
pub struct ProcessHandle(system::ProcessHandle);

impl ProcessHandle {
    /// Starts watching `pid`; ESRCH if there is no such process.
    ///
    /// Whoever knows the process by its start time must compare that after this call, not before.
    pub fn open(pid: i32) -> io::Result<Self> {
        if pid <= 0 {
            return Err(nix::errno::Errno::ESRCH.into());
        }
        system::ProcessHandle::open(pid).map(Self)
    }

    /// Whether the process has ended (an unreaped zombie has). Does not wait.
    pub fn has_exited(&mut self) -> io::Result<bool> {
        self.0.has_exited()
    }
}

impl AsRawFd for ProcessHandle {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_times_tell_processes_apart() {
        let me = unistd::getpid().as_raw();
        assert_eq!(process_start(me).unwrap(), process_start(me).unwrap());
        let parent = unistd::getppid().as_raw();
        assert!(process_start(parent).unwrap() <= process_start(me).unwrap());
        let none = process_start(i32::MAX).unwrap_err();
        assert_eq!(none.raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn the_boot_has_a_name() {
        let id = boot_id().unwrap();
        assert_eq!(id, boot_id().unwrap());
        assert!(id.len() >= 32 && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-'));
    }

    #[test]
    fn a_living_process_has_not_exited() {
        let mut me = ProcessHandle::open(unistd::getpid().as_raw()).unwrap();
        assert!(!me.has_exited().unwrap());
        assert!(ProcessHandle::open(i32::MAX).is_err());
        assert!(ProcessHandle::open(0).is_err());
    }
}
