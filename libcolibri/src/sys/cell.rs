//! A run's container, in the same steps on both systems.
//!
//! The launcher, which becomes the run's monitor, goes through them in this order:
//! [`Cell::create`]; fork; in the child [`Cell::enter`] on the way to exec, or, where
//! [`Cell::has_init`], that child becomes the container's init, calls [`Cell::furnish`] and forks
//! the agent itself; in the launcher [`Cell::settle`] after the agent's exec, and
//! [`Cell::into_descriptor`] for the monitor. From then on the death of the monitor is the death of
//! everything inside (a [`Container::Reaper`] excepted). Whoever cleans up asks [`is_empty`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::system;
use crate::state::{Accounting, Container};

/// Whose root and network an agent gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within<'a> {
    /// The host's.
    Host,
    /// Those of a jail that exists (FreeBSD).
    Jail(&'a str),
    /// This root and the host's network (FreeBSD).
    Root(&'a Path),
}

/// Limits of a whole run, whoever its processes are; `None` leaves the system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunLimits {
    /// Resident memory, in bytes; who exceeds it is killed.
    pub memory: Option<u64>,
    /// Processes; no more are made.
    pub processes: Option<u64>,
    /// Percent of one processor; who exceeds it waits.
    pub cpu: Option<u64>,
}

impl RunLimits {
    /// Whether there is any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == RunLimits::default()
    }
}

/// What is needed to find a container again from outside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// Jail number, 0 where there is no jail.
    pub jid: i32,
    /// The jail's full name; empty where there is no jail.
    pub jail: String,
    /// Its root as the host sees it; empty where that is the host's.
    pub root: PathBuf,
    /// Process id of the container's init, 0 where there is none.
    pub init: i32,
    /// When that process started.
    pub init_start: u64,
}

/// A container in the making. Dropping it before the agent is in removes it.
#[derive(Debug)]
pub struct Cell {
    kind: Container,
    inner: system::Cell,
}

impl Cell {
    /// Makes the container; `name` must be unique among runs. Needs root, but for
    /// [`Container::UserNamespace`] and [`Container::Reaper`].
    ///
    /// The process must be a reaper already, and have no other child.
    pub fn create(kind: Container, name: &str, within: Within<'_>) -> io::Result<Cell> {
        let inner = system::Cell::create(kind, name, within)?;
        Ok(Cell { kind, inner })
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> Container {
        self.kind
    }

    /// Whether the next child is the container's init instead of the agent.
    #[must_use]
    pub fn has_init(&self) -> bool {
        matches!(
            self.kind,
            Container::PidNamespace | Container::UserNamespace
        )
    }

    /// How to find it again, init left out.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.inner.trace()
    }

    /// Sets limits of the whole run, before anybody is inside.
    ///
    /// # Errors
    /// Where the system does not account for runs, see [`accounting`].
    pub fn limit(&self, limits: &RunLimits) -> io::Result<()> {
        match limits.is_empty() {
            true => Ok(()),
            false => self.inner.limit(limits),
        }
    }

    /// In the agent's process, still with the launcher's rights: goes inside.
    ///
    /// No directory may be open.
    pub fn enter(&self) -> io::Result<()> {
        self.inner.enter()
    }

    /// In the init: gives the container its own view. The process list shows the container only,
    /// the directories in `hide` look empty, and of everything in `tmp` only its entry `own` is
    /// left.
    pub fn furnish(&self, hide: &[&Path], tmp: &Path, own: &str) -> io::Result<()> {
        self.inner.furnish(self.kind, hide, tmp, own)
    }

    /// In the launcher, once the agent is inside: from now on the container ends with its last
    /// process.
    pub fn settle(&self) -> io::Result<()> {
        self.inner.settle()
    }

    /// The descriptor that keeps it alive, where there is one: for the monitor and nobody else.
    #[must_use]
    pub fn into_descriptor(self) -> Option<OwnedFd> {
        self.inner.into_descriptor()
    }
}

/// Ends of children as a descriptor that turns readable, for the init of a container. It needs no
/// handler: a forked process has its parent's idea of which handlers there are.
#[derive(Debug)]
pub struct ChildEvents(system::ChildEvents);

impl ChildEvents {
    /// From now on; children that have ended before must be waited for once.
    pub fn new() -> io::Result<ChildEvents> {
        system::ChildEvents::new().map(ChildEvents)
    }

    /// Makes it unreadable until the next child ends. Wait for children afterwards, not before.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl AsFd for ChildEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether this system can limit a whole run ([`Cell::limit`]).
#[must_use]
pub fn accounting() -> Accounting {
    system::accounting()
}

/// Removes the limits of a run: they outlive it, and would meet the next one of that name.
///
/// # Errors
/// Whatever the system says; none to remove is fine.
pub fn forget_limits(trace: &Trace) -> io::Result<()> {
    match trace.jail.is_empty() {
        true => Ok(()),
        false => system::forget_limits(&trace.jail),
    }
}

/// The root of a jail that somebody else manages, as the host sees it. ENOENT if there is none of
/// that name.
pub fn jail_root(name: &str) -> io::Result<PathBuf> {
    system::jail_root(name)
}

/// Whether the kernel still holds something of a jail that has no process left: a socket or file
/// that somebody outside has open. It needs nobody's attention, but it should be known.
pub fn is_dying(trace: &Trace) -> io::Result<bool> {
    match trace.jid {
        0 => Ok(false),
        jid => system::jail_is_dying(jid),
    }
}

/// Whether no process is left inside: the kernel's word. Only for a container that is being
/// removed, since otherwise new ones may come. Always true for [`Container::Reaper`], which has
/// nobody to ask.
pub fn is_empty(trace: &Trace) -> io::Result<bool> {
    if trace.init != 0 && is_alive(trace.init, trace.init_start)? {
        return Ok(false);
    }
    system::jail_is_empty(trace.jid)
}

/// Whether the process of that id and start lives. A zombie does not: it only has not been asked
/// for its status.
pub fn is_alive(pid: i32, start: u64) -> io::Result<bool> {
    let gone = |e: &io::Error| e.raw_os_error() == Some(nix::libc::ESRCH);
    let mut handle = match super::ProcessHandle::open(pid) {
        Ok(h) => h,
        Err(e) if gone(&e) => return Ok(false),
        Err(e) => return Err(e),
    };
    // The handle names whoever has the id now; the start says whether that is the one meant.
    match super::process_start(pid) {
        Ok(found) if found == start => Ok(!handle.has_exited()?),
        Ok(_) => Ok(false),
        Err(e) if gone(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Kills what dead children of this process, a reaper, have left to it: everything below it that
/// does not belong to a child that `known` holds. How many there were; none is the proof.
pub fn kill_strangers(known: &dyn Fn(i32) -> bool) -> io::Result<usize> {
    system::kill_strangers(known)
}
