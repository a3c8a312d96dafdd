//! Run containers of FreeBSD: a jail with an owning descriptor. Order and traps: see
//! [`super::jail`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::getpid;

use super::ffi::{ReaperPidInfo, REAPER_PIDINFO_VALID, REAPER_PIDINFO_ZOMBIE};
use super::{jail, process, rctl};
use crate::state::Container;
use crate::sys::cell::{RunLimits, Trace, Within};

/// Most processes listed at once.
const MAX_PIDS: usize = 1 << 17;

/// A jail and what finds it again.
#[derive(Debug)]
struct Held {
    jail: jail::Jail,
    name: String,
    /// Empty where it is the host's.
    root: PathBuf,
}

/// The jail, or nothing for a mere reaper.
#[derive(Debug)]
pub(in crate::sys) struct Cell(Option<Held>);

impl Cell {
    pub(in crate::sys) fn create(
        kind: Container,
        name: &str,
        within: Within<'_>,
    ) -> io::Result<Cell> {
        match kind {
            Container::Jail => {
                let spec = spec(name, within)?;
                let root = match within {
                    Within::Host => PathBuf::new(),
                    _ => spec.path.clone(),
                };
                Ok(Cell(Some(Held {
                    jail: jail::Jail::create(&spec)?,
                    name: spec.name,
                    root,
                })))
            }
            Container::Reaper if within == Within::Host => Ok(Cell(None)),
            _ => Err(Errno::EOPNOTSUPP.into()),
        }
    }

    pub(in crate::sys) fn trace(&self) -> Trace {
        self.0.as_ref().map_or_else(Trace::default, |h| Trace {
            jid: h.jail.jid(),
            jail: h.name.clone(),
            root: h.root.clone(),
            ..Trace::default()
        })
    }

    pub(in crate::sys) fn limit(&self, limits: &RunLimits) -> io::Result<()> {
        match &self.0 {
            Some(h) => rctl::limit(&h.name, limits),
            None => Err(Errno::EOPNOTSUPP.into()),
        }
    }

    pub(in crate::sys) fn enter(&self) -> io::Result<()> {
        let jid = self.0.as_ref().map(|h| h.jail.jid());
        jid.map_or(Ok(()), jail::attach)
    }

    pub(in crate::sys) fn furnish(
        &self,
        _kind: Container,
        _hide: &[&Path],
        _tmp: &Path,
        _own: &str,
    ) -> io::Result<()> {
        // A jail has no init: nobody comes here.
        Err(Errno::EOPNOTSUPP.into())
    }

    pub(in crate::sys) fn settle(&self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |h| h.jail.let_it_end())
    }

    pub(in crate::sys) fn into_descriptor(self) -> Option<OwnedFd> {
        self.0.map(|h| h.jail.into_descriptor())
    }
}

/// The jail of a run. A child of a named jail takes that one's root, as the host sees it: without
/// a path it would get the host's, silently.
fn spec(name: &str, within: Within<'_>) -> io::Result<jail::Spec> {
    let mut spec = jail::Spec::host(name);
    match within {
        Within::Host => {}
        Within::Root(path) => spec.path = path.to_owned(),
        Within::Jail(parent) => {
            let jid = jail::find(parent)?.ok_or(Errno::ENOENT)?;
            spec.name = format!("{parent}.{name}");
            spec.path = jail::path_of(jid)?;
        }
    }
    Ok(spec)
}

pub(in crate::sys) fn jail_is_dying(jid: i32) -> io::Result<bool> {
    jail::is_dying(jid)
}

/// Whether no living process is in that jail. A jail that is being removed takes in no new ones.
pub(in crate::sys) fn jail_is_empty(jid: i32) -> io::Result<bool> {
    if jid == 0 {
        return Ok(true);
    }
    let inside = |p: &libc::kinfo_proc| p.ki_jid == jid && p.ki_stat != libc::SZOMB;
    Ok(!processes()?.iter().any(inside))
}

/// The kernel's table of all processes. It grows while it is read, so room is left and the call
/// repeated.
fn processes() -> io::Result<Vec<libc::kinfo_proc>> {
    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PROC];
    let one = size_of::<libc::kinfo_proc>();
    loop {
        let mut bytes = 0;
        sysctl(&name, std::ptr::null_mut(), &mut bytes)?;
        let room = bytes / one + 64;
        if room > MAX_PIDS {
            return Err(Errno::ENOMEM.into());
        }
        let mut list: Vec<libc::kinfo_proc> = Vec::with_capacity(room);
        bytes = room * one;
        match sysctl(&name, list.as_mut_ptr().cast(), &mut bytes) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::ENOMEM) => continue,
            Err(e) => return Err(e),
        }
        // SAFETY: the kernel has filled that many whole elements, each `one` bytes long, and any
        // bits are a valid kinfo_proc (integers, raw pointers and arrays of them).
        unsafe { list.set_len(bytes / one) };
        return Ok(list);
    }
}

fn sysctl(name: &[libc::c_int], to: *mut libc::c_void, bytes: &mut usize) -> io::Result<()> {
    let length = libc::c_uint::try_from(name.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: name and its length belong together; `to` is null, or has room for `bytes`.
    let result = unsafe { libc::sysctl(name.as_ptr(), length, to, bytes, std::ptr::null(), 0) };
    Errno::result(result)?;
    Ok(())
}

/// SIGCHLD as a descriptor: for the init of a container, which a jail has not.
#[derive(Debug)]
pub(in crate::sys) struct ChildEvents(OwnedFd);

impl ChildEvents {
    pub(in crate::sys) fn new() -> io::Result<ChildEvents> {
        Err(Errno::EOPNOTSUPP.into())
    }

    pub(in crate::sys) fn clear(&mut self) {}
}

impl AsFd for ChildEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// All children of this process, zombies left out: those descendants that head a subtree of their
/// own. Empty unless the process is a reaper.
pub(in crate::sys) fn children() -> io::Result<Vec<i32>> {
    let own = getpid().as_raw();
    if !process::is_reaper(own)? {
        return Ok(Vec::new());
    }
    let table = processes()?;
    let mut list = vec![ReaperPidInfo::default(); 64];
    loop {
        list.fill(ReaperPidInfo::default());
        process::reaper_pids(own, &mut list)?;
        let filled = |p: &&ReaperPidInfo| p.flags & REAPER_PIDINFO_VALID != 0;
        if list.iter().filter(filled).count() == list.len() && list.len() < MAX_PIDS {
            list.resize(list.len() * 4, ReaperPidInfo::default());
            continue;
        }
        let child = |pid: i32| table.iter().any(|p| p.ki_pid == pid && p.ki_ppid == own);
        return Ok(list
            .iter()
            .filter(filled)
            .filter(|p| p.flags & REAPER_PIDINFO_ZOMBIE == 0)
            .map(|p| p.pid)
            .filter(|pid| child(*pid))
            .collect());
    }
}
