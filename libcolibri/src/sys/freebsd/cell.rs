//! Run containers of FreeBSD: a jail with an owning descriptor. Order and traps: see
//! [`super::jail`].

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::getpid;

use super::table::processes;
use super::{jail, process, rctl};
use crate::state::Container;
use crate::sys::cell::{RunLimits, Trace, Within};

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
            spec.name = format!("{parent}.{name}");
            spec.path = jail_root(parent)?;
        }
    }
    Ok(spec)
}

pub(in crate::sys) fn jail_root(name: &str) -> io::Result<PathBuf> {
    jail::path_of(jail::find(name)?.ok_or(Errno::ENOENT)?)
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

/// Descendants whose reaper has died come to the next one above and still count as the tree of that
/// one's child: one call of the kernel hits them all.
pub(in crate::sys) fn kill_strangers(known: &dyn Fn(i32) -> bool) -> io::Result<usize> {
    let own = getpid().as_raw();
    if !process::is_reaper(own)? {
        return Ok(0);
    }
    let mut strangers = process::reaper_tree(own)?;
    strangers.retain(|p| !known(p.subtree));
    let subtrees: BTreeSet<i32> = strangers.iter().map(|p| p.subtree).collect();
    for child in subtrees {
        // Whoever escapes is found the next time.
        let _ = process::reaper_kill_subtree(own, child, Signal::SIGKILL);
    }
    Ok(strangers.len())
}
