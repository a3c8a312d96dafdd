//! Run containers of Linux: a PID namespace whose init is ours, with a mount namespace of its own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{mount, MsFlags};
use nix::sched::{unshare, CloneFlags};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::getpid;

use super::namespace::{self, Kind};
use super::process::Stat;
use super::tree::signal_tree;
use crate::state::{Accounting, Container};
use crate::sys::cell::{RunLimits, Trace, Within};

const NONE: Option<&str> = None;

/// Nothing has to be held: the namespace lives as long as its init.
#[derive(Debug)]
pub(in crate::sys) struct Cell;

impl Cell {
    pub(in crate::sys) fn create(
        kind: Container,
        _name: &str,
        within: Within<'_>,
    ) -> io::Result<Cell> {
        if within != Within::Host {
            return Err(Errno::EOPNOTSUPP.into());
        }
        match kind {
            // The mount namespace is left to the init: the launcher stays where it is.
            Container::PidNamespace => unshare(CloneFlags::CLONE_NEWPID)?,
            Container::UserNamespace => namespace::unshare(Kind::User)?,
            Container::Reaper => {}
            Container::Jail => return Err(Errno::EOPNOTSUPP.into()),
        }
        Ok(Cell)
    }

    pub(in crate::sys) fn trace(&self) -> Trace {
        Trace::default()
    }

    pub(in crate::sys) fn limit(&self, _limits: &RunLimits) -> io::Result<()> {
        Err(Errno::EOPNOTSUPP.into())
    }

    pub(in crate::sys) fn enter(&self) -> io::Result<()> {
        Ok(())
    }

    pub(in crate::sys) fn furnish(
        &self,
        kind: Container,
        hide: &[&Path],
        tmp: &Path,
        own: &str,
    ) -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // A slave sees what the host mounts and unmounts later, and nothing goes back.
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)?;
        for dir in hide {
            namespace::cover(dir)?;
        }
        keep_one(tmp, own)?;
        match namespace::mount_proc() {
            // Normal inside other containers, where parts of /proc are masked.
            Err(e) if kind == Container::UserNamespace && e.raw_os_error() == Some(libc::EPERM) => {
                Ok(())
            }
            other => other,
        }
    }

    pub(in crate::sys) fn settle(&self) -> io::Result<()> {
        Ok(())
    }

    pub(in crate::sys) fn into_descriptor(self) -> Option<OwnedFd> {
        None
    }
}

/// Covers `dir` so that only its entry `own` is left, at the same place.
fn keep_one(dir: &Path, own: &str) -> io::Result<()> {
    let kept = File::open(dir.join(own))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let data = Some("size=4k,nr_inodes=2,mode=0711");
    mount(Some("tmpfs"), dir, Some("tmpfs"), flags, data)?;
    std::fs::create_dir(dir.join(own))?;
    let source = format!("/proc/self/fd/{}", kept.as_raw_fd());
    mount(
        Some(source.as_str()),
        &dir.join(own),
        NONE,
        MsFlags::MS_BIND,
        NONE,
    )?;
    let read_only = flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(NONE, dir, NONE, read_only, data)?;
    Ok(())
}

pub(in crate::sys) fn jail_is_empty(_jid: i32) -> io::Result<bool> {
    Ok(true)
}

pub(in crate::sys) fn jail_root(_name: &str) -> io::Result<PathBuf> {
    Err(Errno::ENOENT.into())
}

pub(in crate::sys) fn jail_is_dying(_jid: i32) -> io::Result<bool> {
    Ok(false)
}

/// Control groups would do it where one is delegated; nothing here uses them.
pub(in crate::sys) fn accounting() -> Accounting {
    Accounting::Absent
}

pub(in crate::sys) fn forget_limits(_jail: &str) -> io::Result<()> {
    Ok(())
}

/// SIGCHLD, blocked, as a descriptor.
#[derive(Debug)]
pub(in crate::sys) struct ChildEvents(SignalFd);

impl ChildEvents {
    pub(in crate::sys) fn new() -> io::Result<ChildEvents> {
        let only: SigSet = [Signal::SIGCHLD].into_iter().collect();
        only.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(ChildEvents(SignalFd::with_flags(&only, flags)?))
    }

    pub(in crate::sys) fn clear(&mut self) {
        // Several of them are one signal.
        while matches!(self.0.read_signal(), Ok(Some(_))) {}
    }
}

impl AsFd for ChildEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub(in crate::sys) fn kill_strangers(known: &dyn Fn(i32) -> bool) -> io::Result<usize> {
    let mut strangers = children()?;
    strangers.retain(|pid| !known(*pid));
    for pid in &strangers {
        // Whoever escapes becomes our child, too, and is found the next time.
        let _ = signal_tree(*pid, Signal::SIGKILL, true);
    }
    Ok(strangers.len())
}

/// All children of this process, zombies left out.
fn children() -> io::Result<Vec<i32>> {
    let own = getpid().as_raw();
    let mut list = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        if matches!(Stat::read(pid), Ok(s) if s.ppid == own && !s.zombie) {
            list.push(pid);
        }
    }
    Ok(list)
}
